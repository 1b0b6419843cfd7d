//! One flow: its two sockets and what is in a packet. When to send is `traffic`'s, what it means `tally`'s.

use crate::error::{Context, Error, Result};
use crate::space;
use nix::errno::Errno;
use nix::sys::socket::sockopt::{
    Ipv4RecvErr, Ipv6RecvErr, RcvBufForce, ReceiveTimestampns, RxqOvfl,
};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, RecvMsg, recvmsg, setsockopt};
use std::collections::BTreeMap;
use std::io::IoSliceMut;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

/// Magic, flow and sequence number; the rest of the payload is zeros.
pub(crate) const HEADER: usize = 16;
const MAGIC: [u8; 4] = *b"dnlp";
const PORT: u16 = 4000;

/// A flow as the command line has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FlowSpec {
    /// Its name in the report.
    pub(crate) name: String,
    from: (String, IpAddr),
    to: (String, IpAddr),
}

impl FlowSpec {
    /// `NAME,FROM-NS,FROM-ADDRESS,TO-NS,TO-ADDRESS`
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let wrong = || {
            Error::Usage(format!(
                "--flow: `{text}` is not NAME,FROM-NS,FROM-ADDRESS,TO-NS,TO-ADDRESS"
            ))
        };
        let [name, from_space, from, to_space, to] = text.split(',').collect::<Vec<_>>()[..]
            .try_into()
            .map_err(|_| wrong())?;
        let address = |word: &str| word.parse::<IpAddr>().map_err(|_| wrong());
        let (from, to) = (address(from)?, address(to)?);
        if from.is_ipv4() != to.is_ipv4() {
            return Err(wrong());
        }
        Ok(Self {
            name: name.to_owned(),
            from: (from_space.to_owned(), from),
            to: (to_space.to_owned(), to),
        })
    }
}

/// The sending end.
pub(crate) struct Sender {
    socket: UdpSocket,
    packet: Vec<u8>,
    /// Packets that the kernel would not send, by the reason.
    pub(crate) refused: BTreeMap<String, u64>,
    /// ICMP errors that came back, by what they mean.
    pub(crate) errors: BTreeMap<String, u64>,
}

/// The receiving end.
pub(crate) struct Receiver {
    socket: UdpSocket,
    index: u32,
    buffer: Vec<u8>,
    /// Packets in order of arrival: sequence number, nanoseconds of the wall clock.
    pub(crate) arrivals: Vec<(u32, u64)>,
    /// Packets that were none of the flow's.
    pub(crate) strangers: u64,
    /// Packets that this program was too slow to take: the network brought them.
    pub(crate) overflow: u32,
}

/// Opens both ends of flow number `index`.
pub(crate) fn open(spec: &FlowSpec, index: usize, size: usize) -> Result<(Sender, Receiver)> {
    let index = u32::try_from(index).unwrap_or(u32::MAX);
    let to = SocketAddr::new(spec.to.1, PORT + u16::try_from(index).unwrap_or(0));
    let receiver = space::within(&spec.to.0, || {
        UdpSocket::bind(to).context(format!("binding to {to} in {}", spec.to.0))
    })?;
    receiver
        .set_nonblocking(true)
        .context("making a socket non-blocking")?;
    setsockopt(&receiver, RcvBufForce, &(4 << 20)).context("setting a receive buffer")?;
    setsockopt(&receiver, ReceiveTimestampns, &true).context("asking for times of arrival")?;
    setsockopt(&receiver, RxqOvfl, &1).context("asking for overflows")?;
    let sender = space::within(&spec.from.0, || {
        let socket = UdpSocket::bind((spec.from.1, 0))
            .context(format!("binding to {} in {}", spec.from.1, spec.from.0))?;
        socket
            .connect(to)
            .context(format!("connecting to {to} in {}", spec.from.0))?;
        Ok(socket)
    })?;
    // Without it the kernel tells of few errors, and never of "host unreachable".
    if to.is_ipv4() {
        setsockopt(&sender, Ipv4RecvErr, &true)
    } else {
        setsockopt(&sender, Ipv6RecvErr, &true)
    }
    .context("asking for ICMP errors")?;
    let mut packet = vec![0; size];
    packet[..4].copy_from_slice(&MAGIC);
    packet[4..8].copy_from_slice(&index.to_be_bytes());
    Ok((
        Sender {
            socket: sender,
            packet,
            refused: BTreeMap::new(),
            errors: BTreeMap::new(),
        },
        Receiver {
            socket: receiver,
            index,
            buffer: vec![0; size.max(2048)],
            arrivals: Vec::new(),
            strangers: 0,
            overflow: 0,
        },
    ))
}

impl Sender {
    /// Sends number `sequence`. An error that came back for an earlier packet is reported by the next call and
    /// costs that call its packet, so errors are taken off the socket and the packet is tried again.
    pub(crate) fn send(&mut self, sequence: u32) {
        self.packet[8..12].copy_from_slice(&sequence.to_be_bytes());
        for last in [false, false, true] {
            let Err(error) = self.socket.send(&self.packet) else {
                return;
            };
            let had_errors = self.take_errors();
            if last || !had_errors {
                *self.refused.entry(errno_name(&error)).or_default() += 1;
                return;
            }
        }
    }

    /// Empties the socket's queue of errors; was there any?
    pub(crate) fn take_errors(&mut self) -> bool {
        let mut any = false;
        let mut room = nix::cmsg_space!([u8; 128]);
        loop {
            let mut bytes = [0u8; 256];
            let mut parts = [IoSliceMut::new(&mut bytes)];
            let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
            let Ok(message) =
                recvmsg::<()>(self.socket.as_raw_fd(), &mut parts, Some(&mut room), flags)
            else {
                return any;
            };
            any = true;
            for code in errors_of(&message) {
                *self.errors.entry(code).or_default() += 1;
            }
        }
    }
}

fn errors_of(message: &RecvMsg<'_, '_, ()>) -> Vec<String> {
    let Ok(parts) = message.cmsgs() else {
        return Vec::new();
    };
    parts
        .filter_map(|part| match part {
            ControlMessageOwned::Ipv4RecvErr(error, _)
            | ControlMessageOwned::Ipv6RecvErr(error, _) => i32::try_from(error.ee_errno).ok(),
            _ => None,
        })
        .map(|errno| format!("{:?}", Errno::from_raw(errno)))
        .collect()
}

fn errno_name(error: &std::io::Error) -> String {
    error.raw_os_error().map_or_else(
        || error.to_string(),
        |errno| format!("{:?}", Errno::from_raw(errno)),
    )
}

impl Receiver {
    /// What to poll.
    pub(crate) const fn socket(&self) -> &UdpSocket {
        &self.socket
    }

    /// Takes what is there.
    pub(crate) fn take(&mut self) {
        let mut room = nix::cmsg_space!(nix::sys::time::TimeSpec, u32);
        loop {
            let mut parts = [IoSliceMut::new(&mut self.buffer)];
            let Ok(message) = recvmsg::<()>(
                self.socket.as_raw_fd(),
                &mut parts,
                Some(&mut room),
                MsgFlags::empty(),
            ) else {
                return;
            };
            let (length, mut at) = (message.bytes, 0);
            if let Ok(controls) = message.cmsgs() {
                for control in controls {
                    match control {
                        ControlMessageOwned::ScmTimestampns(time) => {
                            let nanoseconds = time.tv_sec() * 1_000_000_000 + time.tv_nsec();
                            at = u64::try_from(nanoseconds).unwrap_or(0);
                        }
                        ControlMessageOwned::RxqOvfl(count) => self.overflow = count,
                        _ => {}
                    }
                }
            }
            match self.sequence(length) {
                Some(sequence) => self.arrivals.push((sequence, at)),
                None => self.strangers += 1,
            }
        }
    }

    fn sequence(&self, length: usize) -> Option<u32> {
        let packet = self.buffer.get(..length)?;
        if packet.get(..4)? != MAGIC || *packet.get(4..8)? != self.index.to_be_bytes() {
            return None;
        }
        Some(u32::from_be_bytes(packet.get(8..12)?.try_into().ok()?))
    }
}
