//! Every good fixture shown to tshark: it must see a message of the
//! same type, the same prefixes, and nothing malformed.
//!
//! The capture file is written by hand: Ethernet, IPv4, TCP to port 179, one message a packet and a
//! connection of its own for each, so that nothing of one message colours how the next is read.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::Command;

use dunlin::wire::frame::{self, MessageKind};
use dunlin::wire::update::{self, RawUpdate};
use serde_json::Value;

use crate::wire_text::{Fixture, fixtures};

/// Little-endian pcap of Ethernet frames.
fn capture(messages: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(&0xA1B2_C3D4_u32.to_le_bytes());
    out.extend_from_slice(&[2, 0, 4, 0]);
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&0x0004_0000_u32.to_le_bytes());
    out.extend_from_slice(&1_u32.to_le_bytes());
    for (number, message) in (0_u16..).zip(messages) {
        let packet = packet(20_000 + number, message);
        let len = u32::try_from(packet.len()).unwrap();
        out.extend_from_slice(&u32::from(number).to_le_bytes());
        out.extend_from_slice(&0_u32.to_le_bytes());
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&packet);
    }
    out
}

/// One TCP segment from `port` to 179; tshark does not verify checksums unless told to.
fn packet(port: u16, payload: &[u8]) -> Vec<u8> {
    let total = u16::try_from(40 + payload.len()).unwrap();
    let mut out = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    out.extend_from_slice(&[0x45, 0]);
    out.extend_from_slice(&total.to_be_bytes());
    out.extend_from_slice(&[0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    out.extend_from_slice(&port.to_be_bytes());
    out.extend_from_slice(&179_u16.to_be_bytes());
    out.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x18, 0xFF, 0xFF, 0, 0, 0, 0]);
    out.extend_from_slice(payload);
    out
}

/// What tshark saw of one packet.
#[derive(Debug)]
struct Seen {
    types: BTreeSet<String>,
    prefixes: BTreeSet<String>,
    malformed: bool,
    text: String,
}

fn all_of(layers: &Value, field: &str) -> BTreeSet<String> {
    let values = layers
        .get(field)
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    values
        .filter_map(Value::as_str)
        .map(ToOwned::to_owned)
        .collect()
}

/// Runs tshark over a capture; `None` if there is no tshark.
fn tshark(capture: &[u8]) -> Option<Vec<Seen>> {
    let path: PathBuf =
        std::env::temp_dir().join(format!("dunlin-tshark-{}.pcap", std::process::id()));
    std::fs::write(&path, capture).unwrap();
    let mut command = Command::new("tshark");
    command.arg("-r").arg(&path).args(["-T", "json", "-n"]);
    for field in FIELDS {
        command.args(["-e", field]);
    }
    let output = command.output();
    std::fs::remove_file(&path).unwrap();
    let output = match output {
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        output => output.unwrap(),
    };
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let packets: Value = serde_json::from_slice(&output.stdout).unwrap();
    let seen = |packet: &Value| {
        let layers = &packet["_source"]["layers"];
        let prefixes = FIELDS.iter().filter(|field| field.ends_with("prefix"));
        Seen {
            types: all_of(layers, "bgp.type"),
            prefixes: prefixes.flat_map(|field| all_of(layers, field)).collect(),
            malformed: layers.get("_ws.malformed").is_some()
                || all_of(layers, "_ws.expert.message")
                    .iter()
                    .any(|m| m.contains("Malformed")),
            text: layers.to_string(),
        }
    };
    Some(packets.as_array().unwrap().iter().map(seen).collect())
}

const FIELDS: [&str; 9] = [
    "bgp.type",
    "bgp.nlri_prefix",
    "bgp.withdrawn_prefix",
    "bgp.mp_reach_nlri_ipv4_prefix",
    "bgp.mp_unreach_nlri_ipv4_prefix",
    "bgp.mp_reach_nlri_ipv6_prefix",
    "bgp.mp_unreach_nlri_ipv6_prefix",
    "_ws.malformed",
    "_ws.expert.message",
];

/// The type and the addresses of all prefixes, withdrawn or announced, as we see them.
fn ours(fixture: &Fixture) -> (MessageKind, BTreeSet<String>) {
    let (kind, body) = frame::messages(&fixture.bytes).next().unwrap();
    let mut prefixes = BTreeSet::new();
    if kind == MessageKind::Update {
        let update = update::decode(RawUpdate::split(body).unwrap(), &fixture.ctx).unwrap();
        let mp_reach = update.mp_announced.map(|mp| mp.nlri);
        let mp_unreach = update.mp_withdrawn.map(|(_, nlri)| nlri);
        let lists = [
            Some(update.withdrawn),
            Some(update.announced),
            mp_reach,
            mp_unreach,
        ];
        for (_, prefix) in lists.iter().flatten().flat_map(|list| list.iter()) {
            prefixes.insert(prefix.address().to_string());
        }
    }
    (kind, prefixes)
}

#[test]
fn tshark_reads_every_good_fixture_as_we_do() {
    let all: Vec<Fixture> = fixtures()
        .into_iter()
        .filter(|f| !f.is_bad() && f.tshark.is_none())
        .collect();
    let messages: Vec<&[u8]> = all.iter().map(|f| f.bytes.as_slice()).collect();
    let Some(seen) = tshark(&capture(&messages)) else {
        let wanted = std::env::var_os("CI").is_some()
            || std::env::var("DUNLIN_TESTS").is_ok_and(|tests| tests == "all");
        assert!(!wanted, "tshark is missing: apt-get install tshark");
        eprintln!("skipped: tshark is missing (apt-get install tshark)");
        return;
    };
    assert_eq!(seen.len(), all.len());
    let mut wrong = Vec::new();
    for (fixture, seen) in all.iter().zip(&seen) {
        let (kind, prefixes) = ours(fixture);
        let types = BTreeSet::from([kind.code().to_string()]);
        if seen.malformed || seen.types != types || seen.prefixes != prefixes {
            wrong.push(format!(
                "{}: {kind} {prefixes:?}\n  {}",
                fixture.name(),
                seen.text
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
