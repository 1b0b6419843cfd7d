//! Path attributes as values.
//!
//! One file an attribute family; [`table`] has one row an attribute. Values know nothing of the peer
//! that sent them; what a peer may send is judged once, when an UPDATE is decoded.
//!
//! One decision deviates from RFC 4271 §6.3: an *unknown* attribute that claims to be well-known
//! costs its routes (treat-as-withdraw), not the session.

mod as_path;
mod canonical;
pub mod community;
pub(in crate::wire) mod decode;
mod encode;
pub(in crate::wire) mod next_hop;
pub mod plain;
pub mod sent_on;
pub mod table;
mod tlv;
mod unknown;
mod value;

pub use as_path::MAX_PATH;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::net::{Asn, Community, RouterId};

/// ORIGIN (RFC 4271 §5.1.1); the order is the order of preference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Origin {
    /// From inside the originating AS.
    #[default]
    Igp,
    /// Learnt by EGP.
    Egp,
    /// By other means.
    Incomplete,
}

/// The kind of an AS_PATH segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SegmentKind {
    /// AS_SET (1).
    Set,
    /// AS_SEQUENCE (2).
    Sequence,
    /// AS_CONFED_SEQUENCE (3).
    ConfedSequence,
    /// AS_CONFED_SET (4).
    ConfedSet,
}

/// One segment of an AS_PATH; 1-255 numbers on the wire, longer ones are split when encoded.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Segment {
    /// Its kind.
    pub kind: SegmentKind,
    /// Its numbers, the most recent first.
    pub asns: Vec<Asn>,
}

/// An AS_PATH, the most recent AS first.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct AsPath {
    /// Its segments.
    pub segments: Vec<Segment>,
}

/// Where packets go: the global address and, for IPv6, perhaps a link-local one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct NextHop {
    /// The address that is resolved. A link-local address if that is all the peer gave.
    pub address: IpAddr,
    /// The second address of a 32-octet IPv6 next hop (RFC 2545 §3).
    pub link_local: Option<Ipv6Addr>,
    /// Whose link a link-local address is on, by a number of the receiver's; 0 is nobody's. It is on
    /// no wire: the codec reads 0, and drops it.
    pub scope: u32,
}

/// AGGREGATOR, its AS already merged with AS4_AGGREGATOR.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Aggregator {
    /// The AS that aggregated.
    pub asn: Asn,
    /// The speaker that did.
    pub address: Ipv4Addr,
}

/// A large community (RFC 8092).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LargeCommunity {
    /// Global administrator.
    pub global: u32,
    /// First local part.
    pub local1: u32,
    /// Second local part.
    pub local2: u32,
}

impl From<[u32; 3]> for LargeCommunity {
    fn from([global, local1, local2]: [u32; 3]) -> Self {
        Self {
            global,
            local1,
            local2,
        }
    }
}

/// An attribute that dunlin does not know or does not interpret, byte for byte.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UnknownAttribute {
    /// The flag octet without the extended-length bit.
    pub flags: u8,
    /// The type code.
    pub code: u8,
    /// The value.
    pub value: Vec<u8>,
}

/// A decoded set of path attributes.
///
/// MP_REACH_NLRI and MP_UNREACH_NLRI are not here: they carry routes. The next hop is, whichever
/// attribute brought it. AS4_PATH and AS4_AGGREGATOR are merged away (RFC 6793 §4.2.3).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct PathAttributes {
    /// ORIGIN.
    pub origin: Origin,
    /// AS_PATH.
    pub as_path: AsPath,
    /// NEXT_HOP, or the next hop of MP_REACH_NLRI.
    pub next_hop: Option<NextHop>,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// LOCAL_PREF.
    pub local_pref: Option<u32>,
    /// ATOMIC_AGGREGATE.
    pub atomic_aggregate: bool,
    /// AGGREGATOR.
    pub aggregator: Option<Aggregator>,
    /// COMMUNITIES (RFC 1997), as received.
    pub communities: Vec<u32>,
    /// EXTENDED COMMUNITIES (RFC 4360), as received.
    pub extended_communities: Vec<[u8; 8]>,
    /// LARGE_COMMUNITY (RFC 8092), without duplicates.
    pub large_communities: Vec<LargeCommunity>,
    /// ORIGINATOR_ID (RFC 4456).
    pub originator_id: Option<RouterId>,
    /// CLUSTER_LIST (RFC 4456), the most recent first.
    pub cluster_list: Vec<RouterId>,
    /// AIGP (RFC 7311): the metric of the first AIGP TLV.
    pub aigp: Option<u64>,
    /// ONLY_TO_CUSTOMER (RFC 9234).
    pub otc: Option<Asn>,
    /// Everything else that may be passed on, sorted by code.
    pub unknown: Vec<UnknownAttribute>,
}

impl PathAttributes {
    /// Whether a community is among them.
    pub fn has(&self, community: Community) -> bool {
        match community {
            Community::Standard(value) => self.communities.contains(&value),
            Community::Large(parts) => self.large_communities.contains(&parts.into()),
        }
    }
}
