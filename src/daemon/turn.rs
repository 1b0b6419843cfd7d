//! One turn of the event loop: inputs to the node, its outputs to the world.
//!
//! It decides nothing. What always holds: what a peer has sent is handed over before a deadline of its is
//! judged; what a turn has for a peer leaves with one system call, and what the kernel took of it is
//! accounted for in the same turn, so that the node goes on where there is room.

use std::net::{IpAddr, SocketAddr};

use super::answers;
use super::attempts::Attempts;
use super::clock::Clock;
use super::event_loop::{Daemon, Event};
use super::secrets;
use crate::control::protocol::Request;
use crate::control::server::{Message, Pending};
use crate::dataplane::Op;
use crate::net::ScopedAddress;
use crate::node::{Input, Node, Output};
use crate::speaker;
use crate::time::{Duration, Instant};
use crate::transport::{self, Accepted, Endpoint, SocketOptions};

/// Times that a turn writes and makes more for those that took all: then others are read from again.
const ROUNDS: usize = 4;
/// So long a turn reads at most, and one read more: who was not read waits for the next.
const READING: Duration = Duration::from_millis(12);
/// So long it carries out what the node wants: five thousand peers of a new plan are as many dials.
const CARRYING: Duration = Duration::from_millis(12);
/// After so long it makes no more for those that took all.
const WRITING: Duration = Duration::from_millis(8);

impl Daemon {
    pub(super) fn take(&mut self, event: Event) {
        let now = self.clock.now();
        match event {
            Event::Accepted(accepted) => self.take_accepted(accepted),
            Event::Kernel(inputs) => {
                for input in inputs {
                    self.node.handle(now, Input::Kernel(input));
                }
            }
            Event::FarEnd(report) => self.node.speaker_mut().far_end_reported(now, report),
            Event::Heard(heard) => self.heard(now, &heard),
            Event::Read(read) => self.take_read(read),
            Event::Nat => self.watch.touched = true,
        }
    }

    /// What the control socket has for us; one message a turn, since an answer may be long.
    pub(super) fn take_message(&mut self, message: Message) {
        match message {
            Message::Asked(Pending { request, reply }) => {
                if request == Request::Reload {
                    self.read_again(Some(reply));
                    return;
                }
                // A client that has gone needs no answer.
                let _gone = reply.send(answers::answer(self, &request));
            }
            Message::Trouble(trouble) => {
                self.control_trouble = trouble;
                self.watch.touched = true;
            }
        }
    }

    fn take_accepted(&mut self, accepted: Accepted) {
        let Accepted {
            stream,
            remote,
            local,
            ttl,
        } = accepted;
        let now = self.clock.now();
        let from = scoped(remote);
        let (remote, local) = (canonical(remote), canonical(local));
        let speaker = self.node.speaker_mut();
        if !speaker.is_near_enough(now, from, local.ip(), ttl) {
            self.strangers
                .complain(now, remote, local, speaker::TOO_FAR);
            self.watch.touched = true;
            transport::refuse(stream);
            return;
        }
        let Some((connection, terms)) = self.node.accepted(now, from, local.ip()) else {
            let why = self.node.speaker().refusal(from, local.ip());
            self.strangers.complain(now, remote, local, why);
            self.watch.touched = true;
            transport::refuse(stream);
            return;
        };
        let mut endpoint = endpoint(remote, None, terms);
        endpoint.options.called_with = ttl;
        self.attempts.accepted(connection, remote.ip());
        if let Err(error) = self.transport.adopt(connection, stream, &endpoint) {
            self.attempts.ended(connection);
            let closed = Input::Closed(connection, Some(error.to_string()));
            self.node.handle(now, closed);
        }
    }

    /// Hands over what has come on the connections, for so long as a turn reads.
    pub(super) fn receive(&mut self) {
        let (node, attempts, clock) = (&mut self.node, &mut self.attempts, self.clock);
        let end = clock.now() + READING;
        self.transport
            .receive(&mut |event| hand_over(node, attempts, clock, event), || {
                clock.now() >= end
            });
    }

    /// Hands over what has come from those whose deadline is due, so that our own slowness ends no session.
    pub(super) fn receive_from_due(&mut self, now: Instant) {
        let due = self.node.speaker().due(now);
        let (node, attempts, clock) = (&mut self.node, &mut self.attempts, self.clock);
        for connection in due {
            self.transport.receive_from(connection, &mut |event| {
                hand_over(node, attempts, clock, event);
            });
        }
    }

    /// Settles the node and carries out what it wants, until neither has anything new or others have
    /// waited long enough.
    pub(super) fn turn_over(&mut self) {
        self.unsettled = true;
        self.attempts.turn();
        self.attempts
            .keep(|address| self.node.speaker().is_peer(address));
        let end = self.clock.now() + WRITING;
        for round in 0..ROUNDS {
            if round > 0 && self.clock.now() >= end {
                return;
            }
            let all = self.settle();
            let (node, attempts, clock) = (&mut self.node, &mut self.attempts, self.clock);
            let told = self
                .transport
                .transmit(&mut |event| hand_over(node, attempts, clock, event));
            if !all {
                return;
            }
            if !told {
                self.unsettled = false;
                return;
            }
        }
    }

    /// Whether all that the node wants is carried out.
    fn settle(&mut self) -> bool {
        let now = self.clock.now();
        self.node.settle(now);
        let speaker = self.node.speaker_mut();
        self.watching.follow(speaker, self.clock, &self.events);
        let end = self.clock.now() + CARRYING;
        while let Some(output) = self.node.poll() {
            match output {
                Output::Transport(output) => self.carry_out(output),
                Output::Kernel(ops) => self.operate(ops),
            }
            if self.clock.now() >= end {
                return false;
            }
        }
        true
    }

    fn operate(&mut self, ops: Vec<Op>) {
        if self.kernel.as_ref().is_some_and(|kernel| !kernel.send(ops)) {
            tracing::error!("the kernel thread has ended; routes are no longer programmed");
            self.kernel = None;
            self.watch.touched = true;
        }
    }

    fn carry_out(&mut self, output: speaker::Output) {
        match output {
            speaker::Output::Dial {
                connection,
                remote,
                source,
                socket,
            } => {
                let endpoint = endpoint(remote, source, socket);
                self.attempts.dialled(connection, remote.ip());
                self.transport.dial(connection, &endpoint);
            }
            speaker::Output::Sign {
                connection,
                authentication,
            } => {
                if let Some(signing) = secrets::signing(&authentication) {
                    self.transport.sign(connection, &signing);
                }
            }
            speaker::Output::Send { connection, bytes } => self.transport.send(connection, bytes),
            speaker::Output::Probe { connection } => self.transport.probe(connection),
            speaker::Output::Close { connection } => {
                self.attempts.ended(connection);
                self.transport.close(connection);
            }
            speaker::Output::Abort { connection } => {
                self.attempts.given_up(connection);
                self.transport.abort(connection);
            }
        }
    }
}

fn hand_over(node: &mut Node, attempts: &mut Attempts, clock: Clock, event: transport::Event<'_>) {
    use transport::Event as E;
    let input = match event {
        E::Connected { connection, local } => {
            attempts.connected(connection);
            Input::Connected(connection, local.ip().to_canonical())
        }
        E::DialFailed { connection, error } => {
            attempts.failed(connection);
            Input::DialFailed(connection, error)
        }
        E::Received {
            connection,
            messages,
        } => Input::Received(connection, messages),
        E::BadHeader { connection, error } => Input::BadHeader(connection, error),
        E::Sent { connection, octets } => Input::Sent(connection, octets),
        E::Acknowledged { connection } => Input::Acknowledged(connection),
        E::Closed { connection, error } => {
            attempts.ended(connection);
            Input::Closed(connection, error)
        }
    };
    node.handle(clock.now(), input);
}

fn endpoint(remote: SocketAddr, source: Option<IpAddr>, terms: speaker::SocketTerms) -> Endpoint {
    Endpoint {
        remote,
        source,
        options: SocketOptions {
            ttl: terms.ttl,
            min_ttl: terms.min_ttl,
            called_with: None,
            user_timeout: terms.user_timeout,
            signing: secrets::signing(&terms.authentication),
        },
        max_message: terms.max_message,
    }
}

/// An IPv4 peer is an IPv4 peer, whatever socket it came through.
/// Who calls, and by which link if the address is a link-local one.
fn scoped(address: SocketAddr) -> ScopedAddress {
    let scope = match address {
        SocketAddr::V4(_) => 0,
        SocketAddr::V6(v6) => v6.scope_id(),
    };
    ScopedAddress::new(address.ip().to_canonical(), scope)
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
