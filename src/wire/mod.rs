//! The BGP-4 codec: bytes to messages and back, and nothing else.
//!
//! It is not a session: it keeps no state between messages and decides nothing that needs to know
//! who the peer is beyond what a [`DecodeContext`](update::DecodeContext) says. No input panics, every
//! wire error knows its NOTIFICATION, every attribute fault its RFC 7606 treatment.

pub mod attribute;
pub mod capability;
pub mod error;
pub mod frame;
pub mod notification;
pub mod open;
pub mod route_refresh;
pub mod update;
