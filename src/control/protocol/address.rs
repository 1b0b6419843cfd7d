//! This node's own address, and how it was found.

use serde::{Deserialize, Serialize};

/// Which of the host's addresses are this node's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub struct Address {
    /// In which order addresses are looked at: `dunlin` or `calico`.
    pub order: String,
    /// Each family that was asked for.
    pub families: Vec<AddressFamily>,
    /// What is odd about the files.
    pub notes: Vec<String>,
}

/// The own address of one family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub struct AddressFamily {
    /// `ipv4` or `ipv6`.
    pub family: String,
    /// How it is found, as the configuration says it.
    pub method: String,
    /// Who says so: `configuration`, `record` or `default`.
    pub asked_by: String,
    /// The address with its mask; none if there is none.
    pub address: Option<String>,
    /// The link that has it.
    pub link: Option<String>,
    /// Why there is none.
    pub failure: Option<String>,
    /// What is odd about it.
    pub oddity: Option<String>,
    /// All addresses that were looked at.
    pub candidates: Vec<AddressCandidate>,
}

/// An address of this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub struct AddressCandidate {
    /// The link that has it.
    pub link: String,
    /// The same as the kernel's number.
    pub link_index: u32,
    /// The address with its mask.
    pub address: String,
    /// Whether it is the one.
    pub taken: bool,
    /// Why, or why not.
    pub why: String,
}
