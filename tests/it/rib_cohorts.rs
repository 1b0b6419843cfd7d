//! Update groups: whatever happens and however slowly somebody reads, everybody ends with the table
//! that policy gives them, was told of nothing they did not have, and costs one encoding together.

use std::collections::BTreeMap;

use dunlin::net::{Family, Prefix};
use dunlin::rib::{
    ExportKind, ExportPolicy, ExportRoute, GroupKey, HIGH_WATER, PATIENCE, PeerFacts, PeerIndex,
    PeerKind, RibConfig, StandardExport, export,
};
use dunlin::time::Instant;
use dunlin::wire::attribute::PathAttributes;
use dunlin::wire::frame;
use dunlin::wire::update::{DecodeContext, RawUpdate, decode};
use proptest::prelude::*;

use crate::rib_support::{CLUSTER, Net, OUR_AS, address, attributes, facts, key, prefix, rib};

/// Refuses some prefixes and some attributes.
struct Picky;

impl ExportPolicy for Picky {
    fn accept(&self, key: &GroupKey, route: &ExportRoute<'_>) -> bool {
        export::permitted(key, route.source, route.attributes) && route.prefix != prefix(7)
    }

    fn rewrite(
        &self,
        key: &GroupKey,
        attributes: PathAttributes,
        source: &PeerFacts,
    ) -> Option<PathAttributes> {
        let wanted = attributes.med != Some(13);
        export::rewrite(key, attributes, source).filter(|_| wanted)
    }
}

const PEERS: u32 = 8;
const PREFIXES: u32 = 24;

fn kind(peer: u32) -> (PeerKind, ExportKind) {
    match peer {
        1..=3 => (
            PeerKind::Ebgp,
            ExportKind::Ebgp {
                local_as: OUR_AS,
                remote_as: None,
            },
        ),
        4..=6 => (
            PeerKind::IbgpClient,
            ExportKind::Reflect {
                cluster_id: CLUSTER,
                to_clients: true,
            },
        ),
        _ => (
            PeerKind::Ibgp,
            ExportKind::Reflect {
                cluster_id: CLUSTER,
                to_clients: false,
            },
        ),
    }
}

fn route(peer: u32, number: u32, variant: u32, thirds: bool) -> PathAttributes {
    let path: &[u32] = if peer <= 3 {
        &[65000 + 1, 64999][..]
    } else {
        &[64999]
    };
    // Now and then somebody else is to be sent to.
    let next_hop = match variant % 4 {
        3 if thirds => 1 + (peer + variant) % PEERS,
        _ => peer,
    };
    let mut attributes = attributes(path, next_hop, prefix(number));
    attributes.local_pref = (peer > 3).then_some(100 + variant % 3);
    attributes.med = (variant % 5 == 4).then_some(13);
    // Big sets fill outboxes; the biggest do not fit into a message at all.
    let communities = [0, 3, 600, 900, 1100][variant as usize % 5];
    attributes.communities = (1..=communities).collect();
    attributes
}

/// What the peer should have: policy applied to the best paths.
fn expected(net: &Net, peer: u32) -> BTreeMap<Prefix, PathAttributes> {
    let mut table = BTreeMap::new();
    for family in Family::ALL {
        let key = key(family, kind(peer).1);
        for route in net.rib.page(family, None, usize::MAX).0 {
            let Some(best) = route.best().filter(|best| best.peer != PeerIndex(peer)) else {
                continue;
            };
            let source = net.rib.peer(best.peer).unwrap();
            let attributes = net.rib.path_attributes(best).unwrap();
            let export = ExportRoute {
                prefix: route.prefix,
                peer: best.peer,
                source,
                attributes,
            };
            if !Picky.accept(&key, &export) {
                continue;
            }
            let Some(sent) = Picky.rewrite(&key, attributes.decode(), source) else {
                continue;
            };
            let itself = sent.next_hop.unwrap().address == address(peer);
            if sent.communities.len() < 1000 && !itself {
                table.insert(route.prefix, sent);
            }
        }
    }
    table
}

#[derive(Debug, Clone)]
enum Op {
    Announce {
        peer: u32,
        prefix: u32,
        variant: u32,
    },
    Withdraw {
        peer: u32,
        prefix: u32,
    },
    Bounce {
        peer: u32,
    },
    Refresh {
        peer: u32,
        framed: bool,
        family: usize,
    },
    Poll {
        limit: usize,
    },
    Read {
        peer: u32,
        chunks: usize,
    },
    Wait,
}

fn op() -> impl Strategy<Value = Op> {
    let peer = 1..=PEERS;
    let number = 0..PREFIXES;
    prop_oneof![
        12 => (peer.clone(), number.clone(), 0..20u32)
            .prop_map(|(peer, prefix, variant)| Op::Announce { peer, prefix, variant }),
        4 => (peer.clone(), number).prop_map(|(peer, prefix)| Op::Withdraw { peer, prefix }),
        1 => peer.clone().prop_map(|peer| Op::Bounce { peer }),
        1 => (peer, any::<bool>(), 0..2usize)
            .prop_map(|(peer, framed, family)| Op::Refresh { peer, framed, family }),
        4 => (1..20usize).prop_map(|limit| Op::Poll { limit }),
        // The first peers read often, the last ones hardly ever.
        4 => (1..=PEERS / 2, 1..9usize).prop_map(|(peer, chunks)| Op::Read { peer, chunks }),
        1 => Just(Op::Wait),
    ]
}

fn run(net: &mut Net, op: &Op) {
    match *op {
        Op::Announce {
            peer,
            prefix: number,
            variant,
        } => {
            let id = net.rib.intern(&route(peer, number, variant, net.thirds));
            net.rib
                .announce(PeerIndex(peer), prefix(number), 0, id, variant != 19);
            net.rib.release(id);
        }
        Op::Withdraw {
            peer,
            prefix: number,
        } => {
            net.rib.withdraw(PeerIndex(peer), prefix(number), 0);
        }
        Op::Bounce { peer } => {
            net.down(peer);
            net.up(peer, kind(peer).0, kind(peer).1);
        }
        Op::Refresh {
            peer,
            framed,
            family,
        } => {
            net.rib
                .refresh(PeerIndex(peer), Family::ALL[family], framed);
        }
        Op::Poll { limit } => {
            net.poll(&Picky, limit);
        }
        Op::Read { peer, chunks } => net.read(peer, chunks),
        Op::Wait => net.now = net.now + PATIENCE,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn everybody_ends_with_what_policy_says(
        ops in proptest::collection::vec(op(), 1..400),
        thirds in any::<bool>(),
    ) {
        let mut net = Net::new(rib(RibConfig::default()));
        net.thirds = thirds;
        for peer in 1..=PEERS {
            net.up(peer, kind(peer).0, kind(peer).1);
        }
        for op in &ops {
            run(&mut net, op);
        }
        net.settle(&Picky);
        for peer in 1..=PEERS {
            let receiver = &net.receivers[&PeerIndex(peer)];
            prop_assert!(receiver.refreshes_ended());
            prop_assert_eq!(&receiver.table, &expected(&net, peer), "peer {}", peer);
            prop_assert_eq!(receiver.end_of_rib, [1, 1]);
            prop_assert_eq!(net.rib.queued(PeerIndex(peer)), 0);
        }
        // All have caught up, so each group is in one piece again.
        for group in net.rib.groups() {
            prop_assert_eq!(group.cohorts.len(), 1, "{:?}", group);
        }
        for family in Family::ALL {
            prop_assert_eq!(net.rib.lingering(family), 0);
        }
        // And nothing is left behind when all is gone, whatever had not been sent yet.
        for op in ops.iter().filter(|op| !matches!(op, Op::Poll { .. })) {
            run(&mut net, op);
        }
        for peer in 1..=PEERS {
            net.down(peer);
        }
        for family in Family::ALL {
            prop_assert_eq!(net.rib.lingering(family), 0);
        }
        prop_assert_eq!(net.rib.attributes().len(), 0);
        prop_assert!(net.rib.groups().is_empty());
    }
}

fn reflector(clients: u32) -> Net {
    let mut net = Net::new(rib(RibConfig::default()));
    for peer in 1..=clients {
        let kind = ExportKind::Reflect {
            cluster_id: CLUSTER,
            to_clients: true,
        };
        net.up(peer, PeerKind::IbgpClient, kind);
    }
    net.settle(&StandardExport);
    net
}

fn announce(net: &mut Net, peer: u32, prefix: Prefix, attributes: &PathAttributes) {
    let id = net.rib.intern(attributes);
    net.rib.announce(PeerIndex(peer), prefix, 0, id, true);
    net.rib.release(id);
}

#[test]
fn five_hundred_clients_cost_one_encoding_and_few_deliveries() {
    let mut net = reflector(500);
    let (encoded, deliveries) = (net.rib.encoded_attributes(), net.deliveries);
    for peer in 1..=500 {
        for block in 0..2 {
            let prefix = format!("10.{}.{}.{}/26", 64 + peer / 256, peer % 256, block * 64);
            let prefix = prefix.parse().unwrap();
            announce(&mut net, peer, prefix, &attributes(&[], peer, prefix));
        }
    }
    net.settle(&StandardExport);
    assert_eq!(
        net.rib.encoded_attributes() - encoded,
        500,
        "one for each set of attributes"
    );
    assert!(
        net.deliveries - deliveries <= 1 + 2 * 500,
        "{}",
        net.deliveries - deliveries
    );
    for (peer, receiver) in &net.receivers {
        assert_eq!(receiver.table.len(), 2 * 499, "{peer:?}");
    }
}

#[test]
fn a_change_reaches_five_hundred_receivers_in_one_delivery() {
    let mut net = reflector(500);
    let before = net.deliveries;
    announce(&mut net, 1, prefix(1), &attributes(&[], 1, prefix(1)));
    net.settle(&StandardExport);
    assert_eq!(net.deliveries - before, 1);
    net.rib.withdraw(PeerIndex(1), prefix(1), 0);
    net.settle(&StandardExport);
    assert_eq!(net.deliveries - before, 2);
    assert!(net.receivers.values().all(|r| r.table.is_empty()));
}

#[test]
fn a_change_and_its_reversal_before_anybody_reads_send_nothing() {
    let mut net = reflector(3);
    announce(&mut net, 1, prefix(1), &attributes(&[], 1, prefix(1)));
    net.rib.withdraw(PeerIndex(1), prefix(1), 0);
    let before = net.deliveries;
    net.settle(&StandardExport);
    assert_eq!(net.deliveries, before);
    assert_eq!(net.rib.prefixes(prefix(1).family()), 0);
}

/// Announces, by client 1, so much that a member's outbox overflows.
fn flood(net: &mut Net, round: u32) {
    for number in 0..600 {
        let prefix = prefix(number * 4 + 1);
        let mut attributes = attributes(&[], 1, prefix);
        attributes.communities = (1..200)
            .map(|n| n + 1000 * (number + 600 * round))
            .collect();
        announce(net, 1, prefix, &attributes);
    }
}

#[test]
fn a_member_that_does_not_read_delays_nobody_and_joins_again() {
    let mut net = reflector(4);
    flood(&mut net, 0);
    for _ in 0..100 {
        net.poll(&StandardExport, usize::MAX);
        net.read(2, usize::MAX);
        net.read(3, usize::MAX);
        net.now = net.rib.next_timeout().unwrap_or(net.now);
    }
    assert_eq!(net.receivers[&PeerIndex(2)].table.len(), 600);
    assert_eq!(net.receivers[&PeerIndex(3)].table.len(), 600);
    let stuck = net.rib.queued(PeerIndex(4));
    assert!(
        (HIGH_WATER..HIGH_WATER + 128 * 1024).contains(&stuck),
        "{stuck}"
    );
    assert_eq!(
        net.rib.groups().iter().map(|g| g.cohorts.len()).max(),
        Some(2)
    );
    // What changes meanwhile costs it nothing.
    flood(&mut net, 1);
    net.poll(&StandardExport, usize::MAX);
    assert_eq!(net.rib.queued(PeerIndex(4)), stuck);
    net.settle(&StandardExport);
    assert_eq!(
        net.receivers[&PeerIndex(4)].table,
        net.receivers[&PeerIndex(2)].table
    );
    assert!(net.rib.groups().iter().all(|g| g.cohorts.len() == 1));
}

#[test]
fn a_slow_writer_is_waited_for_before_it_is_split_off() {
    let mut net = reflector(3);
    flood(&mut net, 0);
    net.poll(&StandardExport, usize::MAX);
    net.read(2, usize::MAX);
    net.poll(&StandardExport, usize::MAX);
    assert!(net.rib.next_timeout().is_some());
    // Its turn comes late, but before patience ends.
    net.read(3, usize::MAX);
    net.poll(&StandardExport, usize::MAX);
    assert!(net.rib.groups().iter().all(|g| g.cohorts.len() == 1));
}

#[test]
fn end_of_rib_follows_the_initial_table() {
    let mut net = reflector(1);
    flood(&mut net, 0);
    let kind = ExportKind::Reflect {
        cluster_id: CLUSTER,
        to_clients: true,
    };
    net.up(2, PeerKind::IbgpClient, kind);
    let mut seen = 0;
    while seen < 600 {
        assert_eq!(net.receivers[&PeerIndex(2)].end_of_rib[0], 0);
        net.poll(&StandardExport, 1);
        net.read(2, 1);
        seen = net.receivers[&PeerIndex(2)].table.len();
    }
    net.settle(&StandardExport);
    assert_eq!(net.receivers[&PeerIndex(2)].end_of_rib, [1, 1]);
}

#[test]
fn a_refresh_sends_everything_again_to_one_member_only() {
    let mut net = reflector(3);
    announce(&mut net, 1, prefix(1), &attributes(&[], 1, prefix(1)));
    net.settle(&StandardExport);
    let before = [1, 2, 3].map(|peer| net.receivers[&PeerIndex(peer)].messages);
    net.rib.refresh(PeerIndex(2), Family::Ipv4, true);
    net.settle(&StandardExport);
    let after = [1, 2, 3].map(|peer| net.receivers[&PeerIndex(peer)].messages);
    assert_eq!(
        [0, 1, 2].map(|i| after[i] - before[i]),
        [0, 3, 0],
        "begin, the route, end"
    );
    assert!(net.rib.groups().iter().all(|g| g.cohorts.len() == 1));
}

#[test]
fn a_withdrawal_during_a_refresh_is_not_lost_to_the_next_user_of_its_number() {
    let mut net = reflector(3);
    announce(&mut net, 1, prefix(1), &attributes(&[], 1, prefix(1)));
    net.settle(&StandardExport);
    for peer in [2, 3] {
        net.rib.refresh(PeerIndex(peer), Family::Ipv4, false);
    }
    net.down(1);
    announce(&mut net, 2, prefix(2), &attributes(&[], 2, prefix(2)));
    net.settle(&StandardExport);
    let table = &net.receivers[&PeerIndex(3)].table;
    assert_eq!(table.keys().copied().collect::<Vec<_>>(), [prefix(2)]);
    assert!(net.receivers[&PeerIndex(2)].table.is_empty());
}

#[test]
fn another_policy_withdraws_what_it_refuses_and_needs_no_new_session() {
    struct Numbered;
    impl ExportPolicy for Numbered {
        fn accept(&self, key: &GroupKey, route: &ExportRoute<'_>) -> bool {
            key.policy == 0 || route.prefix != prefix(1)
        }
    }
    let mut net = reflector(3);
    for number in [1, 2] {
        announce(
            &mut net,
            1,
            prefix(number),
            &attributes(&[], 1, prefix(number)),
        );
    }
    net.settle(&Numbered);
    let kind = ExportKind::Reflect {
        cluster_id: CLUSTER,
        to_clients: true,
    };
    let changed = GroupKey {
        long_lived: false,
        policy: 1,
        ..key(Family::Ipv4, kind)
    };
    net.rib
        .change_exports(vec![(PeerIndex(2), changed.clone())]);
    net.rib.change_exports(vec![(PeerIndex(2), changed)]);
    net.settle(&Numbered);
    let has = |net: &Net, peer: u32| {
        net.receivers[&PeerIndex(peer)]
            .table
            .keys()
            .copied()
            .collect::<Vec<_>>()
    };
    assert_eq!(has(&net, 2), [prefix(2)]);
    assert_eq!(has(&net, 3), [prefix(1), prefix(2)]);
    net.rib
        .change_exports(vec![(PeerIndex(2), key(Family::Ipv4, kind))]);
    net.settle(&Numbered);
    assert_eq!(has(&net, 2), [prefix(1), prefix(2)]);
    assert_eq!(net.rib.groups().len(), 2, "one a family");
    assert!(net.rib.groups().iter().all(|g| g.cohorts.len() == 1));
    assert_eq!(net.receivers[&PeerIndex(2)].end_of_rib, [1, 1]);
}

#[test]
fn bytes_of_a_session_that_ended_are_not_delivered_to_the_next() {
    let mut net = reflector(3);
    announce(&mut net, 1, prefix(1), &attributes(&[], 1, prefix(1)));
    announce(&mut net, 2, prefix(2), &attributes(&[], 2, prefix(2)));
    // Peer 3 gets both routes; peers 1 and 2 get one each, which nobody has fetched yet.
    net.poll(&StandardExport, 1);
    assert!(net.rib.queued(PeerIndex(2)) > 0);
    net.down(2);
    // `Net` refuses bytes for a peer that is down.
    net.settle(&StandardExport);
    assert_eq!(net.rib.queued(PeerIndex(2)), 0);
    assert_eq!(net.receivers[&PeerIndex(3)].table.len(), 1);
}

#[test]
fn a_peer_with_path_identifiers_gets_one_with_each_route_and_each_withdrawal() {
    let mut rib = rib(RibConfig::default());
    rib.set_peer(PeerIndex(1), facts(1, PeerKind::Ebgp));
    let kind = ExportKind::Ebgp {
        local_as: OUR_AS,
        remote_as: None,
    };
    rib.add_export(
        PeerIndex(2),
        GroupKey {
            add_path: true,
            ..key(Family::Ipv4, kind)
        },
    );
    let prefix = prefix(1);
    let id = rib.intern(&attributes(&[65001], 1, prefix));
    let ctx = DecodeContext {
        four_octet_as: true,
        ebgp: true,
        add_path: [true; 2],
        families: [true; 2],
        extended_next_hop: false,
        permit_as_sets: false,
        beside: false,
    };
    for announced in [true, false] {
        if announced {
            rib.announce(PeerIndex(1), prefix, 7, id, true);
        } else {
            rib.withdraw(PeerIndex(1), prefix, 7);
        }
        let delivery = rib.poll_send(Instant::ZERO, &StandardExport).unwrap();
        let (_, body) = frame::messages(&delivery.bytes).next().unwrap();
        let update = decode(RawUpdate::split(body).unwrap(), &ctx).unwrap();
        let list = if announced {
            update.announced
        } else {
            update.withdrawn
        };
        assert_eq!(
            list.iter().collect::<Vec<_>>(),
            [(1, prefix)],
            "ours, not the source's"
        );
    }
}
