//! Reading what a peer was sent, page by page. It changes nothing.
//!
//! The record has no attributes: it says whose path went out last under which identifier. While news of a
//! destination is on its way to the peer, what it has may differ from what is here; that is said.

use super::{Exports, Tables};
use crate::net::{Family, Prefix};
use crate::rib::cohort::{Cohort, Walk};
use crate::rib::export::GroupKey;
use crate::rib::peer::PeerIndex;
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
        let end = match family {
            Family::Ipv4 => tables.v4.map.end(),
            Family::Ipv6 => tables.v6.map.end(),
        };
        let stop = end.min(begin.saturating_add(limit));
        let of = |id: DestinationId| match family {
            Family::Ipv4 => told_of(&tables.v4, cohort, peer, id),
            Family::Ipv6 => told_of(&tables.v6, cohort, peer, id),
        };
        let next = (stop < end).then(|| PageCursor::from_number(stop));
        ((begin..stop).flat_map(of).collect(), next)
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
    let Some(destination) = table.map.get(id) else {
        return Vec::new();
    };
    let ahead = match cohort.walk {
        Walk::Active { cursor, .. } => id >= cursor,
        Walk::Tail { .. } | Walk::Done => false,
    };
    let pending = ahead || cohort.pending.contains(id);
    let paths = destination.paths.as_slice();
    let told = |sent_under: u8| {
        // The record's own source never got it (split horizon).
        let source = cohort.sent.get(id, sent_under)?;
        let is_it = |path: &&Path| {
            let same_id = !cohort.add_path || path.send_id == sent_under;
            path.peer == source && path.send_id != 0 && same_id
        };
        (source != peer).then(|| Told {
            prefix: destination.prefix.into(),
            path_id: if cohort.add_path {
                sent_under.into()
            } else {
                0
            },
            path: paths.iter().find(is_it).copied(),
            pending,
        })
    };
    cohort.sent.identifiers().filter_map(told).collect()
}
