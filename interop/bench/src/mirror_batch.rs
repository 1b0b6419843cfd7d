//! A relay without a table that writes once a peer and round: the least that work with many peers can cost.
//!
//! In a round it reads every socket that has something, then passes all of it on: to each peer what the others
//! sent, from one shared buffer by one vectored write. Started by the driver as if it were a daemon; it changes no
//! octet, checks nothing, and is not a BGP speaker anyone should use. Always true: no peer gets its own bytes back.
//! Without a table it has nothing for a peer that comes later than the bytes.

use crate::daemon::LOCAL_AS;
use crate::error::{Context, Error, Result};
use crate::netns::DAEMON;
use crate::wire;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use socket2::{Domain, Socket, Type};
use std::collections::{HashMap, VecDeque};
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

const LISTENER: u64 = u64::MAX;
/// Timers are looked at this often.
const SWEEP: Duration = Duration::from_millis(100);
/// At most so many parts of buffers go into one write.
const PARTS: usize = 16;

/// Runs until it is killed. The file has a line `ADDRESS AS` for each peer.
pub(crate) fn run(peers_file: &str, hold_time: u16) -> Result<()> {
    let mut relay = Relay::new(peers_file, hold_time)?;
    let mut swept: Option<Instant> = None;
    loop {
        let now = Instant::now();
        if swept.is_none_or(|at| now.duration_since(at) >= SWEEP) {
            swept = Some(now);
            relay.sweep(now);
        }
        relay.round()?;
    }
}

/// A part of a buffer that several peers share.
type Part = (Arc<Vec<u8>>, Range<usize>);

/// One peer.
#[derive(Default)]
struct Peer {
    stream: Option<TcpStream>,
    received: Vec<u8>,
    unsent: VecDeque<Part>,
    /// Epoll tells when there is room to write.
    waits_for_room: bool,
    established: bool,
    keepalive_at: Option<Instant>,
}

struct Relay {
    epoll: Epoll,
    peers: Vec<Peer>,
    by_address: HashMap<IpAddr, usize>,
    listener: TcpListener,
    interval: Duration,
    hold_time: u16,
    ready: Vec<EpollEvent>,
    scratch: Vec<u8>,
}

impl Relay {
    fn new(peers_file: &str, hold_time: u16) -> Result<Self> {
        let what = format!("reading {peers_file}");
        let text = std::fs::read_to_string(peers_file).context(what)?;
        let addresses = addresses(&text)?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("epoll")?;
        let listener = listen().context("listening on port 179")?;
        let event = EpollEvent::new(EpollFlags::EPOLLIN, LISTENER);
        epoll.add(&listener, event).context("epoll")?;
        Ok(Self {
            epoll,
            peers: addresses.iter().map(|_| Peer::default()).collect(),
            by_address: addresses.into_iter().zip(0..).collect(),
            listener,
            interval: Duration::from_secs(u64::from(hold_time)) / 3,
            hold_time,
            ready: vec![EpollEvent::empty(); 4096],
            scratch: vec![0; 256 * 1024],
        })
    }

    /// Reads what is there, passes it on.
    fn round(&mut self) -> Result<()> {
        let mut ready = std::mem::take(&mut self.ready);
        let wait = EpollTimeout::from(100_u16);
        let count = match self.epoll.wait(&mut ready, wait) {
            Ok(count) => count,
            Err(nix::errno::Errno::EINTR) => 0,
            Err(error) => return Err(error).context("epoll_wait"),
        };
        let mut batch = Batch::default();
        let now = Instant::now();
        for event in ready.iter().take(count) {
            if event.data() == LISTENER {
                self.accept()?;
                continue;
            }
            let index = usize::try_from(event.data()).unwrap_or(usize::MAX);
            self.handle(index, event.events(), now, &mut batch);
        }
        self.ready = ready;
        if !batch.bytes.is_empty() {
            self.pass_on(batch);
        }
        Ok(())
    }

    fn handle(&mut self, index: usize, flags: EpollFlags, now: Instant, batch: &mut Batch) {
        let Some(peer) = self.peers.get_mut(index) else {
            return;
        };
        let start = batch.bytes.len();
        let mut good = true;
        if flags.intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR) {
            good = peer.read(&mut self.scratch, &mut batch.bytes);
            peer.keepalive_at.get_or_insert(now + self.interval);
        }
        let end = batch.bytes.len();
        if end > start {
            batch.parts.push((index, start..end));
        }
        self.flush(index, good);
    }

    /// To each peer all but its own part.
    fn pass_on(&mut self, batch: Batch) {
        let bytes = Arc::new(batch.bytes);
        let mut own = vec![0..0; self.peers.len()];
        for (index, part) in batch.parts {
            if let Some(slot) = own.get_mut(index) {
                *slot = part;
            }
        }
        for (index, own) in own.into_iter().enumerate() {
            let Some(peer) = self.peers.get_mut(index).filter(|peer| peer.established) else {
                continue;
            };
            for part in [0..own.start, own.end..bytes.len()] {
                if !part.is_empty() {
                    peer.unsent.push_back((Arc::clone(&bytes), part));
                }
            }
            self.flush(index, true);
        }
    }

    /// Writes, and keeps epoll's interest what the peer wants; a peer in trouble loses its connection.
    fn flush(&mut self, index: usize, good: bool) {
        let Some(peer) = self.peers.get_mut(index) else {
            return;
        };
        if !good || !peer.flush() {
            peer.drop_connection();
            return;
        }
        let wants_room = !peer.unsent.is_empty();
        let changed = wants_room != peer.waits_for_room;
        if let Some(stream) = peer.stream.as_ref().filter(|_| changed) {
            let room = match wants_room {
                true => EpollFlags::EPOLLOUT,
                false => EpollFlags::empty(),
            };
            let mut event = EpollEvent::new(EpollFlags::EPOLLIN | room, index as u64);
            if self.epoll.modify(stream, &mut event).is_err() {
                peer.drop_connection();
            }
            peer.waits_for_room = wants_room;
        }
    }

    fn accept(&mut self) -> Result<()> {
        loop {
            let (stream, remote) = match self.listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error).context("accept"),
            };
            let index = self.by_address.get(&remote.ip()).copied();
            let set = stream
                .set_nonblocking(true)
                .and_then(|()| stream.set_nodelay(true));
            if let (Some(index), Ok(())) = (index, set) {
                self.adopt(index, stream);
            }
        }
    }

    fn adopt(&mut self, index: usize, stream: TcpStream) {
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT;
        let event = EpollEvent::new(flags, index as u64);
        let added = self.epoll.add(&stream, event).is_ok();
        let open = wire::open(LOCAL_AS, self.hold_time, DAEMON, true);
        if let Some(peer) = self.peers.get_mut(index).filter(|_| added) {
            peer.drop_connection();
            peer.stream = Some(stream);
            peer.waits_for_room = true;
            peer.say(open);
        }
        self.flush(index, true);
    }

    /// Says to each peer that it lives.
    fn sweep(&mut self, now: Instant) {
        for index in 0..self.peers.len() {
            let due = self
                .peers
                .get_mut(index)
                .filter(|peer| peer.established && peer.keepalive_at.is_some_and(|due| due <= now));
            if let Some(peer) = due.filter(|_| !self.interval.is_zero()) {
                peer.keepalive_at = Some(now + self.interval);
                peer.say(wire::keepalive());
                self.flush(index, true);
            }
        }
    }
}

fn listen() -> std::io::Result<TcpListener> {
    let address = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 179);
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn addresses(text: &str) -> Result<Vec<IpAddr>> {
    let first = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
    let address = |word: String| {
        word.parse()
            .map_err(|_| Error::Usage(format!("`{word}` is no address")))
    };
    text.lines().map(first).map(address).collect()
}

/// What came in one round.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    /// Whose part is where.
    parts: Vec<(usize, Range<usize>)>,
}

impl Peer {
    fn drop_connection(&mut self) {
        *self = Self::default();
    }

    fn say(&mut self, message: Vec<u8>) {
        let whole = 0..message.len();
        self.unsent.push_back((Arc::new(message), whole));
    }

    /// Takes what is there; UPDATEs with routes go behind `batch`. `false`: the connection is over.
    fn read(&mut self, scratch: &mut [u8], batch: &mut Vec<u8>) -> bool {
        let Some(stream) = &mut self.stream else {
            return true;
        };
        let count = match stream.read(scratch) {
            Ok(0) => return false,
            Ok(count) => count,
            Err(error) => {
                return matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted);
            }
        };
        let mut kept = std::mem::take(&mut self.received);
        kept.extend_from_slice(scratch.get(..count).unwrap_or_default());
        let mut rest: &[u8] = &kept;
        loop {
            let frame = match wire::next_frame(rest) {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(wire::Malformed) => return false,
            };
            rest = rest.get(frame.whole.len()..).unwrap_or_default();
            match frame.kind {
                wire::OPEN => self.say(wire::keepalive()),
                wire::NOTIFICATION => return false,
                wire::KEEPALIVE => self.established = true,
                wire::UPDATE if frame.body.len() > 4 => batch.extend_from_slice(frame.whole),
                _ => {}
            }
        }
        self.received = rest.to_vec();
        true
    }

    /// Writes until the socket is full. `false`: the connection is over.
    fn flush(&mut self) -> bool {
        let Some(stream) = &mut self.stream else {
            return true;
        };
        while !self.unsent.is_empty() {
            let parts: Vec<IoSlice<'_>> = self
                .unsent
                .iter()
                .take(PARTS)
                .map(|(bytes, range)| IoSlice::new(bytes.get(range.clone()).unwrap_or_default()))
                .collect();
            let mut written = match stream.write_vectored(&parts) {
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return false,
            };
            while let Some((_, range)) = self.unsent.front_mut() {
                let part = range.len().min(written);
                range.start += part;
                written -= part;
                if range.start < range.end {
                    break;
                }
                self.unsent.pop_front();
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_has_an_address_in_each_line() {
        let count = |text| addresses(text).map(|all| all.len()).ok();
        assert_eq!(count("172.31.1.0 65000\n172.31.1.1 65000\n"), Some(2));
        assert_eq!(count("nobody 65000\n"), None);
    }
}
