//! What takes more than one record to say of peers and filters: names, nodes, ends.
//!
//! It only complains; nothing is changed here.

use std::collections::{BTreeMap, BTreeSet};

use super::assemble::Unique;
use super::looks::{Looks, hint};
use super::peers::FAR_ENDS;
use super::problem::{Place, Problems};
use super::range_keys::check_range_keys;
use super::record::Record;
use super::records::Records;
use super::sessions::keepalive_too_long;
use crate::net::Family;
use crate::topology::{
    BGP_PORT, DEFAULT_HOLD_TIME, FarEnd, Node, Peer, PeerAddress, PeerScope, Selector,
};

/// What can be said of a peer only with the other records at hand.
pub(crate) fn check_peers(records: &Records, problems: &mut Problems) {
    let nodes: BTreeMap<&str, &Node> = records
        .nodes
        .iter()
        .map(|node| (node.value.name.as_str(), &node.value))
        .collect();
    let mut looks = Looks::default();
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
            let port = records.bgp.as_ref().map(|bgp| bgp.record.value.listen_port);
            let port = port.unwrap_or(BGP_PORT);
            check_scope(peer, (&nodes, port), &mut looks, problems);
            if let FarEnd::Nodes(selector) = &peer.value.far_end {
                let at = peer.at("peer-selector");
                check_matches((selector, at), &nodes, &mut looks, problems);
            }
        }
    }
    check_ends(records, &nodes, &mut looks, problems);
    check_range_keys(records, &nodes, &mut looks, problems);
    if let Some(first) = records.peers.first() {
        looks.report(first.place(), problems);
    }
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
        .and_then(|bgp| bgp.record.value.session.hold_time);
    let hold = cluster.unwrap_or(DEFAULT_HOLD_TIME);
    if let Some(message) = keepalive_too_long(keepalive, hold) {
        problems.error(peer.at("keepalive-time"), message);
    }
}

fn check_scope(
    peer: &Record<Peer>,
    (nodes, listen_port): (&BTreeMap<&str, &Node>, u16),
    looks: &mut Looks,
    problems: &mut Problems,
) {
    match &peer.value.scope {
        PeerScope::All => {}
        PeerScope::Node(name) => {
            let Some(node) = nodes.get(name.as_str()) else {
                let hint = hint(name, nodes.keys().copied(), problems);
                problems.error(peer.at("node"), format!("no node is named {name:?}{hint}"));
                return;
            };
            let FarEnd::Address(PeerAddress { address, port }) = peer.value.far_end else {
                return;
            };
            let own_port = node.listen_port.unwrap_or(listen_port);
            let at_own_port = port.is_none_or(|port| port == own_port) && !peer.value.passive;
            if at_own_port
                && Family::ALL
                    .iter()
                    .any(|family| node.address(*family) == Some(address))
            {
                let message = format!(
                    "{address} is {name}'s own address; it can't be its peer (another speaker on that \
                     node is at another port, or \"passive\")"
                );
                problems.error(peer.at("peer-ip"), message);
            }
        }
        PeerScope::Selector(selector) => {
            let at = peer.at("node-selector");
            check_matches((selector, at), nodes, looks, problems);
        }
    }
}

/// A selector that selects nobody is probably misspelled, or early.
fn check_matches(
    (selector, at): (&Selector, &Place),
    nodes: &BTreeMap<&str, &Node>,
    looks: &mut Looks,
    problems: &mut Problems,
) {
    for node in nodes.values() {
        if looks.selects(selector, node) != Some(false) {
            return;
        }
    }
    let message = format!("no node matches {:?}", selector.to_string());
    problems.warning(at, message);
}

/// Two peers at one end, on one node, would be one session configured twice.
fn check_ends(
    records: &Records,
    nodes: &BTreeMap<&str, &Node>,
    looks: &mut Looks,
    problems: &mut Problems,
) {
    let mut ends: BTreeMap<String, Vec<&Record<Peer>>> = BTreeMap::new();
    for peer in &records.peers {
        ends.entry(end_of(&peer.value)).or_default().push(peer);
    }
    for (end, peers) in ends {
        if end.is_empty() || peers.len() < 2 {
            continue;
        }
        // Of each node the first that has it.
        let mut firsts: BTreeMap<&str, usize> = BTreeMap::new();
        for (at, second) in peers.iter().enumerate() {
            let mut clash: Option<(usize, &str)> = None;
            for (name, node) in nodes {
                let Some(applies) = looks.applies(&second.value.scope, node) else {
                    return;
                };
                if applies {
                    let first = *firsts.entry(name).or_insert(at);
                    let earlier = first < clash.map_or(at, |(first, _)| first);
                    clash = if earlier { Some((first, name)) } else { clash };
                }
            }
            let clash = clash.and_then(|(first, node)| Some((peers.get(first)?, node)));
            if let Some((first, node)) = clash {
                let (name, at) = (&first.value.name, place_of_end(first));
                let message = format!("{end} is already peer {name} of node {node}, at {at}");
                problems.error(place_of_end(second), message);
            }
        }
    }
}

/// The one end that a peer has, in words; nothing where there can be many, for there the first record wins.
fn end_of(peer: &Peer) -> String {
    match &peer.far_end {
        FarEnd::Address(end) => {
            let port = end.port.unwrap_or(BGP_PORT);
            format!("{} port {port}", end.address)
        }
        FarEnd::Range(prefix) => format!("range {prefix}"),
        FarEnd::Link(link) => format!("interface {link}"),
        FarEnd::Nodes(_) => String::new(),
    }
}

fn place_of_end(peer: &Record<Peer>) -> &Place {
    let key = FAR_ENDS.into_iter().find(|key| peer.mentions(key));
    peer.at(key.unwrap_or_default())
}

/// Names of filters: none twice, and none that is used without being there.
pub(crate) fn check_filters(records: &Records, problems: &mut Problems) {
    let mut names = Unique::new();
    for filter in &records.filters {
        let name = filter.value.name.as_str();
        names.claim(name, "filter", (name, filter.at("name")), problems);
    }
    if records.filters_missing {
        return;
    }
    let there: BTreeSet<&str> = records
        .filters
        .iter()
        .map(|f| f.value.name.as_str())
        .collect();
    let mut check = |used: &[String], places: &[Place]| {
        for (name, at) in used.iter().zip(places) {
            if there.contains(name.as_str()) {
                continue;
            }
            let hint = hint(name, there.iter().copied(), problems);
            problems.error(at, format!("no filter is named {name:?}{hint}"));
        }
    };
    for peer in &records.peers {
        check(&peer.value.filters, &peer.items);
    }
    if let Some(bgp) = &records.bgp {
        check(&bgp.record.value.node_mesh_filters, &bgp.record.items);
    }
}
