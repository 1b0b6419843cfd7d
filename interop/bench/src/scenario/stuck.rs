//! S7: the S1 load to a monitor, without and with a second peer that stops reading once its session is up.
//!
//! It goes on sending KEEPALIVEs, so only its reading is stuck. When the load is over it reads again and must get
//! everything, too. The two halves follow each other in the same run, so that a slow spell of the machine hits both.
//! A table that fits into the kernel's buffers (some megabytes, up to about 300,000 prefixes) makes nobody stuck.

use super::load::FEEDER_AS;
use super::stage::{Spent, Stage, View};
use super::{Figures, Plan, megabytes};
use crate::daemon::Peer;
use crate::error::{Error, Result};
use crate::netns::peer_address;
use crate::table::{Progress, Table};
use std::sync::Arc;
use std::time::{Duration, Instant};

const FEEDER: usize = 0;
const MONITOR: usize = 1;
const STUCK: usize = 2;
/// It outlasts the load, so that nobody's hold timer ends the scenario.
const HOLD: u16 = 240;

/// Runs both halves.
pub(super) fn run(plan: &Plan) -> Result<Figures> {
    let table = Table::new(plan.sizes.prefixes, 1, FEEDER_AS, peer_address(FEEDER));
    let (alone, plain, _) = half(plan, &table, false)?;
    let (beside, with, after) = half(plan, &table, true)?;
    let mut figures = vec![
        ("load_cpu_s", alone.cpu),
        ("stuck_load_cpu_s", beside.cpu),
        ("load_wall_s", alone.wall),
        ("stuck_load_wall_s", beside.wall),
        ("peak_rss_mb", plain),
        ("stuck_peak_rss_mb", with),
        ("rss_growth_mb", with - plain),
        ("stuck_lost", f64::from(u8::from(after.is_none()))),
    ];
    figures.extend(after.map(|seconds| ("catch_up_s", seconds)));
    Ok(figures)
}

/// One half: what the load cost, the peak of memory, and how long the stuck peer took to catch up, if it could.
fn half(plan: &Plan, table: &Table, stuck: bool) -> Result<(Spent, f64, Option<f64>)> {
    let receivers = if stuck { STUCK } else { MONITOR };
    let peers: Vec<Peer> = (FEEDER..=receivers)
        .map(|index| {
            let asn = FEEDER_AS + u32::try_from(index).unwrap_or(0);
            Peer::new(peer_address(index), asn)
        })
        .collect();
    let views = (MONITOR..=receivers).map(|index| {
        let mut progress = Progress::new(&table.prefixes);
        progress.mark(&table.announce);
        View::new(index, progress)
    });
    let mut stage = Stage::open(plan, &peers, (HOLD, Duration::ZERO), views.collect())?;
    stage.seen.vital = STUCK;
    if stuck {
        stage.fleet.set_deaf(STUCK, true)?;
    }
    let count = table.prefixes.len();
    let spent = stage.phase(&[(FEEDER, Arc::new(table.announce.clone()))], count)?;
    let peak = megabytes(stage.daemon.processes().cost().peak_rss);
    let mut caught_up = None;
    if stuck && stage.seen.lost == 0 {
        if present(&stage, 1) > 0 {
            let what = "the stuck peer has read: the generator is at fault".to_owned();
            return Err(Error::Daemon(what));
        }
        let start = Instant::now();
        stage.fleet.set_deaf(STUCK, false)?;
        stage.until("the stuck peer to catch up", |stage| {
            present(stage, 1) == count || stage.seen.lost > 0
        })?;
        caught_up = (stage.seen.lost == 0).then(|| start.elapsed().as_secs_f64());
    }
    stage.seen.views.iter().try_for_each(View::check)?;
    Ok((spent, peak, caught_up))
}

fn present(stage: &Stage, view: usize) -> usize {
    let view = stage.seen.views.get(view);
    view.map_or(0, |view| view.progress.present)
}
