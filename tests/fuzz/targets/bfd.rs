//! BFD packets: no octets panic, what is read survives its own encoding, and no packet makes a session of
//! many answers or a timer that spins.
#![no_main]

use std::net::IpAddr;

use dunlin::bfd::{Arrival, FarEnd, Hops, LENGTH, Machine, Packet, Terms, Watch};
use dunlin::time::{Duration, Instant};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    if let Ok(packet) = Packet::decode(octets) {
        assert_eq!(Packet::decode(&packet.encode()), Ok(packet));
    }
    let (remote, local) = (IpAddr::from([10, 0, 0, 2]), IpAddr::from([10, 0, 0, 1]));
    let quarter = Duration::from_millis(250);
    let watch = Watch {
        far_end: FarEnd {
            remote,
            local: Some(local),
            interface: None,
        },
        hops: Hops::Single,
        terms: Terms::new(quarter, quarter, 3),
    };
    let mut now = Instant::from_secs(1);
    let mut machine = Machine::new(1);
    machine.watch(now, &[watch]);
    let mine = machine.poll_report().map_or(0, |report| report.session);
    for chunk in octets.chunks(LENGTH) {
        let mut chunk = chunk.to_vec();
        // Its name is nothing that a fuzzer would find.
        if let Some(yours) = chunk.get_mut(8..12).filter(|yours| yours[0] & 1 == 1) {
            yours.copy_from_slice(&mine.to_be_bytes());
        }
        while machine.poll().is_some() {}
        let arrival = Arrival {
            remote,
            local,
            interface: None,
            hops: Hops::Single,
            ttl: Some(255),
            octets: &chunk,
        };
        let _either = machine.handle(now, &arrival);
        assert!(std::iter::from_fn(|| machine.poll()).count() <= 2);
        now = now + Duration::from_millis(u64::from(chunk.last().copied().unwrap_or(0)));
        let mut turns = 0;
        while let Some(at) = machine.next_timeout().filter(|at| *at <= now) {
            machine.handle_timeout(at);
            turns += 1;
            assert!(turns < 64, "the timers spin");
        }
    }
});
