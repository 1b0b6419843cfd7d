//! Integration tests: one binary, one module a subject.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod rib_cohorts;
mod rib_decision;
mod rib_model;
mod rib_size;
mod rib_support;
mod wire_corpus;
mod wire_fixtures;
mod wire_laws;
mod wire_text;
mod wire_tshark;
