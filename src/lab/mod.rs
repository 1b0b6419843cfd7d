//! `dunlin lab`: a cluster of nodes with pods on this machine, in network namespaces.
//!
//! Two subnets joined by a router, nodes on both, pods behind the nodes, one `dunlin run` on each
//! node and on the router. The lab wires them, waits until every pod reaches every pod with real
//! packets, shows that live, and takes everything down. It needs nothing but this binary: links,
//! addresses and routes go by netlink, and the prober is its own.
//!
//! It is not a test double: the daemons are the ones that run on real nodes, started with the same
//! files. It decides nothing about routes (except with [`Routing::Static`], to test its wiring).
//!
//! Always holds: nothing outside namespaces whose names begin with the instance name is changed; a
//! daemon dies with the lab (unless kept on request); what a killed lab left behind is removed by
//! the next one.
//!
//! ```text
//!                    router  (bridge br-a, bridge br-b, forwards)
//!        172.31.1.0/24 │ fd00:31:1::/64      172.31.2.0/24 │ fd00:31:2::/64
//!              ┌───────┴──────┐                    ┌───────┴──────┐
//!            node-1         node-3               node-2         node-4
//!         10.244.1.0/26  10.244.3.0/26        10.244.2.0/26  10.244.4.0/26
//! ```

mod error;
mod namespace;
mod netlink;
mod options;
mod plan;
mod process;

use std::process::ExitCode;

pub use error::LabError;
pub use namespace::Step;
pub use options::{INSIDE_COMMAND, InsideOptions, LabOptions, Routing};

/// Enters a namespace and becomes dunlin there: what `dunlin lab-inside` does.
///
/// Must be called before any thread is started.
pub fn run_inside(options: &InsideOptions) -> ExitCode {
    match process::become_inside(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dunlin lab: {error}");
            ExitCode::FAILURE
        }
    }
}
