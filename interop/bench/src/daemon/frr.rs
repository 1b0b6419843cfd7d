//! FRR: bgpd alone, without zebra, so nothing reaches a kernel.

use super::{Job, LOCAL_AS, write};
use crate::error::Result;
use crate::netns::DAEMON;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

/// Which waits it has that are not work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waits {
    /// None that can be turned off.
    None,
    /// Those of its defaults: it collects peers and changes for up to ten seconds, and dials every two minutes.
    Own,
}

/// `bgpd` without zebra, as the user that started it.
pub(super) fn command(
    mut command: Command,
    folder: &Path,
    job: &Job,
    waits: Waits,
) -> Result<Command> {
    let path = write(folder, "bgpd.conf", &config(job, waits))?;
    command.arg("-f").arg(path);
    command.args(["-n", "-Z", "-S", "-P", "0", "-l", &DAEMON.to_string()]);
    command.arg("-i").arg(folder.join("bgpd.pid"));
    command.arg("--vty_socket").arg(folder);
    Ok(command)
}

fn config(job: &Job, waits: Waits) -> String {
    let keepalive = job.hold_time / 3;
    let mut text = format!(
        "hostname dut\nlog stdout warnings\nrouter bgp {LOCAL_AS}\n bgp router-id {DAEMON}\n \
         no bgp ebgp-requires-policy\n no bgp network import-check\n \
         timers bgp {keepalive} {}\n neighbor peers peer-group\n",
        job.hold_time
    );
    if waits == Waits::None {
        // Its default coalesce-time waits up to ten seconds to save CPU.
        text.push_str(" coalesce-time 0\n neighbor peers advertisement-interval 0\n");
    }
    if job.passive {
        text.push_str(" neighbor peers passive\n");
    } else if waits == Waits::None {
        text.push_str(" neighbor peers timers connect 5\n");
    }
    for peer in &job.peers {
        let _ = writeln!(
            text,
            " neighbor {0} remote-as {1}\n neighbor {0} peer-group peers",
            peer.address, peer.asn
        );
        if peer.quiet {
            let _ = writeln!(text, " neighbor {} route-map NOTHING out", peer.address);
        }
    }
    if job.peers.iter().any(|peer| peer.quiet) {
        text.push_str("route-map NOTHING deny 10\n");
    }
    if job.peers.iter().any(|peer| peer.client) {
        text.push_str(" address-family ipv4 unicast\n");
        for peer in job.peers.iter().filter(|peer| peer.client) {
            let _ = writeln!(text, "  neighbor {} route-reflector-client", peer.address);
        }
        text.push_str(" exit-address-family\n");
    }
    text
}
