//! From best paths, or from the datastore alone, to what the dataplane is to do.
//!
//! Not the choice itself, which is `forwarding`'s, and not the kernel, which is `dataplane`'s: this
//! asks the one about every next hop and tells the other. What always holds:
//!
//! - an own block is a blackhole, since its pods have more specific routes; a single own address has
//!   none of ours, since its pod's route has that very prefix;
//! - tunnels are asked for before the routes that lead through them;
//! - a change of mode waits a while: this node's devices are there at once, but it sends by the
//!   new way only when the other nodes have had time to make theirs. What is new beside the mode (nodes,
//!   blocks, pools) is not held;
//! - without BGP every wish comes from the datastore, and a new reading changes only what differs.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::modes::Modes;
use crate::dataplane::{Dataplane, Forwarding, NextHop, Tunnel};
use crate::forwarding::{Choice, Chooser, Way};
use crate::net::{Family, Prefix, ScopedAddress};
use crate::rib::ForwardingPath;
use crate::time::{Duration, Instant};
use crate::topology::Plan;

/// Where the knowledge of who has which block comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Backend {
    /// From BGP sessions.
    #[default]
    Bgp,
    /// From the datastore: no session, no listener, nothing of BGP.
    Vxlan,
    /// From nowhere: nothing is programmed.
    None,
}

impl Backend {
    /// As configurations spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bgp => "bgp",
            Self::Vxlan => "vxlan",
            Self::None => "none",
        }
    }
}

/// The choices in force.
#[derive(Debug)]
pub(super) struct Ways {
    backend: Backend,
    modes: Modes,
    /// What a former process left in the kernel was looked at.
    resumed: bool,
    own_blocks: Vec<Prefix>,
    /// What was wanted by the datastore.
    wanted: BTreeMap<Prefix, Forwarding>,
    /// The far ends that have a route of their own.
    far_ends: BTreeMap<Prefix, Forwarding>,
}

impl Ways {
    pub(super) fn new(backend: Backend, switch_delay: Duration, plan: &Plan) -> Self {
        Self {
            backend,
            modes: Modes::new(switch_delay, Chooser::new(plan.fabric.clone(), &plan.name)),
            resumed: false,
            own_blocks: plan.own_blocks.clone(),
            wanted: BTreeMap::new(),
            far_ends: BTreeMap::new(),
        }
    }

    /// When [`switch`](Self::switch) is due.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.modes.next_timeout()
    }

    /// Brings new modes into force if it is time; the pools that have one.
    pub(super) fn switch(&mut self, now: Instant) -> Vec<Prefix> {
        self.modes.switch(now)
    }

    /// Looks once at what a former process left in the kernel; the pools whose mode was about to change,
    /// or has changed meanwhile.
    pub(super) fn resume(&mut self, now: Instant, dataplane: &Dataplane) -> Vec<Prefix> {
        if self.resumed || !dataplane.is_synced() {
            return Vec::new();
        }
        self.resumed = true;
        self.modes.resume(now, dataplane)
    }

    pub(super) const fn backend(&self) -> Backend {
        self.backend
    }

    pub(super) const fn chooser(&self) -> &Chooser {
        self.modes.in_force()
    }

    /// The plan that the speaker carries out: all of it, or nothing that talks.
    pub(super) fn spoken(&self, plan: Plan) -> Plan {
        match self.backend {
            Backend::Bgp => plan,
            Backend::Vxlan | Backend::None => Plan {
                peers: Vec::new(),
                templates: Vec::new(),
                gateways: Vec::new(),
                originate: Vec::new(),
                ..plan
            },
        }
    }

    /// Takes over a new plan; whether next hops may have another way now.
    pub(super) fn replan(&mut self, now: Instant, plan: &Plan) -> bool {
        self.own_blocks.clone_from(&plan.own_blocks);
        self.modes.replan(now, &plan.fabric, &plan.name)
    }

    /// Wants the tunnels, and without BGP the routes.
    pub(super) fn apply(&mut self, now: Instant, dataplane: &mut Dataplane) {
        let pools = self.chooser().fabric().pools.iter();
        dataplane.set_pools(pools.map(|pool| pool.cidr).collect());
        let nodes = &self.chooser().fabric().nodes;
        let addresses = |family| nodes.iter().filter_map(move |node| node.address(family));
        dataplane.set_nodes(Family::ALL.into_iter().flat_map(addresses));
        // A node that routes forwards: without it pods are cut off, though all routes are there.
        let pools = self.chooser().fabric().pools.iter();
        let families: BTreeSet<Family> = pools.map(|pool| pool.cidr.family()).collect();
        dataplane.set_forwarding(families.into_iter());
        let tunnels = self.tunnels();
        let far_ends = far_end_routes(&tunnels);
        dataplane.set_tunnels(now, tunnels);
        // First of all routes: blocks lead via them.
        change(dataplane, &self.far_ends, &far_ends);
        self.far_ends = far_ends;
        if self.backend != Backend::Vxlan {
            return;
        }
        let own = self.own_blocks.iter().filter(|block| !block.is_host());
        let mut wanted: BTreeMap<Prefix, Forwarding> =
            own.map(|block| (*block, Forwarding::Blackhole)).collect();
        for (block, choice) in self.chooser().routes() {
            wanted.entry(block).or_insert_with(|| via([choice]));
        }
        change(dataplane, &self.wanted, &wanted);
        self.wanted = wanted;
    }

    /// The devices that choices in force use, and those that the next ones will.
    fn tunnels(&self) -> Vec<Tunnel> {
        let mut tunnels = self.chooser().tunnels();
        if let Some(next) = self.modes.next() {
            for tunnel in next.tunnels() {
                match tunnels.iter_mut().find(|known| known.name == tunnel.name) {
                    Some(known) => *known = tunnel,
                    None => tunnels.push(tunnel),
                }
            }
        }
        tunnels
    }

    /// What best paths mean: none is an own address that has a pod's route. `way` says where a next hop
    /// is that packets go to as they are.
    pub(super) fn forwarding(
        &self,
        prefix: Prefix,
        paths: &[ForwardingPath],
        way: impl Fn(ScopedAddress) -> NextHop,
    ) -> Option<Forwarding> {
        if paths.iter().any(|path| path.peer.is_local()) {
            return (!prefix.is_host()).then_some(Forwarding::Blackhole);
        }
        let hops = paths.iter().filter_map(|path| path.next_hop);
        let ways = hops.filter_map(|hop| match self.choose(prefix, hop.address).way {
            Way::Native(_) => Some(way(hop.target())),
            Way::Ipip(through) | Way::Vxlan(through) => Some(through),
            Way::Unreachable => None,
        });
        Some(Forwarding::Via(ways.collect()))
    }

    pub(super) fn choose(&self, prefix: Prefix, next_hop: IpAddr) -> Choice {
        self.chooser().choose(prefix, next_hop)
    }
}

/// IPv6 accepts no gateway on a device, `onlink` or not, to which another route than the default one
/// leads by another device: and until a block's route goes through the tunnel, the far end's address in
/// that block does. So each far end has a route of its own. (IPv4 has no such check.)
fn far_end_routes(tunnels: &[Tunnel]) -> BTreeMap<Prefix, Forwarding> {
    let ends = tunnels.iter().flat_map(|tunnel| {
        tunnel
            .far_ends
            .iter()
            .map(|end| (&tunnel.name, end.address))
    });
    let ends = ends.filter(|(_, address)| address.is_ipv6());
    let onto =
        |name: &Arc<str>, address| Forwarding::Via(vec![NextHop::onto(address, name.clone())]);
    ends.map(|(name, address)| (Prefix::host(address), onto(name, address)))
        .collect()
}

/// Wants what is new, and no longer what is not.
fn change(
    dataplane: &mut Dataplane,
    before: &BTreeMap<Prefix, Forwarding>,
    after: &BTreeMap<Prefix, Forwarding>,
) {
    for (prefix, forwarding) in after {
        if before.get(prefix) != Some(forwarding) {
            dataplane.want(*prefix, forwarding.clone());
        }
    }
    for prefix in before.keys().filter(|prefix| !after.contains_key(prefix)) {
        dataplane.unwant(*prefix);
    }
}

fn via(choices: impl IntoIterator<Item = Choice>) -> Forwarding {
    let hops = choices.into_iter();
    Forwarding::Via(
        hops.filter_map(|choice| choice.way.next_hop().cloned())
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::{Intent, Node, Pool, PoolMode, plan};

    fn cluster(ipip_mode: PoolMode, others: u8) -> Plan {
        let node = |number: u8| Node {
            ipv4_address: format!("10.0.0.{number}/24").parse().ok(),
            blocks: vec![format!("10.244.{number}.0/26").parse().unwrap()],
            ..Node::named(format!("n{number}"))
        };
        let intent = Intent {
            pools: vec![Pool {
                name: "pods".to_owned(),
                cidr: "10.244.0.0/16".parse().unwrap(),
                ipip_mode,
                vxlan_mode: PoolMode::Never,
                nat_outgoing: false,
                disabled: false,
                disable_bgp_export: false,
            }],
            nodes: (1..=1 + others).map(node).collect(),
            ..Intent::default()
        };
        plan(&intent, "n1").unwrap()
    }

    const HOLD: Duration = Duration::from_secs(5);

    fn way(ways: &Ways) -> Way {
        ways.choose(
            "10.244.2.0/26".parse().unwrap(),
            "10.0.0.2".parse().unwrap(),
        )
        .way
    }

    #[test]
    fn a_new_mode_has_its_device_at_once_and_its_packets_after_the_hold() {
        let mut ways = Ways::new(Backend::Bgp, HOLD, &cluster(PoolMode::Never, 1));
        let now = Instant::from_secs(100);
        assert!(ways.replan(now, &cluster(PoolMode::Always, 1)));
        assert_eq!(ways.tunnels().len(), 1, "the device of the new mode");
        assert!(
            matches!(way(&ways), Way::Native(_)),
            "the way of the old mode"
        );
        // Another reading of the same, and one with a new node, neither shorten nor prolong it.
        let later = now + Duration::from_secs(1);
        assert!(!ways.replan(later, &cluster(PoolMode::Always, 1)));
        assert!(ways.replan(later, &cluster(PoolMode::Always, 2)));
        assert!(ways.chooser().fabric().node("n3").is_some());
        assert_eq!(ways.next_timeout(), Some(now + HOLD));
        assert_eq!(ways.switch(now), []);
        assert_eq!(ways.switch(now + HOLD).len(), 1);
        assert!(matches!(way(&ways), Way::Ipip(_)));
        assert_eq!(ways.next_timeout(), None);
    }

    /// Two pools with a block of n2 each.
    fn two_pools(first: PoolMode, second: PoolMode) -> Plan {
        let mut intent = Intent::default();
        for (cidr, ipip_mode) in [("10.1.0.0/16", first), ("10.2.0.0/16", second)] {
            intent.pools.push(Pool {
                name: cidr.to_owned(),
                cidr: cidr.parse().unwrap(),
                ipip_mode,
                vxlan_mode: PoolMode::Never,
                nat_outgoing: false,
                disabled: false,
                disable_bgp_export: false,
            });
        }
        for (name, address) in [("n1", "10.0.0.1/24"), ("n2", "10.0.0.2/24")] {
            intent.nodes.push(Node {
                ipv4_address: address.parse().ok(),
                ..Node::named(name)
            });
        }
        plan(&intent, "n1").unwrap()
    }

    #[test]
    fn each_pools_change_waits_for_itself() {
        use PoolMode::{Always, CrossSubnet, Never};
        let mut ways = Ways::new(Backend::Bgp, HOLD, &two_pools(Never, Never));
        let at = |millis| Instant::from_secs(100) + Duration::from_millis(millis);
        let wrapped = |ways: &Ways, prefix: &str| {
            let choice = ways.choose(prefix.parse().unwrap(), "10.0.0.2".parse().unwrap());
            matches!(choice.way, Way::Ipip(_))
        };
        let both = |ways: &Ways| ["10.1.1.0/26", "10.2.1.0/26"].map(|p| wrapped(ways, p));
        assert!(ways.replan(at(0), &two_pools(Always, Never)));
        assert!(ways.replan(at(4500), &two_pools(Always, Always)));
        assert_eq!(ways.next_timeout(), Some(at(5000)));
        assert_eq!(ways.switch(at(5000)), ["10.1.0.0/16".parse().unwrap()]);
        assert_eq!(both(&ways), [true, false]);
        assert_eq!(ways.next_timeout(), Some(at(9500)));
        assert_eq!(ways.switch(at(9499)), []);
        assert_eq!(ways.switch(at(9500)), ["10.2.0.0/16".parse().unwrap()]);
        assert_eq!(both(&ways), [true, true]);
        assert_eq!(ways.next_timeout(), None);
        // A third mode while the second waits has a wait of its own, and the other pool's stays.
        assert!(ways.replan(at(20_000), &two_pools(Never, Never)));
        assert!(ways.replan(at(22_000), &two_pools(CrossSubnet, Never)));
        assert_eq!(ways.next_timeout(), Some(at(25_000)));
        assert_eq!(ways.switch(at(25_000)), ["10.2.0.0/16".parse().unwrap()]);
        assert_eq!(both(&ways), [true, false]);
        assert_eq!(ways.next_timeout(), Some(at(27_000)));
        assert_eq!(ways.switch(at(27_000)), ["10.1.0.0/16".parse().unwrap()]);
        assert_eq!(both(&ways), [false, false], "on one subnet");
    }

    #[test]
    fn a_mode_that_is_taken_back_is_forgotten() {
        let mut ways = Ways::new(Backend::Bgp, HOLD, &cluster(PoolMode::Always, 1));
        let now = Instant::from_secs(100);
        assert!(ways.replan(now, &cluster(PoolMode::Never, 1)));
        assert!(ways.replan(now, &cluster(PoolMode::Always, 1)));
        assert_eq!(ways.next_timeout(), None);
        assert!(matches!(way(&ways), Way::Ipip(_)));
    }
}
