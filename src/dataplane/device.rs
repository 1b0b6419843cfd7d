//! Tunnel devices and what hangs on them, as the kernel holds them; nothing about netlink.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::route::Errno;
use crate::net::{Family, Mac};

/// What kind of virtual device a link is, and what of it can't be changed while it exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Device {
    /// IPv4 in IPv4.
    Ipip {
        /// What packets leave with; none is whatever the route to the far end says.
        local: Option<Ipv4Addr>,
        /// The one far end; none is any, by the route's next hop.
        remote: Option<Ipv4Addr>,
    },
    /// IPv6 in IPv6, without the encapsulation limit option (RFC 2473 §6.6).
    Ip6tnl {
        /// What packets leave with; none is whatever the route to the far end says.
        local: Option<Ipv6Addr>,
        /// The one far end; none is any, by the route's next hop.
        remote: Option<Ipv6Addr>,
    },
    /// VXLAN.
    Vxlan {
        /// The network.
        vni: u32,
        /// The UDP port.
        port: u16,
        /// What packets leave with.
        local: Option<IpAddr>,
        /// The link that they leave by, if it is fixed.
        parent: Option<u32>,
        /// It learns FDB entries from packets.
        learning: bool,
        /// Routes say where packets go (`external`), FDB entries don't count.
        external: bool,
    },
    /// Any other kind, by its name.
    Other(Box<str>),
}

/// A link to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkSpec {
    /// Its name.
    pub name: Box<str>,
    /// What it is.
    pub device: Device,
    /// Its MTU.
    pub mtu: u32,
    /// Its Ethernet address, if it has one.
    pub mac: Option<Mac>,
    /// The note on it.
    pub alias: Box<str>,
}

/// What of a link can be changed in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkSetting {
    /// Set it up.
    Up,
    /// Set it down: only the kernel's own `tunl0`, which can't be deleted, when it is given back; and
    /// what somebody has renamed, where the kernel gives names only to links that are down.
    Down,
    /// Its name.
    Name(Box<str>),
    /// Its MTU.
    Mtu(u32),
    /// Its Ethernet address.
    Mac(Mac),
    /// The note on it; an empty one takes the note away.
    Alias(Box<str>),
}

/// An entry that says where packets or frames for somebody go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Neighbour {
    /// An address has this MAC on the link (ARP, neighbour discovery).
    Address {
        /// The link.
        interface: u32,
        /// Whose.
        address: IpAddr,
        /// It.
        mac: Mac,
    },
    /// Frames for this MAC go to a node (the FDB of a VXLAN device).
    Forward {
        /// The device.
        interface: u32,
        /// Whose.
        mac: Mac,
        /// Where to.
        node: IpAddr,
    },
}

/// A setting of the kernel that forwarding hangs on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sysctl {
    /// Packets are forwarded at all. For IPv6, links that listened to router advertisements go on
    /// listening (`accept_ra` 2).
    Forwarding(Family),
    /// IPv4 packets that come by this link are forwarded.
    ForwardingOn(Box<str>),
    /// IPv6 is on on this link, whatever new links are to begin with.
    Ipv6On(Box<str>),
    /// The reverse path filter of this link is no stricter than "loose" (RFC 3704 §2.4): while nodes
    /// switch at different times, packets come by another link than answers leave.
    LooseReversePath(Box<str>),
}

impl Sysctl {
    /// The link that it is about, if it is not the whole host.
    pub fn link(&self) -> Option<&str> {
        match self {
            Self::Forwarding(_) => None,
            Self::ForwardingOn(link) | Self::Ipv6On(link) | Self::LooseReversePath(link) => {
                Some(link)
            }
        }
    }
}

/// The setting in the kernel's words, with the value that it has to have.
impl core::fmt::Display for Sysctl {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Forwarding(Family::Ipv4) => f.write_str("net.ipv4.ip_forward = 1"),
            Self::Forwarding(Family::Ipv6) => f.write_str("net.ipv6.conf.all.forwarding = 1"),
            Self::ForwardingOn(link) => write!(f, "net.ipv4.conf.{link}.forwarding = 1"),
            Self::Ipv6On(link) => write!(f, "net.ipv6.conf.{link}.disable_ipv6 = 0"),
            Self::LooseReversePath(link) => write!(f, "net.ipv4.conf.{link}.rp_filter = 2"),
        }
    }
}

impl Device {
    /// The kernel's name of the kind.
    pub fn kind(&self) -> &str {
        match self {
            Self::Ipip { .. } => "ipip",
            Self::Ip6tnl { .. } => "ip6tnl",
            Self::Vxlan { .. } => "vxlan",
            Self::Other(kind) => kind,
        }
    }

    /// The kernel module that brings the kind.
    pub fn module(&self) -> &str {
        match self {
            Self::Ip6tnl { .. } => "ip6_tunnel",
            Self::Ipip { .. } | Self::Vxlan { .. } | Self::Other(_) => self.kind(),
        }
    }
}

impl Neighbour {
    /// The link that it is on.
    pub const fn interface(&self) -> u32 {
        match self {
            Self::Address { interface, .. } | Self::Forward { interface, .. } => *interface,
        }
    }
}

/// Whether a refusal to make a link says that the kernel has no driver for it.
pub const fn lacks_driver(errno: Errno) -> bool {
    // EOPNOTSUPP is the answer for an unknown kind. ENODEV is not: a link under it may be gone.
    matches!(errno.0, 95)
}
