//! One BGP speaker: it introduces sessions, tables, policy and the plan to each other.
//!
//! It is pure: connections are ids, time is given, bytes go in and out. What the world has to do
//! comes out of [`Speaker::poll`]; what is to be forwarded out of [`Speaker::poll_forwarding`].
//!
//! Life of an UPDATE: [`received`](Speaker::received) → the session's state machine → `ingest` (parse
//! once, policy, Adj-RIB-In) → the RIB decides → cohorts note the change → [`flush`](Speaker::flush)
//! encodes it once a cohort → the bytes leave through the connections that can take them.
//!
//! What always holds: no peer waits for another one; a peer's bytes never panic; every peer with a
//! deadline is in `deadlines` exactly once.

mod candidate;
mod dynamic;
mod egress;
mod far_end;
mod ingest;
mod judging;
mod leaving;
mod limits;
mod malformed;
mod near;
mod orders;
mod outgoing;
mod peer;
mod policies;
mod problems;
mod protection;
mod replan;
mod restart;
mod routes;
mod saying;
mod status;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;

use crate::net::{Hashing, Prefix, ScopedAddress};
use crate::policy::{Links, Surroundings};
use crate::rib::{self, AttributesId, ForwardingChange, PeerIndex, Rib, RibConfig};
use crate::session::{self, ConnectionId, ConnectionIds, DialError};
use crate::time::Instant;
use crate::topology::{Authentication, Plan};
use crate::wire::error::HeaderError;
use crate::wire::frame::{self, MessageKind};

pub use dynamic::{MOST, MOST_ON_LINK, SessionLink, TurnedUp};
use far_end::FarEnds;
pub use near::TOO_FAR;
pub use orders::AdminError;
use peer::PeerEntry;
pub use protection::NO_PEER;
pub use replan::Replanned;
use restart::OwnStart;
pub use restart::{Awaited, CONFIRM_TIME, Kept};
pub use routes::{ExportStatus, PathStatus, RouteStatus};
pub use status::PeerStatus;

/// Settings of the node itself, the same for all plans.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Seed of jitter, which others can see.
    pub seed: u64,
    /// How tables hash, which nobody is to know.
    pub hashing: Hashing,
    /// Whether next hops are resolved by the kernel; without it all count as reachable.
    pub track_next_hops: bool,
    /// Whether somebody takes the changes from [`Speaker::poll_forwarding`].
    pub forwarding: bool,
    /// At most so many paths are used at once.
    pub max_paths: u16,
    /// Between which paths MED is compared.
    pub med: rib::MedMode,
}

/// What the world has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Open a TCP connection.
    Dial {
        /// Its id.
        connection: ConnectionId,
        /// The peer.
        remote: SocketAddr,
        /// The address to dial from.
        source: Option<IpAddr>,
        /// What the socket needs.
        socket: SocketTerms,
    },
    /// Queue bytes on a connection.
    Send {
        /// Which.
        connection: ConnectionId,
        /// What.
        bytes: Bytes,
    },
    /// Sign with another key from here on.
    Sign {
        /// Which connection.
        connection: ConnectionId,
        /// The key.
        authentication: Authentication,
    },
    /// Say [`Speaker::acknowledged`] when the far end's host has acknowledged all that was queued so far.
    Probe {
        /// On which connection.
        connection: ConnectionId,
    },
    /// Close when the queue is empty.
    Close {
        /// Which.
        connection: ConnectionId,
    },
    /// Close at once.
    Abort {
        /// Which.
        connection: ConnectionId,
    },
}

/// What a socket of a peer needs, as values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketTerms {
    /// TTL or hop limit.
    pub ttl: Option<u8>,
    /// Packets with a lower TTL or hop limit are not taken.
    pub min_ttl: Option<u8>,
    /// What segments are signed with; never a secret that is missing.
    pub authentication: Authentication,
    /// Give up if sent data stays unacknowledged for so long.
    pub user_timeout: Option<core::time::Duration>,
    /// Largest message that we accept.
    pub max_message: usize,
}

/// The speaker.
#[derive(Debug)]
pub struct Speaker {
    settings: Settings,
    plan: Plan,
    around: Surroundings,
    policies: policies::ExportPolicies,
    /// Traffic is to go elsewhere: maintenance (RFC 8326).
    draining: bool,
    /// By `PeerIndex` - 1; a gap is a peer that was removed.
    peers: Vec<Option<Box<PeerEntry>>>,
    names: BTreeMap<String, PeerIndex>,
    addresses: BTreeMap<IpAddr, Vec<PeerIndex>>,
    connections: BTreeMap<ConnectionId, PeerIndex>,
    ids: ConnectionIds,
    deadlines: BTreeSet<(Instant, PeerIndex)>,
    /// Sessions that came up so far; the count is a session's name in the cache of parsed blocks.
    sessions_begun: u64,
    far_ends: FarEnds,
    rib: Rib,
    leaving: Option<leaving::Leaving>,
    /// What OPEN says of our own start.
    own_start: OwnStart,
    /// Our link-local address on the link of each peer that is on one.
    link_locals: BTreeMap<IpAddr, Ipv6Addr>,
    /// The link that each next hop is reached by.
    links: Arc<Links>,
    /// Peers that are there by a template.
    dynamic: BTreeMap<PeerIndex, dynamic::Dynamic>,
    /// Before this there is nothing to look at with any of them.
    dynamic_due: Option<Instant>,
    /// The links that neighbours were heard on, by name and address.
    scopes: BTreeMap<(String, IpAddr), u32>,
    /// Own blocks in the table, with the attributes that they were entered with.
    originated: BTreeMap<Prefix, AttributesId>,
    outputs: VecDeque<Output>,
    scratch: Vec<session::Output>,
    /// Counts whatever may change [`Self::problems`].
    news: u64,
}

impl Speaker {
    /// A speaker that carries out `plan`; its peers start at `now`.
    pub fn new(now: Instant, settings: Settings, plan: Plan) -> Self {
        let config = RibConfig {
            decision: rib::DecisionConfig {
                med: settings.med,
                max_paths: settings.max_paths,
            },
            track_next_hops: settings.track_next_hops,
            forwarding: settings.forwarding,
            hashing: settings.hashing,
        };
        let rib = Rib::new(config, plan.asn, plan.router_id);
        let mut speaker = Self {
            settings,
            around: Surroundings::default(),
            policies: Default::default(),
            draining: false,
            plan: Plan {
                peers: Vec::new(),
                originate: Vec::new(),
                ..plan.clone()
            },
            peers: Vec::new(),
            names: BTreeMap::new(),
            addresses: BTreeMap::new(),
            connections: BTreeMap::new(),
            ids: ConnectionIds::default(),
            deadlines: BTreeSet::new(),
            sessions_begun: 0,
            own_start: OwnStart::default(),
            link_locals: BTreeMap::new(),
            links: Arc::default(),
            far_ends: FarEnds::default(),
            rib,
            leaving: None,
            dynamic: BTreeMap::new(),
            dynamic_due: None,
            scopes: BTreeMap::new(),
            originated: BTreeMap::new(),
            outputs: VecDeque::new(),
            scratch: Vec::new(),
            news: 0,
        };
        speaker.replan(now, plan);
        speaker
    }

    /// What to do next; call until it says nothing.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn next_timeout(&self) -> Option<Instant> {
        let sessions = self.deadlines.first().map(|(at, _)| *at);
        let leaving = self.leaving.as_ref().map(leaving::Leaving::next_timeout);
        [sessions, self.rib.next_timeout(), leaving, self.dynamic_due]
            .into_iter()
            .flatten()
            .min()
    }

    /// What changes by whatever is said without a time, does so at `now`; and so much is done in this turn.
    pub fn turn_begins(&mut self, now: Instant, pace: rib::Pace) {
        self.rib.set_now(now);
        self.rib.begin_turn(pace);
    }

    /// Goes on in the tables with what concerns all routes of a peer or a next hop; whether there was anything.
    pub fn work(&mut self) -> bool {
        self.rib.work()
    }

    /// Whether there is something to do though nothing new happens.
    pub fn has_work(&self) -> bool {
        self.rib.has_work()
    }

    /// The connections of the peers whose timers are due.
    pub fn due(&self, now: Instant) -> Vec<ConnectionId> {
        let due = self.deadlines.iter().take_while(|(at, _)| *at <= now);
        let peers = due.filter_map(|(_, index)| self.peer(*index));
        peers.flat_map(|peer| peer.locals.keys().copied()).collect()
    }

    /// Runs the timers that are due. Hand over everything that was received before this call:
    /// a hold timer must not fire for a KEEPALIVE that waits in our own queue.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.rib.set_now(now);
        while let Some((at, index)) = self.deadlines.first().copied() {
            if at > now {
                break;
            }
            self.with_session(now, index, |session, now, ids, out| {
                session.handle_timeout(now, ids, out);
            });
            self.expire_kept(now, index);
            self.ask_again(now, index);
        }
        self.look_at_leaving(now);
        self.expire_dynamic(now);
    }

    /// Somebody connected, from a link-local address by the link with its scope's index: the id to serve
    /// the connection under, or `None` to refuse it.
    pub fn accepted(
        &mut self,
        now: Instant,
        remote: impl Into<ScopedAddress>,
        local: IpAddr,
    ) -> Option<(ConnectionId, SocketTerms)> {
        let index = self.peer_for(now, remote.into(), local)?;
        if self.peer(index)?.secret_missing().is_some() {
            return None;
        }
        let connection = self.ids.issue();
        self.connections.insert(connection, index);
        let terms = {
            let peer = self.peer_mut(index)?;
            peer.locals.insert(connection, local);
            peer.socket_terms()
        };
        self.input(now, index, session::Input::Accepted { connection });
        Some((connection, terms))
    }

    /// A dial succeeded.
    pub fn connected(&mut self, now: Instant, connection: ConnectionId, local: IpAddr) {
        let Some(index) = self.connections.get(&connection).copied() else {
            return;
        };
        if let Some(peer) = self.peer_mut(index) {
            peer.locals.insert(connection, local);
        }
        self.input(now, index, session::Input::Connected { connection });
    }

    /// A dial failed.
    pub fn dial_failed(&mut self, now: Instant, connection: ConnectionId, error: DialError) {
        let Some(index) = self.connections.remove(&connection) else {
            return;
        };
        self.input(now, index, session::Input::DialFailed { connection, error });
    }

    /// Whole messages arrived.
    pub fn received(&mut self, now: Instant, connection: ConnectionId, messages: &[u8]) {
        self.rib.set_now(now);
        for (kind, body) in frame::messages(messages) {
            let Some(index) = self.connections.get(&connection).copied() else {
                return;
            };
            // A thousand idle peers send these and nothing else.
            self.news += u64::from(kind != MessageKind::Keepalive);
            if kind != MessageKind::Update || !self.update(now, index, connection, body) {
                self.message(now, index, connection, kind, body);
            }
        }
        // Once is enough for all the UPDATEs.
        if let Some(index) = self.connections.get(&connection).copied() {
            self.keep_deadline(index);
        }
    }

    /// A header made no sense.
    pub fn bad_header(&mut self, now: Instant, connection: ConnectionId, error: HeaderError) {
        self.rib.set_now(now);
        let Some(index) = self.connections.get(&connection).copied() else {
            return;
        };
        self.input(now, index, session::Input::BadHeader { connection, error });
    }

    /// Octets have left.
    pub fn sent(&mut self, now: Instant, connection: ConnectionId, octets: usize) {
        let Some(index) = self.connections.get(&connection).copied() else {
            return;
        };
        let Some(peer) = self.peer_mut(index) else {
            return;
        };
        let up = peer.established.as_ref();
        if up.is_some_and(|up| up.connection != connection) {
            // A call beside a session is not counted.
            return;
        }
        peer.queued = peer.queued.saturating_sub(octets);
        let blocked = peer.queued > 0;
        // The session's own messages are part of what left; the RIB counts only its own.
        let of_rib = octets.saturating_sub(peer.session_octets);
        peer.session_octets -= octets - of_rib;
        peer.session.queue_moved(now, connection, [true, blocked]);
        self.rib.sent(index, of_rib);
        self.keep_deadline(index);
    }

    /// What was queued on a connection before [`Output::Probe`] has arrived.
    pub fn acknowledged(&mut self, now: Instant, connection: ConnectionId) {
        let Some(index) = self.connections.get(&connection).copied() else {
            return;
        };
        self.input(now, index, session::Input::Acknowledged { connection });
    }

    /// The connection is gone.
    pub fn closed(&mut self, now: Instant, connection: ConnectionId, error: Option<String>) {
        self.rib.set_now(now);
        let Some(index) = self.connections.remove(&connection) else {
            return;
        };
        self.input(now, index, session::Input::Closed { connection, error });
    }

    /// The next hop that has become needed or unneeded.
    pub fn poll_tracked(&mut self) -> Option<rib::Tracked> {
        let tracked = self.rib.poll_tracked()?;
        if let rib::Tracked::Untrack(next_hop) = tracked {
            self.forget_link(next_hop);
        }
        Some(tracked)
    }

    /// The kernel's word on next hops; several at once cost one walk over the tables.
    pub fn next_hops_resolved(&mut self, resolutions: &[(ScopedAddress, rib::Resolution)]) {
        self.news += u64::from(!resolutions.is_empty());
        self.rib.set_resolution(resolutions);
    }

    /// Says all forwarding again: whoever takes it decides by other rules now.
    pub fn forward_again(&mut self) {
        self.rib.forward_again();
    }

    /// The next prefix whose forwarding has changed.
    pub fn poll_forwarding(&mut self) -> Option<(Prefix, ForwardingChange)> {
        self.rib.poll_forwarding()
    }

    /// The tables, to look at.
    pub fn rib(&self) -> &Rib {
        &self.rib
    }

    /// The plan that is carried out.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Stops all sessions because this process ends: without a word to peers that keep our routes over a
    /// restart, and with one to those that do not, which would else have to guess. Whether there are any of
    /// the latter.
    pub fn stop(&mut self, now: Instant) -> bool {
        self.rib.set_now(now);
        let mut any_told = false;
        for index in self.indices() {
            let Some(peer) = self.peer(index) else {
                continue;
            };
            let reason = if peer.established.is_some() && !peer.far_end_keeps_routes() {
                any_told = true;
                session::StopReason::ProcessEnds
            } else {
                session::StopReason::Quiet
            };
            self.input(now, index, session::Input::Stop(reason));
        }
        any_told
    }

    /// The configured peer that a connection from `remote` to `local` belongs to. Found by address:
    /// a thousand nodes may call in one second.
    fn peer_at(&self, remote: ScopedAddress, local: IpAddr) -> Option<PeerIndex> {
        let at = self.addresses.get(&remote.address)?;
        // A neighbour's link-local address may be another neighbour's, too, on another link.
        let elsewhere = |index: &PeerIndex| {
            let link = self.peer(*index).map(|peer| self.scope_of(peer));
            remote.scope != 0 && link.is_some_and(|link| link != 0 && link != remote.scope)
        };
        let mut candidates = at.iter().copied().filter(|index| !elsewhere(index));
        // Two sessions with one router differ by our own address.
        let exact = candidates.clone().find(|index| {
            let planned = self.peer(*index).map(|peer| &peer.planned);
            planned.is_some_and(|planned| planned.source_address == Some(local))
        });
        exact.or_else(|| candidates.next())
    }

    /// Whether a peer is on this very node: what it announces is here, and is never installed.
    pub fn is_beside(&self, index: PeerIndex) -> bool {
        self.peer(index)
            .is_some_and(|peer| self.plan.is_here(peer.planned.address))
    }

    fn peer(&self, index: PeerIndex) -> Option<&PeerEntry> {
        self.peers.get(index.index().checked_sub(1)?)?.as_deref()
    }

    fn peer_mut(&mut self, index: PeerIndex) -> Option<&mut PeerEntry> {
        self.peers
            .get_mut(index.index().checked_sub(1)?)?
            .as_deref_mut()
    }

    /// All peers, those that leave among them.
    fn entries(&self) -> impl Iterator<Item = &PeerEntry> {
        self.peers.iter().flatten().map(AsRef::as_ref)
    }

    fn indices(&self) -> Vec<PeerIndex> {
        self.names.values().copied().collect()
    }
}
