//! One node and scripted peers: what each of them may do to the node, and what the others notice.

use std::collections::BTreeSet;

use dunlin::net::{AfiSafi, Asn, Prefix};
use dunlin::policy::PolicyKind;
use dunlin::rib::HIGH_WATER;
use dunlin::session::State;
use dunlin::time::Duration;
use dunlin::topology::{Intent, Node, Peer, plan};
use dunlin::wire::capability::Capability;
use dunlin::wire::frame::{MAX_LEN, MessageKind};

use crate::sim_script::{Script, attributes, end_of_rib, message, split, update};
use crate::sim_world::World;

const SEEDS: std::ops::Range<u64> = 0..4;

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn address(i: usize) -> String {
    format!("10.0.{}.{}", 1 + i / 200, 1 + i % 200)
}

/// The node `hub` of AS 65000 and `peers` passive peers `p0`, `p1`, ... of AS 65001, 65002, ...
fn hub(peers: usize) -> Intent {
    let peer = |i: usize| {
        let asn = Asn(65_001 + u32::try_from(i).unwrap());
        let mut peer = Peer::new(format!("p{i}"), address(i).parse().unwrap(), asn);
        peer.passive = true;
        peer.routes.import = PolicyKind::AcceptAll;
        peer.routes.export = PolicyKind::AcceptAll;
        peer
    };
    let mut intent = Intent {
        nodes: vec![Node {
            ipv4_address: Some("10.0.0.1/16".parse().unwrap()),
            ..Node::named("hub")
        }],
        peers: (0..peers).map(peer).collect(),
        ..Intent::default()
    };
    intent.bgp.as_number = Asn(65_000);
    intent
}

fn script(i: usize) -> Script {
    Script::new(&address(i), 65_001 + u32::try_from(i).unwrap())
}

/// The hub and its peers, all up.
fn world(intent: &Intent, scripts: Vec<Script>, seed: u64) -> World {
    let mut world = World::new(seed);
    world.boot(plan(intent, "hub").unwrap(), seed, false);
    for (i, script) in scripts.into_iter().enumerate() {
        world.script(&format!("p{i}"), script);
        world.script_dials(&format!("p{i}"), "10.0.0.1".parse().unwrap());
    }
    world.until(secs(5), World::all_up).unwrap();
    // Whatever goes out after that is an answer to the test.
    world.run(secs(1));
    world
}

fn path(i: usize, more: &[u32]) -> Vec<u8> {
    let mut asns = vec![65_001 + u32::try_from(i).unwrap()];
    asns.extend_from_slice(more);
    attributes(&asns, &address(i))
}

fn received(world: &World, peer: &str) -> BTreeSet<Prefix> {
    let address = world.peer("hub", peer).planned.address;
    world
        .paths("hub")
        .into_iter()
        .filter(|(_, paths)| paths.iter().any(|(from, _)| *from == address))
        .map(|(prefix, _)| prefix)
        .collect()
}

#[test]
fn three_hundred_peers_at_once_come_up_and_none_flaps() {
    let intent = hub(300);
    let mut world = World::new(7);
    world.boot(plan(&intent, "hub").unwrap(), 7, false);
    for i in 0..300 {
        let mut script = script(i);
        let block = prefix(&format!("20.{}.{}.0/24", i / 200, i % 200));
        script.greeting = [update(&[], &path(i, &[]), &[block]), end_of_rib()].concat();
        world.script(&format!("p{i}"), script);
        world.script_dials(&format!("p{i}"), "10.0.0.1".parse().unwrap());
    }
    let took = world.until(secs(10), World::all_up).unwrap();
    assert!(took < secs(1), "{took:?}");
    world.run(secs(60));
    assert_eq!(world.node("hub").speaker().sessions(), (300, 300));
    assert!(world.ups("hub").values().all(|n| *n == 1));
    for i in 0..300 {
        let script = world.script_of(&format!("p{i}"));
        assert_eq!(script.closed, 0);
        // Its own route does not come back.
        assert_eq!(script.prefixes().len(), 299, "p{i}");
    }
}

#[test]
fn the_source_never_gets_its_own_route_and_a_former_source_gets_the_new_one() {
    for seed in SEEDS {
        let intent = hub(3);
        let mut world = world(&intent, (0..3).map(script).collect(), seed);
        let shared = prefix("20.0.0.0/16");
        let seen = |world: &World, peer: &str| world.script_of(peer).prefixes().contains(&shared);
        world.say("p0", update(&[], &path(0, &[7, 8]), &[shared]));
        world.run(secs(1));
        assert_eq!(
            [false, true, true],
            ["p0", "p1", "p2"].map(|p| seen(&world, p))
        );
        // A shorter path: p1 becomes the source, p0 is told of it, p1 loses what it had.
        world.say("p1", update(&[], &path(1, &[9]), &[shared]));
        world.run(secs(1));
        assert_eq!(
            [true, false, true],
            ["p0", "p1", "p2"].map(|p| seen(&world, p))
        );
        let paths = &world.paths("hub")[&shared];
        assert_eq!(paths[0].1, format!("{} [65002 9]", address(1)));
        assert_eq!(paths.len(), 2);
        world.say("p1", update(&[shared], &[], &[]));
        world.run(secs(1));
        assert_eq!(
            [false, true, true],
            ["p0", "p1", "p2"].map(|p| seen(&world, p))
        );
        world.say("p0", update(&[shared], &[], &[]));
        world.run(secs(1));
        assert_eq!([false; 3], ["p0", "p1", "p2"].map(|p| seen(&world, p)));
        // Two announcements, a change, two withdrawals: nobody heard more than that.
        for peer in ["p0", "p1", "p2"] {
            let updates = world.script_of(peer).all(MessageKind::Update).len();
            assert!(updates <= 6, "{peer}: {updates}");
        }
    }
}

#[test]
fn an_eligible_path_loses_our_as_never() {
    let intent = hub(2);
    let mut world = world(&intent, (0..2).map(script).collect(), 3);
    let looped = prefix("20.1.0.0/16");
    world.say("p0", update(&[], &path(0, &[65_000]), &[looped]));
    world.run(secs(1));
    assert!(world.table("hub").is_empty());
    assert!(world.script_of("p1").prefixes().is_empty());
    assert_eq!(world.peer("hub", "p0").received, 1, "kept, and not used");
}

#[test]
fn treat_as_withdraw_takes_the_named_prefixes_and_the_session_stays() {
    for seed in SEEDS {
        let intent = hub(2);
        let mut world = world(&intent, (0..2).map(script).collect(), seed);
        let all: Vec<_> = (0..6).map(|i| prefix(&format!("20.{i}.0.0/16"))).collect();
        world.say("p0", update(&[], &path(0, &[]), &all));
        world.run(secs(1));
        // ORIGIN 9 is no origin (RFC 7606 §7.1).
        let mut bad = path(0, &[]);
        bad[3] = 9;
        world.say("p0", update(&[all[5]], &bad, &all[1..3]));
        world.run(secs(1));
        let left: BTreeSet<_> = [all[0], all[3], all[4]].into();
        assert_eq!(received(&world, "p0"), left);
        assert_eq!(world.script_of("p1").prefixes(), left);
        assert_eq!(world.script_of("p0").closed, 0);
        let status = world.peer("hub", "p0");
        assert_eq!(
            (status.treated_as_withdraw, status.counters.established),
            (1, 1)
        );
        // A path that does not begin with the peer's AS is treated the same (§7.2).
        world.say("p0", update(&[], &attributes(&[4], &address(0)), &[all[0]]));
        world.run(secs(1));
        assert_eq!(received(&world, "p0"), [all[3], all[4]].into());
    }
}

#[test]
fn an_error_that_resets_ends_one_session_with_the_right_words() {
    let list_too_long = message(2, &[0, 0, 0xFF, 0xFF]);
    let mut bad_marker = end_of_rib();
    bad_marker[0] = 0;
    let unknown_type = message(9, &[]);
    let short_keepalive = message(4, &[1]);
    let cases = [
        (list_too_long, (3, 1)),
        (bad_marker, (1, 1)),
        (unknown_type, (1, 3)),
        (short_keepalive, (1, 2)),
    ];
    for (seed, (bytes, notification)) in (0..).zip(cases) {
        let intent = hub(3);
        let mut world = world(&intent, (0..3).map(script).collect(), seed);
        let blocks = [0, 1, 2].map(|i| prefix(&format!("20.{i}.0.0/16")));
        for (i, block) in blocks.into_iter().enumerate() {
            world.say(&format!("p{i}"), update(&[], &path(i, &[]), &[block]));
        }
        world.run(secs(1));
        world.say("p0", bytes);
        world.run(secs(1));
        assert_eq!(world.script_of("p0").notifications(), [notification]);
        assert_eq!(world.script_of("p0").closed, 1);
        assert_ne!(world.peer("hub", "p0").state, State::Established);
        assert_eq!(
            world.table("hub").into_keys().collect::<Vec<_>>(),
            blocks[1..]
        );
        for peer in ["p1", "p2"] {
            assert_eq!(world.script_of(peer).closed, 0);
            assert_eq!(world.peer("hub", peer).counters.established, 1);
            assert!(!world.script_of(peer).prefixes().contains(&blocks[0]));
        }
    }
}

#[test]
fn too_many_prefixes_end_the_session_with_cease_6_1() {
    for seed in SEEDS {
        let mut intent = hub(2);
        intent.peers[0].routes.limit.max = Some(10);
        let mut world = world(&intent, (0..2).map(script).collect(), seed);
        let blocks: Vec<_> = (0..11).map(|i| prefix(&format!("20.{i}.0.0/16"))).collect();
        world.say("p0", update(&[], &path(0, &[]), &blocks[..10]));
        world.run(secs(1));
        assert_eq!(received(&world, "p0").len(), 10, "as many as allowed");
        assert_eq!(world.script_of("p0").closed, 0);
        world.say("p0", update(&[], &path(0, &[]), &blocks[10..]));
        world.run(secs(1));
        assert_eq!(world.script_of("p0").notifications(), [(6, 1)]);
        assert!(world.table("hub").is_empty());
        assert!(world.script_of("p1").prefixes().is_empty());
        assert_eq!(world.script_of("p1").closed, 0);
    }
}

#[test]
fn a_refresh_comes_back_between_its_marks_with_every_route() {
    for seed in SEEDS {
        let intent = hub(2);
        let mut asking = script(1);
        asking.refresh = true;
        let mut world = world(&intent, vec![script(0), asking], seed);
        let blocks: Vec<_> = (0..50).map(|i| prefix(&format!("20.{i}.0.0/16"))).collect();
        world.say("p0", update(&[], &path(0, &[]), &blocks));
        world.run(secs(1));
        let before = world.script_of("p1").heard.len();
        world.say("p1", message(5, &[0, 1, 0, 1]));
        world.run(secs(1));
        let heard = &world.script_of("p1").heard[before..];
        let marks: Vec<_> = heard
            .iter()
            .enumerate()
            .filter(|(_, (_, kind, _))| *kind == MessageKind::RouteRefresh)
            .map(|(at, (_, _, body))| (at, body[2]))
            .collect();
        // BoRR first, EoRR last (RFC 7313 §4), and the routes between.
        assert_eq!(marks, [(0, 1), (heard.len() - 1, 2)], "{heard:?}");
        let between: BTreeSet<_> = heard
            .iter()
            .filter(|(_, kind, _)| *kind == MessageKind::Update)
            .flat_map(|(_, _, body)| split(body).2)
            .collect();
        assert_eq!(between, blocks.into_iter().collect());
        assert_eq!(world.peer("hub", "p1").counters.established, 1);
    }
}

#[test]
fn what_a_peer_does_not_repeat_in_its_refresh_is_gone_at_the_end() {
    let intent = hub(2);
    let mut sender = script(0);
    sender.refresh = true;
    let mut world = world(&intent, vec![sender, script(1)], 1);
    let blocks: Vec<_> = (0..4).map(|i| prefix(&format!("20.{i}.0.0/16"))).collect();
    world.say("p0", update(&[], &path(0, &[]), &blocks));
    world.run(secs(1));
    world.with_node("hub", |node, _| {
        node.speaker_mut().refresh_peer("p0").unwrap()
    });
    world.run(secs(1));
    assert_eq!(
        world.script_of("p0").all(MessageKind::RouteRefresh)[0],
        [0, 1, 0, 1]
    );
    world.say("p0", message(5, &[0, 1, 1, 1]));
    world.say("p0", update(&[], &path(0, &[]), &blocks[..2]));
    world.run(secs(1));
    assert_eq!(
        received(&world, "p0").len(),
        4,
        "nothing goes before the end"
    );
    world.say("p0", message(5, &[0, 1, 2, 1]));
    world.run(secs(1));
    assert_eq!(
        received(&world, "p0"),
        blocks[..2].iter().copied().collect()
    );
    assert_eq!(world.script_of("p1").prefixes().len(), 2);
}

/// A begin and an end of a refresh, and UPDATEs with some of four blocks between: what is left afterwards,
/// and how often the hub has sent its own routes again.
fn after_marks(
    capable: bool,
    restarts: bool,
    end_of_rib_first: bool,
    marks: &[u8],
) -> (usize, usize) {
    let mut sender = script(0);
    sender.refresh = capable;
    sender.greeting = Vec::new();
    if !capable {
        sender.more.push(Capability::RouteRefresh);
    }
    if restarts {
        sender.more.push(Capability::GracefulRestart {
            restarting: false,
            notification: false,
            time: 100,
            families: vec![(AfiSafi::IPV4_UNICAST, true)],
        });
    }
    let mut world = World::new(1);
    world.boot(plan(&hub(2), "hub").unwrap(), 1, false);
    for (name, script) in [("p0", sender), ("p1", script(1))] {
        world.script(name, script);
        world.script_dials(name, "10.0.0.1".parse().unwrap());
    }
    world.run(secs(5));
    let blocks: Vec<_> = (0..4).map(|i| prefix(&format!("20.{i}.0.0/16"))).collect();
    world.say("p1", update(&[], &path(1, &[]), &[prefix("21.0.0.0/16")]));
    world.say("p0", update(&[], &path(0, &[]), &blocks));
    if end_of_rib_first {
        world.say("p0", end_of_rib());
    }
    world.run(secs(5));
    let sent = |world: &World| {
        let updates = world.script_of("p0").all(MessageKind::Update);
        let routes = |body: &&[u8]| !split(body).2.is_empty();
        updates.into_iter().filter(routes).count()
    };
    let before = sent(&world);
    for (at, mark) in marks.iter().enumerate() {
        if at > 0 {
            world.say("p0", update(&[], &path(0, &[]), &blocks[..2]));
        }
        world.say("p0", message(5, &[0, 1, *mark, 1]));
        world.run(secs(5));
    }
    (received(&world, "p0").len(), sent(&world) - before)
}

#[test]
fn marks_of_a_refresh_count_only_from_whom_may_send_them_and_when() {
    const BEGIN: u8 = 1;
    const END: u8 = 2;
    let whole = [BEGIN, END];
    // RFC 7313 §4: not before the End-of-RIB of a peer that sends one.
    assert_eq!(after_marks(true, true, false, &whole), (4, 0));
    assert_eq!(after_marks(true, true, true, &whole), (2, 0));
    assert_eq!(after_marks(true, false, false, &whole), (2, 0));
    // An end without a begin, and a begin that came too early for its end.
    assert_eq!(after_marks(true, false, false, &[END]), (4, 0));
    assert_eq!(after_marks(true, true, true, &[BEGIN, BEGIN, END]), (2, 0));
    assert_eq!(after_marks(true, true, true, &[BEGIN, END, END]), (2, 0));
    // Subtypes that nobody has defined.
    assert_eq!(after_marks(true, false, false, &[3, 255]), (4, 0));
    // Without the capability the octet is a reserved one: a plain request, each time.
    for restarts in [false, true] {
        assert_eq!(after_marks(false, restarts, true, &whole), (4, 2));
        assert_eq!(after_marks(false, restarts, true, &[7]), (4, 1));
    }
}

#[test]
fn bytes_that_were_right_for_a_former_session_are_judged_anew_in_the_next() {
    let mut intent = hub(1);
    let mut world = world(&intent, vec![script(0)], 1);
    let block = prefix("20.0.0.0/16");
    world.say("p0", update(&[], &path(0, &[]), &[block]));
    world.run(secs(1));
    assert_eq!(received(&world, "p0").len(), 1);
    // The peer moves to another AS and says what it said before: the path is no longer its own.
    intent.peers[0].as_number = Some(Asn(65_099));
    world.replan("hub", plan(&intent, "hub").unwrap());
    world.run(secs(30));
    world.script("p0", Script::new(&address(0), 65_099));
    world.script_dials("p0", "10.0.0.1".parse().unwrap());
    world.until(secs(30), World::all_up).unwrap();
    world.run(secs(1));
    world.say("p0", update(&[], &path(0, &[]), &[block]));
    world.run(secs(1));
    assert_eq!(world.peer("hub", "p0").state, State::Established);
    assert_eq!(received(&world, "p0").len(), 0);
}

#[test]
fn a_changed_as_of_our_own_makes_loops_of_paths_that_were_none() {
    let mut intent = hub(2);
    // The sessions stay: both peers know us under another number.
    for peer in &mut intent.peers {
        peer.local_as_number = Some(Asn(64_999));
    }
    let mut world = world(&intent, (0..2).map(script).collect(), 1);
    let blocks = [0, 1].map(|i| prefix(&format!("20.{i}.0.0/16")));
    world.say("p0", update(&[], &path(0, &[65_500]), &blocks[..1]));
    world.run(secs(1));
    assert_eq!(world.script_of("p1").prefixes().len(), 1);
    intent.bgp.as_number = Asn(65_500);
    world.replan("hub", plan(&intent, "hub").unwrap());
    world.run(secs(1));
    assert!(world.table("hub").is_empty(), "judged again");
    assert!(world.script_of("p1").prefixes().is_empty());
    world.say("p0", update(&[], &path(0, &[65_500]), &blocks[1..]));
    world.run(secs(1));
    assert!(world.table("hub").is_empty(), "no longer taken for known");
    assert!(world.ups("hub").values().all(|n| *n == 1));
}

#[test]
fn a_slow_peer_delays_nobody_and_ends_with_the_same_table() {
    for seed in 0..2 {
        let intent = hub(4);
        let mut world = world(&intent, (0..4).map(script).collect(), seed);
        let blocks: Vec<_> = (0..20_000_u32)
            .map(|i| prefix(&format!("20.{}.{}.0/24", i / 256, i % 256)))
            .collect();
        world.hosts.get_mut("p3").unwrap().asleep = true;
        feed(&mut world, &blocks, 0);
        let complete = |world: &World, peer| world.script_of(peer).prefixes().len();
        world.run(secs(1));
        assert_eq!(complete(&world, "p1"), 20_000);
        // Churn while p3 sleeps: all blocks get another path, and then a quarter of them goes.
        for round in 1..4 {
            feed(&mut world, &blocks, round);
            for chunk in blocks[..5_000].chunks(500) {
                world.say("p0", update(chunk, &[], &[]));
            }
            world.run(secs(1));
        }
        assert!(complete(&world, "p3") < 20_000);
        let fast = world.script_of("p1").prefixes();
        assert_eq!(fast.len(), 15_000);
        assert_eq!(fast, world.script_of("p2").prefixes());
        // One batch is a message for each path that is new, at most a few of 4 KB here.
        assert!(world.peak <= HIGH_WATER + 16 * MAX_LEN, "{}", world.peak);
        world.wake_reader("p3");
        world.run(secs(2));
        assert_eq!(last_said(&world, "p3"), last_said(&world, "p1"));
        assert!(world.ups("hub").values().all(|n| *n == 1));
    }
}

/// All blocks with a path of their round, a hundred an UPDATE and each UPDATE with its own path.
fn feed(world: &mut World, blocks: &[Prefix], round: u32) {
    for (i, chunk) in (0..).zip(blocks.chunks(100)) {
        world.say("p0", update(&[], &path(0, &[round * 1_000 + i + 1]), chunk));
    }
}

/// The attributes that a peer heard last, by prefix.
fn last_said(world: &World, peer: &str) -> std::collections::BTreeMap<Prefix, Vec<u8>> {
    let mut table = std::collections::BTreeMap::new();
    for body in world.script_of(peer).all(MessageKind::Update) {
        let (withdrawn, attributes, announced) = split(body);
        for prefix in withdrawn {
            table.remove(&prefix);
        }
        for prefix in announced {
            table.insert(prefix, attributes.clone());
        }
    }
    table
}
