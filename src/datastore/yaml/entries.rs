//! A mapping: its keys in order, each with its place and value.
//!
//! What always holds: no key is there twice, and a mapping takes little more memory than its keys and values do: many
//! of a file's have one or two, and a tree of any kind has room for a dozen.

use core::ops::Range;

use super::tree::Node;

/// A key with its place, and its value.
type Entry = (String, (Range<usize>, Node));

/// The entries of a mapping that is complete.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Entries(Vec<Entry>);

impl Entries {
    /// The entries in the order in which they stand; else the place of the first key that is there already.
    pub(super) fn of(mut entries: Vec<Entry>) -> Result<Self, (String, Range<usize>)> {
        // Stable: of two with one key the second stands behind the first.
        entries.sort_by(|(one, _), (other, _)| one.cmp(other));
        let neighbours = entries.iter().zip(entries.iter().skip(1));
        let twice = neighbours.filter(|(one, other)| one.0 == other.0);
        let first = twice.min_by_key(|(_, (_, (at, _)))| at.start);
        if let Some((_, (key, (at, _)))) = first {
            return Err((key.clone(), at.clone()));
        }
        entries.shrink_to_fit();
        Ok(Self(entries))
    }

    /// A key's place and value.
    pub(crate) fn get(&self, key: &str) -> Option<&(Range<usize>, Node)> {
        let place = self
            .0
            .binary_search_by(|(other, _)| other.as_str().cmp(key));
        self.0.get(place.ok()?).map(|(_, entry)| entry)
    }

    /// Whether it has a key.
    pub(crate) fn contains_key(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// All of them, in the order of the keys.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&String, &(Range<usize>, Node))> {
        self.0.iter().map(|(key, entry)| (key, entry))
    }
}
