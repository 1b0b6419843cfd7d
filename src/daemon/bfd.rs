//! BFD's thread beside the daemon's task: begun when the first far end is to be watched, told of the
//! others, ended with a goodbye. What a report means is the speaker's.

use tokio::sync::mpsc;

use super::clock::Clock;
use super::event_loop::Event;
use crate::speaker::Speaker;
use crate::transport::bfd::Bfd;

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
            match Bfd::spawn(Clock::seed(), move || clock.now(), events.clone()) {
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
