//! Keys of ranges and whom they shut out: a key for a range is on the listening sockets for every address in it.
//!
//! The kernel picks a key for a segment by the sender's address alone, the longest prefix first, and drops
//! what is not signed so before anybody sees it. So whoever calls from inside a range that has a key needs
//! a key of its own, of the same kind. What always holds: it only complains, of what no kernel can do.

use std::collections::BTreeMap;

use super::problem::{Place, Problems};
use super::record::Record;
use super::records::Records;
use crate::net::{Family, Prefix};
use crate::topology::{FarEnd, Node, Peer};

/// What signs the segments of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Md5,
    Ao,
}

/// Complains of peers that a range's key shuts out.
pub(crate) fn check_range_keys(
    records: &Records,
    nodes: &BTreeMap<&str, &Node>,
    problems: &mut Problems,
) {
    let ranges: Vec<(&Record<Peer>, Prefix, Kind)> = records
        .peers
        .iter()
        .filter_map(|record| match record.value.far_end {
            FarEnd::Range(range) => Some((record, range, kind(record)?)),
            FarEnd::Address(_) | FarEnd::Nodes(_) | FarEnd::Link(_) => None,
        })
        .collect();
    if ranges.is_empty() {
        return;
    }
    for peer in &records.peers {
        let Some((inside, key)) = callers(peer) else {
            continue;
        };
        let around = ranges.iter().filter(|(range, prefix, _)| {
            let same = core::ptr::eq(*range, peer);
            !same && prefix.covers(inside) && meet(&range.value, &peer.value, nodes)
        });
        // Of those around it the narrowest has the key.
        let Some((range, prefix, wanted)) = around.max_by_key(|(_, prefix, _)| prefix.len()) else {
            continue;
        };
        let (name, range) = (&peer.value.name, &range.value.name);
        let inside = match inside.is_host() {
            true => inside.address().to_string(),
            false => inside.to_string(),
        };
        match kind(peer) {
            None => {
                let message = format!(
                    "peer {name} has no password and only waits for calls, and {inside} is inside {prefix}, whose \
                     peers need the one of {range}: its calls are dropped unseen; give it a password, or let \
                     this side call"
                );
                problems.error(peer.at(key), message);
            }
            Some(own) if own != *wanted => {
                let message = format!(
                    "peer {name} is inside {prefix} of peer {range}, and one of them has TCP-MD5 and the other \
                     TCP-AO: the kernel takes only one kind there"
                );
                problems.error(
                    peer.at(if own == Kind::Ao {
                        "tcp-ao"
                    } else {
                        "password"
                    }),
                    message,
                );
            }
            Some(_) => {}
        }
    }
    for (range, prefix, _) in &ranges {
        check_pairs(records, range, *prefix, problems);
    }
}

/// Two nodes call each other, and each drops the other's calls if both have the range.
fn check_pairs(records: &Records, range: &Record<Peer>, prefix: Prefix, problems: &mut Problems) {
    let is_inside = |node: &&Node| {
        let addresses = Family::ALL.map(|family| node.address(family));
        let mut inside = addresses.into_iter().flatten();
        inside.any(|address| prefix.contains(address)) && range.value.scope.applies_to(node)
    };
    let inside = || {
        records
            .nodes
            .iter()
            .map(|node| &node.value)
            .filter(is_inside)
    };
    let name = &range.value.name;
    let mut complain = |at: &Place, whose: &str, other: &Node| {
        let message = format!(
            "peer {name} wants a password of all of {prefix}, and node {} is in there, whose sessions by {whose} \
             have none: the two ends drop each other's calls unseen; give {whose} a password, or take another \
             range",
            other.name
        );
        problems.error(at, message);
    };
    let bgp = records.bgp.as_ref();
    let mesh =
        bgp.is_none_or(|bgp| bgp.record.value.node_to_node_mesh_enabled && bgp.secret.is_none());
    if mesh && let Some(second) = inside().nth(1) {
        complain(range.at("peer-range"), "the mesh", second);
    }
    for peer in records.peers.iter().filter(|peer| kind(peer).is_none()) {
        let FarEnd::Nodes(selector) = &peer.value.far_end else {
            continue;
        };
        let selected = inside().find(|other| {
            let caller = |me: &Node| me.name != other.name && peer.value.scope.applies_to(me);
            selector.matches(&other.labels) && inside().any(caller)
        });
        if let Some(other) = selected {
            complain(peer.at("peer-selector"), &peer.value.name, other);
        }
    }
}

/// From where a peer calls that can't be called, and the key that says so.
fn callers(peer: &Record<Peer>) -> Option<(Prefix, &'static str)> {
    match &peer.value.far_end {
        // Who is called answers with the key of that one connection.
        FarEnd::Address(end) if peer.value.passive || kind(peer).is_some() => {
            let key = if peer.value.passive {
                "passive"
            } else {
                "peer-ip"
            };
            Some((Prefix::host(end.address), key))
        }
        FarEnd::Range(range) => Some((*range, "peer-range")),
        FarEnd::Address(_) | FarEnd::Nodes(_) | FarEnd::Link(_) => None,
    }
}

fn kind(peer: &Record<Peer>) -> Option<Kind> {
    match (peer.mentions("password"), peer.mentions("tcp-ao")) {
        (true, _) => Some(Kind::Md5),
        (false, true) => Some(Kind::Ao),
        (false, false) => None,
    }
}

/// Whether a node has both.
fn meet(a: &Peer, b: &Peer, nodes: &BTreeMap<&str, &Node>) -> bool {
    let both = |node: &&Node| a.scope.applies_to(node) && b.scope.applies_to(node);
    nodes.values().any(both)
}
