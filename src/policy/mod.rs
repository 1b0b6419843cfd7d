//! What may come in and what may go out, per peer, as pure functions of a route.
//!
//! Filters first: the first rule that matches decides, and may change the route. What no rule is
//! about is left to the peer's switch (`import`, `export`), whose default is safe (the design's §4):
//! from mesh peers only pool prefixes; from outside nothing inside this node's own blocks or
//! addresses, and nothing inside the pools while the mesh carries them; to eBGP peers only this node's
//! own blocks, and what a reflector reflects. It knows no attribute's bytes and rewrites nothing
//! itself: it says which operations apply. The RFCs' own rules (loops, own AS in front, LOCAL_PREF
//! off, ...) are not policy, and no filter lifts them.

mod defaults;
mod evaluate;
mod filter;
mod terms;

pub use defaults::{PeerClass, PolicyKind, Rejection, Surroundings};
pub use evaluate::{Candidate, Decided, NORMAL_PRIORITY, Source, decide, local_pref_of, priority};
pub use filter::{
    Action, Direction, Filter, MatchOperator, Operation, PeerType, PrefixMatch, Rule,
};
pub use terms::{Advertisement, Changes, ExportTerms, ImportTerms, Links, Mark, Ruling};
