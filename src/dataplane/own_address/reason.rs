//! Why an address was taken or was not, as data and in words that fit into a table.

use core::fmt;
use std::net::IpAddr;

use crate::net::Family;

/// What became of a candidate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is the node's address.
    Taken(Taken),
    /// The method does not allow it.
    Refused(Refusal),
    /// It would do, and another one is better.
    Behind(Behind),
}

/// Why an address was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It is on record or in use, and nothing speaks against it.
    Current,
    /// Nothing else is admitted.
    Only,
    /// It comes first.
    First {
        /// Among so many.
        of: usize,
    },
}

/// Why the method does not allow an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The node shall have no address of this family.
    NotWanted,
    /// Another address is configured.
    NotTheLiteral,
    /// It means nothing outside this host or link.
    Scope(Scope),
    /// The link is container software's, by the beginning of its name.
    NotTheNodes(&'static str),
    /// The link's name matches a pattern of `skip-interface`.
    Skipped(Box<str>),
    /// The link's name matches no pattern of `interface`.
    NoMatch,
    /// It is in none of the prefixes.
    OutsideCidrs,
    /// Packets to the target leave from another address.
    NotTheSource {
        /// Where to.
        target: IpAddr,
        /// Their source.
        source: IpAddr,
    },
    /// No target could be reached from anywhere.
    NoWay,
    /// Kubernetes lists another InternalIP, or none.
    NotInternalIp,
}

/// How far an address has a meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// On this host.
    Loopback,
    /// On one link.
    LinkLocal,
    /// For a group.
    Multicast,
    /// Nowhere.
    Unspecified,
    /// All hosts of a link.
    Broadcast,
}

/// Why another address comes first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Behind {
    /// The one on record or in use is kept.
    CurrentIsKept,
    /// The link is down.
    LinkDown,
    /// The link has no carrier.
    NoCarrier,
    /// The default route leaves by another link.
    NotTheDefaultRoutes {
        /// Its name.
        link: Box<str>,
    },
    /// An earlier link has one, too.
    LaterLink {
        /// Its name.
        link: Box<str>,
    },
    /// A later link has one, too (in Calico's order the last link is the first).
    EarlierLink {
        /// Its name.
        link: Box<str>,
    },
    /// No connected route names it as its source; such ones are added later (virtual addresses).
    Secondary,
    /// The same in all else, and a higher number.
    HigherAddress,
}

/// Why there is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The host has none of the family.
    #[error("no link has an {} address", word(*.0))]
    NoAddress(Family),
    /// None of them will do.
    #[error(
        "none of {of} {} {} will do",
        word(*family),
        if *of == 1 { "address" } else { "addresses" }
    )]
    NoneAdmitted {
        /// Of the family.
        family: Family,
        /// How many there are.
        of: usize,
    },
    /// The target's name has no address of the family.
    #[error("{target:?} has no {} address that is known", word(*family))]
    NoTarget {
        /// The name.
        target: Box<str>,
        /// The family.
        family: Family,
    },
    /// There is no route to the target.
    #[error("no route leads to {target}")]
    NoWay {
        /// The target.
        target: IpAddr,
    },
    /// The datastore has no InternalIP of the family.
    #[error("the datastore has no {} InternalIP of this node", word(*.0))]
    NoInternalIp(Family),
    /// No link carries the InternalIP.
    #[error("no link carries the InternalIP {0}, so its mask is unknown")]
    InternalIpElsewhere(IpAddr),
}

/// What is odd about the chosen address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Oddity {
    /// No link carries it.
    #[error("no link of this host carries {0}")]
    Elsewhere(IpAddr),
    /// No link carries it, and it was written without a mask.
    #[error(
        "no link of this host carries {0}, and it has no mask: it counts as alone on its subnet"
    )]
    MaskUnknown(IpAddr),
    /// Its link is down.
    #[error("the link of {0} is down")]
    LinkDown(IpAddr),
}

const fn word(family: Family) -> &'static str {
    match family {
        Family::Ipv4 => "IPv4",
        Family::Ipv6 => "IPv6",
    }
}

impl Scope {
    /// The scope of an address that is not good everywhere.
    pub(super) fn of(address: IpAddr) -> Option<Self> {
        let link_local = match address {
            IpAddr::V4(v4) => v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
        };
        let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
        [
            (address.is_loopback(), Self::Loopback),
            (link_local, Self::LinkLocal),
            (address.is_multicast(), Self::Multicast),
            (address.is_unspecified(), Self::Unspecified),
            (broadcast, Self::Broadcast),
        ]
        .into_iter()
        .find_map(|(is, scope)| is.then_some(scope))
    }
}

impl Verdict {
    /// Whether it is the node's address.
    pub const fn is_taken(&self) -> bool {
        matches!(self, Self::Taken(_))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken(taken) => taken.fmt(f),
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Behind(behind) => behind.fmt(f),
        }
    }
}

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Current => f.write_str("on record or in use, and still valid"),
            Self::Only => f.write_str("the only one that will do"),
            Self::First { of } => write!(f, "first of {of} that will do"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotWanted => f.write_str("none of this family is wanted"),
            Self::NotTheLiteral => f.write_str("another address is configured or on record"),
            Self::Scope(scope) => scope.fmt(f),
            Self::NotTheNodes(begin) => {
                write!(f, "links named {begin}... are left out by default")
            }
            Self::Skipped(pattern) => write!(f, "skip-interface has {pattern}"),
            Self::NoMatch => f.write_str("no pattern matches the link's name"),
            Self::OutsideCidrs => f.write_str("in none of the prefixes"),
            Self::NotTheSource { target, source } => {
                write!(f, "packets to {target} leave from {source}")
            }
            Self::NoWay => f.write_str("there is no route to the target"),
            Self::NotInternalIp => f.write_str("not the InternalIP of the node"),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loopback => "loopback: good on this host only",
            Self::LinkLocal => "link-local: good on one link only",
            Self::Multicast => "a multicast address",
            Self::Unspecified => "the unspecified address",
            Self::Broadcast => "the broadcast address",
        })
    }
}

impl fmt::Display for Behind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CurrentIsKept => f.write_str("the one on record or in use is kept"),
            Self::LinkDown => f.write_str("the link is down"),
            Self::NoCarrier => f.write_str("the link has no carrier"),
            Self::NotTheDefaultRoutes { link } => {
                write!(f, "the default route leaves by {link}")
            }
            Self::LaterLink { link } => write!(f, "{link} comes first (lower index)"),
            Self::EarlierLink { link } => write!(f, "{link} comes first (higher index)"),
            Self::Secondary => f.write_str("a secondary address of the link"),
            Self::HigherAddress => f.write_str("the link has a lower one"),
        }
    }
}
