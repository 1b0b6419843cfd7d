//! What an operator, or a record, orders for single peers: each order has its line in the log.
//!
//! An order holds until the process ends; what is to last stands in the record. What always holds: an order
//! for somebody who is not there changes nothing and says whom it may have meant.

use std::sync::Arc;

use super::Speaker;
use crate::net::Family;
use crate::rib::PeerIndex;
use crate::session::{self, StopReason};
use crate::time::Instant;
use crate::topology;

/// Why an order for a peer can't be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdminError {
    /// No peer has that name.
    #[error("no peer is named {name:?}{}", nearest.as_ref().map(|n| format!("; did you mean {n:?}?")).unwrap_or_default())]
    NoSuchPeer {
        /// The name.
        name: String,
        /// The most similar one.
        nearest: Option<String>,
    },
    /// It needs a session.
    #[error("{name} is not Established, so there is nothing to refresh")]
    NotEstablished {
        /// The name.
        name: String,
    },
}

impl Speaker {
    /// Takes a peer down until it is enabled.
    ///
    /// # Errors
    /// If there is no such peer.
    pub fn shutdown_peer(
        &mut self,
        now: Instant,
        name: &str,
        text: String,
    ) -> Result<(), AdminError> {
        let index = self.find(name)?;
        tracing::info!(peer = name, text, "an operator shuts the session down");
        if let Some(peer) = self.peer_mut(index) {
            peer.shutdown = true;
        }
        self.news += 1;
        self.far_ends.changed();
        self.input(
            now,
            index,
            session::Input::Stop(StopReason::AdminShutdown(text)),
        );
        self.drop_kept(index);
        Ok(())
    }

    /// Takes a peer down, or lets it come up, as its record says.
    pub(super) fn follow_record(&mut self, now: Instant, index: PeerIndex) {
        let Some(peer) = self.peer_mut(index) else {
            return;
        };
        peer.shutdown = peer.planned.shutdown;
        if !peer.shutdown {
            return self.input(now, index, session::Input::Start);
        }
        let text = String::new();
        let stop = session::Input::Stop(StopReason::AdminShutdown(text));
        self.input(now, index, stop);
        self.drop_kept(index);
    }

    /// Undoes a shutdown.
    ///
    /// # Errors
    /// If there is no such peer.
    pub fn enable_peer(&mut self, now: Instant, name: &str) -> Result<(), AdminError> {
        let index = self.find(name)?;
        tracing::info!(peer = name, "an operator enables the session");
        if let Some(peer) = self.peer_mut(index) {
            peer.shutdown = false;
            peer.limited = None;
        }
        self.news += 1;
        self.far_ends.changed();
        self.input(now, index, session::Input::Start);
        Ok(())
    }

    /// Bounces a session.
    ///
    /// # Errors
    /// If there is no such peer.
    pub fn reset_peer(&mut self, now: Instant, name: &str) -> Result<(), AdminError> {
        let index = self.find(name)?;
        tracing::info!(peer = name, "an operator resets the session");
        self.input(now, index, session::Input::Reset);
        Ok(())
    }

    /// Asks for all routes of a peer again and sends ours again.
    ///
    /// # Errors
    /// If there is no such peer or no session.
    pub fn refresh_peer(&mut self, name: &str) -> Result<(), AdminError> {
        let index = self.find(name)?;
        let not_established = || AdminError::NotEstablished {
            name: name.to_owned(),
        };
        let established = self.peer(index).and_then(|peer| peer.established.as_ref());
        let negotiated = Arc::clone(&established.ok_or_else(not_established)?.negotiated);
        tracing::info!(peer = name, "an operator has the routes exchanged again");
        self.ask_for_routes(index);
        for family in Family::ALL {
            if *family.of(&negotiated.families) {
                self.rib.refresh(index, family, negotiated.enhanced_refresh);
            }
        }
        Ok(())
    }

    fn find(&self, name: &str) -> Result<PeerIndex, AdminError> {
        self.names
            .get(name)
            .copied()
            .ok_or_else(|| AdminError::NoSuchPeer {
                name: name.to_owned(),
                nearest: topology::nearest(name, self.names.keys().map(String::as_str))
                    .map(str::to_owned),
            })
    }
}
