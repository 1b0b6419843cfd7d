//! The daemon: it assembles the parts and moves their inputs and outputs.
//!
//! ```text
//!  connections: one epoll ◀────────────────────────┐
//!      │ whole messages   ▲ octets                 │
//!      ▼                  │                        │
//!  event loop (1 task) ─▶ Node (pure) ─▶ kernel thread (1)
//!      ▲
//!      └── one bounded queue ◀─┬─ listener (1 an address)
//!                              ├─ kernel thread
//!                              └─ BFD thread (0 or 1): reports only; its packets are its own
//!  control thread (1): clients and their bounds ─▶ one request each of root, operators, viewers
//!  log lines ─▶ a bounded room ─▶ log thread (1) ─▶ standard error
//!  watchers, signals: asked by the event loop itself
//! ```
//!
//! One task owns the [`Node`](crate::node::Node); nothing is locked. It is not here that anything is
//! decided: the only knowledge of this floor is which socket, file or clock an input comes from.

mod answers;
mod attempts;
mod bfd;
mod checks;
mod clock;
pub mod config;
mod confinement;
mod event_loop;
mod explain;
mod host;
mod listening;
mod memory;
mod nat;
pub(crate) mod own_address;
mod owner;
mod problems;
mod pulse;
mod reading;
mod secrets;
mod source;
mod telemetry;
mod tunnels;
mod turn;

use std::path::Path;

use crate::control::protocol::{Check, CheckedNode, Remark};
use confinement::Confined;
use source::Reading;
use telemetry::Telemetry;

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

/// Runs until a signal ends it; `socket` goes before what the file says of the control socket.
///
/// # Errors
/// What kept it from running.
pub fn run(path: &Path, socket: Option<&Path>) -> Result<(), DaemonError> {
    crate::calls::keep_little_memory(memory::KEPT);
    let bad = |bad: source::BadReading| DaemonError::Configuration {
        lines: source::lines(&bad.remarks),
    };
    let mut reading = source::read(path, None).map_err(bad)?;
    if let Some(socket) = socket {
        reading.config.control.socket = socket.to_owned();
    }
    // Before there is a thread: each has capabilities and places of its own.
    let reads = confinement::Reads::of(path, &reading.config, reading.secrets.paths());
    let confined = confinement::confine(&reading.config, &reading.plan, &reads)
        .map_err(|error| DaemonError::System(error.to_string()))?;
    let telemetry = telemetry::begin(reading.config.log);
    confined.say();
    for line in &reading.notes {
        tracing::info!("{line}");
    }
    for warning in &reading.warnings {
        tracing::warn!("{warning}");
    }
    let ended = run_reading(path, socket.is_some(), (reading, confined), &telemetry);
    telemetry.finish();
    ended
}

fn run_reading(
    path: &Path,
    socket_is_given: bool,
    reading: (Reading, Confined),
    telemetry: &Telemetry,
) -> Result<(), DaemonError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| DaemonError::System(format!("cannot start the runtime: {error}")))?;
    let ended = runtime.block_on(event_loop::run(
        path,
        socket_is_given,
        reading,
        telemetry.clone(),
    ));
    ended.map_err(|error| DaemonError::System(error.to_string()))
}

/// Reads the configuration and says everything about it: what is wrong with the files and, unless
/// `offline`, what `run` would stumble over on this host.
pub fn check(path: &Path, offline: bool) -> Check {
    let (reading, obstacles) = match source::examine(path, None) {
        Ok(examined) => examined,
        Err(bad) => {
            return Check {
                good: false,
                file: path.display().to_string(),
                offline,
                remarks: bad.remarks,
                node: None,
            };
        }
    };
    let plan = &reading.plan;
    let mut remarks = reading.warnings;
    if !offline {
        let of_host = checks::on_this_host(&reading.config, plan);
        let of_host = obstacles.into_iter().chain(of_host);
        remarks.extend(of_host.map(|remark| Remark {
            text: format!("on this host: {}", remark.text),
            ..remark
        }));
    }
    Check {
        good: !remarks.iter().any(Remark::is_error),
        file: path.display().to_string(),
        offline,
        remarks,
        node: Some(CheckedNode {
            name: plan.name.clone(),
            asn: plan.asn.0,
            router_id: plan.router_id.to_string(),
            peers: plan.peers.len(),
            own_blocks: plan.originate.len(),
        }),
    }
}
