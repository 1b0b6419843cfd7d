//! Prefixes that are asked what lies in them or around them; not which of them a packet takes.
//!
//! What always holds: the time of an answer grows with how many lengths the prefixes have, not with how many
//! prefixes there are.

use std::collections::BTreeSet;

use super::{Family, Prefix};

/// A set of prefixes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PrefixSet {
    prefixes: BTreeSet<Prefix>,
    lengths: BTreeSet<(Family, u8)>,
}

impl PrefixSet {
    /// Puts a prefix into it.
    pub fn insert(&mut self, prefix: Prefix) {
        self.prefixes.insert(prefix);
        self.lengths.insert((prefix.family(), prefix.len()));
    }

    /// Whether it is one of them.
    pub fn contains(&self, prefix: Prefix) -> bool {
        self.prefixes.contains(&prefix)
    }

    /// Whether one of them covers it: is it, or is around it.
    pub fn covers(&self, inner: Prefix) -> bool {
        let family = inner.family();
        let lengths = self.lengths.range((family, 0)..=(family, inner.len()));
        lengths
            .map(|(_, len)| Prefix::new(inner.address(), *len))
            .any(|outer| self.prefixes.contains(&outer))
    }

    /// Whether one of them is covered by it.
    pub fn lies_in(&self, outer: Prefix) -> bool {
        // In order a prefix comes before all that lies in it, and nothing else between them.
        let next = self.prefixes.range(outer..).next();
        next.is_some_and(|inner| outer.covers(*inner))
    }
}

impl FromIterator<Prefix> for PrefixSet {
    fn from_iter<I: IntoIterator<Item = Prefix>>(prefixes: I) -> Self {
        let mut set = Self::default();
        set.extend(prefixes);
        set
    }
}

impl Extend<Prefix> for PrefixSet {
    fn extend<I: IntoIterator<Item = Prefix>>(&mut self, prefixes: I) {
        for prefix in prefixes {
            self.insert(prefix);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn prefixes() -> impl Strategy<Value = Prefix> {
        // Few bits, so that they nest.
        let four = (0..16_u32, 0..=32_u8).prop_map(|(bits, len)| (bits << 28 | bits, len));
        let four = four
            .prop_map(|(bits, len)| Prefix::new(core::net::Ipv4Addr::from_bits(bits).into(), len));
        let six = (0..16_u128, 0..=128_u8).prop_map(|(bits, len)| (bits << 124 | bits, len));
        let six = six
            .prop_map(|(bits, len)| Prefix::new(core::net::Ipv6Addr::from_bits(bits).into(), len));
        prop_oneof![four, six]
    }

    proptest! {
        #[test]
        fn it_says_what_looking_at_each_would(
            all in proptest::collection::vec(prefixes(), 0..12),
            asked in prefixes(),
        ) {
            let set: PrefixSet = all.iter().copied().collect();
            prop_assert_eq!(set.covers(asked), all.iter().any(|one| one.covers(asked)));
            prop_assert_eq!(set.lies_in(asked), all.iter().any(|one| asked.covers(*one)));
            prop_assert_eq!(set.contains(asked), all.contains(&asked));
        }
    }
}
