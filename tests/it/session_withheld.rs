//! Peers that refuse an OPEN for its capabilities are tried again without them (RFC 5492 §3).

use dunlin::net::{Asn, Family};
use dunlin::session::{
    AddPath, ConnectionId, GracefulRestart, Input, Offer, Output, PeerConfig, State,
};
use dunlin::time::Duration;
use dunlin::wire::capability::Capability;
use dunlin::wire::frame::{MessageKind, messages};
use dunlin::wire::notification::Notification;
use dunlin::wire::open::Open;

use crate::session_harness::{Driver, body, config, dialled};

/// A configuration that offers all that there is.
fn rich() -> PeerConfig {
    let mut config = config();
    let both = AddPath {
        send: true,
        receive: true,
    };
    config.offer = Offer {
        families: [true, true],
        extended_messages: true,
        extended_next_hop: true,
        add_path: [both; 2],
        graceful_restart: Some(GracefulRestart {
            time: 120,
            families: [Some(true); 2],
            restarting: false,
            notification: true,
            long_lived: 60,
        }),
        ..config.offer
    };
    config
}

/// The next call, and the OPEN that it brings.
fn next_open(driver: &mut Driver) -> (ConnectionId, Open) {
    let connection = driver.dial();
    let out = driver.give(Input::Connected { connection });
    let open = out.iter().find_map(|output| match output {
        Output::Send { bytes, .. } => {
            let (kind, _) = messages(bytes).next().unwrap();
            (kind == MessageKind::Open).then(|| Open::decode(&body(bytes)).unwrap())
        }
        _ => None,
    });
    (connection, open.unwrap())
}

fn refuse(driver: &mut Driver, connection: ConnectionId, subcode: u8, data: &[u8]) -> Vec<Output> {
    let message = Notification::new(2, subcode, data.to_vec()).encode();
    driver.message(connection, MessageKind::Notification, &body(&message))
}

fn codes(open: &Open) -> Vec<u8> {
    open.capabilities.iter().map(Capability::code).collect()
}

#[test]
fn without_the_parameter_after_2_4_and_after_2_7_that_names_nothing() {
    for (subcode, data) in [
        (4, &[][..]),
        (4, &[2, 6, 1, 4, 0, 1, 0, 1][..]),
        (7, &[][..]),
        (7, &[9][..]),
    ] {
        let mut driver = Driver::started(rich());
        let (connection, open) = next_open(&mut driver);
        assert!(open.capabilities.len() > 7);
        refuse(&mut driver, connection, subcode, data);
        let begin = driver.now;
        let (connection, open) = next_open(&mut driver);
        assert!(driver.now - begin < Duration::from_secs(1), "at once");
        assert_eq!(open.capabilities, [], "2/{subcode}");
        // The peer has none, either: IPv4 and nothing else.
        driver.open_with(connection, |theirs| theirs.offer = Offer::bare());
        driver.keepalive(connection);
        let (_, agreed) = driver.peer.established().unwrap();
        assert_eq!(agreed.families, [true, false]);
        assert!(
            !agreed.four_octet_as && !agreed.route_refresh && agreed.graceful_restart.is_none()
        );
        assert!(driver.peer.withheld().len() > 7);
    }
}

#[test]
fn what_the_peer_has_all_the_same_is_not_used() {
    let mut driver = Driver::started(rich());
    let (connection, _) = next_open(&mut driver);
    refuse(&mut driver, connection, 4, &[]);
    let (connection, _) = next_open(&mut driver);
    driver.open_with(connection, |theirs| theirs.offer = rich().offer);
    driver.keepalive(connection);
    let (_, agreed) = driver.peer.established().unwrap();
    assert_eq!(
        (agreed.families, agreed.four_octet_as),
        ([true, false], false)
    );
    assert!(!agreed.enhanced_refresh && agreed.add_path == [AddPath::default(); 2]);
}

#[test]
fn after_2_7_only_without_what_it_names() {
    let offered = rich().offer;
    let all = rich().open().capabilities;
    for capability in &all {
        let mut data = Vec::new();
        capability.encode(&mut data);
        let mut driver = Driver::started(rich());
        let (connection, first) = next_open(&mut driver);
        assert_eq!(first.capabilities, all);
        refuse(&mut driver, connection, 7, &data);
        let (_, second) = next_open(&mut driver);
        let named = |other: &&Capability| match (capability, other) {
            // What is named with values of the peer's own is the same capability.
            (Capability::Multiprotocol(_), Capability::Multiprotocol(_)) => capability == *other,
            // A family that is not offered is in no other capability.
            _ => capability.code() == other.code(),
        };
        let left: Vec<u8> = all
            .iter()
            .filter(|one| !named(one))
            .map(Capability::code)
            .collect();
        let expected = match capability {
            // Long-lived graceful restart needs the ordinary one.
            Capability::GracefulRestart { .. } => {
                left.into_iter().filter(|code| *code != 71).collect()
            }
            _ => left,
        };
        assert_eq!(codes(&second), expected, "{capability:?}");
        assert!(
            driver.peer.withheld().contains(capability),
            "{capability:?}"
        );
    }
    assert_eq!(offered, rich().offer);
}

#[test]
fn several_refusals_leave_less_each_time_and_come_to_an_end() {
    let mut driver = Driver::started(rich());
    let mut last = usize::MAX;
    loop {
        let (connection, open) = next_open(&mut driver);
        let Some(first) = open.capabilities.first() else {
            // Nothing is left to leave out: from here on the pauses grow.
            refuse(&mut driver, connection, 7, &[]);
            assert_eq!(driver.peer.state(), State::Idle);
            break;
        };
        assert!(open.capabilities.len() < last);
        last = open.capabilities.len();
        let mut data = Vec::new();
        first.encode(&mut data);
        refuse(&mut driver, connection, 7, &data);
    }
    let text = driver.peer.last_error().unwrap().to_string();
    assert!(text.contains("(2/7)"), "{text}");
}

#[test]
fn what_the_peer_misses_and_a_family_that_needs_them_change_nothing() {
    // It wants a role of us, which we have not offered.
    let mut driver = Driver::started(rich());
    let (connection, first) = next_open(&mut driver);
    refuse(&mut driver, connection, 7, &[9, 1, 0]);
    assert_eq!(driver.peer.state(), State::Idle, "a pause");
    assert_eq!(next_open(&mut driver).1, first);
    // IPv6 alone can't be had without capabilities.
    let mut only_v6 = rich();
    only_v6.offer.families = [false, true];
    let mut driver = Driver::started(only_v6);
    let (connection, first) = next_open(&mut driver);
    refuse(&mut driver, connection, 4, &[]);
    assert_eq!(next_open(&mut driver).1, first);
    // Other refusals of an OPEN are about something else.
    for subcode in [2, 3, 5, 6, 8, 11] {
        let mut driver = Driver::started(rich());
        let (connection, first) = next_open(&mut driver);
        refuse(&mut driver, connection, subcode, &[]);
        assert_eq!(next_open(&mut driver).1, first, "2/{subcode}");
    }
}

#[test]
fn all_is_offered_again_after_a_session_a_change_and_an_order() {
    let reduced = || {
        let mut driver = Driver::started(rich());
        let (connection, first) = next_open(&mut driver);
        refuse(&mut driver, connection, 4, &[]);
        (driver, first)
    };
    let (mut driver, first) = reduced();
    let (connection, _) = next_open(&mut driver);
    driver.open_with(connection, |theirs| theirs.offer = Offer::bare());
    driver.keepalive(connection);
    driver.give(Input::Closed {
        connection,
        error: None,
    });
    assert_eq!(next_open(&mut driver).1, first);

    let (mut driver, first) = reduced();
    driver.give(Input::Reset);
    assert_eq!(next_open(&mut driver).1, first);

    let (mut driver, _) = reduced();
    let mut other = rich();
    other.offer.families = [true, false];
    driver.peer.reconfigure(driver.now, other, &mut driver.out);
    assert!(!next_open(&mut driver).1.capabilities.is_empty());
}

#[test]
fn a_change_that_open_does_not_carry_keeps_the_session_and_what_it_lacks() {
    let mut driver = Driver::started(rich());
    let (connection, _) = next_open(&mut driver);
    refuse(&mut driver, connection, 4, &[]);
    let (connection, _) = next_open(&mut driver);
    driver.open_with(connection, |theirs| theirs.offer = Offer::bare());
    driver.keepalive(connection);
    let mut other = rich();
    other.timers.connect_retry = Duration::from_secs(7);
    driver.peer.reconfigure(driver.now, other, &mut driver.out);
    assert_eq!(driver.peer.state(), State::Established);
    assert!(!driver.peer.withheld().is_empty());
}

#[test]
fn a_connection_with_the_fuller_open_does_not_come_up_afterwards() {
    let mut driver = Driver::started(rich());
    let (ours, _) = next_open(&mut driver);
    let (theirs, _) = driver.accept();
    let out = refuse(&mut driver, ours, 4, &[]);
    assert!(
        out.contains(&Output::Close { connection: theirs }),
        "{out:?}"
    );
    let out = driver.open_with(theirs, |theirs| theirs.offer = rich().offer);
    assert_eq!(out, [], "it is forgotten");
    assert!(dialled(&driver.run(Duration::from_millis(200))).is_some());
}

#[test]
fn a_peer_that_calls_gets_the_smaller_open_too() {
    let mut passive = rich();
    passive.dial = dunlin::session::Dial::Passive;
    let mut driver = Driver::started(passive);
    let (connection, _) = driver.accept();
    refuse(&mut driver, connection, 7, &[]);
    let (connection, out) = driver.accept();
    let Output::Send { bytes, .. } = &out[0] else {
        panic!("{out:?}");
    };
    assert_eq!(Open::decode(&body(bytes)).unwrap().capabilities, []);
    assert_ne!(connection, ConnectionId(0));
}

#[test]
fn two_octets_are_what_a_wide_as_number_is_shown_in() {
    let mut wide = rich();
    wide.local_asn = Asn(4_200_000_001);
    let mut driver = Driver::started(wide);
    let (connection, _) = next_open(&mut driver);
    refuse(&mut driver, connection, 4, &[]);
    assert_eq!(next_open(&mut driver).1.my_as, 23_456);
    let offer = Offer::bare();
    assert!(offer.offers(Family::Ipv4) && !offer.offers(Family::Ipv6));
}
