//! Words of a record and the end of the process: what a session is told, and what its socket gets.

use core::time::Duration;

use dunlin::net::Asn;
use dunlin::session::State;
use dunlin::speaker::{Output, Speaker};
use dunlin::time::Instant;
use dunlin::topology::{Intent, Peer, plan};

use crate::speaker_rig::{self as rig, LOCAL, REMOTE, message};

fn intent(edit: impl FnOnce(&mut Peer)) -> Intent {
    let mut peer = Peer::new("tor", REMOTE, Asn(65_002));
    edit(&mut peer);
    rig::intent(vec![peer])
}

fn speaker(intent: &Intent) -> Speaker {
    rig::speaker(Instant::ZERO, plan(intent, "me").unwrap())
}

/// The peer connects and brings these capabilities.
fn establish(speaker: &mut Speaker, capabilities: &[u8]) {
    let (connection, _) = speaker.accepted(Instant::ZERO, REMOTE, LOCAL).unwrap();
    let mut open = vec![4, 0xFD, 0xEA, 0, 90, 10, 0, 0, 2];
    let len = u8::try_from(capabilities.len()).unwrap();
    open.extend([len + 2, 2, len]);
    open.extend(capabilities);
    speaker.received(Instant::ZERO, connection, &message(1, &open));
    speaker.received(Instant::ZERO, connection, &message(4, &[]));
    assert_eq!(speaker.peer_named("tor").unwrap().state, State::Established);
    while speaker.poll().is_some() {}
}

/// NOTIFICATIONs and closes among what is to be done.
fn farewells(speaker: &mut Speaker) -> Vec<String> {
    let mut all = Vec::new();
    while let Some(output) = speaker.poll() {
        match output {
            Output::Send { bytes, .. } if bytes.get(18) == Some(&3) => {
                all.push(format!("{}/{}", bytes[19], bytes[20]));
            }
            Output::Close { .. } => all.push("close".into()),
            _ => {}
        }
    }
    all
}

const IPV4: [u8; 6] = [1, 4, 0, 1, 0, 1];
/// Graceful restart, 120 s, IPv4 with F.
const RESTART: [u8; 8] = [64, 6, 0, 120, 0, 1, 1, 0x80];

#[test]
fn at_the_end_of_the_process_a_peer_that_keeps_nothing_is_told_and_one_that_keeps_routes_is_not() {
    let with = [&IPV4[..], &RESTART[..]].concat();
    for (ours, theirs, expected) in [
        (None, &with[..], &["close"][..]),
        (None, &IPV4[..], &["6/2", "close"][..]),
        // We have not offered it.
        (Some(0), &with[..], &["6/2", "close"][..]),
    ] {
        let intent = intent(|peer| peer.session.max_restart_time = ours);
        let mut speaker = speaker(&intent);
        establish(&mut speaker, theirs);
        let any_told = speaker.stop(Instant::from_secs(1));
        assert_eq!(farewells(&mut speaker), expected);
        assert_eq!(any_told, expected.len() > 1);
    }
    // Nobody is up.
    let mut speaker = speaker(&intent(|_| {}));
    assert!(!speaker.stop(Instant::from_secs(1)));
}

#[test]
fn the_kernel_gives_a_peer_up_when_we_would_and_no_sooner() {
    let timeout = |hold, send: Option<u16>| {
        let intent = intent(|peer| {
            peer.session.hold_time = Some(hold);
            peer.session.send_hold_time = send;
        });
        let mut speaker = speaker(&intent);
        let (_, terms) = speaker.accepted(Instant::ZERO, REMOTE, LOCAL).unwrap();
        terms.user_timeout
    };
    let secs = |n| Some(Duration::from_secs(n));
    // The greater of 8 minutes and twice the hold time (RFC 9687 §3.2).
    assert_eq!(timeout(6, None), secs(480));
    assert_eq!(timeout(90, None), secs(480));
    assert_eq!(timeout(240, None), secs(480));
    assert_eq!(timeout(300, None), secs(600));
    // As it is set, but never a hold time's end.
    assert_eq!(timeout(90, Some(600)), secs(600));
    assert_eq!(timeout(90, Some(120)), secs(120));
    assert_eq!(timeout(90, Some(20)), secs(91));
    assert_eq!(timeout(90, Some(0)), None);
    assert_eq!(timeout(0, None), None);
}

#[test]
fn a_record_that_says_shutdown_has_no_session_until_it_no_longer_does() {
    let down = intent(|peer| peer.shutdown = true);
    let up = intent(|_| {});
    let mut speaker = speaker(&down);
    let mut now = Instant::from_secs(1);
    assert_eq!(speaker.next_timeout(), None, "nothing is tried");
    let status = speaker.peer_named("tor").unwrap();
    assert!(status.shutdown && status.problem.unwrap().contains("shutdown = true"));
    // Who calls is told so.
    let (connection, _) = speaker.accepted(now, REMOTE, LOCAL).unwrap();
    assert_eq!(farewells(&mut speaker), ["6/5", "close"]);
    speaker.closed(now, connection, None);
    assert_eq!(
        speaker.awaited(now, dunlin::speaker::Awaited::All, None),
        None
    );

    let said = speaker.replan(now, plan(&up, "me").unwrap());
    assert_eq!(
        said,
        ["peer tor changed (shutdown): it is no longer shut down"]
    );
    establish(&mut speaker, &IPV4);
    now = Instant::from_secs(2);
    let said = speaker.replan(now, plan(&down, "me").unwrap());
    assert_eq!(said, ["peer tor changed (shutdown): it is shut down"]);
    assert_eq!(farewells(&mut speaker), ["6/2", "close"]);
    // An order goes before the record, until a restart or the next change.
    speaker.enable_peer(now, "tor").unwrap();
    assert!(speaker.next_timeout().is_some());
    let same = speaker.replan(now, plan(&down, "me").unwrap());
    assert_eq!(same, Vec::<String>::new());
    assert!(!speaker.peer_named("tor").unwrap().shutdown);
}

#[test]
fn a_record_without_capabilities_sends_an_open_without_any() {
    let intent = intent(|peer| peer.capabilities.any = false);
    let mut speaker = speaker(&intent);
    let at = speaker.next_timeout().unwrap();
    speaker.handle_timeout(at);
    let Some(Output::Dial { connection, .. }) = speaker.poll() else {
        panic!("no dial");
    };
    speaker.connected(at, connection, LOCAL);
    let Some(Output::Send { bytes, .. }) = speaker.poll() else {
        panic!("no OPEN");
    };
    assert_eq!((bytes[18], bytes.len(), bytes[28]), (1, 29, 0));
    // The peer may have them; nothing of it is used.
    let mut open = vec![4, 0xFD, 0xEA, 0, 90, 10, 0, 0, 2, 16, 2, 14];
    open.extend(IPV4);
    open.extend(RESTART);
    speaker.received(at, connection, &message(1, &open));
    speaker.received(at, connection, &message(4, &[]));
    let agreed = speaker.peer_named("tor").unwrap().negotiated.unwrap();
    assert_eq!(
        (agreed.families, agreed.four_octet_as),
        ([true, false], false)
    );
    assert!(agreed.graceful_restart.is_none());
}
