//! Which problems are worth a line in the log, and when: by cause, and only those that last.
//!
//! It writes nothing. What always holds: what was said to have come is said to have gone, once each; many
//! problems of one cause are one line; what comes and goes within [`GRACE`] is no line at all.

use std::collections::BTreeSet;

use super::ledger::{Cause, Ledger, News, causes};
use super::{Code, Problem, Subject};
use crate::time::{Duration, Instant};

/// A problem that lasts so long is worth a line.
pub const GRACE: Duration = Duration::from_secs(3);

/// A line for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// Something is wrong.
    Came(Cause),
    /// It is no longer wrong.
    Gone(Cause),
}

/// A ledger, and what was said of it.
#[derive(Debug, Clone, Default)]
pub struct Journal {
    ledger: Ledger,
    told: BTreeSet<(Code, Subject)>,
}

impl Journal {
    /// Enters what is so at `now`; what is to be said of it.
    pub fn update(&mut self, now: Instant, found: Vec<Problem>) -> Vec<Line> {
        let news = self.ledger.update(now, found);
        let mut gone = Vec::new();
        for item in &news {
            if let News::Gone(problem, since) = item {
                let key = (problem.code, problem.subject.clone());
                gone.extend(self.told.remove(&key).then_some((problem, *since)));
            }
        }
        let gone = causes(gone.into_iter()).into_iter().map(Line::Gone);
        gone.chain(self.come(now).into_iter().map(Line::Came))
            .collect()
    }

    /// When there may be something to say though nothing has changed.
    pub fn next_timeout(&self) -> Option<Instant> {
        let untold = self.ledger.standing().filter(|(p, _)| !self.is_told(p));
        untold.map(|(_, since)| since + GRACE).min()
    }

    /// What stands, and since when.
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    fn is_told(&self, problem: &Problem) -> bool {
        // Nothing is told where all is well, which is when this is asked most.
        !self.told.is_empty() && self.told.contains(&(problem.code, problem.subject.clone()))
    }

    /// Causes of which one problem has lasted: with all that are of them by now.
    fn come(&mut self, now: Instant) -> Vec<Cause> {
        let untold = self.ledger.standing().filter(|(p, _)| !self.is_told(p));
        let mut due = causes(untold);
        due.retain(|cause| cause.since + GRACE <= now);
        for cause in &due {
            let subjects = cause.subjects.iter().cloned();
            self.told
                .extend(subjects.map(|subject| (cause.code, subject)));
        }
        due
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
    fn other_words_for_the_same_are_no_line() {
        let mut journal = Journal::default();
        journal.update(START, down(0..1, "no answer"));
        let lines = journal.update(later(3000), down(0..1, "no answer"));
        assert_eq!(lines.len(), 1);
        assert_eq!(journal.update(later(4000), down(0..1, "refused")), []);
        assert_eq!(journal.next_timeout(), None);
        let lines = journal.update(later(5000), Vec::new());
        assert!(matches!(lines.as_slice(), [Line::Gone(cause)] if cause.what == "refused"));
    }
}
