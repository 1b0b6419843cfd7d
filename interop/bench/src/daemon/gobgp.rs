//! GoBGP: `gobgpd` with a TOML file and its API on loopback of its own namespace.

use super::{Job, LOCAL_AS, write};
use crate::error::Result;
use crate::netns::DAEMON;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

/// `gobgpd`.
pub(super) fn command(mut command: Command, folder: &Path, job: &Job) -> Result<Command> {
    let path = write(folder, "gobgpd.toml", &config(job))?;
    command.arg("-f").arg(path);
    command.args([
        "-l",
        "warn",
        "--api-hosts",
        "127.0.0.1:50051",
        "--pprof-disable",
    ]);
    Ok(command)
}

fn config(job: &Job) -> String {
    let mut text = format!("[global.config]\n  as = {LOCAL_AS}\n  router-id = \"{DAEMON}\"\n");
    for peer in &job.peers {
        let _ = write!(
            text,
            "[[neighbors]]\n  [neighbors.config]\n    neighbor-address = \"{}\"\n    peer-as = {}\n  \
             [neighbors.transport.config]\n    passive-mode = {}\n  [neighbors.timers.config]\n    \
             hold-time = {}\n    keepalive-interval = {}\n    connect-retry = 5\n    \
             idle-hold-time-after-reset = 1\n",
            peer.address,
            peer.asn,
            job.passive,
            job.hold_time,
            job.hold_time / 3
        );
        if peer.client {
            let _ = write!(
                text,
                "  [neighbors.route-reflector.config]\n    route-reflector-client = true\n    \
                 route-reflector-cluster-id = \"{DAEMON}\"\n"
            );
        }
    }
    text.push_str(&silence(job));
    text
}

/// The policy that announces nothing to the quiet peers.
fn silence(job: &Job) -> String {
    let quiet = job.peers.iter().filter(|peer| peer.quiet);
    let quiet: Vec<String> = quiet.map(|peer| format!("\"{}\"", peer.address)).collect();
    if quiet.is_empty() {
        return String::new();
    }
    format!(
        "[global.apply-policy.config]\n  export-policy-list = [\"silence\"]\n  \
         default-export-policy = \"accept-route\"\n\
         [[defined-sets.neighbor-sets]]\n  neighbor-set-name = \"quiet\"\n  neighbor-info-list = [{}]\n\
         [[policy-definitions]]\n  name = \"silence\"\n  [[policy-definitions.statements]]\n    \
         name = \"all\"\n    [policy-definitions.statements.conditions.match-neighbor-set]\n      \
         neighbor-set = \"quiet\"\n      match-set-options = \"any\"\n    \
         [policy-definitions.statements.actions]\n      route-disposition = \"reject-route\"\n",
        quiet.join(", ")
    )
}
