//! Keys of ranges and whom they shut out: a key for a range is on the listening sockets for every address in it.
//!
//! The kernel picks a key for a segment by the sender's address alone, the longest prefix first, and drops
//! what is not signed so before anybody sees it. So whoever calls from inside a range that has a key needs
//! a key of its own, of the same kind. What always holds: it only complains, of what no kernel can do.

use std::collections::BTreeMap;

use super::looks::Looks;
use super::problem::{Place, Problems};
use super::record::Record;
use super::records::Records;
use crate::net::{Family, Prefix};
use crate::topology::{FarEnd, Node, Peer, Selector};

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
    looks: &mut Looks,
    problems: &mut Problems,
) {
    let mut ranges: Vec<(&Record<Peer>, Prefix, Kind)> = records
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
    // The narrowest that is around a peer has the key; of two that are alike the last.
    ranges.reverse();
    ranges.sort_by_key(|(_, prefix, _)| core::cmp::Reverse(prefix.len()));
    for peer in &records.peers {
        let Some((inside, key)) = callers(peer) else {
            continue;
        };
        let around = ranges.iter().find(|(range, prefix, _)| {
            let same = core::ptr::eq(*range, peer);
            !same && prefix.covers(inside) && meet(&range.value, &peer.value, nodes, looks)
        });
        let Some((range, prefix, wanted)) = around else {
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
        check_pairs(records, (range, *prefix), looks, problems);
    }
}

/// Two nodes call each other, and each drops the other's calls if both have the range.
fn check_pairs(
    records: &Records,
    (range, prefix): (&Record<Peer>, Prefix),
    looks: &mut Looks,
    problems: &mut Problems,
) {
    let mut inside: Vec<&Node> = Vec::new();
    for node in records.nodes.iter().map(|node| &node.value) {
        let addresses = Family::ALL.map(|family| node.address(family));
        let mut addresses = addresses.into_iter().flatten();
        if !looks.spend(1) {
            return;
        }
        if addresses.any(|address| prefix.contains(address))
            && looks.applies(&range.value.scope, node) == Some(true)
        {
            inside.push(node);
        }
    }
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
    if mesh && let Some(second) = inside.get(1) {
        complain(range.at("peer-range"), "the mesh", second);
    }
    for peer in &records.peers {
        if !looks.spend(1) {
            return;
        }
        let (FarEnd::Nodes(selector), None) = (&peer.value.far_end, kind(peer)) else {
            continue;
        };
        let selected = called(&inside, &peer.value, selector, looks);
        if let Some(other) = selected {
            complain(peer.at("peer-selector"), &peer.value.name, other);
        }
    }
}

/// The first of the nodes that another one of them calls by a record.
fn called<'n>(
    nodes: &[&'n Node],
    record: &Peer,
    selector: &Selector,
    looks: &mut Looks,
) -> Option<&'n Node> {
    let mut callers = nodes
        .iter()
        .filter(|me| looks.applies(&record.scope, me) == Some(true));
    // Whoever is called, one of two is another one.
    let first = callers.next()?;
    let second = callers.find(|me| me.name != first.name);
    let mut selected = nodes
        .iter()
        .filter(|other| second.is_some() || other.name != first.name);
    selected
        .find(|other| looks.selects(selector, other) == Some(true))
        .copied()
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

/// Whether a node has both; not, if nothing is left to find out.
fn meet(a: &Peer, b: &Peer, nodes: &BTreeMap<&str, &Node>, looks: &mut Looks) -> bool {
    for node in nodes.values() {
        let (Some(one), Some(other)) =
            (looks.applies(&a.scope, node), looks.applies(&b.scope, node))
        else {
            return false;
        };
        if one && other {
            return true;
        }
    }
    false
}
