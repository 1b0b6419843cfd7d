//! Filters as values: what an operator wrote, in order (Calico's BGPFilter).
//!
//! What a rule means is `evaluate`'s; how it is read from files the datastore's. A rule without any match
//! matches everything. All matches of a rule have to hold. The first rule that matches decides; if none
//! does, the next filter of the peer is asked, and in the end the defaults of the peer's class.

use core::num::NonZeroU32;

use crate::net::{Asn, Community, Family, Prefix};

/// A filter: ordered rules for each family and direction.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// Its name.
    pub name: String,
    /// For what comes in, IPv4 then IPv6.
    pub import: [Vec<Rule>; 2],
    /// For what goes out, IPv4 then IPv6.
    pub export: [Vec<Rule>; 2],
}

/// Which way a route goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// From the peer to us.
    Import,
    /// From us to the peer.
    Export,
}

impl Filter {
    /// Whether some rule looks at the interface that a route leaves by.
    pub fn asks_for_interface(&self, direction: Direction) -> bool {
        let asks = |family| {
            let rules = self.rules(direction, family);
            rules.iter().any(|rule| rule.interface.is_some())
        };
        Family::ALL.into_iter().any(asks)
    }

    /// The rules for a direction and a family.
    pub fn rules(&self, direction: Direction, family: Family) -> &[Rule] {
        let both = match direction {
            Direction::Import => &self.import,
            Direction::Export => &self.export,
        };
        family.of::<Vec<Rule>>(both)
    }
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Which prefixes.
    pub prefix: Option<PrefixMatch>,
    /// Only routes learnt over BGP (`source = "RemotePeers"`).
    pub from_peers: bool,
    /// The interface that the route leaves by: a name with `*` as a wildcard.
    pub interface: Option<String>,
    /// Only on sessions of this type.
    pub peer_type: Option<PeerType>,
    /// The route carries this community.
    pub community: Option<Community>,
    /// The AS path begins with these numbers; none of them is no condition.
    pub as_path_prefix: Vec<Asn>,
    /// The route has this priority (metric).
    pub priority: Option<NonZeroU32>,
    /// What becomes of the route.
    pub action: Action,
}

impl Rule {
    /// A rule without any match: for every route.
    pub const fn every(action: Action) -> Self {
        Self {
            prefix: None,
            from_peers: false,
            interface: None,
            peer_type: None,
            community: None,
            as_path_prefix: Vec::new(),
            priority: None,
            action,
        }
    }
}

/// A match on a route's prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrefixMatch {
    /// What the route's prefix is compared with.
    pub cidr: Prefix,
    /// How.
    pub operator: MatchOperator,
    /// The lengths that match, both included; `None` is any.
    pub lengths: Option<(u8, u8)>,
}

/// How prefixes are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MatchOperator {
    /// The same prefix.
    Equal,
    /// Another prefix.
    NotEqual,
    /// Inside, or the same.
    In,
    /// Not inside and not the same.
    NotIn,
}

/// A type of session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerType {
    /// With another AS.
    Ebgp,
    /// Within the AS.
    Ibgp,
}

/// What becomes of a route that matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// It passes, changed by these operations in their order.
    Accept(Vec<Operation>),
    /// It does not pass.
    Reject,
}

/// A change to a route's attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Adds a community.
    AddCommunity(Community),
    /// Puts these numbers in front of the AS path, in this order.
    PrependAsPath(Vec<Asn>),
    /// Sets the priority (metric).
    SetPriority(NonZeroU32),
}
