//! What the kernel says about changes of nftables: whether somebody else's touched a table of ours.
//!
//! The messages are read only as far as that takes: type, family, port of the requester and the
//! table's name, which is the first attribute of all of them. Bytes that make no sense say nothing.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use nix::sys::socket::{setsockopt, sockopt};

use super::render::TABLE;
use crate::net::Family;

/// `NFNLGRP_NFTABLES`.
const GROUP: u32 = 7;
/// `NFNL_SUBSYS_NFTABLES`, the upper half of a type.
const SUBSYSTEM: u8 = 10;
/// `NFT_MSG_NEWGEN`, `NFT_MSG_GETGEN`, `NFT_MSG_TRACE`: about no table.
const ABOUT_NO_TABLE: core::ops::RangeInclusive<u8> = 15..=17;
/// `NFTA_TABLE_NAME`, `NFTA_CHAIN_TABLE` and so on: they share the number.
const ATTRIBUTE_TABLE: u16 = 1;
/// `NFPROTO_IPV4`.
const PROTOCOL_4: u8 = 2;
/// `NFPROTO_IPV6`.
const PROTOCOL_6: u8 = 10;
/// `struct nlmsghdr`.
const HEADER: usize = 16;
/// `struct nfgenmsg`.
const GENERIC: usize = 4;
/// The upper bits of an attribute's type are flags.
const ATTRIBUTE_TYPE: u16 = 0x3fff;

/// The kernel makes datagrams of at most a page or two.
const DATAGRAM: usize = 64 * 1024;
/// Other programs load thousands of rules at once.
const RECEIVE_BUFFER: usize = 2 << 20;

/// A socket that hears of each transaction.
#[derive(Debug)]
pub(super) struct News {
    socket: Socket,
    buffer: Vec<u8>,
}

/// What was heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Heard {
    /// Somebody else touched the table of the family (IPv4, IPv6).
    pub touched: [bool; 2],
    /// Something was lost, and may have been about our tables.
    pub lost: bool,
    /// Nothing more will be heard.
    pub ended: bool,
}

impl News {
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind(&SocketAddr::new(0, 0))?;
        socket.set_non_blocking(true)?;
        if setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
            setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BUFFER)?;
        }
        socket.add_membership(GROUP)?;
        Ok(Self {
            socket,
            buffer: Vec::with_capacity(DATAGRAM),
        })
    }

    /// Reads everything that has come, without waiting. What was done through port `own` is ours: the
    /// kernel gives a program's netlink socket its process id as the port, as the program itself
    /// counts it, so that this holds in containers, too.
    pub(super) fn read(&mut self, own: Option<u32>) -> Heard {
        let mut heard = Heard::default();
        loop {
            self.buffer.clear();
            match self.socket.recv(&mut self.buffer, 0) {
                Ok(_) => heard.take(&self.buffer, own),
                Err(error) => match error.raw_os_error() {
                    Some(libc::EINTR) => {}
                    Some(libc::EAGAIN) => return heard,
                    Some(libc::ENOBUFS) => heard.lost = true,
                    Some(_) | None => {
                        heard.ended = true;
                        return heard;
                    }
                },
            }
        }
    }
}

impl AsFd for News {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Heard {
    fn take(&mut self, datagram: &[u8], own: Option<u32>) {
        let mut rest = datagram;
        while let Some((message, next)) = first_message(rest) {
            rest = next;
            if let Some(family) = about(message, own) {
                *family.of_mut(&mut self.touched) = true;
            }
        }
    }

    /// Takes in what was heard later.
    pub(super) const fn merge(&mut self, later: Self) {
        let ([v4, v6], [later4, later6]) = (self.touched, later.touched);
        self.touched = [v4 || later4, v6 || later6];
        self.lost |= later.lost;
        self.ended |= later.ended;
    }

    pub(super) const fn touches(&self, family: Family) -> bool {
        *family.of(&self.touched)
    }
}

fn first_message(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = usize::try_from(u32::from_ne_bytes(array(bytes, 0)?)).ok()?;
    if length < HEADER {
        return None;
    }
    let message = bytes.get(..length)?;
    let next = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((message, next))
}

/// The family of the table of ours that the message is about, if it was not caused by `own`.
fn about(message: &[u8], own: Option<u32>) -> Option<Family> {
    let [kind, subsystem] = u16::from_ne_bytes(array(message, 4)?).to_le_bytes();
    let port = u32::from_ne_bytes(array(message, 12)?);
    if subsystem != SUBSYSTEM || ABOUT_NO_TABLE.contains(&kind) || own == Some(port) {
        return None;
    }
    let [protocol] = array(message, HEADER)?;
    let family = match protocol {
        PROTOCOL_4 => Family::Ipv4,
        PROTOCOL_6 => Family::Ipv6,
        _ => return None,
    };
    let mut rest = message.get(HEADER + GENERIC..)?;
    while let Some((kind, value, next)) = first_attribute(rest) {
        rest = next;
        if kind == ATTRIBUTE_TABLE {
            let name = value.strip_suffix(&[0]).unwrap_or(value);
            return (name == TABLE.as_bytes()).then_some(family);
        }
    }
    None
}

fn first_attribute(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = usize::from(u16::from_ne_bytes(array(bytes, 0)?));
    let kind = u16::from_ne_bytes(array(bytes, 2)?) & ATTRIBUTE_TYPE;
    let value = bytes.get(4..length)?;
    let next = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((kind, value, next))
}

fn array<const N: usize>(bytes: &[u8], from: usize) -> Option<[u8; N]> {
    bytes.get(from..from.checked_add(N)?)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, port: u32, protocol: u8, table: &str) -> Vec<u8> {
        let mut attribute = Vec::new();
        let length = u16::try_from(4 + table.len() + 1).unwrap();
        attribute.extend(length.to_ne_bytes());
        attribute.extend(ATTRIBUTE_TABLE.to_ne_bytes());
        attribute.extend(table.as_bytes());
        attribute.push(0);
        attribute.resize(attribute.len().next_multiple_of(4), 0);
        let mut bytes = Vec::new();
        let total = u32::try_from(HEADER + GENERIC + attribute.len()).unwrap();
        bytes.extend(total.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 6]);
        bytes.extend(port.to_ne_bytes());
        bytes.extend([protocol, 0, 0, 0]);
        bytes.extend(attribute);
        bytes
    }

    fn touched(datagram: &[u8]) -> [bool; 2] {
        let mut heard = Heard::default();
        heard.take(datagram, Some(77));
        heard.touched
    }

    const DELTABLE: u16 = 0x0a02;
    const NEWGEN: u16 = 0x0a0f;

    #[test]
    fn only_what_others_do_to_our_table_counts() {
        assert_eq!(touched(&message(DELTABLE, 5, 2, "dunlin")), [true, false]);
        assert_eq!(touched(&message(DELTABLE, 5, 10, "dunlin")), [false, true]);
        for other in [
            message(DELTABLE, 77, 2, "dunlin"),
            message(DELTABLE, 5, 2, "dunlin2"),
            message(DELTABLE, 5, 1, "dunlin"),
            message(NEWGEN, 5, 2, "dunlin"),
            message(0x0102, 5, 2, "dunlin"),
        ] {
            assert_eq!(touched(&other), [false, false], "{other:?}");
        }
    }

    #[test]
    fn a_datagram_may_hold_several_and_bytes_without_sense() {
        let mut datagram = message(DELTABLE, 5, 2, "firewalld");
        datagram.extend(message(DELTABLE, 5, 10, "dunlin"));
        assert_eq!(touched(&datagram), [false, true]);
        for end in 0..datagram.len() {
            touched(datagram.get(..end).unwrap());
        }
        for at in 0..datagram.len() {
            for value in [0, 1, 3, 255] {
                let mut wrong = datagram.clone();
                wrong[at] = value;
                touched(&wrong);
            }
        }
    }
}
