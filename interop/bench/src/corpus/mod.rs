//! The bad-input story: throw messages of a corpus at a live daemon, and see that a peer who did nothing
//! wrong does not notice.
//!
//! The peer `evil` opens a session as a proper speaker would and then sends one message of the corpus after
//! another, on a new session whenever the daemon ends the old one. An OPEN of the corpus goes out in place of
//! its own. All the while the peer `good` keeps a session with a hold time of 9 s and changes a route now and
//! then. What the daemon answers to each message is counted, not judged: that `good` never drops, that what
//! reaches it can be parsed, that the daemon lives and still passes routes on, is judged.

mod file;
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
    Ok(outcome.wrongs.is_empty() && outcome.good_drops == 0)
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

    fn print(&self, daemon: &str) {
        println!(
            "{daemon}: {} of {} messages thrown in {:.1} s, {} sessions reset, {} OPENs accepted",
            self.thrown,
            self.total,
            self.wall,
            self.reset_count(),
            self.opens_accepted
        );
        for (reason, count) in &self.resets {
            println!("  {count:5} x {reason}");
        }
        println!(
            "  the good session dropped {} times and got {} UPDATEs; the daemon used {:.2} s CPU, {:.0} MB",
            self.good_drops, self.relayed, self.cpu, self.rss_mb
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
            "opens_accepted": self.opens_accepted, "updates_to_good": self.relayed,
            "good_drops": self.good_drops, "wrongs": self.wrongs,
            "cpu_s": self.cpu, "peak_rss_mb": self.rss_mb, "wall_s": self.wall,
        })
    }
}
