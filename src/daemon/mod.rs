//! The daemon: it assembles the parts and moves their inputs and outputs.
//!
//! ```text
//!  listener (1 an address) ─┐
//!  reader   (1 a connection)├─▶ one bounded queue ─▶ event loop ─▶ Node (pure) ─┬─▶ writer (1 a connection)
//!  control  (1 a client)    │        (1 task)                                   └─▶ kernel thread (1)
//!  watcher  (1), signals    ┘
//! ```
//!
//! One task owns the [`Node`](crate::node::Node); nothing is locked. It is not here that anything is
//! decided: the only knowledge of this floor is which socket, file or clock an input comes from.

mod answers;
mod clock;
pub mod config;
mod event_loop;
mod explain;
mod source;
mod telemetry;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use crate::cli::{Exit, Output};

/// Runs until a signal ends it.
pub fn run(path: &Path) -> ExitCode {
    let reading = match source::read(path) {
        Ok(reading) => reading,
        Err(bad) => return refuse(&bad.lines),
    };
    telemetry::begin(reading.config.log);
    for warning in &reading.warnings {
        tracing::warn!("{warning}");
    }
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return complain(&format!("cannot start the runtime: {error}")),
    };
    match runtime.block_on(event_loop::run(path, reading)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&error.to_string()),
    }
}

/// Reads the configuration and says everything about it.
pub fn check(path: &Path, output: Output) -> ExitCode {
    let (lines, good) = match source::read(path) {
        Ok(reading) => {
            let mut lines = reading.warnings;
            let plan = &reading.plan;
            let (peers, blocks) = (plan.peers.len(), plan.originate.len());
            lines.push(format!(
                "{}: node {}, AS {}, router id {}, {peers} peers, {blocks} own blocks: good",
                path.display(),
                plan.name,
                plan.asn,
                plan.router_id
            ));
            (lines, true)
        }
        Err(bad) => (bad.lines, false),
    };
    let mut out = std::io::stdout().lock();
    let printed = match output {
        Output::Json => {
            let value = serde_json::json!({ "good": good, "lines": lines });
            writeln!(out, "{value:#}")
        }
        Output::Table => lines.iter().try_for_each(|line| writeln!(out, "{line}")),
    };
    match (good, printed) {
        (false, _) => Exit::BadConfiguration.into(),
        (true, Ok(())) => ExitCode::SUCCESS,
        (true, Err(_)) => Exit::Failed.into(),
    }
}

fn refuse(lines: &[String]) -> ExitCode {
    let mut err = std::io::stderr().lock();
    for line in lines {
        let _nowhere_else = writeln!(err, "{line}");
    }
    let _nowhere_else = writeln!(
        err,
        "dunlin: the configuration has errors; nothing was started"
    );
    Exit::BadConfiguration.into()
}

fn complain(what: &str) -> ExitCode {
    let _nowhere_else = writeln!(std::io::stderr(), "dunlin: {what}");
    Exit::Failed.into()
}
