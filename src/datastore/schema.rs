//! The vocabulary of the cluster file: which table may hold which keys and words.
//!
//! The words are those of Calico's `projectcalico.org/v3` resources, and a few that they lack. A
//! key of theirs that this version can't honour is refused rather than passed over, except where
//! it could not change a route.

use toml::de::DeValue;

use super::table::Schema;
use crate::net::Role;
use crate::policy::{MatchOperator, PeerType, PolicyKind};
use crate::topology::{
    AoAlgorithm, BindMode, Families, LimitAction, NatExclusions, NextHopMode, PoolMode,
};

pub(crate) const FILE: Schema = Schema {
    label: "the cluster file",
    keys: &["bgp", "felix", "ip-pool", "node", "bgp-peer", "bgp-filter"],
    unsupported: &[],
    ignored: &[],
};

const SESSION_KEYS: [&str; 6] = [
    "hold-time",
    "keepalive-time",
    "connect-retry-time",
    "max-restart-time",
    "long-lived-stale-time",
    "send-hold-time",
];

pub(crate) const BGP: Schema = Schema {
    label: "[bgp]",
    keys: &[
        "as-number",
        "node-to-node-mesh-enabled",
        "listen-port",
        SESSION_KEYS[0],
        SESSION_KEYS[1],
        SESSION_KEYS[2],
        SESSION_KEYS[3],
        SESSION_KEYS[4],
        SESSION_KEYS[5],
        "communities",
        "prefix-advertisements",
        "node-mesh-password",
        "node-mesh-tcp-ao",
        "node-mesh-max-restart-time",
        "node-mesh-filters",
        "node-mesh-bfd",
        "bind-mode",
    ],
    unsupported: &[
        "service-cluster-ips",
        "service-external-ips",
        "service-load-balancer-ips",
        "service-load-balancer-aggregation",
        "local-workload-peering-ipv4",
        "local-workload-peering-ipv6",
        "program-cluster-routes",
        "ipv4-normal-route-priority",
        "ipv6-normal-route-priority",
    ],
    ignored: &["log-severity-screen", "ignored-interfaces"],
};

/// FelixConfiguration "default". What Felix does with policy, eBPF, health and logs is not dunlin's,
/// so those keys are read over.
pub(crate) const FELIX: Schema = Schema {
    label: "[felix]",
    keys: &[
        "ipip-enabled",
        "ipip-mtu",
        "vxlan-enabled",
        "vxlan-mtu",
        "vxlan-mtu-v6",
        "vxlan-port",
        "vxlan-vni",
        "nat-port-range",
        "nat-outgoing-address",
        "nat-outgoing-exclusions",
        "iptables-nat-outgoing-interface-filter",
        "allow-bgp-packets-from-workloads",
        "allow-ipip-packets-from-workloads",
        "allow-vxlan-packets-from-workloads",
        "feature-detect-override",
    ],
    unsupported: &[],
    ignored: super::felix::IGNORED,
};

pub(crate) const POOL: Schema = Schema {
    label: "[[ip-pool]]",
    keys: &[
        "name",
        "cidr",
        "ipip-mode",
        "vxlan-mode",
        "encapsulation",
        "nat-outgoing",
        "disabled",
        "disable-bgp-export",
    ],
    unsupported: &[],
    // They steer the allocation of blocks, which is not dunlin's.
    ignored: &[
        "block-size",
        "node-selector",
        "namespace-selector",
        "allowed-uses",
        "assignment-mode",
    ],
};

pub(crate) const NODE: Schema = Schema {
    label: "[[node]]",
    keys: &[
        "name",
        "ipv4-address",
        "ipv6-address",
        "as-number",
        "router-id",
        "listen-port",
        "route-reflector-cluster-id",
        "labels",
        "blocks",
        "ipv4-ipip-tunnel-addr",
        "ipv6-ipip-tunnel-addr",
        "ipv4-vxlan-tunnel-addr",
        "ipv6-vxlan-tunnel-addr",
        "vxlan-tunnel-mac-addr",
        "vxlan-tunnel-mac-addr-v6",
        "internal-ips",
        "prefix-advertisements",
    ],
    unsupported: &[],
    ignored: &[],
};

pub(crate) const PEER: Schema = Schema {
    label: "[[bgp-peer]]",
    keys: &[
        "name",
        "node",
        "node-selector",
        "peer-ip",
        "peer-selector",
        "peer-range",
        "interface",
        "as-number",
        "local-as-number",
        "passive",
        "shutdown",
        "source-address",
        "multihop",
        "ttl-security",
        "reachable-by",
        "families",
        "capabilities",
        "four-octet-as",
        "extended-messages",
        "add-path",
        "role",
        "role-strict",
        "import",
        "export",
        "filters",
        "next-hop-self",
        "next-hop-mode",
        "keep-original-next-hop",
        "max-prefixes",
        "max-prefixes-action",
        "num-allowed-local-as-numbers",
        "route-reflector-client",
        "graceful-shutdown",
        "enforce-first-as",
        "password",
        "tcp-ao",
        "bfd",
        "reverse-peering",
        SESSION_KEYS[0],
        SESSION_KEYS[1],
        SESSION_KEYS[2],
        SESSION_KEYS[3],
        SESSION_KEYS[4],
        SESSION_KEYS[5],
    ],
    unsupported: &["local-workload-selector"],
    ignored: &[],
};

pub(crate) const BFD: Schema = Schema {
    label: "\"bfd\"",
    keys: &[
        "min-transmit",
        "min-receive",
        "multiplier",
        "min-ttl",
        "authentication",
    ],
    unsupported: &[],
    ignored: &[],
};

pub(crate) const BFD_AUTHENTICATION: Schema = Schema {
    label: "\"authentication\"",
    keys: &["id", "algorithm", "file", "secret-key-ref"],
    unsupported: &[],
    ignored: &[],
};

pub(crate) const PASSWORD: Schema = Schema {
    label: "\"password\"",
    keys: &["file", "secret-key-ref"],
    unsupported: &[],
    ignored: &[],
};

pub(crate) const TCP_AO: Schema = Schema {
    label: "\"tcp-ao\"",
    keys: &["id", "algorithm", "file", "secret-key-ref"],
    unsupported: &[],
    ignored: &[],
};

pub(crate) const SECRET_KEY_REF: Schema = Schema {
    label: "\"secret-key-ref\"",
    keys: &["name", "key"],
    unsupported: &[],
    // A secret that is not there is a warning in any case.
    ignored: &["optional"],
};

pub(crate) const COMMUNITY: Schema = Schema {
    label: "\"communities\"",
    keys: &["name", "value"],
    unsupported: &[],
    ignored: &[],
};

pub(crate) const ADVERTISEMENT: Schema = Schema {
    label: "\"prefix-advertisements\"",
    keys: &["cidr", "communities"],
    unsupported: &[],
    ignored: &[],
};

pub(crate) const FILTER: Schema = Schema {
    label: "[[bgp-filter]]",
    keys: &["name", "import-v4", "import-v6", "export-v4", "export-v6"],
    unsupported: &[],
    ignored: &[],
};

pub(crate) const RULE: Schema = Schema {
    label: "a rule of [[bgp-filter]]",
    keys: &[
        "cidr",
        "match-operator",
        "prefix-length",
        "source",
        "interface",
        "peer-type",
        "communities",
        "as-path-prefix",
        "priority",
        "action",
        "operations",
    ],
    unsupported: &[],
    ignored: &[],
};

pub(crate) const PREFIX_LENGTH: Schema = Schema {
    label: "\"prefix-length\"",
    keys: &["min", "max"],
    unsupported: &[],
    ignored: &[],
};

pub(crate) const VALUES: Schema = Schema {
    label: "\"communities\" of a rule",
    keys: &["values"],
    unsupported: &[],
    ignored: &[],
};

pub(crate) const OPERATION: Schema = Schema {
    label: "\"operations\"",
    keys: &["add-community", "prepend-as-path", "set-priority"],
    unsupported: &[],
    ignored: &[],
};

pub(crate) const ADD_COMMUNITY: Schema = Schema {
    label: "\"add-community\"",
    keys: &["value"],
    unsupported: &[],
    ignored: &[],
};

pub(crate) const SET_PRIORITY: Schema = Schema {
    label: "\"set-priority\"",
    keys: &["value"],
    unsupported: &[],
    ignored: &[],
};

pub(crate) const PREPEND_AS_PATH: Schema = Schema {
    label: "\"prepend-as-path\"",
    keys: &["prefix"],
    unsupported: &[],
    ignored: &[],
};

/// A BGPConfiguration of one node, which only YAML has.
pub(crate) const NODE_BGP: Schema = Schema {
    label: "BGPConfiguration of a node",
    keys: &["name", "listen-port", "prefix-advertisements"],
    unsupported: &["communities"],
    ignored: &["log-severity-screen"],
};

/// The node that a block belongs to.
pub(crate) const AFFINITY: Schema = Schema {
    label: "BlockAffinity",
    keys: &["name", "node", "cidr", "state", "type", "deleted"],
    unsupported: &[],
    ignored: &[],
};

/// A block with its addresses; those are lists that `ipam` reads itself.
pub(crate) const BLOCK: Schema = Schema {
    label: "IPAMBlock",
    keys: &["name", "cidr", "affinity", "deleted"],
    unsupported: &[],
    ignored: &[
        "affinity-claim-time",
        "sequence-number",
        "sequence-number-for-allocation",
        "strict-affinity",
    ],
};

pub(crate) const MODES: &[(&str, PoolMode)] = &[
    ("Never", PoolMode::Never),
    ("Always", PoolMode::Always),
    ("CrossSubnet", PoolMode::CrossSubnet),
];
/// The Calico operator's one word for both modes: IP-in-IP, then VXLAN.
pub(crate) const ENCAPSULATIONS: &[(&str, (PoolMode, PoolMode))] = &[
    ("None", (PoolMode::Never, PoolMode::Never)),
    ("IPIP", (PoolMode::Always, PoolMode::Never)),
    ("IPIPCrossSubnet", (PoolMode::CrossSubnet, PoolMode::Never)),
    ("VXLAN", (PoolMode::Never, PoolMode::Always)),
    ("VXLANCrossSubnet", (PoolMode::Never, PoolMode::CrossSubnet)),
];
pub(crate) const EXCLUSIONS: &[(&str, NatExclusions)] = &[
    ("IPPoolsOnly", NatExclusions::IpPoolsOnly),
    ("IPPoolsAndHostIPs", NatExclusions::IpPoolsAndHostIps),
];
pub(crate) const POLICIES: &[(&str, PolicyKind)] = &[
    ("safe", PolicyKind::Safe),
    ("accept-all", PolicyKind::AcceptAll),
    ("none", PolicyKind::RejectAll),
];
pub(crate) const FAMILIES: &[(&str, Families)] = &[
    (
        "ipv4",
        Families {
            ipv4: true,
            ipv6: false,
        },
    ),
    (
        "ipv6",
        Families {
            ipv4: false,
            ipv6: true,
        },
    ),
];

pub(crate) const NEXT_HOPS: &[(&str, NextHopMode)] = &[
    ("Auto", NextHopMode::Auto),
    ("Self", NextHopMode::Own),
    ("Keep", NextHopMode::Keep),
];
pub(crate) const ROLES: &[(&str, Role)] = &[
    ("provider", Role::Provider),
    ("customer", Role::Customer),
    ("peer", Role::Peer),
    ("rs-server", Role::RouteServer),
    ("rs-client", Role::RouteServerClient),
];

pub(crate) const LIMIT_ACTIONS: &[(&str, LimitAction)] = &[
    ("restart", LimitAction::Restart),
    ("stop", LimitAction::Stop),
    ("discard", LimitAction::Discard),
    ("warn", LimitAction::Warn),
];
/// Whether the other end gets the mirrored peering by itself.
pub(crate) const REVERSE: &[(&str, bool)] = &[("Auto", true), ("Manual", false)];
pub(crate) const BIND_MODES: &[(&str, BindMode)] =
    &[("None", BindMode::All), ("NodeIP", BindMode::NodeIp)];
pub(crate) const AO_ALGORITHMS: &[(&str, AoAlgorithm)] = &[
    ("hmac-sha-1", AoAlgorithm::HmacSha1),
    ("aes-128-cmac", AoAlgorithm::AesCmac),
    ("hmac-sha-256", AoAlgorithm::HmacSha256),
];
/// Whether it is meticulous.
pub(crate) const BFD_ALGORITHMS: &[(&str, bool)] =
    &[("meticulous-keyed-sha1", true), ("keyed-sha1", false)];
pub(crate) const OPERATORS: &[(&str, MatchOperator)] = &[
    ("Equal", MatchOperator::Equal),
    ("NotEqual", MatchOperator::NotEqual),
    ("In", MatchOperator::In),
    ("NotIn", MatchOperator::NotIn),
];
pub(crate) const PEER_TYPES: &[(&str, PeerType)] =
    &[("eBGP", PeerType::Ebgp), ("iBGP", PeerType::Ibgp)];
/// Whether a route has to come from a peer.
pub(crate) const SOURCES: &[(&str, bool)] = &[("RemotePeers", true)];
/// Whether a route passes.
pub(crate) const ACTIONS: &[(&str, bool)] = &[("Accept", true), ("Reject", false)];

/// What keys that can't be honoured are by default: written out, it asks for nothing.
const DEFAULTS: &[(&str, &str)] = &[
    ("service-load-balancer-aggregation", "Enabled"),
    ("ipv4-normal-route-priority", "1024"),
    ("ipv6-normal-route-priority", "1024"),
];

/// Whether a key that can't be honoured has a value that asks for nothing.
pub(crate) fn is_default(word: &str, value: &DeValue<'_>) -> bool {
    let default = DEFAULTS.iter().find(|(key, _)| *key == word);
    let is = |text: &str| default.is_some_and(|(_, default)| *default == text);
    match value {
        DeValue::Array(items) => items.is_empty(),
        DeValue::String(text) => is(text),
        DeValue::Integer(number) => is(number.as_str()),
        DeValue::Boolean(value) => is(&value.to_string()),
        DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Table(_) => false,
    }
}

/// The kind of resource that a table is.
pub(crate) fn kind_of(label: &'static str) -> &'static str {
    match label {
        "[bgp]" => "BGPConfiguration",
        "[felix]" => "FelixConfiguration",
        "[[ip-pool]]" => "IPPool",
        "[[node]]" => "Node",
        "[[bgp-peer]]" => "BGPPeer",
        "[[bgp-filter]]" => "BGPFilter",
        "a rule of [[bgp-filter]]" => "a rule of BGPFilter",
        "\"secret-key-ref\"" => "\"secretKeyRef\"",
        "\"prefix-advertisements\"" => "\"prefixAdvertisements\"",
        "\"prefix-length\"" => "\"prefixLength\"",
        "\"prepend-as-path\"" => "\"prependASPath\"",
        "\"add-community\"" => "\"addCommunity\"",
        "\"set-priority\"" => "\"setPriority\"",
        "\"tcp-ao\"" => "\"tcpAo\"",
        other => other,
    }
}
