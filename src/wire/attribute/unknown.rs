//! Attributes without a row in the [table](super::table), and those that are only passed on.
//!
//! RFC 4271 §5: unknown optional transitive attributes are kept and sent on with the Partial bit,
//! unknown optional non-transitive ones are dropped. An unknown attribute that claims to be
//! *well-known* (Optional bit 0) ends the session by RFC 4271 §6.3; here it costs the routes of its
//! UPDATE (treat-as-withdraw, as BIRD does): such an attribute travels across speakers that
//! do not look, and one route of one origin must not take down a node's sessions.
//!
//! The Partial bit of attributes that dunlin does know is not kept: a value has no place for it.

use super::table::{code, flag};
use super::{UnknownAttribute, tlv};
use crate::wire::error::FaultKind;

/// What becomes of an unknown attribute: kept, dropped, or a fault of withdraw class.
pub(super) fn unknown(
    flags: u8,
    code: u8,
    value: &[u8],
) -> Result<Option<UnknownAttribute>, FaultKind> {
    if flags & flag::OPTIONAL == 0 {
        return Err(FaultKind::UnknownWellKnown);
    }
    if flags & flag::TRANSITIVE == 0 {
        return Ok(None);
    }
    Ok(Some(kept(flags | flag::PARTIAL, code, value)))
}

/// Checks an attribute of the table that dunlin does not use. Its flags and length are right.
pub(super) fn pass_on(
    flags: u8,
    code: u8,
    value: &[u8],
) -> Result<Option<UnknownAttribute>, FaultKind> {
    match code {
        code::TUNNEL_ENCAPSULATION => tlv::tunnel_encapsulation(value)?,
        code::LINK_STATE => tlv::link_state(value)?,
        code::PREFIX_SID => tlv::prefix_sid(value)?,
        _ => {}
    }
    if flags & flag::TRANSITIVE == 0 {
        return Ok(None);
    }
    // Communities are understood as such; the others are passed on like unknown ones.
    let understood = code == code::IPV6_EXTENDED_COMMUNITIES;
    let partial = if understood {
        flags & flag::PARTIAL
    } else {
        flag::PARTIAL
    };
    Ok(Some(kept(flags | partial, code, value)))
}

fn kept(flags: u8, code: u8, value: &[u8]) -> UnknownAttribute {
    let bits = flag::OPTIONAL | flag::TRANSITIVE | flag::PARTIAL;
    UnknownAttribute {
        flags: flags & bits,
        code,
        value: value.to_vec(),
    }
}
