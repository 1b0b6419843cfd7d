//! Which sockets have something to read or room for more: an epoll of the transport's own.
//!
//! The runtime waits for the epoll as it waits for any other descriptor, and one system call a turn then
//! asks it for all sockets at once: no task, no waker and no registration with the runtime a connection.
//! Sockets are edge-triggered and registered once for both directions, so that nothing is ever changed
//! there; a socket leaves by being closed. What follows from it: whoever is told of a socket has to read
//! (or write) until the kernel has given less than was asked for, or to remember that it has not.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::session::ConnectionId;

/// What is known of a socket.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ready {
    pub(super) connection: ConnectionId,
    /// There is something to read, or the end.
    pub(super) readable: bool,
    /// There is room to write, or a dial has come to its end.
    pub(super) writable: bool,
    /// The stream has its end behind what there is to read.
    pub(super) ends: bool,
}

/// All sockets of the transport.
#[derive(Debug)]
pub(super) struct Readiness {
    epoll: AsyncFd<Set>,
    events: Vec<EpollEvent>,
    /// How many of them are of the last look.
    found: usize,
}

#[derive(Debug)]
struct Set(Epoll);

impl AsRawFd for Set {
    fn as_raw_fd(&self) -> RawFd {
        self.0.0.as_raw_fd()
    }
}

impl Readiness {
    /// Sockets that one look tells of.
    pub(super) const AT_ONCE: usize = 1024;

    /// No sockets yet. Needs a runtime.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            epoll: registered(Set(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?))?,
            events: vec![EpollEvent::empty(); Self::AT_ONCE],
            found: 0,
        })
    }

    /// Begins to look at a socket, which is connected or being connected.
    pub(super) fn add(&self, connection: ConnectionId, socket: impl AsFd) -> io::Result<()> {
        let flags = EpollFlags::EPOLLIN
            | EpollFlags::EPOLLOUT
            | EpollFlags::EPOLLRDHUP
            | EpollFlags::EPOLLET;
        let event = EpollEvent::new(flags, connection.0);
        Ok(self.epoll.get_ref().0.add(socket, event)?)
    }

    /// Waits until a look is worth it.
    pub(super) async fn wait(&self) {
        // There is nothing to be done about an error of the runtime's but to look.
        let _still_set = self.epoll.readable().await;
    }

    /// Asks which sockets are ready; whether there may be more than could be told at once.
    pub(super) fn look(&mut self) -> bool {
        let events = &mut self.events;
        let mut found = None;
        // That it would block tells the runtime that there was nothing more at this point.
        let _told = self.epoll.try_io(Interest::READABLE, |set| {
            let count = set.0.wait(events, EpollTimeout::ZERO)?;
            found = Some(count);
            match count < Self::AT_ONCE {
                true => Err(io::ErrorKind::WouldBlock.into()),
                false => Ok(()),
            }
        });
        self.found = match found {
            Some(count) => count,
            // The runtime need not have noticed yet what the kernel knows already.
            None => {
                let unnoticed = self.epoll.get_ref().0.wait(events, EpollTimeout::ZERO);
                unnoticed.unwrap_or(0)
            }
        };
        self.found == Self::AT_ONCE
    }

    /// What the last look has found.
    pub(super) fn found(&self, at: usize) -> Option<Ready> {
        let event = self.events.get(..self.found)?.get(at)?;
        let is = |flags| event.events().intersects(flags);
        let ends = is(EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR);
        Some(Ready {
            connection: ConnectionId(event.data()),
            readable: ends || is(EpollFlags::EPOLLIN),
            writable: is(EpollFlags::EPOLLOUT | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR),
            ends,
        })
    }
}

#[expect(
    deprecated,
    reason = "the replacement is unsafe for types that may swap their descriptor; an epoll does not"
)]
fn registered(set: Set) -> io::Result<AsyncFd<Set>> {
    AsyncFd::with_interest(set, Interest::READABLE)
}
