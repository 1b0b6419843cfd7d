//! Where formatted lines go: a bounded room, and a thread that carries them to a file descriptor.
//!
//! Not a formatter and not a filter. What always holds:
//!
//! - who logs neither waits nor fails: a full disk, a reader that has gone or one that has stopped reading
//!   costs lines, never the process and never a turn of it;
//! - each lost line is counted, and the count is said at the next place where there is room; so is what was held
//!   back before (`pace`), once a second at most.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tracing_subscriber::fmt::MakeWriter;

use crate::daemon::clock::Clock;
use crate::daemon::confinement;
use crate::time::Instant;

/// Octets that wait for the thread; what comes on top is lost.
const ROOM: usize = 1 << 20;
/// What a pipe that can be written to at all takes without blocking (PIPE_BUF).
const PIECE: usize = 4096;
/// First and longest pause before it is tried again to say how much was lost.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];

/// How the counts look in the log: of lost lines, and of those held back, about whom first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Notices {
    pub(super) said: fn(u64) -> String,
    pub(super) held: fn(u64, &str) -> String,
}

/// The writing end; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Outlet(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// There is something to carry.
    filled: Condvar,
    /// All has been carried, or was lost.
    emptied: Condvar,
    room: usize,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<u8>,
    /// The thread holds octets that are in nobody's room.
    carrying: bool,
    lost: Lost,
    /// Held back and not yet said, and about whom.
    held: Held,
}

/// Lines that were held back.
#[derive(Debug, Default)]
struct Held {
    lines: u64,
    about: String,
    and_others: bool,
}

/// Lines that nobody will read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::daemon) struct Lost {
    /// Since the start.
    pub(in crate::daemon) total: u64,
    /// Of these, not yet said in the log.
    pub(in crate::daemon) unsaid: u64,
    /// Held back since the start, since there were too many a second; not among those.
    pub(in crate::daemon) held: u64,
}

impl Lost {
    const fn more(&mut self, lines: u64) {
        self.total += lines;
        self.unsaid += lines;
    }
}

impl Outlet {
    pub(super) fn new() -> Self {
        Self::with_room(ROOM)
    }

    fn with_room(room: usize) -> Self {
        Self(Arc::new(Shared {
            state: Mutex::default(),
            filled: Condvar::new(),
            emptied: Condvar::new(),
            room,
        }))
    }

    /// Begins to carry lines to `target`; before that they wait.
    pub(super) fn carry_to(&self, target: OwnedFd, notices: Notices) -> io::Result<()> {
        let shared = Arc::clone(&self.0);
        let carrier = Carrier {
            target,
            notices,
            held_said: None,
            clock: Clock::start(),
            mended: true,
            failing: false,
        };
        thread::Builder::new()
            .name("log".into())
            .spawn(move || {
                // It hands octets to an open file, and needs nothing else.
                confinement::renounce();
                shared.carry(carrier);
            })
            .map(drop)
    }

    pub(super) fn lost(&self) -> Lost {
        self.0.state().lost
    }

    /// Counts a line that is not written, about somebody.
    pub(super) fn hold_back(&self, about: &str) {
        let mut state = self.0.state();
        state.lost.held += 1;
        let held = &mut state.held;
        held.and_others |= held.lines > 0 && held.about != about;
        if held.lines == 0 {
            about.clone_into(&mut held.about);
        }
        held.lines += 1;
        let is_first = held.lines == 1;
        drop(state);
        if is_first {
            self.0.filled.notify_one();
        }
    }

    /// Waits until all is carried, at most so long.
    pub(super) fn drain(&self, patience: Duration) {
        let busy = |state: &mut State| state.carrying || !state.waiting.is_empty();
        let waited = (self.0.emptied).wait_timeout_while(self.0.state(), patience, busy);
        drop(waited);
    }

    fn push(&self, text: &[u8]) {
        let mut state = self.0.state();
        if state.waiting.len() + text.len() > self.0.room {
            state.lost.more(lines(text));
            return;
        }
        state.waiting.extend_from_slice(text);
        drop(state);
        self.0.filled.notify_one();
    }
}

impl<'a> MakeWriter<'a> for Outlet {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(self)
    }
}

/// Takes one line and never refuses it.
#[derive(Debug)]
pub(super) struct Line<'a>(&'a Outlet);

impl io::Write for Line<'_> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.push(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    /// Nothing that is done under the lock can leave the state half changed.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_held(&self) -> Option<Held> {
        let held = std::mem::take(&mut self.state().held);
        (held.lines > 0).then_some(held)
    }

    fn carry(&self, mut carrier: Carrier) {
        let [mut pause, longest] = PAUSES;
        loop {
            let (text, unsaid) = self.next(pause);
            let mut said = false;
            if let Some(held) = carrier.held_is_due().then(|| self.take_held()).flatten() {
                let lost = carrier.deliver(held.words(carrier.notices.held).as_bytes());
                self.state().lost.more(lost);
            }
            // The gap is named where it is: what a write lost was before these lines, and what found no room
            // came after them.
            if carrier.failing && unsaid > 0 {
                said = carrier.deliver((carrier.notices.said)(unsaid).as_bytes()) == 0;
            }
            let lost = carrier.deliver(&text);
            if !carrier.failing && !said && unsaid > 0 {
                said = carrier.deliver((carrier.notices.said)(unsaid).as_bytes()) == 0;
            }
            pause = if carrier.failing {
                (pause * 2).min(longest)
            } else {
                PAUSES[0]
            };
            let mut state = self.state();
            state.lost.more(lost);
            if said {
                state.lost.unsaid -= unsaid;
            }
            state.carrying = false;
            if state.waiting.is_empty() {
                self.emptied.notify_all();
            }
        }
    }

    /// Waits for lines, or for the moment to try again to say how many were lost.
    fn next(&self, pause: Duration) -> (Vec<u8>, u64) {
        let mut state = self.state();
        while state.waiting.is_empty() {
            if state.lost.unsaid == 0 && state.held.lines == 0 {
                let woken = self.filled.wait(state);
                state = woken.unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let woken = self.filled.wait_timeout(state, pause);
            let (guard, timeout) = woken.unwrap_or_else(PoisonError::into_inner);
            state = guard;
            if timeout.timed_out() {
                break;
            }
        }
        state.carrying = true;
        (std::mem::take(&mut state.waiting), state.lost.unsaid)
    }
}

impl Held {
    fn words(&self, words: fn(u64, &str) -> String) -> String {
        let others = if self.and_others { " and others" } else { "" };
        words(self.lines, &format!("{}{others}", self.about))
    }
}

/// The thread's own.
#[derive(Debug)]
struct Carrier {
    target: OwnedFd,
    notices: Notices,
    /// When it was last said what was held back.
    held_said: Option<Instant>,
    clock: Clock,
    /// What was written last ended a line.
    mended: bool,
    /// The last write failed.
    failing: bool,
}

impl Carrier {
    /// Whether it is time to say what was held back.
    fn held_is_due(&mut self) -> bool {
        let now = self.clock.now();
        let due = (self.held_said).is_none_or(|said| now.since(said) >= PAUSES[0]);
        if due {
            self.held_said = Some(now);
        }
        due
    }

    /// Writes as much as there is room for; how many lines are lost with the rest.
    fn deliver(&mut self, text: &[u8]) -> u64 {
        let lost = self.lost_of(text);
        self.failing = lost > 0 || (self.failing && text.is_empty());
        lost
    }

    fn lost_of(&mut self, text: &[u8]) -> u64 {
        if text.is_empty() {
            return 0;
        }
        if !self.mended && self.write(b"\n").is_err() {
            return lines(text);
        }
        let mut rest = text;
        while !rest.is_empty() {
            let (piece, _later) = rest.split_at(rest.len().min(PIECE));
            match self.write(piece) {
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(_) => return lines(rest),
            }
        }
        0
    }

    fn write(&mut self, piece: &[u8]) -> Result<usize, Errno> {
        loop {
            match nix::unistd::write(&self.target, piece) {
                Ok(0) => return Err(Errno::EIO),
                Ok(written) => {
                    let last = piece.get(..written).and_then(<[u8]>::last);
                    self.mended = last == Some(&b'\n');
                    return Ok(written);
                }
                Err(Errno::EINTR) => {}
                // Somebody who has the same pipe made it non-blocking.
                Err(Errno::EAGAIN) => {
                    let mut room = [PollFd::new(self.target.as_fd(), PollFlags::POLLOUT)];
                    poll(&mut room, PollTimeout::NONE)?;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// A line that was begun counts.
fn lines(text: &[u8]) -> u64 {
    let ends = text.iter().filter(|octet| **octet == b'\n').count();
    let open = text.last().is_some_and(|octet| *octet != b'\n');
    (ends + usize::from(open)) as u64
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{BufRead, BufReader, Write as _};

    use super::*;

    fn said(lost: u64) -> String {
        format!("{lost} lost\n")
    }

    const NOTICES: Notices = Notices {
        said,
        held: |lines, about| format!("{lines} about {about}\n"),
    };

    fn log(outlet: &Outlet, text: &str) {
        outlet.make_writer().write_all(text.as_bytes()).unwrap();
    }

    #[test]
    fn a_reader_that_has_stopped_costs_lines_and_is_told_how_many() {
        let (reader, writer) = nix::unistd::pipe().unwrap();
        let outlet = Outlet::with_room(100_000);
        outlet.carry_to(writer, NOTICES).unwrap();
        // More than the pipe and the room hold; nothing here waits for the reader.
        let all = 40_000;
        for n in 0..all {
            log(&outlet, &format!("line {n:04}\n"));
        }
        let lost = outlet.lost();
        assert!(lost.total > 0 && lost.total == lost.unsaid, "{lost:?}");
        let mut reader = BufReader::new(File::from(reader));
        let mut line = String::new();
        let mut whole = 0;
        while line != said(lost.total) {
            line.clear();
            assert_ne!(reader.read_line(&mut line).unwrap(), 0);
            whole += u64::from(line.starts_with("line "));
        }
        assert_eq!(whole + lost.total, all, "each line is there or counted");
        outlet.drain(Duration::from_secs(10));
        assert_eq!(outlet.lost(), Lost { unsaid: 0, ..lost });
    }

    #[test]
    fn a_full_device_and_a_reader_that_has_gone_cost_lines_only() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let (reader, gone) = nix::unistd::pipe().unwrap();
        drop(reader);
        for target in [full.into(), gone] {
            let outlet = Outlet::new();
            log(&outlet, "before the thread\n");
            outlet.carry_to(target, NOTICES).unwrap();
            log(&outlet, "one\ntwo\n");
            outlet.drain(Duration::from_secs(10));
            assert_eq!(outlet.lost().unsaid, 3);
        }
    }

    #[test]
    fn a_line_that_was_cut_is_ended_before_the_next() {
        let (reader, writer) = nix::unistd::pipe().unwrap();
        let mut carrier = Carrier {
            target: writer,
            notices: NOTICES,
            held_said: None,
            clock: Clock::start(),
            mended: false,
            failing: false,
        };
        assert_eq!(carrier.deliver(b"whole\n"), 0);
        drop(carrier);
        let read: Vec<_> = BufReader::new(File::from(reader)).lines().collect();
        let read: Vec<_> = read.into_iter().map(Result::unwrap).collect();
        assert_eq!(read, ["", "whole"]);
        assert_eq!(lines(b"cut"), 1);
        assert_eq!(lines(b"a\nb\n"), 2);
    }
}
