//! Messages, octets and routes by the count, and the most that a node ever had of anything.
//!
//! A chunk that goes to a thousand peers is read once: it is the same memory.

use bytes::Bytes;
use dunlin::net::Family;
use dunlin::rib::{PeerIndex, Rib};
use dunlin::wire::frame::{self, MessageKind};

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

    fn of(bytes: &[u8], path_ids: bool) -> Self {
        let mut all = Self {
            octets: bytes.len() as u64,
            ..Self::default()
        };
        for (kind, body) in frame::messages(bytes) {
            all.messages += 1;
            match kind {
                MessageKind::Open => all.opens += 1,
                MessageKind::Keepalive => all.keepalives += 1,
                MessageKind::Update => {
                    all.updates += 1;
                    if body == [0; 4] {
                        all.ends += 1;
                        continue;
                    }
                    let (withdrawn, announced) = prefixes(body, path_ids);
                    all.withdrawn += withdrawn.how_many();
                    all.announced += announced.how_many();
                }
                MessageKind::Notification | MessageKind::RouteRefresh => {}
            }
        }
        all
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

/// Counts chunks, and knows the last one again.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    /// Held, so that its memory is not another chunk's.
    last: Option<(Bytes, bool, MessageCount)>,
}

impl Reader {
    pub(crate) fn read(&mut self, bytes: &Bytes, path_ids: bool) -> MessageCount {
        if let Some((last, with, found)) = &self.last
            && *with == path_ids
            && std::ptr::eq(last.as_ptr(), bytes.as_ptr())
            && last.len() == bytes.len()
        {
            return *found;
        }
        let found = MessageCount::of(bytes, path_ids);
        self.last = Some((bytes.clone(), path_ids, found));
        found
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
