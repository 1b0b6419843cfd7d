//! The log: lines on standard error, as text or JSON, as loud as was asked for.
//!
//! What always holds: no state of standard error ends the process or makes it wait (`outlet`), and the
//! level can be changed while it runs, for one peer, too (`loudness`).

mod loudness;
pub(super) mod orders;
mod outlet;
mod pace;

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime as _;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::config::{Log, LogFormat, LogLevel};
use crate::problem::{Code, Problem, Subject};
use loudness::Loudness;
pub(super) use outlet::Lost;
use outlet::{Notices, Outlet};
use pace::Pace;

/// The variable that goes before the file's level: `debug`, or `dunlin::speaker=debug,info`.
const VARIABLE: &str = "DUNLIN_LOG";
/// How long the end of the process waits for its last lines to be taken.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The log's own handle.
#[derive(Debug, Clone)]
pub(super) struct Telemetry {
    outlet: Outlet,
    loudness: Loudness,
    notices: Notices,
    level: Arc<Mutex<Level>>,
}

/// The general level.
#[derive(Debug, Clone)]
struct Level {
    /// What the file and the environment say.
    configured: Targets,
    /// What an operator has ordered instead.
    ordered: Option<LogLevel>,
}

/// Begins logging.
pub(super) fn begin(log: Log) -> Telemetry {
    let (configured, complaint) = configured(log.level);
    let telemetry = Telemetry {
        outlet: Outlet::new(),
        loudness: Loudness::new(configured.clone()),
        notices: match log.format {
            LogFormat::Text => Notices {
                said: |lost| in_text(&lost_in_words(lost)),
                held: |lines, about| in_text(&held_in_words(lines, about)),
            },
            LogFormat::Json => Notices {
                said: |lost| in_json(&lost_in_words(lost), "lost", lost),
                held: |lines, about| in_json(&held_in_words(lines, about), "held", lines),
            },
        },
        level: Arc::new(Mutex::new(Level {
            configured,
            ordered: None,
        })),
    };
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(telemetry.outlet.clone())
        // It would be said on the very descriptor that takes nothing, by a macro that panics.
        .log_internal_errors(false)
        .with_ansi(io::stderr().is_terminal());
    let registry = tracing_subscriber::registry()
        .with(Pace::new(telemetry.outlet.clone()))
        .with(telemetry.loudness.clone());
    let begun = match log.format {
        LogFormat::Text => registry.with(lines.with_target(false)).try_init(),
        LogFormat::Json => registry.with(lines.json()).try_init(),
    };
    telemetry.carry();
    if let Err(error) = begun {
        tracing::debug!(%error, "logging has begun before");
    }
    if let Some(complaint) = complaint {
        tracing::warn!("{complaint}");
    }
    telemetry
}

/// What the environment says, and the file where it says nothing; what can't be read is said.
fn configured(level: LogLevel) -> (Targets, Option<String>) {
    let level = filter(level);
    let said = std::env::var_os(VARIABLE).unwrap_or_default();
    let said = said.to_string_lossy();
    if said.trim().is_empty() {
        return (Targets::new().with_default(level), None);
    }
    match said.parse::<Targets>() {
        Ok(targets) if targets.default_level().is_none() => (targets.with_default(level), None),
        Ok(targets) => (targets, None),
        Err(error) => (
            Targets::new().with_default(level),
            Some(format!(
                "{VARIABLE}={said:?} is not read ({error}): it is a level, or parts of the program with \
                 levels, such as \"dunlin::speaker=debug,info\""
            )),
        ),
    }
}

impl Telemetry {
    /// Lets lines out.
    fn carry(&self) {
        let target = io::stderr().as_fd().try_clone_to_owned();
        let begun = target.and_then(|target| self.outlet.carry_to(target, self.notices));
        if begun.is_err() {
            return;
        }
        let outlet = self.outlet.clone();
        let before = std::panic::take_hook();
        // A panic ends the process of a release: the lines before it are what explains it.
        std::panic::set_hook(Box::new(move |panic| {
            before(panic);
            outlet.drain(LAST_WORDS);
        }));
    }

    /// Waits for the last lines to be taken, but not for a reader that has stopped.
    pub(super) fn finish(&self) {
        self.outlet.drain(LAST_WORDS);
    }

    pub(super) fn lost(&self) -> Lost {
        self.outlet.lost()
    }

    /// Lines are lost, and nobody could be told so far.
    pub(super) fn problem(&self) -> Option<Problem> {
        let unsaid = self.lost().unsaid;
        (unsaid > 0).then(|| {
            Problem::new(
                Code::LogLost,
                Subject::Host,
                format!("{} could not be written", counted(unsaid)),
                "look at what standard error of dunlin leads to: is its disk full, or has its reader \
                 stopped?",
            )
        })
    }

    /// The file has another level.
    pub(super) fn configure(&self, level: LogLevel) {
        let mut now = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        now.configured = configured(level).0;
        if now.ordered.is_none() {
            self.loudness.set_general(now.configured.clone());
        }
    }

    /// An operator wants another level, or with none the configured one.
    pub(super) fn order(&self, level: Option<LogLevel>) {
        let mut now = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        now.ordered = level;
        let general = match level {
            Some(level) => Targets::new().with_default(filter(level)),
            None => now.configured.clone(),
        };
        self.loudness.set_general(general);
    }

    /// The same for what is about one peer.
    pub(super) fn order_for(&self, peer: &str, level: Option<LogLevel>) {
        self.loudness.set_peer(peer, level.map(filter));
    }

    /// What is in force: in general, as `DUNLIN_LOG` is written, and by peer.
    pub(super) fn levels(&self) -> (String, Vec<(String, String)>) {
        let now = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        let general = match now.ordered {
            Some(level) => filter(level).to_string(),
            None => now.configured.to_string(),
        };
        let peers = self.loudness.peers().into_iter();
        let peers = peers.map(|(name, level)| (name, level.to_string()));
        (general, peers.collect())
    }
}

const fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

fn counted(lost: u64) -> String {
    match lost {
        1 => "1 line of the log".to_owned(),
        many => format!("{many} lines of the log"),
    }
}

fn lost_in_words(lost: u64) -> String {
    let were = if lost == 1 { "was" } else { "were" };
    format!("{} {were} lost", counted(lost))
}

fn held_in_words(lines: u64, about: &str) -> String {
    let (counted, were) = (counted(lines), if lines == 1 { "was" } else { "were" });
    format!("{counted} about {about} {were} held back: too many a second")
}

fn time() -> String {
    let mut time = String::new();
    // Writing to memory does not fail.
    let _ = tracing_subscriber::fmt::time().format_time(&mut Writer::new(&mut time));
    time
}

fn in_text(words: &str) -> String {
    format!("{}  WARN {words}\n", time())
}

fn in_json(words: &str, key: &str, count: u64) -> String {
    let line = serde_json::json!({
        "timestamp": time(),
        "level": "WARN",
        "fields": { "message": words, key: count },
        "target": module_path!(),
    });
    format!("{line}\n")
}
