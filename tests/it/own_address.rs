//! This node's own address on real links: what `dunlin address` finds, and what a running daemon
//! does when the links change. Each test in a network namespace of its own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::dataplane_netns::{in_namespace, ip};

use crate::folder::Folder;

const PROGRAM: &str = env!("CARGO_BIN_EXE_dunlin");
const PATIENCE: Duration = Duration::from_secs(30);

/// Beside `v0` (10.9.0.1): `e0` with 10.8.0.1, and `d0` with 10.7.0.1 that is down.
fn links() {
    for (name, peer, address) in [("e0", "e1", "10.8.0.1/24"), ("d0", "d1", "10.7.0.1/24")] {
        ip(&format!("link add {name} type veth peer name {peer}"));
        ip(&format!("addr add {address} dev {name}"));
    }
    ip("link set e1 up");
    ip("link set e0 up");
    // A carrier comes a moment after the ends are up.
    for link in ["v0", "e0"] {
        let end = Instant::now() + PATIENCE;
        while !ip(&format!("link show {link}")).contains("LOWER_UP") {
            assert!(Instant::now() < end, "{link} gets no carrier");
        }
    }
}

fn address(config: &Path) -> Value {
    let output = Command::new(PROGRAM)
        .args(["address", "--output", "json", "--config"])
        .arg(config)
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
}

/// `address link` of the chosen IPv4 and IPv6 address, or the failure.
fn found(folder: &Folder, node: &str) -> [String; 2] {
    let config = folder.write("dunlin.toml", &format!("[node]\n{node}\n"));
    let answer = address(&config);
    [0, 1].map(|family| {
        let family = &answer["families"][family];
        match (family["address"].as_str(), family["link"].as_str()) {
            (Some(address), link) => format!("{address} {}", link.unwrap_or("-")),
            (None, _) => family["failure"].as_str().unwrap_or("none").to_owned(),
        }
    })
}

#[test]
fn each_method_finds_the_address_on_real_links() {
    in_namespace(|| {
        links();
        let folder = Folder::new("methods");
        let ipv4 = |node: &str| found(&folder, node)[0].clone();
        assert_eq!(ipv4(""), "10.9.0.1/24 v0", "the lowest index");
        assert_eq!(ipv4("ipv4 = \"interface=^e\""), "10.8.0.1/24 e0");
        assert_eq!(ipv4("ipv4 = \"skip-interface=^v\""), "10.8.0.1/24 e0");
        assert_eq!(ipv4("ipv4 = \"can-reach=10.8.0.99\""), "10.8.0.1/24 e0");
        assert_eq!(
            ipv4("ipv4 = \"can-reach=localhost\""),
            "none of 4 IPv4 addresses will do"
        );
        assert_eq!(
            ipv4("ipv4 = \"can-reach=203.0.113.1\""),
            "no route leads to 203.0.113.1"
        );
        assert_eq!(ipv4("ipv4 = \"cidr=10.8.0.0/16\""), "10.8.0.1/24 e0");
        assert_eq!(ipv4("ipv4 = \"10.8.0.1\""), "10.8.0.1/24 e0");
        assert_eq!(ipv4("ipv4 = \"none\""), "none");
        let calico = "ipv4 = \"first-found\"\naddress-order = \"calico\"";
        assert_eq!(ipv4(calico), "10.7.0.1/24 d0", "down, and last of all");
        let both = found(&folder, "ipv6 = \"first-found\"");
        assert_eq!(both, ["10.9.0.1/24 v0", "fd00:9::1/64 v0"]);

        ip("route add default via 10.8.0.254 dev e0");
        assert_eq!(ipv4(""), "10.8.0.1/24 e0", "the default route's link");
        assert_eq!(ipv4("ipv4 = \"can-reach=203.0.113.1\""), "10.8.0.1/24 e0");
        // Another address of the subnet is no reason to move, however low.
        ip("addr add 10.8.0.0/24 dev e0");
        assert_eq!(ipv4(""), "10.8.0.1/24 e0", "the first one of its subnet");

        ip("link set e0 down");
        assert_eq!(ipv4(""), "10.9.0.1/24 v0", "a link that is down comes last");
        ip("link set v1 down");
        let config = folder.write("dunlin.toml", "");
        let answer = address(&config);
        let first = &answer["families"][0]["candidates"][0];
        assert_eq!(
            first["link"], "v0",
            "no carrier is better than down: {first}"
        );
    });
}

/// A running daemon; killed when it goes out of scope.
struct Daemon {
    child: Child,
    lines: Receiver<String>,
    socket: PathBuf,
}

impl Daemon {
    fn start(config: &Path, socket: PathBuf) -> Self {
        let mut child = Command::new(PROGRAM)
            .args(["run", "--config"])
            .arg(config)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = child.stderr.take().unwrap();
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            lines,
            socket,
        }
    }

    /// Reads the log up to a line with these words.
    fn wait_for(&self, words: &str) -> String {
        let end = Instant::now() + PATIENCE;
        let mut seen = String::new();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left);
            let line = line.unwrap_or_else(|_| panic!("no {words:?} in\n{seen}"));
            if line.contains(words) {
                return line;
            }
            seen.push_str(&line);
            seen.push('\n');
        }
    }

    /// The BGP Identifier, which is the node's IPv4 address.
    fn router_id(&self) -> String {
        let output = Command::new(PROGRAM)
            .args(["status", "--output", "json", "--socket"])
            .arg(&self.socket)
            .output()
            .unwrap();
        let status: Value = serde_json::from_slice(&output.stdout).unwrap();
        let id = status
            .pointer("/router_id")
            .or(status.pointer("/status/router_id"));
        id.and_then(Value::as_str)
            .unwrap_or_else(|| panic!("{status}"))
            .to_owned()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

#[test]
fn a_running_daemon_follows_its_address() {
    in_namespace(|| {
        links();
        let folder = Folder::new("live");
        let socket = folder.0.join("dunlin.sock");
        folder.write(
            "cluster.toml",
            "[[ip-pool]]\ncidr = \"10.244.0.0/16\"\n\
             [[node]]\nname = \"me\"\nipv4-address = \"10.9.0.1/24\"\nblocks = [\"10.244.0.0/26\"]\n\
             [[node]]\nname = \"other\"\nipv4-address = \"10.9.0.2/24\"\n",
        );
        let config = folder.write(
            "dunlin.toml",
            &format!(
                "[node]\nname = \"me\"\nipv4 = \"first-found\"\n[control]\nsocket = {socket:?}\n"
            ),
        );
        let daemon = Daemon::start(&config, socket);
        let why = daemon.wait_for("IPv4 is 10.9.0.1/24 of v0");
        assert!(
            why.contains("on record or in use, and still valid"),
            "{why}"
        );
        daemon.wait_for("dunlin is running");
        assert_eq!(daemon.router_id(), "10.9.0.1");

        ip("addr del 10.9.0.1/24 dev v0");
        daemon.wait_for("own address: IPv4 is 10.8.0.1/24 of e0 by first-found");
        assert_eq!(daemon.router_id(), "10.8.0.1");

        // Nothing is left but what is down: it is taken rather than none, and said to be odd.
        ip("link set e0 down");
        ip("addr del 10.8.0.1/24 dev e0");
        daemon.wait_for("own address: IPv4 is 10.7.0.1/24 of d0");
        assert_eq!(daemon.router_id(), "10.7.0.1");

        // Nothing at all: what there was stays.
        ip("addr del 10.7.0.1/24 dev d0");
        let line = daemon.wait_for("no IPv4 address is found by first-found");
        assert!(line.contains("10.7.0.1/24 is kept"), "{line}");
        assert_eq!(daemon.router_id(), "10.7.0.1");

        // What is on record is what the other nodes know: it is taken as soon as it can be.
        ip("addr add 10.9.0.1/24 dev v0");
        daemon.wait_for("own address: IPv4 is 10.9.0.1/24 of v0");
        assert_eq!(daemon.router_id(), "10.9.0.1");

        // Another method in the file: no restart for that.
        ip("addr add 10.8.0.1/24 dev e0");
        let text = fs::read_to_string(&config).unwrap();
        folder.write("dunlin.toml", &text.replace("first-found", "interface=^e"));
        daemon.wait_for("own address: IPv4 is 10.8.0.1/24 of e0 by interface=^e");
        assert_eq!(daemon.router_id(), "10.8.0.1");
    });
}

#[test]
fn a_daemon_without_any_address_says_what_it_tried() {
    in_namespace(|| {
        let folder = Folder::new("nothing");
        folder.write(
            "cluster.toml",
            "[[node]]\nname = \"me\"\nipv4-address = \"10.9.0.1/24\"\n",
        );
        let run = |node: &str| {
            let config = folder.write("dunlin.toml", &format!("[node]\nname = \"me\"\n{node}\n"));
            let mut command = Command::new(PROGRAM);
            command
                .args(["run", "--config"])
                .arg(config)
                .output()
                .unwrap()
        };
        let output = run("ipv6 = \"interface=nosuch.*\"");
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(5), "{told}");
        let tried = "no IPv6 address is found by interface=nosuch.*: none of ";
        assert!(told.contains(tried), "{told}");
        assert!(
            told.contains("`dunlin address --explain` shows every candidate"),
            "{told}"
        );
    });
}
