//! Communities of all kinds (RFC 1997, RFC 4360, RFC 8092).
//!
//! Values are kept as received; what a well-known one asks for is policy's business.

use core::fmt;

use super::LargeCommunity;

/// GRACEFUL_SHUTDOWN (RFC 8326).
pub const GRACEFUL_SHUTDOWN: u32 = 0xFFFF_0000;
/// LLGR_STALE (RFC 9494).
pub const LLGR_STALE: u32 = 0xFFFF_0006;
/// NO_LLGR (RFC 9494).
pub const NO_LLGR: u32 = 0xFFFF_0007;
/// BLACKHOLE (RFC 7999).
pub const BLACKHOLE: u32 = 0xFFFF_029A;
/// NO_EXPORT (RFC 1997).
pub const NO_EXPORT: u32 = 0xFFFF_FF01;
/// NO_ADVERTISE (RFC 1997).
pub const NO_ADVERTISE: u32 = 0xFFFF_FF02;
/// NO_EXPORT_SUBCONFED (RFC 1997).
pub const NO_EXPORT_SUBCONFED: u32 = 0xFFFF_FF03;
/// NO_PEER (RFC 3765).
pub const NO_PEER: u32 = 0xFFFF_FF04;

/// The whole `N`-octet groups of a value whose length has been checked.
pub(super) fn groups<const N: usize>(value: &[u8]) -> Vec<[u8; N]> {
    value.as_chunks::<N>().0.to_vec()
}

/// COMMUNITIES.
pub(super) fn parse(value: &[u8]) -> Vec<u32> {
    value
        .as_chunks::<4>()
        .0
        .iter()
        .map(|octets| u32::from_be_bytes(*octets))
        .collect()
}

/// LARGE_COMMUNITY, without duplicates (RFC 8092 §3), in the order received.
pub(super) fn parse_large(value: &[u8]) -> Vec<LargeCommunity> {
    let (all, _) = value.as_chunks::<12>();
    let word = |octets: &[u8]| {
        octets
            .first_chunk::<4>()
            .map_or(0, |octets| u32::from_be_bytes(*octets))
    };
    let mut list: Vec<LargeCommunity> = all
        .iter()
        .map(|octets| LargeCommunity {
            global: word(octets),
            local1: word(octets.get(4..).unwrap_or_default()),
            local2: word(octets.get(8..).unwrap_or_default()),
        })
        .collect();
    let mut sorted = list.clone();
    sorted.sort_unstable();
    sorted.dedup();
    // Looking each one up in the list itself would be quadratic in a number that the peer chooses.
    if sorted.len() < list.len() {
        let mut seen = vec![false; sorted.len()];
        list.retain(|community| {
            let slot = sorted
                .binary_search(community)
                .ok()
                .and_then(|at| seen.get_mut(at));
            slot.is_some_and(|slot| !core::mem::replace(slot, true))
        });
    }
    list
}

impl fmt::Display for LargeCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.global, self.local1, self.local2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_community_is_kept_once_and_in_place() {
        let large = |n: u32| LargeCommunity {
            global: n,
            local1: 0,
            local2: 1,
        };
        let octets: Vec<u8> = [3, 1, 3, 2, 1]
            .iter()
            .flat_map(|n: &u32| [n.to_be_bytes(), [0; 4], [0, 0, 0, 1]].concat())
            .collect();
        assert_eq!(parse_large(&octets), [large(3), large(1), large(2)]);
    }
}
