//! Idle: many established peers and nothing to say but KEEPALIVEs, with the default hold time.
//!
//! With a hold time of 90 s a KEEPALIVE goes each way every 30 s, so that less than two rounds of observation
//! (`--observe 61`) say little.

use super::keepalive::PACE;
use super::stage::Stage;
use super::{Figures, Plan, megabytes};
use crate::daemon::Peer;
use crate::error::Result;
use crate::netns::peer_address;
use std::time::{Duration, Instant};

const FIRST_AS: u32 = 100_001;
const HOLD: u16 = 90;
/// What the daemon still does for sessions that have just come up is not idling.
const SETTLE: Duration = Duration::from_secs(2);

/// Runs it.
pub(super) fn run(plan: &Plan) -> Result<Figures> {
    let peers: Vec<Peer> = (0..plan.sizes.peers)
        .map(|index| {
            let asn = FIRST_AS + u32::try_from(index).unwrap_or(0);
            Peer::new(peer_address(index), asn)
        })
        .collect();
    let mut extended = plan.clone();
    extended.sizes.timeout += plan.sizes.observe;
    let mut stage = Stage::open(&extended, &peers, (HOLD, PACE), Vec::new())?;
    stage.seen.vital = 0;
    stage.rest(SETTLE)?;
    let (before, heard) = (
        stage.daemon.processes().cost().cpu,
        stage.fleet.keepalives(),
    );
    let start = Instant::now();
    stage.rest(plan.sizes.observe)?;
    let cost = stage.daemon.processes().cost();
    let percent = (cost.cpu - before) / start.elapsed().as_secs_f64() * 100.0;
    Ok(vec![
        ("idle_cpu_pct", percent),
        ("rss_mb", megabytes(cost.rss)),
        ("peak_rss_mb", megabytes(cost.peak_rss)),
        ("keepalives_in", (stage.fleet.keepalives() - heard) as f64),
        ("sessions_lost", stage.seen.lost as f64),
    ])
}
