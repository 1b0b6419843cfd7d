//! The netlink sockets: how they are opened, filtered and read.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_sys::protocols::{NETLINK_GENERIC, NETLINK_ROUTE};
use netlink_sys::{Socket, SocketAddr};
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{SockFilter, SockRef};

use super::KernelSettings;
use super::codec::{RTM_DELLINK, RTM_DELROUTE, RTM_NEWLINK, RTM_NEWROUTE};

const RTNLGRP_LINK: u32 = 1;
const RTNLGRP_NEIGH: u32 = 3;
const RTNLGRP_IPV4_IFADDR: u32 = 5;
const RTNLGRP_IPV4_ROUTE: u32 = 7;
const RTNLGRP_IPV6_IFADDR: u32 = 9;
const RTNLGRP_IPV6_ROUTE: u32 = 11;
const RTNLGRP_IPV4_NETCONF: u32 = 24;
const RTNLGRP_IPV6_NETCONF: u32 = 25;
/// Since Linux 5.3.
const RTNLGRP_NEXTHOP: u32 = 32;

/// The kernel fills at most 32 KiB of a dump into one datagram.
const DATAGRAM: usize = 64 * 1024;
/// Answers of generic netlink are read one by one.
const GENERIC_BUFFER: usize = 256 * 1024;

/// A socket and the datagram that was read last.
#[derive(Debug)]
pub(super) struct Channel {
    socket: Socket,
    port: u32,
    buffer: Vec<u8>,
}

/// What became of a read.
#[derive(Debug)]
pub(super) enum Received {
    Datagram,
    Nothing,
    /// The buffer overran, messages were dropped.
    Overrun,
    Failed,
}

impl Channel {
    /// For operations and dumps.
    pub(super) fn requests(settings: KernelSettings) -> io::Result<Self> {
        let channel = Self::open(NETLINK_ROUTE, settings.result_buffer)?;
        // An error without the request that caused it: the sequence number says enough.
        channel.socket.set_cap_ack(true)?;
        // Dumps filtered by the kernel; since Linux 4.20.
        channel.socket.set_netlink_get_strict_chk(true)?;
        Ok(channel)
    }

    /// For questions that have one answer each.
    pub(super) fn questions() -> io::Result<Self> {
        let channel = Self::open(NETLINK_ROUTE, GENERIC_BUFFER)?;
        channel.socket.set_cap_ack(true)?;
        Ok(channel)
    }

    /// For requests to families of generic netlink.
    pub(super) fn generic() -> io::Result<Self> {
        let channel = Self::open(NETLINK_GENERIC, GENERIC_BUFFER)?;
        channel.socket.set_cap_ack(true)?;
        Ok(channel)
    }

    /// For notifications, without the echoes of the operations of `port` on all but links.
    pub(super) fn news(settings: KernelSettings, port: u32) -> io::Result<Self> {
        let channel = Self::open(NETLINK_ROUTE, settings.news_buffer)?;
        let program = filter(port, settings.table);
        SockRef::from(&channel.socket).attach_filter(&program)?;
        for group in [
            RTNLGRP_LINK,
            RTNLGRP_NEIGH,
            RTNLGRP_IPV4_IFADDR,
            RTNLGRP_IPV4_ROUTE,
            RTNLGRP_IPV6_IFADDR,
            RTNLGRP_IPV6_ROUTE,
            RTNLGRP_IPV4_NETCONF,
            RTNLGRP_IPV6_NETCONF,
        ] {
            channel.socket.add_membership(group)?;
        }
        // Whose kernel has no such group has no nexthop objects, either.
        let _none = channel.socket.add_membership(RTNLGRP_NEXTHOP);
        Ok(channel)
    }

    fn open(protocol: isize, receive_buffer: usize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        let port = socket.bind_auto()?.port_number();
        socket.set_non_blocking(true)?;
        // Above the administrator's limit, if we may; otherwise as much as there is.
        if setsockopt(&socket, sockopt::RcvBufForce, &receive_buffer).is_err() {
            setsockopt(&socket, sockopt::RcvBuf, &receive_buffer)?;
        }
        Ok(Self {
            socket,
            port,
            buffer: Vec::with_capacity(DATAGRAM),
        })
    }

    pub(super) const fn port(&self) -> u32 {
        self.port
    }

    /// Reads one datagram, without waiting.
    pub(super) fn receive(&mut self) -> Received {
        self.buffer.clear();
        match self.socket.recv(&mut self.buffer, 0) {
            Ok(_) => Received::Datagram,
            Err(error) => match error.raw_os_error() {
                Some(libc::EAGAIN) => Received::Nothing,
                Some(libc::EINTR) => Received::Nothing,
                Some(libc::ENOBUFS) => Received::Overrun,
                Some(_) | None => Received::Failed,
            },
        }
    }

    pub(super) fn datagram(&self) -> &[u8] {
        &self.buffer
    }

    pub(super) fn send(&self, bytes: &[u8]) -> io::Result<()> {
        self.socket
            .send_to(bytes, &SocketAddr::new(0, 0), 0)
            .map(|_| ())
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A classic BPF program that drops echoes of `port`'s requests, and routes of other tables. Links
/// always pass: only the echo says which index a new one got, and what the kernel made of its MTU.
///
/// A notification is one message a datagram: type at 4, port of the requester at 12, and in a
/// route message the table at 20 (252 and above name themselves, larger ones go by attribute).
fn filter(port: u32, table: u32) -> Vec<SockFilter> {
    const LOAD_WORD: u16 = 0x20;
    const LOAD_HALF: u16 = 0x28;
    const LOAD_BYTE: u16 = 0x30;
    const JUMP_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    // The machine loads in network order, the messages are in host order.
    let word = |value: u32| u32::from_be_bytes(value.to_ne_bytes());
    let half = |value: u16| u32::from(u16::from_be_bytes(value.to_ne_bytes()));
    // A table above 255 stands in an attribute; the byte says 252, "see there".
    let table = u8::try_from(table).unwrap_or(252);
    vec![
        SockFilter::new(LOAD_HALF, 0, 0, 4),
        SockFilter::new(JUMP_EQUAL, 8, 0, half(RTM_NEWLINK)),
        SockFilter::new(JUMP_EQUAL, 7, 0, half(RTM_DELLINK)),
        SockFilter::new(LOAD_WORD, 0, 0, 12),
        SockFilter::new(JUMP_EQUAL, 6, 0, word(port)),
        SockFilter::new(LOAD_HALF, 0, 0, 4),
        SockFilter::new(JUMP_EQUAL, 1, 0, half(RTM_NEWROUTE)),
        SockFilter::new(JUMP_EQUAL, 0, 2, half(RTM_DELROUTE)),
        SockFilter::new(LOAD_BYTE, 0, 0, 20),
        SockFilter::new(JUMP_EQUAL, 0, 1, u32::from(table)),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
        SockFilter::new(RETURN, 0, 0, 0),
    ]
}
