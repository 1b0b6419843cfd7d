//! Two OPENs to one agreement, or to the reason why there is none (RFC 4271 §6.2, RFC 5492).
//!
//! Pure: what we sent, what came, what is configured. What is wrong with an OPEN in itself is the
//! codec's to say; here it is only judged against us.

use super::config::{AddPath, HoldTime, PeerConfig};
use crate::net::{AfiSafi, Asn, Family, Role, RouterId};
use crate::time::Duration;
use crate::wire::capability::Capability;
use crate::wire::notification::Notification;
use crate::wire::open::Open;

/// What both sides can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Negotiated {
    /// The lesser of both proposals; disabled if either is.
    pub hold_time: HoldTime,
    /// The interval of KEEPALIVEs before jitter.
    pub keepalive: Option<Duration>,
    /// Families, by [`Family::index`].
    pub families: [bool; 2],
    /// AS numbers take four octets on this session.
    pub four_octet_as: bool,
    /// The peer answers ROUTE-REFRESH.
    pub route_refresh: bool,
    /// Both mark begin and end of a refresh.
    pub enhanced_refresh: bool,
    /// The peer takes messages above 4096 octets.
    pub extended_messages: bool,
    /// We said that we take messages above 4096 octets.
    pub accept_extended: bool,
    /// IPv4 routes may have an IPv6 next hop, both ways.
    pub extended_next_hop: bool,
    /// Additional paths as agreed, by [`Family::index`].
    pub add_path: [AddPath; 2],
    /// The peer's graceful restart, if both offered it.
    pub graceful_restart: Option<PeerRestart>,
    /// The peer's identifier.
    pub remote_router_id: RouterId,
    /// The peer's AS number.
    pub remote_asn: Asn,
    /// Both are of one AS.
    pub ibgp: bool,
    /// The peer's role, on eBGP.
    pub remote_role: Option<Role>,
    /// All that the peer offered, in its order.
    pub peer_capabilities: Vec<Capability>,
}

/// Graceful restart as agreed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerRestart {
    /// The peer has restarted and asks for routes (R).
    pub restarting: bool,
    /// Both keep routes over a NOTIFICATION (N, RFC 8538).
    pub notification: bool,
    /// How long the peer may take to come back.
    pub time: Duration,
    /// By [`Family::index`]: whether the peer kept its forwarding state (F); `None` if the family
    /// takes no part.
    pub families: [Option<bool>; 2],
    /// By [`Family::index`]: how long routes stay as the last choice (RFC 9494), if both offered it.
    pub long_lived: [Option<LongLived>; 2],
}

/// Long-lived graceful restart of one family as agreed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LongLived {
    /// The peer kept its forwarding state (F).
    pub kept: bool,
    /// How long its routes may stay: what it asks for, but no longer than what we are set to.
    pub time: Duration,
}

impl Negotiated {
    /// Whether the peer knows long-lived graceful restart in a family, whatever we offer.
    pub fn knows_long_lived(&self, family: Family) -> bool {
        let tuples = self.peer_capabilities.iter().filter_map(|c| match c {
            Capability::LongLivedGracefulRestart(tuples) => Some(tuples),
            _ => None,
        });
        let mut tuples = tuples.flatten();
        tuples.any(|(afi_safi, ..)| *afi_safi == family.afi_safi())
    }
}

/// Why an OPEN is not for us.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NegotiateError {
    /// The AS number is another one (2/2).
    #[error("the peer is AS {received}, AS {expected} is configured")]
    UnexpectedAs {
        /// What is configured.
        expected: Asn,
        /// What came.
        received: Asn,
    },
    /// Its identifier is ours, within one AS (2/3).
    #[error("the peer has our own router id {0}")]
    SameRouterId(RouterId),
    /// Its hold time is below the configured minimum (2/6).
    #[error("the peer proposes a hold time of {received} s, at least {least} s is configured")]
    HoldTimeTooShort {
        /// What came.
        received: u16,
        /// What is configured, in seconds.
        least: u64,
    },
    /// A capability is required and was not offered (2/7).
    #[error("the peer does not offer {}, which is required here", name(.0))]
    MissingCapability(Capability),
    /// There is no family that both have (2/7).
    #[error("the peer offers no address family that is configured here")]
    NoCommonFamily(Option<Family>),
    /// The roles do not fit (2/11, RFC 9234).
    #[error("our role is {ours}, the peer's is {}", theirs.map_or("unknown".to_owned(), |r| r.to_string()))]
    RoleMismatch {
        /// Ours.
        ours: Role,
        /// The peer's, if it has a known one.
        theirs: Option<Role>,
    },
    /// A role is required and none was offered (2/11, strict mode).
    #[error("the peer has no role, which is required here")]
    RoleMissing,
}

/// Agrees on a session, or says why not.
///
/// # Errors
/// [`NegotiateError`], which knows its NOTIFICATION.
pub fn negotiate(
    ours: &Open,
    theirs: &Open,
    config: &PeerConfig,
) -> Result<Negotiated, NegotiateError> {
    let four_octet_as = ours.four_octet_as() && theirs.four_octet_as();
    let remote_asn = remote_asn(theirs, config)?;
    let ibgp = remote_asn == config.local_asn;
    if ibgp && theirs.router_id == config.router_id {
        return Err(NegotiateError::SameRouterId(theirs.router_id));
    }
    let hold_time = hold_time(theirs.hold_time, config)?;
    if let Some(missing) = missing_capability(theirs, config) {
        return Err(NegotiateError::MissingCapability(missing));
    }
    let offered = theirs.families();
    let families = Family::ALL
        .map(|family| config.offer.offers(family) && offered.contains(&family.afi_safi()));
    if !families.contains(&true) {
        let wanted = Family::ALL
            .into_iter()
            .find(|family| config.offer.offers(*family));
        return Err(NegotiateError::NoCommonFamily(wanted));
    }
    let remote_role = if ibgp { None } else { role(theirs, config)? };
    Ok(Negotiated {
        hold_time,
        // Never longer than a third: the peer counts on three of them in a hold time.
        keepalive: hold_time.keepalive().map(|third| {
            let wanted = config.timers.keepalive.unwrap_or(third);
            wanted.clamp(Duration::from_secs(1).min(third), third)
        }),
        families,
        four_octet_as,
        route_refresh: theirs.route_refresh(),
        enhanced_refresh: ours.enhanced_route_refresh() && theirs.enhanced_route_refresh(),
        extended_messages: theirs.extended_message(),
        accept_extended: config.offer.extended_messages,
        extended_next_hop: config.offer.extended_next_hop
            && theirs.extended_next_hop(AfiSafi::IPV4_UNICAST, AFI_IPV6),
        add_path: Family::ALL.map(|family| add_path(family, theirs, config)),
        graceful_restart: graceful_restart(theirs, config),
        remote_router_id: theirs.router_id,
        remote_asn,
        ibgp,
        remote_role,
        peer_capabilities: theirs.capabilities.clone(),
    })
}

pub(super) const AFI_IPV6: u16 = 2;

/// The setting of `config` that an agreement does not meet, by its name for users.
pub(super) fn unmet(session: &Negotiated, config: &PeerConfig) -> Option<&'static str> {
    let required = &config.required;
    let theirs = Open {
        my_as: session.remote_asn.to_two_octets(),
        hold_time: session.hold_time.as_secs(),
        router_id: session.remote_router_id,
        capabilities: session.peer_capabilities.clone(),
    };
    if config
        .remote_asn
        .is_some_and(|expected| expected != session.remote_asn)
    {
        return Some("remote-as");
    }
    let hold = session.hold_time.duration();
    if let (Some(least), Some(hold)) = (required.min_hold_time, hold)
        && hold < least
    {
        return Some("min-hold-time");
    }
    if missing_capability(&theirs, config).is_some() {
        return Some("required-capabilities");
    }
    let role_missing = required.role && !session.ibgp && session.remote_role.is_none();
    role_missing.then_some("role")
}

fn remote_asn(theirs: &Open, config: &PeerConfig) -> Result<Asn, NegotiateError> {
    // A two-octet speaker does not know capability 65, so it sees AS_TRANS for a wide number.
    let (received, expected) = if config.offer.four_octet_as {
        (theirs.asn(), config.remote_asn)
    } else {
        let narrow = |asn: Asn| Asn(asn.to_two_octets().into());
        (Asn(theirs.my_as.into()), config.remote_asn.map(narrow))
    };
    match expected {
        Some(expected) if expected != received => {
            Err(NegotiateError::UnexpectedAs { expected, received })
        }
        Some(_) | None => Ok(config.remote_asn.unwrap_or(received)),
    }
}

fn hold_time(theirs: u16, config: &PeerConfig) -> Result<HoldTime, NegotiateError> {
    let least = config
        .required
        .min_hold_time
        .map_or(0, |least| least.as_secs());
    // Zero means "for ever" and is longer than any minimum.
    if theirs != 0 && u64::from(theirs) < least.max(3) {
        return Err(NegotiateError::HoldTimeTooShort {
            received: theirs,
            least: least.max(3),
        });
    }
    let ours = config.timers.hold_time;
    Ok(HoldTime::from_secs(theirs.min(ours.as_secs())).unwrap_or(HoldTime::Disabled))
}

/// The first capability that is required and not there.
fn missing_capability(theirs: &Open, config: &PeerConfig) -> Option<Capability> {
    let required = &config.required;
    let families = theirs.families();
    let family = Family::ALL
        .into_iter()
        .zip(required.families)
        .map(|(family, wanted)| (wanted, families.contains(&family.afi_safi()), family))
        .find(|(wanted, there, _)| *wanted && !there)
        .map(|(_, _, family)| Capability::Multiprotocol(family.afi_safi()));
    let lacks = |wanted: bool, there: bool, capability: Capability| {
        if wanted && !there {
            Some(capability)
        } else {
            None
        }
    };
    let next_hop = vec![(AfiSafi::IPV4_UNICAST, AFI_IPV6)];
    let restart = Capability::GracefulRestart {
        restarting: false,
        notification: false,
        time: 0,
        families: Vec::new(),
    };
    family
        .or_else(|| {
            let four = Capability::FourOctetAs(config.local_asn);
            lacks(required.four_octet_as, theirs.four_octet_as(), four)
        })
        .or_else(|| {
            lacks(
                required.route_refresh,
                theirs.route_refresh(),
                Capability::RouteRefresh,
            )
        })
        .or_else(|| {
            let there = theirs.extended_message();
            lacks(
                required.extended_messages,
                there,
                Capability::ExtendedMessage,
            )
        })
        .or_else(|| {
            let there = theirs.extended_next_hop(AfiSafi::IPV4_UNICAST, AFI_IPV6);
            lacks(
                required.extended_next_hop,
                there,
                Capability::ExtendedNextHop(next_hop),
            )
        })
        .or_else(|| {
            lacks(
                required.graceful_restart,
                theirs.graceful_restart().is_some(),
                restart,
            )
        })
}

fn role(theirs: &Open, config: &PeerConfig) -> Result<Option<Role>, NegotiateError> {
    let code = theirs.role();
    let remote = code.and_then(Role::from_code);
    match (config.offer.role, code) {
        (_, None) if config.required.role => Err(NegotiateError::RoleMissing),
        (Some(ours), Some(_)) if remote != Some(ours.counterpart()) => {
            Err(NegotiateError::RoleMismatch {
                ours,
                theirs: remote,
            })
        }
        (Some(_) | None, Some(_) | None) => Ok(remote),
    }
}

fn add_path(family: Family, theirs: &Open, config: &PeerConfig) -> AddPath {
    let ours = config.offer.add_path(family);
    let mode = theirs.add_path(family.afi_safi());
    // 1: the peer can receive, 2: it can send, 3: both; anything else is ignored (RFC 7911 §4).
    AddPath {
        send: ours.send && matches!(mode, 1 | 3),
        receive: ours.receive && matches!(mode, 2 | 3),
    }
}

fn graceful_restart(theirs: &Open, config: &PeerConfig) -> Option<PeerRestart> {
    let ours = config.offer.graceful_restart?;
    let peer = theirs.graceful_restart()?;
    let kept = |family: Family| {
        // Who takes no part keeps nothing, whatever the other offers.
        (*family.of(&ours.families))?;
        let tuple = peer
            .families
            .iter()
            .find(|(afi_safi, _)| *afi_safi == family.afi_safi());
        tuple.map(|(_, kept)| *kept)
    };
    let long_lived = |family: Family| {
        let tuples = theirs.long_lived_graceful_restart();
        let (_, kept, time) = tuples
            .iter()
            .find(|(afi_safi, ..)| *afi_safi == family.afi_safi())?;
        let secs = u64::from((*time).min(ours.long_lived));
        let time = Duration::from_secs(secs);
        let kept = *kept;
        (secs > 0 && family.of(&ours.families).is_some()).then_some(LongLived { kept, time })
    };
    Some(PeerRestart {
        restarting: peer.restarting,
        notification: ours.notification && peer.notification,
        time: Duration::from_secs(peer.time.into()),
        families: Family::ALL.map(kept),
        long_lived: Family::ALL.map(long_lived),
    })
}

/// A capability in words.
pub fn name(capability: &Capability) -> String {
    match capability {
        Capability::Multiprotocol(family) => format!("address family {family}"),
        Capability::RouteRefresh => "route refresh".to_owned(),
        Capability::ExtendedNextHop(_) => "IPv6 next hops for IPv4".to_owned(),
        Capability::ExtendedMessage => "extended messages".to_owned(),
        Capability::Role(_) => "a role".to_owned(),
        Capability::GracefulRestart { .. } => "graceful restart".to_owned(),
        Capability::FourOctetAs(_) => "four-octet AS numbers".to_owned(),
        Capability::AddPath(_) => "additional paths".to_owned(),
        Capability::EnhancedRouteRefresh => "enhanced route refresh".to_owned(),
        Capability::LongLivedGracefulRestart(_) => "long-lived graceful restart".to_owned(),
        Capability::Fqdn { .. } => "a host name".to_owned(),
        Capability::Unknown { code, .. } => format!("capability {code}"),
    }
}

impl NegotiateError {
    /// What the peer is told.
    pub fn notification(&self) -> Notification {
        match self {
            Self::UnexpectedAs { .. } => Notification::new(2, 2, Vec::new()),
            Self::SameRouterId(_) => Notification::new(2, 3, Vec::new()),
            Self::HoldTimeTooShort { .. } => Notification::new(2, 6, Vec::new()),
            Self::MissingCapability(capability) => {
                Notification::new(2, 7, capability_bytes(capability))
            }
            Self::NoCommonFamily(family) => {
                let capability = family.map(|family| Capability::Multiprotocol(family.afi_safi()));
                Notification::new(
                    2,
                    7,
                    capability
                        .as_ref()
                        .map(capability_bytes)
                        .unwrap_or_default(),
                )
            }
            Self::RoleMismatch { .. } | Self::RoleMissing => Notification::new(2, 11, Vec::new()),
        }
    }
}

/// A capability as OPEN would carry it: RFC 5492 §5 wants to see what is missing.
fn capability_bytes(capability: &Capability) -> Vec<u8> {
    let mut bytes = Vec::new();
    capability.encode(&mut bytes);
    bytes
}
