//! GTSM between nodes of one subnet, which nobody has configured: what is sent, and what of a caller is demanded.

use dunlin::net::Asn;
use dunlin::problem::Code;
use dunlin::session::ConnectionId;
use dunlin::speaker::Speaker;
use dunlin::time::Instant;
use dunlin::topology::{Intent, Node, Peer, TtlRule, plan};

use crate::speaker_rig::{self as rig, LOCAL, REMOTE, message};

fn at(seconds: u64) -> Instant {
    Instant::from_secs(seconds)
}

/// Two nodes; the other one's address with its mask.
fn intent(other: &str) -> Intent {
    let mut intent = rig::intent(Vec::new());
    intent.nodes.push(Node {
        ipv4_address: other.parse().ok(),
        ..Node::named("other")
    });
    intent
}

fn speaker(intent: &Intent) -> Speaker {
    rig::speaker(Instant::ZERO, plan(intent, "me").unwrap())
}

fn calls(speaker: &mut Speaker, now: Instant, ttl: Option<u8>) -> bool {
    speaker.is_near_enough(now, REMOTE, LOCAL, ttl)
}

/// The other node calls, and its session comes up.
fn come_up(speaker: &mut Speaker, now: Instant) -> ConnectionId {
    let (connection, _) = speaker.accepted(now, REMOTE, LOCAL).unwrap();
    let open = [
        4, 0xFC, 0, 0, 90, 10, 0, 0, 2, 10, 2, 8, 1, 4, 0, 1, 0, 1, 2, 0,
    ];
    speaker.received(now, connection, &message(1, &open));
    speaker.received(now, connection, &message(4, &[]));
    assert!(speaker.peer_named("other").unwrap().negotiated.is_some());
    connection
}

#[test]
fn nodes_of_one_subnet_send_ttl_255_and_ask_nothing_of_who_was_never_seen_to() {
    let mut near = speaker(&intent("10.0.0.2/24"));
    let (_, terms) = near.accepted(Instant::ZERO, REMOTE, LOCAL).unwrap();
    assert_eq!((terms.ttl, terms.min_ttl), (Some(255), None));
    // BIRD's calls, as often as it likes.
    for second in [1, 2, 400] {
        assert!(calls(&mut near, at(second), Some(64)));
    }
    assert!(calls(&mut near, at(401), None), "nobody knows");
}

#[test]
fn who_was_seen_to_send_255_is_asked_for_it() {
    let mut speaker = speaker(&intent("10.0.0.2/24"));
    assert!(calls(&mut speaker, at(1), Some(255)));
    for ttl in [254, 64, 0] {
        assert!(!calls(&mut speaker, at(2), Some(ttl)), "{ttl}");
    }
    let problems = speaker.problems(at(2));
    let problem = problems
        .iter()
        .find(|problem| problem.code == Code::PeerDown);
    let what = &problem.unwrap().what;
    assert!(
        what.contains("TTL 0, and it was seen to send 255"),
        "{what}"
    );
    assert!(calls(&mut speaker, at(3), Some(255)), "the node itself");
    // While its session is up, however long, and for some minutes after its end.
    let connection = come_up(&mut speaker, at(3));
    assert!(!calls(&mut speaker, at(3000), Some(254)));
    speaker.closed(at(4000), connection, None);
    assert!(!calls(&mut speaker, at(4001), Some(254)));
    assert!(!calls(&mut speaker, at(4299), Some(254)));
}

#[test]
fn a_node_that_goes_back_to_bird_is_not_locked_out() {
    let mut speaker = speaker(&intent("10.0.0.2/24"));
    assert!(calls(&mut speaker, at(1), Some(255)));
    let connection = come_up(&mut speaker, at(1));
    speaker.closed(at(100), connection, None);
    assert!(!calls(&mut speaker, at(399), Some(64)));
    assert!(calls(&mut speaker, at(400), Some(64)), "forgotten");
    assert!(calls(&mut speaker, at(401), Some(64)));
    // And when it is ours again, that is seen at once.
    assert!(calls(&mut speaker, at(402), Some(255)));
    assert!(!calls(&mut speaker, at(403), Some(64)));
}

#[test]
fn only_between_nodes_that_are_neighbours_by_both_masks_and_where_nothing_else_is_said() {
    let ttl = |intent: &Intent| plan(intent, "me").unwrap().peers[0].ttl;
    assert_eq!(ttl(&intent("10.0.0.2/24")), TtlRule::Near);
    assert_eq!(ttl(&intent("10.0.0.2/32")), TtlRule::Any);
    assert_eq!(ttl(&intent("10.0.1.2/16")), TtlRule::Any);
    let mut said = intent("10.0.0.2/24");
    let mut peer = Peer::new("p", REMOTE, Asn(64512));
    said.peers = vec![peer.clone()];
    assert_eq!(ttl(&said), TtlRule::Near, "a record that says nothing");
    for rule in [TtlRule::Security(1), TtlRule::Multihop(3)] {
        peer.ttl = rule;
        said.peers = vec![peer.clone()];
        assert_eq!(ttl(&said), rule);
    }
    let mut outside = speaker(&rig::intent(vec![Peer::new("tor", REMOTE, Asn(65_001))]));
    assert!(calls(&mut outside, at(1), Some(255)));
    assert!(calls(&mut outside, at(2), Some(64)), "no node");
}
