//! UPDATE out: which group a peer is in, what policy lets through, and when bytes are made.
//!
//! Bytes are pulled: a cohort encodes only while one of its members can take more, so what is
//! superseded before it leaves is never sent.

use std::net::IpAddr;

use super::peer::PeerEntry;
use super::{Output, Speaker};
use crate::net::{Family, Prefix};
use crate::policy::{self, PeerClass, PolicyKind};
use crate::rib::export;
use crate::rib::{ExportKind, ExportPolicy, ExportRoute, GroupKey, PeerIndex};
use crate::time::Instant;
use crate::topology::NextHopMode;
use crate::wire::attribute::NextHop;
use crate::wire::frame::{self, MAX_EXTENDED_LEN, MAX_LEN, MessageKind};

/// The export policy of all groups: the RFCs' rules, then the switch of the peer.
#[derive(Debug, Clone, Copy)]
struct Rules;

impl ExportPolicy for Rules {
    fn accept(&self, key: &GroupKey, route: &ExportRoute<'_>) -> bool {
        let (kind, class) = unpack(key.policy);
        policy::export(kind, class, route.peer.is_local()).is_ok()
            && export::permitted(key, route.source, route.attributes)
    }
}

const KINDS: [PolicyKind; 3] = [
    PolicyKind::Safe,
    PolicyKind::AcceptAll,
    PolicyKind::RejectAll,
];
const CLASSES: [PeerClass; 3] = [PeerClass::Mesh, PeerClass::Internal, PeerClass::External];

/// A policy is two small enums; its number in a group's key is their places.
fn pack(kind: PolicyKind, class: PeerClass) -> u32 {
    let kind = KINDS
        .into_iter()
        .zip(0..)
        .find(|(k, _)| *k == kind)
        .map_or(0, |(_, n)| n);
    let class = CLASSES
        .into_iter()
        .zip(0..)
        .find(|(c, _)| *c == class)
        .map_or(0, |(_, n)| n);
    kind * 3 + class
}

fn unpack(policy: u32) -> (PolicyKind, PeerClass) {
    let at = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
    let kind = KINDS
        .get(at(policy / 3))
        .copied()
        .unwrap_or(PolicyKind::RejectAll);
    let class = CLASSES
        .get(at(policy % 3))
        .copied()
        .unwrap_or(PeerClass::External);
    (kind, class)
}

impl Speaker {
    /// Encodes what the connections can take; call when inputs are done for now.
    pub fn flush(&mut self, now: Instant) {
        while let Some(delivery) = self.rib.poll_send(now, &Rules) {
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
                self.outputs.push_back(Output::Send {
                    connection,
                    bytes: delivery.bytes.clone(),
                });
                // Said every time: it counts only if the timer does not run yet, and what is queued
                // already may be a KEEPALIVE of which nobody said so.
                self.input(
                    now,
                    index,
                    crate::session::Input::SendBlocked { connection },
                );
            }
        }
    }

    /// Puts a peer whose session has come up into its groups.
    pub(super) fn begin_export(&mut self, index: PeerIndex) {
        for family in Family::ALL {
            let key = self
                .peer(index)
                .and_then(|peer| self.group_key(peer, family));
            if let Some(key) = key {
                self.rib.add_export(index, key);
            }
        }
    }

    /// Moves a peer to other groups in mid-session: what its new group refuses is withdrawn, if the peer
    /// has it; what the group lets through is sent, even if the peer has just that already.
    pub(super) fn change_export(&mut self, index: PeerIndex) {
        for family in Family::ALL {
            let key = self
                .peer(index)
                .and_then(|peer| self.group_key(peer, family));
            if let Some(key) = key {
                self.rib.change_export(index, key);
            }
        }
    }

    fn group_key(&self, peer: &PeerEntry, family: Family) -> Option<GroupKey> {
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
            own_next_hop: NextHop {
                address: self.own_next_hop(established.local, family, negotiated)?,
                link_local: None,
            },
            next_hop_self: peer.planned.policy.next_hop == NextHopMode::Own,
            // Who asked for our own address is not told of a neighbour's, however near.
            shared_subnet: self
                .shared_subnet(peer)
                .filter(|_| peer.planned.policy.next_hop != NextHopMode::Own),
            extended_next_hop: negotiated.extended_next_hop,
            policy: pack(peer.planned.policy.export, peer.class()),
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
        local.filter(fits).or(node).or(over_ipv6)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_survives_its_number() {
        for kind in KINDS {
            for class in CLASSES {
                assert_eq!(unpack(pack(kind, class)), (kind, class));
            }
        }
    }
}
