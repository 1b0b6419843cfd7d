//! A route as filters see it, and what filters do to its attributes.
//!
//! Attributes are decoded when the first rule asks for them, and once. On the way out to an eBGP peer
//! a rule may name the AS path with our own AS in front or without it: Calico's BIRD shows it with,
//! everybody else without. Numbers that a rule prepends come right behind our own. A route leaves by the
//! link that its next hop is reached by; while that is not known no rule that asks for it matches.

use std::cell::OnceCell;

use crate::net::{Asn, Community, Prefix};
use crate::policy::{Candidate, Changes, Links, Operation, PeerType, Source, local_pref_of};
use crate::rib::{AttributesRef, PeerKind};
use crate::wire::attribute::community::GRACEFUL_SHUTDOWN;
use crate::wire::attribute::{AsPath, PathAttributes, Segment, SegmentKind};

/// Decodes the attributes of an interned set at most once.
#[derive(Debug)]
pub(super) struct Lazy<'a> {
    stored: Option<AttributesRef<'a>>,
    decoded: OnceCell<PathAttributes>,
}

impl<'a> Lazy<'a> {
    pub(super) const fn new(stored: Option<AttributesRef<'a>>) -> Self {
        Self {
            stored,
            decoded: OnceCell::new(),
        }
    }

    pub(super) fn get(&self) -> &PathAttributes {
        self.decoded.get_or_init(|| {
            let decoded = self.stored.map(AttributesRef::decode);
            decoded.unwrap_or_default()
        })
    }
}

/// A route on its way in or out.
#[derive(Debug)]
pub(super) struct Seen<'a> {
    pub(super) prefix: Prefix,
    pub(super) source: Source,
    pub(super) peer_type: PeerType,
    /// Our AS, if it will stand in front of what the attributes say.
    pub(super) in_front: Option<Asn>,
    pub(super) attributes: &'a Lazy<'a>,
    /// What is known of next hops, if a rule asks.
    pub(super) links: Option<&'a Links>,
}

/// Where a route comes from, as policy sees it.
pub(super) const fn source_of(kind: PeerKind) -> Source {
    match kind {
        PeerKind::Local => Source::Local,
        PeerKind::Ibgp | PeerKind::IbgpClient => Source::Internal,
        PeerKind::Ebgp => Source::External,
        PeerKind::Beside => Source::Beside,
    }
}

impl Candidate for Seen<'_> {
    fn prefix(&self) -> Prefix {
        self.prefix
    }

    fn source(&self) -> Source {
        self.source
    }

    fn peer_type(&self) -> PeerType {
        self.peer_type
    }

    fn interface(&self) -> Option<&str> {
        // Attributes are not decoded for a question that nobody can answer.
        let links = self.links?;
        let next_hop = self.attributes.get().next_hop?;
        links.get(&next_hop.target()).map(AsRef::as_ref)
    }

    fn has_community(&self, community: Community) -> bool {
        self.attributes.get().has(community)
    }

    fn as_path_begins_with(&self, asns: &[Asn]) -> bool {
        let path = &self.attributes.get().as_path;
        let with = |own: Asn| begins_with(core::iter::once(own).chain(in_order(path)), asns);
        begins_with(in_order(path), asns) || self.in_front.is_some_and(with)
    }

    fn local_pref(&self) -> Option<u32> {
        self.attributes.stored.and_then(AttributesRef::local_pref)
    }
}

fn begins_with(mut path: impl Iterator<Item = Asn>, asns: &[Asn]) -> bool {
    asns.iter().all(|asn| path.next() == Some(*asn))
}

/// The numbers of a path up to the first set, whose numbers have no order.
fn in_order(path: &AsPath) -> impl Iterator<Item = Asn> {
    let sequence = |segment: &&Segment| segment.kind == SegmentKind::Sequence;
    let sequences = path.segments.iter().take_while(sequence);
    sequences.flat_map(|segment| segment.asns.iter().copied())
}

/// Which preferences a session carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Preference {
    /// LOCAL_PREF, or the route is for our own tables.
    Local,
    /// None: the other end is in another AS, which is told by a community instead.
    Community,
}

/// Does to attributes what policy says.
pub(super) fn change(
    attributes: &mut PathAttributes,
    changes: &Changes<'_>,
    preference: Preference,
) {
    for operation in changes.operations {
        match operation {
            Operation::AddCommunity(community) => add(attributes, *community),
            Operation::PrependAsPath(asns) => {
                for asn in asns.iter().rev() {
                    attributes.as_path.prepend(*asn);
                }
            }
            Operation::SetPriority(priority) => {
                if preference == Preference::Local {
                    attributes.local_pref = Some(local_pref_of(*priority));
                }
            }
        }
    }
    for community in &changes.communities {
        add(attributes, *community);
    }
    match preference {
        _ if !changes.last_choice => {}
        Preference::Local => attributes.local_pref = Some(0),
        Preference::Community => add(attributes, Community::Standard(GRACEFUL_SHUTDOWN)),
    }
}

fn add(attributes: &mut PathAttributes, community: Community) {
    match community {
        Community::Standard(value) => {
            if !attributes.communities.contains(&value) {
                attributes.communities.push(value);
            }
        }
        Community::Large(parts) => {
            let value = parts.into();
            if !attributes.large_communities.contains(&value) {
                attributes.large_communities.push(value);
            }
        }
    }
}
