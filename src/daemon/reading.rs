//! Reading the files again while the daemon runs: on a thread of its own, so that no session and no command waits for a
//! file, for a resolver, or for five thousand nodes to be checked and planned for.
//!
//! The thread applies nothing: the loop takes a finished plan, or what is wrong with the files. What always holds:
//!
//! - one reading at a time; what changes while one is under way is read after it, once, however often it changed;
//! - whoever asked for a reading is answered by one that began after that;
//! - nothing is applied if anything is wrong, and what is wrong is known until a reading is good.

use std::io;
use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use tokio::sync::{mpsc, oneshot};

use super::config::{Config, Log, LogLevel, NodeIdentity};
use super::confinement::Reads;
use super::event_loop::{Daemon, Event};
use super::secrets;
use super::source::{self, BadReading, Known, Reading};
use crate::control::protocol::{Answer, Failure, Remark};
use crate::dataplane::Dataplane;

/// Where the answer to a request goes.
type Reply = oneshot::Sender<Answer>;

/// What a reading gave: a reading whose plan can be carried out, or what is wrong.
pub(super) type Outcome = Result<Box<Reading>, BadReading>;

/// The thread that reads, and who waits for it.
#[derive(Debug)]
pub(super) struct Reader {
    orders: Sender<Known>,
    is_under_way: bool,
    /// To be read once more afterwards.
    again: bool,
    /// Who is answered by the reading that is under way.
    waiting: Vec<Reply>,
    /// And who by the next.
    later: Vec<Reply>,
}

impl Reader {
    /// Starts the thread; what it reads comes as [`Event::Read`].
    pub(super) fn spawn(path: &Path, events: mpsc::Sender<Event>) -> io::Result<Self> {
        let (orders, ordered) = channel();
        let path = path.to_owned();
        let work = move || {
            while let Ok(known) = ordered.recv() {
                let read = source::read(&path, Some(known)).map(|mut reading| {
                    reading.plan = secrets::fitted(reading.plan);
                    Box::new(reading)
                });
                if events.blocking_send(Event::Read(read)).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new().name("reader".into()).spawn(work)?;
        Ok(Self {
            orders,
            is_under_way: false,
            again: false,
            waiting: Vec::new(),
            later: Vec::new(),
        })
    }

    /// Has the files read, after what is under way if something is.
    fn order(&mut self, known: impl FnOnce() -> Known, reply: Option<Reply>) {
        if self.is_under_way {
            self.again = true;
            self.later.extend(reply);
            return;
        }
        self.waiting.extend(reply);
        // A thread that has ended answers nobody: whoever waits is told by the end of its reply.
        self.is_under_way = self.orders.send(known()).is_ok();
        if !self.is_under_way {
            self.waiting.clear();
        }
    }

    /// A reading is over: who waited for it, and whether another one is wanted.
    fn over(&mut self) -> (Vec<Reply>, bool) {
        self.is_under_way = false;
        let waited = core::mem::replace(&mut self.waiting, core::mem::take(&mut self.later));
        (waited, core::mem::take(&mut self.again))
    }
}

impl Daemon {
    /// Has the files read.
    pub(super) fn read_again(&mut self, reply: Option<Reply>) {
        let own = &self.own;
        let view = self.node.dataplane().map(Dataplane::view);
        let known = || Known {
            names: own.names.clone(),
            addresses: own.addresses,
            sees_host: view.is_some_and(|view| view.is_known()),
        };
        self.reader.order(known, reply);
    }

    /// The files were read.
    pub(super) fn take_read(&mut self, read: Outcome) {
        self.watch.touched = true;
        let (waited, again) = self.reader.over();
        let taken = read.and_then(|reading| self.take_reading(*reading));
        let taken = taken.map_err(|mut bad| {
            self.secrets_to_watch = Some(bad.secrets.clone());
            self.confined.explain(&mut bad.remarks);
            self.bad_reading.clone_from(&bad.remarks);
            bad
        });
        log(&taken);
        for reply in waited {
            // A client that has gone needs no answer.
            let _gone = reply.send(answer(&taken));
        }
        if again {
            self.read_again(None);
        }
    }

    /// Takes over a reading; nothing is applied if this host lacks an address that it asks for.
    fn take_reading(&mut self, mut reading: Reading) -> Taken {
        let view = self.node.dataplane().map(Dataplane::view);
        reading.look_at_host(view)?;
        if self.socket_is_given {
            let socket = &self.config.control.socket;
            reading.config.control.socket.clone_from(socket);
        }
        let mut warnings = reading.warnings;
        let secrets = reading.secrets.paths();
        let reads = Reads::of(&self.config_path, &reading.config, secrets);
        self.confined.look_at(&reads);
        warnings.extend(self.confined.unreadable().iter().map(Remark::warning));
        self.secrets_to_watch = Some(reading.secrets);
        if reading.config != self.config {
            warnings.extend(needs_restart(&self.config, &reading.config).map(Remark::warning));
        }
        self.config.listen = reading.config.listen;
        self.config.log.level = reading.config.log.level;
        self.telemetry.configure(self.config.log.level);
        self.places = reading.places;
        self.take_own(reading.own, &reading.notes);
        let now = self.clock.now();
        self.read_at = now;
        self.bad_reading.clear();
        let changes = self.node.replan(now, reading.plan);
        self.nat.replan(&self.node);
        self.not_listening = self.listen().err().map(|error| error.to_string());
        warnings.extend(self.not_listening.clone().map(Remark::error));
        Ok((changes, warnings))
    }
}

/// What a reading changed, and what is odd about it; or what is wrong.
type Taken = Result<(Vec<String>, Vec<Remark>), BadReading>;

fn log(taken: &Taken) {
    match taken {
        Ok((changes, warnings)) => {
            for warning in warnings {
                tracing::warn!("{warning}");
            }
            for change in changes {
                tracing::info!("{change}");
            }
        }
        Err(bad) => {
            for remark in &bad.remarks {
                tracing::error!("{remark}");
            }
            tracing::error!("the configuration has errors; the last good one stays in force");
        }
    }
}

fn answer(taken: &Taken) -> Answer {
    match taken {
        Ok((changes, warnings)) => Answer::Reloaded {
            changes: changes.clone(),
            warnings: warnings.clone(),
        },
        Err(bad) => Answer::Failed {
            reason: Failure::BadConfiguration,
            message: format!("{bad}\nthe last good configuration stays in force"),
            remarks: bad.remarks.clone(),
        },
    }
}

/// Settings that are read at the start only.
fn needs_restart(old: &Config, new: &Config) -> Option<String> {
    let comparable = |config: &Config| Config {
        listen: None,
        node: NodeIdentity::named(&config.node.name),
        secrets: None,
        log: Log {
            level: LogLevel::default(),
            ..config.log
        },
        ..config.clone()
    };
    (comparable(old) != comparable(new)).then(|| {
        "this node's file has changes outside [bgp], our addresses and the log level that need a restart of dunlin".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_while_one_is_under_way_waits_for_the_next() {
        let (orders, ordered) = channel();
        let mut reader = Reader {
            orders,
            is_under_way: false,
            again: false,
            waiting: Vec::new(),
            later: Vec::new(),
        };
        let known = || Known {
            names: super::super::host::Names::default(),
            addresses: super::super::config::OwnAddresses::default(),
            sees_host: false,
        };
        let mut asks = Vec::new();
        let mut ask = |reader: &mut Reader| {
            let (reply, answer) = oneshot::channel();
            reader.order(known, Some(reply));
            asks.push(answer);
        };
        ask(&mut reader);
        ask(&mut reader);
        reader.order(known, None);
        ask(&mut reader);
        assert_eq!(ordered.try_iter().count(), 1, "one at a time");
        let (waited, again) = reader.over();
        assert_eq!((waited.len(), again), (1, true));
        reader.order(known, None);
        assert_eq!(
            ordered.try_iter().count(),
            1,
            "and one for all that came meanwhile"
        );
        let (waited, again) = reader.over();
        assert_eq!((waited.len(), again), (2, false));
        drop(ordered);
        ask(&mut reader);
        assert!(!reader.is_under_way);
        let last = asks.last_mut().map(oneshot::Receiver::try_recv);
        assert!(
            matches!(last, Some(Err(oneshot::error::TryRecvError::Closed))),
            "nobody waits for ever"
        );
    }
}
