//! The daemon: it assembles the parts and moves their inputs and outputs.
//!
//! ```text
//!  connections: one epoll ◀────────────────────────┐
//!      │ whole messages   ▲ octets                 │
//!      ▼                  │                        │
//!  event loop (1 task) ─▶ Node (pure) ─▶ kernel thread (1)
//!      ▲
//!      └── one bounded queue ◀─┬─ listener (1 an address)
//!                              ├─ control  (1 a client)
//!                              ├─ kernel thread
//!                              └─ BFD thread (0 or 1): reports only; its packets are its own
//!  watchers, signals: asked by the event loop itself
//! ```
//!
//! One task owns the [`Node`](crate::node::Node); nothing is locked. It is not here that anything is
//! decided: the only knowledge of this floor is which socket, file or clock an input comes from.

mod answers;
mod attempts;
mod bfd;
mod capabilities;
mod clock;
pub mod config;
mod event_loop;
mod explain;
mod host;
mod listening;
mod nat;
pub(crate) mod own_address;
mod owner;
mod problems;
mod secrets;
mod source;
mod telemetry;
mod tunnels;
mod turn;

use std::path::Path;

/// Why the daemon did not run, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The configuration has errors: one line each.
    #[error("{}\nthe configuration has errors; nothing was started", lines.join("\n"))]
    Configuration {
        /// The lines.
        lines: Vec<String>,
    },
    /// The system refused something, in words.
    #[error("{0}")]
    System(String),
}

/// What a reading of the configuration says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Whether a daemon would run with it.
    pub good: bool,
    /// One line a problem; for a good one a summary at the end.
    pub lines: Vec<String>,
}

/// Runs until a signal ends it.
///
/// # Errors
/// What kept it from running.
pub fn run(path: &Path) -> Result<(), DaemonError> {
    let reading =
        source::read(path, None).map_err(|bad| DaemonError::Configuration { lines: bad.lines })?;
    telemetry::begin(reading.config.log);
    for line in &reading.notes {
        tracing::info!("{line}");
    }
    for warning in &reading.warnings {
        tracing::warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| DaemonError::System(format!("cannot start the runtime: {error}")))?;
    let ended = runtime.block_on(event_loop::run(path, reading));
    ended.map_err(|error| DaemonError::System(error.to_string()))
}

/// Reads the configuration and says everything about it.
pub fn check(path: &Path) -> Checked {
    let (reading, obstacles) = match source::examine(path, None) {
        Ok(examined) => examined,
        Err(bad) => {
            return Checked {
                good: false,
                lines: bad.lines,
            };
        }
    };
    let mut lines = reading.warnings;
    // The files may be meant for another host than this one.
    lines.extend(
        obstacles
            .iter()
            .map(|line| format!("warning: on this host: {line}")),
    );
    let plan = &reading.plan;
    let (peers, blocks) = (plan.peers.len(), plan.originate.len());
    lines.push(format!(
        "{}: node {}, AS {}, router id {}, {peers} peers, {blocks} own blocks: good",
        path.display(),
        plan.name,
        plan.asn,
        plan.router_id
    ));
    Checked { good: true, lines }
}
