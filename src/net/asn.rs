//! Autonomous system numbers, four octets wide (RFC 6793).

use core::fmt;
use core::str::FromStr;

/// An AS number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Asn(pub u32);

impl Asn {
    /// The reserved AS 0 that no speaker may use (RFC 7607).
    pub const ZERO: Self = Self(0);
    /// AS_TRANS: stands for a number that two octets can't hold (RFC 6793 §9).
    pub const TRANS: Self = Self(23456);

    /// The two-octet form: the number itself, or AS_TRANS.
    pub fn to_two_octets(self) -> u16 {
        u16::try_from(self.0).unwrap_or(23456)
    }

    /// Whether two octets can hold it.
    pub const fn fits_two_octets(self) -> bool {
        self.0 <= 0xFFFF
    }
}

impl fmt::Display for Asn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A text that is no AS number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected an AS number from 1 to 4294967295, or in asdot form such as 1.10")]
pub struct ParseAsnError;

impl FromStr for Asn {
    type Err = ParseAsnError;

    /// Reads asplain (`65000`) and asdot (`1.10`, RFC 5396); refuses 0.
    fn from_str(text: &str) -> Result<Self, ParseAsnError> {
        let number = match text.split_once('.') {
            Some((high, low)) => {
                let high: u16 = high.parse().map_err(|_| ParseAsnError)?;
                let low: u16 = low.parse().map_err(|_| ParseAsnError)?;
                (u32::from(high) << 16) | u32::from(low)
            }
            None => text.parse().map_err(|_| ParseAsnError)?,
        };
        if number == 0 {
            Err(ParseAsnError)
        } else {
            Ok(Self(number))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_notations_are_read() {
        assert_eq!("65000".parse(), Ok(Asn(65000)));
        assert_eq!("1.10".parse(), Ok(Asn(65546)));
        assert_eq!("0".parse::<Asn>(), Err(ParseAsnError));
        assert_eq!("4294967296".parse::<Asn>(), Err(ParseAsnError));
        assert_eq!(Asn(65546).to_two_octets(), 23456);
    }
}
