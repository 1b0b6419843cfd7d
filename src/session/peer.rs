//! One configured neighbour: when to dial, how long to back off, which connection to keep.

use std::sync::Arc;

use super::config::PeerConfig;
use super::event::{ConnectionId, ConnectionIds, Input, Output};
use super::negotiate::Negotiated;
use super::reason::LastError;
use super::timer::Timer;
use crate::time::Instant;
use crate::wire::frame::MessageKind;

/// The states of RFC 4271 §8.2.2, least advanced first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Stopped, or pausing after an error.
    Idle,
    /// A dial is in progress.
    Connect,
    /// Waiting to dial, or to be dialled.
    Active,
    /// OPEN is sent.
    OpenSent,
    /// OPEN is received.
    OpenConfirm,
    /// Routes flow.
    Established,
}

/// Whether a peer is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminState {
    /// `Start` was given last.
    Enabled,
    /// `Stop` was given last, or nothing yet; the text of an administrative shutdown.
    Disabled(Option<String>),
}

/// What has happened since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    received: [u64; 5],
    sent: [u64; 5],
    /// Changes of [`State`].
    pub transitions: u64,
    /// Sessions that came up.
    pub established: u64,
}

/// What a change of configuration did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reconfigured {
    /// The session, if there is one, lives on.
    Kept,
    /// Connections were closed with Cease 6/6, for the sake of this setting.
    Bounced(&'static str),
}

/// A configured neighbour.
#[derive(Debug)]
pub struct Peer {}

impl Peer {
    /// A peer that is disabled until `Start`; `seed` feeds the jitter.
    pub fn new(config: PeerConfig, seed: u64) -> Self {
        todo!()
    }

    /// Something has happened.
    pub fn handle(&mut self, now: Instant, input: Input<'_>, out: &mut Vec<Output>) {
        todo!()
    }

    /// A deadline has passed. Messages that have already arrived must have been given before:
    /// then our own slowness can't end a session whose peer is alive.
    pub fn handle_timeout(&mut self, now: Instant, ids: &mut ConnectionIds, out: &mut Vec<Output>) {
        todo!()
    }

    /// A new configuration.
    pub fn reconfigure(
        &mut self,
        now: Instant,
        config: PeerConfig,
        out: &mut Vec<Output>,
    ) -> Reconfigured {
        todo!()
    }

    /// UPDATEs and route refreshes that the driver has sent by itself.
    pub fn count_sent(&mut self, kind: MessageKind, messages: u64) {
        todo!()
    }

    /// The earliest deadline, and of which timer.
    pub fn next_timeout(&self) -> Option<(Instant, Timer)> {
        todo!()
    }

    /// The state of the most advanced connection.
    pub fn state(&self) -> State {
        todo!()
    }

    /// When [`Peer::state`] last changed.
    pub fn since(&self) -> Instant {
        todo!()
    }

    /// The session that is up.
    pub fn established(&self) -> Option<(ConnectionId, &Arc<Negotiated>)> {
        todo!()
    }

    /// The last real error.
    pub fn last_error(&self) -> Option<&LastError> {
        todo!()
    }

    /// Whether the peer is wanted.
    pub fn admin_state(&self) -> &AdminState {
        todo!()
    }

    /// What is configured.
    pub fn config(&self) -> &Arc<PeerConfig> {
        todo!()
    }

    /// What has happened so far.
    pub fn counters(&self) -> &Counters {
        todo!()
    }
}

impl Counters {
    /// Messages received of a kind.
    pub fn received(&self, kind: MessageKind) -> u64 {
        todo!()
    }

    /// Messages sent of a kind.
    pub fn sent(&self, kind: MessageKind) -> u64 {
        todo!()
    }
}
