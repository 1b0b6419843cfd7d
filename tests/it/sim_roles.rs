//! RFC 9234 on a whole node: roles in OPEN, and what may be told to whom. And two attributes that say more
//! than they may: AIGP from another AS (RFC 7311), another's CLUSTER_ID (RFC 4456).

use dunlin::net::{Asn, Prefix, Role};
use dunlin::policy::PolicyKind;
use dunlin::time::Duration;
use dunlin::topology::{Intent, Node, Peer, PeerScope, RoleTerms, plan};
use dunlin::wire::capability::Capability;
use dunlin::wire::frame::MessageKind;

use crate::sim_script::{Script, attributes, end_of_rib, split, update};
use crate::sim_world::World;

const US: u32 = 65_000;
const FEED: u32 = 65_001;
const SINK: u32 = 65_002;
const FEED_AT: &str = "10.0.0.11";
const SINK_AT: &str = "10.0.0.12";
const OTC: u8 = 35;

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn intent(feed: RoleTerms, sink: RoleTerms) -> Intent {
    let peer = |name: &str, address: &str, asn, role| {
        let mut peer = Peer::new(name, address.parse().unwrap(), Asn(asn));
        peer.scope = PeerScope::Node("n1".to_owned());
        peer.passive = true;
        peer.routes.import = PolicyKind::AcceptAll;
        peer.routes.export = PolicyKind::AcceptAll;
        peer.capabilities.role = role;
        peer
    };
    let node = Node {
        ipv4_address: Some("10.0.0.1/24".parse().unwrap()),
        blocks: vec![prefix("10.244.1.0/26")],
        ..Node::named("n1")
    };
    let mut intent = Intent {
        nodes: vec![node],
        peers: vec![
            peer("feed", FEED_AT, FEED, feed),
            peer("sink", SINK_AT, SINK, sink),
        ],
        ..Intent::default()
    };
    intent.bgp.as_number = Asn(US);
    intent
}

fn role(role: Role) -> RoleTerms {
    RoleTerms {
        role: Some(role),
        strict: false,
    }
}

/// ORIGIN, AS_PATH, NEXT_HOP of the feed, then these.
fn with(more: &[u8]) -> Vec<u8> {
    [&attributes(&[FEED], FEED_AT), more].concat()
}

fn otc(asn: u32) -> Vec<u8> {
    [&[0xc0, OTC, 4], &asn.to_be_bytes()[..]].concat()
}

/// Feed and sink have the roles that fit ours.
fn start(intent: &Intent, feed_says: Vec<u8>) -> World {
    let mut world = World::new(9);
    world.boot(plan(intent, "n1").unwrap(), 1, false);
    for (peer, (name, address, asn)) in intent
        .peers
        .iter()
        .zip([("feed", FEED_AT, FEED), ("sink", SINK_AT, SINK)])
    {
        let mut script = Script::new(address, asn);
        let role = peer.capabilities.role.role;
        script.more = role
            .map(|role| Capability::Role(role.counterpart().code()))
            .into_iter()
            .collect();
        if name == "feed" {
            script.greeting = [feed_says.clone(), end_of_rib()].concat();
        }
        world.script(name, script);
        world.script_dials(name, "10.0.0.1".parse().unwrap());
    }
    world.until(secs(20), World::all_up).unwrap();
    world.run(secs(5));
    world
}

/// The attribute of this code that the sink heard with a prefix; the outer `None`: it has not heard of it.
fn heard(world: &World, of: &str, code: u8) -> Option<Option<Vec<u8>>> {
    let script = world.script_of("sink");
    let updates = script.all(MessageKind::Update);
    let found = updates
        .iter()
        .map(|body| split(body))
        .rfind(|(_, _, announced)| announced.contains(&prefix(of)));
    let (_, attributes, _) = found?;
    let mut rest = attributes.as_slice();
    while let [_flags, found, len, tail @ ..] = rest {
        let (value, behind) = tail.split_at(usize::from(*len));
        if *found == code {
            return Some(Some(value.to_vec()));
        }
        rest = behind;
    }
    Some(None)
}

fn otc_heard(world: &World, of: &str) -> Option<Option<u32>> {
    let value = heard(world, of, OTC)?;
    Some(value.map(|value| u32::from_be_bytes(value.try_into().unwrap())))
}

#[test]
fn a_route_goes_where_the_roles_let_it() {
    use Role::{Customer, Peer, Provider, RouteServer, RouteServerClient};
    let above = [Customer, RouteServerClient];
    let below = [Provider, RouteServer];
    for feed in Role::ALL {
        for sink in Role::ALL {
            for mark in [None, Some(FEED), Some(64_000)] {
                let more = mark.map(otc).unwrap_or_default();
                let says = update(&[], &with(&more), &[prefix("20.0.0.0/24")]);
                let world = start(&intent(role(feed), role(sink)), says);
                // By the words of RFC 9234 §5, one after the other.
                let leak = mark.is_some() && below.contains(&feed)
                    || feed == Peer && mark.is_some_and(|mark| mark != FEED);
                let marked = match mark {
                    None if above.contains(&feed) || feed == Peer => Some(FEED),
                    mark => mark,
                };
                let goes_up = above.contains(&sink) || sink == Peer;
                let sent = if leak || (marked.is_some() && goes_up) {
                    None
                } else if below.contains(&sink) || sink == Peer {
                    Some(Some(marked.unwrap_or(US)))
                } else {
                    Some(marked)
                };
                let case = format!("{feed} {sink} {mark:?}");
                assert_eq!(otc_heard(&world, "20.0.0.0/24"), sent, "{case}");
                // Our own block is marked on its way down and goes everywhere.
                let own = (!above.contains(&sink)).then_some(US);
                assert_eq!(otc_heard(&world, "10.244.1.0/26"), Some(own), "{case}");
            }
        }
    }
}

#[test]
fn without_a_role_the_mark_passes_as_it_came() {
    for (feed, expected) in [
        (RoleTerms::default(), None),
        (role(Role::Customer), Some(FEED)),
    ] {
        let says = update(&[], &with(&[]), &[prefix("20.0.0.0/24")]);
        let world = start(&intent(feed, RoleTerms::default()), says);
        assert_eq!(otc_heard(&world, "20.0.0.0/24"), Some(expected));
        let says = update(&[], &with(&otc(7)), &[prefix("20.0.0.0/24")]);
        let world = start(&intent(feed, RoleTerms::default()), says);
        assert_eq!(otc_heard(&world, "20.0.0.0/24"), Some(Some(7)));
    }
}

#[test]
fn roles_that_do_not_fit_end_it_with_a_word_and_a_missing_one_where_it_is_required() {
    let strict = RoleTerms {
        role: Some(Role::Customer),
        strict: true,
    };
    let lax = role(Role::Customer);
    for (terms, theirs, refused) in [
        (lax, Some(0), false),
        (lax, None, false),
        (lax, Some(3), true),
        (lax, Some(4), true),
        (lax, Some(77), true),
        (strict, Some(0), false),
        (strict, None, true),
        (RoleTerms::default(), Some(3), false),
        (role(Role::Peer), Some(4), false),
        (role(Role::RouteServer), Some(2), false),
        (role(Role::RouteServer), Some(1), true),
    ] {
        let mut world = World::new(9);
        world.boot(plan(&intent(terms, lax), "n1").unwrap(), 1, false);
        let mut script = Script::new(FEED_AT, FEED);
        script.more = theirs.map(Capability::Role).into_iter().collect();
        world.script("feed", script);
        world.script_dials("feed", "10.0.0.1".parse().unwrap());
        world.run(secs(5));
        let case = format!("{terms:?} {theirs:?}");
        let status = world.peer("n1", "feed");
        assert_eq!(status.negotiated.is_none(), refused, "{case}");
        let told = world.script_of("feed").notifications();
        assert_eq!(told.contains(&(2, 11)), refused, "{case}");
        let offered = world.script_of("feed").open_heard().role();
        assert_eq!(offered, terms.role.map(Role::code), "{case}");
        let says = status.problem.unwrap_or_default();
        assert_eq!(says.contains("role"), refused, "{case}: {says}");
    }
}

#[test]
fn within_an_as_a_role_means_nothing() {
    let mut inside = intent(role(Role::Customer), RoleTerms::default());
    inside.peers[0].as_number = Some(Asn(US));
    let mut world = World::new(9);
    world.boot(plan(&inside, "n1").unwrap(), 1, false);
    let script = Script::new(FEED_AT, US);
    world.script("feed", script);
    world.script_dials("feed", "10.0.0.1".parse().unwrap());
    world.run(secs(5));
    assert!(world.peer("n1", "feed").negotiated.is_some());
    assert_eq!(world.script_of("feed").open_heard().role(), None);
}

#[test]
fn a_leak_is_named_and_comes_back_when_the_role_is_another_one() {
    let leaking = intent(role(Role::Provider), RoleTerms::default());
    let says = update(&[], &with(&otc(7)), &[prefix("20.0.0.0/24")]);
    let mut world = start(&leaking, says);
    let route = world.with_node("n1", |node, _| {
        node.speaker_mut().route(prefix("20.0.0.0/24")).unwrap()
    });
    let why = route.paths[0].reason.clone().unwrap();
    assert!(why.contains("OTC") && why.contains("leak"), "{why}");
    assert_eq!(heard(&world, "20.0.0.0/24", OTC), None);
}

/// AIGP with a metric of 9.
const AIGP: [u8; 14] = [0x80, 26, 11, 1, 0, 11, 0, 0, 0, 0, 0, 0, 0, 9];

#[test]
fn a_metric_of_another_as_goes_no_further_than_here() {
    for internal in [false, true] {
        let mut intent = intent(RoleTerms::default(), RoleTerms::default());
        // The sink is inside, and is told all that we know.
        intent.peers[1].as_number = Some(Asn(US));
        intent.nodes[0].route_reflector_cluster_id = Some("10.0.0.1".parse().unwrap());
        let (feed_as, path): (u32, &[u32]) = if internal { (US, &[]) } else { (FEED, &[FEED]) };
        intent.peers[0].as_number = Some(Asn(feed_as));
        let mut world = World::new(9);
        world.boot(plan(&intent, "n1").unwrap(), 1, false);
        let mut script = Script::new(FEED_AT, feed_as);
        let set = [&attributes(path, FEED_AT)[..], &AIGP].concat();
        // An empty path has no segment.
        let set = if internal {
            [
                &[0x40, 1, 1, 0, 0x40, 2, 0, 0x40, 3, 4, 10, 0, 0, 11][..],
                &AIGP,
            ]
            .concat()
        } else {
            set
        };
        let says = update(&[], &set, &[prefix("20.0.0.0/24")]);
        script.greeting = [says, end_of_rib()].concat();
        world.script("feed", script);
        world.script("sink", Script::new(SINK_AT, US));
        for name in ["feed", "sink"] {
            world.script_dials(name, "10.0.0.1".parse().unwrap());
        }
        world.until(secs(20), World::all_up).unwrap();
        world.run(secs(5));
        let sent = heard(&world, "20.0.0.0/24", 26).expect("it goes on");
        assert_eq!(sent.is_some(), internal, "only what is of our AS");
    }
}

#[test]
fn only_our_own_cluster_id_is_a_loop() {
    // Our router id is 10.0.0.1; the list has one identifier.
    for (own_cluster, list, accepted) in [
        (Some("10.0.0.200"), [10, 0, 0, 1], true),
        (Some("10.0.0.200"), [10, 0, 0, 200], false),
        (Some("10.0.0.1"), [10, 0, 0, 1], false),
        (None, [10, 0, 0, 1], true),
        (None, [10, 0, 0, 200], true),
    ] {
        let mut intent = intent(RoleTerms::default(), RoleTerms::default());
        intent.nodes[0].route_reflector_cluster_id = own_cluster.map(|id| id.parse().unwrap());
        intent.peers[0].as_number = Some(Asn(US));
        let mut world = World::new(9);
        world.boot(plan(&intent, "n1").unwrap(), 1, false);
        let mut script = Script::new(FEED_AT, US);
        let set = [
            &[0x40, 1, 1, 0, 0x40, 2, 0, 0x40, 3, 4, 10, 0, 0, 11][..],
            &[0x40, 5, 4, 0, 0, 0, 100],
            &[0x80, 9, 4, 10, 0, 0, 99],
            &[0x80, 10, 4],
            &list,
        ];
        script.greeting = update(&[], &set.concat(), &[prefix("20.0.0.0/24")]);
        world.script("feed", script);
        world.script_dials("feed", "10.0.0.1".parse().unwrap());
        world.run(secs(5));
        let status = world.peer("n1", "feed");
        assert_eq!(status.received, 1, "{own_cluster:?} {list:?}");
        assert_eq!(status.accepted == 1, accepted, "{own_cluster:?} {list:?}");
    }
}
