//! The stage of the scenarios with several feeders, onlookers or stuck peers: a daemon, a fleet of eBGP peers, and
//! what some of them, the monitors, have of the table.
//!
//! Not used by S1, which has exactly one of each. Always true: a phase ends when its condition holds and nothing has
//! been sent to anybody for half a second, so that work put off, and work for others than the monitors, counts.

use super::load::EAGER;
use super::{Bound, Plan};
use crate::daemon::{Job, LOCAL_AS, Peer, Running};
use crate::error::{Error, Result};
use crate::fleet::Fleet;
use crate::netns::{DAEMON, Pair};
use crate::session::{Event, PeerConfig, Role};
use crate::table::{Progress, essence};
use crate::wire;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Nothing may come for so long before a phase is over.
const AFTERMATH: Duration = Duration::from_millis(500);

/// The daemon, the generator's sessions, and what they saw.
pub(super) struct Stage {
    pub(super) daemon: Running,
    pub(super) fleet: Fleet,
    pub(super) seen: Seen,
    pub(super) bound: Bound,
    _pair: Pair,
}

/// What a monitor has.
pub(super) struct View {
    /// Which peer it is.
    pub(super) peer: usize,
    pub(super) progress: Progress,
    /// UPDATEs that it got in this phase.
    pub(super) updates: usize,
    /// Prefixes that are followed: the last attributes each came with.
    pub(super) followed: HashMap<u32, Vec<u8>>,
}

impl View {
    /// Nothing yet.
    pub(super) fn new(peer: usize, progress: Progress) -> Self {
        Self {
            peer,
            progress,
            updates: 0,
            followed: HashMap::new(),
        }
    }

    fn update(&mut self, body: &[u8]) -> std::result::Result<(), wire::Malformed> {
        self.updates += 1;
        self.progress.update(body, LOCAL_AS)?;
        if self.followed.is_empty() {
            return Ok(());
        }
        let mut attributes = None;
        wire::prefixes(body, |announced, address, _| {
            if let Some(last) = self.followed.get_mut(&address) {
                let now = attributes
                    .get_or_insert_with(|| essence(body, Some(LOCAL_AS)).unwrap_or_default());
                *last = if announced { now.clone() } else { Vec::new() };
            }
        })
    }

    /// Fails if it got anything that nobody announced.
    pub(super) fn check(&self) -> Result<()> {
        let Progress {
            strangers,
            right,
            wrong,
            ..
        } = &self.progress;
        if *strangers > 0 {
            let what = format!("the monitor got {strangers} prefixes that nobody announced");
            return Err(Error::Daemon(what));
        }
        if *wrong > 0 {
            let all = wrong + right;
            let what = format!("{wrong} of {all} prefixes looked at came with other attributes");
            return Err(Error::Daemon(what));
        }
        Ok(())
    }
}

/// What the sessions reported.
pub(super) struct Seen {
    /// The monitors.
    pub(super) views: Vec<View>,
    /// UPDATEs to all others in this phase, End-of-RIB left out.
    pub(super) elsewhere: usize,
    /// Those of them that went to others than the vital peers.
    pub(super) stray: usize,
    /// Sessions that were up and went.
    pub(super) lost: usize,
    /// The first so many peers must stay: the loss of another one is only counted.
    pub(super) vital: usize,
    last_update: Instant,
    armed: bool,
    failed: Option<String>,
    last_down: String,
}

impl Seen {
    fn note(&mut self, index: usize, event: &Event<'_>) {
        match event {
            Event::Message(frame) if frame.kind == wire::UPDATE => {
                self.last_update = Instant::now();
                match self.views.iter_mut().find(|view| view.peer == index) {
                    Some(view) => {
                        if view.update(frame.body).is_err() {
                            self.failed = Some("a monitor got a malformed UPDATE".to_owned());
                        }
                    }
                    None => {
                        let counts = usize::from(frame.body.len() > 4);
                        self.elsewhere += counts;
                        self.stray += counts * usize::from(index >= self.vital);
                    }
                }
            }
            Event::Established | Event::Message(_) => {}
            Event::Down {
                established,
                reason,
            } => {
                self.last_down = format!("session {index}: {reason}");
                if *established && self.armed {
                    self.lost += 1;
                    if index < self.vital {
                        self.failed = Some(format!("lost {}", self.last_down));
                    }
                }
            }
        }
    }
}

/// What a phase cost.
pub(super) struct Spent {
    /// CPU seconds until all was quiet.
    pub(super) cpu: f64,
    /// Seconds until the condition held.
    pub(super) wall: f64,
    /// Seconds until the last UPDATE to anybody.
    pub(super) all: f64,
}

impl Stage {
    /// Starts the daemon and its peers, the first `vital` of which must stay to the end; returns when all are up.
    pub(super) fn open(
        plan: &Plan,
        peers: &[Peer],
        (hold_time, pace): (u16, Duration),
        views: Vec<View>,
    ) -> Result<Self> {
        let pair = Pair::new()?;
        pair.introduce(peers.len())?;
        pair.enter_generator()?;
        let job = Job {
            peers: peers.to_vec(),
            hold_time,
            passive: true,
            kernel: false,
        };
        let mut daemon = Running::start(plan.kind, &plan.programs, &pair, &job)?;
        daemon.await_listening(Duration::from_secs(30))?;
        let configs = peers.iter().map(|peer| config(peer, hold_time)).collect();
        let mut stage = Self {
            daemon,
            fleet: Fleet::paced(configs, Instant::now(), pace)?,
            seen: Seen {
                views,
                elsewhere: 0,
                stray: 0,
                lost: 0,
                vital: peers.len(),
                last_update: Instant::now(),
                armed: false,
                failed: None,
                last_down: String::new(),
            },
            bound: Bound::new(plan.sizes.timeout, &plan.stop),
            _pair: pair,
        };
        stage.until("all sessions", |stage| {
            stage.fleet.established() == peers.len()
        })?;
        let end_of_rib = Arc::new(wire::end_of_rib());
        for index in 0..peers.len() {
            stage.send(index, Arc::clone(&end_of_rib));
        }
        // Whatever the start of the sessions costs is over before the clock starts.
        stage.rest(AFTERMATH)?;
        stage.seen.armed = true;
        Ok(stage)
    }

    /// Lets everything happen that is ready or due.
    pub(super) fn poll(&mut self) -> Result<()> {
        let seen = &mut self.seen;
        self.fleet
            .poll(Duration::from_millis(10), &mut |index, event| {
                seen.note(index, &event);
            })?;
        let Some(reason) = seen.failed.take() else {
            return Ok(());
        };
        let (lost, late) = (seen.lost, self.fleet.late());
        Err(Error::Daemon(format!(
            "{reason} ({lost} sessions lost; the generator's own KEEPALIVEs were late by {late:.1?} at most)"
        )))
    }

    /// Polls for so long.
    pub(super) fn rest(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        self.until("some rest", |_| Instant::now() >= end)
    }

    /// Polls until the condition holds.
    pub(super) fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) -> Result<()> {
        while !done(self) {
            self.poll()?;
            let (up, views) = (self.fleet.established(), &self.seen.views);
            let have: Vec<usize> = views.iter().map(|view| view.progress.present).collect();
            let last = &self.seen.last_down;
            self.bound.check(&mut self.daemon, || {
                format!("{what}; {up} sessions are up, the monitors have {have:?} prefixes; {last}")
            })?;
        }
        Ok(())
    }

    /// Sends bytes on a session.
    pub(super) fn send(&mut self, index: usize, bytes: Arc<Vec<u8>>) {
        let seen = &mut self.seen;
        self.fleet
            .send(index, bytes, &mut |index, event| seen.note(index, &event));
    }

    /// Sends bytes on some sessions at once and waits until the first monitor has `want` prefixes and all is quiet.
    pub(super) fn phase(&mut self, orders: &[(usize, Arc<Vec<u8>>)], want: usize) -> Result<Spent> {
        (self.seen.elsewhere, self.seen.stray) = (0, 0);
        self.seen.views.iter_mut().for_each(|view| view.updates = 0);
        let before = self.daemon.processes().cost().cpu;
        let start = Instant::now();
        for (index, bytes) in orders {
            self.send(*index, Arc::clone(bytes));
        }
        let complete = |stage: &Self| {
            let first = stage.seen.views.first();
            first.is_none_or(|view| view.progress.present == want)
        };
        self.until("the first monitor", complete)?;
        let end = Instant::now();
        self.until("everybody to have everything", |stage| {
            let last = stage.seen.last_update.max(end);
            last.elapsed() >= AFTERMATH
        })?;
        if !complete(self) {
            let what = "the monitor had what it was to get, and then not".to_owned();
            return Err(Error::Daemon(what));
        }
        Ok(Spent {
            cpu: self.daemon.processes().cost().cpu - before,
            wall: end.duration_since(start).as_secs_f64(),
            all: self
                .seen
                .last_update
                .max(end)
                .duration_since(start)
                .as_secs_f64(),
        })
    }
}

fn config(peer: &Peer, hold_time: u16) -> PeerConfig {
    PeerConfig {
        local: peer.address.into(),
        remote: SocketAddr::new(DAEMON.into(), 179),
        id: peer.address,
        asn: peer.asn,
        hold_time,
        four_octet: true,
        opening: None,
        role: Role::Dial(EAGER),
    }
}
