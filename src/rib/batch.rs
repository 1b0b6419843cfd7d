//! One pull of a cohort: from pending destinations to encoded messages and who gets which bytes.
//!
//! Gathered by source and attributes, so that each set of attributes is rewritten and encoded once,
//! and each source's routes lie together in the buffer: everybody who is no source in the batch gets
//! the whole buffer, a source gets the slices around its own part (split horizon). The bytes are
//! shared; nothing is copied per member. With Add-Path all this is said of each path that a
//! destination is sent by, and its identifier is that of the table: the same for all members.

mod gather;

use bytes::Bytes;

use super::attributes::{AttributeStore, AttributesId};
use super::cohort::Cohort;
use super::export::{ExportPolicy, ExportRoute, GroupKey, learnt_address, write_stored};
use super::path::Path;
use super::peer::{PeerIndex, Peers};
use super::prefix_map::{Destination, DestinationId, TableKey};
use super::sent::FIRST;
use super::table::Table;
use crate::net::{Family, Hashing, Prefix};
use crate::wire::attribute::NextHop;
use crate::wire::update::{Announce, write_announce, write_withdraw};
use gather::{Gather, Gathered, Kind, Route};

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

/// The last answer of a policy that is blind to prefixes.
#[derive(Debug, Clone, Copy)]
struct Asked {
    about: (PeerIndex, AttributesId),
    answer: Option<Kind>,
}

/// Room for building, kept between batches.
#[derive(Debug)]
pub(crate) struct Batch {
    ids: Vec<DestinationId>,
    out: Gather,
    asked: Option<Asked>,
    gone: Vec<Gone>,
    /// Withdrawals for one member alone: its own route became the best one, so that it gets no
    /// other, and what it had is gone.
    private: Vec<Gone>,
    bytes: Vec<u8>,
    attributes: Vec<u8>,
    segments: Vec<Segment>,
    /// How many sets of attributes were rewritten and encoded since the start.
    pub(crate) encoded: u64,
    /// How many destinations were looked at.
    pub(crate) looked_at: usize,
}

impl Batch {
    pub(crate) fn new(hashing: Hashing) -> Self {
        Self {
            ids: Vec::new(),
            out: Gather::new(hashing),
            asked: None,
            gone: Vec::new(),
            private: Vec::new(),
            bytes: Vec::new(),
            attributes: Vec::new(),
            segments: Vec::new(),
            encoded: 0,
            looked_at: 0,
        }
    }

    /// Builds the next batch of a cohort. The bytes are there for [`deliver`](Self::deliver).
    pub(crate) fn build<P: TableKey>(
        &mut self,
        cohort: &mut Cohort,
        table: &mut Table<P>,
        sources: Sources<'_>,
    ) {
        self.ids.clear();
        self.asked = None;
        let pending = cohort.take(table.map.end(), &mut self.ids);
        self.looked_at = self.looked_at.wrapping_add(self.ids.len());
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
            let place = (id, FIRST, prefix);
            let going = best.and_then(|best| self.going(cohort, place, best, sources, former));
            match going.filter(|kind| Some(kind.also) != sole) {
                Some(kind) => self.out.push(kind, id, FIRST),
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
        let mut sent = 0_u64;
        let most = usize::from(sources.key.paths);
        let goes = |(at, path): &(usize, &Path)| match most {
            0 => path.selected,
            most => *at < most,
        };
        let paths = destination.paths.shown().enumerate().take_while(goes);
        for (_, path) in paths {
            if path.send_id == 0 || Some(path.peer) == sole {
                continue;
            }
            let place = (id, path.send_id, prefix);
            let going = self.going(cohort, place, path, sources, former);
            if let Some(kind) = going.filter(|kind| Some(kind.also) != sole) {
                sent |= 1_u64.wrapping_shl(path.send_id.into());
                self.out.push(kind, id, path.send_id);
            }
        }
        for path in cohort.sent.identifiers() {
            if sent & 1_u64.wrapping_shl(path.into()) == 0 {
                self.withdraw(cohort, id, path, prefix);
            }
        }
    }

    /// Enters a withdrawal if anything had been sent.
    fn withdraw(&mut self, cohort: &mut Cohort, id: DestinationId, path: u8, prefix: Prefix) {
        if let Some(old) = cohort.sent.replace(id, path, None) {
            self.gone.push(Gone {
                bar: bar(cohort, old),
                prefix,
                path,
            });
        }
    }

    fn write_gone(&mut self, key: &GroupKey) {
        if !self.gone.is_sorted_by_key(|gone| gone.bar) {
            self.gone.sort_by_key(|gone| gone.bar);
        }
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
        let another = self.out.another();
        let mut out = core::mem::replace(&mut self.out, another);
        if let Some(former) = former {
            out = what_differs(&mut out, sources, former);
        }
        out.arrange();
        loop {
            if self.bytes.len() >= BUDGET {
                let rest: Vec<DestinationId> = out.rest().collect();
                cohort.put_back(rest.into_iter());
                break;
            }
            let Some(set) = out.next() else { break };
            let (set, rest) = match portion(set.kind, sources) {
                Some(most) => set.split(most),
                None => (set, None),
            };
            if !self.write_set(cohort, set, table, sources) {
                // One prefix may be what did not fit: the shorter ones still go, whatever else
                // happened to be in the batch.
                for route in set.alone() {
                    if !self.write_set(cohort, route, table, sources) {
                        self.take_back(cohort, route, table);
                    }
                }
            }
            if let Some(rest) = rest {
                out.give_back(rest);
            }
        }
        out.clear();
        self.out = out;
    }

    /// Writes the routes of one set of attributes and puts them on record; false if they can't be
    /// sent.
    fn write_set<P: TableKey>(
        &mut self,
        cohort: &mut Cohort,
        set: Gathered<'_>,
        table: &Table<P>,
        sources: Sources<'_>,
    ) -> bool {
        let prefixes = prefixes(set, table);
        let start = self.bytes.len();
        let nlri = prefixes.clone();
        let nlri = nlri.map(|(route, prefix)| (u32::from(route.path), prefix));
        if !self.encode_set(set.kind, nlri, sources) {
            return false;
        }
        push_segment(&mut self.segments, set.kind.bar, start, self.bytes.len());
        push_segment(&mut self.segments, set.kind.also, start, self.bytes.len());
        for (route, prefix) in prefixes {
            self.record(cohort, set.kind, route, prefix);
        }
        true
    }

    /// Withdraws routes that can't be sent as they are now.
    fn take_back<P: TableKey>(&mut self, cohort: &mut Cohort, set: Gathered<'_>, table: &Table<P>) {
        for (route, prefix) in prefixes(set, table) {
            self.withdraw(cohort, route.id, route.path, prefix);
        }
    }

    fn encode_set(
        &mut self,
        set: Kind,
        mut nlri: impl Iterator<Item = (u32, Prefix)>,
        sources: Sources<'_>,
    ) -> bool {
        let Sources {
            key,
            store,
            peers,
            policy,
        } = sources;
        let Some(source) = peers.facts(set.source) else {
            return false;
        };
        let Some(attributes) = store.get(set.attributes) else {
            return false;
        };
        self.encoded += 1;
        self.attributes.clear();
        let stored = policy
            .is_plain(key, set.mark)
            .then(|| write_stored(key, attributes, source, &mut self.attributes));
        let next_hop = match stored.flatten() {
            Some(()) => None,
            None => {
                let attributes = policy.transform(key, attributes.decode(), source, set.mark);
                let Some(attributes) = attributes else {
                    return false;
                };
                // IPv4 with an IPv4 next hop goes the old way, everything else in MP_REACH_NLRI.
                let is_ipv4 = |hop: &NextHop| hop.address.is_ipv4();
                let mp = |hop: &NextHop| key.family != Family::Ipv4 || !is_ipv4(hop);
                let next_hop = attributes.next_hop.filter(mp);
                let classic = attributes.next_hop.is_some() && next_hop.is_none();
                attributes.encode(key.four_octet_as, classic, &mut self.attributes);
                next_hop
            }
        };
        let announce = Announce {
            family: key.family,
            attributes: &self.attributes,
            next_hop: next_hop.as_ref(),
            add_path: key.add_path,
            max_len: key.max_len.into(),
        };
        match write_announce(&mut self.bytes, &announce, &mut nlri) {
            Ok(_) => true,
            Err(error) => {
                tracing::debug!(%error, "attributes too long to be sent");
                false
            }
        }
    }

    /// Notes that a route was announced; its source, if it had somebody else's, loses that, and whom it
    /// leads to whatever it had.
    #[inline]
    fn record(&mut self, cohort: &mut Cohort, kind: Kind, route: &Route, prefix: Prefix) {
        let now = Some(kind.source);
        let old = cohort.sent.replace(route.id, route.path, now);
        if old.is_some() && old != now && !kind.bar.is_local() {
            self.private.push(Gone {
                bar: kind.bar,
                prefix,
                path: route.path,
            });
        }
        if old.is_some() && !kind.also.is_local() {
            self.private.push(Gone {
                bar: kind.also,
                prefix,
                path: route.path,
            });
        }
    }

    /// What goes to the group of a path, if policy lets it.
    fn going(
        &mut self,
        cohort: &Cohort,
        (id, path_id, prefix): (DestinationId, u8, Prefix),
        path: &Path,
        sources: Sources<'_>,
        former: Option<&GroupKey>,
    ) -> Option<Kind> {
        let about = (path.peer, path.attributes);
        if let Some(asked) = self.asked
            && asked.about == about
        {
            return asked.answer;
        }
        let route = ExportRoute {
            prefix,
            peer: path.peer,
            source: sources.peers.facts(path.peer)?,
            attributes: sources.store.get(path.attributes)?,
        };
        let Sources { policy, key, .. } = sources;
        let kind = |mark| Kind {
            bar: bar(cohort, path.peer),
            also: addressee(cohort, (key, sources.store, sources.peers), &route),
            attributes: path.attributes,
            source: path.peer,
            mark,
            former: former
                .filter(|_| cohort.sent.get(id, path_id) == Some(path.peer))
                .and_then(|key| policy.mark(key, &route)),
        };
        let answer = policy.mark(key, &route).map(kind);
        if former.is_none() && policy.is_blind(key) {
            self.asked = Some(Asked { about, answer });
        }
        answer
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

/// The routes that members have otherwise than they are to have them.
fn what_differs(out: &mut Gather, sources: Sources<'_>, former: &GroupKey) -> Gather {
    let mut differ = out.another();
    while let Some(set) = out.next() {
        if is_same(set.kind, sources, former) {
            continue;
        }
        let kind = Kind {
            former: None,
            ..set.kind
        };
        for route in set.iter() {
            differ.push(kind, route.id, route.path);
        }
    }
    differ
}

/// Whether the members have the routes of a set as they are to have them, told under another key.
fn is_same(set: Kind, sources: Sources<'_>, former: &GroupKey) -> bool {
    let policy = sources.policy;
    let has = || {
        let source = sources.peers.facts(set.source)?;
        let attributes = sources.store.get(set.attributes)?.decode();
        let had = policy.transform(former, attributes.clone(), source, set.former?)?;
        Some(had == policy.transform(sources.key, attributes, source, set.mark)?)
    };
    has() == Some(true)
}

/// The routes of a set with their prefixes.
fn prefixes<'a, P: TableKey>(
    set: Gathered<'a>,
    table: &'a Table<P>,
) -> impl Iterator<Item = (&'a Route, Prefix)> + Clone {
    let prefix = |route: &'a Route| table.map.get(route.id).map(|d| (route, d.prefix.into()));
    set.iter().filter_map(prefix)
}

/// How many routes of a set may be written before it is looked whether the batch is full; `None` if all
/// may. Attributes that leave little room in a message are sent again every few routes.
fn portion(set: Kind, sources: Sources<'_>) -> Option<usize> {
    let len = sources.store.get(set.attributes)?.canonical().len();
    (len > usize::from(sources.key.max_len) / 2).then(|| (BUDGET / len).max(1))
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

/// The member, other than the source, whose own address a route has as its next hop: to it that is no way
/// (RFC 4271 §5.1.3).
#[inline]
pub(crate) fn addressee(
    cohort: &Cohort,
    (key, store, peers): (&GroupKey, &AttributeStore, &Peers),
    route: &ExportRoute<'_>,
) -> PeerIndex {
    let learnt = store.next_hops().get(route.attributes.next_hop());
    let Some(to) = learnt_address(key, learnt, route.source) else {
        return PeerIndex::LOCAL;
    };
    let member = |index: &PeerIndex| cohort.members.binary_search(index).is_ok();
    let found = peers.at(to).find(member);
    found.unwrap_or(PeerIndex::LOCAL)
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
