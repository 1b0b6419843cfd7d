//! The BGP Identifier: 32 bits, unique within the AS, compared as an unsigned number (RFC 6286).

use core::fmt;
use core::str::FromStr;
use std::net::Ipv4Addr;

/// A BGP Identifier, written like an IPv4 address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouterId(pub u32);

impl RouterId {
    /// A valid identifier from a name, for nodes without an IPv4 address.
    ///
    /// It lies in 1.0.0.0-126.255.255.255: peers refuse 0 and some refuse 224.0.0.0 and above.
    pub fn from_name(name: &str) -> Self {
        // FNV-1a; the same name gives the same identifier on every node and every version.
        let mut hash = 0x811C_9DC5_u32;
        for byte in name.bytes() {
            hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        }
        let first = 1 + (hash >> 24) % 126;
        Self((first << 24) | (hash & 0x00FF_FFFF))
    }
}

impl From<Ipv4Addr> for RouterId {
    fn from(address: Ipv4Addr) -> Self {
        Self(address.to_bits())
    }
}

impl fmt::Display for RouterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ipv4Addr::from_bits(self.0).fmt(f)
    }
}

/// A text that is no BGP Identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a router id written like an IPv4 address, other than 0.0.0.0")]
pub struct ParseRouterIdError;

impl FromStr for RouterId {
    type Err = ParseRouterIdError;

    fn from_str(text: &str) -> Result<Self, ParseRouterIdError> {
        match text.parse::<Ipv4Addr>() {
            Ok(address) if !address.is_unspecified() => Ok(address.into()),
            Ok(_) | Err(_) => Err(ParseRouterIdError),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashed_identifiers_are_ones_that_every_peer_accepts() {
        for n in 0..10_000 {
            let id = RouterId::from_name(&format!("node-{n}"));
            let first = id.0 >> 24;
            assert!((1..=126).contains(&first), "{id}");
        }
    }
}
