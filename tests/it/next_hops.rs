//! Next hops are an address and a link: what each spelling means, and what becomes of the routes when the
//! link goes.

use dunlin::dataplane::{Change, Link};
use dunlin::net::{Asn, Family};
use dunlin::policy::PolicyKind;
use dunlin::topology::{FarEnd, Intent, Node, Peer};
use dunlin::wire::capability::Capability;

use crate::next_hop_rig::{Rig, address, ip, link, reach, reach_v4};

pub(crate) fn peer(name: &str, far_end: FarEnd, asn: u32) -> Peer {
    let mut peer = Peer {
        far_end,
        passive: true,
        ..Peer::new(name, ip("10.0.0.9"), Asn(asn))
    };
    peer.routes.import = PolicyKind::AcceptAll;
    peer.routes.export = PolicyKind::AcceptAll;
    peer
}

pub(crate) fn at(text: &str) -> FarEnd {
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
pub(crate) fn rows() -> Vec<Change> {
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

pub(crate) fn down(link: Link) -> [Change; 1] {
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
