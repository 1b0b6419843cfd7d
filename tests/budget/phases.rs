//! What the core is measured at, and the marks for it: each phase is one function that is not inlined
//! and whose name a profiler can be told (`--toggle-collect='*announce_phase*'`).
//!
//! Nothing is made ready inside of a phase, so that what it costs is the speaker's, and the few steps of
//! the hub around it.

use dunlin::session::ConnectionId;

use crate::hub::{Far, Hub, OUR_AS, far};
use crate::table::{Plain, Table, nlri, update};

/// Clients whose sessions begin in one turn of the daemon.
const IN_ONE_TURN: usize = 8;
/// Blocks of a client.
const BLOCKS: u32 = 4;

/// A feeder and a monitor, both of other AS, and the table.
pub(crate) struct Relay {
    pub(crate) hub: Hub,
    pub(crate) table: Table,
    pub(crate) feeder: (Far, ConnectionId),
    pub(crate) monitor: (Far, ConnectionId),
}

impl Relay {
    /// The feeder has `count` prefixes, and has said none.
    pub(crate) fn new(count: usize) -> Self {
        let (from, to) = (far(0, 65_001), far(1, 65_002));
        let mut hub = Hub::new(&[from, to]);
        let feeder = (from, hub.meet(from));
        let monitor = (to, hub.meet(to));
        hub.settle();
        let table = Table::new(count, from.asn, from.address);
        Self {
            hub,
            table,
            feeder,
            monitor,
        }
    }
}

/// A reflector and its clients.
pub(crate) struct Reflector {
    pub(crate) hub: Hub,
    pub(crate) clients: Vec<(Far, ConnectionId)>,
}

impl Reflector {
    /// `count` clients, of which none is there.
    pub(crate) fn new(count: u32) -> (Self, Vec<Far>) {
        let fars: Vec<_> = (0..count).map(|number| far(number, OUR_AS)).collect();
        let reflector = Self {
            hub: Hub::new(&fars),
            clients: Vec::new(),
        };
        (reflector, fars)
    }

    /// What each client says of itself.
    pub(crate) fn words(&self) -> Vec<Vec<u8>> {
        let clients = (0_u32..).zip(&self.clients);
        let words = clients.map(|(number, (far, _))| {
            let blocks = (0..BLOCKS).map(|i| block(number * BLOCKS + i));
            let blocks: Vec<_> = blocks.collect();
            // ORIGIN IGP, an empty AS_PATH, NEXT_HOP, LOCAL_PREF 100.
            let mut attributes = vec![0x40, 1, 1, 0, 0x40, 2, 0, 0x40, 3, 4];
            attributes.extend(far.address.octets());
            attributes.extend([0x40, 5, 4, 0, 0, 0, 100]);
            update(&[], &attributes, &nlri(&blocks))
        });
        words.collect()
    }
}

/// The feeder says its whole table.
#[inline(never)]
pub(crate) fn announce_phase(relay: &mut Relay, chunks: &[Vec<u8>]) -> u64 {
    relay.hub.say_all(relay.feeder.1, chunks);
    relay.hub.heard(relay.monitor.1).octets
}

/// The feeder takes it all back.
#[inline(never)]
pub(crate) fn withdraw_phase(relay: &mut Relay, chunks: &[Vec<u8>]) -> usize {
    relay.hub.say_all(relay.feeder.1, chunks);
    relay.hub.speaker.rib().attributes().len()
}

/// The feeder says again what it has said, which is no news.
#[inline(never)]
pub(crate) fn repeat_phase(relay: &mut Relay, chunks: &[Vec<u8>]) -> usize {
    relay.hub.say_all(relay.feeder.1, chunks);
    chunks.len()
}

/// Parts of the table go and come back, one after the other.
#[inline(never)]
pub(crate) fn churn_phase(relay: &mut Relay, flaps: &[[Vec<Vec<u8>>; 2]]) {
    for [gone, back] in flaps {
        relay.hub.say_all(relay.feeder.1, gone);
        relay.hub.say_all(relay.feeder.1, back);
    }
}

/// The clients' sessions come up.
#[inline(never)]
pub(crate) fn meet_phase(reflector: &mut Reflector, fars: &[Far]) {
    for together in fars.chunks(IN_ONE_TURN) {
        for far in together {
            let connection = reflector.hub.meet(*far);
            reflector.clients.push((*far, connection));
        }
        reflector.hub.settle();
    }
}

/// Each client says its blocks, and all others are told.
#[inline(never)]
pub(crate) fn distribute_phase(reflector: &mut Reflector, words: &[Vec<u8>]) {
    let clients = reflector.clients.iter().map(|(_, connection)| *connection);
    let said: Vec<_> = clients.zip(words).collect();
    for together in said.chunks(IN_ONE_TURN) {
        for (connection, word) in together {
            reflector.hub.say(*connection, word);
        }
        reflector.hub.settle();
    }
}

/// The `number`th pod block.
fn block(number: u32) -> Plain {
    (0x0AF4_0000 + (number << 6), 26)
}
