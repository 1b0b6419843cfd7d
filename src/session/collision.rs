//! Which of two connections with one peer lives (RFC 4271 §6.8, RFC 6286 §2.3, RFC 4724 §4.2).
//!
//! A pure function of what both ends know, so that both come to the same verdict. It is asked when
//! an OPEN has arrived on one connection (the *new* one) while there is another.
//!
//! | the other is | and | verdict |
//! |---|---|---|
//! | a dial in progress, or waiting to send OPEN | | keep the new one: it is further |
//! | in OpenSent | | undecided: the other may still be refused |
//! | in OpenConfirm | the new one is the winner's | keep the new one |
//! | in OpenConfirm | the new one is the loser's | keep the other |
//! | Established | the peer has graceful restart | keep the new one: the peer has restarted |
//! | Established | otherwise | keep the other |
//!
//! The winner's connection is the one dialled by the side with the higher BGP Identifier, as an
//! unsigned number; between equal identifiers, by the side with the higher AS number.

use crate::net::{Asn, RouterId};

/// Who dialled a connection, seen from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// We did.
    Dialled,
    /// The peer did.
    Accepted,
}

/// One end of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Party {
    /// BGP Identifier.
    pub router_id: RouterId,
    /// AS number.
    pub asn: Asn,
}

/// How far the other connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Other {
    /// We have sent no OPEN on it.
    Unopened,
    /// OpenSent.
    OpenSent,
    /// OpenConfirm.
    OpenConfirm,
    /// Established; whether graceful restart was agreed on.
    Established {
        /// Graceful restart was agreed on.
        restartable: bool,
    },
}

/// What to do with the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Close the other.
    KeepNew,
    /// Close the new one.
    KeepOther,
    /// Keep both for now.
    Undecided,
}

/// The connection that outlives a collision between equals.
pub fn winner(local: Party, remote: Party) -> Direction {
    // Two ends that are equal in both would be one speaker; `negotiate` refuses that before.
    if local > remote {
        Direction::Dialled
    } else {
        Direction::Accepted
    }
}

/// The verdict of the table above.
pub fn resolve(local: Party, remote: Party, new: Direction, other: Other) -> Verdict {
    match other {
        Other::Unopened | Other::Established { restartable: true } => Verdict::KeepNew,
        Other::OpenSent => Verdict::Undecided,
        Other::OpenConfirm if winner(local, remote) == new => Verdict::KeepNew,
        Other::OpenConfirm | Other::Established { restartable: false } => Verdict::KeepOther,
    }
}
