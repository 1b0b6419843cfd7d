//! The wires of the small world: dials, connections, bytes on the way, resets.
//!
//! A part of `sim_world`, which owns the state; here is what happens between two hosts.

use super::*;

impl World {
    pub(super) fn latency(&mut self) -> Duration {
        Duration::from_micros(200 + self.rng.below(5_000))
    }

    pub(super) fn dial(
        &mut self,
        name: &str,
        dial: ConnectionId,
        remote: IpAddr,
        source: Option<IpAddr>,
    ) {
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

    pub(super) fn syn(&mut self, from: &str, life: u32, dial: ConnectionId, way: (IpAddr, IpAddr)) {
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
            stream: Stream::new(MAX_EXTENDED_LEN),
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

    pub(super) fn connected(&mut self, wire: usize, dial: ConnectionId, local: IpAddr) {
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

    pub(super) fn send(&mut self, wire: usize, side: usize, bytes: Bytes) {
        let end = &mut self.wires[wire].ends[side];
        if end.open && !end.closing {
            end.outbox.push_back(bytes);
            let waiting: usize = end.outbox.iter().map(Bytes::len).sum();
            self.peak = self.peak.max(waiting);
            self.leave_soon(wire, side);
        }
    }

    pub(super) fn leave_soon(&mut self, wire: usize, side: usize) {
        let end = &mut self.wires[wire].ends[side];
        if !end.leaving && end.open {
            end.leaving = true;
            let wait = Duration::from_micros(self.rng.below(50));
            self.at(self.now + wait, Event::Leave(wire, side));
        }
    }

    /// The sender's kernel takes some octets, cut wherever the seed likes.
    pub(super) fn leave(&mut self, wire: usize, side: usize) {
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

    /// Whether the far end has a connection still is known a round trip later.
    pub(super) fn ask(&mut self, wire: usize, side: usize) {
        let wait = self.wires[wire].latency * 2 + Duration::from_millis(1);
        self.at(self.now + wait, Event::Answer(wire, side));
    }

    pub(super) fn answer(&mut self, wire: usize, side: usize) {
        let Wire { ends, .. } = &self.wires[wire];
        if !ends[0].open || !ends[1].open || ends[side].closing {
            return;
        }
        if !ends[side].outbox.is_empty() {
            return self.ask(wire, side);
        }
        if let (Some(id), host) = (ends[side].id, ends[side].host.clone()) {
            self.give(&host, Input::Acknowledged(id));
        }
    }

    pub(super) fn tell_gone(&mut self, wire: usize, from: usize, why: Option<&'static str>) {
        let wait = self.now + self.wires[wire].latency;
        let other = &mut self.wires[wire].ends[1 - from];
        other.arrival = other.arrival.max(wait);
        let at = other.arrival;
        self.at(at, Event::Gone(wire, 1 - from, why));
    }

    pub(super) fn gone(&mut self, wire: usize, side: usize, why: Option<&'static str>) {
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

    pub(super) fn arrive(&mut self, wire: usize, side: usize, bytes: &[u8]) {
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
        let end = &mut self.wires[wire].ends[side];
        let octets = [end.stream.kept(), bytes].concat();
        let (whole, bad) = end.stream.cut(&octets);
        for (kind, _) in frame::messages(whole) {
            *self.messages.entry(kind_name(kind)).or_default() += 1;
            if kind == MessageKind::Update {
                let way = (from.clone(), name.clone());
                *self.updates.entry(way).or_default() += 1;
            }
        }
        if !whole.is_empty() {
            self.give(&name, Input::Received(id, whole));
        }
        if let Some(error) = bad {
            self.give(&name, Input::BadHeader(id, error));
        }
    }
}
