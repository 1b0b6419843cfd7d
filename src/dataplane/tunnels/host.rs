//! Settings of the kernel that forwarding hangs on: asked for, watched, repaired, or known to be wrong.
//!
//! The kernel tells when one changes, whoever changed it; so each is brought back at once, at a pace if
//! somebody insists. Where it can't be (`/proc/sys` is read-only in most containers) it is a problem until it
//! is right. Which links have to forward is not decided here.

use std::collections::{BTreeMap, BTreeSet};

use super::super::device::Sysctl;
use super::super::input::Setting;
use super::super::route::Errno;
use super::pace::Pace;
use crate::net::Family;
use crate::time::Instant;

/// What is to be asked for, and what is wrong.
#[derive(Debug, Default)]
pub(super) struct Host {
    /// Families that this host is to forward, tunnels or not.
    forwarded: BTreeSet<Family>,
    /// To be asked for when there is room.
    ready: BTreeSet<Sysctl>,
    /// To be asked for later.
    due: BTreeMap<Sysctl, Instant>,
    /// Not as it has to be, by the kernel's last word.
    unfit: BTreeMap<Sysctl, Errno>,
    /// Links on which IPv4 is not forwarded; who needs that was not asked yet.
    off: BTreeSet<u32>,
    pace: Pace<Sysctl>,
}

impl Host {
    pub(super) fn forward(&mut self, families: BTreeSet<Family>) {
        self.forwarded = families;
        self.look_again();
    }

    /// Changes may have been missed.
    pub(super) fn look_again(&mut self) {
        for family in &self.forwarded {
            self.ready.insert(Sysctl::Forwarding(*family));
        }
    }

    /// The next one that is to be asked for.
    pub(super) fn next(&mut self) -> Option<Sysctl> {
        self.ready.pop_first()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.off.is_empty() && self.ready.is_empty()
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        while let Some(sysctl) = self.due.iter().find(|(_, at)| **at <= now) {
            let sysctl = sysctl.0.clone();
            self.due.remove(&sysctl);
            self.ready.insert(sysctl);
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.due.values().min().copied()
    }

    /// The kernel's answer. Whether it is another than the last one.
    pub(super) fn answered(&mut self, sysctl: &Sysctl, result: Result<(), Errno>) -> bool {
        match result {
            Ok(()) => self.unfit.remove(sysctl).is_some(),
            Err(errno) => self.unfit.insert(sysctl.clone(), errno) != Some(errno),
        }
    }

    /// Links may be gone: what was wrong about those is nobody's problem.
    pub(super) fn links_gone(&mut self, is_there: impl Fn(&Sysctl) -> bool) {
        self.unfit.retain(|sysctl, _| is_there(sysctl));
    }

    /// What is wrong, while there is `any_tunnel`.
    pub(super) fn unfit(&self, any_tunnel: bool) -> impl Iterator<Item = (&Sysctl, Errno)> {
        let wanted = move |sysctl: &Sysctl| match sysctl {
            Sysctl::Forwarding(family) => any_tunnel || self.forwarded.contains(family),
            Sysctl::ForwardingOn(_) => true,
            Sysctl::LooseReversePath(_) | Sysctl::Ipv6On(_) => any_tunnel,
        };
        let unfit = self.unfit.iter().filter(move |(sysctl, _)| wanted(sysctl));
        unfit.map(|(sysctl, errno)| (sysctl, *errno))
    }

    /// Somebody changed a setting, or its link came: what is to be asked for again, and whether that is a
    /// repair. `filters` are the reverse path filters that matter, by the link's index.
    pub(super) fn heard(
        &mut self,
        now: Instant,
        setting: &Setting,
        filters: impl Iterator<Item = (Sysctl, u32)>,
    ) -> Vec<Sysctl> {
        let mut broken = Vec::new();
        let whole = Sysctl::Forwarding(setting.family);
        match (setting.forwarding, setting.link) {
            (Some(false), None) if self.forwarded.contains(&setting.family) => broken.push(whole),
            (Some(true), None) if self.unfit.contains_key(&whole) => {
                self.ready.insert(whole);
            }
            (Some(false), Some(link)) if setting.family == Family::Ipv4 => {
                self.off.insert(link);
            }
            (Some(true), Some(link)) => {
                self.off.remove(&link);
                // Of which link is not known here; they are few, and to ask costs a read.
                let of_links = |sysctl: &&Sysctl| matches!(sysctl, Sysctl::ForwardingOn(_));
                let unfit = self.unfit.keys().filter(of_links);
                self.ready.extend(unfit.cloned());
            }
            _ => {}
        }
        if let Some(strict) = setting.reverse_path.map(|mode| mode == 1) {
            let here = |(_, index): &(Sysctl, u32)| setting.link.is_none_or(|link| link == *index);
            for (filter, _) in filters.filter(here) {
                if strict {
                    broken.push(filter);
                } else if self.unfit.contains_key(&filter) {
                    self.ready.insert(filter);
                }
            }
        }
        for sysctl in &broken {
            self.repair(now, sysctl);
        }
        broken
    }

    fn repair(&mut self, now: Instant, sysctl: &Sysctl) {
        if self.due.contains_key(sysctl) || self.ready.contains(sysctl) {
            return;
        }
        match self.pace.take(now, sysctl) {
            Some(pause) => drop(self.due.insert(sysctl.clone(), now + pause)),
            None => drop(self.ready.insert(sysctl.clone())),
        }
    }

    /// Whether it is to be said which links have to forward: not before the whole host does, which
    /// switches all of them.
    pub(super) fn asks_for_links(&self) -> bool {
        let whole = Sysctl::Forwarding(Family::Ipv4);
        let soon = self.ready.contains(&whole) || self.due.contains_key(&whole);
        !self.off.is_empty() && !soon
    }

    /// Has those switched on that have to forward; which those are.
    pub(super) fn forward_on(
        &mut self,
        now: Instant,
        needed: impl Fn(u32) -> Option<Box<str>>,
    ) -> Vec<Sysctl> {
        let off = core::mem::take(&mut self.off);
        if !self.forwarded.contains(&Family::Ipv4) {
            return Vec::new();
        }
        let links: Vec<Sysctl> = off
            .into_iter()
            .filter_map(needed)
            .map(Sysctl::ForwardingOn)
            .collect();
        for sysctl in &links {
            self.repair(now, sysctl);
        }
        links
    }
}
