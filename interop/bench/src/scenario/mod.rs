//! The scenarios: what the generator does to a daemon, and the figures that come out.
//!
//! Each runs on a thread of its own that has entered the generator's namespace, and is bounded by a deadline.

mod blocks;
mod kernel;
pub(crate) mod load;
pub(crate) mod storm;

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
    /// Many peers connect at once.
    Storm,
    /// The daemon dials many peers at once, from its start.
    StormActive,
    /// Routes into the kernel and out of it.
    S5,
    /// The daemon is killed with its routes in the kernel, and comes back.
    S6,
}

impl Scenario {
    /// All of them.
    pub(crate) const ALL: [Self; 5] =
        [Self::S1, Self::Storm, Self::StormActive, Self::S5, Self::S6];

    /// The name on the command line and in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::S1 => "s1",
            Self::Storm => "storm",
            Self::StormActive => "storm-active",
            Self::S5 => "s5",
            Self::S6 => "s6",
        }
    }

    /// What the others are compared with.
    pub(crate) fn yardstick(self) -> Kind {
        match self {
            Self::S5 => Kind::Raw,
            Self::S1 | Self::Storm | Self::StormActive | Self::S6 => Kind::Bird,
        }
    }

    /// Who takes part: those asked for, and in S5 the two that write routes and do nothing else.
    pub(crate) fn participants(self, asked: &[Kind]) -> Vec<Kind> {
        let speakers = asked.iter().copied().filter(|kind| kind.is_speaker());
        match self {
            Self::S5 => speakers.chain([Kind::Raw, Kind::IpBatch]).collect(),
            Self::S1 | Self::Storm | Self::StormActive | Self::S6 => speakers.collect(),
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
    /// Storm: how many peers.
    pub(crate) peers: usize,
    /// Storm: hold time in seconds.
    pub(crate) hold_time: u16,
    /// Storm: the peers are of the daemon's own AS.
    pub(crate) ibgp: bool,
    /// Storm: how many blocks each peer announces.
    pub(crate) routes: usize,
    /// Storm: how long to watch for flaps.
    pub(crate) observe: Duration,
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
        Scenario::Storm => storm::run(&plan, true),
        Scenario::StormActive => storm::run(&plan, false),
        Scenario::S5 => kernel::in_and_out(&plan),
        Scenario::S6 => kernel::crash(&plan),
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
