//! What is wrong with the sessions, as problems: every one that is configured and not up is covered.

use super::Speaker;
use super::status::why_down;
use crate::problem::{Code, Problem, Subject};
use crate::time::Instant;

impl Speaker {
    /// What is wrong at `now`. Sessions that the plan no longer has are nobody's problem.
    pub fn problems(&self, now: Instant) -> Vec<Problem> {
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
        .chain(self.limit_problems(now))
        .collect()
    }
}
