//! Our own form of an attribute set, read back.
//!
//! The bytes come from [`PathAttributes::encode_canonical`] and from nowhere else, so nothing is
//! judged here: what a peer must not send may well be in our tables.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nom::Parser;
use nom::bytes::complete::{tag, take};
use nom::combinator::{all_consuming, opt, verify};
use nom::multi::length_value;
use nom::number::complete::{be_u8, be_u32, be_u128};

use super::decode::{RawAttribute, RawAttributes};
use super::table::{code, flag};
use super::{NextHop, PathAttributes, UnknownAttribute, as_path, value};
use crate::wire::error::{CanonicalError, Parsed, Short};

impl PathAttributes {
    /// Reads what [`encode_canonical`](Self::encode_canonical) wrote.
    ///
    /// All fields come back, normalised as the wire has them: AS path segments above 255 numbers
    /// are split, empty ones gone, large communities are unique, unknown attributes sorted.
    ///
    /// # Errors
    /// Bytes that it did not write.
    pub fn decode_canonical(bytes: &[u8]) -> Result<Self, CanonicalError> {
        let mut out = Self::default();
        for attribute in RawAttributes::new(bytes) {
            let RawAttribute { flags, code, value } = attribute.map_err(|_| CanonicalError)?;
            match code {
                code::AS_PATH => {
                    out.as_path = as_path::parse(value, true).map_err(|_| CanonicalError)?;
                }
                code::NEXT_HOP => out.next_hop = Some(whole(value, ipv4_next_hop)?),
                code::MP_REACH => out.next_hop = Some(whole(value, mp_next_hop)?),
                code::AGGREGATOR => {
                    let aggregator = value::aggregator(value, true);
                    out.aggregator = Some(aggregator.map_err(|_| CanonicalError)?);
                }
                _ => {
                    if !value::store(&mut out, code, value).map_err(|_| CanonicalError)? {
                        let flags = flags & !flag::EXTENDED;
                        let value = value.to_vec();
                        out.unknown.push(UnknownAttribute { flags, code, value });
                    }
                }
            }
        }
        Ok(out)
    }
}

fn whole<'a>(
    value: &'a [u8],
    parser: impl Parser<&'a [u8], Output = NextHop, Error = Short>,
) -> Result<NextHop, CanonicalError> {
    all_consuming(parser)
        .parse(value)
        .map(|(_, hop)| hop)
        .map_err(|_| CanonicalError)
}

fn ipv4_next_hop(input: &[u8]) -> Parsed<'_, NextHop> {
    be_u32
        .map(|bits| NextHop::new(IpAddr::V4(Ipv4Addr::from_bits(bits))))
        .parse(input)
}

/// AFI, SAFI, the counted next hop with its scope, if it has one, and the reserved octet.
fn mp_next_hop(input: &[u8]) -> Parsed<'_, NextHop> {
    let (input, _) = tag(&[0, 2, 1][..]).parse(input)?;
    let addresses = all_consuming((be_u128, opt(be_u128), opt(be_u32)));
    let (input, (first, second, scope)) = length_value(be_u8, addresses).parse(input)?;
    let (input, _) = verify(take(1_usize), |reserved: &[u8]| reserved == [0]).parse(input)?;
    let address = IpAddr::V6(Ipv6Addr::from_bits(first));
    Ok((
        input,
        NextHop {
            address,
            link_local: second.map(Ipv6Addr::from_bits),
            scope: scope.unwrap_or(0),
        },
    ))
}
