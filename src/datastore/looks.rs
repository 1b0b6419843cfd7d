//! How much is looked at to find what is wrong between records: so much, however many records there are.
//!
//! What takes every record with every other is only for whoever wrote them, and nobody waits for it. What always
//! holds: that not all was looked at is a warning; what a plan can't go without is an error.

use super::problem::{Place, Problems};
use super::record::Record;
use super::records::Records;
use crate::topology::{FarEnd, Node, Peer, PeerScope, Selector, nearest};

/// A node that a short selector is held against counts one. A cluster of 5,000 nodes with 500 peers of its own takes
/// five million.
const MOST: u64 = 20_000_000;
/// As many as a plan may take, which holds the records of a node against every other one. The same cluster with a record
/// for each node, by a label, takes a hundred million.
const MOST_OF_A_PLAN: u64 = 400_000_000;
/// Octets of a selector that count one.
const OCTETS: usize = 16;
/// Problems after which nobody is told what was probably meant: to find it each name is compared.
const HINTED: usize = 20;

/// What is left.
#[derive(Debug)]
pub(crate) struct Looks {
    left: u64,
}

impl Default for Looks {
    fn default() -> Self {
        Self { left: MOST }
    }
}

impl Looks {
    /// As many looks; false if there are not as many left, and then no more are.
    pub(crate) fn spend(&mut self, looks: usize) -> bool {
        let looks = u64::try_from(looks).unwrap_or(u64::MAX);
        let enough = looks <= self.left;
        self.left = if enough { self.left - looks } else { 0 };
        enough
    }

    /// Whether it was not enough.
    pub(crate) const fn are_used_up(&self) -> bool {
        self.left == 0
    }

    /// Whether a scope has a node; none if nothing is left.
    pub(crate) fn applies(&mut self, scope: &PeerScope, node: &Node) -> Option<bool> {
        self.spend(cost_of(scope)).then(|| scope.applies_to(node))
    }

    /// Whether a selector selects a node; none if nothing is left.
    pub(crate) fn selects(&mut self, selector: &Selector, node: &Node) -> Option<bool> {
        self.spend(cost(selector))
            .then(|| selector.matches(&node.labels))
    }

    /// Says that something may be wrong that nobody looked at.
    pub(crate) fn report(&self, at: &Place, problems: &mut Problems) {
        if self.are_used_up() {
            let message = "so many peers and nodes that not all of them were held against each other; of those that \
                           were not nothing is said here";
            problems.warning(at, message);
        }
    }
}

fn cost(selector: &Selector) -> usize {
    1 + selector.len() / OCTETS
}

fn cost_of(scope: &PeerScope) -> usize {
    match scope {
        PeerScope::All | PeerScope::Node(_) => 1,
        PeerScope::Selector(selector) => cost(selector),
    }
}

/// Whether a plan comes to an end in time; else a record, and why not.
pub(crate) fn can_be_planned(records: &Records) -> Result<(), (Place, String)> {
    let of_peer = |peer: &Record<Peer>| {
        let far_end = match &peer.value.far_end {
            FarEnd::Nodes(selector) => cost(selector),
            FarEnd::Address(_) | FarEnd::Range(_) | FarEnd::Link(_) => 1,
        };
        far_end + cost_of(&peer.value.scope)
    };
    let of_node: usize = records.peers.iter().map(of_peer).sum();
    let looks = u64::try_from(of_node.saturating_mul(records.nodes.len())).unwrap_or(u64::MAX);
    match records.peers.first() {
        Some(first) if looks > MOST_OF_A_PLAN => {
            let (nodes, peers) = (records.nodes.len(), records.peers.len());
            let message = format!(
                "{nodes} nodes and {peers} peers with selectors so long take a plan too long; write shorter selectors, \
                 or fewer peers"
            );
            Err((first.place().clone(), message))
        }
        Some(_) | None => Ok(()),
    }
}

/// What was probably meant by a name, in the words of a hint; nothing where much is wrong already.
pub(crate) fn hint<'n>(
    name: &str,
    names: impl IntoIterator<Item = &'n str>,
    problems: &Problems,
) -> String {
    if problems.len() >= HINTED {
        return String::new();
    }
    let near = nearest(name, names);
    near.map_or(String::new(), |near| format!("; did you mean {near:?}?"))
}
