//! The blocks that many peers announce, as nodes of a cluster do, and who has got whose.
//!
//! Peer j announces up to four /26 of 10.0.0.0/8. Who should get them follows from the kinds of the two
//! sessions: everybody but the announcer, except that a speaker that is no reflector passes nothing from one
//! iBGP peer to another (RFC 4271, section 9.2); a reflector does so to its clients (RFC 4456).

use crate::daemon::LOCAL_AS;
use crate::session::PeerConfig;
use crate::wire;
use std::net::Ipv4Addr;

/// The first address of all blocks.
const BASE: u32 = 0x0a00_0000;
/// A peer's blocks lie in a /24 of its own.
const PER_PEER: u32 = 256;
/// Addresses of a block.
const BLOCK: u32 = 64;

/// Who has got what.
pub(super) struct Blocks {
    each: usize,
    ibgp: Vec<bool>,
    /// All iBGP peers are clients.
    reflected: bool,
    /// One row for each receiver, one octet for each block.
    have: Vec<Vec<bool>>,
    count: usize,
}

impl Blocks {
    /// Nobody has anything; each peer is to announce `each` blocks, at most four.
    pub(super) fn new(peers: &[PeerConfig], each: usize) -> Self {
        let blocks = peers.len() * each;
        Self {
            each,
            ibgp: peers.iter().map(|peer| peer.asn == LOCAL_AS).collect(),
            reflected: false,
            have: vec![vec![false; blocks]; peers.len()],
            count: 0,
        }
    }

    /// The same, where the daemon reflects from client to client.
    pub(super) fn reflected(peers: &[PeerConfig], each: usize) -> Self {
        Self {
            reflected: true,
            ..Self::new(peers, each)
        }
    }

    /// How many pairs of block and receiver there are in the end.
    pub(super) fn expected(&self) -> usize {
        let peers = self.ibgp.len();
        let inner = self.ibgp.iter().filter(|ibgp| **ibgp && !self.reflected);
        let inner = inner.count();
        let pairs = peers * peers.saturating_sub(1) - inner * inner.saturating_sub(1);
        pairs * self.each
    }

    /// How many of them there are now.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// A receiver saw a prefix come or go.
    pub(super) fn see(&mut self, receiver: usize, announced: bool, address: u32) {
        let Some(block) = self
            .number(address)
            .filter(|block| block / self.each != receiver)
        else {
            return;
        };
        let slot = self
            .have
            .get_mut(receiver)
            .and_then(|row| row.get_mut(block));
        if let Some(slot) = slot.filter(|slot| **slot != announced) {
            *slot = announced;
            if announced {
                self.count += 1;
            } else {
                self.count -= 1;
            }
        }
    }

    /// A receiver lost its session and with it all it had.
    pub(super) fn forget(&mut self, receiver: usize) {
        for slot in self.have.get_mut(receiver).into_iter().flatten() {
            self.count -= usize::from(*slot);
            *slot = false;
        }
    }

    fn number(&self, address: u32) -> Option<usize> {
        let (peer, rest) = self.owner(address)?;
        Some(peer * self.each + rest)
    }

    /// Whose block begins at this address, and which of his it is.
    pub(super) fn owner(&self, address: u32) -> Option<(usize, usize)> {
        let offset = address.checked_sub(BASE)?;
        let (peer, rest) = (
            (offset / PER_PEER) as usize,
            (offset % PER_PEER / BLOCK) as usize,
        );
        (offset % BLOCK == 0 && peer < self.ibgp.len() && rest < self.each).then_some((peer, rest))
    }

    /// What peer `index` sends when its session is up: its blocks and End-of-RIB.
    pub(super) fn announcement(&self, index: usize, peer: &PeerConfig) -> Vec<u8> {
        if self.each == 0 {
            return wire::end_of_rib();
        }
        let mut nlri = Vec::new();
        for block in 0..self.each {
            put_block(&mut nlri, index, block);
        }
        let attributes = attributes(peer.asn, peer.id);
        let mut out = wire::update(&[], &attributes, &nlri);
        out.extend_from_slice(&wire::end_of_rib());
        out
    }
}

/// An UPDATE that withdraws a peer's first block, or announces it with this MULTI_EXIT_DISC.
pub(super) fn change(index: usize, peer: &PeerConfig, metric: Option<u32>) -> Vec<u8> {
    let mut prefix = Vec::new();
    put_block(&mut prefix, index, 0);
    let Some(metric) = metric else {
        return wire::update(&prefix, &[], &[]);
    };
    let mut attributes = attributes(peer.asn, peer.id);
    attributes.extend_from_slice(&[0x80, 4, 4]);
    attributes.extend_from_slice(&metric.to_be_bytes());
    wire::update(&[], &attributes, &prefix)
}

fn put_block(out: &mut Vec<u8>, peer: usize, block: usize) {
    let number = |n: usize| u32::try_from(n).unwrap_or(0);
    let address = BASE + number(peer) * PER_PEER + number(block) * BLOCK;
    wire::put_prefix(out, address, 26);
}

fn attributes(asn: u32, next_hop: Ipv4Addr) -> Vec<u8> {
    let mut out = vec![0x40, 1, 1, 0];
    if asn == LOCAL_AS {
        // Inside the AS: an empty path, and LOCAL_PREF is mandatory.
        out.extend_from_slice(&[0x40, 2, 0, 0x40, 5, 4, 0, 0, 0, 100]);
    } else {
        out.extend_from_slice(&[0x40, 2, 6, 2, 1]);
        out.extend_from_slice(&asn.to_be_bytes());
    }
    out.extend_from_slice(&[0x40, 3, 4]);
    out.extend_from_slice(&next_hop.octets());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Role;

    fn peers(asns: &[u32]) -> Vec<PeerConfig> {
        let id = Ipv4Addr::LOCALHOST;
        let config = |&asn| PeerConfig {
            local: id.into(),
            remote: (id, 179).into(),
            id,
            asn,
            hold_time: 9,
            four_octet: true,
            opening: None,
            role: Role::Accept { by_local: true },
        };
        asns.iter().map(config).collect()
    }

    #[test]
    fn ibgp_peers_are_not_expected_to_get_each_others_blocks() {
        assert_eq!(Blocks::new(&peers(&[1, 2, 3]), 4).expected(), 24);
        assert_eq!(
            Blocks::new(&peers(&[LOCAL_AS, LOCAL_AS, 3]), 4).expected(),
            16
        );
        assert_eq!(Blocks::new(&peers(&[LOCAL_AS; 3]), 4).expected(), 0);
        let clients = peers(&[LOCAL_AS; 3]);
        assert_eq!(Blocks::reflected(&clients, 4).expected(), 24);
    }

    #[test]
    fn a_block_has_an_owner_and_its_neighbour_addresses_have_none() {
        let blocks = Blocks::new(&peers(&[1, 2, 3]), 2);
        assert_eq!(blocks.owner(BASE + PER_PEER + BLOCK), Some((1, 1)));
        for stranger in [1, 2 * BLOCK, 3 * PER_PEER] {
            assert_eq!(blocks.owner(BASE + stranger), None);
        }
    }

    #[test]
    fn what_one_peer_announces_counts_once_for_each_other_one() {
        let peers = peers(&[1, 2, 3]);
        let mut blocks = Blocks::new(&peers, 4);
        let bytes = blocks.announcement(1, &peers[1]);
        let Ok(Some(frame)) = wire::next_frame(&bytes) else {
            panic!("an UPDATE comes first");
        };
        for receiver in [0, 1, 2, 2] {
            let walk = wire::prefixes(frame.body, |up, address, _| {
                blocks.see(receiver, up, address)
            });
            assert_eq!(walk, Ok(()));
        }
        assert_eq!(blocks.count(), 8, "not its own, and no block twice");
        blocks.see(0, false, BASE + PER_PEER);
        blocks.forget(2);
        assert_eq!(blocks.count(), 3);
    }
}
