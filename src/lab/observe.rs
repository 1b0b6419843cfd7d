//! What each node's dunlin has done so far: sessions up, routes in the kernel.
//!
//! Looked up by a thread of its own, so that a daemon that does not answer holds up neither the
//! probing nor the display.

use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::Value;

use super::error::LabError;
use super::netlink::Netlink;
use super::process::own_program;

/// Between two looks at all nodes; a look that takes long is followed by twice as long a pause, to
/// leave the processor to the daemons.
const PAUSE: Duration = Duration::from_millis(250);
/// How long one daemon may take to answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(2);

/// What is known of one node; `None` is not known (yet).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Seen {
    /// Sessions up, of how many.
    pub(super) sessions: Option<(usize, usize)>,
    /// Routes of the daemon in the kernel, both families together.
    pub(super) routes: Option<usize>,
}

/// Where to look.
#[derive(Debug)]
pub(super) struct Place {
    /// A socket in the namespace.
    pub(super) netlink: Netlink,
    /// The control socket of the dunlin there; none without a dunlin.
    pub(super) control: Option<PathBuf>,
    /// The number of the routes that are counted.
    pub(super) protocol: u8,
}

#[derive(Debug)]
struct Shared {
    seen: Mutex<Vec<Seen>>,
    /// Passes over all places that began, and that ended.
    begun: AtomicU64,
    ended: AtomicU64,
}

/// The thread that looks.
#[derive(Debug)]
pub(super) struct Observer {
    shared: Arc<Shared>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Observer {
    /// Starts to look at the places, again and again.
    pub(super) fn start(mut places: Vec<Place>) -> Result<Self, LabError> {
        let shared = Arc::new(Shared {
            seen: Mutex::new(vec![Seen::default(); places.len()]),
            begun: AtomicU64::new(0),
            ended: AtomicU64::new(0),
        });
        let (stop, stopped) = channel();
        let of_thread = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("observer".to_owned())
            .spawn(move || watch(&mut places, &of_thread, &stopped))
            .map_err(LabError::system("start a thread"))?;
        Ok(Self {
            shared,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// What was seen last, in the order of the places.
    pub(super) fn seen(&self) -> Vec<Seen> {
        self.shared
            .seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The number of the first pass that begins after this call.
    pub(super) fn next_pass(&self) -> u64 {
        self.shared.begun.load(Ordering::Acquire) + 1
    }

    /// Whether that pass has been through all places.
    pub(super) fn has_done(&self, pass: u64) -> bool {
        self.shared.ended.load(Ordering::Acquire) >= pass
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        // The thread notices that the sender is gone.
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn watch(places: &mut [Place], shared: &Shared, stopped: &Receiver<()>) {
    loop {
        shared.begun.fetch_add(1, Ordering::AcqRel);
        let began = Instant::now();
        for (number, place) in places.iter_mut().enumerate() {
            if stopped.try_recv() == Err(TryRecvError::Disconnected) {
                return;
            }
            let now = look(place);
            let mut seen = shared.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(entry) = seen.get_mut(number) {
                *entry = now;
            }
        }
        shared.ended.fetch_add(1, Ordering::AcqRel);
        match stopped.recv_timeout(PAUSE.max(began.elapsed() * 2)) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn look(place: &mut Place) -> Seen {
    Seen {
        sessions: place
            .control
            .as_ref()
            .and_then(|socket| sessions_up(socket)),
        routes: place.netlink.count_routes(place.protocol).ok(),
    }
}

/// Asks the dunlin behind a control socket how many of its sessions are up.
fn sessions_up(control: &Path) -> Option<(usize, usize)> {
    if !control.exists() {
        return None;
    }
    let mut command = Command::new(own_program().ok()?);
    command
        .arg("--socket")
        .arg(control)
        .args(["peers", "--output", "json"]);
    let peers: Value = serde_json::from_slice(&output_of(command)?).ok()?;
    count_established(&peers)
}

/// Counts in a list of peers, bare or under the key `peers`, those whose `state` is Established.
fn count_established(peers: &Value) -> Option<(usize, usize)> {
    let peers = peers.get("peers").unwrap_or(peers).as_array()?;
    let is_up = |peer: &&Value| {
        let state = peer.get("state").and_then(Value::as_str);
        state.is_some_and(|state| state.eq_ignore_ascii_case("established"))
    };
    Some((peers.iter().filter(is_up).count(), peers.len()))
}

/// What a command prints, if it succeeds in time.
fn output_of(mut command: Command) -> Option<Vec<u8>> {
    // Its own process group: Ctrl-C on the terminal is for the lab.
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0);
    let mut child = command.spawn().ok()?;
    let mut out = child.stdout.take()?;
    let deadline = Instant::now() + ANSWER_DEADLINE;
    let mut text = Vec::new();
    let mut part = [0; 16 * 1024];
    let complete = loop {
        let left = deadline
            .saturating_duration_since(Instant::now())
            .as_millis();
        let timeout = PollTimeout::from(u16::try_from(left).unwrap_or(u16::MAX));
        let mut watched = [PollFd::new(out.as_fd(), PollFlags::POLLIN)];
        match poll(&mut watched, timeout) {
            Ok(0) | Err(_) => break false,
            Ok(_) => {}
        }
        match out.read(&mut part) {
            Ok(0) => break true,
            Ok(length) => text.extend_from_slice(part.get(..length)?),
            Err(_) => break false,
        }
    };
    if !complete {
        let _ = child.kill();
    }
    let succeeded = child.wait().is_ok_and(|status| status.success());
    (complete && succeeded).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn established_peers_are_counted_in_either_shape() {
        let list: Value =
            serde_json::from_str(r#"[{"state":"Established"},{"state":"Active"},{}]"#).unwrap();
        assert_eq!(count_established(&list), Some((1, 3)));
        let wrapped = serde_json::json!({ "peers": list });
        assert_eq!(count_established(&wrapped), Some((1, 3)));
        assert_eq!(
            count_established(&serde_json::json!({ "error": "x" })),
            None
        );
    }

    #[test]
    fn a_command_that_fails_or_is_missing_says_nothing() {
        let mut fails = Command::new("sh");
        fails.args(["-c", "echo text; exit 3"]);
        assert_eq!(output_of(fails), None);
        assert_eq!(output_of(Command::new("/nonexistent/program")), None);
        let mut works = Command::new("sh");
        works.args(["-c", "echo text"]);
        assert_eq!(output_of(works), Some(b"text\n".to_vec()));
    }
}
