//! Integration tests: one binary, one module a subject.

mod wire_corpus;
mod wire_fixtures;
mod wire_laws;
mod wire_text;
