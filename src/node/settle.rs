//! Carrying changes between the speaker and the dataplane, until neither has anything new.
//!
//! Which route is best and which way a packet takes is decided elsewhere. What always holds: what is wanted is
//! itself a way to next hops, so that both are asked in turn; reports of the dataplane become lines of the log.

use std::sync::Arc;

use super::Node;
use crate::dataplane::{self, Dataplane, Report};
use crate::rib::{self, ForwardingChange, Tracked};
use crate::time::Instant;

/// How much a turn does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// In the tables.
    pub tables: rib::Pace,
    /// Next hops that are asked for or no longer, and prefixes whose forwarding is carried down.
    pub forward: usize,
}

impl Default for Pace {
    /// Some milliseconds each.
    fn default() -> Self {
        Self {
            tables: rib::Pace::default(),
            forward: 1 << 12,
        }
    }
}

impl Node {
    /// Does so much in a turn from here on.
    pub const fn set_pace(&mut self, pace: Pace) {
        self.pace = pace;
    }

    /// Carries changes between the speaker and the dataplane, and makes bytes for whoever can take
    /// them.
    ///
    /// A turn does so much and no more ([`Pace`]), whatever there is: what is left over makes
    /// [`next_timeout`](Self::next_timeout) due at once.
    pub fn settle(&mut self, now: Instant) {
        let Pace { tables, forward } = self.pace;
        self.speaker.turn_begins(now, tables);
        self.resume(now);
        if let Some(dataplane) = &mut self.dataplane
            && !self.unfinished
        {
            dataplane.turn_begins(now);
        }
        let mut left = forward;
        // What is wanted is itself a way to next hops, so that one may lead to the other.
        loop {
            let worked = self.speaker.work();
            let resolved = self.resolve_next_hops(&mut left);
            self.forward(&mut left);
            if left == 0 || !(worked || resolved) {
                break;
            }
        }
        self.unfinished = self.speaker.has_work() || left == 0;
        if let Some(dataplane) = &self.dataplane
            && let Some(link_locals) = self.shared_links.news(dataplane)
        {
            self.speaker.set_link_locals(link_locals);
        }
        if !self.unfinished {
            self.notice_convergence(now);
            self.forward(&mut left);
            self.conclude(left > 0);
            self.unfinished = left == 0;
        }
        self.speaker.flush(now);
        self.unfinished |= self.speaker.has_work();
        self.log_reports();
    }

    /// Tells the dataplane which next hops are needed, so many at most, and the speaker how they are reached; whether
    /// there was anything to tell.
    fn resolve_next_hops(&mut self, left: &mut usize) -> bool {
        let Some(dataplane) = &mut self.dataplane else {
            return false;
        };
        let mut found = core::mem::take(&mut self.moved);
        let mut here = Vec::new();
        while *left > 0
            && let Some(tracked) = self.speaker.poll_tracked()
        {
            *left -= 1;
            match tracked {
                // What a speaker beside us announces is here.
                Tracked::Track(target) if self.speaker.plan().is_here(target.address) => {
                    here.push((target, rib::Resolution::Reachable { metric: 0 }));
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

    /// Carries down what has changed, so much at most.
    fn forward(&mut self, left: &mut usize) {
        if let Some(dataplane) = &self.dataplane {
            if self.settling.is_blind(dataplane) {
                return;
            }
            if self.settling.takes_loss(dataplane) {
                self.speaker.forward_again();
            }
        }
        while *left > 0
            && let Some((prefix, change)) = self.speaker.poll_forwarding()
        {
            *left -= 1;
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
fn resolved(resolution: &dataplane::Resolution, is_node: bool) -> rib::Resolution {
    match resolution {
        dataplane::Resolution::Unreachable(_) => rib::Resolution::Unreachable,
        dataplane::Resolution::Reachable { metric, .. } => {
            let metric = if is_node { 0 } else { *metric };
            rib::Resolution::Reachable { metric }
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
