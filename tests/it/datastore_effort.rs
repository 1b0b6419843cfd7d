//! Reading a cluster takes no time that grows faster than its text: what would take every record with every other is
//! left at some point, and said to be.
//!
//! What is measured is what the thread computes for, whoever else computes beside it. Each of these texts took minutes
//! in a build like this one, and half a minute in an optimised one; now it is less than a second of the bound.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use dunlin::datastore::{Loaded, Problems, read_cluster};
use dunlin::topology::plan;

const BOUND: Duration = Duration::from_secs(40);

fn computed() -> Duration {
    let schedule = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(schedule.split(' ').next().unwrap().parse().unwrap())
}

fn read(text: String) -> Result<Loaded, Problems> {
    let octets = text.len();
    let before = computed();
    let read = read_cluster(&[(Arc::from("cluster.yaml"), text)]);
    let took = computed() - before;
    assert!(took < BOUND, "{octets} octets took {took:?}");
    read
}

fn repeat(count: usize, unit: impl Fn(usize) -> String) -> String {
    (0..count).map(unit).collect()
}

/// Nodes, each with a label of its own.
fn nodes(count: usize) -> String {
    repeat(count, |i| {
        let (high, low) = (i >> 8, i & 255);
        format!(
            "- kind: Node\n  metadata: {{name: n{i}, labels: {{x: a{i}}}}}\n  \
             spec: {{bgp: {{ipv4Address: 10.1.{high}.{low}/8}}}}\n"
        )
    })
}

fn peers(count: usize, fields: impl Fn(usize) -> String) -> String {
    repeat(count, |i| {
        format!(
            "- kind: BGPPeer\n  metadata: {{name: p{i}}}\n  spec: {{{}}}\n",
            fields(i)
        )
    })
}

#[test]
fn addresses_that_a_node_borrows_are_looked_up() {
    const MANY: usize = 200_000;
    let mut text = nodes(3);
    text.push_str("- kind: IPPool\n  metadata: {name: p}\n  spec: {cidr: 11.0.0.0/8}\n");
    let zeros = "0,".repeat(MANY);
    write!(
        text,
        "- kind: IPAMBlock\n  metadata: {{name: b}}\n  spec:\n    cidr: 11.16.0.0/12\n    \
         attributes: [{{secondary: {{node: n2}}}}]\n    allocations: [{zeros}0]\n"
    )
    .unwrap();
    let intent = read(text).unwrap().intent;
    assert_eq!(intent.nodes[2].blocks.len(), MANY + 1);
}

#[test]
fn peers_at_one_end_are_looked_at_node_by_node() {
    let one_end = |i| format!("peerIP: 192.0.2.1, asNumber: 5, nodeSelector: \"x == 'a{i}'\"");
    let text = nodes(2500) + &peers(2500, one_end);
    let warnings = read(text).map(|loaded| loaded.warnings.to_string());
    assert_eq!(warnings.as_deref(), Ok(""), "each is of another node");
    // One session configured twice is found all the same.
    let twice = |i| format!("peerIP: 192.0.2.{}, asNumber: 5", i / 2 + 1);
    let problems = read(nodes(2500) + &peers(4, twice))
        .unwrap_err()
        .to_string();
    assert_eq!(problems.lines().count(), 2, "{problems}");
    assert!(
        problems
            .contains("192.0.2.1 port 179 is already peer p0 of node n0, at cluster.yaml:7503:18"),
        "{problems}"
    );
}

#[test]
fn ranges_with_keys_are_left_at_some_point_and_that_is_said() {
    let range = |i| {
        format!(
            "peerRange: 10.0.0.0/{}, asNumber: 5, nodeSelector: \"x == 'a{i}'\", \
             password: {{secretKeyRef: {{name: a, key: b}}}}",
            8 + i % 20
        )
    };
    let read = read(nodes(2500) + &peers(2500, range));
    let problems = read.map_or_else(|problems| problems, |loaded| loaded.warnings);
    let said = problems.iter().any(|problem| {
        let message = &problem.message;
        message.starts_with("so many peers and nodes that not all of them were held")
    });
    assert!(said, "one of {}", problems.len());
}

#[test]
fn what_was_meant_is_sought_while_little_is_wrong() {
    let affinity = |i| {
        format!(
            "- kind: BlockAffinity\n  metadata: {{name: a{i}}}\n  \
             spec: {{node: a-node-that-is-gone-{i}.example.org, cidr: 10.{}.{}.0/26, state: confirmed}}\n",
            i >> 8,
            i & 255
        )
    };
    let node = |i| {
        format!(
            "- kind: Node\n  metadata: {{name: a-node-that-was-{i}.example.org}}\n  spec: {{}}\n"
        )
    };
    let loaded = read(repeat(1000, node) + &repeat(5000, affinity)).unwrap();
    let hinted = loaded
        .warnings
        .iter()
        .filter(|warning| warning.message.contains("did you mean"));
    let hinted = hinted.count();
    assert!(hinted > 0 && hinted < 50, "{hinted}");
}

#[test]
fn blocks_without_a_pool_are_looked_up() {
    const MANY: usize = 40_000;
    let pool = |i: usize| {
        let (high, middle, low) = (16 + (i >> 12), i >> 4 & 255, (i & 15) * 16);
        format!(
            "- kind: IPPool\n  metadata: {{name: p{i}}}\n  \
             spec: {{cidr: 172.{high}.{middle}.{low}/28}}\n"
        )
    };
    let block = |i: usize| format!("11.{}.{}.0/26,", i >> 8, i & 255);
    let blocks = repeat(MANY, block);
    let node = format!("- kind: Node\n  metadata: {{name: n0}}\n  spec: {{blocks: [{blocks}]}}\n");
    let loaded = read(repeat(9000, pool) + &node).unwrap();
    // And that the node has no address.
    assert_eq!(loaded.warnings.len(), MANY + 1);
    let first = loaded.warnings.iter().nth(1).unwrap();
    assert!(
        first
            .message
            .contains("expected one within 172.16.0.0/28 or "),
        "{first}"
    );
    let before = computed();
    let plan = plan(&loaded.intent, "n0").unwrap();
    let took = computed() - before;
    assert!(took < BOUND, "{took:?}");
    assert_eq!(plan.fabric.pools.len(), 9000 + MANY);
}

#[test]
fn a_plan_looks_at_a_pair_once() {
    let all = |i| format!("peerSelector: all(), filters: [f{}]", i % 2);
    let filter = |i| format!("- kind: BGPFilter\n  metadata: {{name: f{i}}}\n  spec: {{}}\n");
    let text = nodes(2500) + &repeat(2, filter) + &peers(2000, all);
    let intent = read(text).unwrap().intent;
    let before = computed();
    let plan = plan(&intent, "n0").unwrap();
    let took = computed() - before;
    assert!(took < BOUND, "{took:?}");
    assert_eq!(plan.peers.len(), 2499);
    // Every other one has another filter than the first, which is the one in use; sixteen are compared.
    assert_eq!(plan.warnings.len(), 8);
    let line = "peers \"p0\" and \"p1\" both are for the session with node \"n1\" and 2498 more, and differ; \"p0\" is used";
    assert!(
        plan.warnings.iter().any(|warning| warning == line),
        "{}",
        plan.warnings[0]
    );
}

#[test]
fn what_no_plan_comes_to_an_end_with_is_refused() {
    let long = |i| {
        let terms = format!("x == 'b{i}' || ").repeat(1000);
        format!("peerSelector: \"{terms}x == 'a'\"")
    };
    let read = read(nodes(5000) + &peers(200, long));
    let said = read.map_or_else(|problems| problems.to_string(), |_| String::new());
    assert!(
        said.contains("5000 nodes and 200 peers with selectors so long take a plan too long"),
        "{said}"
    );
}
