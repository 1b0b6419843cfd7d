//! Next hops that are not where the kernel's routes lead: peers behind a gateway (`reachable-by`), each
//! with a host route of its own, and neighbours with a link-local address, which is on one link.
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
    /// By peer: the gateway, or itself on its link.
    to: BTreeMap<IpAddr, NextHop>,
    /// What is asked for, by next hop.
    asked: BTreeMap<IpAddr, NextHop>,
}

/// How a next hop is reached now.
pub(super) type Resolved = (IpAddr, Resolution);

impl Gateways {
    /// Takes over a new plan's gateways, and the links of neighbours; how next hops are reached now that
    /// have another way by it, and whether there are any changes.
    pub(super) fn set(
        &mut self,
        dataplane: &mut Dataplane,
        gateways: &[(IpAddr, IpAddr)],
        links: impl Iterator<Item = (IpAddr, u32)>,
    ) -> (Vec<Resolved>, bool) {
        let on_links = links.map(|(address, index)| {
            let reach = Reach::Link(index);
            (address, NextHop { address, reach })
        });
        let behind = gateways
            .iter()
            .map(|(peer, gateway)| (*peer, NextHop::routed(*gateway)));
        let wanted: BTreeMap<IpAddr, NextHop> = on_links.chain(behind).collect();
        if wanted == self.to {
            return (Vec::new(), false);
        }
        let before = core::mem::replace(&mut self.to, wanted);
        for (peer, gateway) in self.to.iter().filter(|(_, hop)| has_route(hop)) {
            if before.get(peer) != Some(gateway) {
                let via = vec![gateway.clone()];
                dataplane.want(Prefix::host(*peer), Forwarding::Via(via));
            }
        }
        for peer in before.iter().filter(|(_, hop)| has_route(hop)) {
            if !self.to.get(peer.0).is_some_and(has_route) {
                dataplane.unwant(Prefix::host(*peer.0));
            }
        }
        let mut moved = Vec::new();
        for (next_hop, asked) in &mut self.asked {
            let now = self.to.get(next_hop).cloned();
            let now = now.unwrap_or_else(|| NextHop::routed(*next_hop));
            if *asked != now {
                dataplane.track(now.clone());
                dataplane.untrack(asked);
                asked.clone_from(&now);
                moved.push((*next_hop, now));
            }
        }
        let resolved = moved.into_iter().filter_map(|(next_hop, asked)| {
            let resolution = known(dataplane, &asked)?;
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
        let asked = self.to.get(&next_hop).cloned();
        let asked = asked.unwrap_or_else(|| NextHop::routed(next_hop));
        self.asked.insert(next_hop, asked.clone());
        dataplane.track(asked.clone());
        if self.to.is_empty() {
            return None;
        }
        Some((next_hop, known(dataplane, &asked)?))
    }

    /// Takes a question back.
    pub(super) fn untrack(&mut self, dataplane: &mut Dataplane, next_hop: IpAddr) {
        if let Some(asked) = self.asked.remove(&next_hop) {
            dataplane.untrack(&asked);
        }
    }

    /// The next hops that an answer is about.
    pub(super) fn next_hops(&self, asked: &NextHop) -> Vec<IpAddr> {
        if self.to.is_empty() {
            return vec![asked.address];
        }
        let about = self.asked.iter().filter(|(_, name)| *name == asked);
        about.map(|(next_hop, _)| *next_hop).collect()
    }

    /// Whether the route to this prefix is that to a peer, whatever the tables say.
    pub(super) fn holds(&self, prefix: Prefix) -> bool {
        prefix.is_host() && self.to.get(&prefix.address()).is_some_and(has_route)
    }

    /// The same ways, through the gateways.
    pub(super) fn through(&self, forwarding: Forwarding) -> Forwarding {
        match forwarding {
            Forwarding::Via(mut hops) if !self.to.is_empty() => {
                for hop in hops.iter_mut().filter(|hop| hop.reach == Reach::Routed) {
                    if let Some(way) = self.to.get(&hop.address) {
                        hop.clone_from(way);
                    }
                }
                Forwarding::Via(hops)
            }
            other => other,
        }
    }
}

/// A peer behind a gateway has a route of its own; a neighbour on a link needs none.
fn has_route(way: &NextHop) -> bool {
    way.reach == Reach::Routed
}

fn known(dataplane: &Dataplane, asked: &NextHop) -> Option<Resolution> {
    let resolution = dataplane.view().resolve(asked);
    (resolution != Resolution::Unreachable(Unreachable::Unknown)).then_some(resolution)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::Settings;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_neighbour_on_a_link_is_reached_by_it_and_has_no_route_of_its_own() {
        let (router, gateway) = (address("fe80::1"), address("10.0.0.254"));
        let mut dataplane = Dataplane::new(Settings::default());
        let mut gateways = Gateways::default();
        gateways.track(&mut dataplane, router);
        let on_link = [(router, 7)];
        let behind = [(address("10.9.9.9"), gateway)];
        let (_, differ) = gateways.set(&mut dataplane, &behind, on_link.into_iter());
        assert!(differ);

        let asked = NextHop {
            address: router,
            reach: Reach::Link(7),
        };
        assert_eq!(gateways.next_hops(&asked), [router], "asked for anew");
        let routed = |address| Forwarding::Via(vec![NextHop::routed(address)]);
        let by_link = Forwarding::Via(vec![asked]);
        assert_eq!(gateways.through(routed(router)), by_link);
        assert_eq!(
            gateways.through(routed(address("10.9.9.9"))),
            routed(gateway)
        );
        assert!(gateways.holds(Prefix::host(address("10.9.9.9"))));
        assert!(!gateways.holds(Prefix::host(router)));

        let (_, differ) = gateways.set(&mut dataplane, &[], core::iter::empty());
        assert!(differ);
        assert_eq!(gateways.through(routed(router)), routed(router));
    }
}
