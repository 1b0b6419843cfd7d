//! UPDATE in: parse once, judge, enter into the tables.
//!
//! The same attribute bytes of the same peer are found by hash and not parsed again. A fault costs
//! what RFC 7606 says and no more; what ends the session goes back as the NOTIFICATION to send.

use std::net::IpAddr;

use super::Speaker;
use super::judging::{Judge, Made};
use super::malformed::Fault;
use super::peer::is_own_as;
use crate::net::{Asn, Family, Role, RouterId, ScopedAddress};
use crate::rib::{AttributesId, PeerIndex};
use crate::time::{Duration, Instant};
use crate::wire::attribute::plain::{self, Plain};
use crate::wire::attribute::{NextHop, PathAttributes};
use crate::wire::notification::Notification;
use crate::wire::update::{self, DecodeContext, Nlri, RawUpdate, Treatment, Update};

/// GRACEFUL_SHUTDOWN (RFC 8326).
const GRACEFUL_SHUTDOWN: u32 = 0xFFFF_0000;

/// At most one UPDATE of a peer and a treatment is logged in full in this time (RFC 7606 §8 wants them logged).
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(10);

/// Why a whole set of attributes makes its routes ineligible, without any fault of the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Ineligible {
    /// RFC 4271 §9.1.2.
    #[error("our own AS is in the path (loop)")]
    OwnAs,
    /// RFC 4456 §8.
    #[error("we are its originator (loop)")]
    Originator,
    /// RFC 4456 §8.
    #[error("our cluster id is in its cluster list (loop)")]
    Cluster,
    /// RFC 4271 §6.3.
    #[error("its next hop is our own address")]
    OwnNextHop,
    /// RFC 9234 §5.
    #[error(
        "it was to go to customers only (OTC), and the peer is none of whom it may come from: a route leak"
    )]
    Leak,
    /// RFC 4271 §6.3; only met by routes that came before it was enforced.
    #[error("its path does not begin with the peer's AS (enforce-first-as)")]
    FirstAs,
}

impl Ineligible {
    /// For scripts: it never changes.
    pub(super) const fn as_str(&self) -> &'static str {
        match self {
            Self::OwnAs => "own_as_loop",
            Self::Originator => "originator_loop",
            Self::Cluster => "cluster_loop",
            Self::OwnNextHop => "own_next_hop",
            Self::Leak => "route_leak",
            Self::FirstAs => "first_as",
        }
    }
}

/// How the session reads UPDATEs, and the key its attribute bytes are remembered under.
#[derive(Debug, Clone, Copy)]
struct Reading {
    context: DecodeContext,
    key: u64,
}

/// Where routes come from and lead to: what loops are found by.
#[derive(Debug, Clone)]
pub(super) struct Origins<P, C> {
    as_path: P,
    first_as: Option<Asn>,
    originator_id: Option<RouterId>,
    cluster_list: C,
    next_hop: Option<NextHop>,
    otc: Option<Asn>,
}

impl Origins<(), ()> {
    /// Of a decoded set.
    pub(super) fn of(
        attributes: &PathAttributes,
    ) -> Origins<impl Iterator<Item = Asn> + Clone, impl Iterator<Item = RouterId> + Clone> {
        Origins {
            as_path: attributes.as_path.iter(),
            first_as: attributes.as_path.first_as(),
            originator_id: attributes.originator_id,
            cluster_list: attributes.cluster_list.iter().copied(),
            next_hop: attributes.next_hop,
            otc: attributes.otc,
        }
    }

    /// Of a block.
    fn of_plain(
        plain: &Plain<'_>,
    ) -> Origins<impl Iterator<Item = Asn> + Clone, impl Iterator<Item = RouterId> + Clone> {
        Origins {
            as_path: plain.as_path.iter().map(|word| Asn(plain::of(*word))),
            first_as: plain.first_as(),
            originator_id: plain.originator_id,
            cluster_list: plain
                .cluster_list
                .iter()
                .map(|word| RouterId(plain::of(*word))),
            next_hop: Some(plain.next_hop),
            otc: None,
        }
    }
}

/// The prefixes in the body.
fn lists<'a>(
    raw: RawUpdate<'a>,
    context: &DecodeContext,
) -> Result<(Nlri<'a>, Nlri<'a>), Notification> {
    let [add_path, _] = context.add_path;
    let list = |bytes| {
        update::nlri_checked(bytes, Family::Ipv4, add_path).map_err(|error| error.notification())
    };
    Ok((list(raw.withdrawn)?, list(raw.nlri)?))
}

/// Whether a route that was to go to customers only has come from somebody who must not send it on (RFC 9234
/// §5, ingress 1 and 2).
fn leaks(ours: Option<Role>, otc: Option<Asn>, peer_as: Asn) -> bool {
    let (Some(ours), Some(otc)) = (ours, otc) else {
        return false;
    };
    ours.peer_is_below() || (ours == Role::Peer && otc != peer_as)
}

impl Speaker {
    /// Enters an UPDATE of `index` into the tables.
    pub(super) fn ingest(
        &mut self,
        now: Instant,
        index: PeerIndex,
        body: &[u8],
    ) -> Result<(), Notification> {
        let raw = RawUpdate::split(body).map_err(|error| error.notification())?;
        let Some(established) = self.peer(index).and_then(|peer| peer.established.as_ref()) else {
            return Ok(());
        };
        let reading = Reading {
            context: established.context,
            key: established.context_key,
        };
        if !self.ingest_plain(index, raw, &reading)? && !self.ingest_known(index, raw, &reading)? {
            self.ingest_new(now, index, raw, body, &reading)?;
        }
        self.check_limit(now, index);
        self.note_room(now, index);
        Ok(())
    }

    /// The short way, for attribute bytes that are as we would store them; `false` if they are not.
    fn ingest_plain(
        &mut self,
        index: PeerIndex,
        raw: RawUpdate<'_>,
        Reading { context, .. }: &Reading,
    ) -> Result<bool, Notification> {
        if raw.nlri.is_empty() || !context.families[0] {
            return Ok(false);
        }
        let Some(plain) = Plain::read(raw.attributes, context) else {
            return Ok(false);
        };
        let asked_to_leave =
            context.ebgp && plain.communities.contains(&GRACEFUL_SHUTDOWN.to_be_bytes());
        let marked = self.marks_received(index).is_some();
        if marked || asked_to_leave || self.eligible(index, &Origins::of_plain(&plain)).is_err() {
            return Ok(false);
        }
        let (withdrawn, announced) = lists(raw, context)?;
        if announced.skipped() > 0 {
            return Ok(false);
        }
        self.withdraw(index, withdrawn);
        let id = self.rib.attributes_mut().intern_plain(index, &plain);
        self.announce(index, announced, id, true);
        self.rib.attributes_mut().release(id);
        Ok(true)
    }

    /// The short way, for attribute bytes that were parsed before; `false` if they were not.
    fn ingest_known(
        &mut self,
        index: PeerIndex,
        raw: RawUpdate<'_>,
        Reading { context, key }: &Reading,
    ) -> Result<bool, Notification> {
        if raw.attributes.is_empty() || raw.nlri.is_empty() || !context.families[0] {
            return Ok(false);
        }
        let Some(id) = self
            .rib
            .attributes_mut()
            .lookup_raw(*key, raw.attributes, None)
        else {
            return Ok(false);
        };
        let result = lists(raw, context).map(|(withdrawn, announced)| {
            self.withdraw(index, withdrawn);
            self.announce(index, announced, id, true);
            true
        });
        self.rib.attributes_mut().release(id);
        result
    }

    fn ingest_new(
        &mut self,
        now: Instant,
        index: PeerIndex,
        raw: RawUpdate<'_>,
        body: &[u8],
        Reading { context, key }: &Reading,
    ) -> Result<(), Notification> {
        let mut update = update::decode(raw, context).map_err(|error| error.notification())?;
        self.count_faults(now, index, &update, body);
        if let Some(family) = update.end_of_rib().and_then(|pair| pair.family()) {
            self.end_of_rib(index, family);
            return Ok(());
        }
        self.withdraw(index, update.withdrawn);
        if let Some((_, nlri)) = update.mp_withdrawn {
            self.withdraw(index, nlri);
        }
        let first_as_is_wrong = self.first_as_is_wrong(index, &update);
        if update.treatment == Some(Treatment::Withdraw) || first_as_is_wrong {
            let fault = Fault::of(&update);
            if let Some(peer) = self.peer_mut(index) {
                peer.treated_as_withdraw += 1;
            }
            self.treat_as_withdrawn(index, update.announced, fault);
            if let Some(mp) = update.mp_announced {
                self.treat_as_withdrawn(index, mp.nlri, fault);
            }
            return Ok(());
        }
        if context.ebgp && update.attributes.communities.contains(&GRACEFUL_SHUTDOWN) {
            // RFC 8326 §4.2: the last choice, as long as there is another one.
            update.attributes.local_pref = Some(0);
        }
        if context.ebgp {
            // Nobody has configured a session that carries it (RFC 7311 §3.3).
            update.attributes.aigp = None;
        }
        if let Some(peer_as) = self.marks_received(index) {
            update.attributes.otc.get_or_insert(peer_as);
        }
        if let Some(mp) = update.mp_announced.filter(|mp| !mp.nlri.is_ignored()) {
            let next_hop = Some(self.on_link(index, mp.next_hop));
            let attributes = PathAttributes {
                next_hop,
                ..update.attributes.clone()
            };
            let eligible = self.eligible(index, &Origins::of(&attributes)).is_ok();
            let id = self.rib.attributes_mut().intern(index, &attributes);
            self.announce(index, mp.nlri, id, eligible);
            self.rib.attributes_mut().release(id);
        }
        if !update.announced.is_empty() && !update.announced.is_ignored() {
            let eligible = self
                .eligible(index, &Origins::of(&update.attributes))
                .is_ok();
            let id = self.rib.attributes_mut().intern(index, &update.attributes);
            self.announce(index, update.announced, id, eligible);
            let plain = update.mp_announced.is_none() && update.mp_withdrawn.is_none();
            // What was too much to keep is not kept by the cache, either.
            let kept = self.rib.attributes().crowded(index).is_none();
            if plain && eligible && kept && update.faults.is_empty() {
                self.rib
                    .attributes_mut()
                    .remember_raw(*key, raw.attributes, None, id);
            }
            self.rib.attributes_mut().release(id);
        }
        Ok(())
    }

    /// RFC 4271 §6.3, softened by RFC 7606 §7.2: a path of an eBGP peer begins with its AS.
    fn first_as_is_wrong(&self, index: PeerIndex, update: &Update<'_>) -> bool {
        let announces = !update.announced.is_empty() || update.mp_announced.is_some();
        announces
            && self
                .peer(index)
                .is_some_and(|peer| !peer.takes_first_as(update.attributes.as_path.first_as()))
    }

    /// A next hop with the scope of its link-local address: the session's link. Of two addresses the
    /// link-local one is used where the session itself has none but such, since nobody said that a route
    /// leads to the other one; else that is used, which may be reached by more than one link.
    fn on_link(&self, index: PeerIndex, next_hop: NextHop) -> NextHop {
        let peer = self.peer(index).map(|peer| peer.planned.address);
        let beside = next_hop.link_local.is_some()
            && peer.is_some_and(|address| ScopedAddress::from(address).is_link_local());
        if beside || ScopedAddress::from(next_hop.address).is_link_local() {
            return next_hop.on(index.0);
        }
        next_hop
    }

    /// Whether routes with these attributes may be used at all.
    pub(super) fn eligible<P, C>(
        &self,
        index: PeerIndex,
        origins: &Origins<P, C>,
    ) -> Result<(), Ineligible>
    where
        P: Iterator<Item = Asn> + Clone,
        C: Iterator<Item = RouterId> + Clone,
    {
        let Some(peer) = self.peer(index) else {
            return Ok(());
        };
        let own = |asn: &Asn| is_own_as(&self.plan, &peer.planned, *asn);
        let allowed = usize::from(peer.planned.policy.allowed_local_as);
        if origins.as_path.clone().filter(own).count() > allowed {
            return Err(Ineligible::OwnAs);
        }
        if origins.originator_id == Some(self.plan.router_id) {
            return Err(Ineligible::Originator);
        }
        // Nothing else: our identifier may be another's cluster id.
        let own_cluster = |id| Some(id) == self.own_cluster();
        if origins.cluster_list.clone().any(own_cluster) {
            return Err(Ineligible::Cluster);
        }
        if leaks(peer.role(), origins.otc, peer.planned.remote_asn) {
            return Err(Ineligible::Leak);
        }
        if !peer.takes_first_as(origins.first_as) {
            return Err(Ineligible::FirstAs);
        }
        let next_hop = origins.next_hop.map(|hop| hop.address);
        if self.plan.is_here(peer.planned.address) {
            // What a speaker beside us on this node announces is here.
            return Ok(());
        }
        if next_hop.is_some_and(|address| self.is_own_address(index, address)) {
            return Err(Ineligible::OwnNextHop);
        }
        Ok(())
    }

    /// The AS that routes of a peer are marked with if they have no mark: from here on they go to customers
    /// only (RFC 9234 §5, ingress 3).
    fn marks_received(&self, index: PeerIndex) -> Option<Asn> {
        let peer = self.peer(index)?;
        let marks = peer.role().is_some_and(Role::peer_is_not_below);
        marks.then_some(peer.planned.remote_asn)
    }

    fn is_own_address(&self, index: PeerIndex, address: IpAddr) -> bool {
        let local = self
            .peer(index)
            .and_then(|peer| peer.established.as_ref()?.local);
        local == Some(address) || self.around.own_addresses.contains(&address)
    }

    fn announce(&mut self, index: PeerIndex, nlri: Nlri<'_>, id: AttributesId, eligible: bool) {
        self.heard_well(index, nlri);
        let Some(judge) = self.judge(index) else {
            return;
        };
        if eligible && !judge.is_plain() {
            self.announce_judged(index, nlri, id, &judge);
            return;
        }
        let Self { rib, around, .. } = self;
        let takes = |prefix| eligible && judge.takes(around, prefix);
        let routes = nlri.iter();
        let routes = routes.map(|(path_id, prefix)| (path_id, prefix, takes(prefix)));
        rib.announce_all(index, id, routes);
    }

    /// The same where policy looks at more than the prefix, or changes something.
    fn announce_judged(
        &mut self,
        index: PeerIndex,
        nlri: Nlri<'_>,
        id: AttributesId,
        judge: &Judge,
    ) {
        let verdicts = judge.verdicts(&self.around, self.rib.attributes().get(id), nlri.iter());
        let mut made = Made::new();
        for (path_id, prefix, verdict) in verdicts {
            let of = (id, prefix.family());
            let attributes = judge.make(self.rib.attributes_mut(), &mut made, of, verdict);
            let accepted = verdict.is_some();
            self.rib
                .announce(index, prefix, path_id, attributes, accepted);
        }
        self.release_made(made);
    }

    fn withdraw(&mut self, index: PeerIndex, nlri: Nlri<'_>) {
        if nlri.is_ignored() {
            return;
        }
        self.rib.withdraw_all(index, nlri.iter());
        self.heard_well(index, nlri);
    }

    fn end_of_rib(&mut self, index: PeerIndex, family: Family) {
        if let Some(peer) = self.peer_mut(index) {
            tracing::debug!(peer = %peer.planned.name, %family, "End-of-RIB");
            if let Some(established) = &mut peer.established {
                *family.of_mut(&mut established.end_of_rib) = true;
            }
        }
        self.confirmed(index, family);
    }

    fn count_faults(&mut self, now: Instant, index: PeerIndex, update: &Update<'_>, body: &[u8]) {
        let Some(fault) = update.faults.first() else {
            return;
        };
        let Some(peer) = self.peer_mut(index) else {
            return;
        };
        let discards = update
            .faults
            .iter()
            .filter(|f| f.treatment == Treatment::Discard)
            .count();
        peer.discarded += u64::try_from(discards).unwrap_or(u64::MAX);
        let treatment = update.treatment.unwrap_or(Treatment::Discard);
        // Each for itself, so that the octets of a route that is missing are there.
        let [discards, withdrawals] = &mut peer.last_complaints;
        let last = match treatment {
            Treatment::Discard => discards,
            Treatment::Withdraw => withdrawals,
        };
        if last.is_none_or(|last| now - last >= COMPLAINT_INTERVAL) {
            *last = Some(now);
            tracing::warn!(peer = %peer.planned.name, %fault, %treatment,
                faults = update.faults.len(), update = %Hex(body), "bad path attributes");
        }
    }
}

/// Bytes as hexadecimal in a log line, at most one normal message of them.
struct Hex<'a>(&'a [u8]);

impl core::fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        for byte in self.0.iter().take(4096) {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}
