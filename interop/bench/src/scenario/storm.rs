//! The storm: many peers start in the same second, then are watched for flaps.
//!
//! Passive: the daemon is up and listens, all peers dial at once; an attempt that takes 5 to 7 s is given up
//! and made again, as routers do. Active: all peers listen and the clock starts with the daemon's process.
//! The peers announce nothing: this is the cost of sessions, not of routes.

use super::{Bound, Figures, Plan, megabytes};
use crate::daemon::{Job, LOCAL_AS, Peer, Running};
use crate::error::Result;
use crate::fleet::Fleet;
use crate::netns::{DAEMON, Pair, peer_address};
use crate::session::{Event, Patience, PeerConfig, Role};
use crate::wire;
use std::collections::{BTreeMap, HashSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The first AS number of eBGP peers; each has its own.
const FIRST_AS: u32 = 100_001;

/// Runs it; `passive` is the daemon's side.
pub(super) fn run(plan: &Plan, passive: bool) -> Result<Figures> {
    let pair = Pair::new()?;
    pair.enter_generator()?;
    let sizes = &plan.sizes;
    let configs: Vec<PeerConfig> = (0..sizes.peers).map(|i| peer(plan, i, passive)).collect();
    let job = Job {
        peers: configs
            .iter()
            .map(|config| Peer {
                address: config.id,
                asn: config.asn,
            })
            .collect(),
        hold_time: sizes.hold_time,
        passive,
    };
    let mut fleet = Fleet::new(configs, Instant::now())?;
    if !passive {
        fleet.listen(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 179))?;
    }
    let mut daemon = Running::start(plan.kind, &plan.programs, &pair, &job)?;
    let mut start = daemon.started;
    let mut before = 0.0;
    if passive {
        daemon.await_listening(Duration::from_secs(15))?;
        // What the start of the daemon cost is not the storm's.
        before = daemon.processes().cost().cpu;
        start = Instant::now();
    }
    let bound = Bound::new(sizes.timeout + sizes.observe, &plan.stop);
    let mut watch = Watch::default();
    while fleet.established() < sizes.peers {
        watch.poll(&mut fleet)?;
        bound.check(&mut daemon, || {
            let up = fleet.established();
            format!("{up} of {} sessions up; {}", sizes.peers, watch.reasons())
        })?;
    }
    let up = start.elapsed().as_secs_f64();
    let at_up = daemon.processes().cost().cpu;
    let end = Instant::now() + sizes.observe;
    while Instant::now() < end {
        watch.poll(&mut fleet)?;
        bound.check(&mut daemon, || {
            format!("watching for flaps; {}", watch.reasons())
        })?;
    }
    daemon.check()?;
    if !watch.reasons.is_empty() {
        eprint!(" [{}]", watch.reasons());
    }
    let cost = daemon.processes().cost();
    Ok(vec![
        ("all_up_s", up),
        ("up_cpu_s", at_up - before),
        ("watch_cpu_s", cost.cpu - at_up),
        ("flapped_peers", watch.flapped.len() as f64),
        ("down_at_end", (sizes.peers - fleet.established()) as f64),
        ("attempts", fleet.attempts() as f64),
        ("peak_rss_mb", megabytes(cost.peak_rss)),
    ])
}

fn peer(plan: &Plan, index: usize, passive: bool) -> PeerConfig {
    let address = peer_address(index);
    // Spread deterministically over 5 to 7 s, so that retries are no second burst.
    let attempt = Duration::from_millis(5000 + (index as u64 * 131) % 2000);
    let patience = Patience {
        attempt,
        retry: Duration::from_millis(500 + (index as u64 * 37) % 500),
    };
    PeerConfig {
        local: address.into(),
        remote: SocketAddr::new(DAEMON.into(), 179),
        id: address,
        asn: match plan.sizes.ibgp {
            true => LOCAL_AS,
            false => FIRST_AS + u32::try_from(index).unwrap_or(0),
        },
        hold_time: plan.sizes.hold_time,
        four_octet: true,
        opening: None,
        role: if passive {
            Role::Dial(patience)
        } else {
            Role::Accept { by_local: true }
        },
    }
}

/// What happened to the sessions.
#[derive(Default)]
struct Watch {
    fresh: Vec<usize>,
    flapped: HashSet<usize>,
    reasons: BTreeMap<String, usize>,
}

impl Watch {
    fn poll(&mut self, fleet: &mut Fleet) -> Result<()> {
        let Self {
            fresh,
            flapped,
            reasons,
        } = self;
        let mut sink = |index: usize, event: Event<'_>| match event {
            Event::Established => fresh.push(index),
            Event::Message(_) => {}
            Event::Down {
                established,
                reason,
            } => {
                if established {
                    flapped.insert(index);
                }
                *reasons.entry(reason.to_owned()).or_default() += 1;
            }
        };
        fleet.poll(Duration::from_millis(10), &mut sink)?;
        for index in self.fresh.drain(..) {
            fleet.send(index, Arc::new(wire::end_of_rib()), &mut |_, _| {});
        }
        Ok(())
    }

    /// Why sessions and attempts ended, most frequent first.
    fn reasons(&self) -> String {
        let mut all: Vec<_> = self.reasons.iter().collect();
        all.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let parts: Vec<String> = all
            .iter()
            .take(5)
            .map(|(reason, n)| format!("{n} x {reason}"))
            .collect();
        parts.join(", ")
    }
}
