//! One session of the generator: a socket, the OPEN exchange, two timers and a queue of bytes to write.
//!
//! Not a full state machine: no collision handling, no policy, no graceful restart. Bytes of the daemon under
//! test end the session at worst.

use crate::wire::{self, Frame};
use nix::sys::epoll::EpollFlags;
use socket2::{Domain, SockRef, Socket, Type};
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// At most this much is written before the other sessions get their turn.
const WRITE_QUANTUM: usize = 1 << 20;
/// The receive buffer of a session that reads nothing, and of one that reads again.
const DEAF_BUFFER: usize = 32 << 10;
const HEARING_BUFFER: usize = 1 << 20;

/// Who a session claims to be, and whom it talks to.
#[derive(Debug, Clone)]
pub(crate) struct PeerConfig {
    /// The generator's address for this session.
    pub(crate) local: IpAddr,
    /// The daemon under test.
    pub(crate) remote: SocketAddr,
    /// BGP identifier.
    pub(crate) id: Ipv4Addr,
    /// The generator's AS number.
    pub(crate) asn: u32,
    /// Offered hold time in seconds.
    pub(crate) hold_time: u16,
    /// Whether to offer four-octet AS numbers (RFC 6793).
    pub(crate) four_octet: bool,
    /// Sent in place of an OPEN, whatever it is.
    pub(crate) opening: Option<Arc<Vec<u8>>>,
    /// Who connects.
    pub(crate) role: Role,
}

/// Who connects.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Role {
    /// The generator dials.
    Dial(Patience),
    /// The daemon dials; the connection is found by the generator's own address or by the remote one.
    Accept {
        /// By the generator's address.
        by_local: bool,
    },
}

/// How long an attempt may take, and how long to wait before the next.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// From SYN to Established.
    pub(crate) attempt: Duration,
    /// Pause after a failed attempt or a lost session.
    pub(crate) retry: Duration,
}

/// What a session tells its owner.
pub(crate) enum Event<'a> {
    /// The session is up.
    Established,
    /// A message other than OPEN and KEEPALIVE in an Established session.
    Message(&'a Frame<'a>),
    /// The session or the attempt ended.
    Down {
        /// It had been Established.
        established: bool,
        /// Why, for people.
        reason: &'a str,
    },
}

/// How far a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// No connection; `at` is when to dial.
    Idle {
        /// `None` for sessions that accept.
        at: Option<Instant>,
    },
    /// The connection is being made.
    Connecting {
        /// The end of the attempt.
        until: Instant,
    },
    /// OPEN is sent, theirs (or their first KEEPALIVE) is awaited.
    Opening {
        /// The end of the attempt.
        until: Instant,
    },
    /// Up.
    Established,
}

/// What is due on a session.
pub(crate) enum Due {
    /// Nothing.
    Nothing,
    /// Connect.
    Dial,
    /// Send a KEEPALIVE.
    Keepalive,
    /// The attempt or the hold time is over.
    Expired(&'static str),
}

/// One session.
pub(crate) struct Session {
    config: PeerConfig,
    phase: Phase,
    stream: Option<TcpStream>,
    received: Vec<u8>,
    unsent: VecDeque<Arc<Vec<u8>>>,
    /// How much of the first of `unsent` is written.
    written: usize,
    watching: EpollFlags,
    hold: Option<Duration>,
    heard: Instant,
    keepalive_at: Instant,
    got_open: bool,
    /// The body of the last NOTIFICATION of this connection.
    said: Option<Vec<u8>>,
    /// The longest time in which the daemon said nothing while the session was up.
    silence: Duration,
    /// The most that a KEEPALIVE of this side's own was late.
    late: Duration,
    /// Nothing is read any more, while KEEPALIVEs go on.
    deaf: bool,
    /// KEEPALIVEs received.
    pub(crate) keepalives: usize,
    /// Connections tried or accepted.
    pub(crate) attempts: usize,
}

impl Session {
    /// An idle session; one that dials does so at `start`.
    pub(crate) fn new(config: PeerConfig, start: Instant) -> Self {
        let at = matches!(config.role, Role::Dial(_)).then_some(start);
        Self {
            config,
            phase: Phase::Idle { at },
            stream: None,
            received: Vec::new(),
            unsent: VecDeque::new(),
            written: 0,
            watching: EpollFlags::empty(),
            hold: None,
            heard: start,
            keepalive_at: start,
            got_open: false,
            said: None,
            silence: Duration::ZERO,
            late: Duration::ZERO,
            deaf: false,
            keepalives: 0,
            attempts: 0,
        }
    }

    /// How far it is.
    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether it is up.
    pub(crate) fn is_established(&self) -> bool {
        self.phase == Phase::Established
    }

    /// Begins to connect. `None`: there is nothing to watch.
    pub(crate) fn dial(&mut self, now: Instant) -> Result<Option<&TcpStream>, String> {
        let Role::Dial(patience) = self.config.role else {
            return Ok(None);
        };
        self.attempts += 1;
        self.said = None;
        self.phase = Phase::Connecting {
            until: now + patience.attempt,
        };
        let connect = || {
            let socket = Socket::new(Domain::for_address(self.config.remote), Type::STREAM, None)?;
            socket.set_nonblocking(true)?;
            socket.set_tcp_nodelay(true)?;
            socket.bind(&SocketAddr::new(self.config.local, 0).into())?;
            match socket.connect(&self.config.remote.into()) {
                Err(error)
                    if error.raw_os_error() != Some(nix::errno::Errno::EINPROGRESS as i32) =>
                {
                    Err(error)
                }
                Ok(()) | Err(_) => Ok(TcpStream::from(socket)),
            }
        };
        let stream = connect().map_err(|error| format!("connect: {error}"))?;
        Ok(Some(self.attach(stream)))
    }

    /// Takes an accepted connection, unless there is one. `None`: there is nothing to watch.
    pub(crate) fn adopt(
        &mut self,
        stream: TcpStream,
        now: Instant,
    ) -> Result<Option<&TcpStream>, String> {
        if self.stream.is_some() {
            return Ok(None);
        }
        stream
            .set_nonblocking(true)
            .map_err(|error| error.to_string())?;
        stream
            .set_nodelay(true)
            .map_err(|error| error.to_string())?;
        self.attempts += 1;
        self.phase = Phase::Opening {
            until: now + Duration::from_secs(240),
        };
        self.unsent.push_back(self.open());
        Ok(Some(self.attach(stream)))
    }

    fn attach(&mut self, stream: TcpStream) -> &TcpStream {
        self.watching = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT;
        self.stream.insert(stream)
    }

    fn open(&self) -> Arc<Vec<u8>> {
        if let Some(opening) = &self.config.opening {
            return Arc::clone(opening);
        }
        let PeerConfig {
            asn,
            hold_time,
            id,
            four_octet,
            ..
        } = self.config;
        Arc::new(wire::open(asn, hold_time, id, four_octet))
    }

    /// The socket is ready while connecting: sends OPEN, or says why there is no connection.
    pub(crate) fn connected(&mut self) -> Result<(), String> {
        let stream = self.stream.as_ref().ok_or("no socket")?;
        match stream.take_error() {
            Ok(None) => {}
            Ok(Some(error)) | Err(error) => return Err(format!("connect: {error}")),
        }
        if let Phase::Connecting { until } = self.phase {
            self.phase = Phase::Opening { until };
            self.unsent.push_back(self.open());
        }
        Ok(())
    }

    /// Queues bytes.
    pub(crate) fn queue(&mut self, bytes: Arc<Vec<u8>>) {
        if self.stream.is_some() && !bytes.is_empty() {
            self.unsent.push_back(bytes);
        }
    }

    /// Writes until the socket is full or the quantum is used up.
    pub(crate) fn flush(&mut self) -> Result<(), String> {
        if matches!(self.phase, Phase::Connecting { .. }) {
            return Ok(());
        }
        let Some(stream) = &mut self.stream else {
            return Ok(());
        };
        let mut quantum = WRITE_QUANTUM;
        while let Some(first) = self.unsent.front() {
            let rest = first.get(self.written..).unwrap_or_default();
            match stream.write(rest.get(..quantum).unwrap_or(rest)) {
                Ok(count) => {
                    self.written += count;
                    quantum = quantum.saturating_sub(count);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(format!("write: {error}")),
            }
            if self.written >= first.len() {
                self.unsent.pop_front();
                self.written = 0;
            }
            if quantum == 0 {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Reads once and handles every complete message.
    pub(crate) fn read(
        &mut self,
        scratch: &mut [u8],
        now: Instant,
        sink: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), String> {
        let stream = self.stream.as_mut().ok_or("no socket")?;
        if self.deaf {
            // epoll tells of errors even unasked.
            return match stream.take_error() {
                Ok(Some(error)) | Err(error) => Err(format!("while deaf: {error}")),
                Ok(None) => Err("closed while deaf".to_owned()),
            };
        }
        let count = match stream.read(scratch) {
            Ok(0) => return Err("closed by the daemon".to_owned()),
            Ok(count) => count,
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                return Ok(());
            }
            Err(error) => return Err(format!("read: {error}")),
        };
        if self.is_established() {
            self.silence = self.silence.max(now.saturating_duration_since(self.heard));
        }
        self.heard = now;
        let fresh = scratch.get(..count).unwrap_or_default();
        let mut kept = std::mem::take(&mut self.received);
        if kept.is_empty() {
            let used = self.messages(fresh, now, sink)?;
            kept.extend_from_slice(fresh.get(used..).unwrap_or_default());
        } else {
            kept.extend_from_slice(fresh);
            let used = self.messages(&kept, now, sink)?;
            kept.drain(..used);
        }
        self.received = kept;
        Ok(())
    }

    fn messages(
        &mut self,
        bytes: &[u8],
        now: Instant,
        sink: &mut dyn FnMut(Event<'_>),
    ) -> Result<usize, String> {
        let mut used = 0;
        while let Some(frame) =
            wire::next_frame(bytes.get(used..).unwrap_or_default()).map_err(|e| e.to_string())?
        {
            used += frame.whole.len();
            self.message(&frame, now, sink)?;
        }
        Ok(used)
    }

    fn message(
        &mut self,
        frame: &Frame<'_>,
        now: Instant,
        sink: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), String> {
        match frame.kind {
            wire::NOTIFICATION => {
                let code = frame.body.first().copied().unwrap_or(0);
                let subcode = frame.body.get(1).copied().unwrap_or(0);
                self.said = Some(frame.body.to_vec());
                return Err(format!("NOTIFICATION {code}/{subcode}"));
            }
            wire::OPEN => {
                let offered = match frame.body.get(3..5) {
                    Some(&[high, low]) => u16::from_be_bytes([high, low]),
                    Some(_) | None => return Err("short OPEN".to_owned()),
                };
                let seconds = offered.min(self.config.hold_time);
                self.hold = (seconds > 0).then(|| Duration::from_secs(u64::from(seconds)));
                self.got_open = true;
                self.unsent.push_back(Arc::new(wire::keepalive()));
            }
            wire::KEEPALIVE if self.got_open && !self.is_established() => {
                self.phase = Phase::Established;
                self.keepalive_at = now + self.hold.unwrap_or_default() / 3;
                sink(Event::Established);
            }
            wire::KEEPALIVE => self.keepalives += 1,
            _ => sink(Event::Message(frame)),
        }
        Ok(())
    }

    /// What a timer asks for.
    pub(crate) fn due(&self, now: Instant) -> Due {
        match self.phase {
            Phase::Idle { at: Some(at) } if at <= now => Due::Dial,
            Phase::Connecting { until } | Phase::Opening { until } if until <= now => {
                Due::Expired("the attempt took too long")
            }
            Phase::Idle { .. } | Phase::Connecting { .. } | Phase::Opening { .. } => Due::Nothing,
            Phase::Established => match self.hold {
                Some(hold) if !self.deaf && now.saturating_duration_since(self.heard) > hold => {
                    Due::Expired("hold timer expired: the daemon was silent")
                }
                Some(_) if self.keepalive_at <= now => Due::Keepalive,
                Some(_) | None => Due::Nothing,
            },
        }
    }

    /// Queues a KEEPALIVE and sets the time of the next.
    pub(crate) fn keepalive(&mut self, now: Instant) -> Result<(), String> {
        let late = now.saturating_duration_since(self.keepalive_at);
        self.late = self.late.max(late);
        self.keepalive_at = now + self.hold.unwrap_or_default() / 3;
        // Behind a queue of UPDATEs a KEEPALIVE says nothing the UPDATEs don't.
        if self.unsent.is_empty() {
            self.unsent.push_back(Arc::new(wire::keepalive()));
        }
        self.flush()
    }

    /// The body of the last NOTIFICATION on the current or the last connection.
    pub(crate) fn said(&self) -> Option<&[u8]> {
        self.said.as_deref()
    }

    /// The longest time in which the daemon said nothing while the session was up.
    pub(crate) fn silence(&self) -> Duration {
        self.silence
    }

    /// The most that a KEEPALIVE of this side's own was late.
    pub(crate) fn late(&self) -> Duration {
        self.late
    }

    /// Reads nothing any more, or reads again. Deaf, its receive buffer no longer grows: what the daemon can get rid
    /// of to it is small from then on.
    pub(crate) fn set_deaf(&mut self, deaf: bool, now: Instant) -> std::io::Result<()> {
        self.deaf = deaf;
        self.heard = now;
        match &self.stream {
            Some(stream) if deaf => SockRef::from(stream).set_recv_buffer_size(DEAF_BUFFER),
            Some(stream) => SockRef::from(stream).set_recv_buffer_size(HEARING_BUFFER),
            None => Ok(()),
        }
    }

    /// Drops the connection and dials again soon. The daemon is told with a Cease (RFC 4486), unless what was
    /// sent before is out of step, so that this would be taken for the rest of it.
    pub(crate) fn restart(&mut self, in_step: bool, now: Instant) {
        if in_step && self.unsent.is_empty() && self.stream.is_some() {
            self.unsent.push_back(Arc::new(wire::cease()));
            // If it does not leave at once, the daemon sees a lost connection: worse, but no fault.
            let _ = self.flush();
        }
        self.down(now);
        // A moment for the daemon to see the old connection go, so that the new one is no collision.
        self.phase = Phase::Idle {
            at: Some(now + Duration::from_millis(5)),
        };
    }

    /// Drops the connection and everything that belongs to it.
    pub(crate) fn down(&mut self, now: Instant) {
        let at = match self.config.role {
            Role::Dial(patience) => Some(now + patience.retry),
            Role::Accept { .. } => None,
        };
        self.phase = Phase::Idle { at };
        self.stream = None;
        self.received.clear();
        self.unsent.clear();
        self.written = 0;
        self.hold = None;
        self.got_open = false;
        self.deaf = false;
    }

    /// The socket and what to watch it for, if that differs from what is watched.
    pub(crate) fn interest_change(&mut self) -> Option<(&TcpStream, EpollFlags)> {
        let mut want = EpollFlags::EPOLLIN;
        want.set(EpollFlags::EPOLLIN, !self.deaf);
        if !self.unsent.is_empty() || matches!(self.phase, Phase::Connecting { .. }) {
            want |= EpollFlags::EPOLLOUT;
        }
        let stream = self.stream.as_ref()?;
        let changed = want != self.watching;
        self.watching = want;
        changed.then_some((stream, want))
    }
}
