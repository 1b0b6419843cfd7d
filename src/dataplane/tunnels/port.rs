//! One tunnel device: what is wanted of it, and how far it has got.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::super::device::{Device, Neighbour, Sysctl, lacks_driver};
use super::super::input::{Action, Link};
use super::super::resolve::KernelView;
use super::blame::blame;
use super::entries::Entries;
use super::key::{Key, Value, What};
use super::needs::{self, Part};
use super::news::why;
use super::pace::Refusal;
use super::{FarEnd, TooNarrow, Tunnel, TunnelKind, TunnelState, TunnelStatus};
use crate::net::{Mac, Prefix};
use crate::time::Instant;

/// A name of ours, with or without a device.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) name: Arc<str>,
    /// What is wanted; none while it leaves.
    pub(super) tunnel: Option<Arc<Tunnel>>,
    pub(super) far_ends: FarEnds,
    pub(super) leaving: Option<Leaving>,
    /// Our link.
    pub(super) index: Option<u32>,
    /// Links that we have deleted: late news may still show them.
    pub(super) gone: BTreeSet<u32>,
    /// Its entries know what is wanted.
    pub(super) wished: bool,
    /// An operation on the link is outstanding.
    pub(super) busy: bool,
    /// News of the link came meanwhile.
    pub(super) crossed: bool,
    /// The next operation on it.
    pub(super) next: Option<(Part, Action)>,
    pub(super) made: Option<Made>,
    pub(super) expects: Expects,
    /// The index with which it was seen to be what is wanted.
    pub(super) fitted: Option<u32>,
    /// So often in a row what this process made was not what it asked for.
    pub(super) misfits: u8,
    /// Nothing was to be done at last, with this MTU.
    pub(super) calm: Option<u32>,
    pub(super) refusals: BTreeMap<Part, Refusal>,
    /// A repair waits until then.
    pub(super) due: Option<Instant>,
    /// The index with which its gate is open.
    pub(super) ready: Option<u32>,
    /// The index with which checksum offloading was switched.
    pub(super) offloaded: Option<u32>,
    pub(super) obstacle: Option<Obstacle>,
    /// The kernel gives names only to links that are down.
    pub(super) named_down: bool,
    /// The links under it carry less than it takes in.
    pub(super) too_narrow: Option<TooNarrow>,
    /// Settings of the kernel that packets through it need.
    pub(super) hangs_on: BTreeSet<Sysctl>,
}

/// The far ends by what entries are about, and those through the gate.
#[derive(Debug, Default)]
pub(super) struct FarEnds {
    pub(super) by_address: BTreeMap<IpAddr, FarEnd>,
    by_mac: BTreeMap<Mac, Vec<IpAddr>>,
    /// The gate is open for these.
    pub(super) ready: BTreeSet<IpAddr>,
    /// Ready, and the gate does not know yet.
    pub(super) fresh: BTreeSet<IpAddr>,
}

/// A device that nobody wants.
#[derive(Debug, Clone, Copy)]
pub(super) struct Leaving {
    pub(super) at: Instant,
    /// The time has come.
    pub(super) due: bool,
    /// And no route uses it: it goes.
    pub(super) goes: bool,
}

/// A device that this process has made.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) device: Device,
    pub(super) index: Option<u32>,
}

/// Whether news of a link are awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expects {
    Nothing,
    /// The link should be heard of until then.
    Link(Instant),
    /// A dump will tell.
    Dump,
}

/// What keeps a device from being made or corrected, and no operation can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Obstacle {
    Foreign,
    NoUnderlay,
    Misfit,
}

impl Port {
    pub(super) fn new(name: Arc<str>) -> Self {
        Self {
            name,
            tunnel: None,
            far_ends: FarEnds::default(),
            leaving: None,
            index: None,
            gone: BTreeSet::new(),
            wished: false,
            busy: false,
            crossed: false,
            next: None,
            made: None,
            expects: Expects::Nothing,
            fitted: None,
            misfits: 0,
            calm: None,
            refusals: BTreeMap::new(),
            due: None,
            ready: None,
            offloaded: None,
            obstacle: None,
            named_down: false,
            too_narrow: None,
            hangs_on: BTreeSet::new(),
        }
    }

    /// The link is gone, or no longer ours.
    pub(super) fn reset_link(&mut self) {
        self.index = None;
        self.fitted = None;
        self.calm = None;
        self.offloaded = None;
        self.shut();
    }

    /// The gate is closed; what is behind it has to be made ready anew.
    pub(super) fn shut(&mut self) {
        self.ready = None;
        self.wished = false;
        self.far_ends.ready.clear();
        self.far_ends.fresh.clear();
    }

    /// The link of the port: the one that is known to be ours, whatever its name; else the one of the
    /// name, unless that has not our note and another one, with our note, is what is wanted.
    pub(super) fn link<'a>(&self, view: &'a KernelView) -> Option<&'a Link> {
        let is_there = |link: &&Link| !self.gone.contains(&link.index);
        let own = self.index.and_then(|index| view.link_by_index(index));
        if let Some(own) = own.filter(is_there) {
            return Some(own);
        }
        let mut links = view.links().filter(is_there);
        let named = links.find(|link| *link.name == *self.name);
        if named.is_some_and(needs::is_marked) {
            return named;
        }
        let tunnel = self.tunnel.as_deref();
        let strayed = tunnel.and_then(|tunnel| {
            let mut links = view.links().filter(is_there);
            links.find(|link| needs::is_strayed(tunnel, link))
        });
        strayed.or(named)
    }

    /// Whether a link without our note is ours all the same: we made it, or knew it before.
    pub(super) fn knows(&self, link: &Link) -> bool {
        let made = self.made.as_ref();
        self.index == Some(link.index)
            || made.is_some_and(|made| made.index.is_none_or(|index| index == link.index))
    }

    /// Whether a link without our note, which nobody wants, is still to be seen off.
    pub(super) fn still_has(&self, link: &Link) -> bool {
        self.knows(link) && !needs::is_given_back(link)
    }

    /// Whether this process made the link like this, so that to make it anew may not help.
    pub(super) fn made_so(&self, index: u32, wanted: &Device) -> bool {
        let made = self.made.as_ref();
        self.fitted != Some(index)
            && made.is_some_and(|made| made.index == Some(index) && made.device == *wanted)
    }

    /// Whether a part was refused and waits.
    pub(super) fn is_held(&self, part: &Part) -> bool {
        self.refusals
            .get(part)
            .is_some_and(|refusal| refusal.at.is_some())
    }

    /// The first step that may be made.
    pub(super) fn choose(&mut self, steps: Vec<(Part, Action)>) {
        // What is no longer needed is no longer refused.
        let needed = |wanted: &Part| steps.iter().any(|(part, _)| part == wanted);
        self.refusals.retain(|part, _| needed(part));
        let waits = self.busy || self.due.is_some();
        self.next = steps
            .into_iter()
            .find(|(part, _)| !waits && !self.is_held(part));
    }

    /// What is wanted on the link.
    pub(super) fn wishes(&self, index: u32) -> BTreeMap<Key, Value> {
        let Some(tunnel) = &self.tunnel else {
            return BTreeMap::new();
        };
        let address = needs::address(tunnel, index);
        let own = address.map(|address| (Key::address(address), Value::Here));
        let far = self.far_ends.by_address.values().flat_map(|far_end| {
            [
                Key::of(Neighbour::Address {
                    interface: index,
                    address: far_end.address,
                    mac: far_end.mac,
                }),
                Key::of(Neighbour::Forward {
                    interface: index,
                    mac: far_end.mac,
                    node: far_end.node,
                }),
            ]
        });
        own.into_iter().chain(far).collect()
    }

    /// Whether a route there may be a way under the tunnel.
    pub(super) fn is_under(&self, prefix: Prefix) -> bool {
        let Some(tunnel) = &self.tunnel else {
            return false;
        };
        let contains = |address: &IpAddr| prefix.contains(*address);
        let default = tunnel.toward.is_empty() && prefix.len() == 0;
        default || tunnel.toward.iter().any(contains)
    }

    /// Whether far ends need entries.
    pub(super) fn is_vxlan(&self) -> bool {
        let tunnel = self.tunnel.as_ref();
        tunnel.is_some_and(|tunnel| matches!(tunnel.kind, TunnelKind::Vxlan { .. }))
    }

    /// When something is to be done for the port.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let refusals = self.refusals.values().filter_map(|refusal| refusal.at);
        let leaving = self.leaving.filter(|leaving| !leaving.due);
        let link = match self.expects {
            Expects::Link(at) => Some(at),
            Expects::Nothing | Expects::Dump => None,
        };
        let others = [self.due, leaving.map(|leaving| leaving.at), link];
        refusals.chain(others.into_iter().flatten()).min()
    }

    /// How it does.
    pub(super) fn status(&self, view: &KernelView, entries: &Entries) -> TunnelStatus {
        let link = self.link(view);
        let on_link = |interface| {
            let addresses = view
                .addresses()
                .filter(move |own| own.interface == interface);
            addresses.map(|own| Prefix::new(own.address, own.len))
        };
        let kind = self.tunnel.as_ref().map(|tunnel| tunnel.kind.word());
        let of_link = || link.and_then(|link| link.device.as_ref()).map(word);
        TunnelStatus {
            name: Arc::clone(&self.name),
            kind: kind.or_else(of_link).unwrap_or("other"),
            state: self.state(view, link, entries),
            mtu: link.map(|link| link.mtu),
            addresses: link
                .map(|link| on_link(link.index).collect())
                .unwrap_or_default(),
            far_ends: self.far_ends.by_address.len(),
            ready: self.far_ends.settled(self.index, entries),
            too_narrow: self.too_narrow.clone().filter(|_| self.tunnel.is_some()),
        }
    }

    fn state(&self, view: &KernelView, link: Option<&Link>, entries: &Entries) -> TunnelState {
        let (Some(tunnel), None) = (&self.tunnel, self.leaving) else {
            let at = self.leaving.map_or(Instant::ZERO, |leaving| leaving.at);
            return TunnelState::Leaving { at };
        };
        let refused = |reason: String| TunnelState::Refused { reason };
        match self.obstacle {
            Some(Obstacle::Foreign) => return TunnelState::Foreign,
            Some(Obstacle::NoUnderlay) => return TunnelState::NoUnderlay,
            Some(Obstacle::Misfit) => {
                return refused("the kernel made it otherwise than it was asked to".to_owned());
            }
            None => {}
        }
        if let Some((part, refusal)) = self.refusals.first_key_value() {
            if *part == Part::Add && lacks_driver(refusal.errno) {
                let module = tunnel.kind.module();
                return TunnelState::NoDriver { module };
            }
            let why = blame(view, self, refusal.errno);
            return refused(format!("cannot {}: {why}", part.what()));
        }
        if let Some((key, errno)) = self.index.and_then(|index| entries.refusal(index)) {
            return refused(format!("cannot enter {key}: {}", why(errno)));
        }
        let up = link.is_some_and(|link| link.up && Some(link.index) == self.ready);
        if up && self.next.is_none() && !self.busy {
            TunnelState::Up
        } else {
            TunnelState::Pending
        }
    }
}

impl FarEnds {
    /// Takes in what is wanted; answers those that are no longer.
    pub(super) fn set(&mut self, far_ends: &[FarEnd]) -> Vec<IpAddr> {
        self.by_address = far_ends.iter().map(|far| (far.address, *far)).collect();
        self.by_mac.clear();
        for far in self.by_address.values() {
            self.by_mac.entry(far.mac).or_default().push(far.address);
        }
        let wanted = &self.by_address;
        self.fresh.retain(|address| wanted.contains_key(address));
        let gone = |address: &&IpAddr| !wanted.contains_key(address);
        let gone: Vec<IpAddr> = self.ready.iter().filter(gone).copied().collect();
        for address in &gone {
            self.ready.remove(address);
        }
        gone
    }

    /// An entry is in the kernel: the far ends that it may have made ready.
    pub(super) fn touched(&mut self, key: Key, entries: &Entries) {
        let addresses = match key.what {
            What::Address(..) => return,
            What::Neighbour(address) => vec![address],
            What::Forward(mac, _) => self.by_mac.get(&mac).cloned().unwrap_or_default(),
        };
        for address in addresses {
            if !self.ready.contains(&address) && self.is_settled(address, key.interface, entries) {
                self.fresh.insert(address);
            }
        }
    }

    /// Whether both entries of a far end are in the kernel.
    pub(super) fn is_settled(&self, address: IpAddr, interface: u32, entries: &Entries) -> bool {
        self.by_address.get(&address).is_some_and(|far| {
            entries.is_settled(Key::neighbour(interface, address))
                && entries.is_settled(Key::forward(interface, far.mac, far.node))
        })
    }

    fn settled(&self, index: Option<u32>, entries: &Entries) -> usize {
        let Some(index) = index else { return 0 };
        let addresses = self.by_address.keys();
        addresses
            .filter(|address| self.is_settled(**address, index, entries))
            .count()
    }
}

impl TunnelKind {
    /// The kernel's word for the kind.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ipip => "ipip",
            Self::Ip6tnl => "ip6tnl",
            Self::Vxlan { .. } => "vxlan",
        }
    }

    /// The kernel module that brings the kind.
    pub const fn module(self) -> &'static str {
        match self {
            Self::Ipip => "ipip",
            Self::Ip6tnl => "ip6_tunnel",
            Self::Vxlan { .. } => "vxlan",
        }
    }
}

const fn word(device: &Device) -> &'static str {
    match device {
        Device::Ipip { .. } => "ipip",
        Device::Ip6tnl { .. } => "ip6tnl",
        Device::Vxlan { .. } => "vxlan",
        Device::Other(_) => "other",
    }
}
