//! Routes of ours inside the host's own subnets: which are made, and which would take addresses away.

use super::*;

/// A node at 192.168.40.11/24 and fd00:40::11/64 on eth0, a gateway at .254, and a bridge.
fn lan() -> World {
    let mut world = World::new();
    let mut address = |interface, text: &str, len: u8| {
        let address = text.parse().unwrap();
        let own = Address {
            interface,
            address,
            len,
        };
        world.kernel.foreign_address(own, true);
        let direct = Hop {
            via: None,
            interface: Some(interface),
            onlink: false,
            weight: 1,
        };
        let subnet = Prefix::new(address, len);
        let metric = if address.is_ipv4() { 0 } else { 256 };
        let connected = KernelRoute {
            metric,
            ..route(subnet, 2, Shape::unicast([direct]))
        };
        world.kernel.foreign_write(connected, false);
    };
    address(2, "192.168.40.11", 24);
    address(2, "fd00:40::11", 64);
    address(3, "172.20.0.1", 16);
    // A service's address, and one that is a subnet to nobody.
    address(3, "172.20.9.9", 32);
    for gateway in ["192.168.40.254", "fd00:40::fe"] {
        let gateway: IpAddr = gateway.parse().unwrap();
        let hop = Hop::new(gateway, 2);
        let by_dhcp = KernelRoute {
            metric: 100,
            ..route(Prefix::new(gateway, 0), 3, Shape::unicast([hop]))
        };
        world.kernel.foreign_write(by_dhcp, false);
    }
    let nodes = [
        "192.168.40.11",
        "192.168.40.12",
        "192.168.41.13",
        "fd00:40::12",
    ];
    world
        .plane
        .set_nodes(nodes.iter().map(|node| node.parse().unwrap()));
    world
}

fn ours(world: &World, prefix: &str) -> bool {
    let prefix: Prefix = prefix.parse().unwrap();
    let mut here = world.kernel.routes.range((prefix, 0)..=(prefix, u32::MAX));
    here.any(|(_, route)| route.protocol == 179)
}

#[test]
fn what_would_take_addresses_away_from_a_link_is_not_made() {
    for (text, path, expected) in cases() {
        let mut world = lan();
        let prefix: Prefix = text.parse().unwrap();
        world.plane.want(prefix, path.clone());
        world.settle();
        let state = world.plane.state(prefix);
        let right = expected.map_or(RouteState::Installed, RouteState::Covers);
        assert_eq!(state, Some(right), "{text} {path:?}");
        assert_eq!(ours(&world, text), expected.is_none(), "{text} {path:?}");
        let problems = world.plane.problems(world.now);
        let quiet = matches!(expected, None | Some(Covered::Subnet));
        assert_eq!(problems.is_empty(), quiet, "{text}: {problems:?}");
    }
}

/// Routes, and what they would take away.
fn cases() -> Vec<(&'static str, Forwarding, Option<Covered>)> {
    let own = || Forwarding::Blackhole;
    let learned = || via(&["192.168.40.77"]);
    let learned6 = || via(&["fd00:40::77"]);
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    let host = |text| Some(Covered::Own(address(text)));
    let node = |text| Some(Covered::Node(address(text)));
    let gateway = |text| Some(Covered::Gateway(address(text)));
    vec![
        // Blocks in the LAN: with this host's address, a node's, the gateway, or nobody's.
        ("192.168.40.0/26", own(), host("192.168.40.11")),
        ("192.168.40.0/26", learned(), host("192.168.40.11")),
        ("192.168.40.12/30", own(), node("192.168.40.12")),
        ("192.168.40.12/32", learned(), Some(Covered::Subnet)),
        ("192.168.40.240/28", learned(), gateway("192.168.40.254")),
        ("192.168.40.64/26", learned(), None),
        ("192.168.40.128/26", own(), None),
        ("192.168.40.128/26", learned(), None),
        ("192.168.40.201/32", learned(), None),
        ("fd00:40::/80", own(), host("fd00:40::11")),
        ("fd00:40::12/128", learned6(), Some(Covered::Subnet)),
        ("fd00:40::70/124", learned6(), None),
        ("fd00:40:0:0:1::/80", own(), None),
        ("fd00:40:0:0:1::/80", learned6(), None),
        // A bridge's subnet, and a part of it.
        ("172.20.0.0/16", own(), None),
        ("172.20.0.0/24", own(), host("172.20.0.1")),
        ("172.20.5.0/24", own(), None),
        ("172.20.5.4/32", learned(), None),
        // Our own address alone: the local table has it anyway.
        ("192.168.40.11/32", learned(), None),
        // Another node's address behind a gateway: dropping is harm, another way is none.
        ("192.168.41.0/24", own(), node("192.168.41.13")),
        ("192.168.41.0/24", learned(), None),
        ("192.168.41.13/32", learned(), None),
        // Just the LAN, and wider: the link's own route is preferred, or longer.
        ("192.168.40.0/24", learned(), Some(Covered::Subnet)),
        ("192.168.40.0/23", learned(), None),
        ("fd00:40::/64", learned6(), None),
        ("0.0.0.0/0", learned(), None),
        ("::/0", learned6(), None),
    ]
}

#[test]
fn a_lan_of_a_high_metric_keeps_its_own_route() {
    // NetworkManager gives the routes of its links metrics of their own.
    let mut world = lan();
    let lan: Prefix = "192.168.40.0/24".parse().unwrap();
    let by_kernel = world.kernel.routes.remove(&(lan, 0)).unwrap();
    world.kernel.tell(Change::RouteGone(by_kernel.clone()));
    let by_manager = KernelRoute {
        metric: 100,
        ..by_kernel
    };
    world.kernel.foreign_write(by_manager, false);
    world.plane.want(lan, via(&["192.168.40.77"]));
    world.settle();
    assert!(!ours(&world, "192.168.40.0/24"));
    assert_eq!(world.plane.problems(world.now), []);
}

#[test]
fn an_address_that_comes_later_takes_the_route_away_and_its_end_brings_it_back() {
    for path in [Forwarding::Blackhole, via(&["10.9.0.2"])] {
        let mut world = World::new();
        world.plane.converged();
        let prefix = block(0);
        world.plane.want(prefix, path);
        world.settle();
        assert_eq!(world.plane.state(prefix), Some(RouteState::Installed));
        let reports = |world: &mut World| {
            let reports = core::iter::from_fn(|| world.plane.poll_report());
            let told = |report: &Report| {
                matches!(report, Report::Covers { .. } | Report::Recovered { .. })
            };
            reports.filter(told).count()
        };
        assert_eq!(reports(&mut world), 0);
        let keep = Address {
            interface: 2,
            address: [10, 9, 0, 1].into(),
            len: 24,
        };
        world.kernel.foreign_address(keep, true);
        world.act(&Act::Address(true));
        world.settle();
        assert_eq!(world.plane.problems(world.now).len(), 1);
        assert!(!ours(&world, "10.244.0.0/24"));
        world.act(&Act::Address(false));
        world.settle();
        assert_eq!(world.plane.state(prefix), Some(RouteState::Installed));
        assert_eq!(world.plane.problems(world.now), []);
        assert_eq!(reports(&mut world), 2, "once each");
    }
}

#[test]
fn a_node_that_is_heard_of_later_is_spared() {
    let mut world = lan();
    let prefix: Prefix = "192.168.40.128/26".parse().unwrap();
    world.plane.want(prefix, Forwarding::Blackhole);
    world.settle();
    assert!(ours(&world, "192.168.40.128/26"));
    world
        .plane
        .set_nodes(["192.168.40.130".parse().unwrap()].into_iter());
    world.settle();
    assert!(!ours(&world, "192.168.40.128/26"));
    world.plane.set_nodes(core::iter::empty());
    world.settle();
    assert!(ours(&world, "192.168.40.128/26"));
}

#[test]
fn a_route_that_is_not_made_is_no_way_to_a_next_hop() {
    let mut world = lan();
    let covering = "192.168.40.0/26".parse().unwrap();
    world.plane.want(covering, via(&["192.168.40.77"]));
    let block: Prefix = "10.250.0.0/24".parse().unwrap();
    world.plane.want(block, via(&["192.168.40.12"]));
    world.settle();
    let hop = Hop::new("192.168.40.12".parse().unwrap(), 2);
    assert_eq!(
        world.plane.installed(block).map(|s| &*s.hops),
        Some(&[hop][..])
    );
}
