//! Peers come, and what is known of them changes while their routes are there.
//!
//! Neither sessions nor policy are here. What always holds: a route of a peer is chosen and sent by
//! what is known of the peer now, and a change of that costs the destinations that it is about.

use super::Rib;
use super::export::{ExportKind, ExportRoute, GroupKey, learnt_address};
use super::peer::{PeerFacts, PeerIndex, PeerKind};
use crate::net::Family;

impl Rib {
    /// Enters a peer or changes its facts. If it has routes (as after a graceful restart), they are
    /// compared again by the new ones, and sent again to whom the difference shows.
    pub fn set_peer(&mut self, peer: PeerIndex, facts: PeerFacts) {
        let old = self.peers.facts(peer).copied();
        self.peers.set(peer, facts);
        // What is our own has no facts that anybody compares or sends.
        let Some(old) = old.filter(|old| *old != facts && !peer.is_local()) else {
            return;
        };
        if Family::ALL
            .iter()
            .all(|family| self.counts(peer, *family).received == 0)
        {
            return;
        }
        if !self.peers.remember_facts(peer, old) {
            self.finish();
        }
        self.go_round(&Family::ALL);
    }

    /// Makes a peer of our AS a client or an ordinary peer while its routes are there: whoever may have
    /// them by the new rule only is sent them, whoever may no longer have them is told so. What the
    /// peer itself is sent is its group's matter: [`change_exports`](Self::change_exports), afterwards.
    pub fn set_peer_kind(&mut self, peer: PeerIndex, kind: PeerKind) {
        if let Some(&facts) = self.peers.facts(peer) {
            self.set_peer(peer, PeerFacts { kind, ..facts });
        }
    }

    /// The facts of a peer.
    pub fn peer(&self, peer: PeerIndex) -> Option<&PeerFacts> {
        self.peers.facts(peer)
    }

    /// Whether a route goes to everybody in a group but this peer, whose own address is its next hop (RFC
    /// 4271 §5.1.3).
    pub fn leads_to(&self, peer: PeerIndex, key: &GroupKey, route: &ExportRoute<'_>) -> bool {
        let learnt = self.store.next_hops().get(route.attributes.next_hop());
        let to = learnt_address(key, learnt, route.source);
        to.is_some() && to == self.peers.facts(peer).map(|facts| facts.address)
    }
}

/// Whether a group's members can tell the difference, by the rules of [`export`](super::export).
pub(super) fn shows(key: &GroupKey, old: &PeerFacts, new: &PeerFacts) -> bool {
    let internal = |kind| matches!(kind, PeerKind::Ibgp | PeerKind::IbgpClient);
    let beside = |kind| kind == PeerKind::Beside;
    if old.asn != new.asn || beside(old.kind) != beside(new.kind) {
        return true;
    }
    match key.kind {
        // A neighbour's own address may stay the next hop.
        ExportKind::Ebgp { .. } => {
            internal(old.kind) != internal(new.kind) || old.address != new.address
        }
        ExportKind::Ibgp => internal(old.kind) != internal(new.kind),
        // ORIGINATOR_ID; and what clients say goes to everybody.
        ExportKind::Reflect { to_clients, .. } => {
            let who = old.kind != new.kind && !to_clients;
            who || internal(old.kind) != internal(new.kind)
                || (internal(new.kind) && old.router_id != new.router_id)
        }
    }
}
