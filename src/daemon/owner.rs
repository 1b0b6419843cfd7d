//! One owner for a network namespace and a routing table: two daemons would fight over the same routes
//! and devices.
//!
//! Not the control socket, of which there may be many on a host. The claim is a socket with an abstract
//! name: the kernel keeps those apart by network namespace, as it does routes, and takes the name back
//! when the process ends, however it ends. What always holds:
//!
//! - who starts while another one still ends (an upgrade) waits for that end, and not by a clock: the
//!   kernel closes what was connected to it;
//! - anybody in the namespace can take a name, so one that a process without our rights has is no owner:
//!   it stops nobody.

use std::io::{self, Read};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::geteuid;

use super::clock::Clock;
use crate::time::Duration;

/// How long a start waits for another daemon's end: longer than any orderly one takes.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

const CAP_NET_ADMIN: u64 = 1 << 12;

/// Holds the claim as long as it is kept.
#[derive(Debug)]
pub(super) struct Claim {
    /// None where nobody can hold one.
    _held: Option<UnixListener>,
}

/// Another daemon has the table.
#[derive(Debug, thiserror::Error)]
#[error(
    "another dunlin ({owner}) programs routing table {table} of this network namespace, and two would \
     fight over the same routes and devices; stop that one, or set kernel-routes = false in [routing] of \
     one of them"
)]
pub(super) struct Taken {
    owner: Owner,
    table: u32,
}

/// Who has a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Owner {
    process: i32,
    user: u32,
}

impl Claim {
    /// Claims a routing table of this network namespace; waits so long for an owner that ends.
    pub(super) fn take(table: u32, patience: Duration) -> Result<Self, Taken> {
        let clock = Clock::start();
        let end = clock.now() + patience;
        let mut said = false;
        loop {
            let error = match SocketAddr::from_abstract_name(format!("dunlin/table/{table}"))
                .and_then(|name| attempt(&name))
            {
                Ok(Attempt::Ours(listener)) => {
                    return Ok(Self {
                        _held: Some(listener),
                    });
                }
                Ok(Attempt::Gone) => continue,
                Ok(Attempt::Theirs(stream, owner)) => {
                    if !owner.may_program_routes() {
                        tracing::warn!(
                            "{owner} has the name of dunlin's claim, and is none; going on"
                        );
                        return Ok(Self { _held: None });
                    }
                    let left = end.since(clock.now());
                    if left == Duration::ZERO {
                        return Err(Taken { owner, table });
                    }
                    if !core::mem::replace(&mut said, true) {
                        tracing::info!(
                            "another dunlin ({owner}) still runs here; waiting for its end"
                        );
                    }
                    await_end(stream, left).err()
                }
                Err(error) => Some(error),
            };
            if let Some(error) = error {
                // A system without such sockets has the fights of former days, no more.
                tracing::warn!("cannot claim routing table {table}: {error}; going on");
                return Ok(Self { _held: None });
            }
        }
    }
}

enum Attempt {
    Ours(UnixListener),
    Theirs(UnixStream, Owner),
    /// There was one a moment ago.
    Gone,
}

fn attempt(name: &SocketAddr) -> io::Result<Attempt> {
    match UnixListener::bind_addr(name) {
        Ok(listener) => return Ok(Attempt::Ours(listener)),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
        Err(error) => return Err(error),
    }
    match UnixStream::connect_addr(name) {
        Ok(stream) => {
            let found = getsockopt(&stream, PeerCredentials)?;
            let owner = Owner {
                process: found.pid(),
                user: found.uid(),
            };
            Ok(Attempt::Theirs(stream, owner))
        }
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(Attempt::Gone),
        Err(error) => Err(error),
    }
}

/// Waits until the other end is closed, at most so long.
fn await_end(mut stream: UnixStream, most: Duration) -> io::Result<()> {
    stream.set_read_timeout(Some(most))?;
    // Nobody says anything there: whatever comes is the end, or time is up.
    let _the_end = stream.read(&mut [0; 1]);
    Ok(())
}

impl Owner {
    /// Whether it could be a dunlin: it is root's, of our user, or has the capability that it takes.
    fn may_program_routes(self) -> bool {
        if self.user == 0 || self.user == geteuid().as_raw() {
            return true;
        }
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process));
        let permitted = status.ok().and_then(|status| {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix("CapPrm:"))?;
            u64::from_str_radix(line.trim(), 16).ok()
        });
        permitted.is_some_and(|set| set & CAP_NET_ADMIN != 0)
    }
}

impl core::fmt::Display for Owner {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.process {
            // In another namespace of processes it has no number here.
            ..=0 => write!(f, "a process of user {} in another container", self.user),
            number => write!(f, "process {number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(table: u32, patience: Duration) -> Result<bool, Taken> {
        Ok(Claim::take(table, patience)?._held.is_some())
    }

    /// No daemon has such a table.
    fn table(n: u32) -> u32 {
        u32::MAX - n - std::process::id().wrapping_mul(8)
    }

    #[test]
    fn the_second_one_is_refused_and_told_who_is_first() {
        let first = Claim::take(table(1), Duration::ZERO).unwrap();
        let second = Claim::take(table(1), Duration::from_millis(20)).unwrap_err();
        let own = format!("process {}", std::process::id());
        assert!(second.to_string().contains(&own), "{second}");
        assert!(take(table(2), Duration::ZERO).unwrap());
        drop(first);
        assert!(take(table(1), Duration::ZERO).unwrap());
    }

    #[test]
    fn who_comes_while_another_one_ends_waits_for_it() {
        let first = Claim::take(table(3), Duration::ZERO).unwrap();
        let waiting = std::thread::spawn(|| take(table(3), Duration::from_secs(60)).unwrap());
        // Whether it comes before or after makes no difference to what it gets.
        drop(first);
        assert!(waiting.join().unwrap());
    }
}
