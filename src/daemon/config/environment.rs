//! The environment variables of Calico's node container that mean the same here.
//!
//! They speak where `dunlin.toml` is silent, so that an existing manifest works as it is; the file
//! always wins. Only the named ones are ever read, and an empty one counts as unset.

use std::collections::BTreeMap;

use toml::de::DeValue;

use crate::datastore::{Fault, Located, Place, Problems};

/// The variables that are read.
pub const VARIABLES: &[&str] = &[
    "NODENAME",
    "IP",
    "IP_AUTODETECTION_METHOD",
    "IP6",
    "IP6_AUTODETECTION_METHOD",
    "CALICO_ROUTER_ID",
    "CALICO_NETWORKING_BACKEND",
];

/// Those of the process.
pub(super) fn of_process() -> BTreeMap<String, String> {
    VARIABLES
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)))
        .collect()
}

/// The variables, and which of them were used.
pub(super) struct Environment<'e> {
    variables: &'e BTreeMap<String, String>,
    used: Vec<String>,
}

impl<'e> Environment<'e> {
    pub(super) const fn new(variables: &'e BTreeMap<String, String>) -> Self {
        Self {
            variables,
            used: Vec::new(),
        }
    }

    /// One line for each variable that was used.
    pub(super) fn used(self) -> Vec<String> {
        self.used
    }

    /// What a variable says; an error in it is noted with its name for a place.
    pub(super) fn read<T>(
        &mut self,
        name: &'static str,
        decode: impl Fn(&DeValue<'_>) -> Result<T, Fault>,
        problems: &mut Problems,
    ) -> Option<Located<T>> {
        debug_assert!(VARIABLES.contains(&name), "{name} is not in the list");
        let text = self.variables.get(name).map(|text| text.trim())?;
        if text.is_empty() {
            return None;
        }
        let place = Place::whole(&format!("environment variable {name}").into());
        match decode(&DeValue::String(text.into())) {
            Ok(value) => {
                self.used
                    .push(format!("{name}={text} is taken from the environment"));
                Some(Located { value, place })
            }
            Err(fault) => {
                problems.error(&place, fault.to_string());
                None
            }
        }
    }
}
