//! Ctrl-C and its relatives, as something to look at instead of something that ends the process.

use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::error::LabError;

/// The signals that ask the lab to end, held back for the whole process.
#[derive(Debug)]
pub(super) struct Signals {
    waiting: SignalFd,
}

impl Signals {
    /// Holds them back from now on, before any thread starts. Threads inherit it, and so do programs
    /// (which is why `lab-inside` lets them through again).
    pub(super) fn hold() -> Result<Self, LabError> {
        let mut set = SigSet::empty();
        set.extend([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
        set.thread_block()
            .map_err(LabError::system("watch signals"))?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        let waiting =
            SignalFd::with_flags(&set, flags).map_err(LabError::system("watch signals"))?;
        Ok(Self { waiting })
    }

    /// An error if one of them came.
    pub(super) fn check(&self) -> Result<(), LabError> {
        match self.waiting.read_signal() {
            Ok(Some(_)) => Err(LabError::Interrupted),
            Ok(None) => Ok(()),
            Err(error) => Err(LabError::system("read signals")(error)),
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.waiting.as_fd()
    }
}
