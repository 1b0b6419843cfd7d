//! A driver for peers in tests: virtual time, ids, and words for outputs.
#![expect(clippy::unwrap_used, reason = "a test ends where its premise fails")]

use std::collections::VecDeque;
use std::net::IpAddr;

use dunlin::net::{Asn, Family, RouterId};
use dunlin::session::{
    ConnectionId, ConnectionIds, Exceeded, HoldTime, Input, Output, Peer, PeerConfig, State,
};
use dunlin::time::{Duration, Instant};
use dunlin::wire::frame::{KEEPALIVE, MessageKind, messages};
use dunlin::wire::notification::Notification;

/// More prefixes than a peer may send.
pub(crate) const EXCEEDED: Exceeded = Exceeded {
    family: Family::Ipv4,
    max: 1000,
    count: 1003,
};

/// One peer and a clock.
pub(crate) struct Driver {
    pub(crate) peer: Peer,
    pub(crate) now: Instant,
    pub(crate) ids: ConnectionIds,
    pub(crate) out: Vec<Output>,
}

/// A configuration for AS 64512 (us) towards AS 64513, router ids 10.0.0.1 and 10.0.0.2.
pub(crate) fn config() -> PeerConfig {
    let remote: IpAddr = "10.0.0.2".parse().unwrap();
    PeerConfig::new(
        remote,
        Asn(64512),
        Some(Asn(64513)),
        "10.0.0.1".parse().unwrap(),
    )
}

/// The other end of [`config`].
pub(crate) fn mirrored(ours: &PeerConfig) -> PeerConfig {
    let mut theirs = ours.clone();
    theirs.remote = "10.0.0.1".parse().unwrap();
    theirs.local_asn = Asn(64513);
    theirs.remote_asn = Some(ours.local_asn);
    theirs.router_id = "10.0.0.2".parse::<RouterId>().unwrap();
    theirs
}

/// [`config`] with a hold time.
pub(crate) fn holding(secs: u16) -> PeerConfig {
    let mut config = config();
    config.timers.hold_time = HoldTime::from_secs(secs).unwrap();
    config
}

/// The body of a whole message.
pub(crate) fn body(message: &[u8]) -> Vec<u8> {
    let (_, body) = messages(message).next().unwrap();
    body.to_vec()
}

impl Driver {
    pub(crate) fn new(config: PeerConfig) -> Self {
        let peer = Peer::new(config, 7);
        let now = Instant::from_secs(1_000);
        Self {
            peer,
            now,
            ids: ConnectionIds::default(),
            out: Vec::new(),
        }
    }

    pub(crate) fn started(config: PeerConfig) -> Self {
        let mut driver = Self::new(config);
        driver.give(Input::Start);
        driver
    }

    /// What one input makes the peer want.
    pub(crate) fn give(&mut self, input: Input<'_>) -> Vec<Output> {
        self.peer.handle(self.now, input, &mut self.out);
        std::mem::take(&mut self.out)
    }

    pub(crate) fn message(
        &mut self,
        connection: ConnectionId,
        kind: MessageKind,
        body: &[u8],
    ) -> Vec<Output> {
        self.give(Input::Message {
            connection,
            kind,
            body,
        })
    }

    pub(crate) fn keepalive(&mut self, connection: ConnectionId) -> Vec<Output> {
        self.message(connection, MessageKind::Keepalive, &[])
    }

    /// The OPEN of the mirrored configuration, changed by `edit`.
    pub(crate) fn open_with(
        &mut self,
        connection: ConnectionId,
        edit: impl FnOnce(&mut PeerConfig),
    ) -> Vec<Output> {
        let mut theirs = mirrored(self.peer.config());
        edit(&mut theirs);
        let open = body(&theirs.open().encode());
        self.message(connection, MessageKind::Open, &open)
    }

    pub(crate) fn open(&mut self, connection: ConnectionId) -> Vec<Output> {
        self.open_with(connection, |_| {})
    }

    pub(crate) fn notification(
        &mut self,
        connection: ConnectionId,
        code: u8,
        subcode: u8,
    ) -> Vec<Output> {
        let message = Notification::new(code, subcode, Vec::new()).encode();
        self.message(connection, MessageKind::Notification, &body(&message))
    }

    pub(crate) fn accept(&mut self) -> (ConnectionId, Vec<Output>) {
        let connection = self.ids.issue();
        let out = self.give(Input::Accepted { connection });
        (connection, out)
    }

    /// Moves the clock to the next deadline and handles it; `None` if there is none.
    pub(crate) fn next_timer(&mut self) -> Option<Vec<Output>> {
        let (at, _) = self.peer.next_timeout()?;
        self.now = self.now.max(at);
        self.peer
            .handle_timeout(self.now, &mut self.ids, &mut self.out);
        Some(std::mem::take(&mut self.out))
    }

    /// Moves the clock by `span`, handling each deadline on the way.
    pub(crate) fn run(&mut self, span: Duration) -> Vec<Output> {
        let end = self.now + span;
        let mut all = Vec::new();
        while let Some((at, _)) = self.peer.next_timeout()
            && at <= end
        {
            all.extend(self.next_timer().unwrap());
        }
        self.now = end;
        all
    }

    /// Runs until the peer dials, and gives the id of the dial.
    pub(crate) fn dial(&mut self) -> ConnectionId {
        for _ in 0..100 {
            if let Some(id) = dialled(&self.next_timer().unwrap()) {
                return id;
            }
        }
        panic!("no dial");
    }

    /// A connection dialled by us, in OpenSent.
    pub(crate) fn open_sent(&mut self) -> ConnectionId {
        let connection = self.dial();
        self.give(Input::Connected { connection });
        assert_eq!(self.peer.state(), State::OpenSent);
        connection
    }

    /// A connection dialled by us, as soon as TCP is up.
    pub(crate) fn open_sent_or_delaying(&mut self) -> ConnectionId {
        let connection = self.dial();
        self.give(Input::Connected { connection });
        connection
    }

    /// An established session over a connection that we dialled.
    pub(crate) fn established(&mut self) -> ConnectionId {
        let connection = self.open_sent();
        self.open(connection);
        self.keepalive(connection);
        assert_eq!(self.peer.state(), State::Established);
        connection
    }
}

/// The id in a `Dial`, if there is one.
pub(crate) fn dialled(out: &[Output]) -> Option<ConnectionId> {
    out.iter().find_map(|output| match output {
        Output::Dial { connection } => Some(*connection),
        _ => None,
    })
}

/// The NOTIFICATIONs sent, as (code, subcode).
pub(crate) fn notifications(out: &[Output]) -> Vec<(u8, u8)> {
    let sent = out.iter().filter_map(|output| match output {
        Output::Send { bytes, .. } => messages(bytes).next(),
        _ => None,
    });
    sent.filter(|(kind, _)| *kind == MessageKind::Notification)
        .map(|(_, body)| (body[0], body[1]))
        .collect()
}

/// One output in a few words.
pub(crate) fn words(output: &Output) -> String {
    match output {
        Output::Dial { .. } => "dial".into(),
        Output::Send { bytes, .. } => {
            let (kind, body) = messages(bytes).next().unwrap();
            if kind == MessageKind::Notification {
                format!("send {}/{} {:02x?}", body[0], body[1], &body[2..]).replace(" []", "")
            } else {
                format!("send {kind}")
            }
        }
        Output::Close { .. } => "close".into(),
        Output::Abort { .. } => "abort".into(),
        Output::Probe { .. } => "probe".into(),
        Output::Up { negotiated, .. } => format!("UP hold {}", negotiated.hold_time),
        Output::Update { .. } => "pass UPDATE".into(),
        Output::RouteRefresh { .. } => "pass ROUTE-REFRESH".into(),
        Output::Down { reason, .. } => format!("DOWN {reason}"),
    }
}

/// Two peers that talk through an in-memory network in which everything takes its time.
pub(crate) struct Pair {
    pub(crate) ends: [Driver; 2],
    pub(crate) now: Instant,
    /// (when, to which end, what), not sorted.
    pub(crate) queue: VecDeque<(Instant, usize, Event)>,
    links: Vec<Link>,
    rng: dunlin::rng::Rng,
    /// `Up` and `Down` of either end, in order.
    pub(crate) log: Vec<(Instant, usize, String)>,
    /// The longest way of a message.
    pub(crate) latency: Duration,
}

#[derive(Debug, Clone)]
pub(crate) enum Event {
    Accepted(ConnectionId),
    Connected(ConnectionId),
    Bytes(ConnectionId, Vec<u8>),
    Closed(ConnectionId),
    /// The sender asks whether the connection is there still.
    Asked(ConnectionId),
    /// It is: what was sent on it has arrived.
    Acknowledged(ConnectionId),
}

struct Link {
    /// The id at each end; the accepting end's is given on arrival.
    ids: [Option<ConnectionId>; 2],
    open: [bool; 2],
    /// No byte arrives at an end before an earlier one.
    arrival: [Instant; 2],
}

impl Pair {
    pub(crate) fn new(a: PeerConfig, b: PeerConfig, seed: u64) -> Self {
        let ends = [(a, seed * 2), (b, seed * 2 + 1)].map(|(config, seed)| {
            let mut driver = Driver::new(config.clone());
            driver.peer = Peer::new(config, seed);
            driver
        });
        Self {
            ends,
            now: Instant::from_secs(1_000),
            queue: VecDeque::new(),
            links: Vec::new(),
            rng: dunlin::rng::Rng::new(seed ^ 0xD0_D0),
            log: Vec::new(),
            latency: Duration::from_millis(20),
        }
    }

    pub(crate) fn input(&mut self, end: usize, input: Input<'_>) {
        let driver = &mut self.ends[end];
        driver.now = self.now;
        let out = driver.give(input);
        self.carry_out(end, out);
    }

    /// The process at `end` dies and is started again after `pause`; its kernel closes its sockets.
    pub(crate) fn restart_process(&mut self, end: usize, pause: Duration, seed: u64) {
        let open = |link: &Link| link.ids[end].filter(|_| link.open[end]);
        let connections: Vec<_> = self.links.iter().filter_map(open).collect();
        for connection in connections {
            self.carry_out(end, vec![Output::Abort { connection }]);
        }
        let config = self.ends[end].peer.config().as_ref().clone();
        self.ends[end].peer = Peer::new(config, seed);
        self.run(self.now + pause, |_| false);
        self.input(end, Input::Start);
    }

    /// The power fails at `end`, and is back after `pause`: nobody is told.
    pub(crate) fn lose_power(&mut self, end: usize, pause: Duration, seed: u64) {
        for link in &mut self.links {
            link.open[end] = false;
        }
        let config = self.ends[end].peer.config().as_ref().clone();
        self.ends[end].peer = Peer::new(config, seed);
        self.run(self.now + pause, |_| false);
        self.input(end, Input::Start);
    }

    pub(crate) fn both_up(&self) -> bool {
        self.ends
            .iter()
            .all(|end| end.peer.state() == State::Established)
    }

    /// Runs until `until`, or until `done` says so.
    pub(crate) fn run(&mut self, until: Instant, done: impl Fn(&Self) -> bool) {
        while !done(self) {
            let event = (0..self.queue.len()).min_by_key(|i| (self.queue[*i].0, *i));
            let timers = self.ends.iter().enumerate();
            let timer = timers
                .filter_map(|(i, end)| Some((end.peer.next_timeout()?.0, i)))
                .min();
            let event_at = event.map(|i| self.queue[i].0);
            let next = [event_at, timer.map(|(at, _)| at)]
                .into_iter()
                .flatten()
                .min();
            let Some(at) = next.filter(|at| *at <= until) else {
                self.now = until;
                return;
            };
            self.now = self.now.max(at);
            // What has arrived is read before deadlines are judged.
            match (event, timer) {
                (Some(i), _) if event_at == Some(at) => {
                    let (_, end, event) = self.queue.remove(i).unwrap();
                    self.deliver(end, &event);
                }
                (_, Some((_, end))) => {
                    let driver = &mut self.ends[end];
                    driver.now = self.now;
                    driver
                        .peer
                        .handle_timeout(self.now, &mut driver.ids, &mut driver.out);
                    let out = std::mem::take(&mut driver.out);
                    self.carry_out(end, out);
                }
                _ => unreachable!("something was due"),
            }
        }
    }

    fn deliver(&mut self, end: usize, event: &Event) {
        match event {
            Event::Accepted(theirs) => {
                let Some(link) = self.link(1 - end, *theirs) else {
                    return;
                };
                let id = self.ends[end].ids.issue();
                self.links[link].ids[end] = Some(id);
                self.links[link].open[end] = true;
                self.input(end, Input::Accepted { connection: id });
            }
            Event::Connected(connection) => {
                self.input(
                    end,
                    Input::Connected {
                        connection: *connection,
                    },
                );
            }
            Event::Bytes(theirs, bytes) => {
                let Some((link, connection)) = self.receiving(end, *theirs) else {
                    return;
                };
                if self.links[link].open[end] {
                    let (kind, body) = messages(bytes).next().unwrap();
                    self.input(
                        end,
                        Input::Message {
                            connection,
                            kind,
                            body,
                        },
                    );
                }
            }
            Event::Asked(theirs) => {
                let Some((link, connection)) = self.receiving(end, *theirs) else {
                    return;
                };
                let answer = match self.links[link].open[end] {
                    true => Event::Acknowledged(*theirs),
                    false => Event::Closed(connection),
                };
                let at = (self.now + self.delay()).max(self.links[link].arrival[1 - end]);
                self.links[link].arrival[1 - end] = at;
                self.queue.push_back((at, 1 - end, answer));
            }
            Event::Acknowledged(ours) => {
                let connection = *ours;
                self.input(end, Input::Acknowledged { connection });
            }
            Event::Closed(theirs) => {
                let Some((link, connection)) = self.receiving(end, *theirs) else {
                    return;
                };
                if std::mem::take(&mut self.links[link].open[end]) {
                    self.input(
                        end,
                        Input::Closed {
                            connection,
                            error: None,
                        },
                    );
                }
            }
        }
    }

    fn carry_out(&mut self, end: usize, out: Vec<Output>) {
        for output in out {
            match output {
                Output::Dial { connection } => self.begin_dial(end, connection),
                Output::Send { connection, bytes } => {
                    self.post(end, connection, Event::Bytes(connection, bytes.to_vec()));
                }
                Output::Close { connection } | Output::Abort { connection } => {
                    self.post(end, connection, Event::Closed(connection));
                    if let Some(link) = self.link(end, connection) {
                        self.links[link].open[end] = false;
                    }
                }
                Output::Up { .. } | Output::Down { .. } => {
                    self.log.push((self.now, end, words(&output)));
                }
                Output::Probe { connection } => {
                    self.post(end, connection, Event::Asked(connection));
                }
                Output::Update { .. } | Output::RouteRefresh { .. } => {}
            }
        }
    }

    fn begin_dial(&mut self, end: usize, connection: ConnectionId) {
        let mut ids = [None, None];
        ids[end] = Some(connection);
        let mut open = [false, false];
        open[end] = true;
        self.links.push(Link {
            ids,
            open,
            arrival: [self.now; 2],
        });
        self.post(end, connection, Event::Accepted(connection));
        let back = self.delay();
        let link = self.links.len() - 1;
        let at = self.links[link].arrival[1 - end] + back;
        self.links[link].arrival[end] = at;
        self.queue
            .push_back((at, end, Event::Connected(connection)));
    }

    /// Sends to the other end, never faster than what was sent before on the link.
    fn post(&mut self, from: usize, connection: ConnectionId, event: Event) {
        let delay = self.delay();
        let Some(link) = self.link(from, connection) else {
            return;
        };
        let link = &mut self.links[link];
        if !link.open[from] {
            return;
        }
        let at = (self.now + delay).max(link.arrival[1 - from]);
        link.arrival[1 - from] = at;
        self.queue.push_back((at, 1 - from, event));
    }

    fn delay(&mut self) -> Duration {
        let micros = u64::try_from(self.latency.as_micros()).unwrap();
        Duration::from_micros(self.rng.below(micros))
    }

    fn link(&self, end: usize, id: ConnectionId) -> Option<usize> {
        self.links.iter().position(|link| link.ids[end] == Some(id))
    }

    fn receiving(&self, end: usize, theirs: ConnectionId) -> Option<(usize, ConnectionId)> {
        let link = self.link(1 - end, theirs)?;
        Some((link, self.links[link].ids[end]?))
    }
}

/// KEEPALIVE as bytes, to compare outputs with.
pub(crate) fn is_keepalive(output: &Output) -> bool {
    matches!(output, Output::Send { bytes, .. } if bytes.as_ref() == KEEPALIVE)
}
