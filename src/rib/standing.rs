//! What of a peer's paths holds: what it says now, what it said before and has not confirmed, and what is to go.
//!
//! A session that ends, a peer that begins to say all again, an End-of-RIB: each is about all paths of a peer, and
//! costs a number here. Each path has the number of its time, and a walk (`walk`) takes away by and by what is to
//! go. What always holds: counts are exact at once, whatever is still in the table.

use super::path::Path;
use super::peer::PeerCounts;

/// How a path of a peer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The peer says so.
    Fresh,
    /// It is kept over a restart of its peer (RFC 4724), or while the peer says all again (RFC 7313), and was not
    /// confirmed since.
    Stale,
    /// It counts for nothing any more, and the next walk takes it out.
    Gone,
}

/// The last number that a path can have.
const LAST: u8 = u8::MAX;
/// The first that is given.
const FIRST: u8 = 1;

/// What is counted of a peer in one family, and how far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Count {
    /// Of what is not gone.
    pub(crate) counts: PeerCounts,
    /// Those of the stale ones that import policy accepted.
    stale_accepted: u32,
    /// Paths in the table, those that are gone included.
    held: u32,
    /// No more paths than these are taken.
    pub(crate) most: u32,
    /// Something has gone that stood in the way of a path beyond.
    pub(crate) room: bool,
    /// The number of what is said now.
    epoch: u8,
    /// What has a lower number is gone.
    gone_below: u8,
    /// What has a lower number is to be long-lived stale.
    long_lived_below: u8,
}

impl Default for Count {
    fn default() -> Self {
        Self {
            counts: PeerCounts::default(),
            stale_accepted: 0,
            held: 0,
            most: u32::MAX,
            room: false,
            epoch: FIRST,
            gone_below: FIRST,
            long_lived_below: 0,
        }
    }
}

impl Count {
    /// Whether one more path would be too many.
    pub(crate) const fn is_full(&self) -> bool {
        self.counts.received >= self.most
    }

    /// The number of a path that comes now.
    pub(crate) const fn epoch(&self) -> u8 {
        self.epoch
    }

    /// How a path stands.
    pub(crate) const fn standing(&self, path: &Path) -> Standing {
        if path.epoch < self.gone_below {
            Standing::Gone
        } else if path.epoch < self.epoch {
            Standing::Stale
        } else {
            Standing::Fresh
        }
    }

    /// Whether a path is to be long-lived stale.
    pub(crate) const fn is_long_lived(&self, path: &Path) -> bool {
        path.epoch < self.long_lived_below
    }

    /// Counts a path that has come.
    #[inline]
    pub(crate) const fn count_up(&mut self, path: &Path) {
        self.held += 1;
        let accepted = path.accepted as u32;
        match self.standing(path) {
            Standing::Gone => return,
            Standing::Stale => {
                self.counts.stale += 1;
                self.stale_accepted += accepted;
            }
            Standing::Fresh => {}
        }
        self.counts.received += 1;
        self.counts.accepted += accepted;
    }

    /// Counts a path that has gone.
    #[inline]
    pub(crate) const fn count_down(&mut self, path: &Path) {
        self.held = self.held.saturating_sub(1);
        let accepted = path.accepted as u32;
        match self.standing(path) {
            Standing::Gone => return,
            Standing::Stale => {
                self.counts.stale = self.counts.stale.saturating_sub(1);
                self.stale_accepted = self.stale_accepted.saturating_sub(accepted);
            }
            Standing::Fresh => {}
        }
        self.counts.received = self.counts.received.saturating_sub(1);
        self.counts.accepted = self.counts.accepted.saturating_sub(accepted);
    }

    /// The peer withdrew what is not here: one path beyond fewer. The count is no more than a guess, so
    /// what it says of the last one is not believed.
    pub(crate) const fn withdrawn_beyond(&mut self) {
        if self.counts.beyond > 0 {
            self.counts.beyond -= 1;
            self.room |= self.counts.beyond == 0;
        }
    }

    /// All that is there is stale from here on. Whether that takes [`renumber`](Self::renumber) first.
    pub(crate) const fn must_renumber(&self) -> bool {
        self.epoch == LAST && self.counts.stale < self.counts.received
    }

    /// All that is there is stale from here on.
    pub(crate) const fn mark_stale(&mut self) {
        // Whoever says so again and again, and nothing else, needs no other number.
        if self.counts.stale < self.counts.received && self.epoch < LAST {
            self.epoch += 1;
            self.counts.stale = self.counts.received;
            self.stale_accepted = self.counts.accepted;
        }
    }

    /// All that is stale is gone. Whether there is anything to take out.
    pub(crate) fn drop_stale(&mut self) -> bool {
        let full = self.is_full();
        self.gone_below = self.epoch;
        self.counts.received = self.counts.received.saturating_sub(self.counts.stale);
        self.counts.accepted = self.counts.accepted.saturating_sub(self.stale_accepted);
        // One of too many goes with them.
        self.room |= full && self.counts.stale > 0 && self.counts.beyond > 0;
        (self.counts.stale, self.stale_accepted) = (0, 0);
        self.gone() > 0
    }

    /// All that is stale is to be long-lived stale.
    pub(crate) const fn keep_long(&mut self) {
        self.long_lived_below = self.epoch;
    }

    /// A walk has been everywhere.
    pub(crate) const fn walked(&mut self) {
        self.long_lived_below = 0;
    }

    /// Paths that have yet to be taken out.
    pub(crate) const fn gone(&self) -> u32 {
        self.held.saturating_sub(self.counts.received)
    }

    /// Whether no path is in the table.
    pub(crate) const fn is_clear(&self) -> bool {
        self.held == 0
    }

    /// The number of a path after [`renumber`](Self::renumber).
    pub(crate) const fn renumbered(&self, path: &Path) -> u8 {
        match self.standing(path) {
            Standing::Gone => 0,
            Standing::Stale => FIRST,
            Standing::Fresh => FIRST + 1,
        }
    }

    /// Begins to count anew; every path of the peer is given its number of before.
    pub(crate) const fn renumber(&mut self) {
        self.epoch = FIRST + 1;
        self.gone_below = FIRST;
        self.long_lived_below = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rib::{AttributesId, PeerIndex};

    fn path(epoch: u8) -> Path {
        Path {
            epoch,
            ..Path::received(PeerIndex(1), AttributesId(0), 0, true)
        }
    }

    #[test]
    fn what_is_said_of_all_paths_costs_a_number() {
        let mut count = Count::default();
        let first = path(count.epoch());
        (0..3).for_each(|_| count.count_up(&first));
        count.mark_stale();
        assert_eq!((count.counts.received, count.counts.stale), (3, 3));
        let second = path(count.epoch());
        count.count_up(&second);
        count.count_down(&first);
        assert_eq!((count.counts.received, count.counts.stale), (3, 2));
        assert!(count.drop_stale());
        assert_eq!((count.counts.received, count.counts.accepted), (1, 1));
        assert_eq!(count.standing(&first), Standing::Gone);
        assert_eq!(count.standing(&second), Standing::Fresh);
        count.mark_stale();
        assert_eq!(count.standing(&first), Standing::Gone, "for good");
        assert_eq!(count.gone(), 2);
        (0..2).for_each(|_| count.count_down(&first));
        assert_eq!((count.gone(), count.counts.stale), (0, 1));
    }

    #[test]
    fn who_says_all_again_and_again_and_nothing_between_uses_up_no_numbers() {
        let mut count = Count::default();
        count.count_up(&path(count.epoch()));
        for _ in 0..1_000 {
            assert!(!count.must_renumber());
            count.mark_stale();
        }
        assert_eq!(count.epoch(), FIRST + 1);
        for _ in 0..1_000 {
            count.drop_stale();
            count.mark_stale();
        }
        assert_eq!(count.epoch(), FIRST + 1);
    }
}
