//! Socket options of a BGP connection: those that no crate has a name for, and which of all are
//! set on which socket.
//!
//! The calls themselves are `calls`'. What protects a
//! session (a key, a least TTL) is an error if it can't be set; what only helps (a mark) is not.

use std::io;
use std::net::{IpAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use socket2::SockRef;

use super::signing::{AoMac, KernelKey, KeyScope, Signing};
use crate::calls::{get, set};
use crate::net::Secret;

/// What is set on every socket of a peer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SocketOptions {
    /// TTL or hop limit; the kernel's default if none.
    pub ttl: Option<u8>,
    /// Packets with a lower TTL or hop limit are dropped unseen (GTSM, RFC 5082).
    pub min_ttl: Option<u8>,
    /// How long sent data may stay unacknowledged before the kernel gives the connection up
    /// (RFC 5482). Without it a dead peer is noticed after 15 minutes of retransmission.
    pub user_timeout: Option<Duration>,
    /// The TTL or hop limit that the peer called with, where it did and the kernel has kept it.
    pub called_with: Option<u8>,
    /// What segments are signed with; those that are not signed so are dropped unseen.
    pub signing: Option<Signing>,
}

impl SocketOptions {
    /// Sets them on a connected stream.
    ///
    /// # Errors
    /// What the kernel says, and [`io::ErrorKind::PermissionDenied`] for a peer that called from further
    /// away than it may: what it has sent before this call was not looked at.
    pub fn apply(&self, stream: &TcpStream) -> io::Result<()> {
        // Messages are packed by ourselves, waiting for more would only delay the last one.
        stream.set_nodelay(true)?;
        let peer = stream.peer_addr()?.ip();
        self.apply_to(&SockRef::from(stream), peer)?;
        // The listening socket's filter has done its work: the kernel looks at each packet from here on.
        let _none_was_there = SockRef::from(stream).detach_filter();
        match (self.min_ttl, self.called_with) {
            (Some(least), Some(ttl)) if ttl < least => Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!("it called with TTL {ttl}, and ttl-security wants {least} or more"),
            )),
            _near_enough => Ok(()),
        }
    }

    /// Sets them on a socket that is to talk to `peer`; a listening socket has keys of its own.
    pub(super) fn apply_to(&self, socket: &SockRef<'_>, peer: IpAddr) -> io::Result<()> {
        let ipv4 = peer.is_ipv4();
        if let Some(signing) = &self.signing {
            set_key(socket.as_fd(), KeyScope::host(peer), signing)?;
        }
        if let Some(ttl) = self.ttl {
            set_ttl(socket, ipv4, ttl)?;
        }
        if let Some(least) = self.min_ttl {
            set_min_ttl(socket.as_fd(), ipv4, least)?;
        }
        // DSCP CS6, "network control" (RFC 4594 §3.1), as every peer marks BGP. Not being allowed
        // to mark is no reason to stay without a session.
        let marked = if ipv4 {
            socket.set_tos_v4(0xC0)
        } else {
            socket.set_tclass_v6(0xC0)
        };
        if let Err(error) = marked {
            tracing::debug!(%error, "cannot mark the socket as network control");
        }
        socket.set_tcp_user_timeout(self.user_timeout)
    }
}

/// The TTL of what leaves, SYN and SYN-ACK as well.
pub(super) fn set_ttl(socket: &SockRef<'_>, ipv4: bool, ttl: u8) -> io::Result<()> {
    if ipv4 {
        socket.set_ttl_v4(u32::from(ttl))
    } else {
        socket.set_unicast_hops_v6(u32::from(ttl))
    }
}

fn set_min_ttl(socket: BorrowedFd<'_>, ipv4: bool, least: u8) -> io::Result<()> {
    let value = libc::c_int::from(least).to_ne_bytes();
    let (level, option, name) = if ipv4 {
        (libc::IPPROTO_IP, libc::IP_MINTTL, "IP_MINTTL")
    } else {
        (
            libc::IPPROTO_IPV6,
            libc::IPV6_MINHOPCOUNT,
            "IPV6_MINHOPCOUNT",
        )
    };
    set(socket, level, option, &value).map_err(|error| named(&error, name, "ttl-security"))
}

/// Sets a key, or changes the one that is there. On a connected socket, too: segments of either
/// direction are sent again until both ends have it.
pub(super) fn set_key(
    socket: BorrowedFd<'_>,
    scope: KeyScope,
    signing: &Signing,
) -> io::Result<()> {
    let key = signing.set(scope).ok_or_else(unfit)?;
    give(socket, &key)
}

/// Takes a key away; that it was not there is no error.
pub(super) fn unset_key(
    socket: BorrowedFd<'_>,
    scope: KeyScope,
    signing: &Signing,
) -> io::Result<()> {
    let key = signing.unset(scope).ok_or_else(unfit)?;
    match give(socket, &key) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        other => other,
    }
}

fn unfit() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "a password has 1 to 80 octets")
}

fn give(socket: BorrowedFd<'_>, key: &KernelKey) -> io::Result<()> {
    let what = if key.option == libc::TCP_MD5SIG_EXT {
        "TCP MD5"
    } else {
        "TCP-AO"
    };
    match set(socket, libc::IPPROTO_TCP, key.option, &key.value) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Err(error),
        other => other.map_err(|error| named(&error, what, "the password")),
    }
}

fn named(error: &io::Error, option: &str, setting: &str) -> io::Error {
    let text = match error.raw_os_error() {
        Some(libc::ENOPROTOOPT) => {
            format!("this kernel has no {option}, which {setting} needs")
        }
        _other => format!("the kernel does not take {setting} ({option}): {error}"),
    };
    io::Error::new(error.kind(), text)
}

/// Whether this kernel has TCP-AO (Linux 6.7 and later, where it was built in).
///
/// # Errors
/// If there is no socket to be had.
pub fn has_tcp_ao() -> io::Result<bool> {
    let socket = socket2::Socket::new(
        socket2::Domain::IPV4,
        socket2::Type::STREAM,
        Some(socket2::Protocol::TCP),
    )?;
    let probe = Signing::Ao {
        id: 1,
        algorithm: AoMac::HmacSha1,
        secret: Secret::new(b"probe".to_vec()),
    };
    let scope = KeyScope::host(std::net::Ipv4Addr::LOCALHOST.into());
    let Some(key) = probe.set(scope) else {
        return Ok(false);
    };
    // Any other answer, such as "no such algorithm", is of a kernel that knows the option.
    let answer = set(socket.as_fd(), libc::IPPROTO_TCP, key.option, &key.value);
    Ok(answer.map_err(|error| error.raw_os_error()) != Err(Some(libc::ENOPROTOOPT)))
}

/// Whether the far end's host has acknowledged all that the kernel was given, on a connection that neither end
/// has closed.
pub(super) fn all_acknowledged(socket: BorrowedFd<'_>) -> io::Result<bool> {
    // `struct tcp_info` of linux/tcp.h: the state in the first octet, and two numbers of 32 bits.
    const UNACKED: usize = 24;
    const NOT_SENT: usize = 144;
    const ESTABLISHED: u8 = 1;
    let mut info = [0; 148];
    let length = get(socket, libc::IPPROTO_TCP, libc::TCP_INFO, &mut info)?;
    let is_zero = |at: usize| info.get(at..at + 4) == Some(&[0; 4]);
    Ok(length == info.len() && info[0] == ESTABLISHED && is_zero(UNACKED) && is_zero(NOT_SENT))
}

/// Sends a segment at once to which the far end's host answers: with an acknowledgement if it has the connection,
/// with a reset if it does not. Needs CAP_NET_ADMIN.
///
/// A message would wait behind what is not acknowledged yet, and that is sent again after ever longer pauses:
/// half a minute, where a host was away for one. The kernel has no order "probe now"; the end of the repair mode
/// that checkpoints are made with (tcp(7)) does just that, and changes nothing else but the reuse of the address.
pub(super) fn knock(socket: BorrowedFd<'_>) -> io::Result<()> {
    for on in [1, 0] {
        let value = libc::c_int::to_ne_bytes(on);
        set(socket, libc::IPPROTO_TCP, libc::TCP_REPAIR, &value)?;
    }
    SockRef::from(&socket).set_reuse_address(true)
}

/// Makes a listening socket keep the header of each SYN until the connection is accepted.
pub(super) fn keep_syn(socket: BorrowedFd<'_>) -> io::Result<()> {
    let on: libc::c_int = 1;
    set(
        socket,
        libc::IPPROTO_TCP,
        libc::TCP_SAVE_SYN,
        &on.to_ne_bytes(),
    )
}

/// The TTL or hop limit that the SYN of an accepted connection came with; none if the kernel did not
/// keep it (we dialled, or it answered with a SYN cookie). Asking takes it away.
pub(super) fn syn_ttl(socket: BorrowedFd<'_>) -> Option<u8> {
    let mut headers = [0; 256];
    let length = get(socket, libc::IPPROTO_TCP, libc::TCP_SAVED_SYN, &mut headers).ok()?;
    let headers = headers.get(..length)?;
    match headers.first()? >> 4 {
        4 => headers.get(8).copied(),
        6 => headers.get(7).copied(),
        _other => None,
    }
}
