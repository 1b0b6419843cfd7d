//! Meshes of whole nodes: they converge, grow, shrink, lose members and get them back.

use std::collections::{BTreeMap, BTreeSet};

use dunlin::net::{Asn, Prefix, Prefix4};
use dunlin::time::{Duration, Instant};
use dunlin::topology::{BgpSettings, Intent, Node, Pool, PoolMode, SessionSettings, plan};

use crate::sim_world::{START, World};

const SEEDS: std::ops::Range<u64> = 0..5;

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// `n` nodes of both families with two blocks of each.
pub(crate) fn cluster(n: u8) -> Intent {
    let pool = |cidr: &str| Pool {
        name: cidr.to_owned(),
        cidr: cidr.parse().unwrap(),
        ipip_mode: PoolMode::Never,
        vxlan_mode: PoolMode::Never,
        nat_outgoing: false,
        disabled: false,
        disable_bgp_export: false,
    };
    Intent {
        bgp: BgpSettings {
            as_number: Asn(64512),
            session: SessionSettings {
                hold_time: Some(30),
                ..SessionSettings::default()
            },
            ..BgpSettings::default()
        },
        pools: vec![pool("10.244.0.0/16"), pool("fd00:244::/32")],
        nodes: (1..=n).map(node).collect(),
        ..Intent::default()
    }
}

pub(crate) fn node(i: u8) -> Node {
    Node {
        ipv4_address: Some(format!("10.0.0.{i}/24").parse().unwrap()),
        // The order of IPv6 addresses is the reverse, so that both ends of a pair dial once.
        ipv6_address: Some(format!("fd00::{}/64", 200 - i).parse().unwrap()),
        blocks: [
            format!("10.244.{i}.0/26"),
            format!("10.244.{i}.64/26"),
            format!("fd00:244:{i}::/64"),
            format!("fd00:244:{i}:1::/64"),
        ]
        .map(|block| block.parse().unwrap())
        .to_vec(),
        ..Node::named(format!("n{i}"))
    }
}

pub(crate) fn start(
    intent: &Intent,
    order: impl IntoIterator<Item = usize>,
    seed: u64,
    kernel: bool,
) -> World {
    let mut world = World::new(seed);
    for i in order {
        let name = &intent.nodes[i].name;
        world.boot(plan(intent, name).unwrap(), seed + i as u64 * 7, kernel);
    }
    world
}

/// What everybody should have: all blocks, over their nodes.
fn oracle(intent: &Intent, of: &str) -> BTreeMap<Prefix, String> {
    let mut table = BTreeMap::new();
    for node in &intent.nodes {
        for block in &node.blocks {
            let hop = node.address(block.family()).unwrap();
            let text = if node.name == of {
                "own".to_owned()
            } else {
                format!("{hop} []")
            };
            table.insert(*block, text);
        }
    }
    table
}

fn is_converged(world: &World, intent: &Intent) -> bool {
    world.all_up()
        && intent
            .nodes
            .iter()
            .all(|node| world.table(&node.name) == oracle(intent, &node.name))
}

pub(crate) fn assert_converged(world: &World, intent: &Intent) {
    for node in &intent.nodes {
        assert_eq!(
            world.table(&node.name),
            oracle(intent, &node.name),
            "{}",
            node.name
        );
    }
    assert!(world.all_up());
}

#[test]
fn a_mesh_of_six_converges_and_then_only_keepalives_pass() {
    let intent = cluster(6);
    let mut lines = vec!["seed  virtual-ms  open  update  keepalive  notification".to_owned()];
    for seed in SEEDS {
        let mut world = start(&intent, 0..6, seed, false);
        let took = world.until(secs(20), |world| is_converged(world, &intent));
        assert_converged(&world, &intent);
        let took = took.unwrap();
        assert!(took < secs(1), "{took:?}");
        for name in intent.nodes.iter().map(|node| &node.name) {
            let ups = world.ups(name);
            assert_eq!(ups.len(), 10, "one session a pair and family");
            assert!(ups.values().all(|n| *n == 1), "{ups:?}");
        }
        let count = |world: &World, kind| world.messages.get(kind).copied().unwrap_or(0);
        let kinds = ["open", "update", "keepalive", "notification"];
        let counts = kinds.map(|kind| count(&world, kind));
        // 60 directed sessions: one OPEN each, one UPDATE with the blocks and one End-of-RIB.
        assert_eq!((counts[0], counts[3]), (60, 0));
        assert!(counts[1] <= 120, "{counts:?}");
        lines.push(format!(
            "{seed:4}  {:10}  {:4}  {:6}  {:9}  {:12}",
            took.as_millis(),
            counts[0],
            counts[1],
            counts[2],
            counts[3]
        ));
        world.run(secs(120));
        for kind in ["open", "update", "notification"] {
            assert_eq!(
                count(&world, kind),
                counts[kinds.iter().position(|k| *k == kind).unwrap()]
            );
        }
        assert_converged(&world, &intent);
    }
    golden(&(lines.join("\n") + "\n"));
}

fn golden(text: &str) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/proto-fixtures/sim/mesh.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, text).unwrap();
    }
    let expected = std::fs::read_to_string(path).unwrap();
    assert_eq!(text, expected, "UPDATE_GOLDEN=1 rewrites {path}");
}

#[test]
fn a_node_comes_and_goes_without_touching_other_sessions() {
    for seed in SEEDS {
        let five = cluster(5);
        let six = cluster(6);
        let mut world = start(&five, 0..5, seed, false);
        world
            .until(secs(20), |world| is_converged(world, &five))
            .unwrap();
        let before = sessions(&world, &five);
        world.boot(plan(&six, "n6").unwrap(), seed + 99, false);
        replan_all(&mut world, &five, &six);
        world.until(secs(40), |world| is_converged(world, &six));
        assert_converged(&world, &six);
        assert_kept(&before, &sessions(&world, &five));
        replan_all(&mut world, &five, &five);
        world.crash("n6");
        world.run(secs(5));
        assert_converged(&world, &five);
        assert_eq!(before, sessions(&world, &five));
    }
}

/// Each node with its own delay.
fn replan_all(world: &mut World, nodes: &Intent, to: &Intent) {
    for node in &nodes.nodes {
        let wait = Duration::from_millis(world.rng.below(3_000));
        world.run(wait);
        world.replan(&node.name, plan(to, &node.name).unwrap());
    }
}

type Sessions = BTreeMap<(String, String), (u64, Instant)>;

fn sessions(world: &World, intent: &Intent) -> Sessions {
    let mut all = BTreeMap::new();
    for node in &intent.nodes {
        for peer in world.node(&node.name).speaker().peers() {
            let state = (peer.counters.established, peer.since);
            all.insert((node.name.clone(), peer.planned.name), state);
        }
    }
    all
}

fn assert_kept(before: &Sessions, after: &Sessions) {
    for (name, state) in before {
        assert_eq!(after.get(name), Some(state), "{name:?}");
    }
}

#[test]
fn a_silent_node_keeps_its_routes_for_the_hold_time_and_no_longer() {
    for seed in SEEDS {
        let intent = cluster(4);
        let mut world = start(&intent, 0..4, seed, false);
        world
            .until(secs(20), |world| is_converged(world, &intent))
            .unwrap();
        let settle = Duration::from_millis(500 + world.rng.below(20_000));
        world.run(settle);
        world.crash("n4");
        let block: Prefix = "10.244.4.0/26".parse().unwrap();
        let survivors = ["n1", "n2", "n3"];
        // KEEPALIVEs go out every 10 s at most, so the last one is younger than that.
        world.run(secs(19));
        for name in survivors {
            assert!(
                world.table(name).contains_key(&block),
                "{name} gave up early"
            );
        }
        world.run(secs(12));
        for name in survivors {
            let table = world.table(name);
            assert!(!table.contains_key(&block), "{name} still has it");
            assert_eq!(table.len(), 12);
        }
        let others = |world: &World| {
            let all = sessions(world, &cluster(3));
            all.into_iter()
                .filter(|((_, peer), _)| !peer.starts_with("n4"))
                .collect::<Sessions>()
        };
        let before = others(&world);
        world.boot(plan(&intent, "n4").unwrap(), seed + 1_000, false);
        let took = world.until(secs(60), |world| is_converged(world, &intent));
        assert_converged(&world, &intent);
        assert!(took.unwrap() < secs(40), "{took:?}");
        assert_eq!(before, others(&world));
    }
}

#[test]
fn the_same_seed_is_the_same_story_and_the_order_of_birth_does_not_matter() {
    let intent = cluster(5);
    for seed in SEEDS {
        let run = |order: Vec<usize>, seed| {
            let mut world = start(&intent, order, seed, false);
            world.run(secs(3));
            world.kill("n2");
            world.run(secs(1));
            world.boot(plan(&intent, "n2").unwrap(), seed, false);
            world.run(secs(60));
            (world.trace(), world.tables())
        };
        let first = run((0..5).collect(), seed);
        assert_eq!(first, run((0..5).collect(), seed));
        let other = run(vec![3, 1, 4, 0, 2], seed);
        assert_eq!(first.1, other.1);
        let other = run((0..5).rev().collect(), seed + 50);
        assert_ne!(first.0, other.0, "the trace sees the seed");
        assert_eq!(first.1, other.1);
    }
}

#[test]
fn a_restarted_node_deletes_nothing_early_and_rewrites_nothing() {
    for seed in SEEDS {
        let mut intent = cluster(4);
        for node in &mut intent.nodes {
            node.ipv6_address = None;
            node.blocks.truncate(2);
        }
        let mut world = start(&intent, 0..4, seed, true);
        world.run(secs(5));
        assert_converged(&world, &intent);
        let kernel = |world: &World| world.hosts["n1"].kernel.as_ref().unwrap().routes.clone();
        let routes = kernel(&world);
        let expected: BTreeSet<_> = oracle(&intent, "n1").into_keys().collect();
        assert_eq!(
            routes.keys().map(|key| key.0).collect::<BTreeSet<_>>(),
            expected
        );
        // While it is away, one block of another node goes.
        world.kill("n1");
        let gone = intent.nodes[2].blocks.pop().unwrap();
        for name in ["n2", "n3", "n4"] {
            world.replan(name, plan(&intent, name).unwrap());
        }
        world.run(secs(2));
        let begin = world.now;
        world
            .hosts
            .get_mut("n1")
            .unwrap()
            .kernel
            .as_mut()
            .unwrap()
            .log
            .clear();
        world.boot(plan(&intent, "n1").unwrap(), seed + 500, true);
        let heard = |world: &World| {
            let speaker = world.node("n1").speaker();
            speaker.sessions() == (3, 3) && speaker.heard_all()
        };
        let up = world.until(secs(40), heard).unwrap();
        world.run(secs(40));
        assert_converged(&world, &intent);
        let log = world.hosts["n1"].kernel.as_ref().unwrap().log.clone();
        let words: Vec<_> = log
            .iter()
            .map(|(_, word, prefix)| (*word, *prefix))
            .collect();
        assert_eq!(words, [("delete", gone)], "only what nobody confirmed goes");
        assert!(log[0].0 >= begin + up, "before convergence");
        let mut left = routes;
        left.retain(|key, _| key.0 != gone);
        assert_eq!(kernel(&world), left);
        assert!(world.now > START);
    }
}

#[test]
fn a_node_with_more_blocks_than_the_mesh_takes_keeps_its_sessions() {
    let mut intent = cluster(2);
    let many = |count: u32| {
        let blocks = (0..count).map(|n| Prefix::V4(Prefix4::new(0x0a80_0000 + (n << 6), 26)));
        blocks.collect::<Vec<_>>()
    };
    let limited = |intent: &Intent, name: &str| {
        let mut plan = plan(intent, name).unwrap();
        for peer in &mut plan.peers {
            assert_eq!(peer.policy.limit.max, Some(20_000));
            peer.policy.limit.max = Some(20);
        }
        plan
    };
    let mut world = World::new(11);
    intent.nodes[0].blocks = many(30);
    for (seed, name) in [(1, "n1"), (2, "n2")] {
        world.boot(limited(&intent, name), seed, false);
    }
    world.until(secs(20), World::all_up).unwrap();
    world.run(secs(60));
    let of_n1 = |world: &World| {
        let peer = world.peer("n2", "n1");
        (peer.received, peer.untaken)
    };
    assert_eq!(of_n1(&world), (20, 10));
    intent.nodes[0].blocks = many(18);
    world.replan("n1", limited(&intent, "n1"));
    world.run(secs(60));
    assert_eq!(of_n1(&world), (18, 0));
    intent.nodes[0].blocks = many(25).split_off(5);
    world.replan("n1", limited(&intent, "n1"));
    world.run(secs(60));
    assert_eq!(of_n1(&world), (20, 0), "others, as many as may be");
    assert!(world.ups("n2").values().all(|ups| *ups == 1));
}
