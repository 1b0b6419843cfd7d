//! From mesh to reflectors and back with packets under way: at no moment does a node lack a route to
//! another one's block, and the kernel's routes are not even touched.

use dunlin::net::{Asn, Prefix};
use dunlin::policy::PolicyKind;
use dunlin::time::Duration;
use dunlin::topology::{FarEnd, Intent, Node, Peer, PeerScope, Selector, plan};

use crate::sim_mesh::cluster;
use crate::sim_script::{Script, attributes, end_of_rib, update};
use crate::sim_world::World;

const SEEDS: std::ops::Range<u64> = 0..3;

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// The same nodes, peering with those whose numbers are given and with nobody else.
fn reflected(mesh: &Intent, by: &[usize]) -> Intent {
    let mut intent = mesh.clone();
    intent.bgp.node_to_node_mesh_enabled = false;
    for i in by {
        let node = &mut intent.nodes[*i];
        node.route_reflector_cluster_id = Some("244.0.0.1".parse().unwrap());
        node.labels.insert("reflector".into(), "yes".into());
    }
    let anybody = "10.0.0.1".parse().unwrap();
    intent.peers = vec![Peer {
        scope: PeerScope::All,
        far_end: FarEnd::Nodes(Selector::parse("reflector == 'yes'").unwrap()),
        as_number: None,
        ..Peer::new("to-rr", anybody, intent.bgp.as_number)
    }];
    intent
}

fn start(intent: &Intent, seed: u64, kernel: bool) -> World {
    let mut world = World::new(seed);
    for (i, node) in (0..).zip(&intent.nodes) {
        world.boot(plan(intent, &node.name).unwrap(), seed + i * 7, kernel);
    }
    world
        .until(secs(20), |world| {
            world.all_up() && all_reach_all(world, intent)
        })
        .unwrap();
    world.run(secs(15));
    world
}

/// A block that a node has no way to, or a wrong one.
fn lost(world: &World, intent: &Intent) -> Option<String> {
    let running = || {
        let nodes = intent.nodes.iter();
        nodes.filter(|node| world.hosts[&node.name].actor.is_some())
    };
    for node in running() {
        for other in running().filter(|other| other.name != node.name) {
            let mut blocks = other.blocks.iter();
            if let Some(block) = blocks.find(|block| !reaches(world, &node.name, other, **block)) {
                return Some(format!(
                    "{}: {} has no way to {block}",
                    world.now, node.name
                ));
            }
        }
    }
    None
}

/// Whether the best path of a node for another's block leads there.
fn reaches(world: &World, name: &str, other: &Node, block: Prefix) -> bool {
    let rib = world.node(name).speaker().rib();
    let best = rib.lookup(block).and_then(|route| route.best());
    let attributes = best.and_then(|path| rib.path_attributes(path));
    let next_hop = attributes.and_then(|found| found.decode().next_hop);
    next_hop.map(|hop| hop.address) == other.address(block.family())
}

fn all_reach_all(world: &World, intent: &Intent) -> bool {
    lost(world, intent).is_none()
}

/// Goes on for `time`, and looks at all routes whenever something may have changed them.
fn run_without_loss(world: &mut World, intent: &Intent, time: Duration) {
    let end = world.now + time;
    world.until(time, |world| {
        let lost = lost(world, intent);
        assert_eq!(lost, None);
        false
    });
    assert!(world.now <= end);
    world.run(end - world.now);
}

/// The nodes get the new plan one after the other, within some seconds of each other, in any order.
fn switch(world: &mut World, to: &Intent) {
    let running = to
        .nodes
        .iter()
        .filter(|node| world.hosts[&node.name].actor.is_some());
    let mut names: Vec<_> = running.map(|node| node.name.clone()).collect();
    while !names.is_empty() {
        let count = u64::try_from(names.len()).unwrap();
        let next = usize::try_from(world.rng.below(count)).unwrap();
        let name = names.swap_remove(next);
        world.replan(&name, plan(to, &name).unwrap());
        let wait = world.rng.below(1_500);
        run_without_loss(world, to, Duration::from_millis(wait));
    }
}

fn sessions(world: &World, name: &str) -> Vec<String> {
    world.ups(name).into_keys().collect()
}

fn in_force(world: &World, intent: &Intent) {
    assert!(world.all_up());
    for node in &intent.nodes {
        let wanted = plan(intent, &node.name).unwrap();
        let names: Vec<_> = wanted.peers.iter().map(|peer| peer.name.clone()).collect();
        assert_eq!(sessions(world, &node.name), names, "{}", node.name);
        let carried = world.node(&node.name).speaker().plan();
        assert_eq!(
            (carried.cluster_id, carried.mesh),
            (wanted.cluster_id, wanted.mesh)
        );
    }
}

#[test]
fn from_mesh_to_reflectors_and_back_no_route_is_missing_at_any_moment() {
    for seed in SEEDS {
        let mesh = cluster(6);
        let two = reflected(&mesh, &[0, 3]);
        let other = reflected(&mesh, &[1]);
        let mut world = start(&mesh, seed, false);
        for step in [&two, &other, &two, &mesh] {
            switch(&mut world, step);
            run_without_loss(&mut world, step, secs(70));
            in_force(&world, step);
        }
        let notifications = world.messages.get("notification").copied();
        // Nothing was bounced; Cease 6/3 ended what both ends no longer wanted.
        let ends = notifications.unwrap_or(0);
        assert!(ends <= 2 * 60, "{ends}");
    }
}

#[test]
fn the_kernel_sees_nothing_of_it() {
    let mut mesh = cluster(5);
    for node in &mut mesh.nodes {
        *node = Node {
            ipv6_address: None,
            blocks: node
                .blocks
                .iter()
                .copied()
                .filter(|b| matches!(b, Prefix::V4(_)))
                .collect(),
            ..node.clone()
        };
    }
    let reflector = reflected(&mesh, &[2]);
    let mut world = start(&mesh, 3, true);
    let written = |world: &World| -> Vec<_> {
        let kernels = world.hosts.values().filter_map(|host| host.kernel.as_ref());
        kernels
            .map(|kernel| (kernel.log.len(), kernel.routes.len()))
            .collect()
    };
    let before = written(&world);
    for step in [&reflector, &mesh] {
        switch(&mut world, step);
        run_without_loss(&mut world, step, secs(70));
        in_force(&world, step);
        assert_eq!(written(&world), before);
    }
}

#[test]
fn a_session_that_becomes_a_clients_is_the_same_session() {
    let mesh = cluster(4);
    let mut world = start(&mesh, 1, false);
    let reflector = reflected(&mesh, &[0]);
    switch(&mut world, &reflector);
    run_without_loss(&mut world, &reflector, secs(70));
    for name in ["n1", "n2", "n3", "n4"] {
        assert!(
            world.ups(name).values().all(|ups| *ups == 1),
            "{name}: {:?}",
            world.ups(name)
        );
    }
    assert!(world.peer("n1", "to-rr/n2").planned.client);
    // The far end's routes pass through: its own, and those of the other clients.
    assert_eq!(world.peer("n2", "to-rr/n1").received, 6);
    assert_eq!(world.peer("n2", "to-rr/n1/v6").received, 6);
}

#[test]
fn who_changes_his_mind_finds_all_sessions_as_they_were() {
    let mesh = cluster(4);
    let reflector = reflected(&mesh, &[0]);
    let mut world = start(&mesh, 2, false);
    switch(&mut world, &reflector);
    assert!(world.peer("n2", "n3").leaving);
    switch(&mut world, &mesh);
    run_without_loss(&mut world, &mesh, secs(70));
    in_force(&world, &mesh);
    for name in ["n1", "n2", "n3", "n4"] {
        assert!(
            world.ups(name).values().all(|ups| *ups == 1),
            "{name}: {:?}",
            world.ups(name)
        );
    }
}

#[test]
fn a_dead_node_delays_the_change_and_nothing_else() {
    let mesh = cluster(5);
    let mut world = start(&mesh, 4, false);
    world.crash("n5");
    world.run(secs(40));
    let reflector = reflected(&mesh, &[0, 4]);
    switch(&mut world, &reflector);
    run_without_loss(&mut world, &reflector, secs(5));
    // One of two reflectors never comes up.
    assert!(world.peer("n2", "n3").leaving);
    run_without_loss(&mut world, &reflector, secs(70));
    assert_eq!(
        sessions(&world, "n2"),
        ["to-rr/n1", "to-rr/n1/v6", "to-rr/n5", "to-rr/n5/v6"]
    );
}

#[test]
fn a_leaving_session_that_is_lost_leaves_its_routes_for_a_while() {
    let mesh = cluster(4);
    let reflector = reflected(&mesh, &[0]);
    let mut world = start(&mesh, 5, false);
    // This one alone knows of the change; its reflector does not reflect yet.
    world.replan("n2", plan(&reflector, "n2").unwrap());
    assert!(world.peer("n2", "n3").leaving);
    world.with_node("n3", |node, now| {
        node.speaker_mut().reset_peer(now, "n2").unwrap();
    });
    let n3 = &mesh.nodes[2];
    let keeps = |world: &World| {
        assert!(
            n3.blocks
                .iter()
                .all(|block| reaches(world, "n2", n3, *block))
        );
        false
    };
    let end = world.now + secs(80);
    for name in ["n1", "n3", "n4"] {
        world.until(secs(2), keeps);
        world.replan(name, plan(&reflector, name).unwrap());
    }
    assert!(world.ups("n2")["n3"] <= 2);
    world.until(end - world.now, keeps);
    in_force(&world, &reflector);
    assert!(all_reach_all(&world, &reflector));
}

#[test]
fn a_node_that_is_gone_from_the_cluster_goes_at_once() {
    let mesh = cluster(4);
    let mut world = start(&mesh, 6, false);
    let mut fewer = reflected(&mesh, &[0]);
    fewer.nodes.pop();
    world.replan("n2", plan(&fewer, "n2").unwrap());
    assert_eq!(
        sessions(&world, "n2"),
        ["n3", "n3/v6", "to-rr/n1", "to-rr/n1/v6"]
    );
    assert!(!world.table("n2").contains_key(&mesh.nodes[3].blocks[0]));
}

#[test]
fn an_outside_peer_goes_when_its_successor_is_there_and_at_once_without_one() {
    let mut intent = cluster(1);
    intent.bgp.node_to_node_mesh_enabled = false;
    let tor = |name: &str, address: &str| {
        let mut tor = Peer::new(name, address.parse().unwrap(), Asn(65_001));
        tor.routes.import = PolicyKind::AcceptAll;
        tor
    };
    let (a, b) = (tor("a", "10.0.0.98"), tor("b", "10.0.0.99"));
    let route: Prefix = "20.0.0.0/8".parse().unwrap();
    let mut world = World::new(7);
    for address in ["10.0.0.98", "10.0.0.99"] {
        let mut script = Script::new(address, 65_001);
        script.greeting = update(&[], &attributes(&[65_001], address), &[route]);
        script.greeting.extend(end_of_rib());
        world.script(address, script);
    }
    intent.peers = vec![a];
    world.boot(plan(&intent, "n1").unwrap(), 1, false);
    let has = |world: &World| world.table("n1").contains_key(&route);
    world.until(secs(5), has).unwrap();

    intent.peers = vec![b];
    world.replan("n1", plan(&intent, "n1").unwrap());
    assert!(world.peer("n1", "a").leaving);
    let began = world.now;
    let left = world.until(secs(60), |world| {
        assert!(has(world), "{}", world.now);
        sessions(world, "n1") == ["b"]
    });
    assert!(left.unwrap() >= secs(10) && world.now - began < secs(20));
    // The peer had no graceful restart, so it is told.
    world.run(secs(1));
    assert_eq!(world.script_of("10.0.0.98").notifications(), [(6, 3)]);

    intent.peers.clear();
    world.replan("n1", plan(&intent, "n1").unwrap());
    assert_eq!(sessions(&world, "n1"), Vec::<String>::new());
    assert!(!has(&world));
}
