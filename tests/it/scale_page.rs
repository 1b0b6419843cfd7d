//! `interop/SCALE.md`, made of the golden files: nothing on it was typed.
//!
//! The page holds all sizes; the stories of a default run confirm those files that they write, and
//! `DUNLIN_SCALE` confirms the others.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Mutex;

use crate::scale_cluster::{BLOCKS, Shape, Topology};
use crate::scale_report::{Numbers, golden, path, updating};
use crate::scale_story::{CAREFUL, LINK};

const SIZES: [usize; 3] = [100, 1_000, 5_000];

struct Case {
    shape: Shape,
    numbers: Numbers,
}

impl Case {
    fn get(&self, line: &str, word: &str) -> Option<u64> {
        self.numbers.get(line, word)
    }

    /// What a row of the case begins with.
    fn head(&self, who: &str) -> String {
        let topology = match self.shape.topology {
            Topology::Mesh => "full mesh".to_owned(),
            Topology::Reflectors => "4 reflectors".to_owned(),
            Topology::Hierarchy => format!("{} + {} reflectors", self.shape.top, self.shape.second),
        };
        let nodes = thousands(self.shape.nodes as u64);
        format!("| {topology} | {nodes} | {}", role(who))
    }
}

fn role(role: &str) -> &str {
    match role {
        "node" => "a node",
        "reflector" => "a reflector",
        "second" => "a reflector, second level",
        "top" => "a reflector, top",
        "newcomer" => "the newcomer",
        "changer" => "the node of the block",
        other => other,
    }
}

/// All cases that there are files of.
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for topology in Topology::ALL {
        for nodes in SIZES {
            let Ok(text) = std::fs::read_to_string(path(topology, nodes)) else {
                continue;
            };
            cases.push(Case {
                shape: Shape::new(topology, nodes),
                numbers: Numbers::parse(&text),
            });
        }
    }
    cases
}

/// Writes the page after a golden file was written, so that one run is enough.
pub(crate) fn refresh() {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock();
    if updating() {
        std::fs::write(place(), page(&cases())).unwrap();
    }
}

fn place() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("interop/SCALE.md")
}

#[test]
fn the_page_is_what_the_runs_say() {
    if updating() {
        return refresh();
    }
    golden(&place(), &page(&cases()));
}

fn page(cases: &[Case]) -> String {
    let mut out = intro();
    out.push_str("\n## Sessions and routes at the peak\n\n");
    out.push_str(STATE);
    state(&mut out, cases);
    for (stage, title, text) in STAGES {
        write!(out, "\n## {title}\n\n{text}\n").unwrap();
        traffic(&mut out, cases, stage);
    }
    out
}

fn intro() -> String {
    format!(
        "\
# What a cluster costs, by size and topology

Every number here is from a simulation: the daemon's own core (`src/node`, `src/speaker`) in virtual time, made by
`tests/it/scale_*.rs` and kept in `proto-fixtures/scale`. `cargo test` runs the full mesh of 100, 1,000 and 5,000
nodes, 4 reflectors with 100 and 1,000, and two levels with 100, and fails if one number is another one. The rest is
on demand:

```sh
DUNLIN_SCALE=5000 cargo test --release --test it scale_                   # all sizes (1000: but those of 5,000)
UPDATE_GOLDEN=1 DUNLIN_SCALE=5000 cargo test --release --test it scale_   # writes the numbers and this page anew
```

## What is assumed

- IPv4; each node has {BLOCKS} blocks (/26). Configuration: as it comes; reflectors by `peer-selector`.
- *4 reflectors*: four nodes with one cluster id, everybody else is a client of all four. *Two levels*: the top ones
  have one cluster id and peer with each other; those of the second level have an id each and are clients of all top
  ones; every node is a client of two of the second level. Reflectors are nodes with blocks, too.
- **Real** are all reflectors, one node in the middle, and the one that joins: whole nodes with sessions, tables and
  policy. **All others are stubs**: they bring sessions up with a node's OPEN, say their blocks and End-of-RIB, send
  KEEPALIVEs, and count what they hear; they have no table. A test starts 24 nodes with stubs and without: in the mesh
  and with 4 reflectors all counts are equal, to the octet; with two levels what nodes say is (there the order of
  arrivals decides which path is there first).
  In the full mesh a stub has sessions with the real nodes only; there *a node* is a real one, and the cluster's sums
  are its numbers times the nodes.
- After each stage each real node has exactly the blocks of the cluster with the right next hops, and so has every
  {CAREFUL}th stub; of the other stubs it is known that their sessions are up and End-of-RIB came.
- A link has a delay of 1 to {LINK} ms, its own, and no limit of octets or messages. Computing takes no time; all that
  reaches a node within one millisecond is one turn of its event loop. There is no kernel and no loss.
- Octets are those of BGP messages, without TCP and IP. *ms* is virtual time from the first moment until the last
  UPDATE arrived anywhere; nodes spread their first dials over 100 ms, which is most of it.
- Rows of a role are means over its nodes; *busiest* is one node's messages, both ways.

Apart from this, two seeded stories of 64 real nodes in a full mesh, with cut links, lost power, killed processes and
deliveries that overtake each other, end converged and are the same each time, to the octet
(`proto-fixtures/scale/faults.txt`).
"
    )
}

const STATE: &str = "\
The most that one node of the role had at any time, newcomer included; *real* is how many were looked at. Outbox:
octets handed to all connections and not yet taken by the kernel. RIB: octets of tables, attribute sets and what was
sent to whom, by `size_of` and capacities (`Rib::memory`); sessions are not in it. *Encoded*: attribute sets made into
octets since the start, which is work and not memory. Reflectors of one cluster id send each other all that they know
and refuse it (RFC 4456 §8), hence their paths.

| topology | nodes | who | real | sessions | sessions in the cluster | destinations | paths | attribute sets | outbox | RIB | encoded |
| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
";

const STAGES: [(&str, &str, &str); 4] = [
    (
        "start",
        "All nodes start at once",
        "Every process is there at the first moment, and nobody knows anything.",
    ),
    (
        "join",
        "A node joins",
        "All others get the new cluster file at the moment when the newcomer's process starts.",
    ),
    (
        "change",
        "One block changes",
        "One node's first block goes and it gets another one, in one change of the file.",
    ),
    (
        "idle",
        "A minute in which nothing happens",
        "With the default hold time, 90 s: KEEPALIVEs each 22 to 30 s, and no UPDATE.",
    ),
];

const TRAFFIC: &str = "
| topology | nodes | who | sent | octets | received | octets | busiest | cluster, messages | cluster, octets | ms |
| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
";

fn state(out: &mut String, cases: &[Case]) {
    for case in cases {
        let mut all = thousands(case.shape.sessions());
        for role in case.shape.roles() {
            let line = format!("state.{role}");
            let get = |word| case.get(&line, word).map_or_else(String::new, thousands);
            writeln!(
                out,
                "{} | {} | {} | {all} | {} | {} | {} | {} | {} | {} |",
                case.head(role),
                get("nodes"),
                get("sessions"),
                get("destinations"),
                get("paths"),
                get("attribute-sets"),
                get("outbox-octets"),
                get("rib-octets"),
                get("encoded"),
            )
            .unwrap();
            all.clear();
        }
    }
}

fn traffic(out: &mut String, cases: &[Case], stage: &str) {
    out.push_str(TRAFFIC);
    for case in cases {
        let mut sums = ["messages", "octets", "ms"].map(|word| {
            let found = case
                .get(stage, word)
                .filter(|_| (stage, word) != ("idle", "ms"));
            found.map_or_else(String::new, thousands)
        });
        let acting = ["newcomer", "changer"];
        for role in case.shape.roles().iter().chain(&acting) {
            let line = format!("{stage}.{role}");
            let Some(nodes) = case.get(&line, "nodes").filter(|nodes| *nodes > 0) else {
                continue;
            };
            let each = |word| {
                case.get(&line, word)
                    .map_or_else(String::new, |all| mean(all, nodes))
            };
            let [messages, octets, ms] = &sums;
            writeln!(
                out,
                "{} | {} | {} | {} | {} | {} | {messages} | {octets} | {ms} |",
                case.head(role),
                each("sent-messages"),
                each("sent-octets"),
                each("received-messages"),
                each("received-octets"),
                case.get(&line, "most").map_or_else(String::new, thousands),
            )
            .unwrap();
            sums = Default::default();
        }
    }
}

/// A mean, with a tenth where that tells something.
fn mean(all: u64, nodes: u64) -> String {
    let tenths = (all * 10 + nodes / 2) / nodes;
    match tenths {
        0..1_000 if !tenths.is_multiple_of(10) => format!("{}.{}", tenths / 10, tenths % 10),
        _ => thousands((tenths + 5) / 10),
    }
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
