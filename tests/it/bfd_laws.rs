//! Two BFD machines and a link: what holds whatever the terms, the delays and the octets are.

use proptest::prelude::*;

use dunlin::bfd::{Arrival, Hops, Machine, State, Terms};
use dunlin::time::{Duration, Instant};

use crate::bfd_link::{LINK, Link, address, ms, terms, watch};

#[test]
fn two_ends_find_each_other_and_notice_a_cut_in_the_detection_time() {
    let mut link = Link::single_hop(1, Terms::new(ms(250), ms(250), 3));
    let up = link
        .run_until(Duration::from_secs(5), Link::both_up)
        .unwrap();
    assert!(up <= Duration::from_secs(2), "{up:?}");
    link.run(Duration::from_secs(60));
    assert!(link.both_up());
    let last = link.sent.last().unwrap().packet;
    assert!(!last.poll && !last.last, "all that was asked is answered");
    link.passes = [false; 2];
    let down = |link: &Link| (0..2).all(|end| link.state(end) == State::Down);
    let noticed = link.run_until(Duration::from_secs(5), down).unwrap();
    assert!(noticed <= ms(752), "{noticed:?}");
    assert_eq!([link.failures(0), link.failures(1)], [1, 1]);
    link.passes = [true; 2];
    assert!(
        link.run_until(Duration::from_secs(5), Link::both_up)
            .is_some()
    );
}

#[test]
fn a_cut_of_one_direction_is_noticed_by_both() {
    for deaf in 0..2 {
        let mut link = Link::single_hop(2, terms(100, 100, 3));
        link.run(Duration::from_secs(5));
        link.passes[1 - deaf] = false;
        link.run(ms(310));
        assert_eq!([link.failures(0), link.failures(1)], [1, 1]);
        assert_eq!(link.state(1 - deaf), State::Down);
    }
}

#[test]
fn an_orderly_end_is_no_failure_even_if_two_packets_are_lost() {
    for lost in [0, 300] {
        let mut link = Link::single_hop(3, terms(250, 250, 3));
        link.run(Duration::from_secs(5));
        link.passes[0] = lost == 0;
        link.stop(0);
        link.run(ms(lost));
        link.passes[0] = true;
        link.run(Duration::from_secs(5));
        assert_eq!(link.state(1), State::Down);
        assert_eq!(link.failures(1), 0);
    }
}

#[test]
fn a_process_that_begins_anew_is_no_failure_and_comes_up_again() {
    let pace = terms(250, 250, 3);
    let mut link = Link::single_hop(4, pace);
    link.run(Duration::from_secs(5));
    link.restart(0, 99, &[watch(0, Hops::Single, pace)]);
    assert!(
        link.run_until(Duration::from_secs(5), Link::both_up)
            .is_some()
    );
    assert_eq!(link.failures(1), 0);
}

#[test]
fn two_ends_that_disagree_on_the_hops_meet_on_the_link() {
    for first in [Hops::Single, Hops::Multi] {
        let second = match first {
            Hops::Single => Hops::Multi,
            Hops::Multi => Hops::Single,
        };
        let mut link = Link::new(5);
        link.watch(0, &[watch(0, first, terms(250, 250, 3))]);
        link.run(ms(400));
        link.watch(1, &[watch(1, second, terms(250, 250, 3))]);
        assert!(
            link.run_until(Duration::from_secs(10), Link::both_up)
                .is_some()
        );
        link.run(Duration::from_secs(20));
        assert!(link.both_up());
        let last = link.sent.last().unwrap();
        assert_eq!(last.hops, Hops::Single, "never the other way round");
    }
}

#[test]
fn a_far_end_that_insists_on_single_hop_is_followed() {
    let mut link = Link::new(6);
    // It does not hear what comes on the other port, as one that has no such session.
    link.passes[0] = false;
    link.watch(0, &[watch(0, Hops::Multi, terms(250, 250, 3))]);
    link.watch(1, &[watch(1, Hops::Single, terms(250, 250, 3))]);
    link.run(Duration::from_secs(6));
    assert_eq!(link.sent.last().unwrap().hops, Hops::Single);
    link.passes[0] = true;
    assert!(
        link.run_until(Duration::from_secs(5), Link::both_up)
            .is_some()
    );
}

#[test]
fn no_detection_is_quicker_than_packets_come() {
    // One lost packet is a failure, and none is lost.
    let mut link = Link::single_hop(7, terms(50, 50, 1));
    link.run(Duration::from_secs(120));
    assert!(link.both_up());
    assert_eq!([link.failures(0), link.failures(1)], [0, 0]);
    let gaps: Vec<Duration> = {
        let of_first = link.sent.iter().filter(|sent| sent.from == 0);
        let times: Vec<Instant> = of_first.map(|sent| sent.at).collect();
        times
            .windows(2)
            .map(|pair| pair[1].since(pair[0]))
            .collect()
    };
    let most = gaps.iter().rev().take(1000).max().unwrap();
    assert!(*most <= ms(45), "90 % with a multiplier of 1: {most:?}");
}

fn any_terms() -> impl Strategy<Value = Terms> {
    (10_u64..1500, 10_u64..1500, 2_u8..6).prop_map(|(send, take, lost)| terms(send, take, lost))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Any terms on either end: they meet, stay, and notice a cut within what they agreed on.
    #[test]
    fn any_two_ends(seed: u64, first in any_terms(), second in any_terms(), delay in 0_u64..4) {
        let mut link = Link::new(seed);
        link.delay = ms(delay);
        link.watch(0, &[watch(0, Hops::Single, first)]);
        link.watch(1, &[watch(1, Hops::Single, second)]);
        prop_assert!(link.run_until(Duration::from_secs(10), Link::both_up).is_some());
        link.run(Duration::from_secs(30));
        prop_assert!(link.both_up());
        prop_assert_eq!([link.failures(0), link.failures(1)], [0, 0]);
        let limit = |link: &Link, end: usize| {
            link.reports[end].as_ref().unwrap().detection.unwrap()
        };
        let bounds = [limit(&link, 0), limit(&link, 1)];
        let agreed = first.min_receive().max(second.min_transmit()) * u32::from(second.multiplier());
        prop_assert_eq!(bounds[0], agreed);
        link.passes = [false; 2];
        let cut = link.now;
        link.run(bounds[0].max(bounds[1]) + ms(delay) + ms(1));
        for (end, bound) in bounds.into_iter().enumerate() {
            prop_assert_eq!(link.failures(end), 1);
            let since = link.reports[end].as_ref().unwrap().since;
            prop_assert!(since.since(cut) <= bound + ms(delay));
        }
    }

    /// Any octets at any time: no panic, no growth, no more out than in and by the clock.
    #[test]
    fn any_octets(
        seed: u64,
        script in prop::collection::vec(
            (any::<[u8; 26]>(), 0_usize..27, 0_u8..6, any::<bool>(), 0_u64..2000),
            1..60,
        ),
    ) {
        let mut machine = Machine::new(seed);
        let mut now = Instant::from_secs(1);
        let watch = watch(0, Hops::Single, terms(100, 100, 3));
        machine.watch(now, core::slice::from_ref(&watch));
        machine.reached_by(&watch.far_end, vec![LINK]);
        let mine = machine.poll_report().unwrap().session;
        for (mut octets, length, shape, single, pause) in script {
            // Mostly such as pass the first checks.
            if shape > 0 {
                octets[0] = 0x20;
                octets[1] &= 0xFA;
                octets[3] = 24;
                octets[8..12].copy_from_slice(&mine.to_be_bytes());
            }
            if shape == 2 {
                octets[8..12].fill(0);
            }
            let arrival = Arrival {
                remote: address(1),
                local: address(0),
                link: LINK,
                hops: if single { Hops::Single } else { Hops::Multi },
                ttl: Some(255),
                octets: &octets[..if shape > 1 { 24 } else { length }],
            };
            let _either = machine.handle(now, &arrival);
            let answers = std::iter::from_fn(|| machine.poll()).count();
            prop_assert!(answers <= 3, "{} for one packet", answers);
            prop_assert!(std::iter::from_fn(|| machine.poll_report()).count() <= 1);
            let until = now + ms(pause);
            let mut turns = 0_u64;
            while let Some(at) = machine.next_timeout().filter(|at| *at <= until) {
                machine.handle_timeout(at);
                turns += 1;
                prop_assert!(turns <= 4 + pause / 7, "the timers spin");
                while machine.poll().is_some() {}
                while machine.poll_report().is_some() {}
            }
            now = until;
        }
        machine.stop(now);
        while let Some(at) = machine.next_timeout() {
            machine.handle_timeout(at);
            while machine.poll().is_some() {}
        }
        prop_assert!(machine.is_idle());
    }
}
