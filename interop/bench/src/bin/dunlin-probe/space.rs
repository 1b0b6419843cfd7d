//! Sockets in other network namespaces. A socket stays where it was opened, whatever its thread enters later.

use crate::error::{Context, Result};
use nix::sched::{CloneFlags, setns};
use std::fs::File;
use std::path::Path;

/// Runs `open` with the calling thread in that namespace, and brings the thread back.
pub(crate) fn within<T>(namespace: &str, open: impl FnOnce() -> Result<T>) -> Result<T> {
    if namespace == "." {
        return open();
    }
    let home = File::open("/proc/thread-self/ns/net").context("opening this thread's namespace")?;
    let path = Path::new("/run/netns").join(namespace);
    let there = File::open(&path).context(format!("opening {}", path.display()))?;
    setns(&there, CloneFlags::CLONE_NEWNET)
        .context(format!("entering {namespace} (are you root?)"))?;
    let opened = open();
    setns(&home, CloneFlags::CLONE_NEWNET).context("coming back")?;
    opened
}
