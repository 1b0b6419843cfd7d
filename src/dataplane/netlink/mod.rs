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

use netlink_packet_core::{NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR, NLMSG_OVERRUN};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::device::LinkSpec;
use super::input::{Action, KernelInput, Op, OpId};
use super::ownership::Ownership;
use super::route::Errno;
use codec::{Reader, Stage};
use ethtool::Ethtool;
pub use query::Questions;
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
            waiting: VecDeque::new(),
            making: Vec::new(),
            made: VecDeque::new(),
            reader: Reader::default(),
            ethtool: Ethtool::default(),
            dump: None,
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
    /// Operations that were sent, with the sequence number of their request, in that order.
    waiting: VecDeque<(u32, OpId)>,
    /// The links that some of them make.
    making: Vec<(OpId, Box<LinkSpec>)>,
    /// Links that were made and still lack what the kernel takes only from a second request.
    made: VecDeque<(OpId, Box<LinkSpec>)>,
    reader: Reader,
    ethtool: Ethtool,
    dump: Option<Dump>,
    sequence: Sequence,
}

struct Dump {
    id: OpId,
    stage: Stage,
    sequence: u32,
    result: Result<(), Errno>,
}

struct Outbox {
    inputs: Vec<KernelInput>,
    /// What the inputs tell of: one may tell of many operations.
    held: usize,
    sink: Box<dyn FnMut(Vec<KernelInput>) -> bool + Send>,
    open: bool,
}

impl Outbox {
    fn push(&mut self, input: KernelInput) {
        self.inputs.push(input);
        self.hold();
    }

    /// An operation was carried out.
    fn carried(&mut self, id: OpId) {
        if let Some(KernelInput::Carried { last, .. }) = self.inputs.last_mut()
            && last.0 + 1 == id.0
        {
            *last = id;
            self.hold();
        } else {
            self.push(KernelInput::Carried {
                first: id,
                last: id,
            });
        }
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
                    let mut rest = self.news.datagram();
                    while let Some((header, payload, next)) = codec::split(rest) {
                        rest = next;
                        if let Some(change) = self.reader.change(header, payload) {
                            self.out.push(KernelInput::Changed(change));
                        }
                    }
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
                Received::Datagram => self.take_results(),
                Received::Nothing => return,
                Received::Overrun => self.lose_results(),
                Received::Failed => {
                    self.out.open = false;
                    return;
                }
            }
        }
    }

    fn take_results(&mut self) {
        let Self {
            requests,
            out,
            waiting,
            making,
            made,
            reader,
            dump,
            ..
        } = self;
        let mut rest = requests.datagram();
        let mut stage_over = false;
        while let Some((header, payload, next)) = codec::split(rest) {
            rest = next;
            let code = codec::error_code(payload);
            let result = if code == 0 { Ok(()) } else { Err(Errno(code)) };
            if let Some(dump) = dump
                .as_mut()
                .filter(|dump| dump.sequence == header.sequence)
            {
                if header.flags & NLM_F_DUMP_INTR != 0 {
                    // The kernel's own word for "it changed while I was telling".
                    dump.result = Err(Errno::ENOBUFS);
                }
                match header.kind {
                    NLMSG_DONE | NLMSG_ERROR => {
                        // A table without routes may not exist yet, and before Linux 5.3 there are no
                        // nexthop objects.
                        let lacks =
                            dump.stage == Stage::Objects && result == Err(Errno::EOPNOTSUPP);
                        if result != Err(Errno::ENOENT) && !lacks {
                            dump.result = dump.result.and(result);
                        }
                        stage_over = true;
                    }
                    NLMSG_OVERRUN => dump.result = Err(Errno::ENOBUFS),
                    _ => {
                        if let Some(row) = reader.change(header, payload) {
                            out.push(KernelInput::Dumped(row));
                        }
                    }
                }
            } else if header.kind == NLMSG_ERROR {
                let place = waiting
                    .iter()
                    .position(|(sequence, _)| *sequence == header.sequence);
                let Some(place) = place else { continue };
                // Of a batch only errors are told, and that its last request was carried out: the
                // kernel keeps the order, so what it says nothing about went well.
                for (sequence, id) in waiting.drain(..=place) {
                    let result = if sequence == header.sequence {
                        result
                    } else {
                        Ok(())
                    };
                    match (taken(making, id), result) {
                        (Some(link), Ok(())) => made.push_back(link),
                        (None, Ok(())) => out.carried(id),
                        (_, Err(_)) => out.push(KernelInput::Done { id, result }),
                    }
                }
            }
        }
        if stage_over {
            self.next_stage();
        }
    }

    /// Results were lost with the buffer: nobody knows which operations took effect.
    fn lose_results(&mut self) {
        self.making.clear();
        let mut ids: Vec<OpId> = self.waiting.drain(..).map(|(_, id)| id).collect();
        ids.extend(self.dump.take().map(|dump| dump.id));
        ids.sort_unstable();
        for id in ids {
            self.out.push(KernelInput::Done {
                id,
                result: Err(Errno::ENOBUFS),
            });
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
                _ => self.send_link(op),
            }
        }
    }

    /// Sends the operations at the front that can go together.
    fn send_batch(&mut self, bytes: &mut Vec<u8>) {
        bytes.clear();
        let before = self.waiting.len();
        let mut last = None;
        for op in self.backlog.iter().take(BATCH) {
            if bytes.len() >= BATCH_BYTES || !together(&op.action) {
                break;
            }
            if let Some(start) = last.replace(bytes.len()) {
                codec::hush(bytes, start);
            }
            let sequence = self.sequence.next();
            codec::put_action(bytes, sequence, &op.action, self.reader.tunnels());
            self.waiting.push_back((sequence, op.id));
        }
        self.backlog.drain(..self.waiting.len() - before);
        self.send(bytes, before);
    }

    /// Sends an operation on a link by itself, and tells what became of the link before the result.
    fn send_link(&mut self, op: Op) {
        let mut bytes = Vec::new();
        let sequence = self.sequence.next();
        codec::put_action(&mut bytes, sequence, &op.action, self.reader.tunnels());
        if let Action::AddLink(spec) = op.action {
            self.making.push((op.id, spec));
        }
        self.send_one(&bytes, sequence, op.id);
        self.finish_links();
    }

    /// The second half of making a link.
    fn finish_links(&mut self) {
        while let Some((id, spec)) = self.made.pop_front() {
            let mut bytes = Vec::new();
            let sequence = self.sequence.next();
            codec::put_rest_of_link(&mut bytes, sequence, &spec);
            self.send_one(&bytes, sequence, id);
        }
    }

    /// Sends one request, and hears what comes of it.
    fn send_one(&mut self, bytes: &[u8], sequence: u32, id: OpId) {
        let before = self.waiting.len();
        self.waiting.push_back((sequence, id));
        self.send(bytes, before);
        self.read_news();
        self.read_results();
    }

    /// Sends the requests of those that wait, all but so many of them.
    fn send(&mut self, bytes: &[u8], before: usize) {
        if let Err(error) = self.requests.send(bytes) {
            let errno = Errno(error.raw_os_error().unwrap_or(Errno::ENOBUFS.0));
            for (_, id) in self.waiting.split_off(before) {
                taken(&mut self.making, id);
                self.answer(id, Err(errno));
            }
        }
    }

    fn answer(&mut self, id: OpId, result: Result<(), Errno>) {
        self.out.push(KernelInput::Done { id, result });
    }

    fn start_dump(&mut self, id: OpId) {
        let stage = Stage::Links;
        let sequence = self.sequence.next();
        self.dump = Some(Dump {
            id,
            stage,
            sequence,
            result: Ok(()),
        });
        self.ask(stage, sequence);
    }

    fn next_stage(&mut self) {
        let sequence = self.sequence.next();
        let Some(dump) = &mut self.dump else { return };
        match dump.stage.next() {
            Some(stage) if dump.result.is_ok() => {
                (dump.stage, dump.sequence) = (stage, sequence);
                self.ask(stage, sequence);
            }
            Some(_) | None => {
                let (id, result) = (dump.id, dump.result);
                self.dump = None;
                self.out.push(KernelInput::Done { id, result });
            }
        }
    }

    fn ask(&mut self, stage: Stage, sequence: u32) {
        let mut bytes = Vec::new();
        stage.put(&mut bytes, sequence, self.settings.table);
        if let Err(error) = self.requests.send(&bytes)
            && let Some(Dump { id, .. }) = self.dump.take()
        {
            let errno = Errno(error.raw_os_error().unwrap_or(Errno::ENOBUFS.0));
            self.out.push(KernelInput::Done {
                id,
                result: Err(errno),
            });
        }
    }
}

/// The link that an operation makes, if it makes one.
fn taken(making: &mut Vec<(OpId, Box<LinkSpec>)>, id: OpId) -> Option<(OpId, Box<LinkSpec>)> {
    let place = making.iter().position(|(making, _)| *making == id)?;
    Some(making.swap_remove(place))
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
