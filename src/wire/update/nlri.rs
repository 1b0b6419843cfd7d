//! Prefix lists, with and without path identifiers (RFC 4271 §4.3, RFC 7911 §3).
//!
//! An [`Nlri`] is checked once, when it is made, and then read without copies as often as needed.
//! Host bits are masked, prefixes outside the unicast space are skipped.

use crate::net::{Family, Prefix};
use crate::wire::error::UpdateError;

/// A checked list of prefixes, still in the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nlri<'a> {
    bytes: &'a [u8],
    family: Family,
    add_path: bool,
    ignored: bool,
}

impl<'a> Nlri<'a> {
    /// Nothing.
    pub const fn empty(family: Family) -> Self {
        Self {
            bytes: &[],
            family,
            add_path: false,
            ignored: false,
        }
    }

    /// The prefixes, each with its path identifier (0 without Add-Path).
    pub fn iter(&self) -> NlriIter<'a> {
        todo!()
    }

    /// Whether there is none. A list of nothing but skipped prefixes is not empty.
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether the family was not negotiated; such a list gives no prefixes.
    pub const fn is_ignored(&self) -> bool {
        self.ignored
    }
}

/// Iterator over the prefixes of an [`Nlri`].
#[derive(Debug, Clone)]
pub struct NlriIter<'a> {
    nlri: Nlri<'a>,
}

impl Iterator for NlriIter<'_> {
    type Item = (u32, Prefix);

    fn next(&mut self) -> Option<Self::Item> {
        let _ = self.nlri;
        todo!()
    }
}

/// Checks a prefix list of the body or of an attribute that was parsed before.
///
/// # Errors
/// A prefix that is too long or cut off.
pub fn nlri_checked(bytes: &[u8], family: Family, add_path: bool) -> Result<Nlri<'_>, UpdateError> {
    let _ = (bytes, family, add_path);
    todo!()
}
