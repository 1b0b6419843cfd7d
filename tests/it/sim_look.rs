//! What a test sees of the world: sessions, tables, paths.

use std::collections::BTreeMap;
use std::net::IpAddr;

use dunlin::net::{Family, Prefix};
use dunlin::speaker::PeerStatus;

use crate::sim_world::{Actor, World};

impl World {
    pub(crate) fn peer(&self, name: &str, peer: &str) -> PeerStatus {
        self.node(name).speaker().peer_named(peer).unwrap()
    }

    /// How often each session of a node came up.
    pub(crate) fn ups(&self, name: &str) -> BTreeMap<String, u64> {
        let peers = self.node(name).speaker().peers();
        peers
            .into_iter()
            .map(|peer| (peer.planned.name, peer.counters.established))
            .collect()
    }

    pub(crate) fn all_up(&self) -> bool {
        self.hosts.values().all(|host| match &host.actor {
            Some(Actor::Node(node)) => {
                let (peers, up) = node.speaker().sessions();
                peers == up && node.speaker().heard_all()
            }
            Some(Actor::Script(_)) | None => true,
        })
    }

    /// Best routes: `next hop [AS path]`, and `own` for the node's.
    pub(crate) fn table(&self, name: &str) -> BTreeMap<Prefix, String> {
        self.paths(name)
            .into_iter()
            .filter_map(|(prefix, paths)| Some((prefix, paths.into_iter().next()?.1)))
            .collect()
    }

    /// Accepted paths, the best first: the peer's address, and what it says.
    pub(crate) fn paths(&self, name: &str) -> BTreeMap<Prefix, Vec<(IpAddr, String)>> {
        let rib = self.node(name).speaker().rib();
        let mut all = BTreeMap::new();
        for family in Family::ALL {
            let mut cursor = None;
            loop {
                let (page, next) = rib.page(family, cursor, 4096);
                for route in page {
                    let mut paths = Vec::new();
                    for path in route.paths.iter().filter(|path| path.accepted) {
                        let attributes = rib.path_attributes(path).unwrap().decode();
                        let text = match attributes.next_hop {
                            None => "own".to_owned(),
                            Some(hop) => format!("{} [{}]", hop.address, attributes.as_path),
                        };
                        paths.push((rib.peer(path.peer).unwrap().address, text));
                    }
                    if !paths.is_empty() {
                        all.insert(route.prefix, paths);
                    }
                }
                cursor = next;
                if cursor.is_none() {
                    break;
                }
            }
        }
        all
    }

    pub(crate) fn tables(&self) -> BTreeMap<String, BTreeMap<Prefix, String>> {
        let nodes = self
            .hosts
            .iter()
            .filter(|(_, host)| matches!(host.actor, Some(Actor::Node(_))));
        nodes
            .map(|(name, _)| (name.clone(), self.table(name)))
            .collect()
    }
}
