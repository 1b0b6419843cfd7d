//! A deterministic routing table as UPDATEs: what a feeder says in the order it says it.
//!
//! The same size gives the same octets on every machine. The shape is that of the interop bench's `s1`:
//! 139,322 distinct attribute sets a million prefixes, so that about 7.2 prefixes share a set and an
//! UPDATE; lengths /20 to /24; paths of two to six AS numbers. Not a copy of any real table. No prefix
//! covers another one.

use std::net::Ipv4Addr;

use dunlin::rng::Rng;
use dunlin::wire::frame::{HEADER_LEN, MAX_LEN};

/// Attribute sets for each million prefixes.
const SETS_PER_MILLION: usize = 139_322;
/// What a reader hands over at once, as in `transport`.
const CHUNK: usize = 64 * 1024;
/// Prefixes that always fit a message with their attributes.
const MOST_IN_ONE: usize = 600;

/// A base address and a length.
pub(crate) type Plain = (u32, u8);

/// One set of attributes and the prefixes that have it.
pub(crate) struct Set {
    pub(crate) attributes: Vec<u8>,
    pub(crate) prefixes: Vec<Plain>,
}

/// The table.
pub(crate) struct Table {
    pub(crate) sets: Vec<Set>,
}

impl Table {
    /// `count` prefixes (at most four million) of a feeder of this AS and next hop.
    pub(crate) fn new(count: usize, asn: u32, next_hop: Ipv4Addr) -> Self {
        let mut rng = Rng::new(0x00D0_711A);
        let prefixes = prefixes(count, &mut rng);
        let sets = (count * SETS_PER_MILLION / 1_000_000).clamp(1, count.max(1));
        let mut runs = cut(&prefixes, sets, &mut rng);
        for i in (1..runs.len()).rev() {
            runs.swap(i, below(&mut rng, i + 1));
        }
        let runs = (0_u32..).zip(runs);
        let sets = runs.map(|(number, run)| Set {
            attributes: attributes(&mut rng, number, asn, next_hop),
            prefixes: run.to_vec(),
        });
        Self {
            sets: sets.collect(),
        }
    }

    /// Whole UPDATEs that announce everything, in the pieces that a reader hands over.
    pub(crate) fn announce(&self) -> Vec<Vec<u8>> {
        let messages = self.sets.iter().flat_map(|set| {
            let parts = set.prefixes.chunks(MOST_IN_ONE);
            parts.map(|part| update(&[], &set.attributes, &nlri(part)))
        });
        chunks(messages)
    }

    /// Whole UPDATEs, as full as they get, that withdraw everything in the order of the announcements.
    pub(crate) fn withdraw(&self) -> Vec<Vec<u8>> {
        let all = self
            .sets
            .iter()
            .flat_map(|set| set.prefixes.iter().copied());
        chunks(withdrawals(all).into_iter())
    }

    /// Every `step`th set from `first` on, taken back and then said again: both as chunks.
    pub(crate) fn flap(&self, first: usize, step: usize) -> [Vec<Vec<u8>>; 2] {
        let some = || self.sets.iter().skip(first).step_by(step);
        let prefixes = some().flat_map(|set| set.prefixes.iter().copied());
        let again = some().map(|set| update(&[], &set.attributes, &nlri(&set.prefixes)));
        [chunks(withdrawals(prefixes).into_iter()), chunks(again)]
    }
}

/// One UPDATE.
pub(crate) fn update(withdrawn: &[u8], attributes: &[u8], nlri: &[u8]) -> Vec<u8> {
    let length = HEADER_LEN + 4 + withdrawn.len() + attributes.len() + nlri.len();
    let mut out = vec![0xff; 16];
    for (length, part) in [
        (length, None),
        (withdrawn.len(), Some(withdrawn)),
        (attributes.len(), Some(attributes)),
    ] {
        out.extend(u16::try_from(length).unwrap().to_be_bytes());
        match part {
            None => out.push(2),
            Some(part) => out.extend_from_slice(part),
        }
    }
    out.extend_from_slice(nlri);
    out
}

/// Prefixes as they stand in a message.
pub(crate) fn nlri(prefixes: &[Plain]) -> Vec<u8> {
    let mut out = Vec::with_capacity(prefixes.len() * 5);
    for &(address, length) in prefixes {
        out.push(length);
        out.extend_from_slice(&address.to_be_bytes()[..usize::from(length.div_ceil(8))]);
    }
    out
}

fn withdrawals(prefixes: impl Iterator<Item = Plain>) -> Vec<Vec<u8>> {
    let room = MAX_LEN - HEADER_LEN - 4;
    let (mut messages, mut block) = (Vec::new(), Vec::new());
    for prefix in prefixes {
        let next = nlri(&[prefix]);
        if block.len() + next.len() > room {
            messages.push(update(&block, &[], &[]));
            block.clear();
        }
        block.extend(next);
    }
    messages.push(update(&block, &[], &[]));
    messages
}

fn chunks(messages: impl Iterator<Item = Vec<u8>>) -> Vec<Vec<u8>> {
    let mut out: Vec<Vec<u8>> = Vec::new();
    for message in messages {
        match out
            .last_mut()
            .filter(|last| last.len() + message.len() <= CHUNK)
        {
            Some(last) => last.extend(message),
            None => out.push(message),
        }
    }
    out
}

fn prefixes(count: usize, rng: &mut Rng) -> Vec<Plain> {
    let mut next: u32 = 0x0100_0000;
    let lengths = core::iter::repeat_with(|| match rng.below(100) {
        0..60 => 24,
        60..75 => 23,
        75..90 => 22,
        90..95 => 21,
        _ => 20,
    });
    let placed = lengths.take(count).map(|length| {
        let size = 1_u32 << (32 - u32::from(length));
        let base = next.next_multiple_of(size);
        next = base + size;
        (base, length)
    });
    placed.collect()
}

/// Exactly `sets` runs of at least one prefix; every choice of cuts is equally likely.
fn cut<'a>(prefixes: &'a [Plain], sets: usize, rng: &mut Rng) -> Vec<&'a [Plain]> {
    let (mut runs, mut begin) = (Vec::with_capacity(sets), 0);
    for at in 1..prefixes.len() {
        let wanted = sets - 1 - runs.len();
        if below(rng, prefixes.len() - at) < wanted {
            runs.push(&prefixes[begin..at]);
            begin = at;
        }
    }
    runs.push(&prefixes[begin..]);
    runs
}

/// A set that no other number has: its last AS is its own.
fn attributes(rng: &mut Rng, number: u32, asn: u32, next_hop: Ipv4Addr) -> Vec<u8> {
    let between = rng.below(5);
    let mut path = vec![asn];
    path.extend((0..between).map(|_| 1_000 + draw(rng, 60_000)));
    path.push(200_000 + number);
    let mut out = vec![0x40, 1, 1, 0, 0x40, 2];
    let count = u8::try_from(path.len()).unwrap();
    out.extend([2 + 4 * count, 2, count]);
    out.extend(path.into_iter().flat_map(u32::to_be_bytes));
    out.extend([0x40, 3, 4]);
    out.extend(next_hop.octets());
    if rng.below(4) == 0 {
        out.extend([0x80, 4, 4]);
        out.extend(draw(rng, 1_000).to_be_bytes());
    }
    let communities = u8::try_from(rng.below(5)).unwrap();
    if communities > 0 {
        out.extend([0xc0, 8, 4 * communities]);
        for _ in 0..communities {
            // Below 65535:0 there is no well-known one.
            let community = (1_000 + draw(rng, 60_000)) << 16 | draw(rng, 1_000);
            out.extend(community.to_be_bytes());
        }
    }
    out
}

fn draw(rng: &mut Rng, bound: u32) -> u32 {
    u32::try_from(rng.below(u64::from(bound))).unwrap()
}

fn below(rng: &mut Rng, bound: usize) -> usize {
    usize::try_from(rng.below(bound as u64)).unwrap()
}
