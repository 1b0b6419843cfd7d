//! Changes that were made one after another, and which of them has reached everybody else.
//!
//! Each client's first block goes and comes back; what comes carries the number of its change as MULTI_EXIT_DISC, so
//! that a receiver's UPDATE names the change. A receiver that gets a newer state without the one before it has both:
//! the older was merged away. No sockets here. Always true: a change is done once all receivers but its maker have it or
//! a newer one of the same client.

use crate::table::Rng;
use std::time::{Duration, Instant};

/// One change.
struct Change {
    at: Instant,
    announced: bool,
    missing: usize,
    took: Option<Duration>,
}

/// All changes so far.
pub(super) struct Churn {
    changes: Vec<Change>,
    /// The changes of each client.
    of: Vec<Vec<usize>>,
    /// How many of a client's changes a receiver has: one row for each receiver.
    has: Vec<Vec<usize>>,
    merged: usize,
    done: usize,
}

impl Churn {
    /// Nothing has changed yet.
    pub(super) fn new(clients: usize) -> Self {
        Self {
            changes: Vec::new(),
            of: vec![Vec::new(); clients],
            has: vec![vec![0; clients]; clients],
            merged: 0,
            done: 0,
        }
    }

    /// Makes a change and tells its number.
    pub(super) fn make(&mut self, client: usize, announced: bool, now: Instant) -> u32 {
        let number = self.changes.len();
        if let Some(of) = self.of.get_mut(client) {
            of.push(number);
        }
        self.changes.push(Change {
            at: now,
            announced,
            missing: self.has.len().saturating_sub(1),
            took: None,
        });
        u32::try_from(number).unwrap_or(0)
    }

    /// A receiver got a client's block with this metric, or, without one, its withdrawal.
    pub(super) fn got(&mut self, receiver: usize, client: usize, metric: Option<u32>) {
        if receiver == client {
            return;
        }
        let (Some(of), Some(has)) = (
            self.of.get(client),
            self.has
                .get_mut(receiver)
                .and_then(|row| row.get_mut(client)),
        ) else {
            return;
        };
        let news = of.get(*has..).unwrap_or_default();
        let changes = &self.changes;
        let is_it = |number: &usize| match metric {
            Some(metric) => u32::try_from(*number) == Ok(metric),
            None => changes.get(*number).is_some_and(|change| !change.announced),
        };
        let Some(position) = news.iter().position(is_it) else {
            return;
        };
        *has += position + 1;
        self.merged += position;
        for number in news.iter().take(position + 1) {
            let Some(change) = self.changes.get_mut(*number) else {
                continue;
            };
            change.missing = change.missing.saturating_sub(1);
            if change.missing == 0 {
                change.took = Some(change.at.elapsed());
                self.done += 1;
            }
        }
    }

    /// How many changes everybody has.
    pub(super) fn done(&self) -> usize {
        self.done
    }

    /// Of all pairs of change and receiver, those that were merged away, in percent.
    pub(super) fn merged_percent(&self) -> f64 {
        let pairs = self.changes.len() * self.has.len().saturating_sub(1);
        100.0 * self.merged as f64 / pairs.max(1) as f64
    }

    /// How long the changes took to reach everybody, in milliseconds; `only` announcements, or all.
    pub(super) fn latencies(&self, only_announced: bool) -> Vec<f64> {
        let wanted = |change: &&Change| change.announced || !only_announced;
        let milliseconds = |change: &Change| Some(change.took?.as_secs_f64() * 1000.0);
        let all = self.changes.iter().filter(wanted);
        all.filter_map(milliseconds).collect()
    }
}

/// The clients in the order in which they have their turns; always the same one.
pub(super) fn turns(clients: usize) -> Vec<usize> {
    let mut rng = Rng::new(3);
    let mut order: Vec<usize> = (0..clients).collect();
    for last in (1..clients).rev() {
        let bound = u32::try_from(last + 1).unwrap_or(u32::MAX);
        order.swap(last, rng.below(bound) as usize);
    }
    order
}

/// The value below or at which so many of a hundred are; zero of none.
pub(super) fn percentile(mut values: Vec<f64>, percent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = (values.len() * percent).div_ceil(100).max(1);
    values.get(rank - 1).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_done_when_all_others_have_it() {
        let mut churn = Churn::new(3);
        let now = Instant::now();
        assert_eq!(churn.make(1, false, now), 0);
        churn.got(0, 1, None);
        churn.got(0, 1, None);
        churn.got(1, 1, None);
        assert_eq!(churn.done(), 0);
        churn.got(2, 1, None);
        assert_eq!((churn.done(), churn.latencies(false).len()), (1, 1));
        assert_eq!(churn.latencies(true).len(), 0, "it is a withdrawal");
    }

    #[test]
    fn a_newer_state_brings_the_one_that_was_merged_away() {
        let mut churn = Churn::new(2);
        churn.make(0, false, Instant::now());
        let number = churn.make(0, true, Instant::now());
        churn.got(1, 0, Some(number));
        assert_eq!(churn.done(), 2);
        assert!((churn.merged_percent() - 50.0).abs() < 1e-9);
    }

    #[test]
    fn everybody_has_one_turn() {
        let mut order = turns(50);
        assert_ne!(order, (0..50).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..50).collect::<Vec<_>>());
    }

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let values: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!(percentile(values.clone(), 50), 100.0);
        assert_eq!(percentile(values, 99), 198.0);
        assert_eq!(percentile(vec![], 50), 0.0);
    }
}
