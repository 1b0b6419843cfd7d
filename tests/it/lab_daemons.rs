//! The daemons of a lab end with it, however it ends.
#![expect(clippy::unwrap_used, reason = "a test that can not go on has failed")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};

const PROGRAM: &str = env!("CARGO_BIN_EXE_dunlin");

/// A lab with one daemon on its node and one on the router.
pub(crate) struct Lab {
    child: Child,
    instance: String,
}

impl Lab {
    /// Starts it and waits until it shows how to look around, whether or not all pods reach each
    /// other by then: that is not the question here.
    pub(crate) fn start(test: &str) -> Self {
        let instance = format!("dlab-{}-{test}", std::process::id());
        let mut command = Command::new(PROGRAM);
        command.args(["lab", "--nodes", "1", "--pods", "1", "--timeout", "5"]);
        command.args(["--instance", &instance]);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        let mut lab = Self { child, instance };
        let out = BufReader::new(lab.child.stdout.take().unwrap());
        let ready = out
            .lines()
            .map_while(Result::ok)
            .any(|line| line.starts_with("Ctrl-C"));
        assert!(ready, "the lab ended before it was ready");
        lab
    }

    pub(crate) fn folder(&self) -> PathBuf {
        Path::new("/run").join(&self.instance)
    }

    /// The processes that run with a file of this lab, by their command lines.
    fn daemons(&self) -> Vec<String> {
        let config = format!("{}/", self.folder().display());
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let lines = processes.filter_map(|p| fs::read_to_string(p.path().join("cmdline")).ok());
        lines
            .filter(|line| line.contains("\0run\0") && line.contains(&config))
            .collect()
    }

    fn end(&mut self, signal: Signal) {
        kill(
            Pid::from_raw(i32::try_from(self.child.id()).unwrap()),
            signal,
        )
        .unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let clean = ["lab", "--clean", "--instance", &self.instance];
        let _ = Command::new(PROGRAM)
            .args(clean)
            .stdout(Stdio::null())
            .status();
    }
}

pub(crate) fn root() -> bool {
    let must_run =
        std::env::var_os("CI").is_some() || std::env::var("DUNLIN_TESTS").is_ok_and(|v| v == "all");
    assert!(
        geteuid().is_root() || !must_run,
        "missing: root, to make network namespaces"
    );
    if !geteuid().is_root() {
        println!("skipped: missing root, to make network namespaces");
    }
    geteuid().is_root()
}

#[test]
fn a_lab_that_is_asked_to_end_stops_its_daemons_before_it_goes() {
    if !root() {
        return;
    }
    let mut lab = Lab::start("term");
    assert_eq!(lab.daemons().len(), 2, "one on the node, one on the router");
    lab.end(Signal::SIGTERM);
    assert_eq!(lab.daemons(), Vec::<String>::new());
    assert!(!lab.folder().exists());
}

#[test]
fn the_daemons_of_a_killed_lab_die_with_it() {
    if !root() {
        return;
    }
    let mut lab = Lab::start("dead");
    assert_eq!(lab.daemons().len(), 2, "one on the node, one on the router");
    lab.end(Signal::SIGKILL);
    // The kernel signals them at once; they take their time to say goodbye to their peers.
    let deadline = Instant::now() + Duration::from_secs(10);
    while !lab.daemons().is_empty() && Instant::now() < deadline {
        sleep(Duration::from_millis(10));
    }
    assert_eq!(lab.daemons(), Vec::<String>::new());
}
