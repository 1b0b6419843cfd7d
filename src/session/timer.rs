//! Deadlines, one a name: setting a timer moves it, so there is nothing to leak.

use core::fmt;

use crate::time::Instant;

/// The timers of RFC 4271 §10 and RFC 9687.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// Nothing came from the peer for the hold time.
    Hold,
    /// The peer took none of our bytes.
    SendHold,
    /// OPEN goes out.
    DelayOpen,
    /// KEEPALIVE goes out.
    Keepalive,
    /// The pause after an error ends.
    IdleHold,
    /// The next dial begins, or the running one is given up.
    ConnectRetry,
}

impl Timer {
    /// All, in the order in which simultaneous expiries are handled.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Hold,
        Self::SendHold,
        Self::DelayOpen,
        Self::Keepalive,
        Self::IdleHold,
        Self::ConnectRetry,
    ];
    const COUNT: usize = Self::ConnectRetry as usize + 1;
}

impl fmt::Display for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hold => "hold",
            Self::SendHold => "send-hold",
            Self::DelayOpen => "delay-open",
            Self::Keepalive => "keepalive",
            Self::IdleHold => "idle-hold",
            Self::ConnectRetry => "connect-retry",
        })
    }
}

/// A deadline per [`Timer`].
///
/// Unset is the end of time: it costs no flag, and no deadline is ever as late.
#[derive(Debug, Clone)]
pub(super) struct Timers([Instant; Timer::COUNT]);

const NEVER: Instant = Instant::from_micros(u64::MAX);

impl Timers {
    pub(super) const fn new() -> Self {
        Self([NEVER; Timer::COUNT])
    }

    pub(super) fn set(&mut self, timer: Timer, at: Instant) {
        if let Some(slot) = self.0.get_mut(timer as usize) {
            *slot = at;
        }
    }

    pub(super) fn stop(&mut self, timer: Timer) {
        self.set(timer, NEVER);
    }

    pub(super) fn is_set(&self, timer: Timer) -> bool {
        self.deadline(timer) != NEVER
    }

    /// Whether it is due; a due timer is unset by asking.
    pub(super) fn expire(&mut self, timer: Timer, now: Instant) -> bool {
        let due = self.is_set(timer) && self.deadline(timer) <= now;
        if due {
            self.stop(timer);
        }
        due
    }

    /// The earliest deadline and whose it is.
    pub(super) fn next(&self) -> Option<(Instant, Timer)> {
        Timer::ALL
            .into_iter()
            .filter(|timer| self.is_set(*timer))
            .map(|timer| (self.deadline(timer), timer))
            .min()
    }

    /// When it is due; the end of time if it is unset.
    pub(super) fn deadline(&self, timer: Timer) -> Instant {
        self.0.get(timer as usize).copied().unwrap_or(NEVER)
    }
}
