//! A run as a markdown document: the machine, a table for each scenario, and where dunlin stands.
//!
//! It shows what the report knows and computes nothing of its own.

use crate::daemon::Kind;
use crate::facts::Facts;
use crate::metric::{Resource, SAME, Standing, Verdict, figure, ratio};
use crate::report::{Report, table};
use crate::scenario::Scenario;
use std::fmt::Write as _;

/// The document. `absent`: who did not take part in which scenario, and why.
pub(crate) fn document(report: &Report, facts: &Facts, absent: &[String]) -> String {
    let mut out = String::from("# dunlin and its peers, measured in the same run\n\n");
    out.push_str(&machine(facts));
    out.push_str(
        "\nMedians of interleaved rounds. In brackets: the ratio to BIRD 2 of the same run (in s5 to what only writes \
         routes). The last rows of a table are dunlin's figures to those of the best peer, and to BIRD 2's: below 1x \
         dunlin needs less. Read CPU first, wall time second; differences below 1.3x are none on a shared machine.\n",
    );
    for scenario in Scenario::ALL {
        let Some(mut rows) = report.rows(scenario) else {
            continue;
        };
        rows.extend(versus(report, scenario));
        let _ = write!(out, "\n## {}\n\n{}", scenario.name(), table(&rows));
        let failed = report.records.iter().filter(|r| r.scenario == scenario);
        for record in failed {
            if let Err(error) = &record.outcome {
                let line = error.lines().next().unwrap_or_default();
                let _ = write!(out, "\n{}, round {}: {line}\n", record.label, record.round);
            }
        }
    }
    if !absent.is_empty() {
        out.push_str("\n## Who did not take part\n\n");
        absent
            .iter()
            .for_each(|line| out.push_str(&format!("* {line}\n")));
    }
    out.push_str("\n## Where dunlin stands\n\n");
    out.push_str(&summary(&report.standings()));
    out
}

fn machine(facts: &Facts) -> String {
    let mut out = format!(
        "{}; {}, {} cores; Linux {}\n\n",
        facts.date, facts.cpu, facts.cores, facts.kernel
    );
    let mut rows = vec![["daemon", "program", "version"].map(str::to_owned).to_vec()];
    for (label, program, version) in &facts.daemons {
        rows.push(vec![
            label.clone(),
            program.display().to_string(),
            version.replace('|', "/"),
        ]);
    }
    out.push_str(&table(&rows));
    let sizes = facts.sizes();
    let sizes: Vec<String> = sizes
        .iter()
        .map(|(name, value)| format!("{name} {value}"))
        .collect();
    let _ = write!(out, "\nSizes: {}.\n", sizes.join(", "));
    out
}

/// Dunlin's figures to the best peer's and to BIRD 2's.
fn versus(report: &Report, scenario: Scenario) -> Vec<Vec<String>> {
    let Some(dunlin) = report.label_of(scenario, Kind::Dunlin) else {
        return Vec::new();
    };
    let own = |metric| report.spread(scenario, dunlin, metric).map(|s| s.median);
    let bird = report.label_of(scenario, Kind::Bird);
    let (mut best, mut to_bird) = (
        vec!["dunlin / best peer".to_owned(), String::new()],
        vec!["dunlin / bird2".to_owned(), String::new()],
    );
    for metric in report.metrics(scenario) {
        let cost = Resource::of(metric).and_then(|_| own(metric));
        let peer = report.best_peer(scenario, metric);
        let share = |bar: f64| cost.and_then(|own| ratio(own, bar));
        best.push(match &peer {
            Some((label, bar)) => {
                share(*bar).map_or_else(String::new, |r| format!("{r:.2}x {label}"))
            }
            None => String::new(),
        });
        let bar = bird.and_then(|label| report.spread(scenario, label, metric));
        let text = bar.and_then(|bar| share(bar.median));
        to_bird.push(text.map_or_else(String::new, |r| format!("{r:.2}x")));
    }
    let said = |row: &Vec<String>| row.iter().skip(1).any(|cell| !cell.is_empty());
    [best, to_bird].into_iter().filter(said).collect()
}

/// One line for each cost: dunlin's, the best peer's, the ratio, and what that says.
fn summary(standings: &[Standing]) -> String {
    let head = [
        "scenario",
        "cost",
        "figure",
        "dunlin",
        "best peer",
        "ratio",
        "",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let (mut leads, mut even, mut behind) = (0, 0, 0);
    for standing in standings {
        let metric = standing.metric;
        let verdict = match standing.verdict() {
            Some(Verdict::Leads) => {
                leads += 1;
                "**leads**"
            }
            Some(Verdict::Even) => {
                even += 1;
                "even"
            }
            Some(Verdict::Behind) => {
                behind += 1;
                "behind"
            }
            None => "",
        };
        let best = standing.best.as_ref();
        rows.push(vec![
            standing.scenario.name().to_owned(),
            standing.resource.name().to_owned(),
            metric.to_owned(),
            figure(metric, standing.dunlin),
            best.map_or_else(
                || "-".to_owned(),
                |(label, value)| format!("{} ({label})", figure(metric, *value)),
            ),
            standing
                .ratio()
                .map_or_else(|| "-".to_owned(), |r| format!("{r:.2}x")),
            verdict.to_owned(),
        ]);
    }
    format!(
        "Leads: below {:.2}x of the best peer, whoever that is. Even: up to {SAME}x, or a difference \
         below 10 ms, 1 ms of latency, 1 MB, 0.05 %. {leads} figures lead, {even} are even, \
         {behind} are behind.\n\n{}",
        1.0 / SAME,
        table(&rows)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::record;

    #[test]
    fn the_summary_names_the_best_peer_and_who_leads() {
        let figures = |cpu, wall| Ok(vec![("load_cpu_s", cpu), ("load_wall_s", wall)]);
        let records = vec![
            record(Kind::Dunlin, "dunlin", figures(1.0, 5.0)),
            record(Kind::Bird, "bird2", figures(2.0, 4.5)),
            record(Kind::Frr, "frr", figures(4.0, 1.0)),
        ];
        let report = Report { records };
        let text = summary(&report.standings());
        let line = |what: &str| text.lines().find(|line| line.contains(what)).unwrap_or("");
        assert!(line("load_cpu_s").contains("2.00 (bird2) | 0.50x | **leads**"));
        assert!(line("load_wall_s").contains("1.00 (frr)   | 5.00x | behind"));
        let rows = versus(&report, Scenario::S1);
        assert_eq!(rows[0][2..], ["0.50x bird2", "5.00x frr"]);
        assert_eq!(rows[1][2..], ["0.50x", "1.11x"]);
    }
}
