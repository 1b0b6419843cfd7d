//! Ids that wait for something, first come first served, each once.
//!
//! What always holds: an id is given out once for each time that it was entered and not forgotten, and
//! the queue is at most twice as long as what waits in it, however much is entered and forgotten.

use std::collections::VecDeque;

/// Entries that nobody waits for are not worth a walk while they are so few.
const SLACK: usize = 1024;

/// The queue: places in order, and a bit for each id that waits. A place whose bit is unset counts for
/// nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct IdQueue {
    queue: VecDeque<u32>,
    bits: Vec<u64>,
    waiting: usize,
}

impl IdQueue {
    /// Enters `id`; whether it was not there.
    #[inline]
    pub(crate) fn insert(&mut self, id: u32) -> bool {
        let inserted = self.mark(id);
        if inserted {
            self.queue.push_back(id);
        }
        inserted
    }

    /// Enters `id` in front of all others; whether it was not there.
    pub(crate) fn insert_front(&mut self, id: u32) -> bool {
        let inserted = self.mark(id);
        if inserted {
            self.queue.push_front(id);
        }
        inserted
    }

    #[inline]
    pub(crate) fn contains(&self, id: u32) -> bool {
        self.bits
            .get(id as usize / 64)
            .is_some_and(|word| word & (1 << (id % 64)) != 0)
    }

    pub(crate) fn pop(&mut self) -> Option<u32> {
        loop {
            let id = self.queue.pop_front()?;
            let waits = self.unmark(id);
            // A burst's memory does not outlive it.
            if self.queue.is_empty() && self.queue.capacity() > 4096 {
                self.queue = VecDeque::default();
            }
            if waits {
                return Some(id);
            }
        }
    }

    /// Takes out `id`, if it is there. `front` is a number of places at the front that somebody counts by;
    /// it becomes what is left of them if places were given up.
    pub(crate) fn forget(&mut self, id: u32, front: &mut usize) {
        if self.unmark(id) && self.queue.len() > SLACK + 2 * self.waiting {
            self.tidy(front);
        }
    }

    /// Places in the queue, those that count for nothing among them.
    pub(crate) fn places(&self) -> usize {
        self.queue.len()
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// All that waits, by number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        let words = (0_u32..).zip(&self.bits);
        words.flat_map(|(at, &word)| {
            let rest = |word: &u64| Some(word & word.wrapping_sub(1)).filter(|&rest| rest != 0);
            let words = core::iter::successors(Some(word).filter(|&word| word != 0), rest);
            words.map(move |word| at * 64 + word.trailing_zeros())
        })
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.queue.capacity() * 4 + self.bits.capacity() * 8
    }

    /// Gives up the places that count for nothing. An id may have one of these in front of its own: it
    /// moves forward then.
    fn tidy(&mut self, front: &mut usize) {
        let mut queue = core::mem::take(&mut self.queue);
        let (mut at, mut left) = (0, 0);
        queue.retain(|&id| {
            let stays = self.unmark(id);
            left += usize::from(stays && at < *front);
            at += 1;
            stays
        });
        for &id in &queue {
            self.mark(id);
        }
        queue.shrink_to(2 * queue.len());
        self.queue = queue;
        *front = left;
    }

    #[inline]
    fn mark(&mut self, id: u32) -> bool {
        let number = id as usize / 64;
        if number >= self.bits.len() {
            self.bits.resize(number + 1, 0);
        }
        let Some(word) = self.bits.get_mut(number) else {
            return false;
        };
        let bit = 1 << (id % 64);
        let new = *word & bit == 0;
        *word |= bit;
        self.waiting += usize::from(new);
        new
    }

    #[inline]
    fn unmark(&mut self, id: u32) -> bool {
        let Some(word) = self.bits.get_mut(id as usize / 64) else {
            return false;
        };
        let bit = 1 << (id % 64);
        let was = *word & bit != 0;
        *word &= !bit;
        self.waiting -= usize::from(was);
        was
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drained(mut queue: IdQueue) -> Vec<u32> {
        core::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn each_waits_once_and_what_is_forgotten_does_not_come() {
        let mut queue = IdQueue::default();
        for id in [5, 70, 5, 1, 200] {
            queue.insert(id);
        }
        queue.forget(70, &mut 0);
        queue.forget(71, &mut 0);
        queue.insert_front(9);
        assert_eq!(queue.iter().collect::<Vec<_>>(), [1, 5, 9, 200]);
        assert!(!queue.insert(9) && queue.insert(70), "forgotten and new");
        assert_eq!(drained(queue), [9, 5, 70, 1, 200], "in its old place");
    }

    #[test]
    fn what_comes_and_is_forgotten_for_ever_takes_no_room() {
        let mut queue = IdQueue::default();
        let mut front = 0;
        for id in 0..100 {
            queue.insert(id);
        }
        front += queue.places();
        for _ in 0..100 {
            for id in 50..1_050 {
                queue.insert(id);
                queue.forget(id, &mut front);
            }
        }
        assert!(queue.places() <= SLACK + 2 * 50 + 1, "{}", queue.places());
        assert!(front <= 100);
        assert_eq!(drained(queue), (0..50).collect::<Vec<_>>());
    }
}
