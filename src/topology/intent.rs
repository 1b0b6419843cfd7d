//! The whole cluster as the operators want it: the answer of a datastore, the question of `plan`.
//!
//! Plain data with the defaults of a data centre. Nothing here is checked against anything else;
//! that two nodes don't share an address is for whoever assembles it to say, because only they
//! know the file and line.

use core::time::Duration;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnetwork::{Ipv4Network, Ipv6Network};

use super::Selector;
use super::felix::FelixSettings;
use super::peering::{
    Authentication, BfdTerms, BindMode, FarEnd, NextHopMode, PrefixAdvertisement, PrefixLimit,
    RoleTerms,
};
use crate::net::{Asn, Family, Mac, Prefix, RouterId};
use crate::policy::{Filter, PolicyKind};

/// The cluster, as wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Intent {
    /// What applies to every node unless a record says otherwise.
    pub bgp: BgpSettings,
    /// Where pod blocks may lie.
    pub pools: Vec<Pool>,
    /// The members of the cluster.
    pub nodes: Vec<Node>,
    /// Sessions besides the mesh.
    pub peers: Vec<Peer>,
    /// Filters, by their names.
    pub filters: BTreeMap<String, Arc<Filter>>,
    /// Tunnels and NAT.
    pub felix: FelixSettings,
}

/// Cluster-wide settings (Calico's BGPConfiguration "default").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BgpSettings {
    /// The AS of every node that names no other.
    pub as_number: Asn,
    /// Whether every node peers with every other.
    pub node_to_node_mesh_enabled: bool,
    /// The port that nodes listen on, and that they dial at other nodes.
    pub listen_port: u16,
    /// Timers of the mesh, and of peers that say nothing else.
    pub session: SessionSettings,
    /// What protects the sessions of the mesh.
    pub node_mesh_authentication: Authentication,
    /// The restart time of the sessions of the mesh where it differs from that of the others.
    pub node_mesh_max_restart_time: Option<u16>,
    /// Filters of the mesh's sessions, by their names, in order.
    pub node_mesh_filters: Vec<String>,
    /// How the mesh's far ends are watched, if they are.
    pub node_mesh_bfd: Option<BfdTerms>,
    /// Communities of what goes out.
    pub prefix_advertisements: Vec<PrefixAdvertisement>,
    /// The addresses that are listened on.
    pub bind_mode: BindMode,
}

impl Default for BgpSettings {
    fn default() -> Self {
        Self {
            as_number: Asn(64512),
            node_to_node_mesh_enabled: true,
            listen_port: 179,
            session: SessionSettings::default(),
            node_mesh_authentication: Authentication::default(),
            node_mesh_max_restart_time: None,
            node_mesh_filters: Vec::new(),
            node_mesh_bfd: None,
            prefix_advertisements: Vec::new(),
            bind_mode: BindMode::default(),
        }
    }
}

/// Timers that a peer, or else the cluster, may set; `None` falls through to the next.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SessionSettings {
    /// The hold time to offer, in seconds: 0 or at least 3 (RFC 4271 §4.2). Default 90.
    pub hold_time: Option<u16>,
    /// Seconds between KEEPALIVEs. Default: a third of the hold time in use.
    pub keepalive_time: Option<u16>,
    /// The time between two tries to connect. Default 5 s.
    pub connect_retry_time: Option<Duration>,
    /// The restart time to offer with graceful restart (RFC 4724 §3), at most 4095 s; 0 offers none.
    /// Default 120.
    pub max_restart_time: Option<u16>,
    /// How long routes stay after that as the last choice (RFC 9494), in seconds. Default 0: they do not.
    pub long_lived_stale_time: Option<u32>,
    /// How long the peer may take none of our messages (RFC 9687), in seconds; 0 is for ever. Default: 8
    /// minutes or twice the hold time, whichever is longer.
    pub send_hold_time: Option<u16>,
}

/// A range of pod addresses (Calico's IPPool).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// What people call it.
    pub name: String,
    /// The range.
    pub cidr: Prefix,
    /// When to wrap packets in IP-in-IP.
    pub ipip_mode: PoolMode,
    /// When to wrap packets in VXLAN.
    pub vxlan_mode: PoolMode,
    /// Whether traffic that leaves the pools is masqueraded.
    pub nat_outgoing: bool,
    /// No new blocks come from it; the blocks that there are stay routed.
    pub disabled: bool,
    /// Nothing inside it is sent to any peer.
    pub disable_bgp_export: bool,
}

/// When a pool's traffic is encapsulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PoolMode {
    /// Never: plain routing.
    #[default]
    Never,
    /// Between all nodes.
    Always,
    /// Between nodes on different subnets.
    CrossSubnet,
}

/// A member of the cluster (Calico's Node with its confirmed blocks).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Node {
    /// Its name, the key that everything else refers to.
    pub name: String,
    /// Its address and mask.
    pub ipv4_address: Option<Ipv4Network>,
    /// Its address and mask.
    pub ipv6_address: Option<Ipv6Network>,
    /// Its AS where it differs from the cluster's.
    pub as_number: Option<Asn>,
    /// Its BGP Identifier where it is not derived from the address.
    pub router_id: Option<RouterId>,
    /// Its port where it differs from the cluster's.
    pub listen_port: Option<u16>,
    /// The cluster id of a route reflector (RFC 4456 §7); a node that has one reflects.
    pub route_reflector_cluster_id: Option<RouterId>,
    /// What selectors look at.
    pub labels: BTreeMap<String, String>,
    /// The pod blocks that live on it.
    pub blocks: Vec<Prefix>,
    /// What its tunnel devices are known by, where it is on record.
    pub tunnels: TunnelAddresses,
    /// Addresses of its blocks that IPAM has given away, to pods or to other nodes, sorted. Known only where
    /// it matters: where an address of a tunnel device is not on record.
    pub given: Vec<IpAddr>,
    /// Its addresses as Kubernetes knows them (`InternalIP`).
    pub internal_ips: Vec<IpAddr>,
    /// Communities of what it sends, in place of the cluster's.
    pub prefix_advertisements: Option<Vec<PrefixAdvertisement>>,
}

/// What a node's tunnel devices are known by; without a record it is derived from its blocks and
/// its name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TunnelAddresses {
    /// Of `tunl0`.
    pub ipip_v4: Option<Ipv4Addr>,
    /// Of the IPv6 tunnel device.
    pub ipip_v6: Option<Ipv6Addr>,
    /// Of `vxlan.calico`.
    pub vxlan_v4: Option<Ipv4Addr>,
    /// Of `vxlan-v6.calico`.
    pub vxlan_v6: Option<Ipv6Addr>,
    /// The MAC of `vxlan.calico`.
    pub vxlan_mac_v4: Option<Mac>,
    /// The MAC of `vxlan-v6.calico`.
    pub vxlan_mac_v6: Option<Mac>,
}

/// A session besides the mesh (Calico's BGPPeer, and what it lacks).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// The nodes that have it.
    pub scope: PeerScope,
    /// The other end.
    pub far_end: FarEnd,
    /// The AS of the other end; none where the other end is a node, whose own counts.
    pub as_number: Option<Asn>,
    /// The AS that we claim to be, where it is not the node's own.
    pub local_as_number: Option<Asn>,
    /// Wait for the other end to connect.
    pub passive: bool,
    /// It is taken down until this is no longer said.
    pub shutdown: bool,
    /// The address that we connect from.
    pub source_address: SourceAddress,
    /// How far away the other end may be.
    pub ttl: TtlRule,
    /// Timers.
    pub session: SessionSettings,
    /// What the OPEN offers besides timers.
    pub capabilities: PeerCapabilities,
    /// Which routes come and go.
    pub routes: PeerRoutes,
    /// Filters, by their names, in order.
    pub filters: Vec<String>,
    /// What protects the session.
    pub authentication: Authentication,
    /// How the other end is watched, if it is.
    pub bfd: Option<BfdTerms>,
    /// The gateway through which the other end is reached.
    pub reachable_by: Option<IpAddr>,
    /// Whether nodes at the other end get the mirrored peering by themselves (`reverse-peering`).
    pub reverse: bool,
}

/// What the OPEN to a peer offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCapabilities {
    /// The address families; `None` is those that the node has an address of.
    pub families: Option<Families>,
    /// Offer capabilities at all (RFC 5492): without them a session has IPv4 routes and nothing else.
    pub any: bool,
    /// Offer AS numbers of four octets (RFC 6793).
    pub four_octet_as: bool,
    /// Offer messages of up to 65,535 octets (RFC 8654).
    pub extended_messages: bool,
    /// Offer to send and to take several paths of a prefix (RFC 7911); `None` is between nodes and
    /// reflectors only.
    pub add_path: Option<bool>,
    /// What we are to the peer (RFC 9234).
    pub role: RoleTerms,
}

impl Default for PeerCapabilities {
    fn default() -> Self {
        Self {
            families: None,
            any: true,
            four_octet_as: true,
            extended_messages: true,
            add_path: None,
            role: RoleTerms::default(),
        }
    }
}

/// Which routes come from a peer and go to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerRoutes {
    /// What is accepted.
    pub import: PolicyKind,
    /// What is sent.
    pub export: PolicyKind,
    /// The next hop of what is sent.
    pub next_hop: NextHopMode,
    /// How many prefixes may come.
    pub limit: PrefixLimit,
    /// So many times our own AS may be in a path (`num-allowed-local-as-numbers`).
    pub allowed_local_as: u8,
    /// With additional paths (RFC 7911) so many of a prefix are sent, the best first, however unequal; 0 is the
    /// best and its equals.
    pub paths: u8,
    /// The other end is a client of ours as a reflector; `None` is decided by what is known of it.
    pub client: Option<bool>,
    /// Routes go out and are taken as the last choice: maintenance (RFC 8326).
    pub graceful_shutdown: bool,
    /// A path of an eBGP peer must begin with the peer's AS (RFC 4271 §6.3). A route server hands on
    /// paths without its own AS (RFC 7947 §2.2.2.1), so it needs this off.
    pub enforce_first_as: bool,
}

impl Default for PeerRoutes {
    fn default() -> Self {
        Self {
            import: PolicyKind::default(),
            export: PolicyKind::default(),
            next_hop: NextHopMode::default(),
            limit: PrefixLimit::default(),
            allowed_local_as: 0,
            paths: 0,
            client: None,
            graceful_shutdown: false,
            enforce_first_as: true,
        }
    }
}

/// The nodes that a peer applies to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerScope {
    /// Every node.
    All,
    /// The node of this name.
    Node(String),
    /// Nodes whose labels match.
    Selector(Selector),
}

/// The other end of a peering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerAddress {
    /// Its address.
    pub address: IpAddr,
    /// Its port; `None` is 179, or the listen port where the address is a node's.
    pub port: Option<u16>,
}

/// The address that we connect from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SourceAddress {
    /// The node's address of the peer's family ("UseNodeIP").
    #[default]
    UseNodeIp,
    /// What the kernel's routes choose ("None").
    Kernel,
    /// This one.
    Address(IpAddr),
}

/// How far away the other end may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TtlRule {
    /// Anywhere: the kernel's own TTL.
    #[default]
    Any,
    /// On our subnet, by the records of both nodes: packets leave with TTL 255, and are asked for it of who has
    /// been seen to do the same. No word for it: it is what becomes of `Any`.
    Near,
    /// Packets leave with this TTL.
    Multihop(u8),
    /// Packets from more than this many hops away are dropped (RFC 5082).
    Security(u8),
}

/// A set of address families.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Families {
    /// IPv4 unicast.
    pub ipv4: bool,
    /// IPv6 unicast.
    pub ipv6: bool,
}

impl Families {
    /// Both.
    pub const BOTH: Self = Self {
        ipv4: true,
        ipv6: true,
    };

    /// Just `family`.
    pub const fn only(family: Family) -> Self {
        match family {
            Family::Ipv4 => Self {
                ipv4: true,
                ipv6: false,
            },
            Family::Ipv6 => Self {
                ipv4: false,
                ipv6: true,
            },
        }
    }

    /// Whether `family` is among them.
    pub const fn contains(self, family: Family) -> bool {
        match family {
            Family::Ipv4 => self.ipv4,
            Family::Ipv6 => self.ipv6,
        }
    }

    /// Those in the set, IPv4 first.
    pub fn iter(self) -> impl Iterator<Item = Family> {
        Family::ALL
            .into_iter()
            .filter(move |family| self.contains(*family))
    }
}

impl PeerScope {
    /// Whether a node has the peer.
    pub fn applies_to(&self, node: &Node) -> bool {
        match self {
            Self::All => true,
            Self::Node(name) => *name == node.name,
            Self::Selector(selector) => selector.matches(&node.labels),
        }
    }
}

impl Node {
    /// A node of that name with nothing else known.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ..Self::default()
        }
    }

    /// Its address of a family.
    pub fn address(&self, family: Family) -> Option<IpAddr> {
        match family {
            Family::Ipv4 => self.ipv4_address.map(|network| network.ip().into()),
            Family::Ipv6 => self.ipv6_address.map(|network| network.ip().into()),
        }
    }

    /// Its BGP Identifier: the configured one, or its IPv4 address, or a hash of its name.
    pub fn identifier(&self) -> RouterId {
        match (self.router_id, self.ipv4_address) {
            (Some(configured), _) => configured,
            (None, Some(network)) => network.ip().into(),
            (None, None) => RouterId::from_name(&self.name),
        }
    }
}

impl Peer {
    /// A peer of all nodes with every default.
    pub fn new(name: impl Into<String>, address: IpAddr, as_number: Asn) -> Self {
        Self {
            name: name.into(),
            scope: PeerScope::All,
            far_end: FarEnd::Address(PeerAddress {
                address,
                port: None,
            }),
            as_number: Some(as_number),
            local_as_number: None,
            passive: false,
            shutdown: false,
            source_address: SourceAddress::default(),
            ttl: TtlRule::default(),
            session: SessionSettings::default(),
            capabilities: PeerCapabilities::default(),
            routes: PeerRoutes::default(),
            filters: Vec::new(),
            authentication: Authentication::default(),
            bfd: None,
            reachable_by: None,
            reverse: true,
        }
    }
}
