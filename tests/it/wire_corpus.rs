//! Messages that nobody here wrote, decoded next to the verdicts of tshark.
//!
//! The corpus is data of other projects and not part of this repository. `DUNLIN_CORPUS` names its
//! folder, or it lies in `shared/corpus` beside the checkout or one level up; without it the test says
//! that it skips.
//! Where dunlin and tshark differ, a named exception must explain it, and the number of cases of each
//! exception is fixed: a new difference fails, and so does one that went away.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use dunlin::wire::error::{HeaderError, OpenError};
use dunlin::wire::frame::{self, MAX_EXTENDED_LEN, MessageKind, Step};
use dunlin::wire::open::Open;
use dunlin::wire::update::{
    self, DecodeContext, FaultKind, Nlri, RawUpdate, Treatment, Update, UpdateError,
};
use serde_json::Value;

use crate::wire_text::{PLAIN, outcome};

fn corpus() -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os("DUNLIN_CORPUS") {
        return Some(folder.into());
    }
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
    add_path_known: bool,
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
            let add_path_known = add_path != "addpath=?";
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
                    beside: false,
                    ..PLAIN
                },
                as4_known: as4 != "as4=?",
                add_path_known,
                bytes: octets(hex),
            };
            out.insert((name.clone(), line), entry);
        }
    }
    out
}

impl Entry {
    /// What the source says of the session, and every possibility where it does not say.
    fn contexts(&self) -> Vec<DecodeContext> {
        let mut out = vec![self.ctx];
        if !self.as4_known {
            out.push(DecodeContext {
                four_octet_as: false,
                ..self.ctx
            });
        }
        if !self.add_path_known {
            let with = |ctx: &DecodeContext| DecodeContext {
                add_path: [true; 2],
                ..*ctx
            };
            out.extend(out.iter().map(with).collect::<Vec<_>>());
        }
        out
    }
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
        if entry
            .contexts()
            .iter()
            .any(|ctx| verdict(&entry.bytes, ctx) == tshark)
        {
            continue;
        }
        let ours = verdict(&entry.bytes, &entry.ctx);
        let Some(exception) = exception(entry, &ours, &tshark) else {
            let text = outcome(&entry.bytes, &entry.ctx, MAX_EXTENDED_LEN).text;
            let (place, source) = (&entry.place, &entry.source);
            panic!(
                "{place} ({source})\n{ours:?}\n{tshark:?}\n{}\n{text}",
                theirs["expert"]
            );
        };
        *differences.entry(exception).or_insert(0) += 1;
    }
    assert_eq!(checked, entries.len());
    println!("{checked} messages, differences: {differences:#?}");
    assert_eq!(differences, EXCEPTIONS.into_iter().collect());
}

const CUT: &str = "the source has only the beginning of the message, tshark waits for the rest";
const PATH_IDS: &str = "path identifiers that the source denies, recognised by tshark's guess";
const LISTED: &str = "both call it malformed, tshark lists what it took for prefixes before";
const FOREIGN: &str = "a family that dunlin does not speak: nothing inside is read";
const FILTERS: &str = "an ORF part of a type that tshark does not know: dunlin reads none";
const EXTENDED: &str = "an OPEN of the RFC 9072 form, which tshark takes for the old one";
const NEXT_HOP: &str = "a next hop that takes no packets: tshark does not judge";
const MISSING: &str =
    "a mandatory attribute is missing (BGPsec replaces AS_PATH): tshark does not judge";
const WELL_KNOWN: &str = "an unknown attribute that claims to be well-known: tshark does not judge";
const HEADER: &str = "a length or type that RFC 4271 refuses: tshark does not judge";
const VERSION: &str = "an OPEN of a version that does not exist: tshark does not judge";
const LENGTHS: &str = "inner lengths past the message: tshark does not mind";

/// How often each difference occurs in the corpus of 2,117 messages.
const EXCEPTIONS: [(&str, usize); 12] = [
    (CUT, 2),
    (PATH_IDS, 2),
    (LISTED, 7),
    (FOREIGN, 28),
    (FILTERS, 2),
    (EXTENDED, 1),
    (NEXT_HOP, 15),
    (MISSING, 21),
    (WELL_KNOWN, 4),
    (HEADER, 6),
    (VERSION, 2),
    (LENGTHS, 1),
];

/// The name of the difference, found in what dunlin says of the message and not in its place.
fn exception(entry: &Entry, ours: &Verdict, tshark: &Verdict) -> Option<&'static str> {
    let flipped = entry.ctx.add_path.map(|on| !on);
    if verdict(
        &entry.bytes,
        &DecodeContext {
            add_path: flipped,
            ..entry.ctx
        },
    ) == *tshark
    {
        return Some(PATH_IDS);
    }
    let kind = match frame::next(&entry.bytes, MAX_EXTENDED_LEN) {
        Ok(Step::NeedMore(_)) => return Some(CUT),
        Ok(Step::Message { kind, .. }) => kind,
        Err(HeaderError::Length(_) | HeaderError::Kind(_)) => return Some(HEADER),
        Err(HeaderError::Marker) => return None,
    };
    if ours.malformed && tshark.malformed {
        return (ours.nlri.is_empty() && ours.withdrawn.is_empty()).then_some(LISTED);
    }
    let (_, body) = frame::messages(&entry.bytes).next()?;
    match (kind, ours.malformed) {
        (MessageKind::RouteRefresh, false) => (body.len() > 4).then_some(FILTERS),
        (MessageKind::Open, false) => (body.get(10) == Some(&255)).then_some(EXTENDED),
        (MessageKind::Open, true) => {
            matches!(Open::decode(body), Err(OpenError::Version(_))).then_some(VERSION)
        }
        (MessageKind::Update, malformed) => {
            let update = RawUpdate::split(body).and_then(|raw| update::decode(raw, &entry.ctx));
            match update {
                Err(UpdateError::Lengths) => Some(LENGTHS),
                Err(_) => None,
                Ok(update) if malformed => fault_exception(&update),
                Ok(update) => {
                    let unreach = update
                        .mp_withdrawn
                        .is_some_and(|(_, nlri)| nlri.is_ignored());
                    let reach = update.mp_announced.is_some_and(|mp| mp.nlri.is_ignored());
                    (unreach || reach).then_some(FOREIGN)
                }
            }
        }
        (MessageKind::Notification | MessageKind::Keepalive | MessageKind::RouteRefresh, _) => None,
    }
}

fn fault_exception(update: &Update<'_>) -> Option<&'static str> {
    let fault = update
        .faults
        .iter()
        .find(|fault| fault.treatment == Treatment::Withdraw)?;
    match fault.kind {
        FaultKind::NextHop => Some(NEXT_HOP),
        FaultKind::Missing => Some(MISSING),
        FaultKind::UnknownWellKnown => Some(WELL_KNOWN),
        FaultKind::Flags(_)
        | FaultKind::Length(_)
        | FaultKind::Value
        | FaultKind::Overrun
        | FaultKind::Duplicate
        | FaultKind::Segment
        | FaultKind::Unexpected
        | FaultKind::AsZero
        | FaultKind::ForbiddenSegment
        | FaultKind::PathTooLong(_)
        | FaultKind::NlriSkipped(_) => None,
    }
}
