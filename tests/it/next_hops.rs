//! Next hops are an address and a link: what each spelling means, and what becomes of the routes when the
//! link goes.

use dunlin::dataplane::{Change, Link};
use dunlin::net::{Asn, Family};
use dunlin::policy::PolicyKind;
use dunlin::topology::{FarEnd, Intent, Node, Peer, Pool, PoolMode};
use dunlin::wire::capability::Capability;

use crate::next_hop_rig::{Rig, address, ip, link, prefix, reach, reach_v4, unreach};

fn peer(name: &str, far_end: FarEnd, asn: u32) -> Peer {
    let mut peer = Peer {
        far_end,
        passive: true,
        ..Peer::new(name, ip("10.0.0.9"), Asn(asn))
    };
    peer.routes.import = PolicyKind::AcceptAll;
    peer.routes.export = PolicyKind::AcceptAll;
    peer
}

fn at(text: &str) -> FarEnd {
    Peer::new("", ip(text), Asn(1)).far_end
}

pub(crate) fn intent(peers: Vec<Peer>) -> Intent {
    let me = Node {
        ipv4_address: Some("10.0.0.1/24".parse().unwrap()),
        ipv6_address: Some("fd00::1/64".parse().unwrap()),
        ..Node::named("me")
    };
    let mut intent = Intent {
        nodes: vec![me],
        peers,
        ..Intent::default()
    };
    intent.bgp.as_number = Asn(65_000);
    intent.bgp.node_to_node_mesh_enabled = false;
    intent
}

/// eth2 with addresses, eth3 and eth4 without.
fn rows() -> Vec<Change> {
    let links = [2, 3, 4].map(|index| Change::Link(Box::new(link(index))));
    let addresses = ["10.0.0.1/24", "fd00::1/64"].map(|text| address(2, text));
    links
        .into_iter()
        .chain(addresses.into_iter().flatten())
        .collect()
}

fn two_uplinks() -> Rig {
    Rig::new(
        &intent(vec![
            peer("a", FarEnd::Link("eth3".into()), 65_001),
            peer("b", FarEnd::Link("eth4".into()), 65_002),
            peer("n4", at("10.0.0.9"), 65_003),
        ]),
        rows(),
    )
}

fn down(link: Link) -> [Change; 1] {
    [Change::Link(Box::new(link))]
}

#[test]
fn one_router_address_on_two_links_is_two_neighbours() {
    let mut rig = two_uplinks();
    rig.found("eth3", 3, "fe80::1");
    rig.found("eth4", 4, "fe80::1");
    let a = rig.session(("fe80::1", 3), "fe80::a", 65_001, &[]);
    let b = rig.session(("fe80::1", 4), "fe80::b", 65_002, &[]);
    let (a, b) = (a.unwrap(), b.expect("its link says who it is"));
    assert_eq!(rig.node.speaker().sessions(), (3, 2));
    assert!(
        rig.session(("fe80::1", 2), "fe80::c", 65_001, &[])
            .is_none(),
        "a third one on a link that nobody planned"
    );
    rig.say(a, &reach(&["fe80::1"], &[65_001], &["2001:db8:a::/48"]));
    rig.say(b, &reach(&["fe80::1"], &[65_002], &["2001:db8:b::/48"]));
    rig.say(a, &reach(&["fe80::1"], &[65_001], &["192.0.2.0/24"]));
    rig.say(b, &reach(&["fe80::1"], &[65_002], &["192.0.2.0/24"]));
    assert_eq!(rig.hops("2001:db8:a::/48").unwrap(), ["fe80::1@3"]);
    assert_eq!(rig.hops("2001:db8:b::/48").unwrap(), ["fe80::1@4"]);
    let both = rig.hops("192.0.2.0/24").unwrap();
    assert_eq!(both, ["fe80::1@3", "fe80::1@4"], "they share the traffic");

    for lost in [3, 4] {
        let mut gone = link(lost);
        gone.lower_up = false;
        rig.change(down(gone));
        let other = format!("fe80::1@{}", 7 - lost);
        assert_eq!(rig.hops("192.0.2.0/24").unwrap(), [other]);
        rig.change(down(link(lost)));
        assert_eq!(rig.hops("192.0.2.0/24").unwrap(), both);
    }
    // A link that is made anew has another index, which the next advertisement tells.
    rig.change([Change::LinkGone { index: 4 }]);
    rig.change(down(Link {
        name: "eth4".into(),
        ..link(5)
    }));
    assert_eq!(rig.hops("192.0.2.0/24").unwrap(), ["fe80::1@3"]);
    rig.found("eth4", 5, "fe80::1");
    let both = rig.hops("192.0.2.0/24").unwrap();
    assert_eq!(both, ["fe80::1@3", "fe80::1@5"]);
}

/// The better path over a link without addresses, a longer one over a numbered one; for both families,
/// the session up or its routes kept over a restart, and each way in which a link goes.
#[test]
fn a_link_that_goes_takes_its_next_hops_with_it_in_the_same_turn() {
    let stale_too = [false, true];
    for (case, stale) in (0..3).flat_map(|case| stale_too.map(|stale| (case, stale))) {
        let mut rig = two_uplinks();
        let restart = Capability::GracefulRestart {
            restarting: false,
            notification: false,
            time: 120,
            families: Family::ALL.map(|family| (family.afi_safi(), true)).to_vec(),
        };
        rig.found("eth3", 3, "fe80::1");
        let a = rig
            .session(("fe80::1", 3), "fe80::a", 65_001, &[restart])
            .unwrap();
        let n = rig
            .session(("10.0.0.9", 0), "10.0.0.1", 65_003, &[])
            .unwrap();
        let routes = ["2001:db8:a::/48", "192.0.2.0/24"];
        let hops = ["fd00::9", "10.0.0.9"];
        for (route, hop) in routes.iter().zip(hops) {
            rig.say(a, &reach(&["fe80::1"], &[65_001], &[route]));
            rig.say(n, &reach(&[hop], &[65_003, 65_004, 65_005], &[route]));
            assert_eq!(rig.hops(route).unwrap(), ["fe80::1@3"], "the shorter path");
        }
        if stale {
            let closed = dunlin::node::Input::Closed(a, None);
            rig.node.handle(rig.now, closed);
            rig.settle();
            assert_eq!(rig.hops(routes[0]).unwrap(), ["fe80::1@3"], "kept");
        }
        let mut gone = link(3);
        rig.change(match case {
            0 => {
                gone.lower_up = false;
                down(gone)
            }
            1 => {
                (gone.up, gone.lower_up) = (false, false);
                down(gone)
            }
            _ => [Change::LinkGone { index: 3 }],
        });
        for (route, hop) in routes.iter().zip(hops) {
            let now = rig.hops(route).expect("the other path");
            assert_eq!(now, [format!("{hop}@2")], "case {case}, stale {stale}");
        }
        if case < 2 {
            rig.change(down(link(3)));
            assert_eq!(rig.hops(routes[1]).unwrap(), ["fe80::1@3"], "back again");
        }
    }
}

/// What a former process left waits for all peers, but not by a link that is gone.
#[test]
fn a_route_that_waits_for_a_peer_does_not_wait_by_a_dead_link() {
    let peers = vec![
        peer("a", FarEnd::Link("eth3".into()), 65_001),
        peer("n4", at("10.0.0.9"), 65_003),
        peer("never", at("10.0.0.66"), 65_004),
    ];
    let left = ["192.0.2.0/24", "198.51.100.0/24"].map(|to| {
        let hop = dunlin::dataplane::Hop::new(ip("fe80::1"), 3);
        dunlin::dataplane::KernelRoute {
            protocol: 179,
            ..crate::next_hop_rig::kernel_route(to, [hop])
        }
    });
    let mut rig = Rig::after_a_restart(&intent(peers), rows(), &left);
    rig.found("eth3", 3, "fe80::1");
    let a = rig.session(("fe80::1", 3), "fe80::a", 65_001, &[]).unwrap();
    let n = rig
        .session(("10.0.0.9", 0), "10.0.0.1", 65_003, &[])
        .unwrap();
    rig.say(
        n,
        &reach_v4("10.0.0.9", &[65_003], &["192.0.2.0/24", "198.51.100.0/24"]),
    );
    rig.say(
        a,
        &reach(&["fe80::1"], &[65_001, 65_002], &["192.0.2.0/24"]),
    );
    let kept = rig.hops("192.0.2.0/24").unwrap();
    assert_eq!(kept, ["fe80::1@3"], "it is not known yet who is best");
    let mut gone = link(3);
    gone.lower_up = false;
    rig.change(down(gone));
    for route in ["192.0.2.0/24", "198.51.100.0/24"] {
        assert_eq!(rig.hops(route).unwrap(), ["10.0.0.9@2"], "{route}");
    }
}

/// RFC 2545 §3 in all the spellings that are seen, on a session with global addresses, and on one with
/// IPv4 addresses: the link is the session's.
#[test]
fn a_link_local_next_hop_is_on_the_link_of_its_session() {
    let peers = vec![
        peer("n4", at("10.0.0.9"), 65_003),
        peer("n6", at("fd00::9"), 65_004),
    ];
    let mut rig = Rig::new(&intent(peers), rows());
    let four = rig
        .session(("10.0.0.9", 0), "10.0.0.1", 65_003, &[])
        .unwrap();
    let six = rig.session(("fd00::9", 0), "fd00::1", 65_004, &[]).unwrap();
    let spellings: [(&[&str], &str); 5] = [
        (&["fe80::9"], "fe80::9@2"),
        (&["::", "fe80::9"], "fe80::9@2"),
        (&["fe80::9", "fe80::9"], "fe80::9@2"),
        (&["fd00::9", "fe80::9"], "fd00::9@2"),
        (&["fd00::9"], "fd00::9@2"),
    ];
    for (connection, asn) in [(four, 65_003), (six, 65_004)] {
        for (next_hop, expected) in spellings {
            // IPv4 routes have IPv6 next hops on IPv6 sessions only.
            for route in ["2001:db8:a::/48", "192.0.2.0/24"] {
                if connection == four && route.contains('.') {
                    continue;
                }
                rig.say(connection, &reach(next_hop, &[asn], &[route]));
                let hops = rig.hops(route);
                assert_eq!(hops.unwrap(), [expected], "{next_hop:?} {route}");
            }
        }
        // The peer moves to another link: so do the next hops beside it.
        rig.say(
            connection,
            &reach(&["fe80::9"], &[asn], &["2001:db8:a::/48"]),
        );
        let host = if asn == 65_003 {
            "10.0.0.9/32"
        } else {
            "fd00::9/128"
        };
        let hop = dunlin::dataplane::Hop {
            via: None,
            ..dunlin::dataplane::Hop::new(ip("fe80::9"), 4)
        };
        let moved = crate::next_hop_rig::route(host, [hop]);
        rig.change([moved]);
        assert_eq!(rig.hops("2001:db8:a::/48").unwrap(), ["fe80::9@4"]);
        let back = crate::next_hop_rig::kernel_route(host, [hop]);
        rig.change([Change::RouteGone(back)]);
        assert_eq!(rig.hops("2001:db8:a::/48").unwrap(), ["fe80::9@2"]);
        // The link goes, and nothing else.
        let mut gone = link(2);
        gone.lower_up = false;
        rig.change(down(gone));
        assert_eq!(rig.hops("2001:db8:a::/48"), None);
        rig.change(down(link(2)));
        let closed = dunlin::node::Input::Closed(connection, None);
        rig.node.handle(rig.now, closed);
        rig.settle();
        assert_eq!(rig.hops("2001:db8:a::/48"), None);
    }
}

/// A neighbour's link-local address is of no use to anybody on another link.
#[test]
fn a_link_local_next_hop_is_not_sent_on() {
    let internal = peer("inside", at("10.0.0.7"), 65_000);
    let peers = vec![peer("a", FarEnd::Link("eth3".into()), 65_001), internal];
    let mut rig = Rig::new(&intent(peers), rows());
    rig.found("eth3", 3, "fe80::1");
    let a = rig.session(("fe80::1", 3), "fe80::a", 65_001, &[]).unwrap();
    let inside = rig
        .session(("10.0.0.7", 0), "10.0.0.1", 65_000, &[])
        .unwrap();
    for route in ["2001:db8:a::/48", "192.0.2.0/24"] {
        rig.say(a, &reach(&["fe80::1"], &[65_001], &[route]));
    }
    let sent = rig.updates(inside).concat();
    let holds = |needle: &[u8]| sent.windows(needle.len()).any(|window| window == needle);
    let std::net::IpAddr::V6(router) = ip("fe80::1") else {
        unreachable!()
    };
    assert!(
        holds(&[48, 0x20, 0x01, 0x0d, 0xb8, 0, 0x0a]),
        "the route goes"
    );
    assert!(holds(&[24, 192, 0, 2]), "both do");
    assert!(!holds(&router.octets()), "its next hop does not");
}

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

/// RFC 4271 §5.1.3: nobody is told to send to himself, and everybody else is told all the same.
#[test]
fn a_peer_is_not_sent_its_own_address_as_next_hop() {
    for reflects in [true, false] {
        let mut peers = vec![
            peer("x", at("10.0.0.7"), 65_000),
            peer("y", at("10.0.0.8"), 65_000),
            peer("z", at("10.0.0.9"), 65_000),
        ];
        if !reflects {
            // What an external peer says goes to internal ones, with a third one's address.
            peers[0] = peer("x", at("10.0.0.7"), 65_001);
        }
        let mut intent = intent(peers);
        intent.nodes[0].route_reflector_cluster_id = reflects.then(|| "1.1.1.1".parse().unwrap());
        for all in [true, false] {
            let mut rig = Rig::new(&intent, rows());
            let asn = if reflects { 65_000 } else { 65_001 };
            let path: &[u32] = if reflects { &[] } else { &[65_001] };
            let x = rig.session(("10.0.0.7", 0), "10.0.0.1", asn, &[]).unwrap();
            let y = rig
                .session(("10.0.0.8", 0), "10.0.0.1", 65_000, &[])
                .unwrap();
            let z = all.then(|| {
                rig.session(("10.0.0.9", 0), "10.0.0.1", 65_000, &[])
                    .unwrap()
            });
            let to = "192.0.2.0/24";
            let has = |rig: &Rig, who| rig.announced(who).contains(&prefix(to));
            let steps = [
                ("10.0.0.8", false),
                ("10.0.0.7", true),
                ("10.0.0.8", false),
                ("10.0.0.66", true),
            ];
            for (hop, told) in steps {
                rig.say(x, &reach_v4(hop, path, &[to, "198.51.100.0/24"]));
                assert_eq!(has(&rig, y), told, "{reflects} {all} {hop}");
                if let Some(z) = z {
                    assert!(has(&rig, z), "{reflects} {hop}");
                }
            }
            // Somebody who comes later is told by the same rule.
            rig.say(x, &reach_v4("10.0.0.8", path, &[to]));
            rig.node
                .handle(rig.now, dunlin::node::Input::Closed(y, None));
            rig.settle();
            let again = rig
                .session(("10.0.0.8", 0), "10.0.0.1", 65_000, &[])
                .unwrap();
            let told = rig.announced(again);
            assert!(!told.contains(&prefix(to)) && told.contains(&prefix("198.51.100.0/24")));
        }
    }
}

/// RFC 2545 §3: whoever is on a link of ours has our link-local address there, too.
#[test]
fn a_global_next_hop_comes_with_the_link_local_one_on_a_shared_link() {
    let peers = vec![
        peer("n4", at("10.0.0.9"), 65_003),
        peer("n6", at("fd00::9"), 65_004),
        peer("far", at("10.50.0.9"), 65_005),
    ];
    let mut intent = intent(peers);
    intent.nodes[0].blocks = vec!["fd00:244:1::/122".parse().unwrap()];
    let hop = dunlin::dataplane::Hop::new(ip("10.0.0.254"), 2);
    let own = |text: &str| {
        Change::Address(dunlin::dataplane::Address {
            interface: 2,
            address: ip(text),
            len: 64,
        })
    };
    let mut rows = rows();
    rows.extend([
        own("fe80::2"),
        crate::next_hop_rig::route("10.50.0.0/16", [hop]),
    ]);
    let mut rig = Rig::new(&intent, rows);
    let near = [
        rig.session(("10.0.0.9", 0), "10.0.0.1", 65_003, &[])
            .unwrap(),
        rig.session(("fd00::9", 0), "fd00::1", 65_004, &[]).unwrap(),
    ];
    let far = rig
        .session(("10.50.0.9", 0), "10.0.0.1", 65_005, &[])
        .unwrap();
    let field = |hops: &[&str]| -> Vec<u8> {
        let octets = hops.iter().flat_map(|hop| match ip(hop) {
            std::net::IpAddr::V4(v4) => v4.octets().to_vec(),
            std::net::IpAddr::V6(v6) => v6.octets().to_vec(),
        });
        let octets: Vec<u8> = octets.collect();
        let len = u8::try_from(octets.len()).unwrap();
        [vec![0, 2, 1, len], octets].concat()
    };
    let has = |rig: &Rig, who, hops: &[&str]| {
        let wanted = field(hops);
        let updates = rig.updates(who);
        updates
            .iter()
            .filter(|body| body.windows(wanted.len()).any(|part| part == wanted))
            .count()
    };
    for who in near {
        assert_eq!(has(&rig, who, &["fd00::1", "fe80::2"]), 1);
        assert_eq!(has(&rig, who, &["fd00::1"]), 0);
    }
    assert_eq!(
        has(&rig, far, &["fd00::1"]),
        1,
        "two hops away it means nothing"
    );
    // The link goes and comes back, and nobody is sent anything for it.
    let before = rig.sent.clone();
    let mut gone = link(2);
    gone.lower_up = false;
    rig.change(down(gone));
    rig.change(down(link(2)));
    assert_eq!(rig.sent, before);
    // Another address, and it is told once.
    rig.change([own("fe80::1")]);
    for who in near {
        assert_eq!(has(&rig, who, &["fd00::1", "fe80::1"]), 1);
    }
    assert_eq!(
        rig.updates(far).len(),
        before[&far]
            .iter()
            .filter(|(kind, _)| *kind == dunlin::wire::frame::MessageKind::Update)
            .count()
    );
}
