//! What a dump of the kernel has reported so far, and what notifications know better.
//!
//! Not the view: that is replaced when the dump is complete, and never before.

use std::collections::BTreeSet;

use super::{State, is_foreign};
use crate::dataplane::input::{Address, Change, Link};
use crate::dataplane::ownership::Ownership;
use crate::net::Prefix;

/// The rows of a dump, and what not to believe them about.
#[derive(Debug, Clone)]
pub(super) struct Dump {
    rows: State,
    links: BTreeSet<u32>,
    addresses: BTreeSet<Address>,
    /// Prefixes with the metric: of other routes to the prefix the notification says nothing.
    routes: BTreeSet<(Prefix, u32)>,
    objects: BTreeSet<u32>,
}

impl Dump {
    /// One that has begun.
    pub(super) fn beside(current: &State) -> Self {
        Self {
            rows: State::new(current.foreign.another()),
            links: BTreeSet::new(),
            addresses: BTreeSet::new(),
            routes: BTreeSet::new(),
            objects: BTreeSet::new(),
        }
    }

    /// Takes in a row.
    pub(super) fn take(&mut self, rule: Ownership, row: &Change) {
        match row {
            Change::Link(link) => {
                self.rows.links.insert(link.index, Link::clone(link));
            }
            Change::Address(address) => {
                self.rows.addresses.insert(*address);
            }
            Change::Route { route, .. } if is_foreign(rule, route) => {
                self.rows.foreign.insert(route, false);
            }
            Change::Object { id, object } => self.rows.objects.set(*id, object.clone()),
            // A dump has no rows about what is gone, and our own routes are kept elsewhere.
            Change::Route { .. }
            | Change::LinkGone { .. }
            | Change::AddressGone(_)
            | Change::Neighbour { .. }
            | Change::NeighbourGone(_)
            | Change::Setting(_)
            | Change::RouteGone(_)
            | Change::ObjectGone { .. } => {}
        }
    }

    /// Remembers that a notification has overtaken the dump about something.
    pub(super) fn distrust(&mut self, rule: Ownership, change: &Change) {
        match change {
            Change::Link(link) => {
                self.links.insert(link.index);
            }
            Change::LinkGone { index } => {
                self.links.insert(*index);
            }
            Change::Address(address) | Change::AddressGone(address) => {
                self.addresses.insert(*address);
            }
            Change::Neighbour { .. } | Change::NeighbourGone(_) | Change::Setting(_) => {}
            // What becomes of a route of ours says nothing about others, unless it took their place.
            Change::Route { route, replaced } if !replaced && !is_foreign(rule, route) => {}
            Change::RouteGone(route) if !is_foreign(rule, route) => {}
            Change::Route { route, .. } | Change::RouteGone(route) => {
                self.routes.insert((route.prefix, route.metric));
            }
            Change::Object { id, .. } | Change::ObjectGone { id } => {
                self.objects.insert(*id);
            }
        }
    }

    /// The rows, corrected by what the notifications say.
    pub(super) fn merged(self, current: &State) -> State {
        let Self {
            mut rows,
            links,
            addresses,
            routes,
            objects,
        } = self;
        for index in links {
            match current.links.get(&index) {
                Some(link) => rows.links.insert(index, link.clone()),
                None => rows.links.remove(&index),
            };
        }
        for address in addresses {
            if current.addresses.contains(&address) {
                rows.addresses.insert(address);
            } else {
                rows.addresses.remove(&address);
            }
        }
        for (prefix, metric) in routes {
            rows.foreign.copy_from(&current.foreign, prefix, metric);
        }
        for id in objects {
            match current.objects.get(id) {
                Some(object) => rows.objects.set(id, object.clone()),
                None => drop(rows.objects.remove(id)),
            }
        }
        rows
    }
}
