//! What happens to single prefixes: the decision, the news, the results.

use std::sync::Arc;

use super::super::input::{Action, Op};
use super::super::ownership::{Ownership, Rank};
use super::super::report::{Covered, Report};
use super::super::resolve::KernelView;
use super::super::route::{Errno, KernelRoute, Shape};
use super::shapes::ShapeId;
use super::table::{BUSY, CONFIRMED, CROSSED, Entry, OVERTAKEN, Place, QUEUED, Seen, USURPED};
use super::trouble::Mood;
use super::{Pending, Reconciler, Wish, desired, differs, holds, queue_up};
use crate::net::{Family, Prefix};
use crate::time::{Duration, Instant};

/// So many reports wait to be read; more are counted only.
const MAX_REPORTS: usize = 1024;
/// After the kernel said that we lack the right, everything rests for so long.
const DENIED_PAUSE: Duration = Duration::from_secs(10);
/// After the kernel ran out of memory or buffers.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// So often one route may hold up all others.
const SETBACKS: u8 = 2;

enum Decision {
    Nothing,
    Settled,
    Conflict,
    Covers(Covered),
    NeedsDump,
    Release,
    Write { shape: ShapeId, add: bool },
    Delete,
}

impl Reconciler {
    pub(super) fn step(&mut self, view: &KernelView, place: Place) -> Option<Op> {
        let (prefix, entry) = self.table.at(place)?;
        entry.clear(QUEUED);
        let rank = desired(&self.targets, entry).map_or(entry.rank(), |wish| wish.rank);
        if rank != entry.rank() && !entry.is(BUSY) && !self.change_key(place, rank) {
            return None;
        }
        let (_, entry) = self.table.at(place)?;
        let entry = *entry;
        match self.decide(view, prefix, entry) {
            Decision::Nothing => {
                self.table.tidy(place);
                None
            }
            Decision::Settled => {
                self.settled(place, prefix, entry);
                None
            }
            Decision::Conflict => {
                let protocol = view.foreign_protocol(prefix, rank).unwrap_or(0);
                // What says something else than what is wanted has no place beside it.
                self.others.release(prefix);
                let mood = Mood::Conflict(protocol);
                if self.troubles.not_made(self.now, prefix, mood) {
                    self.report(Report::Conflict { prefix, protocol });
                }
                None
            }
            Decision::Covers(what) => {
                self.leftovers.release(prefix);
                self.others.release(prefix);
                let news = self.troubles.not_made(self.now, prefix, Mood::Covers(what));
                if news && what != Covered::Subnet {
                    self.report(Report::Covers { prefix, what });
                }
                None
            }
            Decision::NeedsDump => {
                self.sync.request(self.now);
                None
            }
            // Its deletion brings the prefix back here.
            Decision::Release => {
                self.leftovers.release(prefix);
                None
            }
            Decision::Write { shape, add } => {
                let route = self.route(prefix, rank, Arc::clone(self.shapes.get(shape)?));
                let action = if add {
                    Action::Add(route)
                } else {
                    Action::Replace(route)
                };
                self.set_busy(place);
                Some(self.op(Pending::Write { place, shape, add }, action))
            }
            Decision::Delete => {
                let unsure = entry.seen == Seen::UNSURE && view.foreign_at_our_key(prefix, rank);
                if unsure || desired(&self.targets, &entry).is_some() {
                    // It makes room for a foreign one, by news that may be older than our last
                    // write: only the kernel knows whether that one still stands.
                    self.sync.request(self.now);
                }
                let route = self.route(prefix, rank, Arc::clone(&self.any_shape));
                self.set_busy(place);
                Some(self.op(Pending::Delete { place }, Action::Delete(route)))
            }
        }
    }

    fn set_busy(&mut self, place: Place) {
        if let Some((_, entry)) = self.table.at(place) {
            entry.set(BUSY);
        }
    }

    fn decide(&self, view: &KernelView, prefix: Prefix, entry: Entry) -> Decision {
        if entry.is(BUSY) || self.troubles.holds(prefix) {
            return Decision::Nothing;
        }
        let Some(Wish { shape, rank }) = desired(&self.targets, &entry) else {
            return match entry.seen {
                Seen::NOTHING if self.clears(prefix, entry) => Decision::Settled,
                Seen::NOTHING => Decision::Nothing,
                _ if holds(&self.targets, &entry) => Decision::Nothing,
                // What this process itself has wanted and wants no more is no leftover.
                _ if entry.is(CONFIRMED) && entry.want().is_none() => Decision::Delete,
                _ if self.sync.converged => Decision::Delete,
                _ => Decision::Nothing,
            };
        };
        if let Some(what) = view.covered(prefix, rank) {
            return match entry.seen {
                Seen::NOTHING => Decision::Covers(what),
                _ => Decision::Delete,
            };
        }
        let foreign = view.foreign_at_our_key(prefix, rank);
        let usurped = entry.is(USURPED);
        let metric = self.rule.metric(prefix, rank);
        let left = self.leftovers.stand_at_key(prefix, metric);
        match (entry.seen, foreign && !usurped) {
            (seen, _) if seen == shape.into() => Decision::Settled,
            // Two stand beside each other, and a replacement takes the first.
            (seen, foreign) if left && (foreign || seen.shape().is_some()) => Decision::Release,
            (Seen::NOTHING, true) => Decision::Conflict,
            (Seen::NOTHING, false) => Decision::Write {
                shape,
                add: !usurped && !left,
            },
            // Whose route stands there? A replacement may hit the foreign one.
            (Seen::UNSURE, true) => Decision::NeedsDump,
            // Ours and theirs stand beside each other, and a replacement takes the first.
            (_, true) => Decision::Delete,
            (_, false) => Decision::Write { shape, add: false },
        }
    }

    /// Somebody else wrote or removed a route of ours. The news may be older than our own last
    /// write, so it is no proof of what stands there now: whatever is wanted is written again.
    pub(super) fn meddled(&mut self, prefix: Prefix, rank: Rank, usurped: bool) {
        let dumping = self.sync.is_running();
        let entry = self.entry_of(prefix, rank);
        if entry.is(BUSY) {
            entry.set(CROSSED);
        } else {
            entry.seen = Seen::UNSURE;
        }
        if dumping {
            entry.set(OVERTAKEN);
        }
        if entry.want().is_some() {
            if usurped {
                entry.set(USURPED);
            } else {
                entry.clear(USURPED);
            }
            if !entry.is(BUSY) {
                self.strike(prefix);
            }
        }
        self.enqueue(prefix);
    }

    pub(super) fn own_changed(&mut self, route: &KernelRoute, rank: Rank, replaced: bool) {
        let seen = self
            .table
            .get(route.prefix)
            .map_or(Seen::NOTHING, |entry| entry.seen);
        if seen.shape().is_some() && !replaced && route.prefix.family() == Family::Ipv4 {
            // Perhaps a second one at the same key: only the kernel can tell.
            self.sync.request(self.now);
        }
        self.meddled(route.prefix, rank, false);
    }

    pub(super) fn own_gone(&mut self, prefix: Prefix, rank: Rank) {
        let known = |entry: Entry| entry.seen != Seen::NOTHING || entry.is(BUSY);
        // A running dump may still show what is gone by now.
        if self.sync.is_running() || self.table.get(prefix).is_some_and(known) {
            self.meddled(prefix, rank, false);
        }
    }

    pub(super) fn foreign_came(&mut self, prefix: Prefix, rank: Rank, replaced: bool) {
        // Only a route that we were sure of entitles us to put it back over the foreign one.
        let ours = |entry: Entry| entry.seen.shape().is_some() || entry.is(USURPED);
        let entry = self.table.get(prefix);
        let ours_stood = entry.is_some_and(ours);
        let unsure = entry.is_some_and(|entry| entry.seen != Seen::NOTHING);
        if replaced && (ours_stood || unsure) {
            self.meddled(prefix, rank, ours_stood);
            return;
        }
        // A running dump may still show ours where the foreign one is by now.
        if replaced && self.sync.is_running() {
            self.entry_of(prefix, rank).set(OVERTAKEN);
        }
        let Some((_, entry)) = self.table.get_mut(prefix) else {
            return;
        };
        if entry.is(BUSY) {
            entry.set(CROSSED);
        }
        self.enqueue(prefix);
    }

    pub(super) fn foreign_went(&mut self, prefix: Prefix) {
        let Some((_, entry)) = self.table.get_mut(prefix) else {
            return;
        };
        if entry.is(BUSY) {
            entry.set(CROSSED);
        }
        entry.clear(USURPED);
        self.enqueue(prefix);
    }

    pub(super) fn written(
        &mut self,
        place: Place,
        shape: ShapeId,
        add: bool,
    ) -> Option<(Prefix, u32)> {
        let (prefix, entry) = self.table.at(place)?;
        let metric = self.rule.metric(prefix, entry.rank());
        if add {
            self.leftovers.emptied(prefix, metric);
        } else {
            self.leftovers.replaced(prefix, metric);
        }
        if !self.setbacks.is_empty() {
            self.setbacks.remove(&prefix);
        }
        let usurped = self.settle(place, shape.into());
        self.sync.granted();
        usurped.then_some((prefix, metric))
    }

    pub(super) fn deleted(&mut self, place: Place, result: Result<(), Errno>) {
        match result {
            Ok(()) | Err(Errno::ESRCH | Errno::ENOENT | Errno::ENODEV) => {
                if let Some((prefix, _)) = self.table.at(place) {
                    self.setbacks.remove(&prefix);
                }
                self.settle(place, Seen::NOTHING);
            }
            Err(errno) => self.refused(place, false, errno),
        }
    }

    /// An operation is over and the kernel has `seen`, unless somebody else came across. Whether a foreign
    /// route had taken the place of ours before.
    pub(super) fn settle(&mut self, place: Place, seen: Seen) -> bool {
        self.changes += 1;
        let Some((prefix, entry)) = self.table.at(place) else {
            return false;
        };
        let usurped = entry.is(USURPED) && !entry.is(CROSSED);
        entry.clear(BUSY);
        entry.seen = if entry.is(CROSSED) {
            Seen::UNSURE
        } else {
            seen
        };
        if !entry.is(CROSSED) || entry.want().is_none() {
            entry.clear(USURPED);
        }
        entry.clear(CROSSED);
        let entry = *entry;
        let over = !self.troubles.holds(prefix) && !differs(&self.targets, &entry);
        // Gone is gone only if no former process's route may still be wanted here.
        if over && (entry.seen != Seen::NOTHING || self.clears(prefix, entry)) {
            // What a step would find, too.
            self.settled(place, prefix, entry);
        } else {
            self.enqueue(prefix);
        }
        usurped
    }

    /// The kernel has what is wanted.
    fn settled(&mut self, place: Place, prefix: Prefix, entry: Entry) {
        if self.troubles.settled(self.now, prefix) {
            self.report(Report::Recovered { prefix });
        }
        self.leftovers.release(prefix);
        self.others.release(prefix);
        if entry.want().is_none() {
            self.table.tidy(place);
        }
    }

    pub(super) fn refused(&mut self, place: Place, add: bool, errno: Errno) {
        let Some((prefix, entry)) = self.table.at(place) else {
            return;
        };
        let crossed = entry.is(CROSSED);
        entry.clear(BUSY);
        entry.clear(CROSSED);
        if entry.want().is_none() {
            entry.clear(USURPED);
        }
        // A refused addition leaves nothing, and one whose result was lost is found by the dump
        // below: to be unsure here would be to replace whatever stands there by then. Of a replaced
        // IPv6 multipath route the first hops may be in when a later one is refused.
        if !add && (crossed || prefix.family() == Family::Ipv6 || errno == Errno::ENOBUFS) {
            entry.seen = Seen::UNSURE;
        }
        if add && crossed {
            // Somebody wrote here meanwhile, perhaps under our name, and nothing else would look.
            self.sync.request(self.now);
        }
        let own = self.is_of_route(prefix, errno) || !self.rests(errno);
        if own && self.troubles.refused(self.now, prefix, errno) {
            self.report(Report::Refused { prefix, errno });
            if add && errno == Errno::EEXIST {
                // Somebody's, and nobody told us: read whose. If that tells nothing, it never will.
                self.sync.request(self.now);
            }
        }
        self.enqueue(prefix);
    }

    /// [`Self::rests`] for an operation that is not a route's.
    pub(in crate::dataplane) fn setback(&mut self, now: Instant, errno: Errno) -> bool {
        self.now = now;
        self.rests(errno)
    }

    /// Whether an error says nothing about the route; then everything rests for a while.
    pub(super) fn rests(&mut self, errno: Errno) -> bool {
        match errno {
            Errno::EPERM => {
                if self.sync.denied(self.now + DENIED_PAUSE) {
                    self.report(Report::Denied);
                }
                true
            }
            // ENOMEM, EAGAIN and EINTR beside it: nothing is wrong with this route.
            Errno::ENOBUFS | Errno::ENOMEM | Errno(11 | 4) => {
                self.sync.pause(self.now + EXHAUSTED_PAUSE);
                if errno == Errno::ENOBUFS {
                    // Results were lost, and writing all again would lose them again.
                    self.sync.request(self.now);
                }
                true
            }
            _ => false,
        }
    }

    /// Whether an error that may be everybody's is this route's: others may be fine, and are not to wait for
    /// it again and again.
    fn is_of_route(&mut self, prefix: Prefix, errno: Errno) -> bool {
        match errno {
            Errno::ENOBUFS | Errno::ENOMEM | Errno(11 | 4) => {
                let count = self.setbacks.entry(prefix).or_insert(0_u8);
                *count = count.saturating_add(1);
                *count > SETBACKS
            }
            _ => false,
        }
    }

    pub(super) fn strike(&mut self, prefix: Prefix) {
        let report = match self.troubles.strike(self.now, prefix) {
            Some((strikes, pause)) => Report::Fought {
                prefix,
                strikes,
                pause,
            },
            None => Report::Repairing { prefix },
        };
        self.report(report);
    }

    pub(super) fn enqueue(&mut self, prefix: Prefix) {
        // The end of the first dump looks at every entry anyway.
        if !self.sync.synced {
            return;
        }
        if let Some((place, entry)) = self.table.get_mut(prefix) {
            queue_up(&mut self.queue, place, entry);
        }
    }

    pub(super) fn enqueue_differing(&mut self) {
        if !self.sync.synced {
            return;
        }
        let Self {
            table,
            queue,
            targets,
            ..
        } = self;
        table.sweep(|place, _, entry| {
            if differs(targets, entry) {
                queue_up(queue, place, entry);
            }
        });
    }

    /// What routes may take away is known anew: those about which the answer changes are decided again.
    pub(in crate::dataplane) fn guard_changed(&mut self, view: &KernelView) {
        if !self.sync.synced {
            return;
        }
        let Self {
            table,
            queue,
            targets,
            troubles,
            ..
        } = self;
        table.sweep(|place, prefix, entry| {
            let Some(wish) = desired(targets, entry) else {
                return;
            };
            let was = troubles.get(prefix).and_then(|trouble| match trouble.mood {
                Mood::Covers(what) => Some(what),
                _ => None,
            });
            if view.covered(prefix, wish.rank) != was {
                if entry.is(BUSY) {
                    // What is being written is looked at again when it stands.
                    entry.set(CROSSED);
                }
                queue_up(queue, place, entry);
            }
        });
    }

    pub(super) fn requeue_moved(&mut self) {
        if !core::mem::take(&mut self.any_target_moved) {
            return;
        }
        let Self {
            table,
            queue,
            targets,
            troubles,
            ..
        } = self;
        table.sweep(|place, prefix, entry| {
            let target = entry.want().and_then(|path| targets.get(path.0 as usize));
            if target.is_some_and(|target| target.moved) {
                troubles.relent(prefix);
                queue_up(queue, place, entry);
            }
        });
        for target in targets {
            target.moved = false;
        }
    }

    pub(super) fn collect_shapes(&mut self) {
        if !self.shapes.want_collection() {
            return;
        }
        let seen = self
            .table
            .iter()
            .filter_map(|(_, entry)| entry.seen.shape());
        let wanted = self
            .targets
            .iter()
            .filter_map(|target| Some(target.wish?.shape));
        let written = self
            .outstanding
            .values()
            .filter_map(|pending| match pending {
                Pending::Write { shape, .. } => Some(*shape),
                Pending::Delete { .. } | Pending::Other | Pending::Leftover | Pending::Dump => None,
            });
        self.shapes.keep(seen.chain(wanted).chain(written));
    }

    fn route(&self, prefix: Prefix, rank: Rank, shape: Arc<Shape>) -> KernelRoute {
        let Ownership {
            table, protocol, ..
        } = self.rule;
        KernelRoute {
            prefix,
            table,
            metric: self.rule.metric(prefix, rank),
            protocol,
            shape,
        }
    }

    pub(super) fn op(&mut self, pending: Pending, action: Action) -> Op {
        let id = self.outstanding.add(pending);
        Op { id, action }
    }

    pub(super) fn report(&mut self, report: Report) {
        if self.reports.len() < MAX_REPORTS {
            self.reports.push_back(report);
        } else if let Some(Report::More { count }) = self.reports.back_mut() {
            *count += 1;
        } else {
            self.reports.push_back(Report::More { count: 1 });
        }
    }
}
