//! A small world for whole nodes: virtual time, TCP-like links, scripted peers, fake kernels.
//!
//! One queue, ordered by time and sequence number, decides everything; what is random comes from
//! the seed. A step takes the earliest event, gives it to one host, and drains that host. Bytes of
//! a link arrive in order and cut at arbitrary places; the daemon's own codec puts them together.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;

use bytes::{Bytes, BytesMut};
use dunlin::dataplane::{self, KernelInput, Op};
use dunlin::net::{Family, Hashing, Prefix};
use dunlin::node::{Backend, Input, Node, Output, Pace, Settings};
use dunlin::rib::{self, MedMode};
use dunlin::session::{ConnectionId, DialError};
use dunlin::speaker;
use dunlin::time::{Duration, Instant};
use dunlin::topology::Plan;
use dunlin::transport::codec::Stream;
use dunlin::wire::frame::{self, MAX_EXTENDED_LEN, MessageKind};

use crate::sim_kernel::FakeKernel;
use crate::sim_script::Script;

#[path = "sim_wire.rs"]
mod wire;

pub(crate) const START: Instant = Instant::from_secs(1_000);

/// A dial that nobody answers is given up after so long, as the transport does.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);

/// Octets that the sending kernel takes although nobody reads.
const SOCKET_BUFFER: usize = 64 * 1024;

/// SplitMix64.
#[derive(Debug, Clone)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }
}

#[derive(Debug)]
enum Event {
    Wake(String),
    /// A dial reaches the other end.
    Syn {
        from: String,
        life: u32,
        dial: ConnectionId,
        source: IpAddr,
        remote: IpAddr,
    },
    Connected {
        wire: usize,
        dial: ConnectionId,
        local: IpAddr,
    },
    DialFailed {
        host: String,
        life: u32,
        dial: ConnectionId,
        error: DialError,
    },
    /// Octets of an end leave for the other one.
    Leave(usize, usize),
    Arrive(usize, usize, Bytes),
    /// What an end has asked of the other one's host is answered.
    Answer(usize, usize),
    /// An end learns that the connection is over.
    Gone(usize, usize, Option<&'static str>),
    Kernel(String, u32, KernelInput),
}

/// One end of a connection.
struct End {
    host: String,
    life: u32,
    id: Option<ConnectionId>,
    open: bool,
    closing: bool,
    /// Handed over and not gone.
    outbox: VecDeque<Bytes>,
    leaving: bool,
    /// Octets in the sender's socket buffer because the reader sleeps.
    buffered: usize,
    /// Nothing arrives here before.
    arrival: Instant,
    stream: Stream,
}

struct Wire {
    ends: [End; 2],
    latency: Duration,
}

pub(crate) enum Actor {
    Node(Box<Node>),
    Script(Box<Script>),
}

/// A machine: its process may come and go, its kernel stays.
pub(crate) struct Host {
    pub(crate) actor: Option<Actor>,
    addresses: Vec<IpAddr>,
    life: u32,
    wake: Option<Instant>,
    ends: BTreeMap<ConnectionId, (usize, usize)>,
    dialling: BTreeSet<ConnectionId>,
    /// Reads nothing.
    pub(crate) asleep: bool,
    /// Answers a SYN with a reset.
    pub(crate) refuses: bool,
    pub(crate) kernel: Option<FakeKernel>,
}

impl Host {
    /// Whether it has no connection.
    pub(crate) fn ends_are_gone(&self) -> bool {
        self.ends.is_empty()
    }
}

pub(crate) struct World {
    pub(crate) now: Instant,
    sequence: u64,
    queue: BTreeMap<(Instant, u64), Event>,
    pub(crate) hosts: BTreeMap<String, Host>,
    wires: Vec<Wire>,
    pub(crate) rng: Rng,
    trace: DefaultHasher,
    /// Messages that arrived, by kind.
    pub(crate) messages: BTreeMap<&'static str, u64>,
    /// UPDATEs that arrived, by sender and receiver.
    pub(crate) updates: BTreeMap<(String, String), u64>,
    /// The most that any node had outstanding towards one peer.
    pub(crate) peak: usize,
    /// How many equal paths nodes use that are booted from now on.
    pub(crate) max_paths: u16,
    /// Kernels know their hosts' IPv6 addresses, too.
    pub(crate) dual_stack: bool,
}

/// Next to nothing in a turn.
const NEXT_TO_NOTHING: Pace = Pace {
    tables: rib::Pace { walk: 100, send: 5 },
    forward: 3,
};

pub(crate) fn settings(seed: u64, kernel_routes: bool) -> Settings {
    Settings {
        speaker: speaker::Settings {
            seed,
            hashing: Hashing::secret(seed),
            track_next_hops: kernel_routes,
            forwarding: kernel_routes,
            max_paths: 1,
            med: MedMode::PerNeighbour,
        },
        backend: Backend::Bgp,
        switch_delay: Duration::from_secs(5),
        kernel_routes,
        kept: [false; 2],
        dataplane: dataplane::Settings::default(),
    }
}

const fn kind_name(kind: MessageKind) -> &'static str {
    match kind {
        MessageKind::Open => "open",
        MessageKind::Update => "update",
        MessageKind::Notification => "notification",
        MessageKind::Keepalive => "keepalive",
        MessageKind::RouteRefresh => "route-refresh",
    }
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            now: START,
            sequence: 0,
            queue: BTreeMap::new(),
            hosts: BTreeMap::new(),
            wires: Vec::new(),
            rng: Rng::new(seed),
            trace: DefaultHasher::new(),
            messages: BTreeMap::new(),
            updates: BTreeMap::new(),
            peak: 0,
            max_paths: 1,
            dual_stack: false,
        }
    }

    /// What has happened so far, as one number.
    pub(crate) fn trace(&self) -> u64 {
        self.trace.finish()
    }

    // ---- hosts ----

    pub(crate) fn boot(&mut self, plan: Plan, seed: u64, kernel: bool) {
        let name = plan.name.clone();
        let v4 = plan.ipv4.map(|net| IpAddr::V4(net.ip()));
        let v6 = plan.ipv6.map(|net| IpAddr::V6(net.ip()));
        let addresses: Vec<IpAddr> = v4.into_iter().chain(v6).collect();
        let device = plan
            .ipv4
            .map(|net| (net.ip().into(), Prefix::new(net.ip().into(), net.prefix())));
        let device6 = plan
            .ipv6
            .filter(|_| self.dual_stack)
            .map(|net| (net.ip().into(), Prefix::new(net.ip().into(), net.prefix())));
        let left = self.hosts.get(&name).and_then(|host| host.kernel.as_ref());
        let kept = Family::ALL.map(|family| {
            left.is_some_and(|left| left.routes.keys().any(|key| key.0.family() == family))
        });
        let mut settings = Settings {
            kept,
            ..settings(seed, kernel)
        };
        settings.speaker.max_paths = self.max_paths;
        let mut node = Node::new(self.now, settings, plan);
        if seed % 2 == 1 {
            // Whatever takes many turns ends where it would in one.
            node.set_pace(NEXT_TO_NOTHING);
        }
        let host = self.place(&name, addresses, Actor::Node(Box::new(node)));
        if kernel && host.kernel.is_none() {
            host.kernel = Some(FakeKernel {
                device,
                device6,
                ..FakeKernel::default()
            });
        }
        self.drain(&name);
    }

    pub(crate) fn script(&mut self, name: &str, script: Script) {
        let addresses = vec![script.address];
        self.place(name, addresses, Actor::Script(Box::new(script)));
    }

    fn place(&mut self, name: &str, addresses: Vec<IpAddr>, actor: Actor) -> &mut Host {
        let host = self.hosts.entry(name.to_owned()).or_insert_with(|| Host {
            actor: None,
            addresses: Vec::new(),
            life: 0,
            wake: None,
            ends: BTreeMap::new(),
            dialling: BTreeSet::new(),
            asleep: false,
            refuses: false,
            kernel: None,
        });
        host.life += 1;
        host.addresses = addresses;
        host.actor = Some(actor);
        host
    }

    /// The power fails: not a word to anybody.
    pub(crate) fn crash(&mut self, name: &str) {
        let host = self.hosts.get_mut(name).unwrap();
        host.actor = None;
        host.wake = None;
        host.dialling.clear();
        for (wire, side) in std::mem::take(&mut host.ends).into_values() {
            self.wires[wire].ends[side].open = false;
        }
    }

    /// The process is killed: the kernel resets its connections.
    pub(crate) fn kill(&mut self, name: &str) {
        let ends: Vec<_> = self.hosts[name].ends.values().copied().collect();
        self.crash(name);
        for (wire, side) in ends {
            self.tell_gone(wire, side, Some("connection reset by peer"));
        }
    }

    pub(crate) fn node(&self, name: &str) -> &Node {
        match self.hosts[name].actor.as_ref().unwrap() {
            Actor::Node(node) => node,
            Actor::Script(_) => panic!("{name} is scripted"),
        }
    }

    /// Lets `act` do something to a node, and the world what follows of it.
    pub(crate) fn with_node<T>(
        &mut self,
        name: &str,
        act: impl FnOnce(&mut Node, Instant) -> T,
    ) -> T {
        let now = self.now;
        let host = self.hosts.get_mut(name).unwrap();
        let Some(Actor::Node(node)) = &mut host.actor else {
            panic!("{name} is no node");
        };
        let result = act(node, now);
        self.drain(name);
        result
    }

    pub(crate) fn replan(&mut self, name: &str, plan: Plan) -> Vec<String> {
        self.with_node(name, |node, now| node.replan(now, plan))
    }

    pub(crate) fn script_of(&self, name: &str) -> &Script {
        match self.hosts[name].actor.as_ref().unwrap() {
            Actor::Script(script) => script,
            Actor::Node(_) => panic!("{name} is a node"),
        }
    }

    /// A script connects to `remote`.
    pub(crate) fn script_dials(&mut self, name: &str, remote: IpAddr) {
        let host = self.hosts.get_mut(name).unwrap();
        let Some(Actor::Script(script)) = &mut host.actor else {
            panic!("{name} is no script");
        };
        let dial = script.next_id();
        let source = script.address;
        self.dial(name, dial, remote, Some(source));
    }

    /// A script sends these bytes on its connection.
    pub(crate) fn say(&mut self, name: &str, bytes: Vec<u8>) {
        let (wire, side) = *self.hosts[name].ends.values().last().unwrap();
        self.send(wire, side, bytes.into());
    }

    pub(crate) fn wake_reader(&mut self, name: &str) {
        self.hosts.get_mut(name).unwrap().asleep = false;
        let ends: Vec<_> = self.hosts[name].ends.values().copied().collect();
        for (wire, side) in ends {
            self.wires[wire].ends[1 - side].buffered = 0;
            self.leave_soon(wire, 1 - side);
        }
    }

    // ---- time ----

    fn at(&mut self, when: Instant, event: Event) {
        self.sequence += 1;
        self.queue
            .insert((when.max(self.now), self.sequence), event);
    }

    /// Goes on for `time`.
    pub(crate) fn run(&mut self, time: Duration) {
        let until = self.now + time;
        self.run_until(until, |_| false);
        self.now = until;
    }

    /// Goes on until `done`, looked at once an instant; how long it took, or `None` at the limit.
    pub(crate) fn until(
        &mut self,
        limit: Duration,
        done: impl Fn(&Self) -> bool,
    ) -> Option<Duration> {
        let begin = self.now;
        self.run_until(begin + limit, &done)
            .then(|| self.now - begin)
    }

    fn run_until(&mut self, limit: Instant, done: impl Fn(&Self) -> bool) -> bool {
        let mut at_once = 0_u32;
        loop {
            let Some((&(when, sequence), _)) = self.queue.first_key_value() else {
                return done(self);
            };
            if when > self.now {
                if done(self) {
                    return true;
                }
                at_once = 0;
            }
            if when > limit {
                return false;
            }
            at_once += 1;
            assert!(at_once < 1_000_000, "time stands still at {when}");
            self.now = when;
            let event = self.queue.remove(&(when, sequence)).unwrap();
            self.step(event);
        }
    }

    fn step(&mut self, event: Event) {
        self.now.hash(&mut self.trace);
        match event {
            Event::Wake(name) => self.wake(&name),
            Event::Syn {
                from,
                life,
                dial,
                source,
                remote,
            } => self.syn(&from, life, dial, (source, remote)),
            Event::Connected { wire, dial, local } => self.connected(wire, dial, local),
            Event::DialFailed {
                host,
                life,
                dial,
                error,
            } => {
                let here = self.hosts.get_mut(&host).unwrap();
                if here.life == life && here.dialling.remove(&dial) {
                    self.give(&host, Input::DialFailed(dial, error));
                }
            }
            Event::Leave(wire, side) => self.leave(wire, side),
            Event::Answer(wire, side) => self.answer(wire, side),
            Event::Arrive(wire, side, bytes) => self.arrive(wire, side, &bytes),
            Event::Gone(wire, side, why) => self.gone(wire, side, why),
            Event::Kernel(name, life, input) => {
                if self.hosts[&name].life == life {
                    self.give(&name, Input::Kernel(input));
                }
            }
        }
    }

    fn wake(&mut self, name: &str) {
        let now = self.now;
        let host = self.hosts.get_mut(name).unwrap();
        if host.wake != Some(now) {
            return;
        }
        host.wake = None;
        if let Some(Actor::Node(node)) = &mut host.actor {
            node.handle_timeout(now);
            self.drain(name);
        }
    }

    fn give(&mut self, name: &str, input: Input<'_>) {
        let now = self.now;
        name.hash(&mut self.trace);
        match &input {
            Input::Received(connection, bytes) => (connection, bytes).hash(&mut self.trace),
            Input::Sent(connection, octets) => (connection, octets).hash(&mut self.trace),
            other => format!("{other:?}").hash(&mut self.trace),
        }
        let Some(actor) = self.hosts.get_mut(name).unwrap().actor.as_mut() else {
            return;
        };
        match actor {
            Actor::Node(node) => node.handle(now, input),
            Actor::Script(script) => {
                let (connection, answer) = script.handle(now, &input);
                if !answer.is_empty()
                    && let Some(&(wire, side)) = self.hosts[name].ends.get(&connection)
                {
                    self.send(wire, side, answer.into());
                }
            }
        }
        self.drain(name);
    }

    /// Carries out all that a node wants, and notes when it wants to be woken.
    fn drain(&mut self, name: &str) {
        let now = self.now;
        let host = self.hosts.get_mut(name).unwrap();
        let Some(Actor::Node(node)) = &mut host.actor else {
            return;
        };
        node.settle(now);
        let mut outputs = Vec::new();
        while let Some(output) = node.poll() {
            outputs.push(output);
        }
        let wanted = node.next_timeout().map(|at| at.max(now));
        if wanted != host.wake {
            host.wake = wanted;
            if let Some(at) = wanted {
                self.at(at, Event::Wake(name.to_owned()));
            }
        }
        for output in outputs {
            match output {
                Output::Transport(output) => self.carry_out(name, output),
                Output::Kernel(ops) => {
                    for op in ops {
                        self.operate(name, op);
                    }
                }
            }
        }
    }

    fn carry_out(&mut self, name: &str, output: speaker::Output) {
        use speaker::Output as O;
        match output {
            O::Dial {
                connection,
                remote,
                source,
                socket: _,
            } => self.dial(name, connection, remote.ip(), source),
            O::Send { connection, bytes } => {
                if let Some(&(wire, side)) = self.hosts[name].ends.get(&connection) {
                    self.send(wire, side, bytes);
                }
            }
            O::Probe { connection } => {
                if let Some(&(wire, side)) = self.hosts[name].ends.get(&connection) {
                    self.ask(wire, side);
                }
            }
            // A wire has no keys.
            O::Sign { .. } => {}
            O::Close { connection } => {
                let host = self.hosts.get_mut(name).unwrap();
                host.dialling.remove(&connection);
                if let Some((wire, side)) = host.ends.remove(&connection) {
                    self.wires[wire].ends[side].closing = true;
                    self.leave_soon(wire, side);
                }
            }
            O::Abort { connection } => {
                let host = self.hosts.get_mut(name).unwrap();
                host.dialling.remove(&connection);
                if let Some((wire, side)) = host.ends.remove(&connection) {
                    self.wires[wire].ends[side].open = false;
                    self.tell_gone(wire, side, Some("connection reset by peer"));
                }
            }
        }
    }

    // ---- connections ----

    fn owner(&self, address: IpAddr) -> Option<&str> {
        let found = self
            .hosts
            .iter()
            .find(|(_, host)| host.addresses.contains(&address));
        found.map(|(name, _)| name.as_str())
    }

    // ---- the kernel ----

    /// Somebody else does something to a host's kernel; it tells what this says.
    pub(crate) fn disturb(
        &mut self,
        name: &str,
        act: impl FnOnce(&mut FakeKernel) -> Vec<dataplane::Change>,
    ) {
        let host = self.hosts.get_mut(name).unwrap();
        let life = host.life;
        for change in act(host.kernel.as_mut().unwrap()) {
            let event = Event::Kernel(name.to_owned(), life, KernelInput::Changed(change));
            self.at(self.now + Duration::from_millis(1), event);
        }
    }

    /// Whether a host's kernel has said something that its node has not heard.
    pub(crate) fn kernel_is_heard(&self, name: &str) -> bool {
        let life = self.hosts[name].life;
        let about = |event: &Event| matches!(event, Event::Kernel(host, of, _) if host == name && *of == life);
        !self.queue.values().any(about)
    }

    fn operate(&mut self, name: &str, op: Op) {
        let now = self.now;
        let host = self.hosts.get_mut(name).unwrap();
        let life = host.life;
        let inputs = host.kernel.as_mut().unwrap().operate(now, op);
        for input in inputs {
            let event = Event::Kernel(name.to_owned(), life, input);
            self.at(now + Duration::from_millis(1), event);
        }
    }
}
