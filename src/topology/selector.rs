//! Selectors over labels, in Calico's words.
//!
//! ```text
//! all()   global()   has(k)   k == 'v'   k != 'v'   k in {'a', 'b'}   k not in {'a'}
//! k contains 'v'   k starts with 'v'   k ends with 'v'   !x   x && y   x || y   (x)
//! ```
//!
//! `&&` binds tighter than `||`. As in Calico, `!=` and `not in` hold for a node that has no
//! such label. It is no general expression language: no arithmetic, no functions of values.

use core::fmt;
use std::collections::{BTreeMap, BTreeSet};

use nom::branch::alt;
use nom::bytes::complete::{tag, take_while, take_while1};
use nom::character::complete::{char, multispace0, multispace1};
use nom::combinator::map;
use nom::multi::{separated_list0, separated_list1};
use nom::sequence::{delimited, preceded, terminated};
use nom::{Finish, IResult, Parser};

/// A parsed selector; prints as the text that it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    text: String,
    term: Term,
}

/// A text that is no selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "no selector from {rest:?} on; expected terms such as all(), has(rack), rack == 'a', \
     rack != 'a' or rack in {{'a', 'b'}}, joined by && and ||"
)]
pub struct SelectorError {
    /// What could not be read.
    pub rest: String,
    /// Where that begins, in bytes.
    pub offset: usize,
}

/// How deep parentheses and negations may nest; a file must not overflow the stack.
const MAX_DEPTH: usize = 32;

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
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let at = |rest: &str| SelectorError {
            rest: rest.to_owned(),
            offset: text.len().saturating_sub(rest.len()),
        };
        if text.trim().is_empty() {
            return Ok(Self {
                text: text.to_owned(),
                term: Term::All,
            });
        }
        let read = terminated(or_terms(0), multispace0).parse(text).finish();
        let (rest, term) = read.map_err(|error: nom::error::Error<&str>| at(error.input))?;
        if rest.is_empty() {
            Ok(Self {
                text: text.to_owned(),
                term,
            })
        } else {
            Err(at(rest))
        }
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

fn or_terms(depth: usize) -> impl FnMut(&str) -> IResult<&str, Term> {
    move |input| {
        let (rest, terms) = separated_list1(word("||"), and_terms(depth)).parse(input)?;
        Ok((rest, joined(terms, Term::Or)))
    }
}

fn and_terms(depth: usize) -> impl FnMut(&str) -> IResult<&str, Term> {
    move |input| {
        let (rest, terms) = separated_list1(word("&&"), one_term(depth)).parse(input)?;
        Ok((rest, joined(terms, Term::And)))
    }
}

fn joined(mut terms: Vec<Term>, join: fn(Vec<Term>) -> Term) -> Term {
    match (terms.pop(), terms.is_empty()) {
        (Some(only), true) => only,
        (Some(last), false) => {
            terms.push(last);
            join(terms)
        }
        (None, _) => Term::All,
    }
}

fn one_term(depth: usize) -> impl FnMut(&str) -> IResult<&str, Term> {
    move |input| {
        if depth >= MAX_DEPTH {
            let error = nom::error::Error::new(input, nom::error::ErrorKind::TooLarge);
            return Err(nom::Err::Failure(error));
        }
        alt((
            map(preceded(word("!"), one_term(depth + 1)), |term| {
                Term::Not(Box::new(term))
            }),
            delimited(word("("), or_terms(depth + 1), word(")")),
            map(alt((call("all"), call("global"))), |()| Term::All),
            map(
                delimited(
                    (word("has"), word("(")),
                    preceded(multispace0, label),
                    word(")"),
                ),
                Term::Has,
            ),
            comparison,
        ))
        .parse(input)
    }
}

fn comparison(input: &str) -> IResult<&str, Term> {
    let (rest, key) = preceded(multispace0, label).parse(input)?;
    let text = || preceded(multispace0, quoted);
    alt((
        map(preceded(word("=="), text()), |v| {
            Term::Equals(key.clone(), v)
        }),
        map(preceded(word("!="), text()), |v| {
            Term::Not(Box::new(Term::Equals(key.clone(), v)))
        }),
        map(preceded(words("not", "in"), set), |v| {
            Term::Not(Box::new(Term::In(key.clone(), v)))
        }),
        map(preceded(word("in"), set), |v| Term::In(key.clone(), v)),
        map(preceded(word("contains"), text()), |v| {
            Term::Contains(key.clone(), v)
        }),
        map(preceded(words("starts", "with"), text()), |v| {
            Term::StartsWith(key.clone(), v)
        }),
        map(preceded(words("ends", "with"), text()), |v| {
            Term::EndsWith(key.clone(), v)
        }),
    ))
    .parse(rest)
}

fn set(input: &str) -> IResult<&str, BTreeSet<String>> {
    let members = separated_list0(word(","), preceded(multispace0, quoted));
    let (rest, members) = delimited(word("{"), members, word("}")).parse(input)?;
    Ok((rest, members.into_iter().collect()))
}

fn label(input: &str) -> IResult<&str, String> {
    let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/');
    map(take_while1(part), str::to_owned).parse(input)
}

fn quoted(input: &str) -> IResult<&str, String> {
    let inside = |quote: char| delimited(char(quote), take_while(move |c| c != quote), char(quote));
    map(alt((inside('\''), inside('"'))), str::to_owned).parse(input)
}

fn call(name: &'static str) -> impl FnMut(&str) -> IResult<&str, ()> {
    move |input| map((word(name), word("("), word(")")), |_| ()).parse(input)
}

fn word(text: &'static str) -> impl FnMut(&str) -> IResult<&str, &str> {
    move |input| preceded(multispace0, tag(text)).parse(input)
}

fn words(first: &'static str, second: &'static str) -> impl FnMut(&str) -> IResult<&str, ()> {
    move |input| {
        let (rest, _) = (multispace0, tag(first), multispace1, tag(second)).parse(input)?;
        Ok((rest, ()))
    }
}
