//! What operators want, and what one node has to do about it.
//!
//! [`Intent`] is the whole cluster as the datastore told it: nodes, pools, peers, settings.
//! [`plan()`] derives from it what one node runs: its sessions, what it originates, and the facts
//! that its policies need. [`diff()`] compares two plans of one node and says which sessions can
//! stay up.
//!
//! It is no parser (that is `datastore`) and knows nothing of the wire: it deals in names,
//! addresses and numbers. What always holds:
//!
//! - `plan` is total and pure; the order of records in the intent does not matter;
//! - for every session between nodes in the plan of A for B there is the mirrored one in the plan of B
//!   for A (unless a record says `reverse-peering = "Manual"`), and only one of the two ends dials at
//!   once;
//! - peer names are unique within a plan and stable while other records come and go.
//!
//! ```
//! use dunlin::topology::{Dial, Intent, Node, plan};
//!
//! let node = |name: &str, address: &str| Node {
//!     ipv4_address: address.parse().ok(),
//!     ..Node::named(name)
//! };
//! let intent = Intent {
//!     nodes: vec![node("a", "10.0.0.1/24"), node("b", "10.0.0.2/24")],
//!     ..Intent::default()
//! };
//! let plan = plan(&intent, "a").unwrap();
//! assert_eq!(plan.peers[0].name, "b");
//! assert_eq!(plan.peers[0].dial, Dial::Active);
//! ```

mod diff;
mod fabric;
mod felix;
mod intent;
mod nearest;
mod peering;
mod plan;
mod selector;
mod speakers;

pub use diff::{Impact, PeerChange, PeerField, diff, differences};
pub use fabric::{
    Displaced, Encapsulation, Fabric, FabricNode, FabricPool, Leftover, Vtep, When, vtep_mac,
};
pub use felix::{FelixSettings, NatExclusions};
pub use intent::{
    BgpSettings, Families, Intent, Node, Peer, PeerAddress, PeerCapabilities, PeerRoutes,
    PeerScope, Pool, PoolMode, SessionSettings, SourceAddress, TtlRule, TunnelAddresses,
};
pub use nearest::nearest;
pub use peering::{
    AoAlgorithm, AoKey, Authentication, BfdAuthentication, BfdKey, BfdTerms, BindMode, FarEnd,
    LimitAction, MAX_PATHS, NextHopMode, PrefixAdvertisement, PrefixLimit, RestartTerms, RoleTerms,
};
pub use plan::{
    BGP_PORT, DEFAULT_CONNECT_RETRY, DEFAULT_HOLD_TIME, DEFAULT_RESTART_TIME, Dial, LATE_DIAL,
    OpenTerms, PeerKind, Plan, PlanError, PlannedPeer, Template, TemplateSource, plan,
};
pub use selector::{Selector, SelectorError};
pub use speakers::Speakers;
