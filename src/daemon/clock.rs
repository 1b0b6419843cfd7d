//! The only place that reads a clock.
//!
//! The core's [`Instant`] counts from the start of the daemon on the monotonic clock: a step of the
//! system time moves no timer. (A suspended virtual machine does not count either; its sessions end
//! by their peers' hold timers.)

use std::time::{SystemTime, UNIX_EPOCH};

use crate::time::Instant;

/// The daemon's clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    start: std::time::Instant,
}

impl Clock {
    /// A clock that starts now.
    pub(super) fn start() -> Self {
        Self {
            start: std::time::Instant::now(),
        }
    }

    /// The time now.
    pub(super) fn now(&self) -> Instant {
        let micros = self.start.elapsed().as_micros();
        Instant::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    /// The runtime's name for an instant of ours.
    pub(super) fn to_tokio(self, at: Instant) -> tokio::time::Instant {
        (self.start + at.since(Instant::ZERO)).into()
    }

    /// Seconds of the Unix epoch at `at`, by today's wall clock.
    pub(super) fn unix_time(&self, at: Instant) -> u64 {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        now.saturating_sub(self.now().since(at).as_secs())
    }

    /// A seed for jitter and hashes that differs between nodes and between starts.
    pub(super) fn seed() -> u64 {
        use std::hash::{BuildHasher, RandomState};
        RandomState::new().hash_one(std::process::id())
    }
}
