//! Integration tests: one binary, one module a subject.

mod session_chaos;
mod session_harness;
mod session_laws;
mod session_pairs;
mod session_stories;
mod session_table;
mod session_words;
mod wire_corpus;
mod wire_fixtures;
mod wire_laws;
mod wire_text;
