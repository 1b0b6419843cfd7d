//! A transport that is turned round by hand: what it tells is kept until somebody asks.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use dunlin::session::{ConnectionId, DialError};
use dunlin::transport::{Accepted, Endpoint, Event, SocketOptions, Transport};
use dunlin::wire::error::HeaderError;
use dunlin::wire::frame;
use tokio::sync::mpsc;

const DEADLINE: Duration = Duration::from_secs(30);

/// What has happened.
#[derive(Debug)]
pub(crate) enum Told {
    Accepted(Accepted),
    Connected(ConnectionId),
    DialFailed(ConnectionId, DialError),
    Received(ConnectionId, Vec<u8>),
    BadHeader(ConnectionId, HeaderError),
    Sent(ConnectionId, usize),
    Acknowledged(ConnectionId),
    Closed(ConnectionId, Option<String>),
}

pub(crate) struct Rig {
    pub(crate) transport: Transport,
    /// For listeners.
    pub(crate) sender: mpsc::Sender<Accepted>,
    accepted: mpsc::Receiver<Accepted>,
    told: VecDeque<Told>,
}

impl Rig {
    pub(crate) fn new() -> Self {
        let (sender, accepted) = mpsc::channel(64);
        Self {
            transport: Transport::new().unwrap(),
            sender,
            accepted,
            told: VecDeque::new(),
        }
    }

    /// Lets octets leave; whether there was anything to tell.
    pub(crate) fn transmit(&mut self) -> bool {
        let told = &mut self.told;
        self.transport
            .transmit(&mut |event| told.push_back(kept(event)))
    }

    /// Reads once.
    pub(crate) fn receive(&mut self) {
        let told = &mut self.told;
        self.transport
            .receive(&mut |event| told.push_back(kept(event)), || false);
    }

    /// One turn, which waits for something to happen.
    pub(crate) async fn turn(&mut self) {
        while self.transmit() {}
        if !self.told.is_empty() {
            return;
        }
        let something = async {
            tokio::select! {
                accepted = self.accepted.recv() => accepted.map(Told::Accepted),
                () = self.transport.ready() => None,
            }
        };
        let accepted = tokio::time::timeout(DEADLINE, something).await.unwrap();
        self.told.extend(accepted);
        self.receive();
    }

    /// What happens next.
    pub(crate) async fn next(&mut self) -> Told {
        loop {
            if let Some(told) = self.told.pop_front() {
                return told;
            }
            self.turn().await;
        }
    }

    /// What has been told already.
    pub(crate) fn told(&mut self) -> Vec<Told> {
        self.told.drain(..).collect()
    }
}

fn kept(event: Event<'_>) -> Told {
    match event {
        Event::Connected { connection, .. } => Told::Connected(connection),
        Event::DialFailed { connection, error } => Told::DialFailed(connection, error),
        Event::Received {
            connection,
            messages,
        } => Told::Received(connection, messages.to_vec()),
        Event::BadHeader { connection, error } => Told::BadHeader(connection, error),
        Event::Sent { connection, octets } => Told::Sent(connection, octets),
        Event::Acknowledged { connection } => Told::Acknowledged(connection),
        Event::Closed { connection, error } => Told::Closed(connection, error),
    }
}

pub(crate) fn endpoint(remote: std::net::SocketAddr) -> Endpoint {
    Endpoint {
        remote,
        source: None,
        options: SocketOptions::default(),
        max_message: frame::MAX_LEN,
    }
}

pub(crate) fn keepalive() -> Bytes {
    Bytes::from_static(&frame::KEEPALIVE)
}

/// Runs one story.
pub(crate) fn run(story: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(story);
}
