//! From a next hop to its ways over foreign routes, links and open tunnels, by what is known now.

use std::net::IpAddr;
use std::sync::Arc;

use super::{KernelView, is_link_local};
use crate::dataplane::foreign::Foreign;
use crate::dataplane::input::Link;
use crate::dataplane::next_hop::{NextHop, Reach, Resolution, Unreachable};
use crate::dataplane::route::{Hop, RouteKind};

/// A route's gateway that needs another route, and so on, at most so often.
pub(super) const MAX_DEPTH: u8 = 4;

impl KernelView {
    /// How `next_hop` is reached, by what is known now.
    pub fn resolve(&self, next_hop: &NextHop) -> Resolution {
        if !self.known {
            return Resolution::Unreachable(Unreachable::Unknown);
        }
        self.find(next_hop).unwrap_or_else(Resolution::Unreachable)
    }

    fn find(&self, next_hop: &NextHop) -> Result<Resolution, Unreachable> {
        let address = next_hop.address;
        if self.is_local(address) {
            return Err(Unreachable::Local);
        }
        let link = match &next_hop.reach {
            Reach::Routed if is_link_local(address) => return Err(Unreachable::NoScope),
            Reach::Routed => return self.routed(address, 0),
            Reach::Link(index) => self.link_by_index(*index),
            Reach::Beside(other) => self.link_towards(*other)?,
            Reach::Device(name) => {
                return self.tunnelled(name, self.gates.index(name, address), |index| Hop {
                    onlink: true,
                    ..Hop::new(address, index)
                });
            }
            // Its route is there before the far end is ready: others need it to be accepted.
            Reach::Onto(name) => {
                return self.tunnelled(name, self.gates.device(name), |index| Hop {
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
    fn link_towards(&self, other: IpAddr) -> Result<Option<&Link>, Unreachable> {
        match self.routed(other, 0)? {
            Resolution::Reachable { hops, .. } => {
                let index = hops.first().and_then(|hop| hop.interface);
                Ok(index.and_then(|index| self.link_by_index(index)))
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
        let missing = || match self.link_by_name(name) {
            Some(_) => Unreachable::NotReady,
            None => Unreachable::NoDevice,
        };
        let index = open.ok_or_else(missing)?;
        let link = self.link_by_index(index).ok_or_else(missing)?;
        if !link.usable() {
            return Err(Unreachable::NotReady);
        }
        Ok(Resolution::Reachable {
            hops: Arc::new([hop(index)]),
            metric: 0,
            direct: false,
        })
    }

    fn routed(&self, address: IpAddr, depth: u8) -> Result<Resolution, Unreachable> {
        if depth >= MAX_DEPTH {
            return Err(Unreachable::TooDeep);
        }
        let group = self
            .state
            .foreign
            .longest(address)
            .ok_or(Unreachable::NoRoute)?;
        let best = group.first().ok_or(Unreachable::NoRoute)?.metric;
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

    fn over(&self, route: &Foreign, address: IpAddr, depth: u8) -> Result<Resolution, Unreachable> {
        if route.shape.kind != RouteKind::Unicast {
            return Err(Unreachable::Dropped);
        }
        let mut hops = Vec::with_capacity(route.shape.hops.len());
        let mut direct = false;
        let mut failure = Unreachable::NoRoute;
        for hop in &route.shape.hops {
            match (hop.via, hop.interface) {
                (via, Some(interface)) => {
                    if !self.link_by_index(interface).is_some_and(Link::usable) {
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
            distance(address, route.metric)
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
const fn distance(address: IpAddr, metric: u32) -> u32 {
    match address {
        IpAddr::V4(_) => metric,
        IpAddr::V6(_) => metric.saturating_sub(1024),
    }
}
