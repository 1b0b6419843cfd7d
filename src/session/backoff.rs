//! The pause after an error (DampPeerOscillations, RFC 4271 §8.1.1): it doubles while errors keep
//! coming and falls back to its first step once a stable period has passed.

use crate::time::{Duration, Instant};

/// Bounds of the pause after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdleHoldLimits {
    /// The first pause.
    pub first: Duration,
    /// No pause is longer.
    pub most: Duration,
    /// So long without an error, and the next pause is the first again.
    pub forget_after: Duration,
}

impl Default for IdleHoldLimits {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            most: Duration::from_secs(120),
            forget_after: Duration::from_secs(300),
        }
    }
}

/// How long the next pause is.
#[derive(Debug, Clone, Default)]
pub(super) struct Backoff {
    /// Errors since the last quiet spell.
    errors: u8,
    /// When the last pause ended.
    resumed: Instant,
}

impl Backoff {
    /// The pause that an error at `now` earns.
    pub(super) fn grow(&mut self, now: Instant, limits: &IdleHoldLimits) -> Duration {
        if now.since(self.resumed) >= limits.forget_after {
            self.errors = 0;
        }
        let factor = 1_u32
            .checked_shl(u32::from(self.errors))
            .unwrap_or(u32::MAX);
        let pause = limits.first.saturating_mul(factor).min(limits.most);
        self.errors = self.errors.saturating_add(1);
        self.resumed = now + pause;
        pause
    }

    /// Forgets all errors.
    pub(super) fn reset(&mut self) {
        self.errors = 0;
    }
}
