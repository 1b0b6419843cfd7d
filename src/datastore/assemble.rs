//! From records to one intent: what takes more than one record to judge.
//!
//! A pure function of texts. It finds all that is wrong before it gives up; but where a table
//! could not be read at all, it does not complain about what refers to it.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use super::file::is_yaml;
use super::ipam::{hand_out, hand_out_borrowed};
use super::manifest;
use super::problem::{Place, Problems};
use super::records::{Record, Records, keepalive_too_long};
use super::source::Source;
use super::tunnels;
use crate::net::{Family, Prefix, Prefix4, Prefix6, RouterId};
use crate::topology::{
    BGP_PORT, DEFAULT_HOLD_TIME, FarEnd, Intent, Node, Peer, PeerAddress, PeerScope, nearest,
};

/// An intent, and what is odd about its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The cluster, as wanted.
    pub intent: Intent,
    /// Warnings only.
    pub warnings: Problems,
}

/// Reads the files of a cluster, each a name and a text, into its intent.
///
/// A name that ends in `.yaml` or `.yml` is one of YAML, any other one of TOML.
/// The order of files matters only for which of two duplicates is called the first.
pub fn read_cluster(files: &[(Arc<str>, String)]) -> Result<Loaded, Problems> {
    let mut problems = Problems::default();
    let mut records = Records::default();
    for (name, text) in files {
        if is_yaml(Path::new(&**name)) {
            manifest::read(&mut records, &Source::yaml(name, text), &mut problems);
        } else {
            records.read(&Source::new(name, text), &mut problems);
        }
    }
    hand_out(&mut records, &mut problems);
    check_pools(&records, &mut problems);
    check_nodes(&records, &mut problems);
    check_blocks(&records, &mut problems);
    check_peers(&records, &mut problems);
    if let Some(felix) = &records.felix {
        felix.check(records.pools.iter().map(|pool| &pool.value), &mut problems);
    }
    hand_out_borrowed(&mut records, &mut problems);
    let problems = problems.sorted();
    if problems.has_errors() {
        return Err(problems);
    }
    let intent = Intent {
        filters: BTreeMap::new(),
        felix: records.felix.map(|felix| felix.value).unwrap_or_default(),
        bgp: records.bgp.map(|bgp| bgp.value).unwrap_or_default(),
        pools: records
            .pools
            .into_iter()
            .map(|record| record.value)
            .collect(),
        nodes: records
            .nodes
            .into_iter()
            .map(|record| record.value)
            .collect(),
        peers: records
            .peers
            .into_iter()
            .map(|record| record.value)
            .collect(),
    };
    Ok(Loaded {
        intent,
        warnings: problems,
    })
}

/// 169.254.0.0/16 (RFC 3927).
const LINK_LOCAL_V4: Prefix4 = Prefix4::new(0xA9FE_0000, 16);
/// fe80::/10 (RFC 4291 §2.5.6).
const LINK_LOCAL_V6: Prefix6 = Prefix6::new(0xFE80 << 112, 10);

/// Remembers who had a value first, and complains about everyone after.
struct Unique<'a, K>(BTreeMap<K, (&'a str, &'a Place)>);

impl<'a, K: Ord + Display> Unique<'a, K> {
    const fn new() -> Self {
        Self(BTreeMap::new())
    }

    fn claim(&mut self, key: K, what: &str, (owner, at): (&'a str, &'a Place), out: &mut Problems) {
        match self.0.get(&key) {
            Some((first, place)) if *first == owner => {
                out.error(at, format!("{what} {key} is already taken at {place}"));
            }
            Some((first, place)) => {
                out.error(at, format!("{what} {key} is already {first}'s, at {place}"));
            }
            None => {
                self.0.insert(key, (owner, at));
            }
        }
    }
}

fn check_pools(records: &Records, problems: &mut Problems) {
    let mut names = Unique::new();
    for pool in &records.pools {
        let name = pool.value.name.as_str();
        names.claim(name, "pool", (name, pool.at("name")), problems);
        let cidr = pool.value.cidr;
        for link_local in [Prefix::V4(LINK_LOCAL_V4), Prefix::V6(LINK_LOCAL_V6)] {
            if link_local.covers(cidr) || cidr.covers(link_local) {
                let message = format!("pool {cidr} overlaps the link-local {link_local}");
                problems.error(pool.at("cidr"), message);
            }
        }
    }
    let ranges = records.pools.iter().map(|pool| Range {
        prefix: pool.value.cidr,
        owner: &pool.value.name,
        place: pool.at("cidr"),
    });
    for (inner, outer) in overlaps(ranges.collect()) {
        let (cidr, other, at) = (inner.prefix, outer.prefix, outer.place);
        problems.error(
            inner.place,
            format!("pool {cidr} overlaps pool {other} at {at}"),
        );
    }
}

fn check_nodes(records: &Records, problems: &mut Problems) {
    let (mut names, mut addresses) = (Unique::new(), Unique::<IpAddr>::new());
    let mut ids = Unique::<RouterId>::new();
    let mesh = records
        .bgp
        .as_ref()
        .is_none_or(|bgp| bgp.value.node_to_node_mesh_enabled);
    for node in &records.nodes {
        let name = node.value.name.as_str();
        names.claim(name, "node", (name, node.at("name")), problems);
        let keys = [
            (Family::Ipv4, "ipv4-address"),
            (Family::Ipv6, "ipv6-address"),
        ];
        for (family, key) in keys {
            if let Some(address) = node.value.address(family) {
                addresses.claim(address, "address", (name, node.at(key)), problems);
            }
        }
        let tunnels = &node.value.tunnels;
        let ends: [Option<IpAddr>; 4] = [
            tunnels.ipip_v4.map(Into::into),
            tunnels.ipip_v6.map(Into::into),
            tunnels.vxlan_v4.map(Into::into),
            tunnels.vxlan_v6.map(Into::into),
        ];
        for (address, key) in ends.into_iter().zip(tunnels::ADDRESSES) {
            if let Some(address) = address {
                addresses.claim(address, "address", (name, node.at(key)), problems);
            }
        }
        if let Some(id) = node.value.router_id {
            ids.claim(id, "router id", (name, node.at("router-id")), problems);
        }
        let addressed = keys.iter().any(|(_, key)| node.mentions(key));
        if mesh && !addressed {
            let message = format!("node {name} has no address, so no mesh session reaches it");
            problems.warning(node.at("name"), message);
        }
    }
    tunnels::check_macs(&records.nodes, problems);
    // Equal addresses have been reported; so an identifier from an address can only be one that
    // somebody configured, while one from a name can be anybody's.
    let derived = || {
        records
            .nodes
            .iter()
            .filter(|node| node.value.router_id.is_none())
    };
    for node in derived().filter(|node| node.value.ipv4_address.is_some()) {
        let (id, name) = (node.value.identifier(), &node.value.name);
        if let Some((owner, at)) = ids.0.get(&id) {
            let message = format!(
                "router id {id} of {owner} is what node {name} has from its address; give one \
                 another"
            );
            problems.error(at, message);
        }
    }
    for node in derived().filter(|node| node.value.ipv4_address.is_some()) {
        let owner = (node.value.name.as_str(), node.at("ipv4-address"));
        ids.0.entry(node.value.identifier()).or_insert(owner);
    }
    for node in derived().filter(|node| node.value.ipv4_address.is_none()) {
        let owner = (node.value.name.as_str(), node.at("name"));
        let what = "this name has no router id of its own (set \"router-id\"):";
        ids.claim(node.value.identifier(), what, owner, problems);
    }
}

fn check_blocks(records: &Records, problems: &mut Problems) {
    let pools: Vec<Prefix> = records.pools.iter().map(|pool| pool.value.cidr).collect();
    let mut ranges = Vec::new();
    for node in &records.nodes {
        for (block, place) in node.value.blocks.iter().zip(&node.blocks) {
            ranges.push(Range {
                prefix: *block,
                owner: &node.value.name,
                place,
            });
            if !records.pools_missing && !pools.iter().any(|pool| pool.covers(*block)) {
                let near = pools.iter().filter(|pool| pool.family() == block.family());
                let list: Vec<String> = near.map(ToString::to_string).collect();
                let hint = if list.is_empty() {
                    "there is no pool of its family".to_owned()
                } else {
                    format!("expected one within {}", list.join(" or "))
                };
                problems.error(place, format!("block {block} lies in no pool; {hint}"));
            }
        }
    }
    for (inner, outer) in overlaps(ranges) {
        let (block, other, at) = (inner.prefix, outer.prefix, outer.place);
        let whose = if inner.owner == outer.owner {
            "the same node".to_owned()
        } else {
            format!("node {}", outer.owner)
        };
        let message = format!("block {block} overlaps block {other} of {whose}, at {at}");
        problems.error(inner.place, message);
    }
}

struct Range<'a> {
    prefix: Prefix,
    owner: &'a str,
    place: &'a Place,
}

/// Each range that lies in another, with the closest that it lies in.
fn overlaps(mut ranges: Vec<Range<'_>>) -> Vec<(Range<'_>, Range<'_>)> {
    // Prefixes nest or are apart: in this order whatever covers one stands before it, and the
    // ranges that are open at any point form a chain.
    ranges.sort_by(|a, b| {
        let key = |r: &Range<'_>| (r.prefix.family(), r.prefix.address(), r.prefix.len());
        key(a).cmp(&key(b)).then_with(|| a.place.cmp(b.place))
    });
    let mut open: Vec<Range<'_>> = Vec::new();
    let mut pairs = Vec::new();
    for range in ranges {
        while open
            .pop_if(|outer| !outer.prefix.covers(range.prefix))
            .is_some()
        {}
        if let Some(outer) = open.last() {
            pairs.push((range.copy(), outer.copy()));
        }
        open.push(range);
    }
    pairs
}

impl Range<'_> {
    const fn copy(&self) -> Self {
        Self {
            prefix: self.prefix,
            owner: self.owner,
            place: self.place,
        }
    }
}

fn check_peers(records: &Records, problems: &mut Problems) {
    let nodes: BTreeMap<&str, &Node> = records
        .nodes
        .iter()
        .map(|node| (node.value.name.as_str(), &node.value))
        .collect();
    let mut names = Unique::new();
    for peer in &records.peers {
        let name = peer.value.name.as_str();
        names.claim(name, "peer", (name, peer.at("name")), problems);
        if nodes.contains_key(name) {
            let message = format!("peer {name} has the name of a node; the mesh needs it");
            problems.error(peer.at("name"), message);
        }
        check_keepalive(records, peer, problems);
        if !records.nodes_missing {
            check_scope(peer, &nodes, problems);
        }
    }
    check_ends(records, &nodes, problems);
}

/// A keepalive time of a peer's own may be too long for the hold time that it inherits.
fn check_keepalive(records: &Records, peer: &Record<Peer>, problems: &mut Problems) {
    let session = &peer.value.session;
    let (Some(keepalive), None) = (session.keepalive_time, session.hold_time) else {
        return;
    };
    let cluster = records
        .bgp
        .as_ref()
        .and_then(|bgp| bgp.value.session.hold_time);
    let hold = cluster.unwrap_or(DEFAULT_HOLD_TIME);
    if let Some(message) = keepalive_too_long(keepalive, hold) {
        problems.error(peer.at("keepalive-time"), message);
    }
}

fn check_scope(peer: &Record<Peer>, nodes: &BTreeMap<&str, &Node>, problems: &mut Problems) {
    match &peer.value.scope {
        PeerScope::All => {}
        PeerScope::Node(name) => {
            let Some(node) = nodes.get(name.as_str()) else {
                let near = nearest(name, nodes.keys().copied());
                let hint = near
                    .map(|n| format!("; did you mean {n:?}?"))
                    .unwrap_or_default();
                problems.error(peer.at("node"), format!("no node is named {name:?}{hint}"));
                return;
            };
            let FarEnd::Address(PeerAddress { address, .. }) = peer.value.far_end else {
                return;
            };
            if Family::ALL
                .iter()
                .any(|family| node.address(*family) == Some(address))
            {
                let message = format!("{address} is {name}'s own address; it can't be its peer");
                problems.error(peer.at("peer-ip"), message);
            }
        }
        PeerScope::Selector(selector) => {
            if !nodes.values().any(|node| selector.matches(&node.labels)) {
                let message = format!("no node matches {:?}", selector.to_string());
                problems.warning(peer.at("node-selector"), message);
            }
        }
    }
}

/// Two peers at one end, on one node, would be one session configured twice.
fn check_ends(records: &Records, nodes: &BTreeMap<&str, &Node>, problems: &mut Problems) {
    let mut ends: BTreeMap<(IpAddr, u16), Vec<&Record<Peer>>> = BTreeMap::new();
    for peer in &records.peers {
        let FarEnd::Address(end) = peer.value.far_end else {
            continue;
        };
        ends.entry((end.address, end.port.unwrap_or(BGP_PORT)))
            .or_default()
            .push(peer);
    }
    for ((address, port), peers) in ends {
        for (i, second) in peers.iter().enumerate() {
            let earlier = peers.iter().take(i);
            let clash = earlier.filter_map(|first| Some((first, shared(first, second, nodes)?)));
            if let Some((first, node)) = clash.into_iter().next() {
                let (name, at) = (&first.value.name, first.at("peer-ip"));
                let message =
                    format!("{address} port {port} is already peer {name} of node {node}, at {at}");
                problems.error(second.at("peer-ip"), message);
            }
        }
    }
}

/// A node that both peers apply to.
fn shared<'a>(
    a: &Record<Peer>,
    b: &Record<Peer>,
    nodes: &BTreeMap<&'a str, &Node>,
) -> Option<&'a str> {
    let both = |node: &Node| a.value.scope.applies_to(node) && b.value.scope.applies_to(node);
    nodes
        .iter()
        .find(|(_, node)| both(node))
        .map(|(name, _)| *name)
}
