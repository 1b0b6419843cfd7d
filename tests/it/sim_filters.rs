//! Policy on whole nodes: what filters let through and change, on the mesh and to the outside, and what
//! a change of policy costs in UPDATEs.

use core::num::NonZeroU32;
use std::sync::Arc;

use dunlin::net::{Asn, Community, Prefix};
use dunlin::policy::{
    Action, Filter, MatchOperator, Operation, PeerType, PolicyKind, PrefixMatch, Rule,
};
use dunlin::time::Duration;
use dunlin::topology::{Intent, NextHopMode, Node, Peer, PeerScope, PrefixAdvertisement, plan};
use dunlin::wire::attribute::PathAttributes;

use crate::sim_mesh::cluster;
use crate::sim_world::World;

const NAMES: [&str; 3] = ["a", "b", "c"];
/// Peers of [`row`], by place.
const B_A: usize = 1;
pub(crate) const B_C: usize = 2;

pub(crate) fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(crate) fn block(i: usize) -> Prefix {
    format!("20.{i}.0.0/24").parse().unwrap()
}

fn community(text: &str) -> Community {
    text.parse().unwrap()
}

/// AS 65001 – 65002 – 65003 in a row, each with a block; everything is let through.
pub(crate) fn row() -> Intent {
    let address = |i: usize| format!("10.0.0.{}", i + 1);
    let asn = |i: usize| Asn(65_001 + u32::try_from(i).unwrap());
    let node = |i: usize| Node {
        ipv4_address: Some(format!("{}/24", address(i)).parse().unwrap()),
        as_number: Some(asn(i)),
        blocks: vec![block(i)],
        ..Node::named(NAMES[i])
    };
    let peer = |of: usize, to: usize| {
        let name = format!("{}-{}", NAMES[of], NAMES[to]);
        let mut peer = Peer::new(name, address(to).parse().unwrap(), asn(to));
        peer.scope = PeerScope::Node(NAMES[of].to_owned());
        peer.routes.import = PolicyKind::AcceptAll;
        peer.routes.export = PolicyKind::AcceptAll;
        peer
    };
    let mut intent = Intent {
        nodes: (0..3).map(node).collect(),
        peers: vec![peer(0, 1), peer(1, 0), peer(1, 2), peer(2, 1)],
        ..Intent::default()
    };
    intent.bgp.node_to_node_mesh_enabled = false;
    intent.bgp.session.hold_time = Some(30);
    intent
}

pub(crate) fn start(intent: &Intent) -> World {
    start_with(intent, false)
}

fn start_with(intent: &Intent, kernel: bool) -> World {
    let mut world = World::new(7);
    for (i, node) in (0..).zip(&intent.nodes) {
        world.boot(plan(intent, &node.name).unwrap(), i, kernel);
    }
    world.until(secs(20), World::all_up).unwrap();
    world.run(secs(5));
    world
}

/// Gives `b` the plan of this intent; how many UPDATEs `c` got of it, and `a` sent for it.
fn replan(world: &mut World, intent: &Intent) -> (u64, u64) {
    let count = |world: &World| (updates(world, "b", "c"), updates(world, "a", "b"));
    let before = count(world);
    let ups = NAMES.map(|name| world.ups(name));
    world.replan("b", plan(intent, "b").unwrap());
    world.run(secs(2));
    assert_eq!(NAMES.map(|name| world.ups(name)), ups, "a session bounced");
    assert!(!world.messages.contains_key("route-refresh"));
    let after = count(world);
    (after.0 - before.0, after.1 - before.1)
}

fn updates(world: &World, from: &str, to: &str) -> u64 {
    let way = (from.to_owned(), to.to_owned());
    world.updates.get(&way).copied().unwrap_or(0)
}

fn on(prefix: Prefix, action: Action) -> Rule {
    let prefix = Some(PrefixMatch {
        cidr: prefix,
        operator: MatchOperator::Equal,
        lengths: None,
    });
    Rule {
        prefix,
        ..Rule::every(action)
    }
}

fn import(rules: Vec<Rule>) -> Arc<Filter> {
    Arc::new(Filter {
        name: "in".to_owned(),
        import: [rules, Vec::new()],
        export: Default::default(),
    })
}

fn export(rules: Vec<Rule>) -> Arc<Filter> {
    Arc::new(Filter {
        name: "out".to_owned(),
        import: Default::default(),
        export: [rules, Vec::new()],
    })
}

/// Attaches filters to a peer in place of those that it had.
fn attach(intent: &mut Intent, peer: usize, filters: Vec<Arc<Filter>>) {
    intent.peers[peer].filters = filters.iter().map(|filter| filter.name.clone()).collect();
    let named = filters
        .into_iter()
        .map(|filter| (filter.name.clone(), filter));
    intent.filters.extend(named);
}

fn best(world: &World, name: &str, prefix: Prefix) -> Option<PathAttributes> {
    let rib = world.node(name).speaker().rib();
    let best = *rib.lookup(prefix)?.best()?;
    Some(rib.path_attributes(&best)?.decode())
}

fn communities(world: &World, name: &str, prefix: Prefix) -> Vec<Community> {
    let found = best(world, name, prefix).unwrap();
    let standard = found.communities.into_iter().map(Community::Standard);
    let large = found.large_communities.into_iter();
    let large = large.map(|one| Community::Large([one.global, one.local1, one.local2]));
    standard.chain(large).collect()
}

pub(crate) fn has(world: &World, name: &str) -> Vec<Prefix> {
    world.table(name).into_keys().collect()
}

#[test]
fn an_import_filter_is_applied_to_what_is_there_and_taken_back_without_asking_the_peer() {
    let mut intent = row();
    let mut world = start(&intent);
    let plain = best(&world, "b", block(0)).unwrap();
    let operations = vec![
        Operation::AddCommunity(community("65000:7")),
        Operation::AddCommunity(community("1:2:3")),
        Operation::PrependAsPath(vec![Asn(7), Asn(8)]),
        Operation::SetPriority(NonZeroU32::new(512).unwrap()),
    ];
    attach(
        &mut intent,
        B_A,
        vec![import(vec![Rule::every(Action::Accept(operations))])],
    );
    assert_eq!(replan(&mut world, &intent), (1, 0));
    let changed = best(&world, "b", block(0)).unwrap();
    assert_eq!(changed.as_path.to_string(), "7 8 65001");
    assert_eq!(changed.local_pref, Some(2_147_483_135));
    let both = [community("65000:7"), community("1:2:3")];
    assert_eq!(communities(&world, "b", block(0)), both);
    assert_eq!(communities(&world, "c", block(0)), both);
    // Other words with the same effect: nobody hears of it.
    let operations = match &intent.filters["in"].import[0][0].action {
        Action::Accept(operations) => operations.clone(),
        Action::Reject => unreachable!(),
    };
    let same = on(block(0), Action::Accept(operations));
    attach(&mut intent, B_A, vec![import(vec![same])]);
    assert_eq!(replan(&mut world, &intent), (0, 0));
    attach(
        &mut intent,
        B_A,
        vec![import(vec![Rule::every(Action::Reject)])],
    );
    assert_eq!(replan(&mut world, &intent), (1, 0));
    assert_eq!(has(&world, "b"), [block(1), block(2)]);
    assert_eq!(has(&world, "c"), [block(1), block(2)]);
    attach(&mut intent, B_A, vec![]);
    assert_eq!(replan(&mut world, &intent), (1, 0));
    assert_eq!(best(&world, "b", block(0)).unwrap(), plain);
    // What comes later is judged by the filter, too, and the bytes are known already.
    attach(
        &mut intent,
        B_A,
        vec![import(vec![Rule::every(Action::Reject)])],
    );
    intent.nodes[0].blocks.push("20.0.1.0/24".parse().unwrap());
    world.replan("a", plan(&intent, "a").unwrap());
    assert_eq!(replan(&mut world, &intent), (1, 1));
    assert_eq!(has(&world, "b"), [block(1), block(2)]);
}

#[test]
fn an_export_filter_changes_what_it_is_about_and_nothing_else_is_said() {
    let mut intent = row();
    intent.nodes[1].blocks.push("20.1.1.0/24".parse().unwrap());
    let mut world = start(&intent);
    let add = |text: &str| vec![Operation::AddCommunity(community(text))];
    // One prefix of two with equal attributes: the other one is not said again.
    attach(
        &mut intent,
        B_C,
        vec![export(vec![on(block(1), Action::Accept(add("65002:1")))])],
    );
    assert_eq!(replan(&mut world, &intent), (1, 0));
    assert_eq!(communities(&world, "c", block(1)), [community("65002:1")]);
    let other: Prefix = "20.1.1.0/24".parse().unwrap();
    assert_eq!(communities(&world, "c", other), []);
    // The same again, another rule that says the same, a rule that is about nothing here.
    assert_eq!(replan(&mut world, &intent), (0, 0));
    let ibgp = Rule {
        peer_type: Some(PeerType::Ibgp),
        ..Rule::every(Action::Reject)
    };
    let from_peers = Rule {
        from_peers: true,
        ..Rule::every(Action::Accept(vec![]))
    };
    // On the way out our own AS is in front, for whoever says so.
    let own = Rule {
        as_path_prefix: vec![Asn(65_002)],
        ..on(block(1), Action::Accept(add("65002:1")))
    };
    attach(
        &mut intent,
        B_C,
        vec![export(vec![ibgp, from_peers.clone(), own])],
    );
    assert_eq!(replan(&mut world, &intent), (0, 0));
    // Prepended numbers come behind our own, in their order.
    let path = vec![Operation::PrependAsPath(vec![Asn(65_010), Asn(65_011)])];
    attach(
        &mut intent,
        B_C,
        vec![export(vec![from_peers, Rule::every(Action::Accept(path))])],
    );
    assert_eq!(replan(&mut world, &intent), (1, 0));
    let path = |world: &World, prefix| best(world, "c", prefix).unwrap().as_path.to_string();
    assert_eq!(path(&world, block(1)), "65002 65010 65011");
    assert_eq!(path(&world, block(0)), "65002 65001");
    // One goes and one stays.
    let from_a = Rule {
        as_path_prefix: vec![Asn(65_001)],
        ..Rule::every(Action::Reject)
    };
    attach(&mut intent, B_C, vec![export(vec![from_a])]);
    assert_eq!(replan(&mut world, &intent), (2, 0), "a withdrawal, a route");
    assert_eq!(has(&world, "c").len(), 3);
    attach(&mut intent, B_C, vec![]);
    assert_eq!(replan(&mut world, &intent), (1, 0));
    assert_eq!(path(&world, block(0)), "65002 65001");
}

#[test]
fn a_filter_of_the_mesh_holds_on_every_session_of_it() {
    let mut intent = cluster(3);
    let kept: Prefix = "10.244.1.64/26".parse().unwrap();
    let outside: Prefix = "192.0.2.0/24".parse().unwrap();
    // In no record: one that the records give to a node is taken.
    let planned = |intent: &Intent, node: &str| {
        let mut plan = plan(intent, node).unwrap();
        if node == "n2" {
            plan.originate.push(outside);
        }
        plan
    };
    let mut world = start(&intent);
    world.replan("n2", planned(&intent, "n2"));
    world.run(secs(2));
    assert!(has(&world, "n2").contains(&outside));
    assert!(!has(&world, "n1").contains(&outside), "outside every pool");
    let both = Arc::new(Filter {
        name: "mesh".to_owned(),
        import: [vec![on(outside, Action::Accept(vec![]))], vec![]],
        export: [vec![on(kept, Action::Reject)], vec![]],
    });
    intent.bgp.node_mesh_filters = vec!["mesh".to_owned()];
    intent.filters.insert("mesh".to_owned(), both);
    for node in ["n1", "n2", "n3"] {
        world.replan(node, planned(&intent, node));
    }
    world.run(secs(2));
    for node in ["n2", "n3"] {
        assert!(!has(&world, node).contains(&kept), "{node}");
        assert_eq!(has(&world, node).len(), 12, "{node}");
    }
    assert!(has(&world, "n1").contains(&kept));
    assert!(
        has(&world, "n1").contains(&outside),
        "a filter lifts the default"
    );
}

#[test]
fn pools_that_are_not_exported_stay_and_advertised_communities_go_out() {
    let mut world = start(&cluster(2));
    let mut changed = plan(&cluster(2), "n1").unwrap();
    changed.unexported = vec!["10.244.1.0/26".parse().unwrap()];
    let advertisement = |cidr: &str, text| PrefixAdvertisement {
        cidr: cidr.parse().unwrap(),
        communities: vec![community(text)],
    };
    changed.advertisements = vec![
        advertisement("10.244.0.0/16", "64512:1"),
        advertisement("10.244.1.64/26", "64512:2:3"),
    ];
    let before = updates(&world, "n1", "n2");
    world.replan("n1", changed);
    world.run(secs(2));
    let table = has(&world, "n2");
    assert!(!table.contains(&"10.244.1.0/26".parse().unwrap()));
    let marked = "10.244.1.64/26".parse().unwrap();
    let both = [community("64512:1"), community("64512:2:3")];
    assert_eq!(communities(&world, "n2", marked), both);
    assert_eq!(updates(&world, "n1", "n2") - before, 2);
    world.replan("n1", plan(&cluster(2), "n1").unwrap());
    world.run(secs(2));
    assert_eq!(communities(&world, "n2", marked), []);
    assert_eq!(has(&world, "n2").len(), 8);
}

#[test]
fn own_as_numbers_are_allowed_as_often_as_the_plan_says() {
    let mut intent = row();
    // The ends are in one AS, so that each sees its own in the other's path.
    intent.nodes[2].as_number = Some(Asn(65_001));
    intent.peers[B_C].as_number = Some(Asn(65_001));
    let mut world = start(&intent);
    assert_eq!(has(&world, "c"), [block(1), block(2)]);
    let from_b = updates(&world, "b", "c");
    for (allowed, seen) in [(1, true), (0, false), (2, true)] {
        intent.peers[3].routes.allowed_local_as = allowed;
        world.replan("c", plan(&intent, "c").unwrap());
        world.run(secs(1));
        assert_eq!(has(&world, "c").contains(&block(0)), seen, "{allowed}");
    }
    assert_eq!(updates(&world, "b", "c"), from_b, "nobody was asked");
    // A filter does not lift what is a loop.
    intent.peers[3].routes.allowed_local_as = 0;
    attach(
        &mut intent,
        3,
        vec![import(vec![Rule::every(Action::Accept(vec![]))])],
    );
    world.replan("c", plan(&intent, "c").unwrap());
    assert!(!has(&world, "c").contains(&block(0)));
}

#[test]
fn a_next_hop_is_kept_on_request_across_an_as() {
    let mut intent = row();
    // Not a neighbour of the others, so that nothing is third-party.
    let far = "10.9.0.2/24".parse().unwrap();
    intent.nodes[1].ipv4_address = Some(far);
    for peer in [0, 3] {
        let end = dunlin::topology::PeerAddress {
            address: "10.9.0.2".parse().unwrap(),
            port: None,
        };
        intent.peers[peer].far_end = dunlin::topology::FarEnd::Address(end);
    }
    let mut world = start(&intent);
    let hop = |world: &World| {
        best(world, "c", block(0))
            .unwrap()
            .next_hop
            .unwrap()
            .address
    };
    assert_eq!(hop(&world).to_string(), "10.9.0.2");
    for (mode, expected) in [
        (NextHopMode::Keep, "10.0.0.1"),
        (NextHopMode::Own, "10.9.0.2"),
    ] {
        intent.peers[B_C].routes.next_hop = mode;
        assert_eq!(replan(&mut world, &intent), (1, 0), "{mode:?}");
        assert_eq!(hop(&world).to_string(), expected, "{mode:?}");
    }
}

#[test]
fn a_peer_in_maintenance_is_told_so_and_becomes_the_last_choice() {
    let mut intent = row();
    let mut world = start(&intent);
    intent.peers[B_C].routes.graceful_shutdown = true;
    replan(&mut world, &intent);
    for prefix in [block(0), block(1)] {
        assert_eq!(
            communities(&world, "c", prefix),
            [community("graceful-shutdown")]
        );
        assert_eq!(best(&world, "c", prefix).unwrap().local_pref, Some(0));
    }
    assert_eq!(best(&world, "b", block(2)).unwrap().local_pref, Some(0));
    assert_eq!(best(&world, "b", block(0)).unwrap().local_pref, None);
    intent.peers[B_C].routes.graceful_shutdown = false;
    replan(&mut world, &intent);
    assert_eq!(communities(&world, "c", block(0)), []);
    assert_eq!(best(&world, "b", block(2)).unwrap().local_pref, None);
}

#[test]
fn a_node_that_drains_says_so_to_all_and_takes_it_back() {
    let mut world = start(&cluster(3));
    let own: Prefix = "10.244.1.0/26".parse().unwrap();
    let preference =
        |world: &World| ["n2", "n3"].map(|node| best(world, node, own).unwrap().local_pref);
    assert_eq!(preference(&world), [Some(100); 2]);
    for (draining, expected) in [(true, Some(0)), (false, Some(100))] {
        let before = updates(&world, "n1", "n2");
        for _ in 0..2 {
            world.with_node("n1", |node, _| node.speaker_mut().set_draining(draining));
            world.run(secs(1));
        }
        assert_eq!(preference(&world), [expected; 2]);
        // One a family.
        assert_eq!(updates(&world, "n1", "n2") - before, 2);
    }
}

#[test]
fn it_is_said_which_rule_or_default_decided() {
    let mut intent = row();
    attach(
        &mut intent,
        B_A,
        vec![import(vec![
            on(block(7), Action::Reject),
            on(block(0), Action::Reject),
        ])],
    );
    attach(
        &mut intent,
        B_C,
        vec![export(vec![on(block(1), Action::Reject)])],
    );
    let mut world = start(&intent);
    let mut route = |prefix| {
        world.with_node("b", |node, _| {
            let speaker = node.speaker_mut();
            (speaker.route(prefix), speaker.exports(prefix))
        })
    };
    let rejects = "filter \"in\", rule 2 of import-v4, rejects it";
    let (status, exports) = route(block(0));
    let path = &status.unwrap().paths[0];
    assert_eq!(path.policy.as_deref(), Some(rejects));
    assert_eq!(path.policy_code, Some("filter"));
    assert_eq!(path.reason_code, Some("not_accepted"));
    assert_eq!(path.reason, Some(format!("not accepted: {rejects}")));
    assert_eq!(exports, []);
    let (status, exports) = route(block(1));
    assert_eq!(status.unwrap().paths[0].policy, None);
    let said: Vec<_> = exports
        .iter()
        .map(|one| (one.peer.as_str(), one.sent, one.why.as_str()))
        .collect();
    assert_eq!(
        said,
        [
            ("b-a", true, "export = \"accept-all\""),
            (
                "b-c",
                false,
                "filter \"out\", rule 1 of export-v4, rejects it"
            ),
        ]
    );
    let (status, _) = route(block(2));
    let path = &status.unwrap().paths[0];
    assert_eq!(path.policy.as_deref(), Some("import = \"accept-all\""));
}

#[test]
fn a_route_inside_an_own_block_goes_out_only_while_the_block_is_not_ours() {
    let mut intent = row();
    let pod: Prefix = "20.9.0.7/32".parse().unwrap();
    let block: Prefix = "20.9.0.0/24".parse().unwrap();
    intent.nodes[0].blocks.push(pod);
    intent.peers[B_C].routes.export = PolicyKind::Safe;
    // To a peer in our own AS all that came from outside goes, by default.
    intent.nodes[2].as_number = Some(Asn(65_002));
    intent.peers[B_C].as_number = Some(Asn(65_002));
    let mut world = start(&intent);
    assert!(has(&world, "c").contains(&pod));
    intent.nodes[1].blocks.push(block);
    assert_eq!(replan(&mut world, &intent), (2, 0), "one gone, one new");
    assert!(!has(&world, "c").contains(&pod));
    assert!(has(&world, "b").contains(&pod), "import is accept-all");
    intent.nodes[1].blocks.pop();
    assert_eq!(replan(&mut world, &intent), (2, 0));
    assert!(has(&world, "c").contains(&pod));
}

#[test]
fn a_rule_for_an_interface_matches_by_the_link_that_the_next_hop_is_reached_by() {
    let by = |interface: &str| Rule {
        interface: Some(interface.to_owned()),
        ..Rule::every(Action::Reject)
    };
    let mut intent = row();
    // From the start: a route comes in before anybody knows how its next hop is reached.
    attach(&mut intent, B_A, vec![import(vec![by("eth*")])]);
    let mut world = start_with(&intent, true);
    assert_eq!(has(&world, "c"), [block(1), block(2)]);
    attach(&mut intent, B_A, vec![import(vec![by("tunl0")])]);
    assert_eq!(replan(&mut world, &intent), (1, 0));
    assert_eq!(has(&world, "c"), [block(0), block(1), block(2)]);
    // What b has itself leaves by no link at all.
    attach(&mut intent, B_C, vec![export(vec![by("*")])]);
    assert_eq!(replan(&mut world, &intent), (1, 0));
    assert_eq!(has(&world, "c"), [block(1), block(2)]);
    attach(&mut intent, B_C, vec![export(vec![by("eth1")])]);
    assert_eq!(replan(&mut world, &intent), (1, 0));
    assert_eq!(has(&world, "c"), [block(0), block(1), block(2)]);
}
