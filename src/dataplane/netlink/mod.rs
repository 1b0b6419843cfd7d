//! The kernel over netlink: bytes and batches, no decisions.
//!
//! One thread owns two sockets. The first carries operations and dumps: many messages a send, their
//! results matched by sequence number. The second hears notifications; a filter in the kernel keeps
//! the echoes of the first one's operations and the routes of other tables out of its buffer. What
//! overruns it is said as [`KernelInput::Overrun`]. Settings below `/proc/sys` and offloading are
//! carried out between two sends, so that results come in the order of the operations.
//!
//! The thread works in the network namespace of whoever spawns it.
//!
//! # Echoes
//!
//! The filter goes by the port that a notification names. On Linux 6.1 and 6.18 that is ours for
//! routes, IPv4 addresses and neighbours, which are therefore not heard; it is 0, as if the kernel
//! itself had acted, for IPv6 addresses, for FDB entries and for the end of a neighbour, whose echo is
//! heard after the result.
//! Links pass whatever their port: [`Action::AddLink`], [`Action::SetLink`] and
//! [`Action::DeleteLink`] are answered *after* the link as it is then was told.

mod addresses;
mod attribute;
mod codec;
mod dialogue;
mod ethtool;
mod links;
mod neighbours;
mod objects;
mod query;
mod route_writer;
mod routes;
mod settings;
mod socket;
mod sysctl;

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::input::{Action, KernelInput, Op, OpId};
use super::ownership::Ownership;
use super::route::Errno;
pub use dialogue::Dialogue;
use ethtool::Ethtool;
pub use query::{Questions, answer};
use socket::{Channel, Received};

/// So many messages go into one send; more bring nothing.
const BATCH: usize = 128;
/// And so many bytes, well below the send buffer.
const BATCH_BYTES: usize = 48 * 1024;
/// So many inputs are handed over at once: a part of the window, so that the owner thinks about the
/// next operations while the rest of the last ones is written.
const HANDOVER: usize = 1024;

/// What the adapter may be told.
#[derive(Debug, Clone, Copy)]
pub struct KernelSettings {
    /// The table to read.
    pub table: u32,
    /// The receive buffer for results in bytes: room for those of a full window.
    pub result_buffer: usize,
    /// The receive buffer for notifications in bytes.
    pub news_buffer: usize,
}

impl Default for KernelSettings {
    fn default() -> Self {
        Self {
            table: Ownership::MAIN_TABLE,
            result_buffer: 16 << 20,
            news_buffer: 16 << 20,
        }
    }
}

/// Why the adapter did not start.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// No netlink socket, or it can't be set up.
    #[error("cannot open a netlink socket: {0}")]
    Open(#[source] io::Error),
    /// No thread.
    #[error("cannot start the kernel thread: {0}")]
    Thread(#[source] io::Error),
}

/// The running adapter. Dropping it ends the thread; routes stay.
#[derive(Debug)]
pub struct Kernel {
    ops: mpsc::Sender<Vec<Op>>,
    wake: UnixStream,
}

impl Kernel {
    /// Starts the thread. `sink` gets the inputs in order and may block to slow it down; when it
    /// answers false the thread ends.
    pub fn spawn(
        settings: KernelSettings,
        sink: impl FnMut(Vec<KernelInput>) -> bool + Send + 'static,
    ) -> Result<Self, KernelError> {
        let requests = Channel::requests(settings).map_err(KernelError::Open)?;
        let news = Channel::news(settings, requests.port()).map_err(KernelError::Open)?;
        let (wake, woken) = UnixStream::pair().map_err(KernelError::Open)?;
        wake.set_nonblocking(true).map_err(KernelError::Open)?;
        woken.set_nonblocking(true).map_err(KernelError::Open)?;
        let (ops, queue) = mpsc::channel();
        let task = Task {
            requests,
            news,
            woken,
            queue,
            settings,
            out: Outbox {
                inputs: Vec::new(),
                held: 0,
                sink: Box::new(sink),
                open: true,
            },
            backlog: VecDeque::new(),
            dialogue: Dialogue::default(),
            ethtool: Ethtool::default(),
            sequence: Sequence::default(),
        };
        thread::Builder::new()
            .name("kernel".into())
            .spawn(move || task.run())
            .map_err(KernelError::Thread)?;
        Ok(Self { ops, wake })
    }

    /// Hands operations to the kernel thread; false if it has ended.
    pub fn send(&self, ops: Vec<Op>) -> bool {
        if self.ops.send(ops).is_err() {
            return false;
        }
        match (&self.wake).write_all(&[1]) {
            Ok(()) => true,
            // A full pipe wakes as well as one more byte would.
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }
}

struct Task {
    requests: Channel,
    news: Channel,
    woken: UnixStream,
    queue: mpsc::Receiver<Vec<Op>>,
    settings: KernelSettings,
    out: Outbox,
    backlog: VecDeque<Op>,
    dialogue: Dialogue,
    ethtool: Ethtool,
    sequence: Sequence,
}

struct Outbox {
    inputs: Vec<KernelInput>,
    /// What the inputs tell of: one may tell of many operations.
    held: usize,
    sink: Box<dyn FnMut(Vec<KernelInput>) -> bool + Send>,
    open: bool,
}

impl Outbox {
    /// Operations that were carried out one after the other are told of together.
    fn push(&mut self, input: KernelInput) {
        match (self.inputs.last_mut(), input) {
            (
                Some(KernelInput::Carried { last: end, .. }),
                KernelInput::Carried { first, last },
            ) if end.0 + 1 == first.0 => {
                *end = last;
            }
            (_, input) => self.inputs.push(input),
        }
        self.hold();
    }

    fn hold(&mut self) {
        self.held += 1;
        if self.held >= HANDOVER {
            self.flush();
        }
    }

    fn flush(&mut self) {
        self.held = 0;
        if !self.inputs.is_empty() {
            self.open &= (self.sink)(core::mem::take(&mut self.inputs));
        }
    }
}

impl Task {
    fn run(mut self) {
        while self.out.open && self.turn() {
            self.out.flush();
        }
    }

    /// One round: wait, read everything, write what there is. False when the owner is gone.
    fn turn(&mut self) -> bool {
        let mut fds = [
            PollFd::new(self.woken.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.news.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.requests.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(_) => return false,
        }
        // News first: what somebody else did is older, as a rule, than the result just read.
        self.read_news();
        self.read_results();
        self.finish_links();
        let alive = self.read_ops();
        self.send_backlog();
        alive
    }

    fn read_ops(&mut self) -> bool {
        let mut bytes = [0; 256];
        let alive = loop {
            match self.woken.read(&mut bytes) {
                Ok(0) => break false,
                Ok(_) => {}
                Err(error) => break error.kind() == io::ErrorKind::WouldBlock,
            }
        };
        while let Ok(ops) = self.queue.try_recv() {
            self.backlog.extend(ops);
        }
        alive
    }

    fn read_news(&mut self) {
        loop {
            match self.news.receive() {
                Received::Datagram => {
                    let tell = |input| self.out.push(input);
                    self.dialogue.hear_news(self.news.datagram(), tell);
                }
                Received::Nothing => return,
                Received::Overrun => self.out.push(KernelInput::Overrun),
                Received::Failed => {
                    self.out.open = false;
                    return;
                }
            }
        }
    }

    fn read_results(&mut self) {
        loop {
            match self.requests.receive() {
                Received::Datagram => {
                    let tell = |input| self.out.push(input);
                    if self.dialogue.hear_results(self.requests.datagram(), tell) {
                        self.next_stage();
                    }
                }
                Received::Nothing => return,
                Received::Overrun => self.dialogue.lose(|input| self.out.push(input)),
                Received::Failed => {
                    self.out.open = false;
                    return;
                }
            }
        }
    }

    fn send_backlog(&mut self) {
        let mut bytes = Vec::with_capacity(BATCH_BYTES);
        loop {
            if self.backlog.front().is_some_and(|op| together(&op.action)) {
                self.send_batch(&mut bytes);
                self.read_results();
                continue;
            }
            let Some(op) = self.backlog.pop_front() else {
                self.backlog.shrink_to(HANDOVER);
                return;
            };
            match op.action {
                Action::Dump => self.start_dump(op.id),
                Action::Tune(setting) => self.answer(op.id, sysctl::tune(&setting)),
                Action::Offload { link, on } => {
                    let result = self.ethtool.offload(&link, on);
                    self.answer(op.id, result);
                }
                _ => self.send_link(&op),
            }
        }
    }

    /// Sends the operations at the front that can go together.
    fn send_batch(&mut self, bytes: &mut Vec<u8>) {
        bytes.clear();
        let before = self.dialogue.outstanding();
        let mut last = None;
        for op in self.backlog.iter().take(BATCH) {
            if bytes.len() >= BATCH_BYTES || !together(&op.action) {
                break;
            }
            if let Some(start) = last.replace(bytes.len()) {
                codec::hush(bytes, start);
            }
            let sequence = self.sequence.next();
            self.dialogue.ask(bytes, sequence, op);
        }
        self.backlog.drain(..self.dialogue.outstanding() - before);
        self.send(bytes, before);
    }

    /// Sends an operation on a link by itself, and tells what became of the link before the result.
    fn send_link(&mut self, op: &Op) {
        let mut bytes = Vec::new();
        let before = self.dialogue.outstanding();
        let sequence = self.sequence.next();
        self.dialogue.ask(&mut bytes, sequence, op);
        self.send_one(&bytes, before);
        self.finish_links();
    }

    /// The second half of making a link.
    fn finish_links(&mut self) {
        loop {
            let mut bytes = Vec::new();
            let before = self.dialogue.outstanding();
            let sequence = self.sequence.next();
            if !self.dialogue.ask_rest(&mut bytes, sequence) {
                return;
            }
            self.send_one(&bytes, before);
        }
    }

    /// Sends one request, and hears what comes of it.
    fn send_one(&mut self, bytes: &[u8], before: usize) {
        self.send(bytes, before);
        self.read_news();
        self.read_results();
    }

    /// Sends the requests of those that wait, all but so many of them.
    fn send(&mut self, bytes: &[u8], before: usize) {
        if let Err(error) = self.requests.send(bytes) {
            let errno = Errno(error.raw_os_error().unwrap_or(Errno::ENOBUFS.0));
            for id in self.dialogue.unsent(before) {
                self.answer(id, Err(errno));
            }
        }
    }

    fn answer(&mut self, id: OpId, result: Result<(), Errno>) {
        self.out.push(KernelInput::Done { id, result });
    }

    fn start_dump(&mut self, id: OpId) {
        let sequence = self.sequence.next();
        self.dialogue.dumping(sequence, id);
        self.ask(sequence);
    }

    fn next_stage(&mut self) {
        let sequence = self.sequence.next();
        let tell = |input| self.out.push(input);
        if self.dialogue.next_stage(sequence, tell) {
            self.ask(sequence);
        }
    }

    /// Sends the request for what the dump is at.
    fn ask(&mut self, sequence: u32) {
        let Some(stage) = self.dialogue.stage() else {
            return;
        };
        let mut bytes = Vec::new();
        stage.put(&mut bytes, sequence, self.settings.table);
        if let Err(error) = self.requests.send(&bytes)
            && let Some(id) = self.dialogue.end_dump()
        {
            let errno = Errno(error.raw_os_error().unwrap_or(Errno::ENOBUFS.0));
            self.out.push(KernelInput::Done {
                id,
                result: Err(errno),
            });
        }
    }
}

/// The number of the last request.
#[derive(Debug, Default)]
struct Sequence(u32);

impl Sequence {
    const fn next(&mut self) -> u32 {
        // 0 marks what the kernel says by itself.
        self.0 = if self.0 == u32::MAX { 1 } else { self.0 + 1 };
        self.0
    }
}

/// Whether an operation is one request to rtnetlink whose result needs nothing told before it.
const fn together(action: &Action) -> bool {
    match action {
        Action::Add(_)
        | Action::Replace(_)
        | Action::Delete(_)
        | Action::AddAddress(_)
        | Action::DeleteAddress(_)
        | Action::SetNeighbour(_)
        | Action::DeleteNeighbour(_) => true,
        Action::Dump
        | Action::AddLink(_)
        | Action::SetLink { .. }
        | Action::DeleteLink { .. }
        | Action::Tune(_)
        | Action::Offload { .. } => false,
    }
}
