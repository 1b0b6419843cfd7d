//! Who calls from the address of a peer that has a session: the old connection says whether it lives, whatever
//! the new one claims.

use dunlin::net::{Asn, RouterId};
use dunlin::session::{
    CloseReason, ConnectionId, GracefulRestart, Input, Output, PeerConfig, State,
};
use dunlin::time::Duration;
use dunlin::wire::frame::MessageKind;

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

/// Ten calls a second for `span`, each treated by `each`; whether we came to dial in that time, and when.
fn called(
    driver: &mut Driver,
    span: Duration,
    each: impl Fn(&mut Driver, ConnectionId),
) -> Vec<ConnectionId> {
    let end = driver.now + span;
    let mut dialled_ids = Vec::new();
    while driver.now < end {
        let (call, _) = driver.accept();
        each(driver, call);
        let out = driver.run(Duration::from_millis(100));
        dialled_ids.extend(crate::session_harness::dialled(&out));
    }
    dialled_ids
}

/// What callers may do; none of it is to stop a dial of ours.
const NUISANCES: [fn(&mut Driver, ConnectionId); 7] = [
    |driver, call| drop(driver.open_with(call, |theirs| theirs.local_asn = Asn(64_999))),
    |driver, call| drop(driver.message(call, MessageKind::Open, &[3; 29])),
    |driver, call| drop(driver.notification(call, 2, 7)),
    |driver, call| drop(driver.notification(call, 6, 8)),
    |driver, call| {
        drop(driver.give(Input::Closed {
            connection: call,
            error: None,
        }))
    },
    |driver, call| drop(driver.open(call)),
    |_, _| (),
];

#[test]
fn callers_stop_no_dial_of_ours_and_the_session_comes_up_among_them() {
    for (number, nuisance) in NUISANCES.into_iter().enumerate() {
        // Either end may have the higher identifier.
        for higher in [true, false] {
            let mut config = holding(90);
            if higher {
                config.router_id = RouterId(u32::MAX);
            }
            let mut driver = Driver::started(config);
            let refused = called(&mut driver, secs(1), nuisance);
            for connection in refused {
                let error = dunlin::session::DialError::Refused;
                driver.give(Input::DialFailed { connection, error });
            }
            let dials = called(&mut driver, secs(12), nuisance);
            assert!(!dials.is_empty(), "no dial in 12 s ({number})");
            // The peer answers the last one, while they go on calling.
            let ours = *dials.last().unwrap();
            driver.give(Input::Connected { connection: ours });
            for _ in 0..3 {
                let (call, _) = driver.accept();
                nuisance(&mut driver, call);
            }
            driver.open(ours);
            let (call, _) = driver.accept();
            nuisance(&mut driver, call);
            driver.keepalive(ours);
            driver.run(secs(1));
            assert!(is_up(&driver, ours), "nuisance {number}, higher: {higher}");
            assert!(driver.peer.withheld().is_empty(), "{number}");
            assert!(driver.peer.failed_calls() > 100);
        }
    }
}

#[test]
fn a_silent_caller_keeps_nobody_out_of_a_passive_peer() {
    let mut config = holding(90);
    config.dial = dunlin::session::Dial::Passive;
    let mut driver = Driver::started(config);
    for nuisance in NUISANCES {
        let (call, _) = driver.accept();
        nuisance(&mut driver, call);
        let (genuine, out) = driver.accept();
        assert_eq!(count(&out, "send OPEN"), 1);
        driver.open(genuine);
        driver.keepalive(genuine);
        assert!(is_up(&driver, genuine));
        driver.give(Input::Closed {
            connection: genuine,
            error: None,
        });
    }
}

#[test]
fn what_a_caller_did_is_said_while_there_is_no_session_and_not_beside_one() {
    let mut driver = Driver::started(holding(90));
    let bad = |driver: &mut Driver| {
        let (call, _) = driver.accept();
        driver.open_with(call, |theirs| theirs.local_asn = Asn(64_999));
    };
    bad(&mut driver);
    let text = driver.peer.last_error().unwrap().to_string();
    assert!(text.contains("AS 64999"), "{text}");
    assert_eq!(driver.peer.state(), State::Active);
    let (mut driver, _) = up(holding(90));
    bad(&mut driver);
    assert!(driver.peer.last_error().is_none());
    assert_eq!(driver.peer.failed_calls(), 1);
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
