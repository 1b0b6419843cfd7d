//! S1 with ten feeders: all announce the same prefixes with paths of their own, or each announces its own part.
//!
//! Every feeder is a full eBGP peer and gets what the others announced, too; `load_all_s` says when the last of that
//! was sent. Behind its table each feeder announces one prefix of its own, so that the monitor can't be complete
//! before every feeder's table has been taken. With the same prefixes the monitor must end up with a best path (RFC
//! 4271, section 9.1.2.2, by length and origin) for each of those that are looked at.

use super::load::FEEDER_AS;
use super::stage::{Stage, View};
use super::{Figures, Plan, megabytes};
use crate::daemon::Peer;
use crate::error::{Error, Result};
use crate::netns::peer_address;
use crate::table::{Prefix, Progress, Rng, Table, addresses, announcing, essence, withdrawing};
use crate::wire;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// How many feeders there are.
const FEEDERS: usize = 10;
/// The monitor comes first, so that the feeders' numbers are theirs.
const MONITOR: usize = 0;
/// Where the prefixes that end each feeder's table lie: 198.18.0.0/15, for benchmarks (RFC 2544).
const LAST: u32 = 0xc612_0000;
/// With the same prefixes one UPDATE in so many has its first prefix followed.
const FOLLOW_EVERY: usize = 50;

/// Runs it; `same`: all feeders have the same prefixes.
pub(super) fn run(plan: &Plan, same: bool) -> Result<Figures> {
    let tables = tables(plan.sizes.prefixes, same);
    let mut prefixes: Vec<Prefix> = tables.iter().flat_map(|t| t.prefixes.clone()).collect();
    prefixes.sort_unstable();
    prefixes.dedup();
    let mut progress = Progress::new(&prefixes);
    let best = if same { best(&tables) } else { HashMap::new() };
    if !same {
        tables
            .iter()
            .for_each(|table| progress.mark(&table.announce));
    }
    let mut view = View::new(MONITOR, progress);
    view.followed = best.keys().map(|&address| (address, Vec::new())).collect();

    let peers: Vec<Peer> = (0..=FEEDERS)
        .map(|index| Peer::new(peer_address(index), peer_as(index)))
        .collect();
    let terms = (plan.sizes.load_hold, Duration::ZERO);
    let mut stage = Stage::open(plan, &peers, terms, vec![view])?;
    let updates: usize = tables.iter().map(|table| table.updates).sum();
    let (mut announce, mut withdraw) = (Vec::new(), Vec::new());
    for (number, table) in tables.into_iter().enumerate() {
        announce.push((number + 1, Arc::new(table.announce)));
        withdraw.push((number + 1, Arc::new(table.withdraw)));
    }

    let load = stage.phase(&announce, prefixes.len())?;
    let (view, elsewhere) = (first(&stage)?, stage.seen.elsewhere);
    let out = view.updates;
    view.check()?;
    check_best(view, &best)?;
    let peak = megabytes(stage.daemon.processes().cost().peak_rss);
    let withdrawal = stage.phase(&withdraw, 0)?;
    first(&stage)?.check()?;
    Ok(vec![
        ("load_cpu_s", load.cpu),
        ("load_wall_s", load.wall),
        ("load_all_s", load.all),
        ("peak_rss_mb", peak),
        ("withdraw_cpu_s", withdrawal.cpu),
        ("withdraw_wall_s", withdrawal.wall),
        ("updates_in", updates as f64),
        ("updates_out", out as f64),
        ("updates_to_feeders", elsewhere as f64),
    ])
}

fn first(stage: &Stage) -> Result<&View> {
    let none = || Error::Daemon("there is no monitor".to_owned());
    stage.seen.views.first().ok_or_else(none)
}

fn peer_as(index: usize) -> u32 {
    FEEDER_AS + u32::try_from(index).unwrap_or(0)
}

/// A tenth of the prefixes for each feeder: the same for all, or another one for each.
fn tables(prefixes: usize, same: bool) -> Vec<Table> {
    let each = (prefixes / FEEDERS).max(1);
    let all = addresses(if same { each } else { each * FEEDERS }, &mut Rng::new(1));
    let table = |number: usize| {
        let (peer, seed) = (number + 1, number as u64);
        let part = match same {
            true => all.as_slice(),
            false => all.chunks(each).nth(number).unwrap_or_default(),
        };
        // The same sets of prefixes at all feeders, as routes of the same origin stay together everywhere.
        let sets = if same { 2 } else { 100 + seed };
        let speaker = (peer_as(peer), peer_address(peer));
        let mut table = Table::of(
            part,
            &mut Rng::new(sets),
            Some(Rng::new(1000 + seed)),
            speaker,
        );
        let last = [(LAST | (u32::try_from(number).unwrap_or(0) << 8), 24)];
        let (asn, hop) = speaker;
        table.announce.extend(announcing(&last, asn, hop));
        table.withdraw.extend(withdrawing(&last));
        table.prefixes.extend(last);
        table.updates += 1;
        table
    };
    (0..FEEDERS).map(table).collect()
}

/// For some prefixes, what a best path of them looks like: there may be several that length and origin leave equal.
fn best(tables: &[Table]) -> HashMap<u32, Vec<Vec<u8>>> {
    let mut best: HashMap<u32, Vec<Vec<u8>>> = HashMap::new();
    for table in tables {
        let mut rest: &[u8] = &table.announce;
        let mut number = 0;
        while let Ok(Some(frame)) = wire::next_frame(rest) {
            rest = rest.get(frame.whole.len()..).unwrap_or_default();
            number += 1;
            let Some(path) = essence(frame.body, None).filter(|_| number % FOLLOW_EVERY == 0)
            else {
                continue;
            };
            let mut first = None;
            if wire::prefixes(frame.body, |_, address, _| first = first.or(Some(address))).is_err()
            {
                continue;
            }
            let Some(paths) = first.map(|address| best.entry(address).or_default()) else {
                continue;
            };
            match paths.first().map(|other| rank(&path).cmp(&rank(other))) {
                Some(std::cmp::Ordering::Greater) => {}
                Some(std::cmp::Ordering::Equal) => paths.push(path),
                Some(std::cmp::Ordering::Less) | None => *paths = vec![path],
            }
        }
    }
    best
}

/// Shorter paths first, then IGP before incomplete: of `essence`'s `1 ORIGIN 2 HOPS ...`.
fn rank(path: &[u8]) -> (u8, u8) {
    match path {
        [1, origin, 2, hops, ..] => (*hops, *origin),
        _ => (u8::MAX, u8::MAX),
    }
}

fn check_best(view: &View, best: &HashMap<u32, Vec<Vec<u8>>>) -> Result<()> {
    let right = |(address, got): (&u32, &Vec<u8>)| {
        best.get(address).is_some_and(|paths| paths.contains(got))
    };
    let wrong = view.followed.iter().filter(|entry| !right(*entry)).count();
    if wrong > 0 {
        let all = view.followed.len();
        let what = format!("{wrong} of {all} prefixes looked at did not end with a best path");
        return Err(Error::Daemon(what));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_prefixes_have_other_paths_at_each_feeder() {
        let tables = tables(2000, true);
        let [one, two, ..] = tables.as_slice() else {
            panic!("there are ten");
        };
        assert_eq!(one.prefixes[..200], two.prefixes[..200]);
        assert_ne!(one.prefixes[200], two.prefixes[200], "the last is its own");
        assert_ne!(one.announce, two.announce);
    }

    #[test]
    fn distinct_parts_share_no_prefix() {
        let mut all: Vec<Prefix> = tables(2000, false)
            .into_iter()
            .flat_map(|table| table.prefixes)
            .collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 2010);
    }

    #[test]
    fn what_is_followed_must_end_with_a_shortest_path() {
        let tables = tables(20_000, true);
        let best = best(&tables);
        assert!(!best.is_empty());
        for paths in best.values() {
            assert!(paths.iter().all(|path| rank(path) == rank(&paths[0])));
            assert_ne!(rank(&paths[0]).0, u8::MAX);
        }
        let mut view = View::new(0, Progress::new(&[]));
        view.followed = best.keys().map(|&a| (a, best[&a][0].clone())).collect();
        assert!(check_best(&view, &best).is_ok());
        view.followed.values_mut().for_each(Vec::clear);
        assert!(check_best(&view, &best).is_err());
    }
}
