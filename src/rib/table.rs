//! The routes of one family: what each change does to the destination it is about.
//!
//! Adj-RIB-In and Loc-RIB in one: a destination holds the paths of all peers, and the selected ones
//! are marked. It tells what changed; whom to tell is [`Rib`](super::Rib)'s matter.

use core::ops::Range;

use super::attributes::AttributesId;
use super::context::Context;
use super::decision::{self, Decider, Facts, eligible};
use super::id_queue::IdQueue;
use super::path::{MAX_RECEIVED, Path, Paths};
use super::peer::PeerIndex;
use super::prefix_map::{DestinationId, PrefixMap, TableKey};
use crate::net::Hashing;

/// Takes paths out of a destination, and what they refer to.
fn take_out(ctx: &mut Context<'_>, paths: &mut Paths, goes: impl Fn(&Path, &Context<'_>) -> bool) {
    let mut place = 0;
    while let Some(path) = paths.as_slice().get(place).copied() {
        if goes(&path, ctx) {
            let of_full = is_full(paths, path.peer);
            paths.remove(place);
            ctx.leave(&path, of_full);
            ctx.store.release(path.attributes);
        } else {
            place += 1;
        }
    }
}

/// What a walk has come by.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) changes: Vec<Change>,
    /// Where a path is shown of a peer whose facts are others than before.
    pub(crate) again: Vec<(PeerIndex, DestinationId)>,
}

/// Whether a peer has as many paths of a destination as it may (RFC 7911 sets no limit).
fn is_full(paths: &Paths, peer: PeerIndex) -> bool {
    let all = paths.as_slice();
    all.len() >= MAX_RECEIVED && all.iter().filter(|path| path.peer == peer).count() >= MAX_RECEIVED
}

/// What became of a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) id: DestinationId,
    /// The best path is another one, or has other attributes.
    pub(crate) best: bool,
    /// The selected paths are others.
    pub(crate) selected: bool,
    /// The place, counted from 1, of the first of the others that is another one where unequal paths are
    /// wanted; 0 if none is.
    pub(crate) more: u8,
    /// No path is left.
    pub(crate) emptied: bool,
}

impl Change {
    /// Nothing changed.
    const fn none(id: DestinationId) -> Self {
        Self {
            id,
            best: false,
            selected: false,
            more: 0,
            emptied: false,
        }
    }
}

/// One family's routes.
#[derive(Debug)]
pub(crate) struct Table<P> {
    pub(crate) map: PrefixMap<P>,
    /// Destinations whose selected paths the forwarding plane has to hear of.
    pub(crate) forwarding: IdQueue,
    decider: Decider,
    /// The selected paths before a change.
    before: Vec<Selected>,
    /// The others that somebody was sent.
    before_more: Vec<Selected>,
    /// So many paths of a destination are numbered, however unequal, if there are so many; 0 is only those
    /// that are selected.
    unequal: u8,
    reorder: Vec<Path>,
    /// Destinations with at least one path.
    pub(crate) populated: u32,
}

impl<P: TableKey> Table<P> {
    pub(crate) fn new(hashing: Hashing) -> Self {
        Self {
            map: PrefixMap::new(hashing),
            forwarding: IdQueue::default(),
            decider: Decider::default(),
            before: Vec::new(),
            before_more: Vec::new(),
            unequal: 0,
            reorder: Vec::new(),
            populated: 0,
        }
    }

    /// Enters a path, in place of the one that the peer sent before under this prefix and identifier.
    #[inline]
    pub(crate) fn announce(&mut self, ctx: &mut Context<'_>, prefix: P, mut path: Path) -> Change {
        let id = self.map.find_or_insert(prefix);
        let Some(destination) = self.map.get_mut(id) else {
            return Change::none(id);
        };
        // The first path of a destination is best if it may be used at all.
        let Paths::Empty { .. } = destination.paths else {
            return self.announce_among(ctx, id, path);
        };
        if !ctx.enter(&path) {
            self.map.free_if_unused(id);
            return Change::none(id);
        }
        path.selected = eligible(&path, ctx.facts());
        path.send_id = u8::from(path.selected);
        destination.paths = Paths::One(path);
        destination.since = ctx.now;
        self.populated += 1;
        ctx.store.retain(path.attributes);
        Change {
            best: path.selected,
            selected: path.selected,
            ..Change::none(id)
        }
    }

    /// The same where there are paths already. Inline: a route that is said again comes here, and no call is worth
    /// what it would cost beside the little that is to be done.
    #[inline]
    fn announce_among(&mut self, ctx: &mut Context<'_>, id: DestinationId, path: Path) -> Change {
        let unchanged = Change::none(id);
        let Some(destination) = self.map.get_mut(id) else {
            return unchanged;
        };
        let paths = &mut destination.paths;
        remember((&mut self.before, &mut self.before_more), paths);
        let same = |p: &&mut Path| p.peer == path.peer && p.path_id == path.path_id;
        match paths.as_mut_slice().iter_mut().find(same) {
            Some(old) => {
                let was = *old;
                let (same_time, same_verdict) =
                    (was.epoch == path.epoch, was.accepted == path.accepted);
                if !same_time && ctx.is_gone(&was) && !ctx.has_room(&path) {
                    return unchanged;
                }
                *old = Path {
                    selected: was.selected,
                    send_id: was.send_id,
                    ..path
                };
                if !same_time || !same_verdict {
                    ctx.count(&was, false);
                    ctx.count(&path, true);
                }
                let refreshed = was.attributes == path.attributes;
                if refreshed && same_verdict {
                    return unchanged;
                }
                ctx.store.retain(path.attributes);
                ctx.store.release(was.attributes);
            }
            None => {
                let full = is_full(paths, path.peer);
                if !full && !ctx.enter(&path) {
                    return unchanged;
                }
                ctx.store.retain(path.attributes);
                paths.push(path);
                if full {
                    return self.crowd_out(ctx, id, path);
                }
            }
        }
        self.decide(ctx, id)
    }

    /// A peer has one path of a destination more than it may, the one that has just come: the least of
    /// them goes.
    fn crowd_out(&mut self, ctx: &mut Context<'_>, id: DestinationId, path: Path) -> Change {
        ctx.count(&path, true);
        // Which of them are in use now is the first thing to know.
        self.decide(ctx, id);
        let Some(destination) = self.map.get_mut(id) else {
            return Change::none(id);
        };
        let paths = &mut destination.paths;
        let least = decision::least(paths.as_slice(), path.peer, ctx.facts());
        let least = least.and_then(|place| Some((place, *paths.as_slice().get(place)?)));
        if let Some((place, least)) = least {
            paths.remove(place);
            ctx.count(&least, false);
            if let Some(count) = ctx.peers.count_mut(path.peer, ctx.family) {
                count.counts.beyond = count.counts.beyond.saturating_add(1);
            }
        }
        let change = self.decide(ctx, id);
        // Not before: a number that is free again could be taken for what was there.
        if let Some((_, least)) = least {
            ctx.store.release(least.attributes);
        }
        change
    }

    /// Removes the path of a peer under an identifier; `None` if there is none.
    #[inline]
    pub(crate) fn withdraw(
        &mut self,
        ctx: &mut Context<'_>,
        prefix: P,
        (peer, path_id): (PeerIndex, u32),
    ) -> Option<Change> {
        let same = |path: &Path| path.peer == peer && path.path_id == path_id;
        let found = self.map.find_next(prefix);
        let Some((id, destination)) = found.and_then(|id| Some((id, self.map.get_mut(id)?))) else {
            ctx.not_there(peer);
            return None;
        };
        let Paths::One(path) = destination.paths else {
            let change = self.remove_paths(ctx, id, same);
            if change.is_none() {
                ctx.not_there(peer);
            }
            return change;
        };
        if !same(&path) {
            ctx.not_there(peer);
            return None;
        }
        destination.paths = Paths::Empty { pins: 0 };
        self.populated = self.populated.saturating_sub(1);
        ctx.store.release(path.attributes);
        ctx.leave(&path, false);
        Some(Change {
            best: path.selected,
            selected: path.selected,
            emptied: true,
            ..Change::none(id)
        })
    }

    /// Removes the paths of a destination for which `goes` says so.
    fn remove_paths(
        &mut self,
        ctx: &mut Context<'_>,
        id: DestinationId,
        goes: impl Fn(&Path) -> bool,
    ) -> Option<Change> {
        let paths = &mut self.map.get_mut(id)?.paths;
        if !paths.as_slice().iter().any(&goes) {
            return None;
        }
        remember((&mut self.before, &mut self.before_more), paths);
        take_out(ctx, paths, |path, _| goes(path));
        if paths.as_slice().is_empty() {
            self.populated = self.populated.saturating_sub(1);
        }
        Some(self.decide(ctx, id))
    }

    /// Does to a range of destinations what is due: what is gone goes, what is to be long-lived stale becomes
    /// so, and what is known of peers and next hops is looked at again.
    pub(crate) fn visit(
        &mut self,
        ctx: &mut Context<'_>,
        range: Range<DestinationId>,
        found: &mut Found,
    ) {
        for id in range {
            if let Some(change) = self.visit_one(ctx, id) {
                found.changes.push(change);
                let shown = self.map.get(id).into_iter().flat_map(|d| d.paths.shown());
                let again = shown.filter(|path| !ctx.peers.facts_before(path.peer).is_empty());
                found.again.extend(again.map(|path| (path.peer, id)));
            }
        }
    }

    fn visit_one(&mut self, ctx: &mut Context<'_>, id: DestinationId) -> Option<Change> {
        let paths = &mut self.map.get_mut(id)?.paths;
        if !paths.as_slice().iter().any(|path| ctx.is_due(path)) {
            return None;
        }
        remember((&mut self.before, &mut self.before_more), paths);
        let was_there = !paths.as_slice().is_empty();
        take_out(ctx, paths, |path, ctx| ctx.goes(path));
        let mut former = Vec::new();
        for path in paths.as_mut_slice() {
            if ctx.is_long_lived(path)
                && let Some(attributes) = ctx.store.long_lived_stale(path.attributes)
            {
                former.push(core::mem::replace(&mut path.attributes, attributes));
            }
        }
        if was_there && paths.as_slice().is_empty() {
            self.populated = self.populated.saturating_sub(1);
        }
        let change = self.decide(ctx, id);
        // Not before: a number that is free again could be taken for what was there.
        for attributes in former {
            ctx.store.release(attributes);
        }
        Some(change)
    }

    /// Gives the paths of a peer other numbers, in the order of before.
    pub(crate) fn renumber(&mut self, peer: PeerIndex, number: impl Fn(&Path) -> u8) {
        for id in 0..self.map.end() {
            let Some(destination) = self.map.get_mut(id) else {
                continue;
            };
            for path in destination.paths.as_mut_slice() {
                if path.peer == peer {
                    path.epoch = number(path);
                }
            }
        }
    }

    /// Lets the forwarding plane hear of every destination that has a selected path.
    pub(crate) fn forward_again(&mut self) {
        for id in 0..self.map.end() {
            let destination = self.map.get(id);
            if destination.is_some_and(|found| found.paths.selected().next().is_some()) {
                self.forwarding.insert(id);
            }
        }
    }

    /// Decides a destination again, after a change from what `remember` kept.
    fn decide(&mut self, ctx: &Context<'_>, id: DestinationId) -> Change {
        let change = self.select(id, ctx.facts());
        if change.selected
            && let Some(destination) = self.map.get_mut(id)
        {
            destination.since = ctx.now;
        }
        change
    }

    /// Selects the paths of a destination again, and compares with what `remember` kept.
    fn select(&mut self, id: DestinationId, facts: Facts<'_>) -> Change {
        let Self {
            map,
            decider,
            before,
            before_more,
            unequal,
            reorder,
            ..
        } = self;
        let mut front = 0;
        let mut change = Change::none(id);
        let Some(destination) = map.get_mut(id) else {
            return change;
        };
        match &mut destination.paths {
            Paths::Vacant { .. } | Paths::Empty { .. } => change.emptied = true,
            // Nearly every destination has one path; there is nothing to compare it with.
            Paths::One(path) => path.selected = eligible(path, facts),
            Paths::Many(paths) => {
                let selected = decider.select(paths, facts);
                reorder.clear();
                reorder.extend(selected.iter().filter_map(|&place| paths.get(place)));
                let count = reorder.len();
                let rest = paths
                    .iter()
                    .enumerate()
                    .filter(|(at, _)| !selected.contains(at));
                reorder.extend(rest.map(|(_, path)| path));
                for (at, path) in reorder.iter_mut().enumerate() {
                    path.selected = at < count;
                }
                if *unequal > 0 {
                    let (_, rest) = reorder.split_at_mut_checked(count).unwrap_or_default();
                    let last = |path: &Path| {
                        let rank = decision::rank(path, facts);
                        (rank.is_none(), rank)
                    };
                    rest.sort_by_cached_key(last);
                    let counts = |path: &&Path| path.selected || eligible(path, facts);
                    let counting = reorder.iter().take_while(counts).count();
                    front = counting.min(usize::from(*unequal));
                }
                paths.copy_from_slice(reorder);
            }
        }
        destination.paths.number(front);
        let paths = &destination.paths;
        let best = |selected: &Selected| (selected.0, selected.1);
        change.best = before.first().map(best) != paths.best().map(|p| (p.peer, p.attributes));
        change.selected = change.best || !paths.selected().map(selected).eq(before.iter().copied());
        change.more = first_other(paths, before_more);
        change
    }

    /// Numbers so many paths of each destination from here on, however unequal; 0 is only those that are
    /// selected. What is numbered now and was not is for those to hear that come.
    pub(crate) fn set_unequal(&mut self, facts: Facts<'_>, unequal: u8) {
        if core::mem::replace(&mut self.unequal, unequal) == unequal {
            return;
        }
        for id in 0..self.map.end() {
            let several = self.map.get(id).map(|d| matches!(d.paths, Paths::Many(_)));
            if several == Some(true) {
                self.select(id, facts);
            }
        }
    }

    /// A consumer has heard of a destination: if nothing is left of it, it may go.
    pub(crate) fn unpin(&mut self, id: DestinationId) {
        let Some(destination) = self.map.get_mut(id) else {
            return;
        };
        if let Paths::Empty { pins } = &mut destination.paths {
            *pins = pins.saturating_sub(1);
            self.map.free_if_unused(id);
        }
    }

    /// So many consumers have yet to hear that a destination is gone.
    pub(crate) fn pin(&mut self, id: DestinationId, by: u32) {
        let Some(destination) = self.map.get_mut(id) else {
            return;
        };
        if let Paths::Empty { pins } = &mut destination.paths {
            *pins += by;
            self.map.free_if_unused(id);
        }
    }

    /// The reasons of a decision, in the order of the paths.
    pub(crate) fn explain(
        &mut self,
        id: DestinationId,
        facts: Facts<'_>,
    ) -> Vec<(Path, Option<decision::Step>)> {
        let Some(destination) = self.map.get(id) else {
            return Vec::new();
        };
        let paths = destination.paths.as_slice();
        let reasons = self.decider.explain(paths, facts);
        paths.iter().copied().zip(reasons).collect()
    }
}

/// What a consumer can tell of a selected path: whose it is, its attributes, the identifier that it is
/// sent under.
type Selected = (PeerIndex, AttributesId, u8);

const fn selected(path: &Path) -> Selected {
    (path.peer, path.attributes, path.send_id)
}

fn remember((before, more): (&mut Vec<Selected>, &mut Vec<Selected>), paths: &Paths) {
    before.clear();
    before.extend(paths.selected().map(selected));
    more.clear();
    more.extend(others_sent(paths).map(selected));
}

/// See [`Change::more`].
fn first_other(paths: &Paths, before: &[Selected]) -> u8 {
    let mut now = others_sent(paths).map(selected);
    let mut was = before.iter().copied();
    let in_front = paths.selected().count();
    for place in in_front + 1.. {
        match (now.next(), was.next()) {
            (None, None) => break,
            (now, was) if now == was => {}
            (_, _) => return u8::try_from(place).unwrap_or(u8::MAX),
        }
    }
    0
}

/// What is sent though it is not selected.
fn others_sent(paths: &Paths) -> impl Iterator<Item = &Path> {
    paths.shown().filter(|path| !path.selected)
}

#[cfg(test)]
mod tests {
    use super::super::prefix_map::Destination;
    use super::*;
    use crate::net::{Prefix4, Prefix6};

    #[test]
    fn a_destination_with_one_path_is_small() {
        assert_eq!(size_of::<Path>(), 16);
        assert_eq!(size_of::<Paths>(), 16);
        assert!(size_of::<Destination<Prefix4>>() <= 24);
        assert!(size_of::<Destination<Prefix6>>() <= 40);
    }
}
