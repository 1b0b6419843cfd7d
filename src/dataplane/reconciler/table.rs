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

/// The entries of both families.
#[derive(Debug, Default)]
pub(super) struct Table {
    v4: Entries<Prefix4>,
    v6: Entries<Prefix6>,
}

/// Those of one. Hashing is seeded with a constant: runs repeat themselves.
#[derive(Debug)]
struct Entries<P> {
    table: HashTable<(P, Entry)>,
    hasher: FixedState,
}

impl<P> Default for Entries<P> {
    fn default() -> Self {
        Self {
            table: HashTable::new(),
            hasher: FixedState::default(),
        }
    }
}

impl<P: Neighbourly> Entries<P> {
    fn get(&self, prefix: P) -> Option<Entry> {
        let hash = prefix.neighbourly_hash(&self.hasher);
        let found = self.table.find(hash, |(key, _)| *key == prefix);
        found.map(|(_, entry)| *entry)
    }

    fn get_mut(&mut self, prefix: P) -> Option<&mut Entry> {
        let hash = prefix.neighbourly_hash(&self.hasher);
        let found = self.table.find_mut(hash, |(key, _)| *key == prefix);
        found.map(|(_, entry)| entry)
    }

    fn entry(&mut self, prefix: P) -> &mut Entry {
        let Self { table, hasher } = self;
        let hash = prefix.neighbourly_hash(hasher);
        let rehash = |(key, _): &(P, Entry)| key.neighbourly_hash(hasher);
        let found = table.entry(hash, |(key, _)| *key == prefix, rehash);
        &mut found.or_insert((prefix, Entry::EMPTY)).into_mut().1
    }

    /// Forgets the entry if it says nothing.
    fn tidy(&mut self, prefix: P) {
        let hash = prefix.neighbourly_hash(&self.hasher);
        let idle = |(key, entry): &(P, Entry)| *key == prefix && entry.is_idle();
        if let Ok(found) = self.table.find_entry(hash, idle) {
            found.remove();
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
        match prefix {
            Prefix::V4(p) => self.v4.entry(p),
            Prefix::V6(p) => self.v6.entry(p),
        }
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
        self.v4.table.retain(|(prefix, entry)| {
            visit(Prefix::V4(*prefix), entry);
            !entry.is_idle()
        });
        self.v6.table.retain(|(prefix, entry)| {
            visit(Prefix::V6(*prefix), entry);
            !entry.is_idle()
        });
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Prefix, Entry)> + '_ {
        let v4 = self.v4.table.iter();
        let v4 = v4.map(|(prefix, entry)| (Prefix::V4(*prefix), *entry));
        let v6 = self.v6.table.iter();
        let v6 = v6.map(|(prefix, entry)| (Prefix::V6(*prefix), *entry));
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
