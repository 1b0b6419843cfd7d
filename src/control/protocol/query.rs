//! Which routes are asked for.

use serde::{Deserialize, Serialize};

/// Which routes, seen from where.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", default)]
pub struct RoutesQuery {
    /// Only this prefix, or the best match of this address.
    pub prefix: Option<String>,
    /// All that is within the prefix, too.
    pub longer: bool,
    /// Only paths of this peer, or that it was sent.
    pub peer: Option<String>,
    /// Which of them; only with a peer.
    pub view: RoutesView,
    /// Only paths with this community: `65000:1`, `65000:1:2`, or a well-known one's name.
    pub community: Option<String>,
    /// Goes on where the last page ended.
    pub after: Option<String>,
    /// At most so many prefixes are looked at.
    pub limit: usize,
}

/// From where routes are seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum RoutesView {
    /// The tables: all paths, after import policy.
    #[default]
    Table,
    /// What the peer has sent, as it sent it (Adj-RIB-In before policy).
    Received,
    /// Of that, what policy accepted, as policy made it.
    Accepted,
    /// What the peer was sent, as it was sent (Adj-RIB-Out).
    Sent,
}
