//! A node that restarts and whose peers come from a range or are heard on a link: their routes in the
//! kernel are waited for as those of written peers are.

use std::net::IpAddr;
use std::sync::Arc;

use dunlin::dataplane::{Hop, KernelRoute, Shape};
use dunlin::net::{AfiSafi, Asn, Prefix};
use dunlin::policy::PolicyKind;
use dunlin::time::{Duration, Instant};
use dunlin::topology::{FarEnd, Intent, Node, Peer, plan};
use dunlin::wire::capability::Capability;

use crate::sim_script::{Script, attributes, end_of_rib, update};
use crate::sim_world::World;

const RANGE: &str = "10.0.9.0/24";

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn peer(name: &str, far_end: FarEnd) -> Peer {
    let mut peer = Peer {
        far_end,
        ..Peer::new(name, ip("10.0.1.1"), Asn(65_001))
    };
    peer.routes.import = PolicyKind::AcceptAll;
    peer
}

fn range(of: &str) -> Peer {
    peer("rack", FarEnd::Range(prefix(of)))
}

fn link() -> Peer {
    peer("spine", FarEnd::Link("eth0".into()))
}

/// A peer that is written down, at 10.0.1.1.
fn written() -> Peer {
    let far_end = Peer::new("written", ip("10.0.1.1"), Asn(65_001)).far_end;
    peer("written", far_end)
}

fn intent(peers: Vec<Peer>) -> Intent {
    let node = Node {
        ipv4_address: Some("10.0.0.1/16".parse().unwrap()),
        ipv6_address: Some("fd00::1/64".parse().unwrap()),
        ..Node::named("me")
    };
    let mut intent = Intent {
        nodes: vec![node],
        peers,
        ..Intent::default()
    };
    intent.bgp.as_number = Asn(65_000);
    intent
}

/// A peer with graceful restart that says these routes.
fn script(address: &str, routes: &[(&str, &str)]) -> Script {
    let mut script = Script::new(address, 65_001);
    script.more = vec![Capability::GracefulRestart {
        restarting: false,
        notification: false,
        time: 100,
        families: vec![(AfiSafi::IPV4_UNICAST, true)],
    }];
    let said = routes
        .iter()
        .map(|(route, hop)| update(&[], &attributes(&[65_001], hop), &[prefix(route)]));
    script.greeting = said.chain([end_of_rib()]).flatten().collect();
    script
}

/// Somebody is at this address and connects.
fn call(world: &mut World, address: &str, routes: &[(&str, &str)]) {
    world.script(address, script(address, routes));
    world.script_dials(address, ip("10.0.0.1"));
}

fn boot(world: &mut World, intent: &Intent, seed: u64) {
    world.boot(plan(intent, "me").unwrap(), seed, true);
}

fn log(world: &World) -> Vec<(Duration, &'static str, Prefix)> {
    let kernel = world.hosts["me"].kernel.as_ref().unwrap();
    let since = |at: Instant| at.since(crate::sim_world::START);
    let log = kernel.log.iter();
    log.map(|(at, word, prefix)| (since(*at), *word, *prefix))
        .collect()
}

/// The process is killed, and another one is there a second later; nothing is in the log.
fn restart(world: &mut World, intent: &Intent) {
    world.kill("me");
    world.run(secs(1));
    let kernel = world.hosts.get_mut("me").unwrap().kernel.as_mut();
    kernel.unwrap().log.clear();
    boot(world, intent, 2);
}

fn restarting(world: &World, peer: &str) -> bool {
    let open = world.script_of(peer).open_heard();
    open.graceful_restart().unwrap().restarting
}

fn end_after(world: &World, peer: &str, begin: Instant) -> Option<Duration> {
    Some(world.script_of(peer).end_heard()?.since(begin))
}

#[test]
fn routes_of_a_range_s_peers_stay_until_they_have_called_again() {
    for beside in [false, true] {
        for wait in [1, 8, 25] {
            let mut peers = vec![range(RANGE)];
            if beside {
                peers.push(written());
            }
            let intent = intent(peers);
            let mut world = World::new(1);
            world.script(
                "written",
                script("10.0.1.1", &[("30.0.0.0/24", "10.0.1.1")]),
            );
            boot(&mut world, &intent, 1);
            let routes = [("20.0.0.0/24", "10.0.9.5")];
            call(&mut world, "10.0.9.5", &routes);
            call(&mut world, "10.0.9.6", &[("21.0.0.0/24", "10.0.9.6")]);
            world.run(secs(40));
            assert_eq!(log(&world).len(), 2 + usize::from(beside));

            world.script(
                "written",
                script("10.0.1.1", &[("30.0.0.0/24", "10.0.1.1")]),
            );
            restart(&mut world, &intent);
            call(&mut world, "10.0.9.6", &[("21.0.0.0/24", "10.0.9.6")]);
            world.run(secs(wait));
            call(&mut world, "10.0.9.5", &routes);
            let begin = world.now;
            world.run(secs(60));
            assert_eq!(log(&world), [], "{beside} {wait}");
            for peer in ["10.0.9.5", "10.0.9.6"] {
                assert!(restarting(&world, peer), "{peer} after {wait}");
            }
            // When all have spoken it is over.
            let end = end_after(&world, "10.0.9.5", begin).unwrap();
            assert!(end < secs(2), "{end:?}");
        }
    }
}

#[test]
fn a_peer_of_a_range_that_waits_to_be_called_is_called() {
    // FRR does not call a peer that restarts gracefully, but waits for it.
    let intent = intent(vec![range(RANGE)]);
    let routes = [("20.0.0.0/24", "10.0.9.5")];
    let mut world = World::new(1);
    boot(&mut world, &intent, 1);
    call(&mut world, "10.0.9.5", &routes);
    world.run(secs(40));
    world.script("10.0.9.5", script("10.0.9.5", &routes));
    restart(&mut world, &intent);
    let begin = world.now;
    world.run(secs(60));
    assert_eq!(log(&world), []);
    assert!(restarting(&world, "10.0.9.5"));
    let end = end_after(&world, "10.0.9.5", begin).unwrap();
    assert!(end < secs(5), "{end:?}");
    // From a new plan on it is an ordinary one.
    let plan = plan(&intent, "me").unwrap();
    assert_eq!(world.replan("me", plan.clone()).len(), 1);
    assert_eq!(world.replan("me", plan), Vec::<String>::new());
    assert_eq!(world.ups("me")["rack/10.0.9.5"], 1);
}

#[test]
fn who_does_not_call_again_keeps_its_routes_for_thirty_seconds() {
    let intent = intent(vec![range(RANGE)]);
    let mut world = World::new(1);
    boot(&mut world, &intent, 1);
    call(&mut world, "10.0.9.5", &[("20.0.0.0/24", "10.0.9.5")]);
    world.run(secs(40));
    world.crash("10.0.9.5");
    restart(&mut world, &intent);
    world.run(secs(29));
    assert_eq!(log(&world), []);
    world.run(secs(2));
    let gone = log(&world);
    assert_eq!((gone.len(), gone[0].1), (1, "delete"));
}

#[test]
fn what_a_peer_of_a_range_no_longer_has_goes_when_it_has_said_so() {
    let intent = intent(vec![range(RANGE)]);
    let mut world = World::new(1);
    boot(&mut world, &intent, 1);
    call(&mut world, "10.0.9.5", &[("20.0.0.0/24", "10.0.9.5")]);
    world.run(secs(40));
    restart(&mut world, &intent);
    world.run(secs(3));
    call(&mut world, "10.0.9.5", &[]);
    world.run(secs(3));
    let gone = log(&world);
    assert_eq!((gone.len(), gone[0].1), (1, "delete"));
}

#[test]
fn a_route_that_no_template_accounts_for_is_not_waited_for() {
    let before = intent(vec![range(RANGE)]);
    let after = intent(vec![range("10.0.7.0/24")]);
    let mut world = World::new(1);
    boot(&mut world, &before, 1);
    call(&mut world, "10.0.9.5", &[("20.0.0.0/24", "10.0.9.5")]);
    world.run(secs(40));
    restart(&mut world, &after);
    world.run(secs(1));
    let gone = log(&world);
    assert_eq!((gone.len(), gone[0].1), (1, "delete"));
}

#[test]
fn a_route_by_a_next_hop_of_the_range_that_is_no_peer_is_confirmed_by_whoever_says_it() {
    let intent = intent(vec![range(RANGE)]);
    let said = [("20.0.0.0/24", "10.0.9.77"), ("21.0.0.0/24", "10.0.9.5")];
    let mut world = World::new(1);
    boot(&mut world, &intent, 1);
    call(&mut world, "10.0.9.5", &said);
    world.run(secs(40));
    restart(&mut world, &intent);
    let begin = world.now;
    call(&mut world, "10.0.9.5", &said);
    world.run(secs(10));
    assert_eq!(log(&world), []);
    let end = end_after(&world, "10.0.9.5", begin).unwrap();
    assert!(end < secs(2), "{end:?}");
}

#[test]
fn peers_behind_a_gateway_to_the_range_are_waited_for_too() {
    let intent = intent(vec![range("192.0.2.0/24")]);
    let mut world = World::new(1);
    boot(&mut world, &intent, 1);
    let hop = Hop::new(ip("10.0.0.254"), 2);
    let to_range = KernelRoute {
        prefix: prefix("192.0.2.1/32"),
        table: 254,
        metric: 0,
        protocol: 4,
        shape: Arc::new(Shape::unicast([hop])),
    };
    world.kill("me");
    let kernel = world.hosts.get_mut("me").unwrap().kernel.as_mut();
    let key = (to_range.prefix, to_range.metric);
    kernel.unwrap().routes.insert(key, to_range);
    boot(&mut world, &intent, 2);
    let routes = [("20.0.0.0/24", "192.0.2.1")];
    call(&mut world, "192.0.2.1", &routes);
    world.run(secs(40));
    restart(&mut world, &intent);
    world.run(secs(20));
    assert_eq!(log(&world), []);
    call(&mut world, "192.0.2.1", &routes);
    world.run(secs(20));
    assert_eq!(log(&world), []);
    assert!(restarting(&world, "192.0.2.1"));
}

#[test]
fn the_neighbour_on_a_link_is_waited_for_by_the_link() {
    let intent = intent(vec![link()]);
    let mut world = World::new(1);
    let routes = [("20.0.0.0/24", "10.0.9.5")];
    let found = |world: &mut World| {
        world.script("fe80::5", script("fe80::5", &routes));
        world.with_node("me", |node, now| {
            node.neighbour_found(now, "eth0", 2, ip("fe80::5"));
        });
    };
    boot(&mut world, &intent, 1);
    found(&mut world);
    world.run(secs(40));
    assert_eq!(log(&world).len(), 1);
    restart(&mut world, &intent);
    world.run(secs(20));
    assert_eq!(log(&world), []);
    found(&mut world);
    let begin = world.now;
    world.run(secs(20));
    assert_eq!(log(&world), []);
    assert!(restarting(&world, "fe80::5"));
    let end = end_after(&world, "fe80::5", begin).unwrap();
    assert!(end < secs(2), "{end:?}");
}
