//! The lab builds, proves and removes its cluster, as root and without, also after a crash.
//!
//! Static routes stand in for the daemons: what is under test is everything but routing. Each test
//! has an instance name of its own, so that they run side by side.
#![expect(clippy::unwrap_used, reason = "a test that can not go on has failed")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};

const NOBODY: u32 = 65534;

/// A name for this test's namespaces that no other test and no user has.
fn instance(test: &str) -> String {
    format!("dlab-{}-{test}", std::process::id())
}

fn lab(program: &Path, instance: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command
        .args(["lab", "--routing", "static", "--instance", instance])
        .args(arguments);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn dunlin() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_dunlin"))
}

fn text(output: &Output) -> String {
    let out = String::from_utf8_lossy(&output.stdout);
    format!(
        "{}\n{out}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    )
}

/// The namespaces of an instance that `ip netns` would show.
fn namespaces(instance: &str) -> Vec<String> {
    let entries = fs::read_dir("/run/netns").into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names
        .filter(|name| name.starts_with(&format!("{instance}-")))
        .collect()
}

fn must_run() -> bool {
    std::env::var_os("CI").is_some() || std::env::var("DUNLIN_TESTS").is_ok_and(|v| v == "all")
}

/// Whether the test may go on; where everything must run, a missing permission is a failure.
fn permitted(permitted: bool, missing: &str) -> bool {
    assert!(permitted || !must_run(), "missing: {missing}");
    if !permitted {
        println!("skipped: missing {missing}");
    }
    permitted
}

fn root() -> bool {
    permitted(
        geteuid().is_root(),
        "root, to make namespaces that `ip netns` shows",
    )
}

/// A lab that runs until it is ended; removed whatever happens to the test.
struct Running {
    child: Child,
    instance: String,
}

impl Running {
    /// Starts one and waits until it says how to look around: it is complete then.
    fn start(instance: &str, arguments: &[&str]) -> Self {
        let child = lab(&dunlin(), instance, arguments).spawn().unwrap();
        let mut running = Self {
            child,
            instance: instance.to_owned(),
        };
        let out = BufReader::new(running.child.stdout.take().unwrap());
        let mut seen = Vec::new();
        for line in out.lines().map_while(Result::ok) {
            let done = line.starts_with("Ctrl-C");
            seen.push(line);
            if done {
                return running;
            }
        }
        panic!("it ended before it was ready: {seen:#?}");
    }

    fn signal(&mut self, signal: Signal) -> Option<i32> {
        let pid = i32::try_from(self.child.id()).unwrap();
        kill(Pid::from_raw(pid), signal).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = lab(&dunlin(), &self.instance, &["--clean"]).output();
    }
}

#[test]
fn pods_of_all_nodes_reach_each_other_and_nothing_is_left() {
    if !root() {
        return;
    }
    let instance = instance("check");
    let output = lab(&dunlin(), &instance, &["--check", "--nodes", "3"])
        .output()
        .unwrap();
    let told = text(&output);
    assert!(output.status.success(), "{told}");
    let last = "3 nodes, 6 pods: all pods reach each other (pairs: 30/30 by IPv4, 30/30 by IPv6)";
    assert!(told.contains(last), "{told}");
    assert_eq!(namespaces(&instance), Vec::<String>::new());
    assert!(!Path::new("/run").join(&instance).exists());
}

#[test]
fn without_ipv6_a_single_node_is_a_cluster_too() {
    if !root() {
        return;
    }
    let instance = instance("one");
    let arguments = ["--check", "--nodes", "1", "--ipv6", "false"];
    let output = lab(&dunlin(), &instance, &arguments).output().unwrap();
    let told = text(&output);
    assert!(output.status.success(), "{told}");
    assert!(told.contains("(pairs: 2/2 by IPv4)"), "{told}");
    assert_eq!(namespaces(&instance), Vec::<String>::new());
}

#[test]
fn ctrl_c_takes_everything_down() {
    if !root() {
        return;
    }
    let instance = instance("ctrlc");
    let mut running = Running::start(&instance, &["--nodes", "2", "--pods", "1"]);
    // The router, two nodes, two pods.
    assert_eq!(namespaces(&instance).len(), 5);
    assert_eq!(running.signal(Signal::SIGINT), Some(0));
    assert_eq!(namespaces(&instance), Vec::<String>::new());
    assert!(!Path::new("/run").join(&instance).exists());
}

#[test]
fn a_second_lab_is_refused_while_the_first_lives() {
    if !root() {
        return;
    }
    let instance = instance("two");
    let first = Running::start(&instance, &["--nodes", "1", "--pods", "1"]);
    let second = lab(&dunlin(), &instance, &["--check"]).output().unwrap();
    let told = text(&second);
    assert_eq!(second.status.code(), Some(1), "{told}");
    assert!(
        told.contains(&format!("as process {}", first.child.id())),
        "{told}"
    );
    assert_eq!(
        namespaces(&instance).len(),
        3,
        "the first one lost something"
    );
}

#[test]
fn what_a_killed_lab_left_is_removed_by_the_next() {
    if !root() {
        return;
    }
    let instance = instance("kill");
    let mut killed = Running::start(&instance, &["--nodes", "2", "--pods", "1"]);
    assert_eq!(killed.signal(Signal::SIGKILL), None);
    assert_eq!(
        namespaces(&instance).len(),
        5,
        "nothing to clean: the test shows nothing"
    );
    let next = lab(&dunlin(), &instance, &["--check", "--nodes", "1"])
        .output()
        .unwrap();
    let told = text(&next);
    assert!(next.status.success(), "{told}");
    assert!(
        told.contains("removed what an earlier lab left: 5 namespaces"),
        "{told}"
    );
    assert_eq!(namespaces(&instance), Vec::<String>::new());
}

#[test]
fn a_kept_cluster_stays_until_it_is_cleaned() {
    if !root() {
        return;
    }
    let instance = instance("keep");
    let kept = lab(&dunlin(), &instance, &["--keep", "--nodes", "1"])
        .output()
        .unwrap();
    let left = namespaces(&instance).len();
    let clean = lab(&dunlin(), &instance, &["--clean"]).output().unwrap();
    assert!(kept.status.success(), "{}", text(&kept));
    assert_eq!(left, 4);
    assert!(clean.status.success(), "{}", text(&clean));
    assert_eq!(namespaces(&instance), Vec::<String>::new());
    assert!(!Path::new("/run").join(&instance).exists());
}

/// The program where an unprivileged user can start it, and a folder of that user's own.
struct Unprivileged {
    folder: PathBuf,
    program: PathBuf,
    runtime: PathBuf,
}

impl Unprivileged {
    fn new(parent: &Path, instance: &str) -> Self {
        let folder = parent.join(instance);
        let runtime = folder.join("runtime");
        fs::create_dir_all(&runtime).unwrap();
        let program = folder.join("dunlin");
        // Not by this process: a test beside this one that starts a child at this moment would hand it
        // the open file, and a file that is open for writing can't be executed (ETXTBSY).
        let copied = Command::new("cp").arg(dunlin()).arg(&program).status();
        assert!(copied.unwrap().success());
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        if geteuid().is_root() {
            std::os::unix::fs::chown(&runtime, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        Self {
            folder,
            program,
            runtime,
        }
    }

    fn run(&self, instance: &str, arguments: &[&str]) -> Output {
        let mut command = lab(&self.program, instance, arguments);
        command
            .env("XDG_RUNTIME_DIR", &self.runtime)
            .current_dir("/");
        if geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command.output().unwrap()
    }
}

impl Drop for Unprivileged {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn user_namespaces() -> bool {
    let works = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "--mount", "true"])
        .uid(if geteuid().is_root() {
            NOBODY
        } else {
            geteuid().as_raw()
        })
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    permitted(
        works,
        "user namespaces for unprivileged users (and the command `unshare`)",
    )
}

#[test]
fn without_root_the_same_cluster_stands_in_a_user_namespace() {
    if !user_namespaces() {
        return;
    }
    let instance = instance("user");
    let user = Unprivileged::new(&std::env::temp_dir(), &instance);
    let output = user.run(&instance, &["--check"]);
    let told = text(&output);
    assert!(output.status.success(), "{told}");
    assert!(
        told.contains("(pairs: 56/56 by IPv4, 56/56 by IPv6)"),
        "{told}"
    );
    assert_eq!(
        namespaces(&instance),
        Vec::<String>::new(),
        "the machine's folder is untouched"
    );
    assert_eq!(
        fs::read_dir(&user.runtime).unwrap().count(),
        0,
        "a state folder is left"
    );
}

#[test]
fn without_root_a_runtime_folder_below_run_stays_visible_outside() {
    if !root() || !user_namespaces() {
        return;
    }
    let instance = instance("run");
    let user = Unprivileged::new(Path::new("/run"), &instance);
    // The program itself lies below /run, which the lab covers: start it from elsewhere.
    let elsewhere = Unprivileged::new(&std::env::temp_dir(), &instance);
    let mut command = lab(
        &elsewhere.program,
        &instance,
        &["--nodes", "1", "--pods", "1"],
    );
    command
        .env("XDG_RUNTIME_DIR", &user.runtime)
        .current_dir("/")
        .uid(NOBODY)
        .gid(NOBODY);
    let child = command.spawn().unwrap();
    let mut running = Running {
        child,
        instance: instance.clone(),
    };
    let out = BufReader::new(running.child.stdout.take().unwrap());
    let ready = out
        .lines()
        .map_while(Result::ok)
        .any(|line| line.starts_with("Ctrl-C"));
    let state_is_seen = user.runtime.join(&instance).join("lock").exists();
    let code = running.signal(Signal::SIGTERM);
    assert!(ready, "it never said that it is ready");
    assert!(state_is_seen, "the state folder is hidden from outside");
    assert_eq!(code, Some(0));
    assert_eq!(
        fs::read_dir(&user.runtime).unwrap().count(),
        0,
        "a state folder is left"
    );
}

#[test]
fn without_root_a_cluster_can_not_be_kept_and_the_reason_is_told() {
    if !user_namespaces() {
        return;
    }
    let instance = instance("ukeep");
    let user = Unprivileged::new(&std::env::temp_dir(), &instance);
    let output = user.run(&instance, &["--keep"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output).contains("--keep needs root"),
        "{}",
        text(&output)
    );
}
