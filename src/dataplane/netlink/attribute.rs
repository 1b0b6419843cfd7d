//! Attributes of netlink messages: a length, a type and a value, four octets apart. Not what the
//! types mean.
//!
//! Links and neighbours are read with it, not with the types of netlink-packet-route: there one
//! attribute that a newer kernel spells differently hides the whole link.

use std::net::IpAddr;

use crate::net::Mac;

const HEAD: usize = 4;
/// The upper two bits of a type are flags: nested, network byte order.
const TYPE: u16 = 0x3fff;
const NESTED: u16 = 0x8000;

/// Appends an attribute.
pub(super) fn put(buffer: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(HEAD + value.len()).unwrap_or(u16::MAX);
    let ([l0, l1], [k0, k1]) = (length.to_ne_bytes(), kind.to_ne_bytes());
    buffer.extend_from_slice(&[l0, l1, k0, k1]);
    buffer.extend_from_slice(value);
    pad(buffer);
}

/// Fills up to the next four octets, where messages and attributes begin.
pub(super) fn pad(buffer: &mut Vec<u8>) {
    let end = buffer.len().next_multiple_of(4);
    // Most are whole, and a call that does nothing costs more than the question.
    if end > buffer.len() {
        buffer.resize(end, 0);
    }
}

/// Appends a text, with the zero at its end.
pub(super) fn put_text(buffer: &mut Vec<u8>, kind: u16, text: &str) {
    let mut value = text.as_bytes().to_vec();
    value.push(0);
    put(buffer, kind, &value);
}

/// Appends an address.
pub(super) fn put_ip(buffer: &mut Vec<u8>, kind: u16, address: IpAddr) {
    match address {
        IpAddr::V4(address) => put(buffer, kind, &address.octets()),
        IpAddr::V6(address) => put(buffer, kind, &address.octets()),
    }
}

/// Appends an attribute made of attributes.
pub(super) fn nest(buffer: &mut Vec<u8>, kind: u16, fill: impl FnOnce(&mut Vec<u8>)) {
    let mut inner = Vec::new();
    fill(&mut inner);
    put(buffer, kind | NESTED, &inner);
}

/// The attributes in `bytes`; what is cut short ends them.
pub(super) fn each(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    core::iter::from_fn(move || {
        let ([l0, l1, k0, k1], _) = rest.split_first_chunk::<HEAD>()?;
        let length = usize::from(u16::from_ne_bytes([*l0, *l1]));
        let kind = u16::from_ne_bytes([*k0, *k1]) & TYPE;
        let value = rest.get(HEAD..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// A number in the byte order of the host.
pub(super) fn number(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_ne_bytes)
}

/// A single octet.
pub(super) fn octet(value: &[u8]) -> Option<u8> {
    value.first().copied()
}

/// An address, its family by its length.
pub(super) fn ip(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => <[u8; 4]>::try_from(value).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(value).ok().map(IpAddr::from),
        _ => None,
    }
}

/// An Ethernet address.
pub(super) fn mac(value: &[u8]) -> Option<Mac> {
    value.try_into().ok().map(Mac)
}

/// A text, up to the zero at its end.
pub(super) fn text(value: &[u8]) -> Option<&str> {
    let end = value.iter().position(|byte| *byte == 0);
    core::str::from_utf8(value.get(..end.unwrap_or(value.len()))?).ok()
}
