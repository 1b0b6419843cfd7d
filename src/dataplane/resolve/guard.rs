//! What of the host's own network a route of ours would take away, if it were made.
//!
//! A pool may overlap the nodes' LAN, and a peer may announce a part of it. The longest prefix wins, whatever
//! its metric, so a route of ours inside a link's subnet takes addresses away from the link. That may be meant
//! (blocks of the LAN's range with proxy ARP, a moved pod, a service's address), and then nobody else is at
//! those addresses. The rule: a route of ours is not made
//!
//! - inside the subnet of a link of this host, if it holds this host's own address on that link (unless it is
//!   just that address: the local table wins anyway), a node's address, or the gateway of a default route;
//! - as a blackhole, if it holds the address of another node, wherever that is;
//! - as a host's, if it is one of those addresses: the link reaches it, and nothing is lost;
//! - at just the subnet of a link, if it leads somewhere and would win over the link's own route.
//!
//! A blackhole at just the subnet of a link is what the block of a bridge looks like, and is made: it has the
//! worst metric.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{KernelView, is_link_local};
use crate::dataplane::input::{Address, Change};
use crate::dataplane::ownership::Rank;
use crate::dataplane::report::Covered;
use crate::net::{Family, Prefix};

/// What is looked at for each route.
#[derive(Debug, Clone, Default)]
pub(super) struct Guard {
    nodes: BTreeSet<IpAddr>,
    /// The subnets of links, with the address there that is this host's.
    subnets: Vec<(Prefix, IpAddr)>,
    /// Those or the nodes are others than when it was last asked.
    pub(super) changed: bool,
}

impl KernelView {
    /// Says where the nodes are.
    pub(in crate::dataplane) fn set_nodes(&mut self, nodes: BTreeSet<IpAddr>) {
        if self.guard.nodes != nodes {
            self.guard.nodes = nodes;
            self.guard.changed = true;
            self.dirty.all = true;
        }
    }

    /// Whether [`Self::covered`] may give other answers than before; asked once.
    pub(in crate::dataplane) fn takes_guard_change(&mut self) -> bool {
        core::mem::take(&mut self.guard.changed)
    }

    /// What a route of ours to `prefix` would take away.
    pub(in crate::dataplane) fn covered(&self, prefix: Prefix, rank: Rank) -> Option<Covered> {
        let around = self.guard.subnets.iter();
        let mut around = around.filter(|(subnet, _)| subnet.covers(prefix));
        if let Some(found) = around.find_map(|(subnet, own)| {
            if *subnet == prefix {
                return self.outranks_link(prefix, rank).then_some(Covered::Subnet);
            }
            let own = (!prefix.is_host() && prefix.contains(*own)).then_some(Covered::Own(*own));
            let found = own.or_else(|| self.other_inside(prefix))?;
            Some(if prefix.is_host() {
                Covered::Subnet
            } else {
                found
            })
        }) {
            return Some(found);
        }
        if rank == Rank::Way {
            return None;
        }
        let node = self.node_inside(prefix)?;
        (!self.is_local(node)).then_some(Covered::Node(node))
    }

    fn node_inside(&self, prefix: Prefix) -> Option<IpAddr> {
        let mut nodes = self.guard.nodes.range(prefix.address()..);
        nodes.next().copied().filter(|node| prefix.contains(*node))
    }

    fn other_inside(&self, prefix: Prefix) -> Option<Covered> {
        let own = |address: IpAddr| prefix.is_host() && self.is_local(address);
        if let Some(node) = self.node_inside(prefix).filter(|node| !own(*node)) {
            return Some(Covered::Node(node));
        }
        let everything = Prefix::new(prefix.address(), 0);
        let defaults = self.state.foreign.get(everything).iter();
        let mut gateways = defaults.flat_map(|route| {
            let hops = self.hops(&route.shape);
            hops.iter().filter_map(|hop| hop.via).collect::<Vec<_>>()
        });
        let gateway = gateways.find(|gateway| prefix.contains(*gateway));
        gateway.map(Covered::Gateway)
    }

    /// Whether a route of ours would win over a link's own one to the very same subnet.
    fn outranks_link(&self, prefix: Prefix, rank: Rank) -> bool {
        let metric = self.rule.metric(prefix, rank);
        let mut links = self.state.foreign.get(prefix).iter();
        links.any(|route| {
            let direct = self.hops(&route.shape).iter().any(|hop| hop.via.is_none());
            direct && metric <= route.metric
        })
    }

    /// Whether a default route names a nexthop object, which may be any.
    fn default_by_object(&self) -> bool {
        let addresses = self.guard.subnets.iter().map(|(_, own)| *own);
        let mut defaults = addresses.map(|own| Prefix::new(own, 0));
        let named = |prefix| {
            let routes = self.state.foreign.get(prefix);
            routes.iter().any(|route| route.shape.object != 0)
        };
        defaults.any(named)
    }

    /// Takes in what may have changed of it.
    pub(super) fn guard_sees(&mut self, change: &Change) {
        let looks = match change {
            Change::Address(address) | Change::AddressGone(address) => has_subnet(address),
            Change::Route { route, .. } | Change::RouteGone(route) => {
                // A gateway, or a link's own route to its subnet.
                let subnets = &self.guard.subnets;
                let known = route.prefix.is_default()
                    || subnets.iter().any(|(subnet, _)| *subnet == route.prefix);
                self.guard.changed |= known;
                false
            }
            Change::LinkGone { .. } => true,
            Change::Link(_)
            | Change::Neighbour { .. }
            | Change::NeighbourGone(_)
            | Change::Setting(_) => false,
            Change::Object { .. } | Change::ObjectGone { .. } => {
                self.guard.changed |= self.default_by_object();
                false
            }
        };
        if looks {
            self.look_for_subnets();
        }
    }

    /// Finds the subnets of links anew.
    pub(super) fn look_for_subnets(&mut self) {
        let addresses = self.state.addresses.iter().filter(|own| has_subnet(own));
        let found: Vec<(Prefix, IpAddr)> = addresses
            .map(|own| (Prefix::new(own.address, own.len), own.address))
            .collect();
        if found != self.guard.subnets {
            self.guard.subnets = found;
            self.guard.changed = true;
            self.dirty.all = true;
        }
    }
}

fn has_subnet(own: &Address) -> bool {
    let host = match Prefix::host(own.address).family() {
        Family::Ipv4 => 32,
        Family::Ipv6 => 128,
    };
    own.len < host && !own.address.is_loopback() && !is_link_local(own.address)
}
