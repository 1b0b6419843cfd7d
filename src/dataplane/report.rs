//! What operators are told about the kernel's routes: the dataplane decides, others print.

use core::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::adoption::Former;
use super::route::Errno;
use super::tunnels::TunnelNews;
use crate::net::Prefix;
use crate::time::{Duration, Instant};

/// Something worth a line in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// The kernel was read for the first time.
    Synced {
        /// Routes of ours that a former process left.
        own: usize,
        /// Routes of others.
        foreign: usize,
    },
    /// The kernel lost notifications; everything is read again.
    Overrun,
    /// The kernel does not let us change routes. Said once until it does.
    Denied,
    /// The kernel refused a route.
    Refused {
        /// Its destination.
        prefix: Prefix,
        /// Why.
        errno: Errno,
    },
    /// A foreign route stands where ours would: it is left.
    Conflict {
        /// Its destination.
        prefix: Prefix,
        /// Who made it.
        protocol: u8,
    },
    /// A route of ours would take away what the host reaches by itself: it is not made.
    Covers {
        /// Its destination.
        prefix: Prefix,
        /// What it would take away.
        what: Covered,
    },
    /// Somebody removed or changed a route of ours: it is put back at once.
    Repairing {
        /// Its destination.
        prefix: Prefix,
    },
    /// Somebody does so again and again: it is put back after a pause.
    Fought {
        /// Its destination.
        prefix: Prefix,
        /// How often of late.
        strikes: u8,
        /// The pause.
        pause: Duration,
    },
    /// A route that was refused or in conflict is installed, or no longer wanted.
    Recovered {
        /// Its destination.
        prefix: Prefix,
    },
    /// Something about a tunnel device.
    Tunnel {
        /// Its name.
        name: Arc<str>,
        /// What.
        news: TunnelNews,
    },
    /// Routes that other programs left are taken over. Said once, at the start.
    TookOver {
        /// So many of BIRD's.
        bird: usize,
        /// So many of Felix's.
        felix: usize,
    },
    /// A program whose leftovers were taken over has not ended: it wrote a route.
    StillWriting {
        /// Which one.
        former: Former,
    },
    /// The kernel did not let us delete a leftover.
    LeftStanding {
        /// Its destination.
        prefix: Prefix,
        /// Its protocol number.
        protocol: u8,
        /// Why.
        errno: Errno,
    },
    /// Reports were left out because nobody read them in time.
    More {
        /// How many.
        count: u64,
    },
}

/// What a route of ours would take away from the host if it were made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Covered {
    /// The subnet of a link, or a host there, by winning over the link's own route: that one is as good.
    Subnet,
    /// A part of a link's subnet with this host's own address in it.
    Own(IpAddr),
    /// The address of a node.
    Node(IpAddr),
    /// A neighbour on a link through which other routes lead.
    Gateway(IpAddr),
}

impl fmt::Display for Covered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Subnet => f.write_str("a link's own route leads there"),
            Self::Own(address) => write!(
                f,
                "it is a part of a link's subnet, with this host's address {address} in it"
            ),
            Self::Node(address) => write!(f, "it holds the node address {address}"),
            Self::Gateway(address) => write!(
                f,
                "it is a part of a link's subnet, with the gateway {address} in it"
            ),
        }
    }
}

/// How a prefix does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteState {
    /// The kernel has what is wanted.
    Installed,
    /// An operation is under way or about to be.
    Pending,
    /// None of its next hops can be reached.
    Unresolved,
    /// Its way leads through a tunnel that is being set up; until then the kernel keeps what it has.
    Waiting,
    /// Left by a former process, and not wanted so far.
    Stale,
    /// A foreign route has the key.
    Conflict {
        /// Who made it.
        protocol: u8,
    },
    /// It would take away what the host reaches by itself, and is not made.
    Covers(Covered),
    /// The kernel refused it.
    Refused {
        /// Why.
        errno: Errno,
        /// When it is tried again.
        retry_at: Option<Instant>,
    },
    /// Somebody removes it again and again.
    Fought {
        /// How often of late.
        strikes: u8,
        /// When it is put back.
        retry_at: Option<Instant>,
    },
}

impl RouteState {
    /// For scripts: it never changes.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Installed => "installed",
            Self::Pending => "pending",
            Self::Unresolved => "unreachable",
            Self::Waiting => "waiting",
            Self::Stale => "stale",
            Self::Covers(_) => "covers_link",
            Self::Conflict { .. } => "conflict",
            Self::Refused { .. } => "refused",
            Self::Fought { .. } => "fought",
        }
    }
}

impl fmt::Display for RouteState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Installed => f.write_str("installed"),
            Self::Pending => f.write_str("pending"),
            Self::Unresolved => f.write_str("unreachable: no next hop of it can be reached"),
            Self::Waiting => f.write_str("waiting: the tunnel to it is being set up"),
            Self::Stale => f.write_str("stale: left by a former process"),
            Self::Conflict { protocol } => {
                write!(f, "conflict: a route of protocol {protocol} stands there")
            }
            Self::Covers(what) => write!(f, "not made: {what}"),
            Self::Refused { errno, .. } => write!(f, "refused by the kernel: {errno}"),
            Self::Fought { strikes, .. } => {
                write!(
                    f,
                    "fought: another program removed it {strikes} times of late"
                )
            }
        }
    }
}

/// How many prefixes are in which state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Wanted at all.
    pub wanted: usize,
    /// Ours in the kernel, wanted or not.
    pub in_kernel: usize,
    /// As wanted.
    pub installed: usize,
    /// On the way.
    pub pending: usize,
    /// Without a reachable next hop.
    pub unresolved: usize,
    /// On hold until a tunnel is ready.
    pub waiting: usize,
    /// Left by a former process.
    pub stale: usize,
    /// Taken by others.
    pub conflicts: usize,
    /// Not made, because they would take away what the host reaches by itself.
    pub covering: usize,
    /// Refused by the kernel.
    pub refused: usize,
    /// Fought over.
    pub fought: usize,
    /// Operations outstanding.
    pub outstanding: usize,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Synced { own, foreign } => {
                write!(
                    f,
                    "read the kernel: {own} routes of ours, {foreign} of others"
                )
            }
            Self::Overrun => f.write_str("the kernel lost notifications; reading it anew"),
            Self::Denied => f.write_str(
                "the kernel does not let us change routes: run as root or with CAP_NET_ADMIN",
            ),
            Self::Refused { prefix, errno } => write!(f, "{prefix}: refused: {errno}"),
            Self::Conflict { prefix, protocol } => write!(
                f,
                "{prefix}: a route of protocol {protocol} stands there already; it is left alone"
            ),
            Self::Covers { prefix, what } => write!(f, "{prefix}: not made: {what}"),
            Self::Repairing { prefix } => {
                write!(
                    f,
                    "{prefix}: removed or changed by another program; putting it back"
                )
            }
            Self::Fought {
                prefix,
                strikes,
                pause,
            } => write!(
                f,
                "{prefix}: removed or changed {strikes} times by another program; putting it back \
                 in {} s",
                pause.as_secs()
            ),
            Self::Recovered { prefix } => write!(f, "{prefix}: well again"),
            Self::Tunnel { name, news } => write!(f, "{name}: {news}"),
            Self::TookOver { bird, felix } => write!(
                f,
                "took over {bird} routes of BIRD, {felix} of Felix; those that are wanted become \
                 ours in place, the others go once all peers were heard"
            ),
            Self::StillWriting { former } => write!(
                f,
                "{former} still writes routes here: stop it, only what it had left when dunlin \
                 started is taken over"
            ),
            Self::LeftStanding {
                prefix,
                protocol,
                errno,
            } => write!(
                f,
                "{prefix}: the leftover route of protocol {protocol} could not be deleted: {errno}; \
                 remove it by hand (ip route del {prefix} proto {protocol})"
            ),
            Self::More { count } => write!(f, "{count} more reports were left out"),
        }
    }
}
