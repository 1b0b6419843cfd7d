//! Requests and answers of the control socket: the shapes that `--output json` prints.
//!
//! Mirrors of the core's types: the core knows no serde, so that a change inside does not change
//! what scripts read. Keys are in snake_case, and a key whose value has
//! a unit ends in it: `_s` are seconds, `_ago_s` seconds ago, `_unix_s` seconds since the epoch, `_ms`
//! milliseconds.

mod address;
mod check;
mod query;
mod routes;
mod schema;

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

pub use address::{Address, AddressCandidate, AddressFamily};
pub use check::{Check, CheckedNode, Remark};
pub use query::{RoutesQuery, RoutesView};
pub use routes::{Explanation, Export, Fib, FibRoute, KernelAnswer, Path, Route, Routes, Way};

/// The version of these shapes; a client that meets another one says so.
pub const VERSION: u32 = 1;

/// One question or order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "command")]
pub enum Request {
    /// The node at a glance.
    Status,
    /// All peers, or one.
    Peers {
        /// Its name.
        name: Option<String>,
    },
    /// Takes a peer down until it is enabled again.
    PeerShutdown {
        /// Its name.
        name: String,
        /// What the peer is told (RFC 9003).
        message: Option<String>,
    },
    /// Undoes a shutdown.
    PeerEnable {
        /// Its name.
        name: String,
    },
    /// Bounces the session.
    PeerReset {
        /// Its name.
        name: String,
    },
    /// Asks the peer for its routes again and sends ours again.
    PeerRefresh {
        /// Its name.
        name: String,
    },
    /// A page of the tables.
    Routes(RoutesQuery),
    /// A page of what is in the kernel.
    Fib {
        /// Goes on behind this prefix.
        after: Option<String>,
        /// At most so many prefixes.
        limit: usize,
    },
    /// Why packets to an address go where they go.
    Explain {
        /// An address, a prefix or a peer's name.
        what: String,
    },
    /// Moves traffic away from this node before maintenance, or back (RFC 8326).
    Drain {
        /// Back.
        undo: bool,
    },
    /// Reads the configuration again.
    Reload,
    /// How loud the log is, or is to be.
    Log {
        /// `error` to `trace`, or `configured` for what the file says; none changes nothing.
        level: Option<String>,
        /// Only for what is about this peer.
        peer: Option<String>,
    },
    /// The daemon's version.
    Version,
}

impl Request {
    /// Whether it changes anything: what runs, what is sent, what is logged.
    pub const fn is_order(&self) -> bool {
        match self {
            Self::PeerShutdown { .. }
            | Self::PeerEnable { .. }
            | Self::PeerReset { .. }
            | Self::PeerRefresh { .. }
            | Self::Drain { .. }
            | Self::Reload => true,
            Self::Log { level, .. } => level.is_some(),
            Self::Status
            | Self::Peers { .. }
            | Self::Routes(_)
            | Self::Fib { .. }
            | Self::Explain { .. }
            | Self::Version => false,
        }
    }
}

/// What comes back as it travels and as it is printed: the answer, and the version of its shape.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Envelope<A = Answer> {
    /// The version of these shapes, 1.
    pub protocol: u32,
    /// What is said.
    #[serde(flatten)]
    pub answer: A,
}

impl<A> Envelope<A> {
    /// In the shape of this version.
    pub const fn new(answer: A) -> Self {
        Self {
            protocol: VERSION,
            answer,
        }
    }
}

/// What comes back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case", tag = "answer")]
pub enum Answer {
    /// `dunlin status`: the node at a glance.
    Status(Box<Status>),
    /// `dunlin peers`.
    Peers {
        /// The peers, by name.
        peers: Vec<Peer>,
    },
    /// `dunlin routes`.
    Routes(Routes),
    /// `dunlin fib`.
    Fib(Fib),
    /// `dunlin explain`.
    Explain(Box<Explanation>),
    /// `dunlin reload`: what changed, and what was said about the file.
    Reloaded {
        /// One line a change.
        changes: Vec<String>,
        /// What is odd about the files.
        warnings: Vec<Remark>,
    },
    /// `dunlin log`: what is in force.
    Log(LogLevels),
    /// `dunlin check`; no daemon is asked.
    Check(Check),
    /// `dunlin address`; no daemon is asked.
    Address(Address),
    /// `dunlin status --check`: what is wrong, the worst first.
    Problems {
        /// By cause.
        problems: Vec<Problem>,
    },
    /// `dunlin version`.
    Version {
        /// Of the daemon.
        version: String,
    },
    /// An order was carried out.
    Done {
        /// What was done, in words.
        message: String,
    },
    /// It could not be done.
    Failed {
        /// A word for scripts.
        reason: Failure,
        /// A line for people.
        message: String,
        /// What is wrong with the configuration, if that is the reason.
        #[serde(default)]
        remarks: Vec<Remark>,
    },
}

/// How loud the log is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub struct LogLevels {
    /// In general: a level, or parts of the program with levels, as `DUNLIN_LOG` has them.
    pub level: String,
    /// For what is about a peer instead.
    pub peers: Vec<PeerLevel>,
    /// Lines that could not be written since the daemon started.
    pub lost_lines: u64,
    /// Lines that were held back, since there were too many a second.
    #[serde(default)]
    pub held_lines: u64,
}

/// How loud the log is about a peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub struct PeerLevel {
    /// Its name.
    pub peer: String,
    /// The level.
    pub level: String,
}

/// Why a request failed; each has an exit code of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// No such peer or prefix.
    NotFound,
    /// The configuration has errors; the last good one stays in force.
    BadConfiguration,
    /// It can't be done as things are.
    BadRequest,
    /// The request makes no sense: the command line is wrong.
    Malformed,
    /// Viewers may ask and not change anything.
    NotAllowed,
    /// Too many clients ask at once; it is answered again later.
    Busy,
}

/// The node at a glance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub struct Status {
    /// Node name.
    pub node: String,
    /// AS number.
    pub asn: u32,
    /// BGP Identifier.
    pub router_id: String,
    /// Version of the daemon.
    pub version: String,
    /// Seconds since it started.
    pub uptime_s: u64,
    /// Where it listens.
    pub listening: Vec<String>,
    /// Whether traffic is moved away from this node (`dunlin drain`).
    #[serde(default)]
    pub draining: bool,
    /// What is wrong, by cause: the worst first. Empty if nothing is.
    pub problems: Vec<Problem>,
    /// Configured peers.
    pub peers: usize,
    /// Of these, Established.
    pub established: usize,
    /// Peers whose far ends are watched by BFD.
    #[serde(default)]
    pub bfd_watched: usize,
    /// Of these, up.
    #[serde(default)]
    pub bfd_up: usize,
    /// Per family.
    pub tables: Vec<Table>,
    /// `bgp`, `vxlan` (routes from the datastore alone) or `none`.
    pub backend: String,
    /// Kernel routes: wanted, in place, and what does not fit.
    pub kernel: Option<Kernel>,
    /// Tunnel devices that are wanted or about to go.
    pub tunnels: Vec<Tunnel>,
    /// How natOutgoing does; none if no pool has it, or this daemon has nothing to do
    /// with it.
    pub nat_outgoing: Option<String>,
    /// Whether pods are kept from the BGP and BFD ports of nodes and their peers; none if this daemon has
    /// nothing to do with it.
    #[serde(default)]
    pub guard: Option<String>,
    /// Own blocks that are announced.
    pub originated: Vec<String>,
    /// The configuration file of the cluster.
    pub datastore: String,
    /// Seconds since it was last read well.
    pub datastore_read_ago_s: u64,
    /// Milliseconds that everybody had to wait at most for a turn of the daemon, in the last minute or two.
    #[serde(default)]
    pub longest_turn_ms: u64,
    /// The same since it started.
    #[serde(default)]
    pub longest_turn_ever_ms: u64,
    /// Lines of the log that could not be written since the daemon started.
    #[serde(default)]
    pub lost_log_lines: u64,
    /// Lines of the log that were held back since then, since there were too many a second.
    #[serde(default)]
    pub held_log_lines: u64,
    /// As whom the process runs: name and numbers, such as `dunlin (997:997)`.
    #[serde(default)]
    pub user: String,
    /// What the process may do beside what everybody may (`CAP_NET_ADMIN`, ...).
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// What holds the process back beside that, in words: `seccomp, Landlock`, and what of it is not there.
    #[serde(default)]
    pub sandbox: String,
}

/// What is wrong, of one cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub struct Problem {
    /// The kind of trouble: a word that never changes (`peer_down`, `route_refused`, ...).
    pub code: String,
    /// `error` (packets are lost, or will be at the next fault) or `warning`.
    pub severity: String,
    /// What kind of subjects: `peer`, `route`, `device`, `record` or `host`.
    pub subject: String,
    /// What it is about: all of them.
    pub subjects: Vec<String>,
    /// How many these are.
    pub count: usize,
    /// Seconds since the first of them began.
    pub since_s: u64,
    /// Unix time at which it did.
    pub since_unix_s: u64,
    /// What is wrong, in a sentence that does not name the subject.
    pub what: String,
    /// What to do; empty if there is nothing.
    pub remedy: String,
}

/// One table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub struct Table {
    /// `ipv4-unicast` or `ipv6-unicast`.
    pub family: String,
    /// Prefixes with at least one path.
    pub prefixes: usize,
}

/// The kernel side at a glance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub struct Kernel {
    /// Routes that ought to be there.
    pub wanted: usize,
    /// Routes that are.
    pub installed: usize,
    /// Route writes since start.
    pub written: u64,
    /// Routes put back after another program removed or changed them.
    pub repaired: u64,
}

/// One peer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// Its AS; none if any is accepted.
    pub asn: Option<u32>,
    /// `mesh` or `explicit`.
    pub kind: String,
    /// The RFC 4271 state.
    pub state: String,
    /// Seconds in that state.
    pub since_s: u64,
    /// Unix time at which the state was entered.
    pub since_unix_s: u64,
    /// What is wrong and what to do, if it is not Established.
    pub problem: Option<String>,
    /// The kind of that problem, as in `status`: `peer_down`, `peer_shut_down`, ...
    #[serde(default)]
    pub problem_code: Option<String>,
    /// The last real error, kept after it has healed.
    pub last_error: Option<LastError>,
    /// Whether an operator took it down.
    pub shutdown: bool,
    /// The configuration no longer has it; it stays until others are in its place.
    #[serde(default)]
    pub leaving: bool,
    /// Prefixes received and accepted, both families.
    pub received: usize,
    /// Of these, accepted by the import policy.
    pub accepted: usize,
    /// Prefixes that the peer has from us.
    pub sent: usize,
    /// Paths that stay over a restart of the peer until it confirms them (RFC 4724).
    #[serde(default)]
    pub stale: usize,
    /// Seconds until these go.
    #[serde(default)]
    pub stale_for_s: Option<u64>,
    /// Whether they are the last choice meanwhile (RFC 9494).
    #[serde(default)]
    pub long_lived_stale: bool,
    /// Negotiated hold time in seconds; 0 is off.
    pub hold_time_s: Option<u16>,
    /// The peer's BGP Identifier.
    pub router_id: Option<String>,
    /// Our address on the session.
    pub local_address: Option<IpAddr>,
    /// Negotiated families.
    pub families: Vec<String>,
    /// Negotiated capabilities, in words.
    pub capabilities: Vec<String>,
    /// Messages received, by kind.
    pub messages_in: Messages,
    /// Messages sent, by kind.
    pub messages_out: Messages,
    /// Attribute errors by treatment (RFC 7606).
    pub discarded: u64,
    /// UPDATEs that were treated as withdraws.
    pub treated_as_withdraw: u64,
    /// Routes that it has and that were not taken, because of a limit, as far as is known.
    #[serde(default)]
    pub untaken: usize,
    /// Times that it was Established.
    pub established_count: u64,
    /// Connections from its address that came to nothing. They stop no session and no dial.
    #[serde(default)]
    pub failed_calls: u64,
    /// How BFD of the far end stands, if it is watched.
    #[serde(default)]
    pub bfd: Option<Bfd>,
}

/// BFD of a peer's far end (RFC 5880).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub struct Bfd {
    /// `AdminDown`, `Down`, `Init` or `Up`.
    pub state: String,
    /// Seconds in that state.
    pub since_s: u64,
    /// Why it changed last.
    pub diagnostic: String,
    /// How often the path has failed since it is watched.
    pub failures: u64,
    /// `single-hop` or `multihop`.
    pub hops: String,
    /// Milliseconds between two packets of ours, before jitter.
    pub transmit_interval_ms: u64,
    /// Milliseconds of silence that are a failure; none while nothing is heard.
    pub detection_time_ms: Option<u64>,
    /// How packets are signed: `keyed-sha1` or `meticulous-keyed-sha1`, if they are.
    #[serde(default)]
    pub authentication: Option<String>,
    /// Packets that seemed to be the far end's and counted for nothing, by reason: `wrong_link`, `wrong_ttl`,
    /// `wrong_port`, `malformed`, `unsigned`, `signed`, `wrong_key`, `replayed`, `other_discriminator`,
    /// `key_missing`.
    #[serde(default)]
    pub dropped: BTreeMap<String, u64>,
    /// Why the last of them did, while the session is not up.
    #[serde(default)]
    pub refused: Option<String>,
}

/// Message counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub struct Messages {
    /// OPEN.
    pub open: u64,
    /// UPDATE.
    pub update: u64,
    /// NOTIFICATION.
    pub notification: u64,
    /// KEEPALIVE.
    pub keepalive: u64,
    /// ROUTE-REFRESH.
    pub route_refresh: u64,
}

/// The last real error of a peer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub struct LastError {
    /// What it was: `sent_notification`, `received_notification`, `hold_timer_expired`, `dial_failed` ...
    pub reason: String,
    /// The same in words, with what to do.
    pub message: String,
    /// Seconds ago.
    pub ago_s: u64,
}

/// A tunnel device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub struct Tunnel {
    /// Its name.
    pub name: String,
    /// The kernel's kind: `ipip`, `ip6tnl`, `vxlan`.
    pub kind: String,
    /// `up`, `pending`, `leaving`, `no_driver`, `foreign`, `refused` or `no_underlay`.
    pub state: String,
    /// `up`, or what is the matter, in words.
    pub state_text: String,
    /// Whether it works.
    pub works: bool,
    /// Its MTU in the kernel.
    pub mtu: Option<u32>,
    /// The addresses on it.
    pub addresses: Vec<String>,
    /// Far ends that are wanted (VXLAN).
    pub far_ends: usize,
    /// Far ends with all their entries in the kernel.
    pub ready: usize,
}
