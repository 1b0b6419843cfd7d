//! Blocks that are already in the form of our own tables, which nearly all of a full table are.
//!
//! Not another decoder: a block that has anything to judge or to put in order is none of these, and
//! the decoder is asked. What always holds for a [`Plain`] block: decoding it finds no
//! fault, and encoding what it says gives the same octets again. So it can be stored, compared and
//! sent on without a parse.

use std::net::{IpAddr, Ipv4Addr};

use super::table::{code, flag};
use super::{NextHop, Origin, next_hop};
use crate::net::{Asn, RouterId};
use crate::wire::update::DecodeContext;

const WELL_KNOWN: u8 = flag::TRANSITIVE;
const NON_TRANSITIVE: u8 = flag::OPTIONAL;
const TRANSITIVE: u8 = flag::OPTIONAL | flag::TRANSITIVE;
/// The code of an AS_SEQUENCE.
pub(super) const SEQUENCE: u8 = 2;

/// A number as it lies in a block.
pub type Word = [u8; 4];

/// What a block says, still in it. IPv4 routes with AS numbers of four octets only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plain<'a> {
    /// All of it.
    pub block: &'a [u8],
    /// ORIGIN.
    pub origin: Origin,
    /// The numbers of AS_PATH, which is one AS_SEQUENCE or empty.
    pub as_path: &'a [Word],
    /// NEXT_HOP.
    pub next_hop: NextHop,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// LOCAL_PREF.
    pub local_pref: Option<u32>,
    /// COMMUNITIES.
    pub communities: &'a [Word],
    /// ORIGINATOR_ID.
    pub originator_id: Option<RouterId>,
    /// CLUSTER_LIST.
    pub cluster_list: &'a [Word],
}

impl<'a> Plain<'a> {
    /// Reads a block that belongs to prefixes in the body of an UPDATE; `None` if it is not a plain one.
    pub fn read(block: &'a [u8], ctx: &DecodeContext) -> Option<Self> {
        if !ctx.four_octet_as {
            return None;
        }
        let mut out = Self {
            block,
            origin: Origin::Igp,
            as_path: &[],
            next_hop: NextHop::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            med: None,
            local_pref: None,
            communities: &[],
            originator_id: None,
            cluster_list: &[],
        };
        let mut rest = block;
        let mut last = 0;
        let mut wanted = [code::ORIGIN, code::AS_PATH, code::NEXT_HOP].into_iter();
        while let [flags, code, len, tail @ ..] = rest {
            let (value, behind) = tail.split_at_checked(usize::from(*len))?;
            // In order, and each once.
            if *code <= last || (*code <= code::NEXT_HOP && wanted.next() != Some(*code)) {
                return None;
            }
            last = *code;
            out.take(*flags, *code, value, ctx.ebgp)?;
            rest = behind;
        }
        (rest.is_empty() && wanted.next().is_none()).then_some(out)
    }

    #[inline]
    fn take(&mut self, flags: u8, code: u8, value: &'a [u8], ebgp: bool) -> Option<()> {
        match (code, flags) {
            (code::ORIGIN, WELL_KNOWN) => {
                let [number] = value else { return None };
                self.origin = Origin::from_code(*number)?;
            }
            (code::AS_PATH, WELL_KNOWN) => self.as_path = sequence(value)?,
            (code::NEXT_HOP, WELL_KNOWN) if value.len() == 4 => {
                self.next_hop = next_hop::parse_ipv4(value, false)?;
            }
            (code::MED, NON_TRANSITIVE) => self.med = Some(number(value)?),
            (code::LOCAL_PREF, WELL_KNOWN) if !ebgp => self.local_pref = Some(number(value)?),
            (code::ATOMIC_AGGREGATE, WELL_KNOWN) if value.is_empty() => {}
            (code::AGGREGATOR, TRANSITIVE) => {
                let [words, _] = words(value)? else {
                    return None;
                };
                if *words == [0; 4] {
                    return None;
                }
            }
            (code::COMMUNITIES, TRANSITIVE) => self.communities = words(value)?,
            (code::ORIGINATOR_ID, NON_TRANSITIVE) if !ebgp => {
                self.originator_id = Some(RouterId(number(value)?));
            }
            (code::CLUSTER_LIST, NON_TRANSITIVE) if !ebgp => self.cluster_list = words(value)?,
            (code::EXTENDED_COMMUNITIES, TRANSITIVE) => {
                if value.is_empty() || !value.len().is_multiple_of(8) {
                    return None;
                }
            }
            // Several would have to be looked through for duplicates (RFC 8092 §3).
            (code::LARGE_COMMUNITIES, TRANSITIVE) if value.len() == 12 => {}
            _ => return None,
        }
        Some(())
    }

    /// The AS that sent it, by its path.
    pub fn first_as(&self) -> Option<Asn> {
        self.as_path.first().map(|word| Asn(of(*word)))
    }
}

/// A word as a number.
pub const fn of(word: Word) -> u32 {
    u32::from_be_bytes(word)
}

fn number(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(of)
}

/// At least one word, and nothing else.
fn words(value: &[u8]) -> Option<&[Word]> {
    match value.as_chunks() {
        (words @ [_, ..], []) => Some(words),
        _ => None,
    }
}

/// The numbers of a path of one AS_SEQUENCE, or of an empty one; AS 0 is nobody's (RFC 7607).
fn sequence(value: &[u8]) -> Option<&[Word]> {
    let [kind, count, numbers @ ..] = value else {
        return value.is_empty().then_some(&[]);
    };
    let numbers = words(numbers)?;
    let whole = *kind == SEQUENCE && usize::from(*count) == numbers.len();
    (whole && !numbers.contains(&[0; 4])).then_some(numbers)
}
