//! The words for a [`CloseReason`] that do not name the peer: what is wrong, and what to do about it.
//!
//! Beside `explain`, whose lines stand alone: here those of many peers are equal if their cause is, so that
//! they can be one line. Nothing decides by these words.

use core::fmt;

use super::config::PeerConfig;
use super::event::DialError;
use super::explain::{Explanation, fault_advice};
use super::reason::{AdminReason, CloseReason, LastError};
use crate::wire::notification::Notification;

/// What is wrong and what to do: sentences without a full stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

impl Words {
    /// Both of them.
    pub fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            remedy: remedy.into(),
        }
    }
}

impl CloseReason {
    /// It as a cause that peers may share.
    pub fn words(&self, config: &PeerConfig) -> Words {
        match self {
            Self::SentNotification { fault, .. } => Words::new(
                format!("the session was refused here: {fault}"),
                fault_advice(fault),
            ),
            Self::ReceivedNotification(said) => Words::new(
                format!("the peer says: {said}"),
                Advice(self.explain(config), said).to_string(),
            ),
            Self::HoldTimerExpired => Words::new(
                "nothing came from it for the agreed hold time: it is down or hung, or packets are lost",
                "check the node, and whether large packets pass (MTU)",
            ),
            Self::NoOpen => Words::new(
                "it has a TCP connection with us and sends no OPEN",
                "is a BGP speaker behind that port, and is it hung?",
            ),
            Self::SendHoldTimerExpired => Words::new(
                "it took none of our messages for minutes: its BGP process is hung or overloaded",
                "look at its process and its log",
            ),
            Self::Collision => Words::new("another connection was kept", "nothing to do"),
            Self::TransportLost(None) => Words::new(
                "it closed the connection without a NOTIFICATION",
                "did it restart, or is this node not configured there?",
            ),
            Self::TransportLost(Some(text)) => Words::new(
                format!("the connection was lost ({text})"),
                "look at its log",
            ),
            Self::DialFailed(error) => error.words(config.port),
            Self::FarEndDown => Words::new(
                "BFD hears nothing of it any more: the node or the path to it is down",
                "look at the node and the network between",
            ),
            Self::Admin(AdminReason::PrefixLimit(exceeded)) => Words::new(
                format!("it sent more prefixes than max-prefixes allows: {exceeded}"),
                "find out why, or raise max-prefixes",
            ),
            Self::Admin(reason) => Words::new(reason.to_string(), ""),
        }
    }
}

impl DialError {
    /// It as a cause that peers may share.
    pub fn words(&self, port: u16) -> Words {
        match self {
            Self::Refused => Words::new(
                "it refuses the connection",
                format!(
                    "is dunlin, or another BGP speaker, running there? does a firewall reject TCP \
                     {port}?"
                ),
            ),
            Self::Unreachable => Words::new(
                "it is unreachable: there is no route to it, or the node is down",
                "look at this node's links, and at `ip route get ADDRESS`",
            ),
            Self::TimedOut => Words::new(
                "it does not answer",
                format!("is the node up? does a firewall drop TCP {port}?"),
            ),
            Self::NotOurs(address) => Words::new(
                format!("no connection can be made from {address}, which no link of this host has"),
                "give a link that address, or correct the node's record or source-address",
            ),
            Self::Other(text) => Words::new(
                format!("no connection can be made: {text}"),
                "look at this host's log, and at what this process may do",
            ),
        }
    }
}

impl LastError {
    /// Why there is no session now: what either end has said, else the latest, since a peer that can't be
    /// dialled is down whatever ended the last session.
    pub fn words(&self) -> Words {
        let is_said = matches!(
            self.reason,
            CloseReason::ReceivedNotification(_)
                | CloseReason::SentNotification { .. }
                | CloseReason::Admin(_)
        );
        match &self.since {
            Some((_, since)) if !is_said => since.words(self.config()),
            Some(_) | None => self.reason.words(self.config()),
        }
    }
}

struct Advice<'a>(Explanation<'a>, &'a Notification);

impl fmt::Display for Advice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.received_advice(f, self.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{Asn, Family, RouterId};
    use crate::session::negotiate::NegotiateError;
    use crate::session::{Exceeded, Fault};

    fn config(address: &str) -> PeerConfig {
        PeerConfig::new(
            address.parse().unwrap(),
            Asn(65_001),
            Some(Asn(65_002)),
            RouterId(1),
        )
    }

    #[test]
    fn peers_of_one_cause_have_the_same_words_and_each_has_a_remedy() {
        let fault = Fault::Refused(NegotiateError::UnexpectedAs {
            received: Asn(65_003),
            expected: Asn(65_002),
        });
        let reasons = [
            CloseReason::SentNotification {
                notification: fault.notification(),
                fault,
            },
            CloseReason::ReceivedNotification(Notification::new(2, 2, Vec::new())),
            CloseReason::ReceivedNotification(Notification::new(6, 2, Vec::new())),
            CloseReason::HoldTimerExpired,
            CloseReason::NoOpen,
            CloseReason::SendHoldTimerExpired,
            CloseReason::TransportLost(None),
            CloseReason::TransportLost(Some("reset".to_owned())),
            CloseReason::DialFailed(DialError::Refused),
            CloseReason::DialFailed(DialError::Unreachable),
            CloseReason::DialFailed(DialError::TimedOut),
            CloseReason::DialFailed(DialError::Other("os error 99".to_owned())),
            CloseReason::FarEndDown,
            CloseReason::Admin(AdminReason::PrefixLimit(Exceeded {
                family: Family::Ipv4,
                max: 10,
                count: 11,
            })),
        ];
        for reason in reasons {
            let words = reason.words(&config("192.0.2.1"));
            assert_eq!(words, reason.words(&config("2001:db8::9")), "{reason:?}");
            assert!(!words.remedy.is_empty(), "{reason:?}");
            for sentence in [words.what, words.remedy] {
                assert!(!sentence.contains("192.0.2.1"), "{sentence}");
                assert!(!sentence.ends_with('.'), "{sentence}");
            }
        }
    }
}
