//! What operators ask the reconciler: states and counts, nothing that changes anything.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use super::super::report::{Counts, RouteState};
use super::super::route::Shape;
use super::table::{CONFIRMED, Entry, PathId};
use super::trouble::Mood;
use super::{Pending, Reconciler, desired, holds};
use crate::net::{Family, Prefix};
use crate::time::Instant;

/// The links and neighbours that routes of ours lead over: those in the kernel, as far as we know,
/// those that are being written, and those that are wanted.
#[derive(Debug, Default)]
pub(in crate::dataplane) struct Usage(BTreeSet<(u32, Option<IpAddr>)>);

impl Usage {
    /// Whether a route leads over the link.
    pub(in crate::dataplane) fn link(&self, interface: u32) -> bool {
        self.0
            .range((interface, None)..)
            .next()
            .is_some_and(|(used, _)| *used == interface)
    }

    /// Whether a route leads to the neighbour on the link.
    pub(in crate::dataplane) fn neighbour(&self, interface: u32, address: IpAddr) -> bool {
        self.0.contains(&(interface, Some(address)))
    }
}

impl Reconciler {
    /// What routes lead over now: one pass over the table.
    pub(in crate::dataplane) fn usage(&self) -> Usage {
        let seen = self.table.iter().map(|(_, entry)| entry.seen.shape());
        let wanted = self
            .targets
            .iter()
            .map(|target| target.wish.map(|wish| wish.shape));
        let written = self.outstanding.values().map(|pending| match pending {
            Pending::Write { shape, .. } => Some(*shape),
            Pending::Delete { .. } | Pending::Other | Pending::Leftover | Pending::Dump => None,
        });
        let live: BTreeSet<_> = seen.chain(wanted).chain(written).flatten().collect();
        let shapes = live.into_iter().filter_map(|shape| self.shapes.get(shape));
        let shapes = shapes.map(|shape| &**shape).chain(self.others.shapes());
        let hops = shapes.flat_map(|shape| shape.hops.iter());
        Usage(
            hops.filter_map(|hop| Some((hop.interface?, hop.via)))
                .collect(),
        )
    }

    /// The gateways and links of the routes that a former process left and nobody has confirmed: one pass
    /// over the table.
    pub(in crate::dataplane) fn former_hops(&self) -> BTreeSet<(Option<IpAddr>, u32)> {
        let left = self.table.iter().filter(|(_, entry)| !entry.is(CONFIRMED));
        let shapes: BTreeSet<_> = left.filter_map(|(_, entry)| entry.seen.shape()).collect();
        let shapes = shapes
            .into_iter()
            .filter_map(|shape| self.shapes.get(shape));
        let hops = shapes.flat_map(|shape| shape.hops.iter());
        hops.filter_map(|hop| Some((hop.via, hop.interface?)))
            .collect()
    }

    /// The gateways of routes of ours to anything inside `range`: one pass over the table.
    pub(in crate::dataplane) fn gateways_into(&self, range: Prefix) -> BTreeSet<IpAddr> {
        let inside = self
            .table
            .iter()
            .filter(|(prefix, _)| range.covers(*prefix));
        let shapes: BTreeSet<_> = inside.filter_map(|(_, entry)| entry.seen.shape()).collect();
        let shapes = shapes
            .into_iter()
            .filter_map(|shape| self.shapes.get(shape));
        shapes
            .flat_map(|shape| shape.hops.iter().filter_map(|hop| hop.via))
            .collect()
    }

    /// Counts whatever may change [`Self::usage`].
    pub(in crate::dataplane) const fn changes(&self) -> u64 {
        self.changes
    }

    /// What is wanted for a prefix.
    pub(in crate::dataplane) fn wanted(&self, prefix: Prefix) -> Option<PathId> {
        self.table.get(prefix)?.want()
    }

    /// Whether any prefix of this length is wanted.
    pub(in crate::dataplane) fn wants_length(&self, family: Family, len: u8) -> bool {
        self.lengths.any(family, len)
    }

    /// How a wanted or seen prefix does; none if it is neither.
    pub fn state(&self, prefix: Prefix) -> Option<RouteState> {
        match self.table.get(prefix) {
            Some(entry) => Some(self.state_of(prefix, entry)),
            None if self.others.stand_at(prefix) => Some(self.state_beside()),
            None => None,
        }
    }

    /// What the kernel has of ours for a prefix.
    pub fn seen(&self, prefix: Prefix) -> Option<&Arc<Shape>> {
        let entry = self.table.get(prefix);
        let seen = entry.and_then(|entry| self.shapes.get(entry.seen.shape()?));
        seen.or_else(|| self.others.shape(prefix))
    }

    /// What the kernel should have for a prefix now.
    pub fn target(&self, prefix: Prefix) -> Option<&Arc<Shape>> {
        self.shapes
            .get(desired(&self.targets, &self.table.get(prefix)?)?.shape)
    }

    /// How many prefixes are in which state: one pass over the table.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts {
            outstanding: self.outstanding.len(),
            ..Counts::default()
        };
        for prefix in self.others.prefixes() {
            if self.table.get(prefix).is_none() {
                counts.in_kernel += 1;
                counts.stale += usize::from(self.state_beside() == RouteState::Stale);
            }
        }
        for (prefix, entry) in self.table.iter() {
            counts.wanted += usize::from(entry.want().is_some());
            counts.in_kernel += usize::from(entry.seen.shape().is_some());
            match self.state_of(prefix, entry) {
                RouteState::Installed => counts.installed += 1,
                RouteState::Pending => counts.pending += 1,
                RouteState::Unresolved => counts.unresolved += 1,
                RouteState::Waiting => counts.waiting += 1,
                RouteState::Stale => counts.stale += 1,
                RouteState::Conflict { .. } => counts.conflicts += 1,
                RouteState::Covers(_) => counts.covering += 1,
                RouteState::Refused { .. } => counts.refused += 1,
                RouteState::Fought { .. } => counts.fought += 1,
            }
        }
        counts
    }

    /// Whether a path has no route to write now.
    pub(in crate::dataplane) fn is_lost(&self, path: PathId) -> bool {
        let target = self.targets.get(path.0 as usize);
        target.is_none_or(|target| target.wish.is_none())
    }

    /// What is wanted, in no order.
    pub(in crate::dataplane) fn wishes(&self) -> impl Iterator<Item = (Prefix, PathId)> + '_ {
        let entries = self.table.iter();
        entries.filter_map(|(prefix, entry)| Some((prefix, entry.want()?)))
    }

    /// Whether the kernel has said that we may not write, and nothing else since.
    pub(in crate::dataplane) const fn is_denied(&self) -> bool {
        self.sync.is_denied()
    }

    /// Whether a dump is due or running.
    pub(in crate::dataplane) fn is_reading(&self) -> bool {
        !self.sync.is_idle()
    }

    /// Whether nothing is written for a while.
    pub(in crate::dataplane) fn rests_at(&self, now: Instant) -> bool {
        !self.sync.may_write(now)
    }

    /// All prefixes with an entry, in no order.
    pub(in crate::dataplane) fn prefixes(&self) -> impl Iterator<Item = Prefix> + '_ {
        let beside = self.others.prefixes();
        let beside = beside.filter(|prefix| self.table.get(*prefix).is_none());
        self.table.iter().map(|(prefix, _)| prefix).chain(beside)
    }

    /// The prefixes that do not do well, in order.
    pub fn troubled(&self) -> impl Iterator<Item = (Prefix, RouteState)> + '_ {
        self.troubles
            .iter()
            .filter(|(_, trouble)| trouble.mood != Mood::Watched)
            .filter_map(|(prefix, _)| Some((prefix, self.state(prefix)?)))
    }

    /// How a prefix does that has nothing of ours but at keys that are no longer used.
    const fn state_beside(&self) -> RouteState {
        if self.sync.converged {
            RouteState::Pending
        } else {
            RouteState::Stale
        }
    }

    fn state_of(&self, prefix: Prefix, entry: Entry) -> RouteState {
        let desired = desired(&self.targets, &entry);
        if desired.is_some_and(|wish| wish.stands(entry)) {
            return RouteState::Installed;
        }
        if desired.is_none() && holds(&self.targets, &entry) {
            return RouteState::Waiting;
        }
        if let Some(trouble) = self.troubles.get(prefix) {
            match trouble.mood {
                Mood::Watched => {}
                Mood::Refused(errno) => {
                    return RouteState::Refused {
                        errno,
                        retry_at: trouble.due,
                    };
                }
                Mood::Conflict(protocol) => return RouteState::Conflict { protocol },
                Mood::Covers(what) => return RouteState::Covers(what),
                Mood::Fought => {
                    return RouteState::Fought {
                        strikes: trouble.strikes,
                        retry_at: trouble.due,
                    };
                }
            }
        }
        match (entry.want(), desired, entry.seen) {
            (Some(_), None, _) => RouteState::Unresolved,
            (None, _, _) if !self.sync.converged && !entry.is(CONFIRMED) => RouteState::Stale,
            (_, _, _) => RouteState::Pending,
        }
    }
}
