//! How many prefixes a peer may send, and what happens at one more.

use super::Speaker;
use crate::net::Family;
use crate::rib::PeerIndex;
use crate::session::{Input, StopReason};
use crate::time::Instant;
use crate::topology::LimitAction;

/// What a peer is told that is not tried again.
pub(super) const STOPPED: &str = "max-prefixes was exceeded";

impl Speaker {
    /// Does what is to be done about a peer that has sent more than it may.
    pub(super) fn check_limit(&mut self, now: Instant, index: PeerIndex) {
        let Some(peer) = self.peer(index) else { return };
        let limit = peer.planned.policy.limit;
        let Some(max) = limit.max else {
            return;
        };
        let is_over = |family| self.rib.counts(index, family).received > max;
        let over = Family::ALL.map(is_over);
        let Some(peer) = self.peer_mut(index) else {
            return;
        };
        let before = core::mem::replace(&mut peer.over_limit, over);
        let news = |family: &Family| {
            let (was, is) = (family.of(&before), family.of(&over));
            // What ends a session does so whenever it is met; what is only said is said once.
            *is && (!was || limit.action != LimitAction::Warn)
        };
        let Some(family) = Family::ALL.into_iter().find(news) else {
            return;
        };
        tracing::warn!(peer = %peer.planned.name, %family, max,
            "the peer has sent more prefixes than max-prefixes");
        match limit.action {
            LimitAction::Warn => {}
            LimitAction::Restart => self.input(now, index, Input::PrefixLimit),
            LimitAction::Stop => {
                // The session tells the peer why, and then is not tried again.
                peer.shutdown = true;
                self.input(now, index, Input::PrefixLimit);
                let why = STOPPED.to_owned();
                self.input(now, index, Input::Stop(StopReason::AdminShutdown(why)));
            }
        }
    }
}
