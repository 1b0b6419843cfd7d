//! Sessions between two nodes of the cluster: the mesh, `peer-selector`, and the other end's records.
//!
//! There is one session per address family that both nodes have an address of, and each carries its
//! own family only: an IPv6 route needs an IPv6 next hop, which the session's own addresses give on
//! both ends, and it is what Calico's nodes speak, so mixed clusters work.
//!
//! What always holds, for it is asked of both ends by the same functions:
//!
//! - a record with `reverse-peering` (the default) gives both ends the session or neither of them;
//! - the end with the lower address dials. The other waits [`LATE_DIAL`] and then dials too, so that a
//!   firewall open in one direction only does not keep the session down;
//! - a node with a cluster id is in no mesh;
//! - of several records for one pair the node's own goes before the other end's, an address before a
//!   selector, a record of all nodes before that of some, then the first by name. A session of a record
//!   takes the place of the mesh's: two between the same two addresses would fight in collision
//!   detection.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::terms::{
    MESH_LIMIT, RECORD_LIMIT, asn, connect_retry, is_client, listen_port, named, open, open_of,
    routes, send_hold, usable,
};
use super::{Dial, LATE_DIAL, OpenTerms, PeerKind, PlannedPeer};
use crate::net::{Asn, Family};
use crate::topology::intent::{
    Families, Intent, Node, Peer, PeerRoutes, PeerScope, SessionSettings, SourceAddress, TtlRule,
};
use crate::topology::peering::FarEnd;

/// Two nodes as one of them sees it, with the addresses that a session of a family is between.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pair<'a> {
    me: &'a Node,
    other: &'a Node,
    family: Family,
    mine: IpAddr,
    theirs: IpAddr,
}

impl<'a> Pair<'a> {
    /// The pair, if there can be a session of the family. Two nodes at one address can't reach each
    /// other; assembly has reported them.
    pub(super) fn between(me: &'a Node, other: &'a Node, family: Family) -> Option<Self> {
        let (mine, theirs) = (me.address(family)?, other.address(family)?);
        (mine != theirs).then_some(Self {
            me,
            other,
            family,
            mine,
            theirs,
        })
    }

    /// How far away the other end is: on our subnet, if both ends would say so and nothing else was said.
    pub(super) fn ttl(&self, said: TtlRule) -> TtlRule {
        let on = |at: &Node, address: IpAddr| match address {
            IpAddr::V4(address) => at.ipv4_address.is_some_and(|net| net.contains(address)),
            IpAddr::V6(address) => at.ipv6_address.is_some_and(|net| net.contains(address)),
        };
        match said {
            TtlRule::Any if on(self.me, self.theirs) && on(self.other, self.mine) => TtlRule::Near,
            said => said,
        }
    }
}

/// Of so many records that go after the one in use by their names alone it is asked whether they differ.
const MOST_RIVALS: usize = 16;

/// The record that one node has a session with another by.
#[derive(Debug, Clone, Copy)]
struct Choice<'a> {
    record: &'a Peer,
    /// The record applies to this very node; else it is the other end's.
    own: bool,
}

/// The records that can give a node a session with another one: the others are not looked at for each. What goes
/// first stands first.
#[derive(Debug)]
pub(super) struct Candidates<'a> {
    intent: &'a Intent,
    /// Those that apply to the node.
    ours: Vec<&'a Peer>,
    /// Those whose far end it is, by family (IPv4, IPv6).
    theirs: [Vec<&'a Peer>; 2],
}

impl<'a> Candidates<'a> {
    pub(super) fn of(intent: &'a Intent, me: &Node) -> Self {
        let mut records: Vec<&Peer> = intent.peers.iter().collect();
        records.sort_by(|x, y| rank(x).cmp(&rank(y)));
        let records = || records.iter().copied();
        let named = |family| {
            let named = records().filter(|record| names_node(intent, record, me, family));
            named.collect()
        };
        Self {
            intent,
            ours: records()
                .filter(|record| record.scope.applies_to(me))
                .collect(),
            theirs: Family::ALL.map(named),
        }
    }

    /// Those of them that apply to the node.
    pub(super) fn ours(&self) -> impl Iterator<Item = &'a Peer> {
        self.ours.iter().copied()
    }

    pub(super) fn given(&self, pair: Pair<'_>) -> Given<'a> {
        let other = pair.other;
        let ours = self.ours.iter().copied();
        let theirs = pair.family.of(&self.theirs).iter().copied();
        Given {
            ours: ours
                .filter(|record| names_node(self.intent, record, other, pair.family))
                .collect(),
            theirs: theirs
                .filter(|record| record.scope.applies_to(other))
                .collect(),
        }
    }
}

/// The records of a pair.
#[derive(Debug)]
pub(super) struct Given<'a> {
    /// Those that give us the session by their own words.
    ours: Vec<&'a Peer>,
    /// Those that give it to the other end.
    theirs: Vec<&'a Peer>,
}

impl<'a> Given<'a> {
    /// The record that we have the session by.
    fn choice(&self) -> Option<Choice<'a>> {
        best(&self.ours, &self.theirs)
    }

    /// The record that the other end has it by.
    fn back(&self) -> Option<Choice<'a>> {
        best(&self.theirs, &self.ours)
    }
}

/// The first of the records of one end, or else of those of the other that are for both.
fn best<'a>(own: &[&'a Peer], others: &[&'a Peer]) -> Option<Choice<'a>> {
    let of_own = own.first().map(|record| Choice { record, own: true });
    let mirrored = || {
        let record = others.iter().find(|record| record.reverse)?;
        Some(Choice { record, own: false })
    };
    of_own.or_else(mirrored)
}

/// Sessions of `me` with other nodes, but for those whose address a record of ours names.
pub(super) fn sessions(
    candidates: &Candidates<'_>,
    me: &Node,
    taken: &BTreeSet<IpAddr>,
    warnings: &mut Vec<String>,
) -> Vec<PlannedPeer> {
    let intent = candidates.intent;
    let mut sessions = Vec::new();
    let mut overlaps = Overlaps::default();
    for other in intent.nodes.iter().filter(|other| other.name != me.name) {
        for family in Family::ALL {
            let pair = Pair::between(me, other, family);
            let Some(pair) = pair.filter(|pair| !taken.contains(&pair.theirs)) else {
                continue;
            };
            let given = candidates.given(pair);
            if let Some(choice) = given.choice() {
                overlaps.note(&given, pair, choice);
                sessions.push(by_record(intent, pair, &given, choice));
            } else if in_mesh(intent, pair) {
                sessions.push(by_mesh(intent, pair, &given));
            }
        }
    }
    warnings.extend(overlaps.lines());
    sessions
}

fn in_mesh(intent: &Intent, pair: Pair<'_>) -> bool {
    intent.bgp.node_to_node_mesh_enabled
        && pair.me.route_reflector_cluster_id.is_none()
        && pair.other.route_reflector_cluster_id.is_none()
}

/// Whether a record that applies to another node means this one by its far end.
pub(super) fn names_node(intent: &Intent, record: &Peer, node: &Node, family: Family) -> bool {
    match &record.far_end {
        FarEnd::Address(end) => {
            node.address(family) == Some(end.address)
                && record
                    .as_number
                    .is_none_or(|number| number == asn(intent, node))
                && end
                    .port
                    .is_none_or(|port| port == listen_port(&intent.bgp, node))
        }
        FarEnd::Nodes(selector) => {
            let families = record.capabilities.families;
            selector.matches(&node.labels)
                && families.is_none_or(|families| families.contains(family))
        }
        FarEnd::Range(_) | FarEnd::Link(_) => false,
    }
}

/// What goes before what, among the records of one end of a pair.
fn rank(record: &Peer) -> (bool, bool, &str) {
    let (selector, some) = standing(record);
    (selector, some, &record.name)
}

/// What of a record is a reason to go before another one, but for its name.
fn standing(record: &Peer) -> (bool, bool) {
    (
        !matches!(record.far_end, FarEnd::Address(_)),
        record.scope != PeerScope::All,
    )
}

/// Who dials; `passive` is what a record of ours says. The other end has planned the same session, or
/// has not.
pub(super) fn dial(intent: &Intent, pair: Pair<'_>, given: &Given<'_>, passive: bool) -> Dial {
    let they_wait = match given.back() {
        Some(choice) => choice.own && choice.record.passive,
        None if in_mesh(intent, pair) => false,
        // Nobody will call: whatever is said of us has to do.
        None if passive => return Dial::Passive,
        None => return Dial::Active,
    };
    match (passive, they_wait) {
        (true, false) => Dial::Passive,
        (false, true) => Dial::Active,
        // Both wait or both dial: the order of addresses is known to both.
        _both if pair.mine < pair.theirs => Dial::Active,
        _both => Dial::After(LATE_DIAL),
    }
}

/// The AS that a node claims to be in a session by this record.
fn claimed(intent: &Intent, node: &Node, choice: Option<Choice<'_>>) -> Asn {
    let own = choice.filter(|choice| choice.own);
    own.and_then(|choice| choice.record.local_as_number)
        .unwrap_or_else(|| asn(intent, node))
}

fn by_mesh(intent: &Intent, pair: Pair<'_>, given: &Given<'_>) -> PlannedPeer {
    let Pair {
        me, other, family, ..
    } = pair;
    let bgp = &intent.bgp;
    let own = SessionSettings {
        max_restart_time: bgp.node_mesh_max_restart_time,
        ..SessionSettings::default()
    };
    PlannedPeer {
        name: with_family(other.name.clone(), family),
        kind: PeerKind::Mesh,
        is_node: true,
        address: pair.theirs,
        port: listen_port(bgp, other),
        remote_asn: claimed(intent, other, given.back()),
        local_asn: asn(intent, me),
        source_address: Some(pair.mine),
        ttl: pair.ttl(TtlRule::Any),
        dial: dial(intent, pair, given, false),
        shutdown: false,
        connect_retry: connect_retry(&own, &bgp.session),
        send_hold: send_hold(&own, &bgp.session),
        open: OpenTerms {
            add_path: true,
            ..open(&own, &bgp.session, Families::only(family))
        },
        policy: routes(&PeerRoutes::default(), (MESH_LIMIT, true)),
        filters: named(intent, &bgp.node_mesh_filters),
        client: false,
        authentication: bgp.node_mesh_authentication.clone(),
        bfd: bgp.node_mesh_bfd.clone(),
        interface: None,
    }
}

/// The session of a `peer-selector`, or the mirror of the other end's.
fn by_record(
    intent: &Intent,
    pair: Pair<'_>,
    given: &Given<'_>,
    Choice { record, own }: Choice<'_>,
) -> PlannedPeer {
    let Pair {
        me, other, family, ..
    } = pair;
    let local_asn = claimed(intent, me, Some(Choice { record, own }));
    let remote_asn = claimed(intent, other, given.back());
    PlannedPeer {
        name: with_family(format!("{}/{}", record.name, other.name), family),
        kind: PeerKind::Explicit,
        is_node: true,
        address: pair.theirs,
        port: listen_port(&intent.bgp, other),
        remote_asn,
        local_asn,
        source_address: match record.source_address {
            SourceAddress::Kernel if own => None,
            SourceAddress::Address(source) if own && source.is_ipv4() == pair.theirs.is_ipv4() => {
                Some(source)
            }
            _node => Some(pair.mine),
        },
        ttl: pair.ttl(record.ttl),
        dial: dial(intent, pair, given, own && record.passive),
        shutdown: record.shutdown,
        connect_retry: connect_retry(&record.session, &intent.bgp.session),
        send_hold: send_hold(&record.session, &intent.bgp.session),
        open: open_of(record, &intent.bgp.session, (families(record, pair), true)),
        policy: routes(&record.routes, (RECORD_LIMIT, true)),
        filters: named(intent, &record.filters),
        client: is_client(
            me,
            record,
            local_asn == remote_asn,
            other.route_reflector_cluster_id,
        ),
        authentication: record.authentication.clone(),
        bfd: record.bfd.clone(),
        interface: None,
    }
}

/// The families of a session between two nodes: its own, but a record of an address has one session
/// that carries all.
fn families(record: &Peer, pair: Pair<'_>) -> Families {
    match (&record.far_end, record.capabilities.families) {
        (FarEnd::Address(_), Some(families)) => families,
        (FarEnd::Address(_), None) => usable(pair.me, Some(pair.family)),
        _selector => Families::only(pair.family),
    }
}

fn with_family(name: String, family: Family) -> String {
    match family {
        Family::Ipv4 => name,
        Family::Ipv6 => format!("{name}/v6"),
    }
}

/// Which records were passed over for which, and the nodes that it concerns.
#[derive(Default)]
struct Overlaps<'a> {
    passed_over: BTreeMap<(&'a str, &'a str), Nodes<'a>>,
    /// Which differ, of those that were compared.
    differing: BTreeMap<(&'a str, &'a str), bool>,
}

/// The first of some nodes by name, the one that came last, and how many there are.
struct Nodes<'a> {
    first: &'a str,
    last: &'a str,
    count: usize,
}

impl<'a> Overlaps<'a> {
    /// Notes the records that say something else of a session than the one in use, with no reason to go
    /// after it but its name.
    fn note(&mut self, given: &Given<'a>, pair: Pair<'a>, used: Choice<'a>) {
        let records = if used.own { &given.ours } else { &given.theirs };
        let rivals = records.iter().filter(|record| {
            record.name != used.record.name
                && (used.own || record.reverse)
                && standing(record) == standing(used.record)
        });
        for record in rivals.take(MOST_RIVALS) {
            let names = (used.record.name.as_str(), record.name.as_str());
            let differing = self.differing.entry(names);
            if !*differing.or_insert_with(|| differ(record, used.record)) {
                continue;
            }
            let other = pair.other.name.as_str();
            let nodes = self.passed_over.entry(names).or_insert(Nodes {
                first: other,
                last: "",
                count: 0,
            });
            // Both families of a node come one after the other.
            if nodes.last != other {
                nodes.first = nodes.first.min(other);
                nodes.last = other;
                nodes.count += 1;
            }
        }
    }

    fn lines(&self) -> impl Iterator<Item = String> {
        self.passed_over.iter().map(overlap_line)
    }
}

fn overlap_line(((used, unused), nodes): (&(&str, &str), &Nodes<'_>)) -> String {
    let first = nodes.first;
    let more = match nodes.count {
        0 | 1 => String::new(),
        2 => " and one more".to_owned(),
        all => format!(" and {} more", all - 1),
    };
    format!(
        "peers {used:?} and {unused:?} both are for the session with node {first:?}{more}, and \
         differ; {used:?} is used"
    )
}

/// Whether two records differ in more than whom they are for.
fn differ(a: &Peer, b: &Peer) -> bool {
    let like = |record: &Peer| Peer {
        name: String::new(),
        scope: PeerScope::All,
        far_end: FarEnd::Link(String::new()),
        ..record.clone()
    };
    like(a) != like(b)
}
