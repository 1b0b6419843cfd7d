//! The choice, one next hop at a time.

use core::fmt;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::tunnels::Devices;
use crate::dataplane::{NextHop, Tunnel};
use crate::net::{Family, Prefix};
use crate::topology::{Encapsulation, Fabric, FabricNode, FabricPool, Leftover, When};

/// Decides by the fabric, from one node's point of view.
#[derive(Debug, Clone)]
pub struct Chooser {
    fabric: Arc<Fabric>,
    me: FabricNode,
    /// Places in `fabric.nodes`, by each address of a node.
    by_address: BTreeMap<IpAddr, usize>,
    /// Places in `fabric.nodes`, by each block.
    by_block: BTreeMap<Prefix, usize>,
    /// Places in `fabric.nodes`, by tunnel addresses of other nodes that lie in none of their blocks.
    by_end: BTreeMap<Prefix, usize>,
    devices: Devices,
}

/// The way to one next hop, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The way.
    pub way: Way,
    /// Why.
    pub reason: Reason,
}

/// A way to one next hop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// As it is, over the kernel's own routes to the next hop.
    Native(NextHop),
    /// In IP.
    Ipip(NextHop),
    /// In VXLAN.
    Vxlan(NextHop),
    /// None.
    Unreachable,
}

/// Why a way was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// No pool has the prefix.
    OutsidePools,
    /// The pool does not encapsulate.
    NoEncapsulation {
        /// The pool.
        pool: Prefix,
    },
    /// The pool encapsulates between all nodes.
    Always {
        /// The pool.
        pool: Prefix,
        /// The far end.
        node: String,
    },
    /// The pool encapsulates between subnets, and both nodes are on one.
    SameSubnet {
        /// The pool.
        pool: Prefix,
        /// The far end.
        node: String,
    },
    /// The pool encapsulates between subnets, and the nodes are on two.
    OtherSubnet {
        /// The pool.
        pool: Prefix,
        /// The far end.
        node: String,
    },
    /// It is the address on a tunnel device of a node, and lies in no block of that node.
    TunnelEnd {
        /// Whose.
        node: String,
    },
    /// The pool encapsulates, but no node of the cluster is known to have the next hop: it is not known
    /// who would unwrap a packet, and none leaves bare.
    NotANode {
        /// The pool.
        pool: Prefix,
        /// The next hop.
        next_hop: IpAddr,
    },
    /// Its pool is gone, and how packets travelled is not known: other pools encapsulate.
    PoolGone {
        /// The block.
        block: Prefix,
    },
    /// The node has no address of the family under the tunnel.
    NoNodeAddress {
        /// The pool.
        pool: Prefix,
        /// Whose.
        node: String,
    },
    /// The node's end of VXLAN tunnels is not known: no address on record and no block in a pool
    /// with VXLAN.
    NoVtep {
        /// The pool.
        pool: Prefix,
        /// Whose.
        node: String,
    },
}

impl Reason {
    /// For scripts: it never changes.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::OutsidePools => "outside_pools",
            Self::NoEncapsulation { .. } => "no_encapsulation",
            Self::Always { .. } => "always",
            Self::SameSubnet { .. } => "same_subnet",
            Self::OtherSubnet { .. } => "other_subnet",
            Self::TunnelEnd { .. } => "tunnel_end",
            Self::NotANode { .. } => "not_a_node",
            Self::PoolGone { .. } => "pool_gone",
            Self::NoNodeAddress { .. } => "no_node_address",
            Self::NoVtep { .. } => "no_vtep",
        }
    }
}

impl Way {
    /// The next hop for the dataplane.
    pub fn next_hop(&self) -> Option<&NextHop> {
        match self {
            Self::Native(hop) | Self::Ipip(hop) | Self::Vxlan(hop) => Some(hop),
            Self::Unreachable => None,
        }
    }

    /// For scripts: it never changes.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Native(_) => "native",
            Self::Ipip(_) => "ipip",
            Self::Vxlan(_) => "vxlan",
            Self::Unreachable => "none",
        }
    }

    /// The encapsulation in a word.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Native(_) => "native",
            Self::Ipip(_) => "IP-in-IP",
            Self::Vxlan(_) => "VXLAN",
            Self::Unreachable => "no way",
        }
    }
}

impl Chooser {
    /// A chooser for the node `me`; a node that the fabric does not have has no addresses.
    pub fn new(fabric: Arc<Fabric>, me: &str) -> Self {
        let mut by_address = BTreeMap::new();
        let mut by_block = BTreeMap::new();
        let mut by_end = BTreeMap::new();
        for (place, node) in fabric.nodes.iter().enumerate() {
            for address in Family::ALL
                .into_iter()
                .filter_map(|family| node.address(family))
            {
                by_address.insert(address, place);
            }
            for block in &node.blocks {
                by_block.insert(*block, place);
            }
            if node.name != me {
                by_end.extend(node.ends_apart().map(|end| (Prefix::host(end), place)));
            }
        }
        let unknown = || FabricNode {
            name: me.to_owned(),
            ipv4: None,
            ipv6: None,
            ipip: [None; 2],
            vxlan: [None; 2],
            blocks: Vec::new(),
            displaced: Vec::new(),
        };
        Self {
            me: fabric.node(me).cloned().unwrap_or_else(unknown),
            by_address,
            by_block,
            by_end,
            devices: Devices::default(),
            fabric,
        }
    }

    /// The fabric that it decides by.
    pub fn fabric(&self) -> &Fabric {
        &self.fabric
    }

    /// The same, to be shared.
    pub fn shared_fabric(&self) -> Arc<Fabric> {
        Arc::clone(&self.fabric)
    }

    /// This node.
    pub const fn me(&self) -> &FabricNode {
        &self.me
    }

    /// The pool that has all of `prefix`.
    pub fn pool(&self, prefix: Prefix) -> Option<&FabricPool> {
        let pools = &self.fabric.pools;
        // They don't overlap, so it is the last one that begins at or before the prefix.
        let after = pools.partition_point(|pool| pool.cidr <= prefix);
        let pool = pools.get(after.checked_sub(1)?)?;
        pool.cidr.covers(prefix).then_some(pool)
    }

    /// Whether an address is that of a node.
    pub fn is_node(&self, address: IpAddr) -> bool {
        self.by_address.contains_key(&address)
    }

    /// The tunnel devices that this node needs.
    pub fn tunnels(&self) -> Vec<Tunnel> {
        self.devices.wanted(&self.fabric, &self.me)
    }

    /// The routes to all other nodes' blocks, as the datastore alone knows them.
    pub fn routes(&self) -> impl Iterator<Item = (Prefix, Choice)> + '_ {
        let others = self
            .fabric
            .nodes
            .iter()
            .filter(|node| node.name != self.me.name);
        others.flat_map(move |node| {
            node.blocks.iter().map(move |block| {
                let choice = match node.address(block.family()) {
                    Some(address) => self.choose(*block, address),
                    None => self.without_address(*block, node),
                };
                (*block, choice)
            })
        })
    }

    /// The way to a node's block, as the datastore alone knows it.
    pub fn route(&self, block: Prefix) -> Option<Choice> {
        let place = self.by_block.get(&block)?;
        let node = self.fabric.nodes.get(*place)?;
        Some(match node.address(block.family()) {
            Some(address) => self.choose(block, address),
            None => self.without_address(block, node),
        })
    }

    /// The routes to the tunnel addresses of other nodes to which the ways to their blocks don't lead:
    /// without them what a node sends itself is not answered. They are on record, so every node has them
    /// whoever announces what.
    pub fn ends(&self) -> impl Iterator<Item = (Prefix, Choice)> + '_ {
        let ends = self.by_end.keys().filter_map(|end| {
            let node = self.end_of(*end)?;
            let address = node.address(end.family())?;
            Some((*end, self.choose(*end, address)))
        });
        // Its device may be of a mode that no pool has any more.
        ends.filter(|(_, choice)| choice.reason != Reason::OutsidePools)
    }

    /// The node that has a tunnel address outside its blocks.
    fn end_of(&self, prefix: Prefix) -> Option<&FabricNode> {
        let place = self.by_end.get(&prefix)?;
        self.fabric.nodes.get(*place)
    }

    /// The way to a tunnel address, if the device that it is on is in use.
    fn to_end(&self, end: Prefix, node: &FabricNode) -> Option<Choice> {
        let family = end.family();
        let address = node.address(family)?;
        self.me.address(family)?;
        let in_use = |wanted: fn(Encapsulation) -> bool| {
            let mut pools = self.fabric.pools.iter();
            pools.any(|pool| pool.cidr.family() == family && wanted(pool.encapsulation))
        };
        let ipip = |mode| matches!(mode, Encapsulation::Ipip(_));
        let vxlan = |mode| matches!(mode, Encapsulation::Vxlan(_));
        let way = match node.vtep(family) {
            Some(vtep) if vtep.address == end.address() && in_use(vxlan) => {
                Way::Vxlan(NextHop::onto(vtep.address, self.devices.vxlan(family)))
            }
            _other if node.ipip_address(family) != Some(end.address()) || !in_use(ipip) => {
                return None;
            }
            _ipip if self.travels_bare(end, node) => return None,
            _ipip => Way::Ipip(NextHop::through(address, self.devices.ipip(family))),
        };
        let node = node.name.clone();
        Some(Choice::new(way, Reason::TunnelEnd { node }))
    }

    /// Whether the pool around a prefix leaves packets to that node as they are.
    fn travels_bare(&self, prefix: Prefix, node: &FabricNode) -> bool {
        let pool = self.pool(prefix);
        pool.is_some_and(|pool| match pool.encapsulation {
            Encapsulation::None => true,
            Encapsulation::Ipip(when) | Encapsulation::Vxlan(when) => {
                when == When::CrossSubnet && self.me.shares_subnet(node, prefix.family())
            }
        })
    }

    /// Whether another node's block is on this node's subnet, as the datastore alone knows it.
    pub fn is_near(&self, block: Prefix) -> Option<bool> {
        let node = self.fabric.nodes.get(*self.by_block.get(&block)?)?;
        let family = block.family();
        node.address(family)?;
        (node.name != self.me.name).then(|| self.me.shares_subnet(node, family))
    }

    /// The way of packets to `prefix` by `next_hop`.
    pub fn choose(&self, prefix: Prefix, next_hop: IpAddr) -> Choice {
        let end = if prefix.is_host() {
            self.end_of(prefix)
        } else {
            None
        };
        if let Some(choice) = end.and_then(|node| self.to_end(prefix, node)) {
            return choice;
        }
        let native = Way::Native(NextHop::routed(next_hop));
        let Some(pool) = self.pool(prefix) else {
            return Choice::new(native, Reason::OutsidePools);
        };
        let cidr = pool.cidr;
        if pool.leftover == Some(Leftover::Unknown) {
            return Choice::new(Way::Unreachable, Reason::PoolGone { block: cidr });
        }
        let when = match pool.encapsulation {
            Encapsulation::None => {
                return Choice::new(native, Reason::NoEncapsulation { pool: cidr });
            }
            Encapsulation::Ipip(when) | Encapsulation::Vxlan(when) => when,
        };
        let Some(node) = self.far_end(prefix, next_hop) else {
            return Choice::new(
                Way::Unreachable,
                Reason::NotANode {
                    pool: cidr,
                    next_hop,
                },
            );
        };
        let name = node.name.clone();
        let reason = match when {
            When::Always => Reason::Always {
                pool: cidr,
                node: name,
            },
            When::CrossSubnet if self.me.shares_subnet(node, prefix.family()) => {
                return Choice::new(
                    native,
                    Reason::SameSubnet {
                        pool: cidr,
                        node: name,
                    },
                );
            }
            When::CrossSubnet => Reason::OtherSubnet {
                pool: cidr,
                node: name,
            },
        };
        self.wrapped(pool, node, prefix.family(), reason)
    }

    /// The node at the other end of a tunnel: whose address the next hop is, or else whose block it
    /// is (a router between may have put its own address there).
    fn far_end(&self, prefix: Prefix, next_hop: IpAddr) -> Option<&FabricNode> {
        let place = self
            .by_address
            .get(&next_hop)
            .or_else(|| self.by_block.get(&prefix))?;
        let node = self.fabric.nodes.get(*place)?;
        (node.name != self.me.name).then_some(node)
    }

    fn without_address(&self, block: Prefix, node: &FabricNode) -> Choice {
        let node = node.name.clone();
        let pool = self.pool(block).map_or(block, |pool| pool.cidr);
        Choice::new(Way::Unreachable, Reason::NoNodeAddress { pool, node })
    }

    fn wrapped(
        &self,
        pool: &FabricPool,
        node: &FabricNode,
        family: Family,
        reason: Reason,
    ) -> Choice {
        let (cidr, name) = (pool.cidr, || node.name.clone());
        let lacks_address = |who: &FabricNode| {
            let (pool, node) = (cidr, who.name.clone());
            Choice::new(Way::Unreachable, Reason::NoNodeAddress { pool, node })
        };
        let Some(address) = node.address(family) else {
            return lacks_address(node);
        };
        if self.me.address(family).is_none() {
            return lacks_address(&self.me);
        }
        match pool.encapsulation {
            Encapsulation::Vxlan(_) => match node.vtep(family) {
                Some(vtep) => {
                    let device = self.devices.vxlan(family);
                    Choice::new(Way::Vxlan(NextHop::through(vtep.address, device)), reason)
                }
                None => {
                    let (pool, node) = (cidr, name());
                    Choice::new(Way::Unreachable, Reason::NoVtep { pool, node })
                }
            },
            Encapsulation::Ipip(_) | Encapsulation::None => {
                let device = self.devices.ipip(family);
                Choice::new(Way::Ipip(NextHop::through(address, device)), reason)
            }
        }
    }
}

impl Choice {
    const fn new(way: Way, reason: Reason) -> Self {
        Self { way, reason }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutsidePools => f.write_str("it is in no pool"),
            Self::NoEncapsulation { pool } => write!(f, "pool {pool} does not encapsulate"),
            Self::Always { pool, node } => {
                write!(f, "pool {pool} always encapsulates; the far end is {node}")
            }
            Self::SameSubnet { pool, node } => write!(
                f,
                "pool {pool} encapsulates across subnets, and {node} is on this node's subnet"
            ),
            Self::OtherSubnet { pool, node } => write!(
                f,
                "pool {pool} encapsulates across subnets, and {node} is on another subnet"
            ),
            Self::NotANode { pool, next_hop } => write!(
                f,
                "pool {pool} encapsulates between nodes, and no node with the address {next_hop} is on \
                 record"
            ),
            Self::PoolGone { block } => write!(
                f,
                "the pool of block {block} is gone, and it is not known how its packets travelled"
            ),
            Self::TunnelEnd { node } => {
                write!(f, "it is the address on a tunnel device of {node}")
            }
            Self::NoNodeAddress { pool, node } => write!(
                f,
                "pool {pool} encapsulates, and {node} has no address of the family to send to or from"
            ),
            Self::NoVtep { pool, node } => write!(
                f,
                "pool {pool} uses VXLAN, and the tunnel address of {node} is not known"
            ),
        }
    }
}
