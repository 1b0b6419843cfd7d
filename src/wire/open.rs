//! OPEN (RFC 4271 §4.2, RFC 9072).

use super::capability::Capability;
use super::error::OpenError;
use crate::net::{AfiSafi, Asn, RouterId};

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
        let _ = body;
        todo!()
    }

    /// The whole message; the RFC 9072 form only if the parameters exceed 255 octets.
    pub fn encode(&self) -> Vec<u8> {
        todo!()
    }

    /// Whether capability 65 is there (RFC 6793).
    pub fn four_octet_as(&self) -> bool {
        todo!()
    }

    /// The AS number: capability 65 wins over the two-octet field.
    pub fn asn(&self) -> Asn {
        todo!()
    }

    /// The families of the multiprotocol capabilities; IPv4 unicast if there is none (RFC 4760 §8).
    pub fn families(&self) -> Vec<AfiSafi> {
        todo!()
    }

    /// Whether capability 2 is there (RFC 2918).
    pub fn route_refresh(&self) -> bool {
        todo!()
    }

    /// Whether capability 70 is there (RFC 7313).
    pub fn enhanced_route_refresh(&self) -> bool {
        todo!()
    }

    /// Whether capability 6 is there (RFC 8654).
    pub fn extended_message(&self) -> bool {
        todo!()
    }

    /// Whether the peer takes NLRI of `family` with a next hop of `next_hop_afi` (RFC 8950).
    pub fn extended_next_hop(&self, family: AfiSafi, next_hop_afi: u16) -> bool {
        let _ = (family, next_hop_afi);
        todo!()
    }

    /// The role, if the peer has one (RFC 9234).
    pub fn role(&self) -> Option<u8> {
        todo!()
    }

    /// The Add-Path mode of `family`: 1 receive, 2 send, 3 both, 0 none (RFC 7911).
    pub fn add_path(&self, family: AfiSafi) -> u8 {
        let _ = family;
        todo!()
    }

    /// The graceful restart capability, the last one if there are several (RFC 4724 §3).
    pub fn graceful_restart(&self) -> Option<GracefulRestart<'_>> {
        todo!()
    }

    /// The long-lived graceful restart tuples (family, F, stale time); none without graceful
    /// restart (RFC 9494 §3.1).
    pub fn long_lived_graceful_restart(&self) -> &[(AfiSafi, bool, u32)] {
        todo!()
    }

    /// Host and domain name as printable text.
    pub fn fqdn(&self) -> Option<(String, String)> {
        todo!()
    }
}
