//! A tunnel device is ours by its note and its index, whatever its name.

use super::super::tunnels::MARK;
use super::super::*;
use super::tunnels::{Fabric, VXLAN, far_end, ip, ip6tnl, ipip, run, through, vxlan, vxlan6};
use super::{Act, WINDOW, block};
use crate::net::Prefix;

/// All kinds, the VXLAN devices of one number.
fn all(far: Vec<FarEnd>) -> Vec<Tunnel> {
    let ipip = ipip("10.244.251.0");
    vec![vxlan(4096, far), vxlan6(), ipip, ip6tnl(None)]
}

/// VXLAN to two far ends with a route each, at rest.
fn fabric() -> Fabric {
    let mut fabric = Fabric::new(true, false);
    let far = vec![far_end(1, 0), far_end(2, 0)];
    fabric.want(all(far));
    for n in 0..2 {
        let via = format!("10.244.250.{}", n + 1);
        fabric.world.act(&Act::Want(n, through(VXLAN, &via)));
    }
    fabric.settle();
    fabric.check();
    fabric
}

fn ours(fabric: &Fabric, prefix: Prefix) -> bool {
    let mut routes = fabric.world.kernel.routes.values();
    routes.any(|route| route.prefix == prefix && route.protocol == 179)
}

/// Carries on until nothing is asked for, and says whether both routes stood all the time.
fn run_watching(fabric: &mut Fabric) -> bool {
    let mut stood = true;
    for _ in 0..400 {
        fabric.ask();
        fabric.world.kernel.run_one();
        stood &= ours(fabric, block(0)) && ours(fabric, block(1));
        while fabric.world.deliver(true) | fabric.world.deliver(false) {}
    }
    stood
}

fn state(fabric: &Fabric, name: &str) -> TunnelState {
    let status = fabric.world.plane.tunnels();
    let found = status.into_iter().find(|s| *s.name == *name);
    found.unwrap().state
}

#[test]
fn a_renamed_device_has_its_name_back_at_once_and_loses_nothing() {
    for name in [VXLAN, "vxlan-v6.calico", "tunl0", "tunl6"] {
        let mut fabric = fabric();
        let index = fabric.index(name).unwrap();
        let writes = fabric.world.kernel.writes;
        let kernel = &mut fabric.world.kernel;
        kernel.foreign_link(name, |link| link.name = "stolen".into());
        assert!(run_watching(&mut fabric), "{name}: routes stay");
        assert_eq!(fabric.index(name), Some(index), "{name}: the same device");
        assert_eq!(fabric.world.kernel.writes - writes, 1, "{name}: one write");
        fabric.check();
        let lines = core::iter::from_fn(|| fabric.world.plane.poll_report());
        let lines: Vec<String> = lines.map(|report| report.to_string()).collect();
        let said = |line: &&String| line.contains("its name removed or changed");
        assert_eq!(lines.iter().filter(said).count(), 1, "{lines:?}");
    }
}

#[test]
fn a_device_that_was_set_down_and_renamed_is_right_within_a_second() {
    for names_down in [false, true] {
        // By the time that we look it is still down, or up again under the other name.
        for up_again in [false, true] {
            let mut fabric = fabric();
            fabric.world.kernel.names_down = names_down;
            let index = fabric.index(VXLAN).unwrap();
            fabric.world.kernel.link_down(index, false);
            let rename = |link: &mut Link| (link.name, link.up) = ("stolen".into(), up_again);
            fabric.world.kernel.foreign_link(VXLAN, rename);
            let end = fabric.world.now + crate::time::Duration::from_secs(1);
            while fabric.world.now < end {
                run(&mut fabric);
                fabric.world.act(&Act::Pass(50));
            }
            assert_eq!(fabric.index(VXLAN), Some(index));
            assert!(ours(&fabric, block(0)) && ours(&fabric, block(1)));
            fabric.check();
        }
    }
}

#[test]
fn what_was_renamed_while_no_daemon_ran_is_known_by_its_note() {
    for also in [false, true] {
        let mut fabric = fabric();
        let index = fabric.index(VXLAN).unwrap();
        let kernel = &mut fabric.world.kernel;
        kernel.foreign_link(VXLAN, |link| link.name = "stolen".into());
        if also {
            // And the name is somebody else's by now.
            kernel.links.insert(
                70,
                Link {
                    device: None,
                    ..Link::named(70, VXLAN)
                },
            );
        }
        kernel.news.clear();
        let settings = Settings {
            window: WINDOW,
            ..Settings::default()
        };
        fabric.world.plane = Dataplane::new(settings);
        let far = vec![far_end(1, 0), far_end(2, 0)];
        fabric.want(all(far));
        for n in 0..2 {
            let via = format!("10.244.250.{}", n + 1);
            fabric.world.act(&Act::Want(n, through(VXLAN, &via)));
        }
        assert!(run_watching(&mut fabric), "routes stay");
        let link = &fabric.world.kernel.links[&index];
        if also {
            assert_eq!(&*link.name, "stolen", "it works under that name");
            assert!(matches!(state(&fabric, VXLAN), TunnelState::Refused { .. }));
            fabric.world.kernel.link_down(70, true);
            fabric.settle();
        }
        assert_eq!(fabric.index(VXLAN), Some(index));
        fabric.settle();
        fabric.check();
    }
}

#[test]
fn without_its_note_and_its_name_a_device_is_still_ours_while_we_run() {
    let mut fabric = fabric();
    let index = fabric.index(VXLAN).unwrap();
    fabric.world.kernel.foreign_link(VXLAN, |link| {
        (link.name, link.alias) = ("stolen".into(), Some("mine".into()));
    });
    assert!(run_watching(&mut fabric), "routes stay");
    assert_eq!(fabric.index(VXLAN), Some(index));
    assert_eq!(
        fabric.world.kernel.links[&index].alias.as_deref(),
        Some(MARK)
    );
    fabric.check();
}

#[test]
fn a_device_whose_name_another_one_has_works_under_its_own() {
    let mut fabric = fabric();
    let index = fabric.index(VXLAN).unwrap();
    let kernel = &mut fabric.world.kernel;
    kernel.foreign_link(VXLAN, |link| link.name = "stolen".into());
    kernel.links.insert(70, Link::named(70, VXLAN));
    kernel.tell(Change::Link(Box::new(Link::named(70, VXLAN))));
    assert!(run_watching(&mut fabric), "routes stay");
    let lasting = fabric.world.now + crate::time::Duration::from_secs(120);
    while fabric.world.now < lasting {
        run(&mut fabric);
        fabric.world.act(&Act::Pass(500));
    }
    assert!(ours(&fabric, block(0)), "for as long as it takes");
    assert!(fabric.world.kernel.links.contains_key(&index));
    assert!(matches!(state(&fabric, VXLAN), TunnelState::Refused { .. }));
    assert_eq!(&*fabric.world.kernel.links[&70].name, VXLAN, "not touched");
}

#[test]
fn a_device_that_another_one_took_the_place_of_is_said_to_be_foreign() {
    let mut fabric = fabric();
    let index = fabric.index(VXLAN).unwrap();
    fabric.world.kernel.link_down(index, true);
    let other = Link {
        device: Some(Device::Vxlan {
            vni: 9,
            port: 4790,
            local: Some(ip("10.9.0.1")),
            parent: None,
            learning: true,
            external: false,
        }),
        ..Link::named(70, VXLAN)
    };
    fabric.world.kernel.links.insert(70, other.clone());
    fabric
        .world
        .kernel
        .tell(Change::Link(Box::new(other.clone())));
    run(&mut fabric);
    assert_eq!(state(&fabric, VXLAN), TunnelState::Foreign);
    assert_eq!(fabric.world.kernel.links[&70], other, "not touched");
    // It goes, and ours is made at once.
    fabric.world.kernel.link_down(70, true);
    fabric.settle();
    fabric.check();
    assert!(ours(&fabric, block(0)));
}
