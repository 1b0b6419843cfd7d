//! One question of a moment: which route would take this packet? On a socket of its own.
//!
//! The kernel answers while the question is sent; whoever asks waits for nothing.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;

use netlink_packet_core::{NLM_F_REQUEST, NLMSG_ERROR};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::attribute::{put, put_ip};
use super::codec::{Header, RTM_NEWROUTE, error_code, frame, split};
use super::routes;
use super::socket::{Channel, Received};
use crate::dataplane::packet::{Outcome, Packet};
use crate::dataplane::route::Errno;
use crate::net::Prefix;

const RTM_GETROUTE: u16 = 26;
const RTA_DST: u16 = 1;
const RTA_SRC: u16 = 2;
const RTA_IIF: u16 = 3;
/// The table that the route was found in, and the route itself instead of what was made of it.
const LOOKUP_TABLE_AND_FIB_MATCH: u32 = 0x1000 | 0x2000;
/// A kernel that has not answered by then won't: it answers before it returns.
const PATIENCE_MS: u16 = 200;

/// A socket for questions, in the network namespace of whoever opened it.
#[derive(Debug)]
pub struct Questions {
    channel: Channel,
    asked: u32,
}

impl Questions {
    /// Opens the socket; needs no privilege.
    ///
    /// # Errors
    /// There is no netlink.
    pub fn open() -> io::Result<Self> {
        Ok(Self {
            channel: Channel::questions()?,
            asked: 0,
        })
    }

    /// What becomes of a packet.
    ///
    /// # Errors
    /// The kernel does not answer.
    pub fn ask(&mut self, packet: &Packet) -> io::Result<Outcome> {
        self.asked = self.asked.wrapping_add(1);
        let sequence = self.asked;
        let mut request = Vec::new();
        put_request(&mut request, sequence, packet);
        self.channel.send(&request)?;
        loop {
            let mut heard = [PollFd::new(self.channel.as_fd(), PollFlags::POLLIN)];
            if poll(&mut heard, PollTimeout::from(PATIENCE_MS))? == 0 {
                return Err(io::ErrorKind::TimedOut.into());
            }
            match self.channel.receive() {
                Received::Datagram => {}
                Received::Nothing => continue,
                Received::Overrun | Received::Failed => return Err(io::ErrorKind::Other.into()),
            }
            if let Some(outcome) = answer(self.channel.datagram(), sequence) {
                return Ok(outcome);
            }
        }
    }
}

impl Questions {
    /// By which links packets of this host itself leave for an address; none if the kernel does not say.
    ///
    /// # Errors
    /// The kernel does not answer.
    pub fn links_to(&mut self, to: IpAddr) -> io::Result<Vec<u32>> {
        let packet = Packet {
            to,
            from: None,
            arriving: None,
        };
        Ok(match self.ask(&packet)? {
            Outcome::Taken(route) => route
                .shape
                .hops
                .iter()
                .filter_map(|hop| hop.interface)
                .collect(),
            Outcome::Refused(_) => Vec::new(),
        })
    }
}

fn put_request(buffer: &mut Vec<u8>, sequence: u32, packet: &Packet) {
    let Packet { to, from, arriving } = *packet;
    let length = |address: IpAddr| Prefix::host(address).len();
    let family = match to {
        IpAddr::V4(_) => libc::AF_INET,
        IpAddr::V6(_) => libc::AF_INET6,
    };
    let header = Header {
        kind: RTM_GETROUTE,
        flags: NLM_F_REQUEST,
        sequence,
    };
    frame(buffer, header, |body| {
        let family = u8::try_from(family).unwrap_or(0);
        body.extend_from_slice(&[family, length(to), from.map_or(0, length), 0, 0, 0, 0, 0]);
        body.extend_from_slice(&LOOKUP_TABLE_AND_FIB_MATCH.to_ne_bytes());
        put_ip(body, RTA_DST, to);
        if let Some(from) = from {
            put_ip(body, RTA_SRC, from);
        }
        if let Some(link) = arriving {
            put(body, RTA_IIF, &link.to_ne_bytes());
        }
    });
}

/// What a datagram says about the question of this number.
pub fn answer(datagram: &[u8], sequence: u32) -> Option<Outcome> {
    let mut rest = datagram;
    while let Some((header, payload, after)) = split(rest) {
        rest = after;
        if header.sequence != sequence {
            continue;
        }
        if header.kind == NLMSG_ERROR {
            return Some(Outcome::Refused(Errno(error_code(payload))));
        }
        if header.kind == RTM_NEWROUTE {
            // A route by source or type of service takes it; we know no more of those.
            let unreadable = Outcome::Refused(Errno(libc::EOPNOTSUPP));
            return Some(routes::read(payload).map_or(unreadable, Outcome::Taken));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_answer_to_the_question_is_none() {
        let mut question = Vec::new();
        let packet = Packet {
            to: "fd00::1".parse().unwrap(),
            from: Some("fd00::2".parse().unwrap()),
            arriving: Some(7),
        };
        put_request(&mut question, 9, &packet);
        assert_eq!(question.len(), 16 + 12 + 20 + 20 + 8);
        assert_eq!(answer(&question, 9), None, "a question is no answer");
        for cut in 0..question.len() {
            assert_eq!(answer(&question[..cut], 9), None);
        }
        let mut refusal = Vec::new();
        let header = |sequence| Header {
            kind: NLMSG_ERROR,
            flags: 0,
            sequence,
        };
        frame(&mut refusal, header(8), |body| {
            body.extend_from_slice(&(-101_i32).to_ne_bytes())
        });
        frame(&mut refusal, header(9), |body| {
            body.extend_from_slice(&(-22_i32).to_ne_bytes())
        });
        assert_eq!(answer(&refusal, 9), Some(Outcome::Refused(Errno(22))));
        assert_eq!(answer(&refusal, 10), None);
    }
}
