//! eBGP through a node in the middle: paths, next hops, defaults, switches, and links that fail.

use std::collections::BTreeMap;

use dunlin::net::{Asn, Prefix};
use dunlin::policy::PolicyKind;
use dunlin::time::Duration;
use dunlin::topology::{Intent, NextHopMode, Node, Peer, PeerScope, plan};

use crate::sim_world::World;

const SEEDS: std::ops::Range<u64> = 0..5;
const NAMES: [&str; 3] = ["a", "b", "c"];

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn block(i: usize) -> Prefix {
    format!("20.{i}.0.0/24").parse().unwrap()
}

/// AS 65001 – 65002 – 65003 in a row, each with a block; the ends don't know each other.
fn row(policy: PolicyKind) -> Intent {
    let address = |i: usize| format!("10.0.0.{}", i + 1);
    let asn = |i: usize| Asn(65_001 + u32::try_from(i).unwrap());
    let node = |i: usize| Node {
        ipv4_address: Some(format!("{}/24", address(i)).parse().unwrap()),
        as_number: Some(asn(i)),
        blocks: vec![block(i)],
        ..Node::named(NAMES[i])
    };
    let peer = |of: usize, to: usize| {
        let name = format!("{}-{}", NAMES[of], NAMES[to]);
        let mut peer = Peer::new(name, address(to).parse().unwrap(), asn(to));
        peer.scope = PeerScope::Node(NAMES[of].to_owned());
        peer.routes.import = policy;
        peer.routes.export = policy;
        peer
    };
    let mut intent = Intent {
        nodes: (0..3).map(node).collect(),
        peers: vec![peer(0, 1), peer(1, 0), peer(1, 2), peer(2, 1)],
        ..Intent::default()
    };
    intent.bgp.node_to_node_mesh_enabled = false;
    intent.bgp.session.hold_time = Some(30);
    intent
}

fn start(intent: &Intent, seed: u64) -> World {
    let mut world = World::new(seed);
    for (i, name) in (0..).zip(NAMES) {
        world.boot(plan(intent, name).unwrap(), seed * 10 + i, false);
    }
    world.until(secs(20), World::all_up).unwrap();
    world.run(secs(5));
    world
}

fn replan(world: &mut World, intent: &Intent, name: &str) {
    world.replan(name, plan(intent, name).unwrap());
    world.run(secs(1));
}

fn routes(list: &[(usize, &str)]) -> BTreeMap<Prefix, String> {
    list.iter()
        .map(|(i, text)| (block(*i), (*text).to_owned()))
        .collect()
}

fn ups(world: &World) -> Vec<BTreeMap<String, u64>> {
    NAMES.map(|name| world.ups(name)).to_vec()
}

fn updates(world: &World, from: &str, to: &str) -> u64 {
    let way = (from.to_owned(), to.to_owned());
    world.updates.get(&way).copied().unwrap_or(0)
}

#[test]
fn a_path_grows_by_one_as_a_hop_and_goes_with_its_origin() {
    for seed in SEEDS {
        let mut intent = row(PolicyKind::AcceptAll);
        let mut world = start(&intent, seed);
        // All three share a subnet, so the ends are told of each other's address (RFC 4271 §5.1.3).
        let c = [
            (0, "10.0.0.1 [65002 65001]"),
            (1, "10.0.0.2 [65002]"),
            (2, "own"),
        ];
        assert_eq!(world.table("c"), routes(&c));
        let a = [
            (0, "own"),
            (1, "10.0.0.2 [65002]"),
            (2, "10.0.0.3 [65002 65003]"),
        ];
        assert_eq!(world.table("a"), routes(&a));
        let before = ups(&world);
        intent.nodes[0].blocks.clear();
        replan(&mut world, &intent, "a");
        assert_eq!(world.table("c"), routes(&c[1..]));
        assert_eq!(world.table("b").len(), 2);
        assert_eq!(ups(&world), before);
    }
}

#[test]
fn with_next_hop_self_the_middle_is_the_next_hop() {
    let mut intent = row(PolicyKind::AcceptAll);
    let mut world = start(&intent, 1);
    intent.peers[2].routes.next_hop = NextHopMode::Own;
    let sent = updates(&world, "b", "c");
    let before = ups(&world);
    replan(&mut world, &intent, "b");
    let c = [
        (0, "10.0.0.2 [65002 65001]"),
        (1, "10.0.0.2 [65002]"),
        (2, "own"),
    ];
    assert_eq!(world.table("c"), routes(&c));
    assert!(updates(&world, "b", "c") - sent <= 2);
    assert_eq!(ups(&world), before);
}

#[test]
fn by_default_only_own_blocks_leave_to_the_outside() {
    for seed in SEEDS {
        let world = start(&row(PolicyKind::Safe), seed);
        let c = [(1, "10.0.0.2 [65002]"), (2, "own")];
        assert_eq!(world.table("c"), routes(&c));
        assert_eq!(world.table("b").len(), 3);
    }
}

#[test]
fn a_switched_export_takes_and_gives_what_differs_and_the_session_stays() {
    for seed in SEEDS {
        let mut intent = row(PolicyKind::Safe);
        let mut world = start(&intent, seed);
        let before = ups(&world);
        let quiet = |world: &World| [updates(world, "b", "a"), updates(world, "a", "b")];
        let others = quiet(&world);
        let mut sent = updates(&world, "b", "c");
        // What is switched, what c then has besides its own, how many UPDATEs tell it: what is still
        // let through is not said again.
        let steps = [
            (PolicyKind::AcceptAll, vec![0, 1], 1),
            (PolicyKind::AcceptAll, vec![0, 1], 0),
            (PolicyKind::Safe, vec![1], 1),
            (PolicyKind::RejectAll, vec![], 1),
            (PolicyKind::AcceptAll, vec![0, 1], 2),
        ];
        for (policy, has, messages) in steps {
            intent.peers[2].routes.export = policy;
            replan(&mut world, &intent, "b");
            let table: Vec<_> = world.table("c").into_keys().collect();
            let expected: Vec<_> = has.into_iter().chain([2]).map(block).collect();
            assert_eq!(table, expected, "{policy:?}");
            let now = updates(&world, "b", "c");
            assert_eq!(now - sent, messages, "{policy:?}");
            sent = now;
        }
        assert_eq!(quiet(&world), others);
        assert_eq!(ups(&world), before);
    }
}

#[test]
fn a_switched_import_judges_what_is_there_without_asking_again() {
    for seed in SEEDS {
        let mut intent = row(PolicyKind::AcceptAll);
        let mut world = start(&intent, seed);
        let before = ups(&world);
        let from_a = updates(&world, "a", "b");
        for (policy, on_c, on_b) in [
            (PolicyKind::RejectAll, 2, 2),
            (PolicyKind::Safe, 3, 3),
            (PolicyKind::RejectAll, 2, 2),
            (PolicyKind::AcceptAll, 3, 3),
        ] {
            intent.peers[1].routes.import = policy;
            replan(&mut world, &intent, "b");
            assert_eq!(world.table("b").len(), on_b, "{policy:?}");
            assert_eq!(world.table("c").len(), on_c, "{policy:?}");
        }
        assert_eq!(updates(&world, "a", "b"), from_a);
        assert!(!world.messages.contains_key("route-refresh"));
        assert_eq!(ups(&world), before);
    }
}

#[test]
fn whatever_the_network_does_to_dials_the_session_comes_when_it_can() {
    for seed in SEEDS {
        let intent = row(PolicyKind::AcceptAll);
        let mut world = World::new(seed);
        world.boot(plan(&intent, "b").unwrap(), 1, false);
        // `a` is up but its port is closed; `c` is not there at all.
        world.boot(plan(&intent, "a").unwrap(), 2, false);
        world.hosts.get_mut("a").unwrap().refuses = true;
        world.hosts.get_mut("b").unwrap().refuses = true;
        world.run(secs(60));
        assert_eq!(world.node("b").speaker().sessions(), (2, 0));
        let problem = |peer| world.peer("b", peer).problem.unwrap();
        assert!(problem("b-a").contains("refused"), "{}", problem("b-a"));
        let silent = "does not answer";
        assert!(problem("b-c").contains(silent), "{}", problem("b-c"));
        world.hosts.get_mut("b").unwrap().refuses = false;
        world.boot(plan(&intent, "c").unwrap(), 3, false);
        let took = world.until(secs(30), |world| {
            world.all_up() && world.table("c").len() == 3
        });
        assert!(took.unwrap() < secs(12), "{took:?}");
    }
}

#[test]
fn without_graceful_restart_a_killed_process_loses_its_routes_at_once() {
    for seed in SEEDS {
        let mut intent = row(PolicyKind::AcceptAll);
        intent.bgp.session.max_restart_time = Some(0);
        let mut world = start(&intent, seed);
        let full = world.tables();
        world.kill("b");
        world.run(secs(1));
        assert_eq!(world.table("a"), routes(&[(0, "own")]));
        assert_eq!(world.table("c"), routes(&[(2, "own")]));
        world.boot(plan(&intent, "b").unwrap(), seed + 77, false);
        let took = world.until(secs(30), |world| world.tables() == full);
        assert!(took.unwrap() < secs(5), "{took:?}");
    }
}
