//! The one task that owns the node: inputs in, outputs out, sleep until the next deadline.
//!
//! A turn takes what has arrived, up to a bound: what waits in the queue, and one read of every connection
//! that has something. Then it settles the node once for all of it, carries out what the node wants, and
//! lets octets leave (`turn`). A deadline is judged only after everything that had arrived before it was
//! handed over, so that our own slowness ends no session. Nothing in a turn waits for a peer.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::attempts::Attempts;
use super::bfd::Watching;
use super::clock::Clock;
use super::config::{Config, Control, MedRule};
use super::confinement::Confined;
use super::listening::Strangers;
use super::memory::Memory;
use super::nat::NatOutgoing;
use super::own_address::Own;
use super::owner::{self, Claim};
use super::problems::Watch;
use super::pulse::Pulse;
use super::reading::{self, Reader};
use super::secrets;
use super::source::{Places, Reading};
use super::telemetry::Telemetry;
use crate::control::door::DoorError;
use crate::control::protocol::Remark;
use crate::control::server::{Message, Opened, Server, Sockets};
use crate::dataplane::netlink::{Kernel, KernelError, KernelSettings};
use crate::dataplane::{self, KernelInput, Ownership};
use crate::datastore::{SecretFiles, Watcher};
use crate::net::Hashing;
use crate::node::{Backend, Node, Settings};
use crate::rib::MedMode;
use crate::speaker;
use crate::time::{Duration, Instant};
use crate::transport::{self, Listener, Transport};

/// Places in the queue: a full one makes whoever reports wait.
const QUEUE: usize = 128;
/// Inputs taken from the queue in one turn before outputs are made, and for how long.
const TURN: usize = 256;
const TAKING: Duration = Duration::from_millis(12);

/// How long a process that ends waits for peers to take its last word.
const LAST_WORD: Duration = Duration::from_millis(500);

/// Everything that can happen.
#[derive(Debug)]
pub(super) enum Event {
    Accepted(transport::Accepted),
    Kernel(Vec<KernelInput>),
    FarEnd(crate::bfd::Report),
    Heard(transport::Heard),
    Read(reading::Outcome),
    /// The rules for natOutgoing do otherwise.
    Nat,
}

impl From<transport::Accepted> for Event {
    fn from(accepted: transport::Accepted) -> Self {
        Self::Accepted(accepted)
    }
}

impl From<transport::Heard> for Event {
    fn from(heard: transport::Heard) -> Self {
        Self::Heard(heard)
    }
}

impl From<crate::bfd::Report> for Event {
    fn from(report: crate::bfd::Report) -> Self {
        Self::FarEnd(report)
    }
}

/// Why the daemon can't run.
#[derive(Debug, thiserror::Error)]
pub(super) enum RunError {
    /// A listening address.
    #[error("cannot listen on {address}: {source}{}", advice(source))]
    Listen {
        address: SocketAddr,
        source: io::Error,
    },
    /// The control socket.
    #[error("{0}")]
    Control(DoorError),
    /// No group of that name.
    #[error("[control] {key}: there is no group named {name:?}")]
    Group {
        /// Who is to be of it.
        key: &'static str,
        name: String,
    },
    /// The kernel.
    #[error(
        "cannot talk to the kernel's routing tables: {0}; dunlin needs CAP_NET_ADMIN, or kernel-routes = false"
    )]
    Kernel(KernelError),
    /// Another daemon.
    #[error("{0}")]
    Taken(owner::Taken),
    /// Anything else of the system.
    #[error("{what}: {source}")]
    System {
        what: &'static str,
        source: io::Error,
    },
}

fn advice(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::AddrInUse => "; does another BGP speaker (BIRD, FRR) still run here?",
        io::ErrorKind::PermissionDenied => "; ports below 1024 need root or CAP_NET_BIND_SERVICE",
        _other => "",
    }
}

/// The daemon at work.
pub(super) struct Daemon {
    pub(super) clock: Clock,
    pub(super) node: Node,
    pub(super) nat: NatOutgoing,
    pub(super) config: Config,
    pub(super) places: Places,
    pub(super) own: Own,
    /// When the cluster was last read well.
    pub(super) read_at: Instant,
    /// What the last bad reading said.
    pub(super) bad_reading: Vec<Remark>,
    /// The files that the last reading asked for a secret, if nobody watches them yet.
    pub(super) secrets_to_watch: Option<SecretFiles>,
    pub(super) listeners: BTreeMap<SocketAddr, Listener>,
    pub(super) config_path: PathBuf,
    /// The control socket is where the command line says, not the file.
    pub(super) socket_is_given: bool,
    pub(super) transport: Transport,
    pub(super) kernel: Option<Kernel>,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) watching: Watching,
    pub(super) strangers: Strangers,
    /// Why a socket of the last reading could not be opened.
    pub(super) not_listening: Option<String>,
    pub(super) watch: Watch,
    /// The last turn has left something to do that nobody will tell of.
    pub(super) unsettled: bool,
    pub(super) neighbours: transport::Neighbours,
    pub(super) attempts: Attempts,
    /// What the process may still do.
    pub(super) confined: Confined,
    pub(super) telemetry: Telemetry,
    pub(super) pulse: Pulse,
    memory: Memory,
    pub(super) reader: Reader,
    /// Why the control socket is lost, if it is.
    pub(super) control_trouble: Option<String>,
    /// What the control socket has for us.
    control: mpsc::Receiver<Message>,
    _server: Server,
}

/// Runs the daemon until SIGTERM or SIGINT.
pub(super) async fn run(
    path: &Path,
    socket_is_given: bool,
    (reading, confined): (Reading, Confined),
    telemetry: Telemetry,
) -> Result<(), RunError> {
    let system = |what| move |source| RunError::System { what, source };
    // Before any signal is waited for: who waits here can be ended by one.
    let _claim = claim(&reading.config)?;
    confined.started();
    let (events, mut queue) = mpsc::channel(QUEUE);
    let mut hangup = signal(SignalKind::hangup()).map_err(system("cannot wait for SIGHUP"))?;
    let mut stop = Stop::new().map_err(system("cannot wait for SIGTERM"))?;
    let watch = |path: &Path| Watcher::new(path).map_err(system("cannot watch the configuration"));
    let mut cluster = watch(&reading.config.datastore_path)?;
    let mut own_file = watch(path)?;
    let mut daemon = Daemon::start(path, (reading, confined), events, telemetry)?;
    daemon.socket_is_given = socket_is_given;
    daemon.turn_over();
    tracing::info!(node = %daemon.node.speaker().plan().name, "dunlin is running");
    loop {
        daemon.watch_secrets(&mut cluster);
        let due = until(daemon.next_timeout().map(|at| daemon.clock.to_tokio(at)));
        let woken = tokio::select! {
            Some(event) = queue.recv() => Woken::By(event),
            Some(message) = daemon.control.recv() => Woken::Asked(message),
            () = daemon.transport.ready() => Woken::Ready,
            () = tokio::task::yield_now(), if daemon.unsettled => Woken::Ready,
            () = due => Woken::Ready,
            _ = hangup.recv() => Woken::ToRead,
            _ = cluster.changed() => Woken::ToRead,
            _ = own_file.changed() => Woken::ToRead,
            () = stop.wanted() => break,
        };
        daemon.turn(woken, &mut queue);
    }
    tracing::info!("stopping; the routes stay in the kernel");
    let now = daemon.clock.now();
    let any_told = daemon.node.stop(now);
    daemon.turn_over();
    if any_told {
        daemon.let_go().await;
    }
    daemon.watching.stop();
    Ok(())
}

/// Why a turn begins.
enum Woken {
    By(Event),
    Asked(Message),
    /// The files are to be read again.
    ToRead,
    /// Connections have something, time is up, or the last turn has left something.
    Ready,
}

/// Waits until `deadline`, or for ever.
async fn until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// The right to program the kernel's routes, if that is wanted.
fn claim(config: &Config) -> Result<Option<Claim>, RunError> {
    let routing = &config.routing;
    let programs = routing.kernel_routes && routing.backend != Backend::None;
    let table = dataplane::Settings::default().ownership.table;
    let claim = programs.then(|| Claim::take(table, owner::PATIENCE));
    claim.transpose().map_err(RunError::Taken)
}

/// SIGTERM or SIGINT.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn wanted(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

impl Daemon {
    fn start(
        path: &Path,
        (reading, confined): (Reading, Confined),
        events: mpsc::Sender<Event>,
        telemetry: Telemetry,
    ) -> Result<Self, RunError> {
        let clock = Clock::start();
        let config = reading.config;
        let opened = Opened::at(&sockets(&config.control)?).map_err(RunError::Control)?;
        let (server, control) = opened.serve().map_err(|source| RunError::System {
            what: "cannot serve the control socket",
            source,
        })?;
        let kernel = if config.routing.kernel_routes {
            let sink = events.clone();
            let hand_over = move |inputs| sink.blocking_send(Event::Kernel(inputs)).is_ok();
            let kernel = Kernel::spawn(KernelSettings::default(), hand_over);
            Some(kernel.map_err(RunError::Kernel)?)
        } else {
            None
        };
        let reader = Reader::spawn(path, events.clone());
        let reader = reader.map_err(|source| RunError::System {
            what: "cannot start the thread that reads files",
            source,
        })?;
        let node = Node::new(
            clock.now(),
            settings(&config),
            secrets::fitted(reading.plan),
        );
        let mut daemon = Self {
            clock,
            nat: NatOutgoing::start(&config, &node, &events),
            node,
            config,
            places: reading.places,
            own: reading.own,
            read_at: clock.now(),
            bad_reading: Vec::new(),
            secrets_to_watch: Some(reading.secrets),
            listeners: BTreeMap::new(),
            config_path: path.to_owned(),
            socket_is_given: false,
            transport: Transport::new().map_err(|source| RunError::System {
                what: "cannot watch over connections",
                source,
            })?,
            kernel,
            watching: Watching::default(),
            events,
            strangers: Strangers::default(),
            not_listening: None,
            watch: Watch::default(),
            unsettled: false,
            neighbours: transport::Neighbours::default(),
            attempts: Attempts::new(secrets::Dropped::so_far()),
            confined,
            telemetry,
            pulse: Pulse::default(),
            memory: Memory::default(),
            reader,
            control_trouble: None,
            control,
            _server: server,
        };
        daemon.listen()?;
        Ok(daemon)
    }

    /// When there is something to do though nothing happens.
    fn next_timeout(&self) -> Option<Instant> {
        let deadlines = [
            self.node.next_timeout(),
            self.watch.next_timeout(),
            self.memory.next_timeout(),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// Takes what has come, and does what follows from it.
    fn turn(&mut self, woken: Woken, queue: &mut mpsc::Receiver<Event>) {
        let began = self.clock.now();
        match woken {
            Woken::By(event) => self.take(event),
            Woken::Asked(message) => self.take_message(message),
            Woken::ToRead => self.read_again(None),
            Woken::Ready => {}
        }
        self.take_waiting(queue, TURN);
        self.receive();
        let now = self.clock.now();
        if self.node.next_timeout().is_some_and(|at| at <= now) {
            // Everything that has arrived by now goes first; what arrives meanwhile is not waited for.
            let waiting = queue.len();
            self.take_waiting(queue, waiting);
            self.receive_from_due(now);
            if self.node.handle_timeout(now) {
                self.nat.replan(&self.node);
            }
        }
        self.follow_own_address();
        self.turn_over();
        self.look_if_due();
        self.give_memory_back();
        self.turn_ended(began);
    }

    /// Waits a moment for peers that were told that we end: what is under way is lost with a socket whose
    /// peer still sends.
    async fn let_go(&mut self) {
        let end = self.clock.to_tokio(self.clock.now() + LAST_WORD);
        while self.transport.connections() > 0 {
            tokio::select! {
                () = self.transport.ready() => {}
                () = tokio::task::yield_now(), if self.unsettled => {}
                () = tokio::time::sleep_until(end) => return,
            }
            self.receive();
            self.turn_over();
        }
    }

    /// Notes how long everybody had to wait.
    fn turn_ended(&mut self, began: Instant) {
        let ended = self.clock.now();
        self.memory.turn(ended.since(began));
        if self.pulse.turn(began, ended) {
            let ms = ended.since(began).as_millis() as u64;
            tracing::warn!(ms, "a turn took long: sessions and commands waited for it");
        }
    }

    /// Lets go of what a flood has left.
    fn give_memory_back(&mut self) {
        if self.memory.is_due(self.clock.now()) {
            crate::calls::give_memory_back();
        }
    }

    /// Has the files of secrets watched that the last reading asked for.
    fn watch_secrets(&mut self, cluster: &mut Watcher) {
        if let Some(secrets) = self.secrets_to_watch.take()
            && let Err(error) = cluster.watch_secrets(secrets)
        {
            tracing::warn!("cannot watch the files of secrets: {error}");
        }
    }

    fn take_waiting(&mut self, queue: &mut mpsc::Receiver<Event>, most: usize) {
        let end = self.clock.now() + TAKING;
        for _ in 0..most {
            match queue.try_recv() {
                Ok(event) => self.take(event),
                Err(_) => break,
            }
            if self.clock.now() >= end {
                break;
            }
        }
        // One answer, whatever waits: it may be long.
        if let Ok(message) = self.control.try_recv() {
            self.take_message(message);
        }
    }
}

fn settings(config: &Config) -> Settings {
    Settings {
        speaker: speaker::Settings {
            seed: Clock::seed(),
            hashing: Hashing::secret(Clock::seed()),
            track_next_hops: config.routing.kernel_routes,
            forwarding: config.routing.kernel_routes,
            max_paths: u16::from(config.routing.max_paths),
            med: match config.routing.med {
                MedRule::PerAs => MedMode::PerNeighbour,
                MedRule::Always => MedMode::Always,
            },
        },
        backend: config.routing.backend,
        switch_delay: Duration::from_secs(u64::from(config.routing.switch_delay)),
        kernel_routes: config.routing.kernel_routes,
        kept: kept_routes(config),
        dataplane: dataplane::Settings {
            max_hops: usize::from(config.routing.max_paths),
            adopt: config.routing.adopt,
            ownership: Ownership::default().with_metric(config.routing.metric),
            ..dataplane::Settings::default()
        },
    }
}

/// Families of which a former process has left routes in the kernel.
fn kept_routes(config: &Config) -> [bool; 2] {
    if !config.routing.kernel_routes || config.routing.backend != Backend::Bgp {
        return [false; 2];
    }
    // Who can't look claims nothing.
    super::host::kept_routes().unwrap_or_else(|error| {
        tracing::warn!("cannot see what a former process has left in the kernel: {error}");
        [false; 2]
    })
}

/// The sockets that are configured, with the numbers of their groups.
pub(super) fn sockets(control: &Control) -> Result<Sockets, RunError> {
    let number = |key, name: &Option<String>| {
        let Some(name) = name else { return Ok(None) };
        match nix::unistd::Group::from_name(name) {
            Ok(Some(group)) => Ok(Some(group.gid.as_raw())),
            Ok(None) | Err(_) => {
                let name = name.clone();
                Err(RunError::Group { key, name })
            }
        }
    };
    Ok(Sockets {
        path: control.socket.clone(),
        group: number("group", &control.group)?,
        viewers: number("viewers", &control.viewers)?,
    })
}
