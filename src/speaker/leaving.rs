//! Sessions that the plan no longer has, and roles that it no longer gives us, until others are in their
//! place: make before break.
//!
//! Mesh to reflector, reflector to mesh, one router for another: what is new is begun at once; what is no
//! longer wanted *leaves*: still up, its routes in use, nothing withdrawn over it. It goes when every new or
//! changed session is up and both tables have gone over it, [`SETTLE`] has passed since, and no node's block would
//! be left without a path; at the latest after [`LIMIT`]. If it goes down before, its routes
//! stay until then.
//!
//! It is no graceful restart: that is about a far end that comes back. What always holds:
//!
//! - nothing leaves slowly for nobody's sake: a node that is gone from the cluster, a peer that is down
//!   and has no routes, and an outside peer without a successor are removed at once;
//! - a plan that has a leaving session again takes it back as it is.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::peer::PeerEntry;
use super::{Replanned, Speaker};
use crate::net::{Family, RouterId};
use crate::rib::{Path, PeerIndex};
use crate::session::{Input, StopReason};
use crate::time::{Duration, Instant};
use crate::topology::{FabricNode, Impact, PeerChange, PeerField, Plan, PlannedPeer};

/// How long a session stays after its successors are in place here: the other nodes learn of the
/// change at their own time, from a file or an API, and have their own successors to wait for.
pub(super) const SETTLE: Duration = Duration::from_secs(10);
/// How long it stays at most. A successor that never comes up must not keep a cluster between two plans.
pub(super) const LIMIT: Duration = Duration::from_secs(60);
/// How often it is looked whether all is in place.
const LOOK: Duration = Duration::from_secs(1);

/// What leaves.
#[derive(Debug)]
pub(super) struct Leaving {
    peers: BTreeSet<PeerIndex>,
    /// What is to be up first.
    successors: BTreeSet<PeerIndex>,
    limit: Instant,
    /// Since when all is in place.
    settling: Option<Instant>,
    look_at: Instant,
    /// The plan as it came, where a role of the former one is kept for now.
    held: Option<Box<Plan>>,
    /// We have become a reflector: what came to us through others of our cluster is no loop yet.
    promoted: bool,
}

impl Leaving {
    /// When it is time to look.
    pub(super) fn next_timeout(&self) -> Instant {
        self.look_at.min(self.limit)
    }
}

fn node_addresses(plan: &Plan) -> BTreeSet<IpAddr> {
    let of_node = |node: &FabricNode| Family::ALL.map(|family| node.address(family));
    let nodes = plan.fabric.nodes.iter();
    nodes.flat_map(of_node).flatten().collect()
}

impl Speaker {
    /// Whether a session is up only until others are.
    pub(super) fn is_leaving(&self, index: PeerIndex) -> bool {
        let leaving = self.leaving.as_ref();
        leaving.is_some_and(|leaving| leaving.peers.contains(&index))
    }

    pub(super) fn leaving_peers(&self) -> impl Iterator<Item = PeerIndex> + '_ {
        let leaving = self.leaving.as_ref();
        leaving
            .into_iter()
            .flat_map(|all| all.peers.iter().copied())
    }

    /// The plan to carry out now, and the one that came if the two differ: a reflector that is no longer
    /// one goes on reflecting, and outside peers that bring pool prefixes are still believed although the
    /// mesh is to carry them, until the sessions that make up for it are there.
    pub(super) fn hold_roles(&self, plan: Plan) -> (Plan, Option<Box<Plan>>) {
        let mut now = plan.clone();
        if plan.mesh && !self.plan.mesh && !self.plan.peers.is_empty() {
            now.mesh = false;
        }
        if plan.cluster_id.is_none() {
            let clients = self.entries().filter(|peer| peer.planned.client);
            let clients: BTreeSet<_> = clients.map(|peer| peer.planned.address).collect();
            if !clients.is_empty() {
                now.cluster_id = self.plan.cluster_id;
            }
            for peer in &mut now.peers {
                peer.client |= clients.contains(&peer.address);
            }
        }
        if now == plan {
            (plan, None)
        } else {
            (now, Some(Box::new(plan)))
        }
    }

    /// Which of the sessions that are no longer wanted leave slowly.
    pub(super) fn slow_leavers(&self, changes: &[PeerChange], plan: &Plan) -> BTreeSet<PeerIndex> {
        let replaced = changes.iter().any(is_successor);
        let removed = changes.iter().filter_map(|change| match change {
            PeerChange::Remove(name) => self.names.get(name).copied(),
            PeerChange::Add(_) | PeerChange::Change { .. } => None,
        });
        // Once for all: thousands may leave a mesh at the same time.
        let (before, after) = (node_addresses(&self.plan), node_addresses(plan));
        removed
            .filter(|index| {
                let Some(peer) = self.peer(*index) else {
                    return false;
                };
                let address = &peer.planned.address;
                let successor = after.contains(address) || replaced && !before.contains(address);
                // A peer that restarts has routes, too.
                let routes = Family::ALL.map(|family| self.rib.counts(*index, family).received);
                successor && (peer.established.is_some() || routes != [0, 0])
            })
            .collect()
    }

    /// Notes what leaves, and what has to be in place first.
    pub(super) fn begin_leaving(
        &mut self,
        now: Instant,
        leavers: BTreeSet<PeerIndex>,
        changes: &[PeerChange],
        (held, promoted): (Option<Box<Plan>>, bool),
    ) {
        let successors = changes.iter().filter(|change| is_successor(change));
        let successors: BTreeSet<PeerIndex> = successors
            .filter_map(|change| match change {
                PeerChange::Add(peer) | PeerChange::Change { peer, .. } => Some(&peer.name),
                PeerChange::Remove(_) => None,
            })
            .filter_map(|name| self.names.get(name).copied())
            .collect();
        match &mut self.leaving {
            None if leavers.is_empty() && held.is_none() && !promoted => {}
            // Nothing but the plan as it is by now.
            Some(leaving) if leavers.is_empty() && successors.is_empty() && !promoted => {
                leaving.held = held;
            }
            Some(leaving) => {
                leaving.peers.extend(leavers);
                leaving.successors.extend(successors);
                leaving.limit = now + LIMIT;
                leaving.look_at = now + LOOK;
                leaving.settling = None;
                leaving.held = held;
                leaving.promoted |= promoted;
            }
            None => {
                self.leaving = Some(Leaving {
                    peers: leavers,
                    successors,
                    limit: now + LIMIT,
                    settling: None,
                    look_at: now + LOOK,
                    held,
                    promoted,
                });
            }
        }
    }

    /// The cluster whose id makes a path a loop (RFC 4456 §8).
    pub(super) fn own_cluster(&self) -> Option<RouterId> {
        let promoted = self
            .leaving
            .as_ref()
            .is_some_and(|leaving| leaving.promoted);
        self.plan.cluster_id.filter(|_| !promoted)
    }

    /// The leaving session with the far end of `planned`, which the plan wants again; what it was.
    pub(super) fn take_back(&mut self, now: Instant, planned: &PlannedPeer) -> Option<PeerIndex> {
        let same = |peer: &PeerEntry| {
            (peer.planned.address, &peer.planned.interface) == (planned.address, &planned.interface)
        };
        let index = self
            .leaving_peers()
            .find(|index| self.peer(*index).is_some_and(same))?;
        if let Some(leaving) = &mut self.leaving {
            leaving.peers.remove(&index);
        }
        if self
            .peer(index)
            .is_some_and(|peer| peer.established.is_none())
        {
            self.keep_until(index, now + LIMIT);
        }
        Some(index)
    }

    /// A leaving session whose name is given to another one can't stay.
    pub(super) fn leave_name(&mut self, now: Instant, name: &str) {
        if let Some(index) = self.names.get(name).copied()
            && self.is_leaving(index)
        {
            self.end_leaving(now, index);
        }
    }

    /// Looks whether all is in place, if it is time.
    pub(super) fn look_at_leaving(&mut self, now: Instant) {
        let due = |leaving: &Leaving| leaving.next_timeout() <= now;
        let Some(leaving) = self.leaving.as_ref().filter(|leaving| due(leaving)) else {
            return;
        };
        let limit = leaving.limit <= now;
        let in_place = leaving
            .successors
            .iter()
            .all(|index| self.is_in_place(*index));
        let settled = leaving.settling.is_some_and(|since| now - since >= SETTLE);
        if limit || in_place && settled && !self.would_lose_a_block() {
            let missing = leaving
                .successors
                .iter()
                .filter(|index| !self.is_in_place(**index));
            let missing = missing.count();
            if missing > 0 {
                tracing::warn!(
                    missing,
                    "new sessions are not up yet; those before them go all the same"
                );
            }
            for line in self.leave(now) {
                tracing::info!("{line}");
            }
            return;
        }
        if let Some(leaving) = &mut self.leaving {
            leaving.settling = match leaving.settling {
                _ if !in_place => None,
                None => Some(now),
                since => since,
            };
            leaving.look_at = now + LOOK;
        }
    }

    /// Ends what leaves, and gives up the roles that were kept.
    fn leave(&mut self, now: Instant) -> Replanned {
        let mut said = Vec::new();
        let leavers: Vec<PeerIndex> = self.leaving_peers().collect();
        for index in leavers {
            if let Some(peer) = self.peer(index) {
                said.push(format!("peer {} has left", peer.planned.name));
            }
            self.end_leaving(now, index);
        }
        let Some(leaving) = self.leaving.take() else {
            return said;
        };
        if leaving.promoted {
            self.rib.attributes_mut().forget_raw();
            self.judge_again(&self.names.values().copied().collect());
        }
        if let Some(plan) = leaving.held {
            said.extend(self.carry_through(now, *plan, None));
        }
        said
    }

    /// Ends one leaving session: without a word if the far end then keeps our routes, for it may not
    /// have the new plan yet.
    fn end_leaving(&mut self, now: Instant, index: PeerIndex) {
        let Some(peer) = self.peer(index) else { return };
        let name = peer.planned.name.clone();
        let reason = if peer.far_end_keeps_routes() {
            StopReason::Quiet
        } else {
            StopReason::Deconfigured
        };
        self.input(now, index, Input::Stop(reason));
        if let Some(leaving) = &mut self.leaving {
            leaving.peers.remove(&index);
        }
        self.remove_peer(now, &name);
    }

    /// Whether a session is up, has sent its table and has been sent ours.
    fn is_in_place(&self, index: PeerIndex) -> bool {
        let Some(peer) = self.peer(index) else {
            // It was removed meanwhile: nobody waits for it.
            return true;
        };
        peer.established.as_ref().is_some_and(|up| {
            let families = up.negotiated.families.iter().zip(up.end_of_rib);
            families.into_iter().all(|(wanted, heard)| !wanted || heard)
        }) && self.rib.queued(index) == 0
    }

    /// Whether a block of a node would be left without a path if what leaves went now.
    fn would_lose_a_block(&self) -> bool {
        let promoted = self
            .leaving
            .as_ref()
            .is_some_and(|leaving| leaving.promoted);
        let own = self.plan.cluster_id.filter(|_| promoted);
        let of_own_cluster = |path: &Path| {
            let attributes = self.rib.path_attributes(path).map(|found| found.decode());
            attributes.is_some_and(|found| found.cluster_list.iter().any(|id| Some(*id) == own))
        };
        let goes =
            |path: &Path| self.is_leaving(path.peer) || own.is_some() && of_own_cluster(path);
        let blocks = self.plan.fabric.nodes.iter().flat_map(|node| &node.blocks);
        let mut routes = blocks.filter_map(|block| self.rib.lookup(*block));
        routes.any(|route| {
            let mut accepted = route.paths.iter().filter(|path| path.accepted).peekable();
            accepted.peek().is_some() && accepted.all(goes)
        })
    }
}

/// Whether a change brings a session into being, or into another role, that others may leave for.
fn is_successor(change: &PeerChange) -> bool {
    let role = [PeerField::Name, PeerField::Kind, PeerField::Client];
    match change {
        PeerChange::Add(_) => true,
        PeerChange::Remove(_) => false,
        PeerChange::Change { fields, .. } => {
            change.impact() == Some(Impact::Bounce)
                || fields.iter().any(|field| role.contains(field))
        }
    }
}
