//! What the dataplane is told by the kernel, and what it asks of it.
//!
//! The netlink adapter speaks these types, and so does the fake kernel of the tests. Two promises
//! bind whoever produces the inputs: changes arrive in the order in which the kernel made them, and
//! the echo of an operation of ours on a route is *not* among the changes (its result says it all).
//! Of an operation on a link the result comes *after* the link as it then is, its index among it;
//! echoes of other operations may come after their results, and say nothing new.

use std::net::IpAddr;

use super::device::{Device, LinkSetting, LinkSpec, Neighbour, Sysctl};
use super::object::Object;
use super::route::{Errno, KernelRoute};
use crate::net::{Family, Mac};

/// Names one operation from [`Op`] to [`KernelInput::Done`]; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(pub u64);

/// An operation for the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Op {
    /// Comes back with the result.
    pub id: OpId,
    /// What is to be done.
    pub action: Action,
}

/// The kinds of operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Create the route; refuse with EEXIST if any route has its key (`NLM_F_CREATE | NLM_F_EXCL`).
    Add(KernelRoute),
    /// Create it, or put it in the place of the route with its key (`NLM_F_CREATE | NLM_F_REPLACE`).
    Replace(KernelRoute),
    /// Delete the route with this key and protocol; its hops, if it has any, must match too.
    Delete(KernelRoute),
    /// Report every link, address, neighbour and main-table route as [`KernelInput::Dumped`], then
    /// answer with [`KernelInput::Done`]. Never asked for while another operation is outstanding.
    Dump,
    /// Create a link, up.
    AddLink(Box<LinkSpec>),
    /// Change a link in place.
    SetLink {
        /// Which one.
        index: u32,
        /// What about it.
        setting: LinkSetting,
    },
    /// Delete a link, and with it what is on it.
    DeleteLink {
        /// Which one.
        index: u32,
    },
    /// Give a link an address.
    AddAddress(Address),
    /// Take it away.
    DeleteAddress(Address),
    /// Enter a permanent neighbour or FDB entry, in place of one with its key.
    SetNeighbour(Neighbour),
    /// Remove it; an FDB entry must match its node, too.
    DeleteNeighbour(Neighbour),
    /// Bring a setting of the kernel to what it has to be, unless it is.
    Tune(Sysctl),
    /// Switch the offloading of transmit checksums of a link.
    Offload {
        /// Its name.
        link: Box<str>,
        /// On or off.
        on: bool,
    },
}

/// What the kernel says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KernelInput {
    /// Somebody else, or the kernel itself, changed something.
    Changed(Change),
    /// One row of the dump that is running.
    Dumped(Change),
    /// An operation was carried out or refused.
    Done {
        /// Which one.
        id: OpId,
        /// The kernel's word on it. For a dump an error means that it is not complete.
        result: Result<(), Errno>,
    },
    /// All operations from one to another were carried out, in their order.
    Carried {
        /// The first of them.
        first: OpId,
        /// The last of them.
        last: OpId,
    },
    /// Changes were lost: what is known may be wrong until the next dump.
    Overrun,
}

/// A change of the kernel's state, or a part of that state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A link appeared or changed.
    Link(Box<Link>),
    /// A link is gone.
    LinkGone {
        /// Its index.
        index: u32,
    },
    /// An address of this host.
    Address(Address),
    /// An address is no longer there.
    AddressGone(Address),
    /// A neighbour or FDB entry was added or changed.
    Neighbour {
        /// The entry.
        neighbour: Neighbour,
        /// It is a permanent one; what the kernel has learnt is not.
        permanent: bool,
    },
    /// A neighbour or FDB entry is no longer there; its MAC may be missing (zero).
    NeighbourGone(Neighbour),
    /// A route was added or changed.
    Route {
        /// The route, with all its hops.
        route: KernelRoute,
        /// It took the place of another one with the same key.
        replaced: bool,
    },
    /// A route, or some hops of it (IPv6), was removed.
    RouteGone(KernelRoute),
    /// A setting of the kernel was changed.
    Setting(Setting),
    /// A nexthop object was added or changed.
    Object {
        /// Its number.
        id: u32,
        /// What it is now.
        object: Object,
    },
    /// A nexthop object is no longer there, and no route that names it.
    ObjectGone {
        /// Its number.
        id: u32,
    },
}

/// What became of a setting of the kernel: whoever changed it, it was not by netlink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// Whose packets it is about.
    pub family: Family,
    /// The link that it is about; none for the whole host.
    pub link: Option<u32>,
    /// Whether packets are forwarded, if it is about that.
    pub forwarding: Option<bool>,
    /// The mode of the reverse path filter, if it is about that; 1 is "strict".
    pub reverse_path: Option<u8>,
}

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its index; a link that is made anew has another one.
    pub index: u32,
    /// Its name.
    pub name: Box<str>,
    /// Somebody set it up.
    pub up: bool,
    /// It has a carrier.
    pub lower_up: bool,
    /// It is the loopback.
    pub loopback: bool,
    /// The largest packet that it carries, in octets.
    pub mtu: u32,
    /// Its Ethernet address, if it has one.
    pub mac: Option<Mac>,
    /// What somebody noted on it (`ip link set … alias`).
    pub alias: Option<Box<str>>,
    /// What kind of virtual device it is, if it is one.
    pub device: Option<Device>,
}

impl Link {
    /// A link that is up, with a carrier and an Ethernet's MTU.
    pub fn named(index: u32, name: &str) -> Self {
        Self {
            index,
            name: name.into(),
            up: true,
            lower_up: true,
            loopback: false,
            mtu: 1500,
            mac: None,
            alias: None,
            device: None,
        }
    }

    /// Whether packets can leave by it.
    pub const fn usable(&self) -> bool {
        self.up && self.lower_up
    }
}

/// An address of this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// The link that it is on.
    pub interface: u32,
    /// The address itself.
    pub address: IpAddr,
    /// The prefix length of the subnet that comes with it.
    pub len: u8,
}
