//! Pools that overlap the nodes' own network: what a plan can see of it.
//!
//! What becomes of single blocks there is decided on each host, which knows its links (`dataplane`).

use std::net::IpAddr;

use super::Intent;
use crate::net::{Family, Prefix};
use crate::topology::Pool;

/// So many nodes are named.
const NAMED: usize = 3;

/// A line for each pool with node addresses in it.
pub(super) fn warnings(intent: &Intent) -> Vec<String> {
    // They don't overlap: the one around an address is the last that begins before it.
    let mut pools: Vec<(&Pool, Vec<(&str, IpAddr)>)> =
        intent.pools.iter().map(|pool| (pool, Vec::new())).collect();
    pools.sort_by_key(|(pool, _)| pool.cidr);
    for node in &intent.nodes {
        for address in Family::ALL.into_iter().filter_map(|f| node.address(f)) {
            let after = pools.partition_point(|(pool, _)| pool.cidr <= Prefix::host(address));
            let around = after.checked_sub(1).and_then(|at| pools.get_mut(at));
            if let Some((_, inside)) = around.filter(|(pool, _)| pool.cidr.contains(address)) {
                inside.push((&node.name, address));
            }
        }
    }
    let lines = pools.into_iter().filter_map(|(pool, inside)| {
        let named = inside.iter().take(NAMED);
        let named: Vec<String> = named
            .map(|(name, address)| format!("{address} of {name}"))
            .collect();
        let more = match inside.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        (!inside.is_empty()).then(|| {
            format!(
                "pool {}: {} holds node addresses ({}{more}); a block with one of them is not routed, for it \
                 would cut off the nodes' own network: give pods a range of their own",
                pool.name,
                pool.cidr,
                named.join(", ")
            )
        })
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::super::plan;
    use super::*;
    use crate::topology::{Node, Pool, PoolMode};

    fn line(pool: &str, addresses: &[&str]) -> Vec<String> {
        let node = |(number, text): (usize, &&str)| {
            let (ipv4, ipv6) = if text.contains(':') {
                (None, Some(text.parse().unwrap()))
            } else {
                (Some(text.parse().unwrap()), None)
            };
            Node {
                name: format!("n{number}"),
                ipv4_address: ipv4,
                ipv6_address: ipv6,
                router_id: Some("9.9.9.9".parse().unwrap()),
                ..Node::default()
            }
        };
        let intent = Intent {
            nodes: addresses.iter().enumerate().map(node).collect(),
            pools: vec![Pool {
                name: "pods".into(),
                cidr: pool.parse().unwrap(),
                ipip_mode: PoolMode::Never,
                vxlan_mode: PoolMode::Never,
                nat_outgoing: false,
                disabled: false,
                disable_bgp_export: false,
            }],
            ..Intent::default()
        };
        plan(&intent, "n0").unwrap().warnings
    }

    #[test]
    fn a_pool_over_node_addresses_is_said() {
        let one = line("192.168.0.0/16", &["192.168.40.11/24"]);
        let [one] = one.as_slice() else {
            panic!("{one:?}")
        };
        assert!(
            one.starts_with(
                "pool pods: 192.168.0.0/16 holds node addresses (192.168.40.11 of n0); "
            )
        );
        let many = [
            "fd00::1/64",
            "fd00::2/64",
            "fd00::3/64",
            "fd00::4/64",
            "fd01::5/64",
        ];
        let many = line("fd00::/48", &many);
        assert!(many[0].contains("(fd00::1 of n0, fd00::2 of n1, fd00::3 of n2 and 1 more)"));
    }

    #[test]
    fn a_pool_inside_the_nodes_subnet_but_beside_them_is_fine() {
        let none: [String; 0] = [];
        assert_eq!(line("192.168.40.128/25", &["192.168.40.11/24"]), none);
        assert_eq!(line("10.244.0.0/16", &["192.168.40.11/24"]), none);
        assert_eq!(
            line("fd00:244::/48", &["192.168.40.11/24", "fd00::1/64"]),
            none
        );
    }
}
