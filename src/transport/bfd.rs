//! BFD's own thread: the machine, its sockets, and nothing else.
//!
//! A long turn of route work in the daemon's task delays no packet here (a neighbour would take that for
//! a failure), and a daemon that takes its time to listen delays none, either: reports that were not
//! taken are replaced by later ones of the same session. What always holds: a timer is judged only after
//! every datagram that had come before it was handed over.

mod links;
mod socket;

use std::collections::BTreeMap;
use std::io;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::bfd::{Arrival, Discard, FarEnd, Machine, Refusal, Report, Watch};
use crate::time::Instant;
use links::Links;
pub use links::Routes;
use socket::{Ears, Voices};

/// Between two tries to open a socket that something else holds.
const PATIENCE: Duration = Duration::from_secs(10);
/// Goodbyes are said so often at the end of the process: who misses all takes it for a failure.
const GOODBYES: usize = 3;
/// And so far apart.
const BETWEEN_GOODBYES: Duration = Duration::from_millis(10);

/// The thread; [`stop`](Self::stop) it, or its far ends take its end for a failure.
#[derive(Debug)]
pub struct Bfd {
    orders: mpsc::UnboundedSender<Order>,
    thread: JoinHandle<()>,
}

#[derive(Debug)]
enum Order {
    Watch(Vec<Watch>),
    Stop,
}

impl Bfd {
    /// Begins with nobody to watch. `clock` gives the time that the reports are in, `routes` the links by
    /// which the kernel sends to an address.
    ///
    /// # Errors
    /// If there can be no thread.
    pub fn spawn<E>(
        seed: u64,
        clock: impl Fn() -> Instant + Send + 'static,
        routes: Routes,
        events: mpsc::Sender<E>,
    ) -> io::Result<Self>
    where
        E: From<Report> + Send + 'static,
    {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (orders, queue) = mpsc::unbounded_channel();
        let work = move || {
            let mut worker = Worker {
                machine: Machine::new(seed),
                clock,
                ears: Ears::default(),
                voices: Voices::new(seed),
                links: Links::new(routes),
                pending: BTreeMap::new(),
            };
            runtime.block_on(worker.run(queue, events));
        };
        let thread = std::thread::Builder::new()
            .name("bfd".to_owned())
            .spawn(work)?;
        Ok(Self { orders, thread })
    }

    /// From now on these are watched, and nobody else.
    pub fn watch(&self, watches: Vec<Watch>) {
        if self.orders.send(Order::Watch(watches)).is_err() {
            tracing::error!("the BFD thread has ended; far ends are no longer watched");
        }
    }

    /// Tells every far end that this is no failure, and ends. Takes some milliseconds.
    pub fn stop(self) {
        // A thread that has ended needs no order.
        let _gone = self.orders.send(Order::Stop);
        if self.thread.join().is_err() {
            tracing::error!("the BFD thread has ended badly");
        }
    }
}

struct Worker<C> {
    machine: Machine,
    clock: C,
    ears: Ears,
    voices: Voices,
    links: Links,
    /// What the daemon has not been told yet.
    pending: BTreeMap<FarEnd, Report>,
}

impl<C: Fn() -> Instant> Worker<C> {
    async fn run<E: From<Report>>(
        &mut self,
        mut orders: mpsc::UnboundedReceiver<Order>,
        events: mpsc::Sender<E>,
    ) {
        loop {
            let deadline = self.machine.next_timeout();
            let wait = deadline.map(|at| at.since((self.clock)()));
            tokio::select! {
                order = orders.recv() => match order {
                    Some(Order::Watch(watches)) => self.watch(&watches),
                    Some(Order::Stop) | None => break,
                },
                () = self.ears.readable() => {}
                () = sleep(wait.unwrap_or_default()), if wait.is_some() => {}
                () = sleep(PATIENCE), if self.ears.is_partial() => self.ears.open_again(),
                room = events.reserve(), if !self.pending.is_empty() => {
                    let Ok(room) = room else { break };
                    if let Some((_, report)) = self.pending.pop_first() {
                        room.send(report.into());
                    }
                }
            }
            self.turn();
        }
        self.say_goodbye().await;
    }

    fn watch(&mut self, watches: &[Watch]) {
        self.ears.listen_for(watches);
        self.voices.keep(watches);
        let now = (self.clock)();
        self.machine.watch(now, watches);
        find_links(&mut self.machine, &mut self.links, now);
    }

    fn turn(&mut self) {
        let now = (self.clock)();
        let machine = &mut self.machine;
        let links = &mut self.links;
        if !machine.is_idle() && links.is_stale(now) {
            find_links(machine, links, now);
        }
        self.ears.drain(|arrival| {
            if let Err(error) = take(machine, links, now, arrival) {
                let remote = arrival.remote;
                tracing::debug!(%remote, %error, "a BFD packet was not taken");
            }
        });
        machine.handle_timeout(now);
        while let Some(transmit) = machine.poll() {
            self.voices.say(&transmit);
        }
        while let Some(report) = machine.poll_report() {
            self.pending.insert(report.far_end.clone(), report);
        }
    }

    async fn say_goodbye(&mut self) {
        self.machine.stop((self.clock)());
        let goodbyes: Vec<_> = std::iter::from_fn(|| self.machine.poll()).collect();
        if goodbyes.is_empty() {
            return;
        }
        for _ in 0..GOODBYES {
            for transmit in &goodbyes {
                self.voices.say(transmit);
            }
            sleep(BETWEEN_GOODBYES).await;
        }
    }
}

/// Tells the machine by which links its far ends are reached.
fn find_links(machine: &mut Machine, links: &mut Links, now: Instant) {
    links.read(now);
    let far_ends: Vec<FarEnd> = machine.on_links().cloned().collect();
    for far_end in far_ends {
        machine.reached_by(&far_end, links.of(&far_end));
    }
}

/// Hands a datagram over; one that came by a link that is not expected has the links looked at again, for it
/// may be the first after a change.
fn take(
    machine: &mut Machine,
    links: &mut Links,
    now: Instant,
    arrival: &Arrival<'_>,
) -> Result<(), Discard> {
    let taken = machine.handle(now, arrival);
    if taken != Err(Discard::Refused(Refusal::Link)) {
        return taken;
    }
    let far_end = machine.far_end_of(arrival).cloned();
    let found = far_end.and_then(|far_end| {
        let found = links.look_again(now, &far_end)?;
        found.contains(&arrival.link).then_some((far_end, found))
    });
    let Some((far_end, found)) = found else {
        return taken;
    };
    machine.reached_by(&far_end, found);
    machine.handle(now, arrival)
}
