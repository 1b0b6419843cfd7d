//! Which way the kernel sends a packet, as it says when it is asked; and the names of those who make routes.
//!
//! Not what we want and not what we believe: rules, other tables and routes of others are in the answer.

use std::net::IpAddr;

use super::route::{Errno, KernelRoute, RouteKind};

/// `RTN_LOCAL`: packets for this host itself.
const LOCAL: u8 = 2;

/// A packet that the kernel is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Where it goes.
    pub to: IpAddr,
    /// Whose it is; none is this host's own, whose source the kernel picks.
    pub from: Option<IpAddr>,
    /// The link that it came in by, if it is only passed on.
    pub arriving: Option<u32>,
}

/// What becomes of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// This route takes it.
    Taken(KernelRoute),
    /// Nothing does, or something drops it.
    Refused(Errno),
}

/// The same in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// A route sends it on.
    SentOn,
    /// It is for this host itself.
    Local,
    /// It is dropped in silence.
    Blackhole,
    /// It is dropped, and its sender is told "unreachable".
    Unreachable,
    /// It is dropped, and its sender is told "prohibited".
    Prohibited,
    /// There is no route.
    NoRoute,
    /// It came by a link that its answer would not leave by (`rp_filter`).
    ReversePath,
    /// The kernel refuses it for another reason.
    Refused,
}

impl Outcome {
    /// In a word.
    pub fn fate(&self) -> Fate {
        match self {
            Self::Taken(route) => match route.shape.kind {
                RouteKind::Unicast => Fate::SentOn,
                RouteKind::Blackhole => Fate::Blackhole,
                RouteKind::Unreachable => Fate::Unreachable,
                RouteKind::Prohibit => Fate::Prohibited,
                RouteKind::Other(LOCAL) => Fate::Local,
                RouteKind::Other(_) => Fate::Refused,
            },
            // The kernel does not say which route or rule; the error is that of its type.
            Self::Refused(Errno(errno)) => match *errno {
                101 => Fate::NoRoute,
                22 => Fate::Blackhole,
                113 => Fate::Unreachable,
                13 => Fate::Prohibited,
                18 => Fate::ReversePath,
                _ => Fate::Refused,
            },
        }
    }
}

impl Fate {
    /// For scripts.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SentOn => "sent_on",
            Self::Local => "local",
            Self::Blackhole => "blackhole",
            Self::Unreachable => "unreachable",
            Self::Prohibited => "prohibited",
            Self::NoRoute => "no_route",
            Self::ReversePath => "reverse_path",
            Self::Refused => "refused",
        }
    }

    /// For people, of a packet.
    pub const fn words(self) -> &'static str {
        match self {
            Self::SentOn => "is sent on",
            Self::Local => "is for this host itself",
            Self::Blackhole => {
                "is dropped by a blackhole, of a route or of a policy rule (`ip rule`)"
            }
            Self::Unreachable => "is dropped as unreachable",
            Self::Prohibited => "is dropped as prohibited, by a route or a policy rule (`ip rule`)",
            Self::NoRoute => {
                "is dropped: there is no route, or a policy rule (`ip rule`) says \"unreachable\""
            }
            Self::ReversePath => "is dropped by the reverse path filter (rp_filter)",
            Self::Refused => "is refused",
        }
    }
}

/// Who makes routes of a protocol number (`/etc/iproute2/rt_protos`), where that is agreed on.
pub const fn protocol_name(protocol: u8) -> Option<&'static str> {
    Some(match protocol {
        1 => "redirect",
        2 => "kernel",
        3 => "boot",
        4 => "static",
        8 => "gated",
        9 => "ra",
        11 => "zebra",
        12 => "bird",
        16 => "dhcp",
        18 => "keepalived",
        42 => "babel",
        80 => "felix",
        179 => "dunlin",
        186 => "bgp",
        187 => "isis",
        188 => "ospf",
        189 => "rip",
        192 => "eigrp",
        196 => "static (FRR)",
        _ => return None,
    })
}

/// The kernel's own tables by name.
pub const fn table_name(table: u32) -> Option<&'static str> {
    Some(match table {
        253 => "default",
        254 => "main",
        255 => "local",
        _ => return None,
    })
}
