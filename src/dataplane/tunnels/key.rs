//! What entries of a link are about, and how they are spelt as changes and actions.

use std::net::IpAddr;

use super::super::device::Neighbour;
use super::super::input::{Action, Address, Change};
use super::needs::is_link_local;
use crate::net::Mac;

/// Names an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::dataplane) struct Key {
    /// The link.
    pub(super) interface: u32,
    /// Which one on it.
    pub(super) what: What,
}

/// What an entry is about. The kernel has one neighbour an address and one FDB entry a MAC, except
/// for MACs that mean many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::dataplane) enum What {
    Address(IpAddr, u8),
    Neighbour(IpAddr),
    Forward(Mac, Option<IpAddr>),
}

/// What it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value {
    Here,
    Mac(Mac),
    Node(IpAddr),
}

impl Key {
    /// The address that it is.
    pub(super) const fn address(address: Address) -> Self {
        Self {
            interface: address.interface,
            what: What::Address(address.address, address.len),
        }
    }

    /// The neighbour with this address.
    pub(super) const fn neighbour(interface: u32, address: IpAddr) -> Self {
        let what = What::Neighbour(address);
        Self { interface, what }
    }

    /// Where frames for this MAC go.
    pub(super) fn forward(interface: u32, mac: Mac, node: IpAddr) -> Self {
        let [first, ..] = mac.0;
        let many = first & 1 == 1 || mac == Mac::default();
        let what = What::Forward(mac, many.then_some(node));
        Self { interface, what }
    }

    /// The key and the value of a neighbour or FDB entry.
    pub(super) fn of(neighbour: Neighbour) -> (Self, Value) {
        match neighbour {
            Neighbour::Address {
                interface,
                address,
                mac,
            } => (Self::neighbour(interface, address), Value::Mac(mac)),
            Neighbour::Forward {
                interface,
                mac,
                node,
            } => (Self::forward(interface, mac, node), Value::Node(node)),
        }
    }

    /// The address, if it is about one.
    pub(super) const fn as_address(self) -> Option<Address> {
        match self.what {
            What::Address(address, len) => Some(Address {
                interface: self.interface,
                address,
                len,
            }),
            What::Neighbour(_) | What::Forward(..) => None,
        }
    }

    fn as_neighbour(self, value: Value) -> Option<Neighbour> {
        let interface = self.interface;
        match (self.what, value) {
            (What::Neighbour(address), Value::Mac(mac)) => Some(Neighbour::Address {
                interface,
                address,
                mac,
            }),
            (What::Forward(mac, _), Value::Node(node)) => Some(Neighbour::Forward {
                interface,
                mac,
                node,
            }),
            _ => None,
        }
    }

    /// The operation that makes or removes the entry.
    pub(super) fn action(self, set: bool, value: Value) -> Option<Action> {
        if let Some(address) = self.as_address() {
            return Some(if set {
                Action::AddAddress(address)
            } else {
                Action::DeleteAddress(address)
            });
        }
        let neighbour = self.as_neighbour(value)?;
        Some(if set {
            Action::SetNeighbour(neighbour)
        } else {
            Action::DeleteNeighbour(neighbour)
        })
    }
}

impl core::fmt::Display for Key {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.what {
            What::Address(address, len) => write!(f, "address {address}/{len}"),
            What::Neighbour(address) => write!(f, "neighbour {address}"),
            What::Forward(mac, _) => write!(f, "FDB entry {mac}"),
        }
    }
}

/// What a change says about an entry.
pub(super) fn told(change: &Change) -> Option<(Key, Option<Value>)> {
    match change {
        Change::Address(address) => Some((Key::address(*address), Some(Value::Here))),
        Change::AddressGone(address) => Some((Key::address(*address), None)),
        Change::Neighbour {
            neighbour,
            permanent,
        } => {
            let (key, value) = Key::of(*neighbour);
            // One that was learnt has taken the place of a permanent one, if there was any.
            Some((key, permanent.then_some(value)))
        }
        Change::NeighbourGone(neighbour) => Some((Key::of(*neighbour).0, None)),
        Change::Link(_)
        | Change::LinkGone { .. }
        | Change::Route { .. }
        | Change::RouteGone(_)
        | Change::Setting(_)
        | Change::Object { .. }
        | Change::ObjectGone { .. } => None,
    }
}

impl Key {
    /// The kernel makes it with the link.
    pub(super) fn comes_by_itself(self) -> bool {
        self.as_address()
            .is_some_and(|own| is_link_local(own.address))
    }
}

/// The first key of a link.
pub(super) const fn first(interface: u32) -> Key {
    Key {
        interface,
        what: What::Address(IpAddr::V4(core::net::Ipv4Addr::UNSPECIFIED), 0),
    }
}
