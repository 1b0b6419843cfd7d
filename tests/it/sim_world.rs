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
use dunlin::net::Prefix;
use dunlin::node::{Input, Node, Output, Settings};
use dunlin::rib::MedMode;
use dunlin::session::{ConnectionId, DialError};
use dunlin::speaker;
use dunlin::time::{Duration, Instant};
use dunlin::topology::Plan;
use dunlin::transport::codec::{FrameCodec, Incoming};
use dunlin::wire::frame::{self, MAX_EXTENDED_LEN, MessageKind};
use tokio_util::codec::Decoder;

use crate::sim_kernel::FakeKernel;
use crate::sim_script::Script;

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
    codec: FrameCodec,
    buffer: BytesMut,
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
}

pub(crate) fn settings(seed: u64, kernel_routes: bool) -> Settings {
    Settings {
        speaker: speaker::Settings {
            seed,
            track_next_hops: kernel_routes,
            forwarding: kernel_routes,
            max_paths: 1,
            med: MedMode::PerNeighbour,
        },
        kernel_routes,
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
        let node = Node::new(self.now, settings(seed, kernel), plan);
        let host = self.place(&name, addresses, Actor::Node(Box::new(node)));
        if kernel && host.kernel.is_none() {
            host.kernel = Some(FakeKernel {
                device,
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
                Output::Kernel(op) => self.operate(name, op),
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

    fn latency(&mut self) -> Duration {
        Duration::from_micros(200 + self.rng.below(5_000))
    }

    fn dial(&mut self, name: &str, dial: ConnectionId, remote: IpAddr, source: Option<IpAddr>) {
        let latency = self.latency();
        let host = self.hosts.get_mut(name).unwrap();
        host.dialling.insert(dial);
        let same = |address: &&IpAddr| address.is_ipv4() == remote.is_ipv4();
        let source = source.or(host.addresses.iter().find(same).copied());
        let syn = Event::Syn {
            from: name.to_owned(),
            life: host.life,
            dial,
            source: source.unwrap(),
            remote,
        };
        self.at(self.now + latency, syn);
    }

    fn syn(&mut self, from: &str, life: u32, dial: ConnectionId, way: (IpAddr, IpAddr)) {
        let (source, remote) = way;
        let now = self.now;
        let target = self.owner(remote).map(str::to_owned);
        let failed = |error| Event::DialFailed {
            host: from.to_owned(),
            life,
            dial,
            error,
        };
        let Some(target) = target.filter(|name| self.hosts[name].actor.is_some()) else {
            self.at(now + DIAL_TIMEOUT, failed(DialError::TimedOut));
            return;
        };
        let latency = self.latency();
        if self.hosts[&target].refuses {
            self.at(now + latency, failed(DialError::Refused));
            return;
        }
        let id = match self.hosts.get_mut(&target).unwrap().actor.as_mut() {
            Some(Actor::Node(node)) => node.accepted(now, source, remote).map(|(id, _)| id),
            Some(Actor::Script(script)) => Some(script.accepted()),
            None => None,
        };
        let wire = self.wires.len();
        let end = |host: &str, life, id| End {
            host: host.to_owned(),
            life,
            id,
            open: true,
            closing: false,
            outbox: VecDeque::new(),
            leaving: false,
            buffered: 0,
            arrival: now + latency,
            codec: FrameCodec::new(MAX_EXTENDED_LEN),
            buffer: BytesMut::new(),
        };
        let target_life = self.hosts[&target].life;
        let ends = [end(from, life, Some(dial)), end(&target, target_life, id)];
        self.wires.push(Wire { ends, latency });
        let local = source;
        self.at(now + latency, Event::Connected { wire, dial, local });
        match id {
            Some(id) => {
                let host = self.hosts.get_mut(&target).unwrap();
                host.ends.insert(id, (wire, 1));
                self.drain(&target);
            }
            None => self.tell_gone(wire, 1, Some("connection reset by peer")),
        }
    }

    fn connected(&mut self, wire: usize, dial: ConnectionId, local: IpAddr) {
        let (name, life) = (
            self.wires[wire].ends[0].host.clone(),
            self.wires[wire].ends[0].life,
        );
        let host = self.hosts.get_mut(&name).unwrap();
        if host.life != life || !host.dialling.remove(&dial) {
            self.wires[wire].ends[0].open = false;
            self.tell_gone(wire, 0, Some("connection reset by peer"));
            return;
        }
        host.ends.insert(dial, (wire, 0));
        self.give(&name, Input::Connected(dial, local));
    }

    fn send(&mut self, wire: usize, side: usize, bytes: Bytes) {
        let end = &mut self.wires[wire].ends[side];
        if end.open && !end.closing {
            end.outbox.push_back(bytes);
            let waiting: usize = end.outbox.iter().map(Bytes::len).sum();
            self.peak = self.peak.max(waiting);
            self.leave_soon(wire, side);
        }
    }

    fn leave_soon(&mut self, wire: usize, side: usize) {
        let end = &mut self.wires[wire].ends[side];
        if !end.leaving && end.open {
            end.leaving = true;
            let wait = Duration::from_micros(self.rng.below(50));
            self.at(self.now + wait, Event::Leave(wire, side));
        }
    }

    /// The sender's kernel takes some octets, cut wherever the seed likes.
    fn leave(&mut self, wire: usize, side: usize) {
        let cut = match self.rng.below(4) {
            0 => 1 + self.rng.below(40),
            1 => 1 + self.rng.below(4_000),
            _ => 64 * 1024,
        };
        let asleep = self.hosts[&self.wires[wire].ends[1 - side].host].asleep;
        let latency = self.wires[wire].latency;
        let end = &mut self.wires[wire].ends[side];
        end.leaving = false;
        if !end.open {
            return;
        }
        let mut room = usize::try_from(cut).unwrap();
        if asleep {
            room = room.min(SOCKET_BUFFER.saturating_sub(end.buffered));
        }
        let mut gone = BytesMut::new();
        while room > 0
            && let Some(first) = end.outbox.front_mut()
        {
            let part = first.split_to(first.len().min(room));
            room -= part.len();
            gone.extend_from_slice(&part);
            if first.is_empty() {
                end.outbox.pop_front();
            }
        }
        if asleep {
            end.buffered += gone.len();
        }
        let (id, host, rest) = (end.id, end.host.clone(), !end.outbox.is_empty());
        let closing = end.closing;
        let octets = gone.len();
        if octets > 0 {
            let arrival = (self.now + latency).max(self.wires[wire].ends[1 - side].arrival);
            self.wires[wire].ends[1 - side].arrival = arrival;
            self.at(arrival, Event::Arrive(wire, 1 - side, gone.freeze()));
            if rest {
                self.leave_soon(wire, side);
            }
        }
        if closing && !rest {
            self.wires[wire].ends[side].open = false;
            self.tell_gone(wire, side, None);
        } else if let Some(id) = id.filter(|_| octets > 0 && !closing) {
            self.give(&host, Input::Sent(id, octets));
        }
    }

    fn tell_gone(&mut self, wire: usize, from: usize, why: Option<&'static str>) {
        let wait = self.now + self.wires[wire].latency;
        let other = &mut self.wires[wire].ends[1 - from];
        other.arrival = other.arrival.max(wait);
        let at = other.arrival;
        self.at(at, Event::Gone(wire, 1 - from, why));
    }

    fn gone(&mut self, wire: usize, side: usize, why: Option<&'static str>) {
        let end = &mut self.wires[wire].ends[side];
        if !end.open {
            return;
        }
        end.open = false;
        let (host, id, life) = (end.host.clone(), end.id, end.life);
        if let Some(id) = id
            && self.hosts[&host].life == life
            && self
                .hosts
                .get_mut(&host)
                .unwrap()
                .ends
                .remove(&id)
                .is_some()
        {
            self.give(&host, Input::Closed(id, why.map(str::to_owned)));
        }
    }

    fn arrive(&mut self, wire: usize, side: usize, bytes: &[u8]) {
        let end = &self.wires[wire].ends[side];
        let host = &self.hosts[&end.host];
        if !end.open {
            // A machine that is up again knows nothing of the connection, and says so.
            if host.actor.is_some() && host.life != end.life {
                self.tell_gone(wire, side, Some("connection reset by peer"));
            }
            return;
        }
        let (name, id) = (end.host.clone(), end.id.unwrap());
        let from = self.wires[wire].ends[1 - side].host.clone();
        self.wires[wire].ends[side].buffer.extend_from_slice(bytes);
        loop {
            let end = &mut self.wires[wire].ends[side];
            let Some(incoming) = end.codec.decode(&mut end.buffer).unwrap() else {
                return;
            };
            match incoming {
                Incoming::Messages(whole) => {
                    for (kind, _) in frame::messages(&whole) {
                        *self.messages.entry(kind_name(kind)).or_default() += 1;
                        if kind == MessageKind::Update {
                            let way = (from.clone(), name.clone());
                            *self.updates.entry(way).or_default() += 1;
                        }
                    }
                    self.give(&name, Input::Received(id, &whole));
                }
                Incoming::Bad(error) => self.give(&name, Input::BadHeader(id, error)),
            }
        }
    }

    // ---- the kernel ----

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
