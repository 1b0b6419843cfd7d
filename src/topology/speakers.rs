//! Where the cluster's speakers listen, and which pods are among them: what a pod has no business with.
//!
//! By the records, whoever of the nodes has the session: what a node passes on is mostly for others. Addresses that
//! no record has are not known here.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::intent::{Intent, Node};
use super::peering::FarEnd;
use super::plan::BGP_PORT;
use crate::net::{Family, Prefix, PrefixSet};

/// The cluster's speakers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Speakers {
    /// The nodes, each address with the port of BGP; sorted.
    pub nodes: Vec<(IpAddr, u16)>,
    /// Their peers outside, likewise.
    pub peers: Vec<(IpAddr, u16)>,
    /// Pods that are peers, as a record's address or range has them; sorted.
    pub pods: Vec<Prefix>,
}

impl Speakers {
    /// Those of a cluster.
    pub fn new(intent: &Intent) -> Self {
        let mut nodes = BTreeSet::new();
        for node in &intent.nodes {
            let port = node.listen_port.unwrap_or(intent.bgp.listen_port);
            nodes.extend(addresses(node).map(|address| (address, port)));
        }
        let of_nodes: BTreeSet<IpAddr> = nodes.iter().map(|(address, _)| *address).collect();
        let pools: PrefixSet = intent.pools.iter().map(|pool| pool.cidr).collect();
        let in_pool = |prefix: Prefix| pools.covers(prefix) || pools.lies_in(prefix);
        let (mut peers, mut pods) = (BTreeSet::new(), BTreeSet::new());
        for peer in &intent.peers {
            match &peer.far_end {
                FarEnd::Address(end) if end.address.is_loopback() => {}
                FarEnd::Address(end) => {
                    if of_nodes.contains(&end.address) {
                        // By another port, maybe.
                        nodes.extend(end.port.map(|port| (end.address, port)));
                        continue;
                    }
                    peers.insert((end.address, end.port.unwrap_or(BGP_PORT)));
                    pods.extend(Some(Prefix::host(end.address)).filter(|host| in_pool(*host)));
                }
                FarEnd::Range(range) => pods.extend(Some(*range).filter(|range| in_pool(*range))),
                FarEnd::Nodes(_) | FarEnd::Link(_) => {}
            }
        }
        Self {
            nodes: nodes.into_iter().collect(),
            peers: peers.into_iter().collect(),
            pods: pods.into_iter().collect(),
        }
    }
}

/// All addresses of a node that the records have, but those of its tunnels, which are no neighbour's.
fn addresses(node: &Node) -> impl Iterator<Item = IpAddr> + '_ {
    let own = Family::ALL
        .into_iter()
        .filter_map(|family| node.address(family));
    own.chain(node.internal_ips.iter().copied())
}
