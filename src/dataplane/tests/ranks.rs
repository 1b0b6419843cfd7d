//! Two keys of ours at a prefix: what drops has the worst metric, and a prefix that changes from one to the
//! other is never without a route.

use super::*;

/// Routes of this protocol at a prefix, the one that packets take first.
fn standing(kernel: &FakeKernel, prefix: Prefix, protocol: u8) -> Vec<(u32, RouteKind)> {
    let here = |(key, route): &(&(Prefix, u32), &KernelRoute)| {
        key.0 == prefix && route.protocol == protocol
    };
    let routes = kernel.routes.iter().filter(here);
    routes
        .map(|(key, route)| (key.1, route.shape.kind))
        .collect()
}

fn best(kernel: &FakeKernel, prefix: Prefix) -> Option<&KernelRoute> {
    let mut here = kernel.routes.range((prefix, 0)..=(prefix, u32::MAX));
    here.next().map(|(_, route)| route)
}

impl World {
    /// Runs until nothing is left to do, and looks at the kernel after each operation.
    fn watch(&mut self, mut look: impl FnMut(&FakeKernel)) {
        for _ in 0..2000 {
            self.ask();
            self.kernel.run_one();
            look(&self.kernel);
            if self.deliver(true) | self.deliver(false) || !self.kernel.asked.is_empty() {
                continue;
            }
            let Some(due) = self.plane.next_timeout() else {
                return;
            };
            self.now = self.now.max(due);
            self.plane.handle_timeout(self.now);
        }
        panic!("it never comes to rest");
    }
}

fn bridge(n: u8) -> KernelRoute {
    let hop = Hop {
        via: None,
        ..Hop::new("10.9.0.7".parse().unwrap(), 3)
    };
    let prefix = block(n);
    let metric = if prefix.family() == crate::net::Family::Ipv4 {
        0
    } else {
        256
    };
    KernelRoute {
        metric,
        ..route(prefix, 2, Shape::unicast([hop]))
    }
}

#[test]
fn a_bridge_at_the_own_block_wins_whoever_comes_first_and_is_no_conflict() {
    for bridge_first in [true, false] {
        let mut world = World::new();
        world.plane.converged();
        for n in [0, 1] {
            if bridge_first {
                world.kernel.foreign_write(bridge(n), false);
            }
            world.act(&Act::Want(n, Forwarding::Blackhole));
        }
        world.watch(|_| {});
        for n in [0, 1] {
            world.kernel.foreign_write(bridge(n), false);
        }
        world.watch(|_| {});
        for n in [0, 1] {
            assert_eq!(best(&world.kernel, block(n)), Some(&bridge(n)));
            assert_eq!(world.plane.state(block(n)), Some(RouteState::Installed));
            let own = standing(&world.kernel, block(n), 179);
            assert_eq!(own, [(u32::MAX, RouteKind::Blackhole)]);
        }
        assert_eq!(world.plane.troubled().count(), 0);
        world.settle();
        world.check();
    }
}

#[test]
fn a_default_route_by_advertisement_stands_beside_the_learned_one() {
    let mut world = World::new();
    let mut by_ra = bridge(1);
    by_ra.prefix = "::/0".parse().unwrap();
    by_ra.metric = 1024;
    world.kernel.foreign_write(by_ra.clone(), false);
    let prefix = by_ra.prefix;
    let learned = via(&["10.9.0.2"]);
    world.wanted.insert(prefix, learned.clone());
    world.plane.want(prefix, learned);
    world.settle();
    world.check();
    assert_eq!(world.plane.state(prefix), Some(RouteState::Installed));
    assert!(world.kernel.routes.contains_key(&(prefix, 1024)));
    assert!(best(&world.kernel, prefix).is_some_and(|route| route.protocol == 179));
}

#[test]
fn a_block_that_changes_hands_is_never_without_a_route() {
    for n in [0, 1] {
        let mut world = World::new();
        world.plane.converged();
        let prefix = block(n);
        for turn in 0..6 {
            let path = if turn % 2 == 0 {
                Forwarding::Blackhole
            } else {
                via(&["10.9.0.2"])
            };
            world.act(&Act::Want(n, path));
            let mut most = 0;
            world.watch(|kernel| {
                let count = standing(kernel, prefix, 179).len();
                assert!(turn == 0 || count > 0, "{prefix} has no route");
                most = most.max(count);
            });
            assert_eq!(most, if turn == 0 { 1 } else { 2 });
            world.check();
        }
        world.act(&Act::Unwant(n));
        world.settle();
        world.check();
    }
}

#[test]
fn a_change_of_mind_under_way_leaves_one_route() {
    // After so many steps of a change from one rank to the other the wish goes back, or away.
    for (n, steps, back) in (0..2_u8)
        .flat_map(|n| (0..12).map(move |s| (n, s)))
        .flat_map(|(n, s)| {
            [Some(Forwarding::Blackhole), Some(via(&["10.9.0.3"])), None].map(|back| (n, s, back))
        })
    {
        let mut world = World::new();
        world.plane.converged();
        world.act(&Act::Want(n, Forwarding::Blackhole));
        world.watch(|_| {});
        world.act(&Act::Want(n, via(&["10.9.0.2"])));
        for step in 0..steps {
            match step % 3 {
                0 => world.ask(),
                1 => world.kernel.run_one(),
                _ => drop(world.deliver(false)),
            }
        }
        match back {
            Some(path) => world.act(&Act::Want(n, path)),
            None => world.act(&Act::Unwant(n)),
        }
        world.watch(|_| {});
        world.settle();
        world.check();
    }
}

#[test]
fn routes_of_a_version_with_other_metrics_are_taken_over_without_a_gap() {
    // What former versions wrote: own blocks at 0 and 1024, learned routes at 0 and 1024; and one of
    // other settings.
    let by_eth0 = Shape::unicast([Hop::new("10.9.0.2".parse().unwrap(), 2)]);
    let old = [
        (0, 0, Shape::blackhole()),
        (1, 1024, Shape::blackhole()),
        (2, 0, by_eth0.clone()),
        (3, 1024, by_eth0.clone()),
        (4, 32, by_eth0.clone()),
        (5, 1024, by_eth0),
        (6, 32, Shape::blackhole()),
    ];
    for late in [false, true] {
        let mut world = World::new();
        for (n, metric, shape) in &old {
            let route = KernelRoute {
                metric: *metric,
                ..route(block(*n), 179, shape.clone())
            };
            world.kernel.routes.insert((route.prefix, *metric), route);
        }
        if late {
            // All peers are heard of after the kernel was read.
            world.watch(|_| {});
        }
        for n in [0, 1] {
            world.act(&Act::Want(n, Forwarding::Blackhole));
        }
        for n in [2, 3, 4] {
            world.act(&Act::Want(n, via(&["10.9.0.2"])));
        }
        let covered = |kernel: &FakeKernel| {
            for n in 0..5 {
                assert_ne!(standing(kernel, block(n), 179), [], "{}", block(n));
            }
        };
        world.watch(covered);
        for n in [5, 6] {
            assert_eq!(world.plane.state(block(n)), Some(RouteState::Stale));
            assert_eq!(standing(&world.kernel, block(n), 179).len(), 1);
        }
        assert_eq!(world.plane.counts().stale, 2);
        world.plane.converged();
        world.watch(covered);
        world.settle();
        world.check();
        for n in 0..5 {
            assert_eq!(standing(&world.kernel, block(n), 179).len(), 1);
            assert_eq!(world.plane.state(block(n)), Some(RouteState::Installed));
        }
        for n in [5, 6] {
            assert_eq!(world.plane.state(block(n)), None);
        }
    }
}

#[test]
fn what_a_refused_route_was_to_replace_stays() {
    for n in [0, 1] {
        let mut world = World::new();
        world.plane.converged();
        world.act(&Act::Want(n, Forwarding::Blackhole));
        world.watch(|_| {});
        world.act(&Act::Want(n, via(&["10.9.0.2"])));
        world.ask();
        world.act(&Act::Fail(Errno::EINVAL));
        world.kernel.run_one();
        while world.deliver(false) {}
        let kinds = standing(&world.kernel, block(n), 179);
        assert_eq!(kinds, [(u32::MAX, RouteKind::Blackhole)]);
        world.settle();
        world.check();
    }
}
