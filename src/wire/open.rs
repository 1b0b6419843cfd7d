//! OPEN (RFC 4271 §4.2, RFC 5492, RFC 9072).
//!
//! Decoding refuses what no configuration could accept. Whether the AS number is the expected one,
//! and what of the capabilities is used, the session decides.

use nom::Parser;
use nom::multi::length_data;
use nom::number::complete::{be_u8, be_u16, be_u32};

use super::capability::Capability;
use super::error::{OpenError, Parsed};
use super::frame::{HEADER_LEN, MAX_LEN, MessageKind, begin_message, end_message, put_u16};
use super::notification::escape;
use crate::net::{AfiSafi, Asn, RouterId};

/// The BGP version.
const VERSION: u8 = 4;
/// The optional parameter that holds capabilities.
const PARAMETER_CAPABILITIES: u8 = 2;
/// The type octet that announces the RFC 9072 form.
const EXTENDED: u8 = 255;
/// Octets of the fixed fields.
const FIXED: usize = 10;

/// An OPEN message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// The two-octet AS field: AS_TRANS where the number does not fit.
    pub my_as: u16,
    /// Proposed hold time in seconds.
    pub hold_time: u16,
    /// BGP Identifier.
    pub router_id: RouterId,
    /// All capabilities of all parameters, in order.
    pub capabilities: Vec<Capability>,
}

/// What a peer says about graceful restart (RFC 4724, RFC 8538).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GracefulRestart<'a> {
    /// R: the sender has restarted.
    pub restarting: bool,
    /// N: a NOTIFICATION keeps routes.
    pub notification: bool,
    /// Restart time in seconds.
    pub time: u16,
    /// (family, F: forwarding state kept).
    pub families: &'a [(AfiSafi, bool)],
}

impl Open {
    /// Reads the body of an OPEN.
    ///
    /// # Errors
    /// What is wrong whatever the configuration: see [`OpenError`].
    pub fn decode(body: &[u8]) -> Result<Self, OpenError> {
        let fixed: Parsed<'_, (u8, u16, u16, u32, u8)> =
            (be_u8, be_u16, be_u16, be_u32, be_u8).parse(body);
        let Ok((rest, (version, my_as, hold_time, router_id, len))) = fixed else {
            return Err(OpenError::Short(body.len()));
        };
        // In the order of RFC 4271 §6.2; a peer of another version may mean something else by the rest.
        if version != VERSION {
            return Err(OpenError::Version(version));
        }
        if matches!(hold_time, 1 | 2) {
            return Err(OpenError::HoldTime(hold_time));
        }
        if router_id == 0 {
            return Err(OpenError::RouterIdZero);
        }
        let capabilities = parameters(len, rest)?;
        let open = Self {
            my_as,
            hold_time,
            router_id: RouterId(router_id),
            capabilities,
        };
        if my_as == 0 || open.asn() == Asn::ZERO {
            return Err(OpenError::AsZero);
        }
        open.check_roles()?;
        Ok(open)
    }

    /// The whole message; the RFC 9072 form only if the parameters exceed 255 octets.
    ///
    /// Capabilities that would push it above 4096 octets are left out, the last ones first.
    pub fn encode(&self) -> Vec<u8> {
        // Type and length octets of the extended form included.
        const ROOM: usize = MAX_LEN - HEADER_LEN - FIXED - 6;
        let mut capabilities = Vec::new();
        for capability in &self.capabilities {
            let before = capabilities.len();
            capability.encode(&mut capabilities);
            if capabilities.len() > ROOM {
                capabilities.truncate(before);
                break;
            }
        }
        let mut out = Vec::with_capacity(HEADER_LEN + FIXED + 6 + capabilities.len());
        let start = begin_message(&mut out, MessageKind::Open);
        out.push(VERSION);
        out.extend_from_slice(&self.my_as.to_be_bytes());
        out.extend_from_slice(&self.hold_time.to_be_bytes());
        out.extend_from_slice(&self.router_id.0.to_be_bytes());
        match u8::try_from(capabilities.len()) {
            Ok(0) => out.push(0),
            Ok(len @ 1..=253) => {
                out.extend_from_slice(&[len + 2, PARAMETER_CAPABILITIES, len]);
            }
            Ok(_) | Err(_) => {
                out.extend_from_slice(&[EXTENDED, EXTENDED, 0, 0, PARAMETER_CAPABILITIES, 0, 0]);
                let len = u16::try_from(capabilities.len()).unwrap_or(u16::MAX);
                let at = out.len();
                put_u16(&mut out, at - 2, len);
                put_u16(&mut out, at - 5, len.saturating_add(3));
            }
        }
        out.extend_from_slice(&capabilities);
        end_message(&mut out, start);
        out
    }

    /// Whether capability 65 is there (RFC 6793).
    pub fn four_octet_as(&self) -> bool {
        self.capabilities
            .iter()
            .any(|c| matches!(c, Capability::FourOctetAs(_)))
    }

    /// The AS number: capability 65 wins over the two-octet field.
    pub fn asn(&self) -> Asn {
        self.capabilities
            .iter()
            .find_map(|c| {
                if let Capability::FourOctetAs(asn) = c {
                    Some(*asn)
                } else {
                    None
                }
            })
            .unwrap_or(Asn(u32::from(self.my_as)))
    }

    /// The families of the multiprotocol capabilities, each once; IPv4 unicast if there is no such
    /// capability (RFC 4760 §8).
    pub fn families(&self) -> Vec<AfiSafi> {
        let mut families = Vec::new();
        for capability in &self.capabilities {
            if let Capability::Multiprotocol(family) = capability
                && !families.contains(family)
            {
                families.push(*family);
            }
        }
        if families.is_empty() {
            families.push(AfiSafi::IPV4_UNICAST);
        }
        families
    }

    /// Whether capability 2 is there (RFC 2918).
    pub fn route_refresh(&self) -> bool {
        self.capabilities.contains(&Capability::RouteRefresh)
    }

    /// Whether capability 70 is there (RFC 7313).
    pub fn enhanced_route_refresh(&self) -> bool {
        self.capabilities
            .contains(&Capability::EnhancedRouteRefresh)
    }

    /// Whether capability 6 is there (RFC 8654).
    pub fn extended_message(&self) -> bool {
        self.capabilities.contains(&Capability::ExtendedMessage)
    }

    /// Whether the peer takes NLRI of `family` with a next hop of `next_hop_afi` (RFC 8950).
    pub fn extended_next_hop(&self, family: AfiSafi, next_hop_afi: u16) -> bool {
        self.capabilities.iter().any(|c| {
            matches!(c, Capability::ExtendedNextHop(list) if list.contains(&(family, next_hop_afi)))
        })
    }

    /// The role, if the peer has one (RFC 9234).
    pub fn role(&self) -> Option<u8> {
        self.capabilities.iter().find_map(|c| {
            if let Capability::Role(role) = c {
                Some(*role)
            } else {
                None
            }
        })
    }

    /// The Add-Path mode of `family`: 1 receive, 2 send, 3 both, 0 none (RFC 7911).
    ///
    /// The first tuple of a family counts: the RFC is silent, and two different ones make no sense.
    pub fn add_path(&self, family: AfiSafi) -> u8 {
        self.capabilities
            .iter()
            .filter_map(|c| {
                if let Capability::AddPath(list) = c {
                    Some(list)
                } else {
                    None
                }
            })
            .flatten()
            .find(|(f, _)| *f == family)
            .map_or(0, |(_, mode)| *mode)
    }

    /// The graceful restart capability, the last one if there are several (RFC 4724 §3).
    pub fn graceful_restart(&self) -> Option<GracefulRestart<'_>> {
        self.capabilities.iter().rev().find_map(|c| {
            let Capability::GracefulRestart {
                restarting,
                notification,
                time,
                families,
            } = c
            else {
                return None;
            };
            let (restarting, notification, time) = (*restarting, *notification, *time);
            Some(GracefulRestart {
                restarting,
                notification,
                time,
                families,
            })
        })
    }

    /// The long-lived graceful restart tuples (family, F, stale time); none without graceful
    /// restart (RFC 9494 §3.1). The last capability wins, as with graceful restart.
    pub fn long_lived_graceful_restart(&self) -> &[(AfiSafi, bool, u32)] {
        if self.graceful_restart().is_none() {
            return &[];
        }
        let mut newest_first = self.capabilities.iter().rev();
        newest_first
            .find_map(|c| {
                if let Capability::LongLivedGracefulRestart(list) = c {
                    Some(list.as_slice())
                } else {
                    None
                }
            })
            .unwrap_or_default()
    }

    /// Host and domain name as printable text, whatever the peer put into them.
    pub fn fqdn(&self) -> Option<(String, String)> {
        self.capabilities.iter().find_map(|c| {
            if let Capability::Fqdn { host, domain } = c {
                Some((escape(host), escape(domain)))
            } else {
                None
            }
        })
    }

    /// RFC 9234 §4.2: the same role twice is fine, two roles are not.
    fn check_roles(&self) -> Result<(), OpenError> {
        let Some(first) = self.role() else {
            return Ok(());
        };
        for capability in &self.capabilities {
            if let Capability::Role(role) = capability
                && *role != first
            {
                return Err(OpenError::RoleConflict(first, *role));
            }
        }
        Ok(())
    }
}

/// The capabilities in the optional parameters; `len` is the one-octet length before them.
fn parameters(len: u8, input: &[u8]) -> Result<Vec<Capability>, OpenError> {
    // RFC 9072 §2: a first type of 255 announces the extended form, whatever the length octet says
    // as long as it is not 0.
    if len != 0 && input.first() == Some(&EXTENDED) {
        let wide: Parsed<'_, &[u8]> = (be_u8, length_data(be_u16))
            .map(|(_, data)| data)
            .parse(input);
        let Ok(([], mut list)) = wide else {
            return Err(OpenError::Malformed("extended parameter length"));
        };
        return read_parameters(&mut list, |i| (be_u8, length_data(be_u16)).parse(i));
    }
    if usize::from(len) != input.len() {
        return Err(OpenError::Malformed("parameter length"));
    }
    let mut list = input;
    read_parameters(&mut list, |i| (be_u8, length_data(be_u8)).parse(i))
}

fn read_parameters<'a>(
    list: &mut &'a [u8],
    parameter: impl Fn(&'a [u8]) -> Parsed<'a, (u8, &'a [u8])>,
) -> Result<Vec<Capability>, OpenError> {
    let mut capabilities = Vec::new();
    while !list.is_empty() {
        let Ok((after, (kind, mut value))) = parameter(list) else {
            return Err(OpenError::Malformed("a parameter past the end"));
        };
        *list = after;
        if kind != PARAMETER_CAPABILITIES {
            return Err(OpenError::Parameter(kind));
        }
        while !value.is_empty() {
            let one: Parsed<'_, (u8, &[u8])> = (be_u8, length_data(be_u8)).parse(value);
            let Ok((after, (code, data))) = one else {
                return Err(OpenError::Malformed("a capability past the end"));
            };
            value = after;
            capabilities.push(Capability::decode(code, data)?);
        }
    }
    Ok(capabilities)
}
