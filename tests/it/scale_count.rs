//! Messages, octets and routes by the count, and the most that a node ever had of anything.
//!
//! It judges nothing: no message is looked at but for its kind and its prefixes.

use bytes::Bytes;
use dunlin::net::Family;
use dunlin::rib::{PeerIndex, Rib};
use dunlin::wire::frame::{self, HEADER_LEN, MessageKind};

use crate::scale_stub::prefixes;
use crate::scale_world::{HostId, World};

/// Messages and their octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct MessageCount {
    pub(crate) messages: u64,
    pub(crate) octets: u64,
    pub(crate) opens: u64,
    pub(crate) updates: u64,
    pub(crate) keepalives: u64,
    pub(crate) announced: u64,
    pub(crate) withdrawn: u64,
    pub(crate) ends: u64,
}

impl MessageCount {
    pub(crate) fn add(&mut self, more: &Self) {
        self.messages += more.messages;
        self.octets += more.octets;
        self.opens += more.opens;
        self.updates += more.updates;
        self.keepalives += more.keepalives;
        self.announced += more.announced;
        self.withdrawn += more.withdrawn;
        self.ends += more.ends;
    }

    pub(crate) const fn since(&self, before: &Self) -> Self {
        Self {
            messages: self.messages - before.messages,
            octets: self.octets - before.octets,
            opens: self.opens - before.opens,
            updates: self.updates - before.updates,
            keepalives: self.keepalives - before.keepalives,
            announced: self.announced - before.announced,
            withdrawn: self.withdrawn - before.withdrawn,
            ends: self.ends - before.ends,
        }
    }

    fn of(kind: MessageKind, body: &[u8], path_ids: bool) -> Self {
        let mut one = Self {
            messages: 1,
            octets: (HEADER_LEN + body.len()) as u64,
            ..Self::default()
        };
        match kind {
            MessageKind::Open => one.opens = 1,
            MessageKind::Keepalive => one.keepalives = 1,
            MessageKind::Update => {
                one.updates = 1;
                if body == [0; 4] {
                    one.ends = 1;
                } else {
                    let (withdrawn, announced) = prefixes(body, path_ids);
                    one.withdrawn = withdrawn.how_many();
                    one.announced = announced.how_many();
                }
            }
            MessageKind::Notification | MessageKind::RouteRefresh => {}
        }
        one
    }
}

/// Both directions of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counters {
    pub(crate) sent: MessageCount,
    pub(crate) received: MessageCount,
}

impl Counters {
    pub(crate) fn add(&mut self, more: &Self) {
        self.sent.add(&more.sent);
        self.received.add(&more.received);
    }

    pub(crate) const fn since(&self, before: &Self) -> Self {
        Self {
            sent: self.sent.since(&before.sent),
            received: self.received.since(&before.received),
        }
    }

    pub(crate) const fn messages(&self) -> u64 {
        self.sent.messages + self.received.messages
    }
}

/// Counts chunks, and knows the last one again, whole or a part of it: what goes to a thousand peers is
/// the same memory for all, without their own routes for some.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    /// Held, so that its memory is not another chunk's.
    last: Bytes,
    path_ids: bool,
    /// By the place where a message begins or the last one ends: what is before it.
    sums: Vec<(usize, MessageCount)>,
}

impl Reader {
    pub(crate) fn read(&mut self, bytes: &Bytes, path_ids: bool) -> MessageCount {
        if let Some(found) = self.known(bytes, path_ids) {
            return found;
        }
        let mut all = MessageCount::default();
        self.sums.clear();
        self.sums.push((0, all));
        for (kind, body) in frame::messages(bytes) {
            all.add(&MessageCount::of(kind, body, path_ids));
            self.sums.push((usize::try_from(all.octets).unwrap(), all));
        }
        self.last = bytes.clone();
        self.path_ids = path_ids;
        all
    }

    fn known(&self, bytes: &Bytes, path_ids: bool) -> Option<MessageCount> {
        let start = bytes.as_ptr().addr();
        let from = start.checked_sub(self.last.as_ptr().addr())?;
        let to = from + bytes.len();
        if to > self.last.len() || path_ids != self.path_ids {
            return None;
        }
        let before = |place| {
            let found = self.sums.binary_search_by_key(&place, |(at, _)| *at);
            found.ok().map(|at| self.sums[at].1)
        };
        Some(before(to)?.since(&before(from)?))
    }
}

/// The most that a node had at the end of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Peaks {
    pub(crate) destinations: usize,
    pub(crate) paths: usize,
    pub(crate) attribute_sets: usize,
    /// Octets handed to all connections in a turn or before, and not taken by the kernel.
    pub(crate) outbox: usize,
    pub(crate) sessions: usize,
    /// Sets of attributes encoded for peers since the start: work, not memory.
    pub(crate) encoded: usize,
    /// `Rib::memory`, in octets: counted by capacities and `size_of`.
    pub(crate) rib: usize,
}

impl Peaks {
    pub(crate) fn join(&mut self, other: &Self) {
        self.destinations = self.destinations.max(other.destinations);
        self.paths = self.paths.max(other.paths);
        self.attribute_sets = self.attribute_sets.max(other.attribute_sets);
        self.outbox = self.outbox.max(other.outbox);
        self.sessions = self.sessions.max(other.sessions);
        self.encoded = self.encoded.max(other.encoded);
        self.rib = self.rib.max(other.rib);
    }
}

impl World {
    /// What costs nothing to ask, after each turn.
    pub(super) fn look_at_peaks(&mut self, id: HostId) {
        let rib = self.node(id).speaker().rib();
        let (destinations, sets) = (rib.prefixes(Family::Ipv4), rib.attributes().len());
        let peaks = &mut self.hosts[id].peaks;
        peaks.destinations = peaks.destinations.max(destinations);
        peaks.attribute_sets = peaks.attribute_sets.max(sets);
    }

    /// What takes a walk.
    pub(crate) fn look_closely(&mut self, id: HostId) {
        let speaker = self.node(id).speaker();
        let (peers, up) = speaker.sessions();
        let rib = speaker.rib();
        let encoded = usize::try_from(rib.encoded_attributes()).unwrap();
        let (paths, octets) = (paths(rib, peers), rib.memory().total());
        let peaks = &mut self.hosts[id].peaks;
        peaks.paths = peaks.paths.max(paths);
        peaks.sessions = peaks.sessions.max(up);
        peaks.rib = peaks.rib.max(octets);
        peaks.encoded = encoded;
    }
}

/// Paths of all peers; indices are given out densely, twice over while peers change.
fn paths(rib: &Rib, peers: usize) -> usize {
    let last = u32::try_from(2 * peers + 1).unwrap();
    let of = |index| rib.counts(PeerIndex(index), Family::Ipv4).received as usize;
    (0..=last).map(of).sum()
}
