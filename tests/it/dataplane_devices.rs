//! Links, addresses, neighbours, FDB entries and settings against the real kernel: each operation as
//! the machine gives it, each change as `ip`, `bridge` and `ethtool` see it.
//!
//! Each test runs in a network namespace of its own. What needs a driver that is not there (ipip and
//! ip6tnl in most build machines) says so and tests the kernel's refusal instead; for the other half:
//! `uml-run.sh -M "veth vxlan ipip ip6_tunnel" -- target/debug/deps/it-… dataplane_devices`.
#![expect(clippy::unwrap_used, reason = "a test that can't go on says where")]

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use dunlin::dataplane::netlink::{Kernel, KernelSettings};
use dunlin::dataplane::{
    Action, Address, Change, Device, Errno, Hop, KernelInput, KernelRoute, Link, LinkSetting,
    LinkSpec, Neighbour, Op, OpId, Shape, Sysctl,
};
use dunlin::net::{Family, Mac};
use nix::sched::{CloneFlags, unshare};

use super::dataplane_netns::{in_namespace, ip};

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);
const V4: &str = "vxlan.calico";
const V6: &str = "vxlan-v6.calico";

fn run(program: &str, arguments: &str) -> String {
    let output = Command::new(program)
        .args(arguments.split_whitespace())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

fn bridge(arguments: &str) -> String {
    run("bridge", arguments)
}

/// The kernel thread, driven by hand.
struct Wire {
    kernel: Kernel,
    inputs: Receiver<Vec<KernelInput>>,
    next: u64,
    /// What was heard and not asked for yet.
    heard: Vec<Change>,
    links: BTreeMap<u32, Link>,
}

impl Wire {
    fn new() -> Self {
        let (sender, inputs) = sync_channel(64);
        let sink = move |batch| sender.send(batch).is_ok();
        let kernel = Kernel::spawn(KernelSettings::default(), sink).unwrap();
        Self {
            kernel,
            inputs,
            next: 0,
            heard: Vec::new(),
            links: BTreeMap::new(),
        }
    }

    fn note(&mut self, change: Change) {
        self.note_link(&change);
        self.heard.push(change);
    }

    fn note_link(&mut self, change: &Change) {
        match change {
            Change::Link(link) => {
                self.links.insert(link.index, link.clone());
            }
            Change::LinkGone { index } => {
                self.links.remove(index);
            }
            _ => {}
        }
    }

    /// Hands over all of `actions` at once; their results, which come in this order.
    fn all(&mut self, actions: Vec<Action>) -> (Vec<Result<(), Errno>>, Vec<Change>) {
        let first = self.next;
        let ops: Vec<Op> = actions
            .into_iter()
            .map(|action| {
                self.next += 1;
                let id = OpId(self.next - 1);
                Op { id, action }
            })
            .collect();
        assert!(self.kernel.send(ops));
        let (mut results, mut rows) = (Vec::new(), Vec::new());
        while first + (results.len() as u64) < self.next {
            for input in self.inputs.recv_timeout(PATIENCE).unwrap() {
                match input {
                    KernelInput::Done { id, result } => {
                        assert_eq!(id.0, first + results.len() as u64, "results are in order");
                        results.push(result);
                    }
                    KernelInput::Changed(change) => self.note(change),
                    KernelInput::Dumped(row) => rows.push(row),
                    KernelInput::Overrun => panic!("an overrun"),
                }
            }
        }
        (results, rows)
    }

    fn ask(&mut self, action: Action) -> Result<(), Errno> {
        self.all(vec![action]).0.remove(0)
    }

    fn dump(&mut self) -> Vec<Change> {
        let (results, rows) = self.all(vec![Action::Dump]);
        assert_eq!(results, [Ok(())]);
        for row in &rows {
            self.note_link(row);
        }
        rows
    }

    /// The next change that `pick` wants; what came before it is dropped.
    fn hear<T>(&mut self, what: &str, pick: impl Fn(&Change) -> Option<T>) -> T {
        let give_up = std::time::Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.heard.iter().position(|change| pick(change).is_some()) {
                let found = self.heard.drain(..=at).next_back().unwrap();
                return pick(&found).unwrap();
            }
            let left = give_up.saturating_duration_since(std::time::Instant::now());
            let Ok(batch) = self.inputs.recv_timeout(left) else {
                panic!("never heard: {what}; only {:?}", self.heard);
            };
            for input in batch {
                if let KernelInput::Changed(change) = input {
                    self.note(change);
                }
            }
        }
    }

    fn hear_exactly(&mut self, change: &Change) {
        self.hear(&format!("{change:?}"), |heard| {
            (heard == change).then_some(())
        });
    }

    /// The link of this name, as it was last told.
    fn link(&self, name: &str) -> &Link {
        let found = self.links.values().find(|link| &*link.name == name);
        found.unwrap_or_else(|| panic!("{name} was never told: {:?}", self.links))
    }

    fn made(&mut self, spec: &LinkSpec) -> u32 {
        assert_eq!(self.ask(Action::AddLink(spec.clone())), Ok(()), "{spec:?}");
        self.link(&spec.name).index
    }

    fn set(&mut self, index: u32, setting: LinkSetting) {
        assert_eq!(self.ask(Action::SetLink { index, setting }), Ok(()));
    }
}

fn vxlan(name: &str, local: &str, parent: Option<u32>) -> LinkSpec {
    LinkSpec {
        name: name.into(),
        device: Device::Vxlan {
            vni: 4096,
            port: 4789,
            local: Some(local.parse().unwrap()),
            parent,
            learning: false,
            external: false,
        },
        mtu: 1430,
        mac: Some("66:3f:bd:27:5e:a2".parse().unwrap()),
        alias: "dunlin".into(),
    }
}

fn mac(last: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, last])
}

fn addr(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn neighbours(rows: &[Change], interface: u32) -> Vec<(Neighbour, bool)> {
    let pick = |row: &Change| match row {
        Change::Neighbour {
            neighbour,
            permanent,
        } if neighbour.interface() == interface => Some((*neighbour, *permanent)),
        _ => None,
    };
    rows.iter().filter_map(pick).collect()
}

/// Whether the kernel has a driver; where it has none, that it says so the way the machine expects.
fn has_driver(wire: &mut Wire, spec: &LinkSpec) -> bool {
    match wire.ask(Action::AddLink(spec.clone())) {
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
        let v0 = u32::try_from(nix::net::if_::if_nametoindex("v0").unwrap()).unwrap();
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
            assert_eq!(row, Some(Change::Link(wanted)), "and dumped");
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
            let again = wire.ask(Action::AddLink(spec));
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
            assert_eq!(wire.ask(Action::DeleteAddress(address)), Err(Errno(99)));
            ip(&format!("addr add {text}/{len} dev vxlan.calico nodad"));
            wire.hear_exactly(&Change::Address(address));
            ip(&format!("addr del {text}/{len} dev vxlan.calico"));
            wire.hear_exactly(&Change::AddressGone(address));
        }
    });
}

#[test]
fn neighbours_are_entered_replaced_dumped_and_lost() {
    in_namespace(|| {
        let mut wire = Wire::new();
        wire.dump();
        let interface = wire.made(&vxlan(V4, "10.9.0.1", None));
        for text in ["10.244.8.0", "fd00:244:8::"] {
            let entry = |mac| Neighbour::Address {
                interface,
                address: addr(text),
                mac,
            };
            for last in [1, 1, 2] {
                assert_eq!(wire.ask(Action::SetNeighbour(entry(mac(last)))), Ok(()));
                let shown = ip("neigh show dev vxlan.calico");
                let wanted = format!("{text} lladdr {} PERMANENT", mac(last));
                assert_eq!(shown.trim(), wanted);
                let rows = wire.dump();
                assert_eq!(neighbours(&rows, interface), [(entry(mac(last)), true)]);
            }
            let told = |permanent| Change::Neighbour {
                neighbour: entry(mac(3)),
                permanent,
            };
            ip(&format!(
                "neigh replace {text} dev {V4} lladdr {} nud permanent",
                mac(3)
            ));
            wire.hear_exactly(&told(true));
            ip(&format!(
                "neigh replace {text} dev {V4} lladdr {} nud reachable",
                mac(3)
            ));
            wire.hear_exactly(&told(false));
            assert_eq!(wire.ask(Action::SetNeighbour(entry(mac(3)))), Ok(()));
            ip(&format!("neigh del {text} dev {V4}"));
            wire.hear_exactly(&Change::NeighbourGone(entry(Mac::default())));

            assert_eq!(wire.ask(Action::SetNeighbour(entry(mac(4)))), Ok(()));
            assert_eq!(wire.ask(Action::DeleteNeighbour(entry(mac(4)))), Ok(()));
            assert_eq!(ip("neigh show dev vxlan.calico").trim(), "");
            let gone = wire.ask(Action::DeleteNeighbour(entry(mac(4))));
            assert_eq!(gone, Err(Errno::ENOENT));
        }
        // What other links resolve is none of our business.
        ip(&format!(
            "neigh add 10.9.0.77 dev v0 lladdr {} nud permanent",
            mac(9)
        ));
        ip(&format!(
            "neigh add 10.244.9.9 dev {V4} lladdr {} nud permanent",
            mac(9)
        ));
        wire.hear("the second one", |change| match change {
            Change::Neighbour { neighbour, .. } => {
                assert_eq!(neighbour.interface(), interface);
                matches!(neighbour, Neighbour::Address { address, .. } if *address == addr("10.244.9.9"))
                    .then_some(())
            }
            _ => None,
        });
    });
}

#[test]
fn an_fdb_entry_leads_to_one_node_at_a_time() {
    in_namespace(|| {
        let mut wire = Wire::new();
        wire.dump();
        for (name, local, nodes) in [
            (V4, "10.9.0.1", ["10.9.0.2", "10.9.0.3", "10.9.0.4"]),
            (V6, "fd00:9::1", ["fd00:9::2", "fd00:9::3", "fd00:9::4"]),
        ] {
            let interface = wire.made(&vxlan(name, local, None));
            let entry = |node| Neighbour::Forward {
                interface,
                mac: mac(1),
                node: addr(node),
            };
            let shown = || bridge(&format!("fdb show dev {name}"));
            let [first, second, third] = nodes;
            for node in [first, first, second] {
                assert_eq!(wire.ask(Action::SetNeighbour(entry(node))), Ok(()));
                let rows = wire.dump();
                assert_eq!(neighbours(&rows, interface), [(entry(node), true)]);
                let wanted = format!("{} dst {node} self permanent", mac(1));
                assert_eq!(shown().trim(), wanted, "the one before is gone");
            }
            bridge(&format!("fdb replace {} dev {name} dst {third}", mac(1)));
            wire.hear_exactly(&Change::Neighbour {
                neighbour: entry(third),
                permanent: true,
            });
            // Another port: it is there, but nothing that can stay.
            bridge(&format!(
                "fdb replace {} dev {name} dst {third} port 4000",
                mac(1)
            ));
            wire.hear_exactly(&Change::Neighbour {
                neighbour: entry(third),
                permanent: false,
            });
            assert_eq!(wire.ask(Action::SetNeighbour(entry(third))), Ok(()));
            assert!(!shown().contains("port"), "{}", shown());
            bridge(&format!("fdb del {} dev {name} dst {third}", mac(1)));
            wire.hear_exactly(&Change::NeighbourGone(entry(third)));
            let gone = wire.ask(Action::DeleteNeighbour(entry(third)));
            assert_eq!(gone, Err(Errno::ENOENT));

            assert_eq!(wire.ask(Action::SetNeighbour(entry(first))), Ok(()));
            // Linux 6.1 says yes to the wrong node, and leaves the entry alone all the same.
            let _ = wire.ask(Action::DeleteNeighbour(entry(second)));
            assert!(shown().contains(first), "it must match its node");
            assert_eq!(wire.ask(Action::DeleteNeighbour(entry(first))), Ok(()));
            assert_eq!(shown().trim(), "");
        }
    });
}

#[test]
fn many_entries_of_a_batch_are_answered_in_order() {
    in_namespace(|| {
        let mut wire = Wire::new();
        wire.dump();
        let interface = wire.made(&vxlan(V4, "10.9.0.1", None));
        let count = 1500_u32;
        let far = |n: u32| {
            let [a, b, c, d] = n.to_be_bytes();
            let mac = Mac([2, 1, a, b, c, d]);
            let node = std::net::Ipv4Addr::from_bits(0x0A64_0000 + n).into();
            let address = std::net::Ipv4Addr::from_bits(0x0AF4_0000 + n * 64).into();
            [
                Neighbour::Forward {
                    interface,
                    mac,
                    node,
                },
                Neighbour::Address {
                    interface,
                    address,
                    mac,
                },
            ]
        };
        let entries: Vec<Neighbour> = (0..count).flat_map(far).collect();
        // More than the kernel keeps of what it learns (gc_thresh3): permanent ones don't count.
        let set = entries.iter().copied().map(Action::SetNeighbour).collect();
        let (results, _) = wire.all(set);
        assert!(results.iter().all(Result::is_ok));
        let mut found: Vec<Neighbour> = neighbours(&wire.dump(), interface)
            .into_iter()
            .map(|(neighbour, permanent)| {
                assert!(permanent);
                neighbour
            })
            .collect();
        found.sort_unstable();
        let mut wanted = entries.clone();
        wanted.sort_unstable();
        assert_eq!(found, wanted);
        // A refusal in the midst of them is told at its place, as is a link operation.
        let missing = Neighbour::Address {
            interface,
            address: addr("10.0.0.1"),
            mac: mac(1),
        };
        let (results, _) = wire.all(vec![
            Action::DeleteNeighbour(entries[0]),
            Action::DeleteNeighbour(missing),
            Action::Tune(Sysctl::Forwarding(Family::Ipv4)),
            Action::DeleteNeighbour(entries[1]),
            Action::DeleteLink { index: interface },
            Action::SetNeighbour(missing),
        ]);
        let gone = Err(Errno::ENODEV);
        assert_eq!(
            results,
            [Ok(()), Err(Errno::ENOENT), Ok(()), Ok(()), Ok(()), gone]
        );
    });
}

/// What the module's documentation says of echoes: where the kernel names our port, we don't hear.
#[test]
fn own_echoes_are_heard_only_where_the_kernel_names_nobody() {
    in_namespace(|| {
        let mut wire = Wire::new();
        wire.dump();
        let interface = wire.made(&vxlan(V4, "10.9.0.1", None));
        let v4 = Address {
            interface,
            address: addr("10.244.7.0"),
            len: 32,
        };
        let v6 = Address {
            interface,
            address: addr("fd00:244:7::"),
            len: 128,
        };
        let [near4, near6] = ["10.244.8.0", "fd00:244:8::"].map(|text| Neighbour::Address {
            interface,
            address: addr(text),
            mac: mac(1),
        });
        let forward = Neighbour::Forward {
            interface,
            mac: mac(1),
            node: addr("10.9.0.2"),
        };
        let (results, _) = wire.all(vec![
            Action::AddAddress(v4),
            Action::AddAddress(v6),
            Action::SetNeighbour(near4),
            Action::SetNeighbour(near6),
            Action::SetNeighbour(forward),
        ]);
        assert!(results.iter().all(Result::is_ok));
        ip("addr add 10.244.7.1/32 dev vxlan.calico");
        let marker = Change::Address(Address {
            address: addr("10.244.7.1"),
            ..v4
        });
        let mut heard = Vec::new();
        let give_up = std::time::Instant::now() + PATIENCE;
        loop {
            heard.append(&mut wire.heard);
            // That of an IPv6 address comes when the kernel is done with its duplicates.
            if heard.contains(&marker) && heard.contains(&Change::Address(v6)) {
                break;
            }
            let left = give_up.saturating_duration_since(std::time::Instant::now());
            for input in wire.inputs.recv_timeout(left).unwrap() {
                if let KernelInput::Changed(change) = input {
                    wire.note(change);
                }
            }
        }
        let entry = |neighbour| Change::Neighbour {
            neighbour,
            permanent: true,
        };
        let of = |change| heard.contains(&change);
        assert!(!of(Change::Address(v4)), "{heard:?}");
        assert!(!of(entry(near4)) && !of(entry(near6)), "{heard:?}");
        assert!(of(entry(forward)), "{heard:?}");
    });
}

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
        assert_eq!(wire.ask(Action::AddLink(spec)), Err(Errno::EEXIST));
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

/// A node of the own subnet, where the kernel would refuse a gateway on the tunnel: routes as the
/// machine gives them reach it, through two devices' worth of hops too, and read back as given.
#[test]
fn ip6tnl_takes_packets_to_any_node_without_an_option() {
    in_namespace(|| {
        let mut wire = Wire::new();
        wire.dump();
        let spec = LinkSpec {
            name: "tunl6".into(),
            device: Device::Ip6tnl {
                local: Some("fd00:9::1".parse().unwrap()),
                remote: None,
            },
            mtu: 1440,
            mac: None,
            alias: "dunlin".into(),
        };
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
        let own = Address {
            interface: made.index,
            address: addr("fd00:a::1"),
            len: 128,
        };
        assert_eq!(wire.ask(Action::AddAddress(own)), Ok(()));
        let route = |nodes: &[&str]| KernelRoute {
            prefix: "fd00:b::/64".parse().unwrap(),
            table: 254,
            metric: 1024,
            protocol: 179,
            shape: Arc::new(Shape::unicast(nodes.iter().map(|node| Hop {
                onlink: true,
                ..Hop::new(addr(node), made.index)
            }))),
        };
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
        // 1440 octets pass, and not one more.
        let most = run("ping", "-6 -c 1 -W 5 -M do -s 1392 fd00:b::1");
        ip(&format!("netns del {name}"));
        assert!(answers.contains(" 0% packet loss"), "{answers}");
        assert!(most.contains(" 0% packet loss"), "{most}");
        let sent = fs::read_to_string("/proc/thread-self/net/dev").unwrap();
        let counts = sent.lines().find(|line| line.contains("tunl6:")).unwrap();
        let packets: Vec<&str> = counts.split_whitespace().collect();
        assert_eq!((packets[2], packets[10]), ("4", "4"), "{counts}");

        assert_eq!(wire.ask(Action::Delete(near)), Ok(()));
        assert_eq!(wire.ask(Action::Replace(both.clone())), Ok(()));
        assert_eq!(wire.ask(Action::Delete(both)), Ok(()));
        assert_eq!(ip("-6 route show proto 179").trim(), "");
    });
}
