//! `dunlin address`: the same search without a daemon, with all that it saw.

use std::path::Path;

use super::{Ask, Own};
use crate::daemon::config::{self, Config, Configured};
use crate::daemon::host::{self, HostError, Names};
use crate::daemon::{DaemonError, source};
use crate::dataplane::own_address::Selection;
use crate::datastore::{Problems, SecretFiles, load_with};
use crate::topology::Intent;

/// What `dunlin address` prints: how each address is looked for, and what came of it.
#[derive(Debug)]
pub(crate) struct Answer {
    /// One for each family.
    pub asked: Vec<(Ask, Selection)>,
    /// By which order.
    pub order: &'static str,
    /// What else is to be said: variables that were used, files that were not there.
    pub notes: Vec<String>,
}

/// Why `dunlin address` has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AnswerError {
    /// The configuration has errors.
    #[error("{0}")]
    Configuration(DaemonError),
    /// The host can't be looked at.
    #[error("{0}")]
    Host(HostError),
}

/// Looks for this node's addresses as the daemon would. Without a file at `path`, unless
/// `must_exist`, the defaults hold; without a cluster to read there is no record.
pub(crate) fn answer(path: &Path, must_exist: bool) -> Result<Answer, AnswerError> {
    let host_name = source::host_name();
    let (read, missing) = if must_exist || path.exists() {
        (config::load(path, &host_name), None)
    } else {
        let missing = format!("{} is not there: the defaults hold", path.display());
        let folder = path.parent().map(Path::to_owned).unwrap_or_default();
        (config::without_file(&host_name, folder), Some(missing))
    };
    let Configured {
        config,
        warnings,
        from_environment,
    } = read.map_err(bad)?;
    let mut notes: Vec<String> = missing.into_iter().collect();
    notes.extend(source::lines(&source::remarks_of(&warnings)));
    notes.extend(from_environment);
    let intent = record_of(&config, &mut notes);
    let mut own = Own::new(config.node, intent, Names::default());
    own.learn_names();
    let view = host::look().map_err(AnswerError::Host)?;
    let asked = own
        .asks()
        .into_iter()
        .map(|ask| {
            let selection = own.select(&view, &ask);
            (ask, selection)
        })
        .collect();
    let order = own.identity.address_order.as_str();
    Ok(Answer {
        asked,
        order,
        notes,
    })
}

fn bad(problems: Problems) -> AnswerError {
    let lines = source::lines(&source::remarks_of(&problems));
    AnswerError::Configuration(DaemonError::Configuration { lines })
}

/// The cluster with our record, if both are there.
fn record_of(config: &Config, notes: &mut Vec<String>) -> Intent {
    let (path, name) = (config.datastore_path.display(), &config.node.name);
    let secrets = config.secrets.as_deref();
    let mut looked_at = SecretFiles::default();
    match load_with(&config.datastore_path, secrets, &mut looked_at) {
        Ok(loaded) => {
            if !loaded.intent.nodes.iter().any(|node| node.name == *name) {
                notes.push(format!("{path} has no record of node {name}"));
            }
            loaded.intent
        }
        Err(problems) => {
            let first = problems.iter().next().map(ToString::to_string);
            notes.push(format!(
                "no record of node {name} is known: {}",
                first.unwrap_or_else(|| path.to_string())
            ));
            Intent::default()
        }
    }
}
