//! One small entry a prefix: what is wanted and what the kernel has, both by number.

use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashTable};

use super::super::route::Shape;
use crate::net::{Neighbourly, Prefix, Prefix4, Prefix6};
use std::sync::Arc;

/// Names a set of next hops (or a blackhole) that prefixes are wanted with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathId(pub(in crate::dataplane) u32);

/// Names a shape in [`Shapes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ShapeId(u32);

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
pub(super) struct Flag(u8);

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

/// Nothing is in the slot.
const FREE: Flag = Flag(128);
/// This process has wanted a route there: it needs no confirmation any more.
pub(super) const CONFIRMED: Flag = Flag(64);

/// What there is to know about a prefix. 9 bytes, 12 with padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    want: u32,
    pub(super) seen: Seen,
    flags: u8,
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

/// The entries of both families.
#[derive(Debug, Default)]
pub(super) struct Table {
    v4: Entries<Prefix4>,
    v6: Entries<Prefix6>,
    /// Stands in where there are more entries than numbers, which no memory holds.
    beyond: Entry,
}

/// Those of one, in the order in which they came: what is wanted, written and answered in one order is
/// then read in that order, too. The index holds numbers only. Hashing is seeded with a constant: runs
/// repeat themselves.
#[derive(Debug)]
struct Entries<P> {
    index: HashTable<u32>,
    slots: Vec<(P, Entry)>,
    /// Slots that nothing is in.
    free: Vec<u32>,
    hasher: FixedState,
}

impl<P> Default for Entries<P> {
    fn default() -> Self {
        Self {
            index: HashTable::new(),
            slots: Vec::new(),
            free: Vec::new(),
            hasher: FixedState::default(),
        }
    }
}

impl<P: Neighbourly> Entries<P> {
    #[inline]
    fn find(&self, prefix: P) -> Option<usize> {
        let slots = &self.slots;
        let is = |&at: &u32| {
            slots
                .get(at as usize)
                .is_some_and(|(key, _)| *key == prefix)
        };
        let hash = prefix.neighbourly_hash(&self.hasher);
        self.index.find(hash, is).map(|&at| at as usize)
    }

    fn get(&self, prefix: P) -> Option<Entry> {
        let at = self.find(prefix)?;
        self.slots.get(at).map(|(_, entry)| *entry)
    }

    fn get_mut(&mut self, prefix: P) -> Option<&mut Entry> {
        let at = self.find(prefix)?;
        self.slots.get_mut(at).map(|(_, entry)| entry)
    }

    /// The entry, made if need be, unless there are four thousand million of them.
    fn entry(&mut self, prefix: P) -> Option<&mut Entry> {
        let at = match self.find(prefix) {
            Some(at) => at,
            None => self.add(prefix)?,
        };
        self.slots.get_mut(at).map(|(_, entry)| entry)
    }

    fn add(&mut self, prefix: P) -> Option<usize> {
        let slot = (prefix, Entry::EMPTY);
        let at = match self.free.pop() {
            Some(at) => {
                *self.slots.get_mut(at as usize)? = slot;
                at
            }
            None => {
                let at = u32::try_from(self.slots.len()).ok()?;
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
        Some(at as usize)
    }

    /// Forgets the entry if it says nothing.
    fn tidy(&mut self, prefix: P) {
        let Self {
            index,
            slots,
            free,
            hasher,
        } = self;
        let idle = |&at: &u32| {
            let slot = slots.get(at as usize);
            slot.is_some_and(|(key, entry)| *key == prefix && entry.is_idle())
        };
        if let Ok(found) = index.find_entry(prefix.neighbourly_hash(hasher), idle) {
            let (at, _) = found.remove();
            if let Some((_, entry)) = slots.get_mut(at as usize) {
                entry.set(FREE);
            }
            free.push(at);
        }
        if index.is_empty() {
            // A table's memory does not outlive it.
            *self = Self::default();
        }
    }

    /// Those that are there, in order.
    fn iter(&self) -> impl Iterator<Item = (P, Entry)> + '_ {
        let used = |(_, entry): &&(P, Entry)| !entry.is(FREE);
        self.slots.iter().filter(used).copied()
    }

    fn sweep(&mut self, mut visit: impl FnMut(P, &mut Entry)) {
        let mut idle = Vec::new();
        for (prefix, entry) in &mut self.slots {
            if entry.is(FREE) {
                continue;
            }
            visit(*prefix, entry);
            if entry.is_idle() {
                idle.push(*prefix);
            }
        }
        for prefix in idle {
            self.tidy(prefix);
        }
    }
}

impl Table {
    pub(super) fn get(&self, prefix: Prefix) -> Option<Entry> {
        match prefix {
            Prefix::V4(p) => self.v4.get(p),
            Prefix::V6(p) => self.v6.get(p),
        }
    }

    pub(super) fn get_mut(&mut self, prefix: Prefix) -> Option<&mut Entry> {
        match prefix {
            Prefix::V4(p) => self.v4.get_mut(p),
            Prefix::V6(p) => self.v6.get_mut(p),
        }
    }

    pub(super) fn entry(&mut self, prefix: Prefix) -> &mut Entry {
        let entry = match prefix {
            Prefix::V4(p) => self.v4.entry(p),
            Prefix::V6(p) => self.v6.entry(p),
        };
        entry.unwrap_or(&mut self.beyond)
    }

    /// Forgets the entry if it says nothing.
    pub(super) fn tidy(&mut self, prefix: Prefix) {
        match prefix {
            Prefix::V4(p) => self.v4.tidy(p),
            Prefix::V6(p) => self.v6.tidy(p),
        }
    }

    /// Visits every entry, and forgets those that say nothing afterwards.
    pub(super) fn sweep(&mut self, mut visit: impl FnMut(Prefix, &mut Entry)) {
        self.v4
            .sweep(|prefix, entry| visit(Prefix::V4(prefix), entry));
        self.v6
            .sweep(|prefix, entry| visit(Prefix::V6(prefix), entry));
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

/// Shapes by number: equal shapes have one number. Freed by [`Shapes::keep`], not by counting.
#[derive(Debug, Default)]
pub(super) struct Shapes {
    slots: Vec<Option<Arc<Shape>>>,
    free: Vec<u32>,
    numbers: HashMap<Arc<Shape>, u32, FixedState>,
    collect_at: usize,
}

impl Shapes {
    /// Below this many shapes collecting is not worth a pass over the table.
    const FEW: usize = 1024;

    pub(super) fn intern(&mut self, shape: &Arc<Shape>) -> ShapeId {
        if let Some(number) = self.numbers.get(shape) {
            return ShapeId(*number);
        }
        let number = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX - 2)
        });
        if let Some(slot) = self.slots.get_mut(number as usize) {
            *slot = Some(Arc::clone(shape));
        }
        self.numbers.insert(Arc::clone(shape), number);
        ShapeId(number)
    }

    pub(super) fn get(&self, id: ShapeId) -> Option<&Arc<Shape>> {
        self.slots.get(id.0 as usize)?.as_ref()
    }

    pub(super) fn uses(&self, id: ShapeId, interface: u32) -> bool {
        self.get(id).is_some_and(|shape| shape.uses(interface))
    }

    pub(super) fn any_uses(&self, interface: u32) -> bool {
        self.numbers.keys().any(|shape| shape.uses(interface))
    }

    pub(super) fn want_collection(&self) -> bool {
        self.numbers.len() > self.collect_at.max(Self::FEW)
    }

    /// Frees every shape that is not in `live`.
    pub(super) fn keep(&mut self, live: impl Iterator<Item = ShapeId>) {
        let mut marked = vec![false; self.slots.len()];
        for id in live {
            if let Some(mark) = marked.get_mut(id.0 as usize) {
                *mark = true;
            }
        }
        for (number, (slot, mark)) in (0_u32..).zip(self.slots.iter_mut().zip(marked)) {
            if let (false, Some(shape)) = (mark, slot.take_if(|_| !mark)) {
                self.numbers.remove(&shape);
                self.free.push(number);
            }
        }
        self.collect_at = 2 * self.numbers.len();
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
        let mut table = Table::default();
        for n in [7, 3, 900, 5] {
            table.entry(prefix(n)).set(QUEUED);
        }
        table.tidy(prefix(3));
        assert!(table.get(prefix(3)).is_some(), "it says something");
        let order: Vec<_> = table.iter().map(|(prefix, _)| prefix).collect();
        assert_eq!(order, [7, 3, 900, 5].map(prefix));
        table.sweep(|at, entry| {
            if at == prefix(3) || at == prefix(900) {
                entry.clear(QUEUED);
            }
        });
        assert_eq!(table.get(prefix(3)), None);
        assert_eq!(table.get_mut(prefix(900)), None);
        table.entry(prefix(4)).set(BUSY);
        table.entry(prefix(7)).clear(QUEUED);
        table.tidy(prefix(7));
        let mut left: Vec<_> = table.iter().map(|(prefix, _)| prefix).collect();
        left.sort_unstable();
        assert_eq!(left, [4, 5].map(prefix));
        for n in [4, 5] {
            *table.entry(prefix(n)) = Entry::EMPTY;
            table.tidy(prefix(n));
        }
        assert_eq!(table.iter().count(), 0);
        assert_eq!(table.v4.slots.capacity(), 0, "nor memory");
    }

    #[test]
    fn unused_shapes_are_freed_and_their_numbers_used_again() {
        let mut shapes = Shapes::default();
        let black = shapes.intern(&Arc::new(Shape::blackhole()));
        let empty = shapes.intern(&Arc::new(Shape::unicast([])));
        assert_eq!(shapes.intern(&Arc::new(Shape::blackhole())), black);
        shapes.keep([black].into_iter());
        assert!(shapes.get(empty).is_none());
        assert_eq!(shapes.intern(&Arc::new(Shape::unicast([]))), empty);
    }
}
