//! A peer that keeps talking and reads nothing is given up (RFC 9687), whatever was queued first.

use dunlin::net::Asn;
use dunlin::speaker::{Output, Speaker};
use dunlin::time::Instant;
use dunlin::topology::Peer;

use crate::speaker_rig::{self as rig, LOCAL, REMOTE, message};

const NOTIFICATION: u8 = 3;

/// The code of a NOTIFICATION among what is to be done.
fn notified(speaker: &mut Speaker) -> Option<u8> {
    let mut code = None;
    while let Some(output) = speaker.poll() {
        if let Output::Send { bytes, .. } = output
            && bytes.get(18) == Some(&NOTIFICATION)
        {
            code = bytes.get(19).copied();
        }
    }
    code
}

#[test]
fn a_keepalive_that_was_queued_first_does_not_keep_a_deaf_peer_for_ever() {
    let mut peer = Peer::new("deaf", REMOTE, Asn(65_002));
    peer.passive = true;
    let mut speaker = rig::speaker(Instant::ZERO, rig::planned(vec![peer]));
    let (connection, _terms) = speaker.accepted(Instant::ZERO, REMOTE, LOCAL).unwrap();
    // AS 65002, hold time 90 s, IPv4 unicast.
    let open = [4, 0xFD, 0xEA, 0, 90, 10, 0, 0, 2, 8, 2, 6, 1, 4, 0, 1, 0, 1];
    let keepalive = message(4, &[]);
    speaker.received(Instant::ZERO, connection, &message(1, &open));
    speaker.received(Instant::ZERO, connection, &keepalive);
    // A KEEPALIVE is queued, and only then the table: nothing of it ever leaves.
    let mut ended = None;
    for secs in (1..=700).step_by(10) {
        let now = Instant::from_secs(secs);
        speaker.received(now, connection, &keepalive);
        speaker.handle_timeout(now);
        if secs > 31 {
            speaker.flush(now);
        }
        if let Some(code) = notified(&mut speaker) {
            ended = Some((secs, code));
            break;
        }
    }
    let (secs, code) = ended.expect("the peer is given up");
    assert_eq!(code, 8, "Send Hold Timer Expired");
    assert!((480..=540).contains(&secs), "after 8 minutes, not {secs} s");
}
