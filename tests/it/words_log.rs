//! A daemon outlives its log, and the log's level is an order like others; commands outlive their readers.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, pipe};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cli::{Daemon, PATIENCE, cluster, dunlin, free_port, pair};
use crate::folder::Folder;

/// A daemon whose log is not read here; killed when it goes out of scope.
struct Mute {
    child: Child,
    socket: PathBuf,
}

impl Mute {
    fn start(folder: &Folder, command: &mut Command, stderr: impl Into<Stdio>) -> Self {
        let socket = folder.0.join("a.sock");
        let config = folder.write(
            "a.toml",
            "[node]\nname = \"a\"\n[datastore]\npath = \"cluster.toml\"\n[routing]\nkernel-routes = false\n\
             [bgp]\nlisten = [\"127.0.0.1:0\"]\n[log]\nlevel = \"debug\"\n",
        );
        let child = command
            .args(["run", "--socket"])
            .arg(&socket)
            .arg("--config")
            .arg(config)
            .stdin(Stdio::null())
            .stderr(stderr)
            .spawn()
            .unwrap();
        let mut daemon = Self { child, socket };
        let end = Instant::now() + PATIENCE;
        while !daemon.ask(&["version"]).0 {
            let ended = daemon.child.try_wait().unwrap();
            assert!(ended.is_none(), "the daemon has ended: {ended:?}");
            assert!(Instant::now() < end, "no answer");
        }
        daemon
    }

    fn ask(&self, arguments: &[&str]) -> (bool, String) {
        let output = dunlin()
            .arg("--socket")
            .arg(&self.socket)
            .args(arguments)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        (output.status.success(), text)
    }

    fn says(&self, arguments: &[&str]) -> String {
        let (well, text) = self.ask(arguments);
        assert!(well, "{arguments:?}: {text}");
        text
    }

    fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.says(&["status", "--output", "json"])).unwrap()
    }

    /// Asked to end, it ends well.
    fn end(mut self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        kill(pid, Signal::SIGTERM).unwrap();
        let status = self.child.wait().unwrap();
        assert_eq!(status.code(), Some(0), "{status:?}");
    }
}

impl Drop for Mute {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _status = self.child.wait();
    }
}

/// A cluster of this node and so many that are not there: the log has some lines about each.
fn many(folder: &Folder, nodes: usize) {
    let node = |n: usize| {
        let (high, low) = (n / 250, n % 250 + 3);
        format!("[[node]]\nname = \"node-{n}\"\nipv4-address = \"127.0.{high}.{low}/8\"\n")
    };
    let more: String = (0..nodes).map(node).collect();
    // Never half a file: the daemon watches it.
    let written = folder.write("cluster.next", &cluster(1, &more));
    fs::rename(written, folder.path("cluster.toml")).unwrap();
}

/// Has the daemon log again and again, until it is enough.
fn talk_until(folder: &Folder, mut enough: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    let mut nodes = 20;
    while !enough() {
        assert!(Instant::now() < end, "it is never enough");
        many(folder, nodes);
        nodes = 41 - nodes;
    }
}

#[test]
fn a_log_that_takes_nothing_costs_lines_and_not_the_daemon() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let (reader, gone) = pipe().unwrap();
    drop(reader);
    for (name, stderr) in [("full", OwnedFd::from(full)), ("gone", gone.into())] {
        let folder = Folder::new(&format!("log-{name}"));
        many(&folder, 20);
        let daemon = Mute::start(&folder, &mut dunlin(), stderr);
        talk_until(&folder, || {
            daemon.status()["lost_log_lines"].as_u64() > Some(2)
        });
        let problems = daemon.status()["problems"].to_string();
        assert!(
            problems.contains("lines of the log could not be written"),
            "{problems}"
        );
        assert!(daemon.says(&["log"]).contains("lines were lost so far"));
        daemon.end();
    }
}

#[test]
fn a_log_reader_that_has_gone_after_two_lines_costs_lines_and_not_the_daemon() {
    let folder = Folder::new("log-head");
    many(&folder, 20);
    let (reader, writer) = pipe().unwrap();
    let head = std::thread::spawn(move || {
        let lines = BufReader::new(reader).lines().take(2);
        lines.map(Result::unwrap).count()
    });
    let mut command = dunlin();
    command.stdout(writer.try_clone().unwrap());
    let daemon = Mute::start(&folder, &mut command, writer);
    drop(command);
    talk_until(&folder, || {
        daemon.status()["lost_log_lines"].as_u64() > Some(0)
    });
    assert_eq!(head.join().unwrap(), 2);
    daemon.end();
}

#[test]
fn a_log_reader_that_has_stopped_holds_nothing_up() {
    let folder = Folder::new("log-stopped");
    many(&folder, 1);
    let (reader, writer) = pipe().unwrap();
    fcntl(&writer, FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
    let daemon = Mute::start(&folder, &mut dunlin(), writer);
    // A line for each: many times what the pipe takes.
    many(&folder, 600);
    let reloaded = daemon.says(&["reload"]);
    assert!(
        reloaded.contains("added") || reloaded.contains("nothing"),
        "{reloaded}"
    );
    assert_eq!(daemon.status()["peers"], 601);
    // Its end waits for nobody either, for longer than a moment.
    daemon.end();
    drop(reader);
}

#[test]
fn a_disk_that_was_full_is_told_how_much_it_missed() {
    let folder = Folder::new("log-disk");
    many(&folder, 40);
    let disk = folder.0.join("disk");
    fs::create_dir(&disk).unwrap();
    let script = format!(
        "mount -t tmpfs -o size=64k tmpfs {disk} && head -c 65536 /dev/zero > {disk}/filler; exec \"$0\" \"$@\" \
         2>> {disk}/log",
        disk = disk.display()
    );
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", &script]);
    command.arg(env!("CARGO_BIN_EXE_dunlin")).arg0("unshare");
    let probe = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "true"])
        .status();
    if !probe.is_ok_and(|status| status.success()) {
        let strict = std::env::var_os("CI").is_some()
            || std::env::var("DUNLIN_TESTS").is_ok_and(|which| which == "all");
        assert!(!strict, "no user namespace");
        println!("skipped: no user namespaces here");
        return;
    }
    let daemon = Mute::start(&folder, &mut command, Stdio::inherit());
    talk_until(&folder, || {
        daemon.status()["lost_log_lines"].as_u64() > Some(2)
    });
    let there = Path::new("/proc")
        .join(daemon.child.id().to_string())
        .join("root")
        .join(disk.strip_prefix("/").unwrap());
    fs::remove_file(there.join("filler")).unwrap();
    let mut log = String::new();
    talk_until(&folder, || {
        log.clear();
        let mut file = File::open(there.join("log")).unwrap();
        file.read_to_string(&mut log).unwrap();
        log.contains(" lines of the log were lost")
    });
    let problems = daemon.status()["problems"].to_string();
    assert!(
        !problems.contains("of the log"),
        "it has been said: {problems}"
    );
    daemon.end();
}

#[test]
fn the_level_is_an_order_for_all_or_for_one_peer() {
    let (_folder, _port, a, b) = pair("log-level");
    assert!(a.says(&["log"]).contains("debug"));
    assert!(a.says(&["log", "error"]).contains("error"));
    let levels = a.json(&["log", "debug", "--peer", "b"]);
    assert_eq!(levels["level"], "error");
    assert_eq!(levels["peers"][0]["peer"], "b");
    assert_eq!(levels["peers"][0]["level"], "debug");
    a.says(&["peer", "b", "reset"]);
    a.wait_for("session is down");
    let line = a.wait_for("End-of-RIB");
    assert!(line.contains("DEBUG") && line.contains("peer=b"), "{line}");
    // Without the exception nothing is said of the same.
    a.says(&["log", "configured", "--peer", "b"]);
    let a_is_up = |b: &Daemon| {
        b.wait_for("session is up");
        b.wait_for("End-of-RIB");
    };
    a_is_up(&b);
    a.says(&["peer", "b", "reset"]);
    a_is_up(&b);
    a.says(&["log", "configured"]);
    a.says(&["peer", "b", "refresh"]);
    a.says(&["peer", "b", "reset"]);
    let end = Instant::now() + PATIENCE;
    let mut downs = 0;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let line = a.lines.recv_timeout(left).unwrap();
        downs += usize::from(line.contains("session is down"));
        if line.contains("session is up") {
            break;
        }
    }
    assert_eq!(downs, 1, "the reset in silence was not logged");
    assert_eq!(a.ask(&["log", "loud"]).status.code(), Some(2));
    assert_eq!(
        a.ask(&["log", "info", "--peer", "bb"]).status.code(),
        Some(4)
    );
}

#[test]
fn a_variable_that_can_not_be_read_is_said_and_ends_nothing() {
    let folder = Folder::new("log-variable");
    folder.write("cluster.toml", &cluster(free_port(), ""));
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut command = dunlin();
    command.env("DUNLIN_LOG", "dunlin::speaker=loud");
    let daemon = Mute::start(&folder, &mut command, full);
    assert!(daemon.says(&["log"]).contains("debug"), "the file's level");
    daemon.end();
}

#[test]
fn a_command_whose_reader_has_seen_enough_has_done_its_work() {
    let (folder, _port, a, _b) = pair("head");
    let config = folder.0.join("a.toml").display().to_string();
    let commands: [&[&str]; 8] = [
        &["status"],
        &["peers"],
        &["routes", "--output", "json"],
        &["explain", "10.244.0.9"],
        &["version"],
        &["check", "--config", &config],
        &["log"],
        &["--help"],
    ];
    for arguments in commands {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let output = dunlin()
            .arg("--socket")
            .arg(&a.socket)
            .args(arguments)
            .stdout(writer)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {output:?}");
        assert!(output.stderr.is_empty(), "{arguments:?}: {output:?}");
    }
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = dunlin()
        .arg("--socket")
        .arg(&a.socket)
        .arg("status")
        .stdout(full)
        .output()
        .unwrap();
    assert_eq!(
        output.status.code(),
        Some(1),
        "what was not printed is not done"
    );
}
