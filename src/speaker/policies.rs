//! The export policies in use, by the numbers that update groups know them by.
//!
//! Equal policies have equal numbers, so that their peers share bytes. A number keeps its meaning as
//! long as a group needs it, were it only to know what its members were told under it. What all have
//! in common and changes often, the node's own blocks, is not part of a policy: who changes it has the
//! routes inside looked at again.

use super::candidate::{Lazy, Preference, Seen, change, source_of};
use super::routes::Said;
use crate::net::Prefix;
use crate::policy::{ExportTerms, Mark, PeerType, Ruling};
use crate::rib::export::{permitted, rewrite};
use crate::rib::{ExportKind, ExportPolicy, ExportRoute, GroupKey, PeerFacts};
use crate::wire::attribute::PathAttributes;

/// The policies, and what they are measured against.
#[derive(Debug, Default)]
pub(super) struct ExportPolicies {
    pub(super) own_blocks: Vec<Prefix>,
    terms: Vec<Option<ExportTerms>>,
}

impl ExportPolicies {
    /// The number of a policy, a new one if none is equal.
    pub(super) fn number(&mut self, terms: ExportTerms) -> u32 {
        let same = |place: &Option<ExportTerms>| place.as_ref() == Some(&terms);
        let place = match self.terms.iter().position(same) {
            Some(place) => place,
            None => match self.terms.iter().position(Option::is_none) {
                Some(place) => {
                    if let Some(free) = self.terms.get_mut(place) {
                        *free = Some(terms);
                    }
                    place
                }
                None => {
                    self.terms.push(Some(terms));
                    self.terms.len() - 1
                }
            },
        };
        u32::try_from(place).unwrap_or(u32::MAX)
    }

    /// Forgets the policies that no group needs.
    pub(super) fn keep(&mut self, used: &[u32]) {
        for (terms, number) in self.terms.iter_mut().zip(0..) {
            if !used.contains(&number) {
                *terms = None;
            }
        }
    }

    fn terms(&self, number: u32) -> Option<&ExportTerms> {
        self.terms.get(usize::try_from(number).ok()?)?.as_ref()
    }

    /// What decides about a route that the RFCs let go to a group.
    fn rule(&self, key: &GroupKey, route: &ExportRoute<'_>) -> Option<(&ExportTerms, Ruling<'_>)> {
        let terms = self.terms(key.policy)?;
        let (peer_type, in_front) = match key.kind {
            ExportKind::Ebgp { local_as, .. } => (PeerType::Ebgp, Some(local_as)),
            ExportKind::Ibgp | ExportKind::Reflect { .. } => (PeerType::Ibgp, None),
        };
        let attributes = Lazy::new(Some(route.attributes));
        let seen = Seen {
            prefix: route.prefix,
            source: source_of(route.source.kind),
            peer_type,
            in_front,
            attributes: &attributes,
            links: terms.links.as_deref(),
        };
        Some((terms, terms.rule(&self.own_blocks, &seen)))
    }

    /// Whether a route goes to a group, and what decides, in words.
    pub(super) fn explain(&self, key: &GroupKey, route: &ExportRoute<'_>) -> (bool, Said) {
        if !permitted(key, route.source, route.attributes) {
            let why = "the protocol forbids it (iBGP to iBGP, or a well-known community)";
            return (false, ("protocol", why.to_owned()));
        }
        match self.rule(key, route) {
            Some((terms, ruling)) => {
                let said = (ruling.as_str(), terms.explain(&ruling));
                (ruling.accepts(), said)
            }
            None => {
                let why = "nothing is known of the peer's policy";
                (false, ("not_known", why.to_owned()))
            }
        }
    }
}

impl ExportPolicy for ExportPolicies {
    fn accept(&self, key: &GroupKey, route: &ExportRoute<'_>) -> bool {
        self.mark(key, route).is_some()
    }

    fn mark(&self, key: &GroupKey, route: &ExportRoute<'_>) -> Option<u32> {
        if !permitted(key, route.source, route.attributes) {
            return None;
        }
        if self.is_blind(key) {
            return Some(0);
        }
        let (terms, ruling) = self.rule(key, route)?;
        let mark = || terms.mark(&ruling, route.prefix).0;
        ruling.accepts().then(mark)
    }

    fn is_blind(&self, key: &GroupKey) -> bool {
        self.terms(key.policy).is_some_and(ExportTerms::is_open)
    }

    fn is_plain(&self, key: &GroupKey, mark: u32) -> bool {
        mark == 0
            && self
                .terms(key.policy)
                .is_some_and(|terms| !terms.last_choice)
    }

    fn transform(
        &self,
        key: &GroupKey,
        mut attributes: PathAttributes,
        source: &PeerFacts,
        mark: u32,
    ) -> Option<PathAttributes> {
        let terms = self.terms(key.policy)?;
        if mark != 0 || terms.last_choice {
            let preference = match key.kind {
                ExportKind::Ebgp { .. } => Preference::Community,
                ExportKind::Ibgp | ExportKind::Reflect { .. } => Preference::Local,
            };
            // Before the RFCs' own changes: a path begins with our AS whatever a rule prepends, as
            // peers may insist on (RFC 4271 §6.3).
            let changes = terms.changes(key.family, Mark(mark));
            change(&mut attributes, &changes, preference);
        }
        rewrite(key, attributes, source)
    }
}
