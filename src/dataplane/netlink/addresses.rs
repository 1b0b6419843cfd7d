//! Addresses to and from rtnetlink messages.

use std::net::IpAddr;

use netlink_packet_core::Parseable;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{
    AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope,
};

use super::super::input::{Address, Change};
use super::codec::RTM_DELADDR;

/// An address as a request says it.
pub(super) fn message(address: &Address) -> AddressMessage {
    let mut message = AddressMessage::default();
    let header = &mut message.header;
    header.index = address.interface;
    header.prefix_len = address.len;
    header.scope = AddressScope::Universe;
    header.family = match address.address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    if address.address.is_ipv6() {
        // Nobody can answer on a tunnel, and until nobody did the address would be unusable.
        header.flags = AddressHeaderFlags::Nodad;
    }
    message.attributes = vec![
        AddressAttribute::Local(address.address),
        AddressAttribute::Address(address.address),
    ];
    message
}

/// What a message says about an address.
pub(super) fn read(kind: u16, payload: &[u8]) -> Option<Change> {
    let message = AddressMessage::parse(payload).ok()?;
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
    let address = Address {
        interface: message.header.index,
        address: local.or(plain)?,
        len: message.header.prefix_len,
    };
    Some(if kind == RTM_DELADDR {
        Change::AddressGone(address)
    } else {
        Change::Address(address)
    })
}
