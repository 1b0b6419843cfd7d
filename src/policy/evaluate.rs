//! The one place where filters are read: import, export and `explain` all ask here.
//!
//! Pure: what is asked of a route comes through [`Candidate`], so that whoever has the route decodes
//! no more of it than a rule looks at. The first rule that matches decides; no rule that matches
//! leaves the route to the defaults. A rule's conditions are joined by *and*; a rule without any
//! matches everything.

use core::fmt;
use core::num::NonZeroU32;
use std::sync::Arc;

use super::filter::{
    Action, Direction, Filter, MatchOperator, Operation, PeerType, PrefixMatch, Rule,
};
use crate::net::{Asn, Community, Family, Prefix};

/// LOCAL_PREF and priority (metric) add up to this: the lower metric is the higher preference.
const PRIORITY_BASE: u32 = 2_147_483_647;
/// LOCAL_PREF of a route that came without one.
const DEFAULT_LOCAL_PREF: u32 = 100;
/// The priority of routes to pods that nobody has changed.
pub const NORMAL_PRIORITY: u32 = 1024;

/// Where a route comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// This node originates it.
    Local,
    /// A peer in our AS.
    Internal,
    /// A peer in another AS.
    External,
    /// A peer on this node.
    Beside,
}

/// A route that filters look at.
pub trait Candidate {
    /// Its prefix.
    fn prefix(&self) -> Prefix;
    /// Where it comes from.
    fn source(&self) -> Source;
    /// The type of the session that it comes by (import) or goes by (export).
    fn peer_type(&self) -> PeerType;
    /// The interface that it leaves by, if that is known.
    fn interface(&self) -> Option<&str>;
    /// Whether it carries a community.
    fn has_community(&self, community: Community) -> bool;
    /// Whether its AS path begins with these numbers, in this order.
    fn as_path_begins_with(&self, asns: &[Asn]) -> bool;
    /// LOCAL_PREF, if it has one.
    fn local_pref(&self) -> Option<u32>;
}

/// The priority of a route: its own LOCAL_PREF turned round; what this node originates has the normal
/// one unless LOCAL_PREF says otherwise. `None` if LOCAL_PREF is too high for any.
pub fn priority(candidate: &impl Candidate) -> Option<NonZeroU32> {
    let preference = match (candidate.source(), candidate.local_pref()) {
        (Source::Local, None) => return NonZeroU32::new(NORMAL_PRIORITY),
        (_, preference) => preference.unwrap_or(DEFAULT_LOCAL_PREF),
    };
    PRIORITY_BASE
        .checked_sub(preference)
        .and_then(NonZeroU32::new)
}

/// The LOCAL_PREF that stands for a priority.
pub const fn local_pref_of(priority: NonZeroU32) -> u32 {
    PRIORITY_BASE.saturating_sub(priority.get())
}

/// The rule that decided about a route.
#[derive(Debug, Clone, Copy)]
pub struct Decided<'a> {
    /// Its filter.
    pub filter: &'a Filter,
    /// Its number within the filter's list, counted from 1.
    pub rule: usize,
    /// Its number over all the filters' lists, counted from 1.
    pub(super) running: usize,
    /// Which list.
    pub direction: Direction,
    /// Which list.
    pub family: Family,
    /// What it does.
    pub action: &'a Action,
}

/// The first rule of these filters that matches.
pub fn decide<'a>(
    filters: &'a [Arc<Filter>],
    direction: Direction,
    candidate: &impl Candidate,
) -> Option<Decided<'a>> {
    let family = candidate.prefix().family();
    rules(filters, direction, family)
        .zip(1..)
        .find(|((_, _, rule), _)| rule.matches(candidate))
        .map(|((filter, number, rule), running)| Decided {
            filter,
            rule: number,
            running,
            direction,
            family,
            action: &rule.action,
        })
}

/// The operations of the rule with this running number.
pub(super) fn operations_of(
    filters: &[Arc<Filter>],
    (direction, family): (Direction, Family),
    running: usize,
) -> &[Operation] {
    let place = running.checked_sub(1);
    let rule = place.and_then(|place| rules(filters, direction, family).nth(place));
    rule.map_or(&[], |(_, _, rule)| rule.action.operations())
}

/// All rules of a direction and a family in order, with their filters and numbers.
fn rules(
    filters: &[Arc<Filter>],
    direction: Direction,
    family: Family,
) -> impl Iterator<Item = (&Filter, usize, &Rule)> {
    filters.iter().flat_map(move |filter| {
        let list = filter.rules(direction, family).iter().zip(1..);
        list.map(|(rule, number)| (&**filter, number, rule))
    })
}

impl Decided<'_> {
    /// Whether the route passes.
    pub const fn accepts(&self) -> bool {
        matches!(self.action, Action::Accept(_))
    }
}

impl fmt::Display for Decided<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = match self.direction {
            Direction::Import => "import",
            Direction::Export => "export",
        };
        let family = match self.family {
            Family::Ipv4 => "v4",
            Family::Ipv6 => "v6",
        };
        let does = match self.action {
            Action::Reject => "rejects it",
            Action::Accept(operations) if operations.is_empty() => "accepts it",
            Action::Accept(_) => "accepts and changes it",
        };
        let Self { filter, rule, .. } = self;
        write!(
            f,
            "filter {:?}, rule {rule} of {direction}-{family}, {does}",
            filter.name
        )
    }
}

impl Action {
    /// What it changes, if it lets the route pass.
    pub fn operations(&self) -> &[Operation] {
        match self {
            Self::Accept(operations) => operations,
            Self::Reject => &[],
        }
    }
}

impl Rule {
    /// Whether all its conditions hold, the cheap ones asked first.
    pub fn matches(&self, candidate: &impl Candidate) -> bool {
        let Self {
            prefix,
            from_peers,
            interface,
            peer_type,
            community,
            as_path_prefix,
            priority: wanted,
            action: _,
        } = self;
        prefix.is_none_or(|matched| matched.matches(candidate.prefix()))
            && (!from_peers || candidate.source() != Source::Local)
            && peer_type.is_none_or(|wanted| wanted == candidate.peer_type())
            && interface.as_ref().is_none_or(|pattern| {
                let known = candidate.interface();
                known.is_some_and(|name| matches_pattern(pattern, name))
            })
            && wanted.is_none_or(|wanted| priority(candidate) == Some(wanted))
            && community.is_none_or(|community| candidate.has_community(community))
            && (as_path_prefix.is_empty() || candidate.as_path_begins_with(as_path_prefix))
    }
}

impl PrefixMatch {
    /// Whether a prefix matches. The lengths narrow what is compared with, so that the negations
    /// match what is of another length, too.
    pub fn matches(self, prefix: Prefix) -> bool {
        let Self {
            cidr,
            operator,
            lengths,
        } = self;
        let fits = lengths.is_none_or(|(min, max)| (min..=max).contains(&prefix.len()));
        match operator {
            MatchOperator::Equal => prefix == cidr && fits,
            MatchOperator::NotEqual => !(prefix == cidr && fits),
            MatchOperator::In => cidr.covers(prefix) && fits,
            MatchOperator::NotIn => !(cidr.covers(prefix) && fits),
        }
    }
}

/// Whether a name fits a pattern in which `*` stands for any characters, none included.
fn matches_pattern(pattern: &str, name: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(mut rest) = name.strip_prefix(head) else {
        return false;
    };
    // Between the first and the last `*` each piece is taken where it comes first.
    let mut pieces: Vec<&str> = tail.split('*').collect();
    let last = pieces.pop().unwrap_or_default();
    for piece in pieces {
        match rest.find(piece) {
            Some(at) => rest = rest.get(at + piece.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests;
