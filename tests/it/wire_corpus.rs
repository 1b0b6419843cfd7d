//! Messages that nobody here wrote, decoded next to the verdicts of tshark.
//!
//! The corpus is data of other projects and not part of this repository. `DUNLIN_CORPUS` names its
//! folder, or it lies in `shared/corpus` beside the checkout; without it the test says that it skips.
//! Where dunlin and tshark differ, a named exception must explain it, and the number of cases of each
//! exception is fixed: a new difference fails, and so does one that went away.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use dunlin::wire::frame::{self, MAX_EXTENDED_LEN, MessageKind, Step};
use dunlin::wire::update::{self, DecodeContext, Nlri, RawUpdate, Treatment, Update};
use serde_json::Value;

use crate::wire_text::{PLAIN, outcome};

fn corpus() -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os("DUNLIN_CORPUS") {
        return Some(folder.into());
    }
    assert!(
        std::env::var("DUNLIN_TESTS").as_deref() != Ok("all") || std::env::var_os("CI").is_none(),
        "set DUNLIN_CORPUS to the folder of the corpus"
    );
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
    [
        beside.join("shared/corpus"),
        beside.parent()?.join("shared/corpus"),
    ]
    .into_iter()
    .find(|folder| folder.join("tshark.jsonl").is_file())
}

struct Entry {
    place: String,
    source: String,
    ctx: DecodeContext,
    as4_known: bool,
    bytes: Vec<u8>,
}

fn entries(folder: &Path) -> BTreeMap<(String, u64), Entry> {
    let mut out = BTreeMap::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|e| e != "hex") {
            continue;
        }
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        for (line, text) in (1..).zip(std::fs::read_to_string(&path).unwrap().lines()) {
            let (fields, source) = text.split_once('#').unwrap();
            let fields: Vec<&str> = fields.split_whitespace().collect();
            let [as4, add_path, hex] = fields[..] else {
                panic!("{name}:{line}")
            };
            let add_path = add_path == "addpath=1";
            let entry = Entry {
                place: format!("{name}:{line}"),
                source: source.trim().to_owned(),
                ctx: DecodeContext {
                    four_octet_as: as4 != "as4=0",
                    ebgp: false,
                    add_path: [add_path; 2],
                    extended_next_hop: true,
                    permit_as_sets: true,
                    ..PLAIN
                },
                as4_known: as4 != "as4=?",
                bytes: octets(hex),
            };
            out.insert((name.clone(), line), entry);
        }
    }
    out
}

fn octets(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}

/// What dunlin has to say about one message, in tshark's terms.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    malformed: bool,
    nlri: Vec<String>,
    withdrawn: Vec<String>,
}

fn addresses(list: &Nlri<'_>) -> Vec<String> {
    list.iter()
        .map(|(_, prefix)| prefix.address().to_string())
        .collect()
}

fn verdict(bytes: &[u8], ctx: &DecodeContext) -> Verdict {
    let mut verdict = Verdict {
        malformed: true,
        nlri: Vec::new(),
        withdrawn: Vec::new(),
    };
    match frame::next(bytes, MAX_EXTENDED_LEN) {
        Ok(Step::Message {
            kind: MessageKind::Update,
            ..
        }) => {}
        Ok(Step::Message { .. }) => {
            verdict.malformed = outcome(bytes, ctx, MAX_EXTENDED_LEN).reaction != "accept";
            return verdict;
        }
        Ok(Step::NeedMore(_)) | Err(_) => return verdict,
    }
    let (_, body) = frame::messages(bytes).next().unwrap();
    let Ok(update) = RawUpdate::split(body).and_then(|raw| update::decode(raw, ctx)) else {
        return verdict;
    };
    verdict.malformed = is_malformed(&update);
    verdict.nlri = addresses(&update.announced);
    verdict.withdrawn = addresses(&update.withdrawn);
    verdict
}

fn is_malformed(update: &Update<'_>) -> bool {
    update.treatment == Some(Treatment::Withdraw)
}

fn strings(value: &Value) -> Vec<String> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn the_corpus_is_decoded_like_tshark_does_or_the_difference_has_a_name() {
    let Some(folder) = corpus() else {
        eprintln!("skipped: no corpus; DUNLIN_CORPUS names its folder");
        return;
    };
    let entries = entries(&folder);
    let verdicts = std::fs::read_to_string(folder.join("tshark.jsonl")).unwrap();
    let mut differences = BTreeMap::new();
    let mut checked = 0;
    for line in verdicts.lines() {
        let theirs: Value = serde_json::from_str(line).unwrap();
        let key = (
            theirs["file"].as_str().unwrap().to_owned(),
            theirs["line"].as_u64().unwrap(),
        );
        let entry = &entries[&key];
        checked += 1;
        let tshark = Verdict {
            malformed: theirs["malformed"].as_bool().unwrap(),
            nlri: strings(&theirs["nlri"]),
            withdrawn: strings(&theirs["withdrawn"]),
        };
        let ours = verdict(&entry.bytes, &entry.ctx);
        let narrow = DecodeContext {
            four_octet_as: false,
            ..entry.ctx
        };
        if ours == tshark || !entry.as4_known && verdict(&entry.bytes, &narrow) == tshark {
            continue;
        }
        let text = outcome(&entry.bytes, &entry.ctx, MAX_EXTENDED_LEN).text;
        println!(
            "--- {} {}\n{ours:?}\n{tshark:?} {}\n{text}",
            entry.place, entry.source, theirs["expert"]
        );
        *differences.entry("?").or_insert(0) += 1;
    }
    assert_eq!(checked, entries.len());
    assert_eq!(differences, BTreeMap::new());
}
