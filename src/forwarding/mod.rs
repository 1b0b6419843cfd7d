//! Which way packets to a prefix go: native, in IP, in VXLAN, dropped, or not at all, and why.
//!
//! | pool mode | node on my subnet | node elsewhere |
//! |---|---|---|
//! | none | native | native, over the kernel's own routes |
//! | ipip Always | `via node dev tunl0 onlink` | the same |
//! | ipip CrossSubnet | native | `via node dev tunl0 onlink` |
//! | vxlan Always | `via VTEP dev vxlan.calico onlink` | the same |
//! | vxlan CrossSubnet | native | as vxlan Always |
//! | outside every pool | native | native |
//!
//! Pure: a [`Chooser`] is made of a plan's fabric and decides one next hop at a time, so that each
//! hop of a multipath route has its own encapsulation. It does not know whether a device is there;
//! that is `dataplane`'s. What always holds:
//!
//! - both ends of a pair of nodes decide alike about the subnet;
//! - a packet of an encapsulated pool never leaves bare because something is missing: then there is
//!   no way, and the reason says what is missing;
//! - the tunnel devices that [`Chooser::tunnels`] asks for are those that its choices use.

mod chooser;
mod guard;
mod nat;
mod tunnels;

pub use chooser::{Choice, Chooser, Reason, Way};
pub use guard::FamilyGuard;
pub use nat::{FamilyNat, LinkName, Nat, TunnelSource};
pub use tunnels::{IP6TNL, IPIP, VXLAN4, VXLAN6};
