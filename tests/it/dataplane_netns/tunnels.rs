//! Tunnel devices in the real kernel: made, routed through, robbed, repaired and given up.

use dunlin::dataplane::{
    FarEnd, Forwarding, NextHop, Report, RouteState, Tunnel, TunnelKind, TunnelState,
};

use super::{Rig, in_namespace, ip, prefix};

fn vxlan() -> Tunnel {
    let mac = |n: u8| dunlin::net::Mac([0x66, 0, 0, 0, 0, n]);
    let far_end = |n: u8| FarEnd {
        address: format!("10.244.250.{n}").parse().unwrap(),
        mac: mac(n),
        node: format!("10.9.0.{n}").parse().unwrap(),
    };
    Tunnel {
        name: "vxlan.calico".into(),
        kind: TunnelKind::Vxlan {
            vni: 4096,
            port: 4789,
            mac: mac(1),
            checksum_offload: false,
        },
        underlay: "10.9.0.1".parse().unwrap(),
        address: Some("10.244.250.1".parse().unwrap()),
        mtu: None,
        far_ends: vec![far_end(2), far_end(3)],
        toward: vec![far_end(2).node],
    }
}

/// What is done to it, where it shows, and the sign that it was undone.
const THEFTS: [(&str, &str, &str); 8] = [
    (
        "neigh del 10.244.250.2 dev vxlan.calico",
        "neigh show",
        "10.244.250.2",
    ),
    (
        "addr del 10.244.250.1/32 dev vxlan.calico",
        "addr show dev vxlan.calico",
        "10.244.250.1/32",
    ),
    (
        "link set vxlan.calico down",
        "link show dev vxlan.calico",
        ",UP",
    ),
    (
        "link set vxlan.calico mtu 1300",
        "link show dev vxlan.calico",
        "mtu 1450",
    ),
    (
        "link set vxlan.calico name stolen",
        "link show",
        " vxlan.calico:",
    ),
    (
        "link set vxlan.calico alias mine name stolen",
        "link show",
        "alias dunlin",
    ),
    (
        "link set vxlan.calico down; link set vxlan.calico name stolen",
        "link show",
        " vxlan.calico:",
    ),
    ("link del vxlan.calico", "neigh show", "10.244.250.3"),
];

/// Whether a device that is up can be renamed: Linux refuses it before 6.2, to thieves as well.
fn renames_live() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|part| part.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(6), Some(2))
}

#[test]
fn a_vxlan_device_is_made_routed_through_repaired_and_removed() {
    in_namespace(|| {
        let mut rig = Rig::synced();
        rig.plane.converged();
        let block = prefix("10.244.7.0/26");
        let now = rig.now();
        rig.plane.set_tunnels(now, vec![vxlan()]);
        let hop = NextHop::through("10.244.250.2".parse().unwrap(), "vxlan.calico".into());
        rig.plane.want(block, Forwarding::Via(vec![hop]));
        assert_eq!(rig.plane.state(block), Some(RouteState::Waiting));
        rig.until_installed("10.244.7.0/26");
        let up = |rig: &Rig| {
            let status = rig.plane.tunnels();
            let [tunnel] = status.as_slice() else {
                return false;
            };
            tunnel.state == TunnelState::Up && tunnel.ready == 2 && rig.plane.is_idle()
        };
        assert!(up(&rig), "{:?}", rig.plane.tunnels());
        let link = ip("-d link show vxlan.calico");
        for part in [
            "mtu 1450",
            "alias dunlin",
            "id 4096",
            "local 10.9.0.1 dev v0",
            "nolearning",
        ] {
            assert!(link.contains(part), "{part}: {link}");
        }
        assert!(ip("addr show dev vxlan.calico").contains("inet 10.244.250.1/32"));
        assert!(ip("route show 10.244.7.0/26").contains("via 10.244.250.2 dev vxlan.calico"));

        // Entry after entry is taken away, and comes back.
        let possible =
            |theft: &str| renames_live() || !theft.contains(" name ") || theft.contains(" down;");
        for (theft, back, sign) in THEFTS.into_iter().filter(|(theft, _, _)| possible(theft)) {
            for command in theft.split("; ") {
                ip(command);
            }
            // Each result and each piece of news is a reason to look.
            rig.until(theft, |plane| {
                let route = ip("route show 10.244.7.0/26");
                plane.is_idle()
                    && plane.state(block) == Some(RouteState::Installed)
                    && ip(back).contains(sign)
                    && route.contains("via 10.244.250.2 dev vxlan.calico")
            });
            assert!(up(&rig), "{theft}: {:?}", rig.plane.tunnels());
            let mut repairs = rig.reports().into_iter();
            let repair = |report| matches!(report, Report::Tunnel { news, .. } if news.is_repair());
            assert!(repairs.any(repair), "{theft} is said in the log");
        }
    });
}

fn mtu_of(device: &str) -> u32 {
    let link = ip(&format!("link show dev {device}"));
    let mut words = link.split_whitespace().skip_while(|word| *word != "mtu");
    words.nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_node_address_on_the_loopback_leaves_the_mtu_to_the_uplink() {
    in_namespace(|| {
        ip("addr add 192.0.2.1/32 dev lo");
        ip("addr add 2001:db8::1/128 dev lo nodad");
        ip("route add default via 10.9.0.254 dev v0");
        ip("route add default via fd00:9::254 dev v0");
        let mut rig = Rig::synced();
        rig.plane.converged();
        let four = Tunnel {
            underlay: "192.0.2.1".parse().unwrap(),
            toward: vec!["192.0.2.2".parse().unwrap()],
            ..vxlan()
        };
        let six = Tunnel {
            name: "vxlan-v6.calico".into(),
            underlay: "2001:db8::1".parse().unwrap(),
            address: Some("fd00:244::1".parse().unwrap()),
            far_ends: Vec::new(),
            toward: vec!["2001:db8::2".parse().unwrap()],
            ..vxlan()
        };
        let now = rig.now();
        rig.plane.set_tunnels(now, vec![four, six]);
        let settled = |rig: &mut Rig, mtus: [u32; 2]| {
            rig.until(&format!("{mtus:?}"), |plane| {
                let up = |tunnel: &dunlin::dataplane::TunnelStatus| tunnel.state == TunnelState::Up;
                let status = plane.tunnels();
                let found: Vec<u32> = status.iter().filter_map(|t| t.mtu).collect();
                plane.is_idle() && status.iter().all(up) && found == [mtus[1], mtus[0]]
            });
            assert_eq!(mtu_of("vxlan.calico"), mtus[0]);
            assert_eq!(mtu_of("vxlan-v6.calico"), mtus[1]);
        };
        settled(&mut rig, [1450, 1430]);
        ip("link set v0 mtu 9000");
        settled(&mut rig, [8950, 8930]);
        // A route says less than its link.
        ip("route replace default via 10.9.0.254 dev v0 mtu lock 1400");
        ip("route replace default via fd00:9::254 dev v0 mtu 1400");
        settled(&mut rig, [1350, 1330]);
        ip("route replace default via 10.9.0.254 dev v0");
        // Not below what the kernel carries IPv6 with.
        ip("route replace default via fd00:9::254 dev v0 mtu 1300");
        settled(&mut rig, [8950, 1280]);
        let status = rig.plane.tunnels();
        assert!(status[0].too_narrow.is_some(), "{status:?}");
        assert!(ip("-6 addr show dev vxlan-v6.calico").contains("fd00:244::1/128"));
    });
}

/// What keeps the only tunnel from working, once the kernel has said so.
fn refusal(rig: &mut Rig) -> String {
    let reason = |plane: &dunlin::dataplane::Dataplane| match plane.tunnels().as_slice() {
        [one] => match &one.state {
            TunnelState::Refused { reason } => Some(reason.clone()),
            _ => None,
        },
        _ => None,
    };
    rig.until("a refusal", |plane| reason(plane).is_some());
    reason(&rig.plane).unwrap()
}

#[test]
fn who_has_the_name_the_vni_or_the_port_is_named() {
    in_namespace(|| {
        ip("link add taker type vxlan id 4096 dstport 4789 dev v0");
        let mut rig = Rig::synced();
        rig.plane.converged();
        let now = rig.now();
        rig.plane.set_tunnels(now, vec![vxlan()]);
        assert_eq!(
            refusal(&mut rig),
            "cannot make it: the device taker has VNI 4096 with UDP port 4789"
        );
        // It goes, and ours is made.
        ip("link del taker");
        let up = |plane: &mut dunlin::dataplane::Dataplane| {
            let status = plane.tunnels();
            status.iter().all(|t| t.state == TunnelState::Up) && plane.is_idle()
        };
        rig.until("it is made", up);
        if renames_live() {
            // Renamed, and another one has the name: it works on under the other name.
            ip("link set vxlan.calico name stolen");
            ip("link add vxlan.calico type veth peer name stranger");
            let reason = refusal(&mut rig);
            assert_eq!(
                reason,
                "cannot give it its name back: another device has the name vxlan.calico"
            );
            assert!(ip("link show dev stolen").contains(",UP"));
            ip("link del vxlan.calico");
            rig.until("it has its name", up);
        }
        // A program has the port.
        ip("link del vxlan.calico");
        let socket = std::net::UdpSocket::bind("0.0.0.0:4789").unwrap();
        let reason = refusal(&mut rig);
        assert!(
            reason.ends_with("a program has UDP port 4789 (`ss -ulnp` shows which)"),
            "{reason}"
        );
        drop(socket);
        rig.until("it is up", up);
    });
}
