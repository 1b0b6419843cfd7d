//! Next hops that are not where the kernel's routes lead: peers behind a gateway (`reachable-by`), each
//! with a host route of its own, and link-local addresses, which are on the link of their session.
//!
//! The route to a peer behind a gateway may be there or not when the peer is looked for, so the gateway
//! is asked for in its place. What always holds: what is asked of the dataplane for a next hop is taken
//! back by the same name, whatever the plan says then.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::dataplane::{Dataplane, Forwarding, NextHop, Resolution, Unreachable};
use crate::net::{Prefix, ScopedAddress};
use crate::speaker::SessionLink;

/// The gateways in force.
#[derive(Debug, Default)]
pub(super) struct Gateways {
    /// By peer.
    to: BTreeMap<IpAddr, IpAddr>,
    /// What is asked for, by next hop.
    asked: BTreeMap<ScopedAddress, NextHop>,
    /// The same the other way round.
    about: BTreeMap<NextHop, Vec<ScopedAddress>>,
}

/// How a next hop is reached now.
pub(super) type Resolved = (ScopedAddress, Resolution);

/// The link of a session, by a next hop's scope.
type LinkOf<'a> = &'a dyn Fn(u32) -> Option<SessionLink>;

impl Gateways {
    /// Takes over a new plan's gateways, and the links of sessions; how next hops are reached now that
    /// have another way by it, and whether there are any changes.
    pub(super) fn set(
        &mut self,
        dataplane: &mut Dataplane,
        gateways: &[(IpAddr, IpAddr)],
        link: LinkOf<'_>,
    ) -> (Vec<Resolved>, bool) {
        let wanted: BTreeMap<IpAddr, IpAddr> = gateways.iter().copied().collect();
        let differ = wanted != self.to;
        let before = core::mem::replace(&mut self.to, wanted);
        for (peer, gateway) in &self.to {
            if before.get(peer) != Some(gateway) {
                let via = vec![NextHop::routed(*gateway)];
                dataplane.want(Prefix::host(*peer), Forwarding::Via(via));
            }
        }
        for peer in before.keys().filter(|peer| !self.to.contains_key(*peer)) {
            dataplane.unwant(Prefix::host(*peer));
        }
        let now = |(target, asked): (&ScopedAddress, &NextHop)| {
            let now = self.place(*target, link);
            (now != *asked).then_some((*target, now))
        };
        let moved: Vec<_> = self.asked.iter().filter_map(now).collect();
        for (target, now) in &moved {
            dataplane.track(now.clone());
            if let Some(before) = self.note(*target, now.clone()) {
                dataplane.untrack(&before);
            }
        }
        let differ = differ || !moved.is_empty();
        let resolved = moved.into_iter().filter_map(|(target, asked)| {
            let resolution = known(dataplane, &asked)?;
            Some((target, resolution))
        });
        (resolved.collect(), differ)
    }

    /// Asks for a next hop; how it is reached, if that is known.
    pub(super) fn track(
        &mut self,
        dataplane: &mut Dataplane,
        target: ScopedAddress,
        link: LinkOf<'_>,
    ) -> Option<Resolved> {
        let asked = self.place(target, link);
        self.note(target, asked.clone());
        dataplane.track(asked.clone());
        // The dataplane answers the first who asks for a place; whoever comes later is told here.
        Some((target, known(dataplane, &asked)?))
    }

    /// Takes a question back.
    pub(super) fn untrack(&mut self, dataplane: &mut Dataplane, target: ScopedAddress) {
        if let Some(asked) = self.asked.remove(&target) {
            self.forget(target, &asked);
            dataplane.untrack(&asked);
        }
    }

    /// The next hops that an answer is about.
    pub(super) fn next_hops(&self, asked: &NextHop) -> &[ScopedAddress] {
        self.about.get(asked).map_or(&[], Vec::as_slice)
    }

    /// Whether the route to this prefix is that to a peer, whatever the tables say.
    pub(super) fn holds(&self, prefix: Prefix) -> bool {
        prefix.is_host() && self.to.contains_key(&prefix.address())
    }

    /// Where packets for a next hop go. Every next hop of a path was asked for before.
    pub(super) fn way(&self, target: ScopedAddress) -> NextHop {
        let asked = self.asked.get(&target).cloned();
        asked.unwrap_or_else(|| self.place(target, &|_| None))
    }

    fn place(&self, target: ScopedAddress, link: LinkOf<'_>) -> NextHop {
        let ScopedAddress { address, scope } = target;
        let gateway = |peer| self.to.get(&peer).copied().unwrap_or(peer);
        match (scope, link(scope)) {
            (1.., Some(SessionLink::Index(index))) => NextHop::on_link(address, index),
            (1.., Some(SessionLink::Towards(peer))) => NextHop::beside(address, gateway(peer)),
            (_, _) => NextHop::routed(gateway(address)),
        }
    }

    /// Notes what is asked for a next hop; what was before.
    fn note(&mut self, target: ScopedAddress, asked: NextHop) -> Option<NextHop> {
        let before = self.asked.insert(target, asked.clone());
        if let Some(before) = &before {
            self.forget(target, before);
        }
        self.about.entry(asked).or_default().push(target);
        before
    }

    fn forget(&mut self, target: ScopedAddress, asked: &NextHop) {
        if let Some(about) = self.about.get_mut(asked) {
            about.retain(|other| *other != target);
            if about.is_empty() {
                self.about.remove(asked);
            }
        }
    }
}

fn known(dataplane: &Dataplane, asked: &NextHop) -> Option<Resolution> {
    let resolution = dataplane.resolve(asked);
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
        let far = address("10.9.9.9");
        let targets = [1, 2, 3].map(|scope| ScopedAddress::new(router, scope));
        let mut dataplane = Dataplane::new(Settings::default());
        let mut gateways = Gateways::default();
        let none: LinkOf<'_> = &|_| None;
        for target in targets {
            gateways.track(&mut dataplane, target, none);
        }
        let links: LinkOf<'_> = &|scope| {
            Some(match scope {
                1 => SessionLink::Index(7),
                2 => SessionLink::Index(8),
                _ => SessionLink::Towards(far),
            })
        };
        let (_, differ) = gateways.set(&mut dataplane, &[(far, gateway)], links);
        assert!(differ);

        let ways = targets.map(|target| gateways.way(target));
        let on = |index| NextHop::on_link(router, index);
        let expected = [on(7), on(8), NextHop::beside(router, gateway)];
        assert_eq!(ways, expected, "one address, three places");
        for (way, target) in ways.iter().zip(targets) {
            assert_eq!(gateways.next_hops(way), [target], "asked for anew");
        }
        assert_eq!(gateways.way(far.into()), NextHop::routed(gateway));
        assert!(gateways.holds(Prefix::host(far)));
        assert!(!gateways.holds(Prefix::host(router)));

        let (_, differ) = gateways.set(&mut dataplane, &[], none);
        assert!(differ);
        assert_eq!(gateways.way(targets[0]), NextHop::routed(router));
    }
}
