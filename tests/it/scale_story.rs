//! The life of a large cluster: it starts, a node joins, a block changes, nothing happens for a minute.
//!
//! Who is real: each reflector and, of the others, one (the middle one) and the node that joins. All else
//! are stubs. What always holds: a stage ends when no UPDATE has arrived for a second, and then every real
//! node has exactly the routes that the cluster file says, and so has each careful stub.

use std::collections::BTreeSet;

use dunlin::net::Prefix;
use dunlin::topology::{Dial, Intent, plan};

use crate::scale_cluster::{BLOCKS, Shape, Topology, address, block};
use crate::scale_count::Counters;
use crate::scale_stub::Stub;
use crate::scale_world::{Delays, World};

/// Each connection has a delay of 1 to so many milliseconds.
pub(crate) const LINK: u64 = 5;
/// Every so manyth stub remembers each prefix.
pub(crate) const CAREFUL: usize = 64;

/// What a stage cost.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) name: &'static str,
    /// From its beginning to the last UPDATE.
    pub(crate) millis: u64,
    pub(crate) costs: Vec<Cost>,
    /// All messages and octets, each counted once.
    pub(crate) messages: u64,
    pub(crate) octets: u64,
}

/// What it cost those of one role together, and one of them at most.
#[derive(Debug)]
pub(crate) struct Cost {
    pub(crate) role: &'static str,
    pub(crate) nodes: u64,
    pub(crate) all: Counters,
    /// Messages, both ways, of the one that had the most.
    pub(crate) most: u64,
}

pub(crate) struct Story {
    pub(crate) shape: Shape,
    pub(crate) world: World,
    pub(crate) intent: Intent,
    /// By node number, which is the place in the world as well.
    pub(crate) real: Vec<bool>,
}

impl Story {
    /// All machines are there, and nothing runs.
    pub(crate) fn new(shape: Shape, real: impl Fn(usize) -> bool, seed: u64) -> Self {
        let delays = Delays {
            link: LINK,
            more: 0,
        };
        let mut world = World::new(seed, delays);
        for number in 0..=shape.nodes {
            world.place(address(number));
        }
        let mut real: Vec<bool> = (0..shape.nodes).map(real).collect();
        real.push(true);
        Self {
            shape,
            world,
            intent: shape.intent(shape.nodes),
            real,
        }
    }

    /// The one that is real among the nodes that do not reflect.
    pub(crate) const fn middle(shape: Shape) -> usize {
        shape.nodes / 2
    }

    /// Boots a real node, and has the stubs dial that are to.
    fn boot(&mut self, number: usize) {
        let name = &self.intent.nodes[number].name;
        let plan = plan(&self.intent, name).unwrap();
        let callers = plan.peers.iter().filter(|peer| peer.dial != Dial::Active);
        let callers: Vec<_> = callers
            .map(|peer| self.world.host_at(peer.address).unwrap())
            .filter(|host| !self.real[*host])
            .collect();
        self.world.boot(number, plan, 1_000 + number as u64);
        for caller in callers {
            self.world.stub_dials(caller, number);
        }
    }

    fn begin(&mut self) {
        for number in (0..self.shape.nodes).filter(|number| !self.real[*number]) {
            let stub = Stub {
                address: address(number),
                blocks: self.intent.nodes[number].blocks.clone(),
                careful: number.is_multiple_of(CAREFUL),
            };
            self.world.stub(number, stub);
        }
        for number in 0..self.shape.nodes {
            if self.real[number] {
                self.boot(number);
            }
        }
    }

    /// Until nobody has heard an UPDATE for a second.
    fn settle(&mut self) {
        self.world.last_update = self.world.tick;
        while self.world.tick - self.world.last_update < 1_000 {
            self.world.run(10);
            for number in 0..self.intent.nodes.len() {
                if self.real[number] && self.world.tick - self.world.last_update < 100 {
                    self.world.look_closely(number);
                }
            }
        }
    }

    /// `act`, and what came of it. Who acted is counted apart from its role.
    fn stage(
        &mut self,
        name: &'static str,
        acting: Option<(usize, &'static str)>,
        act: impl FnOnce(&mut Self),
    ) -> Stage {
        let before: Vec<_> = self.world.hosts.iter().map(|host| host.count).collect();
        let begin = self.world.tick;
        act(self);
        let millis = self.world.last_update.saturating_sub(begin);
        let spent = |number: usize| self.world.hosts[number].count.since(&before[number]);
        let mut costs: Vec<Cost> = Vec::new();
        let apart = acting.map(|(number, _)| number);
        for role in self.shape.roles() {
            let members = (0..self.intent.nodes.len()).filter(|number| {
                self.shape.role(*number) == *role && self.speaks_for_its_role(*number)
            });
            let members = members.filter(|number| Some(*number) != apart);
            costs.push(cost(role, members.map(spent)));
        }
        costs.extend(acting.map(|(number, role)| cost(role, [spent(number)].into_iter())));
        let all = (0..self.world.hosts.len()).map(spent);
        let (mut messages, mut octets) = (0, 0);
        for one in all {
            messages += one.sent.messages;
            octets += one.sent.octets;
        }
        if self.shape.topology == Topology::Mesh && apart.is_none() {
            // Each node does what the real ones do.
            let [cost] = &costs[..] else {
                panic!("{costs:?}")
            };
            let nodes = self.shape.nodes as u64;
            messages = cost.all.sent.messages * nodes / cost.nodes;
            octets = cost.all.sent.octets * nodes / cost.nodes;
        }
        Stage {
            name,
            millis,
            costs,
            messages,
            octets,
        }
    }

    /// A stub of a mesh has no sessions but those with real nodes.
    fn speaks_for_its_role(&self, number: usize) -> bool {
        self.real[number] || self.shape.topology != Topology::Mesh
    }

    pub(crate) fn start(&mut self) -> Stage {
        self.stage("start", None, |story| {
            story.begin();
            story.settle();
            story.check();
            story.check_openings();
        })
    }

    /// One more node, which all others learn of at the moment when it is there.
    pub(crate) fn join(&mut self) -> Stage {
        let number = self.shape.nodes;
        self.stage("join", Some((number, "newcomer")), |story| {
            story.intent = story.shape.intent(number + 1);
            for old in 0..number {
                if story.real[old] {
                    let name = &story.intent.nodes[old].name;
                    let plan = plan(&story.intent, name).unwrap();
                    story.world.replan(old, plan);
                }
            }
            story.boot(number);
            story.settle();
            story.check();
        })
    }

    /// The real node's first block goes, and it gets another one.
    pub(crate) fn change(&mut self) -> Stage {
        let number = Self::middle(self.shape);
        self.stage("change", Some((number, "changer")), |story| {
            let new = block(story.intent.nodes.len() * BLOCKS);
            story.intent.nodes[number].blocks[0] = new;
            let name = &story.intent.nodes[number].name;
            let plan = plan(&story.intent, name).unwrap();
            story.world.replan(number, plan);
            story.settle();
            story.check();
        })
    }

    /// A minute in which nothing happens.
    pub(crate) fn idle(&mut self) -> Stage {
        self.stage("idle", None, |story| {
            let before = story.world.last_update;
            story.world.run(60_000);
            assert_eq!(before, story.world.last_update, "an UPDATE out of nothing");
            story.world.last_update = 0;
        })
    }

    /// Everybody who is looked at has what he should.
    pub(crate) fn check(&self) {
        for number in 0..self.intent.nodes.len() {
            if self.real[number] {
                self.check_node(number);
            } else {
                self.check_stub(number);
            }
        }
    }

    /// No session took a second try, and there are as many as the shape says.
    fn check_openings(&self) {
        let opens = |number: &usize| self.world.hosts[*number].count.sent.opens;
        let all = 0..self.shape.nodes;
        let mut speaking = all.filter(|number| self.speaks_for_its_role(*number));
        let nodes = self.shape.nodes as u64;
        match self.shape.topology {
            Topology::Mesh => assert!(speaking.all(|number| opens(&number) == nodes - 1)),
            Topology::Reflectors | Topology::Hierarchy => {
                let opens: u64 = speaking.map(|number| opens(&number)).sum();
                assert_eq!(opens, 2 * self.shape.sessions());
            }
        }
    }

    fn check_node(&self, number: usize) {
        let node = &self.intent.nodes[number];
        let speaker = self.world.node(number).speaker();
        let (peers, up) = speaker.sessions();
        assert_eq!((peers, speaker.heard_all()), (up, true), "{}", node.name);
        let rib = speaker.rib();
        let mut blocks = 0;
        for other in &self.intent.nodes {
            for block in &other.blocks {
                blocks += 1;
                let best = rib.lookup(*block).and_then(|route| route.best());
                let Some(best) = best else {
                    panic!("{} has no way to {block} of {}", node.name, other.name);
                };
                let hop = rib.path_attributes(best).unwrap().decode().next_hop;
                let wanted = (other.name != node.name).then(|| other.ipv4_address.unwrap().ip());
                assert_eq!(hop.map(|hop| hop.address), wanted.map(Into::into));
            }
        }
        assert_eq!(rib.prefixes(dunlin::net::Family::Ipv4), blocks);
        assert_eq!(rib.lingering(dunlin::net::Family::Ipv4), 0);
    }

    fn check_stub(&self, number: usize) {
        for (other, line) in self.world.lines(number) {
            assert!(line.up && line.ends == 1, "{number} and {other}: {line:?}");
            if !number.is_multiple_of(CAREFUL) {
                continue;
            }
            let expected: BTreeSet<Prefix> = match self.shape.topology {
                Topology::Mesh => self.intent.nodes[other].blocks.iter().copied().collect(),
                Topology::Reflectors | Topology::Hierarchy => {
                    let others = self.intent.nodes.iter().enumerate();
                    let others = others.filter(|(other, _)| *other != number);
                    others.flat_map(|(_, node)| node.blocks.clone()).collect()
                }
            };
            assert_eq!(line.table, expected, "{number} from {other}");
        }
    }
}

fn cost(role: &'static str, each: impl Iterator<Item = Counters>) -> Cost {
    let mut cost = Cost {
        role,
        nodes: 0,
        all: Counters::default(),
        most: 0,
    };
    for one in each {
        cost.nodes += 1;
        cost.all.add(&one);
        cost.most = cost.most.max(one.messages());
    }
    cost
}
