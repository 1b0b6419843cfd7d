//! Clusters of thousands in three topologies: who is what, who peers with whom.

use std::net::{IpAddr, Ipv4Addr};

use dunlin::net::{Asn, Prefix};
use dunlin::topology::{
    BgpSettings, FarEnd, Intent, Node, Peer, PeerScope, Pool, PoolMode, Selector,
};

/// Blocks of a node, each a /26.
pub(crate) const BLOCKS: usize = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Topology {
    /// Every node with every other.
    Mesh,
    /// Four nodes of one cluster id reflect for all.
    Reflectors,
    /// Reflectors in two levels.
    Hierarchy,
}

impl Topology {
    pub(crate) const ALL: [Self; 3] = [Self::Mesh, Self::Reflectors, Self::Hierarchy];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Mesh => "mesh",
            Self::Reflectors => "reflectors",
            Self::Hierarchy => "hierarchy",
        }
    }
}

/// How many nodes are what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) topology: Topology,
    /// All of them, reflectors among them.
    pub(crate) nodes: usize,
    /// Reflectors that all others, or those of the second level, are clients of.
    pub(crate) top: usize,
    pub(crate) second: usize,
}

impl Shape {
    pub(crate) const fn new(topology: Topology, nodes: usize) -> Self {
        let (top, second) = match topology {
            Topology::Mesh => (0, 0),
            Topology::Reflectors => (4, 0),
            Topology::Hierarchy if nodes > 1_000 => (4, 50),
            Topology::Hierarchy if nodes > 100 => (4, 10),
            Topology::Hierarchy => (2, 4),
        };
        Self {
            topology,
            nodes,
            top,
            second,
        }
    }

    /// What the node of this number is; numbers begin with 0, and reflectors have the first ones.
    pub(crate) const fn role(self, number: usize) -> &'static str {
        match self.topology {
            Topology::Reflectors if number < self.top => "reflector",
            Topology::Hierarchy if number < self.top => "top",
            Topology::Hierarchy if number < self.top + self.second => "second",
            _ => "node",
        }
    }

    pub(crate) const fn reflects(self, number: usize) -> bool {
        number < self.top + self.second
    }

    pub(crate) const fn roles(self) -> &'static [&'static str] {
        match self.topology {
            Topology::Mesh => &["node"],
            Topology::Reflectors => &["node", "reflector"],
            Topology::Hierarchy => &["node", "second", "top"],
        }
    }

    /// How many sessions there are in all.
    pub(crate) const fn sessions(self) -> u64 {
        let Self {
            nodes, top, second, ..
        } = self;
        let among_top = top * top.saturating_sub(1) / 2;
        let all = match self.topology {
            Topology::Mesh => nodes * (nodes - 1) / 2,
            Topology::Reflectors => (nodes - top) * top + among_top,
            Topology::Hierarchy => (nodes - top - second) * 2 + second * top + among_top,
        };
        all as u64
    }

    /// The cluster with `nodes` nodes, which may be more than the shape's own: some have joined.
    pub(crate) fn intent(self, nodes: usize) -> Intent {
        Intent {
            bgp: BgpSettings {
                as_number: Asn(64512),
                node_to_node_mesh_enabled: self.topology == Topology::Mesh,
                ..BgpSettings::default()
            },
            pools: vec![Pool {
                name: "pods".to_owned(),
                cidr: "10.128.0.0/9".parse().unwrap(),
                ipip_mode: PoolMode::Never,
                vxlan_mode: PoolMode::Never,
                nat_outgoing: false,
                disabled: false,
                disable_bgp_export: false,
            }],
            nodes: (0..nodes).map(|number| self.node(number)).collect(),
            peers: self.records(),
            ..Intent::default()
        }
    }

    fn node(self, number: usize) -> Node {
        let address = address(number);
        let mut node = Node {
            ipv4_address: Some(format!("{address}/16").parse().unwrap()),
            blocks: (0..BLOCKS).map(|i| block(number * BLOCKS + i)).collect(),
            ..Node::named(format!("n{:05}", number + 1))
        };
        let mut label = |key: &str, value: String| {
            node.labels.insert(key.to_owned(), value);
        };
        if number < self.top {
            label("level", "top".to_owned());
            node.route_reflector_cluster_id = Some("244.0.0.1".parse().unwrap());
        } else if number < self.top + self.second {
            let place = number - self.top;
            label("level", "second".to_owned());
            label("serves", place.to_string());
            let id = format!("244.0.1.{place}");
            node.route_reflector_cluster_id = Some(id.parse().unwrap());
        } else if self.second > 0 {
            label("first", (number % self.second).to_string());
            label("other", ((number + 1) % self.second).to_string());
        }
        node
    }

    /// Who peers with whom beside the mesh.
    fn records(self) -> Vec<Peer> {
        let record = |name: &str, scope: PeerScope, far_end: &str| Peer {
            scope,
            far_end: FarEnd::Nodes(Selector::parse(far_end).unwrap()),
            as_number: None,
            ..Peer::new(name, IpAddr::from([0; 4]), Asn(64512))
        };
        let some = |text: &str| PeerScope::Selector(Selector::parse(text).unwrap());
        match self.topology {
            Topology::Mesh => Vec::new(),
            Topology::Reflectors => {
                vec![record("reflectors", PeerScope::All, "level == 'top'")]
            }
            Topology::Hierarchy => {
                let tops = record("tops", some("level == 'top'"), "level == 'top'");
                // Each end says its own half: who is whose client has a direction.
                let mut up = record("up", some("level == 'second'"), "level == 'top'");
                up.routes.client = Some(false);
                up.reverse = false;
                let mut down = record("down", some("level == 'top'"), "level == 'second'");
                down.routes.client = Some(true);
                down.reverse = false;
                let second = (0..self.second).map(|place| {
                    let clients = format!("first == '{place}' || other == '{place}'");
                    let name = format!("second-{place}");
                    record(&name, some(&clients), &format!("serves == '{place}'"))
                });
                [tops, up, down].into_iter().chain(second).collect()
            }
        }
    }
}

/// The address of a node by its number.
pub(crate) fn address(number: usize) -> Ipv4Addr {
    let number = u32::try_from(number + 1).unwrap();
    Ipv4Addr::from(0x0A00_0000 + number)
}

/// A block by its number.
pub(crate) fn block(number: usize) -> Prefix {
    let number = u32::try_from(number).unwrap();
    Prefix::new(Ipv4Addr::from(0x0A80_0000 + 64 * number).into(), 26)
}
