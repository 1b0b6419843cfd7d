//! What protects a session, as the speaker sees it: which key and which TTL a socket needs, what a
//! changed password means for a session that is up, and what to say when it goes wrong.
//!
//! What always holds: a peer whose secret is missing is neither dialled nor let in; a session that is up
//! keeps the key that it has until there is another one.

use std::net::IpAddr;

use super::peer::PeerEntry;
use super::{Output, SocketTerms, Speaker};
use crate::net::ScopedAddress;
use crate::rib::PeerIndex;
use crate::time::Instant;
use crate::topology::{Authentication, PeerField, TtlRule};
use crate::wire::frame::{MAX_EXTENDED_LEN, MAX_LEN};

/// The TTL that GTSM wants of every packet (RFC 5082 §3).
const GTSM_TTL: u8 = 255;

/// Why a stranger is refused ([`Speaker::refusal`]).
pub const NO_PEER: &str = "no peer is configured with that address";

/// Seconds beyond the hold time in which a lost session may still be a changed password's doing.
const SLACK: u64 = 30;

impl PeerEntry {
    pub(super) fn socket_terms(&self) -> SocketTerms {
        let (ttl, min_ttl) = match self.planned.ttl {
            TtlRule::Any => (None, None),
            // What is demanded depends on what was seen: `near` says it of each call.
            TtlRule::Near => (Some(GTSM_TTL), None),
            TtlRule::Multihop(ttl) => (Some(ttl), None),
            // One hop is the neighbour itself, whose packets nobody has forwarded.
            TtlRule::Security(hops) => (Some(GTSM_TTL), Some(GTSM_TTL - hops.saturating_sub(1))),
        };
        let timers = self.session.config().timers;
        SocketTerms {
            ttl,
            min_ttl,
            authentication: self.planned.authentication.clone(),
            // The kernel gives up a peer whose window is closed, too, however often it answers: so not
            // before we would (RFC 9687). One that is silent is the hold timer's.
            user_timeout: timers.send_hold(timers.hold_time),
            max_message: if self.planned.open.extended_messages {
                MAX_EXTENDED_LEN
            } else {
                MAX_LEN
            },
        }
    }

    /// Why there is no secret, if there ought to be one.
    pub(super) fn secret_missing(&self) -> Option<&str> {
        match &self.planned.authentication {
            Authentication::Missing(why) => Some(why),
            Authentication::None | Authentication::Md5(_) | Authentication::Ao(_) => None,
        }
    }

    /// What is wrong with the protection, in words for `dunlin peers`; `error` is what else is known.
    pub(super) fn protection_problem(&self, error: Option<&str>, ended: Instant) -> Option<String> {
        if let Some(why) = self.secret_missing() {
            return Some(format!(
                "its password is missing, and there is no session without it: {why}"
            ));
        }
        let error = error?;
        let question = self.password_question(ended)?;
        Some(format!("{error}; {question}"))
    }

    /// What to ask if the session ended at `ended` because only one end has another password.
    pub(super) fn password_question(&self, ended: Instant) -> Option<String> {
        let after = ended.since(self.signed_anew?).as_secs();
        let hold = u64::from(self.planned.open.hold_time);
        // Where the other end has not followed, nothing comes through, and the hold time is the limit.
        (after <= hold + SLACK).then(|| {
            format!(
                "the password was changed here {after} s before that: was it changed there, too?"
            )
        })
    }
}

impl Speaker {
    /// Why [`accepted`](Self::accepted) has refused somebody.
    pub fn refusal(&self, remote: impl Into<ScopedAddress>, local: IpAddr) -> &'static str {
        let peer = self
            .peer_at(remote.into(), local)
            .and_then(|index| self.peer(index));
        match peer.and_then(PeerEntry::secret_missing) {
            Some(_) => "the password of that peer is missing",
            None => NO_PEER,
        }
    }

    /// Gives the connections of a peer the key that is planned for it now, if that is what has changed.
    pub(super) fn sign_anew(&mut self, now: Instant, index: PeerIndex, fields: &[PeerField]) {
        if !fields.contains(&PeerField::Password) {
            return;
        }
        let Some(peer) = self.peer_mut(index) else {
            return;
        };
        let authentication = peer.planned.authentication.clone();
        // A secret that is missing takes no key away: the session goes on with the one that it has.
        if !matches!(authentication, Authentication::Md5(_)) {
            return;
        }
        if peer.established.is_some() {
            peer.signed_anew = Some(now);
        }
        let connections = self.connections.iter();
        let of_peer = connections.filter(|(_, peer)| **peer == index);
        for (connection, _) in of_peer {
            self.outputs.push_back(Output::Sign {
                connection: *connection,
                authentication: authentication.clone(),
            });
        }
    }
}
