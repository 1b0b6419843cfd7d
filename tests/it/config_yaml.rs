//! Calico's own resources as YAML: the same cluster in two spellings, manifests of every pool
//! mode, files that belong together, and texts that must not harm.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use dunlin::datastore::{Loaded, Problems, load, read_cluster};
use dunlin::net::Prefix;
use dunlin::topology::PoolMode::{self, Always, CrossSubnet, Never};
use proptest::prelude::*;

fn fixture(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto-fixtures/intent");
    fs::read_to_string(root.join(name)).unwrap()
}

fn read(files: &[(&str, &str)]) -> Result<Loaded, Problems> {
    let files: Vec<(Arc<str>, String)> = files
        .iter()
        .map(|(name, text)| ((*name).into(), (*text).to_owned()))
        .collect();
    read_cluster(&files)
}

fn lines(problems: &Problems) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn one_cluster_in_two_spellings_is_one_intent() {
    let yaml = read(&[("cluster.yaml", &fixture("yaml/cluster.yaml"))]).unwrap();
    let toml = read(&[("cluster.toml", &fixture("yaml/cluster.toml"))]).unwrap();
    let mut expected = toml.intent;
    // An address of node-a's block that node-b uses; TOML has no word for that.
    let borrowed: Prefix = "10.244.0.3/32".parse().unwrap();
    expected.nodes[1].blocks.push(borrowed);
    assert_eq!(yaml.intent, expected);
    assert_eq!(
        lines(&yaml.warnings),
        [
            "cluster.yaml:222:1: warning: ClusterInformation of projectcalico.org/v3 is not read \
             here",
            "cluster.yaml:227:1: warning: Secret of v1 is not read here",
        ]
    );
}

/// Three nodes and what IPAM says of their blocks; `node-b` borrows of `node-a`.
fn borrowing(more: &str) -> String {
    let text = r#"
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: pods}
spec: {cidr: 10.60.0.0/16, vxlanMode: Always}
---
apiVersion: projectcalico.org/v3
kind: Node
metadata: {name: node-a}
spec: {bgp: {ipv4Address: 198.18.0.1/24}}
---
apiVersion: projectcalico.org/v3
kind: Node
metadata: {name: node-b}
spec: {bgp: {ipv4Address: 198.18.0.2/24}}
---
apiVersion: crd.projectcalico.org/v1
kind: IPAMBlock
metadata: {name: 10-60-1-0-29}
spec:
  cidr: 10.60.1.0/29
  affinity: host:node-a
  allocations: [0, 1, null, 2, 3, 4, null, null]
  attributes:
  - {handle_id: k8s.0, secondary: {node: node-a, namespace: d, pod: p}}
  - {handle_id: k8s.1, secondary: {node: node-a, namespace: d, pod: q}}
  - {handle_id: k8s.2, secondary: {node: node-a, namespace: d, pod: r}, releasedAt: "2026-01-01T00:00:00Z"}
  - {handle_id: k8s.3, secondary: {node: node-b, namespace: d, pod: s}}
  - {handle_id: vxlan-tunnel-addr-node-b, secondary: {node: node-b, type: vxlanTunnelAddress}}
"#;
    format!("{text}{more}")
}

#[test]
fn what_ipam_gives_to_other_nodes_is_lent_and_what_it_gives_away_is_no_tunnels() {
    let loaded = read(&[("a.yaml", &borrowing(""))]).unwrap();
    let addresses = |texts: &[&str]| -> Vec<std::net::IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    };
    let [a, b] = &*loaded.intent.nodes else {
        panic!("{:?}", loaded.intent.nodes);
    };
    // The pod's and the tunnel's of the other node among them; not what was released.
    assert_eq!(
        a.given,
        addresses(&["10.60.1.0", "10.60.1.1", "10.60.1.4", "10.60.1.5"])
    );
    assert_eq!(b.given, addresses(&[]));
    let a = dunlin::topology::plan(&loaded.intent, "node-a").unwrap();
    let hosts = |texts: &[&str]| -> Vec<Prefix> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    };
    assert_eq!(a.lent, hosts(&["10.60.1.4/32", "10.60.1.5/32"]));
    assert_eq!(a.own_blocks, hosts(&["10.60.1.0/29"]));
    // The block's first address is a pod's: the tunnel's is the last free one, on every node.
    assert_eq!(a.tunnel_addresses(), addresses(&["10.60.1.7"]));
    let b = dunlin::topology::plan(&loaded.intent, "node-b").unwrap();
    assert_eq!(b.originate, hosts(&["10.60.1.4/32", "10.60.1.5/32"]));
    assert_eq!(b.lent, hosts(&[]));
    let of_a = |plan: &dunlin::topology::Plan| plan.fabric.node("node-a").unwrap().vxlan;
    assert_eq!(of_a(&a), of_a(&b));
}

#[test]
fn ipams_own_word_for_a_nodes_tunnel_and_a_record_of_it_are_no_obstacle() {
    // Its first address is the node's own tunnel's.
    let own = borrowing("").replace(
        "{handle_id: k8s.0, secondary: {node: node-a, namespace: d, pod: p}}",
        "{handle_id: vxlan-tunnel-addr-node-a, secondary: {node: node-a, type: vxlanTunnelAddress}}",
    );
    let tunnel = |text: &str| {
        let loaded = read(&[("a.yaml", text)]).unwrap();
        let plan = dunlin::topology::plan(&loaded.intent, "node-a").unwrap();
        let me = plan.fabric.node("node-a").unwrap();
        (plan.tunnel_addresses(), me.displaced.len())
    };
    let address = |text: &str| vec![text.parse().unwrap()];
    assert_eq!(tunnel(&own), (address("10.60.1.0"), 0));
    // What is on record counts, and then nothing is kept of what IPAM gives away.
    let recorded = borrowing("").replace(
        "metadata: {name: node-a}\nspec: {bgp: {ipv4Address: 198.18.0.1/24}}",
        "metadata: {name: node-a}\nspec: {bgp: {ipv4Address: 198.18.0.1/24}, \
         ipv4VXLANTunnelAddr: 10.60.9.9}",
    );
    assert_eq!(tunnel(&recorded), (address("10.60.9.9"), 0));
    let loaded = read(&[("a.yaml", &recorded)]).unwrap();
    assert!(loaded.intent.nodes[0].given.is_empty());
}

#[test]
fn a_block_that_has_outlived_its_pool_refuses_nothing_and_its_addresses_are_lent() {
    let gone = borrowing("").replace("10.60.0.0/16", "10.61.0.0/16");
    let more = r#"---
apiVersion: crd.projectcalico.org/v1
kind: BlockAffinity
metadata: {name: b}
spec: {cidr: 10.61.2.0/26, node: node-b, state: confirmed, deleted: "false"}
---
apiVersion: crd.projectcalico.org/v1
kind: BlockAffinity
metadata: {name: c}
spec: {cidr: 10.60.0.0/15, node: node-b, state: confirmed, deleted: "false"}
"#;
    let loaded = read(&[("a.yaml", &format!("{gone}{more}"))]).unwrap();
    let warned = lines(&loaded.warnings);
    let about = |block: &str, fate: &str| {
        let line = |line: &&String| line.contains(block) && line.contains(fate);
        warned.iter().filter(line).count()
    };
    assert_eq!(
        about("block 10.60.1.0/29 lies in no pool", "keeps the way"),
        1
    );
    assert_eq!(
        about("block 10.60.0.0/15 lies in no pool", "left out"),
        1,
        "{warned:?}"
    );
    assert_eq!(warned.len(), 2, "{warned:?}");
    let plan = dunlin::topology::plan(&loaded.intent, "node-a").unwrap();
    let hosts = |texts: &[&str]| -> Vec<Prefix> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    };
    assert_eq!(plan.originate, hosts(&["10.60.1.0/29"]));
    assert_eq!(plan.lent, hosts(&["10.60.1.4/32", "10.60.1.5/32"]));
    assert_eq!(plan.pools, hosts(&["10.60.1.0/29", "10.61.0.0/16"]));
    let of_b = &plan.fabric.node("node-b").unwrap().blocks;
    assert!(of_b.contains(&"10.61.2.0/26".parse().unwrap()), "{of_b:?}");
}

#[test]
fn a_tunnel_address_in_anothers_block_is_lent_as_pods_are() {
    let text = borrowing("").replace(
        "metadata: {name: node-b}\nspec: {bgp: {ipv4Address: 198.18.0.2/24}}",
        "metadata: {name: node-b}\nspec: {bgp: {ipv4Address: 198.18.0.2/24}, \
         ipv4VXLANTunnelAddr: 10.60.1.6}",
    );
    let loaded = read(&[("a.yaml", &text)]).unwrap();
    let plan = dunlin::topology::plan(&loaded.intent, "node-a").unwrap();
    let tunnel: Prefix = "10.60.1.6/32".parse().unwrap();
    assert!(plan.lent.contains(&tunnel), "{:?}", plan.lent);
}

#[test]
fn pool_manifests_of_every_mode_apply_verbatim() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto-fixtures/intent/yaml-pools");
    let loaded = load(&folder).unwrap();
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    let pools: Vec<(&str, PoolMode, PoolMode, bool, bool)> = loaded
        .intent
        .pools
        .iter()
        .map(|pool| {
            let (nat, disabled) = (pool.nat_outgoing, pool.disabled);
            (
                pool.name.as_str(),
                pool.ipip_mode,
                pool.vxlan_mode,
                nat,
                disabled,
            )
        })
        .collect();
    assert_eq!(
        pools,
        [
            ("json", Always, Never, true, false),
            ("of-the-list", Never, Always, false, false),
            ("ipip-always", Always, Never, true, false),
            ("ipip-cross-subnet", CrossSubnet, Never, true, false),
            ("vxlan-always", Never, Always, true, false),
            ("vxlan-cross-subnet", Never, CrossSubnet, true, false),
            ("plain", Never, Never, false, false),
            ("retired", Never, Never, false, true),
            ("ipv6", Never, Always, true, false),
        ]
    );
}

#[test]
fn toml_and_yaml_files_are_one_cluster() {
    let toml = "[[ip-pool]]\ncidr = \"10.244.0.0/16\"\n[[node]]\nname = \"a\"\n\
                ipv4-address = \"10.0.0.1/24\"\n";
    let yaml = "kind: BlockAffinity\nmetadata: {name: x}\n\
                spec: {cidr: 10.244.0.0/26, node: a, state: confirmed}\n";
    // The block may come before its node.
    for files in [
        [("1.toml", toml), ("2.yaml", yaml)],
        [("1.yml", yaml), ("2.toml", toml)],
    ] {
        let loaded = read(&files).unwrap();
        assert_eq!(
            loaded.intent.nodes[0].blocks,
            ["10.244.0.0/26".parse().unwrap()]
        );
        assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    }
}

#[test]
fn duplicates_across_files_name_both_places() {
    let toml = "[bgp]\nas-number = 1\n[[ip-pool]]\nname = \"p\"\ncidr = \"10.244.0.0/16\"\n\
                [[node]]\nname = \"a\"\nipv4-address = \"10.0.0.1/24\"\n";
    let yaml = "kind: BGPConfiguration\nmetadata: {name: default}\n---\nkind: IPPool\n\
                metadata: {name: p}\nspec: {cidr: 10.245.0.0/16}\n---\nkind: Node\n\
                metadata: {name: a}\nspec: {bgp: {ipv4Address: 10.0.0.2/24}}\n---\n\
                kind: BlockAffinity\nmetadata: {name: x}\n\
                spec: {cidr: 10.245.0.0/26, node: a}\n";
    let again = "kind: BlockAffinity\nmetadata: {name: x}\n\
                 spec: {cidr: 10.245.1.0/26, node: a}\n";
    let problems = read(&[("a.toml", toml), ("b.yaml", yaml), ("c.yaml", again)]).unwrap_err();
    assert_eq!(
        lines(&problems),
        [
            "b.yaml:1:1: BGPConfiguration is already at a.toml:1:1; keep one of them",
            "b.yaml:5:18: pool p is already taken at a.toml:4:8",
            "b.yaml:9:18: node a is already taken at a.toml:7:8",
            "c.yaml:2:18: BlockAffinity x is already taken at b.yaml:13:18",
        ]
    );
}

#[test]
fn a_file_that_can_not_be_parsed_spares_what_refers_to_it() {
    let toml = "[[node]]\nname = \"a\"\nipv4-address = \"10.0.0.1/24\"\n\
                blocks = [\"10.244.0.0/26\"]\n[[bgp-peer]]\nname = \"p\"\nnode = \"b\"\n\
                peer-ip = \"10.0.0.9\"\nas-number = 1\n";
    let problems = read(&[("a.toml", toml), ("b.yaml", "kind: [\n")]).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems}");
    assert!(
        problems.to_string().starts_with("b.yaml:2:1: "),
        "{problems}"
    );
}

#[test]
fn what_is_too_deep_or_too_much_is_refused() {
    let mut bomb = "a0: &a0 [1,2,3,4,5,6,7,8,9]\n".to_owned();
    for level in 1..60 {
        let before = level - 1;
        bomb.push_str(&format!(
            "a{level}: &a{level} [*a{before},*a{before},*a{before}]\n"
        ));
    }
    let deep = 100_000;
    for text in [
        bomb,
        "- ".repeat(deep),
        "? ".repeat(deep),
        "[".repeat(deep),
        "{a: ".repeat(deep),
        "items: [".repeat(deep),
    ] {
        let head: String = text.chars().take(20).collect();
        let problems = read(&[("c.yaml", &text)]).unwrap_err();
        assert_eq!(problems.len(), 1, "{head}: {problems}");
    }
}

#[test]
fn one_long_line_is_read_as_fast_as_many() {
    let item = |i: u32| {
        format!(
            "{{\"kind\":\"BlockAffinity\",\"metadata\":{{\"name\":\"é{i}\"}},\"spec\":\
             {{\"cidr\":\"10.{}.{}.0/24\",\"node\":\"nobody\"}}}}",
            i / 256,
            i % 256
        )
    };
    let items: Vec<String> = (0..20_000).map(item).collect();
    let text = format!("{{\"kind\":\"List\",\"items\":[{}]}}", items.join(","));
    let loaded = read(&[("c.yaml", &text)]).unwrap();
    assert_eq!(loaded.warnings.len(), 20_000);
    // So many are kept; one that is an error is, too.
    assert_eq!(loaded.warnings.iter().count(), 500);
    let text = text.replacen("10.78.31.0/24", "nonsense", 1);
    let problems = read(&[("c.yaml", &text)]).unwrap_err();
    let found = problems.iter().find(|p| p.message.contains("nonsense"));
    let expected = text.find("\"nonsense\"").unwrap();
    let column = text[..expected].chars().count() + 1;
    assert_eq!(found.unwrap().place.column, column);
}

#[test]
fn no_cut_or_change_of_a_cluster_panics() {
    let text = fixture("yaml/cluster.yaml");
    let mut outcomes = [0, 0];
    for (at, _) in text.char_indices().step_by(293) {
        outcomes[usize::from(read(&[("c.yaml", &text[..at])]).is_ok())] += 1;
        for replacement in ["\"", "[", "9", "\u{0}", "ö", "\n", "- ", ": ", "&a ", "*a "] {
            let changed = format!("{}{replacement}{}", &text[..at], &text[at + 1..]);
            outcomes[usize::from(read(&[("c.yaml", &changed)]).is_ok())] += 1;
        }
    }
    assert!(outcomes.iter().all(|count| *count > 0), "{outcomes:?}");
}

/// Words of the vocabulary, so that arbitrary texts get past the first line.
fn words() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "kind: ",
        "IPPool",
        "Node",
        "List",
        "IPAMBlock",
        "BlockAffinity",
        "apiVersion: ",
        "projectcalico.org/v3",
        "metadata: ",
        "name: ",
        "spec: ",
        "items: ",
        "cidr: ",
        "10.0.0.0/8",
        "bgp: ",
        "addresses: ",
        "labels: ",
        "allocations: ",
        "attributes: ",
        "\n",
        "\n  ",
        "\n    ",
        "- ",
        "{",
        "}",
        "[",
        "]",
        ", ",
        "---\n",
        "&a ",
        "*a",
        "!!str ",
        "\"",
        "'",
        "|\n",
        "null",
        "1.10",
        "-7",
        "é",
        "\u{feff}",
        "#",
        "%YAML 1.2\n",
    ]);
    prop::collection::vec(word, 0..60).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn no_text_panics_and_each_problem_has_a_place(
        text in prop_oneof![any::<String>(), words(), "[ -~\\n]{0,200}"]
    ) {
        let outcome = read(&[("c.yaml", &text)]);
        let problems = match &outcome {
            Ok(loaded) => {
                prop_assert!(!loaded.warnings.has_errors());
                &loaded.warnings
            }
            Err(problems) => {
                prop_assert!(problems.has_errors());
                problems
            }
        };
        let line_count = text.lines().count() + 1;
        for problem in problems.iter() {
            prop_assert!(problem.place.line >= 1 && problem.place.line <= line_count);
            prop_assert!(problem.place.column >= 1);
        }
    }
}
