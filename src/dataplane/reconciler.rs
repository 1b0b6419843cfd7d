//! What is wanted against what the kernel has, and the operations that make them one.
//!
//! ```text
//!        wanted, not seen: Add        wanted ∩ seen, different: Replace
//!        seen, not wanted: Delete     wanted = seen: nothing
//! ```
//!
//! Per prefix there is one entry with two numbers, never more than one outstanding operation, and a
//! place in the queue while the two may differ. An operation is made only when it is asked for, so
//! wishes that were overtaken cost nothing. `Add` is exclusive: it can't hurt a foreign route that
//! nobody told us about. `Delete` names our protocol number, so it can't either.
//!
//! During a dump nothing is outstanding, so the dump shows no half of an operation of ours.

mod sync;
mod table;
#[cfg(test)]
mod tests;
mod trouble;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::input::{Action, Op, OpId};
use super::ownership::{Owner, Ownership};
use super::report::{Counts, Report, RouteState};
use super::resolve::KernelView;
use super::route::{Errno, KernelRoute, RouteKind, Shape};
use crate::net::{Family, Prefix};
use crate::time::{Duration, Instant};

use sync::Sync;
pub use table::PathId;
use table::{
    BUSY, CROSSED, DUMPED, Entry, OVERTAKEN, QUEUED, Seen, ShapeId, Shapes, Table, USURPED,
};
use trouble::{Mood, Troubles};

/// So many reports wait to be read; more are counted only.
const MAX_REPORTS: usize = 1024;
/// After the kernel said that we lack the right, everything rests for so long.
const DENIED_PAUSE: Duration = Duration::from_secs(10);
/// After the kernel ran out of memory or buffers.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// The delta tracker of the kernel's routes.
#[derive(Debug)]
pub struct Reconciler {
    rule: Ownership,
    window: usize,
    now: Instant,
    table: Table,
    shapes: Shapes,
    /// What each path means for the kernel now; none while nothing of it is reachable.
    targets: Vec<Target>,
    any_target_moved: bool,
    queue: VecDeque<Prefix>,
    strays: VecDeque<KernelRoute>,
    outstanding: BTreeMap<OpId, Pending>,
    next_id: u64,
    troubles: Troubles,
    sync: Sync,
    reports: VecDeque<Report>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Target {
    shape: Option<ShapeId>,
    moved: bool,
}

#[derive(Debug, Clone, Copy)]
enum Pending {
    Write {
        prefix: Prefix,
        shape: ShapeId,
        add: bool,
    },
    Delete {
        prefix: Prefix,
    },
    Stray,
    Dump,
}

enum Decision {
    Nothing,
    Settled,
    Conflict,
    NeedsDump,
    Write { shape: ShapeId, add: bool },
    Delete,
}

impl Reconciler {
    /// A reconciler that knows nothing and will first ask for a dump.
    pub fn new(rule: Ownership, window: usize) -> Self {
        Self {
            rule,
            window: window.max(1),
            now: Instant::ZERO,
            table: Table::default(),
            shapes: Shapes::default(),
            targets: Vec::new(),
            any_target_moved: false,
            queue: VecDeque::new(),
            strays: VecDeque::new(),
            outstanding: BTreeMap::new(),
            next_id: 0,
            troubles: Troubles::default(),
            sync: Sync::default(),
            reports: VecDeque::new(),
        }
    }

    /// Wants a route to `prefix` along `path`; answers the path that was wanted before.
    pub fn want(&mut self, prefix: Prefix, path: PathId) -> Option<PathId> {
        let entry = self.table.entry(prefix);
        let before = entry.want();
        if before != Some(path) {
            entry.set_want(Some(path));
            self.troubles.relent(prefix);
            self.enqueue(prefix);
        }
        before
    }

    /// Wants no route to `prefix` any more; answers the path that was wanted before.
    pub fn unwant(&mut self, prefix: Prefix) -> Option<PathId> {
        let entry = self.table.get_mut(prefix)?;
        let before = entry.want();
        entry.set_want(None);
        entry.clear(USURPED);
        self.troubles.relent(prefix);
        self.troubles.settled(self.now, prefix);
        self.enqueue(prefix);
        self.table.tidy(prefix);
        before
    }

    /// Says what a path means for the kernel now: none if nothing of it is reachable.
    pub fn set_target(&mut self, path: PathId, shape: Option<&Arc<Shape>>) {
        self.any_target_moved |= self.put_target(path, shape, true);
    }

    /// The same for a path that no prefix is wanted with: new, or no longer used.
    pub fn define_target(&mut self, path: PathId, shape: Option<&Arc<Shape>>) {
        self.put_target(path, shape, false);
    }

    fn put_target(&mut self, path: PathId, shape: Option<&Arc<Shape>>, moved: bool) -> bool {
        let shape = shape.map(|shape| self.shapes.intern(shape));
        let place = path.0 as usize;
        if self.targets.len() <= place {
            self.targets.resize(place + 1, Target::default());
        }
        match self.targets.get_mut(place) {
            Some(target) if target.shape != shape => {
                *target = Target { shape, moved };
                moved
            }
            Some(_) | None => false,
        }
    }

    /// From now on what is not wanted is deleted.
    pub fn converged(&mut self) {
        if !core::mem::replace(&mut self.sync.converged, true) {
            self.enqueue_differing();
        }
    }

    /// A route of ours, or a foreign one at our key, was reported changed.
    pub fn route_seen(&mut self, now: Instant, route: &KernelRoute, replaced: bool) {
        self.now = now;
        match self.rule.of(route) {
            Owner::Ours => self.own_changed(route, replaced),
            Owner::Stray => self.strays.push_back(route.clone()),
            Owner::ForeignAtOurKey => self.foreign_came(route.prefix, replaced),
            Owner::Foreign => self.troubles.hasten(now),
            Owner::Elsewhere => {}
        }
    }

    /// A route of ours, or a foreign one at our key, was reported gone.
    pub fn route_gone(&mut self, now: Instant, route: &KernelRoute) {
        self.now = now;
        match self.rule.of(route) {
            Owner::Ours => self.own_gone(route),
            Owner::Stray => self.strays.retain(|stray| stray != route),
            Owner::ForeignAtOurKey => self.foreign_went(route.prefix),
            Owner::Foreign | Owner::Elsewhere => {}
        }
    }

    /// A link or address changed: refused routes may succeed now, conflicts may be over.
    pub fn surroundings_changed(&mut self, now: Instant) {
        self.now = now;
        self.troubles.hasten(now);
        let conflict = |(prefix, t): (Prefix, &trouble::Trouble)| {
            matches!(t.mood, Mood::Conflict(_)).then_some(prefix)
        };
        let conflicts: Vec<Prefix> = self.troubles.iter().filter_map(conflict).collect();
        for prefix in conflicts {
            self.enqueue(prefix);
        }
    }

    /// A link went down or lost an address. The kernel drops routes over it without telling, so
    /// if any route of ours may be among them, the kernel is read anew.
    pub fn link_lost(&mut self, now: Instant, interface: u32) {
        self.now = now;
        if self.shapes.any_uses(interface) {
            let uses = |seen: Seen| {
                seen.shape()
                    .is_some_and(|shape| self.shapes.uses(shape, interface))
            };
            if self.table.iter().any(|(_, entry)| uses(entry.seen)) || !self.outstanding.is_empty()
            {
                self.sync.request(now);
            }
        }
    }

    /// Changes were lost.
    pub fn overrun(&mut self, now: Instant) {
        self.now = now;
        self.sync.overrun(now);
        self.report(Report::Overrun);
    }

    /// The next operations, at most `max` and as many as the window has room for.
    pub fn poll(&mut self, view: &KernelView, max: usize) -> Vec<Op> {
        if self.sync.may_dump(self.now) {
            if !self.outstanding.is_empty() {
                return Vec::new();
            }
            self.sync.started();
            return vec![self.op(Pending::Dump, Action::Dump)];
        }
        if !self.sync.may_write(self.now) {
            return Vec::new();
        }
        self.requeue_moved();
        self.collect_shapes();
        let room = self.window.saturating_sub(self.outstanding.len()).min(max);
        let mut ops = Vec::with_capacity(room.min(self.queue.len() + self.strays.len()));
        while ops.len() < room {
            let Some(prefix) = self.queue.pop_front() else {
                break;
            };
            if let Some(op) = self.step(view, prefix) {
                ops.push(op);
            }
        }
        while ops.len() < room && self.sync.converged {
            let Some(stray) = self.strays.pop_front() else {
                break;
            };
            ops.push(self.op(Pending::Stray, Action::Delete(stray)));
        }
        ops
    }

    /// The kernel's word on an operation. Answers the prefix at which our route has taken the place
    /// of a foreign one (which had taken ours before).
    pub fn done(&mut self, now: Instant, id: OpId, result: Result<(), Errno>) -> Option<Prefix> {
        self.now = now;
        match self.outstanding.remove(&id)? {
            Pending::Stray | Pending::Dump => None,
            Pending::Delete { prefix } => {
                self.deleted(prefix, result);
                None
            }
            Pending::Write { prefix, shape, add } => match result {
                Ok(()) => self.written(prefix, shape),
                Err(errno) => {
                    self.refused(prefix, add, errno);
                    None
                }
            },
        }
    }

    /// Whether `id` is the dump that is running.
    pub(super) fn is_dump(&self, id: OpId) -> bool {
        matches!(self.outstanding.get(&id), Some(Pending::Dump))
    }

    /// Whether changes were lost while the dump ran.
    pub(super) const fn is_spoilt(&self) -> bool {
        self.sync.is_spoilt()
    }

    /// A row of the dump.
    pub fn dumped(&mut self, route: &KernelRoute) {
        match self.rule.of(route) {
            Owner::Ours => {}
            Owner::Stray => {
                if !self.strays.contains(route) {
                    self.strays.push_back(route.clone());
                }
                return;
            }
            Owner::ForeignAtOurKey | Owner::Foreign | Owner::Elsewhere => return,
        }
        let shape = self.shapes.intern(&route.shape);
        let entry = self.table.entry(route.prefix);
        if entry.is(OVERTAKEN) {
            return;
        }
        if entry.is(DUMPED) {
            // Two of ours at one key, which IPv4 allows: one is too many.
            if entry.seen != shape.into() {
                self.strays.push_back(route.clone());
            }
            return;
        }
        entry.seen = shape.into();
        entry.set(DUMPED);
    }

    /// The dump ended; `view` has already taken it in.
    pub fn dump_ends(&mut self, now: Instant, view: &KernelView, complete: bool) {
        self.now = now;
        let complete = self.sync.ended(now, complete);
        let first = complete && !self.sync.synced;
        self.sync.synced |= complete;
        let Self {
            table,
            queue,
            targets,
            ..
        } = self;
        let mut own = 0_usize;
        table.sweep(|prefix, entry| {
            if complete && !entry.is(DUMPED) && !entry.is(OVERTAKEN) && entry.seen != Seen::NOTHING
            {
                // It was ours and somebody has taken the key while we could not look.
                if entry.want().is_some() && view.foreign_at_our_key(prefix) {
                    entry.set(USURPED);
                }
                entry.seen = Seen::NOTHING;
            }
            entry.clear(DUMPED);
            entry.clear(OVERTAKEN);
            own += usize::from(entry.seen != Seen::NOTHING);
            if differs(targets, entry) && !entry.is(QUEUED) {
                entry.set(QUEUED);
                queue.push_back(prefix);
            }
        });
        if first {
            self.report(Report::Synced {
                own,
                foreign: view.foreign_count(),
            });
        }
        self.surroundings_changed(now);
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub fn next_timeout(&self) -> Option<Instant> {
        let sync = self.sync.next_timeout(self.outstanding.is_empty());
        [sync, self.troubles.next_timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Time has passed: prefixes that waited may be tried again.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        self.sync.handle_timeout(now);
        for prefix in self.troubles.expire(now) {
            self.enqueue(prefix);
        }
    }

    /// The next thing that an operator may want to know.
    pub fn poll_report(&mut self) -> Option<Report> {
        self.reports.pop_front()
    }

    /// Whether the kernel was read completely at least once.
    pub const fn is_synced(&self) -> bool {
        self.sync.synced
    }

    /// Whether nothing is outstanding, queued or waiting for a dump.
    pub fn is_idle(&self) -> bool {
        self.outstanding.is_empty()
            && self.queue.is_empty()
            && !self.any_target_moved
            && (self.strays.is_empty() || !self.sync.converged)
            && self.sync.is_idle()
    }

    /// How many operations are outstanding.
    pub fn outstanding(&self) -> usize {
        self.outstanding.len()
    }
}

/// Questions of operators.
impl Reconciler {
    /// How a wanted or seen prefix does; none if it is neither.
    pub fn state(&self, prefix: Prefix) -> Option<RouteState> {
        let entry = self.table.get(prefix)?;
        Some(self.state_of(prefix, entry))
    }

    /// What the kernel has of ours for a prefix.
    pub fn seen(&self, prefix: Prefix) -> Option<&Arc<Shape>> {
        self.shapes.get(self.table.get(prefix)?.seen.shape()?)
    }

    /// What the kernel should have for a prefix now.
    pub fn target(&self, prefix: Prefix) -> Option<&Arc<Shape>> {
        self.shapes
            .get(desired(&self.targets, &self.table.get(prefix)?)?)
    }

    /// How many prefixes are in which state: one pass over the table.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts {
            outstanding: self.outstanding.len(),
            ..Counts::default()
        };
        for (prefix, entry) in self.table.iter() {
            counts.wanted += usize::from(entry.want().is_some());
            counts.in_kernel += usize::from(entry.seen.shape().is_some());
            match self.state_of(prefix, entry) {
                RouteState::Installed => counts.installed += 1,
                RouteState::Pending => counts.pending += 1,
                RouteState::Unresolved => counts.unresolved += 1,
                RouteState::Stale => counts.stale += 1,
                RouteState::Conflict { .. } => counts.conflicts += 1,
                RouteState::Refused { .. } => counts.refused += 1,
                RouteState::Fought { .. } => counts.fought += 1,
            }
        }
        counts
    }

    /// All prefixes with an entry, in no order.
    pub(super) fn prefixes(&self) -> impl Iterator<Item = Prefix> + '_ {
        self.table.iter().map(|(prefix, _)| prefix)
    }

    /// The prefixes that do not do well, in order.
    pub fn troubled(&self) -> impl Iterator<Item = (Prefix, RouteState)> + '_ {
        self.troubles
            .iter()
            .filter(|(_, trouble)| trouble.mood != Mood::Watched)
            .filter_map(|(prefix, _)| Some((prefix, self.state(prefix)?)))
    }

    fn state_of(&self, prefix: Prefix, entry: Entry) -> RouteState {
        let desired = desired(&self.targets, &entry);
        if let Some(shape) = desired
            && entry.seen == shape.into()
        {
            return RouteState::Installed;
        }
        if let Some(trouble) = self.troubles.get(prefix) {
            match trouble.mood {
                Mood::Watched => {}
                Mood::Refused(errno) => {
                    return RouteState::Refused {
                        errno,
                        retry_at: trouble.due,
                    };
                }
                Mood::Conflict(protocol) => return RouteState::Conflict { protocol },
                Mood::Fought => {
                    return RouteState::Fought {
                        strikes: trouble.strikes,
                        retry_at: trouble.due,
                    };
                }
            }
        }
        match (entry.want(), desired, entry.seen) {
            (Some(_), None, _) => RouteState::Unresolved,
            (None, _, _) if !self.sync.converged => RouteState::Stale,
            (_, _, _) => RouteState::Pending,
        }
    }
}

/// What happens to single prefixes.
impl Reconciler {
    fn step(&mut self, view: &KernelView, prefix: Prefix) -> Option<Op> {
        let entry = self.table.get_mut(prefix)?;
        entry.clear(QUEUED);
        let entry = *entry;
        match self.decide(view, prefix, entry) {
            Decision::Nothing => {
                self.table.tidy(prefix);
                None
            }
            Decision::Settled => {
                if self.troubles.settled(self.now, prefix) {
                    self.report(Report::Recovered { prefix });
                }
                self.table.tidy(prefix);
                None
            }
            Decision::Conflict => {
                let protocol = view.foreign_protocol(prefix).unwrap_or(0);
                if self.troubles.conflict(self.now, prefix, protocol) {
                    self.report(Report::Conflict { prefix, protocol });
                }
                None
            }
            Decision::NeedsDump => {
                self.sync.request(self.now);
                None
            }
            Decision::Write { shape, add } => {
                let route = self.route(prefix, Arc::clone(self.shapes.get(shape)?));
                let action = if add {
                    Action::Add(route)
                } else {
                    Action::Replace(route)
                };
                self.table.entry(prefix).set(BUSY);
                Some(self.op(Pending::Write { prefix, shape, add }, action))
            }
            Decision::Delete => {
                // Whatever shape it has: the key and our protocol number say enough.
                let any = Shape {
                    kind: RouteKind::Other(0),
                    ..Shape::blackhole()
                };
                let route = self.route(prefix, Arc::new(any));
                self.table.entry(prefix).set(BUSY);
                Some(self.op(Pending::Delete { prefix }, Action::Delete(route)))
            }
        }
    }

    fn decide(&self, view: &KernelView, prefix: Prefix, entry: Entry) -> Decision {
        if entry.is(BUSY) || self.troubles.holds(prefix) {
            return Decision::Nothing;
        }
        let Some(shape) = desired(&self.targets, &entry) else {
            return match entry.seen {
                Seen::NOTHING => Decision::Settled,
                _ if self.sync.converged => Decision::Delete,
                _ => Decision::Nothing,
            };
        };
        let foreign = view.foreign_at_our_key(prefix);
        let usurped = entry.is(USURPED);
        match (entry.seen, foreign && !usurped) {
            (seen, _) if seen == shape.into() => Decision::Settled,
            (Seen::NOTHING, true) => Decision::Conflict,
            (Seen::NOTHING, false) => Decision::Write {
                shape,
                add: !usurped,
            },
            // Whose route stands there? A replacement may hit the foreign one.
            (Seen::UNSURE, true) => Decision::NeedsDump,
            // Ours and theirs stand beside each other, and a replacement takes the first.
            (_, true) => Decision::Delete,
            (_, false) => Decision::Write { shape, add: false },
        }
    }

    fn own_changed(&mut self, route: &KernelRoute, replaced: bool) {
        let shape = self.shapes.intern(&route.shape);
        let prefix = route.prefix;
        let dumping = self.sync.is_running();
        let entry = self.table.entry(prefix);
        if entry.is(BUSY) {
            entry.set(CROSSED);
            return;
        }
        let stands = entry.seen.shape().is_some_and(|seen| seen != shape);
        if stands && !replaced && prefix.family() == Family::Ipv4 {
            // A second one at the same key. Which of them is used is not ours to guess.
            self.strays.push_back(route.clone());
            self.sync.request(self.now);
            return;
        }
        entry.seen = shape.into();
        entry.clear(USURPED);
        if dumping {
            entry.set(OVERTAKEN);
        }
        let meddled = entry.want().is_some() && desired(&self.targets, entry) != Some(shape);
        if meddled {
            self.strike(prefix);
        }
        self.enqueue(prefix);
    }

    fn own_gone(&mut self, route: &KernelRoute) {
        let prefix = route.prefix;
        let dumping = self.sync.is_running();
        let Some(entry) = self.table.get_mut(prefix) else {
            return;
        };
        if entry.is(BUSY) {
            entry.set(CROSSED);
            return;
        }
        if dumping {
            entry.set(OVERTAKEN);
        }
        let Some(seen) = entry.seen.shape() else {
            return;
        };
        let shape = self.shapes.get(seen).cloned();
        let rest = shape.as_ref().and_then(|shape| shape.without(&route.shape));
        let whole = shape.is_some_and(|shape| shape == route.shape);
        entry.seen = match (rest, whole) {
            (_, true) => Seen::NOTHING,
            // IPv6 takes hops away one by one.
            (Some(rest), false) => self.shapes.intern(&Arc::new(rest)).into(),
            // Not the one that we know of: only the kernel can tell what is left.
            (None, false) => {
                self.sync.request(self.now);
                return;
            }
        };
        if entry.want().is_some() {
            self.strike(prefix);
        }
        self.enqueue(prefix);
    }

    fn foreign_came(&mut self, prefix: Prefix, replaced: bool) {
        let Some(entry) = self.table.get_mut(prefix) else {
            return;
        };
        if entry.is(BUSY) {
            entry.set(CROSSED);
            if replaced && entry.seen != Seen::NOTHING {
                entry.set(USURPED);
            }
            return;
        }
        if replaced && entry.seen != Seen::NOTHING {
            entry.seen = Seen::NOTHING;
            if self.sync.is_running() {
                entry.set(OVERTAKEN);
            }
            if entry.want().is_some() {
                entry.set(USURPED);
                self.strike(prefix);
            }
        }
        self.enqueue(prefix);
    }

    fn foreign_went(&mut self, prefix: Prefix) {
        let Some(entry) = self.table.get_mut(prefix) else {
            return;
        };
        if entry.is(BUSY) {
            entry.set(CROSSED);
        }
        entry.clear(USURPED);
        self.enqueue(prefix);
    }

    fn written(&mut self, prefix: Prefix, shape: ShapeId) -> Option<Prefix> {
        let entry = self.table.entry(prefix);
        let usurped = entry.is(USURPED) && !entry.is(CROSSED);
        self.settle(prefix, shape.into());
        self.sync.granted();
        usurped.then_some(prefix)
    }

    fn deleted(&mut self, prefix: Prefix, result: Result<(), Errno>) {
        match result {
            Ok(()) | Err(Errno::ESRCH | Errno::ENOENT | Errno::ENODEV) => {
                self.settle(prefix, Seen::NOTHING);
            }
            Err(errno) => self.refused(prefix, false, errno),
        }
    }

    /// An operation is over and the kernel has `seen`, unless somebody else came across.
    fn settle(&mut self, prefix: Prefix, seen: Seen) {
        let entry = self.table.entry(prefix);
        entry.clear(BUSY);
        entry.seen = if entry.is(CROSSED) {
            Seen::UNSURE
        } else {
            seen
        };
        if !entry.is(CROSSED) {
            entry.clear(USURPED);
        }
        entry.clear(CROSSED);
        self.enqueue(prefix);
    }

    fn refused(&mut self, prefix: Prefix, add: bool, errno: Errno) {
        let entry = self.table.entry(prefix);
        let crossed = entry.is(CROSSED);
        entry.clear(BUSY);
        entry.clear(CROSSED);
        // Of a replaced IPv6 multipath route the first hops may be in when a later one is refused.
        if crossed || !add && prefix.family() == Family::Ipv6 || errno == Errno::ENOBUFS {
            entry.seen = Seen::UNSURE;
        }
        match errno {
            Errno::EPERM | Errno::EACCES => {
                if self.sync.denied(self.now + DENIED_PAUSE) {
                    self.report(Report::Denied);
                }
            }
            // ENOMEM, EAGAIN and EINTR beside it: nothing is wrong with this route.
            Errno::ENOBUFS | Errno(12 | 11 | 4) => self.sync.pause(self.now + EXHAUSTED_PAUSE),
            _ => {
                if add && errno == Errno::EEXIST {
                    // Somebody's, and nobody told us: read whose.
                    self.sync.request(self.now);
                }
                if self.troubles.refused(self.now, prefix, errno) {
                    self.report(Report::Refused { prefix, errno });
                }
            }
        }
        self.enqueue(prefix);
    }

    fn strike(&mut self, prefix: Prefix) {
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

    fn enqueue(&mut self, prefix: Prefix) {
        // The end of the first dump looks at every entry anyway.
        if !self.sync.synced {
            return;
        }
        if let Some(entry) = self.table.get_mut(prefix)
            && !entry.is(QUEUED)
        {
            entry.set(QUEUED);
            self.queue.push_back(prefix);
        }
    }

    fn enqueue_differing(&mut self) {
        if !self.sync.synced {
            return;
        }
        let Self {
            table,
            queue,
            targets,
            ..
        } = self;
        table.sweep(|prefix, entry| {
            if differs(targets, entry) && !entry.is(QUEUED) {
                entry.set(QUEUED);
                queue.push_back(prefix);
            }
        });
    }

    fn requeue_moved(&mut self) {
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
        table.sweep(|prefix, entry| {
            let target = entry.want().and_then(|path| targets.get(path.0 as usize));
            if target.is_some_and(|target| target.moved) {
                troubles.relent(prefix);
                if !entry.is(QUEUED) {
                    entry.set(QUEUED);
                    queue.push_back(prefix);
                }
            }
        });
        for target in targets {
            target.moved = false;
        }
    }

    fn collect_shapes(&mut self) {
        if !self.shapes.want_collection() {
            return;
        }
        let seen = self
            .table
            .iter()
            .filter_map(|(_, entry)| entry.seen.shape());
        let wanted = self.targets.iter().filter_map(|target| target.shape);
        let written = self
            .outstanding
            .values()
            .filter_map(|pending| match pending {
                Pending::Write { shape, .. } => Some(*shape),
                Pending::Delete { .. } | Pending::Stray | Pending::Dump => None,
            });
        self.shapes.keep(seen.chain(wanted).chain(written));
    }

    fn route(&self, prefix: Prefix, shape: Arc<Shape>) -> KernelRoute {
        let Ownership {
            table, protocol, ..
        } = self.rule;
        KernelRoute {
            prefix,
            table,
            metric: self.rule.metric(prefix.family()),
            protocol,
            shape,
        }
    }

    fn op(&mut self, pending: Pending, action: Action) -> Op {
        let id = OpId(self.next_id);
        self.next_id += 1;
        self.outstanding.insert(id, pending);
        Op { id, action }
    }

    fn report(&mut self, report: Report) {
        if self.reports.len() < MAX_REPORTS {
            self.reports.push_back(report);
        } else if let Some(Report::More { count }) = self.reports.back_mut() {
            *count += 1;
        } else {
            self.reports.push_back(Report::More { count: 1 });
        }
    }
}

fn desired(targets: &[Target], entry: &Entry) -> Option<ShapeId> {
    targets.get(entry.want()?.0 as usize)?.shape
}

fn differs(targets: &[Target], entry: &Entry) -> bool {
    entry.seen != desired(targets, entry).map_or(Seen::NOTHING, Seen::from)
}
