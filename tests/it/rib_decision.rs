//! Laws of the decision process, over random sets of paths.

use dunlin::net::{Asn, Prefix};
use dunlin::rib::{DecisionConfig, MedMode, PeerIndex, PeerKind, Resolution, Rib, RibConfig, Step};
use dunlin::wire::attribute::{AsPath, NextHop, Origin, PathAttributes};
use proptest::prelude::*;

use crate::rib_support::{address, facts, rib};

/// A path with few values in each field, so that ties are common and every rule gets its turn.
#[derive(Debug, Clone)]
struct Candidate {
    kind: PeerKind,
    attributes: PathAttributes,
    path_id: u32,
    accepted: bool,
}

fn candidate(with_med: bool) -> impl Strategy<Value = Candidate> {
    let kind = prop_oneof![
        Just(PeerKind::Ebgp),
        Just(PeerKind::Ibgp),
        Just(PeerKind::IbgpClient)
    ];
    let fields = (0..2u32, 1..3u32, 0..2usize, 0..3u32, 0..3u32, 0..2u32);
    (kind, fields, 0..2u32, prop::bool::weighted(0.9)).prop_map(
        move |(kind, (pref, asn, longer, med, hop, origin), path_id, accepted)| {
            let path = vec![Asn(asn); 1 + longer];
            let attributes = PathAttributes {
                origin: if origin == 0 {
                    Origin::Igp
                } else {
                    Origin::Egp
                },
                as_path: AsPath::sequence(path),
                next_hop: Some(NextHop::new(address(1000 + hop))),
                med: (with_med && med > 0).then_some(med),
                local_pref: (pref > 0).then_some(100 + pref),
                ..PathAttributes::default()
            };
            Candidate {
                kind,
                attributes,
                path_id,
                accepted,
            }
        },
    )
}

/// Candidates, each with the index of its own peer, in an order of arrival.
type Arrivals = Vec<(u32, Candidate)>;

fn arrivals(with_med: bool) -> impl Strategy<Value = (Arrivals, Arrivals)> {
    prop::collection::vec(candidate(with_med), 1..9)
        .prop_map(|all| (1..).zip(all).collect::<Vec<_>>())
        .prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle()))
}

fn prefix() -> Prefix {
    "10.244.0.0/26".parse().unwrap()
}

fn load(med: MedMode, max_paths: u16, arrivals: &[(u32, Candidate)]) -> Rib {
    let decision = DecisionConfig { med, max_paths };
    let mut rib = rib(RibConfig {
        decision,
        track_next_hops: true,
        ..RibConfig::default()
    });
    rib.set_resolution(&[]);
    for (peer, candidate) in arrivals {
        rib.set_peer(PeerIndex(*peer), facts(*peer, candidate.kind));
        let id = rib.intern(&candidate.attributes);
        // Next hops are known as soon as they are asked for; the third one can't be reached.
        rib.set_resolution(&[
            (address(1000).into(), Resolution::Reachable { metric: 5 }),
            (address(1001).into(), Resolution::Reachable { metric: 6 }),
            (address(1002).into(), Resolution::Unreachable),
        ]);
        rib.announce(
            PeerIndex(*peer),
            prefix(),
            candidate.path_id,
            id,
            candidate.accepted,
        );
        rib.release(id);
    }
    rib
}

/// The selected peers, best first.
fn selected(rib: &Rib) -> Vec<u32> {
    let route = rib.lookup(prefix());
    let paths = route.map(|route| route.paths).unwrap_or_default();
    paths
        .iter()
        .filter(|path| path.selected)
        .map(|path| path.peer.0)
        .collect()
}

fn modes() -> impl Strategy<Value = (MedMode, u16)> {
    (
        prop_oneof![Just(MedMode::PerNeighbour), Just(MedMode::Always)],
        1..4u16,
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_order_of_arrival_does_not_matter(
        (one, other) in arrivals(true),
        (med, max_paths) in modes(),
    ) {
        let one = load(med, max_paths, &one);
        let other = load(med, max_paths, &other);
        prop_assert_eq!(selected(&one), selected(&other));
    }

    #[test]
    fn withdrawal_leaves_what_the_set_without_the_path_gives(
        (all, _) in arrivals(true),
        (med, max_paths) in modes(),
        which in any::<prop::sample::Index>(),
    ) {
        let gone = which.index(all.len());
        let mut after = load(med, max_paths, &all);
        let (peer, candidate) = &all[gone];
        after.withdraw(PeerIndex(*peer), prefix(), candidate.path_id);
        let mut rest = all.clone();
        rest.remove(gone);
        prop_assert_eq!(selected(&after), selected(&load(med, max_paths, &rest)));
    }

    #[test]
    fn without_med_the_loss_of_a_loser_changes_nothing(
        (all, _) in arrivals(false),
        which in any::<prop::sample::Index>(),
    ) {
        let gone = which.index(all.len());
        let mut rib = load(MedMode::PerNeighbour, 1, &all);
        let before = selected(&rib);
        let (peer, candidate) = &all[gone];
        prop_assume!(before != [*peer]);
        rib.withdraw(PeerIndex(*peer), prefix(), candidate.path_id);
        prop_assert_eq!(selected(&rib), before);
    }

    #[test]
    fn one_path_wins_and_every_other_one_has_a_reason(
        (all, _) in arrivals(true),
        (med, max_paths) in modes(),
    ) {
        let mut rib = load(med, max_paths, &all);
        let selected = selected(&rib);
        let explained = rib.explain(prefix());
        prop_assert_eq!(explained.len(), all.len());
        let winners: Vec<_> =
            explained.iter().filter(|e| e.lost_at.is_none()).map(|e| e.path.peer.0).collect();
        prop_assert_eq!(winners.as_slice(), selected.get(..1).unwrap_or_default());
        let hop = |place: &dunlin::rib::ExplainedPath| {
            rib.path_attributes(&place.path).map(|attributes| attributes.decode().next_hop)
        };
        let used: Vec<_> = explained.iter().filter(|e| e.path.selected).map(hop).collect();
        for path in &explained {
            // The multipath set is equal up to and including the metric.
            let late = path.lost_at.is_none_or(|step| step > Step::Metric);
            prop_assert!(late || !path.path.selected);
            let enough = selected.len() == usize::from(max_paths);
            prop_assert!(!late || path.path.selected || enough || used.contains(&hop(path)));
        }
        prop_assert!(selected.len() <= usize::from(max_paths));
    }
}
