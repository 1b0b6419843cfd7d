//! One TCP connection: dial it, read whole messages from it, write what is queued.

use std::future::Future;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::time::Duration;

use bytes::{Buf, Bytes};
use socket2::{SockRef, Socket};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio_util::codec::Decoder;

use super::codec::{FrameCodec, Incoming};
use super::signing::{KeyScope, Signing};
use super::sockopt;
use super::{Endpoint, Event};
use crate::session::{ConnectionId, DialError};

/// How long a dial may take before it is given up; a SYN is sent again after 1 and 3 seconds.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a closed connection may take to send its last octets (a NOTIFICATION).
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// Octets asked for in one read: several hundred small messages.
const READ_SIZE: usize = 64 * 1024;

/// Buffers in one vectored write.
const WRITE_SLICES: usize = 64;

/// The daemon's end of a connection.
#[derive(Debug)]
pub(super) struct Handle {
    outbound: mpsc::UnboundedSender<Bytes>,
    /// The key that it is to have from now on.
    key: watch::Sender<Option<Signing>>,
    tasks: Vec<AbortHandle>,
}

impl Handle {
    pub(super) fn send(&self, bytes: Bytes) {
        // A writer that is gone has reported why, or is about to.
        let _gone = self.outbound.send(bytes);
    }

    pub(super) fn sign(&self, signing: Signing) {
        self.key.send_replace(Some(signing));
    }

    /// Lets the writer finish what is queued, for a bounded time; the reader ends with it.
    pub(super) fn close(self) {
        let Self {
            outbound,
            key: _,
            tasks,
        } = self;
        drop(outbound);
        tokio::spawn(async move {
            // A peer that does not read must not keep the connection for ever.
            tokio::time::sleep(FLUSH_TIMEOUT).await;
            tasks.iter().for_each(AbortHandle::abort);
        });
    }

    pub(super) fn abort(self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

pub(super) fn dial<E>(id: ConnectionId, endpoint: Endpoint, events: mpsc::Sender<E>) -> Handle
where
    E: From<Event> + Send + 'static,
{
    let (outbound, queue) = mpsc::unbounded_channel();
    let (key, new_key) = watch::channel(None);
    let task = tokio::spawn(async move {
        let dialled = match tokio::time::timeout(DIAL_TIMEOUT, connect(&endpoint)).await {
            Ok(result) => result.map_err(|error| dial_error(&error)),
            Err(_elapsed) => Err(DialError::TimedOut),
        };
        let (stream, local) = match dialled {
            Ok(pair) => pair,
            Err(error) => {
                let failed = Event::DialFailed {
                    connection: id,
                    error,
                };
                let _gone = events.send(failed.into()).await;
                return;
            }
        };
        if events
            .send(
                Event::Connected {
                    connection: id,
                    local,
                }
                .into(),
            )
            .await
            .is_ok()
        {
            let orders = Orders {
                queue,
                key: new_key,
            };
            drive(id, stream, &endpoint, orders, events).await;
        }
    });
    Handle {
        outbound,
        key,
        tasks: vec![task.abort_handle()],
    }
}

pub(super) fn serve<E>(
    id: ConnectionId,
    stream: TcpStream,
    endpoint: &Endpoint,
    events: mpsc::Sender<E>,
) -> Handle
where
    E: From<Event> + Send + 'static,
{
    let (outbound, queue) = mpsc::unbounded_channel();
    let (key, new_key) = watch::channel(None);
    let orders = Orders {
        queue,
        key: new_key,
    };
    let endpoint = endpoint.clone();
    let task = tokio::spawn(async move { drive(id, stream, &endpoint, orders, events).await });
    Handle {
        outbound,
        key,
        tasks: vec![task.abort_handle()],
    }
}

async fn connect(endpoint: &Endpoint) -> io::Result<(TcpStream, SocketAddr)> {
    let ipv4 = endpoint.remote.is_ipv4();
    let socket = if ipv4 {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    endpoint
        .options
        .apply_to(&SockRef::from(&socket), endpoint.remote.ip())?;
    if let Some(source) = endpoint.source {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    socket.set_nodelay(true)?;
    let stream = socket.connect(endpoint.remote).await?;
    let local = stream.local_addr()?;
    Ok((stream, local))
}

fn dial_error(error: &io::Error) -> DialError {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => DialError::Refused,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            DialError::Unreachable
        }
        io::ErrorKind::TimedOut => DialError::TimedOut,
        _other => DialError::Other(error.to_string()),
    }
}

/// What the daemon's end has to say to a connection.
struct Orders {
    queue: mpsc::UnboundedReceiver<Bytes>,
    key: watch::Receiver<Option<Signing>>,
}

/// A key that a connection is to have from now on.
struct NewKey {
    orders: watch::Receiver<Option<Signing>>,
    peer: IpAddr,
}

impl NewKey {
    /// Waits until there is one.
    async fn wanted(&mut self) -> Signing {
        loop {
            if self.orders.changed().await.is_err() {
                // The daemon's end has let go: what is queued still leaves, with the key that it has.
                std::future::pending::<()>().await;
            }
            if let Some(signing) = self.orders.borrow_and_update().clone() {
                return signing;
            }
        }
    }
}

/// Serves both directions until one ends; reports exactly one `Closed`.
async fn drive<E>(
    id: ConnectionId,
    stream: TcpStream,
    endpoint: &Endpoint,
    orders: Orders,
    events: mpsc::Sender<E>,
) where
    E: From<Event>,
{
    let (read_half, write_half) = stream.into_split();
    let mut key = NewKey {
        orders: orders.key,
        peer: endpoint.remote.ip(),
    };
    let reader = read(id, read_half, endpoint.max_message, &mut key, &events);
    let writer = write(id, write_half, orders.queue, &events);
    let error = either(reader, writer)
        .await
        .err()
        .map(|error| describe(&error));
    let _gone = events
        .send(
            Event::Closed {
                connection: id,
                error,
            }
            .into(),
        )
        .await;
}

/// The result of whichever ends first.
async fn either<A, B>(reader: A, writer: B) -> io::Result<()>
where
    A: Future<Output = io::Result<()>>,
    B: Future<Output = io::Result<()>>,
{
    tokio::pin!(reader, writer);
    tokio::select! {
        result = &mut reader => {
            // The peer has closed its side; what it was owed (a NOTIFICATION) may still leave, but
            // waiting for more orders has no end.
            result
        }
        result = &mut writer => result,
    }
}

fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionReset => "connection reset by the peer".to_owned(),
        io::ErrorKind::UnexpectedEof => "closed in the middle of a message".to_owned(),
        io::ErrorKind::TimedOut => {
            "the peer has not acknowledged data for the hold time (TCP user timeout)".to_owned()
        }
        _other => error.to_string(),
    }
}

async fn read<E>(
    id: ConnectionId,
    mut half: OwnedReadHalf,
    max_message: usize,
    key: &mut NewKey,
    events: &mpsc::Sender<E>,
) -> io::Result<()>
where
    E: From<Event>,
{
    let mut codec = FrameCodec::new(max_message);
    let mut buffer = bytes::BytesMut::new();
    loop {
        // An idle connection holds no buffer: a thousand idle peers are the normal case. A new key
        // does not wait for what the peer may no longer be able to send.
        tokio::select! {
            ready = half.readable() => { ready?; }
            signing = key.wanted() => {
                sockopt::set_key(half.as_ref().as_fd(), KeyScope::host(key.peer), &signing)?;
                continue;
            }
        }
        buffer.reserve(READ_SIZE);
        let ended = half.read_buf(&mut buffer).await? == 0;
        loop {
            let decoded = if ended {
                codec.decode_eof(&mut buffer)?
            } else {
                codec.decode(&mut buffer)?
            };
            let Some(incoming) = decoded else { break };
            let bad = matches!(incoming, Incoming::Bad(_));
            let received = Event::Received {
                connection: id,
                incoming,
            };
            if events.send(received.into()).await.is_err() {
                return Ok(());
            }
            if bad {
                // Nothing behind a bad header means anything; the core closes.
                std::future::pending::<()>().await;
            }
        }
        if ended {
            return Ok(());
        }
        if buffer.is_empty() {
            buffer = bytes::BytesMut::new();
        }
    }
}

async fn write<E>(
    id: ConnectionId,
    mut half: OwnedWriteHalf,
    mut queue: mpsc::UnboundedReceiver<Bytes>,
    events: &mpsc::Sender<E>,
) -> io::Result<()>
where
    E: From<Event>,
{
    let mut batch: Vec<Bytes> = Vec::new();
    while queue.recv_many(&mut batch, WRITE_SLICES).await > 0 {
        let closing = queue.is_closed();
        while !batch.is_empty() {
            let written = if closing {
                match tokio::time::timeout(FLUSH_TIMEOUT, write_some(&mut half, &batch)).await {
                    Ok(result) => result?,
                    Err(_elapsed) => return Err(io::ErrorKind::TimedOut.into()),
                }
            } else {
                write_some(&mut half, &batch).await?
            };
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            advance(&mut batch, written);
            let sent = Event::Sent {
                connection: id,
                octets: written,
            };
            // A core that is busy reading must not stop the writing: skip the wait while closing.
            if !closing && events.send(sent.into()).await.is_err() {
                return Ok(());
            }
        }
    }
    half.shutdown().await
}

async fn write_some(half: &mut OwnedWriteHalf, batch: &[Bytes]) -> io::Result<usize> {
    let mut slices = [IoSlice::new(&[]); WRITE_SLICES];
    let mut count = 0;
    for (slot, bytes) in slices.iter_mut().zip(batch) {
        *slot = IoSlice::new(bytes);
        count += 1;
    }
    half.write_vectored(slices.get(..count).unwrap_or(&[]))
        .await
}

/// Drops the first `written` octets of the batch.
fn advance(batch: &mut Vec<Bytes>, mut written: usize) {
    let mut whole = 0;
    for bytes in batch.iter_mut() {
        if written < bytes.len() {
            bytes.advance(written);
            break;
        }
        written -= bytes.len();
        whole += 1;
    }
    batch.drain(..whole);
}

/// Closes a refused connection with a reset: no TIME_WAIT and no memory is spent on strangers.
pub(super) fn reset(stream: TcpStream) {
    if let Ok(stream) = stream.into_std() {
        let socket = Socket::from(stream);
        let _closing_anyway = socket.set_linger(Some(Duration::ZERO));
    }
}
