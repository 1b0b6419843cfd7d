//! Graceful restart: what stays of a peer that is away, and what we say of our own start (RFC 4724,
//! RFC 8538, RFC 9494).
//!
//! A session that ends in a way that allows it leaves the peer's routes behind as *stale*: in use,
//! until the peer is back and has said what it has (End-of-RIB), or a timer runs out. Where both
//! sides have long-lived graceful restart the routes are the last choice after that, for much longer.
//!
//! Where this differs from the RFCs, on purpose:
//! - A peer that was silent for the whole hold time is taken for dead, whatever the N bits say: its
//!   routes go at once. With long-lived graceful restart they become the last choice at once, even
//!   without the N bits, as BIRD has it.
//!
//! A second loss before End-of-RIB removes what is still stale from the first (RFC 4724 §4.2): what stays is
//! what the peer has said since. Only long-lived routes stay until their own time is over.
//!
//! What always holds: routes are stale only while a deadline runs for them, but for the short ones of
//! an enhanced refresh; and nothing here waits for a peer on behalf of another one.

use super::Speaker;
use super::leaving::LIMIT;
use super::peer::{Established, PeerEntry};
use crate::net::Family;
use crate::rib::PeerIndex;
use crate::session::{CloseReason, GracefulRestart, Input};
use crate::time::{Duration, Instant};
use crate::topology::OpenTerms;

/// How long a peer that is back may take to say what it has: FRR's stale path time, which is enough
/// for a full table over a bad line.
pub const CONFIRM_TIME: Duration = Duration::from_secs(360);

/// How long a peer may talk that will not say when it has said all.
const UNSAID: Duration = Duration::from_secs(3);

/// What OPEN says of our own start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct OwnStart {
    /// We have just restarted, and peers need not wait for our End-of-RIB (R).
    pub(super) restarting: bool,
    /// By [`Family::index`]: packets were forwarded all the while (F).
    pub(super) kept: [bool; 2],
}

/// What stays of a peer, by [`Family::index`].
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Retention([Option<Held>; 2]);

/// Stale routes of one family.
#[derive(Debug, Clone, Copy)]
struct Held {
    stage: Stage,
    /// When the stage ends by itself.
    until: Instant,
    /// When at last the routes go, or become the last choice.
    limit: Instant,
    /// How long they are the last choice.
    long_lived: Option<Duration>,
}

/// Why routes are stale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The peer is away for no longer than it said.
    Away,
    /// It is back, and has not yet said what it has.
    Confirming,
    /// It was away for too long: the last choice.
    LongLived,
}

/// Routes that stay over a restart of their peer, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// How many.
    pub routes: usize,
    /// Until then, if the peer does not confirm them.
    pub until: Instant,
    /// They are used only where there is nothing else.
    pub long_lived: bool,
}

impl OwnStart {
    /// What the terms of a peer make of it.
    pub(super) fn offer(self, open: &OpenTerms) -> GracefulRestart {
        let restart = open.restart;
        let offered = restart.time > 0 || restart.long_lived > 0;
        let takes_part = |family| offered && open.families.contains(family);
        GracefulRestart {
            time: restart.time,
            // Without a family it says only that we send End-of-RIB (RFC 4724 §3).
            families: Family::ALL
                .map(|family| takes_part(family).then_some(*family.of(&self.kept))),
            restarting: self.restarting,
            notification: offered,
            long_lived: restart.long_lived,
        }
    }
}

impl Retention {
    /// The next thing to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.0.iter().flatten().map(|held| held.until).min()
    }
}

/// Which peers are waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Awaited {
    /// All.
    All,
    /// All, but that those that have restarted themselves need only be up: they may be waiting for us
    /// (RFC 4724 §4.1).
    ButRestarted,
}

impl PeerEntry {
    pub(super) fn is_awaited(&self, now: Instant, whom: Awaited) -> bool {
        let Some(up) = &self.established else {
            return !self.shutdown;
        };
        if whom == Awaited::ButRestarted && up.restarts() {
            return false;
        }
        let unsaid = !up.says_when() && now.since(self.session.since()) >= UNSAID;
        !up.heard_all() && !unsaid
    }
}

impl Speaker {
    /// Says what OPEN says of our own start from now on. No session is touched for it.
    pub fn set_own_start(&mut self, restarting: bool, kept: [bool; 2]) {
        let own_start = OwnStart { restarting, kept };
        if self.own_start == own_start {
            return;
        }
        self.own_start = own_start;
        for index in self.indices() {
            if let Some(peer) = self.peer_mut(index) {
                peer.session.set_restart(restarting, kept);
            }
        }
    }

    /// Holds End-of-RIB back from all peers while we do not know yet what there is (RFC 4724 §4.1), or
    /// lets it go.
    pub fn hold_end_of_rib(&mut self, hold: bool) {
        self.rib.hold_end_of_rib(hold);
    }

    /// A peer that is not up, or has not said what it has as far as can be known by `now`, if there is one:
    /// who has no graceful restart owes nobody an End-of-RIB, and gets `UNSAID`. It is `known` while that
    /// is one, so that to ask each time something has happened does not cost a walk over all peers.
    pub fn awaited(
        &self,
        now: Instant,
        whom: Awaited,
        known: Option<PeerIndex>,
    ) -> Option<PeerIndex> {
        let awaits = |index: &PeerIndex| {
            // Whoever is only called is waited for by the routes that it may have.
            let passed_over = self.is_leaving(*index) || self.is_only_called(*index);
            let peer = self.peer(*index).filter(|_| !passed_over);
            peer.is_some_and(|peer| peer.is_awaited(now, whom))
        };
        let all = || self.names.values().copied().find(awaits);
        known.filter(awaits).or_else(all)
    }

    /// BFD found the far end of a peer down: the session ends, and its routes go at once.
    pub fn far_end_down(&mut self, now: Instant, index: PeerIndex) {
        self.rib.set_now(now);
        self.input(now, index, Input::FarEndDown);
        self.drop_kept(index);
    }

    /// A session has ended: its routes stay or go.
    pub(super) fn keep_or_flush(
        &mut self,
        now: Instant,
        index: PeerIndex,
        ended: Option<&Established>,
        reason: &CloseReason,
    ) {
        let leaving = self.is_leaving(index);
        for family in Family::ALL {
            let before = self.held(index, family);
            if before.is_some_and(|before| before.stage != Stage::LongLived) {
                self.rib.sweep_stale(index, family);
            }
            let held = ended
                .filter(|_| self.rib.counts(index, family).received > 0)
                .and_then(|ended| hold(now, before, family, ended, reason))
                .or_else(|| leaving.then(|| until_others_are_there(now)));
            match held {
                Some(held) => {
                    self.rib.mark_stale(index, family);
                    self.set_held(index, family, Some(held));
                    if held.stage == Stage::LongLived {
                        self.rib.mark_long_lived_stale(index, family);
                    }
                    self.say_kept(now, index, family, held);
                }
                None => {
                    self.rib.flush(index, family);
                    self.set_held(index, family, None);
                }
            }
        }
        // A restart time of nothing ends at once.
        self.expire_kept(now, index);
    }

    /// The session is back: what it says about its forwarding decides about what is stale.
    pub(super) fn returned(&mut self, now: Instant, index: PeerIndex) {
        for family in Family::ALL {
            let Some(held) = self.held(index, family) else {
                continue;
            };
            let up = self.peer(index).and_then(|peer| peer.established.as_ref());
            let restart = up.and_then(|up| up.negotiated.graceful_restart);
            let preserved = restart.is_some_and(|restart| match held.stage {
                Stage::LongLived => family.of(&restart.long_lived).is_some_and(|l| l.kept),
                Stage::Away | Stage::Confirming => *family.of(&restart.families) == Some(true),
            });
            if preserved {
                let held = match held.stage {
                    // Its time runs on (RFC 9494 §4.2).
                    Stage::LongLived => held,
                    Stage::Away | Stage::Confirming => Held {
                        stage: Stage::Confirming,
                        until: (now + CONFIRM_TIME).min(held.limit),
                        ..held
                    },
                };
                self.set_held(index, family, Some(held));
            } else {
                tracing::info!(peer = %self.name_of(index), %family,
                    "back without its former routes: those go");
                self.rib.flush(index, family);
                self.set_held(index, family, None);
            }
        }
    }

    /// End-of-RIB: what the peer has not repeated is gone.
    pub(super) fn confirmed(&mut self, index: PeerIndex, family: Family) {
        self.set_held(index, family, None);
        self.rib.sweep_stale(index, family);
    }

    /// What is stale already gets a deadline, if it has none.
    pub(super) fn keep_until(&mut self, index: PeerIndex, until: Instant) {
        for family in Family::ALL {
            if self.held(index, family).is_none() && self.rib.counts(index, family).stale > 0 {
                let held = Held {
                    stage: Stage::Away,
                    until,
                    limit: until,
                    long_lived: None,
                };
                self.set_held(index, family, Some(held));
            }
        }
        self.keep_deadline(index);
    }

    /// Whether a peer is back and has not said yet what it has.
    pub(super) fn is_confirming(&self, index: PeerIndex, family: Family) -> bool {
        self.held(index, family).is_some()
    }

    /// Runs the timers of stale routes that are due.
    pub(super) fn expire_kept(&mut self, now: Instant, index: PeerIndex) {
        for family in Family::ALL {
            let Some(held) = self.held(index, family).filter(|held| held.until <= now) else {
                continue;
            };
            match (held.stage, held.long_lived) {
                (Stage::Away, Some(time)) => {
                    let held = Held {
                        stage: Stage::LongLived,
                        until: now + time,
                        ..held
                    };
                    self.set_held(index, family, Some(held));
                    self.rib.mark_long_lived_stale(index, family);
                    self.say_kept(now, index, family, held);
                }
                (Stage::Away | Stage::Confirming | Stage::LongLived, _) => {
                    tracing::warn!(peer = %self.name_of(index), %family,
                        stale = self.rib.counts(index, family).stale,
                        "routes that the peer did not confirm in time go");
                    self.set_held(index, family, None);
                    self.rib.sweep_stale(index, family);
                }
            }
        }
        self.keep_deadline(index);
    }

    /// Gives up what stays of a peer that is away.
    pub(super) fn drop_kept(&mut self, index: PeerIndex) {
        for family in Family::ALL {
            if self.held(index, family).is_some() {
                self.set_held(index, family, None);
                self.rib.sweep_stale(index, family);
            }
        }
        self.keep_deadline(index);
    }

    /// What stays of a peer.
    pub(super) fn kept(&self, index: PeerIndex) -> Option<Kept> {
        let held = Family::ALL.into_iter().filter_map(|family| {
            let held = self.held(index, family)?;
            Some(Kept {
                routes: self.rib.counts(index, family).stale as usize,
                until: held.until,
                long_lived: held.stage == Stage::LongLived,
            })
        });
        held.reduce(|a, b| Kept {
            routes: a.routes + b.routes,
            until: a.until.max(b.until),
            long_lived: a.long_lived && b.long_lived,
        })
    }

    fn held(&self, index: PeerIndex, family: Family) -> Option<Held> {
        *family.of(&self.peer(index)?.retention.0)
    }

    fn set_held(&mut self, index: PeerIndex, family: Family, held: Option<Held>) {
        if let Some(peer) = self.peer_mut(index) {
            *family.of_mut(&mut peer.retention.0) = held;
        }
    }

    pub(super) fn name_of(&self, index: PeerIndex) -> &str {
        self.peer(index)
            .map_or("a former peer", |peer| peer.planned.name.as_str())
    }

    fn say_kept(&self, now: Instant, index: PeerIndex, family: Family, held: Held) {
        let how = match held.stage {
            Stage::LongLived => "as the last choice",
            Stage::Away | Stage::Confirming => "as they are",
        };
        tracing::info!(peer = %self.name_of(index), %family,
            routes = self.rib.counts(index, family).stale,
            seconds = held.until.since(now).as_secs(), "its routes stay {how}");
    }
}

/// How routes of a session that has ended so are kept, if they are.
fn hold(
    now: Instant,
    before: Option<Held>,
    family: Family,
    ended: &Established,
    reason: &CloseReason,
) -> Option<Held> {
    let restart = ended.negotiated.graceful_restart.as_ref()?;
    let silent = reason.is_silence();
    if !silent && !reason.allows_restart(&ended.negotiated) {
        return None;
    }
    let long_lived = family.of(&restart.long_lived).map(|agreed| agreed.time);
    let window = if silent || family.of(&restart.families).is_none() {
        Duration::ZERO
    } else {
        restart.time
    };
    if window.is_zero() && long_lived.is_none() {
        return None;
    }
    if let Some(before) = before.filter(|before| before.stage == Stage::LongLived) {
        // Its time runs on (RFC 9494 §4.2).
        return Some(Held {
            long_lived,
            ..before
        });
    }
    Some(Held {
        stage: Stage::Away,
        until: now + window,
        limit: now + window + CONFIRM_TIME,
        long_lived,
    })
}

/// A session that is leaving keeps its routes until others are in its place, whatever was agreed.
fn until_others_are_there(now: Instant) -> Held {
    let limit = now + LIMIT;
    Held {
        stage: Stage::Away,
        until: limit,
        limit,
        long_lived: None,
    }
}
