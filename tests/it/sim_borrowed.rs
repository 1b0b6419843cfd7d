//! Single addresses inside a node's block that another node has: by the records, by the other node's own
//! word, in a mesh, with reflectors, and with the lender as the reflector.

use std::net::IpAddr;

use dunlin::dataplane::RouteState;
use dunlin::forwarding::Way;
use dunlin::net::{Asn, Prefix};
use dunlin::policy::{Action, Filter, MatchOperator, PrefixMatch, Rule};
use dunlin::time::Duration;
use dunlin::topology::{FarEnd, Intent, Node, Peer, PeerScope, Plan, PoolMode, Selector, plan};

use crate::sim_mesh::cluster;
use crate::sim_world::World;

const SEEDS: std::ops::Range<u64> = 0..3;
/// Of the first node's block, and in the records of no test.
const MOVED: &str = "10.244.1.9/32";

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

/// Addresses of the first node's blocks.
fn borrowed() -> [Prefix; 3] {
    ["10.244.1.5/32", "10.244.1.70/32", "fd00:244:1::5/128"].map(prefix)
}

/// The second node has addresses of the first one's blocks.
fn lending(mut intent: Intent) -> Intent {
    intent.nodes[1].blocks.extend(borrowed());
    intent
}

/// All sessions are with the node of this number.
fn reflected(mut intent: Intent, reflector: usize) -> Intent {
    intent.bgp.node_to_node_mesh_enabled = false;
    let node = &mut intent.nodes[reflector];
    node.route_reflector_cluster_id = Some("244.0.0.1".parse().unwrap());
    node.labels.insert("reflector".into(), "yes".into());
    let anybody = "10.0.0.1".parse().unwrap();
    intent.peers = vec![Peer {
        scope: PeerScope::All,
        far_end: FarEnd::Nodes(Selector::parse("reflector == 'yes'").unwrap()),
        as_number: None,
        ..Peer::new("to-rr", anybody, intent.bgp.as_number)
    }];
    intent
}

/// Three nodes in a mesh; three with a fourth as their reflector; three of which the lender, or the
/// borrower, reflects.
fn topologies() -> Vec<(&'static str, Intent)> {
    vec![
        ("mesh", cluster(3)),
        ("reflector", reflected(cluster(4), 3)),
        ("the lender reflects", reflected(cluster(3), 0)),
        ("the borrower reflects", reflected(cluster(3), 1)),
    ]
}

fn start(plans: Vec<Plan>, seed: u64, kernel: bool) -> World {
    let mut world = World::new(seed);
    for (i, plan) in (0..).zip(plans) {
        world.boot(plan, seed + i * 7, kernel);
    }
    world.until(secs(20), World::all_up).unwrap();
    world.run(secs(5));
    world
}

fn plans(intent: &Intent) -> Vec<Plan> {
    let nodes = intent.nodes.iter();
    nodes
        .map(|node| plan(intent, &node.name).unwrap())
        .collect()
}

/// Where the best path of a node leads.
fn next_hop(world: &World, name: &str, prefix: Prefix) -> Option<IpAddr> {
    let rib = world.node(name).speaker().rib();
    let best = *rib.lookup(prefix)?.best()?;
    let attributes = rib.path_attributes(&best)?.decode();
    attributes.next_hop.map(|hop| hop.address)
}

fn in_kernel(world: &World, name: &str, prefix: Prefix) -> Option<IpAddr> {
    let kernel = world.hosts[name].kernel.as_ref().unwrap();
    let mut routes = kernel.routes.iter();
    let (_, route) = routes.find(|((at, _), _)| *at == prefix)?;
    route.shape.hops.first()?.via
}

#[test]
fn an_address_on_record_is_its_borrowers_for_everybody_the_lender_included() {
    for (how, intent) in topologies() {
        for seed in SEEDS {
            let world = start(plans(&lending(intent.clone())), seed, false);
            for borrowed in borrowed() {
                let at = intent.nodes[1].address(borrowed.family());
                for name in ["n1", "n3"] {
                    let found = next_hop(&world, name, borrowed);
                    assert_eq!(found, at, "{how}: {borrowed} at {name}");
                }
            }
        }
    }
}

#[test]
fn the_lenders_kernel_has_it_and_nothing_else_moves_when_it_comes_and_goes() {
    for (how, mut intent) in topologies() {
        for node in &mut intent.nodes {
            node.ipv6_address = None;
            node.blocks.retain(|block| block.address().is_ipv4());
        }
        let mut lent = intent.clone();
        lent.nodes[1].blocks.extend(&borrowed()[..2]);
        let mut world = start(plans(&intent), 1, true);
        let log = |world: &mut World| {
            let kernel = world.hosts.get_mut("n1").unwrap().kernel.as_mut().unwrap();
            let log = std::mem::take(&mut kernel.log).into_iter();
            let mut words: Vec<_> = log.map(|(_, word, prefix)| (word, prefix)).collect();
            words.sort_unstable();
            words
        };
        let ups = |world: &World| ["n1", "n2", "n3"].map(|name| world.ups(name));
        let before = ups(&world);
        log(&mut world);
        // The borrower learns of it last: its word is not what the lender waits for.
        for (i, name) in ["n1", "n3", "n2", "n4"].iter().enumerate() {
            if let Ok(plan) = plan(&lent, name) {
                world.replan(name, plan);
                world.run(Duration::from_millis(300 * i as u64));
            }
        }
        world.run(secs(2));
        let at: IpAddr = "10.0.0.2".parse().unwrap();
        for borrowed in &borrowed()[..2] {
            for name in ["n1", "n3"] {
                assert_eq!(
                    in_kernel(&world, name, *borrowed),
                    Some(at),
                    "{how}: {name}"
                );
            }
            assert_eq!(
                in_kernel(&world, "n2", *borrowed),
                None,
                "its pod's route is"
            );
        }
        let ours = |word| {
            borrowed()[..2]
                .iter()
                .map(|one| (word, *one))
                .collect::<Vec<_>>()
        };
        assert_eq!(log(&mut world), ours("add"), "{how}");
        // The records may go first, and the announcement may.
        for name in ["n1", "n2", "n3", "n4"] {
            if let Ok(plan) = plan(&intent, name) {
                world.replan(name, plan);
                world.run(Duration::from_millis(300));
            }
        }
        world.run(secs(2));
        assert_eq!(log(&mut world), ours("delete"), "{how}");
        assert_eq!(ups(&world), before, "{how}: sessions stay");
    }
}

#[test]
fn a_pod_that_has_moved_is_followed_by_the_word_of_its_node() {
    for (how, intent) in topologies() {
        for seed in SEEDS {
            let mut plans = plans(&intent);
            plans[1].originate.push(prefix(MOVED));
            plans[1].originate.sort_unstable();
            let mut world = start(plans, seed, false);
            for name in ["n1", "n3"] {
                let found = next_hop(&world, name, prefix(MOVED));
                assert_eq!(found, "10.0.0.2".parse().ok(), "{how}: at {name}");
            }
            // It is over: the lender has its own again.
            world.replan("n2", plan(&intent, "n2").unwrap());
            world.run(secs(2));
            for name in ["n1", "n3"] {
                assert_eq!(next_hop(&world, name, prefix(MOVED)), None, "{how}");
            }
        }
    }
}

/// A router that is no node announces an address of the block, by eBGP or as an internal peer.
fn with_router(asn: u32, mesh: bool, lent: bool) -> World {
    let node = |i: u8, blocks: &[&str]| Node {
        ipv4_address: format!("10.0.0.{i}/24").parse().ok(),
        blocks: blocks.iter().map(|block| prefix(block)).collect(),
        ..Node::named(format!("n{i}"))
    };
    let mut intent = Intent {
        pools: cluster(1).pools,
        nodes: vec![node(1, &["10.244.1.0/26"]), node(2, &["10.244.2.0/26"])],
        ..Intent::default()
    };
    intent.bgp.node_to_node_mesh_enabled = mesh;
    if lent {
        intent.nodes[1].blocks.push(prefix(MOVED));
    }
    let mut router = Intent {
        nodes: vec![Node {
            as_number: Some(Asn(asn)),
            ..node(9, &[])
        }],
        ..Intent::default()
    };
    let peer = |of: &str, to: &str, asn| Peer {
        scope: PeerScope::Node(of.to_owned()),
        ..Peer::new("r", to.parse().unwrap(), Asn(asn))
    };
    intent.peers = vec![peer("n1", "10.0.0.9", asn)];
    router.peers = vec![peer("n9", "10.0.0.1", 64512)];
    let mut there = plan(&router, "n9").unwrap();
    there.originate = vec![prefix("10.244.1.8/31"), prefix(MOVED)];
    let [first, second] = ["n1", "n2"].map(|name| plan(&intent, name).unwrap());
    start(vec![first, second, there], 1, false)
}

#[test]
fn a_router_can_not_take_an_address_out_of_a_block() {
    let router = "10.0.0.9".parse().ok();
    let takes = |world: &World| next_hop(world, "n1", prefix(MOVED)) == router;
    for asn in [65_001, 64_512] {
        for mesh in [true, false] {
            let world = with_router(asn, mesh, false);
            assert!(!takes(&world), "AS {asn}, mesh {mesh}");
        }
    }
    // What the records give away may come by the fabric, if the fabric carries pods.
    assert!(takes(&with_router(65_001, false, true)));
    assert!(!takes(&with_router(65_001, true, true)));
    for (asn, mesh) in [(65_001, false), (64_512, false)] {
        let wider = next_hop(&with_router(asn, mesh, true), "n1", prefix("10.244.1.8/31"));
        assert_eq!(wider, None, "only single addresses");
    }
}

#[test]
fn a_filter_may_refuse_what_the_defaults_take() {
    let mut intent = lending(cluster(3));
    let no_hosts = Rule {
        prefix: Some(PrefixMatch {
            cidr: prefix("10.244.0.0/16"),
            operator: MatchOperator::In,
            lengths: Some((32, 32)),
        }),
        from_peers: false,
        interface: None,
        peer_type: None,
        community: None,
        as_path_prefix: Vec::new(),
        priority: None,
        action: Action::Reject,
    };
    let filter = Filter {
        name: "no-hosts".to_owned(),
        import: [vec![no_hosts], vec![]],
        export: Default::default(),
    };
    intent.bgp.node_mesh_filters = vec![filter.name.clone()];
    intent.filters.insert(filter.name.clone(), filter.into());
    let world = start(plans(&intent), 1, false);
    assert_eq!(next_hop(&world, "n1", borrowed()[0]), None);
    assert!(next_hop(&world, "n1", borrowed()[2]).is_some());
}

#[test]
fn a_pool_that_goes_leaves_its_blocks_and_lets_others_come() {
    let intent = lending(cluster(3));
    let mut after = intent.clone();
    after.pools[0].cidr = prefix("10.99.0.0/16");
    after.nodes[1].blocks.push(prefix("10.99.2.0/26"));
    for seed in SEEDS {
        let mut world = start(plans(&intent), seed, false);
        for plan in plans(&after) {
            let name = plan.name.clone();
            world.replan(&name, plan);
            world.run(Duration::from_millis(300));
            // What was there is there all the while.
            for (at, block) in [("n1", "10.244.2.0/26"), ("n3", "10.244.1.5/32")] {
                let found = next_hop(&world, at, prefix(block));
                assert_eq!(found, "10.0.0.2".parse().ok(), "{at}: {block} after {name}");
            }
        }
        world.run(secs(2));
        for name in ["n1", "n3"] {
            let found = next_hop(&world, name, prefix("10.99.2.0/26"));
            assert_eq!(found, "10.0.0.2".parse().ok());
        }
        // The record of it goes, and so does it.
        after.nodes[1]
            .blocks
            .retain(|block| *block != prefix("10.244.2.0/26"));
        for plan in plans(&after) {
            let name = plan.name.clone();
            world.replan(&name, plan);
        }
        world.run(secs(2));
        assert_eq!(next_hop(&world, "n1", prefix("10.244.2.0/26")), None);
        after.nodes[1].blocks.push(prefix("10.244.2.0/26"));
    }
}

#[test]
fn a_block_of_a_node_without_a_record_waits_for_the_record() {
    let block = prefix("10.244.3.0/26");
    for (ipip_mode, vxlan_mode) in [
        (PoolMode::Always, PoolMode::Never),
        (PoolMode::Never, PoolMode::Always),
    ] {
        let mut intent = reflected(cluster(4), 3);
        for node in &mut intent.nodes {
            node.ipv6_address = None;
            node.blocks.retain(|block| block.address().is_ipv4());
        }
        intent.pools[0].ipip_mode = ipip_mode;
        intent.pools[0].vxlan_mode = vxlan_mode;
        let mut late = intent.clone();
        late.nodes.remove(2);
        let mut plans = plans(&intent);
        plans[0] = plan(&late, "n1").unwrap();
        let mut world = start(plans, 1, true);
        let at = "10.0.0.3".parse().unwrap();
        assert_eq!(
            next_hop(&world, "n1", block),
            Some(at),
            "it is known by BGP"
        );
        let touched = |world: &World| {
            let kernel = world.hosts["n1"].kernel.as_ref().unwrap();
            kernel.log.iter().any(|(_, _, prefix)| *prefix == block)
        };
        assert!(!touched(&world), "nothing bare, not for a moment");
        assert_eq!(world.node("n1").choose(block, at).way, Way::Unreachable);
        let state = world.node("n1").dataplane().unwrap().state(block);
        assert_eq!(state, Some(RouteState::Unresolved), "and it is no secret");
        world.replan("n1", plan(&intent, "n1").unwrap());
        world.run(secs(2));
        let way = world.node("n1").choose(block, at).way;
        assert!(matches!(way, Way::Ipip(_) | Way::Vxlan(_)), "{way:?}");
    }
}
