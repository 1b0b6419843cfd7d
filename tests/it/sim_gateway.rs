//! `reachable-by`: a peer that no route leads to is reached through a gateway, and so is what it announces.

use dunlin::net::{Asn, Prefix};
use dunlin::policy::PolicyKind;
use dunlin::time::Duration;
use dunlin::topology::{Intent, Node, Peer, plan};

use crate::sim_script::{Script, attributes, end_of_rib, update};
use crate::sim_world::World;

const PEER: &str = "10.9.9.9";

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn intent(gateway: Option<&str>) -> Intent {
    let mut peer = Peer::new("tor", PEER.parse().unwrap(), Asn(65_001));
    peer.passive = true;
    peer.routes.import = PolicyKind::AcceptAll;
    peer.reachable_by = gateway.map(|text| text.parse().unwrap());
    let node = Node {
        ipv4_address: Some("10.0.0.1/24".parse().unwrap()),
        ..Node::named("hub")
    };
    let mut intent = Intent {
        nodes: vec![node],
        peers: vec![peer],
        ..Intent::default()
    };
    intent.bgp.as_number = Asn(65_000);
    intent
}

/// The hops of the kernel's route.
fn via(world: &World, of: &str) -> Option<Vec<String>> {
    let kernel = world.hosts["hub"].kernel.as_ref().unwrap();
    let hops = &kernel.best(prefix(of))?.shape.hops;
    let gateways = hops.iter().filter_map(|hop| hop.via);
    Some(gateways.map(|gateway| gateway.to_string()).collect())
}

#[test]
fn a_peer_behind_a_gateway_and_its_routes_are_reached_through_it() {
    let mut world = World::new(3);
    world.boot(plan(&intent(Some("10.0.0.254")), "hub").unwrap(), 3, true);
    world.run(Duration::from_secs(1));
    let gateway = Some(vec!["10.0.0.254".to_owned()]);
    assert_eq!(via(&world, "10.9.9.9/32"), gateway, "before any session");

    let mut script = Script::new(PEER, 65_001);
    let announced = update(&[], &attributes(&[65_001], PEER), &[prefix("20.0.0.0/24")]);
    script.greeting = [announced, end_of_rib()].concat();
    world.script("tor", script);
    world.script_dials("tor", "10.0.0.1".parse().unwrap());
    world.until(Duration::from_secs(5), World::all_up).unwrap();
    world.run(Duration::from_secs(1));
    assert_eq!(via(&world, "20.0.0.0/24"), gateway);

    // Another gateway: both follow, and the session does not notice.
    world.replan("hub", plan(&intent(Some("10.0.0.253")), "hub").unwrap());
    world.run(Duration::from_secs(1));
    let other = Some(vec!["10.0.0.253".to_owned()]);
    assert_eq!(via(&world, "10.9.9.9/32"), other);
    assert_eq!(via(&world, "20.0.0.0/24"), other);
    assert_eq!(world.ups("hub")["tor"], 1);

    // None: the peer is where the kernel's own routes lead, which is nowhere here.
    world.replan("hub", plan(&intent(None), "hub").unwrap());
    world.run(Duration::from_secs(60));
    assert_eq!(via(&world, "10.9.9.9/32"), None);
    assert_eq!(world.ups("hub")["tor"], 1);
}
