//! The driver: rounds of interleaved runs, progress on stderr, tables on stdout, and files for those who want them.
//!
//! In each round every daemon runs once in each scenario, so that a slow spell of the machine hits all of them.

use crate::cli::RunOptions;
use crate::daemon::Programs;
use crate::error::{Context, Error, Result};
use crate::facts::Facts;
use crate::lineup::{self, Entrant};
use crate::report::{Record, Report};
use crate::scenario::{self, Plan};
use crate::schedule::{self, Pace, Run};
use crate::{markdown, plot};
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Runs everything asked for. `false`: some run gave no figures.
pub(crate) fn run(options: &RunOptions, stop: &Arc<AtomicBool>) -> Result<bool> {
    let programs = Programs {
        dunlin: options.dunlin.clone(),
        instead: None,
    };
    let (entrants, mut absent) = present(options, &programs)?;
    absent.extend(left_out(options, &entrants));
    absent.iter().for_each(|line| eprintln!("{line}"));
    let facts = Facts::gather(options, &entrants, &programs);
    let runs = schedule::runs(options, &entrants);
    let (report, cut_short) = make(&runs, options, &programs, stop);
    println!("{}", report.tables());
    if let Some(path) = &options.json {
        write_json(path, &report.json(&facts.json()))?;
    }
    if let Some(path) = &options.markdown {
        write_text(path, &markdown::document(&report, &facts, &absent))?;
    }
    if let Some(path) = &options.plot {
        write_text(path, &plot::svg(&report, &facts))?;
    }
    if stop.load(Ordering::Relaxed) {
        return Err(Error::Interrupted);
    }
    if cut_short > 0 {
        eprintln!("the budget was used up: {cut_short} runs were not made");
    }
    Ok(report.is_complete() && cut_short == 0)
}

/// Those that are installed. With `--all` another one is only told of, else it is an error.
fn present(options: &RunOptions, programs: &Programs) -> Result<(Vec<Entrant>, Vec<String>)> {
    let (mut found, mut absent) = (Vec::new(), Vec::new());
    for entrant in lineup::entrants(options) {
        let label = &entrant.label;
        if entrant.find(programs).is_some() {
            found.push(entrant);
        } else if options.all && entrant.program.is_none() {
            absent.push(format!("{label}: not installed"));
        } else {
            let what = format!("{label} is not installed (see --daemons, --program, --dunlin)");
            return Err(Error::Daemon(what));
        }
    }
    Ok((found, absent))
}

/// Who can't take part in which scenario, and why.
fn left_out(options: &RunOptions, entrants: &[Entrant]) -> Vec<String> {
    let mut lines = Vec::new();
    for scenario in &options.scenarios {
        for entrant in entrants {
            if let Some(reason) = lineup::why_not(*scenario, entrant.kind, options) {
                let (label, name) = (&entrant.label, scenario.name());
                lines.push(format!("{label} is not in {name}: {reason}"));
            }
        }
    }
    lines
}

/// Makes the runs that fit the budget, and tells how many did not.
fn make(
    runs: &[Run],
    options: &RunOptions,
    programs: &Programs,
    stop: &Arc<AtomicBool>,
) -> (Report, usize) {
    let begin = Instant::now();
    let (mut report, mut pace, mut cut_short) = (Report::default(), Pace::default(), 0);
    for (number, run) in runs.iter().enumerate() {
        let left = options
            .budget
            .map(|all| all.saturating_sub(begin.elapsed()));
        if stop.load(Ordering::Relaxed) || left.is_some_and(|left| left <= pace.estimate(run)) {
            cut_short += 1;
            continue;
        }
        // A daemon that failed where everything is run would only spend the others' time again.
        let failed = report.records.iter().any(|record| {
            record.scenario == run.scenario
                && record.label == run.entrant.label
                && record.outcome.is_err()
        });
        if options.all && failed {
            continue;
        }
        eprint!(
            "[{}/{}, about {} left] {} round {} {:<9}",
            number + 1,
            runs.len(),
            pace.left(runs.get(number..).unwrap_or_default()),
            run.scenario.name(),
            run.round,
            run.entrant.label
        );
        let start = Instant::now();
        let mut plan = Plan {
            kind: run.entrant.kind,
            programs: run.entrant.programs(programs),
            sizes: lineup::sizes(run.scenario, options),
            stop: Arc::clone(stop),
        };
        plan.sizes.timeout = left.map_or(plan.sizes.timeout, |left| left.min(plan.sizes.timeout));
        report.records.push(one(run, &plan));
        pace.note(run, start.elapsed());
    }
    (report, cut_short)
}

fn one(run: &Run, plan: &Plan) -> Record {
    let outcome = scenario::run(run.scenario, plan).map_err(|error| error.to_string());
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
        scenario: run.scenario,
        kind: run.entrant.kind,
        label: run.entrant.label.clone(),
        round: run.round,
        outcome,
    }
}

/// Writes it in one go, so that a reader never sees half a file.
pub(crate) fn write_json(path: &Path, value: &Value) -> Result<()> {
    write_text(path, &format!("{value:#}\n"))
}

fn write_text(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).context(format!("writing {}", path.display()))
}
