//! BIRD 2: one template, one protocol a peer, a kernel protocol only where the job asks for it.

use super::{Job, LOCAL_AS, write};
use crate::error::Result;
use crate::netns::DAEMON;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

/// BIRD in the foreground.
pub(super) fn command(mut command: Command, folder: &Path, job: &Job) -> Result<Command> {
    let path = write(folder, "bird.conf", &config(job))?;
    command.arg("-f").arg("-c").arg(path);
    command.arg("-s").arg(folder.join("bird.ctl"));
    Ok(command)
}

fn config(job: &Job) -> String {
    let passive = if job.passive {
        "passive on;"
    } else {
        "connect delay time 1; connect retry time 5;"
    };
    let restart = if job.kernel { "graceful restart; " } else { "" };
    // `error wait time` keeps a session that had an error from being refused for a minute.
    let mut text = format!(
        "router id {DAEMON};\n\
         log stderr {{ warning, error, fatal, bug }};\n\
         protocol device {{}}\n\
         template bgp peer {{\n  local {DAEMON} as {LOCAL_AS};\n  direct;\n  hold time {};\n  {passive}\n  \
         error wait time 1, 2;\n  error forget time 1;\n  {restart}ipv4 {{ import all; export all; }};\n}}\n",
        job.hold_time
    );
    if job.kernel {
        text.push_str(
            "protocol kernel { persist; graceful restart; scan time 60; ipv4 { import none; export all; }; }\n",
        );
    }
    for (number, peer) in job.peers.iter().enumerate() {
        let terms = match (peer.evil, peer.quiet) {
            (true, _) => {
                "enforce first as off; ipv6 { import all; export none; }; ipv4 { export none; };"
            }
            (false, true) => "ipv4 { export none; };",
            (false, false) => "",
        };
        let client = if peer.client { "rr client; " } else { "" };
        let _ = writeln!(
            text,
            "protocol bgp p{number} from peer {{ neighbor {} as {}; {client}{terms} }}",
            peer.address, peer.asn
        );
    }
    text
}
