//! Corpus files: one message a line, `as4=<0|1|?> addpath=<0|1|?> <hex>  # <where it is from>`.
//!
//! The context words are optional. A line that is not hex is an error: a corpus that silently shrinks tests
//! less than it says.

use crate::error::{Context, Error, Result};
use std::path::Path;
use std::sync::Arc;

/// One message to throw.
pub(super) struct Message {
    /// Its bytes.
    pub(super) bytes: Arc<Vec<u8>>,
    /// The session it was seen on used four-octet AS numbers.
    pub(super) four_octet: bool,
    /// Where it is from, for people.
    pub(super) origin: String,
}

impl Message {
    /// The message type octet, zero if there is none.
    pub(super) fn kind(&self) -> u8 {
        self.bytes.get(18).copied().unwrap_or(0)
    }

    /// Whether the length in the header is the length of the bytes: else what follows is out of step.
    pub(super) fn is_framed(&self) -> bool {
        match self.bytes.get(16..18) {
            Some(&[high, low]) => usize::from(u16::from_be_bytes([high, low])) == self.bytes.len(),
            Some(_) | None => false,
        }
    }
}

/// Reads a file.
pub(super) fn read(path: &Path) -> Result<Vec<Message>> {
    let text = std::fs::read_to_string(path).context(format!("reading {}", path.display()))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut out = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let place = format!("{name}:{}", number + 1);
        if let Some(message) = parse(line, &place)? {
            out.push(message);
        }
    }
    Ok(out)
}

fn parse(line: &str, place: &str) -> Result<Option<Message>> {
    let (data, comment) = line.split_once('#').unwrap_or((line, ""));
    let mut four_octet = true;
    let mut bytes = None;
    for word in data.split_whitespace() {
        match word.split_once('=') {
            Some(("as4", value)) => four_octet = value != "0",
            Some(_) => {}
            None => {
                bytes = Some(hex(word).ok_or_else(|| Error::Usage(format!("{place}: not hex")))?)
            }
        }
    }
    Ok(bytes.map(|bytes| Message {
        bytes: Arc::new(bytes),
        four_octet,
        origin: format!("{place} {}", comment.trim()),
    }))
}

pub(crate) fn hex(word: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = word
        .chars()
        .map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok()))
        .collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    let pairs = digits.chunks_exact(2);
    Some(
        pairs
            .map(|pair| pair.iter().fold(0, |octet, digit| octet << 4 | digit))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_gives_bytes_and_context() {
        let message = parse("as4=0 addpath=? 00ff10  # a.pcap", "f:1")
            .unwrap()
            .unwrap();
        assert_eq!(*message.bytes, [0, 0xff, 0x10]);
        assert!(!message.four_octet && !message.is_framed());
        assert_eq!(message.origin, "f:1 a.pcap");
    }

    #[test]
    fn a_comment_is_no_message_and_bad_hex_is_an_error() {
        assert!(parse("# nothing here", "f:1").unwrap().is_none());
        assert!(parse("as4=1 zz", "f:1").is_err());
        assert!(parse("abc", "f:1").is_err());
    }

    #[test]
    fn a_message_whose_header_tells_its_length_is_framed() {
        let line = format!("{}001304", "ff".repeat(16));
        let message = parse(&line, "f:1").unwrap().unwrap();
        assert!(message.is_framed());
        assert_eq!(message.kind(), 4);
    }
}
