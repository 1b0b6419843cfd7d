//! From an old plan to a new one: which sessions come, go, change in place, or must restart.
//!
//! A session restarts only if its OPEN or its transport would differ; everything else applies to
//! a running session. Two nodes' plans are not compared: both are plans of one node.
//!
//! A session is known by its name; one whose name is gone, by its far end. So a mesh peer that becomes
//! a configured one, or a reflector's client, is the same session with other words.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::plan::{Plan, PlannedPeer};
use crate::net::Prefix;
use crate::policy::PolicyKind;

/// One step from an old plan to a new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerChange {
    /// A session that was not there.
    Add(PlannedPeer),
    /// A session that is no longer wanted, by its name.
    Remove(String),
    /// A session that stays, with other settings.
    Change {
        /// The name that it had.
        was: String,
        /// The new settings.
        peer: PlannedPeer,
        /// What differs, in the order of [`PeerField::ALL`]; never empty.
        fields: Vec<PeerField>,
    },
}

/// What a change of a setting means for a session that is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Impact {
    /// It applies in place.
    Soft,
    /// The OPEN or the transport carries it: the session has to start again.
    Bounce,
}

/// A setting of a session that can differ between two plans.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeerField {
    /// The node's BGP Identifier.
    RouterId,
    /// The other end's address.
    Address,
    /// The other end's port.
    Port,
    /// The other end's AS.
    RemoteAsn,
    /// Our AS.
    LocalAsn,
    /// The address to connect from.
    SourceAddress,
    /// The TTL rule.
    Ttl,
    /// The hold time.
    HoldTime,
    /// The families offered.
    Families,
    /// AS numbers of four octets.
    FourOctetAs,
    /// Extended messages.
    ExtendedMessages,
    /// Capabilities at all.
    Capabilities,
    /// What a restart costs.
    Restart,
    /// Several paths of a prefix.
    AddPath,
    /// What we are to the peer.
    Role,
    /// The link that it is on.
    Interface,
    /// With what kind of key, if any, the session is protected.
    Authentication,
    /// The key.
    Password,
    /// What it is called.
    Name,
    /// Mesh or explicit.
    Kind,
    /// Who dials.
    Dial,
    /// The time between two tries.
    ConnectRetry,
    /// Whether it is taken down.
    Shutdown,
    /// The time between KEEPALIVEs.
    KeepaliveTime,
    /// How long the other end may take none of our messages.
    SendHoldTime,
    /// The import policy.
    Import,
    /// The export policy.
    Export,
    /// The next hop of what is sent.
    NextHop,
    /// The prefix limit.
    Limit,
    /// How many paths of a prefix are sent.
    Paths,
    /// How often our own AS may be in a path.
    AllowedLocalAs,
    /// The filters.
    Filters,
    /// Whether we are its reflector.
    Client,
    /// Maintenance (RFC 8326).
    GracefulShutdown,
    /// How the other end is watched.
    Bfd,
    /// Whether paths must begin with the other end's AS.
    EnforceFirstAs,
    /// Pools, own blocks, own addresses, mesh, cluster id, what is never sent and what is sent with
    /// which communities: what policies look at.
    PolicyFacts,
}

impl PeerField {
    /// All, those that bounce a session first.
    pub const ALL: [Self; 37] = [
        Self::RouterId,
        Self::Address,
        Self::Port,
        Self::RemoteAsn,
        Self::LocalAsn,
        Self::SourceAddress,
        Self::Ttl,
        Self::HoldTime,
        Self::Families,
        Self::FourOctetAs,
        Self::ExtendedMessages,
        Self::Capabilities,
        Self::Restart,
        Self::AddPath,
        Self::Role,
        Self::Interface,
        Self::Authentication,
        Self::Password,
        Self::Name,
        Self::Kind,
        Self::Dial,
        Self::ConnectRetry,
        Self::Shutdown,
        Self::KeepaliveTime,
        Self::SendHoldTime,
        Self::Import,
        Self::Export,
        Self::NextHop,
        Self::Limit,
        Self::Paths,
        Self::AllowedLocalAs,
        Self::Filters,
        Self::Client,
        Self::GracefulShutdown,
        Self::Bfd,
        Self::EnforceFirstAs,
        Self::PolicyFacts,
    ];

    /// What a change of it means for a session that is up.
    pub const fn impact(self) -> Impact {
        match self {
            Self::RouterId
            | Self::Address
            | Self::Port
            | Self::RemoteAsn
            | Self::LocalAsn
            | Self::SourceAddress
            | Self::Ttl
            | Self::HoldTime
            | Self::Families
            | Self::FourOctetAs
            | Self::ExtendedMessages
            | Self::Capabilities
            | Self::Restart
            | Self::AddPath
            | Self::Role
            | Self::Interface
            | Self::Authentication => Impact::Bounce,
            Self::Name
            | Self::Kind
            | Self::Dial
            | Self::ConnectRetry
            | Self::Shutdown
            | Self::KeepaliveTime
            | Self::SendHoldTime
            | Self::Import
            | Self::Export
            | Self::Password
            | Self::NextHop
            | Self::Limit
            | Self::Paths
            | Self::AllowedLocalAs
            | Self::Filters
            | Self::Client
            | Self::GracefulShutdown
            | Self::Bfd
            | Self::EnforceFirstAs
            | Self::PolicyFacts => Impact::Soft,
        }
    }
}

impl PeerChange {
    /// The session that it is about, by the name that it had if it was there.
    pub fn name(&self) -> &str {
        match self {
            Self::Add(peer) => &peer.name,
            Self::Change { was, .. } => was,
            Self::Remove(name) => name,
        }
    }

    /// What it means for a session that is up; `None` for one that comes or goes.
    pub fn impact(&self) -> Option<Impact> {
        match self {
            Self::Add(_) | Self::Remove(_) => None,
            Self::Change { fields, .. } => fields.iter().map(|field| field.impact()).max(),
        }
    }
}

/// The steps from `old` to `new`, removals first, then by name.
pub fn diff(old: &Plan, new: &Plan) -> Vec<PeerChange> {
    let pairs = pairs(old, new);
    let stays: BTreeMap<&str, &PlannedPeer> = pairs
        .iter()
        .filter_map(|(was, _)| was.map(|was| (was.name.as_str(), was)))
        .collect();
    let gone = old.peers.iter().map(|peer| peer.name.as_str());
    let mut changes: Vec<PeerChange> = gone
        .filter(|name| !stays.contains_key(name))
        .map(|name| PeerChange::Remove(name.to_owned()))
        .collect();
    for (was, peer) in pairs {
        let Some(was) = was else {
            changes.push(PeerChange::Add(peer.clone()));
            continue;
        };
        let fields = differences((old, was), (new, peer));
        if !fields.is_empty() {
            changes.push(PeerChange::Change {
                was: was.name.clone(),
                peer: peer.clone(),
                fields,
            });
        }
    }
    changes
}

/// What differs between two states of one session, in the order of [`PeerField::ALL`].
pub fn differences(old: (&Plan, &PlannedPeer), new: (&Plan, &PlannedPeer)) -> Vec<PeerField> {
    let differs = |field: &PeerField| field.differs(old, new);
    PeerField::ALL.into_iter().filter(differs).collect()
}

/// Each new session with the one that it was.
fn pairs<'a>(old: &'a Plan, new: &'a Plan) -> Vec<(Option<&'a PlannedPeer>, &'a PlannedPeer)> {
    let mut had = by_name(old);
    let mut pairs: Vec<_> = by_name(new)
        .into_values()
        .map(|peer| (had.remove(peer.name.as_str()), peer))
        .collect();
    // Whoever is at the same port goes before another session of the same far end.
    for same_port in [true, false] {
        let mut left: BTreeMap<_, Vec<&PlannedPeer>> = BTreeMap::new();
        for peer in had.values().rev() {
            left.entry(far_end(peer, same_port)).or_default().push(peer);
        }
        for (was, peer) in pairs.iter_mut().filter(|(was, _)| was.is_none()) {
            let found = left.get_mut(&far_end(peer, same_port));
            if let Some(found) = found.and_then(Vec::pop) {
                had.remove(found.name.as_str());
                *was = Some(found);
            }
        }
    }
    pairs
}

fn far_end(peer: &PlannedPeer, port: bool) -> (IpAddr, Option<&str>, Option<u16>) {
    let interface = peer.interface.as_deref();
    (peer.address, interface, port.then_some(peer.port))
}

fn by_name(plan: &Plan) -> BTreeMap<&str, &PlannedPeer> {
    plan.peers
        .iter()
        .map(|peer| (peer.name.as_str(), peer))
        .collect()
}

impl PeerField {
    fn differs(self, (p, a): (&Plan, &PlannedPeer), (q, b): (&Plan, &PlannedPeer)) -> bool {
        match self {
            Self::RouterId => p.router_id != q.router_id,
            Self::Address => a.address != b.address,
            Self::Port => a.port != b.port,
            Self::RemoteAsn => a.remote_asn != b.remote_asn,
            Self::LocalAsn => a.local_asn != b.local_asn,
            Self::SourceAddress => a.source_address != b.source_address,
            Self::Ttl => a.ttl != b.ttl,
            Self::HoldTime => a.open.hold_time != b.open.hold_time,
            Self::Families => a.open.families != b.open.families,
            Self::FourOctetAs => a.open.four_octet_as != b.open.four_octet_as,
            Self::ExtendedMessages => a.open.extended_messages != b.open.extended_messages,
            Self::Capabilities => a.open.capabilities != b.open.capabilities,
            Self::Restart => a.open.restart != b.open.restart,
            Self::AddPath => a.open.add_path != b.open.add_path,
            Self::Role => a.open.role != b.open.role,
            Self::Interface => a.interface != b.interface,
            Self::Authentication => a.authentication.bounces_from(&b.authentication),
            Self::Password => {
                a.authentication != b.authentication
                    && !a.authentication.bounces_from(&b.authentication)
            }
            Self::Name => a.name != b.name,
            Self::Kind => (a.kind, a.is_node) != (b.kind, b.is_node),
            Self::Dial => a.dial != b.dial,
            Self::ConnectRetry => a.connect_retry != b.connect_retry,
            Self::Shutdown => a.shutdown != b.shutdown,
            Self::SendHoldTime => a.send_hold != b.send_hold,
            Self::KeepaliveTime => a.open.keepalive_time != b.open.keepalive_time,
            Self::Import => a.policy.import != b.policy.import,
            Self::Export => a.policy.export != b.policy.export,
            Self::NextHop => a.policy.next_hop != b.policy.next_hop,
            Self::Limit => a.policy.limit != b.policy.limit,
            Self::Paths => a.policy.paths != b.policy.paths,
            Self::AllowedLocalAs => a.policy.allowed_local_as != b.policy.allowed_local_as,
            Self::Filters => a.filters != b.filters,
            Self::Client => a.client != b.client,
            Self::GracefulShutdown => a.policy.graceful_shutdown != b.policy.graceful_shutdown,
            Self::Bfd => a.bfd != b.bfd,
            Self::EnforceFirstAs => a.policy.enforce_first_as != b.policy.enforce_first_as,
            Self::PolicyFacts => {
                let reflects = b.remote_asn == b.local_asn && p.cluster_id != q.cluster_id;
                reflects
                    || (&p.unexported, &p.advertisements) != (&q.unexported, &q.advertisements)
                    || reads_facts(b) && facts(p) != facts(q)
            }
        }
    }
}

fn reads_facts(peer: &PlannedPeer) -> bool {
    peer.policy.import == PolicyKind::Safe || peer.policy.export == PolicyKind::Safe
}

/// What may be about more than one prefix. Single addresses that come, go or are lent concern the routes
/// to themselves only, whoever carries the change out looks at those.
fn wider(blocks: &[Prefix]) -> Vec<Prefix> {
    let wider = |block: &&Prefix| !block.is_host();
    blocks.iter().filter(wider).copied().collect()
}

fn facts(plan: &Plan) -> impl PartialEq + '_ {
    (
        &plan.pools,
        wider(&plan.own_blocks),
        plan.tunnel_addresses(),
        plan.ipv4,
        plan.ipv6,
        plan.asn,
        plan.mesh,
    )
}
impl core::fmt::Display for PeerField {
    /// The key in the configuration that people would look for.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::RouterId => "router-id",
            Self::Address | Self::Port => "peer-ip",
            Self::RemoteAsn => "as-number",
            Self::LocalAsn => "local-as-number",
            Self::SourceAddress => "source-address",
            Self::Ttl => "ttl",
            Self::HoldTime => "hold-time",
            Self::Families => "families",
            Self::FourOctetAs => "four-octet-as",
            Self::ExtendedMessages => "extended-messages",
            Self::Capabilities => "capabilities",
            Self::Restart => "max-restart-time",
            Self::AddPath => "add-path",
            Self::Role => "role",
            Self::Interface => "interface",
            Self::Authentication => "authentication",
            Self::Password => "password",
            Self::Name => "name",
            Self::Kind => "mesh or explicit",
            Self::Dial => "passive",
            Self::ConnectRetry => "connect-retry-time",
            Self::Shutdown => "shutdown",
            Self::SendHoldTime => "send-hold-time",
            Self::KeepaliveTime => "keepalive-time",
            Self::Import => "import",
            Self::Export => "export",
            Self::NextHop => "next-hop-mode",
            Self::Limit => "max-prefixes",
            Self::Paths => "add-path",
            Self::AllowedLocalAs => "num-allowed-local-as-numbers",
            Self::Filters => "filters",
            Self::Client => "route-reflector-client",
            Self::GracefulShutdown => "graceful-shutdown",
            Self::Bfd => "bfd",
            Self::EnforceFirstAs => "enforce-first-as",
            Self::PolicyFacts => "pools, blocks, addresses or cluster id",
        })
    }
}
