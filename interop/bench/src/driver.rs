//! The driver: rounds of interleaved runs, progress on stderr, tables on stdout, JSON in a file.
//!
//! In each round every daemon runs once, so that a slow spell of the machine hits all of them.

use crate::cli::RunOptions;
use crate::daemon::{Kind, Programs};
use crate::error::{Context, Error, Result};
use crate::report::{Record, Report};
use crate::scenario::{self, Plan, Scenario};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Runs everything asked for. `false`: some run gave no figures.
pub(crate) fn run(options: &RunOptions, stop: &Arc<AtomicBool>) -> Result<bool> {
    let programs = Programs {
        dunlin: options.dunlin.clone(),
    };
    for kind in &options.kinds {
        if programs.find(*kind).is_none() {
            return Err(Error::Daemon(format!(
                "{} is not installed (see --daemons)",
                kind.name()
            )));
        }
    }
    let begin = Instant::now();
    let mut report = Report::default();
    let mut cut_short = false;
    for scenario in &options.scenarios {
        for round in 1..=options.runs {
            for kind in &scenario.participants(&options.kinds) {
                if stop.load(Ordering::Relaxed)
                    || options.budget.is_some_and(|bound| begin.elapsed() > bound)
                {
                    cut_short = true;
                    continue;
                }
                eprint!(
                    "{} {}/{} {:<9}",
                    scenario.name(),
                    round,
                    options.runs,
                    kind.name()
                );
                report
                    .records
                    .push(one(*scenario, *kind, round, options, &programs, stop));
            }
        }
    }
    println!("{}", report.tables());
    if let Some(path) = &options.json {
        write_json(path, &report.json(about(options, &programs)))?;
    }
    if stop.load(Ordering::Relaxed) {
        return Err(Error::Interrupted);
    }
    if cut_short {
        eprintln!("the budget was used up: some runs were not started");
    }
    Ok(report.is_complete() && !cut_short)
}

fn one(
    scenario: Scenario,
    kind: Kind,
    round: usize,
    options: &RunOptions,
    programs: &Programs,
    stop: &Arc<AtomicBool>,
) -> Record {
    let plan = Plan {
        kind,
        programs: programs.clone(),
        sizes: options.sizes.clone(),
        stop: Arc::clone(stop),
    };
    let outcome = scenario::run(scenario, &plan).map_err(|error| error.to_string());
    match &outcome {
        Ok(figures) => {
            let line: Vec<String> = figures
                .iter()
                .map(|(name, value)| format!("{name} {value:.2}"))
                .collect();
            eprintln!(" {}", line.join("  "));
        }
        Err(error) => eprintln!(" FAILED: {error}"),
    }
    Record {
        scenario,
        kind,
        round,
        outcome,
    }
}

/// Writes it in one go, so that a reader never sees half a file.
pub(crate) fn write_json(path: &Path, value: &Value) -> Result<()> {
    let text = format!("{value:#}\n");
    std::fs::write(path, text).context(format!("writing {}", path.display()))
}

/// What the figures depend on.
fn about(options: &RunOptions, programs: &Programs) -> Value {
    let sizes = &options.sizes;
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .unwrap_or_default();
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let found: Vec<Value> = options
        .kinds
        .iter()
        .filter_map(|kind| Some((kind, programs.find(*kind)?)))
        .map(|(kind, path)| json!({ "daemon": kind.name(), "program": path, "version": version(*kind, &path) }))
        .collect();
    json!({
        "cpu": model.trim_start_matches([' ', '\t', ':']),
        "cores": std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        "kernel": kernel.trim(),
        "daemons": found,
        "prefixes": sizes.prefixes,
        "kernel_routes": sizes.kernel_routes,
        "peers": sizes.peers,
        "routes_each": sizes.routes,
        "hold_time": sizes.hold_time,
        "peers_are": if sizes.ibgp { "ibgp" } else { "ebgp" },
        "observe_s": sizes.observe.as_secs(),
    })
}

fn version(kind: Kind, program: &Path) -> Option<String> {
    let flag = match kind {
        Kind::Dunlin | Kind::Bird | Kind::Frr | Kind::Gobgp => "--version",
        Kind::Openbgpd => "-V",
        Kind::IpBatch => "-V",
        Kind::Mirror | Kind::Raw => return None,
    };
    let output = std::process::Command::new(program)
        .arg(flag)
        .output()
        .ok()?;
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text)
        .lines()
        .next()
        .map(str::to_owned)
}
