//! Prefix lists, with and without path identifiers (RFC 4271 §4.3, RFC 7911 §3).
//!
//! An [`Nlri`] is checked once, when it is made, and then read without copies as often as needed.
//! Host bits are masked; prefixes outside the unicast space are skipped and counted (RFC 4271 §6.3
//! ignores them). This is the hot path of a full table, hence no parser combinators.

use crate::net::{Family, Prefix, Prefix4, Prefix6};
use crate::wire::error::{NlriError, UpdateError};

/// A checked list of prefixes, still in the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nlri<'a> {
    bytes: &'a [u8],
    family: Family,
    add_path: bool,
    ignored: bool,
    skipped: usize,
}

impl<'a> Nlri<'a> {
    /// Nothing.
    pub const fn empty(family: Family) -> Self {
        Self {
            bytes: &[],
            family,
            add_path: false,
            ignored: false,
            skipped: 0,
        }
    }

    /// The place holder for prefixes of a family that was not negotiated.
    pub(super) const fn ignored() -> Self {
        Self {
            ignored: true,
            ..Self::empty(Family::Ipv4)
        }
    }

    /// Reads through a list once.
    pub(super) fn check(
        bytes: &'a [u8],
        family: Family,
        add_path: bool,
    ) -> Result<Self, NlriError> {
        let mut list = Self {
            bytes,
            family,
            add_path,
            ignored: false,
            skipped: 0,
        };
        let mut cursor = Cursor { bytes, add_path };
        match family {
            Family::Ipv4 => {
                while let Some((_, prefix)) = cursor.next4()? {
                    list.skipped += usize::from(!is_unicast4(prefix));
                }
            }
            Family::Ipv6 => {
                while let Some((_, prefix)) = cursor.next6()? {
                    list.skipped += usize::from(!is_unicast6(prefix));
                }
            }
        }
        Ok(list)
    }

    /// The prefixes, each with its path identifier (0 without Add-Path).
    pub const fn iter(&self) -> NlriIter<'a> {
        NlriIter {
            cursor: Cursor {
                bytes: self.bytes,
                add_path: self.add_path,
            },
            family: self.family,
            skips: self.skipped > 0,
        }
    }

    /// Whether there is none. A list of nothing but skipped prefixes is not empty.
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The family of the prefixes; says nothing if the list is ignored.
    pub const fn family(&self) -> Family {
        self.family
    }

    /// Whether the family was not negotiated; such a list gives no prefixes.
    pub const fn is_ignored(&self) -> bool {
        self.ignored
    }

    /// How many prefixes outside the unicast space are skipped.
    pub const fn skipped(&self) -> usize {
        self.skipped
    }
}

impl<'a> IntoIterator for Nlri<'a> {
    type Item = (u32, Prefix);
    type IntoIter = NlriIter<'a>;

    fn into_iter(self) -> NlriIter<'a> {
        self.iter()
    }
}

impl<'a> IntoIterator for &Nlri<'a> {
    type Item = (u32, Prefix);
    type IntoIter = NlriIter<'a>;

    fn into_iter(self) -> NlriIter<'a> {
        self.iter()
    }
}

/// Iterator over the prefixes of an [`Nlri`].
#[derive(Debug, Clone)]
pub struct NlriIter<'a> {
    cursor: Cursor<'a>,
    family: Family,
    skips: bool,
}

impl Iterator for NlriIter<'_> {
    type Item = (u32, Prefix);

    fn next(&mut self) -> Option<Self::Item> {
        // The list was checked; an error can't come, and ends the list if it does.
        match self.family {
            Family::Ipv4 => loop {
                let (id, prefix) = self.cursor.next4().ok()??;
                if !self.skips || is_unicast4(prefix) {
                    return Some((id, Prefix::V4(prefix)));
                }
            },
            Family::Ipv6 => loop {
                let (id, prefix) = self.cursor.next6().ok()??;
                if !self.skips || is_unicast6(prefix) {
                    return Some((id, Prefix::V6(prefix)));
                }
            },
        }
    }
}

/// Checks a prefix list of the body, for a caller that knows the attributes already.
///
/// # Errors
/// A prefix that is too long or cut off (3/10).
pub fn nlri_checked(bytes: &[u8], family: Family, add_path: bool) -> Result<Nlri<'_>, UpdateError> {
    Nlri::check(bytes, family, add_path).map_err(UpdateError::Nlri)
}

/// A place in a list.
#[derive(Debug, Clone)]
struct Cursor<'a> {
    bytes: &'a [u8],
    add_path: bool,
}

impl Cursor<'_> {
    #[inline]
    fn next4(&mut self) -> Result<Option<(u32, Prefix4)>, NlriError> {
        let Some((id, len)) = self.head()? else {
            return Ok(None);
        };
        let bits = match self.bytes.first_chunk::<4>() {
            // What lies behind the prefix is read along and masked away.
            Some(octets) => u32::from_be_bytes(*octets),
            None => {
                let mut octets = [0; 4];
                octets
                    .iter_mut()
                    .zip(self.bytes)
                    .for_each(|(to, from)| *to = *from);
                u32::from_be_bytes(octets)
            }
        };
        self.skip(len, 32)?;
        Ok(Some((id, Prefix4::new(bits, len))))
    }

    #[inline]
    fn next6(&mut self) -> Result<Option<(u32, Prefix6)>, NlriError> {
        let Some((id, len)) = self.head()? else {
            return Ok(None);
        };
        let bits = match self.bytes.first_chunk::<16>() {
            Some(octets) => u128::from_be_bytes(*octets),
            None => {
                let mut octets = [0; 16];
                octets
                    .iter_mut()
                    .zip(self.bytes)
                    .for_each(|(to, from)| *to = *from);
                u128::from_be_bytes(octets)
            }
        };
        self.skip(len, 128)?;
        Ok(Some((id, Prefix6::new(bits, len))))
    }

    /// Path identifier and length octet; `None` at the end of the list.
    #[inline]
    fn head(&mut self) -> Result<Option<(u32, u8)>, NlriError> {
        if self.bytes.is_empty() {
            return Ok(None);
        }
        let mut id = 0;
        if self.add_path {
            let (octets, rest) = self
                .bytes
                .split_first_chunk::<4>()
                .ok_or(NlriError::Short)?;
            id = u32::from_be_bytes(*octets);
            self.bytes = rest;
        }
        let (len, rest) = self.bytes.split_first().ok_or(NlriError::Short)?;
        self.bytes = rest;
        Ok(Some((id, *len)))
    }

    #[inline]
    fn skip(&mut self, len: u8, max: u8) -> Result<(), NlriError> {
        if len > max {
            return Err(NlriError::PrefixLength(len));
        }
        self.bytes = self
            .bytes
            .get(usize::from(len.div_ceil(8))..)
            .ok_or(NlriError::Short)?;
        Ok(())
    }
}

/// Not 0/8, 127/8 or 224/4. The default route, and what is shorter than those, is unicast.
#[inline]
fn is_unicast4(prefix: Prefix4) -> bool {
    let [first, ..] = prefix.bits().to_be_bytes();
    let this_or_loopback = matches!(first, 0 | 127) && prefix.len() >= 8;
    let multicast = first & 0xF0 == 0xE0 && prefix.len() >= 4;
    !this_or_loopback && !multicast
}

/// Not ff00::/8, fe80::/10, `::` or `::1`.
#[inline]
fn is_unicast6(prefix: Prefix6) -> bool {
    let (bits, len) = (prefix.bits(), prefix.len());
    let multicast = bits >> 120 == 0xFF && len >= 8;
    let link_local = bits >> 118 == 0x3FA && len >= 10;
    let host = bits <= 1 && len == 128;
    !multicast && !link_local && !host
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], family: Family, add_path: bool) -> Vec<String> {
        let list = nlri_checked(bytes, family, add_path).unwrap();
        list.iter()
            .map(|(id, prefix)| format!("{id} {prefix}"))
            .collect()
    }

    #[test]
    fn host_bits_are_masked_and_neighbours_do_not_leak_in() {
        let bytes = [9, 10, 0xFF, 24, 10, 1, 2, 0, 32, 10, 9, 8, 7];
        let texts = [
            "0 10.128.0.0/9",
            "0 10.1.2.0/24",
            "0 0.0.0.0/0",
            "0 10.9.8.7/32",
        ];
        assert_eq!(read(&bytes, Family::Ipv4, false), texts);
        let bytes = [32, 0x20, 1, 0xD, 0xB8, 33, 0x20, 1, 0xD, 0xB8, 0xFF];
        let texts = ["0 2001:db8::/32", "0 2001:db8:8000::/33"];
        assert_eq!(read(&bytes, Family::Ipv6, false), texts);
    }

    #[test]
    fn path_identifiers_come_before_each_prefix() {
        let bytes = [0, 0, 0, 0, 8, 10, 0, 0, 1, 0, 0];
        assert_eq!(
            read(&bytes, Family::Ipv4, true),
            ["0 10.0.0.0/8", "256 0.0.0.0/0"]
        );
    }

    #[test]
    fn what_is_cut_or_too_long_is_an_error() {
        let error = |bytes, family, add_path| Nlri::check(bytes, family, add_path).unwrap_err();
        assert_eq!(
            error(&[33, 1, 2, 3, 4, 5], Family::Ipv4, false),
            NlriError::PrefixLength(33)
        );
        assert_eq!(
            error(&[129], Family::Ipv6, false),
            NlriError::PrefixLength(129)
        );
        assert_eq!(
            error(&[25, 10, 0, 0], Family::Ipv4, false),
            NlriError::Short
        );
        assert_eq!(error(&[0, 0, 0], Family::Ipv4, true), NlriError::Short);
        assert_eq!(error(&[0, 0, 0, 1], Family::Ipv4, true), NlriError::Short);
    }

    #[test]
    fn prefixes_outside_the_unicast_space_are_skipped_and_counted() {
        let bytes = [8, 127, 8, 0, 4, 0xE0, 8, 10, 1, 0x80, 0, 3, 0xE0];
        let list = nlri_checked(&bytes, Family::Ipv4, false).unwrap();
        assert_eq!(list.skipped(), 3);
        let texts = [
            "0 10.0.0.0/8",
            "0 128.0.0.0/1",
            "0 0.0.0.0/0",
            "0 224.0.0.0/3",
        ];
        assert_eq!(read(&bytes, Family::Ipv4, false), texts);
        let mut bytes = vec![8, 0xFF, 10, 0xFE, 0x80, 128];
        bytes.extend_from_slice(&1_u128.to_be_bytes());
        let list = nlri_checked(&bytes, Family::Ipv6, false).unwrap();
        assert_eq!((list.skipped(), list.iter().count()), (3, 0));
    }
}
