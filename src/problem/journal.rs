//! Which problems are worth a line in the log, and when: by cause, and only those that last.
//!
//! It writes nothing. What always holds: what was said to have come is said to have gone, once each; many
//! problems of one cause are one line; what comes and goes within [`GRACE`] is no line at all.

use std::collections::BTreeMap;

use super::ledger::{Cause, Ledger, News, causes};
use super::{Code, Problem, Subject};
use crate::time::{Duration, Instant};

/// A problem that lasts so long is worth a line.
pub const GRACE: Duration = Duration::from_secs(3);
/// Other words for the same problem are worth another line so long after the last.
const PATIENCE: Duration = Duration::from_secs(60);

/// A line for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// Something is wrong.
    Came(Cause),
    /// It was wrong already, and is for another reason.
    Changed(Cause),
    /// It is no longer wrong.
    Gone(Cause),
}

/// What has been said of a problem.
#[derive(Debug, Clone)]
struct Told {
    what: String,
    at: Instant,
}

/// A ledger, and what was said of it.
#[derive(Debug, Clone, Default)]
pub struct Journal {
    ledger: Ledger,
    told: BTreeMap<(Code, Subject), Told>,
}

impl Journal {
    /// Enters what is so at `now`; what is to be said of it.
    pub fn update(&mut self, now: Instant, found: Vec<Problem>) -> Vec<Line> {
        let news = self.ledger.update(now, found);
        let gone = news.iter().filter_map(|news| match news {
            News::Gone(problem, since) => {
                let key = (problem.code, problem.subject.clone());
                self.told.remove(&key).map(|_| (problem, *since))
            }
            News::Came(_) => None,
        });
        let gone: Vec<_> = gone.collect();
        let mut lines: Vec<Line> = causes(gone.into_iter())
            .into_iter()
            .map(Line::Gone)
            .collect();
        lines.extend(self.come(now).into_iter().map(Line::Came));
        lines.extend(self.changed(now).into_iter().map(Line::Changed));
        lines
    }

    /// When there may be something to say though nothing has changed.
    pub fn next_timeout(&self) -> Option<Instant> {
        let due =
            self.ledger
                .standing()
                .filter_map(|(problem, since)| match self.told_of(problem) {
                    None => Some(since + GRACE),
                    Some(told) if told.what != problem.what => Some(told.at + PATIENCE),
                    Some(_) => None,
                });
        due.min()
    }

    /// What stands, and since when.
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    fn told_of(&self, problem: &Problem) -> Option<&Told> {
        // The map is empty where all is well, which is when this is asked most.
        if self.told.is_empty() {
            return None;
        }
        self.told.get(&(problem.code, problem.subject.clone()))
    }

    /// Causes of which one problem has lasted: with all that are of them by now.
    fn come(&mut self, now: Instant) -> Vec<Cause> {
        let untold = self.ledger.standing();
        let untold: Vec<_> = untold.filter(|(p, _)| self.told_of(p).is_none()).collect();
        let mut due = causes(untold.into_iter());
        due.retain(|cause| cause.since + GRACE <= now);
        self.note(now, &due);
        due
    }

    fn changed(&mut self, now: Instant) -> Vec<Cause> {
        let other = |(problem, _): &(&Problem, Instant)| {
            let told = self.told_of(problem);
            told.is_some_and(|told| told.what != problem.what && told.at + PATIENCE <= now)
        };
        let changed: Vec<_> = self.ledger.standing().filter(other).collect();
        let changed = causes(changed.into_iter());
        self.note(now, &changed);
        changed
    }

    fn note(&mut self, now: Instant, causes: &[Cause]) {
        for cause in causes {
            for subject in &cause.subjects {
                let what = cause.what.clone();
                let key = (cause.code, subject.clone());
                self.told.insert(key, Told { what, at: now });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Instant = Instant::from_secs(100);

    fn down(peers: core::ops::Range<u32>, what: &str) -> Vec<Problem> {
        let subject = |peer: u32| Subject::Peer(format!("p{peer:03}"));
        peers
            .map(|peer| Problem::new(Code::PeerDown, subject(peer), what, "look there"))
            .collect()
    }

    fn later(millis: u64) -> Instant {
        START + Duration::from_millis(millis)
    }

    #[test]
    fn two_hundred_peers_down_at_once_are_one_line_when_they_come_and_one_when_they_go() {
        let mut journal = Journal::default();
        assert_eq!(journal.update(START, down(0..120, "no answer")), []);
        assert_eq!(journal.update(later(900), down(0..200, "no answer")), []);
        assert_eq!(journal.next_timeout(), Some(START + GRACE));
        let lines = journal.update(later(3000), down(0..200, "no answer"));
        let [Line::Came(cause)] = lines.as_slice() else {
            panic!("{lines:?}");
        };
        assert_eq!(
            cause.subjects_in_words(),
            "200 peers (p000, p001, p002, ...)"
        );
        assert_eq!(journal.next_timeout(), None, "idle costs nothing");
        let lines = journal.update(later(9000), Vec::new());
        assert!(matches!(lines.as_slice(), [Line::Gone(cause)] if cause.subjects.len() == 200));
    }

    #[test]
    fn what_comes_and_goes_at_once_is_no_line() {
        let mut journal = Journal::default();
        for round in 0..5_u64 {
            let at = |millis| later(round * 5000 + millis);
            assert_eq!(journal.update(at(0), down(0..1, "no answer")), []);
            assert_eq!(journal.update(at(2900), Vec::new()), []);
        }
        assert_eq!(journal.next_timeout(), None);
    }

    #[test]
    fn another_reason_is_another_line_but_not_at_once() {
        let mut journal = Journal::default();
        journal.update(START, down(0..1, "no answer"));
        assert_eq!(
            journal.update(later(3000), down(0..1, "no answer")).len(),
            1
        );
        for millis in [4000, 5000, 62_900] {
            assert_eq!(journal.update(later(millis), down(0..1, "refused")), []);
            assert_eq!(journal.next_timeout(), Some(later(63_000)));
        }
        let lines = journal.update(later(63_000), down(0..1, "refused"));
        assert!(matches!(lines.as_slice(), [Line::Changed(cause)] if cause.what == "refused"));
        assert_eq!(journal.next_timeout(), None);
    }
}
