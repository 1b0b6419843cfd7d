//! Who is at the other end of a link: router advertisements (RFC 4861 §4.2), as FRR and BIRD send them for
//! peers that are named by an interface.
//!
//! What is sent says no more than "here I am": a lifetime of zero makes nobody's default route, and there
//! is no prefix in it. What is heard is believed only with hop limit 255, which no router leaves, and
//! from a link-local address. A link that is not there is looked for again; nothing here decides who
//! becomes a peer.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv6Addr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrIn6, recvmsg};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// The type of a router advertisement.
const ADVERTISEMENT: u8 = 134;
/// Its length without options.
const SHORTEST: usize = 16;
/// All nodes of a link.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// The hop limit of what nobody has forwarded.
const UNFORWARDED: i32 = 255;
/// Between two advertisements while nobody is there, and between two tries to open a link.
const SEARCHING: Duration = Duration::from_secs(1);
/// Between two advertisements once somebody is.
const FOUND: Duration = Duration::from_secs(10);
/// Neighbours that are remembered a link; a cable has one.
const MOST: usize = 16;

/// A router was heard on a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// The link.
    pub interface: String,
    /// Its index.
    pub index: u32,
    /// The router's link-local address.
    pub address: IpAddr,
}

/// The links that neighbours are looked for on, each with its task.
#[derive(Debug, Default)]
pub struct Neighbours {
    links: BTreeMap<String, JoinHandle<()>>,
}

impl Neighbours {
    /// Looks on these links and no others. What is heard is told again each time: who is told knows
    /// whether it is new.
    pub fn watch<E>(&mut self, links: &BTreeSet<String>, events: &mpsc::Sender<E>)
    where
        E: From<Heard> + Send + 'static,
    {
        self.links.retain(|name, task| {
            let stays = links.contains(name);
            if !stays {
                task.abort();
            }
            stays
        });
        for name in links {
            if !self.links.contains_key(name) {
                let task = tokio::spawn(look(name.clone(), events.clone()));
                self.links.insert(name.clone(), task);
            }
        }
    }
}

impl Drop for Neighbours {
    fn drop(&mut self) {
        self.links.values().for_each(JoinHandle::abort);
    }
}

/// Opens the link, and again when it was lost. What is wrong is said when it is another thing than before.
async fn look<E: From<Heard>>(interface: String, events: mpsc::Sender<E>) {
    let mut said = None;
    loop {
        let error = match Link::open(&interface) {
            Ok(mut link) => link.serve(&interface, &events).await,
            Err(error) => error,
        };
        if events.is_closed() {
            return;
        }
        let text = error.to_string();
        if said.as_ref() != Some(&text) {
            let advice = match error.kind() {
                io::ErrorKind::PermissionDenied => {
                    " (CAP_NET_RAW is kept where there is such a peer at the start: restart dunlin)"
                }
                _other => "",
            };
            tracing::warn!(%interface, %error, "cannot look for a neighbour{advice}; trying on");
            said = Some(text);
        }
        tokio::time::sleep(SEARCHING).await;
    }
}

/// A link that is open.
struct Link {
    index: u32,
    socket: AsyncFd<Socket>,
    known: BTreeSet<Ipv6Addr>,
}

impl Link {
    fn open(interface: &str) -> io::Result<Self> {
        let index = nix::net::if_::if_nametoindex(interface)?;
        let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
        socket.bind_device(Some(interface.as_bytes()))?;
        socket.set_multicast_if_v6(index)?;
        socket.set_multicast_hops_v6(255)?;
        socket.set_multicast_loop_v6(false)?;
        socket.set_recv_hoplimit_v6(true)?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            index,
            socket: registered(socket)?,
            known: BTreeSet::new(),
        })
    }

    /// Sends and hears until the link is lost.
    async fn serve<E: From<Heard>>(
        &mut self,
        interface: &str,
        events: &mpsc::Sender<E>,
    ) -> io::Error {
        let mut next = tokio::time::Instant::now();
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(next) => {
                    let sent = match self.advertise() {
                        Ok(sent) => sent,
                        Err(error) => return error,
                    };
                    let pause = if sent && !self.known.is_empty() { FOUND } else { SEARCHING };
                    next = tokio::time::Instant::now() + pause;
                }
                heard = self.hear() => match heard {
                    Err(error) => return error,
                    Ok(None) => {}
                    Ok(Some(address)) => {
                        if self.known.len() < MOST && self.known.insert(address) {
                            // It may have missed what was sent before it was there.
                            next = tokio::time::Instant::now();
                        }
                        let found = Heard {
                            interface: interface.to_owned(),
                            index: self.index,
                            address: address.into(),
                        };
                        if events.send(found.into()).await.is_err() {
                            return io::ErrorKind::BrokenPipe.into();
                        }
                    }
                },
            }
        }
    }

    /// Whether it has left.
    fn advertise(&self) -> io::Result<bool> {
        let to = SocketAddrV6::new(ALL_NODES, 0, 0, self.index);
        match self.socket.get_ref().send_to(&advertisement(), &to.into()) {
            Ok(_) => Ok(true),
            // No link-local address yet, or a full queue.
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::EADDRNOTAVAIL | libc::EAGAIN | libc::ENOBUFS)
                ) =>
            {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// One message; whose it is, if it is an advertisement that can be believed.
    async fn hear(&self) -> io::Result<Option<Ipv6Addr>> {
        let mut ready = self.socket.readable().await?;
        match ready.try_io(|socket| receive(socket.get_ref())) {
            Ok(result) => result,
            Err(_would_block) => Ok(None),
        }
    }
}

#[expect(
    deprecated,
    reason = "the replacement is unsafe for types that may swap their descriptor; Socket does not"
)]
fn registered(socket: Socket) -> io::Result<AsyncFd<Socket>> {
    AsyncFd::new(socket)
}

fn receive(socket: &Socket) -> io::Result<Option<Ipv6Addr>> {
    let mut octets = [0; 1500];
    let mut parts = [IoSliceMut::new(&mut octets)];
    let mut control = nix::cmsg_space!(libc::c_int);
    let message = recvmsg::<SockaddrIn6>(
        socket.as_fd().as_raw_fd(),
        &mut parts,
        Some(&mut control),
        MsgFlags::MSG_DONTWAIT,
    )?;
    let hops = message.cmsgs().ok().and_then(|mut all| {
        all.find_map(|one| match one {
            ControlMessageOwned::Ipv6HopLimit(hops) => Some(hops),
            _other => None,
        })
    });
    let from = message.address.map(|address| address.ip());
    let length = message.bytes;
    Ok(from.filter(|from| {
        let heard = octets.get(..length).unwrap_or_default();
        hops == Some(UNFORWARDED) && from.is_unicast_link_local() && is_advertisement(heard)
    }))
}

/// "Here I am", without a checksum, which the kernel makes.
const fn advertisement() -> [u8; SHORTEST] {
    let mut octets = [0; SHORTEST];
    octets[0] = ADVERTISEMENT;
    octets
}

fn is_advertisement(octets: &[u8]) -> bool {
    octets.len() >= SHORTEST && octets.starts_with(&[ADVERTISEMENT, 0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_advertisement_is_one() {
        assert!(is_advertisement(&advertisement()));
        assert!(is_advertisement(
            &[advertisement().to_vec(), vec![1; 8]].concat()
        ));
        assert!(!is_advertisement(&advertisement()[..15]));
        let mut solicitation = advertisement();
        solicitation[0] = 133;
        assert!(!is_advertisement(&solicitation));
        assert!(!is_advertisement(&[]));
    }

    /// A router lifetime other than zero would make us everybody's default route.
    #[test]
    fn what_is_sent_makes_nobody_route_by_us() {
        let sent = advertisement();
        assert_eq!(sent[6..8], [0, 0], "router lifetime");
        assert_eq!(sent.len(), SHORTEST, "no prefix");
    }
}
