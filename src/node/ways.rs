//! From best paths, or from the datastore alone, to what the dataplane is to do.
//!
//! Not the choice itself, which is `forwarding`'s, and not the kernel, which is `dataplane`'s: this
//! asks the one about every next hop and tells the other. What always holds:
//!
//! - an own block is a blackhole, since its pods have more specific routes; a single own address has
//!   none of ours, since its pod's route has that very prefix;
//! - tunnels are asked for before the routes that lead through them;
//! - without BGP every wish comes from the datastore, and a new reading changes only what differs.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::dataplane::{Dataplane, Forwarding};
use crate::forwarding::{Choice, Chooser};
use crate::net::Prefix;
use crate::rib::ForwardingPath;
use crate::time::Instant;
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
    chooser: Chooser,
    own_blocks: Vec<Prefix>,
    /// What was wanted by the datastore.
    wanted: BTreeMap<Prefix, Forwarding>,
}

impl Ways {
    pub(super) fn new(backend: Backend, plan: &Plan) -> Self {
        Self {
            backend,
            chooser: Chooser::new(plan.fabric.clone(), &plan.name),
            own_blocks: plan.own_blocks.clone(),
            wanted: BTreeMap::new(),
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
    pub(super) fn replan(&mut self, plan: &Plan) -> bool {
        self.own_blocks.clone_from(&plan.own_blocks);
        if *self.chooser.fabric() == *plan.fabric && self.chooser.me().name == plan.name {
            return false;
        }
        self.chooser = Chooser::new(plan.fabric.clone(), &plan.name);
        true
    }

    /// Wants the tunnels, and without BGP the routes.
    pub(super) fn apply(&mut self, now: Instant, dataplane: &mut Dataplane) {
        let pools = self.chooser.fabric().pools.iter();
        dataplane.set_pools(pools.map(|pool| pool.cidr).collect());
        dataplane.set_tunnels(now, self.chooser.tunnels());
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
