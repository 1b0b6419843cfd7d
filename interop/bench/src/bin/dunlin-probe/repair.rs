//! Another program that deletes what is dunlin's, and a clock beside it.
//!
//! The time of a repair is from just before the deletion until the kernel's notification of the same object is
//! read here: what the reading itself takes counts against dunlin.

use crate::cli::RepairOptions;
use crate::error::{Error, Result};
use crate::netlink::{Message, Netlink};
use crate::object::{Kind, Object};
use crate::snapshot::Snapshot;
use crate::tally::millis;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The state of a run.
struct Run {
    first: Snapshot,
    /// What was deleted and is not back, and since when.
    missing: BTreeMap<Object, Instant>,
    /// How long repairs took, in microseconds, by kind.
    repaired: BTreeMap<Kind, Vec<u64>>,
    /// Deletions that the kernel refused, with what it said.
    refused: Vec<String>,
    /// Changes of what is not dunlin's.
    foreign_events: Vec<String>,
}

/// Deletes and takes the time.
pub(crate) fn run(options: &RepairOptions) -> Result<Value> {
    let mut listening = Netlink::listening(&options.namespace)?;
    let mut asking = Netlink::asking(&options.namespace)?;
    let first = Snapshot::take(&mut asking, options)?;
    if !first.ours.keys().any(|o| options.kinds.contains(&o.kind)) {
        let message = format!("{} has nothing of dunlin's to delete", options.namespace);
        return Err(Error::Nothing(message));
    }
    let mut run = Run {
        first,
        missing: BTreeMap::new(),
        repaired: BTreeMap::new(),
        refused: Vec::new(),
        foreign_events: Vec::new(),
    };
    let (started, mut random) = (Instant::now(), Random(options.seed.max(1)));
    let mut rounds = 0u32;
    while options.every * rounds < options.length {
        rounds += 1;
        // What is still unread speaks of what was before.
        while run.hear_once(&mut listening)? {}
        run.strike(&mut asking, options, &mut random)?;
        run.hear_until(&mut listening, started + options.every * rounds)?;
    }
    let last = run.wait(&mut listening, &mut asking, options)?;
    Ok(run.report(options, rounds, &last))
}

impl Run {
    /// Deletes one object of a random kind that is there.
    fn strike(
        &mut self,
        asking: &mut Netlink,
        options: &RepairOptions,
        random: &mut Random,
    ) -> Result<()> {
        let now = Snapshot::take(asking, options);
        // A device may just be away, with its name.
        let Ok(now) = now else { return Ok(()) };
        let targets = |kind: Kind| -> Vec<(&Object, &Message)> {
            let there = now.ours.iter().filter(|(o, _)| o.kind == kind);
            there
                .filter(|(o, _)| self.first.ours.contains_key(o) && !self.missing.contains_key(o))
                .collect()
        };
        let kinds: Vec<Kind> = options
            .kinds
            .iter()
            .copied()
            .filter(|kind| !targets(*kind).is_empty())
            .collect();
        let Some(kind) = random.one_of(&kinds) else {
            return Ok(());
        };
        let targets = targets(*kind);
        let Some((object, message)) = random.one_of(&targets) else {
            return Ok(());
        };
        let (object, at) = ((*object).clone(), Instant::now());
        match asking.delete(message) {
            Ok(()) => {
                self.missing.insert(object, at);
            }
            Err(errno) => self.refused.push(format!("{object}: {errno}")),
        }
        Ok(())
    }

    fn hear_until(&mut self, listening: &mut Netlink, deadline: Instant) -> Result<()> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            for message in listening.hear(left)? {
                self.heard(&message);
            }
            if left.is_zero() {
                return Ok(());
            }
        }
    }

    /// Reads what is there; was there anything?
    fn hear_once(&mut self, listening: &mut Netlink) -> Result<bool> {
        let messages = listening.hear(Duration::ZERO)?;
        for message in &messages {
            self.heard(message);
        }
        Ok(!messages.is_empty())
    }

    fn heard(&mut self, message: &Message) {
        let Some(object) = Object::of(message) else {
            return;
        };
        let appeared = message.kind & 3 == 0;
        if appeared && let Some(since) = self.missing.remove(&object) {
            let micros = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.repaired.entry(object.kind).or_default().push(micros);
        } else if self.first.is_foreign(&object) && object.kind != Kind::Link {
            let word = if appeared { "new" } else { "gone" };
            self.foreign_events.push(format!("{word}: {object}"));
        }
    }

    /// Waits until all is back as it was, at most for the time given; returns what there is then.
    fn wait(
        &mut self,
        listening: &mut Netlink,
        asking: &mut Netlink,
        options: &RepairOptions,
    ) -> Result<Snapshot> {
        let deadline = Instant::now() + options.within;
        loop {
            let soon = Instant::now() + Duration::from_millis(50);
            self.hear_until(listening, soon.min(deadline))?;
            let now = Snapshot::take(asking, options)?;
            let all = self.first.ours.keys().all(|o| now.ours.contains_key(o));
            if (all && self.missing.is_empty()) || Instant::now() >= deadline {
                return Ok(now);
            }
        }
    }

    fn report(&self, options: &RepairOptions, rounds: u32, last: &Snapshot) -> Value {
        let all: Vec<u64> = self.repaired.values().flatten().copied().collect();
        let by_kind: serde_json::Map<String, Value> = self
            .repaired
            .iter()
            .map(|(kind, times)| (kind.word().to_owned(), figures(times)))
            .collect();
        let texts = |objects: &mut dyn Iterator<Item = &Object>| -> Vec<String> {
            objects.map(ToString::to_string).collect()
        };
        let (first, there) = (&self.first, &last.ours);
        json!({
            "every-ms": options.every.as_millis(),
            "rounds": rounds,
            "objects": first.ours.len(),
            "deleted": all.len() + self.missing.len(),
            "repaired": figures(&all),
            "by-kind": by_kind,
            "never-back": texts(&mut self.missing.keys()),
            "missing-at-end": texts(&mut first.ours.keys().filter(|o| !there.contains_key(o))),
            "refused": self.refused,
            "foreign-objects": first.foreign.len(),
            "foreign-gone": texts(&mut first.foreign.difference(&last.foreign)),
            "foreign-new": texts(&mut last.foreign.difference(&first.foreign)),
            "foreign-events": self.foreign_events,
        })
    }
}

/// Count, median, 99th percentile and maximum, in milliseconds.
fn figures(times: &[u64]) -> Value {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let at = |percent: usize| {
        let place = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
        sorted.get(place).copied().map(millis)
    };
    json!({ "count": sorted.len(), "p50-ms": at(50), "p99-ms": at(99), "max-ms": at(100) })
}

/// Xorshift: repeatable, and good enough to choose by.
struct Random(u64);

impl Random {
    fn one_of<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let length = u64::try_from(items.len()).ok().filter(|l| *l > 0)?;
        items.get(usize::try_from((self.0 >> 11) % length).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let times: Vec<u64> = (1..=200).map(|n| n * 1000).collect();
        let expected = json!({ "count": 200, "p50-ms": 100.0, "p99-ms": 198.0, "max-ms": 200.0 });
        assert_eq!(figures(&times), expected);
        assert_eq!(figures(&[])["p50-ms"], Value::Null);
    }

    #[test]
    fn a_random_choice_reaches_everything() {
        let (mut random, mut seen) = (Random(1), [0; 4]);
        for _ in 0..400 {
            let place = random.one_of(&[0usize, 1, 2, 3]).copied().unwrap();
            seen[place] += 1;
        }
        assert!(seen.iter().all(|n| *n > 50), "{seen:?}");
        assert_eq!(random.one_of::<u8>(&[]), None);
    }
}
