//! Neighbours and FDB entries to and from rtnetlink messages.
//!
//! An entry that a device can't use as it stands in [`Neighbour`] (an FDB entry with a port, a
//! network or a link of its own) is told as not permanent: whoever wants it, writes it anew. Left out
//! are entries of real bridges, which name no node, and those of multicast groups, which the kernel
//! works out by itself.

use std::net::IpAddr;

use super::super::device::Neighbour;
use super::super::input::Change;
use super::attribute::{each, ip, mac, put, put_ip};
use super::codec::RTM_DELNEIGH;
use crate::net::Mac;

/// The length of `struct ndmsg`.
const HEAD: usize = 12;
const AF_INET: u8 = 2;
pub(super) const AF_BRIDGE: u8 = 7;
const AF_INET6: u8 = 10;

const NUD_FAILED: u16 = 0x20;
const NUD_NOARP: u16 = 0x40;
const NUD_PERMANENT: u16 = 0x80;
/// On the device itself, not on the bridge that it is a port of.
const NTF_SELF: u8 = 0x02;
const NTF_PROXY: u8 = 0x08;
const RTN_UNICAST: u8 = 1;

const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NDA_PORT: u16 = 6;
const NDA_VNI: u16 = 7;
const NDA_IFINDEX: u16 = 8;

/// Appends the request for all entries of a family; 0 is IPv4 and IPv6.
pub(super) fn put_dump(body: &mut Vec<u8>, family: u8) {
    body.push(family);
    body.resize(body.len() + HEAD - 1, 0);
}

/// Appends an entry.
pub(super) fn put_entry(body: &mut Vec<u8>, entry: &Neighbour) {
    let (family, state, flags) = match entry {
        Neighbour::Address { address, .. } => {
            let family = if address.is_ipv4() { AF_INET } else { AF_INET6 };
            (family, NUD_PERMANENT, 0)
        }
        Neighbour::Forward { .. } => (AF_BRIDGE, NUD_PERMANENT | NUD_NOARP, NTF_SELF),
    };
    body.extend_from_slice(&[family, 0, 0, 0]);
    body.extend_from_slice(&entry.interface().to_ne_bytes());
    body.extend_from_slice(&state.to_ne_bytes());
    body.extend_from_slice(&[flags, RTN_UNICAST]);
    let (to, mac) = match entry {
        Neighbour::Address { address, mac, .. } => (address, mac),
        Neighbour::Forward { node, mac, .. } => (node, mac),
    };
    put_ip(body, NDA_DST, *to);
    put(body, NDA_LLADDR, &mac.0);
}

/// The link that a message is about: enough to leave most of them unread.
pub(super) fn interface(payload: &[u8]) -> Option<u32> {
    let [_, _, _, _, i0, i1, i2, i3, ..] = *payload.first_chunk::<HEAD>()?;
    Some(u32::from_ne_bytes([i0, i1, i2, i3]))
}

/// What a message says about an entry; none if it is none of our business.
pub(super) fn read(kind: u16, payload: &[u8]) -> Option<Change> {
    let (head, attributes) = payload.split_first_chunk::<HEAD>()?;
    let [family, _, _, _, _, _, _, _, s0, s1, flags, _] = *head;
    let interface = interface(payload)?;
    let state = u16::from_ne_bytes([s0, s1]);
    let (mut to, mut known, mut plain) = (None, None, true);
    for (kind, value) in each(attributes) {
        match kind {
            NDA_DST => to = ip(value),
            NDA_LLADDR => known = mac(value),
            NDA_PORT | NDA_VNI | NDA_IFINDEX => plain = false,
            _ => {}
        }
    }
    let to: IpAddr = to?;
    let neighbour = match family {
        AF_INET | AF_INET6 if flags & NTF_PROXY == 0 && !to.is_multicast() => Neighbour::Address {
            interface,
            address: to,
            mac: known.unwrap_or_default(),
        },
        AF_BRIDGE if flags & NTF_SELF != 0 => Neighbour::Forward {
            interface,
            mac: known?,
            node: to,
        },
        _ => return None,
    };
    // An administrator's deletion comes as a failure first: the entry has no MAC any more.
    let lost = state & NUD_FAILED != 0 || known.unwrap_or_default() == Mac::default();
    if kind == RTM_DELNEIGH || (family != AF_BRIDGE && lost) {
        return Some(Change::NeighbourGone(neighbour));
    }
    // A static FDB entry (no ARP, not permanent) does not age either.
    let lasting = match neighbour {
        Neighbour::Address { .. } => NUD_PERMANENT,
        Neighbour::Forward { .. } => NUD_PERMANENT | NUD_NOARP,
    };
    Some(Change::Neighbour {
        neighbour,
        permanent: plain && state & lasting != 0,
    })
}
