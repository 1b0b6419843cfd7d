//! From runs to figures: medians, ratios to a yardstick, a table for people and JSON for programs.
//!
//! A failed run is shown as failed and is in no median.

use crate::daemon::Kind;
use crate::scenario::{Figures, Scenario};
use serde_json::{Map, Value, json};
use std::fmt::Write as _;

/// One run and what came of it.
pub(crate) struct Record {
    /// What was run.
    pub(crate) scenario: Scenario,
    /// Against which daemon.
    pub(crate) kind: Kind,
    /// The round, from 1.
    pub(crate) round: usize,
    /// The figures, or why there are none.
    pub(crate) outcome: Result<Figures, String>,
}

/// All runs.
#[derive(Default)]
pub(crate) struct Report {
    /// In the order they were made.
    pub(crate) records: Vec<Record>,
}

/// Median, least and greatest of a metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    median: f64,
    min: f64,
    max: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Option<Self> {
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

/// A metric for which less is better, so that a ratio says something.
fn is_cost(metric: &str) -> bool {
    metric.ends_with("_s") || metric.ends_with("_mb")
}

impl Report {
    /// Whether every run gave figures.
    pub(crate) fn is_complete(&self) -> bool {
        self.records.iter().all(|record| record.outcome.is_ok())
    }

    fn spread(&self, scenario: Scenario, kind: Kind, metric: &str) -> Option<Spread> {
        let values = self.figures(scenario, kind).flat_map(|figures| {
            figures
                .iter()
                .filter(|(name, _)| *name == metric)
                .map(|(_, value)| *value)
        });
        Spread::of(values.collect())
    }

    fn figures(&self, scenario: Scenario, kind: Kind) -> impl Iterator<Item = &Figures> {
        self.records
            .iter()
            .filter(move |record| record.scenario == scenario && record.kind == kind)
            .filter_map(|record| record.outcome.as_ref().ok())
    }

    fn ratio(&self, scenario: Scenario, kind: Kind, metric: &str) -> Option<f64> {
        let own = self.spread(scenario, kind, metric)?.median;
        let bar = self.spread(scenario, scenario.yardstick(), metric)?.median;
        (is_cost(metric) && bar > 0.0).then(|| own / bar)
    }

    fn metrics(&self, scenario: Scenario) -> Vec<&'static str> {
        let first = Kind::ALL
            .into_iter()
            .find_map(|kind| self.figures(scenario, kind).next());
        first
            .map(|figures| figures.iter().map(|(name, _)| *name).collect())
            .unwrap_or_default()
    }

    fn kinds(&self, scenario: Scenario) -> Vec<Kind> {
        let ran = |kind: &Kind| {
            self.records
                .iter()
                .any(|record| record.scenario == scenario && record.kind == *kind)
        };
        Kind::ALL.into_iter().filter(ran).collect()
    }

    /// Markdown tables: medians, in brackets the ratio to the scenario's yardstick.
    pub(crate) fn tables(&self) -> String {
        let mut out = String::new();
        for scenario in Scenario::ALL {
            let kinds = self.kinds(scenario);
            let metrics = self.metrics(scenario);
            if kinds.is_empty() {
                continue;
            }
            let mut rows = vec![vec![scenario.name().to_owned(), "runs".to_owned()]];
            rows[0].extend(metrics.iter().map(|metric| (*metric).to_owned()));
            for kind in kinds {
                let all = self
                    .records
                    .iter()
                    .filter(|r| r.scenario == scenario && r.kind == kind)
                    .count();
                let good = self.figures(scenario, kind).count();
                let runs = if good == all {
                    all.to_string()
                } else {
                    format!("{good} of {all}")
                };
                let mut row = vec![kind.name().to_owned(), runs];
                row.extend(
                    metrics
                        .iter()
                        .map(|metric| self.cell(scenario, kind, metric)),
                );
                rows.push(row);
            }
            out.push_str(&table(&rows));
            out.push('\n');
        }
        out
    }

    fn cell(&self, scenario: Scenario, kind: Kind, metric: &str) -> String {
        let Some(spread) = self.spread(scenario, kind, metric) else {
            return "-".to_owned();
        };
        let value = match metric.rsplit_once('_') {
            Some((_, "s")) => format!("{:.2}", spread.median),
            Some((_, "mb")) => format!("{:.0}", spread.median),
            Some(_) | None => format!("{}", spread.median),
        };
        match self.ratio(scenario, kind, metric) {
            Some(ratio) if kind != scenario.yardstick() => format!("{value} ({ratio:.2}x)"),
            Some(_) | None => value,
        }
    }

    /// Everything, for programs.
    pub(crate) fn json(&self, about: Value) -> Value {
        let runs: Vec<Value> = self.records.iter().map(run_json).collect();
        let mut medians = Map::new();
        for scenario in Scenario::ALL {
            let mut by_kind = Map::new();
            for kind in self.kinds(scenario) {
                let mut by_metric = Map::new();
                for metric in self.metrics(scenario) {
                    if let Some(spread) = self.spread(scenario, kind, metric) {
                        let mut value = json!({
                            "median": spread.median, "min": spread.min, "max": spread.max,
                        });
                        let ratio = format!("ratio_to_{}", scenario.yardstick().name());
                        value[ratio] = json!(self.ratio(scenario, kind, metric));
                        by_metric.insert(metric.to_owned(), value);
                    }
                }
                by_kind.insert(kind.name().to_owned(), Value::Object(by_metric));
            }
            if !by_kind.is_empty() {
                medians.insert(scenario.name().to_owned(), Value::Object(by_kind));
            }
        }
        json!({ "about": about, "medians": medians, "runs": runs })
    }
}

fn run_json(record: &Record) -> Value {
    let mut value = json!({
        "scenario": record.scenario.name(),
        "daemon": record.kind.name(),
        "round": record.round,
    });
    match &record.outcome {
        Ok(figures) => {
            let figures: Map<String, Value> = figures
                .iter()
                .map(|(name, value)| ((*name).to_owned(), json!(value)))
                .collect();
            value["figures"] = Value::Object(figures);
        }
        Err(error) => value["error"] = json!(error),
    }
    value
}

fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(String::len)
            .max()
            .unwrap_or(0)
    };
    let mut out = String::new();
    for (number, row) in rows.iter().enumerate() {
        for (column, cell) in row.iter().enumerate() {
            let _ = write!(out, "| {cell:<0$} ", width(column));
        }
        out.push_str("|\n");
        if number == 0 {
            for column in 0..columns {
                let _ = write!(out, "| {} ", "-".repeat(width(column)));
            }
            out.push_str("|\n");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: Kind, outcome: Result<Figures, String>) -> Record {
        Record {
            scenario: Scenario::S1,
            kind,
            round: 1,
            outcome,
        }
    }

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
    fn ratios_compare_the_medians_with_bird() {
        let figures = |cpu| Ok(vec![("load_cpu_s", cpu), ("updates_in", 5.0)]);
        let records = vec![
            record(Kind::Dunlin, figures(1.0)),
            record(Kind::Bird, figures(2.0)),
        ];
        let report = Report { records };
        assert_eq!(
            report.ratio(Scenario::S1, Kind::Dunlin, "load_cpu_s"),
            Some(0.5)
        );
        assert_eq!(report.ratio(Scenario::S1, Kind::Dunlin, "updates_in"), None);
        assert!(report.tables().contains("1.00 (0.50x)"));
    }

    #[test]
    fn a_failed_run_is_shown_and_in_no_median() {
        let records = vec![
            record(Kind::Dunlin, Ok(vec![("load_cpu_s", 1.0)])),
            record(Kind::Dunlin, Err("timed out".to_owned())),
        ];
        let report = Report { records };
        assert!(!report.is_complete());
        assert!(report.tables().contains("1 of 2"));
        let json = report.json(Value::Null);
        assert_eq!(json["medians"]["s1"]["dunlin"]["load_cpu_s"]["median"], 1.0);
        assert_eq!(json["runs"][1]["error"], "timed out");
    }
}
