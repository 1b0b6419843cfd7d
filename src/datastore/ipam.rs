//! Who has which block, where IPAM's own resources say it: BlockAffinity and IPAMBlock.
//!
//! The node may be in another file, so what is read is kept until all nodes are known. An address
//! of a block that another node than its owner uses is routed to that node by itself, as Felix
//! does it: a borrowed address. What is given away at all is kept only for nodes whose tunnel devices
//! would else take it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::looks::hint;
use super::problem::{Place, Problems};
use super::record::Record;
use super::records::Records;
use super::scalar;
use super::schema::{AFFINITY, BLOCK};
use super::source::Source;
use super::table::{Located, TableReader};
use super::yaml::{Entries, Node, Resource, Value, table_of};
use crate::net::{Family, Prefix, PrefixSet};
use crate::topology::{self, PoolMode};

/// Addresses that a node has by IPAM.
#[derive(Debug)]
pub(crate) struct Owned {
    node: Located<String>,
    prefix: Located<Prefix>,
}

/// Reads a BlockAffinity; `None` if it gives nobody anything.
pub(crate) fn read_affinity(
    source: &Source<'_>,
    resource: &Resource<'_>,
    problems: &mut Problems,
) -> Option<Owned> {
    let fields = table_of(resource, &[]);
    let place = source.place(&resource.span);
    let table = TableReader::new(source, &AFFINITY, place, &fields, problems);
    let deleted = table.read("deleted", scalar::flag, problems);
    let kind = table.read("type", scalar::text, problems);
    let state = table.read("state", scalar::text, problems);
    let node = table.require("node", scalar::text, problems);
    let prefix = table.require("cidr", scalar::prefix, problems);
    if let Some(state) = &state {
        match state.value.as_str() {
            "confirmed" => {}
            "pending" | "pendingDeletion" => return None,
            other => {
                let message = format!(
                    "\"state\" of BlockAffinity: {other:?} is not known here, expected \
                     \"confirmed\", \"pending\" or \"pendingDeletion\"; the block is left out"
                );
                problems.warning(&state.place, message);
                return None;
            }
        }
    }
    let of_host = kind.is_none_or(|kind| kind.value == "host");
    let live = deleted.is_none_or(|deleted| !deleted.value);
    let (node, prefix) = (node?, prefix?);
    (of_host && live).then_some(Owned { node, prefix })
}

/// Reads an IPAMBlock: the block for its owner, and the addresses that others have of it.
pub(crate) fn read_block(
    source: &Source<'_>,
    resource: &Resource<'_>,
    records: &mut Records,
    problems: &mut Problems,
) {
    let fields = table_of(resource, &["allocations", "attributes", "unallocated"]);
    let place = source.place(&resource.span);
    let table = TableReader::new(source, &BLOCK, place, &fields, problems);
    let deleted = table.read("deleted", scalar::flag, problems);
    let affinity = table.read("affinity", scalar::text, problems);
    let Some(block) = table.require("cidr", scalar::prefix, problems) else {
        return;
    };
    if deleted.is_some_and(|deleted| deleted.value) {
        return;
    }
    let owner = affinity.and_then(|affinity| {
        let node = affinity.value.strip_prefix("host:")?.to_owned();
        Some(affinity.map(|_| node))
    });
    if let Some(spec) = resource.spec {
        let owner = owner.as_ref().map(|owner| owner.value.as_str());
        let borrowed = Borrowed {
            source,
            block: block.value,
            owner,
        };
        let given = records.given.entry(block.value).or_default();
        records
            .borrowed
            .extend(borrowed.read(spec, given, problems));
    }
    records.owned.extend(owner.map(|node| Owned {
        node,
        prefix: block,
    }));
}

/// Looks for a block's addresses that are not its owner's.
struct Borrowed<'a> {
    source: &'a Source<'a>,
    block: Prefix,
    owner: Option<&'a str>,
}

impl Borrowed<'_> {
    fn read(
        &self,
        spec: &Entries,
        given: &mut Vec<(IpAddr, Option<String>)>,
        problems: &mut Problems,
    ) -> Vec<Owned> {
        let list = |key: &str, problems: &mut Problems| match spec.get(key) {
            None => [].as_slice(),
            Some((_, node)) => match &node.value {
                Value::Sequence(items) => items.as_slice(),
                Value::Null => &[],
                _ => {
                    let found = node.kind();
                    let message = format!("{key:?} in IPAMBlock: expected a list, found {found}");
                    problems.error(&self.source.place(&node.span), message);
                    &[]
                }
            },
        };
        let attributes = list("attributes", problems);
        let mut borrowed = Vec::new();
        for (ordinal, allocation) in list("allocations", problems).iter().enumerate() {
            let attribute = match &allocation.value {
                Value::Null => continue,
                Value::Integer(index) => index.parse::<usize>().ok(),
                _ => None,
            };
            let attribute = attribute.and_then(|index| attributes.get(index));
            let (Some(attribute), Some(address)) = (attribute, self.address(ordinal)) else {
                let message = "\"allocations\" in IPAMBlock: this is no entry of \"attributes\", \
                               or lies outside the block; it is left out";
                problems.warning(&self.source.place(&allocation.span), message);
                continue;
            };
            let released = attribute.get("releasedAt");
            if released.is_none_or(|at| at.value == Value::Null) {
                given.push((address, end_of(attribute)));
                borrowed.extend(self.borrower(attribute, address, allocation));
            }
        }
        borrowed
    }

    fn borrower(&self, attribute: &Node, address: IpAddr, allocation: &Node) -> Option<Owned> {
        let node = attribute.get("secondary")?.get("node")?;
        let name = node.text()?;
        (!name.is_empty() && Some(name) != self.owner).then(|| Owned {
            node: Located {
                value: name.to_owned(),
                place: self.source.place(&node.span),
            },
            prefix: Located {
                value: Prefix::host(address),
                place: self.source.place(&allocation.span),
            },
        })
    }

    /// The address of that number in the block.
    fn address(&self, ordinal: usize) -> Option<IpAddr> {
        let address = match self.block.address() {
            IpAddr::V4(first) => {
                let bits = first.to_bits().checked_add(u32::try_from(ordinal).ok()?)?;
                IpAddr::V4(bits.into())
            }
            IpAddr::V6(first) => {
                let bits = first.to_bits().checked_add(u128::try_from(ordinal).ok()?)?;
                IpAddr::V6(bits.into())
            }
        };
        self.block.contains(address).then_some(address)
    }
}

/// The node whose tunnel's end an allocation is for.
fn end_of(attribute: &Node) -> Option<String> {
    let secondary = attribute.get("secondary")?;
    let kind = secondary.get("type")?.text()?;
    let node = secondary.get("node")?.text()?;
    kind.ends_with("TunnelAddress").then(|| node.to_owned())
}

/// Tells nodes which addresses of their blocks are given away, if they have a use for it: if a tunnel
/// device of theirs has no address on record.
pub(crate) fn hand_out_given(records: &mut Records) {
    let given = std::mem::take(&mut records.given);
    let wanted = EndsWanted::by(&records.pools);
    for node in &mut records.nodes {
        let node = &mut node.value;
        if !wanted.lacks(node) {
            continue;
        }
        let of_block = node.blocks.iter().filter_map(|block| given.get(block));
        let others = of_block
            .flatten()
            .filter(|(_, end)| end.as_ref() != Some(&node.name));
        let mut addresses: Vec<IpAddr> = others.map(|(address, _)| *address).collect();
        addresses.sort_unstable();
        node.given = addresses;
    }
}

/// The tunnels that pools ask for, by family (IPv4, IPv6).
#[derive(Default)]
struct EndsWanted {
    ipip: [bool; 2],
    vxlan: [bool; 2],
}

impl EndsWanted {
    fn by(pools: &[Record<topology::Pool>]) -> Self {
        let mut wanted = Self::default();
        for pool in pools.iter().map(|pool| &pool.value) {
            let family = pool.cidr.family();
            *family.of_mut(&mut wanted.ipip) |= pool.ipip_mode != PoolMode::Never;
            *family.of_mut(&mut wanted.vxlan) |= pool.vxlan_mode != PoolMode::Never;
        }
        wanted
    }

    /// Whether the end of one is not on record.
    fn lacks(&self, node: &topology::Node) -> bool {
        let ends = &node.tunnels;
        Family::ALL.into_iter().any(|family| {
            let (ipip, vxlan) = match family {
                Family::Ipv4 => (ends.ipip_v4.is_some(), ends.vxlan_v4.is_some()),
                Family::Ipv6 => (ends.ipip_v6.is_some(), ends.vxlan_v6.is_some()),
            };
            (*family.of(&self.ipip) && !ipip) || (*family.of(&self.vxlan) && !vxlan)
        })
    }
}

/// Gives each node the blocks that are its own by affinity, and the settings of its own.
pub(crate) fn hand_out(records: &mut Records, problems: &mut Problems) {
    let owned = std::mem::take(&mut records.owned);
    let mut has: BTreeSet<(usize, Prefix)> = BTreeSet::new();
    for (at, node) in records.nodes.iter().enumerate() {
        has.extend(node.value.blocks.iter().map(|block| (at, *block)));
    }
    let index = index(&records.nodes);
    for Owned { node, prefix } in owned {
        let Some(at) = find(&index, &node, &format!("block {}", prefix.value), problems) else {
            continue;
        };
        // BlockAffinity and IPAMBlock say the same of most blocks.
        if let Some(record) = records.nodes.get_mut(at)
            && has.insert((at, prefix.value))
        {
            record.value.blocks.push(prefix.value);
            record.items.push(prefix.place);
        }
    }
    for (node, port) in std::mem::take(&mut records.ports) {
        let what = format!("port {}", port.value);
        let record = find(&index, &node, &what, problems).and_then(|at| records.nodes.get_mut(at));
        if let Some(record) = record {
            record.value.listen_port.get_or_insert(port.value);
        }
    }
}

/// Gives nodes what they borrow. It comes last: it lies inside others' blocks.
pub(crate) fn hand_out_borrowed(records: &mut Records, problems: &mut Problems) {
    let index = index(&records.nodes);
    let mut pools: PrefixSet = records.pools.iter().map(|pool| pool.value.cidr).collect();
    // Blocks outlive their pools, and what is lent of them does.
    let blocks = records.nodes.iter().flat_map(|node| &node.value.blocks);
    pools.extend(blocks.copied().filter(|block| !block.is_host()));
    // What a node has by now, of those that borrow.
    let mut has: BTreeMap<usize, PrefixSet> = BTreeMap::new();
    for Owned { node, prefix } in std::mem::take(&mut records.borrowed) {
        let Some(at) = find(
            &index,
            &node,
            &format!("address {}", prefix.value),
            problems,
        ) else {
            continue;
        };
        if !pools.covers(prefix.value) {
            let message = format!("address {} lies in no pool; it is left out", prefix.value);
            problems.warning(&prefix.place, message);
            continue;
        }
        if let Some(record) = records.nodes.get_mut(at) {
            let blocks = &mut record.value.blocks;
            let has = has
                .entry(at)
                .or_insert_with(|| blocks.iter().copied().collect());
            if !has.covers(prefix.value) {
                has.insert(prefix.value);
                blocks.push(prefix.value);
            }
        }
    }
}

/// Where the first node of each name is.
fn index(nodes: &[Record<topology::Node>]) -> BTreeMap<String, usize> {
    let mut index = BTreeMap::new();
    for (at, node) in nodes.iter().enumerate() {
        index.entry(node.value.name.clone()).or_insert(at);
    }
    index
}

/// The node of a name. Blocks outlive nodes in real clusters, so that it is gone is no error.
fn find(
    index: &BTreeMap<String, usize>,
    node: &Located<String>,
    what: &str,
    problems: &mut Problems,
) -> Option<usize> {
    let found = index.get(&node.value).copied();
    if found.is_none() {
        let name = &node.value;
        let hint = hint(name, index.keys().map(String::as_str), problems);
        let place: &Place = &node.place;
        problems.warning(
            place,
            format!("{what} is of no use: no node is named {name:?}{hint}"),
        );
    }
    found
}
