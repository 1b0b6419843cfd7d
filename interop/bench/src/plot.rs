//! A run as one SVG picture: for each scenario a row of small bar charts, one for each cost, a bar for each daemon.
//!
//! Every chart has its own scale, from zero to its greatest bar: the figures of two charts differ by orders. Every bar
//! has its line with the daemon's name before and its figure behind it, so that no text can meet another.

use crate::daemon::Kind;
use crate::facts::Facts;
use crate::metric::{Resource, figure};
use crate::report::Report;
use crate::scenario::Scenario;
use std::fmt::Write as _;

/// Charts beside each other.
const COLUMNS: usize = 3;
const MARGIN: usize = 24;
const CHART: usize = 344;
/// Room for a daemon's name, for the longest bar, and for the figure behind it.
const NAME: usize = 92;
const BAR: usize = 168;
const LINE: usize = 17;
/// Room for a chart's title, and between two rows of charts.
const TITLE: usize = 22;
const GAP: usize = 14;
/// Room for a scenario's heading.
const HEADING: usize = 34;
/// The first is dunlin's.
const DUNLIN: &str = "#1d5fb4";
const OTHERS: [&str; 7] = [
    "#8c8c8c", "#c58b4a", "#7fa36b", "#a678a8", "#5fa3a3", "#b86a6a", "#a8a25a",
];
/// Longer names are cut.
const LETTERS: usize = 13;

/// The picture.
pub(crate) fn svg(report: &Report, facts: &Facts) -> String {
    let width = 2 * MARGIN + COLUMNS * CHART;
    let mut y = MARGIN + 20;
    let mut body = String::new();
    text(&mut body, (MARGIN, y), "18", "bold", "dunlin and its peers");
    y += 20;
    let about = format!(
        "{}; {}, {} cores; Linux {}; medians; less is better; each chart has its own scale",
        facts.date, facts.cpu, facts.cores, facts.kernel
    );
    text(&mut body, (MARGIN, y), "11", "normal", &about);
    y += 8;
    let colours = colours(report);
    for scenario in Scenario::ALL {
        let metrics = report.metrics(scenario);
        let costs = metrics.into_iter().filter(|m| Resource::of(m).is_some());
        let costs: Vec<&str> = costs.collect();
        if costs.is_empty() {
            continue;
        }
        y += HEADING;
        text(&mut body, (MARGIN, y - 8), "15", "bold", scenario.name());
        let _ = writeln!(
            body,
            "<line x1='{MARGIN}' y1='{0}' x2='{1}' y2='{0}' stroke='#ccc'/>",
            y - 2,
            width - MARGIN
        );
        let height = TITLE + LINE * report.labels(scenario).len() + GAP;
        for row in costs.chunks(COLUMNS) {
            for (column, metric) in row.iter().enumerate() {
                let at = (MARGIN + column * CHART, y);
                chart(&mut body, report, (scenario, metric), at, &colours);
            }
            y += height;
        }
    }
    format!(
        "<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{0}' viewBox='0 0 {width} {0}' \
         font-family='DejaVu Sans, Helvetica, Arial, sans-serif'>\n\
         <rect width='100%' height='100%' fill='#ffffff'/>\n{body}</svg>\n",
        y + MARGIN
    )
}

/// Each daemon's colour, the same in all charts.
fn colours(report: &Report) -> Vec<(String, &'static str)> {
    let mut colours: Vec<(String, &'static str)> = Vec::new();
    let mut others = OTHERS.iter().cycle();
    for record in &report.records {
        if colours.iter().all(|(label, _)| *label != record.label) {
            let colour = match record.kind {
                Kind::Dunlin => DUNLIN,
                _ => others.next().copied().unwrap_or(DUNLIN),
            };
            colours.push((record.label.clone(), colour));
        }
    }
    colours
}

fn chart(
    out: &mut String,
    report: &Report,
    (scenario, metric): (Scenario, &str),
    (x, y): (usize, usize),
    colours: &[(String, &str)],
) {
    text(out, (x, y + 15), "12", "bold", metric);
    let median = |label: &str| report.spread(scenario, label, metric).map(|s| s.median);
    let labels = report.labels(scenario);
    let medians = labels.iter().filter_map(|(label, _)| median(label));
    let greatest = medians.fold(0.0, f64::max);
    for (number, (label, kind)) in labels.iter().enumerate() {
        let top = y + TITLE + number * LINE;
        let weight = if *kind == Kind::Dunlin {
            "bold"
        } else {
            "normal"
        };
        text(out, (x, top + 12), "11", weight, &shortened(label));
        let Some(value) = median(label) else {
            text(out, (x + NAME, top + 12), "11", "normal", "no figure");
            continue;
        };
        let share = if greatest > 0.0 {
            value.max(0.0) / greatest
        } else {
            0.0
        };
        // A bar of nothing is still to be seen.
        let long = (share * BAR as f64).max(1.0);
        let colour = colours.iter().find(|(other, _)| other == label);
        let _ = writeln!(
            out,
            "<rect x='{}' y='{}' width='{long:.1}' height='{}' fill='{}'/>",
            x + NAME,
            top + 2,
            LINE - 5,
            colour.map_or(DUNLIN, |(_, colour)| colour)
        );
        let behind = x + NAME + long as usize + 5;
        text(
            out,
            (behind, top + 12),
            "11",
            weight,
            &figure(metric, value),
        );
    }
}

fn shortened(label: &str) -> String {
    match label.chars().count() {
        0..=LETTERS => label.to_owned(),
        _ => label.chars().take(LETTERS - 1).chain(['…']).collect(),
    }
}

fn text(out: &mut String, (x, y): (usize, usize), size: &str, weight: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(
        out,
        "<text x='{x}' y='{y}' font-size='{size}' font-weight='{weight}' fill='#222'>{words}</text>"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::record;

    #[test]
    fn every_cost_has_a_chart_with_a_bar_for_every_daemon_that_has_it() {
        let records = vec![
            record(
                Kind::Dunlin,
                "dunlin",
                Ok(vec![("load_cpu_s", 1.0), ("updates_in", 3.0)]),
            ),
            record(Kind::Bird, "a<b", Ok(vec![("load_cpu_s", 2.0)])),
            record(Kind::Frr, "frr", Err("gone".to_owned())),
        ];
        let mut body = String::new();
        let report = Report { records };
        let colours = colours(&report);
        chart(
            &mut body,
            &report,
            (Scenario::S1, "load_cpu_s"),
            (0, 0),
            &colours,
        );
        assert_eq!(body.matches("<rect").count(), 2);
        assert!(body.contains("width='84.0'") && body.contains("width='168.0'"));
        assert!(body.contains("a&lt;b") && body.contains("no figure"));
        assert_eq!(shortened("a-very-long-label"), "a-very-long-…");
    }
}
