//! From the old plan to the new one, touching only what differs.
//!
//! A session is bounced only if its OPEN carries what has changed; a changed policy is applied to
//! the paths that are there, without a session lost or a refresh asked for.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::Speaker;
use super::peer::{PeerEntry, session_config};
use crate::net::Family;
use crate::policy::Surroundings;
use crate::rib::{PeerFacts, PeerIndex, PeerKind};
use crate::session::{Input, Reconfigured, StopReason};
use crate::time::Instant;
use crate::topology::{self, Impact, PeerChange, PeerField, Plan, PlannedPeer};
use crate::wire::attribute::PathAttributes;

/// What a new plan has changed, one line a change.
pub type Replanned = Vec<String>;

impl Speaker {
    /// Carries out `plan` in place of the one before; what others have to replace first goes later.
    pub fn replan(&mut self, now: Instant, plan: Plan) -> Replanned {
        self.rib.set_now(now);
        let (plan, held) = self.hold_roles(plan);
        self.carry_through(now, plan, held)
    }

    /// Carries out `plan`; `held` is what it is to become when roles that are kept for now may go.
    pub(super) fn carry_through(
        &mut self,
        now: Instant,
        plan: Plan,
        held: Option<Box<Plan>>,
    ) -> Replanned {
        let plan = self.with_dynamic(plan);
        let changes = topology::diff(&self.plan, &plan);
        let leavers = self.slow_leavers(&changes, &plan);
        self.around = surroundings(&plan);
        let old = core::mem::replace(&mut self.plan, plan);
        let mut said = Vec::new();
        // What was found eligible was so by the old plan: our own AS, addresses, a peer's rules.
        self.rib.attributes_mut().forget_raw();
        self.set_local_facts();
        self.reoriginate(&mut said);
        let mut to_judge = self.judged_by_identity(&old);
        to_judge.extend(self.leaving_peers());
        for change in &changes {
            said.push(match change {
                PeerChange::Add(planned) => self.add_or_take_back(now, planned, &old),
                PeerChange::Remove(name) => match self.names.get(name) {
                    Some(index) if leavers.contains(index) => {
                        to_judge.insert(*index);
                        format!("peer {name} leaves when others are in its place")
                    }
                    _fast => {
                        self.remove_peer(now, name);
                        format!("peer {name} removed")
                    }
                },
                PeerChange::Change { was, peer, fields } => {
                    if fields.iter().any(|field| is_import(*field)) {
                        to_judge.extend(self.names.get(was));
                    }
                    self.change_peer(now, was, peer.clone(), fields)
                }
            });
        }
        let promoted = self.plan.cluster_id.is_some() && self.plan.cluster_id != old.cluster_id;
        self.keep_dynamic();
        self.begin_leaving(now, leavers, &changes, (held, promoted));
        self.judge_again(&to_judge);
        self.judge_addresses_again(&old);
        self.change_own_blocks();
        self.change_exports();
        self.far_ends.changed();
        if old.router_id != self.plan.router_id {
            said.push(format!("router id is now {}", self.plan.router_id));
        }
        said
    }

    fn add_or_take_back(&mut self, now: Instant, planned: &PlannedPeer, old: &Plan) -> String {
        let Some(index) = self.take_back(now, planned) else {
            self.leave_name(now, &planned.name);
            self.add_peer(now, planned.clone());
            return format!("peer {} added", planned.name);
        };
        let Some(was) = self.peer(index).map(|peer| peer.planned.clone()) else {
            return String::new();
        };
        if was.name != planned.name {
            self.leave_name(now, &planned.name);
        }
        let fields = topology::differences((old, &was), (&self.plan, planned));
        self.change_peer(now, &was.name, planned.clone(), &fields);
        self.judge_again(&BTreeSet::from([index]));
        format!("peer {} stays after all", planned.name)
    }

    /// Our AS, our addresses and our cluster decide what is a loop, whatever the policy of a peer says: all peers if
    /// these have changed.
    fn judged_by_identity(&self, old: &Plan) -> BTreeSet<PeerIndex> {
        let identity = |plan: &Plan| {
            (
                plan.asn,
                plan.router_id,
                plan.cluster_id,
                plan.ipv4,
                plan.ipv6,
            )
        };
        if identity(old) == identity(&self.plan) {
            return BTreeSet::new();
        }
        self.names.values().copied().collect()
    }

    fn set_local_facts(&mut self) {
        let address = self.plan.ipv4.map(|net| net.ip().into());
        let address = address.or(self.plan.ipv6.map(|net| net.ip().into()));
        self.rib.set_peer(
            PeerIndex::LOCAL,
            PeerFacts {
                kind: PeerKind::Local,
                asn: self.plan.asn,
                router_id: self.plan.router_id,
                address: address.unwrap_or(std::net::Ipv4Addr::UNSPECIFIED.into()),
            },
        );
    }

    /// Own blocks: new ones into the table, former ones out of it.
    fn reoriginate(&mut self, said: &mut Replanned) {
        let wanted: BTreeSet<_> = self.plan.originate.iter().copied().collect();
        let gone: Vec<_> = self
            .originated
            .keys()
            .filter(|prefix| !wanted.contains(prefix))
            .copied()
            .collect();
        for prefix in gone {
            if let Some(id) = self.originated.remove(&prefix) {
                self.rib.withdraw(PeerIndex::LOCAL, prefix, 0);
                self.rib.attributes_mut().release(id);
                said.push(format!("block {prefix} is no longer announced"));
            }
        }
        for prefix in wanted {
            if !self.originated.contains_key(&prefix) {
                // Origin IGP, an empty path, and no next hop: each group puts our address there.
                let id = self
                    .rib
                    .attributes_mut()
                    .intern(PeerIndex::LOCAL, &PathAttributes::default());
                self.rib.announce(PeerIndex::LOCAL, prefix, 0, id, true);
                self.originated.insert(prefix, id);
                said.push(format!("block {prefix} is announced"));
            }
        }
    }

    pub(super) fn add_peer(&mut self, now: Instant, planned: PlannedPeer) {
        // A place whose former owner has left routes in the table is not given yet.
        let index = |place: usize| u32::try_from(place + 1).map(PeerIndex);
        let mut places = 0..self.peers.len();
        let free = places.find(|place| {
            let is_empty = self.peers.get(*place).is_some_and(Option::is_none);
            is_empty && index(*place).is_ok_and(|index| self.rib.is_free(index))
        });
        let place = free.unwrap_or(self.peers.len());
        let Ok(number) = u32::try_from(place + 1) else {
            return;
        };
        let index = PeerIndex(number);
        // Every peer jitters by itself: a cluster that starts at once must not stay in step.
        let seed = self.settings.seed ^ (u64::from(number) << 32);
        let name = planned.name.clone();
        self.addresses
            .entry(planned.address)
            .or_default()
            .push(index);
        let entry = Box::new(PeerEntry::new(planned, &self.plan, self.own_start, seed));
        if place == self.peers.len() {
            self.peers.push(Some(entry));
        } else if let Some(slot) = self.peers.get_mut(place) {
            *slot = Some(entry);
        }
        self.names.insert(name, index);
        if let Some(facts) = self.peer(index).map(|peer| peer.facts(&self.plan)) {
            self.rib.set_peer(index, facts);
        }
        self.set_limit(now, index);
        self.far_ends.changed();
        self.follow_record(now, index);
    }

    pub(super) fn remove_peer(&mut self, now: Instant, name: &str) {
        let Some(index) = self.names.get(name).copied() else {
            return;
        };
        self.input(now, index, Input::Stop(StopReason::Deconfigured));
        self.names.remove(name);
        self.far_ends.changed();
        if let Some(address) = self.peer(index).map(|peer| peer.planned.address) {
            self.forget_address(index, address);
        }
        self.connections.retain(|_, peer| *peer != index);
        for family in Family::ALL {
            self.rib.remove_export(index, family);
        }
        self.rib.remove_peer(index);
        let slot = index
            .index()
            .checked_sub(1)
            .and_then(|at| self.peers.get_mut(at));
        if let Some(slot) = slot
            && let Some(entry) = slot.take()
            && let Some(deadline) = entry.deadline
        {
            self.deadlines.remove(&(deadline, index));
        }
    }

    fn forget_address(&mut self, index: PeerIndex, address: IpAddr) {
        if let Some(peers) = self.addresses.get_mut(&address) {
            peers.retain(|peer| *peer != index);
            if peers.is_empty() {
                self.addresses.remove(&address);
            }
        }
    }

    fn change_peer(
        &mut self,
        now: Instant,
        was: &str,
        planned: PlannedPeer,
        fields: &[PeerField],
    ) -> String {
        let names: Vec<String> = fields.iter().map(ToString::to_string).collect();
        let bounces = fields.iter().any(|field| field.impact() == Impact::Bounce);
        let how = match (fields.contains(&PeerField::Shutdown), planned.shutdown) {
            (true, true) => "it is shut down",
            (true, false) => "it is no longer shut down",
            (false, _) if bounces => "session starts anew",
            (false, _) => "session stays",
        };
        let said = format!("peer {was} changed ({}): {how}", names.join(", "));
        let Some(index) = self.names.get(was).copied() else {
            return said;
        };
        if was != planned.name {
            self.leave_name(now, &planned.name);
            self.names.remove(was);
            self.names.insert(planned.name.clone(), index);
        }
        let config = session_config(&planned, &self.plan, self.own_start);
        let Some(peer) = self.peer_mut(index) else {
            return said;
        };
        let old = core::mem::replace(&mut peer.planned, planned);
        let address = peer.planned.address;
        let peer_at = (address, peer.planned.remote_asn);
        self.forget_address(index, old.address);
        self.addresses.entry(address).or_default().push(index);
        let mut outcome = Reconfigured::Kept;
        self.with_session(now, index, |session, now, _ids, out| {
            outcome = session.reconfigure(now, config, out);
        });
        // What the transport carries (source address, TTL) is unknown to the state machine.
        if bounces && outcome == Reconfigured::Kept {
            self.input(now, index, Input::ConfigurationChange);
        }
        if (old.address, old.remote_asn) != peer_at {
            // Somebody else: what the one before has left is not this one's.
            self.drop_kept(index);
        }
        if fields.contains(&PeerField::Shutdown) {
            self.follow_record(now, index);
        }
        self.sign_anew(now, index, fields);
        self.set_limit(now, index);
        self.check_limit(now, index);
        if fields.contains(&PeerField::EnforceFirstAs) {
            // What was treated as withdrawn is nowhere: only the peer still has it.
            self.ask_for_routes(index);
        }
        if fields.contains(&PeerField::Client)
            && let Some(facts) = self.peer(index).map(|peer| peer.facts(&self.plan))
        {
            self.rib.set_peer_kind(index, facts.kind);
        }
        said
    }
}

fn surroundings(plan: &Plan) -> Surroundings {
    let mut own_addresses = plan.tunnel_addresses();
    own_addresses.extend(plan.addresses());
    Surroundings {
        pools: plan.pools.clone(),
        own_blocks: plan.own_blocks.clone(),
        lent: plan.lent.clone(),
        own_addresses,
        mesh: plan.mesh,
    }
}

const fn is_import(field: PeerField) -> bool {
    matches!(
        field,
        PeerField::Import
            | PeerField::EnforceFirstAs
            | PeerField::PolicyFacts
            | PeerField::Kind
            | PeerField::Filters
            | PeerField::AllowedLocalAs
            | PeerField::GracefulShutdown
    )
}
