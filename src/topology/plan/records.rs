//! Sessions with whoever a record names by address, range or link, and the gateways to them.
//!
//! The far end may be a node: then it is dialled in the order that both ends agree on, and the node is
//! told of in `pairs`. What a range or a link gives is a template; the speaker fills in who turns up.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use super::pairs::{Candidates, Pair, dial, names_node};
use super::terms::{
    RECORD_LIMIT, asn, connect_retry, is_client, listen_port, named, open_of, routes, send_hold,
    usable,
};
use super::{BGP_PORT, Dial, PeerKind, PlannedPeer, Template, TemplateSource, is_own};
use crate::net::Family;
use crate::topology::intent::{Intent, Node, Peer, PeerAddress, SourceAddress};
use crate::topology::peering::FarEnd;

/// Whether a record's far end is this node's own speaker: its address and the port that it listens on. At
/// another port, or calling us, there is somebody else.
fn is_itself(intent: &Intent, me: &Node, record: &Peer, end: PeerAddress) -> bool {
    let own_port = listen_port(&intent.bgp, me);
    is_own(end.address, me) && end.port.is_none_or(|port| port == own_port) && !record.passive
}

/// Whether a node is itself at a loopback address, as one of several on a host.
fn on_loopback(node: &Node) -> bool {
    let addresses = Family::ALL
        .iter()
        .filter_map(|family| node.address(*family));
    addresses.into_iter().any(|address| address.is_loopback())
}

/// One session for each record of an address that is not the node's own.
pub(super) fn sessions(
    intent: &Intent,
    me: &Node,
    candidates: &Candidates<'_>,
) -> Vec<PlannedPeer> {
    let nodes = by_address(intent);
    let mine = candidates.ours();
    mine.filter_map(|record| match &record.far_end {
        FarEnd::Address(end) if !is_itself(intent, me, record, *end) => {
            let other = nodes.get(&end.address).copied();
            Some(at_address((intent, candidates), me, record, (*end, other)))
        }
        FarEnd::Address(_) | FarEnd::Nodes(_) | FarEnd::Range(_) | FarEnd::Link(_) => None,
    })
    .collect()
}

/// Peers that are not reached by the routes that are there, and the gateways to them, sorted.
pub(super) fn gateways(me: &Node, candidates: &Candidates<'_>) -> Vec<(IpAddr, IpAddr)> {
    let mine = candidates.ours();
    let mut all: Vec<_> = mine
        .filter_map(|record| match (&record.far_end, record.reachable_by) {
            (FarEnd::Address(end), Some(gateway)) if !is_own(end.address, me) => {
                (end.address.is_ipv4() == gateway.is_ipv4()).then_some((end.address, gateway))
            }
            _other => None,
        })
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Sessions with whoever turns up, sorted by the record's name.
pub(super) fn templates(intent: &Intent, me: &Node, candidates: &Candidates<'_>) -> Vec<Template> {
    let mine = candidates.ours();
    let mut all: Vec<Template> = mine
        .filter_map(|record| {
            let (from, address, dial) = match &record.far_end {
                FarEnd::Range(range) => (
                    TemplateSource::Range(*range),
                    range.address(),
                    Dial::Passive,
                ),
                FarEnd::Link(link) => {
                    let dial = own_dial(record);
                    let anybody = Ipv6Addr::UNSPECIFIED.into();
                    (TemplateSource::Link(link.clone()), anybody, dial)
                }
                FarEnd::Address(_) | FarEnd::Nodes(_) => return None,
            };
            let end = PeerAddress {
                address,
                port: None,
            };
            let mut peer = at_address((intent, candidates), me, record, (end, None));
            peer.dial = dial;
            peer.port = BGP_PORT;
            if let TemplateSource::Link(link) = &from {
                // The link's own addresses carry the session; the node's are not on it.
                peer.source_address = None;
                peer.interface = Some(link.clone());
            }
            Some(Template { from, peer })
        })
        .collect();
    all.sort_by(|a, b| a.peer.name.cmp(&b.peer.name));
    all
}

const fn own_dial(record: &Peer) -> Dial {
    if record.passive {
        Dial::Passive
    } else {
        Dial::Active
    }
}

fn at_address(
    (intent, candidates): (&Intent, &Candidates<'_>),
    me: &Node,
    record: &Peer,
    (end, node): (PeerAddress, Option<&Node>),
) -> PlannedPeer {
    let address = end.address;
    let family = family_of(address);
    let families = record.capabilities.families;
    let local_asn = record.local_as_number.unwrap_or_else(|| asn(intent, me));
    let remote_asn = record.as_number.or(node.map(|node| asn(intent, node)));
    let remote_asn = remote_asn.unwrap_or(intent.bgp.as_number);
    // A node's own, if it is a node's.
    let its_port = node.map_or(BGP_PORT, |node| listen_port(&intent.bgp, node));
    let port = end.port.unwrap_or(its_port);
    // At a node's address there may be somebody else: another port, another AS.
    let node = node.filter(|node| node.name != me.name && names_node(intent, record, node, family));
    // Nobody but ourselves listens there: who speaks with us calls.
    let at_loopback = address.is_loopback() && !on_loopback(me);
    let calls = at_loopback && port == listen_port(&intent.bgp, me);
    PlannedPeer {
        name: record.name.clone(),
        kind: PeerKind::Explicit,
        is_node: node.is_some(),
        address,
        port,
        remote_asn,
        local_asn,
        source_address: match record.source_address {
            // A speaker at the loopback knows us by that.
            SourceAddress::UseNodeIp if at_loopback => None,
            SourceAddress::UseNodeIp => me.address(family),
            SourceAddress::Kernel => None,
            SourceAddress::Address(source) => Some(source),
        },
        ttl: match node.and_then(|node| Pair::between(me, node, family)) {
            Some(pair) => pair.ttl(record.ttl),
            None => record.ttl,
        },
        dial: match node.and_then(|node| Pair::between(me, node, family)) {
            Some(pair) => dial(intent, pair, &candidates.given(pair), record.passive),
            None if calls => Dial::Passive,
            None => own_dial(record),
        },
        shutdown: record.shutdown,
        connect_retry: connect_retry(&record.session, &intent.bgp.session),
        send_hold: send_hold(&record.session, &intent.bgp.session),
        open: open_of(
            record,
            &intent.bgp.session,
            (
                families.unwrap_or_else(|| usable(me, Some(family))),
                node.is_some(),
            ),
        ),
        policy: routes(&record.routes, (RECORD_LIMIT, node.is_some())),
        filters: named(intent, &record.filters),
        client: is_client(
            me,
            record,
            local_asn == remote_asn,
            node.and_then(|node| node.route_reflector_cluster_id),
        ),
        authentication: record.authentication.clone(),
        bfd: record.bfd.clone(),
        interface: None,
    }
}

const fn family_of(address: IpAddr) -> Family {
    match address {
        IpAddr::V4(_) => Family::Ipv4,
        IpAddr::V6(_) => Family::Ipv6,
    }
}

/// Nodes by their addresses; of several at one, which assembly has reported, the first by name.
fn by_address(intent: &Intent) -> BTreeMap<IpAddr, &Node> {
    let mut nodes: BTreeMap<IpAddr, &Node> = BTreeMap::new();
    for node in &intent.nodes {
        for address in Family::ALL
            .iter()
            .filter_map(|family| node.address(*family))
        {
            let first = nodes.entry(address).or_insert(node);
            if node.name < first.name {
                *first = node;
            }
        }
    }
    nodes
}
