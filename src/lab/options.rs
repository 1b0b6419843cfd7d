//! What a user may ask of `dunlin lab`, and the hidden command that its helper processes are given.
//!
//! Only data and its limits; nothing here acts.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, ValueEnum};

/// The hidden subcommand that the lab starts its daemons through (see [`InsideOptions`]).
pub const INSIDE_COMMAND: &str = "lab-inside";

/// Builds a small cluster on this machine and shows pods reach each other over the routes that
/// dunlin distributes.
///
/// Every node, every pod and the router between the two subnets is a network namespace; every node
/// runs a dunlin of its own. Nothing outside these namespaces is touched, and Ctrl-C takes it all
/// down again. It runs as root, and without root where the system allows user namespaces.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct LabOptions {
    /// How many nodes the cluster has (1 to 64); they alternate between two subnets
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = count(64))]
    pub nodes: usize,

    /// How many pods run on each node (1 to 16)
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = count(16))]
    pub pods: usize,

    /// Give nodes and pods IPv6 addresses beside the IPv4 ones
    #[arg(long, value_name = "true|false", default_value_t = true, action = ArgAction::Set)]
    pub ipv6: bool,

    /// Who peers with whom
    #[arg(long, value_enum, default_value_t = Topology::Mesh)]
    pub topology: Topology,

    /// How many routers each rack has, with `--topology tor` (1 or 2)
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = count(2))]
    pub tors: usize,

    /// What plays the racks' routers, with `--topology tor`
    #[arg(long, value_enum, default_value_t = TorSoftware::Auto)]
    pub tor_software: TorSoftware,

    /// How pods' packets travel between nodes
    #[arg(long, value_enum, default_value_t = Encapsulation::None)]
    pub encapsulation: Encapsulation,

    /// Where the nodes' routes come from: from BGP sessions, or from the cluster file alone
    #[arg(long, value_enum, default_value_t = Backend::Bgp)]
    pub backend: Backend,

    /// Build it, wait until every pod reaches every other pod, take it down; exit with 0 only if
    /// they all did
    #[arg(long)]
    pub check: bool,

    /// Leave the cluster running when the lab ends, to look around in it; `dunlin lab --clean`
    /// removes it (needs root)
    #[arg(long)]
    pub keep: bool,

    /// Only remove what an earlier lab left behind, then stop
    #[arg(long, conflicts_with_all = ["check", "keep"])]
    pub clean: bool,

    /// How long to wait for all pods to reach each other [default: 60, and more if there are more
    /// than a hundred pods]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub timeout: Option<Duration>,

    /// Say each step while the cluster is built
    #[arg(long, short)]
    pub verbose: bool,

    /// Who installs the routes to the pods of other nodes (for debugging the lab itself)
    #[arg(long, value_enum, default_value_t = Routing::Dunlin, hide = true)]
    pub routing: Routing,

    /// What the names of the namespaces and of the state folder begin with
    #[arg(long, value_name = "NAME", default_value = "dunlin-lab", hide = true,
          value_parser = instance)]
    pub instance: String,
}

impl LabOptions {
    /// How long to wait: what was asked for, or what the number of pairs takes on a small machine.
    pub(super) fn deadline(&self) -> Duration {
        let pods = self.nodes * self.pods;
        let thousands = u64::try_from(pods * pods / 1000).unwrap_or(u64::MAX);
        let enough = Duration::from_secs(60) + Duration::from_millis(thousands * 200);
        self.timeout.unwrap_or(enough)
    }
}

impl Default for LabOptions {
    fn default() -> Self {
        Self {
            nodes: 4,
            pods: 2,
            ipv6: true,
            topology: Topology::Mesh,
            tors: 2,
            tor_software: TorSoftware::Auto,
            encapsulation: Encapsulation::None,
            backend: Backend::Bgp,
            check: false,
            keep: false,
            clean: false,
            timeout: None,
            verbose: false,
            routing: Routing::Dunlin,
            instance: "dunlin-lab".to_owned(),
        }
    }
}

/// Who peers with whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Topology {
    /// Every node with every other
    Mesh,
    /// Every node with two route reflectors, the mesh is off
    Reflector,
    /// Every node with the routers of its rack, an AS for each rack, the mesh is off
    Tor,
}

/// What plays the racks' routers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TorSoftware {
    /// BIRD where it is installed, else a dunlin
    Auto,
    /// BIRD 2
    Bird,
    /// A dunlin that takes and hands on everything
    Dunlin,
}

/// How pods' packets travel between nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Encapsulation {
    /// As they are: the router learns the pods' routes, too
    None,
    /// In IP, between all nodes
    Ipip,
    /// In IP, between the subnets only
    IpipCrossSubnet,
    /// In VXLAN, between all nodes
    Vxlan,
    /// In VXLAN, between the subnets only
    VxlanCrossSubnet,
}

impl Encapsulation {
    /// The line of a pool that asks for it.
    pub(super) const fn pool_key(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Ipip => "ipip-mode = \"Always\"\n",
            Self::IpipCrossSubnet => "ipip-mode = \"CrossSubnet\"\n",
            Self::Vxlan => "vxlan-mode = \"Always\"\n",
            Self::VxlanCrossSubnet => "vxlan-mode = \"CrossSubnet\"\n",
        }
    }

    /// The kernel's drivers that it takes: kind and module.
    pub(super) const fn drivers(self, ipv6: bool) -> &'static [(&'static str, &'static str)] {
        match (self, ipv6) {
            (Self::None, _) => &[],
            (Self::Ipip | Self::IpipCrossSubnet, false) => &[("ipip", "ipip")],
            (Self::Ipip | Self::IpipCrossSubnet, true) => {
                &[("ipip", "ipip"), ("ip6tnl", "ip6_tunnel")]
            }
            (Self::Vxlan | Self::VxlanCrossSubnet, _) => &[("vxlan", "vxlan")],
        }
    }
}

/// Where the nodes' routes come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Backend {
    /// From BGP sessions between all nodes
    Bgp,
    /// From the cluster file alone: no session, no listener
    Vxlan,
}

impl Backend {
    /// As dunlin.toml spells it.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Bgp => "bgp",
            Self::Vxlan => "vxlan",
        }
    }
}

/// Who installs the routes to the pods of other nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Routing {
    /// A `dunlin run` on every node and on the router.
    Dunlin,
    /// The lab itself, by static routes; no daemon is started.
    Static,
}

/// Enters a namespace, ties its life to the lab's and becomes another program there: `dunlin` itself
/// unless told otherwise.
///
/// Not for people: the lab starts its daemons through it, since a process can only enter a
/// namespace and ask to die with its parent by itself.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct InsideOptions {
    /// The namespace to enter, as a file such as /run/netns/NAME
    #[arg(long, value_name = "FILE")]
    pub namespace: PathBuf,

    /// The process to die with; without it the daemon outlives the lab
    #[arg(long, value_name = "PID")]
    pub parent: Option<i32>,

    /// The program to become; without it this one again
    #[arg(long, value_name = "FILE")]
    pub program: Option<PathBuf>,

    /// The arguments of the program inside
    #[arg(last = true, required = true, value_name = "ARGUMENTS")]
    pub arguments: Vec<OsString>,
}

fn count(most: u64) -> impl Fn(&str) -> Result<usize, String> + Clone + Send + Sync + 'static {
    move |text| match text.parse::<u64>() {
        Ok(n) if (1..=most).contains(&n) => usize::try_from(n).map_err(|error| error.to_string()),
        Ok(_) | Err(_) => Err(format!("expected a number from 1 to {most}")),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<u64>() {
        Ok(n) if (1..=86_400).contains(&n) => Ok(Duration::from_secs(n)),
        Ok(_) | Err(_) => Err("expected a number of seconds from 1 to 86400".to_owned()),
    }
}

fn instance(text: &str) -> Result<String, String> {
    let fits = (1..=40).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if fits {
        Ok(text.to_owned())
    } else {
        Err("expected 1 to 40 lower-case letters, digits or hyphens".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Lab {
        #[command(flatten)]
        options: LabOptions,
    }

    #[derive(Debug, Parser)]
    struct Inside {
        #[command(flatten)]
        options: InsideOptions,
    }

    #[test]
    fn without_arguments_the_defaults_hold() {
        assert_eq!(
            Lab::try_parse_from(["lab"]).unwrap().options,
            LabOptions::default()
        );
    }

    #[test]
    fn counts_outside_their_range_are_refused_with_the_range() {
        for bad in [
            ["--nodes", "0"],
            ["--nodes", "65"],
            ["--pods", "17"],
            ["--pods", "x"],
        ] {
            let error = Lab::try_parse_from(["lab", bad[0], bad[1]])
                .unwrap_err()
                .to_string();
            assert!(error.contains("expected a number from 1 to"), "{error}");
        }
        let most = Lab::try_parse_from(["lab", "--nodes", "64", "--pods", "16"])
            .unwrap()
            .options;
        assert_eq!((most.nodes, most.pods), (64, 16));
    }

    #[test]
    fn the_largest_cluster_is_given_more_time_unless_told_otherwise() {
        assert_eq!(LabOptions::default().deadline(), Duration::from_secs(60));
        let large = LabOptions {
            nodes: 64,
            pods: 16,
            ..LabOptions::default()
        };
        assert!(
            large.deadline() > Duration::from_secs(240),
            "{:?}",
            large.deadline()
        );
        let told = LabOptions {
            timeout: Some(Duration::from_secs(7)),
            ..large
        };
        assert_eq!(told.deadline(), Duration::from_secs(7));
    }

    #[test]
    fn an_instance_can_not_name_a_folder_elsewhere() {
        assert!(Lab::try_parse_from(["lab", "--instance", "../etc"]).is_err());
    }

    #[test]
    fn everything_after_two_hyphens_belongs_to_the_daemon_inside() {
        let inside = [
            "x",
            "--namespace",
            "/run/netns/a",
            "--",
            "run",
            "--config",
            "f",
        ];
        let options = Inside::try_parse_from(inside).unwrap().options;
        assert_eq!(options.arguments, ["run", "--config", "f"]);
        assert_eq!(options.parent, None);
    }
}
