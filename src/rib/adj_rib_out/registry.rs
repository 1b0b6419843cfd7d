//! Which groups, cohorts and members there are: making them, finding them, taking them out of every
//! list that names them.

use super::{Exports, Group, GroupStatus, Recipients, Tables};
use crate::net::Family;
use crate::rib::cohort::Cohort;
use crate::rib::export::GroupKey;
use crate::rib::peer::PeerIndex;

impl Exports {
    /// The group of a key, made if need be.
    pub(super) fn group(&mut self, key: GroupKey) -> usize {
        if let Some(&index) = self.by_key.get(&key) {
            return index;
        }
        let group = Group {
            key: key.clone(),
            cohorts: Vec::new(),
        };
        let index = place(&mut self.groups, group);
        self.by_key.insert(key, index);
        index
    }

    pub(super) fn insert(&mut self, cohort: Cohort, family: Family) -> usize {
        let group = cohort.group;
        let index = place(&mut self.cohorts, cohort);
        if let Some(Some(group)) = self.groups.get_mut(group) {
            group.cohorts.push(index);
        }
        if let Some(list) = self.by_family.get_mut(family.index()) {
            list.push(index);
        }
        index
    }

    /// Takes a cohort out of all lists, its group with it if it was the last.
    pub(super) fn take_out(&mut self, index: usize, family: Family) -> Option<Cohort> {
        let cohort = self.cohorts.get_mut(index)?.take()?;
        if let Some(list) = self.by_family.get_mut(family.index()) {
            list.retain(|&other| other != index);
        }
        if cohort.ready {
            // The place may be another cohort's soon.
            self.ready.retain(|&other| other != index);
        }
        self.held.retain(|&(other, _)| other != index);
        let place = self.groups.get_mut(cohort.group)?;
        if let Some(group) = place {
            group.cohorts.retain(|&other| other != index);
            if group.cohorts.is_empty() {
                self.by_key.remove(&group.key);
                *place = None;
            }
        }
        Some(cohort)
    }

    pub(super) fn drop_cohort(&mut self, tables: &mut Tables, index: usize, family: Family) {
        let Some(cohort) = self.take_out(index, family) else {
            return;
        };
        for id in cohort.pending.iter() {
            tables.unpin(family, id);
        }
    }

    /// Takes a peer out of deliveries that nobody has fetched yet: they were for a session that is
    /// over, and its next one starts from nothing.
    pub(super) fn recall(&mut self, peer: PeerIndex) {
        self.out.retain_mut(|delivery| {
            match &mut delivery.to {
                Recipients::One(one) if *one == peer => return false,
                Recipients::One(_) => {}
                Recipients::Many(many) if many.contains(&peer) => {
                    *many = many
                        .iter()
                        .copied()
                        .filter(|&other| other != peer)
                        .collect();
                }
                Recipients::Many(_) => {}
            }
            !delivery.to.as_slice().is_empty()
        });
    }

    pub(super) fn wake(&mut self, index: usize) {
        let Some(Some(cohort)) = self.cohorts.get_mut(index) else {
            return;
        };
        if !cohort.ready {
            cohort.ready = true;
            self.ready.push_back(index);
        }
    }

    pub(super) fn cohort(&self, index: usize) -> Option<&Cohort> {
        self.cohorts.get(index)?.as_ref()
    }

    pub(super) fn cohort_mut(&mut self, index: usize) -> Option<&mut Cohort> {
        self.cohorts.get_mut(index)?.as_mut()
    }

    pub(super) fn group_family(&self, group: usize) -> Option<Family> {
        Some(self.groups.get(group)?.as_ref()?.key.family)
    }

    pub(super) fn cohort_of(&self, peer: PeerIndex, family: Family) -> Option<usize> {
        *self
            .members
            .get(peer.index())?
            .cohorts
            .get(family.index())?
    }

    pub(super) fn set_cohort(&mut self, peer: PeerIndex, family: Family, cohort: Option<usize>) {
        if let Some(member) = self.members.get_mut(peer.index())
            && let Some(place) = member.cohorts.get_mut(family.index())
        {
            *place = cohort;
        }
    }

    /// The groups as they are.
    pub(crate) fn status(&self) -> Vec<GroupStatus> {
        let groups = self.groups.iter().flatten();
        groups
            .map(|group| GroupStatus {
                key: group.key.clone(),
                cohorts: group
                    .cohorts
                    .iter()
                    .filter_map(|&index| Some(self.cohort(index)?.members.clone()))
                    .collect(),
            })
            .collect()
    }

    /// The policies that a group has, or that members were told under and are not yet told otherwise.
    pub(crate) fn policies(&self) -> Vec<u32> {
        let groups = self.groups.iter().flatten().map(|group| &group.key);
        let cohorts = self.cohorts.iter().flatten();
        let former = cohorts.filter_map(|cohort| cohort.former.as_deref());
        let mut policies: Vec<u32> = groups.chain(former).map(|key| key.policy).collect();
        policies.sort_unstable();
        policies.dedup();
        policies
    }

    /// How many routes of a family a peer has from us.
    pub(crate) fn advertised(&self, peer: PeerIndex, family: Family) -> usize {
        let cohort = self
            .cohort_of(peer, family)
            .and_then(|index| self.cohort(index));
        cohort.map_or(0, |cohort| cohort.sent.count(peer))
    }

    /// How many sets of attributes were encoded so far.
    pub(crate) const fn encoded(&self) -> u64 {
        self.batch.encoded
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.cohorts.iter().flatten().map(Cohort::heap_bytes).sum()
    }
}

/// Puts a value into the first free place.
fn place<T>(places: &mut Vec<Option<T>>, value: T) -> usize {
    if let Some((index, free)) = places
        .iter_mut()
        .enumerate()
        .find(|(_, place)| place.is_none())
    {
        *free = Some(value);
        return index;
    }
    places.push(Some(value));
    places.len() - 1
}
