//! rtnetlink, as much of it as it takes to read a table, hear of changes and delete something.
//!
//! Messages stay bytes: what was read goes back as the request to delete it. `object` gives them a meaning.

use crate::error::{Context, Error, Result};
use crate::space;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::sockopt::RcvBufForce;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send,
    setsockopt, socket,
};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// The message types of rtnetlink(7) that are used. A deletion is its `NEW` and one.
pub(crate) const NEW_LINK: u16 = 16;
/// An address of a link.
pub(crate) const NEW_ADDRESS: u16 = 20;
/// A route.
pub(crate) const NEW_ROUTE: u16 = 24;
/// A neighbour or FDB entry.
pub(crate) const NEW_NEIGHBOUR: u16 = 28;

const GROUPS: u32 = 0x1 | 0x4 | 0x10 | 0x40 | 0x100 | 0x400; // links, neighbours, addresses and routes of both families
const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
const DUMP: u16 = 0x300;
const HEADER: usize = 16;
const ERROR: u16 = 2;
const DONE: u16 = 3;

/// A message of the kernel: its type and what follows the header.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    /// One of the types above, or that and one.
    pub(crate) kind: u16,
    /// The fixed part and the attributes.
    pub(crate) body: Vec<u8>,
}

/// A socket in one namespace.
pub(crate) struct Netlink {
    socket: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Netlink {
    /// One to ask with.
    pub(crate) fn asking(namespace: &str) -> Result<Self> {
        Self::open(namespace, 0)
    }

    /// One that hears of every change.
    pub(crate) fn listening(namespace: &str) -> Result<Self> {
        Self::open(namespace, GROUPS)
    }

    fn open(namespace: &str, groups: u32) -> Result<Self> {
        space::within(namespace, || {
            let socket = socket(
                AddressFamily::Netlink,
                SockType::Raw,
                SockFlag::SOCK_CLOEXEC,
                SockProtocol::NetlinkRoute,
            )
            .context("opening a netlink socket")?;
            setsockopt(&socket, RcvBufForce, &(8 << 20)).context("setting a receive buffer")?;
            bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups))
                .context("binding a netlink socket")?;
            Ok(Self {
                socket,
                sequence: 0,
                buffer: vec![0; 1 << 17],
            })
        })
    }

    /// Everything of a kind; `head` is the fixed part that asks for it.
    pub(crate) fn dump(&mut self, new: u16, head: &[u8]) -> Result<Vec<Message>> {
        // The GET of a kind is its NEW and two.
        self.request(new + 2, REQUEST | DUMP, head)?;
        let mut all = Vec::new();
        loop {
            for message in self.receive(Duration::from_secs(10))? {
                match message.kind {
                    DONE => return Ok(all),
                    ERROR => return Err(Error::io("reading a table", refusal(&message))),
                    _ => all.push(message),
                }
            }
        }
    }

    /// Deletes what `message` says is there.
    pub(crate) fn delete(&mut self, message: &Message) -> std::result::Result<(), Errno> {
        let kind = message.kind | 1;
        let failed = |_| Errno::EIO;
        self.request(kind, REQUEST | ACK, &message.body)
            .map_err(failed)?;
        loop {
            let answers = self.receive(Duration::from_secs(10)).map_err(failed)?;
            if let Some(answer) = answers.iter().find(|m| m.kind == ERROR) {
                return match refusal(answer) {
                    Errno::UnknownErrno => Ok(()),
                    errno => Err(errno),
                };
            }
        }
    }

    /// What comes within that time: the messages of one read, or none.
    pub(crate) fn hear(&mut self, within: Duration) -> Result<Vec<Message>> {
        let deadline = Instant::now() + within;
        let left = deadline.saturating_duration_since(Instant::now());
        let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut polled = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        match poll(&mut polled, left) {
            Ok(0) | Err(Errno::EINTR) => Ok(Vec::new()),
            Ok(_) => self.read(),
            Err(errno) => Err(Error::io("waiting for the kernel", errno)),
        }
    }

    fn receive(&mut self, within: Duration) -> Result<Vec<Message>> {
        let messages = self.hear(within)?;
        if messages.is_empty() {
            return Err(Error::Nothing("the kernel does not answer".to_owned()));
        }
        Ok(messages)
    }

    fn request(&mut self, kind: u16, flags: u16, body: &[u8]) -> Result<()> {
        self.sequence += 1;
        let length = u32::try_from(HEADER + body.len()).unwrap_or(u32::MAX);
        let mut bytes = Vec::with_capacity(HEADER + body.len());
        bytes.extend(length.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(self.sequence.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(body);
        send(self.socket.as_raw_fd(), &bytes, MsgFlags::empty())
            .map(|_| ())
            .context("asking the kernel")
    }

    fn read(&mut self) -> Result<Vec<Message>> {
        let length = recv(self.socket.as_raw_fd(), &mut self.buffer, MsgFlags::empty())
            .context("hearing the kernel")?;
        Ok(messages(self.buffer.get(..length).unwrap_or(&[])))
    }
}

/// The error in an answer; `UnknownErrno` (zero) is "done".
fn refusal(message: &Message) -> Errno {
    let code = message.body.get(..4).and_then(|b| b.try_into().ok());
    code.map_or(Errno::EIO, |bytes| {
        Errno::from_raw(-i32::from_ne_bytes(bytes))
    })
}

fn messages(mut bytes: &[u8]) -> Vec<Message> {
    let mut messages = Vec::new();
    while let Some((length, kind)) = head(bytes) {
        let Some(body) = bytes.get(HEADER..length) else {
            break;
        };
        messages.push(Message {
            kind,
            body: body.to_vec(),
        });
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
    }
    messages
}

fn head(bytes: &[u8]) -> Option<(usize, u16)> {
    let length = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?);
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    Some((usize::try_from(length).ok().filter(|l| *l >= HEADER)?, kind))
}

/// The attributes after a fixed part of `skip` bytes.
pub(crate) fn attributes(body: &[u8], skip: usize) -> Vec<(u16, Vec<u8>)> {
    let mut bytes = body.get(skip..).unwrap_or(&[]);
    let mut all = Vec::new();
    while let (Some(length), Some(kind)) = (bytes.get(..2), bytes.get(2..4)) {
        let length = usize::from(u16::from_ne_bytes([length[0], length[1]]));
        // The two highest bits are flags.
        let kind = u16::from_ne_bytes([kind[0], kind[1]]) & 0x3fff;
        let Some(value) = bytes.get(4..length) else {
            break;
        };
        all.push((kind, value.to_vec()));
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_attributes_are_cut_apart() {
        let mut bytes = Vec::new();
        for kind in [24u16, 25] {
            bytes.extend(29u32.to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            bytes.extend([0; 10]);
            // A fixed part of four, an attribute of one, and three bytes of padding.
            bytes.extend([1, 2, 3, 4]);
            bytes.extend(5u16.to_ne_bytes());
            bytes.extend(6u16.to_ne_bytes());
            bytes.extend([7, 0, 0, 0]);
            bytes.extend([0; 4]);
        }
        let all = messages(&bytes);
        assert_eq!(all.iter().map(|m| m.kind).collect::<Vec<_>>(), [24, 25]);
        assert_eq!(attributes(&all[0].body, 4), [(6, vec![7])]);
    }

    #[test]
    fn rubbish_ends_the_reading() {
        assert!(messages(&[0; 40]).is_empty());
        assert!(messages(&[255; 40]).is_empty());
        assert!(attributes(&[3, 0, 1, 0], 0).is_empty());
    }
}
