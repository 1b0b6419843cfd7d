//! UPDATE out: which group a peer is in, what policy lets through, and when bytes are made.
//!
//! Bytes are pulled: a cohort encodes only while one of its members can take more, so what is
//! superseded before it leaves is never sent.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use super::peer::PeerEntry;
use super::{Output, Speaker};
use crate::net::{Family, Prefix};
use crate::policy::{Advertisement, Direction, ExportTerms, Filter, PeerClass, PolicyKind};
use crate::rib::{ExportKind, GroupKey, PeerIndex};
use crate::time::Instant;
use crate::topology::NextHopMode;
use crate::wire::attribute::NextHop;
use crate::wire::frame::{self, MAX_EXTENDED_LEN, MAX_LEN, MessageKind};

impl Speaker {
    /// Encodes what the connections can take; call when inputs are done for now.
    pub fn flush(&mut self, now: Instant) {
        while let Some(delivery) = self.rib.poll_send(now, &self.policies) {
            let messages = frame::messages(&delivery.bytes).count() as u64;
            for index in delivery.to.as_slice().iter().copied() {
                let Some(peer) = self.peer_mut(index) else {
                    continue;
                };
                let Some(established) = &peer.established else {
                    continue;
                };
                let connection = established.connection;
                peer.queued += delivery.bytes.len();
                peer.session.count_sent(MessageKind::Update, messages);
                // Said every time: it counts only if the timer does not run yet, and what is queued
                // already may be a KEEPALIVE of which nobody said so.
                peer.session.queue_moved(now, connection, [false, true]);
                self.outputs.push_back(Output::Send {
                    connection,
                    bytes: delivery.bytes.clone(),
                });
                self.keep_deadline(index);
            }
        }
    }

    /// Puts a peer whose session has come up into its groups.
    pub(super) fn begin_export(&mut self, index: PeerIndex) {
        for (_, key) in self.group_keys(&[index]) {
            self.rib.add_export(index, key);
        }
    }

    /// Puts every peer into the groups that the plan wants it in now; each is told what differs.
    pub(super) fn change_exports(&mut self) {
        let used = self.rib.policies();
        self.policies.keep(&used);
        let keys = self.group_keys(&self.indices());
        self.rib.change_exports(keys);
    }

    /// Measures exports against other own blocks: what is inside those that come or go is looked at
    /// again.
    pub(super) fn change_own_blocks(&mut self) {
        let now = &self.plan.own_blocks;
        let before = core::mem::replace(&mut self.policies.own_blocks, now.clone());
        let gone = before.iter().filter(|block| !now.contains(block));
        let come = now.iter().filter(|block| !before.contains(block));
        let changed: Vec<Prefix> = gone.chain(come).copied().collect();
        self.rib.look_again_inside(&changed);
    }

    /// Whether this node is to be left alone by traffic: all that it announces and all that it learns
    /// is the last choice (RFC 8326).
    pub fn set_draining(&mut self, draining: bool) {
        if core::mem::replace(&mut self.draining, draining) != draining {
            let what = if draining {
                "moves traffic away"
            } else {
                "lets traffic come back"
            };
            tracing::info!("an operator {what}");
            let all = self.indices().into_iter().collect();
            self.judge_again(&all);
            self.change_exports();
        }
    }

    /// Says which link-local address of ours each peer has on its link, for those that are on one.
    pub fn set_link_locals(&mut self, link_locals: BTreeMap<IpAddr, Ipv6Addr>) {
        if self.link_locals != link_locals {
            self.link_locals = link_locals;
            self.change_exports();
        }
    }

    /// Whether it is.
    pub const fn is_draining(&self) -> bool {
        self.draining
    }

    fn group_keys(&mut self, peers: &[PeerIndex]) -> Vec<(PeerIndex, GroupKey)> {
        let mut keys = Vec::new();
        for index in peers.iter().copied() {
            for family in Family::ALL {
                let Some(terms) = self.peer(index).map(|peer| self.export_terms(peer, family))
                else {
                    continue;
                };
                let policy = self.policies.number(terms);
                let key = self.peer(index);
                let key = key.and_then(|peer| self.group_key(peer, family, policy));
                keys.extend(key.map(|key| (index, key)));
            }
        }
        keys
    }

    /// How routes to a peer are judged, without what can't matter to it: less differs.
    fn export_terms(&self, peer: &PeerEntry, family: Family) -> ExportTerms {
        let plan = &self.plan;
        let of_family = |prefix: &&Prefix| prefix.family() == family;
        let routes = &peer.planned.policy;
        let (kind, class) = (routes.export, peer.class());
        let rules = |filter: &&Arc<Filter>| !filter.rules(Direction::Export, family).is_empty();
        let reflects =
            plan.cluster_id.is_some() && (kind, class) == (PolicyKind::Safe, PeerClass::External);
        let advertisements = plan.advertisements.iter();
        let advertisements = advertisements.filter(|one| one.cidr.family() == family);
        ExportTerms {
            kind,
            class,
            filters: peer.planned.filters.iter().filter(rules).cloned().collect(),
            unexported: plan.unexported.iter().filter(of_family).copied().collect(),
            reflected: match reflects {
                true => plan.pools.iter().filter(of_family).copied().collect(),
                false => Vec::new(),
            },
            links: self.links_for(peer, Direction::Export),
            advertisements: advertisements
                .map(|one| Advertisement {
                    cidr: one.cidr,
                    communities: one.communities.clone(),
                })
                .collect(),
            last_choice: routes.graceful_shutdown || self.draining,
        }
    }

    fn group_key(&self, peer: &PeerEntry, family: Family, policy: u32) -> Option<GroupKey> {
        let established = peer.established.as_ref()?;
        let negotiated = &established.negotiated;
        if !family.of(&negotiated.families) {
            return None;
        }
        let max_len = if negotiated.extended_messages {
            MAX_EXTENDED_LEN
        } else {
            MAX_LEN
        };
        Some(GroupKey {
            kind: self.export_kind(peer),
            family,
            four_octet_as: negotiated.four_octet_as,
            max_len: u16::try_from(max_len).unwrap_or(u16::MAX),
            add_path: family.of(&negotiated.add_path).send,
            paths: match family.of(&negotiated.add_path).send {
                true => peer.planned.policy.paths,
                false => 0,
            },
            role: peer.role(),
            own_next_hop: self.beside(
                peer,
                self.own_next_hop(established.local, family, negotiated)?,
            ),
            next_hop_self: peer.planned.policy.next_hop == NextHopMode::Own,
            next_hop_keep: peer.planned.policy.next_hop == NextHopMode::Keep,
            // Who asked for our own address is not told of a neighbour's, however near.
            shared_subnet: self
                .shared_subnet(peer)
                .filter(|_| peer.planned.policy.next_hop != NextHopMode::Own),
            extended_next_hop: negotiated.extended_next_hop,
            long_lived: negotiated.knows_long_lived(family),
            policy,
        })
    }

    /// What a peer is to us, by the plan: a node with a cluster id reflects (RFC 4456).
    fn export_kind(&self, peer: &PeerEntry) -> ExportKind {
        match self.plan.cluster_id {
            _ if peer.is_ebgp() => ExportKind::Ebgp {
                local_as: peer.planned.local_asn,
                remote_as: None,
            },
            Some(cluster_id) => ExportKind::Reflect {
                cluster_id,
                to_clients: peer.planned.client,
            },
            None => ExportKind::Ibgp,
        }
    }

    /// Our address that a peer can send packets of `family` to: the session's own address if it is of
    /// the family, else the node's; an IPv6 one for IPv4 routes only if agreed (RFC 8950).
    fn own_next_hop(
        &self,
        local: Option<IpAddr>,
        family: Family,
        negotiated: &crate::session::Negotiated,
    ) -> Option<IpAddr> {
        let fits = |address: &IpAddr| address.is_ipv4() == (family == Family::Ipv4);
        let node = match family {
            Family::Ipv4 => self.plan.ipv4.map(|network| IpAddr::V4(network.ip())),
            Family::Ipv6 => self.plan.ipv6.map(|network| IpAddr::V6(network.ip())),
        };
        let over_ipv6 = local.filter(|_| negotiated.extended_next_hop && family == Family::Ipv4);
        // Who is beside us would not take it for a next hop.
        let local = local.filter(|address| !address.is_loopback());
        // A peer on a link without addresses has no way to another address of ours.
        let on_link = over_ipv6.filter(is_link_local);
        local.filter(fits).or(on_link).or(node).or(over_ipv6)
    }

    /// Our next hop with the link-local address beside a global IPv6 one, if the peer is on a link of ours
    /// (RFC 2545 §3).
    fn beside(&self, peer: &PeerEntry, address: IpAddr) -> NextHop {
        let link_local = self.link_locals.get(&peer.planned.address).copied();
        let global = address.is_ipv6() && !is_link_local(&address);
        NextHop {
            link_local: link_local.filter(|_| global),
            ..NextHop::new(address)
        }
    }

    /// The subnet that this node shares with the peer, if they are neighbours.
    fn shared_subnet(&self, peer: &PeerEntry) -> Option<Prefix> {
        let subnets = [
            self.plan
                .ipv4
                .map(|net| Prefix::new(net.ip().into(), net.prefix())),
            self.plan
                .ipv6
                .map(|net| Prefix::new(net.ip().into(), net.prefix())),
        ];
        subnets
            .into_iter()
            .flatten()
            .find(|subnet| subnet.contains(peer.planned.address))
    }
}

fn is_link_local(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}
