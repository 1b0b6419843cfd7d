//! What a peer has and we did not take, by `max-prefixes` or by the number of paths of a prefix: the peer is
//! asked again when there is room, and what it has is there in the end.

use std::collections::{BTreeMap, BTreeSet};

use dunlin::net::{Asn, Family, Prefix, Prefix4};
use dunlin::policy::PolicyKind;
use dunlin::problem::Code;
use dunlin::rib::{Bounds, MAX_RECEIVED};
use dunlin::session::ConnectionId;
use dunlin::speaker::{Output, PeerStatus, Speaker};
use dunlin::time::{Duration, Instant};
use dunlin::topology::{FarEnd, Intent, LimitAction, Node, Peer, PeerScope, Plan, Selector, plan};
use proptest::prelude::*;

use crate::speaker_rig::{self as rig, LOCAL, REMOTE, attributes, message, update_of};

const THEIR_AS: u16 = 65_002;

/// A route of the peer: the last octets of its /24, and its path identifier.
type Key = (u8, u32);

fn plan_with(max: u32) -> Plan {
    let mut peer = Peer::new("peer", REMOTE, Asn(u32::from(THEIR_AS)));
    peer.passive = true;
    peer.routes.import = PolicyKind::AcceptAll;
    peer.routes.limit.max = Some(max);
    peer.routes.limit.action = Some(LimitAction::Discard);
    peer.capabilities.add_path = Some(true);
    rig::planned(vec![peer])
}

fn nlri((n, id): Key) -> Vec<u8> {
    let mut out = id.to_be_bytes().to_vec();
    out.extend([24, 10, 77, n]);
    out
}

fn prefix(n: u8) -> Prefix {
    Prefix::V4(Prefix4::new(u32::from_be_bytes([10, 77, n, 0]), 24))
}

/// How good a path is: the lower, the better.
fn announcement(key: Key, med: u32) -> Vec<u8> {
    let mut attributes = attributes(0, &[THEIR_AS]);
    attributes.extend([0x80, 4, 4]);
    attributes.extend(med.to_be_bytes());
    update_of(&[], &attributes, &nlri(key))
}

fn withdrawal(key: Key) -> Vec<u8> {
    update_of(&nlri(key), &[], &[])
}

/// A speaker and a peer that answers to ROUTE-REFRESH.
struct Story {
    speaker: Speaker,
    connection: ConnectionId,
    now: Instant,
    /// What the peer has, and how good each is.
    truth: BTreeMap<Key, u32>,
    asked: usize,
}

impl Story {
    fn new(max: u32) -> Self {
        let now = Instant::from_secs(1_000);
        let mut speaker = rig::speaker(now, plan_with(max));
        let (connection, _terms) = speaker.accepted(now, REMOTE, LOCAL).unwrap();
        let mut story = Self {
            speaker,
            connection,
            now,
            truth: BTreeMap::new(),
            asked: 0,
        };
        let [high, low] = THEIR_AS.to_be_bytes();
        // No hold time. Capabilities: IPv4 unicast, route refresh, Add-Path both ways.
        let capabilities = [1, 4, 0, 1, 0, 1, 2, 0, 69, 4, 0, 1, 1, 3];
        let mut open = vec![4, high, low, 0, 0, 10, 0, 0, 2, 16, 2, 14];
        open.extend(capabilities);
        story.receive(&message(1, &open));
        story.receive(&message(4, &[]));
        story.answer();
        story
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.speaker.received(self.now, self.connection, bytes);
    }

    fn announce(&mut self, key: Key, med: u32) {
        self.truth.insert(key, med);
        self.receive(&announcement(key, med));
    }

    fn withdraw(&mut self, key: Key) {
        if self.truth.remove(&key).is_some() {
            self.receive(&withdrawal(key));
        }
    }

    /// Lets the peer answer what it was asked.
    fn answer(&mut self) {
        let mut asked = false;
        while let Some(output) = self.speaker.poll() {
            match output {
                Output::Send { bytes, .. } => asked |= bytes[18] == 5,
                Output::Close { .. } | Output::Abort { .. } => panic!("the session ended"),
                Output::Dial { .. } | Output::Sign { .. } | Output::Probe { .. } => {}
            }
        }
        if asked {
            self.asked += 1;
            for (key, med) in self.truth.clone() {
                self.receive(&announcement(key, med));
            }
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        self.answer();
        while let Some(at) = self.speaker.next_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.speaker.handle_timeout(self.now);
            self.answer();
        }
        self.now = end;
    }

    fn status(&self) -> PeerStatus {
        self.speaker.peer_named("peer").unwrap()
    }

    fn held(&self) -> BTreeSet<Key> {
        let (page, _) = self.speaker.rib().page(Family::Ipv4, None, usize::MAX);
        let mut held = BTreeSet::new();
        for route in page {
            let Prefix::V4(v4) = route.prefix else {
                panic!("{route:?}")
            };
            let [_, _, n, _] = v4.bits().to_be_bytes();
            held.extend(route.paths.iter().map(|path| (n, path.path_id)));
        }
        held
    }

    /// What is wrong, by code and in words.
    fn codes(&self) -> Vec<(Code, String)> {
        let problems = self.speaker.problems(self.now);
        problems.into_iter().map(|p| (p.code, p.what)).collect()
    }

    fn best(&self, n: u8) -> Option<Key> {
        let route = self.speaker.rib().lookup(prefix(n))?;
        route.best().map(|path| (n, path.path_id))
    }
}

#[test]
fn the_paths_of_a_prefix_that_were_too_many_are_asked_for_when_there_is_room() {
    let mut story = Story::new(10_000);
    for id in 1..=100 {
        story.announce((1, id), 500);
    }
    assert_eq!((story.status().received, story.status().untaken), (64, 36));
    for id in 1..=70 {
        story.withdraw((1, id));
    }
    story.run(Duration::from_secs(2));
    assert_eq!(story.held(), story.truth.keys().copied().collect());
    assert_eq!((story.asked, story.status().untaken), (1, 0));
}

#[test]
fn a_better_path_is_taken_though_there_are_many_and_the_best_one_stays() {
    let mut story = Story::new(10_000);
    for id in 1..=100 {
        story.announce((1, id), 1_000 - id);
        assert_eq!(
            story.best(1),
            Some((1, id)),
            "each is better than all before"
        );
    }
    assert_eq!((story.status().received, story.status().untaken), (64, 36));
    let worse: BTreeSet<Key> = (37..=100).map(|id| (1, id)).collect();
    assert_eq!(story.held(), worse, "the least went");
    for id in 101..=200 {
        story.announce((1, id), 2_000);
        assert_eq!(story.best(1), Some((1, 100)));
    }
    assert_eq!(story.held(), worse);
    story.run(Duration::from_secs(3_600));
    assert_eq!(story.asked, 0, "there is no room");
}

#[test]
fn who_withdraws_what_was_not_taken_leaves_nothing_to_ask_for() {
    let mut story = Story::new(3);
    for n in 1..=5 {
        story.announce((n, 0), 0);
    }
    assert_eq!((story.status().received, story.status().untaken), (3, 2));
    story.withdraw((5, 0));
    assert_eq!(story.status().untaken, 1);
    assert_eq!(story.speaker.rib().lingering(Family::Ipv4), 0);
    // A change of what is there goes through.
    story.announce((1, 0), 7);
    assert_eq!((story.status().received, story.status().untaken), (3, 1));
    story.run(Duration::from_secs(600));
    assert_eq!(story.asked, 0);
}

#[test]
fn a_peer_that_comes_and_goes_at_the_limit_is_not_asked_each_time() {
    let mut story = Story::new(10);
    for n in 0..20 {
        story.announce((n, 0), 0);
    }
    for round in 0..1_000 {
        let n = u8::try_from(round % 20).unwrap();
        story.withdraw((n, 0));
        story.run(Duration::from_secs(1));
        story.announce((n, 0), 0);
    }
    assert!((3..=8).contains(&story.asked), "{}", story.asked);
    assert_eq!(story.status().received, 10);
}

#[derive(Debug, Clone)]
enum Step {
    Announce(Key, u32),
    Withdraw(Key),
    /// A run of identifiers of one prefix.
    Many(u8, u32),
    Fewer(u8, u32),
    Limit(u32),
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = || (0..6_u8, 0..90_u32);
    let step = prop_oneof![
        4 => (key(), 0..50_u32).prop_map(|(key, med)| Step::Announce(key, med)),
        4 => key().prop_map(Step::Withdraw),
        2 => (0..6_u8, 60..90_u32).prop_map(|(n, to)| Step::Many(n, to)),
        2 => (0..6_u8, 20..80_u32).prop_map(|(n, to)| Step::Fewer(n, to)),
        1 => (1..300_u32).prop_map(Step::Limit),
        1 => (0..30_u64).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// In the end there is all that the peer has and that the limits allow, and what is not there is said.
    #[test]
    fn nothing_that_there_is_room_for_is_missing_in_the_end(steps in steps()) {
        let mut story = Story::new(200);
        let mut max = 200;
        let mut most = 200;
        for step in steps {
            match step {
                Step::Announce(key, med) => story.announce(key, med),
                Step::Withdraw(key) => story.withdraw(key),
                Step::Many(n, to) => (0..to).for_each(|id| story.announce((n, id), id % 7)),
                Step::Fewer(n, to) => (0..to).for_each(|id| story.withdraw((n, id))),
                Step::Limit(to) => {
                    story.speaker.replan(story.now, plan_with(to));
                    max = to as usize;
                }
                Step::Wait(secs) => story.run(Duration::from_secs(secs)),
            }
            // A lower limit takes nothing away.
            most = most.min(story.status().received).max(max);
            prop_assert!(story.status().received <= most);
        }
        story.run(Duration::from_secs(3_000));
        let held = story.held();
        let truth: BTreeSet<Key> = story.truth.keys().copied().collect();
        prop_assert!(held.is_subset(&truth));
        for n in 0..6 {
            let of = |all: &BTreeSet<Key>| all.iter().filter(|(m, _)| *m == n).count();
            let wanted = of(&truth).min(MAX_RECEIVED);
            prop_assert!(of(&held) <= MAX_RECEIVED);
            prop_assert!(of(&held) == wanted || held.len() >= max, "{n}: {} of {wanted}", of(&held));
        }
        prop_assert_eq!(story.status().untaken > 0, held.len() < truth.len());
    }
}

#[test]
fn what_is_not_taken_is_said_until_it_is_there() {
    let mut story = Story::new(3);
    for n in 1..=5 {
        story.announce((n, 0), 0);
    }
    let [(Code::RoutesNotTaken, what)] = &*story.codes() else {
        panic!("{:?}", story.codes())
    };
    assert!(
        what.contains("2 of its") && what.contains("max-prefixes is 3"),
        "{what}"
    );
    // It does not flicker while the peer answers.
    story.withdraw((1, 0));
    story.run(Duration::from_secs(2));
    assert_eq!((story.asked, story.status().untaken), (1, 1));
    assert!(
        story.codes()[0].1.contains("2 of its"),
        "{:?}",
        story.codes()
    );
    story.withdraw((2, 0));
    story.run(Duration::from_secs(60));
    assert_eq!(story.codes(), []);

    let mut story = Story::new(1_000);
    for id in 0..70 {
        story.announce((9, id), 0);
    }
    let [(Code::RoutesNotTaken, what)] = &*story.codes() else {
        panic!("{:?}", story.codes())
    };
    assert!(
        what.contains("6 of its") && what.contains("more than 64"),
        "{what}"
    );
    let route = story.speaker.route(prefix(9)).unwrap();
    assert_eq!(route.more_at, ["peer"]);
    story.announce((8, 0), 0);
    assert!(story.speaker.route(prefix(8)).unwrap().more_at.is_empty());
}

#[test]
fn what_a_former_limit_kept_out_is_not_laid_to_another() {
    let mut story = Story::new(3);
    for n in 1..=5 {
        story.announce((n, 0), 0);
    }
    story.speaker.replan(story.now, plan_with(10));
    for wait in [0, 2] {
        story.run(Duration::from_secs(wait));
        let problems = story.speaker.problems(story.now);
        let what = &problems[0].what;
        assert!(
            what.starts_with("2 of its") && what.contains("asked for them again"),
            "{what}"
        );
    }
    story.run(Duration::from_secs(30));
    assert_eq!(story.speaker.problems(story.now), []);
}

#[test]
fn between_nodes_a_limit_never_costs_the_session() {
    let node = |n: u8| Node {
        ipv4_address: Some(format!("10.0.0.{n}/24").parse().unwrap()),
        ipv6_address: Some(format!("fd00::{n}/64").parse().unwrap()),
        labels: [("n".to_owned(), n.to_string())].into(),
        ..Node::named(format!("n{n}"))
    };
    let mut to_tor = Peer::new("tor", "10.0.0.99".parse().unwrap(), Asn(65_099));
    let mut to_node = Peer::new("third", "10.0.0.3".parse().unwrap(), Asn(64_512));
    let mut selected = Peer::new("some", REMOTE, Asn(64_512));
    selected.far_end = FarEnd::Nodes(Selector::parse("n == '4'").unwrap());
    selected.as_number = None;
    let mut stopped = Peer::new("stopped", "10.0.0.98".parse().unwrap(), Asn(65_098));
    stopped.routes.limit.action = Some(LimitAction::Stop);
    for peer in [&mut to_tor, &mut to_node, &mut selected, &mut stopped] {
        peer.scope = PeerScope::Node("n1".to_owned());
    }
    let intent = Intent {
        nodes: (1..=4).map(node).collect(),
        peers: vec![to_tor, to_node, selected, stopped],
        ..Intent::default()
    };
    let plan = plan(&intent, "n1").unwrap();
    let action = |name: &str| {
        let peer = plan.peers.iter().find(|peer| peer.name == name);
        peer.unwrap().policy.limit.action.unwrap()
    };
    for between_nodes in ["n2", "n2/v6", "third", "some/n4", "some/n4/v6"] {
        assert_eq!(
            action(between_nodes),
            LimitAction::Discard,
            "{between_nodes}"
        );
    }
    assert_eq!(action("tor"), LimitAction::Restart);
    assert_eq!(action("stopped"), LimitAction::Stop);
}

/// A route with so many octets that nobody knows, and a next hop of its own.
fn long_announcement(key: Key, octets: u16, hop: u32) -> Vec<u8> {
    let mut attributes = attributes(0, &[THEIR_AS]);
    let address = attributes.len() - 4;
    attributes[address..].copy_from_slice(&hop.to_be_bytes());
    attributes.extend([0xd0, 99]);
    attributes.extend(octets.to_be_bytes());
    attributes.extend(u32::from(key.0).to_be_bytes());
    attributes.extend(key.1.to_be_bytes());
    attributes.resize(attributes.len() + usize::from(octets) - 8, 7);
    update_of(&[], &attributes, &nlri(key))
}

const HOP: u32 = 0x0A00_0002;

#[test]
fn attributes_take_as_many_octets_as_their_routes_may_and_what_was_left_out_comes_when_there_is_room()
 {
    // So few routes that the least bound holds.
    let mut story = Story::new(3_000);
    let keys: Vec<Key> = (0..20)
        .flat_map(|n| (1..=40).map(move |id| (n, id)))
        .collect();
    for key in &keys {
        story.receive(&long_announcement(*key, 3_000, HOP));
    }
    let memory = |story: &Story| story.speaker.rib().memory().attributes;
    let bound = Bounds::LEAST_OCTETS as usize;
    assert!(memory(&story) < bound + bound / 4, "{}", memory(&story));
    let status = story.status();
    assert_eq!(status.received + status.untaken, keys.len());
    assert!(status.untaken > 400, "{}", status.untaken);
    let said = story.codes();
    assert!(
        said[0].1.contains("attributes take more than 1048 kB"),
        "{said:?}"
    );
    // One that is there and grows is not there as it was.
    let there = *story.held().first().unwrap();
    story.receive(&long_announcement(there, 3_900, HOP));
    assert!(memory(&story) < bound + bound / 4);
    assert!(!story.held().contains(&there));
    // The routes of a peer whose attributes are short come in spite of all, as many as fit.
    story.truth = keys.iter().map(|key| (*key, 0)).collect();
    for key in &keys {
        story.receive(&withdrawal(*key));
    }
    for key in keys.iter().take(400) {
        story.receive(&announcement(*key, 0));
    }
    story.run(Duration::from_secs(60));
    assert_eq!(story.held().len(), keys.len());
    assert_eq!((story.status().untaken, story.asked), (0, 1));
}

#[test]
fn the_next_hops_of_a_peer_are_bounded() {
    let mut story = Story::new(1_000_000);
    let most = Bounds::NEXT_HOPS;
    for hop in 0..most + 1_000 {
        let key = (u8::try_from(hop % 250).unwrap(), 0);
        let key = (key.0, 1 + hop / 250);
        story.receive(&long_announcement(key, 8, 0x0B00_0000 + hop));
    }
    let hops = story.speaker.rib().attributes().next_hops().iter().count();
    assert_eq!(hops, most as usize);
    let said = story.codes();
    assert!(said[0].1.contains("more than 16384 next hops"), "{said:?}");
    // Another next hop that is there already is no more than a route.
    story.receive(&long_announcement((251, 1), 8, 0x0B00_0000));
    assert!(story.held().contains(&(251, 1)));
}
