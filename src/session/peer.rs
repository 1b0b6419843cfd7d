//! One configured neighbour: when to dial, how long to back off, which connection to keep.
//!
//! It owns up to two [`Connection`]s and shows their most advanced state as its own. Here is who may
//! speak to it and how a connection ends; `pairing` has two connections at once, `callers` what calls that fail may cost, `policy` the dials
//! and pauses, `offering` what OPEN says, `traffic` what happens most often. Timer arithmetic of a connection and the legality of messages are not here.

mod callers;
mod offering;
mod pairing;
mod policy;
mod traffic;

use std::sync::Arc;

use super::backoff::Backoff;
use super::config::{Dial, PeerConfig};
use super::connection::{Connection, Context, Progress, faulty};
use super::counters::Counters;
use super::event::{ConnectionId, ConnectionIds, DialError, Exceeded, Input, Output, StopReason};
use super::negotiate::{Negotiated, unmet};
use super::reason::{AdminReason, CloseReason, Fault, LastError};
use super::timer::{Timer, Timers};
use crate::rng::Rng;
use crate::time::{Duration, Instant};
use crate::wire::frame::MessageKind;
use crate::wire::notification::Notification;

use self::policy::DIAL_SPREAD;

/// The states of RFC 4271 §8.2.2, least advanced first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Stopped, or pausing after an error.
    Idle,
    /// A dial is in progress.
    Connect,
    /// Waiting to dial, or to be dialled.
    Active,
    /// OPEN is sent.
    OpenSent,
    /// OPEN is received.
    OpenConfirm,
    /// Routes flow.
    Established,
}

/// Whether a peer is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminState {
    /// `Start` was given last.
    Enabled,
    /// `Stop` was given last, and why; `None` if nothing was given yet.
    Disabled(Option<StopReason>),
}

/// What a change of configuration did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reconfigured {
    /// The session, if there is one, lives on.
    Kept,
    /// Connections were closed with Cease 6/6, for the sake of this setting.
    Bounced(&'static str),
}

/// The wait after the first dial that failed; it doubles up to ConnectRetry.
const FIRST_RETRY: Duration = Duration::from_millis(250);

/// A configured neighbour.
#[derive(Debug)]
pub struct Peer {
    config: Arc<PeerConfig>,
    admin: AdminState,
    connections: [Option<Box<Connection>>; 2],
    /// IdleHold and ConnectRetry; the others are the connections' own.
    timers: Timers,
    backoff: Backoff,
    /// No dial before this ([`Dial::After`]).
    dial_from: Instant,
    /// No incoming connection before this: the first step of a pause.
    refuse_until: Instant,
    rng: Rng,
    state: State,
    since: Instant,
    counters: Counters,
    past: Option<Box<Past>>,
    /// Dials that failed since one succeeded or the peer was started.
    failed_dials: u8,
}

/// What is remembered of former connections, if there is anything.
#[derive(Debug, Default)]
struct Past {
    error: Option<Box<LastError>>,
    /// The configuration without the capabilities that the peer does not take, while there are such.
    reduced: Option<Arc<PeerConfig>>,
    /// Connections from the peer's address that came to nothing.
    failed_calls: u64,
    last_failed_call: Instant,
}

/// Whether there is still a TCP connection to say farewell on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    Open,
    Gone,
}

impl Peer {
    /// A peer that is disabled until [`Input::Start`]; `seed` feeds the jitter.
    pub fn new(config: PeerConfig, seed: u64) -> Self {
        Self {
            config: Arc::new(config),
            admin: AdminState::Disabled(None),
            connections: [None, None],
            timers: Timers::new(),
            backoff: Backoff::default(),
            dial_from: Instant::ZERO,
            refuse_until: Instant::ZERO,
            rng: Rng::new(seed),
            state: State::Idle,
            since: Instant::ZERO,
            counters: Counters::default(),
            past: None,
            failed_dials: 0,
        }
    }

    /// Something has happened; what is to be done about it is appended to `out`.
    pub fn handle(&mut self, now: Instant, input: Input<'_>, out: &mut Vec<Output>) {
        match input {
            Input::Start => self.start(now),
            Input::Stop(reason) => self.stop(now, reason, out),
            Input::Reset => self.restart(now, &AdminReason::Reset, out),
            Input::ConfigurationChange => {
                self.restart(now, &AdminReason::ConfigurationChange, out);
            }
            Input::PrefixLimit(exceeded) => self.prefix_limit(now, exceeded, out),
            Input::FarEndDown => self.end_session(now, CloseReason::FarEndDown, out),
            Input::Connected { connection } => self.connected(now, connection, out),
            Input::DialFailed { connection, error } => {
                self.dial_failed(now, connection, error, out);
            }
            Input::Accepted { connection } => self.accepted(now, connection, out),
            Input::Closed { connection, error } => self.closed(now, connection, error, out),
            Input::Message {
                connection,
                kind,
                body,
            } => {
                self.message(now, connection, kind, body, out);
            }
            Input::BadHeader { connection, error } => {
                if let Some(index) = self.connected_index(connection) {
                    self.end(
                        now,
                        index,
                        faulty(Fault::Header(error)),
                        Transport::Open,
                        out,
                    );
                }
            }
            Input::UpdateFailed {
                connection,
                notification,
            } => {
                if let Some(index) = self.established_index(connection) {
                    let reason = faulty(Fault::Update(notification));
                    self.end(now, index, reason, Transport::Open, out);
                }
            }
            Input::Sent { connection } => self.queue_moved(now, connection, [true, false]),
            Input::SendBlocked { connection } => {
                self.queue_moved(now, connection, [false, true]);
            }
            Input::Acknowledged { connection } => self.acknowledged(now, connection, out),
        }
        self.settle(now);
    }

    /// A deadline may have passed.
    ///
    /// The driver first gives all messages that have already arrived: they restart the hold timer,
    /// so that our own slowness can't end the session of a peer that is alive.
    pub fn handle_timeout(&mut self, now: Instant, ids: &mut ConnectionIds, out: &mut Vec<Output>) {
        for index in 0..self.connections.len() {
            let progress = self.with(now, Some(index), out, Connection::expire);
            self.apply(now, index, progress, out);
        }
        if self.timers.expire(Timer::IdleHold, now) {
            self.dial_soon(now, Duration::ZERO);
        }
        if self.timers.expire(Timer::ConnectRetry, now) {
            self.connect_retry(now, ids, out);
        }
        self.settle(now);
    }

    /// Takes a new configuration; bounces the session only if OPEN carries what has changed, or if
    /// the peer does not meet what is now required.
    ///
    /// Any change forgets the back-off: the operator has probably just repaired what was wrong.
    pub fn reconfigure(
        &mut self,
        now: Instant,
        config: PeerConfig,
        out: &mut Vec<Output>,
    ) -> Reconfigured {
        if *self.config == config {
            return Reconfigured::Kept;
        }
        let changed = if self.config.remote == config.remote {
            self.config.open_difference(&config)
        } else {
            Some("address")
        };
        let mut outcome = Reconfigured::Kept;
        for index in 0..self.connections.len() {
            let Some(connection) = self.connection(index) else {
                continue;
            };
            let unmet = connection
                .negotiated()
                .and_then(|session| unmet(session, &config));
            let moved = self.config.remote != config.remote || self.config.port != config.port;
            match changed.or(unmet) {
                Some(field) if connection.is_connected() => {
                    outcome = Reconfigured::Bounced(field);
                    let reason = CloseReason::Admin(AdminReason::ConfigurationChange);
                    self.end(now, index, reason, Transport::Open, out);
                }
                Some(_) | None
                    if !connection.is_connected() && (moved || config.dial == Dial::Passive) =>
                {
                    self.drop_dial(index, out);
                }
                Some(_) | None => {}
            }
        }
        self.take_config(config, changed.is_none());
        self.forget_errors();
        self.dial_from = self.dial_from_after(now);
        if !self.has_dial() {
            self.dial_soon(now, DIAL_SPREAD);
        }
        self.settle(now);
        outcome
    }

    /// The earliest deadline, and of which timer.
    pub fn next_timeout(&self) -> Option<(Instant, Timer)> {
        let connections = self.connections.iter().flatten();
        connections
            .filter_map(|c| c.next_timeout())
            .chain(self.timers.next())
            .min()
    }

    /// The state of the most advanced connection.
    pub fn state(&self) -> State {
        self.state
    }

    /// When [`Peer::state`] last changed.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// The session that is up.
    pub fn established(&self) -> Option<(ConnectionId, &Arc<Negotiated>)> {
        let connections = self.connections.iter().flatten();
        connections
            .filter_map(|c| c.session().map(|session| (c.id, session)))
            .next()
    }

    /// The last real error; collisions and what an operator ordered are none.
    pub fn last_error(&self) -> Option<&LastError> {
        self.past.as_ref()?.error.as_deref()
    }

    /// Whether the peer is wanted.
    pub fn admin_state(&self) -> &AdminState {
        &self.admin
    }

    /// What is configured.
    pub fn config(&self) -> &Arc<PeerConfig> {
        &self.config
    }

    /// What has happened so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    fn is_enabled(&self) -> bool {
        self.admin == AdminState::Enabled
    }

    fn start(&mut self, now: Instant) {
        self.offer_all();
        self.forget_errors();
        self.failed_dials = 0;
        if !self.is_enabled() {
            self.admin = AdminState::Enabled;
            self.dial_from = self.dial_from_after(now);
        }
        if self.connections.iter().all(Option::is_none) {
            self.dial_soon(now, DIAL_SPREAD);
        }
    }

    fn stop(&mut self, now: Instant, reason: StopReason, out: &mut Vec<Output>) {
        self.admin = AdminState::Disabled(Some(reason.clone()));
        self.end_all(now, &reason.into(), out);
    }

    fn restart(&mut self, now: Instant, reason: &AdminReason, out: &mut Vec<Output>) {
        self.end_all(now, reason, out);
        self.offer_all();
        self.forget_errors();
        self.dial_soon(now, DIAL_SPREAD);
    }

    fn prefix_limit(&mut self, now: Instant, exceeded: Exceeded, out: &mut Vec<Output>) {
        let reason = CloseReason::Admin(AdminReason::PrefixLimit(exceeded));
        self.end_session(now, reason, out);
    }

    /// Ends the session that is up, if there is one.
    fn end_session(&mut self, now: Instant, reason: CloseReason, out: &mut Vec<Output>) {
        let up = self
            .connections
            .iter()
            .flatten()
            .find(|c| c.session().is_some());
        if let Some(index) = up.and_then(|connection| self.index(connection.id)) {
            self.end(now, index, reason, Transport::Open, out);
        }
    }

    fn connected(&mut self, now: Instant, id: ConnectionId, out: &mut Vec<Output>) {
        match self.index(id) {
            Some(index) if self.connection(index).is_some_and(|c| !c.is_connected()) => {
                self.timers.stop(Timer::ConnectRetry);
                self.failed_dials = 0;
                self.with(now, Some(index), out, Connection::connected);
            }
            // Told twice.
            Some(_) => {}
            // The dial was given up while it succeeded.
            None => out.push(Output::Abort { connection: id }),
        }
    }

    fn dial_failed(
        &mut self,
        now: Instant,
        id: ConnectionId,
        error: DialError,
        out: &mut Vec<Output>,
    ) {
        if let Some(index) = self.index(id)
            && self.connected_index(id).is_none()
        {
            self.end(
                now,
                index,
                CloseReason::DialFailed(error),
                Transport::Gone,
                out,
            );
            self.retry_early(now);
        }
    }

    /// The first dials that fail are tried again soon: in a cluster that starts at once most peers
    /// are a moment away from listening. Then ConnectRetry alone spaces them.
    fn retry_early(&mut self, now: Instant) {
        self.failed_dials = self.failed_dials.saturating_add(1);
        let wait = FIRST_RETRY.saturating_mul(1 << self.failed_dials.min(10)) / 2;
        if wait < self.config.timers.connect_retry && self.may_dial() {
            let wait = self.rng.jitter(wait);
            self.timers
                .set(Timer::ConnectRetry, (now + wait).max(self.dial_from));
        }
    }

    fn closed(
        &mut self,
        now: Instant,
        id: ConnectionId,
        error: Option<String>,
        out: &mut Vec<Output>,
    ) {
        let Some(index) = self.index(id) else { return };
        let reason = if self.connected_index(id).is_some() {
            CloseReason::TransportLost(error)
        } else {
            let error = error.unwrap_or_else(|| "the connection was closed".to_owned());
            CloseReason::DialFailed(DialError::Other(error))
        };
        self.end(now, index, reason, Transport::Gone, out);
    }

    fn message(
        &mut self,
        now: Instant,
        id: ConnectionId,
        kind: MessageKind,
        body: &[u8],
        out: &mut Vec<Output>,
    ) {
        let Some(index) = self.connected_index(id) else {
            return;
        };
        self.counters.count_received(kind);
        let progress = self.with(now, Some(index), out, |connection, cx| {
            connection.message(cx, kind, body)
        });
        self.apply(now, index, progress, out);
    }

    fn apply(
        &mut self,
        now: Instant,
        index: usize,
        progress: Option<Result<Progress, CloseReason>>,
        out: &mut Vec<Output>,
    ) {
        match progress {
            None | Some(Ok(Progress::None)) => {}
            Some(Ok(Progress::Opened(negotiated))) => self.opened(now, index, negotiated, out),
            Some(Ok(Progress::Up(negotiated))) => self.up(now, index, negotiated, out),
            Some(Err(reason)) => self.end(now, index, reason, Transport::Open, out),
        }
    }

    fn end_all(&mut self, now: Instant, reason: &AdminReason, out: &mut Vec<Output>) {
        for index in 0..self.connections.len() {
            let reason = CloseReason::Admin(reason.clone());
            self.end(now, index, reason, Transport::Open, out);
        }
    }

    /// The one place where a connection ends: farewell, report, back-off.
    fn end(
        &mut self,
        now: Instant,
        index: usize,
        reason: CloseReason,
        transport: Transport,
        out: &mut Vec<Output>,
    ) {
        let Some(ended) = self.connections.get_mut(index).and_then(Option::take) else {
            return;
        };
        if transport == Transport::Open {
            self.farewell(&ended, &reason, out);
        }
        if ended.session().is_some() {
            self.dial_from = self.dial_from_after(now);
        }
        // Who waits for the fate of a session goes on only where the session was lost: after a word, of whoever,
        // the usual pause holds for all.
        let waiting = self
            .connection(1 - index)
            .is_some_and(Connection::is_waiting);
        if waiting && !reason.is_loss() {
            self.end(now, 1 - index, CloseReason::Collision, Transport::Open, out);
        }
        let alone = match self.connection(1 - index) {
            Some(other) => !other.is_connected(),
            None => true,
        };
        if ended.is_call() {
            return self.call_failed(now, &reason, &ended);
        }
        if self.withhold(&ended, &reason) {
            self.offer_less(now, 1 - index, out);
        } else if alone {
            self.damp(now, &reason, ended.session().is_some(), out);
        } else if let Some(other) = self.connections.get_mut(1 - index).and_then(Option::as_mut) {
            other.release(now, &self.config);
        }
        self.note(now, &reason, alone);
        if ended.session().is_some() {
            out.push(Output::Down {
                connection: ended.id,
                reason,
            });
        }
    }

    fn farewell(&mut self, ended: &Connection, reason: &CloseReason, out: &mut Vec<Output>) {
        let connection = ended.id;
        if !ended.is_connected() {
            return out.push(Output::Abort { connection });
        }
        let restart = ended.session().and_then(|session| session.graceful_restart);
        let hard = restart.is_some_and(|restart| restart.notification);
        if let Some(notification) = reason.farewell(hard) {
            self.send_notification(connection, &notification, out);
        }
        // A peer that reads nothing would never take what is queued.
        out.push(if *reason == CloseReason::SendHoldTimerExpired {
            Output::Abort { connection }
        } else {
            Output::Close { connection }
        });
    }

    fn send_notification(
        &mut self,
        connection: ConnectionId,
        notification: &Notification,
        out: &mut Vec<Output>,
    ) {
        self.counters.count_sent(MessageKind::Notification, 1);
        out.push(Output::Send {
            connection,
            bytes: notification.encode().into(),
        });
    }

    fn insert(&mut self, connection: Connection) -> Option<usize> {
        let index = self.connections.iter().position(Option::is_none)?;
        *self.connections.get_mut(index)? = Some(Box::new(connection));
        Some(index)
    }

    fn connection(&self, index: usize) -> Option<&Connection> {
        self.connections.get(index)?.as_deref()
    }

    fn index(&self, id: ConnectionId) -> Option<usize> {
        self.connections
            .iter()
            .position(|c| c.as_ref().is_some_and(|c| c.id == id))
    }

    fn connected_index(&self, id: ConnectionId) -> Option<usize> {
        self.index(id).filter(|index| {
            self.connection(*index)
                .is_some_and(Connection::is_connected)
        })
    }

    fn established_index(&self, id: ConnectionId) -> Option<usize> {
        self.index(id).filter(|index| {
            self.connection(*index)
                .is_some_and(|c| c.session().is_some())
        })
    }

    /// Lets a connection act.
    fn with<R>(
        &mut self,
        now: Instant,
        index: Option<usize>,
        out: &mut Vec<Output>,
        act: impl FnOnce(&mut Connection, &mut Context<'_>) -> R,
    ) -> Option<R> {
        let Self {
            connections,
            config,
            past,
            rng,
            counters,
            ..
        } = self;
        let reduced = past.as_ref().and_then(|past| past.reduced.as_ref());
        let config = reduced.unwrap_or(config);
        let connection = connections.get_mut(index?)?.as_mut()?;
        Some(act(
            connection,
            &mut Context {
                now,
                config,
                rng,
                counters,
                out,
            },
        ))
    }
}
