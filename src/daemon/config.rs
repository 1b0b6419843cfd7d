//! `dunlin.toml`: what differs from node to node. Every key has a default; an empty file is valid.
//!
//! The same reader as the cluster file's, so the same errors: all at once, with their places. The
//! cluster itself is not in here; `[datastore]` says where it is. [`parse`] is a pure function of
//! the text and of what the environment knows ([`Surroundings`]).

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ipnetwork::{Ipv4Network, Ipv6Network};
use toml::de::DeValue;

use crate::datastore::{
    Fault, Located, Place, Problems, Schema, Source, TableReader, one_of, read_text, scalar,
};
use crate::net::RouterId;
use crate::topology::Intent;

/// Where the control socket is unless configured otherwise.
pub const DEFAULT_SOCKET: &str = "/run/dunlin/dunlin.sock";
/// Where the cluster is unless configured otherwise, beside `dunlin.toml`.
pub const DEFAULT_CLUSTER: &str = "cluster.toml";
/// Next hops of one route unless configured otherwise, as in Calico's BIRD.
pub const DEFAULT_MAX_PATHS: u8 = 16;

/// This node's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Who we are.
    pub node: NodeIdentity,
    /// The file or folder with the cluster.
    pub datastore_path: PathBuf,
    /// What becomes of routes.
    pub routing: Routing,
    /// Addresses to listen on; `None` is every address at the port of the plan.
    pub listen: Option<Vec<SocketAddr>>,
    /// Where `dunlin status` and the others ask.
    pub control: Control,
    /// What is logged and how.
    pub log: Log,
}

/// Who we are, as far as this file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeIdentity {
    /// The node in the cluster that we are.
    pub name: String,
    /// Our IPv4 address.
    pub ipv4: AddressChoice<Ipv4Network>,
    /// Our IPv6 address.
    pub ipv6: AddressChoice<Ipv6Network>,
    /// Our BGP Identifier; `None` derives it.
    pub router_id: Option<RouterId>,
}

/// Where an address of ours comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AddressChoice<N> {
    /// What our node's record in the cluster says (`first-found` in this version).
    #[default]
    FromCluster,
    /// None of this family, whatever the record says.
    None,
    /// This one.
    Given(N),
}

/// What becomes of routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Routing {
    /// Install routes; false only distributes them.
    pub kernel_routes: bool,
    /// The most next hops that one route gets.
    pub max_paths: u8,
    /// Between which routes MED decides.
    pub med: MedRule,
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
}

/// A configuration and what is odd about its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configured {
    /// The configuration.
    pub config: Config,
    /// Warnings only.
    pub warnings: Problems,
}

const FILE: Schema = Schema {
    label: "dunlin.toml",
    keys: &["node", "datastore", "routing", "bgp", "control", "log"],
    unsupported: &[],
    ignored: &[],
};
const NODE: Schema = Schema {
    label: "[node]",
    keys: &["name", "ipv4", "ipv6", "router-id"],
    unsupported: &[],
    ignored: &[],
};
const DATASTORE: Schema = Schema {
    label: "[datastore]",
    keys: &["kind", "path"],
    unsupported: &[],
    ignored: &[],
};
const ROUTING: Schema = Schema {
    label: "[routing]",
    keys: &["backend", "kernel-routes", "max-paths", "med"],
    unsupported: &[],
    ignored: &[],
};
const BGP: Schema = Schema {
    label: "[bgp]",
    keys: &["listen"],
    unsupported: &[],
    ignored: &[],
};
const CONTROL: Schema = Schema {
    label: "[control]",
    keys: &["socket", "group"],
    unsupported: &[],
    ignored: &[],
};
const LOG: Schema = Schema {
    label: "[log]",
    keys: &["level", "format"],
    unsupported: &[],
    ignored: &[],
};

const MED: &[(&str, MedRule)] = &[("per-as", MedRule::PerAs), ("always", MedRule::Always)];
const LEVELS: &[(&str, LogLevel)] = &[
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
    ("trace", LogLevel::Trace),
];
const FORMATS: &[(&str, LogFormat)] = &[("text", LogFormat::Text), ("json", LogFormat::Json)];
/// Detection methods of Calico that are not in this version.
const METHODS: [&str; 5] = [
    "can-reach=",
    "interface=",
    "skip-interface=",
    "cidr=",
    "kubernetes-internal-ip",
];

impl Config {
    /// What holds without any file.
    pub fn defaults(surroundings: &Surroundings) -> Self {
        Self {
            node: NodeIdentity {
                name: surroundings.host_name.clone(),
                ipv4: AddressChoice::FromCluster,
                ipv6: AddressChoice::FromCluster,
                router_id: None,
            },
            datastore_path: surroundings.folder.join(DEFAULT_CLUSTER),
            routing: Routing {
                kernel_routes: true,
                max_paths: DEFAULT_MAX_PATHS,
                med: MedRule::PerAs,
            },
            listen: None,
            control: Control {
                socket: DEFAULT_SOCKET.into(),
                group: None,
            },
            log: Log::default(),
        }
    }

    /// Puts what this file says about our own node into the cluster's intent.
    ///
    /// Returns a line for each difference that the other nodes can't know of.
    pub fn overlay(&self, intent: &mut Intent) -> Vec<String> {
        let mut differences = Vec::new();
        let Some(node) = intent
            .nodes
            .iter_mut()
            .find(|node| node.name == self.node.name)
        else {
            return differences;
        };
        let before = (node.ipv4_address, node.ipv6_address);
        self.node.ipv4.replace(&mut node.ipv4_address);
        self.node.ipv6.replace(&mut node.ipv6_address);
        node.router_id = self.node.router_id.or(node.router_id);
        let name = &node.name;
        let note = "other nodes go by the cluster's record";
        if before.0 != node.ipv4_address {
            let ours = node
                .ipv4_address
                .map_or("none".to_owned(), |n| n.to_string());
            differences.push(format!(
                "ipv4 of {name} is {ours} in dunlin.toml only; {note}"
            ));
        }
        if before.1 != node.ipv6_address {
            let ours = node
                .ipv6_address
                .map_or("none".to_owned(), |n| n.to_string());
            differences.push(format!(
                "ipv6 of {name} is {ours} in dunlin.toml only; {note}"
            ));
        }
        differences
    }
}

impl<N: Copy> AddressChoice<N> {
    const fn replace(&self, address: &mut Option<N>) {
        match self {
            Self::FromCluster => {}
            Self::None => *address = None,
            Self::Given(given) => *address = Some(*given),
        }
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
    };
    match read_text(path) {
        Ok(text) => parse(&file, &text, &surroundings),
        Err(error) => {
            let mut problems = Problems::default();
            problems.error(&Place::whole(&file), format!("can't be read: {error}"));
            Err(problems)
        }
    }
}

/// Reads a text into a configuration, or everything that is wrong with it.
pub fn parse(
    file: &Arc<str>,
    text: &str,
    surroundings: &Surroundings,
) -> Result<Configured, Problems> {
    let mut problems = Problems::default();
    let mut config = Config::defaults(surroundings);
    let source = Source::new(file, text);
    if let Some(table) = source.parse(&mut problems) {
        let root = TableReader::new(&source, &FILE, source.whole(), &table, &mut problems);
        read_root(&root, &mut config, &surroundings.folder, &mut problems);
    }
    let problems = problems.sorted();
    if problems.has_errors() {
        return Err(problems);
    }
    Ok(Configured {
        config,
        warnings: problems,
    })
}

fn read_root(root: &TableReader<'_>, config: &mut Config, folder: &Path, problems: &mut Problems) {
    if let Some(table) = root.table("node", &NODE, problems) {
        set(
            &mut config.node.name,
            table.read("name", scalar::name, problems),
        );
        set(&mut config.node.ipv4, table.read("ipv4", ipv4, problems));
        set(&mut config.node.ipv6, table.read("ipv6", ipv6, problems));
        set(
            &mut config.node.router_id,
            table.read("router-id", router_id, problems),
        );
    }
    if let Some(table) = root.table("datastore", &DATASTORE, problems) {
        table.read("kind", only("file", &["etcd", "kubernetes"]), problems);
        let path = table.read("path", scalar::text, problems);
        set(
            &mut config.datastore_path,
            path.map(|path| path.map(|path| folder.join(path))),
        );
    }
    if let Some(table) = root.table("routing", &ROUTING, problems) {
        let max_paths = scalar::integer::<u8>("a number of next hops", 1..=128);
        table.read("backend", only("bgp", &["vxlan", "none"]), problems);
        let routing = &mut config.routing;
        set(
            &mut routing.kernel_routes,
            table.read("kernel-routes", scalar::boolean, problems),
        );
        set(
            &mut routing.max_paths,
            table.read("max-paths", max_paths, problems),
        );
        set(&mut routing.med, table.read("med", one_of(MED), problems));
    }
    if let Some(table) = root.table("bgp", &BGP, problems) {
        let listen = table.read_list("listen", scalar::socket_address, problems);
        config.listen = listen.map(|ends| ends.into_iter().map(|end| end.value).collect());
    }
    if let Some(table) = root.table("control", &CONTROL, problems) {
        let socket = table.read("socket", scalar::text, problems);
        set(
            &mut config.control.socket,
            socket.map(|path| path.map(|path| folder.join(path))),
        );
        let group = table.read("group", scalar::name, problems);
        set(
            &mut config.control.group,
            group.map(|group| group.map(Some)),
        );
    }
    if let Some(table) = root.table("log", &LOG, problems) {
        set(
            &mut config.log.level,
            table.read("level", one_of(LEVELS), problems),
        );
        set(
            &mut config.log.format,
            table.read("format", one_of(FORMATS), problems),
        );
    }
}

fn set<T>(place: &mut T, value: Option<Located<T>>) {
    if let Some(located) = value {
        *place = located.value;
    }
}

fn ipv4(value: &DeValue<'_>) -> Result<AddressChoice<Ipv4Network>, Fault> {
    choice(value, scalar::ipv4_address)
}

fn ipv6(value: &DeValue<'_>) -> Result<AddressChoice<Ipv6Network>, Fault> {
    choice(value, scalar::ipv6_address)
}

fn choice<N>(
    value: &DeValue<'_>,
    address: fn(&DeValue<'_>) -> Result<N, Fault>,
) -> Result<AddressChoice<N>, Fault> {
    match value.as_str() {
        Some("first-found" | "autodetect") => Ok(AddressChoice::FromCluster),
        Some("none") => Ok(AddressChoice::None),
        Some(text) if METHODS.iter().any(|method| text.starts_with(method)) => {
            Err(Fault::Wrong(format!(
                "{text:?} is not supported in this version; write the address, or \
                 \"first-found\" to take it from the node's record in the cluster"
            )))
        }
        Some(_) | None => match address(value) {
            Err(Fault::Expected { expected, found }) => {
                let expected = format!("\"first-found\", \"none\" or {expected}");
                Err(Fault::Expected { expected, found })
            }
            result => result.map(AddressChoice::Given),
        },
    }
}

fn router_id(value: &DeValue<'_>) -> Result<Option<RouterId>, Fault> {
    match value.as_str() {
        // Both derive it; which way depends on whether there is an IPv4 address.
        Some("auto") => Ok(None),
        Some("hash") => Err(Fault::Wrong(
            "\"hash\" is not supported in this version; nodes without an IPv4 address have it \
             anyway"
                .to_owned(),
        )),
        Some(_) | None => scalar::router_id(value).map(Some),
    }
}

/// One word that works, and others that are known but don't work yet.
fn only(
    works: &'static str,
    later: &'static [&'static str],
) -> impl Fn(&DeValue<'_>) -> Result<(), Fault> {
    move |value| match value.as_str() {
        Some(text) if text == works => Ok(()),
        Some(text) if later.contains(&text) => {
            let message = format!("{text:?} is not supported in this version; expected {works:?}");
            Err(Fault::Wrong(message))
        }
        Some(_) | None => {
            let expected = format!("{works:?}");
            let found = scalar::show(value);
            Err(Fault::Expected { expected, found })
        }
    }
}
