//! Attributes to bytes, for peers and for our own tables.

use super::PathAttributes;
use crate::wire::error::CanonicalError;

/// NO_EXPORT (RFC 1997).
pub const NO_EXPORT: u32 = 0xFFFF_FF01;
/// NO_ADVERTISE (RFC 1997).
pub const NO_ADVERTISE: u32 = 0xFFFF_FF02;
/// NO_EXPORT_SUBCONFED (RFC 1997).
pub const NO_EXPORT_SUBCONFED: u32 = 0xFFFF_FF03;

impl PathAttributes {
    /// Appends the attributes in order of their codes, as a peer is to see them.
    ///
    /// `four_octet_as` false: AS_PATH and AGGREGATOR with AS_TRANS, and AS4_PATH and AS4_AGGREGATOR
    /// where needed (RFC 6793 §4.2.2). `include_next_hop`: NEXT_HOP (3), if it is an IPv4 address;
    /// MP_REACH_NLRI is written by [`write_announce`](crate::wire::update::write_announce).
    pub fn encode(&self, four_octet_as: bool, include_next_hop: bool, out: &mut Vec<u8>) {
        let _ = (four_octet_as, include_next_hop, out);
        todo!()
    }

    /// Appends the private form for our own tables: equal values give equal bytes.
    pub fn encode_canonical(&self, out: &mut Vec<u8>) {
        let _ = out;
        todo!()
    }

    /// Reads what [`encode_canonical`](Self::encode_canonical) wrote.
    ///
    /// # Errors
    /// Bytes that it did not write.
    pub fn decode_canonical(bytes: &[u8]) -> Result<Self, CanonicalError> {
        let _ = bytes;
        todo!()
    }
}
