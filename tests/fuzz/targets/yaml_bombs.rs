//! Long YAML takes no time that grows faster than its length, and no more memory than the bounds say. The input is a
//! recipe of a text, so that a short one is a bomb: pieces with `\x01` between them, each a number, `\x02` and what is
//! repeated as often, in which `\x03` is the number of the repetition.
#![no_main]

use std::fmt::Write as _;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;

/// Octets of a text: what is quadratic shows, and a run takes less than a second.
const LONGEST: usize = 64 * 1024;
/// Nanoseconds that an octet takes at most, with the sanitizer: six times what the slowest honest text takes.
const OF_AN_OCTET: u64 = 40_000;
/// And a text, however short: what is looked at between records.
const OF_A_TEXT: u64 = 2_000_000_000;

fn text(recipe: &str) -> String {
    let mut text = String::new();
    for piece in recipe.split('\u{1}') {
        let (count, unit) = piece.split_once('\u{2}').unwrap_or(("1", piece));
        for number in 0..count.parse::<usize>().unwrap_or(1) {
            if text.len() + unit.len() > LONGEST {
                break;
            }
            let mut parts = unit.split('\u{3}');
            text.push_str(parts.next().unwrap_or_default());
            for part in parts {
                let _ = write!(text, "{number}");
                text.push_str(part);
            }
        }
    }
    text
}

/// What this thread has computed for, whoever else computes beside it.
fn computed() -> u64 {
    let schedule = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    schedule
        .split(' ')
        .next()
        .and_then(|nanoseconds| nanoseconds.parse().ok())
        .unwrap_or(0)
}

fuzz_target!(|recipe: &str| {
    let text = text(recipe);
    let octets = text.len() as u64;
    let files = [(Arc::from("cluster.yaml"), text)];
    let before = computed();
    match dunlin::datastore::read_cluster(&files) {
        Ok(loaded) => {
            assert!(loaded.warnings.iter().count() <= 500);
            if let Some(node) = loaded.intent.nodes.first() {
                let _a_reason_is_an_answer = dunlin::topology::plan(&loaded.intent, &node.name);
            }
        }
        Err(problems) => assert!(problems.iter().count() <= 1000),
    }
    let took = computed().saturating_sub(before);
    assert!(
        took <= OF_A_TEXT + octets * OF_AN_OCTET,
        "{octets} octets took {} ms",
        took / 1_000_000
    );
});
