//! What is wrong or odd about files, with places that an editor can jump to.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What is wrong or odd, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub struct Remark {
    /// `error` or `warning`.
    pub severity: String,
    /// The file; none if it is not about a file.
    pub file: Option<String>,
    /// The line, counted from 1; none if it is about the whole file.
    pub line: Option<usize>,
    /// The column, counted from 1.
    pub column: Option<usize>,
    /// What, in one line.
    pub text: String,
}

/// What `dunlin check` found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub struct Check {
    /// Whether a daemon would run with it.
    pub good: bool,
    /// This node's file.
    pub file: String,
    /// Whether this host was left alone.
    pub offline: bool,
    /// All that was found, as it came.
    pub remarks: Vec<Remark>,
    /// What would run; none if the files don't say.
    pub node: Option<CheckedNode>,
}

/// What would run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub struct CheckedNode {
    /// Node name.
    pub name: String,
    /// AS number.
    pub asn: u32,
    /// BGP Identifier.
    pub router_id: String,
    /// Configured peers.
    pub peers: usize,
    /// Own blocks that are announced.
    pub own_blocks: usize,
}

impl Remark {
    /// What forbids to go on, and has no place in a file.
    pub fn error(text: impl Into<String>) -> Self {
        Self::without_place("error", text.into())
    }

    /// What is odd, and has no place in a file.
    pub fn warning(text: impl Into<String>) -> Self {
        Self::without_place("warning", text.into())
    }

    fn without_place(severity: &str, text: String) -> Self {
        Self {
            severity: severity.to_owned(),
            file: None,
            line: None,
            column: None,
            text,
        }
    }

    /// Whether it forbids to go on.
    pub fn is_error(&self) -> bool {
        self.severity == "error"
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            f.write_str(file)?;
            if let (Some(line), Some(column)) = (self.line, self.column) {
                write!(f, ":{line}:{column}")?;
            }
            f.write_str(": ")?;
        }
        let kind = if self.is_error() { "" } else { "warning: " };
        write!(f, "{kind}{}", self.text)
    }
}
