//! Read-only snapshots for people: routes as the speaker sees them, as a peer sent them, as a peer has them
//! from us, and what decided.

use super::Speaker;
use super::candidate::Lazy;
use super::ingest::Origins;
use crate::net::{Family, Prefix};
use crate::rib::{
    ExplainedPath, ExportPolicy, ExportRoute, PageCursor, Path, PeerIndex, Standing, Step, Told,
};
use crate::time::Instant;
use crate::wire::attribute::PathAttributes;

/// A destination at one moment.
#[derive(Debug, Clone)]
pub struct RouteStatus {
    /// Its prefix.
    pub prefix: Prefix,
    /// Its paths, the best first.
    pub paths: Vec<PathStatus>,
    /// Peers that have as many paths of it as are taken, and more routes than were taken.
    pub more_at: Vec<String>,
    /// When the paths in use became what they are, to a few seconds; none if that is not known any more.
    pub since: Option<Instant>,
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
    /// Import policy let it in.
    pub accepted: bool,
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
    /// Its path identifier (RFC 7911), as it came or was sent; 0 without one.
    pub path_id: u32,
    /// News of it is on its way to the peer that it was sent to.
    pub pending: bool,
    /// Its attributes: after import policy, unless something else was asked for.
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
    /// A destination with all its paths and why each lost.
    pub fn route(&mut self, prefix: Prefix) -> Option<RouteStatus> {
        self.route_of(prefix, None, false)
    }

    /// What a peer has sent of a prefix, as it sent it (Adj-RIB-In before policy), or as policy made it.
    pub fn route_from(&mut self, prefix: Prefix, name: &str, as_sent: bool) -> Option<RouteStatus> {
        let index = self.index_of(name)?;
        self.route_of(prefix, Some(index), as_sent)
    }

    fn route_of(
        &mut self,
        prefix: Prefix,
        from: Option<PeerIndex>,
        as_sent: bool,
    ) -> Option<RouteStatus> {
        let explained = self.rib.explain(prefix);
        let wanted = |found: &&ExplainedPath| from.is_none_or(|from| found.path.peer == from);
        let paths = explained.iter().filter(wanted);
        let paths = paths.map(|found| self.path_status(prefix, found, as_sent));
        let paths: Vec<PathStatus> = paths.collect();
        let more_at = self.more_at(prefix.family(), &explained);
        (!paths.is_empty()).then(|| RouteStatus {
            prefix,
            paths,
            more_at,
            since: self.since(prefix),
        })
    }

    fn since(&self, prefix: Prefix) -> Option<Instant> {
        self.rib.lookup(prefix)?.since
    }

    fn path_status(&self, prefix: Prefix, found: &ExplainedPath, as_sent: bool) -> PathStatus {
        let ExplainedPath { path, lost_at } = found;
        let store = self.rib.attributes();
        let attributes = match as_sent {
            true => store.get(store.original(path.attributes)),
            false => store.get(path.attributes),
        };
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
            peer: self.source_name(path.peer),
            best,
            accepted: path.accepted,
            multipath: path.selected && !best,
            stale: self.rib.standing(path, prefix.family()) == Standing::Stale,
            reason,
            reason_code,
            policy,
            policy_code,
            path_id: path.path_id,
            pending: false,
            attributes,
        }
    }

    /// What a peer was sent of the next `limit` destinations (Adj-RIB-Out), as it was sent, as far as it is
    /// asked for, and where to go on; the peer of a path is whose route it is.
    pub fn routes_to(
        &self,
        name: &str,
        (family, from): (Family, Option<PageCursor>),
        limit: usize,
        asked_for: impl Fn(Prefix) -> bool,
    ) -> (Vec<RouteStatus>, Option<PageCursor>) {
        let Some(index) = self.index_of(name) else {
            return (Vec::new(), None);
        };
        let (mut told, next) = self.rib.told(index, family, from, limit);
        told.retain(|told| asked_for(told.prefix));
        (self.as_told(index, &told), next)
    }

    /// The same of one prefix.
    pub fn route_to(&self, prefix: Prefix, name: &str) -> Option<RouteStatus> {
        let index = self.index_of(name)?;
        let told = self.rib.told_of(index, prefix);
        self.as_told(index, &told).pop()
    }

    fn as_told(&self, index: PeerIndex, told: &[Told]) -> Vec<RouteStatus> {
        let destination = |told: &[Told]| {
            let prefix = told.first()?.prefix;
            let paths = told.iter().filter_map(|told| self.path_to(index, told));
            let paths: Vec<PathStatus> = paths.collect();
            (!paths.is_empty()).then(|| RouteStatus {
                prefix,
                paths,
                more_at: Vec::new(),
                since: self.since(prefix),
            })
        };
        let destinations = told.chunk_by(|a, b| a.prefix == b.prefix);
        destinations.filter_map(destination).collect()
    }

    /// A path as a peer was sent it; none if it was not, or its withdrawal is on the way.
    fn path_to(&self, index: PeerIndex, told: &Told) -> Option<PathStatus> {
        let path = told.path?;
        let key = self.rib.export_key(index, told.prefix.family())?;
        let route = ExportRoute {
            prefix: told.prefix,
            peer: path.peer,
            source: self.rib.peer(path.peer)?,
            attributes: self.rib.path_attributes(&path)?,
        };
        if self.rib.leads_to(index, key, &route) {
            return None;
        }
        let mark = self.policies.mark(key, &route)?;
        let decoded = route.attributes.decode();
        let attributes = self.policies.transform(key, decoded, route.source, mark)?;
        let (_, (code, why)) = self.policies.explain(key, &route);
        let best = self.rib.lookup(told.prefix)?.best();
        let is_best =
            best.is_some_and(|best| (best.peer, best.path_id) == (path.peer, path.path_id));
        Some(PathStatus {
            peer: self.source_name(path.peer),
            best: is_best,
            accepted: path.accepted,
            multipath: path.selected && !is_best,
            stale: self.rib.standing(&path, told.prefix.family()) == Standing::Stale,
            reason: None,
            reason_code: None,
            policy: Some(why),
            policy_code: Some(code),
            path_id: told.path_id,
            pending: told.pending,
            attributes,
        })
    }

    /// A peer's name, or `local`.
    fn source_name(&self, index: PeerIndex) -> String {
        match self.peer(index) {
            Some(entry) => entry.planned.name.clone(),
            None => "local".to_owned(),
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
