//! From files to a plan: this node's file, the cluster's file, and what a reading of them says.
//!
//! What this host says about the node's own addresses is part of a reading; it is looked at only if
//! a method asks for it.

use std::path::Path;

use super::config::{self, Config, Configured, OwnAddresses};
use super::host::Names;
use super::own_address::{Found, Own};
use super::secrets;
use crate::control::protocol::Remark;
use crate::dataplane::KernelView;
use crate::datastore::{self, Problem, Problems, SecretFiles, Severity};
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
    /// This node's own addresses, and what they depend on.
    pub own: Own,
    /// What is odd.
    pub warnings: Vec<Remark>,
    /// The files that were asked for a secret.
    pub secrets: SecretFiles,
    /// What is worth a line though nothing is wrong: variables that were used, addresses found.
    pub notes: Vec<String>,
    /// This node's addresses are those of now, and need not be looked for any more.
    pub is_complete: bool,
}

/// What was made of a reading.
#[derive(Debug, Clone)]
pub(super) struct Planned {
    /// What this node has to run.
    pub plan: Plan,
    /// What the cluster file says of nodes and pools.
    pub places: Places,
    /// What is odd.
    pub warnings: Vec<Remark>,
}

/// What a running daemon knows about this host already.
#[derive(Debug, Clone)]
pub(super) struct Known {
    /// What names stand for.
    pub names: Names,
    /// Its own addresses.
    pub addresses: OwnAddresses,
    /// It sees links and addresses, and looks for its own there once the files are read
    /// ([`Reading::look_at_host`]).
    pub sees_host: bool,
}

/// Whose block and which pool an address is in.
#[derive(Debug, Clone, Default)]
pub(super) struct Places {
    /// Blocks and their nodes.
    pub blocks: Vec<(crate::net::Prefix, String)>,
    /// Pools.
    pub pools: Vec<crate::net::Prefix>,
}

/// A reading that can't be used: all that is wrong, warnings among it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}", lines(remarks).join("\n"))]
pub(super) struct BadReading {
    /// What is wrong.
    pub remarks: Vec<Remark>,
    /// The files that were asked for a secret: the cure may be there.
    pub secrets: SecretFiles,
}

impl From<Problems> for BadReading {
    fn from(problems: Problems) -> Self {
        Self {
            remarks: remarks_of(&problems),
            secrets: SecretFiles::default(),
        }
    }
}

/// Reads this node's file at `path` and the cluster that it names, and looks for this node's
/// addresses.
///
/// # Errors
/// Everything that is wrong with both, or that no address was found.
pub(super) fn read(path: &Path, running: Option<Known>) -> Result<Reading, BadReading> {
    let (reading, obstacles) = examine(path, running)?;
    unless(obstacles, &reading.secrets)?;
    Ok(reading)
}

fn unless(obstacles: Vec<Remark>, secrets: &SecretFiles) -> Result<(), BadReading> {
    if obstacles.is_empty() {
        return Ok(());
    }
    Err(BadReading {
        remarks: obstacles,
        secrets: secrets.clone(),
    })
}

impl Reading {
    /// Looks for the node's addresses in what a running daemon sees of its host, and plans anew if they are
    /// other ones than the reading began with.
    ///
    /// # Errors
    /// There is no such address.
    pub(super) fn look_at_host(&mut self, view: Option<&KernelView>) -> Result<(), BadReading> {
        let Some(view) = view.filter(|_| !self.is_complete) else {
            return Ok(());
        };
        let before = self.own.addresses;
        let found = self.own.find_in(view);
        self.warnings
            .extend(found.warnings.into_iter().map(Remark::warning));
        self.notes.extend(found.because);
        let obstacles = found.obstacles.into_iter().map(Remark::error);
        unless(obstacles.collect(), &self.secrets)?;
        if self.own.addresses != before {
            let planned = plan(&self.config, &self.own)?;
            self.plan = secrets::fitted(planned.plan);
            self.places = planned.places;
        }
        Ok(())
    }
}

/// The same; an address that this host lacks is no error, but comes beside the reading.
pub(super) fn examine(
    path: &Path,
    running: Option<Known>,
) -> Result<(Reading, Vec<Remark>), BadReading> {
    let Configured {
        config,
        warnings,
        from_environment,
    } = config::load(path, &host_name())?;
    let mut warnings = remarks_of(&warnings);
    let mut secrets = SecretFiles::default();
    let folder = config.secrets.as_deref();
    let loaded = match datastore::load_with(&config.datastore_path, folder, &mut secrets) {
        Ok(loaded) => loaded,
        Err(problems) => {
            let bad = BadReading::from(problems);
            return Err(BadReading { secrets, ..bad });
        }
    };
    warnings.extend(remarks_of(&loaded.warnings));
    let sees_host = running.as_ref().is_some_and(|known| known.sees_host);
    let mut own = Own::new(config.node.clone(), loaded.intent, Names::default());
    if let Some(known) = running {
        (own.names, own.addresses) = (known.names, known.addresses);
    }
    own.learn_names();
    let is_complete = !sees_host || !own.looks_at_host();
    let found = match is_complete {
        true => own.find(),
        false => Found::default(),
    };
    warnings.extend(found.warnings.into_iter().map(Remark::warning));
    let planned = plan(&config, &own)?;
    warnings.extend(planned.warnings);
    let mut notes = from_environment;
    notes.extend(found.because);
    let reading = Reading {
        config,
        plan: planned.plan,
        places: planned.places,
        own,
        warnings,
        secrets,
        notes,
        is_complete,
    };
    let obstacles = found.obstacles.into_iter().map(Remark::error);
    Ok((reading, obstacles.collect()))
}

/// Makes the plan of this node from the cluster and its own addresses.
///
/// # Errors
/// There is no such node.
pub(super) fn plan(config: &Config, own: &Own) -> Result<Planned, BadReading> {
    let mut intent = own.intent.clone();
    let overlaid = own.identity.overlay(&mut intent, own.addresses);
    let plan = topology::plan(&intent, &own.identity.name).map_err(|error| BadReading {
        remarks: vec![Remark::error(format!(
            "{}: {error} ([node] name of this node's file, or the host name)",
            config.datastore_path.display()
        ))],
        secrets: SecretFiles::default(),
    })?;
    let warnings = overlaid.into_iter().chain(plan.warnings.iter().cloned());
    let warnings = warnings.map(Remark::warning).collect();
    let blocks = intent
        .nodes
        .iter()
        .flat_map(|node| node.blocks.iter().map(|block| (*block, node.name.clone())));
    let places = Places {
        blocks: blocks.collect(),
        pools: plan.pools.clone(),
    };
    Ok(Planned {
        plan,
        places,
        warnings,
    })
}

/// What a text has wrong, with its places.
pub(super) fn remarks_of(problems: &Problems) -> Vec<Remark> {
    let remark = |problem: &Problem| Remark {
        severity: match problem.severity {
            Severity::Error => crate::problem::Severity::Error,
            Severity::Warning => crate::problem::Severity::Warning,
        }
        .to_string(),
        file: Some(problem.place.file.to_string()),
        line: Some(problem.place.line).filter(|line| *line > 0),
        column: Some(problem.place.column).filter(|_| problem.place.line > 0),
        text: problem.message.clone(),
    };
    let more = problems.more().map(|(severity, text)| match severity {
        Severity::Error => Remark::error(text),
        Severity::Warning => Remark::warning(text),
    });
    problems.iter().map(remark).chain(more).collect()
}

/// One line each.
pub(super) fn lines(remarks: &[Remark]) -> Vec<String> {
    remarks.iter().map(ToString::to_string).collect()
}

pub(super) fn host_name() -> String {
    nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok())
        .unwrap_or_else(|| "localhost".to_owned())
}
