//! The measuring program's phases do what they say, or what is measured would mean nothing.

use dunlin::net::Family;

use crate::phases::{
    Reflector, Relay, announce_phase, churn_phase, distribute_phase, meet_phase, repeat_phase,
    withdraw_phase,
};
use crate::table::Table;

const PREFIXES: usize = 2_000;

#[test]
fn a_table_has_the_shape_of_the_reference_and_is_the_same_each_time() {
    let table = || Table::new(100_000, 65_001, [10, 0, 0, 2].into());
    let (one, other) = (table(), table());
    assert_eq!(one.announce(), other.announce());
    assert_eq!(one.sets.len(), 13_932);
    let mut sets: Vec<_> = one.sets.iter().map(|set| &set.attributes).collect();
    sets.sort_unstable();
    sets.dedup();
    assert_eq!(sets.len(), 13_932, "no two are equal");
    let prefixes = one.sets.iter().flat_map(|set| &set.prefixes);
    let distinct: std::collections::BTreeSet<_> = prefixes.collect();
    assert_eq!(distinct.len(), 100_000);
}

#[test]
fn a_table_goes_through_comes_back_and_leaves_nothing() {
    let mut relay = Relay::new(PREFIXES);
    let (announce, withdraw) = (relay.table.announce(), relay.table.withdraw());
    let octets = announce_phase(&mut relay, &announce);
    assert!(octets > 20_000, "{octets}");
    let count = |relay: &Relay| {
        let monitor = relay.hub.speaker.peer_named("as65002-10.0.0.3").unwrap();
        (relay.hub.speaker.rib().prefixes(Family::Ipv4), monitor.sent)
    };
    assert_eq!(count(&relay), (PREFIXES, PREFIXES));
    let (came, _) = relay.hub.updates(relay.feeder.0);
    assert_eq!(came, 1 + relay.table.sets.len() as u64, "and End-of-RIB");
    let (_, before) = relay.hub.updates(relay.monitor.0);
    repeat_phase(&mut relay, &announce);
    let (_, after) = relay.hub.updates(relay.monitor.0);
    assert_eq!(after, before, "what is said again is no news");
    let flaps: Vec<_> = (0..10).map(|part| relay.table.flap(part, 10)).collect();
    churn_phase(&mut relay, &flaps);
    assert_eq!(count(&relay), (PREFIXES, PREFIXES));
    let (_, churned) = relay.hub.updates(relay.monitor.0);
    assert!(churned > after);
    withdraw_phase(&mut relay, &withdraw);
    assert_eq!(count(&relay), (0, 0));
}

#[test]
fn a_reflector_tells_each_client_all_blocks_but_its_own() {
    let (mut reflector, fars) = Reflector::new(30);
    meet_phase(&mut reflector, &fars);
    let words = reflector.words();
    distribute_phase(&mut reflector, &words);
    for peer in reflector.hub.speaker.peers() {
        assert_eq!(
            (peer.received, peer.sent),
            (4, 29 * 4),
            "{}",
            peer.planned.name
        );
    }
}
