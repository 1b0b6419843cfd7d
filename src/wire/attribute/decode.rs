//! The attribute block of a peer's UPDATE, with the error handling of RFC 7606.
//!
//! One pass over the block, whatever the peer put into it: each attribute is met once, the first of
//! a type counts, and the position is always that of the block's own lengths. Values that depend on
//! one another (AS_PATH and AS4_PATH) are joined after the pass, so their order does not matter.
//! Prefixes are not read here.

use nom::Parser;
use nom::number::complete::{be_u8, be_u16};

use super::table::{self, Rule, code, flag};
use super::{Aggregator, PathAttributes, as_path, next_hop, unknown, value};
use crate::net::Asn;
use crate::wire::error::{AttributeFault, FaultKind, MpError, Parsed, Treatment, UpdateError};
use crate::wire::update::{DecodeContext, MAX_FAULTS};

/// One attribute as it lies in the block.
#[derive(Debug, Clone, Copy)]
pub(in crate::wire) struct RawAttribute<'a> {
    pub(in crate::wire) flags: u8,
    pub(in crate::wire) code: u8,
    pub(in crate::wire) value: &'a [u8],
}

/// Flags, type and length.
fn header(input: &[u8]) -> Parsed<'_, (u8, u8, usize)> {
    let (input, (flags, code)) = (be_u8, be_u8).parse(input)?;
    let (input, len) = if flags & flag::EXTENDED == 0 {
        be_u8.map(usize::from).parse(input)?
    } else {
        be_u16.map(usize::from).parse(input)?
    };
    Ok((input, (flags, code, len)))
}

/// The attributes of a block, one by one; an error names the type that overruns, if it is readable.
pub(in crate::wire) struct RawAttributes<'a> {
    block: &'a [u8],
}

impl<'a> RawAttributes<'a> {
    pub(in crate::wire) const fn new(block: &'a [u8]) -> Self {
        Self { block }
    }

    /// What has not been read yet.
    pub(in crate::wire) const fn rest(&self) -> &'a [u8] {
        self.block
    }
}

impl<'a> Iterator for RawAttributes<'a> {
    type Item = Result<RawAttribute<'a>, Option<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.block.is_empty() {
            return None;
        }
        let block = core::mem::take(&mut self.block);
        let Ok((rest, (flags, code, len))) = header(block) else {
            return Some(Err(block.get(1).copied()));
        };
        let Some((value, rest)) = rest.split_at_checked(len) else {
            return Some(Err(Some(code)));
        };
        self.block = rest;
        Some(Ok(RawAttribute { flags, code, value }))
    }
}

/// What has gone wrong so far.
#[derive(Debug, Default)]
pub(in crate::wire) struct Faults {
    /// The first [`MAX_FAULTS`].
    pub(in crate::wire) noted: Vec<AttributeFault>,
    /// The first one of withdraw class, which decides what the peer is told if it can't be had.
    pub(in crate::wire) withdraw: Option<AttributeFault>,
    pub(in crate::wire) strongest: Option<Treatment>,
}

impl Faults {
    pub(in crate::wire) fn note(&mut self, code: u8, kind: FaultKind, treatment: Treatment) {
        let fault = AttributeFault {
            code,
            kind,
            treatment,
        };
        if self.noted.len() < MAX_FAULTS {
            self.noted.push(fault);
        }
        if treatment == Treatment::Withdraw && self.withdraw.is_none() {
            self.withdraw = Some(fault);
        }
        self.strongest = self.strongest.max(Some(treatment));
    }
}

/// A block that has been read.
pub(in crate::wire) struct Block<'a> {
    pub(in crate::wire) attributes: PathAttributes,
    pub(in crate::wire) faults: Faults,
    /// The value of MP_REACH_NLRI.
    pub(in crate::wire) mp_reach: Option<&'a [u8]>,
    /// The value of MP_UNREACH_NLRI.
    pub(in crate::wire) mp_unreach: Option<&'a [u8]>,
    /// How many attributes there were.
    pub(in crate::wire) count: usize,
    seen: [u128; 2],
    as_path: Option<&'a [u8]>,
    as4_path: Option<&'a [u8]>,
    as4_aggregator: Option<Aggregator>,
}

/// Reads the block of an UPDATE; `body_nlri`: it has NLRI in its body, to which NEXT_HOP belongs.
///
/// # Errors
/// MP_REACH_NLRI or MP_UNREACH_NLRI twice or past the end: their prefixes can't be known.
pub(in crate::wire) fn decode<'a>(
    block: &'a [u8],
    ctx: &DecodeContext,
    body_nlri: bool,
) -> Result<Block<'a>, UpdateError> {
    let mut out = Block {
        attributes: PathAttributes::default(),
        faults: Faults::default(),
        mp_reach: None,
        mp_unreach: None,
        count: 0,
        seen: [0; 2],
        as_path: None,
        as4_path: None,
        as4_aggregator: None,
    };
    for attribute in RawAttributes::new(block) {
        out.count += 1;
        match attribute {
            Ok(attribute) => out.attribute(attribute, ctx, body_nlri)?,
            Err(Some(code @ (code::MP_REACH | code::MP_UNREACH))) => {
                return Err(UpdateError::Mp {
                    code,
                    reason: MpError::Short,
                });
            }
            // RFC 7606 §4: the NLRI is still where the Total Path Attribute Length says.
            Err(code) => {
                out.faults
                    .note(code.unwrap_or(0), FaultKind::Overrun, Treatment::Withdraw);
            }
        }
    }
    out.join_as_path(ctx);
    out.attributes
        .unknown
        .sort_unstable_by_key(|attribute| attribute.code);
    Ok(out)
}

impl<'a> Block<'a> {
    /// Whether an attribute of the type was there, malformed or not.
    pub(in crate::wire) fn has(&self, code: u8) -> bool {
        let [low, high] = self.seen;
        let half = if code < 128 { low } else { high };
        half >> (code % 128) & 1 == 1
    }

    fn mark(&mut self, code: u8) {
        let [low, high] = &mut self.seen;
        let half = if code < 128 { low } else { high };
        *half |= 1 << (code % 128);
    }

    fn attribute(
        &mut self,
        raw: RawAttribute<'a>,
        ctx: &DecodeContext,
        body_nlri: bool,
    ) -> Result<(), UpdateError> {
        let RawAttribute { flags, code, value } = raw;
        if self.has(code) {
            if matches!(code, code::MP_REACH | code::MP_UNREACH) {
                return Err(UpdateError::DuplicateMp(code));
            }
            self.faults
                .note(code, FaultKind::Duplicate, Treatment::Discard);
            return Ok(());
        }
        self.mark(code);
        let Some(rule) = table::lookup(code) else {
            match unknown::unknown(flags, code, value) {
                Ok(kept) => self.attributes.unknown.extend(kept),
                Err(kind) => self.faults.note(code, kind, Treatment::Withdraw),
            }
            return Ok(());
        };
        if let Err((kind, treatment)) = admit(rule, raw, ctx) {
            self.faults.note(code, kind, treatment);
            // The prefixes of an MP attribute are needed whatever its flags are.
            if !matches!(code, code::MP_REACH | code::MP_UNREACH) {
                return Ok(());
            }
        }
        // Without NLRI in the body NEXT_HOP says nothing, whatever it holds (RFC 4760 §3).
        if code == code::NEXT_HOP && !body_nlri {
            return Ok(());
        }
        if let Err(kind) = self.store(raw, ctx) {
            self.faults.note(code, kind, rule.malformed);
        }
        Ok(())
    }

    fn store(&mut self, raw: RawAttribute<'a>, ctx: &DecodeContext) -> Result<(), FaultKind> {
        let RawAttribute { flags, code, value } = raw;
        match code {
            code::AS_PATH => self.as_path = Some(value),
            code::NEXT_HOP => {
                let next_hop = next_hop::parse_ipv4(value, ctx.beside).ok_or(FaultKind::NextHop)?;
                self.attributes.next_hop = Some(next_hop);
            }
            code::AGGREGATOR => {
                let aggregator = value::aggregator(value, ctx.four_octet_as)?;
                self.attributes.aggregator = Some(aggregator);
            }
            code::MP_REACH => self.mp_reach = Some(value),
            code::MP_UNREACH => self.mp_unreach = Some(value),
            code::AS4_PATH => self.as4_path = Some(value),
            code::AS4_AGGREGATOR => self.as4_aggregator = Some(value::aggregator(value, true)?),
            _ => {
                if !value::store(&mut self.attributes, code, value)? {
                    self.attributes
                        .unknown
                        .extend(unknown::pass_on(flags, code, value)?);
                }
            }
        }
        Ok(())
    }

    /// AS_PATH with AS4_PATH, AGGREGATOR with AS4_AGGREGATOR (RFC 6793 §4.2.3).
    fn join_as_path(&mut self, ctx: &DecodeContext) {
        if let (Some(aggregator), Some(as4)) =
            (&mut self.attributes.aggregator, self.as4_aggregator)
        {
            if aggregator.asn == Asn::TRANS {
                *aggregator = as4;
            } else {
                // An old speaker has aggregated anew; what lies behind it is history. Without
                // AS4_AGGREGATOR there is no such sign: the first aggregator may be an old one.
                self.as4_path = None;
            }
        }
        let Some(value) = self.as_path else { return };
        let joined = as_path::parse(value, ctx.four_octet_as).and_then(|path| {
            as_path::check(&path, ctx.permit_as_sets)?;
            Ok(path)
        });
        let path = match joined {
            Ok(path) => path,
            Err(kind) => return self.faults.note(code::AS_PATH, kind, Treatment::Withdraw),
        };
        self.attributes.as_path = match self.read_as4_path() {
            Some(as4) => as_path::merge(path, as4),
            None => path,
        };
        if let Err(kind) = as_path::check(&self.attributes.as_path, ctx.permit_as_sets) {
            self.faults.note(code::AS4_PATH, kind, Treatment::Withdraw);
        }
    }

    fn read_as4_path(&mut self) -> Option<super::AsPath> {
        let parsed = as_path::parse(self.as4_path?, true).and_then(|path| {
            if path.contains(Asn::ZERO) {
                Err(FaultKind::AsZero)
            } else {
                Ok(path)
            }
        });
        match parsed {
            Ok(path) => Some(path),
            Err(kind) => {
                self.faults.note(code::AS4_PATH, kind, Treatment::Discard);
                None
            }
        }
    }
}

/// Whether the attribute may be here and looks as its rule wants.
fn admit(
    rule: &Rule,
    raw: RawAttribute<'_>,
    ctx: &DecodeContext,
) -> Result<(), (FaultKind, Treatment)> {
    let as4 = matches!(rule.code, code::AS4_PATH | code::AS4_AGGREGATOR);
    if rule.internal_only && ctx.ebgp || as4 && ctx.four_octet_as {
        return Err((FaultKind::Unexpected, Treatment::Discard));
    }
    // RFC 7606 §3c: the Partial bit and the low four bits are not looked at.
    if (raw.flags ^ rule.flags) & (flag::OPTIONAL | flag::TRANSITIVE) != 0 {
        return Err((FaultKind::Flags(raw.flags), rule.bad_flags));
    }
    if !rule.length.accepts(raw.value.len(), ctx.four_octet_as) {
        return Err((FaultKind::Length(raw.value.len()), rule.malformed));
    }
    Ok(())
}
