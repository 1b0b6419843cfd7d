//! Laws of plans: they mirror each other, they are stable, and their differences add up.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use dunlin::net::{Asn, Family, Prefix, Role, Secret};
use dunlin::policy::PolicyKind;
use dunlin::topology::{
    Authentication, BfdTerms, Dial, Families, Impact, Intent, LATE_DIAL, NextHopMode, Node, Peer,
    PeerChange, PeerField, PeerKind, PeerScope, Plan, PlanError, PlannedPeer, Pool, PoolMode,
    TtlRule, diff, plan,
};
use ipnetwork::{Ipv4Network, Ipv6Network};
use proptest::prelude::*;

/// What a generated node has: IPv4, IPv6, an AS of its own, a port of its own, blocks.
pub(crate) type Traits = (bool, bool, Option<u32>, Option<u16>, u8);

pub(crate) fn traits() -> impl Strategy<Value = Traits> {
    let asn = prop::option::of(64_512..64_520_u32);
    let port = prop::option::of(1000..1010_u16);
    (any::<bool>(), any::<bool>(), asn, port, 0..3_u8)
}

/// A cluster whose nodes are numbered, so that names and addresses differ; in IPv6 the order of
/// addresses is the reverse of that in IPv4.
pub(crate) fn cluster(of: &[Traits]) -> Intent {
    let nodes = of
        .iter()
        .enumerate()
        .map(|(i, traits)| node(u8::try_from(i).unwrap(), traits));
    let cidr = "10.244.0.0/16".parse().unwrap();
    Intent {
        pools: vec![Pool {
            name: "pods".into(),
            cidr,
            ipip_mode: PoolMode::Never,
            vxlan_mode: PoolMode::Never,
            nat_outgoing: false,
            disabled: false,
            disable_bgp_export: false,
        }],
        nodes: nodes.collect(),
        ..Intent::default()
    }
}

fn node(i: u8, (v4, v6, asn, port, blocks): &Traits) -> Node {
    let ipv4 = Ipv4Network::new(Ipv4Addr::new(10, 0, 0, i + 1), 24).unwrap();
    let ipv6 = Ipv6Addr::from_bits((0xFD00 << 112) | u128::from(255 - i));
    Node {
        ipv4_address: v4.then_some(ipv4),
        ipv6_address: v6.then(|| Ipv6Network::new(ipv6, 64).unwrap()),
        as_number: asn.map(Asn),
        listen_port: *port,
        blocks: (0..*blocks)
            .map(|b| Prefix::new(Ipv4Addr::new(10, 244, i, b * 64).into(), 26))
            .collect(),
        ..Node::named(format!("node-{i}"))
    }
}

pub(crate) fn plans(intent: &Intent) -> BTreeMap<String, Plan> {
    let all = intent
        .nodes
        .iter()
        .map(|node| (node.name.clone(), plan(intent, &node.name)));
    all.map(|(name, plan)| (name, plan.unwrap())).collect()
}

fn mirrors(a: &Plan, of_a: &PlannedPeer, b: &Plan, of_b: &PlannedPeer) -> bool {
    let dials = |p: &PlannedPeer| p.dial == Dial::Active;
    of_a.source_address == Some(of_b.address)
        && of_b.source_address == Some(of_a.address)
        && (of_a.port, of_b.port) == (b.listen_port, a.listen_port)
        && (of_a.remote_asn, of_a.local_asn) == (of_b.local_asn, of_b.remote_asn)
        && of_a.open == of_b.open
        && dials(of_a) != dials(of_b)
        && (dials(of_a) || of_a.dial == Dial::After(LATE_DIAL))
}

proptest! {
    #[test]
    fn a_plans_b_exactly_as_b_plans_a(traits in prop::collection::vec(traits(), 0..7)) {
        let plans = plans(&cluster(&traits));
        let mut sessions = 0;
        for (name, a) in &plans {
            for of_a in &a.peers {
                sessions += 1;
                let (other, v6) = match of_a.name.strip_suffix("/v6") {
                    Some(other) => (other, true),
                    None => (of_a.name.as_str(), false),
                };
                prop_assert_ne!(other, name, "no node is its own peer");
                prop_assert_eq!(of_a.address.is_ipv6(), v6);
                let b = &plans[other];
                let back = if v6 { format!("{name}/v6") } else { name.clone() };
                let of_b = b.peers.iter().find(|peer| peer.name == back).unwrap();
                prop_assert!(mirrors(a, of_a, b, of_b), "{:?} {:?}", of_a, of_b);
            }
        }
        let pairs = |n: usize| n * n.saturating_sub(1);
        let of = |has: fn(&Traits) -> bool| pairs(traits.iter().filter(|t| has(t)).count());
        prop_assert_eq!(sessions, of(|t| t.0) + of(|t| t.1), "each pair, once per family");
    }

    #[test]
    fn the_order_of_records_does_not_matter(
        (traits, shuffled) in prop::collection::vec(traits(), 0..7).prop_flat_map(|traits| {
            let mut intent = cluster(&traits);
            intent.peers = some_peers();
            let Intent { nodes, peers, .. } = intent.clone();
            let orders = (Just(nodes).prop_shuffle(), Just(peers).prop_shuffle());
            (Just(intent), orders)
        })
    ) {
        let (nodes, peers) = shuffled;
        let other = Intent { nodes, peers, ..traits.clone() };
        prop_assert_eq!(plans(&traits), plans(&other));
    }

    #[test]
    fn a_new_node_changes_nothing_but_its_own_sessions(
        all in prop::collection::vec(traits(), 1..7)
    ) {
        let after = cluster(&all);
        let mut before = after.clone();
        let new = before.nodes.pop().unwrap();
        let (before, after) = (plans(&before), plans(&after));
        for (name, old) in &before {
            for change in diff(old, &after[name]) {
                let added = matches!(change, PeerChange::Add(_));
                let its = change.name().trim_end_matches("/v6") == new.name;
                prop_assert!(added && its, "{name}: {change:?}");
            }
        }
    }

    #[test]
    fn applying_the_difference_gives_the_new_plan(
        old in prop::collection::vec(traits(), 1..6),
        new in prop::collection::vec(traits(), 1..6),
    ) {
        let old = plan(&cluster(&old), "node-0").unwrap();
        let new = plan(&cluster(&new), "node-0").unwrap();
        prop_assert_eq!(diff(&old, &old), vec![]);
        let mut peers: BTreeMap<String, PlannedPeer> =
            old.peers.iter().map(|peer| (peer.name.clone(), peer.clone())).collect();
        for change in diff(&old, &new) {
            let was = peers.remove(change.name());
            match change {
                PeerChange::Add(peer) => {
                    prop_assert!(was.is_none());
                    peers.insert(peer.name.clone(), peer);
                }
                PeerChange::Remove(_) => prop_assert!(was.is_some()),
                PeerChange::Change { peer, fields, .. } => {
                    prop_assert!(was.is_some() && !fields.is_empty());
                    peers.insert(peer.name.clone(), peer);
                }
            }
        }
        prop_assert_eq!(peers.into_values().collect::<Vec<_>>(), new.peers);
    }
}

pub(crate) fn some_peers() -> Vec<Peer> {
    let peer = |name: &str, address: &str| Peer::new(name, address.parse().unwrap(), Asn(64_700));
    vec![
        peer("tor", "10.0.0.254"),
        // The first node's address: the peer of all others, in place of the mesh session.
        peer("hub", "10.0.0.1"),
        Peer {
            scope: PeerScope::Node("node-2".into()),
            ..peer("only-2", "fd00::ffff")
        },
    ]
}

pub(crate) fn both() -> Traits {
    (true, true, None, None, 1)
}

#[test]
fn an_explicit_peer_takes_the_place_of_the_mesh_session_at_its_address() {
    let mut intent = cluster(&[both(), both(), both()]);
    intent.peers = some_peers();
    let names = |me: &str| -> Vec<String> {
        plan(&intent, me)
            .unwrap()
            .peers
            .into_iter()
            .map(|peer| peer.name)
            .collect()
    };
    assert_eq!(
        names("node-0"),
        ["node-1", "node-1/v6", "node-2", "node-2/v6", "tor"]
    );
    assert_eq!(
        names("node-1"),
        ["hub", "node-0/v6", "node-2", "node-2/v6", "tor"]
    );
    assert_eq!(
        names("node-2"),
        ["hub", "node-0/v6", "node-1", "node-1/v6", "only-2", "tor"]
    );
}

#[test]
fn a_peer_without_families_gets_those_that_the_node_can_be_a_next_hop_of() {
    let families = |traits: Traits, wanted: Option<Families>| {
        let mut intent = cluster(&[traits]);
        intent.peers = some_peers();
        intent.peers[0].capabilities.families = wanted;
        plan(&intent, "node-0").unwrap().peers[0].open.families
    };
    assert_eq!(families(both(), None), Families::BOTH);
    assert_eq!(
        families((true, false, None, None, 0), None),
        Families::only(Family::Ipv4)
    );
    let asked = families(
        (true, false, None, None, 0),
        Some(Families::only(Family::Ipv6)),
    );
    assert_eq!(asked, Families::only(Family::Ipv6), "who asks, gets");
}

#[test]
fn what_can_not_be_planned_says_why() {
    let mut intent = cluster(&[both(), both()]);
    let error = plan(&intent, "node-11").unwrap_err();
    assert_eq!(
        error.to_string(),
        "no node is named \"node-11\"; did you mean \"node-1\"?"
    );

    intent.peers = vec![some_peers()[0].clone(), some_peers()[0].clone()];
    assert!(matches!(
        plan(&intent, "node-0"),
        Err(PlanError::TwoPeersWithOneName { .. })
    ));
    intent.peers[1].name = "other".into();
    assert!(matches!(
        plan(&intent, "node-0"),
        Err(PlanError::TwoPeersAtOneAddress { .. })
    ));

    intent.nodes[1].name = "node-0".into();
    assert!(matches!(
        plan(&intent, "node-0"),
        Err(PlanError::TwoNodesWithOneName { .. })
    ));
}

/// One way to change a session, and what it must be recognised as.
type Edit = (PeerField, fn(&mut Plan));

const EDITS: [Edit; PeerField::ALL.len()] = [
    (PeerField::RouterId, |p| p.router_id.0 += 1),
    (PeerField::Address, |p| {
        p.peers[0].address = "10.9.9.9".parse().unwrap()
    }),
    (PeerField::Port, |p| p.peers[0].port += 1),
    (PeerField::RemoteAsn, |p| p.peers[0].remote_asn = Asn(7)),
    (PeerField::LocalAsn, |p| p.peers[0].local_asn = Asn(7)),
    (PeerField::SourceAddress, |p| {
        p.peers[0].source_address = None
    }),
    (PeerField::Ttl, |p| p.peers[0].ttl = TtlRule::Multihop(7)),
    (PeerField::HoldTime, |p| p.peers[0].open.hold_time = 7),
    (PeerField::Families, |p| {
        p.peers[0].open.families = Families::only(Family::Ipv6)
    }),
    (PeerField::FourOctetAs, |p| {
        p.peers[0].open.four_octet_as = false
    }),
    (PeerField::ExtendedMessages, |p| {
        p.peers[0].open.extended_messages = false
    }),
    (PeerField::Capabilities, |p| {
        p.peers[0].open.capabilities = false;
    }),
    (PeerField::Restart, |p| p.peers[0].open.restart.time = 7),
    (PeerField::AddPath, |p| p.peers[0].open.add_path = true),
    (PeerField::Role, |p| {
        p.peers[0].open.role.role = Some(Role::Customer)
    }),
    (PeerField::Interface, |p| {
        p.peers[0].interface = Some("eth0".into())
    }),
    (PeerField::Authentication, |p| {
        p.peers[0].authentication = Authentication::None
    }),
    (PeerField::Password, |p| {
        p.peers[0].authentication = Authentication::Md5(Secret::new(b"new".to_vec()))
    }),
    (PeerField::Name, |p| p.peers[0].name.push('2')),
    (PeerField::Kind, |p| p.peers[0].kind = PeerKind::Mesh),
    (PeerField::Dial, |p| p.peers[0].dial = Dial::Passive),
    (PeerField::ConnectRetry, |p| {
        p.peers[0].connect_retry = Duration::from_secs(7)
    }),
    (PeerField::Shutdown, |p| p.peers[0].shutdown = true),
    (PeerField::KeepaliveTime, |p| {
        p.peers[0].open.keepalive_time = Some(7)
    }),
    (PeerField::SendHoldTime, |p| {
        p.peers[0].send_hold = Some(Duration::from_secs(600));
    }),
    (PeerField::Import, |p| {
        p.peers[0].policy.import = PolicyKind::RejectAll
    }),
    (PeerField::Export, |p| {
        p.peers[0].policy.export = PolicyKind::RejectAll
    }),
    (PeerField::NextHop, |p| {
        p.peers[0].policy.next_hop = NextHopMode::Own
    }),
    (PeerField::Limit, |p| p.peers[0].policy.limit.max = Some(7)),
    (PeerField::Paths, |p| p.peers[0].policy.paths = 3),
    (PeerField::AllowedLocalAs, |p| {
        p.peers[0].policy.allowed_local_as = 2
    }),
    (PeerField::Filters, |p| {
        p.peers[0].filters.push(Arc::default())
    }),
    (PeerField::Client, |p| p.peers[0].client = true),
    (PeerField::GracefulShutdown, |p| {
        p.peers[0].policy.graceful_shutdown = true
    }),
    (PeerField::Bfd, |p| {
        p.peers[0].bfd = Some(BfdTerms::default())
    }),
    (PeerField::EnforceFirstAs, |p| {
        p.peers[0].policy.enforce_first_as = false
    }),
    (PeerField::PolicyFacts, |p| p.own_blocks.clear()),
];

#[test]
fn each_setting_is_noticed_and_only_what_open_or_transport_carry_bounces() {
    let mut intent = cluster(&[both()]);
    intent.peers = vec![some_peers()[0].clone()];
    intent.peers[0].authentication = Authentication::Md5(Secret::new(b"old".to_vec()));
    let old = plan(&intent, "node-0").unwrap();
    let covered: BTreeSet<PeerField> = EDITS.iter().map(|(field, _)| *field).collect();
    assert_eq!(covered, PeerField::ALL.into_iter().collect());
    for (field, edit) in EDITS {
        let mut new = old.clone();
        edit(&mut new);
        let changes = diff(&old, &new);
        let [change @ PeerChange::Change { fields, .. }] = changes.as_slice() else {
            panic!("{field:?}: {changes:?}");
        };
        assert_eq!(fields, &[field]);
        let bounces = field <= PeerField::Authentication;
        assert_eq!(
            change.impact() == Some(Impact::Bounce),
            bounces,
            "{field:?}"
        );
    }
}

#[test]
fn facts_that_no_policy_reads_change_nothing() {
    let mut intent = cluster(&[both()]);
    intent.peers = vec![some_peers()[0].clone()];
    intent.peers[0].routes.import = PolicyKind::AcceptAll;
    intent.peers[0].routes.export = PolicyKind::RejectAll;
    let old = plan(&intent, "node-0").unwrap();
    intent.pools.clear();
    assert_eq!(diff(&old, &plan(&intent, "node-0").unwrap()), vec![]);
}
