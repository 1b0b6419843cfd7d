//! What a [`Peer`](super::Peer) is told, and what it wants done.
//!
//! The driver (the speaker) owns sockets and byte queues. It gives inputs in the order in which
//! things happened on a connection, and carries out the outputs in the order given.

use bytes::Bytes;
use core::fmt;
use std::sync::Arc;

use super::negotiate::Negotiated;
use super::reason::CloseReason;
use crate::net::Family;
use crate::wire::error::HeaderError;
use crate::wire::frame::MessageKind;
use crate::wire::notification::Notification;
use crate::wire::route_refresh::RouteRefresh;

/// One TCP connection or attempt; never reused within a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// Issues [`ConnectionId`]s, to dials and to accepted connections alike.
#[derive(Debug, Default)]
pub struct ConnectionIds(u64);

impl ConnectionIds {
    /// A fresh id.
    pub fn issue(&mut self) -> ConnectionId {
        self.0 += 1;
        ConnectionId(self.0)
    }
}

/// Why a peer is to stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopReason {
    /// An operator shut it down: Cease 6/2 with this text (RFC 9003).
    AdminShutdown(String),
    /// It is no longer configured: Cease 6/3.
    Deconfigured,
    /// It sent more prefixes than allowed, and is to be left alone: Cease 6/1.
    PrefixLimit(Exceeded),
    /// This process ends, and the peer keeps no routes of it in any case: Cease 6/2, so that it knows at once.
    ProcessEnds,
    /// This process restarts and keeps its routes in the kernel: the connection is closed without a
    /// word, so that the peer applies graceful restart.
    Quiet,
}

/// More prefixes than a peer may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Exceeded {
    /// Of which family.
    pub family: Family,
    /// So many may come.
    pub max: u32,
    /// So many had come when it was noticed; there may be more.
    pub count: u32,
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { family, max, count } = self;
        write!(f, "{count} of {family}, and max-prefixes is {max}")
    }
}

/// Why a dial came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    /// The host answered with a reset.
    #[error("connection refused")]
    Refused,
    /// No route to the host or network.
    #[error("unreachable")]
    Unreachable,
    /// Nothing answered.
    #[error("timed out")]
    TimedOut,
    /// The address that it was to leave from is not one of this host.
    #[error("{0} is not an address of this host")]
    NotOurs(std::net::IpAddr),
    /// Anything else, in the words of the system.
    #[error("{0}")]
    Other(String),
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input<'a> {
    /// The peer is wanted (RFC 4271 event 1). Forgets any back-off.
    Start,
    /// The peer is not wanted for now (event 2).
    Stop(StopReason),
    /// An operator wants a fresh session: Cease 6/4.
    Reset,
    /// The session must be renegotiated for a change outside [`PeerConfig`](super::PeerConfig): Cease 6/6.
    ConfigurationChange,
    /// The peer sent more prefixes than allowed: Cease 6/1.
    PrefixLimit(Exceeded),
    /// BFD found the far end down: Cease 6/10, and whatever was agreed on restarts its routes go.
    FarEndDown,
    /// A dial succeeded.
    Connected {
        /// As given in [`Output::Dial`].
        connection: ConnectionId,
    },
    /// A dial failed.
    DialFailed {
        /// As given in [`Output::Dial`].
        connection: ConnectionId,
        /// Why.
        error: DialError,
    },
    /// The listener accepted a connection from this peer's address.
    Accepted {
        /// Fresh from [`ConnectionIds`].
        connection: ConnectionId,
    },
    /// The connection is gone, by whichever side's doing.
    Closed {
        /// Which; unknown ids are ignored.
        connection: ConnectionId,
        /// What the system said, if it was not a plain end of stream.
        error: Option<String>,
    },
    /// A whole message has arrived.
    Message {
        /// On which connection.
        connection: ConnectionId,
        /// Its type.
        kind: MessageKind,
        /// What follows the header.
        body: &'a [u8],
    },
    /// A header was bad; nothing that follows it can be read.
    BadHeader {
        /// On which connection.
        connection: ConnectionId,
        /// What is wrong with it.
        error: HeaderError,
    },
    /// The driver found an UPDATE that only a session reset answers (RFC 7606 §2).
    UpdateFailed {
        /// On which connection.
        connection: ConnectionId,
        /// What to tell the peer.
        notification: Notification,
    },
    /// Bytes have left for the kernel: the SendHold timer ends. If bytes are still queued,
    /// [`Input::SendBlocked`] must follow.
    Sent {
        /// On which connection.
        connection: ConnectionId,
    },
    /// Bytes are queued that the kernel does not take: the SendHold timer starts, unless it runs
    /// (RFC 9687).
    SendBlocked {
        /// On which connection.
        connection: ConnectionId,
    },
    /// The peer's host has acknowledged all that was sent before [`Output::Probe`].
    Acknowledged {
        /// On which connection.
        connection: ConnectionId,
    },
}

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Open a TCP connection; answer with `Connected`, `DialFailed` or `Closed`.
    Dial {
        /// The id of the attempt.
        connection: ConnectionId,
    },
    /// Queue these bytes.
    Send {
        /// On which connection.
        connection: ConnectionId,
        /// One whole message.
        bytes: Bytes,
    },
    /// Close once the queued bytes are flushed. The driver bounds the time of that: a peer that
    /// does not read must not hold the socket.
    Close {
        /// Which connection.
        connection: ConnectionId,
    },
    /// Find out whether the far end of a session still has this connection, and answer with
    /// [`Input::Acknowledged`] if it does and with [`Input::Closed`] if it does not. What its host does with
    /// octets that were sent is an answer; a message that was received is none, since it may be older.
    Probe {
        /// Which connection.
        connection: ConnectionId,
    },
    /// Close at once, whatever is queued.
    Abort {
        /// Which connection or attempt.
        connection: ConnectionId,
    },
    /// A session is established.
    Up {
        /// On which connection.
        connection: ConnectionId,
        /// What both sides can do.
        negotiated: Arc<Negotiated>,
    },
    /// The UPDATE just passed in is to be processed.
    Update {
        /// On which connection.
        connection: ConnectionId,
    },
    /// The peer asks for its routes again, or marks the begin or end of its answer.
    RouteRefresh {
        /// On which connection.
        connection: ConnectionId,
        /// The message.
        message: RouteRefresh,
    },
    /// The session that was [`Output::Up`] has ended.
    Down {
        /// On which connection.
        connection: ConnectionId,
        /// Who ended it and how.
        reason: CloseReason,
    },
}
