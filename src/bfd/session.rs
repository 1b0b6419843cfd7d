//! One session: RFC 5880 §6.8, by its events. It neither knows who the far end is nor how many
//! sessions there are.
//!
//! What always holds: while not Up we say that we want to send once a second at most (§6.8.3); an
//! interval that grows while Up is used only after the far end has confirmed it with the end of a poll
//! sequence; a packet out of turn costs a token of a small allowance; while Up the far end is the one
//! that it came up with, and what comes under another name counts only when that one is silent.

use super::Terms;
use super::packet::{Diagnostic, Packet, State};
use crate::rng::Rng;
use crate::time::{Duration, Instant};

/// The pace while the session is not Up (§6.8.3).
const SLOW: Duration = Duration::from_secs(1);
/// Packets out of turn that may leave at once...
const ALLOWANCE: u32 = 8;
/// ...and the time after which there may be one more.
const REFILL: Duration = Duration::from_millis(10);

/// What the far end's last packet said.
#[derive(Debug, Clone, Copy)]
struct Remote {
    discriminator: u32,
    state: State,
    min_transmit: Duration,
    min_receive: Duration,
    multiplier: u8,
    demand: bool,
    independent: bool,
}

/// What a packet is to a session as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// The far end's.
    Known,
    /// The first words of a process that is not the one that is up.
    Newcomer,
    /// Nobody's that is known.
    Other,
}

/// Somebody who begins a session while one is up.
#[derive(Debug, Clone, Copy)]
struct Newcomer {
    at: Instant,
    /// What was said, if it may be taken up when the old one turns out to be gone.
    said: Option<Packet>,
}

/// A session.
#[derive(Debug)]
pub(super) struct Session {
    mine: u32,
    terms: Terms,
    state: State,
    since: Instant,
    diagnostic: Diagnostic,
    /// What was heard within the detection time.
    remote: Option<Remote>,
    heard: Instant,
    /// Who else has begun since the session is up.
    newcomer: Option<Newcomer>,
    /// The interval that we send at, before the far end's wishes.
    sending: Duration,
    /// The interval that we take for granted in the far end's packets, before its own wishes.
    receiving: Duration,
    polling: bool,
    /// The next periodic packet.
    next: Instant,
    /// A packet leaves out of turn, because what it says is new.
    urgent: bool,
    /// An answer to a poll is owed.
    reply: bool,
    tokens: u32,
    refilled: Instant,
    failures: u64,
    /// The last packet before the last failure.
    failed_from: Instant,
    /// It is over, and gone at this time: until then the far end is told.
    leaving: Option<Instant>,
}

impl Session {
    pub(super) fn new(now: Instant, mine: u32, terms: Terms) -> Self {
        Self {
            mine,
            terms,
            state: State::Down,
            since: now,
            diagnostic: Diagnostic::NONE,
            remote: None,
            heard: now,
            newcomer: None,
            sending: SLOW.max(terms.min_transmit),
            receiving: terms.min_receive,
            polling: false,
            next: now,
            urgent: false,
            reply: false,
            tokens: ALLOWANCE,
            refilled: now,
            failures: 0,
            failed_from: now,
            leaving: None,
        }
    }

    pub(super) const fn state(&self) -> State {
        self.state
    }

    pub(super) const fn since(&self) -> Instant {
        self.since
    }

    pub(super) const fn diagnostic(&self) -> Diagnostic {
        self.diagnostic
    }

    pub(super) const fn failures(&self) -> u64 {
        self.failures
    }

    pub(super) const fn failed_from(&self) -> Instant {
        self.failed_from
    }

    pub(super) fn independent(&self) -> bool {
        self.remote.is_some_and(|remote| remote.independent)
    }

    pub(super) const fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }

    pub(super) fn is_gone(&self, now: Instant) -> bool {
        self.leaving.is_some_and(|at| at <= now)
    }

    /// Other terms, in the way of §6.8.3.
    pub(super) fn set_terms(&mut self, now: Instant, terms: Terms) {
        if terms == self.terms || self.is_leaving() {
            return;
        }
        self.terms = terms;
        if self.state == State::Up {
            self.polling = true;
            // What makes packets rarer waits for the far end's word.
            self.sending = self.sending.min(terms.min_transmit);
            self.receiving = self.receiving.max(terms.min_receive);
        } else {
            self.settle_terms();
        }
        self.hasten(now);
    }

    /// The end of the session: the far end is told for as long as it would take to notice by itself.
    pub(super) fn leave(&mut self, now: Instant) {
        if self.is_leaving() {
            return;
        }
        // Who was never heard is not told.
        let told = self.remote.map(|_| {
            // At the pace so far, although §6.8.3 wants a second: one lost packet must not make a
            // restart look like a failure.
            self.interval() * u32::from(self.terms.multiplier)
        });
        self.leaving = Some(now + told.unwrap_or_default());
        self.state = State::AdminDown;
        self.since = now;
        self.diagnostic = Diagnostic::ADMINISTRATIVELY_DOWN;
        self.polling = false;
        self.reply = false;
        self.urgent = told.is_some();
    }

    /// What a packet is while the session stands as it does. With `proven` nobody but the far end can know
    /// its name: the packet is of the link, or signed. Else a name may be guessed, and what names no session
    /// of ours does not count beside what does.
    pub(super) fn standing(&self, packet: &Packet, proven: bool) -> Standing {
        let Some(remote) = self.remote.filter(|_| self.state == State::Up) else {
            return Standing::Known;
        };
        let same = remote.discriminator == packet.mine;
        if same && (proven || packet.yours == self.mine) {
            Standing::Known
        } else if !same && packet.state == State::Down {
            Standing::Newcomer
        } else {
            Standing::Other
        }
    }

    /// Somebody begins while the session is up: it may be the far end's new process, which shows when the
    /// old one falls silent. `said` is taken up then.
    pub(super) fn notice(&mut self, now: Instant, said: Option<Packet>) {
        self.newcomer = Some(Newcomer { at: now, said });
    }

    /// A packet that belongs to this session.
    pub(super) fn received(&mut self, now: Instant, packet: &Packet) {
        let before = self.interval();
        self.remote = Some(Remote {
            discriminator: packet.mine,
            state: packet.state,
            min_transmit: packet.min_transmit,
            min_receive: packet.min_receive,
            multiplier: packet.multiplier,
            demand: packet.demand,
            independent: packet.independent,
        });
        self.heard = now;
        if self.polling && packet.last {
            self.polling = false;
            self.settle_terms();
        }
        if self.state == State::AdminDown {
            return;
        }
        self.transit(now, packet.state);
        // With both bits set nobody would know what is asked.
        self.reply |= packet.poll && !packet.last;
        if self.interval() < before {
            self.hasten(now);
        }
    }

    /// The diagram of §6.2 for a state that the far end says.
    fn transit(&mut self, now: Instant, said: State) {
        match (self.state, said) {
            (State::AdminDown, _)
            | (State::Down, State::AdminDown | State::Up)
            | (State::Init, State::Down)
            | (State::Up, State::Init | State::Up) => {}
            (State::Init | State::Up, State::AdminDown) => {
                self.enter(now, State::Down, Diagnostic::NEIGHBOUR_SIGNALLED_DOWN);
            }
            (State::Down, State::Down) => self.enter(now, State::Init, Diagnostic::NONE),
            (State::Down | State::Init, State::Init) | (State::Init, State::Up) => {
                self.enter(now, State::Up, Diagnostic::NONE);
            }
            (State::Up, State::Down) => {
                self.fail();
                self.enter(now, State::Down, Diagnostic::NEIGHBOUR_SIGNALLED_DOWN);
            }
        }
    }

    /// Runs the timers that are due.
    pub(super) fn timeout(&mut self, now: Instant) {
        if self.is_leaving() || self.silence_at().is_none_or(|at| at > now) {
            return;
        }
        // A fresh name since the old one was heard last: the far end's process has begun anew. Its packets
        // pass, so the path has not failed, and that its control plane went BGP sees by itself.
        let heard = self.heard;
        let newcomer = self.newcomer.take().filter(|other| other.at >= heard);
        match self.state {
            State::Up if newcomer.is_some() => {
                self.enter(now, State::Down, Diagnostic::NEIGHBOUR_SIGNALLED_DOWN);
            }
            State::Up => {
                self.fail();
                self.enter(now, State::Down, Diagnostic::DETECTION_TIME_EXPIRED);
            }
            State::Init => self.enter(now, State::Down, Diagnostic::DETECTION_TIME_EXPIRED),
            State::Down | State::AdminDown => {}
        }
        // §6.8.1: its name is forgotten, for it may come back with another.
        self.remote = None;
        if let Some(said) = newcomer.and_then(|other| other.said) {
            self.received(now, &said);
        }
    }

    fn fail(&mut self) {
        self.failures += 1;
        self.failed_from = self.heard;
    }

    fn enter(&mut self, now: Instant, state: State, diagnostic: Diagnostic) {
        self.state = state;
        self.since = now;
        self.diagnostic = diagnostic;
        self.newcomer = None;
        // Up begins with a faster pace, which the far end has to confirm.
        self.polling = state == State::Up;
        self.settle_terms();
        self.urgent = true;
        self.hasten(now);
    }

    /// All that we said holds from now on.
    fn settle_terms(&mut self) {
        self.sending = self.desired();
        self.receiving = self.terms.min_receive;
    }

    /// The interval that our packets say.
    fn desired(&self) -> Duration {
        if self.state == State::Up {
            self.terms.min_transmit
        } else {
            SLOW.max(self.terms.min_transmit)
        }
    }

    /// The interval of our packets, before jitter.
    pub(super) fn interval(&self) -> Duration {
        let theirs = self.remote.map(|remote| remote.min_receive);
        self.sending.max(theirs.unwrap_or_default())
    }

    /// How long silence is no failure.
    pub(super) fn detection(&self) -> Option<Duration> {
        let remote = self.remote?;
        let interval = self.receiving.max(remote.min_transmit);
        Some(interval * u32::from(remote.multiplier))
    }

    fn silence_at(&self) -> Option<Instant> {
        Some(self.heard + self.detection()?)
    }

    /// Whether packets leave by the clock: not to who takes none, and not in its demand mode, but for
    /// a poll.
    fn is_periodic(&self) -> bool {
        let Some(remote) = self.remote else {
            return true;
        };
        let both_up = self.state == State::Up && remote.state == State::Up;
        remote.min_receive > Duration::ZERO && (self.polling || !remote.demand || !both_up)
    }

    /// A shorter interval begins at once, not after a long one.
    fn hasten(&mut self, now: Instant) {
        self.next = self.next.min(now + self.interval());
    }

    /// When [`timeout`](Self::timeout) or [`transmit`](Self::transmit) has something to do.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let periodic = self.is_periodic().then_some(self.next);
        let silence = self.silence_at().filter(|_| !self.is_leaving());
        [periodic, silence, self.leaving]
            .into_iter()
            .flatten()
            .min()
    }

    /// The packets that are due: an answer to a poll, and one in its turn or out of it.
    pub(super) fn transmit(&mut self, now: Instant, rng: &mut Rng) -> [Option<Packet>; 2] {
        if self.is_gone(now) && !self.urgent {
            return [None, None];
        }
        let answer = core::mem::take(&mut self.reply) && self.spend(now);
        let answer = answer.then(|| self.packet(true));
        let in_turn = self.is_periodic() && self.next <= now;
        let out_of_turn = core::mem::take(&mut self.urgent) && self.spend(now);
        let turn = (in_turn || out_of_turn).then(|| self.packet(false));
        if turn.is_some() {
            self.next = now + self.jittered(rng);
        }
        [answer, turn]
    }

    fn jittered(&self, rng: &mut Rng) -> Duration {
        let full = self.interval();
        if self.terms.multiplier > 1 {
            return rng.jitter(full);
        }
        // One lost packet is a failure: 75 to 90 % (§6.8.7).
        let micros = u64::try_from(full.as_micros()).unwrap_or(u64::MAX);
        let most = micros - micros / 10;
        Duration::from_micros(most - rng.below(micros / 20 * 3 + 1))
    }

    fn spend(&mut self, now: Instant) -> bool {
        let refill = now.since(self.refilled).as_micros() / REFILL.as_micros();
        if refill > 0 {
            let refill = u32::try_from(refill).unwrap_or(u32::MAX);
            self.tokens = self.tokens.saturating_add(refill).min(ALLOWANCE);
            self.refilled = now;
        }
        let left = self.tokens.checked_sub(1);
        self.tokens = left.unwrap_or(0);
        left.is_some()
    }

    fn packet(&self, last: bool) -> Packet {
        Packet {
            diagnostic: self.diagnostic,
            state: self.state,
            poll: self.polling && !last,
            last,
            // This process is the control plane.
            independent: false,
            demand: false,
            multiplier: self.terms.multiplier,
            mine: self.mine,
            yours: self.remote.map_or(0, |remote| remote.discriminator),
            min_transmit: self.desired(),
            min_receive: self.terms.min_receive,
        }
    }
}
