//! The distinct wishes of the dataplane, each once and by number, and who is affected when a next hop changes.
//!
//! Counted: a path without holders is forgotten, and its number given to another.

use std::collections::{BTreeMap, BTreeSet};

use super::super::next_hop::{Forwarding, NextHop};
use super::super::reconciler::PathId;

/// Each distinct wish once, by number.
#[derive(Debug, Default)]
pub(super) struct Paths {
    slots: Vec<Option<(Forwarding, u32)>>,
    free: Vec<u32>,
    numbers: BTreeMap<Forwarding, PathId>,
    users: BTreeMap<NextHop, BTreeSet<PathId>>,
}

impl Paths {
    pub(super) fn insert(&mut self, forwarding: Forwarding) -> PathId {
        let number = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX - 1)
        });
        let path = PathId(number);
        if let Forwarding::Via(next_hops) = &forwarding {
            for next_hop in next_hops {
                self.users.entry(next_hop.clone()).or_default().insert(path);
            }
        }
        self.numbers.insert(forwarding.clone(), path);
        if let Some(slot) = self.slots.get_mut(number as usize) {
            *slot = Some((forwarding, 0));
        }
        path
    }

    pub(super) fn find(&self, forwarding: &Forwarding) -> Option<PathId> {
        self.numbers.get(forwarding).copied()
    }

    /// The paths that lead by a next hop.
    pub(super) fn users(&self, next_hop: &NextHop) -> Option<&BTreeSet<PathId>> {
        self.users.get(next_hop)
    }

    pub(super) fn get(&self, path: PathId) -> Option<&Forwarding> {
        self.slots
            .get(path.0 as usize)?
            .as_ref()
            .map(|(forwarding, _)| forwarding)
    }

    /// Those that somebody holds.
    pub(super) fn used(&self) -> impl Iterator<Item = (PathId, &Forwarding)> + '_ {
        let numbered = (0..).map(PathId).zip(&self.slots);
        numbered.filter_map(|(path, slot)| {
            let (forwarding, references) = slot.as_ref()?;
            (*references > 0).then_some((path, forwarding))
        })
    }

    pub(super) fn hold(&mut self, path: PathId) {
        if let Some(Some((_, references))) = self.slots.get_mut(path.0 as usize) {
            *references += 1;
        }
    }

    /// Takes back one hold; answers what the path was if nobody holds it any more.
    pub(super) fn release(&mut self, path: PathId) -> Option<Forwarding> {
        let slot = self.slots.get_mut(path.0 as usize)?;
        let (_, references) = slot.as_mut()?;
        *references -= 1;
        if *references > 0 {
            return None;
        }
        let (forwarding, _) = slot.take()?;
        self.free.push(path.0);
        self.numbers.remove(&forwarding);
        if let Forwarding::Via(next_hops) = &forwarding {
            for next_hop in next_hops {
                if let Some(users) = self.users.get_mut(next_hop) {
                    users.remove(&path);
                    if users.is_empty() {
                        self.users.remove(next_hop);
                    }
                }
            }
        }
        Some(forwarding)
    }
}
