//! The command line as data; its help is what a newcomer reads first.

use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand, ValueEnum};

/// Where the daemon serves its control socket unless told otherwise.
pub(super) const DEFAULT_SOCKET: &str = "/run/dunlin/dunlin.sock";
/// Where the daemon looks for its configuration unless told otherwise.
pub(super) const DEFAULT_CONFIG: &str = "/etc/dunlin/dunlin.toml";

/// BGP route distribution for container nodes.
///
/// One process a node: it peers with the other nodes (or with routers), announces this node's pod
/// blocks, and keeps the routes to everybody else's pods in the kernel.
///
/// New here? `dunlin lab` builds a whole cluster on this machine and shows it working.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, arg_required_else_help = true, after_help = EXIT_CODES)]
pub struct Args {
    /// Control socket of the daemon [default: /run/dunlin/dunlin.sock]
    #[arg(long, short, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,

    /// How to print
    #[arg(long, short, global = true, value_enum, default_value_t = Output::Table)]
    pub output: Output,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 it could not be done, 2 wrong command line, \
3 no daemon answers, 4 no such peer, prefix or route (a list may be empty), 5 the configuration has errors, \
6 viewers may not do that.";

impl Args {
    /// The control socket to ask.
    pub fn socket(&self) -> &Path {
        self.socket.as_deref().unwrap_or(Path::new(DEFAULT_SOCKET))
    }

    pub(super) fn given_socket(&self) -> Option<&Path> {
        self.socket.as_deref()
    }
}

/// How answers are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Tables for people.
    Table,
    /// JSON for scripts.
    Json,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon on this node
    Run(ConfigFile),
    /// Read the configuration and say everything that is wrong with it, and what this host lacks
    Check(CheckOptions),
    /// This node's own address: how it is found on this host, and why it is no other
    Address(AddressOptions),
    /// Build a cluster with pods on this machine, in network namespaces, and show it working
    Lab(crate::lab::LabOptions),
    /// Parts of the lab that run inside its namespaces.
    #[command(name = crate::lab::INSIDE_COMMAND, hide = true)]
    LabInside(crate::lab::InsideOptions),
    /// This node at a glance: sessions, routes, and what is wrong
    Status {
        /// Only what is wrong; exit code 1 if anything of it is an error
        #[arg(long)]
        check: bool,
    },
    /// All peers, or everything about one
    Peers {
        /// A peer's name
        name: Option<String>,
    },
    /// Orders for one peer: shut it down, enable, reset or refresh it
    Peer {
        /// The peer's name, as `dunlin peers` prints it
        name: String,
        /// What to do with it.
        #[command(subcommand)]
        order: PeerOrder,
    },
    /// The tables: every prefix with its paths, and why the best one won
    Routes(RoutesOptions),
    /// The kernel's routes beside what ought to be there
    Fib,
    /// Why packets to an address go where they go
    Explain {
        /// An address, such as a pod's, a prefix, or a peer's name
        what: String,
    },
    /// Move traffic away from this node before maintenance, or back (RFC 8326)
    ///
    /// All that this node announces becomes the last choice of whoever has another one; nothing is
    /// withdrawn and no session ends. It outlives a reload, and ends with --undo or when dunlin is
    /// restarted.
    Drain {
        /// Take it back
        #[arg(long)]
        undo: bool,
    },
    /// Read the configuration again (as SIGHUP does)
    Reload,
    /// How loud the log is, or change that until dunlin ends
    Log {
        /// The least important events that are logged; `configured` is what the file says
        #[arg(value_parser = ["error", "warn", "info", "debug", "trace", "configured"])]
        level: Option<String>,
        /// Only for what is about this peer
        #[arg(long, value_name = "NAME")]
        peer: Option<String>,
    },
    /// Print the JSON Schema of all that --output json prints
    Schema,
    /// Print the version (of the daemon, if --socket is given)
    Version,
}

/// Orders for one peer.
#[derive(Debug, Subcommand)]
pub enum PeerOrder {
    /// Take the session down until `enable`
    Shutdown {
        /// What the peer is told (RFC 9003)
        #[arg(long, short)]
        message: Option<String>,
    },
    /// Undo a shutdown
    Enable,
    /// Bounce the session
    Reset,
    /// Ask for all of the peer's routes again, and send ours again
    Refresh,
}

/// Which routes to show.
#[derive(Debug, Clone, clap::Args)]
pub struct RoutesOptions {
    /// Only this prefix, or the best match of this address
    #[arg(value_name = "PREFIX")]
    pub prefix: Option<String>,
    /// All that is within PREFIX (no address), too
    #[arg(long, requires = "prefix")]
    pub longer: bool,
    /// Only what this peer has sent, or was sent
    #[arg(long, value_name = "NAME")]
    pub peer: Option<String>,
    /// What the peer has sent, as it sent it: before import policy (the default with --peer)
    #[arg(long, requires = "peer", group = "view")]
    pub received: bool,
    /// Of that, what import policy accepted, as policy made it
    #[arg(long, requires = "peer", group = "view")]
    pub accepted: bool,
    /// What the peer was sent, as it was sent
    #[arg(long, requires = "peer", group = "view")]
    pub sent: bool,
    /// Only paths with this community: 65000:1, 65000:1:2, or a name such as no-export
    #[arg(long, value_name = "COMMUNITY")]
    pub community: Option<String>,
}

/// Where the configuration of this node is.
#[derive(Debug, clap::Args)]
pub struct ConfigFile {
    /// This node's configuration file
    #[arg(long, short, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    pub config: PathBuf,
}

/// What to check.
#[derive(Debug, clap::Args)]
pub struct CheckOptions {
    /// Where the configuration is.
    #[command(flatten)]
    pub file: ConfigFile,

    /// Look at the files only, not at this host
    #[arg(long)]
    pub offline: bool,
}

/// What to say about this node's own address.
#[derive(Debug, clap::Args)]
pub struct AddressOptions {
    /// Show every address of this host, and why it was or was not taken
    #[arg(long)]
    pub explain: bool,

    /// This node's configuration file [default: /etc/dunlin/dunlin.toml, if it is there]
    #[arg(long, short, value_name = "FILE")]
    pub config: Option<PathBuf>,
}
