//! The words for a [`CloseReason`]: what is wrong, then what to do about it.
//!
//! Read by somebody with a pager, so each line stands alone: it names the address, who said it, and
//! the setting to look at. Nothing decides by these words.

use core::fmt;

use super::config::PeerConfig;
use super::event::DialError;
use super::negotiate::NegotiateError;
use super::reason::{AdminReason, CloseReason, Fault, LastError};
use crate::wire::error::OpenError;
use crate::wire::notification::Notification;

/// A [`CloseReason`] in full, as [`CloseReason::explain`] gives it.
#[derive(Debug, Clone, Copy)]
pub struct Explanation<'a> {
    reason: &'a CloseReason,
    config: &'a PeerConfig,
}

impl CloseReason {
    /// In full: with the peer's address, and what to do.
    pub fn explain<'a>(&'a self, config: &'a PeerConfig) -> Explanation<'a> {
        Explanation {
            reason: self,
            config,
        }
    }
}

impl fmt::Display for CloseReason {
    /// In short: for a table or a log line that names the peer already.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SentNotification {
                notification,
                fault,
            } => {
                write!(f, "sent {notification}: {fault}")
            }
            Self::ReceivedNotification(notification) => write!(f, "received {notification}"),
            Self::HoldTimerExpired => f.write_str("hold timer expired"),
            Self::NoOpen => f.write_str("no OPEN came"),
            Self::SendHoldTimerExpired => f.write_str("send-hold timer expired"),
            Self::Collision => f.write_str("another connection was kept"),
            Self::TransportLost(None) => f.write_str("connection closed"),
            Self::TransportLost(Some(text)) => write!(f, "connection lost: {text}"),
            Self::DialFailed(error) => write!(f, "dial failed: {error}"),
            Self::FarEndDown => f.write_str("BFD says that the far end is down"),
            Self::Admin(reason) => write!(f, "{reason}"),
        }
    }
}

impl fmt::Display for AdminReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shutdown(text) if text.is_empty() => f.write_str("shut down by an operator"),
            Self::Shutdown(text) => write!(f, "shut down by an operator: {text}"),
            Self::Deconfigured => f.write_str("no longer configured"),
            Self::Reset => f.write_str("reset by an operator"),
            Self::ConfigurationChange => f.write_str("renegotiated for a new configuration"),
            Self::PrefixLimit(exceeded) => write!(f, "more prefixes than the limit: {exceeded}"),
            Self::Restarting => f.write_str("this process restarts"),
            Self::ProcessEnds => f.write_str("this process ends"),
        }
    }
}

impl fmt::Display for Explanation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let peer = self.config.remote;
        match self.reason {
            CloseReason::SentNotification {
                notification,
                fault,
            } => {
                write!(
                    f,
                    "{peer}: {fault}: {} (sent {notification})",
                    fault_advice(fault)
                )
            }
            CloseReason::ReceivedNotification(notification) => {
                write!(f, "{peer} says: {notification}: ")?;
                self.received_advice(f, notification)
            }
            CloseReason::HoldTimerExpired => write!(
                f,
                "nothing came from {peer} for the agreed hold time: it is down or hung, or packets \
                 are lost; check the node and whether large packets pass (MTU)"
            ),
            CloseReason::NoOpen => write!(
                f,
                "{peer} has a TCP connection with us but sent no OPEN: is a BGP speaker behind that \
                 port, and is it hung?"
            ),
            CloseReason::SendHoldTimerExpired => write!(
                f,
                "{peer} took none of our messages for minutes: its BGP process is hung or \
                 overloaded; look there"
            ),
            CloseReason::Collision => {
                write!(f, "another connection with {peer} was kept; nothing to do")
            }
            CloseReason::TransportLost(None) => write!(
                f,
                "{peer} closed the connection without a NOTIFICATION: did it restart, or is this \
                 node not configured there?"
            ),
            CloseReason::TransportLost(Some(text)) => {
                write!(
                    f,
                    "the connection with {peer} was lost ({text}); look at its log"
                )
            }
            CloseReason::DialFailed(error) => self.dial_advice(f, error),
            CloseReason::FarEndDown => write!(
                f,
                "BFD hears nothing of {peer} any more: the node or the path to it is down; see \
                 `dunlin peers`"
            ),
            CloseReason::Admin(AdminReason::PrefixLimit(exceeded)) => write!(
                f,
                "{peer} sent more prefixes than the limit ({exceeded}): find out why, or raise the limit \
                 here"
            ),
            CloseReason::Admin(reason) => write!(f, "{reason}"),
        }
    }
}

impl Explanation<'_> {
    fn dial_advice(&self, f: &mut fmt::Formatter<'_>, error: &DialError) -> fmt::Result {
        let (peer, port) = (self.config.remote, self.config.port);
        match error {
            DialError::Refused => write!(
                f,
                "{peer} refused the connection: is dunlin, or another BGP speaker, running there? \
                 does a firewall reject TCP {port}?"
            ),
            DialError::Unreachable => write!(
                f,
                "{peer} is unreachable: there is no route to it, or the node is down; see `ip route \
                 get {peer}`"
            ),
            DialError::TimedOut => write!(
                f,
                "{peer} does not answer: is the node up? does a firewall drop TCP {port}?"
            ),
            DialError::NotOurs(address) => write!(
                f,
                "sessions with {peer} are to leave from {address}, and no link of this host has it; \
                 see `ip address`, and the node's address and the peer's source address on record"
            ),
            DialError::Other(text) => {
                write!(f, "the connection to {peer} port {port} failed: {text}")
            }
        }
    }

    pub(super) fn received_advice(
        &self,
        f: &mut fmt::Formatter<'_>,
        said: &Notification,
    ) -> fmt::Result {
        let config = self.config;
        // A Hard Reset is only the wrapping of what is meant.
        let meant = said.hard_reset_reason();
        let said = meant.as_ref().unwrap_or(said);
        match (said.code, said.subcode) {
            (2, 2) => write!(
                f,
                "it expects another AS than {}; check as-number on both sides",
                config.local_asn
            ),
            (2, 3) => write!(
                f,
                "it does not take our router id {}; does another node have the same?",
                config.router_id
            ),
            (2, 6) => write!(
                f,
                "it does not take our hold time ({}); raise hold-time here or lower its minimum",
                config.timers.hold_time
            ),
            (code, subcode) => f.write_str(plain_advice(code, subcode)),
        }
    }
}

/// What to do about a NOTIFICATION that came, where our own settings add nothing to it.
const fn plain_advice(code: u8, subcode: u8) -> &'static str {
    match (code, subcode) {
        (2, 1) => "it speaks another version of BGP; is its software very old?",
        (2, 4) => "it knows no capabilities at all; the session is tried without them",
        (2, 7) => {
            "it does not take one of our capabilities, which is then left out, or misses one; compare \
             families and options"
        }
        (2, 11) => "the roles do not fit; check role on both sides",
        (4, _) => "it heard nothing from us for the hold time; is this node overloaded? (MTU?)",
        (6, 1) => "we announce more prefixes than it allows; raise its limit or announce fewer",
        (6, 2) => "an operator shut the session down there; it has to be enabled there",
        (6, 3) => {
            "this node is not configured there any more; add it there or remove the peer here"
        }
        (6, 4) => "an operator reset the session there; it comes back by itself",
        (6, 5) => "it takes no connection from this node; is this address configured there?",
        (6, 6) => "its configuration has changed; the session comes back by itself",
        (6, 7) => "another connection was kept; nothing to do",
        (6, 8) => "it is out of resources; look at its memory",
        (6, 10) => "BFD found the path broken; look at the network between",
        (8, _) => "we did not read its messages for minutes; is this node overloaded?",
        (1 | 2 | 3 | 5 | 7, _) => {
            "one of the two sides breaks the protocol; keep a capture (tcpdump) for a bug report"
        }
        _ => "look at its log",
    }
}

pub(super) fn fault_advice(fault: &Fault) -> &'static str {
    match fault {
        Fault::Refused(error) => refused_advice(error),
        Fault::Header(_) => "is that a BGP speaker, and is nothing between changing the stream?",
        Fault::Open(OpenError::Version(_)) => "its software is too old, or set to another version",
        Fault::Open(OpenError::RouterIdZero) => "set a router id there",
        Fault::Open(OpenError::AsZero) => "set an AS number there",
        Fault::Open(OpenError::HoldTime(_)) => "set the hold time there to 0 or at least 3 s",
        Fault::Open(_) | Fault::Fsm(_) | Fault::RouteRefresh(_) | Fault::Update(_) => {
            "keep a capture (tcpdump) for a bug report"
        }
    }
}

const fn refused_advice(error: &NegotiateError) -> &'static str {
    match error {
        NegotiateError::UnexpectedAs { .. } => "check as-number on both sides",
        NegotiateError::SameRouterId(_) => "give one of the two another router id",
        NegotiateError::HoldTimeTooShort { .. } => {
            "raise the hold time there or lower the minimum here"
        }
        NegotiateError::MissingCapability(_) => "enable it there or do not require it here",
        NegotiateError::NoCommonFamily(_) => "enable the same address families on both sides",
        NegotiateError::RoleMismatch { .. } | NegotiateError::RoleMissing => {
            "check role on both sides"
        }
    }
}

impl fmt::Display for LastError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.reason.explain(self.config()))?;
        match &self.since {
            Some((_, since)) => write!(f, "; since then, {}", since.explain(self.config())),
            None => Ok(()),
        }
    }
}
