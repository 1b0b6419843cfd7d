//! An address with the link that it is on, where the address alone does not say which is meant.

use core::fmt;
use std::net::IpAddr;

/// An address, and for a link-local one a scope (RFC 4007): the number of the link, or of what stands
/// for it, as whoever uses it counts. Every other address has scope 0 and needs none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScopedAddress {
    /// The address.
    pub address: IpAddr,
    /// Where it is; 0 says nothing.
    pub scope: u32,
}

impl ScopedAddress {
    /// An address somewhere.
    pub const fn new(address: IpAddr, scope: u32) -> Self {
        Self { address, scope }
    }

    /// Whether the address means something on its own link only.
    pub const fn is_link_local(&self) -> bool {
        match self.address {
            IpAddr::V4(_) => false,
            IpAddr::V6(address) => address.is_unicast_link_local(),
        }
    }
}

impl From<IpAddr> for ScopedAddress {
    fn from(address: IpAddr) -> Self {
        Self::new(address, 0)
    }
}

impl fmt::Display for ScopedAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scope {
            0 => self.address.fmt(f),
            scope => write!(f, "{}%{scope}", self.address),
        }
    }
}
