//! Routes to and from rtnetlink messages.
//!
//! Left out on reading, because no key of ours can be theirs: routes by source or type of service,
//! cloned (cached) routes. Of a nexthop object the number is read, and the hops that the kernel expands it to
//! if it does (`net.ipv4.nexthop_compat_mode`).
//!
//! # IPv6 in IPv6
//!
//! The kernel takes a gateway "on" a link only if no other route than the default one leads to it
//! (`Nexthop has invalid gateway or device mismatch`): to a node of the own subnet no route through a
//! tunnel could be spelt that way, as it is for IPv4. So a hop onto an ip6tnl device to any far end
//! carries the node as its encapsulation (`encap ip6 dst NODE src LOCAL`), and for a gateway, without
//! which the kernel takes several hops for several routes, a link-local address made from the node's
//! that nobody ever asks for. It is read back as what was meant: the node, onlink.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use netlink_packet_core::{Nla, Parseable};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteIp6Tunnel, RouteLwEnCapType, RouteLwTunnelEncap,
    RouteMessage, RouteMetric, RouteNextHop, RouteNextHopFlags, RouteProtocol, RouteScope,
    RouteType, RouteVia,
};

use super::super::route::{Hop, KernelRoute, RouteKind, Shape};
use crate::net::{Family, Prefix};

/// `RTM_F_CLONED`: an exception of another route, not a route.
const CLONED: u32 = 0x200;

/// The far end in an encapsulation of the type "ip6".
const LWTUNNEL_IP6_DST: u16 = 2;

/// The ip6tnl devices to any far end, with the address that packets leave with.
pub(super) type Tunnels = HashMap<u32, Option<Ipv6Addr>>;

/// The request for all routes of a family. The kernel filters by table (`NETLINK_GET_STRICT_CHK`).
pub(super) fn dump(family: Family, table: u32) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = match family {
        Family::Ipv4 => AddressFamily::Inet,
        Family::Ipv6 => AddressFamily::Inet6,
    };
    message.header.kind = RouteType::Unspec;
    message.header.protocol = RouteProtocol::Unspec;
    message.attributes.push(RouteAttribute::Table(table));
    message
}

/// A route as a request says it.
pub(super) fn message(route: &KernelRoute, delete: bool, tunnels: &Tunnels) -> RouteMessage {
    let mut message = RouteMessage::default();
    let family = route.prefix.family();
    let shape = &*route.shape;
    let header = &mut message.header;
    header.address_family = match family {
        Family::Ipv4 => AddressFamily::Inet,
        Family::Ipv6 => AddressFamily::Inet6,
    };
    header.destination_prefix_length = route.prefix.len();
    header.table = u8::try_from(route.table).unwrap_or(0);
    header.protocol = RouteProtocol::from(route.protocol);
    let bare = shape.kind == RouteKind::Unicast && shape.hops.iter().all(|hop| hop.via.is_none());
    header.scope = match (delete, family) {
        // "Nowhere" lets a deletion match every scope.
        (true, Family::Ipv4) => RouteScope::NoWhere,
        (false, Family::Ipv4) if bare => RouteScope::Link,
        (_, _) => RouteScope::Universe,
    };
    header.kind = match shape.kind {
        RouteKind::Unicast => RouteType::Unicast,
        RouteKind::Blackhole => RouteType::BlackHole,
        RouteKind::Unreachable => RouteType::Unreachable,
        RouteKind::Prohibit => RouteType::Prohibit,
        RouteKind::Other(number) => RouteType::from(number),
    };
    let attributes = &mut message.attributes;
    attributes.push(RouteAttribute::Destination(route.prefix.address().into()));
    // What the header says, and what is so anyway, need not be read once more for each route.
    if message.header.table == 0 {
        attributes.push(RouteAttribute::Table(route.table));
    }
    if route.metric != 0 {
        attributes.push(RouteAttribute::Priority(route.metric));
    }
    if let Some(source) = shape.preferred_source {
        attributes.push(RouteAttribute::PrefSource(source.into()));
    }
    match &*shape.hops {
        [] => {}
        [hop] => {
            let way = way(hop, family, tunnels);
            if hop.onlink && way.len() < 2 {
                message.header.flags = RouteFlags::Onlink;
            }
            attributes.extend(way);
            attributes.extend(hop.interface.map(RouteAttribute::Oif));
        }
        many => {
            let hops = many
                .iter()
                .map(|hop| next_hop(hop, family, tunnels))
                .collect();
            attributes.push(RouteAttribute::MultiPath(hops));
        }
    }
    message
}

/// How a hop says where to: a gateway, or an encapsulation with a gateway for form's sake.
fn way(hop: &Hop, family: Family, tunnels: &Tunnels) -> Vec<RouteAttribute> {
    let source = hop.interface.and_then(|index| tunnels.get(&index));
    let (Some(source), Some(IpAddr::V6(node)), true) = (source, hop.via, hop.onlink) else {
        return gateway(hop, family).into_iter().collect();
    };
    let mut ends = vec![RouteLwTunnelEncap::Ip6(RouteIp6Tunnel::Destination(node))];
    ends.extend(source.map(|local| RouteLwTunnelEncap::Ip6(RouteIp6Tunnel::Source(local))));
    vec![
        RouteAttribute::Gateway(stand_in(node).into()),
        RouteAttribute::EncapType(RouteLwEnCapType::Ip6),
        RouteAttribute::Encap(ends),
    ]
}

/// A link-local address for a node, another one for each of a subnet's.
fn stand_in(node: Ipv6Addr) -> Ipv6Addr {
    let bits = node.to_bits();
    let own = (bits >> 64 ^ bits) & u128::from(u64::MAX);
    Ipv6Addr::from_bits(0xfe80_u128 << 112 | own)
}

/// A gateway of the other family goes into another attribute (RFC 8950's data plane).
fn gateway(hop: &Hop, family: Family) -> Option<RouteAttribute> {
    Some(match (hop.via?, family) {
        (IpAddr::V6(via), Family::Ipv4) => RouteAttribute::Via(RouteVia::Inet6(via)),
        (IpAddr::V4(via), Family::Ipv6) => RouteAttribute::Via(RouteVia::Inet(via)),
        (via, Family::Ipv4 | Family::Ipv6) => RouteAttribute::Gateway(via.into()),
    })
}

fn next_hop(hop: &Hop, family: Family, tunnels: &Tunnels) -> RouteNextHop {
    let mut message = RouteNextHop::default();
    message.hops = u8::try_from(hop.weight.saturating_sub(1)).unwrap_or(u8::MAX);
    message.interface_index = hop.interface.unwrap_or(0);
    message.attributes = way(hop, family, tunnels);
    if hop.onlink && message.attributes.len() < 2 {
        message.flags = RouteNextHopFlags::Onlink;
    }
    message
}

/// What a message says about a route; none if it is none of our business.
pub(super) fn read(payload: &[u8]) -> Option<KernelRoute> {
    let message = RouteMessage::parse(payload).ok()?;
    let header = &message.header;
    let special = header.tos != 0 || header.source_prefix_length != 0;
    if special || header.flags.bits() & CLONED != 0 {
        return None;
    }
    let mut destination = unspecified(header.address_family)?;
    let mut found = Hop {
        via: None,
        interface: None,
        onlink: false,
        weight: 1,
    };
    found.onlink = header.flags.contains(RouteFlags::Onlink);
    let (mut table, mut metric) = (u32::from(header.table), 0);
    let (mut source, mut mtu) = (None, None);
    let (mut hops, mut node, mut object) = (Vec::new(), None, 0);
    let attributes = &message.attributes;
    for attribute in attributes {
        match attribute {
            RouteAttribute::Destination(to) => destination = ip(to)?,
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Priority(number) => metric = *number,
            RouteAttribute::PrefSource(address) => source = ip(address),
            RouteAttribute::Oif(index) => found.interface = Some(*index),
            RouteAttribute::Gateway(_) | RouteAttribute::Via(_) => found.via = via(attribute),
            RouteAttribute::Encap(ends)
                if attributes.contains(&RouteAttribute::EncapType(RouteLwEnCapType::Ip6)) =>
            {
                node = tunnelled(ends);
            }
            RouteAttribute::NhId(id) => object = *id,
            RouteAttribute::Metrics(metrics) => mtu = metrics.iter().find_map(largest),
            RouteAttribute::MultiPath(many) => hops.extend(many.iter().map(read_hop)),
            // Caches, classes and what newer kernels add: not part of a key or a way.
            _ => {}
        }
    }
    if node.is_some() {
        (found.via, found.onlink) = (node, true);
    }
    if hops.is_empty() && (found.via.is_some() || found.interface.is_some()) {
        hops.push(found);
    }
    let kind = kind_of(header.kind);
    if kind != RouteKind::Unicast {
        // IPv6 hangs its blackholes on the loopback device.
        hops.clear();
    }
    let shape = Shape {
        kind,
        object,
        ..Shape::unicast(hops)
    }
    .with_preferred_source(source)
    .with_mtu(mtu);
    Some(KernelRoute {
        prefix: Prefix::new(destination, header.destination_prefix_length),
        table,
        metric,
        protocol: header.protocol.into(),
        shape: Arc::new(shape),
    })
}

fn kind_of(told: RouteType) -> RouteKind {
    match told {
        RouteType::Unicast => RouteKind::Unicast,
        RouteType::BlackHole => RouteKind::Blackhole,
        RouteType::Unreachable => RouteKind::Unreachable,
        RouteType::Prohibit => RouteKind::Prohibit,
        other => RouteKind::Other(other.into()),
    }
}

fn read_hop(message: &RouteNextHop) -> Hop {
    let attributes = &message.attributes;
    let ip6 = attributes.contains(&RouteAttribute::EncapType(RouteLwEnCapType::Ip6));
    let node = attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Encap(ends) if ip6 => tunnelled(ends),
        _ => None,
    });
    Hop {
        via: node.or_else(|| attributes.iter().find_map(via)),
        interface: (message.interface_index != 0).then_some(message.interface_index),
        onlink: node.is_some() || message.flags.contains(RouteNextHopFlags::Onlink),
        weight: u16::from(message.hops) + 1,
    }
}

const fn unspecified(family: AddressFamily) -> Option<IpAddr> {
    match family {
        AddressFamily::Inet => Some(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED)),
        AddressFamily::Inet6 => Some(IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
        _ => None,
    }
}

const fn largest(metric: &RouteMetric) -> Option<u32> {
    match metric {
        RouteMetric::Mtu(mtu) if *mtu > 0 => Some(*mtu),
        _ => None,
    }
}

/// The far end that an IPv6 encapsulation names.
fn tunnelled(ends: &[RouteLwTunnelEncap]) -> Option<IpAddr> {
    ends.iter().find_map(|end| match end {
        RouteLwTunnelEncap::Ip6(RouteIp6Tunnel::Destination(node)) => Some((*node).into()),
        // In one of several hops netlink-packet-route overlooks of which type it is.
        RouteLwTunnelEncap::Other(raw) if raw.kind() == LWTUNNEL_IP6_DST => {
            let mut octets = [0; 16];
            (raw.value_len() == octets.len()).then(|| raw.emit_value(&mut octets))?;
            Some(Ipv6Addr::from(octets).into())
        }
        _ => None,
    })
}

fn via(attribute: &RouteAttribute) -> Option<IpAddr> {
    match attribute {
        RouteAttribute::Gateway(address) => ip(address),
        RouteAttribute::Via(RouteVia::Inet(address)) => Some((*address).into()),
        RouteAttribute::Via(RouteVia::Inet6(address)) => Some((*address).into()),
        _ => None,
    }
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}
