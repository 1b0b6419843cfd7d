//! What may come in and what may go out, per peer, as pure functions of a prefix.
//!
//! Safe by default (the design's §4): from mesh peers only pool prefixes; from outside nothing inside
//! this node's own blocks or addresses, and nothing inside the pools while the mesh carries them; to
//! eBGP peers only this node's own blocks. Each default has a switch: `import` and `export` of a
//! peer may be `accept-all` or `none`. It rewrites nothing: the RFC's own rules for attributes (own
//! AS in front, LOCAL_PREF off, ...) are not policy.

mod filter;

use core::fmt;
use std::net::IpAddr;

use crate::net::Prefix;
pub use filter::{
    Action, Direction, Filter, MatchOperator, Operation, PeerType, PrefixMatch, Rule,
};

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

/// What the safe defaults are measured against.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Surroundings {
    /// All IP pools.
    pub pools: Vec<Prefix>,
    /// This node's own blocks.
    pub own_blocks: Vec<Prefix>,
    /// This node's own addresses.
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
        })
    }
}

/// Whether `prefix` is accepted from a peer.
///
/// # Errors
/// The reason, if not.
pub fn import(
    kind: PolicyKind,
    class: PeerClass,
    around: &Surroundings,
    prefix: Prefix,
) -> Result<(), Rejection> {
    match kind {
        PolicyKind::AcceptAll => return Ok(()),
        PolicyKind::RejectAll => return Err(Rejection::Switch),
        PolicyKind::Safe => {}
    }
    if around.own_blocks.iter().any(|own| own.covers(prefix)) {
        return Err(Rejection::OwnBlock);
    }
    if around
        .own_addresses
        .iter()
        .any(|own| Prefix::host(*own) == prefix)
    {
        return Err(Rejection::OwnAddress);
    }
    let in_pool = around.pools.iter().any(|pool| pool.covers(prefix));
    match class {
        PeerClass::Mesh if !in_pool => Err(Rejection::OutsidePools),
        PeerClass::External if in_pool && around.mesh => Err(Rejection::PoolFromOutside),
        PeerClass::Mesh | PeerClass::Internal | PeerClass::External => Ok(()),
    }
}

/// Whether `prefix` is sent to a peer; `own` says that this node originates it.
///
/// # Errors
/// The reason, if not.
pub fn export(kind: PolicyKind, class: PeerClass, own: bool) -> Result<(), Rejection> {
    match (kind, class) {
        (PolicyKind::AcceptAll, _) => Ok(()),
        (PolicyKind::RejectAll, _) => Err(Rejection::Switch),
        (PolicyKind::Safe, PeerClass::External) if !own => Err(Rejection::NotOwn),
        (PolicyKind::Safe, PeerClass::Mesh | PeerClass::Internal | PeerClass::External) => Ok(()),
    }
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
            own_blocks: vec![prefix("10.244.1.0/26")],
            own_addresses: vec!["10.0.0.1".parse().unwrap()],
            mesh,
        }
    }

    fn safe(class: PeerClass, mesh: bool, text: &str) -> Result<(), Rejection> {
        import(PolicyKind::Safe, class, &around(mesh), prefix(text))
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
        for class in [PeerClass::Mesh, PeerClass::Internal, PeerClass::External] {
            assert_eq!(
                safe(class, false, "10.244.1.0/26"),
                Err(Rejection::OwnBlock)
            );
            assert_eq!(
                safe(class, false, "10.244.1.7/32"),
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

    #[test]
    fn only_own_blocks_leave_to_the_outside_unless_switched() {
        assert_eq!(export(PolicyKind::Safe, PeerClass::External, true), Ok(()));
        assert_eq!(
            export(PolicyKind::Safe, PeerClass::External, false),
            Err(Rejection::NotOwn)
        );
        assert_eq!(
            export(PolicyKind::AcceptAll, PeerClass::External, false),
            Ok(())
        );
        assert_eq!(
            export(PolicyKind::RejectAll, PeerClass::Mesh, true),
            Err(Rejection::Switch)
        );
        assert_eq!(export(PolicyKind::Safe, PeerClass::Internal, false), Ok(()));
    }
}
