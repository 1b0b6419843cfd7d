//! Prefixes as compact integers, always masked.
//!
//! `ipnetwork` types appear only at the edges (configuration, output); tables hold these.

use core::fmt;
use core::str::FromStr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Family;

/// An IPv4 prefix; host bits are zero. Packed, so that it takes 5 bytes in a table, and leaves 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(Rust, packed)]
pub struct Prefix4 {
    bits: u32,
    len: u8,
}

/// An IPv6 prefix; host bits are zero. Packed, so that it takes 17 bytes in a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(Rust, packed)]
pub struct Prefix6 {
    bits: u128,
    len: u8,
}

/// A prefix of either family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Prefix {
    /// IPv4.
    V4(Prefix4),
    /// IPv6.
    V6(Prefix6),
}

impl Prefix4 {
    /// The prefix of `len` bits that holds `bits`; a length above 32 counts as 32.
    pub const fn new(bits: u32, len: u8) -> Self {
        let len = if len > 32 { 32 } else { len };
        Self {
            bits: bits & Self::mask(len),
            len,
        }
    }

    /// The network address as a number.
    pub const fn bits(self) -> u32 {
        self.bits
    }

    /// The length in bits, 0-32.
    #[expect(
        clippy::len_without_is_empty,
        reason = "a prefix length is a number of bits, not of elements"
    )]
    pub const fn len(self) -> u8 {
        self.len
    }

    /// Whether it is the default route.
    pub const fn is_default(self) -> bool {
        self.len == 0
    }

    /// Whether `address` lies inside.
    pub const fn contains(self, address: u32) -> bool {
        address & Self::mask(self.len) == self.bits
    }

    const fn mask(len: u8) -> u32 {
        if len == 0 { 0 } else { u32::MAX << (32 - len) }
    }
}

impl Prefix6 {
    /// The prefix of `len` bits that holds `bits`; a length above 128 counts as 128.
    pub const fn new(bits: u128, len: u8) -> Self {
        let len = if len > 128 { 128 } else { len };
        Self {
            bits: bits & Self::mask(len),
            len,
        }
    }

    /// The network address as a number.
    pub const fn bits(self) -> u128 {
        self.bits
    }

    /// The length in bits, 0-128.
    #[expect(
        clippy::len_without_is_empty,
        reason = "a prefix length is a number of bits, not of elements"
    )]
    pub const fn len(self) -> u8 {
        self.len
    }

    /// Whether it is the default route.
    pub const fn is_default(self) -> bool {
        self.len == 0
    }

    /// Whether `address` lies inside.
    pub const fn contains(self, address: u128) -> bool {
        address & Self::mask(self.len) == self.bits
    }

    const fn mask(len: u8) -> u128 {
        if len == 0 {
            0
        } else {
            u128::MAX << (128 - len)
        }
    }
}

impl Prefix {
    /// The prefix of `len` bits that holds `address`; host bits are cleared.
    pub fn new(address: IpAddr, len: u8) -> Self {
        match address {
            IpAddr::V4(a) => Self::V4(Prefix4::new(a.to_bits(), len)),
            IpAddr::V6(a) => Self::V6(Prefix6::new(a.to_bits(), len)),
        }
    }

    /// The prefix of one address.
    pub fn host(address: IpAddr) -> Self {
        Self::new(address, if address.is_ipv4() { 32 } else { 128 })
    }

    /// Whether it is that of one address.
    pub const fn is_host(self) -> bool {
        match self {
            Self::V4(prefix) => prefix.len() == 32,
            Self::V6(prefix) => prefix.len() == 128,
        }
    }

    /// Its family.
    pub const fn family(self) -> Family {
        match self {
            Self::V4(_) => Family::Ipv4,
            Self::V6(_) => Family::Ipv6,
        }
    }

    /// The network address.
    pub fn address(self) -> IpAddr {
        match self {
            Self::V4(p) => Ipv4Addr::from_bits(p.bits).into(),
            Self::V6(p) => Ipv6Addr::from_bits(p.bits).into(),
        }
    }

    /// The length in bits.
    #[expect(
        clippy::len_without_is_empty,
        reason = "a prefix length is a number of bits, not of elements"
    )]
    pub const fn len(self) -> u8 {
        match self {
            Self::V4(p) => p.len,
            Self::V6(p) => p.len,
        }
    }

    /// Whether it is the default route of its family.
    pub const fn is_default(self) -> bool {
        self.len() == 0
    }

    /// Whether `address` lies inside; never across families.
    pub fn contains(self, address: IpAddr) -> bool {
        match (self, address) {
            (Self::V4(p), IpAddr::V4(a)) => p.contains(a.to_bits()),
            (Self::V6(p), IpAddr::V6(a)) => p.contains(a.to_bits()),
            (Self::V4(_), IpAddr::V6(_)) | (Self::V6(_), IpAddr::V4(_)) => false,
        }
    }

    /// Whether `other` is this prefix or lies inside it.
    pub fn covers(self, other: Self) -> bool {
        self.len() <= other.len() && self.contains(other.address())
    }
}

impl From<Prefix4> for Prefix {
    fn from(prefix: Prefix4) -> Self {
        Self::V4(prefix)
    }
}

impl From<Prefix6> for Prefix {
    fn from(prefix: Prefix6) -> Self {
        Self::V6(prefix)
    }
}

impl fmt::Display for Prefix4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Prefix::V4(*self).fmt(f)
    }
}

impl fmt::Display for Prefix6 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Prefix::V6(*self).fmt(f)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `pad` honours the width that tables ask for.
        f.pad(&format!("{}/{}", self.address(), self.len()))
    }
}

/// A text that is no prefix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParsePrefixError {
    /// No address, no length, or neither.
    #[error("expected a prefix such as 10.244.0.0/16 or 2001:db8::/32")]
    Syntax,
    /// The length is above what the family has.
    #[error("the prefix length is above {max}")]
    Length {
        /// 32 or 128.
        max: u8,
    },
    /// Bits are set beyond the length.
    #[error("host bits are set; the network is {network}")]
    HostBits {
        /// What was probably meant.
        network: Prefix,
    },
}

impl FromStr for Prefix {
    type Err = ParsePrefixError;

    /// Strict: a length is needed and host bits must be clear.
    fn from_str(text: &str) -> Result<Self, ParsePrefixError> {
        let (address, len) = text.split_once('/').ok_or(ParsePrefixError::Syntax)?;
        let address: IpAddr = address.parse().map_err(|_| ParsePrefixError::Syntax)?;
        let len: u8 = len.parse().map_err(|_| ParsePrefixError::Syntax)?;
        let max = if address.is_ipv4() { 32 } else { 128 };
        if len > max {
            return Err(ParsePrefixError::Length { max });
        }
        let network = Self::new(address, len);
        if network.address() == address {
            Ok(network)
        } else {
            Err(ParsePrefixError::HostBits { network })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_bits_are_masked_by_construction() {
        let p = Prefix::new("10.1.2.3".parse().unwrap(), 8);
        assert_eq!(p.to_string(), "10.0.0.0/8");
        assert_eq!(
            Prefix::new("2001:db8::1".parse().unwrap(), 32).to_string(),
            "2001:db8::/32"
        );
    }

    #[test]
    fn text_is_read_strictly() {
        assert!("10.0.0.0/33".parse::<Prefix>().is_err());
        assert!("10.0.0.0".parse::<Prefix>().is_err());
        let network = "10.0.0.0/24".parse().unwrap();
        assert_eq!(
            "10.0.0.1/24".parse::<Prefix>(),
            Err(ParsePrefixError::HostBits { network })
        );
        assert!("::/0".parse::<Prefix>().unwrap().is_default());
    }

    #[test]
    fn covering_never_crosses_families() {
        let all4: Prefix = "0.0.0.0/0".parse().unwrap();
        let all6: Prefix = "::/0".parse().unwrap();
        assert!(all4.covers("10.0.0.0/8".parse().unwrap()));
        assert!(!all4.covers(all6));
    }

    #[test]
    fn tables_stay_small() {
        assert_eq!(size_of::<Prefix4>(), 5);
        assert_eq!(size_of::<Prefix6>(), 17);
    }
}
