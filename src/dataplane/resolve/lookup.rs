//! From a next hop to its ways over routes, links and open tunnels, by what is known now.

use std::net::IpAddr;
use std::sync::Arc;

use super::own::{NoRoutes, OwnRoutes, around};
use super::{KernelView, is_link_local};
use crate::dataplane::foreign::Foreign;
use crate::dataplane::input::Link;
use crate::dataplane::next_hop::{NextHop, Reach, Resolution, Unreachable};
use crate::dataplane::ownership::Rank;
use crate::dataplane::route::Hop;
use crate::net::{Family, Prefix};

/// A route's gateway that needs another route, and so on, at most so often.
pub(super) const MAX_DEPTH: u8 = 4;

/// So many routes are looked at for one next hop: routes that lead to each other in many ways would be
/// followed for ever.
const MOST_LOOKS: u16 = 256;

impl KernelView {
    /// How `next_hop` is reached by the routes of others, by what is known now.
    pub fn resolve(&self, next_hop: &NextHop) -> Resolution {
        self.resolve_by(next_hop, &NoRoutes).0
    }

    /// The same by our own routes, too, and whether there was one to ask.
    pub(in crate::dataplane) fn resolve_by(
        &self,
        next_hop: &NextHop,
        own: &dyn OwnRoutes,
    ) -> (Resolution, bool) {
        if !self.known {
            return (Resolution::Unreachable(Unreachable::Unknown), false);
        }
        let mut lookup = Lookup {
            view: self,
            own,
            on_the_way: Vec::new(),
            looks: 0,
            asked: false,
        };
        let found = lookup.find(next_hop);
        let found = found.unwrap_or_else(Resolution::Unreachable);
        (found, lookup.asked)
    }
}

/// One search.
struct Lookup<'a> {
    view: &'a KernelView,
    own: &'a dyn OwnRoutes,
    /// What is being looked for, and for whose sake: a route that leads to one of these leads to itself.
    on_the_way: Vec<IpAddr>,
    looks: u16,
    /// A route of ours was found, whatever came of it.
    asked: bool,
}

impl<'a> Lookup<'a> {
    fn find(&mut self, next_hop: &NextHop) -> Result<Resolution, Unreachable> {
        let address = next_hop.address;
        if self.view.is_local(address) {
            return Err(Unreachable::Local);
        }
        let link = match &next_hop.reach {
            Reach::Routed if is_link_local(address) => return Err(Unreachable::NoScope),
            Reach::Routed => return self.routed(address, 0),
            Reach::Link(index) => self.view.link_by_index(*index),
            Reach::Beside(other) => self.link_towards(*other)?,
            Reach::Device(name) => {
                let gate = self.view.gates.index(name, address);
                return self.tunnelled(name, gate, |index| Hop {
                    onlink: true,
                    ..Hop::new(address, index)
                });
            }
            // Its route is there before the far end is ready: others need it to be accepted.
            Reach::Onto(name) => {
                let gate = self.view.gates.device(name);
                return self.tunnelled(name, gate, |index| Hop {
                    via: None,
                    ..Hop::new(address, index)
                });
            }
        };
        let link = link.ok_or(Unreachable::NoDevice)?;
        if !link.usable() {
            return Err(Unreachable::LinkDown);
        }
        Ok(Resolution::Reachable {
            hops: Arc::new([Hop::new(address, link.index)]),
            metric: 0,
            direct: true,
        })
    }

    /// The link by which `other` is reached, the first of several.
    fn link_towards(&mut self, other: IpAddr) -> Result<Option<&'a Link>, Unreachable> {
        match self.routed(other, 0)? {
            Resolution::Reachable { hops, .. } => {
                let index = hops.first().and_then(|hop| hop.interface);
                Ok(index.and_then(|index| self.view.link_by_index(index)))
            }
            Resolution::Unreachable(reason) => Err(reason),
        }
    }

    fn tunnelled(
        &self,
        name: &str,
        open: Option<u32>,
        hop: impl Fn(u32) -> Hop,
    ) -> Result<Resolution, Unreachable> {
        let missing = || match self.view.link_by_name(name) {
            Some(_) => Unreachable::NotReady,
            None => Unreachable::NoDevice,
        };
        let index = open.ok_or_else(missing)?;
        let link = self.view.link_by_index(index).ok_or_else(missing)?;
        if !link.usable() {
            return Err(Unreachable::NotReady);
        }
        Ok(Resolution::Reachable {
            hops: Arc::new([hop(index)]),
            metric: 0,
            direct: false,
        })
    }

    /// Through the longest route, as the kernel does it: one of ours if it is longer than those of others,
    /// or as long with a better metric.
    fn routed(&mut self, address: IpAddr, depth: u8) -> Result<Resolution, Unreachable> {
        if depth >= MAX_DEPTH || self.looks >= MOST_LOOKS {
            return Err(Unreachable::TooDeep);
        }
        let foreign = self.view.state.foreign.longest(address);
        let found = self.over_own(address, foreign, depth);
        if let Some(Ok(found)) = found {
            return Ok(found);
        }
        let otherwise = found.and_then(Result::err).unwrap_or(Unreachable::NoRoute);
        let (_, group) = foreign.ok_or(otherwise)?;
        let best = group.first().ok_or(otherwise)?.metric;
        // Several routes with one metric are one choice of the kernel's: the first that works.
        let mut failure = Unreachable::NoRoute;
        for route in group.iter().take_while(|route| route.metric == best) {
            match self.over(route, address, depth) {
                Ok(found) => return Ok(found),
                Err(reason) => failure = reason,
            }
        }
        Err(failure)
    }

    /// Through our own routes that go before those of others; none if there are no such.
    fn over_own(
        &mut self,
        address: IpAddr,
        foreign: Option<(u8, &[Foreign])>,
        depth: u8,
    ) -> Option<Result<Resolution, Unreachable>> {
        let shortest = match foreign {
            None => 0,
            Some((len, group)) => {
                let others = group.first().map_or(u32::MAX, |best| best.metric);
                let ours = self.view.rule.metric(Prefix::new(address, len), Rank::Way);
                len + u8::from(ours >= others)
            }
        };
        let mut failure = None;
        self.on_the_way.push(address);
        for (prefix, next_hops) in around(self.own, address, shortest) {
            self.asked = true;
            if self.view.covered(prefix, Rank::Way).is_some() {
                // It is not made.
                continue;
            }
            match self.by(next_hops, depth) {
                Ok(found) => {
                    self.on_the_way.pop();
                    return Some(Ok(found));
                }
                Err(reason) => failure = Some(Err(reason)),
            }
        }
        self.on_the_way.pop();
        failure
    }

    /// By a route of ours to these next hops, those left out that can't be reached.
    fn by(&mut self, next_hops: &[NextHop], depth: u8) -> Result<Resolution, Unreachable> {
        let mut ways: Vec<Hop> = Vec::new();
        let (mut cost, mut failure) = (0, Unreachable::NoRoute);
        for next_hop in next_hops {
            self.looks += 1;
            let found = match &next_hop.reach {
                Reach::Routed if self.on_the_way.contains(&next_hop.address) => {
                    Err(Unreachable::TooDeep)
                }
                Reach::Routed if self.view.is_local(next_hop.address) => Err(Unreachable::Local),
                Reach::Routed => self.routed(next_hop.address, depth + 1),
                Reach::Link(_) | Reach::Beside(_) | Reach::Device(_) | Reach::Onto(_) => {
                    self.find(next_hop)
                }
            };
            match found {
                Ok(Resolution::Reachable { hops, metric, .. }) => {
                    cost = metric;
                    ways.extend_from_slice(&hops);
                }
                Ok(Resolution::Unreachable(reason)) | Err(reason) => failure = reason,
            }
        }
        if ways.is_empty() {
            return Err(failure);
        }
        Ok(Resolution::Reachable {
            hops: ways.into(),
            metric: cost,
            direct: false,
        })
    }

    fn over(
        &mut self,
        route: &Foreign,
        address: IpAddr,
        depth: u8,
    ) -> Result<Resolution, Unreachable> {
        if self.view.drops(&route.shape) {
            return Err(Unreachable::Dropped);
        }
        let ways = self.view.hops(&route.shape);
        let mut hops = Vec::with_capacity(ways.len());
        let mut direct = false;
        let mut failure = Unreachable::NoRoute;
        for hop in &*ways {
            match (hop.via, hop.interface) {
                (via, Some(interface)) => {
                    if !self.view.link_by_index(interface).is_some_and(Link::usable) {
                        failure = Unreachable::LinkDown;
                        continue;
                    }
                    direct |= via.is_none();
                    hops.push(Hop {
                        via: Some(via.unwrap_or(address)),
                        ..*hop
                    });
                }
                (Some(via), None) => match self.routed(via, depth + 1) {
                    Ok(Resolution::Reachable { hops: deeper, .. }) => {
                        hops.extend_from_slice(&deeper)
                    }
                    Ok(Resolution::Unreachable(reason)) | Err(reason) => failure = reason,
                },
                (None, None) => {}
            }
        }
        if hops.is_empty() {
            return Err(failure);
        }
        let metric = if direct {
            0
        } else {
            distance(Prefix::host(address).family(), route.metric)
        };
        Ok(Resolution::Reachable {
            hops: hops.into(),
            metric,
            direct,
        })
    }
}

/// The kernel makes 1024 of an IPv6 route without a metric, and 0 of an IPv4 one: both say nothing about
/// how far it is, and a connected subnet's lower metric is no reason to prefer a node on it.
const fn distance(family: Family, metric: u32) -> u32 {
    match family {
        Family::Ipv4 => metric,
        Family::Ipv6 => metric.saturating_sub(1024),
    }
}
