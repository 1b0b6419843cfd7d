//! TCP: bytes in, bytes out, and why a connection ended. No decision is taken here.
//!
//! No task, no channel and no timer a connection: [`Transport`] owns all of them, and the daemon's task
//! turns it round. A turn asks one epoll which sockets are ready (`readiness`), reads each of them once
//! into one shared buffer and hands the whole messages over where they lie; then the daemon decides, and
//! what it has queued leaves in one system call for each peer. How many octets left is told in the same
//! turn, so that the core, which bounds what is queued by that account, goes on while the kernel takes
//! more. A peer that sends faster than we read is slowed down by its own socket.
//!
//! Listening sockets and neighbours have a task each and report into the daemon's bounded queue.

mod admission;
pub mod bfd;
pub mod codec;
mod connection;
mod connections;
mod descriptors;
mod least_ttl;
mod listener;
mod neighbour;
mod readiness;
mod signing;
mod sockopt;

use std::net::{SocketAddr, TcpStream};

pub use connections::Transport;
pub use descriptors::shortage;
pub use least_ttl::LeastTtls;
pub use listener::{Keys, Listener};
pub use neighbour::{Heard, Neighbours};
pub use signing::{AoMac, KeyScope, Signing};
pub use sockopt::{SocketOptions, has_tcp_ao};

use crate::session::{ConnectionId, DialError};
use crate::wire::error::HeaderError;

/// Somebody connected to a listening socket.
#[derive(Debug)]
pub struct Accepted {
    /// The connection, not yet served: [`Transport::adopt`] it or [`refuse`] it.
    pub stream: TcpStream,
    /// Who.
    pub remote: SocketAddr,
    /// To which of our addresses.
    pub local: SocketAddr,
    /// The TTL or hop limit of its SYN, if the kernel has kept it.
    pub ttl: Option<u8>,
}

/// What a connection has to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<'a> {
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
    /// Messages arrived.
    Received {
        /// On which connection.
        connection: ConnectionId,
        /// One or more, whole and checked.
        messages: &'a [u8],
    },
    /// A header made no sense; nothing more comes of this connection.
    BadHeader {
        /// On which connection.
        connection: ConnectionId,
        /// What was wrong.
        error: HeaderError,
    },
    /// Octets have been handed to the kernel.
    Sent {
        /// On which connection.
        connection: ConnectionId,
        /// How many.
        octets: usize,
    },
    /// The far end's host has acknowledged all that was queued before [`Transport::probe`].
    Acknowledged {
        /// On which connection.
        connection: ConnectionId,
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

/// Refuses a connection of a stranger with a reset.
pub fn refuse(stream: TcpStream) {
    connection::reset(stream);
}
