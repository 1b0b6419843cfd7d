//! No silent hole: whatever happens to nodes, their kernels and their peers, what is not as wanted is
//! covered by a problem at every step, and when all faults are over there is none.
//!
//! What is wanted is worked out here, from plans and tables, and what is so is asked of the kernel; neither
//! is taken from the problems' own bookkeeping. `DUNLIN_STORIES=10000` tells more stories.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dunlin::dataplane::{Errno, RouteState, Sysctl};
use dunlin::forwarding::Chooser;
use dunlin::net::{Asn, Prefix};
use dunlin::policy::PolicyKind;
use dunlin::problem::{Code, Problem, Subject};
use dunlin::time::Duration;
use dunlin::topology::{Intent, Peer, PeerScope, PoolMode, plan};

use crate::sim_kernel::UPLINK;
use crate::sim_mesh::{cluster, node};
use crate::sim_script::{Script, attributes, update};
use crate::sim_world::{Actor, Rng, World};

/// Stories told without a word from outside.
const STORIES: u64 = 120;
/// Things that happen in one.
const STEPS: u64 = 14;
const ROUTER: &str = "10.0.0.250";
/// Behind a next hop that nothing leads to.
const LOST: [&str; 2] = ["203.0.113.0/24", "198.51.100.0/24"];

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

/// A world, what it is meant to be, and what was done to it.
struct Story {
    world: World,
    intent: Intent,
    rng: Rng,
    away: BTreeSet<String>,
    shut: BTreeSet<(String, String)>,
    log: Vec<String>,
    boots: u64,
}

impl Story {
    fn begin(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let mut intent = cluster(2 + u8::try_from(rng.below(2)).unwrap());
        let mode = rng.below(3);
        set_mode(&mut intent, mode);
        let mut router = Peer::new("router", ROUTER.parse().unwrap(), Asn(65_001));
        router.scope = PeerScope::Node("n1".to_owned());
        router.routes.import = PolicyKind::AcceptAll;
        intent.peers.push(router);
        let mut world = World::new(seed);
        world.dual_stack = true;
        world.script("router", Script::new(ROUTER, 65_001));
        let mut story = Self {
            world,
            intent,
            rng,
            away: BTreeSet::new(),
            shut: BTreeSet::new(),
            log: vec![format!("mode {mode}")],
            boots: 0,
        };
        for name in story.names() {
            story.boot(&name);
        }
        story
    }

    fn names(&self) -> Vec<String> {
        let nodes = self.intent.nodes.iter();
        nodes.map(|node| node.name.clone()).collect()
    }

    fn boot(&mut self, name: &str) {
        self.boots += 1;
        let plan = plan(&self.intent, name).unwrap();
        self.away.remove(name);
        self.shut.retain(|(node, _)| node != name);
        if let Some(host) = self.world.hosts.get_mut(name) {
            // What was asked for by the former process is the next one's to ask for.
            host.kernel.as_mut().unwrap().unmade.clear();
        }
        self.world.boot(plan, self.boots, true);
    }

    fn replan(&mut self) {
        for name in self.names() {
            if !self.away.contains(&name) {
                let plan = plan(&self.intent, &name).unwrap();
                self.world.replan(&name, plan);
            }
        }
    }

    fn one_of<T: Clone>(&mut self, all: &[T]) -> Option<T> {
        let place = self.rng.below(all.len() as u64);
        all.get(usize::try_from(place).unwrap()).cloned()
    }

    /// Something happens. Nothing is drawn that does not fit: what is there already is undone.
    fn step(&mut self) {
        let Some(name) = self.one_of(&self.names()) else {
            return;
        };
        let what = self.rng.below(16);
        self.log.push(format!("{:?} {name} {what}", self.world.now));
        match what {
            0 | 1 if self.away.contains(&name) => self.boot(&name),
            0 => {
                self.world.crash(&name);
                self.away.insert(name);
            }
            1 => {
                self.world.kill(&name);
                self.away.insert(name);
            }
            2 => {
                let host = self.world.hosts.get_mut(&name).unwrap();
                host.refuses ^= true;
            }
            3 if self.world.hosts[&name].asleep => self.world.wake_reader(&name),
            3 => self.world.hosts.get_mut(&name).unwrap().asleep = true,
            4 | 5 => {
                let carrier = what == 5;
                self.world.disturb(&name, |kernel| {
                    let fine = !kernel.faults.link_down && !kernel.faults.no_carrier;
                    kernel.set_link(fine && !carrier, fine && carrier)
                });
            }
            6..10 => self.disturb_a_route(&name, what),
            10 => self.disturb_a_device(&name),
            11 => self.world.disturb(&name, |kernel| {
                kernel.faults.no_driver ^= true;
                Vec::new()
            }),
            12 => self.order(&name),
            13 => self.change_plan(),
            14 => self.say_something_lost(),
            _ => self.world.disturb(&name, |kernel| {
                kernel.faults.read_only ^= true;
                Vec::new()
            }),
        }
    }

    fn disturb_a_route(&mut self, name: &str, what: u64) {
        let blocks: Vec<Prefix> = self
            .intent
            .nodes
            .iter()
            .flat_map(|n| n.blocks.clone())
            .collect();
        let Some(block) = self.one_of(&blocks) else {
            return;
        };
        self.world.disturb(name, |kernel| match what {
            6 => {
                let refused = &mut kernel.faults.refused;
                if refused.remove(&block).is_none() {
                    refused.insert(block, Errno::EINVAL);
                }
                Vec::new()
            }
            7 if kernel.is_usurped(block) => kernel.cede(block),
            7 => kernel.usurp(block),
            8 => kernel.steal(block),
            _ => {
                kernel.faults.denied ^= true;
                Vec::new()
            }
        });
    }

    fn disturb_a_device(&mut self, name: &str) {
        let removes = self.rng.below(2) == 0;
        self.world
            .disturb(name, |kernel| match kernel.made.keys().next().copied() {
                Some(index) if removes => kernel.remove_link(index),
                Some(index) => kernel.set_down(index),
                None => Vec::new(),
            });
    }

    fn order(&mut self, name: &str) {
        if self.away.contains(name) {
            return;
        }
        let peers = self.world.node(name).speaker().peers();
        let peers: Vec<String> = peers.into_iter().map(|peer| peer.planned.name).collect();
        let Some(peer) = self.one_of(&peers) else {
            return;
        };
        let key = (name.to_owned(), peer.clone());
        let enable = self.shut.remove(&key);
        self.world.with_node(name, |node, now| {
            let speaker = node.speaker_mut();
            if enable {
                speaker.enable_peer(now, &peer).unwrap();
            } else {
                speaker.shutdown_peer(now, &peer, String::new()).unwrap();
            }
        });
        if !enable {
            self.shut.insert(key);
        }
    }

    fn change_plan(&mut self) {
        match self.rng.below(4) {
            0 => {
                let mode = self.rng.below(3);
                self.log.push(format!("mode {mode}"));
                set_mode(&mut self.intent, mode);
            }
            1 => {
                // The first of a node's tunnel addresses goes with the block.
                let nodes = self.intent.nodes.len() as u64;
                let place = usize::try_from(self.rng.below(nodes)).unwrap();
                let former = node(u8::try_from(place).unwrap() + 1).blocks;
                self.log.push(format!("blocks of {place}"));
                let blocks = &mut self.intent.nodes[place].blocks;
                *blocks = if blocks.is_empty() {
                    former
                } else {
                    Vec::new()
                };
            }
            2 if self.intent.nodes.len() < 4 => {
                let number = u8::try_from(self.intent.nodes.len()).unwrap() + 1;
                self.intent.nodes.push(node(number));
                self.boot(&format!("n{number}"));
            }
            _ => {}
        }
        self.replan();
    }

    /// The router announces what can't be reached, or takes it back.
    fn say_something_lost(&mut self) {
        let up = !self.world.hosts["router"].ends_are_gone();
        if !up {
            return;
        }
        let lost = LOST.map(prefix);
        let words = match self.rng.below(3) {
            0 => update(&lost, &[], &[]),
            _ => update(&[], &attributes(&[65_001], "192.0.2.9"), &lost),
        };
        self.world.say("router", words);
    }

    /// All faults are over.
    fn heal(&mut self) {
        self.log.push(format!("{:?} heal", self.world.now));
        for name in self.names() {
            self.world.hosts.get_mut(&name).unwrap().refuses = false;
            self.world.wake_reader(&name);
            self.world.disturb(&name, |kernel| {
                kernel.faults.refused.clear();
                kernel.faults.denied = false;
                kernel.faults.no_driver = false;
                kernel.faults.read_only = false;
                let mut told = kernel.set_link(false, false);
                for prefix in kernel.foreign.keys().map(|key| key.0).collect::<Vec<_>>() {
                    told.extend(kernel.cede(prefix));
                }
                told
            });
            if self.away.contains(&name) {
                self.boot(&name);
            }
        }
        for (node, peer) in std::mem::take(&mut self.shut) {
            self.world.with_node(&node, |node, now| {
                // It may be out of the plan by now.
                let _gone = node.speaker_mut().enable_peer(now, &peer);
            });
        }
        for node in &mut self.intent.nodes {
            let number = node.name[1..].parse().unwrap();
            node.blocks = crate::sim_mesh::node(number).blocks;
        }
        if !self.world.hosts["router"].ends_are_gone() {
            self.world
                .say("router", update(&LOST.map(prefix), &[], &[]));
        }
        self.replan();
    }
}

fn set_mode(intent: &mut Intent, mode: u64) {
    for pool in &mut intent.pools {
        (pool.ipip_mode, pool.vxlan_mode) = match mode {
            0 => (PoolMode::Never, PoolMode::Never),
            1 => (PoolMode::Always, PoolMode::Never),
            _ => (PoolMode::Never, PoolMode::Always),
        };
    }
}

/// What a node says to be wrong, by subject.
struct Said(BTreeMap<Subject, Vec<Problem>>);

impl Said {
    fn by(world: &World, name: &str) -> Self {
        let mut by_subject: BTreeMap<Subject, Vec<Problem>> = BTreeMap::new();
        for problem in world.node(name).problems(world.now) {
            let of_subject = by_subject.entry(problem.subject.clone()).or_default();
            of_subject.push(problem);
        }
        Self(by_subject)
    }

    fn covers(&self, subject: &Subject) -> bool {
        self.0.contains_key(subject)
    }

    /// Whether all of the kernel is said not to be as wanted.
    fn covers_all_routes(&self) -> bool {
        const ALL: [Code; 3] = [
            Code::KernelDenies,
            Code::KernelExhausted,
            Code::KernelUnread,
        ];
        let of_host = self.0.get(&Subject::Host);
        of_host.is_some_and(|problems| problems.iter().any(|problem| ALL.contains(&problem.code)))
    }
}

/// Everything of a node that is not as wanted and not covered.
fn holes(world: &World, name: &str) -> Vec<String> {
    let said = Said::by(world, name);
    let mut holes = Vec::new();
    sessions(world, name, &said, &mut holes);
    // What the kernel has not told, no node can know.
    if world.kernel_is_heard(name) {
        routes(world, name, &said, &mut holes);
        devices(world, name, &said, &mut holes);
    }
    holes
}

fn sessions(world: &World, name: &str, said: &Said, holes: &mut Vec<String>) {
    for peer in world.node(name).speaker().peers() {
        let subject = Subject::Peer(peer.planned.name.clone());
        if peer.negotiated.is_none() && !peer.leaving && !said.covers(&subject) {
            holes.push(format!("{name}: session with {subject}"));
        }
    }
}

/// Whatever a peer has announced and was accepted, and own blocks, is to be in the kernel.
fn routes(world: &World, name: &str, said: &Said, holes: &mut Vec<String>) {
    let node = world.node(name);
    let (rib, dataplane) = (node.speaker().rib(), node.dataplane().unwrap());
    let kernel = world.hosts[name].kernel.as_ref().unwrap();
    for route in rib.routes() {
        let own = route.best().is_some_and(|best| best.peer.is_local());
        let wanted = route.paths.iter().any(|path| path.accepted);
        if !wanted || (own && route.prefix.is_host()) || said.covers_all_routes() {
            continue;
        }
        let stands = kernel.best(route.prefix);
        let target = dataplane.target(route.prefix);
        let state = dataplane.state(route.prefix);
        // What a former process left carries packets until all peers were heard.
        let kept = state == Some(RouteState::Stale);
        if stands.is_some_and(|stands| kept || Some(&stands.shape) == target) {
            continue;
        }
        // An operation on it is on its way to the kernel at this very moment.
        let pending = state == Some(RouteState::Pending) && dataplane.counts().outstanding > 0;
        if !pending && !said.covers(&Subject::Route(route.prefix)) {
            holes.push(format!("{name}: route {}: {state:?}", route.prefix));
        }
    }
}

fn devices(world: &World, name: &str, said: &Said, holes: &mut Vec<String>) {
    let node = world.node(name);
    let kernel = world.hosts[name].kernel.as_ref().unwrap();
    let plan = node.speaker().plan();
    if (kernel.faults.link_down || kernel.faults.no_carrier)
        && node.dataplane().unwrap().is_synced()
        && !said.covers(&Subject::Device("eth0".to_owned()))
    {
        holes.push(format!("{name}: eth0 is down"));
    }
    let tunnels = node.chooser().tunnels();
    let is_needed = |link: &str| {
        !tunnels.is_empty() && (link == "eth0" || tunnels.iter().any(|t| *t.name == *link))
    };
    for sysctl in &kernel.unmade {
        let (code, needed) = match sysctl {
            Sysctl::Forwarding(_) | Sysctl::ForwardingOn(_) => (Code::ForwardingOff, true),
            Sysctl::Ipv6On(_) => (Code::FamilyOff, !tunnels.is_empty()),
            Sysctl::LooseReversePath(link) => (Code::ReversePathFilter, is_needed(link)),
        };
        let mut all = said.0.values().flatten();
        if needed && !all.any(|problem| problem.code == code) {
            holes.push(format!("{name}: {sysctl:?}"));
        }
    }
    // An address that the next mode no longer has may be gone already.
    let next = Chooser::new(Arc::clone(&plan.fabric), name).tunnels();
    for tunnel in node.chooser().tunnels() {
        let stays = next.iter().find(|next| next.name == tunnel.name);
        let stays = stays.is_none_or(|next| next.address == tunnel.address);
        let subject = Subject::Device(tunnel.name.to_string());
        let link = kernel.made.values().find(|link| *link.name == *tunnel.name);
        let has_address = |index: u32| {
            tunnel.address.filter(|_| stays).is_none_or(|wanted| {
                let mut on_it = kernel.on_made.iter();
                on_it.any(|own| own.interface == index && own.address == wanted)
            })
        };
        let works = link.is_some_and(|link| link.up && has_address(link.index));
        if !works && !said.covers(&subject) && !said.covers_all_routes() {
            let of_it = node.dataplane().unwrap().tunnels();
            holes.push(format!(
                "{name}: device {subject}: {link:?}, {tunnel:?}, {of_it:?}"
            ));
        }
    }
}

fn living(world: &World) -> Vec<String> {
    let nodes = world
        .hosts
        .iter()
        .filter(|(_, host)| matches!(host.actor, Some(Actor::Node(_))));
    nodes.map(|(name, _)| name.clone()).collect()
}

fn assert_covered(world: &World, seed: u64, log: &[String]) {
    for name in living(world) {
        let holes = holes(world, &name);
        assert!(
            holes.is_empty(),
            "story {seed} at {}: not as wanted, and not said:\n{}\nit said {:#?}\nthe story: {log:#?}",
            world.now,
            holes.join("\n"),
            world.node(&name).problems(world.now)
        );
    }
}

fn tell(seed: u64) {
    let mut story = Story::begin(seed);
    // A look at every instant of all stories takes too long.
    let at_every_instant = seed.is_multiple_of(8);
    for _ in 0..STEPS {
        story.step();
        assert_covered(&story.world, seed, &story.log);
        let pause = match story.rng.below(4) {
            0 => Duration::from_micros(story.rng.below(3_000)),
            1 => Duration::from_millis(story.rng.below(400)),
            2 => Duration::from_millis(story.rng.below(4_000)),
            _ => Duration::from_millis(story.rng.below(20_000)),
        };
        if at_every_instant {
            let log = &story.log;
            let end = story.world.now + pause;
            story.world.until(pause, |world| {
                assert_covered(world, seed, log);
                false
            });
            story.world.now = end;
        } else {
            story.world.run(pause);
        }
        assert_covered(&story.world, seed, &story.log);
    }
    story.heal();
    let well = |world: &World| {
        let mut living = living(world).into_iter();
        living.all(|name| world.node(&name).problems(world.now).is_empty())
    };
    let healed = story.world.until(Duration::from_secs(600), well);
    let left: Vec<_> = living(&story.world)
        .iter()
        .map(|name| {
            (
                name.clone(),
                story.world.node(name).problems(story.world.now),
            )
        })
        .collect();
    assert!(
        healed.is_some(),
        "story {seed}: healed, and still {left:#?}\nthe story: {:#?}",
        story.log
    );
    // And it stays so: nobody is silent because nobody looks.
    story.world.run(Duration::from_secs(5));
    assert_covered(&story.world, seed, &story.log);
    let index = story.world.hosts["n1"].kernel.as_ref().unwrap();
    assert!(index.routes.len() >= 8, "{:?}", index.routes.keys());
    assert!(!index.made.contains_key(&UPLINK));
}

#[test]
fn at_every_step_of_any_story_what_is_not_as_wanted_is_covered_and_in_the_end_nothing_is() {
    let stories = std::env::var("DUNLIN_STORIES").ok();
    let stories = stories.map_or(STORIES, |number| number.parse().unwrap());
    let first = std::env::var("DUNLIN_FIRST_STORY").ok();
    let first: u64 = first.map_or(0, |number| number.parse().unwrap());
    let workers: Vec<_> = (0..2)
        .map(|half| {
            std::thread::spawn(move || {
                (first..first + stories)
                    .filter(|seed| seed % 2 == half)
                    .for_each(tell);
            })
        })
        .collect();
    let results: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
    assert!(results.iter().all(Result::is_ok), "see above");
}
