//! A route as the kernel holds it, and nothing about how it is spelt in netlink.
//!
//! A [`KernelRoute`] is a key (prefix, table, metric, protocol) and a [`Shape`]: what happens to a
//! packet. Shapes are shared: a hundred thousand routes through ten neighbours hold ten shapes.
//! A shape made by [`Shape::unicast`] is canonical (hops sorted, no duplicates), so equal routes
//! are equal values whatever order the kernel reports their hops in.

use core::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::net::Prefix;

/// One way out of a route: at least one of `via` and `interface` is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hop {
    /// The neighbour that the packet goes to; none for a route straight onto a link.
    pub via: Option<IpAddr>,
    /// The index of the link that it leaves by.
    pub interface: Option<u32>,
    /// The kernel takes `via` for a neighbour on that link without looking for a route to it.
    pub onlink: bool,
    /// The share among the hops of a multipath route; 1 for a single hop.
    pub weight: u16,
}

impl Hop {
    /// A hop to a neighbour on a link, of weight 1.
    pub const fn new(via: IpAddr, interface: u32) -> Self {
        Self {
            via: Some(via),
            interface: Some(interface),
            onlink: false,
            weight: 1,
        }
    }

    /// The same hop, whatever their weights.
    pub fn same_way(self, other: Self) -> bool {
        (self.via, self.interface, self.onlink) == (other.via, other.interface, other.onlink)
    }
}

/// What a route does with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RouteKind {
    /// Sends it on.
    Unicast,
    /// Drops it silently.
    Blackhole,
    /// Drops it and says "host unreachable".
    Unreachable,
    /// Drops it and says "administratively prohibited".
    Prohibit,
    /// Another type of the kernel's, by its number (`RTN_*`).
    Other(u8),
}

/// The part of a route that many routes share.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shape {
    /// What happens to the packet.
    pub kind: RouteKind,
    /// The source address for packets of this host itself.
    pub preferred_source: Option<IpAddr>,
    /// The largest packet that it lets through, if it says.
    pub mtu: Option<u32>,
    /// Where a unicast route leads; empty for the other kinds.
    pub hops: Box<[Hop]>,
    /// The number of the nexthop object that it leads by, 0 if it has hops of its own. Such a route's
    /// hops may be left out.
    pub object: u32,
}

impl Shape {
    /// Drops everything.
    pub fn blackhole() -> Self {
        Self {
            kind: RouteKind::Blackhole,
            preferred_source: None,
            mtu: None,
            hops: Box::new([]),
            object: 0,
        }
    }

    /// Sends on over `hops`; sorted, each way kept once with its greatest weight.
    pub fn unicast(hops: impl IntoIterator<Item = Hop>) -> Self {
        Self {
            kind: RouteKind::Unicast,
            preferred_source: None,
            mtu: None,
            hops: canonical(hops),
            object: 0,
        }
    }

    /// The same with a preferred source address.
    #[must_use]
    pub fn with_preferred_source(mut self, source: Option<IpAddr>) -> Self {
        self.preferred_source = source;
        self
    }

    /// The same with an MTU of its own.
    #[must_use]
    pub const fn with_mtu(mut self, mtu: Option<u32>) -> Self {
        self.mtu = mtu;
        self
    }

    /// Whether a hop leaves by this link.
    pub fn uses(&self, interface: u32) -> bool {
        self.hops.iter().any(|hop| hop.interface == Some(interface))
    }

    /// This shape without `gone`'s hops, if every one of those is here and others remain.
    pub fn without(&self, gone: &Self) -> Option<Self> {
        let here = |hop: &Hop| self.hops.iter().any(|own| own.same_way(*hop));
        if gone.hops.is_empty() || !gone.hops.iter().all(here) {
            return None;
        }
        let left = |own: &&Hop| !gone.hops.iter().any(|hop| hop.same_way(**own));
        let rest: Vec<Hop> = self.hops.iter().filter(left).copied().collect();
        let shape = Self {
            hops: canonical(rest),
            ..self.clone()
        };
        (!shape.hops.is_empty()).then_some(shape)
    }
}

fn canonical(hops: impl IntoIterator<Item = Hop>) -> Box<[Hop]> {
    let mut hops: Vec<Hop> = hops.into_iter().collect();
    hops.sort_unstable();
    // Weight is the last field in the order, so the greatest of equals comes last.
    hops.dedup_by(|later, kept| {
        let same = later.same_way(*kept);
        if same {
            *kept = *later;
        }
        same
    });
    if let [only] = hops.as_mut_slice() {
        only.weight = 1;
    }
    hops.into_boxed_slice()
}

/// A route of the kernel: its key and its shape.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KernelRoute {
    /// The destination.
    pub prefix: Prefix,
    /// The routing table; 254 is the main one.
    pub table: u32,
    /// The metric; of two routes to one prefix the lower one is used.
    pub metric: u32,
    /// Who made it (`RTPROT_*`): 2 the kernel, 3 boot, 4 static, 12 BIRD, 179 dunlin.
    pub protocol: u8,
    /// What it does.
    pub shape: Arc<Shape>,
}

impl fmt::Display for RouteKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unicast => f.write_str("unicast"),
            Self::Blackhole => f.write_str("blackhole"),
            Self::Unreachable => f.write_str("unreachable"),
            Self::Prohibit => f.write_str("prohibit"),
            Self::Other(number) => write!(f, "type {number}"),
        }
    }
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut gap = "";
        if let Some(via) = self.via {
            write!(f, "via {via}")?;
            gap = " ";
        }
        if let Some(interface) = self.interface {
            write!(f, "{gap}dev #{interface}")?;
        }
        if self.onlink {
            f.write_str(" onlink")?;
        }
        if self.weight > 1 {
            write!(f, " weight {}", self.weight)?;
        }
        Ok(())
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kind != RouteKind::Unicast {
            return self.kind.fmt(f);
        }
        for (i, hop) in self.hops.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            hop.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for KernelRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} proto {}", self.prefix, self.shape, self.protocol)?;
        if self.metric > 0 {
            write!(f, " metric {}", self.metric)?;
        }
        Ok(())
    }
}

/// A number with which the kernel refused something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Errno(pub i32);

impl Errno {
    /// Not permitted: CAP_NET_ADMIN is missing.
    pub const EPERM: Self = Self(1);
    /// No such entry.
    pub const ENOENT: Self = Self(2);
    /// No such route.
    pub const ESRCH: Self = Self(3);
    /// In use.
    pub const EBUSY: Self = Self(16);
    /// More than the kernel takes.
    pub const E2BIG: Self = Self(7);
    /// No memory, or a table is full.
    pub const ENOMEM: Self = Self(12);
    /// Not allowed there: IPv6 is switched off on the link.
    pub const EACCES: Self = Self(13);
    /// A route stands there already.
    pub const EEXIST: Self = Self(17);
    /// No such link.
    pub const ENODEV: Self = Self(19);
    /// The kernel calls the request malformed.
    pub const EINVAL: Self = Self(22);
    /// No room.
    pub const ENOSPC: Self = Self(28);
    /// The file system is read-only, as `/proc/sys` is in most containers.
    pub const EROFS: Self = Self(30);
    /// The kernel has no driver for that kind of link, or the link can't do it.
    pub const EOPNOTSUPP: Self = Self(95);
    /// An address or a port is in use.
    pub const EADDRINUSE: Self = Self(98);
    /// No such address on the link.
    pub const EADDRNOTAVAIL: Self = Self(99);
    /// The link is down.
    pub const ENETDOWN: Self = Self(100);
    /// No route to the neighbour.
    pub const ENETUNREACH: Self = Self(101);
    /// A buffer overran; the outcome is unknown.
    pub const ENOBUFS: Self = Self(105);
    /// No route to the neighbour.
    pub const EHOSTUNREACH: Self = Self(113);
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match *self {
            Self::EPERM => "not permitted (CAP_NET_ADMIN is missing)",
            Self::EACCES => {
                "not allowed there; if it is about IPv6, that is switched off on the link (disable_ipv6)"
            }
            Self::ENOMEM => "the kernel has no memory for it, or a table is full",
            Self::ENOSPC | Self::E2BIG => "the kernel has no room for it",
            Self::ENOENT => "no such entry",
            Self::ESRCH => "no such route",
            Self::EBUSY => "it is in use",
            Self::EADDRINUSE => "the address or port is in use",
            Self::EEXIST => "another route stands there",
            Self::ENODEV => "no such link",
            Self::EINVAL => "invalid argument",
            Self::EROFS => "read-only here",
            Self::EADDRNOTAVAIL => "no such address",
            Self::EOPNOTSUPP => "the kernel does not support it",
            Self::ENETDOWN => "the link is down",
            Self::ENETUNREACH | Self::EHOSTUNREACH => "the next hop is unreachable",
            Self::ENOBUFS => "a kernel buffer overran",
            Self(number) => return write!(f, "errno {number}"),
        };
        f.write_str(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(via: &str, interface: u32, weight: u16) -> Hop {
        Hop {
            weight,
            ..Hop::new(via.parse().unwrap(), interface)
        }
    }

    #[test]
    fn the_order_of_hops_makes_no_difference() {
        let a = Shape::unicast([hop("10.0.0.1", 2, 1), hop("10.0.0.2", 2, 1)]);
        let b = Shape::unicast([hop("10.0.0.2", 2, 1), hop("10.0.0.1", 2, 1)]);
        assert_eq!(a, b);
    }

    #[test]
    fn one_way_counts_once_with_its_greatest_weight() {
        let both = [
            hop("10.0.0.1", 2, 3),
            hop("10.0.0.1", 2, 2),
            hop("10.0.0.2", 2, 1),
        ];
        let shape = Shape::unicast(both);
        assert_eq!(shape.hops.len(), 2);
        assert_eq!(shape.hops[0].weight, 3);
        assert_eq!(Shape::unicast([hop("10.0.0.1", 2, 3)]).hops[0].weight, 1);
    }

    #[test]
    fn a_part_of_the_hops_can_be_taken_away() {
        let both = Shape::unicast([hop("fe80::1", 2, 1), hop("fe80::2", 2, 1)]);
        let one = Shape::unicast([hop("fe80::1", 2, 1)]);
        let other = Shape::unicast([hop("fe80::2", 2, 1)]);
        assert_eq!(both.without(&one), Some(other));
        assert_eq!(both.without(&both), None);
        assert_eq!(one.without(&Shape::blackhole()), None);
    }
}
