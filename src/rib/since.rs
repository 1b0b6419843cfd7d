//! Since when a destination is as it is, in the three octets that are left beside a prefix.
//!
//! Not a clock: the instant is given. What always holds: it takes no room of its own in a table, and a time
//! that does not fit is unknown, never another one.

use crate::time::{Duration, Instant};

/// What is told apart: so much more than three octets count to in seconds.
pub(crate) const GRAIN: Duration = Duration::from_secs(4);

/// Grains since the start of time, in the lowest octets first: good for more than two years.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Since([u8; 3]);

/// From here on a time is unknown.
const END: u32 = 0xFF_FFFF;

impl Since {
    pub(crate) fn at(now: Instant) -> Self {
        let grains = now.since(Instant::ZERO).as_secs() / GRAIN.as_secs();
        let grains = u32::try_from(grains).unwrap_or(END).min(END);
        let [a, b, c, _] = grains.to_le_bytes();
        Self([a, b, c])
    }

    /// The instant, down to its grain.
    pub(crate) fn instant(self) -> Option<Instant> {
        let [a, b, c] = self.0;
        let grains = u32::from_le_bytes([a, b, c, 0]);
        (grains < END).then(|| Instant::ZERO + GRAIN * grains)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_comes_back_down_to_its_grain_or_not_at_all() {
        for (secs, comes_back) in [
            (0, 0),
            (3, 0),
            (4, 4),
            (86_403, 86_400),
            (67_108_855, 67_108_852),
        ] {
            let since = Since::at(Instant::from_secs(secs));
            assert_eq!(since.instant(), Some(Instant::from_secs(comes_back)));
        }
        for secs in [67_108_860, 70_000_000, u64::MAX / 1_000_000] {
            assert_eq!(Since::at(Instant::from_secs(secs)).instant(), None);
        }
    }
}
