//! Which of two connections with one peer lives (RFC 4271 §6.8, RFC 6286 §2.3).
//!
//! A pure function of what both ends know, so that both come to the same verdict. It is asked when
//! an OPEN has arrived on one connection (the *new* one) while there is another.
//!
//! | the other is | and | verdict |
//! |---|---|---|
//! | a dial in progress, or waiting to send OPEN | | keep the new one: it is further |
//! | in OpenSent | | undecided: the other may still be refused |
//! | in OpenConfirm | we are the winner | keep what we dialled |
//! | in OpenConfirm | the peer is | undecided: the peer closes the loser, if both are its own |
//! | Established | the new one's OPEN could be the same peer's, come back ([`succeeds`]) | wait: the other is asked whether it lives |
//! | Established | otherwise | keep the other |
//!
//! RFC 4724 §4.2 would have an OPEN with the graceful restart capability take an established session over
//! at once. Whoever can call from the peer's address can send such an OPEN, and in a cluster that is any pod
//! whose packets leave with its node's address. So only the end of the old connection itself ends it.
//!
//! For the same reason no call ends a connection that we dialled and said OPEN on before it is a session itself:
//! where the peer is the winner, it is the peer that closes what we dialled, which waits a moment for that.
//!
//! The winner's connection is the one dialled by the side with the higher BGP Identifier, as an
//! unsigned number; between equal identifiers, by the side with the higher AS number.

use super::negotiate::Negotiated;
use crate::net::{Asn, Family, RouterId};

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
    /// Established.
    Established {
        /// The new OPEN could be the same peer's, come back.
        successor: bool,
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
    /// Keep both, the new one without a further word, until it is known whether the other lives.
    Wait,
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

/// Whether an OPEN could be that of the peer of a session, which has lost it without a word: it has the same
/// BGP Identifier and AS number, and where graceful restart was agreed on, it still takes part with a family
/// that is up.
pub fn succeeds(old: &Negotiated, new: &Negotiated) -> bool {
    let part = |session: &Negotiated, family: Family| {
        let restart = session.graceful_restart.as_ref();
        restart.is_some_and(|restart| family.of(&restart.families).is_some())
    };
    let mut kept = Family::ALL
        .into_iter()
        .filter(|family| *family.of(&old.families) && part(old, *family))
        .peekable();
    (old.remote_router_id, old.remote_asn) == (new.remote_router_id, new.remote_asn)
        && (kept.peek().is_none() || kept.any(|family| part(new, family)))
}

/// The verdict of the table above.
pub fn resolve(local: Party, remote: Party, new: Direction, other: Other) -> Verdict {
    match other {
        Other::Unopened => Verdict::KeepNew,
        Other::OpenSent => Verdict::Undecided,
        Other::OpenConfirm => match (winner(local, remote), new) {
            (Direction::Dialled, Direction::Dialled) => Verdict::KeepNew,
            (Direction::Dialled, Direction::Accepted) => Verdict::KeepOther,
            (Direction::Accepted, _) => Verdict::Undecided,
        },
        Other::Established { successor: true } => Verdict::Wait,
        Other::Established { successor: false } => Verdict::KeepOther,
    }
}
