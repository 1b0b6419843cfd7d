//! dunlin: a node without pod blocks, its peers in the cluster file.

use super::{Job, LOCAL_AS, write};
use crate::error::Result;
use crate::netns::DAEMON;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

/// `dunlin run` with a cluster file.
pub(super) fn command(mut command: Command, folder: &Path, job: &Job) -> Result<Command> {
    let cluster = write(folder, "cluster.toml", &cluster(job))?;
    let node = format!(
        "[node]\nname = \"dut\"\n\n[datastore]\nkind = \"file\"\npath = \"{}\"\n\n\
         [routing]\nkernel-routes = {}\n\n[control]\nsocket = \"{}\"\n\n[log]\nlevel = \"warn\"\n",
        cluster.display(),
        job.kernel,
        folder.join("control").display()
    );
    let path = write(folder, "dunlin.toml", &node)?;
    command.arg("run").arg("--config").arg(path);
    Ok(command)
}

fn cluster(job: &Job) -> String {
    let mut text = format!(
        "[bgp]\nas-number = {LOCAL_AS}\nnode-to-node-mesh-enabled = false\n\n\
         [[ip-pool]]\ncidr = \"10.244.0.0/16\"\n\n\
         [[node]]\nname = \"dut\"\nipv4-address = \"{DAEMON}/16\"\nblocks = []\n"
    );
    if job.peers.iter().any(|peer| peer.client) {
        let _ = writeln!(text, "route-reflector-cluster-id = \"{DAEMON}\"");
    }
    for (number, peer) in job.peers.iter().enumerate() {
        let _ = write!(
            text,
            "\n[[bgp-peer]]\nname = \"p{number}\"\npeer-ip = \"{}\"\nas-number = {}\npassive = {}\n\
             import = \"accept-all\"\nexport = \"{}\"\nhold-time = \"{}s\"\n",
            peer.address,
            peer.asn,
            job.passive,
            if peer.evil || peer.quiet {
                "none"
            } else {
                "accept-all"
            },
            job.hold_time
        );
        // Eight minutes by default (RFC 9687), which no run waits for.
        if job.hold_time > 0 {
            let _ = writeln!(text, "send-hold-time = \"{}s\"", job.hold_time + 2);
        }
        if peer.client {
            text.push_str("route-reflector-client = true\n");
        }
        if peer.short {
            text.push_str("extended-messages = false\n");
        }
        if peer.evil {
            text.push_str("families = [\"ipv4\", \"ipv6\"]\nenforce-first-as = false\n");
        }
    }
    text
}
