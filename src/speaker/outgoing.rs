//! Which link each next hop is reached by, for filters that ask for the interface.
//!
//! The dataplane's word, kept here by name. It is part of a policy only where a rule asks for it: then
//! another link of some next hop is another policy, which is applied to the routes that are there like
//! any other. Nobody else is touched, and nothing here resolves anything.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Speaker;
use super::peer::PeerEntry;
use crate::net::ScopedAddress;
use crate::policy::{Direction, Links};
use crate::rib::PeerIndex;

impl Speaker {
    /// The links that next hops are reached by now, by name; `None` for one that is not reached. To be
    /// said before what it means for the routes ([`next_hops_resolved`](Self::next_hops_resolved)).
    pub fn next_hops_leave_by(&mut self, found: &[(ScopedAddress, Option<Arc<str>>)]) {
        let differs = |(next_hop, link): &&(ScopedAddress, Option<Arc<str>>)| {
            self.links.get(next_hop).map(AsRef::as_ref) != link.as_deref()
        };
        let changed: Vec<_> = found.iter().filter(differs).cloned().collect();
        if changed.is_empty() {
            return;
        }
        let links = Arc::make_mut(&mut self.links);
        for (next_hop, link) in changed {
            match link {
                Some(link) => links.insert(next_hop, link),
                None => links.remove(&next_hop),
            };
        }
        self.apply_links();
    }

    /// Nobody asks for a next hop any more.
    pub(super) fn forget_link(&mut self, next_hop: ScopedAddress) {
        if self.links.contains_key(&next_hop) {
            Arc::make_mut(&mut self.links).remove(&next_hop);
        }
    }

    /// The links as a policy of the peer sees them, if a rule of its filters asks.
    pub(super) fn links_for(&self, peer: &PeerEntry, direction: Direction) -> Option<Arc<Links>> {
        asks(peer, direction).then(|| Arc::clone(&self.links))
    }

    fn apply_links(&mut self) {
        let of = |direction: Direction| -> BTreeSet<PeerIndex> {
            let indices = self.indices().into_iter();
            let asking = indices.filter(|index| {
                let peer = self.peer(*index);
                peer.is_some_and(|peer| asks(peer, direction))
            });
            asking.collect()
        };
        let (import, export) = (of(Direction::Import), of(Direction::Export));
        self.judge_again(&import);
        if !export.is_empty() {
            self.change_exports();
        }
    }
}

fn asks(peer: &PeerEntry, direction: Direction) -> bool {
    let filters = &peer.planned.filters;
    filters
        .iter()
        .any(|filter| filter.asks_for_interface(direction))
}
