//! When each pool's mode comes into force: the nodes of a cluster are told of a change at different times.
//!
//! Not the ways themselves. What always holds:
//!
//! - a change of one pool's mode waits for itself: another pool's neither hastens nor delays it;
//! - a block whose pool is gone keeps the mode that it had, as long as it is on record;
//! - what is read again is no change, and one that is taken back is forgotten;
//! - a process that starts takes what the kernel's routes do for the mode in force: if the records say
//!   another one, the change was under way (or came meanwhile), and waits from the start on.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::dataplane::{Dataplane, Travel};
use crate::forwarding::Chooser;
use crate::net::Prefix;
use crate::time::{Duration, Instant};
use crate::topology::{Encapsulation, Fabric, When};

/// All that a pool may say.
const MODES: [Encapsulation; 5] = [
    Encapsulation::None,
    Encapsulation::Ipip(When::Always),
    Encapsulation::Ipip(When::CrossSubnet),
    Encapsulation::Vxlan(When::Always),
    Encapsulation::Vxlan(When::CrossSubnet),
];

/// The choices in force, and those of the records.
#[derive(Debug)]
pub(super) struct Modes {
    delay: Duration,
    in_force: Chooser,
    /// The choices by the records, while they differ.
    next: Option<Chooser>,
    held: BTreeMap<Prefix, Held>,
}

/// A former mode of a pool.
#[derive(Debug, Clone, Copy)]
struct Held {
    mode: Encapsulation,
    until: Instant,
}

impl Modes {
    pub(super) fn new(delay: Duration, chooser: Chooser) -> Self {
        Self {
            delay,
            in_force: chooser,
            next: None,
            held: BTreeMap::new(),
        }
    }

    pub(super) const fn in_force(&self) -> &Chooser {
        &self.in_force
    }

    /// The choices that are still to come into force.
    pub(super) const fn next(&self) -> Option<&Chooser> {
        self.next.as_ref()
    }

    fn latest(&self) -> &Chooser {
        self.next.as_ref().unwrap_or(&self.in_force)
    }

    /// When [`switch`](Self::switch) is due.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.held.values().map(|held| held.until).min()
    }

    /// Takes over what the records say; whether next hops may have another way now.
    pub(super) fn replan(&mut self, now: Instant, fabric: &Arc<Fabric>, me: &str) -> bool {
        let latest = self.latest();
        let mut fabric = Arc::clone(fabric);
        if fabric.pools.iter().any(|pool| pool.leftover.is_some()) {
            Arc::make_mut(&mut fabric).remember(latest.fabric());
        }
        let fabric = &fabric;
        if *latest.fabric() == **fabric && latest.me().name == me {
            return false;
        }
        let held = fabric.pools.iter().filter_map(|pool| {
            let mode = mode(self.in_force.fabric(), pool.cidr)?;
            let known = self.held.get(&pool.cidr);
            let same = self::mode(latest.fabric(), pool.cidr) == Some(pool.encapsulation);
            let until = match known {
                Some(held) if same => held.until,
                _ => now + self.delay,
            };
            (mode != pool.encapsulation).then_some((pool.cidr, Held { mode, until }))
        });
        self.held = held.collect();
        self.hold(fabric, me);
        true
    }

    /// Brings modes into force whose time has come; the pools.
    pub(super) fn switch(&mut self, now: Instant) -> Vec<Prefix> {
        let ripe: Vec<Prefix> = self
            .held
            .iter()
            .filter(|(_, held)| held.until <= now)
            .map(|(pool, _)| *pool)
            .collect();
        for pool in &ripe {
            self.held.remove(pool);
        }
        if !ripe.is_empty() {
            self.hold_again();
        }
        ripe
    }

    /// Takes the ways of a former process's routes for the modes in force; the pools of which the records
    /// say another one.
    pub(super) fn resume(&mut self, now: Instant, dataplane: &Dataplane) -> Vec<Prefix> {
        let found = self.found(dataplane);
        for (pool, mode) in &found {
            let wanted = self::mode(self.latest().fabric(), *pool);
            if wanted.is_some_and(|wanted| wanted != *mode) {
                let until = now + self.delay;
                self.held.insert(*pool, Held { mode: *mode, until });
            } else {
                self.held.remove(pool);
            }
        }
        if !found.is_empty() {
            self.hold_again();
        }
        found.into_keys().collect()
    }

    /// The modes by which most routes in the kernel go, of pools of which that is not the one in force.
    fn found(&self, dataplane: &Dataplane) -> BTreeMap<Prefix, Encapsulation> {
        if self.in_force.fabric().pools.is_empty() {
            return BTreeMap::new();
        }
        let mut tallies: BTreeMap<Prefix, [u32; MODES.len()]> = BTreeMap::new();
        for prefix in dataplane.prefixes() {
            let known = self
                .in_force
                .pool(prefix)
                .zip(self.in_force.is_near(prefix));
            let Some((pool, near)) = known else { continue };
            let Some(travels) = dataplane.travels(prefix) else {
                continue;
            };
            let tally = tallies.entry(pool.cidr).or_default();
            for (count, mode) in tally.iter_mut().zip(MODES) {
                *count += u32::from(travel(mode, near) == travels);
            }
        }
        let mode = |(pool, tally): (Prefix, [u32; MODES.len()])| {
            let in_force = mode(self.in_force.fabric(), pool)?;
            let alike = |mode| travel(mode, false) == travel(in_force, false);
            // Of two that fit equally, the one with which least is bare that should not be.
            let best = MODES
                .into_iter()
                .zip(tally)
                .max_by_key(|(mode, count)| (*count, *mode == in_force, alike(*mode)));
            let (best, _) = best?;
            (best != in_force).then_some((pool, best))
        };
        tallies.into_iter().filter_map(mode).collect()
    }

    fn hold_again(&mut self) {
        let latest = self.latest();
        let (fabric, me) = (latest.shared_fabric(), latest.me().name.clone());
        self.hold(&fabric, &me);
    }

    /// The choices by the records, but for what is held.
    fn hold(&mut self, fabric: &Arc<Fabric>, me: &str) {
        let records = Chooser::new(Arc::clone(fabric), me);
        if self.held.is_empty() {
            (self.in_force, self.next) = (records, None);
            return;
        }
        let modes = self.held.iter().map(|(pool, held)| (*pool, held.mode));
        let held = fabric.with_modes(&modes.collect(), self.in_force.fabric());
        self.in_force = Chooser::new(Arc::new(held), me);
        self.next = Some(records);
    }
}

fn mode(fabric: &Fabric, pool: Prefix) -> Option<Encapsulation> {
    let place = fabric.pools.binary_search_by_key(&pool, |other| other.cidr);
    Some(fabric.pools.get(place.ok()?)?.encapsulation)
}

/// How packets to a node travel by a mode.
const fn travel(mode: Encapsulation, near: bool) -> Travel {
    match (mode, near) {
        (Encapsulation::None, _)
        | (
            Encapsulation::Ipip(When::CrossSubnet) | Encapsulation::Vxlan(When::CrossSubnet),
            true,
        ) => Travel::Bare,
        (Encapsulation::Ipip(_), _) => Travel::Ipip,
        (Encapsulation::Vxlan(_), _) => Travel::Vxlan,
    }
}

#[cfg(test)]
mod tests {
    use super::super::ways::{Backend, Ways};
    use super::*;
    use crate::dataplane::{
        Change, Device, Hop, KernelInput, KernelRoute, Link, Ownership, Rank, Settings, Shape,
    };
    use crate::forwarding::Way;
    use crate::topology::{Intent, Node, Plan, Pool, PoolMode, plan};

    const DELAY: Duration = Duration::from_secs(5);
    const NOW: Instant = Instant::from_secs(100);
    /// Places in [`kernel`].
    const TUNNELS: [(&str, u32); 3] = [("eth0", 2), ("tunl0", 7), ("vxlan.calico", 8)];

    /// n1, with n2 to n4 on its subnet and n5 to n7 elsewhere; two blocks each, one a pool.
    fn records(ipip_mode: PoolMode, vxlan_mode: PoolMode) -> Plan {
        let mut intent = Intent::default();
        for (cidr, ipip_mode, vxlan_mode) in [
            ("10.1.0.0/16", ipip_mode, vxlan_mode),
            ("10.2.0.0/16", PoolMode::Never, PoolMode::Never),
        ] {
            intent.pools.push(Pool {
                name: cidr.to_owned(),
                cidr: cidr.parse().unwrap(),
                ipip_mode,
                vxlan_mode,
                nat_outgoing: false,
                disabled: false,
                disable_bgp_export: false,
            });
        }
        for n in 1..8_u8 {
            let net = u8::from(n > 4);
            let block = |pool: u8| format!("10.{pool}.{n}.0/26").parse().unwrap();
            intent.nodes.push(Node {
                ipv4_address: format!("10.0.{net}.{n}/24").parse().ok(),
                blocks: vec![block(1), block(2)],
                ..Node::named(format!("n{n}"))
            });
        }
        plan(&intent, "n1").unwrap()
    }

    /// A kernel in which a former process has left routes to the blocks of the first pool by these devices
    /// (0 is none), and all of the second one bare.
    fn kernel(devices: [u32; 6]) -> Dataplane {
        let mut dataplane = Dataplane::new(Settings::default());
        let [op] = dataplane.poll_ops(16).try_into().unwrap();
        let mut rows = Vec::new();
        for (name, index) in TUNNELS {
            let device = match index {
                7 => Some(Device::Ipip {
                    local: None,
                    remote: None,
                }),
                8 => Some(Device::Vxlan {
                    vni: 4096,
                    port: 4789,
                    local: None,
                    parent: None,
                    learning: false,
                    external: false,
                }),
                _ => None,
            };
            let link = Link {
                device,
                ..Link::named(index, name)
            };
            rows.push(Change::Link(Box::new(link)));
        }
        for (n, device) in (2..8_u8).zip(devices) {
            for (pool, device) in [(1, device), (2, 2)] {
                if device == 0 {
                    continue;
                }
                let hop = Hop {
                    onlink: device > 2,
                    ..Hop::new([10, 0, 0, n].into(), device)
                };
                let prefix: Prefix = format!("10.{pool}.{n}.0/26").parse().unwrap();
                let route = KernelRoute {
                    prefix,
                    table: 254,
                    metric: Ownership::default().metric(prefix, Rank::Way),
                    protocol: 179,
                    shape: Arc::new(Shape::unicast([hop])),
                };
                let replaced = false;
                rows.push(Change::Route { route, replaced });
            }
        }
        for row in rows {
            dataplane.handle(NOW, KernelInput::Dumped(row));
        }
        let result = Ok(());
        dataplane.handle(NOW, KernelInput::Done { id: op.id, result });
        assert!(dataplane.is_synced());
        dataplane
    }

    /// How blocks of the first pool travel, those of n2 and of n5.
    fn travel_of(ways: &Ways) -> [&'static str; 2] {
        [("10.1.2.0/26", "10.0.0.2"), ("10.1.5.0/26", "10.0.1.5")].map(|(block, next_hop)| {
            let choice = ways.choose(block.parse().unwrap(), next_hop.parse().unwrap());
            assert_ne!(choice.way, Way::Unreachable, "{choice:?}");
            choice.way.word()
        })
    }

    #[test]
    fn a_change_that_was_under_way_when_the_process_died_waits_from_the_start_on() {
        use PoolMode::{Always, CrossSubnet, Never};
        let (b, i, v) = (2, 7, 8);
        let (bare, ipip, vxlan) = ("native", "IP-in-IP", "VXLAN");
        let table = [
            // The records' modes (IPIP, VXLAN), what is in the kernel, what holds, what comes.
            ((Always, Never), [b; 6], [bare; 2], [ipip; 2]),
            ((Never, Always), [b; 6], [bare; 2], [vxlan; 2]),
            ((Never, Never), [i; 6], [ipip; 2], [bare; 2]),
            ((Never, Never), [v; 6], [vxlan; 2], [bare; 2]),
            ((Always, Never), [v; 6], [vxlan; 2], [ipip; 2]),
            ((Never, Always), [i; 6], [ipip; 2], [vxlan; 2]),
            ((Never, Never), [b, b, b, v, v, v], [bare, vxlan], [bare; 2]),
            ((Always, Never), [b, b, b, i, i, i], [bare, ipip], [ipip; 2]),
            ((CrossSubnet, Never), [i; 6], [ipip; 2], [bare, ipip]),
            ((Never, CrossSubnet), [b; 6], [bare; 2], [bare, vxlan]),
            // Only near ones are there: who is far is not sent bare meanwhile.
            (
                (Never, Always),
                [b, b, b, 0, 0, 0],
                [bare, vxlan],
                [vxlan; 2],
            ),
        ];
        for ((ipip_mode, vxlan_mode), devices, before, after) in table {
            let plan = records(ipip_mode, vxlan_mode);
            let mut ways = Ways::new(Backend::Bgp, DELAY, &plan);
            assert_eq!(travel_of(&ways), after);
            let dataplane = kernel(devices);
            let pools = ways.resume(NOW, &dataplane);
            assert_eq!(pools, ["10.1.0.0/16".parse().unwrap()], "{devices:?}");
            assert_eq!(travel_of(&ways), before, "{devices:?}");
            assert_eq!(ways.next_timeout(), Some(NOW + DELAY));
            // Read again: no change. The kernel is looked at once.
            assert!(!ways.replan(NOW, &plan));
            assert_eq!(ways.resume(NOW, &dataplane), []);
            assert_eq!(ways.switch(NOW + DELAY), pools);
            assert_eq!(travel_of(&ways), after, "{devices:?}");
        }
    }

    #[test]
    fn routes_that_go_as_the_records_say_or_single_ones_that_do_not_hold_nothing() {
        use PoolMode::{Always, CrossSubnet, Never};
        let table = [
            ((Always, Never), [7; 6]),
            ((Never, Always), [8; 6]),
            ((Never, CrossSubnet), [2, 2, 2, 8, 8, 8]),
            ((Never, Never), [2; 6]),
            ((Never, Never), [0; 6]),
            ((Never, Always), [0; 6]),
            // One that was never ready, or is left over.
            ((Never, Always), [2, 8, 8, 8, 8, 8]),
            ((Never, Never), [2, 2, 2, 2, 2, 7]),
        ];
        for ((ipip_mode, vxlan_mode), devices) in table {
            let plan = records(ipip_mode, vxlan_mode);
            let mut ways = Ways::new(Backend::Bgp, DELAY, &plan);
            let before = travel_of(&ways);
            assert_eq!(ways.resume(NOW, &kernel(devices)), [], "{devices:?}");
            assert_eq!(travel_of(&ways), before);
            assert_eq!(ways.next_timeout(), None);
        }
    }

    #[test]
    fn a_mode_that_came_between_the_start_and_the_look_waits_as_well() {
        use PoolMode::{Always, Never};
        let mut ways = Ways::new(Backend::Bgp, DELAY, &records(Always, Never));
        assert!(ways.replan(NOW, &records(Never, Always)));
        let later = NOW + Duration::from_secs(1);
        assert_eq!(ways.resume(later, &kernel([2; 6])).len(), 1);
        assert_eq!(travel_of(&ways), ["native"; 2]);
        assert_eq!(ways.next_timeout(), Some(later + DELAY));
        ways.switch(later + DELAY);
        assert_eq!(travel_of(&ways), ["VXLAN"; 2]);
        // And back to what the kernel has.
        let mut ways = Ways::new(Backend::Bgp, DELAY, &records(Always, Never));
        assert!(ways.replan(NOW, &records(Never, Never)));
        assert_eq!(ways.resume(later, &kernel([2; 6])).len(), 1);
        assert_eq!(travel_of(&ways), ["native"; 2]);
        assert_eq!(ways.next_timeout(), None);
    }
}
