//! Seeded randomness for jitter: reproducible, never a source of secrets.
//!
//! SplitMix64 (Steele, Lea, Flood 2014): one addition and three mixing steps a number.

use crate::time::Duration;

/// A small seeded generator.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// A generator that gives the same numbers for the same seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 if `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The bias of the remainder is below 2^-32 for every bound that jitter uses.
        if bound == 0 {
            0
        } else {
            self.next_u64() % bound
        }
    }

    /// `full` shortened to a random 75-100 % of itself (RFC 4271 §10).
    pub fn jitter(&mut self, full: Duration) -> Duration {
        let micros = u64::try_from(full.as_micros()).unwrap_or(u64::MAX);
        let quarter = micros / 4;
        Duration::from_micros(micros - self.below(quarter.saturating_add(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_within_three_quarters_and_whole() {
        let mut rng = Rng::new(7);
        for _ in 0..1000 {
            let d = rng.jitter(Duration::from_secs(4));
            assert!(d >= Duration::from_secs(3) && d <= Duration::from_secs(4));
        }
        assert_eq!(rng.jitter(Duration::ZERO), Duration::ZERO);
    }
}
