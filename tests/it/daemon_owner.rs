//! Two daemons in one network namespace: real ones, each test in a namespace of its own.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use crate::dataplane_netns::in_namespace;
use crate::folder::Folder;

const PATIENCE: Duration = Duration::from_secs(30);
const CLUSTER: &str = "[[ip-pool]]\nname = \"pods\"\ncidr = \"10.244.0.0/16\"\n\
    [[node]]\nname = \"a\"\nipv4-address = \"10.9.0.1/24\"\nblocks = [\"10.244.1.0/26\"]\n";

struct Daemon {
    child: Child,
    lines: Receiver<String>,
}

impl Daemon {
    /// Starts one with a control socket of its own, in the namespace of this thread.
    fn start(folder: &Path, name: &str, routing: &str) -> Self {
        let file = folder.join(format!("{name}.toml"));
        let socket = folder.join(name);
        let text = format!(
            "[node]\nname = \"a\"\n[datastore]\npath = \"cluster.toml\"\n[routing]\n{routing}\n\
             [bgp]\nlisten = []\n[control]\nsocket = {socket:?}\n"
        );
        std::fs::write(&file, text).unwrap();
        std::fs::write(folder.join("cluster.toml"), CLUSTER).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_dunlin"));
        command.env_remove("DUNLIN_LOG").args(["run", "--config"]);
        let mut child = command.arg(file).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = channel();
        thread::spawn(move || {
            let lines = stderr.lines().map_while(Result::ok);
            lines
                .map(|line| sender.send(line))
                .take_while(Result::is_ok)
                .count()
        });
        Self { child, lines }
    }

    fn until(&self, words: &str) -> String {
        let mut seen = Vec::new();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(words) => return line,
                Ok(line) => seen.push(line),
                Err(_) => panic!("waited in vain for {words:?}: {seen:#?}"),
            }
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

#[test]
fn a_second_daemon_in_the_namespace_is_refused_and_says_which_one_is_there() {
    in_namespace(|| {
        let folder = Folder::new("owner-second");
        let first = Daemon::start(&folder.0, "first", "");
        first.until("dunlin is running");
        // A socket of its own and no sessions: nothing else would keep it from running.
        let mut second = Daemon::start(&folder.0, "second", "backend = \"vxlan\"");
        second.until("waiting for its end");
        let line = second.until("programs routing table 254");
        let named = format!("another dunlin (process {})", first.child.id());
        assert!(line.contains(&named), "{line}");
        assert!(!second.child.wait().unwrap().success());
        // Who programs nothing is nobody's rival; nor is who is in another namespace.
        let onlooker = Daemon::start(&folder.0, "second", "kernel-routes = false");
        onlooker.until("dunlin is running");
        let idle = Daemon::start(&folder.0, "third", "backend = \"none\"");
        idle.until("dunlin is running");
        in_namespace(|| {
            let folder = Folder::new("owner-elsewhere");
            let elsewhere = Daemon::start(&folder.0, "first", "");
            elsewhere.until("dunlin is running");
        });
    });
}

#[test]
fn who_starts_while_another_daemon_ends_waits_for_it() {
    in_namespace(|| {
        let folder = Folder::new("owner-upgrade");
        let first = Daemon::start(&folder.0, "socket", "");
        first.until("dunlin is running");
        // With the same control socket, as an upgrade has it.
        let second = Daemon::start(&folder.0, "socket", "");
        second.until("waiting for its end");
        drop(first);
        second.until("dunlin is running");
    });
}
