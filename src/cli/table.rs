//! Plain tables: columns as wide as their widest cell, two spaces between, no line that ends in
//! spaces. Colours only on a terminal, and never carrying what the words don't say.
//!
//! A row that is wider than [`WIDTH`] goes on in a second line, as its heads do, and long text is wrapped in its
//! column. Only a single word can be longer than a line.

use std::io::{self, IsTerminal, Write};

/// No line is longer, whatever the terminal: a ticket and a pager are as wide.
pub(super) const WIDTH: usize = 100;
/// A column is not wider, if its words let it; the last one takes what is left.
const WIDEST: usize = 32;
/// The last column is wrapped beside the others if there is so much room, else it goes below them.
const ROOM: usize = 24;
/// Where the second line of a row begins.
const INDENT: usize = 4;
/// Between columns.
const GAP: usize = 2;

/// A column's place.
#[derive(Debug, Clone, Copy)]
struct Column {
    /// Which line of a row it is in.
    line: usize,
    width: usize,
}

/// A table that is printed at once.
#[derive(Debug)]
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(heads: &[&str]) -> Self {
        Self {
            rows: vec![heads.iter().map(|head| (*head).to_owned()).collect()],
        }
    }

    pub(super) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    pub(super) fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let columns = self.arrange();
        let lines = columns.last().map_or(0, |last| last.line + 1);
        for row in &self.rows {
            for line in 0..lines {
                let cells = row.iter().zip(&columns);
                let cells = cells.filter(|(_, column)| column.line == line);
                let cells: Vec<_> = cells
                    .map(|(cell, column)| (wrap(cell, column.width), column.width))
                    .collect();
                let indent = if line == 0 { 0 } else { INDENT };
                let deepest = cells.iter().map(|(wrapped, _)| wrapped.len()).max();
                for at in 0..deepest.unwrap_or(0) {
                    let mut text = " ".repeat(indent);
                    for (wrapped, width) in &cells {
                        let cell = wrapped.get(at).map_or("", String::as_str);
                        text.push_str(cell);
                        let padding = (width + GAP).saturating_sub(cell.chars().count());
                        text.extend(std::iter::repeat_n(' ', padding));
                    }
                    if !text.trim().is_empty() {
                        writeln!(out, "{}", text.trim_end())?;
                    }
                }
            }
        }
        Ok(())
    }

    /// As many columns in a line as fit.
    fn arrange(&self) -> Vec<Column> {
        let count = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let (mut line, mut used) = (0, 0);
        let mut columns = Vec::new();
        for at in 0..count {
            let cells = self.rows.iter().filter_map(|row| row.get(at));
            let natural = cells.clone().map(|cell| cell.chars().count()).max();
            let words = cells.flat_map(|cell| cell.split(' '));
            let word = words.map(|word| word.chars().count()).max().unwrap_or(0);
            let natural = natural.unwrap_or(0);
            let left = WIDTH.saturating_sub(used);
            let is_last = at + 1 == count;
            let width = match is_last {
                true if left >= ROOM.max(word) => natural.min(left),
                true => natural,
                false => natural.min(WIDEST.max(word)),
            };
            if width > left && used > 0 {
                (line, used) = (line + 1, INDENT);
            }
            let width = width.min(word.max(WIDTH - INDENT));
            used += width + GAP;
            columns.push(Column { line, width });
        }
        columns
    }
}

/// A text in lines of at most `width` characters, broken at spaces where there are any; at least one.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split(' ') {
        let letters: Vec<char> = word.chars().collect();
        for (i, piece) in letters.chunks(width.max(1)).enumerate() {
            let space = usize::from(i == 0 && used > 0);
            if used + space + piece.len() > width || i > 0 {
                lines.push(String::new());
                used = 0;
            }
            if let Some(line) = lines.last_mut() {
                if used > 0 {
                    line.push(' ');
                    used += 1;
                }
                line.extend(piece);
            }
            used += piece.len();
        }
    }
    lines
}

/// `3s`, `4m10s`, `2h05m`, `3d04h`: short, and two units are always enough.
pub(super) fn ago(secs: u64) -> String {
    match secs {
        0..60 => format!("{secs}s"),
        60..3600 => format!("{}m{:02}s", secs / 60, secs % 60),
        3600..86400 => format!("{}h{:02}m", secs / 3600, secs % 3600 / 60),
        _ => format!("{}d{:02}h", secs / 86400, secs % 86400 / 3600),
    }
}

/// The Unix time `secs` as `2026-11-21 04:40:40Z` (days from civil, Hinnant's algorithm).
pub(super) fn utc(secs: u64) -> String {
    let days = secs / 86400;
    let rest = secs % 86400;
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hours, minutes, seconds) = (rest / 3600, rest % 3600 / 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02} {hours:02}:{minutes:02}:{seconds:02}Z")
}

/// Wraps `text` in an SGR colour if standard output is a terminal.
pub(super) fn colour(text: &str, code: u8) -> String {
    let wanted = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    if wanted {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short_and_right() {
        assert_eq!(ago(59), "59s");
        assert_eq!(ago(250), "4m10s");
        assert_eq!(ago(7500), "2h05m");
        assert_eq!(ago(273_600), "3d04h");
        assert_eq!(utc(0), "1970-01-01 00:00:00Z");
        assert_eq!(utc(951_782_400), "2000-02-29 00:00:00Z");
        assert_eq!(utc(1_795_236_040), "2026-11-21 04:40:40Z");
    }

    fn printed(table: &Table) -> String {
        let mut out = Vec::new();
        table.print(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_is_too_wide_goes_on_below_and_long_text_is_wrapped() {
        let mut table = Table::new(&["PREFIX", "NEXT HOP", "PEER", "AS PATH", "WHY NOT"]);
        let v6 = "fd00:1111:2222:3333:4444:5555:6666:7740/122";
        let hop = "2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff";
        let path = "64512 64513 64514 64515 64516 64517 64518 i";
        let why = "not accepted: rule 3 of the filter rack-in, which takes only what is in the rack's own pool";
        table.row([v6, hop, "tor", path, why].map(str::to_owned).into());
        table.row(
            ["10.244.0.0/26", "10.0.0.2", "node-b", "i", ""]
                .map(str::to_owned)
                .into(),
        );
        assert_eq!(
            printed(&table),
            "\
PREFIX                                       NEXT HOP                                PEER
    AS PATH                           WHY NOT
fd00:1111:2222:3333:4444:5555:6666:7740/122  2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff  tor
    64512 64513 64514 64515 64516     not accepted: rule 3 of the filter rack-in, which takes only
    64517 64518 i                     what is in the rack's own pool
10.244.0.0/26                                10.0.0.2                                node-b
    i
"
        );
        assert!(
            printed(&table)
                .lines()
                .all(|line| line.chars().count() <= WIDTH)
        );
    }

    #[test]
    fn words_wider_than_a_column_are_cut() {
        assert_eq!(wrap("ab cd", 5), ["ab cd"]);
        assert_eq!(wrap("ab cd", 4), ["ab", "cd"]);
        assert_eq!(wrap("a bcdefgh i", 3), ["a", "bcd", "efg", "h i"]);
    }

    #[test]
    fn columns_line_up_and_lines_end_in_words() {
        let mut table = Table::new(&["NAME", "STATE"]);
        table.row(vec!["a-long-name".into(), "Idle".into()]);
        let mut out = Vec::new();
        table.print(&mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "NAME         STATE\na-long-name  Idle\n"
        );
    }
}
