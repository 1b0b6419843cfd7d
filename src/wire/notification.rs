//! NOTIFICATION (RFC 4271 §4.5).

/// A NOTIFICATION message; unknown codes survive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// Error code.
    pub code: u8,
    /// Error subcode.
    pub subcode: u8,
    /// Data.
    pub data: Vec<u8>,
}
