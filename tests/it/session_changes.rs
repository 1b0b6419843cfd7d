//! What ends or changes a session: knocks, restarts, operators, reconfiguration.

use dunlin::net::Asn;
use dunlin::session::{
    AdminReason, CloseReason, ConnectionId, Dial, DialError, GracefulRestart, HoldTime, Input,
    Output, Peer, PeerConfig, Reconfigured, State, StopReason,
};
use dunlin::time::{Duration, Instant};
use dunlin::wire::frame::MessageKind;
use dunlin::wire::notification::Notification;

use crate::session_harness::{Driver, EXCEEDED, config, holding, notifications, words};

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn dials(out: &[Output]) -> usize {
    out.iter()
        .filter(|output| matches!(output, Output::Dial { .. }))
        .count()
}

fn restartable(notification: bool) -> PeerConfig {
    let mut config = config();
    let families = [Some(true), None];
    config.offer.graceful_restart = Some(GracefulRestart {
        time: 120,
        families,
        restarting: false,
        notification,
        long_lived: 0,
    });
    config
}

fn down(out: &[Output]) -> Option<&CloseReason> {
    out.iter().find_map(|output| match output {
        Output::Down { reason, .. } => Some(reason),
        _ => None,
    })
}

#[test]
fn an_impostor_with_a_bad_open_does_not_end_the_established_session() {
    let mut driver = Driver::started(restartable(false));
    let old = driver.established();
    let (new, _) = driver.accept();
    let out = driver.open_with(new, |theirs| theirs.local_asn = Asn(65000));
    assert_eq!(notifications(&out), [(2, 2)]);
    assert_eq!(driver.peer.established().unwrap().0, old);
}

#[test]
fn stopping_says_why_and_with_the_n_bit_it_says_it_hard() {
    let shutdown = || StopReason::AdminShutdown("disk swap".into());
    let cases = [
        (
            restartable(false),
            shutdown(),
            Notification::administrative_shutdown("disk swap"),
        ),
        (
            restartable(true),
            shutdown(),
            Notification::administrative_shutdown("disk swap").into_hard_reset(),
        ),
        (
            restartable(false),
            StopReason::Deconfigured,
            Notification::cease(3),
        ),
        (
            restartable(true),
            StopReason::Deconfigured,
            Notification::cease(3).into_hard_reset(),
        ),
        (
            config(),
            StopReason::PrefixLimit(EXCEEDED),
            Notification::cease(1),
        ),
    ];
    for (config, stop, expected) in cases {
        let mut driver = Driver::started(config);
        let connection = driver.established();
        let out = driver.give(Input::Stop(stop));
        assert_eq!(
            out[0],
            Output::Send {
                connection,
                bytes: expected.encode().into()
            }
        );
        assert_eq!(out[1], Output::Close { connection });
        assert_eq!(driver.peer.next_timeout(), None);
        assert_eq!(
            driver.accept().1.iter().map(words).collect::<Vec<_>>(),
            ["send 6/5", "close"]
        );
    }
}

#[test]
fn a_planned_restart_says_nothing() {
    let mut driver = Driver::started(restartable(true));
    let connection = driver.established();
    let out = driver.give(Input::Stop(StopReason::Quiet));
    assert_eq!(out[0], Output::Close { connection });
    assert_eq!(
        down(&out),
        Some(&CloseReason::Admin(AdminReason::Restarting))
    );
}

#[test]
fn a_reset_and_a_change_come_back_at_once_and_a_prefix_limit_does_not() {
    for (input, told) in [(Input::Reset, (6, 4)), (Input::ConfigurationChange, (6, 6))] {
        let mut driver = Driver::started(config());
        driver.established();
        let out = driver.give(input);
        assert_eq!(notifications(&out), [told]);
        assert_eq!(dials(&driver.run(Duration::from_millis(101))), 1);
    }
    let mut driver = Driver::started(config());
    for _ in 0..6 {
        driver.established();
        assert_eq!(
            notifications(&driver.give(Input::PrefixLimit(EXCEEDED))),
            [(6, 1)]
        );
    }
    driver.run(secs(10));
    let (_, out) = driver.accept();
    assert_eq!(
        notifications(&out),
        [(6, 5)],
        "the peer can't flood us by dialling, either"
    );
}

#[test]
fn which_ends_keep_routes_for_a_graceful_restart() {
    let negotiated = |config: PeerConfig| {
        let mut driver = Driver::started(config);
        driver.established();
        driver.peer.established().unwrap().1.as_ref().clone()
    };
    let (none, plain, both) = (
        negotiated(config()),
        negotiated(restartable(false)),
        negotiated(restartable(true)),
    );
    let received = |code, subcode| {
        CloseReason::ReceivedNotification(Notification::new(code, subcode, Vec::new()))
    };
    // (reason, kept with graceful restart, kept with the N bit on top)
    let cases = [
        (CloseReason::TransportLost(None), true, true),
        (CloseReason::Collision, true, true),
        (received(6, 7), true, true),
        (CloseReason::HoldTimerExpired, false, true),
        (CloseReason::SendHoldTimerExpired, false, true),
        (CloseReason::FarEndDown, false, false),
        (received(6, 4), false, true),
        (received(3, 1), false, true),
        (received(6, 9), false, false),
        (CloseReason::Admin(AdminReason::Reset), false, true),
        (
            CloseReason::Admin(AdminReason::ConfigurationChange),
            false,
            true,
        ),
        (CloseReason::Admin(AdminReason::Restarting), true, true),
        (
            CloseReason::Admin(AdminReason::Shutdown(String::new())),
            false,
            false,
        ),
        (CloseReason::Admin(AdminReason::Deconfigured), false, false),
        (
            CloseReason::Admin(AdminReason::PrefixLimit(EXCEEDED)),
            false,
            false,
        ),
        (CloseReason::FarEndDown, false, false),
    ];
    for (reason, with_restart, with_n) in cases {
        assert!(!reason.allows_restart(&none), "{reason}");
        assert_eq!(reason.allows_restart(&plain), with_restart, "{reason}");
        assert_eq!(reason.allows_restart(&both), with_n, "{reason}");
    }
}

#[test]
fn exactly_the_settings_that_open_carries_bounce_the_session() {
    type Edit = fn(&mut PeerConfig);
    let cases: [(Option<&str>, Edit); 26] = [
        (None, |_| {}),
        (None, |c| c.port = 1790),
        (None, |c| c.dial = Dial::Passive),
        (None, |c| c.dial = Dial::After(secs(9))),
        (None, |c| c.accept = false),
        (None, |c| c.timers.connect_retry = secs(2)),
        (None, |c| c.timers.idle_hold.most = secs(9)),
        (None, |c| c.timers.delay_open = Some(secs(9))),
        (None, |c| c.timers.open_wait = secs(9)),
        (None, |c| c.timers.send_hold = Some(secs(900))),
        (None, |c| c.remote_asn = None),
        (None, |c| c.required.route_refresh = true),
        (None, |c| c.required.min_hold_time = Some(secs(60))),
        (Some("remote-as"), |c| c.remote_asn = Some(Asn(65000))),
        (Some("required-capabilities"), |c| {
            c.required.extended_messages = true
        }),
        (Some("min-hold-time"), |c| {
            c.required.min_hold_time = Some(secs(100))
        }),
        (Some("address"), |c| c.remote = "10.0.0.3".parse().unwrap()),
        (Some("local-as"), |c| c.local_asn = Asn(65000)),
        (Some("router-id"), |c| {
            c.router_id = "10.0.0.9".parse().unwrap()
        }),
        (Some("hold-time"), |c| {
            c.timers.hold_time = HoldTime::Disabled
        }),
        (Some("families"), |c| c.offer.families = [true, true]),
        (Some("four-octet-as"), |c| c.offer.four_octet_as = false),
        (Some("extended-messages"), |c| {
            c.offer.extended_messages = true
        }),
        (Some("graceful-restart"), |c| {
            c.offer = restartable(false).offer
        }),
        (Some("add-path"), |c| c.offer.add_path[0].send = true),
        (Some("role"), |c| {
            c.offer.role = Some(dunlin::session::Role::Peer)
        }),
    ];
    for (number, (bounced, edit)) in cases.into_iter().enumerate() {
        let mut driver = Driver::started(config());
        driver.established();
        let mut new = config();
        edit(&mut new);
        let outcome = driver.peer.reconfigure(driver.now, new, &mut driver.out);
        let expected = bounced.map_or(Reconfigured::Kept, Reconfigured::Bounced);
        assert_eq!(outcome, expected, "case {number}");
        match bounced {
            None => assert_eq!(driver.out, [], "case {number}"),
            Some(_) => assert_eq!(notifications(&driver.out), [(6, 6)], "case {number}"),
        }
        assert_eq!(driver.peer.state() == State::Established, bounced.is_none());
    }
}

#[test]
fn the_end_of_our_own_restart_does_not_bounce_sessions() {
    let mut config = restartable(true);
    config.offer.graceful_restart.as_mut().unwrap().restarting = true;
    let mut driver = Driver::started(config);
    driver.established();
    let outcome = driver
        .peer
        .reconfigure(driver.now, restartable(true), &mut driver.out);
    assert_eq!((outcome, driver.out.len()), (Reconfigured::Kept, 0));
}

#[test]
fn a_repaired_configuration_is_tried_at_once_and_not_after_the_pause() {
    let mut driver = Driver::started(config());
    for _ in 0..8 {
        let connection = driver.open_sent();
        driver.notification(connection, 2, 2);
    }
    let mut new = config();
    new.local_asn = Asn(64000);
    driver.peer.reconfigure(driver.now, new, &mut driver.out);
    assert_eq!(dials(&driver.run(Duration::from_millis(101))), 1);
}

#[test]
fn the_last_real_error_outlives_collisions_and_failed_dials() {
    let mut driver = Driver::started(holding(9));
    driver.established();
    while driver.peer.state() == State::Established {
        driver.next_timer();
    }
    let connection = driver.dial();
    driver.give(Input::DialFailed {
        connection,
        error: DialError::Unreachable,
    });
    let connection = driver.open_sent();
    driver.notification(connection, 6, 7);
    let error = driver.peer.last_error().unwrap();
    assert_eq!(error.reason, CloseReason::HoldTimerExpired);
    let text = error.to_string();
    assert!(text.contains("hold time") && text.contains("since then, 10.0.0.2 is unreachable"));
    assert!(text.contains("ip route get 10.0.0.2"), "{text}");
}

#[test]
fn counters_count_messages_and_changes_of_state() {
    let mut driver = Driver::started(holding(90));
    let connection = driver.established();
    driver.message(connection, MessageKind::Update, &[0, 0, 0, 0]);
    driver.peer.count_sent(MessageKind::Update, 3);
    let counters = driver.peer.counters();
    assert_eq!(counters.received(MessageKind::Open), 1);
    assert_eq!(counters.received(MessageKind::Update), 1);
    assert_eq!(counters.received(MessageKind::Keepalive), 1);
    assert_eq!(counters.sent(MessageKind::Open), 1);
    assert_eq!(counters.sent(MessageKind::Update), 3);
    assert_eq!(counters.sent(MessageKind::Keepalive), 1);
    // Idle, Active, Connect, OpenSent, OpenConfirm, Established.
    assert_eq!((counters.transitions, counters.established), (5, 1));
    assert_eq!(driver.peer.since(), driver.now);
}

#[test]
fn bytes_after_the_end_of_a_connection_are_not_handled() {
    let mut driver = Driver::started(config());
    let connection = driver.established();
    driver.notification(connection, 6, 2);
    let before = *driver.peer.counters();
    assert_eq!(
        driver.message(connection, MessageKind::Update, &[0, 0, 0, 0]),
        []
    );
    assert_eq!(driver.peer.counters(), &before);
}

#[test]
fn a_thousand_idle_peers_are_small() {
    assert!(size_of::<Peer>() <= 256, "{}", size_of::<Peer>());
    assert!(size_of::<ConnectionId>() == 8 && size_of::<Instant>() == 8);
}
