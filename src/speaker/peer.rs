//! One configured peer as the speaker holds it, and the way in and out of its state machine.

use core::time::Duration;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::sync::Arc;

use super::limits::Limited;
use super::malformed::Malformed;
use super::near::Near;
use super::restart::{OwnStart, Retention};
use super::saying::Said;
use super::{Output, Speaker};
use crate::net::{Asn, Family, Role, RouterId};
use crate::policy::PeerClass;
use crate::rib::{PeerFacts, PeerIndex, PeerKind};
use crate::session::{
    self, AddPath, CloseReason, ConnectionId, ConnectionIds, Dial, HoldTime, Negotiated, Offer,
    PeerConfig,
};
use crate::time::Instant;
use crate::topology::{self, Plan, PlannedPeer};
use crate::wire::capability::Capability;
use crate::wire::frame::MessageKind;
use crate::wire::route_refresh::RouteRefresh;
use crate::wire::update::DecodeContext;

/// A peer: its plan, its state machine, and what its session has agreed on.
#[derive(Debug)]
pub(super) struct PeerEntry {
    pub(super) planned: PlannedPeer,
    pub(super) session: session::Peer,
    /// Our address on each connection that is open.
    pub(super) locals: BTreeMap<ConnectionId, IpAddr>,
    pub(super) established: Option<Established>,
    pub(super) deadline: Option<Instant>,
    /// Octets handed to the transport of the current connection that have not left.
    pub(super) queued: usize,
    /// Of these, messages of the state machine itself.
    pub(super) session_octets: usize,
    pub(super) discarded: u64,
    pub(super) treated_as_withdraw: u64,
    /// Which families have more prefixes than the peer may send.
    pub(super) over_limit: [bool; 2],
    /// What a limit has done to it, if anything.
    pub(super) limited: Option<Box<Limited>>,
    /// What it has sent, and is missing for what came with it.
    pub(super) malformed: Option<Box<Malformed>>,
    /// When bad input was last logged in full: what cost attributes, and what cost routes.
    pub(super) last_complaints: [Option<Instant>; 2],
    /// Whether an operator took it down.
    pub(super) shutdown: bool,
    /// What stays of it while it is away.
    pub(super) retention: Retention,
    /// When the key of the session was changed in place, until the next session.
    pub(super) signed_anew: Option<Instant>,
    /// Whether it was seen to be on our link.
    pub(super) near: Near,
    /// The reason for being down that the log has already.
    pub(super) said: Option<Box<Said>>,
}

/// What is known only while the session is up.
#[derive(Debug)]
pub(super) struct Established {
    pub(super) connection: ConnectionId,
    pub(super) negotiated: Arc<Negotiated>,
    pub(super) local: Option<IpAddr>,
    pub(super) context: DecodeContext,
    /// Stands for all that judging an attribute block depends on in the cache of parsed ones: no two
    /// sessions have the same, because what the peer may say can change from one to the next.
    pub(super) context_key: u64,
    /// End-of-RIB has come, by family.
    pub(super) end_of_rib: [bool; 2],
    /// The peer is repeating all it has, by family.
    refreshing: [bool; 2],
}

impl Established {
    /// Whether the peer has said all it has.
    pub(super) fn heard_all(&self) -> bool {
        let mut wanted = self.negotiated.families.iter().zip(self.end_of_rib);
        wanted.all(|(wanted, heard)| !wanted || heard)
    }

    /// Whether the peer says when it has said all (RFC 4724 §3).
    pub(super) fn says_when(&self) -> bool {
        self.negotiated.graceful_restart.is_some()
    }

    /// Whether the peer has offered graceful restart, whatever we have: it sends End-of-RIB.
    fn offers_restart(&self) -> bool {
        let mut offered = self.negotiated.peer_capabilities.iter();
        offered.any(|capability| matches!(capability, Capability::GracefulRestart { .. }))
    }

    /// Whether the peer has just restarted.
    pub(super) fn restarts(&self) -> bool {
        let restart = self.negotiated.graceful_restart;
        restart.is_some_and(|restart| restart.restarting)
    }
}

impl PeerEntry {
    pub(super) fn new(planned: PlannedPeer, plan: &Plan, own: OwnStart, seed: u64) -> Self {
        let session = session::Peer::new(session_config(&planned, plan, own), seed);
        let shutdown = planned.shutdown;
        Self {
            planned,
            session,
            locals: BTreeMap::new(),
            established: None,
            deadline: None,
            queued: 0,
            session_octets: 0,
            discarded: 0,
            treated_as_withdraw: 0,
            over_limit: [false; 2],
            limited: None,
            malformed: None,
            last_complaints: [None; 2],
            shutdown,
            retention: Retention::default(),
            signed_anew: None,
            near: Near::default(),
            said: None,
        }
    }

    pub(super) fn is_ebgp(&self) -> bool {
        self.planned.remote_asn != self.planned.local_asn
    }

    /// Whether a path that begins with `first` may come from this peer (RFC 4271 §6.3).
    pub(super) fn takes_first_as(&self, first: Option<Asn>) -> bool {
        !self.is_ebgp()
            || !self.planned.policy.enforce_first_as
            || first == Some(self.planned.remote_asn)
    }

    /// What we are to the peer, on eBGP (RFC 9234).
    pub(super) fn role(&self) -> Option<Role> {
        self.planned.open.role.role.filter(|_| self.is_ebgp())
    }

    /// Whether the other end keeps our routes if the connection is just gone (RFC 4724): it knows how to,
    /// and we have offered it.
    pub(super) fn far_end_keeps_routes(&self) -> bool {
        let offered = self.session.config().offer.graceful_restart;
        let offered = offered.is_some_and(|ours| ours.time > 0 && ours.families != [None, None]);
        let agreed = self.established.as_ref().map(|up| &up.negotiated);
        offered && agreed.is_some_and(|agreed| agreed.graceful_restart.is_some())
    }

    pub(super) fn class(&self) -> PeerClass {
        match self.planned.kind {
            topology::PeerKind::Mesh => PeerClass::Mesh,
            topology::PeerKind::Explicit if self.is_ebgp() => PeerClass::External,
            topology::PeerKind::Explicit => PeerClass::Internal,
        }
    }

    pub(super) fn facts(&self, plan: &Plan) -> PeerFacts {
        let router_id = self
            .established
            .as_ref()
            .map_or(RouterId(0), |established| {
                established.negotiated.remote_router_id
            });
        PeerFacts {
            kind: match (self.is_ebgp(), self.planned.client) {
                _ if plan.is_here(self.planned.address) => PeerKind::Beside,
                (true, _) => PeerKind::Ebgp,
                (false, true) => PeerKind::IbgpClient,
                (false, false) => PeerKind::Ibgp,
            },
            asn: self.planned.remote_asn,
            router_id,
            address: self.planned.address,
        }
    }
}

/// When something last failed: the session, and dialling since.
fn last_failure(session: &session::Peer) -> Option<(Instant, Option<Instant>)> {
    let error = session.last_error()?;
    Some((error.at, error.since.as_ref().map(|(at, _)| *at)))
}

/// What the state machine needs to know of a planned peer.
pub(super) fn session_config(planned: &PlannedPeer, plan: &Plan, own: OwnStart) -> PeerConfig {
    let open = &planned.open;
    let mut config = PeerConfig::new(
        planned.address,
        planned.local_asn,
        Some(planned.remote_asn),
        plan.router_id,
    );
    config.port = planned.port;
    config.dial = match planned.dial {
        topology::Dial::Active => Dial::Active,
        topology::Dial::Passive => Dial::Passive,
        topology::Dial::After(wait) => Dial::After(wait),
    };
    // 1 and 2 are refused when the configuration is read.
    config.timers.hold_time = HoldTime::from_secs(open.hold_time).unwrap_or(HoldTime::Disabled);
    config.timers.keepalive = open
        .keepalive_time
        .map(|secs| Duration::from_secs(u64::from(secs)));
    config.timers.connect_retry = planned.connect_retry;
    config.timers.send_hold = planned.send_hold;
    if !open.capabilities {
        config.offer = Offer::bare();
        return config;
    }
    config.offer = Offer {
        families: Family::ALL.map(|family| open.families.contains(family)),
        four_octet_as: open.four_octet_as,
        extended_messages: open.extended_messages,
        extended_next_hop: open.families.ipv4 && planned.address.is_ipv6(),
        add_path: [AddPath {
            send: open.add_path,
            receive: open.add_path,
        }; 2],
        graceful_restart: Some(own.offer(&planned.open)),
        role: open
            .role
            .role
            .filter(|_| planned.remote_asn != planned.local_asn),
        ..config.offer
    };
    config.required.role = config.offer.role.is_some() && open.role.strict;
    config
}

/// Which AS a two-octet speaker shows is the codec's business; here only whether it is ours.
pub(super) fn is_own_as(plan: &Plan, planned: &PlannedPeer, asn: Asn) -> bool {
    asn == plan.asn || asn == planned.local_asn
}

impl Speaker {
    /// Asks the peer for all its routes again (RFC 2918), if it is up and can.
    pub(super) fn ask_for_routes(&mut self, index: PeerIndex) {
        for family in Family::ALL {
            self.ask_for_family(index, family);
        }
    }

    /// The same for one family, if the session has it.
    pub(super) fn ask_for_family(&mut self, index: PeerIndex, family: Family) {
        let established = self.peer(index).and_then(|peer| peer.established.as_ref());
        let can =
            |up: &&Established| up.negotiated.route_refresh && *family.of(&up.negotiated.families);
        let Some(connection) = established.filter(can).map(|up| up.connection) else {
            return;
        };
        let request = RouteRefresh {
            family: family.afi_safi(),
            subtype: RouteRefresh::REQUEST,
        };
        self.rib.forget_beyond(index, family);
        self.send_session(index, connection, request.encode().into());
        if let Some(peer) = self.peer_mut(index) {
            peer.session.count_sent(MessageKind::RouteRefresh, 1);
        }
    }

    pub(super) fn input(&mut self, now: Instant, index: PeerIndex, input: session::Input<'_>) {
        self.with_session(now, index, |session, now, _ids, out| {
            session.handle(now, input, out);
        });
    }

    /// Lets `step` work on a peer's state machine, then does what it wants done and keeps its
    /// deadline.
    pub(super) fn with_session(
        &mut self,
        now: Instant,
        index: PeerIndex,
        step: impl FnOnce(&mut session::Peer, Instant, &mut ConnectionIds, &mut Vec<session::Output>),
    ) {
        let mut out = core::mem::take(&mut self.scratch);
        let slot = index
            .index()
            .checked_sub(1)
            .and_then(|at| self.peers.get_mut(at));
        if let Some(Some(peer)) = slot {
            let before = last_failure(&peer.session);
            step(&mut peer.session, now, &mut self.ids, &mut out);
            self.news += u64::from(last_failure(&peer.session) != before);
        }
        self.carry_out(now, index, &mut out);
        self.scratch = out;
        self.say_why_down(now, index);
        self.keep_deadline(index);
    }

    /// An UPDATE of a session that is up goes to the tables; `false` if the session is not. The deadline
    /// is the caller's to keep.
    pub(super) fn update(
        &mut self,
        now: Instant,
        index: PeerIndex,
        connection: ConnectionId,
        body: &[u8],
    ) -> bool {
        let up = self
            .peer_mut(index)
            .is_some_and(|peer| peer.session.take_update(now, connection));
        if up && let Err(notification) = self.ingest(now, index, body) {
            let failed = session::Input::UpdateFailed {
                connection,
                notification,
            };
            self.input(now, index, failed);
        }
        up
    }

    /// One message through the state machine.
    pub(super) fn message(
        &mut self,
        now: Instant,
        index: PeerIndex,
        connection: ConnectionId,
        kind: MessageKind,
        body: &[u8],
    ) {
        let message = session::Input::Message {
            connection,
            kind,
            body,
        };
        self.input(now, index, message);
    }

    fn carry_out(&mut self, now: Instant, index: PeerIndex, out: &mut Vec<session::Output>) {
        for output in out.drain(..) {
            match output {
                session::Output::Dial { connection } => self.dial(index, connection),
                session::Output::Send { connection, bytes } => {
                    self.send_session(index, connection, bytes);
                }
                session::Output::Close { connection } => {
                    self.forget(index, connection);
                    self.outputs.push_back(Output::Close { connection });
                }
                session::Output::Probe { connection } => {
                    self.outputs.push_back(Output::Probe { connection });
                }
                session::Output::Abort { connection } => {
                    self.forget(index, connection);
                    self.outputs.push_back(Output::Abort { connection });
                }
                session::Output::Up {
                    connection,
                    negotiated,
                } => {
                    self.up(now, index, connection, negotiated);
                }
                // `update` takes those of a session that is up, and no other state lets one pass.
                session::Output::Update { .. } => {}
                session::Output::RouteRefresh {
                    connection: _,
                    message,
                } => {
                    self.refresh_asked(index, message);
                    self.note_room(now, index);
                }
                session::Output::Down {
                    connection: _,
                    reason,
                } => self.down(now, index, &reason),
            }
        }
    }

    fn dial(&mut self, index: PeerIndex, connection: ConnectionId) {
        let Some(peer) = self.peer(index) else { return };
        if peer.secret_missing().is_some() {
            // To the state machine it is a dial that nobody answers: it is tried again, and it
            // succeeds as soon as there is a secret.
            return;
        }
        let output = Output::Dial {
            connection,
            remote: match peer.planned.address {
                IpAddr::V4(_) => SocketAddr::new(peer.planned.address, peer.planned.port),
                IpAddr::V6(v6) => {
                    SocketAddrV6::new(v6, peer.planned.port, 0, self.scope_of(peer)).into()
                }
            },
            source: peer.planned.source_address,
            socket: peer.socket_terms(),
        };
        self.connections.insert(connection, index);
        self.outputs.push_back(output);
    }

    fn send_session(&mut self, index: PeerIndex, connection: ConnectionId, bytes: bytes::Bytes) {
        if let Some(peer) = self.peer_mut(index) {
            let current = peer
                .established
                .as_ref()
                .map(|established| established.connection);
            if current.is_none_or(|current| current == connection) {
                peer.queued += bytes.len();
                peer.session_octets += bytes.len();
            }
        }
        self.outputs.push_back(Output::Send { connection, bytes });
    }

    fn forget(&mut self, index: PeerIndex, connection: ConnectionId) {
        self.connections.remove(&connection);
        if let Some(peer) = self.peer_mut(index) {
            peer.locals.remove(&connection);
        }
    }

    fn up(
        &mut self,
        now: Instant,
        index: PeerIndex,
        connection: ConnectionId,
        negotiated: Arc<Negotiated>,
    ) {
        self.sessions_begun += 1;
        let context_key = self.sessions_begun;
        let beside = self.is_beside(index);
        let Some(peer) = self.peer_mut(index) else {
            return;
        };
        let context = DecodeContext {
            four_octet_as: negotiated.four_octet_as,
            ebgp: peer.is_ebgp(),
            add_path: negotiated.add_path.map(|both| both.receive),
            families: negotiated.families,
            extended_next_hop: negotiated.extended_next_hop,
            permit_as_sets: false,
            beside,
        };
        let local = peer.locals.get(&connection).copied();
        peer.signed_anew = None;
        peer.said = None;
        peer.queued = 0;
        peer.session_octets = 0;
        peer.established = Some(Established {
            connection,
            local,
            context,
            context_key,
            end_of_rib: [false; 2],
            refreshing: [false; 2],
            negotiated,
        });
        tracing::info!(peer = %peer.planned.name, address = %peer.planned.address, "session is up");
        let withheld = peer.session.withheld_in_words();
        if !withheld.is_empty() {
            tracing::warn!(peer = %peer.planned.name, withheld, "without what the other end does not take");
        }
        self.news += 1;
        if let Some(facts) = self.peer(index).map(|peer| peer.facts(&self.plan)) {
            self.rib.set_peer(index, facts);
        }
        self.returned(now, index);
        self.begin_export(index);
    }

    fn down(&mut self, now: Instant, index: PeerIndex, reason: &CloseReason) {
        let Some(peer) = self.peer_mut(index) else {
            return;
        };
        tracing::warn!(peer = %peer.planned.name, address = %peer.planned.address, %reason,
            "session is down");
        peer.said = Some(Box::new(Said::of(reason.clone())));
        let ended = peer.established.take();
        if ended.is_some() {
            peer.near.went_down(now);
        }
        peer.over_limit = [false; 2];
        peer.malformed = None;
        peer.stop_asking();
        peer.queued = 0;
        peer.session_octets = 0;
        for family in Family::ALL {
            self.rib.remove_export(index, family);
            self.rib.forget_beyond(index, family);
        }
        self.news += 1;
        self.keep_or_flush(now, index, ended.as_ref(), reason);
    }

    /// Whether a refresh can't begin yet: End-of-RIB is still to come from a peer that sends one (RFC 7313 §4).
    fn is_early(&self, index: PeerIndex, family: Family) -> bool {
        let up = self.peer(index).and_then(|peer| peer.established.as_ref());
        let owes = up.is_some_and(|up| up.offers_restart() && !*family.of(&up.end_of_rib));
        owes || self.is_confirming(index, family)
    }

    /// Notes that a refresh has begun or is over; whether one had begun.
    fn set_refreshing(&mut self, index: PeerIndex, family: Family, now: bool) -> bool {
        let up = self
            .peer_mut(index)
            .and_then(|peer| peer.established.as_mut());
        up.is_some_and(|up| core::mem::replace(family.of_mut(&mut up.refreshing), now))
    }

    fn refresh_asked(&mut self, index: PeerIndex, message: RouteRefresh) {
        let Some(family) = message.family.family() else {
            return;
        };
        let established = self.peer(index).and_then(|peer| peer.established.as_ref());
        let Some(framed) = established.map(|up| up.negotiated.enhanced_refresh) else {
            return;
        };
        match message.subtype {
            RouteRefresh::REQUEST => self.rib.refresh(index, family, framed),
            // The octet was a reserved one, to be ignored, before RFC 7313: it is a plain request.
            _reserved if !framed => self.rib.refresh(index, family, false),
            // Its first table is still on the way, and what is stale waits for its end.
            RouteRefresh::BEGIN if self.is_early(index, family) => {}
            // What the peer does not repeat before the end is gone (RFC 7313 §4).
            RouteRefresh::BEGIN => {
                self.set_refreshing(index, family, true);
                self.rib.forget_beyond(index, family);
                self.rib.mark_stale(index, family);
                self.doubt_malformed(index, family);
            }
            RouteRefresh::END if self.set_refreshing(index, family, false) => {
                self.rib.sweep_stale(index, family);
                self.sweep_malformed(index, family);
            }
            _other => {}
        }
    }

    pub(super) fn keep_deadline(&mut self, index: PeerIndex) {
        let slot = index
            .index()
            .checked_sub(1)
            .and_then(|at| self.peers.get_mut(at));
        let Some(Some(peer)) = slot else { return };
        let session = peer.session.next_timeout().map(|(at, _)| at);
        let wanted = [session, peer.retention.deadline(), peer.asking().due()]
            .into_iter()
            .flatten()
            .min();
        if wanted == peer.deadline {
            return;
        }
        if let Some(old) = peer.deadline.take() {
            self.deadlines.remove(&(old, index));
        }
        peer.deadline = wanted;
        if let Some(at) = wanted {
            self.deadlines.insert((at, index));
        }
    }
}
