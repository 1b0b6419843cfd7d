//! NOTIFICATION (RFC 4271 §4.5): the last word of a session.
//!
//! Any code survives, known or not. Texts of a peer come out escaped: they go to logs and terminals.
//! When to send one is the session's business.

use core::fmt;

use nom::Parser;
use nom::bytes::complete::take;
use nom::number::complete::be_u8;

use super::error::{HeaderError, Parsed, Short};
use super::frame::{HEADER_LEN, MAX_LEN, MessageKind, begin_message, end_message};

/// Code 6, Cease.
pub const CEASE: u8 = 6;
/// Cease/Maximum Number of Prefixes Reached (RFC 4486).
pub const MAX_PREFIXES: u8 = 1;
/// Cease/Administrative Shutdown (RFC 4486, RFC 9003).
pub const ADMINISTRATIVE_SHUTDOWN: u8 = 2;
/// Cease/Peer De-configured (RFC 4486).
pub const PEER_DECONFIGURED: u8 = 3;
/// Cease/Administrative Reset (RFC 4486, RFC 9003).
pub const ADMINISTRATIVE_RESET: u8 = 4;
/// Cease/Connection Rejected (RFC 4486).
pub const CONNECTION_REJECTED: u8 = 5;
/// Cease/Other Configuration Change (RFC 4486).
pub const OTHER_CONFIGURATION_CHANGE: u8 = 6;
/// Cease/Connection Collision Resolution (RFC 4486).
pub const COLLISION_RESOLUTION: u8 = 7;
/// Cease/Out of Resources (RFC 4486).
pub const OUT_OF_RESOURCES: u8 = 8;
/// Cease/Hard Reset (RFC 8538).
pub const HARD_RESET: u8 = 9;
/// Cease/BFD Down (RFC 9384).
pub const BFD_DOWN: u8 = 10;

/// The longest shutdown text in octets (RFC 9003 §2).
const MAX_TEXT: usize = 255;

/// The registered error codes.
const CODES: &[(u8, &str)] = &[
    (1, "Message Header Error"),
    (2, "OPEN Message Error"),
    (3, "UPDATE Message Error"),
    (4, "Hold Timer Expired"),
    (5, "Finite State Machine Error"),
    (CEASE, "Cease"),
    (7, "ROUTE-REFRESH Message Error"),
    (8, "Send Hold Timer Expired"),
    (9, "Loss of LSDB Synchronization"),
];

/// The registered subcodes of each code.
const SUBCODES: &[(u8, u8, &str)] = &[
    (1, 1, "Connection Not Synchronized"),
    (1, 2, "Bad Message Length"),
    (1, 3, "Bad Message Type"),
    (2, 1, "Unsupported Version Number"),
    (2, 2, "Bad Peer AS"),
    (2, 3, "Bad BGP Identifier"),
    (2, 4, "Unsupported Optional Parameter"),
    (2, 5, "Authentication Failure (deprecated)"),
    (2, 6, "Unacceptable Hold Time"),
    (2, 7, "Unsupported Capability"),
    (2, 11, "Role Mismatch"),
    (3, 1, "Malformed Attribute List"),
    (3, 2, "Unrecognized Well-known Attribute"),
    (3, 3, "Missing Well-known Attribute"),
    (3, 4, "Attribute Flags Error"),
    (3, 5, "Attribute Length Error"),
    (3, 6, "Invalid ORIGIN Attribute"),
    (3, 7, "AS Routing Loop (deprecated)"),
    (3, 8, "Invalid NEXT_HOP Attribute"),
    (3, 9, "Optional Attribute Error"),
    (3, 10, "Invalid Network Field"),
    (3, 11, "Malformed AS_PATH"),
    (5, 1, "Unexpected Message in OpenSent"),
    (5, 2, "Unexpected Message in OpenConfirm"),
    (5, 3, "Unexpected Message in Established"),
    (CEASE, MAX_PREFIXES, "Maximum Number of Prefixes Reached"),
    (CEASE, ADMINISTRATIVE_SHUTDOWN, "Administrative Shutdown"),
    (CEASE, PEER_DECONFIGURED, "Peer De-configured"),
    (CEASE, ADMINISTRATIVE_RESET, "Administrative Reset"),
    (CEASE, CONNECTION_REJECTED, "Connection Rejected"),
    (
        CEASE,
        OTHER_CONFIGURATION_CHANGE,
        "Other Configuration Change",
    ),
    (
        CEASE,
        COLLISION_RESOLUTION,
        "Connection Collision Resolution",
    ),
    (CEASE, OUT_OF_RESOURCES, "Out of Resources"),
    (CEASE, HARD_RESET, "Hard Reset"),
    (CEASE, BFD_DOWN, "BFD Down"),
    (7, 1, "Invalid Message Length"),
];

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
    /// Not UTF-8; the text, escaped.
    #[error("the shutdown text is not UTF-8: \"{0}\"")]
    NotUtf8(String),
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

    /// A Cease without data.
    pub const fn cease(subcode: u8) -> Self {
        Self::new(CEASE, subcode, Vec::new())
    }

    /// Cease/Administrative Shutdown with a text for the peer's operator, cut at 255 octets.
    pub fn administrative_shutdown(text: &str) -> Self {
        Self::new(CEASE, ADMINISTRATIVE_SHUTDOWN, text_data(text))
    }

    /// Cease/Administrative Reset with a text for the peer's operator, cut at 255 octets.
    pub fn administrative_reset(text: &str) -> Self {
        Self::new(CEASE, ADMINISTRATIVE_RESET, text_data(text))
    }

    /// Wraps `self` into a Cease/Hard Reset: graceful restart is not to follow (RFC 8538 §3).
    #[must_use]
    pub fn into_hard_reset(self) -> Self {
        let mut data = vec![self.code, self.subcode];
        data.extend_from_slice(&self.data);
        Self::new(CEASE, HARD_RESET, data)
    }

    /// Whether it is a Cease/Hard Reset.
    pub const fn is_hard_reset(&self) -> bool {
        self.code == CEASE && self.subcode == HARD_RESET
    }

    /// What a Cease/Hard Reset wraps; `None` if it is none or wraps nothing.
    pub fn hard_reset_reason(&self) -> Option<Self> {
        if !self.is_hard_reset() {
            return None;
        }
        let [code, subcode, data @ ..] = self.data.as_slice() else {
            return None;
        };
        Some(Self::new(*code, *subcode, data.to_vec()))
    }

    /// The text of an Administrative Shutdown or Reset (RFC 9003), escaped so that it can be logged.
    ///
    /// `None`: there is no text. `Some(Err)`: there is one that breaks the RFC; the error holds what
    /// could be read of it, and never an octet from beyond the message.
    pub fn shutdown_text(&self) -> Option<Result<String, ShutdownTextError>> {
        if self.code != CEASE
            || !matches!(self.subcode, ADMINISTRATIVE_SHUTDOWN | ADMINISTRATIVE_RESET)
        {
            return None;
        }
        let (&claimed, rest) = self.data.split_first()?;
        if claimed == 0 {
            return None;
        }
        let Some((text, _)) = rest.split_at_checked(usize::from(claimed)) else {
            let (present, text) = (rest.len(), escape(rest));
            return Some(Err(ShutdownTextError::Overrun {
                claimed,
                present,
                text,
            }));
        };
        Some(match core::str::from_utf8(text) {
            Ok(_) => Ok(escape(text)),
            Err(_) => Err(ShutdownTextError::NotUtf8(escape(text))),
        })
    }

    /// The registered name of the code.
    pub fn code_name(&self) -> Option<&'static str> {
        CODES
            .iter()
            .find(|(code, _)| *code == self.code)
            .map(|(_, name)| *name)
    }

    /// The registered name of the subcode.
    pub fn subcode_name(&self) -> Option<&'static str> {
        let known = |row: &&(u8, u8, &'static str)| (row.0, row.1) == (self.code, self.subcode);
        SUBCODES.iter().find(known).map(|(_, _, name)| *name)
    }

    /// Reads the body of a NOTIFICATION.
    ///
    /// # Errors
    /// A body below two octets, which [`frame::next`](super::frame::next) does not let through.
    pub fn decode(body: &[u8]) -> Result<Self, HeaderError> {
        let parsed: Parsed<'_, (u8, u8)> = (be_u8, be_u8).parse(body);
        match parsed {
            Ok((data, (code, subcode))) => Ok(Self::new(code, subcode, data.to_vec())),
            Err(_) => {
                let length = u16::try_from(HEADER_LEN + body.len()).unwrap_or(u16::MAX);
                Err(HeaderError::Length(length))
            }
        }
    }

    /// The whole message; the data is cut so that it never exceeds 4096 octets (RFC 8654 §4).
    pub fn encode(&self) -> Vec<u8> {
        let room = MAX_LEN - HEADER_LEN - 2;
        let data = self.data.get(..room).unwrap_or(&self.data);
        let mut out = Vec::with_capacity(HEADER_LEN + 2 + data.len());
        let start = begin_message(&mut out, MessageKind::Notification);
        out.extend_from_slice(&[self.code, self.subcode]);
        out.extend_from_slice(data);
        end_message(&mut out, start);
        out
    }
}

impl fmt::Display for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code_name().unwrap_or("Unknown Error"))?;
        if let Some(name) = self.subcode_name() {
            write!(f, "/{name}")?;
        }
        write!(f, " ({}/{})", self.code, self.subcode)?;
        match self.shutdown_text() {
            Some(Ok(text)) => write!(f, ": \"{text}\"")?,
            Some(Err(error)) => write!(f, ": {error}")?,
            None => {}
        }
        match self.hard_reset_reason() {
            // A reset wrapped in a reset has no meaning; not following it bounds the recursion.
            Some(reason) if !reason.is_hard_reset() => write!(f, " because of {reason}"),
            Some(_) | None => Ok(()),
        }
    }
}

/// The length octet and the text, cut on a character's boundary.
fn text_data(text: &str) -> Vec<u8> {
    let cut = (0..=MAX_TEXT).rev().find_map(|len| text.get(..len));
    let text = if text.len() <= MAX_TEXT {
        text
    } else {
        cut.unwrap_or_default()
    };
    let mut data = Vec::with_capacity(text.len() + 1);
    data.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
    data.extend_from_slice(text.as_bytes());
    data
}

/// Text of a peer for logs: control characters, quotes and what is not UTF-8 are escaped.
pub(crate) fn escape(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        // An apostrophe is harmless between double quotes; each one is preceded by its own escape.
        out.push_str(&chunk.valid().escape_debug().to_string().replace("\\'", "'"));
        for octet in chunk.invalid() {
            out.push_str(&format!("\\x{octet:02x}"));
        }
    }
    out
}

/// `len` octets, then the text of them: the inner form of FQDN fields.
pub(crate) fn counted(input: &[u8]) -> Parsed<'_, &[u8]> {
    let (input, len) = be_u8::<_, Short>(input)?;
    take(len)(input)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_and_unknown_codes_have_a_name() {
        let text = |code, subcode| Notification::new(code, subcode, Vec::new()).to_string();
        assert_eq!(text(4, 0), "Hold Timer Expired (4/0)");
        assert_eq!(text(6, 7), "Cease/Connection Collision Resolution (6/7)");
        assert_eq!(text(99, 1), "Unknown Error (99/1)");
        assert_eq!(text(3, 200), "UPDATE Message Error (3/200)");
        let shutdown = Notification::administrative_shutdown("it's \"maintenance\"");
        assert_eq!(
            shutdown.to_string(),
            "Cease/Administrative Shutdown (6/2): \"it's \\\"maintenance\\\"\""
        );
    }

    #[test]
    fn the_registry_has_no_subcode_twice() {
        for (i, a) in SUBCODES.iter().enumerate() {
            assert!(
                SUBCODES[i + 1..].iter().all(|b| (a.0, a.1) != (b.0, b.1)),
                "{a:?}"
            );
            assert!(CODES.iter().any(|(code, _)| *code == a.0), "{a:?}");
        }
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let n = Notification::administrative_shutdown(&"é".repeat(200));
        assert_eq!(n.data.len(), 255);
        assert_eq!(n.data[0], 254);
        assert_eq!(n.shutdown_text(), Some(Ok("é".repeat(127))));
    }

    #[test]
    fn a_text_never_reaches_past_the_message() {
        let n = Notification::new(6, 2, b"\xffbye".to_vec());
        let error = n.shutdown_text().unwrap().unwrap_err();
        let text = "bye".to_owned();
        assert_eq!(
            error,
            ShutdownTextError::Overrun {
                claimed: 255,
                present: 3,
                text
            }
        );
        assert_eq!(Notification::new(6, 2, vec![0, b'x']).shutdown_text(), None);
        assert_eq!(Notification::new(6, 3, vec![1, b'x']).shutdown_text(), None);
    }

    #[test]
    fn what_would_garble_a_terminal_is_escaped() {
        let n = Notification::new(6, 4, b"\x04a\x1b\xff\n".to_vec());
        let error = n.shutdown_text().unwrap().unwrap_err();
        assert_eq!(
            error,
            ShutdownTextError::NotUtf8("a\\u{1b}\\xff\\n".to_owned())
        );
    }

    #[test]
    fn hard_resets_wrap_and_unwrap() {
        let reason = Notification::administrative_shutdown("off");
        let hard = reason.clone().into_hard_reset();
        assert_eq!(hard.hard_reset_reason(), Some(reason));
        assert_eq!(Notification::cease(9).hard_reset_reason(), None);
        let text = hard.into_hard_reset().to_string();
        assert_eq!(text, "Cease/Hard Reset (6/9)");
    }

    #[test]
    fn a_long_one_is_cut_at_4096() {
        let whole = Notification::new(2, 7, vec![1; 9000]).encode();
        assert_eq!(whole.len(), 4096);
        assert_eq!(whole[16..18], [0x10, 0x00]);
    }
}
