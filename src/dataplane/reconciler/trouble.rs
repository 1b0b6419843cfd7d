//! Prefixes that do not go smoothly: refused by the kernel, fought over, or taken by others.
//!
//! A route that is removed now and then is put back at once; one that is removed again and again
//! waits longer each time, so that two programs with different opinions do not burn a core each. A
//! refused route is tried again when something changed that may help, and with growing pauses.

use std::collections::{BTreeMap, BTreeSet};

use super::super::report::Covered;
use super::super::route::Errno;
use crate::net::Prefix;
use crate::time::{Duration, Instant};

/// So many repairs of one prefix are free: enough for a program that removes something of ours at
/// random many times a second, and nothing for a core to notice.
const FREE_REPAIRS: u8 = 30;
/// Repairs further apart than this do not count together.
const MEMORY: Duration = Duration::from_secs(60);
/// The pauses between repairs of a fought-over prefix: 1 s, doubled up to this.
const LONGEST_TRUCE: Duration = Duration::from_secs(60);
/// The pauses after refusals: a quarter of a second, doubled up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Helpful changes may come in storms; refused routes are tried at most so often for them.
const HASTE: Duration = Duration::from_secs(1);

/// How a prefix does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    /// Fine now; repairs are remembered for a while.
    Watched,
    /// The kernel refused; no operation before the time is up.
    Refused(Errno),
    /// Somebody removes it again and again; no repair before the time is up.
    Fought,
    /// A foreign route with this protocol number has our key.
    Conflict(u8),
    /// It would take away what the host reaches by itself.
    Covers(Covered),
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Trouble {
    pub(super) mood: Mood,
    pub(super) strikes: u8,
    pub(super) due: Option<Instant>,
    failures: u8,
    last_strike: Instant,
}

/// All troubled prefixes and their timers.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    prefixes: BTreeMap<Prefix, Trouble>,
    timers: BTreeSet<(Instant, Prefix)>,
    /// When refused routes were last tried again because something had changed.
    hastened: Option<Instant>,
    hasten_at: Option<Instant>,
}

impl Troubles {
    /// The kernel refused; whether that is news (it was not refused for this reason before).
    pub(super) fn refused(&mut self, now: Instant, prefix: Prefix, errno: Errno) -> bool {
        let mut trouble = self.take(now, prefix);
        let news = trouble.mood != Mood::Refused(errno);
        trouble.mood = Mood::Refused(errno);
        let pause = Duration::from_millis(250) * (1 << trouble.failures.min(7));
        trouble.failures = trouble.failures.saturating_add(1);
        trouble.due = Some(now + pause.min(LONGEST_PAUSE));
        self.put(prefix, trouble);
        news
    }

    /// Somebody undid a route of ours. Answers how long its repair has to wait, if at all.
    pub(super) fn strike(&mut self, now: Instant, prefix: Prefix) -> Option<(u8, Duration)> {
        let mut trouble = self.take(now, prefix);
        if now.since(trouble.last_strike) > MEMORY + LONGEST_TRUCE {
            trouble.strikes = 0;
        }
        trouble.strikes = trouble.strikes.saturating_add(1);
        trouble.last_strike = now;
        let over = trouble.strikes.saturating_sub(FREE_REPAIRS);
        let truce =
            (Duration::from_secs(1) * (1 << over.saturating_sub(1).min(6))).min(LONGEST_TRUCE);
        let waits = over > 0;
        trouble.mood = if waits { Mood::Fought } else { Mood::Watched };
        trouble.due = Some(now + if waits { truce } else { MEMORY });
        let strikes = trouble.strikes;
        self.put(prefix, trouble);
        waits.then_some((strikes, truce))
    }

    /// A foreign route has our key, or ours would do harm; whether that is news.
    pub(super) fn not_made(&mut self, now: Instant, prefix: Prefix, mood: Mood) -> bool {
        let mut trouble = self.take(now, prefix);
        let news = trouble.mood != mood;
        trouble.mood = mood;
        trouble.due = None;
        self.put(prefix, trouble);
        news
    }

    /// All is well with the prefix; whether it was not before.
    pub(super) fn settled(&mut self, now: Instant, prefix: Prefix) -> bool {
        if self.prefixes.is_empty() || !self.prefixes.contains_key(&prefix) {
            return false;
        }
        let mut trouble = self.take(now, prefix);
        let was_bad = matches!(
            trouble.mood,
            Mood::Refused(_) | Mood::Conflict(_) | Mood::Covers(_)
        );
        if trouble.strikes > 0 {
            trouble.mood = Mood::Watched;
            trouble.failures = 0;
            // Longer than the longest truce, or a slow fight would look like accidents.
            trouble.due = Some(now + MEMORY + LONGEST_TRUCE);
            self.put(prefix, trouble);
        }
        was_bad
    }

    /// Something else is wanted now: a refusal of the old wish says nothing about the new one.
    pub(super) fn relent(&mut self, prefix: Prefix) {
        if self
            .prefixes
            .get(&prefix)
            .is_some_and(|t| matches!(t.mood, Mood::Refused(_)))
        {
            let trouble = self.take(Instant::ZERO, prefix);
            if trouble.strikes > 0 {
                self.put(
                    prefix,
                    Trouble {
                        mood: Mood::Watched,
                        failures: 0,
                        ..trouble
                    },
                );
            }
        }
    }

    /// Whether operations on the prefix have to wait.
    pub(super) fn holds(&self, prefix: Prefix) -> bool {
        !self.prefixes.is_empty()
            && self.prefixes.get(&prefix).is_some_and(|t| {
                matches!(t.mood, Mood::Refused(_) | Mood::Fought) && t.due.is_some()
            })
    }

    pub(super) fn get(&self, prefix: Prefix) -> Option<&Trouble> {
        self.prefixes.get(&prefix)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Prefix, &Trouble)> + '_ {
        self.prefixes
            .iter()
            .map(|(prefix, trouble)| (*prefix, trouble))
    }

    /// Something changed that may help refused routes.
    pub(super) fn hasten(&mut self, now: Instant) {
        let earliest = self.hastened.map_or(now, |last| last + HASTE);
        if !self.prefixes.is_empty() && self.hasten_at.is_none() {
            self.hasten_at = Some(earliest.max(now));
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let timer = self.timers.first().map(|(due, _)| *due);
        [timer, self.hasten_at].into_iter().flatten().min()
    }

    /// The prefixes that may be tried again now.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<Prefix> {
        let mut ready = Vec::new();
        if self.hasten_at.is_some_and(|at| at <= now) {
            self.hasten_at = None;
            self.hastened = Some(now);
            let refused = |(_, t): &(&Prefix, &Trouble)| matches!(t.mood, Mood::Refused(_));
            ready.extend(
                self.prefixes
                    .iter()
                    .filter(refused)
                    .map(|(prefix, _)| *prefix),
            );
        }
        while let Some((due, prefix)) = self.timers.first().copied() {
            if due > now {
                break;
            }
            self.timers.pop_first();
            ready.push(prefix);
        }
        for prefix in &ready {
            let mut trouble = self.take(now, *prefix);
            let forgotten = trouble.mood == Mood::Watched;
            trouble.due = None;
            if trouble.mood == Mood::Fought {
                trouble.mood = Mood::Watched;
                trouble.due = Some(now + MEMORY + LONGEST_TRUCE);
            }
            if !forgotten {
                self.put(*prefix, trouble);
            }
        }
        ready
    }

    fn take(&mut self, now: Instant, prefix: Prefix) -> Trouble {
        let fresh = Trouble {
            mood: Mood::Watched,
            strikes: 0,
            due: None,
            failures: 0,
            last_strike: now,
        };
        let trouble = self.prefixes.remove(&prefix).unwrap_or(fresh);
        if let Some(due) = trouble.due {
            self.timers.remove(&(due, prefix));
        }
        trouble
    }

    fn put(&mut self, prefix: Prefix, trouble: Trouble) {
        if let Some(due) = trouble.due {
            self.timers.insert((due, prefix));
        }
        self.prefixes.insert(prefix, trouble);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_repairs_are_free_and_then_the_pauses_grow() {
        let mut troubles = Troubles::default();
        let prefix = "10.0.0.0/24".parse().unwrap();
        let mut now = Instant::from_secs(100);
        let mut waits = Vec::new();
        for _ in 0..FREE_REPAIRS {
            assert_eq!(troubles.strike(now, prefix), None);
            troubles.settled(now, prefix);
        }
        for _ in 0..9 {
            let wait = troubles
                .strike(now, prefix)
                .map_or(Duration::ZERO, |(_, wait)| wait);
            waits.push(wait.as_secs());
            now = now + wait;
            troubles.expire(now);
            troubles.settled(now, prefix);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    }

    #[test]
    fn old_strikes_are_forgotten() {
        let mut troubles = Troubles::default();
        let prefix = "10.0.0.0/24".parse().unwrap();
        for n in 0..100 {
            let now = Instant::from_secs(1000 * n);
            assert_eq!(troubles.strike(now, prefix), None);
            troubles.settled(now, prefix);
        }
        troubles.expire(Instant::from_secs(1_000_000));
        assert!(troubles.next_timeout().is_none());
    }
}
