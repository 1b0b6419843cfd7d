//! How the tables of one process hash what others choose: prefixes, next hops, sets of attributes.
//!
//! A value without a table, and no source of randomness: whoever owns the process draws the secret and hands
//! it down. What always holds: all that a hash depends on follows from that secret, the constants that many
//! hashers share included. With those known, octets can be chosen that hash alike under every seed (a factor
//! of zero), and one lookup is then as long as the table.
//!
//! This is `foldhash` with secret constants, not SipHash: nobody sees a hash from outside, and the tables are
//! asked several times a route.

use std::hash::BuildHasher;

use foldhash::SharedSeed;
use foldhash::fast::FoldHasher;

/// A way to hash. Equal ones hash alike.
///
/// [`Default`] is one that everybody knows: for tests, and for tables whose keys nobody else chooses.
#[derive(Clone, Copy)]
pub struct Hashing {
    seed: u64,
    shared: &'static SharedSeed,
}

impl Hashing {
    /// The way that follows from a secret.
    ///
    /// The shared constants are never freed, 48 octets a call: there is one a process, and one for each node of
    /// a simulation.
    pub fn secret(secret: u64) -> Self {
        Self {
            seed: secret.rotate_left(32),
            shared: Box::leak(Box::new(SharedSeed::from_u64(secret))),
        }
    }

    /// Another way by the same secret: what meets in one table does not meet in another.
    #[must_use]
    pub fn of_table(self, number: u64) -> Self {
        Self {
            seed: self.hash_one(number),
            ..self
        }
    }
}

impl Default for Hashing {
    fn default() -> Self {
        Self {
            seed: 0,
            shared: SharedSeed::global_fixed(),
        }
    }
}

impl BuildHasher for Hashing {
    type Hasher = FoldHasher<'static>;

    #[inline]
    fn build_hasher(&self) -> Self::Hasher {
        FoldHasher::with_seed(self.seed, self.shared)
    }
}

impl PartialEq for Hashing {
    fn eq(&self, other: &Self) -> bool {
        // The constants differ where this does.
        self.hash_one(0) == other.hash_one(0)
            && self.hash_one([1_u8; 32]) == other.hash_one([1_u8; 32])
    }
}

impl Eq for Hashing {}

impl core::fmt::Debug for Hashing {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Hashing")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first of the constants that everybody knows.
    const PUBLIC: u64 = 0xC0AC_29B7_C97C_50DD;

    /// 100 blocks that differ and hash alike for who has that constant: it is one factor of each product, so
    /// that what is multiplied with it does not matter.
    fn chosen() -> Vec<Vec<u8>> {
        let block = |number: u64| {
            let words = [number, number, PUBLIC, PUBLIC];
            words.iter().flat_map(|word| word.to_le_bytes()).collect()
        };
        (0..100).map(block).collect()
    }

    fn different(hashing: Hashing) -> usize {
        let hashes = chosen().into_iter().map(|block| hashing.hash_one(&*block));
        hashes.collect::<std::collections::BTreeSet<_>>().len()
    }

    #[test]
    fn octets_that_were_chosen_for_known_constants_do_not_meet_under_a_secret() {
        // A hasher of its own, of known constants: its own seed is no help.
        assert_eq!(different(Hashing::default().of_table(77)), 1);
        assert_eq!(different(Hashing::secret(77)), 100);
    }

    #[test]
    fn no_two_secrets_share_anything_and_one_repeats_itself() {
        let (a, b) = (Hashing::secret(1), Hashing::secret(2));
        assert_eq!(a, Hashing::secret(1));
        assert_ne!(a, b);
        assert_ne!(a, Hashing::default());
        assert_ne!(a, a.of_table(1));
        assert_ne!(a.of_table(1), a.of_table(2));
        for octets in [&b"short"[..], &[7; 20], &[7; 300]] {
            assert_ne!(a.hash_one(octets), b.hash_one(octets));
        }
    }

    #[test]
    fn a_secret_is_not_shown() {
        assert_eq!(format!("{:?}", Hashing::secret(1)), "Hashing");
    }
}
