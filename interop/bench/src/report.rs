//! From runs to figures: medians, ratios to a yardstick and to the best peer, tables for people, JSON for programs.
//!
//! A failed run is shown as failed and is in no median. Peers are the other projects' speakers: neither the relay
//! nor what only writes routes, nor another dunlin.

use crate::daemon::Kind;
use crate::metric::{Resource, Spread, Standing, figure, ratio};
use crate::scenario::{Figures, Scenario};
use serde_json::{Map, Value, json};
use std::fmt::Write as _;

/// One run and what came of it.
pub(crate) struct Record {
    /// What was run.
    pub(crate) scenario: Scenario,
    /// Against which kind of daemon.
    pub(crate) kind: Kind,
    /// The daemon's name in tables.
    pub(crate) label: String,
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

impl Report {
    /// Whether every run gave figures.
    pub(crate) fn is_complete(&self) -> bool {
        self.records.iter().all(|record| record.outcome.is_ok())
    }

    fn of<'a>(&'a self, scenario: Scenario, label: &'a str) -> impl Iterator<Item = &'a Record> {
        self.records
            .iter()
            .filter(move |record| record.scenario == scenario && record.label == label)
    }

    /// Median and spread of a metric, if there is a run with it.
    pub(crate) fn spread(&self, scenario: Scenario, label: &str, metric: &str) -> Option<Spread> {
        let good = self.of(scenario, label);
        let values = good
            .filter_map(|record| record.outcome.as_ref().ok())
            .flatten();
        let values = values.filter(|(name, _)| *name == metric);
        Spread::of(values.map(|(_, value)| *value).collect())
    }

    fn median(&self, scenario: Scenario, label: &str, metric: &str) -> Option<f64> {
        self.spread(scenario, label, metric)
            .map(|spread| spread.median)
    }

    /// The daemons that ran in a scenario, as they first did.
    pub(crate) fn labels(&self, scenario: Scenario) -> Vec<(&str, Kind)> {
        let mut labels: Vec<(&str, Kind)> = Vec::new();
        for record in self.records.iter().filter(|r| r.scenario == scenario) {
            if labels.iter().all(|(label, _)| *label != record.label) {
                labels.push((&record.label, record.kind));
            }
        }
        labels
    }

    /// The daemon of this kind: the one that is called like it, else the first.
    pub(crate) fn label_of(&self, scenario: Scenario, kind: Kind) -> Option<&str> {
        let labels = self.labels(scenario);
        let mut all = labels.iter().filter(|(_, other)| *other == kind);
        let named = all.clone().find(|(label, _)| *label == kind.name());
        named.or_else(|| all.next()).map(|(label, _)| *label)
    }

    /// The metrics of a scenario, in the order its runs first gave them.
    pub(crate) fn metrics(&self, scenario: Scenario) -> Vec<&'static str> {
        let mut metrics = Vec::new();
        for record in self.records.iter().filter(|r| r.scenario == scenario) {
            for (name, _) in record.outcome.iter().flatten() {
                if !metrics.contains(name) {
                    metrics.push(*name);
                }
            }
        }
        metrics
    }

    /// A daemon's median to that of the scenario's yardstick.
    pub(crate) fn ratio(&self, scenario: Scenario, label: &str, metric: &str) -> Option<f64> {
        let yardstick = self.label_of(scenario, scenario.yardstick())?;
        let own = self.median(scenario, label, metric)?;
        let bar = self.median(scenario, yardstick, metric)?;
        Resource::of(metric).and_then(|_| ratio(own, bar))
    }

    /// The peer with the least median of a metric.
    pub(crate) fn best_peer(&self, scenario: Scenario, metric: &str) -> Option<(String, f64)> {
        let peer = |kind: Kind| kind.is_speaker() && kind != Kind::Dunlin && !kind.is_relay();
        let labels = self.labels(scenario).into_iter();
        labels
            .filter(|(_, kind)| peer(*kind))
            .filter_map(|(label, _)| {
                let median = self.median(scenario, label, metric)?;
                Some((label.to_owned(), median))
            })
            .min_by(|(_, one), (_, other)| one.total_cmp(other))
    }

    /// How dunlin stands in every metric that is a cost.
    pub(crate) fn standings(&self) -> Vec<Standing> {
        let mut all = Vec::new();
        for scenario in Scenario::ALL {
            let Some(dunlin) = self.label_of(scenario, Kind::Dunlin) else {
                continue;
            };
            for metric in self.metrics(scenario) {
                let median = self.median(scenario, dunlin, metric);
                let (Some(resource), Some(dunlin)) = (Resource::of(metric), median) else {
                    continue;
                };
                all.push(Standing {
                    scenario,
                    metric,
                    resource,
                    dunlin,
                    best: self.best_peer(scenario, metric),
                });
            }
        }
        all
    }

    /// A table of each scenario that ran: medians, in brackets the ratio to the scenario's yardstick.
    pub(crate) fn tables(&self) -> String {
        let ran = Scenario::ALL.into_iter();
        let tables = ran.filter_map(|scenario| Some(table(&self.rows(scenario)?)));
        tables.collect::<Vec<_>>().join("\n")
    }

    /// The rows of a scenario's table, the head first; `None` if it did not run.
    pub(crate) fn rows(&self, scenario: Scenario) -> Option<Vec<Vec<String>>> {
        let labels = self.labels(scenario);
        let metrics = self.metrics(scenario);
        let mut head = vec![scenario.name().to_owned(), "runs".to_owned()];
        head.extend(metrics.iter().map(|metric| (*metric).to_owned()));
        let mut rows = vec![head];
        for (label, _) in &labels {
            let all = self.of(scenario, label).count();
            let good = self.of(scenario, label).filter(|r| r.outcome.is_ok());
            let timed_out = self
                .of(scenario, label)
                .any(|r| matches!(&r.outcome, Err(error) if error.starts_with("timed out")));
            let runs = match good.count() {
                good if good == all => all.to_string(),
                good if timed_out => format!("{good} of {all}, timed out"),
                good => format!("{good} of {all}"),
            };
            let mut row = vec![(*label).to_owned(), runs];
            row.extend(
                metrics
                    .iter()
                    .map(|metric| self.cell(scenario, label, metric)),
            );
            rows.push(row);
        }
        (!labels.is_empty()).then_some(rows)
    }

    fn cell(&self, scenario: Scenario, label: &str, metric: &str) -> String {
        let Some(median) = self.median(scenario, label, metric) else {
            return "-".to_owned();
        };
        let value = figure(metric, median);
        let is_yardstick = self.label_of(scenario, scenario.yardstick()) == Some(label);
        match self.ratio(scenario, label, metric) {
            Some(ratio) if !is_yardstick => format!("{value} ({ratio:.2}x)"),
            Some(_) | None => value,
        }
    }

    /// Everything, for programs.
    pub(crate) fn json(&self, about: &Value) -> Value {
        let runs: Vec<Value> = self.records.iter().map(run_json).collect();
        let mut medians = Map::new();
        for scenario in Scenario::ALL {
            let mut by_label = Map::new();
            for (label, _) in self.labels(scenario) {
                let mut by_metric = Map::new();
                for metric in self.metrics(scenario) {
                    if let Some(spread) = self.spread(scenario, label, metric) {
                        let mut value = json!({
                            "median": spread.median, "min": spread.min, "max": spread.max,
                        });
                        let name = format!("ratio_to_{}", scenario.yardstick().name());
                        value[name] = json!(self.ratio(scenario, label, metric));
                        by_metric.insert(metric.to_owned(), value);
                    }
                }
                by_label.insert(label.to_owned(), Value::Object(by_metric));
            }
            if !by_label.is_empty() {
                medians.insert(scenario.name().to_owned(), Value::Object(by_label));
            }
        }
        let summary: Vec<Value> = self.standings().iter().map(Standing::json).collect();
        json!({ "about": about, "medians": medians, "summary": summary, "runs": runs })
    }
}

fn run_json(record: &Record) -> Value {
    let mut value = json!({
        "scenario": record.scenario.name(),
        "daemon": record.label,
        "kind": record.kind.name(),
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

/// A markdown table; the first row is the head.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
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
pub(crate) mod tests {
    use super::*;
    use crate::metric::Verdict;

    /// A run of S1 in the first round.
    pub(crate) fn record(kind: Kind, label: &str, outcome: Result<Figures, String>) -> Record {
        Record {
            scenario: Scenario::S1,
            kind,
            label: label.to_owned(),
            round: 1,
            outcome,
        }
    }

    #[test]
    fn ratios_compare_the_medians_with_bird_and_with_the_best_peer() {
        let figures = |cpu| Ok(vec![("load_cpu_s", cpu), ("updates_in", 5.0)]);
        let records = vec![
            record(Kind::Dunlin, "dunlin", figures(1.0)),
            record(Kind::Bird, "bird3", figures(0.8)),
            record(Kind::Bird, "bird2", figures(2.0)),
            record(Kind::Dunlin, "older", figures(0.1)),
            record(Kind::Mirror, "mirror", figures(0.01)),
        ];
        let report = Report { records };
        let ratio = |metric| report.ratio(Scenario::S1, "dunlin", metric);
        assert_eq!(
            (ratio("load_cpu_s"), ratio("updates_in")),
            (Some(0.5), None)
        );
        assert!(report.tables().contains("1.00 (0.50x)"));
        let standings = report.standings();
        assert_eq!(standings.len(), 1);
        assert_eq!(standings[0].best, Some(("bird3".to_owned(), 0.8)));
        assert_eq!(standings[0].ratio(), Some(1.25));
        assert_eq!(standings[0].verdict(), Some(Verdict::Even));
    }

    #[test]
    fn a_failed_run_is_shown_and_in_no_median() {
        let records = vec![
            record(Kind::Dunlin, "dunlin", Ok(vec![("load_cpu_s", 1.0)])),
            record(Kind::Dunlin, "dunlin", Err("timed out".to_owned())),
        ];
        let report = Report { records };
        assert!(!report.is_complete());
        assert!(report.tables().contains("1 of 2"));
        let json = report.json(&Value::Null);
        assert_eq!(json["medians"]["s1"]["dunlin"]["load_cpu_s"]["median"], 1.0);
        assert_eq!(json["runs"][1]["error"], "timed out");
    }
}
