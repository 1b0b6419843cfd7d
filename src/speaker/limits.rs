//! How many prefixes a peer may send, and what happens at one more; and what it has that was not taken.
//!
//! Two things leave a route of a peer out though nothing is wrong with it: `max-prefixes` with `discard`,
//! and the number of paths of one prefix. Either way the peer has what we don't, and will not say it again
//! by itself. So the table counts it ([`PeerCounts::beyond`](crate::rib::PeerCounts)) and notices when
//! there is room again, and here the peer is asked for all its routes, at once at first and more seldom
//! if that goes on.

use std::collections::BTreeMap;

use super::Speaker;
use super::peer::PeerEntry;
use crate::net::Family;
use crate::problem::{Code, Problem, Subject};
use crate::rib::{Bounds, Crowded, ExplainedPath, MAX_RECEIVED, PeerIndex};
use crate::session::{Exceeded, Input, StopReason};
use crate::time::{Duration, Instant};
use crate::topology::LimitAction;

/// Withdrawals come in numbers: so long is waited for the rest.
const GATHER: Duration = Duration::from_secs(1);
/// The pause after a peer was asked.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
/// It doubles up to this while there is room each time again: an answer is a whole table.
const LONGEST_PAUSE: Duration = Duration::from_secs(320);

/// So long the answer may take: until then what is not taken is no less than before.
const ANSWER: Duration = Duration::from_secs(10);

/// What a limit has done to a peer. Most peers never meet one.
#[derive(Debug, Default)]
pub(super) struct Limited {
    /// What it was stopped for, until the limit is another one or an operator enables it.
    exceeded: Option<Exceeded>,
    asking: Asking,
}

/// When a peer is asked for what was not taken.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Asking {
    due: Option<Instant>,
    last: Option<(Instant, Duration)>,
    /// What was not taken when it was asked.
    before: [u32; 2],
}

impl Asking {
    /// When it is to be asked.
    pub(super) const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// There is room.
    fn note(&mut self, now: Instant) {
        let rested = self.last.map_or(now, |(at, pause)| at + pause);
        self.due = self.due.or(Some(rested.max(now + GATHER)));
    }

    /// It is asked, and has so many that were not taken.
    fn asked(&mut self, now: Instant, before: [u32; 2]) {
        self.before = before;
        let again = self.last.filter(|(at, pause)| now < *at + *pause * 2);
        let pause = again.map_or(FIRST_PAUSE, |(_, pause)| (pause * 2).min(LONGEST_PAUSE));
        self.due = None;
        self.last = Some((now, pause));
    }
}

impl PeerEntry {
    /// Whether it is down until somebody does something about it.
    pub(super) fn is_stopped(&self) -> bool {
        self.shutdown || self.exceeded().is_some()
    }

    /// What it was stopped for.
    pub(super) fn exceeded(&self) -> Option<Exceeded> {
        self.limited.as_ref()?.exceeded
    }

    /// When it is asked for what was not taken.
    pub(super) fn asking(&self) -> Asking {
        let limited = self.limited.as_ref();
        limited.map(|limited| limited.asking).unwrap_or_default()
    }

    /// The session is over: there is nobody to ask.
    pub(super) fn stop_asking(&mut self) {
        if let Some(limited) = &mut self.limited {
            limited.asking = Asking::default();
        }
    }

    fn limited(&mut self) -> &mut Limited {
        self.limited.get_or_insert_default()
    }

    fn limit_action(&self) -> LimitAction {
        let action = self.planned.policy.limit.action;
        action.unwrap_or(LimitAction::Restart)
    }
}

impl Speaker {
    /// Puts the planned limit in force. What a former one has stopped may come back under a higher one.
    pub(super) fn set_limit(&mut self, now: Instant, index: PeerIndex) {
        let Some(peer) = self.peer_mut(index) else {
            return;
        };
        let (max, action) = (peer.planned.policy.limit.max, peer.limit_action());
        let raised =
            |was: &mut Exceeded| action != LimitAction::Stop || max.is_none_or(|max| max > was.max);
        let limited = peer.limited.as_mut();
        let revived = limited.and_then(|limited| limited.exceeded.take_if(raised));
        let revived = revived.is_some() && !peer.shutdown;
        self.rib
            .set_most(index, max.filter(|_| action == LimitAction::Discard));
        // A limit that is only said bounds nothing.
        let bounding = max.filter(|_| action != LimitAction::Warn);
        let routes = bounding.unwrap_or(u32::MAX);
        self.rib
            .attributes_mut()
            .set_bounds(index, Bounds::of_routes(routes));
        self.note_room(now, index);
        if revived {
            self.far_ends.changed();
            self.input(now, index, Input::Start);
        }
    }

    /// Does what is to be done about a peer that has sent more than it may.
    pub(super) fn check_limit(&mut self, now: Instant, index: PeerIndex) {
        let Some(peer) = self.peer(index) else { return };
        let action = peer.limit_action();
        let max = peer.planned.policy.limit.max;
        let Some(max) = max.filter(|_| action != LimitAction::Discard) else {
            return;
        };
        let received = |family| self.rib.counts(index, family).received;
        let counts = Family::ALL.map(received);
        let over = counts.map(|count| count > max);
        let Some(peer) = self.peer_mut(index) else {
            return;
        };
        let before = core::mem::replace(&mut peer.over_limit, over);
        let news = |family: &Family| {
            let (was, is) = (family.of(&before), family.of(&over));
            // What ends a session does so whenever it is met; what is only said is said once.
            *is && (!was || action != LimitAction::Warn)
        };
        let Some(family) = Family::ALL.into_iter().find(news) else {
            return;
        };
        let count = *family.of(&counts);
        let exceeded = Exceeded { family, max, count };
        tracing::warn!(peer = %peer.planned.name, %family, max, count,
            "the peer has sent more prefixes than max-prefixes");
        match action {
            LimitAction::Warn | LimitAction::Discard => {}
            LimitAction::Restart => self.input(now, index, Input::PrefixLimit(exceeded)),
            LimitAction::Stop => {
                peer.limited().exceeded = Some(exceeded);
                self.far_ends.changed();
                let stop = StopReason::PrefixLimit(exceeded);
                self.input(now, index, Input::Stop(stop));
            }
        }
    }

    /// Whose paths of a destination are as many as are taken, though they have more routes.
    pub(super) fn more_at(&self, family: Family, paths: &[ExplainedPath]) -> Vec<String> {
        let mut counts: BTreeMap<PeerIndex, usize> = BTreeMap::new();
        for found in paths {
            *counts.entry(found.path.peer).or_default() += 1;
        }
        let full = counts
            .into_iter()
            .filter(|(_, count)| *count >= MAX_RECEIVED);
        let full = full.filter(|(index, _)| self.rib.counts(*index, family).beyond > 0);
        full.map(|(index, _)| self.name_of(index).to_owned())
            .collect()
    }

    /// What limits keep out, or should have.
    pub(super) fn limit_problems(&self, now: Instant) -> impl Iterator<Item = Problem> + '_ {
        let indices = self.names.values().copied();
        let wanted = indices.filter(|index| !self.is_leaving(*index));
        wanted.flat_map(move |index| {
            let of = |family| self.limit_problem(now, index, family);
            Family::ALL.map(of).into_iter().flatten()
        })
    }

    fn limit_problem(&self, now: Instant, index: PeerIndex, family: Family) -> Option<Problem> {
        let peer = self.peer(index).filter(|peer| peer.established.is_some())?;
        let counts = self.rib.counts(index, family);
        let answering = peer.asking().last.filter(|(at, _)| now < *at + ANSWER);
        let before = answering.map_or(0, |_| *family.of(&peer.asking().before));
        let untaken = counts.beyond.max(before);
        let max = peer.planned.policy.limit.max.unwrap_or(u32::MAX);
        let problem = |code, what, remedy| {
            let subject = Subject::Peer(peer.planned.name.clone());
            Some(Problem::new(code, subject, what, remedy))
        };
        let why = "find out why it has so many, or raise max-prefixes";
        match peer.limit_action() {
            LimitAction::Warn if counts.received > max => {
                let received = counts.received;
                let exceeded = format!(
                    "it has sent {received} prefixes of {family}, and max-prefixes is {max}"
                );
                problem(Code::PeerOverLimit, exceeded, why)
            }
            LimitAction::Discard if untaken > 0 && counts.received >= max => {
                let what = format!(
                    "{untaken} of its {family} routes were not taken, since max-prefixes is {max}"
                );
                problem(Code::RoutesNotTaken, what, why)
            }
            // Whatever has kept them out, a limit that was raised or removed meanwhile, too.
            _any if untaken > 0 && (answering.is_some() || peer.asking().due().is_some()) => {
                let what = format!(
                    "{untaken} of its {family} routes were not taken, and it is asked for them again now that \
                     there is room"
                );
                problem(Code::RoutesNotTaken, what, "it takes a moment")
            }
            _any if untaken > 0
                && let Some(crowded) = self.rib.attributes().crowded(index) =>
            {
                let (what, remedy) = too_much(&crowded);
                let what = format!("{untaken} of its {family} routes were not taken, since {what}");
                problem(Code::RoutesNotTaken, what, remedy)
            }
            _any if untaken > 0 => {
                let most = MAX_RECEIVED;
                let what = format!(
                    "{untaken} of its {family} paths were not taken, since it has more than {most} of one \
                     prefix"
                );
                let can = peer
                    .established
                    .as_ref()
                    .map(|up| up.negotiated.route_refresh);
                let remedy = if can == Some(true) {
                    "let it send fewer paths of a prefix; it is asked again when there is room"
                } else {
                    "let it send fewer paths of a prefix, and reset the session: it can't be asked for its \
                     routes again"
                };
                problem(Code::RoutesNotTaken, what, remedy)
            }
            _within => None,
        }
    }

    /// If there is room for what was not taken of a peer, it will be asked for that.
    pub(super) fn note_room(&mut self, now: Instant, index: PeerIndex) {
        if Family::ALL.iter().any(|f| self.rib.has_room(index, *f))
            && let Some(peer) = self.peer_mut(index)
            && let Some(up) = &peer.established
            && up.negotiated.route_refresh
        {
            peer.limited().asking.note(now);
            self.keep_deadline(index);
        }
    }

    /// Asks a peer for what was not taken, if it is time.
    pub(super) fn ask_again(&mut self, now: Instant, index: PeerIndex) {
        self.note_room(now, index);
        let untaken = Family::ALL.map(|family| self.rib.counts(index, family).beyond);
        let Some(peer) = self.peer_mut(index) else {
            return;
        };
        if peer.asking().due().is_none_or(|due| due > now) {
            return;
        }
        peer.limited().asking.asked(now, untaken);
        for family in Family::ALL {
            if self.rib.has_room(index, family) {
                tracing::info!(peer = %self.name_of(index), %family,
                    "there is room for routes that were not taken: the peer is asked for them");
                self.ask_for_family(index, family);
            }
        }
        self.keep_deadline(index);
    }
}

/// What a peer has too much of, and what to do.
fn too_much(crowded: &Crowded) -> (String, &'static str) {
    let Bounds { octets, next_hops } = crowded.bounds;
    if crowded.next_hops >= next_hops - next_hops / 8 {
        let what = format!("it has more than {next_hops} next hops");
        return (what, "let it send the routes of fewer next hops");
    }
    let what = format!("their attributes take more than {} kB", octets / 1000);
    let remedy = "let it send fewer communities and shorter paths, or raise max-prefixes: each route has 256 octets";
    (what, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_room_again_and_again_is_asked_ever_more_seldom() {
        let mut asking = Asking::default();
        let mut now = Instant::from_secs(100);
        let mut waits = Vec::new();
        for _ in 0..8 {
            asking.note(now);
            let due = asking.due().unwrap();
            waits.push(due.since(now).as_secs());
            now = due;
            asking.asked(now, [0; 2]);
            assert_eq!(asking.due(), None);
        }
        assert_eq!(waits, [1, 10, 20, 40, 80, 160, 320, 320]);
        now = now + Duration::from_secs(640);
        asking.note(now);
        assert_eq!(asking.due(), Some(now + GATHER), "after a rest, at once");
        asking.asked(now, [0; 2]);
        asking.note(now + Duration::from_secs(2));
        assert_eq!(asking.due(), Some(now + FIRST_PAUSE));
    }
}
