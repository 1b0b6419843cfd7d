//! A hash of prefixes under which neighbours lie side by side in a table.
//!
//! It is no table and keeps nothing. Routes come and go in runs of neighbouring prefixes, and a table of
//! a hundred thousand is larger than the caches: one line of them then serves a whole run. What always
//! holds: which line is the secret of the hasher's seed, so that whoever chooses prefixes can fill one line
//! and no more.

use std::hash::BuildHasher as _;

use super::{Hashing, Prefix4, Prefix6};

/// So many neighbouring prefixes of a length lie side by side.
const NEIGHBOURS: u64 = 16;
/// Where the bits begin that a table takes for a first comparison; they have to tell neighbours apart.
const TAG: u32 = 64 - 7;

/// A prefix of one family as a key.
pub trait Neighbourly: Copy + Eq {
    /// Its hash.
    fn neighbourly_hash(self, hasher: &Hashing) -> u64;
}

impl Neighbourly for Prefix4 {
    #[inline]
    fn neighbourly_hash(self, hasher: &Hashing) -> u64 {
        let number = u64::from(self.bits()) >> 32_u8.saturating_sub(self.len());
        let line = hasher.hash_one(((number / NEIGHBOURS) << 8) | u64::from(self.len()));
        side_by_side(line, number)
    }
}

impl Neighbourly for Prefix6 {
    #[inline]
    fn neighbourly_hash(self, hasher: &Hashing) -> u64 {
        let shift = u32::from(128_u8.saturating_sub(self.len()));
        let number = self.bits().checked_shr(shift).unwrap_or(0);
        let line = hasher.hash_one((number / u128::from(NEIGHBOURS), self.len()));
        side_by_side(line, number as u64)
    }
}

#[inline]
const fn side_by_side(line: u64, number: u64) -> u64 {
    let place = number % NEIGHBOURS;
    let tag = (line >> TAG) ^ (place << 3);
    let slot = (line / NEIGHBOURS * NEIGHBOURS) | place;
    (slot & (u64::MAX >> 7)) | (tag << TAG)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_neighbours_have_sixteen_places_in_a_row_and_tags_of_their_own() {
        let hasher = Hashing::secret(7);
        let low = |hash: u64| hash & 0xFFFF;
        let hash = |at: u32| Prefix4::new(0x0A00_0000 + (at << 8), 24).neighbourly_hash(&hasher);
        let first = low(hash(0));
        assert_eq!(first % NEIGHBOURS, 0);
        let mut tags = Vec::new();
        for at in 0..16 {
            assert_eq!(low(hash(at)), first + u64::from(at));
            tags.push(hash(at) >> TAG);
        }
        tags.sort_unstable();
        tags.dedup();
        assert_eq!(tags.len(), 16);
        let host = |at: u128| Prefix6::new(at, 128).neighbourly_hash(&hasher);
        assert_eq!(low(host(33)), low(host(32)) + 1);
        assert_eq!(Prefix6::new(0, 0).neighbourly_hash(&hasher) % NEIGHBOURS, 0);
    }

    #[test]
    fn lines_are_spread_and_differ_by_length_and_seed() {
        let hash = |seed: u64, at: u32, len| {
            Prefix4::new(at << 12, len).neighbourly_hash(&Hashing::secret(seed)) & 0xFFFF
        };
        let mut lines: Vec<u64> = (0..1_000).map(|at| hash(1, at, 24)).collect();
        lines.sort_unstable();
        lines.dedup();
        assert!(lines.len() > 800, "{}", lines.len());
        assert_ne!(hash(1, 5, 24), hash(1, 5, 23));
        assert_ne!(hash(1, 5, 24), hash(2, 5, 24));
    }
}
