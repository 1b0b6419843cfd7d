//! Graceful restart of peers: what stays of who is away, for how long, and who is told.

use std::collections::BTreeSet;

use dunlin::net::{AfiSafi, Asn, Prefix};
use dunlin::policy::PolicyKind;
use dunlin::session::State;
use dunlin::time::Duration;
use dunlin::topology::{Intent, Node, Peer, plan};
use dunlin::wire::attribute::community::{LLGR_STALE, NO_LLGR};
use dunlin::wire::capability::Capability;
use dunlin::wire::frame::MessageKind;

use crate::sim_script::{Script, attributes, end_of_rib, message, split, update};
use crate::sim_world::World;

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn prefix(i: usize) -> Prefix {
    format!("20.{i}.0.0/16").parse().unwrap()
}

fn blocks() -> Vec<Prefix> {
    (0..3).map(prefix).collect()
}

fn address(i: usize) -> String {
    format!("10.0.1.{}", i + 1)
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

/// Graceful restart with a restart time of 100 s.
fn graceful(kept: bool) -> Capability {
    Capability::GracefulRestart {
        restarting: true,
        notification: false,
        time: 100,
        families: vec![(AfiSafi::IPV4_UNICAST, kept)],
    }
}

fn long_lived(time: u32) -> Capability {
    Capability::LongLivedGracefulRestart(vec![(AfiSafi::IPV4_UNICAST, true, time)])
}

fn path(i: usize) -> Vec<u8> {
    attributes(&[65_001 + u32::try_from(i).unwrap()], &address(i))
}

/// A peer that announces `blocks` and ends with End-of-RIB.
fn script(i: usize, more: &[Capability], blocks: &[Prefix]) -> Script {
    let mut script = Script::new(&address(i), 65_001 + u32::try_from(i).unwrap());
    script.more = more.to_vec();
    if !blocks.is_empty() {
        script.greeting = [update(&[], &path(i), blocks), end_of_rib()].concat();
    }
    script
}

fn connect(world: &mut World, i: usize, script: Script) {
    world.script(&format!("p{i}"), script);
    world.script_dials(&format!("p{i}"), "10.0.0.1".parse().unwrap());
}

/// The hub; `p0` announces three blocks, `p1` listens.
fn world(intent: &Intent, more: &[Capability]) -> World {
    let mut world = World::new(1);
    world.boot(plan(intent, "hub").unwrap(), 1, false);
    connect(&mut world, 0, script(0, more, &blocks()));
    connect(&mut world, 1, script(1, &[], &[]));
    world.until(secs(5), World::all_up).unwrap();
    world.run(secs(1));
    assert_eq!(heard(&world), all());
    world
}

fn all() -> BTreeSet<Prefix> {
    blocks().into_iter().collect()
}

/// What `p1` has of the hub.
fn heard(world: &World) -> BTreeSet<Prefix> {
    world.script_of("p1").prefixes()
}

fn stale(world: &World) -> usize {
    world.peer("hub", "p0").kept.map_or(0, |kept| kept.routes)
}

/// The blocks whose path is shown as stale.
fn shown_as_stale(world: &mut World) -> Vec<Prefix> {
    world.with_node("hub", |node, _| {
        let speaker = node.speaker_mut();
        let is_stale = |prefix: &Prefix| {
            speaker
                .route(*prefix)
                .is_some_and(|route| route.paths[0].stale)
        };
        blocks().into_iter().filter(is_stale).collect()
    })
}

#[test]
fn routes_of_a_peer_that_restarts_stay_until_it_has_said_what_it_has() {
    let mut world = world(&hub(2), &[graceful(true)]);
    let before = world.script_of("p1").heard.len();
    world.kill("p0");
    world.run(secs(50));
    assert_ne!(world.peer("hub", "p0").state, State::Established);
    assert_eq!((heard(&world), stale(&world)), (all(), 3));
    assert_eq!(shown_as_stale(&mut world), blocks());
    // It is back with less than before, and takes its time to say so.
    let mut back = script(0, &[graceful(true)], &[]);
    back.greeting = update(&[], &path(0), &blocks()[..2]);
    connect(&mut world, 0, back);
    world.run(secs(60));
    assert_eq!((heard(&world), stale(&world)), (all(), 1));
    assert_eq!(shown_as_stale(&mut world), blocks()[2..]);
    world.say("p0", end_of_rib());
    world.run(secs(1));
    assert_eq!(heard(&world), blocks()[..2].iter().copied().collect());
    assert_eq!(stale(&world), 0);
    // All that the others heard of it is the one withdrawal.
    let told = &world.script_of("p1").heard[before..];
    assert_eq!(told.len(), 1, "{told:?}");
}

#[test]
fn a_peer_that_does_not_come_back_loses_its_routes_at_its_own_restart_time() {
    let mut world = world(&hub(2), &[graceful(true)]);
    world.kill("p0");
    world.run(secs(98));
    assert_eq!(heard(&world), all());
    world.run(secs(4));
    assert_eq!((heard(&world), stale(&world)), (BTreeSet::new(), 0));
}

#[test]
fn who_comes_back_without_its_forwarding_state_is_forgotten_at_once() {
    for more in [vec![graceful(false)], Vec::new()] {
        let mut world = world(&hub(2), &[graceful(true)]);
        world.kill("p0");
        world.run(secs(10));
        assert_eq!(heard(&world), all());
        let mut back = script(0, &more, &[]);
        back.greeting = Vec::new();
        connect(&mut world, 0, back);
        world.run(secs(1));
        assert_eq!(world.peer("hub", "p0").state, State::Established);
        assert_eq!(heard(&world), BTreeSet::new());
    }
}

#[test]
fn a_second_loss_before_end_of_rib_deletes_what_was_stale_already() {
    let mut world = world(&hub(2), &[graceful(true)]);
    let first: BTreeSet<Prefix> = blocks()[..1].iter().copied().collect();
    world.kill("p0");
    world.run(secs(40));
    assert_eq!((heard(&world), stale(&world)), (all(), 3));
    let back = || {
        let mut back = script(0, &[graceful(true)], &[]);
        back.greeting = update(&[], &path(0), &blocks()[..1]);
        back
    };
    connect(&mut world, 0, back());
    world.run(secs(1));
    assert_eq!((heard(&world), stale(&world)), (all(), 2));
    // What it has said since stays, as long as the first time.
    world.kill("p0");
    world.run(secs(90));
    assert_eq!((heard(&world), stale(&world)), (first.clone(), 1));
    connect(&mut world, 0, back());
    world.run(secs(1));
    assert_eq!((heard(&world), stale(&world)), (first, 0));
    world.say("p0", update(&[], &path(0), &blocks()[1..]));
    world.say("p0", end_of_rib());
    world.run(secs(600));
    assert_eq!((heard(&world), stale(&world)), (all(), 0));
}

#[test]
fn what_is_never_confirmed_goes_with_the_second_loss() {
    let mut world = world(&hub(2), &[graceful(true)]);
    world.kill("p0");
    world.run(secs(30));
    let mut back = script(0, &[graceful(true)], &[]);
    back.greeting = Vec::new();
    connect(&mut world, 0, back);
    world.run(secs(30));
    assert_eq!(heard(&world), all());
    world.kill("p0");
    world.run(secs(1));
    assert_eq!((heard(&world), stale(&world)), (BTreeSet::new(), 0));
    assert_eq!(world.peer("hub", "p0").kept, None);
}

#[test]
fn a_peer_that_never_sends_end_of_rib_keeps_stale_routes_for_six_minutes() {
    let mut world = world(&hub(2), &[graceful(true)]);
    world.kill("p0");
    world.run(secs(10));
    let mut back = script(0, &[graceful(true)], &[]);
    back.greeting = update(&[], &path(0), &blocks()[..1]);
    connect(&mut world, 0, back);
    world.run(secs(355));
    assert_eq!(heard(&world), all());
    world.run(secs(10));
    assert_eq!(heard(&world), blocks()[..1].iter().copied().collect());
    assert_eq!(world.peer("hub", "p0").state, State::Established);
}

#[test]
fn who_says_goodbye_takes_its_routes_along() {
    // Cease 6/2; without the N bit any NOTIFICATION ends graceful restart (RFC 4724 §4).
    for cease in [[6, 2], [6, 4]] {
        let mut world = world(&hub(2), &[graceful(true)]);
        world.say("p0", message(3, &cease));
        world.run(secs(1));
        assert_eq!(heard(&world), BTreeSet::new());
    }
}

#[test]
fn an_operator_or_bfd_that_takes_a_peer_down_takes_its_routes_even_while_it_is_away() {
    for bfd in [true, false] {
        let mut world = world(&hub(2), &[graceful(true)]);
        world.kill("p0");
        world.run(secs(10));
        assert_eq!(heard(&world), all());
        world.with_node("hub", |node, now| {
            let speaker = node.speaker_mut();
            if bfd {
                let index = speaker.index_of("p0").unwrap();
                speaker.far_end_down(now, index);
            } else {
                speaker.shutdown_peer(now, "p0", String::new()).unwrap();
            }
        });
        world.run(secs(1));
        assert_eq!(heard(&world), BTreeSet::new(), "bfd: {bfd}");
    }
}

#[test]
fn a_failure_that_bfd_saw_ends_the_session_and_keeps_nothing() {
    let mut world = world(&hub(2), &[graceful(true)]);
    world.with_node("hub", |node, now| {
        let speaker = node.speaker_mut();
        let index = speaker.index_of("p0").unwrap();
        speaker.far_end_down(now, index);
    });
    world.run(secs(1));
    assert_eq!(heard(&world), BTreeSet::new());
    assert_eq!(world.script_of("p0").notifications(), [(6, 10)]);
    let error = world.peer("hub", "p0").last_error.unwrap().to_string();
    assert!(error.contains("BFD"), "{error}");
}

#[test]
fn a_new_policy_judges_stale_routes_and_leaves_them_stale() {
    let mut intent = hub(2);
    let mut world = world(&intent, &[graceful(true)]);
    world.kill("p0");
    world.run(secs(10));
    intent.peers[0].routes.import = PolicyKind::RejectAll;
    world.replan("hub", plan(&intent, "hub").unwrap());
    world.run(secs(1));
    assert_eq!((heard(&world), stale(&world)), (BTreeSet::new(), 3));
    intent.peers[0].routes.import = PolicyKind::AcceptAll;
    world.replan("hub", plan(&intent, "hub").unwrap());
    world.run(secs(1));
    assert_eq!((heard(&world), stale(&world)), (all(), 3));
    world.run(secs(100));
    assert_eq!(heard(&world), BTreeSet::new(), "the timer runs on");
}

/// Communities, as they are on the wire.
fn communities(values: &[u32]) -> Vec<u8> {
    let mut all = vec![0xC0, 8, u8::try_from(4 * values.len()).unwrap()];
    all.extend(values.iter().flat_map(|value| value.to_be_bytes()));
    all
}

#[test]
fn long_lived_routes_are_the_last_choice_and_go_only_to_who_knows_what_they_are() {
    let mut intent = hub(3);
    intent.bgp.session.long_lived_stale_time = Some(3_000);
    let mut world = World::new(1);
    world.boot(plan(&intent, "hub").unwrap(), 1, false);
    let more = [graceful(true), long_lived(1_000)];
    let mut first = script(0, &more, &[]);
    let short = [path(0), communities(&[NO_LLGR])].concat();
    first.greeting = [
        update(&[], &path(0), &blocks()[..2]),
        update(&[], &short, &blocks()[2..]),
        end_of_rib(),
    ]
    .concat();
    connect(&mut world, 0, first);
    connect(&mut world, 1, script(1, &[], &[]));
    connect(&mut world, 2, script(2, &more, &[]));
    world.until(secs(5), World::all_up).unwrap();
    world.run(secs(1));
    let has = |world: &World, peer: &str| world.script_of(peer).prefixes();
    assert_eq!((has(&world, "p1"), has(&world, "p2")), (all(), all()));
    world.kill("p0");
    world.run(secs(99));
    assert_eq!((has(&world, "p1"), has(&world, "p2")), (all(), all()));
    world.run(secs(2));
    let two: BTreeSet<Prefix> = blocks()[..2].iter().copied().collect();
    assert_eq!(
        (has(&world, "p1"), has(&world, "p2")),
        (BTreeSet::new(), two.clone())
    );
    let (_, last, announced) = split(
        world
            .script_of("p2")
            .all(MessageKind::Update)
            .last()
            .unwrap(),
    );
    assert_eq!(announced.len(), 2);
    assert!(last.ends_with(&communities(&[LLGR_STALE])), "{last:?}");
    assert!(world.peer("hub", "p0").kept.unwrap().long_lived);
    // Anything else is better, even a longer path.
    let longer = attributes(&[65_002, 7, 8, 9], &address(1));
    world.say("p1", update(&[], &longer, &blocks()[..1]));
    world.run(secs(1));
    assert!(world.table("hub")[&prefix(0)].contains("65002"));
    // It lasts for the time that the peer asked for.
    world.run(secs(990));
    assert_eq!(has(&world, "p2"), two);
    world.run(secs(20));
    assert_eq!(has(&world, "p2"), blocks()[..1].iter().copied().collect());
}

#[test]
fn long_lived_routes_are_ordinary_ones_again_when_the_peer_confirms_them() {
    let mut intent = hub(2);
    intent.bgp.session.long_lived_stale_time = Some(3_000);
    let more = [graceful(true), long_lived(1_000)];
    let mut world = world(&intent, &more);
    world.kill("p0");
    world.run(secs(200));
    assert_eq!(heard(&world), BTreeSet::new());
    connect(&mut world, 0, script(0, &more, &blocks()));
    world.run(secs(1));
    assert_eq!((heard(&world), stale(&world)), (all(), 0));
    world.run(secs(3_000));
    assert_eq!(heard(&world), all());
}
