//! From the plan to links, addresses and routes: everything that a real cluster's network and CNI
//! plugin would have done before dunlin starts.
//!
//! Neighbours are told for good instead of asked by ARP and ND: the kernel keeps at most 1024 that
//! it learnt, over all namespaces together, and a large lab has more.
//!
//! It installs no route between nodes: that is dunlin's part, or [`static_routes`]' where the
//! wiring itself is under test.

use std::net::IpAddr;

use super::error::LabError;
use super::namespace;
use super::netlink::{Netlink, Target, default_route};
use super::plan::{Mac, NodePlan, POD_GATEWAY, Plan, PodPlan, Subnet};
use super::tor::{self, TorPlan};
use crate::net::{Family, Prefix};

/// The link of a node or pod to the rest of the world.
const UPLINK: &str = "eth0";

/// The Ethernet address of the spine's bridge.
const SPINE_MAC: Mac = [0x02, 0, 0, 0, 0, 9];

/// Switches of every namespace: addresses usable at once, nothing learnt from the neighbourhood.
const SWITCHES_IPV4: [(&str, &str); 2] = [
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
];
const SWITCHES_IPV6: [(&str, &str); 7] = [
    ("ipv6/conf/all/disable_ipv6", "0"),
    ("ipv6/conf/default/disable_ipv6", "0"),
    ("ipv6/conf/all/accept_dad", "0"),
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv6/conf/all/accept_ra", "0"),
    ("ipv6/conf/default/accept_ra", "0"),
    ("ipv6/conf/default/router_solicitations", "0"),
];
const FORWARDING: [(&str, &str); 2] = [("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")];

/// The sockets into the namespaces of the routers among them, to look at their tables later.
#[derive(Debug)]
pub(super) struct Wired {
    /// One a node, in the order of the plan; those of the reflectors come last.
    pub(super) nodes: Vec<Netlink>,
    /// The router's, or the switch's.
    pub(super) router: Netlink,
    /// One a ToR, in the order of the plan.
    pub(super) tors: Vec<Netlink>,
}

/// Told after each part that stands; its error stops the wiring.
pub(super) type Progress<'a> = &'a mut dyn FnMut(&str) -> Result<(), LabError>;

/// Makes all namespaces and wires them.
pub(super) fn wire(plan: &Plan, progress: Progress<'_>) -> Result<Wired, LabError> {
    namespace::prepare_folder()?;
    let mut router = open(plan, &plan.router_namespace, true)?;
    check_drivers(plan, &mut router)?;
    let mut bridges = Vec::new();
    for subnet in Subnet::ALL {
        // The first ToR has the router's Ethernet address; a switch must not take its frames.
        let mac = if plan.tors.is_empty() {
            subnet.router_mac()
        } else {
            [0x02, 0, 0, 0, 9, subnet.number()]
        };
        let bridge = router.add_bridge(subnet.bridge(), mac)?;
        router.set_up(bridge, None)?;
        // Between ToRs it is a plain switch.
        let families = plan.families.iter().filter(|_| plan.tors.is_empty());
        for family in families {
            router.add_address(bridge, subnet.router_address(*family))?;
        }
        bridges.push((subnet, bridge));
    }
    progress(&plan.router_namespace)?;
    let tors = wire_tors(plan, &mut router, &bridges, progress)?;
    let mut nodes = Vec::with_capacity(plan.nodes.len());
    for node in plan.members() {
        let mut netlink = open(plan, &node.namespace, true)?;
        for (_, bridge) in bridges.iter().filter(|(subnet, _)| *subnet == node.subnet) {
            wire_node(plan, node, &mut netlink, (&mut router, *bridge))?;
        }
        nodes.push(netlink);
        progress(&node.namespace)?;
    }
    for pod in &plan.pods {
        if let (Some(node), Some(socket)) = (plan.nodes.get(pod.node), nodes.get_mut(pod.node)) {
            wire_pod(plan, node, socket, pod)?;
            progress(&pod.namespace)?;
        }
    }
    Ok(Wired {
        nodes,
        router,
        tors,
    })
}

/// Refuses an encapsulation that the running kernel can't do.
fn check_drivers(plan: &Plan, netlink: &mut Netlink) -> Result<(), LabError> {
    let ipv6 = plan.families.contains(&Family::Ipv6);
    for (kind, module) in plan.encapsulation.drivers(ipv6) {
        if !netlink.has_driver(kind)? {
            return Err(LabError::Usage(format!(
                "the running kernel has no driver {kind} for this encapsulation: `modprobe \
                 {module}` as root, or choose another one (`--encapsulation none` needs no driver)"
            )));
        }
    }
    Ok(())
}

/// Makes a namespace, sets its switches and brings loopback up.
fn open(plan: &Plan, name: &str, forwards: bool) -> Result<Netlink, LabError> {
    namespace::create(name)?;
    let ipv6 = plan.families.contains(&Family::Ipv6);
    let mut switches = SWITCHES_IPV4.to_vec();
    if ipv6 {
        switches.extend(SWITCHES_IPV6);
    }
    if forwards {
        let all = FORWARDING.into_iter();
        switches.extend(all.filter(|(switch, _)| ipv6 || switch.starts_with("ipv4")));
    }
    namespace::set_switches(name, &switches)?;
    let mut netlink = Netlink::open(name)?;
    let loopback = netlink.link("lo")?;
    netlink.set_up(loopback, None)?;
    Ok(netlink)
}

/// Makes the ToRs and the spine between them.
fn wire_tors(
    plan: &Plan,
    switch: &mut Netlink,
    bridges: &[(Subnet, u32)],
    progress: Progress<'_>,
) -> Result<Vec<Netlink>, LabError> {
    let mut tors = Vec::with_capacity(plan.tors.len());
    if plan.tors.is_empty() {
        return Ok(tors);
    }
    let spine = switch.add_bridge(tor::SPINE_BRIDGE, SPINE_MAC)?;
    switch.set_up(spine, None)?;
    for router in &plan.tors {
        let mut netlink = open(plan, &router.namespace, true)?;
        for (_, bridge) in bridges
            .iter()
            .filter(|(subnet, _)| *subnet == router.subnet)
        {
            wire_tor(plan, router, &mut netlink, (switch, *bridge, spine))?;
        }
        tors.push(netlink);
        progress(&router.namespace)?;
    }
    Ok(tors)
}

/// Attaches a ToR to its rack and to the spine.
fn wire_tor(
    plan: &Plan,
    router: &TorPlan,
    netlink: &mut Netlink,
    (switch, rack, spine): (&mut Netlink, u32, u32),
) -> Result<(), LabError> {
    let spine_port = format!("{}-s", router.name);
    let ports: [(&str, u32, &str, Mac, &[_]); 2] = [
        (
            &router.name,
            rack,
            tor::DOWNLINK,
            router.mac,
            &router.addresses,
        ),
        (
            &spine_port,
            spine,
            tor::SPINE_LINK,
            router.spine_mac,
            &router.spine_addresses,
        ),
    ];
    let mut links = Vec::with_capacity(ports.len());
    for (port, bridge, link, mac, addresses) in ports {
        let port = switch.add_veth((port, None), (link, mac), &router.namespace)?;
        switch.set_up(port, Some(bridge))?;
        let index = netlink.link(link)?;
        netlink.set_up(index, None)?;
        for address in addresses {
            netlink.add_address(index, *address)?;
        }
        links.push(index);
    }
    let [downlink, spine_link] = links.as_slice() else {
        return Ok(());
    };
    for node in plan.members().filter(|n| n.subnet == router.subnet) {
        for (address, _) in &node.addresses {
            netlink.add_neighbour(*downlink, *address, node.mac)?;
        }
    }
    for other in plan.tors.iter().filter(|t| t.name != router.name) {
        for (address, _) in &other.spine_addresses {
            netlink.add_neighbour(*spine_link, *address, other.spine_mac)?;
        }
        let same_rack = other.subnet == router.subnet;
        for (address, _) in other.addresses.iter().filter(|_| same_rack) {
            netlink.add_neighbour(*downlink, *address, other.mac)?;
        }
    }
    Ok(())
}

/// Attaches a node to the bridge of its subnet.
fn wire_node(
    plan: &Plan,
    node: &NodePlan,
    netlink: &mut Netlink,
    (router, bridge): (&mut Netlink, u32),
) -> Result<(), LabError> {
    let port = router.add_veth((&node.name, None), (UPLINK, node.mac), &node.namespace)?;
    router.set_up(port, Some(bridge))?;
    let index = netlink.link(UPLINK)?;
    netlink.set_up(index, None)?;
    for address in &node.addresses {
        netlink.add_address(index, *address)?;
        if plan.tors.is_empty() {
            router.add_neighbour(bridge, address.0, node.mac)?;
        }
    }
    // The first ToR has the router's address, which is added below.
    let others = plan.tors.iter().filter(|tor| tor.subnet == node.subnet);
    for tor in others.filter(|tor| tor.number > 1) {
        for (address, _) in &tor.addresses {
            netlink.add_neighbour(index, *address, tor.mac)?;
        }
    }
    for family in &plan.families {
        let (address, _) = node.subnet.router_address(*family);
        netlink.add_neighbour(index, address, node.subnet.router_mac())?;
        let target = Target::Gateway { address, index };
        netlink.add_route(default_route(*family), target)?;
    }
    let others = plan.members().filter(|other| other.number != node.number);
    for other in others.filter(|other| other.subnet == node.subnet) {
        for (address, _) in &other.addresses {
            netlink.add_neighbour(index, *address, other.mac)?;
        }
    }
    Ok(())
}

/// A pod has one address a family and sends everything to its node, which has a host route to it.
fn wire_pod(
    plan: &Plan,
    node: &NodePlan,
    on_node: &mut Netlink,
    pod: &PodPlan,
) -> Result<(), LabError> {
    let mut in_pod = open(plan, &pod.namespace, false)?;
    let to_pod = on_node.add_veth(
        (&pod.name, Some(pod.node_mac)),
        (UPLINK, pod.mac),
        &pod.namespace,
    )?;
    on_node.set_up(to_pod, None)?;
    let uplink = in_pod.link(UPLINK)?;
    in_pod.set_up(uplink, None)?;
    for address in &pod.addresses {
        let same_family = |other: &IpAddr| other.is_ipv4() == address.is_ipv4();
        let Some(gateway) = POD_GATEWAY
            .into_iter()
            .find(|(gateway, _)| same_family(gateway))
        else {
            continue;
        };
        let source = node.addresses.iter().map(|(own, _)| *own).find(same_family);
        let host = Prefix::host(*address);
        on_node.add_address(to_pod, gateway)?;
        on_node.add_neighbour(to_pod, *address, pod.mac)?;
        in_pod.add_neighbour(uplink, gateway.0, pod.node_mac)?;
        on_node.add_route(
            host,
            Target::Link {
                index: to_pod,
                source,
            },
        )?;
        in_pod.add_address(uplink, (*address, host.len()))?;
        if host.family() == Family::Ipv4 {
            let link = Target::Link {
                index: uplink,
                source: None,
            };
            in_pod.add_route(Prefix::host(gateway.0), link)?;
        }
        let target = Target::Gateway {
            address: gateway.0,
            index: uplink,
        };
        in_pod.add_route(default_route(host.family()), target)?;
    }
    Ok(())
}

/// What dunlin would do, done once by hand: every block everywhere.
pub(super) fn static_routes(plan: &Plan, wired: &mut Wired) -> Result<(), LabError> {
    for (there, block) in plan
        .nodes
        .iter()
        .flat_map(|n| n.blocks.iter().map(move |b| (n, *b)))
    {
        let same_family = |address: &IpAddr| address.is_ipv4() == block.address().is_ipv4();
        let Some(next_hop) = there
            .addresses
            .iter()
            .map(|(own, _)| *own)
            .find(same_family)
        else {
            continue;
        };
        wired.router.add_route(block, Target::Via(next_hop))?;
        for (here, netlink) in plan.nodes.iter().zip(&mut wired.nodes) {
            let target = if here.number == there.number {
                Target::Blackhole
            } else if here.subnet == there.subnet {
                Target::Via(next_hop)
            } else {
                Target::Via(here.subnet.router_address(block.family()).0)
            };
            netlink.add_route(block, target)?;
        }
    }
    Ok(())
}
