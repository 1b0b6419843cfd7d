//! Capabilities (RFC 5492), known ones as values, unknown ones byte for byte.

use crate::net::{AfiSafi, Asn};

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
