//! Framing: where one message ends and the next begins (RFC 4271 §4.1, RFC 8654).
//!
//! Errors are decided from the 19 octets of the header alone, before the body is there. It does not
//! look into bodies and it copies nothing.

use super::error::HeaderError;

/// Octets of the header.
pub const HEADER_LEN: usize = 19;
/// The longest message without RFC 8654.
pub const MAX_LEN: usize = 4096;
/// The longest message with RFC 8654.
pub const MAX_EXTENDED_LEN: usize = 65535;

/// The KEEPALIVE, whole.
pub const KEEPALIVE: [u8; HEADER_LEN] = [
    0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
    0, 19, 4,
];

/// The type of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MessageKind {
    /// 1
    Open,
    /// 2
    Update,
    /// 3
    Notification,
    /// 4
    Keepalive,
    /// 5 (RFC 2918)
    RouteRefresh,
}

impl MessageKind {
    /// The number on the wire.
    pub const fn code(self) -> u8 {
        match self {
            Self::Open => 1,
            Self::Update => 2,
            Self::Notification => 3,
            Self::Keepalive => 4,
            Self::RouteRefresh => 5,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Open,
            2 => Self::Update,
            3 => Self::Notification,
            4 => Self::Keepalive,
            5 => Self::RouteRefresh,
            _ => return None,
        })
    }

    /// The shortest message of the type, header included.
    const fn min_len(self) -> usize {
        match self {
            Self::Open => 29,
            Self::Update | Self::RouteRefresh => 23,
            Self::Notification => 21,
            Self::Keepalive => HEADER_LEN,
        }
    }

    /// The longest message of the type where `max` is agreed (RFC 8654 §4).
    fn max_len(self, max: usize) -> usize {
        match self {
            Self::Open => max.min(MAX_LEN),
            Self::Keepalive => HEADER_LEN,
            Self::Update | Self::Notification | Self::RouteRefresh => max,
        }
    }
}

impl core::fmt::Display for MessageKind {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Open => "OPEN",
            Self::Update => "UPDATE",
            Self::Notification => "NOTIFICATION",
            Self::Keepalive => "KEEPALIVE",
            Self::RouteRefresh => "ROUTE-REFRESH",
        })
    }
}

/// What the front of a buffer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// At least this many more octets are needed.
    NeedMore(usize),
    /// A whole message.
    Message {
        /// Its type.
        kind: MessageKind,
        /// Its length, header included.
        len: usize,
    },
}

/// Looks at the front of `buf`; `max` is the longest message that *we* said we take.
///
/// # Errors
/// A header that no message can have; the stream is lost.
pub fn next(buf: &[u8], max: usize) -> Result<Step, HeaderError> {
    let Some(header) = buf.first_chunk::<HEADER_LEN>() else {
        return Ok(Step::NeedMore(HEADER_LEN - buf.len()));
    };
    let [marker @ .., high, low, code] = header;
    if marker.iter().any(|octet| *octet != 0xFF) {
        return Err(HeaderError::Marker);
    }
    let wire_len = u16::from_be_bytes([*high, *low]);
    let len = usize::from(wire_len);
    if len < HEADER_LEN || len > max {
        return Err(HeaderError::Length(wire_len));
    }
    let kind = MessageKind::from_code(*code).ok_or(HeaderError::Kind(*code))?;
    if len < kind.min_len() || len > kind.max_len(max) {
        return Err(HeaderError::Length(wire_len));
    }
    match len.checked_sub(buf.len()) {
        None | Some(0) => Ok(Step::Message { kind, len }),
        Some(missing) => Ok(Step::NeedMore(missing)),
    }
}

/// The messages in `whole`, which [`next`] has checked one by one.
pub fn messages(whole: &[u8]) -> Messages<'_> {
    Messages { rest: whole }
}

/// Iterator over whole messages: type and body without the header.
#[derive(Debug, Clone)]
pub struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Messages<'a> {
    type Item = (MessageKind, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let [_marker @ .., high, low, code] = self.rest.first_chunk::<HEADER_LEN>()?;
        let kind = MessageKind::from_code(*code)?;
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        let (message, rest) = self.rest.split_at_checked(len)?;
        let body = message.get(HEADER_LEN..)?;
        self.rest = rest;
        Some((kind, body))
    }
}

/// Appends a header whose length [`end_message`] fills in; gives the place where it starts.
pub(crate) fn begin_message(out: &mut Vec<u8>, kind: MessageKind) -> usize {
    let start = out.len();
    out.extend_from_slice(&KEEPALIVE);
    if let Some(code) = out.last_mut() {
        *code = kind.code();
    }
    start
}

/// Fills in the length of the message that starts at `start` and ends here.
pub(crate) fn end_message(out: &mut [u8], start: usize) {
    let len = u16::try_from(out.len() - start).unwrap_or(u16::MAX);
    put_u16(out, start + 16, len);
}

/// Overwrites two octets that were pushed as a place holder.
pub(crate) fn put_u16(out: &mut [u8], at: usize, value: u16) {
    if let Some(field) = out.get_mut(at..at + 2) {
        field.copy_from_slice(&value.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(len: u16, code: u8) -> Vec<u8> {
        let mut buf = KEEPALIVE.to_vec();
        buf[16..18].copy_from_slice(&len.to_be_bytes());
        buf[18] = code;
        buf
    }

    #[test]
    fn a_bad_header_is_refused_before_its_body_arrives() {
        let next = |len, code| next(&header(len, code), MAX_LEN);
        for len in [0, 18, 4097, 65535] {
            assert_eq!(next(len, 2), Err(HeaderError::Length(len)));
        }
        assert_eq!(next(28, 1), Err(HeaderError::Length(28)));
        assert_eq!(next(22, 2), Err(HeaderError::Length(22)));
        assert_eq!(next(20, 3), Err(HeaderError::Length(20)));
        assert_eq!(next(20, 4), Err(HeaderError::Length(20)));
        assert_eq!(next(22, 5), Err(HeaderError::Length(22)));
        for code in [0, 6, 255] {
            assert_eq!(next(23, code), Err(HeaderError::Kind(code)));
        }
        assert_eq!(next(4096, 2), Ok(Step::NeedMore(4096 - 19)));
    }

    #[test]
    fn every_marker_octet_is_checked() {
        for i in 0..16 {
            let mut buf = KEEPALIVE;
            buf[i] = 0xFE;
            assert_eq!(next(&buf, MAX_LEN), Err(HeaderError::Marker));
        }
    }

    #[test]
    fn extended_messages_are_not_for_open_and_keepalive() {
        let next = |len, code| next(&header(len, code), MAX_EXTENDED_LEN);
        assert_eq!(next(65535, 2), Ok(Step::NeedMore(65535 - 19)));
        assert_eq!(next(4097, 1), Err(HeaderError::Length(4097)));
        assert_eq!(next(4097, 4), Err(HeaderError::Length(4097)));
    }
}
