//! Tunnel devices: the law under random faults, and the stories one by one.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use proptest::prelude::*;

use super::super::tunnels::{LINGER, MARK};
use super::super::*;
use super::kernel::{Entry, entry};
use super::{Act, World, block};
use crate::net::{Mac, Prefix};

const VXLAN: &str = "vxlan.calico";
const V4: &str = "10.9.0.1";
const V6: &str = "fd09::1";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn mac(n: u8) -> Mac {
    Mac([0x66, 0, 0, 0, 0, n])
}

fn far_end(n: u8, move_to: u8) -> FarEnd {
    FarEnd {
        address: IpAddr::from([10, 244, 250, n]),
        mac: mac(n),
        node: IpAddr::from([10, 9, move_to, n]),
    }
}

fn vxlan(vni: u32, far_ends: Vec<FarEnd>) -> Tunnel {
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
    }
}

fn ipip(address: &str) -> Tunnel {
    Tunnel {
        name: "tunl0".into(),
        kind: TunnelKind::Ipip,
        underlay: ip(V4),
        address: Some(ip(address)),
        mtu: None,
        far_ends: Vec::new(),
    }
}

fn ip6tnl(mtu: Option<u32>) -> Tunnel {
    Tunnel {
        name: "tunl6".into(),
        kind: TunnelKind::Ip6tnl,
        underlay: ip(V6),
        address: Some(ip("fd00:244::1")),
        mtu,
        far_ends: Vec::new(),
    }
}

fn through(device: &str, address: &str) -> Forwarding {
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

struct Fabric {
    world: World,
    tunnels: Vec<Tunnel>,
    flannel: BTreeSet<Neighbour>,
}

impl Fabric {
    fn new(echoes: bool, notes_late: bool) -> Self {
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

    fn want(&mut self, tunnels: Vec<Tunnel>) {
        let now = self.world.now;
        self.tunnels = tunnels.clone();
        self.world.plane.set_tunnels(now, tunnels);
    }

    fn index(&self, name: &str) -> Option<u32> {
        self.world.kernel.link_named(name).map(|link| link.index)
    }

    fn nth(&self, n: usize) -> Option<Entry> {
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
                let interface = index(self, VXLAN);
                let FarEnd { address, mac, .. } = far_end(n + 10, 0);
                let stray = Neighbour::Address {
                    interface,
                    address,
                    mac,
                };
                self.world.kernel.foreign_neighbour(stray, *permanent);
            }
            Event::UnderlayLost => self.underlay(false),
            Event::UnderlayBack => self.underlay(true),
        }
    }

    /// Asks, and looks whether a route goes whose new way is still to come.
    fn ask(&mut self) {
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

    fn settle(&mut self) {
        self.world.act(&Act::LinksUp);
        self.underlay(true);
        self.world.settle();
    }

    fn check(&self) {
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
        events in prop::collection::vec(events(), 1..150),
    ) {
        let mut fabric = Fabric::new(echoes, notes_late);
        for event in &events {
            fabric.act(event);
        }
        fabric.settle();
        fabric.check();
    }
}

fn stands(fabric: &Fabric, prefix: Prefix) -> Option<Arc<Shape>> {
    let routes = fabric.world.kernel.routes.values();
    let mut ours = routes.filter(|r| r.prefix == prefix && r.protocol == 179);
    ours.next().map(|route| Arc::clone(&route.shape))
}

/// Everything that can happen at once does, and no time passes.
fn run(fabric: &mut Fabric) {
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
            let metric = Ownership::default().metric(prefix.family());
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
