//! KEEPALIVEs under load: hundreds of peers with a hold time of 3 s, while a full table goes from a feeder to a
//! monitor and away again.
//!
//! The onlookers get nothing but KEEPALIVEs (the daemon's export to them is shut), so it is not fan-out that costs.
//! The generator's own KEEPALIVEs must be on time: a run in which one was late by more than a second has no figures.

use super::load::FEEDER_AS;
use super::stage::{Stage, View};
use super::{Figures, Plan};
use crate::daemon::Peer;
use crate::error::{Error, Result};
use crate::netns::peer_address;
use crate::table::{Progress, Table};
use std::sync::Arc;
use std::time::Duration;

const FEEDER: usize = 0;
const MONITOR: usize = 1;
/// The first peer that only wants KEEPALIVEs.
const ONLOOKER: usize = 2;
const FIRST_AS: u32 = 100_001;
/// The shortest hold time there is (RFC 4271, section 4.2).
const HOLD: u16 = 3;
/// A third of the hold time is how often KEEPALIVEs are sent; one more second and the session is still alive.
const LATE: Duration = Duration::from_secs(1);
/// Between two peers' first attempts: the storm has its own scenario.
pub(super) const PACE: Duration = Duration::from_millis(5);

/// Runs it.
pub(super) fn run(plan: &Plan) -> Result<Figures> {
    let table = Table::new(plan.sizes.prefixes, 1, FEEDER_AS, peer_address(FEEDER));
    let mut progress = Progress::new(&table.prefixes);
    progress.mark(&table.announce);
    let onlookers = ONLOOKER..ONLOOKER + plan.sizes.peers;
    let mut peers = vec![
        Peer::new(peer_address(FEEDER), FEEDER_AS),
        Peer::new(peer_address(MONITOR), FEEDER_AS + 1),
    ];
    peers.extend(onlookers.clone().map(|index| {
        let asn = FIRST_AS + u32::try_from(index).unwrap_or(0);
        Peer::quiet(peer_address(index), asn)
    }));
    let view = View::new(MONITOR, progress);
    let mut stage = Stage::open(plan, &peers, (HOLD, PACE), vec![view])?;
    stage.seen.vital = ONLOOKER;
    // One hold time in which nothing happens: whoever can't even do that is not under load.
    stage.rest(Duration::from_secs(u64::from(HOLD)))?;
    let load = stage.phase(&[(FEEDER, Arc::new(table.announce))], table.prefixes.len())?;
    let stray = stage.seen.stray;
    let withdrawal = stage.phase(&[(FEEDER, Arc::new(table.withdraw))], 0)?;
    // What was missed by then shows within a hold time.
    stage.rest(Duration::from_secs(u64::from(HOLD) + 1))?;
    stage.seen.views.iter().try_for_each(View::check)?;
    let late = stage.fleet.late();
    if late > LATE {
        let what = format!("the generator's own KEEPALIVE was late by {late:.1?}");
        return Err(Error::Daemon(what));
    }
    let silence = onlookers.map(|index| stage.fleet.silence(index)).max();
    Ok(vec![
        ("sessions_lost", stage.seen.lost as f64),
        ("load_cpu_s", load.cpu),
        ("load_wall_s", load.wall),
        ("withdraw_cpu_s", withdrawal.cpu),
        ("withdraw_wall_s", withdrawal.wall),
        (
            "longest_silence_s",
            silence.unwrap_or_default().as_secs_f64(),
        ),
        ("generator_late_s", late.as_secs_f64()),
        ("stray_updates", stray as f64),
    ])
}
