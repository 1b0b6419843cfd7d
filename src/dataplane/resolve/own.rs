//! Our own routes as a way to a next hop: what one session brings may lead to the next hops of another
//! (RFC 4271 §5.1.3, recursive next hops).
//!
//! It is the *wanted* routes that count, not those in the kernel: a way is written out to the last
//! neighbour, so nothing hangs on the order in which routes come and go. What always holds:
//!
//! - a next hop is never resolved over a route that leads to itself; where such a route is the longest
//!   one the next shorter one is tried, and at last what the kernel has of others. So a route of ours
//!   never takes a next hop away that can be reached without it;
//! - a tunnel is no way to a next hop: the far end of that tunnel may be the very one;
//! - what turns round and round within one turn of the node, since a path that is better takes away the
//!   ground that it stands on, is reached by others' routes only, for [`REST`].

use std::net::IpAddr;

use super::{KernelView, Tracked};
use crate::dataplane::next_hop::NextHop;
use crate::net::{Family, Prefix};
use crate::time::{Duration, Instant};

/// So often a next hop may be resolved anew over routes of ours in one turn.
const MOST_TURNS: u8 = 6;
/// How long our own routes are not asked about one that was more often.
pub(super) const REST: Duration = Duration::from_secs(60);

/// The routes of ours that are wanted.
pub(in crate::dataplane) trait OwnRoutes {
    /// The next hops of the route to exactly this prefix; none if there is no such route, or if it is
    /// not one to go by.
    fn at(&self, prefix: Prefix) -> Option<&[NextHop]>;

    /// Whether there is any route to a prefix of this length.
    fn has_length(&self, family: Family, len: u8) -> bool;
}

/// None at all.
#[derive(Debug, Clone, Copy)]
pub(super) struct NoRoutes;

impl OwnRoutes for NoRoutes {
    fn at(&self, _prefix: Prefix) -> Option<&[NextHop]> {
        None
    }

    fn has_length(&self, _family: Family, _len: u8) -> bool {
        false
    }
}

/// How a tracked next hop fares with our own routes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Steadiness {
    /// Routes of ours were asked about it.
    pub(super) asked: bool,
    turn: u64,
    changes: u8,
    /// They are not, until then.
    pub(super) rests: Option<Instant>,
}

impl Steadiness {
    pub(super) fn new(asked: bool) -> Self {
        Self {
            asked,
            ..Self::default()
        }
    }

    /// It is resolved otherwise, once more in this turn.
    fn changed(&mut self, turn: u64, now: Instant) {
        if core::mem::replace(&mut self.turn, turn) != turn {
            self.changes = 0;
        }
        self.changes = self.changes.saturating_add(1);
        if self.changes > MOST_TURNS {
            self.rests = Some(now + REST);
        }
    }
}

impl KernelView {
    /// A turn of the node begins: what changes from here to the next call does so by one cause.
    pub(in crate::dataplane) fn turn_begins(&mut self, now: Instant) {
        self.turn += 1;
        self.handle_timeout(now);
    }

    /// When a next hop has rested, and [`Self::handle_timeout`] is due.
    pub(in crate::dataplane) fn next_timeout(&self) -> Option<Instant> {
        self.resting.first().map(|(at, _)| *at)
    }

    /// Lets next hops that have rested be resolved over our own routes again.
    pub(in crate::dataplane) fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        while let Some((at, next_hop)) = self.resting.first().cloned() {
            if at > self.now {
                return;
            }
            self.resting.pop_first();
            if let Some(tracked) = self.tracked.get_mut(&next_hop) {
                tracked.steadiness = Steadiness::new(tracked.steadiness.asked);
                self.dirty.next_hops.insert(next_hop);
            }
        }
    }

    /// What is wanted of us for a prefix has changed.
    pub(in crate::dataplane) fn own_changed(&mut self, prefix: Prefix) {
        if !self.dirty.all && self.is_looked_up_inside(prefix) {
            self.dirty.push(prefix);
        }
    }

    /// Whether the way of a tracked next hop is looked for by an address inside.
    fn is_looked_up_inside(&self, prefix: Prefix) -> bool {
        let mut from = self.looked_up.range(prefix.address()..);
        from.next()
            .is_some_and(|(address, _)| prefix.contains(*address))
    }

    /// Notes by which address the way to a next hop is looked for, or that it no longer is.
    pub(super) fn note_looked_up(&mut self, next_hop: &NextHop, more: bool) {
        let Some(address) = next_hop.looked_up() else {
            return;
        };
        if more {
            *self.looked_up.entry(address).or_insert(0) += 1;
        } else if let Some(count) = self.looked_up.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.looked_up.remove(&address);
            }
        }
    }

    /// Resolves a tracked next hop anew; whether that made a difference.
    pub(super) fn resolve_anew(
        &mut self,
        next_hop: &NextHop,
        tracked: &mut Tracked,
        own: &dyn OwnRoutes,
    ) -> bool {
        let steadiness = &mut tracked.steadiness;
        let own = match steadiness.rests {
            Some(_) => &NoRoutes,
            None => own,
        };
        let (mut fresh, asked) = self.resolve_by(next_hop, own);
        let before = core::mem::replace(&mut steadiness.asked, asked);
        if fresh == tracked.resolution {
            return false;
        }
        if asked || before {
            steadiness.changed(self.turn, self.now);
        }
        if let (true, Some(until)) = (asked, steadiness.rests) {
            self.resting.insert((until, next_hop.clone()));
            (fresh, steadiness.asked) = self.resolve_by(next_hop, &NoRoutes);
        }
        let differs = fresh != tracked.resolution;
        tracked.resolution = fresh;
        differs
    }
}

/// The routes of ours around an address, the longest first, down to those of `shortest`, with their prefixes.
pub(super) fn around(
    own: &dyn OwnRoutes,
    address: IpAddr,
    shortest: u8,
) -> impl Iterator<Item = (Prefix, &[NextHop])> {
    let host = Prefix::host(address);
    (shortest..=host.len())
        .rev()
        .filter(move |len| own.has_length(host.family(), *len))
        .filter_map(move |len| {
            let prefix = Prefix::new(address, len);
            Some((prefix, own.at(prefix)?))
        })
}
