//! One TCP connection's part of the state machine: one function per state.
//!
//! It knows nothing of the other connection and of back-off; those are the [`Peer`](super::Peer)'s.
//! A function gives [`Progress`], or the [`CloseReason`] for which the connection ends; saying
//! farewell is the peer's, too, so that there is one place where a NOTIFICATION is sent. A message
//! that a state does not expect is an [`FsmFault`]: no event is without an answer.

use bytes::Bytes;
use std::sync::Arc;

use super::collision::{Direction, Other, succeeds};
use super::config::PeerConfig;
use super::counters::Counters;
use super::event::{ConnectionId, Output};
use super::negotiate::{Negotiated, negotiate};
use super::peer::State;
use super::reason::{CloseReason, Fault, FsmFault, FsmPhase};
use super::timer::{Timer, Timers};
use crate::rng::Rng;
use crate::time::{Duration, Instant};
use crate::wire::error::HeaderError;
use crate::wire::frame::{KEEPALIVE, MessageKind};
use crate::wire::notification::Notification;
use crate::wire::open::Open;
use crate::wire::route_refresh::RouteRefresh;

/// How long the peer may take to send OPEN on a connection that we dialled, and KEEPALIVE where no
/// hold time was agreed: the "large value" of RFC 4271 §8.2.2.
const LARGE_HOLD: Duration = Duration::from_secs(240);

/// How long KEEPALIVE is held back on the connection that would lose a collision. A round trip of
/// any network that carries BGP fits in it; a session that is late by so much bothers nobody.
const HOLD_BACK: Duration = Duration::from_secs(1);

/// How long a call may wait for what is known of the session that its peer has already. TCP sends again
/// four times meanwhile.
const ANSWER_TIME: Duration = Duration::from_secs(5);

/// KEEPALIVEs of all peers go out at multiples of this, so that a thousand of them wake the process four
/// times a second and not forty,
const BEAT: Duration = Duration::from_millis(250);
/// if they are so far apart that the difference is within the jitter.
const LONG_KEEPALIVE: Duration = Duration::from_secs(10);
/// KEEPALIVEs are never closer than this (RFC 4271 §4.4).
const MIN_KEEPALIVE: Duration = Duration::from_secs(1);

/// A TCP connection, or the attempt at one.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: ConnectionId,
    pub(super) direction: Direction,
    phase: Phase,
    timers: Timers,
    /// Whether a new connection waits for what is known of this one, or this one for another.
    doubt: Doubt,
    /// When KEEPALIVE went out last.
    kept_alive: Instant,
}

/// What is in doubt while a peer that has a session calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doubt {
    None,
    /// This is the session, and it is asked whether it lives.
    Asked,
    /// This is the call, which waits for the answer: it says nothing more, and its time is short.
    Waits,
}

#[derive(Debug)]
enum Phase {
    /// No TCP connection yet.
    Dialling,
    /// TCP is up, DelayOpen runs, no OPEN is sent.
    Delaying,
    OpenSent,
    OpenConfirm(Confirming),
    Established(Arc<Negotiated>),
}

#[derive(Debug)]
struct Confirming {
    negotiated: Arc<Negotiated>,
    /// Our KEEPALIVE is out; it may be held back.
    told: bool,
    /// The peer's KEEPALIVE is in.
    confirmed: bool,
}

/// What a connection acts with.
pub(super) struct Context<'a> {
    pub(super) now: Instant,
    pub(super) config: &'a PeerConfig,
    pub(super) rng: &'a mut Rng,
    pub(super) counters: &'a mut Counters,
    pub(super) out: &'a mut Vec<Output>,
}

/// How far an event has brought a connection.
#[derive(Debug)]
pub(super) enum Progress {
    /// Nowhere that the peer must know of.
    None,
    /// OPEN has come and is acceptable; [`Connection::confirm`] or the end must follow.
    Opened(Negotiated),
    /// Established.
    Up(Arc<Negotiated>),
}

impl Context<'_> {
    pub(super) fn send(&mut self, connection: ConnectionId, kind: MessageKind, bytes: Bytes) {
        self.counters.count_sent(kind, 1);
        self.out.push(Output::Send { connection, bytes });
    }
}

impl Connection {
    /// A dial that begins.
    pub(super) const fn dialling(id: ConnectionId) -> Self {
        Self::new(id, Direction::Dialled, Phase::Dialling)
    }

    /// A connection that was accepted; [`Connection::connected`] must follow.
    pub(super) const fn accepted(id: ConnectionId) -> Self {
        Self::new(id, Direction::Accepted, Phase::Delaying)
    }

    const fn new(id: ConnectionId, direction: Direction, phase: Phase) -> Self {
        Self {
            id,
            direction,
            phase,
            timers: Timers::new(),
            doubt: Doubt::None,
            kept_alive: Instant::ZERO,
        }
    }

    /// TCP is up (RFC 4271 events 16 and 17).
    pub(super) fn connected(&mut self, cx: &mut Context<'_>) {
        match cx.config.timers.delay_open {
            Some(delay) => {
                self.phase = Phase::Delaying;
                self.timers.set(Timer::DelayOpen, cx.now + delay);
            }
            None => self.send_open(cx),
        }
    }

    /// A whole message has come.
    pub(super) fn message(
        &mut self,
        cx: &mut Context<'_>,
        kind: MessageKind,
        body: &[u8],
    ) -> Result<Progress, CloseReason> {
        match &self.phase {
            // No bytes can come before the connection; the driver speaks of something else.
            Phase::Dialling => Ok(Progress::None),
            Phase::Delaying => before_open(cx, kind, body, FsmPhase::BeforeOpen),
            Phase::OpenSent => before_open(cx, kind, body, FsmPhase::OpenSent),
            Phase::OpenConfirm(_) => self.open_confirm(cx, kind, body),
            Phase::Established(_) => self.established(cx, kind, body),
        }
    }

    /// The peer's OPEN is accepted and no collision stands against it: OpenConfirm.
    ///
    /// With `hold_back`, KEEPALIVE waits for the fate of the other connection; in doubt it does in any case.
    pub(super) fn confirm(
        &mut self,
        cx: &mut Context<'_>,
        negotiated: Negotiated,
        hold_back: bool,
    ) {
        if matches!(self.phase, Phase::Delaying) {
            self.send_open(cx);
        }
        if self.doubt != Doubt::Waits {
            let hold = negotiated.hold_time.duration().unwrap_or(LARGE_HOLD);
            self.timers.set(Timer::Hold, cx.now + hold);
        }
        let negotiated = Arc::new(negotiated);
        self.phase = Phase::OpenConfirm(Confirming {
            negotiated,
            told: false,
            confirmed: false,
        });
        match (self.is_waiting(), hold_back) {
            (true, _) => {}
            (false, true) => self.timers.set(Timer::Keepalive, cx.now + HOLD_BACK),
            (false, false) => self.keepalive(cx),
        }
    }

    /// There is no other connection any more: a KEEPALIVE that was held back may go.
    pub(super) fn release(&mut self, now: Instant, config: &PeerConfig) {
        if self.is_waiting() {
            self.doubt = Doubt::None;
            let agreed = self.negotiated().map(|session| session.hold_time);
            let wait = match agreed {
                Some(hold) => hold.duration().unwrap_or(LARGE_HOLD),
                None => config.timers.open_wait,
            };
            self.timers.set(Timer::Hold, now + wait);
        }
        if let Phase::OpenConfirm(Confirming { told: false, .. }) = self.phase {
            self.timers.set(Timer::Keepalive, now);
        }
    }

    /// Its peer has a session already: this call waits for what is known of that one.
    pub(super) fn wait(&mut self, now: Instant) {
        self.doubt = Doubt::Waits;
        self.timers.set(Timer::Hold, now + ANSWER_TIME);
    }

    /// Asks the peer's host whether it still has this connection: one that has rebooted answers with a reset.
    pub(super) fn probe(&mut self, cx: &mut Context<'_>) {
        if self.session().is_none() {
            return;
        }
        self.doubt = Doubt::Asked;
        // Not more often than §4.4 allows, however often somebody knocks.
        let earliest = self.kept_alive + MIN_KEEPALIVE;
        if earliest <= cx.now {
            self.keepalive(cx);
        } else {
            let at = earliest.min(self.timers.deadline(Timer::Keepalive));
            self.timers.set(Timer::Keepalive, at);
        }
    }

    /// The peer's host has acknowledged what was sent; whether that answers a question.
    pub(super) fn acknowledged(&mut self) -> bool {
        let asked = self.doubt == Doubt::Asked;
        if asked {
            self.doubt = Doubt::None;
        }
        asked
    }

    /// Whether the peer dialled it, or whoever has its address, and no session came of it.
    pub(super) fn is_call(&self) -> bool {
        self.direction == Direction::Accepted && self.session().is_none()
    }

    /// Whether it is a call that was just told that it may be a session.
    pub(super) fn is_young_call(&self, now: Instant) -> bool {
        self.is_call() && self.negotiated().is_some() && now < self.kept_alive + HOLD_BACK
    }

    /// Whether it is a call that waits for what is known of the session.
    pub(super) fn is_waiting(&self) -> bool {
        self.doubt == Doubt::Waits
    }

    /// Deals with the deadlines that have passed.
    pub(super) fn expire(&mut self, cx: &mut Context<'_>) -> Result<Progress, CloseReason> {
        if self.timers.expire(Timer::Hold, cx.now) {
            if self.is_waiting() {
                return Err(CloseReason::Collision);
            }
            return Err(match self.negotiated() {
                Some(_) => CloseReason::HoldTimerExpired,
                None => CloseReason::NoOpen,
            });
        }
        if self.timers.expire(Timer::SendHold, cx.now) {
            return Err(CloseReason::SendHoldTimerExpired);
        }
        if self.timers.expire(Timer::DelayOpen, cx.now) {
            self.send_open(cx);
        }
        if self.timers.expire(Timer::Keepalive, cx.now) {
            self.keepalive(cx);
            return Ok(self.establish_if_confirmed(cx));
        }
        Ok(Progress::None)
    }

    /// Bytes wait for the kernel.
    pub(super) fn send_blocked(&mut self, now: Instant, config: &PeerConfig) {
        let limit = self
            .negotiated()
            .and_then(|n| config.timers.send_hold(n.hold_time));
        if let Some(limit) = limit
            && !self.timers.is_set(Timer::SendHold)
        {
            self.timers.set(Timer::SendHold, now + limit);
        }
    }

    /// Bytes have left for the kernel.
    pub(super) fn sent(&mut self) {
        self.timers.stop(Timer::SendHold);
    }

    pub(super) fn next_timeout(&self) -> Option<(Instant, Timer)> {
        self.timers.next()
    }

    /// What was agreed, from OpenConfirm on.
    pub(super) fn negotiated(&self) -> Option<&Arc<Negotiated>> {
        match &self.phase {
            Phase::Dialling | Phase::Delaying | Phase::OpenSent => None,
            Phase::OpenConfirm(Confirming { negotiated, .. }) | Phase::Established(negotiated) => {
                Some(negotiated)
            }
        }
    }

    /// What was agreed, if it is in force.
    pub(super) fn session(&self) -> Option<&Arc<Negotiated>> {
        match &self.phase {
            Phase::Dialling | Phase::Delaying | Phase::OpenSent | Phase::OpenConfirm(_) => None,
            Phase::Established(negotiated) => Some(negotiated),
        }
    }

    /// Whether there is a TCP connection.
    pub(super) const fn is_connected(&self) -> bool {
        !matches!(self.phase, Phase::Dialling)
    }

    /// Whether our OPEN is out.
    pub(super) const fn has_said_open(&self) -> bool {
        !matches!(self.phase, Phase::Dialling | Phase::Delaying)
    }

    /// How far it is, as a collision with an OPEN sees it.
    pub(super) fn standing(&self, new: &Negotiated) -> Other {
        match &self.phase {
            Phase::Dialling | Phase::Delaying => Other::Unopened,
            Phase::OpenSent => Other::OpenSent,
            Phase::OpenConfirm(_) => Other::OpenConfirm,
            Phase::Established(negotiated) => Other::Established {
                successor: succeeds(negotiated, new),
            },
        }
    }

    /// The RFC's name for its state.
    pub(super) const fn state(&self) -> State {
        match (&self.phase, self.direction) {
            (Phase::Dialling, _) | (Phase::Delaying, Direction::Dialled) => State::Connect,
            (Phase::Delaying, Direction::Accepted) => State::Active,
            (Phase::OpenSent, _) => State::OpenSent,
            (Phase::OpenConfirm(_), _) => State::OpenConfirm,
            (Phase::Established(_), _) => State::Established,
        }
    }

    fn open_confirm(
        &mut self,
        cx: &mut Context<'_>,
        kind: MessageKind,
        body: &[u8],
    ) -> Result<Progress, CloseReason> {
        match kind {
            MessageKind::Keepalive => {
                if let Phase::OpenConfirm(confirming) = &mut self.phase {
                    confirming.confirmed = true;
                }
                self.restart_hold(cx.now);
                Ok(self.establish_if_confirmed(cx))
            }
            MessageKind::Notification => Err(received(body)),
            MessageKind::Open | MessageKind::Update | MessageKind::RouteRefresh => {
                Err(unexpected(kind, FsmPhase::OpenConfirm))
            }
        }
    }

    fn established(
        &mut self,
        cx: &mut Context<'_>,
        kind: MessageKind,
        body: &[u8],
    ) -> Result<Progress, CloseReason> {
        let connection = self.id;
        match kind {
            MessageKind::Keepalive => {}
            MessageKind::Update => cx.out.push(Output::Update { connection }),
            MessageKind::RouteRefresh if !cx.config.offer.route_refresh => {
                // A type that we never said we know (RFC 2918 §4).
                return Err(faulty(Fault::Header(HeaderError::Kind(kind.code()))));
            }
            MessageKind::RouteRefresh => {
                let message = RouteRefresh::decode(body)
                    .map_err(|error| faulty(Fault::RouteRefresh(error)))?;
                cx.out.push(Output::RouteRefresh {
                    connection,
                    message,
                });
            }
            MessageKind::Notification => return Err(received(body)),
            MessageKind::Open => return Err(unexpected(kind, FsmPhase::Established)),
        }
        self.restart_hold(cx.now);
        Ok(Progress::None)
    }

    /// Established needs both KEEPALIVEs: the peer's, and ours, which may be held back.
    fn establish_if_confirmed(&mut self, cx: &Context<'_>) -> Progress {
        let Phase::OpenConfirm(Confirming {
            negotiated,
            told: true,
            confirmed: true,
        }) = &self.phase
        else {
            return Progress::None;
        };
        let negotiated = Arc::clone(negotiated);
        self.phase = Phase::Established(Arc::clone(&negotiated));
        self.restart_hold(cx.now);
        Progress::Up(negotiated)
    }

    /// Something came that shows the peer is alive.
    pub(super) fn restart_hold(&mut self, now: Instant) {
        match self
            .negotiated()
            .map(|negotiated| negotiated.hold_time.duration())
        {
            Some(Some(hold)) => self.timers.set(Timer::Hold, now + hold),
            // Without a hold time only the wait for the first KEEPALIVE is bounded.
            Some(None) if self.session().is_some() => self.timers.stop(Timer::Hold),
            Some(None) | None => {}
        }
    }

    fn send_open(&mut self, cx: &mut Context<'_>) {
        let bytes = cx.config.open().encode();
        cx.send(self.id, MessageKind::Open, bytes.into());
        self.timers.stop(Timer::DelayOpen);
        let wait = match self.direction {
            Direction::Dialled => LARGE_HOLD,
            Direction::Accepted => cx.config.timers.open_wait,
        };
        if !self.is_waiting() {
            self.timers.set(Timer::Hold, cx.now + wait);
        }
        self.phase = Phase::OpenSent;
    }

    /// Sends KEEPALIVE and sets the time of the next, if there is to be one.
    fn keepalive(&mut self, cx: &mut Context<'_>) {
        cx.send(
            self.id,
            MessageKind::Keepalive,
            Bytes::from_static(&KEEPALIVE),
        );
        self.kept_alive = cx.now;
        if let Phase::OpenConfirm(confirming) = &mut self.phase {
            confirming.told = true;
        }
        if self.doubt == Doubt::Asked {
            let connection = self.id;
            cx.out.push(Output::Probe { connection });
        }
        if let Some(interval) = self
            .negotiated()
            .and_then(|negotiated| negotiated.keepalive)
        {
            // Jitter only shortens (§10), and not below a second.
            let wait = cx.rng.jitter(interval).max(MIN_KEEPALIVE);
            let at = together(cx.now + wait, cx.now + interval * 3 / 4);
            let at = if interval < LONG_KEEPALIVE {
                cx.now + wait
            } else {
                at
            };
            self.timers.set(Timer::Keepalive, at);
        }
    }
}

/// The last beat up to `at`, or the next one if that is before `earliest`.
fn together(at: Instant, earliest: Instant) -> Instant {
    let beats = u128::from(at.as_micros()) / BEAT.as_micros() * BEAT.as_micros();
    let beat = Instant::from_micros(u64::try_from(beats).unwrap_or(u64::MAX));
    if beat < earliest { beat + BEAT } else { beat }
}

/// DelayOpen and OpenSent: the peer's OPEN is what they wait for.
fn before_open(
    cx: &Context<'_>,
    kind: MessageKind,
    body: &[u8],
    phase: FsmPhase,
) -> Result<Progress, CloseReason> {
    match kind {
        MessageKind::Open => {
            let theirs = Open::decode(body).map_err(|error| faulty(Fault::Open(error)))?;
            negotiate(&cx.config.open(), &theirs, cx.config)
                .map(Progress::Opened)
                .map_err(|error| faulty(Fault::Refused(error)))
        }
        MessageKind::Notification => Err(received(body)),
        MessageKind::Update | MessageKind::Keepalive | MessageKind::RouteRefresh => {
            Err(unexpected(kind, phase))
        }
    }
}

fn unexpected(kind: MessageKind, phase: FsmPhase) -> CloseReason {
    faulty(Fault::Fsm(FsmFault { kind, phase }))
}

pub(super) fn faulty(fault: Fault) -> CloseReason {
    CloseReason::SentNotification {
        notification: fault.notification(),
        fault,
    }
}

/// The peer's NOTIFICATION ends the connection, whatever is in it, and is never answered.
fn received(body: &[u8]) -> CloseReason {
    let unreadable = || Notification::new(0, 0, body.to_vec());
    CloseReason::ReceivedNotification(Notification::decode(body).unwrap_or_else(|_| unreadable()))
}
