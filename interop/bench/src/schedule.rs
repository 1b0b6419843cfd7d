//! The order of the runs, and how long the rest of them will take.
//!
//! Every round has each daemon once in each scenario, so that a slow spell of the machine hits all of them, and what a
//! budget cuts off is a whole round rather than the last scenarios. Each round begins with another one: what a run
//! leaves behind in the kernel's allocator is not always the same daemon's start. An estimate comes from the runs so
//! far; it decides nothing but whether a run still fits the budget.

use crate::cli::RunOptions;
use crate::lineup::{self, Entrant};
use crate::scenario::Scenario;
use std::time::Duration;

/// What a run of which nothing is known is taken to last.
const GUESS: Duration = Duration::from_secs(10);

/// One run to be made.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    /// What.
    pub(crate) scenario: Scenario,
    /// Who.
    pub(crate) entrant: Entrant,
    /// In which round, from 1.
    pub(crate) round: usize,
}

/// All runs, in their order.
pub(crate) fn runs(options: &RunOptions, entrants: &[Entrant]) -> Vec<Run> {
    let mut runs = Vec::new();
    for round in 1..=options.runs {
        for &scenario in &options.scenarios {
            let mut order = lineup::participants(scenario, entrants, options);
            let first = (round - 1).checked_rem(order.len()).unwrap_or(0);
            order.rotate_left(first);
            runs.extend(order.into_iter().map(|entrant| Run {
                scenario,
                entrant,
                round,
            }));
        }
    }
    runs
}

/// How long the runs so far took.
#[derive(Debug, Default)]
pub(crate) struct Pace(Vec<(Scenario, String, Duration)>);

impl Pace {
    /// A run is over.
    pub(crate) fn note(&mut self, run: &Run, took: Duration) {
        self.0.push((run.scenario, run.entrant.label.clone(), took));
    }

    /// What a run will take: as this daemon's last in this scenario, else as the mean of the scenario, else of all.
    pub(crate) fn estimate(&self, run: &Run) -> Duration {
        let same = |(scenario, ..): &&(Scenario, String, Duration)| *scenario == run.scenario;
        let own = self.0.iter().rev().filter(same);
        let own = own
            .clone()
            .find(|(_, label, _)| *label == run.entrant.label);
        own.map(|(.., took)| *took)
            .or_else(|| mean(self.0.iter().filter(same).map(|(.., took)| *took)))
            .or_else(|| mean(self.0.iter().map(|(.., took)| *took)))
            .unwrap_or(GUESS)
    }

    /// What these runs will take, for people.
    pub(crate) fn left(&self, runs: &[Run]) -> String {
        let total: Duration = runs.iter().map(|run| self.estimate(run)).sum();
        match total.as_secs() {
            seconds @ 0..100 => format!("{seconds} s"),
            seconds => format!("{} min", seconds.div_ceil(60)),
        }
    }
}

fn mean(times: impl Iterator<Item = Duration>) -> Option<Duration> {
    let (mut count, mut sum) = (0u32, Duration::ZERO);
    for time in times {
        count += 1;
        sum += time;
    }
    sum.checked_div(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::Kind;

    fn run(scenario: Scenario, kind: Kind) -> Run {
        Run {
            scenario,
            entrant: Entrant::installed(kind),
            round: 1,
        }
    }

    #[test]
    fn an_estimate_is_the_nearest_known_one() {
        let mut pace = Pace::default();
        assert_eq!(pace.estimate(&run(Scenario::S1, Kind::Bird)), GUESS);
        pace.note(&run(Scenario::S1, Kind::Dunlin), Duration::from_secs(4));
        pace.note(&run(Scenario::S1, Kind::Frr), Duration::from_secs(20));
        pace.note(&run(Scenario::S7, Kind::Bird), Duration::from_secs(6));
        let estimate = |scenario, kind| pace.estimate(&run(scenario, kind)).as_secs();
        assert_eq!(estimate(Scenario::S1, Kind::Frr), 20);
        assert_eq!(estimate(Scenario::S1, Kind::Bird), 12);
        assert_eq!(estimate(Scenario::Idle, Kind::Bird), 10);
        assert_eq!(pace.left(&[run(Scenario::S1, Kind::Frr)]), "20 s");
    }
}
