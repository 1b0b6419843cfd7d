//! `enforce-first-as`: whether a path of an eBGP peer must begin with the peer's AS, and what a change of the
//! switch does to a session that is up.

use dunlin::net::Asn;
use dunlin::policy::PolicyKind;
use dunlin::session::ConnectionId;
use dunlin::speaker::{Output, PeerStatus, Speaker};
use dunlin::time::Instant;
use dunlin::topology::{Peer, Plan};

use crate::speaker_rig::{self as rig, LOCAL, REMOTE, attributes, message, update_of};

const THEIR_AS: u16 = 65_002;
const ROUTE_REFRESH: u8 = 5;

fn plan_with(enforce: bool) -> Plan {
    plan_of(THEIR_AS, enforce)
}

fn plan_of(their_as: u16, enforce: bool) -> Plan {
    let mut peer = Peer::new("server", REMOTE, Asn(u32::from(their_as)));
    peer.passive = true;
    peer.routes.import = PolicyKind::AcceptAll;
    peer.routes.enforce_first_as = enforce;
    rig::planned(vec![peer])
}

/// 10.77.0.0/24 with this path, next hop the peer.
fn update(path: &[u16]) -> Vec<u8> {
    update_of(&[], &attributes(0, path), &[24, 10, 77, 0])
}

/// A speaker with a session that is up.
struct Story {
    speaker: Speaker,
    connection: ConnectionId,
}

impl Story {
    fn new(enforce: bool) -> Self {
        let mut speaker = rig::speaker(Instant::ZERO, plan_with(enforce));
        let (connection, _terms) = speaker.accepted(Instant::ZERO, REMOTE, LOCAL).unwrap();
        let mut story = Self {
            speaker,
            connection,
        };
        story.open(THEIR_AS);
        story
    }

    fn open(&mut self, their_as: u16) {
        let [high, low] = their_as.to_be_bytes();
        // Capabilities: IPv4 unicast, route refresh.
        let open = [
            4, high, low, 0, 90, 10, 0, 0, 2, 10, 2, 8, 1, 4, 0, 1, 0, 1, 2, 0,
        ];
        self.receive(&message(1, &open));
        self.receive(&message(4, &[]));
        self.sent();
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.speaker.received(Instant::ZERO, self.connection, bytes);
    }

    fn enforce(&mut self, enforce: bool) {
        self.speaker.replan(Instant::ZERO, plan_with(enforce));
    }

    fn status(&self) -> PeerStatus {
        self.speaker.peer_named("server").unwrap()
    }

    /// The types of the messages that went out since the last call.
    fn sent(&mut self) -> Vec<u8> {
        let mut kinds = Vec::new();
        while let Some(output) = self.speaker.poll() {
            if let Output::Send { bytes, .. } = output {
                kinds.push(bytes[18]);
            }
        }
        kinds
    }
}

#[test]
fn a_path_that_begins_with_another_as_is_treated_as_withdraw() {
    let mut story = Story::new(true);
    story.receive(&update(&[65_009, THEIR_AS]));
    let status = story.status();
    assert_eq!((status.received, status.accepted), (0, 0));
    assert_eq!(status.treated_as_withdraw, 1);
}

#[test]
fn a_route_server_is_believed_when_the_check_is_off() {
    let mut story = Story::new(false);
    story.receive(&update(&[65_009, 65_010]));
    let status = story.status();
    assert_eq!((status.received, status.accepted), (1, 1));
    assert_eq!(status.treated_as_withdraw, 0);
}

#[test]
fn switching_the_check_on_drops_what_it_forbids_and_keeps_the_session() {
    let mut story = Story::new(false);
    story.receive(&update(&[65_009]));
    story.enforce(true);
    assert_eq!(story.status().accepted, 0);
    // The same bytes once more: the cache of parsed blocks must not let them in.
    story.receive(&update(&[65_009]));
    let status = story.status();
    assert_eq!((status.accepted, status.treated_as_withdraw), (0, 1));
    assert!(status.negotiated.is_some(), "the session is down");
}

#[test]
fn switching_the_check_off_asks_the_peer_for_its_routes_again() {
    let mut story = Story::new(true);
    story.receive(&update(&[65_009]));
    story.enforce(false);
    assert_eq!(story.sent(), [ROUTE_REFRESH]);
    story.receive(&update(&[65_009]));
    assert_eq!(story.status().accepted, 1);
}

#[test]
fn a_peer_in_another_as_is_not_judged_by_what_the_former_one_was_allowed() {
    let mut story = Story::new(true);
    story.receive(&update(&[THEIR_AS, 65_009]));
    assert_eq!(story.status().accepted, 1);
    story
        .speaker
        .replan(Instant::ZERO, plan_of(THEIR_AS + 1, true));
    let again = story.speaker.accepted(Instant::ZERO, REMOTE, LOCAL);
    story.connection = again.unwrap().0;
    story.open(THEIR_AS + 1);
    assert!(story.status().negotiated.is_some(), "the session is down");
    // The same bytes, from an AS that must not send them.
    story.receive(&update(&[THEIR_AS, 65_009]));
    let status = story.status();
    assert_eq!((status.accepted, status.treated_as_withdraw), (0, 1));
}
