//! BGP messages on a byte stream: where one ends, and what of it has not all come yet.
//!
//! It reads no socket. What always holds: only whole, checked messages are handed out, in the order of
//! the stream; nothing behind a bad header is; a stream that is between two messages holds no memory.

use std::io;

use crate::wire::error::HeaderError;
use crate::wire::frame::{self, Step};

/// The incoming side of a byte stream.
#[derive(Debug, Clone)]
pub struct Stream {
    /// The longest message that we take: 65535 if *we* advertised RFC 8654, else 4096.
    max: usize,
    /// The beginning of a message.
    kept: Vec<u8>,
    lost: bool,
}

impl Stream {
    /// A stream of messages of up to `max` octets.
    pub const fn new(max: usize) -> Self {
        Self {
            max,
            kept: Vec::new(),
            lost: false,
        }
    }

    /// The beginning of a message whose rest has not come: less than a whole one.
    pub fn kept(&self) -> &[u8] {
        &self.kept
    }

    /// Whether there was a bad header.
    pub const fn is_lost(&self) -> bool {
        self.lost
    }

    /// The whole messages at the front of `octets`, which are what was [`kept`](Self::kept) and what came
    /// behind it; what is left over is kept. A bad header comes after those before it, and once.
    pub fn cut<'b>(&mut self, octets: &'b [u8]) -> (&'b [u8], Option<HeaderError>) {
        if self.lost {
            return (&[], None);
        }
        let mut whole = 0;
        let bad = loop {
            match frame::next(octets.get(whole..).unwrap_or_default(), self.max) {
                Ok(Step::Message { len, kind: _ }) => whole += len,
                Ok(Step::NeedMore(_)) => break None,
                Err(error) => break Some(error),
            }
        };
        let (messages, rest) = octets.split_at_checked(whole).unwrap_or((octets, &[]));
        self.lost = bad.is_some();
        if self.lost || rest.is_empty() {
            self.kept = Vec::new();
        } else {
            self.kept.clear();
            self.kept.extend_from_slice(rest);
        }
        (messages, bad)
    }

    /// The stream has ended here.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] in the middle of a message.
    pub fn end(&self) -> io::Result<()> {
        if self.kept.is_empty() {
            Ok(())
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }

    #[cfg(test)]
    pub(super) fn holds_nothing(&self) -> bool {
        self.kept.capacity() == 0
    }
}
