//! Integration tests: one binary, one module a subject.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cli;
mod config_golden;
mod config_watch;
mod dataplane_netns;
mod lab_daemons;
mod lab_plumbing;
mod rib_cohorts;
mod rib_decision;
mod rib_model;
mod rib_size;
mod rib_support;
mod session_changes;
mod session_chaos;
mod session_harness;
mod session_laws;
mod session_pairs;
mod session_stories;
mod session_table;
mod session_timers;
mod session_words;
mod sim_kernel;
mod sim_look;
mod sim_mesh;
mod sim_peers;
mod sim_script;
mod sim_transit;
mod sim_world;
mod speaker_first_as;
mod topology_laws;
mod wire_corpus;
mod wire_edges;
mod wire_fixtures;
mod wire_laws;
mod wire_text;
mod wire_tshark;
