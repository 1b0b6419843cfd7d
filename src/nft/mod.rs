//! natOutgoing and the guard in the kernel: tables `ip dunlin` and `ip6 dunlin` of nftables, kept as wanted.
//!
//! One thread has the `nft` program carry out each change as one transaction and listens to what
//! others do. What is translated or dropped is not decided here ([`Nat`] says it), and no
//! table of another program is touched. What always holds:
//!
//! - between two states of a table there is no moment at which a packet meets no rule, not even at a
//!   restart: chain and sets stay and get new contents. (A table that is deleted and made anew in one
//!   transaction does let packets through: they may look at the new chain before it and at the old
//!   one after it.) Only a table that another program has touched is made anew;
//! - what another program does to our tables is undone at once, but for one that does it again and
//!   again ever more slowly, up to once in [`LONGEST_PAUSE`];
//! - a family that needs nothing has no table, whoever left it there;
//! - if nftables is missing, everything else works. It is said once, and tried again when something
//!   changes and every [`Settings::retry`];
//! - the tables stay when the thread ends, as the routes do.
//!
//! NAT is per connection: the kernel decides it at the first packet and keeps it (conntrack) until the
//! connection has been silent for a while. So changed rules break no running connection, and a flow
//! that began without them (UDP that a pod sends all the time, from before the rules were there)
//! keeps its address until `conntrack -D -s ADDRESS` or its silence ends the entry. That is why the
//! daemon writes these tables before any route.

mod command;
mod keeper;
mod news;
mod render;

use core::fmt;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use crate::forwarding::Nat;

pub use keeper::LONGEST_PAUSE;

/// Where `nft` is, in this order, unless a path is configured. Never the `PATH` of whoever started us.
const PLACES: [&str; 4] = [
    "/usr/sbin/nft",
    "/sbin/nft",
    "/usr/local/sbin/nft",
    "/usr/bin/nft",
];

/// How the adapter works.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where `nft` may be, in this order: absolute paths.
    pub places: Vec<PathBuf>,
    /// The program as it was at the start, which a sandbox lets us run though a package has replaced it.
    pub held: Option<Arc<OwnedFd>>,
    /// How long one run of it may take.
    pub limit: Duration,
    /// When what failed is tried again, though nothing has changed.
    pub retry: Duration,
}

impl Settings {
    /// The program that rules would be given to.
    ///
    /// # Errors
    /// There is none, in words.
    pub fn program(&self) -> Result<PathBuf, String> {
        command::program(&self.places).map_err(|error| error.to_string())
    }

    /// With the program at this absolute path, or else the one at the first of the usual places that has it.
    pub fn with_program(configured: Option<&Path>) -> Self {
        let mut settings = Self {
            places: match configured {
                Some(path) => vec![path.to_owned()],
                None => PLACES.map(PathBuf::from).into(),
            },
            held: None,
            limit: Duration::from_secs(10),
            retry: Duration::from_secs(60),
        };
        let program = command::program(&settings.places).ok();
        settings.held = program.and_then(|path| command::hold(&path)).map(Arc::new);
        settings
    }
}

/// How natOutgoing does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Status {
    /// The tables (IPv4, IPv6).
    pub tables: [TableStatus; 2],
    /// How often a table was put back after another program had changed or removed it.
    pub repaired: u64,
    /// Transactions carried out.
    pub written: u64,
}

/// How one family does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum TableStatus {
    /// Not settled yet.
    #[default]
    Pending,
    /// Nothing is to be translated or dropped, and there is no table.
    Off,
    /// The table is as wanted.
    Active,
    /// It can't be made so.
    Failing {
        /// Why, and what to do.
        reason: String,
        /// The rules of before are in force; false means that none are.
        former_rules: bool,
    },
}

impl Status {
    /// Whether each table is as wanted, or known not to be.
    pub fn is_settled(&self) -> bool {
        !self.tables.contains(&TableStatus::Pending)
    }

    /// Whether a table can't be made as wanted.
    pub fn is_failing(&self) -> bool {
        let failing = |table: &TableStatus| matches!(table, TableStatus::Failing { .. });
        self.tables.iter().any(failing)
    }
}

impl fmt::Display for Status {
    /// One line, as `dunlin status` shows it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [v4, v6] = &self.tables;
        if v4 == v6 {
            write!(f, "{v4}")?;
        } else {
            write!(f, "IPv4: {v4}; IPv6: {v6}")?;
        }
        match self.repaired {
            0 => Ok(()),
            1 => write!(f, "; put back once after another program's change"),
            times => write!(f, "; put back {times} times after other programs' changes"),
        }
    }
}

impl fmt::Display for TableStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pending => f.write_str("not settled yet"),
            Self::Off => f.write_str("off"),
            Self::Active => f.write_str("on"),
            Self::Failing {
                reason,
                former_rules,
            } => {
                let then = if *former_rules {
                    "the former rules stay in force"
                } else {
                    "no packet of a pod is translated or kept from nodes' BGP"
                };
                write!(f, "nftables is needed: {reason}; {then}")
            }
        }
    }
}

/// The running adapter. Dropping it ends the thread; the tables stay.
#[derive(Debug)]
pub struct Nft {
    wanted: mpsc::Sender<Option<Nat>>,
    wake: UnixStream,
}

impl Nft {
    /// Starts the thread in the caller's network namespace. It does nothing before the first
    /// [`set`](Self::set). `sink` gets each new status and says whether it wants more.
    ///
    /// # Errors
    /// No pipe or no thread.
    pub fn spawn(
        settings: Settings,
        sink: impl FnMut(Status) -> bool + Send + 'static,
    ) -> io::Result<Self> {
        let (wake, woken) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        woken.set_nonblocking(true)?;
        let (wanted, queue) = mpsc::channel();
        let keeper = keeper::Keeper::new(settings, woken, queue, Box::new(sink));
        thread::Builder::new()
            .name("nft".into())
            .spawn(move || keeper.run())?;
        Ok(Self { wanted, wake })
    }

    /// Says what is wanted from now on; `None` is nothing, which removes what a former process left.
    /// False if the thread has ended.
    ///
    /// The first time a table is emptied and filled in one transaction; after that only what differs
    /// changes: chain and sets stay, and so do the elements that are in both. After another program's
    /// change it is replaced as a whole.
    pub fn set(&self, nat: Option<Nat>) -> bool {
        if self.wanted.send(nat).is_err() {
            return false;
        }
        match (&self.wake).write_all(&[1]) {
            Ok(()) => true,
            // A full pipe wakes as well as one more byte would.
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }
}
