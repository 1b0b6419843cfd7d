//! What this node does not pass on for pods: their packets to the ports by which nodes and routers are
//! neighbours, and packets that a tunnel would unpack at its other end.
//!
//! A pod whose traffic is masqueraded has its node's address at the other end, where that is the whole proof of
//! who calls. Pure, as `nat` is. What always holds:
//!
//! - only what is passed on is looked at: a speaker on this node (MetalLB's), this node's own sessions and what
//!   pods send to this node itself are none of it;
//! - a packet is a pod's if its source is in a pool, disabled ones too, or this node's own address, which
//!   nobody else's packet has. Routers that speak through this node are let through, whichever links
//!   they come by;
//! - to a peer outside, who knows pods by their own addresses or not at all, only such pods have no way whose
//!   packets would be masqueraded; to nodes none has;
//! - a pod that is a peer by the records keeps its way, and is not masqueraded on it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::Chooser;
use crate::dataplane::TunnelKind;
use crate::net::{Family, Prefix};
use crate::topology::Speakers;

/// What is not passed on, of one family.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FamilyGuard {
    /// The neighbours' ports are guarded.
    pub sessions: bool,
    /// Where nodes and their peers listen, each address with its port; sorted.
    pub ends: Vec<(IpAddr, u16)>,
    /// The addresses of both; sorted.
    pub speakers: Vec<IpAddr>,
    /// Those of nodes; sorted.
    pub nodes: Vec<IpAddr>,
    /// Pods that are peers; sorted, none inside another.
    pub pods: Vec<Prefix>,
    /// The UDP port of VXLAN, if nodes unpack what comes there.
    pub vxlan_port: Option<u16>,
    /// Nodes unpack IP in IP.
    pub ipip: bool,
}

impl FamilyGuard {
    /// `speakers` is none where no BGP is spoken.
    pub(super) fn new(
        chooser: &Chooser,
        speakers: Option<&Speakers>,
        family: Family,
    ) -> Option<Self> {
        let fabric = chooser.fabric();
        let felix = &fabric.felix;
        let of_family = |address: &IpAddr| address.is_ipv4() == (family == Family::Ipv4);
        if !fabric.pools.iter().any(|pool| pool.cidr.family() == family) {
            return None;
        }
        let mut kinds = chooser.tunnels().into_iter().map(|tunnel| tunnel.kind);
        let is_vxlan = |kind: &TunnelKind| matches!(kind, TunnelKind::Vxlan { .. });
        let vxlan = kinds.clone().any(|kind| is_vxlan(&kind));
        let ipip = kinds.any(|kind| !is_vxlan(&kind));
        let speakers = speakers.filter(|_| !felix.allow_bgp_from_workloads);
        let ends = speakers.map(|speakers| speakers.nodes.iter().chain(&speakers.peers));
        let ends: BTreeSet<(IpAddr, u16)> = ends.into_iter().flatten().copied().collect();
        let ends = ends.into_iter().filter(|(address, _)| of_family(address));
        let ends: Vec<(IpAddr, u16)> = ends.collect();
        let own = fabric.nodes.iter().filter_map(|node| node.address(family));
        let named = speakers.into_iter().flat_map(|speakers| &speakers.nodes);
        let named = named.map(|(address, _)| *address).filter(of_family);
        let nodes: BTreeSet<IpAddr> = own.chain(named).collect();
        let pods = speakers.into_iter().flat_map(|speakers| &speakers.pods);
        let guard = Self {
            sessions: speakers.is_some(),
            speakers: addresses(&ends),
            ends,
            nodes: nodes.into_iter().collect(),
            pods: super::nat::outermost(pods.copied().filter(|pod| pod.family() == family)),
            vxlan_port: (vxlan && !felix.allow_vxlan_from_workloads).then_some(felix.vxlan_port),
            ipip: ipip && !felix.allow_ipip_from_workloads,
        };
        let guards = guard.sessions || guard.vxlan_port.is_some() || guard.ipip;
        (guards && !guard.nodes.is_empty()).then_some(guard)
    }
}

fn addresses(ends: &[(IpAddr, u16)]) -> Vec<IpAddr> {
    let all: BTreeSet<IpAddr> = ends.iter().map(|(address, _)| *address).collect();
    all.into_iter().collect()
}
