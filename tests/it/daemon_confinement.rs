//! The real daemon as an ordinary user with few rights and few descriptors: it can still be asked, told and
//! repaired, and says what it can't.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use socket2::{Domain, Socket, Type};

use crate::dataplane_netns::{in_namespace, ip};
use crate::folder::Folder;

const PROGRAM: &str = env!("CARGO_BIN_EXE_dunlin");
const PATIENCE: Duration = Duration::from_secs(30);
/// What the daemon may have open.
const LIMIT: usize = 128;
/// More than that.
const CALLERS: u8 = 200;

fn cluster(nat: bool) -> String {
    format!(
        "[[ip-pool]]\nname = \"pods\"\ncidr = \"10.244.0.0/16\"\nnat-outgoing = {nat}\n\
         [[node]]\nname = \"a\"\nipv4-address = \"10.9.0.1/24\"\nblocks = [\"10.244.1.0/26\"]\n\
         [[bgp-peer]]\nname = \"anybody\"\npeer-range = \"127.0.0.0/8\"\nas-number = 65001\n"
    )
}

struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _status = self.0.wait();
    }
}

fn start(file: &Path) -> Daemon {
    let script = format!("ulimit -n {LIMIT}; exec \"$0\" run --config \"$1\"");
    let mut child = Command::new("sh")
        .args(["-c", &script, PROGRAM])
        .arg(file)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let running = lines.any(|line| line.unwrap().contains("dunlin is running"));
    assert!(running);
    std::thread::spawn(move || lines.map_while(Result::ok).count());
    Daemon(child)
}

fn ask(socket: &Path, words: &[&str]) -> Value {
    let begun = Instant::now();
    let output = Command::new(PROGRAM)
        .arg("--socket")
        .arg(socket)
        .args(words)
        .args(["--output", "json"])
        .output()
        .unwrap();
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{words:?} took {:?}",
        begun.elapsed()
    );
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
}

fn is_short(socket: &Path) -> bool {
    let status = ask(socket, &["status"]);
    let problems = status["problems"].as_array().unwrap();
    problems
        .iter()
        .any(|problem| problem["code"] == "descriptors_short")
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "{what}");
    }
}

/// Calls from an address of its own and says nothing.
fn call(number: u8) -> Option<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let from: SocketAddr = format!("127.0.1.{number}:0").parse().unwrap();
    socket.bind(&from.into()).unwrap();
    let to: SocketAddr = "127.0.0.1:1179".parse().unwrap();
    socket.connect_timeout(&to.into(), PATIENCE).ok()?;
    Some(socket)
}

#[test]
fn callers_who_take_all_descriptors_leave_those_that_control_reload_and_nft_need() {
    in_namespace(|| {
        ip("link set lo up");
        let folder = Folder::new("descriptors");
        let socket = folder.path("dunlin.sock");
        folder.write("cluster.toml", &cluster(false));
        let file = folder.write(
            "dunlin.toml",
            &format!(
                "[node]\nname = \"a\"\n[bgp]\nlisten = [\"127.0.0.1:1179\"]\n[control]\nsocket = {socket:?}\n"
            ),
        );
        let daemon = start(&file);
        assert!(!is_short(&socket));
        let callers: Vec<Socket> = (0..CALLERS).filter_map(call).collect();
        eventually("it is not said", || is_short(&socket));
        let open = || {
            std::fs::read_dir(format!("/proc/{}/fd", daemon.0.id()))
                .unwrap()
                .count()
        };
        assert!(open() <= LIMIT / 2 + 16, "{} are open", open());
        // A reload opens files, and has nft write.
        folder.write("cluster.toml", &cluster(true));
        let reloaded = ask(&socket, &["reload"]);
        assert!(reloaded.to_string().contains("reloaded"), "{reloaded}");
        let nat = || ask(&socket, &["status"])["nat_outgoing"] == "IPv4: on; IPv6: off";
        eventually("nft has written nothing", nat);
        drop(callers);
        eventually("it is short though all callers are gone", || {
            !is_short(&socket)
        });
    });
}

/// A daemon of root's that became somebody else, with files of a cluster in two folders.
fn as_somebody(folder: &Folder, process: &str) -> (Daemon, PathBuf) {
    for name in ["run", "one", "two"] {
        std::fs::create_dir(folder.path(name)).unwrap();
    }
    folder.write("one/cluster.toml", &cluster(false));
    folder.write("two/cluster.toml", &cluster(true));
    let socket = folder.path("run/dunlin.sock");
    let file = write_own(folder, "one/cluster.toml", process);
    (start(&file), socket)
}

fn write_own(folder: &Folder, path: &str, process: &str) -> PathBuf {
    let socket = folder.path("run/dunlin.sock");
    let text = format!(
        "[node]\nname = \"a\"\n[datastore]\npath = \"../{path}\"\n[bgp]\nlisten = []\n\
         [control]\nsocket = {socket:?}\n[process]\nuser = \"4000000001:4000000002\"\n{process}\n"
    );
    let _there_already = std::fs::create_dir(folder.path("own"));
    folder.write("own/dunlin.toml", &text)
}

fn numbers(daemon: &Daemon, field: &str) -> Vec<String> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.0.id())).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(field))
        .unwrap();
    line.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn a_daemon_of_roots_becomes_who_is_configured_and_says_so() {
    in_namespace(|| {
        let folder = Folder::new("user");
        let (daemon, socket) = as_somebody(&folder, "");
        assert_eq!(numbers(&daemon, "Uid:"), ["4000000001"; 4]);
        assert_eq!(numbers(&daemon, "Gid:"), ["4000000002"; 4]);
        assert!(numbers(&daemon, "Groups:").is_empty());
        // CAP_NET_BIND_SERVICE and CAP_NET_ADMIN; the latter for nft, too.
        assert_eq!(numbers(&daemon, "CapPrm:"), ["0000000000001400"]);
        assert_eq!(numbers(&daemon, "CapBnd:"), ["0000000000001400"]);
        assert_eq!(numbers(&daemon, "CapAmb:"), ["0000000000001000"]);
        assert_eq!(numbers(&daemon, "NoNewPrivs:"), ["1"]);
        let status = ask(&socket, &["status"]);
        assert_eq!(status["user"], "4000000001:4000000002");
        assert!(
            status["sandbox"].as_str().unwrap().contains("seccomp"),
            "{status}"
        );
        let meta = std::fs::metadata(&socket).unwrap();
        assert_eq!((meta.uid(), meta.mode() & 0o777), (4_000_000_001, 0o600));
        // Nothing of its memory can be read by others of that user, and none is written to a disk.
        let memory = std::fs::metadata(format!("/proc/{}/mem", daemon.0.id())).unwrap();
        assert_eq!(memory.uid(), 0, "it can be dumped");
    });
}

#[test]
fn a_cluster_elsewhere_takes_a_restart_in_a_sandbox_and_none_without() {
    in_namespace(|| {
        for (process, is_taken) in [("", false), ("sandbox = false", true)] {
            let folder = Folder::new("elsewhere");
            let (_daemon, socket) = as_somebody(&folder, process);
            write_own(&folder, "two/cluster.toml", process);
            let told = ask(&socket, &["reload"]).to_string();
            let why = "two/cluster.toml";
            assert_eq!(told.contains("reloaded"), is_taken, "{told}");
            let says = told.contains(why)
                && told.contains("its sandbox shows it no others; restart dunlin");
            assert_eq!(says, !is_taken, "{told}");
        }
    });
}

#[test]
fn what_its_user_can_not_read_again_is_a_problem_from_the_start() {
    in_namespace(|| {
        let folder = Folder::new("unreadable");
        std::fs::create_dir(folder.path("own")).unwrap();
        std::fs::set_permissions(folder.path("own"), PermissionsExt::from_mode(0o700)).unwrap();
        let (_daemon, socket) = as_somebody(&folder, "");
        let status = ask(&socket, &["status"]);
        let problems = status["problems"].as_array().unwrap();
        let what = problems
            .iter()
            .find(|problem| problem["code"] == "file_unreadable")
            .unwrap();
        let what = what["what"].as_str().unwrap();
        assert!(
            what.contains("own/dunlin.toml can't be read again by 4000000001"),
            "{what}"
        );
        assert!(
            what.contains("own, which has mode 0700 and belongs to 0:0"),
            "{what}"
        );
        std::fs::set_permissions(folder.path("own"), PermissionsExt::from_mode(0o755)).unwrap();
        ask(&socket, &["reload"]);
        let status = ask(&socket, &["status"]);
        assert!(!status.to_string().contains("file_unreadable"), "{status}");
    });
}

#[test]
fn who_asks_for_a_user_and_can_not_have_it_does_not_run() {
    in_namespace(|| {
        let folder = Folder::new("no-user");
        let file = write_own(&folder, "cluster.toml", "");
        folder.write("cluster.toml", &cluster(false));
        let text = std::fs::read_to_string(&file).unwrap();
        let ends = |user: &str| {
            let text = text.replace("4000000001:4000000002", user);
            std::fs::write(&file, text).unwrap();
            let command = [
                "--reuid=4000000003",
                "--clear-groups",
                PROGRAM,
                "run",
                "--config",
            ];
            let program = if user == "nobody-here" {
                &command[2..]
            } else {
                &command[..]
            };
            let mut run = match program {
                [own, rest @ ..] if *own == PROGRAM => {
                    let mut run = Command::new(own);
                    run.args(rest);
                    run
                }
                all => {
                    let mut run = Command::new("setpriv");
                    run.args(all);
                    run
                }
            };
            let output = run.arg(&file).output().unwrap();
            assert!(!output.status.success());
            String::from_utf8_lossy(&output.stderr).into_owned()
        };
        let unknown = ends("nobody-here");
        assert!(
            unknown.contains("there is no user named \"nobody-here\""),
            "{unknown}"
        );
        let refused = ends("4000000004");
        assert!(
            refused.contains("cannot become 4000000004:4000000004"),
            "{refused}"
        );
        assert!(
            refused.contains("start dunlin as root, or as that user"),
            "{refused}"
        );
    });
}
