//! How many connections are taken in: so many from one source, so many from all.
//!
//! Pure: time is given. Configured peers and strangers are counted apart ([`Caller`]), so that no number of
//! strangers, from no number of addresses, takes a peer's share; a flood in a peer's name is a flood as well. What
//! always holds: memory is bounded, and one source that calls too often leaves room for the others of its kind
//! until all of them together are too many.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::time::{Duration, Instant};

/// A source may call so often at once: both ends of a session dial, and some try again at once.
const SOURCE_BURST: u32 = 32;
/// And then once in this time.
const SOURCE_INTERVAL: Duration = Duration::from_millis(100);
/// All may call so often at once: a cluster of thousands may start in one second.
const TOTAL_BURST: u32 = 8192;
/// And then once in this time.
const TOTAL_INTERVAL: Duration = Duration::from_millis(1);
/// Sources that are remembered.
const SOURCES: usize = 4096;

/// Whether a connection is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admitted {
    /// It is.
    Yes,
    /// Its source calls too often.
    TooManyFromSource,
    /// All sources together do.
    TooMany,
}

/// Who calls, by its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Caller {
    /// A configured peer.
    Peer,
    /// Anybody else, those of a range included.
    Stranger,
}

/// What counts calls.
#[derive(Debug, Default)]
pub(super) struct Admission {
    peers: Share,
    strangers: Share,
}

/// What counts those of one kind.
#[derive(Debug, Default)]
struct Share {
    sources: HashMap<IpAddr, Bucket>,
    total: Bucket,
}

/// A token bucket, kept as the moment at which it is full again.
#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    full_at: Option<Instant>,
}

impl Bucket {
    fn take(&mut self, now: Instant, burst: u32, interval: Duration) -> bool {
        let full_at = self.full_at.map_or(now, |at| at.max(now));
        let room = interval.saturating_mul(burst.saturating_sub(1));
        if full_at.since(now) > room {
            return false;
        }
        self.full_at = Some(full_at + interval);
        true
    }

    fn is_full(self, now: Instant) -> bool {
        self.full_at.is_none_or(|at| at <= now)
    }
}

impl Admission {
    /// Somebody at `source` has connected at `now`.
    pub(super) fn admit(&mut self, now: Instant, source: IpAddr, caller: Caller) -> Admitted {
        match caller {
            Caller::Peer => self.peers.admit(now, source),
            Caller::Stranger => self.strangers.admit(now, source),
        }
    }
}

impl Share {
    fn admit(&mut self, now: Instant, source: IpAddr) -> Admitted {
        if self.sources.len() >= SOURCES && !self.sources.contains_key(&source) {
            self.sources.retain(|_, bucket| !bucket.is_full(now));
            if self.sources.len() >= SOURCES {
                // From so many sources that none of them can be told to be at fault: the limit for
                // all is what is left.
                self.sources.clear();
            }
        }
        let bucket = self.sources.entry(source).or_default();
        if !bucket.take(now, SOURCE_BURST, SOURCE_INTERVAL) {
            return Admitted::TooManyFromSource;
        }
        if self.total.take(now, TOTAL_BURST, TOTAL_INTERVAL) {
            Admitted::Yes
        } else {
            Admitted::TooMany
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Instant = Instant::from_secs(1_000);

    fn source(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    /// How many of `calls` at `now` are let in.
    fn let_in(admission: &mut Admission, now: Instant, from: IpAddr, calls: u32) -> u32 {
        let admitted = |admission: &mut Admission| {
            admission.admit(now, from, Caller::Stranger) == Admitted::Yes
        };
        (0..calls).map(|_| u32::from(admitted(admission))).sum()
    }

    #[test]
    fn a_source_has_a_burst_and_then_a_rate() {
        let mut admission = Admission::default();
        assert_eq!(let_in(&mut admission, START, source(1), 100), SOURCE_BURST);
        let second = START + Duration::from_secs(1);
        assert_eq!(let_in(&mut admission, second, source(1), 100), 10);
        let later = second + Duration::from_secs(60);
        assert_eq!(let_in(&mut admission, later, source(1), 100), SOURCE_BURST);
    }

    #[test]
    fn one_that_floods_does_not_shut_out_another() {
        let mut admission = Admission::default();
        let_in(&mut admission, START, source(1), 1_000_000);
        assert_eq!(let_in(&mut admission, START, source(2), 1), 1);
    }

    #[test]
    fn a_cluster_may_call_at_once_and_a_botnet_may_not() {
        let mut admission = Admission::default();
        let mut taken = 0;
        for number in 0..20_000 {
            taken += let_in(&mut admission, START, source(number), 1);
            assert!(admission.strangers.sources.len() <= SOURCES);
        }
        assert_eq!(taken, TOTAL_BURST);
        let answer = admission.admit(START, source(30_000), Caller::Stranger);
        assert_eq!(answer, Admitted::TooMany);
        let second = START + Duration::from_secs(1);
        let taken: u32 = (0..5_000)
            .map(|number| let_in(&mut admission, second, source(number), 1))
            .sum();
        assert_eq!(taken, 1_000);
    }

    #[test]
    fn no_number_of_strangers_takes_the_share_of_a_peer() {
        let mut admission = Admission::default();
        let peer = source(u32::MAX);
        let calls = |admission: &mut Admission, number: u32| {
            let calls = (0..number).map(|_| admission.admit(START, peer, Caller::Peer));
            calls.filter(|answer| *answer == Admitted::Yes).count()
        };
        assert_eq!(calls(&mut admission, SOURCE_BURST - 1), 31);
        for number in 0..100_000 {
            let_in(&mut admission, START, source(number), 1);
        }
        assert_eq!(calls(&mut admission, 1), 1, "the flood took nothing of it");
        assert_eq!(calls(&mut admission, 100), 0, "and gave it nothing back");
    }

    #[test]
    fn the_nodes_of_one_ipv6_subnet_are_not_one_source() {
        let mut admission = Admission::default();
        let taken: u32 = (0..1_000)
            .map(|host| {
                let address = std::net::Ipv6Addr::new(0xfd00, 0, 0, 1, 0, 0, 0, host);
                let_in(&mut admission, START, address.into(), 2)
            })
            .sum();
        assert_eq!(taken, 2_000);
    }
}
