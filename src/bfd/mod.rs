//! Bidirectional forwarding detection (RFC 5880, 5881 single hop, 5883 multihop): whether packets pass
//! between two systems, known in a fraction of a second. Pure: time is given, datagrams go in and out.
//!
//! [`Machine`] holds all sessions; one of them is a state machine of three states and four timers.
//! Asynchronous mode only: both ends send at the pace that the slower one can take. It knows nothing of
//! BGP: who is to be watched comes in as a list, what is seen goes out as a [`Report`].
//!
//! What always holds: whatever arrives, nothing panics, nothing grows, and no more than one packet leaves
//! for each that came and each interval; a far end that says that its operator took the session down, or
//! whose process has begun anew, is no failure; nobody who is neither on the link nor knows the names (or,
//! where packets are signed, the key) takes down what is up.
//!
//! Not here: demand mode of our own, echo. A far end that asks for demand mode gets it.

mod entry;
mod machine;
mod packet;
mod refusal;
mod session;
mod signing;

use std::net::IpAddr;

use crate::time::{Duration, Instant};

pub use machine::{Arrival, Discard, Machine, Transmit};
pub use packet::{Diagnostic, LENGTH, Packet, PacketError, State};
pub use refusal::{Dropped, Refusal};
pub use signing::{Algorithm, Authentication, CHANGEOVER, Key, LONGEST_KEY, SIGNED_LENGTH};

/// Where single-hop packets go (RFC 5881 §4).
pub const SINGLE_HOP_PORT: u16 = 3784;
/// Where multihop packets go (RFC 5883 §5).
pub const MULTIHOP_PORT: u16 = 4784;

/// One path that is watched: a session's name on both floors above and below.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FarEnd {
    /// The address of the far end.
    pub remote: IpAddr,
    /// Our address; `None` leaves it to the kernel.
    pub local: Option<IpAddr>,
    /// The link, where the address is a link-local one.
    pub interface: Option<String>,
}

/// How far away the far end may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hops {
    /// On one link: nothing forwards the packets, which their TTL proves.
    Single,
    /// Behind routers.
    Multi,
}

impl Hops {
    /// The port that packets go to.
    pub const fn port(self) -> u16 {
        match self {
            Self::Single => SINGLE_HOP_PORT,
            Self::Multi => MULTIHOP_PORT,
        }
    }
}

/// How fast a failure is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    min_transmit: Duration,
    min_receive: Duration,
    multiplier: u8,
}

impl Terms {
    /// No interval is shorter: more than a hundred packets a second and session help nobody.
    pub const SHORTEST: Duration = Duration::from_millis(10);
    /// No interval is longer.
    pub const LONGEST: Duration = Duration::from_secs(60);

    /// These, within what makes sense: intervals between [`SHORTEST`](Self::SHORTEST) and
    /// [`LONGEST`](Self::LONGEST), at least one packet.
    pub fn new(min_transmit: Duration, min_receive: Duration, multiplier: u8) -> Self {
        Self {
            min_transmit: min_transmit.clamp(Self::SHORTEST, Self::LONGEST),
            min_receive: min_receive.clamp(Self::SHORTEST, Self::LONGEST),
            multiplier: multiplier.max(1),
        }
    }

    /// The interval at which we want to send.
    pub const fn min_transmit(&self) -> Duration {
        self.min_transmit
    }

    /// The interval at which we can receive.
    pub const fn min_receive(&self) -> Duration {
        self.min_receive
    }

    /// So many lost packets are a failure.
    pub const fn multiplier(&self) -> u8 {
        self.multiplier
    }

    /// Terms that serve whoever asked for `self` and whoever asked for `other`.
    #[must_use]
    pub fn fastest(&self, other: &Self) -> Self {
        Self {
            min_transmit: self.min_transmit.min(other.min_transmit),
            min_receive: self.min_receive.min(other.min_receive),
            multiplier: self.multiplier.min(other.multiplier),
        }
    }
}

/// A far end that is to be watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watch {
    /// Which.
    pub far_end: FarEnd,
    /// How far away it seems to be. One behind routers that speaks as one on a link is followed.
    pub hops: Hops,
    /// Packets from behind routers have at least this TTL; those of a link always 255.
    pub least_ttl: u8,
    /// How fast.
    pub terms: Terms,
    /// What its packets are signed with.
    pub authentication: Authentication,
}

/// How a session stands. The last one is the whole truth: one that was not taken in time may be replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Which.
    pub far_end: FarEnd,
    /// The session; another number is another session, whose failures count from 0.
    pub session: u32,
    /// Our state.
    pub state: State,
    /// Since when.
    pub since: Instant,
    /// Why it changed last.
    pub diagnostic: Diagnostic,
    /// How often the path has failed since the session was made: Up became Down, and neither an operator
    /// nor a restart of the far end's process was the reason.
    pub failures: u64,
    /// The last sign of life before the last failure: what was heard of the far end after this, by
    /// whatever other way, is news that the failure does not know.
    pub failed_from: Instant,
    /// Whether the far end's BFD outlives its control plane (the C bit).
    pub independent: bool,
    /// How far away it is taken to be.
    pub hops: Hops,
    /// The interval at which we send, without jitter.
    pub transmit: Duration,
    /// After so long without a packet the path counts as failed; `None` while none has come.
    pub detection: Option<Duration>,
    /// How packets are signed, if they are.
    pub algorithm: Option<Algorithm>,
    /// They are to be signed, and the key is not there.
    pub key_missing: bool,
    /// Packets that seemed to be the far end's, and counted for nothing.
    pub dropped: Dropped,
    /// Why the last of them did, if none has brought the session up since.
    pub refused: Option<Refusal>,
}
