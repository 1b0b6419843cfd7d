//! What may be sent to whom, and how a set of attributes changes on the way out.
//!
//! Pure functions of the group's key, the source and the attributes; no state, no bytes. Policy is
//! the speaker's: it implements [`ExportPolicy`] and calls [`permitted`] and [`rewrite`], which are
//! the rules of the RFCs (4271 §5.1 and §9.1.3, 1997, 4456), for what it lets through.
//!
//! The answers must depend on their arguments only. A change of policy is a new
//! [`GroupKey::policy`], so a new group; the answers under the former key say what a member has.

use std::net::IpAddr;

use super::attributes::{AttributeFlags, AttributesRef};
use super::peer::{PeerFacts, PeerIndex, PeerKind};
use crate::net::{Asn, Family, Prefix, Role, RouterId};
use crate::wire::attribute::sent_on::{Reflected, SentOn};
use crate::wire::attribute::{NextHop, PathAttributes, UnknownAttribute};

/// Flag bits of an attribute (RFC 4271 §4.3).
const FLAG_TRANSITIVE: u8 = 0x40;
const FLAG_PARTIAL: u8 = 0x20;
/// LOCAL_PREF of a route that came without one.
pub const DEFAULT_LOCAL_PREF: u32 = 100;

/// What the members of a group are to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExportKind {
    /// Peers in another AS.
    Ebgp {
        /// The AS that is put in front of AS_PATH.
        local_as: Asn,
        /// The peers' AS, for a policy that looks at it; `None` groups all eBGP peers together.
        remote_as: Option<Asn>,
    },
    /// Peers in our AS; what iBGP taught us does not go there (RFC 4271 §9.2).
    Ibgp,
    /// Peers in our AS while we are a route reflector (RFC 4456).
    Reflect {
        /// Put in front of CLUSTER_LIST.
        cluster_id: RouterId,
        /// Whether these peers are our clients.
        to_clients: bool,
    },
}

/// Everything that the bytes for a peer depend on: peers of equal keys get equal bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GroupKey {
    /// What the members are to us.
    pub kind: ExportKind,
    /// The family of the routes.
    pub family: Family,
    /// Whether AS numbers are sent in four octets (RFC 6793).
    pub four_octet_as: bool,
    /// The largest message, 4096 or 65535 (RFC 8654).
    pub max_len: u16,
    /// Whether all paths that share the traffic are sent, each under its own identifier (RFC 7911);
    /// else the best one, without.
    pub add_path: bool,
    /// With additional paths: so many of a prefix are sent, the best first, however unequal; 0 is those
    /// that share the traffic.
    pub paths: u8,
    /// What we are to the peers (RFC 9234).
    pub role: Option<Role>,
    /// Our own address towards these peers: the next hop of what we originate and of next-hop-self.
    pub own_next_hop: NextHop,
    /// Whether iBGP peers get our address as the next hop of learnt routes, too.
    pub next_hop_self: bool,
    /// Whether eBGP peers get the next hop of learnt routes as we have it.
    pub next_hop_keep: bool,
    /// The subnet shared with eBGP peers: a source's own address in it stays the next hop (RFC 4271
    /// §5.1.3, third party).
    pub shared_subnet: Option<Prefix>,
    /// Whether IPv4 routes may have an IPv6 next hop (RFC 8950).
    pub extended_next_hop: bool,
    /// Whether they know what LLGR_STALE means (RFC 9494): only then they get such routes.
    pub long_lived: bool,
    /// The export policy, by the speaker's number of it.
    pub policy: u32,
}

/// A route that stands to be exported.
#[derive(Debug, Clone, Copy)]
pub struct ExportRoute<'a> {
    /// Its prefix.
    pub prefix: Prefix,
    /// Who gave it to us.
    pub peer: PeerIndex,
    /// The facts of who gave it to us.
    pub source: &'a PeerFacts,
    /// Its attributes.
    pub attributes: AttributesRef<'a>,
}

/// The speaker's export policy. The default is the RFCs' rules and nothing else.
pub trait ExportPolicy {
    /// Whether the route goes to the group at all.
    fn accept(&self, key: &GroupKey, route: &ExportRoute<'_>) -> bool {
        permitted(key, route.source, route.attributes)
    }

    /// The same, and if it goes a number for what [`transform`](Self::transform) does to it beyond
    /// what its attributes and its source decide. Asked once a route and group.
    fn mark(&self, key: &GroupKey, route: &ExportRoute<'_>) -> Option<u32> {
        self.accept(key, route).then_some(0)
    }

    /// Whether [`mark`](Self::mark) looks at nothing but a route's attributes and source: then it is
    /// not asked again for the next route of the same.
    fn is_blind(&self, _key: &GroupKey) -> bool {
        false
    }

    /// Whether what routes with this [`mark`](Self::mark) say is changed by the RFCs' rules alone, so that
    /// [`transform`](Self::transform) is [`rewrite`](fn@rewrite) and need not be asked.
    fn is_plain(&self, _key: &GroupKey, _mark: u32) -> bool {
        false
    }

    /// The attributes as the group gets them, `None` to send nothing.
    fn rewrite(
        &self,
        key: &GroupKey,
        attributes: PathAttributes,
        source: &PeerFacts,
    ) -> Option<PathAttributes> {
        rewrite(key, attributes, source)
    }

    /// The same for routes with this [`mark`](Self::mark). Asked once a set of attributes, source, mark
    /// and group in a batch, so it can't look at the prefix.
    fn transform(
        &self,
        key: &GroupKey,
        attributes: PathAttributes,
        source: &PeerFacts,
        _mark: u32,
    ) -> Option<PathAttributes> {
        self.rewrite(key, attributes, source)
    }
}

/// The RFCs' rules alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct StandardExport;

impl ExportPolicy for StandardExport {
    fn is_plain(&self, _key: &GroupKey, _mark: u32) -> bool {
        true
    }
}

/// Whether the RFCs let a route of `source` with these attributes go to the group.
///
/// Well-known communities (RFC 1997), iBGP to iBGP (RFC 4271 §9.2), reflection (RFC 4456 §6). Split
/// horizon is not here: it is per member, the cohort's.
pub fn permitted(key: &GroupKey, source: &PeerFacts, attributes: AttributesRef<'_>) -> bool {
    let flags = attributes.flags();
    if flags.contains(AttributeFlags::NO_ADVERTISE) {
        return false;
    }
    // To somebody who does not know what it means it would be a route as good as any (RFC 9494 §4.6).
    if flags.contains(AttributeFlags::LLGR_STALE) && !key.long_lived {
        return false;
    }
    match key.kind {
        // Outside a confederation the whole AS is the confederation, so both communities bind.
        ExportKind::Ebgp { .. } => {
            let stays_below = key.role.is_some_and(Role::peer_is_not_below);
            let leaks = stays_below && flags.contains(AttributeFlags::TO_CUSTOMERS);
            !leaks
                && !flags.contains(AttributeFlags::NO_EXPORT)
                && !flags.contains(AttributeFlags::NO_EXPORT_SUBCONFED)
        }
        ExportKind::Ibgp => match source.kind {
            PeerKind::Local | PeerKind::Beside | PeerKind::Ebgp => true,
            PeerKind::Ibgp | PeerKind::IbgpClient => false,
        },
        ExportKind::Reflect { to_clients, .. } => match source.kind {
            PeerKind::Local | PeerKind::Beside | PeerKind::Ebgp | PeerKind::IbgpClient => true,
            PeerKind::Ibgp => to_clients,
        },
    }
}

/// The attributes as the RFCs want them sent to the group; `None` if they can't be.
pub fn rewrite(
    key: &GroupKey,
    mut attributes: PathAttributes,
    source: &PeerFacts,
) -> Option<PathAttributes> {
    attributes.next_hop = Some(next_hop(key, attributes.next_hop, source)?);
    if source.kind != PeerKind::Local {
        attributes
            .unknown
            .retain(|a| a.flags & FLAG_TRANSITIVE != 0);
        attributes.unknown.iter_mut().for_each(mark_partial);
    }
    sent_on(key, source).apply(&mut attributes);
    if let ExportKind::Ebgp { local_as, .. } = key.kind
        && key.role.is_some_and(Role::peer_is_not_above)
    {
        attributes.otc.get_or_insert(local_as);
    }
    Some(attributes)
}

/// The same from the stored octets to those of an UPDATE for a peer with four-octet AS numbers, NEXT_HOP
/// among them; `None`, and no octet, for what [`rewrite`] has to look at.
pub(crate) fn write_stored(
    key: &GroupKey,
    attributes: AttributesRef<'_>,
    source: &PeerFacts,
    out: &mut Vec<u8>,
) -> Option<()> {
    let marks = key.role.is_some_and(Role::peer_is_not_above);
    if !key.four_octet_as || key.family != Family::Ipv4 || marks {
        return None;
    }
    let hop = |learnt| next_hop(key, Some(NextHop::new(IpAddr::V4(learnt))), source);
    sent_on(key, source).write(attributes.canonical(), hop, out)
}

/// What changes in all that a source's routes say when they go to the group, the next hop apart.
fn sent_on(key: &GroupKey, source: &PeerFacts) -> SentOn {
    match key.kind {
        ExportKind::Ebgp { local_as, .. } => SentOn::Outside {
            local_as,
            // MED goes to the neighbouring AS only, not through it (RFC 4271 §5.1.4).
            drop_med: source.kind != PeerKind::Local,
        },
        ExportKind::Ibgp => SentOn::Inside {
            local_pref: DEFAULT_LOCAL_PREF,
            reflected: None,
        },
        ExportKind::Reflect { cluster_id, .. } => SentOn::Inside {
            local_pref: DEFAULT_LOCAL_PREF,
            reflected: matches!(source.kind, PeerKind::Ibgp | PeerKind::IbgpClient).then_some(
                Reflected {
                    originator: source.router_id,
                    cluster: cluster_id,
                },
            ),
        },
    }
}

/// The address of a third one that the group is told to send to; none where it is the source's own, which
/// split horizon is about, or ours.
pub(crate) fn learnt_address(
    key: &GroupKey,
    learnt: Option<NextHop>,
    source: &PeerFacts,
) -> Option<IpAddr> {
    let address = learnt?.address;
    if address == source.address {
        return None;
    }
    let hop = next_hop(key, learnt, source)?;
    (hop.address == address && hop != key.own_next_hop).then_some(address)
}

/// RFC 4271 §5.1.3: whose address the peer is to use.
fn next_hop(key: &GroupKey, learnt: Option<NextHop>, source: &PeerFacts) -> Option<NextHop> {
    // A link-local address means something on its own link only (RFC 2545 §2): here nobody may keep it.
    let everywhere = |hop: &NextHop| !hop.target().is_link_local() || hop.link_local.is_some();
    let kept = learnt.filter(|hop| !hop.address.is_unspecified() && everywhere(hop));
    let keep = match (key.kind, source.kind) {
        (_, PeerKind::Local) => true,
        // Its next hop is of use on this node only.
        (_, PeerKind::Beside) => false,
        (ExportKind::Ebgp { .. }, _) if key.next_hop_keep => true,
        // Only the source's own address: split horizon keeps it from that very peer, so that no peer
        // is ever told to send to itself.
        (ExportKind::Ebgp { .. }, PeerKind::Ebgp) => kept.is_some_and(|hop| {
            hop.address == source.address
                && key
                    .shared_subnet
                    .is_some_and(|subnet| subnet.contains(hop.address))
        }),
        (ExportKind::Ebgp { .. }, PeerKind::Ibgp | PeerKind::IbgpClient) => false,
        // Reflection must not touch the next hop (RFC 4456 §10).
        (ExportKind::Reflect { .. }, PeerKind::Ibgp | PeerKind::IbgpClient) => true,
        (ExportKind::Ibgp, _) | (ExportKind::Reflect { .. }, PeerKind::Ebgp) => !key.next_hop_self,
    };
    let mut hop = kept.filter(|_| keep).unwrap_or(key.own_next_hop);
    if hop != key.own_next_hop {
        hop = NextHop::new(hop.address);
    }
    let carried = match (key.family, hop.address) {
        (Family::Ipv4, IpAddr::V4(_)) | (Family::Ipv6, IpAddr::V6(_)) => true,
        (Family::Ipv4, IpAddr::V6(_)) => key.extended_next_hop,
        (Family::Ipv6, IpAddr::V4(_)) => false,
    };
    (carried && !hop.address.is_unspecified()).then_some(hop)
}

/// RFC 4271 §5: an unknown optional transitive attribute is passed on with the Partial bit.
fn mark_partial(attribute: &mut UnknownAttribute) {
    attribute.flags |= FLAG_PARTIAL;
}

#[cfg(test)]
mod tests;
