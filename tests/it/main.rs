//! Integration tests: one binary, one module a subject.

mod wire_fixtures;
mod wire_text;
