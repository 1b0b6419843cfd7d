//! From routes to UPDATE messages.
//!
//! A message carries one of withdrawn routes, NLRI, MP_REACH_NLRI and MP_UNREACH_NLRI, and the MP
//! attribute comes first (RFC 7606 §5.1). This is the hot path of a reflector: plain byte pushes.

use crate::net::{Family, Prefix};
use crate::wire::attribute::NextHop;
use crate::wire::error::EncodeError;

/// What the prefixes of [`write_announce`] have in common.
#[derive(Debug, Clone, Copy)]
pub struct Announce<'a> {
    /// The family of all prefixes.
    pub family: Family,
    /// Encoded attributes without MP_REACH_NLRI; with NEXT_HOP exactly if `next_hop` is `None`.
    pub attributes: &'a [u8],
    /// The next hop of MP_REACH_NLRI; `None` puts the prefixes into the body (IPv4).
    pub next_hop: Option<&'a NextHop>,
    /// Path identifiers are written.
    pub add_path: bool,
    /// The longest message that the peer takes.
    pub max_len: usize,
}

/// Appends as many whole UPDATEs as the routes need; gives their number.
///
/// # Errors
/// A prefix does not fit even alone; nothing is appended then.
pub fn write_announce(
    out: &mut Vec<u8>,
    params: &Announce<'_>,
    nlri: &mut impl Iterator<Item = (u32, Prefix)>,
) -> Result<usize, EncodeError> {
    let _ = (out, params, nlri);
    todo!()
}

/// Appends as many whole UPDATEs as the withdrawals need; gives their number.
pub fn write_withdraw(
    out: &mut Vec<u8>,
    family: Family,
    add_path: bool,
    max_len: usize,
    nlri: &mut impl Iterator<Item = (u32, Prefix)>,
) -> usize {
    let _ = (out, family, add_path, max_len, nlri);
    todo!()
}

/// The End-of-RIB marker of a family, a whole message (RFC 4724 §2).
pub fn end_of_rib(family: Family) -> Vec<u8> {
    let _ = family;
    todo!()
}
