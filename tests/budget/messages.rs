//! What goes over the wire for a change: one encoding however many are told, the fewest messages, and
//! nothing for what was undone within its turn.

use dunlin::wire::frame::{HEADER_LEN, MAX_LEN, messages};

use crate::phases::{Reflector, Relay, meet_phase};
use crate::table::{Plain, nlri, update};

const CLIENTS: u32 = 500;

/// The `number`th prefix of length 24: four octets in a message.
fn prefix(number: u32) -> Plain {
    (0x1400_0000 + (number << 8), 24)
}

/// ORIGIN, AS_PATH, NEXT_HOP; the last AS tells sets from each other.
fn attributes(relay: &Relay, set: u32) -> Vec<u8> {
    let mut out = vec![0x40, 1, 1, 0, 0x40, 2, 10, 2, 2];
    out.extend(relay.feeder.0.asn.to_be_bytes());
    out.extend((100_000 + set).to_be_bytes());
    out.extend([0x40, 3, 4]);
    out.extend(relay.feeder.0.address.octets());
    out
}

impl Relay {
    fn say(&mut self, word: &[u8]) {
        self.hub.say(self.feeder.1, word);
    }

    fn announce(&mut self, set: u32, prefixes: &[Plain]) {
        let word = update(&[], &attributes(self, set), &nlri(prefixes));
        self.say(&word);
    }

    fn withdraw(&mut self, prefixes: &[Plain]) {
        self.say(&update(&nlri(prefixes), &[], &[]));
    }

    /// Ends the turn; UPDATEs that the monitor gets, with octets of attributes and of prefixes each.
    fn told(&mut self) -> Vec<(usize, usize)> {
        self.hub.kept = Some(Vec::new());
        self.hub.settle();
        let kept = self.hub.kept.take().unwrap();
        let mine = kept.iter().filter(|(to, _)| *to == self.monitor.1);
        let bodies = mine.flat_map(|(_, bytes)| messages(bytes).map(|(_, body)| body));
        let parts = bodies.map(|body| {
            let length = |at: usize| usize::from(u16::from_be_bytes([body[at], body[at + 1]]));
            let gone = length(0);
            let attributes = length(2 + gone);
            (attributes, body.len() - 4 - attributes)
        });
        parts.collect()
    }
}

#[test]
fn one_change_is_encoded_once_and_goes_to_all_clients_but_its_source() {
    let (mut reflector, fars) = Reflector::new(CLIENTS);
    meet_phase(&mut reflector, &fars);
    let words = reflector.words();
    let source = reflector.clients[7].1;
    let counts = |reflector: &Reflector| {
        let clients = reflector.clients.iter();
        let heard = clients.map(|(_, connection)| reflector.hub.heard(*connection).sends);
        let encoded = reflector.hub.speaker.rib().encoded_attributes();
        (encoded, heard.collect::<Vec<_>>())
    };
    let gone = update(&nlri(&[(0x0AF4_0000 + (28 << 6), 26)]), &[], &[]);
    // An announcement, its withdrawal.
    for (word, encodings) in [(&words[7], 1), (&gone, 0)] {
        let before = counts(&reflector);
        reflector.hub.say(source, word);
        reflector.hub.settle();
        let after = counts(&reflector);
        assert_eq!(after.0 - before.0, encodings);
        let sends: Vec<_> = after.1.iter().zip(&before.1).map(|(a, b)| a - b).collect();
        let expected: Vec<_> = (0..CLIENTS).map(|n| u64::from(n != 7)).collect();
        assert_eq!(sends, expected);
    }
}

#[test]
fn changes_of_one_turn_are_packed_into_the_fewest_updates() {
    let mut relay = Relay::new(1);
    let prefixes: Vec<_> = (0..3_000).map(prefix).collect();
    // Four sets, taking turns: 300 messages in.
    for (number, ten) in (0_u32..).zip(prefixes.chunks(10)) {
        relay.announce(number % 4, ten);
    }
    let told = relay.told();
    let (attributes, _) = told[0];
    let room = MAX_LEN - HEADER_LEN - 4;
    let fewest = 4 * (750_usize * 4).div_ceil(room - attributes);
    assert_eq!(told.len(), fewest, "{told:?}");
    assert_eq!(told.iter().map(|(_, octets)| octets).sum::<usize>(), 12_000);
    // All of it goes, in any order.
    for one in prefixes.iter().rev() {
        relay.withdraw(&[*one]);
    }
    let told = relay.told();
    assert_eq!(told.len(), (3_000_usize * 4).div_ceil(room), "{told:?}");
    assert!(told.iter().all(|(attributes, _)| *attributes == 0));
}

#[test]
fn what_is_undone_within_its_turn_is_not_told() {
    let mut relay = Relay::new(1);
    let (one, other) = ([prefix(1)], [prefix(2)]);
    relay.announce(1, &one);
    assert_eq!(relay.told().len(), 1);
    relay.announce(1, &other);
    relay.withdraw(&other);
    assert_eq!(relay.told(), [], "announced and withdrawn");
    relay.announce(1, &one);
    assert_eq!(relay.told(), [], "said again");
    relay.withdraw(&other);
    assert_eq!(relay.told(), [], "withdrawn though never announced");
}

/// The record of what was sent names the source of a route, not its attributes (4 octets a route), so a
/// route that was changed and changed back is told once again, as it was. At most that.
#[test]
fn what_was_changed_and_changed_back_is_told_once_at_most() {
    let mut relay = Relay::new(1);
    let one = [prefix(1)];
    relay.announce(1, &one);
    assert_eq!(relay.told().len(), 1);
    for set in [2, 3, 2, 1] {
        relay.announce(set, &one);
    }
    assert!(relay.told().len() <= 1);
    relay.withdraw(&one);
    relay.announce(1, &one);
    assert!(relay.told().len() <= 1);
}
