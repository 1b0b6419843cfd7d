//! Since when each problem is there, which ones come and go, and which are of one cause.

use std::collections::BTreeMap;

use super::{Code, Problem, Severity, Subject};
use crate::time::Instant;

/// A problem that has come, or gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// It was not there before.
    Came(Problem),
    /// It is no longer there; since when it was.
    Gone(Problem, Instant),
}

/// What is wrong, and since when.
///
/// A problem is the same one as long as its code and its subject are: other words do not make it begin
/// anew, and are no news.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    standing: BTreeMap<(Code, Subject), (Problem, Instant)>,
}

impl Ledger {
    /// Enters what is so at `now`; what has come and gone by it.
    pub fn update(&mut self, now: Instant, found: Vec<Problem>) -> Vec<News> {
        let mut news = Vec::new();
        let mut standing = BTreeMap::new();
        for problem in found {
            let key = (problem.code, problem.subject.clone());
            let since = match self.standing.remove(&key) {
                Some((_, since)) => since,
                None if standing.contains_key(&key) => continue,
                None => {
                    news.push(News::Came(problem.clone()));
                    now
                }
            };
            standing.insert(key, (problem, since));
        }
        let before = core::mem::replace(&mut self.standing, standing);
        let gone = before.into_values();
        news.extend(gone.map(|(problem, since)| News::Gone(problem, since)));
        news
    }

    /// All of them with the moment at which each began, by code and subject.
    pub fn standing(&self) -> impl Iterator<Item = (&Problem, Instant)> {
        self.standing
            .values()
            .map(|(problem, since)| (problem, *since))
    }

    /// The worst severity, if anything is wrong.
    pub fn worst(&self) -> Option<Severity> {
        self.standing().map(|(problem, _)| problem.severity()).max()
    }

    /// The problems, those of one cause together.
    pub fn causes(&self) -> Vec<Cause> {
        causes(self.standing())
    }
}

/// Problems that are equal but for their subjects, which are of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// Which kind of trouble.
    pub code: Code,
    /// What it is about: at least one.
    pub subjects: Vec<Subject>,
    /// Since when the first of them.
    pub since: Instant,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

/// So many subjects are named where there is no room for all.
const EXAMPLES: usize = 3;

impl Cause {
    /// How bad it is.
    pub const fn severity(&self) -> Severity {
        self.code.severity()
    }

    /// The subjects in a few words: all of them if they are few, else their number and some examples.
    pub fn subjects_in_words(&self) -> String {
        in_words(
            self.subjects.first().map_or("", Subject::kind),
            &self.subjects,
        )
    }
}

/// Subjects of one kind in a few words.
pub fn in_words<T: ToString>(kind: &str, subjects: &[T]) -> String {
    let named = subjects.iter().take(EXAMPLES).map(T::to_string);
    let named = named.collect::<Vec<_>>().join(", ");
    if subjects.len() <= EXAMPLES {
        named
    } else {
        format!("{} {kind}s ({named}, ...)", subjects.len())
    }
}

/// Problems by cause, the worst first, then those that began first.
pub fn causes<'a>(problems: impl Iterator<Item = (&'a Problem, Instant)>) -> Vec<Cause> {
    let mut by_cause: BTreeMap<(Code, &str, &str, &str), Cause> = BTreeMap::new();
    for (problem, since) in problems {
        let kind = problem.subject.kind();
        let key = (problem.code, &*problem.what, &*problem.remedy, kind);
        let cause = by_cause.entry(key).or_insert_with(|| Cause {
            code: problem.code,
            subjects: Vec::new(),
            since,
            what: problem.what.clone(),
            remedy: problem.remedy.clone(),
        });
        cause.subjects.push(problem.subject.clone());
        cause.since = cause.since.min(since);
    }
    let mut causes: Vec<Cause> = by_cause.into_values().collect();
    causes.sort_by_key(|cause| (core::cmp::Reverse(cause.code.severity()), cause.since));
    causes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn down(peer: &str, what: &str) -> Problem {
        Problem::new(Code::PeerDown, Subject::Peer(peer.to_owned()), what, "")
    }

    #[test]
    fn a_problem_begins_once_whatever_its_words_become() {
        let mut ledger = Ledger::default();
        let (first, later) = (Instant::from_secs(10), Instant::from_secs(20));
        let news = ledger.update(first, vec![down("a", "no answer")]);
        assert_eq!(news, [News::Came(down("a", "no answer"))]);
        assert_eq!(ledger.update(later, vec![down("a", "refused")]), []);
        let standing: Vec<_> = ledger.standing().collect();
        assert_eq!(standing, [(&down("a", "refused"), first)]);
        let news = ledger.update(later, Vec::new());
        assert_eq!(news, [News::Gone(down("a", "refused"), first)]);
        assert_eq!(ledger.worst(), None);
    }

    #[test]
    fn problems_of_one_cause_are_one_with_all_subjects() {
        let mut ledger = Ledger::default();
        ledger.update(Instant::from_secs(5), vec![down("b", "no answer")]);
        let found = ["a", "b", "c"].map(|peer| down(peer, "no answer"));
        let mut found = found.to_vec();
        found.push(down("d", "refused"));
        ledger.update(Instant::from_secs(9), found);
        let causes = ledger.causes();
        assert_eq!(causes.len(), 2);
        assert_eq!(causes[0].subjects.len(), 3);
        assert_eq!(causes[0].since, Instant::from_secs(5));
        assert_eq!(ledger.worst(), Some(Severity::Error));
    }
}
