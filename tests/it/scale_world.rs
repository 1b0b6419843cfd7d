//! A world for thousands of machines: real nodes among stubs, counted message by message.
//!
//! It is not `sim_world`, which cuts streams anywhere and has kernels and scripts. Time goes in ticks of
//! one millisecond, and all that reaches a node in one tick is one turn of it: inputs, timers, one
//! `settle`. Whoever says something in a tick is heard in a later one, so the order within a tick is
//! that of the queue, and the queue's is the seed's.
//!
//! What always holds: octets of one connection arrive whole and in order; those of different
//! connections overtake each other; a cut link loses nothing, it keeps what it has for later.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use bytes::Bytes;
use dunlin::dataplane;
use dunlin::node::{Backend, Input, Node, Output, Settings};
use dunlin::rib::MedMode;
use dunlin::rng::Rng;
use dunlin::session::{ConnectionId, DialError};
use dunlin::speaker;
use dunlin::time::{Duration, Instant};
use dunlin::topology::Plan;

use crate::scale_count::{Counters, MessageCount, Peaks, Reader};
use crate::scale_stub::{Line, Stub};

/// A dial that nobody answers is given up after so long, as the transport does.
const DIAL_TIMEOUT: u64 = 5_000;

/// A machine, by its place in the world.
pub(crate) type HostId = usize;

#[derive(Debug)]
pub(super) enum Event {
    Wake(HostId),
    /// A dial reaches the other end.
    Syn(usize),
    Connected(usize),
    DialFailed(HostId, u32, ConnectionId, DialError),
    Arrive(usize, usize, Bytes, MessageCount),
    /// The sender's kernel has taken so many octets.
    Sent(usize, usize, usize),
    /// An end learns that the connection is over.
    Gone(usize, usize, &'static str),
    /// A host is asked whether it has a connection still,
    Asked(usize, usize),
    /// and it has.
    Acknowledged(usize, usize),
    /// A stub's KEEPALIVE is due.
    Keepalive(usize, usize),
}

/// One end of a connection.
pub(super) struct End {
    pub(super) host: HostId,
    pub(super) life: u32,
    pub(super) id: ConnectionId,
    pub(super) open: bool,
    /// Nothing arrives here before this tick.
    pub(super) arrival: u64,
    /// What a stub knows of its session.
    pub(super) line: Line,
}

pub(super) struct Wire {
    pub(super) ends: [End; 2],
    pub(super) delay: u64,
    /// What was on its way when the link was cut.
    pub(super) kept: Vec<Event>,
}

pub(super) enum Actor {
    Node(Box<Node>),
    Stub(Stub),
}

pub(crate) struct Host {
    pub(super) actor: Option<Actor>,
    pub(super) address: Ipv4Addr,
    pub(super) life: u32,
    wake: Option<u64>,
    pub(super) ends: BTreeMap<ConnectionId, (usize, usize)>,
    pub(super) dialling: BTreeSet<ConnectionId>,
    dirty: bool,
    pub(crate) count: Counters,
    pub(crate) peaks: Peaks,
    /// Handed to connections and not taken by the kernel: of all of them.
    pub(super) outbox: usize,
}

impl Host {
    fn new(address: Ipv4Addr) -> Self {
        Self {
            actor: None,
            address,
            life: 0,
            wake: None,
            ends: BTreeMap::new(),
            dialling: BTreeSet::new(),
            dirty: false,
            count: Counters::default(),
            peaks: Peaks::default(),
            outbox: 0,
        }
    }

    pub(crate) const fn is_up(&self) -> bool {
        self.actor.is_some()
    }
}

/// How long octets are on the way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Delays {
    /// Each connection has its own, up to so many milliseconds and at least one.
    pub(crate) link: u64,
    /// Each delivery takes up to so many more.
    pub(crate) more: u64,
}

pub(crate) struct World {
    /// Milliseconds since the start of the world.
    pub(crate) tick: u64,
    queue: BTreeMap<u64, Vec<Event>>,
    /// Who has something to do at the end of the tick.
    dirty: Vec<HostId>,
    pub(crate) hosts: Vec<Host>,
    places: BTreeMap<Ipv4Addr, HostId>,
    pub(super) wires: Vec<Wire>,
    pub(super) cut: BTreeSet<(HostId, HostId)>,
    pub(super) seed: u64,
    pub(super) rng: Rng,
    pub(super) delays: Delays,
    pub(super) reader: Reader,
    next_id: u64,
    /// When the last UPDATE arrived anywhere.
    pub(crate) last_update: u64,
    /// What has happened so far, as one number (FNV-1a).
    pub(crate) trace: u64,
}

pub(super) fn instant(tick: u64) -> Instant {
    Instant::from_micros(tick * 1_000)
}

/// The tick in which it is not before `at`.
fn tick_of(at: Instant) -> u64 {
    at.as_micros().div_ceil(1_000)
}

impl World {
    pub(crate) fn new(seed: u64, delays: Delays) -> Self {
        Self {
            tick: 1_000,
            queue: BTreeMap::new(),
            dirty: Vec::new(),
            hosts: Vec::new(),
            places: BTreeMap::new(),
            wires: Vec::new(),
            cut: BTreeSet::new(),
            seed,
            rng: Rng::new(seed),
            delays,
            reader: Reader::default(),
            next_id: 0,
            last_update: 0,
            trace: 0xCBF2_9CE4_8422_2325,
        }
    }

    // ---- hosts ----

    /// A machine with nothing on it.
    pub(crate) fn place(&mut self, address: Ipv4Addr) -> HostId {
        let id = self.hosts.len();
        self.hosts.push(Host::new(address));
        assert!(self.places.insert(address, id).is_none(), "{address} twice");
        id
    }

    pub(crate) fn boot(&mut self, host: HostId, plan: Plan, seed: u64) {
        let settings = Settings {
            speaker: speaker::Settings {
                seed,
                hashing: dunlin::net::Hashing::secret(seed),
                track_next_hops: false,
                forwarding: false,
                max_paths: 1,
                med: MedMode::PerNeighbour,
            },
            backend: Backend::Bgp,
            switch_delay: Duration::from_secs(5),
            kernel_routes: false,
            kept: [false; 2],
            dataplane: dataplane::Settings::default(),
        };
        let node = Node::new(instant(self.tick), settings, plan);
        self.start(host, Actor::Node(Box::new(node)));
    }

    pub(crate) fn stub(&mut self, host: HostId, stub: Stub) {
        self.start(host, Actor::Stub(stub));
    }

    fn start(&mut self, id: HostId, actor: Actor) {
        let host = &mut self.hosts[id];
        host.life += 1;
        host.outbox = 0;
        host.actor = Some(actor);
        self.touch(id);
    }

    /// The power fails: not a word to anybody.
    pub(crate) fn crash(&mut self, id: HostId) {
        let host = &mut self.hosts[id];
        host.actor = None;
        host.wake = None;
        host.dialling.clear();
        for (wire, side) in std::mem::take(&mut host.ends).into_values() {
            self.wires[wire].ends[side].open = false;
        }
    }

    /// The process is killed: the kernel resets its connections.
    pub(crate) fn kill(&mut self, id: HostId) {
        let ends: Vec<_> = self.hosts[id].ends.values().copied().collect();
        self.crash(id);
        for (wire, side) in ends {
            self.tell_gone(wire, side, "connection reset by peer");
        }
    }

    pub(crate) fn node(&self, id: HostId) -> &Node {
        match &self.hosts[id].actor {
            Some(Actor::Node(node)) => node,
            Some(Actor::Stub(_)) | None => panic!("no node at {id}"),
        }
    }

    pub(crate) fn replan(&mut self, id: HostId, plan: Plan) {
        let now = instant(self.tick);
        let Some(Actor::Node(node)) = &mut self.hosts[id].actor else {
            panic!("no node at {id}");
        };
        let _said = node.replan(now, plan);
        self.touch(id);
    }

    /// The machine at an address.
    pub(crate) fn host_at(&self, address: IpAddr) -> Option<HostId> {
        let IpAddr::V4(address) = address else {
            return None;
        };
        self.places.get(&address).copied()
    }

    pub(super) fn new_id(&mut self) -> ConnectionId {
        // Above all that nodes issue.
        self.next_id += 1;
        ConnectionId((1 << 40) + self.next_id)
    }

    // ---- time ----

    pub(super) fn at(&mut self, tick: u64, event: Event) {
        let tick = tick.max(self.tick + 1);
        self.queue.entry(tick).or_default().push(event);
    }

    /// The node has something to do at the end of the tick.
    pub(super) fn wake_up(&mut self, id: HostId) {
        if !std::mem::replace(&mut self.hosts[id].dirty, true) {
            self.dirty.push(id);
        }
    }

    fn touch(&mut self, id: HostId) {
        self.wake_up(id);
        // The turn that it is in, or the one that begins next.
        self.queue.entry(self.tick).or_default();
    }

    /// Goes on for so many milliseconds.
    pub(crate) fn run(&mut self, millis: u64) {
        let end = self.tick + millis;
        while let Some((&tick, _)) = self.queue.first_key_value() {
            if tick > end {
                break;
            }
            self.tick = tick;
            self.turn();
        }
        self.tick = end;
    }

    /// All of one tick.
    fn turn(&mut self) {
        let events = self.queue.remove(&self.tick).unwrap_or_default();
        for event in events {
            self.step(event);
        }
        let mut dirty = std::mem::take(&mut self.dirty);
        dirty.sort_unstable();
        for id in dirty.drain(..) {
            self.hosts[id].dirty = false;
            self.drain(id);
        }
        self.dirty = dirty;
    }

    pub(super) fn note(&mut self, words: [u64; 4]) {
        for word in words {
            self.trace = (self.trace ^ word).wrapping_mul(0x0100_0000_01B3);
        }
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Wake(id) => {
                if self.hosts[id].wake == Some(self.tick) {
                    self.hosts[id].wake = None;
                    self.wake_up(id);
                }
            }
            Event::Syn(wire) => self.syn(wire),
            Event::Connected(wire) => self.connected(wire),
            Event::DialFailed(id, life, dial, error) => {
                let host = &mut self.hosts[id];
                if host.life == life && host.dialling.remove(&dial) {
                    self.give(id, Input::DialFailed(dial, error));
                }
            }
            Event::Arrive(wire, side, bytes, found) => self.arrive(wire, side, bytes, &found),
            Event::Sent(wire, side, octets) => self.sent(wire, side, octets),
            Event::Gone(wire, side, why) => self.gone(wire, side, why),
            Event::Asked(wire, side) => self.asked(wire, side),
            Event::Acknowledged(wire, side) => self.acknowledged(wire, side),
            Event::Keepalive(wire, side) => self.keepalive(wire, side),
        }
    }

    /// A node hears something; it acts at the end of the tick.
    pub(super) fn give(&mut self, id: HostId, input: Input<'_>) {
        let now = instant(self.tick);
        if let Some(Actor::Node(node)) = &mut self.hosts[id].actor {
            node.handle(now, input);
            self.wake_up(id);
        }
    }

    /// A turn's end: timers, then all that the node wants, and when it wants to be woken.
    fn drain(&mut self, id: HostId) {
        let now = instant(self.tick);
        let Some(Actor::Node(node)) = &mut self.hosts[id].actor else {
            return;
        };
        if node.next_timeout().is_some_and(|at| at <= now) {
            node.handle_timeout(now);
        }
        node.settle(now);
        let mut outputs = Vec::new();
        while let Some(output) = node.poll() {
            outputs.push(output);
        }
        let wake = node.next_timeout().map(tick_of);
        let wake = wake.map(|tick| tick.max(self.tick + 1));
        let host = &mut self.hosts[id];
        if host.wake != wake {
            host.wake = wake;
            if let Some(tick) = wake {
                self.at(tick, Event::Wake(id));
            }
        }
        for output in outputs {
            match output {
                Output::Transport(output) => self.carry_out(id, output),
                Output::Kernel(ops) => panic!("no kernel was asked for: {ops:?}"),
            }
        }
        self.look_at_peaks(id);
    }

    fn carry_out(&mut self, id: HostId, output: speaker::Output) {
        use speaker::Output as O;
        match output {
            O::Dial {
                connection, remote, ..
            } => {
                self.hosts[id].dialling.insert(connection);
                self.dial(id, connection, remote.ip());
            }
            O::Send { connection, bytes } => {
                if let Some(&(wire, side)) = self.hosts[id].ends.get(&connection) {
                    self.send(wire, side, bytes);
                }
            }
            O::Probe { connection } => self.ask(id, connection),
            O::Sign { .. } => {}
            // A tick takes all that was said before, so closing and aborting differ in words only.
            O::Close { connection } => self.close(id, connection, "closed"),
            O::Abort { connection } => self.close(id, connection, "connection reset by peer"),
        }
    }

    pub(super) fn dial_failed(&mut self, wire: usize, refused: bool) {
        let (end, delay) = (&self.wires[wire].ends[0], self.wires[wire].delay);
        let (id, life, dial) = (end.host, end.life, end.id);
        let (wait, error) = match refused {
            true => (delay, DialError::Refused),
            false => (DIAL_TIMEOUT, DialError::TimedOut),
        };
        self.at(self.tick + wait, Event::DialFailed(id, life, dial, error));
    }
}
