//! What a former process's routes lead over, for whoever waits for the peers that they came from.
//!
//! Nothing here changes anything. What always holds: a route counts as a former process's until this one
//! has wanted something for its prefix.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use super::super::next_hop::{Forwarding, Resolution};
use super::super::report::RouteState;
use super::super::route::Shape;
use super::Dataplane;
use crate::net::Prefix;

/// One way out that routes of a former process have.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FormerWay {
    /// The neighbour that the packets go to.
    pub via: Option<IpAddr>,
    /// The link, by name.
    pub link: Arc<str>,
}

impl Dataplane {
    /// The ways of the routes that a former process left and nobody has confirmed: one pass over the table.
    pub fn former_ways(&self) -> BTreeSet<FormerWay> {
        let hops = self.reconciler.former_hops().into_iter();
        let named = hops.filter_map(|(via, interface)| {
            let link = Arc::from(&*self.view.link_by_index(interface)?.name);
            Some(FormerWay { via, link })
        });
        named.collect()
    }

    /// The neighbours through which the kernel reaches anything of `range`, by routes of ours, too: one
    /// pass over both tables.
    pub fn gateways_into(&self, range: Prefix) -> BTreeSet<IpAddr> {
        let mut gateways = self.view.gateways_into(range);
        gateways.extend(self.reconciler.gateways_into(range));
        gateways
    }

    /// Whether a former process left just the route that `forwarding` would make.
    pub fn was_left(&self, prefix: Prefix, forwarding: &Forwarding) -> bool {
        if self.state(prefix) != Some(RouteState::Stale) {
            return false;
        }
        let hops = match forwarding {
            Forwarding::Blackhole => {
                return self
                    .installed(prefix)
                    .is_some_and(|left| **left == Shape::blackhole());
            }
            Forwarding::Via(next_hops) => {
                next_hops
                    .iter()
                    .flat_map(|next_hop| match self.resolve(next_hop) {
                        Resolution::Reachable { hops, .. } => hops.to_vec(),
                        Resolution::Unreachable(_) => Vec::new(),
                    })
            }
        };
        let shape = self.limited(Shape::unicast(hops));
        self.installed(prefix).is_some_and(|left| **left == shape)
    }
}
