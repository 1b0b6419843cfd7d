//! A speaker beside us on the node, such as one that announces load balancers' addresses: what it says is told
//! to others as our own is, with our address as the next hop, and never installed.

use dunlin::net::{Asn, Prefix};
use dunlin::rib::PeerKind;
use dunlin::time::Duration;
use dunlin::topology::{Dial, Intent, Node, Peer, PeerScope, Plan, plan};

use crate::sim_script::{Script, attributes, end_of_rib, split, update};
use crate::sim_world::World;

const OWN: &str = "10.0.0.1";
const TOR: &str = "10.0.0.9";
const US: u32 = 65_000;
const BESIDE: u32 = 64_999;

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A node of a mesh of two with a ToR and a speaker beside it that calls from this address.
fn intent(beside: &str) -> Intent {
    let peer = |name: &str, address: &str, asn| {
        let mut peer = Peer::new(name, address.parse().unwrap(), Asn(asn));
        peer.scope = PeerScope::Node("n1".to_owned());
        peer.passive = true;
        peer
    };
    let node = |n: u8| Node {
        ipv4_address: Some(format!("10.0.0.{n}/24").parse().unwrap()),
        blocks: vec![format!("10.244.{n}.0/26").parse().unwrap()],
        ..Node::named(format!("n{n}"))
    };
    let mut intent = Intent {
        nodes: vec![node(1), node(2)],
        peers: vec![peer("tor", TOR, 65_009), peer("beside", beside, BESIDE)],
        ..Intent::default()
    };
    intent.bgp.as_number = Asn(US);
    intent
}

fn says(script: &mut Script, path: &[u32], next_hop: &str, prefixes: &[Prefix]) {
    let announced = update(&[], &attributes(path, next_hop), prefixes);
    script.greeting = [announced, end_of_rib()].concat();
}

/// The world of [`intent`]; the speaker beside us gives `next_hop` for 192.0.2.0/24.
fn world(beside: &str, next_hop: &str, max_paths: u16) -> World {
    let intent = intent(beside);
    let mut world = World::new(5);
    world.max_paths = max_paths;
    world.boot(plan(&intent, "n1").unwrap(), 1, true);
    world.boot(plan(&intent, "n2").unwrap(), 2, true);
    let mut tor = Script::new(TOR, 65_009);
    let elsewhere = [prefix("198.51.100.0/24"), prefix("203.0.113.0/24")];
    says(&mut tor, &[65_009], TOR, &elsewhere);
    world.script("tor", tor);
    let mut script = Script::new(beside, BESIDE);
    let here = [prefix("192.0.2.0/24"), prefix("198.51.100.0/24")];
    says(&mut script, &[BESIDE], next_hop, &here);
    world.script("z-beside", script);
    for name in ["tor", "z-beside"] {
        world.script_dials(name, OWN.parse().unwrap());
    }
    world.until(secs(20), World::all_up).unwrap();
    world.run(secs(5));
    world
}

fn installed(world: &World, of: &str) -> bool {
    let kernel = world.hosts["n1"].kernel.as_ref().unwrap();
    kernel.routes.keys().any(|(at, _)| *at == prefix(of))
}

/// AS numbers of the path and next hop that the ToR heard last for a prefix.
fn told(world: &World, of: &str) -> Option<(Vec<u32>, String)> {
    let mut last = None;
    let script = world.script_of("tor");
    for body in script.all(dunlin::wire::frame::MessageKind::Update) {
        let (withdrawn, attributes, announced) = split(body);
        if withdrawn.contains(&prefix(of)) {
            last = None;
        }
        if announced.contains(&prefix(of)) {
            // ORIGIN, then AS_PATH, then NEXT_HOP.
            let length = usize::from(attributes[6]);
            let path = attributes[9..7 + length].chunks(4);
            let path = path.map(|word| u32::from_be_bytes(word.try_into().unwrap()));
            let hop = &attributes[7 + length + 3..7 + length + 7];
            let hop: [u8; 4] = hop.try_into().unwrap();
            last = Some((path.collect(), std::net::Ipv4Addr::from(hop).to_string()));
        }
    }
    last
}

#[test]
fn what_a_speaker_beside_us_says_goes_on_and_is_not_installed() {
    for (beside, next_hop) in [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1", OWN),
        ("127.0.0.5", "127.0.0.1"),
        (OWN, OWN),
        (OWN, "127.0.0.1"),
        // A neighbour's address: it is for the speaker beside us to know why.
        ("127.0.0.1", "10.0.0.77"),
    ] {
        let mut world = world(beside, next_hop, 1);
        let ours = (vec![US, BESIDE], OWN.to_owned());
        assert_eq!(
            told(&world, "192.0.2.0/24"),
            Some(ours),
            "{beside} {next_hop}"
        );
        assert!(!installed(&world, "192.0.2.0/24"));
        assert!(installed(&world, "203.0.113.0/24"), "the ToR's are");
        let of_n1 = &world
            .node("n2")
            .speaker()
            .rib()
            .lookup(prefix("192.0.2.0/24"));
        let path = of_n1.unwrap().paths[0];
        let rib = world.node("n2").speaker().rib();
        let hop = rib.path_attributes(&path).unwrap().decode().next_hop;
        assert_eq!(hop.unwrap().address.to_string(), OWN, "iBGP, too");

        let gone = update(&[prefix("192.0.2.0/24")], &[], &[]);
        world.say("z-beside", gone);
        world.run(secs(1));
        assert_eq!(told(&world, "192.0.2.0/24"), None);
        assert!(told(&world, "198.51.100.0/24").is_some());
        world.kill("z-beside");
        world.run(secs(1));
        assert_eq!(told(&world, "198.51.100.0/24"), None);
        assert!(
            installed(&world, "198.51.100.0/24"),
            "the other path is used"
        );
    }
}

#[test]
fn what_is_here_is_not_sent_elsewhere_by_a_path_as_good() {
    for max_paths in [1, 4] {
        let world = world("127.0.0.1", "127.0.0.1", max_paths);
        // The ToR's path and the one beside us are equally long, and the ToR's identifier is lower.
        let best = world.node("n1").speaker().rib();
        let route = best.lookup(prefix("198.51.100.0/24")).unwrap();
        assert_eq!(route.paths.len(), 2);
        assert_eq!(
            best.peer(route.paths[0].peer).unwrap().kind,
            PeerKind::Beside
        );
        assert!(!installed(&world, "198.51.100.0/24"));
    }
}

#[test]
fn others_may_still_not_name_our_address_as_the_next_hop() {
    let mut world = world("127.0.0.1", "127.0.0.1", 1);
    for hop in [OWN, "127.0.0.1"] {
        let false_one = update(&[], &attributes(&[65_009], hop), &[prefix("198.18.0.0/24")]);
        world.say("tor", false_one);
        world.run(secs(1));
        let rib = world.node("n1").speaker().rib();
        let path = rib
            .lookup(prefix("198.18.0.0/24"))
            .map(|route| route.paths[0]);
        assert!(path.is_none_or(|path| !path.accepted), "{hop}");
        assert!(!installed(&world, "198.18.0.0/24"), "{hop}");
    }
}

#[test]
fn own_blocks_and_addresses_are_nobodys_to_announce_though_beside_us() {
    let mut world = world("127.0.0.1", "127.0.0.1", 1);
    let inside = [prefix("10.244.1.5/32"), prefix("10.0.0.1/32")];
    world.say(
        "z-beside",
        update(&[], &attributes(&[BESIDE], OWN), &inside),
    );
    world.run(secs(1));
    for prefix in inside {
        let rib = world.node("n1").speaker().rib();
        assert!(!rib.lookup(prefix).unwrap().paths[0].accepted, "{prefix}");
    }
}

fn planned(address: &str, edit: fn(&mut Peer)) -> Option<(Plan, Dial, u16, Option<String>)> {
    let mut intent = intent("127.0.0.1");
    let address: std::net::SocketAddr = match address.parse() {
        Ok(both) => both,
        Err(_) => std::net::SocketAddr::new(address.parse().unwrap(), 0),
    };
    intent.nodes[0].ipv6_address = Some("fd00::1/64".parse().unwrap());
    let mut peer = Peer::new("beside", address.ip(), Asn(BESIDE));
    peer.far_end = dunlin::topology::FarEnd::Address(dunlin::topology::PeerAddress {
        address: address.ip(),
        port: (address.port() != 0).then_some(address.port()),
    });
    edit(&mut peer);
    intent.peers = vec![peer];
    let plan = plan(&intent, "n1").unwrap();
    let found = plan.peers.iter().find(|peer| peer.name == "beside")?;
    let (dial, port) = (found.dial, found.port);
    let source = found.source_address.map(|source| source.to_string());
    assert!(plan.is_here(found.address));
    Some((plan, dial, port, source))
}

#[test]
fn our_own_address_is_ourselves_at_our_own_port_only() {
    let none: fn(&mut Peer) = |_| {};
    let passive: fn(&mut Peer) = |peer| peer.passive = true;
    for (address, edit, expected) in [
        (OWN, none, None),
        ("10.0.0.1:179", none, None),
        ("[fd00::1]:179", none, None),
        ("10.0.0.1:1179", none, Some((Dial::Active, 1179, Some(OWN)))),
        (
            "[fd00::1]:1179",
            none,
            Some((Dial::Active, 1179, Some("fd00::1"))),
        ),
        (OWN, passive, Some((Dial::Passive, 179, Some(OWN)))),
        (
            "fd00::1",
            passive,
            Some((Dial::Passive, 179, Some("fd00::1"))),
        ),
        ("127.0.0.1:1179", none, Some((Dial::Active, 1179, None))),
        ("[::1]:1179", none, Some((Dial::Active, 1179, None))),
        // We listen there ourselves.
        ("127.0.0.1", none, Some((Dial::Passive, 179, None))),
        ("::1", none, Some((Dial::Passive, 179, None))),
    ] {
        let found = planned(address, edit).map(|(_, dial, port, source)| (dial, port, source));
        let expected = expected.map(|(dial, port, source)| (dial, port, source.map(str::to_owned)));
        assert_eq!(found, expected, "{address}");
    }
}
