//! Selectors over labels, in Calico's words.
//!
//! ```text
//! all()   global()   has(k)   k == 'v'   k != 'v'   k in {'a', 'b'}   k not in {'a'}
//! k contains 'v'   k starts with 'v'   k ends with 'v'   !x   x && y   x || y   (x)
//! ```
//!
//! `&&` binds tighter than `||`, `!` tighter than both. As in Calico, `!=` and `not in` hold for a
//! node that has no such label, the other comparisons do not. It is no general expression language: no
//! arithmetic, no functions of values, and a value in quotes has no escapes. What always holds: an
//! error is at the first character that can't be right, and says what could stand there.

mod grammar;

use core::fmt;
use std::collections::{BTreeMap, BTreeSet};

/// A parsed selector; prints as the text that it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    text: String,
    term: Term,
}

/// A text that is no selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SelectorError {
    /// What was expected, what stands there, and what was probably meant.
    pub message: String,
    /// Where it stands, in bytes.
    pub offset: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Term {
    All,
    Has(String),
    Equals(String, String),
    In(String, BTreeSet<String>),
    Contains(String, String),
    StartsWith(String, String),
    EndsWith(String, String),
    Not(Box<Self>),
    And(Vec<Self>),
    Or(Vec<Self>),
}

impl Selector {
    /// Reads a selector; an empty text selects all, as in Calico.
    ///
    /// # Errors
    /// The text is none; the error says where and why.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let term = if text.trim().is_empty() {
            Term::All
        } else {
            grammar::read(text)?
        };
        Ok(Self {
            text: text.to_owned(),
            term,
        })
    }

    /// The octets of its text, which the time of a match grows with.
    pub const fn len(&self) -> usize {
        self.text.len()
    }

    /// Whether it has no text, and selects all.
    pub const fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Whether labels match.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.term.matches(labels)
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Term {
    fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = |key: &String, test: &dyn Fn(&str) -> bool| {
            labels.get(key).is_some_and(|value| test(value.as_str()))
        };
        match self {
            Self::All => true,
            Self::Has(key) => labels.contains_key(key),
            Self::Equals(key, wanted) => value(key, &|v| v == wanted),
            Self::In(key, wanted) => value(key, &|v| wanted.contains(v)),
            Self::Contains(key, part) => value(key, &|v| v.contains(part.as_str())),
            Self::StartsWith(key, part) => value(key, &|v| v.starts_with(part.as_str())),
            Self::EndsWith(key, part) => value(key, &|v| v.ends_with(part.as_str())),
            Self::Not(inner) => !inner.matches(labels),
            Self::And(terms) => terms.iter().all(|term| term.matches(labels)),
            Self::Or(terms) => terms.iter().any(|term| term.matches(labels)),
        }
    }
}
