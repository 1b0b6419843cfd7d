//! A kernel that fails, forgets to tell, and has other users.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use super::super::tunnels::MARK;
use super::super::*;
use crate::net::{Mac, Prefix};

/// One route a key, links, and two streams of messages that overtake each other.
#[derive(Default)]
pub(super) struct FakeKernel {
    pub(super) links: BTreeMap<u32, Link>,
    pub(super) routes: BTreeMap<(Prefix, u32), KernelRoute>,
    pub(super) asked: VecDeque<Op>,
    pub(super) results: VecDeque<KernelInput>,
    pub(super) news: VecDeque<KernelInput>,
    pub(super) fail: VecDeque<Errno>,
    /// Prefixes at which a route of ours stood once: a foreign one there came after us.
    pub(super) once_ours: BTreeSet<Prefix>,
    pub(super) writes: usize,
}

impl FakeKernel {
    pub(super) fn tell(&mut self, change: Change) {
        self.news.push_back(KernelInput::Changed(change));
    }

    pub(super) fn link_up(&mut self, index: u32, name: &str, subnet: &str) {
        let link = Link::named(index, name);
        self.links.insert(index, link.clone());
        self.tell(Change::Link(link));
        let hop = Hop {
            via: None,
            interface: Some(index),
            onlink: false,
            weight: 1,
        };
        let route = route(subnet.parse().unwrap(), 2, Shape::unicast([hop]));
        self.routes
            .insert((route.prefix, route.metric), route.clone());
        self.tell(Change::Route {
            route,
            replaced: false,
        });
    }

    /// Routes over the link vanish; the kernel speaks only of the link.
    pub(super) fn link_down(&mut self, index: u32, gone: bool) {
        let Some(mut link) = self.links.remove(&index) else {
            return;
        };
        let dead = |route: &KernelRoute| {
            let up = |hop: &Hop| {
                hop.interface != Some(index)
                    && hop
                        .interface
                        .is_some_and(|i| self.links.get(&i).is_some_and(|l| l.up))
            };
            !route.shape.hops.is_empty() && !route.shape.hops.iter().any(up)
        };
        self.routes.retain(|_, route| !dead(route));
        if gone {
            self.tell(Change::LinkGone { index });
        } else {
            link.up = false;
            self.links.insert(index, link.clone());
            self.tell(Change::Link(link));
        }
    }

    pub(super) fn run_one(&mut self) {
        let Some(Op { id, action }) = self.asked.pop_front() else {
            return;
        };
        let result = match self.fail.pop_front() {
            Some(errno) => Err(errno),
            None => self.run(action),
        };
        self.results.push_back(KernelInput::Done { id, result });
    }

    pub(super) fn run(&mut self, action: Action) -> Result<(), Errno> {
        match action {
            Action::Dump => {
                let links = self.links.values().cloned().map(Change::Link);
                let routes = self.routes.values().cloned();
                let routes = routes.map(|route| Change::Route {
                    route,
                    replaced: false,
                });
                self.results
                    .extend(links.chain(routes).map(KernelInput::Dumped));
                return Ok(());
            }
            Action::Add(route) => {
                if self.routes.contains_key(&(route.prefix, route.metric)) {
                    return Err(Errno::EEXIST);
                }
                self.write(route)?;
            }
            Action::Replace(route) => {
                let stands = self.routes.get(&(route.prefix, route.metric));
                let foreign = stands.is_some_and(|stands| stands.protocol != 179);
                assert!(
                    !foreign || self.once_ours.contains(&route.prefix),
                    "foreign: {route}"
                );
                self.write(route)?;
            }
            // Devices are granted and not kept.
            Action::AddLink(_)
            | Action::SetLink { .. }
            | Action::DeleteLink { .. }
            | Action::AddAddress(_)
            | Action::DeleteAddress(_)
            | Action::SetNeighbour(_)
            | Action::DeleteNeighbour(_)
            | Action::Tune(_)
            | Action::Offload { .. } => {}
            Action::Delete(route) => {
                let key = (route.prefix, route.metric);
                if self
                    .routes
                    .get(&key)
                    .is_none_or(|stands| stands.protocol != route.protocol)
                {
                    return Err(Errno::ESRCH);
                }
                self.routes.remove(&key);
            }
        }
        self.writes += 1;
        Ok(())
    }

    pub(super) fn write(&mut self, route: KernelRoute) -> Result<(), Errno> {
        let up = |hop: &Hop| {
            hop.interface
                .is_some_and(|i| self.links.get(&i).is_some_and(|l| l.up))
        };
        if !route.shape.hops.iter().all(up) {
            return Err(Errno::ENETUNREACH);
        }
        self.once_ours.insert(route.prefix);
        self.routes.insert((route.prefix, route.metric), route);
        Ok(())
    }

    pub(super) fn foreign_write(&mut self, route: KernelRoute, replace: bool) {
        let key = (route.prefix, route.metric);
        let replaced = self.routes.contains_key(&key);
        if replaced && !replace {
            return;
        }
        self.routes.insert(key, route.clone());
        self.tell(Change::Route { route, replaced });
    }

    pub(super) fn foreign_delete(&mut self, key: (Prefix, u32)) {
        if let Some(route) = self.routes.remove(&key) {
            self.tell(Change::RouteGone(route));
        }
    }
}

pub(super) fn route(prefix: Prefix, protocol: u8, shape: Shape) -> KernelRoute {
    let metric = Ownership::default().metric(prefix.family());
    KernelRoute {
        prefix,
        table: 254,
        metric,
        protocol,
        shape: Arc::new(shape),
    }
}

