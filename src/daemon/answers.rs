//! What the daemon answers on its control socket: the core's snapshots as the protocol's shapes.

pub(super) mod fib;
pub(super) mod routes;

use super::event_loop::Daemon;
use super::secrets::Dropped;
use crate::control::protocol::{
    Answer, Failure, Kernel, LastError, Messages, Peer, Request, Status, Table,
};
use crate::net::Family;
use crate::session::Negotiated;
use crate::speaker::{AdminError, PeerStatus};
use crate::time::{Duration, Instant};
use crate::topology::PeerKind;
use crate::wire::frame::MessageKind;

/// At most so many prefixes are put into one answer, whatever is asked.
const PAGE_MAX: usize = 10_000;

pub(super) fn answer(daemon: &mut Daemon, request: &Request) -> Answer {
    let now = daemon.clock.now();
    match request {
        Request::Status => Answer::Status(Box::new(status(daemon, now))),
        Request::Peers { name: None } => {
            let peers = daemon.node.speaker().peers();
            let dropped = Dropped::so_far();
            let peers = peers.iter().map(|p| peer(daemon, now, dropped, p));
            Answer::Peers {
                peers: peers.collect(),
            }
        }
        Request::Peers { name: Some(name) } => one_peer(daemon, now, name),
        Request::PeerShutdown { .. }
        | Request::PeerEnable { .. }
        | Request::PeerReset { .. }
        | Request::PeerRefresh { .. } => order(daemon, now, request),
        Request::Routes(query) => routes::answer(daemon, now, query),
        Request::Fib { after, limit } => {
            fib::answer(daemon, after.as_deref(), (*limit).min(PAGE_MAX))
        }
        Request::Explain { what } => super::explain::explain(daemon, what),
        Request::Drain { undo } => {
            daemon.node.speaker_mut().set_draining(!undo);
            Answer::Done {
                message: drained(*undo),
            }
        }
        Request::Log { level, peer } => {
            super::telemetry::orders::answer(daemon, level.as_deref(), peer.as_deref())
        }
        // `reading` answers this one, when the files are read.
        Request::Reload => Answer::Reloaded {
            changes: Vec::new(),
            warnings: Vec::new(),
        },
        Request::Version => Answer::Version {
            version: env!("CARGO_PKG_VERSION").to_owned(),
        },
    }
}

/// An order for one peer.
fn order(daemon: &mut Daemon, now: Instant, request: &Request) -> Answer {
    let done = |result: Result<(), AdminError>, message: String| match result {
        Ok(()) => Answer::Done { message },
        Err(error @ AdminError::NoSuchPeer { .. }) => not_found(error.to_string()),
        Err(error @ AdminError::NotEstablished { .. }) => Answer::Failed {
            reason: Failure::BadRequest,
            message: error.to_string(),
            remarks: Vec::new(),
        },
    };
    match request {
        Request::PeerShutdown { name, message } => {
            let text = message.clone().unwrap_or_default();
            let result = daemon.node.speaker_mut().shutdown_peer(now, name, text);
            done(
                result,
                format!(
                    "{name} is shut down until `dunlin peer {name} enable` or a restart of dunlin; \
                     `shutdown = true` in its record lasts"
                ),
            )
        }
        Request::PeerEnable { name } => {
            let result = daemon.node.speaker_mut().enable_peer(now, name);
            done(result, format!("{name} is enabled"))
        }
        Request::PeerReset { name } => {
            let result = daemon.node.speaker_mut().reset_peer(now, name);
            done(result, format!("the session with {name} starts anew"))
        }
        Request::PeerRefresh { name } => {
            let result = daemon.node.speaker_mut().refresh_peer(name);
            done(
                result,
                format!("{name} is asked for its routes, and ours are sent again"),
            )
        }
        _ => bad_request("no order for a peer".to_owned()),
    }
}

fn drained(undo: bool) -> String {
    if undo {
        "traffic may come back: routes are announced as ever".to_owned()
    } else {
        "traffic moves away: our routes are the last choice (GRACEFUL_SHUTDOWN to eBGP peers, \
         LOCAL_PREF 0 within the AS) until `dunlin drain --undo` or a restart of dunlin"
            .to_owned()
    }
}

fn not_found(message: String) -> Answer {
    Answer::Failed {
        reason: Failure::NotFound,
        message,
        remarks: Vec::new(),
    }
}

/// The command line is wrong.
pub(super) fn malformed(message: String) -> Answer {
    Answer::Failed {
        reason: Failure::Malformed,
        message,
        remarks: Vec::new(),
    }
}

fn bad_request(message: String) -> Answer {
    Answer::Failed {
        reason: Failure::BadRequest,
        message,
        remarks: Vec::new(),
    }
}

fn status(daemon: &mut Daemon, now: Instant) -> Status {
    let causes = daemon.causes();
    let (longest_turn, longest_turn_ever) = daemon.pulse.longest(now);
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let daemon = &*daemon;
    let speaker = daemon.node.speaker();
    let plan = speaker.plan();
    let peers = speaker.peers();
    let established = peers
        .iter()
        .filter(|peer| peer.negotiated.is_some())
        .count();
    Status {
        node: plan.name.clone(),
        asn: plan.asn.0,
        router_id: plan.router_id.to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_s: now.since(Instant::ZERO).as_secs(),
        listening: daemon
            .listeners
            .values()
            .map(|l| l.address().to_string())
            .collect(),
        draining: speaker.is_draining(),
        problems: causes
            .iter()
            .map(|cause| super::problems::shown(daemon, now, cause))
            .collect(),
        peers: peers.len(),
        established,
        bfd_watched: peers.iter().filter(|peer| peer.bfd.is_some()).count(),
        bfd_up: peers.iter().filter(|peer| super::bfd::is_up(peer)).count(),
        tables: Family::ALL.map(|family| table(daemon, family)).to_vec(),
        backend: daemon.node.backend().as_str().to_owned(),
        kernel: kernel(daemon),
        tunnels: super::tunnels::all(daemon, now),
        nat_outgoing: nat_outgoing(daemon),
        guard: daemon.nat.guard(&daemon.node),
        originated: plan.own_blocks.iter().map(ToString::to_string).collect(),
        datastore: daemon.config.datastore_path.display().to_string(),
        datastore_read_ago_s: now.since(daemon.read_at).as_secs(),
        longest_turn_ms: ms(longest_turn),
        longest_turn_ever_ms: ms(longest_turn_ever),
        lost_log_lines: daemon.telemetry.lost().total,
        held_log_lines: daemon.telemetry.lost().held,
        user: daemon.confined.user(),
        capabilities: daemon.confined.capabilities().to_vec(),
        sandbox: daemon.confined.sandbox(),
    }
}

/// Without such a pool the rules, if any, mend the source of packets into tunnels only.
fn nat_outgoing(daemon: &Daemon) -> Option<String> {
    let wanted = daemon.node.chooser().fabric().has_nat_pools();
    let status = daemon.nat.status().filter(|_| wanted)?;
    Some(status.to_string())
}

fn table(daemon: &Daemon, family: Family) -> Table {
    let rib = daemon.node.speaker().rib();
    Table {
        family: family.to_string(),
        prefixes: rib.prefixes(family),
    }
}

fn kernel(daemon: &Daemon) -> Option<Kernel> {
    let dataplane = daemon.node.dataplane()?;
    let counts = dataplane.counts();
    let tally = daemon.node.tally();
    Some(Kernel {
        wanted: counts.wanted,
        installed: counts.installed,
        written: tally.written,
        repaired: tally.repaired,
    })
}

fn one_peer(daemon: &Daemon, now: Instant, name: &str) -> Answer {
    match daemon.node.speaker().peer_named(name) {
        Some(status) => Answer::Peers {
            peers: vec![peer(daemon, now, Dropped::so_far(), &status)],
        },
        None => no_such_peer(daemon, name),
    }
}

pub(super) fn no_such_peer(daemon: &Daemon, name: &str) -> Answer {
    let peers = daemon.node.speaker().peers();
    let names = peers.iter().map(|peer| peer.planned.name.as_str());
    let nearest = crate::topology::nearest(name, names).map(str::to_owned);
    let name = name.to_owned();
    not_found(AdminError::NoSuchPeer { name, nearest }.to_string())
}

fn peer(daemon: &Daemon, now: Instant, dropped: Dropped, status: &PeerStatus) -> Peer {
    let planned = &status.planned;
    let negotiated = status.negotiated.as_deref();
    let families = negotiated.map(|up| {
        Family::ALL
            .into_iter()
            .filter(|family| *family.of(&up.families))
            .map(|f| f.to_string())
    });
    let count = |direction: fn(&crate::session::Counters, MessageKind) -> u64| Messages {
        open: direction(&status.counters, MessageKind::Open),
        update: direction(&status.counters, MessageKind::Update),
        notification: direction(&status.counters, MessageKind::Notification),
        keepalive: direction(&status.counters, MessageKind::Keepalive),
        route_refresh: direction(&status.counters, MessageKind::RouteRefresh),
    };
    Peer {
        name: planned.name.clone(),
        address: planned.address,
        port: planned.port,
        asn: Some(planned.remote_asn.0),
        kind: match planned.kind {
            PeerKind::Mesh => "mesh",
            PeerKind::Explicit => "explicit",
        }
        .to_owned(),
        state: format!("{:?}", status.state),
        since_s: now.since(status.since).as_secs(),
        since_unix_s: daemon.clock.unix_time(status.since),
        problem: daemon
            .attempts
            .since(status.planned.address, dropped)
            .problem(status),
        problem_code: status.problem_code.map(|code| code.as_str().to_owned()),
        last_error: status.last_error.as_ref().map(|error| LastError {
            reason: error.reason.as_str().to_owned(),
            message: error.to_string(),
            ago_s: now.since(error.at).as_secs(),
        }),
        shutdown: status.shutdown,
        leaving: status.leaving,
        received: status.received,
        accepted: status.accepted,
        sent: status.sent,
        stale: status.kept.map_or(0, |kept| kept.routes),
        stale_for_s: status.kept.map(|kept| kept.until.since(now).as_secs()),
        long_lived_stale: status.kept.is_some_and(|kept| kept.long_lived),
        hold_time_s: negotiated.map(|up| up.hold_time.as_secs()),
        router_id: negotiated.map(|up| up.remote_router_id.to_string()),
        local_address: status.local,
        families: families.map(Iterator::collect).unwrap_or_default(),
        capabilities: negotiated.map(capabilities).unwrap_or_default(),
        messages_in: count(crate::session::Counters::received),
        messages_out: count(crate::session::Counters::sent),
        discarded: status.discarded,
        treated_as_withdraw: status.treated_as_withdraw,
        untaken: status.untaken,
        established_count: status.counters.established,
        failed_calls: status.failed_calls,
        bfd: status
            .bfd
            .as_ref()
            .map(|report| super::bfd::shown(now, report)),
    }
}

fn capabilities(up: &Negotiated) -> Vec<String> {
    let restart = up.graceful_restart.as_ref();
    let restarts = restart.is_some_and(|r| r.families.iter().any(Option::is_some));
    let long_lived = restart.is_some_and(|r| r.long_lived.iter().any(Option::is_some));
    let listed = [
        (up.four_octet_as, "4-octet AS"),
        (up.route_refresh, "route refresh"),
        (up.enhanced_refresh, "enhanced route refresh"),
        (up.extended_messages, "extended messages"),
        (up.extended_next_hop, "IPv6 next hops for IPv4"),
        (restarts, "graceful restart"),
        (long_lived, "long-lived graceful restart"),
    ];
    listed
        .into_iter()
        .filter(|(agreed, _)| *agreed)
        .map(|(_, name)| name.to_owned())
        .collect()
}
