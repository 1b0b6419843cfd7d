//! Who calls from the address of a peer that has a session: the old connection says whether it lives, whatever
//! the new one claims.

use dunlin::net::{Asn, RouterId};
use dunlin::session::{
    CloseReason, ConnectionId, GracefulRestart, Input, Output, PeerConfig, State,
};
use dunlin::time::Duration;

use crate::session_harness::{Driver, EXCEEDED, holding, is_keepalive, notifications, words};

const fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

fn restartable(hold: u16) -> PeerConfig {
    let mut config = holding(hold);
    config.offer.graceful_restart = Some(GracefulRestart {
        time: 120,
        families: [Some(true), None],
        restarting: false,
        notification: true,
        long_lived: 0,
    });
    config
}

/// A session that has been up for ten seconds.
fn up(config: PeerConfig) -> (Driver, ConnectionId) {
    let mut driver = Driver::started(config);
    let old = driver.established();
    driver.run(secs(10));
    driver.keepalive(old);
    (driver, old)
}

fn is_up(driver: &Driver, connection: ConnectionId) -> bool {
    driver
        .peer
        .established()
        .is_some_and(|(id, _)| id == connection)
}

fn count(out: &[Output], what: &str) -> usize {
    out.iter().filter(|output| words(output) == what).count()
}

#[test]
fn who_says_all_the_right_words_does_not_take_a_session_over_that_lives() {
    for config in [restartable(90), restartable(0), holding(90), holding(0)] {
        let (mut driver, old) = up(config);
        let (new, out) = driver.accept();
        assert_eq!(out.iter().filter(|o| is_keepalive(o)).count(), 1, "{out:?}");
        assert_eq!((count(&out, "send OPEN"), count(&out, "probe")), (1, 1));
        let out = driver.open(new);
        assert_eq!(
            out,
            [],
            "not a word before it is known whether the old one lives"
        );
        assert_eq!(driver.keepalive(new), []);
        assert!(is_up(&driver, old));
        let out = driver.give(Input::Acknowledged { connection: old });
        assert_eq!(notifications(&out), [(6, 7)]);
        assert!(out.contains(&Output::Close { connection: new }));
        assert!(is_up(&driver, old));
        driver.run(secs(20));
        assert!(is_up(&driver, old) && driver.peer.last_error().is_none());
    }
}

#[test]
fn a_host_that_rebooted_answers_with_a_reset_and_its_call_goes_on_at_once() {
    for (config, opened) in [
        (restartable(90), true),
        (restartable(90), false),
        (holding(90), true),
    ] {
        let (mut driver, old) = up(config);
        let (new, _) = driver.accept();
        if opened {
            driver.open(new);
        }
        let error = Some("connection reset by the peer".to_owned());
        let closed = Input::Closed {
            connection: old,
            error,
        };
        let out = driver.give(closed);
        assert!(
            matches!(&out[..], [Output::Down { connection, reason: CloseReason::TransportLost(_) }] if *connection == old),
            "{out:?}"
        );
        if !opened {
            driver.open(new);
        }
        let began = driver.now;
        driver.run(secs(0));
        let out = driver.keepalive(new);
        assert!(matches!(out[0], Output::Up { connection, .. } if connection == new));
        assert_eq!(driver.now, began);
        // Nothing is left of the short time that it had.
        driver.run(secs(20));
        driver.keepalive(new);
        assert_eq!(driver.peer.state(), State::Established);
    }
}

#[test]
fn a_call_that_is_late_with_its_open_has_the_usual_time_once_the_old_one_is_gone() {
    let (mut driver, old) = up(restartable(90));
    let (new, _) = driver.accept();
    driver.run(secs(4));
    driver.give(Input::Closed {
        connection: old,
        error: None,
    });
    driver.run(secs(30));
    driver.open(new);
    driver.run(secs(0));
    driver.keepalive(new);
    assert!(is_up(&driver, new));
}

#[test]
fn where_nothing_is_known_in_time_the_old_session_stays() {
    for opened in [true, false] {
        let (mut driver, old) = up(restartable(90));
        let (new, _) = driver.accept();
        if opened {
            driver.open(new);
        }
        let out = driver.run(secs(6));
        assert_eq!(notifications(&out), [(6, 7)]);
        assert!(out.contains(&Output::Close { connection: new }));
        assert!(is_up(&driver, old) && driver.peer.last_error().is_none());
    }
}

#[test]
fn a_session_that_ended_by_a_word_leaves_nothing_to_the_call_that_waits() {
    let prefix_limit = |driver: &mut Driver, _| driver.give(Input::PrefixLimit(EXCEEDED));
    let bfd = |driver: &mut Driver, _| driver.give(Input::FarEndDown);
    let told = |driver: &mut Driver, old| driver.notification(old, 6, 2);
    let ends: [fn(&mut Driver, ConnectionId) -> Vec<Output>; 3] = [prefix_limit, bfd, told];
    for end in ends {
        let (mut driver, old) = up(restartable(90));
        let (new, _) = driver.accept();
        driver.open(new);
        let out = end(&mut driver, old);
        assert!(out.contains(&Output::Close { connection: new }), "{out:?}");
        assert_eq!(driver.peer.state(), State::Idle, "the pause holds");
    }
}

#[test]
fn another_identifier_as_or_no_family_is_not_the_peer_come_back() {
    let edits: [fn(&mut PeerConfig); 4] = [
        |theirs| theirs.router_id = RouterId(77),
        |theirs| theirs.offer.graceful_restart = None,
        |theirs| {
            if let Some(restart) = &mut theirs.offer.graceful_restart {
                restart.families = [None; 2];
            }
        },
        |theirs| theirs.local_asn = Asn(64_999),
    ];
    for (edit, expected) in edits.into_iter().zip([(6, 7), (6, 7), (6, 7), (2, 2)]) {
        let mut config = restartable(90);
        config.remote_asn = None;
        if expected == (2, 2) {
            config.remote_asn = Some(Asn(64_513));
        }
        let mut driver = Driver::started(config);
        let old = driver.open_sent();
        driver.open_with(old, |theirs| theirs.local_asn = Asn(64_513));
        driver.keepalive(old);
        driver.run(secs(2));
        let (new, _) = driver.accept();
        let out = driver.open_with(new, |theirs| {
            theirs.local_asn = Asn(64_513);
            edit(theirs);
        });
        assert_eq!(notifications(&out), [expected]);
        assert!(is_up(&driver, old));
    }
}

#[test]
fn callers_make_nobody_speak_more_than_once_a_second_and_the_last_one_is_heard() {
    let (mut driver, old) = up(restartable(90));
    let mut out = Vec::new();
    let mut last = None;
    for _ in 0..50 {
        let (call, said) = driver.accept();
        out.extend(said);
        last = Some(call);
        out.extend(driver.run(Duration::from_millis(100)));
    }
    let kept_alive = out.iter().filter(|o| is_keepalive(o)).count();
    assert!(
        (4..=6).contains(&kept_alive),
        "{kept_alive} in five seconds"
    );
    // The silent ones do not keep the genuine one out.
    driver.open(last.unwrap());
    driver.give(Input::Closed {
        connection: old,
        error: None,
    });
    driver.run(secs(0));
    driver.keepalive(last.unwrap());
    assert!(is_up(&driver, last.unwrap()));
}

#[test]
fn an_acknowledgement_that_nobody_waits_for_changes_nothing() {
    let (mut driver, old) = up(restartable(90));
    assert_eq!(driver.give(Input::Acknowledged { connection: old }), []);
    let (new, _) = driver.accept();
    assert_eq!(
        driver.give(Input::Acknowledged { connection: new }),
        [],
        "a call proves nothing"
    );
    driver.open(new);
    assert!(is_up(&driver, old));
}
