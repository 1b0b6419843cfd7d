//! Route reflection (RFC 4456): a peer that becomes a client or ceases to be one, and the laws of
//! reflection over whole topologies of reflectors.

use dunlin::net::{Family, RouterId};
use dunlin::rib::{ExportKind, PeerFacts, PeerIndex, PeerKind, Rib, RibConfig, StandardExport};

use crate::rib_support::{CLUSTER, Net, attributes, facts, key, prefix, rib};

const fn reflect(to_clients: bool) -> ExportKind {
    ExportKind::Reflect {
        cluster_id: CLUSTER,
        to_clients,
    }
}

/// A reflector with one client (1) and three ordinary peers (2-4).
fn reflector() -> Net {
    let mut net = Net::new(rib(RibConfig::default()));
    net.up(1, PeerKind::IbgpClient, reflect(true));
    for peer in 2..=4 {
        net.up(peer, PeerKind::Ibgp, reflect(false));
    }
    net.settle(&StandardExport);
    net
}

fn announce(net: &mut Net, peer: u32, number: u32) {
    let id = net.rib.intern(&attributes(&[], peer, prefix(number)));
    net.rib
        .announce(PeerIndex(peer), prefix(number), 0, id, true);
    net.rib.release(id);
}

fn flip(net: &mut Net, peer: u32, kind: PeerKind) {
    net.rib.set_peer_kind(PeerIndex(peer), kind);
    for family in Family::ALL {
        let to_clients = kind == PeerKind::IbgpClient;
        net.rib
            .change_exports(vec![(PeerIndex(peer), key(family, reflect(to_clients)))]);
    }
}

fn has(net: &Net, peer: u32) -> Vec<u32> {
    let table = &net.receivers[&PeerIndex(peer)].table;
    (0..40)
        .filter(|n| table.contains_key(&prefix(*n)))
        .collect()
}

#[test]
fn a_peer_that_becomes_a_client_is_heard_by_all_and_hears_all() {
    let mut net = reflector();
    for peer in 1..=4 {
        announce(&mut net, peer, peer);
        announce(&mut net, peer, peer + 10);
    }
    net.settle(&StandardExport);
    assert_eq!(has(&net, 1), [2, 3, 4, 12, 13, 14]);
    assert_eq!(has(&net, 2), [1, 11]);
    assert_eq!(has(&net, 3), [1, 11]);

    flip(&mut net, 2, PeerKind::IbgpClient);
    net.settle(&StandardExport);
    assert_eq!(has(&net, 2), [1, 3, 4, 11, 13, 14]);
    assert_eq!(has(&net, 3), [1, 2, 11, 12]);
    assert_eq!(has(&net, 4), [1, 2, 11, 12]);
    for receiver in net.receivers.values() {
        assert_eq!(receiver.end_of_rib, [1, 1], "no session began anew");
    }

    flip(&mut net, 2, PeerKind::Ibgp);
    net.settle(&StandardExport);
    assert_eq!(has(&net, 1), [2, 3, 4, 12, 13, 14]);
    assert_eq!(has(&net, 2), [1, 11]);
    assert_eq!(has(&net, 3), [1, 11]);
}

#[test]
fn whom_a_flip_is_no_difference_for_hears_nothing() {
    let mut net = reflector();
    for peer in 1..=4 {
        announce(&mut net, peer, peer);
    }
    net.settle(&StandardExport);
    let read = |net: &Net, peer| net.receivers[&PeerIndex(peer)].messages;
    let before: Vec<_> = (1..=4).map(|peer| read(&net, peer)).collect();
    net.rib.set_peer_kind(PeerIndex(2), PeerKind::IbgpClient);
    net.settle(&StandardExport);
    let after: Vec<_> = (1..=4).map(|peer| read(&net, peer)).collect();
    let heard: Vec<_> = before.iter().zip(&after).map(|(b, a)| a - b).collect();
    assert_eq!(heard, [0, 0, 1, 1], "ordinary peers hear of one route");
    // Said again, it is no news.
    net.rib.set_peer_kind(PeerIndex(2), PeerKind::IbgpClient);
    net.settle(&StandardExport);
    assert_eq!(
        (1..=4).map(|peer| read(&net, peer)).collect::<Vec<_>>(),
        after
    );
}

#[test]
fn an_identifier_that_changes_while_routes_stay_decides_and_shows_anew() {
    let mut net = reflector();
    announce(&mut net, 2, 1);
    announce(&mut net, 3, 1);
    net.settle(&StandardExport);
    let best = |rib: &Rib| rib.lookup(prefix(1)).and_then(|r| Some(r.best()?.peer.0));
    let originator = |net: &Net| net.receivers[&PeerIndex(1)].table[&prefix(1)].originator_id;
    assert_eq!(best(&net.rib), Some(2));
    assert_eq!(originator(&net), Some(facts(2, PeerKind::Ibgp).router_id));
    let again = |peer, router_id| PeerFacts {
        router_id,
        ..facts(peer, PeerKind::Ibgp)
    };
    net.rib.set_peer(PeerIndex(2), again(2, RouterId(7)));
    net.settle(&StandardExport);
    assert_eq!(originator(&net), Some(RouterId(7)));
    net.rib
        .set_peer(PeerIndex(2), again(2, RouterId(0xFFFF_FFFF)));
    net.settle(&StandardExport);
    assert_eq!(best(&net.rib), Some(3));
    assert_eq!(originator(&net), Some(facts(3, PeerKind::Ibgp).router_id));
}
