//! Paths that are not as good as the best, for who wants a way out at hand (`add-path = "all"` or a number):
//! the best so many, in order; a change costs those who want them and nobody else.

use dunlin::net::Family;
use dunlin::rib::{
    ExportKind, GroupKey, MAX_SENT_UNEQUAL, PeerIndex, PeerKind, RibConfig, StandardExport,
};

use crate::rib_support::{CLUSTER, Net, attributes, key, prefix, rib};

const CLIENT: PeerKind = PeerKind::IbgpClient;
const TO_CLIENTS: ExportKind = ExportKind::Reflect {
    cluster_id: CLUSTER,
    to_clients: true,
};

/// Clients 1-5 announce; of 101-104 the first wants all, the second two, the third the best and its equals, and
/// the fourth has no Add-Path.
fn reflector() -> Net {
    let mut net = Net::new(rib(RibConfig::default()));
    net.paths = [(101, MAX_SENT_UNEQUAL), (102, 2)].into();
    for peer in (1..=5).chain(101..=104) {
        net.up_with(peer, CLIENT, TO_CLIENTS, (101..104).contains(&peer));
    }
    net.settle(&StandardExport);
    net
}

/// The higher, the better.
fn announce(net: &mut Net, peer: u32, path_id: u32, preference: u32) {
    let mut attributes = attributes(&[], peer, prefix(1));
    attributes.local_pref = Some(preference);
    let id = net.rib.intern(&attributes);
    let from = PeerIndex(peer);
    net.rib.announce(from, prefix(1), path_id, id, true);
    net.rib.release(id);
    net.settle(&StandardExport);
}

fn withdraw(net: &mut Net, peer: u32) {
    net.rib.withdraw(PeerIndex(peer), prefix(1), 0);
    net.settle(&StandardExport);
}

/// The preferences of what a peer has, the best first.
fn has(net: &Net, peer: u32) -> Vec<u32> {
    let receiver = &net.receivers[&PeerIndex(peer)];
    let with_id = receiver.paths.values();
    let all = with_id.chain(receiver.table.values());
    let mut all: Vec<u32> = all.map(|sent| sent.local_pref.unwrap()).collect();
    all.sort_unstable_by(|a, b| b.cmp(a));
    all
}

fn messages(net: &Net) -> [usize; 4] {
    [101, 102, 103, 104].map(|peer| net.receivers[&PeerIndex(peer)].messages)
}

#[test]
fn who_wants_backups_has_them_and_nobody_else_hears_of_them() {
    let mut net = reflector();
    for (peer, preference) in [(1, 300), (2, 200), (3, 400), (4, 100), (5, 250)] {
        announce(&mut net, peer, 0, preference);
    }
    assert_eq!(has(&net, 101), [400, 300, 250, 200, 100]);
    assert_eq!(has(&net, 102), [400, 300]);
    assert_eq!(has(&net, 103), [400]);
    assert_eq!(has(&net, 104), [400]);

    // The last one goes, or is another one: only who wants all is told.
    let before = messages(&net);
    announce(&mut net, 4, 0, 150);
    withdraw(&mut net, 4);
    let after = messages(&net);
    assert_eq!(has(&net, 101), [400, 300, 250, 200]);
    assert!(after[0] > before[0]);
    assert_eq!(after[1..], before[1..]);

    // The best one goes: who has the second has it already.
    withdraw(&mut net, 3);
    assert_eq!(has(&net, 101), [300, 250, 200]);
    assert_eq!(has(&net, 102), [300, 250]);
    assert_eq!(has(&net, 103), [300]);
    assert_eq!(has(&net, 104), [300]);
    for peer in [1, 2, 5] {
        withdraw(&mut net, peer);
    }
    for peer in 101..=104 {
        assert!(has(&net, peer).is_empty());
    }
    assert_eq!(net.rib.lingering(Family::Ipv4), 0);
    assert!(net.rib.attributes().is_empty());
}

#[test]
fn another_number_is_told_as_a_difference_in_mid_session() {
    let mut net = reflector();
    for (peer, preference) in [(1, 300), (2, 200), (3, 400), (4, 100), (5, 250)] {
        announce(&mut net, peer, 0, preference);
    }
    for (paths, expected) in [
        (3, vec![400, 300, 250]),
        (0, vec![400]),
        (MAX_SENT_UNEQUAL, vec![400, 300, 250, 200, 100]),
        (1, vec![400]),
        (2, vec![400, 300]),
    ] {
        let before = messages(&net);
        let changed = |peer: u32| {
            let key = GroupKey {
                add_path: true,
                paths,
                ..key(Family::Ipv4, TO_CLIENTS)
            };
            (PeerIndex(peer), key)
        };
        net.rib.change_exports(vec![changed(102), changed(103)]);
        net.settle(&StandardExport);
        assert_eq!(has(&net, 102), expected, "{paths}");
        assert_eq!(has(&net, 103), expected, "{paths}");
        let after = messages(&net);
        assert_eq!((after[0], after[3]), (before[0], before[3]));
    }
}

#[test]
fn who_wants_none_of_it_costs_no_identifier() {
    let mut net = Net::new(rib(RibConfig::default()));
    for peer in 1..=3 {
        net.up_with(peer, CLIENT, TO_CLIENTS, true);
    }
    for peer in 1..=3 {
        announce(&mut net, peer, 0, 100 * peer);
    }
    let ids = |net: &Net| -> Vec<u8> {
        let route = net.rib.lookup(prefix(1)).unwrap();
        route.paths.iter().map(|path| path.send_id).collect()
    };
    assert_eq!(ids(&net).iter().filter(|id| **id != 0).count(), 1);
    // Somebody comes who wants them.
    net.paths = [(4, 2)].into();
    net.up_with(4, CLIENT, TO_CLIENTS, true);
    net.settle(&StandardExport);
    assert_eq!(has(&net, 4), [300, 200]);
    assert_eq!(has(&net, 1), [300]);
}

#[test]
fn there_is_an_end_to_all() {
    let mut net = reflector();
    for peer in 1..=5 {
        for id in 0..20 {
            announce(&mut net, peer, id, 1_000 - 20 * peer - id);
        }
    }
    let sent = has(&net, 101);
    assert_eq!(sent.len(), usize::from(MAX_SENT_UNEQUAL));
    assert!(sent.iter().rev().is_sorted());
    assert_eq!(sent[0], 980);
    assert_eq!(*sent.last().unwrap(), 980 - 62, "the best ones");
}
