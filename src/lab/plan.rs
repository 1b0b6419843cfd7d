//! The cluster on paper: names, addresses and blocks of every node and pod, and the files of dunlin.
//!
//! Pure: a function of the options. Nothing here touches the system. The numbers are made to be
//! read: pod 2 of node 3 is 10.244.3.2 and fd00:10:244:3::2, node 3 is 172.31.1.13.

use core::fmt::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use super::options::{Backend, Encapsulation, LabOptions};
use crate::net::{Family, Prefix};

/// The address that every pod sends to first, on its own node.
pub(super) const POD_GATEWAY: [(IpAddr, u8); 2] = [
    (IpAddr::V4(Ipv4Addr::new(169, 254, 1, 1)), 32),
    (IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1)), 64),
];

/// The name of the node that joins the subnets.
pub(super) const ROUTER: &str = "router";

/// An Ethernet address.
pub(super) type Mac = [u8; 6];

const AS_NUMBER: u32 = 64512;

/// One of the two networks that nodes are on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subnet {
    /// 172.31.1.0/24 and fd00:31:1::/64.
    A,
    /// 172.31.2.0/24 and fd00:31:2::/64.
    B,
}

impl Subnet {
    pub(super) const ALL: [Self; 2] = [Self::A, Self::B];

    const fn number(self) -> u8 {
        match self {
            Self::A => 1,
            Self::B => 2,
        }
    }

    /// The name of its bridge on the router.
    pub(super) const fn bridge(self) -> &'static str {
        match self {
            Self::A => "br-a",
            Self::B => "br-b",
        }
    }

    /// The host number `host` on it, of a family, with the prefix length.
    fn address(self, family: Family, host: u8) -> (IpAddr, u8) {
        match family {
            Family::Ipv4 => (Ipv4Addr::new(172, 31, self.number(), host).into(), 24),
            Family::Ipv6 => {
                let host = decimal_as_hex(usize::from(host));
                let subnet = u16::from(self.number());
                (
                    Ipv6Addr::new(0xfd00, 0x31, subnet, 0, 0, 0, 0, host).into(),
                    64,
                )
            }
        }
    }

    /// The router's Ethernet address on it.
    pub(super) const fn router_mac(self) -> Mac {
        [0x02, 0, 0, 0, 0, self.number()]
    }

    /// The router's address on it.
    pub(super) fn router_address(self, family: Family) -> (IpAddr, u8) {
        self.address(family, 1)
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "A",
            Self::B => "B",
        })
    }
}

/// A node with pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NodePlan {
    /// Counted from 1.
    pub(super) number: usize,
    /// As dunlin knows it: `node-1`.
    pub(super) name: String,
    /// `dunlin-lab-node-1`.
    pub(super) namespace: String,
    /// Where it is attached.
    pub(super) subnet: Subnet,
    /// Its Ethernet address there.
    pub(super) mac: Mac,
    /// Its addresses with the length of the subnet, by family.
    pub(super) addresses: Vec<(IpAddr, u8)>,
    /// The blocks that its pods are numbered from, by family.
    pub(super) blocks: Vec<Prefix>,
}

/// A pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PodPlan {
    /// The place of its node in [`Plan::nodes`].
    pub(super) node: usize,
    /// Its name, and that of its link on the node: `pod-1-2` is pod 2 of node 1.
    pub(super) name: String,
    /// `dunlin-lab-pod-1-2`.
    pub(super) namespace: String,
    /// The Ethernet address of its end of the link to its node.
    pub(super) mac: Mac,
    /// The Ethernet address of the node's end.
    pub(super) node_mac: Mac,
    /// Its addresses, by family.
    pub(super) addresses: Vec<IpAddr>,
}

/// The whole cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    /// What names begin with.
    pub(super) instance: String,
    /// The families in use.
    pub(super) families: Vec<Family>,
    /// The namespace of the router.
    pub(super) router_namespace: String,
    /// The nodes with pods, in order.
    pub(super) nodes: Vec<NodePlan>,
    /// The pods, those of one node side by side.
    pub(super) pods: Vec<PodPlan>,
    /// How pods' packets travel between nodes.
    pub(super) encapsulation: Encapsulation,
    /// Where the nodes' routes come from.
    pub(super) backend: Backend,
}

impl Plan {
    /// The plan that the options ask for.
    pub(super) fn new(options: &LabOptions) -> Self {
        let families: Vec<Family> = Family::ALL
            .into_iter()
            .filter(|f| options.ipv6 || *f == Family::Ipv4)
            .collect();
        let instance = options.instance.as_str();
        let nodes: Vec<NodePlan> = (1..=options.nodes)
            .map(|number| node(instance, &families, number))
            .collect();
        let pods = nodes
            .iter()
            .enumerate()
            .flat_map(|(place, node)| (1..=options.pods).map(move |pod| (place, node.number, pod)))
            .map(|(place, number, pod)| PodPlan {
                node: place,
                name: format!("pod-{number}-{pod}"),
                namespace: format!("{instance}-pod-{number}-{pod}"),
                mac: [0x02, 0, 0, 2, octet(number), octet(pod)],
                node_mac: [0x02, 0, 0, 3, octet(number), octet(pod)],
                addresses: families
                    .iter()
                    .map(|f| pod_address(*f, number, pod))
                    .collect(),
            })
            .collect();
        Self {
            instance: instance.to_owned(),
            router_namespace: format!("{instance}-{ROUTER}"),
            families,
            nodes,
            pods,
            encapsulation: options.encapsulation,
            backend: options.backend,
        }
    }

    /// Every namespace, in the order in which to make them.
    pub(super) fn namespaces(&self) -> impl Iterator<Item = &str> {
        core::iter::once(self.router_namespace.as_str())
            .chain(self.nodes.iter().map(|n| n.namespace.as_str()))
            .chain(self.pods.iter().map(|p| p.namespace.as_str()))
    }

    /// Whether the router is a node: packets that are wrapped between subnets need no routes there.
    pub(super) fn router_is_node(&self) -> bool {
        self.encapsulation == Encapsulation::None
    }

    /// Every place where a dunlin runs: its node name and its namespace; the router comes last.
    pub(super) fn speakers(&self) -> impl Iterator<Item = (&str, &str)> {
        let router = self
            .router_is_node()
            .then_some((ROUTER, self.router_namespace.as_str()));
        self.nodes
            .iter()
            .map(|n| (n.name.as_str(), n.namespace.as_str()))
            .chain(router)
    }

    /// The cluster file, the same for every node.
    pub(super) fn cluster_file(&self) -> String {
        let mut text = format!(
            "# Written by `dunlin lab`: the cluster, the same for every node.\n\
             [bgp]\nas-number = {AS_NUMBER}\n"
        );
        for family in &self.families {
            let _ = write!(text, "\n[[ip-pool]]\ncidr = \"{}\"\n", pool(*family));
            text.push_str(self.encapsulation.pool_key());
        }
        let addresses: Vec<_> = self
            .families
            .iter()
            .map(|f| Subnet::A.router_address(*f))
            .collect();
        if self.router_is_node() {
            text.push_str("\n# Joins the two subnets; it has no pods and learns every block.");
            write_node(&mut text, ROUTER, &addresses, &[]);
        }
        for node in &self.nodes {
            write_node(&mut text, &node.name, &node.addresses, &node.blocks);
        }
        text
    }

    /// The file of one node's own dunlin.
    pub(super) fn node_file(&self, name: &str, cluster: &Path, socket: &Path) -> String {
        let backend = self.backend.word();
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
}

/// Whether a namespace of this name belongs to the instance: exactly the names that plans make.
pub(super) fn is_ours(instance: &str, namespace: &str) -> bool {
    let Some(rest) = namespace
        .strip_prefix(instance)
        .and_then(|rest| rest.strip_prefix('-'))
    else {
        return false;
    };
    let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if let Some(node) = rest.strip_prefix("node-") {
        return number(node);
    }
    match rest
        .strip_prefix("pod-")
        .and_then(|pod| pod.split_once('-'))
    {
        Some((node, pod)) => number(node) && number(pod),
        None => rest == ROUTER,
    }
}

fn node(instance: &str, families: &[Family], number: usize) -> NodePlan {
    let subnet = if number % 2 == 1 {
        Subnet::A
    } else {
        Subnet::B
    };
    let host = octet(10 + number);
    NodePlan {
        number,
        name: format!("node-{number}"),
        namespace: format!("{instance}-node-{number}"),
        subnet,
        mac: [0x02, 0, 0, 1, 0, octet(number)],
        addresses: families.iter().map(|f| subnet.address(*f, host)).collect(),
        blocks: families.iter().map(|f| block(*f, number)).collect(),
    }
}

fn pool(family: Family) -> &'static str {
    match family {
        Family::Ipv4 => "10.244.0.0/16",
        Family::Ipv6 => "fd00:10:244::/48",
    }
}

/// The size of a block is Calico's: 64 addresses in either family.
fn block(family: Family, node: usize) -> Prefix {
    let len = match family {
        Family::Ipv4 => 26,
        Family::Ipv6 => 122,
    };
    Prefix::new(pod_address(family, node, 0), len)
}

fn pod_address(family: Family, node: usize, pod: usize) -> IpAddr {
    match family {
        Family::Ipv4 => Ipv4Addr::new(10, 244, octet(node), octet(pod)).into(),
        Family::Ipv6 => {
            let (node, pod) = (decimal_as_hex(node), decimal_as_hex(pod));
            Ipv6Addr::new(0xfd00, 0x10, 0x244, node, 0, 0, 0, pod).into()
        }
    }
}

/// Node and pod numbers are small by the limits of the options.
fn octet(n: usize) -> u8 {
    u8::try_from(n).unwrap_or(u8::MAX)
}

/// 12 becomes 0x12, so that an IPv6 address shows the same number as its IPv4 sibling.
fn decimal_as_hex(n: usize) -> u16 {
    u16::from_str_radix(&n.to_string(), 16).unwrap_or(u16::MAX)
}

/// A path as a TOML basic string.
fn toml_string(path: &Path) -> String {
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

fn write_node(text: &mut String, name: &str, addresses: &[(IpAddr, u8)], blocks: &[Prefix]) {
    let _ = write!(text, "\n[[node]]\nname = \"{name}\"\n");
    for (address, len) in addresses {
        let key = if address.is_ipv4() {
            "ipv4-address"
        } else {
            "ipv6-address"
        };
        let _ = writeln!(text, "{key} = \"{address}/{len}\"");
    }
    let blocks: Vec<String> = blocks.iter().map(|b| format!("\"{b}\"")).collect();
    let _ = writeln!(text, "blocks = [{}]", blocks.join(", "));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn largest() -> Plan {
        Plan::new(&LabOptions {
            nodes: 64,
            pods: 16,
            ..LabOptions::default()
        })
    }

    #[test]
    fn the_numbers_of_an_address_name_the_node_and_the_pod() {
        let plan = largest();
        let node = &plan.nodes[11];
        assert_eq!((node.name.as_str(), node.subnet), ("node-12", Subnet::B));
        assert_eq!(node.addresses[0].0.to_string(), "172.31.2.22");
        assert_eq!(node.addresses[1].0.to_string(), "fd00:31:2::22");
        let pod = plan.pods.iter().find(|p| p.name == "pod-12-3").unwrap();
        assert_eq!(pod.addresses[0].to_string(), "10.244.12.3");
        assert_eq!(pod.addresses[1].to_string(), "fd00:10:244:12::3");
    }

    #[test]
    fn in_the_largest_cluster_no_address_name_or_block_is_given_twice() {
        let plan = largest();
        let mut addresses: Vec<IpAddr> = plan
            .nodes
            .iter()
            .flat_map(|n| n.addresses.iter().map(|a| a.0))
            .collect();
        addresses.extend(plan.pods.iter().flat_map(|p| p.addresses.iter().copied()));
        let all = addresses.len();
        assert_eq!(all, 2 * (64 + 64 * 16));
        assert_eq!(addresses.into_iter().collect::<HashSet<_>>().len(), all);
        assert_eq!(
            plan.namespaces().collect::<HashSet<_>>().len(),
            1 + 64 + 64 * 16
        );
        let blocks: HashSet<Prefix> = plan.nodes.iter().flat_map(|n| n.blocks.clone()).collect();
        assert_eq!(blocks.len(), 128);
    }

    #[test]
    fn every_pod_lies_in_a_block_of_its_node_and_every_block_in_a_pool() {
        let plan = largest();
        for pod in &plan.pods {
            for address in &pod.addresses {
                assert!(
                    plan.nodes[pod.node]
                        .blocks
                        .iter()
                        .any(|b| b.contains(*address))
                );
            }
        }
        for block in plan.nodes.iter().flat_map(|n| &n.blocks) {
            let pool: Prefix = pool(block.family()).parse().unwrap();
            assert!(pool.covers(*block), "{block}");
        }
    }

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

    #[test]
    fn only_names_that_a_plan_makes_are_ours() {
        for name in largest().namespaces() {
            assert!(is_ours("dunlin-lab", name), "{name}");
        }
        for name in [
            "dunlin-lab-",
            "dunlin-lab-node-",
            "dunlin-lab-x-node-1",
            "my-node-1",
            "dunlin-lab-pod-1",
            "dunlin-labx-router",
            "dunlin-lab-node-1a",
        ] {
            assert!(!is_ours("dunlin-lab", name), "{name}");
        }
    }
}
