//! Address families: the two that dunlin routes, and the open AFI/SAFI pair of the wire.

use core::fmt;

/// A unicast family that dunlin has a table for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4 unicast (AFI 1, SAFI 1).
    Ipv4,
    /// IPv6 unicast (AFI 2, SAFI 1).
    Ipv6,
}

impl Family {
    /// Both, in index order.
    pub const ALL: [Self; 2] = [Self::Ipv4, Self::Ipv6];

    /// 0 for IPv4, 1 for IPv6: the place in a per-family array.
    pub const fn index(self) -> usize {
        match self {
            Self::Ipv4 => 0,
            Self::Ipv6 => 1,
        }
    }

    /// This family's place in a per-family array. Total, as indexing is not.
    pub const fn of<T>(self, [ipv4, ipv6]: &[T; 2]) -> &T {
        match self {
            Self::Ipv4 => ipv4,
            Self::Ipv6 => ipv6,
        }
    }

    /// The same, to be written to.
    pub const fn of_mut<T>(self, [ipv4, ipv6]: &mut [T; 2]) -> &mut T {
        match self {
            Self::Ipv4 => ipv4,
            Self::Ipv6 => ipv6,
        }
    }

    /// The pair on the wire.
    pub const fn afi_safi(self) -> AfiSafi {
        match self {
            Self::Ipv4 => AfiSafi::IPV4_UNICAST,
            Self::Ipv6 => AfiSafi::IPV6_UNICAST,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ipv4 => "ipv4-unicast",
            Self::Ipv6 => "ipv6-unicast",
        })
    }
}

/// An AFI/SAFI pair as the wire carries it (RFC 4760); unknown values survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AfiSafi {
    /// Address family identifier.
    pub afi: u16,
    /// Subsequent address family identifier.
    pub safi: u8,
}

impl AfiSafi {
    /// IPv4 unicast.
    pub const IPV4_UNICAST: Self = Self { afi: 1, safi: 1 };
    /// IPv6 unicast.
    pub const IPV6_UNICAST: Self = Self { afi: 2, safi: 1 };

    /// The family with a table, if it is one.
    pub const fn family(self) -> Option<Family> {
        match (self.afi, self.safi) {
            (1, 1) => Some(Family::Ipv4),
            (2, 1) => Some(Family::Ipv6),
            _ => None,
        }
    }
}

impl fmt::Display for AfiSafi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.family() {
            Some(family) => family.fmt(f),
            None => write!(f, "afi {} safi {}", self.afi, self.safi),
        }
    }
}
