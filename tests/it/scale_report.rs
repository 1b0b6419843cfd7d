//! What a story cost, as lines of words and numbers: the golden files, and what the page is made of.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use crate::scale_cluster::Topology;
use crate::scale_count::Peaks;
use crate::scale_story::{Cost, Stage, Story};

const HEAD: &str = "\
# Written by UPDATE_GOLDEN=1 DUNLIN_SCALE=5000 cargo test --release --test it scale_
# Octets are those of BGP messages, without TCP and IP. A role's line adds up all nodes of the role that
# are counted; `most` is one node's messages, both ways.
";

/// The numbers of a case, by line and word.
#[derive(Debug, Default)]
pub(crate) struct Numbers(BTreeMap<String, BTreeMap<String, u64>>);

impl Numbers {
    pub(crate) fn parse(text: &str) -> Self {
        let mut all = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let mut words = line.split_whitespace();
            let key = words.next().unwrap().to_owned();
            let fields = words.map(|word| {
                let (name, number) = word.split_once('=').unwrap();
                (name.to_owned(), number.parse().unwrap())
            });
            all.0.insert(key, fields.collect());
        }
        all
    }

    /// The number, or `None` if the case has no such line.
    pub(crate) fn get(&self, line: &str, word: &str) -> Option<u64> {
        self.0.get(line)?.get(word).copied()
    }
}

pub(crate) fn path(topology: Topology, nodes: usize) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.join(format!(
        "proto-fixtures/scale/{}-{nodes}.txt",
        topology.name()
    ))
}

pub(crate) fn updating() -> bool {
    std::env::var_os("UPDATE_GOLDEN").is_some()
}

/// Compares with a golden file, or writes it.
pub(crate) fn golden(path: &PathBuf, text: &str) {
    println!("{text}");
    if updating() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(
        text,
        expected,
        "UPDATE_GOLDEN=1 rewrites {}",
        path.display()
    );
}

/// All of it.
pub(crate) fn report(story: &Story, stages: &[Stage]) -> String {
    let mut out = HEAD.to_owned();
    for stage in stages {
        let Stage {
            name,
            millis,
            messages,
            octets,
            costs,
        } = stage;
        writeln!(
            out,
            "{name} ms={millis} messages={messages} octets={octets}"
        )
        .unwrap();
        for cost in costs {
            out.push_str(&cost_line(name, cost));
        }
    }
    for role in story.shape.roles() {
        let of_role = |number: &usize| story.real[*number] && story.shape.role(*number) == *role;
        let members: Vec<_> = (0..story.shape.nodes).filter(of_role).collect();
        let mut peaks = Peaks::default();
        for number in &members {
            peaks.join(&story.world.hosts[*number].peaks);
        }
        let Peaks {
            destinations,
            paths,
            attribute_sets,
            outbox,
            sessions,
            encoded,
            rib,
        } = peaks;
        writeln!(
            out,
            "state.{role} nodes={} sessions={sessions} destinations={destinations} paths={paths} \
             attribute-sets={attribute_sets} outbox-octets={outbox} encoded={encoded} \
             rib-octets={rib}",
            members.len(),
        )
        .unwrap();
    }
    out
}

fn cost_line(stage: &str, cost: &Cost) -> String {
    let (sent, received) = (&cost.all.sent, &cost.all.received);
    format!(
        "{stage}.{} nodes={} sent-messages={} sent-octets={} sent-updates={} announced={} \
         received-messages={} received-octets={} received-updates={} most={}\n",
        cost.role,
        cost.nodes,
        sent.messages,
        sent.octets,
        sent.updates,
        sent.announced,
        received.messages,
        received.octets,
        received.updates,
        cost.most,
    )
}
