//! Words of a peering that go beyond an address and an AS: who the other end is, what protects the
//! session, how fast a loss is noticed, what happens at limits.
//!
//! Values only, as the operator wrote them; what one node makes of them is `plan`'s.

use core::time::Duration;

use super::intent::PeerAddress;
use super::selector::Selector;
use crate::net::{Community, Prefix, Role, Secret};

/// The other end of a peering.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FarEnd {
    /// At this address (`peer-ip`).
    Address(PeerAddress),
    /// Every node whose labels match (`peer-selector`).
    Nodes(Selector),
    /// Whoever connects from here (`peer-range`).
    Range(Prefix),
    /// The neighbour on this link (`interface`), by its link-local address.
    Link(String),
}

/// What protects a session.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Authentication {
    /// Nothing.
    #[default]
    None,
    /// TCP MD5 (RFC 2385).
    Md5(Secret),
    /// TCP-AO (RFC 5925).
    Ao(AoKey),
    /// It is to be protected, and the secret can't be had: the session stays down. Why, for people.
    Missing(String),
}

impl Authentication {
    /// Whether a session has to start anew when this becomes `other` or the other way round. A password
    /// is changed in place, and while one is missing the session keeps the one that it has; a key of
    /// TCP-AO is not changed in place.
    pub fn bounces_from(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::None, Self::None)
            | (Self::Md5(_) | Self::Missing(_), Self::Md5(_) | Self::Missing(_))
            | (Self::Ao(_), Self::Missing(_))
            | (Self::Missing(_), Self::Ao(_)) => false,
            (Self::Ao(key), Self::Ao(other)) => key != other,
            (Self::None, _) | (_, Self::None) | (Self::Ao(_), _) | (_, Self::Ao(_)) => true,
        }
    }
}

/// A key of TCP-AO.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AoKey {
    /// The key's id in both directions.
    pub id: u8,
    /// How the octets are used.
    pub algorithm: AoAlgorithm,
    /// The octets.
    pub secret: Secret,
}

/// An algorithm of TCP-AO (RFC 5926).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AoAlgorithm {
    /// HMAC-SHA-1-96.
    #[default]
    HmacSha1,
    /// AES-128-CMAC-96.
    AesCmac,
    /// HMAC-SHA-256-128, which RFC 5926 does not have and Linux does.
    HmacSha256,
}

/// What the next hop of routes sent to a peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NextHopMode {
    /// What RFC 4271 §5.1.3 says.
    #[default]
    Auto,
    /// Our own address.
    Own,
    /// What the route came with.
    Keep,
}

/// The most paths of a prefix that a peer is sent, and what `add-path = "all"` is.
pub const MAX_PATHS: u8 = 63;

/// How many prefixes of a family a peer may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PrefixLimit {
    /// No more than these; `None` is the default of the peer's kind.
    pub max: Option<u32>,
    /// What happens at one more; `None` is the default of the peer's kind.
    pub action: Option<LimitAction>,
}

/// What happens when a peer sends more than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitAction {
    /// The session ends with Cease 6/1 and is tried again after a pause that grows.
    Restart,
    /// The session ends with Cease 6/1 until an operator enables the peer.
    Stop,
    /// What is above the limit is not taken; what is there stays. It is said, and asked for again when
    /// there is room.
    Discard,
    /// It is said, and nothing else happens.
    Warn,
}

/// What we are to a peer (RFC 9234).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RoleTerms {
    /// Our role; none is no part in it.
    pub role: Option<Role>,
    /// A peer without one is refused.
    pub strict: bool,
}

/// What a restart of either end costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RestartTerms {
    /// Seconds that we may take to come back (RFC 4724 §3), at most 4095; 0 is no graceful restart.
    pub time: u16,
    /// Seconds that a peer's routes stay, as the last choice, after its restart time has run out (RFC
    /// 9494), at most 16,777,215; 0 is not at all.
    pub long_lived: u32,
}

/// Bidirectional forwarding detection of a session's far end (RFC 5880).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BfdTerms {
    /// The interval at which we want to send.
    pub min_transmit: Duration,
    /// The interval at which we can receive.
    pub min_receive: Duration,
    /// So many lost packets are a failure.
    pub multiplier: u8,
    /// The least TTL of packets from behind routers; `None` is what the peer's TTL rule makes of it.
    pub min_ttl: Option<u8>,
    /// What packets are signed with.
    pub authentication: BfdAuthentication,
}

/// What proves that packets of BFD are the far end's (RFC 5880 §6.7).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum BfdAuthentication {
    /// Nothing but where they come from.
    #[default]
    None,
    /// A key.
    Key(BfdKey),
    /// A key that can't be had: BFD stays down, and hinders no session. Why, for people.
    Missing(String),
}

/// A key of BFD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BfdKey {
    /// The key's id.
    pub id: u8,
    /// Each packet has a sequence number of its own.
    pub meticulous: bool,
    /// The octets.
    pub secret: Secret,
}

impl Default for BfdTerms {
    fn default() -> Self {
        Self {
            min_transmit: Duration::from_millis(250),
            min_receive: Duration::from_millis(250),
            multiplier: 3,
            min_ttl: None,
            authentication: BfdAuthentication::None,
        }
    }
}

/// Communities that routes inside a prefix go out with (`prefix-advertisements`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrefixAdvertisement {
    /// Routes inside.
    pub cidr: Prefix,
    /// What they carry, beside their own.
    pub communities: Vec<Community>,
}

/// The addresses that the daemon listens on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BindMode {
    /// All.
    #[default]
    All,
    /// The node's own.
    NodeIp,
}
