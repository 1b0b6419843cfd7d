//! Next hops: which ones the routes need, and whether they can be reached.
//!
//! It does not resolve anything: it says which addresses have become needed or unneeded
//! ([`NextHopTable::poll_tracked`]) and is told the answer. A next hop lives as long as a set of
//! attributes names it.

use std::collections::VecDeque;

use hashbrown::HashMap;

use super::attributes::Owner;
use crate::net::{Hashing, ScopedAddress};
use crate::wire::attribute::NextHop;

/// A next hop in the table. 0 is "none": what we originate ourselves without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NextHopId(pub(crate) u32);

impl NextHopId {
    /// No next hop.
    pub const NONE: Self = Self(0);
}

/// Whether and how far away a next hop is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Resolution {
    /// Nobody has said yet.
    #[default]
    Unknown,
    /// There is no route to it.
    Unreachable,
    /// It can be reached.
    Reachable {
        /// The cost to it, which the decision process compares (RFC 4271 §9.1.2.2 e).
        metric: u32,
    },
}

/// A next hop that has become needed, or is needed no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tracked {
    /// Resolve this address and keep telling.
    Track(ScopedAddress),
    /// No route needs this address any more.
    Untrack(ScopedAddress),
}

/// Of fewer entries none is given back.
const FEW: usize = 1024;

#[derive(Debug)]
struct Entry {
    next_hop: NextHop,
    refs: u32,
    resolution: Resolution,
    /// Where it is among those of its target.
    place: u32,
    /// Paths that have it are yet to be decided again.
    moved: bool,
    /// Who brought it.
    owner: Owner,
}

/// The table of next hops.
#[derive(Debug)]
pub struct NextHopTable {
    tracking: bool,
    ids: HashMap<NextHop, u32, Hashing>,
    /// The first entry stands for [`NextHopId::NONE`].
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    /// Where packets go → the entries that say so; they differ in what else they say.
    targets: HashMap<ScopedAddress, Vec<u32>, Hashing>,
    events: VecDeque<Tracked>,
    /// Some have [`Entry::moved`].
    any_moved: bool,
}

impl NextHopTable {
    /// An empty table. Without `tracking` every next hop counts as reachable at no cost, which is
    /// what a route reflector without a kernel wants.
    pub fn new(hashing: Hashing, tracking: bool) -> Self {
        Self {
            tracking,
            ids: HashMap::with_hasher(hashing),
            entries: vec![None],
            free: Vec::new(),
            targets: HashMap::with_hasher(hashing.of_table(1)),
            events: VecDeque::new(),
            any_moved: false,
        }
    }

    /// Takes a reference to the next hop, entering it as `owner`'s if it is new, and whether it is.
    pub(crate) fn acquire(&mut self, next_hop: Option<NextHop>, owner: Owner) -> (NextHopId, bool) {
        let Some(next_hop) = next_hop else {
            return (NextHopId::NONE, false);
        };
        if let Some(&id) = self.ids.get(&next_hop) {
            if let Some(entry) = self.entry_mut(id) {
                entry.refs += 1;
            }
            return (NextHopId(id), false);
        }
        let target = next_hop.target();
        let resolution = self.first_resolution(target);
        let to_target = self.targets.entry(target).or_default();
        let entry = Some(Entry {
            next_hop,
            refs: 1,
            resolution,
            place: u32::try_from(to_target.len()).unwrap_or(u32::MAX),
            moved: false,
            owner,
        });
        let id = match self.free.pop() {
            Some(id) => id,
            None => {
                self.entries.push(None);
                u32::try_from(self.entries.len() - 1).unwrap_or(u32::MAX)
            }
        };
        if let Some(place) = self.entries.get_mut(id as usize) {
            *place = entry;
        }
        self.ids.insert(next_hop, id);
        to_target.push(id);
        if to_target.len() == 1 && self.tracking {
            self.events.push_back(Tracked::Track(target));
        }
        (NextHopId(id), true)
    }

    /// Gives one reference back; if it was the last, whose the next hop was.
    pub(crate) fn release(&mut self, id: NextHopId) -> Option<Owner> {
        let place = self.entries.get_mut(id.0 as usize)?;
        let entry = place.as_mut()?;
        entry.refs -= 1;
        if entry.refs > 0 {
            return None;
        }
        let (next_hop, at, owner) = (entry.next_hop, entry.place, entry.owner);
        let target = next_hop.target();
        *place = None;
        self.free.push(id.0);
        self.ids.remove(&next_hop);
        if self.leave(target, at) {
            self.targets.remove(&target);
            if self.tracking {
                self.events.push_back(Tracked::Untrack(target));
            }
        }
        Some(owner)
    }

    /// Takes the entry at a place out of those of a target, whoever stands last takes the place: a peer may give
    /// one address any number of link-local ones beside it. Whether none is left.
    fn leave(&mut self, target: ScopedAddress, place: u32) -> bool {
        let Some(to_target) = self.targets.get_mut(&target) else {
            return false;
        };
        if (place as usize) < to_target.len() {
            to_target.swap_remove(place as usize);
        }
        let none_left = to_target.is_empty();
        if let Some(&moved) = to_target.get(place as usize)
            && let Some(moved) = self.entry_mut(moved)
        {
            moved.place = place;
        }
        none_left
    }

    /// The next hop itself.
    pub fn get(&self, id: NextHopId) -> Option<NextHop> {
        self.entry(id.0).map(|entry| entry.next_hop)
    }

    /// The cost to the next hop, `None` if it can't be reached. No next hop at all costs nothing.
    pub fn metric(&self, id: NextHopId) -> Option<u32> {
        match self.entry(id.0) {
            None => Some(0),
            Some(entry) => match entry.resolution {
                Resolution::Reachable { metric } => Some(metric),
                Resolution::Unknown | Resolution::Unreachable => None,
            },
        }
    }

    /// Enters what is known of where packets go; how many next hops have another state by it.
    pub(crate) fn set_resolution(&mut self, target: ScopedAddress, now: Resolution) -> usize {
        if !self.tracking {
            return 0;
        }
        let Self {
            targets, entries, ..
        } = self;
        let mut changed = 0;
        for &id in targets.get(&target).map(Vec::as_slice).unwrap_or_default() {
            if let Some(Some(entry)) = entries.get_mut(id as usize)
                && entry.resolution != now
            {
                entry.resolution = now;
                entry.moved = true;
                changed += 1;
            }
        }
        self.any_moved |= changed > 0;
        changed
    }

    /// Whether paths are to be decided again for what their next hop's state is now.
    #[inline]
    pub(crate) fn has_moved(&self, id: NextHopId) -> bool {
        self.any_moved && self.entry(id.0).is_some_and(|entry| entry.moved)
    }

    /// Whether there are any such.
    #[inline]
    pub(crate) const fn any_moved(&self) -> bool {
        self.any_moved
    }

    /// All paths were decided again.
    pub(crate) fn walked(&mut self) {
        if core::mem::take(&mut self.any_moved) {
            for entry in self.entries.iter_mut().flatten() {
                entry.moved = false;
            }
        }
    }

    /// Gives memory back where most next hops are gone and an eighth of the entries, at the end, is free.
    pub(crate) fn shrink(&mut self) {
        let len = self.entries.len();
        if len <= FEW || self.ids.len() > len / 4 {
            return;
        }
        // The first one is nobody's and stays.
        let free = self
            .entries
            .iter()
            .skip(1)
            .rev()
            .take_while(|entry| entry.is_none())
            .count();
        if free < len / 8 {
            return;
        }
        self.entries.truncate(len - free);
        self.entries.shrink_to_fit();
        let end = self.entries.len();
        self.free.retain(|id| (*id as usize) < end);
        self.free.shrink_to_fit();
        self.ids.shrink_to_fit();
        self.targets.shrink_to_fit();
        self.events.shrink_to_fit();
    }

    /// The next change of what has to be resolved, in order.
    pub fn poll_tracked(&mut self) -> Option<Tracked> {
        self.events.pop_front()
    }

    /// The addresses in use and what is known of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (NextHop, Resolution)> + '_ {
        self.entries
            .iter()
            .flatten()
            .map(|entry| (entry.next_hop, entry.resolution))
    }

    fn entry(&self, id: u32) -> Option<&Entry> {
        self.entries.get(id as usize)?.as_ref()
    }

    fn entry_mut(&mut self, id: u32) -> Option<&mut Entry> {
        self.entries.get_mut(id as usize)?.as_mut()
    }

    fn first_resolution(&self, target: ScopedAddress) -> Resolution {
        if !self.tracking {
            return Resolution::Reachable { metric: 0 };
        }
        let sibling = self.targets.get(&target).and_then(|ids| ids.first());
        sibling
            .and_then(|&id| self.entry(id))
            .map(|e| e.resolution)
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(text: &str) -> Option<NextHop> {
        Some(NextHop::new(text.parse().unwrap()))
    }

    fn take(table: &mut NextHopTable, next_hop: Option<NextHop>) -> NextHopId {
        table.acquire(next_hop, Owner::default()).0
    }

    #[test]
    fn an_address_is_tracked_from_its_first_use_to_its_last() {
        let mut table = NextHopTable::new(Hashing::default(), true);
        let id = take(&mut table, hop("10.0.0.1"));
        assert_eq!(take(&mut table, hop("10.0.0.1")), id);
        let address = hop("10.0.0.1").unwrap().target();
        assert_eq!(table.poll_tracked(), Some(Tracked::Track(address)));
        assert_eq!(table.metric(id), None);
        assert_eq!(
            table.set_resolution(address, Resolution::Reachable { metric: 7 }),
            1
        );
        assert_eq!(
            table.set_resolution(address, Resolution::Reachable { metric: 7 }),
            0
        );
        assert_eq!(table.metric(id), Some(7));
        table.release(id);
        assert_eq!(table.poll_tracked(), None);
        table.release(id);
        assert_eq!(table.poll_tracked(), Some(Tracked::Untrack(address)));
    }

    #[test]
    fn two_next_hops_on_one_address_share_its_resolution() {
        let mut table = NextHopTable::new(Hashing::default(), true);
        let address = hop("2001:db8::1").unwrap().target();
        let a = take(&mut table, hop("2001:db8::1"));
        table.set_resolution(address, Resolution::Reachable { metric: 3 });
        let b = take(
            &mut table,
            Some(NextHop {
                link_local: "fe80::1".parse().ok(),
                ..hop("2001:db8::1").unwrap()
            }),
        );
        assert_ne!(a, b);
        assert_eq!(table.metric(b), Some(3));
        assert_eq!(table.set_resolution(address, Resolution::Unreachable), 2);
    }

    #[test]
    fn one_link_local_address_on_two_links_is_two_next_hops() {
        let mut table = NextHopTable::new(Hashing::default(), true);
        let on = |scope| hop("fe80::1").map(|hop| hop.on(scope));
        let (a, b) = (take(&mut table, on(1)), take(&mut table, on(2)));
        assert_ne!(a, b);
        let first = on(1).unwrap().target();
        assert_eq!(table.poll_tracked(), Some(Tracked::Track(first)));
        let both = Some(NextHop {
            link_local: "fe80::1".parse().ok(),
            ..hop("2001:db8::1").unwrap().on(1)
        });
        let c = take(&mut table, both);
        assert_eq!(
            table.set_resolution(first, Resolution::Reachable { metric: 0 }),
            2,
            "a global address beside it does not matter"
        );
        assert!(table.has_moved(a) && table.has_moved(c) && !table.has_moved(b));
        assert_eq!(table.metric(b), None);
        table.walked();
        assert!(!table.has_moved(a));
    }

    #[test]
    fn any_number_on_one_address_come_and_go_each_at_the_cost_of_one() {
        let mut table = NextHopTable::new(Hashing::default(), true);
        let beside = |n: u64| {
            let link_local = Some(std::net::Ipv6Addr::from(
                (0xFE80_u128 << 112) | u128::from(n),
            ));
            Some(NextHop {
                link_local,
                ..hop("2001:db8::1").unwrap()
            })
        };
        // So many that a search through the others for each of them would not end in a minute.
        let mut ids: Vec<_> = (1..=200_000).map(|n| take(&mut table, beside(n))).collect();
        let address = hop("2001:db8::1").unwrap().target();
        let changed = table.set_resolution(address, Resolution::Reachable { metric: 1 });
        assert_eq!(changed, ids.len());
        // From the middle, the front and the end.
        ids.rotate_left(70_000);
        let last = ids.pop().unwrap();
        for id in ids {
            table.release(id);
        }
        assert_eq!(table.metric(last), Some(1));
        let changed = table.set_resolution(address, Resolution::Unreachable);
        assert_eq!(changed, 1);
        table.release(last);
        assert_eq!(table.iter().count(), 0);
        let _track = table.poll_tracked();
        assert_eq!(table.poll_tracked(), Some(Tracked::Untrack(address)));
    }

    #[test]
    fn without_tracking_everything_is_reachable() {
        let mut table = NextHopTable::new(Hashing::default(), false);
        for text in ["10.0.0.1", "fe80::1"] {
            let id = take(&mut table, hop(text));
            assert_eq!(table.metric(id), Some(0));
            assert_eq!(table.poll_tracked(), None);
        }
    }
}
