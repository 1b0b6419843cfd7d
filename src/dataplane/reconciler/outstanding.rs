//! Operations that the kernel has not answered, in the order in which they were made.
//!
//! It does not know what they are. What always holds: ids are given once, and an id is answered once.

use std::collections::VecDeque;

use super::super::input::OpId;

/// What is outstanding. The kernel answers nearly in order, so it is a queue with holes.
#[derive(Debug)]
pub(super) struct Outstanding<T> {
    /// The id of the first place.
    first: u64,
    places: VecDeque<Option<T>>,
    count: usize,
}

impl<T> Default for Outstanding<T> {
    fn default() -> Self {
        Self {
            first: 0,
            places: VecDeque::new(),
            count: 0,
        }
    }
}

impl<T> Outstanding<T> {
    /// Enters one under an id of its own.
    pub(super) fn add(&mut self, one: T) -> OpId {
        let id = OpId(self.first + self.places.len() as u64);
        self.places.push_back(Some(one));
        self.count += 1;
        id
    }

    pub(super) fn get(&self, id: OpId) -> Option<&T> {
        self.places.get(self.place(id)?)?.as_ref()
    }

    /// Takes one out; `None` if it is not there, or no longer.
    pub(super) fn remove(&mut self, id: OpId) -> Option<T> {
        let place = self.place(id)?;
        let one = self.places.get_mut(place)?.take()?;
        self.count -= 1;
        while let Some(None) = self.places.front() {
            self.places.pop_front();
            self.first += 1;
        }
        Some(one)
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.places.iter().flatten()
    }

    fn place(&self, id: OpId) -> Option<usize> {
        usize::try_from(id.0.checked_sub(self.first)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_answered_once_in_whatever_order() {
        let mut all = Outstanding::default();
        let ids: Vec<OpId> = (0..5).map(|n| all.add(n)).collect();
        assert_eq!(all.remove(ids[1]), Some(1));
        assert_eq!(all.remove(ids[1]), None);
        assert_eq!(all.get(ids[0]), Some(&0));
        assert_eq!(all.remove(ids[0]), Some(0));
        assert_eq!(all.places.len(), 3, "no holes in front");
        assert_eq!(all.values().copied().collect::<Vec<_>>(), [2, 3, 4]);
        assert_eq!((all.len(), all.is_empty()), (3, false));
        assert_eq!(all.remove(OpId(99)), None);
        for id in &ids[2..] {
            assert!(all.remove(*id).is_some());
        }
        assert!(all.is_empty());
        assert_eq!(all.add(9), OpId(5), "ids are not given again");
    }
}
