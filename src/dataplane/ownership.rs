//! Whose route is it: the one rule that keeps dunlin off other people's routes.
//!
//! Ours is what carries our protocol number in our table, and nothing else. A route of somebody
//! else is read (next hops are resolved over it) and never changed. Where a foreign route has the
//! very key that ours would have, the foreign one stays and the prefix is reported as a conflict.
//!
//! The key depends on what a route does ([`Rank`]). One that leads somewhere has the configured metric; one
//! that drops packets has the worst that there is, so that whatever else stands at the same prefix wins over
//! it, whoever comes first: a bridge with just this node's block as its subnet is the usual case.
//!
//! One that leads to a single address is only just better than that: the address may be a pod's of this host
//! already, or still, while another node is said to have it. The pod's route has to win then, whoever was
//! first, and ours has to be there when that one goes.
//! (What a program that has ended left can be taken over; `adoption` says which routes that are.)

use crate::net::{Family, Prefix};

use super::route::{KernelRoute, RouteKind};

/// The mark on our routes, and where they go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ownership {
    /// The table that we write and resolve in.
    pub table: u32,
    /// The protocol number on our routes.
    pub protocol: u8,
    /// The metric of our IPv4 routes that lead somewhere, but for single addresses; 0 is what `ip route add` gives.
    pub metric4: u32,
    /// The same for IPv6; the kernel makes 1024 of 0, so 0 is of no use here.
    pub metric6: u32,
}

/// Which of the two keys at a prefix a route of ours has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rank {
    /// It leads somewhere.
    Way,
    /// It drops what no other route takes.
    LastResort,
}

impl Rank {
    /// Where a route of this kind belongs.
    pub const fn of(kind: RouteKind) -> Self {
        match kind {
            RouteKind::Unicast => Self::Way,
            RouteKind::Blackhole
            | RouteKind::Unreachable
            | RouteKind::Prohibit
            | RouteKind::Other(_) => Self::LastResort,
        }
    }
}

/// Whose a route is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Ours, at a key that we use.
    Ours(Rank),
    /// Ours by its mark, but at another metric: a leftover of other settings or of a former version.
    Stray,
    /// Somebody else's, at a key that we would use.
    ForeignAtOurKey(Rank),
    /// Somebody else's.
    Foreign,
    /// In a table that is none of our business.
    Elsewhere,
}

impl Ownership {
    /// The main table.
    pub const MAIN_TABLE: u32 = 254;
    /// dunlin's own protocol number: the port of BGP.
    pub const PROTOCOL: u8 = 179;

    /// The worst metric, which loses against every other.
    pub const WORST_METRIC: u32 = u32::MAX;
    /// Below the 1024 (and 512) of default routes by router advertisement, so that such a one stands
    /// beside ours and takes over when ours goes; above the 256 of the kernel's own routes to its links.
    pub const METRIC6: u32 = 300;

    /// The same with this metric for what leads somewhere, in both families.
    #[must_use]
    pub fn with_metric(self, metric: Option<u32>) -> Self {
        Self {
            metric4: metric.unwrap_or(self.metric4),
            metric6: metric.unwrap_or(self.metric6),
            ..self
        }
    }

    /// The metric of routes that lead to a single address: worse than what anybody gives a pod's.
    pub const HOST_METRIC: u32 = Self::WORST_METRIC - 1;

    /// The metric of our route to a prefix, by its rank.
    pub const fn metric(&self, prefix: Prefix, rank: Rank) -> u32 {
        match (rank, prefix.family()) {
            (Rank::LastResort, Family::Ipv4 | Family::Ipv6) => Self::WORST_METRIC,
            (Rank::Way, Family::Ipv4 | Family::Ipv6) if prefix.is_host() => Self::HOST_METRIC,
            (Rank::Way, Family::Ipv4) => self.metric4,
            (Rank::Way, Family::Ipv6) => self.metric6,
        }
    }

    /// The rank that a metric belongs to.
    pub(super) fn rank(&self, prefix: Prefix, metric: u32) -> Option<Rank> {
        [Rank::Way, Rank::LastResort]
            .into_iter()
            .find(|rank| self.metric(prefix, *rank) == metric)
    }

    /// Whose `route` is.
    pub fn of(&self, route: &KernelRoute) -> Owner {
        if route.table != self.table {
            return Owner::Elsewhere;
        }
        let rank = self.rank(route.prefix, route.metric);
        match (route.protocol == self.protocol, rank) {
            (true, Some(rank)) => Owner::Ours(rank),
            (true, None) => Owner::Stray,
            (false, Some(rank)) => Owner::ForeignAtOurKey(rank),
            (false, None) => Owner::Foreign,
        }
    }
}

impl Default for Ownership {
    fn default() -> Self {
        Self {
            table: Self::MAIN_TABLE,
            protocol: Self::PROTOCOL,
            metric4: 0,
            metric6: Self::METRIC6,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::route::Shape;
    use super::*;

    #[test]
    fn only_our_protocol_in_our_table_is_ours() {
        let rule = Ownership::default();
        let route = KernelRoute {
            prefix: "10.0.0.0/24".parse().unwrap(),
            table: 254,
            metric: 0,
            protocol: 179,
            shape: Arc::new(Shape::blackhole()),
        };
        assert_eq!(rule.of(&route), Owner::Ours(Rank::Way));
        let worst = KernelRoute {
            metric: u32::MAX,
            ..route.clone()
        };
        assert_eq!(rule.of(&worst), Owner::Ours(Rank::LastResort));
        assert_eq!(
            rule.of(&KernelRoute {
                metric: 5,
                ..route.clone()
            }),
            Owner::Stray
        );
        assert_eq!(
            rule.of(&KernelRoute {
                protocol: 4,
                ..route.clone()
            }),
            Owner::ForeignAtOurKey(Rank::Way)
        );
        assert_eq!(
            rule.of(&KernelRoute {
                protocol: 12,
                metric: 5,
                ..route.clone()
            }),
            Owner::Foreign
        );
        assert_eq!(
            rule.of(&KernelRoute {
                table: 255,
                ..route
            }),
            Owner::Elsewhere
        );
    }
}
