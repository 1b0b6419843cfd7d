//! What concerns all routes of a peer or of a next hop: said at once, carried out by a walk over the tables, a part
//! of it in each turn.
//!
//! A table of a million routes takes longer than anybody else's keepalive may wait, and a thousand sessions that end
//! together are one walk, not a thousand. What always holds: counts and standings ([`Standing`](super::Standing))
//! are right at once; a walk goes round until it has been everywhere since the last thing was said; whoever begins no
//! turn ([`Rib::begin_turn`]) has all carried out at once.

use core::ops::Range;
use std::collections::BTreeMap;

use super::facts::shows;
use super::peer::{PeerIndex, Peers};
use super::prefix_map::DestinationId;
use super::table::Found;
use super::{Resolution, Rib};
use crate::net::{Family, ScopedAddress};

/// Destinations between two looks at what changed: bounds what has to be kept of it.
const STRIDE: u32 = 4096;
/// What a destination costs that has changed, if one that is passed by costs one.
const CHANGE: usize = 64;

/// How much is done in one turn. What is left over waits for the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Destinations that a walk may pass by; one that changes counts 64 times.
    pub walk: usize,
    /// Destinations that messages are built of.
    pub send: usize,
}

impl Default for Pace {
    /// Some milliseconds each.
    fn default() -> Self {
        Self {
            walk: 1 << 19,
            send: 1 << 14,
        }
    }
}

impl Pace {
    /// All at once.
    pub(super) const WHOLE: Self = Self {
        walk: usize::MAX,
        send: usize::MAX,
    };
}

/// Where the walk is, and how far it has to go.
#[derive(Debug)]
pub(super) struct Walk {
    /// What is left of the turn.
    pub(super) pace: Pace,
    in_turns: bool,
    /// By [`Family::index`].
    rounds: [Round; 2],
    /// Peers that are no more, but some of their paths are.
    leaving: Vec<PeerIndex>,
    found: Found,
}

impl Default for Walk {
    fn default() -> Self {
        Self {
            pace: Pace::WHOLE,
            in_turns: false,
            rounds: Default::default(),
            leaving: Vec::new(),
            found: Found::default(),
        }
    }
}

/// A way round one table, from wherever it is to there again. The table may grow meanwhile.
#[derive(Debug, Clone, Copy, Default)]
struct Round {
    at: DestinationId,
    ahead: Ahead,
}

/// What is ahead of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Ahead {
    #[default]
    Nothing,
    /// All to the end of the table as it was, and what is before this.
    End(DestinationId, DestinationId),
    /// All up to this.
    Here(DestinationId),
}

impl Round {
    /// Passes by everything that is there from here on.
    const fn begin(&mut self, end: DestinationId) {
        self.ahead = Ahead::End(end, self.at);
    }

    /// The next destinations of a table that ends so, no more than `most`.
    fn next(&mut self, end: DestinationId, most: u32) -> Option<Range<DestinationId>> {
        let mut to = match self.ahead {
            Ahead::Nothing => return None,
            Ahead::End(to, _) | Ahead::Here(to) => to.min(end),
        };
        if let (Ahead::End(_, rest), true) = (self.ahead, self.at >= to) {
            *self = Self {
                at: 0,
                ahead: Ahead::Here(rest),
            };
            to = rest.min(end);
        }
        if self.at >= to {
            self.ahead = Ahead::Nothing;
            return None;
        }
        let from = self.at;
        self.at = to.min(from.saturating_add(most));
        Some(from..self.at)
    }

    fn is_done(&self) -> bool {
        self.ahead == Ahead::Nothing
    }
}

impl Walk {
    fn is_done(&self) -> bool {
        self.rounds.iter().all(Round::is_done)
    }
}

impl Rib {
    /// A turn begins, in which so much may be done.
    pub const fn begin_turn(&mut self, pace: Pace) {
        self.walk.pace = pace;
        self.walk.in_turns = true;
    }

    /// Goes on with what is to be done in the tables, as far as the turn allows; whether there was anything.
    pub fn work(&mut self) -> bool {
        let mut any = false;
        self.shrink();
        for family in Family::ALL {
            while !family.of(&self.walk.rounds).is_done() && self.walk.pace.walk > 0 {
                let spent = self.step(family);
                self.walk.pace.walk = self.walk.pace.walk.saturating_sub(spent);
                any = true;
            }
        }
        if any && self.walk.is_done() {
            self.peers.walked();
            self.store.next_hops_mut().walked();
            let peers = &mut self.peers;
            self.walk.leaving.retain(|peer| !peers.is_forgotten(*peer));
        }
        any
    }

    /// Gives memory back of tables that are mostly gone, and of what their routes had.
    fn shrink(&mut self) {
        for family in Family::ALL {
            if self.tables.shrink(family) {
                self.exports.truncate(family, self.tables.end(family));
                self.store.shrink();
            }
        }
    }

    /// Whether a walk or the building of messages goes on though nothing new happens.
    pub fn has_work(&self) -> bool {
        !self.walk.is_done() || self.walk.pace.send == 0 && self.exports.is_ready()
    }

    /// Whether an index stands for no peer, and for no path of a former one.
    pub fn is_free(&self, peer: PeerIndex) -> bool {
        self.peers.is_free(peer)
    }

    /// How a path stands.
    pub fn standing(&self, path: &super::Path, family: Family) -> super::Standing {
        self.peers.standing(path, family)
    }

    /// Removes all routes of a peer and the peer itself. Its exports are stopped, too.
    pub fn remove_peer(&mut self, peer: PeerIndex) {
        for family in Family::ALL {
            self.remove_export(peer, family);
            self.flush(peer, family);
        }
        if !peer.is_local() && !self.peers.clear(peer) {
            self.walk.leaving.push(peer);
        }
    }

    /// Removes all routes of a peer in a family.
    pub fn flush(&mut self, peer: PeerIndex, family: Family) {
        self.mark_stale(peer, family);
        self.sweep_stale(peer, family);
    }

    /// Marks all routes of a peer as stale: they stay in use until they come again or are swept
    /// (RFC 4724 §4.2).
    pub fn mark_stale(&mut self, peer: PeerIndex, family: Family) {
        if self
            .peers
            .count(peer, family)
            .is_some_and(|count| count.must_renumber())
        {
            self.renumber(peer, family);
        }
        if let Some(count) = self.peers.count_mut(peer, family) {
            count.mark_stale();
        }
    }

    /// Makes the stale routes of a peer long-lived stale: they get LLGR_STALE and are used only if
    /// nothing else is there; what has NO_LLGR goes (RFC 9494 §4.2).
    pub fn mark_long_lived_stale(&mut self, peer: PeerIndex, family: Family) {
        let count = self.peers.count_mut(peer, family);
        if let Some(count) = count.filter(|count| count.counts.stale > 0) {
            count.keep_long();
            self.go_round(&[family]);
        }
    }

    /// Removes the routes of a peer that are still stale.
    pub fn sweep_stale(&mut self, peer: PeerIndex, family: Family) {
        let count = self.peers.count_mut(peer, family);
        let count = count.filter(|count| count.counts.stale > 0);
        if count.is_some_and(|count| count.drop_stale()) {
            self.go_round(&[family]);
        }
    }

    /// Tells what is known of where next hops lead ([`NextHop::target`](crate::wire::attribute::NextHop::target)).
    /// Whatever uses one that has changed is decided again.
    pub fn set_resolution(&mut self, resolutions: &[(ScopedAddress, Resolution)]) {
        let table = self.store.next_hops_mut();
        let changed = resolutions
            .iter()
            .map(|&(at, now)| table.set_resolution(at, now));
        if changed.sum::<usize>() > 0 {
            self.go_round(&Family::ALL);
        }
    }

    /// Has the walk pass by everything from here on.
    pub(super) fn go_round(&mut self, families: &[Family]) {
        for family in families {
            let end = self.tables.end(*family);
            family.of_mut(&mut self.walk.rounds).begin(end);
        }
        if !self.walk.in_turns {
            self.work();
        }
    }

    /// Carries out all that is to be done, however long it takes.
    pub(super) fn finish(&mut self) {
        let pace = core::mem::replace(&mut self.walk.pace, Pace::WHOLE);
        self.work();
        self.walk.pace = pace;
    }

    /// The numbers of a peer's paths are used up: they begin anew. Once for some hundred UPDATEs at most, each
    /// between two times that the peer began to say all it has.
    fn renumber(&mut self, peer: PeerIndex, family: Family) {
        self.finish();
        let Some(count) = self.peers.count(peer, family).copied() else {
            return;
        };
        let number = |path: &super::Path| count.renumbered(path);
        match family {
            Family::Ipv4 => self.tables.v4.renumber(peer, number),
            Family::Ipv6 => self.tables.v6.renumber(peer, number),
        }
        if let Some(count) = self.peers.count_mut(peer, family) {
            count.renumber();
        }
    }

    /// Passes by the next destinations; what that has cost.
    fn step(&mut self, family: Family) -> usize {
        let end = self.tables.end(family);
        let most = u32::try_from(self.walk.pace.walk)
            .unwrap_or(STRIDE)
            .min(STRIDE);
        let round = family.of_mut(&mut self.walk.rounds);
        let Some(range) = round.next(end, most) else {
            return 0;
        };
        let passed = range.len();
        let mut found = core::mem::take(&mut self.walk.found);
        let (mut ctx, tables, mut hearers) = self.parts();
        ctx.family = family;
        match family {
            Family::Ipv4 => {
                tables.v4.visit(&mut ctx, range, &mut found);
                let tell = |change: &_| hearers.tell(&mut tables.v4, family, *change);
                found.changes.iter().for_each(tell);
            }
            Family::Ipv6 => {
                tables.v6.visit(&mut ctx, range, &mut found);
                let tell = |change: &_| hearers.tell(&mut tables.v6, family, *change);
                found.changes.iter().for_each(tell);
            }
        }
        self.tell_again(family, &found.again);
        let cost = passed + found.changes.len() * CHANGE;
        found.changes.clear();
        found.again.clear();
        self.walk.found = found;
        cost
    }

    /// Lets the groups that can tell the difference look again at what they are sent of peers whose facts have
    /// changed.
    fn tell_again(&mut self, family: Family, again: &[(PeerIndex, DestinationId)]) {
        let mut by_peer: BTreeMap<PeerIndex, Vec<DestinationId>> = BTreeMap::new();
        for (peer, id) in again {
            by_peer.entry(*peer).or_default().push(*id);
        }
        for (peer, ids) in by_peer {
            let peers: &Peers = &self.peers;
            let Some(now) = peers.facts(peer) else {
                continue;
            };
            let before = peers.facts_before(peer);
            self.exports.mark_in(family, &ids, |key| {
                before.iter().any(|was| shows(key, was, now))
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a round passes of a table that grows by one at each step.
    fn passed(round: &mut Round, mut end: u32, most: u32) -> Vec<u32> {
        let mut passed = Vec::new();
        while let Some(range) = round.next(end, most) {
            passed.extend(range);
            end += 1;
        }
        passed
    }

    #[test]
    fn a_round_comes_by_all_that_was_there_wherever_it_begins() {
        let mut round = Round::default();
        round.begin(10);
        assert_eq!(round.next(10, 4), Some(0..4));
        round.begin(10);
        let mut all = passed(&mut round, 10, 3);
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.iter().filter(|id| **id < 10).count(), 10);
        assert!(round.is_done());
        // A table that has become empty, and one that never was anything else.
        round.begin(0);
        assert!(passed(&mut round, 0, 3).is_empty());
        assert!(round.is_done());
    }
}
