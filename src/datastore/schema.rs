//! The vocabulary of the cluster file: which table may hold which keys and words.
//!
//! The words are those of Calico's `projectcalico.org/v3` resources, and a few that they lack. A
//! key of theirs that this version can't honour is refused rather than passed over, except where
//! it could not change a route.

use super::table::Schema;
use crate::topology::{Families, PolicyKind, PoolMode};

pub(crate) const FILE: Schema = Schema {
    label: "the cluster file",
    keys: &["bgp", "ip-pool", "node", "bgp-peer"],
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

pub(crate) const POOL: Schema = Schema {
    label: "[[ip-pool]]",
    keys: &[
        "name",
        "cidr",
        "ipip-mode",
        "vxlan-mode",
        "nat-outgoing",
        "disabled",
    ],
    unsupported: &["disable-bgp-export", "encapsulation"],
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

pub(crate) const MODES: &[(&str, PoolMode)] = &[
    ("Never", PoolMode::Never),
    ("Always", PoolMode::Always),
    ("CrossSubnet", PoolMode::CrossSubnet),
];
pub(crate) const POLICIES: &[(&str, PolicyKind)] = &[
    ("safe", PolicyKind::Safe),
    ("accept-all", PolicyKind::AcceptAll),
    ("none", PolicyKind::None),
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
