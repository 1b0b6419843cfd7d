//! Routes: what came in, what is best, who is to be told.
//!
//! Under construction.

pub mod attributes;
mod chunks;
pub mod export;
pub mod next_hop;
pub mod path;
pub mod peer;
mod raw_cache;
pub mod decision;
mod prefix_map;
mod table;
