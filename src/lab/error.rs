//! Why the lab could not be built or did not come up: what failed, where, and what to do.

use std::io;
use std::path::PathBuf;

use super::namespace::{NAMESPACE_FOLDER, Step};

/// A failure of the lab; its text is the one line that a user sees.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// A file of the lab can't be read, written or removed.
    #[error("can't {doing} {}: {source}", path.display())]
    File {
        /// What was tried, as a verb ("write").
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },

    /// A namespace can't be made, entered or removed.
    #[error("can't {step} the network namespace {name} in {NAMESPACE_FOLDER}: {source}{}", step.hint())]
    Namespace {
        /// What was tried.
        step: Step,
        /// Its name.
        name: String,
        /// Why not.
        source: io::Error,
    },

    /// The kernel refused a link, an address or a route.
    #[error("in {namespace}: can't {doing}: {source}")]
    Kernel {
        /// Where.
        namespace: String,
        /// What was tried.
        doing: String,
        /// Why not.
        source: io::Error,
    },

    /// A system call that belongs to no namespace failed.
    #[error("can't {doing}: {source}")]
    System {
        /// What was tried.
        doing: &'static str,
        /// Why not.
        source: io::Error,
    },

    /// The system gives no permission for namespaces, neither as root nor without.
    #[error("{0}")]
    NotPermitted(String),

    /// Another lab runs.
    #[error("a lab is already running as process {pid}: stop it with Ctrl-C or `kill {pid}` first")]
    Running {
        /// The process that holds the lock, as its file says.
        pid: String,
    },

    /// The options contradict the circumstances.
    #[error("{0}")]
    Usage(String),

    /// A daemon ended while the lab still needed it.
    #[error("the daemon on {node} ended ({status}); the last lines of its log:\n{tail}")]
    DaemonEnded {
        /// The node.
        node: String,
        /// How it ended.
        status: String,
        /// The last lines of its log.
        tail: String,
    },

    /// Somebody asked the lab to end.
    #[error("interrupted")]
    Interrupted,

    /// Not all pods reached each other in time.
    #[error("{0}")]
    NotReached(String),
}

impl LabError {
    /// For `map_err` on a file operation.
    pub(super) fn file(
        doing: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File {
            doing,
            path,
            source,
        }
    }

    /// For `map_err` on a system call.
    pub(super) fn system<E: Into<io::Error>>(doing: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::System {
            doing,
            source: source.into(),
        }
    }
}
