//! What can be wrong with a peer's bytes, and what each fault means to the peer and to its routes.
//!
//! A *session* error ([`HeaderError`], [`OpenError`], [`UpdateError`], [`RouteRefreshError`]) ends the
//! session, and knows the NOTIFICATION that says so. An [`AttributeFault`] does not: it carries its
//! RFC 7606 [`Treatment`], so that one bad route costs one route. Nothing here knows a socket or a
//! peer's name; whoever logs a fault adds those.

use nom::IResult;
use nom::error::ErrorKind;

use super::frame::{HEADER_LEN, MessageKind};
use super::notification::Notification;

/// The one thing a primitive parser can say: the input ends before the field does.
///
/// The caller knows which field it was, and turns this into the error of its own message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Short;

impl<I> nom::error::ParseError<I> for Short {
    fn from_error_kind(_: I, _: ErrorKind) -> Self {
        Self
    }

    fn append(_: I, _: ErrorKind, _: Self) -> Self {
        Self
    }
}

impl From<nom::Err<Self>> for Short {
    fn from(_: nom::Err<Self>) -> Self {
        Self
    }
}

/// What a parser of this codec gives: the rest and the value.
pub(crate) type Parsed<'a, T> = IResult<&'a [u8], T, Short>;

/// A header that can't be framed (RFC 4271 §6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The marker is not all ones.
    #[error("the marker is not all ones")]
    Marker,
    /// The length is not possible for the type, or above what was agreed.
    #[error("bad message length {0}")]
    Length(u16),
    /// The type is none that dunlin knows.
    #[error("bad message type {0}")]
    Kind(u8),
}

impl HeaderError {
    /// What the peer is told.
    pub fn notification(&self) -> Notification {
        match *self {
            Self::Marker => Notification::new(1, 1, Vec::new()),
            Self::Length(length) => Notification::new(1, 2, length.to_be_bytes().to_vec()),
            Self::Kind(kind) => Notification::new(1, 3, vec![kind]),
        }
    }
}

/// An OPEN that is wrong whatever the configuration says (RFC 4271 §6.2).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The body is shorter than the fixed fields.
    #[error("the OPEN has a body of {0} octets, fewer than its fixed fields")]
    Short(usize),
    /// The version is not 4.
    #[error("BGP version {0} is not supported")]
    Version(u8),
    /// The AS number is 0, in the field or in the capability (RFC 7607).
    #[error("the AS number is 0")]
    AsZero,
    /// The BGP Identifier is 0 (RFC 6286).
    #[error("the BGP Identifier is 0")]
    RouterIdZero,
    /// The hold time is 1 or 2 seconds.
    #[error("the hold time of {0} s is below the minimum of 3 s")]
    HoldTime(u16),
    /// An optional parameter other than capabilities.
    #[error("optional parameter {0} is not supported")]
    Parameter(u8),
    /// The optional parameters or a capability that we need can't be read.
    #[error("malformed optional parameters: {0}")]
    Malformed(&'static str),
    /// Two role capabilities that differ (RFC 9234 §4.2).
    #[error("the peer claims roles {0} and {1} at once")]
    RoleConflict(u8, u8),
}

impl OpenError {
    /// What the peer is told.
    pub fn notification(&self) -> Notification {
        match *self {
            Self::Short(body) => {
                let length = u16::try_from(body.saturating_add(HEADER_LEN)).unwrap_or(u16::MAX);
                HeaderError::Length(length).notification()
            }
            // The highest version that we speak, in network order.
            Self::Version(_) => Notification::new(2, 1, vec![0, 4]),
            Self::AsZero => Notification::new(2, 2, Vec::new()),
            Self::RouterIdZero => Notification::new(2, 3, Vec::new()),
            Self::HoldTime(_) => Notification::new(2, 6, Vec::new()),
            Self::Parameter(_) => Notification::new(2, 4, Vec::new()),
            Self::Malformed(_) => Notification::new(2, 0, Vec::new()),
            Self::RoleConflict(_, _) => Notification::new(2, 11, Vec::new()),
        }
    }
}

/// An UPDATE that ends the session (RFC 4271 §6.3, as RFC 7606 left it).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpdateError {
    /// The two length fields and the message length contradict each other.
    #[error("the UPDATE's inner lengths exceed the message")]
    Lengths,
    /// MP_REACH_NLRI or MP_UNREACH_NLRI twice (RFC 7606 §3g).
    #[error("attribute {0} occurs twice")]
    DuplicateMp(u8),
    /// An error of withdraw class where there is nothing to withdraw (RFC 7606 §5.2).
    #[error("{0}, and there is no reachable NLRI")]
    NothingToWithdraw(AttributeFault),
    /// A prefix of the body that can't be read.
    #[error("malformed NLRI in the body: {0}")]
    Nlri(NlriError),
    /// MP_REACH_NLRI or MP_UNREACH_NLRI that can't be read.
    #[error("malformed attribute {code}: {reason}")]
    Mp {
        /// 14 or 15.
        code: u8,
        /// What is wrong.
        reason: MpError,
    },
}

impl UpdateError {
    /// What the peer is told.
    pub fn notification(&self) -> Notification {
        let subcode = match self {
            Self::Lengths | Self::DuplicateMp(_) | Self::NothingToWithdraw(_) => 1,
            Self::Nlri(_) => 10,
            Self::Mp { .. } => 9,
        };
        Notification::new(3, subcode, Vec::new())
    }
}

/// A prefix list that can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NlriError {
    /// A prefix is longer than its address.
    #[error("prefix length {0} is above the family's")]
    PrefixLength(u8),
    /// The last prefix, or its path identifier, is cut off.
    #[error("the last prefix is cut off")]
    Short,
}

/// Why MP_REACH_NLRI or MP_UNREACH_NLRI can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MpError {
    /// The attribute ends before its fixed fields do, or past the attribute block.
    #[error("it is cut off")]
    Short,
    /// A next hop of a length that the family does not have.
    #[error("a next hop of {0} octets")]
    NextHopLength(u8),
    /// Its prefixes.
    #[error("{0}")]
    Nlri(NlriError),
}

/// A ROUTE-REFRESH that ends the session (RFC 7313 §5).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a ROUTE-REFRESH of {} octets", .body.len() + HEADER_LEN)]
pub struct RouteRefreshError {
    /// The body as received.
    pub body: Vec<u8>,
}

impl RouteRefreshError {
    /// What the peer is told: 7/1 with the message, or 1/2 if it is even too short for that.
    pub fn notification(&self) -> Notification {
        let length = self.body.len() + HEADER_LEN;
        let wire_length = u16::try_from(length).unwrap_or(u16::MAX);
        if self.body.len() < 4 {
            return HeaderError::Length(wire_length).notification();
        }
        let mut data = vec![0xFF; 16];
        data.extend_from_slice(&wire_length.to_be_bytes());
        data.push(MessageKind::RouteRefresh.code());
        data.extend_from_slice(&self.body);
        Notification::new(7, 1, data)
    }
}

/// What a fault costs (RFC 7606 §2); the stronger one is the greater one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Treatment {
    /// Attribute discard: the attribute is dropped, the routes stay.
    Discard,
    /// Treat-as-withdraw: the routes of this UPDATE are handled as withdrawn.
    Withdraw,
}

impl core::fmt::Display for Treatment {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Discard => "attribute discard",
            Self::Withdraw => "treat as withdraw",
        })
    }
}

/// What is wrong with a path attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum FaultKind {
    /// The Optional or Transitive bit contradicts the type.
    #[error("flags {0:#04x} do not fit the type")]
    Flags(u8),
    /// The length is none that the type can have.
    #[error("length {0} does not fit the type")]
    Length(usize),
    /// The value is none that the type can have.
    #[error("invalid value")]
    Value,
    /// The attribute runs past the attribute block, or stray octets are left at its end.
    #[error("past the end of the attributes")]
    Overrun,
    /// A second one of its type; the first is kept.
    #[error("occurs again")]
    Duplicate,
    /// Mandatory and not there.
    #[error("missing")]
    Missing,
    /// Unknown, but claims to be well-known.
    #[error("unknown well-known attribute")]
    UnknownWellKnown,
    /// An AS path segment of an unknown kind, without numbers, or cut off.
    #[error("malformed AS path segment")]
    Segment,
    /// Not allowed from this kind of peer.
    #[error("not expected from this peer")]
    Unexpected,
    /// AS 0 (RFC 7607).
    #[error("holds AS 0")]
    AsZero,
    /// AS_SET or AS_CONFED_SET (RFC 9774), or confederation segments from outside (RFC 5065 §5).
    #[error("holds an AS_SET or confederation segment")]
    ForbiddenSegment,
    /// More AS numbers than dunlin carries on.
    #[error("an AS path of {0} numbers is too long")]
    PathTooLong(usize),
    /// A next hop that no packet can be sent to.
    #[error("unusable next hop")]
    NextHop,
    /// Prefixes outside the unicast space, which were skipped (RFC 4271 §6.3).
    #[error("prefixes outside the unicast space: {0}")]
    NlriSkipped(usize),
}

/// One fault of one path attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AttributeFault {
    /// The type code; 0 together with [`FaultKind::NlriSkipped`] stands for the NLRI of the body.
    pub code: u8,
    /// What is wrong.
    pub kind: FaultKind,
    /// What it costs.
    pub treatment: Treatment,
}

impl core::fmt::Display for AttributeFault {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match super::attribute::table::name(self.code) {
            Some(name) => write!(f, "{name} ({}): {}", self.code, self.kind),
            None => write!(f, "attribute {}: {}", self.code, self.kind),
        }
    }
}

/// Something that does not fit into a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The attributes leave no room for even this one prefix (RFC 8654 §4: it is not sent).
    #[error("attributes of {attributes} octets leave no room for a prefix in {max_len}")]
    TooLong {
        /// Octets of attributes.
        attributes: usize,
        /// The limit of the session.
        max_len: usize,
    },
}

/// Stored attribute bytes that are not of [the canonical form](super::attribute::PathAttributes::decode_canonical).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a canonical attribute block")]
pub struct CanonicalError;
