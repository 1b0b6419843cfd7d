//! From an old plan to a new one: which sessions come, go, change in place, or must restart.
//!
//! A session restarts only if its OPEN or its transport would differ; everything else applies to
//! a running session. Two nodes' plans are not compared: both are plans of one node.

use std::collections::BTreeMap;

use super::plan::{Plan, PlannedPeer};
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
    /// What a restart costs.
    Restart,
    /// Several paths of a prefix.
    AddPath,
    /// The link that it is on.
    Interface,
    /// With what kind of key, if any, the session is protected.
    Authentication,
    /// The key.
    Password,
    /// Mesh or explicit.
    Kind,
    /// Who dials.
    Dial,
    /// The time between two tries.
    ConnectRetry,
    /// The time between KEEPALIVEs.
    KeepaliveTime,
    /// The import policy.
    Import,
    /// The export policy.
    Export,
    /// The next hop of what is sent.
    NextHop,
    /// The prefix limit.
    Limit,
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
    /// Pools, own blocks, own addresses or mesh: what safe policies look at.
    PolicyFacts,
}

impl PeerField {
    /// All, those that bounce a session first.
    pub const ALL: [Self; 31] = [
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
        Self::Restart,
        Self::AddPath,
        Self::Interface,
        Self::Authentication,
        Self::Password,
        Self::Kind,
        Self::Dial,
        Self::ConnectRetry,
        Self::KeepaliveTime,
        Self::Import,
        Self::Export,
        Self::NextHop,
        Self::Limit,
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
            | Self::Restart
            | Self::AddPath
            | Self::Interface
            | Self::Authentication => Impact::Bounce,
            Self::Kind
            | Self::Dial
            | Self::ConnectRetry
            | Self::KeepaliveTime
            | Self::Import
            | Self::Export
            | Self::Password
            | Self::NextHop
            | Self::Limit
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
    /// The session that it is about.
    pub fn name(&self) -> &str {
        match self {
            Self::Add(peer) | Self::Change { peer, .. } => &peer.name,
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
    let had: BTreeMap<&str, &PlannedPeer> = by_name(old);
    let have: BTreeMap<&str, &PlannedPeer> = by_name(new);
    let gone = had.keys().filter(|name| !have.contains_key(*name));
    let mut changes: Vec<PeerChange> = gone
        .map(|name| PeerChange::Remove((*name).to_owned()))
        .collect();
    for (name, peer) in &have {
        let Some(before) = had.get(name) else {
            changes.push(PeerChange::Add((*peer).clone()));
            continue;
        };
        let differs = |field: &PeerField| field.differs((old, before), (new, peer));
        let fields: Vec<PeerField> = PeerField::ALL.into_iter().filter(differs).collect();
        if !fields.is_empty() {
            changes.push(PeerChange::Change {
                peer: (*peer).clone(),
                fields,
            });
        }
    }
    changes
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
            Self::Restart => a.open.restart != b.open.restart,
            Self::AddPath => a.open.add_path != b.open.add_path,
            Self::Interface => a.interface != b.interface,
            Self::Authentication => a.authentication.bounces_from(&b.authentication),
            Self::Password => {
                a.authentication != b.authentication
                    && !a.authentication.bounces_from(&b.authentication)
            }
            Self::Kind => a.kind != b.kind,
            Self::Dial => a.dial != b.dial,
            Self::ConnectRetry => a.connect_retry != b.connect_retry,
            Self::KeepaliveTime => a.open.keepalive_time != b.open.keepalive_time,
            Self::Import => a.policy.import != b.policy.import,
            Self::Export => a.policy.export != b.policy.export,
            Self::NextHop => a.policy.next_hop != b.policy.next_hop,
            Self::Limit => a.policy.limit != b.policy.limit,
            Self::AllowedLocalAs => a.policy.allowed_local_as != b.policy.allowed_local_as,
            Self::Filters => a.filters != b.filters,
            Self::Client => a.client != b.client,
            Self::GracefulShutdown => a.policy.graceful_shutdown != b.policy.graceful_shutdown,
            Self::Bfd => a.bfd != b.bfd,
            Self::EnforceFirstAs => a.policy.enforce_first_as != b.policy.enforce_first_as,
            Self::PolicyFacts => reads_facts(b) && facts(p) != facts(q),
        }
    }
}

fn reads_facts(peer: &PlannedPeer) -> bool {
    peer.policy.import == PolicyKind::Safe || peer.policy.export == PolicyKind::Safe
}

fn facts(plan: &Plan) -> impl PartialEq + '_ {
    (
        &plan.pools,
        &plan.own_blocks,
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
            Self::Restart => "max-restart-time",
            Self::AddPath => "add-path",
            Self::Interface => "interface",
            Self::Authentication => "authentication",
            Self::Password => "password",
            Self::Kind => "mesh or explicit",
            Self::Dial => "passive",
            Self::ConnectRetry => "connect-retry-time",
            Self::KeepaliveTime => "keepalive-time",
            Self::Import => "import",
            Self::Export => "export",
            Self::NextHop => "next-hop-mode",
            Self::Limit => "max-prefixes",
            Self::AllowedLocalAs => "num-allowed-local-as-numbers",
            Self::Filters => "filters",
            Self::Client => "route-reflector-client",
            Self::GracefulShutdown => "graceful-shutdown",
            Self::Bfd => "bfd",
            Self::EnforceFirstAs => "enforce-first-as",
            Self::PolicyFacts => "pools, blocks or addresses",
        })
    }
}
