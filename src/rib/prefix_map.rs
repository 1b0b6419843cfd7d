//! The table of one family: prefix → destination, destination → paths.
//!
//! A destination has a dense number, so that everything else (who was sent what, what has to be
//! told) is an array or a bit set by that number. The index holds numbers only, 5 bytes a slot, and
//! compares with the slab. Neighbouring prefixes have neighbouring slots, because tables come and go
//! in such runs: one cache line then serves sixteen of them. A number is free again when no path is left *and* every consumer has
//! heard of it; until then it stays [`Paths::Empty`] with its count of pins.

use std::net::IpAddr;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::chunks::Chunks;
use super::path::Paths;
use crate::net::{Neighbourly, Prefix, Prefix4, Prefix6};

/// The number of a destination within its family.
pub(crate) type DestinationId = u32;

const NO_FREE: u32 = u32::MAX;

/// A prefix of one family as the table's key.
pub(crate) trait TableKey: Neighbourly + Into<Prefix> {
    /// The longest prefix length.
    const MAX_LEN: u8;
    fn len(self) -> u8;
    /// The prefix of `len` bits around an address, if it is of this family.
    fn around(address: IpAddr, len: u8) -> Option<Self>;
}

impl TableKey for Prefix4 {
    const MAX_LEN: u8 = 32;

    fn len(self) -> u8 {
        self.len()
    }

    fn around(address: IpAddr, len: u8) -> Option<Self> {
        match address {
            IpAddr::V4(address) => Some(Self::new(address.to_bits(), len)),
            IpAddr::V6(_) => None,
        }
    }
}

impl TableKey for Prefix6 {
    const MAX_LEN: u8 = 128;

    fn len(self) -> u8 {
        self.len()
    }

    fn around(address: IpAddr, len: u8) -> Option<Self> {
        match address {
            IpAddr::V6(address) => Some(Self::new(address.to_bits(), len)),
            IpAddr::V4(_) => None,
        }
    }
}

/// One prefix and its paths.
#[derive(Debug)]
pub(crate) struct Destination<P> {
    pub(crate) prefix: P,
    pub(crate) paths: Paths,
}

/// The table.
#[derive(Debug)]
pub(crate) struct PrefixMap<P> {
    destinations: Chunks<Destination<P>>,
    index: HashTable<DestinationId>,
    hasher: FixedState,
    free: DestinationId,
    /// How many destinations there are of each length: the longest match tries only these.
    lengths: Vec<u32>,
}

impl<P: TableKey> PrefixMap<P> {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            destinations: Chunks::default(),
            index: HashTable::new(),
            hasher: FixedState::with_seed(seed),
            free: NO_FREE,
            lengths: vec![0; usize::from(P::MAX_LEN) + 1],
        }
    }

    /// The destination of a prefix, if it has one.
    pub(crate) fn find(&self, prefix: P) -> Option<DestinationId> {
        let hash = prefix.neighbourly_hash(&self.hasher);
        let same = |&id: &u32| {
            self.destinations
                .get(id)
                .is_some_and(|d| d.prefix == prefix)
        };
        self.index.find(hash, same).copied()
    }

    /// The destination of a prefix, made if need be, with no paths and no pins.
    pub(crate) fn find_or_insert(&mut self, prefix: P) -> DestinationId {
        let hash = prefix.neighbourly_hash(&self.hasher);
        let same = |&id: &u32| {
            self.destinations
                .get(id)
                .is_some_and(|d| d.prefix == prefix)
        };
        if let Some(&id) = self.index.find(hash, same) {
            return id;
        }
        if self.index.len() == self.index.capacity() {
            self.grow();
        }
        let destination = Destination {
            prefix,
            paths: Paths::Empty { pins: 0 },
        };
        let id = match self.destinations.get_mut(self.free) {
            Some(place) => {
                let id = self.free;
                if let Paths::Vacant { next } = place.paths {
                    self.free = next;
                }
                *place = destination;
                id
            }
            None => self.destinations.push(destination),
        };
        let Self {
            index,
            destinations,
            hasher,
            ..
        } = self;
        index.insert_unique(hash, id, |&id| {
            destinations
                .get(id)
                .map_or(0, |d| d.prefix.neighbourly_hash(hasher))
        });
        self.count(prefix, true);
        id
    }

    /// Doubles the index by a walk over the slab in order. Rehashing in the index's own order would
    /// read the slab at random, a cache miss each.
    fn grow(&mut self) {
        let mut index = HashTable::with_capacity((self.index.capacity() * 2).max(14));
        let rehash = |_: &u32| 0;
        for (id, destination) in self.destinations.iter() {
            if !matches!(destination.paths, Paths::Vacant { .. }) {
                // There is room for all, so nothing is ever hashed again.
                index.insert_unique(
                    destination.prefix.neighbourly_hash(&self.hasher),
                    id,
                    rehash,
                );
            }
        }
        self.index = index;
    }

    /// Frees a destination that has neither paths nor pins; otherwise nothing happens.
    pub(crate) fn free_if_unused(&mut self, id: DestinationId) {
        let Some(destination) = self.destinations.get_mut(id) else {
            return;
        };
        if !matches!(destination.paths, Paths::Empty { pins: 0 }) {
            return;
        }
        let prefix = destination.prefix;
        destination.paths = Paths::Vacant { next: self.free };
        self.free = id;
        let hash = prefix.neighbourly_hash(&self.hasher);
        if let Ok(found) = self.index.find_entry(hash, |&other| other == id) {
            found.remove();
        }
        self.count(prefix, false);
    }

    #[inline]
    pub(crate) fn get(&self, id: DestinationId) -> Option<&Destination<P>> {
        self.destinations.get(id)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, id: DestinationId) -> Option<&mut Destination<P>> {
        self.destinations.get_mut(id)
    }

    /// One above the highest number in use.
    pub(crate) const fn end(&self) -> DestinationId {
        self.destinations.len()
    }

    /// How many destinations are in use, those with nothing but pins included.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    /// The destinations around an address, the most specific first.
    pub(crate) fn around(&self, address: IpAddr) -> impl Iterator<Item = DestinationId> + '_ {
        let lengths = (0..=P::MAX_LEN).rev();
        let used = lengths.filter(|&len| self.lengths.get(usize::from(len)) != Some(&0));
        used.filter_map(move |len| P::around(address, len).and_then(|prefix| self.find(prefix)))
    }

    /// Bytes allocated, the lists of several paths apart.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.destinations.heap_bytes() + self.index.allocation_size()
    }

    fn count(&mut self, prefix: P, up: bool) {
        if let Some(count) = self.lengths.get_mut(usize::from(prefix.len())) {
            *count = if up {
                *count + 1
            } else {
                count.saturating_sub(1)
            };
        }
    }
}
