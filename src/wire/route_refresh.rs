//! ROUTE-REFRESH (RFC 2918) and its subtypes (RFC 7313).

use super::error::RouteRefreshError;
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
        let _ = body;
        todo!()
    }

    /// The whole message.
    pub fn encode(&self) -> Vec<u8> {
        todo!()
    }
}
