//! BFD and the sessions introduced to each other: which far ends are to be watched, and what it means
//! for a session that one is gone (RFC 5882). BFD itself runs elsewhere, by its own clock.
//!
//! What always holds: BFD that was never up hinders no session; only a report of a *new* failure ends
//! one, and only one that is up. A report may be late, or stand for several.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::Speaker;
use super::peer::PeerEntry;
use crate::bfd::{Algorithm, Authentication, FarEnd, Hops, Key, Report, State, Terms, Watch};
use crate::rib::PeerIndex;
use crate::time::Instant;
use crate::topology::{BfdAuthentication, BfdTerms, Plan, PlannedPeer, TtlRule};

/// The TTL that hosts send with where nothing else is said, BIRD's multihop BFD for one.
const USUAL_TTL: u8 = 64;
/// So many hops away may a far end be of which nothing is said.
const HOPS_AWAY: u8 = 16;

/// What is known of the far ends.
#[derive(Debug, Default)]
pub(super) struct FarEnds {
    /// Whether the list of watches may be another one than what was taken last.
    changed: bool,
    seen: BTreeMap<FarEnd, Report>,
}

impl FarEnds {
    /// Peers, or what is planned for them, have changed.
    pub(super) fn changed(&mut self) {
        self.changed = true;
    }

    /// How BFD of a far end stands.
    pub(super) fn report(&self, planned: &PlannedPeer) -> Option<Report> {
        planned.bfd.as_ref()?;
        self.seen.get(&far_end(planned)).cloned()
    }
}

impl Speaker {
    /// All far ends that are to be watched, if these may be others than at the last call.
    pub fn take_watches(&mut self) -> Option<Vec<Watch>> {
        if !core::mem::take(&mut self.far_ends.changed) {
            return None;
        }
        let mut watches: BTreeMap<FarEnd, Watch> = BTreeMap::new();
        for peer in self.peers.iter().flatten() {
            let Some(watch) = watch(peer, &self.plan) else {
                continue;
            };
            // Two sessions with one address: one path, watched as fast as either wants.
            watches
                .entry(watch.far_end.clone())
                .and_modify(|other| join(other, &watch))
                .or_insert(watch);
        }
        let wanted = |far_end: &FarEnd, _: &mut Report| watches.contains_key(far_end);
        self.far_ends.seen.retain(wanted);
        Some(watches.into_values().collect())
    }

    /// BFD of a far end has changed. A failure ends the sessions with it and takes their routes.
    pub fn far_end_reported(&mut self, now: Instant, report: Report) {
        self.rib.set_now(now);
        let numbered = (1..).map(PeerIndex).zip(&self.peers);
        let peers: Vec<PeerIndex> = numbered
            .filter(|(_, peer)| peer.as_ref().is_some_and(|peer| is_at(peer, &report)))
            .map(|(index, _)| index)
            .collect();
        if peers.is_empty() {
            return;
        }
        self.news += 1;
        let before = self.far_ends.seen.get(&report.far_end);
        let before = before.filter(|before| before.session == report.session);
        let failed = report.failures > before.map_or(0, |before| before.failures);
        let failed_from = report.failed_from;
        if before.map(|before| before.state) != Some(report.state) || failed {
            say(&report, failed);
        }
        self.far_ends.seen.insert(report.far_end.clone(), report);
        for index in peers {
            // A session that has ended already ended for a reason of its own, which says what becomes
            // of its routes: BFD that shares the fate of a process that restarts knows no better. And
            // one that came up after BFD's last packet is that of the process that came back.
            let up = self.peer(index).is_some_and(|peer| {
                peer.established.is_some() && peer.session.since() <= failed_from
            });
            if failed && up {
                self.far_end_down(now, index);
            }
        }
    }
}

fn is_at(peer: &PeerEntry, report: &Report) -> bool {
    peer.planned.bfd.is_some() && far_end(&peer.planned) == report.far_end
}

fn say(report: &Report, failed: bool) {
    let (address, state) = (report.far_end.remote, report.state);
    if failed {
        tracing::warn!(%address, %state, why = %report.diagnostic, "BFD: the path has failed");
    } else if state == State::Up {
        tracing::info!(%address, every = ?report.transmit, "BFD is up");
    } else {
        tracing::debug!(%address, %state, why = %report.diagnostic, "BFD");
    }
}

fn far_end(planned: &PlannedPeer) -> FarEnd {
    FarEnd {
        remote: planned.address,
        local: planned.source_address,
        interface: planned.interface.clone(),
    }
}

/// How the far end of a peer is to be watched, if it is.
fn watch(peer: &PeerEntry, plan: &Plan) -> Option<Watch> {
    let planned = &peer.planned;
    let BfdTerms {
        min_transmit,
        min_receive,
        multiplier,
        min_ttl,
        authentication,
    } = planned.bfd.as_ref().filter(|_| !peer.is_stopped())?;
    Some(Watch {
        far_end: far_end(planned),
        hops: hops(planned, plan),
        least_ttl: min_ttl.unwrap_or_else(|| least_ttl(planned.ttl)),
        terms: Terms::new(*min_transmit, *min_receive, *multiplier),
        authentication: match authentication {
            BfdAuthentication::None => Authentication::None,
            BfdAuthentication::Missing(_) => Authentication::Missing,
            BfdAuthentication::Key(key) => Authentication::Key(Key {
                id: key.id,
                algorithm: if key.meticulous {
                    Algorithm::MeticulousKeyedSha1
                } else {
                    Algorithm::KeyedSha1
                },
                secret: key.secret.clone(),
            }),
        },
    })
}

/// One watch for two sessions with one far end: what either asks for, and the stricter of the two.
fn join(watch: &mut Watch, other: &Watch) {
    watch.terms = watch.terms.fastest(&other.terms);
    watch.hops = watch.hops.min(other.hops);
    watch.least_ttl = watch.least_ttl.max(other.least_ttl);
    if watch.authentication == Authentication::None {
        watch.authentication = other.authentication.clone();
    }
}

/// The least TTL of packets from behind routers. FRR sends them with 255, BIRD with the host's own 64: who
/// says how far the peer is gets as much as a packet of 64 has left after so many hops, and who has GTSM what
/// GTSM asks for.
fn least_ttl(rule: TtlRule) -> u8 {
    match rule {
        TtlRule::Security(hops) => u8::MAX - hops.saturating_sub(1),
        TtlRule::Multihop(hops) => USUAL_TTL.saturating_sub(hops.saturating_sub(1)).max(1),
        TtlRule::Any | TtlRule::Near => USUAL_TTL - HOPS_AWAY,
    }
}

/// On one link, as far as we can tell: single hop. What BGP's own rule says goes first.
fn hops(planned: &PlannedPeer, plan: &Plan) -> Hops {
    let near = match planned.ttl {
        TtlRule::Security(1) => true,
        TtlRule::Multihop(hops) if hops > 1 => false,
        TtlRule::Security(_) => false,
        TtlRule::Any | TtlRule::Near | TtlRule::Multihop(_) => {
            planned.interface.is_some()
                || match planned.address {
                    IpAddr::V4(address) => plan.ipv4.is_some_and(|net| net.contains(address)),
                    IpAddr::V6(address) => {
                        address.is_unicast_link_local()
                            || plan.ipv6.is_some_and(|net| net.contains(address))
                    }
                }
        }
    };
    if near { Hops::Single } else { Hops::Multi }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bfd::Diagnostic;
    use crate::rib::MedMode;
    use crate::speaker::Settings;
    use crate::time::Duration;
    use crate::topology::{Intent, Node, plan};

    fn intent() -> Intent {
        let mut intent = Intent::default();
        intent.bgp.as_number = crate::net::Asn(64512);
        intent.bgp.node_mesh_bfd = Some(BfdTerms::default());
        for (name, v4, v6) in [
            ("a", "10.0.0.1/24", "fd00::1/64"),
            ("b", "10.0.0.2/24", "fd00::2/64"),
            ("c", "10.0.9.3/24", "fd00:9::3/64"),
        ] {
            let mut node = Node::named(name);
            node.ipv4_address = Some(v4.parse().unwrap());
            node.ipv6_address = Some(v6.parse().unwrap());
            intent.nodes.push(node);
        }
        intent
    }

    fn speaker(intent: &Intent) -> Speaker {
        let settings = Settings {
            seed: 1,
            hashing: Default::default(),
            track_next_hops: false,
            forwarding: false,
            max_paths: 1,
            med: MedMode::PerNeighbour,
        };
        Speaker::new(Instant::ZERO, settings, plan(intent, "a").unwrap())
    }

    fn report(far_end: &FarEnd, session: u32, state: State, failures: u64) -> Report {
        Report {
            far_end: far_end.clone(),
            session,
            state,
            since: Instant::ZERO,
            diagnostic: Diagnostic::NONE,
            failures,
            failed_from: Instant::ZERO,
            independent: false,
            hops: Hops::Single,
            transmit: Duration::from_millis(250),
            detection: None,
            algorithm: None,
            key_missing: false,
            dropped: crate::bfd::Dropped::default(),
            refused: None,
        }
    }

    #[test]
    fn every_peer_with_bfd_is_watched_and_the_list_is_given_once() {
        let mut speaker = speaker(&intent());
        let watches = speaker.take_watches().unwrap();
        let seen: Vec<(String, Hops)> = watches
            .iter()
            .map(|watch| (watch.far_end.remote.to_string(), watch.hops))
            .collect();
        let near = |address: &str| (address.to_owned(), Hops::Single);
        let far = |address: &str| (address.to_owned(), Hops::Multi);
        assert_eq!(
            seen,
            [
                near("10.0.0.2"),
                far("10.0.9.3"),
                near("fd00::2"),
                far("fd00:9::3")
            ]
        );
        assert!(watches.iter().all(|watch| watch.far_end.local.is_some()));
        assert_eq!(speaker.take_watches(), None);
    }

    #[test]
    fn a_plan_without_bfd_and_a_peer_that_is_shut_down_are_not_watched() {
        let mut speaker = speaker(&intent());
        let _first = speaker.take_watches();
        speaker
            .shutdown_peer(Instant::ZERO, "b", String::new())
            .unwrap();
        let left = speaker.take_watches().unwrap();
        assert_eq!(left.len(), 3, "b/v6 and both of c");
        speaker.enable_peer(Instant::ZERO, "b").unwrap();
        assert_eq!(speaker.take_watches().unwrap().len(), 4);
        let mut without = intent();
        without.bgp.node_mesh_bfd = None;
        speaker.replan(Instant::ZERO, plan(&without, "a").unwrap());
        assert_eq!(speaker.take_watches(), Some(Vec::new()));
    }

    #[test]
    fn what_was_reported_is_shown_until_it_is_no_longer_watched() {
        let mut speaker = speaker(&intent());
        let watches = speaker.take_watches().unwrap();
        let far_end = &watches[0].far_end;
        speaker.far_end_reported(Instant::ZERO, report(far_end, 7, State::Up, 0));
        let shown = |speaker: &Speaker| speaker.peer_named("b").unwrap().bfd;
        assert_eq!(shown(&speaker).unwrap().state, State::Up);
        assert_eq!(speaker.peer_named("b/v6").unwrap().bfd, None);
        let stranger = FarEnd {
            remote: "10.0.0.77".parse().unwrap(),
            ..far_end.clone()
        };
        speaker.far_end_reported(Instant::ZERO, report(&stranger, 8, State::Up, 0));
        assert_eq!(speaker.far_ends.seen.len(), 1);
        speaker
            .shutdown_peer(Instant::ZERO, "b", String::new())
            .unwrap();
        let _taken = speaker.take_watches();
        assert_eq!(shown(&speaker), None);
    }
}
