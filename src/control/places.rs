//! Who has a place at the control socket, and who has to give his up for another one.
//!
//! It knows no socket and no clock: "longest" is by order. What always holds: an ordinary user has
//! [`OF_ONE`] places at most, all of them together leave [`FOR_ROOT`] to root, and whoever keeps nobody
//! waiting but himself (says nothing, reads nothing) gives way first, then whoever has been answered most;
//! who waits for his first answer never does.

use std::collections::BTreeMap;

/// Clients at once.
pub(super) const CLIENTS: usize = 32;
/// Of these, root's alone.
pub(super) const FOR_ROOT: usize = 8;
/// Of one ordinary user.
pub(super) const OF_ONE: usize = 8;
/// Octets of answers that clients have left unread, all together.
pub(super) const UNREAD: usize = 32 << 20;

/// A place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place(u64);

/// Who has a place; `E` is what ends him.
#[derive(Debug)]
pub(super) struct Places<E> {
    taken: BTreeMap<Place, Taken<E>>,
    /// Counts what happens.
    now: u64,
    root: u32,
}

#[derive(Debug)]
struct Taken<E> {
    user: u32,
    /// When it began to be the client's turn, if it is.
    idle_since: Option<u64>,
    unread: usize,
    answers: u64,
    end: Option<E>,
}

impl<E> Places<E> {
    /// Nobody; `own` is a user who counts as root.
    pub(super) const fn new(own: u32) -> Self {
        Self {
            taken: BTreeMap::new(),
            now: 0,
            root: own,
        }
    }

    /// Whether a user has root's share.
    pub(super) const fn is_root(&self, user: u32) -> bool {
        user == 0 || user == self.root
    }

    /// A place for a user, and who has to go for it; none if all are busy.
    pub(super) fn enter(&mut self, user: u32) -> Option<(Place, Option<E>)> {
        let gone = match self.who_goes(user)? {
            Some(place) => self.taken.remove(&place).and_then(|taken| taken.end),
            None => None,
        };
        self.now += 1;
        let place = Place(self.now);
        let taken = Taken {
            user,
            idle_since: Some(self.now),
            unread: 0,
            answers: 0,
            end: None,
        };
        self.taken.insert(place, taken);
        Some((place, gone))
    }

    /// How the one who has the place is ended.
    pub(super) fn ends_by(&mut self, place: Place, end: E) {
        if let Some(taken) = self.taken.get_mut(&place) {
            taken.end = Some(end);
        }
    }

    /// The daemon's turn: he waits for an answer.
    pub(super) fn asks(&mut self, place: Place) {
        if let Some(taken) = self.taken.get_mut(&place) {
            (taken.idle_since, taken.unread) = (None, 0);
        }
    }

    /// The client's turn: to read so much, or with nothing to ask again. Those who have to go for it.
    pub(super) fn is_told(&mut self, place: Place, octets: usize) -> Vec<E> {
        self.now += 1;
        let now = self.now;
        if let Some(taken) = self.taken.get_mut(&place) {
            (taken.idle_since, taken.unread) = (Some(now), octets);
            taken.answers += u64::from(octets > 0);
        }
        let mut gone = Vec::new();
        while self.taken.values().map(|taken| taken.unread).sum::<usize>() > UNREAD {
            let others = self.taken.iter().filter(|(other, taken)| {
                **other != place && taken.unread > 0 && taken.idle_since.is_some()
            });
            let slowest = others.min_by_key(|(_, taken)| taken.idle_since);
            let Some(slowest) = slowest.map(|(slowest, _)| *slowest) else {
                break;
            };
            gone.extend(self.taken.remove(&slowest).and_then(|taken| taken.end));
        }
        gone
    }

    /// He has gone.
    pub(super) fn leave(&mut self, place: Place) {
        self.taken.remove(&place);
    }

    /// Who gives his place to a user: nobody need, if there is one left; none if nobody can.
    #[expect(
        clippy::option_option,
        reason = "whether there is a place, and whose it is"
    )]
    fn who_goes(&self, user: u32) -> Option<Option<Place>> {
        let ordinary = |taken: &Taken<E>| !self.is_root(taken.user);
        let of_user = self.taken.values().filter(|taken| taken.user == user);
        let ordinaries = self.taken.values().filter(|taken| ordinary(taken));
        if !self.is_root(user) {
            if of_user.count() >= OF_ONE {
                return self.first_of(|taken| taken.user == user).map(Some);
            }
            if ordinaries.count() >= CLIENTS - FOR_ROOT {
                return self.first_of(ordinary).map(Some);
            }
        }
        if self.taken.len() < CLIENTS {
            return Some(None);
        }
        let goes = self.first_of(ordinary).or_else(|| self.first_of(|_| true));
        goes.map(Some)
    }

    /// Of some, the one who has been idle for the longest time; where all are busy, the one who has been answered
    /// most.
    fn first_of(&self, of: impl Fn(&Taken<E>) -> bool) -> Option<Place> {
        let all = || self.taken.iter().filter(|(_, taken)| of(taken));
        let idle = all().filter_map(|(place, taken)| Some((taken.idle_since?, *place)));
        let served = all().filter(|(_, taken)| taken.answers > 0);
        let idlest = idle.min().map(|(_, place)| place);
        idlest.or_else(|| {
            let most = served.max_by_key(|(_, taken)| taken.answers);
            most.map(|(place, _)| *place)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: u32 = 0;
    const MALLORY: u32 = 1000;
    const TRENT: u32 = 1001;

    fn enter(places: &mut Places<u64>, user: u32) -> Option<(Place, Option<u64>)> {
        let (place, gone) = places.enter(user)?;
        places.ends_by(place, place.0);
        Some((place, gone))
    }

    #[test]
    fn a_flood_of_one_user_costs_its_own_places_only() {
        let mut places = Places::new(ROOT);
        let (trents, _) = enter(&mut places, TRENT).unwrap();
        let mallorys: Vec<_> = (0..100)
            .map(|_| enter(&mut places, MALLORY).unwrap())
            .collect();
        let went: Vec<_> = mallorys.iter().filter_map(|(_, gone)| *gone).collect();
        let first: Vec<_> = mallorys.iter().map(|(place, _)| place.0).collect();
        assert_eq!(went, first[..100 - OF_ONE], "the longest idle one goes");
        assert_eq!(places.taken.len(), OF_ONE + 1);
        assert!(places.taken.contains_key(&trents));
        assert_eq!(enter(&mut places, ROOT).unwrap().1, None);
    }

    #[test]
    fn all_ordinary_users_together_leave_places_to_root() {
        let mut places = Places::new(ROOT);
        for user in 1..=100 {
            let (place, _) = enter(&mut places, user).unwrap();
            if user < 20 {
                places.asks(place);
            }
        }
        assert_eq!(places.taken.len(), CLIENTS - FOR_ROOT);
        let roots: Vec<_> = (0..FOR_ROOT)
            .map(|_| enter(&mut places, ROOT).unwrap())
            .collect();
        assert!(roots.iter().all(|(_, gone)| gone.is_none()));
        // Then it takes an ordinary user's, and its own last of all; never of one whom the daemon lets wait.
        for (place, _) in roots {
            places.asks(place);
        }
        while let Some((place, gone)) = enter(&mut places, ROOT) {
            assert!(gone.is_some());
            places.asks(place);
        }
        let busy = |user| {
            places
                .taken
                .values()
                .filter(|t| user == (t.user == ROOT))
                .count()
        };
        assert_eq!((busy(false), busy(true)), (19, CLIENTS - 19));
        assert_eq!(enter(&mut places, 77), None, "nobody idle is left to go");
        let (served, _) = places.taken.last_key_value().unwrap();
        let served = *served;
        places.is_told(served, 1);
        places.asks(served);
        assert_eq!(enter(&mut places, ROOT).unwrap().1, Some(served.0));
    }

    #[test]
    fn who_reads_nothing_goes_before_too_much_is_unread() {
        let mut places = Places::new(ROOT);
        let all: Vec<_> = (0..4)
            .map(|_| enter(&mut places, ROOT).unwrap().0)
            .collect();
        assert_eq!(places.is_told(all[0], UNREAD / 2), Vec::<u64>::new());
        assert_eq!(places.is_told(all[1], UNREAD / 2), Vec::<u64>::new());
        assert_eq!(places.is_told(all[2], 1), [all[0].0]);
        assert_eq!(
            places.is_told(all[1], 0),
            Vec::<u64>::new(),
            "it has read all"
        );
        assert_eq!(places.is_told(all[3], UNREAD + 1), [all[2].0]);
        assert_eq!(
            places.taken.len(),
            2,
            "one answer alone may be as large as it is"
        );
    }
}
