//! What the kernel had counted when the last tries to reach a peer began, so that its counters are read as
//! what came since.
//!
//! They are of the whole network namespace and since it was made: one wrong password long ago must not be the
//! answer to every silence. What always holds: of a peer that is dialled again and again the last try that
//! failed and the one that runs count; of one that only calls us, what came since its last connection
//! ended, or since the process began.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::secrets::Dropped;
use crate::session::ConnectionId;

/// So many addresses are kept, whoever they were.
const FEW: usize = 64;

/// The tries, by the peer's address.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    begun: Dropped,
    of: BTreeMap<IpAddr, Attempt>,
    /// How many there were when they were last gone over.
    kept: usize,
    /// Dials and connections; whether they have come about.
    connections: BTreeMap<ConnectionId, (IpAddr, bool)>,
    /// What was read in this turn.
    read: Option<Dropped>,
}

#[derive(Debug, Clone, Copy)]
struct Attempt {
    /// When the last try began.
    last: Dropped,
    /// When the one before it began, if that has failed.
    before: Option<Dropped>,
    failed: bool,
}

impl Attempts {
    /// No tries yet.
    pub(super) fn new(begun: Dropped) -> Self {
        Self {
            begun,
            ..Self::default()
        }
    }

    /// Another turn begins.
    pub(super) fn turn(&mut self) {
        self.read = None;
    }

    /// Forgets addresses that are no peer's any more, where they are most: callers from a peer-range may have ever
    /// new ones.
    pub(super) fn keep(&mut self, is_peer: impl Fn(IpAddr) -> bool) {
        if self.of.len() > FEW + 2 * self.kept {
            self.of.retain(|address, _| is_peer(*address));
            self.kept = self.of.len();
        }
    }

    /// A dial begins.
    pub(super) fn dialled(&mut self, connection: ConnectionId, peer: IpAddr) {
        let last = self.read();
        let before = self.of.get(&peer).filter(|attempt| attempt.failed);
        let attempt = Attempt {
            last,
            before: before.map(|attempt| attempt.last),
            failed: false,
        };
        self.of.insert(peer, attempt);
        self.connections.insert(connection, (peer, false));
    }

    /// A dial has succeeded.
    pub(super) fn connected(&mut self, connection: ConnectionId) {
        if let Some((_, connected)) = self.connections.get_mut(&connection) {
            *connected = true;
        }
    }

    /// A peer has connected.
    pub(super) fn accepted(&mut self, connection: ConnectionId, peer: IpAddr) {
        self.connections.insert(connection, (peer, true));
    }

    /// A dial failed, or was given up.
    pub(super) fn failed(&mut self, connection: ConnectionId) {
        let dial = self.connections.remove(&connection);
        if let Some(attempt) = dial.and_then(|(peer, _)| self.of.get_mut(&peer)) {
            attempt.failed = true;
        }
    }

    /// Somebody has given up a connection, or a dial.
    pub(super) fn given_up(&mut self, connection: ConnectionId) {
        match self.connections.get(&connection) {
            Some((_, true)) => self.ended(connection),
            Some((_, false)) => self.failed(connection),
            None => {}
        }
    }

    /// A connection is over.
    pub(super) fn ended(&mut self, connection: ConnectionId) {
        let Some((peer, _)) = self.connections.remove(&connection) else {
            return;
        };
        let last = self.read();
        let attempt = Attempt {
            last,
            before: None,
            failed: false,
        };
        self.of.insert(peer, attempt);
    }

    /// What came since the last tries to reach a peer, of all that was counted.
    pub(super) fn since(&self, peer: IpAddr, so_far: Dropped) -> Dropped {
        let attempt = self.of.get(&peer);
        let begun = attempt.map(|attempt| attempt.before.unwrap_or(attempt.last));
        so_far.since(begun.unwrap_or(self.begun))
    }

    fn read(&mut self) -> Dropped {
        *self.read.get_or_insert_with(Dropped::so_far)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    /// The kernel has dropped so many.
    fn at(attempts: &mut Attempts, wrong: u64) -> Dropped {
        let dropped = Dropped::wrong(wrong);
        attempts.read = Some(dropped);
        dropped
    }

    #[test]
    fn what_came_before_the_tries_does_not_count() {
        let mut attempts = Attempts::new(Dropped::wrong(100));
        let (first, second, third) = (ConnectionId(1), ConnectionId(2), ConnectionId(3));
        // Nobody was dialled: since the start.
        assert_eq!(attempts.since(PEER, Dropped::wrong(103)), Dropped::wrong(3));
        at(&mut attempts, 110);
        attempts.dialled(first, PEER);
        assert_eq!(attempts.since(PEER, Dropped::wrong(112)), Dropped::wrong(2));
        attempts.failed(first);
        assert_eq!(attempts.since(PEER, Dropped::wrong(113)), Dropped::wrong(3));
        // The next try has just begun: the one that failed still counts.
        at(&mut attempts, 113);
        attempts.dialled(second, PEER);
        assert_eq!(attempts.since(PEER, Dropped::wrong(113)), Dropped::wrong(3));
        // And no longer when another has failed after it.
        attempts.failed(second);
        at(&mut attempts, 113);
        attempts.dialled(third, PEER);
        assert_eq!(attempts.since(PEER, Dropped::wrong(113)), Dropped::wrong(0));
    }

    #[test]
    fn ever_new_callers_leave_nothing_and_a_peer_keeps_what_is_its() {
        let mut attempts = Attempts::new(Dropped::wrong(0));
        at(&mut attempts, 5);
        attempts.dialled(ConnectionId(0), PEER);
        for n in 1..10_000 {
            let caller = IpAddr::V6(std::net::Ipv6Addr::from_bits(u128::from(n)));
            attempts.accepted(ConnectionId(n), caller);
            attempts.ended(ConnectionId(n));
            attempts.keep(|address| address == PEER);
            assert!(attempts.of.len() <= 2 * FEW);
        }
        assert_eq!(attempts.since(PEER, Dropped::wrong(7)), Dropped::wrong(2));
    }

    #[test]
    fn a_session_in_between_makes_it_history() {
        let mut attempts = Attempts::new(Dropped::wrong(0));
        attempts.dialled(ConnectionId(1), PEER);
        attempts.failed(ConnectionId(1));
        at(&mut attempts, 7);
        attempts.dialled(ConnectionId(2), PEER);
        at(&mut attempts, 9);
        attempts.ended(ConnectionId(2));
        assert_eq!(attempts.since(PEER, Dropped::wrong(9)), Dropped::wrong(0));
        // One that called us.
        attempts.accepted(ConnectionId(3), PEER);
        at(&mut attempts, 20);
        attempts.ended(ConnectionId(3));
        assert_eq!(attempts.since(PEER, Dropped::wrong(21)), Dropped::wrong(1));
    }
}
