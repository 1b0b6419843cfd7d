//! The little of BGP-4 (RFC 4271) that a load generator needs: frames, OPEN, and the prefixes of an UPDATE.
//!
//! Not dunlin's codec, on purpose: a bug there must not cancel itself out here. Bytes from the daemon
//! under test are never trusted: what does not parse is an error, not a panic.

use std::net::Ipv4Addr;

/// Length of the message header.
pub(crate) const HEADER: usize = 19;
/// Largest message without RFC 8654.
pub(crate) const MAX_MESSAGE: usize = 4096;

/// Message type OPEN.
pub(crate) const OPEN: u8 = 1;
/// Message type UPDATE.
pub(crate) const UPDATE: u8 = 2;
/// Message type NOTIFICATION.
pub(crate) const NOTIFICATION: u8 = 3;
/// Message type KEEPALIVE.
pub(crate) const KEEPALIVE: u8 = 4;

/// AS number that stands for a four-octet one in two-octet fields (RFC 6793).
const AS_TRANS: u16 = 23456;

/// The bytes can't be a BGP message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a BGP message")]
pub(crate) struct Malformed;

/// One complete message at the start of a buffer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    /// The message type.
    pub(crate) kind: u8,
    /// What follows the header.
    pub(crate) body: &'a [u8],
    /// The whole message.
    pub(crate) whole: &'a [u8],
}

/// The first message in `buffer`, `None` while it is incomplete.
pub(crate) fn next_frame(buffer: &[u8]) -> Result<Option<Frame<'_>>, Malformed> {
    let Some((header, _)) = buffer.split_at_checked(HEADER) else {
        return Ok(None);
    };
    let [.., high, low, kind] = header else {
        return Err(Malformed);
    };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    if !(HEADER..=usize::from(u16::MAX)).contains(&length) {
        return Err(Malformed);
    }
    let Some(whole) = buffer.get(..length) else {
        return Ok(None);
    };
    Ok(Some(Frame {
        kind: *kind,
        body: whole.get(HEADER..).ok_or(Malformed)?,
        whole,
    }))
}

/// A message of this type around this body.
pub(crate) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![0xff; 16];
    // Bodies are built here and stay below 4077 octets, so the length always fits.
    let length = u16::try_from(HEADER + body.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.push(kind);
    out.extend_from_slice(body);
    out
}

/// A KEEPALIVE.
pub(crate) fn keepalive() -> Vec<u8> {
    message(KEEPALIVE, &[])
}

/// A Cease: Administrative Reset (RFC 4486), which no daemon punishes.
pub(crate) fn cease() -> Vec<u8> {
    message(NOTIFICATION, &[6, 4])
}

/// The End-of-RIB marker of IPv4 unicast (RFC 4724).
pub(crate) fn end_of_rib() -> Vec<u8> {
    message(UPDATE, &[0, 0, 0, 0])
}

/// An OPEN with IPv4 unicast, route refresh and, if asked for, four-octet AS numbers.
pub(crate) fn open(asn: u32, hold_time: u16, id: Ipv4Addr, four_octet: bool) -> Vec<u8> {
    open_with(&[], asn, hold_time, id, four_octet)
}

/// The same with IPv6 unicast, so that what is said in MP_REACH_NLRI is looked at.
pub(crate) fn open_dual(asn: u32, hold_time: u16, id: Ipv4Addr, four_octet: bool) -> Vec<u8> {
    open_with(&[1, 4, 0, 2, 0, 1], asn, hold_time, id, four_octet)
}

fn open_with(more: &[u8], asn: u32, hold_time: u16, id: Ipv4Addr, four_octet: bool) -> Vec<u8> {
    let mut capabilities = vec![1, 4, 0, 1, 0, 1, 2, 0];
    capabilities.extend_from_slice(more);
    if four_octet {
        capabilities.extend_from_slice(&[65, 4]);
        capabilities.extend_from_slice(&asn.to_be_bytes());
    }
    let length = u8::try_from(capabilities.len()).unwrap_or(u8::MAX);
    let mut body = vec![4];
    body.extend_from_slice(&u16::try_from(asn).unwrap_or(AS_TRANS).to_be_bytes());
    body.extend_from_slice(&hold_time.to_be_bytes());
    body.extend_from_slice(&id.octets());
    body.extend_from_slice(&[length.saturating_add(2), 2, length]);
    body.extend_from_slice(&capabilities);
    message(OPEN, &body)
}

/// An UPDATE of IPv4 unicast: encoded withdrawn prefixes, path attributes, encoded NLRI.
pub(crate) fn update(withdrawn: &[u8], attributes: &[u8], nlri: &[u8]) -> Vec<u8> {
    let length = |bytes: &[u8]| u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes();
    let mut body = Vec::with_capacity(4 + withdrawn.len() + attributes.len() + nlri.len());
    body.extend_from_slice(&length(withdrawn));
    body.extend_from_slice(withdrawn);
    body.extend_from_slice(&length(attributes));
    body.extend_from_slice(attributes);
    body.extend_from_slice(nlri);
    message(UPDATE, &body)
}

/// The AS number that an OPEN claims, whatever else is wrong with it: capability 65's, else the field's.
pub(crate) fn open_asn(message: &[u8]) -> u32 {
    let field = message.get(HEADER + 1..HEADER + 3).unwrap_or_default();
    let short = field
        .iter()
        .fold(0, |asn, octet| asn << 8 | u32::from(*octet));
    let parameters = message.get(HEADER + 10..).unwrap_or_default();
    let long = parameters.windows(6).find_map(|window| match window {
        [65, 4, asn @ ..] => Some(
            asn.iter()
                .fold(0, |asn, octet| asn << 8 | u32::from(*octet)),
        ),
        _ => None,
    });
    long.unwrap_or(short)
}

/// Appends a prefix in NLRI form.
pub(crate) fn put_prefix(out: &mut Vec<u8>, address: u32, length: u8) {
    out.push(length);
    let octets = address.to_be_bytes();
    out.extend(octets.iter().take(usize::from(length).div_ceil(8)));
}

/// Calls `each(announced, address, length)` for every IPv4 prefix of an UPDATE's body, withdrawn first.
pub(crate) fn prefixes(body: &[u8], mut each: impl FnMut(bool, u32, u8)) -> Result<(), Malformed> {
    let (withdrawn, rest) = counted(body)?;
    let (_, nlri) = counted(rest)?;
    walk(withdrawn, |address, length| each(false, address, length))?;
    walk(nlri, |address, length| each(true, address, length))
}

/// Calls `each(type code, value)` for every path attribute of an UPDATE's body.
pub(crate) fn attributes<'a>(
    body: &'a [u8],
    mut each: impl FnMut(u8, &'a [u8]),
) -> Result<(), Malformed> {
    let (_, rest) = counted(body)?;
    let (mut bytes, _) = counted(rest)?;
    while !bytes.is_empty() {
        let (&[flags, code], rest) = bytes.split_first_chunk::<2>().ok_or(Malformed)?;
        let (value, rest) = if flags & 0x10 != 0 {
            counted(rest)?
        } else {
            let (&length, rest) = rest.split_first().ok_or(Malformed)?;
            rest.split_at_checked(usize::from(length))
                .ok_or(Malformed)?
        };
        each(code, value);
        bytes = rest;
    }
    Ok(())
}

/// A block with its 16-bit length in front, and what follows it.
fn counted(bytes: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let (length, rest) = bytes.split_first_chunk::<2>().ok_or(Malformed)?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
        .ok_or(Malformed)
}

fn walk(mut bytes: &[u8], mut each: impl FnMut(u32, u8)) -> Result<(), Malformed> {
    while let Some((&length, rest)) = bytes.split_first() {
        let octets = usize::from(length).div_ceil(8);
        let (prefix, rest) = rest.split_at_checked(octets).ok_or(Malformed)?;
        let mut address = [0u8; 4];
        address
            .get_mut(..octets)
            .ok_or(Malformed)?
            .copy_from_slice(prefix);
        each(u32::from_be_bytes(address), length);
        bytes = rest;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_only_seen_when_complete() {
        let bytes = keepalive();
        assert_eq!(next_frame(&bytes[..18]), Ok(None));
        let frame = next_frame(&bytes).unwrap().unwrap();
        assert_eq!((frame.kind, frame.whole.len()), (KEEPALIVE, HEADER));
    }

    #[test]
    fn a_length_below_the_header_is_malformed() {
        let mut bytes = keepalive();
        bytes[17] = 18;
        assert_eq!(next_frame(&bytes), Err(Malformed));
    }

    #[test]
    fn an_update_gives_its_withdrawn_and_announced_prefixes() {
        let (mut gone, mut nlri) = (Vec::new(), Vec::new());
        put_prefix(&mut gone, 0x0a01_0000, 16);
        put_prefix(&mut nlri, 0x0102_0300, 24);
        let bytes = update(&gone, &[], &nlri);
        let mut seen = Vec::new();
        let frame = next_frame(&bytes).unwrap().unwrap();
        prefixes(frame.body, |announced, address, length| {
            seen.push((announced, address, length));
        })
        .unwrap();
        assert_eq!(seen, [(false, 0x0a01_0000, 16), (true, 0x0102_0300, 24)]);
    }

    #[test]
    fn attributes_are_walked_with_short_and_extended_lengths() {
        let bytes = update(&[], &[0x40, 1, 1, 0, 0xd0, 8, 0, 2, 5, 6], &[]);
        let frame = next_frame(&bytes).unwrap().unwrap();
        let mut seen = Vec::new();
        attributes(frame.body, |code, value| seen.push((code, value.to_vec()))).unwrap();
        assert_eq!(seen, [(1, vec![0]), (8, vec![5, 6])]);
        assert_eq!(
            attributes(&[0, 0, 0, 3, 0x40, 1, 9], |_, _| {}),
            Err(Malformed)
        );
    }

    #[test]
    fn a_prefix_longer_than_the_message_is_malformed() {
        assert_eq!(prefixes(&[0, 0, 0, 0, 24, 1], |_, _, _| {}), Err(Malformed));
        assert_eq!(
            prefixes(&[0, 0, 0, 0, 64, 1, 2, 3, 4, 5, 6, 7, 8], |_, _, _| {}),
            Err(Malformed)
        );
    }

    #[test]
    fn an_open_carries_as_trans_for_a_large_as() {
        let bytes = open(70_000, 90, Ipv4Addr::new(1, 2, 3, 4), true);
        assert_eq!(bytes[20..22], AS_TRANS.to_be_bytes());
        assert!(next_frame(&bytes).unwrap().is_some());
    }
}
