//! From text to a tree of values, each with its bytes in the text.
//!
//! Bounded in depth, in the memory of the values, in what aliases may repeat and in what the scanner looks
//! ahead; beyond a bound it is an error like any other. It knows YAML's core schema and nothing about resources.

use core::cell::Cell;
use core::ops::Range;
use core::str::Chars;
use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};

use super::entries::Entries;
use crate::datastore::source::Source;

/// Octets that anchors and aliases may copy, in texts and keys.
const MAX_COPIED: usize = 4 << 20;
/// Values inside values.
const MAX_DEPTH: usize = 64;
/// Octets of memory for the values of a file, about. A cluster of 5,000 nodes with all their IPAM blocks has about
/// two million values.
const MAX_MEMORY: usize = 768 << 20;
/// What a value takes beside its text, and what a key takes with its share of the mapping.
const VALUE: usize = 96;
const KEY: usize = 192;
/// Keys of one mapping.
const MAX_KEYS: usize = 65_536;
/// Signs of structure between two events: the scanner keeps all of a list or mapping in brackets until it has
/// seen whether it is a key, some 400 octets for each of these.
const MAX_AHEAD: usize = 1_000_000;
/// Values that anchors and aliases may copy.
const MAX_COPIES: usize = 100_000;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) span: Range<usize>,
}

/// A value of YAML's core schema.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Boolean(bool),
    /// As it is written, in decimal.
    Integer(String),
    /// As it is written.
    Float(String),
    Text(String),
    Sequence(Vec<Node>),
    Mapping(Entries),
}

/// What is wrong with a text, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Malformed {
    pub(crate) span: Range<usize>,
    message: String,
}

impl Node {
    /// The text, if it is one.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The entries, if it is a mapping.
    pub(crate) const fn entries(&self) -> Option<&Entries> {
        match &self.value {
            Value::Mapping(entries) => Some(entries),
            _ => None,
        }
    }

    /// The value of a key, if it is a mapping that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        self.entries()?.get(key).map(|(_, node)| node)
    }

    /// The value in the words of an error message.
    pub(crate) const fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Boolean(_) => "true or false",
            Value::Integer(_) | Value::Float(_) => "a number",
            Value::Text(_) => "a text",
            Value::Sequence(_) => "a list",
            Value::Mapping(_) => "a mapping",
        }
    }

    /// The octets of its own text.
    const fn octets(&self) -> usize {
        match &self.value {
            Value::Integer(text) | Value::Float(text) | Value::Text(text) => text.len(),
            Value::Null | Value::Boolean(_) | Value::Sequence(_) | Value::Mapping(_) => 0,
        }
    }

    /// How many values it is, and how many octets of text.
    fn size(&self) -> (usize, usize) {
        let add = |(values, octets): (usize, usize), (more, others): (usize, usize)| {
            (values + more, octets + others)
        };
        match &self.value {
            Value::Sequence(items) => items.iter().map(Self::size).fold((1, 0), add),
            Value::Mapping(entries) => {
                let all = entries.iter();
                all.map(|(key, (_, node))| add(node.size(), (0, key.len())))
                    .fold((1, 0), add)
            }
            _ => (1, self.octets()),
        }
    }
}

/// The documents of a text.
pub(crate) fn parse(source: &Source<'_>) -> Result<Vec<Node>, Malformed> {
    parse_within(source, MAX_AHEAD)
}

fn parse_within(source: &Source<'_>, most: usize) -> Result<Vec<Node>, Malformed> {
    let mut builder = Builder::default();
    let ahead = Cell::new(0);
    let mut parser = Parser::new_from_iter(Watched {
        letters: source.text().chars(),
        ahead: &ahead,
        most,
    });
    while let Some(event) = parser.next_event() {
        if ahead.replace(0) > most {
            let at = builder.last..builder.last;
            let message = format!(
                "a list or mapping in brackets with more than {most} signs: write it in lines (`calicoctl get -o yaml`)"
            );
            return Err(malformed(at, message));
        }
        let (event, span) = event.map_err(|error| {
            let at = source.byte_of(error.marker().index());
            malformed(at..at, error.info().replace('\n', " "))
        })?;
        let span = bytes(source, &span);
        builder.last = span.end;
        builder.take(event, span)?;
    }
    Ok(builder.documents)
}

/// The letters of a text, which end early where the scanner looks too far ahead.
struct Watched<'t, 'a> {
    letters: Chars<'t>,
    /// Signs of structure since this was last set to zero.
    ahead: &'a Cell<usize>,
    most: usize,
}

impl Iterator for Watched<'_, '_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        if self.ahead.get() > self.most {
            return None;
        }
        let letter = self.letters.next()?;
        if matches!(letter, ',' | ':' | '[' | ']' | '{' | '}' | '?') {
            self.ahead.set(self.ahead.get() + 1);
        }
        Some(letter)
    }
}

fn bytes(source: &Source<'_>, span: &Span) -> Range<usize> {
    let start = source.byte_of(span.start.index());
    start..source.byte_of(span.end.index()).max(start)
}

fn malformed(span: Range<usize>, message: impl Into<String>) -> Malformed {
    Malformed {
        span,
        message: message.into(),
    }
}

/// A collection that is not complete.
struct Open {
    anchor: usize,
    start: Range<usize>,
    inside: Inside,
}

enum Inside {
    Sequence(Vec<Node>),
    Mapping(Unsorted, Option<(String, Range<usize>)>),
}

/// The entries of a mapping that is not complete.
type Unsorted = Vec<(String, (Range<usize>, Node))>;

#[derive(Default)]
struct Builder {
    documents: Vec<Node>,
    open: Vec<Open>,
    anchors: BTreeMap<usize, Node>,
    /// Octets of memory, about.
    memory: usize,
    copied: Copied,
    /// Where the last event ended.
    last: usize,
}

/// What anchors and aliases have copied so far.
#[derive(Default)]
struct Copied {
    values: usize,
    octets: usize,
}

impl Copied {
    fn count(&mut self, node: &Node, at: &Range<usize>) -> Result<(), Malformed> {
        let (values, octets) = node.size();
        self.values = self.values.saturating_add(values);
        self.octets = self.octets.saturating_add(octets);
        if self.values > MAX_COPIES {
            let message = format!("anchors and aliases repeat more than {MAX_COPIES} values");
            return Err(malformed(at.clone(), message));
        }
        if self.octets > MAX_COPIED {
            let most = MAX_COPIED >> 20;
            let message = format!("anchors and aliases repeat more than {most} MiB of text");
            return Err(malformed(at.clone(), message));
        }
        Ok(())
    }
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Range<usize>) -> Result<(), Malformed> {
        match event {
            Event::DocumentStart(_) => self.anchors.clear(),
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor) else {
                    return Err(malformed(span, "this alias is inside what it stands for"));
                };
                // Before there is a copy.
                self.copied.count(node, &span)?;
                let (values, octets) = node.size();
                self.memory += values * VALUE + octets;
                let copy = node.clone();
                self.add(copy)?;
            }
            Event::Scalar(text, style, anchor, tag) => {
                let value = scalar(&text, style, tag.as_deref());
                self.complete(Node { value, span }, anchor)?;
            }
            Event::SequenceStart(anchor, _) => {
                self.start(anchor, span, Inside::Sequence(Vec::new()))?;
            }
            Event::MappingStart(anchor, _) => {
                self.start(anchor, span, Inside::Mapping(Unsorted::new(), None))?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(span)?,
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        Ok(())
    }

    fn start(
        &mut self,
        anchor: usize,
        start: Range<usize>,
        inside: Inside,
    ) -> Result<(), Malformed> {
        if self.open.len() >= MAX_DEPTH {
            let message = format!("values are nested more than {MAX_DEPTH} deep");
            return Err(malformed(start, message));
        }
        self.open.push(Open {
            anchor,
            start,
            inside,
        });
        Ok(())
    }

    fn end(&mut self, end: Range<usize>) -> Result<(), Malformed> {
        let Some(open) = self.open.pop() else {
            return Ok(());
        };
        let value = match open.inside {
            Inside::Sequence(mut items) => {
                items.shrink_to_fit();
                Value::Sequence(items)
            }
            Inside::Mapping(entries, _) => {
                let twice = |(key, at)| malformed(at, format!("the key {key:?} is there already"));
                Value::Mapping(Entries::of(entries).map_err(twice)?)
            }
        };
        let span = open.start.start..end.end.max(open.start.end);
        self.complete(Node { value, span }, open.anchor)
    }

    fn complete(&mut self, node: Node, anchor: usize) -> Result<(), Malformed> {
        // Anchors are numbered from 1.
        if anchor > 0 {
            self.copied.count(&node, &node.span)?;
            self.anchors.insert(anchor, node.clone());
        }
        self.add(node)
    }

    /// Puts a complete value where it belongs.
    fn add(&mut self, node: Node) -> Result<(), Malformed> {
        self.memory += VALUE + node.octets();
        if self.memory > MAX_MEMORY {
            let most = MAX_MEMORY >> 20;
            let message =
                format!("the values of the file up to here take more than {most} MiB of memory");
            return Err(malformed(node.span, message));
        }
        match self.open.last_mut().map(|open| &mut open.inside) {
            None => self.documents.push(node),
            Some(Inside::Sequence(items)) => items.push(node),
            Some(Inside::Mapping(entries, key)) => match key.take() {
                None => {
                    self.memory += KEY;
                    *key = Some(key_of(node, entries.len())?);
                }
                Some((name, at)) => {
                    entries.push((name, (at, node)));
                }
            },
        }
        Ok(())
    }
}

/// The value as a key of a mapping that has so many.
fn key_of(node: Node, keys: usize) -> Result<(String, Range<usize>), Malformed> {
    if keys >= MAX_KEYS {
        let message = format!("a mapping with more than {MAX_KEYS} keys");
        return Err(malformed(node.span, message));
    }
    let found = node.kind();
    let key = match node.value {
        Value::Text(text) | Value::Integer(text) | Value::Float(text) => text,
        Value::Boolean(value) => value.to_string(),
        Value::Null | Value::Sequence(_) | Value::Mapping(_) => {
            return Err(malformed(
                node.span,
                format!("expected a key, found {found}"),
            ));
        }
    };
    if key == "<<" {
        let message = "merge keys (\"<<\") are not read; write the fields out";
        return Err(malformed(node.span, message));
    }
    Ok((key, node.span))
}

/// What a scalar is by YAML's core schema (YAML 1.2.2 §10.3).
fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Value {
    let is_text = tag.is_some_and(|tag| tag.is_yaml_core_schema() && tag.suffix == "str");
    if style != ScalarStyle::Plain || is_text {
        return Value::Text(text.to_owned());
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Boolean(true),
        "false" | "False" | "FALSE" => return Value::Boolean(false),
        _ => {}
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !unsigned.is_empty() && digits(unsigned) {
        let number = unsigned.trim_start_matches('0');
        let number = if number.is_empty() { "0" } else { number };
        let minus = if text.starts_with('-') { "-" } else { "" };
        return Value::Integer(format!("{minus}{number}"));
    }
    match unsigned.split_once('.') {
        Some((whole, part))
            if !whole.is_empty() && !part.is_empty() && digits(whole) && digits(part) =>
        {
            Value::Float(text.to_owned())
        }
        _ => Value::Text(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Node>, String> {
        let source = Source::yaml(&"a.yaml".into(), text);
        parse(&source).map_err(|e| format!("{} {e}", source.place(&e.span)))
    }

    #[test]
    fn scalars_are_what_the_core_schema_says() {
        let values: Vec<Value> = read("[~, yes, 012, -0, 1.10, '1', !!str 2, 1e3, True, 0x1f]")
            .unwrap()
            .into_iter()
            .flat_map(|node| match node.value {
                Value::Sequence(items) => items,
                _ => Vec::new(),
            })
            .map(|node| node.value)
            .collect();
        let text = |text: &str| Value::Text(text.to_owned());
        assert_eq!(
            values,
            [
                Value::Null,
                text("yes"),
                Value::Integer("12".to_owned()),
                Value::Integer("-0".to_owned()),
                Value::Float("1.10".to_owned()),
                text("1"),
                text("2"),
                text("1e3"),
                Value::Boolean(true),
                text("0x1f"),
            ]
        );
    }

    #[test]
    fn places_are_right_behind_letters_of_many_bytes() {
        let text = "ä: öü\n---\n- \"ö\": [ä, x]\n";
        let documents = read(text).unwrap();
        let item = match &documents[1].value {
            Value::Sequence(items) => &items[0],
            other => panic!("{other:?}"),
        };
        let list = item.get("ö").unwrap();
        assert_eq!(text.get(list.span.clone()), Some("[ä, x]"));
    }

    #[test]
    fn aliases_are_copies_up_to_a_limit() {
        let documents = read("a: &x [1, 2]\nb: *x\n").unwrap();
        let get = |key| documents[0].get(key).unwrap().value.clone();
        assert_eq!(get("a"), get("b"));
        let mut bomb = "a0: &a0 [1,2,3,4,5,6,7,8,9]\n".to_owned();
        for level in 1..40 {
            let before = level - 1;
            bomb.push_str(&format!(
                "a{level}: &a{level} [*a{before},*a{before},*a{before},*a{before}]\n"
            ));
        }
        let error = read(&bomb).unwrap_err();
        assert!(error.contains("repeat more than 100000 values"), "{error}");
        // Few values, and much text: 300 kB that stand for 3 GB.
        for text in [
            "x".repeat(300_000),
            format!("{{{}: 1}}", "k".repeat(250_000)),
        ] {
            let bomb = format!("a: &a {text}\nb: [{}]\n", "*a,".repeat(10_000));
            let error = read(&bomb).unwrap_err();
            assert!(error.contains("repeat more than 4 MiB of text"), "{error}");
        }
        assert!(read("a: &a [*a]").is_err(), "a circle");
        assert!(read("--- &a 1\n--- *a\n").is_err(), "of another document");
    }

    #[test]
    fn lists_in_brackets_are_as_long_as_the_scanner_has_room_for() {
        const MOST: usize = 1000;
        let json = |n: usize| format!("{{\n \"items\": [{}1]\n}}", "1,".repeat(n));
        let count = |text: &str| {
            let read = parse_within(&Source::yaml(&"a.yaml".into(), text), MOST);
            read.map(|documents| documents.len())
        };
        assert_eq!(count(&json(MOST - 10)), Ok(1));
        for text in [
            json(MOST),
            format!("a: 1\nb:\n  {}", json(MOST)),
            format!("- {}", json(MOST)),
            "[".repeat(9) + &"a: b,".repeat(MOST),
        ] {
            let error = count(&text).unwrap_err().to_string();
            assert!(error.contains("more than 1000 signs"), "{error}");
        }
        // What can be no key is not looked through, and in lines there is nothing to look ahead for.
        assert_eq!(count(&format!("a: {}", json(MOST))), Ok(1));
        assert_eq!(count(&"- 1\n".repeat(MOST + 1)), Ok(1));
    }

    #[test]
    fn values_and_keys_are_as_many_as_there_is_memory_for() {
        let mut builder = Builder {
            memory: MAX_MEMORY - VALUE,
            ..Builder::default()
        };
        let event = || Event::Scalar("x".into(), ScalarStyle::Plain, 0, None);
        let error = builder.take(event(), 0..1).unwrap_err();
        assert!(
            error.to_string().contains("take more than 768 MiB"),
            "{error}"
        );
        let many: String = (0..=MAX_KEYS).map(|n| format!("k{n}: 1\n")).collect();
        let error = read(&many).unwrap_err();
        assert_eq!(error, "a.yaml:65537:1 a mapping with more than 65536 keys");
    }

    #[test]
    fn what_is_malformed_is_refused_with_its_place() {
        for (text, expected) in [
            (
                "a: 1\nb: 2\na: 3\n",
                "a.yaml:3:1 the key \"a\" is there already",
            ),
            ("a: 1\n[1]: 2\n", "a.yaml:2:1 expected a key, found a list"),
            (
                "a: {<<: {b: 1}}\n",
                "a.yaml:1:5 merge keys (\"<<\") are not read; write the fields out",
            ),
        ] {
            assert_eq!(read(text).unwrap_err(), expected);
        }
        assert!(read("a: [b, c").is_err());
        for deep in ["- ", "? ", "[", "{a: "] {
            let error = read(&deep.repeat(100_000)).unwrap_err();
            assert!(
                error.contains("nested") || error.contains("recursion"),
                "{error}"
            );
        }
    }
}
