//! A kernel that does what it is told: one link, its connected subnets, the devices that it is asked for,
//! and a log of what was written. It fails only if a test wants it to ([`Faults`]).
//!
//! A prefix has a route for each metric, as in Linux. The log tells of prefixes, not of metrics: "add" is the
//! first route to a prefix, "delete" the end of the last one, all between is "replace".

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use dunlin::dataplane::{
    Action, Address, Change, Errno, Hop, KernelInput, KernelRoute, Link, LinkSetting, Neighbour,
    Op, Shape, Sysctl,
};
use dunlin::net::Prefix;
use dunlin::time::Instant;

/// The one link that is there from the start.
pub(crate) const UPLINK: u32 = 2;

/// Routes by prefix, and what was done to them.
#[derive(Default)]
pub(crate) struct FakeKernel {
    pub(crate) routes: BTreeMap<(Prefix, u32), KernelRoute>,
    pub(crate) log: Vec<(Instant, &'static str, Prefix)>,
    pub(crate) device: Option<(IpAddr, Prefix)>,
    /// The same of the other family.
    pub(crate) device6: Option<(IpAddr, Prefix)>,
    pub(crate) faults: Faults,
    /// Routes that others have put where ours would stand.
    pub(crate) foreign: BTreeMap<(Prefix, u32), KernelRoute>,
    /// Devices that were made for us.
    pub(crate) made: BTreeMap<u32, Link>,
    pub(crate) on_made: BTreeSet<Address>,
    pub(crate) neighbours: BTreeSet<Neighbour>,
    /// Settings that it was asked for, and could not be made.
    pub(crate) unmade: BTreeSet<Sysctl>,
    pub(crate) last_index: u32,
}

/// What is wrong with it.
#[derive(Default)]
pub(crate) struct Faults {
    pub(crate) link_down: bool,
    pub(crate) no_carrier: bool,
    /// Nobody may write.
    pub(crate) denied: bool,
    /// Routes that are refused, and why.
    pub(crate) refused: BTreeMap<Prefix, Errno>,
    /// There is no driver for tunnels.
    pub(crate) no_driver: bool,
    /// `/proc/sys` can't be written.
    pub(crate) read_only: bool,
}

impl FakeKernel {
    pub(crate) fn operate(&mut self, now: Instant, op: Op) -> Vec<KernelInput> {
        let mut inputs = Vec::new();
        let result = if op.action == Action::Dump {
            inputs.extend(self.dump().into_iter().map(KernelInput::Dumped));
            Ok(())
        } else {
            let mut told = Vec::new();
            let result = self.carry_out(now, op.action, &mut told);
            inputs.extend(told.into_iter().map(KernelInput::Changed));
            result
        };
        inputs.push(KernelInput::Done { id: op.id, result });
        inputs
    }

    /// Echoes of one's own operations on routes are told apart by the netlink part and go no further.
    fn carry_out(
        &mut self,
        now: Instant,
        action: Action,
        told: &mut Vec<Change>,
    ) -> Result<(), Errno> {
        if self.faults.denied && !matches!(action, Action::Tune(_)) {
            return Err(Errno::EPERM);
        }
        match action {
            Action::Add(route) => {
                if self.foreign.contains_key(&(route.prefix, route.metric)) {
                    return Err(Errno::EEXIST);
                }
                self.write(now, route)?;
            }
            Action::Replace(route) => {
                let key = (route.prefix, route.metric);
                self.write(now, route)?;
                self.foreign.remove(&key);
            }
            Action::Delete(route) => {
                self.routes.remove(&(route.prefix, route.metric));
                if self.best(route.prefix).is_none() {
                    self.log.push((now, "delete", route.prefix));
                }
            }
            Action::Tune(sysctl) => {
                if self.faults.read_only {
                    self.unmade.insert(sysctl);
                    return Err(Errno::EROFS);
                }
                self.unmade.remove(&sysctl);
            }
            other => self.device(other, told)?,
        }
        Ok(())
    }

    fn write(&mut self, now: Instant, route: KernelRoute) -> Result<(), Errno> {
        if let Some(errno) = self.faults.refused.get(&route.prefix) {
            return Err(*errno);
        }
        let is_up = |hop: &Hop| self.is_up(hop.interface);
        if !route.shape.hops.iter().all(is_up) {
            return Err(Errno::ENETUNREACH);
        }
        let prefix = route.prefix;
        let word = if self.best(prefix).is_some() {
            "replace"
        } else {
            "add"
        };
        self.routes.insert((prefix, route.metric), route);
        self.log.push((now, word, prefix));
        Ok(())
    }

    /// The route that packets to a prefix take, by its metric.
    pub(crate) fn best(&self, prefix: Prefix) -> Option<&KernelRoute> {
        let keys = (prefix, 0)..=(prefix, u32::MAX);
        self.routes.range(keys).next().map(|(_, route)| route)
    }

    fn is_up(&self, interface: Option<u32>) -> bool {
        match interface {
            Some(UPLINK) => !self.faults.link_down,
            Some(index) => self.made.get(&index).is_some_and(|link| link.up),
            None => false,
        }
    }

    fn device(&mut self, action: Action, told: &mut Vec<Change>) -> Result<(), Errno> {
        match action {
            Action::AddLink(spec) => {
                if self.faults.no_driver {
                    return Err(Errno::EOPNOTSUPP);
                }
                if self.made.values().any(|link| link.name == spec.name) {
                    return Err(Errno::EEXIST);
                }
                self.last_index = self.last_index.max(100) + 1;
                let link = Link {
                    mtu: spec.mtu,
                    mac: spec.mac,
                    alias: Some(spec.alias),
                    device: Some(spec.device),
                    ..Link::named(self.last_index, &spec.name)
                };
                self.made.insert(link.index, link.clone());
                told.push(Change::Link(Box::new(link)));
            }
            Action::SetLink { index, setting } => {
                let link = self.made.get_mut(&index).ok_or(Errno::ENODEV)?;
                match setting {
                    LinkSetting::Up => link.up = true,
                    LinkSetting::Down => link.up = false,
                    LinkSetting::Name(name) => link.name = name,
                    LinkSetting::Mtu(mtu) => link.mtu = mtu,
                    LinkSetting::Mac(mac) => link.mac = Some(mac),
                    LinkSetting::Alias(alias) => {
                        link.alias = (!alias.is_empty()).then_some(alias);
                    }
                }
                told.push(Change::Link(Box::new(link.clone())));
            }
            Action::DeleteLink { index } => {
                self.made.get(&index).ok_or(Errno::ENODEV)?;
                told.extend(self.remove_link(index));
            }
            Action::AddAddress(address) => {
                self.made.get(&address.interface).ok_or(Errno::ENODEV)?;
                if !self.on_made.insert(address) {
                    return Err(Errno::EEXIST);
                }
                told.push(Change::Address(address));
            }
            Action::DeleteAddress(address) => {
                if !self.on_made.remove(&address) {
                    return Err(Errno::EADDRNOTAVAIL);
                }
                told.push(Change::AddressGone(address));
            }
            Action::SetNeighbour(neighbour) => {
                self.made.get(&neighbour.interface()).ok_or(Errno::ENODEV)?;
                self.neighbours.insert(neighbour);
            }
            Action::DeleteNeighbour(neighbour) if !self.neighbours.remove(&neighbour) => {
                return Err(Errno::ENOENT);
            }
            _ => {}
        }
        Ok(())
    }

    // ---- what others do ----

    /// The link goes down, or loses its carrier, or comes back.
    pub(crate) fn set_link(&mut self, down: bool, no_carrier: bool) -> Vec<Change> {
        let was_down = core::mem::replace(&mut self.faults.link_down, down);
        self.faults.no_carrier = no_carrier;
        let mut told = vec![Change::Link(Box::new(self.uplink()))];
        if down && !was_down {
            told.extend(self.drop_routes(UPLINK));
        }
        if was_down && !down {
            told.extend(self.connected());
        }
        told
    }

    /// Somebody deletes a device.
    pub(crate) fn remove_link(&mut self, index: u32) -> Vec<Change> {
        if let Some(gone) = self.made.remove(&index) {
            // Its settings went with it.
            let setting = Sysctl::LooseReversePath(gone.name);
            self.unmade.remove(&setting);
        }
        self.on_made.retain(|address| address.interface != index);
        self.neighbours
            .retain(|neighbour| neighbour.interface() != index);
        let mut told = self.drop_routes(index);
        told.push(Change::LinkGone { index });
        told
    }

    /// Somebody sets a device down.
    pub(crate) fn set_down(&mut self, index: u32) -> Vec<Change> {
        let Some(link) = self.made.get_mut(&index) else {
            return Vec::new();
        };
        link.up = false;
        let mut told = vec![Change::Link(Box::new(link.clone()))];
        told.extend(self.drop_routes(index));
        told
    }

    /// Somebody puts a route where ours stands or would stand.
    pub(crate) fn usurp(&mut self, prefix: Prefix) -> Vec<Change> {
        let metric = match self.best(prefix) {
            Some(ours) => ours.metric,
            None => u32::from(prefix.address().is_ipv6()) * 1024,
        };
        let replaced = self.routes.remove(&(prefix, metric)).is_some();
        let route = KernelRoute {
            prefix,
            table: 254,
            metric,
            protocol: 4,
            shape: Arc::new(Shape::blackhole()),
        };
        self.foreign.insert((prefix, metric), route.clone());
        vec![Change::Route { route, replaced }]
    }

    /// And takes it away again.
    pub(crate) fn cede(&mut self, prefix: Prefix) -> Vec<Change> {
        let at = |(of, _): &(Prefix, u32)| *of == prefix;
        let keys: Vec<_> = self.foreign.keys().copied().filter(at).collect();
        let gone = keys.iter().filter_map(|key| self.foreign.remove(key));
        gone.map(Change::RouteGone).collect()
    }

    /// Whether somebody has put a route there.
    pub(crate) fn is_usurped(&self, prefix: Prefix) -> bool {
        self.foreign.keys().any(|(of, _)| *of == prefix)
    }

    /// Somebody deletes a route of ours.
    pub(crate) fn steal(&mut self, prefix: Prefix) -> Vec<Change> {
        let metric = self.best(prefix).map(|ours| ours.metric);
        let gone = metric.and_then(|metric| self.routes.remove(&(prefix, metric)));
        gone.into_iter().map(Change::RouteGone).collect()
    }

    /// Routes over a link that is down are gone; of those of IPv6 the kernel tells.
    fn drop_routes(&mut self, index: u32) -> Vec<Change> {
        let over = |route: &KernelRoute| {
            let mut hops = route.shape.hops.iter();
            hops.any(|hop| hop.interface == Some(index))
        };
        let gone: Vec<KernelRoute> = self
            .routes
            .values()
            .filter(|route| over(route))
            .cloned()
            .collect();
        for route in &gone {
            self.routes.remove(&(route.prefix, route.metric));
        }
        let told = gone
            .into_iter()
            .filter(|route| route.prefix.address().is_ipv6());
        told.map(Change::RouteGone).collect()
    }

    // ---- what there is ----

    fn uplink(&self) -> Link {
        Link {
            up: !self.faults.link_down,
            lower_up: !self.faults.link_down && !self.faults.no_carrier,
            ..Link::named(UPLINK, "eth0")
        }
    }

    fn connected(&self) -> Vec<Change> {
        let subnets = [self.device, self.device6].into_iter().flatten();
        let route = |(_, prefix): (IpAddr, Prefix)| KernelRoute {
            prefix,
            table: 254,
            metric: u32::from(prefix.address().is_ipv6()) * 256,
            protocol: 2,
            shape: Arc::new(Shape::unicast([Hop {
                via: None,
                interface: Some(UPLINK),
                onlink: false,
                weight: 1,
            }])),
        };
        let told = |route| Change::Route {
            route,
            replaced: false,
        };
        subnets.map(route).map(told).collect()
    }

    fn dump(&self) -> Vec<Change> {
        let mut changes = vec![Change::Link(Box::new(self.uplink()))];
        for (address, subnet) in [self.device, self.device6].into_iter().flatten() {
            changes.push(Change::Address(Address {
                interface: UPLINK,
                address,
                len: subnet.len(),
            }));
        }
        if !self.faults.link_down {
            changes.extend(self.connected());
        }
        let made = self.made.values().cloned().map(Box::new);
        changes.extend(made.map(Change::Link));
        changes.extend(self.on_made.iter().copied().map(Change::Address));
        let neighbours = self.neighbours.iter();
        changes.extend(neighbours.map(|neighbour| Change::Neighbour {
            neighbour: *neighbour,
            permanent: true,
        }));
        let routes = self.routes.values().chain(self.foreign.values());
        changes.extend(routes.map(|route| Change::Route {
            route: route.clone(),
            replaced: false,
        }));
        changes
    }
}
