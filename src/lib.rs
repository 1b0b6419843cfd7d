#![doc = include_str!("architecture.md")]
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

pub mod net;
pub mod problem;
pub mod rng;
pub mod time;

pub mod wire;

pub mod bfd;
pub mod dataplane;
pub mod policy;
pub mod rib;
pub mod session;
pub mod topology;

pub mod forwarding;
pub mod speaker;

pub mod node;

#[cfg(feature = "daemon")]
mod calls;
#[cfg(feature = "daemon")]
pub mod cli;
#[cfg(feature = "daemon")]
pub mod control;
#[cfg(feature = "daemon")]
pub mod daemon;
#[cfg(feature = "daemon")]
pub mod datastore;
#[cfg(feature = "daemon")]
pub mod lab;
#[cfg(feature = "daemon")]
pub mod nft;
#[cfg(feature = "daemon")]
pub mod transport;
