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
    }
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
        for (theft, back, sign) in [
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
            ("link del vxlan.calico", "neigh show", "10.244.250.3"),
        ] {
            ip(theft);
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
