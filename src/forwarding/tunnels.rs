//! The tunnel devices that a node needs, by name.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::dataplane::{FarEnd, Tunnel, TunnelKind};
use crate::net::{Family, Prefix};
use crate::topology::{Encapsulation, Fabric, FabricNode};

/// The device for IPv4 in IPv4; the kernel itself makes it with the driver.
pub const IPIP: &str = "tunl0";
/// The device for IPv6 in IPv6.
pub const IP6TNL: &str = "tunl6";
/// The device for IPv4 in VXLAN, as Calico's nodes call it.
pub const VXLAN4: &str = "vxlan.calico";
/// The device for IPv6 in VXLAN, as Calico's nodes call it.
pub const VXLAN6: &str = "vxlan-v6.calico";

/// The names, shared by all routes through them.
#[derive(Debug, Clone)]
pub(super) struct Devices {
    ipip: [Arc<str>; 2],
    vxlan: [Arc<str>; 2],
}

impl Default for Devices {
    fn default() -> Self {
        Self {
            ipip: [IPIP.into(), IP6TNL.into()],
            vxlan: [VXLAN4.into(), VXLAN6.into()],
        }
    }
}

impl Devices {
    pub(super) fn ipip(&self, family: Family) -> Arc<str> {
        Arc::clone(family.of(&self.ipip))
    }

    pub(super) fn vxlan(&self, family: Family) -> Arc<str> {
        Arc::clone(family.of(&self.vxlan))
    }

    /// A device for each encapsulation that a pool of the family has, where the node has an address
    /// to send from. Which nodes share a subnet makes no difference: that may change, and a device
    /// without traffic costs nothing.
    pub(super) fn wanted(&self, fabric: &Fabric, me: &FabricNode) -> Vec<Tunnel> {
        let mut tunnels = Vec::new();
        for family in Family::ALL {
            let Some(underlay) = me.address(family) else {
                continue;
            };
            let of_family = || fabric.pools.iter().filter(|p| p.cidr.family() == family);
            if of_family().any(|p| matches!(p.encapsulation, Encapsulation::Ipip(_))) {
                tunnels.push(self.ipip_tunnel(fabric, me, family, underlay));
            }
            if of_family().any(|p| matches!(p.encapsulation, Encapsulation::Vxlan(_))) {
                tunnels.push(self.vxlan_tunnel(fabric, me, family, underlay));
            }
        }
        tunnels
    }

    fn ipip_tunnel(
        &self,
        fabric: &Fabric,
        me: &FabricNode,
        family: Family,
        underlay: IpAddr,
    ) -> Tunnel {
        Tunnel {
            name: self.ipip(family),
            kind: match family {
                Family::Ipv4 => TunnelKind::Ipip,
                Family::Ipv6 => TunnelKind::Ip6tnl,
            },
            underlay,
            address: me.ipip_address(family),
            mtu: fabric.felix.ipip_mtu,
            far_ends: Vec::new(),
            toward: toward(fabric, me, family),
        }
    }

    fn vxlan_tunnel(
        &self,
        fabric: &Fabric,
        me: &FabricNode,
        family: Family,
        underlay: IpAddr,
    ) -> Tunnel {
        let felix = &fabric.felix;
        let mine = me.vtep(family);
        let far_end = |node: &FabricNode| {
            let (vtep, node) = (node.vtep(family)?, node.address(family)?);
            Some(FarEnd {
                address: vtep.address,
                mac: vtep.mac,
                node,
            })
        };
        let others = fabric.nodes.iter().filter(|node| node.name != me.name);
        Tunnel {
            name: self.vxlan(family),
            kind: TunnelKind::Vxlan {
                vni: felix.vxlan_vni,
                port: felix.vxlan_port,
                mac: mine.map_or_else(|| crate::topology::vtep_mac(&me.name, family), |v| v.mac),
                checksum_offload: !felix.checksum_offload_broken,
            },
            underlay,
            address: mine.map(|vtep| vtep.address),
            mtu: match family {
                Family::Ipv4 => felix.vxlan_mtu,
                Family::Ipv6 => felix.vxlan_mtu_v6,
            },
            far_ends: others.filter_map(far_end).collect(),
            toward: toward(fabric, me, family),
        }
    }
}

/// Addresses of the other nodes, one of each /24 or /64: what is so near together has one way.
fn toward(fabric: &Fabric, me: &FabricNode, family: Family) -> Vec<IpAddr> {
    let len = match family {
        Family::Ipv4 => 24,
        Family::Ipv6 => 64,
    };
    let others = fabric.nodes.iter().filter(|node| node.name != me.name);
    let addresses = others.filter_map(|node| node.address(family));
    let subnets: BTreeMap<Prefix, IpAddr> = addresses
        .map(|address| (Prefix::new(address, len), address))
        .collect();
    subnets.into_values().collect()
}
