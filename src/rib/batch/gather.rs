//! The routes of a batch, gathered by what they are encoded from.
//!
//! Not a table and no bytes: a list of sets, each with its routes in the order in which they came.
//! What always holds: routes of one [`Kind`] are in one set, however far apart they came, and sets
//! that a member is barred from lie together. Nothing is sorted route by route: most come in runs.

use std::hash::BuildHasher as _;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::net::Hashing;
use crate::rib::attributes::AttributesId;
use crate::rib::peer::PeerIndex;
use crate::rib::prefix_map::DestinationId;

/// What routes must have in common to share an encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Kind {
    /// The member that must not get them, or [`PeerIndex::LOCAL`].
    pub(super) bar: PeerIndex,
    /// Another one: the member that they lead to.
    pub(super) also: PeerIndex,
    pub(super) attributes: AttributesId,
    pub(super) source: PeerIndex,
    /// What policy does to them.
    pub(super) mark: u32,
    /// What policy did to them under the key that the members had before, where they have them so.
    pub(super) former: Option<u32>,
}

/// A route to be announced.
#[derive(Debug, Clone, Copy)]
pub(super) struct Route {
    pub(super) id: DestinationId,
    pub(super) path: u8,
    /// The next one of its set, or [`END`].
    next: u32,
}

const END: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Set {
    kind: Kind,
    first: u32,
    last: u32,
}

/// Gathers, and gives up what it has set by set.
#[derive(Debug)]
pub(super) struct Gather {
    routes: Vec<Route>,
    sets: Vec<Set>,
    index: HashTable<u32>,
    hasher: Hashing,
    /// Sets before this one are done with.
    done: usize,
}

impl Gather {
    pub(super) fn new(hasher: Hashing) -> Self {
        Self {
            routes: Vec::new(),
            sets: Vec::new(),
            index: HashTable::new(),
            hasher,
            done: 0,
        }
    }

    /// An empty one beside it.
    pub(super) fn another(&self) -> Self {
        Self::new(self.hasher)
    }

    /// Forgets all, but keeps the room.
    pub(super) fn clear(&mut self) {
        self.routes.clear();
        self.sets.clear();
        self.index.clear();
        self.done = 0;
    }

    /// Adds a route.
    pub(super) fn push(&mut self, kind: Kind, id: DestinationId, path: u8) {
        let at = u32::try_from(self.routes.len()).unwrap_or(END);
        let next = END;
        self.routes.push(Route { id, path, next });
        let place = match self.sets.last() {
            Some(last) if last.kind == kind => self.sets.len() - 1,
            Some(_) | None => match self.place(kind, at) {
                Some(place) => place,
                None => return,
            },
        };
        let Some(set) = self.sets.get_mut(place) else {
            return;
        };
        if let Some(last) = self.routes.get_mut(set.last as usize) {
            last.next = at;
        }
        set.last = at;
    }

    /// The set of a kind, if there is one; else a new one with one route.
    fn place(&mut self, kind: Kind, first: u32) -> Option<usize> {
        let Self {
            sets,
            index,
            hasher,
            ..
        } = self;
        let hash = |kind: &Kind| hasher.hash_one(kind);
        let of = |&at: &u32| sets.get(at as usize).map(|set| set.kind);
        let rehash = |at: &u32| of(at).as_ref().map_or(0, hash);
        match index.entry(hash(&kind), |at| of(at) == Some(kind), rehash) {
            Entry::Occupied(found) => Some(*found.get() as usize),
            Entry::Vacant(place) => {
                place.insert(u32::try_from(sets.len()).unwrap_or(END));
                let last = first;
                sets.push(Set { kind, first, last });
                None
            }
        }
    }

    /// Puts the sets in order; to be called once, when all routes are in.
    pub(super) fn arrange(&mut self) {
        if !self.sets.is_sorted_by_key(|set| set.kind.bar) {
            self.sets.sort_by_key(|set| set.kind.bar);
        }
    }

    /// The next set.
    pub(super) fn next(&mut self) -> Option<Gathered<'_>> {
        let set = self.sets.get(self.done)?;
        self.done += 1;
        Some(Gathered {
            kind: set.kind,
            all: &self.routes,
            first: set.first,
            count: usize::MAX,
        })
    }

    /// Gives routes of the last set back, from one on: they were not sent.
    pub(super) fn give_back(&mut self, from: u32) {
        self.done = self.done.saturating_sub(1);
        if let Some(set) = self.sets.get_mut(self.done) {
            set.first = from;
        }
    }

    /// The routes of the sets that were not asked for yet.
    pub(super) fn rest(&self) -> impl Iterator<Item = DestinationId> {
        let sets = self.sets.get(self.done..).unwrap_or_default();
        sets.iter().flat_map(|set| {
            let routes = Gathered {
                kind: set.kind,
                all: &self.routes,
                first: set.first,
                count: usize::MAX,
            };
            routes.iter().map(|route| route.id)
        })
    }
}

/// Routes of one kind.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gathered<'a> {
    pub(super) kind: Kind,
    all: &'a [Route],
    first: u32,
    /// At most so many of them.
    count: usize,
}

impl<'a> Gathered<'a> {
    /// In the order in which they came.
    pub(super) fn iter(&self) -> impl Iterator<Item = &'a Route> + Clone + use<'a> {
        let all = self.all;
        let route = move |at: u32| all.get(at as usize);
        core::iter::successors(route(self.first), move |last| route(last.next)).take(self.count)
    }

    /// The first `count` of them, and where the others begin, if there are any.
    pub(super) fn split(&self, count: usize) -> (Self, Option<u32>) {
        let last = count.checked_sub(1).and_then(|at| self.iter().nth(at));
        let rest = last.map(|last| last.next).filter(|&next| next != END);
        (Self { count, ..*self }, rest)
    }

    /// Each of them by itself.
    pub(super) fn alone(&self) -> impl Iterator<Item = Self> + use<'a> {
        let mut rest = Some(*self).filter(|set| set.count > 0);
        core::iter::from_fn(move || {
            let set = rest?;
            let (one, next) = set.split(1);
            let count = set.count - 1;
            rest = next.filter(|_| count > 0).map(|first| Self {
                first,
                count,
                ..set
            });
            Some(one)
        })
    }
}
