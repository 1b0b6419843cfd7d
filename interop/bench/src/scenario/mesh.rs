//! S4: the daemon starts as a node of a mesh of many nodes with four blocks each, from its process's start.
//!
//! The nodes are iBGP peers that are no clients, so nothing goes from one to another. How far the daemon is shows at
//! one peer more, of another AS, which gets all that the nodes announce, and whose own four blocks must reach every
//! node: only when both are so is the daemon complete. Active: the nodes listen and the daemon dials. Passive: the
//! nodes dial as soon as its port is open. Then nothing happens for a while.

use super::clients::patience;
use super::reflector::BLOCKS;
use super::storm::{FIRST_AS, Watch};
use super::{Bound, Figures, Plan, megabytes};
use crate::daemon::{Job, LOCAL_AS, Peer, Running};
use crate::error::Result;
use crate::fleet::Fleet;
use crate::netns::{DAEMON, Pair, peer_address};
use crate::session::{PeerConfig, Role};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

/// A thousand peers in a configuration take some daemons a while.
const STARTUP: Duration = Duration::from_secs(60);
/// Work put off counts as work, and not as being idle.
const AFTERMATH: Duration = Duration::from_millis(500);

/// Runs it; `passive` is the daemon's side.
pub(super) fn run(plan: &Plan, passive: bool) -> Result<Figures> {
    let sizes = &plan.sizes;
    let peers: Vec<PeerConfig> = (0..=sizes.peers).map(|i| peer(plan, i, passive)).collect();
    let pair = Pair::new()?;
    pair.enter_generator()?;
    pair.introduce(peers.len())?;
    let job = Job {
        peers: peers.iter().map(|p| Peer::new(p.id, p.asn)).collect(),
        hold_time: sizes.long_hold,
        passive,
        kernel: false,
    };
    let mut watch = Watch::new(&peers, BLOCKS);
    let (mut daemon, mut fleet) = if passive {
        let mut daemon = Running::start(plan.kind, &plan.programs, &pair, &job)?;
        daemon.await_port(STARTUP, Duration::from_millis(1))?;
        let fleet = Fleet::new(peers, Instant::now())?;
        (daemon, fleet)
    } else {
        let mut fleet = Fleet::new(peers, Instant::now())?;
        fleet.listen(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 179))?;
        let daemon = Running::start(plan.kind, &plan.programs, &pair, &job)?;
        (daemon, fleet)
    };
    let bound = Bound::new(sizes.timeout + sizes.idle, &plan.stop);
    let start = daemon.started;
    while fleet.established() <= sizes.peers {
        watch.poll(&mut fleet)?;
        bound.check(&mut daemon, || {
            let up = fleet.established();
            let reasons = watch.reasons();
            format!("{up} of {} sessions up; {reasons}", sizes.peers + 1)
        })?;
    }
    let up = start.elapsed().as_secs_f64();
    watch.await_routes(&mut fleet, &mut daemon, &bound)?;
    let complete = start.elapsed().as_secs_f64();
    pass(AFTERMATH, &mut watch, &mut fleet, &mut daemon, &bound)?;
    let joined = daemon.processes().cost();
    pass(sizes.idle, &mut watch, &mut fleet, &mut daemon, &bound)?;
    let idle = daemon.processes().cost().cpu - joined.cpu;
    daemon.check()?;
    if !watch.reasons().is_empty() {
        eprint!(" [{}]", watch.reasons());
    }
    Ok(vec![
        ("up_s", up),
        ("complete_s", complete),
        ("cpu_s", joined.cpu),
        ("peak_rss_mb", megabytes(joined.peak_rss)),
        (
            "idle_cpu_percent",
            100.0 * idle / sizes.idle.as_secs_f64().max(1e-3),
        ),
        ("attempts", fleet.attempts() as f64),
        ("flapped_peers", watch.flapped() as f64),
    ])
}

/// Lets time pass.
fn pass(
    time: Duration,
    watch: &mut Watch,
    fleet: &mut Fleet,
    daemon: &mut Running,
    bound: &Bound,
) -> Result<()> {
    let end = Instant::now() + time;
    while Instant::now() < end {
        watch.poll(fleet)?;
        bound.check(daemon, || format!("being idle; {}", watch.reasons()))?;
    }
    Ok(())
}

/// A node of the mesh, or, behind the last of them, the peer of another AS.
fn peer(plan: &Plan, index: usize, passive: bool) -> PeerConfig {
    let address = peer_address(index);
    PeerConfig {
        local: address.into(),
        remote: SocketAddr::new(DAEMON.into(), 179),
        id: address,
        asn: match index < plan.sizes.peers {
            true => LOCAL_AS,
            false => FIRST_AS,
        },
        hold_time: plan.sizes.long_hold,
        four_octet: true,
        opening: None,
        role: match passive {
            true => Role::Dial(patience(index)),
            false => Role::Accept { by_local: true },
        },
    }
}
