//! From what is planned to protect sessions to what the sockets are given.
//!
//! Nothing is read or kept here. What always holds: the listening sockets have a key for every peer that
//! is planned to have one, so nobody can connect in its name without it.

use crate::net::Prefix;
use crate::topology::{AoAlgorithm, Authentication, Plan, TemplateSource};
use crate::transport::{AoMac, KeyScope, Keys, Signing};

/// What segments are signed with; none if nothing protects the session, or its secret is missing.
pub(super) fn signing(authentication: &Authentication) -> Option<Signing> {
    match authentication {
        Authentication::None | Authentication::Missing(_) => None,
        Authentication::Md5(secret) => Some(Signing::Md5(secret.clone())),
        Authentication::Ao(key) => Some(Signing::Ao {
            id: key.id,
            algorithm: match key.algorithm {
                AoAlgorithm::HmacSha1 => AoMac::HmacSha1,
                AoAlgorithm::AesCmac => AoMac::AesCmac,
                AoAlgorithm::HmacSha256 => AoMac::HmacSha256,
            },
            secret: key.secret.clone(),
        }),
    }
}

/// The keys that listening sockets need: of every peer, and of the ranges that peers may turn up from.
///
/// Two sessions with one address share a key there, since the kernel looks at nothing else: that of the
/// first by name. The other one is dialled with its own.
pub(super) fn keys(plan: &Plan) -> Keys {
    let mut keys = Keys::new();
    for peer in &plan.peers {
        if let Some(signing) = signing(&peer.authentication) {
            keys.entry(KeyScope::host(peer.address)).or_insert(signing);
        }
    }
    for template in &plan.templates {
        let TemplateSource::Range(range) = &template.from else {
            continue;
        };
        if let Some(signing) = signing(&template.peer.authentication) {
            keys.entry(scope(*range)).or_insert(signing);
        }
    }
    keys
}

fn scope(range: Prefix) -> KeyScope {
    KeyScope {
        address: range.address(),
        length: range.len(),
    }
}
