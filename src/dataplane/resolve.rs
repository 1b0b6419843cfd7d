//! How packets get to a next hop.
//!
//! [`KernelView`] mirrors links, addresses and foreign routes, and keeps the resolution of each
//! tracked next hop. Our own routes are not in it; where one of them is what leads to a next hop, those
//! that are wanted are asked, under the rules of [`own`].
//!
//! IPv4 routes vanish without a word when their link goes down or loses its last address; the view
//! does here what the kernel does there. A kernel dump replaces the whole view at its end, except
//! for what changed while it ran: about those the notifications know better.
//!
//! A tunnel device is a way only while its gate is open ([`Gates`]).

mod dump;
mod guard;
mod lookup;
mod own;
mod way;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::adoption::{Adopt, Adoption, Former};
use super::foreign::{Foreign, ForeignTable};
use super::gate::Gates;
use super::input::{Address, Change, Link};
use super::next_hop::{NextHop, Resolution};
use super::object::{Object, Objects};
use super::ownership::{Owner, Ownership, Rank};
use super::route::{Hop, KernelRoute, RouteKind, Shape};
use crate::net::{Family, Hashing, Prefix};
use crate::time::Instant;

use dump::Dump;
use guard::Guard;
#[cfg(test)]
use own::NoRoutes;
pub(super) use own::OwnRoutes;
use own::Steadiness;
pub use way::Way;

/// Above so many changed prefixes all tracked next hops are looked up again.
const MANY: usize = 32;

/// Links, addresses and foreign routes, and what they say about the tracked next hops.
#[derive(Debug, Clone)]
pub struct KernelView {
    rule: Ownership,
    state: State,
    /// What the running dump has reported so far.
    dump: Option<Dump>,
    /// Whether a dump was ever complete.
    known: bool,
    tracked: BTreeMap<NextHop, Tracked>,
    /// The addresses that the ways of those are looked for by, and how often.
    looked_up: BTreeMap<IpAddr, u32>,
    now: Instant,
    turn: u64,
    /// Next hops that our own routes are not asked about, until then.
    resting: BTreeSet<(Instant, NextHop)>,
    pub(super) gates: Gates,
    guard: Guard,
    pub(super) dirty: Dirty,
    changed: BTreeSet<NextHop>,
    revision: u64,
    links_revision: u64,
}

#[derive(Debug, Clone)]
struct State {
    links: BTreeMap<u32, Link>,
    addresses: BTreeSet<Address>,
    foreign: ForeignTable,
    objects: Objects,
}

impl State {
    fn new(foreign: ForeignTable) -> Self {
        Self {
            links: BTreeMap::new(),
            addresses: BTreeSet::new(),
            foreign,
            objects: Objects::default(),
        }
    }
}

#[derive(Debug, Clone)]
struct Tracked {
    references: u32,
    resolution: Resolution,
    steadiness: Steadiness,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Dirty {
    pub(super) all: bool,
    prefixes: Vec<Prefix>,
    pub(super) next_hops: BTreeSet<NextHop>,
}

impl KernelView {
    /// An empty view; nothing is resolved before the first dump.
    pub fn new(rule: Ownership) -> Self {
        Self::hashing(rule, Hashing::default())
    }

    /// The same for a process that lives on: routes of others may be of a peer's choice, too.
    pub(super) fn hashing(rule: Ownership, hashing: Hashing) -> Self {
        Self {
            rule,
            state: State::new(ForeignTable::new(hashing)),
            dump: None,
            known: false,
            tracked: BTreeMap::new(),
            looked_up: BTreeMap::new(),
            now: Instant::ZERO,
            turn: 0,
            resting: BTreeSet::new(),
            gates: Gates::default(),
            guard: Guard::default(),
            dirty: Dirty::default(),
            changed: BTreeSet::new(),
            revision: 0,
            links_revision: 0,
        }
    }

    /// Starts to keep the resolution of `next_hop`. Counted: each call needs one [`Self::untrack`].
    pub(super) fn track(&mut self, next_hop: &NextHop, own: &dyn OwnRoutes) {
        if let Some(tracked) = self.tracked.get_mut(next_hop) {
            tracked.references += 1;
            return;
        }
        let (resolution, asked) = self.resolve_by(next_hop, own);
        let steadiness = Steadiness::new(asked);
        self.tracked.insert(
            next_hop.clone(),
            Tracked {
                references: 1,
                resolution,
                steadiness,
            },
        );
        self.note_looked_up(next_hop, true);
        if self.known {
            self.changed.insert(next_hop.clone());
        }
    }

    /// Takes back one `track`.
    pub fn untrack(&mut self, next_hop: &NextHop) {
        let Some(tracked) = self.tracked.get_mut(next_hop) else {
            return;
        };
        tracked.references -= 1;
        if tracked.references == 0 {
            let gone = self.tracked.remove(next_hop);
            self.changed.remove(next_hop);
            self.note_looked_up(next_hop, false);
            if let Some(until) = gone.and_then(|gone| gone.steadiness.rests) {
                self.resting.remove(&(until, next_hop.clone()));
            }
        }
    }

    /// The resolution of a tracked next hop.
    pub fn resolution(&self, next_hop: &NextHop) -> Option<&Resolution> {
        self.tracked
            .get(next_hop)
            .map(|tracked| &tracked.resolution)
    }

    /// The next tracked next hop whose resolution is new.
    pub(super) fn poll_changed(&mut self, own: &dyn OwnRoutes) -> Option<NextHop> {
        self.refresh(own);
        self.changed.pop_first()
    }

    /// Takes in a change. Routes of ours are none of its business and are left out. Answers whether the
    /// kernel has to be read anew, since other things went with what the change is about.
    pub fn apply(&mut self, change: &Change) -> bool {
        if let Some(dump) = &mut self.dump {
            dump.distrust(self.rule, change);
        }
        if !matches!(
            change,
            Change::Neighbour { .. } | Change::NeighbourGone(_) | Change::Setting(_)
        ) {
            self.revision += 1;
        }
        if matches!(
            change,
            Change::Link(_) | Change::LinkGone { .. } | Change::Address(_) | Change::AddressGone(_)
        ) {
            self.links_revision += 1;
        }
        match change {
            Change::Link(link) => self.link(link),
            Change::LinkGone { index } => {
                self.state.links.remove(index);
                self.dirty.all = true;
                self.drop_dead_routes();
            }
            Change::Address(address) => {
                self.state.addresses.insert(*address);
                self.dirty.prefixes.push(Prefix::host(address.address));
            }
            Change::AddressGone(address) => self.address_gone(*address),
            Change::Neighbour { .. } | Change::NeighbourGone(_) | Change::Setting(_) => {}
            Change::Route { route, replaced } => {
                if is_foreign(self.rule, route) {
                    self.state.foreign.insert(route, *replaced);
                    self.route_changed(route);
                } else if *replaced && self.rule.of(route) != Owner::Elsewhere {
                    self.displaced(route.prefix, route.metric);
                }
            }
            Change::RouteGone(route) => {
                if is_foreign(self.rule, route) {
                    self.state.foreign.remove(route);
                    self.route_changed(route);
                }
            }
            Change::Object { id, object } => {
                self.state.objects.set(*id, object.clone());
                self.dirty.all = true;
            }
            Change::ObjectGone { id } => {
                let gone = self.state.objects.remove(*id);
                let dropped = self.drop_named(&gone);
                self.guard_sees(change);
                return dropped;
            }
        }
        self.guard_sees(change);
        self.drop_objects(change)
    }

    /// Drops the objects over a link that can't be used any more, and the routes that name them: the
    /// kernel does, and says nothing.
    fn drop_objects(&mut self, change: &Change) -> bool {
        if !matches!(change, Change::Link(_) | Change::LinkGone { .. }) {
            return false;
        }
        let State { links, objects, .. } = &mut self.state;
        let dead = |hop: &Hop| {
            let link = hop.interface.and_then(|index| links.get(&index));
            hop.interface.is_some() && !link.is_some_and(Link::usable)
        };
        let gone = objects.remove_over(dead);
        self.drop_named(&gone)
    }

    /// Drops the routes that name one of these objects; whether there are any such objects.
    fn drop_named(&mut self, gone: &BTreeSet<u32>) -> bool {
        if gone.is_empty() {
            return false;
        }
        let names = |_, shape: &Shape| gone.contains(&shape.object);
        self.state.foreign.drop_where(names);
        self.dirty.all = true;
        true
    }

    /// The hops of a route, or of the object that it names.
    fn hops<'a>(&self, shape: &'a Shape) -> Cow<'a, [Hop]> {
        match self.state.objects.hops(shape.object) {
            Some(hops) => Cow::Owned(hops),
            None => Cow::Borrowed(&shape.hops),
        }
    }

    /// Whether a route drops what it is for.
    fn drops(&self, shape: &Shape) -> bool {
        let object = self.state.objects.get(shape.object);
        shape.kind != RouteKind::Unicast || object == Some(&Object::Blackhole)
    }

    /// A dump begins: its rows follow.
    pub fn dump_begins(&mut self) {
        self.dump = Some(Dump::beside(&self.state));
    }

    /// Takes in a row of the running dump.
    pub fn dumped(&mut self, row: &Change) {
        let Some(dump) = &mut self.dump else { return };
        dump.take(self.rule, row);
    }

    /// The dump ended; unless it was complete, its rows are thrown away.
    pub fn dump_ends(&mut self, complete: bool) {
        let Some(dump) = self.dump.take() else { return };
        if !complete {
            return;
        }
        self.state = dump.merged(&self.state);
        self.revision += 1;
        self.links_revision += 1;
        self.dirty.all = true;
        self.guard.changed = true;
        self.look_for_subnets();
        if !self.known {
            self.known = true;
            self.changed.extend(self.tracked.keys().cloned());
        }
    }

    /// Whose leftover a route is, by what is known of its links.
    pub(super) fn leftover(&self, adoption: &Adoption, route: &KernelRoute) -> Option<Former> {
        let link_name = |index| self.link_by_index(index).map(|link| &*link.name);
        adoption.claims(route, link_name)
    }

    /// Hands out the routes that are taken over: they are foreign no longer.
    pub(super) fn take_leftovers(&mut self, adoption: &Adoption) -> Vec<(Former, KernelRoute)> {
        if adoption.whose == Adopt::default() {
            return Vec::new();
        }
        let State { links, foreign, .. } = &mut self.state;
        let table = self.rule.table;
        let as_route = |prefix, route: &Foreign| KernelRoute {
            prefix,
            table,
            metric: route.metric,
            protocol: route.protocol,
            shape: Arc::clone(&route.shape),
        };
        let link_name = |index| links.get(&index).map(|link| &*link.name);
        let taken = foreign
            .take_where(|prefix, route| adoption.claims(&as_route(prefix, route), link_name));
        self.dirty.all |= !taken.is_empty();
        taken
            .into_iter()
            .map(|(former, prefix, route)| (former, as_route(prefix, &route)))
            .collect()
    }

    /// A route of ours took the place of a foreign one at this key.
    pub(super) fn displaced(&mut self, prefix: Prefix, metric: u32) {
        self.state.foreign.remove_key(prefix, metric);
        self.dirty.prefixes.push(prefix);
    }

    /// Whether a foreign route stands at the key that ours of this rank has for `prefix`.
    pub fn foreign_at_our_key(&self, prefix: Prefix, rank: Rank) -> bool {
        self.foreign_protocol(prefix, rank).is_some()
    }

    /// The protocol number of the foreign route at that key.
    pub fn foreign_protocol(&self, prefix: Prefix, rank: Rank) -> Option<u8> {
        let metric = self.rule.metric(prefix, rank);
        let at_key = self
            .state
            .foreign
            .get(prefix)
            .iter()
            .find(|other| other.metric == metric);
        at_key.map(|other| other.protocol)
    }

    /// The gateways by which foreign routes lead to anything of `range`: one pass over the table.
    pub(super) fn gateways_into(&self, range: Prefix) -> BTreeSet<IpAddr> {
        let overlapping = self.state.foreign.overlapping(range);
        overlapping
            .flat_map(|route| route.shape.hops.iter().filter_map(|hop| hop.via))
            .collect()
    }

    /// The routes of others to all of `range` or to a part of it, by destination: protocol and shape. One pass
    /// over the table.
    pub fn foreign_inside(&self, range: Prefix) -> Vec<(Prefix, u8, Arc<Shape>)> {
        let routes = self.state.foreign.inside(range);
        let mut found: Vec<_> = routes
            .map(|(prefix, route)| (prefix, route.protocol, Arc::clone(&route.shape)))
            .collect();
        found.sort_unstable_by_key(|(prefix, ..)| *prefix);
        found
    }

    /// How many foreign routes are known.
    pub fn foreign_count(&self) -> usize {
        self.state.foreign.len()
    }

    /// Whether the kernel was read completely at least once.
    pub const fn is_known(&self) -> bool {
        self.known
    }

    /// A link by its index.
    pub fn link_by_index(&self, index: u32) -> Option<&Link> {
        self.state.links.get(&index)
    }

    /// A link by its name.
    pub fn link_by_name(&self, name: &str) -> Option<&Link> {
        self.state.links.values().find(|link| &*link.name == name)
    }

    /// The links, by index.
    pub fn links(&self) -> impl Iterator<Item = &Link> + '_ {
        self.state.links.values()
    }

    /// The addresses of this host.
    pub fn addresses(&self) -> impl Iterator<Item = Address> + '_ {
        self.state.addresses.iter().copied()
    }

    /// Another number after a link, an address or a route has changed.
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// Another number after a link or an address has changed: routes come by the thousand, these do not.
    pub const fn links_revision(&self) -> u64 {
        self.links_revision
    }

    fn is_local(&self, address: IpAddr) -> bool {
        self.state
            .addresses
            .iter()
            .any(|own| own.address == address)
    }

    fn link(&mut self, link: &Link) {
        let before = self.state.links.insert(link.index, link.clone());
        if before.as_ref() == Some(link) {
            return;
        }
        self.dirty.all = true;
        if before.is_some_and(|before| before.up) && !link.up {
            self.drop_dead_routes();
        }
    }

    /// Drops the IPv4 routes all of whose links are down or gone, as the kernel does silently.
    fn drop_dead_routes(&mut self) {
        let links = &self.state.links;
        let dead = |hop: &Hop| {
            hop.interface
                .is_some_and(|index| !links.get(&index).is_some_and(|link| link.up))
        };
        self.state.foreign.drop_where(|prefix, shape| {
            prefix.family() == Family::Ipv4 && !shape.hops.is_empty() && shape.hops.iter().all(dead)
        });
    }

    fn address_gone(&mut self, gone: Address) {
        self.state.addresses.remove(&gone);
        self.dirty.prefixes.push(Prefix::host(gone.address));
        if !gone.address.is_ipv4() {
            return;
        }
        let last = !self
            .state
            .addresses
            .iter()
            .any(|left| left.interface == gone.interface && left.address.is_ipv4());
        let dropped = self.state.foreign.drop_where(|prefix, shape| {
            let on_link = |hop: &Hop| hop.interface == Some(gone.interface);
            prefix.family() == Family::Ipv4
                && (shape.preferred_source == Some(gone.address)
                    || last && !shape.hops.is_empty() && shape.hops.iter().all(on_link))
        });
        self.dirty.all |= dropped;
    }

    fn route_changed(&mut self, route: &KernelRoute) {
        // A gateway without a link is looked up again, so any next hop may hang on this prefix.
        let indirect = |hop: &Hop| hop.interface.is_none();
        self.dirty.all |= route.shape.hops.iter().any(indirect);
        self.dirty.push(route.prefix);
    }

    fn refresh(&mut self, own: &dyn OwnRoutes) {
        if !self.known {
            return;
        }
        let dirty = core::mem::take(&mut self.dirty);
        if !dirty.all && dirty.prefixes.is_empty() {
            for next_hop in dirty.next_hops {
                self.look_up(next_hop, own);
            }
            return;
        }
        let mut tracked = core::mem::take(&mut self.tracked);
        for (next_hop, entry) in &mut tracked {
            let looked_up = next_hop.looked_up().unwrap_or(next_hop.address);
            let hit = |prefix: &Prefix| prefix.contains(looked_up);
            let exact = || dirty.next_hops.contains(next_hop);
            // A way over our own routes may hang on any of them.
            let indirect = entry.steadiness.asked;
            if !dirty.all && !indirect && !dirty.prefixes.iter().any(hit) && !exact() {
                continue;
            }
            if self.resolve_anew(next_hop, entry, own) {
                self.changed.insert(next_hop.clone());
            }
        }
        self.tracked = tracked;
    }

    fn look_up(&mut self, next_hop: NextHop, own: &dyn OwnRoutes) {
        let Some(mut entry) = self.tracked.remove(&next_hop) else {
            return;
        };
        if self.resolve_anew(&next_hop, &mut entry, own) {
            self.changed.insert(next_hop.clone());
        }
        self.tracked.insert(next_hop, entry);
    }
}

impl Dirty {
    fn push(&mut self, prefix: Prefix) {
        self.all |= self.prefixes.len() >= MANY;
        if !self.all {
            self.prefixes.push(prefix);
        }
    }
}

fn is_foreign(rule: Ownership, route: &KernelRoute) -> bool {
    match rule.of(route) {
        Owner::Foreign | Owner::ForeignAtOurKey(_) => true,
        Owner::Ours(_) | Owner::Stray | Owner::Elsewhere => false,
    }
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests;
