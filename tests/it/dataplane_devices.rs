//! Links, addresses and settings against the real kernel: each operation as the machine gives it,
//! each change as `ip` and `ethtool` see it.
//!
//! Each test runs in a network namespace of its own. What needs a driver that is not there (ipip and
//! ip6tnl in most build machines) says so and tests the kernel's refusal instead; for the other half:
//! `uml-run.sh -M "veth vxlan ipip ip6_tunnel" -- target/debug/deps/it-… dataplane_devices`.
#![expect(clippy::unwrap_used, reason = "a test that can't go on says where")]

use std::fs;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use dunlin::dataplane::{
    Action, Address, Change, Device, Errno, Hop, KernelRoute, Link, LinkSetting, LinkSpec, Shape,
    Sysctl,
};
use dunlin::net::Family;
use nix::sched::{CloneFlags, unshare};

use super::dataplane_netns::{in_namespace, ip};
use super::dataplane_wire::{V4, V6, Wire, addr, mac, run, vxlan};

/// Whether the kernel has a driver; where it has none, that it says so the way the machine expects.
fn has_driver(wire: &mut Wire, spec: &LinkSpec) -> bool {
    match wire.ask(Action::AddLink(Box::new(spec.clone()))) {
        Ok(()) => true,
        Err(errno) => {
            assert_eq!(errno, Errno::EOPNOTSUPP, "{spec:?}");
            println!("no driver for {} here", spec.device.kind());
            false
        }
    }
}

#[test]
fn vxlan_devices_are_made_side_by_side_and_told_before_the_result() {
    in_namespace(|| {
        let mut wire = Wire::new();
        wire.dump();
        let v0 = nix::net::if_::if_nametoindex("v0").unwrap();
        for (name, local, parent) in [(V4, "10.9.0.1", Some(v0)), (V6, "fd00:9::1", None)] {
            let spec = vxlan(name, local, parent);
            let index = wire.made(&spec);
            let wanted = Link {
                mtu: 1430,
                mac: spec.mac,
                alias: Some("dunlin".into()),
                device: Some(spec.device.clone()),
                ..Link::named(index, name)
            };
            assert_eq!(*wire.link(name), wanted, "told by the time it is made");
            let row = wire
                .dump()
                .into_iter()
                .find(|row| matches!(row, Change::Link(link) if link.index == index));
            assert_eq!(row, Some(Change::Link(Box::new(wanted))), "and dumped");
            let text = ip(&format!("-d link show {name}"));
            for part in [
                "vxlan id 4096",
                local,
                "dstport 4789",
                "nolearning",
                "mtu 1430",
                "udpcsum",
            ] {
                assert!(text.contains(part), "{part}: {text}");
            }
            assert!(
                text.contains("alias dunlin") && text.contains(",UP,"),
                "{text}"
            );
            let again = wire.ask(Action::AddLink(Box::new(spec)));
            assert_eq!(again, Err(Errno::EEXIST));
        }
        let (one, other) = (wire.link(V4).index, wire.link(V6).index);
        assert_eq!(wire.ask(Action::DeleteLink { index: one }), Ok(()));
        assert!(!wire.links.contains_key(&one), "its end is told, too");
        assert_eq!(
            wire.ask(Action::DeleteLink { index: one }),
            Err(Errno::ENODEV)
        );
        ip(&format!("link del {V6}"));
        wire.hear_exactly(&Change::LinkGone { index: other });
    });
}

#[test]
fn a_link_is_changed_in_place_and_what_others_change_is_told() {
    in_namespace(|| {
        let mut wire = Wire::new();
        wire.dump();
        let index = wire.made(&vxlan(V4, "10.9.0.1", None));
        wire.set(index, LinkSetting::Mtu(1400));
        assert_eq!(wire.link(V4).mtu, 1400);
        wire.set(index, LinkSetting::Mac(mac(7)));
        assert_eq!(wire.link(V4).mac, Some(mac(7)));
        wire.set(index, LinkSetting::Alias("other".into()));
        assert_eq!(wire.link(V4).alias.as_deref(), Some("other"));
        wire.set(index, LinkSetting::Alias("".into()));
        assert_eq!(wire.link(V4).alias, None);
        wire.set(index, LinkSetting::Down);
        assert!(!wire.link(V4).up);
        wire.set(index, LinkSetting::Up);
        assert!(wire.link(V4).usable());
        assert_eq!(wire.link(V4).index, index);
        let setting = LinkSetting::Mtu(1);
        let refused = wire.ask(Action::SetLink { index, setting });
        assert_eq!(refused, Err(Errno::EINVAL));
        let setting = LinkSetting::Up;
        let nobody = wire.ask(Action::SetLink {
            index: 9999,
            setting,
        });
        assert_eq!(nobody, Err(Errno::ENODEV));

        ip("link set vxlan.calico mtu 1300 alias theirs");
        wire.hear("their change", |change| match change {
            Change::Link(link) if link.mtu == 1300 && link.alias.as_deref() == Some("theirs") => {
                Some(())
            }
            _ => None,
        });
        assert!(
            wire.links
                .values()
                .any(|link| link.loopback && &*link.name == "lo")
        );
        let veth = wire.link("v0").device.clone();
        assert_eq!(veth, Some(Device::Other("veth".into())));
    });
}

#[test]
fn addresses_come_and_go() {
    in_namespace(|| {
        let mut wire = Wire::new();
        wire.dump();
        let interface = wire.made(&vxlan(V4, "10.9.0.1", None));
        for (text, len) in [("10.244.7.0", 32), ("fd00:244:7::", 128)] {
            let address = Address {
                interface,
                address: addr(text),
                len,
            };
            assert_eq!(wire.ask(Action::AddAddress(address)), Ok(()));
            assert_eq!(
                wire.ask(Action::AddAddress(address)),
                Ok(()),
                "it is there already"
            );
            let shown = ip("addr show dev vxlan.calico");
            let line = shown.lines().find(|line| line.contains(text)).unwrap();
            assert!(
                line.contains("scope global") && !line.contains("tentative"),
                "{line}"
            );
            assert!(wire.dump().contains(&Change::Address(address)));
            assert_eq!(wire.ask(Action::DeleteAddress(address)), Ok(()));
            assert!(!ip("addr show dev vxlan.calico").contains(text));
            assert_eq!(
                wire.ask(Action::DeleteAddress(address)),
                Err(Errno::EADDRNOTAVAIL)
            );
            ip(&format!("addr add {text}/{len} dev vxlan.calico nodad"));
            wire.hear_exactly(&Change::Address(address));
            ip(&format!("addr del {text}/{len} dev vxlan.calico"));
            wire.hear_exactly(&Change::AddressGone(address));
        }
    });
}

/// What the module's documentation says of echoes: where the kernel names our port, we don't hear.
#[test]
fn settings_are_brought_to_what_they_have_to_be_in_this_namespace() {
    in_namespace(|| {
        let at = |path: &str| format!("/proc/sys/net/{path}");
        let get = |path: &str| fs::read_to_string(at(path)).unwrap().trim().to_owned();
        let put = |path: &str, to: &str| fs::write(at(path), to).unwrap();
        put("ipv4/ip_forward", "0");
        put("ipv6/conf/all/forwarding", "0");
        // Another namespace, whose settings must stay what they are.
        let (done, wait) = sync_channel::<()>(0);
        let (ready, started) = sync_channel(1);
        let bystander = std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            let forward = "/proc/sys/net/ipv4/ip_forward";
            fs::write(forward, "0").unwrap();
            ready.send(()).unwrap();
            wait.recv().unwrap();
            fs::read_to_string(forward).unwrap()
        });
        started.recv().unwrap();
        let mut wire = Wire::new();
        wire.dump();
        wire.made(&vxlan(V4, "10.9.0.1", None));
        for (link, accept) in [("v0", "1"), ("v1", "0"), (V4, "2")] {
            put(&format!("ipv6/conf/{link}/accept_ra"), accept);
        }
        let tune = |wire: &mut Wire, setting| wire.ask(Action::Tune(setting));
        assert_eq!(tune(&mut wire, Sysctl::Forwarding(Family::Ipv4)), Ok(()));
        assert_eq!(get("ipv4/ip_forward"), "1");
        assert_eq!(tune(&mut wire, Sysctl::Forwarding(Family::Ipv6)), Ok(()));
        assert_eq!(get("ipv6/conf/all/forwarding"), "1");
        for (link, accept) in [("v0", "2"), ("v1", "0"), (V4, "2"), ("default", "1")] {
            assert_eq!(
                get(&format!("ipv6/conf/{link}/accept_ra")),
                accept,
                "{link}"
            );
        }
        done.send(()).unwrap();
        assert_eq!(bystander.join().unwrap().trim(), "0", "another namespace");
        // An administrator's choice after that is left alone.
        put("ipv6/conf/v0/accept_ra", "1");
        assert_eq!(tune(&mut wire, Sysctl::Forwarding(Family::Ipv6)), Ok(()));
        assert_eq!(get("ipv6/conf/v0/accept_ra"), "1");

        for (all, own, then) in [
            ("0", "0", "0"),
            ("0", "1", "2"),
            ("1", "0", "2"),
            ("1", "1", "2"),
            ("2", "1", "1"),
            ("1", "2", "2"),
        ] {
            put("ipv4/conf/all/rp_filter", all);
            put(&format!("ipv4/conf/{V4}/rp_filter"), own);
            let loose = Sysctl::LooseReversePath(V4.into());
            assert_eq!(tune(&mut wire, loose), Ok(()));
            assert_eq!(
                get(&format!("ipv4/conf/{V4}/rp_filter")),
                then,
                "{all} {own}"
            );
            assert_eq!(get("ipv4/conf/all/rp_filter"), all);
        }
        for (name, errno) in [
            ("nobody", Errno::ENOENT),
            ("../all", Errno::EINVAL),
            ("all", Errno::EINVAL),
            ("..", Errno::EINVAL),
        ] {
            let loose = Sysctl::LooseReversePath(name.into());
            assert_eq!(tune(&mut wire, loose), Err(errno), "{name}");
        }
    });
}

#[test]
fn checksum_offloading_is_switched_off_and_on() {
    in_namespace(|| {
        let mut wire = Wire::new();
        wire.dump();
        wire.made(&vxlan(V4, "10.9.0.1", None));
        let offload = |wire: &mut Wire, link: &str, on| {
            wire.ask(Action::Offload {
                link: link.into(),
                on,
            })
        };
        let shown = || {
            let text = run("ethtool", &format!("-k {V4}"));
            let line = text
                .lines()
                .find(|line| line.contains("tx-checksum-ip-generic"));
            line.unwrap().trim().to_owned()
        };
        for on in [false, false, true] {
            assert_eq!(offload(&mut wire, V4, on), Ok(()));
            let wanted = format!("tx-checksum-ip-generic: {}", if on { "on" } else { "off" });
            assert_eq!(shown(), wanted);
        }
        assert_eq!(offload(&mut wire, "nobody", false), Err(Errno::ENODEV));
        let fixed = offload(&mut wire, "lo", false);
        assert_eq!(fixed, Err(Errno::EOPNOTSUPP), "the loopback can't");
    });
}

#[test]
fn ipip_is_adopted_or_refused() {
    in_namespace(|| {
        let mut wire = Wire::new();
        wire.dump();
        let spec = LinkSpec {
            name: "tun9".into(),
            device: Device::Ipip {
                local: Some("10.9.0.1".parse().unwrap()),
                remote: None,
            },
            mtu: 1480,
            mac: None,
            alias: "dunlin".into(),
        };
        if !has_driver(&mut wire, &spec) {
            return;
        }
        let made = wire.link("tun9").clone();
        assert_eq!(
            (made.device, made.mtu, made.up),
            (Some(spec.device.clone()), 1480, true)
        );
        assert_eq!(made.alias.as_deref(), Some("dunlin"));
        let text = ip("-d link show tun9");
        assert!(
            text.contains("ipip ipip remote any local 10.9.0.1")
                || text.contains("ipip any remote any local 10.9.0.1"),
            "{text}"
        );

        // The kernel's own device: there since the driver is, and down.
        let rows = wire.dump();
        let tunl0 = rows.iter().find_map(|row| match row {
            Change::Link(link) if &*link.name == "tunl0" => Some(link.clone()),
            _ => None,
        });
        let tunl0 = tunl0.unwrap();
        let any = Device::Ipip {
            local: None,
            remote: None,
        };
        assert_eq!(
            (tunl0.device, tunl0.up, tunl0.mac),
            (Some(any.clone()), false, None)
        );
        let spec = LinkSpec {
            name: "tunl0".into(),
            device: any,
            ..spec
        };
        assert_eq!(
            wire.ask(Action::AddLink(Box::new(spec))),
            Err(Errno::EEXIST)
        );
        let index = tunl0.index;
        wire.set(index, LinkSetting::Alias("dunlin".into()));
        wire.set(index, LinkSetting::Mtu(1440));
        wire.set(index, LinkSetting::Up);
        let now = wire.link("tunl0").clone();
        assert_eq!(
            (now.alias.as_deref(), now.mtu, now.usable()),
            (Some("dunlin"), 1440, true)
        );
        wire.set(index, LinkSetting::Alias("".into()));
        wire.set(index, LinkSetting::Down);
        assert_eq!(
            (wire.link("tunl0").alias.clone(), wire.link("tunl0").up),
            (None, false)
        );
    });
}

fn tunl6() -> LinkSpec {
    LinkSpec {
        name: "tunl6".into(),
        device: Device::Ip6tnl {
            local: Some("fd00:9::1".parse().unwrap()),
            remote: None,
        },
        mtu: 1440,
        mac: None,
        alias: "dunlin".into(),
    }
}

fn tunnel_route(interface: u32, nodes: &[&str]) -> KernelRoute {
    let hop = |node: &&str| Hop {
        onlink: true,
        ..Hop::new(addr(node), interface)
    };
    KernelRoute {
        prefix: "fd00:b::/64".parse().unwrap(),
        table: 254,
        metric: 1024,
        protocol: 179,
        shape: Arc::new(Shape::unicast(nodes.iter().map(hop))),
    }
}

/// To nodes of the own subnet, where the kernel would refuse a gateway on the tunnel.
#[test]
fn ip6tnl_is_made_and_routes_through_it_read_as_they_were_given() {
    in_namespace(|| {
        let mut wire = Wire::new();
        wire.dump();
        let spec = tunl6();
        if !has_driver(&mut wire, &spec) {
            return;
        }
        let made = wire.link("tunl6").clone();
        let wanted = Link {
            mtu: 1440,
            alias: Some("dunlin".into()),
            device: Some(spec.device),
            ..Link::named(made.index, "tunl6")
        };
        assert_eq!(made, wanted);
        let text = ip("-d link show tunl6");
        for part in [
            "ip6tnl external ip6ip6",
            "local fd00:9::1",
            "encaplimit none",
        ] {
            assert!(text.contains(part), "{text}");
        }
        let route = |nodes: &[&str]| tunnel_route(made.index, nodes);
        let (near, both) = (route(&["fd00:9::2"]), route(&["fd00:9::2", "fd00:9::3"]));
        for wanted in [&near, &both, &near] {
            assert_eq!(wire.ask(Action::Replace(wanted.clone())), Ok(()));
            let rows = wire.dump();
            let mut ours = rows.iter().filter_map(|row| match row {
                Change::Route { route, .. } if route.protocol == 179 => Some(route),
                _ => None,
            });
            assert_eq!((ours.next(), ours.next()), (Some(wanted), None));
        }

        assert_eq!(wire.ask(Action::Delete(near)), Ok(()));
        assert_eq!(wire.ask(Action::Replace(both.clone())), Ok(()));
        assert_eq!(wire.ask(Action::Delete(both)), Ok(()));
        assert_eq!(ip("-6 route show proto 179").trim(), "");
    });
}

#[test]
fn ip6tnl_takes_packets_to_a_node_of_the_own_subnet() {
    in_namespace(|| {
        let mut wire = Wire::new();
        wire.dump();
        if !has_driver(&mut wire, &tunl6()) {
            return;
        }
        let interface = wire.link("tunl6").index;
        let own = Address {
            interface,
            address: addr("fd00:a::1"),
            len: 128,
        };
        assert_eq!(wire.ask(Action::AddAddress(own)), Ok(()));
        let route = tunnel_route(interface, &["fd00:9::2"]);
        assert_eq!(wire.ask(Action::Replace(route)), Ok(()));

        // The far end is in a namespace of its own, behind v1, and set up by other means.
        let name = format!("dn-netlink-{}", std::process::id());
        ip(&format!("netns add {name}"));
        let far = |arguments: &str| ip(&format!("-n {name} {arguments}"));
        ip(&format!("link set v1 netns {name}"));
        far("link set lo up");
        far("addr add fd00:9::2/64 dev v1 nodad");
        far("link set v1 up");
        far(
            "link add tunl6 type ip6tnl mode ip6ip6 local fd00:9::2 remote fd00:9::1 encaplimit none",
        );
        far("link set tunl6 up");
        far("addr add fd00:b::1/128 dev tunl6 nodad");
        far("-6 route add fd00:a::/64 dev tunl6");
        let answers = run("ping", "-6 -c 3 -i 0.2 -W 5 fd00:b::1");
        // 1440 octets are what its MTU allows.
        let most = run("ping", "-6 -c 1 -W 5 -M do -s 1392 fd00:b::1");
        ip(&format!("netns del {name}"));
        assert!(answers.contains(" 0% packet loss"), "{answers}");
        assert!(most.contains(" 0% packet loss"), "{most}");
        let all = fs::read_to_string("/proc/thread-self/net/dev").unwrap();
        let counts = all.lines().find(|line| line.contains("tunl6:")).unwrap();
        let sent = counts.split_whitespace().nth(10);
        assert_eq!(sent, Some("4"), "by the tunnel: {counts}");
    });
}
