//! Whom the store keeps octets and next hops for, and how many a peer may make it keep.
//!
//! Routes are counted elsewhere: here is what they say. A set belongs to the peer that brought it first, however
//! many have it later, until nobody has it. What always holds: what is over the bound is never kept; who was over it
//! has room again only when an eighth of it is free, so that a peer at its bound is not asked again and again.

use crate::rib::peer::PeerIndex;

/// What a set takes beside its octets: its entry, its place in the index, the allocator's own.
const BESIDE: u32 = 80;

/// How much a peer may make us keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Octets of attributes.
    pub octets: u32,
    /// Next hops, each of which is resolved and followed.
    pub next_hops: u32,
}

impl Bounds {
    /// No bounds.
    pub const NONE: Self = Self {
        octets: u32::MAX,
        next_hops: u32::MAX,
    };
    /// Octets of attributes that each route may have on average. A full table has 60 to 120.
    pub const OCTETS_A_ROUTE: u32 = 256;
    /// Whoever has few routes may have longer ones.
    pub const LEAST_OCTETS: u32 = 1024 * 1024;
    /// A reflector brings two for each node of the largest clusters.
    pub const NEXT_HOPS: u32 = 16 * 1024;

    /// Those of a peer that may have so many routes.
    pub fn of_routes(most: u32) -> Self {
        Self {
            octets: most
                .saturating_mul(Self::OCTETS_A_ROUTE)
                .max(Self::LEAST_OCTETS),
            next_hops: Self::NEXT_HOPS,
        }
    }
}

/// The number of a peer's account. The peers beyond the last one share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Owner(u16);

impl Owner {
    pub(crate) fn of(peer: PeerIndex) -> Self {
        Self(u16::try_from(peer.0).unwrap_or(u16::MAX))
    }
}

#[derive(Debug, Clone, Copy)]
struct Account {
    octets: u32,
    next_hops: u32,
    /// [`Bounds::octets`]; the maximum is no bounds at all.
    most: u32,
    /// Something was not kept, and there is no room for it yet.
    crowded: bool,
    /// There is, since then.
    room: bool,
}

impl Default for Account {
    fn default() -> Self {
        Self {
            octets: 0,
            next_hops: 0,
            most: Bounds::NONE.octets,
            crowded: false,
            room: false,
        }
    }
}

/// All accounts.
#[derive(Debug, Default)]
pub(super) struct Accounts(Vec<Account>);

impl Accounts {
    fn get(&self, owner: Owner) -> Account {
        self.0
            .get(usize::from(owner.0))
            .copied()
            .unwrap_or_default()
    }

    fn of(&mut self, owner: Owner) -> Option<&mut Account> {
        let place = usize::from(owner.0);
        if self.0.len() <= place {
            self.grow(place);
        }
        self.0.get_mut(place)
    }

    #[cold]
    fn grow(&mut self, place: usize) {
        self.0.resize_with(place + 1, Account::default);
    }

    pub(super) fn set_bounds(&mut self, owner: Owner, bounds: Bounds) {
        if let Some(account) = self.of(owner) {
            account.most = bounds.octets;
            account.look_for_room();
        }
    }

    /// A set has come, perhaps with a next hop that nobody had.
    pub(super) fn charge(&mut self, owner: Owner, octets: usize, new_hop: bool) {
        if let Some(account) = self.of(owner) {
            account.octets = account.octets.saturating_add(takes(octets));
            account.next_hops += u32::from(new_hop);
        }
    }

    /// A set has gone.
    pub(super) fn discharge(&mut self, owner: Owner, octets: usize) {
        if let Some(account) = self.of(owner) {
            account.octets = account.octets.saturating_sub(takes(octets));
            account.look_for_room();
        }
    }

    /// A next hop has gone.
    pub(super) fn discharge_hop(&mut self, owner: Owner) {
        if let Some(account) = self.of(owner) {
            account.next_hops = account.next_hops.saturating_sub(1);
            account.look_for_room();
        }
    }

    /// Whether what has come is too much. The answer is remembered: it is not kept.
    pub(super) fn refuses(&mut self, owner: Owner) -> bool {
        let Some(account) = self.of(owner) else {
            return false;
        };
        let bounds = account.bounds();
        let over = account.octets > bounds.octets || account.next_hops > bounds.next_hops;
        account.crowded |= over;
        account.room &= !over;
        over
    }

    pub(super) fn has_room(&self, owner: Owner) -> bool {
        self.get(owner).room
    }

    /// What a peer has made us keep, if that is why something was not.
    pub(super) fn crowded(&self, owner: Owner) -> Option<Crowded> {
        let Account {
            octets,
            next_hops,
            crowded,
            ..
        } = self.get(owner);
        let bounds = self.get(owner).bounds();
        crowded.then_some(Crowded {
            octets,
            next_hops,
            bounds,
        })
    }
}

/// A peer that has more than it may make us keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crowded {
    /// Octets that are kept.
    pub octets: u32,
    /// Next hops that are kept.
    pub next_hops: u32,
    /// How much it may be.
    pub bounds: Bounds,
}

/// What a set of so many octets takes.
fn takes(octets: usize) -> u32 {
    u32::try_from(octets)
        .unwrap_or(u32::MAX)
        .saturating_add(BESIDE)
}

impl Account {
    const fn bounds(&self) -> Bounds {
        match self.most {
            u32::MAX => Bounds::NONE,
            octets => Bounds {
                octets,
                next_hops: Bounds::NEXT_HOPS,
            },
        }
    }

    #[inline]
    fn look_for_room(&mut self) {
        if self.crowded {
            self.end_crowd();
        }
    }

    #[cold]
    fn end_crowd(&mut self) {
        let Bounds { octets, next_hops } = self.bounds();
        let room =
            self.octets <= octets - octets / 8 && self.next_hops <= next_hops - next_hops / 8;
        if room {
            self.crowded = false;
            self.room = true;
        }
    }
}
