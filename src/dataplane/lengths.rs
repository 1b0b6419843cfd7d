//! How many prefixes of each length there are: where a longest match need not look.

use crate::net::{Family, Prefix};

/// By family and length.
#[derive(Debug, Clone)]
pub(super) struct Lengths([[u32; 129]; 2]);

impl Default for Lengths {
    fn default() -> Self {
        Self([[0; 129]; 2])
    }
}

impl Lengths {
    pub(super) fn more(&mut self, prefix: Prefix) {
        if let Some(count) = self.of(prefix) {
            *count += 1;
        }
    }

    pub(super) fn fewer(&mut self, prefix: Prefix) {
        if let Some(count) = self.of(prefix) {
            *count = count.saturating_sub(1);
        }
    }

    /// Whether there is one.
    pub(super) fn any(&self, family: Family, len: u8) -> bool {
        let Self(all) = self;
        let count = all
            .get(family.index())
            .and_then(|of| of.get(usize::from(len)));
        count.is_some_and(|count| *count > 0)
    }

    fn of(&mut self, prefix: Prefix) -> Option<&mut u32> {
        let Self(all) = self;
        all.get_mut(prefix.family().index())?
            .get_mut(usize::from(prefix.len()))
    }
}
