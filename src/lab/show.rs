//! What the lab prints: a table kept in place on a terminal, plain lines elsewhere.
//!
//! A closed standard output is no reason to leave a cluster behind: failed writes are ignored.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use super::observe::Seen;
use super::probe::Count;

/// Rows of the live table; a larger cluster shows those that lack most.
const LIVE_ROWS: usize = 16;

const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const PLAIN: &str = "\x1b[0m";
const NO_WRAP: &str = "\x1b[?7l";
const WRAP: &str = "\x1b[?7h";

/// One node in the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    /// Its name.
    pub(super) node: String,
    /// Its IPv4 address.
    pub(super) address: String,
    /// What its dunlin did.
    pub(super) seen: Seen,
    /// How many pods its own pods reach, by family; none on the router.
    pub(super) pods: Vec<Count>,
}

impl Row {
    fn lacks(&self) -> usize {
        let sessions = self
            .seen
            .sessions
            .map_or(0, |(up, of)| of.saturating_sub(up));
        sessions
            + self
                .pods
                .iter()
                .map(|count| count.of - count.reached)
                .sum::<usize>()
    }
}

/// The table, line by line, without line ends. `families` are the headings of [`Row::pods`].
pub(super) fn table(rows: &[Row], families: &[&str], coloured: bool) -> Vec<String> {
    let wide = rows.iter().map(|row| row.node.len()).fold(8, usize::max);
    let mut head = format!(
        "{:<wide$} {:<13} {:>9} {:>13}",
        "NODE", "ADDRESS", "SESSIONS", "KERNEL ROUTES"
    );
    for family in families {
        head.push_str(&format!(
            " {:>14}",
            format!("PODS BY {}", family.to_uppercase())
        ));
    }
    let mut lines = vec![head];
    for row in rows {
        let sessions = match row.seen.sessions {
            Some((up, of)) => cell(&format!("{up}/{of}"), 9, coloured.then_some(up == of)),
            None => cell("-", 9, None),
        };
        let routes = row
            .seen
            .routes
            .map_or_else(|| "-".to_owned(), |n| n.to_string());
        let mut line = format!(
            "{:<wide$} {:<13} {sessions} {routes:>13}",
            row.node, row.address
        );
        for count in &row.pods {
            let good = coloured.then_some(count.is_full());
            line.push(' ');
            line.push_str(&cell(&count.to_string(), 14, good));
        }
        lines.push(line);
    }
    lines
}

/// The rows that fit on a screen: all, or those that lack most and a line about the others.
pub(super) fn most_lacking(rows: Vec<Row>) -> (Vec<Row>, Option<String>) {
    if rows.len() <= LIVE_ROWS {
        return (rows, None);
    }
    let hidden = rows.len() - LIVE_ROWS;
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by_key(|place| core::cmp::Reverse(rows.get(*place).map_or(0, Row::lacks)));
    order.truncate(LIVE_ROWS);
    let shown = |place: &usize| order.contains(place);
    let rest: usize = rows
        .iter()
        .enumerate()
        .filter(|(place, _)| !shown(place))
        .map(|(_, row)| row.lacks())
        .sum();
    let state = if rest == 0 {
        "complete"
    } else {
        "not complete either"
    };
    let kept = rows
        .into_iter()
        .enumerate()
        .filter(|(place, _)| shown(place))
        .map(|(_, r)| r);
    (
        kept.collect(),
        Some(format!("and {hidden} more nodes, {state}")),
    )
}

/// The whole state in one line.
pub(super) fn line(rows: &[Row], families: &[&str]) -> String {
    let known: Vec<(usize, usize)> = rows.iter().filter_map(|row| row.seen.sessions).collect();
    let (up, of) = known
        .iter()
        .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    let routes: usize = rows.iter().filter_map(|row| row.seen.routes).sum();
    let mut text = format!("sessions {up}/{of}, kernel routes {routes}, pods reached:");
    for (place, family) in families.iter().enumerate() {
        let counts = rows.iter().filter_map(|row| row.pods.get(place)).copied();
        let sum = counts.fold(Count::default(), |sum, one| sum + one);
        text.push_str(&format!(" {family} {sum}"));
    }
    text
}

fn cell(text: &str, width: usize, good: Option<bool>) -> String {
    let padded = format!("{text:>width$}");
    match good {
        Some(true) => format!("{GREEN}{padded}{PLAIN}"),
        Some(false) => format!("{YELLOW}{padded}{PLAIN}"),
        None => padded,
    }
}

/// 1.25 s as `1.3 s`.
pub(super) fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// Where it is printed.
#[derive(Debug)]
pub(super) struct Screen {
    terminal: bool,
    coloured: bool,
    /// Lines of the table that stand on the terminal, below which the cursor is.
    standing: usize,
    last_line: String,
}

impl Screen {
    /// Standard output; `live` allows a table in place if it is a terminal.
    pub(super) fn new(live: bool) -> Self {
        let terminal = live && io::stdout().is_terminal();
        let coloured = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self {
            terminal,
            coloured,
            standing: 0,
            last_line: String::new(),
        }
    }

    /// Whether the table is kept in place.
    pub(super) const fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Whether colours are welcome.
    pub(super) const fn is_coloured(&self) -> bool {
        self.coloured
    }

    /// Prints lines that stay.
    pub(super) fn print(&mut self, lines: &[String]) {
        let mut text = self.erase();
        for line in lines {
            text.push_str(line);
            text.push('\n');
        }
        self.standing = 0;
        put(&text);
    }

    /// Prints one line that stays.
    pub(super) fn say(&mut self, line: impl Into<String>) {
        self.print(&[line.into()]);
    }

    /// Puts the table in the place of the former one.
    pub(super) fn redraw(&mut self, lines: &[String]) {
        let mut text = self.erase();
        // A line that wrapped would stand on two, and the next erase would miss one.
        text.push_str(NO_WRAP);
        for line in lines {
            text.push_str(line);
            text.push('\n');
        }
        text.push_str(WRAP);
        self.standing = lines.len();
        put(&text);
    }

    /// Prints a line of state, if it is not what the last one said.
    pub(super) fn progress(&mut self, since: Duration, line: &str) {
        if self.last_line != line {
            self.last_line = line.to_owned();
            self.say(format!("{:>8}  {line}", seconds(since)));
        }
    }

    fn erase(&self) -> String {
        match self.standing {
            0 => String::new(),
            lines => format!("\x1b[{lines}A\r\x1b[J"),
        }
    }
}

fn put(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(node: usize, reached: usize) -> Row {
        Row {
            node: format!("node-{node}"),
            address: format!("172.31.2.{}", 10 + node),
            seen: Seen {
                sessions: Some((4, 4)),
                routes: Some(16),
            },
            pods: vec![
                Count { reached, of: 14 },
                Count {
                    reached: 14,
                    of: 14,
                },
            ],
        }
    }

    #[test]
    fn the_table_lines_up_and_fits_into_80_columns() {
        let lines = table(&[row(1, 14), row(64, 3)], &["IPv4", "IPv6"], false);
        let want = [
            "NODE     ADDRESS        SESSIONS KERNEL ROUTES   PODS BY IPV4   PODS BY IPV6",
            "node-1   172.31.2.11         4/4            16          14/14          14/14",
            "node-64  172.31.2.74         4/4            16           3/14          14/14",
        ];
        assert_eq!(lines, want);
        assert!(lines.iter().all(|line| line.len() <= 80));
        let coloured = table(&[row(1, 3)], &["IPv4", "IPv6"], true);
        assert!(
            coloured[1].contains(YELLOW) && coloured[1].contains(GREEN),
            "{coloured:?}"
        );
    }

    #[test]
    fn the_line_sums_over_all_nodes() {
        let text = line(&[row(1, 14), row(2, 3)], &["IPv4", "IPv6"]);
        assert_eq!(
            text,
            "sessions 8/8, kernel routes 32, pods reached: IPv4 17/28 IPv6 28/28"
        );
    }

    #[test]
    fn a_large_cluster_shows_the_nodes_that_lack_most() {
        let rows: Vec<Row> = (1..=40)
            .map(|n| row(n, if n == 33 { 2 } else { 14 }))
            .collect();
        let (shown, rest) = most_lacking(rows);
        assert_eq!(shown.len(), LIVE_ROWS);
        assert!(shown.iter().any(|row| row.node == "node-33"));
        assert_eq!(rest.as_deref(), Some("and 24 more nodes, complete"));
        assert_eq!(most_lacking(vec![row(1, 1)]).1, None);
    }
}
