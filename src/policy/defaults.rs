//! What a peer's switch lets through where no filter has decided.
//!
//! Each refusal names the switch that lifts it. Nothing here looks at filters.

use core::fmt;
use std::net::IpAddr;

use super::evaluate::{Candidate, NORMAL_PRIORITY, Source, priority};
use crate::net::Prefix;

/// A switch of one direction of one peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum PolicyKind {
    /// The safe default for this kind of peer.
    #[default]
    Safe,
    /// Everything that the protocol allows.
    AcceptAll,
    /// Nothing.
    RejectAll,
}

/// How close a peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeerClass {
    /// Another node of the node-to-node mesh.
    Mesh,
    /// An explicitly configured iBGP peer (a reflector, another cluster speaker).
    Internal,
    /// An explicitly configured eBGP peer (a fabric router).
    External,
}

impl fmt::Display for PeerClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mesh => "peers of the mesh",
            Self::Internal => "iBGP peers",
            Self::External => "eBGP peers",
        })
    }
}

/// What the safe defaults are measured against.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Surroundings {
    /// All IP pools.
    pub pools: Vec<Prefix>,
    /// This node's own blocks.
    pub own_blocks: Vec<Prefix>,
    /// Single addresses inside own blocks that the records give to other nodes, sorted.
    pub lent: Vec<Prefix>,
    /// This node's own addresses, those on its tunnel devices among them.
    pub own_addresses: Vec<IpAddr>,
    /// Whether the node-to-node mesh carries the pools.
    pub mesh: bool,
}

/// Why a prefix is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rejection {
    /// `import = "none"` or `export = "none"`.
    Switch,
    /// It lies inside one of this node's own blocks.
    OwnBlock,
    /// It is the route to one of this node's own addresses.
    OwnAddress,
    /// A mesh peer sent something outside every pool.
    OutsidePools,
    /// An outside peer sent pool prefixes although the mesh carries them.
    PoolFromOutside,
    /// Only own blocks go to outside peers.
    NotOwn,
    /// Its pool has `disable-bgp-export`.
    Unexported,
}

impl Rejection {
    /// For scripts: it never changes.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Switch => "none",
            Self::OwnBlock => "own_block",
            Self::OwnAddress => "own_address",
            Self::OutsidePools => "outside_pools",
            Self::PoolFromOutside => "pool_from_outside",
            Self::NotOwn => "not_own",
            Self::Unexported => "disable_bgp_export",
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Switch => "the peer's policy is `none`",
            Self::OwnBlock => "it lies inside one of this node's own blocks",
            Self::OwnAddress => "it is one of this node's own addresses",
            Self::OutsidePools => "it is outside every IP pool (import = \"accept-all\" takes it)",
            Self::PoolFromOutside => {
                "it is inside an IP pool, which the mesh carries (import = \"accept-all\" takes it)"
            }
            Self::NotOwn => {
                "only own blocks go to outside peers (export = \"accept-all\" sends it)"
            }
            Self::Unexported => "its pool has `disable-bgp-export`",
        })
    }
}

impl Surroundings {
    /// Refuses what is this node's own. A single address inside an own block is not, if the records give
    /// it to another node, or if a node of the cluster (`from_node`) says that it has it: a pod that has
    /// moved keeps its address. A router can't say so.
    ///
    /// # Errors
    /// What of it the prefix is.
    pub(super) fn refuse_own(&self, prefix: Prefix, from_node: bool) -> Result<(), Rejection> {
        let host = |own: &IpAddr| Prefix::host(*own) == prefix;
        if self.own_addresses.iter().any(host) {
            return Err(Rejection::OwnAddress);
        }
        if !self.own_blocks.iter().any(|own| own.covers(prefix)) {
            return Ok(());
        }
        let moved = from_node && prefix.is_host();
        if moved || self.lent.binary_search(&prefix).is_ok() {
            return Ok(());
        }
        Err(Rejection::OwnBlock)
    }
}

/// Whether `prefix` is accepted from a peer.
///
/// # Errors
/// The reason, if not.
pub(super) fn import(
    kind: PolicyKind,
    (class, is_node): (PeerClass, bool),
    around: &Surroundings,
    prefix: Prefix,
) -> Result<(), Rejection> {
    match kind {
        PolicyKind::AcceptAll => return Ok(()),
        PolicyKind::RejectAll => return Err(Rejection::Switch),
        PolicyKind::Safe => {}
    }
    around.refuse_own(prefix, is_node)?;
    let in_pool = around.pools.iter().any(|pool| pool.covers(prefix));
    match class {
        PeerClass::Mesh if !in_pool => Err(Rejection::OutsidePools),
        PeerClass::External if in_pool && around.mesh => Err(Rejection::PoolFromOutside),
        PeerClass::Mesh | PeerClass::Internal | PeerClass::External => Ok(()),
    }
}

/// Whether a route is sent to a peer. `reflected` is what a reflector sends on to outside peers if it has
/// it from inside: the pools.
///
/// # Errors
/// The reason, if not.
pub(super) fn export(
    (kind, class): (PolicyKind, PeerClass),
    (own_blocks, reflected): (&[Prefix], &[Prefix]),
    candidate: &impl Candidate,
) -> Result<(), Rejection> {
    match kind {
        PolicyKind::AcceptAll => return Ok(()),
        PolicyKind::RejectAll => return Err(Rejection::Switch),
        PolicyKind::Safe => {}
    }
    let source = candidate.source();
    if matches!(source, Source::Local | Source::Beside) {
        return Ok(());
    }
    let prefix = candidate.prefix();
    let covers = |range: &Prefix| range.covers(prefix);
    let sent_on = source == Source::Internal && reflected.iter().any(covers);
    if class == PeerClass::External && !sent_on {
        return Err(Rejection::NotOwn);
    }
    // What is inside a block of ours is told by the block; a pod that is about to move says so by a
    // priority that is better than the normal one, and a pod that has moved, or borrows its address, is
    // what another node has told us of: a reflector that lends is the only one who can hand it on.
    let urgent = || priority(candidate).is_some_and(|found| found.get() < NORMAL_PRIORITY);
    let of_another = source == Source::Internal && prefix.is_host();
    if own_blocks.iter().any(covers) && !of_another && !urgent() {
        return Err(Rejection::OwnBlock);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    fn around(mesh: bool) -> Surroundings {
        Surroundings {
            pools: vec![prefix("10.244.0.0/16"), prefix("fd00:10:244::/48")],
            own_blocks: vec![prefix("10.244.1.0/26"), prefix("10.244.9.9/32")],
            lent: vec![prefix("10.244.1.5/32"), prefix("10.244.1.6/32")],
            own_addresses: vec!["10.0.0.1".parse().unwrap(), "10.244.1.0".parse().unwrap()],
            mesh,
        }
    }

    fn safe(class: PeerClass, mesh: bool, text: &str) -> Result<(), Rejection> {
        let is_node = class == PeerClass::Mesh;
        import(
            PolicyKind::Safe,
            (class, is_node),
            &around(mesh),
            prefix(text),
        )
    }

    #[test]
    fn an_address_that_another_node_has_is_not_own() {
        use PeerClass::{External, Internal, Mesh};
        // By the records: whoever carries the pools may say where it is.
        assert_eq!(safe(Internal, false, "10.244.1.5/32"), Ok(()));
        assert_eq!(safe(External, false, "10.244.1.6/32"), Ok(()));
        assert_eq!(
            safe(External, true, "10.244.1.6/32"),
            Err(Rejection::PoolFromOutside)
        );
        // By a node's own word: single addresses, and from nodes only.
        assert_eq!(safe(Mesh, true, "10.244.1.7/32"), Ok(()));
        let reflector = |text| {
            let around = around(false);
            import(PolicyKind::Safe, (Internal, true), &around, prefix(text))
        };
        assert_eq!(reflector("10.244.1.7/32"), Ok(()));
        assert_eq!(reflector("10.244.9.9/32"), Ok(()));
        for wider in ["10.244.1.0/26", "10.244.1.6/31", "10.244.1.4/30"] {
            assert_eq!(reflector(wider), Err(Rejection::OwnBlock));
        }
        // Its tunnel's end is the node's own, whoever says what.
        assert_eq!(reflector("10.244.1.0/32"), Err(Rejection::OwnAddress));
    }

    #[test]
    fn mesh_peers_bring_pool_prefixes_only() {
        assert_eq!(safe(PeerClass::Mesh, true, "10.244.2.0/26"), Ok(()));
        assert_eq!(safe(PeerClass::Mesh, true, "fd00:10:244:2::/64"), Ok(()));
        assert_eq!(
            safe(PeerClass::Mesh, true, "8.8.8.0/24"),
            Err(Rejection::OutsidePools)
        );
        assert_eq!(
            safe(PeerClass::Mesh, true, "0.0.0.0/0"),
            Err(Rejection::OutsidePools)
        );
    }

    #[test]
    fn nobody_takes_over_own_blocks_or_addresses() {
        for class in [PeerClass::Internal, PeerClass::External] {
            assert_eq!(
                safe(class, false, "10.244.1.7/32"),
                Err(Rejection::OwnBlock)
            );
        }
        for class in [PeerClass::Mesh, PeerClass::Internal, PeerClass::External] {
            assert_eq!(
                safe(class, false, "10.244.1.0/26"),
                Err(Rejection::OwnBlock)
            );
            assert_eq!(
                safe(class, false, "10.0.0.1/32"),
                Err(Rejection::OwnAddress)
            );
        }
    }

    #[test]
    fn outside_peers_bring_pool_prefixes_only_where_they_carry_them() {
        let outside = PeerClass::External;
        assert_eq!(
            safe(outside, true, "10.244.2.0/26"),
            Err(Rejection::PoolFromOutside)
        );
        assert_eq!(safe(outside, false, "10.244.2.0/26"), Ok(()));
        assert_eq!(safe(outside, true, "0.0.0.0/0"), Ok(()));
    }
}
