//! From the cluster's intent to what one node runs.
//!
//! Here are the plan's own words and what is not a session; `records` has sessions with whoever an
//! address, a range or a link names, `pairs` those between two nodes, `terms` what all of them share.
//! It decides nothing in time: a plan is what holds when all nodes have it.
//!
//! What always holds: a session's name depends on its record and its far end only, so none is renamed
//! because another came. A mesh session has the other node's name (`node-b`), a session of a
//! `peer-selector` or of a peering that the other end's record asks for `record/node-b`, and each of
//! these ends in `/v6` if it is the one over IPv6; whatever else has its record's name. A slash can't be in a node's
//! name.

mod pairs;
mod ranges;
mod records;
mod terms;

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnetwork::{Ipv4Network, Ipv6Network};

use super::fabric::Fabric;
use super::intent::{Families, Intent, Node, PeerRoutes, TtlRule};
use super::peering::{
    Authentication, BfdTerms, BindMode, PrefixAdvertisement, RestartTerms, RoleTerms,
};
use super::speakers::Speakers;
use crate::net::{Asn, Family, Prefix, RouterId};
use crate::policy::Filter;

/// How long the end that should be dialled waits before it dials by itself.
pub const LATE_DIAL: Duration = Duration::from_secs(30);
/// The hold time where nothing is configured (RFC 4271 §10 suggests it).
pub const DEFAULT_HOLD_TIME: u16 = 90;
/// The time between two tries to connect where nothing is configured.
pub const DEFAULT_CONNECT_RETRY: Duration = Duration::from_secs(5);
/// The restart time where nothing is configured.
pub const DEFAULT_RESTART_TIME: u16 = 120;
/// The port that is assigned to BGP.
pub const BGP_PORT: u16 = 179;

/// What one node runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The node.
    pub name: String,
    /// Its AS.
    pub asn: Asn,
    /// Its BGP Identifier.
    pub router_id: RouterId,
    /// Its address with mask; the next hop of the IPv4 routes that it originates.
    pub ipv4: Option<Ipv4Network>,
    /// Its address with mask; the next hop of the IPv6 routes that it originates.
    pub ipv6: Option<Ipv6Network>,
    /// The port that it listens on.
    pub listen_port: u16,
    /// Whether the cluster is a full mesh; false is a fabric (or reflectors) that carries pools.
    pub mesh: bool,
    /// Its sessions, sorted by name.
    pub peers: Vec<PlannedPeer>,
    /// What it announces as its own, sorted.
    pub originate: Vec<Prefix>,
    /// The pod blocks that live on it, sorted.
    pub own_blocks: Vec<Prefix>,
    /// Single addresses inside own blocks that the records give to other nodes, sorted.
    pub lent: Vec<Prefix>,
    /// The cluster's pools, disabled ones too, and blocks that have outlived theirs; sorted.
    pub pools: Vec<Prefix>,
    /// What packets between nodes are carried by.
    pub fabric: Arc<Fabric>,
    /// Its cluster id, if it is a route reflector (RFC 4456 §7).
    pub cluster_id: Option<RouterId>,
    /// Sessions with whoever turns up.
    pub templates: Vec<Template>,
    /// Peers and the gateways that they are reached through (`reachable-by`).
    pub gateways: Vec<(IpAddr, IpAddr)>,
    /// Communities of what goes out.
    pub advertisements: Vec<PrefixAdvertisement>,
    /// Nothing inside these is sent to any peer: pools with `disable-bgp-export`, sorted.
    pub unexported: Vec<Prefix>,
    /// The addresses that it listens on.
    pub bind: BindMode,
    /// Where the cluster's speakers listen.
    pub speakers: Arc<Speakers>,
    /// What was decided for want of a word: one line each.
    pub warnings: Vec<String>,
}

/// Sessions that are made when somebody turns up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// Who may turn up.
    pub from: TemplateSource,
    /// The session, but for its name's end and its address.
    pub peer: PlannedPeer,
}

/// Who a template is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplateSource {
    /// Whoever connects from here.
    Range(Prefix),
    /// The neighbour on this link.
    Link(String),
}

/// One session of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedPeer {
    /// Unique within the plan.
    pub name: String,
    /// Where it comes from.
    pub kind: PeerKind,
    /// The other end is a node of the cluster, by the records.
    pub is_node: bool,
    /// The other end.
    pub address: IpAddr,
    /// The port to dial.
    pub port: u16,
    /// The AS that the other end must claim.
    pub remote_asn: Asn,
    /// The AS that we claim.
    pub local_asn: Asn,
    /// The address to connect from; `None` leaves it to the kernel.
    pub source_address: Option<IpAddr>,
    /// How far away the other end may be.
    pub ttl: TtlRule,
    /// Who dials.
    pub dial: Dial,
    /// Whether it is taken down.
    pub shutdown: bool,
    /// The time between two tries to connect.
    pub connect_retry: Duration,
    /// How long the other end may take none of our messages; zero is for ever, `None` the RFC's own time.
    pub send_hold: Option<Duration>,
    /// What the OPEN says, and the timer that hangs on it.
    pub open: OpenTerms,
    /// Which routes come and go.
    pub policy: PeerRoutes,
    /// The filters, in order.
    pub filters: Vec<Arc<Filter>>,
    /// Whether we are its route reflector.
    pub client: bool,
    /// What protects the session.
    pub authentication: Authentication,
    /// How the far end is watched, if it is.
    pub bfd: Option<BfdTerms>,
    /// The link that it is on, where its address is a link-local one.
    pub interface: Option<String>,
}

/// Where a session comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeerKind {
    /// The node-to-node mesh.
    Mesh,
    /// A record of its own.
    Explicit,
}

/// Who dials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dial {
    /// We do, at once.
    Active,
    /// Never we.
    Passive,
    /// We do, if the other end has not after this time.
    After(Duration),
}

/// What our OPEN offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenTerms {
    /// Seconds; 0 is no timer.
    pub hold_time: u16,
    /// Seconds between KEEPALIVEs; `None` is a third of the negotiated hold time. Not on the wire.
    /// Where the other end negotiates less, the session takes a third of that if it is shorter.
    pub keepalive_time: Option<u16>,
    /// The families offered; at least one.
    pub families: Families,
    /// Whether there are capabilities in it at all (RFC 5492).
    pub capabilities: bool,
    /// Whether AS numbers of four octets are offered (RFC 6793).
    pub four_octet_as: bool,
    /// Whether extended messages are offered (RFC 8654).
    pub extended_messages: bool,
    /// What a restart of either end costs.
    pub restart: RestartTerms,
    /// Whether several paths of a prefix may be sent and taken (RFC 7911).
    pub add_path: bool,
    /// What we are to the peer, on eBGP (RFC 9234).
    pub role: RoleTerms,
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The intent has no such node.
    #[error("no node is named {name:?}{}", did_you_mean(nearest.as_deref()))]
    UnknownNode {
        /// Who was asked for.
        name: String,
        /// The most similar name that there is.
        nearest: Option<String>,
    },
    /// Two nodes of one name.
    #[error("two nodes are named {name:?}")]
    TwoNodesWithOneName {
        /// The name.
        name: String,
    },
    /// Two sessions of this node would have one name.
    #[error("two peers of node {node:?} are named {name:?}")]
    TwoPeersWithOneName {
        /// The node.
        node: String,
        /// The name.
        name: String,
    },
    /// Two records make this node peer with the same end twice.
    #[error("peers {first:?} and {second:?} of node {node:?} are both at {address} port {port}")]
    TwoPeersAtOneAddress {
        /// The node.
        node: String,
        /// One name.
        first: String,
        /// The other name.
        second: String,
        /// The shared address.
        address: IpAddr,
        /// The shared port.
        port: u16,
    },
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest
        .map(|name| format!("; did you mean {name:?}?"))
        .unwrap_or_default()
}

/// What the node `me` has to run for `intent` to come true.
pub fn plan(intent: &Intent, me: &str) -> Result<Plan, PlanError> {
    let node = find(intent, me)?;
    let candidates = pairs::Candidates::of(intent, node);
    let mut peers = records::sessions(intent, node, &candidates);
    let taken: BTreeSet<IpAddr> = peers.iter().map(|peer| peer.address).collect();
    let mut warnings = ranges::warnings(intent);
    peers.extend(pairs::sessions(&candidates, node, &taken, &mut warnings));
    peers.sort_by(|a, b| a.name.cmp(&b.name));
    refuse_duplicates(node, &peers)?;
    let own_blocks = sorted(node.blocks.iter().copied());
    let advertisements = node.prefix_advertisements.as_ref();
    let fabric = Fabric::new(intent);
    let lent = fabric.lent(&node.name, &own_blocks);
    let unexported = intent.pools.iter().filter(|pool| pool.disable_bgp_export);
    Ok(Plan {
        name: node.name.clone(),
        asn: terms::asn(intent, node),
        router_id: node.identifier(),
        ipv4: node.ipv4_address,
        ipv6: node.ipv6_address,
        listen_port: terms::listen_port(&intent.bgp, node),
        mesh: intent.bgp.node_to_node_mesh_enabled,
        peers,
        originate: own_blocks.clone(),
        own_blocks,
        lent,
        pools: sorted(fabric.pools.iter().map(|pool| pool.cidr)),
        fabric: Arc::new(fabric),
        cluster_id: node.route_reflector_cluster_id,
        templates: records::templates(intent, node, &candidates),
        gateways: records::gateways(node, &candidates),
        advertisements: advertisements
            .unwrap_or(&intent.bgp.prefix_advertisements)
            .clone(),
        unexported: sorted(unexported.map(|pool| pool.cidr)),
        bind: intent.bgp.bind_mode,
        speakers: Arc::new(Speakers::new(intent)),
        warnings,
    })
}

impl Plan {
    /// The addresses on this node's tunnel devices.
    pub fn tunnel_addresses(&self) -> Vec<IpAddr> {
        let me = self.fabric.node(&self.name);
        me.map_or_else(Vec::new, |me| me.ends().collect())
    }

    /// Whether an address is this node's: whoever speaks BGP there is beside us on it. Nodes that are at
    /// loopback addresses themselves, several on one host, are no more to each other than others are.
    pub fn is_here(&self, address: IpAddr) -> bool {
        let is_own = self.addresses().any(|own| own == address);
        is_own || (address.is_loopback() && !self.addresses().any(|own| own.is_loopback()))
    }

    /// This node's own addresses, one of each family at most.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let ipv4 = self.ipv4.map(|net| IpAddr::from(net.ip()));
        let ipv6 = self.ipv6.map(|net| IpAddr::from(net.ip()));
        ipv4.into_iter().chain(ipv6)
    }
}

fn find<'a>(intent: &'a Intent, me: &str) -> Result<&'a Node, PlanError> {
    let mut named = BTreeMap::new();
    for node in &intent.nodes {
        if named.insert(node.name.as_str(), node).is_some() {
            return Err(PlanError::TwoNodesWithOneName {
                name: node.name.clone(),
            });
        }
    }
    named
        .get(me)
        .copied()
        .ok_or_else(|| PlanError::UnknownNode {
            name: me.to_owned(),
            nearest: super::nearest(me, named.keys().copied()).map(str::to_owned),
        })
}

fn is_own(address: IpAddr, node: &Node) -> bool {
    Family::ALL
        .iter()
        .any(|family| node.address(*family) == Some(address))
}

fn sorted(prefixes: impl Iterator<Item = Prefix>) -> Vec<Prefix> {
    prefixes.collect::<BTreeSet<_>>().into_iter().collect()
}

fn refuse_duplicates(node: &Node, peers: &[PlannedPeer]) -> Result<(), PlanError> {
    let mut names = BTreeSet::new();
    let mut ends = BTreeMap::new();
    for peer in peers {
        if !names.insert(&peer.name) {
            let (node, name) = (node.name.clone(), peer.name.clone());
            return Err(PlanError::TwoPeersWithOneName { node, name });
        }
        if let Some(first) = ends.insert((peer.address, peer.port), &peer.name) {
            return Err(PlanError::TwoPeersAtOneAddress {
                node: node.name.clone(),
                first: first.clone(),
                second: peer.name.clone(),
                address: peer.address,
                port: peer.port,
            });
        }
    }
    Ok(())
}
