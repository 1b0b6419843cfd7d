//! FRR: bgpd alone, without zebra, so nothing reaches a kernel.

use super::{Job, LOCAL_AS, write};
use crate::error::Result;
use crate::netns::DAEMON;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

/// `bgpd` without zebra, as the user that started it.
pub(super) fn command(mut command: Command, folder: &Path, job: &Job) -> Result<Command> {
    let path = write(folder, "bgpd.conf", &config(job))?;
    command.arg("-f").arg(path);
    command.args(["-n", "-Z", "-S", "-P", "0", "-l", &DAEMON.to_string()]);
    command.arg("-i").arg(folder.join("bgpd.pid"));
    command.arg("--vty_socket").arg(folder);
    Ok(command)
}

fn config(job: &Job) -> String {
    let keepalive = job.hold_time / 3;
    // coalesce-time 0: its default waits up to ten seconds to save CPU, which is a wait and not work.
    let mut text = format!(
        "hostname dut\nlog stdout warnings\nrouter bgp {LOCAL_AS}\n bgp router-id {DAEMON}\n \
         no bgp ebgp-requires-policy\n no bgp network import-check\n coalesce-time 0\n \
         timers bgp {keepalive} {}\n neighbor peers peer-group\n neighbor peers advertisement-interval 0\n",
        job.hold_time
    );
    if job.passive {
        text.push_str(" neighbor peers passive\n");
    } else {
        text.push_str(" neighbor peers timers connect 5\n");
    }
    for peer in &job.peers {
        let _ = writeln!(
            text,
            " neighbor {0} remote-as {1}\n neighbor {0} peer-group peers",
            peer.address, peer.asn
        );
    }
    text
}
