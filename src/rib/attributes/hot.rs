//! What is known of a set of attributes without decoding it: the fields that decisions read.
//!
//! Nothing is stored here and no number is given. What always holds: a plain block and the set that
//! decoding it gives have the same fields.

use super::accounts::Owner;
use crate::rib::next_hop::NextHopId;
use crate::wire::attribute::community::{
    LLGR_STALE, NO_ADVERTISE, NO_EXPORT, NO_EXPORT_SUBCONFED, NO_LLGR,
};
use crate::wire::attribute::plain::{self, Plain};
use crate::wire::attribute::{Origin, PathAttributes};

/// What is worth knowing of a set without decoding it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AttributeFlags(u16);

impl AttributeFlags {
    /// Has the community NO_EXPORT (RFC 1997).
    pub const NO_EXPORT: Self = Self(1);
    /// Has the community NO_ADVERTISE (RFC 1997).
    pub const NO_ADVERTISE: Self = Self(1 << 1);
    /// Has the community NO_EXPORT_SUBCONFED (RFC 1997).
    pub const NO_EXPORT_SUBCONFED: Self = Self(1 << 2);
    /// Has the community LLGR_STALE (RFC 9494).
    pub const LLGR_STALE: Self = Self(1 << 3);
    pub(super) const LOCAL_PREF: Self = Self(1 << 4);
    pub(super) const MED: Self = Self(1 << 5);
    pub(super) const ORIGINATOR: Self = Self(1 << 6);
    /// Has the community NO_LLGR (RFC 9494).
    pub const NO_LLGR: Self = Self(1 << 7);
    /// Has OTC (RFC 9234): it goes to customers only.
    pub const TO_CUSTOMERS: Self = Self(1 << 9);
    /// Policy made it of another set, whose number follows the canonical bytes.
    pub(super) const DERIVED: Self = Self(1 << 8);

    /// Whether all of `other` is set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    pub(super) const fn with(self, other: Self, on: bool) -> Self {
        if on { Self(self.0 | other.0) } else { self }
    }
}

/// The fields that the decision process reads, and whose the set is: 28 bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hot {
    pub(super) local_pref: u32,
    pub(super) med: u32,
    pub(super) neighbour_as: u32,
    pub(super) originator_id: u32,
    pub(super) next_hop: NextHopId,
    pub(super) as_path_len: u16,
    /// Who brought the set.
    pub(super) owner: Owner,
    pub(super) flags: AttributeFlags,
    /// Of two longer ones neither is the shorter one.
    pub(super) cluster_list_len: u8,
    pub(super) origin: Origin,
}

impl AttributeFlags {
    /// Those of communities.
    fn of(communities: impl Iterator<Item = u32>) -> Self {
        // All that are well known begin so (RFC 1997).
        let well_known = communities.filter(|community| community >> 16 == 0xFFFF);
        well_known.fold(Self::default(), |flags, community| {
            flags
                .with(Self::NO_EXPORT, community == NO_EXPORT)
                .with(Self::NO_ADVERTISE, community == NO_ADVERTISE)
                .with(Self::NO_EXPORT_SUBCONFED, community == NO_EXPORT_SUBCONFED)
                .with(Self::LLGR_STALE, community == LLGR_STALE)
                .with(Self::NO_LLGR, community == NO_LLGR)
        })
    }

    /// With what says which numbers are there.
    fn and(self, local_pref: Option<u32>, med: Option<u32>, originator: Option<u32>) -> Self {
        self.with(Self::LOCAL_PREF, local_pref.is_some())
            .with(Self::MED, med.is_some())
            .with(Self::ORIGINATOR, originator.is_some())
    }
}

impl Hot {
    /// All but the number of the next hop.
    pub(super) fn of(owner: Owner, attributes: &PathAttributes) -> Self {
        let PathAttributes {
            local_pref, med, ..
        } = *attributes;
        let originator = attributes.originator_id.map(|id| id.0);
        let communities = attributes.communities.iter().copied();
        Self {
            local_pref: local_pref.unwrap_or(0),
            med: med.unwrap_or(0),
            neighbour_as: attributes.as_path.neighbour_as().map_or(0, |asn| asn.0),
            originator_id: originator.unwrap_or(0),
            next_hop: NextHopId::NONE,
            as_path_len: short(attributes.as_path.len()),
            owner,
            cluster_list_len: shorter(attributes.cluster_list.len()),
            flags: AttributeFlags::of(communities)
                .and(local_pref, med, originator)
                .with(AttributeFlags::TO_CUSTOMERS, attributes.otc.is_some()),
            origin: attributes.origin,
        }
    }

    /// The same of a block.
    pub(super) fn of_plain(owner: Owner, plain: &Plain<'_>) -> Self {
        let Plain {
            local_pref, med, ..
        } = *plain;
        let originator = plain.originator_id.map(|id| id.0);
        let communities = plain.communities.iter().map(|word| plain::of(*word));
        Self {
            local_pref: local_pref.unwrap_or(0),
            med: med.unwrap_or(0),
            neighbour_as: plain.first_as().map_or(0, |asn| asn.0),
            originator_id: originator.unwrap_or(0),
            next_hop: NextHopId::NONE,
            as_path_len: short(plain.as_path.len()),
            owner,
            cluster_list_len: shorter(plain.cluster_list.len()),
            flags: AttributeFlags::of(communities).and(local_pref, med, originator),
            origin: plain.origin,
        }
    }
}

fn short(len: usize) -> u16 {
    u16::try_from(len).unwrap_or(u16::MAX)
}

fn shorter(len: usize) -> u8 {
    u8::try_from(len).unwrap_or(u8::MAX)
}
