//! All that the node knows to be wrong: sessions, routes, devices and the host under them.

use super::Node;
use crate::problem::Problem;
use crate::time::Instant;

impl Node {
    /// What is wrong at `now`; one pass over peers, and over the prefixes that do not do well.
    pub fn problems(&self, now: Instant) -> Vec<Problem> {
        let mut problems = self.speaker.problems(now);
        if let Some(dataplane) = &self.dataplane {
            problems.extend(dataplane.problems(now));
        }
        problems
    }
}
