//! How often memory is asked for, in a speaker that has been at work for a while.
//!
//! Counted over a thousand messages, so that a container that grows now and then is a figure behind the
//! point. The ceilings are what was measured, and a little on top of it. Whoever lowers a figure lowers
//! its ceiling in [`CEILINGS`]; whoever has to raise one says in the commit what is bought for it.

use dunlin::session::ConnectionId;
use dunlin::wire::frame::KEEPALIVE;

use crate::hub::{Far, Hub};
use crate::phases::Relay;
use crate::table::{Plain, nlri, update};

/// What, and the most allocations for a thousand of it.
const CEILINGS: &[(&str, u64)] = &[
    ("KEEPALIVE in", 0),
    ("UPDATE in, known block, no news", 5),
    ("UPDATE in, known block, new prefix", 20),
    ("UPDATE in, new block", 1_020),
    ("UPDATE in, withdrawal", 0),
    ("UPDATE in, withdrawal of what is not there", 0),
    ("turn: new prefix in, one UPDATE out", 5_050),
    ("turn: withdrawal in, one UPDATE out", 5_050),
    ("turn: nothing to do", 0),
];

const COUNT: u32 = 1_000;

struct Bench {
    hub: Hub,
    feeder: (Far, ConnectionId),
    found: Vec<(&'static str, u64)>,
}

impl Bench {
    /// A speaker whose tables have had as many entries as they will have here, and are empty.
    fn new() -> Self {
        let Relay { hub, feeder, .. } = Relay::new(1);
        let mut bench = Self {
            hub,
            feeder,
            found: Vec::new(),
        };
        for _ in 0..3 {
            bench.fill();
        }
        bench
    }

    fn fill(&mut self) {
        let all: Vec<_> = (0..COUNT).collect();
        for number in &all {
            let word = update(&[], &self.block(*number), &nlri(&[prefix(*number)]));
            self.hub.say(self.feeder.1, &word);
            self.hub.settle();
        }
        for number in &all {
            let word = update(&nlri(&[prefix(*number)]), &[], &[]);
            self.hub.say(self.feeder.1, &word);
            self.hub.settle();
        }
    }

    /// Attributes of the feeder; their last AS is their own.
    fn block(&self, number: u32) -> Vec<u8> {
        let mut out = vec![0x40, 1, 1, 0, 0x40, 2, 10, 2, 2];
        out.extend(self.feeder.0.asn.to_be_bytes());
        out.extend((100_000 + number).to_be_bytes());
        out.extend([0x40, 3, 4]);
        out.extend(self.feeder.0.address.octets());
        out.extend([0xc0, 8, 8, 1, 1, 0, 1, 1, 1, 0, 2]);
        out
    }

    /// Says each word; with `turns`, a turn for each, else none is ended while it is counted.
    fn count(&mut self, what: &'static str, words: &[Vec<u8>], turns: bool) {
        let (hub, from) = (&mut self.hub, self.feeder.1);
        let info = allocation_counter::measure(|| {
            for word in words {
                hub.say(from, word);
                if turns {
                    hub.settle();
                }
            }
        });
        hub.settle();
        self.found.push((what, info.count_total));
    }
}

fn prefix(number: u32) -> Plain {
    (0x1400_0000 + (number << 8), 24)
}

#[test]
fn memory_is_asked_for_no_more_often_than_recorded() {
    let mut bench = Bench::new();
    let known = bench.block(0);
    let announce = |block: &dyn Fn(u32) -> Vec<u8>| -> Vec<Vec<u8>> {
        let words = (0..COUNT).map(|number| update(&[], &block(number), &nlri(&[prefix(number)])));
        words.collect()
    };
    let same = announce(&|_| known.clone());
    let distinct = announce(&|number| bench.block(1 + number));
    let withdraw: Vec<_> = (0..COUNT)
        .map(|number| update(&nlri(&[prefix(number)]), &[], &[]))
        .collect();
    let keepalives = vec![KEEPALIVE.to_vec(); COUNT as usize];
    // The block becomes known.
    bench.hub.say(
        bench.feeder.1,
        &update(&[], &known, &nlri(&[prefix(COUNT)])),
    );
    bench.hub.settle();

    bench.count("KEEPALIVE in", &keepalives, false);
    bench.count("UPDATE in, known block, new prefix", &same, false);
    bench.count("UPDATE in, known block, no news", &same, false);
    bench.count("turn: nothing to do", &same, true);
    bench.count("UPDATE in, withdrawal", &withdraw, false);
    bench.count(
        "UPDATE in, withdrawal of what is not there",
        &withdraw,
        false,
    );
    bench.count("UPDATE in, new block", &distinct, false);
    bench.count("turn: withdrawal in, one UPDATE out", &withdraw, true);
    bench.count("turn: new prefix in, one UPDATE out", &same, true);

    let mut wrong = Vec::new();
    for (what, count) in &bench.found {
        println!("{what}: {count} allocations for {COUNT}");
        let ceiling = CEILINGS.iter().find(|(name, _)| name == what).unwrap().1;
        if *count > ceiling {
            wrong.push(format!(
                "{what}: {count} allocations for {COUNT}, at most {ceiling}"
            ));
        }
    }
    assert_eq!(
        bench.found.len(),
        CEILINGS.len(),
        "each ceiling is measured"
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
}
