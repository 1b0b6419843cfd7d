//! How long a session waits: for OPEN, for a sign of life, for its own bytes to leave.

use dunlin::session::{CloseReason, Dial, Input, Output, Peer, State};
use dunlin::time::Duration;
use dunlin::wire::frame::MessageKind;

use crate::session_harness::{Driver, config, holding, is_keepalive, notifications, words};

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn down(out: &[Output]) -> Option<&CloseReason> {
    out.iter().find_map(|output| match output {
        Output::Down { reason, .. } => Some(reason),
        _ => None,
    })
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
fn a_configured_keepalive_is_taken_up_to_a_third_of_the_hold_time() {
    use dunlin::net::{Asn, RouterId};
    use dunlin::session::PeerConfig;
    use dunlin::session::negotiate::negotiate;
    use dunlin::time::Duration;
    let side = |address: &str, id: u32| {
        let asn = Asn(65001);
        PeerConfig::new(address.parse().unwrap(), asn, Some(asn), RouterId(id))
    };
    let (mut ours, theirs) = (side("10.0.0.2", 1), side("10.0.0.1", 2));
    for (configured, taken) in [(None, 30), (Some(5), 5), (Some(60), 30)] {
        ours.timers.keepalive = configured.map(Duration::from_secs);
        let agreed = negotiate(&ours.open(), &theirs.open(), &ours).unwrap();
        assert_eq!(agreed.keepalive, Some(Duration::from_secs(taken)));
    }
}

#[test]
fn an_update_taken_the_short_way_counts_and_restarts_the_hold_timer_as_any_other() {
    let mut drivers = [(); 2].map(|()| Driver::started(holding(9)));
    let connections = drivers.each_mut().map(Driver::established);
    let [long, short] = &mut drivers;
    let [one, other] = connections;
    for driver in [&mut *long, &mut *short] {
        driver.now = driver.now + secs(2);
    }
    long.message(one, MessageKind::Update, &[0, 0, 0, 0]);
    assert!(short.peer.take_update(short.now, other));
    assert_eq!(long.peer.next_timeout(), short.peer.next_timeout());
    assert_eq!(long.peer.counters(), short.peer.counters());
    short.run(secs(60));
    assert_eq!(short.peer.established(), None);
    assert!(!short.peer.take_update(short.now, other), "nothing is up");
}

#[test]
fn a_queue_that_moves_the_short_way_sets_and_stops_the_send_hold_timer_as_any_other() {
    let mut drivers = [(); 2].map(|()| Driver::started(holding(9)));
    let connections = drivers.each_mut().map(Driver::established);
    let [long, short] = &mut drivers;
    let [one, other] = connections;
    for moved in [[false, true], [true, true], [true, false], [false, true]] {
        let [sent, blocked] = moved;
        for driver in [&mut *long, &mut *short] {
            driver.now = driver.now + Duration::from_millis(700);
        }
        if sent {
            long.give(Input::Sent { connection: one });
        }
        if blocked {
            long.give(Input::SendBlocked { connection: one });
        }
        short.peer.queue_moved(short.now, other, moved);
        for (driver, connection) in [(&mut *long, one), (&mut *short, other)] {
            driver.keepalive(connection);
        }
        assert_eq!(long.peer.next_timeout(), short.peer.next_timeout());
    }
    for (driver, connection) in [(long, one), (short, other)] {
        let reason = (0..100).find_map(|_| {
            driver.keepalive(connection);
            down(&driver.run(secs(8))).cloned()
        });
        assert!(reason.is_some(), "the peer takes nothing");
    }
}

#[test]
fn keepalives_that_are_far_apart_go_out_on_a_beat_that_all_peers_share_and_within_the_jitter() {
    let mut driver = Driver::started(holding(90));
    driver.now = driver.now + Duration::from_micros(123_456);
    let connection = driver.established();
    let mut before = driver.now;
    let (mut sent, mut offsets) = (0, Vec::new());
    while sent < 50 {
        driver.keepalive(connection);
        let out = driver.next_timer().unwrap();
        if !out.iter().any(is_keepalive) {
            continue;
        }
        sent += 1;
        assert_eq!(driver.now.as_micros() % 250_000, 0);
        let apart = driver.now - before;
        if sent > 1 {
            assert!(
                (Duration::from_millis(22_500)..=secs(30)).contains(&apart),
                "{apart:?}"
            );
            offsets.push(apart);
        }
        before = driver.now;
    }
    offsets.sort_unstable();
    offsets.dedup();
    assert!(offsets.len() > 10, "they are jittered: {offsets:?}");
}
