//! NOTIFICATION (RFC 4271 §4.5).

use super::error::HeaderError;

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

impl Notification {
    /// A NOTIFICATION of these three fields.
    pub const fn new(code: u8, subcode: u8, data: Vec<u8>) -> Self {
        Self {
            code,
            subcode,
            data,
        }
    }

    /// A Cease (6) without data.
    pub const fn cease(subcode: u8) -> Self {
        Self::new(6, subcode, Vec::new())
    }

    /// Cease/Administrative Shutdown (6/2) with a text for the peer's operator (RFC 9003).
    pub fn administrative_shutdown(text: &str) -> Self {
        let _ = text;
        todo!()
    }

    /// Wraps `self` into a Cease/Hard Reset (6/9, RFC 8538 §3).
    pub fn into_hard_reset(self) -> Self {
        todo!()
    }

    /// What a Cease/Hard Reset wraps; `None` if it is none or wraps nothing.
    pub fn hard_reset_reason(&self) -> Option<Self> {
        todo!()
    }

    /// The text of 6/2 and 6/4 (RFC 9003), escaped so that it can be logged.
    ///
    /// `None`: the NOTIFICATION has no text. `Some(Err)`: it has one that breaks the RFC; the error
    /// holds what could be read.
    pub fn shutdown_text(&self) -> Option<Result<String, ShutdownTextError>> {
        todo!()
    }

    /// Reads the body of a NOTIFICATION.
    ///
    /// # Errors
    /// A body below two octets, which [`frame::next`](super::frame::next) does not let through.
    pub fn decode(body: &[u8]) -> Result<Self, HeaderError> {
        let _ = body;
        todo!()
    }

    /// The whole message; the data is cut so that it never exceeds 4096 octets (RFC 8654 §4).
    pub fn encode(&self) -> Vec<u8> {
        todo!()
    }
}

/// A shutdown text that breaks RFC 9003.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShutdownTextError {
    /// The length octet points past the message.
    #[error("the shutdown text claims {claimed} octets and has {present}: \"{text}\"")]
    Overrun {
        /// The length octet.
        claimed: u8,
        /// What is there.
        present: usize,
        /// What is there, escaped.
        text: String,
    },
    /// Not UTF-8.
    #[error("the shutdown text is not UTF-8: \"{0}\"")]
    NotUtf8(String),
}
