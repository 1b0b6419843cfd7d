//! How often something is done again: quick repairs by a bucket, retries of what was refused.

use std::collections::BTreeMap;

use super::super::route::Errno;
use crate::time::{Duration, Instant};

/// So many repairs of one thing may follow each other at once.
const BURST: u32 = 30;
/// After those, one in so long.
const INTERVAL: Duration = Duration::from_secs(3);
/// Above so many, things that are at peace again are forgotten.
const MANY: usize = 1024;
/// The first pause after a refusal; each later one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause after a refusal.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A bucket of quick repairs for each thing: two programs with different opinions don't burn a core
/// each, and whoever removes things at random finds them back at once.
#[derive(Debug, Clone)]
pub(super) struct Pace<K> {
    /// When the bucket of a thing is full again.
    full_at: BTreeMap<K, Instant>,
}

impl<K: Ord + Clone> Default for Pace<K> {
    fn default() -> Self {
        Self {
            full_at: BTreeMap::new(),
        }
    }
}

impl<K: Ord + Clone> Pace<K> {
    /// Takes one repair from the bucket; how long it has to wait if the bucket is empty.
    pub(super) fn take(&mut self, now: Instant, key: &K) -> Option<Duration> {
        if self.full_at.len() >= MANY {
            self.full_at.retain(|_, full_at| *full_at > now);
        }
        let full_at = self
            .full_at
            .get(key)
            .map_or(now, |full_at| (*full_at).max(now));
        let missing = full_at.since(now);
        self.full_at.insert(key.clone(), full_at + INTERVAL);
        let room = INTERVAL * (BURST - 1);
        // A waiting repair has taken its turn already, so that the pauses add up.
        let wait = missing.saturating_sub(room);
        (wait > Duration::ZERO).then(|| wait.min(INTERVAL))
    }
}

/// Something that was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) errno: Errno,
    pub(super) failures: u8,
    /// When it is tried again; none if it may be now.
    pub(super) at: Option<Instant>,
}

impl Refusal {
    /// Refused again, or for the first time.
    pub(super) fn after(before: Option<Self>, now: Instant, errno: Errno) -> Self {
        let failures = before.map_or(0, |before| before.failures);
        let pause = FIRST_PAUSE * (1 << failures.min(7));
        Self {
            errno,
            failures: failures.saturating_add(1),
            at: Some(now + pause.min(LONGEST_PAUSE)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thirty_repairs_are_quick_and_the_rest_has_a_pace() {
        let mut pace = Pace::default();
        let now = Instant::from_secs(10);
        let quick = (0..40).filter(|_| pace.take(now, &1).is_none()).count();
        assert_eq!(quick, 30);
        assert_eq!(pace.take(now, &2), None, "each thing has its own");
        let later = now + Duration::from_secs(3600);
        assert_eq!(pace.take(later, &1), None);
    }

    #[test]
    fn pauses_grow_to_half_a_minute() {
        let now = Instant::from_secs(10);
        let mut refusal = None;
        let mut pauses = Vec::new();
        for _ in 0..9 {
            let next = Refusal::after(refusal, now, Errno(95));
            pauses.push(next.at.unwrap().since(now).as_millis());
            refusal = Some(next);
        }
        assert_eq!(
            pauses,
            [250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]
        );
    }
}
