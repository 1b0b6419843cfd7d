//! What the next OPEN says beside what is configured: how our own restart went, and what it leaves out
//! because the peer does not take it.
//!
//! Which capabilities a refusal is about is [`withholding`](crate::session::withholding)'s to say.

use std::sync::Arc;

use super::policy::DIAL_SPREAD;
use super::{Peer, Transport};
use crate::net::Family;
use crate::session::config::{GracefulRestart, PeerConfig};
use crate::session::connection::Connection;
use crate::session::event::Output;
use crate::session::negotiate;
use crate::session::reason::CloseReason;
use crate::session::withholding::without_refused;
use crate::time::Instant;
use crate::wire::capability::Capability;

impl Peer {
    /// The capabilities, in words, that are left out because the peer does not take them; empty if there are none.
    pub fn withheld_in_words(&self) -> String {
        let withheld = self.withheld();
        let words: Vec<String> = withheld.iter().map(negotiate::name).collect();
        words.join(", ")
    }

    /// The capabilities that the next OPEN lacks, because the peer does not take them.
    pub fn withheld(&self) -> Vec<Capability> {
        let Some(reduced) = self.reduced() else {
            return Vec::new();
        };
        let left = reduced.open().capabilities;
        let mut all = self.config.open().capabilities;
        all.retain(|capability| {
            !left.iter().any(|left| {
                left.code() == capability.code() && {
                    let family = matches!(capability, Capability::Multiprotocol(_));
                    !family || left == capability
                }
            })
        });
        all
    }

    /// What the next OPEN says of our own restart (R, and F by family). It is nobody's setting, so no
    /// session is touched for it.
    pub fn set_restart(&mut self, restarting: bool, kept: [bool; 2]) {
        let Some(offered) = self.config.offer.graceful_restart else {
            return;
        };
        let families = Family::ALL.map(|family| {
            let takes_part = family.of(&offered.families).is_some();
            takes_part.then_some(*family.of(&kept))
        });
        if (offered.restarting, offered.families) != (restarting, families) {
            let mut config = PeerConfig::clone(&self.config);
            config.offer.graceful_restart = Some(GracefulRestart {
                restarting,
                families,
                ..offered
            });
            self.config = Arc::new(config);
        }
        let ours = self.config.offer.graceful_restart;
        if let Some(reduced) = self.past.as_mut().and_then(|past| past.reduced.as_mut())
            && reduced.offer.graceful_restart.is_some()
        {
            let mut config = PeerConfig::clone(reduced);
            config.offer.graceful_restart = ours.map(|restart| {
                let long_lived = reduced
                    .offer
                    .graceful_restart
                    .map_or(0, |left| left.long_lived);
                GracefulRestart {
                    long_lived,
                    ..restart
                }
            });
            *reduced = Arc::new(config);
        }
    }

    /// Leaves out of the next OPEN what the peer does not take of this one; whether there was anything. After a
    /// session all is offered again: who has been repaired meanwhile is not to be held to its past.
    pub(super) fn withhold(&mut self, ended: &Connection, reason: &CloseReason) -> bool {
        if ended.session().is_some() {
            self.offer_all();
            return false;
        }
        let CloseReason::ReceivedNotification(refusal) = reason else {
            return false;
        };
        let config = self.reduced().unwrap_or(&self.config);
        let (all, ends) = (&self.config.offer, (config.local_asn, config.remote_asn));
        let Some(offer) = without_refused(all, &config.offer, ends, refusal) else {
            return false;
        };
        let reduced = PeerConfig {
            offer,
            ..PeerConfig::clone(config)
        };
        self.past.get_or_insert_default().reduced = Some(Arc::new(reduced));
        true
    }

    /// Tries again with the OPEN that leaves something out. A connection that has the fuller one on its way
    /// must not come up: the two ends would understand it differently.
    pub(super) fn offer_less(&mut self, now: Instant, other: usize, out: &mut Vec<Output>) {
        if let Some(fuller) = self.connection(other) {
            if fuller.session().is_some() {
                return;
            }
            if fuller.is_connected() {
                self.end(now, other, CloseReason::Collision, Transport::Open, out);
            }
        }
        if !self.is_enabled() {
            return;
        }
        self.drop_dial(other, out);
        self.dial_soon(now, DIAL_SPREAD);
    }

    /// Offers all that is configured from here on.
    pub(super) fn offer_all(&mut self) {
        if let Some(past) = &mut self.past {
            past.reduced = None;
        }
    }

    fn reduced(&self) -> Option<&Arc<PeerConfig>> {
        self.past.as_ref()?.reduced.as_ref()
    }

    /// Takes a configuration over; what the peer does not take stays left out if OPEN is `the same`.
    pub(super) fn take_config(&mut self, config: PeerConfig, the_same: bool) {
        if let Some(past) = &mut self.past {
            past.reduced = past.reduced.take().filter(|_| the_same).map(|reduced| {
                Arc::new(PeerConfig {
                    offer: reduced.offer.clone(),
                    ..config.clone()
                })
            });
        }
        self.config = Arc::new(config);
    }
}
