//! ROUTE-REFRESH (RFC 2918) and its subtypes (RFC 7313).
//!
//! An ORF part (RFC 5291) after a request is tolerated and not read: dunlin does not offer the
//! capability. Whether a family is negotiated and what to do with a subtype is the session's business.

use nom::Parser;
use nom::number::complete::{be_u8, be_u16};

use super::error::{Parsed, RouteRefreshError};
use super::frame::{MessageKind, begin_message, end_message};
use crate::net::AfiSafi;

/// A ROUTE-REFRESH message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RouteRefresh {
    /// The family it is about; perhaps one that nobody knows.
    pub family: AfiSafi,
    /// 0 a request, 1 begin (BoRR), 2 end (EoRR); others are to be ignored.
    pub subtype: u8,
}

impl RouteRefresh {
    /// Subtype of a request.
    pub const REQUEST: u8 = 0;
    /// Subtype of the beginning of a refresh (BoRR).
    pub const BEGIN: u8 = 1;
    /// Subtype of the end of a refresh (EoRR).
    pub const END: u8 = 2;

    /// Reads the body of a ROUTE-REFRESH.
    ///
    /// # Errors
    /// BoRR or EoRR of another length than 23 (RFC 7313 §5).
    pub fn decode(body: &[u8]) -> Result<Self, RouteRefreshError> {
        let error = || RouteRefreshError {
            body: body.to_vec(),
        };
        let parsed: Parsed<'_, (u16, u8, u8)> = (be_u16, be_u8, be_u8).parse(body);
        let (tail, (afi, subtype, safi)) = parsed.map_err(|_| error())?;
        if matches!(subtype, Self::BEGIN | Self::END) && !tail.is_empty() {
            return Err(error());
        }
        Ok(Self {
            family: AfiSafi { afi, safi },
            subtype,
        })
    }

    /// The whole message.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(23);
        let start = begin_message(&mut out, MessageKind::RouteRefresh);
        out.extend_from_slice(&self.family.afi.to_be_bytes());
        out.extend_from_slice(&[self.subtype, self.family.safi]);
        end_message(&mut out, start);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_markers_are_strict_about_their_length() {
        let orf = [0, 1, 0, 1, 2, 3, 0, 1, 9];
        assert_eq!(
            RouteRefresh::decode(&orf),
            Ok(RouteRefresh {
                family: AfiSafi::IPV4_UNICAST,
                subtype: 0
            })
        );
        let long_marker = [0, 1, 1, 1, 0];
        let notification = RouteRefresh::decode(&long_marker)
            .unwrap_err()
            .notification();
        assert_eq!((notification.code, notification.subcode), (7, 1));
        assert_eq!(notification.data.len(), 24);
        assert_eq!(notification.data[16..], [0, 24, 5, 0, 1, 1, 1, 0]);
    }
}
