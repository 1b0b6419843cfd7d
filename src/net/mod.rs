//! Value types of the field: prefixes, AS numbers, identifiers, address families.
//!
//! Pure values with parse, `Display` and ordering; nothing here knows a protocol. A [`Prefix`] is
//! always masked: host bits are zero by construction, so equal prefixes are equal values.

mod asn;
mod community;
mod family;
mod hashing;
mod mac;
mod neighbours;
mod prefix;
mod prefix_set;
mod role;
mod router_id;
mod scoped;
mod secret;

pub use asn::{Asn, ParseAsnError};
pub use community::{Community, ParseCommunityError};
pub use family::{AfiSafi, Family};
pub use hashing::Hashing;
pub use mac::{Mac, ParseMacError};
pub use neighbours::Neighbourly;
pub use prefix::{ParsePrefixError, Prefix, Prefix4, Prefix6};
pub use prefix_set::PrefixSet;
pub use role::Role;
pub use router_id::{ParseRouterIdError, RouterId};
pub use scoped::ScopedAddress;
pub use secret::Secret;
