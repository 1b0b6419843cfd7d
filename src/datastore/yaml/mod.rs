//! Calico's resources as YAML, the way `calicoctl get -o yaml` prints them. JSON is YAML, too.
//!
//! ```text
//! text ─▶ tree of values with places ─▶ resources ─▶ the tables that `records` reads from TOML
//! ```
//!
//! Only the form is known here: how documents and lists hold resources, and which words of a
//! resource stand for which keys of a table. What a value means is `records`'. An unknown field
//! is a warning, not an error as in TOML: a datastore may be newer than this version, and its
//! unknown words must not stop a node.

mod convert;
mod entries;
mod resource;
mod tree;

pub(super) use convert::{flatten_node, table_of};
pub(super) use entries::Entries;
pub(super) use resource::{Resource, resources};
pub(super) use tree::{Node, Value};
