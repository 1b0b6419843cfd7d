//! How long turns take: while one runs, no keepalive leaves and no command is answered.
//!
//! It measures and bounds nothing; what a turn may do is bounded where it is done (`node::Pace`, `turn`). What
//! always holds: the longest turn of the last minute is told, and one that is too long is said once a minute.

use crate::time::{Duration, Instant};

/// Nobody should wait longer.
const TOO_LONG: Duration = Duration::from_millis(100);
/// How long a turn is remembered, and no more than twice that.
const MEMORY: Duration = Duration::from_secs(60);

/// The lengths of turns.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    since: Instant,
    now: Duration,
    before: Duration,
    ever: Duration,
    said: Option<Instant>,
}

impl Pulse {
    /// A turn is over. Whether it is worth a line that it was too long.
    pub(super) fn turn(&mut self, began: Instant, ended: Instant) -> bool {
        let length = ended.since(began);
        self.roll(ended);
        self.now = self.now.max(length);
        self.ever = self.ever.max(length);
        let rests = self.said.is_some_and(|at| ended.since(at) < MEMORY);
        let worth = length > TOO_LONG && !rests;
        if worth {
            self.said = Some(ended);
        }
        worth
    }

    /// The longest of the last minute or two, and the longest of all.
    pub(super) fn longest(&mut self, now: Instant) -> (Duration, Duration) {
        self.roll(now);
        (self.now.max(self.before), self.ever)
    }

    fn roll(&mut self, now: Instant) {
        let age = now.since(self.since);
        if age < MEMORY {
            return;
        }
        self.before = match age < MEMORY + MEMORY {
            true => self.now,
            false => Duration::ZERO,
        };
        self.now = Duration::ZERO;
        self.since = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_turn_is_said_once_and_remembered_for_a_minute_or_two() {
        let at = Instant::from_secs;
        let long = |from: u64| (at(from), at(from) + Duration::from_millis(250));
        let mut pulse = Pulse::default();
        assert!(!pulse.turn(at(5), at(5) + Duration::from_millis(99)));
        let (began, ended) = long(10);
        assert!(pulse.turn(began, ended));
        assert!(!pulse.turn(began, ended), "not twice");
        assert_eq!(pulse.longest(at(70)).0.as_millis(), 250);
        let (recent, ever) = pulse.longest(at(200));
        assert_eq!((recent, ever.as_millis()), (Duration::ZERO, 250));
        let (began, ended) = long(200);
        assert!(pulse.turn(began, ended));
    }
}
