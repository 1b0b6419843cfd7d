//! Two peers and the network between them: whatever the order of events, they come up and stay up.

use dunlin::session::{Dial, Input, PeerConfig, StopReason};
use dunlin::time::{Duration, Instant};

use crate::session_harness::{Pair, holding, mirrored};

const START: Instant = Instant::from_secs(1_000);

fn pair(seed: u64, edit: impl Fn(&mut PeerConfig, &mut PeerConfig)) -> Pair {
    let mut ours = holding(90);
    let mut theirs = mirrored(&ours);
    edit(&mut ours, &mut theirs);
    // Either end may be the one with the higher identifier.
    if seed.is_multiple_of(2) {
        std::mem::swap(&mut ours.router_id, &mut theirs.router_id);
    }
    let mut pair = Pair::new(ours, theirs, seed);
    pair.input(0, Input::Start);
    pair.input(1, Input::Start);
    pair
}

/// Runs until both are up, then on; gives how long it took.
fn comes_up_and_stays(pair: &mut Pair, limit: Duration) -> Duration {
    pair.run(START + limit, Pair::both_up);
    let took = pair.now - START;
    assert!(pair.both_up(), "not up after {took:?}: {:?}", pair.log);
    let ups = pair.log.len();
    pair.run(pair.now + Duration::from_secs(600), |_| false);
    assert!(pair.both_up(), "{:?}", pair.log);
    assert_eq!(
        pair.log.len(),
        ups,
        "nothing happens once both are up: {:?}",
        pair.log
    );
    took
}

#[test]
fn a_thousand_simultaneous_opens_all_come_up_without_a_lost_session() {
    let mut lost = 0;
    for seed in 0..1_000 {
        let mut pair = pair(seed, |_, _| {});
        pair.latency = Duration::from_millis(1 + seed % 200);
        // Two connect intervals (E.4 86).
        comes_up_and_stays(&mut pair, Duration::from_secs(10));
        lost += pair
            .log
            .iter()
            .filter(|(_, _, text)| text.starts_with("DOWN"))
            .count();
    }
    assert_eq!(lost, 0, "no session came up only to lose a collision");
}

#[test]
fn with_equal_identifiers_the_higher_as_decides_and_they_come_up() {
    for seed in 0..200 {
        let mut pair = pair(seed, |ours, theirs| theirs.router_id = ours.router_id);
        comes_up_and_stays(&mut pair, Duration::from_secs(10));
    }
}

#[test]
fn with_delay_open_on_one_or_both_sides_they_come_up() {
    for seed in 0..200 {
        let mut pair = pair(seed, |ours, theirs| {
            ours.timers.delay_open = Some(Duration::from_millis(500));
            if seed.is_multiple_of(3) {
                theirs.timers.delay_open = Some(Duration::from_millis(500));
            }
        });
        comes_up_and_stays(&mut pair, Duration::from_secs(15));
    }
}

#[test]
fn with_graceful_restart_on_both_sides_collisions_still_end() {
    for seed in 0..200 {
        let mut pair = pair(seed, |ours, theirs| {
            let restart = dunlin::session::GracefulRestart {
                time: 120,
                families: [Some(true), None],
                restarting: false,
                notification: true,
                long_lived: 0,
            };
            ours.offer.graceful_restart = Some(restart);
            theirs.offer.graceful_restart = Some(restart);
        });
        comes_up_and_stays(&mut pair, Duration::from_secs(15));
    }
}

#[test]
fn a_mesh_pair_has_no_collision_at_all() {
    for seed in 0..200 {
        let mut pair = pair(seed, |_, theirs| {
            theirs.dial = Dial::After(Duration::from_secs(30))
        });
        let took = comes_up_and_stays(&mut pair, Duration::from_secs(1));
        assert!(took < Duration::from_millis(500));
    }
}

#[test]
fn a_peer_that_was_stopped_and_started_is_back_within_seconds() {
    for seed in 0..100 {
        let mut pair = pair(seed, |_, _| {});
        pair.run(START + Duration::from_secs(10), Pair::both_up);
        pair.input(1, Input::Stop(StopReason::AdminShutdown(String::new())));
        pair.run(pair.now + Duration::from_secs(60), |_| false);
        assert!(!pair.both_up());
        let begin = pair.now;
        pair.input(1, Input::Start);
        pair.run(begin + Duration::from_secs(11), Pair::both_up);
        assert!(pair.both_up(), "seed {seed}: {:?}", pair.log);
    }
}

#[test]
fn the_passive_half_started_late_is_reached_within_a_connect_retry() {
    let mut pair = Pair::new(holding(90), mirrored(&holding(90)), 1);
    pair.input(0, Input::Start);
    pair.run(START + Duration::from_secs(300), |_| false);
    pair.input(1, Input::Start);
    let begin = pair.now;
    pair.run(begin + Duration::from_secs(7), Pair::both_up);
    assert!(pair.both_up());
}

#[test]
fn a_host_that_lost_its_power_has_its_session_back_as_soon_as_it_calls() {
    let restart = |time| dunlin::session::GracefulRestart {
        time,
        families: [Some(true), None],
        restarting: false,
        notification: true,
        long_lived: 0,
    };
    for seed in 0..300 {
        let mut pair = pair(seed, |ours, theirs| {
            let offered = (seed % 3 > 0).then(|| restart(120));
            ours.offer.graceful_restart = offered;
            theirs.offer.graceful_restart = offered;
        });
        pair.run(START + Duration::from_secs(10), Pair::both_up);
        pair.run(pair.now + Duration::from_secs(seed % 40), |_| false);
        let end = usize::from(seed % 4 < 2);
        // The hold time has not passed when it is back, so the other end takes the session for alive.
        pair.lose_power(end, Duration::from_secs(5 + seed % 30), seed + 5_000);
        let begin = pair.now;
        assert!(!pair.both_up());
        pair.run(begin + Duration::from_secs(2), Pair::both_up);
        assert!(pair.both_up(), "seed {seed}: {:?}", pair.log);
    }
}

#[test]
fn a_process_that_was_killed_and_started_again_has_its_session_back_within_two_seconds() {
    for seed in 0..200 {
        let mut pair = pair(seed, |ours, theirs| {
            theirs.dial = Dial::After(Duration::from_secs(30));
            if seed.is_multiple_of(3) {
                ours.dial = Dial::Active;
                theirs.dial = Dial::Active;
            }
        });
        pair.run(START + Duration::from_secs(10), Pair::both_up);
        let end = usize::from(seed % 4 < 2);
        let begin = pair.now;
        pair.restart_process(end, Duration::from_millis(20 + seed * 3), seed + 5_000);
        pair.run(begin + Duration::from_secs(2), Pair::both_up);
        assert!(pair.both_up(), "seed {seed}: {:?}", pair.log);
    }
}
