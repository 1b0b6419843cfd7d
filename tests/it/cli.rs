//! The commands against two real daemons on loopback: no root, no kernel routes, no other program.
//!
//! What is waited for is a line of a daemon's log; nothing sleeps.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::folder::Folder;

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A running daemon; killed when it goes out of scope.
pub(crate) struct Daemon {
    child: Child,
    pub(crate) lines: Receiver<String>,
    pub(crate) socket: PathBuf,
}

impl Daemon {
    pub(crate) fn start(folder: &Path, name: &str, address: &str, port: u16) -> Self {
        let daemon = Self::begin(folder, name, &format!("{address}:{port}"), "");
        daemon.wait_for("dunlin is running");
        daemon
    }

    /// The same, with more words of [control], and not waited for.
    pub(crate) fn begin(folder: &Path, name: &str, listen: &str, control: &str) -> Self {
        let socket = folder.join(format!("{name}.sock"));
        let config = folder.join(format!("{name}.toml"));
        let text = format!(
            "[node]\nname = \"{name}\"\n[datastore]\npath = \"cluster.toml\"\n\
             [routing]\nkernel-routes = false\n[bgp]\nlisten = [\"{listen}\"]\n\
             [control]\nsocket = \"{}\"\n{control}\n[log]\nlevel = \"debug\"\n",
            socket.display()
        );
        // Another one that begins at this moment may read it.
        if fs::read_to_string(&config).ok().as_ref() != Some(&text) {
            fs::write(&config, text).unwrap();
        }
        let mut child = dunlin()
            .arg("run")
            .arg("--config")
            .arg(&config)
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

    /// Waits for the end; whether it went well.
    pub(crate) fn ends(&mut self) -> bool {
        self.child.wait().unwrap().success()
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        let _status = self.child.wait();
    }

    /// Reads the log up to a line with these words.
    pub(crate) fn wait_for(&self, words: &str) -> String {
        let end = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if line.contains(words) => return line,
                Ok(line) => seen.push(line),
                Err(error) => panic!("no line with {words:?} ({error}); the log: {seen:#?}"),
            }
        }
    }

    pub(crate) fn ask(&self, arguments: &[&str]) -> Output {
        dunlin()
            .arg("--socket")
            .arg(&self.socket)
            .args(arguments)
            .output()
            .unwrap()
    }

    /// The text of a command that succeeds.
    pub(crate) fn says(&self, arguments: &[&str]) -> String {
        let output = self.ask(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let mut all = arguments.to_vec();
        all.extend(["--output", "json"]);
        serde_json::from_str(&self.says(&all)).unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _status = self.child.wait();
    }
}

pub(crate) fn dunlin() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dunlin"));
    command.env_remove("DUNLIN_LOG").stdin(Stdio::null());
    command
}

/// A port that nobody listens on; taken for a moment, so that the kernel knows a free one.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

pub(crate) fn cluster(port: u16, more: &str) -> String {
    format!(
        "[bgp]\nas-number = 64512\nlisten-port = {port}\n[[ip-pool]]\ncidr = \"10.244.0.0/16\"\n\
         [[node]]\nname = \"a\"\nipv4-address = \"127.0.0.1/8\"\nblocks = [\"10.244.0.0/26\"]\n\
         [[node]]\nname = \"b\"\nipv4-address = \"127.0.0.2/8\"\nblocks = [\"10.244.1.0/26\"]\n{more}"
    )
}

pub(crate) fn pair(name: &str) -> (Folder, u16, Daemon, Daemon) {
    let folder = Folder::new(name);
    let port = free_port();
    fs::write(folder.0.join("cluster.toml"), cluster(port, "")).unwrap();
    let a = Daemon::start(&folder.0, "a", "127.0.0.1", port);
    let b = Daemon::start(&folder.0, "b", "127.0.0.2", port);
    a.wait_for("session is up");
    a.wait_for("End-of-RIB");
    b.wait_for("session is up");
    b.wait_for("End-of-RIB");
    (folder, port, a, b)
}

#[test]
fn two_nodes_come_up_and_a_loopback_next_hop_is_refused_with_words() {
    // Real routes between real addresses are the lab's and the interop stories' subject.
    let (_folder, _port, a, b) = pair("loopback");
    let peers = a.json(&["peers"]);
    assert_eq!(peers["peers"][0]["name"], "b");
    assert_eq!(peers["peers"][0]["state"], "Established");
    assert_eq!(peers["peers"][0]["sent"], 1);
    assert_eq!(peers["peers"][0]["treated_as_withdraw"], 1);
    assert_eq!(peers["peers"][0]["accepted"], 0);
    let status = a.says(&["status"]);
    assert!(status.contains("1 of 1 Established"), "{status}");
    assert!(
        status.contains("warning b: 1 of its routes is missing") && status.contains("NEXT_HOP"),
        "{status}"
    );
    assert_eq!(peers["peers"][0]["problem_code"], serde_json::Value::Null);
    let routes = a.says(&["routes"]);
    assert!(
        routes.contains("10.244.0.0/26") && routes.contains("local"),
        "{routes}"
    );
    let explained = b.ask(&["explain", "10.244.0.9"]);
    assert_eq!(
        explained.status.code(),
        Some(4),
        "it is said, and there is no route"
    );
    let explained = String::from_utf8(explained.stdout).unwrap();
    assert!(explained.contains("10.244.0.0/26 of node a"), "{explained}");
    assert!(
        explained
            .contains("a has sent 10.244.0.0/26 with attributes that make it count as withdrawn")
            && !explained.contains("nobody announces it here"),
        "{explained}"
    );
    a.says(&["peer", "b", "shutdown"]);
    b.wait_for("session is down");
    let explained = String::from_utf8(b.ask(&["explain", "10.244.0.9"]).stdout).unwrap();
    assert!(
        explained.contains("nobody announces it here"),
        "{explained}"
    );
    a.says(&["peer", "b", "enable"]);
    let own = a.json(&["explain", "10.244.0.9"]);
    assert_eq!(own["problems"], serde_json::json!([]));
    let fib = a.ask(&["fib"]);
    assert_eq!(
        fib.status.code(),
        Some(1),
        "nothing is installed here, and it says so"
    );
}

#[test]
fn a_peer_is_shut_down_with_words_and_enabled_again() {
    let (_folder, _port, a, b) = pair("orders");
    a.says(&["peer", "b", "shutdown", "--message", "new line card"]);
    b.wait_for("session is down");
    let other = b.says(&["peers", "a"]);
    assert!(other.contains("new line card"), "{other}");
    assert!(a.says(&["peers"]).contains("Shutdown"));
    let code = |daemon: &Daemon| daemon.json(&["peers"])["peers"][0]["problem_code"].clone();
    assert_eq!(code(&a), "peer_shut_down");
    assert_eq!(code(&b), "peer_down");
    assert!(problems(&a).contains_key("peer_shut_down") && problems(&b).contains_key("peer_down"));
    a.says(&["peer", "b", "enable"]);
    a.wait_for("session is up");
    a.wait_for("End-of-RIB");
    a.says(&["peer", "b", "refresh"]);
    a.says(&["peer", "b", "reset"]);
    a.wait_for("session is down");
    a.wait_for("session is up");
    let kept = a.json(&["peers", "b"]);
    assert_eq!(kept["peers"][0]["established_count"], 3);
}

/// The problems of a daemon, by code.
fn problems(daemon: &Daemon) -> BTreeMap<String, serde_json::Value> {
    let status = daemon.json(&["status"]);
    let problems = status["problems"].as_array().unwrap().iter();
    let by_code = problems.map(|problem| {
        let code = problem["code"].as_str().unwrap();
        (code.to_owned(), problem.clone())
    });
    by_code.collect()
}

#[test]
fn what_is_wrong_has_a_code_for_scripts_a_line_for_people_and_one_in_the_log() {
    let (folder, port, a, b) = pair("problems");
    let check = || a.ask(&["status", "--check"]);
    assert_eq!(check().status.code(), Some(0));
    a.says(&["peer", "b", "shutdown"]);
    let shut = &problems(&a)["peer_shut_down"];
    assert_eq!(shut["severity"], "warning");
    assert_eq!(shut["subject"], "peer");
    assert_eq!(shut["subjects"], serde_json::json!(["b"]));
    assert_eq!(shut["count"], 1);
    assert!(shut["since_unix_s"].as_u64() > Some(1_700_000_000));
    assert_eq!(check().status.code(), Some(0), "a warning is no error");
    a.wait_for("problem: b: it was shut down here");
    a.says(&["peer", "b", "enable"]);
    a.wait_for("no longer: b: it was shut down here");

    drop(b);
    a.wait_for("session is down");
    let down = problems(&a)["peer_down"].clone();
    assert_eq!(down["severity"], "error");
    let failed = check();
    assert_eq!(failed.status.code(), Some(1));
    let said = String::from_utf8_lossy(&failed.stdout).into_owned();
    let [line, remedy] = said.lines().collect::<Vec<_>>()[..] else {
        panic!("{said}");
    };
    assert!(line.starts_with("error b: ") && line.contains("(peer_down, for "));
    assert!(remedy.starts_with("    "), "{said}");
    let line = a.wait_for("problem: b: it refuses the connection");
    assert!(
        line.contains("ERROR") && line.contains("running there?"),
        "{line}"
    );

    fs::write(
        folder.0.join("cluster.toml"),
        cluster(port, "mistake = 1\n"),
    )
    .unwrap();
    a.wait_for("the configuration has errors");
    let bad = &problems(&a)["configuration_bad"];
    assert_eq!(bad["subject"], "record");
    let place = bad["subjects"][0].as_str().unwrap();
    assert!(place.ends_with("cluster.toml:14:1"), "{place}");

    let calls = TcpStream::connect_timeout(&format!("127.0.0.1:{port}").parse().unwrap(), PATIENCE);
    drop(calls);
    a.wait_for("refused a connection");
    assert_eq!(problems(&a)["stranger_calls"]["subjects"][0], "127.0.0.1");
}

#[test]
fn a_changed_file_is_taken_over_and_a_bad_one_changes_nothing() {
    let (folder, port, a, b) = pair("reload");
    let file = folder.0.join("cluster.toml");
    let since =
        |daemon: &Daemon| daemon.json(&["peers", "b"])["peers"][0]["established_count"].clone();
    let more =
        "[[node]]\nname = \"c\"\nipv4-address = \"127.0.0.3/8\"\nblocks = [\"10.244.2.0/26\"]\n";
    fs::write(&file, cluster(port, more)).unwrap();
    a.wait_for("peer c added");
    b.wait_for("peer c added");
    assert_eq!(since(&a), 1, "the other session was not touched");
    fs::write(
        &file,
        cluster(port, "[[node]]\nname = \"d\"\nblokcs = []\n"),
    )
    .unwrap();
    let line = a.wait_for("blokcs");
    assert!(
        line.contains("cluster.toml:16:1") && line.contains("blocks"),
        "{line}"
    );
    assert!(
        a.says(&["peers"]).contains('c'),
        "the last good configuration stays in force"
    );
    let refused = a.ask(&["reload"]);
    assert_eq!(refused.status.code(), Some(5), "{refused:?}");
    assert!(a.says(&["status"]).contains("blokcs"));
    fs::write(&file, cluster(port, "")).unwrap();
    a.wait_for("peer c removed");
    assert_eq!(since(&a), 1);
    assert!(a.says(&["reload"]).contains("nothing has changed"));
}

#[test]
fn a_password_file_that_comes_or_changes_is_taken_over() {
    let folder = Folder::new("password");
    let port = free_port();
    let password = "node-mesh-password = { secret-key-ref = { name = \"bgp\", key = \"mesh\" } }\n";
    let text = cluster(port, "").replacen("[bgp]\n", &format!("[bgp]\n{password}"), 1);
    fs::write(folder.0.join("cluster.toml"), text).unwrap();
    let a = Daemon::start(&folder.0, "a", "127.0.0.1", port);
    let b = Daemon::start(&folder.0, "b", "127.0.0.2", port);
    assert!(
        !a.says(&["peers"]).contains("established"),
        "no session without its password"
    );
    fs::create_dir_all(folder.path("secrets/bgp")).unwrap();
    let secret = folder.path("secrets/bgp/mesh");
    let write = |text: &str| {
        let temporary = folder.path("secrets/bgp/new");
        fs::write(&temporary, text).unwrap();
        fs::set_permissions(&temporary, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(&temporary, &secret).unwrap();
    };
    write("first\n");
    for daemon in [&a, &b] {
        daemon.wait_for("session is up");
    }
    write("second\n");
    for daemon in [&a, &b] {
        daemon.wait_for("password");
    }
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
    let line = a.wait_for("has mode 0644");
    assert!(line.contains("cluster.toml:2:22"), "{line}");
}

#[test]
fn failures_have_exit_codes_and_say_what_to_do() {
    let (_folder, _port, a, _b) = pair("exits");
    let unknown = a.ask(&["peers", "bb"]);
    assert_eq!(unknown.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("did you mean \"b\"?"));
    assert_eq!(a.ask(&["routes", "10.9.0.0/16"]).status.code(), Some(4));
    assert_eq!(a.ask(&["routes", "nonsense"]).status.code(), Some(2));
    assert_eq!(a.ask(&["explain", "nonsense"]).status.code(), Some(2));
    assert_eq!(a.ask(&["explain", "192.0.2.1"]).status.code(), Some(4));
    // A peer is an address that packets go to, too.
    let peer = a.says(&["explain", "b"]);
    assert!(
        peer.contains("b is a peer at 127.0.0.2: Established"),
        "{peer}"
    );
    assert_eq!(a.ask(&["frobnicate"]).status.code(), Some(2));
    let nobody = dunlin()
        .args(["--socket", "/nonexistent/d.sock", "status"])
        .output()
        .unwrap();
    assert_eq!(nobody.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("dunlin run"));
}

#[test]
fn a_configuration_is_checked_without_running_it() {
    let folder = Folder::new("check");
    let config = folder.0.join("dunlin.toml");
    fs::write(
        &config,
        "[node]\nname = \"a\"\n[datastore]\npath = \"cluster.toml\"\n",
    )
    .unwrap();
    fs::write(folder.0.join("cluster.toml"), cluster(179, "")).unwrap();
    let check = |output: &str| {
        let mut command = dunlin();
        command
            .args(["check", "--output", output, "--config"])
            .arg(&config);
        command.output().unwrap()
    };
    let good = check("table");
    assert_eq!(good.status.code(), Some(0), "{good:?}");
    assert!(String::from_utf8_lossy(&good.stdout).contains("1 peers, 1 own blocks: good"));
    fs::write(
        folder.0.join("cluster.toml"),
        "[bgp]\nas-nubmer = 1\nlisten-port = 99999\n",
    )
    .unwrap();
    let bad = check("json");
    assert_eq!(bad.status.code(), Some(5));
    let said: serde_json::Value = serde_json::from_slice(&bad.stdout).unwrap();
    assert_eq!(said["good"], false);
    let bad = check("table");
    let lines = String::from_utf8_lossy(&bad.stdout).into_owned();
    assert!(
        lines.contains("cluster.toml:2:1") && lines.contains("as-number"),
        "{lines}"
    );
    assert!(
        lines.contains("cluster.toml:3:"),
        "all problems are said at once: {lines}"
    );
}

#[test]
fn the_control_socket_is_private_and_served_once() {
    use std::os::unix::fs::PermissionsExt;
    let (folder, _port, a, _b) = pair("socket");
    let mode = fs::metadata(&a.socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let second = dunlin()
        .arg("run")
        .arg("--config")
        .arg(folder.0.join("a.toml"))
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains("another dunlin already serves it"), "{said}");
}
