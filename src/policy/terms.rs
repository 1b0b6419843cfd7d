//! One peer's policy in one direction, as a value: two peers with equal terms are treated alike.
//!
//! A [`Mark`] is a small number for what becomes of a route beyond yes and no: which operations and
//! which advertised communities apply. Routes of equal attributes and equal marks can be rewritten
//! together. A mark means something only with the terms that gave it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::defaults::{self, PeerClass, PolicyKind, Rejection, Surroundings};
use super::evaluate::{Candidate, Decided, decide, operations_of};
use super::filter::{Direction, Filter, Operation};
use crate::net::{Community, Family, Prefix, ScopedAddress};

/// What decided about a route, and how.
#[derive(Debug, Clone, Copy)]
pub enum Ruling<'a> {
    /// A rule of a filter.
    Filter(Decided<'a>),
    /// The peer's switch, as no rule was about it.
    Default(Result<(), Rejection>),
}

impl Ruling<'_> {
    /// What decided, for scripts: `filter`, `default` or why the default says no.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Filter(_) => "filter",
            Self::Default(Ok(())) => "default",
            Self::Default(Err(rejection)) => rejection.as_str(),
        }
    }
}

/// Which changes apply to a route; 0 is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mark(pub u32);

/// The link that each next hop is reached by, by its name.
pub type Links = BTreeMap<ScopedAddress, Arc<str>>;

/// How routes from a peer are judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportTerms {
    /// The switch, for what no rule is about.
    pub kind: PolicyKind,
    /// How close the peer is.
    pub class: PeerClass,
    /// The peer is a node of the cluster, by the records.
    pub is_node: bool,
    /// In order.
    pub filters: Vec<Arc<Filter>>,
    /// All that comes is the last choice (RFC 8326).
    pub last_choice: bool,
    /// What rules that ask for the interface are told, if there is one.
    pub links: Option<Arc<Links>>,
}

/// Communities that routes inside a prefix go out with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advertisement {
    /// Routes inside.
    pub cidr: Prefix,
    /// What they carry, beside their own.
    pub communities: Vec<Community>,
}

/// How routes to a peer are judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportTerms {
    /// The switch, for what no rule is about.
    pub kind: PolicyKind,
    /// How close the peer is.
    pub class: PeerClass,
    /// In order.
    pub filters: Vec<Arc<Filter>>,
    /// Nothing inside these goes out, whatever a filter says.
    pub unexported: Vec<Prefix>,
    /// Inside these, what peers inside have told us goes to outside peers, too.
    pub reflected: Vec<Prefix>,
    /// Communities by prefix, whoever let the route through.
    pub advertisements: Vec<Advertisement>,
    /// All that goes out is the last choice (RFC 8326).
    pub last_choice: bool,
    /// What rules that ask for the interface are told, if there is one.
    pub links: Option<Arc<Links>>,
}

/// What is done to the attributes of a route that passes, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes<'a> {
    /// Of a rule.
    pub operations: &'a [Operation],
    /// Added.
    pub communities: Vec<Community>,
    /// It is the last choice.
    pub last_choice: bool,
}

impl Ruling<'_> {
    /// Whether the route passes.
    pub const fn accepts(&self) -> bool {
        match self {
            Self::Filter(decided) => decided.accepts(),
            Self::Default(result) => result.is_ok(),
        }
    }

    /// The running number of the rule, if it changes something.
    fn running(&self) -> usize {
        match self {
            Self::Filter(decided) if !decided.action.operations().is_empty() => decided.running,
            Self::Filter(_) | Self::Default(_) => 0,
        }
    }
}

impl ImportTerms {
    /// Whether every route that comes in is taken or refused as it is, by its prefix alone.
    pub fn plain(&self) -> bool {
        self.filters.is_empty() && !self.last_choice
    }

    /// The defaults alone; all there is to say if the terms are [`plain`](Self::plain).
    ///
    /// # Errors
    /// The reason, if the route is not taken.
    pub fn defaults(&self, around: &Surroundings, prefix: Prefix) -> Result<(), Rejection> {
        defaults::import(self.kind, (self.class, self.is_node), around, prefix)
    }

    /// What becomes of a route, and why. No filter lets this node's own blocks and addresses in: one that
    /// accepts "everything" was hardly meant to give them away. Only the switch `accept-all` does.
    pub fn rule(&self, around: &Surroundings, candidate: &impl Candidate) -> Ruling<'_> {
        if self.kind != PolicyKind::AcceptAll
            && let Err(own) = around.refuse_own(candidate.prefix(), self.is_node)
        {
            return Ruling::Default(Err(own));
        }
        decide(&self.filters, Direction::Import, candidate).map_or_else(
            || Ruling::Default(self.defaults(around, candidate.prefix())),
            Ruling::Filter,
        )
    }

    /// What decided, in words.
    pub fn explain(&self, ruling: &Ruling<'_>) -> String {
        in_words(ruling, "import", (self.kind, self.class))
    }

    /// The changes of an accepted route as a number.
    pub fn mark(&self, ruling: &Ruling<'_>) -> Mark {
        let all = u32::from(self.last_choice);
        Mark(count(ruling.running()).saturating_mul(2) | all)
    }

    /// The changes behind a number.
    pub fn changes(&self, family: Family, mark: Mark) -> Changes<'_> {
        let running = usize::try_from(mark.0 / 2).unwrap_or(usize::MAX);
        Changes {
            operations: operations_of(&self.filters, (Direction::Import, family), running),
            communities: Vec::new(),
            last_choice: mark.0 & 1 != 0,
        }
    }
}

impl ExportTerms {
    /// Whether all that the protocol lets go goes, and as it is but for [`last_choice`](Self::last_choice).
    pub fn is_open(&self) -> bool {
        self.kind == PolicyKind::AcceptAll
            && self.filters.is_empty()
            && self.unexported.is_empty()
            && self.advertisements.is_empty()
    }

    /// What becomes of a route, and why.
    pub fn rule(&self, own_blocks: &[Prefix], candidate: &impl Candidate) -> Ruling<'_> {
        let prefix = candidate.prefix();
        if self.unexported.iter().any(|pool| pool.covers(prefix)) {
            return Ruling::Default(Err(Rejection::Unexported));
        }
        decide(&self.filters, Direction::Export, candidate).map_or_else(
            || {
                let (kind, ranges) = ((self.kind, self.class), (own_blocks, &*self.reflected));
                Ruling::Default(defaults::export(kind, ranges, candidate))
            },
            Ruling::Filter,
        )
    }

    /// What decided, in words.
    pub fn explain(&self, ruling: &Ruling<'_>) -> String {
        in_words(ruling, "export", (self.kind, self.class))
    }

    /// The changes of an accepted route as a number.
    pub fn mark(&self, ruling: &Ruling<'_>, prefix: Prefix) -> Mark {
        let rule = count(ruling.running());
        if self.advertisements.is_empty() {
            return Mark(rule);
        }
        let places = count(self.advertisements.len()).saturating_add(1);
        Mark(
            rule.saturating_mul(places)
                .saturating_add(self.place(prefix)),
        )
    }

    /// The changes behind a number.
    pub fn changes(&self, family: Family, mark: Mark) -> Changes<'_> {
        let places = count(self.advertisements.len()).saturating_add(1);
        let running = usize::try_from(mark.0 / places).unwrap_or(usize::MAX);
        Changes {
            operations: operations_of(&self.filters, (Direction::Export, family), running),
            communities: self.communities(mark.0 % places),
            last_choice: self.last_choice,
        }
    }

    /// The place of the longest advertised prefix around a route, counted from 1. It stands for all of
    /// them: whatever else covers the route covers that one, too.
    fn place(&self, prefix: Prefix) -> u32 {
        let around = self.advertisements.iter().zip(1..);
        let around = around.filter(|(one, _)| one.cidr.covers(prefix));
        around
            .max_by_key(|(one, _)| one.cidr.len())
            .map_or(0, |(_, place)| place)
    }

    fn communities(&self, place: u32) -> Vec<Community> {
        let index = usize::try_from(place).unwrap_or(usize::MAX);
        let longest = index
            .checked_sub(1)
            .and_then(|index| self.advertisements.get(index));
        let Some(longest) = longest else {
            return Vec::new();
        };
        let around = self.advertisements.iter();
        let around = around.filter(|one| one.cidr.covers(longest.cidr));
        around
            .flat_map(|one| one.communities.iter().copied())
            .collect()
    }
}

/// What decided, in words: a rule, a default or the switch in its place.
fn in_words(ruling: &Ruling<'_>, switch: &str, (kind, class): (PolicyKind, PeerClass)) -> String {
    match ruling {
        Ruling::Filter(decided) => decided.to_string(),
        Ruling::Default(Err(rejection)) => rejection.to_string(),
        Ruling::Default(Ok(())) => match kind {
            PolicyKind::AcceptAll => format!("{switch} = \"accept-all\""),
            PolicyKind::Safe | PolicyKind::RejectAll => format!("the default for {class}"),
        },
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
