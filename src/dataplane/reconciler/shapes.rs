//! Shapes of routes by number, so that an entry of the table says in four octets what the kernel has.
//!
//! Nothing counts who uses a number: what nobody names any more is freed when there are many
//! ([`Shapes::want_collection`]). What always holds: equal shapes have one number.

use std::sync::Arc;

use hashbrown::HashMap;

use super::super::route::Shape;
use crate::net::Hashing;

/// Names a shape in [`Shapes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ShapeId(pub(super) u32);

/// Shapes by number: equal shapes have one number. Freed by [`Shapes::keep`], not by counting.
#[derive(Debug)]
pub(super) struct Shapes {
    slots: Vec<Option<Arc<Shape>>>,
    free: Vec<u32>,
    numbers: HashMap<Arc<Shape>, u32, Hashing>,
    collect_at: usize,
}

impl Shapes {
    /// Below this many shapes collecting is not worth a pass over the table.
    const FEW: usize = 1024;

    pub(super) fn new(hashing: Hashing) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            numbers: HashMap::with_hasher(hashing),
            collect_at: 0,
        }
    }

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
    fn unused_shapes_are_freed_and_their_numbers_used_again() {
        let mut shapes = Shapes::new(Hashing::default());
        let black = shapes.intern(&Arc::new(Shape::blackhole()));
        let empty = shapes.intern(&Arc::new(Shape::unicast([])));
        assert_eq!(shapes.intern(&Arc::new(Shape::blackhole())), black);
        shapes.keep([black].into_iter());
        assert!(shapes.get(empty).is_none());
        assert_eq!(shapes.intern(&Arc::new(Shape::unicast([]))), empty);
    }
}
