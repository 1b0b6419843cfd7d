//! Why a connection ended: who ended it, how, and what to do about it.
//!
//! A [`CloseReason`] is the one value that drives the back-off, tells the RIB whether routes may
//! stay (graceful restart), and is shown to people. Its words are complete on their own: what is
//! wrong, then what to do.

use core::fmt;
use std::sync::Arc;

use super::config::PeerConfig;
use super::event::DialError;
use super::negotiate::{NegotiateError, Negotiated};
use crate::time::{Duration, Instant};
use crate::wire::error::{HeaderError, OpenError, RouteRefreshError};
use crate::wire::frame::MessageKind;
use crate::wire::notification::Notification;

/// Who ended a connection and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CloseReason {
    /// The peer broke the protocol or our terms; we told it.
    SentNotification {
        /// What we sent.
        notification: Notification,
        /// What made us send it.
        fault: Fault,
    },
    /// The peer ended it and said why.
    ReceivedNotification(Notification),
    /// Nothing came for the hold time (4/0).
    HoldTimerExpired,
    /// The peer took none of our bytes for the SendHold time (8/0, RFC 9687).
    SendHoldTimerExpired,
    /// Two connections at once; this one was not kept (6/7), by our decision or the peer's.
    Collision,
    /// The TCP connection ended without a NOTIFICATION; the text is what the system said.
    TransportLost(Option<String>),
    /// No connection came about.
    DialFailed(DialError),
    /// An operator or the configuration ended it.
    Admin(AdminReason),
}

/// A deliberate end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminReason {
    /// Shut down, with the operator's text (6/2).
    Shutdown(String),
    /// No longer configured (6/3).
    Deconfigured,
    /// Reset by an operator (6/4).
    Reset,
    /// A setting that OPEN carries has changed (6/6).
    ConfigurationChange,
    /// More prefixes than allowed (6/1).
    PrefixLimit,
    /// This process restarts; nothing was said to the peer.
    Restarting,
}

/// What the peer did wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A header.
    #[error("{0}")]
    Header(HeaderError),
    /// An OPEN that is wrong in itself.
    #[error("{0}")]
    Open(OpenError),
    /// An OPEN that is not for us.
    #[error("{0}")]
    Refused(NegotiateError),
    /// A message that its state does not allow.
    #[error("{0}")]
    Fsm(FsmFault),
    /// A ROUTE-REFRESH.
    #[error("{0}")]
    RouteRefresh(RouteRefreshError),
    /// An UPDATE that only a reset answers.
    #[error("the peer sent an UPDATE that can't be read")]
    Update,
}

/// A message at a time when it must not come (RFC 4271 §6.6, RFC 6608).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the peer sent {kind} {phase}")]
pub struct FsmFault {
    /// The message.
    pub kind: MessageKind,
    /// When.
    pub phase: FsmPhase,
}

/// The states that RFC 6608 has subcodes for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FsmPhase {
    /// Before our OPEN went out (DelayOpen): no subcode.
    BeforeOpen,
    /// 1
    OpenSent,
    /// 2
    OpenConfirm,
    /// 3
    Established,
}

/// The last error of a peer, as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastError {
    /// When.
    pub at: Instant,
    /// What.
    pub reason: CloseReason,
    /// Since then dialling fails, too: the latest failure.
    pub dialling: Option<(Instant, DialError)>,
    config: Arc<PeerConfig>,
}

/// What an end of a connection means for the next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Damping {
    /// Pause, and longer each time.
    Grow,
    /// Pause for one ConnectRetry.
    Pause,
    /// Go on as if nothing had happened.
    None,
}

impl FsmFault {
    /// What the peer is told: 5/1, 5/2, 5/3, with the type octet as data.
    pub fn notification(&self) -> Notification {
        let subcode = match self.phase {
            FsmPhase::BeforeOpen => 0,
            FsmPhase::OpenSent => 1,
            FsmPhase::OpenConfirm => 2,
            FsmPhase::Established => 3,
        };
        Notification::new(5, subcode, vec![self.kind.code()])
    }
}

impl fmt::Display for FsmPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BeforeOpen => "before our OPEN",
            Self::OpenSent => "in OpenSent, before its OPEN",
            Self::OpenConfirm => "in OpenConfirm, before its KEEPALIVE",
            Self::Established => "in Established",
        })
    }
}

impl Fault {
    /// What the peer is told; `None` where the finder of the fault supplies it.
    pub fn notification(&self) -> Option<Notification> {
        match self {
            Self::Header(error) => Some(error.notification()),
            Self::Open(error) => Some(error.notification()),
            Self::Refused(error) => Some(error.notification()),
            Self::Fsm(fault) => Some(fault.notification()),
            Self::RouteRefresh(error) => Some(error.notification()),
            Self::Update => None,
        }
    }
}

impl CloseReason {
    /// Whether the peer's routes may stay for a graceful restart (RFC 4724 §4.2, RFC 8538 §4).
    pub fn allows_restart(&self, negotiated: &Negotiated) -> bool {
        todo!()
    }
}
