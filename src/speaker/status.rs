//! Read-only snapshots for people: peers as the speaker sees them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::peer::{Established, PeerEntry};
use super::{Kept, Speaker, problems};
use crate::bfd::Report;
use crate::net::Family;
use crate::problem::Code;
use crate::rib::PeerIndex;
use crate::session::{Counters, LastError, Negotiated, State};
use crate::time::Instant;
use crate::topology::PlannedPeer;

/// A peer at one moment.
#[derive(Debug, Clone)]
pub struct PeerStatus {
    /// What is planned for it.
    pub planned: PlannedPeer,
    /// Its state.
    pub state: State,
    /// Since when.
    pub since: Instant,
    /// What is wrong and what to do, if it is not up.
    pub problem: Option<String>,
    /// The kind of that problem.
    pub problem_code: Option<Code>,
    /// The last real error.
    pub last_error: Option<LastError>,
    /// Whether an operator took it down.
    pub shutdown: bool,
    /// The plan no longer has it: it stays until others are in its place.
    pub leaving: bool,
    /// What the session agreed on.
    pub negotiated: Option<Arc<Negotiated>>,
    /// Our address on the session.
    pub local: Option<IpAddr>,
    /// Paths received and accepted, both families.
    pub received: usize,
    /// Of these, accepted.
    pub accepted: usize,
    /// Prefixes that the peer has from us.
    pub sent: usize,
    /// What stays of it while it is away, or until it has said what it has.
    pub kept: Option<Kept>,
    /// How BFD of its far end stands, if it is watched.
    pub bfd: Option<Report>,
    /// Messages.
    pub counters: Counters,
    /// Connections from its address that came to nothing.
    pub failed_calls: u64,
    /// Attributes discarded.
    pub discarded: u64,
    /// UPDATEs treated as withdraw.
    pub treated_as_withdraw: u64,
    /// Paths that it has and that were not taken, by a limit, as far as is known.
    pub untaken: usize,
}

impl Speaker {
    /// All peers, by name.
    pub fn peers(&self) -> Vec<PeerStatus> {
        let spared = self.rib.spared();
        let entries = self
            .names
            .values()
            .filter_map(|index| Some((*index, self.peer(*index)?)));
        entries
            .map(|(index, entry)| self.status_of(index, entry, &spared))
            .collect()
    }

    /// One peer.
    pub fn peer_named(&self, name: &str) -> Option<PeerStatus> {
        let index = self.names.get(name).copied()?;
        Some(self.status_of(index, self.peer(index)?, &self.rib.spared()))
    }

    /// The peer of a name.
    pub fn index_of(&self, name: &str) -> Option<PeerIndex> {
        self.names.get(name).copied()
    }

    /// How many peers there are, and how many of them are up; those that leave don't count.
    pub fn sessions(&self) -> (usize, usize) {
        let wanted = || self.wanted();
        (
            wanted().count(),
            wanted().filter(|peer| peer.established.is_some()).count(),
        )
    }

    /// Whether every peer that is up has sent all it has (End-of-RIB in each family).
    pub fn heard_all(&self) -> bool {
        let mut established = self.wanted().filter_map(|peer| peer.established.as_ref());
        established.all(Established::heard_all)
    }

    /// Peers but those that leave.
    pub(super) fn wanted(&self) -> impl Iterator<Item = &PeerEntry> {
        let indices = self.names.values();
        let wanted = indices.filter(|index| !self.is_leaving(**index));
        wanted.filter_map(|index| self.peer(*index))
    }

    fn status_of(
        &self,
        index: PeerIndex,
        entry: &PeerEntry,
        spared: &BTreeMap<PeerIndex, usize>,
    ) -> PeerStatus {
        let session = &entry.session;
        let count = |of: fn(crate::rib::PeerCounts) -> u32| {
            let both = Family::ALL.map(|family| of(self.rib.counts(index, family)) as usize);
            both.iter().sum()
        };
        let up = entry.established.as_ref();
        let error = session.last_error();
        let recorded = Family::ALL.map(|family| self.rib.advertised(index, family));
        let recorded: usize = recorded.iter().sum();
        PeerStatus {
            planned: entry.planned.clone(),
            state: session.state(),
            since: session.since(),
            problem: if up.is_some() {
                None
            } else {
                Some(why_down(entry))
            },
            problem_code: up.is_none().then(|| problems::why_down(entry).0),
            last_error: error.cloned(),
            shutdown: entry.shutdown,
            leaving: self.is_leaving(index),
            negotiated: up.map(|up| Arc::clone(&up.negotiated)),
            local: up.and_then(|up| up.local),
            received: count(|counts| counts.received),
            accepted: count(|counts| counts.accepted),
            sent: recorded.saturating_sub(spared.get(&index).copied().unwrap_or(0)),
            kept: self.kept(index),
            bfd: self.far_ends.report(&entry.planned),
            counters: *session.counters(),
            failed_calls: session.failed_calls(),
            discarded: entry.discarded,
            treated_as_withdraw: entry.treated_as_withdraw,
            untaken: count(|counts| counts.beyond),
        }
    }
}

/// One line on why a peer is not up: the state machine's own words if it has an error.
pub(super) fn why_down(entry: &PeerEntry) -> String {
    let error = entry.session.last_error();
    let address = entry.planned.address;
    if entry.shutdown && entry.planned.shutdown {
        return "shut down by its record (`shutdown = true`)".to_owned();
    }
    if entry.shutdown {
        return format!(
            "shut down here; `dunlin peer {} enable` or a restart of dunlin undoes it",
            entry.planned.name
        );
    }
    if let Some(exceeded) = entry.exceeded() {
        return format!(
            "stopped, since {address} sent more prefixes than it may ({exceeded}): find out why, and raise \
             max-prefixes or run `dunlin peer {} enable`",
            entry.planned.name
        );
    }
    let ended = error.map_or(entry.session.since(), |error| error.at);
    let said = error.map(ToString::to_string);
    if let Some(problem) = entry.protection_problem(said.as_deref(), ended) {
        return problem;
    }
    match error {
        Some(error) => error.to_string(),
        None if matches!(entry.planned.dial, crate::topology::Dial::Passive) => {
            format!("waiting for {address} to connect (this side is passive)")
        }
        None => format!("connecting to {address}"),
    }
}
