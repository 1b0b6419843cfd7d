//! TCP: bytes in, bytes out, and why a connection ended. No decision is taken here.
//!
//! One reader and one writer task a connection, one task a listening socket. Readers wait for room
//! in the daemon's bounded queue, so that a busy core slows the peers down and not the memory up.
//! Writers take from an unbounded queue that the core bounds by accounting: it is told of every
//! octet that has left ([`Event::Sent`]).

mod admission;
pub mod bfd;
pub mod codec;
mod connection;
mod listener;
mod neighbour;
mod signing;
mod sockopt;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

pub use listener::{Keys, Listener};
pub use neighbour::{Heard, Neighbours};
pub use signing::{AoMac, KeyScope, Signing};
pub use sockopt::{SocketOptions, has_tcp_ao};

use crate::session::{ConnectionId, DialError};
use codec::Incoming;

/// What the transport has to tell.
#[derive(Debug)]
pub enum Event {
    /// Somebody connected to a listening socket.
    Accepted {
        /// The connection, not yet served: [`Transport::adopt`] it or drop it.
        stream: TcpStream,
        /// Who.
        remote: SocketAddr,
        /// To which of our addresses.
        local: SocketAddr,
    },
    /// A dial succeeded.
    Connected {
        /// Which.
        connection: ConnectionId,
        /// Our address on it.
        local: SocketAddr,
    },
    /// A dial failed.
    DialFailed {
        /// Which.
        connection: ConnectionId,
        /// Why.
        error: DialError,
    },
    /// Whole messages, or a bad header, arrived.
    Received {
        /// On which connection.
        connection: ConnectionId,
        /// What.
        incoming: Incoming,
    },
    /// Octets have been handed to the kernel.
    Sent {
        /// On which connection.
        connection: ConnectionId,
        /// How many.
        octets: usize,
    },
    /// The connection is gone.
    Closed {
        /// Which.
        connection: ConnectionId,
        /// Why, if not by an orderly close.
        error: Option<String>,
    },
}

/// The settings of one dial or of one accepted connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The peer.
    pub remote: SocketAddr,
    /// The address to dial from.
    pub source: Option<std::net::IpAddr>,
    /// Socket options.
    pub options: SocketOptions,
    /// Largest message that we accept (RFC 8654).
    pub max_message: usize,
}

/// All connections of the daemon.
#[derive(Debug)]
pub struct Transport<E> {
    events: mpsc::Sender<E>,
    connections: BTreeMap<ConnectionId, connection::Handle>,
}

impl<E: From<Event> + Send + 'static> Transport<E> {
    /// A transport that reports into `events`.
    pub fn new(events: mpsc::Sender<E>) -> Self {
        Self {
            events,
            connections: BTreeMap::new(),
        }
    }

    /// Starts to connect; ends in `Connected` or `DialFailed`.
    pub fn dial(&mut self, connection: ConnectionId, endpoint: Endpoint) {
        let handle = connection::dial(connection, endpoint, self.events.clone());
        self.connections.insert(connection, handle);
    }

    /// Serves an accepted stream under the id `connection`.
    ///
    /// # Errors
    /// If the socket refuses its options.
    pub fn adopt(
        &mut self,
        connection: ConnectionId,
        stream: TcpStream,
        endpoint: &Endpoint,
    ) -> io::Result<()> {
        endpoint.options.apply(&stream)?;
        let handle = connection::serve(connection, stream, endpoint, self.events.clone());
        self.connections.insert(connection, handle);
        Ok(())
    }

    /// Queues `bytes`; they leave in order.
    pub fn send(&mut self, connection: ConnectionId, bytes: Bytes) {
        if let Some(handle) = self.connections.get(&connection) {
            handle.send(bytes);
        }
    }

    /// Changes the key of a connection in place. One that can't have it is closed: it must not go on
    /// with a key that is no longer right.
    pub fn sign(&mut self, connection: ConnectionId, signing: Signing) {
        if let Some(handle) = self.connections.get(&connection) {
            handle.sign(signing);
        }
    }

    /// Closes after what is queued has left.
    pub fn close(&mut self, connection: ConnectionId) {
        if let Some(handle) = self.connections.remove(&connection) {
            handle.close();
        }
    }

    /// Closes at once.
    pub fn abort(&mut self, connection: ConnectionId) {
        if let Some(handle) = self.connections.remove(&connection) {
            handle.abort();
        }
    }

    /// Forgets a connection that ended by itself.
    pub fn forget(&mut self, connection: ConnectionId) {
        self.abort(connection);
    }
}

/// Refuses a connection of a stranger with a reset.
pub fn refuse(stream: TcpStream) {
    connection::reset(stream);
}
