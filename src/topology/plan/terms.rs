//! What the sessions of a plan share: defaults, ports, AS numbers, whose client the other end is.
//!
//! Values of one session out of its record's, the cluster's and the house's, in this order; which
//! sessions there are is not decided here.

use core::time::Duration;
use std::sync::Arc;

use super::{
    DEFAULT_CONNECT_RETRY, DEFAULT_HOLD_TIME, DEFAULT_RESTART_TIME, OpenTerms, PeerRoutes,
};
use crate::net::{Asn, Family, RouterId};
use crate::policy::Filter;
use crate::topology::intent::{BgpSettings, Families, Intent, Node, Peer, SessionSettings};
use crate::topology::peering::{LimitAction, PrefixLimit, RestartTerms, RoleTerms};

/// The most prefixes of a family that a mesh peer may send where nothing is configured: a node sends
/// its own blocks only, and no node has that many.
pub(super) const MESH_LIMIT: u32 = 20_000;
/// The same for all other peers: twice what the Internet has, so that it meets only an accident.
pub(super) const RECORD_LIMIT: u32 = 2_000_000;

pub(super) fn asn(intent: &Intent, node: &Node) -> Asn {
    node.as_number.unwrap_or(intent.bgp.as_number)
}

pub(super) fn listen_port(bgp: &BgpSettings, node: &Node) -> u16 {
    node.listen_port.unwrap_or(bgp.listen_port)
}

pub(super) fn connect_retry(own: &SessionSettings, cluster: &SessionSettings) -> Duration {
    own.connect_retry_time
        .or(cluster.connect_retry_time)
        .unwrap_or(DEFAULT_CONNECT_RETRY)
}

/// How long the other end may take none of our messages, if it is said.
pub(super) fn send_hold(own: &SessionSettings, cluster: &SessionSettings) -> Option<Duration> {
    let said = own.send_hold_time.or(cluster.send_hold_time);
    said.map(|seconds| Duration::from_secs(seconds.into()))
}

/// The filters of these names; assembly has reported names that there are none of.
pub(super) fn named(intent: &Intent, names: &[String]) -> Vec<Arc<Filter>> {
    let filters = names.iter().filter_map(|name| intent.filters.get(name));
    filters.cloned().collect()
}

pub(super) fn open(
    own: &SessionSettings,
    cluster: &SessionSettings,
    families: Families,
) -> OpenTerms {
    OpenTerms {
        hold_time: own
            .hold_time
            .or(cluster.hold_time)
            .unwrap_or(DEFAULT_HOLD_TIME),
        // The cluster's belongs to the cluster's hold time; a shorter one would run out first.
        keepalive_time: match own.hold_time {
            Some(_) => own.keepalive_time,
            None => own.keepalive_time.or(cluster.keepalive_time),
        },
        families,
        capabilities: true,
        four_octet_as: true,
        extended_messages: true,
        restart: RestartTerms {
            time: own
                .max_restart_time
                .or(cluster.max_restart_time)
                .unwrap_or(DEFAULT_RESTART_TIME),
            long_lived: own
                .long_lived_stale_time
                .or(cluster.long_lived_stale_time)
                .unwrap_or(0),
        },
        add_path: false,
        role: RoleTerms::default(),
    }
}

/// What the OPEN of a record's session says. Additional paths are offered between nodes, reflectors
/// or not, so that a session that changes its role need not start anew for them.
pub(super) fn open_of(
    record: &Peer,
    cluster: &SessionSettings,
    (families, between_nodes): (Families, bool),
) -> OpenTerms {
    let offered = &record.capabilities;
    if !offered.any {
        // What a session has that nobody has said anything about (RFC 4271).
        return OpenTerms {
            capabilities: false,
            four_octet_as: false,
            extended_messages: false,
            restart: RestartTerms {
                time: 0,
                long_lived: 0,
            },
            ..open(&record.session, cluster, Families::only(Family::Ipv4))
        };
    }
    OpenTerms {
        four_octet_as: offered.four_octet_as,
        extended_messages: offered.extended_messages,
        add_path: offered.add_path.unwrap_or(between_nodes),
        role: offered.role,
        ..open(&record.session, cluster, families)
    }
}

/// The families that a node has an address of, and the session's own: without an address of a family
/// there is no next hop to send and no use for routes.
pub(super) fn usable(me: &Node, session: Option<Family>) -> Families {
    let mut families = session.map_or(
        Families {
            ipv4: false,
            ipv6: false,
        },
        Families::only,
    );
    families.ipv4 |= me.ipv4_address.is_some();
    families.ipv6 |= me.ipv6_address.is_some();
    families
}

/// What comes and goes, with the limit of the kind of peer if none is configured. Between nodes a limit
/// costs what is above it and never the session, which would cost a node all its pods.
pub(super) fn routes(configured: &PeerRoutes, (limit, between_nodes): (u32, bool)) -> PeerRoutes {
    let action = if between_nodes {
        LimitAction::Discard
    } else {
        LimitAction::Restart
    };
    PeerRoutes {
        limit: PrefixLimit {
            max: Some(configured.limit.max.unwrap_or(limit)),
            action: Some(configured.limit.action.unwrap_or(action)),
        },
        ..configured.clone()
    }
}

/// Whether the other end is our client (RFC 4456): we reflect, it is in our AS, and it is no reflector
/// of our own cluster.
pub(super) fn is_client(
    me: &Node,
    record: &Peer,
    ibgp: bool,
    their_cluster: Option<RouterId>,
) -> bool {
    let Some(ours) = me.route_reflector_cluster_id else {
        return false;
    };
    ibgp && record.routes.client.unwrap_or(their_cluster != Some(ours))
}
