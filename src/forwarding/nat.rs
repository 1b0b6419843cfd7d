//! natOutgoing: which packets leave this node under another source address than their own. Beside it stands
//! what is not passed on at all ([`FamilyGuard`]), for both are rules of one table.
//!
//! Pure: a [`Nat`] is a value made of the fabric, one half a family; `nft` renders it, nothing here
//! knows rules. It does not ask whether a tunnel device is there: a rule about a link that is absent
//! matches nothing. What always holds:
//!
//! - nothing is translated in a family that has neither a pool with natOutgoing nor a tunnel, and such a
//!   family has a table for its guard only;
//! - a packet is translated for its pool if its source is in a pool with natOutgoing and its
//!   destination in no pool at all. Which pool, and what that pool's flags say, makes no difference:
//!   a disabled pool is the way to exempt a range from NAT;
//! - what goes to another pool keeps its source, with the one exception of the node's own packets
//!   into a tunnel: one that would leave with an address of the node other than the tunnel device's
//!   gets the device's, since the answer to any other would come back outside the tunnel;
//! - a source address (natOutgoingAddress) is used for packets of its own family only; the other
//!   family is masqueraded, which is to take the address of the link it leaves by;
//! - port ranges are for TCP and UDP; every other protocol is translated without one, and so is UDP to
//!   the VXLAN port where VXLAN is in use, whose source port spreads flows over links.

use std::net::IpAddr;
use std::sync::Arc;

use super::{Chooser, FamilyGuard};
use crate::dataplane::TunnelKind;
use crate::net::{Family, Prefix};
use crate::topology::{NatExclusions, Speakers};

/// What one node translates.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Nat {
    families: [Option<FamilyNat>; 2],
}

/// What it translates of one family.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FamilyNat {
    /// Packets from here are translated; sorted, none inside another.
    pub sources: Vec<Prefix>,
    /// Unless they go here: all pools; sorted, none inside another.
    pub pools: Vec<Prefix>,
    /// Or here: the nodes, if they are excluded, too; sorted.
    pub nodes: Vec<IpAddr>,
    /// Only what leaves by such a link.
    pub link: Option<LinkName>,
    /// The source address that they get; `None` is that of the link.
    pub source_address: Option<IpAddr>,
    /// The source ports that TCP and UDP get, first and last.
    pub ports: Option<(u16, u16)>,
    /// UDP to this port gets no port of the range.
    pub vxlan_port: Option<u16>,
    /// Tunnel devices and the addresses on them.
    pub tunnels: Vec<TunnelSource>,
    /// What is not passed on for pods.
    pub guard: Option<FamilyGuard>,
}

/// Which links, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkName {
    /// The one of this name.
    Exactly(String),
    /// All whose names begin so.
    Beginning(String),
}

/// A tunnel device and the address that this node's own packets into it leave with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TunnelSource {
    /// The name of the device.
    pub device: Arc<str>,
    /// The address on it.
    pub address: IpAddr,
}

impl Nat {
    /// What the node of `chooser` translates and does not pass on; `speakers` are those of a cluster that
    /// speaks BGP.
    pub fn new(chooser: &Chooser, speakers: Option<&Speakers>) -> Self {
        Self {
            families: Family::ALL.map(|family| FamilyNat::new(chooser, speakers, family)),
        }
    }

    /// Whether pods are kept away from the ports of neighbours.
    pub fn guards_sessions(&self) -> bool {
        let mut guards = self
            .families
            .iter()
            .flatten()
            .filter_map(|family| family.guard.as_ref());
        guards.any(|guard| guard.sessions)
    }

    /// What it translates of a family; `None` is nothing.
    pub const fn family(&self, family: Family) -> Option<&FamilyNat> {
        family.of(&self.families).as_ref()
    }

    /// Whether pods' traffic to the outside is translated; else at most this node's own packets into
    /// tunnels are.
    pub fn has_pools(&self) -> bool {
        let mut families = self.families.iter().flatten();
        families.any(|family| !family.sources.is_empty())
    }

    /// Whether it translates nothing.
    pub fn is_empty(&self) -> bool {
        self.families.iter().all(Option::is_none)
    }
}

impl FamilyNat {
    fn new(chooser: &Chooser, speakers: Option<&Speakers>, family: Family) -> Option<Self> {
        let fabric = chooser.fabric();
        let felix = &fabric.felix;
        let devices = chooser.tunnels();
        let of_family = || fabric.pools.iter().filter(|p| p.cidr.family() == family);
        let tunnels: Vec<TunnelSource> = devices
            .iter()
            .filter_map(|tunnel| {
                let address = tunnel.address.filter(|ip| family_of(*ip) == family)?;
                let device = Arc::clone(&tunnel.name);
                Some(TunnelSource { device, address })
            })
            .collect();
        let sources = outermost(of_family().filter(|p| p.nat_outgoing).map(|p| p.cidr));
        let guard = FamilyGuard::new(chooser, speakers, family);
        let pools = outermost(of_family().map(|pool| pool.cidr));
        if sources.is_empty() {
            // The rest would be about no packet, and a change of it no change.
            return (!tunnels.is_empty() || guard.is_some()).then(|| Self {
                pools: guard.as_ref().map(|_| pools).unwrap_or_default(),
                tunnels,
                guard,
                ..Self::default()
            });
        }
        let mut nodes = Vec::new();
        if felix.nat_outgoing_exclusions == NatExclusions::IpPoolsAndHostIps {
            nodes.extend(fabric.nodes.iter().filter_map(|node| node.address(family)));
            nodes.sort_unstable();
            nodes.dedup();
        }
        let has_vxlan = devices
            .iter()
            .any(|tunnel| matches!(tunnel.kind, TunnelKind::Vxlan { .. }));
        let ports = felix.nat_port_range;
        Some(Self {
            sources,
            pools,
            nodes,
            link: felix
                .nat_outgoing_interface_filter
                .as_deref()
                .and_then(LinkName::new),
            source_address: felix
                .nat_outgoing_address
                .filter(|address| family_of(*address) == family),
            ports,
            vxlan_port: (ports.is_some() && has_vxlan).then_some(felix.vxlan_port),
            tunnels,
            guard,
        })
    }
}

impl LinkName {
    /// Reads a filter; `None` means all links.
    fn new(filter: &str) -> Option<Self> {
        match filter.strip_suffix('+') {
            Some("") => None,
            Some(beginning) => Some(Self::Beginning(beginning.to_owned())),
            None if filter.is_empty() => None,
            None => Some(Self::Exactly(filter.to_owned())),
        }
    }
}

/// The prefixes in order, without those that lie inside another.
pub(super) fn outermost(prefixes: impl Iterator<Item = Prefix>) -> Vec<Prefix> {
    let mut sorted: Vec<Prefix> = prefixes.collect();
    // By address, the shorter first: whatever covers a prefix comes before it.
    sorted.sort_unstable();
    let mut kept: Vec<Prefix> = Vec::with_capacity(sorted.len());
    for prefix in sorted {
        if !kept.last().is_some_and(|outer| outer.covers(prefix)) {
            kept.push(prefix);
        }
    }
    kept
}

const fn family_of(address: IpAddr) -> Family {
    match address {
        IpAddr::V4(_) => Family::Ipv4,
        IpAddr::V6(_) => Family::Ipv6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::{Encapsulation, Fabric, FabricPool, FelixSettings, Intent, Node, When};

    fn pool(cidr: &str, encapsulation: Encapsulation, nat_outgoing: bool) -> FabricPool {
        FabricPool {
            cidr: cidr.parse().unwrap(),
            encapsulation,
            nat_outgoing,
            disabled: false,
            leftover: None,
        }
    }

    fn bare(cidr: &str, nat_outgoing: bool) -> FabricPool {
        pool(cidr, Encapsulation::None, nat_outgoing)
    }

    /// Two nodes with addresses of both families.
    fn nat(mut pools: Vec<FabricPool>, felix: FelixSettings) -> Nat {
        pools.sort_by_key(|pool| pool.cidr);
        let node = |name: &str, last: u8| {
            let mut node = Node::named(name);
            node.ipv4_address = format!("10.0.0.{last}/24").parse().ok();
            node.ipv6_address = format!("fd00::{last}/64").parse().ok();
            node.tunnels.ipip_v4 = format!("10.244.{last}.0").parse().ok();
            node.tunnels.vxlan_v6 = format!("fd00:10:{last}::").parse().ok();
            node
        };
        let intent = Intent {
            nodes: vec![node("a", 1), node("b", 2)],
            ..Intent::default()
        };
        let fabric = Fabric {
            pools,
            felix,
            ..Fabric::new(&intent)
        };
        Nat::new(&Chooser::new(fabric.into(), "a"), None)
    }

    fn texts(prefixes: &[Prefix]) -> Vec<String> {
        prefixes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn without_a_pool_that_asks_for_it_nothing_is_translated() {
        assert!(nat(Vec::new(), FelixSettings::default()).is_empty());
        let none = nat(vec![bare("10.244.0.0/16", false)], FelixSettings::default());
        assert!(none.is_empty());
        let felix = FelixSettings {
            nat_port_range: Some((1024, 2048)),
            nat_outgoing_address: "10.0.0.77".parse().ok(),
            ..FelixSettings::default()
        };
        assert!(nat(vec![bare("fd00:10::/48", false)], felix).is_empty());
    }

    #[test]
    fn sources_are_pools_with_nat_and_destinations_all_pools_disabled_ones_too() {
        let exempt = FabricPool {
            disabled: true,
            ..bare("10.246.0.0/16", false)
        };
        let pools = vec![
            bare("10.245.0.0/16", false),
            bare("10.244.0.0/16", true),
            exempt,
            bare("fd00:10::/48", true),
        ];
        let nat = nat(pools, FelixSettings::default());
        let v4 = nat.family(Family::Ipv4).unwrap();
        assert_eq!(texts(&v4.sources), ["10.244.0.0/16"]);
        assert_eq!(
            texts(&v4.pools),
            ["10.244.0.0/16", "10.245.0.0/16", "10.246.0.0/16"]
        );
        assert_eq!(v4.nodes, Vec::<IpAddr>::new());
        let v6 = nat.family(Family::Ipv6).unwrap();
        assert_eq!(texts(&v6.sources), ["fd00:10::/48"]);
        assert_eq!(texts(&v6.pools), ["fd00:10::/48"]);
    }

    #[test]
    fn a_disabled_pool_with_nat_still_translates() {
        let disabled = FabricPool {
            disabled: true,
            ..bare("10.244.0.0/16", true)
        };
        let nat = nat(vec![disabled], FelixSettings::default());
        let sources = &nat.family(Family::Ipv4).unwrap().sources;
        assert_eq!(texts(sources), ["10.244.0.0/16"]);
        assert_eq!(nat.family(Family::Ipv6), None);
    }

    #[test]
    fn nodes_are_exempt_only_if_asked_for_and_in_their_family() {
        let felix = FelixSettings {
            nat_outgoing_exclusions: NatExclusions::IpPoolsAndHostIps,
            ..FelixSettings::default()
        };
        let nat = nat(
            vec![bare("10.244.0.0/16", true), bare("fd00:10::/48", true)],
            felix,
        );
        let nodes = |family| -> Vec<String> {
            let half = nat.family(family).unwrap();
            half.nodes.iter().map(ToString::to_string).collect()
        };
        assert_eq!(nodes(Family::Ipv4), ["10.0.0.1", "10.0.0.2"]);
        assert_eq!(nodes(Family::Ipv6), ["fd00::1", "fd00::2"]);
    }

    #[test]
    fn the_source_address_is_for_its_own_family_and_ports_for_both() {
        let felix = FelixSettings {
            nat_outgoing_address: "10.0.0.77".parse().ok(),
            nat_port_range: Some((30_000, 40_000)),
            ..FelixSettings::default()
        };
        let nat = nat(
            vec![bare("10.244.0.0/16", true), bare("fd00:10::/48", true)],
            felix,
        );
        let (v4, v6) = (nat.family(Family::Ipv4), nat.family(Family::Ipv6));
        assert_eq!(v4.unwrap().source_address, "10.0.0.77".parse().ok());
        assert_eq!(v6.unwrap().source_address, None);
        assert_eq!(v4.unwrap().ports, Some((30_000, 40_000)));
        assert_eq!(v6.unwrap().ports, Some((30_000, 40_000)));
        assert_eq!(v4.unwrap().vxlan_port, None);
    }

    #[test]
    fn tunnels_are_corrected_without_any_nat_pool() {
        let pools = vec![
            pool("10.244.0.0/16", Encapsulation::Ipip(When::Always), false),
            pool(
                "fd00:10::/32",
                Encapsulation::Vxlan(When::CrossSubnet),
                false,
            ),
        ];
        let nat = nat(pools, FelixSettings::default());
        let only = |family| {
            let half = nat.family(family).unwrap();
            assert!(half.sources.is_empty() && half.guard.is_some());
            let [TunnelSource { device, address }] = half.tunnels.as_slice() else {
                panic!("{:?}", half.tunnels);
            };
            format!("{device} {address}")
        };
        assert_eq!(only(Family::Ipv4), "tunl0 10.244.1.0");
        assert_eq!(only(Family::Ipv6), "vxlan-v6.calico fd00:10:1::");
    }

    #[test]
    fn vxlan_packets_take_no_port_of_a_range() {
        let pools = || {
            vec![
                bare("10.244.0.0/16", true),
                pool("fd00:10::/32", Encapsulation::Vxlan(When::Always), true),
            ]
        };
        let felix = FelixSettings {
            nat_port_range: Some((1024, 65_535)),
            vxlan_port: 8472,
            ..FelixSettings::default()
        };
        let with = nat(pools(), felix);
        assert_eq!(with.family(Family::Ipv4).unwrap().vxlan_port, Some(8472));
        let without = nat(pools(), FelixSettings::default());
        assert_eq!(without.family(Family::Ipv4).unwrap().vxlan_port, None);
    }

    #[test]
    fn a_plus_at_the_end_of_a_link_name_stands_for_anything() {
        let named = |text: &str| LinkName::new(text);
        assert_eq!(named("eth+"), Some(LinkName::Beginning("eth".into())));
        assert_eq!(named("eth0"), Some(LinkName::Exactly("eth0".into())));
        assert_eq!(named("e+h"), Some(LinkName::Exactly("e+h".into())));
        assert_eq!((named("+"), named("")), (None, None));
    }

    #[test]
    fn a_prefix_inside_another_is_said_by_the_other() {
        let prefixes = ["10.1.0.0/16", "10.0.0.0/8", "10.0.0.0/8", "11.0.0.0/32"];
        let parsed = prefixes.map(|text| text.parse::<Prefix>().unwrap());
        assert_eq!(
            texts(&outermost(parsed.into_iter())),
            ["10.0.0.0/8", "11.0.0.0/32"]
        );
    }
}
