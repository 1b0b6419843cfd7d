//! What is under a tunnel: the links that its packets leave by, and how much they carry.

use std::net::IpAddr;

use super::super::*;
use super::kernel::route;
use super::tunnels::{Fabric, V4, V6, VXLAN, far_end, ip, run, vxlan, vxlan6};
use crate::net::Prefix;

const NODE: &str = "10.9.0.2";

/// A host with its address on the loopback, two uplinks, and one node elsewhere.
struct Host {
    fabric: Fabric,
}

impl Host {
    /// With the node's addresses on link 20, which is of this kind.
    fn with_address_on(name: &str, change: impl FnOnce(&mut Link)) -> Self {
        let mut fabric = Fabric::new(true, false);
        let mut holder = Link::named(20, name);
        change(&mut holder);
        fabric.world.kernel.links.insert(20, holder);
        let mut host = Self { fabric };
        host.move_address(20, 32);
        host
    }

    fn on_loopback() -> Self {
        Self::with_address_on("lo", |link| link.loopback = true)
    }

    fn move_address(&mut self, to: u32, len: u8) {
        let kernel = &mut self.fabric.world.kernel;
        let before: Vec<Address> = kernel
            .addresses
            .iter()
            .filter(|own| [ip(V4), ip(V6)].contains(&own.address))
            .copied()
            .collect();
        for own in before {
            kernel.foreign_address(own, false);
        }
        for address in [ip(V4), ip(V6)] {
            let len = if address.is_ipv4() { len } else { 128 };
            let own = Address {
                interface: to,
                address,
                len,
            };
            kernel.foreign_address(own, true);
        }
    }

    /// A route by another program, over links with gateways on them.
    fn route(&mut self, prefix: &str, links: &[u32], mtu: Option<u32>) {
        let v6 = prefix.contains("::");
        let hop = |link: &u32| {
            let gateway: IpAddr = if v6 { ip("fe80::9") } else { ip("10.9.0.254") };
            Hop::new(gateway, *link)
        };
        let shape = Shape::unicast(links.iter().map(hop)).with_mtu(mtu);
        let prefix: Prefix = prefix.parse().unwrap();
        let kernel = &mut self.fabric.world.kernel;
        kernel.foreign_write(route(prefix, 3, shape), true);
    }

    fn mtu_of(&mut self, name: &str, mtu: u32) {
        let kernel = &mut self.fabric.world.kernel;
        kernel.foreign_link(name, |link| link.mtu = mtu);
    }

    /// The MTUs that the device has, one after the other, once it is wanted.
    fn mtus(&mut self) -> Vec<u32> {
        let mut seen = Vec::new();
        for _ in 0..300 {
            self.fabric.ask();
            self.fabric.world.kernel.run_one();
            while self.fabric.world.deliver(true) | self.fabric.world.deliver(false) {}
            let mtu = self.device().map(|link| link.mtu);
            if mtu.is_some() && seen.last() != mtu.as_ref() {
                seen.extend(mtu);
            }
        }
        seen
    }

    fn device(&self) -> Option<&Link> {
        self.fabric.world.kernel.link_named(VXLAN)
    }

    fn parent(&self) -> Option<u32> {
        match self.device().unwrap().device {
            Some(Device::Vxlan { parent, .. }) => parent,
            _ => None,
        }
    }

    fn want(&mut self) {
        let mut tunnel = vxlan(4096, vec![far_end(2, 0)]);
        tunnel.toward = vec![ip(NODE)];
        self.fabric.want(vec![tunnel]);
    }

    fn is_up(&self) -> bool {
        let status = self.fabric.world.plane.tunnels();
        status.iter().all(|s| s.state == TunnelState::Up)
    }
}

#[test]
fn an_address_that_is_on_no_way_out_leaves_the_mtu_to_the_uplink() {
    type Change = fn(&mut Link);
    let table: [(&str, Change); 3] = [
        ("lo", |link| (link.loopback, link.mtu) = (true, 65_536)),
        ("dummy0", |link| {
            link.device = Some(Device::Other("dummy".into()));
        }),
        ("ours0", |link| {
            link.device = Some(Device::Other("dummy".into()));
            link.mtu = 70;
        }),
    ];
    for (name, change) in table {
        let mut host = Host::with_address_on(name, change);
        host.route("0.0.0.0/0", &[2], None);
        // A pod's end and a bridge of another program say nothing.
        let veth = Link {
            mtu: 1280,
            device: Some(Device::Other("veth".into())),
            ..Link::named(30, "cali0")
        };
        host.fabric.world.kernel.links.insert(30, veth);
        host.mtu_of("eth0", 9000);
        host.want();
        assert_eq!(host.mtus(), [8950], "{name}");
        assert_eq!(host.parent(), None, "{name}: any link may carry it");
        assert!(host.is_up(), "{name}");
        // It is followed, and comes to rest.
        host.mtu_of("eth0", 1500);
        assert_eq!(host.mtus(), [8950, 1450], "{name}");
        assert!(host.is_up(), "{name}");
    }
}

#[test]
fn without_any_route_it_is_the_least_of_the_links_and_no_device_of_ours() {
    let mut host = Host::on_loopback();
    host.fabric.world.kernel.routes.clear();
    host.mtu_of("eth1", 1400);
    host.want();
    assert_eq!(host.mtus(), [1350]);
    assert!(host.is_up());
}

#[test]
fn the_narrowest_way_counts_and_what_a_route_says_of_it() {
    let mut host = Host::on_loopback();
    host.mtu_of("eth0", 9000);
    host.mtu_of("eth1", 8000);
    host.route("10.9.0.0/24", &[2, 3], None);
    host.want();
    assert_eq!(host.mtus(), [7950], "several uplinks: the smallest");
    host.route("10.9.0.0/24", &[2], None);
    assert_eq!(host.mtus(), [7950, 8950], "a route moves");
    host.route("10.9.0.0/24", &[2], Some(1400));
    assert_eq!(host.mtus(), [8950, 1350], "a route with an MTU");
    host.route("10.9.0.2/32", &[3], None);
    assert_eq!(host.mtus(), [1350, 7950], "a more specific one");
    assert!(host.is_up());
}

#[test]
fn a_way_through_a_device_of_ours_is_none() {
    let mut host = Host::on_loopback();
    host.route("0.0.0.0/0", &[2], None);
    host.want();
    assert_eq!(host.mtus(), [1450]);
    let own = host.device().unwrap().index;
    // Somebody sends everything into the tunnel.
    host.route("10.9.0.0/24", &[own], None);
    assert_eq!(host.mtus(), [1450]);
    // Under another name it is ours, too.
    let kernel = &mut host.fabric.world.kernel;
    kernel.foreign_link(VXLAN, |link| link.name = "mine".into());
    run(&mut host.fabric);
    assert_eq!(host.mtus(), [1450]);
}

#[test]
fn a_tunnel_is_tied_to_the_link_with_the_address_only_if_packets_leave_there() {
    // On a bridge or a VLAN with its subnet, as on a NIC.
    for kind in ["bridge", "vlan"] {
        let mut host = Host::with_address_on("br0", |link| {
            (link.mtu, link.device) = (1496, Some(Device::Other(kind.into())));
        });
        host.move_address(20, 24);
        host.route("10.9.0.0/24", &[20], None);
        host.want();
        assert_eq!((host.mtus(), host.parent()), (vec![1446], Some(20)));
    }
    // The subnet is there, and the nodes are behind another link.
    let mut host = Host::with_address_on("eth9", |_| {});
    host.move_address(20, 28);
    host.route("10.9.0.0/28", &[20], None);
    host.route("10.9.0.2/32", &[3], None);
    host.mtu_of("eth1", 1300);
    host.want();
    assert_eq!((host.mtus(), host.parent()), (vec![1250], None));
    // In a VRF nothing is known of the ways.
    let mut host = Host::with_address_on("eth9", |link| link.mtu = 1400);
    host.route("0.0.0.0/0", &[2], None);
    host.want();
    assert_eq!((host.mtus(), host.parent()), (vec![1350], Some(20)));
}

#[test]
fn an_address_that_moves_is_followed_and_an_untied_device_stays() {
    let mut host = Host::on_loopback();
    host.route("10.9.0.0/24", &[2], None);
    host.want();
    assert_eq!(host.mtus(), [1450]);
    let index = host.device().unwrap().index;
    host.mtu_of("eth0", 1400);
    host.move_address(2, 24);
    assert_eq!(host.mtus(), [1450, 1350]);
    assert_eq!(host.device().unwrap().index, index, "not made anew");
    assert!(host.is_up());
    // From a link that it is tied to: it has to be made anew, and is.
    let mut host = Host::with_address_on("eth9", |_| {});
    host.move_address(2, 24);
    host.want();
    assert_eq!(
        (host.mtus(), host.parent()),
        (vec![1450], Some(2)),
        "tied to eth0"
    );
    let index = host.device().unwrap().index;
    host.fabric.world.kernel.links.get_mut(&20).unwrap().mtu = 1350;
    host.route("10.9.0.0/24", &[20], None);
    host.move_address(20, 24);
    host.mtus();
    assert_eq!(host.parent(), Some(20));
    assert_ne!(host.device().unwrap().index, index);
    assert!(host.is_up());
}

#[test]
fn ipv6_is_carried_whatever_the_uplink_and_it_is_said_that_packets_travel_in_pieces() {
    let mut host = Host::on_loopback();
    host.route("::/0", &[2], None);
    host.mtu_of("eth0", 1300);
    host.fabric.want(vec![vxlan6()]);
    run(&mut host.fabric);
    let device = |host: &Host| {
        let found = host.fabric.world.kernel.link_named("vxlan-v6.calico");
        found.map(|link| link.mtu)
    };
    assert_eq!(device(&host), Some(1280));
    let narrow = |host: &Host| host.fabric.world.plane.tunnels()[0].too_narrow.clone();
    let found = narrow(&host).unwrap();
    assert_eq!(
        (&*found.link, found.mtu, found.needed),
        ("eth0", 1300, 1350)
    );
    let problems = host.fabric.world.plane.problems(host.fabric.world.now);
    let [problem] = problems.as_slice() else {
        panic!("{problems:?}");
    };
    assert!(problem.what.contains("eth0"), "{problem}");
    host.mtu_of("eth0", 1500);
    run(&mut host.fabric);
    assert_eq!(device(&host), Some(1430));
    assert_eq!(narrow(&host), None);
    assert_eq!(host.fabric.world.plane.problems(host.fabric.world.now), []);
}
