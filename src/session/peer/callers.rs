//! Connections from the peer's address that came to nothing: counted and said, and no more than that.
//!
//! Whoever has the address can make them, and in a cluster that may be any pod. Which of two connections lives is
//! `pairing`'s.

use super::Peer;
use crate::session::config::Dial;
use crate::session::connection::Connection;
use crate::session::reason::CloseReason;
use crate::time::{Duration, Instant};

/// How long calls are not preferred to a dial that has begun, after one that came to nothing.
const DISTRUST: Duration = Duration::from_secs(60);

impl Peer {
    /// How many connections from the peer's address came to nothing.
    pub fn failed_calls(&self) -> u64 {
        self.past.as_ref().map_or(0, |past| past.failed_calls)
    }

    /// Whoever has the peer's address can call, so what comes of it is counted, and said while there is no session,
    /// and that is all: it makes no pause, leaves nothing out of our next OPEN and stops no dial of ours. Only a
    /// peer that we never dial can say in no other way what it does not take.
    pub(super) fn call_failed(&mut self, now: Instant, reason: &CloseReason, ended: &Connection) {
        if !reason.is_collision() {
            self.count_failed_call(now);
        }
        if self.established().is_some() {
            return;
        }
        if self.config.dial == Dial::Passive {
            self.withhold(ended, reason);
        }
        self.note(now, reason, true);
        if let Some(other) = self.connections.iter_mut().flatten().next() {
            other.release(now, &self.config);
        }
    }

    pub(super) fn count_failed_call(&mut self, now: Instant) {
        let past = self.past.get_or_insert_default();
        past.failed_calls += 1;
        past.last_failed_call = now;
    }

    /// Whether a connection from the peer's address has come to nothing of late.
    pub(super) fn calls_fail(&self, now: Instant) -> bool {
        let past = self.past.as_ref().filter(|past| past.failed_calls > 0);
        past.is_some_and(|past| now.since(past.last_failed_call) < DISTRUST)
    }
}
