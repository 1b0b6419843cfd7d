//! Cluster-wide settings of tunnels and NAT (Calico's FelixConfiguration "default", the part that
//! is about packets between nodes).

use std::net::IpAddr;

/// The UDP port of VXLAN (RFC 7348 §5).
const VXLAN_PORT: u16 = 4789;
/// Calico's VNI.
const VXLAN_VNI: u32 = 4096;

/// Tunnels and NAT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FelixSettings {
    /// The MTU of `tunl0` and `tunl6`; `None` derives it from the link under it.
    pub ipip_mtu: Option<u32>,
    /// The MTU of `vxlan.calico`.
    pub vxlan_mtu: Option<u32>,
    /// The MTU of `vxlan-v6.calico`.
    pub vxlan_mtu_v6: Option<u32>,
    /// The UDP port of VXLAN.
    pub vxlan_port: u16,
    /// The network identifier of VXLAN, 24 bits.
    pub vxlan_vni: u32,
    /// Transmit checksums of VXLAN devices are computed in software, because offloading them is
    /// broken in many kernels and network cards.
    pub checksum_offload_broken: bool,
    /// Source ports for masqueraded traffic, first and last.
    pub nat_port_range: Option<(u16, u16)>,
    /// The source address of masqueraded traffic; `None` is the address of the link it leaves by.
    pub nat_outgoing_address: Option<IpAddr>,
    /// Destinations that are not masqueraded to.
    pub nat_outgoing_exclusions: NatExclusions,
    /// Masquerade only what leaves by links of this name (`+` at the end stands for anything).
    pub nat_outgoing_interface_filter: Option<String>,
    /// Pods may speak BGP and BFD to nodes and their peers, through their node. Ours.
    pub allow_bgp_from_workloads: bool,
    /// Pods may send IP in IP to nodes.
    pub allow_ipip_from_workloads: bool,
    /// Pods may send VXLAN to nodes.
    pub allow_vxlan_from_workloads: bool,
}

/// Destinations that pods reach under their own address, though NAT is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NatExclusions {
    /// The pools.
    #[default]
    IpPoolsOnly,
    /// The pools and the nodes.
    IpPoolsAndHostIps,
}

impl Default for FelixSettings {
    fn default() -> Self {
        Self {
            ipip_mtu: None,
            vxlan_mtu: None,
            vxlan_mtu_v6: None,
            vxlan_port: VXLAN_PORT,
            vxlan_vni: VXLAN_VNI,
            checksum_offload_broken: true,
            nat_port_range: None,
            nat_outgoing_address: None,
            nat_outgoing_exclusions: NatExclusions::default(),
            nat_outgoing_interface_filter: None,
            allow_bgp_from_workloads: false,
            allow_ipip_from_workloads: false,
            allow_vxlan_from_workloads: false,
        }
    }
}
