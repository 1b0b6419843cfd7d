//! What a node's tunnel devices are known by: reading it, and telling two nodes' ends apart.

use std::collections::BTreeMap;

use super::problem::{Place, Problems};
use super::record::{Places, Record};
use super::scalar;
use super::table::TableReader;
use crate::net::{Family, Mac};
use crate::topology::{Node, TunnelAddresses, vtep_mac};

/// The keys of tunnel addresses.
pub(crate) const ADDRESSES: [&str; 4] = [
    "ipv4-ipip-tunnel-addr",
    "ipv6-ipip-tunnel-addr",
    "ipv4-vxlan-tunnel-addr",
    "ipv6-vxlan-tunnel-addr",
];
const MACS: [(Family, &str); 2] = [
    (Family::Ipv4, "vxlan-tunnel-mac-addr"),
    (Family::Ipv6, "vxlan-tunnel-mac-addr-v6"),
];

/// Reads a node's tunnel keys, and remembers their places.
pub(crate) fn read_tunnels(
    table: &TableReader<'_>,
    places: &mut Places,
    problems: &mut Problems,
) -> TunnelAddresses {
    let [ipip_v4, ipip_v6, vxlan_v4, vxlan_v6] = ADDRESSES;
    let [(_, mac_v4), (_, mac_v6)] = MACS;
    let mut v4 = |key| places.note(key, table.read(key, scalar::tunnel_ipv4, problems));
    let (ipip_v4, vxlan_v4) = (v4(ipip_v4), v4(vxlan_v4));
    let mut v6 = |key| places.note(key, table.read(key, scalar::tunnel_ipv6, problems));
    let (ipip_v6, vxlan_v6) = (v6(ipip_v6), v6(vxlan_v6));
    let mut mac = |key| places.note(key, table.read(key, scalar::mac, problems));
    TunnelAddresses {
        ipip_v4,
        ipip_v6,
        vxlan_v4,
        vxlan_v6,
        vxlan_mac_v4: mac(mac_v4),
        vxlan_mac_v6: mac(mac_v6),
    }
}

/// Two ends with one MAC would take each other's packets, be it on record or derived.
pub(crate) fn check_macs(nodes: &[Record<Node>], problems: &mut Problems) {
    for (family, key) in MACS {
        let mut owners: BTreeMap<Mac, (&str, &Place)> = BTreeMap::new();
        let recorded = |node: &Record<Node>| match family {
            Family::Ipv4 => node.value.tunnels.vxlan_mac_v4,
            Family::Ipv6 => node.value.tunnels.vxlan_mac_v6,
        };
        // Derived ones first: it is the record that is complained of.
        for node in nodes.iter().filter(|node| recorded(node).is_none()) {
            let name = node.value.name.as_str();
            owners.insert(vtep_mac(name, family), (name, node.at("name")));
        }
        for node in nodes {
            let (Some(mac), name, at) = (recorded(node), node.value.name.as_str(), node.at(key))
            else {
                continue;
            };
            if let Some((owner, place)) = owners.get(&mac).filter(|(owner, _)| *owner != name) {
                let message = format!("VTEP MAC {mac} is already {owner}'s, at {place}");
                problems.error(at, message);
            } else {
                owners.insert(mac, (name, at));
            }
        }
    }
}
