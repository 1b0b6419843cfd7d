//! Short ways for what happens to a session a hundred thousand times: UPDATEs that come, octets that
//! leave.
//!
//! No state changes here and nothing is put out, so no list of outputs is looked through. What always
//! holds: each does what [`Peer::handle`] does with the input that it names.

use super::Peer;
use crate::session::ConnectionId;
use crate::time::Instant;
use crate::wire::frame::MessageKind;

impl Peer {
    /// An UPDATE came: what [`handle`](Self::handle) does about one in Established, for a driver that
    /// has a whole table of them. `false`, and nothing is done, in any other state.
    pub fn take_update(&mut self, now: Instant, connection: ConnectionId) -> bool {
        let Some(index) = self.established_index(connection) else {
            return false;
        };
        self.counters.count_received(MessageKind::Update);
        if let Some(Some(connection)) = self.connections.get_mut(index) {
            connection.restart_hold(now);
        }
        true
    }

    /// What [`Input::Sent`](crate::session::Input::Sent) and then
    /// [`Input::SendBlocked`](crate::session::Input::SendBlocked) do, each if it happened, for a driver that
    /// sends to many peers at once.
    pub fn queue_moved(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        [sent, blocked]: [bool; 2],
    ) {
        let index = self.index(connection);
        let Self {
            connections,
            config,
            ..
        } = self;
        let place = index.and_then(|index| connections.get_mut(index));
        let Some(Some(connection)) = place else {
            return;
        };
        if sent {
            connection.sent();
        }
        if blocked {
            connection.send_blocked(now, config);
        }
    }

    /// Counts messages that the driver has encoded and sent by itself.
    pub fn count_sent(&mut self, kind: MessageKind, messages: u64) {
        self.counters.count_sent(kind, messages);
    }
}
