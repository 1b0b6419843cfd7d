//! Peers that come from a range or are heard on a link.

use std::net::{IpAddr, SocketAddr};

use dunlin::net::{Asn, Prefix};
use dunlin::policy::PolicyKind;
use dunlin::session::State;
use dunlin::speaker::{MOST, MOST_ON_LINK, Output, Speaker};
use dunlin::time::{Duration, Instant};
use dunlin::topology::{FarEnd, Intent, Node, Peer, PeerAddress, plan};
use dunlin::wire::frame;

use crate::sim_script::{Script, attributes, update};
use crate::sim_world::{World, settings};

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn peer(name: &str, far_end: FarEnd) -> Peer {
    let mut peer = Peer {
        far_end,
        ..Peer::new(name, "10.0.0.1".parse().unwrap(), Asn(65_001))
    };
    peer.routes.import = PolicyKind::AcceptAll;
    peer
}

fn range(name: &str, range: &str) -> Peer {
    peer(name, FarEnd::Range(range.parse().unwrap()))
}

fn intent(peers: Vec<Peer>) -> Intent {
    let node = Node {
        ipv4_address: Some("10.0.0.1/16".parse().unwrap()),
        ipv6_address: Some("fd00::1/64".parse().unwrap()),
        blocks: vec!["10.244.1.0/26".parse().unwrap()],
        ..Node::named("me")
    };
    let mut intent = Intent {
        nodes: vec![node],
        peers,
        ..Intent::default()
    };
    intent.bgp.session.hold_time = Some(30);
    intent
}

fn start(intent: &Intent) -> World {
    let mut world = World::new(1);
    world.boot(plan(intent, "me").unwrap(), 1, false);
    world
}

/// Somebody at this address connects and brings a route.
fn call(world: &mut World, address: &str) -> bool {
    let mut script = Script::new(address, 65_001);
    let route: Prefix = "20.0.0.0/24".parse().unwrap();
    script.greeting = update(&[], &attributes(&[65_001], address), &[route]);
    world.script(address, script);
    world.script_dials(address, "10.0.0.1".parse().unwrap());
    let script_at: IpAddr = address.parse().unwrap();
    let up = |world: &World| {
        let peers = world.node("me").speaker().peers();
        let his = peers.iter().find(|peer| peer.planned.address == script_at);
        his.is_some_and(|peer| peer.received == 1)
    };
    world.until(secs(5), up).is_some()
}

fn names(world: &World) -> Vec<String> {
    world.ups("me").into_keys().collect()
}

#[test]
fn who_connects_from_a_range_is_a_peer_while_he_is_there() {
    let all = intent(vec![range("rack", "10.0.9.0/24")]);
    let mut world = start(&all);
    assert!(!call(&mut world, "10.0.8.5"), "no range has him");
    assert_eq!(names(&world), Vec::<String>::new());

    assert!(call(&mut world, "10.0.9.5"));
    assert_eq!(names(&world), ["rack/10.0.9.5"]);
    assert_eq!(
        world.table("me")[&"20.0.0.0/24".parse().unwrap()],
        "10.0.9.5 [65001]"
    );
    // The session has no timers, since the script offers none.
    world.run(secs(300));
    assert_eq!(world.peer("me", "rack/10.0.9.5").state, State::Established);

    world.kill("10.0.9.5");
    world.run(secs(10));
    assert_eq!(names(&world), ["rack/10.0.9.5"], "he may come back");
    let gone = world.until(secs(400), |world| names(world).is_empty());
    assert!(gone.is_some(), "{:?}", names(&world));
    assert!(world.node("me").speaker().plan().peers.is_empty());
    assert!(call(&mut world, "10.0.9.5"), "and is welcome again");
}

#[test]
fn the_narrowest_range_counts_and_a_record_goes_before_all() {
    let one = PeerAddress {
        address: "10.0.9.7".parse().unwrap(),
        port: None,
    };
    let mut record = peer("one", FarEnd::Address(one));
    record.passive = true;
    let all = intent(vec![
        range("wide", "10.0.0.0/16"),
        range("narrow", "10.0.9.0/24"),
        record,
    ]);
    let mut world = start(&all);
    for address in ["10.0.9.5", "10.0.8.5", "10.0.9.7"] {
        assert!(call(&mut world, address));
    }
    assert_eq!(names(&world), ["narrow/10.0.9.5", "one", "wide/10.0.8.5"]);
}

#[test]
fn a_new_plan_changes_peers_of_a_range_as_it_does_others() {
    let mut all = intent(vec![range("rack", "10.0.9.0/24")]);
    let mut world = start(&all);
    assert!(call(&mut world, "10.0.9.5"));
    let replan = |world: &mut World, all: &Intent| {
        world.replan("me", plan(all, "me").unwrap());
        world.run(secs(2));
    };

    // The same again is nothing at all.
    assert_eq!(
        world.replan("me", plan(&all, "me").unwrap()),
        Vec::<String>::new()
    );
    // A policy is applied in place.
    all.peers[0].routes.import = PolicyKind::RejectAll;
    replan(&mut world, &all);
    assert!(
        world
            .table("me")
            .keys()
            .all(|prefix| prefix.to_string() == "10.244.1.0/26")
    );
    assert_eq!(world.ups("me")["rack/10.0.9.5"], 1);
    // A record of his own takes the session as it is.
    let his = PeerAddress {
        address: "10.0.9.5".parse().unwrap(),
        port: None,
    };
    all.peers.push(peer("his", FarEnd::Address(his)));
    replan(&mut world, &all);
    assert_eq!(world.ups("me"), [("his".to_owned(), 1)].into());
    assert_eq!(world.peer("me", "his").state, State::Established);
    // Back to the range; nobody remembers the session, but the peer goes with its record.
    all.peers.pop();
    replan(&mut world, &all);
    assert_eq!(names(&world), Vec::<String>::new());
    assert!(call(&mut world, "10.0.9.6"));
    all.peers.clear();
    replan(&mut world, &all);
    assert_eq!(names(&world), Vec::<String>::new());
}

fn speaker(intent: &Intent) -> Speaker {
    Speaker::new(
        Instant::ZERO,
        settings(1, false).speaker,
        plan(intent, "me").unwrap(),
    )
}

#[test]
fn the_places_of_a_range_are_few_and_silent_callers_keep_nobody_out_of_them() {
    let mut speaker = speaker(&intent(vec![range("rack", "10.0.0.0/16")]));
    let local: IpAddr = "10.0.0.1".parse().unwrap();
    let address =
        |i: usize| IpAddr::from([10, 0, u8::try_from(i / 256 + 1).unwrap(), (i % 256) as u8]);
    let now = |i: usize| Instant::from_micros(i as u64);
    let mut called = |i: usize, from| speaker.accepted(now(i), from, local);
    // The first has a session, and is the oldest.
    let (connection, _) = called(0, address(0)).unwrap();
    for i in 1..MOST {
        assert!(called(i, address(i)).is_some(), "{i}");
    }
    let open = Script::new("10.0.1.0", 65_001).open();
    speaker.received(now(MOST), connection, &open);
    speaker.received(now(MOST), connection, &frame::KEEPALIVE);
    assert_eq!(speaker.sessions(), (MOST, 1));
    let is_there = |speaker: &Speaker, i| {
        speaker
            .peer_named(&format!("rack/{}", address(i)))
            .is_some()
    };
    for i in MOST..MOST + 100 {
        assert!(speaker.accepted(now(i), address(i), local).is_some(), "{i}");
        assert_eq!(speaker.sessions(), (MOST, 1));
        assert!(
            is_there(&speaker, i) && !is_there(&speaker, i - MOST + 1),
            "the oldest goes"
        );
    }
    assert!(is_there(&speaker, 0), "a session is nobody's place to take");
    let later = now(2 * MOST);
    assert!(
        speaker.accepted(later, local, local).is_none(),
        "not we ourselves"
    );
}

#[test]
fn a_neighbour_on_a_link_is_dialled_by_its_link_local_address() {
    let all = intent(vec![peer("spine", FarEnd::Link("eth1".into()))]);
    let mut speaker = speaker(&all);
    let now = Instant::ZERO;
    let address = |i: usize| -> IpAddr { format!("fe80::{i:x}").parse().unwrap() };
    speaker.neighbour_found(now, "eth2", 3, address(1));
    speaker.neighbour_found(now, "eth1", 2, "fd00::9".parse().unwrap());
    assert_eq!(
        speaker.sessions(),
        (0, 0),
        "not on that link, not such an address"
    );

    speaker.neighbour_found(now, "eth1", 2, address(1));
    speaker.neighbour_found(now, "eth1", 2, address(1));
    assert_eq!(speaker.sessions(), (1, 0));
    let due = speaker.next_timeout().unwrap();
    speaker.handle_timeout(due);
    let Some(Output::Dial { remote, source, .. }) = speaker.poll() else {
        panic!("no dial");
    };
    let SocketAddr::V6(remote) = remote else {
        panic!("{remote}");
    };
    assert_eq!(
        (IpAddr::V6(*remote.ip()), remote.scope_id()),
        (address(1), 2)
    );
    assert_eq!(source, None);

    for i in 2..100 {
        speaker.neighbour_found(now, "eth1", 2, address(i));
    }
    assert_eq!(speaker.sessions(), (MOST_ON_LINK, 0));
}
