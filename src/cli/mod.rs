//! What people type. It parses, asks the daemon over the control socket, and prints.
//!
//! Exit codes that scripts can use: 0 done, 1 it could not be done, 2 the command line is wrong,
//! 3 no daemon answers, 4 no such peer, prefix or route, 5 the configuration has errors.

mod address;
mod args;
mod ask;
mod pages;
mod peer_table;
mod route_table;
mod table;

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

use crate::daemon::{self, DaemonError};

pub use args::{Args, Command};

/// Parses the process's arguments and does what they say.
pub fn main() -> ExitCode {
    let args = Args::parse();
    match args.command {
        Command::Run(ref run) => run_daemon(&run.config, args.given_socket()),
        Command::Check(ref check) => ask::check(check, args.output),
        Command::Address(ref options) => address::print(options, args.output),
        Command::Lab(ref options) => crate::lab::run(options),
        Command::LabInside(ref options) => crate::lab::run_inside(options),
        Command::Schema => ask::print_schema(),
        Command::Version if args.given_socket().is_none() => ask::print_version(args.output),
        ref asked => ask::ask(asked, &args),
    }
}

fn run_daemon(config: &Path, socket: Option<&Path>) -> ExitCode {
    match daemon::run(config, socket) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            ask::complain(&error);
            match error {
                DaemonError::Configuration { .. } => Exit::BadConfiguration.into(),
                DaemonError::System(_) => Exit::Failed.into(),
            }
        }
    }
}

/// The exit codes beside 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exit {
    /// It could not be done.
    Failed = 1,
    /// It makes no sense.
    WrongCommandLine = 2,
    /// No daemon answers.
    NoDaemon = 3,
    /// No such peer or prefix.
    NotFound = 4,
    /// The configuration has errors.
    BadConfiguration = 5,
    /// Viewers may not.
    NotAllowed = 6,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Failed => Self::from(1),
            Exit::WrongCommandLine => Self::from(2),
            Exit::NoDaemon => Self::from(3),
            Exit::NotFound => Self::from(4),
            Exit::BadConfiguration => Self::from(5),
            Exit::NotAllowed => Self::from(6),
        }
    }
}
