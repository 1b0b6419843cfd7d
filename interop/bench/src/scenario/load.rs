//! S1: one eBGP feeder announces a full table, one monitor waits for the last prefix, then all are withdrawn.
//!
//! Wall time runs from the first byte of the table until the monitor has every distinct prefix (or has none
//! left), CPU time half a second longer. Peak memory is read after the load.

use super::{Bound, Figures, Plan, megabytes};
use crate::daemon::{Job, LOCAL_AS, Peer, Running};
use crate::error::{Error, Result};
use crate::fleet::Fleet;
use crate::netns::{DAEMON, Pair, peer_address};
use crate::session::{Event, Patience, PeerConfig, Role};
use crate::table::{Progress, Table};
use crate::wire;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

const FEEDER: usize = 0;
const MONITOR: usize = 1;
pub(super) const FEEDER_AS: u32 = 65_001;

/// Dialling again at once: the daemon may still be starting.
pub(super) const EAGER: Patience = Patience {
    attempt: Duration::from_secs(10),
    retry: Duration::from_millis(100),
};

/// CPU time is counted until this long after the last prefix.
const AFTERMATH: Duration = Duration::from_millis(500);

/// Runs it.
pub(super) fn run(plan: &Plan) -> Result<Figures> {
    let table = Table::new(plan.sizes.prefixes, 1, FEEDER_AS, peer_address(FEEDER));
    let updates = table.updates;
    let mut progress = Progress::new(&table.prefixes);
    progress.mark(&table.announce);
    let (announce, withdraw) = (Arc::new(table.announce), Arc::new(table.withdraw));
    let count = table.prefixes.len();

    let pair = Pair::new()?;
    pair.enter_generator()?;
    let job = Job {
        peers: (0..2)
            .map(|i| Peer::new(peer_address(i), peer_as(i)))
            .collect(),
        hold_time: plan.sizes.load_hold,
        passive: true,
        kernel: false,
    };
    let mut daemon = Running::start(plan.kind, &plan.programs, &pair, &job)?;
    let bound = Bound::new(plan.sizes.timeout, &plan.stop);
    daemon.await_listening(Duration::from_secs(15))?;
    let peers = (0..2)
        .map(|index| peer(index, plan.sizes.load_hold))
        .collect();
    let mut fleet = Fleet::new(peers, Instant::now())?;

    let mut watch = Watch::default();
    while fleet.established() < 2 {
        watch.poll(&mut fleet, &mut progress)?;
        bound.check(&mut daemon, || format!("two sessions; {}", watch.last_down))?;
    }
    fleet.send(FEEDER, Arc::new(wire::end_of_rib()), &mut |_, _| {});
    fleet.send(MONITOR, Arc::new(wire::end_of_rib()), &mut |_, _| {});
    // Whatever the start of the sessions costs is over before the clock starts.
    let settled = Instant::now() + Duration::from_millis(500);
    while Instant::now() < settled {
        watch.poll(&mut fleet, &mut progress)?;
    }
    watch.armed = true;

    let mut figures = Figures::new();
    let load = watch.phase(
        &mut fleet,
        &mut progress,
        &mut daemon,
        &bound,
        (announce, count),
    )?;
    figures.push(("load_cpu_s", load.cpu));
    figures.push(("load_wall_s", load.wall));
    figures.push(("peak_rss_mb", megabytes(daemon.processes().cost().peak_rss)));
    let withdrawal = watch.phase(
        &mut fleet,
        &mut progress,
        &mut daemon,
        &bound,
        (withdraw, 0),
    )?;
    figures.push(("withdraw_cpu_s", withdrawal.cpu));
    figures.push(("withdraw_wall_s", withdrawal.wall));
    figures.push(("updates_in", updates as f64));
    figures.push(("updates_out", load.messages as f64));
    if progress.strangers > 0 {
        let strangers = progress.strangers;
        return Err(Error::Daemon(format!(
            "the monitor got {strangers} prefixes that nobody announced"
        )));
    }
    // The relay has no AS of its own to put in front of a path.
    if progress.wrong > 0 && !plan.kind.is_relay() {
        let (wrong, all) = (progress.wrong, progress.wrong + progress.right);
        let what = format!("{wrong} of {all} prefixes looked at came with other path attributes");
        return Err(Error::Daemon(what));
    }
    Ok(figures)
}

fn peer_as(index: usize) -> u32 {
    FEEDER_AS + u32::try_from(index).unwrap_or(0)
}

fn peer(index: usize, hold_time: u16) -> PeerConfig {
    let address = peer_address(index);
    PeerConfig {
        local: address.into(),
        remote: SocketAddr::new(DAEMON.into(), 179),
        id: address,
        asn: peer_as(index),
        hold_time,
        four_octet: true,
        opening: None,
        role: Role::Dial(EAGER),
    }
}

/// What one half of the scenario cost.
struct Spent {
    cpu: f64,
    wall: f64,
    messages: usize,
}

/// What the generator's sessions reported.
#[derive(Default)]
struct Watch {
    /// From here on a lost session fails the run.
    armed: bool,
    messages: usize,
    failed: Option<String>,
    last_down: String,
}

impl Watch {
    fn poll(&mut self, fleet: &mut Fleet, progress: &mut Progress) -> Result<()> {
        fleet.poll(Duration::from_millis(10), &mut |index, event| match event {
            Event::Established => {}
            Event::Message(frame) if index == MONITOR && frame.kind == wire::UPDATE => {
                self.messages += 1;
                if progress.update(frame.body, LOCAL_AS).is_err() {
                    self.failed = Some("the monitor got a malformed UPDATE".to_owned());
                }
            }
            Event::Message(_) => {}
            Event::Down {
                established,
                reason,
            } => {
                self.last_down = format!("session {index}: {reason}");
                if established && self.armed {
                    self.failed = Some(format!("lost {}", self.last_down));
                }
            }
        })?;
        self.failed
            .take()
            .map_or(Ok(()), |reason| Err(Error::Daemon(reason)))
    }

    /// Sends the bytes and waits until the monitor has `want` prefixes.
    fn phase(
        &mut self,
        fleet: &mut Fleet,
        progress: &mut Progress,
        daemon: &mut Running,
        bound: &Bound,
        (bytes, want): (Arc<Vec<u8>>, usize),
    ) -> Result<Spent> {
        self.messages = 0;
        let before = daemon.processes().cost().cpu;
        let start = Instant::now();
        let mut lost = None;
        fleet.send(FEEDER, bytes, &mut |_, event| {
            if let Event::Down { reason, .. } = event {
                lost = Some(reason.to_owned());
            }
        });
        if let Some(reason) = lost {
            return Err(Error::Daemon(format!("lost the feeder: {reason}")));
        }
        while progress.present != want {
            self.poll(fleet, progress)?;
            bound.check(daemon, || {
                format!(
                    "the monitor has {} prefixes and waits for {want}",
                    progress.present
                )
            })?;
        }
        let wall = start.elapsed().as_secs_f64();
        // Work put off until nobody waits is work all the same.
        let rest = Instant::now() + AFTERMATH;
        while Instant::now() < rest {
            self.poll(fleet, progress)?;
        }
        let cpu = daemon.processes().cost().cpu - before;
        Ok(Spent {
            cpu,
            wall,
            messages: self.messages,
        })
    }
}
