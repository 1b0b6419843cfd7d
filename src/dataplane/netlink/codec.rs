//! Netlink messages: how they are framed, and which of the dataplane's values each is; neither
//! sockets nor decisions.

use std::collections::HashSet;

use netlink_packet_core::{
    Emitable, NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST,
};
use netlink_packet_route::address::AddressMessage;

use super::super::device::{Device, LinkSpec};
use super::super::input::{Action, Change};
use super::super::route::KernelRoute;
use super::attribute::pad;
use super::route_writer::put_plain;
use super::routes::Tunnels;
use super::{addresses, links, neighbours, objects, routes, settings};
use crate::net::Family;

pub(super) const RTM_NEWLINK: u16 = 16;
pub(super) const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_SETLINK: u16 = 19;
const RTM_NEWADDR: u16 = 20;
pub(super) const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u16 = 22;
pub(super) const RTM_NEWROUTE: u16 = 24;
pub(super) const RTM_DELROUTE: u16 = 25;
const RTM_GETROUTE: u16 = 26;
const RTM_NEWNEIGH: u16 = 28;
pub(super) const RTM_DELNEIGH: u16 = 29;
const RTM_GETNEIGH: u16 = 30;
const RTM_NEWNETCONF: u16 = 80;
pub(super) const RTM_NEWNEXTHOP: u16 = 104;
pub(super) const RTM_DELNEXTHOP: u16 = 105;
const RTM_GETNEXTHOP: u16 = 106;
const HEADER: usize = 16;

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

/// Appends a message.
pub(super) fn frame(buffer: &mut Vec<u8>, header: Header, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = buffer.len();
    let ([k0, k1], [f0, f1]) = (header.kind.to_ne_bytes(), header.flags.to_ne_bytes());
    let [s0, s1, s2, s3] = header.sequence.to_ne_bytes();
    // The length comes below, and the port is filled in by the kernel.
    buffer.extend_from_slice(&[0, 0, 0, 0, k0, k1, f0, f1, s0, s1, s2, s3, 0, 0, 0, 0]);
    fill(buffer);
    let length = u32::try_from(buffer.len() - start).unwrap_or(u32::MAX);
    if let Some(place) = buffer.get_mut(start..start + 4) {
        place.copy_from_slice(&length.to_ne_bytes());
    }
    pad(buffer);
}

/// Takes the wish to be acknowledged off a message that begins at `start`: an error is told anyway.
pub(super) fn hush(buffer: &mut [u8], start: usize) {
    if let Some(flags) = buffer.get_mut(start + 6..start + 8)
        && let Ok(bytes) = <[u8; 2]>::try_from(&*flags)
    {
        flags.copy_from_slice(&(u16::from_ne_bytes(bytes) & !NLM_F_ACK).to_ne_bytes());
    }
}

/// Appends a message of netlink-packet-route's.
fn emit<M: Emitable>(buffer: &mut Vec<u8>, message: &M) {
    let start = buffer.len();
    buffer.resize(start + message.buffer_len(), 0);
    if let Some(body) = buffer.get_mut(start..) {
        message.emit(body);
    }
}

fn request(kind: u16, flags: u16, sequence: u32) -> Header {
    Header {
        kind,
        flags: NLM_F_REQUEST | NLM_F_ACK | flags,
        sequence,
    }
}

/// Appends the request for an operation. Nothing is appended for what is no single request to
/// rtnetlink: a dump, a setting below `/proc/sys`, offloading.
pub(super) fn put_action(buffer: &mut Vec<u8>, sequence: u32, action: &Action, tunnels: &Tunnels) {
    let ask = |kind, flags| request(kind, flags, sequence);
    let create = NLM_F_CREATE | NLM_F_EXCL;
    let replace = NLM_F_CREATE | NLM_F_REPLACE;
    let route = |buffer: &mut Vec<u8>, header: Header, route: &KernelRoute| {
        let delete = header.kind == RTM_DELROUTE;
        frame(buffer, header, |body| {
            if !put_plain(body, route, delete, tunnels) {
                emit(body, &routes::message(route, delete, tunnels));
            }
        });
    };
    match action {
        Action::Add(added) => route(buffer, ask(RTM_NEWROUTE, create), added),
        Action::Replace(new) => route(buffer, ask(RTM_NEWROUTE, replace), new),
        Action::Delete(gone) => route(buffer, ask(RTM_DELROUTE, 0), gone),
        Action::AddLink(spec) => frame(buffer, ask(RTM_NEWLINK, create), |body| {
            links::put_new(body, spec);
        }),
        Action::SetLink { index, setting } => frame(buffer, ask(RTM_SETLINK, 0), |body| {
            links::put_setting(body, *index, setting);
        }),
        Action::DeleteLink { index } => frame(buffer, ask(RTM_DELLINK, 0), |body| {
            links::put_deletion(body, *index);
        }),
        Action::AddAddress(address) => frame(buffer, ask(RTM_NEWADDR, replace), |body| {
            emit(body, &addresses::message(address));
        }),
        Action::DeleteAddress(address) => frame(buffer, ask(RTM_DELADDR, 0), |body| {
            emit(body, &addresses::message(address));
        }),
        Action::SetNeighbour(entry) => frame(buffer, ask(RTM_NEWNEIGH, replace), |body| {
            neighbours::put_entry(body, entry);
        }),
        Action::DeleteNeighbour(entry) => frame(buffer, ask(RTM_DELNEIGH, 0), |body| {
            neighbours::put_entry(body, entry);
        }),
        Action::Dump | Action::Tune(_) | Action::Offload { .. } => {}
    }
}

/// Appends the second request for a new link: what the kernel does not take with the first.
pub(super) fn put_rest_of_link(buffer: &mut Vec<u8>, sequence: u32, spec: &LinkSpec) {
    frame(buffer, request(RTM_SETLINK, 0, sequence), |body| {
        links::put_rest(body, spec);
    });
}

/// One of the requests that a dump consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Links,
    Addresses,
    Neighbours,
    Forwards,
    Objects,
    Routes4,
    Routes6,
}

impl Stage {
    pub(super) const fn next(self) -> Option<Self> {
        match self {
            Self::Links => Some(Self::Addresses),
            Self::Addresses => Some(Self::Neighbours),
            Self::Neighbours => Some(Self::Forwards),
            Self::Forwards => Some(Self::Objects),
            Self::Objects => Some(Self::Routes4),
            Self::Routes4 => Some(Self::Routes6),
            Self::Routes6 => None,
        }
    }

    /// Appends the request.
    pub(super) fn put(self, buffer: &mut Vec<u8>, sequence: u32, table: u32) {
        let kind = match self {
            Self::Links => RTM_GETLINK,
            Self::Addresses => RTM_GETADDR,
            Self::Neighbours | Self::Forwards => RTM_GETNEIGH,
            Self::Objects => RTM_GETNEXTHOP,
            Self::Routes4 | Self::Routes6 => RTM_GETROUTE,
        };
        let header = Header {
            kind,
            flags: NLM_F_REQUEST | NLM_F_DUMP,
            sequence,
        };
        frame(buffer, header, |body| match self {
            Self::Links => links::put_dump(body),
            Self::Addresses => emit(body, &AddressMessage::default()),
            Self::Neighbours => neighbours::put_dump(body, 0),
            Self::Forwards => neighbours::put_dump(body, neighbours::AF_BRIDGE),
            Self::Objects => objects::put_dump(body),
            Self::Routes4 => emit(body, &routes::dump(Family::Ipv4, table)),
            Self::Routes6 => emit(body, &routes::dump(Family::Ipv6, table)),
        });
    }
}

/// Reads notifications and the rows of dumps.
///
/// Neighbours are told of VXLAN devices only: a busy node's other links resolve and forget addresses
/// all the time, and nothing of ours hangs on them.
#[derive(Debug, Default)]
pub(super) struct Reader {
    vxlans: HashSet<u32>,
    tunnels: Tunnels,
}

impl Reader {
    /// The devices that routes are spelt differently for.
    pub(super) const fn tunnels(&self) -> &Tunnels {
        &self.tunnels
    }

    /// What a message says; none if it is none of our business.
    pub(super) fn change(&mut self, header: Header, payload: &[u8]) -> Option<Change> {
        match header.kind {
            RTM_NEWLINK | RTM_DELLINK => {
                let change = links::read(header.kind, payload)?;
                self.note(&change);
                Some(change)
            }
            RTM_NEWADDR | RTM_DELADDR => addresses::read(header.kind, payload),
            RTM_NEWNEIGH | RTM_DELNEIGH => {
                let interface = neighbours::interface(payload)?;
                self.vxlans
                    .contains(&interface)
                    .then(|| neighbours::read(header.kind, payload))?
            }
            RTM_NEWROUTE => Some(Change::Route {
                route: routes::read(payload)?,
                replaced: header.flags & NLM_F_REPLACE != 0,
            }),
            RTM_DELROUTE => Some(Change::RouteGone(routes::read(payload)?)),
            RTM_NEWNETCONF => settings::read(payload),
            RTM_NEWNEXTHOP | RTM_DELNEXTHOP => objects::read(header.kind, payload),
            _ => None,
        }
    }

    fn note(&mut self, change: &Change) {
        match change {
            Change::Link(link) => match link.device {
                Some(Device::Vxlan { .. }) => {
                    self.vxlans.insert(link.index);
                }
                Some(Device::Ip6tnl {
                    local,
                    remote: None,
                }) => {
                    self.tunnels.insert(link.index, local);
                }
                _ => {}
            },
            Change::LinkGone { index } => {
                self.vxlans.remove(index);
                self.tunnels.remove(index);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
