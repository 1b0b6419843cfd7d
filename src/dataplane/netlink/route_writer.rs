//! The plain route as a request, octet by octet: what nearly all of a hundred thousand routes are.
//!
//! Routes with several hops, with an encapsulation of their own or with a gateway of the other family
//! are left to `routes`. Where both can say a route, they say it with the same octets.

use std::net::IpAddr;

use super::super::route::{Hop, KernelRoute, RouteKind, Shape};
use super::attribute::{put, put_ip};
use super::routes::Tunnels;
use crate::net::Family;

const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_PREFSRC: u16 = 7;
const RTA_TABLE: u16 = 15;
const RTNH_F_ONLINK: u32 = 4;
const SCOPE_UNIVERSE: u8 = 0;
const SCOPE_LINK: u8 = 253;
const SCOPE_NOWHERE: u8 = 255;

/// Appends the route if it is a plain one; whether it is.
pub(super) fn put_plain(
    body: &mut Vec<u8>,
    route: &KernelRoute,
    delete: bool,
    tunnels: &Tunnels,
) -> bool {
    let family = route.prefix.family();
    let shape = &*route.shape;
    let hop = match &*shape.hops {
        [] => None,
        [hop] if is_plain(hop, family, tunnels) => Some(hop),
        _ => return false,
    };
    let onlink = hop.is_some_and(|hop| hop.onlink);
    let table = u8::try_from(route.table).unwrap_or(0);
    body.extend_from_slice(&[
        match family {
            Family::Ipv4 => 2,
            Family::Ipv6 => 10,
        },
        route.prefix.len(),
        0,
        0,
        table,
        route.protocol,
        scope(shape, family, delete),
        match shape.kind {
            RouteKind::Unicast => 1,
            RouteKind::Blackhole => 6,
            RouteKind::Unreachable => 7,
            RouteKind::Prohibit => 8,
            RouteKind::Other(number) => number,
        },
    ]);
    let flags = if onlink { RTNH_F_ONLINK } else { 0 };
    body.extend_from_slice(&flags.to_ne_bytes());
    put_ip(body, RTA_DST, route.prefix.address());
    if table == 0 {
        put(body, RTA_TABLE, &route.table.to_ne_bytes());
    }
    if route.metric != 0 {
        put(body, RTA_PRIORITY, &route.metric.to_ne_bytes());
    }
    if let Some(source) = shape.preferred_source {
        put_ip(body, RTA_PREFSRC, source);
    }
    if let Some(via) = hop.and_then(|hop| hop.via) {
        put_ip(body, RTA_GATEWAY, via);
    }
    if let Some(interface) = hop.and_then(|hop| hop.interface) {
        put(body, RTA_OIF, &interface.to_ne_bytes());
    }
    true
}

fn is_plain(hop: &Hop, family: Family, tunnels: &Tunnels) -> bool {
    let own_family = match hop.via {
        Some(IpAddr::V4(_)) => family == Family::Ipv4,
        Some(IpAddr::V6(_)) => family == Family::Ipv6,
        None => true,
    };
    let tunnelled = hop
        .interface
        .is_some_and(|index| tunnels.contains_key(&index));
    own_family && !tunnelled
}

fn scope(shape: &Shape, family: Family, delete: bool) -> u8 {
    let bare = shape.kind == RouteKind::Unicast && shape.hops.iter().all(|hop| hop.via.is_none());
    match (delete, family) {
        // A deletion with it matches every scope.
        (true, Family::Ipv4) => SCOPE_NOWHERE,
        (false, Family::Ipv4) if bare => SCOPE_LINK,
        (_, _) => SCOPE_UNIVERSE,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use netlink_packet_core::Emitable;

    use super::super::routes;
    use super::*;

    #[test]
    fn a_plain_route_has_the_octets_that_the_library_gives_it() {
        let four = Hop::new("10.0.0.1".parse().unwrap(), 7);
        let six = Hop::new("fd00::1".parse().unwrap(), 7);
        let onlink = Hop {
            onlink: true,
            ..four
        };
        let bare = Hop { via: None, ..four };
        let source = Some("10.0.0.9".parse().unwrap());
        let other = Shape {
            kind: RouteKind::Other(0),
            ..Shape::blackhole()
        };
        let cases = [
            ("10.244.0.0/26", Shape::blackhole(), true),
            ("10.244.0.0/26", other, true),
            ("10.244.0.0/26", Shape::unicast([four]), true),
            ("10.244.0.0/26", Shape::unicast([onlink]), true),
            ("10.244.0.5/32", Shape::unicast([bare]), true),
            (
                "10.244.0.0/26",
                Shape::unicast([four]).with_preferred_source(source),
                true,
            ),
            ("fd00:244::/64", Shape::unicast([six]), true),
            ("fd00:244::/64", Shape::blackhole(), true),
            ("10.244.0.0/26", Shape::unicast([six]), false),
            ("10.244.0.0/26", Shape::unicast([four, onlink]), false),
        ];
        let tunnels = Tunnels::new();
        for (prefix, shape, plain) in cases {
            for (delete, table, metric) in [
                (false, 254, 0),
                (true, 254, 0),
                (true, 254, 9),
                (false, 1000, 1024),
            ] {
                let route = KernelRoute {
                    prefix: prefix.parse().unwrap(),
                    table,
                    metric,
                    protocol: 179,
                    shape: Arc::new(shape.clone()),
                };
                let mut body = Vec::new();
                assert_eq!(put_plain(&mut body, &route, delete, &tunnels), plain);
                let message = routes::message(&route, delete, &tunnels);
                let mut expected = vec![0; message.buffer_len()];
                message.emit(&mut expected);
                if plain {
                    assert_eq!(body, expected, "{route}, delete: {delete}");
                }
            }
        }
    }

    #[test]
    fn a_hop_over_an_ip6tnl_device_is_not_plain() {
        let hop = Hop::new("fd00::1".parse().unwrap(), 7);
        assert!(is_plain(&hop, Family::Ipv6, &Tunnels::new()));
        assert!(!is_plain(&hop, Family::Ipv6, &Tunnels::from([(7, None)])));
    }
}
