//! The table of one family: prefix → destination, destination → paths.
//!
//! A destination has a dense number, so that everything else (who was sent what, what has to be
//! told) is an array or a bit set by that number. The index holds numbers only, 5 bytes a slot, and
//! compares with the slab. Neighbouring prefixes have neighbouring slots, because tables come and go
//! in such runs: one cache line then serves sixteen of them. A number is free again when no path is left *and* every consumer has
//! heard of it; until then it stays [`Paths::Empty`] with its count of pins.
//!
//! A free number keeps its last prefix and that one's place in the index until the number is needed for
//! another prefix or the index grows: what goes often comes back, as when a peer restarts, and then
//! nothing was taken out and nothing is put in.
//!
//! Prefixes often go, or are said again, in the order in which they came, so the number after the last
//! one found is looked at before the index is.

use std::net::IpAddr;

use hashbrown::HashTable;

use super::chunks::Chunks;
use super::path::Paths;
use super::since::Since;
use crate::net::{Hashing, Neighbourly, Prefix, Prefix4, Prefix6};

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

/// Of fewer numbers none is given back.
const FEW: usize = 4096;

/// One prefix and its paths.
#[derive(Debug)]
pub(crate) struct Destination<P> {
    pub(crate) prefix: P,
    /// When the selected paths became what they are.
    pub(crate) since: Since,
    pub(crate) paths: Paths,
}

/// The table.
#[derive(Debug)]
pub(crate) struct PrefixMap<P> {
    destinations: Chunks<Destination<P>>,
    index: HashTable<DestinationId>,
    hasher: Hashing,
    /// The free numbers are a list through [`Paths::Vacant`], the one freed last in front.
    free: DestinationId,
    used: usize,
    /// The number after the last one found for a change.
    expected: DestinationId,
    /// How many were used when free numbers at the end were last looked for, while most of the table is gone.
    looked: Option<usize>,
    /// How many destinations there are of each length: the longest match tries only these.
    lengths: Vec<u32>,
}

impl<P: TableKey> PrefixMap<P> {
    pub(crate) fn new(hashing: Hashing) -> Self {
        Self {
            destinations: Chunks::default(),
            index: HashTable::new(),
            hasher: hashing,
            free: NO_FREE,
            used: 0,
            expected: 0,
            looked: None,
            lengths: vec![0; usize::from(P::MAX_LEN) + 1],
        }
    }

    /// The destination of a prefix, if it has one.
    pub(crate) fn find(&self, prefix: P) -> Option<DestinationId> {
        let id = self.place(prefix)?;
        let destination = self.destinations.get(id)?;
        (!matches!(destination.paths, Paths::Vacant { .. })).then_some(id)
    }

    /// The same for a change, which likely follows the one before.
    #[inline]
    pub(crate) fn find_next(&mut self, prefix: P) -> Option<DestinationId> {
        let id = self.is_expected(prefix).or_else(|| self.find(prefix))?;
        self.expected = id.wrapping_add(1);
        Some(id)
    }

    /// The expected number, if it is this prefix's.
    #[inline]
    fn is_expected(&self, prefix: P) -> Option<DestinationId> {
        let destination = self.destinations.get(self.expected)?;
        // A free number's prefix may have another one by now.
        let is = destination.prefix == prefix && !matches!(destination.paths, Paths::Vacant { .. });
        is.then_some(self.expected)
    }

    /// Where a prefix is, or was when its number became free.
    #[inline]
    fn place(&self, prefix: P) -> Option<DestinationId> {
        let hash = prefix.neighbourly_hash(&self.hasher);
        let same = |&id: &u32| {
            self.destinations
                .get(id)
                .is_some_and(|d| d.prefix == prefix)
        };
        self.index.find(hash, same).copied()
    }

    /// The destination of a prefix, made if need be, with no paths and no pins.
    #[inline]
    pub(crate) fn find_or_insert(&mut self, prefix: P) -> DestinationId {
        if let Some(id) = self.is_expected(prefix) {
            self.expected = id.wrapping_add(1);
            return id;
        }
        let Some(id) = self.place(prefix) else {
            return self.insert(prefix);
        };
        self.expected = id.wrapping_add(1);
        if let Some(place) = self.destinations.get_mut(id)
            && let Paths::Vacant { next, before } = place.paths
        {
            place.paths = Paths::Empty { pins: 0 };
            self.unlink(next, before);
            self.used += 1;
            self.count(prefix, true);
        }
        id
    }

    /// Makes the destination of a prefix that has no place.
    #[inline(never)]
    fn insert(&mut self, prefix: P) -> DestinationId {
        if self.index.len() == self.index.capacity() {
            self.grow();
        }
        let destination = Destination {
            prefix,
            since: Since::default(),
            paths: Paths::Empty { pins: 0 },
        };
        let id = self.free;
        let id = match self.destinations.get_mut(id) {
            Some(place) => {
                let former = core::mem::replace(place, destination);
                if let Paths::Vacant { next, before } = former.paths {
                    self.unlink(next, before);
                }
                self.forget(id, former.prefix);
                id
            }
            None => self.destinations.push(destination),
        };
        self.used += 1;
        self.count(prefix, true);
        let Self {
            index,
            destinations,
            hasher,
            ..
        } = self;
        index.insert_unique(prefix.neighbourly_hash(hasher), id, |&id| {
            destinations
                .get(id)
                .map_or(0, |d| d.prefix.neighbourly_hash(hasher))
        });
        id
    }

    /// Takes a number with these neighbours out of the list of free ones.
    #[inline(never)]
    fn unlink(&mut self, next: DestinationId, before: DestinationId) {
        match self.destinations.get_mut(before).map(|d| &mut d.paths) {
            Some(Paths::Vacant { next: place, .. }) => *place = next,
            Some(_) | None => self.free = next,
        }
        self.set_before(next, before);
    }

    /// Takes a free number out of the index, unless it went when that grew.
    fn forget(&mut self, id: DestinationId, former: P) {
        let hash = former.neighbourly_hash(&self.hasher);
        if let Ok(found) = self.index.find_entry(hash, |&other| other == id) {
            found.remove();
        }
    }

    /// Doubles the index by a walk over the slab in order. Rehashing in the index's own order would
    /// read the slab at random, a cache miss each. Free numbers are left out; if that makes room, too, it
    /// stays as large as it is.
    fn grow(&mut self) {
        let full = self.used > self.index.capacity() / 2;
        self.index_anew(self.index.capacity() << u32::from(full));
    }

    /// Makes the index again, with room for so many.
    fn index_anew(&mut self, capacity: usize) {
        let mut index = HashTable::with_capacity(capacity.max(14));
        let rehash = |_: &u32| 0;
        for (id, destination) in self.destinations.iter() {
            if !destination.paths.is_vacant() {
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
        destination.paths = Paths::Vacant {
            next: self.free,
            before: NO_FREE,
        };
        self.set_before(self.free, id);
        self.free = id;
        self.used -= 1;
        self.count(prefix, false);
    }

    /// Gives memory back where most of the table is gone, and an eighth of the numbers, at the end, is free. Whether it
    /// has. One walk in order over what there is, in which nothing is searched for: a millisecond or two a million.
    pub(crate) fn shrink(&mut self) -> bool {
        let end = self.end();
        let gone = end as usize > FEW && self.used <= end as usize / 4;
        let now = gone.then_some(self.used);
        if core::mem::replace(&mut self.looked, now) == now || !gone {
            return false;
        }
        let free = |id: &DestinationId| self.get(*id).is_some_and(|d| d.paths.is_vacant());
        let tail = (0..end).rev().take_while(free).count();
        if tail < end as usize / 8 {
            return false;
        }
        self.destinations.truncate(end as usize - tail);
        self.free = NO_FREE;
        for id in (0..self.end()).rev() {
            let next = self.free;
            if let Some(destination) = self.destinations.get_mut(id)
                && destination.paths.is_vacant()
            {
                destination.paths = Paths::Vacant {
                    next,
                    before: NO_FREE,
                };
                self.set_before(next, id);
                self.free = id;
            }
        }
        self.index_anew(self.used);
        true
    }

    fn set_before(&mut self, id: DestinationId, value: DestinationId) {
        if let Some(Paths::Vacant { before, .. }) =
            self.destinations.get_mut(id).map(|d| &mut d.paths)
        {
            *before = value;
        }
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
    pub(crate) const fn len(&self) -> usize {
        self.used
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn numbers_are_given_again_and_prefixes_that_come_back_have_theirs() {
        let prefix = |n: u32| Prefix4::new(n << 8, 24);
        let mut map = PrefixMap::new(Hashing::secret(1));
        let ids: Vec<_> = (0..8).map(|n| map.find_or_insert(prefix(n))).collect();
        for n in [2, 5, 3] {
            map.free_if_unused(ids[n]);
        }
        assert_eq!((map.len(), map.end()), (5, 8));
        assert_eq!(map.find(prefix(5)), None, "its place is no destination");
        assert_eq!(
            map.find_or_insert(prefix(5)),
            ids[5],
            "from amidst the free ones"
        );
        assert_eq!(
            map.find_or_insert(prefix(100)),
            ids[3],
            "the one freed last"
        );
        assert_eq!(map.find(prefix(3)), None);
        assert_eq!(map.find_or_insert(prefix(3)), ids[2]);
        assert_eq!(map.find_or_insert(prefix(2)), 8, "none is free");
        assert_eq!((map.len(), map.end()), (9, 9));
    }

    /// Against a map of the standard library, over growth, many rounds of coming and going, and lengths.
    #[test]
    fn it_has_what_was_put_in_and_not_taken_out() {
        let mut state = 7_u64;
        let mut draw = |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % below
        };
        let mut map = PrefixMap::new(Hashing::secret(2));
        let mut model = BTreeMap::new();
        for round in 0..60_000 {
            // Few prefixes for a while, then more: ghosts come back, are replaced, and go as it grows.
            let space = if round < 20_000 { 300 } else { 3_000 };
            let bits = u32::try_from(draw(space)).unwrap_or(0);
            let prefix = Prefix4::new(bits << 8, if draw(4) == 0 { 23 } else { 24 });
            if draw(2) == 0 {
                let id = map.find_or_insert(prefix);
                assert_eq!(*model.entry(prefix).or_insert(id), id);
            } else if let Some(id) = model.remove(&prefix) {
                assert_eq!(map.find(prefix), Some(id));
                map.free_if_unused(id);
            }
            assert_eq!(map.find(prefix), model.get(&prefix).copied());
            let next = Prefix4::new((bits + 1) << 8, 24);
            assert_eq!(map.find_next(next), model.get(&next).copied());
            assert_eq!(map.len(), model.len());
        }
        for (prefix, id) in &model {
            assert_eq!(map.find(*prefix), Some(*id));
            assert_eq!(map.get(*id).map(|d| d.prefix), Some(*prefix));
        }
        let mut ids: Vec<_> = model.values().collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), model.len(), "a number each");
        for (&prefix, &id) in &model {
            map.free_if_unused(id);
            assert_eq!(map.find(prefix), None);
        }
        assert_eq!(map.len(), 0);
        let count = |len| map.lengths.get(len).copied();
        assert_eq!((count(23), count(24)), (Some(0), Some(0)));
    }

    #[test]
    fn a_table_that_goes_between_two_looks_goes_whole() {
        let prefix = |n: u32| Prefix4::new(n << 8, 24);
        let mut map = PrefixMap::new(Hashing::secret(3));
        for _ in 0..2 {
            let ids: Vec<_> = (0..20_000).map(|n| map.find_or_insert(prefix(n))).collect();
            assert!(!map.shrink());
            for id in ids {
                map.free_if_unused(id);
            }
            assert!(map.shrink());
            assert_eq!((map.end(), map.index.len()), (0, 0));
        }
    }

    #[test]
    fn most_of_a_table_that_is_gone_goes_and_what_stays_is_found() {
        let prefix = |n: u32| Prefix4::new(n << 8, 24);
        let mut map = PrefixMap::new(Hashing::secret(3));
        let ids: Vec<_> = (0..20_000).map(|n| map.find_or_insert(prefix(n))).collect();
        let full = map.heap_bytes();
        // One of those that stay is in the middle: what is behind it goes.
        let stays = |n: usize| n.is_multiple_of(1_000) && n <= 6_000;
        for (n, id) in ids.iter().enumerate() {
            if !stays(n) {
                map.free_if_unused(*id);
            }
        }
        assert!(map.shrink());
        assert_eq!(map.end(), 6_001);
        assert!(!map.shrink(), "once");
        assert!(
            map.heap_bytes() * 2 < full,
            "{} of {full}",
            map.heap_bytes()
        );
        for n in 0..20_000 {
            assert_eq!(map.find(prefix(n)).is_some(), stays(n as usize), "{n}");
        }
        let again: Vec<_> = (0..20_000).map(|n| map.find_or_insert(prefix(n))).collect();
        let mut sorted = again;
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), 20_000);
    }
}
