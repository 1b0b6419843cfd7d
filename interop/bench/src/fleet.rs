//! Many BGP speakers in one thread over epoll: the generator's side of every session.
//!
//! It dials or accepts, exchanges OPENs, keeps the sessions alive, writes queued bytes and hands every
//! received message to the caller. It has no table and no policy. Always true: a session that is down and
//! has a role that dials has a time for its next attempt, so nothing waits forever here; the caller bounds
//! the whole by its own deadline.

use crate::error::{Context, Result};
use crate::session::{Due, Event, PeerConfig, Phase, Role, Session};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Timers are looked at this often: far below any BGP timer, far above the cost of looking.
const SWEEP: Duration = Duration::from_millis(10);
const LISTENER: u64 = u64::MAX;

/// All sessions of one generator.
pub(crate) struct Fleet {
    epoll: Epoll,
    sessions: Vec<Session>,
    by_address: HashMap<IpAddr, usize>,
    listener: Option<TcpListener>,
    scratch: Vec<u8>,
    ready: Vec<EpollEvent>,
    swept: Instant,
}

impl Fleet {
    /// Sessions that are all idle; those that dial do so at `start`.
    pub(crate) fn new(peers: Vec<PeerConfig>, start: Instant) -> Result<Self> {
        let by_address = peers
            .iter()
            .enumerate()
            .map(|(i, peer)| match peer.role {
                // A generator that listens has many addresses, a mirror has many remote ones.
                Role::Accept { by_local: true } => (peer.local, i),
                Role::Accept { by_local: false } | Role::Dial(_) => (peer.remote.ip(), i),
            })
            .collect();
        Ok(Self {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("epoll")?,
            ready: vec![EpollEvent::empty(); 1024],
            sessions: peers
                .into_iter()
                .map(|peer| Session::new(peer, start))
                .collect(),
            by_address,
            listener: None,
            scratch: vec![0; 512 * 1024],
            swept: start,
        })
    }

    /// The same, but the sessions that dial do so one after the other, this far apart.
    pub(crate) fn paced(peers: Vec<PeerConfig>, start: Instant, pace: Duration) -> Result<Self> {
        let mut fleet = Self::new(Vec::new(), start)?;
        let mut at = start;
        for peer in peers {
            fleet.sessions.push(Session::new(peer, at));
            at += pace;
        }
        Ok(fleet)
    }

    /// Accepts sessions on this address, with a backlog that no burst here fills.
    pub(crate) fn listen(&mut self, address: SocketAddr) -> Result<()> {
        let what = || format!("listening on {address}");
        let socket = socket2::Socket::new(
            socket2::Domain::for_address(address),
            socket2::Type::STREAM,
            None,
        )
        .context(what())?;
        socket.set_reuse_address(true).context(what())?;
        socket.bind(&address.into()).context(what())?;
        socket.listen(4096).context(what())?;
        socket.set_nonblocking(true).context(what())?;
        let listener = TcpListener::from(socket);
        self.epoll
            .add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))
            .context(what())?;
        self.listener = Some(listener);
        Ok(())
    }

    /// How many sessions are Established.
    pub(crate) fn established(&self) -> usize {
        self.sessions.iter().filter(|s| s.is_established()).count()
    }

    /// Connection attempts and accepted connections of all sessions so far.
    pub(crate) fn attempts(&self) -> usize {
        self.sessions.iter().map(|s| s.attempts).sum()
    }

    /// Whether this session is Established.
    pub(crate) fn is_established(&self, index: usize) -> bool {
        self.sessions
            .get(index)
            .is_some_and(Session::is_established)
    }

    /// Queues bytes on a session and writes what the socket takes now.
    pub(crate) fn send(
        &mut self,
        index: usize,
        bytes: Arc<Vec<u8>>,
        sink: &mut dyn FnMut(usize, Event<'_>),
    ) {
        if let Some(session) = self.sessions.get_mut(index) {
            session.queue(bytes);
            let outcome = session.flush();
            self.settle(index, outcome, Instant::now(), sink);
        }
    }

    /// Ends a session and dials again soon; see [`Session::restart`].
    pub(crate) fn restart(&mut self, index: usize, in_step: bool) {
        if let Some(session) = self.sessions.get_mut(index) {
            session.restart(in_step, Instant::now());
        }
    }

    /// The body of the NOTIFICATION that ended a session, if one did.
    pub(crate) fn said(&self, index: usize) -> Option<&[u8]> {
        self.sessions.get(index)?.said()
    }

    /// The longest time in which the daemon said nothing on a session that was up.
    pub(crate) fn silence(&self, index: usize) -> Duration {
        self.sessions
            .get(index)
            .map_or(Duration::ZERO, Session::silence)
    }

    /// The most that a KEEPALIVE of the generator's own was late, on any session.
    pub(crate) fn late(&self) -> Duration {
        let late = self.sessions.iter().map(Session::late);
        late.max().unwrap_or_default()
    }

    /// KEEPALIVEs received on all sessions so far.
    pub(crate) fn keepalives(&self) -> usize {
        self.sessions.iter().map(|s| s.keepalives).sum()
    }

    /// Reads nothing on this session any more, or reads again; KEEPALIVEs are sent all the same.
    pub(crate) fn set_deaf(&mut self, index: usize, deaf: bool) -> Result<()> {
        let Some(session) = self.sessions.get_mut(index) else {
            return Ok(());
        };
        session
            .set_deaf(deaf, Instant::now())
            .context("the receive buffer")?;
        match session.interest_change() {
            Some((stream, flags)) => self
                .epoll
                .modify(stream, &mut EpollEvent::new(flags, index as u64))
                .context("epoll"),
            None => Ok(()),
        }
    }

    /// Takes leave of all sessions.
    pub(crate) fn leave(&mut self) {
        (0..self.sessions.len()).for_each(|index| self.restart(index, true));
    }

    /// Waits for sockets and timers at most this long, and does what is due.
    pub(crate) fn poll(
        &mut self,
        wait: Duration,
        sink: &mut dyn FnMut(usize, Event<'_>),
    ) -> Result<()> {
        let now = Instant::now();
        if now.duration_since(self.swept) >= SWEEP {
            self.swept = now;
            self.sweep(now, sink);
        }
        let millis = u16::try_from(wait.min(SWEEP).as_millis()).unwrap_or(0);
        let mut ready = std::mem::take(&mut self.ready);
        let count = match self.epoll.wait(&mut ready, EpollTimeout::from(millis)) {
            Ok(count) => count,
            Err(nix::errno::Errno::EINTR) => 0,
            Err(error) => return Err(error).context("epoll_wait"),
        };
        let now = Instant::now();
        for event in ready.iter().take(count) {
            if event.data() == LISTENER {
                self.accept(now)?;
                continue;
            }
            let index = usize::try_from(event.data()).unwrap_or(usize::MAX);
            self.handle(index, event.events(), now, sink);
        }
        self.ready = ready;
        Ok(())
    }

    fn handle(
        &mut self,
        index: usize,
        flags: EpollFlags,
        now: Instant,
        sink: &mut dyn FnMut(usize, Event<'_>),
    ) {
        let Some(session) = self.sessions.get_mut(index) else {
            return;
        };
        let mut outcome = Ok(());
        if matches!(session.phase(), Phase::Connecting { .. }) {
            outcome = session.connected();
        }
        if outcome.is_ok()
            && flags.intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR)
        {
            outcome = session.read(&mut self.scratch, now, &mut |event| sink(index, event));
        }
        if outcome.is_ok() {
            outcome = session.flush();
        }
        self.settle(index, outcome, now, sink);
    }

    /// Tells the caller about a session that fell, and keeps epoll's interest what the session wants.
    fn settle(
        &mut self,
        index: usize,
        outcome: std::result::Result<(), String>,
        now: Instant,
        sink: &mut dyn FnMut(usize, Event<'_>),
    ) {
        let Some(session) = self.sessions.get_mut(index) else {
            return;
        };
        let outcome = match session.interest_change() {
            Some((stream, flags)) if outcome.is_ok() => self
                .epoll
                .modify(stream, &mut EpollEvent::new(flags, index as u64))
                .map_err(|error| format!("epoll: {error}")),
            Some(_) | None => outcome,
        };
        if let Err(reason) = outcome {
            let established = session.is_established();
            session.down(now);
            sink(
                index,
                Event::Down {
                    established,
                    reason: &reason,
                },
            );
        }
    }

    fn sweep(&mut self, now: Instant, sink: &mut dyn FnMut(usize, Event<'_>)) {
        for index in 0..self.sessions.len() {
            let Some(session) = self.sessions.get_mut(index) else {
                continue;
            };
            let outcome = match session.due(now) {
                Due::Nothing => continue,
                Due::Dial => session
                    .dial(now)
                    .and_then(|stream| register(&self.epoll, stream, index)),
                Due::Keepalive => session.keepalive(now),
                Due::Expired(reason) => Err(reason.to_owned()),
            };
            self.settle(index, outcome, now, sink);
        }
    }

    fn accept(&mut self, now: Instant) -> Result<()> {
        let Some(listener) = &self.listener else {
            return Ok(());
        };
        loop {
            let (stream, remote) = match listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                // The peer is gone again before we took it: its own business.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error).context("accept"),
            };
            let local = stream.local_addr().map(|address| address.ip());
            let index = self.by_address.get(&remote.ip()).copied();
            let index =
                index.or_else(|| local.ok().and_then(|ip| self.by_address.get(&ip).copied()));
            let Some((index, session)) = index.and_then(|i| Some((i, self.sessions.get_mut(i)?)))
            else {
                continue;
            };
            // A session that has a connection keeps it: RFC 4271 section 6.8 is the daemon's to test.
            if session
                .adopt(stream, now)
                .and_then(|stream| register(&self.epoll, stream, index))
                .is_err()
            {
                session.down(now);
            }
        }
    }
}

fn register(
    epoll: &Epoll,
    stream: Option<&TcpStream>,
    index: usize,
) -> std::result::Result<(), String> {
    let Some(stream) = stream else {
        return Ok(());
    };
    let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT;
    epoll
        .add(stream, EpollEvent::new(flags, index as u64))
        .map_err(|error| format!("epoll: {error}"))
}
