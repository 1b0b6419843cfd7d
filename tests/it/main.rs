//! Integration tests: one binary, one module a subject.
#![expect(missing_docs, reason = "tests document themselves by name")]

mod lab_daemons;
mod lab_plumbing;
