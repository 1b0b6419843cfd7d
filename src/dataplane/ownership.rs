//! Whose route is it: the one rule that keeps dunlin off other people's routes.
//!
//! Ours is what carries our protocol number in our table, and nothing else. A route of somebody
//! else is read (next hops are resolved over it) and never changed. Where a foreign route has the
//! very key that ours would have, the foreign one stays and the prefix is reported as a conflict.
//!
//! A single address has a metric of its own, worse than what anybody gives a pod's route: the address may
//! come to a pod of this host before it is given up elsewhere, or stay a while after, and then the pod's
//! route has to win, whoever was first, and ours has to be there when that one goes.
//! (What a program that has ended left can be taken over; `adoption` says which routes that are.)

use crate::net::{Family, Prefix};

use super::route::KernelRoute;

/// The mark on our routes, and where they go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ownership {
    /// The table that we write and resolve in.
    pub table: u32,
    /// The protocol number on our routes.
    pub protocol: u8,
    /// The metric of our IPv4 routes but those to single addresses; 0 is what `ip route add` gives.
    pub metric4: u32,
    /// The same for IPv6; the kernel makes 1024 of 0, so 0 is of no use here.
    pub metric6: u32,
}

/// Whose a route is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Ours, at the key that we use.
    Ours,
    /// Ours by its mark, but at another metric: a leftover of other settings.
    Stray,
    /// Somebody else's, at the key that we would use.
    ForeignAtOurKey,
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

    /// The metric of our routes to single addresses.
    pub const HOST_METRIC: u32 = u32::MAX - 1;

    /// The metric of our route to a prefix.
    pub const fn metric(&self, prefix: Prefix) -> u32 {
        match prefix.family() {
            _host if prefix.is_host() => Self::HOST_METRIC,
            Family::Ipv4 => self.metric4,
            Family::Ipv6 => self.metric6,
        }
    }

    /// Whose `route` is.
    pub fn of(&self, route: &KernelRoute) -> Owner {
        let at_our_metric = route.metric == self.metric(route.prefix);
        match (
            route.table == self.table,
            route.protocol == self.protocol,
            at_our_metric,
        ) {
            (false, _, _) => Owner::Elsewhere,
            (true, true, true) => Owner::Ours,
            (true, true, false) => Owner::Stray,
            (true, false, true) => Owner::ForeignAtOurKey,
            (true, false, false) => Owner::Foreign,
        }
    }
}

impl Default for Ownership {
    fn default() -> Self {
        Self {
            table: Self::MAIN_TABLE,
            protocol: Self::PROTOCOL,
            metric4: 0,
            metric6: 1024,
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
        assert_eq!(rule.of(&route), Owner::Ours);
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
            Owner::ForeignAtOurKey
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
