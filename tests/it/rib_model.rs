//! The RIB against a model that is a plain map, under random operations.

use std::collections::BTreeMap;
use std::net::IpAddr;

use dunlin::net::{Family, Hashing, Prefix, ScopedAddress};
use dunlin::rib::{
    DecisionConfig, ForwardingChange, ForwardingPath, Pace, PeerIndex, PeerKind, Resolution, Rib,
    RibConfig, Standing, Tracked,
};
use dunlin::wire::attribute::PathAttributes;
use proptest::prelude::*;

use crate::rib_support::{attributes, facts, prefix, rib};

const PEERS: u32 = 4;

#[derive(Debug, Clone, PartialEq)]
struct Entry {
    attributes: PathAttributes,
    accepted: bool,
    stale: bool,
}

/// (prefix, peer, path identifier) → path.
type Model = BTreeMap<(Prefix, u32, u32), Entry>;

#[derive(Debug, Clone)]
enum Op {
    Announce {
        peer: u32,
        prefix: u32,
        path_id: u32,
        variant: u32,
        accepted: bool,
    },
    Withdraw {
        peer: u32,
        prefix: u32,
        path_id: u32,
    },
    Remove {
        peer: u32,
    },
    Stale {
        peer: u32,
        family: usize,
    },
    Sweep {
        peer: u32,
        family: usize,
    },
    Resolve {
        hop: u32,
        reachable: bool,
    },
    Forward,
    Turn {
        walk: usize,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let (peer, number, id) = (1..=PEERS, 0..12u32, 0..2u32);
    prop_oneof![
        10 => (peer.clone(), number.clone(), id.clone(), 0..6u32, prop::bool::weighted(0.8))
            .prop_map(|(peer, prefix, path_id, variant, accepted)| {
                Op::Announce { peer, prefix, path_id, variant, accepted }
            }),
        5 => (peer.clone(), number, id)
            .prop_map(|(peer, prefix, path_id)| Op::Withdraw { peer, prefix, path_id }),
        1 => peer.clone().prop_map(|peer| Op::Remove { peer }),
        1 => (peer.clone(), 0..2usize).prop_map(|(peer, family)| Op::Stale { peer, family }),
        1 => (peer, 0..2usize).prop_map(|(peer, family)| Op::Sweep { peer, family }),
        1 => (0..3u32, any::<bool>()).prop_map(|(hop, reachable)| Op::Resolve { hop, reachable }),
        2 => Just(Op::Forward),
        3 => (0..6usize).prop_map(|walk| Op::Turn { walk }),
    ]
}

struct Test {
    rib: Rib,
    model: Model,
    /// What the forwarding plane was told.
    fib: BTreeMap<Prefix, Vec<ForwardingPath>>,
    /// What the resolver knows, and is asked for.
    reachable: [bool; 3],
    tracked: Vec<ScopedAddress>,
}

fn hop(number: u32, family: Family) -> IpAddr {
    let prefix = if family == Family::Ipv4 {
        prefix(1)
    } else {
        prefix(0)
    };
    attributes(&[], number, prefix).next_hop.unwrap().address
}

/// Two next hops are equally far, so that they share the traffic.
const fn metric(hop: u32) -> u32 {
    hop / 2
}

fn route(prefix: Prefix, variant: u32) -> PathAttributes {
    PathAttributes {
        local_pref: Some(100 + variant / 3),
        ..attributes(&[64999], variant % 3, prefix)
    }
}

impl Test {
    fn new() -> Self {
        let config = RibConfig {
            decision: DecisionConfig {
                max_paths: 2,
                ..DecisionConfig::default()
            },
            track_next_hops: true,
            forwarding: true,
            hashing: Hashing::secret(1),
        };
        let mut test = Self {
            rib: rib(config),
            model: Model::new(),
            fib: BTreeMap::new(),
            reachable: [true; 3],
            tracked: Vec::new(),
        };
        for peer in 1..=PEERS {
            test.rib
                .set_peer(PeerIndex(peer), facts(peer, PeerKind::Ibgp));
        }
        test
    }

    fn resolve(&mut self) {
        while let Some(event) = self.rib.poll_tracked() {
            match event {
                Tracked::Track(address) => {
                    assert!(!self.tracked.contains(&address));
                    self.tracked.push(address);
                }
                Tracked::Untrack(address) => {
                    assert!(self.tracked.contains(&address));
                    self.tracked.retain(|&other| other != address);
                }
            }
        }
        let mut known = Vec::new();
        for family in Family::ALL {
            for (number, reachable) in (0..).zip(self.reachable) {
                known.push((
                    hop(number, family).into(),
                    if reachable {
                        Resolution::Reachable {
                            metric: metric(number),
                        }
                    } else {
                        Resolution::Unreachable
                    },
                ));
            }
        }
        self.rib.set_resolution(&known);
    }

    /// Gives turns to whatever is still to be done in the tables.
    fn finish(&mut self) {
        let mut turns = 0;
        loop {
            self.rib.begin_turn(Pace { walk: 5, send: 1 });
            self.rib.work();
            turns += 1;
            assert!(turns < 1_000, "it comes to an end");
            if !self.rib.has_work() {
                return;
            }
        }
    }

    fn forward(&mut self) {
        while let Some((prefix, change)) = self.rib.poll_forwarding() {
            match change {
                ForwardingChange::Paths(paths) => self.fib.insert(prefix, paths),
                ForwardingChange::Withdrawn => self.fib.remove(&prefix),
            };
        }
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Announce {
                peer,
                prefix: number,
                path_id,
                variant,
                accepted,
            } => {
                let attributes = route(prefix(number), variant);
                let id = self.rib.intern(&attributes);
                self.rib
                    .announce(PeerIndex(peer), prefix(number), path_id, id, accepted);
                self.rib.release(id);
                let entry = Entry {
                    attributes,
                    accepted,
                    stale: false,
                };
                self.model.insert((prefix(number), peer, path_id), entry);
            }
            Op::Withdraw {
                peer,
                prefix: number,
                path_id,
            } => {
                self.rib.withdraw(PeerIndex(peer), prefix(number), path_id);
                self.model.remove(&(prefix(number), peer, path_id));
            }
            Op::Remove { peer } => {
                self.rib.remove_peer(PeerIndex(peer));
                self.rib
                    .set_peer(PeerIndex(peer), facts(peer, PeerKind::Ibgp));
                self.model.retain(|key, _| key.1 != peer);
            }
            Op::Stale { peer, family } => {
                self.rib.mark_stale(PeerIndex(peer), Family::ALL[family]);
                let mine = |key: &(Prefix, u32, u32)| {
                    key.1 == peer && key.0.family() == Family::ALL[family]
                };
                self.model
                    .iter_mut()
                    .filter(|(k, _)| mine(k))
                    .for_each(|(_, e)| e.stale = true);
            }
            Op::Sweep { peer, family } => {
                self.rib.sweep_stale(PeerIndex(peer), Family::ALL[family]);
                self.model.retain(|key, entry| {
                    !(key.1 == peer && key.0.family() == Family::ALL[family] && entry.stale)
                });
            }
            Op::Resolve { hop, reachable } => self.reachable[hop as usize] = reachable,
            Op::Forward => self.forward(),
            // From here on nothing is carried out but in turns.
            Op::Turn { walk } => {
                self.rib.begin_turn(Pace { walk, send: 0 });
                self.rib.work();
            }
        }
    }

    /// The winners of the model: highest LOCAL_PREF, nearest next hop, lowest peer, lowest id; each next
    /// hop once.
    fn winners(&self, prefix: Prefix) -> Vec<(u32, u32)> {
        let rank = |&(key, entry): &(&(Prefix, u32, u32), &Entry)| {
            let address = entry.attributes.next_hop.unwrap().address;
            let hop = (0..3)
                .find(|&n| hop(n, prefix.family()) == address)
                .unwrap();
            let reachable = self.reachable[hop as usize];
            let rank = u32::MAX - entry.attributes.local_pref.unwrap();
            (entry.accepted && reachable).then_some((rank, metric(hop), key.1, key.2, hop))
        };
        let paths = self.model.iter().filter(|(key, _)| key.0 == prefix);
        let mut ranks: Vec<_> = paths.filter_map(|path| rank(&path)).collect();
        ranks.sort_unstable();
        let equal = ranks
            .iter()
            .filter(|r| (r.0, r.1) == (ranks[0].0, ranks[0].1));
        let mut seen = Vec::new();
        let new = equal.filter(|r| {
            let new = !seen.contains(&r.4);
            seen.push(r.4);
            new
        });
        new.map(|r| (r.2, r.3)).take(2).collect()
    }

    fn check(&self) {
        for family in Family::ALL {
            let prefixes: Vec<_> = (0..12)
                .map(prefix)
                .filter(|p| p.family() == family)
                .collect();
            for &prefix in &prefixes {
                let mut have: Vec<_> = self.rib.lookup(prefix).map_or(Vec::new(), |route| {
                    let paths = route.paths.iter();
                    paths
                        .map(|path| {
                            let attributes = self.rib.path_attributes(path).unwrap().decode();
                            let standing = self.rib.standing(path, family);
                            let (accepted, stale) = (path.accepted, standing == Standing::Stale);
                            let key = (prefix, path.peer.0, path.path_id);
                            (
                                key,
                                Entry {
                                    attributes,
                                    accepted,
                                    stale,
                                },
                            )
                        })
                        .collect()
                });
                have.sort_unstable_by_key(|(key, _)| *key);
                let model = self.model.iter().filter(|(key, _)| key.0 == prefix);
                let want: Vec<_> = model.map(|(k, e)| (*k, e.clone())).collect();
                assert_eq!(have, want);
                let route = self.rib.lookup(prefix);
                let paths = route.map(|route| route.paths).unwrap_or_default();
                let selected = paths.iter().filter(|p| p.selected);
                let selected: Vec<_> = selected.map(|p| (p.peer.0, p.path_id)).collect();
                assert_eq!(selected, self.winners(prefix));
                let told = self.fib.get(&prefix).map(Vec::as_slice).unwrap_or_default();
                let told: Vec<_> = told.iter().map(|path| path.peer.0).collect();
                assert_eq!(told, selected.iter().map(|s| s.0).collect::<Vec<_>>());
                let matched = self.rib.longest_match(prefix.address()).map(|r| r.prefix);
                assert_eq!(matched, (!selected.is_empty()).then_some(prefix));
            }
            let used = |p: &&Prefix| self.model.keys().any(|key| key.0 == **p);
            assert_eq!(
                self.rib.prefixes(family),
                prefixes.iter().filter(used).count()
            );
            for peer in 1..=PEERS {
                let mine = |key: &(Prefix, u32, u32)| key.1 == peer && key.0.family() == family;
                let mine: Vec<_> = self.model.iter().filter(|(k, _)| mine(k)).collect();
                let counts = self.rib.counts(PeerIndex(peer), family);
                assert_eq!(counts.received as usize, mine.len());
                let accepted = mine.iter().filter(|(_, e)| e.accepted).count();
                assert_eq!(counts.accepted as usize, accepted);
                assert_eq!(
                    counts.stale as usize,
                    mine.iter().filter(|(_, e)| e.stale).count()
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_rib_is_what_a_plain_map_would_be(ops in prop::collection::vec(op(), 1..150)) {
        let mut test = Test::new();
        for op in &ops {
            test.apply(op);
            test.resolve();
        }
        test.finish();
        test.resolve();
        test.finish();
        test.forward();
        test.check();
        let needed: std::collections::BTreeSet<_> =
            test.model.values().map(|e| e.attributes.next_hop.unwrap().target()).collect();
        let tracked: std::collections::BTreeSet<_> = test.tracked.iter().copied().collect();
        prop_assert_eq!(tracked, needed);
        for peer in 1..=PEERS {
            test.apply(&Op::Remove { peer });
        }
        test.finish();
        test.forward();
        test.resolve();
        test.check();
        prop_assert!(test.rib.attributes().is_empty());
        prop_assert!(Family::ALL.iter().all(|&family| test.rib.lingering(family) == 0));
        prop_assert!(test.tracked.is_empty());
    }
}

#[test]
fn the_longest_match_skips_what_has_no_best_path() {
    let mut rib = rib(RibConfig::default());
    rib.set_peer(PeerIndex(1), facts(1, PeerKind::Ebgp));
    let wide = "10.0.0.0/8".parse().unwrap();
    let narrow = "10.1.0.0/16".parse().unwrap();
    let id = rib.intern(&attributes(&[65001], 1, wide));
    rib.announce(PeerIndex(1), wide, 0, id, true);
    rib.announce(PeerIndex(1), narrow, 0, id, false);
    let address = "10.1.2.3".parse().unwrap();
    assert_eq!(rib.longest_match(address).map(|r| r.prefix), Some(wide));
    rib.announce(PeerIndex(1), narrow, 0, id, true);
    assert_eq!(rib.longest_match(address).map(|r| r.prefix), Some(narrow));
    assert!(rib.longest_match("11.0.0.1".parse().unwrap()).is_none());
}

#[test]
fn long_lived_stale_paths_stand_back_until_they_come_again() {
    let mut rib = rib(RibConfig::default());
    let prefix = prefix(1);
    let id = rib.intern(&attributes(&[], 1, prefix));
    for peer in [1, 2] {
        rib.set_peer(PeerIndex(peer), facts(peer, PeerKind::Ibgp));
        rib.announce(PeerIndex(peer), prefix, 0, id, true);
    }
    let best = |rib: &Rib| {
        rib.lookup(prefix)
            .and_then(|r| r.best().map(|best| best.peer.0))
    };
    assert_eq!(best(&rib), Some(1));
    rib.mark_stale(PeerIndex(1), Family::Ipv4);
    assert_eq!(best(&rib), Some(1), "a stale path stays in use");
    rib.mark_long_lived_stale(PeerIndex(1), Family::Ipv4);
    assert_eq!(best(&rib), Some(2));
    rib.announce(PeerIndex(1), prefix, 0, id, true);
    assert_eq!(best(&rib), Some(1));
}

#[test]
fn long_lived_stale_is_a_community_and_no_llgr_goes() {
    let mut rib = rib(RibConfig::default());
    let with = |communities: &[u32]| PathAttributes {
        communities: communities.to_vec(),
        ..attributes(&[], 1, prefix(1))
    };
    let (plain, refuses) = (with(&[7]), with(&[7, 0xFFFF_0007]));
    rib.set_peer(PeerIndex(1), facts(1, PeerKind::Ibgp));
    for (number, attributes) in [(1, &plain), (2, &refuses), (3, &plain), (5, &plain)] {
        let id = rib.intern(attributes);
        rib.announce(PeerIndex(1), prefix(number), 0, id, true);
        rib.release(id);
    }
    rib.mark_stale(PeerIndex(1), Family::Ipv4);
    let id = rib.intern(&plain);
    rib.announce(PeerIndex(1), prefix(5), 0, id, true);
    rib.release(id);
    for _ in 0..2 {
        rib.mark_long_lived_stale(PeerIndex(1), Family::Ipv4);
        let communities = |number| {
            let path = rib.lookup(prefix(number))?.paths.first()?;
            Some(rib.path_attributes(path)?.decode().communities)
        };
        assert_eq!(communities(1), Some(vec![7, 0xFFFF_0006]));
        assert_eq!(communities(2), None);
        assert_eq!(communities(3), communities(1));
        assert_eq!(communities(5), Some(vec![7]), "it came again");
    }
    rib.sweep_stale(PeerIndex(1), Family::Ipv4);
    assert_eq!(rib.prefixes(Family::Ipv4), 1);
    rib.remove_peer(PeerIndex(1));
    assert!(rib.attributes().is_empty());
}

#[test]
fn pages_give_each_route_once() {
    let mut rib = rib(RibConfig::default());
    rib.set_peer(PeerIndex(1), facts(1, PeerKind::Ebgp));
    let id = rib.intern(&attributes(&[65001], 1, prefix(1)));
    for number in 0..100 {
        rib.announce(PeerIndex(1), prefix(number), 0, id, true);
    }
    let (mut seen, mut cursor) = (Vec::new(), None);
    loop {
        let (page, next) = rib.page(Family::Ipv4, cursor, 7);
        assert!(page.len() <= 7);
        seen.extend(page.iter().map(|route| route.prefix));
        cursor = next;
        if cursor.is_none() {
            break;
        }
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 75);
}
