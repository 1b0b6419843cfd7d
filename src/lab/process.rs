//! The daemons of the lab: started inside their namespaces, watched, stopped.
//!
//! A daemon is started through `dunlin lab-inside`, which enters the namespace and asks the kernel
//! to be stopped when the lab dies; both can only be done by the process itself. A process is known
//! by its id and its start time, so that a reused id is never taken for it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::{CommandExt, parent_id};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::error::LabError;
use super::namespace;
use super::options::{INSIDE_COMMAND, InsideOptions};

/// How long a daemon may take to stop before it is killed.
const STOP_DEADLINE: Duration = Duration::from_secs(5);
/// How often a stopping daemon is looked at.
const STOP_POLL: Duration = Duration::from_millis(10);
/// How much of a dead daemon's log is shown.
const TAIL_LINES: usize = 8;

/// A process for certain: its id, and when it began (in clock ticks since the boot).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ProcessId {
    pid: i32,
    started: u64,
}

impl ProcessId {
    /// The process that now has this id.
    pub(super) fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Some(Self {
            pid: i32::try_from(pid).ok()?,
            started: start_time(&stat)?,
        })
    }

    /// Whether that very process still runs.
    pub(super) fn is_alive(self) -> bool {
        u32::try_from(self.pid).ok().and_then(Self::of) == Some(self)
    }

    /// Asks it to stop and kills it if it does not; a process that is gone is no error.
    pub(super) fn stop(self) -> io::Result<()> {
        for (signal, wait) in [
            (Signal::SIGTERM, STOP_DEADLINE),
            (Signal::SIGKILL, STOP_DEADLINE),
        ] {
            if !self.is_alive() {
                return Ok(());
            }
            match kill(Pid::from_raw(self.pid), signal) {
                Ok(()) => {}
                Err(Errno::ESRCH) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
            let deadline = Instant::now() + wait;
            while self.is_alive() && Instant::now() < deadline {
                thread::sleep(STOP_POLL);
            }
        }
        if self.is_alive() {
            return Err(io::Error::other(format!(
                "process {} does not end",
                self.pid
            )));
        }
        Ok(())
    }
}

/// The start time in /proc/PID/stat: field 22, counted behind the name, which may hold anything.
/// A zombie has none: it runs no more.
fn start_time(stat: &str) -> Option<u64> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let mut fields = behind_name.split_ascii_whitespace();
    match fields.next()? {
        "Z" | "X" => None,
        _ => fields.nth(18)?.parse().ok(),
    }
}

/// What of the environment the daemons get: where programs are, and what is logged.
const KEPT_VARIABLES: [&str; 2] = ["PATH", "RUST_LOG"];

/// What becomes a daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Program {
    /// `dunlin run` with this file.
    Dunlin(PathBuf),
    /// BIRD at this path with this file, its control socket beside it.
    Bird(PathBuf, PathBuf),
}

impl Program {
    /// The program, if it is not this one, and its arguments.
    fn command(&self) -> (Option<&Path>, Vec<OsString>) {
        match self {
            Self::Dunlin(config) => (None, vec!["run".into(), "--config".into(), config.into()]),
            Self::Bird(program, config) => {
                let socket = config.with_extension("ctl");
                let arguments: [OsString; 5] = [
                    "-f".into(),
                    "-c".into(),
                    config.into(),
                    "-s".into(),
                    socket.into(),
                ];
                (Some(program), arguments.to_vec())
            }
        }
    }
}

/// Where BIRD is, if it is installed.
pub(super) fn find_bird() -> Option<PathBuf> {
    // Where Debian puts it may not be in a user's PATH.
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|folder| folder.join("bird"))
        .find(|file| file.is_file())
}

/// A daemon on a node.
#[derive(Debug)]
pub(super) struct Daemon {
    /// The node's name.
    pub(super) node: String,
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts a program inside a namespace; it writes to the log file.
    pub(super) fn start(
        node: &str,
        namespace: &str,
        (program, log): (&Program, &Path),
        dies_with_lab: bool,
    ) -> Result<Self, LabError> {
        let (other, arguments) = program.command();
        let program = own_program()?;
        let out = File::create(log).map_err(LabError::file("write", log))?;
        let err = out.try_clone().map_err(LabError::file("write", log))?;
        let mut command = Command::new(program);
        command
            .arg(INSIDE_COMMAND)
            .arg("--namespace")
            .arg(namespace::path(namespace));
        if dies_with_lab {
            command.arg("--parent").arg(std::process::id().to_string());
        }
        if let Some(other) = other {
            command.arg("--program").arg(other);
        }
        command.arg("--").args(arguments);
        // What is meant for a real node on this machine (IP, CALICO_…) is not for these.
        command.env_clear();
        for variable in KEPT_VARIABLES {
            command.envs(std::env::var_os(variable).map(|value| (variable, value)));
        }
        // Its own process group: Ctrl-C on the terminal is the lab's to handle, in order.
        command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .process_group(0);
        let child = command
            .spawn()
            .map_err(LabError::system("start the daemon of a node"))?;
        Ok(Self {
            node: node.to_owned(),
            child,
            log: log.to_owned(),
        })
    }

    /// Its process, for the state file.
    pub(super) fn id(&self) -> Option<ProcessId> {
        ProcessId::of(self.child.id())
    }

    /// An error that tells how it ended, if it did.
    pub(super) fn check_alive(&mut self) -> Result<(), LabError> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(self.ended(status)),
            Err(source) => Err(LabError::System {
                doing: "wait for a dunlin",
                source,
            }),
        }
    }

    fn ended(&self, status: ExitStatus) -> LabError {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let from = lines.len().saturating_sub(TAIL_LINES);
        let tail: Vec<String> = lines
            .iter()
            .skip(from)
            .map(|line| format!("    {line}"))
            .collect();
        LabError::DaemonEnded {
            node: self.node.clone(),
            status: status.to_string(),
            tail: if tail.is_empty() {
                "    (nothing)".to_owned()
            } else {
                tail.join("\n")
            },
        }
    }
}

/// Stops all daemons at once, and kills those that do not stop in time.
pub(super) fn stop_all(daemons: &mut [Daemon]) {
    for daemon in daemons.iter() {
        // The child is not waited for yet, so its id can't belong to another process.
        if let Ok(pid) = i32::try_from(daemon.child.id()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
    }
    let deadline = Instant::now() + STOP_DEADLINE;
    for daemon in daemons {
        while Instant::now() < deadline && matches!(daemon.child.try_wait(), Ok(None)) {
            thread::sleep(STOP_POLL);
        }
        let _ = daemon.child.kill();
        let _ = daemon.child.wait();
    }
}

/// This program, to be started again.
pub(super) fn own_program() -> Result<PathBuf, LabError> {
    std::env::current_exe().map_err(LabError::system("find out the path of this program"))
}

/// Becomes the program inside a namespace; returns only if that fails.
pub(super) fn become_inside(options: &InsideOptions) -> Result<(), LabError> {
    if let Some(parent) = options.parent {
        set_pdeathsig(Signal::SIGTERM).map_err(LabError::system("tie a dunlin to the lab"))?;
        // If the lab died before the line above, no signal will come.
        if i32::try_from(parent_id()).ok() != Some(parent) {
            let source = io::Error::other("the lab is gone");
            return Err(LabError::System {
                doing: "start a dunlin",
                source,
            });
        }
    }
    namespace::enter(&options.namespace)
        .map_err(LabError::file("enter the namespace", &options.namespace))?;
    // The lab holds its signals back, and programs inherit that.
    SigSet::empty()
        .thread_set_mask()
        .map_err(LabError::system("let signals through to a dunlin"))?;
    let program = match &options.program {
        Some(program) => program.clone(),
        None => own_program()?,
    };
    let source = Command::new(&program).args(&options.arguments).exec();
    Err(LabError::File {
        doing: "start inside a namespace",
        path: program,
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_with_brackets_and_spaces_hides_no_field() {
        let rest: Vec<String> = (4..=52).map(|n| n.to_string()).collect();
        let stat = format!("77 (a) R (b) S {}", rest.join(" "));
        assert_eq!(start_time(&stat), Some(22));
        assert_eq!(start_time(&stat.replace(" S 4", " Z 4")), None);
        assert_eq!(start_time(""), None);
        assert_eq!(start_time("1 (x) S 2"), None);
    }

    #[test]
    fn a_reused_id_is_not_the_same_process() {
        let me = ProcessId::of(std::process::id()).unwrap();
        assert!(me.is_alive());
        assert!(
            !ProcessId {
                started: me.started + 1,
                ..me
            }
            .is_alive()
        );
    }

    #[test]
    fn stopping_ends_the_process_and_a_gone_one_is_no_error() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let id = ProcessId::of(child.id()).unwrap();
        id.stop().unwrap();
        assert!(!id.is_alive());
        id.stop().unwrap();
        assert!(!child.wait().unwrap().success());
    }
}
