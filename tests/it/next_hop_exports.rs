//! The next hops that are sent: with the link-local address on a shared link, and to nobody his own.

use dunlin::dataplane::Change;
use dunlin::session::ConnectionId;
use dunlin::wire::frame::MessageKind;

use crate::next_hop_rig::{Rig, ip, link, prefix, reach_v4};
use crate::next_hops::{at, down, intent, peer, rows};

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

/// How many UPDATEs had this next hop of one or two addresses.
fn told(rig: &Rig, who: ConnectionId, hops: &[&str]) -> usize {
    let octets = hops.iter().flat_map(|hop| match ip(hop) {
        std::net::IpAddr::V4(v4) => v4.octets().to_vec(),
        std::net::IpAddr::V6(v6) => v6.octets().to_vec(),
    });
    let octets: Vec<u8> = octets.collect();
    let field = [vec![0, 2, 1, u8::try_from(octets.len()).unwrap()], octets].concat();
    let has = |body: &&&[u8]| body.windows(field.len()).any(|part| part == field);
    rig.updates(who).iter().filter(has).count()
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
    for who in near {
        assert_eq!(told(&rig, who, &["fd00::1", "fe80::2"]), 1);
        assert_eq!(told(&rig, who, &["fd00::1"]), 0);
    }
    assert_eq!(
        told(&rig, far, &["fd00::1"]),
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
        assert_eq!(told(&rig, who, &["fd00::1", "fe80::1"]), 1);
    }
    assert_eq!(
        rig.updates(far).len(),
        before[&far]
            .iter()
            .filter(|(kind, _)| *kind == MessageKind::Update)
            .count()
    );
}
