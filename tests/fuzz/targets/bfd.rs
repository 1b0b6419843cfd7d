//! BFD packets and the whole machine behind them, with and without authentication: no octets panic, what is
//! read survives its own encoding, no packet makes a session of many answers or a timer that spins, and what is
//! signed is taken down by nothing that has no key.
#![no_main]

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;

use dunlin::bfd::{
    Algorithm, Arrival, Authentication, FarEnd, Hops, Key, Machine, Packet, SIGNED_LENGTH, State, Terms, Watch,
};
use dunlin::net::Secret;
use dunlin::time::{Duration, Instant};
use libfuzzer_sys::fuzz_target;

const LINK: u32 = 2;

fn address(end: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, end])
}

fn watch(end: u8, hops: Hops, authentication: &Authentication) -> Watch {
    let quarter = Duration::from_millis(250);
    Watch {
        far_end: FarEnd {
            remote: address(3 - end),
            local: Some(address(end)),
            interface: None,
        },
        hops,
        least_ttl: 48,
        terms: Terms::new(quarter, quarter, 3),
        authentication: authentication.clone(),
    }
}

fn begin(end: u8, now: Instant, hops: Hops, authentication: &Authentication) -> (Machine, u32) {
    let mut machine = Machine::new(u64::from(end));
    let watch = watch(end, hops, authentication);
    machine.watch(now, core::slice::from_ref(&watch));
    machine.reached_by(&watch.far_end, vec![LINK]);
    let mine = machine.poll_report().map_or(0, |report| report.session);
    (machine, mine)
}

/// Another key for each input. The fuzzer looks on when octets are compared, and what was signed in one run is in
/// its words for the next one: with one key for all of them that would be signed there, too.
fn key(input: &[u8]) -> Vec<u8> {
    let mut hasher = DefaultHasher::new();
    input.hash(&mut hasher);
    hasher.finish().to_be_bytes().to_vec()
}

/// What is told of the session. It is asked for after each packet and each timer: of two changes in between only the
/// later one is told.
struct Told {
    failures: u64,
    state: State,
}

impl Told {
    fn ask(&mut self, machine: &mut Machine) {
        while let Some(report) = machine.poll_report() {
            assert!(report.failures <= self.failures + 1, "failures come one by one");
            (self.failures, self.state) = (report.failures, report.state);
        }
    }
}

/// What one end has sent, as the other gets it, who is looked at after each.
fn pass(
    (from, end): (&mut Machine, u8),
    to: &mut Machine,
    now: Instant,
    mut look: impl FnMut(&mut Machine),
) -> Vec<Vec<u8>> {
    let sent: Vec<_> = std::iter::from_fn(|| from.poll()).collect();
    for transmit in &sent {
        let arrival = Arrival {
            remote: address(end),
            local: address(3 - end),
            link: LINK,
            hops: transmit.hops,
            ttl: Some(255),
            octets: &transmit.octets,
        };
        let _either = to.handle(now, &arrival);
        look(to);
    }
    sent.into_iter().map(|transmit| transmit.octets).collect()
}

fuzz_target!(|input: &[u8]| {
    if let Ok(packet) = Packet::decode(input) {
        assert_eq!(Packet::decode(&packet.encode()), Ok(packet));
    }
    let Some((&way, octets)) = input.split_first() else {
        return;
    };
    let algorithm = if way & 1 == 0 { Algorithm::KeyedSha1 } else { Algorithm::MeticulousKeyedSha1 };
    let authentication = match way >> 1 & 3 {
        0 => Authentication::None,
        1 => Authentication::Missing,
        _ => Authentication::Key(Key {
            id: 1,
            algorithm,
            secret: Secret::new(key(input)),
        }),
    };
    let hops = if way & 8 == 0 { Hops::Single } else { Hops::Multi };
    let mut now = Instant::from_secs(1);
    let (mut machine, mine) = begin(1, now, hops, &authentication);
    let (mut other, theirs) = begin(2, now, hops, &authentication);
    let mut heard = Vec::new();
    let mut told = Told {
        failures: 0,
        state: State::Down,
    };
    for chunk in octets.chunks(SIGNED_LENGTH + 1) {
        // The far end is heard all the time, every other time.
        if way & 16 != 0 {
            for _ in 0..2 {
                heard.extend(pass((&mut other, 2), &mut machine, now, |machine| told.ask(machine)));
                let _answers = pass((&mut machine, 1), &mut other, now, |_| {});
            }
        }
        let Some((&shape, rest)) = chunk.split_first() else {
            continue;
        };
        let mut packet = rest.to_vec();
        // Names are nothing that a fuzzer would find, and neither is a signature that was right once.
        for (bit, at, name) in [(1, 4..8, theirs), (2, 8..12, mine)] {
            if let Some(place) = packet.get_mut(at).filter(|_| shape & bit != 0) {
                place.copy_from_slice(&name.to_be_bytes());
            }
        }
        if let Some(last) = heard.last().filter(|_| shape & 4 != 0) {
            let last: &Vec<u8> = last;
            packet.truncate(24);
            packet.extend_from_slice(last.get(24..).unwrap_or_default());
        }
        while machine.poll().is_some() {}
        let arrival = Arrival {
            remote: address(2),
            local: address(1),
            link: LINK + u32::from(shape >> 3 & 1),
            hops: if shape & 16 == 0 { hops } else { Hops::Multi },
            ttl: Some(if shape & 32 == 0 { 255 } else { 40 }),
            octets: &packet,
        };
        let replayed = heard.iter().any(|before| *before == packet);
        let taken = machine.handle(now, &arrival);
        told.ask(&mut machine);
        if matches!(authentication, Authentication::Key(_)) && !replayed {
            assert!(taken.is_err(), "taken without a key: {packet:?}");
        }
        assert!(std::iter::from_fn(|| machine.poll()).count() <= 2);
        now = now + Duration::from_millis(u64::from(shape));
        for machine in [&mut machine, &mut other] {
            let mut turns = 0;
            while let Some(at) = machine.next_timeout().filter(|at| *at <= now) {
                machine.handle_timeout(at);
                turns += 1;
                assert!(turns < 64, "the timers spin");
            }
        }
        told.ask(&mut machine);
        if authentication == Authentication::Missing {
            assert_eq!(told.state, State::Down);
        }
    }
});
