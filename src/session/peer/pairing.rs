//! Two connections with one peer: which callers are let in, and which connection outlives the other.
//!
//! The verdict itself is [`collision`](crate::session::collision)'s; here it is carried out.

use std::sync::Arc;

use super::{Peer, Transport};
use crate::session::collision::{Direction, Party, Verdict, resolve, winner};
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
        if let Some((up, session)) = self.established()
            && session.graceful_restart.is_none()
        {
            // If the peer has lost the old one without a word, this finds out.
            self.with(now, self.index(up), out, Connection::probe);
            return self.refuse(id, notification::COLLISION_RESOLUTION, out);
        }
        // A peer dials one connection at a time: an older one without OPEN is dead, and one with
        // OPEN is in better shape than this.
        let older = self.connections.iter().position(|c| {
            c.as_ref()
                .is_some_and(|c| c.direction == Direction::Accepted && c.session().is_none())
        });
        if let Some(index) = older {
            if self
                .connection(index)
                .is_some_and(|c| c.negotiated().is_some())
            {
                return self.refuse(id, notification::COLLISION_RESOLUTION, out);
            }
            self.end(now, index, CloseReason::Collision, Transport::Open, out);
        }
        match self.insert(Connection::accepted(id)) {
            Some(index) => {
                self.with(now, Some(index), out, Connection::connected);
            }
            None => self.refuse(id, notification::COLLISION_RESOLUTION, out),
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
            .map(|other| resolve(local, remote, new.direction, other.standing()));
        let would_lose = winner(local, remote) != new.direction;
        match verdict {
            Some(Verdict::KeepOther) => {
                return self.end(now, index, CloseReason::Collision, Transport::Open, out);
            }
            Some(Verdict::KeepNew) => self.supersede(now, other, out),
            Some(Verdict::Undecided) | None => {}
        }
        let hold_back = verdict == Some(Verdict::Undecided) && would_lose;
        self.with(now, Some(index), out, |connection, cx| {
            connection.confirm(cx, negotiated, hold_back);
        });
    }

    /// Ends a connection that a better one replaces.
    pub(super) fn supersede(&mut self, now: Instant, index: usize, out: &mut Vec<Output>) {
        let Some(connection) = self.connection(index) else {
            return;
        };
        if !connection.is_connected() {
            return self.drop_dial(index, out);
        }
        if connection.session().is_some() {
            // The peer has restarted: that is a lost connection, for which it keeps no state, and
            // a NOTIFICATION would end graceful restart (RFC 4724 §4.2).
            out.push(Output::Abort {
                connection: connection.id,
            });
            let text = "the peer has opened a new connection".to_owned();
            let reason = CloseReason::TransportLost(Some(text));
            return self.end(now, index, reason, Transport::Gone, out);
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
