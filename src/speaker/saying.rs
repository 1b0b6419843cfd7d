//! Why a session is not up, in the log: one line when the reason changes, also of a session that never came up.
//!
//! Nothing else hangs on it. What always holds: a reason that the log has is not repeated before another one
//! or a session has come in between, however often it is tried again; and of one peer there are at most [`LINES`]
//! in [`WINDOW`], whatever callers from its address do. The reason that holds then is said when there is room.

use super::Speaker;
use super::status::why_down;
use crate::rib::PeerIndex;
use crate::session::CloseReason;
use crate::time::{Duration, Instant};

/// So many lines of a peer
const LINES: u8 = 8;
/// in so long.
const WINDOW: Duration = Duration::from_secs(60);

/// A reason that was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    reason: CloseReason,
    /// That something else has followed was said, too.
    more: bool,
    /// When the first line of the present window was written, and how many there are in it.
    began: Instant,
    lines: u8,
}

impl Said {
    /// A reason and nothing after it.
    pub(super) const fn of(reason: CloseReason) -> Self {
        Self {
            reason,
            more: false,
            began: Instant::ZERO,
            lines: 0,
        }
    }

    /// The window that a line at `now` falls into, and its number there; none if that is full.
    fn next(said: Option<&Self>, now: Instant) -> Option<(Instant, u8)> {
        match said {
            Some(said) if now.since(said.began) < WINDOW => {
                (said.lines < LINES).then_some((said.began, said.lines + 1))
            }
            Some(_) | None => Some((now, 1)),
        }
    }
}

impl Speaker {
    /// Says why a session is not up, if that is another reason than what was said last.
    pub(super) fn say_why_down(&mut self, now: Instant, index: PeerIndex) {
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
        let Some((began, lines)) = Said::next(peer.said.as_deref(), now) else {
            return;
        };
        let (name, address) = (&peer.planned.name, peer.planned.address);
        let why = why_down(peer);
        if error.is_telling() && !more {
            tracing::warn!(peer = %name, %address, "no session: {why}");
        } else {
            tracing::info!(peer = %name, %address, "no session: {why}");
        }
        let reason = error.reason.clone();
        peer.said = Some(Box::new(Said {
            reason,
            more,
            began,
            lines,
        }));
    }
}
