//! The local control socket: what `dunlin status`, `peers`, `routes` ... talk to.
//!
//! One JSON line a request, one JSON line an answer, over a unix socket that only root (mode 0600)
//! or the members of a named group (0660) may open. It reports and passes on orders; the answers
//! themselves are made by the daemon.

pub mod client;
pub mod protocol;
pub mod server;
