//! What BFD says of a far end, and what becomes of the BGP session with it (RFC 5882, RFC 9384).

use std::net::IpAddr;

use dunlin::bfd::{Diagnostic, Dropped, FarEnd, Hops, Report, State, Watch};
use dunlin::net::{Asn, Prefix};
use dunlin::policy::PolicyKind;
use dunlin::session::{CloseReason, ConnectionId};
use dunlin::speaker::{Output, Speaker};
use dunlin::time::{Duration, Instant};
use dunlin::topology::{BfdTerms, Peer};

use crate::speaker_rig::{self as rig, message};

const NOTIFICATION: u8 = 3;

fn address(number: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, number])
}

fn block(number: u8) -> Prefix {
    format!("10.77.{number}.0/24").parse().unwrap()
}

/// A node and two watched peers, both up, each with one route.
struct World {
    speaker: Speaker,
    connections: [ConnectionId; 2],
    watches: Vec<Watch>,
    now: Instant,
    /// BFD's last packet.
    heard: Instant,
}

impl World {
    fn new() -> Self {
        let peer = |number: u8| {
            let asn = Asn(65_000 + u32::from(number));
            let mut peer = Peer::new(format!("p{number}"), address(number), asn);
            peer.passive = true;
            peer.routes.import = PolicyKind::AcceptAll;
            peer.bfd = Some(BfdTerms::default());
            peer
        };
        let now = Instant::from_secs(1);
        let mut speaker = rig::speaker(now, rig::planned(vec![peer(2), peer(3)]));
        let watches = speaker.take_watches().unwrap();
        let connections = [2, 3].map(|number| establish(&mut speaker, now, number));
        let mut world = Self {
            speaker,
            connections,
            watches,
            now,
            heard: now,
        };
        assert_eq!(world.said(), []);
        assert_eq!(world.routes(), [true, true]);
        world
    }

    fn report(&mut self, peer: usize, session: u32, state: State, failures: u64) {
        let far_end: FarEnd = self.watches[peer].far_end.clone();
        let report = Report {
            far_end,
            session,
            state,
            since: self.now,
            diagnostic: Diagnostic::DETECTION_TIME_EXPIRED,
            failures,
            failed_from: self.heard,
            independent: false,
            hops: Hops::Single,
            transmit: Duration::from_millis(250),
            detection: None,
            algorithm: None,
            key_missing: false,
            dropped: Dropped::default(),
            refused: None,
        };
        self.speaker.far_end_reported(self.now, report);
        self.speaker.flush(self.now);
    }

    /// NOTIFICATIONs that were sent, by peer.
    fn said(&mut self) -> Vec<(usize, u8, u8)> {
        let mut said = Vec::new();
        while let Some(output) = self.speaker.poll() {
            if let Output::Send { connection, bytes } = output
                && bytes.get(18) == Some(&NOTIFICATION)
            {
                let peer = self.connections.iter().position(|c| *c == connection);
                said.push((peer.unwrap(), bytes[19], bytes[20]));
            }
        }
        said
    }

    fn routes(&mut self) -> [bool; 2] {
        [2, 3].map(|number| self.speaker.route(block(number)).is_some())
    }
}

fn establish(speaker: &mut Speaker, now: Instant, number: u8) -> ConnectionId {
    let (remote, local) = (address(number), address(1));
    let (connection, _terms) = speaker.accepted(now, remote, local).unwrap();
    let asn = (65_000 + u16::from(number)).to_be_bytes();
    // Hold time 90 s, IPv4 unicast; peer 3 has graceful restart with the N bit, 120 s, forwarding kept.
    let restarts = number == 3;
    let length = if restarts { 14 } else { 6 };
    let mut open = vec![4, asn[0], asn[1], 0, 90, 10, 0, 0, number, length + 2, 2];
    open.extend([length, 1, 4, 0, 1, 0, 1]);
    if restarts {
        open.extend([64, 6, 0x40, 120, 0, 1, 1, 0x80]);
    }
    speaker.received(now, connection, &message(1, &open));
    speaker.received(now, connection, &message(4, &[]));
    // ORIGIN, AS_PATH of one, NEXT_HOP, one /24.
    let mut update = vec![0, 0, 0, 18, 0x40, 1, 1, 0, 0x40, 2, 4, 2, 1, asn[0], asn[1]];
    update.extend([0x40, 3, 4, 10, 0, 0, number, 24, 10, 77, number]);
    speaker.received(now, connection, &message(2, &update));
    connection
}

#[test]
fn a_failure_ends_this_session_and_takes_its_routes_at_once() {
    let mut world = World::new();
    world.report(0, 7, State::Up, 0);
    world.report(1, 8, State::Up, 0);
    assert_eq!(world.said(), []);
    world.report(0, 7, State::Down, 1);
    assert_eq!(world.said(), [(0, 6, 10)]);
    assert_eq!(world.routes(), [false, true]);
    let status = world.speaker.peer_named("p2").unwrap();
    let error = status.last_error.unwrap();
    assert_eq!(error.reason, CloseReason::FarEndDown);
    assert_eq!(status.bfd.unwrap().state, State::Down);
    let other = world.speaker.peer_named("p3").unwrap();
    assert!(other.negotiated.is_some());
}

#[test]
fn bfd_that_was_never_up_or_ended_in_order_hinders_nothing() {
    let mut world = World::new();
    world.report(0, 7, State::Down, 0);
    world.report(0, 7, State::Init, 0);
    world.report(0, 7, State::Down, 0);
    // Up, and the far end's operator or its restart took it down.
    world.report(0, 7, State::Up, 0);
    world.report(0, 7, State::Down, 0);
    assert_eq!(world.said(), []);
    assert_eq!(world.routes(), [true, true]);
}

#[test]
fn a_failure_that_has_healed_before_it_was_told_is_one() {
    let mut world = World::new();
    world.report(0, 7, State::Up, 0);
    world.report(0, 7, State::Up, 1);
    assert_eq!(world.said(), [(0, 6, 10)]);
}

#[test]
fn a_failure_counts_once() {
    let mut world = World::new();
    world.report(0, 7, State::Up, 0);
    world.report(0, 7, State::Down, 1);
    assert_eq!(world.said(), [(0, 6, 10)]);
    // The connection works again before BFD does.
    world.now = Instant::from_secs(60);
    let now = world.now;
    world.speaker.handle_timeout(now);
    world.connections[0] = establish(&mut world.speaker, now, 2);
    let _openings = world.said();
    world.report(0, 7, State::Init, 1);
    world.report(0, 7, State::Up, 1);
    assert_eq!(world.said(), []);
    assert_eq!(world.routes(), [true, true]);
    // Another session of BFD counts from 0.
    world.heard = now;
    world.report(0, 9, State::Up, 0);
    world.report(0, 9, State::Down, 1);
    assert_eq!(world.said(), [(0, 6, 10)]);
}

#[test]
fn a_session_that_came_up_after_the_last_packet_is_not_the_one_that_failed() {
    let mut world = World::new();
    world.report(0, 7, State::Up, 0);
    let life = world.now;
    // Its process was killed and is back before the detection time is over.
    world.now = life + Duration::from_millis(300);
    let (now, connection) = (world.now, world.connections[0]);
    world.speaker.closed(now, connection, None);
    world.connections[0] = establish(&mut world.speaker, now, 2);
    let _openings = world.said();
    world.report(0, 7, State::Down, 1);
    assert_eq!(world.said(), []);
    assert_eq!(world.routes(), [true, true]);
}

#[test]
fn graceful_restart_keeps_the_routes_of_a_killed_process_and_not_those_behind_a_dead_path() {
    let mut world = World::new();
    world.report(1, 8, State::Up, 0);
    // Killed: the kernel closes its connection, and BFD falls silent a moment later.
    let (now, connection) = (world.now, world.connections[1]);
    world.speaker.closed(now, connection, None);
    world.report(1, 8, State::Down, 1);
    assert_eq!(world.routes(), [true, true]);
    // The path is dead: the connection is still there. Hard Reset, so that it gives ours up, too.
    let mut world = World::new();
    world.report(1, 8, State::Up, 0);
    world.report(1, 8, State::Down, 1);
    assert_eq!(world.said(), [(1, 6, 9)]);
    assert_eq!(world.routes(), [true, false]);
}
