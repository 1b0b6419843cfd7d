//! S2 and S3: the daemon is the route reflector of many clients, each with four blocks.
//!
//! S2 brings them up, and when all are, each announces its blocks; it is over when each has everybody's. S3 goes on
//! from there with one change every 20 ms. What arrives is looked at by `clients`; a wrong route or a session lost after
//! all were up leaves the run without figures.

use super::blocks::change;
use super::churn::{Churn, percentile, turns};
use super::clients::{Watch, client};
use super::{Bound, Figures, Plan, megabytes};
use crate::cpu::thread as thread_cpu;
use crate::daemon::{Job, Peer, Running};
use crate::error::{Error, Result};
use crate::fleet::Fleet;
use crate::netns::Pair;
use crate::session::PeerConfig;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What each client announces.
pub(super) const BLOCKS: usize = 4;
/// Between the phases: work put off belongs to the phase before.
const AFTERMATH: Duration = Duration::from_millis(500);
/// S2: the clients are read in gulps, so that the generator does not wake for every small write of a daemon.
const GULP: Duration = Duration::from_millis(1);
/// S3: how many changes, and how far apart.
const CHANGES: u32 = 500;
const INTERVAL: Duration = Duration::from_millis(20);
/// A thousand peers in a configuration take some daemons a while.
const STARTUP: Duration = Duration::from_secs(60);

/// S2: the sessions, then the blocks.
pub(super) fn distribution(plan: &Plan) -> Result<Figures> {
    let mut stage = Stage::open(plan)?;
    stage.come_up()?;
    stage.distribute()?;
    Ok(stage.figures)
}

/// S3: the changes.
pub(super) fn churn(plan: &Plan) -> Result<Figures> {
    let mut stage = Stage::open(plan)?;
    stage.come_up()?;
    stage.distribute()?;
    stage.figures.clear();
    stage.churn()?;
    Ok(stage.figures)
}

/// The daemon, its clients, and what is known so far.
struct Stage {
    fleet: Fleet,
    watch: Watch,
    daemon: Running,
    bound: Bound,
    /// Before the clients dialled.
    cpu: f64,
    start: Instant,
    figures: Figures,
    _pair: Pair,
}

impl Stage {
    fn open(plan: &Plan) -> Result<Self> {
        if plan.sizes.peers < 2 {
            return Err(Error::Usage("a reflector needs two clients".to_owned()));
        }
        let clients: Vec<PeerConfig> = (0..plan.sizes.peers)
            .map(|index| client(index, plan.sizes.long_hold))
            .collect();
        let pair = Pair::new()?;
        pair.enter_generator()?;
        pair.introduce(clients.len())?;
        let job = Job {
            peers: clients.iter().map(|peer| Peer::client(peer.id)).collect(),
            hold_time: plan.sizes.long_hold,
            passive: true,
            kernel: false,
        };
        let mut daemon = Running::start(plan.kind, &plan.programs, &pair, &job)?;
        daemon.await_listening(STARTUP)?;
        let cpu = daemon.processes().cost().cpu;
        let start = Instant::now();
        Ok(Self {
            fleet: Fleet::new(clients.clone(), start)?,
            watch: Watch::new(clients, plan.kind.is_relay()),
            daemon,
            bound: Bound::new(plan.sizes.timeout, &plan.stop),
            cpu,
            start,
            figures: Figures::new(),
            _pair: pair,
        })
    }

    /// All clients dial at once.
    fn come_up(&mut self) -> Result<()> {
        let all = self.watch.clients.len();
        while self.fleet.established() < all {
            let up = self.fleet.established();
            self.poll(INTERVAL, |watch| {
                format!("{up} of {all} sessions up; {}", watch.last_down)
            })?;
        }
        let up = self.start.elapsed().as_secs_f64();
        self.rest()?;
        self.watch.armed = true;
        let spent = self.spent();
        self.figures.extend([("all_up_s", up), ("up_cpu_s", spent)]);
        Ok(())
    }

    /// All announce their blocks; everybody waits for everybody's.
    fn distribute(&mut self) -> Result<()> {
        let before = self.spent();
        self.watch.updates = 0;
        let clients = self.watch.clients.iter().enumerate();
        let bytes: Vec<_> = clients
            .map(|(index, client)| Arc::new(self.watch.blocks.announcement(index, client)))
            .collect();
        let own = thread_cpu();
        let start = Instant::now();
        for (index, bytes) in bytes.into_iter().enumerate() {
            self.send(index, bytes);
        }
        while self.watch.blocks.count() < self.watch.blocks.expected() {
            self.poll(INTERVAL, |watch| {
                let (count, expected) = (watch.blocks.count(), watch.blocks.expected());
                format!("{count} of {expected} routes arrived")
            })?;
            std::thread::sleep(GULP);
        }
        let all_routes = start.elapsed().as_secs_f64();
        let own = thread_cpu() - own;
        self.rest()?;
        let total = self.spent();
        let routes = self.watch.blocks.expected();
        self.figures.extend([
            ("all_routes_s", all_routes),
            ("routes_cpu_s", total - before),
            ("total_cpu_s", total),
            ("cpu_us_per_route", total * 1e6 / routes.max(1) as f64),
            (
                "peak_rss_mb",
                megabytes(self.daemon.processes().cost().peak_rss),
            ),
            ("updates_out", self.watch.updates as f64),
            ("attempts", self.fleet.attempts() as f64),
            ("generator_cpu_s", own),
        ]);
        Ok(())
    }

    /// At a fixed rate, whether those before have arrived or not: a client's first block goes, then comes back.
    fn churn(&mut self) -> Result<()> {
        let clients = self.watch.clients.len();
        let order = turns(clients);
        self.watch.churn = Some(Churn::new(clients));
        self.watch.updates = 0;
        self.bound.extend(INTERVAL * CHANGES);
        let before = self.spent();
        let own = thread_cpu();
        let start = Instant::now();
        let mut lags = Vec::new();
        for (number, turn) in (0..CHANGES).zip(order.iter().cycle().flat_map(|c| [c, c])) {
            let due = start + INTERVAL * number;
            while let Some(wait) = due.checked_duration_since(Instant::now()) {
                self.poll(wait, |_| "the next change".to_owned())?;
            }
            lags.push(due.elapsed().as_secs_f64() * 1000.0);
            self.change(*turn, number % 2 == 1);
        }
        while self.watch.done() < CHANGES as usize {
            self.poll(INTERVAL, |watch| {
                format!("{} of {CHANGES} changes reached everybody", watch.done())
            })?;
        }
        let own = thread_cpu() - own;
        self.rest()?;
        let spent = self.spent() - before;
        let Some(churn) = self.watch.churn.take() else {
            return Ok(());
        };
        self.figures.extend([
            ("p50_ms", percentile(churn.latencies(false), 50)),
            ("p99_ms", percentile(churn.latencies(false), 99)),
            ("announce_p50_ms", percentile(churn.latencies(true), 50)),
            ("announce_p99_ms", percentile(churn.latencies(true), 99)),
            ("churn_cpu_s", spent),
            ("updates_out", self.watch.updates as f64),
            ("merged_percent", churn.merged_percent()),
            ("generator_lag_p99_ms", percentile(lags, 99)),
            ("generator_cpu_s", own),
        ]);
        Ok(())
    }

    fn change(&mut self, index: usize, announced: bool) {
        let (Some(churn), Some(client)) = (&mut self.watch.churn, self.watch.clients.get(index))
        else {
            return;
        };
        let number = churn.make(index, announced, Instant::now());
        let bytes = change(index, client, announced.then_some(number));
        self.send(index, Arc::new(bytes));
    }

    fn send(&mut self, index: usize, bytes: Arc<Vec<u8>>) {
        let watch = &mut self.watch;
        self.fleet
            .send(index, bytes, &mut |index, event| watch.note(index, event));
    }

    /// The daemon's CPU seconds since the clients dialled.
    fn spent(&self) -> f64 {
        self.daemon.processes().cost().cpu - self.cpu
    }

    fn rest(&mut self) -> Result<()> {
        let end = Instant::now() + AFTERMATH;
        while let Some(wait) = end.checked_duration_since(Instant::now()) {
            self.poll(wait, |_| "some rest".to_owned())?;
        }
        Ok(())
    }

    fn poll(&mut self, wait: Duration, how_far: impl FnOnce(&Watch) -> String) -> Result<()> {
        let watch = &mut self.watch;
        self.fleet
            .poll(wait, &mut |index, event| watch.note(index, event))?;
        if let Some(reason) = self.watch.failed.take() {
            self.daemon.check()?;
            return Err(Error::Daemon(reason));
        }
        self.bound.check(&mut self.daemon, || how_far(&self.watch))
    }
}
