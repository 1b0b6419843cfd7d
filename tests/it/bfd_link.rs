//! Two BFD machines on one link in virtual time, with a delay, losses, and any start of either end.

use std::collections::BTreeMap;
use std::net::IpAddr;

use dunlin::bfd::{
    Arrival, Authentication, FarEnd, Hops, Machine, Packet, Report, State, Terms, Watch,
};
use dunlin::time::{Duration, Instant};

/// Milliseconds, as the stories count.
pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) fn terms(min_transmit: u64, min_receive: u64, multiplier: u8) -> Terms {
    Terms::new(ms(min_transmit), ms(min_receive), multiplier)
}

/// What each end is called.
pub(crate) const ADDRESSES: [&str; 2] = ["10.0.0.1", "10.0.0.2"];

pub(crate) fn address(end: usize) -> IpAddr {
    ADDRESSES[end].parse().unwrap()
}

/// What the end `end` watches: the other one.
pub(crate) fn watch(end: usize, hops: Hops, terms: Terms) -> Watch {
    Watch {
        far_end: FarEnd {
            remote: address(1 - end),
            local: Some(address(end)),
            interface: None,
        },
        hops,
        least_ttl: 48,
        terms,
        authentication: Authentication::None,
    }
}

/// The link that the far end is reached by, and another one.
pub(crate) const LINK: u32 = 2;
pub(crate) const OTHER_LINK: u32 = 3;

/// A packet that left.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    pub(crate) at: Instant,
    pub(crate) from: usize,
    pub(crate) hops: Hops,
    pub(crate) packet: Packet,
}

/// The link and its two ends.
pub(crate) struct Link {
    pub(crate) now: Instant,
    pub(crate) ends: [Machine; 2],
    /// Whether what this end sends arrives.
    pub(crate) passes: [bool; 2],
    pub(crate) delay: Duration,
    pub(crate) sent: Vec<Sent>,
    /// The same in octets.
    pub(crate) octets: Vec<(usize, Vec<u8>)>,
    pub(crate) reports: [Option<Report>; 2],
    flying: BTreeMap<(Instant, u64), (usize, Hops, Vec<u8>)>,
    count: u64,
}

impl Link {
    /// Two machines that watch nobody yet.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            now: Instant::from_secs(100),
            ends: [Machine::new(seed), Machine::new(seed ^ 0xF00D)],
            passes: [true; 2],
            delay: ms(1),
            sent: Vec::new(),
            octets: Vec::new(),
            reports: [None, None],
            flying: BTreeMap::new(),
            count: 0,
        }
    }

    /// Two that watch each other by the same terms.
    pub(crate) fn single_hop(seed: u64, terms: Terms) -> Self {
        let mut link = Self::new(seed);
        for end in 0..2 {
            link.watch(end, &[watch(end, Hops::Single, terms)]);
        }
        link
    }

    pub(crate) fn watch(&mut self, end: usize, watches: &[Watch]) {
        self.ends[end].watch(self.now, watches);
        for watch in watches {
            self.ends[end].reached_by(&watch.far_end, vec![LINK]);
        }
        self.collect(end);
    }

    pub(crate) fn stop(&mut self, end: usize) {
        self.ends[end].stop(self.now);
        self.collect(end);
    }

    /// The end's process begins anew, watching the same.
    pub(crate) fn restart(&mut self, end: usize, seed: u64, watches: &[Watch]) {
        self.ends[end] = Machine::new(seed);
        self.reports[end] = None;
        self.watch(end, watches);
    }

    pub(crate) fn state(&self, end: usize) -> State {
        self.reports[end]
            .as_ref()
            .map_or(State::Down, |report| report.state)
    }

    pub(crate) fn failures(&self, end: usize) -> u64 {
        self.reports[end]
            .as_ref()
            .map_or(0, |report| report.failures)
    }

    pub(crate) fn both_up(&self) -> bool {
        (0..2).all(|end| self.state(end) == State::Up)
    }

    /// One event, if there is one before `until`.
    fn step(&mut self, until: Instant) -> bool {
        let timers = self.ends.iter().filter_map(Machine::next_timeout).min();
        let arrival = self.flying.keys().next().map(|(at, _)| *at);
        let Some(at) = [timers, arrival].into_iter().flatten().min() else {
            return false;
        };
        if at > until {
            return false;
        }
        self.now = self.now.max(at);
        let due = self.flying.first_key_value().map(|(key, _)| *key);
        if let Some(key) = due.filter(|(at, _)| *at <= self.now)
            && let Some((to, hops, octets)) = self.flying.remove(&key)
        {
            let arrival = Arrival {
                remote: address(1 - to),
                local: address(to),
                link: LINK,
                hops,
                ttl: Some(255),
                octets: &octets,
            };
            // A restarted end gets what was meant for the process before it.
            let _discarded = self.ends[to].handle(self.now, &arrival);
            self.collect(to);
        }
        for end in 0..2 {
            self.ends[end].handle_timeout(self.now);
            self.collect(end);
        }
        true
    }

    /// Lets `span` pass.
    pub(crate) fn run(&mut self, span: Duration) {
        let until = self.now + span;
        while self.step(until) {}
        self.now = until;
    }

    /// Lets time pass until `holds`, for `limit` at most; how long it took.
    pub(crate) fn run_until(
        &mut self,
        limit: Duration,
        holds: impl Fn(&Self) -> bool,
    ) -> Option<Duration> {
        let begin = self.now;
        let until = begin + limit;
        loop {
            if holds(self) {
                return Some(self.now.since(begin));
            }
            if !self.step(until) {
                return None;
            }
        }
    }

    /// What somebody else sends to the end `to` in the name of the other one.
    pub(crate) fn forge(&mut self, to: usize, link: u32, (hops, ttl): (Hops, u8), octets: &[u8]) {
        let arrival = Arrival {
            remote: address(1 - to),
            local: address(to),
            link,
            hops,
            ttl: Some(ttl),
            octets,
        };
        let _refused = self.ends[to].handle(self.now, &arrival);
        self.collect(to);
    }

    fn collect(&mut self, end: usize) {
        while let Some(transmit) = self.ends[end].poll() {
            let packet = Packet::decode(&transmit.octets).unwrap();
            self.octets.push((end, transmit.octets.clone()));
            self.sent.push(Sent {
                at: self.now,
                from: end,
                hops: transmit.hops,
                packet,
            });
            if self.passes[end] {
                self.count += 1;
                let key = (self.now + self.delay, self.count);
                let flight = (1 - end, transmit.hops, transmit.octets);
                self.flying.insert(key, flight);
            }
        }
        while let Some(report) = self.ends[end].poll_report() {
            self.reports[end] = Some(report);
        }
    }
}
