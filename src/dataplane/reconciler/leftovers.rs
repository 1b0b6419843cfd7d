//! Routes that another program left and that are ours to replace or remove: the way out without a
//! gap.
//!
//! A leftover at our key is replaced by what is wanted there, in one operation. Any other goes when
//! a route of ours stands instead of it, or when nothing is wanted there (or what is wanted can't be
//! reached) and all wishes are known. While a foreign route keeps ours out, a leftover stays.
//! What is a leftover was decided before; only the first dump's routes ever are.

use std::collections::{BTreeMap, VecDeque};

use super::super::adoption::Former;
use super::super::input::{Action, Op, OpId};
use super::super::report::Report;
use super::super::route::{Errno, KernelRoute};
use super::{Pending, Reconciler};
use crate::net::Prefix;
use crate::time::{Duration, Instant};

/// That a program which should have ended still writes is said at most so often.
const REMINDER: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct Leftover {
    route: KernelRoute,
    /// The running dump has it.
    dumped: bool,
    /// Its deletion is queued or outstanding.
    going: bool,
}

/// All leftovers that still stand, as far as we know.
#[derive(Debug, Default)]
pub(super) struct Leftovers {
    standing: BTreeMap<Prefix, Vec<Leftover>>,
    ready: VecDeque<KernelRoute>,
    deleting: BTreeMap<OpId, KernelRoute>,
    reminded: Option<Instant>,
}

impl Leftovers {
    fn add(&mut self, route: KernelRoute) {
        let leftover = Leftover {
            dumped: false,
            going: false,
            route,
        };
        let prefix = leftover.route.prefix;
        self.standing.entry(prefix).or_default().push(leftover);
    }

    /// Whether one stands here that was not told to go yet.
    pub(super) fn stand_at(&self, prefix: Prefix) -> bool {
        self.standing
            .get(&prefix)
            .is_some_and(|group| group.iter().any(|leftover| !leftover.going))
    }

    /// The same at one metric.
    pub(super) fn stand_at_key(&self, prefix: Prefix, metric: u32) -> bool {
        let here = |leftover: &Leftover| !leftover.going && leftover.route.metric == metric;
        self.standing
            .get(&prefix)
            .is_some_and(|group| group.iter().any(here))
    }

    /// Those at a prefix may go now.
    pub(super) fn release(&mut self, prefix: Prefix) {
        let Some(group) = self.standing.get_mut(&prefix) else {
            return;
        };
        for leftover in group.iter_mut().filter(|leftover| !leftover.going) {
            leftover.going = true;
            self.ready.push_back(leftover.route.clone());
        }
    }

    /// One was replaced at this key: if there are several, nobody knows which.
    pub(super) fn replaced(&mut self, prefix: Prefix, metric: u32) {
        let here = |leftover: &&Leftover| leftover.route.metric == metric;
        let group = self.standing.get(&prefix);
        if group.is_some_and(|group| group.iter().filter(here).count() == 1) {
            self.emptied(prefix, metric);
        }
    }

    /// None is left at this key.
    pub(super) fn emptied(&mut self, prefix: Prefix, metric: u32) {
        self.retain(prefix, |leftover| leftover.route.metric != metric);
    }

    /// The kernel says that a route, or some hops of it, is gone. Whether it was a leftover.
    fn gone(&mut self, route: &KernelRoute) -> bool {
        let key = |other: &KernelRoute| (other.metric, other.protocol);
        let Some(group) = self.standing.get_mut(&route.prefix) else {
            return false;
        };
        let mut same = group
            .iter_mut()
            .filter(|leftover| key(&leftover.route) == key(route));
        let mut known = false;
        if let Some(leftover) = same.find_map(|leftover| {
            known = true;
            let rest = leftover.route.shape.without(&route.shape)?;
            Some((leftover, rest))
        }) {
            let (leftover, rest) = leftover;
            leftover.route.shape = rest.into();
        }
        self.retain(route.prefix, |leftover| leftover.route != *route);
        known
    }

    /// A row of a dump. Whether it is a leftover.
    fn dumped(&mut self, route: &KernelRoute) -> bool {
        let group = self.standing.get_mut(&route.prefix);
        let found = group.and_then(|group| group.iter_mut().find(|it| it.route == *route));
        found.map(|leftover| leftover.dumped = true).is_some()
    }

    /// The dump is over: if it was complete, it knows which ones still stand.
    pub(super) fn dump_ends(&mut self, complete: bool) {
        for group in self.standing.values_mut() {
            group.retain_mut(|leftover| core::mem::take(&mut leftover.dumped) || !complete);
        }
        self.standing.retain(|_, group| !group.is_empty());
    }

    /// Whether nothing is about to be deleted.
    pub(super) fn is_idle(&self) -> bool {
        self.ready.is_empty()
    }

    fn retain(&mut self, prefix: Prefix, keep: impl FnMut(&Leftover) -> bool) {
        if let Some(group) = self.standing.get_mut(&prefix) {
            group.retain(keep);
            if group.is_empty() {
                self.standing.remove(&prefix);
            }
        }
    }
}

impl Reconciler {
    /// Takes these routes over. They are no longer foreign: the caller's view knows them no more.
    pub fn adopt(&mut self, found: Vec<(Former, KernelRoute)>) {
        if found.is_empty() {
            return;
        }
        let bird = found
            .iter()
            .filter(|(former, _)| *former == Former::Bird)
            .count();
        self.report(Report::TookOver {
            bird,
            felix: found.len() - bird,
        });
        for (_, route) in found {
            let prefix = route.prefix;
            self.leftovers.add(route);
            self.look_at(prefix);
        }
    }

    /// Takes in a row of a dump if it is a leftover, and answers whether it is.
    pub fn leftover_dumped(&mut self, route: &KernelRoute) -> bool {
        self.leftovers.dumped(route)
    }

    /// A program whose leftovers are taken over wrote a route: it has not ended.
    pub fn still_writes(&mut self, now: Instant, former: Former) {
        let quiet = |last: Instant| now.since(last) < REMINDER;
        if !self.leftovers.reminded.is_some_and(quiet) {
            self.leftovers.reminded = Some(now);
            self.report(Report::StillWriting { former });
        }
    }

    /// A route is gone. Whether it was a leftover: then there is no more to it.
    pub(super) fn leftover_gone(&mut self, route: &KernelRoute) -> bool {
        if !self.leftovers.gone(route) {
            return false;
        }
        if let Some(rank) = self.rule.rank(route.prefix, route.metric)
            && self.tells_of(route.prefix, rank)
        {
            self.foreign_went(route.prefix);
        }
        true
    }

    /// What is to become of the leftovers is decided anew.
    pub(super) fn enqueue_leftovers(&mut self) {
        let prefixes: Vec<Prefix> = self.leftovers.standing.keys().copied().collect();
        for prefix in prefixes {
            self.look_at(prefix);
        }
    }

    /// The next deletion of a leftover that may go.
    pub(super) fn delete_leftover(&mut self) -> Option<Op> {
        let route = self.leftovers.ready.pop_front()?;
        let op = self.op(Pending::Leftover, Action::Delete(route.clone()));
        self.leftovers.deleting.insert(op.id, route);
        Some(op)
    }

    pub(super) fn leftover_deleted(&mut self, id: OpId, result: Result<(), Errno>) {
        let Some(route) = self.leftovers.deleting.remove(&id) else {
            return;
        };
        let KernelRoute {
            prefix, protocol, ..
        } = route;
        let stays = match result {
            Ok(()) | Err(Errno::ESRCH | Errno::ENOENT | Errno::ENODEV) => None,
            Err(errno) if self.rests(errno) => {
                self.leftovers.ready.push_back(route);
                return;
            }
            Err(errno) => Some(errno),
        };
        self.leftovers
            .retain(prefix, |leftover| leftover.route != route);
        if let Some(errno) = stays {
            self.report(Report::LeftStanding {
                prefix,
                protocol,
                errno,
            });
            // From now on it is somebody's, and the view is to know it.
            self.sync.request(self.now);
        }
        self.look_at(prefix);
    }

    /// Decides anew about a prefix, even one that has no entry: a leftover may stand there.
    pub(super) fn look_at(&mut self, prefix: Prefix) {
        let (place, _) = self.table.entry(prefix);
        self.enqueue(prefix);
        self.table.tidy(place);
    }
}
