//! What is configured for a peer: who it is, when to call it, what to offer and what to insist on.
//!
//! Plain values; how they are read from files is not known here. [`PeerConfig::new`] takes what has
//! no default, everything else has one that suits a data centre.

use core::fmt;
use std::net::IpAddr;

use super::backoff::IdleHoldLimits;
use crate::net::{Asn, Family, Role, RouterId};
use crate::time::Duration;
use crate::wire::capability::Capability;
use crate::wire::open::Open;

/// The longest stale time that fits (RFC 9494 §3).
const MAX_LONG_LIVED: u32 = 0x00FF_FFFF;

/// A peer's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerConfig {
    /// Its address.
    pub remote: IpAddr,
    /// Its TCP port.
    pub port: u16,
    /// Our AS number towards it.
    pub local_asn: Asn,
    /// Its AS number; `None` takes any.
    pub remote_asn: Option<Asn>,
    /// Our BGP Identifier.
    pub router_id: RouterId,
    /// When to dial.
    pub dial: Dial,
    /// Whether incoming connections are taken; otherwise they get Cease 6/5.
    pub accept: bool,
    /// All durations.
    pub timers: TimerConfig,
    /// What OPEN offers.
    pub offer: Offer,
    /// What the peer's OPEN must bring.
    pub required: Required,
}

/// When a peer dials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dial {
    /// At once.
    Active,
    /// Never.
    Passive,
    /// If no session has come for so long: for the passive half of a mesh pair, so that collisions
    /// are rare and a one-sided filter still does no harm.
    After(Duration),
}

/// A hold time: none, or at least 3 s (RFC 4271 §4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldTime {
    /// No KEEPALIVE, no hold timer.
    Disabled,
    /// Whole seconds.
    Seconds(HoldSeconds),
}

/// 3 to 65535 seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HoldSeconds(u16);

/// A hold time of 1 or 2 seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a hold time of {0} s is not allowed: use 0 (disabled) or 3 to 65535 s")]
pub struct HoldTimeError(pub u16);

/// Durations of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimerConfig {
    /// Proposed hold time.
    pub hold_time: HoldTime,
    /// The interval of KEEPALIVEs, if shorter than a third of the hold time that was agreed on.
    pub keepalive: Option<Duration>,
    /// Between two dials; also how long one dial may take.
    pub connect_retry: Duration,
    /// The pause after an error.
    pub idle_hold: IdleHoldLimits,
    /// How long to wait for the peer's OPEN before sending ours.
    pub delay_open: Option<Duration>,
    /// How long an accepted connection may stay without OPEN.
    pub open_wait: Duration,
    /// How long the peer may leave our bytes unread, zero being for ever; `None`: 8 minutes or twice the
    /// hold time, whichever is longer (RFC 9687).
    pub send_hold: Option<Duration>,
}

/// What our OPEN offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Families, by [`Family::index`].
    pub families: [bool; 2],
    /// Whether they are said (RFC 4760); IPv4 alone goes without saying.
    pub multiprotocol: bool,
    /// Four-octet AS numbers (RFC 6793); off makes us a two-octet speaker.
    pub four_octet_as: bool,
    /// Route refresh (RFC 2918).
    pub route_refresh: bool,
    /// Enhanced route refresh (RFC 7313).
    pub enhanced_refresh: bool,
    /// Messages above 4096 octets (RFC 8654).
    pub extended_messages: bool,
    /// IPv4 routes with an IPv6 next hop (RFC 8950).
    pub extended_next_hop: bool,
    /// Graceful restart (RFC 4724).
    pub graceful_restart: Option<GracefulRestart>,
    /// Additional paths (RFC 7911), by [`Family::index`].
    pub add_path: [AddPath; 2],
    /// Our role (RFC 9234); only on eBGP.
    pub role: Option<Role>,
    /// Our host name, for the peer's logs.
    pub fqdn: Option<Fqdn>,
}

/// Graceful restart as offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GracefulRestart {
    /// How long we may take to come back, in seconds; only 12 bits go out.
    pub time: u16,
    /// By [`Family::index`]: `Some(true)` if its forwarding state was kept, `Some(false)` if the
    /// family takes part but was not kept, `None` if it takes no part.
    pub families: [Option<bool>; 2],
    /// We have restarted.
    pub restarting: bool,
    /// A NOTIFICATION keeps routes (RFC 8538).
    pub notification: bool,
    /// Seconds that routes stay as the last choice after the restart time (RFC 9494), for each family
    /// that takes part; only 24 bits go out. 0 offers nothing of the kind.
    pub long_lived: u32,
}

/// Directions of Add-Path in one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AddPath {
    /// We send, or may send, several paths.
    pub send: bool,
    /// We take, or may expect, several paths.
    pub receive: bool,
}

/// A host name and its domain (capability 73).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fqdn {
    /// Host name.
    pub host: String,
    /// Domain name, may be empty.
    pub domain: String,
}

/// What the peer's OPEN must bring, or it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Required {
    /// Families, by [`Family::index`].
    pub families: [bool; 2],
    /// Four-octet AS numbers.
    pub four_octet_as: bool,
    /// Route refresh.
    pub route_refresh: bool,
    /// Extended messages.
    pub extended_messages: bool,
    /// IPv4 routes with an IPv6 next hop.
    pub extended_next_hop: bool,
    /// Graceful restart.
    pub graceful_restart: bool,
    /// A role (the strict mode of RFC 9234 §4.2).
    pub role: bool,
    /// The least hold time that is taken from the peer; `None` takes any legal one.
    pub min_hold_time: Option<Duration>,
}

impl PeerConfig {
    /// A peer with data centre defaults: active, both directions, hold time 90 s, the family of its
    /// address, four-octet AS numbers and both kinds of route refresh.
    pub fn new(
        remote: IpAddr,
        local_asn: Asn,
        remote_asn: Option<Asn>,
        router_id: RouterId,
    ) -> Self {
        Self {
            remote,
            port: 179,
            local_asn,
            remote_asn,
            router_id,
            dial: Dial::Active,
            accept: true,
            timers: TimerConfig::default(),
            offer: Offer::of_families([remote.is_ipv4(), remote.is_ipv6()]),
            required: Required::default(),
        }
    }

    /// The OPEN that this configuration sends.
    pub fn open(&self) -> Open {
        Open {
            my_as: self.local_asn.to_two_octets(),
            hold_time: self.timers.hold_time.as_secs(),
            router_id: self.router_id,
            capabilities: self.offer.capabilities(self.local_asn, self.remote_asn),
        }
    }

    /// The first setting in which `other` differs and that OPEN carries, by its name for users.
    ///
    /// What graceful restart says about *this* start (R, F) does not count: it changes by itself
    /// once a restart is over, and matters only for the next OPEN.
    pub fn open_difference(&self, other: &Self) -> Option<&'static str> {
        let restart = |config: &Self| {
            config.offer.graceful_restart.map(|restart| {
                (
                    restart.time,
                    restart.notification,
                    restart.long_lived,
                    restart.families.map(|f| f.is_some()),
                )
            })
        };
        let (a, b) = (&self.offer, &other.offer);
        let differences = [
            ("local-as", self.local_asn != other.local_asn),
            ("router-id", self.router_id != other.router_id),
            ("hold-time", self.timers.hold_time != other.timers.hold_time),
            ("families", a.families != b.families),
            ("capabilities", a.multiprotocol != b.multiprotocol),
            ("four-octet-as", a.four_octet_as != b.four_octet_as),
            ("route-refresh", a.route_refresh != b.route_refresh),
            (
                "enhanced-route-refresh",
                a.enhanced_refresh != b.enhanced_refresh,
            ),
            (
                "extended-messages",
                a.extended_messages != b.extended_messages,
            ),
            (
                "extended-next-hop",
                a.extended_next_hop != b.extended_next_hop,
            ),
            ("graceful-restart", restart(self) != restart(other)),
            ("add-path", a.add_path != b.add_path),
            ("role", a.role != b.role),
            ("fqdn", a.fqdn != b.fqdn),
        ];
        differences
            .into_iter()
            .find(|(_, differs)| *differs)
            .map(|(name, _)| name)
    }
}

impl HoldTime {
    /// From seconds, 0 meaning disabled.
    ///
    /// # Errors
    /// 1 and 2 are not allowed.
    pub const fn from_secs(secs: u16) -> Result<Self, HoldTimeError> {
        match secs {
            0 => Ok(Self::Disabled),
            1 | 2 => Err(HoldTimeError(secs)),
            _ => Ok(Self::Seconds(HoldSeconds(secs))),
        }
    }

    /// As OPEN carries it.
    pub const fn as_secs(self) -> u16 {
        match self {
            Self::Disabled => 0,
            Self::Seconds(HoldSeconds(secs)) => secs,
        }
    }

    /// As a duration, if there is one.
    pub const fn duration(self) -> Option<Duration> {
        match self {
            Self::Disabled => None,
            Self::Seconds(HoldSeconds(secs)) => Some(Duration::from_secs(secs as u64)),
        }
    }

    /// A third of it, at least a second (RFC 4271 §4.4).
    pub fn keepalive(self) -> Option<Duration> {
        self.duration()
            .map(|hold| (hold / 3).max(Duration::from_secs(1)))
    }
}

impl fmt::Display for HoldTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disabled => f.write_str("disabled"),
            Self::Seconds(HoldSeconds(secs)) => write!(f, "{secs} s"),
        }
    }
}

impl TimerConfig {
    /// The SendHold time for an agreed hold time; none without one (RFC 9687 §3.2).
    pub fn send_hold(&self, hold: HoldTime) -> Option<Duration> {
        let hold = hold.duration()?;
        match self.send_hold {
            Some(Duration::ZERO) => None,
            // Not longer than the hold time would make it fire on a peer that is merely slow.
            Some(set) => Some(set.max(hold + Duration::from_secs(1))),
            None => Some(Duration::from_secs(8 * 60).max(hold * 2)),
        }
    }
}

impl Default for TimerConfig {
    fn default() -> Self {
        Self {
            hold_time: HoldTime::Seconds(HoldSeconds(90)),
            keepalive: None,
            connect_retry: Duration::from_secs(5),
            idle_hold: IdleHoldLimits::default(),
            delay_open: None,
            open_wait: Duration::from_secs(60),
            send_hold: None,
        }
    }
}

impl Offer {
    /// The defaults with these families.
    pub const fn of_families(families: [bool; 2]) -> Self {
        let none = AddPath {
            send: false,
            receive: false,
        };
        Self {
            families,
            multiprotocol: true,
            four_octet_as: true,
            route_refresh: true,
            enhanced_refresh: true,
            extended_messages: false,
            extended_next_hop: false,
            graceful_restart: None,
            add_path: [none; 2],
            role: None,
            fqdn: None,
        }
    }

    /// No capability at all: IPv4 routes, and nothing else (RFC 4271).
    pub fn bare() -> Self {
        Self {
            multiprotocol: false,
            four_octet_as: false,
            route_refresh: false,
            enhanced_refresh: false,
            ..Self::of_families([true, false])
        }
    }

    /// Whether `family` is offered.
    pub fn offers(&self, family: Family) -> bool {
        self.families.get(family.index()).copied().unwrap_or(false)
    }

    /// The Add-Path directions of `family`.
    pub(super) fn add_path(&self, family: Family) -> AddPath {
        self.add_path
            .get(family.index())
            .copied()
            .unwrap_or_default()
    }

    pub(super) fn capabilities(&self, local_asn: Asn, remote_asn: Option<Asn>) -> Vec<Capability> {
        let offered = || {
            Family::ALL
                .into_iter()
                .filter(|family| self.offers(*family))
        };
        let mut all: Vec<_> = offered()
            .filter(|_| self.multiprotocol)
            .map(|family| Capability::Multiprotocol(family.afi_safi()))
            .collect();
        let mut offer = |on: bool, capability: Capability| {
            if on {
                all.push(capability);
            }
        };
        offer(self.route_refresh, Capability::RouteRefresh);
        offer(self.enhanced_refresh, Capability::EnhancedRouteRefresh);
        let next_hop = vec![(Family::Ipv4.afi_safi(), super::negotiate::AFI_IPV6)];
        offer(
            self.extended_next_hop,
            Capability::ExtendedNextHop(next_hop),
        );
        offer(self.extended_messages, Capability::ExtendedMessage);
        // Roles mean nothing within an AS (RFC 9234 §4.1).
        if let Some(role) = self.role {
            offer(remote_asn != Some(local_asn), Capability::Role(role.code()));
        }
        if let Some(restart) = self.graceful_restart {
            offer(true, restart.capability());
            let long_lived = restart.long_lived_capability();
            offer(restart.long_lived > 0, long_lived);
        }
        offer(self.four_octet_as, Capability::FourOctetAs(local_asn));
        let paths: Vec<_> = offered()
            .map(|family| (family.afi_safi(), self.add_path(family).mode()))
            .filter(|(_, mode)| *mode != 0)
            .collect();
        offer(!paths.is_empty(), Capability::AddPath(paths));
        if let Some(fqdn) = &self.fqdn {
            let (host, domain) = (fqdn.host.clone().into(), fqdn.domain.clone().into());
            offer(true, Capability::Fqdn { host, domain });
        }
        all
    }
}

impl GracefulRestart {
    fn capability(self) -> Capability {
        let families = Family::ALL.into_iter().zip(self.families);
        Capability::GracefulRestart {
            restarting: self.restarting,
            notification: self.notification,
            time: self.time.min(0x0FFF),
            families: families
                .filter_map(|(family, kept)| Some((family.afi_safi(), kept?)))
                .collect(),
        }
    }
}

impl GracefulRestart {
    fn long_lived_capability(self) -> Capability {
        let families = Family::ALL.into_iter().zip(self.families);
        let time = self.long_lived.min(MAX_LONG_LIVED);
        let tuples = families.filter_map(|(family, kept)| Some((family.afi_safi(), kept?, time)));
        Capability::LongLivedGracefulRestart(tuples.collect())
    }
}

impl AddPath {
    const fn mode(self) -> u8 {
        self.receive as u8 + 2 * self.send as u8
    }
}
