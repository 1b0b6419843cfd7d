//! Two connections with one peer: which callers are let in, and which connection outlives the other.
//!
//! The verdict itself is [`collision`](crate::session::collision)'s; here it is carried out.

use std::sync::Arc;

use super::{Peer, Transport};
use crate::session::collision::{Party, Verdict, resolve, winner};
use crate::session::connection::Connection;
use crate::session::event::{ConnectionId, Output};
use crate::session::negotiate::Negotiated;
use crate::session::reason::CloseReason;
use crate::session::timer::Timer;
use crate::time::Instant;
use crate::wire::notification::{self, Notification};

impl Peer {
    pub(super) fn accepted(&mut self, now: Instant, id: ConnectionId, out: &mut Vec<Output>) {
        if self.index(id).is_some() {
            return;
        }
        if !self.is_enabled() || !self.config.accept || now < self.refuse_until {
            return self.refuse(id, notification::CONNECTION_REJECTED, out);
        }
        // A peer dials one connection at a time, so an older one of its own is dead. And somebody else's must not
        // keep it out by saying nothing.
        let older = |c: &Option<Box<Connection>>| c.as_ref().is_some_and(|c| c.is_call());
        if let Some(index) = self.connections.iter().position(older) {
            self.count_failed_call(now);
            self.end(now, index, CloseReason::Collision, Transport::Open, out);
        }
        let Some(index) = self.insert(Connection::accepted(id)) else {
            return self.refuse(id, notification::COLLISION_RESOLUTION, out);
        };
        let up = self.established().map(|(up, _)| up);
        self.with(now, Some(index), out, |connection, cx| {
            if up.is_some() {
                connection.wait(cx.now);
            }
            connection.connected(cx);
        });
        if let Some(up) = up {
            // If the peer has lost the old one without a word, this finds out.
            self.with(now, self.index(up), out, Connection::probe);
        }
    }

    /// What was sent on a connection has arrived. If it is a session that was in doubt, it lives, and whoever
    /// has called meanwhile is not who is at its other end, or has no need of a second one.
    pub(super) fn acknowledged(&mut self, now: Instant, id: ConnectionId, out: &mut Vec<Output>) {
        let index = self.established_index(id);
        let answers = self.with(now, index, out, |connection, _| connection.acknowledged());
        let waiting = self
            .connections
            .iter()
            .position(|c| c.as_ref().is_some_and(|c| c.is_waiting()));
        if let (Some(true), Some(waiting)) = (answers, waiting) {
            self.end(now, waiting, CloseReason::Collision, Transport::Open, out);
        }
    }

    /// OPEN has come on one connection: decide about the other (RFC 4271 §6.8).
    pub(super) fn opened(
        &mut self,
        now: Instant,
        index: usize,
        negotiated: Negotiated,
        out: &mut Vec<Output>,
    ) {
        let Some(new) = self.connection(index) else {
            return;
        };
        let local = Party {
            router_id: self.config.router_id,
            asn: self.config.local_asn,
        };
        let remote = Party {
            router_id: negotiated.remote_router_id,
            asn: negotiated.remote_asn,
        };
        let other = 1 - index;
        let verdict = self
            .connection(other)
            .map(|other| resolve(local, remote, new.direction, other.standing(&negotiated)));
        // Where calls come to nothing, the next one is not worth a dial that has just begun.
        let verdict = match verdict {
            Some(Verdict::KeepNew) if self.is_dial(other) && self.calls_fail(now) => {
                Some(Verdict::Undecided)
            }
            verdict => verdict,
        };
        let would_lose = winner(local, remote) != new.direction;
        match verdict {
            Some(Verdict::KeepOther) => {
                return self.end(now, index, CloseReason::Collision, Transport::Open, out);
            }
            Some(Verdict::KeepNew) => self.supersede(now, other, out),
            Some(Verdict::Undecided | Verdict::Wait) | None => {}
        }
        // Nobody waits for a connection that has not come about yet.
        let rival = self
            .connection(other)
            .is_some_and(Connection::has_said_open);
        let hold_back = verdict == Some(Verdict::Undecided) && would_lose && rival;
        self.with(now, Some(index), out, |connection, cx| {
            connection.confirm(cx, negotiated, hold_back);
        });
    }

    fn is_dial(&self, index: usize) -> bool {
        self.connection(index).is_some_and(|c| !c.is_connected())
    }

    /// Ends a connection that a better one replaces.
    pub(super) fn supersede(&mut self, now: Instant, index: usize, out: &mut Vec<Output>) {
        let Some(connection) = self.connection(index) else {
            return;
        };
        if !connection.is_connected() {
            return self.drop_dial(index, out);
        }
        self.end(now, index, CloseReason::Collision, Transport::Open, out);
    }

    pub(super) fn up(
        &mut self,
        now: Instant,
        index: usize,
        negotiated: Arc<Negotiated>,
        out: &mut Vec<Output>,
    ) {
        let other = 1 - index;
        if let Some(connection) = self.connection(other) {
            if connection.is_connected() {
                self.end(now, other, CloseReason::Collision, Transport::Open, out);
            } else {
                self.drop_dial(other, out);
            }
        }
        self.timers.stop(Timer::IdleHold);
        self.counters.established += 1;
        if let Some(error) = self.past.as_mut().and_then(|past| past.error.as_mut()) {
            error.put_behind();
        }
        if let Some(connection) = self.connection(index) {
            out.push(Output::Up {
                connection: connection.id,
                negotiated,
            });
        }
    }

    pub(super) fn refuse(&mut self, id: ConnectionId, subcode: u8, out: &mut Vec<Output>) {
        self.send_notification(id, &Notification::cease(subcode), out);
        out.push(Output::Close { connection: id });
    }
}
