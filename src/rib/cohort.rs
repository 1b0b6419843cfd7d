//! Members of an export group that have been sent the same: what that was, and what is to come.
//!
//! This is the Adj-RIB-Out: not a copy of routes but, for each destination, whose route was sent
//! last; with Add-Path (RFC 7911) that for each path identifier. The invariant that everything stands
//! on: a member has what the record says, except that the record's own source never got it (split
//! horizon), nor the member that the route leads to. A destination whose route changed is pending
//! once, however often it changes before somebody can take it; nothing is kept of what is superseded.

use std::sync::Arc;

use super::export::GroupKey;
use super::id_queue::IdQueue;
use super::peer::PeerIndex;
use super::prefix_map::DestinationId;
use super::sent::Sent;

/// Destinations looked at for one batch: enough for prefixes of equal attributes to meet, few
/// enough that their table entries stay in the cache between the passes over them.
pub(crate) const BATCH: usize = 4096;

/// How many members of a cohort a route may be kept from: its source (split horizon), and the one whose
/// address is its next hop (RFC 4271 §5.1.3).
const BARRED: usize = 2;

/// Why a cohort walks the whole table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The initial table: it ends with End-of-RIB (RFC 4724 §2).
    Initial,
    /// An answer to ROUTE-REFRESH (RFC 2918), perhaps with its begin and end marked (RFC 7313).
    Refresh { framed: bool },
}

/// How far the walk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Walk {
    /// Destinations from here on are still to be looked at.
    Active {
        cursor: DestinationId,
        purpose: Purpose,
    },
    /// All were looked at; so many at the front of the queue are left over from it.
    Tail { left: usize, purpose: Purpose },
    /// None, or all of it was sent.
    Done,
}

/// What a change means to a cohort.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Marked {
    /// There is something to do now that was not before.
    pub(crate) news: bool,
    /// The destination is in the queue.
    pub(crate) waits: bool,
}

/// A set of members with one record of what they were sent.
#[derive(Debug)]
pub(crate) struct Cohort {
    pub(crate) group: usize,
    /// The group's: members are sent several paths of a destination.
    pub(crate) add_path: bool,
    /// How many paths of a prefix they are sent, however unequal; 0 is only those that share the traffic.
    pub(crate) unequal: u8,
    pub(crate) members: Vec<PeerIndex>,
    /// What was sent.
    pub(crate) sent: Sent,
    pub(crate) pending: IdQueue,
    pub(crate) walk: Walk,
    /// The walk is for what differs from this key, under which the members were told what is ahead of
    /// the cursor.
    pub(crate) former: Option<Arc<GroupKey>>,
    /// Nothing was built yet: whoever joins now misses nothing.
    pub(crate) fresh: bool,
    /// It waits its turn in the queue of cohorts.
    pub(crate) ready: bool,
    /// The begin of a framed refresh is still to be sent.
    pub(crate) begin_due: bool,
    /// The initial table is sent, and its End-of-RIB is held back.
    pub(crate) end_due: bool,
    /// Changes and walk take turns, so that neither starves.
    turn: bool,
}

impl Cohort {
    /// A cohort of one member that was sent nothing.
    pub(crate) fn new(group: usize, member: PeerIndex, (add_path, unequal): (bool, u8)) -> Self {
        Self {
            group,
            add_path,
            unequal,
            members: vec![member],
            sent: Sent::default(),
            pending: IdQueue::default(),
            walk: Walk::Active {
                cursor: 0,
                purpose: Purpose::Initial,
            },
            former: None,
            fresh: true,
            ready: false,
            begin_due: false,
            end_due: false,
            turn: false,
        }
    }

    /// Moves members out into a cohort of their own, with the same record and the same to come.
    pub(crate) fn split(&mut self, leave: impl Fn(PeerIndex) -> bool) -> Self {
        let leaving = self.members.iter().copied().filter(|&m| leave(m)).collect();
        self.members.retain(|&m| !leave(m));
        Self {
            group: self.group,
            add_path: self.add_path,
            unequal: self.unequal,
            members: leaving,
            sent: self.sent.clone(),
            pending: self.pending.clone(),
            walk: self.walk,
            former: self.former.clone(),
            fresh: self.fresh,
            ready: false,
            begin_due: self.begin_due,
            end_due: self.end_due,
            turn: self.turn,
        }
    }

    /// Takes in the members of another idle cohort of the group.
    ///
    /// Both records are what policy says of the same table, so they are equal, but for what no member of
    /// a cohort could be sent: of a route its source and the member that it leads to. That may be all
    /// members of a cohort of one, and of two that were one each; never of three.
    pub(crate) fn absorb(&mut self, mut other: Self) {
        if self.members.len() <= BARRED && other.members.len() <= BARRED {
            self.sent.fill_from(&other.sent);
        } else if self.members.len() <= BARRED {
            core::mem::swap(&mut self.sent, &mut other.sent);
        }
        // Held back from one means held back from all.
        self.end_due |= other.end_due;
        self.members.append(&mut other.members);
        self.members.sort_unstable();
    }

    /// Walks the whole table again.
    pub(crate) fn restart(&mut self, framed: bool) {
        let running = match self.walk {
            Walk::Active { purpose, .. } | Walk::Tail { purpose, .. } => Some(purpose),
            Walk::Done => None,
        };
        let purpose = match running {
            // The initial table is still on its way, and its End-of-RIB is still owed.
            Some(Purpose::Initial) => Purpose::Initial,
            // An end is owed for the begin that may have been sent; a second begin is legal (RFC 7313).
            Some(Purpose::Refresh { framed: true }) => Purpose::Refresh { framed: true },
            Some(Purpose::Refresh { framed: false }) | None => Purpose::Refresh { framed },
        };
        self.begin_due = purpose == (Purpose::Refresh { framed: true });
        self.walk = Walk::Active { cursor: 0, purpose };
        self.former = None;
    }

    /// Walks the table for what differs between a key that the members had and the one that they have
    /// now.
    pub(crate) fn compare(&mut self, former: Arc<GroupKey>) {
        let purpose = match self.walk {
            // Of what is ahead nothing was sent, or all by one and the same key.
            Walk::Active {
                purpose: Purpose::Initial,
                ..
            } if self.former.is_none() => Purpose::Initial,
            // Some were told by one key and some by another, or all are owed anyway.
            Walk::Active { .. } => return self.restart(false),
            Walk::Tail { purpose, .. } => purpose,
            Walk::Done => Purpose::Refresh { framed: false },
        };
        self.walk = Walk::Active { cursor: 0, purpose };
        self.former = Some(former);
    }

    /// Nothing is left of a destination. Whoever was sent nothing of it need not hear of that, so that what
    /// comes and goes while a member takes nothing is not kept for it.
    #[inline]
    pub(crate) fn mark_gone(&mut self, id: DestinationId) -> Marked {
        if self.sent.any(id) {
            return self.mark(id);
        }
        let mut none = 0;
        let front = match &mut self.walk {
            Walk::Tail { left, .. } => left,
            Walk::Active { .. } | Walk::Done => &mut none,
        };
        self.pending.forget(id, front);
        Marked {
            news: false,
            waits: false,
        }
    }

    /// End-of-RIB may go out: after the walk that is under way, or else after what is pending now.
    pub(crate) fn release_end(&mut self) {
        if self.walk == Walk::Done {
            self.walk = Walk::Tail {
                left: self.pending.places(),
                purpose: Purpose::Initial,
            };
        }
    }

    /// A destination's best path changed.
    #[inline]
    pub(crate) fn mark(&mut self, id: DestinationId) -> Marked {
        match self.walk {
            // The walk will come by; but what was sent and is gone by then has no entry to find.
            Walk::Active { cursor, .. } if id >= cursor && !self.sent.any(id) => Marked {
                news: false,
                waits: self.pending.contains(id),
            },
            Walk::Active { .. } | Walk::Tail { .. } | Walk::Done => Marked {
                news: self.pending.insert(id),
                waits: true,
            },
        }
    }

    /// Whether there is nothing to send.
    pub(crate) fn is_idle(&self) -> bool {
        self.walk == Walk::Done && self.pending.is_empty()
    }

    /// Takes the next destinations to look at, from the queue or from the walk over a table of `end`
    /// entries; those of the walk may be empty ones. Gives whether they came from the queue.
    pub(crate) fn take(&mut self, end: DestinationId, batch: &mut Vec<DestinationId>) -> bool {
        self.fresh = false;
        self.turn = !self.turn;
        match &mut self.walk {
            Walk::Active { cursor, purpose } if self.turn || self.pending.is_empty() => {
                let stop = end.min(cursor.saturating_add(BATCH as u32));
                batch.extend((*cursor..stop).filter(|&id| !self.pending.contains(id)));
                *cursor = stop;
                if stop == end {
                    let purpose = *purpose;
                    self.walk = Walk::Tail {
                        left: self.pending.places(),
                        purpose,
                    };
                }
                false
            }
            Walk::Active { .. } | Walk::Tail { .. } | Walk::Done => {
                let before = self.pending.places();
                batch.extend(core::iter::from_fn(|| self.pending.pop()).take(BATCH));
                if let Walk::Tail { left, .. } = &mut self.walk {
                    *left = left.saturating_sub(before - self.pending.places());
                }
                true
            }
        }
    }

    /// Puts back what did not fit into the batch, in front, in order.
    pub(crate) fn put_back(&mut self, ids: impl DoubleEndedIterator<Item = DestinationId>) {
        for id in ids.rev() {
            if self.pending.insert_front(id)
                && let Walk::Tail { left, .. } = &mut self.walk
            {
                *left += 1;
            }
        }
    }

    /// The purpose of a walk that has just been sent in full; only once.
    pub(crate) fn finish_walk(&mut self) -> Option<Purpose> {
        match self.walk {
            Walk::Tail { left: 0, purpose } => {
                self.walk = Walk::Done;
                self.former = None;
                Some(purpose)
            }
            Walk::Tail { .. } | Walk::Active { .. } | Walk::Done => None,
        }
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.sent.heap_bytes() + self.pending.heap_bytes() + self.members.capacity() * 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_walk_covers_what_is_ahead_of_it_and_the_queue_what_is_behind() {
        let mut cohort = Cohort::new(0, PeerIndex(1), (false, 0));
        assert!(!cohort.mark(5).news, "the walk will come by");
        let mut batch = Vec::new();
        cohort.take(10, &mut batch);
        assert_eq!(batch, (0..10).collect::<Vec<_>>());
        let (news, waits) = (true, true);
        assert_eq!(cohort.mark(5), Marked { news, waits });
        let news = false;
        assert_eq!(cohort.mark(5), Marked { news, waits }, "once is enough");
        assert_eq!(cohort.finish_walk(), Some(Purpose::Initial));
        assert_eq!(cohort.finish_walk(), None);
        assert!(!cohort.is_idle());
    }

    #[test]
    fn a_refresh_during_the_initial_table_still_owes_one_end_of_rib() {
        let mut cohort = Cohort::new(0, PeerIndex(1), (false, 0));
        cohort.restart(true);
        assert!(!cohort.begin_due);
        cohort.take(0, &mut Vec::new());
        assert_eq!(cohort.finish_walk(), Some(Purpose::Initial));
        cohort.restart(true);
        assert!(cohort.begin_due);
    }

    #[test]
    fn what_a_walk_left_over_is_sent_before_its_end() {
        let mut cohort = Cohort::new(0, PeerIndex(1), (false, 0));
        let mut batch = Vec::new();
        cohort.take(3, &mut batch);
        cohort.put_back(batch.drain(..).skip(1));
        assert_eq!(cohort.finish_walk(), None);
        cohort.take(3, &mut batch);
        assert_eq!(batch, [1, 2]);
        assert_eq!(cohort.finish_walk(), Some(Purpose::Initial));
    }
}
