//! The few bytes of rtnetlink that the generator needs: IPv4 routes via one gateway, written and listened to.
//!
//! Shared with nothing of dunlin's. No IPv6, no dumps.

use crate::error::{Context, Result};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, setsockopt,
    socket, sockopt,
};
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};

/// A route was added or changed.
pub(crate) const NEW_ROUTE: u16 = 24;
/// A route was removed.
pub(crate) const DELETE_ROUTE: u16 = 25;
/// An error, or with errno 0 an acknowledgement.
pub(crate) const ERROR: u16 = 2;
const REQUEST: u16 = 1;
const ACK: u16 = 4;
const EXCLUSIVE: u16 = 0x200;
const CREATE: u16 = 0x400;
/// The group of IPv4 route notifications, as a bit.
const IPV4_ROUTES: u32 = 0x40;
const MAIN_TABLE: u8 = 254;
/// The protocol number on the routes that are written here.
const PROTOCOL: u8 = 199;
const INTERFACE: u16 = 4;
const GATEWAY: u16 = 5;
const DESTINATION: u16 = 1;

/// A netlink socket, in the namespace of the thread that opens it.
pub(crate) struct Channel(OwnedFd);

impl Channel {
    /// Opens it, with or without notifications of IPv4 routes.
    pub(crate) fn open(listen: bool, buffer: usize) -> Result<Self> {
        let fd = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkRoute,
        )
        .context("a netlink socket")?;
        setsockopt(&fd, sockopt::RcvBufForce, &buffer).context("a netlink buffer")?;
        let groups = if listen { IPV4_ROUTES } else { 0 };
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups)).context("binding a netlink socket")?;
        Ok(Self(fd))
    }

    /// Sends requests, many at once.
    pub(crate) fn send(&self, bytes: &[u8]) -> Result<()> {
        nix::sys::socket::send(self.0.as_raw_fd(), bytes, MsgFlags::empty())
            .context("writing routes")
            .map(|_| ())
    }

    /// Waits for a datagram and hands out its messages: type, and what follows the header.
    pub(crate) fn receive(&self, mut each: impl FnMut(u16, &[u8])) -> Result<()> {
        self.read(MsgFlags::empty(), &mut each).map(|_| ())
    }

    /// The same for what has already come; `false` if nothing has.
    pub(crate) fn try_receive(&self, mut each: impl FnMut(u16, &[u8])) -> Result<bool> {
        self.read(MsgFlags::MSG_DONTWAIT, &mut each)
    }

    fn read(&self, flags: MsgFlags, each: &mut impl FnMut(u16, &[u8])) -> Result<bool> {
        let mut buffer = [0; 32 * 1024];
        let length = match recv(self.0.as_raw_fd(), &mut buffer, flags) {
            Ok(length) => length,
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => return Ok(false),
            Err(error) => return Err(error).context("reading netlink"),
        };
        let mut rest = buffer.get(..length).unwrap_or_default();
        while let [l0, l1, l2, l3, k0, k1, ..] = *rest {
            let size = u32::from_ne_bytes([l0, l1, l2, l3]) as usize;
            let Some(body) = rest.get(16..size) else {
                break;
            };
            each(u16::from_ne_bytes([k0, k1]), body);
            rest = rest.get(size.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(true)
    }
}

/// Appends a request: one of `routes` via `gateway`, to be added or removed.
pub(crate) fn put_route(
    out: &mut Vec<u8>,
    kind: u16,
    acknowledge: bool,
    (address, length): (u32, u8),
    (gateway, interface): (Ipv4Addr, u32),
) {
    let start = out.len();
    let create = if kind == NEW_ROUTE {
        CREATE | EXCLUSIVE
    } else {
        0
    };
    let acknowledge = if acknowledge { ACK } else { 0 };
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(&(REQUEST | create | acknowledge).to_ne_bytes());
    out.extend_from_slice(&[0; 8]);
    // Family, lengths of destination and source, type of service; table, protocol, scope, kind; flags.
    out.extend_from_slice(&[2, length, 0, 0, MAIN_TABLE, PROTOCOL, 0, 1, 0, 0, 0, 0]);
    for (attribute, value) in [
        (DESTINATION, address.to_be_bytes()),
        (GATEWAY, gateway.octets()),
        (INTERFACE, interface.to_ne_bytes()),
    ] {
        out.extend_from_slice(&8_u16.to_ne_bytes());
        out.extend_from_slice(&attribute.to_ne_bytes());
        out.extend_from_slice(&value);
    }
    let size = u32::try_from(out.len() - start).unwrap_or(0).to_ne_bytes();
    if let Some(place) = out.get_mut(start..start + 4) {
        place.copy_from_slice(&size);
    }
}

/// The destination of a route message of the main table.
pub(crate) fn destination(body: &[u8]) -> Option<(u32, u8)> {
    let [2, length, _, _, MAIN_TABLE, ..] = *body else {
        return None;
    };
    let mut rest = body.get(12..)?;
    while let [l0, l1, k0, k1, ..] = *rest {
        let size = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = rest.get(4..size)?;
        if u16::from_ne_bytes([k0, k1]) == DESTINATION {
            return Some((u32::from_be_bytes(value.try_into().ok()?), length));
        }
        rest = rest.get(size.next_multiple_of(4)..).unwrap_or_default();
    }
    None
}

/// The errno in an error message.
pub(crate) fn errno(body: &[u8]) -> i32 {
    body.first_chunk()
        .map_or(0, |code| i32::from_ne_bytes(*code).wrapping_neg())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_as_the_same_destination() {
        let mut bytes = Vec::new();
        let way = (Ipv4Addr::new(172, 31, 1, 0), 7);
        put_route(&mut bytes, NEW_ROUTE, true, (0x0102_0300, 24), way);
        assert_eq!(bytes.len(), 16 + 12 + 3 * 8);
        assert_eq!(bytes[..4], 52_u32.to_ne_bytes());
        assert_eq!(destination(&bytes[16..]), Some((0x0102_0300, 24)));
        assert_eq!(destination(&bytes[16..20]), None);
    }
}
