//! UPDATE (RFC 4271 §4.3, RFC 4760, RFC 7606, RFC 7911): routes in, routes out.
//!
//! Decoding allocates for attributes only; prefixes stay in the message and are read by
//! [`Nlri::iter`]. What ends the session is an [`UpdateError`]; what costs routes or attributes is in
//! [`Update::faults`]. Nothing here knows whether a route is wanted.

mod decode;
mod encode;
mod nlri;

pub use decode::{
    AttributeScan, RawUpdate, decode, decode_mp_reach, decode_mp_unreach, scan_attributes,
};
pub use encode::{Announce, end_of_rib, write_announce, write_withdraw};
pub use nlri::{Nlri, NlriIter, nlri_checked};

use super::attribute::{NextHop, PathAttributes};
pub use super::error::{AttributeFault, EncodeError, FaultKind, Treatment, UpdateError};
use crate::net::AfiSafi;

/// What a session agreed on, as far as an UPDATE's bytes depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DecodeContext {
    /// Both sides have capability 65: AS numbers take four octets.
    pub four_octet_as: bool,
    /// The peer is in another AS.
    pub ebgp: bool,
    /// The peer sends path identifiers, by [`Family::index`](crate::net::Family::index).
    pub add_path: [bool; 2],
    /// The family is negotiated, by [`Family::index`](crate::net::Family::index).
    pub families: [bool; 2],
    /// IPv4 routes may have IPv6 next hops (RFC 8950).
    pub extended_next_hop: bool,
    /// AS_SET is tolerated (RFC 9774 says it should not be).
    pub permit_as_sets: bool,
    /// The peer is on this host, where a loopback address is a next hop like any other of its own.
    pub beside: bool,
}

/// A decoded UPDATE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update<'a> {
    /// Withdrawn routes of the body (IPv4).
    pub withdrawn: Nlri<'a>,
    /// NLRI of the body (IPv4); its next hop is in `attributes`.
    pub announced: Nlri<'a>,
    /// MP_UNREACH_NLRI. The prefixes of a family that is not negotiated are [ignored](Nlri::is_ignored).
    pub mp_withdrawn: Option<(AfiSafi, Nlri<'a>)>,
    /// MP_REACH_NLRI. The prefixes of a family that is not negotiated are [ignored](Nlri::is_ignored).
    pub mp_announced: Option<MpReach<'a>>,
    /// The attributes; `next_hop` is that of the body's NLRI, `None` without such.
    pub attributes: PathAttributes,
    /// What was wrong, the first [`MAX_FAULTS`] of it.
    pub faults: Vec<AttributeFault>,
    /// The strongest treatment of all faults. [`Treatment::Withdraw`]: both `announced` and
    /// `mp_announced` are to be handled as withdrawn.
    pub treatment: Option<Treatment>,
    /// Whether the message has any path attribute.
    pub has_attributes: bool,
    end_of_rib: Option<AfiSafi>,
}

/// How many faults of one UPDATE are noted; the treatment counts all.
pub const MAX_FAULTS: usize = 32;

/// The content of MP_REACH_NLRI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MpReach<'a> {
    /// The family.
    pub family: AfiSafi,
    /// The next hop; meaningless if the prefixes are ignored.
    pub next_hop: NextHop,
    /// The prefixes.
    pub nlri: Nlri<'a>,
}

impl Update<'_> {
    /// The family whose End-of-RIB marker this is (RFC 4724 §2).
    pub const fn end_of_rib(&self) -> Option<AfiSafi> {
        self.end_of_rib
    }
}
