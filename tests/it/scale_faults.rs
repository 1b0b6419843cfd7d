//! Sixty-four real nodes in a full mesh, and everything that can go wrong between them.
//!
//! Links are cut and carry again, nodes lose power or are killed and start again, deliveries take up to
//! 200 ms more, so that what one node says overtakes what another says. Which, when and how long is the
//! seed's. Afterwards each node has each block by the node that has it, all sessions are up, and the
//! whole story was the same as on every run before, to the octet.

use std::fmt::Write as _;

use dunlin::net::Family;
use dunlin::topology::{Intent, plan};

use crate::scale_cluster::{Shape, Topology, address};
use crate::scale_count::Counters;
use crate::scale_report::golden;
use crate::scale_world::{Delays, World};

const NODES: usize = 64;
const FAULTS: usize = 40;

/// Seconds until what was said is believed lost, KEEPALIVEs a third of it.
const HOLD: u16 = 30;

struct Mesh {
    world: World,
    intent: Intent,
    /// Each node's life, for its seed.
    lives: Vec<u64>,
    cuts: u64,
    crashes: u64,
    kills: u64,
}

impl Mesh {
    fn new(seed: u64) -> Self {
        let mut intent = Shape::new(Topology::Mesh, NODES).intent(NODES);
        intent.bgp.session.hold_time = Some(HOLD);
        let mut world = World::new(seed, Delays { link: 5, more: 200 });
        for number in 0..NODES {
            world.place(address(number));
        }
        let mut mesh = Self {
            world,
            intent,
            lives: vec![0; NODES],
            cuts: 0,
            crashes: 0,
            kills: 0,
        };
        for number in 0..NODES {
            mesh.boot(number);
        }
        mesh
    }

    fn boot(&mut self, number: usize) {
        let plan = plan(&self.intent, &self.intent.nodes[number].name).unwrap();
        self.lives[number] += 1;
        let seed = 1_000 * self.lives[number] + number as u64;
        self.world.boot(number, plan, seed);
    }

    fn any(&mut self) -> usize {
        usize::try_from(self.world.rng.below(NODES as u64)).unwrap()
    }

    /// One thing that goes wrong, or is right again.
    fn fault(&mut self) {
        let (a, b) = (self.any(), self.any());
        match self.world.rng.below(8) {
            0..=2 if a != b => {
                self.world.cut(a, b);
                self.cuts += 1;
            }
            3 => {
                // All links of a node.
                for other in (0..NODES).filter(|other| *other != a) {
                    self.world.cut(a, other);
                }
                self.cuts += 1;
            }
            4 if self.world.hosts[a].is_up() => {
                self.world.crash(a);
                self.crashes += 1;
            }
            5 if self.world.hosts[a].is_up() => {
                self.world.kill(a);
                self.kills += 1;
            }
            6 => self.world.heal(),
            _ => self.start_again(),
        }
    }

    fn start_again(&mut self) {
        for number in 0..NODES {
            if !self.world.hosts[number].is_up() {
                self.boot(number);
            }
        }
    }

    fn is_converged(&self) -> bool {
        (0..NODES).all(|number| {
            let speaker = self.world.node(number).speaker();
            let (peers, up) = speaker.sessions();
            peers == up && speaker.heard_all() && self.has_all(number)
        })
    }

    fn has_all(&self, number: usize) -> bool {
        let rib = self.world.node(number).speaker().rib();
        let blocks = self.intent.nodes.iter().map(|node| node.blocks.len());
        rib.prefixes(Family::Ipv4) == blocks.sum::<usize>()
            && self.intent.nodes.iter().enumerate().all(|(other, node)| {
                let wanted = (other != number).then(|| address(other).into());
                node.blocks.iter().all(|block| {
                    let best = rib.lookup(*block).and_then(|route| route.best());
                    let found = best.and_then(|best| rib.path_attributes(best));
                    found.is_some_and(|found| {
                        found.decode().next_hop.map(|hop| hop.address) == wanted
                    })
                })
            })
    }

    fn count(&self) -> Counters {
        let mut all = Counters::default();
        for host in &self.world.hosts {
            all.add(&host.count);
        }
        all
    }
}

fn story(seed: u64) -> String {
    let mut mesh = Mesh::new(seed);
    for _ in 0..FAULTS {
        let wait = mesh.world.rng.below(2_000);
        mesh.world.run(wait);
        mesh.fault();
    }
    mesh.world.heal();
    mesh.start_again();
    let begin = mesh.world.tick;
    while !mesh.is_converged() {
        mesh.world.run(100);
        assert!(mesh.world.tick - begin < 120_000, "not after two minutes");
    }
    let took = mesh.world.tick - begin;
    // Nothing that was on its way changes it any more.
    mesh.world.run(1_000);
    assert!(mesh.is_converged());
    let mut out = String::new();
    let Counters { sent, received } = mesh.count();
    writeln!(
        out,
        "seed={seed} cuts={} crashes={} kills={} faults-ms={} converged-after-ms={took} \
         sent-messages={} sent-octets={} opens={} updates={} keepalives={} received-messages={} \
         trace={:016x}",
        mesh.cuts,
        mesh.crashes,
        mesh.kills,
        begin - 1_000,
        sent.messages,
        sent.octets,
        sent.opens,
        sent.updates,
        sent.keepalives,
        received.messages,
        mesh.world.trace,
    )
    .unwrap();
    out
}

#[test]
fn sixty_four_nodes_converge_whatever_happened_and_always_alike() {
    let root = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let stories: String = (1..=2).map(story).collect();
    golden(&root.join("proto-fixtures/scale/faults.txt"), &stories);
}
