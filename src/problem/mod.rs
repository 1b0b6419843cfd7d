//! What is wrong at one moment, as a value: one model for `status`, the log, scripts and the simulator.
//!
//! Not a line of a log and not an error of a text: a problem is a state. It comes, stays for a while and
//! goes; who finds it says what is so *now*, and the [`Ledger`] knows since when. What always holds:
//!
//! - a [`Code`] is stable: scripts read it, people look it up; its meaning never changes;
//! - [`Problem::what`] and [`Problem::remedy`] do not name the subject, so that problems of one cause are
//!   equal but for their subjects, and become one line with a count;
//! - it holds no secret, and nothing that a peer can make long.

mod code;
mod journal;
mod ledger;

use core::fmt;

use crate::net::Prefix;

pub use code::{Code, Severity};
pub use journal::{GRACE, Journal, Line};
pub use ledger::{Cause, Ledger, News, causes, in_words};

/// What a problem is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A peer, by its name.
    Peer(String),
    /// A route, by its destination.
    Route(Prefix),
    /// A device of this host, by its name.
    Device(String),
    /// A record of the cluster or a line of a file, as people find it.
    Record(String),
    /// This host as a whole.
    Host,
}

impl Subject {
    /// The kind of subject, for scripts.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Peer(_) => "peer",
            Self::Route(_) => "route",
            Self::Device(_) => "device",
            Self::Record(_) => "record",
            Self::Host => "host",
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer(name) | Self::Device(name) | Self::Record(name) => f.write_str(name),
            Self::Route(prefix) => prefix.fmt(f),
            Self::Host => f.write_str("this host"),
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Problem {
    /// Which kind of trouble.
    pub code: Code,
    /// What it is about.
    pub subject: Subject,
    /// What is wrong: one sentence without a full stop, not naming the subject.
    pub what: String,
    /// What to do: one sentence without a full stop; empty if there is nothing.
    pub remedy: String,
}

impl Problem {
    /// A problem with its words.
    pub fn new(
        code: Code,
        subject: Subject,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            code,
            subject,
            what: what.into(),
            remedy: remedy.into(),
        }
    }

    /// How bad it is.
    pub const fn severity(&self) -> Severity {
        self.code.severity()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.what)?;
        if self.remedy.is_empty() {
            return Ok(());
        }
        write!(f, "; {}", self.remedy)
    }
}
