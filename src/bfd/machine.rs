//! All sessions: whose packet it is, when the next timer runs, what is to be told.
//!
//! A packet names our session by its discriminator once it has heard us; before that it is found by its
//! addresses (RFC 5880 §6.3, RFC 5881 §3, RFC 5883 §4). What always holds: each session has its deadline
//! in `deadlines` exactly once; there are as many sessions as far ends to watch, and for a moment those
//! that are told goodbye; what is refused changes nothing but a count ([`Dropped`](super::Dropped)).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

use super::entry::Entry;
use super::packet::{Packet, PacketError};
use super::refusal::Refusal;
use super::{FarEnd, Hops, Report, Watch};
use crate::rng::Rng;
use crate::time::Instant;

/// A datagram as the system gives it.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// From.
    pub remote: IpAddr,
    /// To.
    pub local: IpAddr,
    /// The link that it came by, by its index.
    pub link: u32,
    /// The port that it came to.
    pub hops: Hops,
    /// Its TTL or hop limit, if the system says it.
    pub ttl: Option<u8>,
    /// Its content.
    pub octets: &'a [u8],
}

/// Why a datagram was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Discard {
    /// It can't be read.
    #[error("{0}")]
    Packet(#[from] PacketError),
    /// Nobody that we watch.
    #[error("it belongs to no session")]
    Stranger,
    /// Somebody that we watch, or so it says.
    #[error("{0}")]
    Refused(Refusal),
}

/// A packet to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    /// To and from.
    pub far_end: FarEnd,
    /// To which port.
    pub hops: Hops,
    /// By this link and no other; none leaves it to the kernel.
    pub link: Option<u32>,
    /// Its content.
    pub octets: Vec<u8>,
}

/// The sessions of a node.
#[derive(Debug)]
pub struct Machine {
    rng: Rng,
    /// By our discriminator.
    entries: BTreeMap<u32, Entry>,
    places: BTreeMap<FarEnd, u32>,
    deadlines: BTreeSet<(Instant, u32)>,
    transmits: VecDeque<Transmit>,
    reports: BTreeMap<FarEnd, Report>,
}

impl Machine {
    /// No sessions yet; `seed` makes jitter and discriminators.
    pub fn new(seed: u64) -> Self {
        Self {
            rng: Rng::new(seed),
            entries: BTreeMap::new(),
            places: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            transmits: VecDeque::new(),
            reports: BTreeMap::new(),
        }
    }

    /// From now on these are watched, and nobody else.
    pub fn watch(&mut self, now: Instant, watches: &[Watch]) {
        let wanted: BTreeSet<&FarEnd> = watches.iter().map(|watch| &watch.far_end).collect();
        let gone = |(far_end, mine): (&FarEnd, &u32)| (!wanted.contains(far_end)).then_some(*mine);
        let gone: Vec<u32> = self.places.iter().filter_map(gone).collect();
        for mine in gone {
            self.leave(now, mine);
        }
        for watch in watches {
            match self.places.get(&watch.far_end).copied() {
                Some(mine) => self.change(now, mine, watch),
                None => self.begin(now, watch),
            }
        }
    }

    /// The end: every far end that was heard is told at once.
    pub fn stop(&mut self, now: Instant) {
        self.watch(now, &[]);
    }

    /// A datagram came.
    ///
    /// # Errors
    /// Why it changes nothing.
    pub fn handle(&mut self, now: Instant, arrival: &Arrival<'_>) -> Result<(), Discard> {
        let (mine, taken) = self.take(now, arrival)?;
        self.keep(now, mine);
        taken.map_err(Discard::Refused)
    }

    /// Whose datagram it is, and whether it was taken.
    fn take(
        &mut self,
        now: Instant,
        arrival: &Arrival<'_>,
    ) -> Result<(u32, Result<(), Refusal>), Discard> {
        let packet = match Packet::decode(arrival.octets) {
            Ok(packet) => packet,
            Err(error) => {
                if let Some(mine) = self.by_address(arrival)
                    && let Some(entry) = self.entries.get_mut(&mine)
                {
                    entry.refuse(Refusal::Malformed);
                    self.keep(now, mine);
                }
                return Err(error.into());
            }
        };
        let mine = if packet.yours == 0 {
            self.by_address(arrival)
        } else {
            Some(packet.yours)
        };
        let mine = mine.ok_or(Discard::Stranger)?;
        let entry = self.entries.get_mut(&mine).ok_or(Discard::Stranger)?;
        if !entry.is_at(arrival) {
            return Err(Discard::Stranger);
        }
        Ok((mine, entry.take(now, arrival, &packet)))
    }

    /// By which links a far end is reached. Before the first call none of its single-hop packets counts.
    pub fn reached_by(&mut self, far_end: &FarEnd, links: Vec<u32>) {
        let mine = self.places.get(far_end);
        if let Some(entry) = mine.and_then(|mine| self.entries.get_mut(mine)) {
            entry.links = links;
        }
    }

    /// The far ends whose links matter.
    pub fn on_links(&self) -> impl Iterator<Item = &FarEnd> {
        let entries = self
            .places
            .values()
            .filter_map(|mine| self.entries.get(mine));
        entries
            .filter(|entry| entry.hops == Hops::Single)
            .map(|entry| &entry.watch.far_end)
    }

    /// The far end that a packet of this address would be of.
    pub fn far_end_of(&self, arrival: &Arrival<'_>) -> Option<&FarEnd> {
        let mine = self.by_address(arrival)?;
        Some(&self.entries.get(&mine)?.watch.far_end)
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Runs the timers that are due. Hand over every datagram that had come before: silence must not be
    /// found in our own queue.
    pub fn handle_timeout(&mut self, now: Instant) {
        let due: Vec<u32> = self
            .deadlines
            .range(..=(now, u32::MAX))
            .map(|(_, mine)| *mine)
            .collect();
        for mine in due {
            if let Some(entry) = self.entries.get_mut(&mine) {
                entry.session.timeout(now);
            }
            self.keep(now, mine);
        }
    }

    /// The next packet to send.
    pub fn poll(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// How a session stands that has changed.
    pub fn poll_report(&mut self) -> Option<Report> {
        self.reports.pop_first().map(|(_, report)| report)
    }

    /// Whether nobody is watched and nobody is left to be told.
    pub fn is_idle(&self) -> bool {
        self.entries.is_empty()
    }

    fn begin(&mut self, now: Instant, watch: &Watch) {
        let mine = self.fresh_name();
        let entry = Entry::new(now, mine, watch, (self.rng.next_u64() >> 32) as u32);
        self.entries.insert(mine, entry);
        self.places.insert(watch.far_end.clone(), mine);
        self.keep(now, mine);
    }

    fn change(&mut self, now: Instant, mine: u32, watch: &Watch) {
        let Some(entry) = self.entries.get_mut(&mine) else {
            return;
        };
        if entry.watch == *watch {
            return;
        }
        if entry.begins_anew_for(&watch.authentication) {
            // One end signs and the other does not know yet: told goodbye, it takes that for no failure.
            let links = core::mem::take(&mut entry.links);
            self.leave(now, mine);
            self.begin(now, watch);
            self.reached_by(&watch.far_end, links);
            return;
        }
        entry.change(now, watch);
        self.keep(now, mine);
    }

    fn leave(&mut self, now: Instant, mine: u32) {
        let Some(entry) = self.entries.get_mut(&mine) else {
            return;
        };
        entry.session.leave(now);
        self.places.remove(&entry.watch.far_end);
        self.reports.remove(&entry.watch.far_end);
        self.keep(now, mine);
    }

    fn fresh_name(&mut self) -> u32 {
        loop {
            // Not to be guessed from the one before: packets from afar have to name it.
            let name = (self.rng.next_u64() >> 32) as u32;
            if name != 0 && !self.entries.contains_key(&name) {
                return name;
            }
        }
    }

    /// The session of a far end that does not know our name for it yet.
    fn by_address(&self, arrival: &Arrival<'_>) -> Option<u32> {
        let first = FarEnd {
            remote: arrival.remote,
            local: None,
            interface: None,
        };
        let same = self.places.range(first..);
        same.take_while(|(far_end, _)| far_end.remote == arrival.remote)
            .map(|(_, mine)| *mine)
            .filter(|mine| {
                self.entries
                    .get(mine)
                    .is_some_and(|entry| entry.is_at(arrival))
            })
            .last()
    }

    /// After every step: sends what is due, tells what is new, keeps the deadline.
    fn keep(&mut self, now: Instant, mine: u32) {
        let Some(entry) = self.entries.get_mut(&mine) else {
            return;
        };
        for packet in entry.session.transmit(now, &mut self.rng).iter().flatten() {
            self.transmits.extend(entry.transmit(now, packet));
        }
        if !entry.session.is_leaving() {
            let report = entry.report(mine);
            if entry.is_news(now, &report) {
                entry.reported = Some((now, report.clone()));
                self.reports.insert(report.far_end.clone(), report);
            }
        }
        if let Some(old) = entry.deadline.take() {
            self.deadlines.remove(&(old, mine));
        }
        if entry.session.is_gone(now) {
            self.entries.remove(&mine);
            return;
        }
        entry.deadline = entry.session.next_timeout();
        if let Some(at) = entry.deadline {
            self.deadlines.insert((at, mine));
        }
    }
}
