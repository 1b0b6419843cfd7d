//! Walking a parsed TOML table by a list of keys, with the place of everything.
//!
//! One vocabulary: the fields of Calico's resources in kebab-case. Their camelCase is the same
//! word by rule (`asNumber`, `peerIP`, `localASNumber`), so both are read. A key that is not on
//! the list is an error in TOML and a warning in YAML, and names the nearest one that is.
//! YAML's resources come as the same tables, so all of this holds for them, too.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Place, Problems, Severity};
use super::scalar::{Fault, found};
use super::schema::is_default;
use super::source::Source;
use super::words::{Dialect, kebab};
use crate::topology::nearest;

/// Octets of a text: a selector, a list in one text, a pattern. Names and labels are far shorter.
const LONGEST_TEXT: usize = 16 * 1024;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Located<T> {
    pub(crate) value: T,
    pub(crate) place: Place,
}

/// What a table may hold.
pub(crate) struct Schema {
    /// How people know the table: `[bgp]`, `[[node]]`.
    pub(crate) label: &'static str,
    /// The keys that are read.
    pub(crate) keys: &'static [&'static str],
    /// Keys of the vocabulary that change what is routed but that this version can't honour.
    pub(crate) unsupported: &'static [&'static str],
    /// Keys of the vocabulary that are none of dunlin's business.
    pub(crate) ignored: &'static [&'static str],
}

/// One table, read key by key.
pub(crate) struct TableReader<'a> {
    source: &'a Source<'a>,
    schema: &'static Schema,
    place: Place,
    values: BTreeMap<String, (Place, &'a Spanned<DeValue<'a>>)>,
}

/// The tables of an array.
pub(crate) struct Tables<'a> {
    pub(crate) readers: Vec<TableReader<'a>>,
    /// Whether nothing but tables was there.
    pub(crate) complete: bool,
}

impl<T> Located<T> {
    /// Another value at the same place.
    pub(crate) fn map<U>(self, f: impl FnOnce(T) -> U) -> Located<U> {
        Located {
            value: f(self.value),
            place: self.place,
        }
    }
}

impl<'a> TableReader<'a> {
    /// Notes every key that `schema` does not know, and every one that stands there twice.
    pub(crate) fn new(
        source: &'a Source<'a>,
        schema: &'static Schema,
        place: Place,
        table: &'a DeTable<'a>,
        problems: &mut Problems,
    ) -> Self {
        let mut values = BTreeMap::new();
        // The table is sorted by key; what stands first in the file is the first of duplicates.
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in entries {
            let at = source.place(&key.span());
            let written: &str = key.get_ref();
            let word = kebab(written);
            if !schema.admits(
                (written, &word),
                value.get_ref(),
                source.dialect(),
                &at,
                problems,
            ) {
                continue;
            }
            if let Some((first, _)) = values.insert(word, (at.clone(), value)) {
                let label = source.dialect().label(schema);
                problems.error(
                    &at,
                    format!("{written:?} in {label} is already set at {first}, in other letters"),
                );
            }
        }
        Self {
            source,
            schema,
            place,
            values,
        }
    }

    /// How people know the table.
    pub(crate) fn label(&self) -> &'static str {
        self.source.dialect().label(self.schema)
    }

    /// How the key is written there.
    pub(crate) fn word(&self, key: &str) -> String {
        self.source.dialect().word(key)
    }

    /// Where the table begins.
    pub(crate) const fn place(&self) -> &Place {
        &self.place
    }

    /// The value of `key`; `None` if it is not there, or is wrong, which is noted.
    pub(crate) fn read<T>(
        &self,
        key: &'static str,
        decode: impl FnOnce(&DeValue<'_>) -> Result<T, Fault>,
        problems: &mut Problems,
    ) -> Option<Located<T>> {
        debug_assert!(
            self.schema.keys.contains(&key),
            "{key} is not in the schema"
        );
        let (_, value) = self.values.get(key)?;
        let place = self.source.place(&value.span());
        match short(value.get_ref()).and_then(decode) {
            Ok(value) => Some(Located { value, place }),
            Err(fault) => {
                let (key, label) = (self.word(key), self.label());
                let place = match (&fault, value.get_ref().as_str()) {
                    (Fault::Inside { offset, .. }, Some(text)) => {
                        self.source.inside(&value.span(), text, *offset)
                    }
                    _ => place,
                };
                problems.error(&place, format!("{key:?} in {label}: {fault}"));
                None
            }
        }
    }

    /// Like `read`, for a key that has to be there.
    pub(crate) fn require<T>(
        &self,
        key: &'static str,
        decode: impl FnOnce(&DeValue<'_>) -> Result<T, Fault>,
        problems: &mut Problems,
    ) -> Option<Located<T>> {
        if !self.has(key) {
            let (key, label) = (self.word(key), self.label());
            problems.error(&self.place, format!("{label} needs {key:?}"));
        }
        self.read(key, decode, problems)
    }

    /// Whether the key is there, right or wrong.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    /// Whether the key is there, and its value is a table.
    pub(crate) fn has_table(&self, key: &str) -> bool {
        let value = self.values.get(key).map(|(_, value)| value.get_ref());
        matches!(value, Some(DeValue::Table(_)))
    }

    /// Where the key stands.
    pub(crate) fn key_place(&self, key: &str) -> Place {
        self.values
            .get(key)
            .map_or_else(|| self.place.clone(), |(place, _)| place.clone())
    }

    /// The elements of an array, each with its place; those that are wrong are noted and left out.
    pub(crate) fn read_list<T>(
        &self,
        key: &'static str,
        decode: impl Fn(&DeValue<'_>) -> Result<T, Fault>,
        problems: &mut Problems,
    ) -> Option<Vec<Located<T>>> {
        let (_, value) = self.values.get(key)?;
        let (key, label) = (self.word(key), self.label());
        let DeValue::Array(items) = value.get_ref() else {
            let message = format!(
                "{key:?} in {label}: expected an array, found {}",
                found(value)
            );
            problems.error(&self.source.place(&value.span()), message);
            return None;
        };
        let mut list = Vec::new();
        for item in items.iter() {
            let place = self.source.place(&item.span());
            match short(item.get_ref()).and_then(&decode) {
                Ok(value) => list.push(Located { value, place }),
                Err(fault) => problems.error(&place, format!("{key:?} in {label}: {fault}")),
            }
        }
        Some(list)
    }

    /// A table inside, such as `[bgp]` in the file.
    pub(crate) fn table(
        &self,
        key: &'static str,
        schema: &'static Schema,
        problems: &mut Problems,
    ) -> Option<Self> {
        let (_, value) = self.values.get(key)?;
        let place = self.source.place(&value.span());
        if let DeValue::Table(table) = value.get_ref() {
            return Some(TableReader::new(
                self.source,
                schema,
                place,
                table,
                problems,
            ));
        }
        let label = self.source.dialect().label(schema);
        problems.error(
            &place,
            format!("expected a table {label}, found {}", found(value)),
        );
        None
    }

    /// The tables of an array such as `[[node]]`; what is no table is noted.
    pub(crate) fn tables(
        &self,
        key: &'static str,
        schema: &'static Schema,
        problems: &mut Problems,
    ) -> Tables<'a> {
        let mut tables = Tables {
            readers: Vec::new(),
            complete: true,
        };
        let Some((_, value)) = self.values.get(key) else {
            return tables;
        };
        let label = self.source.dialect().label(schema);
        let DeValue::Array(items) = value.get_ref() else {
            let place = self.source.place(&value.span());
            let hint = match value.get_ref() {
                DeValue::Table(_) => "; there can be many, so it takes two brackets",
                _ => "",
            };
            problems.error(
                &place,
                format!("expected {label}, found {}{hint}", found(value)),
            );
            return Tables {
                complete: false,
                ..tables
            };
        };
        for item in items.iter() {
            let place = self.source.place(&item.span());
            if let DeValue::Table(table) = item.get_ref() {
                let reader = TableReader::new(self.source, schema, place, table, problems);
                tables.readers.push(reader);
            } else {
                problems.error(&place, format!("expected {label}, found {}", found(item)));
                tables.complete = false;
            }
        }
        tables
    }
}

/// The value, if no text of it is longer than one can be.
fn short<'v, 't>(value: &'v DeValue<'t>) -> Result<&'v DeValue<'t>, Fault> {
    if longest(value) > LONGEST_TEXT {
        let message = format!("a text of more than {LONGEST_TEXT} octets");
        return Err(Fault::Wrong(message));
    }
    Ok(value)
}

/// The octets of the longest text within; how deep values nest is bounded by who parses.
fn longest(value: &DeValue<'_>) -> usize {
    let of = |value: &Spanned<DeValue<'_>>| longest(value.get_ref());
    match value {
        DeValue::String(text) => text.len(),
        DeValue::Array(items) => items.iter().map(of).max().unwrap_or(0),
        DeValue::Table(table) => {
            let all = table.iter();
            all.map(|(key, value)| key.get_ref().len().max(of(value)))
                .max()
                .unwrap_or(0)
        }
        _ => 0,
    }
}

impl Schema {
    fn admits(
        &self,
        (written, word): (&str, &str),
        value: &DeValue<'_>,
        dialect: Dialect,
        at: &Place,
        problems: &mut Problems,
    ) -> bool {
        if self.keys.contains(&word) {
            return true;
        }
        let label = dialect.label(self);
        let severity = match dialect {
            Dialect::Toml => Severity::Error,
            Dialect::Yaml => Severity::Warning,
        };
        if self.unsupported.contains(&word) {
            if is_default(word, value) {
                return false;
            }
            problems.error(
                at,
                format!("{written:?} in {label} is not supported in this version"),
            );
        } else if !self.ignored.contains(&word) && problems.only_counts(severity) {
            // What was meant takes long to find.
            match severity {
                Severity::Error => problems.error(at, ""),
                Severity::Warning => problems.warning(at, ""),
            }
        } else if !self.ignored.contains(&word) {
            let near = nearest(word, self.keys.iter().copied()).map(|key| dialect.word(key));
            let hint = match (near, dialect) {
                (Some(key), _) => format!("; did you mean {key:?}?"),
                (None, Dialect::Toml) => format!("; it may have {}", self.keys.join(", ")),
                (None, Dialect::Yaml) => String::new(),
            };
            match dialect {
                Dialect::Toml => {
                    problems.error(at, format!("unknown key {written:?} in {label}{hint}"));
                }
                Dialect::Yaml => {
                    let message = format!("{written:?} in {label} is not known here{hint}");
                    problems.warning(at, message);
                }
            }
        }
        false
    }
}
