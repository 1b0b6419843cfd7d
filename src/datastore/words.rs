//! One vocabulary in two spellings: kebab-case in TOML, Calico's camelCase in YAML.
//!
//! Each is made from the other by rule, never by a list of pairs.

use super::schema::kind_of;
use super::table::Schema;

/// Which of the two ways to write a cluster a text is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Words in kebab-case; an unknown one is a slip of the pen.
    Toml,
    /// Words in camelCase; an unknown one may be of a newer Calico, and is only warned of.
    Yaml,
}

impl Dialect {
    /// How people know the table.
    pub(crate) fn label(self, schema: &Schema) -> &'static str {
        match self {
            Self::Toml => schema.label,
            Self::Yaml => kind_of(schema.label),
        }
    }

    /// How the key is written.
    pub(crate) fn word(self, key: &str) -> String {
        match self {
            Self::Toml => key.to_owned(),
            Self::Yaml => camel(key),
        }
    }
}

/// A key in camelCase, the way Calico writes it: the other direction of [`kebab`].
pub(crate) fn camel(key: &str) -> String {
    const ABBREVIATIONS: [&str; 12] = [
        "as", "bgp", "id", "ip", "ipip", "mac", "mtu", "nat", "ttl", "v6", "vni", "vxlan",
    ];
    let mut out = String::with_capacity(key.len());
    for part in key.split('-') {
        let mut letters = part.chars();
        if out.is_empty() {
            out.push_str(part);
        } else if ABBREVIATIONS.contains(&part) {
            out.push_str(&part.to_ascii_uppercase());
        } else if part == "ips" {
            out.push_str("IPs");
        } else {
            out.extend(letters.next().map(|first| first.to_ascii_uppercase()));
            out.push_str(letters.as_str());
        }
    }
    out
}

/// `asNumber`, `peerIP`, `localASNumber` in kebab-case; kebab-case is left as it is.
///
/// A run of capitals is one word, its plural `s` and a digit behind it included
/// (`serviceClusterIPs`, `localWorkloadPeeringIPV4`, `sourceAddressIPv6`), but `V` and a digit
/// behind another abbreviation are a word of their own (`vxlanMTUV6`).
pub(crate) fn kebab(word: &str) -> String {
    let letters: Vec<char> = word.chars().collect();
    let mut out = String::with_capacity(word.len() + 4);
    for (at, letter) in letters.iter().enumerate() {
        let (before, after) = letters.split_at_checked(at).unwrap_or_default();
        if letter.is_ascii_uppercase() && starts_word(before, after) {
            out.push('-');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}

/// Whether a word starts with the capital that `after` starts with.
fn starts_word(before: &[char], after: &[char]) -> bool {
    match before.last() {
        Some(last) if last.is_ascii_lowercase() || last.is_ascii_digit() => true,
        Some(last) if last.is_ascii_uppercase() => match after {
            [_, 's'] => false,
            [_, 's', next, ..] if !next.is_ascii_lowercase() => false,
            [_, 'v', next, ..] if next.is_ascii_digit() => false,
            ['V', next, ..] if next.is_ascii_digit() => !before.ends_with(&['I', 'P']),
            [_, next, ..] => next.is_ascii_lowercase(),
            _ => false,
        },
        Some(_) | None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn camel_case_is_the_same_word_by_rule() {
        for (camel, expected) in [
            ("asNumber", "as-number"),
            ("peerIP", "peer-ip"),
            ("localASNumber", "local-as-number"),
            ("nodeToNodeMeshEnabled", "node-to-node-mesh-enabled"),
            ("ipv4Address", "ipv4-address"),
            ("routeReflectorClusterID", "route-reflector-cluster-id"),
            ("disableBGPExport", "disable-bgp-export"),
            ("IPPool", "ip-pool"),
            ("BGPPeer", "bgp-peer"),
            ("as-number", "as-number"),
            ("ipipMode", "ipip-mode"),
            ("vxlanMode", "vxlan-mode"),
            ("natOutgoing", "nat-outgoing"),
            ("ipipMTU", "ipip-mtu"),
            ("vxlanMTU", "vxlan-mtu"),
            ("vxlanMTUV6", "vxlan-mtu-v6"),
            ("vxlanPort", "vxlan-port"),
            ("vxlanVNI", "vxlan-vni"),
            ("ipipEnabled", "ipip-enabled"),
            ("natPortRange", "nat-port-range"),
            ("natOutgoingAddress", "nat-outgoing-address"),
            ("natOutgoingExclusions", "nat-outgoing-exclusions"),
            (
                "iptablesNATOutgoingInterfaceFilter",
                "iptables-nat-outgoing-interface-filter",
            ),
            ("featureDetectOverride", "feature-detect-override"),
            ("ipv4IPIPTunnelAddr", "ipv4-ipip-tunnel-addr"),
            ("ipv6IPIPTunnelAddr", "ipv6-ipip-tunnel-addr"),
            ("ipv4VXLANTunnelAddr", "ipv4-vxlan-tunnel-addr"),
            ("ipv6VXLANTunnelAddr", "ipv6-vxlan-tunnel-addr"),
            ("vxlanTunnelMACAddr", "vxlan-tunnel-mac-addr"),
            ("vxlanTunnelMACAddrV6", "vxlan-tunnel-mac-addr-v6"),
            ("internalIPs", "internal-ips"),
            ("serviceClusterIPs", "service-cluster-ips"),
            ("serviceLoadBalancerIPs", "service-load-balancer-ips"),
            ("localWorkloadPeeringIPV4", "local-workload-peering-ipv4"),
            ("numAllowedLocalASNumbers", "num-allowed-local-as-numbers"),
            (
                "allowIPIPPacketsFromWorkloads",
                "allow-ipip-packets-from-workloads",
            ),
            (
                "allowVXLANPacketsFromWorkloads",
                "allow-vxlan-packets-from-workloads",
            ),
            (
                "deviceRouteSourceAddressIPv6",
                "device-route-source-address-ipv6",
            ),
            ("IPPoolsAndHostIPs", "ip-pools-and-host-ips"),
            ("IPIPCrossSubnet", "ipip-cross-subnet"),
        ] {
            assert_eq!(kebab(camel), expected);
        }
    }

    #[test]
    fn every_key_has_one_spelling_in_each_case() {
        for (key, expected) in [
            ("as-number", "asNumber"),
            ("peer-ip", "peerIP"),
            ("local-as-number", "localASNumber"),
            ("vxlan-mtu-v6", "vxlanMTUV6"),
            ("ipv4-vxlan-tunnel-addr", "ipv4VXLANTunnelAddr"),
            ("ipv4-ipip-tunnel-addr", "ipv4IPIPTunnelAddr"),
            ("vxlan-tunnel-mac-addr-v6", "vxlanTunnelMACAddrV6"),
            ("route-reflector-cluster-id", "routeReflectorClusterID"),
            ("nat-outgoing", "natOutgoing"),
            ("ipip-mode", "ipipMode"),
            ("node-mesh-max-restart-time", "nodeMeshMaxRestartTime"),
            ("num-allowed-local-as-numbers", "numAllowedLocalASNumbers"),
            ("secret-key-ref", "secretKeyRef"),
            ("disable-bgp-export", "disableBGPExport"),
            ("export-v4", "exportV4"),
            ("import-v6", "importV6"),
            ("as-path-prefix", "asPathPrefix"),
            ("prepend-as-path", "prependASPath"),
            ("ttl-security", "ttlSecurity"),
        ] {
            assert_eq!(camel(key), expected);
        }
        use crate::datastore::schema::{
            BFD, BFD_AUTHENTICATION, BGP, FELIX, FILTER, NODE, OPERATION, PASSWORD, PEER, POOL,
            RULE, TCP_AO,
        };
        for schema in [
            &BFD,
            &BFD_AUTHENTICATION,
            &BGP,
            &FELIX,
            &FILTER,
            &NODE,
            &OPERATION,
            &PASSWORD,
            &PEER,
            &POOL,
            &RULE,
            &TCP_AO,
        ] {
            for lists in [schema.keys, schema.unsupported, schema.ignored] {
                for key in lists {
                    assert_eq!(kebab(&camel(key)), *key, "{}", camel(key));
                }
            }
        }
    }
}
