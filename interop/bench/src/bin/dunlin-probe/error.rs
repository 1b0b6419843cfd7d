//! What can go wrong, said so that the reader knows which step failed. Not a place for recovery.

use std::io;

/// Why there are no figures.
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
    /// There is nothing to measure, or the kernel's answer makes no sense.
    #[error("{0}")]
    Nothing(String),
    /// The command line makes no sense.
    #[error("{0} (see `dunlin-probe --help`)")]
    Usage(String),
}

/// The result of a step.
pub(crate) type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A refusal of the operating system.
    pub(crate) fn io(what: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::Io {
            what: what.into(),
            source: source.into(),
        }
    }
}

/// Names the step that an error belongs to.
pub(crate) trait Context<T> {
    /// Wraps the error with what was attempted.
    fn context(self, what: impl Into<String>) -> Result<T>;
}

impl<T, E: Into<io::Error>> Context<T> for std::result::Result<T, E> {
    fn context(self, what: impl Into<String>) -> Result<T> {
        self.map_err(|source| Error::io(what, source))
    }
}
