//! The cluster on paper: names, addresses and blocks of every node, pod and fabric router.
//!
//! Pure: a function of the options. Nothing here touches the system. The numbers are made to be
//! read: pod 2 of node 3 is 10.244.3.2 and fd00:10:244:3::2, node 3 is 172.31.1.13. What dunlin is
//! told of it is in [`super::files`], what the ToRs are in [`super::tor`].

use core::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::options::{Backend, Encapsulation, LabOptions, Topology};
use super::tor::{self, TorPlan};
use crate::net::{Family, Prefix};

/// The address that every pod sends to first, on its own node.
pub(super) const POD_GATEWAY: [(IpAddr, u8); 2] = [
    (IpAddr::V4(Ipv4Addr::new(169, 254, 1, 1)), 32),
    (IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1)), 64),
];

/// The name of the node that joins the subnets.
pub(super) const ROUTER: &str = "router";

/// The name of the namespace that holds the bridges where ToRs join the subnets instead.
const SWITCH: &str = "switch";

/// The host number of a reflector on its subnet; nodes begin at 11.
const REFLECTOR_HOST: u8 = 5;
/// Reflectors are nodes with numbers behind those of all nodes with pods.
const REFLECTOR_NUMBERS: [usize; 2] = [201, 202];

/// An Ethernet address.
pub(super) type Mac = [u8; 6];

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

    pub(super) const fn number(self) -> u8 {
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
    pub(super) fn address(self, family: Family, host: u8) -> (IpAddr, u8) {
        address_on(self.number(), family, host)
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

/// The host number `host` of a family on the subnet of a number, with the prefix length.
pub(super) fn address_on(subnet: u8, family: Family, host: u8) -> (IpAddr, u8) {
    match family {
        Family::Ipv4 => (Ipv4Addr::new(172, 31, subnet, host).into(), 24),
        Family::Ipv6 => {
            let host = decimal_as_hex(usize::from(host));
            let subnet = u16::from(subnet);
            (
                Ipv6Addr::new(0xfd00, 0x31, subnet, 0, 0, 0, 0, host).into(),
                64,
            )
        }
    }
}

/// A node of the cluster: one with pods, or a reflector, which has no blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NodePlan {
    /// Counted from 1; each node has its own.
    pub(super) number: usize,
    /// As dunlin knows it: `node-1`, `reflector-1`.
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
    /// Who peers with whom.
    pub(super) topology: Topology,
    /// The namespace of the bridges, which is the router's unless ToRs join the subnets.
    pub(super) router_namespace: String,
    /// The nodes with pods, in order.
    pub(super) nodes: Vec<NodePlan>,
    /// The nodes that reflect; they have no pods.
    pub(super) reflectors: Vec<NodePlan>,
    /// The racks' routers.
    pub(super) tors: Vec<TorPlan>,
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
        let reflectors = match options.topology {
            Topology::Reflector => reflectors(instance, &families),
            Topology::Mesh | Topology::Tor => Vec::new(),
        };
        let tors = match options.topology {
            Topology::Tor => tor::tors(instance, &families, options.tors),
            Topology::Mesh | Topology::Reflector => Vec::new(),
        };
        let centre = if tors.is_empty() { ROUTER } else { SWITCH };
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
            topology: options.topology,
            router_namespace: format!("{instance}-{centre}"),
            families,
            nodes,
            reflectors,
            tors,
            pods,
            encapsulation: options.encapsulation,
            backend: options.backend,
        }
    }

    /// All nodes: those with pods, then the reflectors.
    pub(super) fn members(&self) -> impl Iterator<Item = &NodePlan> {
        self.nodes.iter().chain(&self.reflectors)
    }

    /// Every namespace, in the order in which to make them.
    pub(super) fn namespaces(&self) -> impl Iterator<Item = &str> {
        core::iter::once(self.router_namespace.as_str())
            .chain(self.tors.iter().map(|t| t.namespace.as_str()))
            .chain(self.members().map(|n| n.namespace.as_str()))
            .chain(self.pods.iter().map(|p| p.namespace.as_str()))
    }

    /// Whether the router is a node: packets that are wrapped between subnets need no routes there,
    /// and where there are ToRs there is no such router.
    pub(super) fn router_is_node(&self) -> bool {
        self.encapsulation == Encapsulation::None && self.tors.is_empty()
    }

    /// Every place where a dunlin of the cluster runs: its node name and its namespace; nodes with
    /// pods, reflectors, the router.
    pub(super) fn speakers(&self) -> impl Iterator<Item = (&str, &str)> {
        let router = self
            .router_is_node()
            .then_some((ROUTER, self.router_namespace.as_str()));
        self.members()
            .map(|n| (n.name.as_str(), n.namespace.as_str()))
            .chain(router)
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
    for kind in ["node-", "reflector-", "tor-a-", "tor-b-"] {
        if let Some(node) = rest.strip_prefix(kind) {
            return number(node);
        }
    }
    match rest
        .strip_prefix("pod-")
        .and_then(|pod| pod.split_once('-'))
    {
        Some((node, pod)) => number(node) && number(pod),
        None => rest == ROUTER || rest == SWITCH,
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

/// One on each subnet.
fn reflectors(instance: &str, families: &[Family]) -> Vec<NodePlan> {
    Subnet::ALL
        .into_iter()
        .zip(REFLECTOR_NUMBERS)
        .map(|(subnet, number)| {
            let name = format!("reflector-{}", subnet.number());
            NodePlan {
                number,
                namespace: format!("{instance}-{name}"),
                name,
                subnet,
                mac: [0x02, 0, 0, 1, 0, octet(number)],
                addresses: families
                    .iter()
                    .map(|f| subnet.address(*f, REFLECTOR_HOST))
                    .collect(),
                blocks: Vec::new(),
            }
        })
        .collect()
}

/// Where the pods' addresses of a family come from.
pub(super) fn pool(family: Family) -> &'static str {
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
    fn only_names_that_a_plan_makes_are_ours() {
        for topology in [Topology::Mesh, Topology::Reflector, Topology::Tor] {
            let plan = Plan::new(&LabOptions {
                topology,
                ..LabOptions::default()
            });
            for name in plan.namespaces() {
                assert!(is_ours("dunlin-lab", name), "{name}");
            }
        }
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
            "dunlin-lab-tor-c-1",
            "dunlin-lab-reflector-",
        ] {
            assert!(!is_ours("dunlin-lab", name), "{name}");
        }
    }
}
