//! `explain` asks the kernel: what takes a packet stands beside what should, whoever made it and in whatever
//! table it is. A daemon without BGP in a namespace, so that its routes need no peer.

use std::process::{Child, Command, Stdio};
use std::time::Instant;

use serde_json::Value;

use crate::cli::{PATIENCE, dunlin};
use crate::dataplane_netns::{in_namespace, ip};
use crate::folder::Folder;

/// Routes between three nodes: over the link `v0`, 10.9.0.0/24 and fd00:9::/64, a router beside them.
struct World {
    folder: Folder,
    child: Child,
}

const CLUSTER: &str = "[bgp]\nas-number = 64512\nnode-to-node-mesh-enabled = false\n\
    [[ip-pool]]\ncidr = \"10.244.0.0/16\"\n[[ip-pool]]\ncidr = \"fd00:244::/48\"\n\
    [[node]]\nname = \"a\"\nipv4-address = \"10.9.0.1/24\"\nipv6-address = \"fd00:9::1/64\"\n\
    blocks = [\"10.244.0.0/26\", \"fd00:244:0:1::/122\"]\n\
    [[node]]\nname = \"b\"\nipv4-address = \"10.9.0.2/24\"\nipv6-address = \"fd00:9::2/64\"\n\
    blocks = [\"10.244.1.0/26\", \"fd00:244:0:2::/122\"]\n";

impl World {
    /// `pools` is what stands in each pool, such as `vxlan-mode`.
    fn new(name: &str, pools: &str) -> Self {
        let folder = Folder::new(name);
        let cluster = CLUSTER.replace("/16\"\n", &format!("/16\"\n{pools}\n"));
        let cluster = cluster.replace("/48\"\n", &format!("/48\"\n{pools}\n"));
        folder.write("cluster.toml", &cluster);
        let socket = folder.path("d.sock");
        let config = folder.write(
            "dunlin.toml",
            &format!(
                "[node]\nname = \"a\"\n[datastore]\npath = \"cluster.toml\"\n[control]\nsocket = \"{}\"\n\
                 [routing]\nbackend = \"vxlan\"\n",
                socket.display()
            ),
        );
        let child = dunlin()
            .args(["run", "--config"])
            .arg(config)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { folder, child }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = dunlin();
        command
            .arg("--socket")
            .arg(self.folder.path("d.sock"))
            .args(arguments);
        command
    }

    fn explain(&self, what: &str) -> Value {
        let mut command = self.command(&["explain", what, "--output", "json"]);
        let output = command.output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    /// Asks until the kernel's answer to a packet of this host is this one: the daemon follows the kernel.
    fn until(&self, what: &str, verdict: &str) -> Value {
        let end = Instant::now() + PATIENCE;
        loop {
            let said = self.explain(what);
            // The kernel may have a route before the daemon has heard that it took it.
            let settled = verdict != "as_wanted" || !said["installed"].is_null();
            if said["kernel"][0]["verdict"] == verdict && settled {
                return said;
            }
            assert!(Instant::now() < end, "{what} is not {verdict}: {said:#}");
        }
    }

    /// The same, with something wrong that has these words.
    fn wrong(&self, what: &str, verdict: &str, words: &[&str]) -> Value {
        let said = self.until(what, verdict);
        let problems = said["problems"].to_string();
        for word in words {
            assert!(problems.contains(word), "{what}: no {word:?} in {problems}");
        }
        said
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _status = self.child.wait();
    }
}

/// Both families: the address of a pod here, of one there, and the block there.
const FAMILIES: [[&str; 4]; 2] = [
    ["10.244.0.7", "10.244.1.9", "10.244.1.0/26", "32"],
    [
        "fd00:244:0:1::7",
        "fd00:244:0:2::9",
        "fd00:244:0:2::/122",
        "128",
    ],
];

fn family(address: &str) -> &'static str {
    if address.contains(':') { "-6" } else { "-4" }
}

/// A link that leads to somebody else.
fn other_link() {
    ip("link add e0 type veth peer name e1");
    ip("addr add 10.8.0.1/24 dev e0");
    ip("addr add fd00:8::1/64 dev e0 nodad");
    ip("link set e1 up");
    ip("link set e0 up");
}

#[test]
fn a_local_pod_is_told_from_an_address_that_nobody_has() {
    in_namespace(|| {
        let world = World::new("explain-pod", "");
        for [pod, _, _, length] in FAMILIES {
            let said = world.wrong(pod, "nobody", &["this address is nobody's"]);
            assert_eq!(said["kernel"][0]["fate"], "blackhole", "{said:#}");
            ip(&format!(
                "link add cali{length} type veth peer name pod{length}"
            ));
            ip(&format!("link set cali{length} up"));
            ip(&format!(
                "{} route add {pod}/{length} dev cali{length}",
                family(pod)
            ));
            let said = world.until(pod, "pod");
            assert_eq!(said["problems"], serde_json::json!([]), "{said:#}");
            assert_eq!(said["kernel"][0]["owner"], "boot (protocol 3)");
            // And as others see it: from the other node, by the link that leads there.
            let passed_on = &said["kernel"][1];
            assert_eq!(passed_on["arriving_link"], "v0", "{said:#}");
            assert_eq!(passed_on["verdict"], "pod", "{said:#}");
        }
    });
}

#[test]
fn what_takes_the_packet_instead_of_our_route_is_named_with_its_owner() {
    in_namespace(|| {
        let world = World::new("explain-others", "");
        other_link();
        for [_, pod, block, length] in FAMILIES {
            let of = family(pod);
            let via = if of == "-6" { "fd00:8::2" } else { "10.8.0.2" };
            let good = world.until(pod, "as_wanted");
            assert_eq!(good["problems"], serde_json::json!([]), "{good:#}");
            assert_eq!(good["kernel"][0]["prefix"], block);
            // A more specific one.
            ip(&format!(
                "{of} route add {pod}/{length} via {via} dev e0 proto static"
            ));
            let said = world.wrong(
                pod,
                "more_specific",
                &["more specific", "static (protocol 4)", "table main"],
            );
            assert!(
                said["kernel"][0]["way"]
                    .as_str()
                    .unwrap()
                    .contains("dev e0"),
                "{said:#}"
            );
            ip(&format!(
                "{of} route del {pod}/{length} via {via} dev e0 proto static"
            ));
            world.until(pod, "as_wanted");
            // Another table, by a rule.
            ip(&format!(
                "{of} route add {block} via {via} dev e0 table 77 proto 186"
            ));
            ip(&format!("{of} rule add to {block} lookup 77 priority 100"));
            world.wrong(
                pod,
                "other_table",
                &["ip rule", "table 77", "bgp (protocol 186)"],
            );
            ip(&format!("{of} rule del to {block} lookup 77 priority 100"));
            // A rule that drops.
            ip(&format!(
                "{of} rule add to {block} unreachable priority 100"
            ));
            world.wrong(pod, "no_route", &["ip rule", "unreachable"]);
            ip(&format!(
                "{of} rule del to {block} unreachable priority 100"
            ));
            world.until(pod, "as_wanted");
        }
    });
}

#[test]
fn a_route_of_another_program_to_the_very_block_is_named() {
    in_namespace(|| {
        other_link();
        // They stand there before us, and better than ours.
        ip("route add 10.244.1.0/26 via 10.8.0.2 dev e0 proto static");
        ip("-6 route add fd00:244:0:2::/122 via fd00:8::2 dev e0 proto static metric 10");
        let world = World::new("explain-very", "");
        for [_, pod, ..] in FAMILIES {
            world.wrong(
                pod,
                "same_prefix",
                &["the very prefix", "static (protocol 4)"],
            );
        }
    });
}

#[test]
fn no_route_at_all_and_a_wider_one_are_told_apart() {
    in_namespace(|| {
        let world = World::new("explain-none", "");
        other_link();
        for [_, pod, ..] in FAMILIES {
            world.until(pod, "as_wanted");
        }
        // Without its link none of the next hops can be reached; the addresses are still in the block.
        ip("addr flush dev v0");
        for [_, pod, block, _] in FAMILIES {
            let of = family(pod);
            let end = Instant::now() + PATIENCE;
            while ip(&format!("{of} route show {block}")).contains("proto 179") {
                assert!(Instant::now() < end, "our route stays");
            }
            let said = world.explain(pod);
            assert_eq!(said["kernel"][0]["fate"], "no_route", "{said:#}");
            assert_ne!(said["problems"], serde_json::json!([]), "{said:#}");
            let (wide, via) = match of {
                "-6" => ("fd00:244::/48", "fd00:8::2"),
                _ => ("10.244.0.0/16", "10.8.0.2"),
            };
            ip(&format!("{of} route add {wide} via {via} dev e0"));
            world.wrong(pod, "less_specific", &["a wider one", "boot (protocol 3)"]);
        }
        let nowhere = world.command(&["explain", "192.0.2.1"]).output().unwrap();
        assert_eq!(nowhere.status.code(), Some(4), "{nowhere:?}");
        let text = String::from_utf8_lossy(&nowhere.stdout).into_owned();
        assert!(text.contains("no route covers it"), "{text}");
    });
}

#[test]
fn a_leftover_bridge_with_the_far_ends_address_is_named() {
    in_namespace(|| {
        ip("link add left0 type bridge");
        ip("link set left0 up");
        let world = World::new("explain-bridge", "vxlan-mode = \"Always\"");
        let end = Instant::now() + PATIENCE;
        let via = |said: &Value| said["ways"][0]["via"].as_str().map(str::to_owned);
        for [_, pod, ..] in FAMILIES {
            let far = loop {
                if let Some(far) = via(&world.explain(pod)) {
                    break far;
                }
                assert!(Instant::now() < end, "{:#}", world.explain(pod));
            };
            let length = if far.contains(':') { 128 } else { 32 };
            ip(&format!("addr add {far}/{length} dev left0"));
            let named = |said: &Value| {
                let problems = said["problems"].to_string();
                problems.contains("is an address of this host, on left0")
            };
            loop {
                let said = world.explain(pod);
                if named(&said) {
                    break;
                }
                assert!(Instant::now() < end, "{said:#}");
            }
        }
    });
}

#[test]
fn a_prefix_is_explained_with_what_others_have_inside_it() {
    in_namespace(|| {
        let world = World::new("explain-prefix", "");
        other_link();
        world.until("10.244.1.9", "as_wanted");
        let said = world.until("10.244.1.0/26", "as_wanted");
        assert_eq!(said["prefix"], "10.244.1.0/26");
        assert_eq!(said["asked"], "10.244.1.0/26");
        assert_eq!(said["address"], "10.244.1.0");
        ip("route add 10.244.1.32/28 via 10.8.0.2 dev e0 proto 12");
        let end = Instant::now() + PATIENCE;
        loop {
            let lines = world.explain("10.244.1.0/26")["lines"].to_string();
            if lines.contains("inside   10.244.1.32/28 of bird (protocol 12)") {
                break;
            }
            assert!(Instant::now() < end, "{lines}");
        }
        let nonsense = world.command(&["explain", "foo"]).output().unwrap();
        assert_eq!(nonsense.status.code(), Some(2), "{nonsense:?}");
        assert!(String::from_utf8_lossy(&nonsense.stderr).contains("no peer of this node"));
        assert_eq!(world.explain("fd00:9::2")["kernel"][0]["fate"], "sent_on");
    });
}
