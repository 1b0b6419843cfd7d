//! All connections of the daemon, and what one turn does with them.
//!
//! The owner waits for [`Transport::ready`], has read what there is with [`Transport::receive`], gives its
//! orders, and lets octets leave with [`Transport::transmit`]; events are told during these two calls and
//! at no other time. Orders only note what is to be done, so that what a turn has for one peer leaves in
//! one system call. What always holds: nothing here waits for a peer; a connection is told to have ended
//! exactly once, or not at all if the owner has closed it; a deadline is judged after what had come.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::net::TcpStream;
use std::time::Duration;

use bytes::Bytes;
use hashbrown::HashMap;
use tokio::time::Instant;

use super::connection::{self, Connection, Phase, Rest};
use super::readiness::{Readiness, Ready};
use super::signing::Signing;
use super::{Endpoint, Event};
use crate::net::Hashing;
use crate::session::{ConnectionId, DialError};
use crate::wire::frame::MAX_EXTENDED_LEN;

/// How long a dial may take before it is given up; a SYN is sent again after 1 and 3 seconds.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a closed connection may take to send its last octets (a NOTIFICATION), and the peer to say
/// that it has seen the end: who closes before that loses what is under way if the peer still sends.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// Octets taken from one connection in a turn, but for the beginning of a message that was there
/// already: several hundred small messages. The others have their turn before there is more.
const READ_SIZE: usize = 64 * 1024;

/// Reads after a write has failed: what the peer has said before it closed is heard, unless it is very much.
const LAST_READS: usize = 8;

/// How often it is looked whether a probe was acknowledged, first and at most.
const FIRST_LOOK: Duration = Duration::from_millis(2);
const RARE_LOOK: Duration = Duration::from_millis(100);
/// How long it is looked for: what is not answered by then is not.
const PROBE_TIME: Duration = Duration::from_secs(10);

/// All connections of the daemon.
#[derive(Debug)]
pub struct Transport {
    readiness: Readiness,
    /// Nobody but us chooses the keys.
    connections: HashMap<ConnectionId, Connection, Hashing>,
    /// What is read from anybody is read into this.
    buffer: Box<[u8]>,
    /// What orders have led to.
    news: VecDeque<Event<'static>>,
    /// Those that may have more to read than one turn takes, who has waited longest first.
    unread: VecDeque<ConnectionId>,
    /// Those that something was queued for.
    unwritten: Vec<ConnectionId>,
    deadlines: BTreeSet<(Instant, ConnectionId)>,
    /// Connections in doubt; there are few.
    probes: Vec<Probe>,
}

/// A connection of which its owner wants to know whether the far end has it still.
#[derive(Debug)]
struct Probe {
    connection: ConnectionId,
    look: Instant,
    pause: Duration,
    end: Instant,
}

impl Transport {
    /// A transport without connections. Needs a runtime.
    ///
    /// # Errors
    /// If there is no epoll to be had.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            readiness: Readiness::new()?,
            connections: HashMap::default(),
            buffer: vec![0; READ_SIZE + MAX_EXTENDED_LEN].into_boxed_slice(),
            news: VecDeque::new(),
            unread: VecDeque::new(),
            unwritten: Vec::new(),
            deadlines: BTreeSet::new(),
            probes: Vec::new(),
        })
    }

    /// Starts to connect; ends in `Connected` or `DialFailed`.
    pub fn dial(&mut self, id: ConnectionId, endpoint: &Endpoint) {
        let stream = connection::dial(endpoint);
        let begun = stream.and_then(|stream| {
            let connection = Connection::new(stream, endpoint, Phase::Dialling);
            let added = self.add(id, connection);
            added.map_err(|error| connection::dial_error(&error))
        });
        match begun {
            Ok(()) => self.limit(id, DIAL_TIMEOUT),
            Err(error) => self.news.push_back(Event::DialFailed {
                connection: id,
                error,
            }),
        }
    }

    /// Serves an accepted stream under the id `id`.
    ///
    /// # Errors
    /// If the socket refuses its options.
    pub fn adopt(
        &mut self,
        id: ConnectionId,
        stream: TcpStream,
        endpoint: &Endpoint,
    ) -> io::Result<()> {
        endpoint.options.apply(&stream)?;
        self.add(id, Connection::new(stream, endpoint, Phase::Open))
    }

    /// Queues `bytes`; they leave in order.
    pub fn send(&mut self, id: ConnectionId, bytes: Bytes) {
        let connection = self.connections.get_mut(&id);
        let Some(connection) = connection.filter(|one| one.phase != Phase::Closing) else {
            return;
        };
        if connection.queue(bytes) && !connection.unwritten {
            connection.unwritten = true;
            self.unwritten.push(id);
        }
    }

    /// Looks for the acknowledgement of all that was queued so far: `Acknowledged`, or nothing where it does not
    /// come; a reset is told as any end is.
    pub fn probe(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        connection.knock();
        let now = Instant::now();
        self.probes.retain(|probe| probe.connection != id);
        self.probes.push(Probe {
            connection: id,
            look: now + FIRST_LOOK,
            pause: FIRST_LOOK,
            end: now + PROBE_TIME,
        });
    }

    /// Changes the key of a connection in place. One that can't have it is closed: it must not go on
    /// with a key that is no longer right.
    pub fn sign(&mut self, id: ConnectionId, signing: &Signing) {
        let signed = self.connections.get(&id).map(|one| one.sign(signing));
        if let Some(Err(error)) = signed {
            let event = self.end(id, Err(error));
            self.news.extend(event);
        }
    }

    /// Closes after what is queued has left. Nothing more is told of the connection.
    pub fn close(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        match connection.phase {
            Phase::Closing => return,
            Phase::Dialling => return self.abort(id),
            Phase::Open => {}
        }
        let was_deaf = connection.is_lost();
        connection.begin_to_close();
        if !connection.unwritten {
            connection.unwritten = true;
            self.unwritten.push(id);
        }
        if was_deaf {
            self.read_again(id);
        }
        self.limit(id, FLUSH_TIMEOUT);
    }

    /// Closes at once. Nothing more is told of the connection.
    pub fn abort(&mut self, id: ConnectionId) {
        self.forget(id);
    }

    fn forget(&mut self, id: ConnectionId) -> Option<Connection> {
        let connection = self.connections.remove(&id)?;
        self.unlimit(id, connection.deadline);
        // Callers who were many leave no room.
        if self.connections.len() < self.connections.capacity() / 8 {
            self.connections.shrink_to(2 * self.connections.len());
        }
        Some(connection)
    }

    /// How many connections there are, those among them that are being dialled or closed.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Waits until [`receive`](Self::receive) has something to do.
    pub async fn ready(&self) {
        if !self.news.is_empty() || !self.unread.is_empty() {
            // Others have their turn all the same.
            tokio::task::yield_now().await;
            return;
        }
        let looks = self.probes.iter().map(|probe| probe.look);
        let deadlines = self.deadlines.first().map(|(at, _)| *at);
        match looks.chain(deadlines).min() {
            Some(at) => {
                tokio::select! {
                    () = self.readiness.wait() => {}
                    () = tokio::time::sleep_until(at) => {}
                }
            }
            None => self.readiness.wait().await,
        }
    }

    /// Reads from everybody who has sent something, until it is `enough`, and ends what takes too long. Whoever
    /// was not read is read first in the next turn.
    pub fn receive(&mut self, told: &mut impl FnMut(Event<'_>), mut enough: impl FnMut() -> bool) {
        self.tell(told);
        for _ in 0..self.unread.len() {
            if enough() {
                break;
            }
            if let Some(id) = self.unread.pop_front() {
                self.receive_from(id, told);
            }
        }
        // A socket may become ready again meanwhile, and is not to keep us here.
        for _ in 0..=self.connections.len() / Readiness::AT_ONCE {
            let more = self.readiness.look();
            let mut at = 0;
            while let Some(ready) = self.readiness.found(at) {
                self.serve(ready, told, &mut enough);
                at += 1;
            }
            if !more {
                break;
            }
        }
        self.look_at_probes(told);
        self.expire(told);
    }

    /// Reads from one that has waited, if it has: its deadline is due, and what it has said comes first.
    pub fn receive_from(&mut self, id: ConnectionId, told: &mut impl FnMut(Event<'_>)) {
        let waits = |one: &mut Connection| core::mem::take(&mut one.unread);
        if self.connections.get_mut(&id).is_some_and(waits) {
            self.read(id, told);
        }
    }

    /// Writes what was queued, as far as the kernel takes it; whether there was anything to tell.
    pub fn transmit(&mut self, told: &mut impl FnMut(Event<'_>)) -> bool {
        let mut any = self.tell(told);
        let mut unwritten = core::mem::take(&mut self.unwritten);
        for id in unwritten.drain(..) {
            any |= self.write(id, told);
        }
        // Nobody queues anything meanwhile; the list keeps its room.
        self.unwritten = unwritten;
        any
    }

    fn add(&mut self, id: ConnectionId, connection: Connection) -> io::Result<()> {
        self.readiness.add(id, connection.stream())?;
        self.connections.insert(id, connection);
        Ok(())
    }

    fn tell(&mut self, told: &mut impl FnMut(Event<'_>)) -> bool {
        let any = !self.news.is_empty();
        self.news.drain(..).for_each(told);
        any
    }

    fn serve(
        &mut self,
        ready: Ready,
        told: &mut impl FnMut(Event<'_>),
        enough: &mut impl FnMut() -> bool,
    ) {
        let id = ready.connection;
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        connection.ends |= ready.ends;
        if connection.phase == Phase::Dialling {
            if ready.writable {
                self.dialled(id, told);
            }
            return;
        }
        if ready.writable && connection.has_room() && !connection.unwritten {
            connection.unwritten = true;
            self.unwritten.push(id);
        }
        // Whoever stands in the list has had its share of this turn.
        if ready.readable && !connection.unread {
            match enough() {
                true => self.read_again(id),
                false => self.read(id, told),
            }
        }
    }

    fn dialled(&mut self, id: ConnectionId, told: &mut impl FnMut(Event<'_>)) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        match connection.answered() {
            Ok(None) => {}
            Ok(Some(local)) => {
                connection.phase = Phase::Open;
                let deadline = connection.deadline.take();
                self.unlimit(id, deadline);
                told(Event::Connected {
                    connection: id,
                    local,
                });
                // It may have spoken already, and nothing is told of that again.
                self.read(id, told);
            }
            Err(error) => self.end(id, Err(error)).into_iter().for_each(told),
        }
    }

    fn read(&mut self, id: ConnectionId, told: &mut impl FnMut(Event<'_>)) {
        match self.read_once(id, told) {
            Rest::Nothing => {}
            Rest::More => self.read_again(id),
            Rest::End(result) => self.end(id, result).into_iter().for_each(told),
        }
    }

    fn read_again(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(&id)
            && !core::mem::replace(&mut connection.unread, true)
        {
            self.unread.push_back(id);
        }
    }

    fn read_once(&mut self, id: ConnectionId, told: &mut impl FnMut(Event<'_>)) -> Rest {
        let connection = self.connections.get_mut(&id);
        // Nothing behind a bad header means anything; the core closes.
        let Some(connection) = connection.filter(|one| !one.is_lost()) else {
            return Rest::Nothing;
        };
        let read = connection.read(&mut self.buffer);
        if !read.messages.is_empty() {
            told(Event::Received {
                connection: id,
                messages: read.messages,
            });
        }
        let Some(error) = read.bad else {
            return read.rest;
        };
        told(Event::BadHeader {
            connection: id,
            error,
        });
        Rest::Nothing
    }

    fn write(&mut self, id: ConnectionId, told: &mut impl FnMut(Event<'_>)) -> bool {
        let Some(connection) = self.connections.get_mut(&id) else {
            return false;
        };
        connection.unwritten = false;
        let (octets, result) = connection.write();
        if connection.phase == Phase::Closing {
            let ended = result.and_then(|()| match connection.is_flushed() {
                true => connection.say_end(),
                false => Ok(()),
            });
            if ended.is_err() {
                self.abort(id);
            }
            return false;
        }
        if octets > 0 {
            told(Event::Sent {
                connection: id,
                octets,
            });
        }
        if let Err(error) = result {
            for _ in 0..LAST_READS {
                if !matches!(self.read_once(id, told), Rest::More) {
                    break;
                }
            }
            self.end(id, Err(error)).into_iter().for_each(told);
            return true;
        }
        octets > 0
    }

    /// It is over by itself; what there is to tell of it.
    fn end(&mut self, id: ConnectionId, result: io::Result<()>) -> Option<Event<'static>> {
        let connection = self.forget(id)?;
        let error = result.err();
        match connection.phase {
            Phase::Dialling => Some(Event::DialFailed {
                connection: id,
                error: error.map_or(DialError::TimedOut, |error| connection::dial_error(&error)),
            }),
            Phase::Open => Some(Event::Closed {
                connection: id,
                error: error.map(|error| connection::describe(&error)),
            }),
            Phase::Closing => None,
        }
    }

    fn look_at_probes(&mut self, told: &mut impl FnMut(Event<'_>)) {
        if self.probes.is_empty() {
            return;
        }
        let now = Instant::now();
        let connections = &self.connections;
        self.probes.retain_mut(|probe| {
            let id = probe.connection;
            let open = connections.get(&id).filter(|one| one.phase == Phase::Open);
            let Some(connection) = open.filter(|_| now < probe.end) else {
                return false;
            };
            if probe.look > now {
                return true;
            }
            if connection.is_acknowledged() {
                told(Event::Acknowledged { connection: id });
                return false;
            }
            probe.pause = (probe.pause * 2).min(RARE_LOOK);
            probe.look = now + probe.pause;
            true
        });
    }

    fn limit(&mut self, id: ConnectionId, time: Duration) {
        if let Some(connection) = self.connections.get_mut(&id) {
            let at = Instant::now() + time;
            connection.deadline = Some(at);
            self.deadlines.insert((at, id));
        }
    }

    fn unlimit(&mut self, id: ConnectionId, deadline: Option<Instant>) {
        if let Some(at) = deadline {
            self.deadlines.remove(&(at, id));
        }
    }

    fn expire(&mut self, told: &mut impl FnMut(Event<'_>)) {
        if self.deadlines.is_empty() {
            return;
        }
        let now = Instant::now();
        while let Some((at, id)) = self.deadlines.first().copied() {
            if at > now {
                break;
            }
            self.deadlines.pop_first();
            self.end(id, Ok(())).into_iter().for_each(&mut *told);
        }
    }
}
