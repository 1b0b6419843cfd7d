//! Capabilities that a peer does not take: what its NOTIFICATION names is left out of the next OPEN (RFC 5492 §3).
//!
//! Pure values: what is offered, what was refused, and what is left to offer. When an OPEN goes out again
//! is the peer's to say. What always holds: something is withheld only if we have offered it, so each
//! refusal leaves less to refuse; a family that is wanted and can't be had without capabilities is
//! never given up for nothing.

use super::config::{AddPath, Offer};
use crate::net::{Asn, Family};
use crate::wire::capability::Capability;
use crate::wire::notification::Notification;

/// Unsupported Optional Parameter.
const PARAMETER: (u8, u8) = (2, 4);
/// Unsupported Capability.
const CAPABILITY: (u8, u8) = (2, 7);

/// What is left of `offer` for a peer of which `refusal` came, `all` being what is configured; `None` if it is
/// no such refusal, or there is nothing that could be left out.
pub(super) fn without_refused(
    all: &Offer,
    offer: &Offer,
    (local_asn, remote_asn): (Asn, Option<Asn>),
    refusal: &Notification,
) -> Option<Offer> {
    let offered = offer.capabilities(local_asn, remote_asn);
    let named = match (refusal.code, refusal.subcode) {
        // Capabilities are the one parameter that we send.
        PARAMETER => Vec::new(),
        CAPABILITY => named(&refusal.data),
        _other => return None,
    };
    if offered.is_empty() {
        return None;
    }
    if named.is_empty() {
        // Without capabilities a session has IPv4 and nothing else.
        return all.offers(Family::Ipv4).then(Offer::bare);
    }
    let refused = offered
        .iter()
        .filter(|ours| named.iter().any(|name| is_about(name, ours)));
    let mut left = offer.clone();
    let mut any = false;
    for capability in refused {
        any = true;
        leave_out(&mut left, capability);
    }
    if !left.families.contains(&true) {
        left.families = [all.offers(Family::Ipv4), false];
        left.multiprotocol = false;
    }
    // A peer may name what it misses, too, of which we have nothing to leave out.
    (any && left.families.contains(&true)).then_some(left)
}

/// The capabilities in the data of a NOTIFICATION, as far as they can be read.
fn named(mut data: &[u8]) -> Vec<(u8, &[u8])> {
    let mut all = Vec::new();
    while let [code, length, rest @ ..] = data {
        let Some((value, more)) = rest.split_at_checked(usize::from(*length)) else {
            break;
        };
        all.push((*code, value));
        data = more;
    }
    all
}

/// Whether a name in a NOTIFICATION is that of a capability of ours: a family by its number, others by
/// their code.
fn is_about((code, value): &(u8, &[u8]), ours: &Capability) -> bool {
    if *code != ours.code() {
        return false;
    }
    match (ours, Capability::decode(*code, value)) {
        (Capability::Multiprotocol(_), Ok(named @ Capability::Multiprotocol(_))) => named == *ours,
        _by_code => true,
    }
}

fn leave_out(offer: &mut Offer, capability: &Capability) {
    const NONE: AddPath = AddPath {
        send: false,
        receive: false,
    };
    match capability {
        Capability::Multiprotocol(family) => {
            for ours in Family::ALL {
                if ours.afi_safi() == *family {
                    *ours.of_mut(&mut offer.families) = false;
                }
            }
        }
        Capability::RouteRefresh => offer.route_refresh = false,
        Capability::ExtendedNextHop(_) => offer.extended_next_hop = false,
        Capability::ExtendedMessage => offer.extended_messages = false,
        Capability::Role(_) => offer.role = None,
        Capability::GracefulRestart { .. } => offer.graceful_restart = None,
        Capability::FourOctetAs(_) => offer.four_octet_as = false,
        Capability::AddPath(_) => offer.add_path = [NONE; 2],
        Capability::EnhancedRouteRefresh => offer.enhanced_refresh = false,
        Capability::LongLivedGracefulRestart(_) => {
            if let Some(restart) = &mut offer.graceful_restart {
                restart.long_lived = 0;
            }
        }
        Capability::Fqdn { .. } => offer.fqdn = None,
        Capability::Unknown { .. } => {}
    }
}
