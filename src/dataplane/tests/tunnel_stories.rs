//! Tunnel devices: the stories one by one.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use super::super::tunnels::{LINGER, MARK};
use super::super::*;
use super::tunnels::{Fabric, V4, VXLAN, far_end, ip, ip6tnl, ipip, mac, run, through, vxlan};
use super::{Act, block};
use crate::net::{Mac, Prefix};
use crate::problem::Code;
use crate::time::Duration;

fn stands(fabric: &Fabric, prefix: Prefix) -> Option<Arc<Shape>> {
    let routes = fabric.world.kernel.routes.values();
    let mut ours = routes.filter(|r| r.prefix == prefix && r.protocol == 179);
    ours.next().map(|route| Arc::clone(&route.shape))
}

fn reports(fabric: &mut Fabric) -> Vec<String> {
    let reports = core::iter::from_fn(|| fabric.world.plane.poll_report());
    reports.map(|report| report.to_string()).collect()
}

fn state(fabric: &Fabric, name: &str) -> Option<TunnelState> {
    let status = fabric.world.plane.tunnels();
    status
        .into_iter()
        .find(|s| *s.name == *name)
        .map(|s| s.state)
}

#[test]
fn a_switch_keeps_the_old_route_until_the_new_way_is_ready() {
    let mut fabric = Fabric::new(true, true);
    fabric.world.act(&Act::Want(0, super::via(&["10.9.0.2"])));
    fabric.settle();
    let native = stands(&fabric, block(0)).unwrap();
    let far = [far_end(1, 0)].to_vec();
    fabric.want(vec![vxlan(4096, far)]);
    fabric
        .world
        .act(&Act::Want(0, through(VXLAN, "10.244.250.1")));
    let mut states = BTreeSet::new();
    for _ in 0..200 {
        fabric.ask();
        states.insert(format!("{:?}", fabric.world.plane.state(block(0)).unwrap()));
        fabric.world.kernel.run_one();
        let now = stands(&fabric, block(0)).expect("there is a route at any time");
        assert!(now == native || now.hops[0].onlink);
        while fabric.world.deliver(true) | fabric.world.deliver(false) {}
    }
    assert!(states.contains("Waiting"), "{states:?}");
    assert!(stands(&fabric, block(0)).unwrap().hops[0].onlink);
    fabric.check();
    // And back: the device stays for those who switch later, and then it goes.
    fabric.want(Vec::new());
    fabric.world.act(&Act::Want(0, super::via(&["10.9.0.2"])));
    run(&mut fabric);
    assert_eq!(stands(&fabric, block(0)), Some(native));
    let at = fabric.world.now + LINGER;
    assert_eq!(state(&fabric, VXLAN), Some(TunnelState::Leaving { at }));
    assert!(fabric.index(VXLAN).is_some());
    fabric.settle();
    fabric.check();
    assert_eq!(fabric.index(VXLAN), None);
    assert!(
        reports(&mut fabric)
            .iter()
            .any(|line| line.contains("it is gone"))
    );
}

#[test]
fn a_missing_driver_is_one_line_and_other_tunnels_work() {
    let mut fabric = Fabric::new(true, false);
    fabric.world.kernel.lacking.insert("ipip");
    fabric.world.act(&Act::Want(0, super::via(&["10.9.0.2"])));
    run(&mut fabric);
    fabric
        .world
        .act(&Act::Want(0, through("tunl0", "10.9.0.2")));
    fabric.want(vec![ipip("10.244.251.0"), ip6tnl(None)]);
    for _ in 0..100 {
        run(&mut fabric);
        let due = fabric.world.plane.next_timeout().unwrap();
        fabric.world.now = fabric.world.now.max(due);
        fabric.world.plane.handle_timeout(fabric.world.now);
    }
    let module = "ipip";
    assert_eq!(
        state(&fabric, "tunl0"),
        Some(TunnelState::NoDriver { module })
    );
    assert_eq!(state(&fabric, "tunl6"), Some(TunnelState::Up));
    assert_eq!(
        fabric.world.plane.state(block(0)),
        Some(RouteState::Waiting)
    );
    assert!(stands(&fabric, block(0)).is_some(), "what was there stays");
    let lines = reports(&mut fabric);
    let about: Vec<_> = lines
        .iter()
        .filter(|l| l.contains("modprobe ipip"))
        .collect();
    assert_eq!(about.len(), 1, "{lines:?}");
    // The driver comes, and the next wish finds it at once.
    fabric.world.kernel.lacking.clear();
    fabric.want(vec![ipip("10.244.251.0"), ip6tnl(None)]);
    fabric.settle();
    fabric.check();
    assert!(stands(&fabric, block(0)).unwrap().hops[0].onlink);
}

/// Once the kernel's own `tunl0`, which is never deleted, was a problem for ever.
#[test]
fn a_setting_is_a_problem_while_a_tunnel_hangs_on_it() {
    let mut fabric = Fabric::new(true, true);
    let strict = Sysctl::LooseReversePath("tunl0".into());
    fabric.world.kernel.untunable.insert(strict);
    fabric.want(vec![ipip("10.244.251.0")]);
    fabric
        .world
        .act(&Act::Want(0, through("tunl0", "10.9.0.2")));
    fabric.world.settle_within(Duration::from_secs(60));
    let codes = |fabric: &Fabric| -> Vec<Code> {
        let problems = fabric.world.plane.problems(fabric.world.now);
        problems.iter().map(|problem| problem.code).collect()
    };
    assert_eq!(codes(&fabric), [Code::ReversePathFilter]);
    // Another tunnel takes its place.
    fabric.want(vec![vxlan(4096, Vec::new())]);
    fabric.world.act(&Act::Want(0, super::via(&["10.9.0.2"])));
    fabric.settle();
    assert!(fabric.index("tunl0").is_some(), "it can't be deleted");
    assert_eq!(codes(&fabric), []);
}

#[test]
fn a_foreign_device_is_left_alone_until_adoption_is_asked_for() {
    for adopt in [false, true] {
        let mut fabric = Fabric::new(true, true);
        fabric.world.plane = Dataplane::new(Settings {
            window: super::WINDOW,
            adopt: Adopt {
                felix: adopt,
                bird: false,
            },
            ..Settings::default()
        });
        let felix = Link {
            mtu: 1440,
            mac: Some(mac(100)),
            device: Some(Device::Vxlan {
                vni: 4096,
                port: 4789,
                local: Some(ip(V4)),
                parent: Some(2),
                learning: false,
                external: false,
            }),
            ..Link::named(60, VXLAN)
        };
        fabric.world.kernel.links.insert(60, felix.clone());
        let stray = Address {
            interface: 60,
            address: ip("10.244.9.9"),
            len: 32,
        };
        fabric.world.kernel.addresses.insert(stray);
        fabric.want(vec![vxlan(4096, vec![far_end(1, 0)])]);
        fabric
            .world
            .act(&Act::Want(0, through(VXLAN, "10.244.250.1")));
        fabric.settle();
        if adopt {
            fabric.check();
            assert_eq!(fabric.index(VXLAN), Some(60), "corrected in place");
        } else {
            assert_eq!(state(&fabric, VXLAN), Some(TunnelState::Foreign));
            assert_eq!(fabric.world.kernel.link_named(VXLAN), Some(&felix));
            assert!(fabric.world.kernel.addresses.contains(&stray));
            let lines = reports(&mut fabric);
            assert_eq!(lines.iter().filter(|l| l.contains("adopt")).count(), 1);
        }
    }
}

#[test]
fn tunl0_in_use_is_foreign_and_given_back_when_it_was_ours() {
    let mut fabric = Fabric::new(true, true);
    fabric.world.kernel.lazy_ipip = false;
    fabric.world.kernel.make_fallback();
    let index = fabric.index("tunl0").unwrap();
    let theirs = Address {
        interface: index,
        address: ip("10.3.3.3"),
        len: 32,
    };
    fabric
        .world
        .kernel
        .foreign_link("tunl0", |link| link.up = true);
    fabric.world.kernel.foreign_address(theirs, true);
    fabric.want(vec![ipip("10.244.251.0")]);
    fabric.settle();
    assert_eq!(state(&fabric, "tunl0"), Some(TunnelState::Foreign));
    assert!(fabric.world.kernel.addresses.contains(&theirs));
    // Its owner lets go of it.
    fabric.world.kernel.foreign_address(theirs, false);
    fabric.settle();
    fabric.check();
    fabric.want(Vec::new());
    fabric.settle();
    fabric.check();
    let link = fabric.world.kernel.link_named("tunl0").unwrap();
    assert!(!link.up && link.alias.is_none());
    let own = |a: &&Address| a.interface == index;
    assert_eq!(fabric.world.kernel.addresses.iter().filter(own).count(), 0);
}

#[test]
fn a_leftover_device_goes_a_while_after_all_wishes_are_known() {
    let mut fabric = Fabric::new(true, false);
    let old = Link {
        alias: Some(MARK.into()),
        device: Some(Device::Ip6tnl {
            local: None,
            remote: None,
        }),
        ..Link::named(60, "tunl6")
    };
    fabric.world.kernel.links.insert(60, old);
    run(&mut fabric);
    assert_eq!(state(&fabric, "tunl6"), None);
    fabric.world.act(&Act::Converged);
    run(&mut fabric);
    let at = fabric.world.now + LINGER;
    assert_eq!(state(&fabric, "tunl6"), Some(TunnelState::Leaving { at }));
    fabric.settle();
    assert_eq!(fabric.index("tunl6"), None);
}

#[test]
fn random_removals_are_repaired_without_a_pause() {
    let mut fabric = Fabric::new(true, false);
    let far: Vec<FarEnd> = (1..=24).map(|n| far_end(n, 0)).collect();
    fabric.want(vec![vxlan(4096, far)]);
    for n in 0..4 {
        fabric
            .world
            .act(&Act::Want(n, through(VXLAN, "10.244.250.1")));
    }
    fabric.settle();
    reports(&mut fabric);
    let mut seed = 1_usize;
    for _ in 0..300 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let victim = (seed >> 33) % 52;
        if victim < 4 {
            let prefix = block(u8::try_from(victim).unwrap());
            let metric = Ownership::default().metric(prefix, Rank::Way);
            fabric.world.kernel.foreign_delete((prefix, metric));
        } else if let Some(key) = fabric.nth(victim - 4) {
            fabric.world.kernel.foreign_forgets(key);
        }
        run(&mut fabric);
        fabric.check();
        fabric.world.act(&Act::Pass(100));
    }
    let lines = reports(&mut fabric);
    assert!(
        lines.iter().any(|l| l.contains("putting it back")),
        "{lines:?}"
    );
}

#[test]
fn five_thousand_far_ends_do_not_cost_a_pass_over_the_routes_each() {
    let mut fabric = Fabric::new(false, false);
    fabric.world.plane = Dataplane::new(Settings::default());
    let far = |n: u16| FarEnd {
        address: IpAddr::from([10, 200, (n >> 8) as u8, n as u8]),
        mac: Mac([0x66, 0, 0, 0, (n >> 8) as u8, n as u8]),
        node: IpAddr::from([10, 9, (n >> 8) as u8, n as u8]),
    };
    let plane = &mut fabric.world.plane;
    plane.set_tunnels(
        fabric.world.now,
        vec![vxlan(4096, (0..5000).map(far).collect())],
    );
    let prefix = |n: u16| Prefix::new(IpAddr::from([10, 100, (n >> 8) as u8, n as u8]), 32);
    for n in 0..5000 {
        let hop = NextHop::through(far(n).address, VXLAN.into());
        plane.want(prefix(n), Forwarding::Via(vec![hop]));
    }
    // The kernel answers one at a time, so that each result is looked at by itself.
    let mut asked = 0;
    for _ in 0..30_000 {
        let ops = fabric.world.plane.poll_ops(64);
        asked += ops.len();
        fabric.world.kernel.asked.extend(ops);
        fabric.world.kernel.run_one();
        while fabric.world.deliver(true) | fabric.world.deliver(false) {}
        if let Some(due) = fabric.world.plane.next_timeout() {
            fabric.world.now = fabric.world.now.max(due);
            fabric.world.plane.handle_timeout(fabric.world.now);
        }
    }
    assert_eq!(fabric.world.plane.counts().installed, 5000);
    assert!(asked < 15_100, "{asked} operations");
}
