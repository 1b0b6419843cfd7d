//! `dunlin-bench`: one load generator, several daemons, the same work for each in the same run.
//!
//! It measures; it does not judge. Exit status 0: every run gave figures (for `corpus` and `bad-input`: all
//! was as it must be), 1: some did not, 2: the command line makes no sense.

mod arena;
mod bad_input;
mod cli;
mod corpus;
mod cpu;
mod daemon;
mod driver;
mod error;
mod facts;
mod fleet;
mod lineup;
mod markdown;
mod metric;
mod mirror;
mod mirror_batch;
mod netlink;
mod netns;
mod plot;
mod procfs;
mod report;
mod scenario;
mod schedule;
mod session;
mod table;
mod wire;
mod witness;
mod writer;

use cli::Command;
use error::{Context, Error, Result};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

fn main() -> ExitCode {
    match dispatch() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error @ Error::Usage(_)) => {
            eprintln!("dunlin-bench: {error}");
            ExitCode::from(2)
        }
        Err(error) => {
            eprintln!("dunlin-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch() -> Result<bool> {
    match cli::parse(std::env::args().skip(1))? {
        Command::Help => {
            print!("{}", cli::HELP);
            Ok(true)
        }
        Command::Mirror {
            peers_file,
            hold_time,
            batch,
        } => match batch {
            false => mirror::run(&peers_file, hold_time).map(|()| true),
            true => mirror_batch::run(&peers_file, hold_time).map(|()| true),
        },
        Command::WriteRoutes { gateway, interface } => writer::run(gateway, interface),
        Command::Run(options) => driver::run(&options, &stop_flag()?),
        Command::Corpus(options) => corpus::run(options, &stop_flag()?),
        Command::BadInput(options) => bad_input::run(&options, &stop_flag()?),
    }
}

/// Set by Ctrl-C and SIGTERM: the run in progress ends and cleans up after itself.
fn stop_flag() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).context("watching for signals")?;
    }
    Ok(stop)
}
