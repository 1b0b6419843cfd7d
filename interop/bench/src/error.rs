//! What can go wrong in a benchmark run, said so that the reader knows which step failed.
//!
//! Not a place for recovery: a failed run is reported as failed and never enters a median.

use std::io;
use std::time::Duration;

/// Why a run has no figures.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The operating system refused something.
    #[error("{what}: {source}")]
    Io {
        /// What was attempted.
        what: String,
        /// The system's answer.
        source: io::Error,
    },
    /// A command (`ip`, `bird`, ...) ended with an error.
    #[error("`{command}` failed: {stderr}")]
    Command {
        /// The command line.
        command: String,
        /// What it said.
        stderr: String,
    },
    /// A step took longer than its bound.
    #[error("timed out after {after:.1?}: {what}")]
    Timeout {
        /// The step, with how far it came.
        what: String,
        /// Its bound.
        after: Duration,
    },
    /// The daemon under test ended or misbehaved.
    #[error("{0}")]
    Daemon(String),
    /// The command line makes no sense.
    #[error("{0} (see `dunlin-bench --help`)")]
    Usage(String),
    /// The user pressed Ctrl-C, or the process was told to end.
    #[error("interrupted")]
    Interrupted,
}

/// The result of a step of a run.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// Names the step an I/O error belongs to.
pub(crate) trait Context<T> {
    /// Wraps the error with what was attempted.
    fn context(self, what: impl Into<String>) -> Result<T>;
}

impl<T, E: Into<io::Error>> Context<T> for std::result::Result<T, E> {
    fn context(self, what: impl Into<String>) -> Result<T> {
        self.map_err(|source| Error::Io {
            what: what.into(),
            source: source.into(),
        })
    }
}
