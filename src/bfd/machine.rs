//! All sessions: whose packet it is, when the next timer runs, what is to be told.
//!
//! A packet names our session by its discriminator once it has heard us; before that it is found by its
//! addresses (RFC 5880 §6.3, RFC 5881 §3, RFC 5883 §4). What always holds: each session has its deadline
//! in `deadlines` exactly once; there are as many sessions as far ends to watch, and for a moment those
//! that are told goodbye.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

use super::packet::{LENGTH, Packet, PacketError, State};
use super::session::Session;
use super::{FarEnd, Hops, Report, Watch};
use crate::rng::Rng;
use crate::time::{Duration, Instant};

/// How long a far end has to be heard on the single-hop port, and only there, before we go there, too.
/// The other way is gone at once, so that two ends that begin differently don't change places for ever.
const FOLLOW_AFTER: Duration = Duration::from_secs(3);

/// A datagram as the system gives it.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// From.
    pub remote: IpAddr,
    /// To.
    pub local: IpAddr,
    /// The link that it came by, where the address is a link-local one.
    pub interface: Option<&'a str>,
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
    /// It was forwarded, or nobody knows whether it was (RFC 5881 §5).
    #[error("it came over more than one hop")]
    Forwarded,
    /// Nobody that we watch.
    #[error("it belongs to no session")]
    Stranger,
    /// Somebody that we watch, on the other port.
    #[error("the far end speaks {0:?} hop BFD")]
    OtherHops(Hops),
}

/// A packet to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    /// To and from.
    pub far_end: FarEnd,
    /// To which port.
    pub hops: Hops,
    /// Its content.
    pub octets: [u8; LENGTH],
}

#[derive(Debug)]
struct Entry {
    watch: Watch,
    /// The port that is spoken to, which the far end may have changed.
    hops: Hops,
    session: Session,
    deadline: Option<Instant>,
    /// Since when the far end is heard on the other port.
    elsewhere: Option<Instant>,
    reported: Option<Report>,
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
        if arrival.hops == Hops::Single && arrival.ttl != Some(u8::MAX) {
            return Err(Discard::Forwarded);
        }
        let packet = Packet::decode(arrival.octets)?;
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
        if !entry.speaks(now, arrival.hops, &packet) {
            return Err(Discard::OtherHops(arrival.hops));
        }
        entry.session.received(now, &packet);
        self.keep(now, mine);
        Ok(())
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
        let entry = Entry {
            watch: watch.clone(),
            hops: watch.hops,
            session: Session::new(now, mine, watch.terms),
            deadline: None,
            elsewhere: None,
            reported: None,
        };
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
        if entry.watch.hops != watch.hops {
            entry.hops = watch.hops;
        }
        entry.watch = watch.clone();
        entry.session.set_terms(now, watch.terms);
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
            self.transmits.push_back(Transmit {
                far_end: entry.watch.far_end.clone(),
                hops: entry.hops,
                octets: packet.encode(),
            });
        }
        if !entry.session.is_leaving() {
            let report = entry.report(mine);
            if entry.reported.as_ref() != Some(&report) {
                entry.reported = Some(report.clone());
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

impl Entry {
    /// Whether a datagram is of this path: a name that was guessed or overheard is not enough.
    fn is_at(&self, arrival: &Arrival<'_>) -> bool {
        let FarEnd {
            remote,
            local,
            interface,
        } = &self.watch.far_end;
        *remote == arrival.remote
            && local.is_none_or(|local| local == arrival.local)
            && interface
                .as_deref()
                .is_none_or(|interface| arrival.interface == Some(interface))
    }

    /// Whether a packet of the port `hops` is taken. While nothing is up, a far end that begins on the
    /// other port is followed: which one is right depends on settings of both sides.
    fn speaks(&mut self, now: Instant, hops: Hops, packet: &Packet) -> bool {
        if hops == self.hops {
            self.elsewhere = None;
            return true;
        }
        let waits = self.session.state() == State::Down && packet.yours == 0;
        if !waits || self.session.is_leaving() {
            return false;
        }
        let since = *self.elsewhere.get_or_insert(now);
        let patience = match hops {
            Hops::Multi => Duration::ZERO,
            Hops::Single => FOLLOW_AFTER,
        };
        if now.since(since) < patience {
            return false;
        }
        self.hops = hops;
        self.elsewhere = None;
        true
    }

    fn report(&self, mine: u32) -> Report {
        let session = &self.session;
        Report {
            far_end: self.watch.far_end.clone(),
            session: mine,
            state: session.state(),
            since: session.since(),
            diagnostic: session.diagnostic(),
            failures: session.failures(),
            failed_from: session.failed_from(),
            independent: session.independent(),
            hops: self.hops,
            transmit: session.interval(),
            detection: session.detection(),
        }
    }
}
