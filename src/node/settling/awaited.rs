//! Peers that nobody wrote down, before they have turned up: what a former process's routes say of them.
//!
//! A template (`peer-range`, `interface`) names no peer, so at a start there is none to wait for. But the
//! kernel still has the routes of those that the former process had, and each leads to the peer that it
//! came from, to a node's end of a tunnel, or to a gateway that the range is reached through. What
//! always holds: only a way that a template can account for is waited for, only while a route that
//! nobody has confirmed leads over it, and never beyond the settling time's limit.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::super::Node;
use crate::dataplane::FormerWay;
use crate::net::{Family, Prefix};
use crate::speaker::{Awaited, TurnedUp};
use crate::time::Instant;
use crate::topology::{FabricNode, Plan, TemplateSource};

/// The ways that were waited for when it was last looked, if it was.
#[derive(Debug, Default)]
pub(super) struct Ways(Option<BTreeSet<FormerWay>>);

impl Node {
    /// Whether a peer that has not turned up, or has not said what it has, may be the one that a former
    /// process's routes came from. `look` asks the tables again; otherwise they are asked only when
    /// nothing is left of what was found last.
    pub(super) fn awaits_template(&mut self, now: Instant, whom: Awaited, look: bool) -> bool {
        if !self.settling.is_restart() || self.speaker.plan().templates.is_empty() {
            return false;
        }
        let Some(dataplane) = &self.dataplane else {
            return false;
        };
        if !dataplane.is_synced() {
            return true;
        }
        if let Some(known) = &self.settling.ways.0
            && !look
        {
            let is_left = known.iter().any(|way| self.is_awaited(now, whom, way));
            // That nothing is left is to be true for good only if it ends the wait.
            if is_left || known.is_empty() || whom == Awaited::ButRestarted {
                return is_left;
            }
        }
        let plan = self.speaker.plan();
        let gateways = gateways(plan, |range| dataplane.gateways_into(range));
        let mut ways = dataplane.former_ways();
        ways.retain(|way| {
            is_accountable(plan, &gateways, way, &self.ends(way))
                && self.is_awaited(now, Awaited::All, way)
        });
        for via in ways.iter().filter_map(|way| way.via) {
            self.speaker.call_former(now, via);
        }
        let is_left = ways.iter().any(|way| self.is_awaited(now, whom, way));
        self.settling.ways = Ways(Some(ways));
        is_left
    }

    /// Whether whoever is at the end of a way is still to be heard.
    fn is_awaited(&self, now: Instant, whom: Awaited, way: &FormerWay) -> bool {
        match self
            .speaker
            .turned_up(now, whom, &self.ends(way), &way.link)
        {
            TurnedUp::Heard => false,
            TurnedUp::No | TurnedUp::Unheard => true,
        }
    }

    /// The addresses that the peer behind a way may have: the next hop, or those of the node whose end
    /// of a tunnel it is.
    fn ends(&self, way: &FormerWay) -> Vec<IpAddr> {
        let Some(via) = way.via else {
            return Vec::new();
        };
        let is_end = |node: &&FabricNode| {
            let family = if via.is_ipv4() {
                Family::Ipv4
            } else {
                Family::Ipv6
            };
            let vtep = node.vtep(family).map(|vtep| vtep.address);
            vtep == Some(via) || node.address(family) == Some(via)
        };
        let nodes = self.speaker.plan().fabric.nodes.iter().filter(is_end);
        let theirs = nodes.flat_map(|node| Family::ALL.map(|family| node.address(family)));
        [via].into_iter().chain(theirs.flatten()).collect()
    }
}

/// The gateways through which each range is reached.
fn gateways(
    plan: &Plan,
    mut into: impl FnMut(Prefix) -> BTreeSet<IpAddr>,
) -> BTreeMap<Prefix, BTreeSet<IpAddr>> {
    let ranges = plan
        .templates
        .iter()
        .filter_map(|template| match template.from {
            TemplateSource::Range(range) => Some(range),
            TemplateSource::Link(_) => None,
        });
    ranges.map(|range| (range, into(range))).collect()
}

/// Whether a peer of a template may be what is behind a way.
fn is_accountable(
    plan: &Plan,
    gateways: &BTreeMap<Prefix, BTreeSet<IpAddr>>,
    way: &FormerWay,
    ends: &[IpAddr],
) -> bool {
    let mut wanted = plan
        .templates
        .iter()
        .filter(|template| !template.peer.shutdown);
    wanted.any(|template| match &template.from {
        TemplateSource::Link(name) => **name == *way.link,
        TemplateSource::Range(range) => {
            let within = ends.iter().any(|end| range.contains(*end));
            let through = gateways.get(range).zip(way.via);
            within || through.is_some_and(|(gateways, via)| gateways.contains(&via))
        }
    })
}
