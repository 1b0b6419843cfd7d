//! Tunnel devices: what is wanted of them against what the kernel has.
//!
//! Not about routes. What always holds:
//!
//! - a device of another program is never changed: ours carry the note [`MARK`], and a kernel's own
//!   `tunl0` is taken only while nobody uses it, or when adoption was asked for;
//! - a device is made before anything is sent through it, and removed only when no route of ours
//!   uses it and [`LINGER`] has passed since it was last wanted: other nodes switch later;
//! - a far end counts as ready only when its neighbour and FDB entries are in the kernel, and it
//!   stays so when another program removes them: they are back sooner than a route would be;
//! - what makes is asked for before routes are, what removes after them, and not while a route leads
//!   there;
//! - only permanent entries are touched.

mod blame;
mod entries;
mod host;
mod key;
mod machine;
mod needs;
mod news;
mod pace;
mod port;
mod pursuit;
mod results;
mod uplink;

use std::net::IpAddr;
use std::sync::Arc;

use crate::net::{Family, Mac, Prefix};
use crate::time::{Duration, Instant};

pub(super) use machine::Tunnels;
pub use news::TunnelNews;

/// The note on devices that are ours (`ip link show` says `alias dunlin`).
pub(super) const MARK: &str = "dunlin";
/// How long a device that is no longer wanted still takes in packets of nodes that switch later.
pub(super) const LINGER: Duration = Duration::from_secs(60);

/// A tunnel device, as wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tunnel {
    /// Its name.
    pub name: Arc<str>,
    /// What it is.
    pub kind: TunnelKind,
    /// This node's address under it: what packets leave with, and whose link gives the MTU.
    pub underlay: IpAddr,
    /// The address on it: the source of this node's own packets into the tunnel.
    pub address: Option<IpAddr>,
    /// Its MTU; `None` is what the links under it carry, less what the encapsulation takes. It is set to
    /// no less than the family needs to be carried at all.
    pub mtu: Option<u32>,
    /// Where it leads to; an IP-in-IP device needs none.
    pub far_ends: Vec<FarEnd>,
    /// Addresses of other nodes, one of each subnet: the ways to them are the ways under the tunnel.
    pub toward: Vec<IpAddr>,
}

/// The kinds of tunnel device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TunnelKind {
    /// `tunl0`: IPv4 in IPv4 to any far end.
    Ipip,
    /// IPv6 in IPv6 to any far end.
    Ip6tnl,
    /// VXLAN, its family that of the underlay address.
    Vxlan {
        /// The network.
        vni: u32,
        /// The UDP port.
        port: u16,
        /// Its MAC.
        mac: Mac,
        /// Leave transmit checksums to the hardware.
        checksum_offload: bool,
    },
}

/// The other end of a VXLAN tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FarEnd {
    /// The address that routes go via.
    pub address: IpAddr,
    /// The MAC that it has.
    pub mac: Mac,
    /// The node's address, where VXLAN packets go.
    pub node: IpAddr,
}

/// How a tunnel device does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TunnelStatus {
    /// Its name.
    pub name: Arc<str>,
    /// What it is, in the kernel's word (`ipip`, `ip6tnl`, `vxlan`).
    pub kind: &'static str,
    /// How it does.
    pub state: TunnelState,
    /// Its MTU in the kernel.
    pub mtu: Option<u32>,
    /// The addresses on it.
    pub addresses: Vec<Prefix>,
    /// Far ends that are wanted.
    pub far_ends: usize,
    /// Far ends whose entries are all in the kernel.
    pub ready: usize,
    /// The links under it carry less than it takes in.
    pub too_narrow: Option<TooNarrow>,
}

/// A link that carries no packet as large as a tunnel above it takes in, wrapped: it travels in pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TooNarrow {
    /// The link.
    pub link: Box<str>,
    /// What it, or the route over it, carries.
    pub mtu: u32,
    /// What it would have to.
    pub needed: u32,
}

/// How a tunnel device does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TunnelState {
    /// It is there, up and as wanted.
    Up,
    /// It is being made or corrected.
    Pending,
    /// No longer wanted; it still takes in packets until then.
    Leaving {
        /// When it goes, unless routes still use it.
        at: Instant,
    },
    /// The kernel has no driver for it.
    NoDriver {
        /// The module that would bring it.
        module: &'static str,
    },
    /// A device of this name belongs to another program.
    Foreign,
    /// Something refused.
    Refused {
        /// What, in words.
        reason: String,
    },
    /// No link has the underlay address.
    NoUnderlay,
}

impl TunnelState {
    /// For scripts: it never changes.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Pending => "pending",
            Self::Leaving { .. } => "leaving",
            Self::NoDriver { .. } => "no_driver",
            Self::Foreign => "foreign",
            Self::Refused { .. } => "refused",
            Self::NoUnderlay => "no_underlay",
        }
    }
}

impl Tunnel {
    /// The family of what carries it, and of what it carries.
    pub fn family(&self) -> Family {
        Prefix::host(self.underlay).family()
    }
}

impl TunnelKind {
    /// Octets that the encapsulation takes from the MTU under it.
    pub const fn overhead(self, underlay: IpAddr) -> u32 {
        match (self, underlay) {
            (Self::Ipip, _) => 20,
            (Self::Ip6tnl, _) => 40,
            (Self::Vxlan { .. }, IpAddr::V4(_)) => 50,
            (Self::Vxlan { .. }, IpAddr::V6(_)) => 70,
        }
    }
}
