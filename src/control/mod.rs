//! The local control socket: what `dunlin status`, `peers`, `routes` ... talk to.
//!
//! One JSON line a request, one JSON line an answer, over a unix socket that only root (mode 0600)
//! or the members of a named group (0660) may open. A second one beside it, for another group, takes questions
//! and no orders. It reports and passes on; the answers themselves are made by the daemon.

pub mod client;
pub mod door;
mod places;
pub mod protocol;
pub mod server;

use std::path::{Path, PathBuf};

/// Where viewers ask, by the path of the socket for everything.
pub fn viewers_socket(path: &Path) -> PathBuf {
    beside(path, ".viewers")
}

/// The path with more at its end.
fn beside(path: &Path, more: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(more);
    name.into()
}
