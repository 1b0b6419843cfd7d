//! BGP sessions: the whole state machine of RFC 4271 §8, without a socket and without a clock.
//!
//! A [`Peer`] is one configured neighbour. It decides when to dial and how long to back off, owns up
//! to two TCP connections (one dialled, one accepted, for as long as a collision is open) and shows
//! one session upwards. The driver feeds it [`Input`]s and does what its [`Output`]s say.
//!
//! It is not a RIB: an UPDATE is passed through unread. It is not a transport: it hands out bytes.
//!
//! ```text
//!            Start            Connected            OPEN           KEEPALIVE
//!   Idle ───────────▶ Connect ─────────▶ OpenSent ──────▶ OpenConfirm ──────▶ Established
//!    ▲  ▲     DialFailed │ ▲ ConnectRetry    ▲
//!    │  │                ▼ │                 │
//!    │  └─ IdleHold    Active ───────────────┘ Accepted
//!    └──── any error, any NOTIFICATION, Stop
//! ```
//!
//! What always holds: every state answers every event (there is no "can't happen"), a NOTIFICATION
//! is never answered, an enabled peer that may dial and has no session always has a deadline, and
//! at most one connection of a peer is up at a time.
//!
//! Where this deviates from RFC 4271, on purpose:
//! - §8.2.2 refuses incoming connections for the whole of IdleHold. We refuse them only for its
//!   first step, so that whoever repaired the other side need not wait out our back-off.
//! - ConnectRetry is 5 s, not 120 s; the first dials that fail are repeated after 0.25, 0.5, 1 ... s; a
//!   failed dial does not count as oscillation.
//! - ROUTE-REFRESH restarts the hold timer, as KEEPALIVE and UPDATE do.
//! - An accepted connection gets 60 s to send OPEN, not 240 s.
//! - While two connections are open, KEEPALIVE is held back for up to a second on the one that
//!   would lose the collision (§6.8), so that the two ends can't each keep a different one.

mod backoff;
mod cause;
pub mod collision;
mod config;
mod connection;
mod counters;
mod event;
mod explain;
pub mod negotiate;
mod peer;
mod reason;
mod timer;
mod withholding;

pub use crate::net::Role;
pub use backoff::IdleHoldLimits;
pub use cause::Words;
pub use config::{
    AddPath, Dial, Fqdn, GracefulRestart, HoldSeconds, HoldTime, HoldTimeError, Offer, PeerConfig,
    Required, TimerConfig,
};
pub use counters::Counters;
pub use event::{ConnectionId, ConnectionIds, DialError, Exceeded, Input, Output, StopReason};
pub use explain::Explanation;
pub use negotiate::{LongLived, Negotiated, PeerRestart};
pub use peer::{AdminState, Peer, Reconfigured, State};
pub use reason::{AdminReason, CloseReason, Fault, FsmFault, FsmPhase, LastError};
pub use timer::Timer;
