//! What the RIB knows of a peer: a dense index and the few facts that decide between routes.
//!
//! It is not a session: no state machine, no transport, no capability. A peer is here as long as
//! the speaker says so; its index may be given to another one after `Rib::remove_peer`.

use std::hash::BuildHasher as _;
use std::net::IpAddr;

use hashbrown::HashTable;

use super::path::Path;
use super::standing::{Count, Standing};
use crate::net::{Asn, Family, Hashing, RouterId};

/// The speaker's dense index of a peer. [`LOCAL`](Self::LOCAL) is 0, so peers count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerIndex(pub u32);

impl PeerIndex {
    /// This speaker itself: the source of its own originations.
    pub const LOCAL: Self = Self(0);

    /// The place in a per-peer table.
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// Whether it stands for our own originations.
    pub const fn is_local(self) -> bool {
        self.0 == 0
    }
}

/// How a peer relates to us; what the decision process and the sending rules ask of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PeerKind {
    /// Our own originations.
    Local,
    /// In another AS.
    Ebgp,
    /// In our AS, not a client of ours.
    Ibgp,
    /// In our AS and a client of ours as a route reflector (RFC 4456).
    IbgpClient,
    /// Another speaker on this very node, in whichever AS: what it announces is here, so it is told as
    /// our own is.
    Beside,
}

/// Facts of a peer that routes are compared by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerFacts {
    /// How it relates to us.
    pub kind: PeerKind,
    /// Its AS; our own for [`PeerKind::Local`].
    pub asn: Asn,
    /// Its BGP Identifier.
    pub router_id: RouterId,
    /// The address of the session, the last tie breaker between peers.
    pub address: IpAddr,
}

impl PeerFacts {
    /// Whether the decision takes it for one in another AS.
    pub const fn is_ebgp(&self) -> bool {
        matches!(self.kind, PeerKind::Ebgp | PeerKind::Beside)
    }
}

/// Path counts of one peer in one family, for prefix limits and for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PeerCounts {
    /// Paths in the Adj-RIB-In.
    pub received: u32,
    /// Those of them that import policy accepted.
    pub accepted: u32,
    /// Those of them that are stale ([`Standing::Stale`]).
    pub stale: u32,
    /// Paths that the peer has and that were not taken, as far as it has said since it was last asked for
    /// all: there were [`MAX_RECEIVED`](super::MAX_RECEIVED) of the prefix, or as many as the peer may have.
    /// A path that changed while it was left out counts twice.
    pub beyond: u32,
}

/// Facts of a peer that may wait for a walk at once; one more makes it wait for the walk.
const MOST_FACTS: usize = 8;

/// The per-peer table.
#[derive(Debug)]
pub(crate) struct Peers {
    rows: Vec<Option<Row>>,
    /// The same by their addresses.
    addresses: HashTable<PeerIndex>,
    hasher: Hashing,
}

#[derive(Debug)]
struct Row {
    facts: PeerFacts,
    families: [Count; 2],
    /// The peer is no more, but some of its paths are.
    leaves: bool,
    /// What its facts were, until all its paths were looked at by those of now.
    #[expect(clippy::box_collection, reason = "nearly every peer has none")]
    before: Option<Box<Vec<PeerFacts>>>,
}

impl Peers {
    pub(crate) fn new(hasher: Hashing) -> Self {
        Self {
            rows: Vec::new(),
            addresses: HashTable::new(),
            hasher,
        }
    }

    pub(crate) fn set(&mut self, peer: PeerIndex, facts: PeerFacts) {
        if self.rows.len() <= peer.index() {
            self.rows.resize_with(peer.index() + 1, || None);
        }
        self.forget_address(peer);
        if let Some(row) = self.rows.get_mut(peer.index()) {
            match row {
                Some(row) => {
                    row.facts = facts;
                    row.leaves = false;
                }
                None => {
                    *row = Some(Row {
                        facts,
                        families: Default::default(),
                        leaves: false,
                        before: None,
                    })
                }
            }
        }
        let Self {
            rows,
            addresses,
            hasher,
        } = self;
        let of = |peer: &PeerIndex| hash_of(hasher, rows, *peer);
        addresses.insert_unique(of(&peer), peer, of);
    }

    fn forget_address(&mut self, peer: PeerIndex) {
        let hash = hash_of(&self.hasher, &self.rows, peer);
        if let Ok(found) = self.addresses.find_entry(hash, |other| *other == peer) {
            found.remove();
        }
    }

    /// The peers with this address.
    pub(crate) fn at(&self, address: IpAddr) -> impl Iterator<Item = PeerIndex> + '_ {
        let near = self.addresses.iter_hash(self.hasher.hash_one(address));
        let is = move |peer: &PeerIndex| {
            let facts = self.facts(*peer);
            facts.is_some_and(|facts| facts.address == address)
        };
        near.copied().filter(is)
    }

    /// The peer is no more; whether all of it could go at once. What is known of it stays as long as a path of it.
    pub(crate) fn clear(&mut self, peer: PeerIndex) -> bool {
        self.forget_address(peer);
        let Some(row) = self.rows.get_mut(peer.index()) else {
            return true;
        };
        if let Some(leaving) = row {
            leaving.leaves = true;
        }
        let gone = Self::tidy(row);
        self.cut();
        gone
    }

    /// Takes the rows at the end away that are nobody's.
    fn cut(&mut self) {
        while self.rows.last().is_some_and(Option::is_none) {
            self.rows.pop();
        }
        if self.rows.len() < self.rows.capacity() / 4 {
            self.rows.shrink_to(2 * self.rows.len());
        }
    }

    /// Forgets a peer that is no more, if its last path has gone. Whether it is forgotten.
    fn tidy(row: &mut Option<Row>) -> bool {
        let clear = |row: &Row| row.families.iter().all(Count::is_clear);
        if row.as_ref().is_some_and(|row| row.leaves && clear(row)) {
            *row = None;
        }
        row.as_ref().is_none_or(|row| !row.leaves)
    }

    /// The same of one that could not go at once.
    pub(crate) fn is_forgotten(&mut self, peer: PeerIndex) -> bool {
        let forgotten = self.rows.get_mut(peer.index()).is_none_or(Self::tidy);
        self.cut();
        forgotten
    }

    /// Whether the index stands for nobody, and no path has it.
    pub(crate) fn is_free(&self, peer: PeerIndex) -> bool {
        self.rows.get(peer.index()).is_none_or(Option::is_none)
    }

    /// How a path stands.
    #[inline]
    pub(crate) fn standing(&self, path: &Path, family: Family) -> Standing {
        let count = self.count(path.peer, family);
        count.map_or(Standing::Gone, |count| count.standing(path))
    }

    /// Remembers what a peer's facts were; false if there are too many of that kind.
    pub(crate) fn remember_facts(&mut self, peer: PeerIndex, facts: PeerFacts) -> bool {
        let Some(row) = self.rows.get_mut(peer.index()).and_then(Option::as_mut) else {
            return true;
        };
        let before = row.before.get_or_insert_default();
        if !before.contains(&facts) {
            before.push(facts);
        }
        before.len() <= MOST_FACTS
    }

    /// What the facts of a peer were that were not looked at everywhere.
    #[inline]
    pub(crate) fn facts_before(&self, peer: PeerIndex) -> &[PeerFacts] {
        let row = self.rows.get(peer.index()).and_then(Option::as_ref);
        row.and_then(|row| row.before.as_deref())
            .map_or(&[], Vec::as_slice)
    }

    /// A walk has been everywhere in both families.
    pub(crate) fn walked(&mut self) {
        for row in self.rows.iter_mut().flatten() {
            row.before = None;
            row.families.iter_mut().for_each(Count::walked);
        }
    }

    pub(crate) fn facts(&self, peer: PeerIndex) -> Option<&PeerFacts> {
        self.rows.get(peer.index())?.as_ref().map(|row| &row.facts)
    }

    pub(crate) fn counts(&self, peer: PeerIndex, family: Family) -> PeerCounts {
        let count = self.count(peer, family);
        count.map(|count| count.counts).unwrap_or_default()
    }

    pub(crate) fn count(&self, peer: PeerIndex, family: Family) -> Option<&Count> {
        let row = self.rows.get(peer.index())?.as_ref()?;
        row.families.get(family.index())
    }

    #[inline]
    pub(crate) fn count_mut(&mut self, peer: PeerIndex, family: Family) -> Option<&mut Count> {
        let row = self.rows.get_mut(peer.index())?.as_mut()?;
        row.families.get_mut(family.index())
    }
}

/// The hash of a peer's address.
fn hash_of(hasher: &Hashing, rows: &[Option<Row>], peer: PeerIndex) -> u64 {
    let row = rows.get(peer.index()).and_then(Option::as_ref);
    row.map_or(0, |row| hasher.hash_one(row.facts.address))
}
