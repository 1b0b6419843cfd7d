//! One path against another that differs in one thing: the rule that decides, and who wins.

use std::net::{IpAddr, Ipv4Addr};

use super::super::{
    DecisionConfig, MedMode, PeerFacts, PeerIndex, PeerKind, Resolution, Rib, RibConfig, Step,
};
use crate::net::{Asn, Prefix, RouterId};
use crate::wire::attribute::{AsPath, NextHop, Origin, PathAttributes};

const PREFIX: &str = "10.244.0.0/26";

fn prefix() -> Prefix {
    PREFIX.parse().unwrap()
}

fn hop(number: u32) -> IpAddr {
    Ipv4Addr::from_bits(0x0A00_0000 + number).into()
}

fn base() -> PathAttributes {
    PathAttributes {
        as_path: AsPath::sequence(vec![Asn(64512), Asn(64513)]),
        next_hop: Some(NextHop::new(hop(1))),
        ..PathAttributes::default()
    }
}

fn ibgp(number: u32) -> PeerFacts {
    PeerFacts {
        kind: PeerKind::Ibgp,
        asn: Asn(65000),
        router_id: RouterId(number),
        address: hop(100 + number),
    }
}

/// A RIB with the paths of peers 1, 2, ... and every next hop of 10.0.0.1-9 at metric 10.
fn rib(med: MedMode, max_paths: u16, paths: &[(PeerFacts, PathAttributes, bool)]) -> Rib {
    let decision = DecisionConfig { med, max_paths };
    let config = RibConfig {
        decision,
        track_next_hops: true,
        ..RibConfig::default()
    };
    let mut rib = Rib::new(config, Asn(65000), RouterId(9));
    for (index, (facts, attributes, accepted)) in (1..).zip(paths) {
        rib.set_peer(PeerIndex(index), *facts);
        let id = rib.intern(attributes);
        rib.announce(PeerIndex(index), prefix(), 0, id, *accepted);
        rib.release(id);
    }
    let all: Vec<_> = (1..10)
        .map(|n| (hop(n).into(), Resolution::Reachable { metric: 10 }))
        .collect();
    rib.set_resolution(&all);
    rib
}

fn outcome(rib: &mut Rib) -> Vec<(u32, Option<Step>)> {
    let mut outcome: Vec<_> = rib
        .explain(prefix())
        .into_iter()
        .map(|e| (e.path.peer.0, e.lost_at))
        .collect();
    outcome.sort_unstable_by_key(|&(peer, _)| peer);
    outcome
}

/// Asserts that the first of two paths wins and the second loses by `step`.
fn wins(step: Step, winner: (PeerFacts, PathAttributes), loser: (PeerFacts, PathAttributes)) {
    let two = [(winner.0, winner.1, true), (loser.0, loser.1, true)];
    assert_eq!(
        outcome(&mut rib(MedMode::PerNeighbour, 1, &two)),
        [(1, None), (2, Some(step))]
    );
    let [winner, loser] = two;
    let mut other_way = rib(MedMode::PerNeighbour, 1, &[loser, winner]);
    assert_eq!(
        outcome(&mut other_way),
        [(1, Some(step)), (2, None)],
        "arrival order decided"
    );
}

#[test]
fn each_rule_decides_when_the_rules_before_it_do_not() {
    let with = |change: &dyn Fn(&mut PathAttributes)| {
        let mut attributes = base();
        change(&mut attributes);
        attributes
    };
    // The winner's identifier and address are the higher ones: no later rule helps it.
    let (high, low) = (ibgp(7), ibgp(3));
    let decide = |step, good: PathAttributes, bad| wins(step, (high, good), (low, bad));
    decide(
        Step::NextHop,
        base(),
        with(&|a| a.next_hop = Some(NextHop::new(hop(55)))),
    );
    decide(
        Step::LongLivedStale,
        base(),
        with(&|a| a.communities.push(0xFFFF_0006)),
    );
    decide(Step::LocalPref, with(&|a| a.local_pref = Some(101)), base());
    decide(Step::LocalPref, base(), with(&|a| a.local_pref = Some(99)));
    decide(
        Step::AsPath,
        base(),
        with(&|a| a.as_path.prepend(Asn(64512))),
    );
    decide(
        Step::Origin,
        base(),
        with(&|a| a.origin = Origin::Incomplete),
    );
    decide(Step::Med, base(), with(&|a| a.med = Some(1)));
    let ebgp = PeerFacts {
        kind: PeerKind::Ebgp,
        asn: Asn(64512),
        ..high
    };
    wins(Step::Ebgp, (ebgp, base()), (low, base()));
    wins(Step::Originator, (low, base()), (high, base()));
    let originator = Some(RouterId(1));
    decide(
        Step::Originator,
        with(&|a| a.originator_id = originator),
        base(),
    );
    let reflected = |clusters: usize| {
        with(&|a| {
            a.originator_id = originator;
            a.cluster_list = vec![RouterId(5); clusters];
        })
    };
    decide(Step::ClusterList, reflected(1), reflected(2));
    let twin = PeerFacts {
        address: hop(200),
        ..low
    };
    wins(Step::PeerAddress, (low, base()), (twin, base()));
}

#[test]
fn a_refused_path_never_wins() {
    let mut rib = rib(MedMode::PerNeighbour, 1, &[(ibgp(1), base(), false)]);
    assert_eq!(outcome(&mut rib), [(1, Some(Step::Rejected))]);
    assert!(rib.lookup(prefix()).unwrap().best().is_none());
}

#[test]
fn a_nearer_next_hop_wins_and_losing_it_changes_the_winner() {
    let far = PathAttributes {
        next_hop: Some(NextHop::new(hop(2))),
        ..base()
    };
    let mut rib = rib(
        MedMode::PerNeighbour,
        1,
        &[(ibgp(1), far, true), (ibgp(2), base(), true)],
    );
    rib.set_resolution(&[(hop(2).into(), Resolution::Reachable { metric: 11 })]);
    assert_eq!(outcome(&mut rib), [(1, Some(Step::Metric)), (2, None)]);
    rib.set_resolution(&[(hop(1).into(), Resolution::Unreachable)]);
    assert_eq!(outcome(&mut rib), [(1, None), (2, Some(Step::NextHop))]);
}

#[test]
fn our_own_route_wins_over_a_shorter_path() {
    let mut rib = rib(
        MedMode::PerNeighbour,
        1,
        &[(ibgp(1), PathAttributes::default(), true)],
    );
    let id = rib.intern(&base());
    rib.announce(PeerIndex::LOCAL, prefix(), 0, id, true);
    assert_eq!(outcome(&mut rib), [(0, None), (1, Some(Step::Local))]);
}

#[test]
fn path_identifiers_break_the_last_tie() {
    let mut rib = rib(MedMode::PerNeighbour, 1, &[(ibgp(1), base(), true)]);
    let id = rib.intern(&base());
    for path_id in [9, 4] {
        rib.announce(PeerIndex(1), prefix(), path_id, id, true);
    }
    rib.withdraw(PeerIndex(1), prefix(), 0);
    let explained = rib.explain(prefix());
    assert_eq!(explained[0].path.path_id, 4);
    assert_eq!(explained[1].lost_at, Some(Step::PathId));
}

/// The classic: with MED within a neighbour AS no order of pairs exists (A < B < C < A).
#[test]
fn med_is_compared_within_a_neighbour_as_only_unless_told_otherwise() {
    let from = |asn: u32, med: u32| PathAttributes {
        as_path: AsPath::sequence(vec![Asn(asn), Asn(64999)]),
        med: Some(med),
        ..base()
    };
    let paths = [
        (ibgp(1), from(1, 20), true),
        (ibgp(2), from(2, 5), true),
        (ibgp(3), from(1, 10), true),
    ];
    let mut per_neighbour = rib(MedMode::PerNeighbour, 1, &paths);
    let reasons = [(1, Some(Step::Med)), (2, None), (3, Some(Step::Originator))];
    assert_eq!(outcome(&mut per_neighbour), reasons);
    let mut always = rib(MedMode::Always, 1, &paths);
    assert_eq!(
        outcome(&mut always),
        [(1, Some(Step::Med)), (2, None), (3, Some(Step::Med))]
    );
}

fn selected(rib: &Rib) -> Vec<u32> {
    let route = rib.lookup(prefix()).unwrap();
    let selected = route.paths.iter().filter(|p| p.selected);
    selected.map(|p| p.peer.0).collect()
}

/// Two reflectors tell of the same two nodes: two ways, not four.
#[test]
fn a_next_hop_has_one_share_however_many_tell_of_it() {
    let over = |n| PathAttributes {
        next_hop: Some(NextHop::new(hop(n))),
        originator_id: Some(RouterId(n)),
        ..base()
    };
    let paths = [(1, 1), (2, 1), (3, 2), (4, 2)].map(|(peer, n)| (ibgp(peer), over(n), true));
    let mut twice = rib(MedMode::PerNeighbour, 2, &paths);
    assert_eq!(selected(&twice), [1, 3]);
    twice.withdraw(PeerIndex(1), prefix(), 0);
    assert_eq!(selected(&twice), [2, 3], "the other one stands in");
}

/// `fe80::1` of one link and `fe80::1` of another are two routers.
#[test]
fn a_link_local_next_hop_is_another_one_on_each_link() {
    let hop = NextHop::new("fe80::1".parse().unwrap());
    let prefix = "2001:db8::/32".parse().unwrap();
    let decision = DecisionConfig {
        max_paths: 4,
        ..DecisionConfig::default()
    };
    let config = RibConfig {
        decision,
        ..RibConfig::default()
    };
    let mut rib = Rib::new(config, Asn(65000), RouterId(9));
    for peer in 1..=2 {
        rib.set_peer(PeerIndex(peer), ibgp(peer));
        let id = rib.intern(&PathAttributes {
            next_hop: Some(hop),
            ..base()
        });
        rib.announce(PeerIndex(peer), prefix, 0, id, true);
        rib.release(id);
    }
    let paths = rib.lookup(prefix).unwrap().paths;
    assert!(paths.iter().all(|path| path.selected), "{paths:?}");
}

#[test]
fn equal_paths_share_up_to_the_limit_and_a_change_of_the_set_is_a_change() {
    let over = |n| PathAttributes {
        next_hop: Some(NextHop::new(hop(n))),
        ..base()
    };
    let paths: Vec<_> = (1..=4).map(|n| (ibgp(n), over(n), true)).collect();
    let mut rib = rib(MedMode::PerNeighbour, 3, &paths);
    assert_eq!(selected(&rib), [1, 2, 3]);
    rib.withdraw(PeerIndex(2), prefix(), 0);
    assert_eq!(selected(&rib), [1, 3, 4]);
    let worse = rib.intern(&PathAttributes {
        local_pref: Some(50),
        ..over(3)
    });
    rib.announce(PeerIndex(3), prefix(), 0, worse, true);
    assert_eq!(selected(&rib), [1, 4]);
}
