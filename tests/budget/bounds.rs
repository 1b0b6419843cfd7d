//! What a peer can make us keep, by count: the bounds that `src/architecture.md` tells ("What memory is
//! bounded by"). Octets are those that this thread has allocated and not freed.

use std::net::IpAddr;

use dunlin::net::Family;
use dunlin::rib::HIGH_WATER;
use dunlin::speaker::{Output, PeerStatus};
use dunlin::time::Duration;

use crate::hub::{Hub, OUR_AS, far};
use crate::phases::{
    Reflector, Relay, announce_phase, distribute_phase, meet_phase, withdraw_phase,
};
use crate::table::{Plain, Table, nlri, update};

/// `rib::batch::BUDGET`: by so much an outbox may exceed its mark, and by what the last set still had.
const BUDGET: usize = 64 * 1024;
/// `rib::raw_cache::PLACES` and `LONGEST`.
const PLACES: usize = 1024;
const LONGEST: usize = 512;
/// `rib::cohort::BATCH`.
const BATCH: u32 = 4096;
/// What the cache may hold: each block as it came and as a set, and beside them the store's entry, its place in
/// the index and the cache's own.
const CACHED: usize = PLACES * (128 + 2 * LONGEST);

fn octets(work: impl FnOnce()) -> i64 {
    allocation_counter::measure(work).bytes_current
}

fn prefix(number: u32) -> Plain {
    (0x1400_0000 + (number << 8), 24)
}

/// Attributes of the feeder: `set` tells them apart, `more` is appended.
fn attributes(relay: &Relay, set: u32, more: &[u8]) -> Vec<u8> {
    let mut out = vec![0x40, 1, 1, 0, 0x40, 2, 10, 2, 2];
    out.extend(relay.feeder.0.asn.to_be_bytes());
    out.extend((100_000 + set).to_be_bytes());
    out.extend([0x40, 3, 4]);
    out.extend(relay.feeder.0.address.octets());
    out.extend(more);
    out
}

/// An optional transitive attribute that nobody knows, of so many octets.
fn unknown(octets: u16, mark: u32) -> Vec<u8> {
    let mut out = vec![0xd0, 99];
    out.extend(octets.to_be_bytes());
    out.extend(mark.to_be_bytes());
    out.resize(4 + usize::from(octets), 7);
    out
}

fn status(relay: &Relay) -> PeerStatus {
    relay.hub.speaker.peer_named("as65001-10.0.0.2").unwrap()
}

/// The monitor takes what is in its outbox, and goes on.
fn reads_again(relay: &mut Relay) {
    let monitor = relay.monitor.1;
    relay.hub.ends.get_mut(&monitor).unwrap().stuck = false;
    let stuck = queued(&relay.hub, "as65002-10.0.0.3");
    relay.hub.speaker.sent(relay.hub.now, monitor, stuck);
    relay.hub.settle();
}

fn queued(hub: &Hub, name: &str) -> usize {
    let index = hub.speaker.index_of(name).unwrap();
    hub.speaker.rib().queued(index)
}

#[test]
fn a_stuck_peer_has_a_full_outbox_and_no_more_while_the_table_churns() {
    let mut relay = Relay::new(20_000);
    let announce = relay.table.announce();
    relay.hub.ends.get_mut(&relay.monitor.1).unwrap().stuck = true;
    let mut most = 0;
    let mut pending = 0;
    for round in 0..5 {
        announce_phase(&mut relay, &announce);
        for [gone, back] in (0..4).map(|part| relay.table.flap(part, 4)) {
            relay.hub.say_all(relay.feeder.1, &gone);
            most = most.max(queued(&relay.hub, "as65002-10.0.0.3"));
            relay.hub.say_all(relay.feeder.1, &back);
        }
        let exports = relay.hub.speaker.rib().memory().exports;
        assert!(
            round == 0 || exports <= pending,
            "round {round}: {exports} after {pending}"
        );
        pending = exports;
    }
    assert!(most >= HIGH_WATER, "it was never full: {most}");
    assert!(most <= HIGH_WATER + 2 * BUDGET, "{most}");
    // What was overtaken meanwhile is not sent: as soon as it reads, it has the table and no more.
    let before = relay.hub.heard(relay.monitor.1).octets;
    reads_again(&mut relay);
    let table: usize = announce.iter().map(Vec::len).sum();
    let rest = relay.hub.heard(relay.monitor.1).octets - before;
    assert!(
        rest <= 2 * table as u64,
        "{rest} octets for a table of {table}"
    );
}

#[test]
fn a_stuck_client_of_a_reflector_parts_from_its_cohort_and_holds_nobody_up() {
    let (mut reflector, fars) = Reflector::new(20);
    meet_phase(&mut reflector, &fars);
    let deaf = reflector.clients[0].1;
    reflector.hub.ends.get_mut(&deaf).unwrap().stuck = true;
    let words = reflector.words();
    distribute_phase(&mut reflector, &words);
    let talker = reflector.clients[1].1;
    let many: Vec<_> = (0..1_000).map(prefix).collect();
    let mut attributes = vec![0x40, 1, 1, 0, 0x40, 2, 0, 0x40, 3, 4, 10, 0, 0, 3];
    attributes.extend([0x40, 5, 4, 0, 0, 0, 100]);
    let words = [
        update(&[], &attributes, &nlri(&many[..900])),
        update(&nlri(&many[..900]), &[], &[]),
    ];
    for _ in 0..200 {
        for word in &words {
            reflector.hub.say(talker, word);
            reflector.hub.settle();
        }
        reflector.hub.now = reflector.hub.now + Duration::from_millis(20);
        reflector.hub.settle();
    }
    let level = queued(&reflector.hub, "as64512-10.0.0.2");
    assert!(
        (HIGH_WATER..=HIGH_WATER + 2 * BUDGET).contains(&level),
        "{level}"
    );
    let groups = reflector.hub.speaker.rib().groups();
    let cohorts: usize = groups.iter().map(|group| group.cohorts.len()).sum();
    assert_eq!(cohorts, 2, "the stuck one is alone");
    let others = &reflector.clients[2..];
    let heard = |at: usize| reflector.hub.heard(others[at].1);
    assert!((0..others.len()).all(|at| heard(at).octets > 2 * level as u64));
}

/// A peer says one prefix again and again, each time with attributes that it has never said: the most sets
/// at the end of a turn, and the octets that are left.
fn flood(relay: &mut Relay, count: u32, block: impl Fn(&Relay, u32) -> Vec<u8>) -> (usize, i64) {
    let mut most = 0;
    let left = octets(|| {
        for set in 0..count {
            let word = update(&[], &block(relay, set), &nlri(&[prefix(0)]));
            relay.hub.say(relay.feeder.1, &word);
            if set % 64 == 0 {
                relay.hub.settle();
                most = most.max(relay.hub.speaker.rib().attributes().len());
            }
        }
        relay.hub.settle();
    });
    assert_eq!(status(relay).received, 1);
    println!("{most} sets, {left} octets are left");
    (most, left)
}

/// A path of so many AS numbers in segments of 100, the last one another for each set.
fn long_path(relay: &Relay, hops: u32, set: u32) -> Vec<u8> {
    let mut path: Vec<u32> = (0..hops - 2).map(|n| 1_000 + n).collect();
    path.insert(0, relay.feeder.0.asn);
    path.push(100_000 + set);
    let mut segments = Vec::new();
    for segment in path.chunks(100) {
        segments.extend([2, u8::try_from(segment.len()).unwrap()]);
        segments.extend(segment.iter().copied().flat_map(u32::to_be_bytes));
    }
    let mut out = vec![0x40, 1, 1, 0, 0x50, 2];
    out.extend(u16::try_from(segments.len()).unwrap().to_be_bytes());
    out.extend(segments);
    out.extend([0x40, 3, 4]);
    out.extend(relay.feeder.0.address.octets());
    out
}

#[test]
fn distinct_attributes_of_one_prefix_fill_the_cache_and_no_more() {
    let mut relay = Relay::new(1);
    let (most, left) = flood(&mut relay, 100_000, |relay, set| {
        attributes(relay, set, &[])
    });
    assert!(most <= PLACES + 2, "{most} sets");
    assert!(
        left <= CACHED as i64,
        "{left} octets are left, at most {CACHED}"
    );
    // The same room for blocks as long as are remembered.
    let (most, left) = flood(&mut relay, 5_000, |relay, set| long_path(relay, 110, set));
    assert!(most <= PLACES + 2, "{most} sets");
    assert!(
        left <= CACHED as i64,
        "{left} octets are left, at most {CACHED}"
    );
}

#[test]
fn long_blocks_are_not_kept_beyond_their_route() {
    let mut relay = Relay::new(1);
    let strange = |relay: &Relay, set| attributes(relay, set, &unknown(3_900, set));
    let far = |relay: &Relay, set| long_path(relay, 700, set);
    let strange = flood(&mut relay, 2_000, strange);
    let far = flood(&mut relay, 2_000, far);
    for (most, left) in [strange, far] {
        assert!(
            most <= 2,
            "{most} sets: above {LONGEST} octets nothing is remembered"
        );
        assert!(left <= 64 * 1024, "{left} octets are left");
    }
}

/// A batch looks at its budget between sets of attributes. A set that leaves room for a single prefix in
/// a message is one set, so its whole batch is made at once: [`BATCH`] messages of the longest kind.
#[test]
fn prefixes_that_share_the_longest_attributes_exceed_the_mark_by_one_budget_at_most() {
    let mut relay = Relay::new(1);
    relay.hub.ends.get_mut(&relay.monitor.1).unwrap().stuck = true;
    let block = attributes(&relay, 0, &unknown(4_036, 1));
    for number in 0..2 * BATCH {
        let word = update(&[], &block, &nlri(&[prefix(number)]));
        relay.hub.say(relay.feeder.1, &word);
    }
    relay.hub.settle();
    let level = queued(&relay.hub, "as65002-10.0.0.3");
    let bound = HIGH_WATER + 2 * BUDGET;
    println!("{level} octets in the outbox");
    assert!(level >= HIGH_WATER, "it was never full: {level}");
    assert!(level <= bound, "{level} octets, at most {bound}");
}

#[test]
fn a_thousand_peers_that_start_at_once_are_bounded_by_their_connections() {
    const COUNT: u32 = 1_000;
    let fars: Vec<_> = (0..COUNT).map(|number| far(number, OUR_AS)).collect();
    let mut hub = Hub::new(&fars);
    let mut issued = 0;
    let mut ended = 0;
    let before = octets(|| {
        // Each calls ten times before it says a word.
        for _ in 0..10 {
            for far in &fars {
                let (remote, local) = (IpAddr::V4(far.address), [10, 0, 0, 1].into());
                issued += u32::from(hub.speaker.accepted(hub.now, remote, local).is_some());
            }
            while let Some(output) = hub.speaker.poll() {
                ended += u32::from(matches!(
                    output,
                    Output::Close { .. } | Output::Abort { .. }
                ));
            }
        }
    });
    let open = issued - ended;
    println!("{issued} issued, {ended} ended, {before} octets");
    assert!(open <= 2 * COUNT, "{open} connections are open");
    assert!(before / i64::from(COUNT) <= 1_100, "{before} octets");
}

#[test]
fn a_thousand_peers_that_come_up_in_one_turn_and_read_nothing_share_one_outbox() {
    const COUNT: u32 = 1_000;
    let mut fars = vec![far(0, 65_001)];
    fars.extend((1..=COUNT).map(|number| far(number, 65_002)));
    let mut hub = Hub::new(&fars);
    let feeder = hub.meet(fars[0]);
    let table = Table::new(40_000, fars[0].asn, fars[0].address);
    hub.say_all(feeder, &table.announce());
    let before = hub.speaker.rib().encoded_attributes();
    // What a socket would hold is held here.
    hub.kept = Some(Vec::with_capacity(COUNT as usize * 16));
    let left = octets(|| {
        for far in &fars[1..] {
            let connection = hub.meet(*far);
            hub.ends.get_mut(&connection).unwrap().stuck = true;
        }
        hub.settle();
    });
    let encoded = hub.speaker.rib().encoded_attributes() - before;
    println!("{encoded} sets encoded, {left} octets");
    assert!(
        encoded <= table.sets.len() as u64,
        "{encoded} sets were encoded"
    );
    let level = queued(&hub, "as65002-10.0.0.3");
    assert!(
        (HIGH_WATER..=HIGH_WATER + 2 * BUDGET).contains(&level),
        "{level}"
    );
    let bound = HIGH_WATER + 2 * BUDGET + COUNT as usize * 3_000;
    assert!(left <= bound as i64, "{left} octets, at most {bound}");
}

#[test]
fn withdrawals_of_what_nobody_has_leave_nothing() {
    let mut relay = Relay::new(1);
    let room = 1_000;
    let mut words = Vec::new();
    for first in (0..1_000_000).step_by(room) {
        let some: Vec<_> = (first..first + room as u32).map(host).collect();
        let parts = some.chunks(800);
        words.extend(parts.map(|part| update(&nlri(part), &[], &[])));
    }
    let heard = relay.hub.heard(relay.monitor.1);
    let left = octets(|| {
        for word in &words {
            relay.hub.say(relay.feeder.1, word);
        }
        relay.hub.settle();
    });
    assert_eq!(left, 0, "octets are left");
    assert_eq!(relay.hub.heard(relay.monitor.1), heard);
    assert_eq!(relay.hub.speaker.rib().lingering(Family::Ipv4), 0);
}

#[test]
fn routes_that_come_malformed_leave_a_list_of_a_bounded_size() {
    /// `speaker::malformed::MOST` entries, half of each node of the map free, and the set itself.
    const KEPT: i64 = 1_000 * 2 * 40;
    let mut relay = Relay::new(1);
    // ORIGIN 9 is none.
    let bad: Vec<u8> = [&[0x40, 1, 1, 9], &attributes(&relay, 0, &[])[4..]].concat();
    let left = octets(|| {
        for first in (0..100_000).step_by(500) {
            let some: Vec<_> = (first..first + 500).map(host).collect();
            relay
                .hub
                .say(relay.feeder.1, &update(&[], &bad, &nlri(&some)));
        }
        relay.hub.settle();
    });
    let of_feeder = status(&relay);
    assert_eq!(
        (of_feeder.treated_as_withdraw, of_feeder.received),
        (200, 0)
    );
    println!("{left} octets are left");
    assert!((1..=KEPT).contains(&left), "{left} octets");
}

fn host(number: u32) -> Plain {
    (0x2800_0000 + number, 32)
}

#[test]
fn a_table_that_was_withdrawn_is_pending_until_it_is_told_and_then_gone() {
    const PREFIXES: usize = 20_000;
    let mut relay = Relay::new(PREFIXES);
    let (announce, withdraw) = (relay.table.announce(), relay.table.withdraw());
    announce_phase(&mut relay, &announce);
    relay.hub.ends.get_mut(&relay.monitor.1).unwrap().stuck = true;
    let full = relay.hub.speaker.rib().memory();
    // The monitor takes an outbox and no more, however often the table goes and comes.
    for _ in 0..3 {
        withdraw_phase(&mut relay, &withdraw);
        announce_phase(&mut relay, &announce);
    }
    withdraw_phase(&mut relay, &withdraw);
    let rib = relay.hub.speaker.rib();
    assert_eq!(rib.prefixes(Family::Ipv4), 0);
    assert!(rib.lingering(Family::Ipv4) <= PREFIXES);
    let now = rib.memory();
    let bound = full.destinations + full.exports + PREFIXES * 8;
    assert!(
        now.destinations + now.exports <= bound,
        "{now:?} after {full:?}"
    );
    // It reads again, and all is told and gone, but for the cache of raw blocks.
    reads_again(&mut relay);
    let rib = relay.hub.speaker.rib();
    assert_eq!(rib.lingering(Family::Ipv4), 0);
    assert!(rib.attributes().len() <= PLACES);
    assert_eq!(status(&relay).received, 0);
    println!("{full:?} full, {:?} empty", rib.memory());
}

/// What was announced while the peer was stuck and is gone is not kept for a peer that was never told of it:
/// no prefix limit counts it.
#[test]
fn ever_new_prefixes_past_a_stuck_peer_leave_nothing() {
    const ROUNDS: u32 = 40;
    let mut relay = Relay::new(20_000);
    let announce = relay.table.announce();
    relay.hub.ends.get_mut(&relay.monitor.1).unwrap().stuck = true;
    announce_phase(&mut relay, &announce);
    let mut next = 0;
    let mut left = 0;
    for round in 0..ROUNDS {
        let some: Vec<_> = (next..next + 800).map(host).collect();
        next += 800;
        let said = attributes(&relay, 0, &[]);
        let octets = octets(|| {
            for word in [
                update(&[], &said, &nlri(&some)),
                update(&nlri(&some), &[], &[]),
            ] {
                relay.hub.say(relay.feeder.1, &word);
                relay.hub.settle();
            }
        });
        // The first rounds make the room that the others use.
        left += if round < 4 { 0 } else { octets };
        assert_eq!(status(&relay).received, 20_000);
        assert_eq!(relay.hub.speaker.rib().lingering(Family::Ipv4), 0);
    }
    // The index of the table may have doubled once.
    assert!(
        left <= 200 * 1024,
        "{left} octets are left of {next} prefixes"
    );
}
