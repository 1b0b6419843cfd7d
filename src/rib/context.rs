//! What a change of a table reads and counts beside the table: attributes, peers, the rules, the time.
//!
//! It decides nothing and holds no route. What always holds: a path is counted to its peer exactly while it is in a
//! table.

use super::attributes::{AttributeFlags, AttributeStore, AttributesRef};
use super::decision::{DecisionConfig, Facts};
use super::path::Path;
use super::peer::{PeerIndex, Peers};
use super::since::Since;
use super::standing::{Count, Standing};
use crate::net::Family;

/// What a change reads and counts beside the table.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub(crate) store: &'a mut AttributeStore,
    pub(crate) peers: &'a mut Peers,
    pub(crate) config: DecisionConfig,
    pub(crate) family: Family,
    pub(crate) now: Since,
}

impl Context<'_> {
    pub(super) const fn facts(&self) -> Facts<'_> {
        Facts {
            config: self.config,
            store: self.store,
            peers: self.peers,
        }
    }

    /// The number of what a peer says now.
    #[inline]
    pub(crate) fn epoch(&self, peer: PeerIndex) -> u8 {
        let count = self.peers.count(peer, self.family);
        count.map_or(0, Count::epoch)
    }

    /// Counts a path up or down.
    #[inline]
    pub(super) fn count(&mut self, path: &Path, up: bool) {
        if let Some(count) = self.peers.count_mut(path.peer, self.family) {
            match up {
                true => count.count_up(path),
                false => count.count_down(path),
            }
        }
    }

    /// Counts a path that comes, unless its peer has as many as it may: then it is beyond.
    #[inline]
    pub(super) fn enter(&mut self, path: &Path) -> bool {
        let Some(count) = self.peers.count_mut(path.peer, self.family) else {
            return true;
        };
        if count.is_full() {
            count.counts.beyond = count.counts.beyond.saturating_add(1);
            return false;
        }
        count.count_up(path);
        true
    }

    /// Whether one more of the path's peer is taken; if not, it is beyond.
    pub(super) fn has_room(&mut self, path: &Path) -> bool {
        let Some(count) = self.peers.count_mut(path.peer, self.family) else {
            return true;
        };
        let full = count.is_full();
        if full {
            count.counts.beyond = count.counts.beyond.saturating_add(1);
        }
        !full
    }

    /// Whether a path counts for nothing any more.
    #[inline]
    pub(super) fn is_gone(&self, path: &Path) -> bool {
        self.peers.standing(path, self.family) == Standing::Gone
    }

    /// Whether a path is to be long-lived stale.
    #[inline]
    pub(super) fn is_long_lived(&self, path: &Path) -> bool {
        let count = self.peers.count(path.peer, self.family);
        count.is_some_and(|count| count.is_long_lived(path))
    }

    /// Whether a walk has anything to do about a path.
    #[inline]
    pub(super) fn is_due(&self, path: &Path) -> bool {
        self.is_gone(path)
            || self.is_long_lived(path)
            || !self.peers.facts_before(path.peer).is_empty()
            || self.has_moved(path)
    }

    #[inline]
    pub(super) fn has_moved(&self, path: &Path) -> bool {
        let hops = self.store.next_hops();
        let hop = || self.store.get(path.attributes).map(AttributesRef::next_hop);
        hops.any_moved() && hop().is_some_and(|hop| hops.has_moved(hop))
    }

    /// Whether a walk takes a path out: it is gone, or may not be long-lived stale as it is to be.
    pub(super) fn goes(&self, path: &Path) -> bool {
        let refuses = |set: AttributesRef<'_>| set.flags().contains(AttributeFlags::NO_LLGR);
        self.is_gone(path)
            || self.is_long_lived(path) && self.store.get(path.attributes).is_some_and(refuses)
    }

    /// A peer withdrew what is not here: it may be a path beyond.
    pub(super) fn not_there(&mut self, peer: PeerIndex) {
        if let Some(count) = self.peers.count_mut(peer, self.family) {
            count.withdrawn_beyond();
        }
    }

    /// Counts a path that goes. Where it was one of too many, there is room for one that was not taken.
    #[inline]
    pub(super) fn leave(&mut self, path: &Path, of_full: bool) {
        if let Some(count) = self.peers.count_mut(path.peer, self.family) {
            let room = of_full || count.is_full();
            count.room |= room && count.counts.beyond > 0;
            count.count_down(path);
        }
    }
}
