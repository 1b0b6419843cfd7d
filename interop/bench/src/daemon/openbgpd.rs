//! OpenBGPD (portable): three processes, no FIB.

use super::{Job, LOCAL_AS, write};
use crate::error::{Context, Result};
use crate::netns::DAEMON;
use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// The home of its user in Debian's package: two of its processes chroot there.
pub(super) const HOME: &str = "/run/openbgpd";

/// `bgpd -d`.
pub(super) fn command(mut command: Command, folder: &Path, job: &Job) -> Result<Command> {
    let path = write(folder, "bgpd.conf", &config(folder, job))?;
    // It refuses a configuration that others may read.
    fs::set_permissions(&path, Permissions::from_mode(0o600)).context("the mode of bgpd.conf")?;
    command.arg("-d").arg("-f").arg(path);
    Ok(command)
}

fn config(folder: &Path, job: &Job) -> String {
    let passive = if job.passive { "passive" } else { "" };
    let mut text = format!(
        "AS {LOCAL_AS}\nrouter-id {DAEMON}\nlisten on {DAEMON}\nfib-update no\nholdtime {}\n\
         socket \"{}\"\n",
        job.hold_time,
        folder.join("bgpd.sock").display()
    );
    for (number, peer) in job.peers.iter().enumerate() {
        let _ = writeln!(
            text,
            "neighbor {} {{\n  remote-as {}\n  descr \"p{number}\"\n  {passive}\n  {}\n}}",
            peer.address,
            peer.asn,
            match (peer.client, peer.quiet) {
                (true, _) => "route-reflector",
                (false, true) => "export none",
                (false, false) => "",
            }
        );
    }
    text.push_str("allow from any\nallow to any\n");
    text
}
