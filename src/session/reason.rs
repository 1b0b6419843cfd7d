//! Why a connection ended: who ended it, how, and what to do about it.
//!
//! A [`CloseReason`] is the one value that drives the back-off, tells the RIB whether routes may
//! stay (graceful restart), and is shown to people; its words have a file of their own.

use core::fmt;
use std::sync::Arc;

use super::config::PeerConfig;
use super::event::{DialError, Exceeded, StopReason};
use super::negotiate::{NegotiateError, Negotiated};
use crate::time::Instant;
use crate::wire::error::{HeaderError, OpenError, RouteRefreshError};
use crate::wire::frame::MessageKind;
use crate::wire::notification::{self, Notification};

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
    /// The peer connected, or let us connect, and sent no OPEN in time (4/0).
    NoOpen,
    /// The peer took none of our bytes for the SendHold time (8/0, RFC 9687).
    SendHoldTimerExpired,
    /// Two connections at once; we closed this one (6/7).
    Collision,
    /// The TCP connection ended without a NOTIFICATION; the text is what the system said.
    TransportLost(Option<String>),
    /// No connection came about.
    DialFailed(DialError),
    /// BFD found that packets do not reach the far end, or not us (6/10, RFC 9384).
    FarEndDown,
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
    PrefixLimit(Exceeded),
    /// This process restarts; nothing was said to the peer.
    Restarting,
    /// This process ends, for a peer that keeps nothing (6/2).
    ProcessEnds,
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
    Update(Notification),
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

/// The last error of a peer, as people see it: the last one that says what is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastError {
    /// When.
    pub at: Instant,
    /// What.
    pub reason: CloseReason,
    /// The latest end since then that says less: a dial that failed, a connection that was just closed.
    pub since: Option<(Instant, CloseReason)>,
    /// A session has been up since.
    over: bool,
    config: Arc<PeerConfig>,
}

/// How much an end of a connection says about what is wrong, least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Content {
    /// No connection came about.
    NoConnection,
    /// It was closed without a word.
    Bare,
    /// The peer takes no connection (6/5): often because it rests after what it has said before.
    Refusal,
    /// A NOTIFICATION, a timer, BFD or a limit.
    Told,
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
    /// What the peer is told.
    pub fn notification(&self) -> Notification {
        match self {
            Self::Header(error) => error.notification(),
            Self::Open(error) => error.notification(),
            Self::Refused(error) => error.notification(),
            Self::Fsm(fault) => fault.notification(),
            Self::RouteRefresh(error) => error.notification(),
            Self::Update(notification) => notification.clone(),
        }
    }
}

impl AdminReason {
    /// What the peer is told; nothing before a planned restart, so that it keeps our routes.
    ///
    /// With `hard`, those that must end graceful restart as well say so (RFC 8538 §4).
    pub(super) fn notification(&self, hard: bool) -> Option<Notification> {
        let plain = match self {
            Self::Shutdown(text) => Notification::administrative_shutdown(text),
            Self::Deconfigured => Notification::cease(notification::PEER_DECONFIGURED),
            Self::Reset => Notification::cease(notification::ADMINISTRATIVE_RESET),
            Self::ConfigurationChange => {
                Notification::cease(notification::OTHER_CONFIGURATION_CHANGE)
            }
            Self::PrefixLimit(_) => Notification::cease(notification::MAX_PREFIXES),
            Self::ProcessEnds => Notification::administrative_shutdown("dunlin ends or restarts"),
            Self::Restarting => return None,
        };
        Some(if hard && self.is_hard() {
            plain.into_hard_reset()
        } else {
            plain
        })
    }

    /// Whether the routes go, whatever was agreed on graceful restart.
    const fn is_hard(&self) -> bool {
        match self {
            Self::Shutdown(_) | Self::Deconfigured | Self::PrefixLimit(_) => true,
            Self::Reset | Self::ConfigurationChange | Self::Restarting | Self::ProcessEnds => false,
        }
    }
}

impl From<StopReason> for AdminReason {
    fn from(reason: StopReason) -> Self {
        match reason {
            StopReason::AdminShutdown(text) => Self::Shutdown(text),
            StopReason::PrefixLimit(exceeded) => Self::PrefixLimit(exceeded),
            StopReason::Deconfigured => Self::Deconfigured,
            StopReason::ProcessEnds => Self::ProcessEnds,
            StopReason::Quiet => Self::Restarting,
        }
    }
}

impl CloseReason {
    /// For scripts: it never changes.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::SentNotification { .. } => "sent_notification",
            Self::ReceivedNotification(_) => "received_notification",
            Self::HoldTimerExpired => "hold_timer_expired",
            Self::NoOpen => "no_open",
            Self::SendHoldTimerExpired => "send_hold_timer_expired",
            Self::Collision => "collision",
            Self::TransportLost(_) => "connection_lost",
            Self::DialFailed(_) => "dial_failed",
            Self::FarEndDown => "bfd_down",
            Self::Admin(_) => "admin",
        }
    }

    /// Whether the peer's routes may stay for a graceful restart (RFC 4724 §4.2, RFC 8538 §4).
    ///
    /// A lost connection keeps them if graceful restart was agreed on; a NOTIFICATION, in either
    /// direction, only if both sides have the N bit and it is no Hard Reset. A collision is no
    /// fault of anybody and counts as a lost connection.
    pub fn allows_restart(&self, negotiated: &Negotiated) -> bool {
        let Some(restart) = &negotiated.graceful_restart else {
            return false;
        };
        match self {
            Self::TransportLost(_) | Self::Collision | Self::DialFailed(_) => true,
            Self::ReceivedNotification(n) if is_collision(n) => true,
            Self::ReceivedNotification(n) => restart.notification && !n.is_hard_reset(),
            Self::SentNotification { .. }
            | Self::HoldTimerExpired
            | Self::NoOpen
            | Self::SendHoldTimerExpired => restart.notification,
            // Its packets are lost now, whatever its daemon does.
            Self::FarEndDown => false,
            Self::Admin(AdminReason::Restarting) => true,
            Self::Admin(reason) => restart.notification && !reason.is_hard(),
        }
    }

    /// Whether the peer was silent, or deaf, for as long as was agreed: then it is not restarting but
    /// dead or hung, as far as anybody can tell.
    pub const fn is_silence(&self) -> bool {
        matches!(
            self,
            Self::HoldTimerExpired | Self::SendHoldTimerExpired | Self::NoOpen
        )
    }

    /// Whether the connection went, or fell silent, and nobody said why.
    pub(super) const fn is_loss(&self) -> bool {
        matches!(self, Self::TransportLost(_)) || self.is_silence()
    }

    /// What the peer is told, if anything; `hard` as in [`AdminReason::notification`].
    pub(super) fn farewell(&self, hard: bool) -> Option<Notification> {
        match self {
            Self::SentNotification { notification, .. } => Some(notification.clone()),
            Self::HoldTimerExpired | Self::NoOpen => Some(Notification::new(4, 0, Vec::new())),
            Self::SendHoldTimerExpired => Some(Notification::new(8, 0, Vec::new())),
            Self::Collision => Some(Notification::cease(notification::COLLISION_RESOLUTION)),
            Self::FarEndDown => {
                let plain = Notification::cease(notification::BFD_DOWN);
                Some(if hard { plain.into_hard_reset() } else { plain })
            }
            Self::Admin(reason) => reason.notification(hard),
            Self::ReceivedNotification(_) | Self::TransportLost(_) | Self::DialFailed(_) => None,
        }
    }

    /// Whether it says nothing about what is wrong with the peer.
    pub(super) fn is_collision(&self) -> bool {
        match self {
            Self::Collision => true,
            Self::ReceivedNotification(notification) => is_collision(notification),
            Self::SentNotification { .. }
            | Self::HoldTimerExpired
            | Self::NoOpen
            | Self::SendHoldTimerExpired
            | Self::TransportLost(_)
            | Self::DialFailed(_)
            | Self::FarEndDown
            | Self::Admin(_) => false,
        }
    }

    fn content(&self) -> Content {
        match self {
            Self::DialFailed(_) => Content::NoConnection,
            Self::TransportLost(_) => Content::Bare,
            Self::ReceivedNotification(n)
                if (n.code, n.subcode)
                    == (notification::CEASE, notification::CONNECTION_REJECTED) =>
            {
                Content::Refusal
            }
            Self::ReceivedNotification(_)
            | Self::SentNotification { .. }
            | Self::HoldTimerExpired
            | Self::NoOpen
            | Self::SendHoldTimerExpired
            | Self::Collision
            | Self::FarEndDown
            | Self::Admin(_) => Content::Told,
        }
    }

    /// What it means for the next attempt; `was_up` if a session was established.
    pub(super) fn damping(&self, was_up: bool) -> Damping {
        match self {
            Self::SentNotification { notification, .. } => {
                if is_version_error(notification) {
                    Damping::Pause
                } else {
                    Damping::Grow
                }
            }
            Self::ReceivedNotification(n) if is_collision(n) => Damping::None,
            // The versions may meet next time; §8.1.1 does not count it as oscillation.
            Self::ReceivedNotification(n) if is_version_error(n) => Damping::Pause,
            // A polite refusal; too many prefixes and lack of resources will not go away soon.
            Self::ReceivedNotification(n) if is_polite(n) => Damping::Pause,
            Self::ReceivedNotification(_)
            | Self::HoldTimerExpired
            | Self::NoOpen
            | Self::SendHoldTimerExpired
            | Self::Admin(AdminReason::PrefixLimit(_)) => Damping::Grow,
            Self::TransportLost(_) if was_up => Damping::Grow,
            // Most often the peer does not know us yet. And BFD itself sees to it that a broken path is
            // not tried too often.
            Self::TransportLost(_) | Self::FarEndDown => Damping::Pause,
            Self::Collision | Self::DialFailed(_) | Self::Admin(_) => Damping::None,
        }
    }
}

fn is_collision(said: &Notification) -> bool {
    (said.code, said.subcode) == (notification::CEASE, notification::COLLISION_RESOLUTION)
}

fn is_polite(said: &Notification) -> bool {
    let lasting = [notification::MAX_PREFIXES, notification::OUT_OF_RESOURCES];
    said.code == notification::CEASE && !lasting.contains(&said.subcode)
}

fn is_version_error(notification: &Notification) -> bool {
    (notification.code, notification.subcode) == (2, 1)
}

impl LastError {
    pub(super) fn new(at: Instant, reason: CloseReason, config: Arc<PeerConfig>) -> Self {
        Self {
            at,
            reason,
            since: None,
            over: false,
            config,
        }
    }

    /// A session is up: what ends it is another matter.
    pub(super) fn put_behind(&mut self) {
        self.over = true;
        self.since = None;
    }

    /// Whether an end says less than this one did, and no session has been up in between.
    pub(super) fn outweighs(&self, reason: &CloseReason) -> bool {
        !self.over && reason.content() < self.reason.content()
    }

    /// Whether a session has been up since, so that it no longer says why there is none.
    pub const fn is_over(&self) -> bool {
        self.over
    }

    /// Whether it is more than a connection that did not come about or was just closed.
    pub fn is_telling(&self) -> bool {
        self.reason.content() > Content::Bare
    }

    /// The configuration under which it happened.
    pub fn config(&self) -> &PeerConfig {
        &self.config
    }
}
