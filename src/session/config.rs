//! What is configured for a peer: who it is, when to call it, what to offer and what to insist on.
//!
//! Plain values; how they are read from files is not known here. [`PeerConfig::new`] takes what has
//! no default, everything else has one that suits a data centre.

use core::fmt;
use std::net::IpAddr;

use super::backoff::IdleHoldLimits;
use crate::net::{Asn, Family, RouterId};
use crate::time::Duration;
use crate::wire::capability::Capability;
use crate::wire::open::Open;

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
    /// Between two dials; also how long one dial may take.
    pub connect_retry: Duration,
    /// The pause after an error.
    pub idle_hold: IdleHoldLimits,
    /// How long to wait for the peer's OPEN before sending ours.
    pub delay_open: Option<Duration>,
    /// How long an accepted connection may stay without OPEN.
    pub open_wait: Duration,
    /// How long the peer may leave our bytes unread; `None`: 8 minutes or twice the hold time,
    /// whichever is longer (RFC 9687).
    pub send_hold: Option<Duration>,
}

/// What our OPEN offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Families, by [`Family::index`].
    pub families: [bool; 2],
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
}

/// Directions of Add-Path in one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AddPath {
    /// We send, or may send, several paths.
    pub send: bool,
    /// We take, or may expect, several paths.
    pub receive: bool,
}

/// A role on an eBGP session (RFC 9234 §4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// 0: the peer is our customer.
    Provider,
    /// 1: we are a route server.
    RouteServer,
    /// 2: the peer is our route server.
    RouteServerClient,
    /// 3: the peer is our provider.
    Customer,
    /// 4: neither pays.
    Peer,
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
