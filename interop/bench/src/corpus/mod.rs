//! The bad-input story: throw messages of a corpus at a live daemon, and see that a peer who did nothing
//! wrong does not notice.
//!
//! What the daemon answers to each message is counted, not judged; judged is that every message was thrown, that
//! an OPEN is accepted or answered by a NOTIFICATION, and what [`arena`](crate::arena) judges of the good peers.

pub(crate) mod file;
mod thrower;

use crate::cli::CorpusOptions;
use crate::daemon::Programs;
use crate::driver::write_json;
use crate::error::{Error, Result};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// What came of it.
#[derive(Default)]
pub(super) struct Outcome {
    /// Messages in the files.
    total: usize,
    /// Messages sent.
    thrown: usize,
    /// Sent, by message type.
    by_type: BTreeMap<u8, usize>,
    /// How the daemon ended sessions, by what it said.
    resets: BTreeMap<String, usize>,
    /// OPENs of the corpus that led to a session.
    opens_accepted: usize,
    /// OPENs of the corpus that did not, by what the daemon said.
    open_refusals: BTreeMap<String, usize>,
    /// UPDATEs after which the session stayed, and those that ended it.
    updates_accepted: usize,
    updates_reset: usize,
    /// What dunlin says it did with them (RFC 7606), of the good sessions' too.
    treated_as_withdraw: Option<u64>,
    attributes_discarded: Option<u64>,
    /// Connections of evil peers that the daemon turned away after an error of theirs.
    held_off: usize,
    /// Seconds: the longest that a good session heard nothing, and that a route took from one to the other.
    silence: f64,
    slowest_relay: f64,
    /// UPDATEs that reached `good`.
    relayed: usize,
    /// How often `good` lost its session.
    good_drops: usize,
    /// Why `good` lost it, or what else must not be.
    wrongs: Vec<String>,
    /// CPU seconds and peak memory of the daemon, and how long it all took.
    cpu: f64,
    rss_mb: f64,
    wall: f64,
}

/// Throws the files. `false`: the daemon failed the story.
pub(crate) fn run(options: CorpusOptions, stop: &Arc<AtomicBool>) -> Result<bool> {
    let programs = Programs {
        dunlin: options.dunlin.clone(),
        instead: None,
    };
    let mut messages = Vec::new();
    for path in &options.files {
        messages.extend(file::read(path)?);
    }
    if let Some(limit) = options.limit.filter(|limit| *limit < messages.len()) {
        let step = messages.len().div_ceil(limit.max(1));
        messages = messages.into_iter().step_by(step).collect();
    }
    let json = options.json.clone();
    let bounds = Bounds {
        settle: options.settle,
        timeout: options.timeout,
        stop: Arc::clone(stop),
    };
    let kind = options.kind;
    let thread = std::thread::spawn(move || thrower::run(kind, &programs, messages, &bounds));
    let outcome = thread
        .join()
        .unwrap_or_else(|_| Err(Error::Daemon("the generator's thread panicked".to_owned())))?;
    outcome.print(kind.name());
    if let Some(path) = json {
        write_json(&path, &outcome.json(kind.name()))?;
    }
    Ok(outcome.is_good())
}

/// How long things may take.
struct Bounds {
    settle: Duration,
    timeout: Duration,
    stop: Arc<AtomicBool>,
}

impl Outcome {
    fn reset_count(&self) -> usize {
        self.resets.values().sum()
    }

    fn is_good(&self) -> bool {
        self.wrongs.is_empty() && self.good_drops == 0 && self.thrown == self.total
    }

    fn print(&self, daemon: &str) {
        println!(
            "{daemon}: {} of {} messages thrown in {:.1} s",
            self.thrown, self.total, self.wall
        );
        let refused: usize = self.open_refusals.values().sum();
        println!(
            "  {} OPENs accepted, {refused} refused:",
            self.opens_accepted
        );
        for (reason, count) in &self.open_refusals {
            println!("  {count:5} x {reason}");
        }
        println!(
            "  {} UPDATEs accepted, {} ended the session{}",
            self.updates_accepted,
            self.updates_reset,
            match (self.treated_as_withdraw, self.attributes_discarded) {
                (Some(withdrawn), Some(discarded)) => format!(
                    "; {withdrawn} were treated as withdraw, {discarded} attributes discarded"
                ),
                _ => String::new(),
            }
        );
        println!(
            "  {} sessions reset, {} connections held off afterwards:",
            self.reset_count(),
            self.held_off
        );
        for (reason, count) in &self.resets {
            println!("  {count:5} x {reason}");
        }
        println!(
            "  the good sessions dropped {} times, got {} UPDATEs, heard nothing for at most {:.1} s; a route took at \
             most {:.0} ms",
            self.good_drops,
            self.relayed,
            self.silence,
            self.slowest_relay * 1e3
        );
        println!(
            "  the daemon used {:.2} s CPU, {:.0} MB",
            self.cpu, self.rss_mb
        );
        for wrong in &self.wrongs {
            println!("  WRONG: {wrong}");
        }
    }

    fn json(&self, daemon: &str) -> Value {
        let by_type: BTreeMap<String, usize> = self
            .by_type
            .iter()
            .map(|(kind, count)| (kind.to_string(), *count))
            .collect();
        json!({
            "daemon": daemon, "total": self.total, "thrown": self.thrown, "thrown_by_type": by_type,
            "resets": self.reset_count(), "resets_by_reason": self.resets,
            "opens_accepted": self.opens_accepted, "opens_refused_by_reason": self.open_refusals,
            "updates_accepted": self.updates_accepted, "updates_reset": self.updates_reset,
            "treated_as_withdraw": self.treated_as_withdraw, "attributes_discarded": self.attributes_discarded,
            "held_off": self.held_off, "updates_to_good": self.relayed, "silence_s": self.silence,
            "slowest_relay_s": self.slowest_relay,
            "good_drops": self.good_drops, "wrongs": self.wrongs,
            "cpu_s": self.cpu, "peak_rss_mb": self.rss_mb, "wall_s": self.wall,
        })
    }
}
