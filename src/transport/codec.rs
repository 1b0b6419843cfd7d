//! BGP messages on a byte stream, for `tokio_util::codec`.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

use crate::wire::error::HeaderError;
use crate::wire::frame::{self, Step};

/// What a stream gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// One or more whole, checked messages: all that the buffer held.
    Messages(Bytes),
    /// The stream is lost; nothing more is decoded.
    Bad(HeaderError),
}

/// Cuts a byte stream into whole messages, and writes what it is given.
#[derive(Debug, Clone)]
pub struct FrameCodec {
    /// The longest message that we take: 65535 if *we* advertised RFC 8654, else 4096.
    pub max: usize,
    lost: bool,
}

impl FrameCodec {
    /// A codec that takes messages of up to `max` octets.
    pub const fn new(max: usize) -> Self {
        Self { max, lost: false }
    }
}

impl Decoder for FrameCodec {
    type Item = Incoming;
    type Error = io::Error;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Incoming>, io::Error> {
        if self.lost {
            src.clear();
            return Ok(None);
        }
        let mut whole = 0;
        loop {
            match frame::next(src.get(whole..).unwrap_or_default(), self.max) {
                Ok(Step::Message { len, kind: _ }) => whole += len,
                Ok(Step::NeedMore(missing)) if whole == 0 => {
                    src.reserve(missing);
                    return Ok(None);
                }
                // The messages before a bad one are handed out first; it is met again after them.
                Ok(Step::NeedMore(_)) => break,
                Err(_) if whole > 0 => break,
                Err(error) => {
                    self.lost = true;
                    src.clear();
                    return Ok(Some(Incoming::Bad(error)));
                }
            }
        }
        Ok(Some(Incoming::Messages(src.split_to(whole).freeze())))
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<Incoming>, io::Error> {
        match self.decode(src)? {
            Some(incoming) => Ok(Some(incoming)),
            None if src.is_empty() => Ok(None),
            None => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("the stream ended {} octets into a message", src.len()),
            )),
        }
    }
}

impl Encoder<Bytes> for FrameCodec {
    type Error = io::Error;

    fn encode(&mut self, item: Bytes, dst: &mut BytesMut) -> Result<(), io::Error> {
        dst.extend_from_slice(&item);
        Ok(())
    }
}
