//! Read-only snapshots for people: peers and routes as the speaker sees them.

use std::net::IpAddr;
use std::sync::Arc;

use super::candidate::Lazy;
use super::ingest::Origins;
use super::peer::{Established, PeerEntry};
use super::{Kept, Speaker, problems};
use crate::bfd::Report;
use crate::net::{Family, Prefix};
use crate::problem::Code;
use crate::rib::{ExplainedPath, ExportRoute, Path, PeerIndex, Step};
use crate::session::{Counters, LastError, Negotiated, State};
use crate::time::Instant;
use crate::topology::PlannedPeer;
use crate::wire::attribute::PathAttributes;

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
    /// Attributes discarded.
    pub discarded: u64,
    /// UPDATEs treated as withdraw.
    pub treated_as_withdraw: u64,
    /// Paths that it has and that were not taken, by a limit, as far as is known.
    pub untaken: usize,
}

/// A destination at one moment.
#[derive(Debug, Clone)]
pub struct RouteStatus {
    /// Its prefix.
    pub prefix: Prefix,
    /// Its paths, the best first.
    pub paths: Vec<PathStatus>,
    /// Peers that have as many paths of it as are taken, and more routes than were taken.
    pub more_at: Vec<String>,
}

/// A word for scripts and words for people.
pub(super) type Said = (&'static str, String);

/// A path at one moment.
#[derive(Debug, Clone)]
pub struct PathStatus {
    /// The name of the peer, or `local`.
    pub peer: String,
    /// It won.
    pub best: bool,
    /// It is used beside the best.
    pub multipath: bool,
    /// It is kept over a restart of its peer and was not confirmed since.
    pub stale: bool,
    /// Why it is not the best.
    pub reason: Option<String>,
    /// The same for scripts.
    pub reason_code: Option<&'static str>,
    /// What let it in, or kept it out: a rule of a filter or a default; nothing decides about our own.
    pub policy: Option<String>,
    /// The same for scripts.
    pub policy_code: Option<&'static str>,
    /// Its attributes.
    pub attributes: PathAttributes,
}

/// Whether a route goes to a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportStatus {
    /// The name of the peer.
    pub peer: String,
    /// Whether it goes there.
    pub sent: bool,
    /// What decided: a rule of a filter, a default, or the protocol.
    pub why: String,
    /// The same for scripts.
    pub code: &'static str,
}

impl Speaker {
    /// All peers, by name.
    pub fn peers(&self) -> Vec<PeerStatus> {
        let entries = self
            .names
            .values()
            .filter_map(|index| Some((*index, self.peer(*index)?)));
        entries
            .map(|(index, entry)| self.status_of(index, entry))
            .collect()
    }

    /// One peer.
    pub fn peer_named(&self, name: &str) -> Option<PeerStatus> {
        let index = self.names.get(name).copied()?;
        Some(self.status_of(index, self.peer(index)?))
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

    fn status_of(&self, index: PeerIndex, entry: &PeerEntry) -> PeerStatus {
        let session = &entry.session;
        let count = |of: fn(crate::rib::PeerCounts) -> u32| {
            let both = Family::ALL.map(|family| of(self.rib.counts(index, family)) as usize);
            both.iter().sum()
        };
        let up = entry.established.as_ref();
        let error = session.last_error();
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
            sent: Family::ALL
                .map(|family| self.rib.advertised(index, family))
                .iter()
                .sum(),
            kept: self.kept(index),
            bfd: self.far_ends.report(&entry.planned),
            counters: *session.counters(),
            discarded: entry.discarded,
            treated_as_withdraw: entry.treated_as_withdraw,
            untaken: count(|counts| counts.beyond),
        }
    }

    /// A destination with all its paths and why each lost.
    pub fn route(&mut self, prefix: Prefix) -> Option<RouteStatus> {
        let explained = self.rib.explain(prefix);
        let paths = explained
            .iter()
            .map(|found| self.path_status(prefix, found))
            .collect();
        let more_at = self.more_at(prefix.family(), &explained);
        (!explained.is_empty()).then_some(RouteStatus {
            prefix,
            paths,
            more_at,
        })
    }

    fn path_status(&self, prefix: Prefix, found: &ExplainedPath) -> PathStatus {
        let ExplainedPath { path, lost_at } = found;
        let attributes = self.rib.path_attributes(path);
        let attributes = attributes.map(|found| found.decode()).unwrap_or_default();
        let best = lost_at.is_none();
        let policy = self.import_policy(path, prefix);
        let reason = lost_at.map(|step| match (step, &policy) {
            (Step::Rejected, Some(Err(why))) => why.clone(),
            (Step::Rejected, Some(Ok((_, why)))) => (step.as_str(), format!("not accepted: {why}")),
            (Step::Rejected, None) => (step.as_str(), "not accepted".to_owned()),
            (step, _) => (step.as_str(), step.to_string()),
        });
        let (reason_code, reason) = reason.unzip();
        let (policy_code, policy) = policy.map(|(Ok(said) | Err(said))| said).unzip();
        PathStatus {
            peer: match self.peer(path.peer) {
                Some(entry) => entry.planned.name.clone(),
                None => "local".to_owned(),
            },
            best,
            multipath: path.selected && !best,
            stale: path.stale,
            reason,
            reason_code,
            policy,
            policy_code,
            attributes,
        }
    }

    /// What decided about a path on its way in, by the same evaluation that did; an error is a loop,
    /// about which policy is not asked.
    fn import_policy(&self, path: &Path, prefix: Prefix) -> Option<Result<Said, Said>> {
        let judge = self.judge(path.peer)?;
        let store = self.rib.attributes();
        let received = Lazy::new(store.get(store.original(path.attributes)));
        if let Err(why) = self.eligible(path.peer, &Origins::of(received.get())) {
            return Some(Err((why.as_str(), why.to_string())));
        }
        Some(Ok(judge.explain(&self.around, prefix, &received)))
    }

    /// To which peers the best path of a prefix goes, and what decided, by the same evaluation that
    /// sends it. Only peers whose session carries the family are asked.
    pub fn exports(&self, prefix: Prefix) -> Vec<ExportStatus> {
        let Some(best) = self
            .rib
            .lookup(prefix)
            .and_then(|route| route.best().copied())
        else {
            return Vec::new();
        };
        let facts = self.rib.peer(best.peer);
        let Some((source, attributes)) = facts.zip(self.rib.path_attributes(&best)) else {
            return Vec::new();
        };
        let route = ExportRoute {
            prefix,
            peer: best.peer,
            source,
            attributes,
        };
        let mut answers = Vec::new();
        for group in self.rib.groups() {
            if group.key.family != prefix.family() {
                continue;
            }
            let (sent, (code, why)) = self.policies.explain(&group.key, &route);
            let members = group.cohorts.iter().flatten();
            for index in members.filter(|index| **index != best.peer) {
                let itself = self.rib.leads_to(*index, &group.key, &route);
                let why = match itself {
                    true => "its next hop is the peer's own address".to_owned(),
                    false => why.clone(),
                };
                answers.extend(self.peer(*index).map(|peer| ExportStatus {
                    peer: peer.planned.name.clone(),
                    sent: sent && !itself,
                    why,
                    code: if itself { "next_hop_is_peer" } else { code },
                }));
            }
        }
        answers.sort_by(|a, b| a.peer.cmp(&b.peer));
        answers
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
