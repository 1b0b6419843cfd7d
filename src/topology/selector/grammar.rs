//! The grammar of selectors: from text to terms, or to the first character that can't be right.
//!
//! ```text
//! or  = and *("||" and)      and = one *("&&" one)      one = *"!" ( "(" or ")" / call / comparison )
//! ```
//!
//! It does not know what a term means. Nesting is bounded, so that a file can't overflow the stack.

use std::collections::BTreeSet;

use nom::bytes::complete::{tag, take_while, take_while1};
use nom::character::complete::{alpha1, multispace0};
use nom::error::{ErrorKind, ParseError};
use nom::sequence::{preceded, terminated};
use nom::{Finish, IResult, Parser};

use super::{SelectorError, Term};
use crate::topology::nearest;

/// How deep parentheses may nest.
const MAX_DEPTH: usize = 32;
/// The longest label that Calico reads.
const MAX_LABEL: usize = 512;

const FUNCTIONS: [&str; 3] = ["all", "global", "has"];
const OPERATORS: [&str; 7] = [
    "contains",
    "ends with",
    "in",
    "not in",
    "starts with",
    "==",
    "!=",
];
/// What people write in other languages, and what it is here.
const ELSEWHERE: [(&str, &str); 8] = [
    ("===", "=="),
    ("=", "=="),
    ("!==", "!="),
    ("<>", "!="),
    ("and", "&&"),
    ("&", "&&"),
    ("or", "||"),
    ("|", "||"),
];
const A_TERM: &str = "a term such as has(rack), rack == 'a', rack in {'a', 'b'} or all()";

/// Why the text is none, from where on.
struct Refusal<'t> {
    at: &'t str,
    message: String,
}

type Read<'t, T> = IResult<&'t str, T, Refusal<'t>>;

impl<'t> ParseError<&'t str> for Refusal<'t> {
    // What nom itself finds missing has been asked for by us, and we say it better.
    fn from_error_kind(at: &'t str, _: ErrorKind) -> Self {
        Self {
            at,
            message: "expected a selector".to_owned(),
        }
    }

    fn append(_: &'t str, _: ErrorKind, other: Self) -> Self {
        other
    }
}

/// Reads a text that is not empty.
pub(super) fn read(text: &str) -> Result<Term, SelectorError> {
    let whole = |input| {
        let (rest, term) = terminated(or_terms(0), multispace0).parse(input)?;
        if rest.is_empty() {
            return Ok((rest, term));
        }
        refuse(rest, "&&, || or the end of the selector")
    };
    let outcome: Result<(&str, Term), Refusal<'_>> = whole(text).finish();
    outcome
        .map(|(_, term)| term)
        .map_err(|refusal| SelectorError {
            offset: text.len().saturating_sub(refusal.at.len()),
            message: refusal.message,
        })
}

fn or_terms<'t>(depth: usize) -> impl Parser<&'t str, Output = Term, Error = Refusal<'t>> {
    joined("||", move |input| and_terms(depth).parse(input), Term::Or)
}

fn and_terms<'t>(depth: usize) -> impl Parser<&'t str, Output = Term, Error = Refusal<'t>> {
    joined("&&", move |input| one_term(depth, input), Term::And)
}

/// One or more of `term` with `operator` in between; unlike nom's list it insists on what comes after an
/// operator.
fn joined<'t>(
    operator: &'static str,
    mut term: impl FnMut(&'t str) -> Read<'t, Term>,
    join: fn(Vec<Term>) -> Term,
) -> impl FnMut(&'t str) -> Read<'t, Term> {
    move |input| {
        let (mut rest, first) = term(input)?;
        let mut terms = vec![first];
        while let Some(after) = symbol(operator, rest) {
            let (next, another) = term(after)?;
            terms.push(another);
            rest = next;
        }
        let one = if terms.len() == 1 { terms.pop() } else { None };
        Ok((rest, one.unwrap_or_else(|| join(terms))))
    }
}

fn one_term(depth: usize, input: &str) -> Read<'_, Term> {
    let mut rest = skip(input);
    let mut negated = false;
    while let Some(after) = rest.strip_prefix('!') {
        negated = !negated;
        rest = skip(after);
    }
    let (rest, term) = positive(depth, rest)?;
    Ok((
        rest,
        if negated {
            Term::Not(Box::new(term))
        } else {
            term
        },
    ))
}

fn positive(depth: usize, input: &str) -> Read<'_, Term> {
    if let Some(inside) = input.strip_prefix('(') {
        if depth >= MAX_DEPTH {
            let message = format!("parentheses nest more than {MAX_DEPTH} deep");
            return Err(nom::Err::Failure(Refusal { at: input, message }));
        }
        let (rest, term) = or_terms(depth + 1).parse(inside)?;
        let rest = close(")", "&&, || or \")\"", rest)?;
        return Ok((rest, term));
    }
    let (rest, name) = label(A_TERM, input)?;
    match symbol("(", rest) {
        Some(inside) => call(input, name, inside),
        None => comparison(name, rest),
    }
}

fn call<'t>(at: &'t str, name: &'t str, inside: &'t str) -> Read<'t, Term> {
    match name {
        "all" | "global" => Ok((close(")", "\")\"", inside)?, Term::All)),
        "has" => {
            let (rest, key) = label("a label such as rack", skip(inside))?;
            let rest = close(")", "\")\"", rest)?;
            Ok((rest, Term::Has(key.to_owned())))
        }
        other => {
            let hint = did_you_mean(nearest(other, FUNCTIONS));
            let message = format!("expected all(), global() or has(...), found {other:?}{hint}");
            Err(nom::Err::Failure(Refusal { at, message }))
        }
    }
}

fn comparison<'t>(key: &str, input: &'t str) -> Read<'t, Term> {
    let key = key.to_owned();
    let at = skip(input);
    // "=== " is no "==".
    let sign: Read<'_, &str> = take_while1(|c| matches!(c, '=' | '!' | '<' | '>'))(at);
    if let Ok((rest, sign @ ("==" | "!="))) = sign {
        let (rest, wanted) = quoted(rest)?;
        let equals = Term::Equals(key, wanted);
        let term = match sign {
            "==" => equals,
            _ => Term::Not(Box::new(equals)),
        };
        return Ok((rest, term));
    }
    let Some((rest, operator)) = operator_word(at) else {
        return refuse(at, "==, !=, in, not in, contains, starts with or ends with");
    };
    let (rest, operand) = match operator {
        "in" | "not in" => {
            let (rest, wanted) = set(rest)?;
            let within = Term::In(key, wanted);
            let within = match operator {
                "in" => within,
                _ => Term::Not(Box::new(within)),
            };
            return Ok((rest, within));
        }
        _ => quoted(rest)?,
    };
    let term = match operator {
        "contains" => Term::Contains(key, operand),
        "starts with" => Term::StartsWith(key, operand),
        _ => Term::EndsWith(key, operand),
    };
    Ok((rest, term))
}

/// An operator that is a word or two; as in Calico, the space between the two may be missing.
fn operator_word(at: &str) -> Option<(&str, &'static str)> {
    let words = |first: &'static str, second: &'static str| {
        preceded(
            (tag::<_, _, Refusal<'_>>(first), multispace0),
            tag::<_, _, Refusal<'_>>(second),
        )
        .parse(at)
        .ok()
    };
    let pairs = [
        ("not", "in", "not in"),
        ("starts", "with", "starts with"),
        ("ends", "with", "ends with"),
        ("contains", "", "contains"),
        ("in", "", "in"),
    ];
    pairs.into_iter().find_map(|(first, second, operator)| {
        let (rest, _) = words(first, second)?;
        // `inn` is not `in`.
        let ends = !rest.starts_with(|c: char| c.is_ascii_alphanumeric());
        ends.then_some((rest, operator))
    })
}

/// Values in braces; a comma after the last is allowed, as in Calico.
fn set(input: &str) -> Read<'_, BTreeSet<String>> {
    let mut rest = close("{", "values such as {'a', 'b'}", input)?;
    let mut members = BTreeSet::new();
    loop {
        if let Some(after) = symbol("}", rest) {
            return Ok((after, members));
        }
        let (next, member) = quoted(rest)?;
        members.insert(member);
        rest = match symbol(",", next) {
            Some(after) => after,
            None => return Ok((close("}", "\",\" or \"}\"", next)?, members)),
        };
    }
}

/// A value between quotes of one kind.
fn quoted(input: &str) -> Read<'_, String> {
    let at = skip(input);
    let Some(quote) = at.chars().next().filter(|c| matches!(c, '\'' | '"')) else {
        let bare = word_at(at);
        let hint = match bare {
            "" => None,
            bare => Some(format!("'{bare}'")),
        };
        let hint = hint.map_or(String::new(), |hint| format!("; did you mean {hint}?"));
        let message = format!("expected a value in quotes, found {}{hint}", found(at));
        return Err(nom::Err::Failure(Refusal { at, message }));
    };
    let inside = at.get(1..).unwrap_or_default();
    let (rest, value) = take_while(|c| c != quote)(inside)?;
    match rest.strip_prefix(quote) {
        Some(rest) => Ok((rest, value.to_owned())),
        None => {
            let message = format!("the quote {quote} is not closed");
            Err(nom::Err::Failure(Refusal { at, message }))
        }
    }
}

/// A label's name.
fn label<'t>(what: &str, at: &'t str) -> Read<'t, &'t str> {
    let name = word_at(at);
    if name.is_empty() {
        return refuse(at, what);
    }
    if name.len() > MAX_LABEL {
        let message = format!("a label of more than {MAX_LABEL} characters");
        return Err(nom::Err::Failure(Refusal { at, message }));
    }
    Ok((at.get(name.len()..).unwrap_or_default(), name))
}

/// The characters from `at` on that a label can have.
fn word_at(at: &str) -> &str {
    let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/');
    let word: Read<'_, &str> = take_while(part)(at);
    word.map_or("", |(_, word)| word)
}

fn skip(input: &str) -> &str {
    let skipped: Read<'_, &str> = multispace0(input);
    skipped.map_or(input, |(rest, _)| rest)
}

/// What is behind `symbol`, if it comes next.
fn symbol<'t>(symbol: &str, input: &'t str) -> Option<&'t str> {
    skip(input).strip_prefix(symbol)
}

/// What is behind `symbol`, which has to come next.
fn close<'t>(wanted: &str, what: &str, input: &'t str) -> Result<&'t str, nom::Err<Refusal<'t>>> {
    let at = skip(input);
    symbol(wanted, at).ok_or_else(|| nom::Err::Failure(expected(what, at)))
}

fn refuse<'t, T>(at: &'t str, what: &str) -> Read<'t, T> {
    Err(nom::Err::Failure(expected(what, skip(at))))
}

/// That `what` was expected there, and what was probably meant.
fn expected<'t>(what: &str, at: &'t str) -> Refusal<'t> {
    let sign: Read<'_, &str> = take_while1(|c| "=!<>&|".contains(c))(at);
    let word: Read<'_, &str> = alpha1(at);
    let written = sign.or(word).map_or("", |(_, written)| written);
    let elsewhere = ELSEWHERE
        .iter()
        .find(|(other, _)| written.eq_ignore_ascii_case(other));
    let wanted: Vec<&str> = what.split([' ', ',']).collect();
    let near = match elsewhere {
        Some((_, ours)) => Some(*ours).filter(|ours| wanted.contains(ours)),
        None if what.starts_with("==") && !written.is_empty() => nearest(written, OPERATORS),
        None => None,
    };
    Refusal {
        at,
        message: format!("expected {what}, found {}{}", found(at), did_you_mean(near)),
    }
}

/// What stands there, as far as one looks at it.
fn found(at: &str) -> String {
    const SHOWN: usize = 20;
    let word = word_at(at);
    let end = at
        .char_indices()
        .find(|(_, c)| c.is_whitespace())
        .map_or(at.len(), |(end, _)| end);
    let piece = if word.is_empty() {
        at.get(..end).unwrap_or_default()
    } else {
        word
    };
    if at.is_empty() {
        "the end".to_owned()
    } else if piece.chars().count() > SHOWN {
        let head: String = piece.chars().take(SHOWN).collect();
        format!("{:?}", head + "…")
    } else {
        format!("{piece:?}")
    }
}

fn did_you_mean(word: Option<&str>) -> String {
    word.map_or(String::new(), |word| format!("; did you mean {word:?}?"))
}
