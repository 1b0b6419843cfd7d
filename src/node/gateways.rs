//! Peers that are reached through a gateway (`reachable-by`): a host route to each, and routes of theirs
//! by the same way.
//!
//! Own routes are never asked when a next hop is resolved, so a peer behind a gateway could not be found
//! by the route that was made for it: the gateway is asked for in its place. What always holds: what is
//! asked of the dataplane for a next hop is taken back by the same name, whatever the plan says then.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::dataplane::{Dataplane, Forwarding, NextHop, Reach, Resolution, Unreachable};
use crate::net::Prefix;

/// The gateways in force.
#[derive(Debug, Default)]
pub(super) struct Gateways {
    /// By peer.
    to: BTreeMap<IpAddr, IpAddr>,
    /// What is asked for, by next hop.
    asked: BTreeMap<IpAddr, IpAddr>,
}

/// How a next hop is reached now.
pub(super) type Resolved = (IpAddr, Resolution);

impl Gateways {
    /// Takes over a new plan's; how next hops are reached now that have another way by it, and whether
    /// there are any changes.
    pub(super) fn set(
        &mut self,
        dataplane: &mut Dataplane,
        gateways: &[(IpAddr, IpAddr)],
    ) -> (Vec<Resolved>, bool) {
        let wanted: BTreeMap<IpAddr, IpAddr> = gateways.iter().copied().collect();
        if wanted == self.to {
            return (Vec::new(), false);
        }
        for (peer, gateway) in &wanted {
            if self.to.get(peer) != Some(gateway) {
                let via = vec![NextHop::routed(*gateway)];
                dataplane.want(Prefix::host(*peer), Forwarding::Via(via));
            }
        }
        for peer in self.to.keys().filter(|peer| !wanted.contains_key(peer)) {
            dataplane.unwant(Prefix::host(*peer));
        }
        self.to = wanted;
        let mut moved = Vec::new();
        for (next_hop, asked) in &mut self.asked {
            let now = self.to.get(next_hop).copied().unwrap_or(*next_hop);
            if *asked != now {
                dataplane.track(NextHop::routed(now));
                dataplane.untrack(&NextHop::routed(*asked));
                *asked = now;
                moved.push((*next_hop, now));
            }
        }
        let resolved = moved.into_iter().filter_map(|(next_hop, asked)| {
            let resolution = known(dataplane, asked)?;
            Some((next_hop, resolution))
        });
        (resolved.collect(), true)
    }

    /// Asks for a next hop; how it is reached, if that is known and nobody else will say it.
    pub(super) fn track(
        &mut self,
        dataplane: &mut Dataplane,
        next_hop: IpAddr,
    ) -> Option<Resolved> {
        let asked = self.to.get(&next_hop).copied().unwrap_or(next_hop);
        self.asked.insert(next_hop, asked);
        dataplane.track(NextHop::routed(asked));
        if self.to.is_empty() {
            return None;
        }
        Some((next_hop, known(dataplane, asked)?))
    }

    /// Takes a question back.
    pub(super) fn untrack(&mut self, dataplane: &mut Dataplane, next_hop: IpAddr) {
        if let Some(asked) = self.asked.remove(&next_hop) {
            dataplane.untrack(&NextHop::routed(asked));
        }
    }

    /// The next hops that an answer is about.
    pub(super) fn next_hops(&self, asked: IpAddr) -> Vec<IpAddr> {
        if self.to.is_empty() {
            return vec![asked];
        }
        let about = self.asked.iter().filter(|(_, name)| **name == asked);
        about.map(|(next_hop, _)| *next_hop).collect()
    }

    /// Whether the route to this prefix is that to a peer, whatever the tables say.
    pub(super) fn holds(&self, prefix: Prefix) -> bool {
        prefix.is_host() && self.to.contains_key(&prefix.address())
    }

    /// The same ways, through the gateways.
    pub(super) fn through(&self, forwarding: Forwarding) -> Forwarding {
        match forwarding {
            Forwarding::Via(mut hops) if !self.to.is_empty() => {
                for hop in hops.iter_mut().filter(|hop| hop.reach == Reach::Routed) {
                    if let Some(gateway) = self.to.get(&hop.address) {
                        hop.address = *gateway;
                    }
                }
                Forwarding::Via(hops)
            }
            other => other,
        }
    }
}

fn known(dataplane: &Dataplane, address: IpAddr) -> Option<Resolution> {
    let resolution = dataplane.view().resolve(&NextHop::routed(address));
    (resolution != Resolution::Unreachable(Unreachable::Unknown)).then_some(resolution)
}
