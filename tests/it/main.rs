//! Integration tests: one binary, one module a subject.
#![expect(missing_docs, reason = "tests document themselves by name")]

#[cfg(feature = "daemon")]
mod dataplane_netns;
