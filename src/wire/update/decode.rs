//! From bytes to an [`Update`].

use super::{DecodeContext, MpReach, Update};
use crate::wire::error::UpdateError;

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
        let _ = body;
        todo!()
    }
}

/// Decodes an UPDATE.
///
/// # Errors
/// What ends the session even under RFC 7606.
pub fn decode<'a>(raw: RawUpdate<'a>, ctx: &DecodeContext) -> Result<Update<'a>, UpdateError> {
    let _ = (raw, ctx);
    todo!()
}

/// What a walk over attribute headers tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttributeScan<'a> {
    /// The block is a whole number of attributes and holds neither MP attribute twice.
    pub well_formed: bool,
    /// The value of MP_REACH_NLRI.
    pub mp_reach: Option<&'a [u8]>,
    /// The value of MP_UNREACH_NLRI.
    pub mp_unreach: Option<&'a [u8]>,
    /// If MP_REACH_NLRI is the *first* attribute, as RFC 7606 §5.1 wants it, the block after it;
    /// without MP_REACH_NLRI the whole block. Key for a cache of parsed blocks.
    pub others: Option<&'a [u8]>,
}

/// Walks attribute headers without reading values.
pub fn scan_attributes(attributes: &[u8]) -> AttributeScan<'_> {
    let _ = attributes;
    todo!()
}

/// Decodes the value of MP_REACH_NLRI alone, for a caller that knows the other attributes already.
///
/// # Errors
/// A value that can't be read. A next hop that no packet can be sent to gives `None`: the caller
/// decodes the whole UPDATE then, and learns of the treatment there.
pub fn decode_mp_reach<'a>(
    value: &'a [u8],
    ctx: &DecodeContext,
) -> Result<Option<MpReach<'a>>, UpdateError> {
    let _ = (value, ctx);
    todo!()
}
