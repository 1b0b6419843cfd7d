//! How large the types are of which there are many, and what a peer takes. What is private to a module
//! has its ceiling beside it (`rib/table.rs`, `rib/attributes.rs`); all in all it is in `it/rib_size.rs`.

use dunlin::net::{Prefix, Prefix4, Prefix6};
use dunlin::rib::{AttributesId, Delivery, NextHopId, Path, PeerFacts, PeerIndex};
use dunlin::time::Instant;
use dunlin::wire::attribute::{NextHop, PathAttributes};
use dunlin::{session, speaker};

use crate::hub::{Hub, OUR_AS, far};
use crate::phases::{Reflector, meet_phase};

/// What it is, octets now, the most that it may be.
macro_rules! ceilings {
    ($($type:ty, $most:expr;)*) => {
        [$((stringify!($type), size_of::<$type>(), $most)),*]
    };
}

#[test]
fn types_of_which_there_are_many_stay_small() {
    let sizes = ceilings![
        Prefix4, 8;
        Prefix6, 17;
        Prefix, 20;
        // One a path.
        Path, 16;
        AttributesId, 4;
        NextHopId, 4;
        PeerIndex, 4;
        // One a distinct next hop.
        NextHop, 40;
        // On the stack, for each UPDATE that is parsed.
        PathAttributes, 248;
        // One a piece in an outbox.
        Delivery, 48;
        speaker::Output, 120;
        session::Output, 88;
        // One a peer in the set of deadlines.
        (Instant, PeerIndex), 16;
        // One a peer, and one while it is on its way.
        PeerFacts, 28;
        session::Peer, 256;
    ];
    let above: Vec<_> = sizes.iter().filter(|(_, size, most)| size > most).collect();
    assert!(above.is_empty(), "(type, octets, at most): {above:?}");
    for (name, size, most) in sizes {
        println!("{name}: {size} of {most}");
    }
}

/// Octets that are left allocated by `make`, for each of `count`.
fn each(count: u32, make: impl FnOnce() -> Hub) -> i64 {
    let mut hub = None;
    let info = allocation_counter::measure(|| hub = Some(make()));
    drop(hub);
    info.bytes_current / i64::from(count)
}

/// A peer that is planned: plan, state machine, names.
const PLANNED: i64 = 1_900;
/// One that is up, all in: the above, a connection, a place in its group.
const UP: i64 = 2_750;

#[test]
fn a_thousand_peers_take_little_each() {
    const COUNT: u32 = 1_000;
    let fars: Vec<_> = (0..COUNT).map(|number| far(number, OUR_AS)).collect();
    let planned = each(COUNT, || Hub::new(&fars));
    let up = each(COUNT, || {
        let (mut reflector, fars) = Reflector::new(COUNT);
        meet_phase(&mut reflector, &fars);
        reflector.hub
    });
    println!("{planned} octets a peer that is planned, {up} one that is up");
    assert!(
        planned <= PLANNED,
        "{planned} octets a peer that is planned"
    );
    assert!(up <= UP, "{up} octets a peer that is up");
}
