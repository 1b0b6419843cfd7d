//! A node without a table: it brings sessions up, says its own blocks, and counts what it hears.
//!
//! To whoever is at the other end it is a node that reflects nothing: the OPEN is the other end's own
//! with another identifier, so it offers what a node offers, and UPDATE and End-of-RIB are those of a
//! node. It has no hold timer and never ends a session. `scale_runs` compares it with real nodes.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use dunlin::net::Prefix;
use dunlin::wire::frame::{self, KEEPALIVE, MessageKind};
use dunlin::wire::open::Open;

use crate::scale_count::MessageCount;
use crate::sim_script::{end_of_rib, message};

#[derive(Debug)]
pub(crate) struct Stub {
    pub(crate) address: Ipv4Addr,
    pub(crate) blocks: Vec<Prefix>,
    /// Remembers each prefix, in place of how many.
    pub(crate) careful: bool,
}

/// What a stub knows of one session.
#[derive(Debug, Default)]
pub(crate) struct Line {
    pub(crate) up: bool,
    /// Prefixes travel with path identifiers (RFC 7911).
    pub(crate) path_ids: bool,
    /// Milliseconds between KEEPALIVEs before jitter; 0 is never.
    pub(crate) keepalive: u64,
    pub(crate) ends: u64,
    /// What a careful stub has been told.
    pub(crate) table: BTreeSet<Prefix>,
}

/// What a stub says.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) bytes: Vec<u8>,
    /// The session has just come up.
    pub(crate) up: bool,
}

impl Stub {
    pub(crate) fn hear(&self, line: &mut Line, bytes: &[u8], found: &MessageCount) -> Answer {
        let mut answer = Answer::default();
        line.ends += found.ends;
        if found.opens + found.keepalives > 0 && !line.up {
            for (kind, body) in frame::messages(bytes) {
                match kind {
                    MessageKind::Open => self.open(line, body, &mut answer.bytes),
                    MessageKind::Keepalive if !line.up => {
                        line.up = true;
                        answer.up = true;
                        answer.bytes.extend(self.greeting(line.path_ids));
                    }
                    _ => {}
                }
            }
        }
        if self.careful && found.updates > 0 {
            for (kind, body) in frame::messages(bytes) {
                if kind == MessageKind::Update {
                    let (withdrawn, announced) = prefixes(body, line.path_ids);
                    for prefix in withdrawn {
                        // Of its own block it may hear: the record of its cohort does not say that the
                        // route of another reflector led to it, and that it was spared.
                        let own = self.blocks.contains(&prefix);
                        let told = line.table.remove(&prefix);
                        let who = self.address;
                        assert!(told || own, "{prefix} was never announced to {who}");
                    }
                    line.table.extend(announced);
                }
            }
        }
        answer
    }

    /// The other end's offer is ours, too.
    fn open(&self, line: &mut Line, body: &[u8], out: &mut Vec<u8>) {
        let theirs = Open::decode(body).unwrap();
        line.keepalive = u64::from(theirs.hold_time) * 1_000 / 3;
        let open = Open {
            router_id: self.address.into(),
            ..theirs
        };
        out.extend(open.encode());
        out.extend(KEEPALIVE);
    }

    /// All blocks, and that these are all.
    fn greeting(&self, path_ids: bool) -> Vec<u8> {
        let mut all = match self.blocks.is_empty() {
            true => Vec::new(),
            false => message(2, &self.announcement(path_ids)),
        };
        all.extend(end_of_rib());
        all
    }

    fn announcement(&self, path_ids: bool) -> Vec<u8> {
        let mut attributes = vec![0x40, 1, 1, 0, 0x40, 2, 0, 0x40, 3, 4];
        attributes.extend(self.address.octets());
        attributes.extend([0x40, 5, 4, 0, 0, 0, 100]);
        let mut body = vec![0, 0];
        body.extend(u16::try_from(attributes.len()).unwrap().to_be_bytes());
        body.extend(attributes);
        for block in &self.blocks {
            if path_ids {
                body.extend(1_u32.to_be_bytes());
            }
            let IpAddr::V4(address) = block.address() else {
                panic!("IPv4 only");
            };
            let octets = usize::from(block.len().div_ceil(8));
            body.push(block.len());
            body.extend(&address.octets()[..octets]);
        }
        body
    }
}

/// Withdrawn and announced prefixes of an UPDATE of IPv4.
pub(crate) fn prefixes(body: &[u8], path_ids: bool) -> (Nlri<'_>, Nlri<'_>) {
    let length = |at: usize| usize::from(u16::from_be_bytes([body[at], body[at + 1]]));
    let withdrawn = length(0);
    let begin = 4 + withdrawn + length(2 + withdrawn);
    let of = |bytes| Nlri { bytes, path_ids };
    (of(&body[2..2 + withdrawn]), of(&body[begin..]))
}

/// Prefixes one after the other.
#[derive(Debug)]
pub(crate) struct Nlri<'a> {
    bytes: &'a [u8],
    path_ids: bool,
}

impl Nlri<'_> {
    /// As `count`, without a look at the addresses.
    pub(crate) fn how_many(&self) -> u64 {
        let before = if self.path_ids { 4 } else { 0 };
        let (mut at, mut all) = (before, 0);
        while at < self.bytes.len() {
            at += usize::from(self.bytes[at]).div_ceil(8) + 1 + before;
            all += 1;
        }
        all
    }
}

impl Iterator for Nlri<'_> {
    type Item = Prefix;

    fn next(&mut self) -> Option<Prefix> {
        if self.bytes.is_empty() {
            return None;
        }
        let at = if self.path_ids { 4 } else { 0 };
        let len = self.bytes[at];
        let octets = usize::from(len.div_ceil(8));
        let mut address = [0; 4];
        address[..octets].copy_from_slice(&self.bytes[at + 1..at + 1 + octets]);
        self.bytes = &self.bytes[at + 1 + octets..];
        Some(Prefix::new(IpAddr::from(address), len))
    }
}
