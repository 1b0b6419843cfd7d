//! The table of next hops: every mode, same and other subnet, both families; and its laws.

use std::net::IpAddr;
use std::sync::Arc;

use dunlin::dataplane::Reach;
use dunlin::forwarding::{Choice, Chooser, IP6TNL, IPIP, Reason, VXLAN4, VXLAN6, Way};
use dunlin::net::{Family, Prefix};
use dunlin::topology::{Fabric, Intent, Node, Pool, PoolMode};
use proptest::prelude::*;

fn pool(cidr: &str, ipip_mode: PoolMode, vxlan_mode: PoolMode) -> Pool {
    Pool {
        name: cidr.to_owned(),
        cidr: cidr.parse().unwrap(),
        ipip_mode,
        vxlan_mode,
        nat_outgoing: false,
        disabled: false,
        disable_bgp_export: false,
    }
}

/// Nodes 1 and 2 are on one subnet, node 3 is on another; each has a block in both families.
fn cluster(ipip: PoolMode, vxlan: PoolMode) -> Intent {
    let node = |number: u8, subnet: u8| Node {
        ipv4_address: format!("172.31.{subnet}.{number}/24").parse().ok(),
        ipv6_address: format!("fd00:31:{subnet}::{number}/64").parse().ok(),
        blocks: vec![
            format!("10.244.{number}.0/26").parse().unwrap(),
            format!("fd00:10:244:{number}::/122").parse().unwrap(),
        ],
        ..Node::named(format!("node-{number}"))
    };
    Intent {
        pools: vec![
            pool("10.244.0.0/16", ipip, vxlan),
            pool("fd00:10:244::/48", ipip, vxlan),
        ],
        nodes: vec![node(1, 1), node(2, 1), node(3, 2)],
        ..Intent::default()
    }
}

fn chooser(intent: &Intent, me: &str) -> Chooser {
    Chooser::new(Arc::new(Fabric::new(intent)), me)
}

fn block(family: Family, node: u8) -> Prefix {
    match family {
        Family::Ipv4 => format!("10.244.{node}.0/26").parse().unwrap(),
        Family::Ipv6 => format!("fd00:10:244:{node}::/122").parse().unwrap(),
    }
}

fn address(family: Family, node: u8) -> IpAddr {
    let subnet = if node == 3 { 2 } else { 1 };
    match family {
        Family::Ipv4 => format!("172.31.{subnet}.{node}").parse().unwrap(),
        Family::Ipv6 => format!("fd00:31:{subnet}::{node}").parse().unwrap(),
    }
}

/// `via ADDRESS` or `via ADDRESS dev DEVICE`, as the first node sees node `to`.
fn shown(choice: &Choice) -> String {
    choice.way.next_hop().map_or_else(
        || "no way".to_owned(),
        |hop| match &hop.reach {
            Reach::Routed => format!("via {}", hop.address),
            Reach::Device(device) => format!("via {} dev {device}", hop.address),
            Reach::Onto(device) => format!("dev {device}"),
            Reach::Link(link) => format!("via {} link {link}", hop.address),
            Reach::Beside(other) => format!("via {} beside {other}", hop.address),
        },
    )
}

#[test]
fn every_cell_of_the_mode_table_holds_in_both_families() {
    use PoolMode::{Always, CrossSubnet, Never};
    for family in Family::ALL {
        let native = |node| format!("via {}", address(family, node));
        let (ipip, vxlan) = match family {
            Family::Ipv4 => (IPIP, VXLAN4),
            Family::Ipv6 => (IP6TNL, VXLAN6),
        };
        let in_ip = |node| format!("via {} dev {ipip}", address(family, node));
        let in_vxlan = |node| format!("via {} dev {vxlan}", block(family, node).address());
        let cells = [
            (Never, Never, native(2), native(3)),
            (Always, Never, in_ip(2), in_ip(3)),
            (CrossSubnet, Never, native(2), in_ip(3)),
            (Never, Always, in_vxlan(2), in_vxlan(3)),
            (Never, CrossSubnet, native(2), in_vxlan(3)),
        ];
        for (ipip, vxlan, same, other) in cells {
            let chooser = chooser(&cluster(ipip, vxlan), "node-1");
            let to = |node| shown(&chooser.choose(block(family, node), address(family, node)));
            assert_eq!(
                to(2),
                same,
                "{family} ipip {ipip:?} vxlan {vxlan:?}, same subnet"
            );
            assert_eq!(
                to(3),
                other,
                "{family} ipip {ipip:?} vxlan {vxlan:?}, other subnet"
            );
        }
    }
}

#[test]
fn a_prefix_outside_every_pool_is_native() {
    let chooser = chooser(&cluster(PoolMode::Always, PoolMode::Never), "node-1");
    let choice = chooser.choose("0.0.0.0/0".parse().unwrap(), address(Family::Ipv4, 3));
    assert_eq!(choice.reason, Reason::OutsidePools);
    assert_eq!(shown(&choice), "via 172.31.2.3");
    // Wider than the pool is not inside it.
    let wider = chooser.choose("10.244.0.0/15".parse().unwrap(), address(Family::Ipv4, 3));
    assert_eq!(wider.reason, Reason::OutsidePools);
}

#[test]
fn a_next_hop_that_is_no_node_is_not_a_far_end_unless_the_block_names_one() {
    let chooser = chooser(&cluster(PoolMode::Always, PoolMode::Never), "node-1");
    let router: IpAddr = "172.31.1.254".parse().unwrap();
    let known = chooser.choose(block(Family::Ipv4, 3), router);
    assert_eq!(shown(&known), "via 172.31.2.3 dev tunl0");
    let unknown = chooser.choose("10.244.200.0/26".parse().unwrap(), router);
    assert!(
        matches!(unknown.reason, Reason::NotANode { .. }),
        "{unknown:?}"
    );
    assert_eq!(unknown.way, Way::Unreachable, "never bare");
}

#[test]
fn a_packet_to_a_node_without_a_record_never_leaves_bare() {
    use PoolMode::{Always, CrossSubnet, Never};
    let modes = [
        (Always, Never),
        (CrossSubnet, Never),
        (Never, Always),
        (Never, CrossSubnet),
    ];
    for (ipip, vxlan) in modes {
        let whole = cluster(ipip, vxlan);
        let mut late = whole.clone();
        late.nodes.pop();
        for family in Family::ALL {
            let to = |intent: &Intent| {
                let chooser = chooser(intent, "node-1");
                chooser.choose(block(family, 3), address(family, 3)).way
            };
            assert_eq!(to(&late), Way::Unreachable, "{ipip:?} {vxlan:?}");
            assert!(matches!(to(&whole), Way::Ipip(_) | Way::Vxlan(_)));
        }
    }
    // Nothing is hidden from a pool that does not encapsulate.
    let mut bare = cluster(Never, Never);
    bare.nodes.pop();
    let choice = chooser(&bare, "node-1").choose(block(Family::Ipv4, 3), address(Family::Ipv4, 3));
    assert_eq!(shown(&choice), "via 172.31.2.3");
}

/// The third node's tunnel has this address on record.
fn with_end(ipip: PoolMode, vxlan: PoolMode, v4: &str, v6: &str) -> Intent {
    let mut intent = cluster(ipip, vxlan);
    let ends = &mut intent.nodes[2].tunnels;
    if vxlan == PoolMode::Never {
        (ends.ipip_v4, ends.ipip_v6) = (v4.parse().ok(), v6.parse().ok());
    } else {
        (ends.vxlan_v4, ends.vxlan_v6) = (v4.parse().ok(), v6.parse().ok());
    }
    intent
}

fn ends_of(intent: &Intent, me: &str) -> Vec<(String, String)> {
    let chooser = chooser(intent, me);
    let ends = chooser.ends().map(|(end, choice)| {
        assert_eq!(chooser.choose(end, "10.9.9.9".parse().unwrap()), choice);
        (end.to_string(), shown(&choice))
    });
    ends.collect()
}

#[test]
fn a_tunnel_address_on_record_is_routed_to_its_node_wherever_it_lies() {
    use PoolMode::{Always, CrossSubnet, Never};
    let place = |v4, v6| (v4, v6);
    let places = [
        // The first node's block, nobody's block, and outside every pool.
        place("10.244.1.7", "fd00:10:244:1::7"),
        place("10.244.77.0", "fd00:10:244:77::"),
        place("192.0.2.3", "2001:db8::3"),
    ];
    for (v4, v6) in places {
        let end = |text: &str, way: &str| {
            let host = Prefix::host(text.parse().unwrap()).to_string();
            (host, way.to_owned())
        };
        for mode in [Always, CrossSubnet] {
            let vxlan = with_end(Never, mode, v4, v6);
            let onto = vec![end(v4, "dev vxlan.calico"), end(v6, "dev vxlan-v6.calico")];
            let ipip = with_end(mode, Never, v4, v6);
            let through = vec![
                end(v4, "via 172.31.2.3 dev tunl0"),
                end(v6, "via fd00:31:2::3 dev tunl6"),
            ];
            for me in ["node-1", "node-2"] {
                assert_eq!(ends_of(&vxlan, me), onto, "{me}");
                assert_eq!(ends_of(&ipip, me), through, "{me}");
            }
            for intent in [&vxlan, &ipip] {
                assert_eq!(ends_of(intent, "node-3"), [], "its own are on its device");
            }
        }
    }
    // Inside its own block the block's route leads there; without an encapsulation nobody uses it.
    let inside = with_end(Never, Always, "10.244.3.9", "fd00:10:244:3::9");
    assert_eq!(ends_of(&inside, "node-1"), []);
    let mut bare = with_end(Never, Always, "192.0.2.3", "2001:db8::3");
    for pool in &mut bare.pools {
        pool.vxlan_mode = Never;
    }
    assert_eq!(ends_of(&bare, "node-1"), []);
}

#[test]
fn what_ipam_gives_away_is_no_tunnels_address() {
    use PoolMode::{Always, Never};
    let mut intent = cluster(Never, Always);
    let end = |intent: &Intent| {
        let chooser = chooser(intent, "node-3");
        let vtep = |family| {
            chooser
                .me()
                .vtep(family)
                .map(|vtep| vtep.address.to_string())
        };
        (Family::ALL.map(vtep), chooser.me().displaced.len())
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        end(&intent),
        ([some("10.244.3.0"), some("fd00:10:244:3::")], 0)
    );
    let given = ["10.244.3.0", "10.244.3.63", "fd00:10:244:3::"];
    intent.nodes[2].given = given.map(|text| text.parse().unwrap()).to_vec();
    assert_eq!(
        end(&intent),
        ([some("10.244.3.62"), some("fd00:10:244:3::3f")], 2)
    );
    // Its other end comes to the same.
    let other = chooser(&intent, "node-1");
    assert_eq!(
        shown(&other.choose(block(Family::Ipv4, 3), address(Family::Ipv4, 3))),
        "via 10.244.3.62 dev vxlan.calico"
    );
    // A full block: the next one, or none.
    intent.nodes[2].given = (0..64)
        .map(|i| format!("10.244.3.{i}").parse().unwrap())
        .collect();
    assert_eq!(end(&intent), ([None, some("fd00:10:244:3::")], 1));
    intent.nodes[2]
        .blocks
        .push("10.244.9.0/30".parse().unwrap());
    assert_eq!(
        end(&intent),
        ([some("10.244.9.0"), some("fd00:10:244:3::")], 1)
    );
    // What is on record is what it is.
    intent.nodes[2].tunnels.vxlan_v4 = "10.244.3.1".parse().ok();
    assert_eq!(end(&intent).0[0], some("10.244.3.1"));
}

#[test]
fn what_is_missing_for_a_tunnel_leaves_no_way_and_says_what() {
    let mut intent = cluster(PoolMode::Never, PoolMode::Always);
    intent.nodes[2].blocks.clear();
    let without_block = chooser(&intent, "node-1");
    let choice = without_block.choose(block(Family::Ipv4, 3), address(Family::Ipv4, 3));
    assert_eq!(choice.way, Way::Unreachable);
    assert!(matches!(choice.reason, Reason::NoVtep { .. }));
    intent.nodes[0].ipv4_address = None;
    let without_address = chooser(&intent, "node-1");
    let choice = without_address.choose(block(Family::Ipv4, 2), address(Family::Ipv4, 2));
    assert!(matches!(choice.reason, Reason::NoNodeAddress { ref node, .. } if node == "node-1"));
}

#[test]
fn the_datastore_alone_gives_the_same_ways_as_sessions_would() {
    let chooser = chooser(&cluster(PoolMode::Never, PoolMode::CrossSubnet), "node-1");
    let routes: Vec<_> = chooser.routes().collect();
    assert_eq!(routes.len(), 4, "two families of two other nodes");
    for (prefix, choice) in routes {
        let node = (2..=3)
            .find(|node| block(prefix.family(), *node) == prefix)
            .unwrap();
        assert_eq!(
            choice,
            chooser.choose(prefix, address(prefix.family(), node))
        );
    }
}

fn modes() -> impl Strategy<Value = (PoolMode, PoolMode)> {
    use PoolMode::{Always, CrossSubnet, Never};
    prop::sample::select(vec![
        (Never, Never),
        (Always, Never),
        (CrossSubnet, Never),
        (Never, Always),
        (Never, CrossSubnet),
    ])
}

prop_compose! {
    /// Nodes with any masks, some without a block or an address.
    fn any_cluster()(
        (ipip, vxlan) in modes(),
        nodes in prop::collection::vec((0_u8..4, 8_u8..=32, any::<bool>(), any::<bool>()), 2..6),
    ) -> Intent {
        let nodes = nodes.iter().zip(1_u8..).map(|(&(subnet, len, addressed, blocked), number)| Node {
            ipv4_address: addressed
                .then(|| format!("172.31.{subnet}.{number}/{len}").parse().unwrap()),
            blocks: blocked
                .then(|| format!("10.244.{number}.0/26").parse().unwrap())
                .into_iter()
                .collect(),
            ..Node::named(format!("node-{number}"))
        });
        Intent {
            pools: vec![pool("10.244.0.0/16", ipip, vxlan)],
            nodes: nodes.collect(),
            ..Intent::default()
        }
    }
}

proptest! {
    #[test]
    fn two_nodes_agree_on_whether_to_wrap(intent in any_cluster()) {
        for a in &intent.nodes {
            for b in intent.nodes.iter().filter(|b| b.name != a.name) {
                let (Some(to_b), Some(to_a)) = (b.address(Family::Ipv4), a.address(Family::Ipv4)) else {
                    continue;
                };
                let way = |me: &str, to: IpAddr, number: &str| {
                    let block = format!("10.244.{}.0/26", &number[5..]).parse().unwrap();
                    chooser(&intent, me).choose(block, to).way
                };
                let there = way(&a.name, to_b, &b.name);
                let back = way(&b.name, to_a, &a.name);
                let bare = |way: &Way| matches!(way, Way::Native(_));
                prop_assert_eq!(bare(&there), bare(&back), "{} {}", a.name, b.name);
            }
        }
    }

    #[test]
    fn every_device_that_a_choice_uses_is_asked_for_with_its_far_end(intent in any_cluster()) {
        for me in &intent.nodes {
            let chooser = chooser(&intent, &me.name);
            let tunnels = chooser.tunnels();
            for (_, choice) in chooser.routes() {
                let Some(hop) = choice.way.next_hop() else { continue };
                let Reach::Device(device) = &hop.reach else { continue };
                let tunnel = tunnels.iter().find(|tunnel| tunnel.name == *device);
                let tunnel = tunnel.expect("a device that nobody makes");
                let known = tunnel.far_ends.iter().any(|end| end.address == hop.address);
                prop_assert!(known || **device == *IPIP, "{hop} has no far end");
            }
        }
    }
}
