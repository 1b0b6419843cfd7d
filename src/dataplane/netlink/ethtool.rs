//! Offloading by ethtool's generic netlink family (Linux 5.6 and later); no ioctl.
//!
//! The kernel answers a change that a link can't make with success and a list of what is otherwise
//! than asked for. Here that is a refusal.

use std::io;

use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST, NLMSG_ERROR};

use super::super::route::Errno;
use super::attribute::{each, nest, put, put_text};
use super::codec::{Header, error_code, frame, split};
use super::socket::{Channel, Received};

/// The controller of families, whose number is fixed.
const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
const FAMILY: &str = "ethtool";

const FEATURES_SET: u8 = 12;
const FEATURES_HEADER: u16 = 1;
const FEATURES_WANTED: u16 = 3;
const HEADER_DEV_NAME: u16 = 2;
const BITSET_BITS: u16 = 3;
const BITS_BIT: u16 = 1;
const BIT_NAME: u16 = 2;
const BIT_VALUE: u16 = 3;
const CHECKSUMS: &str = "tx-checksum-ip-generic";
/// Command, version, two reserved octets.
const GENERIC_HEAD: usize = 4;

/// The socket and the family's number, from the first use on.
#[derive(Debug, Default)]
pub(super) struct Ethtool {
    open: Option<(Channel, u16)>,
    sequence: u32,
}

impl Ethtool {
    /// Switches the offloading of transmit checksums of a link.
    pub(super) fn offload(&mut self, link: &str, on: bool) -> Result<(), Errno> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.connect()?,
        };
        self.sequence = self.sequence.wrapping_add(1);
        let mut bytes = Vec::new();
        put_offload(&mut bytes, open.1, self.sequence, link, on);
        let answer = ask(&mut open.0, &bytes, self.sequence);
        self.open = Some(open);
        match answer? {
            Some(reply) if differs(&reply) => Err(Errno::EOPNOTSUPP),
            Some(_) | None => Ok(()),
        }
    }

    fn connect(&mut self) -> Result<(Channel, u16), Errno> {
        let mut channel = Channel::generic().map_err(|error| errno(&error))?;
        self.sequence = self.sequence.wrapping_add(1);
        let mut bytes = Vec::new();
        put_question(&mut bytes, self.sequence);
        let reply = match ask(&mut channel, &bytes, self.sequence) {
            // A kernel without the family.
            Err(Errno::ENOENT) => return Err(Errno::EOPNOTSUPP),
            other => other?,
        };
        let family = reply.as_deref().and_then(family).ok_or(Errno::EOPNOTSUPP)?;
        Ok((channel, family))
    }
}

/// Sends a request and reads up to its acknowledgement; what was answered before that is handed
/// back. The kernel carries it out while it is sent: there is nothing to wait for.
fn ask(channel: &mut Channel, bytes: &[u8], sequence: u32) -> Result<Option<Vec<u8>>, Errno> {
    channel.send(bytes).map_err(|error| errno(&error))?;
    let mut reply = None;
    loop {
        match channel.receive() {
            Received::Datagram => {}
            Received::Nothing | Received::Overrun | Received::Failed => return Err(Errno::ENOBUFS),
        }
        let mut rest = channel.datagram();
        while let Some((header, payload, next)) = split(rest) {
            rest = next;
            if header.sequence != sequence {
                continue;
            }
            if header.kind != NLMSG_ERROR {
                reply = Some(payload.to_vec());
                continue;
            }
            return match error_code(payload) {
                0 => Ok(reply),
                code => Err(Errno(code)),
            };
        }
    }
}

fn errno(error: &io::Error) -> Errno {
    Errno(error.raw_os_error().unwrap_or(Errno::ENOBUFS.0))
}

fn put_generic(
    bytes: &mut Vec<u8>,
    kind: u16,
    sequence: u32,
    command: u8,
    fill: impl FnOnce(&mut Vec<u8>),
) {
    let header = Header {
        kind,
        flags: NLM_F_REQUEST | NLM_F_ACK,
        sequence,
    };
    frame(bytes, header, |body| {
        body.extend_from_slice(&[command, 1, 0, 0]);
        fill(body);
    });
}

fn put_question(bytes: &mut Vec<u8>, sequence: u32) {
    put_generic(bytes, GENL_ID_CTRL, sequence, CTRL_CMD_GETFAMILY, |body| {
        put_text(body, CTRL_ATTR_FAMILY_NAME, FAMILY);
    });
}

fn put_offload(bytes: &mut Vec<u8>, family: u16, sequence: u32, link: &str, on: bool) {
    put_generic(bytes, family, sequence, FEATURES_SET, |body| {
        nest(body, FEATURES_HEADER, |head| {
            put_text(head, HEADER_DEV_NAME, link);
        });
        nest(body, FEATURES_WANTED, |set| {
            nest(set, BITSET_BITS, |bits| {
                nest(bits, BITS_BIT, |bit| {
                    put_text(bit, BIT_NAME, CHECKSUMS);
                    if on {
                        put(bit, BIT_VALUE, &[]);
                    }
                });
            });
        });
    });
}

fn family(reply: &[u8]) -> Option<u16> {
    each(reply.get(GENERIC_HEAD..)?)
        .find(|(kind, _)| *kind == CTRL_ATTR_FAMILY_ID)
        .and_then(|(_, value)| value.try_into().ok())
        .map(u16::from_ne_bytes)
}

/// Whether the answer to a change names a feature that is not as asked for.
fn differs(reply: &[u8]) -> bool {
    let inner = |bytes, wanted| {
        each(bytes)
            .find(|(kind, _)| *kind == wanted)
            .map_or(&[][..], |(_, value)| value)
    };
    let wanted = inner(
        reply.get(GENERIC_HEAD..).unwrap_or_default(),
        FEATURES_WANTED,
    );
    each(inner(wanted, BITSET_BITS)).any(|(kind, _)| kind == BITS_BIT)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_answer_panics(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = (family(&bytes), differs(&bytes));
        }
    }
}
