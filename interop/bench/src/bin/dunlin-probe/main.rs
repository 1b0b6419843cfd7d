//! `dunlin-probe`: counts packets between network namespaces, and times how fast what is deleted comes back.
//!
//! It measures; the stories judge. It is not the load generator (that is `dunlin-bench`) and knows nothing of
//! BGP. Exit status 0: there are figures, 1: there are none, 2: the command line makes no sense.

mod cli;
mod error;
mod flow;
mod netlink;
mod object;
mod repair;
mod snapshot;
mod space;
mod tally;
mod traffic;

use cli::Command;
use error::{Error, Result};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    match dispatch() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error @ Error::Usage(_)) => {
            eprintln!("dunlin-probe: {error}");
            ExitCode::from(2)
        }
        Err(error) => {
            eprintln!("dunlin-probe: {error}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch() -> Result<()> {
    match cli::parse(std::env::args().skip(1))? {
        Command::Help => {
            print!("{}", cli::HELP);
            Ok(())
        }
        Command::Traffic(options) => {
            let report = traffic::run(&options)?;
            write_report(options.json.as_deref(), &report)
        }
        Command::Repair(options) => {
            let report = repair::run(&options)?;
            write_report(options.json.as_deref(), &report)
        }
    }
}

/// To the file, or to stdout where there is none.
fn write_report(file: Option<&Path>, report: &serde_json::Value) -> Result<()> {
    let text = format!("{report:#}\n");
    match file {
        Some(path) => std::fs::write(path, text)
            .map_err(|source| Error::io(format!("writing {}", path.display()), source)),
        None => {
            print!("{text}");
            Ok(())
        }
    }
}
