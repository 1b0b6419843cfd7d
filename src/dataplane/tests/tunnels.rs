//! Tunnel devices: the law under random faults.

use std::collections::BTreeSet;
use std::net::IpAddr;

use proptest::prelude::*;

use super::super::tunnels::MARK;
use super::super::*;
use super::kernel::{Entry, entry};
use super::{Act, World};
use crate::net::Mac;

pub(super) const VXLAN: &str = "vxlan.calico";
pub(super) const V4: &str = "10.9.0.1";
pub(super) const V6: &str = "fd09::1";

pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(super) fn mac(n: u8) -> Mac {
    Mac([0x66, 0, 0, 0, 0, n])
}

pub(super) fn far_end(n: u8, move_to: u8) -> FarEnd {
    FarEnd {
        address: IpAddr::from([10, 244, 250, n]),
        mac: mac(n),
        node: IpAddr::from([10, 9, move_to, n]),
    }
}

pub(super) fn vxlan(vni: u32, far_ends: Vec<FarEnd>) -> Tunnel {
    Tunnel {
        name: VXLAN.into(),
        kind: TunnelKind::Vxlan {
            vni,
            port: 4789,
            mac: mac(100),
            checksum_offload: false,
        },
        underlay: ip(V4),
        address: Some(ip("10.244.250.0")),
        mtu: None,
        far_ends,
        toward: Vec::new(),
    }
}

pub(super) fn vxlan6() -> Tunnel {
    Tunnel {
        name: "vxlan-v6.calico".into(),
        underlay: ip(V6),
        address: Some(ip("fd00:244::1")),
        ..vxlan(4096, Vec::new())
    }
}

/// Everything that can happen at once does, and no time passes.
pub(super) fn run(fabric: &mut Fabric) {
    for _ in 0..2000 {
        fabric.ask();
        fabric.world.kernel.run_one();
        let busy = fabric.world.deliver(true) | fabric.world.deliver(false);
        if !busy && fabric.world.kernel.asked.is_empty() {
            return;
        }
    }
    panic!("it never comes to rest");
}

pub(super) fn ipip(address: &str) -> Tunnel {
    Tunnel {
        name: "tunl0".into(),
        kind: TunnelKind::Ipip,
        underlay: ip(V4),
        address: Some(ip(address)),
        mtu: None,
        far_ends: Vec::new(),
        toward: Vec::new(),
    }
}

pub(super) fn ip6tnl(mtu: Option<u32>) -> Tunnel {
    Tunnel {
        name: "tunl6".into(),
        kind: TunnelKind::Ip6tnl,
        underlay: ip(V6),
        address: Some(ip("fd00:244::1")),
        mtu,
        far_ends: Vec::new(),
        toward: Vec::new(),
    }
}

pub(super) fn through(device: &str, address: &str) -> Forwarding {
    Forwarding::Via(vec![NextHop::through(ip(address), device.into())])
}

/// What may happen beside what happens to routes.
#[derive(Debug, Clone)]
enum Event {
    Plain(Act),
    Tunnels(Vec<Tunnel>),
    DeviceLost(&'static str),
    DeviceDown(&'static str),
    Mtu(&'static str, u32),
    Alias(&'static str),
    /// Renamed, set down before or not.
    Renamed(&'static str, bool),
    Learning,
    Stray(&'static str, bool),
    AddressLost(&'static str),
    /// The entry with this number, in the kernel's order, is removed, or another MAC put there.
    EntryLost(usize),
    EntryChanged(usize),
    StrayEntry(u8, bool),
    UnderlayLost,
    UnderlayBack,
}

fn tunnels() -> impl Strategy<Value = Vec<Tunnel>> {
    let far_ends = prop::collection::btree_set((1..4_u8, 0..2_u8), 0..4)
        .prop_map(|set| set.into_iter().map(|(n, node)| far_end(n, node)).collect());
    let vxlan = (prop_oneof![4 => Just(4096), 1 => Just(4097)], far_ends)
        .prop_map(|(vni, far_ends): (_, Vec<FarEnd>)| vxlan(vni, far_ends));
    let ipip = prop_oneof![Just(ipip("10.244.251.0")), Just(ipip("10.244.251.1"))];
    let ip6tnl = prop_oneof![Just(ip6tnl(None)), Just(ip6tnl(Some(1400)))];
    (
        prop::option::weighted(0.8, vxlan),
        prop::option::of(ipip),
        prop::option::of(ip6tnl),
    )
        .prop_map(|(a, b, c)| [a, b, c].into_iter().flatten().collect())
}

fn events() -> impl Strategy<Value = Event> {
    let n = 0..4_u8;
    let path = prop_oneof![
        Just(through(VXLAN, "10.244.250.1")),
        Just(through(VXLAN, "10.244.250.2")),
        Just(through("tunl0", "10.9.0.2")),
        Just(through("tunl6", "fd09::2")),
        Just(super::via(&["10.9.0.2"])),
    ];
    let errno = prop_oneof![Just(Errno(95)), Just(Errno::ENODEV), Just(Errno::EEXIST)];
    let device = || prop_oneof![Just(VXLAN), Just("tunl0"), Just("tunl6")];
    prop_oneof![
        12 => super::acts().prop_map(Event::Plain),
        3 => (n, path).prop_map(|(n, path)| Event::Plain(Act::Want(n, path))),
        1 => errno.prop_map(|errno| Event::Plain(Act::Fail(errno))),
        3 => tunnels().prop_map(Event::Tunnels),
        8 => Just(Event::Plain(Act::Run)),
        6 => Just(Event::Plain(Act::Results)),
        1 => prop_oneof![Just(VXLAN), Just("tunl6")].prop_map(Event::DeviceLost),
        1 => device().prop_map(Event::DeviceDown),
        1 => (prop_oneof![device(), Just("eth0")], 1300..1500_u32)
            .prop_map(|(name, mtu)| Event::Mtu(name, mtu)),
        1 => device().prop_map(Event::Alias),
        1 => (device(), any::<bool>()).prop_map(|(name, down)| Event::Renamed(name, down)),
        1 => Just(Event::Learning),
        1 => (device(), any::<bool>()).prop_map(|(name, v6)| Event::Stray(name, v6)),
        1 => device().prop_map(Event::AddressLost),
        2 => (0..8_usize).prop_map(Event::EntryLost),
        1 => (0..8_usize).prop_map(Event::EntryChanged),
        1 => (1..6_u8, any::<bool>()).prop_map(|(n, keep)| Event::StrayEntry(n, keep)),
        1 => Just(Event::UnderlayLost),
        2 => Just(Event::UnderlayBack),
    ]
}

pub(super) struct Fabric {
    pub(super) world: World,
    tunnels: Vec<Tunnel>,
    flannel: BTreeSet<Neighbour>,
}

impl Fabric {
    pub(super) fn new(echoes: bool, notes_late: bool) -> Self {
        let mut world = World::new();
        let kernel = &mut world.kernel;
        (kernel.echoes, kernel.notes_late, kernel.lazy_ipip) = (echoes, notes_late, true);
        // A device of somebody else, with entries of its own.
        let flannel = Link {
            device: Some(Device::Vxlan {
                vni: 1,
                port: 8472,
                local: Some(ip(V4)),
                parent: None,
                learning: false,
                external: false,
            }),
            ..Link::named(50, "flannel.1")
        };
        kernel.links.insert(50, flannel);
        let (mac, node) = (mac(9), ip("10.9.0.99"));
        let theirs = [
            Neighbour::Address {
                interface: 50,
                address: ip("10.1.0.0"),
                mac,
            },
            Neighbour::Forward {
                interface: 50,
                mac,
                node,
            },
        ];
        for neighbour in theirs {
            kernel
                .neighbours
                .insert(entry(neighbour), (neighbour, true));
        }
        let mut fabric = Self {
            world,
            tunnels: Vec::new(),
            flannel: theirs.into(),
        };
        fabric.underlay(true);
        fabric
    }

    fn underlay(&mut self, there: bool) {
        for (address, len) in [(V4, 24), (V6, 64)] {
            let address = Address {
                interface: 2,
                address: ip(address),
                len,
            };
            self.world.kernel.foreign_address(address, there);
        }
    }

    pub(super) fn want(&mut self, tunnels: Vec<Tunnel>) {
        let now = self.world.now;
        self.tunnels = tunnels.clone();
        self.world.plane.set_tunnels(now, tunnels);
    }

    pub(super) fn index(&self, name: &str) -> Option<u32> {
        self.world.kernel.link_named(name).map(|link| link.index)
    }

    pub(super) fn nth(&self, n: usize) -> Option<Entry> {
        let ours = |key: &&Entry| key.0 != 50;
        self.world
            .kernel
            .neighbours
            .keys()
            .filter(ours)
            .nth(n)
            .copied()
    }

    fn act(&mut self, event: &Event) {
        let index = |fabric: &Self, name| fabric.index(name).unwrap_or(0);
        match event {
            Event::Plain(Act::Ask) => self.ask(),
            Event::Plain(act) => self.world.act(act),
            Event::Tunnels(tunnels) => self.want(tunnels.clone()),
            Event::DeviceLost(name) => self.world.kernel.link_down(index(self, name), true),
            Event::DeviceDown(name) => self.world.kernel.link_down(index(self, name), false),
            Event::Mtu(name, mtu) => self.world.kernel.foreign_link(name, |l| l.mtu = *mtu),
            // Without a note a device would be foreign after a restart, but we know it.
            Event::Alias(name) => {
                let known = self.world.plane.tunnels();
                let up = |t: &TunnelStatus| &*t.name == *name && t.state == TunnelState::Up;
                if known.iter().any(up) {
                    self.world.kernel.foreign_link(name, |l| l.alias = None);
                }
            }
            Event::Renamed(name, down) => self.rename(name, *down),
            Event::Learning => self.world.kernel.foreign_link(VXLAN, |link| {
                if let Some(Device::Vxlan { learning, .. }) = &mut link.device {
                    *learning = true;
                }
            }),
            Event::Stray(name, v6) => {
                let address = Address {
                    interface: index(self, name),
                    address: ip(if *v6 { "fd66::1" } else { "10.66.0.1" }),
                    len: if *v6 { 64 } else { 24 },
                };
                let link = self.world.kernel.link_named(name);
                if link.is_some_and(|link| link.alias.as_deref() == Some(MARK)) {
                    self.world.kernel.foreign_address(address, true);
                }
            }
            Event::AddressLost(name) => {
                let index = index(self, name);
                let own = self.world.kernel.addresses.iter();
                let own = own.filter(|a| a.interface == index).copied().next();
                if let Some(address) = own {
                    self.world.kernel.foreign_address(address, false);
                }
            }
            Event::EntryLost(_) | Event::EntryChanged(_) | Event::StrayEntry(..) => {
                self.meddle(event);
            }
            Event::UnderlayLost => self.underlay(false),
            Event::UnderlayBack => self.underlay(true),
        }
    }

    fn rename(&mut self, name: &str, down: bool) {
        let ours = |link: &Link| link.alias.as_deref() == Some(MARK);
        let kernel = &mut self.world.kernel;
        if !kernel.link_named(name).is_some_and(ours) || kernel.link_named("other0").is_some() {
            return;
        }
        if down {
            let index = self.index(name).unwrap_or(0);
            self.world.kernel.link_down(index, false);
        }
        let kernel = &mut self.world.kernel;
        kernel.foreign_link(name, |link| link.name = "other0".into());
    }

    /// Somebody else's hand in neighbours and FDB entries.
    fn meddle(&mut self, event: &Event) {
        match event {
            Event::EntryLost(n) => {
                if let Some(key) = self.nth(*n) {
                    self.world.kernel.foreign_forgets(key);
                }
            }
            Event::EntryChanged(n) => {
                let found = self.nth(*n).map(|key| self.world.kernel.neighbours[&key].0);
                if let Some(Neighbour::Address {
                    interface, address, ..
                }) = found
                {
                    let mac = mac(77);
                    let changed = Neighbour::Address {
                        interface,
                        address,
                        mac,
                    };
                    self.world.kernel.foreign_neighbour(changed, true);
                }
            }
            Event::StrayEntry(n, permanent) => {
                let interface = self.index(VXLAN).unwrap_or(0);
                let FarEnd { address, mac, .. } = far_end(n + 10, 0);
                let stray = Neighbour::Address {
                    interface,
                    address,
                    mac,
                };
                self.world.kernel.foreign_neighbour(stray, *permanent);
            }
            _ => {}
        }
    }

    /// Asks, and looks whether a route goes whose new way is still to come.
    pub(super) fn ask(&mut self) {
        let before = self.world.kernel.asked.len();
        self.world.ask();
        for op in self.world.kernel.asked.iter().skip(before) {
            let Action::Delete(route) = &op.action else {
                continue;
            };
            let tunnel = |hop: &NextHop| matches!(hop.reach, Reach::Device(_));
            let waits = |path: &Forwarding| matches!(path, Forwarding::Via(hops) if hops.iter().all(tunnel));
            let wanted = self.world.wanted.get(&route.prefix);
            let held = wanted.is_some_and(waits) && self.world.plane.target(route.prefix).is_none();
            assert!(!held, "deletes what waits: {route}");
        }
    }

    pub(super) fn settle(&mut self) {
        self.world.act(&Act::LinksUp);
        self.underlay(true);
        self.world.settle();
    }

    pub(super) fn check(&self) {
        self.world.check();
        let kernel = &self.world.kernel;
        let flannel = kernel.neighbours.iter().filter(|(key, _)| key.0 == 50);
        let flannel: BTreeSet<Neighbour> = flannel.map(|(_, (n, _))| *n).collect();
        assert_eq!(flannel, self.flannel, "somebody else's entries");
        for tunnel in &self.tunnels {
            self.check_tunnel(tunnel);
        }
        let wanted = |link: &Link| self.tunnels.iter().any(|t| *t.name == *link.name);
        for link in kernel.links.values().filter(|link| !wanted(link)) {
            let used = kernel.routes.values().any(|r| r.shape.uses(link.index));
            let ours = link.alias.as_deref() == Some(MARK);
            assert!(!ours || used, "left over: {link:?}");
        }
    }

    fn check_tunnel(&self, tunnel: &Tunnel) {
        let kernel = &self.world.kernel;
        let link = kernel.link_named(&tunnel.name).expect("it is made");
        let index = link.index;
        assert!(link.up && link.alias.as_deref() == Some(MARK), "{link:?}");
        let parent = kernel.links[&2].mtu;
        let mtu = parent - tunnel.kind.overhead(tunnel.underlay);
        assert_eq!(link.mtu, tunnel.mtu.unwrap_or(mtu));
        let device = link.device.as_ref().unwrap();
        if let TunnelKind::Vxlan { vni, port, mac, .. } = tunnel.kind {
            let wanted = Device::Vxlan {
                vni,
                port,
                local: Some(tunnel.underlay),
                parent: Some(2),
                learning: false,
                external: false,
            };
            assert_eq!((device, link.mac), (&wanted, Some(mac)));
        }
        let own = kernel.addresses.iter().filter(|a| a.interface == index);
        let own: Vec<IpAddr> = own.map(|a| a.address).collect();
        assert_eq!(own, Vec::from_iter(tunnel.address));
        let there = kernel.neighbours.values();
        let there = there.filter(|(n, permanent)| n.interface() == index && *permanent);
        let there: BTreeSet<Neighbour> = there.map(|(n, _)| *n).collect();
        let mut wanted = BTreeSet::new();
        // The last one of an address counts.
        let far: std::collections::BTreeMap<_, _> =
            tunnel.far_ends.iter().map(|f| (f.address, f)).collect();
        for FarEnd { address, mac, node } in far.into_values().copied() {
            wanted.insert(Neighbour::Address {
                interface: index,
                address,
                mac,
            });
            wanted.insert(Neighbour::Forward {
                interface: index,
                mac,
                node,
            });
        }
        let kept = |n: &Neighbour| {
            let Neighbour::Address { address, .. } = n else {
                return true;
            };
            kernel
                .routes
                .values()
                .any(|r| r.shape.hops.iter().any(|h| h.via == Some(*address)))
        };
        let extra: Vec<_> = there.difference(&wanted).filter(|n| !kept(n)).collect();
        assert!(extra.is_empty(), "left over: {extra:?}");
        let missing: Vec<_> = wanted.difference(&there).collect();
        assert!(missing.is_empty(), "missing: {missing:?}");
        let status = self.world.plane.tunnels();
        let status = status.iter().find(|s| s.name == tunnel.name).unwrap();
        assert_eq!(status.state, TunnelState::Up);
        assert_eq!(status.ready, status.far_ends);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn once_faults_stop_the_tunnels_are_what_is_wanted(
        echoes in any::<bool>(),
        notes_late in any::<bool>(),
        names_down in any::<bool>(),
        events in prop::collection::vec(events(), 1..150),
    ) {
        let mut fabric = Fabric::new(echoes, notes_late);
        fabric.world.kernel.names_down = names_down;
        for event in &events {
            fabric.act(event);
        }
        fabric.settle();
        fabric.check();
    }
}

#[test]
fn a_device_that_is_lost_before_its_result_is_read_is_made_again() {
    let tunnel = |name: &str, kind, underlay: &str, address: &str| Tunnel {
        name: name.into(),
        kind,
        underlay: ip(underlay),
        address: Some(ip(address)),
        mtu: None,
        far_ends: Vec::new(),
        toward: Vec::new(),
    };
    let vxlan = TunnelKind::Vxlan {
        vni: 4096,
        port: 4789,
        mac: mac(100),
        checksum_offload: false,
    };
    let mut fabric = Fabric::new(true, true);
    let plain = |act| Event::Plain(act);
    let mut events = vec![plain(Act::Ask), plain(Act::Run)];
    events.extend((0..10).map(|_| plain(Act::Results)));
    events.push(Event::Tunnels(vec![
        tunnel(VXLAN, vxlan, "10.9.0.1", "10.244.250.0"),
        tunnel("tunl6", TunnelKind::Ip6tnl, "fd09::1", "fd00:244::1"),
    ]));
    events.extend([plain(Act::Ask), plain(Act::Run), plain(Act::Run)]);
    events.push(Event::Mtu("tunl6", 1300));
    events.push(Event::DeviceLost("tunl6"));
    for event in &events {
        fabric.act(event);
    }
    fabric.settle();
    fabric.check();
}
