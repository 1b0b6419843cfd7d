//! Laws of sessions between nodes beside the mesh: both ends agree, and names and order are stable.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use dunlin::net::{Asn, RouterId};
use dunlin::topology::{
    Authentication, BfdTerms, Dial, FarEnd, Impact, Intent, LATE_DIAL, Peer, PeerChange, PeerField,
    PeerKind, PeerScope, Plan, PlannedPeer, Selector, TemplateSource, diff, plan,
};
use proptest::prelude::*;

use crate::topology_laws::{Traits, both, cluster, plans, some_peers, traits};

/// What a generated record says: its scope, its far end, whether it mirrors, is passive, local AS.
type Words = (u8, u8, bool, bool, Option<u32>);

fn words() -> impl Strategy<Value = Words> {
    let local = prop::option::weighted(0.2, 65_100..65_103_u32);
    (
        0..4_u8,
        0..6_u8,
        prop::bool::weighted(0.8),
        prop::bool::weighted(0.2),
        local,
    )
}

/// Nodes with labels, some of them reflectors, and records between them.
fn labelled(of: &[Traits], clusters: &[Option<u32>], records: &[Words], mesh: bool) -> Intent {
    let mut intent = cluster(of);
    intent.bgp.node_to_node_mesh_enabled = mesh;
    for (i, node) in intent.nodes.iter_mut().enumerate() {
        node.route_reflector_cluster_id = clusters.get(i).copied().flatten().map(RouterId);
        node.labels.insert("rack".into(), (i % 3).to_string());
        if node.route_reflector_cluster_id.is_some() {
            node.labels.insert("reflector".into(), String::new());
        }
    }
    let record = |(i, (scope, far_end, reverse, passive, local)): (usize, &Words)| Peer {
        scope: match scope {
            0 => PeerScope::All,
            1 => PeerScope::Node("node-1".into()),
            rack => PeerScope::Selector(selector(&format!("rack == '{}'", rack - 1))),
        },
        far_end: FarEnd::Nodes(match far_end {
            0 => selector("all()"),
            1 | 2 => selector("has(reflector)"),
            rack => selector(&format!("rack == '{}'", rack - 3)),
        }),
        as_number: None,
        reverse: *reverse,
        passive: *passive,
        local_as_number: local.map(Asn),
        ..Peer::new(format!("r{i}"), "10.0.0.1".parse().unwrap(), Asn(0))
    };
    intent.peers = records.iter().enumerate().map(record).collect();
    intent
}

fn selector(text: &str) -> Selector {
    Selector::parse(text).unwrap()
}

fn at(plan: &Plan, address: std::net::IpAddr) -> Option<&PlannedPeer> {
    plan.peers.iter().find(|peer| peer.address == address)
}

proptest! {
    #[test]
    fn records_between_nodes_give_both_ends_the_same_session(
        traits in prop::collection::vec(traits(), 2..6),
        clusters in prop::collection::vec(prop::option::weighted(0.4, 1..3_u32), 6),
        records in prop::collection::vec(words(), 0..4),
        mesh in any::<bool>(),
    ) {
        let intent = labelled(&traits, &clusters, &records, mesh);
        let mirrored = intent.peers.iter().all(|peer| peer.reverse);
        let plans = plans(&intent);
        for a in plans.values() {
            for of_a in &a.peers {
                let b = plans.values().find(|b| {
                    [b.ipv4.map(|n| n.ip().into()), b.ipv6.map(|n| n.ip().into())]
                        .contains(&Some(of_a.address))
                }).unwrap();
                prop_assert_ne!(&b.name, &a.name, "no node is its own peer");
                let Some(of_b) = at(b, of_a.source_address.unwrap()) else {
                    prop_assert!(!mirrored, "{} has {} alone", a.name, of_a.name);
                    prop_assert_eq!(of_a.dial == Dial::Active, !of_a.dial.eq(&Dial::Passive));
                    continue;
                };
                prop_assert_eq!(of_b.source_address, Some(of_a.address));
                prop_assert_eq!((of_a.port, of_b.port), (b.listen_port, a.listen_port));
                prop_assert_eq!(
                    (of_a.remote_asn, of_a.local_asn),
                    (of_b.local_asn, of_b.remote_asn)
                );
                prop_assert_eq!(&of_a.open, &of_b.open);
                let dials = [of_a, of_b].map(|peer| peer.dial == Dial::Active);
                prop_assert_ne!(dials[0], dials[1], "one end dials first: {:?} {:?}", of_a, of_b);
                let reflects = |plan: &Plan, other: &Plan, peer: &PlannedPeer| {
                    peer.kind == PeerKind::Explicit
                        && peer.local_asn == peer.remote_asn
                        && plan.cluster_id.is_some()
                        && plan.cluster_id != other.cluster_id
                };
                prop_assert_eq!(of_a.client, reflects(a, b, of_a));
                if of_a.kind == PeerKind::Mesh {
                    prop_assert!(mesh && a.cluster_id.is_none() && b.cluster_id.is_none());
                }
            }
        }
    }

    #[test]
    fn the_order_of_records_between_nodes_does_not_matter(
        (intent, peers) in (
            prop::collection::vec(traits(), 2..6),
            prop::collection::vec(words(), 0..4),
        ).prop_flat_map(|(traits, records)| {
            let intent = labelled(&traits, &[Some(1)], &records, true);
            let peers = Just(intent.peers.clone()).prop_shuffle();
            (Just(intent), peers)
        })
    ) {
        let other = Intent { peers, ..intent.clone() };
        prop_assert_eq!(plans(&intent), plans(&other));
    }
}

/// Nodes 0, 1 and 2 of both families, the first one a reflector, and a record from all to it.
fn reflected() -> Intent {
    let mut intent = labelled(
        &[both(), both(), both()],
        &[Some(7)],
        &[(0, 1, true, false, None)],
        false,
    );
    intent.peers[0].name = "to-rr".into();
    intent
}

fn names(intent: &Intent, me: &str) -> Vec<String> {
    let plan = plan(intent, me).unwrap();
    plan.peers.into_iter().map(|peer| peer.name).collect()
}

#[test]
fn a_selector_gives_clients_their_reflector_and_the_reflector_its_clients() {
    let mut intent = reflected();
    assert_eq!(
        names(&intent, "node-1"),
        ["to-rr/node-0", "to-rr/node-0/v6"]
    );
    let rr = [
        "to-rr/node-1",
        "to-rr/node-1/v6",
        "to-rr/node-2",
        "to-rr/node-2/v6",
    ];
    assert_eq!(names(&intent, "node-0"), rr);
    let of_rr = plan(&intent, "node-0").unwrap();
    assert!(
        of_rr
            .peers
            .iter()
            .all(|peer| peer.client && peer.open.add_path)
    );
    assert_eq!(of_rr.cluster_id, Some(RouterId(7)));

    // The mesh among the others, and a reflector that is not in it.
    intent.bgp.node_to_node_mesh_enabled = true;
    let mixed = ["node-2", "node-2/v6", "to-rr/node-0", "to-rr/node-0/v6"];
    assert_eq!(names(&intent, "node-1"), mixed);
    assert_eq!(names(&intent, "node-0"), rr);

    // By hand, one end only.
    intent.peers[0].scope = PeerScope::Node("node-1".into());
    intent.peers[0].reverse = false;
    assert_eq!(names(&intent, "node-0"), Vec::<String>::new());
    let one = plan(&intent, "node-1").unwrap();
    assert_eq!(
        one.peers
            .iter()
            .filter(|peer| peer.name.starts_with("to-rr"))
            .count(),
        2
    );
}

#[test]
fn whose_client_a_peer_is_can_be_said() {
    let mut intent = reflected();
    let clients = |intent: &Intent| -> Vec<bool> {
        let plan = plan(intent, "node-0").unwrap();
        plan.peers.iter().map(|peer| peer.client).collect()
    };
    intent.peers[0].routes.client = Some(false);
    assert_eq!(clients(&intent), [false; 4]);
    // A reflector of the same cluster is none, but by the word.
    intent.nodes[1].route_reflector_cluster_id = Some(RouterId(7));
    intent.peers[0].routes.client = None;
    assert_eq!(clients(&intent), [false, false, true, true]);
    intent.nodes[1].route_reflector_cluster_id = Some(RouterId(8));
    assert_eq!(clients(&intent), [true; 4]);
    // Another AS is never reflected to.
    intent.nodes[2].as_number = Some(Asn(65_009));
    intent.peers[0].routes.client = Some(true);
    assert_eq!(clients(&intent), [true, true, false, false]);
    // A plain router beside the nodes.
    intent.peers = vec![Peer::new("old", "10.0.0.99".parse().unwrap(), Asn(64_512))];
    assert_eq!(clients(&intent), [true]);
}

#[test]
fn a_record_at_a_nodes_address_is_mirrored_unless_that_says_no() {
    let mut intent = cluster(&[both(), both()]);
    intent.peers = vec![Peer::new("hub", "10.0.0.1".parse().unwrap(), Asn(64_512))];
    assert_eq!(names(&intent, "node-1"), ["hub", "node-0/v6"]);
    assert_eq!(names(&intent, "node-0"), ["hub/node-1", "node-1/v6"]);
    let [of_0, of_1] = ["node-0", "node-1"].map(|me| plan(&intent, me).unwrap().peers[0].clone());
    assert_eq!(
        (of_0.dial, of_1.dial),
        (Dial::Active, Dial::After(LATE_DIAL))
    );
    assert_eq!(of_0.open, of_1.open);
    intent.peers[0].reverse = false;
    assert_eq!(names(&intent, "node-0"), ["node-1", "node-1/v6"]);
}

#[test]
fn records_that_say_different_things_of_one_session_are_named() {
    let mut intent = reflected();
    let mut second = intent.peers[0].clone();
    second.name = "another".into();
    intent.peers.push(second);
    assert_eq!(
        plan(&intent, "node-1").unwrap().warnings,
        Vec::<String>::new()
    );
    intent.peers[1].session.hold_time = Some(9);
    assert_eq!(
        names(&intent, "node-1"),
        ["another/node-0", "another/node-0/v6"]
    );
    assert_eq!(
        plan(&intent, "node-0").unwrap().warnings,
        [
            "peers \"another\" and \"to-rr\" both are for the session with node \"node-1\" and one \
          more, and differ; \"another\" is used"
        ]
    );
    // A record of this node alone goes after that of all nodes, as in Calico: no question.
    intent.peers[1].scope = PeerScope::Node("node-1".into());
    assert_eq!(
        plan(&intent, "node-1").unwrap().warnings,
        Vec::<String>::new()
    );
}

#[test]
fn the_meshs_own_words_are_in_its_sessions_and_no_others() {
    let mut intent = cluster(&[both(), both()]);
    intent.peers = vec![some_peers()[0].clone()];
    let missing = Authentication::Missing("no file".into());
    intent.bgp.node_mesh_authentication = missing.clone();
    intent.bgp.node_mesh_max_restart_time = Some(7);
    intent.bgp.node_mesh_bfd = Some(BfdTerms::default());
    intent.bgp.node_mesh_filters = vec!["f".into()];
    intent.filters.insert("f".into(), Arc::default());
    let plan = plan(&intent, "node-0").unwrap();
    for peer in &plan.peers {
        let mesh = peer.kind == PeerKind::Mesh;
        assert_eq!(peer.authentication == missing, mesh, "{}", peer.name);
        assert_eq!(peer.open.restart.time, if mesh { 7 } else { 120 });
        assert_eq!(
            (peer.bfd.is_some(), peer.filters.len()),
            (mesh, usize::from(mesh))
        );
        assert_eq!(peer.open.add_path, mesh);
        assert_eq!(
            peer.policy.limit.max,
            Some(if mesh { 20_000 } else { 2_000_000 })
        );
    }
}

#[test]
fn ranges_and_links_are_templates_and_the_rest_is_where_it_belongs() {
    let mut intent = cluster(&[both()]);
    let other = |name: &str, far_end: FarEnd| Peer {
        far_end,
        ..Peer::new(name, "10.9.0.1".parse().unwrap(), Asn(64_700))
    };
    intent.peers = vec![
        other("range", FarEnd::Range("10.9.0.0/24".parse().unwrap())),
        other("link", FarEnd::Link("eth1".into())),
        Peer {
            reachable_by: Some("10.0.0.9".parse().unwrap()),
            ..Peer::new("far", "10.8.0.1".parse().unwrap(), Asn(64_700))
        },
    ];
    intent.pools[0].disable_bgp_export = true;
    let plan = plan(&intent, "node-0").unwrap();
    assert_eq!(plan.peers.len(), 1);
    assert_eq!(
        plan.gateways,
        [("10.8.0.1".parse().unwrap(), "10.0.0.9".parse().unwrap())]
    );
    assert_eq!(plan.unexported, [intent.pools[0].cidr]);
    let [link, range] = plan.templates.as_slice() else {
        panic!("{:?}", plan.templates);
    };
    assert_eq!(link.from, TemplateSource::Link("eth1".into()));
    assert_eq!(
        (link.peer.dial, link.peer.source_address),
        (Dial::Active, None)
    );
    assert_eq!(
        range.from,
        TemplateSource::Range("10.9.0.0/24".parse().unwrap())
    );
    assert_eq!(range.peer.dial, Dial::Passive);
}

#[test]
fn a_session_with_another_name_is_known_by_its_far_end() {
    let mesh = cluster(&[both(), both(), both()]);
    let old = plan(&mesh, "node-1").unwrap();
    let changes = diff(&old, &plan(&reflected(), "node-1").unwrap());
    let names: Vec<&str> = changes.iter().map(PeerChange::name).collect();
    assert_eq!(names, ["node-2", "node-2/v6", "node-0", "node-0/v6"]);
    for change in &changes[2..] {
        let PeerChange::Change { was, peer, fields } = change else {
            panic!("{change:?}");
        };
        assert_eq!(peer.name, format!("to-rr/{was}"));
        assert!(fields.contains(&PeerField::Name));
        assert_eq!(change.impact(), Some(Impact::Soft), "{fields:?}");
    }
    // Another port of the same address is the same peer, which starts anew.
    let mut moved = old.clone();
    moved.peers[0].name = "moved".into();
    moved.peers[0].port += 1;
    let changes = diff(&old, &moved);
    let [change @ PeerChange::Change { fields, .. }] = changes.as_slice() else {
        panic!("{changes:?}");
    };
    assert_eq!(fields, &[PeerField::Port, PeerField::Name]);
    assert_eq!(change.impact(), Some(Impact::Bounce));
}
