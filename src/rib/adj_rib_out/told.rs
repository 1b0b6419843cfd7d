//! Reading what a peer was sent, page by page. It changes nothing.
//!
//! The record has no attributes: it says whose path went out last under which identifier. While news of a
//! destination is on its way to the peer, what it has may differ from what is here; that is said.

use std::collections::BTreeMap;

use super::{Exports, Tables};
use crate::net::{Family, Prefix};
use crate::rib::attributes::AttributeStore;
use crate::rib::batch::addressee;
use crate::rib::cohort::{Cohort, Walk};
use crate::rib::export::{ExportRoute, GroupKey};
use crate::rib::peer::{PeerIndex, Peers};
use crate::rib::prefix_map::{DestinationId, TableKey};
use crate::rib::table::Table;
use crate::rib::{PageCursor, Path};

/// A path that a peer was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// Its prefix.
    pub prefix: Prefix,
    /// The identifier that it was sent under (RFC 7911), 0 without Add-Path.
    pub path_id: u32,
    /// The path as it is now; none if it is gone, and the withdrawal on its way.
    pub path: Option<Path>,
    /// News of it is on its way to the peer.
    pub pending: bool,
}

impl Exports {
    /// What the bytes for a peer depend on in a family, if it is sent that one.
    pub(crate) fn key_of(&self, peer: PeerIndex, family: Family) -> Option<&GroupKey> {
        let cohort = self.cohort(self.cohort_of(peer, family)?)?;
        Some(&self.groups.get(cohort.group)?.as_ref()?.key)
    }

    /// What a peer was sent of the next `limit` destinations, and where to go on.
    pub(crate) fn told(
        &self,
        tables: &Tables,
        (peer, family): (PeerIndex, Family),
        from: Option<PageCursor>,
        limit: usize,
    ) -> (Vec<Told>, Option<PageCursor>) {
        let cohort = self
            .cohort_of(peer, family)
            .and_then(|index| self.cohort(index));
        let Some(cohort) = cohort else {
            return (Vec::new(), None);
        };
        let begin = from.map_or(0, |cursor| cursor.to_number());
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        let end = tables.end(family);
        let stop = end.min(begin.saturating_add(limit));
        let of = |id: DestinationId| match family {
            Family::Ipv4 => told_of(&tables.v4, cohort, peer, id),
            Family::Ipv6 => told_of(&tables.v6, cohort, peer, id),
        };
        let next = (stop < end).then(|| PageCursor::from_number(stop));
        ((begin..stop).flat_map(of).collect(), next)
    }

    /// How many routes of a record members were spared, by member: those that lead to themselves. A walk over
    /// the records.
    pub(crate) fn spared(
        &self,
        tables: &Tables,
        (store, peers): (&AttributeStore, &Peers),
    ) -> BTreeMap<PeerIndex, usize> {
        let mut spared = BTreeMap::new();
        for cohort in self.cohorts.iter().flatten() {
            let group = self.groups.get(cohort.group).and_then(Option::as_ref);
            let Some(key) = group.map(|group| &group.key) else {
                continue;
            };
            let mut count = |record: Recorded| {
                let path = record.path?;
                let route = ExportRoute {
                    prefix: record.prefix,
                    peer: record.source,
                    source: peers.facts(record.source)?,
                    attributes: store.get(path.attributes)?,
                };
                let whom = addressee(cohort, (key, store, peers), &route);
                if !whom.is_local() && whom != record.source {
                    *spared.entry(whom).or_default() += 1;
                }
                Some(())
            };
            let ids = 0..tables.end(key.family);
            match key.family {
                Family::Ipv4 => ids
                    .flat_map(|id| recorded(&tables.v4, cohort, id))
                    .for_each(|record| _ = count(record)),
                Family::Ipv6 => ids
                    .flat_map(|id| recorded(&tables.v6, cohort, id))
                    .for_each(|record| _ = count(record)),
            }
        }
        spared
    }

    /// What a peer was sent of one prefix.
    pub(crate) fn told_of(&self, tables: &Tables, peer: PeerIndex, prefix: Prefix) -> Vec<Told> {
        let cohort = self.cohort_of(peer, prefix.family());
        let Some(cohort) = cohort.and_then(|index| self.cohort(index)) else {
            return Vec::new();
        };
        let told = match prefix {
            Prefix::V4(prefix) => {
                let id = tables.v4.map.find(prefix);
                id.map(|id| told_of(&tables.v4, cohort, peer, id))
            }
            Prefix::V6(prefix) => {
                let id = tables.v6.map.find(prefix);
                id.map(|id| told_of(&tables.v6, cohort, peer, id))
            }
        };
        told.unwrap_or_default()
    }
}

fn told_of<P: TableKey>(
    table: &Table<P>,
    cohort: &Cohort,
    peer: PeerIndex,
    id: DestinationId,
) -> Vec<Told> {
    let ahead = match cohort.walk {
        Walk::Active { cursor, .. } => id >= cursor,
        Walk::Tail { .. } | Walk::Done => false,
    };
    let pending = ahead || cohort.pending.contains(id);
    // The record's own source never got it (split horizon).
    let others = recorded(table, cohort, id).filter(|record| record.source != peer);
    let told = others.map(|record| Told {
        prefix: record.prefix,
        path_id: if cohort.add_path {
            record.sent_under.into()
        } else {
            0
        },
        path: record.path,
        pending,
    });
    told.collect()
}

/// What a cohort's record says of a destination, under one identifier.
struct Recorded {
    prefix: Prefix,
    sent_under: u8,
    source: PeerIndex,
    /// The path as it is now.
    path: Option<Path>,
}

fn recorded<P: TableKey>(
    table: &Table<P>,
    cohort: &Cohort,
    id: DestinationId,
) -> impl Iterator<Item = Recorded> {
    let destination = table.map.get(id).into_iter();
    destination.flat_map(move |destination| {
        let paths = destination.paths.as_slice();
        cohort.sent.identifiers().filter_map(move |sent_under| {
            let source = cohort.sent.get(id, sent_under)?;
            let is_it = |path: &&Path| {
                let same_id = !cohort.add_path || path.send_id == sent_under;
                path.peer == source && path.send_id != 0 && same_id
            };
            Some(Recorded {
                prefix: destination.prefix.into(),
                sent_under,
                source,
                path: paths.iter().find(is_it).copied(),
            })
        })
    })
}
