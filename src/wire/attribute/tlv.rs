//! Inner TLVs: AIGP (RFC 7311), and the attributes that are passed on or dropped without being
//! used, but whose inner lengths have taken down other daemons.
//!
//! Each walk is one pass; nothing is stored.

use nom::Parser;
use nom::bytes::complete::take;
use nom::number::complete::{be_u8, be_u16, be_u64};

use crate::wire::error::{FaultKind, Parsed, Short};

/// The metric of the first AIGP TLV. A TLV that overruns, or an AIGP TLV of another length than 11,
/// spoils the attribute; so does the absence of an AIGP TLV.
pub(super) fn aigp(mut value: &[u8]) -> Result<u64, FaultKind> {
    let mut metric = None;
    while !value.is_empty() {
        let (rest, (kind, data)) = aigp_tlv(value).map_err(|_| FaultKind::Value)?;
        if kind == 1 {
            let parsed: Parsed<'_, u64> = be_u64(data);
            let Ok(([], value)) = parsed else {
                return Err(FaultKind::Length(data.len() + 3));
            };
            metric = metric.or(Some(value));
        }
        value = rest;
    }
    metric.ok_or(FaultKind::Value)
}

/// The length counts the three octets of type and length.
fn aigp_tlv(input: &[u8]) -> Parsed<'_, (u8, &[u8])> {
    let (input, (kind, len)) = (be_u8, be_u16).parse(input)?;
    let len = len.checked_sub(3).ok_or(nom::Err::Error(Short))?;
    let (input, data) = take(len)(input)?;
    Ok((input, (kind, data)))
}

/// Walks TLVs with `header` until the value ends; each header gives the length of its data.
fn walk<'a>(
    mut value: &'a [u8],
    header: impl Fn(&'a [u8]) -> Parsed<'a, usize>,
    mut inner: impl FnMut(&'a [u8]) -> Result<(), FaultKind>,
) -> Result<(), FaultKind> {
    while !value.is_empty() {
        let (rest, len) = header(value).map_err(|_| FaultKind::Value)?;
        let (data, rest) = rest.split_at_checked(len).ok_or(FaultKind::Value)?;
        inner(data)?;
        value = rest;
    }
    Ok(())
}

/// Tunnel encapsulation (RFC 9012 §2): TLVs of sub-TLVs; an empty value has no tunnel.
pub(super) fn tunnel_encapsulation(value: &[u8]) -> Result<(), FaultKind> {
    if value.is_empty() {
        return Err(FaultKind::Length(0));
    }
    let tunnel = |i| {
        (be_u16, be_u16)
            .map(|(_kind, len)| usize::from(len))
            .parse(i)
    };
    // Sub-TLVs from 128 on have a length of two octets.
    let sub_tlv = |i| {
        let (i, kind) = be_u8::<_, Short>(i)?;
        if kind < 128 {
            be_u8.map(usize::from).parse(i)
        } else {
            be_u16.map(usize::from).parse(i)
        }
    };
    walk(value, tunnel, |data| walk(data, sub_tlv, |_| Ok(())))
}

/// BGP-LS (RFC 9552 §5.3): only that the TLVs fill the value.
pub(super) fn link_state(value: &[u8]) -> Result<(), FaultKind> {
    let header = |i| {
        (be_u16, be_u16)
            .map(|(_kind, len)| usize::from(len))
            .parse(i)
    };
    walk(value, header, |_| Ok(()))
}

/// Prefix-SID (RFC 8669 §3): TLVs fill the value, and none is of the reserved type 0.
pub(super) fn prefix_sid(value: &[u8]) -> Result<(), FaultKind> {
    if value.is_empty() {
        return Err(FaultKind::Length(0));
    }
    let header = |i| {
        let (i, (kind, len)) = (be_u8, be_u16).parse(i)?;
        if kind == 0 {
            Err(nom::Err::Error(Short))
        } else {
            Ok((i, usize::from(len)))
        }
    };
    walk(value, header, |_| Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_aigp_metric_counts() {
        let one = [1, 0, 11, 0, 0, 0, 0, 0, 0, 0, 7];
        let other = [2, 0, 4, 9];
        assert_eq!(aigp(&[&other[..], &one, &one].concat()), Ok(7));
        assert_eq!(aigp(&other), Err(FaultKind::Value));
        assert_eq!(aigp(&[]), Err(FaultKind::Value));
        assert_eq!(aigp(&[1, 0]), Err(FaultKind::Value));
        assert_eq!(aigp(&[1, 0, 2]), Err(FaultKind::Value));
        assert_eq!(
            aigp(&[1, 0, 10, 0, 0, 0, 0, 0, 0, 7]),
            Err(FaultKind::Length(10))
        );
    }

    #[test]
    fn inner_lengths_stay_inside() {
        assert_eq!(tunnel_encapsulation(&[0, 8, 0, 4, 1, 2, 0, 0]), Ok(()));
        assert_eq!(tunnel_encapsulation(&[0, 8, 0, 4, 128, 0, 1, 0]), Ok(()));
        for bad in [
            &[0, 8, 0][..],
            &[0, 8, 0, 5, 1, 2, 0, 0],
            &[0, 8, 0, 4, 1, 9, 0, 0],
        ] {
            assert_eq!(tunnel_encapsulation(bad), Err(FaultKind::Value));
        }
        assert_eq!(prefix_sid(&[0; 10]), Err(FaultKind::Value));
        assert_eq!(prefix_sid(&[1, 0, 1, 0]), Ok(()));
        assert_eq!(link_state(&[4, 0, 0, 2, 1]), Err(FaultKind::Value));
    }
}
