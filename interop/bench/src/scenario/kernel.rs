//! S5 and S6: routes from a feeder into the kernel of the daemon's namespace, seen by an independent listener.
//!
//! S5 puts them in and takes them out, and lets programs do the same that write routes and nothing else. S6 kills the
//! daemon with its routes in the kernel; the feeder comes back with all of them but some.

use super::load::{EAGER, FEEDER_AS};
use super::{Bound, Figures, Plan, megabytes};
use crate::daemon::{Job, Kind, Peer, Running};
use crate::error::{Context, Error, Result};
use crate::fleet::Fleet;
use crate::netns::{DAEMON, Pair, peer_address};
use crate::session::{Event, PeerConfig, Role};
use crate::table::{Prefix, Table, announcing, withdrawing};
use crate::wire;
use crate::witness::{Seen, Witness};
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ChildStdin;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Before the clock starts, and after the last route: work put off counts.
const AFTERMATH: Duration = Duration::from_millis(500);
/// S6: what happens to the routes is watched for so long after the last change.
const CALM: Duration = Duration::from_secs(5);
/// S6: one route in so many is withdrawn while the daemon is dead.
const GONE: usize = 100;

/// The daemon or program under test, and the feeder that talks to it.
struct Stage {
    daemon: Running,
    fleet: Fleet,
    input: Option<ChildStdin>,
    witness: Witness,
    bound: Bound,
    failed: Option<String>,
    _pair: Pair,
}

/// S5: all in, all out.
pub(super) fn in_and_out(plan: &Plan) -> Result<Figures> {
    let table = Table::new(plan.sizes.kernel_routes, 1, FEEDER_AS, peer_address(0));
    let count = table.prefixes.len();
    let mut stage = Stage::open(plan, &table.prefixes)?;
    let (add, remove) = stage.orders(plan.kind, &table)?;
    let load = stage.phase(add, count)?;
    let peak = megabytes(stage.daemon.processes().cost().peak_rss);
    let withdrawal = stage.phase(remove, 0)?;
    Ok(vec![
        ("add_wall_s", load.wall),
        ("add_cpu_s", load.cpu),
        ("remove_wall_s", withdrawal.wall),
        ("remove_cpu_s", withdrawal.cpu),
        ("peak_rss_mb", peak),
        ("written", load.written as f64),
    ])
}

/// S6: killed, started again, fed again with most of the routes.
pub(super) fn crash(plan: &Plan) -> Result<Figures> {
    let table = Table::new(plan.sizes.kernel_routes, 1, FEEDER_AS, peer_address(0));
    let count = table.prefixes.len();
    let kept = count - count / GONE;
    let mut stage = Stage::open(plan, &table.prefixes)?;
    let (add, _) = stage.orders(plan.kind, &table)?;
    stage.phase(add, count)?;
    stage.witness.mark();
    let start = Instant::now();
    stage.daemon.crash()?;
    while stage.fleet.is_established(0) {
        stage.poll("the end of the session", false)?;
    }
    while !stage.fleet.is_established(0) {
        stage.poll("the session after the restart", false)?;
    }
    let rest = table.prefixes.get(..kept).unwrap_or_default();
    let mut bytes = announcing(rest, FEEDER_AS, peer_address(0));
    bytes.extend_from_slice(&wire::end_of_rib());
    stage.feed(Arc::new(bytes))?;
    // Whoever loses routes may have them again by now: only what is gone for good is waited for.
    while stage.witness.seen()?.present != kept {
        stage.poll("the routes that were withdrawn meanwhile to go", true)?;
    }
    let wall = stage.witness.seen()?.at.duration_since(start).as_secs_f64();
    stage.rest(CALM)?;
    let seen = stage.witness.seen()?;
    Ok(vec![
        ("lost", kept.saturating_sub(seen.least) as f64),
        (
            "removed_needlessly",
            seen.removed.saturating_sub(count - kept) as f64,
        ),
        ("written_again", seen.written as f64),
        ("withdrawn_left", seen.present.saturating_sub(kept) as f64),
        ("recovered_s", wall),
    ])
}

/// What is to be done: bytes for the session, or lines for a program that only writes routes.
enum Order {
    Feed(Arc<Vec<u8>>),
    Tell(String),
}

/// What one half of S5 cost.
struct Spent {
    cpu: f64,
    wall: f64,
    written: usize,
}

impl Stage {
    fn open(plan: &Plan, prefixes: &[Prefix]) -> Result<Self> {
        let pair = Pair::new()?;
        pair.enter_generator()?;
        let witness = Witness::start(&pair, prefixes)?;
        let job = Job {
            peers: vec![Peer::new(peer_address(0), FEEDER_AS)],
            hold_time: 90,
            passive: true,
            kernel: true,
        };
        let mut daemon = Running::start(plan.kind, &plan.programs, &pair, &job)?;
        let peers = if plan.kind.is_speaker() {
            daemon.await_listening(Duration::from_secs(15))?;
            vec![feeder()]
        } else {
            Vec::new()
        };
        let mut stage = Self {
            input: daemon.input(),
            daemon,
            fleet: Fleet::new(peers, Instant::now())?,
            witness,
            bound: Bound::new(plan.sizes.timeout, &plan.stop),
            failed: None,
            _pair: pair,
        };
        while plan.kind.is_speaker() && !stage.fleet.is_established(0) {
            stage.poll("the session", false)?;
        }
        if plan.kind.is_speaker() {
            stage.feed(Arc::new(wire::end_of_rib()))?;
        }
        Ok(stage)
    }

    /// What makes all routes, and what removes them.
    fn orders(&mut self, kind: Kind, table: &Table) -> Result<(Order, Order)> {
        let gateway = peer_address(0);
        let orders = match kind {
            Kind::Raw => {
                let mut prefixes = lines(&table.prefixes, "", "");
                prefixes.push_str("built\n");
                self.give(&Order::Tell(prefixes))?;
                (Order::Tell("add\n".into()), Order::Tell("del\n".into()))
            }
            Kind::IpBatch => {
                let way = format!(" via {gateway} dev dut0 proto 199");
                let all = |verb| Order::Tell(lines(&table.prefixes, verb, &way));
                (all("route add "), all("route del "))
            }
            _ => (
                Order::Feed(Arc::new(announcing(&table.prefixes, FEEDER_AS, gateway))),
                Order::Feed(Arc::new(withdrawing(&table.prefixes))),
            ),
        };
        self.rest(AFTERMATH)?;
        Ok(orders)
    }

    /// Gives an order and waits until so many routes stand.
    fn phase(&mut self, order: Order, want: usize) -> Result<Spent> {
        self.witness.mark();
        let before = self.daemon.processes().cost().cpu;
        let start = Instant::now();
        self.give(&order)?;
        while self.witness.seen()?.present != want {
            self.poll("all routes to change", true)?;
        }
        let wall = self.witness.seen()?.at.duration_since(start).as_secs_f64();
        self.rest(AFTERMATH)?;
        let Seen {
            written, strangers, ..
        } = self.witness.seen()?;
        if strangers > 0 {
            return Err(Error::Daemon(format!(
                "{strangers} routes that nobody announced"
            )));
        }
        Ok(Spent {
            cpu: self.daemon.processes().cost().cpu - before,
            wall,
            written,
        })
    }

    fn give(&mut self, order: &Order) -> Result<()> {
        match (order, &mut self.input) {
            (Order::Feed(bytes), _) => self.feed(Arc::clone(bytes)),
            (Order::Tell(text), Some(input)) => {
                let told = input
                    .write_all(text.as_bytes())
                    .and_then(|()| input.flush());
                told.context("telling the program what to write")
            }
            (Order::Tell(_), None) => Err(Error::Daemon("it reads no orders".to_owned())),
        }
    }

    fn feed(&mut self, bytes: Arc<Vec<u8>>) -> Result<()> {
        let failed = &mut self.failed;
        self.fleet.send(0, bytes, &mut |_, event| {
            if let Event::Down { reason, .. } = event {
                *failed = Some(reason.to_owned());
            }
        });
        self.poll("the feeder's bytes to be taken", true)
    }

    /// Lets the session go on. `strict`: it must not be lost.
    fn poll(&mut self, what: &str, strict: bool) -> Result<()> {
        let failed = &mut self.failed;
        self.fleet.poll(Duration::from_millis(1), &mut |_, event| {
            if let (Event::Down { reason, .. }, true) = (event, strict) {
                *failed = Some(reason.to_owned());
            }
        })?;
        if let Some(reason) = self.failed.take() {
            return Err(Error::Daemon(format!(
                "lost the feeder's session: {reason}"
            )));
        }
        let present = self.witness.seen()?.present;
        self.bound.check(&mut self.daemon, || {
            format!("{what}; {present} routes stand")
        })
    }

    fn rest(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.poll("some rest", true)?;
        }
        Ok(())
    }
}

fn lines(prefixes: &[Prefix], before: &str, after: &str) -> String {
    let mut text = String::new();
    for (address, length) in prefixes {
        let address = Ipv4Addr::from_bits(*address);
        let _ = writeln!(text, "{before}{address}/{length}{after}");
    }
    text
}

fn feeder() -> PeerConfig {
    let address = peer_address(0);
    PeerConfig {
        local: address.into(),
        remote: SocketAddr::new(DAEMON.into(), 179),
        id: address,
        asn: FEEDER_AS,
        hold_time: 90,
        four_octet: true,
        opening: None,
        role: Role::Dial(EAGER),
    }
}
