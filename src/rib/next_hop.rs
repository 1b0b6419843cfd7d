//! Next hops: which ones the routes need, and whether they can be reached.
//!
//! It does not resolve anything: it says which addresses have become needed or unneeded
//! ([`NextHopTable::poll_tracked`]) and is told the answer. A next hop lives as long as a set of
//! attributes names it.

use std::collections::VecDeque;
use std::net::IpAddr;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

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
    Track(IpAddr),
    /// No route needs this address any more.
    Untrack(IpAddr),
}

#[derive(Debug)]
struct Entry {
    next_hop: NextHop,
    refs: u32,
    resolution: Resolution,
}

/// The table of next hops.
#[derive(Debug)]
pub struct NextHopTable {
    tracking: bool,
    ids: HashMap<NextHop, u32, FixedState>,
    /// The first entry stands for [`NextHopId::NONE`].
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    /// Address → the entries on it; they differ by link-local address only.
    addresses: HashMap<IpAddr, Vec<u32>, FixedState>,
    events: VecDeque<Tracked>,
}

impl NextHopTable {
    /// An empty table. Without `tracking` every next hop counts as reachable at no cost, which is
    /// what a route reflector without a kernel wants.
    pub fn new(tracking: bool) -> Self {
        Self {
            tracking,
            ids: HashMap::default(),
            entries: vec![None],
            free: Vec::new(),
            addresses: HashMap::default(),
            events: VecDeque::new(),
        }
    }

    /// Takes a reference to the next hop, entering it if it is new.
    pub(crate) fn acquire(&mut self, next_hop: Option<NextHop>) -> NextHopId {
        let Some(next_hop) = next_hop else {
            return NextHopId::NONE;
        };
        if let Some(&id) = self.ids.get(&next_hop) {
            if let Some(entry) = self.entry_mut(id) {
                entry.refs += 1;
            }
            return NextHopId(id);
        }
        let resolution = self.first_resolution(next_hop.address);
        let entry = Some(Entry {
            next_hop,
            refs: 1,
            resolution,
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
        let on_address = self.addresses.entry(next_hop.address).or_default();
        on_address.push(id);
        if on_address.len() == 1 && self.is_tracked(next_hop.address) {
            self.events.push_back(Tracked::Track(next_hop.address));
        }
        NextHopId(id)
    }

    /// Gives one reference back.
    pub(crate) fn release(&mut self, id: NextHopId) {
        let Some(place) = self.entries.get_mut(id.0 as usize) else {
            return;
        };
        let Some(entry) = place else { return };
        entry.refs -= 1;
        if entry.refs > 0 {
            return;
        }
        let next_hop = entry.next_hop;
        *place = None;
        self.free.push(id.0);
        self.ids.remove(&next_hop);
        let mut unneeded = false;
        if let Some(on_address) = self.addresses.get_mut(&next_hop.address) {
            on_address.retain(|&other| other != id.0);
            unneeded = on_address.is_empty();
        }
        if unneeded {
            self.addresses.remove(&next_hop.address);
            if self.is_tracked(next_hop.address) {
                self.events.push_back(Tracked::Untrack(next_hop.address));
            }
        }
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

    /// Enters what is known of an address; the ids whose state changed by it.
    pub(crate) fn set_resolution(&mut self, address: IpAddr, now: Resolution) -> Vec<NextHopId> {
        if !self.is_tracked(address) {
            return Vec::new();
        }
        let Self {
            addresses, entries, ..
        } = self;
        let mut changed = Vec::new();
        for &id in addresses
            .get(&address)
            .map(Vec::as_slice)
            .unwrap_or_default()
        {
            if let Some(Some(entry)) = entries.get_mut(id as usize)
                && entry.resolution != now
            {
                entry.resolution = now;
                changed.push(NextHopId(id));
            }
        }
        changed
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

    /// A link-local next hop is on the link of the session that brought it: up as long as that is.
    fn is_tracked(&self, address: IpAddr) -> bool {
        self.tracking && !matches!(address, IpAddr::V6(a) if a.is_unicast_link_local())
    }

    fn first_resolution(&self, address: IpAddr) -> Resolution {
        if !self.is_tracked(address) {
            return Resolution::Reachable { metric: 0 };
        }
        let sibling = self.addresses.get(&address).and_then(|ids| ids.first());
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
        Some(NextHop {
            address: text.parse().unwrap(),
            link_local: None,
        })
    }

    #[test]
    fn an_address_is_tracked_from_its_first_use_to_its_last() {
        let mut table = NextHopTable::new(true);
        let id = table.acquire(hop("10.0.0.1"));
        assert_eq!(table.acquire(hop("10.0.0.1")), id);
        let address = "10.0.0.1".parse().unwrap();
        assert_eq!(table.poll_tracked(), Some(Tracked::Track(address)));
        assert_eq!(table.metric(id), None);
        assert_eq!(
            table.set_resolution(address, Resolution::Reachable { metric: 7 }),
            [id]
        );
        assert_eq!(
            table.set_resolution(address, Resolution::Reachable { metric: 7 }),
            []
        );
        assert_eq!(table.metric(id), Some(7));
        table.release(id);
        assert_eq!(table.poll_tracked(), None);
        table.release(id);
        assert_eq!(table.poll_tracked(), Some(Tracked::Untrack(address)));
    }

    #[test]
    fn two_next_hops_on_one_address_share_its_resolution() {
        let mut table = NextHopTable::new(true);
        let address: IpAddr = "2001:db8::1".parse().unwrap();
        let a = table.acquire(hop("2001:db8::1"));
        table.set_resolution(address, Resolution::Reachable { metric: 3 });
        let b = table.acquire(Some(NextHop {
            address,
            link_local: "fe80::1".parse().ok(),
        }));
        assert_ne!(a, b);
        assert_eq!(table.metric(b), Some(3));
        assert_eq!(
            table.set_resolution(address, Resolution::Unreachable).len(),
            2
        );
    }

    #[test]
    fn without_tracking_and_on_the_link_everything_is_reachable() {
        let mut table = NextHopTable::new(false);
        let id = table.acquire(hop("10.0.0.1"));
        assert_eq!(table.metric(id), Some(0));
        assert_eq!(table.poll_tracked(), None);
        let mut table = NextHopTable::new(true);
        let id = table.acquire(hop("fe80::1"));
        assert_eq!(table.metric(id), Some(0));
        assert_eq!(table.poll_tracked(), None);
    }
}
