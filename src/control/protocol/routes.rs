//! The tables, the kernel's routes, and why a packet goes where it goes.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::query::RoutesView;

/// A page of the tables.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub struct Routes {
    /// From where they are seen.
    pub view: RoutesView,
    /// Whose they are, or who was sent them; none for the tables.
    pub peer: Option<String>,
    /// The destinations; their order is the client's to make.
    pub routes: Vec<Route>,
    /// Ask again with this as `after`, if it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// One destination.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub struct Route {
    /// The prefix.
    pub prefix: String,
    /// Its paths, the best first.
    pub paths: Vec<Path>,
    /// Peers that have as many paths of it as are taken, and more routes than were taken.
    #[serde(default)]
    pub more_at: Vec<String>,
    /// Seconds since the paths in use became what they are, to a few seconds; none after two years.
    pub changed_ago_s: Option<u64>,
}

/// One path.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub struct Path {
    /// From which peer; `local` for own blocks.
    pub peer: String,
    /// Its path identifier (RFC 7911), as it came, or as it was sent; 0 without one.
    pub path_id: u32,
    /// Of what was sent: news of it is on its way to the peer, which may still have it otherwise.
    pub pending: bool,
    /// Whether it won.
    pub best: bool,
    /// Whether it is used beside the best (ECMP).
    pub multipath: bool,
    /// Whether it is kept over a restart of its peer and was not confirmed since (RFC 4724).
    pub stale: bool,
    /// By which rule it lost or why it is not a candidate: a word that never changes, none for the best one.
    pub reason: Option<String>,
    /// The same in words.
    pub reason_text: Option<String>,
    /// What let it in or kept it out (`filter`, `default` or why the default says no); nothing decides about own
    /// blocks.
    pub policy: Option<String>,
    /// The same in words: the filter's name and the rule, or the default.
    pub policy_text: Option<String>,
    /// Next hop.
    pub next_hop: Option<IpAddr>,
    /// AS_PATH in words.
    pub as_path: String,
    /// ORIGIN.
    pub origin: String,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// LOCAL_PREF.
    pub local_pref: Option<u32>,
    /// Communities, `65000:1`.
    pub communities: Vec<String>,
    /// Extended communities, hexadecimal.
    pub extended_communities: Vec<String>,
    /// Large communities, `65000:1:2`.
    pub large_communities: Vec<String>,
    /// ORIGINATOR_ID: who sent it to the first reflector.
    pub originator_id: Option<String>,
    /// CLUSTER_LIST: the reflectors' clusters that it passed, the last one first.
    pub cluster_list: Vec<String>,
}

/// Whether a peer is sent a route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub struct Export {
    /// Its name.
    pub peer: String,
    /// Whether it is.
    pub sent: bool,
    /// What decided: `filter`, `default`, `protocol`, or why the default says no.
    pub policy: String,
    /// The same in words: the filter's name and the rule, or the default.
    pub policy_text: String,
}

/// A page of what is in the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub struct Fib {
    /// The routes, by prefix.
    pub routes: Vec<FibRoute>,
    /// Ask again with this as `after`, if it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// One kernel route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub struct FibRoute {
    /// The prefix.
    pub prefix: String,
    /// What ought to be there, in the words of `ip route`; none if nothing.
    pub wanted: Option<String>,
    /// What is there.
    pub installed: Option<String>,
    /// `installed`, `pending`, `waiting`, `stale`, `unreachable`, `conflict`, `refused`, `fought` or `not_ours`.
    pub state: String,
    /// The same in words.
    pub state_text: String,
}

/// The way to one next hop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub struct Way {
    /// The next hop as the route has it.
    pub next_hop: IpAddr,
    /// `native`, `ipip`, `vxlan` or `none`.
    pub encapsulation: String,
    /// The tunnel device, if it is one.
    pub device: Option<String>,
    /// Where the kernel is to send it: the next hop itself, or the far end's tunnel address.
    pub via: Option<IpAddr>,
    /// Why: `outside_pools`, `no_encapsulation`, `always`, `same_subnet`, `other_subnet`, `not_a_node`,
    /// `no_node_address`, `no_vtep`, `tunnel_end` or `pool_gone`.
    pub reason: String,
    /// The same in words.
    pub reason_text: String,
    /// How the tunnel device does, if it is one: see the tunnel's own state.
    pub device_state: Option<String>,
    /// The same in words.
    pub device_state_text: Option<String>,
}

/// What the kernel does with a packet, by its own word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub struct KernelAnswer {
    /// Whose packet, if it is passed on; none is this host's own.
    pub from: Option<IpAddr>,
    /// The link that it comes in by, if it is passed on.
    pub arriving_link: Option<String>,
    /// `sent_on`, `local`, `blackhole`, `unreachable`, `prohibited`, `no_route`, `reverse_path` or `refused`.
    pub fate: String,
    /// The destination of the route that takes it; none if none does.
    pub prefix: Option<String>,
    /// Where that route sends it, in the words of `ip route`.
    pub way: Option<String>,
    /// The routing table of that route.
    pub table: Option<u32>,
    /// Its metric.
    pub metric: Option<u32>,
    /// Who made it, as a number (`RTPROT_*`).
    pub protocol: Option<u8>,
    /// The same with its name.
    pub owner: Option<String>,
    /// `as_wanted`, `pod`, `own_address`, `not_ours` and `not_known` are well; `nobody`, `more_specific`,
    /// `same_prefix`, `less_specific`, `other_prefix`, `other_table` and the fates are not.
    pub verdict: String,
    /// What is wrong with it, if anything.
    pub wrong: Option<String>,
}

/// Why packets to an address go where they go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub struct Explanation {
    /// What was asked about: an address, a prefix or a peer.
    pub asked: String,
    /// The address that was looked at: a prefix's first, a peer's own.
    pub address: IpAddr,
    /// The best match in the tables.
    pub prefix: Option<String>,
    /// The node whose block it is.
    pub node: Option<String>,
    /// The pool that it lies in.
    pub pool: Option<String>,
    /// All paths and by which rule each lost.
    pub paths: Vec<Path>,
    /// To which peers the best path goes, and why or why not.
    pub exports: Vec<Export>,
    /// The way to each next hop in use, and why that one.
    pub ways: Vec<Way>,
    /// What ought to be in the kernel.
    pub wanted: Option<String>,
    /// What really is.
    pub installed: Option<String>,
    /// What the kernel says of a packet to there: of this host's own, and of one that is passed on.
    pub kernel: Vec<KernelAnswer>,
    /// What is wrong; empty if nothing.
    pub problems: Vec<String>,
    /// All of it in a few lines.
    pub lines: Vec<String>,
}

impl Explanation {
    /// Whether there is no route to what was asked about: neither ours, nor for a peer the kernel's.
    pub fn is_of_nothing(&self) -> bool {
        let led_to = |answer: &KernelAnswer| matches!(answer.fate.as_str(), "sent_on" | "local");
        let is_address = self.asked.parse::<IpAddr>().is_ok() || self.asked.contains('/');
        self.prefix.is_none() && (is_address || !self.kernel.iter().any(led_to))
    }
}
