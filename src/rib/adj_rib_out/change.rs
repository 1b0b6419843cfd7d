//! Members that go to another group in mid-session, as when their policy has changed.
//!
//! The record of what they were sent goes with them. What a member has is what the former key says of
//! the table as it is, but for what is pending; so nothing else has to be remembered to send only
//! what differs. Members that come from one cohort and go to one group stay together.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Exports, Tables};
use crate::rib::export::GroupKey;
use crate::rib::peer::PeerIndex;

impl Exports {
    /// Puts peers into other groups without new sessions: they are told what differs.
    pub(crate) fn change(&mut self, tables: &mut Tables, peers: Vec<(PeerIndex, GroupKey)>) {
        // A peer that is named twice gets what is said last.
        let last: BTreeMap<(PeerIndex, usize), GroupKey> = peers
            .into_iter()
            .map(|(peer, key)| ((peer, key.family.index()), key))
            .collect();
        // By the place that the group of a key has; a group that is made here stays as long as it is
        // empty, since only the loss of a cohort takes a group away.
        let mut moves: BTreeMap<(usize, usize), Vec<PeerIndex>> = BTreeMap::new();
        for ((peer, _), key) in last {
            let Some(from) = self.cohort_of(peer, key.family) else {
                self.add(tables, peer, key);
                continue;
            };
            let at = self.cohort(from).map(|cohort| cohort.group);
            let to = self.group(key);
            if at != Some(to) {
                moves.entry((from, to)).or_default().push(peer);
            }
        }
        for ((from, to), members) in moves {
            self.move_to(tables, from, to, &members);
        }
    }

    /// Moves members of a cohort, sorted, to another group.
    fn move_to(&mut self, tables: &mut Tables, from: usize, to: usize, members: &[PeerIndex]) {
        let Some(cohort) = self.cohort(from) else {
            return;
        };
        let (all, group) = (cohort.members.len() == members.len(), cohort.group);
        let former = self.groups.get(group).and_then(Option::as_ref);
        let Some(former) = former.map(|group| Arc::new(group.key.clone())) else {
            return;
        };
        let family = former.family;
        let leaves = |member: PeerIndex| members.binary_search(&member).is_ok();
        let own = if all {
            from
        } else {
            self.split(tables, from, family, leaves)
        };
        let Some(mut cohort) = self.take_out(own, family) else {
            return;
        };
        cohort.group = to;
        let key = self.groups.get(to).and_then(Option::as_ref);
        cohort.unequal = key.map_or(0, |group| group.key.paths);
        cohort.ready = false;
        cohort.compare(former);
        let own = self.insert(cohort, family);
        for &member in members {
            self.set_cohort(member, family, Some(own));
        }
        self.wake(own);
    }
}
