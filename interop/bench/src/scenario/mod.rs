//! The scenarios: what the generator does to a daemon, and the figures that come out.
//!
//! Each runs on a thread of its own that has entered the generator's namespace, and is bounded by a deadline.

mod blocks;
mod churn;
mod clients;
mod feeders;
mod idle;
mod keepalive;
mod kernel;
pub(crate) mod load;
mod mesh;
mod reflector;
mod stage;
pub(crate) mod storm;
mod stuck;

use crate::daemon::{Kind, Programs, Running};
use crate::error::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What is run, with its sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scenario {
    /// One feeder, one monitor, a full table, then its withdrawal.
    S1,
    /// Ten feeders with the same prefixes.
    S1Same,
    /// Ten feeders with a part of the table each.
    S1Distinct,
    /// A route reflector's clients come, and each gets everybody's blocks.
    S2,
    /// In that state, one change after another.
    S3,
    /// The daemon joins a mesh, and dials.
    S4,
    /// The daemon joins a mesh, and is dialled.
    S4Passive,
    /// Many peers connect at once.
    Storm,
    /// The daemon dials many peers at once, from its start.
    StormActive,
    /// Routes into the kernel and out of it.
    S5,
    /// The daemon is killed with its routes in the kernel, and comes back.
    S6,
    /// A full table while a peer does not read.
    S7,
    /// A full table while many peers with a short hold time look on.
    Keepalive,
    /// Many peers that have nothing to say.
    Idle,
}

impl Scenario {
    /// All of them.
    pub(crate) const ALL: [Self; 14] = [
        Self::S1,
        Self::S1Same,
        Self::S1Distinct,
        Self::S2,
        Self::S3,
        Self::S4,
        Self::S4Passive,
        Self::Storm,
        Self::StormActive,
        Self::S5,
        Self::S6,
        Self::S7,
        Self::Keepalive,
        Self::Idle,
    ];

    /// The name on the command line and in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::S1 => "s1",
            Self::S1Same => "s1-same",
            Self::S1Distinct => "s1-distinct",
            Self::S2 => "s2",
            Self::S3 => "s3",
            Self::S4 => "s4",
            Self::S4Passive => "s4-passive",
            Self::Storm => "storm",
            Self::StormActive => "storm-active",
            Self::S5 => "s5",
            Self::S6 => "s6",
            Self::S7 => "s7",
            Self::Keepalive => "keepalive",
            Self::Idle => "idle",
        }
    }

    /// What the others are compared with.
    pub(crate) fn yardstick(self) -> Kind {
        match self {
            Self::S5 => Kind::Raw,
            _ => Kind::Bird,
        }
    }

    /// Who takes part: those asked for, in S5 also the two that write routes and do nothing else; in S4 no relay, which
    /// has nothing for a peer that comes later than the routes.
    pub(crate) fn participants(self, asked: &[Kind]) -> Vec<Kind> {
        let speakers = asked.iter().copied().filter(|kind| kind.is_speaker());
        match self {
            Self::S5 => speakers.chain([Kind::Raw, Kind::IpBatch]).collect(),
            Self::S4 | Self::S4Passive => speakers.filter(|kind| !kind.is_relay()).collect(),
            _ => speakers.collect(),
        }
    }

    /// The scenario of this name.
    pub(crate) fn parse(name: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|scenario| scenario.name() == name)
            .ok_or_else(|| Error::Usage(format!("unknown scenario `{name}`")))
    }
}

/// The sizes of the scenarios.
#[derive(Debug, Clone)]
pub(crate) struct Sizes {
    /// S1: how many prefixes.
    pub(crate) prefixes: usize,
    /// S1: hold time in seconds; a short one shows whether KEEPALIVEs stay on time under load.
    pub(crate) load_hold: u16,
    /// S5 and S6: how many routes.
    pub(crate) kernel_routes: usize,
    /// Storm, S2, S3, S4: how many peers.
    pub(crate) peers: usize,
    /// Storm: hold time in seconds.
    pub(crate) hold_time: u16,
    /// S2, S3, S4: the same.
    pub(crate) long_hold: u16,
    /// Storm: the peers are of the daemon's own AS.
    pub(crate) ibgp: bool,
    /// Storm: how many blocks each peer announces.
    pub(crate) routes: usize,
    /// Storm: how long to watch for flaps.
    pub(crate) observe: Duration,
    /// S4: how long to be idle.
    pub(crate) idle: Duration,
    /// Bound of one run.
    pub(crate) timeout: Duration,
}

/// Everything a run needs to know.
#[derive(Clone)]
pub(crate) struct Plan {
    /// The daemon under test.
    pub(crate) kind: Kind,
    /// Where the programs are.
    pub(crate) programs: Programs,
    /// The sizes.
    pub(crate) sizes: Sizes,
    /// Set when the user wants it all to end.
    pub(crate) stop: Arc<AtomicBool>,
}

/// The figures of one run: name and value.
pub(crate) type Figures = Vec<(&'static str, f64)>;

/// Runs a scenario against a daemon in fresh namespaces.
pub(crate) fn run(scenario: Scenario, plan: &Plan) -> Result<Figures> {
    let plan = plan.clone();
    // The thread's network namespace dies with it; the caller's stays what it was.
    let thread = std::thread::spawn(move || match scenario {
        Scenario::S1 => load::run(&plan),
        Scenario::S2 => reflector::distribution(&plan),
        Scenario::S3 => reflector::churn(&plan),
        Scenario::S4 => mesh::run(&plan, false),
        Scenario::S4Passive => mesh::run(&plan, true),
        Scenario::Storm => storm::run(&plan, true),
        Scenario::StormActive => storm::run(&plan, false),
        Scenario::S5 => kernel::in_and_out(&plan),
        Scenario::S6 => kernel::crash(&plan),
        Scenario::S1Same => feeders::run(&plan, true),
        Scenario::S1Distinct => feeders::run(&plan, false),
        Scenario::S7 => stuck::run(&plan),
        Scenario::Keepalive => keepalive::run(&plan),
        Scenario::Idle => idle::run(&plan),
    });
    thread
        .join()
        .unwrap_or_else(|_| Err(Error::Daemon("the generator's thread panicked".to_owned())))
}

/// The bound of a run.
pub(crate) struct Bound {
    end: Instant,
    timeout: Duration,
    stop: Arc<AtomicBool>,
}

impl Bound {
    /// Starts now.
    pub(crate) fn new(timeout: Duration, stop: &Arc<AtomicBool>) -> Self {
        Self {
            end: Instant::now() + timeout,
            timeout,
            stop: Arc::clone(stop),
        }
    }

    /// Gives more time, for a step that takes some by itself.
    pub(crate) fn extend(&mut self, by: Duration) {
        self.end += by;
        self.timeout += by;
    }

    /// Fails when time is up, the user wants to stop, or the daemon is gone.
    pub(crate) fn check(
        &self,
        daemon: &mut Running,
        how_far: impl FnOnce() -> String,
    ) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        if Instant::now() > self.end {
            daemon.check()?;
            return Err(Error::Timeout {
                what: how_far(),
                after: self.timeout,
            });
        }
        Ok(())
    }
}

/// Bytes as the megabytes of the tables.
pub(crate) fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
