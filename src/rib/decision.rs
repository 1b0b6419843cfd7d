//! Which path of a destination is best, and why each other one is not (RFC 4271 §9.1.2.2).
//!
//! The rules in order, each looked at only by what the rules before left over:
//!
//! 1. A path counts at all if import policy took it and its next hop can be reached.
//! 2. Long-lived stale paths stand back behind all others (RFC 9494).
//! 3. The highest LOCAL_PREF; 100 if there is none.
//! 4. What is on this node: what this speaker originates, or one beside it.
//! 5. The shortest AS_PATH; a set counts 1, confederation segments 0.
//! 6. The lowest ORIGIN: IGP, EGP, INCOMPLETE.
//! 7. The lowest MED among those of one neighbour AS (or among all, [`MedMode::Always`]); 0 if there
//!    is none.
//! 8. eBGP over iBGP.
//! 9. The least cost to the next hop. What is left now may share the traffic: the multipath set, of
//!    which each next hop is used once.
//! 10. The lowest originator: ORIGINATOR_ID, or the peer's identifier (RFC 4456 §9).
//! 11. The shortest CLUSTER_LIST (RFC 4456 §9).
//! 12. The lowest peer address.
//! 13. The lowest path identifier.
//!
//! It is an elimination by stages over the whole set and not an order of pairs: with MED compared
//! within a neighbour AS there is no order of pairs, and whoever pretends one lets the winner depend
//! on the order of arrival. Same set, same winner, always. It changes nothing and knows no table.

use std::net::IpAddr;

use super::attributes::{AttributeFlags, AttributeStore};
use super::export::DEFAULT_LOCAL_PREF;
use super::next_hop::NextHopId;
use super::path::Path;
use super::peer::{PeerIndex, PeerKind, Peers};

/// Which MEDs are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MedMode {
    /// Those of routes from the same neighbour AS (RFC 4271).
    #[default]
    PerNeighbour,
    /// All.
    Always,
}

/// The rule by which a path lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// Import policy refused it.
    Rejected,
    /// Its next hop can't be reached.
    NextHop,
    /// It is long-lived stale.
    LongLivedStale,
    /// Its LOCAL_PREF is lower.
    LocalPref,
    /// Another one is our own, or of a speaker beside us.
    Local,
    /// Its AS_PATH is longer.
    AsPath,
    /// Its ORIGIN is worse.
    Origin,
    /// Its MED is higher.
    Med,
    /// It is iBGP's.
    Ebgp,
    /// Its next hop is farther.
    Metric,
    /// Its originator's identifier is higher.
    Originator,
    /// Its CLUSTER_LIST is longer.
    ClusterList,
    /// Its peer's address is higher.
    PeerAddress,
    /// Its path identifier is higher.
    PathId,
}

impl Step {
    /// For scripts: it never changes.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Rejected => "not_accepted",
            Self::NextHop => "next_hop_unreachable",
            Self::LongLivedStale => "long_lived_stale",
            Self::LocalPref => "local_pref",
            Self::Local => "local",
            Self::AsPath => "as_path_length",
            Self::Origin => "origin",
            Self::Med => "med",
            Self::Ebgp => "ebgp",
            Self::Metric => "igp_metric",
            Self::Originator => "router_id",
            Self::ClusterList => "cluster_list_length",
            Self::PeerAddress => "peer_address",
            Self::PathId => "path_id",
        }
    }
}

impl core::fmt::Display for Step {
    /// Why a path is not the best one, in words for people.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Rejected => "not accepted by the import policy",
            Self::NextHop => "its next hop can't be reached",
            Self::LongLivedStale => "it is long-lived stale",
            Self::LocalPref => "lower local preference",
            Self::Local => "the prefix is on this node itself",
            Self::AsPath => "longer AS path",
            Self::Origin => "worse origin",
            Self::Med => "higher MED",
            Self::Ebgp => "iBGP, and another path is eBGP",
            Self::Metric => "its next hop is farther",
            Self::Originator => "higher originator or router id",
            Self::ClusterList => "longer cluster list",
            Self::PeerAddress => "higher peer address",
            Self::PathId => "higher path identifier",
        })
    }
}

/// What the decision process may be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecisionConfig {
    /// Which MEDs are compared.
    pub med: MedMode,
    /// How many equal paths share the traffic; 1 for none.
    pub max_paths: u16,
}

impl Default for DecisionConfig {
    fn default() -> Self {
        Self {
            med: MedMode::default(),
            max_paths: 1,
        }
    }
}

/// What decisions are made from, beside the paths.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts<'a> {
    pub(crate) config: DecisionConfig,
    pub(crate) store: &'a AttributeStore,
    pub(crate) peers: &'a Peers,
}

/// A next hop, and whose link it is on if it means something on that link only.
type Way = (NextHopId, Option<PeerIndex>);

/// A path with all that is compared, fetched once.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    place: usize,
    neighbour_as: u32,
    med: u32,
    /// Steps 2-6, the smallest wins each.
    before_med: [u32; 5],
    /// Steps 8 and 9.
    after_med: [u32; 2],
    /// Steps 10 and 11.
    tie: [u32; 2],
    address: IpAddr,
    path_id: u32,
}

const BEFORE_MED: [Step; 5] = [
    Step::LongLivedStale,
    Step::LocalPref,
    Step::Local,
    Step::AsPath,
    Step::Origin,
];
const AFTER_MED: [Step; 2] = [Step::Ebgp, Step::Metric];
const TIE: [Step; 2] = [Step::Originator, Step::ClusterList];

/// Room for decisions, kept between them so that they need no allocation.
#[derive(Debug, Default)]
pub(crate) struct Decider {
    alive: Vec<Candidate>,
    multipath: Vec<usize>,
    /// Those of `multipath`.
    ways: Vec<Way>,
}

impl Decider {
    /// Decides: the places of the selected paths, best first, the others of the multipath set in
    /// order of preference, no more than `max_paths`. Empty if no path counts.
    pub(crate) fn select(&mut self, paths: &[Path], facts: Facts<'_>) -> &[usize] {
        self.run(paths, facts, &mut |_, _| {});
        &self.multipath
    }

    /// Decides and tells for each path the step by which it lost, `None` for the winner.
    pub(crate) fn explain(&mut self, paths: &[Path], facts: Facts<'_>) -> Vec<Option<Step>> {
        let mut reasons = vec![None; paths.len()];
        self.run(paths, facts, &mut |place, step| {
            if let Some(reason) = reasons.get_mut(place) {
                *reason = Some(step);
            }
        });
        reasons
    }

    fn run(&mut self, paths: &[Path], facts: Facts<'_>, lost: &mut impl FnMut(usize, Step)) {
        self.alive.clear();
        self.multipath.clear();
        for (place, path) in paths.iter().enumerate() {
            match candidate(place, path, facts) {
                Ok(candidate) => self.alive.push(candidate),
                Err(step) => lost(place, step),
            }
        }
        let alive = &mut self.alive;
        for (at, step) in BEFORE_MED.into_iter().enumerate() {
            keep_lowest(alive, step, lost, |c| c.before_med.get(at).copied());
        }
        keep_lowest_med(alive, facts.config.med, lost);
        for (at, step) in AFTER_MED.into_iter().enumerate() {
            keep_lowest(alive, step, lost, |c| c.after_med.get(at).copied());
        }
        if facts.config.max_paths > 1 && alive.len() > 1 {
            alive.sort_unstable_by_key(|c| (c.tie, c.address, c.path_id));
            self.ways.clear();
            for candidate in alive.iter() {
                let Some(way) = paths.get(candidate.place).and_then(|p| way(p, facts)) else {
                    continue;
                };
                if self.ways.contains(&way) {
                    continue;
                }
                if self.multipath.len() == usize::from(facts.config.max_paths) {
                    break;
                }
                // Reflectors tell of one next hop several times; it is to have one share all the same.
                self.ways.push(way);
                self.multipath.push(candidate.place);
            }
        }
        for (at, step) in TIE.into_iter().enumerate() {
            keep_lowest(alive, step, lost, |c| c.tie.get(at).copied());
        }
        keep_lowest(alive, Step::PeerAddress, lost, |c| c.address);
        keep_lowest(alive, Step::PathId, lost, |c| c.path_id);
        if self.multipath.is_empty() {
            self.multipath.extend(alive.first().map(|c| c.place));
        }
    }
}

/// How good a path is beside others that are not selected, the lowest the best; `None` if it does not count.
/// It is an order of pairs, which a decision can't be (MED), so it is asked only of what nobody here uses.
pub(crate) fn rank(path: &Path, facts: Facts<'_>) -> Option<impl Ord + use<>> {
    let found = candidate(0, path, facts).ok();
    found.map(|c| {
        (
            c.before_med,
            c.med,
            c.after_med,
            c.tie,
            c.address,
            c.path_id,
        )
    })
}

/// The place of the least path of a peer, of several: none that is selected as long as there is another.
pub(crate) fn least(paths: &[Path], peer: PeerIndex, facts: Facts<'_>) -> Option<usize> {
    let mine = paths.iter().enumerate().filter(|(_, p)| p.peer == peer);
    let last = |(_, path): &(usize, &Path)| {
        let rank = rank(path, facts);
        (!path.selected, rank.is_none(), rank, path.path_id)
    };
    mine.max_by_key(last).map(|(place, _)| place)
}

/// Whether a single path counts: the decision among one.
pub(crate) fn eligible(path: &Path, facts: Facts<'_>) -> bool {
    path.accepted
        && facts.store.get(path.attributes).is_some_and(|attributes| {
            path.peer.is_local()
                || facts
                    .store
                    .next_hops()
                    .metric(attributes.next_hop())
                    .is_some()
        })
}

fn candidate(place: usize, path: &Path, facts: Facts<'_>) -> Result<Candidate, Step> {
    let attributes = facts.store.get(path.attributes).ok_or(Step::Rejected)?;
    let peer = facts.peers.facts(path.peer).ok_or(Step::Rejected)?;
    if !path.accepted {
        return Err(Step::Rejected);
    }
    let local = peer.kind == PeerKind::Local;
    let here = local || peer.kind == PeerKind::Beside;
    let metric = match facts.store.next_hops().metric(attributes.next_hop()) {
        Some(metric) => metric,
        // Our own originations do not hang on anybody else.
        None if local => 0,
        None => return Err(Step::NextHop),
    };
    let llgr = attributes.flags().contains(AttributeFlags::LLGR_STALE);
    Ok(Candidate {
        place,
        neighbour_as: attributes.neighbour_as(),
        med: attributes.med().unwrap_or(0),
        before_med: [
            u32::from(llgr),
            u32::MAX - attributes.local_pref().unwrap_or(DEFAULT_LOCAL_PREF),
            u32::from(!here),
            u32::from(attributes.as_path_len()),
            attributes.origin() as u32,
        ],
        after_med: [u32::from(!peer.is_ebgp()), metric],
        tie: [
            attributes.originator_id().unwrap_or(peer.router_id.0),
            u32::from(attributes.cluster_list_len()),
        ],
        address: peer.address,
        path_id: path.path_id,
    })
}

/// Where a path leads: its next hop, and its peer if that is an address of the link to this peer only.
fn way(path: &Path, facts: Facts<'_>) -> Option<Way> {
    let id = facts.store.get(path.attributes)?.next_hop();
    let hop = facts.store.next_hops().get(id);
    let on_link = hop.is_some_and(|hop| {
        let scoped = match hop.address {
            IpAddr::V4(address) => address.is_link_local(),
            IpAddr::V6(address) => address.is_unicast_link_local(),
        };
        scoped || hop.link_local.is_some()
    });
    Some((id, on_link.then_some(path.peer)))
}

fn keep_lowest<K: Ord>(
    alive: &mut Vec<Candidate>,
    step: Step,
    lost: &mut impl FnMut(usize, Step),
    key: impl Fn(&Candidate) -> K,
) {
    if alive.len() < 2 {
        return;
    }
    let Some(lowest) = alive.iter().map(&key).min() else {
        return;
    };
    alive.retain(|candidate| {
        let keep = key(candidate) == lowest;
        if !keep {
            lost(candidate.place, step);
        }
        keep
    });
}

/// RFC 4271 §9.1.2.2 c: a path goes if another one *of the same neighbour AS* has a lower MED.
fn keep_lowest_med(alive: &mut Vec<Candidate>, mode: MedMode, lost: &mut impl FnMut(usize, Step)) {
    if alive
        .windows(2)
        .all(|pair| matches!(pair, [a, b] if a.med == b.med))
    {
        return;
    }
    match mode {
        MedMode::Always => keep_lowest(alive, Step::Med, lost, |c| c.med),
        MedMode::PerNeighbour => {
            alive.sort_unstable_by_key(|c| (c.neighbour_as, c.med));
            let mut lowest = None;
            alive.retain(|candidate| {
                let med = match lowest {
                    Some((neighbour, med)) if neighbour == candidate.neighbour_as => med,
                    Some(_) | None => {
                        lowest = Some((candidate.neighbour_as, candidate.med));
                        candidate.med
                    }
                };
                let keep = candidate.med == med;
                if !keep {
                    lost(candidate.place, Step::Med);
                }
                keep
            });
        }
    }
}

#[cfg(test)]
mod tests;
