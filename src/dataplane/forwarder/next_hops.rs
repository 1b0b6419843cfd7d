//! Next hops as the speaker asks about them, and our own wanted routes as a way to them.
//!
//! Nothing is found out here: that is the view's, which is lent what is wanted.

use super::super::next_hop::{Forwarding, NextHop, Reach, Resolution};
use super::super::reconciler::Reconciler;
use super::super::resolve::OwnRoutes;
use super::Dataplane;
use super::paths::Paths;
use crate::net::{Family, Prefix};
use crate::time::Instant;

impl Dataplane {
    /// A turn begins: next hops and wishes may change each other several times until its end, but not
    /// for ever.
    pub fn turn_begins(&mut self, now: Instant) {
        self.view.turn_begins(now);
    }

    /// Asks for the resolution of a next hop, now and whenever it changes
    /// ([`Self::poll_resolution`]). Counted: each call needs one [`Self::untrack`].
    pub fn track(&mut self, next_hop: NextHop) {
        let Self {
            view,
            reconciler,
            paths,
            ..
        } = self;
        view.track(&next_hop, &Wanted { reconciler, paths });
        let references = self.asked.entry(next_hop.clone()).or_insert(0);
        *references += 1;
        if *references == 1 && self.reconciler.is_synced() {
            self.resolutions.push_back(next_hop);
        }
    }

    /// Takes back one [`Self::track`].
    pub fn untrack(&mut self, next_hop: &NextHop) {
        let Some(references) = self.asked.get_mut(next_hop) else {
            return;
        };
        *references -= 1;
        if *references == 0 {
            self.asked.remove(next_hop);
        }
        self.view.untrack(next_hop);
    }

    /// How a next hop is reached, by what is known now.
    pub fn resolve(&self, next_hop: &NextHop) -> Resolution {
        let Self {
            reconciler, paths, ..
        } = self;
        self.view
            .resolve_by(next_hop, &Wanted { reconciler, paths })
            .0
    }

    /// The next one whose resolution is another one, whoever asked about it.
    pub(super) fn next_moved(&mut self) -> Option<NextHop> {
        let Self {
            view,
            reconciler,
            paths,
            ..
        } = self;
        view.poll_changed(&Wanted { reconciler, paths })
    }
}

/// The wanted routes as a way to next hops.
pub(super) struct Wanted<'a> {
    pub(super) reconciler: &'a Reconciler,
    pub(super) paths: &'a Paths,
}

impl OwnRoutes for Wanted<'_> {
    fn at(&self, prefix: Prefix) -> Option<&[NextHop]> {
        let path = self.reconciler.wanted(prefix)?;
        match self.paths.get(path)? {
            Forwarding::Blackhole => None,
            Forwarding::Via(next_hops) => {
                let tunnel = |hop: &NextHop| matches!(hop.reach, Reach::Device(_) | Reach::Onto(_));
                (!next_hops.iter().any(tunnel)).then_some(next_hops)
            }
        }
    }

    fn has_length(&self, family: Family, len: u8) -> bool {
        self.reconciler.wants_length(family, len)
    }
}
