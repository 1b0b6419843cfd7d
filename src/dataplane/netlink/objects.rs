//! Nexthop objects from rtnetlink messages, which netlink-packet-route does not know. They are read, never
//! written.

use super::super::input::Change;
use super::super::object::Object;
use super::super::route::Hop;
use super::attribute::{each, ip, number};
use super::codec::RTM_DELNEXTHOP;

/// The length of `struct nhmsg`: family, scope, protocol, a reserved octet, flags.
const HEAD: usize = 8;
const NHA_ID: u16 = 1;
const NHA_GROUP: u16 = 2;
const NHA_BLACKHOLE: u16 = 4;
const NHA_OIF: u16 = 5;
const NHA_GATEWAY: u16 = 6;
const NHA_FDB: u16 = 11;
const RTNH_F_ONLINK: u32 = 4;
/// The length of `struct nexthop_grp`: id, weight less one, its upper octet, a reserved half.
const MEMBER: usize = 8;

/// Appends the request for all objects.
pub(super) fn put_dump(body: &mut Vec<u8>) {
    body.extend_from_slice(&[0; HEAD]);
}

/// What a message says about an object.
pub(super) fn read(kind: u16, payload: &[u8]) -> Option<Change> {
    let (head, attributes) = payload.split_first_chunk::<HEAD>()?;
    let [.., f0, f1, f2, f3] = *head;
    let flags = u32::from_ne_bytes([f0, f1, f2, f3]);
    let (mut id, mut via, mut interface) = (None, None, None);
    let mut group: Option<Box<[(u32, u16)]>> = None;
    let (mut blackhole, mut fdb) = (false, false);
    for (kind, value) in each(attributes) {
        match kind {
            NHA_ID => id = number(value),
            NHA_GROUP => group = Some(value.chunks_exact(MEMBER).filter_map(member).collect()),
            NHA_BLACKHOLE => blackhole = true,
            NHA_OIF => interface = number(value),
            NHA_GATEWAY => via = ip(value),
            NHA_FDB => fdb = true,
            _ => {}
        }
    }
    let id = id?;
    if kind == RTM_DELNEXTHOP {
        return Some(Change::ObjectGone { id });
    }
    let object = match group {
        Some(members) => Object::Group(members),
        None if blackhole => Object::Blackhole,
        None => Object::Hop(Hop {
            via,
            interface,
            onlink: flags & RTNH_F_ONLINK != 0,
            weight: 1,
        }),
    };
    // A far end of a VXLAN device is no way for routes.
    (!fdb).then_some(Change::Object { id, object })
}

fn member(bytes: &[u8]) -> Option<(u32, u16)> {
    let [a, b, c, d, low, high, ..] = *bytes.first_chunk::<MEMBER>()?;
    let weight = u16::from_le_bytes([low, high]).saturating_add(1);
    Some((u32::from_ne_bytes([a, b, c, d]), weight))
}

#[cfg(test)]
mod tests {
    use super::super::attribute::put;
    use super::super::codec::RTM_NEWNEXTHOP;
    use super::*;

    fn message(flags: u32, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = vec![2, 0, 4, 0];
        body.extend(flags.to_ne_bytes());
        for (kind, value) in attributes {
            put(&mut body, *kind, value);
        }
        body
    }

    #[test]
    fn hops_groups_and_blackholes_are_read_and_nothing_panics() {
        let seven = 7_u32.to_ne_bytes();
        let two = 2_u32.to_ne_bytes();
        let hop = message(4, &[(1, &seven), (5, &two), (6, &[10, 0, 0, 1])]);
        let expected = Hop {
            onlink: true,
            ..Hop::new("10.0.0.1".parse().unwrap(), 2)
        };
        let object = Object::Hop(expected);
        let change = read(RTM_NEWNEXTHOP, &hop);
        assert_eq!(change, Some(Change::Object { id: 7, object }));
        assert_eq!(
            read(RTM_DELNEXTHOP, &hop),
            Some(Change::ObjectGone { id: 7 })
        );

        let mut members = two.to_vec();
        members.extend([3, 0, 0, 0]);
        members.extend(seven);
        members.extend([0, 1, 0, 0]);
        let group = message(0, &[(1, &9_u32.to_ne_bytes()), (2, &members)]);
        let object = Object::Group([(2, 4), (7, 257)].into());
        let change = read(RTM_NEWNEXTHOP, &group);
        assert_eq!(change, Some(Change::Object { id: 9, object }));

        let object = Object::Blackhole;
        let change = read(RTM_NEWNEXTHOP, &message(0, &[(1, &seven), (4, &[])]));
        assert_eq!(change, Some(Change::Object { id: 7, object }));
        assert_eq!(
            read(RTM_NEWNEXTHOP, &message(0, &[(1, &seven), (11, &[])])),
            None
        );
        for end in 0..group.len() {
            let _any = read(RTM_NEWNEXTHOP, &group[..end]);
        }
    }
}
