//! The storm: many peers start in the same second, then are watched for flaps.
//!
//! Passive: the daemon is up and listens, all peers dial at once; an attempt that takes 5 to 7 s is given up
//! and made again, as routers do. Active: all peers listen and the clock starts with the daemon's process.
//! Unless asked to announce blocks, the peers announce nothing: this is the cost of sessions, not of routes.

use super::blocks::Blocks;
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
pub(super) const FIRST_AS: u32 = 100_001;

/// Runs it; `passive` is the daemon's side.
pub(super) fn run(plan: &Plan, passive: bool) -> Result<Figures> {
    let pair = Pair::new()?;
    pair.enter_generator()?;
    let sizes = &plan.sizes;
    pair.introduce(sizes.peers)?;
    let configs: Vec<PeerConfig> = (0..sizes.peers).map(|i| peer(plan, i, passive)).collect();
    let job = job(plan, &configs, passive);
    let mut watch = Watch::new(&configs, sizes.routes);
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
    while fleet.established() < sizes.peers {
        watch.poll(&mut fleet)?;
        bound.check(&mut daemon, || {
            let up = fleet.established();
            format!("{up} of {} sessions up; {}", sizes.peers, watch.reasons())
        })?;
    }
    let up = start.elapsed().as_secs_f64();
    let at_up = daemon.processes().cost().cpu;
    let mut figures = vec![("all_up_s", up), ("up_cpu_s", at_up - before)];
    if sizes.routes > 0 {
        watch.await_routes(&mut fleet, &mut daemon, &bound)?;
        figures.push(("all_routes_s", start.elapsed().as_secs_f64()));
        figures.push(("routes_cpu_s", daemon.processes().cost().cpu - before));
    }
    let routed = daemon.processes().cost().cpu;
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
    figures.extend([
        ("watch_cpu_s", cost.cpu - routed),
        ("flapped_peers", watch.flapped() as f64),
        ("down_at_end", (sizes.peers - fleet.established()) as f64),
        ("attempts", fleet.attempts() as f64),
        ("peak_rss_mb", megabytes(cost.peak_rss)),
    ]);
    Ok(figures)
}

fn job(plan: &Plan, configs: &[PeerConfig], passive: bool) -> Job {
    let peer = |config: &PeerConfig| Peer::new(config.id, config.asn);
    Job {
        peers: configs.iter().map(peer).collect(),
        hold_time: plan.sizes.hold_time,
        passive,
        kernel: false,
    }
}

fn peer(plan: &Plan, index: usize, passive: bool) -> PeerConfig {
    let address = peer_address(index);
    // Spread deterministically over 5 to 7 s, so that retries are no second burst.
    let attempt = Duration::from_millis(5000 + (index as u64 * 131) % 2000);
    let patience = Patience {
        attempt,
        retry: Duration::from_millis(500 + (index as u64 * 37) % 500),
    };
    // With routes, the last of the iBGP peers is an eBGP one: somebody must get them.
    let sizes = &plan.sizes;
    let ibgp = sizes.ibgp && (sizes.routes == 0 || index + 1 < sizes.peers);
    PeerConfig {
        local: address.into(),
        remote: SocketAddr::new(DAEMON.into(), 179),
        id: address,
        asn: match ibgp {
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
pub(super) struct Watch {
    peers: Vec<PeerConfig>,
    blocks: Blocks,
    fresh: Vec<usize>,
    flapped: HashSet<usize>,
    reasons: BTreeMap<String, usize>,
}

impl Watch {
    /// Nothing has happened; each peer is to announce so many blocks.
    pub(super) fn new(peers: &[PeerConfig], routes: usize) -> Self {
        Self {
            peers: peers.to_vec(),
            blocks: Blocks::new(peers, routes),
            fresh: Vec::new(),
            flapped: HashSet::new(),
            reasons: BTreeMap::new(),
        }
    }

    fn note(&mut self, index: usize, event: Event<'_>) {
        match event {
            Event::Established => self.fresh.push(index),
            Event::Message(frame) if frame.kind == wire::UPDATE => {
                let see = |up, address, _| self.blocks.see(index, up, address);
                if wire::prefixes(frame.body, see).is_err() {
                    self.count("malformed UPDATE");
                }
            }
            Event::Message(_) => {}
            Event::Down {
                established,
                reason,
            } => {
                if established {
                    self.flapped.insert(index);
                    self.blocks.forget(index);
                }
                self.count(reason);
            }
        }
    }

    fn count(&mut self, reason: &str) {
        *self.reasons.entry(reason.to_owned()).or_default() += 1;
    }

    /// Lets the sessions go on; one that comes up announces its blocks.
    pub(super) fn poll(&mut self, fleet: &mut Fleet) -> Result<()> {
        let wait = Duration::from_millis(10);
        fleet.poll(wait, &mut |index, event| self.note(index, event))?;
        for index in std::mem::take(&mut self.fresh) {
            let Some(peer) = self.peers.get(index) else {
                continue;
            };
            let bytes = Arc::new(self.blocks.announcement(index, peer));
            fleet.send(index, bytes, &mut |index, event| self.note(index, event));
        }
        Ok(())
    }

    /// How many peers have lost a session that was up.
    pub(super) fn flapped(&self) -> usize {
        self.flapped.len()
    }

    /// Polls until everybody has all blocks.
    pub(super) fn await_routes(
        &mut self,
        fleet: &mut Fleet,
        daemon: &mut Running,
        bound: &Bound,
    ) -> Result<()> {
        while self.blocks.count() < self.blocks.expected() {
            self.poll(fleet)?;
            bound.check(daemon, || {
                let (count, expected) = (self.blocks.count(), self.blocks.expected());
                format!("{count} of {expected} routes arrived; {}", self.reasons())
            })?;
        }
        Ok(())
    }

    /// Why sessions and attempts ended, most frequent first.
    pub(super) fn reasons(&self) -> String {
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
