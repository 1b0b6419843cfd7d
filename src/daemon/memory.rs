//! When memory that was freed goes back to the system: the C library keeps it, so that after a flood a process stays as
//! heavy as it was at its worst.
//!
//! It measures nothing: what the tables hold is counted there. What always holds: memory that is in use is not looked
//! for again and again, since that takes a walk over all of it.

/// Less is not worth the walk.
const WORTH: usize = 2 << 20;

/// What the tables have held.
#[derive(Debug, Default)]
pub(super) struct Memory {
    peak: usize,
}

impl Memory {
    /// Whether so much less is held now than before that it is time.
    pub(super) fn is_due(&mut self, held: usize) -> bool {
        self.peak = self.peak.max(held);
        let due = self.peak - held >= WORTH.max(self.peak / 4);
        if due {
            self.peak = held;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_that_is_over_is_noticed_once() {
        let mut memory = Memory::default();
        let mb = 1 << 20;
        for (held, due) in [
            (1, false),
            (40, false),
            (39, false),
            (31, false),
            (20, true),
            (19, false),
            (1, true),
            (1, false),
        ] {
            assert_eq!(memory.is_due(held * mb), due, "{held}");
        }
    }
}
