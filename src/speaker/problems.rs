//! What is wrong with the sessions, as problems: every one that is configured and not up is covered.

use super::Speaker;
use super::status::why_down;
use crate::problem::{Code, Problem, Subject};
use crate::time::Instant;

impl Speaker {
    /// What is wrong at `now`. Sessions that the plan no longer has are nobody's problem.
    pub fn problems(&self, now: Instant) -> Vec<Problem> {
        let reduced = self.wanted().filter_map(|peer| {
            let withheld = peer.session.withheld_in_words();
            let up = peer.established.is_some() && !withheld.is_empty();
            let subject = Subject::Peer(peer.planned.name.clone());
            let what = format!("the session runs without what the other end does not take: {withheld}");
            let remedy = "ask for it at the other end, or say `capabilities = false` or what is left out in its record";
            up.then(|| Problem::new(Code::CapabilitiesWithheld, subject, what, remedy))
        });
        let down = self.wanted().filter(|peer| peer.established.is_none());
        down.map(|peer| {
            let code = if peer.shutdown {
                Code::PeerShutDown
            } else {
                Code::PeerDown
            };
            let subject = Subject::Peer(peer.planned.name.clone());
            Problem::new(code, subject, why_down(peer), "")
        })
        .chain(reduced)
        .chain(self.limit_problems(now))
        .collect()
    }
}
