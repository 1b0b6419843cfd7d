//! Routes in the kernel: what is wanted against what is there, and the next hops between.
//!
//! ```text
//!  want / unwant ─▶ Dataplane ─▶ Op        ─▶ netlink ─▶ kernel
//!  next hops     ◀─ (pure)    ◀─ KernelInput ◀─         ◀─
//! ```
//!
//! The core is a reconciliation, not a stream of commands: it holds what is wanted and what the
//! kernel has, and asks for the difference. It is pure; `netlink` (feature `daemon`) moves the
//! bytes and decides nothing. What always holds:
//!
//! - Only routes with our protocol number in our table are changed ([`Ownership`]), and what a
//!   former program left, if the operator says so ([`Adopt`]).
//! - Next hops are resolved over routes that are not ours, never over our own.
//! - Nothing is written before the kernel was read once, and nothing is deleted before the caller
//!   said [`Dataplane::converged`]: a restart leaves the routes of the former process in place.
//! - At most [`Settings::window`] operations are outstanding.
//! - Once faults stop, the kernel's routes of ours are the wanted ones, and so is what is on the
//!   tunnel devices that are ours.
//! - A route through a tunnel is written when the tunnel is ready for it, and until then what the
//!   kernel has for the prefix stays.

mod adoption;
mod device;
mod foreign;
mod forwarder;
mod gate;
mod input;
mod lengths;
#[cfg(feature = "daemon")]
pub mod netlink;
mod next_hop;
mod object;
pub mod own_address;
mod ownership;
mod packet;
mod problems;
mod reconciler;
mod report;
mod resolve;
mod route;
#[cfg(test)]
mod tests;
mod travel;
mod tunnels;

pub use adoption::Adopt;
pub use adoption::Former;
pub use device::{Device, LinkSetting, LinkSpec, Neighbour, Sysctl, lacks_driver};
pub use forwarder::{Dataplane, FormerWay, Settings};
pub use input::{Action, Address, Change, KernelInput, Link, Op, OpId, Setting};
pub use next_hop::{Forwarding, NextHop, Reach, Resolution, Unreachable};
pub use object::Object;
pub use ownership::{Owner, Ownership, Rank};
pub use packet::{Fate, Outcome, Packet, protocol_name, table_name};
pub use reconciler::{Aim, PathId, Reconciler};
pub use report::{Counts, Covered, Report, RouteState};
pub use resolve::{KernelView, Way};
pub use route::{Errno, Hop, KernelRoute, RouteKind, Shape};
pub use travel::Travel;
pub use tunnels::{FarEnd, TooNarrow, Tunnel, TunnelKind, TunnelNews, TunnelState, TunnelStatus};
