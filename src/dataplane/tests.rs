//! The dataplane against a fake kernel that fails, forgets to tell, and has other users.

mod adoption;
mod faults;
mod guard;
mod host;
mod kernel;
mod ranks;
mod renamed;
mod shrunk;
mod tunnel_stories;
mod tunnels;
mod uplinks;

use std::collections::BTreeMap;
use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::net::Prefix;
use crate::time::{Duration, Instant};
use kernel::{FakeKernel, route};

const WINDOW: usize = 4;

struct World {
    now: Instant,
    plane: Dataplane,
    kernel: FakeKernel,
    wanted: BTreeMap<Prefix, Forwarding>,
}

impl World {
    fn new() -> Self {
        let mut kernel = FakeKernel::default();
        kernel.link_up(2, "eth0", "10.9.0.0/24");
        kernel.link_up(3, "eth1", "10.8.0.0/24");
        let settings = Settings {
            window: WINDOW,
            ..Settings::default()
        };
        let plane = Dataplane::new(settings);
        Self {
            now: Instant::from_secs(1),
            plane,
            kernel,
            wanted: BTreeMap::new(),
        }
    }

    fn ask(&mut self) {
        let ops = self.plane.poll_ops(3);
        self.kernel.asked.extend(ops);
        let results = self.kernel.results.iter();
        let done = results
            .filter(|input| matches!(input, KernelInput::Done { .. }))
            .count();
        assert!(self.kernel.asked.len() + done <= WINDOW);
    }

    fn deliver(&mut self, news: bool) -> bool {
        let Self { kernel, .. } = self;
        let input = if news {
            kernel.news.pop_front()
        } else {
            kernel.results.pop_front()
        };
        let Some(input) = input else { return false };
        self.plane.handle(self.now, input);
        true
    }

    fn act(&mut self, action: &Act) {
        self.plane.turn_begins(self.now);
        match action {
            Act::Want(n, path) => {
                self.wanted.insert(block(*n), path.clone());
                self.plane.want(block(*n), path.clone());
            }
            Act::Unwant(n) => {
                self.wanted.remove(&block(*n));
                self.plane.unwant(block(*n));
            }
            Act::Foreign(n, key, replace) => {
                self.kernel.foreign_write(at(*n, *key, 4), *replace);
            }
            Act::Delete(n, key) => {
                let route = at(*n, *key, 4);
                self.kernel.foreign_delete((route.prefix, route.metric));
            }
            Act::Mimic(n, key) => {
                let route = at(*n, *key, 179);
                self.kernel.once_ours.insert((route.prefix, route.metric));
                self.kernel.foreign_write(route, true);
            }
            Act::LinkDown(index, gone) => self.kernel.link_down(*index, *gone),
            Act::Address(add) => {
                let own = Address {
                    interface: 2,
                    address: [10, 244, 0, 1].into(),
                    len: 16,
                };
                self.kernel.foreign_address(own, *add);
            }
            Act::LinksUp => {
                self.kernel.link_up(2, "eth0", "10.9.0.0/24");
                self.kernel.link_up(3, "eth1", "10.8.0.0/24");
            }
            Act::Fail(errno) => self.kernel.fail.push_back(*errno),
            Act::Lose => {
                self.kernel.news.clear();
                self.kernel.news.push_back(KernelInput::Overrun);
            }
            Act::Converged => self.plane.converged(),
            Act::Ask => self.ask(),
            Act::Run => self.kernel.run_one(),
            Act::News => drop(self.deliver(true)),
            Act::Results => drop(self.deliver(false)),
            Act::Pass(millis) => {
                self.now = self.now + Duration::from_millis(*millis);
                self.plane.handle_timeout(self.now);
            }
        }
    }

    /// Faults are over: everything is delivered and time passes until nothing happens any more.
    fn settle(&mut self) {
        self.settle_within(Duration::MAX);
    }

    /// The same, and time passes only to what is due within so long.
    fn settle_within(&mut self, limit: Duration) {
        let end = self.now + limit;
        self.kernel.fail.clear();
        self.plane.converged();
        for _ in 0..20_000 {
            self.ask();
            self.kernel.run_one();
            if self.deliver(true) | self.deliver(false) || !self.kernel.asked.is_empty() {
                continue;
            }
            let due = self.plane.next_timeout().filter(|due| *due <= end);
            let Some(due) = due else {
                // Nobody would ask again: what is left to do now would never be done.
                assert!(self.plane.is_idle(), "{:?}", self.plane.counts());
                return;
            };
            self.now = self.now.max(due);
            self.plane.handle_timeout(self.now);
        }
        panic!("it never comes to rest: {:?}", self.plane.counts());
    }

    /// What was found out step by step is what is found from nothing, and our own routes take no way
    /// away that others' offer.
    fn check_next_hops(&self) {
        for forwarding in self.wanted.values() {
            let Forwarding::Via(next_hops) = forwarding else {
                continue;
            };
            for next_hop in next_hops {
                let found = self.plane.view().resolution(next_hop);
                let anew = self.plane.resolve(next_hop);
                assert_eq!(found, Some(&anew), "{next_hop}");
                let without = self.plane.view().resolve(next_hop);
                assert!(
                    anew.is_reachable() || !without.is_reachable(),
                    "{next_hop}: {without:?}"
                );
                if let Resolution::Reachable { hops, .. } = anew {
                    let via = |hop: &Hop| hop.via.map(block_around);
                    assert!(hops.iter().all(|hop| via(hop) == Some(None)), "{hops:?}");
                }
            }
        }
    }

    fn check(&self) {
        self.check_next_hops();
        for (key, stands) in &self.kernel.routes {
            if stands.protocol == 179 {
                assert!(self.wanted.contains_key(&key.0), "left over: {stands}");
                let right = self.plane.target(key.0).is_none_or(|shape| {
                    let rank = Rank::of(shape.kind);
                    key.1 == Ownership::default().metric(key.0, rank)
                });
                assert!(right, "beside what is wanted: {stands}");
            }
        }
        for prefix in self.wanted.keys() {
            let target = self.plane.target(*prefix);
            let rank = target.map_or(Rank::Way, |shape| Rank::of(shape.kind));
            let metric = Ownership::default().metric(*prefix, rank);
            let stands = self.kernel.routes.get(&(*prefix, metric));
            let state = self.plane.state(*prefix);
            if let Some(RouteState::Covers(_)) = state {
                assert_eq!(*prefix, block(0), "nothing is at stake");
                let ours = |stands: &&KernelRoute| stands.protocol == 179;
                assert_eq!(stands.filter(ours), None, "{prefix}");
                continue;
            }
            let addressed = self.kernel.addresses.iter();
            let covers = |own: &Address| own.interface == 2 && own.len == 16;
            let spared = *prefix != block(0) || !addressed.copied().any(|own| covers(&own));
            assert!(spared || target.is_none(), "{prefix}: {state:?}");
            match stands.filter(|stands| stands.protocol != 179) {
                Some(foreign) => {
                    let conflict = state == Some(RouteState::Conflict { protocol: 4 });
                    let unresolved = state == Some(RouteState::Unresolved);
                    let waiting = state == Some(RouteState::Waiting);
                    assert!(conflict || unresolved || waiting, "{foreign}: {state:?}");
                }
                // What was there before the tunnel stays until it is ready.
                None if state == Some(RouteState::Waiting) => {}
                None => assert_eq!(
                    stands.map(|s| &s.shape),
                    self.plane.target(*prefix),
                    "{prefix}"
                ),
            }
        }
    }
}

#[derive(Debug, Clone)]
enum Act {
    Want(u8, Forwarding),
    Unwant(u8),
    Foreign(u8, Key, bool),
    Delete(u8, Key),
    Mimic(u8, Key),
    LinkDown(u32, bool),
    Address(bool),
    LinksUp,
    Fail(Errno),
    Lose,
    Converged,
    Ask,
    Run,
    News,
    Results,
    Pass(u64),
}

/// Which of the keys at a prefix.
#[derive(Debug, Clone, Copy)]
enum Key {
    Way,
    LastResort,
    /// Where no route of ours belongs.
    Odd,
}

/// A blackhole of somebody's at a key.
fn at(n: u8, key: Key, protocol: u8) -> KernelRoute {
    let rule = Ownership::default();
    let prefix = block(n);
    KernelRoute {
        metric: match key {
            Key::Way => rule.metric(prefix, Rank::Way),
            Key::LastResort => rule.metric(prefix, Rank::LastResort),
            Key::Odd => 77,
        },
        ..route(prefix, protocol, Shape::blackhole())
    }
}

/// From 100 on they are single addresses.
fn block(n: u8) -> Prefix {
    if n >= 100 {
        return Prefix::host(block(n - 100).address());
    }
    if n.is_multiple_of(2) {
        Prefix::new(IpAddr::from([10, 244, n, 0]), 24)
    } else {
        Prefix::new(
            IpAddr::from([0xFD00, 0x244, u16::from(n), 0, 0, 0, 0, 0]),
            64,
        )
    }
}

/// The route to a pod of this host, as it is when nobody names a metric.
fn pods_route(prefix: Prefix) -> KernelRoute {
    let onto = Hop {
        via: None,
        interface: Some(3),
        onlink: false,
        weight: 1,
    };
    KernelRoute {
        metric: if prefix.address().is_ipv4() { 0 } else { 1024 },
        ..route(prefix, 3, Shape::unicast([onto]))
    }
}

/// The block that has an address: no neighbour on a link is in one.
fn block_around(address: IpAddr) -> Option<Prefix> {
    (0..4).map(block).find(|block| block.contains(address))
}

fn via(addresses: &[&str]) -> Forwarding {
    let hop = |text: &&str| NextHop::routed(text.parse::<IpAddr>().unwrap());
    Forwarding::Via(addresses.iter().map(hop).collect())
}

fn acts() -> impl Strategy<Value = Act> {
    let n = prop_oneof![2 => 0..4_u8, 1 => 100..102_u8];
    let key = prop_oneof![
        3 => Just(Key::Way),
        2 => Just(Key::LastResort),
        1 => Just(Key::Odd),
    ];
    let path = prop_oneof![
        Just(Forwarding::Blackhole),
        Just(via(&["10.9.0.2"])),
        Just(via(&["10.9.0.3", "10.8.0.3"])),
        Just(via(&["10.7.0.1"])),
        // Over what else is wanted, in circles, too; at a link that is no more.
        Just(via(&["10.244.0.1"])),
        Just(via(&["10.244.2.1"])),
        Just(via(&["10.244.2.1", "10.9.0.4"])),
        Just(via(&["fd00:244:1::1", "fd00:244:3::1"])),
        Just(Forwarding::Via(vec![NextHop::on_link(
            "fe80::1".parse().unwrap(),
            2
        )])),
        Just(Forwarding::Via(vec![NextHop::beside(
            "fe80::1".parse().unwrap(),
            "10.244.2.1".parse().unwrap()
        )])),
    ];
    let errno = prop_oneof![
        Just(Errno::ENOBUFS),
        Just(Errno::EPERM),
        Just(Errno::EINVAL),
        Just(Errno::EACCES),
        Just(Errno::ENOMEM),
        Just(Errno::ENETUNREACH),
    ];
    prop_oneof![
        4 => (n.clone(), path).prop_map(|(n, path)| Act::Want(n, path)),
        1 => n.clone().prop_map(Act::Unwant),
        1 => (n.clone(), key.clone(), any::<bool>())
            .prop_map(|(n, key, replace)| Act::Foreign(n, key, replace)),
        1 => (n.clone(), key.clone()).prop_map(|(n, key)| Act::Delete(n, key)),
        1 => (n, key).prop_map(|(n, key)| Act::Mimic(n, key)),
        1 => (2..4_u32, any::<bool>()).prop_map(|(index, gone)| Act::LinkDown(index, gone)),
        1 => Just(Act::LinksUp),
        1 => any::<bool>().prop_map(Act::Address),
        1 => errno.prop_map(Act::Fail),
        1 => Just(Act::Lose),
        1 => Just(Act::Converged),
        6 => Just(Act::Ask),
        6 => Just(Act::Run),
        4 => Just(Act::News),
        8 => Just(Act::Results),
        2 => (0..2000_u64).prop_map(Act::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn once_faults_stop_the_kernel_has_what_is_wanted(acts in prop::collection::vec(acts(), 1..120)) {
        let mut world = World::new();
        for act in &acts {
            world.act(act);
        }
        world.settle();
        world.check();
    }
}

#[test]
fn nothing_is_deleted_before_all_wishes_are_known() {
    let mut world = World::new();
    let old = route(block(0), 179, Shape::blackhole());
    world.kernel.routes.insert((old.prefix, old.metric), old);
    world.plane.want(block(2), via(&["10.9.0.2"]));
    world.wanted.insert(block(2), via(&["10.9.0.2"]));
    for _ in 0..50 {
        world.ask();
        world.kernel.run_one();
        while world.deliver(true) | world.deliver(false) {}
    }
    assert_eq!(world.kernel.writes, 1, "the new one only");
    assert_eq!(world.plane.state(block(0)), Some(RouteState::Stale));
    world.settle();
    world.check();
    assert_eq!(world.plane.state(block(0)), None);
}

#[test]
fn a_local_pods_route_stands_and_ours_takes_over_when_it_goes() {
    for n in [100, 101] {
        for (pod_first, replaces) in [(true, false), (false, false), (false, true)] {
            let mut world = World::new();
            let pod = pods_route(block(n));
            let key = (pod.prefix, pod.metric);
            let best = |world: &World| {
                let mut at = world.kernel.routes.iter();
                let best = at.find(|(key, _)| key.0 == block(n));
                best.map(|(_, route)| route.protocol)
            };
            if pod_first {
                world.kernel.foreign_write(pod.clone(), false);
            }
            world.act(&Act::Want(n, via(&["10.9.0.2"])));
            world.settle();
            if !pod_first {
                assert_eq!(best(&world), Some(179));
                assert!(
                    !world.kernel.routes.contains_key(&key),
                    "the pod's key is free"
                );
                world.kernel.foreign_write(pod.clone(), replaces);
                world.settle();
            }
            assert_eq!(best(&world), Some(3), "the lower metric wins");
            world.check();
            let writes = world.kernel.writes;
            world.kernel.foreign_delete(key);
            assert_eq!(best(&world), Some(179), "at once, not by a write");
            world.settle();
            world.check();
            assert_eq!(world.kernel.writes, writes);
            // And what is given up is ours alone.
            world.kernel.foreign_write(pod, false);
            world.act(&Act::Unwant(n));
            world.settle();
            assert_eq!(best(&world), Some(3));
            world.check();
        }
    }
}

#[test]
fn a_fight_is_fought_at_a_decent_pace() {
    let mut world = World::new();
    world.act(&Act::Want(0, Forwarding::Blackhole));
    world.settle();
    let end = world.now + Duration::from_secs(120);
    let before = world.kernel.writes;
    while world.now < end {
        world.act(&Act::Delete(0, Key::LastResort));
        while world.deliver(true) {}
        world.ask();
        world.kernel.run_one();
        while world.deliver(false) {}
        world.act(&Act::Pass(100));
    }
    let repairs = world.kernel.writes - before;
    assert!(
        (30..50).contains(&repairs),
        "{repairs} repairs in two minutes"
    );
    world.settle();
    world.check();
}

#[test]
fn without_the_right_one_report_is_made_and_everything_waits() {
    let mut world = World::new();
    for n in 0..4 {
        world.act(&Act::Want(n, Forwarding::Blackhole));
    }
    for _ in 0..4 {
        world.ask();
        world.kernel.run_one();
        while world.deliver(false) {}
    }
    let mut denied = World::new();
    denied.ask();
    denied.kernel.run_one();
    while denied.deliver(false) {}
    for n in 0..4 {
        denied.act(&Act::Want(n, Forwarding::Blackhole));
        denied.act(&Act::Fail(Errno::EPERM));
    }
    for _ in 0..10 {
        denied.ask();
        denied.kernel.run_one();
        while denied.deliver(false) {}
    }
    let reports = core::iter::from_fn(|| denied.plane.poll_report());
    assert_eq!(
        reports.filter(|report| *report == Report::Denied).count(),
        1
    );
    assert!(denied.plane.next_timeout() > Some(denied.now));
    denied.settle();
    denied.check();
}
