//! What is wrong with a text, and where: one line each, all of them at once.
//!
//! What always holds: however much is wrong, so many are kept with words of so many octets, and the others are
//! counted. Errors and warnings have room of their own, so that neither hides the other.

use core::fmt;
use std::sync::Arc;

/// Problems of one severity that are kept; the others are counted.
const MOST_PROBLEMS: usize = 500;
/// Octets of a problem's words; a longer one is cut.
const LONGEST_MESSAGE: usize = 1024;

/// A place in a file. Line and column count from 1, in characters; line 0 is the whole file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file, as it was named to us.
    pub file: Arc<str>,
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// Whether one can go on in spite of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The text can't be used.
    Error,
    /// The text is used; something in it does not do what it seems to.
    Warning,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// How bad.
    pub severity: Severity,
    /// What, what was expected, and what was probably meant. One line, no full stop.
    pub message: String,
}

/// All that is wrong, in the order of files and lines.
#[derive(Debug, Clone, PartialEq, Eq, Default, thiserror::Error)]
pub struct Problems {
    kept: Vec<Problem>,
    errors: Count,
    warnings: Count,
}

/// How many there are of a severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Count {
    kept: usize,
    more: usize,
}

impl Place {
    /// A file as a whole.
    pub fn whole(file: &Arc<str>) -> Self {
        Self {
            file: Arc::clone(file),
            line: 0,
            column: 0,
        }
    }
}

impl Problems {
    /// Notes an error.
    pub fn error(&mut self, place: &Place, message: impl Into<String>) {
        self.push(place, Severity::Error, message.into());
    }

    /// Notes a warning.
    pub fn warning(&mut self, place: &Place, message: impl Into<String>) {
        self.push(place, Severity::Warning, message.into());
    }

    /// Takes over what another reading found.
    pub fn append(&mut self, other: Self) {
        self.errors.more += other.errors.more;
        self.warnings.more += other.warnings.more;
        for problem in other.kept {
            self.keep(problem);
        }
    }

    /// Whether something in here forbids to use the text.
    pub fn has_errors(&self) -> bool {
        self.errors.all() > 0
    }

    /// Whether there is nothing at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many there are, those that are only counted among them.
    pub fn len(&self) -> usize {
        self.errors.all() + self.warnings.all()
    }

    /// Whether another one would only be counted: its words need not be found.
    pub fn only_counts(&self, severity: Severity) -> bool {
        let count = match severity {
            Severity::Error => self.errors,
            Severity::Warning => self.warnings,
        };
        count.kept >= MOST_PROBLEMS
    }

    /// Those that are kept, one after the other.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.kept.iter()
    }

    /// What is to be said of those that are not kept, if there are any.
    pub fn more(&self) -> impl Iterator<Item = (Severity, String)> {
        let errors = (Severity::Error, "error", self.errors.more);
        let warnings = (Severity::Warning, "warning", self.warnings.more);
        let counted = [errors, warnings]
            .into_iter()
            .filter(|(.., more)| *more > 0);
        counted.map(|(severity, word, more)| {
            let plural = if more == 1 { "" } else { "s" };
            (severity, format!("and {more} more {word}{plural}"))
        })
    }

    /// In the order of files and lines, each once.
    #[must_use]
    pub fn sorted(mut self) -> Self {
        self.kept.sort();
        self.kept.dedup();
        let is_error = |problem: &&Problem| problem.severity == Severity::Error;
        self.errors.kept = self.kept.iter().filter(is_error).count();
        self.warnings.kept = self.kept.len() - self.errors.kept;
        self
    }

    fn push(&mut self, place: &Place, severity: Severity, mut message: String) {
        if message.len() > LONGEST_MESSAGE {
            let end = (0..=LONGEST_MESSAGE).rev();
            let end = end.into_iter().find(|end| message.is_char_boundary(*end));
            message.truncate(end.unwrap_or(0));
            message.push('…');
            message.shrink_to_fit();
        }
        self.keep(Problem {
            place: place.clone(),
            severity,
            message,
        });
    }

    fn keep(&mut self, problem: Problem) {
        let full = self.only_counts(problem.severity);
        let count = match problem.severity {
            Severity::Error => &mut self.errors,
            Severity::Warning => &mut self.warnings,
        };
        if full {
            count.more += 1;
        } else {
            count.kept += 1;
            self.kept.push(problem);
        }
    }
}

impl Count {
    const fn all(self) -> usize {
        self.kept + self.more
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)
        } else {
            Ok(())
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.severity {
            Severity::Error => "",
            Severity::Warning => "warning: ",
        };
        write!(f, "{}: {kind}{}", self.place, self.message)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self.kept.iter().map(ToString::to_string);
        let more = self.more().map(|(_, words)| words);
        for (i, line) in lines.chain(more).enumerate() {
            let newline = if i > 0 { "\n" } else { "" };
            write!(f, "{newline}{line}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_faults_are_so_many_and_a_count() {
        let place = Place::whole(&"a.toml".into());
        let mut problems = Problems::default();
        for line in 0..1_000_000 {
            let place = Place {
                line,
                ..place.clone()
            };
            problems.warning(&place, "odd");
        }
        problems.error(&place, "ä".repeat(LONGEST_MESSAGE));
        assert_eq!(problems.len(), 1_000_001);
        assert!(problems.has_errors(), "warnings hide no error");
        let mut all = Problems::default();
        all.append(problems.clone());
        all.append(problems);
        let all = all.sorted();
        assert_eq!(all.iter().count(), MOST_PROBLEMS + 1);
        let said = all.to_string();
        assert!(said.ends_with(&format!(
            "\nand {} more warnings",
            2_000_000 - MOST_PROBLEMS
        )));
        let longest = said.lines().map(str::len).max();
        assert!(longest < Some(LONGEST_MESSAGE + 20), "{longest:?}");
    }
}
