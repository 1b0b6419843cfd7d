//! Import policy at work: what becomes of the routes of a peer, now and when policy changes.
//!
//! A rule may change attributes. What the table holds then is a set that policy made, which names the
//! set that was received: judging again begins there, so that no peer is asked for its routes only
//! because a filter is another one. Loops are judged by what was received, too, and first: no filter
//! lifts them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Speaker;
use super::candidate::{Lazy, Preference, Seen, change};
use super::ingest::Origins;
use super::peer::PeerEntry;
use super::routes::Said;
use crate::net::{Family, Prefix};
use crate::policy::{Direction, ImportTerms, Links, Mark, PeerType, Ruling, Source, Surroundings};
use crate::rib::{AttributeStore, AttributesId, AttributesRef, PageCursor, Path, PeerIndex, Route};
use crate::topology::Plan;

/// How the routes of one peer are judged, copied out so that the tables can be written meanwhile.
#[derive(Debug, Clone)]
pub(super) struct Judge {
    terms: ImportTerms,
    peer_type: PeerType,
}

/// What is done to a route that is accepted; `None` is a refusal.
pub(super) type Verdict = Option<Mark>;

/// Sets that policy made in one go, by what they were made of. One reference each.
pub(super) type Made = BTreeMap<(AttributesId, Family, Mark), AttributesId>;

/// A path that may have to be changed, what came, and what is said of it now.
struct Again {
    prefix: Prefix,
    path: Path,
    received: AttributesId,
    verdict: Verdict,
}

impl Judge {
    pub(super) fn of(peer: &PeerEntry, draining: bool, links: Option<Arc<Links>>) -> Self {
        let PeerEntry { planned, .. } = peer;
        Self {
            terms: ImportTerms {
                kind: planned.policy.import,
                class: peer.class(),
                is_node: planned.is_node,
                filters: planned.filters.clone(),
                last_choice: planned.policy.graceful_shutdown || draining,
                links,
            },
            peer_type: if peer.is_ebgp() {
                PeerType::Ebgp
            } else {
                PeerType::Ibgp
            },
        }
    }

    /// Whether the prefix alone decides, and nothing is changed.
    pub(super) fn is_plain(&self) -> bool {
        self.terms.plain()
    }

    /// Whether a prefix is taken, if the judge is plain.
    pub(super) fn takes(&self, around: &Surroundings, prefix: Prefix) -> bool {
        self.terms.defaults(around, prefix).is_ok()
    }

    /// What decides about a route.
    fn rule(&self, around: &Surroundings, prefix: Prefix, attributes: &Lazy<'_>) -> Ruling<'_> {
        let seen = Seen {
            prefix,
            source: match self.peer_type {
                PeerType::Ebgp => Source::External,
                PeerType::Ibgp => Source::Internal,
            },
            peer_type: self.peer_type,
            in_front: None,
            attributes,
            links: self.terms.links.as_deref(),
        };
        self.terms.rule(around, &seen)
    }

    /// What decides about a route, in words.
    pub(super) fn explain(
        &self,
        around: &Surroundings,
        prefix: Prefix,
        attributes: &Lazy<'_>,
    ) -> Said {
        let ruling = self.rule(around, prefix, attributes);
        (ruling.as_str(), self.terms.explain(&ruling))
    }

    fn verdict(&self, around: &Surroundings, prefix: Prefix, attributes: &Lazy<'_>) -> Verdict {
        let ruling = self.rule(around, prefix, attributes);
        ruling.accepts().then(|| self.terms.mark(&ruling))
    }

    /// The verdicts on routes that share a set of attributes.
    pub(super) fn verdicts(
        &self,
        around: &Surroundings,
        attributes: Option<AttributesRef<'_>>,
        routes: impl Iterator<Item = (u32, Prefix)>,
    ) -> Vec<(u32, Prefix, Verdict)> {
        let attributes = Lazy::new(attributes);
        routes
            .map(|(path_id, prefix)| (path_id, prefix, self.verdict(around, prefix, &attributes)))
            .collect()
    }

    /// The set that a route has after a verdict. It belongs to `made`, or is the one that came.
    pub(super) fn make(
        &self,
        store: &mut AttributeStore,
        made: &mut Made,
        (received, family): (AttributesId, Family),
        verdict: Verdict,
    ) -> AttributesId {
        let Some(mark) = verdict.filter(|mark| *mark != Mark::default()) else {
            return received;
        };
        let key = (received, family, mark);
        if let Some(id) = made.get(&key) {
            return *id;
        }
        let Some(mut attributes) = store.get(received).map(AttributesRef::decode) else {
            return received;
        };
        let changes = self.terms.changes(family, mark);
        change(&mut attributes, &changes, Preference::Local);
        let id = store.intern_derived(&attributes, received);
        made.insert(key, id);
        id
    }
}

impl Speaker {
    pub(super) fn judge(&self, index: PeerIndex) -> Option<Judge> {
        let peer = self.peer(index)?;
        let links = self.links_for(peer, Direction::Import);
        Some(Judge::of(peer, self.draining, links))
    }

    pub(super) fn release_made(&mut self, made: Made) {
        for id in made.into_values() {
            self.rib.release(id);
        }
    }

    /// Judges all paths of these peers again, after their policy or our surroundings have changed: one
    /// walk over the tables, however many they are.
    pub(super) fn judge_again(&mut self, peers: &BTreeSet<PeerIndex>) {
        let judges: BTreeMap<PeerIndex, Judge> = peers
            .iter()
            .filter_map(|index| Some((*index, self.judge(*index)?)))
            .collect();
        if judges.is_empty() {
            return;
        }
        for family in Family::ALL {
            let mut cursor = None;
            loop {
                let (again, next) = self.page_to_judge(&judges, family, cursor);
                self.carry_out_verdicts(&judges, again);
                cursor = next;
                if cursor.is_none() {
                    break;
                }
            }
        }
    }

    /// The paths of one page that may have to be changed.
    fn page_to_judge(
        &self,
        judges: &BTreeMap<PeerIndex, Judge>,
        family: Family,
        from: Option<PageCursor>,
    ) -> (Vec<Again>, Option<PageCursor>) {
        let (page, next) = self.rib.page(family, from, 4096);
        (self.to_judge(judges, page.into_iter()), next)
    }

    /// The paths of these routes that may have to be changed.
    fn to_judge<'a>(
        &self,
        judges: &BTreeMap<PeerIndex, Judge>,
        routes: impl Iterator<Item = Route<'a>>,
    ) -> Vec<Again> {
        let mut again = Vec::new();
        // Loops are a matter of the peer and the set, and most routes share theirs with others.
        let mut eligible: BTreeMap<(PeerIndex, AttributesId), bool> = BTreeMap::new();
        for route in routes {
            for path in route.paths {
                let Some(judge) = judges.get(&path.peer) else {
                    continue;
                };
                let received = self.rib.attributes().original(path.attributes);
                let attributes = Lazy::new(self.rib.attributes().get(received));
                let eligible = *eligible.entry((path.peer, received)).or_insert_with(|| {
                    self.eligible(path.peer, &Origins::of(attributes.get()))
                        .is_ok()
                });
                let judged = || judge.verdict(&self.around, route.prefix, &attributes);
                let verdict = eligible.then(judged).flatten();
                let changes = verdict.is_some_and(|mark| mark != Mark::default());
                if changes || path.attributes != received || path.accepted != verdict.is_some() {
                    again.push(Again {
                        prefix: route.prefix,
                        path: *path,
                        received,
                        verdict,
                    });
                }
            }
        }
        again
    }

    /// Judges the paths of single addresses again that have become this node's own or another's.
    pub(super) fn judge_addresses_again(&mut self, old: &Plan) {
        let single = |plan: &Plan| -> BTreeSet<(Prefix, bool)> {
            let own = plan.own_blocks.iter().filter(|block| block.is_host());
            let own = own.map(|address| (*address, true));
            let lent = plan.lent.iter().map(|address| (*address, false));
            own.chain(lent).collect()
        };
        let (before, after) = (single(old), single(&self.plan));
        let changed = before.symmetric_difference(&after).map(|(one, _)| *one);
        let changed: Vec<Prefix> = changed.collect();
        let lookup = |prefix: &Prefix| self.rib.lookup(*prefix);
        let paths = changed.iter().filter_map(lookup);
        let peers: BTreeSet<PeerIndex> = paths
            .flat_map(|route| route.paths.iter().map(|path| path.peer))
            .collect();
        let judges: BTreeMap<PeerIndex, Judge> = peers
            .iter()
            .filter_map(|index| Some((*index, self.judge(*index)?)))
            .collect();
        let again = self.to_judge(&judges, changed.iter().filter_map(lookup));
        self.carry_out_verdicts(&judges, again);
    }

    fn carry_out_verdicts(&mut self, judges: &BTreeMap<PeerIndex, Judge>, again: Vec<Again>) {
        // Marks of two peers mean different things.
        let mut made: BTreeMap<PeerIndex, Made> = BTreeMap::new();
        for Again {
            prefix,
            path,
            received,
            verdict,
        } in again
        {
            let Some(judge) = judges.get(&path.peer) else {
                continue;
            };
            let of = (received, prefix.family());
            let made = made.entry(path.peer).or_default();
            let attributes = judge.make(self.rib.attributes_mut(), made, of, verdict);
            let accepted = verdict.is_some();
            if (attributes, accepted) != (path.attributes, path.accepted) {
                self.rib.judge(prefix, path, attributes, accepted);
            }
        }
        for made in made.into_values() {
            self.release_made(made);
        }
    }
}
