//! Interned path attributes: each distinct set is stored once and named by a number.
//!
//! A set is its canonical bytes plus the few fields that decisions look at, about 60 bytes beside
//! the bytes, because a full table has more than a hundred thousand sets. It is not a struct of
//! vectors; [`AttributesRef::decode`] gives that when somebody needs it. Sets are reference-counted:
//! [`AttributeStore::intern`] gives the caller one reference, each path in the table holds one, and
//! the set goes with the last.

mod accounts;
mod hot;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry as TableEntry;
use std::hash::BuildHasher as _;

use super::chunks::Chunks;
use super::next_hop::{NextHopId, NextHopTable};
use super::peer::PeerIndex;
use super::raw_cache::RawCache;
use crate::net::Hashing;
use crate::wire::attribute::community::LLGR_STALE;
use crate::wire::attribute::plain::Plain;
use crate::wire::attribute::{NextHop, Origin, PathAttributes};
use accounts::Accounts;
pub(crate) use accounts::Owner;
pub use accounts::{Bounds, Crowded};
pub use hot::AttributeFlags;
use hot::Hot;

/// An interned set of attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttributesId(pub(crate) u32);

#[derive(Debug)]
struct Entry {
    /// `None` in a free entry.
    canonical: Option<Box<[u8]>>,
    hot: Hot,
    /// References; in a free entry the next free one.
    refs: u32,
}

impl Entry {
    /// What tells it from others.
    fn bytes(&self) -> &[u8] {
        self.canonical.as_deref().unwrap_or_default()
    }

    /// The canonical bytes, and the set that it was made of if it is a derived one.
    fn parts(&self) -> (&[u8], Option<AttributesId>) {
        let bytes = self.bytes();
        if !self.hot.flags.contains(AttributeFlags::DERIVED) {
            return (bytes, None);
        }
        match bytes.split_last_chunk() {
            Some((canonical, number)) => {
                (canonical, Some(AttributesId(u32::from_le_bytes(*number))))
            }
            None => (bytes, None),
        }
    }
}

const NO_FREE: u32 = u32::MAX;
/// Of fewer entries none is given back.
const FEW: u32 = 4096;

/// The store of interned sets.
#[derive(Debug)]
pub struct AttributeStore {
    entries: Chunks<Entry>,
    index: HashTable<u32>,
    free: u32,
    live: u32,
    hasher: Hashing,
    scratch: Vec<u8>,
    next_hops: NextHopTable,
    raw: RawCache,
    canonical_bytes: usize,
    accounts: Accounts,
}

impl AttributeStore {
    /// An empty store. `hashing` makes collisions unpredictable for whoever sends the attributes;
    /// `track_next_hops` is [`NextHopTable::new`]'s.
    pub fn new(hashing: Hashing, track_next_hops: bool) -> Self {
        Self {
            entries: Chunks::default(),
            index: HashTable::new(),
            free: NO_FREE,
            live: 0,
            hasher: hashing.of_table(1),
            scratch: Vec::new(),
            next_hops: NextHopTable::new(hashing.of_table(3), track_next_hops),
            raw: RawCache::new(hashing.of_table(2)),
            canonical_bytes: 0,
            accounts: Accounts::default(),
        }
    }

    /// The number of the set, with one reference for the caller: [`release`](Self::release) it. If it is new it
    /// is `owner`'s.
    pub fn intern(&mut self, owner: PeerIndex, attributes: &PathAttributes) -> AttributesId {
        self.intern_of(Owner::of(owner), attributes)
    }

    fn intern_of(&mut self, owner: Owner, attributes: &PathAttributes) -> AttributesId {
        let mut canonical = core::mem::take(&mut self.scratch);
        canonical.clear();
        attributes.encode_canonical(&mut canonical);
        let hot = Hot::of(owner, attributes);
        let id = self.intern_canonical(&canonical, hot, attributes.next_hop);
        self.scratch = canonical;
        id
    }

    fn owner(&self, id: AttributesId) -> Owner {
        let entry = self.entries.get(id.0);
        entry.map(|entry| entry.hot.owner).unwrap_or_default()
    }

    /// Says how much a peer may make us keep. What is there stays.
    pub fn set_bounds(&mut self, peer: PeerIndex, bounds: Bounds) {
        self.accounts.set_bounds(Owner::of(peer), bounds);
    }

    /// Whether a set that the caller has just interned is more than its peer may make us keep. One that others
    /// have, too, never is.
    pub(crate) fn refuses(&mut self, id: AttributesId) -> bool {
        let entry = self.entries.get(id.0);
        let fresh = entry
            .filter(|entry| entry.refs == 1)
            .map(|entry| entry.hot.owner);
        fresh.is_some_and(|owner| self.accounts.refuses(owner))
    }

    /// Whether a peer that had more than it may has room again.
    pub(crate) fn has_room(&self, peer: PeerIndex) -> bool {
        self.accounts.has_room(Owner::of(peer))
    }

    /// What a peer has made us keep, if some of it is not kept.
    pub fn crowded(&self, peer: PeerIndex) -> Option<Crowded> {
        self.accounts.crowded(Owner::of(peer))
    }

    /// The same for a block that is in the stored form already.
    pub fn intern_plain(&mut self, owner: PeerIndex, plain: &Plain<'_>) -> AttributesId {
        let hot = Hot::of_plain(Owner::of(owner), plain);
        self.intern_canonical(plain.block, hot, Some(plain.next_hop))
    }

    /// The number of a set that policy made of `original`, with one reference for the caller. It is
    /// never the number of an equal set that came so, and it keeps the original: another policy can
    /// begin again with what was received.
    pub fn intern_derived(
        &mut self,
        attributes: &PathAttributes,
        original: AttributesId,
    ) -> AttributesId {
        let mut canonical = core::mem::take(&mut self.scratch);
        canonical.clear();
        attributes.encode_canonical(&mut canonical);
        canonical.extend_from_slice(&original.0.to_le_bytes());
        let mut hot = Hot::of(self.owner(original), attributes);
        hot.flags = hot.flags.with(AttributeFlags::DERIVED, true);
        let before = self.live;
        let id = self.intern_canonical(&canonical, hot, attributes.next_hop);
        if self.live > before {
            self.retain(original);
        }
        self.scratch = canonical;
        id
    }

    /// The set as it was received: what a derived one was made of, any other one itself.
    pub fn original(&self, id: AttributesId) -> AttributesId {
        let entry = self.entries.get(id.0);
        entry.and_then(|entry| entry.parts().1).unwrap_or(id)
    }

    fn intern_canonical(
        &mut self,
        canonical: &[u8],
        mut hot: Hot,
        next_hop: Option<NextHop>,
    ) -> AttributesId {
        let Self {
            entries,
            index,
            hasher,
            ..
        } = self;
        let hash = hasher.hash_one(canonical);
        let derived = |hot: &Hot| hot.flags.contains(AttributeFlags::DERIVED);
        let same = |e: &Entry| e.bytes() == canonical && derived(&e.hot) == derived(&hot);
        let equal = |&id: &u32| entries.get(id).is_some_and(same);
        let rehash = |&id: &u32| hasher.hash_one(entries.get(id).map_or(&[][..], Entry::bytes));
        let place = match index.entry(hash, equal, rehash) {
            TableEntry::Occupied(found) => {
                let id = *found.get();
                if let Some(entry) = entries.get_mut(id) {
                    entry.refs += 1;
                }
                return AttributesId(id);
            }
            TableEntry::Vacant(place) => place,
        };
        let (next_hop, is_new) = self.next_hops.acquire(next_hop, hot.owner);
        hot.next_hop = next_hop;
        self.accounts.charge(hot.owner, canonical.len(), is_new);
        let entry = Entry {
            canonical: Some(canonical.into()),
            hot,
            refs: 1,
        };
        let id = match entries.get_mut(self.free) {
            Some(free) => {
                let id = self.free;
                self.free = free.refs;
                *free = entry;
                id
            }
            None => entries.push(entry),
        };
        place.insert(id);
        self.live += 1;
        self.canonical_bytes += canonical.len();
        AttributesId(id)
    }

    /// The number of the same set with LLGR_STALE (RFC 9494 §4.2), with one reference for the caller;
    /// `None` if it has the community already. What policy made of a set stays made of it.
    pub(crate) fn long_lived_stale(&mut self, id: AttributesId) -> Option<AttributesId> {
        let received = self.get(self.original(id))?;
        if received.flags().contains(AttributeFlags::LLGR_STALE) {
            return None;
        }
        let (set, derived) = (self.get(id)?.decode(), received.id() != id);
        let owner = self.owner(id);
        let received = self.intern_of(owner, &stale(received.decode()));
        if !derived {
            return Some(received);
        }
        let made = self.intern_derived(&stale(set), received);
        self.release(received);
        Some(made)
    }

    /// Takes another reference.
    pub fn retain(&mut self, id: AttributesId) {
        if let Some(entry) = self.entries.get_mut(id.0) {
            entry.refs += 1;
        }
    }

    /// Gives one reference back; the last one removes the set.
    pub fn release(&mut self, id: AttributesId) {
        let Some(entry) = self.entries.get_mut(id.0) else {
            return;
        };
        debug_assert!(entry.canonical.is_some(), "released once too often");
        entry.refs -= 1;
        if entry.refs > 0 {
            return;
        }
        let (_, original) = entry.parts();
        let Some(canonical) = entry.canonical.take() else {
            return;
        };
        entry.refs = self.free;
        let (next_hop, owner) = (entry.hot.next_hop, entry.hot.owner);
        self.free = id.0;
        self.live -= 1;
        self.canonical_bytes -= canonical.len();
        let hash = self.hasher.hash_one(&*canonical);
        if let Ok(found) = self.index.find_entry(hash, |&other| other == id.0) {
            found.remove();
        }
        self.accounts.discharge(owner, canonical.len());
        if let Some(owner) = self.next_hops.release(next_hop) {
            self.accounts.discharge_hop(owner);
        }
        if let Some(original) = original {
            // One step deep: what was received was not derived.
            self.release(original);
        }
    }

    /// The set behind a number that is still referenced.
    pub fn get(&self, id: AttributesId) -> Option<AttributesRef<'_>> {
        let entry = self.entries.get(id.0)?;
        entry
            .canonical
            .is_some()
            .then_some(AttributesRef { entry, id })
    }

    /// The number of a block of attributes that was parsed before, with one reference for the
    /// caller. `context` stands for all that parsing depends on beside the bytes (the kind of peer,
    /// four-octet AS numbers), `next_hop` is that of MP_REACH_NLRI, which is not in `raw`.
    pub fn lookup_raw(
        &mut self,
        context: u64,
        raw: &[u8],
        next_hop: Option<NextHop>,
    ) -> Option<AttributesId> {
        let id = self.raw.get(context, raw, next_hop)?;
        self.retain(id);
        Some(id)
    }

    /// Enters the outcome of parsing a block for [`lookup_raw`](Self::lookup_raw).
    pub fn remember_raw(
        &mut self,
        context: u64,
        raw: &[u8],
        next_hop: Option<NextHop>,
        id: AttributesId,
    ) {
        self.retain(id);
        if let Some(evicted) = self.raw.put(context, raw, next_hop, id) {
            self.release(evicted);
        }
    }

    /// Gives memory back where most sets are gone and an eighth of the entries, at the end, is free.
    pub(crate) fn shrink(&mut self) {
        let len = self.entries.len();
        if len > FEW && self.live <= len / 4 {
            // What was parsed last keeps sets of peers that are gone, wherever they stand.
            self.forget_raw();
            self.cut();
        }
        self.next_hops.shrink();
    }

    /// Takes the entries at the end away that nobody has, if they are many.
    fn cut(&mut self) {
        let len = self.entries.len();
        let is_free = |id: &u32| {
            self.entries
                .get(*id)
                .is_some_and(|entry| entry.canonical.is_none())
        };
        let free = (0..len).rev().take_while(is_free).count();
        if free < len as usize / 8 {
            return;
        }
        self.entries.truncate(len as usize - free);
        self.free = NO_FREE;
        for id in (0..self.entries.len()).rev() {
            if let Some(entry) = self.entries.get_mut(id)
                && entry.canonical.is_none()
            {
                entry.refs = self.free;
                self.free = id;
            }
        }
        let Self {
            entries,
            index,
            hasher,
            ..
        } = self;
        index.shrink_to(0, |&id| {
            hasher.hash_one(entries.get(id).map_or(&[][..], Entry::bytes))
        });
    }

    /// Empties the cache of raw blocks, and gives up its references.
    pub fn forget_raw(&mut self) {
        for id in self.raw.clear() {
            self.release(id);
        }
    }

    /// The next hops of all sets.
    pub fn next_hops(&self) -> &NextHopTable {
        &self.next_hops
    }

    pub(crate) fn next_hops_mut(&mut self) -> &mut NextHopTable {
        &mut self.next_hops
    }

    /// How many sets are stored.
    pub fn len(&self) -> usize {
        self.live as usize
    }

    /// Whether nothing is stored.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Bytes allocated, the allocator's own overhead apart.
    pub fn heap_bytes(&self) -> usize {
        self.entries.heap_bytes() + self.canonical_bytes + self.index.allocation_size()
    }
}

fn stale(mut attributes: PathAttributes) -> PathAttributes {
    if !attributes.communities.contains(&LLGR_STALE) {
        attributes.communities.push(LLGR_STALE);
    }
    attributes
}

/// A stored set: its hot fields at once, everything by decoding.
#[derive(Debug, Clone, Copy)]
pub struct AttributesRef<'a> {
    entry: &'a Entry,
    id: AttributesId,
}

impl AttributesRef<'_> {
    /// Its number.
    pub const fn id(self) -> AttributesId {
        self.id
    }

    /// All of it.
    pub fn decode(self) -> PathAttributes {
        let decoded = PathAttributes::decode_canonical(self.entry.parts().0);
        debug_assert!(decoded.is_ok(), "the canonical form is our own");
        decoded.unwrap_or_default()
    }

    /// All of it as it is stored.
    pub(crate) fn canonical(&self) -> &[u8] {
        self.entry.parts().0
    }

    /// Its flags.
    pub const fn flags(self) -> AttributeFlags {
        self.entry.hot.flags
    }

    /// LOCAL_PREF, if there.
    pub fn local_pref(self) -> Option<u32> {
        self.flags()
            .contains(AttributeFlags::LOCAL_PREF)
            .then_some(self.entry.hot.local_pref)
    }

    /// MULTI_EXIT_DISC, if there.
    pub fn med(self) -> Option<u32> {
        self.flags()
            .contains(AttributeFlags::MED)
            .then_some(self.entry.hot.med)
    }

    /// ORIGINATOR_ID, if there.
    pub fn originator_id(self) -> Option<u32> {
        self.flags()
            .contains(AttributeFlags::ORIGINATOR)
            .then_some(self.entry.hot.originator_id)
    }

    /// The AS that MED is compared within, 0 for a path from inside.
    pub const fn neighbour_as(self) -> u32 {
        self.entry.hot.neighbour_as
    }

    /// The length of AS_PATH as the decision process counts it.
    pub const fn as_path_len(self) -> u16 {
        self.entry.hot.as_path_len
    }

    /// The length of CLUSTER_LIST.
    pub fn cluster_list_len(self) -> u16 {
        self.entry.hot.cluster_list_len.into()
    }

    /// ORIGIN.
    pub const fn origin(self) -> Origin {
        self.entry.hot.origin
    }

    /// Its next hop in the store's table.
    pub const fn next_hop(self) -> NextHopId {
        self.entry.hot.next_hop
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::attribute::AsPath;
    use crate::wire::attribute::community::NO_EXPORT;

    fn sample(med: u32) -> PathAttributes {
        PathAttributes {
            as_path: AsPath::sequence(vec![crate::net::Asn(65001)]),
            med: Some(med),
            next_hop: Some(NextHop::new("2001:db8::1".parse().unwrap())),
            communities: vec![NO_EXPORT],
            ..PathAttributes::default()
        }
    }

    #[test]
    fn a_set_is_stored_once_comes_back_whole_and_goes_with_its_last_reference() {
        let mut store = AttributeStore::new(Hashing::default(), false);
        let id = store.intern(PeerIndex::LOCAL, &sample(1));
        assert_eq!(store.intern(PeerIndex::LOCAL, &sample(1)), id);
        let other = store.intern(PeerIndex::LOCAL, &sample(2));
        assert_ne!(other, id);
        assert_eq!(store.len(), 2);
        let set = store.get(id).unwrap();
        assert_eq!(set.decode(), sample(1));
        assert_eq!(
            (set.med(), set.local_pref(), set.as_path_len()),
            (Some(1), None, 1)
        );
        assert!(set.flags().contains(AttributeFlags::NO_EXPORT));
        store.release(id);
        assert!(store.get(id).is_some());
        store.release(id);
        assert!(store.get(id).is_none());
        assert_eq!(
            store.intern(PeerIndex::LOCAL, &sample(3)),
            id,
            "numbers are used again"
        );
        store.release(other);
        store.release(id);
        assert!(store.is_empty());
        assert_eq!(store.next_hops().iter().count(), 0);
    }

    #[test]
    fn what_policy_made_names_what_came_and_keeps_it() {
        let mut store = AttributeStore::new(Hashing::default(), false);
        let received = store.intern(PeerIndex::LOCAL, &sample(1));
        let made = store.intern_derived(&sample(2), received);
        let other = store.intern(PeerIndex::LOCAL, &sample(3));
        let same = store.intern_derived(&sample(2), other);
        let plain = store.intern(PeerIndex::LOCAL, &sample(2));
        assert!(made != same && made != plain && same != plain);
        assert_eq!(store.intern_derived(&sample(2), received), made);
        assert_eq!(store.get(made).unwrap().decode(), sample(2));
        assert_eq!(store.original(made), received);
        assert_eq!(store.original(received), received);
        let stale = store.long_lived_stale(made).unwrap();
        let stale_original = store.original(stale);
        for (id, med) in [(stale, 2), (stale_original, 1)] {
            let set = store.get(id).unwrap();
            assert!(set.flags().contains(AttributeFlags::LLGR_STALE));
            assert_eq!(set.med(), Some(med));
        }
        for id in [received, made, made, other, same, plain] {
            store.release(id);
        }
        assert!(store.get(received).is_none(), "nobody needs it any more");
        assert_eq!(store.get(stale_original).unwrap().med(), Some(1));
        store.release(stale);
        assert!(store.is_empty());
    }

    #[test]
    fn raw_blocks_are_found_by_all_that_parsing_depends_on() {
        let mut store = AttributeStore::new(Hashing::default(), false);
        let id = store.intern(PeerIndex::LOCAL, &sample(1));
        let hop = sample(1).next_hop;
        store.remember_raw(1, b"block", hop, id);
        assert_eq!(store.lookup_raw(1, b"block", hop), Some(id));
        assert_eq!(store.lookup_raw(2, b"block", hop), None);
        assert_eq!(store.lookup_raw(1, b"other", hop), None);
        assert_eq!(store.lookup_raw(1, b"block", None), None);
        store.release(id);
        store.release(id);
        assert_eq!(store.len(), 1, "the cache holds it");
        store.forget_raw();
        assert!(store.is_empty());
    }

    #[test]
    fn the_cache_of_raw_blocks_is_bounded() {
        let mut store = AttributeStore::new(Hashing::default(), false);
        for n in 0..5000 {
            let id = store.intern(PeerIndex::LOCAL, &sample(n));
            store.remember_raw(0, &n.to_be_bytes(), None, id);
            store.release(id);
        }
        assert!(store.len() <= 1024, "{}", store.len());
        store.remember_raw(0, &[0; 4000], None, AttributesId(0));
        assert_eq!(store.lookup_raw(0, &[0; 4000], None), None);
    }

    #[test]
    fn an_entry_is_small() {
        assert_eq!(size_of::<Hot>(), 28);
        assert!(size_of::<Entry>() <= 48);
    }
}
