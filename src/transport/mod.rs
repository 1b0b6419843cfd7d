//! Under construction.

pub mod codec;
