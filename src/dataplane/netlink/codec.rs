//! Between the dataplane's values and rtnetlink messages; neither sockets nor decisions.
//!
//! Left out on reading, because no key of ours can be theirs: routes by source or type of service,
//! cloned (cached) routes. A nexthop object is read by the hops that the kernel expands it to.

use std::net::IpAddr;
use std::sync::Arc;

use netlink_packet_core::{
    Emitable, NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST,
    Parseable,
};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkExtentMask, LinkFlags, LinkMessage};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteNextHop, RouteNextHopFlags,
    RouteProtocol, RouteScope, RouteType, RouteVia,
};

use super::super::input::{Action, Address, Change, Link};
use super::super::route::{Hop, KernelRoute, RouteKind, Shape};
use crate::net::{Family, Prefix};

pub(super) const RTM_NEWLINK: u16 = 16;
pub(super) const RTM_DELLINK: u16 = 17;
pub(super) const RTM_GETLINK: u16 = 18;
pub(super) const RTM_NEWADDR: u16 = 20;
pub(super) const RTM_DELADDR: u16 = 21;
pub(super) const RTM_GETADDR: u16 = 22;
pub(super) const RTM_NEWROUTE: u16 = 24;
pub(super) const RTM_DELROUTE: u16 = 25;
pub(super) const RTM_GETROUTE: u16 = 26;
const HEADER: usize = 16;
/// `RTM_F_CLONED`: an exception of another route, not a route.
const CLONED: u32 = 0x200;

/// The fixed part of a netlink message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) sequence: u32,
}

/// Splits the first message off a datagram; none at its end or if it is cut short.
pub(super) fn split(datagram: &[u8]) -> Option<(Header, &[u8], &[u8])> {
    let (head, _) = datagram.split_first_chunk::<HEADER>()?;
    let [l0, l1, l2, l3, k0, k1, f0, f1, s0, s1, s2, s3, ..] = *head;
    let length = u32::from_ne_bytes([l0, l1, l2, l3]) as usize;
    let payload = datagram.get(HEADER..length)?;
    let rest = datagram
        .get(length.next_multiple_of(4)..)
        .unwrap_or_default();
    let header = Header {
        kind: u16::from_ne_bytes([k0, k1]),
        flags: u16::from_ne_bytes([f0, f1]),
        sequence: u32::from_ne_bytes([s0, s1, s2, s3]),
    };
    Some((header, payload, rest))
}

/// The errno at the start of an error or done message; 0 is an acknowledgement.
pub(super) fn error_code(payload: &[u8]) -> i32 {
    payload
        .first_chunk::<4>()
        .map_or(0, |code| i32::from_ne_bytes(*code).wrapping_neg())
}

/// Appends the request for a route operation. A dump is no single request: nothing is appended.
pub(super) fn put_action(buffer: &mut Vec<u8>, sequence: u32, action: &Action) {
    let (kind, flags, route) = match action {
        Action::Add(route) => (RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, route),
        Action::Replace(route) => (RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, route),
        Action::Delete(route) => (RTM_DELROUTE, 0, route),
        // The others are not spelt yet.
        _ => return,
    };
    let message = route_message(route, kind == RTM_DELROUTE);
    put(
        buffer,
        Header {
            kind,
            flags: NLM_F_REQUEST | NLM_F_ACK | flags,
            sequence,
        },
        &message,
    );
}

/// One of the requests that a dump consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Links,
    Addresses,
    Routes4,
    Routes6,
}

impl Stage {
    pub(super) const fn next(self) -> Option<Self> {
        match self {
            Self::Links => Some(Self::Addresses),
            Self::Addresses => Some(Self::Routes4),
            Self::Routes4 => Some(Self::Routes6),
            Self::Routes6 => None,
        }
    }

    /// Appends the request. The kernel filters by table (`NETLINK_GET_STRICT_CHK`).
    pub(super) fn put(self, buffer: &mut Vec<u8>, sequence: u32, table: u32) {
        let header = |kind| Header {
            kind,
            flags: NLM_F_REQUEST | NLM_F_DUMP,
            sequence,
        };
        match self {
            Self::Links => {
                let mut message = LinkMessage::default();
                message
                    .attributes
                    .push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
                put(buffer, header(RTM_GETLINK), &message);
            }
            Self::Addresses => put(buffer, header(RTM_GETADDR), &AddressMessage::default()),
            Self::Routes4 | Self::Routes6 => {
                let mut message = RouteMessage::default();
                message.header.address_family = match self {
                    Self::Routes6 => AddressFamily::Inet6,
                    Self::Links | Self::Addresses | Self::Routes4 => AddressFamily::Inet,
                };
                message.header.kind = RouteType::Unspec;
                message.header.protocol = RouteProtocol::Unspec;
                message.attributes.push(RouteAttribute::Table(table));
                put(buffer, header(RTM_GETROUTE), &message);
            }
        }
    }
}

/// What a notification or a row of a dump says; none if it is none of our business.
pub(super) fn change(header: Header, payload: &[u8]) -> Option<Change> {
    match header.kind {
        RTM_NEWLINK | RTM_DELLINK => link(header.kind, payload),
        RTM_NEWADDR | RTM_DELADDR => {
            let message = AddressMessage::parse(payload).ok()?;
            let address = address(&message)?;
            let gone = header.kind == RTM_DELADDR;
            Some(if gone {
                Change::AddressGone(address)
            } else {
                Change::Address(address)
            })
        }
        RTM_NEWROUTE => {
            let replaced = header.flags & NLM_F_REPLACE != 0;
            Some(Change::Route {
                route: route(payload)?,
                replaced,
            })
        }
        RTM_DELROUTE => Some(Change::RouteGone(route(payload)?)),
        _ => None,
    }
}

fn put<M: Emitable>(buffer: &mut Vec<u8>, header: Header, message: &M) {
    let length = HEADER + message.buffer_len();
    let start = buffer.len();
    buffer.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes());
    buffer.extend_from_slice(&header.kind.to_ne_bytes());
    buffer.extend_from_slice(&header.flags.to_ne_bytes());
    buffer.extend_from_slice(&header.sequence.to_ne_bytes());
    buffer.extend_from_slice(&0_u32.to_ne_bytes());
    buffer.resize(start + length, 0);
    if let Some(body) = buffer.get_mut(start + HEADER..) {
        message.emit(body);
    }
    buffer.resize(start + length.next_multiple_of(4), 0);
}

fn route_message(route: &KernelRoute, delete: bool) -> RouteMessage {
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
    attributes.push(RouteAttribute::Table(route.table));
    attributes.push(RouteAttribute::Priority(route.metric));
    if let Some(source) = shape.preferred_source {
        attributes.push(RouteAttribute::PrefSource(source.into()));
    }
    match &*shape.hops {
        [] => {}
        [hop] => {
            if hop.onlink {
                message.header.flags = RouteFlags::Onlink;
            }
            attributes.extend(gateway(hop, family));
            attributes.extend(hop.interface.map(RouteAttribute::Oif));
        }
        many => {
            let hops = many.iter().map(|hop| next_hop(hop, family)).collect();
            attributes.push(RouteAttribute::MultiPath(hops));
        }
    }
    message
}

/// A gateway of the other family goes into another attribute (RFC 8950's data plane).
fn gateway(hop: &Hop, family: Family) -> Option<RouteAttribute> {
    Some(match (hop.via?, family) {
        (IpAddr::V6(via), Family::Ipv4) => RouteAttribute::Via(RouteVia::Inet6(via)),
        (IpAddr::V4(via), Family::Ipv6) => RouteAttribute::Via(RouteVia::Inet(via)),
        (via, Family::Ipv4 | Family::Ipv6) => RouteAttribute::Gateway(via.into()),
    })
}

fn next_hop(hop: &Hop, family: Family) -> RouteNextHop {
    let mut message = RouteNextHop::default();
    message.hops = u8::try_from(hop.weight.saturating_sub(1)).unwrap_or(u8::MAX);
    message.interface_index = hop.interface.unwrap_or(0);
    if hop.onlink {
        message.flags = RouteNextHopFlags::Onlink;
    }
    message.attributes.extend(gateway(hop, family));
    message
}

fn route(payload: &[u8]) -> Option<KernelRoute> {
    let message = RouteMessage::parse(payload).ok()?;
    let header = &message.header;
    let unspecified: IpAddr = match header.address_family {
        AddressFamily::Inet => std::net::Ipv4Addr::UNSPECIFIED.into(),
        AddressFamily::Inet6 => std::net::Ipv6Addr::UNSPECIFIED.into(),
        _ => return None,
    };
    let special = header.tos != 0 || header.source_prefix_length != 0;
    if special || header.flags.bits() & CLONED != 0 {
        return None;
    }
    let mut destination = unspecified;
    let mut found = Hop {
        via: None,
        interface: None,
        onlink: false,
        weight: 1,
    };
    found.onlink = header.flags.contains(RouteFlags::Onlink);
    let (mut table, mut metric, mut source) = (u32::from(header.table), 0, None);
    let mut hops = Vec::new();
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(to) => destination = ip(to)?,
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Priority(number) => metric = *number,
            RouteAttribute::PrefSource(address) => source = ip(address),
            RouteAttribute::Oif(index) => found.interface = Some(*index),
            RouteAttribute::Gateway(_) | RouteAttribute::Via(_) => found.via = via(attribute),
            RouteAttribute::MultiPath(many) => hops.extend(many.iter().map(read_hop)),
            // Metrics, caches, classes and what newer kernels add: not part of a key or a way.
            _ => {}
        }
    }
    if hops.is_empty() && (found.via.is_some() || found.interface.is_some()) {
        hops.push(found);
    }
    let kind = match header.kind {
        RouteType::Unicast => RouteKind::Unicast,
        RouteType::BlackHole => RouteKind::Blackhole,
        RouteType::Unreachable => RouteKind::Unreachable,
        RouteType::Prohibit => RouteKind::Prohibit,
        other => RouteKind::Other(other.into()),
    };
    if kind != RouteKind::Unicast {
        // IPv6 hangs its blackholes on the loopback device.
        hops.clear();
    }
    let shape = Shape {
        kind,
        ..Shape::unicast(hops)
    }
    .with_preferred_source(source);
    Some(KernelRoute {
        prefix: Prefix::new(destination, header.destination_prefix_length),
        table,
        metric,
        protocol: header.protocol.into(),
        shape: Arc::new(shape),
    })
}

fn read_hop(message: &RouteNextHop) -> Hop {
    Hop {
        via: message.attributes.iter().find_map(via),
        interface: (message.interface_index != 0).then_some(message.interface_index),
        onlink: message.flags.contains(RouteNextHopFlags::Onlink),
        weight: u16::from(message.hops) + 1,
    }
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

fn link(kind: u16, payload: &[u8]) -> Option<Change> {
    let message = LinkMessage::parse(payload).ok()?;
    // Bridges report their ports a second time, under their own family.
    if message.header.interface_family != AddressFamily::Unspec {
        return None;
    }
    let index = message.header.index;
    if kind == RTM_DELLINK {
        return Some(Change::LinkGone { index });
    }
    let name = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name.as_str().into()),
            _ => None,
        })?;
    let flags = message.header.flags;
    let (up, lower_up) = (
        flags.contains(LinkFlags::Up),
        flags.contains(LinkFlags::LowerUp),
    );
    Some(Change::Link(Link {
        index,
        name,
        up,
        lower_up,
        ..Link::named(index, "")
    }))
}

fn address(message: &AddressMessage) -> Option<Address> {
    // On a point-to-point link "address" is the far end and "local" is ours.
    let local = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            AddressAttribute::Local(address) => Some(*address),
            _ => None,
        });
    let plain = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        });
    Some(Address {
        interface: message.header.index,
        address: local.or(plain)?,
        len: message.header.prefix_len,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn again(route: &KernelRoute) -> KernelRoute {
        let mut bytes = Vec::new();
        put_action(&mut bytes, 7, &Action::Replace(route.clone()));
        let (header, payload, rest) = split(&bytes).unwrap();
        assert_eq!(
            (header.kind, header.sequence, rest.len()),
            (RTM_NEWROUTE, 7, 0)
        );
        super::route(payload).unwrap()
    }

    #[test]
    fn a_route_reads_as_it_was_written() {
        let hop = |via: &str, index| Hop::new(via.parse().unwrap(), index);
        let onlink = Hop {
            onlink: true,
            ..hop("10.0.0.9", 4)
        };
        let heavy = Hop {
            weight: 5,
            ..hop("10.0.0.1", 2)
        };
        let cases = [
            ("10.1.0.0/16", Shape::blackhole()),
            ("10.1.0.0/16", Shape::unicast([onlink])),
            ("0.0.0.0/0", Shape::unicast([heavy, hop("10.0.0.2", 3)])),
            ("10.1.0.0/16", Shape::unicast([hop("fe80::1", 2)])),
            (
                "2001:db8::/32",
                Shape::unicast([hop("fe80::1", 2), hop("fe80::2", 2)]),
            ),
        ];
        for (prefix, shape) in cases {
            let prefix = prefix.parse().unwrap();
            let shape = Arc::new(shape);
            let route = KernelRoute {
                prefix,
                table: 254,
                metric: 9,
                protocol: 179,
                shape,
            };
            assert_eq!(again(&route), route);
        }
    }

    #[test]
    fn bytes_that_end_early_are_not_read() {
        let mut bytes = Vec::new();
        Stage::Routes6.put(&mut bytes, 1, 254);
        for len in 0..bytes.len() {
            assert!(split(bytes.get(..len).unwrap()).is_none(), "{len}");
        }
    }
}
