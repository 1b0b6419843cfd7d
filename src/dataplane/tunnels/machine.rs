//! The machine of tunnel devices: wishes and news in, operations out.
//!
//! It holds no mirror of links and addresses of its own, [`KernelView`] has them; and it compares
//! states, not commands: whether echoes of its own operations come makes no difference.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::super::adoption::Adopt;
use super::super::device::Sysctl;
use super::super::input::{Action, Change, Link, Op, OpId, Setting};
use super::super::reconciler::Reconciler;
use super::super::report::Report;
use super::super::resolve::KernelView;
use super::super::route::Errno;
use super::entries::{Entries, Event};
use super::host::Host;
use super::key::{Key, told};
use super::needs::{self, Part};
use super::news::{TunnelNews, why};
use super::pace::Pace;
use super::port::{Expects, Leaving, Port};
use super::pursuit::link_of;
use super::{LINGER, Tunnel, TunnelStatus};
use crate::net::Family;
use crate::time::{Duration, Instant};

/// The ids of operations of this machine have this bit.
const OURS: u64 = 1 << 63;
/// So many reports wait to be read; more are counted only.
const MAX_REPORTS: usize = 256;
/// The routes are asked for what they use at most so often.
const REVIEW: Duration = Duration::from_millis(100);

/// The tunnel devices.
#[derive(Debug)]
pub(in crate::dataplane) struct Tunnels {
    pub(super) adopt: Adopt,
    pub(super) now: Instant,
    converged: bool,
    pub(super) ports: BTreeMap<Arc<str>, Port>,
    pub(super) entries: Entries,
    pub(super) host: Host,
    /// Settings that the kernel has answered for, with the index of their link.
    pub(super) tuned: BTreeMap<Sysctl, Tuned>,
    pub(super) outstanding: BTreeMap<OpId, Doing>,
    next_id: u64,
    /// Ports may have something to do.
    pub(super) dirty: bool,
    pub(super) dump_wanted: bool,
    pub(super) pace: Pace<Arc<str>>,
    reports: VecDeque<Report>,
    /// Counts what may let something be removed.
    pub(super) changes: u64,
    review: Review,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Tuned {
    pub(super) index: u32,
    /// Not asked for again before the next wish.
    pub(super) fresh: bool,
}

/// What an operation is about.
#[derive(Debug, Clone)]
pub(in crate::dataplane) enum Doing {
    Port {
        name: Arc<str>,
        part: Part,
        action: Action,
    },
    Entry(Key),
    /// A setting of the whole host.
    Host(Sysctl),
}

/// When removals were last weighed against the routes.
#[derive(Debug, Default)]
struct Review {
    at: Option<Instant>,
    /// By these changes all that was left had to stay.
    changes: Option<u64>,
    timer: Option<Instant>,
}

impl Tunnels {
    pub(in crate::dataplane) fn new(adopt: Adopt) -> Self {
        Self {
            adopt,
            now: Instant::ZERO,
            converged: false,
            ports: BTreeMap::new(),
            entries: Entries::default(),
            host: Host::default(),
            tuned: BTreeMap::new(),
            outstanding: BTreeMap::new(),
            next_id: OURS,
            dirty: false,
            dump_wanted: false,
            pace: Pace::default(),
            reports: VecDeque::new(),
            changes: 0,
            review: Review::default(),
        }
    }

    /// Wants packets of these families forwarded, tunnels or not. Asks each time that it is told.
    pub(in crate::dataplane) fn forward(&mut self, families: impl Iterator<Item = Family>) {
        self.host.forward(families.collect());
    }

    /// Whether an operation is one of this machine's.
    pub(in crate::dataplane) const fn issued(id: OpId) -> bool {
        id.0 & OURS != 0
    }

    /// Wants these devices and no others.
    pub(in crate::dataplane) fn set(
        &mut self,
        now: Instant,
        view: &mut KernelView,
        tunnels: Vec<Tunnel>,
    ) {
        self.now = now;
        self.dirty = true;
        self.changes += 1;
        let wanted: BTreeMap<Arc<str>, Tunnel> = tunnels
            .into_iter()
            .map(|tunnel| (Arc::clone(&tunnel.name), tunnel))
            .collect();
        for port in self.ports.values_mut() {
            if port.tunnel.is_some() && !wanted.contains_key(&port.name) {
                port.tunnel = None;
                port.obstacle = None;
                port.wished = false;
                port.leaving = Some(Leaving::from(now));
                port.refusals.clear();
            }
        }
        for (name, tunnel) in wanted {
            let port = self
                .ports
                .entry(Arc::clone(&name))
                .or_insert_with(|| Port::new(Arc::clone(&name)));
            port.leaving = None;
            for refusal in port.refusals.values_mut() {
                refusal.at = None;
            }
            if port.tunnel.as_deref() == Some(&tunnel) {
                continue;
            }
            port.calm = None;
            port.misfits = 0;
            port.wished = false;
            for gone in port.far_ends.set(&tunnel.far_ends) {
                view.set_far_end(&name, gone, false);
            }
            port.tunnel = Some(Arc::new(tunnel));
        }
        self.entries.hasten();
        for tuned in self.tuned.values_mut() {
            tuned.fresh = false;
        }
    }

    /// All wishes are known: devices of ours that are not wanted begin to leave.
    pub(in crate::dataplane) fn converged(&mut self, now: Instant) {
        self.now = now;
        self.dirty |= !self.converged;
        self.converged = true;
    }

    /// Takes in a change that `view` has taken in already.
    pub(in crate::dataplane) fn changed(
        &mut self,
        now: Instant,
        view: &KernelView,
        change: &Change,
    ) {
        self.now = now;
        match change {
            Change::Link(link) => {
                self.dirty = true;
                for port in self.ports.values_mut().filter(|port| port.busy) {
                    port.crossed |= port.index.is_none_or(|index| index == link.index);
                }
            }
            Change::LinkGone { index } => {
                self.dirty = true;
                self.host
                    .links_gone(|sysctl| link_of(view, sysctl).is_some());
                self.entries.link_gone(*index);
            }
            Change::Address(_) | Change::AddressGone(_) => self.dirty = true,
            // The ways under a tunnel may be others.
            Change::Route { route, .. } | Change::RouteGone(route) => {
                self.dirty |= self.ports.values().any(|port| port.is_under(route.prefix));
            }
            Change::Setting(setting) => self.setting(view, setting),
            // A way by a nexthop object may be another one with it.
            Change::Object { .. } | Change::ObjectGone { .. } => self.dirty = true,
            Change::Neighbour { .. } | Change::NeighbourGone(_) => {}
        }
        if let Some((key, value)) = told(change)
            && is_of_interest(view, key.interface)
        {
            self.changes += 1;
            self.entries.news(now, key, value);
        }
    }

    /// A dump begins.
    pub(in crate::dataplane) fn dump_begins(&mut self) {
        self.entries.dump_begins();
    }

    /// A row of the dump.
    pub(in crate::dataplane) fn dumped(&mut self, row: &Change) {
        if let Some((key, Some(value))) = told(row) {
            self.entries.dumped(key, value);
        }
    }

    /// The dump ended, and `view` has taken it in.
    pub(in crate::dataplane) fn dump_ends(&mut self, now: Instant, view: &KernelView, good: bool) {
        self.now = now;
        self.changes += 1;
        self.entries
            .dump_ends(good, |interface| is_of_interest(view, interface));
        if good {
            self.dirty = true;
            for port in self.ports.values_mut() {
                port.expects = Expects::Nothing;
                port.gone.clear();
            }
        }
    }

    /// Finds out what is to be done, and tells the view what may be routed through.
    pub(in crate::dataplane) fn settle(&mut self, view: &mut KernelView) {
        self.take_events();
        if view.is_known() && core::mem::take(&mut self.dirty) {
            if self.converged {
                self.find_leftovers(view);
            }
            for name in self.ports.keys().cloned().collect::<Vec<_>>() {
                if let Some(port) = self.ports.remove(&name)
                    && let Some(port) = self.evaluate(view, port)
                {
                    self.ports.insert(name, port);
                }
            }
            self.take_events();
        }
        self.publish(view);
    }

    /// What is to be made or corrected: at most `max` operations.
    pub(in crate::dataplane) fn poll(&mut self, max: usize) -> Vec<Op> {
        let mut ops = Vec::new();
        let due = self.ports.values_mut().filter(|port| !port.busy);
        let due: Vec<(Arc<str>, Part, Action)> = due
            .filter_map(|port| {
                let (part, action) = port.next.take()?;
                Some((Arc::clone(&port.name), part, action))
            })
            .collect();
        for (name, part, action) in due {
            if ops.len() >= max {
                self.dirty = true;
                break;
            }
            if let Some(port) = self.ports.get_mut(&name) {
                (port.busy, port.crossed) = (true, false);
            }
            let op = action.clone();
            ops.push(self.op(Doing::Port { name, part, action }, op));
        }
        while ops.len() < max
            && let Some(sysctl) = self.host.next()
        {
            ops.push(self.op(Doing::Host(sysctl.clone()), Action::Tune(sysctl)));
        }
        while ops.len() < max
            && let Some((key, action)) = self.entries.next_set()
        {
            ops.push(self.op(Doing::Entry(key), action));
        }
        ops
    }

    /// What is to be removed, now that routes have been taken care of: at most `max` operations.
    pub(in crate::dataplane) fn poll_removals(
        &mut self,
        routes: &Reconciler,
        max: usize,
    ) -> Vec<Op> {
        let mut ops = Vec::new();
        if !self.has_removals(routes) || max == 0 {
            return ops;
        }
        if let Some(next) = self.review.at.map(|at| at + REVIEW)
            && next > self.now
        {
            self.review.timer = Some(next);
            return ops;
        }
        let usage = routes.usage();
        let in_use = |interface, address| usage.neighbour(interface, address);
        let (deletes, _) = self.entries.next_deletes(max, in_use);
        for (key, action) in deletes {
            ops.push(self.op(Doing::Entry(key), action));
        }
        for port in self.ports.values_mut() {
            if let (Some(leaving), Some(index)) = (&mut port.leaving, port.index)
                && leaving.due
                && !leaving.goes
                && !usage.link(index)
            {
                leaving.goes = true;
                self.dirty = true;
            }
        }
        if ops.len() < max {
            self.review.at = Some(self.now);
            self.review.changes = Some(self.version(routes));
        }
        ops
    }

    /// The next thing worth a line in the log.
    pub(in crate::dataplane) fn poll_report(&mut self) -> Option<Report> {
        self.reports.pop_front()
    }

    /// Whether the kernel should be read; asked once.
    pub(in crate::dataplane) const fn takes_dump(&mut self) -> bool {
        core::mem::replace(&mut self.dump_wanted, false)
    }

    /// How many operations are outstanding.
    pub(in crate::dataplane) fn outstanding(&self) -> usize {
        self.outstanding.len()
    }

    /// Whether something is to be found out before the next operations.
    pub(in crate::dataplane) const fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// Whether nothing is to be done before the next input, wish or timeout.
    pub(in crate::dataplane) fn is_idle(&self, routes: &Reconciler) -> bool {
        self.outstanding.is_empty()
            && !self.dirty
            && !self.dump_wanted
            && self.host.is_idle()
            && !self.entries.has_sets()
            && !self.has_removals(routes)
            && self.ports.values().all(|port| port.next.is_none())
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub(in crate::dataplane) fn next_timeout(&self) -> Option<Instant> {
        let ports = self.ports.values().filter_map(Port::next_timeout);
        let others = [
            self.entries.next_timeout(),
            self.review.timer,
            self.host.next_timeout(),
        ];
        ports.chain(others.into_iter().flatten()).min()
    }

    /// Time has passed.
    pub(in crate::dataplane) fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        let past = |at: &Instant| *at <= now;
        self.review.timer = self.review.timer.filter(|at| !past(at));
        self.entries.handle_timeout(now);
        let ports = &self.ports;
        self.host
            .handle_timeout(now, |sysctl| any_hangs_on(ports, sysctl));
        for port in self.ports.values_mut() {
            if !port.next_timeout().as_ref().is_some_and(past) {
                continue;
            }
            self.dirty = true;
            port.due = port.due.filter(|at| !past(at));
            for refusal in port.refusals.values_mut() {
                refusal.at = refusal.at.filter(|at| !past(at));
            }
            if let Some(leaving) = port.leaving.as_mut().filter(|leaving| past(&leaving.at)) {
                leaving.due = true;
                self.changes += 1;
            }
            if let Expects::Link(at) = port.expects
                && past(&at)
            {
                port.expects = Expects::Dump;
                self.dump_wanted = true;
            }
        }
    }

    /// Somebody changed a setting of the kernel.
    fn setting(&mut self, view: &KernelView, setting: &Setting) {
        let ports = &self.ports;
        let filters = self.tuned.iter();
        let filters = filters
            .filter(|(sysctl, _)| matches!(sysctl, Sysctl::LooseReversePath(_)))
            .filter(|(sysctl, _)| any_hangs_on(ports, sysctl))
            .map(|(sysctl, tuned)| (sysctl.clone(), tuned.index));
        let broken = self.host.heard(self.now, setting, filters);
        self.settings_broken(view, &broken);
    }

    fn settings_broken(&mut self, view: &KernelView, broken: &[Sysctl]) {
        let there = |sysctl: &&Sysctl| link_of(view, sysctl).is_some();
        for sysctl in broken.iter().filter(there) {
            let what = sysctl.to_string();
            self.report(&"kernel".into(), TunnelNews::Repairing { what });
        }
    }

    /// Has links forward that routes lead over, if it was switched off on any.
    pub(in crate::dataplane) fn forward_on(&mut self, view: &KernelView, routes: &Reconciler) {
        if !self.host.asks_for_links() {
            return;
        }
        let usage = routes.usage();
        let needed = |index| {
            let link = view.link_by_index(index)?;
            usage.link(index).then(|| link.name.clone())
        };
        let broken = self.host.forward_on(self.now, needed);
        self.settings_broken(view, &broken);
    }

    /// Notifications were lost.
    pub(in crate::dataplane) fn overrun(&mut self, now: Instant) {
        self.now = now;
        self.dirty = true;
        self.host.look_again();
        for tuned in self.tuned.values_mut() {
            tuned.fresh = false;
        }
    }

    /// Settings that are not as they have to be, with the kernel's word on changing them.
    pub(in crate::dataplane) fn untuned(&self) -> impl Iterator<Item = (&Sysctl, Errno)> {
        self.host.unfit(|sysctl| any_hangs_on(&self.ports, sysctl))
    }

    /// How the devices do.
    pub(in crate::dataplane) fn status(&self, view: &KernelView) -> Vec<TunnelStatus> {
        let ports = self.ports.values();
        ports.map(|port| port.status(view, &self.entries)).collect()
    }

    pub(super) fn report(&mut self, name: &Arc<str>, news: TunnelNews) {
        let name = Arc::clone(name);
        if self.reports.len() < MAX_REPORTS {
            self.reports.push_back(Report::Tunnel { name, news });
        } else if let Some(Report::More { count }) = self.reports.back_mut() {
            *count += 1;
        } else {
            self.reports.push_back(Report::More { count: 1 });
        }
    }

    fn op(&mut self, doing: Doing, action: Action) -> Op {
        let id = OpId(self.next_id);
        self.next_id += 1;
        self.outstanding.insert(id, doing);
        Op { id, action }
    }

    const fn version(&self, routes: &Reconciler) -> u64 {
        self.changes + self.entries.changes() + routes.changes()
    }

    /// Whether something may have to be removed that was not looked at since something changed.
    fn has_removals(&self, routes: &Reconciler) -> bool {
        let waits = |port: &Port| {
            let leaving = port.leaving.filter(|_| port.index.is_some());
            leaving.is_some_and(|leaving| leaving.due && !leaving.goes)
        };
        (self.entries.has_deletes() || self.ports.values().any(waits))
            && self.review.changes != Some(self.version(routes))
    }

    /// Devices with our note that nobody wants: a former process made them.
    fn find_leftovers(&mut self, view: &KernelView) {
        let ports = self.ports.values();
        let known: BTreeSet<u32> = ports
            .filter_map(|port| Some(port.link(view)?.index))
            .collect();
        let strange = |link: &&Link| needs::is_marked(link) && !known.contains(&link.index);
        for link in view.links().filter(strange) {
            if !self.ports.contains_key(&*link.name) {
                let name: Arc<str> = (*link.name).into();
                let mut port = Port::new(Arc::clone(&name));
                port.leaving = Some(Leaving::from(self.now));
                self.ports.insert(name, port);
            }
        }
    }

    fn take_events(&mut self) {
        for (key, event) in self.entries.take_events() {
            let mut ports = self.ports.values_mut();
            let Some(port) = ports.find(|port| port.index == Some(key.interface)) else {
                continue;
            };
            let name = Arc::clone(&port.name);
            match event {
                Event::Settled => {
                    port.far_ends.touched(key, &self.entries);
                    self.dirty |= key.as_address().is_some() && port.ready != port.index;
                }
                Event::Repairing => {
                    let what = key.to_string();
                    self.report(&name, TunnelNews::Repairing { what });
                }
                Event::Fought => {
                    let what = key.to_string();
                    self.report(&name, TunnelNews::Fought { what });
                }
                Event::Refused(errno) => {
                    let what = format!("enter {key}");
                    let why = why(errno);
                    self.report(&name, TunnelNews::Refused { what, why });
                }
            }
        }
    }

    /// Opens the gates for far ends that have become ready: in growing lots, since each lot makes
    /// the routes look for their new shapes.
    fn publish(&mut self, view: &mut KernelView) {
        let last = self.outstanding.is_empty() && !self.entries.has_sets();
        for port in self.ports.values_mut() {
            let (Some(index), far_ends) = (port.ready, &mut port.far_ends) else {
                continue;
            };
            let enough = far_ends.fresh.len() * 8 >= far_ends.ready.len().max(1);
            if !last && !enough {
                continue;
            }
            for address in core::mem::take(&mut far_ends.fresh) {
                if far_ends.is_settled(address, index, &self.entries) {
                    far_ends.ready.insert(address);
                    view.set_far_end(&port.name, address, true);
                }
            }
        }
    }
}

/// Whether packets through a device of ours need a setting.
fn any_hangs_on(ports: &BTreeMap<Arc<str>, Port>, sysctl: &Sysctl) -> bool {
    ports.values().any(|port| port.hangs_on.contains(sysctl))
}

impl Leaving {
    fn from(now: Instant) -> Self {
        Self {
            at: now + LINGER,
            due: false,
            goes: false,
        }
    }
}

/// Whether the entries of a link are mirrored: those of tunnel devices, whosever they are.
fn is_of_interest(view: &KernelView, interface: u32) -> bool {
    use super::super::device::Device;
    let device = view
        .link_by_index(interface)
        .and_then(|link| link.device.as_ref());
    match device {
        Some(Device::Ipip { .. } | Device::Ip6tnl { .. } | Device::Vxlan { .. }) => true,
        Some(Device::Other(_)) | None => false,
    }
}
