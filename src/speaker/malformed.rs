//! Routes of a peer that are missing because of what came with them (RFC 7606, treat-as-withdraw): the session
//! stays up, so nothing else would tell of the hole.
//!
//! Such a route is missing until the peer sends it well, takes it back, or leaves it out where it repeats all
//! that it has (RFC 7313); a new session begins with none. Time alone ends nothing: the peer has the route as
//! long as it says nothing else.
//!
//! What always holds: of a peer [`MOST`] are kept. Beyond these it is only known that there are more, and that
//! is taken to be over when none of those that are known is missing any more.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::IpAddr;

use super::Speaker;
use crate::net::{Asn, Family, Prefix};
use crate::problem::{Code, Problem, Subject};
use crate::rib::PeerIndex;
use crate::session::Words;
use crate::wire::error::{AttributeFault, Treatment};
use crate::wire::update::{Nlri, Update};

/// So many routes of a peer are kept.
const MOST: usize = 1_000;

/// What made routes count as withdrawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// A path attribute.
    Attribute(AttributeFault),
    /// The path begins with another AS than the peer's (RFC 4271 §6.3), or with none.
    FirstAs(Option<Asn>),
}

impl Fault {
    /// Why the routes of an UPDATE count as withdrawn.
    pub(super) fn of(update: &Update<'_>) -> Self {
        let first_as = || Self::FirstAs(update.attributes.as_path.first_as());
        if update.treatment != Some(Treatment::Withdraw) {
            return first_as();
        }
        let withdraws = |fault: &&AttributeFault| fault.treatment == Treatment::Withdraw;
        // Of many faults not all are noted.
        let fault = update.faults.iter().find(withdraws);
        let fault = fault.or(update.faults.first());
        fault.copied().map_or_else(first_as, Self::Attribute)
    }
}

/// Routes of a peer that are missing; there is at least one.
#[derive(Debug)]
pub(super) struct Malformed {
    /// With whether each was said in the refresh that runs.
    routes: BTreeMap<(Prefix, u32), bool>,
    /// There are others.
    more: bool,
    /// What was wrong with the last of them.
    fault: Fault,
}

impl Malformed {
    fn add(&mut self, routes: impl Iterator<Item = (u32, Prefix)>) {
        for (path_id, prefix) in routes {
            let room = self.routes.len() < MOST;
            match self.routes.entry((prefix, path_id)) {
                Entry::Occupied(mut known) => *known.get_mut() = true,
                Entry::Vacant(place) if room => {
                    place.insert(true);
                }
                Entry::Vacant(_) => self.more = true,
            }
        }
    }

    fn count_in_words(&self) -> String {
        match (self.routes.len(), self.more) {
            (1, false) => "1 of its routes is missing".to_owned(),
            (count, false) => format!("{count} of its routes are missing"),
            (count, true) => format!("more than {count} of its routes are missing"),
        }
    }

    /// What is wrong, and what to do.
    pub(super) fn problem(&self, peer: Subject) -> Problem {
        let count = self.count_in_words();
        let words = match self.fault {
            Fault::Attribute(fault) => Words::new(
                format!("{count}, since it sent them with a malformed attribute ({fault})"),
                "show the octets in the log (`bad path attributes`) to whoever runs the peer, or to its vendor",
            ),
            Fault::FirstAs(Some(asn)) => Words::new(
                format!(
                    "{count}, since their AS paths begin with AS {asn} and not with the peer's AS"
                ),
                "set `enforce-first-as = false` in its record if it is a route server",
            ),
            Fault::FirstAs(None) => Words::new(
                format!("{count}, since their AS paths do not begin with the peer's AS"),
                "set `enforce-first-as = false` in its record if it is a route server",
            ),
        };
        Problem::new(Code::RoutesMalformed, peer, words.what, words.remedy)
    }
}

impl Speaker {
    /// Peers that have sent a route to this address which is missing for what came with it, and the most
    /// specific such route of each.
    pub fn malformed_to(&self, address: IpAddr) -> Vec<(&str, Prefix)> {
        let known = self.wanted().filter_map(|peer| {
            let routes = peer.malformed.as_ref()?.routes.keys();
            let to_it = routes.map(|(prefix, _)| *prefix);
            let longest = to_it.filter(|prefix| prefix.contains(address));
            Some((
                &*peer.planned.name,
                longest.max_by_key(|prefix| prefix.len())?,
            ))
        });
        known.collect()
    }

    /// Handles routes as withdrawn, and keeps in mind that they are missing.
    pub(super) fn treat_as_withdrawn(&mut self, index: PeerIndex, nlri: Nlri<'_>, fault: Fault) {
        if nlri.is_ignored() || nlri.is_empty() {
            return;
        }
        self.rib.withdraw_all(index, nlri.iter());
        let Some(peer) = self.peer_mut(index) else {
            return;
        };
        let malformed = peer.malformed.get_or_insert_with(|| {
            Box::new(Malformed {
                routes: BTreeMap::new(),
                more: false,
                fault,
            })
        });
        malformed.fault = fault;
        malformed.add(nlri.iter());
        self.news += 1;
    }

    /// The peer has sent these routes well, or taken them back.
    pub(super) fn heard_well(&mut self, index: PeerIndex, nlri: Nlri<'_>) {
        self.no_longer_malformed(index, |malformed| {
            for (path_id, prefix) in nlri {
                malformed.routes.remove(&(prefix, path_id));
            }
        });
    }

    /// The peer begins to repeat all that it has of a family.
    pub(super) fn doubt_malformed(&mut self, index: PeerIndex, family: Family) {
        self.no_longer_malformed(index, |malformed| {
            let of_family = malformed.routes.iter_mut();
            let of_family = of_family.filter(|((prefix, _), _)| prefix.family() == family);
            of_family.for_each(|(_, said)| *said = false);
        });
    }

    /// The peer has repeated all that it has of a family.
    pub(super) fn sweep_malformed(&mut self, index: PeerIndex, family: Family) {
        self.no_longer_malformed(index, |malformed| {
            malformed
                .routes
                .retain(|(prefix, _), said| *said || prefix.family() != family);
        });
    }

    /// Lets `change` take routes out of the list. Most peers have none.
    fn no_longer_malformed(&mut self, index: PeerIndex, change: impl FnOnce(&mut Malformed)) {
        let Some(peer) = self.peer_mut(index) else {
            return;
        };
        let Some(malformed) = &mut peer.malformed else {
            return;
        };
        let before = malformed.routes.len();
        change(malformed);
        let now = malformed.routes.len();
        if now == 0 {
            peer.malformed = None;
        }
        self.news += u64::from(now != before);
    }
}
