//! RFC 7606 as a table: what each attribute must look like, and what it costs if it does not.
//!
//! One row an attribute. The values themselves are read in the files beside this one; a type code
//! without a row is unknown and handled by RFC 4271 §5, with one exception: see [the module](super).

use crate::wire::error::Treatment::{self, Discard, Withdraw};

/// Type codes.
pub mod code {
    /// ORIGIN
    pub const ORIGIN: u8 = 1;
    /// AS_PATH
    pub const AS_PATH: u8 = 2;
    /// NEXT_HOP
    pub const NEXT_HOP: u8 = 3;
    /// MULTI_EXIT_DISC
    pub const MED: u8 = 4;
    /// LOCAL_PREF
    pub const LOCAL_PREF: u8 = 5;
    /// ATOMIC_AGGREGATE
    pub const ATOMIC_AGGREGATE: u8 = 6;
    /// AGGREGATOR
    pub const AGGREGATOR: u8 = 7;
    /// COMMUNITIES (RFC 1997)
    pub const COMMUNITIES: u8 = 8;
    /// ORIGINATOR_ID (RFC 4456)
    pub const ORIGINATOR_ID: u8 = 9;
    /// CLUSTER_LIST (RFC 4456)
    pub const CLUSTER_LIST: u8 = 10;
    /// MP_REACH_NLRI (RFC 4760)
    pub const MP_REACH: u8 = 14;
    /// MP_UNREACH_NLRI (RFC 4760)
    pub const MP_UNREACH: u8 = 15;
    /// EXTENDED COMMUNITIES (RFC 4360)
    pub const EXTENDED_COMMUNITIES: u8 = 16;
    /// AS4_PATH (RFC 6793)
    pub const AS4_PATH: u8 = 17;
    /// AS4_AGGREGATOR (RFC 6793)
    pub const AS4_AGGREGATOR: u8 = 18;
    /// PMSI_TUNNEL (RFC 6514)
    pub const PMSI_TUNNEL: u8 = 22;
    /// Tunnel encapsulation (RFC 9012)
    pub const TUNNEL_ENCAPSULATION: u8 = 23;
    /// IPv6 EXTENDED COMMUNITIES (RFC 5701)
    pub const IPV6_EXTENDED_COMMUNITIES: u8 = 25;
    /// AIGP (RFC 7311)
    pub const AIGP: u8 = 26;
    /// BGP-LS (RFC 9552)
    pub const LINK_STATE: u8 = 29;
    /// LARGE_COMMUNITY (RFC 8092)
    pub const LARGE_COMMUNITIES: u8 = 32;
    /// ONLY_TO_CUSTOMER (RFC 9234)
    pub const OTC: u8 = 35;
    /// BGP Prefix-SID (RFC 8669)
    pub const PREFIX_SID: u8 = 40;
}

/// The flag bits.
pub mod flag {
    /// Optional.
    pub const OPTIONAL: u8 = 0x80;
    /// Transitive.
    pub const TRANSITIVE: u8 = 0x40;
    /// Partial.
    pub const PARTIAL: u8 = 0x20;
    /// The length has two octets.
    pub const EXTENDED: u8 = 0x10;
}

const WELL_KNOWN: u8 = flag::TRANSITIVE;
const NON_TRANSITIVE: u8 = flag::OPTIONAL;
const TRANSITIVE: u8 = flag::OPTIONAL | flag::TRANSITIVE;

/// Which lengths a type can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LengthRule {
    /// The value's own parser decides.
    Parser,
    /// Exactly this.
    Exactly(usize),
    /// At least this.
    AtLeast(usize),
    /// A positive multiple of this.
    Multiple(usize),
    /// This plus an AS number of the session's width.
    AsnAnd(usize),
}

impl LengthRule {
    /// Whether `len` octets satisfy it.
    pub const fn accepts(self, len: usize, four_octet_as: bool) -> bool {
        match self {
            Self::Parser => true,
            Self::Exactly(n) => len == n,
            Self::AtLeast(n) => len >= n,
            Self::Multiple(n) => len > 0 && len.is_multiple_of(n),
            Self::AsnAnd(n) => len == n + if four_octet_as { 4 } else { 2 },
        }
    }
}

/// One row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Type code.
    pub code: u8,
    /// Registered name.
    pub name: &'static str,
    /// The Optional and Transitive bits that it must have.
    pub flags: u8,
    /// Its length.
    pub length: LengthRule,
    /// What wrong flags cost (RFC 7606 §3c unless its own document says otherwise).
    pub bad_flags: Treatment,
    /// What a wrong length or value costs.
    pub malformed: Treatment,
    /// From an eBGP peer it is discarded unread (RFC 7606 §7.5, §7.9, §7.10).
    pub internal_only: bool,
}

const fn rule(
    code: u8,
    name: &'static str,
    flags: u8,
    length: LengthRule,
    malformed: Treatment,
) -> Rule {
    Rule {
        code,
        name,
        flags,
        length,
        bad_flags: Withdraw,
        malformed,
        internal_only: false,
    }
}

const fn internal(rule: Rule) -> Rule {
    Rule {
        internal_only: true,
        ..rule
    }
}

/// RFC 6793 §6 and RFC 7311 §3 count wrong flags as malformed, and discard.
const fn lenient(rule: Rule) -> Rule {
    Rule {
        bad_flags: Discard,
        ..rule
    }
}

use LengthRule::{AsnAnd, AtLeast, Exactly, Multiple, Parser};

/// The table, in order of the codes.
#[rustfmt::skip]
pub const TABLE: &[Rule] = &[
    rule(code::ORIGIN, "ORIGIN", WELL_KNOWN, Exactly(1), Withdraw),
    rule(code::AS_PATH, "AS_PATH", WELL_KNOWN, Parser, Withdraw),
    rule(code::NEXT_HOP, "NEXT_HOP", WELL_KNOWN, Exactly(4), Withdraw),
    rule(code::MED, "MULTI_EXIT_DISC", NON_TRANSITIVE, Exactly(4), Withdraw),
    internal(rule(code::LOCAL_PREF, "LOCAL_PREF", WELL_KNOWN, Exactly(4), Withdraw)),
    rule(code::ATOMIC_AGGREGATE, "ATOMIC_AGGREGATE", WELL_KNOWN, Exactly(0), Discard),
    rule(code::AGGREGATOR, "AGGREGATOR", TRANSITIVE, AsnAnd(4), Discard),
    rule(code::COMMUNITIES, "COMMUNITIES", TRANSITIVE, Multiple(4), Withdraw),
    internal(rule(code::ORIGINATOR_ID, "ORIGINATOR_ID", NON_TRANSITIVE, Exactly(4), Withdraw)),
    internal(rule(code::CLUSTER_LIST, "CLUSTER_LIST", NON_TRANSITIVE, Multiple(4), Withdraw)),
    rule(code::MP_REACH, "MP_REACH_NLRI", NON_TRANSITIVE, Parser, Withdraw),
    rule(code::MP_UNREACH, "MP_UNREACH_NLRI", NON_TRANSITIVE, Parser, Withdraw),
    rule(code::EXTENDED_COMMUNITIES, "EXTENDED COMMUNITIES", TRANSITIVE, Multiple(8), Withdraw),
    lenient(rule(code::AS4_PATH, "AS4_PATH", TRANSITIVE, Parser, Discard)),
    lenient(rule(code::AS4_AGGREGATOR, "AS4_AGGREGATOR", TRANSITIVE, Exactly(8), Discard)),
    rule(code::PMSI_TUNNEL, "PMSI_TUNNEL", TRANSITIVE, AtLeast(5), Withdraw),
    rule(code::TUNNEL_ENCAPSULATION, "TUNNEL_ENCAPSULATION", TRANSITIVE, Parser, Withdraw),
    rule(code::IPV6_EXTENDED_COMMUNITIES, "IPv6 EXTENDED COMMUNITIES", TRANSITIVE, Multiple(20), Withdraw),
    lenient(rule(code::AIGP, "AIGP", NON_TRANSITIVE, Parser, Discard)),
    rule(code::LINK_STATE, "BGP-LS", NON_TRANSITIVE, Parser, Discard),
    rule(code::LARGE_COMMUNITIES, "LARGE_COMMUNITY", TRANSITIVE, Multiple(12), Withdraw),
    rule(code::OTC, "ONLY_TO_CUSTOMER", TRANSITIVE, Exactly(4), Withdraw),
    rule(code::PREFIX_SID, "PREFIX_SID", TRANSITIVE, Parser, Discard),
];

/// The row of a type code.
pub fn lookup(code: u8) -> Option<&'static Rule> {
    let at = TABLE.binary_search_by_key(&code, |row| row.code).ok()?;
    TABLE.get(at)
}

/// The registered name of a type code that dunlin knows.
pub fn name(code: u8) -> Option<&'static str> {
    lookup(code).map(|row| row.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_found_by_its_code_and_no_other() {
        for code in 0..=255 {
            let expected = TABLE.iter().find(|row| row.code == code);
            assert_eq!(lookup(code), expected);
        }
        assert!(TABLE.windows(2).all(|w| w[0].code < w[1].code));
    }
}
