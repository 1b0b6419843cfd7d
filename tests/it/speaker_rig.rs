//! What tests of one speaker without a simulated world begin with: a node, its peers, and who calls from where.

use std::net::{IpAddr, Ipv4Addr};

use dunlin::speaker::{Settings, Speaker};
use dunlin::time::Instant;
use dunlin::topology::{Intent, Node, Peer, Plan, plan};

pub(crate) use crate::sim_script::{message, update_of};

pub(crate) const REMOTE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
pub(crate) const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

/// ORIGIN, the AS path and the next hop [`REMOTE`], AS numbers in two octets.
pub(crate) fn attributes(origin: u8, path: &[u16]) -> Vec<u8> {
    let mut attributes = vec![0x40, 1, 1, origin, 0x40, 2];
    attributes.push(u8::try_from(2 + 2 * path.len()).unwrap());
    attributes.extend([2, u8::try_from(path.len()).unwrap()]);
    attributes.extend(path.iter().flat_map(|asn| asn.to_be_bytes()));
    attributes.extend([0x40, 3, 4, 10, 0, 0, 2]);
    attributes
}

/// The node `me` at [`LOCAL`], with these peers.
pub(crate) fn intent(peers: Vec<Peer>) -> Intent {
    let me = Node {
        ipv4_address: Some("10.0.0.1/24".parse().unwrap()),
        ..Node::named("me")
    };
    Intent {
        nodes: vec![me],
        peers,
        ..Intent::default()
    }
}

/// What [`intent`] means for `me`.
pub(crate) fn planned(peers: Vec<Peer>) -> Plan {
    plan(&intent(peers), "me").unwrap()
}

/// A speaker that programs no routes.
pub(crate) fn speaker(now: Instant, plan: Plan) -> Speaker {
    let settings = Settings {
        seed: 1,
        hashing: Default::default(),
        track_next_hops: false,
        forwarding: false,
        max_paths: 1,
        med: Default::default(),
    };
    Speaker::new(now, settings, plan)
}
