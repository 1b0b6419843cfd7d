//! Integration tests: one binary, one module a subject.
#![expect(missing_docs, reason = "tests document themselves by name")]

mod config_golden;
mod config_watch;
mod topology_laws;

mod wire_fixtures;
mod wire_text;
mod session_chaos;
mod session_harness;
mod session_laws;
mod session_pairs;
mod session_stories;
mod session_table;
mod rib_cohorts;
mod rib_decision;
mod rib_model;
mod rib_size;
mod rib_support;
