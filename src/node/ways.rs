//! From best paths, or from the datastore alone, to what the dataplane is to do.
//!
//! Not the choice itself, which is `forwarding`'s, and not the kernel, which is `dataplane`'s: this
//! asks the one about every next hop and tells the other. What always holds:
//!
//! - an own block is a blackhole, since its pods have more specific routes; a single own address has
//!   none of ours, since its pod's route has that very prefix;
//! - tunnels are asked for before the routes that lead through them;
//! - a far end's address that the records name has the way that follows from them, whoever announces it;
//! - a change of mode waits a while: this node's devices are there at once, but it sends by the
//!   new way only when the other nodes have had time to make theirs. What is new beside the mode (nodes,
//!   blocks, pools) is not held;
//! - a block whose pool is gone keeps the way that it had, as long as it is on record;
//! - without BGP every wish comes from the datastore, and a new reading changes only what differs.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

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
        let far_ends = self.far_end_routes(&tunnels);
        dataplane.set_tunnels(now, tunnels);
        // First of all routes: blocks lead via them.
        change(dataplane, &self.far_ends, &far_ends, &self.wanted);
        self.far_ends = far_ends;
        if self.backend != Backend::Vxlan {
            return;
        }
        let own = self.own_blocks.iter().filter(|block| !block.is_host());
        let mut wanted: BTreeMap<Prefix, Forwarding> =
            own.map(|block| (*block, Forwarding::Blackhole)).collect();
        for (block, choice) in self.chooser().routes() {
            if !self.far_ends.contains_key(&block) {
                wanted.entry(block).or_insert_with(|| via([choice]));
            }
        }
        change(dataplane, &self.wanted, &wanted, &self.far_ends);
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

    /// The far ends that have a route of their own: in IPv4 those that no block of their node's holds.
    ///
    /// IPv6 accepts no gateway on a device, `onlink` or not, to which another route than the default one
    /// leads by another device: and until a block's route goes through the tunnel, the far end's address in
    /// that block does. So there it is all of them. (IPv4 has no such check.)
    fn far_end_routes(&self, tunnels: &[Tunnel]) -> BTreeMap<Prefix, Forwarding> {
        let ends = tunnels.iter().flat_map(|tunnel| {
            let ends = tunnel.far_ends.iter().map(|end| end.address);
            ends.map(|address| NextHop::onto(address, tunnel.name.clone()))
        });
        let ends = ends.filter(|hop| hop.address.is_ipv6());
        let mut routes: BTreeMap<Prefix, Forwarding> = ends
            .map(|hop| (Prefix::host(hop.address), Forwarding::Via(vec![hop])))
            .collect();
        for (end, choice) in self.chooser().ends() {
            // What is ours by the records, too, is ours.
            if self.own_blocks.binary_search(&end).is_err() {
                routes.entry(end).or_insert_with(|| via([choice]));
            }
        }
        routes
    }

    /// Whether a prefix has its route by the records, whatever BGP says of it.
    pub(super) fn is_settled_by_records(&self, prefix: Prefix) -> bool {
        prefix.is_host() && self.far_ends.contains_key(&prefix)
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

/// Wants what is new, and no longer what is not, unless it is wanted beside these (`others`).
fn change(
    dataplane: &mut Dataplane,
    before: &BTreeMap<Prefix, Forwarding>,
    after: &BTreeMap<Prefix, Forwarding>,
    others: &BTreeMap<Prefix, Forwarding>,
) {
    for (prefix, forwarding) in after {
        if before.get(prefix) != Some(forwarding) {
            dataplane.want(*prefix, forwarding.clone());
        }
    }
    let kept = |prefix: &&Prefix| after.contains_key(prefix) || others.contains_key(prefix);
    for prefix in before.keys().filter(|prefix| !kept(prefix)) {
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

    /// The second node's tunnel has this address on record, and the third node borrows these of the first.
    fn lending(vxlan_mode: PoolMode, end: Option<&str>, borrowed: &[&str]) -> Plan {
        let node = |number: u8| Node {
            ipv4_address: format!("10.0.0.{number}/24").parse().ok(),
            blocks: vec![format!("10.244.{number}.0/26").parse().unwrap()],
            ..Node::named(format!("n{number}"))
        };
        let mut intent = Intent {
            pools: vec![Pool {
                name: "pods".to_owned(),
                cidr: "10.244.0.0/16".parse().unwrap(),
                ipip_mode: PoolMode::Never,
                vxlan_mode,
                nat_outgoing: false,
                disabled: false,
                disable_bgp_export: false,
            }],
            nodes: (1..=3).map(node).collect(),
            ..Intent::default()
        };
        intent.nodes[1].tunnels.vxlan_v4 = end.and_then(|end| end.parse().ok());
        for address in borrowed {
            intent.nodes[2].blocks.push(address.parse().unwrap());
        }
        plan(&intent, "n1").unwrap()
    }

    /// The wishes for these prefixes after each of the plans, as far as the dataplane has them.
    fn wished(backend: Backend, plans: &[Plan], prefixes: &[&str]) -> Vec<Vec<bool>> {
        let now = Instant::from_secs(1);
        let mut dataplane = Dataplane::new(crate::dataplane::Settings::default());
        let mut ways = Ways::new(backend, HOLD, &plans[0]);
        let mut all = Vec::new();
        for plan in plans {
            ways.replan(now, plan);
            ways.apply(now, &mut dataplane);
            let known = |text: &&str| dataplane.state(text.parse().unwrap()).is_some();
            all.push(prefixes.iter().map(known).collect());
        }
        all
    }

    #[test]
    fn a_lent_address_and_a_far_tunnels_are_wanted_and_given_up_in_any_order() {
        let none = || lending(PoolMode::Always, None, &[]);
        let lent = || lending(PoolMode::Always, None, &["10.244.1.5/32"]);
        let end = || lending(PoolMode::Always, Some("10.244.1.5"), &[]);
        let both = || lending(PoolMode::Always, Some("10.244.1.5"), &["10.244.1.5/32"]);
        let address = ["10.244.1.5/32", "10.244.1.0/26", "10.244.2.0/26"];
        let orders: [Vec<Plan>; 4] = [
            vec![none(), lent(), both(), end(), none()],
            vec![none(), end(), both(), lent(), none()],
            vec![both(), none(), both(), lent(), end()],
            vec![lent(), end(), lent(), none(), lent()],
        ];
        for plans in orders {
            let seen = wished(Backend::Vxlan, &plans, &address);
            for (plan, seen) in plans.iter().zip(seen) {
                let wanted = plan.lent == ["10.244.1.5/32".parse().unwrap()];
                assert_eq!(seen, [wanted, true, true]);
            }
        }
    }

    #[test]
    fn with_sessions_the_records_alone_give_the_way_to_a_far_tunnel() {
        let before = lending(PoolMode::Always, None, &[]);
        let after = lending(PoolMode::Always, Some("10.244.1.5"), &[]);
        let seen = wished(Backend::Bgp, &[before, after.clone()], &["10.244.1.5/32"]);
        assert_eq!(seen, [[false], [true]]);
        let mut ways = Ways::new(Backend::Bgp, HOLD, &after);
        let mut dataplane = Dataplane::new(crate::dataplane::Settings::default());
        ways.apply(Instant::from_secs(1), &mut dataplane);
        assert!(ways.is_settled_by_records("10.244.1.5/32".parse().unwrap()));
        assert!(!ways.is_settled_by_records("10.244.1.6/32".parse().unwrap()));
    }

    #[test]
    fn a_block_whose_pool_is_gone_keeps_its_way_and_hinders_no_other() {
        let pool = |cidr: &str, ipip_mode| Pool {
            name: cidr.to_owned(),
            cidr: cidr.parse().unwrap(),
            ipip_mode,
            vxlan_mode: Never,
            nat_outgoing: false,
            disabled: false,
            disable_bgp_export: false,
        };
        let intent = |pools: Vec<Pool>, more: &[&str]| {
            let node = |number: u8| Node {
                ipv4_address: format!("10.0.0.{number}/24").parse().ok(),
                blocks: vec![format!("10.244.{number}.0/26").parse().unwrap()],
                ..Node::named(format!("n{number}"))
            };
            let mut nodes = vec![node(1), node(2)];
            nodes[1]
                .blocks
                .extend(more.iter().map(|block| block.parse::<Prefix>().unwrap()));
            let intent = Intent {
                pools,
                nodes,
                ..Intent::default()
            };
            plan(&intent, "n1").unwrap()
        };
        use PoolMode::{Always, Never};
        let now = Instant::from_secs(100);
        for (mode, other) in [
            (Always, Never),
            (Never, Always),
            (Always, Always),
            (Never, Never),
        ] {
            let before = intent(vec![pool("10.244.0.0/16", mode)], &[]);
            // The pool goes, and another has a block, in one change.
            let after = intent(vec![pool("10.99.0.0/16", other)], &["10.99.2.0/26"]);
            let mut ways = Ways::new(Backend::Bgp, HOLD, &before);
            let (was, tunnels) = (way(&ways), ways.tunnels().len());
            ways.replan(now, &after);
            let later = now + HOLD;
            ways.switch(later);
            assert_eq!(way(&ways), was, "{mode:?}, {other:?}");
            let next = ways.choose("10.99.2.0/26".parse().unwrap(), "10.0.0.2".parse().unwrap());
            assert_eq!(matches!(next.way, Way::Ipip(_)), other == Always);
            assert!(ways.tunnels().len() >= tunnels, "its device stays");
            // The same once more, and another change, forget nothing.
            ways.replan(later, &after);
            ways.replan(later, &intent(vec![pool("10.99.0.0/16", other)], &[]));
            assert_eq!(way(&ways), was);
            // A node that begins now can't know it, unless there is but one way.
            let fresh = Ways::new(Backend::Bgp, HOLD, &after);
            match other {
                Never => assert!(matches!(way(&fresh), Way::Native(_))),
                _ => assert_eq!(way(&fresh), Way::Unreachable),
            }
            // The pool comes back.
            ways.replan(later, &before);
            ways.switch(later + HOLD);
            assert_eq!(way(&ways), was);
        }
    }
}
