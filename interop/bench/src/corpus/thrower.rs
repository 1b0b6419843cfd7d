//! Throws a corpus: OPENs as the first message of a connection of their own, all else at sessions that are up.
//!
//! Each OPEN comes from an address of its own, which the daemon is told to expect the OPEN's AS from, so it is
//! judged by what is in it. The other messages go to a crowd of evil peers, one in flight at each: a daemon holds
//! off who has erred, and the next message finds a peer that is not in such a pause. An answer later than the
//! settle time is counted all the same, only not for the right message.

use super::file::Message;
use super::{Bounds, Outcome};
use crate::arena::{Arena, GUESTS, Guest, PATIENCE};
use crate::daemon::{Kind, LOCAL_AS, Programs};
use crate::error::{Error, Result};
use crate::scenario::megabytes;
use crate::wire;
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Evil peers with four-octet AS numbers, and as many with two.
const CROWD: usize = 32;
const FIRST_AS: u32 = 64_000;
/// A route of the partner's must get through after so many messages.
const BATCH: usize = 50;

/// Runs the story.
pub(super) fn run(
    kind: Kind,
    programs: &Programs,
    messages: Vec<Message>,
    bounds: &Bounds,
) -> Result<Outcome> {
    let begin = Instant::now();
    let total = messages.len();
    let is_open = |message: &Message| message.kind() == wire::OPEN;
    let (opens, others): (Vec<_>, Vec<_>) = messages.into_iter().partition(is_open);
    let crowd = (0..2 * CROWD).map(|number| Guest {
        asn: FIRST_AS + u32::try_from(number).unwrap_or(0),
        four_octet: number < CROWD,
        opening: None,
        evil: true,
        short: false,
        retry: Some(Duration::from_millis(200)),
        raw: false,
    });
    let guests = crowd.chain(opens.iter().map(opener)).collect();
    let mut story = Story {
        arena: Arena::start(kind, programs, guests, &bounds.stop)?,
        outcome: Outcome {
            total,
            ..Outcome::default()
        },
        flying: vec![None; 2 * CROWD],
        next: 0,
        settle: bounds.settle,
        begin,
    };
    if let Err(error) = story.all(&opens, &others, bounds) {
        story.arena.seen.wrongs.push(error.to_string());
    }
    story.finish(kind, programs);
    if bounds.stop.load(Ordering::Relaxed) {
        return Err(Error::Interrupted);
    }
    Ok(story.outcome)
}

/// The peer that throws one OPEN, once.
fn opener(message: &Message) -> Guest {
    let asn = match wire::open_asn(&message.bytes) {
        // No peer can be configured with these; the refusal is all there is to see.
        0 | u32::MAX => LOCAL_AS,
        asn => asn,
    };
    Guest {
        asn,
        four_octet: true,
        opening: Some(Arc::clone(&message.bytes)),
        evil: true,
        short: false,
        retry: None,
        raw: false,
    }
}

/// A message whose answer, if any, is awaited.
#[derive(Clone, Copy)]
struct Flying {
    kind: u8,
    framed: bool,
    until: Instant,
}

struct Story {
    arena: Arena,
    outcome: Outcome,
    /// By number in the crowd.
    flying: Vec<Option<Flying>>,
    /// Who is asked first to throw the next message.
    next: usize,
    settle: Duration,
    begin: Instant,
}

impl Story {
    fn all(&mut self, opens: &[Message], others: &[Message], bounds: &Bounds) -> Result<()> {
        self.judge_opens(opens)?;
        for message in others {
            if self.begin.elapsed() > bounds.timeout {
                let thrown = self.outcome.thrown;
                let what = format!("--timeout, after {thrown} messages");
                let after = bounds.timeout;
                return Err(Error::Timeout { what, after });
            }
            self.throw(message)?;
            if self.outcome.thrown.is_multiple_of(BATCH) {
                self.arena.relay()?;
                if std::io::stderr().is_terminal() {
                    eprint!(
                        "\r{} of {} thrown ",
                        self.outcome.thrown, self.outcome.total
                    );
                }
            }
        }
        let settle = self.settle * 4;
        self.until(settle + PATIENCE, |story| {
            story.flying.iter().all(Option::is_none)
        })
    }

    /// Each OPEN has led to a session, or to a NOTIFICATION: never to silence.
    fn judge_opens(&mut self, opens: &[Message]) -> Result<()> {
        let first = GUESTS + 2 * CROWD;
        let mut verdicts: Vec<Option<Option<String>>> = vec![None; opens.len()];
        let bound = Instant::now() + PATIENCE;
        while verdicts.iter().any(Option::is_none) && Instant::now() < bound {
            self.arena.poll()?;
            for index in std::mem::take(&mut self.arena.seen.ups) {
                if let Some(verdict) = index.checked_sub(first).and_then(|i| verdicts.get_mut(i)) {
                    *verdict = Some(None);
                }
            }
            for down in std::mem::take(&mut self.arena.seen.downs) {
                let number = down.index.checked_sub(first);
                if let Some(verdict) = number.and_then(|i| verdicts.get_mut(i)) {
                    verdict.get_or_insert(Some(down.reason));
                }
            }
        }
        for (number, (message, verdict)) in opens.iter().zip(verdicts).enumerate() {
            self.outcome.thrown += 1;
            *self.outcome.by_type.entry(wire::OPEN).or_default() += 1;
            match verdict {
                Some(None) => self.outcome.opens_accepted += 1,
                Some(Some(reason)) if reason.starts_with("NOTIFICATION") => {
                    *self.outcome.open_refusals.entry(reason).or_default() += 1;
                }
                Some(Some(_)) | None => {
                    let what = verdict.flatten().unwrap_or_else(|| "no answer".to_owned());
                    let wrong = format!("the OPEN {} met silence: {what}", message.origin);
                    self.arena.seen.wrongs.push(wrong);
                }
            }
            if self.arena.fleet.is_established(first + number) {
                self.arena.fleet.restart(first + number, true);
            }
        }
        Ok(())
    }

    fn until(&mut self, bound: Duration, mut done: impl FnMut(&mut Self) -> bool) -> Result<()> {
        let end = Instant::now() + bound;
        while !done(self) {
            self.poll()?;
            if Instant::now() > end {
                self.arena.daemon.check()?;
                let what = "a session of an evil peer that is not held off".to_owned();
                return Err(Error::Timeout { what, after: bound });
            }
        }
        Ok(())
    }

    fn poll(&mut self) -> Result<()> {
        self.arena.poll()?;
        self.arena.seen.ups.clear();
        for down in std::mem::take(&mut self.arena.seen.downs) {
            let number = down.index - GUESTS;
            let flown = self.flying.get_mut(number).and_then(Option::take);
            if !down.established {
                // The daemon holds it off: no answer to a message.
                self.outcome.held_off += usize::from(number < 2 * CROWD);
                continue;
            }
            if number < 2 * CROWD {
                *self.outcome.resets.entry(down.reason).or_default() += 1;
                let update = flown.is_some_and(|flown| flown.kind == wire::UPDATE);
                self.outcome.updates_reset += usize::from(update);
            }
        }
        let now = Instant::now();
        for (number, slot) in self.flying.iter_mut().enumerate() {
            if let Some(flown) = slot.take_if(|flown| flown.until <= now)
                && !flown.framed
            {
                // The daemon may wait for the rest of it: the next message starts on a clean session.
                self.arena.fleet.restart(GUESTS + number, false);
            }
        }
        Ok(())
    }

    fn throw(&mut self, message: &Message) -> Result<()> {
        let base = if message.four_octet { 0 } else { CROWD };
        let mut found = None;
        self.until(PATIENCE, |story| {
            let free = |number: &usize| {
                story.flying.get(*number).is_some_and(Option::is_none)
                    && story.arena.fleet.is_established(GUESTS + number)
            };
            found = (0..CROWD)
                .map(|i| base + (story.next + i) % CROWD)
                .find(free);
            found.is_some()
        })?;
        let number = found.unwrap_or(base);
        self.next = (number - base + 1) % CROWD;
        if let Some(slot) = self.flying.get_mut(number) {
            *slot = Some(Flying {
                kind: message.kind(),
                framed: message.is_framed(),
                until: Instant::now() + self.settle,
            });
        }
        self.arena.send(GUESTS + number, Arc::clone(&message.bytes));
        self.outcome.thrown += 1;
        *self.outcome.by_type.entry(message.kind()).or_default() += 1;
        Ok(())
    }

    fn finish(&mut self, kind: Kind, programs: &Programs) {
        self.arena.finish();
        let outcome = &mut self.outcome;
        let updates = outcome.by_type.get(&wire::UPDATE).copied().unwrap_or(0);
        outcome.updates_accepted = updates.saturating_sub(outcome.updates_reset);
        if kind == Kind::Dunlin {
            let answer = self.arena.daemon.dunlin_peers(programs).unwrap_or_default();
            let sum = |key: &str| {
                let peers = answer["peers"].as_array().into_iter().flatten();
                peers.filter_map(|peer| peer[key].as_u64()).sum()
            };
            outcome.treated_as_withdraw = Some(sum("treated-as-withdraw"));
            outcome.attributes_discarded = Some(sum("discarded"));
        }
        self.arena.fleet.leave();
        outcome.wrongs.append(&mut self.arena.seen.wrongs);
        outcome.relayed = self.arena.seen.relayed;
        outcome.good_drops = self.arena.seen.drops;
        outcome.silence = self.arena.silence().as_secs_f64();
        outcome.slowest_relay = self.arena.slowest_relay.as_secs_f64();
        let cost = self.arena.daemon.processes().cost();
        (outcome.cpu, outcome.rss_mb) = (cost.cpu, megabytes(cost.peak_rss));
        outcome.wall = self.begin.elapsed().as_secs_f64();
    }
}
