//! When the kernel is read, and when it may be written.
//!
//! One dump at a time, only while nothing is outstanding, and not in quick succession: a flapping
//! link asks for one each time. Nothing is written while a dump is due or running.

use crate::time::{Duration, Instant};

/// From the end of one dump to the start of the next.
const SPACING: Duration = Duration::from_millis(500);
/// After a dump that was not complete.
const RETRY: Duration = Duration::from_millis(100);

/// The state of reading the kernel, and the rests.
#[derive(Debug)]
pub(super) struct Sync {
    /// A dump was complete once.
    pub(super) synced: bool,
    /// The caller knows all that it wants: what is not wanted may go.
    pub(super) converged: bool,
    wanted_at: Option<Instant>,
    running: bool,
    /// Changes were lost while the dump ran, so it says nothing.
    spoilt: bool,
    ended: Option<Instant>,
    rest_until: Option<Instant>,
    denied: bool,
}

impl Default for Sync {
    fn default() -> Self {
        Self {
            synced: false,
            converged: false,
            wanted_at: Some(Instant::ZERO),
            running: false,
            spoilt: false,
            ended: None,
            rest_until: None,
            denied: false,
        }
    }
}

impl Sync {
    /// Asks for a dump, soon.
    pub(super) fn request(&mut self, now: Instant) {
        let earliest = self.ended.map_or(now, |ended| (ended + SPACING).max(now));
        let at = self.wanted_at.map_or(earliest, |at| at.min(earliest));
        self.wanted_at = Some(at);
    }

    /// Changes were lost: what is known is worth nothing until a dump is complete.
    pub(super) fn overrun(&mut self, now: Instant) {
        self.spoilt = self.running;
        self.request(now);
    }

    /// Whether a dump is due.
    pub(super) fn may_dump(&self, now: Instant) -> bool {
        !self.running && self.wanted_at.is_some_and(|at| at <= now)
    }

    pub(super) fn may_write(&self, now: Instant) -> bool {
        self.synced && !self.running && self.rest_until.is_none_or(|until| until <= now)
    }

    pub(super) fn started(&mut self) {
        self.wanted_at = None;
        self.running = true;
        self.spoilt = false;
    }

    /// The dump is over. Answers whether it is to be believed; if not, there will be another.
    pub(super) fn ended(&mut self, now: Instant, complete: bool) -> bool {
        let good = complete && !self.spoilt;
        self.running = false;
        self.spoilt = false;
        self.ended = Some(now);
        if !good {
            self.wanted_at = Some(now + RETRY);
        }
        good
    }

    pub(super) const fn is_running(&self) -> bool {
        self.running
    }

    pub(super) const fn is_spoilt(&self) -> bool {
        self.spoilt
    }

    pub(super) const fn is_idle(&self) -> bool {
        !self.running && self.wanted_at.is_none()
    }

    /// Nothing is written until then.
    pub(super) fn pause(&mut self, until: Instant) {
        self.rest_until = Some(self.rest_until.map_or(until, |at| at.max(until)));
    }

    /// The kernel says that we may not; whether that is news.
    pub(super) fn denied(&mut self, until: Instant) -> bool {
        self.pause(until);
        !core::mem::replace(&mut self.denied, true)
    }

    /// Whether it has, and has not let us since.
    pub(super) const fn is_denied(&self) -> bool {
        self.denied
    }

    /// The kernel let us.
    pub(super) const fn granted(&mut self) {
        self.denied = false;
    }

    /// A dump that waits for outstanding operations needs no timer: their results come.
    pub(super) fn next_timeout(&self, nothing_outstanding: bool) -> Option<Instant> {
        let dump = self
            .wanted_at
            .filter(|_| nothing_outstanding && !self.running);
        [dump, self.rest_until].into_iter().flatten().min()
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.rest_until.is_some_and(|until| until <= now) {
            self.rest_until = None;
        }
    }
}
