//! BFD's thread beside the daemon's task: begun when the first far end is to be watched, told of the
//! others, ended with a goodbye. What a report means is the speaker's.

use std::net::IpAddr;

use tokio::sync::mpsc;

use super::clock::Clock;
use super::event_loop::Event;
use crate::bfd::{Hops, Refusal, Report, State};
use crate::control::protocol::Bfd as Shown;
use crate::dataplane::netlink::Questions;
use crate::speaker::{PeerStatus, Speaker};
use crate::time::{Duration, Instant};
use crate::transport::bfd::{Bfd, Routes};

/// The thread, if anybody is watched.
#[derive(Debug, Default)]
pub(super) struct Watching {
    thread: Option<Bfd>,
}

impl Watching {
    /// Passes on whom to watch, if that has changed.
    pub(super) fn follow(
        &mut self,
        speaker: &mut Speaker,
        clock: Clock,
        events: &mpsc::Sender<Event>,
    ) {
        let Some(watches) = speaker.take_watches() else {
            return;
        };
        if self.thread.is_none() && !watches.is_empty() {
            let now = move || clock.now();
            match Bfd::spawn(Clock::seed(), now, routes(), events.clone()) {
                Ok(thread) => self.thread = Some(thread),
                Err(error) => tracing::error!(%error, "no thread for BFD: nobody is watched"),
            }
        }
        if let Some(thread) = &self.thread {
            thread.watch(watches);
        }
    }

    /// Tells all far ends that this end is no failure.
    pub(super) fn stop(&mut self) {
        if let Some(thread) = self.thread.take() {
            thread.stop();
        }
    }
}

/// By which links the kernel sends packets of ours to an address, asked for on a socket of its own.
pub(super) fn routes() -> Routes {
    let mut questions: Option<Questions> = None;
    Box::new(move |to: IpAddr| {
        if questions.is_none() {
            questions = Questions::open().ok();
        }
        let links = questions.as_mut().map(|questions| questions.links_to(to));
        links.and_then(Result::ok).unwrap_or_else(|| {
            // A socket of its own again next time.
            questions = None;
            Vec::new()
        })
    })
}

/// A report in the words of the control socket.
pub(super) fn shown(now: Instant, report: &Report) -> Shown {
    let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    Shown {
        state: report.state.to_string(),
        since_s: now.since(report.since).as_secs(),
        diagnostic: report.diagnostic.to_string(),
        failures: report.failures,
        hops: match report.hops {
            Hops::Single => "single-hop",
            Hops::Multi => "multihop",
        }
        .to_owned(),
        transmit_interval_ms: millis(report.transmit),
        detection_time_ms: report.detection.map(millis),
        authentication: report.algorithm.map(|algorithm| algorithm.to_string()),
        dropped: Refusal::ALL
            .into_iter()
            .map(|reason| (reason.as_str().to_owned(), report.dropped.of(reason)))
            .filter(|(_, count)| *count > 0)
            .collect(),
        refused: report.refused.map(|reason| reason.as_str().to_owned()),
    }
}

pub(super) fn is_up(peer: &PeerStatus) -> bool {
    peer.bfd
        .as_ref()
        .is_some_and(|report| report.state == State::Up)
}
