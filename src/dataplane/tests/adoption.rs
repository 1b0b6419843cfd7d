//! Leftovers of BIRD and Felix: taken over without a gap, and nothing else touched.

use super::*;

const BIRD: u8 = 12;
const FELIX: u8 = 80;

fn takes_over() -> Adopt {
    Adopt {
        bird: true,
        felix: true,
    }
}

fn pools() -> Vec<Prefix> {
    vec![
        "10.244.0.0/16".parse().unwrap(),
        "fd00:244::/32".parse().unwrap(),
    ]
}

impl World {
    /// A world in which others have left `left`.
    fn inheriting(adopt: Adopt, left: &[KernelRoute]) -> Self {
        let mut world = Self::new();
        world.plane = Dataplane::new(Settings {
            window: WINDOW,
            adopt,
            ..Settings::default()
        });
        world.plane.set_pools(pools());
        for route in left {
            let key = (route.prefix, route.metric);
            world.kernel.routes.insert(key, route.clone());
            // Leftovers may be replaced where they stand.
            world.kernel.once_ours.insert(key);
        }
        world
    }

    /// Runs until nothing more happens by itself, and looks at the kernel after each operation.
    fn run(&mut self, mut look: impl FnMut(&FakeKernel)) {
        for _ in 0..500 {
            self.ask();
            self.kernel.run_one();
            look(&self.kernel);
            while self.deliver(true) | self.deliver(false) {}
        }
        assert!(self.kernel.asked.is_empty());
    }

    fn reports(&mut self) -> Vec<Report> {
        core::iter::from_fn(|| self.plane.poll_report()).collect()
    }
}

fn left(n: u8, protocol: u8, metric: Option<u32>, shape: Shape) -> KernelRoute {
    let route = route(block(n), protocol, shape);
    KernelRoute {
        metric: metric.unwrap_or(route.metric),
        ..route
    }
}

fn by_eth0() -> Shape {
    Shape::unicast([Hop::new("10.9.0.7".parse().unwrap(), 2)])
}

/// How often each prefix has a route, whoever's.
fn covered(kernel: &FakeKernel, prefix: Prefix) -> usize {
    let keys = kernel.routes.keys();
    keys.filter(|(other, _)| *other == prefix).count()
}

#[test]
fn leftovers_become_ours_in_place_and_no_packet_is_without_a_route() {
    let old = [
        left(0, BIRD, None, by_eth0()),
        left(1, BIRD, None, by_eth0()),
        left(2, BIRD, Some(512), by_eth0()),
        left(4, FELIX, Some(0), Shape::blackhole()),
        left(5, FELIX, Some(512), by_eth0()),
        left(6, BIRD, None, by_eth0()),
        left(6, BIRD, Some(1024), by_eth0()),
        left(8, BIRD, None, by_eth0()),
        left(10, BIRD, Some(1024), by_eth0()),
    ];
    let mut world = World::inheriting(takes_over(), &old);
    let wanted = [0, 1, 2, 4, 5, 6].map(block);
    for n in [0, 1, 2, 4, 5, 6] {
        world.act(&Act::Want(n, via(&["10.9.0.2"])));
    }
    let never_bare = |kernel: &FakeKernel| {
        for prefix in wanted {
            assert_ne!(covered(kernel, prefix), 0, "{prefix} has no route");
        }
        assert_eq!(
            covered(kernel, block(8)),
            1,
            "not wanted, and not yet to go"
        );
    };
    world.run(never_bare);
    for prefix in wanted {
        assert_eq!(
            world.plane.state(prefix),
            Some(RouteState::Installed),
            "{prefix}"
        );
        assert_eq!(covered(&world.kernel, prefix), 1, "{prefix}");
    }
    assert_eq!(world.kernel.writes, 6 + 3, "one each, and three deletions");
    assert_eq!(covered(&world.kernel, block(10)), 1);
    let reports = world.reports();
    assert!(
        reports.contains(&Report::TookOver { bird: 7, felix: 2 }),
        "{reports:?}"
    );
    assert_eq!(reports.len(), 2, "that and `Synced`: {reports:?}");

    world.settle();
    world.check();
    assert!(
        world
            .kernel
            .routes
            .values()
            .all(|stands| stands.protocol == 179 || stands.protocol == 2)
    );
}

#[test]
fn without_the_setting_nothing_of_theirs_is_touched() {
    let old = [
        left(0, BIRD, None, by_eth0()),
        left(2, FELIX, Some(512), by_eth0()),
        left(4, BIRD, None, Shape::blackhole()),
    ];
    for adopt in [
        Adopt::default(),
        Adopt {
            felix: false,
            bird: true,
        },
    ] {
        let mut world = World::inheriting(adopt, &old);
        if adopt == Adopt::default() {
            world.kernel.once_ours.clear();
        }
        world.act(&Act::Want(0, via(&["10.9.0.2"])));
        world.act(&Act::Want(2, via(&["10.9.0.2"])));
        world.settle();
        let kept: Vec<&KernelRoute> = old
            .iter()
            .filter(|route| !(adopt.bird && route.protocol == BIRD))
            .collect();
        for route in kept {
            let stands = world.kernel.routes.get(&(route.prefix, route.metric));
            assert_eq!(stands, Some(route));
        }
        let conflict = world.plane.state(block(0)) == Some(RouteState::Conflict { protocol: BIRD });
        assert_eq!(conflict, !adopt.bird);
    }
}

#[test]
fn pods_of_this_node_and_routes_outside_the_pools_stay() {
    let hop = Hop {
        via: None,
        ..Hop::new("10.9.0.7".parse().unwrap(), 3)
    };
    let mut pod = left(0, FELIX, None, Shape::unicast([hop]));
    pod.prefix = "10.244.0.5/32".parse().unwrap();
    let mut fabric = left(0, BIRD, None, by_eth0());
    fabric.prefix = "10.60.0.0/16".parse().unwrap();
    let mut world = World::inheriting(takes_over(), &[pod.clone(), fabric.clone()]);
    world.settle();
    for route in [pod, fabric] {
        assert!(
            world
                .kernel
                .routes
                .contains_key(&(route.prefix, route.metric)),
            "{route}"
        );
    }
    assert_eq!(world.kernel.writes, 0);
}

#[test]
fn a_bird_that_still_runs_is_named_and_its_new_routes_are_conflicts() {
    let old = [left(0, BIRD, None, by_eth0())];
    let mut world = World::inheriting(takes_over(), &old);
    world.run(|_| {});
    for n in [0, 2, 4] {
        let late = left(n, BIRD, None, by_eth0());
        world.kernel.foreign_write(late, true);
    }
    while world.deliver(true) {}
    for n in [0, 2, 4] {
        world.act(&Act::Want(n, via(&["10.9.0.2"])));
    }
    world.settle();
    for n in [0, 2, 4] {
        let state = world.plane.state(block(n));
        assert_eq!(
            state,
            Some(RouteState::Conflict { protocol: BIRD }),
            "{}",
            block(n)
        );
    }
    let said = Report::StillWriting {
        former: Former::Bird,
    };
    let reports = world.reports();
    assert_eq!(
        reports.iter().filter(|report| **report == said).count(),
        1,
        "{reports:?}"
    );
}

#[test]
fn a_lost_buffer_or_a_missing_right_only_delays_the_takeover() {
    for errno in [Errno::ENOBUFS, Errno::EPERM] {
        let old = [
            left(0, BIRD, Some(512), by_eth0()),
            left(1, BIRD, None, by_eth0()),
            left(2, FELIX, None, by_eth0()),
        ];
        let mut world = World::inheriting(takes_over(), &old);
        world.act(&Act::Want(0, via(&["10.9.0.2"])));
        world.act(&Act::Want(1, via(&["10.9.0.2"])));
        world.plane.converged();
        // The dump goes well, and of each later pair of operations the first fails.
        world.ask();
        world.kernel.run_one();
        while world.deliver(true) | world.deliver(false) {}
        for turn in 0..12 {
            if turn % 2 == 0 {
                world.act(&Act::Fail(errno));
            }
            world.ask();
            world.kernel.run_one();
            while world.deliver(true) | world.deliver(false) {}
            world.act(&Act::Pass(10_500));
        }
        world.settle();
        world.check();
        let others = world
            .kernel
            .routes
            .values()
            .filter(|route| route.protocol != 179)
            .count();
        assert_eq!(others, 2, "the connected subnets only, after {errno}");
    }
}

fn some_left() -> impl Strategy<Value = KernelRoute> {
    let protocol = prop_oneof![Just(BIRD), Just(FELIX)];
    let metric = prop_oneof![Just(None), Just(Some(512)), Just(Some(2048))];
    let shape = prop_oneof![Just(Shape::blackhole()), Just(by_eth0())];
    (0..4_u8, protocol, metric, shape)
        .prop_map(|(n, protocol, metric, shape)| left(n, protocol, metric, shape))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn whatever_happens_leftovers_go_and_what_is_wanted_comes(
        old in prop::collection::vec(some_left(), 0..6),
        acts in prop::collection::vec(acts(), 1..100),
    ) {
        let mut world = World::inheriting(takes_over(), &old);
        // Refused deletions of leftovers are somebody's from then on; the other test has those.
        let odd = |act: &&Act| {
            !matches!(
                act,
                Act::Fail(Errno::EINVAL | Errno::ENETUNREACH | Errno::EACCES)
            )
        };
        for act in acts.iter().filter(odd) {
            world.act(act);
        }
        world.settle();
        world.check();
        for stands in world.kernel.routes.values() {
            let theirs = stands.protocol == BIRD || stands.protocol == FELIX;
            // Where somebody else's route keeps ours out, the leftover is the one that works.
            let state = world.plane.state(stands.prefix);
            let kept_out = matches!(state, Some(RouteState::Conflict { .. }));
            prop_assert!(!theirs || kept_out, "left: {stands}, {state:?}");
        }
    }
}

#[test]
fn a_leftover_that_the_kernel_keeps_is_reported_and_left() {
    let old = [left(0, BIRD, None, by_eth0())];
    let mut world = World::inheriting(takes_over(), &old);
    world.run(|_| {});
    world.act(&Act::Fail(Errno::EINVAL));
    world.plane.converged();
    world.run(|_| {});
    world.act(&Act::Pass(1000));
    world.run(|_| {});
    assert_eq!(world.kernel.routes.get(&(block(0), 0)), Some(&old[0]));
    let reports = world.reports();
    let said = Report::LeftStanding {
        prefix: block(0),
        protocol: BIRD,
        errno: Errno::EINVAL,
    };
    assert!(reports.contains(&said), "{reports:?}");
    world.act(&Act::Want(0, via(&["10.9.0.2"])));
    world.run(|_| {});
    assert_eq!(
        world.plane.state(block(0)),
        Some(RouteState::Conflict { protocol: BIRD })
    );
}
