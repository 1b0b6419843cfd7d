//! How packets of this host itself leave, by foreign routes: for the choice of its own address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::KernelView;
use super::lookup::MAX_DEPTH;
use crate::dataplane::input::{Address, Link};
use crate::net::{Family, Prefix};

/// The way of a packet of this host itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// The link that it leaves by.
    pub link: u32,
    /// The neighbour that it goes to, unless that is its destination.
    pub gateway: Option<IpAddr>,
    /// The source address that the route prescribes.
    pub source: Option<IpAddr>,
}

impl KernelView {
    /// The link that the default route with the lowest metric leaves by, of those that can be used.
    pub fn default_link(&self, family: Family) -> Option<u32> {
        let everything = match family {
            Family::Ipv4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Family::Ipv6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let routes = self.state.foreign.get(Prefix::new(everything, 0)).iter();
        let hops = routes.flat_map(|route| self.hops(&route.shape).into_owned());
        hops.filter_map(|hop| hop.interface)
            .find(|index| self.link_by_index(*index).is_some_and(Link::usable))
    }

    /// Whether a foreign route to the subnet of `address` has it as its source: the kernel's own
    /// route has, if it is the first address in there.
    pub fn is_source_of_its_subnet(&self, address: Address) -> bool {
        let routes = self
            .state
            .foreign
            .get(Prefix::new(address.address, address.len));
        routes.iter().any(|route| {
            route.shape.preferred_source == Some(address.address)
                && route.shape.uses(address.interface)
        })
    }

    /// Whether the subnet of an address on this link is in the table, and not only in another one.
    pub(in crate::dataplane) fn has_subnet_on(&self, interface: u32) -> bool {
        let mut own = self.addresses().filter(|own| own.interface == interface);
        own.any(|own| {
            let routes = self.state.foreign.get(Prefix::new(own.address, own.len));
            routes.iter().any(|route| route.shape.uses(interface))
        })
    }

    /// The links by which packets of this host leave for `address`, each with the largest packet that
    /// the route lets through, if it says.
    pub(in crate::dataplane) fn links_toward(&self, address: IpAddr) -> Vec<(u32, Option<u32>)> {
        let mut links = Vec::new();
        self.add_links(address, None, 0, &mut links);
        links
    }

    fn add_links(
        &self,
        address: IpAddr,
        limit: Option<u32>,
        depth: u8,
        links: &mut Vec<(u32, Option<u32>)>,
    ) {
        let Some((_, group)) = self.state.foreign.longest(address) else {
            return;
        };
        let Some(best) = group.first().map(|route| route.metric) else {
            return;
        };
        for route in group.iter().take_while(|route| route.metric == best) {
            let limit = limit.into_iter().chain(route.shape.mtu).min();
            for hop in &*self.hops(&route.shape) {
                match (hop.interface, hop.via) {
                    (Some(link), _) if self.link_by_index(link).is_some_and(|link| link.up) => {
                        links.push((link, limit));
                    }
                    (None, Some(via)) if depth < MAX_DEPTH => {
                        self.add_links(via, limit, depth + 1, links);
                    }
                    _ => {}
                }
            }
        }
    }

    /// How a packet of this host leaves for `address`, by foreign routes.
    pub fn way_to(&self, address: IpAddr) -> Option<Way> {
        self.way(address, 0)
    }

    fn way(&self, address: IpAddr, depth: u8) -> Option<Way> {
        let (_, group) = self.state.foreign.longest(address)?;
        let best = group.first()?.metric;
        let routes = group.iter().take_while(|route| route.metric == best);
        let hops = routes.flat_map(|route| {
            let source = route.shape.preferred_source;
            let hops = self.hops(&route.shape).into_owned();
            hops.into_iter().map(move |hop| (hop, source))
        });
        let ways = hops.filter_map(|(hop, source)| match (hop.interface, hop.via) {
            (Some(link), gateway) => self
                .link_by_index(link)
                .filter(|link| link.up)
                .map(|_| Way {
                    link,
                    gateway,
                    source,
                }),
            (None, Some(via)) if depth < MAX_DEPTH => {
                let way = self.way(via, depth + 1)?;
                Some(Way {
                    source: source.or(way.source),
                    ..way
                })
            }
            (None, _) => None,
        });
        ways.into_iter().next()
    }
}
