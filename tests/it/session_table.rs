//! All states × all events × hold time × who dialled, against a table that people have read.
//!
//! `UPDATE_GOLDEN=1 cargo test --test it session_table` rewrites it.
#![expect(clippy::unwrap_used, reason = "a test ends where its premise fails")]

use std::fmt::Write as _;

use dunlin::session::{ConnectionId, DialError, Input, Output, PeerConfig, State, StopReason};
use dunlin::time::Duration;
use dunlin::wire::error::HeaderError;
use dunlin::wire::frame::MessageKind;
use dunlin::wire::notification::Notification;
use dunlin::wire::open::Open;

use crate::session_harness::{Driver, EXCEEDED, body, holding, words};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Place {
    Disabled,
    Pausing,
    Active,
    Connect,
    Delaying,
    OpenSent,
    OpenConfirm,
    Established,
    Called,
    Calling,
}

const PLACES: [(Place, &str); 10] = [
    (Place::Disabled, "Idle, disabled"),
    (Place::Pausing, "Idle, pausing after an error"),
    (Place::Active, "Active, a dial has failed"),
    (Place::Connect, "Connect, a dial is in progress"),
    (Place::Delaying, "Connect or Active, DelayOpen runs"),
    (Place::OpenSent, "OpenSent"),
    (Place::OpenConfirm, "OpenConfirm"),
    (Place::Established, "Established"),
    (
        Place::Called,
        "Established, and a call waits for what is known of it",
    ),
    (
        Place::Calling,
        "the call that waits, its OPEN read, beside a session",
    ),
];

const EVENTS: [&str; 31] = [
    "Start",
    "Stop, shutdown \"bye\"",
    "Stop, deconfigured",
    "Stop, quiet",
    "Reset",
    "ConfigurationChange",
    "PrefixLimit",
    "FarEndDown",
    "Connected",
    "DialFailed",
    "Accepted, another",
    "Closed",
    "OPEN",
    "OPEN, hold 0",
    "OPEN, another AS",
    "OPEN, version 3",
    "KEEPALIVE",
    "UPDATE",
    "ROUTE-REFRESH",
    "NOTIFICATION 2/1",
    "NOTIFICATION 2/2",
    "NOTIFICATION 4/0",
    "NOTIFICATION 6/2",
    "NOTIFICATION 6/7",
    "NOTIFICATION 99/1",
    "BadHeader, marker",
    "UpdateFailed 3/1",
    "Sent",
    "SendBlocked",
    "Acknowledged",
    "next deadline",
];

fn arrive(place: Place, hold: u16, dialled: bool) -> (Driver, ConnectionId) {
    let mut config: PeerConfig = holding(hold);
    if place == Place::Delaying {
        config.timers.delay_open = Some(Duration::from_secs(20));
    }
    let mut driver = Driver::new(config);
    let nothing = ConnectionId(999);
    if place == Place::Disabled {
        return (driver, nothing);
    }
    driver.give(Input::Start);
    let connection = match place {
        Place::Active | Place::Connect => driver.dial(),
        _ if dialled => driver.open_sent_or_delaying(),
        _ => driver.accept().0,
    };
    match place {
        Place::Pausing => {
            driver.notification(connection, 2, 2);
        }
        Place::Active => {
            driver.give(Input::DialFailed {
                connection,
                error: DialError::Refused,
            });
        }
        Place::OpenConfirm | Place::Established | Place::Called | Place::Calling => {
            driver.open(connection);
        }
        Place::Disabled | Place::Connect | Place::Delaying | Place::OpenSent => {}
    }
    if matches!(place, Place::Established | Place::Called | Place::Calling) {
        driver.keepalive(connection);
    }
    if matches!(place, Place::Called | Place::Calling) {
        driver.now = driver.now + Duration::from_millis(1_500);
        let (call, _) = driver.accept();
        driver.open(call);
        if place == Place::Calling {
            return (driver, call);
        }
    }
    (driver, connection)
}

fn event(driver: &mut Driver, connection: ConnectionId, event: &str) -> Vec<Output> {
    let notification = |text: &str| {
        let (code, subcode) = text.split_once('/').unwrap();
        (code.parse::<u8>().unwrap(), subcode.parse::<u8>().unwrap())
    };
    match event {
        "Start" => driver.give(Input::Start),
        "Stop, shutdown \"bye\"" => {
            driver.give(Input::Stop(StopReason::AdminShutdown("bye".into())))
        }
        "Stop, deconfigured" => driver.give(Input::Stop(StopReason::Deconfigured)),
        "Stop, quiet" => driver.give(Input::Stop(StopReason::Quiet)),
        "Reset" => driver.give(Input::Reset),
        "ConfigurationChange" => driver.give(Input::ConfigurationChange),
        "PrefixLimit" => driver.give(Input::PrefixLimit(EXCEEDED)),
        "FarEndDown" => driver.give(Input::FarEndDown),
        "Connected" => driver.give(Input::Connected { connection }),
        "DialFailed" => driver.give(Input::DialFailed {
            connection,
            error: DialError::Unreachable,
        }),
        "Accepted, another" => driver.accept().1,
        "Closed" => driver.give(Input::Closed {
            connection,
            error: None,
        }),
        "OPEN" => driver.open(connection),
        "OPEN, hold 0" => driver.open_with(connection, |theirs| {
            theirs.timers.hold_time = dunlin::session::HoldTime::Disabled;
        }),
        "OPEN, another AS" => driver.open_with(connection, |theirs| {
            theirs.local_asn = dunlin::net::Asn(64999)
        }),
        "OPEN, version 3" => {
            let open: Open = crate::session_harness::mirrored(driver.peer.config()).open();
            let mut open = body(&open.encode());
            open[0] = 3;
            driver.message(connection, MessageKind::Open, &open)
        }
        "KEEPALIVE" => driver.keepalive(connection),
        "UPDATE" => driver.message(connection, MessageKind::Update, &[0, 0, 0, 0]),
        "ROUTE-REFRESH" => driver.message(connection, MessageKind::RouteRefresh, &[0, 1, 0, 1]),
        "BadHeader, marker" => driver.give(Input::BadHeader {
            connection,
            error: HeaderError::Marker,
        }),
        "UpdateFailed 3/1" => {
            let notification = Notification::new(3, 1, Vec::new());
            driver.give(Input::UpdateFailed {
                connection,
                notification,
            })
        }
        "Sent" => driver.give(Input::Sent { connection }),
        "SendBlocked" => driver.give(Input::SendBlocked { connection }),
        "Acknowledged" => driver.give(Input::Acknowledged { connection }),
        "next deadline" => driver.next_timer().unwrap_or_default(),
        other => {
            let (code, subcode) = notification(other.strip_prefix("NOTIFICATION ").unwrap());
            driver.notification(connection, code, subcode)
        }
    }
}

fn outcome(place: Place, hold: u16, dialled: bool, name: &str) -> String {
    let (mut driver, connection) = arrive(place, hold, dialled);
    let before = driver.peer.state();
    let out = event(&mut driver, connection, name);
    let mut text: Vec<String> = out.iter().map(words).collect();
    if text.is_empty() {
        text.push("-".into());
    }
    let after = driver.peer.state();
    let state = if before == after {
        String::new()
    } else {
        format!(" => {after:?}")
    };
    let timer = driver
        .peer
        .next_timeout()
        .map_or("no deadline".into(), |(_, t)| t.to_string());
    format!("{}{state} [{timer}]", text.join(", "))
}

fn table() -> String {
    let mut text = String::from(
        "What a peer does in each state on each event.\n\
         hold: our hold time; the peer proposes the same. dialled/accepted: who began the connection.\n\
         After the event: outputs => new state [earliest deadline]\n",
    );
    for (place, title) in PLACES {
        writeln!(text, "\n== {title}").unwrap();
        for name in EVENTS {
            let mut variants: Vec<(String, Vec<String>)> = Vec::new();
            for dialled in [true, false] {
                for hold in [0, 3, 90] {
                    let result = outcome(place, hold, dialled, name);
                    let who = if dialled { "dialled" } else { "accepted" };
                    let variant = format!("{who} hold {hold}");
                    match variants.iter_mut().find(|(known, _)| *known == result) {
                        Some((_, names)) => names.push(variant),
                        None => variants.push((result, vec![variant])),
                    }
                }
            }
            match &variants[..] {
                [(result, _)] => writeln!(text, "{name:<22} {result}").unwrap(),
                several => {
                    writeln!(text, "{name}").unwrap();
                    for (result, names) in several {
                        writeln!(text, "{:<22} {result}   <- {}", "", names.join(", ")).unwrap();
                    }
                }
            }
        }
    }
    text
}

#[test]
fn each_state_answers_each_event_as_the_reviewed_table_says() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/proto-fixtures/session/fsm-table.txt"
    );
    let table = table();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, &table).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap();
    for (line, (is, should)) in table.lines().zip(golden.lines()).enumerate() {
        assert_eq!(is, should, "line {} of {path}", line + 1);
    }
    assert_eq!(table.lines().count(), golden.lines().count());
}

#[test]
fn a_message_out_of_order_gets_the_subcode_of_its_state_and_its_type() {
    for (place, subcode) in [
        (Place::OpenSent, 1),
        (Place::OpenConfirm, 2),
        (Place::Established, 3),
    ] {
        for (kind, ok) in [
            (MessageKind::Open, place == Place::OpenSent),
            (MessageKind::Update, place == Place::Established),
            (MessageKind::Keepalive, place != Place::OpenSent),
            (MessageKind::RouteRefresh, place == Place::Established),
        ] {
            if ok {
                continue;
            }
            let (mut driver, connection) = arrive(place, 90, true);
            let out = driver.message(connection, kind, &[0, 1, 0, 1]);
            let expected = Notification::new(5, subcode, vec![kind.code()]).encode();
            assert!(
                matches!(&out[0], Output::Send { bytes, .. } if **bytes == *expected),
                "{place:?} {kind}: {out:?}"
            );
            assert!(matches!(out[1], Output::Close { .. }));
            assert_eq!(driver.peer.state(), State::Idle);
        }
    }
}
