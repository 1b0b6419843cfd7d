//! The next hops that the speaker hands down, and what became of them.

use core::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::route::Hop;

/// A next hop as a routing protocol knows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NextHop {
    /// The address of the node or router.
    pub address: IpAddr,
    /// How it is to be reached.
    pub reach: Reach,
}

/// How a next hop is to be reached.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reach {
    /// Through whatever routes the kernel has that are not ours.
    Routed,
    /// As a neighbour on the link with this index: what an IPv6 link-local address needs.
    Link(u32),
    /// As a neighbour on the link by which this other address is reached: what a link-local address needs
    /// that came from there.
    Beside(IpAddr),
    /// Through the device of this name, `onlink`: a tunnel. The device may come and go.
    Device(Arc<str>),
    /// It is the destination itself, behind the tunnel device of this name.
    Onto(Arc<str>),
}

impl NextHop {
    /// A next hop that is looked up in the kernel's routes.
    pub const fn routed(address: IpAddr) -> Self {
        Self {
            address,
            reach: Reach::Routed,
        }
    }

    /// A neighbour on a link.
    pub const fn on_link(address: IpAddr, interface: u32) -> Self {
        Self {
            address,
            reach: Reach::Link(interface),
        }
    }

    /// A neighbour on the link by which `other` is reached.
    pub const fn beside(address: IpAddr, other: IpAddr) -> Self {
        Self {
            address,
            reach: Reach::Beside(other),
        }
    }

    /// The far end of a tunnel device.
    pub const fn through(address: IpAddr, device: Arc<str>) -> Self {
        Self {
            address,
            reach: Reach::Device(device),
        }
    }
}

impl NextHop {
    /// The destination itself, behind a tunnel device.
    pub const fn onto(address: IpAddr, device: Arc<str>) -> Self {
        Self {
            address,
            reach: Reach::Onto(device),
        }
    }
}

impl NextHop {
    /// The address that the routes are asked about, if they are.
    pub(super) const fn looked_up(&self) -> Option<IpAddr> {
        match self.reach {
            Reach::Routed => Some(self.address),
            Reach::Beside(other) => Some(other),
            Reach::Link(_) | Reach::Device(_) | Reach::Onto(_) => None,
        }
    }
}

impl From<IpAddr> for NextHop {
    fn from(address: IpAddr) -> Self {
        Self::routed(address)
    }
}

impl fmt::Display for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reach {
            Reach::Routed => self.address.fmt(f),
            Reach::Link(index) => write!(f, "{} dev #{index}", self.address),
            Reach::Beside(other) => write!(f, "{} on the link to {other}", self.address),
            Reach::Device(name) => write!(f, "{} dev {name} onlink", self.address),
            Reach::Onto(name) => write!(f, "dev {name}"),
        }
    }
}

/// What is wanted for a prefix.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Forwarding {
    /// Drop it: this node's own block, whose pods have more specific routes.
    Blackhole,
    /// Send it on by these; those that can't be reached are left out.
    Via(Vec<NextHop>),
}

/// What the kernel's routes say about a next hop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// It can't be reached.
    Unreachable(Unreachable),
    /// It can be reached.
    Reachable {
        /// The ways to it, each a neighbour and a link.
        hops: Arc<[Hop]>,
        /// The metric of the route that leads there; 0 on a connected subnet or a link.
        metric: u32,
        /// It is a neighbour on one of our links: no router is between.
        direct: bool,
    },
}

impl Resolution {
    /// Whether there is a way.
    pub const fn is_reachable(&self) -> bool {
        match self {
            Self::Reachable { .. } => true,
            Self::Unreachable(_) => false,
        }
    }
}

/// Why a next hop can't be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreachable {
    /// The kernel was not read yet.
    #[error("the kernel's routes are not known yet")]
    Unknown,
    /// No route covers it.
    #[error("no route leads to it")]
    NoRoute,
    /// The best route is one that drops.
    #[error("the route to it is a blackhole, unreachable or prohibit route")]
    Dropped,
    /// Every link on the way is down.
    #[error("the link to it is down")]
    LinkDown,
    /// The link or device does not exist.
    #[error("the device to it does not exist")]
    NoDevice,
    /// The tunnel device, or what it needs for this far end, is not (or not yet) there.
    #[error("the tunnel to it is being set up")]
    NotReady,
    /// It is an address of this host.
    #[error("it is an address of this host")]
    Local,
    /// It is a link-local address, and nobody said on which link.
    #[error("it is a link-local address without a link")]
    NoScope,
    /// The routes lead to each other in a circle, or too deep.
    #[error("the routes to it are recursive without end")]
    TooDeep,
}
