//! What happens to one peer over time: dialling, back-off, hold times, restarts, reconfiguration.

use dunlin::net::Asn;
use dunlin::session::{
    AdminReason, CloseReason, ConnectionId, Dial, DialError, GracefulRestart, HoldTime, Input,
    Output, Peer, PeerConfig, Reconfigured, State, StopReason, Timer,
};
use dunlin::time::{Duration, Instant};
use dunlin::wire::frame::MessageKind;
use dunlin::wire::notification::Notification;

use crate::session_harness::{
    Driver, config, dialled, holding, is_keepalive, notifications, words,
};

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

#[test]
fn without_a_hold_time_one_keepalive_goes_out_and_nothing_ever_expires() {
    let mut driver = Driver::started(holding(0));
    let connection = driver.open_sent();
    let out = driver.open(connection);
    assert_eq!(out.iter().filter(|o| is_keepalive(o)).count(), 1);
    driver.keepalive(connection);
    driver.give(Input::SendBlocked { connection });
    assert_eq!(driver.peer.next_timeout(), None);
    assert_eq!(driver.run(secs(86_400)), []);
    assert_eq!(driver.peer.state(), State::Established);
}

#[test]
fn hold_3_lives_through_a_minute_of_updates_with_a_keepalive_a_second() {
    let mut driver = Driver::started(holding(3));
    let connection = driver.established();
    let mut keepalives = Vec::new();
    for step in 0..6_000_u32 {
        driver.now = driver.now + Duration::from_millis(10);
        // The peer is so busy that UPDATEs are all it sends.
        if step % 200 == 0 {
            let out = driver.message(connection, MessageKind::Update, &[0, 0, 0, 0]);
            assert_eq!(out, [Output::Update { connection }]);
        }
        let out = driver.run(Duration::ZERO);
        keepalives.extend(out.iter().filter(|o| is_keepalive(o)).map(|_| driver.now));
    }
    assert_eq!(driver.peer.state(), State::Established);
    assert!(
        (58..=60).contains(&keepalives.len()),
        "{}",
        keepalives.len()
    );
    assert!(keepalives.windows(2).all(|w| w[1] - w[0] >= secs(1)));
    driver.run(secs(4));
    assert_eq!(
        driver.peer.established(),
        None,
        "and without any message it ends"
    );
}

#[test]
fn a_silent_peer_gets_4_0_exactly_at_the_hold_time() {
    for seed in 0..50 {
        let mut driver = Driver::started(holding(9));
        driver.peer = Peer::new(holding(9), seed);
        driver.give(Input::Start);
        driver.established();
        let begin = driver.now;
        let out = loop {
            let out = driver.next_timer().unwrap();
            if !notifications(&out).is_empty() {
                break out;
            }
        };
        assert_eq!(driver.now - begin, secs(9), "never jittered");
        assert_eq!(notifications(&out), [(4, 0)]);
        assert_eq!(down(&out), Some(&CloseReason::HoldTimerExpired));
    }
}

#[test]
fn what_has_already_arrived_counts_before_the_deadline_is_judged() {
    let mut driver = Driver::started(holding(3));
    let connection = driver.established();
    // We were busy for ten seconds; the peer's KEEPALIVE lies in the receive queue.
    driver.now = driver.now + secs(10);
    driver.keepalive(connection);
    let out = driver.run(Duration::ZERO);
    assert!(out.iter().all(is_keepalive), "{out:?}");
    assert_eq!(driver.peer.state(), State::Established);
}

#[test]
fn a_suspended_machine_loses_its_session_and_gets_it_back_by_itself() {
    let mut driver = Driver::started(holding(90));
    driver.established();
    driver.now = driver.now + secs(3_600);
    let out = driver.next_timer().unwrap();
    assert_eq!(notifications(&out), [(4, 0)]);
    assert_eq!(driver.peer.state(), State::Idle);
    driver.established();
}

#[test]
fn a_route_refresh_restarts_the_hold_timer_and_an_unannounced_one_is_a_bad_type() {
    let mut driver = Driver::started(holding(3));
    let connection = driver.established();
    for _ in 0..5 {
        driver.run(secs(2));
        let out = driver.message(connection, MessageKind::RouteRefresh, &[0, 1, 0, 1]);
        assert!(matches!(out[..], [Output::RouteRefresh { .. }]));
    }
    let mut config = config();
    config.offer.route_refresh = false;
    let mut driver = Driver::started(config);
    let connection = driver.established();
    let out = driver.message(connection, MessageKind::RouteRefresh, &[0, 1, 0, 1]);
    assert_eq!(words(&out[0]), "send 1/3 [05]");
}

#[test]
fn a_dialled_connection_waits_240_s_for_open_and_an_accepted_one_60_s() {
    let mut driver = Driver::started(config());
    driver.open_sent();
    let begin = driver.now;
    let out = driver.next_timer().unwrap();
    assert_eq!(
        (driver.now - begin, notifications(&out)),
        (secs(240), vec![(4, 0)])
    );

    let mut config = config();
    config.dial = Dial::Passive;
    let mut driver = Driver::started(config);
    driver.accept();
    let begin = driver.now;
    let out = driver.next_timer().unwrap();
    assert_eq!(
        (driver.now - begin, notifications(&out)),
        (secs(60), vec![(4, 0)])
    );
    assert_eq!(
        driver.peer.last_error().unwrap().reason,
        CloseReason::NoOpen
    );
}

#[test]
fn half_open_callers_from_one_address_are_never_more_than_one() {
    let mut driver = Driver::started(config());
    let mut open = Vec::new();
    for _ in 0..1_000 {
        let (connection, out) = driver.accept();
        open.push(connection);
        for output in out {
            if let Output::Close { connection } = output {
                open.retain(|id| *id != connection);
            }
        }
        assert_eq!(open.len(), 1);
    }
}

#[test]
fn a_peer_that_reads_nothing_is_dropped_by_the_send_hold_timer_and_told_8_0() {
    let mut driver = Driver::started(holding(90));
    let connection = driver.established();
    driver.give(Input::SendBlocked { connection });
    let begin = driver.now;
    let out = loop {
        driver.keepalive(connection);
        let out = driver.run(secs(1));
        driver.give(Input::SendBlocked { connection });
        if down(&out).is_some() {
            break out;
        }
    };
    assert_eq!(driver.now - begin, secs(8 * 60));
    assert_eq!(notifications(&out), [(8, 0)]);
    assert!(
        out.contains(&Output::Abort { connection }),
        "nothing could be flushed"
    );
    assert_eq!(down(&out), Some(&CloseReason::SendHoldTimerExpired));
}

#[test]
fn any_byte_that_leaves_starts_the_send_hold_timer_anew() {
    let mut driver = Driver::started(holding(90));
    let connection = driver.established();
    for _ in 0..20 {
        driver.give(Input::SendBlocked { connection });
        for _ in 0..400 {
            driver.keepalive(connection);
            driver.run(secs(1));
        }
        driver.give(Input::Sent { connection });
    }
    assert_eq!(driver.peer.state(), State::Established);
}

#[test]
fn delay_open_sends_nothing_until_its_end_or_the_peers_open() {
    let mut delayed = config();
    delayed.timers.delay_open = Some(secs(20));
    let mut driver = Driver::started(delayed.clone());
    let connection = driver.dial();
    assert_eq!(driver.give(Input::Connected { connection }), []);
    assert_eq!(driver.peer.state(), State::Connect);
    let begin = driver.now;
    let out = driver.next_timer().unwrap();
    assert_eq!(words(&out[0]), "send OPEN");
    assert_eq!(driver.now - begin, secs(20));

    let mut driver = Driver::started(delayed);
    let connection = driver.dial();
    driver.give(Input::Connected { connection });
    let out: Vec<_> = driver.open(connection).iter().map(words).collect();
    assert_eq!(out, ["send OPEN", "send KEEPALIVE"]);
    assert_eq!(driver.peer.state(), State::OpenConfirm);
}

#[test]
fn a_knock_while_established_is_refused_and_makes_the_old_session_prove_itself() {
    let mut driver = Driver::started(holding(90));
    let connection = driver.established();
    driver.run(secs(10));
    driver.keepalive(connection);
    let (_, out) = driver.accept();
    assert_eq!(
        out.iter().filter(|o| is_keepalive(o)).count(),
        1,
        "a reset would come back"
    );
    assert_eq!(notifications(&out), [(6, 7)]);
    let (_, out) = driver.accept();
    assert_eq!(
        out.iter().filter(|o| is_keepalive(o)).count(),
        0,
        "not twice a second"
    );
    assert_eq!(driver.peer.state(), State::Established);
}

#[test]
fn a_restarted_peer_with_graceful_restart_replaces_its_dead_session_at_once() {
    let mut driver = Driver::started(restartable(false));
    let old = driver.established();
    let (new, out) = driver.accept();
    assert!(out.iter().any(|o| words(o) == "send OPEN"));
    assert_eq!(
        driver.peer.state(),
        State::Established,
        "TCP alone proves nothing"
    );
    let out = driver.open(new);
    assert_eq!(out[0], Output::Abort { connection: old });
    assert!(
        matches!(&out[1], Output::Down { connection, reason: CloseReason::TransportLost(_) }
        if *connection == old)
    );
    assert!(notifications(&out).is_empty());
    let out = driver.keepalive(new);
    assert!(matches!(out[0], Output::Up { connection, .. } if connection == new));
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
        assert_eq!(notifications(&driver.give(Input::PrefixLimit)), [(6, 1)]);
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
        (CloseReason::Admin(AdminReason::PrefixLimit), false, false),
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
