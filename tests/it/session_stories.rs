//! What happens to one peer over time: dialling and back-off.

use dunlin::session::{Dial, DialError, Input, Output, State, Timer};
use dunlin::time::Duration;

use crate::session_harness::{Driver, config, dialled, holding, notifications};

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn dials(out: &[Output]) -> usize {
    out.iter()
        .filter(|output| matches!(output, Output::Dial { .. }))
        .count()
}

#[test]
fn the_first_dial_comes_at_once() {
    let mut driver = Driver::started(config());
    let begin = driver.now;
    driver.dial();
    assert!(driver.now - begin <= Duration::from_millis(100));
}

#[test]
fn a_passive_peer_never_dials_and_takes_calls() {
    let mut config = config();
    config.dial = Dial::Passive;
    let mut driver = Driver::started(config);
    assert_eq!(dials(&driver.run(secs(3_600))), 0);
    assert_eq!(driver.peer.state(), State::Active);
    let (connection, _) = driver.accept();
    driver.open(connection);
    driver.keepalive(connection);
    assert_eq!(driver.peer.state(), State::Established);
    driver.give(Input::Closed {
        connection,
        error: None,
    });
    assert_eq!(dials(&driver.run(secs(3_600))), 0);
}

#[test]
fn a_peer_that_does_not_accept_refuses_with_6_5_and_holds_no_memory_of_it() {
    let mut config = config();
    config.accept = false;
    let mut driver = Driver::started(config);
    for _ in 0..100 {
        let (connection, out) = driver.accept();
        assert_eq!(notifications(&out), [(6, 5)]);
        assert!(matches!(out[1], Output::Close { .. }));
        assert_eq!(driver.open(connection), []);
        assert_eq!(
            driver.give(Input::Closed {
                connection,
                error: None
            }),
            []
        );
    }
    assert_eq!(driver.peer.state(), State::Active);
}

#[test]
fn the_passive_half_of_a_mesh_pair_dials_only_if_nobody_came() {
    let mut config = config();
    config.dial = Dial::After(secs(30));
    let mut driver = Driver::started(config);
    assert_eq!(dials(&driver.run(secs(29))), 0);
    assert_eq!(dials(&driver.run(secs(2))), 1);

    let mut driver = Driver::started({
        let mut config = holding(90);
        config.dial = Dial::After(secs(30));
        config
    });
    let (connection, _) = driver.accept();
    driver.open(connection);
    driver.keepalive(connection);
    driver.give(Input::Closed {
        connection,
        error: None,
    });
    assert_eq!(
        dials(&driver.run(secs(29))),
        0,
        "the wait begins anew with the loss"
    );
    assert_eq!(dials(&driver.run(secs(2))), 1);
}

#[test]
fn failed_dials_are_first_repeated_soon_then_spaced_by_connect_retry_and_do_not_grow() {
    let mut driver = Driver::started(config());
    let begin = driver.now;
    let mut count = 0;
    while driver.now - begin < secs(600) {
        let connection = driver.dial();
        count += 1;
        driver.give(Input::DialFailed {
            connection,
            error: DialError::Refused,
        });
        assert_eq!(driver.peer.state(), State::Active);
    }
    assert!(
        (124..=166).contains(&count),
        "{count} dials in 10 minutes: five early ones, then 3.75-5 s each"
    );
}

#[test]
fn a_dial_that_nobody_answers_is_given_up_and_begun_again() {
    let mut driver = Driver::started(config());
    let first = driver.dial();
    let out = driver.next_timer().unwrap();
    assert_eq!(out[0], Output::Abort { connection: first });
    let second = dialled(&out).unwrap();
    assert_ne!(first, second);
    let out = driver.give(Input::Connected { connection: first });
    assert_eq!(
        out,
        [Output::Abort { connection: first }],
        "it succeeded too late"
    );
    let text = driver.peer.last_error().unwrap().to_string();
    assert!(
        text.contains("10.0.0.2 does not answer") && text.contains("TCP 179"),
        "{text}"
    );
}

#[test]
fn a_peer_that_rejects_each_open_is_called_ever_less_often() {
    let mut driver = Driver::started(config());
    let begin = driver.now;
    let mut at = Vec::new();
    while driver.now - begin < secs(1_200) {
        let connection = driver.open_sent();
        at.push(driver.now - begin);
        driver.notification(connection, 2, 2);
        assert_eq!(driver.peer.state(), State::Idle);
    }
    let in_minute = |m: u64| at.iter().filter(|t| t.as_secs() / 60 == m).count();
    assert!(in_minute(0) <= 8, "{at:?}");
    for minute in 3..19 {
        assert!(in_minute(minute) <= 1, "{at:?}");
    }
    let gaps: Vec<_> = at.windows(2).map(|w| w[1] - w[0]).collect();
    assert!(
        gaps.iter().all(|gap| *gap <= secs(121)),
        "never longer than the limit: {gaps:?}"
    );
    let text = driver.peer.last_error().unwrap().to_string();
    assert_eq!(
        text,
        "10.0.0.2 says: OPEN Message Error/Bad Peer AS (2/2): it expects another AS than 64512; \
         check as-number on both sides"
    );
}

#[test]
fn neither_a_cease_nor_a_version_error_nor_a_close_makes_the_pause_grow() {
    for what in [Some((6, 5)), Some((6, 3)), Some((2, 1)), Some((6, 7)), None] {
        let mut driver = Driver::started(config());
        let begin = driver.now;
        let mut count = 0;
        while driver.now - begin < secs(600) {
            let connection = driver.open_sent();
            count += 1;
            match what {
                Some((code, subcode)) => driver.notification(connection, code, subcode),
                None => driver.give(Input::Closed {
                    connection,
                    error: None,
                }),
            };
        }
        assert!(
            (110..=161).contains(&count),
            "{what:?}: {count} dials in 10 minutes"
        );
    }
}

#[test]
fn the_pause_falls_back_after_a_stable_period() {
    let mut driver = Driver::started(config());
    for _ in 0..8 {
        let connection = driver.open_sent();
        driver.notification(connection, 2, 2);
    }
    assert!(driver.peer.next_timeout().unwrap().0 - driver.now > secs(80));
    let connection = driver.established();
    for _ in 0..20 {
        driver.run(secs(20));
        driver.keepalive(connection);
    }
    driver.give(Input::Closed {
        connection,
        error: None,
    });
    let (at, timer) = driver.peer.next_timeout().unwrap();
    assert_eq!(timer, Timer::IdleHold);
    assert!(at - driver.now <= secs(1));
}

#[test]
fn whoever_repaired_the_other_side_need_not_wait_out_our_pause() {
    let mut driver = Driver::started(config());
    for _ in 0..8 {
        let connection = driver.open_sent();
        driver.notification(connection, 2, 2);
    }
    let (_, out) = driver.accept();
    assert_eq!(notifications(&out), [(6, 5)], "the first second refuses");
    driver.run(secs(1));
    let (connection, _) = driver.accept();
    driver.open(connection);
    let out = driver.keepalive(connection);
    assert!(matches!(out[0], Output::Up { .. }));
}

#[test]
fn callers_during_a_pause_do_not_make_us_dial_earlier() {
    let mut driver = Driver::started(config());
    for _ in 0..8 {
        let connection = driver.open_sent();
        driver.notification(connection, 2, 2);
    }
    let begin = driver.now;
    let mut all = Vec::new();
    while driver.now - begin < secs(80) {
        all.extend(driver.run(secs(2)));
        let (connection, _) = driver.accept();
        driver.give(Input::Closed {
            connection,
            error: None,
        });
    }
    assert_eq!(dials(&all), 0);
}
