//! The `dunlin` command.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use dunlin::lab::{INSIDE_COMMAND, InsideOptions, LabOptions, run, run_inside};

#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Try dunlin in a cluster of network namespaces on this machine
    Lab(LabOptions),
    #[command(name = INSIDE_COMMAND, hide = true)]
    LabInside(InsideOptions),
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Lab(options) => run(&options),
        Command::LabInside(options) => run_inside(&options),
    }
}
