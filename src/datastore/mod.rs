//! Where the cluster's intent comes from. In this version: a file, or a folder of them.
//!
//! ```text
//! text ─▶ records, each with its place ─▶ Intent, or every problem at once
//! ```
//!
//! A text is TOML, or Calico's own resources as YAML; both become the same records.
//! [`read_cluster`] is that whole line, a pure function of texts and of one that reads secrets. Only [`load`]
//! reads files and only [`Watcher`] waits for them. Nothing here decides what a node does: that is `topology`.
//! What always holds: an intent comes out only if no file had an error, so that a slip of the
//! pen never withdraws a route; every problem names file, line and column.

mod assemble;
mod bgp;
mod felix;
mod file;
mod filters;
mod ipam;
mod looks;
mod manifest;
mod peer_checks;
mod peers;
mod pools;
mod problem;
mod range_keys;
mod record;
mod records;
pub(crate) mod scalar;
mod schema;
mod secrets;
mod sessions;
mod source;
mod table;
mod tunnels;
mod watch;
mod words;
mod yaml;

pub use assemble::{Loaded, read_cluster, read_cluster_with};
pub use file::{load, load_with};
pub use problem::{Place, Problem, Problems, Severity};
pub use secrets::{SecretFile, Secrets};
pub use watch::{SecretFiles, Watcher};

pub(crate) use file::{MAX_NODE_FILE_SIZE, read_text};
pub(crate) use scalar::{Fault, one_of};
pub(crate) use source::Source;
pub(crate) use table::{Located, Schema, TableReader};

/// How far a source has got; nothing is withdrawn before the first `InSync`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SyncStatus {
    /// Nothing was read yet.
    #[default]
    Waiting,
    /// The source is being read; the last intent still stands.
    Resyncing,
    /// The intent is what the source says.
    InSync,
}
