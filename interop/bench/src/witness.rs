//! Who has the routes: an rtnetlink listener in the daemon's namespace, independent of the daemon.
//!
//! It reads in gulps, a millisecond apart, so that it does not wake for every route and slow the writer down. A
//! notification that it loses fails the run.

use crate::error::{Error, Result};
use crate::netlink::{self, Channel};
use crate::netns::Pair;
use crate::table::{Prefix, Progress};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Room for the notifications of a million routes.
const BUFFER: usize = 512 << 20;
const GULP: Duration = Duration::from_millis(1);

/// What the listener has seen so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    /// Prefixes of the table that have a route now.
    pub(crate) present: usize,
    /// The least that `present` ever was since [`Witness::mark`].
    pub(crate) least: usize,
    /// Notifications of written routes since then.
    pub(crate) written: usize,
    /// Notifications of removed routes since then.
    pub(crate) removed: usize,
    /// Routes that are not of the table, since the start.
    pub(crate) strangers: usize,
    /// When something last changed.
    pub(crate) at: Instant,
}

/// The listener's thread.
pub(crate) struct Witness {
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Witness {
    /// Listens from now on for the prefixes of a table.
    pub(crate) fn start(pair: &Pair, table: &[Prefix]) -> Result<Self> {
        let seen = Arc::new(Mutex::new(Seen {
            present: 0,
            least: 0,
            written: 0,
            removed: 0,
            strangers: 0,
            at: Instant::now(),
        }));
        let stop = Arc::new(AtomicBool::new(false));
        let mut progress = Progress::new(table);
        let (daemon, ready) = (pair.daemon_file()?, std::sync::mpsc::channel());
        let (to, stopped) = (Arc::clone(&seen), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let opened = Pair::enter(daemon).and_then(|()| Channel::open(true, BUFFER));
            let _ = ready.0.send(());
            let channel = opened?;
            while !stopped.load(Ordering::Relaxed) {
                gulp(&channel, &mut progress, &to)?;
                std::thread::sleep(GULP);
            }
            Ok(())
        });
        let _ = ready.1.recv();
        Ok(Self {
            seen,
            stop,
            thread: Some(thread),
        })
    }

    /// What was seen so far. Fails if something was missed.
    pub(crate) fn seen(&mut self) -> Result<Seen> {
        if let Some(thread) = self.thread.take_if(|thread| thread.is_finished()) {
            let outcome = thread.join();
            outcome.unwrap_or_else(|_| Err(Error::Daemon("the listener panicked".to_owned())))?;
        }
        Ok(*self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts from here.
    pub(crate) fn mark(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        (seen.least, seen.written, seen.removed) = (seen.present, 0, 0);
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Reads what has come.
fn gulp(channel: &Channel, progress: &mut Progress, to: &Mutex<Seen>) -> Result<()> {
    let mut more = true;
    while more {
        // A few at a time, so that whoever asks is not kept waiting.
        let mut seen = to.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..256 {
            more = channel
                .try_receive(|kind, body| {
                    let Some((address, length)) = netlink::destination(body) else {
                        return;
                    };
                    match kind {
                        netlink::NEW_ROUTE => seen.written += 1,
                        netlink::DELETE_ROUTE => seen.removed += 1,
                        _ => return,
                    }
                    progress.see(kind == netlink::NEW_ROUTE, address, length);
                    seen.present = progress.present;
                    seen.least = seen.least.min(progress.present);
                    seen.strangers = progress.strangers;
                    seen.at = Instant::now();
                })
                .map_err(|error| {
                    Error::Daemon(format!("the listener missed something: {error}"))
                })?;
            if !more {
                break;
            }
        }
    }
    Ok(())
}
