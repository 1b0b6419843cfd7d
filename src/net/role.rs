//! Roles of the two ends of an eBGP session (RFC 9234): who may be told of what.

use core::fmt;

/// What we are to a peer in another AS (RFC 9234 §4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

impl Role {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Provider,
        Self::RouteServer,
        Self::RouteServerClient,
        Self::Customer,
        Self::Peer,
    ];

    /// The number on the wire.
    pub const fn code(self) -> u8 {
        match self {
            Self::Provider => 0,
            Self::RouteServer => 1,
            Self::RouteServerClient => 2,
            Self::Customer => 3,
            Self::Peer => 4,
        }
    }

    /// The role of a number, if it is assigned.
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Provider,
            1 => Self::RouteServer,
            2 => Self::RouteServerClient,
            3 => Self::Customer,
            4 => Self::Peer,
            _ => return None,
        })
    }

    /// The only role that the other side may have.
    pub const fn counterpart(self) -> Self {
        match self {
            Self::Provider => Self::Customer,
            Self::RouteServer => Self::RouteServerClient,
            Self::RouteServerClient => Self::RouteServer,
            Self::Customer => Self::Provider,
            Self::Peer => Self::Peer,
        }
    }

    /// Whether the peer is below us: what it has from elsewhere it must not send us (§5, ingress 1).
    pub const fn peer_is_below(self) -> bool {
        matches!(self, Self::Provider | Self::RouteServer)
    }

    /// Whether what comes from the peer goes to customers only from here on (§5, ingress 3), and what went
    /// to customers only must not go to it (§5, egress 2): it is above us or beside us.
    pub const fn peer_is_not_below(self) -> bool {
        matches!(self, Self::Customer | Self::RouteServerClient | Self::Peer)
    }

    /// Whether what goes to the peer goes to customers only from there on (§5, egress 1): it is not above us.
    pub const fn peer_is_not_above(self) -> bool {
        matches!(self, Self::Provider | Self::RouteServer | Self::Peer)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Provider => "provider",
            Self::RouteServer => "rs-server",
            Self::RouteServerClient => "rs-client",
            Self::Customer => "customer",
            Self::Peer => "peer",
        })
    }
}
