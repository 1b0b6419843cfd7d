//! Why a session is not up, in the log: one line when the reason changes, also of a session that never came up.
//!
//! Nothing else hangs on it. What always holds: a reason that the log has is not repeated before another one
//! or a session has come in between, however often it is tried again.

use super::Speaker;
use super::status::why_down;
use crate::rib::PeerIndex;
use crate::session::CloseReason;

/// A reason that was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    reason: CloseReason,
    /// That something else has followed was said, too.
    more: bool,
}

impl Said {
    /// A reason and nothing after it.
    pub(super) const fn of(reason: CloseReason) -> Self {
        let more = false;
        Self { reason, more }
    }
}

impl Speaker {
    /// Says why a session is not up, if that is another reason than what was said last.
    pub(super) fn say_why_down(&mut self, index: PeerIndex) {
        let Some(peer) = self.peer_mut(index) else {
            return;
        };
        if peer.established.is_some() || peer.shutdown {
            return;
        }
        let Some(error) = peer.session.last_error().filter(|error| !error.is_over()) else {
            return;
        };
        let more = error.since.is_some();
        if let Some(said) = &peer.said
            && (said.more, &said.reason) == (more, &error.reason)
        {
            return;
        }
        let (name, address) = (&peer.planned.name, peer.planned.address);
        let why = why_down(peer);
        if error.is_telling() && !more {
            tracing::warn!(peer = %name, %address, "no session: {why}");
        } else {
            tracing::info!(peer = %name, %address, "no session: {why}");
        }
        let reason = error.reason.clone();
        peer.said = Some(Box::new(Said { reason, more }));
    }
}
