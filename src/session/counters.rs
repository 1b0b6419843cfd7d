//! What a peer has seen since it was configured; numbers for people, nothing decides by them.

use crate::wire::frame::MessageKind;

const KINDS: usize = MessageKind::RouteRefresh as usize + 1;

/// Messages by kind and changes of state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    received: [u64; KINDS],
    sent: [u64; KINDS],
    /// Changes of [`State`](super::State).
    pub transitions: u64,
    /// Sessions that came up.
    pub established: u64,
}

impl Counters {
    /// Messages received of a kind.
    pub fn received(&self, kind: MessageKind) -> u64 {
        self.received.get(kind as usize).copied().unwrap_or(0)
    }

    /// Messages sent of a kind.
    pub fn sent(&self, kind: MessageKind) -> u64 {
        self.sent.get(kind as usize).copied().unwrap_or(0)
    }

    pub(super) fn count_received(&mut self, kind: MessageKind) {
        if let Some(count) = self.received.get_mut(kind as usize) {
            *count += 1;
        }
    }

    pub(super) fn count_sent(&mut self, kind: MessageKind, messages: u64) {
        if let Some(count) = self.sent.get_mut(kind as usize) {
            *count += messages;
        }
    }
}
