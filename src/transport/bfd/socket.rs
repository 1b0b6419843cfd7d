//! The sockets of BFD: two ports for each family to hear on, one port for each of our addresses to
//! speak from (RFC 5881 §4 lets sessions share one).
//!
//! TTL 255 goes out, by the link that it is meant for; what came in says its TTL, its link and to which
//! address it was sent. Safe wrappers only.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;

use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, RecvMsg, SockaddrStorage, recvmsg, sendmsg,
    setsockopt, sockopt,
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;

use crate::bfd::{Arrival, Hops, Transmit, Watch};

/// Datagrams taken from a socket in one turn: far more than all sessions send, so that only a flood is
/// interrupted.
const TURN: usize = 4096;
/// Room for all sessions' packets of a moment in which we did not run.
const RECEIVE_BUFFER: usize = 1 << 20;
/// DSCP CS6, network control, as BGP is marked.
const CLASS: u32 = 0xC0;
/// The first port to speak from (RFC 5881 §4); the last one is the last there is.
const FIRST_PORT: u16 = 49152;
/// Ports tried before it is left for the next packet.
const TRIES: usize = 64;

/// Where packets arrive: only in families that are watched.
#[derive(Debug, Default)]
pub(super) struct Ears {
    wanted: BTreeSet<(bool, Hops)>,
    open: Vec<Ear>,
}

#[derive(Debug)]
struct Ear {
    ipv6: bool,
    hops: Hops,
    socket: tokio::net::UdpSocket,
    control: Vec<u8>,
}

/// A datagram, before it is known whether it makes sense.
struct Heard {
    remote: SocketAddr,
    local: Option<IpAddr>,
    link: u32,
    ttl: Option<u8>,
    length: usize,
}

impl Ears {
    /// Opens what these need and closes what they don't.
    pub(super) fn listen_for(&mut self, watches: &[Watch]) {
        let families = watches.iter().map(|watch| watch.far_end.remote.is_ipv6());
        // A far end may speak the other way than we guess, so both ports are heard.
        let wanted = families.flat_map(|ipv6| [(ipv6, Hops::Single), (ipv6, Hops::Multi)]);
        self.wanted = wanted.collect();
        let wanted = &self.wanted;
        self.open
            .retain(|ear| wanted.contains(&(ear.ipv6, ear.hops)));
        self.open_again();
    }

    /// Whether a socket is missing.
    pub(super) fn is_partial(&self) -> bool {
        self.open.len() < self.wanted.len()
    }

    /// Tries to open what is missing.
    pub(super) fn open_again(&mut self) {
        for (ipv6, hops) in &self.wanted {
            let is_this = |ear: &Ear| (ear.ipv6, ear.hops) == (*ipv6, *hops);
            if self.open.iter().any(is_this) {
                continue;
            }
            match Ear::open(*ipv6, *hops) {
                Ok(ear) => self.open.push(ear),
                Err(error) => {
                    let advice = if error.kind() == io::ErrorKind::AddrInUse {
                        "; does another BFD daemon (bfdd, BIRD) run here?"
                    } else {
                        ""
                    };
                    tracing::warn!(port = hops.port(), "cannot hear BFD: {error}{advice}");
                }
            }
        }
    }

    /// Until there is something to drain.
    pub(super) async fn readable(&self) {
        let place = |at: usize| async move {
            match self.open.get(at) {
                // An error shows when it is read.
                Some(ear) => drop(ear.socket.readable().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = place(0) => {}
            () = place(1) => {}
            () = place(2) => {}
            () = place(3) => {}
        }
    }

    /// Hands over what has come.
    pub(super) fn drain(&mut self, mut take: impl FnMut(&Arrival<'_>)) {
        for ear in &mut self.open {
            let mut buffer = [0; 128];
            for _ in 0..TURN {
                let heard = match ear.hear(&mut buffer) {
                    Ok(heard) => heard,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => {
                        tracing::debug!(%error, "cannot read a BFD packet");
                        break;
                    }
                };
                let Some(local) = heard.local else { continue };
                take(&Arrival {
                    remote: heard.remote.ip(),
                    local,
                    link: heard.link,
                    hops: ear.hops,
                    ttl: heard.ttl,
                    octets: buffer.get(..heard.length).unwrap_or_default(),
                });
            }
        }
    }
}

impl Ear {
    fn open(ipv6: bool, hops: Hops) -> io::Result<Self> {
        let socket = new_socket(ipv6)?;
        let any: IpAddr = if ipv6 {
            setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
            setsockopt(&socket, sockopt::Ipv6RecvHopLimit, &true)?;
            Ipv6Addr::UNSPECIFIED.into()
        } else {
            setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
            setsockopt(&socket, sockopt::Ipv4RecvTtl, &true)?;
            Ipv4Addr::UNSPECIFIED.into()
        };
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
        socket.bind(&SocketAddr::new(any, hops.port()).into())?;
        Ok(Self {
            ipv6,
            hops,
            socket: tokio::net::UdpSocket::from_std(socket.into())?,
            control: nix::cmsg_space!(libc::in6_pktinfo, libc::c_int),
        })
    }

    fn hear(&mut self, buffer: &mut [u8]) -> io::Result<Heard> {
        let Self {
            socket, control, ..
        } = self;
        let fd = socket.as_raw_fd();
        socket.try_io(Interest::READABLE, || {
            let mut vector = [IoSliceMut::new(buffer)];
            let flags = MsgFlags::MSG_DONTWAIT;
            let got: RecvMsg<'_, '_, SockaddrStorage> =
                recvmsg(fd, &mut vector, Some(control), flags)?;
            let mut heard = Heard {
                remote: got
                    .address
                    .as_ref()
                    .and_then(address_of)
                    .ok_or(io::ErrorKind::InvalidData)?,
                local: None,
                link: 0,
                ttl: None,
                length: got.bytes,
            };
            for message in got.cmsgs()? {
                match message {
                    ControlMessageOwned::Ipv4PacketInfo(info) => {
                        let octets = info.ipi_addr.s_addr.to_ne_bytes();
                        heard.local = Some(Ipv4Addr::from(octets).into());
                        heard.link = u32::try_from(info.ipi_ifindex).unwrap_or_default();
                    }
                    ControlMessageOwned::Ipv6PacketInfo(info) => {
                        heard.local = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into());
                        heard.link = info.ipi6_ifindex;
                    }
                    ControlMessageOwned::Ipv4Ttl(ttl) | ControlMessageOwned::Ipv6HopLimit(ttl) => {
                        heard.ttl = u8::try_from(ttl).ok();
                    }
                    _other => {}
                }
            }
            Ok(heard)
        })
    }
}

/// An address of the kernel's as one of ours.
pub(super) fn address_of(address: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = address.as_sockaddr_in() {
        let (ip, port) = (v4.ip(), v4.port());
        return Some(SocketAddr::new(ip.into(), port));
    }
    let v6 = address.as_sockaddr_in6()?;
    let (ip, port) = (v6.ip(), v6.port());
    let scoped = SocketAddrV6::new(ip, port, v6.flowinfo(), v6.scope_id());
    Some(scoped.into())
}

fn new_socket(ipv6: bool) -> io::Result<Socket> {
    let domain = if ipv6 { Domain::IPV6 } else { Domain::IPV4 };
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    if ipv6 {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Where packets leave.
#[derive(Debug)]
pub(super) struct Voices {
    /// By our address, the unspecified one where the kernel chooses.
    open: BTreeMap<IpAddr, UdpSocket>,
    /// Where to look for the next free port: not where the process before began.
    next: u16,
}

impl Voices {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            open: BTreeMap::new(),
            next: seed as u16,
        }
    }

    /// Closes what none of these uses.
    pub(super) fn keep(&mut self, watches: &[Watch]) {
        let used: BTreeSet<IpAddr> = watches
            .iter()
            .map(|watch| own_address(watch.far_end.local, watch.far_end.remote))
            .collect();
        self.open.retain(|address, _| used.contains(address));
    }

    /// Sends a packet. One that can't be sent is lost like any other: silence is what BFD is about.
    pub(super) fn say(&mut self, transmit: &Transmit) {
        let far_end = &transmit.far_end;
        let own = own_address(far_end.local, far_end.remote);
        if let Err(error) = self.try_to_say(own, transmit) {
            let remote = far_end.remote;
            tracing::debug!(%remote, %error, "cannot send a BFD packet");
            if error.kind() != io::ErrorKind::WouldBlock {
                // The address may be another's now; the next packet opens it anew.
                self.open.remove(&own);
            }
        }
    }

    fn try_to_say(&mut self, own: IpAddr, transmit: &Transmit) -> io::Result<()> {
        let Transmit {
            far_end,
            hops,
            link: only,
            octets,
        } = transmit;
        let link = far_end.interface.as_deref();
        let link = link.map_or(Ok(0), if_nametoindex)?;
        let to = match far_end.remote {
            IpAddr::V4(address) => SocketAddr::new(address.into(), hops.port()),
            IpAddr::V6(address) => SocketAddrV6::new(address, hops.port(), 0, link).into(),
        };
        let socket = match self.open.get(&own) {
            Some(socket) => socket,
            None => {
                let socket = self.open(own, link)?;
                self.open.entry(own).or_insert(socket)
            }
        };
        match only {
            Some(only) => send_by(socket, octets, to, *only),
            None => socket.send_to(octets, to).map(drop),
        }
    }

    fn open(&mut self, own: IpAddr, link: u32) -> io::Result<UdpSocket> {
        let socket = new_socket(own.is_ipv6())?;
        if own.is_ipv6() {
            socket.set_unicast_hops_v6(u32::from(u8::MAX))?;
        } else {
            socket.set_ttl_v4(u32::from(u8::MAX))?;
        }
        let marked = if own.is_ipv6() {
            socket.set_tclass_v6(CLASS)
        } else {
            socket.set_tos_v4(CLASS)
        };
        if let Err(error) = marked {
            tracing::debug!(%error, "cannot mark the socket as network control");
        }
        let mut refused = io::Error::from(io::ErrorKind::AddrInUse);
        for _ in 0..TRIES {
            // The upper quarter of all ports, round and round.
            let port = FIRST_PORT | self.next;
            self.next = self.next.wrapping_add(1);
            let from = match own {
                IpAddr::V4(address) => SocketAddr::new(address.into(), port),
                IpAddr::V6(address) => SocketAddrV6::new(address, port, 0, link).into(),
            };
            match socket.bind(&from.into()) {
                Ok(()) => return Ok(socket.into()),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => refused = error,
                Err(error) => return Err(error),
            }
        }
        Err(refused)
    }
}

/// Sends a packet by a link and no other, whatever the kernel's routes say meanwhile.
fn send_by(socket: &UdpSocket, octets: &[u8], to: SocketAddr, link: u32) -> io::Result<()> {
    let fd = socket.as_raw_fd();
    let vector = [IoSlice::new(octets)];
    let to = SockaddrStorage::from(to);
    let flags = MsgFlags::MSG_DONTWAIT;
    if to.as_sockaddr_in().is_some() {
        let none = libc::in_addr { s_addr: 0 };
        let info = libc::in_pktinfo {
            ipi_ifindex: libc::c_int::try_from(link).unwrap_or_default(),
            ipi_spec_dst: none,
            ipi_addr: none,
        };
        sendmsg(
            fd,
            &vector,
            &[ControlMessage::Ipv4PacketInfo(&info)],
            flags,
            Some(&to),
        )?;
    } else {
        let info = libc::in6_pktinfo {
            ipi6_addr: libc::in6_addr { s6_addr: [0; 16] },
            ipi6_ifindex: link,
        };
        sendmsg(
            fd,
            &vector,
            &[ControlMessage::Ipv6PacketInfo(&info)],
            flags,
            Some(&to),
        )?;
    }
    Ok(())
}

fn own_address(local: Option<IpAddr>, remote: IpAddr) -> IpAddr {
    local.unwrap_or_else(|| match remote {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    })
}
