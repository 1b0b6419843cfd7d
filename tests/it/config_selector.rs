//! Selectors: what they mean, and that an error is at the very character.

use std::collections::{BTreeMap, BTreeSet};

use dunlin::datastore::{Problems, read_cluster};
use dunlin::topology::Selector;
use proptest::prelude::*;

type Labels = BTreeMap<String, String>;

fn labels(of: &[(&str, &str)]) -> Labels {
    of.iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}

#[test]
fn selectors_mean_what_they_mean_in_calico() {
    let labels = labels(&[("rack", "a-1"), ("example.org/role", "edge"), ("in", "x")]);
    for (text, expected) in [
        ("", true),
        (" \t\n", true),
        ("all()", true),
        (" global( ) ", true),
        ("has(rack)", true),
        ("has( zone )", false),
        ("!has(zone)", true),
        ("! ! has(rack)", true),
        ("rack == 'a-1'", true),
        ("rack=='a-1'", true),
        ("rack == \"a-2\"", false),
        ("rack != 'a-1'", false),
        ("!rack == 'a-1'", false),
        ("zone != 'x'", true),
        ("rack in {'b', 'a-1'}", true),
        ("rack in{'b','a-1',}", true),
        ("rack in {}", false),
        ("rack not in {'a-1'}", false),
        ("rack notin {'b'}", true),
        ("zone not in {'a'}", true),
        ("rack contains '-'", true),
        ("zone contains ''", false),
        ("rack contains ''", true),
        ("rack starts with 'a'", true),
        ("rack startswith 'b'", false),
        ("rack ends with 'a'", false),
        ("rack ends  with '1'", true),
        ("in in {'x'}", true),
        ("has(in) && in == 'x'", true),
        ("has == 'x' || all()", true),
        ("example.org/role == 'edge' && rack == 'a-1'", true),
        ("has(zone) && has(rack) || all()", true),
        ("has(zone) && (has(rack) || all())", false),
        ("!(has(rack) && !has(zone))", false),
        ("rack == 'it\"s'", false),
    ] {
        let selector = Selector::parse(text).unwrap();
        assert_eq!(selector.matches(&labels), expected, "{text}");
    }
}

#[test]
fn what_is_no_selector_is_refused_at_the_character_where_it_stops_being_one() {
    for (text, offset, message) in [
        (
            "rack = 'a'",
            5,
            "expected ==, !=, in, not in, contains, starts with or ends with, found \"=\"; did you \
             mean \"==\"?",
        ),
        ("has(rack", 8, "expected \")\", found the end"),
        (
            "all() &&",
            8,
            "expected a term such as has(rack), rack == 'a', rack in {'a', 'b'} or all(), found the \
             end",
        ),
        (
            "all() rack",
            6,
            "expected &&, || or the end of the selector, found \"rack\"",
        ),
        (
            "all() and has(rack)",
            6,
            "expected &&, || or the end of the selector, found \"and\"; did you mean \"&&\"?",
        ),
        (
            "has(a) | has(b)",
            7,
            "expected &&, || or the end of the selector, found \"|\"; did you mean \"||\"?",
        ),
        (
            "(has(a) OR has(b))",
            8,
            "expected &&, || or \")\", found \"OR\"; did you mean \"||\"?",
        ),
        (
            "hass(rack)",
            0,
            "expected all(), global() or has(...), found \"hass\"; did you mean \"has\"?",
        ),
        (
            "rack contians 'a'",
            5,
            "expected ==, !=, in, not in, contains, starts with or ends with, found \"contians\"; did \
             you mean \"contains\"?",
        ),
        (
            "rack == a",
            8,
            "expected a value in quotes, found \"a\"; did you mean 'a'?",
        ),
        ("rack == 'a", 8, "the quote ' is not closed"),
        (
            "rack in ('a')",
            8,
            "expected values such as {'a', 'b'}, found \"('a')\"",
        ),
        (
            "rack in {'a' 'b'}",
            13,
            "expected \",\" or \"}\", found \"'b'}\"",
        ),
        ("all(rack)", 4, "expected \")\", found \"rack\""),
    ] {
        let error = Selector::parse(text).unwrap_err();
        assert_eq!(
            (error.offset, error.message.as_str()),
            (offset, message),
            "{text}"
        );
    }
}

#[test]
fn nesting_and_length_are_bounded() {
    let nested = |depth: usize| format!("{}all(){}", "(".repeat(depth), ")".repeat(depth));
    assert!(Selector::parse(&nested(32)).is_ok());
    assert!(Selector::parse(&nested(33)).is_err());
    assert!(Selector::parse(&"(".repeat(100_000)).is_err());
    assert!(Selector::parse(&"!".repeat(100_000)).is_err());
    assert!(Selector::parse(&format!("{}all()", "!".repeat(100_000))).is_ok());
    let label = |length: usize| Selector::parse(&format!("has({})", "a".repeat(length)));
    assert!(label(512).is_ok());
    assert!(label(513).is_err());
}

/// The only problem of a text, as it is printed.
fn problem(name: &str, text: &str) -> String {
    let problems: Problems = read_cluster(&[(name.into(), text.to_owned())]).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems}");
    problems.to_string()
}

#[test]
fn the_place_is_that_of_the_character_however_the_text_is_quoted() {
    let rest = "name = \"p\"\npeer-ip = \"10.0.0.9\"\nas-number = 1\n";
    for (written, line, column) in [
        ("\"has(a) & all()\"", 5, 25),
        ("'has(a) & all()'", 5, 25),
        // Escapes and letters of several bytes in front.
        ("\"a == '\\u00e4\\t' & all()\"", 5, 34),
        ("\"a == 'ä' & all()\"", 5, 27),
        ("\"\"\"\nhas(a)\n  & all()\"\"\"", 7, 3),
        ("'''\nhas(a)\n  & all()'''", 7, 3),
    ] {
        let text = format!("[[bgp-peer]]\n{rest}node-selector = {written}\n");
        let expected =
            format!("c.toml:{line}:{column}: \"node-selector\" in [[bgp-peer]]: expected &&");
        let got = problem("c.toml", &text);
        assert!(got.starts_with(&expected), "{written}: {got}");
    }
    let head = "kind: BGPPeer\nmetadata: {name: p}\nspec:\n  peerIP: 10.0.0.9\n  asNumber: 1\n";
    for (written, line, column) in [
        ("has(a) & all()", 6, 24),
        ("\"has(a) & all()\"", 6, 25),
        ("'has(a) & all()'", 6, 25),
        ("'a == ''ä'' & all()'", 6, 29),
        ("\"a == '\\x41' & all()\"", 6, 30),
        ("\"has(a)\n    & all()\"", 7, 5),
        ("|\n    has(a)\n    & all()", 8, 5),
        (">-\n    has(a)\n    & all()", 8, 5),
    ] {
        let text = format!("{head}  nodeSelector: {written}\n");
        let expected = format!("c.yaml:{line}:{column}: \"nodeSelector\" in BGPPeer: expected &&");
        let got = problem("c.yaml", &text);
        assert!(got.starts_with(&expected), "{written}: {got}");
    }
}

/// A selector whose meaning is known apart from its text.
#[derive(Debug, Clone)]
enum Meant {
    All,
    Has(String),
    Compare(String, usize, String),
    In(String, bool, BTreeSet<String>),
    Not(Box<Self>),
    And(Vec<Self>),
    Or(Vec<Self>),
}

const COMPARISONS: [&str; 5] = ["==", "!=", "contains", "starts with", "ends with"];

impl Meant {
    /// As text; whoever holds it decides whether it needs parentheses.
    fn text(&self, space: &str) -> String {
        let inside = |terms: &[Self], operator: &str| {
            let texts = terms.iter().map(|term| match term {
                Self::And(_) | Self::Or(_) => format!("({space}{}{space})", term.text(space)),
                other => other.text(space),
            });
            texts
                .collect::<Vec<_>>()
                .join(&format!("{space}{operator}{space}"))
        };
        match self {
            Self::All => format!("all({space})"),
            Self::Has(key) => format!("has({space}{key}{space})"),
            Self::Compare(key, at, value) => {
                let operator = COMPARISONS[*at];
                format!("{key} {operator}{space}'{value}'")
            }
            Self::In(key, within, values) => {
                let operator = if *within { "in" } else { "not in" };
                let values: Vec<String> = values.iter().map(|v| format!("\"{v}\"")).collect();
                let values = values.join(&format!("{space},{space}"));
                format!("{key} {operator}{space}{{{space}{values}{space}}}")
            }
            Self::Not(term) => match **term {
                Self::And(_) | Self::Or(_) => format!("!{space}({})", term.text(space)),
                _ => format!("!{space}{}", term.text(space)),
            },
            Self::And(terms) => inside(terms, "&&"),
            Self::Or(terms) => inside(terms, "||"),
        }
    }

    fn holds(&self, labels: &Labels) -> bool {
        match self {
            Self::All => true,
            Self::Has(key) => labels.contains_key(key),
            Self::Compare(key, at, wanted) => match (labels.get(key), at) {
                (None, 1) => true,
                (None, _) => false,
                (Some(value), 0) => value == wanted,
                (Some(value), 1) => value != wanted,
                (Some(value), 2) => value.contains(wanted.as_str()),
                (Some(value), 3) => value.starts_with(wanted.as_str()),
                (Some(value), _) => value.ends_with(wanted.as_str()),
            },
            Self::In(key, within, wanted) => {
                labels.get(key).is_some_and(|value| wanted.contains(value)) == *within
            }
            Self::Not(term) => !term.holds(labels),
            Self::And(terms) => terms.iter().all(|term| term.holds(labels)),
            Self::Or(terms) => terms.iter().any(|term| term.holds(labels)),
        }
    }
}

fn key() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "a",
        "b",
        "in",
        "not",
        "example.org/c-d",
        "has_",
        "contains",
    ])
    .prop_map(str::to_owned)
}

fn value() -> impl Strategy<Value = String> {
    "[xy]{0,3}"
}

fn meant() -> impl Strategy<Value = Meant> {
    let leaf = prop_oneof![
        Just(Meant::All),
        key().prop_map(Meant::Has),
        (key(), 0..COMPARISONS.len(), value()).prop_map(|(k, at, v)| Meant::Compare(k, at, v)),
        (
            key(),
            any::<bool>(),
            prop::collection::btree_set(value(), 0..3)
        )
            .prop_map(|(k, within, values)| Meant::In(k, within, values)),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            inner.clone().prop_map(|term| Meant::Not(Box::new(term))),
            prop::collection::vec(inner.clone(), 1..4).prop_map(Meant::And),
            prop::collection::vec(inner, 1..4).prop_map(Meant::Or),
        ]
    })
}

/// How a text can be written between quotes, letter by letter.
#[derive(Debug, Clone, Copy)]
enum Style {
    TomlBasic,
    TomlLiteral,
    YamlDouble,
    YamlSingle,
}

impl Style {
    /// The letter as it is written; `escaped` if there is a choice.
    fn letter(self, letter: char, escaped: bool) -> String {
        match (self, letter) {
            (Self::YamlSingle, '\'') => "''".into(),
            (Self::TomlBasic | Self::YamlDouble, '\t') => "\\t".into(),
            (Self::TomlBasic | Self::YamlDouble, _) if escaped && u32::from(letter) > 0xFFFF => {
                format!("\\U{:08x}", u32::from(letter))
            }
            (Self::TomlBasic, _) if escaped => format!("\\u{:04x}", u32::from(letter)),
            (Self::YamlDouble, 'x') if escaped => "\\x78".into(),
            (Self::YamlDouble, _) if escaped => format!("\\u{:04x}", u32::from(letter)),
            _ => letter.into(),
        }
    }

    fn quote(self) -> &'static str {
        match self {
            Self::TomlBasic | Self::YamlDouble => "\"",
            Self::YamlSingle => "'",
            // Others can't hold the quotes of a selector.
            Self::TomlLiteral => "'''",
        }
    }
}

fn styles() -> impl Strategy<Value = Style> {
    prop::sample::select(vec![
        Style::TomlBasic,
        Style::TomlLiteral,
        Style::YamlDouble,
        Style::YamlSingle,
    ])
}

proptest! {
    #[test]
    fn the_place_is_right_whatever_is_escaped_before_it(
        style in styles(),
        letters in prop::collection::vec(prop::sample::select(vec!['x', ' ', 'ä', '😀', '\t', '€']), 0..12),
        escapes in prop::collection::vec(any::<bool>(), 64),
    ) {
        let value: String = letters.into_iter().collect();
        let before = format!("a == '{value}' ");
        let mut written = String::new();
        for (letter, escaped) in before.chars().zip(escapes) {
            written.push_str(&style.letter(letter, escaped));
        }
        let (name, head, quote) = match style {
            Style::TomlBasic | Style::TomlLiteral => (
                "c.toml",
                "[[bgp-peer]]\nname = \"p\"\npeer-ip = \"10.0.0.9\"\nas-number = 1\nnode-selector = ",
                style.quote(),
            ),
            Style::YamlDouble | Style::YamlSingle => (
                "c.yaml",
                "kind: BGPPeer\nmetadata: {name: p}\nspec:\n  peerIP: 10.0.0.9\n  asNumber: 1\n  \
                 nodeSelector: ",
                style.quote(),
            ),
        };
        let text = format!("{head}{quote}{written}& all(){quote}\n");
        let line = head.lines().count();
        let start = head.lines().last().map_or(0, |line| line.chars().count());
        let column = start + quote.len() + written.chars().count() + 1;
        let got = problem(name, &text);
        prop_assert!(got.starts_with(&format!("{name}:{line}:{column}: ")), "{text}\n{got}");
    }

    #[test]
    fn a_selector_means_what_was_meant(
        meant in meant(),
        labels in prop::collection::btree_map(key(), value(), 0..5),
        space in prop::sample::select(vec!["", " ", "\n  "]),
    ) {
        let text = meant.text(space);
        let selector = Selector::parse(&text);
        prop_assert!(selector.is_ok(), "{text}: {selector:?}");
        if let Ok(selector) = selector {
            prop_assert_eq!(selector.matches(&labels), meant.holds(&labels), "{}", text);
        }
    }

    #[test]
    fn one_wrong_character_is_named_at_or_before_it(meant in meant(), at in any::<prop::sample::Index>()) {
        let text = meant.text(" ");
        let at = at.index(text.len());
        // No selector has this character outside quotes.
        let changed = format!("{}%{}", &text[..at], &text[at..]);
        if let Err(error) = Selector::parse(&changed) {
            prop_assert!(error.offset <= at, "{changed}: {error:?}");
        } else {
            prop_assert!(text[..at].contains(['\'', '"']), "{changed}");
        }
    }

    #[test]
    fn no_text_makes_the_reader_panic(
        text in prop_oneof!["[a-z()!&|='{}, \"]{0,40}", any::<String>()]
    ) {
        match Selector::parse(&text) {
            Ok(selector) => prop_assert_eq!(selector.to_string(), text),
            Err(error) => {
                prop_assert!(text.is_char_boundary(error.offset), "{error:?}");
                prop_assert!(!error.message.contains('\n'), "{error:?}");
            }
        }
    }
}
