//! Update groups: who gets the same bytes, whose turn it is, and how much each has in its outbox.
//!
//! Messages are built when somebody can take them (*pull*), so memory is bounded by the table and by
//! the marks of [`pace`], not by the traffic. A group's members move together in cohorts; one that does not
//! drain its outbox while others wait goes on alone, and joins again when it has caught up. Nothing
//! here knows a socket: the driver says what went out.

mod change;
mod pace;
mod registry;
mod told;

pub use told::Told;

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use hashbrown::HashMap;

use super::attributes::AttributeStore;
use super::batch::{Batch, Sources, Target};
use super::cohort::{Cohort, Marked, Purpose};
use super::export::{ExportPolicy, GroupKey};
use super::peer::{PeerIndex, Peers};
use super::prefix_map::DestinationId;
use super::table::Table;
use crate::net::{Family, Hashing, Prefix4, Prefix6};
use crate::time::Instant;
use crate::wire::route_refresh::RouteRefresh;
use crate::wire::update::end_of_rib;
pub use pace::{HIGH_WATER, LOW_WATER, PATIENCE};

/// Bytes to be sent, whole messages, and to whom.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The bytes, shared.
    pub bytes: Bytes,
    /// Who gets them, each in the order of deliveries.
    pub to: Recipients,
}

/// The recipients of a delivery.
#[derive(Debug, Clone)]
pub enum Recipients {
    /// One.
    One(PeerIndex),
    /// Several.
    Many(Arc<[PeerIndex]>),
}

impl Recipients {
    /// All of them.
    pub fn as_slice(&self) -> &[PeerIndex] {
        match self {
            Self::One(peer) => core::slice::from_ref(peer),
            Self::Many(peers) => peers,
        }
    }
}

/// What an export group is made of, for people and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupStatus {
    /// What the members have in common.
    pub key: GroupKey,
    /// The members, cohort by cohort; one cohort if nobody is behind.
    pub cohorts: Vec<Vec<PeerIndex>>,
}

#[derive(Debug)]
struct Group {
    key: GroupKey,
    cohorts: Vec<usize>,
}

#[derive(Debug, Default)]
struct Member {
    /// The cohort, by family.
    cohorts: [Option<usize>; 2],
    /// Bytes handed out and not yet reported as sent.
    queued: usize,
}

/// Both families' tables.
#[derive(Debug)]
pub(crate) struct Tables {
    pub(crate) v4: Table<Prefix4>,
    pub(crate) v6: Table<Prefix6>,
}

impl Tables {
    /// The number after the last destination of a family.
    pub(crate) const fn end(&self, family: Family) -> DestinationId {
        match family {
            Family::Ipv4 => self.v4.map.end(),
            Family::Ipv6 => self.v6.map.end(),
        }
    }

    /// Gives memory back where most of a family is gone. Whether it has.
    pub(crate) fn shrink(&mut self, family: Family) -> bool {
        match family {
            Family::Ipv4 => self.v4.map.shrink(),
            Family::Ipv6 => self.v6.map.shrink(),
        }
    }

    fn unpin(&mut self, family: Family, id: DestinationId) {
        match family {
            Family::Ipv4 => self.v4.unpin(id),
            Family::Ipv6 => self.v6.unpin(id),
        }
    }

    fn pin(&mut self, family: Family, id: DestinationId) {
        match family {
            Family::Ipv4 => self.v4.pin(id, 1),
            Family::Ipv6 => self.v6.pin(id, 1),
        }
    }
}

/// All groups, cohorts and outbox levels.
#[derive(Debug)]
pub(crate) struct Exports {
    groups: Vec<Option<Group>>,
    by_key: HashMap<GroupKey, usize, Hashing>,
    cohorts: Vec<Option<Cohort>>,
    by_family: [Vec<usize>; 2],
    members: Vec<Member>,
    /// Cohorts with something to do and, as far as is known, somebody to take it.
    ready: VecDeque<usize>,
    /// Cohorts in which somebody hungry waits for somebody blocked, since when.
    held: Vec<(usize, Instant)>,
    out: VecDeque<Delivery>,
    batch: Batch,
    /// Nobody is told End-of-RIB: what was learnt is not all there yet (RFC 4724 §4.1).
    hold_ends: bool,
}

impl Exports {
    pub(crate) fn new(hashing: Hashing) -> Self {
        Self {
            groups: Vec::new(),
            by_key: HashMap::with_hasher(hashing),
            cohorts: Vec::new(),
            by_family: Default::default(),
            members: Vec::new(),
            ready: VecDeque::new(),
            held: Vec::new(),
            out: VecDeque::new(),
            batch: Batch::new(hashing.of_table(1)),
            hold_ends: false,
        }
    }

    /// Starts sending to a peer: the whole table, End-of-RIB, then changes.
    pub(crate) fn add(&mut self, tables: &mut Tables, peer: PeerIndex, key: GroupKey) {
        let (family, paths) = (key.family, (key.add_path, key.paths));
        self.remove(tables, peer, family);
        if self.members.len() <= peer.index() {
            self.members.resize_with(peer.index() + 1, Member::default);
        }
        let group = self.group(key);
        let cohorts = self
            .groups
            .get(group)
            .and_then(Option::as_ref)
            .map(|g| &*g.cohorts);
        let fresh = cohorts.unwrap_or_default().iter().copied();
        let fresh = fresh
            .into_iter()
            .find(|&c| self.cohort(c).is_some_and(|c| c.fresh));
        let index = match fresh {
            Some(index) => index,
            None => self.insert(Cohort::new(group, peer, paths), family),
        };
        if let Some(cohort) = self.cohort_mut(index)
            && let Err(place) = cohort.members.binary_search(&peer)
        {
            cohort.members.insert(place, peer);
        }
        self.set_cohort(peer, family, Some(index));
        self.wake(index);
    }

    /// Stops sending to a peer, and forgets what it was sent.
    pub(crate) fn remove(&mut self, tables: &mut Tables, peer: PeerIndex, family: Family) {
        let Some(index) = self.cohort_of(peer, family) else {
            return;
        };
        self.set_cohort(peer, family, None);
        let Some(cohort) = self.cohort_mut(index) else {
            return;
        };
        cohort.members.retain(|&member| member != peer);
        if cohort.members.is_empty() {
            self.drop_cohort(tables, index, family);
        } else {
            self.wake(index);
        }
        let Some(member) = self.members.get_mut(peer.index()) else {
            return;
        };
        if member.cohorts == [None, None] {
            member.queued = 0;
            self.recall(peer);
        }
    }

    /// Sends all routes of a family to one peer again.
    pub(crate) fn refresh(
        &mut self,
        tables: &mut Tables,
        peer: PeerIndex,
        family: Family,
        framed: bool,
    ) {
        let Some(index) = self.cohort_of(peer, family) else {
            return;
        };
        let alone = self
            .cohort(index)
            .is_some_and(|cohort| cohort.members.len() == 1);
        let own = if alone {
            index
        } else {
            self.split(tables, index, family, |m| m == peer)
        };
        if let Some(cohort) = self.cohort_mut(own) {
            cohort.restart(framed);
        }
        self.wake(own);
    }

    /// A destination's best path changed, or others of those that are sent: whom that concerns. Gives
    /// how many of them have yet to hear of it.
    #[inline]
    pub(crate) fn mark(
        &mut self,
        family: Family,
        id: DestinationId,
        whom: impl Fn(&Cohort) -> bool,
    ) -> u32 {
        self.mark_each(family, |cohort| whom(cohort).then(|| cohort.mark(id)))
    }

    /// Nothing is left of a destination. Gives how many have yet to hear of it.
    #[inline]
    pub(crate) fn mark_gone(&mut self, family: Family, id: DestinationId) -> u32 {
        self.mark_each(family, |cohort| Some(cohort.mark_gone(id)))
    }

    #[inline]
    fn mark_each(&mut self, family: Family, mark: impl Fn(&mut Cohort) -> Option<Marked>) -> u32 {
        let Self {
            by_family,
            cohorts,
            ready,
            ..
        } = self;
        let mut waiting = 0;
        for &index in by_family.get(family.index()).into_iter().flatten() {
            let Some(Some(cohort)) = cohorts.get_mut(index) else {
                continue;
            };
            let Some(marked) = mark(cohort) else { continue };
            waiting += u32::from(marked.waits);
            if marked.news && !cohort.ready {
                cohort.ready = true;
                ready.push_back(index);
            }
        }
        waiting
    }

    /// Some destinations are to be looked at again, by the groups that `whom` says.
    pub(crate) fn mark_in(
        &mut self,
        family: Family,
        ids: &[DestinationId],
        whom: impl Fn(&GroupKey) -> bool,
    ) {
        let indices = self.by_family.get(family.index()).into_iter().flatten();
        let told = |&&index: &&usize| {
            let group = self
                .cohort(index)
                .and_then(|cohort| self.groups.get(cohort.group)?.as_ref());
            group.is_some_and(|group| whom(&group.key))
        };
        let told: Vec<usize> = indices.filter(told).copied().collect();
        for index in told {
            let Some(cohort) = self.cohort_mut(index) else {
                continue;
            };
            for &id in ids {
                cohort.mark(id);
            }
            self.wake(index);
        }
    }

    /// The next bytes for somebody; `None` if nobody can take any or there are none, or if no more may be looked
    /// at: `left` is how many destinations.
    pub(crate) fn poll(
        &mut self,
        now: Instant,
        tables: &mut Tables,
        (store, peers): (&AttributeStore, &Peers),
        policy: &dyn ExportPolicy,
        left: &mut usize,
    ) -> Option<Delivery> {
        self.release_held(now);
        loop {
            if let Some(delivery) = self.out.pop_front() {
                return Some(delivery);
            }
            if *left == 0 {
                return None;
            }
            let index = self.ready.pop_front()?;
            if let Some(cohort) = self.cohort_mut(index) {
                cohort.ready = false;
                let before = self.batch.looked_at;
                self.step(now, index, tables, (store, peers), policy);
                *left = left.saturating_sub(1 + (self.batch.looked_at.wrapping_sub(before)));
            }
        }
    }

    /// Nothing is there any more from this destination on.
    pub(crate) fn truncate(&mut self, family: Family, end: DestinationId) {
        for index in self.by_family.get(family.index()).into_iter().flatten() {
            if let Some(Some(cohort)) = self.cohorts.get_mut(*index) {
                cohort.sent.truncate(end);
            }
        }
    }

    /// Whether some cohort has something to do.
    pub(crate) fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// One cohort's turn: a batch, if its members can take it.
    fn step(
        &mut self,
        now: Instant,
        index: usize,
        tables: &mut Tables,
        (store, peers): (&AttributeStore, &Peers),
        policy: &dyn ExportPolicy,
    ) {
        let Some(cohort) = self.cohort(index) else {
            return;
        };
        if cohort.is_idle() {
            // What was pending has gone before it was sent, or members that took nothing take again.
            return self.merge(index);
        }
        if !self.may_build(now, index, tables) {
            return;
        }
        let Self {
            groups,
            cohorts,
            batch,
            hold_ends,
            ..
        } = self;
        let Some(Some(cohort)) = cohorts.get_mut(index) else {
            return;
        };
        let Some(Some(Group { key, .. })) = groups.get(cohort.group) else {
            return;
        };
        let family = key.family;
        if core::mem::take(&mut cohort.begin_due) {
            batch.push_for_all(&frame(family, RouteRefresh::BEGIN));
        }
        let sources = Sources {
            key,
            store,
            peers,
            policy,
        };
        match family {
            Family::Ipv4 => batch.build(cohort, &mut tables.v4, sources),
            Family::Ipv6 => batch.build(cohort, &mut tables.v6, sources),
        }
        let finished = cohort.finish_walk();
        if finished == Some(Purpose::Refresh { framed: true }) {
            batch.push_for_all(&frame(family, RouteRefresh::END));
        }
        cohort.end_due |= finished == Some(Purpose::Initial);
        if finished.is_some() && cohort.end_due && !*hold_ends {
            cohort.end_due = false;
            batch.push_for_all(&end_of_rib(family));
        }
        let idle = cohort.is_idle();
        self.deliver(index);
        if idle {
            self.merge(index);
        } else {
            self.wake(index);
        }
    }

    /// Holds End-of-RIB back from everybody, or lets those go that are due.
    pub(crate) fn hold_ends(&mut self, hold: bool) {
        if core::mem::replace(&mut self.hold_ends, hold) == hold || hold {
            return;
        }
        for index in 0..self.cohorts.len() {
            if let Some(cohort) = self.cohort_mut(index).filter(|cohort| cohort.end_due) {
                cohort.release_end();
                self.wake(index);
            }
        }
    }

    /// Hands what was built to the members of a cohort.
    fn deliver(&mut self, index: usize) {
        let Self {
            groups,
            cohorts,
            batch,
            members,
            out,
            ..
        } = self;
        let Some(Some(cohort)) = cohorts.get(index) else {
            return;
        };
        let Some(Some(Group { key, .. })) = groups.get(cohort.group) else {
            return;
        };
        batch.deliver(cohort, key, &mut |bytes, target| {
            let to = match target {
                Target::One(peer) => Recipients::One(peer),
                Target::AllBut(barred) => {
                    let all = cohort.members.iter().copied();
                    Recipients::Many(all.filter(|m| barred.binary_search(m).is_err()).collect())
                }
            };
            for peer in to.as_slice() {
                if let Some(member) = members.get_mut(peer.index()) {
                    member.queued += bytes.len();
                }
            }
            out.push_back(Delivery { bytes, to });
        });
    }

    /// Joins an idle cohort with another idle one of its group, if there is one.
    fn merge(&mut self, index: usize) {
        let group = self.cohort(index).map(|cohort| cohort.group);
        let group = group.and_then(|group| self.groups.get(group)?.as_ref());
        let Some(Group { key, cohorts, .. }) = group else {
            return;
        };
        let family = key.family;
        // Who takes nothing would only hold the others up again.
        let takes = |cohort: &&Cohort| {
            let mut members = cohort.members.iter();
            members.all(|&member| self.queued(member) < HIGH_WATER)
        };
        let idle = |other: usize| {
            let other = self.cohort(other).filter(|cohort| cohort.is_idle());
            other.filter(takes).is_some()
        };
        if !idle(index) {
            return;
        }
        let mut others = cohorts.iter().copied();
        let Some(into) = others.find(|&other| other != index && idle(other)) else {
            return;
        };
        let Some(cohort) = self.take_out(index, family) else {
            return;
        };
        for &member in &cohort.members {
            self.set_cohort(member, family, Some(into));
        }
        if let Some(target) = self.cohort_mut(into) {
            target.absorb(cohort);
        }
    }

    /// Moves members of a cohort into a new one with the same record; its index.
    fn split(
        &mut self,
        tables: &mut Tables,
        index: usize,
        family: Family,
        leave: impl Fn(PeerIndex) -> bool,
    ) -> usize {
        let Some(cohort) = self.cohort_mut(index) else {
            return index;
        };
        let new = cohort.split(leave);
        for id in new.pending.iter() {
            tables.pin(family, id);
        }
        let members = new.members.clone();
        let own = self.insert(new, family);
        for member in members {
            self.set_cohort(member, family, Some(own));
        }
        self.wake(own);
        own
    }
}

/// The begin or end marker of an enhanced refresh (RFC 7313 §4).
fn frame(family: Family, subtype: u8) -> Vec<u8> {
    RouteRefresh {
        family: family.afi_safi(),
        subtype,
    }
    .encode()
}
