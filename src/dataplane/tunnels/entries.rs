//! Addresses, neighbours and FDB entries of tunnel devices: what is wanted against what is seen.
//!
//! One entry a key, at most one operation outstanding for it, and a place in a queue while the two
//! differ: a change costs what it touches, however many far ends there are. What always holds:
//!
//! - Nothing is done on a link that is not under control ([`Entries::want`]).
//! - News that cross an operation of ours, or come late, are no proof of what is there now: what is
//!   wanted is entered again, which does no harm. An echo that agrees changes nothing.
//! - What is no longer wanted goes last, and not while a route leads to it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::super::input::Action;
use super::super::route::Errno;
use super::key::{Key, Value, What, first};
use super::needs::is_link_local;
use super::pace::{Pace, Refusal};
use crate::net::Mac;
use crate::time::Instant;

#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    wanted: Option<Value>,
    seen: Option<Value>,
    /// What is seen may be wrong by now.
    unsure: bool,
    busy: Option<Busy>,
    /// News came across the outstanding operation.
    crossed: bool,
    refusal: Option<Refusal>,
    /// Not before then.
    due: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Busy {
    Set(Value),
    Delete,
}

/// All entries.
#[derive(Debug, Default)]
pub(super) struct Entries {
    entries: BTreeMap<Key, Entry>,
    controlled: BTreeSet<u32>,
    sets: BTreeSet<Key>,
    deletes: BTreeSet<Key>,
    timers: BTreeSet<(Instant, Key)>,
    dump: Option<Dump>,
    pace: Pace<Key>,
    events: Vec<(Key, Event)>,
    /// Counts what may have to be removed.
    changes: u64,
}

#[derive(Debug, Default)]
struct Dump {
    rows: BTreeMap<Key, Value>,
    overtaken: BTreeSet<Key>,
}

/// Something that became of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// It is as wanted, and it was not before.
    Settled,
    /// Somebody undid it; it is put back at once.
    Repairing,
    /// Somebody undid it; it is put back later.
    Fought,
    /// It was refused.
    Refused(Errno),
}

/// What a result means beyond the entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Upshot {
    /// The kernel has the entry now.
    Set,
    /// It has it no longer.
    Deleted,
    /// The link is gone.
    LinkGone,
    /// It was refused, for whatever reason.
    Refused(Errno),
}

impl Entries {
    /// Brings what is on a link under control: these entries are wanted, others are not.
    pub(super) fn want(&mut self, interface: u32, mut wanted: BTreeMap<Key, Value>) {
        self.controlled.insert(interface);
        for key in self.keys(interface) {
            let value = wanted.remove(&key);
            self.wish(key, value);
        }
        for (key, value) in wanted {
            self.wish(key, Some(value));
        }
    }

    /// Leaves what is on a link alone from now on.
    pub(super) fn release(&mut self, interface: u32) {
        if !self.controlled.remove(&interface) {
            return;
        }
        for key in self.keys(interface) {
            self.wish(key, None);
        }
    }

    /// The link is gone, and what was on it.
    pub(super) fn link_gone(&mut self, interface: u32) {
        self.controlled.remove(&interface);
        for key in self.keys(interface) {
            self.forget(key);
        }
    }

    /// Somebody has changed an entry, or our own echo says so.
    pub(super) fn news(&mut self, now: Instant, key: Key, value: Option<Value>) {
        if let Some(dump) = &mut self.dump {
            dump.overtaken.insert(key);
        }
        let controlled = self.controlled.contains(&key.interface);
        if value.is_none() && !self.entries.contains_key(&key) {
            return;
        }
        let entry = self.entries.entry(key).or_default();
        if let Some(busy) = entry.busy {
            let agrees = match busy {
                Busy::Set(set) => value == Some(set),
                Busy::Delete => value.is_none(),
            };
            entry.crossed = !agrees;
            entry.seen = value.or(entry.seen);
            entry.unsure = true;
            return;
        }
        if entry.seen == value && !entry.unsure {
            return;
        }
        let stood = !entry.unsure && entry.seen == entry.wanted;
        if controlled {
            // What is gone by these news may have been entered by us after them.
            entry.seen = value.or(entry.seen);
            entry.unsure = true;
            if stood {
                self.undone(now, key);
            }
        } else {
            entry.seen = value;
            entry.unsure = false;
        }
        self.judge(key);
    }

    /// A dump begins.
    pub(super) fn dump_begins(&mut self) {
        self.dump = Some(Dump::default());
    }

    /// A row of it.
    pub(super) fn dumped(&mut self, key: Key, value: Value) {
        if let Some(dump) = &mut self.dump {
            dump.rows.insert(key, value);
        }
    }

    /// It ended; `keep` tells the links whose entries are of interest.
    pub(super) fn dump_ends(&mut self, complete: bool, keep: impl Fn(u32) -> bool) {
        let Some(Dump {
            mut rows,
            overtaken,
        }) = self.dump.take().filter(|_| complete)
        else {
            return;
        };
        for key in self.entries.keys().copied().collect::<Vec<_>>() {
            let row = rows.remove(&key);
            if !keep(key.interface) {
                self.controlled.remove(&key.interface);
                self.forget(key);
            } else if !overtaken.contains(&key)
                && let Some(entry) = self.entries.get_mut(&key)
            {
                let stood = !entry.unsure && entry.seen == entry.wanted;
                entry.seen = row;
                entry.unsure = false;
                if stood && entry.seen != entry.wanted {
                    self.events.push((key, Event::Repairing));
                }
                self.judge(key);
            }
        }
        for (key, value) in rows {
            if keep(key.interface) && !overtaken.contains(&key) {
                self.entries.entry(key).or_default().seen = Some(value);
                self.judge(key);
            }
        }
    }

    /// The kernel's word on the operation for an entry.
    pub(super) fn done(&mut self, now: Instant, key: Key, result: Result<(), Errno>) -> Upshot {
        let sibling = self.has_sibling(key);
        let Some(entry) = self.entries.get_mut(&key) else {
            return Upshot::Deleted;
        };
        let Some(busy) = entry.busy.take() else {
            return Upshot::Deleted;
        };
        let crossed = core::mem::take(&mut entry.crossed);
        let upshot = match (busy, result) {
            (_, Err(Errno::ENODEV)) => Upshot::LinkGone,
            (Busy::Set(value), Ok(())) => {
                entry.seen = Some(value);
                Upshot::Set
            }
            (Busy::Set(value @ Value::Here), Err(Errno::EEXIST)) if !sibling => {
                entry.seen = Some(value);
                Upshot::Set
            }
            // EADDRNOTAVAIL is the word for addresses.
            (Busy::Delete, Ok(()) | Err(Errno::ENOENT | Errno::ESRCH | Errno(99))) => {
                if !crossed {
                    entry.seen = None;
                }
                Upshot::Deleted
            }
            (_, Err(errno)) => Upshot::Refused(errno),
        };
        match upshot {
            Upshot::Set | Upshot::Deleted => {
                entry.unsure = crossed;
                entry.refusal = None;
                if crossed {
                    self.undone(now, key);
                }
            }
            Upshot::Refused(errno) => {
                // What was not granted changed nothing, but a lost result may have been a grant.
                entry.unsure |= crossed || errno == Errno::ENOBUFS;
                if let (true, Busy::Set(value)) = (errno == Errno::ENOBUFS, busy) {
                    entry.seen = entry.seen.or(Some(value));
                }
            }
            Upshot::LinkGone => {}
        }
        self.judge(key);
        upshot
    }

    /// The refusal was about this entry: it waits.
    pub(super) fn refused(&mut self, now: Instant, key: Key, errno: Errno) {
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        let news = entry.refusal.is_none_or(|before| before.errno != errno);
        let refusal = Refusal::after(entry.refusal, now, errno);
        entry.refusal = Some(refusal);
        self.wait(key, refusal.at);
        if news {
            self.events.push((key, Event::Refused(errno)));
        }
    }

    /// The next entry to be made.
    pub(super) fn next_set(&mut self) -> Option<(Key, Action)> {
        loop {
            let key = self.sets.pop_first()?;
            let Some(entry) = self.entries.get_mut(&key) else {
                continue;
            };
            if let Some(value) = entry.wanted
                && let Some(action) = key.action(true, value)
            {
                entry.busy = Some(Busy::Set(value));
                return Some((key, action));
            }
        }
    }

    /// Entries to be removed, at most `max`; whether some have to stay for now. `in_use` tells
    /// neighbours that routes lead to.
    pub(super) fn next_deletes(
        &mut self,
        max: usize,
        in_use: impl Fn(u32, IpAddr) -> bool,
    ) -> (Vec<(Key, Action)>, bool) {
        let mut deletes = Vec::new();
        let mut kept = false;
        if self.deletes.is_empty() {
            return (deletes, kept);
        }
        let spoken_for = self.spoken_for();
        let making = self.links_with_addresses_to_make();
        for key in self.deletes.iter().copied().collect::<Vec<_>>() {
            let stays = match key.what {
                // A link without an address loses its routes: the new one comes first.
                What::Address(..) => making.contains(&key.interface),
                What::Neighbour(address) => in_use(key.interface, address),
                What::Forward(mac, _) => spoken_for.contains(&(key.interface, mac)),
            };
            let Some(entry) = self.entries.get_mut(&key) else {
                self.deletes.remove(&key);
                continue;
            };
            if stays || deletes.len() >= max {
                kept |= stays;
                continue;
            }
            self.deletes.remove(&key);
            if let Some(action) = entry.seen.and_then(|value| key.action(false, value)) {
                entry.busy = Some(Busy::Delete);
                deletes.push((key, action));
            }
        }
        (deletes, kept)
    }

    /// The next thing that became of an entry.
    pub(super) fn take_events(&mut self) -> Vec<(Key, Event)> {
        core::mem::take(&mut self.events)
    }

    /// Whether an entry is wanted, and in the kernel as far as we know.
    pub(super) fn is_settled(&self, key: Key) -> bool {
        let settled = |entry: &Entry| {
            entry.wanted.is_some()
                && entry.seen == entry.wanted
                && !entry.unsure
                && !entry.is_busy()
        };
        self.entries.get(&key).is_some_and(settled)
    }

    /// What of a link was refused, and why.
    pub(super) fn refusal(&self, interface: u32) -> Option<(Key, Errno)> {
        let mut entries = self.entries.range(first(interface)..);
        entries
            .by_ref()
            .take_while(|(key, _)| key.interface == interface)
            .find_map(|(key, entry)| Some((*key, entry.refusal?.errno)))
    }

    /// Whether an address is on the link that does not come by itself.
    pub(super) fn has_address(&self, interface: u32) -> bool {
        let mut addresses = self
            .entries
            .range(first(interface)..)
            .take_while(|(key, _)| key.interface == interface && key.as_address().is_some());
        addresses.any(|(key, entry)| {
            let own = key.as_address().is_some_and(|a| is_link_local(a.address));
            !own && (entry.seen.is_some() || entry.is_busy())
        })
    }

    /// Whether something is to be made now.
    pub(super) fn has_sets(&self) -> bool {
        !self.sets.is_empty()
    }

    /// Whether something is to be removed, now or later.
    pub(super) fn has_deletes(&self) -> bool {
        !self.deletes.is_empty()
    }

    /// Counts what may have to be removed.
    pub(super) const fn changes(&self) -> u64 {
        self.changes
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Time has passed.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        while let Some((at, key)) = self.timers.first().copied() {
            if at > now {
                return;
            }
            self.wait(key, None);
        }
    }

    /// What was refused may be tried again at once.
    pub(super) fn hasten(&mut self) {
        for (_, key) in core::mem::take(&mut self.timers) {
            self.wait(key, None);
        }
    }

    fn wish(&mut self, key: Key, value: Option<Value>) {
        let entry = self.entries.entry(key).or_default();
        if entry.wanted != value {
            entry.wanted = value;
            entry.refusal = None;
            self.wait(key, None);
        }
        self.judge(key);
    }

    /// Somebody else undid what we did: it is done again, at a pace.
    fn undone(&mut self, now: Instant, key: Key) {
        let pause = self.pace.take(now, &key);
        let wanted = self.entries.get(&key).is_some_and(|e| e.wanted.is_some());
        if let Some(pause) = pause {
            self.wait(key, Some(now + pause));
        }
        if wanted {
            let event = pause.map_or(Event::Repairing, |_| Event::Fought);
            self.events.push((key, event));
        }
    }

    fn wait(&mut self, key: Key, until: Option<Instant>) {
        let Some(entry) = self.entries.get_mut(&key) else {
            self.timers.retain(|(_, waiting)| *waiting != key);
            return;
        };
        if let Some(due) = entry.due.take() {
            self.timers.remove(&(due, key));
        }
        entry.due = until;
        if let Some(due) = until {
            self.timers.insert((due, key));
        }
        self.judge(key);
    }

    /// Puts an entry where it belongs.
    fn judge(&mut self, key: Key) {
        self.sets.remove(&key);
        self.deletes.remove(&key);
        let Some(entry) = self.entries.get(&key).copied() else {
            return;
        };
        if entry.is_busy() {
            return;
        }
        let differs = entry.unsure || entry.seen != entry.wanted;
        let rests = entry.due.is_some() || !self.controlled.contains(&key.interface);
        match (entry.wanted, entry.seen) {
            (None, None) => self.forget(key),
            (Some(_), _) if differs && !rests => {
                self.sets.insert(key);
            }
            (Some(_), _) if !differs => self.events.push((key, Event::Settled)),
            (None, Some(_)) if !rests && !key.comes_by_itself() => {
                self.deletes.insert(key);
                self.changes += 1;
            }
            (Some(_) | None, _) => {}
        }
    }

    fn forget(&mut self, key: Key) {
        self.sets.remove(&key);
        self.deletes.remove(&key);
        if let Some(due) = self.entries.remove(&key).and_then(|entry| entry.due) {
            self.timers.remove(&(due, key));
        }
    }

    fn keys(&self, interface: u32) -> Vec<Key> {
        self.entries
            .range(first(interface)..)
            .take_while(|(key, _)| key.interface == interface)
            .map(|(key, _)| *key)
            .collect()
    }

    /// The same IPv6 address with another length, which the kernel takes for the same.
    fn has_sibling(&self, key: Key) -> bool {
        let What::Address(address @ IpAddr::V6(_), len) = key.what else {
            return false;
        };
        self.keys(key.interface).into_iter().any(|other| {
            let same = matches!(other.what, What::Address(a, l) if a == address && l != len);
            same && self.entries.get(&other).is_some_and(|e| e.seen.is_some())
        })
    }

    /// The MACs that a neighbour of the link has: their FDB entries stay.
    fn spoken_for(&self) -> BTreeSet<(u32, Mac)> {
        let macs = self.entries.iter().flat_map(|(key, entry)| {
            [entry.seen, entry.wanted]
                .into_iter()
                .filter_map(|value| match value {
                    Some(Value::Mac(mac)) => Some((key.interface, mac)),
                    Some(Value::Here | Value::Node(_)) | None => None,
                })
        });
        macs.collect()
    }

    fn links_with_addresses_to_make(&self) -> BTreeSet<u32> {
        let waits = |entry: &Entry| entry.wanted.is_some() && entry.seen.is_none();
        self.entries
            .iter()
            .filter(|(key, entry)| key.as_address().is_some() && waits(entry))
            .map(|(key, _)| key.interface)
            .collect()
    }
}

impl Entry {
    const fn is_busy(&self) -> bool {
        self.busy.is_some()
    }
}
