//! What a daemon that was taken over could still do: a process confines itself as the daemon does, tries, and
//! tells how each attempt ended.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::net::{TcpListener, ToSocketAddrs};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use caps::{CapSet, Capability};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Uid, getppid, setresuid};
use socket2::{Domain, Protocol, Socket, Type};

use super::*;
use crate::daemon::config::{RunAs, Surroundings};
use crate::topology::{self, Intent, Node};

/// Set for the process that confines itself: the folder that it was given.
const INSIDE: &str = "DUNLIN_TEST_INSIDE";
/// The user it becomes where root runs the tests.
const USER: u32 = 65_534;

fn config(folder: &Path) -> Config {
    let mut config = Config::defaults(&Surroundings {
        host_name: "me".to_owned(),
        folder: folder.join("etc"),
        environment: BTreeMap::new(),
    });
    config.control.socket = folder.join("run/dunlin.sock");
    if geteuid().is_root() {
        config.process.user = RunAs::parse(&format!("{USER}:{USER}"));
    }
    config
}

/// A folder as a host has it: root's files, some of them for everybody.
fn furnish(folder: &Path) {
    let _from_a_run_before = fs::remove_dir_all(folder);
    for (name, mode) in [("etc", 0o755), ("other", 0o777), ("closed", 0o700)] {
        fs::create_dir_all(folder.join(name)).unwrap();
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(folder.join(name), mode).unwrap();
    }
    for name in [
        "etc/dunlin.toml",
        "etc/cluster.toml",
        "other/file",
        "closed/secret",
    ] {
        fs::write(folder.join(name), "x").unwrap();
    }
    fs::copy("/bin/true", folder.join("other/true")).unwrap();
    fs::set_permissions(
        folder.join("etc/cluster.toml"),
        fs::Permissions::from_mode(0o600),
    )
    .unwrap();
}

fn run_inside(test: &str) -> BTreeMap<String, String> {
    let folder = std::env::temp_dir().join(format!("dunlin-inside-{test}-{}", std::process::id()));
    furnish(&folder);
    let name = format!("daemon::confinement::tests::{test}");
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &name, "--nocapture", "--test-threads=1"])
        .env(INSIDE, &folder)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(
        child.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&child.stderr)
    );
    fs::remove_dir_all(&folder).unwrap();
    let lines = said
        .lines()
        .filter_map(|line| line.split_once("inside: ")?.1.split_once(": "));
    lines
        .map(|(what, how)| (what.to_owned(), how.to_owned()))
        .collect()
}

fn tell<T, E: std::fmt::Display>(what: &str, result: Result<T, E>) {
    match result {
        Ok(_) => println!("inside: {what}: done"),
        Err(error) => println!("inside: {what}: {error}"),
    }
}

fn given() -> Option<PathBuf> {
    std::env::var_os(INSIDE).map(PathBuf::from)
}

fn confined(folder: &Path) -> Confined {
    let config = config(folder);
    let intent = Intent {
        nodes: vec![Node::named("me")],
        ..Intent::default()
    };
    let plan = topology::plan(&intent, "me").unwrap();
    let reads = Reads::of(&folder.join("etc/dunlin.toml"), &config, std::iter::empty());
    let confined = confine(&config, &plan, &reads).unwrap();
    confined.started();
    confined
}

/// What it may do, it does; what nobody may who only carries routes, is refused.
#[test]
fn who_takes_the_daemon_over_gets_the_network_and_nothing_else() {
    let outcome = run_inside("taken_over");
    let how = |what: &str| outcome.get(what).map_or("not tried", String::as_str);
    for may in [
        "read its file",
        "make its socket",
        "call its socket",
        "remove its socket",
        "begin a thread",
        "look a name up",
        "read /proc",
        "log",
    ] {
        assert_eq!(how(may), "done", "{may}: {outcome:#?}");
    }
    for may_not in [
        "run a shell",
        "have the loader run a shell",
        "run a program of its folder",
        "read /etc/shadow",
        "read a file of root's",
        "read another file",
        "write another file",
        "write its configuration",
        "become root",
        "mount",
        "enter a network namespace",
        "make a user namespace",
        "make a network namespace",
        "see all packets",
        "regain a capability",
        "let itself be traced",
        "send a signal to another process",
    ] {
        assert_ne!(how(may_not), "done", "{may_not}: {outcome:#?}");
        assert_ne!(how(may_not), "not tried", "{may_not}: {outcome:#?}");
    }
    if geteuid().is_root() {
        let expected = format!("nobody ({USER}:{USER}), seccomp, Landlock");
        let bare = format!("{USER}:{USER}, seccomp, Landlock");
        assert!(
            [expected.as_str(), &bare].contains(&how("it is")),
            "{outcome:#?}"
        );
        assert_eq!(how("listen at port 179"), "done", "{outcome:#?}");
    }
}

/// It confines its whole process, so another test runs it in one of its own; without that it has nothing to do.
#[test]
fn taken_over() {
    let Some(folder) = given() else { return };
    let confined = confined(&folder);
    println!("inside: it is: {}, {}", confined.user(), confined.sandbox());
    let etc = folder.join("etc");
    let socket = folder.join("run/dunlin.sock");
    tell("read its file", fs::read(etc.join("dunlin.toml")));
    tell(
        "make its socket",
        UnixListener::bind(&socket).inspect(|_| {
            tell("call its socket", UnixStream::connect(&socket));
        }),
    );
    tell("remove its socket", fs::remove_file(&socket));
    tell(
        "begin a thread",
        thread::Builder::new()
            .spawn(|| {})
            .map(thread::JoinHandle::join),
    );
    tell("look a name up", ("localhost", 80).to_socket_addrs());
    tell("read /proc", fs::read("/proc/self/net/netstat"));
    tell("log", std::io::stderr().write_all(b"a line\n"));
    tell("listen at port 179", TcpListener::bind("127.0.0.179:179"));
    try_programs(&folder);
    try_files(&folder);
    try_the_system();
}

fn try_programs(folder: &Path) {
    tell(
        "run a shell",
        Command::new("/bin/sh").args(["-c", "true"]).status(),
    );
    // Something that anybody may run elsewhere.
    let own = folder.join("other/true");
    tell("run a program of its folder", Command::new(own).status());
    let loader = "/lib64/ld-linux-x86-64.so.2";
    let loaded = Command::new(loader)
        .args(["/bin/sh", "-c", "exit 77"])
        .status();
    tell(
        "have the loader run a shell",
        match loaded {
            Ok(status) if status.code() == Some(77) => Ok(()),
            Ok(status) => Err(status.to_string()),
            Err(error) => Err(error.to_string()),
        },
    );
}

fn try_files(folder: &Path) {
    let etc = folder.join("etc");
    tell("read /etc/shadow", File::open("/etc/shadow"));
    tell(
        "read a file of root's",
        File::open(folder.join("closed/secret")),
    );
    tell("read another file", File::open(folder.join("other/file")));
    tell("write another file", File::create(folder.join("other/new")));
    tell(
        "write its configuration",
        File::options().write(true).open(etc.join("dunlin.toml")),
    );
}

fn try_the_system() {
    let root = Uid::from_raw(0);
    // Who is root already has nothing to become.
    let become_root = setresuid(root, root, root).and_then(|()| {
        File::open("/etc/shadow")
            .map_err(|_| nix::errno::Errno::EACCES)
            .map(drop)
    });
    tell("become root", become_root);
    tell(
        "mount",
        mount(
            Some("x"),
            "/mnt",
            Some("tmpfs"),
            MsFlags::empty(),
            None::<&str>,
        ),
    );
    let own = File::open("/proc/self/ns/net").map_err(|error| error.to_string());
    tell(
        "enter a network namespace",
        own.and_then(|own| {
            nix::sched::setns(own, CloneFlags::CLONE_NEWNET).map_err(|error| error.to_string())
        }),
    );
    tell("make a user namespace", unshare(CloneFlags::CLONE_NEWUSER));
    tell(
        "make a network namespace",
        unshare(CloneFlags::CLONE_NEWNET),
    );
    let all = Protocol::from(libc::ETH_P_ALL.to_be());
    tell(
        "see all packets",
        Socket::new(Domain::PACKET, Type::RAW, Some(all)),
    );
    tell(
        "regain a capability",
        caps::raise(None, CapSet::Effective, Capability::CAP_SYS_ADMIN),
    );
    tell("let itself be traced", nix::sys::prctl::set_dumpable(true));
    tell(
        "send a signal to another process",
        kill(getppid(), Signal::SIGCONT),
    );
}

#[test]
fn a_file_that_its_user_can_not_read_is_named_with_what_is_in_the_way() {
    if !geteuid().is_root() {
        return;
    }
    let outcome = run_inside("reads");
    let how = |what: &str| outcome.get(what).map_or("not tried", String::as_str);
    let mode = how("a mode");
    assert!(
        mode.contains("etc/cluster.toml can't be read again by"),
        "{mode}"
    );
    assert!(mode.contains("has mode 0600 and belongs to 0:0"), "{mode}");
    let folder = how("a folder");
    assert!(
        folder.contains("closed/secret can't be read again"),
        "{folder}"
    );
    assert!(folder.contains("/closed, which has mode 0700"), "{folder}");
    let sandbox = how("the sandbox");
    assert!(
        sandbox.contains("other/file can't be read: it is beside none"),
        "{sandbox}"
    );
    assert!(sandbox.contains("restart dunlin"), "{sandbox}");
    assert_eq!(how("a good one"), "");
}

/// It confines its whole process, so another test runs it in one of its own; without that it has nothing to do.
#[test]
fn reads() {
    let Some(folder) = given() else { return };
    let mut confined = confined(&folder);
    println!("inside: a mode: {}", confined.unreadable().join("; "));
    let mut look = |what: &str, path: PathBuf| {
        confined.look_at(&Reads(vec![path]));
        println!("inside: {what}: {}", confined.unreadable().join("; "));
    };
    look("the sandbox", folder.join("other/file"));
    look("a good one", folder.join("etc/dunlin.toml"));
    let identity = Identity::own();
    let closed = reach::complaint(&folder.join("closed/secret"), &identity);
    println!("inside: a folder: {}", closed.unwrap_or_default());
}

#[test]
fn a_folder_is_given_away_only_if_it_is_dunlin_s_own() {
    if !geteuid().is_root() {
        return;
    }
    let identity = Identity {
        uid: Uid::from_raw(USER),
        gid: Gid::from_raw(USER),
        name: None,
    };
    let folder = std::env::temp_dir().join(format!("dunlin-folders-{}", std::process::id()));
    fs::create_dir_all(folder.join("shared")).unwrap();
    fs::create_dir_all(folder.join("former")).unwrap();
    fs::create_dir_all(folder.join("somebody")).unwrap();
    fs::write(folder.join("shared/file"), "").unwrap();
    drop(UnixListener::bind(folder.join("former/dunlin.sock")).unwrap());
    chown(folder.join("somebody"), Some(7), Some(7)).unwrap();
    let owner = |name: &str| {
        give_folder(&folder.join(name), &identity);
        fs::metadata(folder.join(name)).unwrap().uid()
    };
    assert_eq!(owner("new"), USER);
    assert_eq!(owner("deep/er"), USER);
    assert_eq!(owner("former"), USER);
    assert_eq!(owner("shared"), 0);
    assert_eq!(owner("somebody"), 7);
    assert!(!is_only_ours(Path::new("/run")) && !is_only_ours(Path::new("/")));
    fs::remove_dir_all(folder).unwrap();
}
