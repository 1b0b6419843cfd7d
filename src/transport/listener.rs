//! Listening sockets: accept and hand over, bounded by the daemon's queue.
//!
//! A peer's key is on the socket before the peer can connect: the kernel answers no SYN of it that is
//! not signed with the key. Who calls too often is turned away before the daemon hears of it.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::Arc;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::Accepted;
use super::admission::{Admission, Admitted, Caller};
use super::descriptors::{Use, is_beyond};
use super::least_ttl::{self, LeastTtls};
use super::signing::{KeyScope, Signing};
use super::sockopt;
use crate::time::{Duration, Instant};

/// Connections that may wait to be accepted: a whole cluster may start in one second, and a SYN
/// that finds no room is tried again only after a second or more.
const BACKLOG: i32 = 4096;

/// The keys of all peers that may connect.
pub type Keys = BTreeMap<KeyScope, Signing>;

/// One listening socket with its accepting task; closes when dropped.
#[derive(Debug)]
pub struct Listener {
    address: SocketAddr,
    socket: Arc<TcpListener>,
    /// What the kernel has.
    keys: Keys,
    /// Whose calls strangers' do not count against.
    peers: watch::Sender<HashSet<IpAddr>>,
    task: JoinHandle<()>,
}

impl Listener {
    /// Binds `address` and reports every connection into `events`.
    ///
    /// # Errors
    /// What the kernel says, such as an address in use.
    pub fn bind<E>(address: SocketAddr, keys: &Keys, events: mpsc::Sender<E>) -> io::Result<Self>
    where
        E: From<Accepted> + Send + 'static,
    {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            // The two families have sockets of their own.
            socket.set_only_v6(true)?;
        }
        // An address that appears later (a node address set by another program) can be bound now.
        if address.is_ipv4() {
            socket.set_freebind_v4(true)?;
        } else {
            socket.set_freebind_v6(true)?;
        }
        // The SYN-ACK leaves before anybody knows whose it is, and a peer with GTSM takes no other.
        sockopt::set_ttl(&SockRef::from(&socket), address.is_ipv4(), u8::MAX)?;
        if let Err(error) = sockopt::keep_syn(socket.as_fd()) {
            tracing::debug!(%error, "how far away a caller is can't be seen in its SYN");
        }
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        let mut held = Keys::new();
        // A key that the kernel does not take is no reason to leave all others without a listener:
        // whoever connects is given the key once more before it is read from.
        let _said_by_change_keys = change_keys(&socket, address, &mut held, keys);
        socket.listen(BACKLOG)?;
        let listener = Arc::new(TcpListener::from_std(socket.into())?);
        let address = listener.local_addr()?;
        let (peers, known) = watch::channel(HashSet::new());
        let task = tokio::spawn(accept(Arc::clone(&listener), known, events));
        Ok(Self {
            address,
            socket: listener,
            keys: held,
            peers,
            task,
        })
    }

    /// The address that is bound.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From here on these addresses are peers', and have a share of their own in what is accepted.
    pub fn set_peers(&self, peers: impl Iterator<Item = IpAddr>) {
        let peers: HashSet<IpAddr> = peers.collect();
        // The task that reads it ends with this.
        let _ended = self.peers.send(peers);
    }

    /// From here on what was sent from further away than these allow is dropped unread on new connections.
    pub fn set_least_ttls(&self, rules: &LeastTtls) {
        let socket = SockRef::from(&*self.socket);
        let (program, left_out) = least_ttl::filter(rules, self.address.is_ipv4());
        let set = match program {
            Some(program) => socket.attach_filter(&program),
            None => match socket.detach_filter() {
                // There was none.
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
                other => other,
            },
        };
        if let Err(error) = set {
            tracing::warn!(listening = %self.address, %error, "what comes before a connection is accepted can't be held to ttl-security");
        }
        if left_out > 0 {
            tracing::warn!(listening = %self.address, peers = left_out, "too many peers with ttl-security for one filter: what comes of these before their connection is accepted is not looked at");
        }
    }

    /// Makes the keys those of `wanted`: new ones come, changed ones are changed in place, former
    /// ones go. How many the kernel did not take; each is in the log.
    pub fn set_keys(&mut self, wanted: &Keys) -> usize {
        change_keys(&self.socket, self.address, &mut self.keys, wanted)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// From the keys that are held to those that are wanted, in the socket's own family.
fn change_keys(socket: &impl AsFd, address: SocketAddr, held: &mut Keys, wanted: &Keys) -> usize {
    let socket = socket.as_fd();
    let mut failed = 0;
    let mut complain = |scope: &KeyScope, error: io::Error| {
        failed += 1;
        tracing::error!(peer = %scope.address, listening = %address, %error, "cannot set a key");
    };
    let ours = |scope: &KeyScope| scope.address.is_ipv4() == address.is_ipv4();
    let gone: Vec<KeyScope> = held
        .iter()
        .filter(|(scope, signing)| match (wanted.get(scope), signing) {
            (None, _) => true,
            // MD5 is changed in place; a key of TCP-AO is another one.
            (Some(Signing::Md5(_)), Signing::Md5(_)) => false,
            (Some(other), signing) => other != *signing,
        })
        .map(|(scope, _)| *scope)
        .collect();
    for scope in gone {
        if let Some(signing) = held.remove(&scope)
            && let Err(error) = sockopt::unset_key(socket, scope, &signing)
        {
            complain(&scope, error);
        }
    }
    for (scope, signing) in wanted.iter().filter(|(scope, _)| ours(scope)) {
        if held.get(scope) == Some(signing) {
            continue;
        }
        match sockopt::set_key(socket, *scope, signing) {
            Ok(()) => {
                held.insert(*scope, signing.clone());
            }
            Err(error) => complain(scope, error),
        }
    }
    failed
}

/// What one listening socket says about floods is at most a line in this time.
const PAUSE: Duration = Duration::from_secs(10);

/// Turns away those that call too often, before they cost anybody but this task anything.
#[derive(Debug)]
struct Gate {
    admission: Admission,
    opened: tokio::time::Instant,
    said: Option<tokio::time::Instant>,
    refused: u64,
}

impl Gate {
    fn new() -> Self {
        Self {
            admission: Admission::default(),
            opened: tokio::time::Instant::now(),
            said: None,
            refused: 0,
        }
    }

    fn lets_in(&mut self, source: IpAddr, caller: Caller) -> bool {
        let now = tokio::time::Instant::now();
        let micros = now.duration_since(self.opened).as_micros();
        let at = Instant::from_micros(u64::try_from(micros).unwrap_or(u64::MAX));
        let answer = self.admission.admit(at, source, caller);
        if answer == Admitted::Yes {
            return true;
        }
        self.complain(
            source,
            match answer {
                Admitted::TooMany if caller == Caller::Peer => "too many of all peers together",
                Admitted::TooMany => "too many of all strangers together",
                Admitted::TooManyFromSource | Admitted::Yes => "too many of this source",
            },
        );
        false
    }

    fn complain(&mut self, source: IpAddr, why: &'static str) {
        let now = tokio::time::Instant::now();
        self.refused += 1;
        if self
            .said
            .is_none_or(|said| now.duration_since(said) >= PAUSE)
        {
            tracing::warn!(%source, refused = self.refused, "refused connections: {why}");
            self.said = Some(now);
            self.refused = 0;
        }
    }
}

async fn accept<E: From<Accepted>>(
    listener: Arc<TcpListener>,
    peers: watch::Receiver<HashSet<IpAddr>>,
    events: mpsc::Sender<E>,
) {
    let mut gate = Gate::new();
    loop {
        match listener.accept().await {
            Ok((stream, remote)) => {
                // It leaves the runtime, which has no part in serving it.
                let Ok(stream) = stream.into_std() else {
                    continue;
                };
                if is_beyond(&stream, Use::Call) {
                    gate.complain(remote.ip(), "all descriptors for callers are in use");
                    super::refuse(stream);
                    continue;
                }
                let source = remote.ip().to_canonical();
                let caller = match peers.borrow().contains(&source) {
                    true => Caller::Peer,
                    false => Caller::Stranger,
                };
                if !gate.lets_in(source, caller) {
                    super::refuse(stream);
                    continue;
                }
                let Ok(local) = stream.local_addr() else {
                    continue;
                };
                let accepted = Accepted {
                    ttl: sockopt::syn_ttl(stream.as_fd()),
                    stream,
                    remote,
                    local,
                };
                if events.send(accepted.into()).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                // Mostly "too many open files": wait for some to close, do not spin.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
