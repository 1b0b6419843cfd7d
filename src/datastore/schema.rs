//! The vocabulary of the cluster file: which table may hold which keys and words.
//!
//! The words are those of Calico's `projectcalico.org/v3` resources, and a few that they lack. A
//! key of theirs that this version can't honour is refused rather than passed over, except where
//! it could not change a route.

use toml::de::DeValue;

use super::table::Schema;
use crate::policy::PolicyKind;
use crate::topology::{Families, NatExclusions, PoolMode};

pub(crate) const FILE: Schema = Schema {
    label: "the cluster file",
    keys: &["bgp", "felix", "ip-pool", "node", "bgp-peer"],
    unsupported: &["bgp-filter"],
    ignored: &[],
};

const SESSION_KEYS: [&str; 4] = [
    "hold-time",
    "keepalive-time",
    "connect-retry-time",
    "max-restart-time",
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
    ],
    unsupported: &[
        "service-cluster-ips",
        "service-external-ips",
        "service-load-balancer-ips",
        "service-load-balancer-aggregation",
        "communities",
        "prefix-advertisements",
        "node-mesh-password",
        "node-mesh-max-restart-time",
        "bind-mode",
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
    ],
    unsupported: &["disable-bgp-export"],
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
        "as-number",
        "local-as-number",
        "passive",
        "source-address",
        "multihop",
        "families",
        "four-octet-as",
        "extended-messages",
        "import",
        "export",
        "next-hop-self",
        "max-prefixes",
        "enforce-first-as",
        SESSION_KEYS[0],
        SESSION_KEYS[1],
        SESSION_KEYS[2],
        SESSION_KEYS[3],
    ],
    unsupported: &[
        "peer-selector",
        "keep-original-next-hop",
        "next-hop-mode",
        "password",
        "ttl-security",
        "num-allowed-local-as-numbers",
        "reachable-by",
        "filters",
        "local-workload-selector",
        "reverse-peering",
    ],
    ignored: &[],
};

/// A BGPConfiguration of one node, which only YAML has.
pub(crate) const NODE_BGP: Schema = Schema {
    label: "BGPConfiguration of a node",
    keys: &["name", "listen-port"],
    unsupported: &["prefix-advertisements", "communities"],
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

/// What keys that can't be honoured are by default: written out, it asks for nothing.
const DEFAULTS: &[(&str, &str)] = &[
    ("disable-bgp-export", "false"),
    ("keep-original-next-hop", "false"),
    ("next-hop-mode", "Auto"),
    ("reverse-peering", "Auto"),
    ("bind-mode", "None"),
    ("service-load-balancer-aggregation", "Enabled"),
    ("num-allowed-local-as-numbers", "0"),
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
        other => other,
    }
}
