//! What the figures are costs of, and what it says that one is less than another.
//!
//! It knows names and numbers and no runs.

use crate::scenario::Scenario;
use serde_json::{Value, json};

/// Costs whose ratio is below this do not differ on a shared machine.
pub(crate) const SAME: f64 = 1.3;

/// Median, least and greatest of a metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    /// The median.
    pub(crate) median: f64,
    /// The least.
    pub(crate) min: f64,
    /// The greatest.
    pub(crate) max: f64,
}

impl Spread {
    /// Of these values, if there are any.
    pub(crate) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let upper = *values.get(values.len() / 2)?;
        let lower = *values.get((values.len() - 1) / 2)?;
        Some(Self {
            median: f64::midpoint(lower, upper),
            min,
            max,
        })
    }
}

/// What a metric is a cost of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resource {
    /// Processor time.
    Cpu,
    /// Time that somebody waits.
    Wall,
    /// Memory.
    Rss,
}

impl Resource {
    /// Of a metric's name; `None` if less of it is not better, so that no ratio says anything.
    pub(crate) fn of(metric: &str) -> Option<Self> {
        // What the generator itself spent or was late by.
        if metric.starts_with("generator_") || metric.starts_with("lag_") {
            return None;
        }
        let (rest, unit) = metric.rsplit_once('_')?;
        match unit {
            "pct" | "percent" if rest.ends_with("cpu") => Some(Self::Cpu),
            "route" if rest.ends_with("_us_per") => Some(Self::Cpu),
            "s" | "ms" | "us" if rest.ends_with("cpu") => Some(Self::Cpu),
            "s" | "ms" | "us" => Some(Self::Wall),
            "mb" => Some(Self::Rss),
            _ => None,
        }
    }

    /// A difference of less than this says nothing, whatever the ratio.
    fn grain(metric: &str) -> f64 {
        match metric.rsplit_once('_') {
            Some((_, "s")) => 0.01,
            Some((_, "ms" | "mb")) => 1.0,
            _ => 0.05,
        }
    }

    /// Its name in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cpu => "CPU",
            Self::Wall => "wall",
            Self::Rss => "RSS",
        }
    }
}

/// How dunlin stands in one metric of a scenario.
pub(crate) struct Standing {
    /// The scenario.
    pub(crate) scenario: Scenario,
    /// The metric.
    pub(crate) metric: &'static str,
    /// What it is a cost of.
    pub(crate) resource: Resource,
    /// Dunlin's median.
    pub(crate) dunlin: f64,
    /// The best peer's name and median, if a peer has one.
    pub(crate) best: Option<(String, f64)>,
}

/// What a ratio says: differences below 1.3x are none on a shared machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Dunlin needs less than any peer.
    Leads,
    /// No difference.
    Even,
    /// A peer needs less.
    Behind,
}

impl Standing {
    /// What it says, if there is a peer.
    pub(crate) fn verdict(&self) -> Option<Verdict> {
        let (_, best) = self.best.as_ref()?;
        Some(
            if (self.dunlin - best).abs() < Resource::grain(self.metric) {
                Verdict::Even
            } else if self.dunlin * SAME < *best {
                Verdict::Leads
            } else if self.dunlin <= *best * SAME {
                Verdict::Even
            } else {
                Verdict::Behind
            },
        )
    }

    /// For programs.
    pub(crate) fn json(&self) -> Value {
        json!({
            "scenario": self.scenario.name(),
            "metric": self.metric,
            "resource": self.resource.name(),
            "dunlin": self.dunlin,
            "best_peer": self.best.as_ref().map(|(label, _)| label),
            "best": self.best.as_ref().map(|(_, median)| median),
            "ratio": self.ratio(),
            "verdict": self.verdict().map(|verdict| format!("{verdict:?}").to_lowercase()),
        })
    }

    /// Dunlin's to the best peer's.
    pub(crate) fn ratio(&self) -> Option<f64> {
        let (_, best) = self.best.as_ref()?;
        ratio(self.dunlin, *best)
    }
}

/// Of two costs; nothing and less than nothing have no ratio.
pub(crate) fn ratio(own: f64, bar: f64) -> Option<f64> {
    (own >= 0.0 && bar > 0.0).then(|| own / bar)
}

/// A figure with as many digits as say something.
pub(crate) fn figure(metric: &str, value: f64) -> String {
    match metric.rsplit_once('_') {
        Some((_, "mb")) if value.abs() >= 10.0 => format!("{value:.0}"),
        Some((_, "mb")) => format!("{value:.1}"),
        Some(_) if Resource::of(metric).is_some() && value < 0.1 => format!("{value:.3}"),
        Some(_) if Resource::of(metric).is_some() => format!("{value:.2}"),
        _ if value.fract() == 0.0 => format!("{value}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_even_number_of_runs_has_the_mean_of_the_middle_two_as_median() {
        let spread = Spread::of(vec![4.0, 1.0, 3.0, 2.0]);
        assert_eq!(
            spread,
            Some(Spread {
                median: 2.5,
                min: 1.0,
                max: 4.0
            })
        );
        assert_eq!(Spread::of(vec![]), None);
    }

    #[test]
    fn a_metrics_name_says_what_it_costs() {
        assert_eq!(Resource::of("load_cpu_s"), Some(Resource::Cpu));
        assert_eq!(Resource::of("idle_cpu_pct"), Some(Resource::Cpu));
        assert_eq!(Resource::of("announce_p99_ms"), Some(Resource::Wall));
        assert_eq!(Resource::of("peak_rss_mb"), Some(Resource::Rss));
        for none in [
            "updates_in",
            "generator_cpu_s",
            "lag_p99_ms",
            "merged_percent",
        ] {
            assert_eq!(Resource::of(none), None, "{none}");
        }
        assert_eq!(ratio(1.0, 0.0), None);
        assert_eq!(ratio(-1.0, 2.0), None);
    }
}
