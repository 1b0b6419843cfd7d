//! OPEN (RFC 4271 §4.2, RFC 9072).

use super::capability::Capability;
use crate::net::RouterId;

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
