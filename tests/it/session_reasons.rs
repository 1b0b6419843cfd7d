//! Why there is no session: the last end that says what is wrong stays, whatever says less afterwards.

use dunlin::session::{CloseReason, DialError, Input, State};

use crate::session_harness::{Driver, config, holding};

fn told(driver: &Driver) -> String {
    driver.peer.last_error().unwrap().to_string()
}

/// A connection on which OPEN is sent, and which is then just closed.
fn bare_close(driver: &mut Driver, error: Option<&str>) {
    let connection = driver.open_sent();
    driver.give(Input::Closed {
        connection,
        error: error.map(str::to_owned),
    });
}

#[test]
fn a_bare_close_never_displaces_a_notification() {
    for error in [None, Some("Connection reset by peer")] {
        for (code, subcode) in [
            (2, 2),
            (2, 3),
            (2, 6),
            (6, 1),
            (6, 2),
            (6, 3),
            (6, 8),
            (1, 1),
        ] {
            let mut driver = Driver::started(config());
            let connection = driver.open_sent();
            driver.notification(connection, code, subcode);
            let right = told(&driver);
            for _ in 0..3 {
                bare_close(&mut driver, error);
                let text = told(&driver);
                let (first, then) = text.split_once("; since then, ").unwrap();
                assert_eq!(first, right);
                assert!(then.contains("10.0.0.2"), "{then}");
            }
        }
    }
}

#[test]
fn nor_what_we_found_wrong_nor_an_expiry() {
    // Its AS is another one: we say so, and its next calls are just closed.
    let mut driver = Driver::started(config());
    let connection = driver.open_sent();
    driver.open_with(connection, |theirs| {
        theirs.local_asn = dunlin::net::Asn(64_600);
    });
    let right = told(&driver);
    assert!(right.contains("64600"), "{right}");
    bare_close(&mut driver, None);
    assert!(told(&driver).starts_with(&right));

    // The hold timer, and the peer that resets what comes next.
    let mut driver = Driver::started(holding(9));
    driver.established();
    while driver.peer.state() == State::Established {
        driver.next_timer();
    }
    bare_close(&mut driver, Some("Connection reset by peer"));
    let error = driver.peer.last_error().unwrap();
    assert_eq!(error.reason, CloseReason::HoldTimerExpired);
    let lost = CloseReason::TransportLost(Some("Connection reset by peer".into()));
    assert_eq!(error.since.as_ref().unwrap().1, lost);
}

#[test]
fn a_peer_that_takes_no_call_while_it_rests_hides_nothing_either() {
    let mut driver = Driver::started(config());
    let connection = driver.open_sent();
    driver.notification(connection, 2, 2);
    let connection = driver.open_sent();
    driver.notification(connection, 6, 5);
    let text = told(&driver);
    assert!(text.contains("Bad Peer AS (2/2)"), "{text}");
    assert!(
        text.contains("since then, 10.0.0.2 says: Cease/Connection Rejected"),
        "{text}"
    );
    // But it says more than a close.
    let mut driver = Driver::started(config());
    bare_close(&mut driver, None);
    let connection = driver.open_sent();
    driver.notification(connection, 6, 5);
    bare_close(&mut driver, None);
    assert!(told(&driver).starts_with("10.0.0.2 says: Cease/Connection Rejected"));
}

#[test]
fn what_says_as_much_or_more_comes_in_its_place() {
    let mut driver = Driver::started(config());
    let connection = driver.dial();
    let error = DialError::Refused;
    driver.give(Input::DialFailed { connection, error });
    assert!(told(&driver).contains("refused"));
    bare_close(&mut driver, None);
    assert!(told(&driver).starts_with("10.0.0.2 closed the connection"));
    let connection = driver.open_sent();
    driver.notification(connection, 2, 2);
    let connection = driver.open_sent();
    driver.notification(connection, 2, 6);
    let text = told(&driver);
    assert!(
        text.contains("(2/6)") && !text.contains("since then"),
        "{text}"
    );
}

#[test]
fn a_session_in_between_makes_the_former_reason_history() {
    let mut driver = Driver::started(config());
    let connection = driver.open_sent();
    driver.notification(connection, 2, 2);
    bare_close(&mut driver, None);
    let connection = driver.established();
    let error = driver.peer.last_error().unwrap();
    assert!(error.is_over() && error.since.is_none());
    driver.give(Input::Closed {
        connection,
        error: None,
    });
    let error = driver.peer.last_error().unwrap();
    assert_eq!(error.reason, CloseReason::TransportLost(None));
    assert!(!error.is_over());
}
