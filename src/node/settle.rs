//! Carrying changes between the speaker and the dataplane, until neither has anything new.
//!
//! Which route is best and which way a packet takes is decided elsewhere. What always holds: what is wanted is
//! itself a way to next hops, so that both are asked in turn; reports of the dataplane become lines of the log.

use std::sync::Arc;

use super::Node;
use crate::dataplane::{self, Dataplane, Report};
use crate::rib::{ForwardingChange, Tracked};
use crate::time::Instant;

impl Node {
    /// Carries changes between the speaker and the dataplane, and makes bytes for whoever can take
    /// them.
    pub fn settle(&mut self, now: Instant) {
        self.speaker.turn_begins(now);
        self.resume(now);
        if let Some(dataplane) = &mut self.dataplane {
            dataplane.turn_begins(now);
        }
        // What is wanted is itself a way to next hops, so that one may lead to the other.
        while self.resolve_next_hops() {
            self.forward();
        }
        self.forward();
        if let Some(dataplane) = &self.dataplane
            && let Some(link_locals) = self.shared_links.news(dataplane)
        {
            self.speaker.set_link_locals(link_locals);
        }
        self.notice_convergence(now);
        self.speaker.flush(now);
        self.log_reports();
    }

    /// Tells the dataplane which next hops are needed, and the speaker how they are reached; whether there
    /// was anything to tell.
    fn resolve_next_hops(&mut self) -> bool {
        let Some(dataplane) = &mut self.dataplane else {
            return false;
        };
        let mut found = core::mem::take(&mut self.moved);
        let mut here = Vec::new();
        while let Some(tracked) = self.speaker.poll_tracked() {
            match tracked {
                // What a speaker beside us announces is here.
                Tracked::Track(target) if self.speaker.plan().is_here(target.address) => {
                    here.push((target, crate::rib::Resolution::Reachable { metric: 0 }));
                }
                Tracked::Track(target) => {
                    let link = |scope| self.speaker.session_link(scope);
                    found.extend(self.gateways.track(dataplane, target, &link));
                }
                Tracked::Untrack(target) => self.gateways.untrack(dataplane, target),
            }
        }
        while let Some((hop, resolution)) = dataplane.poll_resolution() {
            self.shared_links.told(&hop, &resolution);
            for next_hop in self.gateways.next_hops(&hop) {
                found.push((*next_hop, resolution.clone()));
            }
        }
        if found.is_empty() && here.is_empty() {
            return false;
        }
        let resolutions: Vec<_> = found
            .iter()
            .map(|(next_hop, resolution)| {
                let is_node = self.ways.chooser().is_node(next_hop.address);
                (*next_hop, resolved(resolution, is_node))
            })
            .chain(here)
            .collect();
        let links: Vec<_> = found
            .iter()
            .map(|(next_hop, resolution)| (*next_hop, link_of(dataplane, resolution)))
            .collect();
        self.speaker.next_hops_leave_by(&links);
        self.speaker.next_hops_resolved(&resolutions);
        true
    }

    pub(super) fn forward(&mut self) {
        if let Some(dataplane) = &self.dataplane {
            if self.settling.is_blind(dataplane) {
                return;
            }
            if self.settling.takes_loss(dataplane) {
                self.speaker.forward_again();
            }
        }
        while let Some((prefix, change)) = self.speaker.poll_forwarding() {
            self.news += 1;
            let Some(dataplane) = &mut self.dataplane else {
                continue;
            };
            if self.ways.is_settled_by_records(prefix) || self.gateways.holds(prefix) {
                continue;
            }
            let wanted = match &change {
                ForwardingChange::Withdrawn => None,
                ForwardingChange::Paths(paths)
                    if paths.iter().any(|path| self.speaker.is_beside(path.peer)) =>
                {
                    None
                }
                ForwardingChange::Paths(paths) => {
                    let way = |target| self.gateways.way(target);
                    self.ways.forwarding(prefix, paths, way)
                }
            };
            if self
                .settling
                .holds(dataplane, prefix, &change, wanted.as_ref())
            {
                continue;
            }
            match wanted {
                Some(forwarding) => dataplane.want(prefix, forwarding),
                None => dataplane.unwant(prefix),
            }
        }
    }

    fn log_reports(&mut self) {
        let Some(dataplane) = &mut self.dataplane else {
            return;
        };
        while let Some(report) = dataplane.poll_report() {
            match report {
                Report::Synced { .. } | Report::Recovered { .. } | Report::TookOver { .. } => {
                    tracing::info!("{report}");
                }
                Report::Repairing { .. } => {
                    self.tally.repaired += 1;
                    tracing::warn!("{report}");
                }
                Report::Tunnel { ref news, .. } if news.is_good() => tracing::info!("{report}"),
                Report::Tunnel { ref news, .. } => {
                    self.tally.repaired += u64::from(news.is_repair());
                    tracing::warn!("{report}");
                }
                Report::Denied => tracing::error!("{report}"),
                Report::Overrun
                | Report::Refused { .. }
                | Report::Conflict { .. }
                | Report::Fought { .. }
                | Report::StillWriting { .. }
                | Report::LeftStanding { .. }
                | Report::Covers { .. }
                | Report::More { .. } => tracing::warn!("{report}"),
            }
        }
    }
}

/// All nodes of the cluster are equally far: the way to them is the underlay's matter, often one tunnel,
/// and the metric of a default route that DHCP gave is no distance.
fn resolved(resolution: &dataplane::Resolution, is_node: bool) -> crate::rib::Resolution {
    match resolution {
        dataplane::Resolution::Unreachable(_) => crate::rib::Resolution::Unreachable,
        dataplane::Resolution::Reachable { metric, .. } => {
            let metric = if is_node { 0 } else { *metric };
            crate::rib::Resolution::Reachable { metric }
        }
    }
}

/// The link of the first way to a next hop, by name.
fn link_of(dataplane: &Dataplane, resolution: &dataplane::Resolution) -> Option<Arc<str>> {
    let dataplane::Resolution::Reachable { hops, .. } = resolution else {
        return None;
    };
    let index = hops.first()?.interface?;
    let link = dataplane.view().link_by_index(index)?;
    Some(Arc::from(&*link.name))
}
