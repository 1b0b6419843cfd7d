//! Route reflection (RFC 4456) over random topologies of whole nodes: clusters of one or two reflectors
//! under one identifier or two, reflectors that are clients of others, with and without Add-Path.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use dunlin::net::{Family, Prefix, RouterId};
use dunlin::policy::PolicyKind;
use dunlin::time::Duration;
use dunlin::topology::{Intent, Node, Peer, PeerScope, Plan, plan};
use dunlin::wire::attribute::PathAttributes;

use crate::sim_world::{Rng, World};

const SEEDS: std::ops::Range<u64> = 0..12;
/// Several nodes announce it.
const SHARED: &str = "30.0.0.0/24";

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn address(i: usize) -> IpAddr {
    format!("10.0.0.{}", i + 1).parse().unwrap()
}

fn block(i: usize) -> Prefix {
    format!("20.{i}.0.0/24").parse().unwrap()
}

fn name(i: usize) -> String {
    format!("n{i:02}")
}

/// Who peers with whom, and who is whose client.
struct Topology {
    /// By node: its cluster identifier, if it reflects.
    clusters: Vec<Option<RouterId>>,
    /// Reflector and client, or (third is false) two reflectors of one level.
    sessions: Vec<(usize, usize, bool)>,
    add_path: bool,
}

impl Topology {
    /// Two or three clusters whose reflectors are fully meshed; below each some clients, of which one
    /// may be a reflector itself.
    fn random(rng: &mut Rng) -> Self {
        let mut topology = Self {
            clusters: Vec::new(),
            sessions: Vec::new(),
            add_path: rng.below(2) == 0,
        };
        let clusters = 2 + rng.below(2);
        let mut tops = Vec::new();
        for cluster in 0..clusters {
            let count = 1 + rng.below(2);
            let reflectors = topology.reflectors(rng, count, cluster);
            for clients in 0..1 + rng.below(3) {
                let below = topology.add(None);
                topology.join(&reflectors, below);
                if clients == 0 && rng.below(2) == 0 {
                    topology.clusters[below] = Some(RouterId(500 + u32::try_from(below).unwrap()));
                    for _ in 0..1 + rng.below(2) {
                        let client = topology.add(None);
                        topology.join(&[below], client);
                    }
                }
            }
            tops.extend(reflectors);
        }
        for (at, &one) in tops.iter().enumerate() {
            for &other in &tops[at + 1..] {
                topology.sessions.push((one, other, false));
            }
        }
        topology
    }

    /// The reflectors of a cluster, under one identifier or each under its own.
    fn reflectors(&mut self, rng: &mut Rng, count: u64, cluster: u64) -> Vec<usize> {
        let same = rng.below(2) == 0;
        let id = |at: u64| u32::try_from(100 + cluster * 10 + if same { 0 } else { at }).unwrap();
        (0..count)
            .map(|at| self.add(Some(RouterId(id(at)))))
            .collect()
    }

    fn add(&mut self, cluster: Option<RouterId>) -> usize {
        self.clusters.push(cluster);
        self.clusters.len() - 1
    }

    fn join(&mut self, reflectors: &[usize], client: usize) {
        let with = reflectors
            .iter()
            .map(|&reflector| (reflector, client, true));
        self.sessions.extend(with);
    }

    /// Who announces the shared prefix: some who reflect nothing, since a reflector that has a prefix
    /// itself tells of no other path.
    fn owners(&self) -> BTreeSet<usize> {
        let leaves = (0..self.clusters.len()).filter(|&i| self.clusters[i].is_none());
        leaves.step_by(2).collect()
    }

    fn intent(&self) -> Intent {
        let node = |i: usize| Node {
            ipv4_address: Some(format!("{}/24", address(i)).parse().unwrap()),
            route_reflector_cluster_id: self.clusters[i],
            blocks: vec![block(i)],
            ..Node::named(name(i))
        };
        let mut intent = Intent {
            nodes: (0..self.clusters.len()).map(node).collect(),
            ..Intent::default()
        };
        intent.bgp.node_to_node_mesh_enabled = false;
        let asn = intent.bgp.as_number;
        for &(one, other, client) in &self.sessions {
            for (of, to, is_client) in [(one, other, client), (other, one, false)] {
                let mut peer = Peer::new(name(to), address(to), asn);
                peer.scope = PeerScope::Node(name(of));
                peer.routes.import = PolicyKind::AcceptAll;
                peer.routes.export = PolicyKind::AcceptAll;
                peer.routes.client = Some(is_client);
                intent.peers.push(peer);
            }
        }
        intent
    }

    /// The plan of a node; what makes a client of a peer is not this test's matter.
    fn plan(&self, intent: &Intent, i: usize) -> Plan {
        let mut plan = plan(intent, &name(i)).unwrap();
        for peer in &mut plan.peers {
            peer.open.add_path = self.add_path;
            peer.client = self
                .sessions
                .iter()
                .any(|&(one, other, client)| client && one == i && name(other) == peer.name);
        }
        if self.owners().contains(&i) {
            plan.originate.push(SHARED.parse().unwrap());
        }
        plan
    }

    fn start(&self, seed: u64) -> World {
        let intent = self.intent();
        let mut world = World::new(seed);
        world.max_paths = 16;
        for i in 0..self.clusters.len() {
            world.boot(self.plan(&intent, i), seed * 100 + i as u64, false);
        }
        world.until(secs(60), World::all_up).unwrap();
        world.run(secs(10));
        world
    }
}

/// The selected paths of a node, the best first.
fn selected(world: &World, i: usize, prefix: Prefix) -> Vec<PathAttributes> {
    let name = name(i);
    let rib = world.node(&name).speaker().rib();
    let paths = rib.lookup(prefix).map_or(&[][..], |route| route.paths);
    let paths = paths.iter().filter(|path| path.selected);
    paths
        .map(|path| rib.path_attributes(path).unwrap().decode())
        .collect()
}

fn next_hops(world: &World, i: usize, prefix: Prefix) -> BTreeSet<IpAddr> {
    let paths = selected(world, i, prefix).into_iter();
    paths
        .filter_map(|path| Some(path.next_hop?.address))
        .collect()
}

/// Everybody goes straight to the owner, and each attribute says whence and which way.
fn check_blocks(world: &World, topology: &Topology, owners: impl Fn(usize) -> bool) {
    let nodes = topology.clusters.len();
    let known: BTreeSet<_> = topology.clusters.iter().flatten().copied().collect();
    for i in 0..nodes {
        for owner in (0..nodes).filter(|&owner| owner != i) {
            let paths = selected(world, i, block(owner));
            let hops = next_hops(world, i, block(owner));
            let expected: BTreeSet<_> = owners(owner).then(|| address(owner)).into_iter().collect();
            assert_eq!(hops, expected, "{} to {}", name(i), name(owner));
            for path in paths {
                assert!(path.as_path.segments.is_empty());
                let reflected = !path.cluster_list.is_empty();
                let identifier = world.node(&name(owner)).speaker().plan().router_id;
                assert_eq!(path.originator_id, reflected.then_some(identifier));
                let clusters: BTreeSet<_> = path.cluster_list.iter().copied().collect();
                assert_eq!(
                    clusters.len(),
                    path.cluster_list.len(),
                    "twice through a cluster"
                );
                assert!(clusters.is_subset(&known));
                assert!(topology.clusters[i].is_none_or(|own| !clusters.contains(&own)));
            }
        }
    }
}

fn updates(world: &World) -> u64 {
    world.updates.values().sum()
}

#[test]
fn everybody_gets_every_route_straight_and_nothing_goes_round() {
    for seed in SEEDS {
        let topology = Topology::random(&mut Rng::new(seed));
        let mut world = topology.start(seed);
        check_blocks(&world, &topology, |_| true);
        let quiet = updates(&world);
        world.run(secs(60));
        assert_eq!(
            updates(&world),
            quiet,
            "seed {seed}: no UPDATE without a change"
        );
        // A block that goes is gone everywhere, and nobody keeps it alive for anybody.
        let last = topology.clusters.len() - 1;
        let mut plan = topology.plan(&topology.intent(), last);
        plan.originate.clear();
        plan.own_blocks.clear();
        world.replan(&name(last), plan);
        world.run(secs(10));
        check_blocks(&world, &topology, |owner| owner != last);
        let sessions = 2 * topology.sessions.len() as u64;
        let told = updates(&world) - quiet;
        // One for each prefix and direction would do; a path by another way may come in between.
        assert!(
            told <= 6 * sessions,
            "seed {seed}: {told} UPDATEs, {sessions} ways"
        );
    }
}

#[test]
fn a_prefix_of_several_nodes_keeps_all_its_next_hops_through_reflectors() {
    let shared: Prefix = SHARED.parse().unwrap();
    let mut several = 0;
    for seed in SEEDS {
        let mut topology = Topology::random(&mut Rng::new(seed));
        topology.add_path = true;
        let owners = topology.owners();
        let mut world = topology.start(seed);
        let expected = |without: Option<usize>| -> BTreeSet<IpAddr> {
            let left = owners.iter().filter(|owner| Some(**owner) != without);
            left.map(|&owner| address(owner)).collect()
        };
        let all = |world: &World, expected: &BTreeSet<IpAddr>| {
            for i in (0..topology.clusters.len()).filter(|i| !owners.contains(i)) {
                assert_eq!(
                    &next_hops(world, i, shared),
                    expected,
                    "seed {seed} {}",
                    name(i)
                );
            }
        };
        all(&world, &expected(None));
        several += usize::from(owners.len() > 1);
        // One ceases to announce it, and the others' identifiers stay what they were.
        let Some(&first) = owners.first().filter(|_| owners.len() > 1) else {
            continue;
        };
        let before = sent_ids(&world, &topology, shared);
        let mut plan = topology.plan(&topology.intent(), first);
        plan.originate.retain(|prefix| *prefix != shared);
        world.replan(&name(first), plan);
        world.run(secs(10));
        all(&world, &expected(Some(first)));
        for (path, id) in sent_ids(&world, &topology, shared) {
            assert!(before.get(&path).is_none_or(|was| *was == id), "{path:?}");
        }
    }
    assert!(
        several >= 6,
        "the topologies have to have something to share"
    );
}

/// By node, peer and path identifier as received: the identifier that the path goes on under.
fn sent_ids(world: &World, topology: &Topology, prefix: Prefix) -> BTreeMap<(usize, u32, u32), u8> {
    let mut ids = BTreeMap::new();
    for i in 0..topology.clusters.len() {
        let name = name(i);
        let rib = world.node(&name).speaker().rib();
        let paths = rib.lookup(prefix).map_or(&[][..], |route| route.paths);
        for path in paths.iter().filter(|path| path.send_id != 0) {
            ids.insert((i, path.peer.0, path.path_id), path.send_id);
        }
    }
    ids
}
#[test]
fn a_peer_becomes_a_client_and_ceases_to_be_one_without_a_new_session() {
    // One reflector; n1 is its client, n2 and n3 are not.
    let mut topology = Topology {
        clusters: vec![Some(RouterId(100)), None, None, None],
        sessions: vec![(0, 1, true), (0, 2, false), (0, 3, false)],
        add_path: false,
    };
    let mut world = topology.start(1);
    let has = |world: &World, i: usize, owner: usize| !selected(world, i, block(owner)).is_empty();
    assert!(has(&world, 1, 2) && has(&world, 2, 1), "through a client");
    assert!(
        !has(&world, 2, 3) && !has(&world, 3, 2),
        "not from one ordinary peer to another"
    );
    let ups = world.ups(&name(0));
    for client in [true, false, true] {
        topology.sessions[1].2 = client;
        let plan = topology.plan(&topology.intent(), 0);
        world.replan(&name(0), plan);
        world.run(secs(5));
        assert_eq!((has(&world, 2, 3), has(&world, 3, 2)), (client, client));
        assert!(has(&world, 1, 2) && has(&world, 2, 1));
        assert_eq!(world.ups(&name(0)), ups, "every session is the one it was");
    }
    let family = Family::Ipv4;
    let groups = world.node(&name(0)).speaker().rib().groups();
    assert_eq!(groups.iter().filter(|g| g.key.family == family).count(), 2);
}
