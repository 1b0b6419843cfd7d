//! What counts as a leftover of BIRD or Felix: a rule on single routes, without state.
//!
//! A leftover is taken over only if the operator said that its program has ended for good, and only
//! if it is a route to pods of other nodes: inside our pools, and a blackhole or with a gateway or
//! over a tunnel device. A route straight onto any other link leads to a pod of this node; it is
//! the CNI plugin's, whatever protocol number it carries, and never ours.

use core::fmt;

use super::route::{Hop, KernelRoute, RouteKind};
use crate::net::Prefix;

/// Other programs whose leftover routes and devices are taken over: they have ended for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Adopt {
    /// BIRD: its routes (protocol 12) inside our pools.
    pub bird: bool,
    /// Felix: its routes (protocol 80, and those over its VXLAN devices) inside our pools, and its
    /// tunnel devices.
    pub felix: bool,
}

/// BIRD's protocol number (`RTPROT_BIRD`).
const BIRD: u8 = 12;
/// Felix's protocol number.
const FELIX: u8 = 80;
/// What Felix writes over its VXLAN devices (`RTPROT_BOOT`), as many other programs do elsewhere.
const BOOT: u8 = 3;
/// Felix's VXLAN devices.
const VXLAN: [&str; 2] = ["vxlan.calico", "vxlan-v6.calico"];
/// The IPIP device of both.
const IPIP: &str = "tunl0";

/// A program that had our place before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Former {
    /// BIRD, as Calico runs it.
    Bird,
    /// Calico's Felix.
    Felix,
}

impl fmt::Display for Former {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bird => "BIRD",
            Self::Felix => "Felix",
        })
    }
}

/// Whose leftovers are taken over, and where.
#[derive(Debug, Clone, Default)]
pub(super) struct Adoption {
    pub(super) whose: Adopt,
    pub(super) pools: Vec<Prefix>,
}

impl Adoption {
    /// Whose leftover `route`, one of our table, is; none if it is not to be touched.
    pub(super) fn claims<'a>(
        &self,
        route: &KernelRoute,
        link_name: impl Fn(u32) -> Option<&'a str>,
    ) -> Option<Former> {
        let over = |names: &[&str], hop: &Hop| {
            hop.interface
                .and_then(&link_name)
                .is_some_and(|name| names.contains(&name))
        };
        let vxlan = |hop: &Hop| over(&VXLAN, hop);
        let shape = &*route.shape;
        let former = match route.protocol {
            BIRD if self.whose.bird => Former::Bird,
            FELIX if self.whose.felix => Former::Felix,
            BOOT if self.whose.felix && !shape.hops.is_empty() && shape.hops.iter().all(vxlan) => {
                Former::Felix
            }
            _ => return None,
        };
        let leads_away = match shape.kind {
            RouteKind::Blackhole => true,
            RouteKind::Unicast => {
                let away = |hop: &Hop| hop.via.is_some() || vxlan(hop) || over(&[IPIP], hop);
                !shape.hops.is_empty() && shape.hops.iter().all(away)
            }
            RouteKind::Unreachable | RouteKind::Prohibit | RouteKind::Other(_) => false,
        };
        let inside = self.pools.iter().any(|pool| pool.covers(route.prefix));
        (leads_away && inside).then_some(former)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::route::Shape;
    use super::*;

    fn names(index: u32) -> Option<&'static str> {
        match index {
            2 => Some("eth0"),
            5 => Some("cali123"),
            7 => Some("vxlan.calico"),
            8 => Some("tunl0"),
            _ => None,
        }
    }

    fn dev(interface: u32) -> Shape {
        let hop = Hop::new("10.0.0.1".parse().unwrap(), interface);
        Shape::unicast([Hop { via: None, ..hop }])
    }

    fn gateway(interface: u32) -> Shape {
        Shape::unicast([Hop::new("10.0.0.1".parse().unwrap(), interface)])
    }

    #[test]
    fn only_routes_that_lead_away_from_this_node_are_claimed() {
        let all = Adoption {
            whose: Adopt {
                bird: true,
                felix: true,
            },
            pools: vec!["10.244.0.0/16".parse().unwrap()],
        };
        let (bird, felix) = (Some(Former::Bird), Some(Former::Felix));
        let cases = [
            ("10.244.1.0/26", 12, Shape::blackhole(), bird),
            ("10.244.1.0/26", 12, gateway(2), bird),
            ("10.244.1.0/26", 80, gateway(8), felix),
            ("10.244.1.5/32", 80, dev(8), felix),
            ("10.244.1.5/32", 3, dev(7), felix),
            ("10.244.1.0/26", 3, gateway(7), felix),
            // A static route of the operator's, or a pod of this node.
            ("10.244.1.0/26", 3, gateway(2), None),
            ("10.244.1.0/26", 3, Shape::blackhole(), None),
            ("10.244.1.0/26", 4, gateway(2), None),
            ("10.244.1.5/32", 3, dev(5), None),
            ("10.244.1.5/32", 80, dev(5), None),
            ("10.244.1.5/32", 12, dev(5), None),
            // Outside the pools, or around them.
            ("10.96.0.0/16", 12, gateway(2), None),
            ("0.0.0.0/0", 12, gateway(2), None),
            ("10.0.0.0/8", 80, Shape::blackhole(), None),
            // The kernel made it.
            ("10.244.1.0/32", 2, dev(7), None),
        ];
        for (prefix, protocol, shape, expected) in cases {
            let route = KernelRoute {
                prefix: prefix.parse().unwrap(),
                table: 254,
                metric: 0,
                protocol,
                shape: Arc::new(shape),
            };
            assert_eq!(all.claims(&route, names), expected, "{route}");
            let nobody = Adoption {
                whose: Adopt::default(),
                ..all.clone()
            };
            assert_eq!(nobody.claims(&route, names), None, "{route}");
        }
    }
}
