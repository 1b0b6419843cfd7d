//! The house rules, as a test: what a reviewer would otherwise have to say each time.
//!
//! It reads the sources as text, with comments and literals blanked out, and knows no Rust beyond
//! braces and names. What the compiler or clippy already refuses is checked here only where an
//! attribute could silence it. Every message names the file, the line, the rule and the way out.
//!
//! The two lists of exemptions are ratchets: a number there may be lowered, never raised, and a
//! line that is no longer needed must go.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod source;
mod stories;

use std::collections::BTreeMap;
use std::fs;

use source::{
    SOURCES, Source, blank, end_of_item, files, first_name, heads, imports, names, relative, root,
};

/// Lines of a file outside `#[cfg(test)]`.
const LONGEST_FILE: usize = 600;
/// Lines of code in a function, without blank ones and comments.
const LONGEST_FUNCTION: usize = 70;

/// Files that were longer when the rule came.
const LONG_FILES: &[(&str, usize)] = &[];
/// Functions that were longer when the rule came, as `file:name`.
const LONG_FUNCTIONS: &[(&str, usize)] = &[];

/// Who may import whom: the floors of `src/architecture.md`. `cli` and `daemon` are at the top and
/// may import all.
const FLOORS: &[(&str, &[&str])] = &[
    ("net", &[]),
    ("time", &[]),
    ("rng", &["time"]),
    ("problem", &["net", "time"]),
    ("wire", &["net", "time", "rng"]),
    ("session", &["wire", "net", "time", "rng"]),
    ("rib", &["wire", "net", "time", "rng"]),
    ("bfd", &["net", "time", "rng"]),
    ("policy", &["net"]),
    ("topology", &["policy", "net"]),
    ("dataplane", &["problem", "net", "time"]),
    (
        "speaker",
        &[
            "session", "rib", "bfd", "policy", "topology", "problem", "wire", "net", "time", "rng",
        ],
    ),
    ("forwarding", &["topology", "dataplane", "net"]),
    (
        "node",
        &[
            "speaker",
            "forwarding",
            "session",
            "rib",
            "policy",
            "topology",
            "dataplane",
            "problem",
            "wire",
            "net",
            "time",
            "rng",
        ],
    ),
    ("calls", &[]),
    (
        "transport",
        &["session", "bfd", "wire", "net", "time", "calls"],
    ),
    ("datastore", &["topology", "policy", "net"]),
    ("nft", &["forwarding", "net"]),
    ("control", &["net"]),
    ("lab", &["control", "net"]),
];

/// Floors 0-4: they compile without a feature and touch nothing outside themselves.
const PURE: &[&str] = &[
    "net",
    "time",
    "rng",
    "problem",
    "wire",
    "session",
    "rib",
    "bfd",
    "policy",
    "topology",
    "dataplane",
    "forwarding",
    "speaker",
    "node",
];
/// The world, as a pure floor must not name it.
const WORLD: &[&str] = &[
    "std::time::Instant",
    "SystemTime",
    "std::env",
    "std::fs",
    "std::process",
    "std::thread",
    "std::net::TcpStream",
    "std::net::TcpListener",
    "std::net::UdpSocket",
    "std::os",
    "tokio",
    "serde",
    "socket2",
    "nix",
    "libc",
];
/// The one adapter that lives in a pure floor's folder, behind the `daemon` feature.
const NETLINK: &str = "src/dataplane/netlink";

/// Where the machine's clock may be read. All else gets `now` handed in.
const CLOCK_READERS: &[(&str, &str)] = &[
    ("src/daemon/clock.rs", "the daemon's one clock"),
    (
        "src/datastore/watch.rs",
        "settling time of a file, on tokio's clock",
    ),
    (
        "src/control/server.rs",
        "how long a viewer's answer took, for as long a rest",
    ),
    ("src/lab", "waits for processes and probes"),
    ("src/transport", "timeouts of dials"),
    (NETLINK, "patience with the kernel"),
    (
        "src/nft",
        "patience with the nft program, pauses between repairs",
    ),
];

/// Where no crate has a safe call for a socket option.
const UNSAFE_FILE: &str = "src/calls.rs";

const EMPTY_NAMES: &[&str] = &[
    "util", "utils", "helper", "helpers", "manager", "common", "misc",
];

/// Fails with everything that was found, so that one run shows all there is to do.
fn report(rule: &str, found: &[String]) {
    assert!(found.is_empty(), "{rule}\n  {}\n", found.join("\n  "));
}

/// What is over `limit` must be in `list` with at least its number, and what is listed must need it.
fn ratchet(rule: &str, sizes: &BTreeMap<String, usize>, limit: usize, list: &[(&str, usize)]) {
    let mut found = Vec::new();
    for (name, size) in sizes {
        let listed = list
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, size)| *size);
        if *size > listed.unwrap_or(limit) {
            found.push(format!(
                "{name} has {size} lines, {} are allowed: split it",
                listed.unwrap_or(limit)
            ));
        } else if let Some(listed) = listed
            && *size < listed
        {
            found.push(format!(
                "{name} is down to {size} lines: lower its exemption of {listed} or drop it"
            ));
        }
    }
    let gone = list.iter().filter(|(name, _)| !sizes.contains_key(*name));
    found.extend(gone.map(|(name, _)| format!("{name} is gone: drop its exemption")));
    report(rule, &found);
}

#[test]
fn every_file_says_what_it_is() {
    let silent = SOURCES.iter().filter(|source| {
        let first = source.text.lines().next().unwrap_or_default();
        !first.starts_with("//!") && source.path != "src/lib.rs"
    });
    let found: Vec<_> = silent
        .map(|s| {
            format!(
                "{}:1 begin with `//!`: what it is, what it is not, what always holds",
                s.path
            )
        })
        .collect();
    report("a file begins with its documentation", &found);
}

#[test]
fn files_stay_short_enough_to_be_read_in_one_go() {
    let is_story =
        |source: &Source| source.path.starts_with("tests/") || source.path.ends_with("tests.rs");
    let sizes = SOURCES
        .iter()
        .map(|source| {
            let lines = if is_story(source) {
                source.code.len()
            } else {
                source.shipped().count()
            };
            (source.path.clone(), lines)
        })
        .collect();
    ratchet(
        "a file has at most 600 lines without its tests",
        &sizes,
        LONGEST_FILE,
        LONG_FILES,
    );
}

#[test]
fn functions_fit_on_a_screen() {
    let mut sizes = BTreeMap::new();
    for source in SOURCES.iter() {
        for (at, line) in source.code.iter().enumerate() {
            let Some((before, after)) = line.split_once("fn ") else {
                continue;
            };
            let name = first_name(after);
            if name.is_empty() || before.ends_with(|c: char| c.is_alphanumeric() || c == '_') {
                continue;
            }
            let body = &source.code[at..=end_of_item(&source.code, at)];
            let lines = body.iter().filter(|line| !line.trim().is_empty()).count();
            let key = format!("{}:{name}", source.path);
            let longest: &mut usize = sizes.entry(key).or_default();
            *longest = lines.max(*longest);
        }
    }
    assert!(
        sizes.len() > 500,
        "the scanner found {} functions: it is broken",
        sizes.len()
    );
    ratchet(
        "a function has at most 70 lines",
        &sizes,
        LONGEST_FUNCTION,
        LONG_FUNCTIONS,
    );
}

#[test]
fn nothing_is_left_for_later() {
    let marks = [
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        concat!("TO", "DO"),
    ];
    let calls = ["todo!", "unimplemented!", "dbg!"];
    let mut found = Vec::new();
    for source in SOURCES.iter() {
        for (at, line) in source.text.lines().enumerate() {
            if marks.iter().any(|mark| names(line, mark)) {
                found.push(format!(
                    "{}:{} a mark for later: do it, or write an issue",
                    source.path,
                    at + 1
                ));
            }
        }
        for (at, line) in source.code.iter().enumerate() {
            if calls.iter().any(|call| line.contains(call)) {
                found.push(format!(
                    "{}:{} unfinished or debugging code",
                    source.path,
                    at + 1
                ));
            }
        }
    }
    report("what is committed is finished", &found);
}

#[test]
fn nothing_panics_on_purpose() {
    let mut found = Vec::new();
    for source in SOURCES.iter() {
        for (number, line) in source.shipped() {
            if line.contains(".unwrap()") || line.contains(".expect(") || line.contains("panic!(") {
                found.push(format!(
                    "{}:{number} return an error, or take the absent case as one",
                    source.path
                ));
            }
        }
    }
    report("no unwrap, expect or panic outside tests", &found);
}

#[test]
fn one_file_may_be_unsafe() {
    let mut found = Vec::new();
    for source in SOURCES.iter().filter(|s| s.path != UNSAFE_FILE) {
        for (at, line) in source.code.iter().enumerate() {
            if names(line, "unsafe") {
                found.push(format!(
                    "{}:{} find a safe call, or put it into {UNSAFE_FILE} with its SAFETY comment",
                    source.path,
                    at + 1
                ));
            }
        }
    }
    report("unsafe is in one file", &found);
}

#[test]
fn lints_are_expected_with_a_reason_and_never_allowed() {
    let mut found = Vec::new();
    for source in SOURCES.iter() {
        for (at, line) in source.code.iter().enumerate() {
            let place = format!("{}:{}", source.path, at + 1);
            if line.contains("#[allow") || line.contains("#![allow") {
                found.push(format!("{place} write #[expect(lint, reason = \"...\")]: it says so when it is no longer needed"));
            }
            let expects = line.contains("#[expect(") || line.contains("#![expect(");
            let item = end_of_attribute(&source.code, at);
            if expects
                && !source.code[at..=item]
                    .iter()
                    .any(|line| names(line, "reason"))
            {
                found.push(format!("{place} an expected lint needs its reason"));
            }
        }
    }
    report("lints are not silenced", &found);
}

fn end_of_attribute(code: &[String], from: usize) -> usize {
    let ends = code.iter().skip(from).position(|line| line.contains(")]"));
    ends.map_or(from, |lines| from + lines)
}

#[test]
fn imports_go_downwards_only() {
    let mut found = Vec::new();
    for source in SOURCES.iter() {
        let Some(floor) = source.floor() else {
            continue;
        };
        let Some((_, below)) = FLOORS.iter().find(|(name, _)| *name == floor) else {
            continue;
        };
        for (line, name) in imports(source) {
            if name != floor && !below.contains(&name.as_str()) {
                found.push(format!("{}:{line} `{floor}` must not know `{name}`: let the floor above introduce them", source.path));
            }
        }
        let is_root = source.path == format!("src/{floor}/mod.rs");
        for (line, code) in source.shipped().filter(|_| is_root) {
            if names(code, "super::") || code.contains("super::") && !code.contains("pub(super)") {
                found.push(format!(
                    "{}:{line} name the other floor by `crate::`",
                    source.path
                ));
            }
        }
    }
    report(
        "imports go downwards, siblings do not know each other (src/architecture.md)",
        &found,
    );
}

#[test]
fn every_floor_is_in_the_matrix() {
    let top = ["lib", "main", "cli", "daemon"];
    let known = |name: &str| top.contains(&name) || FLOORS.iter().any(|(floor, _)| *floor == name);
    let unknown = SOURCES
        .iter()
        .filter(|source| source.floor().is_some_and(|name| !known(name)));
    let found: Vec<_> = unknown
        .map(|s| {
            format!(
                "{}:1 give it a place in FLOORS and in src/architecture.md",
                s.path
            )
        })
        .collect();
    report("each module has a floor", &found);
}

#[test]
fn the_core_does_not_touch_the_world() {
    let mut found = Vec::new();
    for source in SOURCES.iter() {
        let pure = source.floor().is_some_and(|floor| PURE.contains(&floor));
        if !pure || source.is_in(NETLINK) {
            continue;
        }
        for (number, line) in source.shipped() {
            for name in WORLD.iter().filter(|name| names(line, name)) {
                found.push(format!(
                    "{}:{number} {name}: take it as an input, hand it out as an output",
                    source.path
                ));
            }
        }
    }
    report(
        "floors 0-4 read no clock, file, socket or environment",
        &found,
    );
}

#[test]
fn one_file_reads_the_clock() {
    let mut found = Vec::new();
    for source in SOURCES.iter() {
        if CLOCK_READERS.iter().any(|(place, _)| source.is_in(place)) {
            continue;
        }
        for (number, line) in source.shipped() {
            if line.contains("Instant::now()") || names(line, "SystemTime") {
                found.push(format!(
                    "{}:{number} ask daemon/clock.rs, or take `now` as a parameter",
                    source.path
                ));
            }
        }
    }
    report("the machine's clock is read in daemon/clock.rs", &found);
}

#[test]
fn one_file_knows_how_tables_hash() {
    let mut found = Vec::new();
    let elsewhere = |source: &&Source| !source.is_in("src/net/hashing.rs");
    for source in SOURCES.iter().filter(elsewhere) {
        for (number, line) in source.shipped() {
            if names(line, "foldhash") {
                found.push(format!(
                    "{}:{number} take a `net::Hashing`: peers choose what is hashed, and its constants are a secret",
                    source.path
                ));
            }
        }
    }
    report("tables hash by the secret of the process", &found);
}

#[test]
fn modules_are_named_after_what_they_know() {
    let mut found = Vec::new();
    for source in SOURCES.iter() {
        let named = source
            .path
            .split('/')
            .map(|part| part.trim_end_matches(".rs"));
        for name in named.filter(|name| EMPTY_NAMES.contains(name)) {
            found.push(format!(
                "{}:1 `{name}` says nothing: name it after the thing it is about",
                source.path
            ));
        }
    }
    report("names come from the field", &found);
}

#[test]
fn every_file_is_part_of_the_build() {
    let mut found = Vec::new();
    for source in SOURCES
        .iter()
        .filter(|source| source.path.starts_with("src/"))
    {
        let path = source.path.trim_end_matches(".rs").trim_end_matches("/mod");
        let Some((folder, name)) = path.rsplit_once('/') else {
            continue;
        };
        let parents = [
            format!("{folder}.rs"),
            format!("{folder}/mod.rs"),
            format!("{folder}/lib.rs"),
        ];
        let declared = format!("mod {name};");
        let is_parent = |other: &&Source| parents.contains(&other.path);
        let mut lines = SOURCES
            .iter()
            .filter(is_parent)
            .flat_map(|other| &other.code);
        if !["lib", "main"].contains(&name) && !lines.any(|line| line.contains(&declared)) {
            found.push(format!("{}:1 nothing says `{declared}`", source.path));
        }
    }
    report("no file lies about unused", &found);
}

#[test]
fn no_path_of_one_machine_is_written_down() {
    let paths = [
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("/fa", "rm/"),
    ];
    let kinds = [
        "rs", "toml", "md", "sh", "py", "expect", "json", "yaml", "yml", "conf",
    ];
    let mut found = Vec::new();
    let top = ["README.md", "CHANGELOG.md", "Cargo.toml"].map(|name| root().join(name));
    let below = ["src", "tests", "interop", "proto-fixtures"]
        .into_iter()
        .flat_map(files);
    for path in below.chain(top) {
        let named = path.file_name().unwrap().to_string_lossy().into_owned();
        let kind = path.extension().map(|e| e.to_string_lossy().into_owned());
        if !named.is_empty() && !kind.is_none_or(|kind| kinds.contains(&kind.as_str())) {
            continue;
        }
        let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
        for (at, line) in text.lines().enumerate() {
            if paths.iter().any(|path| line.contains(path)) {
                found.push(format!(
                    "{}:{} take the path as an option",
                    relative(&path),
                    at + 1
                ));
            }
        }
    }
    report("no path of a development machine", &found);
}

#[test]
fn the_scanner_sees_code_and_nothing_else() {
    let text = "fn a<'x>(s: &'x str) -> char { /* } */ let _ = \"}\\\"}\"; r#\"}\"# ; '}' } // }\nfn b() {}";
    let code: Vec<String> = blank(text).lines().map(str::to_owned).collect();
    assert_eq!(code[0].matches('}').count(), 1, "{}", code[0]);
    assert_eq!(end_of_item(&code, 0), 0);
    assert_eq!(heads("a::{b, c}, d, self::e}; f"), ["a", "d", "self"]);
    assert!(names("use tokio::x", "tokio") && !names("to_tokio(1)", "tokio"));
}
