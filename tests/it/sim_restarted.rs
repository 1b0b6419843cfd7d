//! A node that restarts: what its OPEN says, what it sends when, and what its kernel goes through.

use std::collections::BTreeMap;

use dunlin::net::{AfiSafi, Asn, Prefix};
use dunlin::policy::PolicyKind;
use dunlin::time::{Duration, Instant};
use dunlin::topology::{Intent, Node, Peer, plan};
use dunlin::wire::capability::Capability;
use dunlin::wire::frame::MessageKind;

use crate::sim_mesh::{assert_converged, cluster, start};
use crate::sim_script::{Script, attributes, end_of_rib, split, update};
use crate::sim_world::World;

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn own() -> Prefix {
    prefix("10.244.0.0/26")
}

fn address(i: usize) -> String {
    format!("10.0.1.{}", i + 1)
}

fn peer_name(i: usize) -> String {
    format!("p{i}")
}

/// The node `hub` of AS 65000 with a block, and peers of AS 65001, 65002, ... that it dials.
fn hub(peers: usize) -> Intent {
    let peer = |i: usize| {
        let asn = Asn(65_001 + u32::try_from(i).unwrap());
        let mut peer = Peer::new(peer_name(i), address(i).parse().unwrap(), asn);
        peer.routes.import = PolicyKind::AcceptAll;
        peer.routes.export = PolicyKind::AcceptAll;
        peer
    };
    let mut intent = Intent {
        nodes: vec![Node {
            ipv4_address: Some("10.0.0.1/16".parse().unwrap()),
            blocks: vec![own()],
            ..Node::named("hub")
        }],
        peers: (0..peers).map(peer).collect(),
        ..Intent::default()
    };
    intent.bgp.as_number = Asn(65_000);
    intent
}

/// A peer that announces a prefix with a path so long, if any, and ends with End-of-RIB.
fn script(i: usize, announced: Option<(Prefix, usize)>) -> Script {
    let mut script = Script::new(&address(i), 65_001 + u32::try_from(i).unwrap());
    script.more = vec![Capability::GracefulRestart {
        restarting: false,
        notification: false,
        time: 100,
        families: vec![(AfiSafi::IPV4_UNICAST, true)],
    }];
    if let Some((prefix, length)) = announced {
        let mut path = vec![65_001 + u32::try_from(i).unwrap()];
        path.resize(length, 64_000);
        let attributes = attributes(&path, &address(i));
        script.greeting = [update(&[], &attributes, &[prefix]), end_of_rib()].concat();
    }
    script
}

/// R, and F of IPv4, in the last OPEN that a peer has heard.
fn bits(world: &World, peer: &str) -> (bool, bool) {
    let open = world.script_of(peer).open_heard();
    let restart = open.graceful_restart().unwrap();
    assert!(restart.notification, "we follow RFC 8538");
    assert_eq!(restart.time, 120);
    (
        restart.restarting,
        restart.families.contains(&(AfiSafi::IPV4_UNICAST, true)),
    )
}

/// When a peer first heard of a prefix.
fn told(world: &World, peer: &str, prefix: Prefix) -> Option<Instant> {
    let mut heard = world.script_of(peer).heard.iter();
    let found = heard
        .find(|(_, kind, body)| *kind == MessageKind::Update && split(body).2.contains(&prefix));
    found.map(|(at, ..)| *at)
}

fn kernel_log(world: &World, name: &str) -> Vec<(&'static str, Prefix)> {
    let log = &world.hosts[name].kernel.as_ref().unwrap().log;
    log.iter()
        .map(|(_, word, prefix)| (*word, *prefix))
        .collect()
}

fn forget_log(world: &mut World, name: &str) {
    let kernel = world.hosts.get_mut(name).unwrap().kernel.as_mut();
    kernel.unwrap().log.clear();
}

#[test]
fn a_restarted_node_with_one_dead_peer_among_100_announces_its_blocks_to_the_others_at_once() {
    let intent = hub(100);
    let mut world = World::new(3);
    let all = || (0..99).map(peer_name);
    for i in 0..99 {
        world.script(&peer_name(i), script(i, None));
    }
    world.boot(plan(&intent, "hub").unwrap(), 3, true);
    world.run(secs(60));
    world.kill("hub");
    world.run(secs(2));
    // The same peers, with empty ears; the last one has died meanwhile.
    for i in 0..99 {
        world.script(&peer_name(i), script(i, None));
    }
    let begin = world.now;
    world.boot(plan(&intent, "hub").unwrap(), 4, true);
    world.run(secs(20));
    assert_eq!(world.node("hub").speaker().sessions(), (100, 99));
    let mut slowest = Duration::ZERO;
    for name in all() {
        let up = world.peer("hub", &name).since;
        let at = told(&world, &name, own()).unwrap_or_else(|| panic!("{name} was not told"));
        slowest = slowest.max(at.since(up));
        assert_eq!(bits(&world, &name), (true, true));
        assert_eq!(
            world.script_of(&name).end_heard(),
            None,
            "not all is known yet"
        );
    }
    assert!(slowest < secs(1), "{slowest:?}");
    // The dead one does not keep the others waiting for ever.
    world.run(secs(11));
    for name in all() {
        let end = world.script_of(&name).end_heard().unwrap();
        assert!(end.since(begin) <= secs(31), "{name}");
    }
}

#[test]
fn open_says_what_is_true_of_our_forwarding() {
    let intent = hub(1);
    let mut world = World::new(1);
    world.script("p0", script(0, None));
    world.boot(plan(&intent, "hub").unwrap(), 1, true);
    world.run(secs(5));
    assert_eq!(bits(&world, "p0"), (false, false), "a first start");
    // The session alone is lost: the kernel goes on forwarding.
    world.with_node("hub", |node, now| {
        node.speaker_mut().reset_peer(now, "p0").unwrap();
    });
    world.run(secs(10));
    assert_eq!(bits(&world, "p0"), (false, true));
    world.kill("hub");
    world.boot(plan(&intent, "hub").unwrap(), 2, true);
    world.run(secs(31));
    assert_eq!(bits(&world, "p0"), (true, true));
    world.with_node("hub", |node, now| {
        node.speaker_mut().reset_peer(now, "p0").unwrap();
    });
    world.run(secs(10));
    assert_eq!(bits(&world, "p0"), (false, true), "the restart is over");
    // The machine was rebooted: no route is left.
    world.kill("hub");
    world
        .hosts
        .get_mut("hub")
        .unwrap()
        .kernel
        .as_mut()
        .unwrap()
        .routes
        .clear();
    world.boot(plan(&intent, "hub").unwrap(), 3, true);
    world.run(secs(10));
    assert_eq!(bits(&world, "p0"), (false, false));
}

/// `p1` has the better path to a prefix, `p0` the worse one; both are heard, then the hub is killed.
fn two_ways(shared: Prefix) -> (Intent, World) {
    let intent = hub(2);
    let mut world = World::new(1);
    world.script("p0", script(0, Some((shared, 3))));
    world.script("p1", script(1, Some((shared, 1))));
    world.boot(plan(&intent, "hub").unwrap(), 1, true);
    world.run(secs(5));
    assert!(kernel_log(&world, "hub").len() >= 2);
    world.kill("hub");
    world.run(secs(1));
    forget_log(&mut world, "hub");
    world.script("p0", script(0, Some((shared, 3))));
    world.script("p1", script(1, Some((shared, 1))));
    (intent, world)
}

#[test]
fn a_route_of_the_former_process_is_not_changed_before_everybody_was_heard() {
    let shared = prefix("20.0.0.0/16");
    let new = prefix("21.0.0.0/16");
    let (intent, mut world) = two_ways(shared);
    // The better way is not there yet; and there is a prefix that the kernel knows nothing of.
    world.hosts.get_mut("p1").unwrap().refuses = true;
    world.boot(plan(&intent, "hub").unwrap(), 2, true);
    world.run(secs(5));
    world.say(
        "p0",
        update(&[], &attributes(&[65_001], &address(0)), &[new]),
    );
    world.run(secs(5));
    assert_eq!(kernel_log(&world, "hub"), [("add", new)]);
    assert_eq!(world.script_of("p0").end_heard(), None);
    world.hosts.get_mut("p1").unwrap().refuses = false;
    world.run(secs(15));
    assert_eq!(kernel_log(&world, "hub"), [("add", new)], "as it was");
    assert!(world.script_of("p0").end_heard().is_some());
    assert!(world.script_of("p1").end_heard().is_some());
}

#[test]
fn a_route_whose_peer_is_gone_for_good_is_changed_after_thirty_seconds() {
    let shared = prefix("20.0.0.0/16");
    let (intent, mut world) = two_ways(shared);
    world.crash("p1");
    world.boot(plan(&intent, "hub").unwrap(), 2, true);
    world.run(secs(29));
    assert_eq!(kernel_log(&world, "hub"), []);
    world.run(secs(2));
    assert_eq!(kernel_log(&world, "hub"), [("replace", shared)]);
}

/// A cluster of `n` with kernels, IPv4 only (as the fake kernels have one subnet).
fn mesh(n: u8) -> Intent {
    let mut intent = cluster(n);
    for node in &mut intent.nodes {
        node.ipv6_address = None;
        node.blocks.truncate(2);
    }
    intent
}

fn logs(world: &World) -> BTreeMap<String, usize> {
    let names = world.hosts.keys().cloned();
    names
        .map(|name| (name.clone(), kernel_log(world, &name).len()))
        .collect()
}

#[test]
fn nobody_s_kernel_hears_of_nodes_that_restart_once_twice_or_together() {
    for seed in 0..5 {
        let intent = mesh(5);
        let mut world = start(&intent, 0..5, seed, true);
        world.run(secs(60));
        assert_converged(&world, &intent);
        let before = logs(&world);
        let boot = |world: &mut World, name: &str, seed| {
            world.boot(plan(&intent, name).unwrap(), seed, true);
        };
        // Once, by a kill and by an ordered stop.
        world.kill("n1");
        world.run(secs(10));
        boot(&mut world, "n1", seed + 100);
        world.run(secs(60));
        assert_converged(&world, &intent);
        // Twice inside the window, the second time after everybody has heard all.
        for wait in [5_000, 3_000] {
            world.kill("n2");
            world.run(secs(3));
            boot(&mut world, "n2", seed + 200 + wait);
            world.run(Duration::from_millis(wait));
        }
        world.run(secs(60));
        assert_converged(&world, &intent);
        // Two at once: neither waits for the other.
        world.kill("n3");
        world.kill("n4");
        world.run(secs(3));
        boot(&mut world, "n3", seed + 300);
        boot(&mut world, "n4", seed + 400);
        world.run(secs(60));
        assert_converged(&world, &intent);
        assert_eq!(logs(&world), before, "not one write");
    }
}

#[test]
fn all_nodes_restarting_together_are_settled_within_seconds() {
    let intent = mesh(5);
    let mut world = start(&intent, 0..5, 1, true);
    world.run(secs(60));
    let before = logs(&world);
    for node in &intent.nodes {
        world.kill(&node.name);
    }
    world.run(secs(2));
    for (i, node) in (0..).zip(&intent.nodes) {
        world.boot(plan(&intent, &node.name).unwrap(), 50 + i, true);
    }
    let took = world.until(secs(60), World::all_up).unwrap();
    assert!(took < secs(2), "{took:?}");
    world.run(secs(40));
    assert_converged(&world, &intent);
    assert_eq!(logs(&world), before);
}

#[test]
fn what_this_very_process_has_learnt_goes_when_its_peer_withdraws_it() {
    // p1 never comes, so that the settling time lasts.
    let intent = hub(2);
    let shared = prefix("20.0.0.0/16");
    let mut world = World::new(1);
    world.script("p0", script(0, Some((shared, 1))));
    world.boot(plan(&intent, "hub").unwrap(), 1, true);
    world.run(secs(5));
    assert!(kernel_log(&world, "hub").contains(&("add", shared)));
    world.say("p0", update(&[shared], &[], &[]));
    world.run(secs(1));
    assert_eq!(kernel_log(&world, "hub").last(), Some(&("delete", shared)));
}

#[test]
fn a_peer_that_never_says_when_it_has_said_all_is_listened_to_for_three_seconds() {
    let shared = prefix("20.0.0.0/16");
    let (intent, mut world) = two_ways(shared);
    // Neither has graceful restart nor sends End-of-RIB; p1 no longer has the route.
    for i in 0..2 {
        let mut mute = script(i, None);
        mute.more = Vec::new();
        mute.greeting = Vec::new();
        world.script(&peer_name(i), mute);
    }
    world.boot(plan(&intent, "hub").unwrap(), 2, true);
    world.run(secs(2));
    assert_eq!(kernel_log(&world, "hub"), []);
    world.run(secs(4));
    assert_eq!(kernel_log(&world, "hub"), [("delete", shared)]);
}

#[test]
fn a_draining_node_is_the_last_choice_of_everybody_until_it_is_undone() {
    // GRACEFUL_SHUTDOWN (RFC 8326).
    const COMMUNITY: [u8; 7] = [0xC0, 8, 4, 0xFF, 0xFF, 0, 0];
    let intent = hub(1);
    let mut world = World::new(1);
    world.script("p0", script(0, None));
    world.boot(plan(&intent, "hub").unwrap(), 1, true);
    world.run(secs(2));
    let last = |world: &World| {
        let (_, attributes, announced) = split(
            world
                .script_of("p0")
                .all(MessageKind::Update)
                .last()
                .unwrap(),
        );
        assert_eq!(announced, [own()]);
        attributes.windows(7).any(|window| window == COMMUNITY)
    };
    let drain = |world: &mut World, on| {
        world.with_node("hub", |node, _| node.speaker_mut().set_draining(on));
        world.run(secs(1));
    };
    drain(&mut world, true);
    assert!(last(&world));
    // It outlives a new plan.
    world.replan("hub", plan(&intent, "hub").unwrap());
    world.run(secs(1));
    assert!(last(&world) && world.node("hub").speaker().is_draining());
    drain(&mut world, false);
    assert!(!last(&world));
    assert_eq!(world.peer("hub", "p0").counters.established, 1);
}
