//! `dunlin.toml`: what differs from node to node. Every key has a default; an empty file is valid.
//!
//! The same reader as the cluster file's, so the same errors: all at once, with their places. The
//! cluster itself is not in here; `[datastore]` says where it is. [`parse`] is a pure function of
//! the text and of what the environment knows ([`Surroundings`]). Where the file is silent, the
//! variables that Calico's node knows speak ([`environment`]).

pub mod environment;
mod node;
mod read;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::dataplane::Adopt;
use crate::datastore::{MAX_NODE_FILE_SIZE, Place, Problems, Source, read_text};
use crate::topology::Intent;

pub use crate::node::Backend;
pub use node::{AddressChoice, NodeIdentity, OwnAddresses};

/// Where the control socket is unless configured otherwise.
pub const DEFAULT_SOCKET: &str = "/run/dunlin/dunlin.sock";
/// Where the cluster is unless configured otherwise, beside `dunlin.toml`.
pub const DEFAULT_CLUSTER: &str = "cluster.toml";
/// Next hops of one route unless configured otherwise, as in Calico's BIRD.
pub const DEFAULT_MAX_PATHS: u8 = 16;
/// Seconds between a change of a pool's mode and the first packet that travels by it, unless
/// configured otherwise.
pub const DEFAULT_SWITCH_DELAY: u16 = 5;

/// This node's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Who we are.
    pub node: NodeIdentity,
    /// The file or folder with the cluster.
    pub datastore_path: PathBuf,
    /// The folder of what `secret-key-ref` names; `None` is `secrets` beside the cluster.
    pub secrets: Option<PathBuf>,
    /// What becomes of routes.
    pub routing: Routing,
    /// Addresses to listen on; `None` is every address at the port of the plan.
    pub listen: Option<Vec<SocketAddr>>,
    /// Where `dunlin status` and the others ask.
    pub control: Control,
    /// How natOutgoing comes into the kernel.
    pub nat: Nat,
    /// What is logged and how.
    pub log: Log,
    /// The process itself.
    pub process: Process,
}

/// The process itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// As whom it runs; without it, as `dunlin` where root has started it and the host has that user.
    pub user: Option<RunAs>,
    /// Whether it keeps capabilities that it does not need.
    pub keep_capabilities: bool,
    /// Whether it gives up the system calls and places that it does not need.
    pub sandbox: bool,
}

impl Default for Process {
    fn default() -> Self {
        Self {
            user: None,
            keep_capabilities: false,
            sandbox: true,
        }
    }
}

/// A user, and its group if that is not the user's own: names or numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunAs {
    /// The user.
    pub user: String,
    /// The group.
    pub group: Option<String>,
}

impl RunAs {
    /// Reads `user` or `user:group`.
    pub fn parse(text: &str) -> Option<Self> {
        let is_name = |name: &str| {
            let mut all = name.chars();
            !name.is_empty()
                && !name.starts_with('-')
                && all.all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '$'))
        };
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        (is_name(user) && group.is_none_or(is_name)).then(|| Self {
            user: user.to_owned(),
            group: group.map(str::to_owned),
        })
    }
}

/// How natOutgoing comes into the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Nat {
    /// Where the program `nft` is; without it, at the first of the usual places that has one.
    pub nft: Option<PathBuf>,
}

/// What becomes of routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Routing {
    /// What distributes and programs them.
    pub backend: Backend,
    /// Install routes; false only distributes them.
    pub kernel_routes: bool,
    /// The most next hops that one route gets.
    pub max_paths: u8,
    /// The metric of the routes that lead somewhere, of both families; without it each family has its own.
    pub metric: Option<u32>,
    /// Seconds for which packets go on by a pool's former mode after it was changed: the time in which
    /// all nodes are told.
    pub switch_delay: u16,
    /// Between which routes MED decides.
    pub med: MedRule,
    /// Whose leftover routes and devices are taken over.
    pub adopt: Adopt,
}

/// Between which routes MED decides (RFC 4271 §9.1.2.2 c).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MedRule {
    /// Those from one neighbouring AS.
    #[default]
    PerAs,
    /// All.
    Always,
}

/// The control socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    /// Its path.
    pub socket: PathBuf,
    /// The group that may use it besides root.
    pub group: Option<String>,
    /// The group that may ask and not change anything, at a socket beside it.
    pub viewers: Option<String>,
}

/// Logging.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Log {
    /// The least important event that is logged.
    pub level: LogLevel,
    /// How a line looks.
    pub format: LogFormat,
}

/// How important an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum LogLevel {
    /// Somebody has to act.
    Error,
    /// Unusual, and still working.
    Warn,
    /// Sessions and plans come and go.
    #[default]
    Info,
    /// Decisions.
    Debug,
    /// Every message.
    Trace,
}

impl LogLevel {
    /// All of them, by their words.
    pub(super) const WORDS: &[(&str, Self)] = &[
        ("error", Self::Error),
        ("warn", Self::Warn),
        ("info", Self::Info),
        ("debug", Self::Debug),
        ("trace", Self::Trace),
    ];

    /// The one of this word.
    pub(super) fn named(word: &str) -> Option<Self> {
        let found = Self::WORDS.iter().find(|(name, _)| *name == word);
        found.map(|(_, level)| *level)
    }
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines.
    Json,
}

/// What the file may refer to without saying it.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// The host's name: the node's, unless the file says otherwise.
    pub host_name: String,
    /// The folder that relative paths start from: the file's own.
    pub folder: PathBuf,
    /// Those of the process's environment variables that mean something to us
    /// ([`environment::VARIABLES`]).
    pub environment: BTreeMap<String, String>,
}

/// A configuration and what is odd about its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configured {
    /// The configuration.
    pub config: Config,
    /// Warnings only.
    pub warnings: Problems,
    /// One line for each environment variable that was used.
    pub from_environment: Vec<String>,
}

impl Config {
    /// What holds without any file.
    pub fn defaults(surroundings: &Surroundings) -> Self {
        Self {
            node: NodeIdentity::named(&surroundings.host_name),
            datastore_path: surroundings.folder.join(DEFAULT_CLUSTER),
            secrets: None,
            routing: Routing {
                backend: Backend::Bgp,
                kernel_routes: true,
                max_paths: DEFAULT_MAX_PATHS,
                metric: None,
                switch_delay: DEFAULT_SWITCH_DELAY,
                med: MedRule::PerAs,
                adopt: Adopt::default(),
            },
            listen: None,
            control: Control {
                socket: DEFAULT_SOCKET.into(),
                group: None,
                viewers: None,
            },
            nat: Nat::default(),
            log: Log::default(),
            process: Process::default(),
        }
    }

    /// Puts what is known about our own node into the cluster's intent.
    ///
    /// Returns a line for each difference that the other nodes can't know of.
    pub fn overlay(&self, intent: &mut Intent, own: OwnAddresses) -> Vec<String> {
        self.node.overlay(intent, own)
    }
}

impl LogLevel {
    /// As log filters spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// Reads the file at `path`; relative paths in it start from its folder.
pub fn load(path: &Path, host_name: &str) -> Result<Configured, Problems> {
    let file: Arc<str> = path.display().to_string().into();
    let folder = path.parent().map(Path::to_owned).unwrap_or_default();
    let surroundings = Surroundings {
        host_name: host_name.to_owned(),
        folder,
        environment: environment::of_process(),
    };
    match read_text(path, MAX_NODE_FILE_SIZE) {
        Ok(text) => parse(&file, &text, &surroundings),
        Err(error) => {
            let mut problems = Problems::default();
            problems.error(&Place::whole(&file), format!("can't be read: {error}"));
            Err(problems)
        }
    }
}

/// What holds where there is no file: the defaults and the environment.
pub(crate) fn without_file(host_name: &str, folder: PathBuf) -> Result<Configured, Problems> {
    let surroundings = Surroundings {
        host_name: host_name.to_owned(),
        folder,
        environment: environment::of_process(),
    };
    parse(&"no file".into(), "", &surroundings)
}

/// Reads a text into a configuration, or everything that is wrong with it.
pub fn parse(
    file: &Arc<str>,
    text: &str,
    surroundings: &Surroundings,
) -> Result<Configured, Problems> {
    let mut config = Config::defaults(surroundings);
    let source = Source::new(file, text);
    let mut reading = read::Reading::new(surroundings);
    reading.file(&source, &mut config);
    let (problems, from_environment) = reading.end();
    if problems.has_errors() {
        return Err(problems);
    }
    Ok(Configured {
        config,
        warnings: problems,
        from_environment,
    })
}
