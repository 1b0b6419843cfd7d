//! The files of the lab's dunlins: the cluster that all nodes share, and what is one node's own.
//!
//! Pure: text out of the plan. The words are those of real clusters, so that what the lab runs can be
//! copied. The ToRs' own files are in [`super::tor`].

use core::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;

use super::options::Topology;
use super::plan::{NodePlan, Plan, ROUTER, Subnet, pool};
use super::tor;
use crate::net::Prefix;

/// The AS of every node, but of those below ToRs.
const AS_NUMBER: u32 = 64512;

/// The cluster id of both reflectors: clients of one are clients of the other.
const CLUSTER_ID: &str = "244.0.0.1";

/// What a node says of itself besides addresses and blocks, line by line.
type Extras<'a> = &'a [String];

impl Plan {
    /// The cluster file, the same for every node.
    pub(super) fn cluster_file(&self) -> String {
        let mut text = format!(
            "# Written by `dunlin lab`: the cluster, the same for every node.\n\
             [bgp]\nas-number = {AS_NUMBER}\n"
        );
        if self.topology != Topology::Mesh {
            text.push_str("node-to-node-mesh-enabled = false\n");
        }
        for family in &self.families {
            let _ = write!(text, "\n[[ip-pool]]\ncidr = \"{}\"\n", pool(*family));
            text.push_str(self.encapsulation.pool_key());
        }
        if self.router_is_node() {
            text.push_str("\n# Joins the two subnets; it has no pods and learns every block.");
            let addresses: Vec<_> = self
                .families
                .iter()
                .map(|f| Subnet::A.router_address(*f))
                .collect();
            write_node(&mut text, ROUTER, &addresses, &[], &[]);
        }
        for node in &self.reflectors {
            let reflects = [
                "labels = { route-reflector = \"true\" }".to_owned(),
                format!("route-reflector-cluster-id = \"{CLUSTER_ID}\""),
            ];
            write_node(&mut text, &node.name, &node.addresses, &[], &reflects);
        }
        for node in &self.nodes {
            let extras = self.of_rack(node);
            write_node(
                &mut text,
                &node.name,
                &node.addresses,
                &node.blocks,
                &extras,
            );
        }
        match self.topology {
            Topology::Mesh => {}
            Topology::Reflector => text.push_str(
                "\n# Every node peers with every reflector, the reflectors with each other.\n\
                 [[bgp-peer]]\nname = \"reflectors\"\n\
                 node-selector = \"all()\"\n\
                 peer-selector = \"route-reflector == 'true'\"\n",
            ),
            Topology::Tor => {
                for router in &self.tors {
                    router.write_records(&mut text);
                }
            }
        }
        text
    }

    /// What a node below ToRs says of its rack.
    fn of_rack(&self, node: &NodePlan) -> Vec<String> {
        if self.topology != Topology::Tor {
            return Vec::new();
        }
        vec![
            format!("as-number = {}", tor::as_number(node.subnet)),
            format!("labels = {{ rack = \"{}\" }}", tor::rack(node.subnet)),
        ]
    }

    /// The file of one node's own dunlin.
    pub(super) fn node_file(&self, name: &str, cluster: &Path, socket: &Path) -> String {
        own_file(name, self.backend.word(), cluster, socket)
    }
}

/// The user of the lab's daemons: the one whom files of nobody belong to, on every Linux.
pub(super) const ORDINARY: u32 = 65_534;

/// What makes a dunlin that root has started an ordinary user's.
pub(super) fn as_ordinary_user() -> String {
    format!("\n[process]\nuser = \"{ORDINARY}:{ORDINARY}\"\n")
}

/// The file of one dunlin: who it is, where its cluster file and its control socket are.
pub(super) fn own_file(name: &str, backend: &str, cluster: &Path, socket: &Path) -> String {
    format!(
        "# Written by `dunlin lab`: what is {name}'s own.\n\
         [node]\nname = \"{name}\"\n\n\
         [datastore]\nkind = \"file\"\npath = {}\n\n\
         [routing]\nbackend = \"{backend}\"\n\n\
         [control]\nsocket = {}\n",
        toml_string(cluster),
        toml_string(socket),
    )
}

/// A path as a TOML basic string.
pub(super) fn toml_string(path: &Path) -> String {
    let mut text = String::from('"');
    for c in path.to_string_lossy().chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(text, "\\u{:04x}", u32::from(c));
            }
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

/// A node's record.
pub(super) fn write_node(
    text: &mut String,
    name: &str,
    addresses: &[(IpAddr, u8)],
    blocks: &[Prefix],
    extras: Extras<'_>,
) {
    let _ = write!(text, "\n[[node]]\nname = \"{name}\"\n");
    for (address, len) in addresses {
        let key = if address.is_ipv4() {
            "ipv4-address"
        } else {
            "ipv6-address"
        };
        let _ = writeln!(text, "{key} = \"{address}/{len}\"");
    }
    for line in extras {
        let _ = writeln!(text, "{line}");
    }
    let blocks: Vec<String> = blocks.iter().map(|b| format!("\"{b}\"")).collect();
    let _ = writeln!(text, "blocks = [{}]", blocks.join(", "));
}

#[cfg(test)]
mod tests {
    use super::super::options::{Backend, Encapsulation, LabOptions};
    use super::*;

    #[test]
    fn the_files_are_toml_and_name_every_node() {
        let plan = Plan::new(&LabOptions {
            nodes: 3,
            ..LabOptions::default()
        });
        let cluster: toml::Table = plan.cluster_file().parse().unwrap();
        let nodes = cluster["node"].as_array().unwrap();
        let names: Vec<_> = nodes.iter().map(|n| n["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["router", "node-1", "node-2", "node-3"]);
        assert_eq!(nodes[0]["blocks"].as_array().unwrap().len(), 0);
        assert_eq!(nodes[2]["ipv4-address"].as_str(), Some("172.31.2.12/24"));
        assert_eq!(cluster["ip-pool"].as_array().unwrap().len(), 2);
        let file = plan.node_file("node-1", Path::new("/a \"b\"/c"), Path::new("/s"));
        let file: toml::Table = file.parse().unwrap();
        assert_eq!(file["datastore"]["path"].as_str(), Some("/a \"b\"/c"));
        assert_eq!(file["control"]["socket"].as_str(), Some("/s"));
    }

    #[test]
    fn without_ipv6_no_file_mentions_it() {
        let plan = Plan::new(&LabOptions {
            ipv6: false,
            ..LabOptions::default()
        });
        assert!(!plan.cluster_file().contains("fd00"));
        assert!(plan.pods.iter().all(|p| p.addresses.len() == 1));
    }

    #[test]
    fn a_router_of_wrapped_packets_is_no_node() {
        let plan = Plan::new(&LabOptions {
            encapsulation: Encapsulation::VxlanCrossSubnet,
            backend: Backend::Vxlan,
            ..LabOptions::default()
        });
        let cluster: toml::Table = plan.cluster_file().parse().unwrap();
        assert_eq!(cluster["node"].as_array().unwrap().len(), 4);
        let pools = cluster["ip-pool"].as_array().unwrap();
        assert!(
            pools
                .iter()
                .all(|p| p["vxlan-mode"].as_str() == Some("CrossSubnet"))
        );
        assert!(plan.speakers().all(|(name, _)| name != ROUTER));
        let file = plan.node_file("node-1", Path::new("/c"), Path::new("/s"));
        let file: toml::Table = file.parse().unwrap();
        assert_eq!(file["routing"]["backend"].as_str(), Some("vxlan"));
    }

    fn cluster_of(topology: Topology) -> toml::Table {
        let options = LabOptions {
            topology,
            ..LabOptions::default()
        };
        Plan::new(&options).cluster_file().parse().unwrap()
    }

    fn names(cluster: &toml::Table, kind: &str) -> Vec<String> {
        let records = cluster[kind].as_array().unwrap();
        let name = |record: &toml::Value| record["name"].as_str().unwrap().to_owned();
        records.iter().map(name).collect()
    }

    #[test]
    fn with_reflectors_the_mesh_is_off_and_one_record_makes_all_sessions() {
        let cluster = cluster_of(Topology::Reflector);
        assert_eq!(
            cluster["bgp"]["node-to-node-mesh-enabled"].as_bool(),
            Some(false)
        );
        assert_eq!(
            names(&cluster, "node"),
            [
                "router",
                "reflector-1",
                "reflector-2",
                "node-1",
                "node-2",
                "node-3",
                "node-4"
            ]
        );
        let reflector = &cluster["node"][1];
        assert_eq!(reflector["blocks"].as_array().unwrap().len(), 0);
        assert_eq!(
            reflector["route-reflector-cluster-id"],
            cluster["node"][2]["route-reflector-cluster-id"]
        );
        assert_eq!(names(&cluster, "bgp-peer"), ["reflectors"]);
    }

    #[test]
    fn below_tors_a_node_has_its_racks_as_and_its_racks_routers() {
        let cluster = cluster_of(Topology::Tor);
        assert_eq!(
            names(&cluster, "node"),
            ["node-1", "node-2", "node-3", "node-4"]
        );
        let nodes = cluster["node"].as_array().unwrap().iter();
        let numbers: Vec<_> = nodes
            .map(|n| n["as-number"].as_integer().unwrap())
            .collect();
        assert_eq!(numbers, [64601, 64602, 64601, 64602]);
        let peers = cluster["bgp-peer"].as_array().unwrap();
        assert_eq!(peers.len(), 2 * 2 * 2, "racks, ToRs, families");
        for peer in peers {
            let rack = peer["name"].as_str().unwrap().split('-').nth(1).unwrap();
            let wanted = format!("rack == '{rack}'");
            assert_eq!(peer["node-selector"].as_str(), Some(wanted.as_str()));
        }
    }
}
