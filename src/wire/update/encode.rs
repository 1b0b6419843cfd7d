//! From routes to UPDATE messages.
//!
//! A message carries one of withdrawn routes, NLRI, MP_REACH_NLRI and MP_UNREACH_NLRI, and the MP
//! attribute comes first (RFC 7606 §5.1). Each prefix takes as few octets as it can. This is the hot
//! path of a reflector: plain byte pushes into one buffer.

use core::iter::Peekable;

use crate::net::{AfiSafi, Family, Prefix};
use crate::wire::attribute::NextHop;
use crate::wire::attribute::table::{code, flag};
use crate::wire::error::EncodeError;
use crate::wire::frame::{MessageKind, begin_message, end_message, put_u16};

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
/// Prefixes of another family than `params.family` are left out.
///
/// # Errors
/// A prefix does not fit even alone; nothing is appended then.
pub fn write_announce(
    out: &mut Vec<u8>,
    params: &Announce<'_>,
    nlri: &mut impl Iterator<Item = (u32, Prefix)>,
) -> Result<usize, EncodeError> {
    let origin = out.len();
    let mut list = List::new(nlri, params.family, params.add_path);
    let mut written = 0;
    while list.has_more() {
        let start = begin_message(out, MessageKind::Update);
        let fitted = match params.next_hop {
            None => {
                out.extend_from_slice(&[0, 0, 0, 0]);
                put_length(out, start + 21, params.attributes.len());
                out.extend_from_slice(params.attributes);
                list.fill(out, start + params.max_len)
            }
            Some(next_hop) => announce_mp(out, start, params, next_hop, &mut list),
        };
        if !fitted {
            out.truncate(origin);
            let (attributes, max_len) = (params.attributes.len(), params.max_len);
            return Err(EncodeError::TooLong {
                attributes,
                max_len,
            });
        }
        end_message(out, start);
        written += 1;
    }
    Ok(written)
}

/// The body of an UPDATE with MP_REACH_NLRI; whether at least one prefix fitted.
fn announce_mp<I: Iterator<Item = (u32, Prefix)>>(
    out: &mut Vec<u8>,
    start: usize,
    params: &Announce<'_>,
    next_hop: &NextHop,
    list: &mut List<I>,
) -> bool {
    let Some(limit) = (start + params.max_len).checked_sub(params.attributes.len()) else {
        return false;
    };
    out.extend_from_slice(&[0, 0, 0, 0]);
    let value = begin_mp(out, code::MP_REACH, params.family.afi_safi());
    out.push(0);
    let field = out.len();
    next_hop.encode_field(out);
    let len = u8::try_from(out.len() - field).unwrap_or(u8::MAX);
    if let Some(octet) = out.get_mut(field - 1) {
        *octet = len;
    }
    out.push(0);
    let fitted = list.fill(out, limit);
    let value_len = out.len() - value;
    put_length(out, value - 2, value_len);
    out.extend_from_slice(params.attributes);
    let attributes_len = out.len() - (start + 23);
    put_length(out, start + 21, attributes_len);
    fitted
}

/// Appends as many whole UPDATEs as the withdrawals need; gives their number.
///
/// IPv4 goes into the body, IPv6 into MP_UNREACH_NLRI. Prefixes of another family are left out.
pub fn write_withdraw(
    out: &mut Vec<u8>,
    family: Family,
    add_path: bool,
    max_len: usize,
    nlri: &mut impl Iterator<Item = (u32, Prefix)>,
) -> usize {
    let mut list = List::new(nlri, family, add_path);
    let mut written = 0;
    while list.has_more() {
        let start = begin_message(out, MessageKind::Update);
        out.extend_from_slice(&[0, 0]);
        let fitted = match family {
            Family::Ipv4 => {
                // The (empty) attributes' length follows the prefixes.
                let fitted = list.fill(out, (start + max_len).saturating_sub(2));
                let len = out.len() - (start + 21);
                put_length(out, start + 19, len);
                out.extend_from_slice(&[0, 0]);
                fitted
            }
            Family::Ipv6 => {
                out.extend_from_slice(&[0, 0]);
                let value = begin_mp(out, code::MP_UNREACH, family.afi_safi());
                let fitted = list.fill(out, start + max_len);
                let (value_len, attributes_len) = (out.len() - value, out.len() - (start + 23));
                put_length(out, value - 2, value_len);
                put_length(out, start + 21, attributes_len);
                fitted
            }
        };
        if !fitted {
            // No session has a limit below 4096; without this a wrong one would never end.
            out.truncate(start);
            break;
        }
        end_message(out, start);
        written += 1;
    }
    written
}

/// The End-of-RIB marker of a family, a whole message (RFC 4724 §2).
pub fn end_of_rib(family: Family) -> Vec<u8> {
    let mut out = Vec::with_capacity(30);
    let start = begin_message(&mut out, MessageKind::Update);
    out.extend_from_slice(&[0, 0, 0, 0]);
    match family {
        Family::Ipv4 => {}
        Family::Ipv6 => {
            let AfiSafi { afi, safi } = family.afi_safi();
            let [high, low] = afi.to_be_bytes();
            out.extend_from_slice(&[flag::OPTIONAL, code::MP_UNREACH, 3, high, low, safi]);
            put_u16(&mut out, start + 21, 6);
        }
    }
    end_message(&mut out, start);
    out
}

/// Flags, type, a length to fill in, and the family; gives the place where the value starts.
fn begin_mp(out: &mut Vec<u8>, code: u8, family: AfiSafi) -> usize {
    // The length is not known yet, and two octets are legal for any (RFC 4271 §4.3).
    out.extend_from_slice(&[flag::OPTIONAL | flag::EXTENDED, code, 0, 0]);
    let value = out.len();
    out.extend_from_slice(&family.afi.to_be_bytes());
    out.push(family.safi);
    value
}

fn put_length(out: &mut [u8], at: usize, len: usize) {
    put_u16(out, at, u16::try_from(len).unwrap_or(u16::MAX));
}

/// The prefixes that are still to be written.
struct List<I: Iterator<Item = (u32, Prefix)>> {
    items: Peekable<I>,
    family: Family,
    add_path: bool,
}

impl<I: Iterator<Item = (u32, Prefix)>> List<I> {
    fn new(items: I, family: Family, add_path: bool) -> Self {
        Self {
            items: items.peekable(),
            family,
            add_path,
        }
    }

    fn has_more(&mut self) -> bool {
        let family = self.family;
        while self
            .items
            .next_if(|(_, prefix)| prefix.family() != family)
            .is_some()
        {}
        self.items.peek().is_some()
    }

    /// Appends prefixes up to `limit`; whether there was room for one at least.
    fn fill(&mut self, out: &mut Vec<u8>, limit: usize) -> bool {
        let mut any = false;
        while let Some((id, prefix)) = self.items.peek() {
            if prefix.family() == self.family {
                let before = out.len();
                if self.add_path {
                    out.extend_from_slice(&id.to_be_bytes());
                }
                push_prefix(out, *prefix);
                if out.len() > limit {
                    out.truncate(before);
                    return any;
                }
                any = true;
            }
            self.items.next();
        }
        any
    }
}

/// The length octet and as many octets as hold the prefix. Writing the whole address and cutting it
/// needs no loop.
#[inline]
fn push_prefix(out: &mut Vec<u8>, prefix: Prefix) {
    match prefix {
        Prefix::V4(prefix) => {
            let [a, b, c, d] = prefix.bits().to_be_bytes();
            out.extend_from_slice(&[prefix.len(), a, b, c, d]);
            out.truncate(out.len() - 4 + usize::from(prefix.len().div_ceil(8)));
        }
        Prefix::V6(prefix) => {
            out.push(prefix.len());
            out.extend_from_slice(&prefix.bits().to_be_bytes());
            out.truncate(out.len() - 16 + usize::from(prefix.len().div_ceil(8)));
        }
    }
}
