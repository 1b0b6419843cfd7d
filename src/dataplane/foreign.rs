//! The routes of others, for longest match and for conflicts: read, never written.
//!
//! IPv4 and IPv6 differ in what a message means. An IPv4 route is one message, and several with
//! one metric stand beside each other. IPv6 hops with one metric grow together into one route, and
//! its hops may go away one by one.

use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::HashMap;

use super::lengths::Lengths;
use super::route::{KernelRoute, Shape};
use crate::net::{Hashing, Prefix};

/// A route of somebody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Foreign {
    pub(super) metric: u32,
    pub(super) protocol: u8,
    pub(super) shape: Arc<Shape>,
}

/// All of them, by prefix, the best first.
#[derive(Debug, Clone)]
pub(super) struct ForeignTable {
    routes: HashMap<Prefix, Vec<Foreign>, Hashing>,
    lengths: Lengths,
}

impl ForeignTable {
    pub(super) fn new(hashing: Hashing) -> Self {
        Self {
            routes: HashMap::with_hasher(hashing),
            lengths: Lengths::default(),
        }
    }

    /// An empty one beside it.
    pub(super) fn another(&self) -> Self {
        Self::new(*self.routes.hasher())
    }

    pub(super) fn insert(&mut self, route: &KernelRoute, replaced: bool) {
        let fresh = Foreign {
            metric: route.metric,
            protocol: route.protocol,
            shape: Arc::clone(&route.shape),
        };
        let grown = route.prefix.family() == crate::net::Family::Ipv6;
        let mut group = self.take(route.prefix);
        group.retain(|old| {
            let same_key = old.metric == fresh.metric;
            let supplanted =
                replaced || *old == fresh || (grown && grows(&old.shape, &fresh.shape));
            !(same_key && supplanted)
        });
        let place = group.partition_point(|old| old.metric <= fresh.metric);
        group.insert(place, fresh);
        self.put(route.prefix, group);
    }

    pub(super) fn remove(&mut self, route: &KernelRoute) {
        let mut group = self.take(route.prefix);
        let same_key = |old: &Foreign| old.metric == route.metric && old.protocol == route.protocol;
        let exact = group
            .iter()
            .position(|old| same_key(old) && old.shape == route.shape);
        if let Some(place) = exact {
            group.remove(place);
        } else {
            for old in group.iter_mut().filter(|old| same_key(old)) {
                if let Some(rest) = old.shape.without(&route.shape) {
                    old.shape = Arc::new(rest);
                    break;
                }
            }
        }
        self.put(route.prefix, group);
    }

    /// Drops what stands at a key, because a route of ours took its place.
    pub(super) fn remove_key(&mut self, prefix: Prefix, metric: u32) {
        let mut group = self.take(prefix);
        group.retain(|old| old.metric != metric);
        self.put(prefix, group);
    }

    /// Drops the routes for which `gone` holds; whether there was one.
    pub(super) fn drop_where(&mut self, gone: impl Fn(Prefix, &Shape) -> bool) -> bool {
        let hit: Vec<Prefix> = self
            .routes
            .iter()
            .filter(|(prefix, group)| group.iter().any(|old| gone(**prefix, &old.shape)))
            .map(|(prefix, _)| *prefix)
            .collect();
        for prefix in &hit {
            let mut group = self.take(*prefix);
            group.retain(|old| !gone(*prefix, &old.shape));
            self.put(*prefix, group);
        }
        !hit.is_empty()
    }

    /// Takes out the routes that `claim` says something about, with what it says.
    pub(super) fn take_where<T>(
        &mut self,
        claim: impl Fn(Prefix, &Foreign) -> Option<T>,
    ) -> Vec<(T, Prefix, Foreign)> {
        let hit: Vec<Prefix> = self
            .routes
            .iter()
            .filter(|(prefix, group)| group.iter().any(|route| claim(**prefix, route).is_some()))
            .map(|(prefix, _)| *prefix)
            .collect();
        let mut taken = Vec::with_capacity(hit.len());
        for prefix in hit {
            let (theirs, others): (Vec<Foreign>, Vec<Foreign>) = self
                .take(prefix)
                .into_iter()
                .partition(|route| claim(prefix, route).is_some());
            let claimed = |route: Foreign| Some((claim(prefix, &route)?, prefix, route));
            taken.extend(theirs.into_iter().filter_map(claimed));
            self.put(prefix, others);
        }
        taken
    }

    pub(super) fn get(&self, prefix: Prefix) -> &[Foreign] {
        self.routes.get(&prefix).map_or(&[], Vec::as_slice)
    }

    /// Takes over what `other` says about one prefix and metric.
    pub(super) fn copy_from(&mut self, other: &Self, prefix: Prefix, metric: u32) {
        let mut group = self.take(prefix);
        group.retain(|route| route.metric != metric);
        let place = group.partition_point(|route| route.metric < metric);
        let theirs = other.get(prefix).iter();
        let theirs = theirs.filter(|route| route.metric == metric).cloned();
        group.splice(place..place, theirs);
        self.put(prefix, group);
    }

    /// The longest prefix with a route that holds `address`: its length and its routes, the best first.
    pub(super) fn longest(&self, address: IpAddr) -> Option<(u8, &[Foreign])> {
        let host = Prefix::host(address);
        (0..=host.len())
            .rev()
            .filter(|len| self.lengths.any(host.family(), *len))
            .find_map(|len| {
                let group = self.routes.get(&Prefix::new(address, len))?;
                Some((len, group.as_slice()))
            })
    }

    /// The routes to anything of `range`, and those to something wider.
    pub(super) fn overlapping(&self, range: Prefix) -> impl Iterator<Item = &Foreign> {
        let overlap = move |prefix: Prefix| prefix.covers(range) || range.covers(prefix);
        let routes = self.routes.iter();
        routes
            .filter(move |(prefix, _)| overlap(**prefix))
            .flat_map(|(_, group)| group)
    }

    /// The routes to all of `range` or to a part of it, the best of each destination.
    pub(super) fn inside(&self, range: Prefix) -> impl Iterator<Item = (Prefix, &Foreign)> {
        let routes = self.routes.iter();
        let inside = routes.filter(move |(prefix, _)| range.covers(**prefix));
        inside.filter_map(|(prefix, group)| Some((*prefix, group.first()?)))
    }

    pub(super) fn len(&self) -> usize {
        self.routes.values().map(Vec::len).sum()
    }

    fn take(&mut self, prefix: Prefix) -> Vec<Foreign> {
        let Some(group) = self.routes.remove(&prefix) else {
            return Vec::new();
        };
        self.lengths.fewer(prefix);
        group
    }

    fn put(&mut self, prefix: Prefix, group: Vec<Foreign>) {
        if group.is_empty() {
            return;
        }
        self.lengths.more(prefix);
        self.routes.insert(prefix, group);
    }
}

/// Whether an IPv6 route `old` has grown into `new`: each of its hops, all with a gateway, is there.
fn grows(old: &Shape, new: &Shape) -> bool {
    !old.hops.is_empty()
        && old
            .hops
            .iter()
            .all(|hop| hop.via.is_some() && new.hops.iter().any(|other| other.same_way(*hop)))
}
