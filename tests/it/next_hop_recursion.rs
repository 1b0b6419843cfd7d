//! Next hops that our own routes lead to: what one session brings is ground for another's, and no circle.

use dunlin::dataplane::Change;
use dunlin::topology::{Node, Pool, PoolMode};

use crate::next_hop_rig::{Rig, ip, prefix, reach, reach_v4, unreach};
use crate::next_hops::{at, intent, peer, rows};

/// What one session brings leads to the next hops of another: both families, a host route or the default
/// one, and whatever comes first.
#[test]
fn a_next_hop_is_resolved_over_a_route_of_another_session() {
    let host = [("192.0.2.9/32", "10.0.0.9"), ("2001:db8::9/128", "fd00::9")];
    let default = [("0.0.0.0/0", "10.0.0.9"), ("::/0", "fd00::9")];
    let far = [
        ("203.0.113.0/24", "192.0.2.9"),
        ("2001:db8:f::/48", "2001:db8::9"),
    ];
    for (grounds, ground_first) in [
        (host, true),
        (host, false),
        (default, true),
        (default, false),
    ] {
        let peers = vec![
            peer("tor", at("10.0.0.9"), 65_001),
            peer("inside", at("10.0.0.7"), 65_000),
        ];
        let mut rig = Rig::new(&intent(peers), rows());
        let tor = rig
            .session(("10.0.0.9", 0), "10.0.0.1", 65_001, &[])
            .unwrap();
        let inside = rig
            .session(("10.0.0.7", 0), "10.0.0.1", 65_000, &[])
            .unwrap();
        let ground = |rig: &mut Rig| {
            for (route, hop) in grounds {
                rig.say(tor, &reach(&[hop], &[65_001], &[route]));
            }
        };
        if ground_first {
            ground(&mut rig);
        }
        for (route, hop) in far {
            rig.say(inside, &reach(&[hop], &[], &[route]));
            assert_eq!(rig.hops(route).is_some(), ground_first, "{route}");
        }
        if !ground_first {
            ground(&mut rig);
        }
        for ((route, _), (_, hop)) in far.into_iter().zip(grounds) {
            assert_eq!(rig.hops(route).unwrap(), [format!("{hop}@2")]);
        }
        // The ground goes, and what stood on it in the same turn; it comes back, and so does that.
        for (at, (route, _)) in grounds.into_iter().enumerate() {
            rig.say(tor, &unreach(&[route]));
            assert_eq!(rig.hops(far[at].0), None, "{route} is gone");
        }
        ground(&mut rig);
        for (route, _) in far {
            assert!(rig.hops(route).is_some());
        }
        // A route of somebody else that is longer goes before.
        let hop = dunlin::dataplane::Hop::new(ip("10.0.0.77"), 2);
        rig.change([crate::next_hop_rig::route("192.0.2.9/32", [hop])]);
        let other = rig.hops("203.0.113.0/24").unwrap();
        assert_eq!(other, ["10.0.0.77@2"], "as good, and with our own metric");
    }
}

/// Up to the depth that the kernel's own routes are followed to, and no deeper.
#[test]
fn routes_over_routes_have_a_depth_and_never_lead_to_themselves() {
    let peers = vec![peer("inside", at("10.0.0.7"), 65_000)];
    let mut rig = Rig::new(&intent(peers), rows());
    let inside = rig
        .session(("10.0.0.7", 0), "10.0.0.1", 65_000, &[])
        .unwrap();
    rig.say(inside, &reach_v4("10.0.0.7", &[], &["172.16.0.0/24"]));
    for n in 1..6 {
        let hop = format!("172.16.{}.1", n - 1);
        let route = format!("172.16.{n}.0/24");
        rig.say(inside, &reach_v4(&hop, &[], &[&route]));
        assert_eq!(rig.hops(&route).is_some(), n < 4, "{route}");
    }
    // To itself, in one step and in two.
    rig.say(inside, &reach_v4("192.0.2.1", &[], &["192.0.2.0/24"]));
    rig.say(inside, &reach_v4("198.51.100.1", &[], &["203.0.113.0/24"]));
    rig.say(inside, &reach_v4("203.0.113.1", &[], &["198.51.100.0/24"]));
    for route in ["192.0.2.0/24", "203.0.113.0/24", "198.51.100.0/24"] {
        assert_eq!(rig.hops(route), None, "{route}");
    }
    // With other ground under one of them all are well.
    rig.say(
        inside,
        &reach_v4("10.0.0.7", &[], &["192.0.2.1/32", "198.51.100.1/32"]),
    );
    for route in ["192.0.2.0/24", "203.0.113.0/24", "198.51.100.0/24"] {
        assert_eq!(rig.hops(route).unwrap(), ["10.0.0.7@2"], "{route}");
    }
    // A node that announces its own address, and a default route of others: it is reached by that.
    let hop = dunlin::dataplane::Hop::new(ip("10.0.0.254"), 2);
    rig.change([crate::next_hop_rig::route("0.0.0.0/0", [hop])]);
    rig.say(
        inside,
        &reach_v4("10.99.0.9", &[], &["10.99.0.9/32", "100.64.0.0/24"]),
    );
    for route in ["10.99.0.9/32", "100.64.0.0/24"] {
        assert_eq!(rig.hops(route).unwrap(), ["10.0.0.254@2"], "{route}");
    }
}

/// The preferred path of each of two prefixes leads over the other one's second path: with both in force
/// neither is.
#[test]
fn paths_that_take_each_other_the_ground_come_to_rest() {
    let peers = vec![
        peer("inside", at("10.0.0.7"), 65_000),
        peer("tor", at("10.0.0.9"), 65_001),
    ];
    let mut rig = Rig::new(&intent(peers), rows());
    let inside = rig
        .session(("10.0.0.7", 0), "10.0.0.1", 65_000, &[])
        .unwrap();
    let tor = rig
        .session(("10.0.0.9", 0), "10.0.0.1", 65_001, &[])
        .unwrap();
    let both = ["192.0.2.0/24", "198.51.100.0/24"];
    // All in one turn, so that all is decided at once. An empty path is the shorter one.
    let messages = [
        (tor, reach_v4("10.0.0.9", &[65_001, 65_009], &both)),
        (inside, reach_v4("198.51.100.1", &[], &[both[0]])),
        (inside, reach_v4("192.0.2.1", &[], &[both[1]])),
    ];
    for (connection, message) in messages {
        let input = dunlin::node::Input::Received(connection, &message);
        rig.node.handle(rig.now, input);
    }
    rig.settle();
    assert!(rig.written < 50, "{} writes", rig.written);
    for route in both {
        assert_eq!(rig.hops(route).unwrap(), ["10.0.0.9@2"], "{route}");
    }
    let rest = dunlin::time::Duration::from_secs(60);
    let until = rig.node.dataplane().unwrap().next_timeout();
    assert_eq!(until, Some(rig.now + rest), "they did take turns");
    // It is looked at again now and then, and costs as little.
    for _ in 0..3 {
        rig.after(dunlin::time::Duration::from_secs(61));
        assert!(rig.written < 50, "{} writes", rig.written);
        for route in both {
            assert_eq!(rig.hops(route).unwrap(), ["10.0.0.9@2"], "{route}");
        }
    }
    // One whose ground is nobody's: N leads over B, B's better path over A, A over N.
    let messages = [
        (
            tor,
            reach_v4("10.0.0.9", &[65_001, 65_009], &["10.70.0.0/24"]),
        ),
        (inside, reach_v4("10.71.0.1", &[], &["10.70.0.0/24"])),
        (inside, reach_v4("10.70.0.1", &[], &["10.71.0.0/24"])),
    ];
    for (connection, message) in messages {
        rig.say(connection, &message);
        assert!(rig.written < 50, "{} writes", rig.written);
    }
    assert_eq!(rig.hops("10.70.0.0/24").unwrap(), ["10.0.0.9@2"]);
}

/// Nodes whose addresses are on the loopback device, behind routers that tell of them by BGP.
#[test]
fn nodes_behind_routers_are_reached_over_what_those_announce() {
    for mode in [PoolMode::Never, PoolMode::Always] {
        let node = |name: &str, n: u8| Node {
            ipv4_address: format!("10.255.0.{n}/32").parse().ok(),
            ipv6_address: format!("fd00:255::{n}/128").parse().ok(),
            blocks: vec![
                format!("10.244.{n}.0/26").parse().unwrap(),
                format!("fd00:244:{n}::/122").parse().unwrap(),
            ],
            ..Node::named(name)
        };
        let pool = |name: &str, cidr: &str| Pool {
            name: name.to_owned(),
            cidr: cidr.parse().unwrap(),
            ipip_mode: PoolMode::Never,
            vxlan_mode: mode,
            nat_outgoing: false,
            disabled: false,
            disable_bgp_export: false,
        };
        let mut intent = intent(vec![peer("tor", at("10.0.0.9"), 65_001)]);
        intent.bgp.node_to_node_mesh_enabled = true;
        intent.nodes = vec![node("me", 1), node("other", 2)];
        intent.pools = vec![pool("four", "10.244.0.0/16"), pool("six", "fd00:244::/32")];
        let mut rows = rows();
        for text in ["10.255.0.1", "fd00:255::1"] {
            let address = ip(text);
            let len = dunlin::net::Prefix::host(address).len();
            rows.push(Change::Address(dunlin::dataplane::Address {
                interface: 1,
                address,
                len,
            }));
        }
        let mut rig = Rig::new(&intent, rows);
        let tor = rig
            .session(("10.0.0.9", 0), "10.0.0.1", 65_001, &[])
            .unwrap();
        rig.say(tor, &reach_v4("10.0.0.9", &[65_001], &["10.255.0.2/32"]));
        rig.say(tor, &reach(&["fd00::9"], &[65_001], &["fd00:255::2/128"]));
        let me = [("10.255.0.2", "10.255.0.1"), ("fd00:255::2", "fd00:255::1")];
        for (other, local) in me {
            let Some(session) = rig.session((other, 0), local, 65_000, &[]) else {
                continue;
            };
            rig.say(session, &reach_v4("10.255.0.2", &[], &["10.244.2.0/26"]));
            rig.say(
                session,
                &reach(&["fd00:255::2"], &[], &["fd00:244:2::/122"]),
            );
        }
        let blocks = [
            ("10.244.2.0/26", "10.0.0.9@2"),
            ("fd00:244:2::/122", "fd00::9@2"),
        ];
        for (block, hop) in blocks {
            let path = rig.node.speaker().rib().lookup(prefix(block)).unwrap();
            assert!(
                path.paths.iter().any(|path| path.selected),
                "{mode:?} {block}"
            );
            if mode == PoolMode::Never {
                assert_eq!(rig.hops(block).unwrap(), [hop]);
            }
        }
    }
}
