//! When memory that was freed goes back to the system: the C library keeps it, so that after a flood a process stays as
//! heavy as it was at its worst.
//!
//! It measures nothing and frees nothing: it counts how long turns took, since what was freed was freed by work of a
//! turn, or of a thread that a turn had given it to. What always holds: a process that has worked looks once more when
//! the work is over, one that rests looks never, and one that works without a pause looks every [`SPACING`].

use crate::time::{Duration, Instant};

/// From one look to the next: it is a walk over all that is free, some milliseconds after a great flood.
const SPACING: Duration = Duration::from_secs(2);
/// Less work leaves nothing that is worth a look: a hundred keepalives are less.
const WORTH: Duration = Duration::from_millis(5);

/// So many octets at the end of a thread's heap are kept, and no more.
pub(super) const KEPT: libc::c_int = 1 << 20;

/// What was done since the last look.
#[derive(Debug, Default)]
pub(super) struct Memory {
    looked: Instant,
    worked: Duration,
}

impl Memory {
    /// A turn is over.
    pub(super) fn turn(&mut self, length: Duration) {
        self.worked += length;
    }

    /// When to look, if there may be something.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        (self.worked >= WORTH).then_some(self.looked + SPACING)
    }

    /// Whether to look now: the caller does.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        let due = self.next_timeout().is_some_and(|at| at <= now);
        if due {
            *self = Self {
                looked: now,
                worked: Duration::ZERO,
            };
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_worked_looks_once_and_who_goes_on_looks_again() {
        let at = |ms| Instant::ZERO + Duration::from_millis(ms);
        let turn = |memory: &mut Memory, ms| memory.turn(Duration::from_millis(ms));
        let mut memory = Memory::default();
        assert_eq!(memory.next_timeout(), None);
        turn(&mut memory, 4);
        assert!(!memory.is_due(at(60_000)), "too little");
        turn(&mut memory, 1);
        assert!(memory.is_due(at(60_000)));
        assert!(!memory.is_due(at(90_000)), "nothing since");
        turn(&mut memory, 300);
        assert!(memory.is_due(at(90_001)));
        turn(&mut memory, 300);
        assert!(!memory.is_due(at(90_500)), "too soon");
        assert_eq!(memory.next_timeout(), Some(at(92_001)));
        assert!(memory.is_due(at(92_001)));
    }
}
