//! Reading the RIB: single routes, the longest match, pages, reasons, sizes. It changes nothing.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::attributes::AttributesRef;
use super::decision::{Facts, Step};
use super::next_hop::Resolution;
use super::path::{Path, Paths};
use super::peer::PeerIndex;
use super::prefix_map::{DestinationId, PrefixMap, TableKey};
use super::table::Table;
use super::{GroupKey, GroupStatus, Rib, Told};
use crate::net::{Family, Prefix};
use crate::time::Instant;

/// A prefix and its paths, the selected ones first.
#[derive(Debug, Clone, Copy)]
pub struct Route<'a> {
    /// The prefix.
    pub prefix: Prefix,
    /// Its paths.
    pub paths: &'a [Path],
    /// When the selected ones became what they are, to a few seconds; none if that is too long ago to be known.
    pub since: Option<Instant>,
}

impl<'a> Route<'a> {
    /// The best path, if any counts.
    pub fn best(&self) -> Option<&'a Path> {
        self.paths.first().filter(|path| path.selected)
    }
}

/// Where a walk in pages goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageCursor(DestinationId);

impl PageCursor {
    /// As a number, to be handed over a socket.
    pub const fn to_number(self) -> u32 {
        self.0
    }

    /// From such a number; any number is safe, a strange one gives strange pages.
    pub const fn from_number(number: u32) -> Self {
        Self(number)
    }
}

/// A path and why it is not the best one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExplainedPath {
    /// The path; `selected` tells whether traffic uses it.
    pub path: Path,
    /// The rule by which it lost, `None` for the best one.
    pub lost_at: Option<Step>,
}

/// What the RIB's parts take, in bytes as allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Memory {
    /// Destinations, their single paths and the index.
    pub destinations: usize,
    /// Lists of several paths.
    pub path_lists: usize,
    /// Attribute sets.
    pub attributes: usize,
    /// What peers were sent and are to be sent.
    pub exports: usize,
}

impl Memory {
    /// All of it.
    pub const fn total(&self) -> usize {
        self.destinations + self.path_lists + self.attributes + self.exports
    }
}

impl Rib {
    /// The route of exactly this prefix.
    pub fn lookup(&self, prefix: Prefix) -> Option<Route<'_>> {
        match prefix {
            Prefix::V4(prefix) => find(&self.tables.v4.map, prefix),
            Prefix::V6(prefix) => find(&self.tables.v6.map, prefix),
        }
    }

    /// The most specific route around an address that has a best path.
    pub fn longest_match(&self, address: IpAddr) -> Option<Route<'_>> {
        match address {
            IpAddr::V4(_) => longest(&self.tables.v4.map, address),
            IpAddr::V6(_) => longest(&self.tables.v6.map, address),
        }
    }

    /// The most specific route around an address, though none of its paths may count.
    pub fn longest_known(&self, address: IpAddr) -> Option<Route<'_>> {
        match address {
            IpAddr::V4(_) => around(&self.tables.v4.map, address).next(),
            IpAddr::V6(_) => around(&self.tables.v6.map, address).next(),
        }
    }

    /// All prefixes around an address that have a path, whether or not it counts, the most specific one first.
    pub fn known_around(&self, address: IpAddr) -> Vec<Prefix> {
        match address {
            IpAddr::V4(_) => around(&self.tables.v4.map, address)
                .map(|r| r.prefix)
                .collect(),
            IpAddr::V6(_) => around(&self.tables.v6.map, address)
                .map(|r| r.prefix)
                .collect(),
        }
    }

    /// Up to `limit` routes from where the last page ended, and where the next one begins. In no
    /// order; a route that is there all along is in exactly one page.
    pub fn page(
        &self,
        family: Family,
        from: Option<PageCursor>,
        limit: usize,
    ) -> (Vec<Route<'_>>, Option<PageCursor>) {
        match family {
            Family::Ipv4 => page(&self.tables.v4.map, from, limit),
            Family::Ipv6 => page(&self.tables.v6.map, from, limit),
        }
    }

    /// All destinations with their paths, in no order: a walk over the tables.
    pub fn routes(&self) -> impl Iterator<Item = Route<'_>> + '_ {
        let (v4, v6) = (&self.tables.v4.map, &self.tables.v6.map);
        let v4 = (0..v4.end()).filter_map(|id| route(v4, id));
        v4.chain((0..v6.end()).filter_map(|id| route(v6, id)))
    }

    /// Destinations without a best path though paths were accepted, since none of their next hops can be
    /// reached; each with one of these. No walk at all while every next hop can be reached.
    pub fn unreachable(&self) -> impl Iterator<Item = (Prefix, IpAddr)> + '_ {
        let hops = self.store.next_hops();
        let is_lost = |resolution| !matches!(resolution, Resolution::Reachable { .. });
        let any = hops.iter().any(|(_, resolution)| is_lost(resolution));
        let routes = any.then(|| self.routes()).into_iter().flatten();
        routes.filter_map(move |found| {
            if found.best().is_some() {
                return None;
            }
            let path = found.paths.iter().find(|path| path.accepted)?;
            let attributes = self.store.get(path.attributes)?;
            let next_hop = hops.get(attributes.next_hop())?;
            Some((found.prefix, next_hop.address))
        })
    }

    /// All paths of a prefix, best first, each with the rule by which it lost.
    pub fn explain(&mut self, prefix: Prefix) -> Vec<ExplainedPath> {
        let Self {
            config,
            store,
            peers,
            tables,
            ..
        } = self;
        let facts = Facts {
            config: config.decision,
            store,
            peers,
        };
        let paths = match prefix {
            Prefix::V4(prefix) => explain(&mut tables.v4, prefix, facts),
            Prefix::V6(prefix) => explain(&mut tables.v6, prefix, facts),
        };
        paths
            .into_iter()
            .map(|(path, lost_at)| ExplainedPath { path, lost_at })
            .collect()
    }

    /// The attributes of a path.
    pub fn path_attributes(&self, path: &Path) -> Option<AttributesRef<'_>> {
        self.store.get(path.attributes)
    }

    /// How many prefixes of a family have at least one path.
    pub const fn prefixes(&self, family: Family) -> usize {
        match family {
            Family::Ipv4 => self.tables.v4.populated as usize,
            Family::Ipv6 => self.tables.v6.populated as usize,
        }
    }

    /// How many prefixes have no path any more but have yet to be withdrawn from somebody.
    pub fn lingering(&self, family: Family) -> usize {
        let used = match family {
            Family::Ipv4 => self.tables.v4.map.len(),
            Family::Ipv6 => self.tables.v6.map.len(),
        };
        used.saturating_sub(self.prefixes(family))
    }

    /// How many routes of a family the record of a peer has, each path of a prefix counted, those that it
    /// was [`spared`](Self::spared) among them; a walk over its record.
    pub fn advertised(&self, peer: PeerIndex, family: Family) -> usize {
        self.exports.advertised(peer, family)
    }

    /// How many routes of both families peers were spared though their records have them, since they lead to
    /// the peer itself: one walk over all records.
    pub fn spared(&self) -> BTreeMap<PeerIndex, usize> {
        self.exports
            .spared(&self.tables, (&self.store, &self.peers))
    }

    /// What a peer was sent of the next `limit` destinations, and where to go on.
    pub fn told(
        &self,
        peer: PeerIndex,
        family: Family,
        from: Option<PageCursor>,
        limit: usize,
    ) -> (Vec<Told>, Option<PageCursor>) {
        self.exports.told(&self.tables, (peer, family), from, limit)
    }

    /// What a peer was sent of one prefix.
    pub fn told_of(&self, peer: PeerIndex, prefix: Prefix) -> Vec<Told> {
        self.exports.told_of(&self.tables, peer, prefix)
    }

    /// What the bytes for a peer depend on in a family, if it is sent that one.
    pub fn export_key(&self, peer: PeerIndex, family: Family) -> Option<&GroupKey> {
        self.exports.key_of(peer, family)
    }

    /// The export groups.
    pub fn groups(&self) -> Vec<GroupStatus> {
        self.exports.status()
    }

    /// How many sets of attributes were encoded for peers so far.
    pub const fn encoded_attributes(&self) -> u64 {
        self.exports.encoded()
    }

    /// What the parts take; a walk over the tables.
    pub fn memory(&self) -> Memory {
        let Self {
            tables,
            store,
            exports,
            ..
        } = self;
        Memory {
            destinations: tables.v4.map.heap_bytes()
                + tables.v4.forwarding.heap_bytes()
                + tables.v6.map.heap_bytes()
                + tables.v6.forwarding.heap_bytes(),
            path_lists: lists(&tables.v4.map) + lists(&tables.v6.map),
            attributes: store.heap_bytes(),
            exports: exports.heap_bytes(),
        }
    }
}

fn route<P: TableKey>(map: &PrefixMap<P>, id: DestinationId) -> Option<Route<'_>> {
    let destination = map.get(id)?;
    let paths = destination.paths.as_slice();
    (!paths.is_empty()).then(|| Route {
        prefix: destination.prefix.into(),
        paths,
        since: destination.since.instant(),
    })
}

fn find<P: TableKey>(map: &PrefixMap<P>, prefix: P) -> Option<Route<'_>> {
    route(map, map.find(prefix)?)
}

fn longest<P: TableKey>(map: &PrefixMap<P>, address: IpAddr) -> Option<Route<'_>> {
    around(map, address).find(|route| route.best().is_some())
}

/// The routes around an address, the most specific one first.
fn around<P: TableKey>(map: &PrefixMap<P>, address: IpAddr) -> impl Iterator<Item = Route<'_>> {
    map.around(address).filter_map(move |id| route(map, id))
}

fn page<P: TableKey>(
    map: &PrefixMap<P>,
    from: Option<PageCursor>,
    limit: usize,
) -> (Vec<Route<'_>>, Option<PageCursor>) {
    let mut id = from.map_or(0, |cursor| cursor.0);
    let mut routes = Vec::new();
    while id < map.end() && routes.len() < limit {
        routes.extend(route(map, id));
        id += 1;
    }
    (routes, (id < map.end()).then_some(PageCursor(id)))
}

fn explain<P: TableKey>(
    table: &mut Table<P>,
    prefix: P,
    facts: Facts<'_>,
) -> Vec<(Path, Option<Step>)> {
    table
        .map
        .find(prefix)
        .map(|id| table.explain(id, facts))
        .unwrap_or_default()
}

fn lists<P: TableKey>(map: &PrefixMap<P>) -> usize {
    let list = |paths: &Paths| match paths {
        Paths::Many(list) => size_of::<Vec<Path>>() + list.capacity() * size_of::<Path>(),
        Paths::Vacant { .. } | Paths::Empty { .. } | Paths::One(_) => 0,
    };
    (0..map.end())
        .filter_map(|id| map.get(id))
        .map(|d| list(&d.paths))
        .sum()
}
