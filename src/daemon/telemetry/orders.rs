//! `dunlin log`: how loud the log is, and orders to change that until the daemon ends.

use crate::control::protocol::{Answer, Failure, LogLevels, PeerLevel};
use crate::daemon::answers::no_such_peer;
use crate::daemon::config::LogLevel;
use crate::daemon::event_loop::Daemon;

/// The level that the file and `DUNLIN_LOG` say.
const CONFIGURED: &str = "configured";

pub(in crate::daemon) fn answer(
    daemon: &Daemon,
    level: Option<&str>,
    peer: Option<&str>,
) -> Answer {
    if let Some(name) = peer
        && daemon.node.speaker().index_of(name).is_none()
    {
        return no_such_peer(daemon, name);
    }
    match level.map(|word| (word, LogLevel::named(word))) {
        None => {}
        Some((word, None)) if word != CONFIGURED => {
            return Answer::Failed {
                reason: Failure::BadRequest,
                message: format!(
                    "{word:?} is no level: error, warn, info, debug, trace or {CONFIGURED}"
                ),
                remarks: Vec::new(),
            };
        }
        Some((_, level)) => match peer {
            Some(name) => daemon.telemetry.order_for(name, level),
            None => daemon.telemetry.order(level),
        },
    }
    let (level, peers) = daemon.telemetry.levels();
    let peers = peers.into_iter();
    Answer::Log(LogLevels {
        level,
        peers: peers
            .map(|(peer, level)| PeerLevel { peer, level })
            .collect(),
        lost_lines: daemon.telemetry.lost().total,
        held_lines: daemon.telemetry.lost().held,
    })
}
