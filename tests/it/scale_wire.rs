//! Connections of the world of thousands: dials, octets on the way, cuts, ends.
//!
//! A part of `scale_world`, which owns the state and the time.

use std::net::IpAddr;

use bytes::Bytes;
use dunlin::net::Family;
use dunlin::node::Input;
use dunlin::rng::Rng;
use dunlin::session::ConnectionId;
use dunlin::wire::frame::{self, MessageKind};
use dunlin::wire::open::Open;

use crate::scale_count::MessageCount;
use crate::scale_stub::Line;
use crate::scale_world::{Actor, End, Event, HostId, Wire, World, instant};

impl World {
    /// The delay of a link: that of its two ends, whatever else there is in the world.
    fn delay(&self, a: HostId, b: HostId) -> u64 {
        let pair = (a.min(b) << 32 | a.max(b)) as u64;
        1 + Rng::new(self.seed ^ pair).below(self.delays.link)
    }

    pub(super) fn dial(&mut self, from: HostId, dial: ConnectionId, to: IpAddr) {
        let wire = self.wires.len();
        let target = self.host_at(to);
        let delay = self.delay(from, target.unwrap_or(from));
        let end = |host: HostId, life, id| End {
            host,
            life,
            id,
            open: true,
            arrival: 0,
            line: Line::default(),
        };
        let there = end(target.unwrap_or(from), 0, ConnectionId(0));
        let ends = [end(from, self.hosts[from].life, dial), there];
        self.wires.push(Wire {
            ends,
            delay,
            kept: Vec::new(),
        });
        match target {
            Some(_) => self.at(self.tick + delay, Event::Syn(wire)),
            None => self.dial_failed(wire, false),
        }
    }

    /// A stub connects to a node.
    pub(crate) fn stub_dials(&mut self, from: HostId, to: HostId) {
        let id = self.new_id();
        self.hosts[from].dialling.insert(id);
        self.dial(from, id, self.hosts[to].address.into());
    }

    fn is_cut(&self, wire: usize) -> bool {
        let [a, b] = &self.wires[wire].ends;
        self.cut.contains(&(a.host.min(b.host), a.host.max(b.host)))
    }

    pub(super) fn syn(&mut self, wire: usize) {
        let (from, to) = (self.wires[wire].ends[0].host, self.wires[wire].ends[1].host);
        if self.is_cut(wire) || self.hosts[to].life == 0 {
            return self.dial_failed(wire, false);
        }
        let now = instant(self.tick);
        let (source, local) = (self.hosts[from].address, self.hosts[to].address);
        let id = match &mut self.hosts[to].actor {
            Some(Actor::Node(node)) => {
                let accepted = node.accepted(now, IpAddr::from(source), local.into());
                accepted.map(|(id, _)| id)
            }
            Some(Actor::Stub(_)) => Some(self.new_id()),
            None => return self.dial_failed(wire, true),
        };
        let tick = self.tick + self.wires[wire].delay;
        self.at(tick, Event::Connected(wire));
        let life = self.hosts[to].life;
        let end = &mut self.wires[wire].ends[1];
        end.life = life;
        match id {
            Some(id) => {
                end.id = id;
                self.hosts[to].ends.insert(id, (wire, 1));
                self.wake_up(to);
            }
            None => {
                end.open = false;
                self.tell_gone(wire, 1, "connection reset by peer");
            }
        }
    }

    pub(super) fn connected(&mut self, wire: usize) {
        let end = &self.wires[wire].ends[0];
        let (id, life, dial) = (end.host, end.life, end.id);
        let host = &mut self.hosts[id];
        if host.life != life || !host.dialling.remove(&dial) {
            self.wires[wire].ends[0].open = false;
            return self.tell_gone(wire, 0, "connection reset by peer");
        }
        host.ends.insert(dial, (wire, 0));
        let local = host.address.into();
        self.give(id, Input::Connected(dial, local));
    }

    /// Hands octets, whole messages, to a connection.
    pub(super) fn send(&mut self, wire: usize, side: usize, bytes: Bytes) {
        if !self.wires[wire].ends[side].open {
            return;
        }
        let id = self.wires[wire].ends[side].host;
        let path_ids = self.wires[wire].ends[side].line.path_ids;
        let found = self.reader.read(&bytes, path_ids);
        let host = &mut self.hosts[id];
        host.count.sent.add(&found);
        host.outbox += bytes.len();
        host.peaks.outbox = host.peaks.outbox.max(host.outbox);
        let octets = bytes.len();
        let more = match self.delays.more {
            0 => 0,
            more => self.rng.below(more + 1),
        };
        let when = self.tick + self.wires[wire].delay + more;
        self.at(self.tick + 1, Event::Sent(wire, side, octets));
        self.deliver(
            wire,
            1 - side,
            when,
            Event::Arrive(wire, 1 - side, bytes, found),
        );
    }

    /// What goes to an end goes in order, and not while the link is cut.
    fn deliver(&mut self, wire: usize, to: usize, when: u64, event: Event) {
        let end = &mut self.wires[wire].ends[to];
        end.arrival = end.arrival.max(when);
        let when = end.arrival;
        if self.is_cut(wire) {
            self.wires[wire].kept.push(event);
        } else {
            self.at(when, event);
        }
    }

    /// The link between two machines carries nothing from here on.
    pub(crate) fn cut(&mut self, a: HostId, b: HostId) {
        self.cut.insert((a.min(b), a.max(b)));
    }

    /// All links carry again, and what waited arrives.
    pub(crate) fn heal(&mut self) {
        self.cut.clear();
        for wire in 0..self.wires.len() {
            for event in std::mem::take(&mut self.wires[wire].kept) {
                let to = match &event {
                    Event::Arrive(_, to, ..)
                    | Event::Gone(_, to, _)
                    | Event::Asked(_, to)
                    | Event::Acknowledged(_, to) => *to,
                    other => panic!("{other:?} is not kept"),
                };
                let when = self.tick + self.wires[wire].delay;
                self.deliver(wire, to, when, event);
            }
        }
    }

    pub(super) fn sent(&mut self, wire: usize, side: usize, octets: usize) {
        let end = &self.wires[wire].ends[side];
        let (id, connection) = (end.host, end.id);
        if self.hosts[id].life != end.life {
            return;
        }
        self.hosts[id].outbox -= octets;
        if self.wires[wire].ends[side].open && self.is_node(id) {
            self.give(id, Input::Sent(connection, octets));
        }
    }

    /// The sessions of a stub, each with who is at the other end.
    pub(crate) fn lines(&self, id: HostId) -> impl Iterator<Item = (HostId, &Line)> {
        let ends = self.hosts[id].ends.values();
        ends.map(|&(wire, side)| {
            let ends = &self.wires[wire].ends;
            (ends[1 - side].host, &ends[side].line)
        })
    }

    fn is_node(&self, id: HostId) -> bool {
        matches!(self.hosts[id].actor, Some(Actor::Node(_)))
    }

    pub(super) fn close(&mut self, id: HostId, connection: ConnectionId, why: &'static str) {
        let host = &mut self.hosts[id];
        host.dialling.remove(&connection);
        if let Some((wire, side)) = host.ends.remove(&connection) {
            self.wires[wire].ends[side].open = false;
            self.tell_gone(wire, side, why);
        }
    }

    /// Has the far end's host say whether it has a connection still.
    pub(super) fn ask(&mut self, id: HostId, connection: ConnectionId) {
        if let Some(&(wire, side)) = self.hosts[id].ends.get(&connection) {
            let when = self.tick + self.wires[wire].delay;
            self.deliver(wire, 1 - side, when, Event::Asked(wire, 1 - side));
        }
    }

    pub(super) fn asked(&mut self, wire: usize, side: usize) {
        let (open, delay) = (self.wires[wire].ends[side].open, self.wires[wire].delay);
        if open {
            let back = Event::Acknowledged(wire, 1 - side);
            self.deliver(wire, 1 - side, self.tick + delay, back);
        } else if self.hosts[self.wires[wire].ends[side].host].is_up() {
            self.tell_gone(wire, side, "connection reset by peer");
        }
    }

    pub(super) fn acknowledged(&mut self, wire: usize, side: usize) {
        let end = &self.wires[wire].ends[side];
        let (id, connection, open) = (end.host, end.id, end.open);
        if open && self.is_node(id) {
            self.give(id, Input::Acknowledged(connection));
        }
    }

    pub(super) fn tell_gone(&mut self, wire: usize, from: usize, why: &'static str) {
        let when = self.tick + self.wires[wire].delay;
        self.deliver(wire, 1 - from, when, Event::Gone(wire, 1 - from, why));
    }

    pub(super) fn gone(&mut self, wire: usize, side: usize, why: &'static str) {
        let end = &mut self.wires[wire].ends[side];
        if !std::mem::take(&mut end.open) {
            return;
        }
        let (id, connection, life) = (end.host, end.id, end.life);
        let host = &mut self.hosts[id];
        if host.life == life && host.ends.remove(&connection).is_some() {
            self.give(id, Input::Closed(connection, Some(why.to_owned())));
        }
    }

    pub(super) fn arrive(&mut self, wire: usize, side: usize, bytes: Bytes, found: &MessageCount) {
        let end = &self.wires[wire].ends[side];
        let (id, connection, life) = (end.host, end.id, end.life);
        if !end.open {
            // A machine that is up again knows nothing of the connection, and says so.
            if self.hosts[id].is_up() && self.hosts[id].life != life {
                self.tell_gone(wire, side, "connection reset by peer");
            }
            return;
        }
        if found.opens > 0 {
            let path_ids = offers_path_ids(&bytes);
            for end in &mut self.wires[wire].ends {
                end.line.path_ids = path_ids;
            }
        }
        self.note([self.tick, id as u64, bytes.len() as u64, found.messages]);
        if found.updates > 0 {
            self.last_update = self.tick;
        }
        self.hosts[id].count.received.add(found);
        match &self.hosts[id].actor {
            Some(Actor::Node(_)) => self.give(id, Input::Received(connection, &bytes)),
            Some(Actor::Stub(_)) => self.stub_hears(wire, side, &bytes, found),
            None => {}
        }
    }

    fn stub_hears(&mut self, wire: usize, side: usize, bytes: &[u8], found: &MessageCount) {
        let end = &mut self.wires[wire].ends[side];
        let Some(Actor::Stub(stub)) = &self.hosts[end.host].actor else {
            return;
        };
        let answer = stub.hear(&mut end.line, bytes, found);
        let greeted = answer.up;
        if !answer.bytes.is_empty() {
            self.send(wire, side, answer.bytes.into());
        }
        if greeted {
            self.keep_alive_later(wire, side);
        }
    }

    fn keep_alive_later(&mut self, wire: usize, side: usize) {
        let millis = self.wires[wire].ends[side].line.keepalive;
        if millis > 0 {
            let wait = millis - self.rng.below(millis / 4 + 1);
            self.at(self.tick + wait, Event::Keepalive(wire, side));
        }
    }

    pub(super) fn keepalive(&mut self, wire: usize, side: usize) {
        if self.wires[wire].ends[side].open {
            let bytes = Bytes::from_static(&frame::KEEPALIVE);
            self.send(wire, side, bytes);
            self.keep_alive_later(wire, side);
        }
    }
}

/// Whether an OPEN offers what makes both ends say path identifiers: all ends here offer the same.
fn offers_path_ids(bytes: &[u8]) -> bool {
    let mut messages = frame::messages(bytes);
    let open = messages.find(|(kind, _)| *kind == MessageKind::Open);
    let open = open.map(|(_, body)| Open::decode(body).unwrap());
    open.is_some_and(|open| open.add_path(Family::Ipv4.afi_safi()) == 3)
}
