//! One pull of a cohort: from pending destinations to encoded messages and who gets which bytes.
//!
//! Sorted by source and attributes, so that each set of attributes is rewritten and encoded once,
//! and each source's routes lie together in the buffer: everybody who is no source in the batch gets
//! the whole buffer, a source gets the slices around its own part (split horizon). The bytes are
//! shared; nothing is copied per member. With Add-Path all this is said of each path that a
//! destination is sent by, and its identifier is that of the table: the same for all members.

use bytes::Bytes;

use super::attributes::{AttributeStore, AttributesId};
use super::cohort::Cohort;
use super::export::{ExportPolicy, ExportRoute, GroupKey};
use super::path::Path;
use super::peer::{PeerIndex, Peers};
use super::prefix_map::{Destination, DestinationId, TableKey};
use super::sent::FIRST;
use super::table::Table;
use crate::net::{Family, Prefix};
use crate::wire::update::{Announce, write_announce, write_withdraw};

/// Bytes after which a batch ends: what one read of the other side takes, and what a member's
/// outbox may exceed its mark by.
const BUDGET: usize = 64 * 1024;

/// What a batch reads.
#[derive(Clone, Copy)]
pub(crate) struct Sources<'a> {
    pub(crate) key: &'a GroupKey,
    pub(crate) store: &'a AttributeStore,
    pub(crate) peers: &'a Peers,
    pub(crate) policy: &'a dyn ExportPolicy,
}

/// A route to be announced. The order is the order in the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Out {
    /// The member that must not get it, or [`PeerIndex::LOCAL`].
    bar: PeerIndex,
    attributes: AttributesId,
    source: PeerIndex,
    /// What policy does to it.
    mark: u32,
    /// What policy did to it under the key that the members had before, where they have it so.
    former: Option<u32>,
    id: DestinationId,
    path: u8,
}

/// A withdrawal for everybody but `bar`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Gone {
    bar: PeerIndex,
    prefix: Prefix,
    path: u8,
}

/// A part of the buffer that `bar` must not get.
#[derive(Debug, Clone, Copy)]
struct Segment {
    bar: PeerIndex,
    start: usize,
    end: usize,
}

/// Room for building, kept between batches.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    ids: Vec<DestinationId>,
    out: Vec<Out>,
    gone: Vec<Gone>,
    /// Withdrawals for one member alone: its own route became the best one, so that it gets no
    /// other, and what it had is gone.
    private: Vec<Gone>,
    bytes: Vec<u8>,
    attributes: Vec<u8>,
    segments: Vec<Segment>,
    /// How many sets of attributes were rewritten and encoded since the start.
    pub(crate) encoded: u64,
}

impl Batch {
    /// Builds the next batch of a cohort. The bytes are there for [`deliver`](Self::deliver).
    pub(crate) fn build<P: TableKey>(
        &mut self,
        cohort: &mut Cohort,
        table: &mut Table<P>,
        sources: Sources<'_>,
    ) {
        self.ids.clear();
        let pending = cohort.take(table.map.end(), &mut self.ids);
        // What is pending has changed since the members were told, whatever key that was under.
        let former = cohort.former.clone().filter(|_| !pending);
        self.classify(cohort, table, sources, former.as_deref());
        self.write_gone(sources.key);
        self.write_out(cohort, table, sources, former.as_deref());
        // What could not be written after all, and had been sent before.
        self.write_gone(sources.key);
        if pending {
            for &id in &self.ids {
                table.unpin(id);
            }
        }
    }

    /// Sorts out what each destination needs; withdrawals are on record at once.
    fn classify<P: TableKey>(
        &mut self,
        cohort: &mut Cohort,
        table: &Table<P>,
        sources: Sources<'_>,
        former: Option<&GroupKey>,
    ) {
        let sole = match cohort.members.as_slice() {
            [member] => Some(*member),
            _ => None,
        };
        let ids = core::mem::take(&mut self.ids);
        for &id in &ids {
            let Some(destination) = table.map.get(id) else {
                continue;
            };
            let prefix = destination.prefix.into();
            if sources.key.add_path {
                self.classify_paths(cohort, (id, destination), sole, sources, former);
                continue;
            }
            // With nobody to tell, there is nothing to ask policy about.
            let best = destination
                .paths
                .best()
                .filter(|best| Some(best.peer) != sole);
            match best.and_then(|best| going(cohort, (id, FIRST, prefix), best, sources, former)) {
                Some(out) => self.out.push(out),
                None => self.withdraw(cohort, id, FIRST, prefix),
            }
        }
        self.ids = ids;
    }

    /// The same for members with Add-Path: each path goes its own way under its own identifier.
    fn classify_paths<P: TableKey>(
        &mut self,
        cohort: &mut Cohort,
        (id, destination): (DestinationId, &Destination<P>),
        sole: Option<PeerIndex>,
        sources: Sources<'_>,
        former: Option<&GroupKey>,
    ) {
        let prefix = destination.prefix.into();
        let mut sent = 0_u32;
        for path in destination.paths.selected() {
            if path.send_id == 0 || Some(path.peer) == sole {
                continue;
            }
            let place = (id, path.send_id, prefix);
            if let Some(out) = going(cohort, place, path, sources, former) {
                sent |= 1 << path.send_id;
                self.out.push(out);
            }
        }
        for path in cohort.sent.identifiers() {
            if sent & (1 << path) == 0 {
                self.withdraw(cohort, id, path, prefix);
            }
        }
    }

    /// Enters a withdrawal if anything had been sent.
    fn withdraw(&mut self, cohort: &mut Cohort, id: DestinationId, path: u8, prefix: Prefix) {
        if let Some(old) = cohort.sent.get(id, path) {
            cohort.sent.set(id, path, None);
            self.gone.push(Gone {
                bar: bar(cohort, old),
                prefix,
                path,
            });
        }
    }

    fn write_gone(&mut self, key: &GroupKey) {
        self.gone.sort_unstable();
        for run in self.gone.chunk_by(|a, b| a.bar == b.bar) {
            let start = self.bytes.len();
            let mut nlri = run.iter().map(|gone| (gone.path.into(), gone.prefix));
            let max_len = usize::from(key.max_len);
            write_withdraw(
                &mut self.bytes,
                key.family,
                key.add_path,
                max_len,
                &mut nlri,
            );
            if let Some(first) = run.first() {
                push_segment(&mut self.segments, first.bar, start, self.bytes.len());
            }
        }
        self.gone.clear();
    }

    fn write_out<P: TableKey>(
        &mut self,
        cohort: &mut Cohort,
        table: &Table<P>,
        sources: Sources<'_>,
        former: Option<&GroupKey>,
    ) {
        let mut out = core::mem::take(&mut self.out);
        out.sort_unstable();
        if let Some(former) = former {
            out = what_differs(&out, sources, former);
        }
        let mut rest = out.as_slice();
        while let Some(first) = rest.first() {
            if self.bytes.len() >= BUDGET {
                cohort.put_back(rest.iter().map(|out| out.id));
                break;
            }
            let same = |o: &&Out| {
                let set = |out: &Out| (out.source, out.attributes, out.mark);
                set(o) == set(first)
            };
            let count = rest.iter().take_while(same).count();
            let (run, later) = rest.split_at_checked(count).unwrap_or((rest, &[]));
            rest = later;
            if !self.write_run(cohort, run, table, sources) && run.len() > 1 {
                // One prefix may be what did not fit: the shorter ones still go, whatever else
                // happened to be in the batch.
                for route in run {
                    self.write_run(cohort, core::slice::from_ref(route), table, sources);
                }
            }
        }
        out.clear();
        self.out = out;
    }

    /// Writes the routes of one set of attributes and puts them on record; false if they can't be
    /// sent, and a single one is withdrawn then.
    fn write_run<P: TableKey>(
        &mut self,
        cohort: &mut Cohort,
        run: &[Out],
        table: &Table<P>,
        sources: Sources<'_>,
    ) -> bool {
        let prefixes = run
            .iter()
            .filter_map(|out| table.map.get(out.id).map(|d| (out, d.prefix.into())));
        let start = self.bytes.len();
        let nlri = prefixes.clone();
        let nlri = nlri.map(|(out, prefix)| (u32::from(out.path), prefix));
        let written = self.encode_run(run, nlri, sources);
        if written {
            if let Some(first) = run.first() {
                push_segment(&mut self.segments, first.bar, start, self.bytes.len());
            }
            for (route, prefix) in prefixes {
                self.record(cohort, route, prefix);
            }
        } else if let ([route], Some((_, prefix))) = (run, prefixes.clone().next()) {
            self.withdraw(cohort, route.id, route.path, prefix);
        }
        written
    }

    fn encode_run(
        &mut self,
        run: &[Out],
        mut nlri: impl Iterator<Item = (u32, Prefix)>,
        sources: Sources<'_>,
    ) -> bool {
        let Sources {
            key,
            store,
            peers,
            policy,
        } = sources;
        let Some(first) = run.first() else {
            return false;
        };
        let Some(source) = peers.facts(first.source) else {
            return false;
        };
        let Some(attributes) = store.get(first.attributes) else {
            return false;
        };
        self.encoded += 1;
        let attributes = policy.transform(key, attributes.decode(), source, first.mark);
        let Some(attributes) = attributes else {
            return false;
        };
        // IPv4 with an IPv4 next hop goes the old way, everything else in MP_REACH_NLRI.
        let next_hop = attributes.next_hop.as_ref();
        let classic = key.family == Family::Ipv4 && next_hop.is_some_and(|n| n.address.is_ipv4());
        self.attributes.clear();
        attributes.encode(key.four_octet_as, classic, &mut self.attributes);
        let announce = Announce {
            family: key.family,
            attributes: &self.attributes,
            next_hop: next_hop.filter(|_| !classic),
            add_path: key.add_path,
            max_len: key.max_len.into(),
        };
        match write_announce(&mut self.bytes, &announce, &mut nlri) {
            Ok(_) => true,
            Err(error) => {
                tracing::debug!(%error, routes = run.len(), "attributes too long to be sent");
                false
            }
        }
    }

    /// Notes that a route was announced; its source, if it had somebody else's, loses that.
    fn record(&mut self, cohort: &mut Cohort, route: &Out, prefix: Prefix) {
        let old = cohort.sent.get(route.id, route.path);
        if old.is_some_and(|old| old != route.source) && !route.bar.is_local() {
            self.private.push(Gone {
                bar: route.bar,
                prefix,
                path: route.path,
            });
        }
        cohort.sent.set(route.id, route.path, Some(route.source));
    }

    /// Appends a message that all members get.
    pub(crate) fn push_for_all(&mut self, message: &[u8]) {
        self.bytes.extend_from_slice(message);
    }

    /// Hands out what was built: (bytes, the one member), or `None` for all members but the listed.
    pub(crate) fn deliver(
        &mut self,
        cohort: &Cohort,
        key: &GroupKey,
        give: &mut impl FnMut(Bytes, Target<'_>),
    ) {
        self.deliver_private(key, give);
        if self.bytes.is_empty() {
            return;
        }
        let bytes = Bytes::copy_from_slice(&self.bytes);
        self.bytes.clear();
        self.segments
            .sort_unstable_by_key(|segment| (segment.bar, segment.start));
        let mut barred: Vec<_> = self.segments.iter().map(|segment| segment.bar).collect();
        barred.dedup();
        if cohort.members.len() > barred.len() {
            give(bytes.clone(), Target::AllBut(&barred));
        }
        for own in self.segments.chunk_by(|a, b| a.bar == b.bar) {
            let Some(member) = own.first().map(|segment| segment.bar) else {
                continue;
            };
            let mut at = 0;
            let ends = own.iter().map(|segment| (segment.start, segment.end));
            for (start, end) in ends.chain([(bytes.len(), bytes.len())]) {
                if at < start {
                    give(bytes.slice(at..start), Target::One(member));
                }
                at = end;
            }
        }
        self.segments.clear();
    }

    fn deliver_private(&mut self, key: &GroupKey, give: &mut impl FnMut(Bytes, Target<'_>)) {
        self.private.sort_unstable();
        for run in self.private.chunk_by(|a, b| a.bar == b.bar) {
            let Some(first) = run.first() else { continue };
            let mut bytes = Vec::new();
            let mut nlri = run.iter().map(|gone| (gone.path.into(), gone.prefix));
            let max_len = usize::from(key.max_len);
            write_withdraw(&mut bytes, key.family, key.add_path, max_len, &mut nlri);
            give(bytes.into(), Target::One(first.bar));
        }
        self.private.clear();
    }
}

/// The routes that members have otherwise than they are to have them, in the same order.
fn what_differs(out: &[Out], sources: Sources<'_>, former: &GroupKey) -> Vec<Out> {
    let policy = sources.policy;
    let has = |route: &Out| {
        let source = sources.peers.facts(route.source)?;
        let attributes = sources.store.get(route.attributes)?.decode();
        let had = policy.transform(former, attributes.clone(), source, route.former?)?;
        Some(had == policy.transform(sources.key, attributes, source, route.mark)?)
    };
    let runs = out.chunk_by(|a, b| {
        let set = |out: &Out| (out.source, out.attributes, out.mark, out.former);
        set(a) == set(b)
    });
    let differ = runs.filter(|run| run.first().and_then(has) != Some(true));
    differ.flatten().copied().collect()
}

/// Who gets some bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target<'a> {
    One(PeerIndex),
    /// All members but these, which are sorted.
    AllBut(&'a [PeerIndex]),
}

/// The member that must not get a route of `source`: itself, if it is a member at all.
fn bar(cohort: &Cohort, source: PeerIndex) -> PeerIndex {
    match cohort.members.binary_search(&source) {
        Ok(_) => source,
        Err(_) => PeerIndex::LOCAL,
    }
}

/// What goes to the group of a path, if policy lets it.
fn going(
    cohort: &Cohort,
    (id, path_id, prefix): (DestinationId, u8, Prefix),
    path: &Path,
    sources: Sources<'_>,
    former: Option<&GroupKey>,
) -> Option<Out> {
    let route = ExportRoute {
        prefix,
        peer: path.peer,
        source: sources.peers.facts(path.peer)?,
        attributes: sources.store.get(path.attributes)?,
    };
    let mark = sources.policy.mark(sources.key, &route)?;
    let former = former.filter(|_| cohort.sent.get(id, path_id) == Some(path.peer));
    let former = former.and_then(|key| sources.policy.mark(key, &route));
    Some(Out {
        bar: bar(cohort, path.peer),
        attributes: path.attributes,
        source: path.peer,
        mark,
        former,
        id,
        path: path_id,
    })
}

/// Notes a part of the buffer that a member must not get; what all get needs no note.
fn push_segment(segments: &mut Vec<Segment>, bar: PeerIndex, start: usize, end: usize) {
    if bar.is_local() || start == end {
        return;
    }
    match segments.last_mut() {
        Some(last) if last.bar == bar && last.end == start => last.end = end,
        Some(_) | None => segments.push(Segment { bar, start, end }),
    }
}
