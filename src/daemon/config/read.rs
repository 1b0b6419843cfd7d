//! `dunlin.toml`, key by key: which tables and words there are, and what they become.

use std::path::{Path, PathBuf};

use toml::de::DeValue;

use super::environment::Environment;
use super::node::{self, AddressChoice, NodeIdentity, RouterIdChoice};
use super::{
    Backend, Config, Control, Log, LogFormat, LogLevel, MedRule, Process, Routing, RunAs,
    Surroundings,
};
use crate::dataplane::own_address::Order;
use crate::dataplane::{Adopt, Ownership};
use crate::datastore::{Fault, Located, Problems, Schema, Source, TableReader, one_of, scalar};

const FILE: Schema = Schema {
    label: "dunlin.toml",
    keys: &[
        "node",
        "datastore",
        "routing",
        "bgp",
        "control",
        "nat",
        "log",
        "process",
    ],
    unsupported: &[],
    ignored: &[],
};
const NODE: Schema = Schema {
    label: "[node]",
    keys: &["name", "ipv4", "ipv6", "address-order", "router-id"],
    unsupported: &[],
    ignored: &[],
};
const DATASTORE: Schema = Schema {
    label: "[datastore]",
    keys: &["kind", "path", "secrets"],
    unsupported: &[],
    ignored: &[],
};
const ROUTING: Schema = Schema {
    label: "[routing]",
    keys: &[
        "backend",
        "kernel-routes",
        "max-paths",
        "metric",
        "med",
        "adopt",
        "mode-switch-delay",
    ],
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
    keys: &["socket", "group", "viewers"],
    unsupported: &[],
    ignored: &[],
};
const LOG: Schema = Schema {
    label: "[log]",
    keys: &["level", "format"],
    unsupported: &[],
    ignored: &[],
};
const NAT: Schema = Schema {
    label: "[nat]",
    keys: &["nft"],
    unsupported: &[],
    ignored: &[],
};
const PROCESS: Schema = Schema {
    label: "[process]",
    keys: &["user", "keep-capabilities", "sandbox"],
    unsupported: &[],
    ignored: &[],
};

const BACKENDS: &[(&str, Backend)] = &[
    ("bgp", Backend::Bgp),
    ("vxlan", Backend::Vxlan),
    ("none", Backend::None),
    // Calico's word for it.
    ("bird", Backend::Bgp),
];
const ADOPT: &[(&str, Adopt)] = &[
    (
        "bird",
        Adopt {
            bird: true,
            felix: false,
        },
    ),
    (
        "felix",
        Adopt {
            bird: false,
            felix: true,
        },
    ),
];
const MED: &[(&str, MedRule)] = &[("per-as", MedRule::PerAs), ("always", MedRule::Always)];
const FORMATS: &[(&str, LogFormat)] = &[("text", LogFormat::Text), ("json", LogFormat::Json)];
const ORDERS: &[(&str, Order)] = &[
    (Order::Preferred.as_str(), Order::Preferred),
    (Order::Calico.as_str(), Order::Calico),
];

/// A reading under way.
pub(super) struct Reading<'s> {
    folder: &'s Path,
    environment: Environment<'s>,
    problems: Problems,
}

impl<'s> Reading<'s> {
    pub(super) fn new(surroundings: &'s Surroundings) -> Self {
        Self {
            folder: &surroundings.folder,
            environment: Environment::new(&surroundings.environment),
            problems: Problems::default(),
        }
    }

    /// What is wrong, in order, and which variables were used.
    pub(super) fn end(self) -> (Problems, Vec<String>) {
        (self.problems.sorted(), self.environment.used())
    }

    /// Takes in the file, and the environment where the file is silent.
    pub(super) fn file(&mut self, source: &Source<'_>, config: &mut Config) {
        // After a slip of syntax nobody knows where the file is silent.
        let Some(table) = source.parse(&mut self.problems) else {
            return;
        };
        let root = TableReader::new(source, &FILE, source.whole(), &table, &mut self.problems);
        self.node(&root, &mut config.node);
        self.datastore(&root, config);
        self.routing(&root, &mut config.routing);
        if let Some(table) = root.table("bgp", &BGP, &mut self.problems) {
            let listen = table.read_list("listen", scalar::socket_address, &mut self.problems);
            config.listen = listen.map(|ends| ends.into_iter().map(|end| end.value).collect());
        }
        self.control(&root, &mut config.control);
        self.log(&root, &mut config.log);
        if let Some(table) = root.table("nat", &NAT, &mut self.problems) {
            let nft = table.read("nft", absolute_path, &mut self.problems);
            set(&mut config.nat.nft, nft.map(|path| path.map(Some)));
        }
        self.process(&root, &mut config.process);
    }

    fn process(&mut self, root: &TableReader<'_>, process: &mut Process) {
        let problems = &mut self.problems;
        let Some(table) = root.table("process", &PROCESS, problems) else {
            return;
        };
        let user = table.read("user", run_as, problems);
        set(&mut process.user, user.map(|user| user.map(Some)));
        let keep = table.read("keep-capabilities", scalar::boolean, problems);
        set(&mut process.keep_capabilities, keep);
        let sandbox = table.read("sandbox", scalar::boolean, problems);
        set(&mut process.sandbox, sandbox);
    }

    fn node(&mut self, root: &TableReader<'_>, node: &mut NodeIdentity) {
        let table = root.table("node", &NODE, &mut self.problems);
        let table = table.as_ref();
        let name = self.either(table, "name", "NODENAME", scalar::name);
        set(&mut node.name, name);
        self.address(
            table,
            "ipv4",
            ["IP", "IP_AUTODETECTION_METHOD"],
            node::ipv4,
            &mut node.ipv4,
        );
        self.address(
            table,
            "ipv6",
            ["IP6", "IP6_AUTODETECTION_METHOD"],
            node::ipv6,
            &mut node.ipv6,
        );
        if let Some(table) = table {
            let order = table.read("address-order", one_of(ORDERS), &mut self.problems);
            set(&mut node.address_order, order);
        }
        let mut choice = RouterIdChoice::Auto;
        set(
            &mut choice,
            self.either(table, "router-id", "CALICO_ROUTER_ID", node::router_id),
        );
        node.router_id = choice.settle(&node.name);
    }

    /// An address by the file, else by the variables for the address and for the method.
    fn address(
        &mut self,
        table: Option<&TableReader<'_>>,
        key: &'static str,
        variables: [&'static str; 2],
        decode: fn(&DeValue<'_>) -> Result<AddressChoice, Fault>,
        choice: &mut AddressChoice,
    ) {
        let [address, method] = variables;
        set(choice, self.either(table, key, address, decode));
        if table.is_some_and(|table| table.has(key)) || !node::takes_method(choice) {
            return;
        }
        if let Some(method) = self
            .environment
            .read(method, node::method, &mut self.problems)
        {
            node::use_method(choice, method.value);
        }
    }

    fn datastore(&mut self, root: &TableReader<'_>, config: &mut Config) {
        let problems = &mut self.problems;
        let Some(table) = root.table("datastore", &DATASTORE, problems) else {
            return;
        };
        table.read("kind", only("file", &["etcd", "kubernetes"]), problems);
        let path = table.read("path", scalar::text, problems);
        set(
            &mut config.datastore_path,
            path.map(|path| path.map(|path| self.folder.join(path))),
        );
        let secrets = table.read("secrets", scalar::text, problems);
        config.secrets = secrets.map(|path| self.folder.join(path.value));
    }

    fn routing(&mut self, root: &TableReader<'_>, routing: &mut Routing) {
        let table = root.table("routing", &ROUTING, &mut self.problems);
        let backend = self.either(
            table.as_ref(),
            "backend",
            "CALICO_NETWORKING_BACKEND",
            one_of(BACKENDS),
        );
        set(&mut routing.backend, backend);
        let problems = &mut self.problems;
        let Some(table) = table else { return };
        let max_paths = scalar::integer::<u8>("a number of next hops", 1..=128);
        set(
            &mut routing.kernel_routes,
            table.read("kernel-routes", scalar::boolean, problems),
        );
        let seconds = scalar::integer::<u16>("a number of seconds", 0..=3600);
        set(
            &mut routing.switch_delay,
            table.read("mode-switch-delay", seconds, problems),
        );
        set(
            &mut routing.max_paths,
            table.read("max-paths", max_paths, problems),
        );
        // The worst is that of routes that drop packets, and IPv6 has no 0.
        let metric = scalar::integer::<u32>("a metric", 1..=i64::from(Ownership::WORST_METRIC) - 1);
        let metric = table.read("metric", metric, problems);
        routing.metric = metric.map(|metric| metric.value).or(routing.metric);
        set(&mut routing.med, table.read("med", one_of(MED), problems));
        for other in table
            .read_list("adopt", one_of(ADOPT), problems)
            .unwrap_or_default()
        {
            routing.adopt.bird |= other.value.bird;
            routing.adopt.felix |= other.value.felix;
        }
    }

    fn control(&mut self, root: &TableReader<'_>, control: &mut Control) {
        let problems = &mut self.problems;
        let Some(table) = root.table("control", &CONTROL, problems) else {
            return;
        };
        let socket = table.read("socket", scalar::text, problems);
        set(
            &mut control.socket,
            socket.map(|path| path.map(|path| self.folder.join(path))),
        );
        let group = table.read("group", scalar::name, problems);
        set(&mut control.group, group.map(|group| group.map(Some)));
        let viewers = table.read("viewers", scalar::name, problems);
        set(&mut control.viewers, viewers.map(|group| group.map(Some)));
    }

    fn log(&mut self, root: &TableReader<'_>, log: &mut Log) {
        let problems = &mut self.problems;
        let Some(table) = root.table("log", &LOG, problems) else {
            return;
        };
        set(
            &mut log.level,
            table.read("level", one_of(LogLevel::WORDS), problems),
        );
        set(
            &mut log.format,
            table.read("format", one_of(FORMATS), problems),
        );
    }

    /// What the file says under `key`, else what `variable` says.
    fn either<T>(
        &mut self,
        table: Option<&TableReader<'_>>,
        key: &'static str,
        variable: &'static str,
        decode: impl Fn(&DeValue<'_>) -> Result<T, Fault>,
    ) -> Option<Located<T>> {
        match table.filter(|table| table.has(key)) {
            Some(table) => table.read(key, decode, &mut self.problems),
            None => self.environment.read(variable, decode, &mut self.problems),
        }
    }
}

fn set<T>(place: &mut T, value: Option<Located<T>>) {
    if let Some(located) = value {
        *place = located.value;
    }
}

fn absolute_path(value: &DeValue<'_>) -> Result<PathBuf, Fault> {
    let path = PathBuf::from(scalar::text(value)?);
    if path.is_absolute() {
        Ok(path)
    } else {
        Err(Fault::expected("an absolute path", value))
    }
}

fn run_as(value: &DeValue<'_>) -> Result<RunAs, Fault> {
    let text = scalar::text(value)?;
    RunAs::parse(&text)
        .ok_or_else(|| Fault::expected("a user, or \"user:group\", by name or number", value))
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
