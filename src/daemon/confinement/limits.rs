//! What holds for the process before it does anything: files that it makes are its own, its memory is never
//! written to a disk, and it may have as many descriptors as the system lets it.
//!
//! Dumps: keys and passwords of sessions are in memory, so there is none, neither a core nor what another
//! process of the same user reads (PR_SET_DUMPABLE). What a panic has to say is in the log.

use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, umask};

/// More descriptors than any cluster needs: the hard limit of some hosts is a thousand million.
const MOST_DESCRIPTORS: u64 = 65_536;

/// Sets them; what could not be done is in words.
pub(super) fn set() -> Vec<String> {
    let mut complaints = Vec::new();
    umask(Mode::from_bits_truncate(0o077));
    if let Err(errno) = setrlimit(Resource::RLIMIT_CORE, 0, 0) {
        complaints.push(format!("cannot switch dumps of memory off: {errno}"));
    }
    keep_memory_private();
    if let Err(errno) = raise_descriptors() {
        complaints.push(format!("cannot raise the limit of open files: {errno}"));
    }
    complaints
}

/// The kernel sets it anew where a process changes its user or runs a program.
pub(super) fn keep_memory_private() {
    // It fails for no reason that a process could have.
    let _is_never_refused = prctl::set_dumpable(false);
}

fn raise_descriptors() -> nix::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let wanted = hard.min(MOST_DESCRIPTORS);
    if soft < wanted {
        setrlimit(Resource::RLIMIT_NOFILE, wanted, hard)?;
    }
    Ok(())
}
