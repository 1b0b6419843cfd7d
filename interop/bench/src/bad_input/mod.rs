//! Bad input of the project's own making at a live dunlin: messages with a known right answer, and connections
//! that misbehave below BGP. One line a check, then `N passed, N failed`.

mod connections;
mod fixtures;

use crate::cli::BadInputOptions;
use crate::daemon::Programs;
use crate::error::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Which checks held.
#[derive(Default)]
pub(super) struct Tally {
    passed: usize,
    failed: usize,
}

impl Tally {
    /// Notes a check; `Err` says what was wrong. Checks that hold are only shown if `Ok` says something.
    pub(super) fn note(&mut self, name: &str, outcome: std::result::Result<String, String>) {
        match outcome {
            Ok(detail) => {
                self.passed += 1;
                if !detail.is_empty() {
                    println!("ok    {name}: {detail}");
                }
            }
            Err(wrong) => {
                self.failed += 1;
                println!("FAIL  {name}: {wrong}");
            }
        }
    }
}

/// Runs the checks; `false`: one did not hold.
pub(crate) fn run(options: &BadInputOptions, stop: &Arc<AtomicBool>) -> Result<bool> {
    let programs = Programs {
        dunlin: options.dunlin.clone(),
        instead: None,
    };
    let fixtures = options.fixtures.clone();
    let stop = Arc::clone(stop);
    // A thread of its own: it moves into another network namespace.
    let thread = std::thread::spawn(move || match fixtures {
        Some(folder) => fixtures::run(&programs, &folder, &stop),
        None => connections::run(&programs, &stop),
    });
    let tally = thread
        .join()
        .unwrap_or_else(|_| Err(Error::Daemon("the generator's thread panicked".to_owned())))?;
    println!("{} passed, {} failed", tally.passed, tally.failed);
    Ok(tally.failed == 0 && tally.passed > 0)
}
