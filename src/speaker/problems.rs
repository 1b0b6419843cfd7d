//! What is wrong with the sessions and with what they brought, as problems.
//!
//! What always holds: every session that is configured and not up is covered, one of a link on which
//! nobody was heard, too; and every destination that has accepted paths and none that can be used.

use std::collections::BTreeSet;

use super::Speaker;
use super::peer::PeerEntry;
use crate::bfd::{Hops, Refusal, Report, State};
use crate::net::Prefix;
use crate::policy::PolicyKind;
use crate::problem::{Code, Problem, Subject};
use crate::rib::{PeerIndex, Route};
use crate::session::Words;
use crate::time::Instant;
use crate::topology::{BfdAuthentication, Dial, PeerKind, PlannedPeer, TemplateSource};

/// So many routes of a kind are named one by one.
const NAMED: usize = 10_000;

impl Speaker {
    /// What is wrong at `now`. Sessions that the plan no longer has are nobody's problem.
    ///
    /// One pass over the peers; over the tables only while something there can't be used.
    pub fn problems(&self, now: Instant) -> Vec<Problem> {
        let mut problems: Vec<Problem> = self
            .wanted()
            .flat_map(|peer| self.of_peer(peer))
            .chain(self.limit_problems(now))
            .chain(self.unheard_links())
            .collect();
        self.unreachable(&mut problems);
        self.outside_pools(&mut problems);
        problems
    }

    /// Counts whatever may change [`Self::problems`].
    pub const fn news(&self) -> u64 {
        self.news
    }

    fn of_peer(&self, peer: &PeerEntry) -> Vec<Problem> {
        let name = || Subject::Peer(peer.planned.name.clone());
        let problem = |code, words: Words| Problem::new(code, name(), words.what, words.remedy);
        if peer.established.is_none() {
            let (code, words) = why_down(peer);
            return vec![problem(code, words)];
        }
        let mut problems = Vec::new();
        let withheld = peer.session.withheld_in_words();
        if !withheld.is_empty() {
            problems.push(problem(
                Code::CapabilitiesWithheld,
                Words::new(
                    format!(
                        "the session runs without what the other end does not take: {withheld}"
                    ),
                    "ask for it at the other end, or say `capabilities = false` or what is left out in \
                     its record",
                ),
            ));
        }
        let malformed = peer.malformed.as_ref();
        problems.extend(malformed.map(|malformed| malformed.problem(name())));
        if let Some(report) = self.far_ends.report(&peer.planned)
            && report.state != State::Up
        {
            let (code, words) = bfd_words(&report, &peer.planned);
            problems.push(problem(code, words));
        }
        problems
    }

    /// Links that a peer is expected on, and nobody was heard there.
    fn unheard_links(&self) -> impl Iterator<Item = Problem> + '_ {
        let of_links = self.plan.templates.iter().filter_map(|template| {
            let TemplateSource::Link(link) = &template.from else {
                return None;
            };
            Some((link, &template.peer.name))
        });
        of_links.filter_map(|(link, name)| {
            let on_link = |planned: &Option<String>| planned.as_deref() == Some(link);
            let mut known = self.peers.iter().flatten();
            if known.any(|peer| on_link(&peer.planned.interface)) {
                return None;
            }
            let what = format!("no router was heard on {link}, so there is no session");
            let remedy = format!(
                "is {link} up, with IPv6 on it, and does the router there send router advertisements?"
            );
            let subject = Subject::Peer(name.clone());
            Some(Problem::new(Code::NeighbourMissing, subject, what, remedy))
        })
    }

    fn unreachable(&self, problems: &mut Vec<Problem>) {
        let mut lost = self.rib.unreachable();
        for (prefix, next_hop) in lost.by_ref().take(NAMED) {
            let what = format!("its next hop {next_hop} can't be reached");
            let remedy = format!(
                "look at `ip route get {next_hop}`: a link may be down, or a route to it missing"
            );
            let subject = Subject::Route(prefix);
            problems.push(Problem::new(Code::RouteUnreachable, subject, what, remedy));
        }
        problems.extend(unnamed(lost.count()));
    }

    /// Routes that nodes of the mesh announce and the default keeps out, as no pool covers them.
    fn outside_pools(&self, problems: &mut Vec<Problem>) {
        let kept_out: BTreeSet<PeerIndex> = self
            .names
            .values()
            .filter(|index| self.keeps_out(**index))
            .copied()
            .collect();
        if kept_out.is_empty() {
            return;
        }
        let in_pool = |prefix: Prefix| self.around.pools.iter().any(|pool| pool.covers(prefix));
        let is_lost = |route: &Route<'_>| {
            let of_mesh = |path: &crate::rib::Path| !path.accepted && kept_out.contains(&path.peer);
            route.best().is_none()
                && route.paths.iter().any(of_mesh)
                && !in_pool(route.prefix)
                && !self
                    .around
                    .own_blocks
                    .iter()
                    .any(|own| own.covers(route.prefix))
        };
        let lost = self.rib.routes().filter(is_lost);
        problems.extend(lost.take(NAMED).map(|route| {
            Problem::new(
                Code::OutsidePools,
                Subject::Route(route.prefix),
                "a node of the mesh announces it, no pool covers it, and it is not taken",
                "add an IPPool for it, or take it by a filter for the mesh's peers",
            )
        }));
    }

    /// Whether a peer of the mesh has sent what the safe default does not take.
    fn keeps_out(&self, index: PeerIndex) -> bool {
        let by_default = self.peer(index).is_some_and(|peer| {
            peer.planned.kind == PeerKind::Mesh
                && peer.planned.filters.is_empty()
                && peer.planned.policy.import == PolicyKind::Safe
        });
        by_default
            && crate::net::Family::ALL.into_iter().any(|family| {
                let counts = self.rib.counts(index, family);
                counts.received > counts.accepted
            })
    }
}

/// What is the matter with BFD that is not up, for the list of what is wrong.
fn bfd_words(report: &Report, planned: &PlannedPeer) -> (Code, Words) {
    let state = report.state;
    let late = "a failure would be noticed only at the hold time";
    let authentication = planned.bfd.as_ref().map(|terms| &terms.authentication);
    if let Some(BfdAuthentication::Missing(why)) = authentication
        && report.key_missing
    {
        let what = format!("the key of its BFD is missing, so BFD is {state}: {why}; {late}");
        let words = Words::new(what, "put the secret where it is looked for");
        return (Code::SecretMissing, words);
    }
    let Some(refusal) = report.refused else {
        let remedy = format!(
            "is BFD enabled there, and does a firewall drop UDP port {}?",
            report.hops.port()
        );
        return (
            Code::BfdDown,
            Words::new(format!("BFD is {state}: {late}"), remedy),
        );
    };
    let remedy = match refusal {
        Refusal::Link => {
            "wrong link: `ip route get` of the peer says which link counts. Does the peer answer by another \
             one, or does somebody on that link use its address?"
        }
        Refusal::Ttl => match report.hops {
            Hops::Single => {
                "wrong TTL: a router is in between, so say `multihop` for this peer, or somebody far away \
                 uses its address"
            }
            Hops::Multi => {
                "wrong TTL: it is further away than `multihop` says; `min-ttl` of bfd is the least that is \
                 taken"
            }
        },
        Refusal::Port => match report.hops {
            Hops::Single => {
                "wrong port: it speaks multihop BFD (UDP 4784); say `multihop` for this peer, or let it speak \
                 single-hop BFD"
            }
            Hops::Multi => {
                "wrong port: it speaks single-hop BFD (UDP 3784); take `multihop` away at one end"
            }
        },
        Refusal::Malformed => "look at its packets: `tcpdump -v udp port 3784 or udp port 4784`",
        Refusal::Unsigned => {
            "wrong key: it has none; give it the key, or take `authentication` away here"
        }
        Refusal::Signed => "wrong key: there is none here; give this peer's bfd `authentication`",
        Refusal::Key => {
            "wrong key: compare the key, its id and the algorithm (BIRD: `authentication meticulous keyed sha1`)"
        }
        Refusal::Replayed => {
            "somebody repeats its packets, or its clock of packets went back: it passes after twice the \
             detection time without any"
        }
        Refusal::Discriminator | Refusal::KeyMissing => {
            "it passes when the old session is forgotten"
        }
    };
    let count = report.dropped.of(refusal);
    let what = format!("BFD is {state}, {count} packets counted for nothing: {refusal}; {late}");
    (Code::BfdDown, Words::new(what, remedy))
}

/// Why a session is not up, for the list of what is wrong.
pub(super) fn why_down(peer: &PeerEntry) -> (Code, Words) {
    if let Some(exceeded) = peer.exceeded().filter(|_| !peer.shutdown) {
        let words = Words::new(
            format!(
                "it sent more prefixes than max-prefixes allows ({exceeded}), so the session stays down"
            ),
            "find out why it has so many; raise max-prefixes, or `dunlin peer NAME enable`",
        );
        return (Code::PeerStopped, words);
    }
    if peer.shutdown {
        let words = Words::new(
            "it was shut down here by an operator",
            "`dunlin peer NAME enable` undoes it",
        );
        return (Code::PeerShutDown, words);
    }
    if let Some(why) = peer.secret_missing() {
        let what = format!("its password is missing, and there is no session without it: {why}");
        let words = Words::new(what, "put the secret where it is looked for");
        return (Code::SecretMissing, words);
    }
    if let Some(words) = peer.too_far() {
        return (Code::PeerDown, words);
    }
    let words = match peer.session.last_error() {
        Some(error) => {
            let mut words = error.words();
            if let Some(question) = peer.password_question(error.at) {
                words.remedy = format!("{}; {question}", words.remedy);
            }
            words
        }
        None if matches!(peer.planned.dial, Dial::Passive) => Words::new(
            "it has not connected, and this side is passive",
            "is it running, and configured to call this node?",
        ),
        None => Words::new("the session is being set up", ""),
    };
    (Code::PeerDown, words)
}

/// Routes beyond those that are named.
fn unnamed(more: usize) -> Option<Problem> {
    (more > 0).then(|| {
        Problem::new(
            Code::RoutesUnnamed,
            Subject::Host,
            format!("the next hops of {more} more routes can't be reached"),
            "what is the matter with those that are named is likely to be the cause",
        )
    })
}
