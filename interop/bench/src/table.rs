//! A deterministic routing table: which prefixes exist, and the bytes of the UPDATEs that announce them.
//!
//! The same size and seed give the same bytes on every machine. The shape follows a full Internet table:
//! lengths /16 to /24 with /24 for six of ten, about 7.2 prefixes an attribute set, AS paths of 2 to 8, seven
//! of ten with communities. No prefix covers another, so a base address alone names one. Not random in the
//! cryptographic sense, and not a copy of any real table.

use crate::wire;
use std::collections::HashMap;
use std::net::Ipv4Addr;

/// UPDATEs per prefix of the reference scenario: 139,322 for 1,000,000.
const UPDATES_PER_MILLION: usize = 139_322;

/// SplitMix64: small, seedable, good enough to shuffle and to draw attributes.
pub(crate) struct Rng(u64);

impl Rng {
    /// A generator that always gives the same sequence for this seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which must not be zero.
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        // The high half of a product: no modulo, and the bias of 2^-32 does not matter here.
        u32::try_from(((self.next() >> 32) * u64::from(bound)) >> 32).unwrap_or(0)
    }

    fn percent(&mut self, chance: u32) -> bool {
        self.below(100) < chance
    }
}

/// One prefix: base address and length.
pub(crate) type Prefix = (u32, u8);

/// The table and the messages that make and unmake it.
pub(crate) struct Table {
    /// Every prefix, in the order it is announced.
    pub(crate) prefixes: Vec<Prefix>,
    /// The UPDATEs that announce all of it.
    pub(crate) announce: Vec<u8>,
    /// How many UPDATEs `announce` holds.
    pub(crate) updates: usize,
    /// The UPDATEs that withdraw all of it, filled to the largest message size.
    pub(crate) withdraw: Vec<u8>,
}

impl Table {
    /// `count` prefixes announced by `first_as` with this next hop.
    pub(crate) fn new(count: usize, seed: u64, first_as: u32, next_hop: Ipv4Addr) -> Self {
        let mut rng = Rng::new(seed);
        let ordered = addresses(count, &mut rng);
        Self::of(&ordered, &mut rng, None, (first_as, next_hop))
    }

    /// These prefixes announced by this AS with this next hop. Two tables of the same prefixes and the same `rng`
    /// have the same sets of prefixes in the same order; `paths`, if given, draws other attributes for them.
    pub(crate) fn of(
        ordered: &[Prefix],
        rng: &mut Rng,
        paths: Option<Rng>,
        (first_as, next_hop): (u32, Ipv4Addr),
    ) -> Self {
        let count = ordered.len();
        let groups = (count * UPDATES_PER_MILLION / 1_000_000).max(1);
        let mut sets = cut(ordered, groups, rng);
        for i in (1..sets.len()).rev() {
            let j = rng.below(u32::try_from(i + 1).unwrap_or(u32::MAX)) as usize;
            sets.swap(i, j);
        }
        let mut drawn = paths.unwrap_or(Rng(rng.0));
        let mut announce = Vec::with_capacity(count * 16);
        let mut prefixes = Vec::with_capacity(count);
        let mut nlri = Vec::with_capacity(1024);
        let mut updates = 0;
        for set in sets {
            let attributes = attributes(&mut drawn, first_as, next_hop);
            // 500 prefixes of at most 4 octets and their attributes always fit a message.
            for part in set.chunks(500) {
                nlri.clear();
                for &(address, length) in part {
                    wire::put_prefix(&mut nlri, address, length);
                }
                announce.extend_from_slice(&wire::update(&[], &attributes, &nlri));
                updates += 1;
            }
            prefixes.extend_from_slice(set);
        }
        Self {
            withdraw: withdrawing(&prefixes),
            prefixes,
            announce,
            updates,
        }
    }
}

/// Non-overlapping unicast prefixes in ascending order; fewer than asked for if the space runs out.
pub(crate) fn addresses(count: usize, rng: &mut Rng) -> Vec<Prefix> {
    let mut out = Vec::with_capacity(count);
    let mut cursor: u32 = 0x0100_0000;
    while out.len() < count {
        let length = draw_length(rng);
        let size = 1u32 << (32 - u32::from(length));
        let Some(base) = cursor.checked_next_multiple_of(size) else {
            break;
        };
        if base >= 0xe000_0000 {
            break;
        }
        if let Some(end) = reserved_until(base, size) {
            cursor = end;
            continue;
        }
        out.push((base, length));
        cursor = base.saturating_add(size);
    }
    out
}

/// The share of each length is close to that of the Internet's table.
fn draw_length(rng: &mut Rng) -> u8 {
    match rng.below(100) {
        0..60 => 24,
        60..71 => 23,
        71..83 => 22,
        83..89 => 21,
        89..94 => 20,
        94..97 => 19,
        97..98 => 18,
        98..99 => 17,
        _ => 16,
    }
}

/// Where to go on when the block meets an address range that is not plain unicast, or the lab's own.
fn reserved_until(base: u32, size: u32) -> Option<u32> {
    const RESERVED: [(u32, u32); 6] = [
        (0x0a00_0000, 0x0b00_0000), // 10.0.0.0/8
        (0x6440_0000, 0x6480_0000), // 100.64.0.0/10
        (0x7f00_0000, 0x8000_0000), // 127.0.0.0/8
        (0xa9fe_0000, 0xa9ff_0000), // 169.254.0.0/16
        (0xac10_0000, 0xac20_0000), // 172.16.0.0/12
        (0xc000_0000, 0xc0a9_0000), // 192.0.0.0 up to 192.168.0.0/16
    ];
    let end = base.saturating_add(size);
    RESERVED
        .iter()
        .find(|&&(first, after)| base < after && first < end)
        .map(|&(_, after)| after)
}

/// Cuts the table into exactly `groups` runs by selection sampling: sizes come out geometric, as drawn cut
/// points give them.
fn cut<'a>(table: &'a [Prefix], groups: usize, rng: &mut Rng) -> Vec<&'a [Prefix]> {
    let mut out = Vec::with_capacity(groups);
    let mut rest = table;
    let mut size = 1;
    let mut cuts = groups.saturating_sub(1);
    for left in (1..table.len()).rev() {
        let bound = u32::try_from(left).unwrap_or(u32::MAX);
        if (rng.below(bound) as usize) < cuts {
            let (group, after) = rest.split_at(size.min(rest.len()));
            out.push(group);
            rest = after;
            size = 0;
            cuts -= 1;
        }
        size += 1;
    }
    out.push(rest);
    out
}

/// A set of path attributes: 14.8 MB for the reference table in all.
fn attributes(rng: &mut Rng, first_as: u32, next_hop: Ipv4Addr) -> Vec<u8> {
    let mut out = vec![0x40, 1, 1, if rng.percent(92) { 0 } else { 2 }];
    let hops = 1 + rng.below(3) + rng.below(3) + u32::from(rng.percent(25)) * rng.below(4);
    let hops = u8::try_from(hops).unwrap_or(1);
    out.extend_from_slice(&[0x40, 2, 2 + 4 * (hops + 1), 2, hops + 1]);
    out.extend_from_slice(&first_as.to_be_bytes());
    for _ in 0..hops {
        // Public numbers below AS_TRANS, or four-octet ones: never the daemon's own, so no loop.
        let asn = if rng.percent(70) {
            1 + rng.below(23_000)
        } else {
            131_072 + rng.below(270_000)
        };
        out.extend_from_slice(&asn.to_be_bytes());
    }
    out.extend_from_slice(&[0x40, 3, 4]);
    out.extend_from_slice(&next_hop.octets());
    if rng.percent(25) {
        out.extend_from_slice(&[0x80, 4, 4]);
        out.extend_from_slice(&rng.below(1000).to_be_bytes());
    }
    if rng.percent(70) {
        let count = u8::try_from(1 + rng.below(7)).unwrap_or(1);
        out.extend_from_slice(&[0xc0, 8, 4 * count]);
        for _ in 0..count {
            // 65535:x are the well-known ones (NO_EXPORT and friends): keep off them.
            out.extend_from_slice(&(1 + rng.below(60_000) as u16).to_be_bytes());
            out.extend_from_slice(&(rng.below(65_000) as u16).to_be_bytes());
        }
    }
    if rng.percent(8) {
        out.extend_from_slice(&[0xc0, 32, 12]);
        for _ in 0..3 {
            out.extend_from_slice(&(1 + rng.below(400_000)).to_be_bytes());
        }
    }
    out
}

/// Full-sized UPDATEs that announce prefixes with the same few attributes: blocks of a cluster look like that.
pub(crate) fn announcing(prefixes: &[Prefix], asn: u32, next_hop: Ipv4Addr) -> Vec<u8> {
    let mut attributes = vec![0x40, 1, 1, 0, 0x40, 2, 6, 2, 1];
    attributes.extend_from_slice(&asn.to_be_bytes());
    attributes.extend_from_slice(&[0x40, 3, 4]);
    attributes.extend_from_slice(&next_hop.octets());
    let mut out = Vec::with_capacity(prefixes.len() * 5);
    let mut nlri = Vec::new();
    for part in prefixes.chunks(900) {
        nlri.clear();
        for &(address, length) in part {
            wire::put_prefix(&mut nlri, address, length);
        }
        out.extend_from_slice(&wire::update(&[], &attributes, &nlri));
    }
    out
}

/// Full-sized UPDATEs that withdraw prefixes.
pub(crate) fn withdrawing(prefixes: &[Prefix]) -> Vec<u8> {
    let room = wire::MAX_MESSAGE - wire::HEADER - 4;
    let mut out = Vec::with_capacity(prefixes.len() * 4);
    let mut block = Vec::with_capacity(room);
    for &(address, length) in prefixes {
        if block.len() + 5 > room {
            out.extend_from_slice(&wire::update(&block, &[], &[]));
            block.clear();
        }
        wire::put_prefix(&mut block, address, length);
    }
    out.extend_from_slice(&wire::update(&block, &[], &[]));
    out
}

/// What a monitor has of a table: one octet for each /24 base, so a lookup is one load.
pub(crate) struct Progress {
    /// 0: not of the table; else the prefix length, with `PRESENT` set while announced.
    slots: Vec<u8>,
    /// How many of the table's prefixes are announced now.
    pub(crate) present: usize,
    /// Prefixes seen that are not of the table.
    pub(crate) strangers: usize,
    /// What the path attributes of the marked prefixes must be, as `essence` gives it.
    marked: HashMap<u32, Vec<u8>>,
    /// Marked prefixes that came with what they must have.
    pub(crate) right: usize,
    /// Marked prefixes that came with something else.
    pub(crate) wrong: usize,
}

const PRESENT: u8 = 0x80;
const MARKED: u8 = 0x40;
/// One of so many UPDATEs has its first prefix marked.
const MARK_EVERY: usize = 50;

/// The parts of an UPDATE's path attributes that a speaker passes on as they are, AS_PATH after `own_as`.
///
/// `None` if the path does not begin with that AS, or there is no path.
pub(crate) fn essence(body: &[u8], own_as: Option<u32>) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut has_path = false;
    wire::attributes(body, |code, value| {
        let value = match (code, own_as, value) {
            (2, Some(asn), [2, hops, a, b, c, d, rest @ ..]) => {
                has_path = u32::from_be_bytes([*a, *b, *c, *d]) == asn;
                out.extend_from_slice(&[2, hops.saturating_sub(1)]);
                rest
            }
            (2, None, [2, hops, rest @ ..]) => {
                has_path = true;
                out.extend_from_slice(&[2, *hops]);
                rest
            }
            (1, _, value) => {
                out.push(code);
                value
            }
            // Communities are a set: some daemons sort them.
            (8 | 32, _, value) => {
                let mut each: Vec<&[u8]> = value.chunks(if code == 8 { 4 } else { 12 }).collect();
                each.sort_unstable();
                out.push(code);
                out.extend(each.concat());
                return;
            }
            _ => return,
        };
        out.extend_from_slice(value);
    })
    .ok()?;
    has_path.then_some(out)
}

impl Progress {
    /// Nothing seen yet.
    pub(crate) fn new(table: &[Prefix]) -> Self {
        let mut slots = vec![0; 1 << 24];
        for &(address, length) in table {
            if let Some(slot) = slots.get_mut((address >> 8) as usize) {
                *slot = length;
            }
        }
        Self {
            slots,
            present: 0,
            strangers: 0,
            marked: HashMap::new(),
            right: 0,
            wrong: 0,
        }
    }

    /// Marks some prefixes of the table: their path attributes will be compared with what was announced.
    pub(crate) fn mark(&mut self, announce: &[u8]) {
        let mut rest = announce;
        let mut number = 0;
        while let Ok(Some(frame)) = wire::next_frame(rest) {
            rest = rest.get(frame.whole.len()..).unwrap_or_default();
            number += 1;
            let essence = essence(frame.body, None).filter(|_| number % MARK_EVERY == 0);
            let Some(essence) = essence else {
                continue;
            };
            let mut first = None;
            let walk = wire::prefixes(frame.body, |_, address, _| first = first.or(Some(address)));
            let slot = first.and_then(|a| self.slots.get_mut((a >> 8) as usize));
            if let (Ok(()), Some(address), Some(slot)) = (walk, first, slot) {
                *slot |= MARKED;
                self.marked.insert(address, essence);
            }
        }
    }

    /// The monitor got this UPDATE from a daemon of AS `own_as`.
    pub(crate) fn update(&mut self, body: &[u8], own_as: u32) -> Result<(), wire::Malformed> {
        let mut marked = None;
        wire::prefixes(body, |up, address, length| {
            if self.see(up, address, length) {
                marked = Some(address);
            }
        })?;
        if let Some(expected) = marked.and_then(|address| self.marked.get(&address)) {
            // A relay without a table does not put its AS in front.
            let same = essence(body, Some(own_as)).as_ref() == Some(expected);
            let (right, wrong) = (usize::from(same), usize::from(!same));
            (self.right, self.wrong) = (self.right + right, self.wrong + wrong);
        }
        Ok(())
    }

    /// The monitor saw this prefix announced or withdrawn. `true`: it is new, and marked.
    pub(crate) fn see(&mut self, announced: bool, address: u32, length: u8) -> bool {
        let slot = self.slots.get_mut((address >> 8) as usize);
        match slot.filter(|slot| **slot & !(PRESENT | MARKED) == length && length != 0) {
            Some(slot) => match (*slot & PRESENT != 0, announced) {
                (false, true) => {
                    *slot |= PRESENT;
                    self.present += 1;
                    return *slot & MARKED != 0;
                }
                (true, false) => {
                    *slot &= !PRESENT;
                    self.present -= 1;
                }
                (true, true) | (false, false) => {}
            },
            None => self.strangers += 1,
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    const HOP: Ipv4Addr = Ipv4Addr::new(172, 31, 0, 2);

    #[test]
    fn the_reference_table_has_the_reference_shape() {
        let table = Table::new(1_000_000, 1, 65_001, HOP);
        assert_eq!(table.prefixes.len(), 1_000_000);
        assert_eq!(table.updates, 139_322);
        let megabytes = table.announce.len() as f64 / 1e6;
        assert!((14.0..15.6).contains(&megabytes), "{megabytes} MB");
        let bases: HashSet<u32> = table.prefixes.iter().map(|p| p.0).collect();
        assert_eq!(bases.len(), 1_000_000, "a base address names one prefix");
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes_and_another_one_does_not() {
        let table = |seed| Table::new(1000, seed, 65_001, HOP).announce;
        assert_eq!(table(7), table(7));
        assert_ne!(table(7), table(8));
    }

    #[test]
    fn announcing_and_withdrawing_the_bytes_leaves_nothing() {
        let table = Table::new(5000, 3, 65_001, HOP);
        let mut progress = Progress::new(&table.prefixes);
        for (bytes, want) in [(&table.announce, 5000), (&table.withdraw, 0)] {
            let mut rest: &[u8] = bytes;
            while let Some(frame) = wire::next_frame(rest).unwrap() {
                progress.update(frame.body, 65_000).unwrap();
                rest = &rest[frame.whole.len()..];
            }
            assert!(rest.is_empty());
            assert_eq!((progress.present, progress.strangers), (want, 0));
        }
    }

    #[test]
    fn a_marked_prefix_must_come_with_its_attributes_behind_the_daemons_as() {
        let nlri = [24, 1, 2, 3];
        let path = |hops: &[u8]| {
            let length = u8::try_from(hops.len()).unwrap();
            let head = [0x40, 1, 1, 0, 0x40, 2, length + 2, 2, length / 4];
            [&head, hops].concat()
        };
        let sent = wire::update(&[], &path(&[0, 0, 0, 7]), &nlri);
        let announce = sent.repeat(MARK_EVERY);
        let arrives = |hops: &[u8]| {
            let mut progress = Progress::new(&[(0x0102_0300, 24)]);
            progress.mark(&announce);
            let got = wire::update(&[], &path(hops), &nlri);
            progress.update(&got[wire::HEADER..], 9).unwrap();
            (progress.present, progress.right, progress.wrong)
        };
        assert_eq!(arrives(&[0, 0, 0, 9, 0, 0, 0, 7]), (1, 1, 0));
        assert_eq!(arrives(&[0, 0, 0, 9, 0, 0, 0, 8]), (1, 0, 1));
        assert_eq!(arrives(&[0, 0, 0, 7]), (1, 0, 1));
    }

    #[test]
    fn a_prefix_of_another_length_is_a_stranger() {
        let mut progress = Progress::new(&[(0x0102_0300, 24)]);
        progress.see(true, 0x0102_0300, 23);
        progress.see(true, 0x0909_0900, 24);
        assert_eq!((progress.present, progress.strangers), (0, 2));
    }
}
