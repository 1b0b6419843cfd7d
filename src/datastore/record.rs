//! A record with the places of its values, so that a check across records can say where a value stands.
//!
//! What a record is of, and how it is read, is not known here.

use std::collections::BTreeMap;

use super::problem::Place;
use super::table::{Located, TableReader};

/// A record and the places of its values.
#[derive(Debug)]
pub(crate) struct Record<T> {
    pub(crate) value: T,
    place: Place,
    values: BTreeMap<&'static str, Place>,
    /// The places of a node's blocks, or of a peer's filters, in their order.
    pub(crate) items: Vec<Place>,
}

impl<T> Record<T> {
    /// The place of the table.
    pub(crate) const fn place(&self) -> &Place {
        &self.place
    }

    /// The place of a value, or else of the table.
    pub(crate) fn at(&self, key: &str) -> &Place {
        self.values.get(key).unwrap_or(&self.place)
    }

    /// Whether the table has a value for the key, though it may be wrong.
    pub(crate) fn mentions(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }
}

/// Remembers the place of each value that it hands on.
#[derive(Default)]
pub(crate) struct Places {
    values: BTreeMap<&'static str, Place>,
}

impl Places {
    pub(crate) fn note<T>(&mut self, key: &'static str, value: Option<Located<T>>) -> Option<T> {
        value.map(|located| {
            self.values.insert(key, located.place);
            located.value
        })
    }

    /// Remembers where a key stands, whatever its value is.
    pub(crate) fn mark(&mut self, key: &'static str, table: &TableReader<'_>) {
        if table.has(key) {
            let place = table.key_place(key);
            self.values.entry(key).or_insert(place);
        }
    }

    pub(crate) fn record<T>(
        self,
        table: &TableReader<'_>,
        value: T,
        items: Vec<Place>,
    ) -> Record<T> {
        Record {
            value,
            place: table.place().clone(),
            values: self.values,
            items,
        }
    }
}

pub(crate) fn plain<T>(value: Option<Located<T>>) -> Option<T> {
    value.map(|located| located.value)
}
