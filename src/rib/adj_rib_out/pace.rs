//! Back-pressure: who can take more, who waits for whom, and for how long.
//!
//! Levels are what was handed out and not reported as sent. A cohort moves on while all its members
//! are below the high mark. If some are not while others are hungry, they have a moment to catch up,
//! and then the cohort is split.

use super::{Exports, Tables};
use crate::rib::peer::PeerIndex;
use crate::time::{Duration, Instant};

/// A member with so much in its outbox gets nothing more: a few socket buffers' worth, so that a
/// member that reads is never without work, and a thousand that don't hold 256 MB at the very most
/// (less, as the bytes of one cohort are shared).
pub const HIGH_WATER: usize = 256 * 1024;
/// A member with less than this is hungry: about one system call's worth.
pub const LOW_WATER: usize = 64 * 1024;
/// How long a hungry member waits for a blocked one of its cohort before they part. Long enough for
/// every writer to have had its turn on a busy machine; a parting costs a copy of the record.
pub const PATIENCE: Duration = Duration::from_millis(50);

impl Exports {
    /// So many bytes of a peer's outbox went out.
    pub(crate) fn sent(&mut self, peer: PeerIndex, bytes: usize) {
        let Some(member) = self.members.get_mut(peer.index()) else {
            return;
        };
        let before = member.queued;
        member.queued = before.saturating_sub(bytes);
        let crossed = |mark| before >= mark && member.queued < mark;
        if crossed(HIGH_WATER) || crossed(LOW_WATER) {
            for index in member.cohorts.into_iter().flatten() {
                self.wake(index);
            }
        }
    }

    /// The bytes that a peer has in its outbox.
    pub(crate) fn queued(&self, peer: PeerIndex) -> usize {
        self.members
            .get(peer.index())
            .map_or(0, |member| member.queued)
    }

    /// When [`poll`](Self::poll) is to be called even if nothing happens.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.held.iter().map(|&(_, since)| since + PATIENCE).min()
    }

    /// Whether a cohort's members can take a batch; those that hold the others up are split off.
    pub(super) fn may_build(&mut self, now: Instant, index: usize, tables: &mut Tables) -> bool {
        let Some(cohort) = self.cohort(index) else {
            return false;
        };
        let levels = cohort.members.iter().map(|&member| self.queued(member));
        let blocked = levels
            .clone()
            .filter(|&queued| queued >= HIGH_WATER)
            .count();
        let hungry = levels.filter(|&queued| queued < LOW_WATER).count();
        let held = self.held.iter().position(|&(held, _)| held == index);
        if blocked == 0 || hungry == 0 {
            // Nobody waits for anybody: all can take some, or none can.
            if let Some(place) = held {
                self.held.swap_remove(place);
            }
            return blocked == 0;
        }
        let Some((place, &(_, since))) = held.and_then(|p| Some((p, self.held.get(p)?))) else {
            self.held.push((index, now));
            return false;
        };
        if now.since(since) < PATIENCE {
            return false;
        }
        self.held.swap_remove(place);
        let Some(group) = self.cohort(index).map(|cohort| cohort.group) else {
            return false;
        };
        let Some(family) = self.group_family(group) else {
            return false;
        };
        let slow: Vec<_> = self
            .cohort(index)
            .into_iter()
            .flat_map(|cohort| cohort.members.iter().copied())
            .filter(|&member| self.queued(member) >= HIGH_WATER)
            .collect();
        self.split(tables, index, family, |member| {
            slow.binary_search(&member).is_ok()
        });
        true
    }

    pub(super) fn release_held(&mut self, now: Instant) {
        let due = |since: Instant| now.since(since) >= PATIENCE;
        let indices: Vec<_> = self
            .held
            .iter()
            .filter(|&&(_, since)| due(since))
            .map(|&(index, _)| index)
            .collect();
        for index in indices {
            self.wake(index);
        }
    }
}
