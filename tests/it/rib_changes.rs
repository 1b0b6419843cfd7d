//! Policy that changes in mid-session: everybody ends with what the new policy gives them, and is told
//! what differs and nothing else.

use std::collections::BTreeMap;

use dunlin::net::{Family, Prefix};
use dunlin::rib::{
    ExportKind, ExportPolicy, ExportRoute, GroupKey, PATIENCE, PeerFacts, PeerIndex, PeerKind,
    RibConfig, export,
};
use dunlin::wire::attribute::PathAttributes;
use proptest::prelude::*;

use crate::rib_support::{CLUSTER, Net, attributes, key, prefix, rib};

const PEERS: u32 = 6;
const PREFIXES: u32 = 24;
const REFLECT: ExportKind = ExportKind::Reflect {
    cluster_id: CLUSTER,
    to_clients: true,
};

/// Policies by number: each refuses other prefixes, and puts a community on some of what it lets
/// through. 5 has another number than 4, and says the same.
struct Numbered;

impl Numbered {
    fn mark(policy: u32, prefix: Prefix) -> Option<u32> {
        let policy = policy.min(4);
        let number = (0..PREFIXES)
            .find(|n| self::prefix(*n) == prefix)
            .unwrap_or(0);
        let refused = policy != 0 && (number + policy).is_multiple_of(3);
        (!refused).then_some(if number % 2 == 0 { policy } else { 0 })
    }
}

impl ExportPolicy for Numbered {
    fn mark(&self, key: &GroupKey, route: &ExportRoute<'_>) -> Option<u32> {
        let permitted = export::permitted(key, route.source, route.attributes);
        Self::mark(key.policy, route.prefix).filter(|_| permitted)
    }

    fn transform(
        &self,
        key: &GroupKey,
        attributes: PathAttributes,
        source: &PeerFacts,
        mark: u32,
    ) -> Option<PathAttributes> {
        let mut attributes = export::rewrite(key, attributes, source)?;
        if mark != 0 {
            attributes.communities.push(mark);
        }
        Some(attributes)
    }
}

struct World {
    net: Net,
    policies: BTreeMap<u32, u32>,
}

fn policy_key(family: Family, policy: u32) -> GroupKey {
    GroupKey {
        policy,
        ..key(family, REFLECT)
    }
}

impl World {
    fn new() -> Self {
        let mut net = Net::new(rib(RibConfig::default()));
        for peer in 1..=PEERS {
            net.up(peer, PeerKind::IbgpClient, REFLECT);
        }
        let policies = (1..=PEERS).map(|peer| (peer, 0)).collect();
        Self { net, policies }
    }

    fn announce(&mut self, peer: u32, number: u32, variant: u32) {
        let mut set = attributes(&[64999], peer, prefix(number));
        set.med = Some(variant % 3);
        // Big enough that several do not fit into one read.
        set.communities = (1..=[0, 3, 700][variant as usize % 3]).collect();
        let id = self.net.rib.intern(&set);
        self.net
            .rib
            .announce(PeerIndex(peer), prefix(number), 0, id, variant != 7);
        self.net.rib.release(id);
    }

    fn change(&mut self, peers: &[u32], policy: u32) {
        let mut changes = Vec::new();
        for peer in peers {
            self.policies.insert(*peer, policy);
            for family in Family::ALL {
                changes.push((PeerIndex(*peer), policy_key(family, policy)));
            }
        }
        self.net.rib.change_exports(changes);
    }

    fn expected(&self, peer: u32) -> BTreeMap<Prefix, PathAttributes> {
        let mut table = BTreeMap::new();
        for family in Family::ALL {
            let key = policy_key(family, self.policies[&peer]);
            for route in self.net.rib.page(family, None, usize::MAX).0 {
                let Some(best) = route.best().filter(|best| best.peer != PeerIndex(peer)) else {
                    continue;
                };
                let source = self.net.rib.peer(best.peer).unwrap();
                let Some(mark) = Numbered::mark(key.policy, route.prefix) else {
                    continue;
                };
                let set = self.net.rib.path_attributes(best).unwrap().decode();
                let sent = Numbered.transform(&key, set, source, mark);
                table.insert(route.prefix, sent.unwrap());
            }
        }
        table
    }
}

#[derive(Debug, Clone)]
enum Op {
    Announce(u32, u32, u32),
    Withdraw(u32, u32),
    Change(Vec<u32>, u32),
    Refresh(u32, bool),
    Bounce(u32),
    Poll(usize),
    Read(u32, usize),
    Wait,
}

fn op() -> impl Strategy<Value = Op> {
    let peer = 1..=PEERS;
    prop_oneof![
        10 => (peer.clone(), 0..PREFIXES, 0..9u32).prop_map(|(p, n, v)| Op::Announce(p, n, v)),
        3 => (peer.clone(), 0..PREFIXES).prop_map(|(p, n)| Op::Withdraw(p, n)),
        3 => (proptest::collection::vec(peer.clone(), 1..5), 0..6u32)
            .prop_map(|(p, policy)| Op::Change(p, policy)),
        1 => (peer.clone(), any::<bool>()).prop_map(|(p, framed)| Op::Refresh(p, framed)),
        1 => peer.clone().prop_map(Op::Bounce),
        4 => (1..6usize).prop_map(Op::Poll),
        4 => (peer, 1..5usize).prop_map(|(p, chunks)| Op::Read(p, chunks)),
        1 => Just(Op::Wait),
    ]
}

fn run(world: &mut World, op: &Op) {
    match op {
        Op::Announce(peer, number, variant) => world.announce(*peer, *number, *variant),
        Op::Withdraw(peer, number) => {
            let peer = PeerIndex(*peer);
            world.net.rib.withdraw(peer, prefix(*number), 0);
        }
        Op::Change(peers, policy) => world.change(peers, *policy),
        Op::Refresh(peer, framed) => {
            for family in Family::ALL {
                world.net.rib.refresh(PeerIndex(*peer), family, *framed);
            }
        }
        Op::Bounce(peer) => {
            world.net.down(*peer);
            world.net.up(*peer, PeerKind::IbgpClient, REFLECT);
            let policy = world.policies[peer];
            world.change(&[*peer], policy);
        }
        Op::Poll(limit) => {
            world.net.poll(&Numbered, *limit);
        }
        Op::Read(peer, chunks) => world.net.read(*peer, *chunks),
        Op::Wait => world.net.now = world.net.now + PATIENCE,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_changes_when_everybody_ends_with_what_the_last_policy_says(
        ops in proptest::collection::vec(op(), 1..200),
    ) {
        let mut world = World::new();
        for op in &ops {
            run(&mut world, op);
        }
        world.net.settle(&Numbered);
        for peer in 1..=PEERS {
            let receiver = &world.net.receivers[&PeerIndex(peer)];
            prop_assert!(receiver.refreshes_ended());
            prop_assert_eq!(&receiver.table, &world.expected(peer), "peer {}", peer);
            prop_assert_eq!(receiver.end_of_rib, [1, 1]);
        }
        for group in world.net.rib.groups() {
            prop_assert_eq!(group.cohorts.len(), 1, "{:?}", group);
        }
    }

    #[test]
    fn a_change_tells_what_differs_and_nothing_else(
        routes in proptest::collection::vec((1..=PEERS, 0..PREFIXES, 0..9u32), 1..60),
        changes in proptest::collection::vec(
            (proptest::collection::vec(1..=PEERS, 1..5), 0..6u32), 1..5),
    ) {
        let mut world = World::new();
        for (peer, number, variant) in routes {
            world.announce(peer, number, variant);
        }
        world.net.settle(&Numbered);
        for (peers, policy) in changes {
            let had: Vec<_> = (1..=PEERS).map(|peer| world.expected(peer)).collect();
            let told = |world: &World, peer| world.net.receivers[&PeerIndex(peer)].told;
            let before: Vec<_> = (1..=PEERS).map(|peer| told(&world, peer)).collect();
            world.change(&peers, policy);
            world.net.settle(&Numbered);
            for ((peer, had), before) in (1..=PEERS).zip(&had).zip(before) {
                let has = world.expected(peer);
                prop_assert_eq!(&world.net.receivers[&PeerIndex(peer)].table, &has);
                let gone = had.keys().filter(|prefix| !has.contains_key(prefix)).count();
                let news = has.iter().filter(|(prefix, set)| had.get(prefix) != Some(set));
                prop_assert_eq!(told(&world, peer) - before, gone + news.count(), "peer {}", peer);
            }
        }
    }
}

#[test]
fn peers_that_change_together_stay_together() {
    let mut world = World::new();
    for number in 0..PREFIXES {
        world.announce(1, number, 1);
    }
    world.net.settle(&Numbered);
    let encoded = world.net.rib.encoded_attributes();
    world.change(&[2, 3, 4, 5, 6], 1);
    let groups = world.net.rib.groups();
    assert!(groups.iter().all(|group| group.cohorts.len() == 1));
    world.net.settle(&Numbered);
    // One set of attributes a family and mark, however many members.
    assert!(world.net.rib.encoded_attributes() - encoded <= 4);
    assert_eq!(world.net.rib.policies(), [0, 1]);
    world.change(&[1], 1);
    world.net.settle(&Numbered);
    assert_eq!(world.net.rib.policies(), [1]);
}
