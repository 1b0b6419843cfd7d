//! Routes: what came in, what is best, who is to be told.
//!
//! [`Rib`] holds the Adj-RIB-Ins, the Loc-RIB and the Adj-RIB-Outs of both families. It knows
//! neither sessions nor sockets nor time of its own, and does no policy: the speaker tells it which
//! paths import policy accepted, and lends it an [`ExportPolicy`] when messages
//! are built.
//!
//! In: [`Rib::announce`], [`Rib::withdraw`] and their kin. Out, both pulled: [`Rib::poll_send`] for
//! peers, [`Rib::poll_forwarding`] for the forwarding plane. What always holds:
//!
//! - The best path depends on the set of paths only, never on their order of arrival.
//! - A consumer hears of a destination once however often it changed in between, and last of its
//!   last state.
//! - Memory is bounded by the tables and by [`HIGH_WATER`] a member.

mod adj_rib_out;
pub mod attributes;
mod batch;
mod chunks;
mod cohort;
mod context;
pub mod decision;
pub mod export;
mod facts;
mod id_queue;
mod judge;
pub mod next_hop;
pub mod path;
pub mod peer;
mod prefix_map;
mod raw_cache;
mod sent;
mod since;
mod standing;
mod table;
mod view;
mod walk;

use std::net::IpAddr;

pub use adj_rib_out::{Delivery, GroupStatus, HIGH_WATER, LOW_WATER, PATIENCE, Recipients, Told};
pub use attributes::{
    AttributeFlags, AttributeStore, AttributesId, AttributesRef, Bounds, Crowded,
};
pub use decision::{DecisionConfig, MedMode, Step};
pub use export::{ExportKind, ExportPolicy, ExportRoute, GroupKey, StandardExport};
pub use next_hop::{NextHopId, NextHopTable, Resolution, Tracked};
pub use path::{MAX_RECEIVED, MAX_SENT_UNEQUAL, Path};
pub use peer::{PeerCounts, PeerFacts, PeerIndex, PeerKind};
pub use standing::Standing;
pub use view::{ExplainedPath, Memory, PageCursor, Route};

use crate::net::{Asn, Family, Hashing, Prefix, RouterId};
use crate::time::Instant;
use crate::wire::attribute::{NextHop, PathAttributes};
use adj_rib_out::{Exports, Tables};
use context::Context;
use decision::Facts;
use peer::Peers;
use prefix_map::{DestinationId, TableKey};
use since::Since;
use table::{Change, Table};
pub use walk::Pace;
use walk::Walk;

/// How a [`Rib`] works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RibConfig {
    /// The decision process.
    pub decision: DecisionConfig,
    /// Next hops have to be resolved before they count ([`Rib::set_resolution`]); otherwise all do.
    pub track_next_hops: bool,
    /// Somebody calls [`Rib::poll_forwarding`]; otherwise nothing is kept for it.
    pub forwarding: bool,
    /// Makes hash collisions unpredictable for peers.
    pub hashing: Hashing,
}

/// What the forwarding plane is to do about a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForwardingChange {
    /// These are the paths now, best first.
    Paths(Vec<ForwardingPath>),
    /// No path is left.
    Withdrawn,
}

/// One way to a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForwardingPath {
    /// Where to; `None` for what we originate.
    pub next_hop: Option<NextHop>,
    /// Who said so.
    pub peer: PeerIndex,
}

/// The routes of both families.
#[derive(Debug)]
pub struct Rib {
    config: RibConfig,
    store: AttributeStore,
    peers: Peers,
    tables: Tables,
    exports: Exports,
    /// Whose turn it is in `poll_forwarding`.
    forwarding_family: Family,
    /// How many unequal paths are numbered, by [`Family::index`].
    unequal: [u8; 2],
    /// When what changes now does so.
    now: Since,
    walk: Walk,
}

impl Rib {
    /// An empty RIB. `asn` and `router_id` are our own, of our own originations.
    pub fn new(config: RibConfig, asn: Asn, router_id: RouterId) -> Self {
        let hashing = config.hashing;
        let mut peers = Peers::new(hashing.of_table(7));
        let address = IpAddr::from([0; 4]);
        let local = PeerFacts {
            kind: PeerKind::Local,
            asn,
            router_id,
            address,
        };
        peers.set(PeerIndex::LOCAL, local);
        Self {
            config,
            store: AttributeStore::new(hashing, config.track_next_hops),
            peers,
            tables: Tables {
                v4: Table::new(hashing.of_table(4)),
                v6: Table::new(hashing.of_table(6)),
            },
            exports: Exports::new(hashing.of_table(8)),
            forwarding_family: Family::Ipv4,
            unequal: [0; 2],
            now: Since::default(),
            walk: Walk::default(),
        }
    }

    /// What changes from here on does so at `now`.
    pub fn set_now(&mut self, now: Instant) {
        self.now = Since::at(now);
    }

    /// How many paths a peer has, at once.
    pub fn counts(&self, peer: PeerIndex, family: Family) -> PeerCounts {
        self.peers.counts(peer, family)
    }

    /// Says how many paths of a family a peer may have at once; `None` is any number. What is there stays,
    /// and what comes when there are so many counts as [`PeerCounts::beyond`].
    pub fn set_most(&mut self, peer: PeerIndex, most: Option<u32>) {
        for family in Family::ALL {
            if let Some(count) = self.peers.count_mut(peer, family) {
                let was_full = count.is_full();
                count.most = most.unwrap_or(u32::MAX);
                count.room |= was_full && !count.is_full() && count.counts.beyond > 0;
            }
        }
    }

    /// Whether some of what was not taken of a peer could be by now, so that it is worth asking for.
    #[inline]
    pub fn has_room(&self, peer: PeerIndex, family: Family) -> bool {
        let count = self.peers.count(peer, family);
        count.is_some_and(|c| c.room || c.counts.beyond > 0 && self.store.has_room(peer))
    }

    /// The peer is about to say all it has in a family, or nothing any more: what was not taken is counted
    /// from here.
    pub fn forget_beyond(&mut self, peer: PeerIndex, family: Family) {
        if let Some(count) = self.peers.count_mut(peer, family) {
            count.counts.beyond = 0;
            count.room = false;
        }
    }

    /// The store of attributes.
    pub const fn attributes(&self) -> &AttributeStore {
        &self.store
    }

    /// The store of attributes, to intern with and to look up raw blocks in.
    pub const fn attributes_mut(&mut self) -> &mut AttributeStore {
        &mut self.store
    }

    /// Interns attributes: [`AttributeStore::intern`].
    pub fn intern(&mut self, attributes: &PathAttributes) -> AttributesId {
        self.store.intern(PeerIndex::LOCAL, attributes)
    }

    /// Gives a reference back: [`AttributeStore::release`].
    pub fn release(&mut self, attributes: AttributesId) {
        self.store.release(attributes);
    }

    /// A peer announced a route, in place of what it said of the prefix (and identifier) before.
    ///
    /// `accepted` is import policy's answer; a refused route is remembered and never chosen. The
    /// table takes its own reference to the attributes. Gives whether the best path changed.
    pub fn announce(
        &mut self,
        peer: PeerIndex,
        prefix: Prefix,
        path_id: u32,
        attributes: AttributesId,
        accepted: bool,
    ) -> bool {
        let path = Path::received(peer, attributes, path_id, accepted);
        self.enter_all(true, core::iter::once((prefix, path)))
    }

    /// The same for all routes of an UPDATE: path identifier, prefix, and whether it is accepted.
    pub fn announce_all(
        &mut self,
        peer: PeerIndex,
        attributes: AttributesId,
        routes: impl Iterator<Item = (u32, Prefix, bool)>,
    ) {
        if self.store.refuses(attributes) {
            return self.leave_out(peer, routes);
        }
        let paths = routes.map(|(path_id, prefix, accepted)| {
            let path = Path::received(peer, attributes, path_id, accepted);
            (prefix, path)
        });
        self.enter_all(true, paths);
    }

    /// A peer has more than it may make us keep: what it said of these before no longer holds either.
    fn leave_out(&mut self, peer: PeerIndex, routes: impl Iterator<Item = (u32, Prefix, bool)>) {
        let mut left_out = [0; 2];
        let count = |family| self.peers.count(peer, family);
        let before = Family::ALL.map(|family| {
            let before = count(family).map(|count| (count.counts.beyond, count.room));
            before.unwrap_or_default()
        });
        let routes = routes.map(|(path_id, prefix, _)| (path_id, prefix));
        let routes = routes.inspect(|(_, prefix)| *prefix.family().of_mut(&mut left_out) += 1);
        self.withdraw_all(peer, routes);
        for family in Family::ALL {
            if let Some(count) = self.peers.count_mut(peer, family) {
                let (beyond, room) = *family.of(&before);
                count.counts.beyond = beyond.saturating_add(*family.of(&left_out));
                count.room = room;
            }
        }
    }

    /// Enters paths, each in place of the one that its peer has there. Whether a best path changed. What is
    /// `fresh` is said now.
    fn enter_all(&mut self, fresh: bool, paths: impl Iterator<Item = (Prefix, Path)>) -> bool {
        let (mut ctx, tables, mut hearers) = self.parts();
        let mut best = false;
        // Most are one peer's, of one family.
        let mut epoch = None;
        for (prefix, mut path) in paths {
            if ctx.peers.facts(path.peer).is_none() {
                debug_assert!(false, "a route of a peer that nobody entered");
                continue;
            }
            ctx.family = prefix.family();
            if fresh {
                let of = (path.peer, ctx.family);
                let (_, number) = match epoch.filter(|(whose, _)| *whose == of) {
                    Some(known) => known,
                    None => *epoch.insert((of, ctx.epoch(path.peer))),
                };
                path.epoch = number;
            }
            let change = match prefix {
                Prefix::V4(prefix) => {
                    let change = tables.v4.announce(&mut ctx, prefix, path);
                    hearers.tell(&mut tables.v4, Family::Ipv4, change);
                    change
                }
                Prefix::V6(prefix) => {
                    let change = tables.v6.announce(&mut ctx, prefix, path);
                    hearers.tell(&mut tables.v6, Family::Ipv6, change);
                    change
                }
            };
            best |= change.best;
        }
        best
    }

    /// A peer withdrew a route; nothing happens if it had none. Gives whether the best path changed.
    pub fn withdraw(&mut self, peer: PeerIndex, prefix: Prefix, path_id: u32) -> bool {
        self.withdraw_all(peer, core::iter::once((path_id, prefix)))
    }

    /// The same for all withdrawals of an UPDATE. Whether a best path changed.
    pub fn withdraw_all(
        &mut self,
        peer: PeerIndex,
        routes: impl Iterator<Item = (u32, Prefix)>,
    ) -> bool {
        let (mut ctx, tables, mut hearers) = self.parts();
        let mut best = false;
        for (path_id, prefix) in routes {
            ctx.family = prefix.family();
            let path = (peer, path_id);
            let change = match prefix {
                Prefix::V4(prefix) => {
                    let change = tables.v4.withdraw(&mut ctx, prefix, path);
                    change.inspect(|change| hearers.tell(&mut tables.v4, Family::Ipv4, *change))
                }
                Prefix::V6(prefix) => {
                    let change = tables.v6.withdraw(&mut ctx, prefix, path);
                    change.inspect(|change| hearers.tell(&mut tables.v6, Family::Ipv6, *change))
                }
            };
            best |= change.is_some_and(|change| change.best);
        }
        best
    }

    /// What changes are made with, what they are made to, and who hears of them.
    fn parts(&mut self) -> (Context<'_>, &mut Tables, Hearers<'_>) {
        let Self {
            config,
            store,
            peers,
            tables,
            exports,
            now,
            ..
        } = self;
        let ctx = Context {
            store,
            peers,
            now: *now,
            config: config.decision,
            family: Family::Ipv4,
        };
        let forwarding = config.forwarding;
        let hearers = Hearers {
            exports,
            forwarding,
        };
        (ctx, tables, hearers)
    }

    /// The next address that has to be resolved, or no longer.
    pub fn poll_tracked(&mut self) -> Option<Tracked> {
        self.store.next_hops_mut().poll_tracked()
    }

    /// The next prefix whose paths changed, with the paths as they are now.
    pub fn poll_forwarding(&mut self) -> Option<(Prefix, ForwardingChange)> {
        for _ in Family::ALL {
            let family = self.forwarding_family;
            let store = &self.store;
            let next = match family {
                Family::Ipv4 => forward(&mut self.tables.v4, store),
                Family::Ipv6 => forward(&mut self.tables.v6, store),
            };
            if next.is_some() {
                return next;
            }
            self.forwarding_family = match family {
                Family::Ipv4 => Family::Ipv6,
                Family::Ipv6 => Family::Ipv4,
            };
        }
        None
    }

    /// Says all forwarding again, as if the paths of every prefix had changed.
    pub fn forward_again(&mut self) {
        if self.config.forwarding {
            self.tables.v4.forward_again();
            self.tables.v6.forward_again();
        }
    }

    /// Starts sending a family to a peer: the table, End-of-RIB, then changes. `key.family` says
    /// which. The peer's outbox is to be empty.
    pub fn add_export(&mut self, peer: PeerIndex, key: GroupKey) {
        self.show_unequal(&key);
        self.exports.add(&mut self.tables, peer, key);
    }

    /// Sends to peers under other keys without new sessions, as when export policy has changed: each
    /// is told what differs and nothing else. Peers that change together are better told at once. The
    /// policy that builds messages has to know the former keys until then.
    pub fn change_exports(&mut self, peers: Vec<(PeerIndex, GroupKey)>) {
        for (_, key) in &peers {
            self.show_unequal(key);
        }
        self.exports.change(&mut self.tables, peers);
    }

    /// Numbers as many unequal paths as a group of this key wants. It does not become fewer again: who
    /// wanted them may come back, and a walk over the table is worth more than numbers that nobody reads.
    fn show_unequal(&mut self, key: &GroupKey) {
        let facts = Facts {
            config: self.config.decision,
            store: &self.store,
            peers: &self.peers,
        };
        let unequal = &mut self.unequal;
        let most = key.family.of_mut(unequal);
        if key.paths <= *most {
            return;
        }
        *most = key.paths;
        match key.family {
            Family::Ipv4 => self.tables.v4.set_unequal(facts, key.paths),
            Family::Ipv6 => self.tables.v6.set_unequal(facts, key.paths),
        }
    }

    /// Holds End-of-RIB back from all peers, or lets go what is due: whoever has just restarted does not
    /// know yet what it is to send (RFC 4724 §4.1). All else goes out as ever.
    pub fn hold_end_of_rib(&mut self, hold: bool) {
        self.exports.hold_ends(hold);
    }

    /// Stops sending a family to a peer. When no family is left its outbox counts as empty.
    pub fn remove_export(&mut self, peer: PeerIndex, family: Family) {
        self.exports.remove(&mut self.tables, peer, family);
    }

    /// Sends all routes of a family to one peer again (RFC 2918); `framed` between begin and end
    /// markers, if both sides have enhanced refresh (RFC 7313).
    pub fn refresh(&mut self, peer: PeerIndex, family: Family, framed: bool) {
        self.exports.refresh(&mut self.tables, peer, family, framed);
    }

    /// The next bytes for peers; to be called until it gives `None`, after everything that may have
    /// brought some: changes, new exports, [`sent`](Self::sent), [`next_timeout`](Self::next_timeout).
    pub fn poll_send(&mut self, now: Instant, export: &dyn ExportPolicy) -> Option<Delivery> {
        let Self {
            exports,
            tables,
            store,
            peers,
            walk,
            ..
        } = self;
        exports.poll(now, tables, (store, peers), export, &mut walk.pace.send)
    }

    /// When [`poll_send`](Self::poll_send) is to be called though nothing happened.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.exports.next_timeout()
    }

    /// So many bytes of what was delivered to a peer have gone out. Bytes of a session that is over
    /// are not to be reported: its outbox counts as empty since its exports were removed.
    pub fn sent(&mut self, peer: PeerIndex, bytes: usize) {
        self.exports.sent(peer, bytes);
    }

    /// How many delivered bytes of a peer have not gone out yet.
    pub fn queued(&self, peer: PeerIndex) -> usize {
        self.exports.queued(peer)
    }
}

/// Everybody whom changes concern: update groups and the forwarding plane.
struct Hearers<'a> {
    exports: &'a mut Exports,
    forwarding: bool,
}

impl Hearers<'_> {
    /// Tells of a change, and pins a destination that is gone until all know.
    #[inline]
    fn tell<P: TableKey>(&mut self, table: &mut Table<P>, family: Family, change: Change) {
        let Change { id, emptied, .. } = change;
        let waiting = if emptied {
            self.exports.mark_gone(family, id)
        } else if change.best {
            self.exports.mark(family, id, |_| true)
        } else if change.selected {
            // Who is sent the best path only is not concerned.
            self.exports.mark(family, id, |cohort| cohort.add_path)
        } else if change.more > 0 {
            self.exports
                .mark(family, id, |cohort| cohort.unequal >= change.more)
        } else {
            0
        };
        if self.forwarding && change.selected {
            table.forwarding.insert(id);
        }
        if emptied {
            table.pin(id, waiting + u32::from(table.forwarding.contains(id)));
        }
    }
}

fn forward<P: TableKey>(
    table: &mut Table<P>,
    store: &AttributeStore,
) -> Option<(Prefix, ForwardingChange)> {
    let id: DestinationId = table.forwarding.pop()?;
    let destination = table.map.get(id)?;
    let next_hop = |path: &Path| {
        let attributes = store.get(path.attributes)?;
        store.next_hops().get(attributes.next_hop())
    };
    let paths = destination.paths.selected();
    let paths: Vec<_> = paths
        .map(|path| ForwardingPath {
            next_hop: next_hop(path),
            peer: path.peer,
        })
        .collect();
    let prefix = destination.prefix.into();
    table.unpin(id);
    let change = if paths.is_empty() {
        ForwardingChange::Withdrawn
    } else {
        ForwardingChange::Paths(paths)
    };
    Some((prefix, change))
}
