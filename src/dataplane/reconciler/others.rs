//! Routes of ours at other keys than the one that a prefix's entry tells of.
//!
//! They are there because what is wanted has changed its rank (a block that is no longer our own has another
//! metric), because another version or other settings had another metric, or because somebody writes
//! in our name. One may be the way that packets go, so the rule is that of leftovers: it goes when a
//! route of ours stands at the right key, or when nothing is wanted at the prefix.
//!
//! Nothing is tracked operation by operation here. Whatever others do to such a route makes it unsure, and one
//! that is unsure is neither believed nor deleted before the kernel was read anew.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::super::input::{Action, Op, OpId};
use super::super::ownership::Rank;
use super::super::route::{Errno, KernelRoute, Shape};
use super::table::{CONFIRMED, Entry, Place, Seen, USURPED};
use super::{Pending, Reconciler, holds};
use crate::net::{Family, Prefix};
use crate::time::Instant;

#[derive(Debug)]
struct Other {
    route: KernelRoute,
    /// The kernel was read, or said so itself, and nobody has come across since.
    sure: bool,
    /// The running dump has it.
    dumped: bool,
    /// Its deletion is queued or outstanding.
    going: bool,
}

/// All that still stand, as far as we know.
#[derive(Debug, Default)]
pub(super) struct Others {
    standing: BTreeMap<Prefix, Vec<Other>>,
    ready: VecDeque<KernelRoute>,
    deleting: BTreeMap<OpId, KernelRoute>,
}

impl Others {
    fn add(&mut self, route: KernelRoute, sure: bool) {
        let group = self.standing.entry(route.prefix).or_default();
        group.push(Other {
            route,
            sure,
            dumped: false,
            going: false,
        });
    }

    /// A row of a dump.
    pub(super) fn dumped(&mut self, route: &KernelRoute) {
        let group = self.standing.entry(route.prefix).or_default();
        let known = group.iter_mut().find(|other| other.route == *route);
        if let Some(other) = known {
            (other.dumped, other.sure) = (true, true);
        } else {
            group.push(Other {
                route: route.clone(),
                sure: true,
                dumped: true,
                going: false,
            });
        }
    }

    /// The dump is over: if it was complete, it knows which ones still stand.
    pub(super) fn dump_ends(&mut self, complete: bool) {
        for group in self.standing.values_mut() {
            group.retain_mut(|other| core::mem::take(&mut other.dumped) || !complete);
        }
        self.standing.retain(|_, group| !group.is_empty());
    }

    /// Whether one stands at the prefix.
    pub(super) fn stand_at(&self, prefix: Prefix) -> bool {
        self.standing.contains_key(&prefix)
    }

    /// Whether one at this key is about to be deleted.
    fn leaves(&self, prefix: Prefix, metric: u32) -> bool {
        let here = |other: &Other| other.going && other.route.metric == metric;
        let group = self.standing.get(&prefix);
        group.is_some_and(|group| group.iter().any(here))
    }

    /// Those at the prefix may go now, if we are sure of them.
    pub(super) fn release(&mut self, prefix: Prefix) {
        let Some(group) = self.standing.get_mut(&prefix) else {
            return;
        };
        for other in group.iter_mut().filter(|other| other.sure && !other.going) {
            other.going = true;
            self.ready.push_back(other.route.clone());
        }
    }

    /// Takes out one at this key: its shape, if we are sure of it.
    fn take(&mut self, prefix: Prefix, metric: u32) -> Option<Option<Arc<Shape>>> {
        let group = self.standing.get_mut(&prefix)?;
        let place = group
            .iter()
            .position(|other| other.route.metric == metric && !other.going)?;
        let other = group.remove(place);
        if group.is_empty() {
            self.standing.remove(&prefix);
        }
        Some(other.sure.then_some(other.route.shape))
    }

    /// Somebody came across those at a key. Whether there is one.
    fn doubt(&mut self, prefix: Prefix, metric: u32) -> bool {
        let group = self.standing.get_mut(&prefix).into_iter().flatten();
        let mut any = false;
        for other in group.filter(|other| other.route.metric == metric) {
            other.sure = false;
            any = true;
        }
        any
    }

    /// The link went down or away. Whether one of them leads over it.
    pub(super) fn link_lost(&mut self, interface: u32) -> bool {
        let mut any = false;
        for other in self.standing.values_mut().flatten() {
            if other.route.shape.uses(interface) {
                other.sure = false;
                any = true;
            }
        }
        any
    }

    /// What they do with packets.
    pub(super) fn shapes(&self) -> impl Iterator<Item = &Shape> {
        let all = self.standing.values().flatten();
        all.map(|other| &*other.route.shape)
    }

    /// The shape of the one at the prefix that packets take.
    pub(super) fn shape(&self, prefix: Prefix) -> Option<&Arc<Shape>> {
        let sure = self.standing.get(&prefix)?.iter().filter(|o| o.sure);
        let best = sure.min_by_key(|other| other.route.metric)?;
        Some(&best.route.shape)
    }

    /// The prefixes at which one stands.
    pub(super) fn prefixes(&self) -> impl Iterator<Item = Prefix> + '_ {
        self.standing.keys().copied()
    }

    /// Whether nothing is about to be deleted.
    pub(super) fn is_idle(&self) -> bool {
        self.ready.is_empty()
    }

    fn forget(&mut self, route: &KernelRoute) {
        if let Some(group) = self.standing.get_mut(&route.prefix) {
            group.retain(|other| other.route != *route);
            if group.is_empty() {
                self.standing.remove(&route.prefix);
            }
        }
    }
}

impl Reconciler {
    /// Makes the entry one of the key where `rank` belongs; what it told of becomes another. Answers false
    /// if the key is not free for a decision yet: whatever is under way there brings the prefix back.
    pub(super) fn change_key(&mut self, place: Place, rank: Rank) -> bool {
        let Some((prefix, entry)) = self.table.at(place) else {
            return false;
        };
        let before = self.rule.metric(prefix, entry.rank());
        let metric = self.rule.metric(prefix, rank);
        if self.others.leaves(prefix, metric) {
            return false;
        }
        if entry.seen != Seen::NOTHING {
            let seen = entry.seen.shape().and_then(|shape| self.shapes.get(shape));
            let shape = Arc::clone(seen.unwrap_or(&self.any_shape));
            let route = KernelRoute {
                prefix,
                table: self.rule.table,
                metric: before,
                protocol: self.rule.protocol,
                shape,
            };
            let sure = entry.seen.shape().is_some();
            self.others.add(route, sure);
            if !sure {
                self.sync.request(self.now);
            }
        }
        entry.seen = match self.others.take(prefix, metric) {
            Some(Some(shape)) => self.shapes.intern(&shape).into(),
            Some(None) => Seen::UNSURE,
            None => Seen::NOTHING,
        };
        entry.clear(USURPED);
        entry.set_rank(rank);
        true
    }

    /// News of a key of ours. Whether the prefix's entry tells of that key, as it does if it tells of
    /// nothing else.
    pub(super) fn tells_of(&mut self, prefix: Prefix, rank: Rank) -> bool {
        let Some((_, entry)) = self.table.get_mut(prefix) else {
            return true;
        };
        if entry.rank() != rank && entry.is_free() {
            entry.set_rank(rank);
        }
        entry.rank() == rank
    }

    /// The same, and where there is no entry there is one afterwards.
    pub(super) fn entry_of(&mut self, prefix: Prefix, rank: Rank) -> &mut Entry {
        let (_, entry) = self.table.entry(prefix);
        if entry.is_free() {
            entry.set_rank(rank);
        }
        entry
    }

    /// Somebody wrote a route in our name beside the one that the entry tells of.
    pub(super) fn other_seen(&mut self, route: &KernelRoute) {
        if !self.others.doubt(route.prefix, route.metric) {
            self.others.add(route.clone(), false);
        }
        self.sync.request(self.now);
    }

    /// Somebody removed one, or wrote in its place.
    pub(super) fn other_gone(&mut self, prefix: Prefix, metric: u32) {
        self.other_displaced(prefix, metric);
        if self.sync.is_running() {
            // It may still show what is gone by now.
            self.sync.request(self.now);
        }
        self.enqueue(prefix);
    }

    /// Somebody wrote at a key at which no route of ours belongs.
    pub(super) fn other_displaced(&mut self, prefix: Prefix, metric: u32) {
        if self.others.doubt(prefix, metric) {
            self.sync.request(self.now);
        }
    }

    /// Nothing of ours is wanted at the prefix, or it can't be had: whether all that stands there may go.
    pub(super) fn clears(&self, prefix: Prefix, entry: Entry) -> bool {
        let left = self.leftovers.stand_at(prefix);
        let others = self.others.stand_at(prefix);
        if holds(&self.targets, &entry) && (left || others) {
            return false;
        }
        // What this process itself has wanted and wants no more is no leftover.
        let given_up = entry.is(CONFIRMED) && entry.want().is_none();
        self.sync.converged || !left && (given_up || !others)
    }

    /// What is to become of the others is decided anew.
    pub(super) fn enqueue_others(&mut self) {
        let prefixes: Vec<Prefix> = self.others.prefixes().collect();
        for prefix in prefixes {
            self.look_at(prefix);
        }
    }

    /// The next deletion of one that may go.
    pub(super) fn delete_other(&mut self) -> Option<Op> {
        let route = self.others.ready.pop_front()?;
        let op = self.op(Pending::Other, Action::Delete(route.clone()));
        self.others.deleting.insert(op.id, route);
        Some(op)
    }

    pub(super) fn other_deleted(&mut self, now: Instant, id: OpId, result: Result<(), Errno>) {
        self.now = now;
        let Some(route) = self.others.deleting.remove(&id) else {
            return;
        };
        if result.is_err_and(|errno| self.rests(errno)) {
            self.others.ready.push_back(route);
            return;
        }
        // To IPv4 the metric 0 means any: if the route was no longer there, the deletion has hit another.
        if route.prefix.family() == Family::Ipv4 && route.metric == 0 && route.shape.hops.is_empty()
        {
            self.sync.request(self.now);
        }
        self.changes += 1;
        self.others.forget(&route);
        self.look_at(route.prefix);
    }
}
