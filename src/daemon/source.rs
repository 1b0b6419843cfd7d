//! From files to a plan: this node's file, the cluster's file, and what a reading of them says.

use std::path::Path;

use super::config::{self, Config};
use crate::datastore::{self, Loaded, Problems};
use crate::topology::{self, Plan};

/// Everything that a reading gives.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    /// This node's configuration.
    pub config: Config,
    /// What this node has to run.
    pub plan: Plan,
    /// What the cluster file says of nodes and pools, for explanations.
    pub places: Places,
    /// One line a warning.
    pub warnings: Vec<String>,
    /// One line an environment variable that was used.
    pub from_environment: Vec<String>,
}

/// Whose block and which pool an address is in.
#[derive(Debug, Clone, Default)]
pub(super) struct Places {
    /// Blocks and their nodes.
    pub blocks: Vec<(crate::net::Prefix, String)>,
    /// Pools.
    pub pools: Vec<crate::net::Prefix>,
}

/// A reading that can't be used: one line a problem, warnings among them.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}", lines.join("\n"))]
pub(super) struct BadReading {
    /// The lines.
    pub lines: Vec<String>,
}

impl From<Problems> for BadReading {
    fn from(problems: Problems) -> Self {
        Self {
            lines: lines_of(&problems),
        }
    }
}

/// Reads this node's file at `path` and the cluster that it names.
///
/// # Errors
/// Everything that is wrong with both.
pub(super) fn read(path: &Path) -> Result<Reading, BadReading> {
    let configured = config::load(path, &host_name())?;
    let mut reading = read_cluster(configured.config)?;
    reading
        .warnings
        .splice(0..0, lines_of(&configured.warnings));
    reading.from_environment = configured.from_environment;
    Ok(reading)
}

/// Reads the cluster that `config` names.
///
/// # Errors
/// Everything that is wrong with it.
pub(super) fn read_cluster(config: Config) -> Result<Reading, BadReading> {
    let Loaded {
        mut intent,
        warnings,
    } = datastore::load(&config.datastore_path)?;
    let mut warnings = lines_of(&warnings);
    warnings.extend(config.overlay(&mut intent));
    let plan = topology::plan(&intent, &config.node.name).map_err(|error| BadReading {
        lines: vec![format!(
            "{}: {error} ([node] name of this node's file, or the host name)",
            config.datastore_path.display()
        )],
    })?;
    let blocks = intent
        .nodes
        .iter()
        .flat_map(|node| node.blocks.iter().map(|block| (*block, node.name.clone())));
    let places = Places {
        blocks: blocks.collect(),
        pools: plan.pools.clone(),
    };
    Ok(Reading {
        config,
        plan,
        places,
        warnings,
        from_environment: Vec::new(),
    })
}

fn lines_of(problems: &Problems) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

fn host_name() -> String {
    nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok())
        .unwrap_or_else(|| "localhost".to_owned())
}
