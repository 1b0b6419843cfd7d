//! GTSM between nodes of one subnet that nobody has configured: accept first, demand once seen.
//!
//! Nodes send TTL 255 to each other. BIRD of a cluster that is moved to us does not, so nothing is demanded
//! of a node until it has called with 255; from then on a call in its name with less is refused: it was
//! passed on, as a pod's is. Of our own dials nothing is asked, for they go to the node itself, and nothing of a
//! session that is there.
//!
//! What always holds: a node that goes back to BIRD is not locked out. It is dialled as before, and what was seen is
//! forgotten when its session has been down for [`FORGOTTEN_AFTER`]; until then the problem says so.

use std::net::IpAddr;

use super::Speaker;
use super::peer::PeerEntry;
use crate::net::ScopedAddress;
use crate::session::Words;
use crate::time::{Duration, Instant};
use crate::topology::TtlRule;

/// The TTL of a packet that nobody has passed on.
const UNFORWARDED: u8 = u8::MAX;
/// How long a session has to be down before what was seen of its peer is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(300);

/// Why a call is refused.
pub const TOO_FAR: &str = "it calls with a TTL below 255, and that node was seen to send 255: somebody further \
                           away uses its address";

/// What was seen of a peer.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Near {
    /// The last call with TTL 255.
    seen: Option<Instant>,
    /// When its session went down last.
    down: Option<Instant>,
    /// The last one with less that was refused, and its TTL.
    refused: Option<(Instant, u8)>,
}

impl Near {
    /// The session that was up is no more.
    pub(super) const fn went_down(&mut self, now: Instant) {
        self.down = Some(now);
    }
}

impl Speaker {
    /// Whether somebody who calls with this TTL may be who it says it is; what is seen is remembered. `None` is
    /// a kernel that does not say, which proves nothing.
    pub fn is_near_enough(
        &mut self,
        now: Instant,
        remote: impl Into<ScopedAddress>,
        local: IpAddr,
        ttl: Option<u8>,
    ) -> bool {
        let index = self.peer_at(remote.into(), local);
        let Some(peer) = index.and_then(|index| self.peer_mut(index)) else {
            return true;
        };
        let Some(ttl) = ttl.filter(|_| peer.planned.ttl == TtlRule::Near) else {
            return true;
        };
        if ttl == UNFORWARDED {
            peer.near.seen = Some(now);
            peer.near.refused = None;
            return true;
        }
        let Some(seen) = peer.near.seen else {
            return true;
        };
        let down_since = peer.near.down.unwrap_or(seen).max(seen);
        let is_up = peer.established.is_some();
        if !is_up && now.since(down_since) >= FORGOTTEN_AFTER {
            peer.near = Near::default();
            return true;
        }
        peer.near.refused = Some((now, ttl));
        self.news += 1;
        false
    }
}

impl PeerEntry {
    /// Why it is down, if it is because of this.
    pub(super) fn too_far(&self) -> Option<Words> {
        let (at, ttl) = self.near.refused?;
        // A later reason is a better one.
        let later = self.session.last_error().is_some_and(|error| error.at > at);
        (!later).then(|| {
            let minutes = FORGOTTEN_AFTER.as_secs() / 60;
            Words::new(
                format!("somebody calls in its name with TTL {ttl}, and it was seen to send 255"),
                format!(
                    "if it went back to BIRD, that is taken when its session has been down for {minutes} \
                     minutes, or at once after a restart of dunlin here; else look who uses its address"
                ),
            )
        })
    }
}
