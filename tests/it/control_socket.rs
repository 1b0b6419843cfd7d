//! The control socket of a real daemon against whoever can reach its path: nobody loses a file by it, and nobody
//! is locked out.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;

use nix::unistd::{Gid, Group, geteuid};

use crate::cli::{Daemon, PATIENCE, cluster, dunlin};
use crate::folder::Folder;

const ANY: &str = "127.0.0.1:0";
/// More than there are places.
const MANY: usize = 200;

fn folder(name: &str) -> Folder {
    let folder = Folder::new(name);
    folder.write("cluster.toml", &cluster(1, ""));
    folder
}

fn begin(folder: &Folder, control: &str) -> Daemon {
    Daemon::begin(&folder.0, "a", ANY, control)
}

fn running(folder: &Folder, control: &str) -> Daemon {
    let daemon = begin(folder, control);
    daemon.wait_for("dunlin is running");
    daemon
}

fn ask(stream: &UnixStream, request: &str) -> serde_json::Value {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    writeln!(&mut &*stream, "{request}").unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
}

fn viewers(daemon: &Daemon) -> PathBuf {
    let mut path = daemon.socket.clone().into_os_string();
    path.push(".viewers");
    path.into()
}

#[test]
fn what_is_at_the_path_and_not_ours_stays_and_is_named() {
    let folder = folder("control-foreign");
    let socket = folder.path("a.sock");
    fs::write(&socket, "precious").unwrap();
    let mut daemon = begin(&folder, "");
    daemon.wait_for("a file is there that dunlin has not made");
    assert!(!daemon.ends());
    assert_eq!(fs::read_to_string(&socket).unwrap(), "precious");
    fs::remove_file(&socket).unwrap();
    drop(UnixListener::bind(&socket).unwrap());
    let mut daemon = begin(&folder, "");
    daemon.wait_for("a socket is there that dunlin has not made");
    assert!(!daemon.ends());
    assert!(socket.symlink_metadata().unwrap().file_type().is_socket());
}

#[test]
fn a_daemon_that_was_killed_leaves_nothing_in_the_way_and_two_at_once_are_one() {
    let folder = folder("control-two");
    let mut killed = running(&folder, "");
    killed.kill();
    assert!(killed.socket.exists());
    let mut both = [begin(&folder, ""), begin(&folder, "")];
    let refused = |daemon: &Daemon| {
        let mut seen = Vec::new();
        loop {
            let line = daemon.wait_for("");
            if line.contains("another dunlin already serves it") {
                break true;
            }
            if line.contains("dunlin is running") {
                break false;
            }
            let ended = line.contains("nothing was started");
            seen.push(line);
            assert!(!ended, "{seen:#?}");
        }
    };
    let were = both.each_ref().map(refused);
    assert!(were.contains(&true) && were.contains(&false), "{were:?}");
    let (loser, winner) = if were[0] { (0, 1) } else { (1, 0) };
    assert!(!both[loser].ends());
    both[winner].says(&["status"]);
}

#[test]
fn a_socket_that_is_lost_is_made_again() {
    let folder = folder("control-lost");
    fs::create_dir(folder.path("run")).unwrap();
    let daemon = running(&folder, "");
    for other in [false, true] {
        fs::remove_file(&daemon.socket).unwrap();
        if other {
            fs::write(&daemon.socket, "precious").unwrap();
            daemon.wait_for("control_lost");
            assert_eq!(fs::read_to_string(&daemon.socket).unwrap(), "precious");
            fs::remove_file(&daemon.socket).unwrap();
        }
        daemon.wait_for("it was lost, and is made again");
        daemon.says(&["status"]);
        let mode = fs::metadata(&daemon.socket).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
    }
}

#[test]
fn who_says_nothing_or_half_a_request_or_reads_nothing_locks_nobody_out() {
    let folder = folder("control-slow");
    let daemon = running(&folder, "");
    let connect = || UnixStream::connect(&daemon.socket).unwrap();
    // As root, or as whoever runs the daemon: there is no better kept place than these.
    let silent: Vec<_> = (0..MANY).map(|_| connect()).collect();
    daemon.says(&["status"]);
    let half: Vec<_> = (0..MANY)
        .map(|_| {
            let mut stream = connect();
            let _let_go = stream.write_all(b"{\"command\":");
            stream
        })
        .collect();
    daemon.says(&["status"]);
    let deaf: Vec<_> = (0..MANY)
        .map(|_| {
            let mut stream = connect();
            let question = "{\"command\":\"status\"}\n".repeat(2000);
            stream.set_nonblocking(true).unwrap();
            let _let_go_or_full = stream.write(question.as_bytes());
            stream
        })
        .collect();
    daemon.says(&["status"]);
    // The first of them had to go; each end is one, not a wait.
    for mut gone in silent.iter().take(MANY / 2) {
        gone.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(gone.read(&mut [0; 1]).unwrap(), 0);
    }
    drop((half, deaf));
    let long = "x".repeat(20_000);
    let answer = ask(&connect(), &long);
    assert_eq!(answer["reason"], "bad_request", "{answer}");
}

#[test]
fn viewers_ask_and_change_nothing() {
    let folder = folder("control-viewers");
    let group = |gid| Group::from_gid(gid).unwrap().map(|group| group.name);
    let as_root = geteuid().is_root();
    // A group that nobody else in here is of, where one can be chosen.
    let gid = if as_root {
        Gid::from_raw(65534)
    } else {
        nix::unistd::getegid()
    };
    let Some(name) = group(gid) else {
        println!("skipped: group {gid} has no name");
        return;
    };
    let daemon = running(&folder, &format!("viewers = {name:?}"));
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(daemon.socket.clone()), 0o600);
    assert_eq!(mode(viewers(&daemon)), 0o660);
    let stream = UnixStream::connect(viewers(&daemon)).unwrap();
    for question in [
        r#"{"command":"status"}"#,
        r#"{"command":"peers","name":null}"#,
        r#"{"command":"log","level":null,"peer":null}"#,
        r#"{"command":"explain","what":"10.244.0.1"}"#,
        r#"{"command":"version"}"#,
    ] {
        let answer = ask(&stream, question);
        assert_ne!(answer["answer"], "failed", "{question}: {answer}");
    }
    for order in [
        r#"{"command":"reload"}"#,
        r#"{"command":"drain","undo":false}"#,
        r#"{"command":"log","level":"trace","peer":null}"#,
        r#"{"command":"peer_shutdown","name":"b","message":null}"#,
        r#"{"command":"peer_enable","name":"b"}"#,
        r#"{"command":"peer_reset","name":"b"}"#,
        r#"{"command":"peer_refresh","name":"b"}"#,
    ] {
        let answer = ask(&stream, order);
        assert_eq!(answer["reason"], "not_allowed", "{order}: {answer}");
        assert!(
            answer["message"]
                .as_str()
                .unwrap()
                .contains("[control] viewers")
        );
    }
    assert_eq!(daemon.json(&["status"])["draining"], false);
    // The command finds the way by itself, and its flood is its own.
    if as_root {
        let viewer = |arguments: &[&str]| {
            let mut command = dunlin();
            command
                .uid(65534)
                .gid(65534)
                .arg("--socket")
                .arg(&daemon.socket);
            command.args(arguments).output().unwrap()
        };
        let output = viewer(&["status"]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let output = viewer(&["drain"]);
        assert_eq!(output.status.code(), Some(6), "{output:?}");
    }
    let flood: Vec<_> = (0..MANY)
        .map(|_| UnixStream::connect(viewers(&daemon)).unwrap())
        .collect();
    daemon.says(&["status"]);
    drop(flood);
}
