//! Capabilities (RFC 5492), known ones as values, unknown ones byte for byte.
//!
//! A malformed capability is as good as an unknown one, unless a session without it would misread
//! every UPDATE. What a capability means for the session is not decided here.

use nom::Parser;
use nom::combinator::all_consuming;
use nom::multi::many0;
use nom::number::complete::{be_u8, be_u16, be_u24, be_u32};

use super::error::{OpenError, Parsed, Short};
use super::notification::counted;
use crate::net::{AfiSafi, Asn};

/// Registered codes.
mod code {
    pub(super) const MULTIPROTOCOL: u8 = 1;
    pub(super) const ROUTE_REFRESH: u8 = 2;
    pub(super) const EXTENDED_NEXT_HOP: u8 = 5;
    pub(super) const EXTENDED_MESSAGE: u8 = 6;
    pub(super) const ROLE: u8 = 9;
    pub(super) const GRACEFUL_RESTART: u8 = 64;
    pub(super) const FOUR_OCTET_AS: u8 = 65;
    pub(super) const ADD_PATH: u8 = 69;
    pub(super) const ENHANCED_ROUTE_REFRESH: u8 = 70;
    pub(super) const LONG_LIVED_GRACEFUL_RESTART: u8 = 71;
    pub(super) const FQDN: u8 = 73;
}

/// The longest value.
const MAX_VALUE: usize = 255;
/// The longest host or domain name that is sent, so that both fit.
const MAX_NAME: usize = 126;

/// One capability of an OPEN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Capability {
    /// 1: multiprotocol (RFC 4760).
    Multiprotocol(AfiSafi),
    /// 2: route refresh (RFC 2918).
    RouteRefresh,
    /// 5: extended next hop (RFC 8950): (NLRI family, next-hop AFI).
    ExtendedNextHop(Vec<(AfiSafi, u16)>),
    /// 6: extended messages (RFC 8654).
    ExtendedMessage,
    /// 9: role (RFC 9234).
    Role(u8),
    /// 64: graceful restart (RFC 4724, RFC 8538).
    GracefulRestart {
        /// R: the sender has restarted.
        restarting: bool,
        /// N: a NOTIFICATION keeps routes (RFC 8538).
        notification: bool,
        /// Restart time in seconds, 12 bits.
        time: u16,
        /// (family, F: forwarding state kept).
        families: Vec<(AfiSafi, bool)>,
    },
    /// 65: four-octet AS numbers (RFC 6793).
    FourOctetAs(Asn),
    /// 69: Add-Path (RFC 7911): (family, 1 receive, 2 send, 3 both).
    AddPath(Vec<(AfiSafi, u8)>),
    /// 70: enhanced route refresh (RFC 7313).
    EnhancedRouteRefresh,
    /// 71: long-lived graceful restart (RFC 9494): (family, F, stale time in seconds, 24 bits).
    LongLivedGracefulRestart(Vec<(AfiSafi, bool, u32)>),
    /// 73: FQDN (draft-walton-bgp-hostname-capability).
    Fqdn {
        /// Host name.
        host: Vec<u8>,
        /// Domain name.
        domain: Vec<u8>,
    },
    /// Any other code.
    Unknown {
        /// The code.
        code: u8,
        /// The value.
        value: Vec<u8>,
    },
}

impl Capability {
    /// The code on the wire.
    pub const fn code(&self) -> u8 {
        match self {
            Self::Multiprotocol(_) => code::MULTIPROTOCOL,
            Self::RouteRefresh => code::ROUTE_REFRESH,
            Self::ExtendedNextHop(_) => code::EXTENDED_NEXT_HOP,
            Self::ExtendedMessage => code::EXTENDED_MESSAGE,
            Self::Role(_) => code::ROLE,
            Self::GracefulRestart { .. } => code::GRACEFUL_RESTART,
            Self::FourOctetAs(_) => code::FOUR_OCTET_AS,
            Self::AddPath(_) => code::ADD_PATH,
            Self::EnhancedRouteRefresh => code::ENHANCED_ROUTE_REFRESH,
            Self::LongLivedGracefulRestart(_) => code::LONG_LIVED_GRACEFUL_RESTART,
            Self::Fqdn { .. } => code::FQDN,
            Self::Unknown { code, .. } => *code,
        }
    }

    /// Appends code, length and value. Lists are cut at the 255 octets that a value can have.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.code(), 0]);
        let start = out.len();
        self.encode_value(out);
        out.truncate(start + self.whole_items(out.len() - start));
        let len = u8::try_from(out.len() - start).unwrap_or(u8::MAX);
        if let Some(field) = out.get_mut(start - 1) {
            *field = len;
        }
    }

    /// How much of a value of `len` octets fits, without half a tuple.
    fn whole_items(&self, len: usize) -> usize {
        let (head, item) = match self {
            Self::ExtendedNextHop(_) => (0, 6),
            Self::GracefulRestart { .. } => (2, 4),
            Self::AddPath(_) => (0, 4),
            Self::LongLivedGracefulRestart(_) => (0, 7),
            Self::Multiprotocol(_)
            | Self::RouteRefresh
            | Self::ExtendedMessage
            | Self::Role(_)
            | Self::FourOctetAs(_)
            | Self::EnhancedRouteRefresh
            | Self::Fqdn { .. }
            | Self::Unknown { .. } => (0, 1),
        };
        if len <= MAX_VALUE {
            len
        } else {
            head + (MAX_VALUE - head) / item * item
        }
    }

    fn encode_value(&self, out: &mut Vec<u8>) {
        match self {
            Self::RouteRefresh | Self::ExtendedMessage | Self::EnhancedRouteRefresh => {}
            Self::Multiprotocol(family) => {
                out.extend_from_slice(&family.afi.to_be_bytes());
                out.extend_from_slice(&[0, family.safi]);
            }
            Self::ExtendedNextHop(tuples) => {
                for (family, next_hop_afi) in tuples {
                    out.extend_from_slice(&family.afi.to_be_bytes());
                    out.extend_from_slice(&u16::from(family.safi).to_be_bytes());
                    out.extend_from_slice(&next_hop_afi.to_be_bytes());
                }
            }
            Self::Role(role) => out.push(*role),
            Self::GracefulRestart {
                restarting,
                notification,
                time,
                families,
            } => {
                let flags = u16::from(*restarting) << 15 | u16::from(*notification) << 14;
                out.extend_from_slice(&(flags | time & 0x0FFF).to_be_bytes());
                for (family, forwarding) in families {
                    push_family(out, *family);
                    out.push(u8::from(*forwarding) << 7);
                }
            }
            Self::FourOctetAs(asn) => out.extend_from_slice(&asn.0.to_be_bytes()),
            Self::AddPath(tuples) => {
                for (family, mode) in tuples {
                    push_family(out, *family);
                    out.push(*mode);
                }
            }
            Self::LongLivedGracefulRestart(tuples) => {
                for (family, forwarding, time) in tuples {
                    push_family(out, *family);
                    let [_, stale @ ..] = time.to_be_bytes();
                    out.push(u8::from(*forwarding) << 7);
                    out.extend_from_slice(&stale);
                }
            }
            Self::Fqdn { host, domain } => {
                for name in [host, domain] {
                    let name = name.get(..MAX_NAME).unwrap_or(name);
                    out.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
                    out.extend_from_slice(name);
                }
            }
            Self::Unknown { value, .. } => out.extend_from_slice(value),
        }
    }

    /// Reads the value of one capability.
    ///
    /// # Errors
    /// Only for the two that a session can't be set up without: multiprotocol and four-octet AS of
    /// a wrong length. Any other that is malformed comes back as [`Capability::Unknown`], which is
    /// how it is ignored (RFC 5492 §3 has no error for it).
    pub fn decode(code: u8, value: &[u8]) -> Result<Self, OpenError> {
        let known = match code {
            code::MULTIPROTOCOL => {
                let family = whole(value, afi_reserved_safi).ok_or(OpenError::Malformed(
                    "multiprotocol capability of a bad length",
                ))?;
                Some(Self::Multiprotocol(family))
            }
            code::FOUR_OCTET_AS => {
                let asn = whole(value, be_u32).ok_or(OpenError::Malformed(
                    "four-octet AS capability of a bad length",
                ))?;
                Some(Self::FourOctetAs(Asn(asn)))
            }
            code::ROUTE_REFRESH => value.is_empty().then_some(Self::RouteRefresh),
            code::EXTENDED_MESSAGE => value.is_empty().then_some(Self::ExtendedMessage),
            code::ENHANCED_ROUTE_REFRESH => value.is_empty().then_some(Self::EnhancedRouteRefresh),
            code::EXTENDED_NEXT_HOP => {
                whole(value, many0(extended_next_hop_tuple)).map(Self::ExtendedNextHop)
            }
            code::ROLE => whole(value, be_u8).map(Self::Role),
            code::GRACEFUL_RESTART => whole(value, graceful_restart),
            code::ADD_PATH => whole(value, many0((family, be_u8))).map(|mut tuples| {
                // RFC 7911 §4: a mode that nobody has defined is to be ignored.
                tuples.retain(|(_, mode)| (1..=3).contains(mode));
                Self::AddPath(tuples)
            }),
            code::LONG_LIVED_GRACEFUL_RESTART => {
                whole(value, many0(long_lived_tuple)).map(Self::LongLivedGracefulRestart)
            }
            code::FQDN => whole(value, (counted, counted)).map(|(host, domain)| Self::Fqdn {
                host: host.to_vec(),
                domain: domain.to_vec(),
            }),
            _ => None,
        };
        Ok(known.unwrap_or_else(|| Self::Unknown {
            code,
            value: value.to_vec(),
        }))
    }
}

/// The value of `parser` if it takes all of `input`.
fn whole<'a, T>(
    input: &'a [u8],
    parser: impl Parser<&'a [u8], Output = T, Error = Short>,
) -> Option<T> {
    all_consuming(parser)
        .parse(input)
        .ok()
        .map(|(_, value)| value)
}

fn family(input: &[u8]) -> Parsed<'_, AfiSafi> {
    (be_u16, be_u8)
        .map(|(afi, safi)| AfiSafi { afi, safi })
        .parse(input)
}

/// The reserved octet is ignored on receipt (RFC 4760 §8).
fn afi_reserved_safi(input: &[u8]) -> Parsed<'_, AfiSafi> {
    (be_u16, be_u8, be_u8)
        .map(|(afi, _reserved, safi)| AfiSafi { afi, safi })
        .parse(input)
}

/// RFC 8950 §4 gives the SAFI two octets; one above 255 fits no family and fails.
fn extended_next_hop_tuple(input: &[u8]) -> Parsed<'_, (AfiSafi, u16)> {
    let (rest, (afi, safi, next_hop_afi)) = (be_u16, be_u16, be_u16).parse(input)?;
    let safi = u8::try_from(safi).map_err(|_| nom::Err::Error(Short))?;
    Ok((rest, (AfiSafi { afi, safi }, next_hop_afi)))
}

fn graceful_restart(input: &[u8]) -> Parsed<'_, Capability> {
    let (input, flags_time) = be_u16(input)?;
    let tuple = (family, be_u8).map(|(family, flags)| (family, flags & 0x80 != 0));
    let (input, families) = many0(tuple).parse(input)?;
    let value = Capability::GracefulRestart {
        restarting: flags_time & 0x8000 != 0,
        notification: flags_time & 0x4000 != 0,
        time: flags_time & 0x0FFF,
        families,
    };
    Ok((input, value))
}

fn long_lived_tuple(input: &[u8]) -> Parsed<'_, (AfiSafi, bool, u32)> {
    (family, be_u8, be_u24)
        .map(|(family, flags, time)| (family, flags & 0x80 != 0, time))
        .parse(input)
}

fn push_family(out: &mut Vec<u8>, family: AfiSafi) {
    out.extend_from_slice(&family.afi.to_be_bytes());
    out.push(family.safi);
}
