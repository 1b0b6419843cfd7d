//! What is asked of the kernel and what it says, the one matched with the other: operations in and octets out,
//! octets in and inputs of the dataplane out. No socket is here, and nothing decides what to ask.
//!
//! What always holds: no octets panic; a datagram tells of no more than it has messages, but for the operations
//! that were answered with it, each of which is told of once.

use std::collections::VecDeque;

use netlink_packet_core::{NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR, NLMSG_OVERRUN};

use super::super::device::LinkSpec;
use super::super::input::{Action, KernelInput, Op, OpId};
use super::super::route::Errno;
use super::codec::{Reader, Stage, error_code, put_action, put_rest_of_link, split};

/// The requests that are not answered yet, and what is known for reading what comes.
#[derive(Debug, Default)]
pub struct Dialogue {
    /// Operations that were sent, with the sequence number of their request, in that order.
    waiting: VecDeque<(u32, OpId)>,
    /// The links that some of them make.
    making: Vec<(OpId, Box<LinkSpec>)>,
    /// Links that were made and still lack what the kernel takes only from a second request.
    made: VecDeque<(OpId, Box<LinkSpec>)>,
    reader: Reader,
    dump: Option<Dump>,
}

#[derive(Debug)]
struct Dump {
    id: OpId,
    stage: Stage,
    sequence: u32,
    result: Result<(), Errno>,
}

impl Dialogue {
    /// Appends the request for an operation, under this number; its answer is waited for. Nothing is appended for
    /// what is no single request to rtnetlink: a dump, a setting below `/proc/sys`, offloading.
    pub fn ask(&mut self, buffer: &mut Vec<u8>, sequence: u32, op: &Op) {
        put_action(buffer, sequence, &op.action, self.reader.tunnels());
        if let Action::AddLink(spec) = &op.action {
            self.making.push((op.id, spec.clone()));
        }
        self.waiting.push_back((sequence, op.id));
    }

    /// Appends the second request for a link that was made; whether there is one.
    pub fn ask_rest(&mut self, buffer: &mut Vec<u8>, sequence: u32) -> bool {
        let Some((id, spec)) = self.made.pop_front() else {
            return false;
        };
        put_rest_of_link(buffer, sequence, &spec);
        self.waiting.push_back((sequence, id));
        true
    }

    /// How many operations are not answered.
    pub fn outstanding(&self) -> usize {
        self.waiting.len()
    }

    /// Takes back all but so many of those that were sent: they were not.
    pub(super) fn unsent(&mut self, before: usize) -> Vec<OpId> {
        let ids: Vec<OpId> = self
            .waiting
            .drain(before.min(self.waiting.len())..)
            .map(|(_, id)| id)
            .collect();
        for id in &ids {
            taken(&mut self.making, *id);
        }
        ids
    }

    /// A dump begins; its first request has this number.
    pub fn dumping(&mut self, sequence: u32, id: OpId) {
        self.dump = Some(Dump {
            id,
            stage: Stage::Links,
            sequence,
            result: Ok(()),
        });
    }

    /// What the running dump asks for.
    pub(super) fn stage(&self) -> Option<Stage> {
        self.dump.as_ref().map(|dump| dump.stage)
    }

    /// Gives the dump up.
    pub(super) fn end_dump(&mut self) -> Option<OpId> {
        self.dump.take().map(|dump| dump.id)
    }

    /// A part of the dump is over: whether another one is to be asked for, by a request of this number. Else
    /// the dump is, which is told.
    pub fn next_stage(&mut self, sequence: u32, mut tell: impl FnMut(KernelInput)) -> bool {
        let Some(dump) = &mut self.dump else {
            return false;
        };
        if let Some(stage) = dump.stage.next()
            && dump.result.is_ok()
        {
            (dump.stage, dump.sequence) = (stage, sequence);
            return true;
        }
        let (id, result) = (dump.id, dump.result);
        self.dump = None;
        tell(KernelInput::Done { id, result });
        false
    }

    /// Reads a datagram of notifications.
    pub fn hear_news(&mut self, datagram: &[u8], mut tell: impl FnMut(KernelInput)) {
        let mut rest = datagram;
        while let Some((header, payload, next)) = split(rest) {
            rest = next;
            if let Some(change) = self.reader.change(header, payload) {
                tell(KernelInput::Changed(change));
            }
        }
    }

    /// Reads a datagram of results; whether a part of the dump is over with it.
    pub fn hear_results(&mut self, datagram: &[u8], mut tell: impl FnMut(KernelInput)) -> bool {
        let mut rest = datagram;
        let mut stage_over = false;
        while let Some((header, payload, next)) = split(rest) {
            rest = next;
            let code = error_code(payload);
            let result = if code == 0 { Ok(()) } else { Err(Errno(code)) };
            let dump = self.dump.as_mut();
            if let Some(dump) = dump.filter(|dump| dump.sequence == header.sequence) {
                if header.flags & NLM_F_DUMP_INTR != 0 {
                    // The kernel's own word for "it changed while I was telling".
                    dump.result = Err(Errno::ENOBUFS);
                }
                match header.kind {
                    NLMSG_DONE | NLMSG_ERROR => {
                        dump.end_stage(result);
                        stage_over = true;
                    }
                    NLMSG_OVERRUN => dump.result = Err(Errno::ENOBUFS),
                    _ => {
                        if let Some(row) = self.reader.change(header, payload) {
                            tell(KernelInput::Dumped(row));
                        }
                    }
                }
            } else if header.kind == NLMSG_ERROR {
                self.carried_out(header.sequence, result, &mut tell);
            }
        }
        stage_over
    }

    /// What became of a request, and so of those before it.
    ///
    /// Of a batch only errors are told, and that its last request was carried out: the kernel keeps the
    /// order, so what it says nothing about went well.
    fn carried_out(
        &mut self,
        answered: u32,
        result: Result<(), Errno>,
        tell: &mut impl FnMut(KernelInput),
    ) {
        let mut waiting = self.waiting.iter();
        let Some(place) = waiting.position(|(sequence, _)| *sequence == answered) else {
            return;
        };
        for (sequence, id) in self.waiting.drain(..=place) {
            let result = if sequence == answered { result } else { Ok(()) };
            match (taken(&mut self.making, id), result) {
                (Some(link), Ok(())) => self.made.push_back(link),
                (None, Ok(())) => tell(KernelInput::Carried {
                    first: id,
                    last: id,
                }),
                (_, Err(_)) => tell(KernelInput::Done { id, result }),
            }
        }
    }

    /// Results were lost with the buffer: nobody knows which operations took effect.
    pub fn lose(&mut self, mut tell: impl FnMut(KernelInput)) {
        self.making.clear();
        let mut ids: Vec<OpId> = self.waiting.drain(..).map(|(_, id)| id).collect();
        ids.extend(self.end_dump());
        ids.sort_unstable();
        for id in ids {
            tell(KernelInput::Done {
                id,
                result: Err(Errno::ENOBUFS),
            });
        }
    }
}

impl Dump {
    fn end_stage(&mut self, result: Result<(), Errno>) {
        // A table without routes may not exist yet, and before Linux 5.3 there are no nexthop objects.
        let lacks = self.stage == Stage::Objects && result == Err(Errno::EOPNOTSUPP);
        if result != Err(Errno::ENOENT) && !lacks {
            self.result = self.result.and(result);
        }
    }
}

/// The link that an operation makes, if it makes one.
fn taken(making: &mut Vec<(OpId, Box<LinkSpec>)>, id: OpId) -> Option<(OpId, Box<LinkSpec>)> {
    let place = making.iter().position(|(making, _)| *making == id)?;
    Some(making.swap_remove(place))
}
