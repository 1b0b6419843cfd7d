//! What packets between nodes are carried by: each pool's encapsulation, each node's tunnel ends.
//!
//! Every node derives the same fabric from the same intent. A tunnel address that is not on record
//! is the first address of the node's first block in a pool of that encapsulation, or, if IPAM has given
//! that one away, the last that is free there, which IPAM comes to last; the MAC of a VXLAN end is a hash
//! of the node's name, as Calico's nodes compute it. So none of it has to be distributed.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnetwork::{Ipv4Network, Ipv6Network};

use super::felix::FelixSettings;
use super::intent::{Intent, Node, Pool, PoolMode};
use crate::net::{Family, Mac, Prefix, PrefixSet};

/// Pools, nodes and settings, as far as forwarding needs them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fabric {
    /// The pools, sorted by prefix; they don't overlap.
    pub pools: Vec<FabricPool>,
    /// The nodes, sorted by name, this one among them.
    pub nodes: Vec<FabricNode>,
    /// Tunnels and NAT.
    pub felix: FelixSettings,
}

/// A pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FabricPool {
    /// Its addresses.
    pub cidr: Prefix,
    /// How its packets travel between nodes.
    pub encapsulation: Encapsulation,
    /// Traffic from it that leaves all pools is masqueraded.
    pub nat_outgoing: bool,
    /// No new blocks come from it; it counts for routing and as a NAT destination all the same.
    pub disabled: bool,
    /// It is a block that has outlived its pool.
    pub leftover: Option<Leftover>,
}

/// What is known of a block whose pool is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leftover {
    /// The way that it had, or the only one that the cluster has.
    Known,
    /// Nothing: some pools encapsulate, and it is not known whether its own did.
    Unknown,
}

/// How a pool's packets travel between nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Encapsulation {
    /// As they are.
    #[default]
    None,
    /// In IP (RFC 2003 for IPv4, RFC 2473 for IPv6).
    Ipip(When),
    /// In VXLAN (RFC 7348).
    Vxlan(When),
}

/// Between which nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum When {
    /// All.
    Always,
    /// Those on different subnets.
    CrossSubnet,
}

/// A node as an end of tunnels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FabricNode {
    /// Its name.
    pub name: String,
    /// Its address with the mask of its subnet.
    pub ipv4: Option<Ipv4Network>,
    /// Its address with the mask of its subnet.
    pub ipv6: Option<Ipv6Network>,
    /// The address on its IP-in-IP device, by family (IPv4, IPv6).
    pub ipip: [Option<IpAddr>; 2],
    /// Its VXLAN end, by family (IPv4, IPv6).
    pub vxlan: [Option<Vtep>; 2],
    /// Its pod blocks, sorted.
    pub blocks: Vec<Prefix>,
    /// First addresses of its blocks that its tunnel devices can't have, since IPAM has given them away.
    pub displaced: Vec<Displaced>,
}

/// An address that could be that of a tunnel device, if IPAM had not given it to somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Displaced {
    /// It.
    pub given: IpAddr,
    /// What a device would have in its place; none if the block is full.
    pub instead: Option<IpAddr>,
}

/// An end of VXLAN tunnels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vtep {
    /// The address on the device, that routes go via.
    pub address: IpAddr,
    /// The MAC of the device.
    pub mac: Mac,
}

impl Fabric {
    /// The fabric of a cluster.
    pub fn new(intent: &Intent) -> Self {
        let mut pools: Vec<FabricPool> = intent.pools.iter().map(FabricPool::new).collect();
        pools.extend(leftovers(intent, &pools));
        pools.sort_by_key(|pool| pool.cidr);
        let mut nodes: Vec<FabricNode> = intent
            .nodes
            .iter()
            .map(|node| FabricNode::new(node, &pools))
            .collect();
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        Self {
            pools,
            nodes,
            felix: intent.felix.clone(),
        }
    }

    /// This fabric, but with these encapsulations of pools: what holds while a change of mode waits for
    /// the other nodes. A tunnel end that only the former mode gave is kept as well: the one that
    /// `former` has, or else the one that every node derives.
    #[must_use]
    pub fn with_modes(&self, modes: &BTreeMap<Prefix, Encapsulation>, former: &Self) -> Self {
        let mut held = self.clone();
        for pool in &mut held.pools {
            if let Some(mode) = modes.get(&pool.cidr) {
                pool.encapsulation = *mode;
            }
        }
        held.keep_ends(former);
        held
    }

    /// Takes over from `former` how packets to blocks travel whose pool is gone since: a running node has
    /// not forgotten it.
    pub fn remember(&mut self, former: &Self) {
        let mut any = false;
        for pool in &mut self.pools {
            let Some(left) = &mut pool.leftover else {
                continue;
            };
            let known = |other: &&FabricPool| {
                other.cidr.covers(pool.cidr) && other.leftover != Some(Leftover::Unknown)
            };
            if let Some(other) = former.pools.iter().find(known) {
                *left = Leftover::Known;
                pool.encapsulation = other.encapsulation;
                pool.nat_outgoing = other.nat_outgoing;
                any = true;
            }
        }
        if any {
            self.keep_ends(former);
        }
    }

    /// Tunnel ends that only former modes or pools gave stay: the one that `former` has, or else the one
    /// that every node derives.
    fn keep_ends(&mut self, former: &Self) {
        let pools = &self.pools;
        for node in &mut self.nodes {
            let other = former.node(&node.name);
            for family in Family::ALL {
                let before = other.and_then(|other| other.vtep(family));
                let derived = || {
                    let address = node.first_address(pools, family, is_vxlan)?;
                    let mac = vtep_mac(&node.name, family);
                    Some(Vtep { address, mac })
                };
                let end = family.of(&node.vxlan).or(before).or_else(derived);
                *family.of_mut(&mut node.vxlan) = end;
                let before = other.and_then(|other| other.ipip_address(family));
                let derived = || node.first_address(pools, family, is_ipip);
                let end = family.of(&node.ipip).or(before).or_else(derived);
                *family.of_mut(&mut node.ipip) = end;
            }
        }
    }

    /// Whether traffic of any pool is masqueraded when it leaves the pools.
    pub fn has_nat_pools(&self) -> bool {
        self.pools.iter().any(|pool| pool.nat_outgoing)
    }

    /// Single addresses inside the blocks of the node `me` that other nodes have, sorted.
    pub(super) fn lent(&self, me: &str, blocks: &[Prefix]) -> Vec<Prefix> {
        let blocks: PrefixSet = blocks.iter().copied().collect();
        let inside = |address: &Prefix| blocks.covers(*address) && !blocks.contains(*address);
        let others = self.nodes.iter().filter(|node| node.name != me);
        let mut lent: Vec<Prefix> = others
            .flat_map(|node| {
                let borrowed = node.blocks.iter().copied().filter(|block| block.is_host());
                borrowed.chain(node.ends_apart().map(Prefix::host))
            })
            .filter(inside)
            .collect();
        lent.sort_unstable();
        lent.dedup();
        lent
    }

    /// The node of that name.
    pub fn node(&self, name: &str) -> Option<&FabricNode> {
        let place = self
            .nodes
            .binary_search_by(|node| node.name.as_str().cmp(name));
        self.nodes.get(place.ok()?)
    }
}

impl FabricPool {
    fn new(pool: &Pool) -> Self {
        let when = |mode| match mode {
            PoolMode::Never => None,
            PoolMode::Always => Some(When::Always),
            PoolMode::CrossSubnet => Some(When::CrossSubnet),
        };
        let vxlan = when(pool.vxlan_mode).map(Encapsulation::Vxlan);
        let ipip = when(pool.ipip_mode).map(Encapsulation::Ipip);
        Self {
            cidr: pool.cidr,
            encapsulation: vxlan.or(ipip).unwrap_or_default(),
            nat_outgoing: pool.nat_outgoing,
            disabled: pool.disabled,
            leftover: None,
        }
    }
}

/// Blocks outside every pool, each as a pool of its own.
fn leftovers(intent: &Intent, pools: &[FabricPool]) -> Vec<FabricPool> {
    let cidrs: PrefixSet = pools.iter().map(|pool| pool.cidr).collect();
    let outside = |block: &Prefix| !cidrs.covers(*block) && !cidrs.lies_in(*block);
    let blocks = intent.nodes.iter().flat_map(|node| &node.blocks);
    let mut left: Vec<Prefix> = blocks.copied().filter(outside).collect();
    left.sort_unstable();
    left.dedup();
    // What lies in another (a borrowed address) is of that one. In order it comes after it.
    left.dedup_by(|inner, outer| outer.covers(*inner));
    let encapsulates = |family| {
        let mut of_family = pools.iter().filter(|pool| pool.cidr.family() == family);
        of_family.any(|pool| pool.encapsulation != Encapsulation::None)
    };
    let encapsulated = Family::ALL.map(encapsulates);
    let as_pool = |cidr: Prefix| FabricPool {
        cidr,
        encapsulation: Encapsulation::None,
        nat_outgoing: false,
        disabled: true,
        leftover: Some(if *cidr.family().of(&encapsulated) {
            Leftover::Unknown
        } else {
            Leftover::Known
        }),
    };
    left.into_iter().map(as_pool).collect()
}

impl FabricNode {
    fn new(node: &Node, pools: &[FabricPool]) -> Self {
        let mut blocks = node.blocks.clone();
        blocks.sort_unstable();
        blocks.dedup();
        let given = |block: &&Prefix| {
            !block.is_host() && node.given.binary_search(&block.address()).is_ok()
        };
        let displaced = blocks.iter().filter(given).map(|block| Displaced {
            given: block.address(),
            instead: last_free(*block, &node.given),
        });
        let mut made = Self {
            name: node.name.clone(),
            ipv4: node.ipv4_address,
            ipv6: node.ipv6_address,
            ipip: [None; 2],
            vxlan: [None; 2],
            displaced: displaced.collect(),
            blocks,
        };
        let on_record = &node.tunnels;
        let ipip = [
            on_record.ipip_v4.map(IpAddr::from),
            on_record.ipip_v6.map(IpAddr::from),
        ];
        let vxlan = [
            on_record.vxlan_v4.map(IpAddr::from),
            on_record.vxlan_v6.map(IpAddr::from),
        ];
        let macs = [on_record.vxlan_mac_v4, on_record.vxlan_mac_v6];
        for family in Family::ALL {
            let derived = |wanted| made.first_address(pools, family, wanted);
            let end = family.of(&ipip).or_else(|| derived(is_ipip));
            let vtep = family.of(&vxlan).or_else(|| derived(is_vxlan));
            let mac = || vtep_mac(&node.name, family);
            let vtep = vtep.map(|address| Vtep {
                address,
                mac: family.of(&macs).unwrap_or_else(mac),
            });
            *family.of_mut(&mut made.ipip) = end;
            *family.of_mut(&mut made.vxlan) = vtep;
        }
        made
    }

    /// The first address of the first block that is in a pool with such an encapsulation, or what a tunnel
    /// device has in its place; none of a block that is full.
    fn first_address(
        &self,
        pools: &[FabricPool],
        family: Family,
        wanted: fn(Encapsulation) -> bool,
    ) -> Option<IpAddr> {
        let pool = |block: &Prefix| around(pools, *block);
        let mut suitable = self
            .blocks
            .iter()
            // A borrowed address is a pod's.
            .filter(|block| block.family() == family && !block.is_host())
            .filter(|block| pool(block).is_some_and(|pool| wanted(pool.encapsulation)));
        suitable.find_map(|block| {
            let first = block.address();
            let given = self.displaced.iter().find(|one| one.given == first);
            given.map_or(Some(first), |one| one.instead)
        })
    }

    /// Its address of a family.
    pub fn address(&self, family: Family) -> Option<IpAddr> {
        match family {
            Family::Ipv4 => self.ipv4.map(|network| network.ip().into()),
            Family::Ipv6 => self.ipv6.map(|network| network.ip().into()),
        }
    }

    /// The addresses on its tunnel devices.
    pub fn ends(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let vxlan = self.vxlan.iter().flatten().map(|vtep| vtep.address);
        self.ipip.iter().flatten().copied().chain(vxlan)
    }

    /// Those that lie in no block of its own, so that the way to its blocks is none to them.
    pub fn ends_apart(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let wider = |block: &&Prefix| !block.is_host();
        let inside = move |end| {
            let mut blocks = self.blocks.iter().filter(wider);
            blocks.any(|block| block.contains(end))
        };
        self.ends().filter(move |end| !inside(*end))
    }

    /// Its end of VXLAN tunnels of a family.
    pub const fn vtep(&self, family: Family) -> Option<Vtep> {
        *family.of(&self.vxlan)
    }

    /// The address of its IP-in-IP device of a family.
    pub const fn ipip_address(&self, family: Family) -> Option<IpAddr> {
        *family.of(&self.ipip)
    }

    /// Whether both are on one subnet, in the eyes of both: what one calls its neighbour while the
    /// other does not would travel bare one way and wrapped the other.
    pub fn shares_subnet(&self, other: &Self, family: Family) -> bool {
        match family {
            Family::Ipv4 => self.ipv4.zip(other.ipv4).is_some_and(|(mine, theirs)| {
                mine.contains(theirs.ip()) && theirs.contains(mine.ip())
            }),
            Family::Ipv6 => self.ipv6.zip(other.ipv6).is_some_and(|(mine, theirs)| {
                mine.contains(theirs.ip()) && theirs.contains(mine.ip())
            }),
        }
    }
}

/// The pool around a block; they are sorted and don't overlap.
fn around(pools: &[FabricPool], block: Prefix) -> Option<&FabricPool> {
    let after = pools.partition_point(|pool| pool.cidr <= block);
    let pool = pools.get(after.checked_sub(1)?)?;
    pool.cidr.covers(block).then_some(pool)
}

/// The last address of a block that is not among those given away, which are sorted.
fn last_free(block: Prefix, given: &[IpAddr]) -> Option<IpAddr> {
    let (first, mut last) = match (block.address(), block) {
        (IpAddr::V4(first), Prefix::V4(_)) => {
            let first = u128::from(first.to_bits());
            (first, first | host_bits(32, block.len()))
        }
        (IpAddr::V6(first), _) => (
            first.to_bits(),
            first.to_bits() | host_bits(128, block.len()),
        ),
        (IpAddr::V4(_), Prefix::V6(_)) => return None,
    };
    let address = |bits: u128| match block.family() {
        Family::Ipv4 => IpAddr::V4(u32::try_from(bits).unwrap_or(u32::MAX).into()),
        Family::Ipv6 => IpAddr::V6(bits.into()),
    };
    // So many steps at most as addresses are given away.
    while given.binary_search(&address(last)).is_ok() {
        last = last.checked_sub(1).filter(|last| *last >= first)?;
    }
    Some(address(last))
}

/// The bits of an address that a prefix leaves open.
const fn host_bits(width: u8, len: u8) -> u128 {
    match width.saturating_sub(len) {
        open @ 0..128 => (1 << open) - 1,
        _all => u128::MAX,
    }
}

const fn is_ipip(encapsulation: Encapsulation) -> bool {
    matches!(encapsulation, Encapsulation::Ipip(_))
}

const fn is_vxlan(encapsulation: Encapsulation) -> bool {
    matches!(encapsulation, Encapsulation::Vxlan(_))
}

/// The MAC of a node's VXLAN device as Calico derives it: 66 and the first five octets of the
/// SHA-1 of the name, which for IPv6 ends in `-v6`.
pub fn vtep_mac(name: &str, family: Family) -> Mac {
    let mut hash = sha1_smol::Sha1::from(name);
    if family == Family::Ipv6 {
        hash.update(b"-v6");
    }
    let [a, b, c, d, e, ..] = hash.digest().bytes();
    Mac([0x66, a, b, c, d, e])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(cidr: &str, ipip_mode: PoolMode, vxlan_mode: PoolMode) -> Pool {
        Pool {
            name: cidr.to_owned(),
            cidr: cidr.parse().unwrap(),
            ipip_mode,
            vxlan_mode,
            nat_outgoing: false,
            disabled: false,
            disable_bgp_export: false,
        }
    }

    #[test]
    fn the_mac_is_66_and_the_sha1_of_the_name() {
        // By sha1sum: 0702c1cc60ff... of "node-a", d4d5513d4237... of "node-a-v6".
        let mac = |family| vtep_mac("node-a", family).to_string();
        assert_eq!(mac(Family::Ipv4), "66:07:02:c1:cc:60");
        assert_eq!(mac(Family::Ipv6), "66:d4:d5:51:3d:42");
    }

    #[test]
    fn without_a_record_the_first_address_of_the_first_block_is_the_tunnels() {
        let mut node = Node::named("a");
        node.blocks = vec![
            "10.2.0.64/26".parse().unwrap(),
            "10.1.0.0/26".parse().unwrap(),
        ];
        let intent = Intent {
            pools: vec![
                pool("10.1.0.0/16", PoolMode::Always, PoolMode::Never),
                pool("10.2.0.0/16", PoolMode::Never, PoolMode::CrossSubnet),
            ],
            nodes: vec![node],
            ..Intent::default()
        };
        let fabric = Fabric::new(&intent);
        let node = fabric.node("a").unwrap();
        assert_eq!(node.ipip_address(Family::Ipv4), "10.1.0.0".parse().ok());
        assert_eq!(
            node.vtep(Family::Ipv4).unwrap().address.to_string(),
            "10.2.0.64"
        );
        assert_eq!(node.vtep(Family::Ipv6), None);
    }

    #[test]
    fn a_change_of_mode_can_be_held_while_all_else_is_new() {
        let fabric = |vxlan_mode, nodes: &[&str]| {
            Fabric::new(&Intent {
                pools: vec![pool("10.1.0.0/16", PoolMode::Never, vxlan_mode)],
                nodes: nodes
                    .iter()
                    .map(|name| Node {
                        blocks: vec!["10.1.0.0/26".parse().unwrap()],
                        ..Node::named(*name)
                    })
                    .collect(),
                ..Intent::default()
            })
        };
        let before = fabric(PoolMode::Always, &["a"]);
        let after = fabric(PoolMode::Never, &["a", "b"]);
        let modes = BTreeMap::from([(before.pools[0].cidr, before.pools[0].encapsulation)]);
        let held = after.with_modes(&modes, &before);
        assert_eq!(
            held.pools[0].encapsulation,
            Encapsulation::Vxlan(When::Always)
        );
        assert_eq!(
            held.node("a").unwrap().vxlan,
            before.node("a").unwrap().vxlan
        );
        assert!(held.node("b").is_some());
        assert_eq!(after.with_modes(&BTreeMap::new(), &after), after);
        // Who did not know it before derives what the others derived.
        assert_eq!(after.with_modes(&modes, &after).node("a"), held.node("a"));
    }

    #[test]
    fn two_nodes_share_a_subnet_only_if_both_think_so() {
        let node = |name: &str, address: &str| FabricNode {
            ipv4: address.parse().ok(),
            ..FabricNode::new(&Node::named(name), &[])
        };
        let wide = node("wide", "10.0.0.1/16");
        let narrow = node("narrow", "10.0.1.1/24");
        let beside = node("beside", "10.0.1.2/24");
        assert!(!wide.shares_subnet(&narrow, Family::Ipv4));
        assert!(!narrow.shares_subnet(&wide, Family::Ipv4));
        assert!(narrow.shares_subnet(&beside, Family::Ipv4));
        assert!(!narrow.shares_subnet(&beside, Family::Ipv6));
    }
}
