//! A kernel that fails, forgets to tell, and has other users.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use super::super::tunnels::MARK;
use super::super::*;
use crate::net::{Family, Mac, Prefix};

/// What the kernel has one neighbour or FDB entry for.
pub(super) type Entry = (u32, Option<IpAddr>, Option<Mac>);

/// One route a key, links, and two streams of messages that overtake each other.
#[derive(Default)]
pub(super) struct FakeKernel {
    pub(super) links: BTreeMap<u32, Link>,
    pub(super) routes: BTreeMap<(Prefix, u32), KernelRoute>,
    pub(super) asked: VecDeque<Op>,
    pub(super) results: VecDeque<KernelInput>,
    pub(super) news: VecDeque<KernelInput>,
    pub(super) fail: VecDeque<Errno>,
    /// Keys at which a route of ours stood once: a foreign one there came after us.
    pub(super) once_ours: BTreeSet<(Prefix, u32)>,
    pub(super) writes: usize,
    pub(super) addresses: BTreeSet<Address>,
    /// By link and what it is about; whether it is permanent.
    pub(super) neighbours: BTreeMap<Entry, (Neighbour, bool)>,
    /// Kinds for which there is no driver.
    pub(super) lacking: BTreeSet<&'static str>,
    /// The ipip driver is not loaded: to ask for it makes `tunl0`.
    pub(super) lazy_ipip: bool,
    /// Whether notes are taken while a link is made.
    pub(super) notes_late: bool,
    /// Only links that are down get another name, as before Linux 6.2.
    pub(super) names_down: bool,
    /// Whether operations on links, addresses and FDB entries are told of.
    pub(super) echoes: bool,
    pub(super) last_index: u32,
    pub(super) tuned: Vec<Sysctl>,
    /// `/proc/sys` is read-only, and these settings are not right.
    pub(super) untunable: BTreeSet<Sysctl>,
    /// Routes that are always refused.
    pub(super) refuses: BTreeMap<Prefix, Errno>,
    pub(super) dumps: usize,
    pub(super) offloaded: Vec<Box<str>>,
    /// What foreigners took away, so that a route may be written without it for a moment.
    pub(super) robbed: BTreeSet<u32>,
    /// Links that were made for us.
    made: BTreeSet<u32>,
    /// Links that had an address once.
    pub(super) addressed: BTreeSet<u32>,
}

impl FakeKernel {
    pub(super) fn tell(&mut self, change: Change) {
        self.news.push_back(KernelInput::Changed(change));
    }

    pub(super) fn link_up(&mut self, index: u32, name: &str, subnet: &str) {
        let link = Link::named(index, name);
        self.links.insert(index, link.clone());
        self.tell(Change::Link(Box::new(link)));
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
            self.addresses.retain(|own| own.interface != index);
            self.neighbours.retain(|key, _| key.0 != index);
            self.tell(Change::LinkGone { index });
            let over = |link: &Link| matches!(link.device, Some(Device::Vxlan { parent, .. }) if parent == Some(index));
            let over: Vec<u32> = self
                .links
                .values()
                .filter(|l| over(l))
                .map(|l| l.index)
                .collect();
            for upper in over {
                self.link_down(upper, true);
            }
        } else {
            link.up = false;
            self.links.insert(index, link.clone());
            self.tell(Change::Link(Box::new(link)));
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
                self.dumps += 1;
                let links = self.links.values().cloned().map(Box::new).map(Change::Link);
                let addresses = self.addresses.iter().copied().map(Change::Address);
                let neighbours = self.neighbours.values();
                let neighbours = neighbours.map(|(neighbour, permanent)| Change::Neighbour {
                    neighbour: *neighbour,
                    permanent: *permanent,
                });
                let routes = self.routes.values().cloned();
                let routes = routes.map(|route| Change::Route {
                    route,
                    replaced: false,
                });
                self.results.extend(
                    links
                        .chain(addresses)
                        .chain(neighbours)
                        .chain(routes)
                        .map(KernelInput::Dumped),
                );
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
                    !foreign || self.once_ours.contains(&(route.prefix, route.metric)),
                    "foreign: {route}"
                );
                self.write(route)?;
            }
            Action::Delete(route) => {
                let key = self.deletes(&route).ok_or(Errno::ESRCH)?;
                self.routes.remove(&key);
            }
            other => self.run_device(other)?,
        }
        self.writes += 1;
        Ok(())
    }

    /// What a deletion hits: the best route that matches, and to IPv4 the metric 0 matches any.
    fn deletes(&self, asked: &KernelRoute) -> Option<(Prefix, u32)> {
        let any_metric = asked.metric == 0 && asked.prefix.family() == Family::Ipv4;
        let matches = |(key, stands): &(&(Prefix, u32), &KernelRoute)| {
            let kind = asked.shape.kind;
            let metric = any_metric || key.1 == asked.metric;
            let kind = kind == RouteKind::Other(0) || kind == stands.shape.kind;
            key.0 == asked.prefix && metric && kind && stands.protocol == asked.protocol
        };
        self.routes.iter().find(matches).map(|(key, _)| *key)
    }

    /// Links and what is on them.
    fn run_device(&mut self, action: Action) -> Result<(), Errno> {
        match action {
            Action::AddLink(spec) => self.add_link(&spec)?,
            Action::SetLink { index, setting } => self.set_link(index, setting)?,
            Action::DeleteLink { index } => {
                let link = self.links.get(&index).ok_or(Errno::ENODEV)?;
                let ours = link.alias.as_deref() == Some(MARK) || self.made.contains(&index);
                assert!(ours, "deletes a device of others: {link:?}");
                assert!(!is_fallback(link), "tunl0 can't be deleted");
                self.quietly(|kernel| kernel.link_down(index, true));
            }
            Action::AddAddress(address) => {
                self.link_of(address.interface)?;
                if !self.addresses.insert(address) {
                    return Err(Errno::EEXIST);
                }
                self.addressed.insert(address.interface);
                self.echo(Change::Address(address));
            }
            Action::DeleteAddress(address) => {
                self.link_of(address.interface)?;
                if !self.addresses.remove(&address) {
                    return Err(Errno(99));
                }
                self.address_lost(address);
                self.echo(Change::AddressGone(address));
            }
            Action::SetNeighbour(neighbour) => {
                self.link_of(neighbour.interface())?;
                self.neighbours.insert(entry(neighbour), (neighbour, true));
                if matches!(neighbour, Neighbour::Forward { .. }) {
                    self.echo(Change::Neighbour {
                        neighbour,
                        permanent: true,
                    });
                }
            }
            Action::DeleteNeighbour(neighbour) => {
                self.link_of(neighbour.interface())?;
                let gone = self.neighbours.remove(&entry(neighbour));
                gone.ok_or(Errno::ENOENT)?;
                if matches!(neighbour, Neighbour::Forward { .. }) {
                    self.echo(Change::NeighbourGone(neighbour));
                }
            }
            Action::Tune(sysctl) => {
                self.tuned.push(sysctl.clone());
                if self.untunable.contains(&sysctl) {
                    return Err(Errno::EROFS);
                }
            }
            Action::Offload { link, on } => {
                assert!(!on);
                self.offloaded.push(link);
            }
            Action::Dump | Action::Add(_) | Action::Replace(_) | Action::Delete(_) => {}
        }
        Ok(())
    }

    pub(super) fn write(&mut self, route: KernelRoute) -> Result<(), Errno> {
        if let Some(errno) = self.refuses.get(&route.prefix) {
            return Err(*errno);
        }
        let up = |hop: &Hop| {
            hop.interface
                .is_some_and(|i| self.links.get(&i).is_some_and(|l| l.up))
        };
        if !route.shape.hops.iter().all(up) {
            return Err(Errno::ENETUNREACH);
        }
        for hop in route.shape.hops.iter().filter(|hop| hop.onlink) {
            self.check_tunnel(&route, hop);
        }
        self.once_ours.insert((route.prefix, route.metric));
        self.routes.insert((route.prefix, route.metric), route);
        Ok(())
    }

    /// Nobody may be sent into a tunnel that lacks what its packets need.
    fn check_tunnel(&self, route: &KernelRoute, hop: &Hop) {
        let Hop { via, interface, .. } = *hop;
        let (index, via) = (interface.unwrap(), via.unwrap());
        let link = &self.links[&index];
        assert!(self.addressed.contains(&index), "no address: {route}");
        let loose = Sysctl::LooseReversePath(link.name.clone());
        assert!(
            // IPv6 has no reverse path filter, whatever somebody has called the device.
            self.tuned.contains(&loose) || matches!(link.device, Some(Device::Ip6tnl { .. })),
            "not tuned: {route}"
        );
        if !matches!(link.device, Some(Device::Vxlan { .. })) || self.robbed.contains(&index) {
            return;
        }
        assert!(self.offloaded.contains(&link.name), "{route}");
        let Some((Neighbour::Address { mac, .. }, true)) =
            self.neighbours.get(&(index, Some(via), None))
        else {
            panic!("no neighbour: {route}");
        };
        let forward = self.neighbours.get(&(index, None, Some(*mac)));
        assert!(forward.is_some(), "no FDB entry: {route}");
    }

    fn link_of(&mut self, index: u32) -> Result<&mut Link, Errno> {
        self.links.get_mut(&index).ok_or(Errno::ENODEV)
    }

    fn echo(&mut self, change: Change) {
        if self.echoes {
            self.tell(change);
        }
    }

    /// Does something of which the kernel tells only if it echoes.
    fn quietly(&mut self, act: impl FnOnce(&mut Self)) {
        let before = self.news.len();
        act(self);
        if !self.echoes {
            self.news.truncate(before);
        }
    }

    pub(super) fn link_named(&self, name: &str) -> Option<&Link> {
        self.links.values().find(|link| &*link.name == name)
    }

    fn add_link(&mut self, spec: &LinkSpec) -> Result<(), Errno> {
        if self.lacking.contains(spec.device.kind()) {
            return Err(Errno(95));
        }
        if core::mem::take(&mut self.lazy_ipip) && spec.device.kind() == "ipip" {
            self.make_fallback();
        }
        if self.link_named(&spec.name).is_some() {
            return Err(Errno::EEXIST);
        }
        if let Device::Vxlan {
            parent: Some(parent),
            ..
        } = spec.device
        {
            self.link_of(parent)?;
        }
        let link = Link {
            mtu: spec.mtu,
            mac: spec.mac,
            alias: (!self.notes_late).then(|| spec.alias.clone()),
            device: Some(spec.device.clone()),
            ..Link::named(self.fresh_index(), &spec.name)
        };
        self.made.insert(link.index);
        self.links.insert(link.index, link.clone());
        self.echo(Change::Link(Box::new(link)));
        Ok(())
    }

    /// Loading the ipip driver makes it.
    pub(super) fn make_fallback(&mut self) {
        let link = Link {
            up: false,
            mtu: 1480,
            device: Some(Device::Ipip {
                local: None,
                remote: None,
            }),
            ..Link::named(self.fresh_index(), "tunl0")
        };
        self.links.insert(link.index, link.clone());
        self.tell(Change::Link(Box::new(link)));
    }

    fn fresh_index(&mut self) -> u32 {
        self.last_index = self.last_index.max(100) + 1;
        self.last_index
    }

    fn set_link(&mut self, index: u32, setting: LinkSetting) -> Result<(), Errno> {
        let link = self.link_of(index)?;
        if let LinkSetting::Name(name) = &setting {
            if link.up && self.names_down {
                return Err(Errno::EBUSY);
            }
            if self.link_named(name).is_some() {
                return Err(Errno::EEXIST);
            }
        }
        let link = self.link_of(index)?;
        if setting == LinkSetting::Down {
            self.quietly(|kernel| kernel.link_down(index, false));
            return Ok(());
        }
        match setting {
            LinkSetting::Alias(alias) => link.alias = (!alias.is_empty()).then_some(alias),
            other => {
                let ours = link.alias.as_deref() == Some(MARK);
                assert!(ours, "changes a device of others: {link:?}, {other:?}");
                match other {
                    LinkSetting::Up => link.up = true,
                    LinkSetting::Name(name) => link.name = name,
                    LinkSetting::Mtu(mtu) => link.mtu = mtu,
                    LinkSetting::Mac(mac) => link.mac = Some(mac),
                    LinkSetting::Down | LinkSetting::Alias(_) => {}
                }
            }
        }
        let link = link.clone();
        self.echo(Change::Link(Box::new(link)));
        Ok(())
    }

    /// What was set for a link stays with it.
    fn renamed(&mut self, from: &str, to: &str) {
        let (from, to): (Box<str>, Box<str>) = (from.into(), to.into());
        if self.offloaded.contains(&from) {
            self.offloaded.push(to.clone());
        }
        if self.tuned.contains(&Sysctl::LooseReversePath(from)) {
            self.tuned.push(Sysctl::LooseReversePath(to));
        }
    }

    /// The kernel drops the IPv4 routes over a link without an address.
    fn address_lost(&mut self, gone: Address) {
        let left = |own: &Address| own.interface == gone.interface && own.address.is_ipv4();
        if gone.address.is_ipv4() && !self.addresses.iter().any(left) {
            let over = |hop: &Hop| hop.interface == Some(gone.interface);
            self.routes.retain(|(prefix, _), route| {
                prefix.family() == Family::Ipv6
                    || route.shape.hops.is_empty()
                    || !route.shape.hops.iter().all(over)
            });
        }
    }

    /// Somebody else changes a link in place.
    pub(super) fn foreign_link(&mut self, name: &str, change: impl FnOnce(&mut Link)) {
        let Some(link) = self.links.values_mut().find(|link| &*link.name == name) else {
            return;
        };
        change(link);
        let link = link.clone();
        self.renamed(name, &link.name);
        self.tell(Change::Link(Box::new(link)));
    }

    pub(super) fn foreign_address(&mut self, address: Address, add: bool) {
        if !self.links.contains_key(&address.interface) {
            return;
        }
        if add && self.addresses.insert(address) {
            self.tell(Change::Address(address));
        } else if !add && self.addresses.remove(&address) {
            self.robbed.insert(address.interface);
            self.address_lost(address);
            self.tell(Change::AddressGone(address));
        }
    }

    pub(super) fn foreign_neighbour(&mut self, neighbour: Neighbour, permanent: bool) {
        if self.links.contains_key(&neighbour.interface()) {
            self.robbed.insert(neighbour.interface());
            self.neighbours
                .insert(entry(neighbour), (neighbour, permanent));
            self.tell(Change::Neighbour {
                neighbour,
                permanent,
            });
        }
    }

    pub(super) fn foreign_forgets(&mut self, key: Entry) {
        if let Some((neighbour, _)) = self.neighbours.remove(&key) {
            self.robbed.insert(key.0);
            self.tell(Change::NeighbourGone(neighbour));
        }
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

pub(super) fn entry(neighbour: Neighbour) -> Entry {
    match neighbour {
        Neighbour::Address {
            interface, address, ..
        } => (interface, Some(address), None),
        Neighbour::Forward { interface, mac, .. } => (interface, None, Some(mac)),
    }
}

fn is_fallback(link: &Link) -> bool {
    &*link.name == "tunl0"
}

pub(super) fn route(prefix: Prefix, protocol: u8, shape: Shape) -> KernelRoute {
    let metric = Ownership::default().metric(prefix, Rank::of(shape.kind));
    KernelRoute {
        prefix,
        table: 254,
        metric,
        protocol,
        shape: Arc::new(shape),
    }
}
