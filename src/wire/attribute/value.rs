//! The attributes whose value is one number or one list, the same from every peer and in our tables.

use std::net::Ipv4Addr;

use nom::Parser;
use nom::combinator::all_consuming;
use nom::number::complete::{be_u16, be_u32};

use super::table::code;
use super::{Aggregator, Origin, PathAttributes, community, tlv};
use crate::net::{Asn, RouterId};
use crate::wire::error::{FaultKind, Parsed, Short};

/// Stores a value whose length the table has accepted; `false` if the type is none of these.
pub(super) fn store(
    attributes: &mut PathAttributes,
    code: u8,
    value: &[u8],
) -> Result<bool, FaultKind> {
    match code {
        code::ORIGIN => {
            let number = value.first().copied().ok_or(FaultKind::Length(0))?;
            attributes.origin = Origin::from_code(number).ok_or(FaultKind::Value)?;
        }
        code::MED => attributes.med = Some(number(value)?),
        code::LOCAL_PREF => attributes.local_pref = Some(number(value)?),
        code::ATOMIC_AGGREGATE => attributes.atomic_aggregate = true,
        code::COMMUNITIES => attributes.communities = community::parse(value),
        code::ORIGINATOR_ID => attributes.originator_id = Some(RouterId(number(value)?)),
        code::CLUSTER_LIST => {
            attributes.cluster_list = community::parse(value).into_iter().map(RouterId).collect();
        }
        code::EXTENDED_COMMUNITIES => attributes.extended_communities = community::groups(value),
        code::AIGP => attributes.aigp = Some(tlv::aigp(value)?),
        code::LARGE_COMMUNITIES => attributes.large_communities = community::parse_large(value),
        code::OTC => {
            let asn = Asn(number(value)?);
            if asn == Asn::ZERO {
                return Err(FaultKind::AsZero);
            }
            attributes.otc = Some(asn);
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn number(value: &[u8]) -> Result<u32, FaultKind> {
    let parsed: Result<_, nom::Err<Short>> = all_consuming(be_u32).parse(value);
    parsed
        .map(|(_, number)| number)
        .map_err(|_| FaultKind::Length(value.len()))
}

/// AGGREGATOR with an AS number of either width, and AS4_AGGREGATOR.
pub(super) fn aggregator(value: &[u8], four_octet_as: bool) -> Result<Aggregator, FaultKind> {
    let parsed: Parsed<'_, (u32, u32)> = if four_octet_as {
        (be_u32, be_u32).parse(value)
    } else {
        (be_u16.map(u32::from), be_u32).parse(value)
    };
    let Ok(([], (asn, address))) = parsed else {
        return Err(FaultKind::Length(value.len()));
    };
    if asn == 0 {
        return Err(FaultKind::AsZero);
    }
    Ok(Aggregator {
        asn: Asn(asn),
        address: Ipv4Addr::from_bits(address),
    })
}
