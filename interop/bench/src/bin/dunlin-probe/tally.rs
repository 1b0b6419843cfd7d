//! What became of a flow's packets: pure counting over what was sent and what arrived.
//!
//! Times are microseconds since the start. A packet belongs to the phase in which it was sent.

use serde_json::{Value, json};

/// A part of the run.
pub(crate) struct Phase {
    /// Its name.
    pub(crate) name: String,
    /// When it began.
    pub(crate) from: u64,
}

/// What happened to the packets that one flow sent in one phase.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// How many were sent.
    pub(crate) sent: u64,
    /// How many of them arrived at least once.
    pub(crate) received: u64,
    /// Runs of numbers that did not.
    pub(crate) lost: Vec<Run>,
    /// Arrivals of what had arrived before.
    pub(crate) duplicated: u64,
    /// Arrivals after one with a higher number.
    pub(crate) reordered: u64,
    /// The longest time in which nothing arrived.
    pub(crate) longest_gap: u64,
    /// The longest time in which nothing was sent: a gap of that length is the sender's.
    pub(crate) longest_pause: u64,
}

/// Numbers one after the other, and when the first and the last were sent, from the phase's begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    first: usize,
    last: usize,
    sent: (u64, u64),
}

/// Counts one flow: `sent` is when each number was sent, `arrivals` are numbers and times in order.
pub(crate) fn tally(sent: &[u64], arrivals: &[(u32, u64)], phases: &[Phase]) -> Vec<Tally> {
    let mut seen = vec![0u32; sent.len()];
    let mut tallies: Vec<Tally> = phases.iter().map(|_| Tally::default()).collect();
    let phase_of = |time: u64| phases.partition_point(|p| p.from <= time).saturating_sub(1);
    let (mut highest, mut before) = (None, None);
    for (number, at) in arrivals {
        let number = *number as usize;
        let Some(count) = seen.get_mut(number) else {
            continue;
        };
        *count += 1;
        let Some(tally) = tallies.get_mut(phase_of(sent[number])) else {
            continue;
        };
        if *count > 1 {
            tally.duplicated += 1;
        } else if highest.is_some_and(|h| number < h) {
            tally.reordered += 1;
        }
        highest = highest.max(Some(number));
        let gap = at.saturating_sub(before.unwrap_or(*at));
        tally.longest_gap = tally.longest_gap.max(gap);
        before = Some(*at);
    }
    let mut previous = None;
    for (number, time) in sent.iter().enumerate() {
        let phase = phase_of(*time);
        let Some(tally) = tallies.get_mut(phase) else {
            continue;
        };
        tally.sent += 1;
        let pause = time.saturating_sub(previous.unwrap_or(*time));
        tally.longest_pause = tally.longest_pause.max(pause);
        previous = Some(*time);
        if seen[number] > 0 {
            tally.received += 1;
            continue;
        }
        let at = time.saturating_sub(phases[phase].from);
        match tally.lost.last_mut() {
            Some(run) if run.last + 1 == number => {
                run.last = number;
                run.sent.1 = at;
            }
            _ => tally.lost.push(Run {
                first: number,
                last: number,
                sent: (at, at),
            }),
        }
    }
    tallies
}

impl Tally {
    /// How many never arrived.
    pub(crate) const fn missing(&self) -> u64 {
        self.sent - self.received
    }

    /// For the report; times in milliseconds.
    pub(crate) fn to_json(&self, flow: &str) -> Value {
        // A flow that is cut for long has one run, one that drops every other packet would have thousands.
        const SHOWN: usize = 20;
        let runs: Vec<Value> = self
            .lost
            .iter()
            .take(SHOWN)
            .map(|run| run.to_json())
            .collect();
        json!({
            "flow": flow,
            "sent": self.sent,
            "received": self.received,
            "lost": self.missing(),
            "lost-ranges": runs,
            "duplicated": self.duplicated,
            "reordered": self.reordered,
            "longest-gap-ms": millis(self.longest_gap),
            "longest-pause-of-sender-ms": millis(self.longest_pause),
        })
    }
}

impl Run {
    fn to_json(self) -> Value {
        json!({
            "first": self.first,
            "last": self.last,
            "sent-from-ms": millis(self.sent.0),
            "sent-to-ms": millis(self.sent.1),
        })
    }
}

/// Microseconds as milliseconds with one decimal.
pub(crate) fn millis(micros: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "no run is that long")]
    let tenths = (micros as f64 / 100.0).round();
    tenths / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phases() -> Vec<Phase> {
        [("one", 0), ("two", 3000)]
            .map(|(name, from)| Phase {
                name: name.to_owned(),
                from,
            })
            .into()
    }

    const SENT: [u64; 6] = [0, 1000, 2000, 3000, 4000, 5000];

    #[test]
    fn all_arrive() {
        let arrivals: Vec<(u32, u64)> = (0..6).map(|n| (n, u64::from(n) * 1000 + 50)).collect();
        let tallies = tally(&SENT, &arrivals, &phases());
        assert_eq!(tallies.len(), 2);
        for one in tallies {
            assert_eq!((one.sent, one.received, one.missing()), (3, 3, 0));
            assert_eq!((one.duplicated, one.reordered), (0, 0));
            assert_eq!((one.longest_gap, one.longest_pause), (1000, 1000));
        }
    }

    #[test]
    fn a_loss_is_counted_where_it_was_sent() {
        let tallies = tally(&SENT, &[(0, 10), (5, 5010)], &phases());
        assert_eq!(tallies[0].missing(), 2);
        assert_eq!(
            tallies[0].lost,
            [Run {
                first: 1,
                last: 2,
                sent: (1000, 2000)
            }]
        );
        assert_eq!(
            tallies[1].lost,
            [Run {
                first: 3,
                last: 4,
                sent: (0, 1000)
            }]
        );
        assert_eq!(tallies[1].longest_gap, 5000);
    }

    #[test]
    fn twice_and_out_of_order_are_no_losses() {
        let arrivals = [
            (1, 1),
            (0, 2),
            (0, 3),
            (2, 4),
            (3, 5),
            (4, 6),
            (5, 7),
            (77, 8),
        ];
        let tallies = tally(&SENT, &arrivals, &phases());
        assert_eq!(tallies[0].missing() + tallies[1].missing(), 0);
        assert_eq!((tallies[0].duplicated, tallies[0].reordered), (1, 1));
    }
}
