//! Add-Path (RFC 7911): each member has the paths that it should have, each under an identifier that it
//! keeps, against a naive Adj-RIB-Out for each peer.
#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use std::collections::{BTreeMap, BTreeSet};

use dunlin::net::{Family, Prefix};
use dunlin::rib::{
    DecisionConfig, ExportKind, ExportPolicy, ExportRoute, GroupKey, MAX_RECEIVED, PATIENCE, Path,
    PeerFacts, PeerIndex, PeerKind, RibConfig, StandardExport, export,
};
use dunlin::wire::attribute::PathAttributes;
use proptest::prelude::*;

use crate::rib_support::{CLUSTER, Net, OUR_AS, address, attributes, cases, key, prefix, rib};

const PEERS: u32 = 9;
const PREFIXES: u32 = 10;
const MAX_PATHS: u16 = 3;

/// Refuses a prefix, some sources and some attributes.
struct Picky;

impl ExportPolicy for Picky {
    fn accept(&self, key: &GroupKey, route: &ExportRoute<'_>) -> bool {
        let refused = route.prefix == prefix(7) || (route.peer.0 == 5 && route.prefix == prefix(5));
        export::permitted(key, route.source, route.attributes) && !refused
    }

    fn rewrite(
        &self,
        key: &GroupKey,
        attributes: PathAttributes,
        source: &PeerFacts,
    ) -> Option<PathAttributes> {
        let wanted = attributes.communities.first() != Some(&13);
        export::rewrite(key, attributes, source).filter(|_| wanted)
    }
}

/// Two peers each: eBGP, clients and others, with Add-Path the odd ones.
fn begins_as(peer: u32) -> PeerKind {
    match peer {
        1..=2 => PeerKind::Ebgp,
        3..=6 => PeerKind::IbgpClient,
        _ => PeerKind::Ibgp,
    }
}

const fn export_kind(kind: PeerKind) -> ExportKind {
    match kind {
        PeerKind::Ebgp | PeerKind::Local | PeerKind::Beside => ExportKind::Ebgp {
            local_as: OUR_AS,
            remote_as: None,
        },
        PeerKind::Ibgp | PeerKind::IbgpClient => ExportKind::Reflect {
            cluster_id: CLUSTER,
            to_clients: matches!(kind, PeerKind::IbgpClient),
        },
    }
}

const fn has_add_path(peer: u32) -> bool {
    !peer.is_multiple_of(2)
}

fn group(net: &Net, peer: u32, family: Family) -> GroupKey {
    let kind = net.rib.peer(PeerIndex(peer)).unwrap().kind;
    GroupKey {
        add_path: has_add_path(peer),
        paths: net.paths.get(&peer).copied().unwrap_or(0),
        ..key(family, export_kind(kind))
    }
}

/// Nearly all routes are equal but for the next hop, so that they share the traffic.
fn route(peer: u32, number: u32, variant: u32, thirds: bool) -> PathAttributes {
    let path: &[u32] = if peer <= 2 { &[65001] } else { &[64999] };
    let mut attributes = attributes(
        path,
        variant % 5 + if thirds { 0 } else { 100 },
        prefix(number),
    );
    attributes.local_pref = (peer > 2).then_some(100 + u32::from(variant == 11));
    attributes.communities = match variant {
        12 => vec![13],
        // So much that outboxes fill, and that a batch does not hold all.
        13 => (1000..1900).collect(),
        // More than a message holds.
        14 => (1000..2100).collect(),
        _ => vec![],
    };
    attributes
}

/// What a peer should have, by a walk over the table: path identifier 0 stands for none.
fn expected(net: &Net, peer: u32) -> BTreeMap<(Prefix, u32), PathAttributes> {
    let mut table = BTreeMap::new();
    for family in Family::ALL {
        let key = group(net, peer, family);
        for route in net.rib.page(family, None, usize::MAX).0 {
            // All next hops can be reached here.
            let unequal = key.paths > 0;
            let goes = |path: &&Path| path.selected || (unequal && path.accepted);
            let several = route.paths.iter().filter(goes);
            let limit = match (key.add_path, key.paths) {
                (false, _) => 1,
                (true, 0) => 16,
                (true, most) => usize::from(most),
            };
            for path in several.take(limit).filter(|path| path.peer.0 != peer) {
                let source = net.rib.peer(path.peer).unwrap();
                let attributes = net.rib.path_attributes(path).unwrap();
                let export = ExportRoute {
                    prefix: route.prefix,
                    peer: path.peer,
                    source,
                    attributes,
                };
                let sent = Picky
                    .accept(&key, &export)
                    .then(|| Picky.rewrite(&key, attributes.decode(), source))
                    .flatten()
                    .filter(|sent| sent.communities.len() < 1000)
                    .filter(|sent| sent.next_hop.unwrap().address != address(peer));
                let id = if key.add_path { path.send_id.into() } else { 0 };
                if let Some(sent) = sent {
                    assert!(table.insert((route.prefix, id), sent).is_none());
                }
            }
        }
    }
    table
}

/// What the RIB says that a peer was sent, with the identifiers, page by page.
fn told(net: &Net, peer: u32) -> Vec<(Prefix, u32)> {
    let mut all = Vec::new();
    for family in Family::ALL {
        let mut from = None;
        loop {
            let (page, next) = net.rib.told(PeerIndex(peer), family, from, 3);
            for told in page {
                assert!(!told.pending, "{told:?}");
                let path = told.path.unwrap();
                let route = ExportRoute {
                    prefix: told.prefix,
                    peer: path.peer,
                    source: net.rib.peer(path.peer).unwrap(),
                    attributes: net.rib.path_attributes(&path).unwrap(),
                };
                let key = net.rib.export_key(PeerIndex(peer), family).unwrap();
                if !net.rib.leads_to(PeerIndex(peer), key, &route) {
                    assert!(
                        net.rib
                            .told_of(PeerIndex(peer), told.prefix)
                            .contains(&told)
                    );
                    all.push((told.prefix, told.path_id));
                }
            }
            let Some(next) = next else { break };
            from = Some(next);
        }
    }
    all.sort_unstable();
    all
}

/// The identifiers by prefix and by who sent what.
type Ids = BTreeMap<(Prefix, u32, u32), u8>;

fn ids(net: &Net) -> Ids {
    let mut ids = Ids::new();
    for family in Family::ALL {
        for route in net.rib.page(family, None, usize::MAX).0 {
            let mut taken = BTreeSet::new();
            for path in route.paths {
                assert!(path.send_id != 0 || !path.selected, "{path:?}");
                assert!(path.send_id == 0 || path.accepted, "{path:?}");
                if path.send_id != 0 {
                    assert!(taken.insert(path.send_id), "{:?}", route.paths);
                    ids.insert((route.prefix, path.peer.0, path.path_id), path.send_id);
                }
            }
        }
    }
    ids
}

#[derive(Debug, Clone)]
enum Op {
    Announce {
        peer: u32,
        prefix: u32,
        path_id: u32,
        variant: u32,
    },
    Withdraw {
        peer: u32,
        prefix: u32,
        path_id: u32,
    },
    Bounce {
        peer: u32,
    },
    /// A client becomes an ordinary peer, or the other way about.
    Flip {
        peer: u32,
    },
    Stale {
        peer: u32,
        then_swept: bool,
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
    let (peer, number, id) = (1..=PEERS, 0..PREFIXES, 0..3u32);
    prop_oneof![
        14 => (peer.clone(), number.clone(), id.clone(), 0..15u32).prop_map(
            |(peer, prefix, path_id, variant)| Op::Announce { peer, prefix, path_id, variant }),
        6 => (peer.clone(), number, id)
            .prop_map(|(peer, prefix, path_id)| Op::Withdraw { peer, prefix, path_id }),
        1 => peer.clone().prop_map(|peer| Op::Bounce { peer }),
        1 => (3..=PEERS).prop_map(|peer| Op::Flip { peer }),
        1 => (peer.clone(), any::<bool>())
            .prop_map(|(peer, then_swept)| Op::Stale { peer, then_swept }),
        1 => (peer, any::<bool>(), 0..2usize)
            .prop_map(|(peer, framed, family)| Op::Refresh { peer, framed, family }),
        4 => (1..20usize).prop_map(|limit| Op::Poll { limit }),
        // The first peers read often, the last ones hardly ever.
        4 => (1..=PEERS / 2, 1..9usize).prop_map(|(peer, chunks)| Op::Read { peer, chunks }),
        1 => Just(Op::Wait),
    ]
}

fn up(net: &mut Net, peer: u32) {
    let kind = begins_as(peer);
    net.up_with(peer, kind, export_kind(kind), has_add_path(peer));
}

fn run(net: &mut Net, op: &Op) {
    match *op {
        Op::Announce {
            peer,
            prefix: number,
            path_id,
            variant,
        } => {
            let id = net.rib.intern(&route(peer, number, variant, net.thirds));
            net.rib
                .announce(PeerIndex(peer), prefix(number), path_id, id, variant != 10);
            net.rib.release(id);
        }
        Op::Withdraw {
            peer,
            prefix: number,
            path_id,
        } => {
            net.rib.withdraw(PeerIndex(peer), prefix(number), path_id);
        }
        Op::Bounce { peer } => {
            net.down(peer);
            up(net, peer);
        }
        Op::Flip { peer } => {
            let kind = match net.rib.peer(PeerIndex(peer)).unwrap().kind {
                PeerKind::IbgpClient => PeerKind::Ibgp,
                _ => PeerKind::IbgpClient,
            };
            net.rib.set_peer_kind(PeerIndex(peer), kind);
            for family in Family::ALL {
                let key = group(net, peer, family);
                net.rib.change_exports(vec![(PeerIndex(peer), key)]);
            }
        }
        Op::Stale { peer, then_swept } => {
            for family in Family::ALL {
                net.rib.mark_stale(PeerIndex(peer), family);
                if then_swept {
                    net.rib.sweep_stale(PeerIndex(peer), family);
                }
            }
        }
        Op::Refresh {
            peer,
            framed,
            family,
        } => net
            .rib
            .refresh(PeerIndex(peer), Family::ALL[family], framed),
        Op::Poll { limit } => {
            net.poll(&Picky, limit);
        }
        Op::Read { peer, chunks } => net.read(peer, chunks),
        Op::Wait => net.now = net.now + PATIENCE,
    }
}

fn several() -> RibConfig {
    RibConfig {
        decision: DecisionConfig {
            max_paths: MAX_PATHS,
            ..DecisionConfig::default()
        },
        ..RibConfig::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(64), failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn everybody_ends_with_the_paths_that_policy_says(
        ops in proptest::collection::vec(op(), 1..300),
        thirds in any::<bool>(),
    ) {
        let mut net = Net::new(rib(several()));
        // The best and its equals, one, two, three, all.
        net.paths = [(3, 1), (5, 2), (7, 3), (9, 63)].into();
        net.thirds = thirds;
        for peer in 1..=PEERS {
            up(&mut net, peer);
        }
        let mut before = ids(&net);
        for op in &ops {
            run(&mut net, op);
            let now = ids(&net);
            for (path, id) in &now {
                prop_assert!(before.get(path).is_none_or(|was| was == id), "{path:?} {op:?}");
            }
            before = now;
        }
        net.settle(&Picky);
        for peer in 1..=PEERS {
            let receiver = &net.receivers[&PeerIndex(peer)];
            let single = receiver.table.iter().map(|(prefix, sent)| ((*prefix, 0), sent.clone()));
            let mut has = receiver.paths.clone();
            has.extend(single);
            prop_assert_eq!(&has, &expected(&net, peer), "peer {}", peer);
            prop_assert_eq!(has.keys().copied().collect::<Vec<_>>(), told(&net, peer));
            prop_assert!(receiver.refreshes_ended());
            prop_assert_eq!(receiver.end_of_rib, [1, 1]);
            prop_assert_eq!(net.rib.queued(PeerIndex(peer)), 0);
            let sum: usize = Family::ALL.iter().map(|f| net.rib.advertised(PeerIndex(peer), *f)).sum();
            // The record is one for all, those that a route leads to among them.
            let spared = net.rib.spared().get(&PeerIndex(peer)).copied().unwrap_or(0);
            prop_assert!(spared == 0 || thirds);
            prop_assert_eq!(sum - spared, has.len(), "peer {}", peer);
        }
        for group in net.rib.groups() {
            prop_assert_eq!(group.cohorts.len(), 1, "all have caught up: {:?}", group);
        }
        for op in ops.iter().filter(|op| !matches!(op, Op::Poll { .. })) {
            run(&mut net, op);
        }
        for peer in 1..=PEERS {
            net.down(peer);
        }
        prop_assert!(Family::ALL.iter().all(|&family| net.rib.lingering(family) == 0));
        prop_assert_eq!(net.rib.attributes().len(), 0);
        prop_assert!(net.rib.groups().is_empty());
    }
}

/// A reflector with three clients that announce (1-3), one client with Add-Path (4), one without (5).
fn reflector() -> Net {
    let mut net = Net::new(rib(RibConfig {
        decision: DecisionConfig {
            max_paths: 16,
            ..DecisionConfig::default()
        },
        ..RibConfig::default()
    }));
    for peer in 1..=5 {
        let kind = PeerKind::IbgpClient;
        net.up_with(peer, kind, export_kind(kind), peer == 4);
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

/// Identifier and originator of what peer 4 has of a prefix.
fn paths(net: &Net, number: u32) -> Vec<(u32, u32)> {
    let all = net.receivers[&PeerIndex(4)].paths.iter();
    let mine = all.filter(|((at, _), _)| *at == prefix(number));
    mine.map(|((_, id), sent)| (*id, sent.originator_id.unwrap().0 & 0xFF))
        .collect()
}

#[test]
fn all_paths_that_share_the_traffic_go_to_who_takes_them_and_one_to_the_others() {
    let mut net = reflector();
    for peer in 1..=3 {
        announce(&mut net, peer, 1);
    }
    net.settle(&StandardExport);
    assert_eq!(paths(&net, 1), [(1, 1), (2, 2), (3, 3)]);
    let messages = |net: &Net, peer| net.receivers[&PeerIndex(peer)].messages;
    let single = messages(&net, 5);
    net.rib.withdraw(PeerIndex(2), prefix(1), 0);
    net.settle(&StandardExport);
    assert_eq!(paths(&net, 1), [(1, 1), (3, 3)]);
    assert_eq!(messages(&net, 5), single, "its best path is the same");
    // The identifier is free again; who comes gets it, who is there keeps theirs.
    announce(&mut net, 5, 1);
    net.settle(&StandardExport);
    assert_eq!(paths(&net, 1), [(1, 1), (2, 5), (3, 3)]);
    net.rib.withdraw(PeerIndex(1), prefix(1), 0);
    net.settle(&StandardExport);
    assert_eq!(paths(&net, 1), [(2, 5), (3, 3)]);
    for peer in [3, 5] {
        net.rib.withdraw(PeerIndex(peer), prefix(1), 0);
    }
    net.settle(&StandardExport);
    assert_eq!(paths(&net, 1), []);
}

#[test]
fn a_path_does_not_go_back_to_its_source() {
    let mut net = reflector();
    announce(&mut net, 4, 1);
    announce(&mut net, 1, 1);
    net.settle(&StandardExport);
    let mine = |(_, from): &(u32, u32)| *from == 4;
    assert!(!paths(&net, 1).iter().any(mine));
    assert_eq!(paths(&net, 1).len(), 1);
    // Peer 4's path comes first and takes the place of one that peer 4 had.
    net.rib.withdraw(PeerIndex(1), prefix(1), 0);
    net.settle(&StandardExport);
    assert_eq!(paths(&net, 1), []);
}

/// Once the record of a pair that was made of two single members lacked what neither of the two may have,
/// and the third to come lost it with its own record: it was never told that the route had gone.
#[test]
fn who_joins_a_pair_keeps_what_neither_of_the_pair_may_have() {
    let kind = PeerKind::IbgpClient;
    for (source, leads_to) in [(1, 2), (2, 1)] {
        let mut net = Net::new(rib(several()));
        net.thirds = true;
        net.up_with(source, kind, export_kind(kind), false);
        let id = net.rib.intern(&attributes(&[], leads_to, prefix(1)));
        net.rib.announce(PeerIndex(source), prefix(1), 0, id, true);
        net.rib.release(id);
        for peer in [leads_to, 3] {
            net.settle(&StandardExport);
            net.up_with(peer, kind, export_kind(kind), false);
        }
        net.settle(&StandardExport);
        assert_eq!(net.rib.groups()[0].cohorts.len(), 1);
        assert_eq!(net.rib.advertised(PeerIndex(3), Family::Ipv4), 1);
        assert_eq!(net.receivers[&PeerIndex(3)].table.len(), 1);
        net.rib.withdraw(PeerIndex(source), prefix(1), 0);
        net.settle(&StandardExport);
        assert!(net.receivers[&PeerIndex(3)].table.is_empty(), "{source}");
    }
}

/// Once two cohorts whose pending route had gone before it was sent stayed apart until the next one.
#[test]
fn cohorts_meet_again_though_what_was_to_be_sent_has_gone() {
    let mut net = Net::new(rib(several()));
    let kind = PeerKind::IbgpClient;
    for peer in 1..=3 {
        net.up_with(peer, kind, export_kind(kind), false);
    }
    net.settle(&StandardExport);
    // Peer 2 is answered first, and is sent nothing of what leads to itself.
    net.rib.refresh(PeerIndex(2), Family::Ipv4, true);
    let id = net.rib.intern(&attributes(&[], 2, prefix(2)));
    net.rib.announce(PeerIndex(1), prefix(2), 0, id, true);
    net.rib.release(id);
    net.poll(&StandardExport, 1);
    assert_eq!(net.rib.groups()[0].cohorts.len(), 2);
    net.rib.withdraw(PeerIndex(1), prefix(2), 0);
    net.settle(&StandardExport);
    let cohorts: Vec<usize> = net.rib.groups().iter().map(|g| g.cohorts.len()).collect();
    assert!(cohorts.iter().all(|&cohorts| cohorts == 1), "{cohorts:?}");
}

#[test]
fn what_a_refresh_sends_has_the_same_identifiers() {
    let mut net = reflector();
    for peer in 1..=3 {
        announce(&mut net, peer, 1);
    }
    net.rib.withdraw(PeerIndex(1), prefix(1), 0);
    net.settle(&StandardExport);
    let before = paths(&net, 1);
    net.rib.refresh(PeerIndex(4), Family::Ipv4, true);
    net.settle(&StandardExport);
    assert_eq!(paths(&net, 1), before);
    assert!(net.receivers[&PeerIndex(4)].refreshes_ended());
}

#[test]
fn a_peer_has_so_many_paths_of_a_prefix_and_no_more() {
    let mut net = reflector();
    let counts = |net: &Net| net.rib.counts(PeerIndex(1), Family::Ipv4);
    let most = u32::try_from(MAX_RECEIVED).unwrap();
    let announce = |net: &mut Net, path_id| {
        let id = net.rib.intern(&attributes(&[], path_id % 7, prefix(1)));
        net.rib.announce(PeerIndex(1), prefix(1), path_id, id, true);
        net.rib.release(id);
    };
    for path_id in 0..most + 6 {
        announce(&mut net, path_id);
    }
    assert_eq!((counts(&net).received, counts(&net).beyond), (most, 6));
    // What it has it may say again, and another peer has room of its own.
    announce(&mut net, 5);
    assert_eq!(counts(&net).beyond, 6);
    self::announce(&mut net, 2, 1);
    assert_eq!(net.rib.counts(PeerIndex(2), Family::Ipv4).received, 1);
    // An identifier that is not there is no reason to do anything.
    assert!(!net.rib.withdraw(PeerIndex(1), prefix(1), most + 1));
    assert_eq!(counts(&net).received, most);
    net.rib.withdraw(PeerIndex(1), prefix(1), 3);
    announce(&mut net, 1000);
    assert_eq!((counts(&net).received, counts(&net).beyond), (most, 5));
    // After a restart of the peer, what it does not repeat by its identifier goes.
    net.rib.mark_stale(PeerIndex(1), Family::Ipv4);
    announce(&mut net, 0);
    announce(&mut net, 1000);
    net.rib.sweep_stale(PeerIndex(1), Family::Ipv4);
    assert_eq!(counts(&net).received, 2);
    for peer in 1..=5 {
        net.down(peer);
    }
    assert!(net.rib.attributes().is_empty());
}
