//! One TCP connection: what of it has come but is no whole message yet, and what has still to leave.
//!
//! It waits for nothing and tells nobody; [`Transport`](super::Transport) asks it to read and to write
//! when that can succeed. What always holds: one that is idle has no memory but this struct.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use bytes::{Buf, Bytes};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::time::Instant;

use super::Endpoint;
use super::codec::Stream;
use super::descriptors::{Use, is_beyond};
use super::signing::{KeyScope, Signing};
use super::sockopt;
use crate::session::DialError;
use crate::wire::error::HeaderError;

/// Buffers in one vectored write.
const WRITE_SLICES: usize = 64;
/// Places in an empty queue that are not worth giving back.
const FEW: usize = 8;

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The peer has not answered yet.
    Dialling,
    /// Messages pass.
    Open,
    /// Nobody listens any more; what is queued may leave, and what comes is thrown away.
    Closing,
}

/// What a read has given.
#[derive(Debug)]
pub(super) struct Read<'b> {
    /// Whole messages.
    pub(super) messages: &'b [u8],
    /// What came behind them instead of a message.
    pub(super) bad: Option<HeaderError>,
    pub(super) rest: Rest,
}

/// What is behind a read.
#[derive(Debug)]
pub(super) enum Rest {
    /// Nothing now: it will be told when there is.
    Nothing,
    /// Perhaps more, of which nothing will be told.
    More,
    /// The end of the stream.
    End(io::Result<()>),
}

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    peer: IpAddr,
    pub(super) phase: Phase,
    incoming: Stream,
    outgoing: VecDeque<Bytes>,
    /// The kernel took no more; it will be told when it does.
    full: bool,
    /// The stream's end has come, behind whatever is unread.
    pub(super) ends: bool,
    /// Stands in the list of those to be read again.
    pub(super) unread: bool,
    /// Stands in the list of those to be written to.
    pub(super) unwritten: bool,
    /// When a dial, or a close, has taken too long.
    pub(super) deadline: Option<Instant>,
}

impl Connection {
    pub(super) fn new(stream: TcpStream, endpoint: &Endpoint, phase: Phase) -> Self {
        Self {
            stream,
            peer: endpoint.remote.ip(),
            phase,
            incoming: Stream::new(endpoint.max_message),
            outgoing: VecDeque::new(),
            full: false,
            ends: false,
            unread: false,
            unwritten: false,
            deadline: None,
        }
    }

    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// The key that it has from here on.
    pub(super) fn sign(&self, signing: &Signing) -> io::Result<()> {
        sockopt::set_key(self.stream.as_fd(), KeyScope::host(self.peer), signing)
    }

    /// Whether all that was queued has been acknowledged by the peer's host.
    pub(super) fn is_acknowledged(&self) -> bool {
        let all = sockopt::all_acknowledged(self.stream.as_fd());
        self.outgoing.is_empty() && all.unwrap_or(false)
    }

    /// Has the peer's host say whether it knows this connection.
    pub(super) fn knock(&self) {
        if let Err(error) = sockopt::knock(self.stream.as_fd()) {
            tracing::debug!(peer = %self.peer, %error, "a connection in doubt is probed by its next message only");
        }
    }

    /// Our address, once the peer has answered.
    pub(super) fn answered(&self) -> io::Result<Option<SocketAddr>> {
        if let Some(error) = self.stream.take_error()? {
            return Err(error);
        }
        match self.stream.peer_addr() {
            Ok(_) => self.stream.local_addr().map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether nothing behind what was read means anything.
    pub(super) const fn is_lost(&self) -> bool {
        self.incoming.is_lost()
    }

    /// One read, into a buffer that is longer than any message.
    pub(super) fn read<'b>(&mut self, buffer: &'b mut [u8]) -> Read<'b> {
        let only = |rest| Read {
            messages: &[],
            bad: None,
            rest,
        };
        let kept = self.incoming.kept();
        let (filled, asked) = (kept.len(), buffer.len().saturating_sub(kept.len()));
        let Some((front, space)) = buffer.split_at_mut_checked(filled) else {
            return only(Rest::Nothing);
        };
        front.copy_from_slice(kept);
        let count = match self.stream.read(space) {
            Ok(0) => return only(Rest::End(self.incoming.end())),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.ends = false;
                return only(Rest::Nothing);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return only(Rest::More),
            Err(error) => return only(Rest::End(Err(error))),
        };
        // Less than was asked for means that there was no more, but for the end.
        let rest = match count < asked && !self.ends {
            true => Rest::Nothing,
            false => Rest::More,
        };
        if self.phase == Phase::Closing {
            return only(rest);
        }
        let octets = buffer.get(..filled + count).unwrap_or_default();
        let (messages, bad) = self.incoming.cut(octets);
        Read {
            messages,
            bad,
            rest,
        }
    }

    /// Queues octets; whether it makes sense to write now.
    pub(super) fn queue(&mut self, bytes: Bytes) -> bool {
        if !bytes.is_empty() {
            self.outgoing.push_back(bytes);
        }
        self.wants_to_write()
    }

    /// There is room again; whether it makes sense to write now.
    pub(super) fn has_room(&mut self) -> bool {
        self.full = false;
        self.wants_to_write()
    }

    fn wants_to_write(&self) -> bool {
        self.phase != Phase::Dialling && !self.full && !self.outgoing.is_empty()
    }

    /// Whether all that was queued has left.
    pub(super) fn is_flushed(&self) -> bool {
        self.outgoing.is_empty()
    }

    /// Gives the kernel what it takes of the queue: how much it was, and what has gone wrong then.
    pub(super) fn write(&mut self) -> (usize, io::Result<()>) {
        let mut sent = 0;
        while !self.outgoing.is_empty() {
            match self.write_some() {
                Ok(0) => return (sent, Err(io::ErrorKind::WriteZero.into())),
                Ok(count) => {
                    sent += count;
                    self.advance(count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.full = true;
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return (sent, Err(error)),
            }
        }
        if self.outgoing.is_empty() && self.outgoing.capacity() > FEW {
            self.outgoing = VecDeque::new();
        }
        (sent, Ok(()))
    }

    fn write_some(&mut self) -> io::Result<usize> {
        if let (1, Some(only)) = (self.outgoing.len(), self.outgoing.front()) {
            return self.stream.write(only);
        }
        let mut slices = [IoSlice::new(&[]); WRITE_SLICES];
        let mut count = 0;
        for (slot, bytes) in slices.iter_mut().zip(&self.outgoing) {
            *slot = IoSlice::new(bytes);
            count += 1;
        }
        self.stream
            .write_vectored(slices.get(..count).unwrap_or(&[]))
    }

    /// Takes the first `written` octets out of the queue.
    fn advance(&mut self, mut written: usize) {
        while let Some(first) = self.outgoing.front_mut() {
            if written < first.len() {
                first.advance(written);
                return;
            }
            written -= first.len();
            self.outgoing.pop_front();
        }
    }

    /// Nothing more is queued from here on, and nobody wants to know what comes.
    pub(super) fn begin_to_close(&mut self) {
        self.phase = Phase::Closing;
        self.incoming = Stream::new(0);
    }

    /// Tells the peer that this was all.
    pub(super) fn say_end(&self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }
}

/// Begins to connect.
pub(super) fn dial(endpoint: &Endpoint) -> Result<TcpStream, DialError> {
    let socket = bound(endpoint).map_err(|error| match (error.kind(), endpoint.source) {
        (io::ErrorKind::AddrNotAvailable, Some(source)) => DialError::NotOurs(source),
        _other => dial_error(&error),
    })?;
    match socket.connect(&endpoint.remote.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(dial_error(&error)),
        _under_way => Ok(socket.into()),
    }
}

/// A socket with what has to be there before it connects.
fn bound(endpoint: &Endpoint) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(endpoint.remote),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if is_beyond(&socket, Use::Dial) {
        return Err(io::Error::from_raw_os_error(libc::EMFILE));
    }
    socket.set_nonblocking(true)?;
    endpoint
        .options
        .apply_to(&SockRef::from(&socket), endpoint.remote.ip())?;
    if let Some(source) = endpoint.source {
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    socket.set_tcp_nodelay(true)?;
    Ok(socket)
}

/// How a dial has failed.
pub(super) fn dial_error(error: &io::Error) -> DialError {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => DialError::Refused,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            DialError::Unreachable
        }
        io::ErrorKind::TimedOut => DialError::TimedOut,
        _other => DialError::Other(error.to_string()),
    }
}

/// Why a connection has ended.
pub(super) fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionReset => "connection reset by the peer".to_owned(),
        io::ErrorKind::UnexpectedEof => "closed in the middle of a message".to_owned(),
        io::ErrorKind::TimedOut => {
            "the peer has not acknowledged data for the hold time (TCP user timeout)".to_owned()
        }
        _other => error.to_string(),
    }
}

/// Closes a refused connection with a reset: no TIME_WAIT and no memory is spent on strangers.
pub(super) fn reset(stream: TcpStream) {
    let socket = Socket::from(stream);
    let _closing_anyway = socket.set_linger(Some(Duration::ZERO));
}

#[cfg(test)]
mod tests {
    use super::super::SocketOptions;
    use super::*;
    use crate::wire::frame;
    use std::net::{Ipv4Addr, TcpListener};

    #[test]
    fn an_idle_connection_holds_no_memory() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let endpoint = Endpoint {
            remote: listener.local_addr().unwrap(),
            source: None,
            options: SocketOptions::default(),
            max_message: frame::MAX_LEN,
        };
        let stream = TcpStream::connect(endpoint.remote).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        let mut connection = Connection::new(stream, &endpoint, Phase::Open);
        let mut buffer = [0; 2 * frame::MAX_LEN];
        peer.write_all(&frame::KEEPALIVE[..10]).unwrap();
        assert!(connection.read(&mut buffer).messages.is_empty());
        assert_eq!(connection.incoming.kept(), &frame::KEEPALIVE[..10]);
        peer.write_all(&frame::KEEPALIVE[10..]).unwrap();
        assert_eq!(connection.read(&mut buffer).messages, frame::KEEPALIVE);
        for _ in 0..1_000 {
            connection.queue(Bytes::from_static(&frame::KEEPALIVE));
        }
        assert_eq!(connection.write().0, 19_000);
        assert!(connection.incoming.holds_nothing());
        assert_eq!(connection.outgoing.capacity(), 0);
        assert!(size_of::<Connection>() <= 256);
    }
}
