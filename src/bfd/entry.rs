//! One far end that is watched: whether a datagram is its, before the session hears of it.
//!
//! The checks, in this order: the port, the link, the TTL, the signature, the name. What always holds: a
//! single-hop packet counts only from a link that the far end is reached by, with a TTL that nobody can have
//! who is further away; no packet makes a far end on a link one behind routers.

use super::machine::{Arrival, Transmit};
use super::packet::{Packet, State};
use super::refusal::{Dropped, Refusal};
use super::session::{Session, Standing};
use super::signing::{Authentication, Signed, Signing, is_signed};
use super::{FarEnd, Hops, Report, Watch};
use crate::time::{Duration, Instant};

/// How long a far end has to be heard on the single-hop port, and only there, before we go there, too.
/// The other way is gone at once, so that two ends that begin differently don't change places for ever.
const FOLLOW_AFTER: Duration = Duration::from_secs(3);
/// Counts alone are told of no more often.
const BETWEEN_COUNTS: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) watch: Watch,
    /// The port that is spoken to, which the far end may have changed.
    pub(super) hops: Hops,
    /// The links that the far end is reached by.
    pub(super) links: Vec<u32>,
    pub(super) session: Session,
    pub(super) deadline: Option<Instant>,
    /// What was told last, and when.
    pub(super) reported: Option<(Instant, Report)>,
    signing: Option<Signing>,
    /// Since when the far end is heard on the other port.
    elsewhere: Option<Instant>,
    dropped: Dropped,
    /// Why the last packet counted for nothing, since the session was up last.
    refused: Option<Refusal>,
}

impl Entry {
    /// `sequence` is where the numbers of signed packets begin.
    pub(super) fn new(now: Instant, mine: u32, watch: &Watch, sequence: u32) -> Self {
        let signing = match &watch.authentication {
            Authentication::Key(key) => Some(Signing::new(key.clone(), sequence)),
            Authentication::None | Authentication::Missing => None,
        };
        Self {
            watch: watch.clone(),
            hops: watch.hops,
            links: Vec::new(),
            session: Session::new(now, mine, watch.terms),
            deadline: None,
            reported: None,
            signing,
            elsewhere: None,
            dropped: Dropped::default(),
            refused: None,
        }
    }

    /// Whether a session can't go on with this: signed and not signed are two sessions. One whose key can't
    /// be had any more goes on with the key that it has.
    pub(super) fn begins_anew_for(&self, wanted: &Authentication) -> bool {
        match wanted {
            Authentication::None => self.signing.is_some() || self.is_mute(),
            Authentication::Key(_) => self.signing.is_none(),
            Authentication::Missing => self.signing.is_none() && !self.is_mute(),
        }
    }

    /// Whether there is nothing to sign with.
    fn is_mute(&self) -> bool {
        self.signing.is_none() && self.watch.authentication == Authentication::Missing
    }

    /// Other terms for the same session.
    pub(super) fn change(&mut self, now: Instant, watch: &Watch) {
        if self.watch.hops != watch.hops {
            self.hops = watch.hops;
        }
        if let (Some(signing), Authentication::Key(key)) =
            (&mut self.signing, &watch.authentication)
        {
            signing.change(now, key, self.session.state() == State::Up);
        }
        self.watch = watch.clone();
        self.session.set_terms(now, watch.terms);
    }

    /// Whether a datagram is of this path: a name that was guessed or overheard is not enough.
    pub(super) fn is_at(&self, arrival: &Arrival<'_>) -> bool {
        let FarEnd {
            remote,
            local,
            interface,
        } = &self.watch.far_end;
        *remote == arrival.remote
            && local.is_none_or(|local| local == arrival.local)
            // Each link has a host of this address, maybe.
            && (interface.is_none() || self.links.contains(&arrival.link))
    }

    /// Takes a packet of this path, or says why not.
    pub(super) fn take(
        &mut self,
        now: Instant,
        arrival: &Arrival<'_>,
        packet: &Packet,
    ) -> Result<(), Refusal> {
        let taken = self.admit(now, arrival, packet);
        match taken {
            Ok(signed) => {
                self.session.received(now, packet);
                if let (Some(signing), Some(signed)) = (&mut self.signing, signed) {
                    let detection = self.session.detection().unwrap_or_default();
                    signing.took(now, signed, detection);
                }
                if self.session.state() == State::Up {
                    self.refused = None;
                }
                Ok(())
            }
            Err(refusal) => {
                self.refuse(refusal);
                Err(refusal)
            }
        }
    }

    /// Counts what does not count.
    pub(super) fn refuse(&mut self, refusal: Refusal) {
        self.dropped.count(refusal);
        if self.session.state() != State::Up {
            self.refused = Some(refusal);
        }
    }

    fn admit(
        &mut self,
        now: Instant,
        arrival: &Arrival<'_>,
        packet: &Packet,
    ) -> Result<Option<Signed>, Refusal> {
        if arrival.hops != self.hops && !self.may_follow(arrival.hops, packet) {
            return Err(Refusal::Port);
        }
        let least = match arrival.hops {
            Hops::Single => u8::MAX,
            Hops::Multi => self.watch.least_ttl,
        };
        if arrival.hops == Hops::Single && !self.links.contains(&arrival.link) {
            return Err(Refusal::Link);
        }
        if arrival.ttl.is_none_or(|ttl| ttl < least) {
            return Err(Refusal::Ttl);
        }
        let signed = match &mut self.signing {
            Some(signing) => match signing.check(now, arrival.octets, packet) {
                Ok(signed) => Some(signed),
                Err(refusal) => {
                    // A new process begins at another number, which is taken when the old one is
                    // forgotten; that it is there is known before.
                    let begins = self.session.standing(packet, true) == Standing::Newcomer;
                    if refusal == Refusal::Replayed && begins {
                        self.session.notice(now, None);
                    }
                    return Err(refusal);
                }
            },
            None if self.watch.authentication == Authentication::Missing => {
                return Err(Refusal::KeyMissing);
            }
            None if is_signed(arrival.octets) => return Err(Refusal::Signed),
            None => None,
        };
        let proven = arrival.hops == Hops::Single || signed.is_some();
        match self.session.standing(packet, proven) {
            Standing::Known => {}
            Standing::Newcomer => {
                let said = signed.is_none().then_some(*packet);
                self.session.notice(now, said);
                return Err(Refusal::Discriminator);
            }
            Standing::Other => return Err(Refusal::Discriminator),
        }
        if !self.follows(now, arrival.hops) {
            return Err(Refusal::Port);
        }
        Ok(signed)
    }

    /// Whether a packet of the other port may be more than a mistake. A far end that is expected behind
    /// routers may turn out to be on a link, where more is asked of its packets; never the other way round.
    fn may_follow(&self, hops: Hops, packet: &Packet) -> bool {
        let waits = self.session.state() == State::Down && packet.yours == 0;
        let allowed = hops == Hops::Single || self.watch.hops == Hops::Multi;
        allowed && waits && !self.session.is_leaving()
    }

    /// Goes to the port `hops`, if it is another and the far end is heard there for long enough.
    fn follows(&mut self, now: Instant, hops: Hops) -> bool {
        if hops == self.hops {
            self.elsewhere = None;
            return true;
        }
        let since = *self.elsewhere.get_or_insert(now);
        let patience = match hops {
            Hops::Multi => Duration::ZERO,
            Hops::Single => FOLLOW_AFTER,
        };
        if now.since(since) < patience {
            return false;
        }
        self.hops = hops;
        self.elsewhere = None;
        true
    }

    /// A packet as it leaves; none without the key that it should be signed with.
    pub(super) fn transmit(&mut self, now: Instant, packet: &Packet) -> Option<Transmit> {
        if self.is_mute() {
            return None;
        }
        let octets = match &mut self.signing {
            Some(signing) => signing.sign(now, packet),
            None => packet.encode().to_vec(),
        };
        // Of several links the kernel chooses, as it does for everything else that goes there.
        let link = match (self.hops, self.links.as_slice()) {
            (Hops::Single, [only]) => Some(*only),
            (Hops::Single | Hops::Multi, _) => None,
        };
        Some(Transmit {
            far_end: self.watch.far_end.clone(),
            hops: self.hops,
            link,
            octets,
        })
    }

    /// Whether somebody should hear of this. Where only counts differ a flood makes one report a second.
    pub(super) fn is_news(&self, now: Instant, report: &Report) -> bool {
        let Some((at, last)) = &self.reported else {
            return true;
        };
        if last == report {
            return false;
        }
        let alike = Report {
            dropped: report.dropped,
            refused: report.refused,
            ..last.clone()
        };
        alike != *report || now.since(*at) >= BETWEEN_COUNTS
    }

    pub(super) fn report(&self, mine: u32) -> Report {
        let session = &self.session;
        Report {
            far_end: self.watch.far_end.clone(),
            session: mine,
            state: session.state(),
            since: session.since(),
            diagnostic: session.diagnostic(),
            failures: session.failures(),
            failed_from: session.failed_from(),
            independent: session.independent(),
            hops: self.hops,
            transmit: session.interval(),
            detection: session.detection(),
            algorithm: self.signing.as_ref().map(Signing::algorithm),
            key_missing: self.is_mute(),
            dropped: self.dropped,
            refused: self.refused,
        }
    }
}
