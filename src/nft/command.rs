//! One run of the `nft` program: found, fed, waited for up to a limit, and its complaint.
//!
//! No shell, no `PATH` and no environment of ours. What always holds: when [`run`] returns the child is gone.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;

use super::Settings;

/// So much of a complaint is read; the rest is read away.
const COMPLAINT: usize = 4096;

/// Why the rules are not in the kernel.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum RunError {
    /// No program at any of the places.
    #[error(
        "there is no program {0}: install the package nftables, or say where it is ([nat] nft)"
    )]
    NoProgram(String),
    /// It can't be started or fed.
    #[error("{path} can't be run: {reason}{}", after_start(reason))]
    NotRun { path: String, reason: String },
    /// It takes too long.
    #[error("nft has not answered within {0:?}")]
    TimedOut(Duration),
    /// It says no.
    #[error("nft says {complaint:?}{}", advice(complaint))]
    Refused { complaint: String },
}

/// A sandbox knows the program that was there when dunlin started.
fn after_start(reason: &str) -> &'static str {
    if reason.contains("ermission denied") {
        "; if it was installed after dunlin was started, restart dunlin"
    } else {
        ""
    }
}

/// What the kernel's errors mean here.
fn advice(complaint: &str) -> &'static str {
    let says = |text: &str| complaint.contains(text);
    if says("not permitted") {
        "; dunlin needs CAP_NET_ADMIN"
    } else if says("not supported") || says("No such file or directory") {
        "; the kernel lacks nf_tables or a part of it (modules nf_tables, nft_chain_nat, nft_masq, \
         nft_nat, nft_fib_ipv4, nft_fib_ipv6)"
    } else if says("JSON support not compiled") {
        "; an nft with JSON is needed"
    } else {
        ""
    }
}

/// A run that was started: its process id, which is the port of its netlink socket, too.
#[derive(Debug)]
pub(super) struct Run {
    pub process: Option<u32>,
    pub result: Result<(), RunError>,
}

/// Lets nft carry out `document` as one transaction.
pub(super) fn run(settings: &Settings, document: &[u8]) -> Run {
    let limit = settings.limit;
    let program = match program(&settings.places) {
        Ok(program) => program,
        Err(error) => {
            return Run {
                process: None,
                result: Err(error),
            };
        }
    };
    let started = match (start(&program), &settings.held) {
        // Another file is there than at the start, and the sandbox knows that one only.
        (Err(error), Some(held)) if error.kind() == io::ErrorKind::PermissionDenied => {
            start(Path::new(&format!("/proc/self/fd/{}", held.as_raw_fd()))).map_err(|_| error)
        }
        (started, _) => started,
    };
    let fail = |error: io::Error| RunError::NotRun {
        path: program.display().to_string(),
        reason: error.to_string(),
    };
    let mut child = match started {
        Ok(child) => child,
        Err(error) => {
            return Run {
                process: None,
                result: Err(fail(error)),
            };
        }
    };
    let process = Some(child.id());
    let outcome = converse(&mut child, document, Instant::now() + limit);
    if !matches!(outcome, Ok(Some(_))) {
        // It may have ended by itself meanwhile; then there is nothing to kill.
        let _ended = child.kill();
    }
    let result = match (outcome, child.wait()) {
        (Ok(Some(_)), Ok(status)) if status.success() => Ok(()),
        (Ok(Some(complaint)), Ok(status)) => Err(RunError::Refused {
            complaint: first_line(&complaint).unwrap_or_else(|| status.to_string()),
        }),
        (Ok(None), _) => Err(RunError::TimedOut(limit)),
        (Err(error), _) | (_, Err(error)) => Err(fail(error)),
    };
    Run { process, result }
}

fn start(program: &Path) -> io::Result<Child> {
    Command::new(program)
        .args(["-j", "-f", "-"])
        .env_clear()
        .env("LC_ALL", "C")
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
}

/// The program that would be run: the first that is there; a relative path is nobody's.
pub(super) fn program(places: &[PathBuf]) -> Result<PathBuf, RunError> {
    let runs = |path: &&PathBuf| {
        path.is_absolute()
            && path
                .metadata()
                .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    places.iter().find(runs).cloned().ok_or_else(|| {
        let places: Vec<String> = places.iter().map(|it| it.display().to_string()).collect();
        RunError::NoProgram(places.join(", "))
    })
}

/// Keeps a program as it is now, to be run later whatever takes its place.
pub(super) fn hold(program: &Path) -> Option<OwnedFd> {
    nix::fcntl::open(program, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).ok()
}

/// Writes `document`, reads the complaint to its end; `None` if `deadline` comes first.
fn converse(child: &mut Child, document: &[u8], deadline: Instant) -> io::Result<Option<Vec<u8>>> {
    let (Some(input), Some(mut errors)) = (child.stdin.take(), child.stderr.take()) else {
        return Err(io::Error::other("the pipes are missing"));
    };
    dont_wait(input.as_fd())?;
    dont_wait(errors.as_fd())?;
    let mut input = Some(input);
    let mut unsent = document;
    let mut complaint = Vec::new();
    let mut bytes = [0; 1024];
    loop {
        if let Some(pipe) = &mut input {
            match pipe.write(unsent) {
                Ok(count) => unsent = unsent.get(count..).unwrap_or_default(),
                // It has read enough to know better; the complaint says why.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => unsent = &[],
                Err(error) if may_come(&error) => {}
                Err(error) => return Err(error),
            }
        }
        if unsent.is_empty() {
            // Closed, so that nft sees the end.
            input = None;
        }
        match errors.read(&mut bytes) {
            Ok(0) => return Ok(Some(complaint)),
            Ok(count) => {
                let room = COMPLAINT.saturating_sub(complaint.len());
                complaint.extend(bytes.iter().take(count.min(room)));
                continue;
            }
            Err(error) if may_come(&error) => {}
            Err(error) => return Err(error),
        }
        if !wait(input.as_ref().map(AsFd::as_fd), errors.as_fd(), deadline)? {
            return Ok(None);
        }
    }
}

/// Waits until one of the pipes can go on; false at the deadline.
fn wait(
    input: Option<BorrowedFd<'_>>,
    errors: BorrowedFd<'_>,
    deadline: Instant,
) -> io::Result<bool> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Ok(false);
    }
    let mut fds = vec![PollFd::new(errors, PollFlags::POLLIN)];
    fds.extend(input.map(|pipe| PollFd::new(pipe, PollFlags::POLLOUT)));
    // One more, so that a part of a millisecond is not a busy loop.
    let left = u16::try_from(left.as_millis().saturating_add(1)).unwrap_or(u16::MAX);
    match poll(&mut fds, PollTimeout::from(left)) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(true),
        Err(errno) => Err(errno.into()),
    }
}

fn may_come(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

fn dont_wait(fd: BorrowedFd<'_>) -> io::Result<()> {
    fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(())
}

fn first_line(complaint: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(complaint);
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.next().map(str::to_owned)
}
