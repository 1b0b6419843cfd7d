//! How many lines a second become of what others can cause: by the place that logs and whom it is about.
//!
//! Not a filter of what is wanted (`loudness`) and not the room that lines wait in (`outlet`). Debug and trace
//! lines are an operator's wish and pass; the outlet's room bounds them. What always holds:
//!
//! - a peer, a stranger or a code that comes again and again costs [`SHARE`] lines, then one a second; the lines
//!   about others are not fewer for it;
//! - what is held back is counted, and the log says how much it was and about whom, once a second at most.

use std::collections::HashMap;
use std::fmt::{Debug, Write as _};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::outlet::Outlet;
use crate::daemon::clock::Clock;
use crate::time::Instant;

/// The fields that say whom a line is about.
const ABOUT: [&str; 5] = ["peer", "address", "source", "remote", "code"];
/// Lines at once of one kind about one peer.
const SHARE: f64 = 50.0;
/// Of those each second.
const EACH_SECOND: f64 = 1.0;
/// Lines at once of all kinds: a reading of the files has a line for each change.
const ALL: f64 = 20_000.0;
/// Of those each second.
const ALL_EACH_SECOND: f64 = 1_000.0;
/// Kinds and peers that are told apart; the others share.
const MOST: usize = 1024;
/// Octets of a name.
const LONGEST: usize = 64;

/// The rule; clones share what was counted.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    clock: Clock,
    counted: Arc<Mutex<Counted>>,
    outlet: Outlet,
}

#[derive(Debug)]
struct Counted {
    all: Bucket,
    /// By the hash of kind and name: names would be a thousand small pieces of memory, strewn about.
    shares: HashMap<u64, Bucket>,
    hasher: RandomState,
    others: Bucket,
}

/// Lines that may still be written.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl Bucket {
    const fn full(left: f64) -> Self {
        Self {
            left,
            at: Instant::ZERO,
        }
    }

    /// Takes a line, if there is one.
    fn take(&mut self, now: Instant, most: f64, each_second: f64) -> bool {
        self.fill(now, most, each_second);
        let has = self.left >= 1.0;
        if has {
            self.left -= 1.0;
        }
        has
    }

    fn fill(&mut self, now: Instant, most: f64, each_second: f64) {
        let gained = now.since(self.at).as_secs_f64() * each_second;
        self.left = (self.left + gained).min(most);
        self.at = now;
    }
}

impl Counted {
    fn new() -> Self {
        Self {
            all: Bucket::full(ALL),
            shares: HashMap::new(),
            hasher: RandomState::new(),
            others: Bucket::full(SHARE),
        }
    }

    /// Whether a line about somebody, or about nobody in particular, is written.
    fn admits(&mut self, now: Instant, kind: Identifier, about: &str) -> bool {
        if !about.is_empty() {
            let key = self.hasher.hash_one((kind, about));
            if self.shares.len() >= MOST && !self.shares.contains_key(&key) {
                self.forget(now);
            }
            let share = if self.shares.len() < MOST || self.shares.contains_key(&key) {
                self.shares.entry(key).or_insert(Bucket::full(SHARE))
            } else {
                &mut self.others
            };
            if !share.take(now, SHARE, EACH_SECOND) {
                return false;
            }
        }
        self.all.take(now, ALL, ALL_EACH_SECOND)
    }

    /// Who has his whole share again need not be known.
    fn forget(&mut self, now: Instant) {
        self.shares.retain(|_, share| {
            share.fill(now, SHARE, EACH_SECOND);
            share.left < SHARE
        });
        self.shares.shrink_to_fit();
    }
}

impl Pace {
    pub(super) fn new(outlet: Outlet) -> Self {
        Self {
            clock: Clock::start(),
            counted: Arc::new(Mutex::new(Counted::new())),
            outlet,
        }
    }

    fn admits(&self, now: Instant, metadata: &Metadata<'_>, about: &str) -> bool {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        counted.admits(now, metadata.callsite(), about)
    }
}

impl<S: Subscriber> Layer<S> for Pace {
    fn event_enabled(&self, event: &Event<'_>, _context: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if *metadata.level() > Level::INFO {
            return true;
        }
        let mut about = About(String::new());
        event.record(&mut about);
        let admits = self.admits(self.clock.now(), metadata, &about.0);
        if !admits {
            self.outlet.hold_back(&about.0);
        }
        admits
    }
}

/// Whom an event is about: the first of the fields that say it.
struct About(String);

impl Visit for About {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if self.0.is_empty() && ABOUT.contains(&field.name()) {
            let name = format!("{value:?}");
            let name: String = name.chars().take(LONGEST).collect();
            // Writing to memory does not fail.
            let _ = write!(self.0, "{} {name}", field.name());
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{BufRead, BufReader};

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    fn said(lost: u64) -> String {
        format!("{lost} lost\n")
    }

    fn held(lines: u64, about: &str) -> String {
        format!("{lines} held back about {about}\n")
    }

    #[test]
    fn a_flood_about_one_peer_is_so_many_lines_and_a_count_and_others_are_heard() {
        let (reader, writer) = nix::unistd::pipe().unwrap();
        let outlet = Outlet::new();
        outlet
            .carry_to(writer, super::super::outlet::Notices { said, held })
            .unwrap();
        let lines = tracing_subscriber::fmt::layer()
            .with_writer(outlet.clone())
            .with_ansi(false);
        let subscriber = tracing_subscriber::registry()
            .with(Pace::new(outlet.clone()))
            .with(lines);
        const FLOOD: u64 = 20_000;
        tracing::subscriber::with_default(subscriber, || {
            for n in 0..FLOOD {
                tracing::warn!(peer = "mallory", n, "bad path attributes");
                if n % 1000 == 0 {
                    tracing::warn!(peer = %"trent", n, "bad path attributes");
                }
            }
            tracing::info!(peer = "mallory", "session is up");
        });
        let (mut counts, mut up) = ([0, 0], 0);
        for line in BufReader::new(File::from(reader)).lines() {
            let line = line.unwrap();
            counts[0] += u64::from(line.contains("mallory") && line.contains("bad path"));
            counts[1] += u64::from(line.contains("trent"));
            up += u64::from(line.contains("session is up"));
            if let Some(words) = line.strip_suffix(" held back about peer mallory") {
                counts[0] += words.parse::<u64>().unwrap();
            }
            if counts[0] == FLOOD && up == 1 {
                break;
            }
        }
        assert_eq!(
            (counts, up),
            ([FLOOD, 20], 1),
            "each line is there or counted"
        );
        let held = outlet.lost().held;
        assert!(held > FLOOD - 200, "{held}");
    }

    #[test]
    fn what_is_told_apart_is_bounded_and_forgotten() {
        let mut counted = Counted::new();
        let kind = || {
            struct Here;
            impl tracing::callsite::Callsite for Here {
                fn set_interest(&self, _: tracing::subscriber::Interest) {}
                fn metadata(&self) -> &Metadata<'_> {
                    unreachable!("nobody asks")
                }
            }
            static HERE: Here = Here;
            Identifier(&HERE)
        };
        let at = |seconds: u64| Instant::from_micros(seconds * 1_000_000);
        let passed = (0..10_000).filter(|n| counted.admits(at(1), kind(), &format!("peer {n}")));
        assert_eq!(
            passed.count(),
            MOST + SHARE as usize,
            "strangers share a share"
        );
        assert_eq!(counted.shares.len(), MOST);
        assert!(counted.admits(at(3), kind(), "peer new"));
        assert_eq!(
            counted.shares.len(),
            1,
            "those before have their share again"
        );
    }
}
