//! When to dial, how long to pause after an end, and what to remember of it.
//!
//! [`Peer::settle`] runs after each event and restores what must hold: who may dial and has nothing
//! going has a deadline for the next dial.

use std::sync::Arc;

use super::{Peer, State, Transport};
use crate::session::config::Dial;
use crate::session::connection::Connection;
use crate::session::event::{ConnectionIds, DialError, Output};
use crate::session::reason::{AdminReason, CloseReason, Damping, LastError};
use crate::session::timer::Timer;
use crate::time::{Duration, Instant};

/// The first dials of a thousand peers that start together are spread over this.
pub(super) const DIAL_SPREAD: Duration = Duration::from_millis(100);

impl Peer {
    pub(super) fn damp(
        &mut self,
        now: Instant,
        reason: &CloseReason,
        was_up: bool,
        out: &mut Vec<Output>,
    ) {
        if !self.is_enabled() {
            return;
        }
        let damping = reason.damping(was_up);
        let pause = match damping {
            // ConnectRetry spaces the dials: it runs since a dial that has failed began, and begins
            // after a lost collision. A peer that is stuck with an old session of ours answers each
            // dial with 6/7, so "at once" would be a tight loop.
            Damping::None => return,
            Damping::Pause => self.config.timers.connect_retry,
            Damping::Grow => self.backoff.grow(now, &self.config.timers.idle_hold),
        };
        for index in 0..self.connections.len() {
            self.drop_dial(index, out);
        }
        self.timers.stop(Timer::ConnectRetry);
        // What a caller did during a pause never shortens it.
        let mut until = now + self.rng.jitter(pause);
        if self.timers.is_set(Timer::IdleHold) {
            until = until.max(self.timers.deadline(Timer::IdleHold));
        }
        self.timers.set(Timer::IdleHold, until);
        // More prefixes than allowed come again with each call. Who has merely lost the connection
        // broke no rule: a peer that restarts is welcome at once.
        if matches!(reason, CloseReason::Admin(AdminReason::PrefixLimit(_))) {
            self.refuse_until = until;
        } else if damping == Damping::Grow && !matches!(reason, CloseReason::TransportLost(_)) {
            self.refuse_until = until.min(now + self.config.timers.idle_hold.first);
        }
    }

    /// Remembers what an operator should see.
    pub(super) fn note(&mut self, now: Instant, reason: &CloseReason, alone: bool) {
        let told = match reason {
            CloseReason::Admin(reason) => matches!(reason, AdminReason::PrefixLimit(_)),
            // The loser of a collision is often just closed.
            CloseReason::TransportLost(_) => alone,
            reason => !reason.is_collision(),
        };
        if !told {
            return;
        }
        match &mut self.past.get_or_insert_default().error {
            // A connection that was just closed does not hide what was said before.
            Some(last) if last.outweighs(reason) => last.since = Some((now, reason.clone())),
            last => {
                let config = Arc::clone(&self.config);
                *last = Some(Box::new(LastError::new(now, reason.clone(), config)));
            }
        }
    }

    pub(super) fn connect_retry(
        &mut self,
        now: Instant,
        ids: &mut ConnectionIds,
        out: &mut Vec<Output>,
    ) {
        let stuck = self
            .connections
            .iter()
            .position(|c| c.as_ref().is_some_and(|c| !c.is_connected()));
        if let Some(index) = stuck {
            let reason = CloseReason::DialFailed(DialError::TimedOut);
            self.end(now, index, reason, Transport::Open, out);
        }
        if !self.may_dial() {
            return;
        }
        let young = self
            .connections
            .iter()
            .flatten()
            .any(|c| c.is_young_call(now));
        if young && !self.calls_fail(now) {
            // It is about to be a session: `settle` sets the time of the next dial.
            return;
        }
        let connection = ids.issue();
        if self.insert(Connection::dialling(connection)).is_some() {
            out.push(Output::Dial { connection });
            let wait = self.rng.jitter(self.config.timers.connect_retry);
            self.timers.set(Timer::ConnectRetry, now + wait);
        }
    }

    /// Ends a dial that nobody waits for any more.
    pub(super) fn drop_dial(&mut self, index: usize, out: &mut Vec<Output>) {
        if let Some(slot) = self.connections.get_mut(index)
            && let Some(connection) = slot.take_if(|connection| !connection.is_connected())
        {
            out.push(Output::Abort {
                connection: connection.id,
            });
        }
    }

    /// Whether a dial may begin now.
    pub(super) fn may_dial(&self) -> bool {
        // A call that has not come to a session yet is no reason to wait: it may never do.
        let taken = |c: &Connection| !c.is_call();
        self.is_enabled()
            && self.config.dial != Dial::Passive
            && !self.connections.iter().flatten().any(|c| taken(c))
    }

    pub(super) fn has_dial(&self) -> bool {
        self.connections.iter().flatten().any(|c| !c.is_connected())
    }

    pub(super) fn dial_from_after(&self, now: Instant) -> Instant {
        match self.config.dial {
            Dial::Active | Dial::Passive => now,
            Dial::After(wait) => now + wait,
        }
    }

    /// Sets the next dial within `spread` of now, or of the time from which dialling is allowed.
    pub(super) fn dial_soon(&mut self, now: Instant, spread: Duration) {
        let micros = u64::try_from(spread.as_micros()).unwrap_or(u64::MAX);
        let jitter = Duration::from_micros(self.rng.below(micros));
        self.timers.stop(Timer::IdleHold);
        self.timers
            .set(Timer::ConnectRetry, now.max(self.dial_from) + jitter);
    }

    pub(super) fn forget_errors(&mut self) {
        self.backoff.reset();
        self.timers.stop(Timer::IdleHold);
        self.refuse_until = Instant::ZERO;
    }

    /// Restores what holds between events.
    pub(super) fn settle(&mut self, now: Instant) {
        if !self.is_enabled() {
            self.timers.stop(Timer::IdleHold);
        }
        if !self.may_dial() && !self.has_dial() {
            self.timers.stop(Timer::ConnectRetry);
        } else if !self.timers.is_set(Timer::IdleHold) && !self.timers.is_set(Timer::ConnectRetry) {
            let wait = self.rng.jitter(self.config.timers.connect_retry);
            self.timers
                .set(Timer::ConnectRetry, (now + wait).max(self.dial_from));
        }
        let state = self.connections.iter().flatten().map(|c| c.state()).max();
        let state = state.unwrap_or_else(|| {
            let idle = !self.is_enabled() || self.timers.is_set(Timer::IdleHold);
            if idle { State::Idle } else { State::Active }
        });
        if state != self.state {
            self.counters.transitions += 1;
            self.since = now;
            self.state = state;
        }
    }
}
