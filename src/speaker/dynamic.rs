//! Peers that nobody wrote down one by one: whoever connects from a `peer-range`, and the neighbour on a
//! link, become peers by a template of the plan.
//!
//! Such a peer is in the plan that is carried out like any other, so that a new plan changes it, gives it
//! to a record of its own, or takes it out by the same rules. What always holds:
//!
//! - an address that has a record is nobody's from a range; of several ranges the narrowest counts;
//! - a template has at most [`MOST`] peers, a link's at most [`MOST_ON_LINK`]; where all places are taken, who comes
//!   next has that of the oldest that never had a session, so that silent ones keep nobody out;
//! - a peer that is down goes when it has been looked at twice, a hold time apart, and has no routes: so
//!   one to two hold times after its session.

use std::net::IpAddr;

use super::Speaker;
use super::peer::PeerEntry;
use super::restart::Awaited;
use crate::net::{Family, Prefix, ScopedAddress};
use crate::rib::PeerIndex;
use crate::time::{Duration, Instant};
use crate::topology::{
    Authentication, DEFAULT_HOLD_TIME, Dial, Plan, PlannedPeer, Template, TemplateSource,
};

/// The most peers of one range.
pub const MOST: usize = 1024;
/// How long a peer of a former process may take to call before it is called.
const CALL_AFTER: Duration = Duration::from_secs(2);
/// The most neighbours on one link: it is meant for a cable with one at its end.
pub const MOST_ON_LINK: usize = 16;

/// A peer that was made from a template.
#[derive(Debug)]
pub(super) struct Dynamic {
    /// The template's name.
    template: String,
    /// When it was made.
    made: Instant,
    /// When it is looked at next.
    due: Instant,
    /// It was down when it was looked at last.
    was_down: bool,
    /// It has not called: we call it, since a former process had routes of it.
    called: bool,
}

/// Whether whoever is behind a next hop has turned up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TurnedUp {
    /// There is no such peer.
    No,
    /// There is, and it has not said what it has.
    Unheard,
    /// There is, and it has.
    Heard,
}

/// The link of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionLink {
    /// The one with this index.
    Index(u32),
    /// The one by which this address, the peer's, is reached.
    Towards(IpAddr),
}

impl Speaker {
    /// Whether the peer has turned up that has one of these addresses, on this link if they are
    /// link-local ones. Behind an address that is nobody's on a link with neighbours, any of those may be.
    pub fn turned_up(&self, now: Instant, whom: Awaited, ends: &[IpAddr], link: &str) -> TurnedUp {
        let is_on_link = |peer: &PeerEntry| peer.planned.interface.as_deref() == Some(link);
        let is_at_end = |peer: &&PeerEntry| {
            ends.contains(&peer.planned.address)
                && (peer.planned.interface.is_none() || is_on_link(peer))
        };
        let at_end = ends
            .iter()
            .flat_map(|end| self.addresses.get(end))
            .flatten();
        let at_end = at_end.filter_map(|index| self.peer(*index));
        let mut found: Vec<&PeerEntry> = at_end.filter(is_at_end).collect();
        if found.is_empty() && !ends.iter().copied().any(is_link_local) {
            let made = self.dynamic.keys().filter_map(|index| self.peer(*index));
            found = made.filter(|peer| is_on_link(peer)).collect();
        }
        match found.iter().any(|peer| peer.is_awaited(now, whom)) {
            _ if found.is_empty() => TurnedUp::No,
            true => TurnedUp::Unheard,
            false => TurnedUp::Heard,
        }
    }

    /// The peer that a connection from `remote` to `local` belongs to, made if a range has it.
    pub(super) fn peer_for(
        &mut self,
        now: Instant,
        remote: ScopedAddress,
        local: IpAddr,
    ) -> Option<PeerIndex> {
        if let Some(index) = self.peer_at(remote, local) {
            return Some(index);
        }
        let remote = remote.address;
        if self.around.own_addresses.contains(&remote) {
            return None;
        }
        let template = of_range(&self.plan, remote)?.clone();
        self.make_peer(now, &template, remote, MOST)
    }

    /// A former process has left routes of whoever is at `remote`: if a range has it, it is called. A peer that
    /// keeps our routes while we restart may be waiting for just that (FRR does).
    pub fn call_former(&mut self, now: Instant, remote: IpAddr) {
        if self.addresses.contains_key(&remote) || self.around.own_addresses.contains(&remote) {
            return;
        }
        let Some(template) = of_range(&self.plan, remote) else {
            return;
        };
        let mut template = template.clone();
        template.peer.dial = Dial::After(CALL_AFTER);
        let made = self.make_peer(now, &template, remote, MOST);
        if let Some(dynamic) = made.and_then(|index| self.dynamic.get_mut(&index)) {
            dynamic.called = true;
        }
    }

    /// Whether a peer is there only because it is called, and has not answered.
    pub(super) fn is_only_called(&self, index: PeerIndex) -> bool {
        let called = self
            .dynamic
            .get(&index)
            .is_some_and(|dynamic| dynamic.called);
        called
            && self
                .peer(index)
                .is_some_and(|peer| peer.established.is_none())
    }

    /// A router was heard on a link: it becomes a peer if the plan has one there.
    pub fn neighbour_found(&mut self, now: Instant, interface: &str, index: u32, address: IpAddr) {
        let link = |template: &&Template| matches!(&template.from, TemplateSource::Link(name) if name == interface);
        let Some(template) = self.plan.templates.iter().find(link).cloned() else {
            return;
        };
        if !is_link_local(address) {
            return;
        }
        let place = (interface.to_owned(), address);
        let known = self.scopes.contains_key(&place);
        if known
            || self
                .make_peer(now, &template, address, MOST_ON_LINK)
                .is_some()
        {
            // A link that was made anew has another index.
            self.scopes.insert(place, index);
        }
    }

    fn make_peer(
        &mut self,
        now: Instant,
        template: &Template,
        address: IpAddr,
        most: usize,
    ) -> Option<PeerIndex> {
        let name = &template.peer.name;
        let of_it = self.dynamic.values().filter(|peer| peer.template == *name);
        let planned = instance(template, address);
        let missing = matches!(planned.authentication, Authentication::Missing(_));
        let unwanted = missing || planned.shutdown;
        let full = of_it.count() >= most;
        if self.names.contains_key(&planned.name) || unwanted {
            return None;
        }
        if full {
            // A line for each would be the callers' to write.
            let oldest = self.oldest_without_session(name)?;
            self.remove_dynamic(now, oldest);
        } else {
            tracing::info!(peer = %planned.name, "a peer by its template");
        }
        let place = self
            .plan
            .peers
            .partition_point(|peer| peer.name < planned.name);
        self.plan.peers.insert(place, planned.clone());
        self.news += 1;
        let made = planned.name.clone();
        let due = now + hold_time(&planned);
        self.add_peer(now, planned);
        let index = self.names.get(&made).copied()?;
        let dynamic = Dynamic {
            template: name.clone(),
            made: now,
            due,
            was_down: false,
            called: false,
        };
        self.dynamic.insert(index, dynamic);
        self.dynamic_due = Some(self.dynamic_due.map_or(due, |first| first.min(due)));
        Some(index)
    }

    /// Whether somebody with this address is a peer now.
    pub fn is_peer(&self, address: IpAddr) -> bool {
        self.addresses.contains_key(&address)
    }

    /// Takes out those that have gone away.
    pub(super) fn expire_dynamic(&mut self, now: Instant) {
        if self.dynamic_due.is_none_or(|due| due > now) {
            return;
        }
        let due = self.dynamic.iter().filter(|(_, peer)| peer.due <= now);
        let due: Vec<PeerIndex> = due.map(|(index, _)| *index).collect();
        for index in due {
            let Some(peer) = self.peer(index) else {
                self.dynamic.remove(&index);
                continue;
            };
            let (name, wait) = (peer.planned.name.clone(), hold_time(&peer.planned));
            let routes = Family::ALL.map(|family| self.rib.counts(index, family).received);
            let down = peer.established.is_none() && routes == [0, 0];
            let before = self.dynamic.get_mut(&index).map(|dynamic| {
                dynamic.due = now + wait;
                core::mem::replace(&mut dynamic.was_down, down)
            });
            if down && before == Some(true) {
                tracing::info!(peer = %name, "a peer by its template has gone");
                self.remove_dynamic(now, index);
            }
        }
        self.dynamic_due = self.dynamic.values().map(|peer| peer.due).min();
    }

    /// Takes one out. It is done for each caller while a template is full, so no table is gone over for it.
    fn remove_dynamic(&mut self, now: Instant, index: PeerIndex) {
        self.dynamic.remove(&index);
        let Some(planned) = self.peer(index).map(|peer| &peer.planned) else {
            return;
        };
        let (name, link) = (planned.name.clone(), planned.interface.clone());
        if let Some(link) = link {
            self.scopes.remove(&(link, planned.address));
        }
        let found = self
            .plan
            .peers
            .binary_search_by(|peer| peer.name.cmp(&name));
        match found {
            Ok(place) => drop(self.plan.peers.remove(place)),
            Err(_) => self.plan.peers.retain(|peer| peer.name != name),
        }
        // Callers who were many leave no room.
        let peers = &mut self.plan.peers;
        if peers.len() < peers.capacity() / 4 {
            peers.shrink_to(2 * peers.len());
        }
        self.remove_peer(now, &name);
    }

    /// A template's oldest peer that never had a session, and that no route of a former process is of.
    fn oldest_without_session(&self, template: &str) -> Option<PeerIndex> {
        let of_it = self.dynamic.iter();
        let of_it = of_it.filter(|(_, dynamic)| dynamic.template == template && !dynamic.called);
        of_it
            .filter_map(|(index, dynamic)| Some((dynamic.made, *index, self.peer(*index)?)))
            .filter(|(_, _, peer)| peer.session.counters().established == 0)
            .min_by_key(|(made, ..)| *made)
            .map(|(_, index, _)| index)
    }

    /// `plan` with the peers that are there by a template, as its templates would have them.
    pub(super) fn with_dynamic(&self, mut plan: Plan) -> Plan {
        let made: Vec<PlannedPeer> = self
            .dynamic
            .keys()
            .filter_map(|index| Some(&self.peer(*index)?.planned))
            .filter(|was| {
                let same = |peer: &PlannedPeer| {
                    peer.name == was.name
                        || (peer.address, &peer.interface) == (was.address, &was.interface)
                };
                !plan.peers.iter().any(same)
            })
            .filter_map(|was| {
                let template = match &was.interface {
                    None => of_range(&plan, was.address)?,
                    Some(link) => plan.templates.iter().find(|template| {
                        matches!(&template.from, TemplateSource::Link(name) if name == link)
                    })?,
                };
                Some(instance(template, was.address))
            })
            .collect();
        plan.peers.extend(made);
        plan.peers.sort_by(|a, b| a.name.cmp(&b.name));
        plan
    }

    /// Forgets that peers are there by a template that are no longer, and gives the others to the
    /// templates that they are of now.
    pub(super) fn keep_dynamic(&mut self) {
        let Self {
            dynamic,
            peers,
            plan,
            scopes,
            ..
        } = self;
        dynamic.retain(|index, of| {
            let at = index.index().checked_sub(1).and_then(|at| peers.get(at));
            let Some(name) = at.and_then(Option::as_ref).map(|peer| &peer.planned.name) else {
                return false;
            };
            let mut templates = plan.templates.iter().map(|template| &template.peer.name);
            let template = templates.find(|template| {
                name.strip_prefix(template.as_str())
                    .is_some_and(|rest| rest.starts_with('/'))
            });
            if let Some(template) = template {
                of.template.clone_from(template);
            }
            template.is_some()
        });
        scopes.retain(|(link, address), _| {
            plan.peers
                .iter()
                .any(|peer| peer.interface.as_ref() == Some(link) && peer.address == *address)
        });
    }

    /// Where the link-local next hops of a session are: [`NextHop::scope`](crate::wire::attribute::NextHop)
    /// is its number. `None` if there is no such session any more.
    pub fn session_link(&self, scope: u32) -> Option<SessionLink> {
        let peer = self.peer(PeerIndex(scope))?;
        Some(match self.scope_of(peer) {
            0 => SessionLink::Towards(peer.planned.address),
            index => SessionLink::Index(index),
        })
    }

    /// The index of the link that a peer's link-local address is on.
    pub(super) fn scope_of(&self, peer: &PeerEntry) -> u32 {
        let interface = peer.planned.interface.as_ref();
        let place = interface.map(|name| (name.clone(), peer.planned.address));
        place
            .and_then(|place| self.scopes.get(&place).copied())
            .unwrap_or(0)
    }
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

/// The template of the narrowest range around an address.
fn of_range(plan: &Plan, address: IpAddr) -> Option<&Template> {
    let host = Prefix::host(address);
    let around = plan
        .templates
        .iter()
        .filter_map(|template| match template.from {
            TemplateSource::Range(range) if range.covers(host) => Some((range.len(), template)),
            TemplateSource::Range(_) | TemplateSource::Link(_) => None,
        });
    // Of equals the first by name, since templates are sorted.
    let narrowest = around.rev().max_by_key(|(len, _)| *len);
    narrowest.map(|(_, template)| template)
}

fn instance(template: &Template, address: IpAddr) -> PlannedPeer {
    PlannedPeer {
        name: format!("{}/{address}", template.peer.name),
        address,
        ..template.peer.clone()
    }
}

fn hold_time(planned: &PlannedPeer) -> Duration {
    let seconds = match planned.open.hold_time {
        0 => DEFAULT_HOLD_TIME,
        seconds => seconds,
    };
    Duration::from_secs(seconds.into())
}
