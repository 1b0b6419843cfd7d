//! A text with a name: which byte is which line and column.
//!
//! Nothing here knows what the text says. A place is found in time that does not depend on how
//! long the lines are.

use core::ops::Range;
use std::sync::Arc;

use toml::de::DeTable;
use toml_parser::lexer::TokenKind;

use super::problem::{Place, Problems};
use super::words::Dialect;

/// A text with a name, and where its lines begin.
pub(crate) struct Source<'t> {
    name: Arc<str>,
    text: &'t str,
    lines: Vec<usize>,
    /// The characters before each `STRIDE` bytes: a file may be one long line.
    characters: Vec<usize>,
    dialect: Dialect,
}

/// What the parser may need for a TOML text; a cluster of 10,000 nodes takes a third of it.
const MAX_COST: usize = 512 << 20;
/// Bytes between two counts of characters.
const STRIDE: usize = 256;

impl<'t> Source<'t> {
    /// A TOML text.
    pub(crate) fn new(name: &Arc<str>, text: &'t str) -> Self {
        Self::of(name, text, Dialect::Toml)
    }

    /// A YAML text.
    pub(crate) fn yaml(name: &Arc<str>, text: &'t str) -> Self {
        Self::of(name, text, Dialect::Yaml)
    }

    fn of(name: &Arc<str>, text: &'t str, dialect: Dialect) -> Self {
        let newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let lines = core::iter::once(0)
            .chain(newlines.map(|(at, _)| at + 1))
            .collect();
        let characters = text.as_bytes().chunks(STRIDE).scan(0, |before, chunk| {
            let count = *before;
            *before += starts(chunk);
            Some(count)
        });
        Self {
            name: Arc::clone(name),
            text,
            lines,
            characters: characters.collect(),
            dialect,
        }
    }

    /// How its words are spelled.
    pub(crate) const fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// What is written there.
    pub(crate) const fn text(&self) -> &'t str {
        self.text
    }

    /// The byte that a character, counted from zero, starts at; the end if there are not as many.
    pub(crate) fn byte_of(&self, character: usize) -> usize {
        let chunk = self.characters.partition_point(|count| *count <= character);
        let chunk = chunk.saturating_sub(1);
        let before = self.characters.get(chunk).copied().unwrap_or(0);
        let start = chunk * STRIDE;
        let rest = self.text.as_bytes().get(start..).unwrap_or_default();
        let mut firsts = rest.iter().enumerate().filter(|(_, byte)| is_first(**byte));
        firsts
            .nth(character.saturating_sub(before))
            .map_or(self.text.len(), |(at, _)| start + at)
    }

    /// How many characters start before a byte.
    fn characters_before(&self, byte: usize) -> usize {
        let byte = byte.min(self.text.len());
        let chunk = byte / STRIDE;
        let before = self.characters.get(chunk).copied();
        let rest = self.text.as_bytes().get(chunk * STRIDE..byte);
        match before {
            Some(before) => before + starts(rest.unwrap_or_default()),
            // Right at the end of a text that fills its last stride.
            None => starts(self.text.as_bytes()),
        }
    }

    /// The file as a whole.
    pub(crate) fn whole(&self) -> Place {
        Place::whole(&self.name)
    }

    pub(crate) fn place(&self, span: &Range<usize>) -> Place {
        let line = self.lines.partition_point(|start| *start <= span.start);
        let start = line
            .checked_sub(1)
            .and_then(|i| self.lines.get(i))
            .copied()
            .unwrap_or(0);
        let column = self.characters_before(span.start) - self.characters_before(start) + 1;
        Place {
            file: Arc::clone(&self.name),
            line,
            column,
        }
    }

    /// The place of a character in a text that is written at `span`.
    ///
    /// `text` is what quotes, escapes and folded lines stand for, `offset` a byte of it.
    pub(crate) fn inside(&self, span: &Range<usize>, text: &str, offset: usize) -> Place {
        let written = self.text.get(span.clone()).unwrap_or_default();
        let at = written_at(written, text, offset).unwrap_or(0);
        let at = span.start + at;
        self.place(&(at..at))
    }

    /// Parses the text; `None` after syntax errors, which are noted.
    pub(crate) fn parse(&self, problems: &mut Problems) -> Option<DeTable<'t>> {
        if let Err(at) = cost(self.text) {
            let most = MAX_COST >> 20;
            let message = format!(
                "to read the file would take more than {most} MiB; write a part of it as YAML"
            );
            problems.error(&self.place(&(at..at)), message);
            return None;
        }
        let (table, errors) = DeTable::parse_recoverable(self.text);
        // What follows the first slip on a line is mostly noise of the recovery.
        let mut last = None;
        for error in &errors {
            let place = error
                .span()
                .map_or_else(|| self.whole(), |span| self.place(&span));
            if last != Some(place.line) {
                problems.error(&place, error.message().replace('\n', " "));
            }
            last = Some(place.line);
        }
        errors.is_empty().then(|| table.into_inner())
    }
}

/// About what the parser needs for a text, in octets; too much of it is an error, and where.
///
/// It keeps each word twice, and makes a table of each step of a dotted key: 8 MB of `a.a.a...` would take 4.5 GB.
fn cost(text: &str) -> Result<usize, usize> {
    let mut cost = 0_usize;
    for token in toml_parser::Source::new(text).lex() {
        cost += match token.kind() {
            TokenKind::Dot => 1280,
            TokenKind::Equals | TokenKind::Comma | TokenKind::LeftSquareBracket => 256,
            TokenKind::LeftCurlyBracket | TokenKind::Newline => 256,
            _ => 64,
        };
        if cost > MAX_COST {
            return Err(token.span().start());
        }
    }
    Ok(cost)
}

/// The byte of `written` that the byte `offset` of `text` comes from; `None` if the two do not go together.
fn written_at(written: &str, text: &str, offset: usize) -> Option<usize> {
    let quote = ["\"\"\"", "'''", "\"", "'"]
        .into_iter()
        .find(|quote| written.starts_with(quote))
        .unwrap_or_default();
    let escapes = quote.starts_with('"');
    let mut rest = written.get(quote.len()..)?;
    if quote.len() == 3 {
        rest = rest.strip_prefix('\r').unwrap_or(rest);
        rest = rest.strip_prefix('\n').unwrap_or(rest);
    }
    let mut before = text.char_indices().peekable();
    while let Some((at, letter)) = before.next() {
        // What a block of YAML or a folded line begins with is not part of the text.
        let stands_there = rest.starts_with(letter) || (escapes && rest.starts_with('\\'));
        if !stands_there {
            let blank = rest.trim_start();
            let folded = letter.is_whitespace() && rest.len() > blank.len();
            if !folded && !blank.starts_with(letter) {
                return None;
            }
            rest = blank;
            if folded {
                while before.next_if(|(_, next)| next.is_whitespace()).is_some() {}
                continue;
            }
        }
        if at >= offset {
            break;
        }
        let taken = match rest.as_bytes() {
            [b'\\', kind, ..] if escapes => escape_len(*kind),
            // As YAML writes a quote between such quotes; TOML has none there.
            [b'\'', b'\'', ..] if quote == "'" => 2,
            _ => letter.len_utf8(),
        };
        rest = rest.get(taken..)?;
    }
    Some(written.len() - rest.len())
}

/// How many bytes an escape has, by the letter behind its backslash.
const fn escape_len(kind: u8) -> usize {
    match kind {
        b'x' => 4,
        b'u' => 6,
        b'U' => 10,
        _ => 2,
    }
}

/// How many characters start in the bytes.
fn starts(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| is_first(**byte)).count()
}

/// Whether a byte of UTF-8 is the first of its character.
const fn is_first(byte: u8) -> bool {
    byte & 0xC0 != 0x80
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_and_bytes_agree_across_strides() {
        let name: Arc<str> = "a.yaml".into();
        for unit in ["x", "ö", "a€"] {
            let text = unit.repeat(STRIDE * 2 + 7);
            let source = Source::yaml(&name, &text);
            for (character, (byte, _)) in text.char_indices().enumerate().step_by(311) {
                assert_eq!(source.byte_of(character), byte);
                assert_eq!(source.place(&(byte..byte)).column, character + 1);
            }
            assert_eq!(source.byte_of(usize::MAX), text.len());
        }
        let text = "x".repeat(STRIDE);
        let source = Source::yaml(&name, &text);
        assert_eq!(source.place(&(STRIDE..STRIDE)).column, STRIDE + 1);
    }

    #[test]
    fn places_count_lines_and_characters_from_one() {
        let name: Arc<str> = "a.toml".into();
        let text = "x = 1\nä = \"ö\" # y\n";
        let source = Source::new(&name, text);
        assert_eq!(source.place(&(0..1)).to_string(), "a.toml:1:1");
        let hash = text.find('#').unwrap();
        assert_eq!(source.place(&(hash..hash + 1)).to_string(), "a.toml:2:9");
        assert_eq!(source.whole().to_string(), "a.toml");
        assert_eq!(
            source.place(&(999..1000)).line,
            3,
            "past the end is the last line"
        );
    }

    #[test]
    fn a_text_that_takes_too_much_memory_is_refused_before_it_is_parsed() {
        let name: Arc<str> = "a.toml".into();
        let refused = |text: &str| {
            let mut problems = Problems::default();
            assert!(Source::new(&name, text).parse(&mut problems).is_none());
            problems.to_string()
        };
        for unit in ["k.a.a.a.a.a.a.a = 1\n", "x\n", "=", "[", "a = [{}]\n", "1,"] {
            let said = refused(&unit.repeat((8 << 20) / unit.len()));
            assert!(said.starts_with("a.toml:"), "{unit:?}: {said}");
            assert!(
                said.contains("would take more than 512 MiB"),
                "{unit:?}: {said}"
            );
            assert_eq!(said.lines().count(), 1);
        }
        // A thousand nodes with long lists.
        let node = "[[node]]\nname = \"a\"\nblocks = [\"10.1.0.0/26\", \"10.1.0.0/26\"]\nlabels.rack = \"1\"\n";
        assert!(cost(&node.repeat(1000)) < Ok(MAX_COST / 50));
        let deep = format!("a = {}1{}", "[".repeat(100), "]".repeat(100));
        assert!(refused(&deep).contains("recursion depth"));
    }
}
