//! Integration tests: one binary, one module a subject.
#![expect(missing_docs, reason = "tests document themselves by name")]

mod rib_cohorts;
mod rib_decision;
mod rib_model;
mod rib_size;
mod rib_support;
