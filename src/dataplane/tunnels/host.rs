//! Settings of the kernel that forwarding hangs on: asked for, watched, repaired, or known to be wrong.
//!
//! The kernel tells when one changes, whoever changed it; so each is brought back at once, at a pace if
//! somebody insists. Where it can't be (`/proc/sys` is read-only in most containers) it is a problem until it
//! is right, and asked for again now and then: nobody tells of a file system that is writable again. What
//! nothing hangs on any more is neither a problem nor asked for. Which links have to forward, and what
//! tunnels hang on, is not decided here.

use std::collections::{BTreeMap, BTreeSet};

use super::super::device::Sysctl;
use super::super::input::Setting;
use super::super::route::Errno;
use super::pace::Pace;
use crate::net::Family;
use crate::time::{Duration, Instant};

/// A setting that could not be made is asked for again after so long.
const AGAIN: Duration = Duration::from_secs(30);

/// What is to be asked for, and what is wrong.
#[derive(Debug, Default)]
pub(super) struct Host {
    /// Families that this host is to forward, tunnels or not.
    forwarded: BTreeSet<Family>,
    /// To be asked for when there is room.
    ready: BTreeSet<Sysctl>,
    /// To be asked for later.
    due: BTreeMap<Sysctl, Instant>,
    /// Not as it has to be, by the kernel's last word, with the index of the link.
    unfit: BTreeMap<Sysctl, (Errno, u32)>,
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

    /// Time has passed; `hangs` says what tunnels hang on.
    pub(super) fn handle_timeout(&mut self, now: Instant, hangs: impl Fn(&Sysctl) -> bool) {
        while let Some(sysctl) = self.due.iter().find(|(_, at)| **at <= now) {
            let sysctl = sysctl.0.clone();
            self.due.remove(&sysctl);
            let unfit = self.unfit.get(&sysctl).copied();
            let of_link = matches!(sysctl, Sysctl::ForwardingOn(_));
            if let Some((_, index)) = unfit.filter(|_| of_link) {
                // Whether routes still lead over the link is looked at first.
                self.off.insert(index);
            } else if unfit.is_some() && !self.is_needed(&sysctl, &hangs) {
                self.unfit.remove(&sysctl);
            } else {
                self.ready.insert(sysctl);
            }
        }
    }

    fn is_needed(&self, sysctl: &Sysctl, hangs: impl Fn(&Sysctl) -> bool) -> bool {
        match sysctl {
            Sysctl::Forwarding(family) => self.forwarded.contains(family) || hangs(sysctl),
            Sysctl::ForwardingOn(_) => true,
            Sysctl::LooseReversePath(_) | Sysctl::Ipv6On(_) => hangs(sysctl),
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.due.values().min().copied()
    }

    /// The kernel's answer about a setting of the link `index`. Whether it is another than the last one.
    pub(super) fn answered(
        &mut self,
        now: Instant,
        (sysctl, index): (&Sysctl, u32),
        result: Result<(), Errno>,
    ) -> bool {
        let Err(errno) = result else {
            self.due.remove(sysctl);
            return self.unfit.remove(sysctl).is_some();
        };
        if !is_gone(errno) {
            self.due.entry(sysctl.clone()).or_insert(now + AGAIN);
        }
        self.unfit.insert(sysctl.clone(), (errno, index)) != Some((errno, index))
    }

    /// Links may be gone: what was wrong about those is nobody's problem.
    pub(super) fn links_gone(&mut self, is_there: impl Fn(&Sysctl) -> bool) {
        self.unfit.retain(|sysctl, _| is_there(sysctl));
    }

    /// What is wrong; `hangs` says what tunnels hang on.
    pub(super) fn unfit(
        &self,
        hangs: impl Fn(&Sysctl) -> bool,
    ) -> impl Iterator<Item = (&Sysctl, Errno)> {
        let unfit = self.unfit.iter();
        let unfit = unfit
            .filter(move |(sysctl, (errno, _))| !is_gone(*errno) && self.is_needed(sysctl, &hangs));
        unfit.map(|(sysctl, (errno, _))| (sysctl, *errno))
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
                let unfit = self.unfit.iter();
                let unfit = unfit.filter(|(sysctl, (_, index))| {
                    matches!(sysctl, Sysctl::ForwardingOn(_)) && *index == link
                });
                self.ready.extend(unfit.map(|(sysctl, _)| sysctl.clone()));
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
        let forwards = self.forwarded.contains(&Family::Ipv4);
        let links: Vec<(u32, Sysctl)> = off
            .iter()
            .filter(|_| forwards)
            .filter_map(|index| Some((*index, Sysctl::ForwardingOn(needed(*index)?))))
            .collect();
        self.unfit.retain(|sysctl, (_, index)| {
            let looked_at = matches!(sysctl, Sysctl::ForwardingOn(_)) && off.contains(index);
            !looked_at || links.iter().any(|(_, needed)| needed == sysctl)
        });
        let links: Vec<Sysctl> = links.into_iter().map(|(_, sysctl)| sysctl).collect();
        for sysctl in &links {
            self.repair(now, sysctl);
        }
        links
    }
}

/// Whether what a setting is about is not there: that needs nothing, and is heard of if it comes.
const fn is_gone(errno: Errno) -> bool {
    matches!(errno, Errno::ENOENT | Errno::ENODEV)
}
