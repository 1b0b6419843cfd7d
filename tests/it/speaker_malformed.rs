//! Routes that come with a malformed attribute are missing though the session is up: a problem names the peer,
//! how many they are and the attribute, and goes when the peer has said something better.

use std::collections::BTreeSet;

use dunlin::net::Asn;
use dunlin::policy::PolicyKind;
use dunlin::problem::{Code, Problem, Severity, Subject};
use dunlin::session::ConnectionId;
use dunlin::speaker::Speaker;
use dunlin::time::Instant;
use dunlin::topology::{Peer, Plan};
use proptest::prelude::*;

use crate::speaker_rig::{self as rig, LOCAL, REMOTE, attributes, message, update_of};

const THEIR_AS: u16 = 65_002;
const NOW: Instant = Instant::from_secs(1_000);
/// Of a peer so many are kept.
const MOST: usize = 1_000;

fn plan() -> Plan {
    let mut peer = Peer::new("tor", REMOTE, Asn(u32::from(THEIR_AS)));
    peer.passive = true;
    peer.routes.import = PolicyKind::AcceptAll;
    rig::planned(vec![peer])
}

/// 10.N.M.0/24 with this ORIGIN and this path.
fn announcement(origin: u8, path: &[u16], routes: &[u16]) -> Vec<u8> {
    update_of(&[], &attributes(origin, path), &nlri(routes))
}

fn nlri(routes: &[u16]) -> Vec<u8> {
    let of = |route: &u16| {
        let [high, low] = route.to_be_bytes();
        [24, 10, high, low]
    };
    routes.iter().flat_map(of).collect()
}

fn withdrawal(routes: &[u16]) -> Vec<u8> {
    update_of(&nlri(routes), &[], &[])
}

/// A speaker with a session that is up.
struct Story {
    speaker: Speaker,
    connection: ConnectionId,
}

impl Story {
    fn new() -> Self {
        let mut speaker = rig::speaker(NOW, plan());
        let (connection, _terms) = speaker.accepted(NOW, REMOTE, LOCAL).unwrap();
        let mut story = Self {
            speaker,
            connection,
        };
        story.open();
        story
    }

    fn open(&mut self) {
        let [high, low] = THEIR_AS.to_be_bytes();
        // No hold time. Capabilities: IPv4 unicast, route refresh, enhanced route refresh.
        let open = [
            4, high, low, 0, 0, 10, 0, 0, 2, 12, 2, 10, 1, 4, 0, 1, 0, 1, 2, 0, 70, 0,
        ];
        self.receive(&message(1, &open));
        self.receive(&message(4, &[]));
        while self.speaker.poll().is_some() {}
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.speaker.received(NOW, self.connection, bytes);
    }

    /// ORIGIN 9 is none.
    fn bad(&mut self, routes: &[u16]) {
        self.receive(&announcement(9, &[THEIR_AS], routes));
    }

    fn good(&mut self, routes: &[u16]) {
        self.receive(&announcement(0, &[THEIR_AS], routes));
    }

    fn refresh(&mut self, subtype: u8) {
        self.receive(&message(5, &[0, 1, subtype, 1]));
    }

    fn problems(&self) -> Vec<Problem> {
        self.speaker.problems(NOW)
    }

    /// What is said of the peer, if anything is.
    fn said(&self) -> Option<String> {
        let problems = self.problems();
        let [problem] = problems.as_slice() else {
            assert_eq!(problems, [], "at most one");
            return None;
        };
        assert_eq!(problem.code, Code::RoutesMalformed);
        assert_eq!(problem.subject, Subject::Peer("tor".to_owned()));
        Some(problem.what.clone())
    }
}

#[test]
fn routes_with_a_malformed_attribute_are_a_warning_that_counts_them_and_names_it() {
    let mut story = Story::new();
    assert_eq!(story.said(), None);
    let before = story.speaker.news();
    story.bad(&[1, 2, 3]);
    assert_ne!(
        story.speaker.news(),
        before,
        "the daemon looks after news only"
    );
    let problems = story.problems();
    assert_eq!(problems[0].severity(), Severity::Warning);
    assert_eq!(
        problems[0].what,
        "3 of its routes are missing, since it sent them with a malformed attribute (ORIGIN (1): invalid value)"
    );
    assert!(problems[0].remedy.contains("log"), "{}", problems[0].remedy);
    // The same ones again are no more than before.
    story.bad(&[2, 3]);
    assert!(
        story
            .said()
            .unwrap()
            .starts_with("3 of its routes are missing")
    );
}

#[test]
fn it_goes_when_the_routes_come_well_or_are_taken_back() {
    let mut story = Story::new();
    story.good(&[1]);
    story.bad(&[1, 2, 3]);
    story.good(&[1]);
    assert!(
        story
            .said()
            .unwrap()
            .starts_with("2 of its routes are missing")
    );
    story.receive(&withdrawal(&[2]));
    assert!(
        story
            .said()
            .unwrap()
            .starts_with("1 of its routes is missing")
    );
    let before = story.speaker.news();
    story.good(&[4, 3]);
    assert_eq!(story.said(), None);
    assert_ne!(story.speaker.news(), before);
}

#[test]
fn a_new_session_begins_without() {
    let mut story = Story::new();
    story.bad(&[1]);
    story.receive(&message(3, &[6, 4]));
    let down = story.problems();
    assert_eq!(down[0].code, Code::PeerDown, "{down:?}");
    assert_eq!(down.len(), 1, "{down:?}");
    let (connection, _terms) = story.speaker.accepted(NOW, REMOTE, LOCAL).unwrap();
    story.connection = connection;
    story.open();
    assert_eq!(story.said(), None);
}

#[test]
fn what_the_peer_does_not_repeat_in_a_refresh_is_missing_no_longer() {
    let mut story = Story::new();
    story.bad(&[1, 2]);
    story.refresh(1);
    story.bad(&[2]);
    assert!(
        story
            .said()
            .unwrap()
            .starts_with("2 of its routes are missing")
    );
    story.refresh(2);
    assert!(
        story
            .said()
            .unwrap()
            .starts_with("1 of its routes is missing")
    );
}

#[test]
fn a_path_with_a_foreign_first_as_has_its_own_words() {
    let mut story = Story::new();
    story.receive(&announcement(0, &[65_009, THEIR_AS], &[1, 2]));
    let [problem] = &story.problems()[..] else {
        panic!("one problem");
    };
    assert_eq!(
        problem.what,
        "2 of its routes are missing, since their AS paths begin with AS 65009 and not with the peer's AS"
    );
    assert!(problem.remedy.contains("enforce-first-as"));
}

#[test]
fn a_peer_can_make_us_keep_so_many_and_no_more() {
    let mut story = Story::new();
    let all: Vec<u16> = (0..2_000).collect();
    for some in all.chunks(500) {
        story.bad(some);
    }
    let said = story.said().unwrap();
    assert!(
        said.starts_with("more than 1000 of its routes are missing"),
        "{said}"
    );
    for some in all[..MOST].chunks(500) {
        story.good(some);
    }
    assert_eq!(story.said(), None, "none that is known is missing");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whatever a peer says, those are missing that it announced badly last.
    #[test]
    fn the_count_is_that_of_the_routes_that_were_bad_last(
        words in proptest::collection::vec((0_u8..3, proptest::collection::vec(0_u16..8, 1..4)), 0..30),
    ) {
        let mut story = Story::new();
        let mut missing = BTreeSet::new();
        for (word, routes) in words {
            match word {
                0 => story.bad(&routes),
                1 => story.good(&routes),
                _ => story.receive(&withdrawal(&routes)),
            }
            for route in routes {
                if word == 0 { missing.insert(route); } else { missing.remove(&route); }
            }
            let said = story.said().unwrap_or_default();
            let count = said.split(' ').next().unwrap();
            prop_assert_eq!(count.parse().unwrap_or(0), missing.len());
        }
    }
}
