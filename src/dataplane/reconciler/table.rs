//! One small entry a prefix: what is wanted and what the kernel has, both by number.

use hashbrown::HashTable;

use super::super::ownership::Rank;
use super::shapes::ShapeId;
use crate::net::{Hashing, Neighbourly, Prefix, Prefix4, Prefix6};

/// Names a set of next hops (or a blackhole) that prefixes are wanted with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathId(pub(in crate::dataplane) u32);

/// What the kernel has at our key for a prefix, as far as we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen(u32);

impl Seen {
    /// No route of ours.
    pub(super) const NOTHING: Self = Self(u32::MAX);
    /// Either a route of ours or none: an operation crossed with somebody else's.
    pub(super) const UNSURE: Self = Self(u32::MAX - 1);

    /// The shape of our route there.
    pub(super) fn shape(self) -> Option<ShapeId> {
        (self != Self::NOTHING && self != Self::UNSURE).then_some(ShapeId(self.0))
    }
}

impl From<ShapeId> for Seen {
    fn from(shape: ShapeId) -> Self {
        Self(shape.0)
    }
}

/// A bit of an entry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flag(u16);

/// It stands in the queue.
pub(super) const QUEUED: Flag = Flag(1);
/// An operation on it is outstanding.
pub(super) const BUSY: Flag = Flag(2);
/// Somebody touched the key while an operation was outstanding: the order is not known.
pub(super) const CROSSED: Flag = Flag(4);
/// A foreign route took the place of ours; putting ours back means to replace it.
pub(super) const USURPED: Flag = Flag(8);
/// The running dump has it.
pub(super) const DUMPED: Flag = Flag(16);
/// It changed while the dump ran: the dump is not believed about it.
pub(super) const OVERTAKEN: Flag = Flag(32);

/// Nothing is in the slot, or it waits for [`Entries::clear_out`].
const FORGOTTEN: Flag = Flag(128);
/// This process has wanted a route there: it needs no confirmation any more.
pub(super) const CONFIRMED: Flag = Flag(64);
/// The entry tells of the key of last resort.
const LAST_RESORT: Flag = Flag(256);

/// What there is to know about a prefix. 10 bytes, 12 with padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    want: u32,
    pub(super) seen: Seen,
    flags: u16,
}

impl Entry {
    const EMPTY: Self = Self {
        want: u32::MAX,
        seen: Seen::NOTHING,
        flags: 0,
    };

    pub(super) fn want(self) -> Option<PathId> {
        (self.want != u32::MAX).then_some(PathId(self.want))
    }

    pub(super) fn set_want(&mut self, want: Option<PathId>) {
        self.want = want.map_or(u32::MAX, |id| id.0);
    }

    pub(super) const fn is(self, flag: Flag) -> bool {
        self.flags & flag.0 != 0
    }

    pub(super) const fn set(&mut self, flag: Flag) {
        self.flags |= flag.0;
    }

    pub(super) const fn clear(&mut self, flag: Flag) {
        self.flags &= !flag.0;
    }

    /// Which of our keys at the prefix [`Self::seen`] and the flags are about.
    pub(super) const fn rank(self) -> Rank {
        if self.is(LAST_RESORT) {
            Rank::LastResort
        } else {
            Rank::Way
        }
    }

    pub(super) const fn set_rank(&mut self, rank: Rank) {
        match rank {
            Rank::Way => self.clear(LAST_RESORT),
            Rank::LastResort => self.set(LAST_RESORT),
        }
    }

    /// Whether it says nothing about any key.
    pub(super) fn is_free(self) -> bool {
        let busy = self.is(BUSY) || self.is(OVERTAKEN) || self.is(DUMPED) || self.is(USURPED);
        self.seen == Seen::NOTHING && !busy
    }

    /// It has been found to say nothing, and is as good as not there.
    const fn is_forgotten(self) -> bool {
        self.is(FORGOTTEN)
    }

    /// Nothing is worth remembering.
    fn is_idle(self) -> bool {
        let idle = !self.is(QUEUED) && !self.is(BUSY) && !self.is(OVERTAKEN);
        self.want == u32::MAX && self.seen == Seen::NOTHING && idle
    }
}

impl Default for Entry {
    fn default() -> Self {
        Self::EMPTY
    }
}

/// Where an entry is. It names the entry without a search, and the same one for as long as that is
/// queued or busy: such an entry is never forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place(u32);

impl Place {
    /// The bit that tells IPv6 from IPv4.
    const V6: u32 = 1 << 31;
    /// No place: where there are more entries than numbers.
    const BEYOND: Self = Self(u32::MAX);
}

/// The entries of both families.
#[derive(Debug)]
pub(super) struct Table {
    v4: Entries<Prefix4>,
    v6: Entries<Prefix6>,
    /// Stands in where there are more entries than numbers, which no memory holds.
    beyond: Entry,
}

/// Those of one, in the order in which they came: what is wanted, written and answered in one order is
/// then read in that order, too. The index holds numbers only.
///
/// What says nothing any more is marked, and leaves the index when most of it is marked: what goes
/// often comes back, and a search each for the others would be a cache miss each.
#[derive(Debug)]
struct Entries<P> {
    index: HashTable<u32>,
    slots: Vec<(P, Entry)>,
    /// Slots that the index does not have, the next one last.
    free: Vec<u32>,
    /// How many in the index are forgotten.
    forgotten: usize,
    /// The slot after the last one found: what comes and goes often does so in one order.
    expected: u32,
    hasher: Hashing,
}

impl<P> Entries<P> {
    fn new(hasher: Hashing) -> Self {
        Self {
            index: HashTable::new(),
            slots: Vec::new(),
            free: Vec::new(),
            forgotten: 0,
            expected: 0,
            hasher,
        }
    }
}

impl<P: Neighbourly> Entries<P> {
    /// So many entries there can be: one bit of a [`Place`] is the family's.
    const MOST: usize = (Place::V6 - 1) as usize;
    /// Fewer that are forgotten are not worth a walk.
    const FEW: usize = 256;

    #[inline]
    fn find(&self, prefix: P) -> Option<u32> {
        let at = self.search(prefix)?;
        let (_, entry) = self.slots.get(at as usize)?;
        (!entry.is_forgotten()).then_some(at)
    }

    /// The same for a change, which likely follows the one before.
    #[inline]
    fn find_next(&mut self, prefix: P) -> Option<u32> {
        let at = self.is_expected(prefix).or_else(|| self.find(prefix))?;
        self.expected = at + 1;
        Some(at)
    }

    /// The expected slot, if it is this prefix's.
    #[inline]
    fn is_expected(&self, prefix: P) -> Option<u32> {
        let (key, entry) = self.slots.get(self.expected as usize)?;
        // A forgotten one's prefix may have another slot by now.
        (*key == prefix && !entry.is_forgotten()).then_some(self.expected)
    }

    /// Finds what is forgotten, too.
    #[inline]
    fn search(&self, prefix: P) -> Option<u32> {
        let slots = &self.slots;
        let is = |&at: &u32| {
            slots
                .get(at as usize)
                .is_some_and(|(key, _)| *key == prefix)
        };
        let hash = prefix.neighbourly_hash(&self.hasher);
        self.index.find(hash, is).copied()
    }

    fn get(&self, prefix: P) -> Option<Entry> {
        let at = self.find(prefix)?;
        self.slots.get(at as usize).map(|(_, entry)| *entry)
    }

    fn at(&mut self, at: u32) -> Option<(P, &mut Entry)> {
        let (prefix, entry) = self.slots.get_mut(at as usize)?;
        Some((*prefix, entry))
    }

    /// Where the entry is, made if need be, unless there are two thousand million of them.
    fn place(&mut self, prefix: P) -> Option<u32> {
        let Some(at) = self.is_expected(prefix).or_else(|| self.search(prefix)) else {
            return self.add(prefix);
        };
        self.expected = at + 1;
        let (_, entry) = self.slots.get_mut(at as usize)?;
        if entry.is_forgotten() {
            *entry = Entry::EMPTY;
            self.forgotten -= 1;
        }
        Some(at)
    }

    fn add(&mut self, prefix: P) -> Option<u32> {
        let slot = (prefix, Entry::EMPTY);
        let at = match self.free.pop() {
            Some(at) => {
                *self.slots.get_mut(at as usize)? = slot;
                at
            }
            None => {
                let number = Some(self.slots.len()).filter(|number| *number < Self::MOST)?;
                let at = u32::try_from(number).ok()?;
                self.slots.push(slot);
                at
            }
        };
        let Self {
            index,
            slots,
            hasher,
            ..
        } = self;
        let hash = |key: P| key.neighbourly_hash(hasher);
        let rehash = |&at: &u32| slots.get(at as usize).map_or(0, |(key, _)| hash(*key));
        index.insert_unique(hash(prefix), at, rehash);
        Some(at)
    }

    /// Forgets the entry if it says nothing.
    fn tidy(&mut self, at: u32) {
        let Some((_, entry)) = self.slots.get_mut(at as usize) else {
            return;
        };
        if entry.is_idle() && !entry.is_forgotten() {
            entry.set(FORGOTTEN);
            self.forgotten += 1;
            self.clear_out();
        }
    }

    /// Frees the slots of forgotten entries, if they are most of the index and enough for a walk over all
    /// slots.
    fn clear_out(&mut self) {
        let used = self.index.len() - self.forgotten;
        let many = Self::FEW.max(3 * used).max(self.slots.len() / 4);
        if used == 0 {
            // A table's memory does not outlive it.
            *self = Self::new(self.hasher);
        } else if self.forgotten > many {
            self.index_anew(used);
            self.cut();
        }
    }

    /// Makes the index of what is there, which is so many, and the list of the other slots.
    fn index_anew(&mut self, used: usize) {
        self.index = HashTable::with_capacity(used);
        self.forgotten = 0;
        self.free.clear();
        for (at, (prefix, entry)) in (0..).zip(&self.slots) {
            if entry.is_forgotten() {
                self.free.push(at);
            } else {
                // There is room for all, so nothing is ever hashed again.
                let hash = prefix.neighbourly_hash(&self.hasher);
                self.index.insert_unique(hash, at, |_| 0);
            }
        }
        self.free.reverse();
    }

    /// Gives the slots at the end back that nobody has.
    fn cut(&mut self) {
        let used = |(_, entry): &(P, Entry)| !entry.is_forgotten();
        let end = self.slots.iter().rposition(used).map_or(0, |at| at + 1);
        self.slots.truncate(end);
        self.slots.shrink_to_fit();
        self.free.retain(|at| (*at as usize) < end);
        self.free.shrink_to_fit();
    }

    /// Moves what is there together where most slots are nobody's. No [`Place`] of before names anything then.
    fn pack(&mut self) {
        let used = self.index.len() - self.forgotten;
        if self.slots.len() <= Self::FEW || used > self.slots.len() / 4 {
            return;
        }
        self.slots.retain(|(_, entry)| !entry.is_forgotten());
        self.slots.shrink_to_fit();
        self.index_anew(used);
        self.free.shrink_to_fit();
    }

    /// Those that are there, in order.
    fn iter(&self) -> impl Iterator<Item = (P, Entry)> + '_ {
        let used = |(_, entry): &&(P, Entry)| !entry.is_forgotten();
        self.slots.iter().filter(used).copied()
    }

    fn sweep(&mut self, mut visit: impl FnMut(u32, P, &mut Entry)) {
        for (at, (prefix, entry)) in (0..).zip(&mut self.slots) {
            if entry.is_forgotten() {
                continue;
            }
            visit(at, *prefix, entry);
            if entry.is_idle() {
                entry.set(FORGOTTEN);
                self.forgotten += 1;
            }
        }
        self.clear_out();
    }
}

impl Table {
    pub(super) fn new(hashing: Hashing) -> Self {
        Self {
            v4: Entries::new(hashing),
            v6: Entries::new(hashing.of_table(6)),
            beyond: Entry::default(),
        }
    }

    pub(super) fn get(&self, prefix: Prefix) -> Option<Entry> {
        match prefix {
            Prefix::V4(p) => self.v4.get(p),
            Prefix::V6(p) => self.v6.get(p),
        }
    }

    /// The entry of a prefix, and where it is.
    pub(super) fn get_mut(&mut self, prefix: Prefix) -> Option<(Place, &mut Entry)> {
        let place = match prefix {
            Prefix::V4(p) => Place(self.v4.find_next(p)?),
            Prefix::V6(p) => Place(self.v6.find_next(p)? | Place::V6),
        };
        self.at(place).map(|(_, entry)| (place, entry))
    }

    /// The same, made if need be.
    pub(super) fn entry(&mut self, prefix: Prefix) -> (Place, &mut Entry) {
        let Self { v4, v6, beyond } = self;
        let (place, entry) = match prefix {
            Prefix::V4(p) => match v4.place(p) {
                Some(at) => (Place(at), v4.at(at).map(|(_, entry)| entry)),
                None => (Place::BEYOND, None),
            },
            Prefix::V6(p) => match v6.place(p) {
                Some(at) => (Place(at | Place::V6), v6.at(at).map(|(_, entry)| entry)),
                None => (Place::BEYOND, None),
            },
        };
        (place, entry.unwrap_or(beyond))
    }

    /// The entry at a place, and its prefix.
    #[inline]
    pub(super) fn at(&mut self, place: Place) -> Option<(Prefix, &mut Entry)> {
        if place.0 & Place::V6 == 0 {
            let (prefix, entry) = self.v4.at(place.0)?;
            Some((Prefix::V4(prefix), entry))
        } else {
            let (prefix, entry) = self.v6.at(place.0 & !Place::V6)?;
            Some((Prefix::V6(prefix), entry))
        }
    }

    /// Forgets the entry if it says nothing.
    pub(super) fn tidy(&mut self, place: Place) {
        if place.0 & Place::V6 == 0 {
            self.v4.tidy(place.0);
        } else {
            self.v6.tidy(place.0 & !Place::V6);
        }
    }

    /// Gives memory back where most entries are gone: only while nobody keeps a place.
    pub(super) fn pack(&mut self) {
        self.v4.pack();
        self.v6.pack();
    }

    /// Visits every entry, and forgets those that say nothing afterwards.
    pub(super) fn sweep(&mut self, mut visit: impl FnMut(Place, Prefix, &mut Entry)) {
        self.v4
            .sweep(|at, prefix, entry| visit(Place(at), Prefix::V4(prefix), entry));
        self.v6
            .sweep(|at, prefix, entry| visit(Place(at | Place::V6), Prefix::V6(prefix), entry));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Prefix, Entry)> + '_ {
        let v4 = self
            .v4
            .iter()
            .map(|(prefix, entry)| (Prefix::V4(prefix), entry));
        let v6 = self
            .v6
            .iter()
            .map(|(prefix, entry)| (Prefix::V6(prefix), entry));
        v4.chain(v6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_takes_twelve_bytes() {
        assert!(size_of::<Entry>() <= 12);
    }

    #[test]
    fn entries_come_and_go_and_are_visited_in_the_order_in_which_they_came() {
        let prefix = |n: u32| Prefix::V4(Prefix4::new(n << 8, 24));
        let mut table = Table::new(Hashing::default());
        for n in [7, 3, 900, 5] {
            table.entry(prefix(n)).1.set(QUEUED);
        }
        let tidy = |table: &mut Table, n| {
            if let Some((place, _)) = table.get_mut(prefix(n)) {
                table.tidy(place);
            }
        };
        tidy(&mut table, 3);
        assert!(table.get(prefix(3)).is_some(), "it says something");
        let order: Vec<_> = table.iter().map(|(prefix, _)| prefix).collect();
        assert_eq!(order, [7, 3, 900, 5].map(prefix));
        table.sweep(|_, at, entry| {
            if at == prefix(3) || at == prefix(900) {
                entry.clear(QUEUED);
            }
        });
        assert_eq!(table.get(prefix(3)), None);
        assert_eq!(table.get_mut(prefix(900)), None);
        table.entry(prefix(4)).1.set(BUSY);
        table.entry(prefix(7)).1.clear(QUEUED);
        tidy(&mut table, 7);
        let mut left: Vec<_> = table.iter().map(|(prefix, _)| prefix).collect();
        left.sort_unstable();
        assert_eq!(left, [4, 5].map(prefix));
        for n in [4, 5] {
            *table.entry(prefix(n)).1 = Entry::EMPTY;
            tidy(&mut table, n);
        }
        assert_eq!(table.iter().count(), 0);
        assert_eq!(table.v4.slots.capacity(), 0, "nor memory");
    }

    #[test]
    fn a_table_from_which_most_is_gone_has_what_is_left_and_gives_the_slots_again() {
        let prefix = |n: u32| Prefix::V4(Prefix4::new(n << 8, 24));
        let mut table = Table::new(Hashing::default());
        for n in 0..4000 {
            let (_, entry) = table.entry(prefix(n));
            entry.set_want(Some(PathId(n)));
        }
        for n in (0..4000).filter(|n: &u32| !n.is_multiple_of(10)) {
            let (place, entry) = table.get_mut(prefix(n)).unwrap();
            entry.set_want(None);
            table.tidy(place);
        }
        let left: Vec<_> = table.iter().map(|(prefix, _)| prefix).collect();
        let expected: Vec<_> = (0..4000).step_by(10).map(prefix).collect();
        assert_eq!(left, expected);
        assert!(table.v4.index.len() < 2000, "{}", table.v4.index.len());
        // Some come back, forgotten or not, and new ones come.
        for n in (3000..5000).rev() {
            let (place, entry) = table.entry(prefix(n));
            entry.set_want(Some(PathId(n)));
            assert_eq!(table.at(place).map(|(prefix, _)| prefix), Some(prefix(n)));
        }
        let stays = |n: &u32| *n >= 3000 || n.is_multiple_of(10);
        for n in 0..6000 {
            let want = table.get(prefix(n)).and_then(Entry::want);
            let expected = (n < 5000 && stays(&n)).then_some(PathId(n));
            assert_eq!(want, expected, "{n}");
        }
        assert_eq!(table.iter().count(), 2300);
        assert!(table.v4.slots.len() <= 5000);
    }

    #[test]
    fn a_table_is_packed_where_most_is_gone_and_says_the_same() {
        let prefix = |n: u32| Prefix::V4(Prefix4::new(n << 8, 24));
        let mut table = Table::new(Hashing::default());
        for n in 0..4000 {
            table.entry(prefix(n)).1.set_want(Some(PathId(n)));
        }
        // The last ones stay, so that nothing can be cut, and too few go for the index to be made again.
        let stays = |n: u32| n >= 3990 || n.is_multiple_of(500);
        for n in (0..4000).filter(|n| !stays(*n)) {
            let (place, entry) = table.get_mut(prefix(n)).unwrap();
            entry.set_want(None);
            table.tidy(place);
        }
        assert_eq!(table.v4.slots.len(), 4000);
        table.pack();
        assert_eq!(table.v4.slots.capacity(), 18);
        assert!(table.v4.index.capacity() < 64);
        for n in 0..4000 {
            let want = table.get(prefix(n)).and_then(Entry::want);
            assert_eq!(want, stays(n).then_some(PathId(n)), "{n}");
        }
        let (place, _) = table.entry(prefix(7));
        assert_eq!(table.at(place).map(|(prefix, _)| prefix), Some(prefix(7)));
        table.pack();
        assert_eq!(table.iter().count(), 19, "few slots are left as they are");
    }
}
