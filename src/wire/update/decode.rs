//! From bytes to an [`Update`].

use core::net::Ipv4Addr;

use nom::Parser;
use nom::combinator::rest;
use nom::multi::length_data;
use nom::number::complete::{be_u8, be_u16};

use super::{DecodeContext, MpReach, Nlri, Update};
use crate::net::{AfiSafi, Family};
use crate::wire::attribute::decode::{self as block, Block, Faults, RawAttributes};
use crate::wire::attribute::table::code;
use crate::wire::attribute::{NextHop, next_hop};
use crate::wire::error::{FaultKind, MpError, Parsed, Treatment, UpdateError};

/// The three parts of an UPDATE's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawUpdate<'a> {
    /// Withdrawn routes.
    pub withdrawn: &'a [u8],
    /// Path attributes.
    pub attributes: &'a [u8],
    /// NLRI.
    pub nlri: &'a [u8],
}

impl<'a> RawUpdate<'a> {
    /// Splits a body by its two length fields.
    ///
    /// # Errors
    /// Lengths that exceed the message (3/1).
    pub fn split(body: &'a [u8]) -> Result<Self, UpdateError> {
        let parsed: Parsed<'_, (&[u8], &[u8], &[u8])> =
            (length_data(be_u16), length_data(be_u16), rest).parse(body);
        let (_, (withdrawn, attributes, nlri)) = parsed.map_err(|_| UpdateError::Lengths)?;
        Ok(Self {
            withdrawn,
            attributes,
            nlri,
        })
    }
}

/// Decodes an UPDATE.
///
/// # Errors
/// What ends the session even under RFC 7606: prefixes or MP attributes that can't be read, and
/// errors of withdraw class where there is nothing to withdraw.
pub fn decode<'a>(raw: RawUpdate<'a>, ctx: &DecodeContext) -> Result<Update<'a>, UpdateError> {
    let withdrawn = body_nlri(raw.withdrawn, ctx)?;
    let announced = body_nlri(raw.nlri, ctx)?;
    let mut block = block::decode(raw.attributes, ctx, !raw.nlri.is_empty())?;
    note_skipped(&mut block.faults, 0, &announced);

    let mp_withdrawn = block
        .mp_unreach
        .map(|value| mp_unreach(value, ctx))
        .transpose()?;
    let mp_announced = match block.mp_reach {
        None => None,
        Some(value) => {
            let (family, next_hop, nlri) = mp_reach(value, ctx)?;
            note_skipped(&mut block.faults, code::MP_REACH, &nlri);
            if next_hop.is_none() {
                block
                    .faults
                    .note(code::MP_REACH, FaultKind::NextHop, Treatment::Withdraw);
            }
            Some(MpReach {
                family,
                next_hop: next_hop.unwrap_or(NO_NEXT_HOP),
                nlri,
            })
        }
    };

    // Prefixes of a family that was not negotiated are there, even if nobody reads them.
    let mp_reachable = mp_announced.is_some_and(|mp| mp.nlri.is_ignored() || !mp.nlri.is_empty());
    let reachable = !raw.nlri.is_empty() || mp_reachable;
    if reachable {
        note_missing(&mut block, !raw.nlri.is_empty());
    } else if let Some(fault) = block.faults.withdraw
        && (block.count > 1 || fault.code != code::MP_UNREACH)
    {
        // RFC 7606 §5.2: the prefixes that it was about may be in what could not be read.
        return Err(UpdateError::NothingToWithdraw(fault));
    }
    let end_of_rib = end_of_rib(&raw, &block);
    Ok(Update {
        withdrawn,
        announced,
        mp_withdrawn,
        mp_announced,
        attributes: block.attributes,
        faults: block.faults.noted,
        treatment: block.faults.strongest,
        has_attributes: !raw.attributes.is_empty(),
        end_of_rib,
    })
}

/// Stands in an [`MpReach`] that has no next hop to use.
const NO_NEXT_HOP: NextHop = NextHop::new(core::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED));

fn body_nlri<'a>(bytes: &'a [u8], ctx: &DecodeContext) -> Result<Nlri<'a>, UpdateError> {
    let [add_path, _] = ctx.add_path;
    let list = Nlri::check(bytes, Family::Ipv4, add_path).map_err(UpdateError::Nlri)?;
    let [negotiated, _] = ctx.families;
    Ok(if negotiated || bytes.is_empty() {
        list
    } else {
        Nlri::ignored()
    })
}

fn note_skipped(faults: &mut Faults, code: u8, nlri: &Nlri<'_>) {
    if nlri.skipped() > 0 {
        faults.note(
            code,
            FaultKind::NlriSkipped(nlri.skipped()),
            Treatment::Discard,
        );
    }
}

/// RFC 7606 §3d. LOCAL_PREF is not asked for: its default is as good (see BIRD and others).
fn note_missing(block: &mut Block<'_>, body_nlri: bool) {
    for code in [code::ORIGIN, code::AS_PATH, code::NEXT_HOP] {
        if (code != code::NEXT_HOP || body_nlri) && !block.has(code) {
            block
                .faults
                .note(code, FaultKind::Missing, Treatment::Withdraw);
        }
    }
}

/// RFC 4724 §2: an UPDATE that is empty, or has an empty MP_UNREACH_NLRI and nothing else.
fn end_of_rib(raw: &RawUpdate<'_>, block: &Block<'_>) -> Option<AfiSafi> {
    if !raw.withdrawn.is_empty() || !raw.nlri.is_empty() || block.faults.strongest.is_some() {
        return None;
    }
    match (block.count, block.mp_unreach) {
        (0, _) => Some(AfiSafi::IPV4_UNICAST),
        (1, Some(value)) => match afi_safi(value) {
            Ok(([], family)) => Some(family),
            Ok(_) | Err(_) => None,
        },
        _ => None,
    }
}

fn afi_safi(input: &[u8]) -> Parsed<'_, AfiSafi> {
    (be_u16, be_u8)
        .map(|(afi, safi)| AfiSafi { afi, safi })
        .parse(input)
}

/// The family, if it has a table and was negotiated.
fn negotiated(family: AfiSafi, ctx: &DecodeContext) -> Option<Family> {
    let family = family.family()?;
    let [ipv4, ipv6] = ctx.families;
    let agreed = match family {
        Family::Ipv4 => ipv4,
        Family::Ipv6 => ipv6,
    };
    agreed.then_some(family)
}

fn mp_nlri<'a>(
    code: u8,
    bytes: &'a [u8],
    family: Family,
    ctx: &DecodeContext,
) -> Result<Nlri<'a>, UpdateError> {
    let [ipv4, ipv6] = ctx.add_path;
    let add_path = match family {
        Family::Ipv4 => ipv4,
        Family::Ipv6 => ipv6,
    };
    Nlri::check(bytes, family, add_path).map_err(|error| UpdateError::Mp {
        code,
        reason: MpError::Nlri(error),
    })
}

fn mp_unreach<'a>(
    value: &'a [u8],
    ctx: &DecodeContext,
) -> Result<(AfiSafi, Nlri<'a>), UpdateError> {
    const CODE: u8 = code::MP_UNREACH;
    let short = |_| UpdateError::Mp {
        code: CODE,
        reason: MpError::Short,
    };
    let (prefixes, pair) = afi_safi(value).map_err(short)?;
    match negotiated(pair, ctx) {
        Some(family) => Ok((pair, mp_nlri(CODE, prefixes, family, ctx)?)),
        None => Ok((pair, Nlri::ignored())),
    }
}

/// Family, next hop (`None`: not one to send packets to) and prefixes. What follows the family of
/// one that was not negotiated is not looked at: nothing of it can be used, nothing of it can harm.
fn mp_reach<'a>(
    value: &'a [u8],
    ctx: &DecodeContext,
) -> Result<(AfiSafi, Option<NextHop>, Nlri<'a>), UpdateError> {
    const CODE: u8 = code::MP_REACH;
    let fault = |reason| UpdateError::Mp { code: CODE, reason };
    let (value, pair) = afi_safi(value).map_err(|_| fault(MpError::Short))?;
    let Some(family) = negotiated(pair, ctx) else {
        return Ok((pair, Some(NO_NEXT_HOP), Nlri::ignored()));
    };
    let parsed: Parsed<'_, (&[u8], u8)> = (length_data(be_u8), be_u8).parse(value);
    // The octet after the next hop once counted SNPAs and is ignored (RFC 4760 §3).
    let (prefixes, (field, _reserved)) = parsed.map_err(|_| fault(MpError::Short))?;
    let next_hop =
        next_hop::parse_field(family, field, (ctx.extended_next_hop, ctx.beside)).map_err(fault)?;
    Ok((pair, next_hop, mp_nlri(CODE, prefixes, family, ctx)?))
}

/// What a walk over attribute headers tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttributeScan<'a> {
    /// The block is a whole number of attributes and holds neither MP attribute twice. If not, or if
    /// the flags of an MP attribute are wrong, only [`decode`] knows what to do.
    pub well_formed: bool,
    /// The value of MP_REACH_NLRI.
    pub mp_reach: Option<&'a [u8]>,
    /// The value of MP_UNREACH_NLRI.
    pub mp_unreach: Option<&'a [u8]>,
    /// The block without MP_REACH_NLRI, if that can be had in one piece: the whole block if there is
    /// none, what follows or precedes it if it is first (as RFC 7606 §5.1 wants) or last. It is the
    /// key for a cache of parsed blocks, together with whether MP_REACH_NLRI was there.
    pub others: Option<&'a [u8]>,
}

/// Walks attribute headers without reading values.
pub fn scan_attributes(attributes: &[u8]) -> AttributeScan<'_> {
    let mut scan = AttributeScan {
        well_formed: true,
        mp_reach: None,
        mp_unreach: None,
        others: Some(attributes),
    };
    let mut walk = RawAttributes::new(attributes);
    let mut before = attributes.len();
    while let Some(attribute) = walk.next() {
        let after = walk.rest();
        let Ok(attribute) = attribute else {
            scan.well_formed = false;
            break;
        };
        let slot = match attribute.code {
            code::MP_REACH => {
                scan.others = if before == attributes.len() {
                    Some(after)
                } else if after.is_empty() {
                    attributes.get(..attributes.len() - before)
                } else {
                    None
                };
                Some(&mut scan.mp_reach)
            }
            code::MP_UNREACH => Some(&mut scan.mp_unreach),
            _ => None,
        };
        if let Some(slot) = slot {
            let twice = slot.replace(attribute.value).is_some();
            if twice || attribute.flags & 0xC0 != 0x80 {
                scan.well_formed = false;
            }
        }
        before = after.len();
    }
    scan
}

/// Decodes the value of MP_REACH_NLRI alone, for a caller that knows the other attributes already.
///
/// # Errors
/// A value that can't be read. `Ok(None)`: the next hop is none that packets can be sent to; the
/// caller decodes the whole UPDATE then and learns of the treatment there.
pub fn decode_mp_reach<'a>(
    value: &'a [u8],
    ctx: &DecodeContext,
) -> Result<Option<MpReach<'a>>, UpdateError> {
    let (family, next_hop, nlri) = mp_reach(value, ctx)?;
    Ok(next_hop.map(|next_hop| MpReach {
        family,
        next_hop,
        nlri,
    }))
}

/// Decodes the value of MP_UNREACH_NLRI alone.
///
/// # Errors
/// A value that can't be read.
pub fn decode_mp_unreach<'a>(
    value: &'a [u8],
    ctx: &DecodeContext,
) -> Result<(AfiSafi, Nlri<'a>), UpdateError> {
    mp_unreach(value, ctx)
}
