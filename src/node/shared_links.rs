//! Which peers are neighbours on a link, and this node's link-local address there: what RFC 2545 §3 wants
//! beside a global IPv6 next hop.
//!
//! The dataplane is asked where each peer's address is, and tells when that changes; nothing is resolved
//! here. What always holds: a peer that can't be reached just now stays on the link where it was, since
//! its routes would all be sent anew for a link that goes and comes back.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};

use crate::dataplane::{Dataplane, NextHop, Reach, Resolution};
use crate::net::ScopedAddress;

/// What is known of them.
#[derive(Debug, Default)]
pub(super) struct SharedLinks {
    asked: BTreeSet<IpAddr>,
    /// The link of each peer that is on one.
    links: BTreeMap<IpAddr, u32>,
    /// The state of links and addresses that was looked at last.
    revision: Option<u64>,
    said: BTreeMap<IpAddr, Ipv6Addr>,
}

impl SharedLinks {
    /// How many are asked about.
    pub(super) fn peers(&self) -> usize {
        self.asked.len()
    }

    /// Asks about one more.
    pub(super) fn add_peer(&mut self, dataplane: &mut Dataplane, peer: IpAddr) {
        if is_routed(&peer) && self.asked.insert(peer) {
            self.ask(dataplane, peer);
        }
    }

    /// Asks about these peers and no others.
    pub(super) fn set_peers(
        &mut self,
        dataplane: &mut Dataplane,
        peers: impl Iterator<Item = IpAddr>,
    ) {
        let wanted: BTreeSet<IpAddr> = peers.filter(is_routed).collect();
        let before = core::mem::replace(&mut self.asked, wanted);
        for gone in before.difference(&self.asked) {
            dataplane.untrack(&NextHop::routed(*gone));
            self.links.remove(gone);
        }
        let come: Vec<IpAddr> = self.asked.difference(&before).copied().collect();
        for peer in come {
            self.ask(dataplane, peer);
        }
        self.revision = None;
    }

    fn ask(&mut self, dataplane: &mut Dataplane, peer: IpAddr) {
        let next_hop = NextHop::routed(peer);
        dataplane.track(next_hop.clone());
        let found = dataplane.resolve(&next_hop);
        self.told(&next_hop, &found);
        self.revision = None;
    }

    /// An answer of the dataplane, which may be about others.
    pub(super) fn told(&mut self, next_hop: &NextHop, found: &Resolution) {
        let peer = next_hop.address;
        if next_hop.reach != Reach::Routed || !self.asked.contains(&peer) {
            return;
        }
        let Resolution::Reachable { hops, direct, .. } = found else {
            return;
        };
        self.revision = None;
        match hops.first().and_then(|hop| hop.interface) {
            Some(link) if *direct => self.links.insert(peer, link),
            Some(_) | None => self.links.remove(&peer),
        };
    }

    /// This node's link-local address on the link of each peer that is on one, if that is news.
    pub(super) fn news(&mut self, dataplane: &Dataplane) -> Option<BTreeMap<IpAddr, Ipv6Addr>> {
        let view = dataplane.view();
        if self.revision.replace(view.links_revision()) == Some(view.links_revision()) {
            return None;
        }
        let mut own: BTreeMap<u32, Ipv6Addr> = BTreeMap::new();
        for address in view.addresses() {
            if let IpAddr::V6(v6) = address.address
                && v6.is_unicast_link_local()
            {
                own.entry(address.interface).or_insert(v6);
            }
        }
        let beside = |(peer, link): (&IpAddr, &u32)| Some((*peer, *own.get(link)?));
        let found: BTreeMap<IpAddr, Ipv6Addr> = self.links.iter().filter_map(beside).collect();
        if found == self.said {
            return None;
        }
        self.said.clone_from(&found);
        Some(found)
    }
}

/// A link-local address is on the link of its session, whatever routes say.
fn is_routed(peer: &IpAddr) -> bool {
    !ScopedAddress::from(*peer).is_link_local()
}
