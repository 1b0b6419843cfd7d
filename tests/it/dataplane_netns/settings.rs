//! Settings of the kernel that others change, and links on which IPv6 is off.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use dunlin::dataplane::{Errno, FarEnd, NextHop, Sysctl, Tunnel, TunnelKind};
use dunlin::net::{Family, Mac};
use dunlin::problem::{Code, Subject};

use super::*;

fn path(setting: &str) -> String {
    format!("/proc/sys/net/{setting}")
}

fn get(setting: &str) -> String {
    fs::read_to_string(path(setting)).unwrap().trim().to_owned()
}

fn put(setting: &str, to: &str) {
    fs::write(path(setting), to).unwrap();
}

fn codes(plane: &Dataplane, now: Instant) -> Vec<Code> {
    let problems = plane.problems(now);
    problems.iter().map(|problem| problem.code).collect()
}

#[test]
fn forwarding_is_switched_on_again_by_the_kernels_own_word() {
    in_namespace(|| {
        let mut rig = Rig::synced();
        rig.plane.converged();
        rig.plane.set_forwarding(Family::ALL.into_iter());
        rig.plane.want(prefix("10.244.1.0/26"), via(&["10.9.0.2"]));
        rig.until_installed("10.244.1.0/26");
        for setting in [
            "ipv4/ip_forward",
            "ipv6/conf/all/forwarding",
            "ipv4/conf/all/forwarding",
            "ipv4/conf/v0/forwarding",
        ] {
            assert_eq!(get(setting), "1", "{setting}");
            put(setting, "0");
            rig.until(setting, |plane| get(setting) == "1" && plane.is_idle());
        }
        // v1 is nobody's way here.
        put("ipv4/conf/v1/forwarding", "0");
        rig.catch_up();
        assert_eq!(get("ipv4/conf/v1/forwarding"), "0");
        let now = rig.now();
        assert_eq!(codes(&rig.plane, now), []);
    });
}

fn vxlan(family: Family) -> Tunnel {
    let (own, far, node) = match family {
        Family::Ipv4 => ("10.244.250.1", "10.244.250.2", "10.9.0"),
        Family::Ipv6 => ("fd00:250::1", "fd00:250::2", "fd00:9:"),
    };
    let dot = if family == Family::Ipv4 { "." } else { ":" };
    let at = |n: u8| format!("{node}{dot}{n}").parse().unwrap();
    let mac = |n: u8| Mac([0x66, 0, 0, 0, 0, n]);
    Tunnel {
        name: "vxlan0".into(),
        kind: TunnelKind::Vxlan {
            vni: 4096,
            port: 4789,
            mac: mac(1),
            checksum_offload: false,
        },
        underlay: at(1),
        address: Some(own.parse().unwrap()),
        mtu: None,
        far_ends: vec![FarEnd {
            address: far.parse().unwrap(),
            mac: mac(2),
            node: at(2),
        }],
        toward: vec![at(2)],
    }
}

#[test]
fn a_reverse_path_filter_that_becomes_strict_is_loosened_again() {
    in_namespace(|| {
        let mut rig = Rig::synced();
        rig.plane.converged();
        let now = rig.now();
        rig.plane.set_tunnels(now, vec![vxlan(Family::Ipv4)]);
        let through = NextHop::through("10.244.250.2".parse().unwrap(), "vxlan0".into());
        let block = prefix("10.244.7.0/26");
        rig.plane.want(block, Forwarding::Via(vec![through]));
        rig.until_installed("10.244.7.0/26");
        let strict = |link: &str| {
            let all = get("ipv4/conf/all/rp_filter");
            let own = get(&format!("ipv4/conf/{link}/rp_filter"));
            all.max(own) == "1"
        };
        for setting in [
            "ipv4/conf/vxlan0/rp_filter",
            "ipv4/conf/v0/rp_filter",
            "ipv4/conf/all/rp_filter",
        ] {
            if setting.contains("all") {
                put("ipv4/conf/v0/rp_filter", "0");
                put("ipv4/conf/vxlan0/rp_filter", "0");
                rig.catch_up();
            }
            put(setting, "1");
            rig.until(setting, |plane| {
                !strict("v0") && !strict("vxlan0") && plane.is_idle()
            });
        }
    });
}

#[test]
fn where_nothing_may_be_changed_it_is_a_problem_until_it_is_right() {
    in_namespace(|| {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let mount = |arguments: &[&str]| {
            let done = Command::new("mount").args(arguments).status().unwrap();
            assert!(done.success(), "mount {arguments:?}");
        };
        put("ipv4/ip_forward", "1");
        // What a container's runtime does.
        let switch = File::options()
            .write(true)
            .open(path("ipv4/ip_forward"))
            .unwrap();
        mount(&["--make-rprivate", "/"]);
        mount(&["--bind", "/proc/sys", "/proc/sys"]);
        mount(&["-o", "remount,ro,bind", "/proc/sys"]);
        let mut rig = Rig::synced();
        rig.plane.converged();
        rig.plane.set_forwarding(core::iter::once(Family::Ipv4));
        rig.until("the answer", |plane| plane.is_idle());
        let now = rig.now();
        assert_eq!(codes(&rig.plane, now), [], "it is on");
        switch.write_all_at(b"0", 0).unwrap();
        rig.until("the problem", |plane| plane.untuned().count() == 1);
        let unfit: Vec<_> = rig.plane.untuned().collect();
        assert_eq!(unfit, [(&Sysctl::Forwarding(Family::Ipv4), Errno::EROFS)]);
        let problem = rig.plane.problems(now).remove(0);
        assert_eq!(
            (problem.code, problem.subject),
            (Code::ForwardingOff, Subject::Host)
        );
        switch.write_all_at(b"1", 0).unwrap();
        rig.until("its end", |plane| plane.untuned().count() == 0);
    });
}

#[test]
fn a_link_without_ipv6_costs_the_routes_that_lead_over_it_and_no_others() {
    in_namespace(|| {
        ip("link add w0 type veth peer name w1");
        ip("link set w1 up");
        ip("link set w0 up");
        put("ipv6/conf/w0/disable_ipv6", "1");
        let mut rig = Rig::synced();
        rig.plane.converged();
        let index = rig.plane.view().link_by_name("w0").unwrap().index;
        let bad = NextHop::on_link("fe80::1".parse().unwrap(), index);
        let dead = prefix("fd00:244:66::/64");
        rig.plane.want(dead, Forwarding::Via(vec![bad]));
        rig.until("the refusal", |plane| {
            matches!(
                plane.state(dead),
                Some(RouteState::Refused {
                    errno: Errno::EACCES,
                    ..
                })
            )
        });
        // Others are written at once, again and again.
        let begin = rig.now();
        for n in 0..20 {
            let block = format!("fd00:244:{n}::/64");
            rig.plane.want(prefix(&block), via(&["fd00:9::2"]));
            rig.until(&block, |plane| {
                plane.state(prefix(&block)) == Some(RouteState::Installed)
            });
        }
        let now = rig.now();
        assert!(
            now.since(begin) < Duration::from_secs(5),
            "{:?}",
            now.since(begin)
        );
        let problem = rig.plane.problems(now).remove(0);
        assert_eq!(problem.code, Code::RouteRefused);
        assert_eq!(problem.remedy, "set net.ipv6.conf.w0.disable_ipv6 = 0");
        assert!(!rig.reports().contains(&Report::Denied));
        put("ipv6/conf/w0/disable_ipv6", "0");
        rig.until_installed("fd00:244:66::/64");
    });
}

#[test]
fn ipv6_is_switched_on_at_the_own_device() {
    in_namespace(|| {
        put("ipv6/conf/default/disable_ipv6", "1");
        let mut rig = Rig::synced();
        rig.plane.converged();
        let now = rig.now();
        rig.plane.set_tunnels(now, vec![vxlan(Family::Ipv6)]);
        let far: IpAddr = "fd00:250::2".parse().unwrap();
        let onto = NextHop::onto(far, "vxlan0".into());
        rig.plane
            .want(Prefix::host(far), Forwarding::Via(vec![onto]));
        let through = NextHop::through(far, "vxlan0".into());
        rig.plane
            .want(prefix("fd00:244:7::/64"), Forwarding::Via(vec![through]));
        rig.until_installed("fd00:244:7::/64");
        assert_eq!(get("ipv6/conf/vxlan0/disable_ipv6"), "0");
        assert_eq!(
            get("ipv6/conf/default/disable_ipv6"),
            "1",
            "other links are not ours"
        );
        let now = rig.now();
        assert_eq!(codes(&rig.plane, now), []);
        assert!(!rig.reports().contains(&Report::Denied));
    });
}
