//! From an old plan to a new one: which sessions come, go, change in place, or must restart.
//!
//! A session restarts only if its OPEN or its transport would differ; everything else applies to
//! a running session. Two nodes' plans are not compared: both are plans of one node.

use std::collections::BTreeMap;

use super::intent::PolicyKind;
use super::plan::{Plan, PlannedPeer};

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
    /// The restart time.
    RestartTime,
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
    /// Next hop self.
    NextHopSelf,
    /// The prefix limit.
    MaxPrefixes,
    /// Whether paths must begin with the other end's AS.
    EnforceFirstAs,
    /// Pools, own blocks, own addresses or mesh: what safe policies look at.
    PolicyFacts,
}

impl PeerField {
    /// All, those that bounce a session first.
    pub const ALL: [Self; 22] = [
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
        Self::RestartTime,
        Self::Kind,
        Self::Dial,
        Self::ConnectRetry,
        Self::KeepaliveTime,
        Self::Import,
        Self::Export,
        Self::NextHopSelf,
        Self::MaxPrefixes,
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
            | Self::RestartTime => Impact::Bounce,
            Self::Kind
            | Self::Dial
            | Self::ConnectRetry
            | Self::KeepaliveTime
            | Self::Import
            | Self::Export
            | Self::NextHopSelf
            | Self::MaxPrefixes
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
            Self::RestartTime => a.open.restart_time != b.open.restart_time,
            Self::Kind => a.kind != b.kind,
            Self::Dial => a.dial != b.dial,
            Self::ConnectRetry => a.connect_retry != b.connect_retry,
            Self::KeepaliveTime => a.open.keepalive_time != b.open.keepalive_time,
            Self::Import => a.policy.import != b.policy.import,
            Self::Export => a.policy.export != b.policy.export,
            Self::NextHopSelf => a.policy.next_hop_self != b.policy.next_hop_self,
            Self::MaxPrefixes => a.policy.max_prefixes != b.policy.max_prefixes,
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
            Self::RestartTime => "max-restart-time",
            Self::Kind => "mesh or explicit",
            Self::Dial => "passive",
            Self::ConnectRetry => "connect-retry-time",
            Self::KeepaliveTime => "keepalive-time",
            Self::Import => "import",
            Self::Export => "export",
            Self::NextHopSelf => "next-hop-self",
            Self::MaxPrefixes => "max-prefixes",
            Self::EnforceFirstAs => "enforce-first-as",
            Self::PolicyFacts => "pools, blocks or addresses",
        })
    }
}
