//! From best paths, or from the datastore alone, to what the dataplane is to do.
//!
//! Not the choice itself, which is `forwarding`'s, and not the kernel, which is `dataplane`'s: this
//! asks the one about every next hop and tells the other. What always holds:
//!
//! - an own block is a blackhole, since its pods have more specific routes; a single own address has
//!   none of ours, since its pod's route has that very prefix;
//! - tunnels are asked for before the routes that lead through them;
//! - a change of mode waits [`SWITCH_HOLD`]: this node's devices are there at once, but it sends by the
//!   new way only when the other nodes have had time to make theirs. What is new beside the mode (nodes,
//!   blocks, pools) is not held;
//! - without BGP every wish comes from the datastore, and a new reading changes only what differs.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::dataplane::{Dataplane, Forwarding, Tunnel};
use crate::forwarding::{Choice, Chooser};
use crate::net::Prefix;
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

/// How long packets of a pool go on by the former way after its mode changed: the time in which all
/// nodes are told.
pub const SWITCH_HOLD: Duration = Duration::from_secs(5);

/// The choices in force.
#[derive(Debug)]
pub(super) struct Ways {
    backend: Backend,
    chooser: Chooser,
    /// Choices by new modes, and when they come into force.
    next: Option<(Chooser, Instant)>,
    own_blocks: Vec<Prefix>,
    /// What was wanted by the datastore.
    wanted: BTreeMap<Prefix, Forwarding>,
}

impl Ways {
    pub(super) fn new(backend: Backend, plan: &Plan) -> Self {
        Self {
            backend,
            chooser: Chooser::new(plan.fabric.clone(), &plan.name),
            next: None,
            own_blocks: plan.own_blocks.clone(),
            wanted: BTreeMap::new(),
        }
    }

    /// When [`switch`](Self::switch) is due.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.next.as_ref().map(|(_, due)| *due)
    }

    /// Brings new modes into force if it is time; whether it was.
    pub(super) fn switch(&mut self, now: Instant) -> bool {
        match self.next.take_if(|(_, due)| *due <= now) {
            Some((chooser, _)) => {
                self.chooser = chooser;
                true
            }
            None => false,
        }
    }

    pub(super) const fn backend(&self) -> Backend {
        self.backend
    }

    pub(super) const fn chooser(&self) -> &Chooser {
        &self.chooser
    }

    /// The plan that the speaker carries out: all of it, or nothing that talks.
    pub(super) fn spoken(&self, plan: Plan) -> Plan {
        match self.backend {
            Backend::Bgp => plan,
            Backend::Vxlan | Backend::None => Plan {
                peers: Vec::new(),
                originate: Vec::new(),
                ..plan
            },
        }
    }

    /// Takes over a new plan; whether next hops may have another way now.
    pub(super) fn replan(&mut self, now: Instant, plan: &Plan) -> bool {
        self.own_blocks.clone_from(&plan.own_blocks);
        let fabric = &plan.fabric;
        let latest = self.next.as_ref().map_or(&self.chooser, |(next, _)| next);
        if *latest.fabric() == **fabric && latest.me().name == plan.name {
            return false;
        }
        let held = fabric.with_modes_of(self.chooser.fabric());
        if held == **fabric {
            self.next = None;
        } else {
            let due = match self.next {
                Some((_, due)) => due,
                None => now + SWITCH_HOLD,
            };
            self.next = Some((Chooser::new(fabric.clone(), &plan.name), due));
        }
        self.chooser = Chooser::new(Arc::new(held), &plan.name);
        true
    }

    /// Wants the tunnels, and without BGP the routes.
    pub(super) fn apply(&mut self, now: Instant, dataplane: &mut Dataplane) {
        let pools = self.chooser.fabric().pools.iter();
        dataplane.set_pools(pools.map(|pool| pool.cidr).collect());
        dataplane.set_tunnels(now, self.tunnels());
        if self.backend != Backend::Vxlan {
            return;
        }
        let own = self.own_blocks.iter().filter(|block| !block.is_host());
        let mut wanted: BTreeMap<Prefix, Forwarding> =
            own.map(|block| (*block, Forwarding::Blackhole)).collect();
        for (block, choice) in self.chooser.routes() {
            wanted.entry(block).or_insert_with(|| via([choice]));
        }
        for (prefix, forwarding) in &wanted {
            if self.wanted.get(prefix) != Some(forwarding) {
                dataplane.want(*prefix, forwarding.clone());
            }
        }
        for prefix in self
            .wanted
            .keys()
            .filter(|prefix| !wanted.contains_key(prefix))
        {
            dataplane.unwant(*prefix);
        }
        self.wanted = wanted;
    }

    /// The devices that choices in force use, and those that the next ones will.
    fn tunnels(&self) -> Vec<Tunnel> {
        let mut tunnels = self.chooser.tunnels();
        if let Some((next, _)) = &self.next {
            for tunnel in next.tunnels() {
                match tunnels.iter_mut().find(|known| known.name == tunnel.name) {
                    Some(known) => *known = tunnel,
                    None => tunnels.push(tunnel),
                }
            }
        }
        tunnels
    }

    /// What best paths mean: none is an own address that has a pod's route.
    pub(super) fn forwarding(
        &self,
        prefix: Prefix,
        paths: &[ForwardingPath],
    ) -> Option<Forwarding> {
        if paths.iter().any(|path| path.peer.is_local()) {
            return (!prefix.is_host()).then_some(Forwarding::Blackhole);
        }
        let hops = paths.iter().filter_map(|path| path.next_hop);
        Some(via(hops.map(|hop| self.choose(prefix, hop.address))))
    }

    pub(super) fn choose(&self, prefix: Prefix, next_hop: IpAddr) -> Choice {
        self.chooser.choose(prefix, next_hop)
    }
}

fn via(choices: impl IntoIterator<Item = Choice>) -> Forwarding {
    let hops = choices.into_iter();
    Forwarding::Via(
        hops.filter_map(|choice| choice.way.next_hop().cloned())
            .collect(),
    )
}
