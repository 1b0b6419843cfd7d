//! A live member changes groups (its policy has changed), and what a member has been sent.

use super::{Exports, Tables};
use crate::net::Family;
use crate::rib::export::GroupKey;
use crate::rib::peer::PeerIndex;

impl Exports {
    /// Moves a member to the group of `key` together with the record of what it has. The whole table
    /// is looked at again: what the new group does not get is withdrawn, the rest is sent anew.
    pub(crate) fn regroup(&mut self, tables: &mut Tables, peer: PeerIndex, key: GroupKey) {
        let family = key.family;
        let Some(index) = self.cohort_of(peer, family) else {
            return self.add(tables, peer, key);
        };
        let own = match self.cohort(index) {
            Some(cohort) if cohort.members.len() > 1 => {
                self.split(tables, index, family, |member| member == peer)
            }
            Some(_) | None => index,
        };
        let Some(mut cohort) = self.take_out(own, family) else {
            return;
        };
        cohort.ready = false;
        cohort.group = self.group(key);
        // What is pending stays pinned in the table, as the queue moves with the cohort.
        cohort.restart(false);
        let own = self.insert(cohort, family);
        self.set_cohort(peer, family, Some(own));
        self.wake(own);
    }

    /// How many prefixes of a family a peer has from us.
    pub(crate) fn advertised(&self, peer: PeerIndex, family: Family) -> usize {
        let cohort = self
            .cohort_of(peer, family)
            .and_then(|index| self.cohort(index));
        // The record's own source never got its route (split horizon).
        let own = peer.0 + 1;
        cohort.map_or(0, |cohort| {
            cohort
                .sent
                .iter()
                .filter(|sent| *sent != 0 && *sent != own)
                .count()
        })
    }
}
