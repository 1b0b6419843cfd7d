//! Communities as people write them: `64512:100`, `63400:300:100`, or a well-known name.

use core::fmt;
use core::str::FromStr;

/// A standard (RFC 1997) or a large (RFC 8092) community.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Community {
    /// Two numbers of 16 bits, as one.
    Standard(u32),
    /// Three numbers of 32 bits.
    Large([u32; 3]),
}

/// A text that is no community.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no community; expected two numbers up to 65535 as in \"64512:100\", or three up to 4294967295"
)]
pub struct ParseCommunityError(pub String);

/// Names that people know (RFC 1997, RFC 8326, RFC 9494, RFC 7999).
const NAMES: [(&str, u32); 7] = [
    ("graceful-shutdown", 0xFFFF_0000),
    ("llgr-stale", 0xFFFF_0006),
    ("no-llgr", 0xFFFF_0007),
    ("blackhole", 0xFFFF_029A),
    ("no-export", 0xFFFF_FF01),
    ("no-advertise", 0xFFFF_FF02),
    ("no-export-subconfed", 0xFFFF_FF03),
];

impl FromStr for Community {
    type Err = ParseCommunityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some((_, value)) = NAMES.iter().find(|(name, _)| *name == text) {
            return Ok(Self::Standard(*value));
        }
        let error = || ParseCommunityError(text.to_owned());
        let parts: Vec<&str> = text.split(':').collect();
        match parts.as_slice() {
            [high, low] => {
                let half = |part: &str| part.parse::<u16>().map_err(|_| error());
                Ok(Self::Standard(
                    u32::from(half(high)?) << 16 | u32::from(half(low)?),
                ))
            }
            [a, b, c] => {
                let number = |part: &str| part.parse::<u32>().map_err(|_| error());
                Ok(Self::Large([number(a)?, number(b)?, number(c)?]))
            }
            _other => Err(error()),
        }
    }
}

impl fmt::Display for Community {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Standard(value) => write!(f, "{}:{}", value >> 16, value & 0xFFFF),
            Self::Large([a, b, c]) => write!(f, "{a}:{b}:{c}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_and_names_are_read() {
        assert_eq!(
            "64512:100".parse(),
            Ok(Community::Standard(64512 << 16 | 100))
        );
        assert_eq!(
            "63400:300:100".parse(),
            Ok(Community::Large([63400, 300, 100]))
        );
        assert_eq!("no-export".parse(), Ok(Community::Standard(0xFFFF_FF01)));
        for bad in [
            "",
            "1",
            "65536:1",
            "1:65536",
            "a:b",
            "1:2:3:4",
            "-1:2",
            "4294967296:1:1",
        ] {
            assert!(bad.parse::<Community>().is_err(), "{bad}");
        }
        assert_eq!(Community::Large([1, 2, 3]).to_string(), "1:2:3");
    }
}
