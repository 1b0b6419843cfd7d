//! What is wanted against what the kernel has, and the operations that make them one.
//!
//! ```text
//!        wanted, not seen: Add        wanted ∩ seen, different: Replace
//!        seen, not wanted: Delete     wanted = seen: nothing
//! ```
//!
//! Per prefix there is one entry with two numbers, never more than one outstanding operation, and a
//! place in the queue while the two may differ. The queue and what is outstanding name entries by their
//! [`Place`], so that one search for the prefix serves the whole way to the kernel and back. An
//! operation is made only when it is asked for, so wishes that were overtaken cost nothing. `Add` is
//! exclusive: it can't hurt a foreign route that nobody told us about. `Delete` names our protocol
//! number, so it can't either.
//!
//! Of the two keys that routes of ours may have at a prefix ([`Rank`]) an entry tells of one: that of what is
//! wanted. What is ours at any other key is kept in `others`.
//!
//! During a dump nothing is outstanding, so the dump shows no half of an operation of ours.

mod leftovers;
mod others;
mod outstanding;
mod questions;
mod shapes;
mod steps;
mod sync;
mod table;
mod trouble;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::input::{Action, Op, OpId};
use super::lengths::Lengths;
use super::ownership::{Owner, Ownership, Rank};
use super::report::Report;
use super::resolve::KernelView;
use super::route::{Errno, KernelRoute, RouteKind, Shape};
use crate::net::{Hashing, Prefix};
use crate::time::Instant;

use leftovers::Leftovers;
use others::Others;
use outstanding::Outstanding;
use shapes::{ShapeId, Shapes};
use sync::Sync;
pub use table::PathId;
use table::{BUSY, CONFIRMED, DUMPED, Entry, OVERTAKEN, Place, QUEUED, Seen, Table, USURPED};
use trouble::{Mood, Troubles};

/// The queue's room that is kept for the next change.
const QUEUE_KEPT: usize = 1024;

/// The delta tracker of the kernel's routes.
#[derive(Debug)]
pub struct Reconciler {
    rule: Ownership,
    window: usize,
    now: Instant,
    table: Table,
    /// How many prefixes of each length are wanted.
    lengths: Lengths,
    shapes: Shapes,
    /// What each path means for the kernel now; none while nothing of it is reachable.
    targets: Vec<Target>,
    any_target_moved: bool,
    /// What a deletion is of: the key and our protocol number say enough.
    any_shape: Arc<Shape>,
    queue: VecDeque<Place>,
    others: Others,
    leftovers: Leftovers,
    outstanding: Outstanding<Pending>,
    troubles: Troubles,
    /// How often an operation on a prefix met an error that may be everybody's.
    setbacks: BTreeMap<Prefix, u8>,
    sync: Sync,
    reports: VecDeque<Report>,
    /// Counts whatever may change which hops are in use.
    changes: u64,
}

/// What a path means for the kernel now.
#[derive(Debug, Clone, Copy)]
pub enum Aim<'a> {
    /// A route of this shape.
    Shape(&'a Arc<Shape>),
    /// Whatever is there: the way leads through a tunnel that is not ready.
    Hold,
    /// No route: nothing of it is reachable.
    Nothing,
}

#[derive(Debug, Clone, Copy, Default)]
struct Target {
    wish: Option<Wish>,
    /// The way leads through a tunnel that is not ready: what the kernel has stays until it is.
    hold: bool,
    moved: bool,
}

/// What is to stand at a prefix, and at which key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wish {
    shape: ShapeId,
    rank: Rank,
}

impl Wish {
    /// Whether the kernel has it, by what an entry says.
    fn stands(self, entry: Entry) -> bool {
        entry.seen == self.shape.into() && entry.rank() == self.rank
    }
}

#[derive(Debug, Clone, Copy)]
enum Pending {
    Write {
        place: Place,
        shape: ShapeId,
        add: bool,
    },
    Delete {
        place: Place,
    },
    Other,
    Leftover,
    Dump,
}

impl Reconciler {
    /// A reconciler that knows nothing and will first ask for a dump.
    pub fn new(rule: Ownership, window: usize, hashing: Hashing) -> Self {
        Self {
            rule,
            window: window.max(1),
            now: Instant::ZERO,
            table: Table::new(hashing),
            lengths: Lengths::default(),
            shapes: Shapes::new(hashing.of_table(1)),
            targets: Vec::new(),
            any_target_moved: false,
            any_shape: Arc::new(Shape {
                kind: RouteKind::Other(0),
                ..Shape::blackhole()
            }),
            queue: VecDeque::new(),
            others: Others::default(),
            leftovers: Leftovers::default(),
            outstanding: Outstanding::default(),
            troubles: Troubles::default(),
            setbacks: BTreeMap::new(),
            sync: Sync::default(),
            reports: VecDeque::new(),
            changes: 0,
        }
    }

    /// Wants a route to `prefix` along `path`; answers the path that was wanted before.
    pub fn want(&mut self, prefix: Prefix, path: PathId) -> Option<PathId> {
        let (place, entry) = self.table.entry(prefix);
        let before = entry.want();
        if before.is_none() {
            self.lengths.more(prefix);
        }
        entry.set(CONFIRMED);
        if before != Some(path) {
            entry.set_want(Some(path));
            if self.sync.synced {
                queue_up(&mut self.queue, place, entry);
            }
            self.troubles.relent(prefix);
        }
        before
    }

    /// Wants no route to `prefix` any more; answers the path that was wanted before.
    pub fn unwant(&mut self, prefix: Prefix) -> Option<PathId> {
        let (place, entry) = self.table.get_mut(prefix)?;
        let before = entry.want();
        if before.is_some() {
            self.lengths.fewer(prefix);
        }
        entry.set_want(None);
        if !entry.is(BUSY) {
            // Else a write over the foreign route is under way, and it is to be known that this one went.
            entry.clear(USURPED);
        }
        if self.sync.synced {
            queue_up(&mut self.queue, place, entry);
        }
        let queued = entry.is(QUEUED);
        self.troubles.relent(prefix);
        self.troubles.settled(self.now, prefix);
        if !queued {
            self.table.tidy(place);
        }
        before
    }

    /// Says what a path means for the kernel now.
    pub fn set_target(&mut self, path: PathId, aim: Aim<'_>) {
        self.any_target_moved |= self.put_target(path, aim, true);
    }

    /// The same for a path that no prefix is wanted with: new, or no longer used.
    pub fn define_target(&mut self, path: PathId, aim: Aim<'_>) {
        self.put_target(path, aim, false);
    }

    fn put_target(&mut self, path: PathId, aim: Aim<'_>, moved: bool) -> bool {
        self.changes += 1;
        let (shape, hold) = match aim {
            Aim::Shape(shape) => (Some(shape), false),
            Aim::Hold => (None, true),
            Aim::Nothing => (None, false),
        };
        let wish = shape.map(|shape| Wish {
            shape: self.shapes.intern(shape),
            rank: Rank::of(shape.kind),
        });
        let place = path.0 as usize;
        if self.targets.len() <= place {
            self.targets.resize(place + 1, Target::default());
        }
        match self.targets.get_mut(place) {
            Some(target) if (target.wish, target.hold) != (wish, hold) => {
                *target = Target { wish, hold, moved };
                moved
            }
            Some(_) | None => false,
        }
    }

    /// From now on what is not wanted is deleted.
    pub fn converged(&mut self) {
        if !core::mem::replace(&mut self.sync.converged, true) {
            self.enqueue_differing();
            self.enqueue_leftovers();
            self.enqueue_others();
        }
    }

    /// A route of ours, or a foreign one at our key, was reported changed.
    pub fn route_seen(&mut self, now: Instant, route: &KernelRoute, replaced: bool) {
        self.now = now;
        if replaced && route.table == self.rule.table {
            self.leftovers.replaced(route.prefix, route.metric);
        }
        match self.rule.of(route) {
            Owner::Ours(rank) if self.tells_of(route.prefix, rank) => {
                self.own_changed(route, rank, replaced);
            }
            Owner::Ours(_) | Owner::Stray => self.other_seen(route),
            Owner::ForeignAtOurKey(rank) if self.tells_of(route.prefix, rank) => {
                self.foreign_came(route.prefix, rank, replaced);
            }
            Owner::ForeignAtOurKey(_) if replaced => self.other_gone(route.prefix, route.metric),
            Owner::ForeignAtOurKey(_) => self.enqueue(route.prefix),
            Owner::Foreign => {
                if replaced {
                    self.other_displaced(route.prefix, route.metric);
                }
                self.troubles.hasten(now);
            }
            Owner::Elsewhere => {}
        }
    }

    /// A route of ours, or a foreign one at our key, was reported gone.
    pub fn route_gone(&mut self, now: Instant, route: &KernelRoute) {
        self.now = now;
        if self.leftover_gone(route) {
            return;
        }
        match self.rule.of(route) {
            Owner::Ours(rank) if self.tells_of(route.prefix, rank) => {
                self.own_gone(route.prefix, rank);
            }
            Owner::Ours(_) | Owner::Stray => self.other_gone(route.prefix, route.metric),
            Owner::ForeignAtOurKey(rank) if self.tells_of(route.prefix, rank) => {
                self.foreign_went(route.prefix);
            }
            Owner::ForeignAtOurKey(_) => self.enqueue(route.prefix),
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
    /// if any route of ours may be among them, the kernel is read anew. `with_routes` says that the
    /// link itself went: nothing is believed about its routes until then.
    pub fn link_lost(&mut self, now: Instant, interface: u32, with_routes: bool) {
        self.now = now;
        let beside = self.others.link_lost(interface);
        if !beside && !self.shapes.any_uses(interface) {
            return;
        }
        let Self {
            table,
            shapes,
            queue,
            ..
        } = self;
        let mut any = beside || !self.outstanding.is_empty();
        table.sweep(|place, _, entry| {
            if !entry
                .seen
                .shape()
                .is_some_and(|s| shapes.uses(s, interface))
            {
                return;
            }
            any = true;
            if with_routes && !entry.is(BUSY) {
                entry.seen = Seen::UNSURE;
                queue_up(queue, place, entry);
            }
        });
        if any {
            self.sync.request(now);
        }
    }

    /// Somebody else has a reason to have the kernel read.
    pub(super) fn request_dump(&mut self, now: Instant) {
        self.sync.request(now);
    }

    /// Whether operations beside the routes' may go out now: no dump is due or running, and the
    /// kernel has not asked for a rest.
    pub(super) fn lets_others_write(&self) -> bool {
        !self.sync.may_dump(self.now) && self.sync.may_write(self.now)
    }

    /// Changes were lost.
    pub fn overrun(&mut self, now: Instant) {
        self.now = now;
        self.sync.overrun(now);
        self.report(Report::Overrun);
    }

    /// The next operations, at most `max` and as many as the window has room for beside the `others`
    /// that are outstanding.
    pub fn poll(&mut self, view: &KernelView, max: usize, others: usize) -> Vec<Op> {
        if self.sync.may_dump(self.now) {
            if !self.outstanding.is_empty() || others > 0 {
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
        let taken = self.outstanding.len() + others;
        let room = self.window.saturating_sub(taken).min(max);
        let mut ops = Vec::with_capacity(room.min(self.queue.len()));
        while ops.len() < room {
            // A leftover goes first: what is written afterwards may rely on it. A step may release
            // another, so they are asked for after each: nobody asks again when nothing happens.
            if let Some(op) = self.delete_leftover() {
                ops.push(op);
            } else if let Some(op) = self.delete_other() {
                ops.push(op);
            } else if let Some(place) = self.queue.pop_front() {
                ops.extend(self.step(view, place));
            } else {
                self.give_back();
                break;
            }
        }
        ops
    }

    /// Lets go of what a flood has left, once no place is queued or in an operation.
    fn give_back(&mut self) {
        if self.outstanding.is_empty() {
            self.table.pack();
            self.queue.shrink_to(QUEUE_KEPT);
        }
    }

    /// The kernel's word on an operation. Answers the key (prefix and metric) at which our route has
    /// taken the place of a foreign one (which had taken ours before).
    pub fn done(
        &mut self,
        now: Instant,
        id: OpId,
        result: Result<(), Errno>,
    ) -> Option<(Prefix, u32)> {
        self.now = now;
        match self.outstanding.remove(id)? {
            Pending::Dump => None,
            Pending::Other => {
                self.other_deleted(now, id, result);
                None
            }
            Pending::Leftover => {
                self.leftover_deleted(id, result);
                None
            }
            Pending::Delete { place } => {
                self.deleted(place, result);
                None
            }
            Pending::Write { place, shape, add } => match result {
                Ok(()) => self.written(place, shape, add),
                Err(errno) => {
                    self.refused(place, add, errno);
                    None
                }
            },
        }
    }

    /// Whether `id` is the dump that is running.
    pub(super) fn is_dump(&self, id: OpId) -> bool {
        matches!(self.outstanding.get(id), Some(Pending::Dump))
    }

    /// Whether changes were lost while the dump ran.
    pub(super) const fn is_spoilt(&self) -> bool {
        self.sync.is_spoilt()
    }

    /// A row of the dump.
    pub fn dumped(&mut self, route: &KernelRoute) {
        let rank = match self.rule.of(route) {
            Owner::Ours(rank) => rank,
            Owner::Stray => {
                self.others.dumped(route);
                return;
            }
            Owner::ForeignAtOurKey(_) | Owner::Foreign | Owner::Elsewhere => return,
        };
        let shape = self.shapes.intern(&route.shape);
        let entry = self.entry_of(route.prefix, rank);
        if entry.rank() != rank {
            self.others.dumped(route);
            return;
        }
        if entry.is(OVERTAKEN) {
            return;
        }
        if entry.is(DUMPED) {
            // Two of ours at one key, which IPv4 allows: one is too many.
            if entry.seen != shape.into() {
                self.others.dumped(route);
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
        self.changes += 1;
        self.leftovers.dump_ends(complete);
        self.others.dump_ends(complete);
        self.enqueue_leftovers();
        self.enqueue_others();
        let Self {
            table,
            queue,
            targets,
            ..
        } = self;
        let mut own = self.others.prefixes().count();
        table.sweep(|place, prefix, entry| {
            if complete && !entry.is(DUMPED) && !entry.is(OVERTAKEN) && entry.seen != Seen::NOTHING
            {
                // It was ours and somebody has taken the key while we could not look.
                let stood = entry.seen.shape().is_some() && entry.want().is_some();
                if stood && view.foreign_at_our_key(prefix, entry.rank()) {
                    entry.set(USURPED);
                }
                entry.seen = Seen::NOTHING;
            }
            entry.clear(DUMPED);
            entry.clear(OVERTAKEN);
            own += usize::from(entry.seen != Seen::NOTHING);
            let covers = |wish: Wish| view.covered(prefix, wish.rank).is_some();
            if differs(targets, entry) || desired(targets, entry).is_some_and(covers) {
                queue_up(queue, place, entry);
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

    /// When [`Self::handle_timeout`] wants to be called, while `others` operations are outstanding.
    pub fn next_timeout(&self, others: usize) -> Option<Instant> {
        let nothing = self.outstanding.is_empty() && others == 0;
        let sync = self.sync.next_timeout(nothing);
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
            self.look_at(prefix);
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
            && self.others.is_idle()
            && self.leftovers.is_idle()
            && self.sync.is_idle()
    }

    /// How many operations are outstanding.
    pub fn outstanding(&self) -> usize {
        self.outstanding.len()
    }
}

/// Puts an entry into the queue, once.
fn queue_up(queue: &mut VecDeque<Place>, place: Place, entry: &mut Entry) {
    if !entry.is(QUEUED) {
        entry.set(QUEUED);
        queue.push_back(place);
    }
}

fn desired(targets: &[Target], entry: &Entry) -> Option<Wish> {
    targets.get(entry.want()?.0 as usize)?.wish
}

/// Whether what the kernel has stays, though nothing is to be written.
fn holds(targets: &[Target], entry: &Entry) -> bool {
    let target = entry.want().and_then(|path| targets.get(path.0 as usize));
    target.is_some_and(|target| target.hold)
}

fn differs(targets: &[Target], entry: &Entry) -> bool {
    match desired(targets, entry) {
        Some(wish) => !wish.stands(*entry),
        None => entry.seen != Seen::NOTHING,
    }
}
