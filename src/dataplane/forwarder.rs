//! The dataplane as one machine: wishes and kernel inputs in, operations and resolutions out.
//!
//! It introduces [`KernelView`] to [`Reconciler`] and keeps the paths between them: each distinct
//! [`Forwarding`] once, with the shape that the kernel should have for it now. When a next hop's
//! resolution changes, its paths get new shapes; prefixes are not visited until operations are
//! asked for.

mod former;
mod next_hops;
mod paths;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

pub use former::FormerWay;
use next_hops::Wanted;
use paths::Paths;

use super::adoption::{Adopt, Adoption};
use super::device::Sysctl;
use super::input::{Change, KernelInput, Link, Op, OpId};
use super::next_hop::{Forwarding, NextHop, Resolution};
use super::next_hop::{Reach, Unreachable};
use super::ownership::Ownership;
use super::reconciler::{Aim, PathId, Reconciler};
use super::report::{Counts, Report, RouteState};
use super::resolve::KernelView;
use super::route::{Errno, Hop, Shape};
use super::tunnels::{Tunnel, TunnelStatus, Tunnels};
use crate::net::{Family, Hashing, Prefix};
use crate::time::Instant;

/// What the operator may choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// The mark on our routes, and where they go.
    pub ownership: Ownership,
    /// At most so many operations are outstanding.
    pub window: usize,
    /// At most so many hops a route has; the best-sorted ones are taken.
    pub max_hops: usize,
    /// Whose leftovers are taken over.
    pub adopt: Adopt,
    /// Makes hash collisions unpredictable for whoever announces prefixes.
    pub hashing: Hashing,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ownership: Ownership::default(),
            window: 4096,
            max_hops: 64,
            adopt: Adopt::default(),
            hashing: Hashing::default(),
        }
    }
}

/// The route installer.
#[derive(Debug)]
pub struct Dataplane {
    settings: Settings,
    adoption: Adoption,
    now: Instant,
    view: KernelView,
    reconciler: Reconciler,
    paths: Paths,
    /// Next hops that the speaker asked about, and how often.
    asked: BTreeMap<NextHop, u32>,
    resolutions: VecDeque<NextHop>,
    tunnels: Tunnels,
}

impl Dataplane {
    /// A dataplane that knows nothing; its first operation is a dump.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            adoption: Adoption {
                whose: settings.adopt,
                pools: Vec::new(),
            },
            now: Instant::ZERO,
            view: KernelView::hashing(settings.ownership, settings.hashing.of_table(20)),
            reconciler: Reconciler::new(
                settings.ownership,
                settings.window,
                settings.hashing.of_table(21),
            ),
            paths: Paths::default(),
            asked: BTreeMap::new(),
            resolutions: VecDeque::new(),
            tunnels: Tunnels::new(settings.adopt),
        }
    }

    /// Wants `prefix` forwarded so. Replaces an earlier wish for it in one operation.
    pub fn want(&mut self, prefix: Prefix, forwarding: Forwarding) {
        let path = self.path(forwarding);
        self.paths.hold(path);
        let before = self.reconciler.want(prefix, path);
        if before != Some(path) {
            self.view.own_changed(prefix);
        }
        if let Some(before) = before {
            self.release(before);
        }
    }

    /// Wants no route to `prefix` any more.
    pub fn unwant(&mut self, prefix: Prefix) {
        if let Some(before) = self.reconciler.unwant(prefix) {
            self.view.own_changed(prefix);
            self.release(before);
        }
    }

    /// Wants these tunnel devices and no others.
    pub fn set_tunnels(&mut self, now: Instant, tunnels: Vec<Tunnel>) {
        self.now = now;
        self.tunnels.set(now, &mut self.view, tunnels);
    }

    /// Wants packets of these families forwarded, tunnels or not.
    pub fn set_forwarding(&mut self, families: impl Iterator<Item = Family>) {
        self.tunnels.forward(families);
    }

    /// How the tunnel devices do, those that are about to go among them.
    pub fn tunnels(&self) -> Vec<TunnelStatus> {
        self.tunnels.status(&self.view)
    }

    /// Says which prefixes are the cluster's pools: leftovers of other programs
    /// ([`Settings::adopt`]) are taken over only in there. What counts is what was said before the
    /// kernel was read for the first time.
    pub fn set_pools(&mut self, pools: Vec<Prefix>) {
        self.adoption.pools = pools;
    }

    /// Says where the cluster's nodes are: no route of ours takes their addresses away from a link.
    pub fn set_nodes(&mut self, nodes: impl Iterator<Item = IpAddr>) {
        self.view.set_nodes(nodes.collect());
    }

    /// Says that all wishes are known by now: routes of ours that are not wanted may go.
    pub fn converged(&mut self) {
        self.reconciler.converged();
        self.tunnels.converged(self.now);
    }

    /// Takes in what the kernel says.
    pub fn handle(&mut self, now: Instant, input: KernelInput) {
        self.now = now;
        match input {
            KernelInput::Changed(change) => self.changed(now, &change),
            KernelInput::Dumped(row) => {
                self.tunnels.dumped(&row);
                if let Change::Route { route, .. } = &row {
                    if self.reconciler.leftover_dumped(route) {
                        return;
                    }
                    self.reconciler.dumped(route);
                }
                self.view.dumped(&row);
            }
            KernelInput::Done { id, result } if Tunnels::issued(id) => {
                let outcome = self.tunnels.done(now, &self.view, id, result);
                if let Some(change) = outcome.effect {
                    self.surroundings_changed(now, &change);
                }
                if let Some((doing, errno)) = outcome.refused
                    && (errno == Errno::EACCES || !self.reconciler.setback(now, errno))
                {
                    // A link on which IPv6 is off answers EACCES, too.
                    self.tunnels.refused(&self.view, doing, errno);
                }
            }
            KernelInput::Done { id, result } => {
                let dump = self.reconciler.is_dump(id);
                let displaced = self.reconciler.done(now, id, result);
                if let Some((prefix, metric)) = displaced {
                    self.view.displaced(prefix, metric);
                }
                if dump {
                    self.dump_ends(now, result.is_ok());
                }
            }
            KernelInput::Carried { first, last } => {
                for id in (first.0..=last.0).map(OpId) {
                    let result = Ok(());
                    self.handle(now, KernelInput::Done { id, result });
                }
            }
            KernelInput::Overrun => {
                self.reconciler.overrun(now);
                self.tunnels.overrun(now);
            }
        }
    }

    /// The next operations for the kernel, at most `max`; empty when there is nothing to do now.
    pub fn poll_ops(&mut self, max: usize) -> Vec<Op> {
        let ops = self.poll_round(max);
        if ops.is_empty() && self.tunnels.is_dirty() {
            // It was found that a device may go. Nobody asks again when nothing happens.
            return self.poll_round(max);
        }
        ops
    }

    fn poll_round(&mut self, max: usize) -> Vec<Op> {
        self.settle_paths();
        self.tunnels.forward_on(&self.view, &self.reconciler);
        if self.tunnels.takes_dump() {
            self.reconciler.request_dump(self.now);
        }
        let mut ops = Vec::new();
        if self.reconciler.lets_others_write() {
            ops = self.tunnels.poll(self.room(max));
        }
        // What makes goes before the routes, what removes after them.
        let others = self.tunnels.outstanding();
        let left = max.saturating_sub(ops.len());
        let routes = self.reconciler.poll(&self.view, left, others);
        if let [op] = routes.as_slice()
            && self.reconciler.is_dump(op.id)
        {
            self.view.dump_begins();
            self.tunnels.dump_begins();
        }
        if ops.is_empty() {
            ops = routes;
        } else {
            ops.extend(routes);
        }
        if self.reconciler.lets_others_write() {
            let room = self.room(max.saturating_sub(ops.len()));
            ops.extend(self.tunnels.poll_removals(&self.reconciler, room));
        }
        ops
    }

    /// How many operations may go out beside those that are outstanding, at most `max`.
    fn room(&self, max: usize) -> usize {
        let outstanding = self.reconciler.outstanding() + self.tunnels.outstanding();
        self.settings
            .window
            .max(1)
            .saturating_sub(outstanding)
            .min(max)
    }

    /// The next tracked next hop with a new resolution. Nothing before the kernel was read once.
    pub fn poll_resolution(&mut self) -> Option<(NextHop, Resolution)> {
        self.settle_paths();
        while let Some(next_hop) = self.resolutions.pop_front() {
            if let (true, Some(found)) = (
                self.asked.contains_key(&next_hop),
                self.view.resolution(&next_hop),
            ) {
                return Some((next_hop.clone(), found.clone()));
            }
        }
        None
    }

    /// The next thing worth a line in the log.
    pub fn poll_report(&mut self) -> Option<Report> {
        let report = self.reconciler.poll_report();
        report.or_else(|| self.tunnels.poll_report())
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub fn next_timeout(&self) -> Option<Instant> {
        let routes = self.reconciler.next_timeout(self.tunnels.outstanding());
        [
            routes,
            self.tunnels.next_timeout(),
            self.view.next_timeout(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        self.view.handle_timeout(now);
        self.reconciler.handle_timeout(now);
        self.tunnels.handle_timeout(now);
    }

    /// Links, addresses, foreign routes.
    pub const fn view(&self) -> &KernelView {
        &self.view
    }

    /// How a prefix does; none if it is neither wanted nor in the kernel.
    pub fn state(&self, prefix: Prefix) -> Option<RouteState> {
        self.reconciler.state(prefix)
    }

    /// What the kernel has of ours for a prefix.
    pub fn installed(&self, prefix: Prefix) -> Option<&Arc<Shape>> {
        self.reconciler.seen(prefix)
    }

    /// Whether all links that the kernel's route of ours leads by can be used.
    pub fn is_whole(&self, prefix: Prefix) -> bool {
        let usable = |hop: &Hop| {
            let link = hop.interface.map(|index| self.view.link_by_index(index));
            link.is_none_or(|link| link.is_some_and(Link::usable))
        };
        let installed = self.reconciler.seen(prefix);
        installed.is_none_or(|shape| shape.hops.iter().all(usable))
    }

    /// What the kernel should have for a prefix now; none if nothing is reachable or wanted.
    pub fn target(&self, prefix: Prefix) -> Option<&Arc<Shape>> {
        self.reconciler.target(prefix)
    }

    /// All prefixes that are wanted or in the kernel by our doing; in no order.
    pub fn prefixes(&self) -> impl Iterator<Item = Prefix> + '_ {
        self.reconciler.prefixes()
    }

    /// How many prefixes are in which state: one pass over the table.
    pub fn counts(&self) -> Counts {
        self.reconciler.counts()
    }

    /// The prefixes that do not do well.
    pub fn troubled(&self) -> impl Iterator<Item = (Prefix, RouteState)> + '_ {
        self.reconciler.troubled()
    }

    /// The wishes for which there is no route to write now: nothing of their next hops can be used. A
    /// pass over the routes, but none if there is no such wish.
    pub(super) fn lost(&self) -> impl Iterator<Item = (Prefix, &Forwarding)> + '_ {
        let lost = self
            .paths
            .used()
            .filter(|(path, _)| self.reconciler.is_lost(*path));
        let lost: BTreeMap<PathId, &Forwarding> = lost.collect();
        let wishes = (!lost.is_empty()).then(|| self.reconciler.wishes());
        let wishes = wishes.into_iter().flatten();
        wishes.filter_map(move |(prefix, path)| Some((prefix, *lost.get(&path)?)))
    }

    /// Whether the kernel has said that we may not write, and nothing else since.
    pub const fn is_denied(&self) -> bool {
        self.reconciler.is_denied()
    }

    /// Whether the kernel is about to be read again.
    pub fn is_reading(&self) -> bool {
        self.reconciler.is_reading()
    }

    /// Whether the kernel is given a rest.
    pub(super) fn rests(&self, now: Instant) -> bool {
        self.reconciler.rests_at(now)
    }

    /// Settings that are needed and could not be read or made, and why.
    pub fn untuned(&self) -> impl Iterator<Item = (&Sysctl, Errno)> + '_ {
        self.tunnels.untuned()
    }

    /// Whether the kernel was read completely at least once.
    pub const fn is_synced(&self) -> bool {
        self.reconciler.is_synced()
    }

    /// Whether nothing is to be done before the next input, wish or timeout.
    pub fn is_idle(&self) -> bool {
        self.reconciler.is_idle() && self.tunnels.is_idle(&self.reconciler)
    }

    fn changed(&mut self, now: Instant, change: &Change) {
        self.surroundings_changed(now, change);
        self.tunnels.changed(now, &self.view, change);
    }

    fn surroundings_changed(&mut self, now: Instant, change: &Change) {
        let lost = self.lost_link(change);
        if self.view.apply(change) {
            self.reconciler.request_dump(now);
        }
        match change {
            Change::Route { route, replaced } => {
                self.reconciler.route_seen(now, route, *replaced);
                if self.reconciler.is_synced()
                    && let Some(former) = self.view.leftover(&self.adoption, route)
                {
                    self.reconciler.still_writes(now, former);
                }
            }
            Change::RouteGone(route) => self.reconciler.route_gone(now, route),
            Change::Object { .. } => {}
            // Routes go with it, and which ones nobody says.
            Change::ObjectGone { .. } => self.reconciler.request_dump(now),
            Change::Neighbour { .. } | Change::NeighbourGone(_) | Change::Setting(_) => {}
            Change::Link(_)
            | Change::LinkGone { .. }
            | Change::Address(_)
            | Change::AddressGone(_) => {
                self.reconciler.surroundings_changed(now);
            }
        }
        if let Some(interface) = lost {
            let with_routes = !matches!(change, Change::AddressGone(_));
            self.reconciler.link_lost(now, interface, with_routes);
        }
    }

    /// The link over which the kernel may have dropped routes because of this change.
    fn lost_link(&self, change: &Change) -> Option<u32> {
        match change {
            Change::Link(link) => {
                let was_up = self
                    .view
                    .link_by_index(link.index)
                    .is_some_and(|before| before.up);
                (was_up && !link.up).then_some(link.index)
            }
            Change::LinkGone { index } => Some(*index),
            Change::AddressGone(address) => Some(address.interface),
            Change::Address(_)
            | Change::Neighbour { .. }
            | Change::NeighbourGone(_)
            | Change::Setting(_)
            | Change::Route { .. }
            | Change::RouteGone(_)
            | Change::Object { .. }
            | Change::ObjectGone { .. } => None,
        }
    }

    fn dump_ends(&mut self, now: Instant, complete: bool) {
        // A dump during which changes were lost is no better than one that broke off.
        let complete = complete && !self.reconciler.is_spoilt();
        self.view.dump_ends(complete);
        self.tunnels.dump_ends(now, &self.view, complete);
        let left = if complete && !self.reconciler.is_synced() {
            self.view.take_leftovers(&self.adoption)
        } else {
            Vec::new()
        };
        self.settle_paths();
        self.reconciler.dump_ends(now, &self.view, complete);
        self.reconciler.adopt(left);
    }

    /// Brings the paths up to date with the next hops that changed.
    fn settle_paths(&mut self) {
        self.tunnels.settle(&mut self.view);
        if self.view.takes_guard_change() {
            self.reconciler.guard_changed(&self.view);
        }
        let mut moved = BTreeSet::new();
        while let Some(next_hop) = self.next_moved() {
            if let Some(users) = self.paths.users(&next_hop) {
                moved.extend(users.iter().copied());
            }
            if self.asked.contains_key(&next_hop) {
                self.resolutions.push_back(next_hop);
            }
        }
        for path in moved {
            self.retarget(path);
        }
    }

    fn path(&mut self, forwarding: Forwarding) -> PathId {
        if let Some(path) = self.paths.find(&forwarding) {
            return path;
        }
        if let Forwarding::Via(next_hops) = &forwarding {
            let Self {
                view,
                reconciler,
                paths,
                ..
            } = self;
            for next_hop in next_hops {
                view.track(next_hop, &Wanted { reconciler, paths });
            }
        }
        let path = self.paths.insert(forwarding);
        let target = self.target_of(path);
        self.reconciler.define_target(path, target.aim());
        path
    }

    fn release(&mut self, path: PathId) {
        let Some(forwarding) = self.paths.release(path) else {
            return;
        };
        self.reconciler.define_target(path, Aim::Nothing);
        if let Forwarding::Via(next_hops) = &forwarding {
            for next_hop in next_hops {
                self.view.untrack(next_hop);
            }
        }
    }

    fn retarget(&mut self, path: PathId) {
        let target = self.target_of(path);
        self.reconciler.set_target(path, target.aim());
    }

    fn target_of(&self, path: PathId) -> Target {
        match self.paths.get(path) {
            Some(Forwarding::Blackhole) => Target::Shape(Arc::new(Shape::blackhole())),
            Some(Forwarding::Via(next_hops)) => self.unicast(next_hops),
            None => Target::Nothing,
        }
    }

    fn unicast(&self, next_hops: &[NextHop]) -> Target {
        let mut hops: Vec<Hop> = Vec::new();
        let mut awaited = false;
        for next_hop in next_hops {
            match self.view.resolution(next_hop) {
                Some(Resolution::Reachable { hops: found, .. }) => hops.extend_from_slice(found),
                Some(Resolution::Unreachable(reason)) => {
                    let tunnel = matches!(next_hop.reach, Reach::Device(_) | Reach::Onto(_));
                    let absent = matches!(reason, Unreachable::NotReady | Unreachable::NoDevice);
                    awaited |= tunnel && absent;
                }
                None => {}
            }
        }
        let shape = self.limited(Shape::unicast(hops));
        if !shape.hops.is_empty() {
            Target::Shape(Arc::new(shape))
        } else if awaited {
            Target::Hold
        } else {
            Target::Nothing
        }
    }

    /// With as many hops as a route may have.
    fn limited(&self, shape: Shape) -> Shape {
        if shape.hops.len() <= self.settings.max_hops {
            return shape;
        }
        Shape::unicast(shape.hops.iter().take(self.settings.max_hops).copied())
    }
}

/// What a path means for the kernel now.
#[derive(Debug)]
enum Target {
    Shape(Arc<Shape>),
    /// A tunnel on the way is not ready: what the kernel has stays.
    Hold,
    Nothing,
}

impl Target {
    const fn aim(&self) -> Aim<'_> {
        match self {
            Self::Shape(shape) => Aim::Shape(shape),
            Self::Hold => Aim::Hold,
            Self::Nothing => Aim::Nothing,
        }
    }
}
