//! One command, one or more requests, one print.

use std::io::{self, Write};
use std::process::ExitCode;

use serde::Serialize;

use super::args::{Args, CheckOptions, Command, Output, PeerOrder};
use super::{Exit, pages, peer_table, route_table};
use crate::control::client::{Client, ClientError};
use crate::control::protocol::{Answer, Check, CheckedNode, Envelope, Failure, PeerLevel, Request};
use crate::daemon;

pub(super) fn ask(command: &Command, args: &Args) -> ExitCode {
    match answer_of(command, args) {
        Ok(code) => code,
        Err(Problem::Client(error)) => {
            complain(&error);
            Exit::NoDaemon.into()
        }
        Err(Problem::Print(error)) => printed_well(Err(error)),
    }
}

/// Reads a configuration without a daemon, and prints what is to be said of it.
pub(super) fn check(options: &CheckOptions, output: Output) -> ExitCode {
    let found = daemon::check(&options.file.config, options.offline);
    let good = found.good;
    let printed = match output {
        Output::Json => print_json(&Answer::Check(found)),
        Output::Table => print_check(&found),
    };
    if good {
        printed_well(printed)
    } else {
        Exit::BadConfiguration.into()
    }
}

fn print_check(found: &Check) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for remark in &found.remarks {
        writeln!(out, "{remark}")?;
    }
    let Some(node) = &found.node else {
        return Ok(());
    };
    let CheckedNode {
        name,
        asn,
        router_id,
        peers,
        own_blocks,
    } = node;
    let errors = found.remarks.iter().filter(|remark| remark.is_error());
    let verdict = match errors.count() {
        0 => "good".to_owned(),
        1 => "1 error".to_owned(),
        many => format!("{many} errors"),
    };
    writeln!(
        out,
        "{}: node {name}, AS {asn}, router id {router_id}, {peers} peers, {own_blocks} own blocks: \
         {verdict}",
        found.file
    )
}

/// The exit code of what only prints: a reader that has seen enough (`| head`) is no error.
pub(super) fn printed_well(printed: io::Result<()>) -> ExitCode {
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            Exit::Failed.into()
        }
    }
}

/// The JSON Schema of all answers, as `tests` generates it from their types.
const SCHEMA: &str = include_str!("../../proto-fixtures/control/answers.schema.json");

/// Prints what `--output json` may print.
pub(super) fn print_schema() -> ExitCode {
    printed_well(io::stdout().lock().write_all(SCHEMA.as_bytes()))
}

/// Prints this program's own version.
pub(super) fn print_version(output: Output) -> ExitCode {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let result = match output {
        Output::Table => writeln!(io::stdout(), "dunlin {version}"),
        Output::Json => print_json(&Answer::Version { version }),
    };
    printed_well(result)
}

#[derive(Debug)]
pub(super) enum Problem {
    Client(ClientError),
    Print(io::Error),
}

impl From<ClientError> for Problem {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Self::Print(error)
    }
}

fn answer_of(command: &Command, args: &Args) -> Result<ExitCode, Problem> {
    let mut client = Client::connect(args.socket())?;
    let request = match command {
        Command::Routes(options) => return pages::routes(&mut client, options, args.output),
        Command::Fib => return pages::fib(&mut client, args.output),
        Command::Status { check: false } => Request::Status,
        Command::Status { check: true } => return check_status(&mut client, args.output),
        Command::Peers { name } => Request::Peers { name: name.clone() },
        Command::Peer { name, order } => peer_request(name.clone(), order),
        Command::Explain { what } => Request::Explain { what: what.clone() },
        Command::Drain { undo } => Request::Drain { undo: *undo },
        Command::Reload => Request::Reload,
        Command::Log { level, peer } => Request::Log {
            level: level.clone(),
            peer: peer.clone(),
        },
        Command::Version
        | Command::Run(_)
        | Command::Check(_)
        | Command::Address(_)
        | Command::Schema
        | Command::Lab(_)
        | Command::LabInside(_) => Request::Version,
    };
    let one = matches!(command, Command::Peers { name: Some(_) });
    print(&client.ask(&request)?, args.output, one)
}

/// Prints what is wrong; scripts learn by the exit code whether any of it is an error.
fn check_status(client: &mut Client, output: Output) -> Result<ExitCode, Problem> {
    let status = match client.ask(&Request::Status)? {
        Answer::Status(status) => status,
        other => return print(&other, output, false),
    };
    let problems = status.problems;
    let any_error = problems.iter().any(|problem| problem.severity == "error");
    match output {
        Output::Json => print_json(&Answer::Problems { problems })?,
        Output::Table => peer_table::problems(&mut io::stdout().lock(), &problems)?,
    }
    Ok(if any_error {
        Exit::Failed.into()
    } else {
        ExitCode::SUCCESS
    })
}

fn peer_request(name: String, order: &PeerOrder) -> Request {
    match order {
        PeerOrder::Shutdown { message } => Request::PeerShutdown {
            name,
            message: message.clone(),
        },
        PeerOrder::Enable => Request::PeerEnable { name },
        PeerOrder::Reset => Request::PeerReset { name },
        PeerOrder::Refresh => Request::PeerRefresh { name },
    }
}

pub(super) fn print(answer: &Answer, output: Output, one: bool) -> Result<ExitCode, Problem> {
    if let Answer::Failed {
        reason, message, ..
    } = answer
    {
        if output == Output::Json {
            print_json(answer)?;
        }
        complain(message);
        return Ok(exit_of(*reason));
    }
    let done = match answer {
        // Said, and there is no such route.
        Answer::Explain(found) if found.is_of_nothing() => Exit::NotFound.into(),
        _ => ExitCode::SUCCESS,
    };
    if output == Output::Json {
        print_json(answer)?;
        return Ok(done);
    }
    let mut out = io::stdout().lock();
    match answer {
        Answer::Status(status) => peer_table::status(&mut out, status)?,
        Answer::Peers { peers } if one => {
            for peer in peers {
                peer_table::peer(&mut out, peer)?;
            }
        }
        Answer::Peers { peers } => peer_table::peers(&mut out, peers)?,
        Answer::Explain(explanation) => {
            for line in &explanation.lines {
                writeln!(out, "{line}")?;
            }
        }
        Answer::Reloaded { changes, warnings } => {
            for warning in warnings {
                writeln!(out, "{warning}")?;
            }
            if changes.is_empty() {
                writeln!(out, "nothing has changed")?;
            }
            for change in changes {
                writeln!(out, "{change}")?;
            }
        }
        Answer::Log(levels) => {
            writeln!(out, "log level {}", levels.level)?;
            for PeerLevel { peer, level } in &levels.peers {
                writeln!(out, "about {peer}: {level}")?;
            }
            if levels.lost_lines > 0 {
                writeln!(out, "{} lines were lost so far", levels.lost_lines)?;
            }
            if levels.held_lines > 0 {
                writeln!(out, "{} lines were held back so far", levels.held_lines)?;
            }
        }
        Answer::Version { version, .. } => writeln!(out, "dunlin {version}")?,
        Answer::Done { message } => writeln!(out, "{message}")?,
        Answer::Routes(page) => route_table::routes(&mut out, page)?,
        Answer::Fib(page) => route_table::fib(&mut out, page)?,
        // Made here, not asked for.
        Answer::Check(_) | Answer::Address(_) | Answer::Problems { .. } | Answer::Failed { .. } => {
        }
    }
    Ok(done)
}

pub(super) fn print_json(answer: &impl Serialize) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, &Envelope::new(answer))?;
    writeln!(out)
}

fn exit_of(reason: Failure) -> ExitCode {
    match reason {
        Failure::NotFound => Exit::NotFound.into(),
        Failure::BadConfiguration => Exit::BadConfiguration.into(),
        Failure::BadRequest | Failure::Busy => Exit::Failed.into(),
        Failure::Malformed => Exit::WrongCommandLine.into(),
        Failure::NotAllowed => Exit::NotAllowed.into(),
    }
}

pub(super) fn complain(what: &dyn std::fmt::Display) {
    let _nowhere_to_complain = writeln!(io::stderr(), "dunlin: {what}");
}
