//! What is wrong, all of it: what the node says, and what only the daemon knows (files, sockets, nftables,
//! strangers); looked for when something may have changed, and kept for `status` and the log.
//!
//! What always holds: a look is made only after news, or when something is to be said after a while; looks
//! are a second apart, and take no more than a hundredth of the time; while all is well and nothing
//! happens, none is made and no timer runs.

use super::event_loop::Daemon;
use super::secrets::{Dropped, followed_by};
use crate::control::protocol::{self, Remark};
use crate::problem::{Cause, Code, Journal, Line, Problem, Severity, Subject};
use crate::time::{Duration, Instant};
use crate::transport;

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(1);
/// A look that took long is followed by so many times as long without one.
const REST: u32 = 100;

/// What was found so far, and when to look again.
#[derive(Debug, Default)]
pub(super) struct Watch {
    journal: Journal,
    /// The node's news that were looked at.
    seen: Option<u64>,
    /// The daemon itself has news.
    pub(super) touched: bool,
    /// Not before then.
    rests_until: Instant,
    /// Then, though there may be no news.
    due: Option<Instant>,
}

impl Watch {
    /// When [`Daemon::look_if_due`] is to be called, whatever happens.
    pub(super) const fn next_timeout(&self) -> Option<Instant> {
        self.due
    }
}

impl Daemon {
    /// Looks for problems if there may be others, and says what has come and gone.
    pub(super) fn look_if_due(&mut self) {
        let now = self.clock.now();
        let is_news = self.watch.touched || self.watch.seen != Some(self.node.news());
        if !is_news && self.watch.due.is_none_or(|due| due > now) {
            return;
        }
        if now < self.watch.rests_until {
            self.watch.due = Some(self.watch.rests_until);
            return;
        }
        self.look();
    }

    /// What is wrong at this moment, by cause.
    pub(super) fn causes(&mut self) -> Vec<Cause> {
        self.look();
        self.watch.journal.ledger().causes()
    }

    fn look(&mut self) {
        let now = self.clock.now();
        self.watch.touched = false;
        self.watch.seen = Some(self.node.news());
        let found = self.find_problems(now);
        for line in self.watch.journal.update(now, found) {
            log(&line, now);
        }
        let took = self.clock.now() - now;
        self.watch.rests_until = now + PAUSE.max(took * REST);
        let later = [
            self.watch.journal.next_timeout(),
            self.strangers.next_timeout(),
        ];
        self.watch.due = later.into_iter().flatten().min();
    }

    fn find_problems(&mut self, now: Instant) -> Vec<Problem> {
        let mut problems = self.node.problems(now);
        let mut dropped = None;
        for problem in problems.iter_mut().filter(|p| p.code == Code::PeerDown) {
            let dropped = *dropped.get_or_insert_with(Dropped::so_far);
            self.ask_for_protection(dropped, problem);
        }
        problems.extend(self.bad_reading.iter().filter_map(of_remark));
        problems.extend(self.confined.problems());
        problems.extend(transport::shortage().map(|limit| {
            Problem::new(
                Code::DescriptorsShort,
                Subject::Host,
                format!(
                    "of the {limit} files that dunlin may have open, all but those in reserve are in use: \
                     whoever calls is refused"
                ),
                "raise its limit (LimitNOFILE of the service, `ulimit -Hn`), or see with `ss -tnp` who holds \
                 connections open",
            )
        }));
        problems.extend(self.telemetry.problem());
        problems.extend(self.control_trouble.iter().map(|why| {
            let advice = "look at what is at its path, and who may write to its folder; it is tried again by itself";
            Problem::new(Code::ControlLost, Subject::Host, why, advice)
        }));
        problems.extend(self.not_listening.iter().map(|why| {
            let advice = "free the address and port, or change [bgp] listen; then `dunlin reload`";
            Problem::new(Code::NotListening, Subject::Host, why, advice)
        }));
        problems.extend(self.nat.problems(&self.node));
        if self.config.routing.kernel_routes && self.kernel.is_none() {
            problems.push(Problem::new(
                Code::KernelLost,
                Subject::Host,
                "the thread that programs the kernel has ended: routes stay as they are",
                "restart dunlin, and keep its log for a bug report",
            ));
        }
        problems.extend(self.strangers.problems(now));
        problems
    }

    fn ask_for_protection(&self, dropped: Dropped, problem: &mut Problem) {
        let Subject::Peer(name) = &problem.subject else {
            return;
        };
        let peer = self.node.speaker().peer_named(name);
        if let Some(question) = peer.and_then(|peer| dropped.question(&peer)) {
            problem.remedy = followed_by(&problem.remedy, &question);
        }
    }
}

/// What was said of the files, or of all of this host.
fn of_remark(remark: &Remark) -> Option<Problem> {
    if remark.severity == "warning" {
        return None;
    }
    let subject = match (&remark.file, remark.line, remark.column) {
        (Some(file), Some(line), Some(column)) => {
            Subject::Record(format!("{file}:{line}:{column}"))
        }
        (Some(file), _, _) => Subject::Record(file.clone()),
        (None, _, _) => Subject::Host,
    };
    let remedy = "correct it; until then the last good configuration is in force";
    Some(Problem::new(
        Code::ConfigurationBad,
        subject,
        remark.text.clone(),
        remedy,
    ))
}

fn log(line: &Line, now: Instant) {
    let cause = match line {
        Line::Came(cause) => cause,
        Line::Gone(cause) => {
            let (code, since) = (cause.code, now.since(cause.since).as_secs());
            let subjects = cause.subjects_in_words();
            tracing::info!(%code, "no longer: {subjects}: {} (it lasted {since} s)", cause.what);
            return;
        }
    };
    let Cause {
        code, what, remedy, ..
    } = cause;
    let subjects = cause.subjects_in_words();
    let remedy = if remedy.is_empty() {
        String::new()
    } else {
        format!("; {remedy}")
    };
    match cause.severity() {
        Severity::Error => tracing::error!(%code, "problem: {subjects}: {what}{remedy}"),
        Severity::Warning => tracing::warn!(%code, "problem: {subjects}: {what}{remedy}"),
    }
}

/// A cause as the protocol shows it.
pub(super) fn shown(daemon: &Daemon, now: Instant, cause: &Cause) -> protocol::Problem {
    protocol::Problem {
        code: cause.code.as_str().to_owned(),
        severity: cause.severity().as_str().to_owned(),
        subject: cause
            .subjects
            .first()
            .map_or("host", Subject::kind)
            .to_owned(),
        subjects: cause.subjects.iter().map(ToString::to_string).collect(),
        count: cause.subjects.len(),
        since_s: now.since(cause.since).as_secs(),
        since_unix_s: daemon.clock.unix_time(cause.since),
        what: cause.what.clone(),
        remedy: cause.remedy.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remark_about_a_file_is_a_problem_of_its_place() {
        let remark = |severity: &str, file: Option<&str>| Remark {
            severity: severity.to_owned(),
            file: file.map(str::to_owned),
            line: file.map(|_| 3),
            column: file.map(|_| 7),
            text: "no such pool: pods".to_owned(),
        };
        let problem = of_remark(&remark("error", Some("cluster.yaml"))).unwrap();
        assert_eq!(problem.subject, Subject::Record("cluster.yaml:3:7".into()));
        assert_eq!(problem.what, "no such pool: pods");
        assert_eq!(of_remark(&remark("warning", Some("cluster.yaml"))), None);
        let other = of_remark(&remark("error", None)).unwrap();
        assert_eq!(other.subject, Subject::Host);
    }
}
