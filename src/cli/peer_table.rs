//! How the node and its peers look.

use std::io::{self, Write};

use super::table::{Table, ago, colour, utc};
use crate::control::protocol::{Bfd, Kernel, Messages, Peer, Problem, Status, Tunnel};
use crate::problem::in_words;

const GREEN: u8 = 32;
const RED: u8 = 31;
const YELLOW: u8 = 33;

/// Whoever has to wait so long for a turn is to hear of it.
const LONG_TURN_MS: u64 = 100;

pub(super) fn status(out: &mut impl Write, status: &Status) -> io::Result<()> {
    let Status {
        node,
        asn,
        router_id,
        version,
        uptime_s,
        ..
    } = status;
    writeln!(
        out,
        "{node}  AS {asn}  router id {router_id}  dunlin {version}  up {}",
        ago(*uptime_s)
    )?;
    match status.backend.as_str() {
        "vxlan" => writeln!(
            out,
            "backend      vxlan: no BGP at all, routes from the cluster's records alone"
        )?,
        "none" => writeln!(out, "backend      none: nothing is programmed")?,
        _bgp => writeln!(
            out,
            "listening    {}",
            none_if_empty(&status.listening.join(", "))
        )?,
    }
    writeln!(
        out,
        "cluster      {} (read {} ago)",
        status.datastore,
        ago(status.datastore_read_ago_s)
    )?;
    if status.backend == "bgp" {
        writeln!(
            out,
            "sessions     {} of {} Established",
            status.established, status.peers
        )?;
        if status.bfd_watched > 0 {
            let (up, watched) = (status.bfd_up, status.bfd_watched);
            writeln!(out, "bfd          {up} of {watched} far ends up")?;
        }
    }
    writeln!(
        out,
        "own blocks   {}",
        none_if_empty(&status.originated.join(", "))
    )?;
    let tables = status.tables.iter().filter(|_| status.backend == "bgp");
    for table in tables {
        writeln!(out, "{:<12} {} prefixes", table.family, table.prefixes)?;
    }
    kernel_lines(out, status)?;
    process_lines(out, status)?;
    if status.draining {
        writeln!(
            out,
            "{}     traffic is moved away from this node; `dunlin drain --undo` ends it",
            colour("draining", RED)
        )?;
    }
    problems(out, &status.problems)
}

/// What is wrong: a line a cause, and one on what to do about it.
pub(super) fn problems(out: &mut impl Write, problems: &[Problem]) -> io::Result<()> {
    if problems.is_empty() {
        return writeln!(out, "{}", colour("no problems", GREEN));
    }
    for problem in problems {
        let (code, what) = (&problem.code, &problem.what);
        let colour_of = |severity: &str| if severity == "error" { RED } else { YELLOW };
        let severity = colour(&problem.severity, colour_of(&problem.severity));
        let subjects = in_words(&problem.subject, &problem.subjects);
        let since = ago(problem.since_s);
        writeln!(out, "{severity} {subjects}: {what} ({code}, for {since})")?;
        if !problem.remedy.is_empty() {
            writeln!(out, "    {}", problem.remedy)?;
        }
    }
    Ok(())
}

/// What the process itself has to say of how it does.
fn process_lines(out: &mut impl Write, status: &Status) -> io::Result<()> {
    writeln!(out, "runs as      {}", status.user)?;
    writeln!(out, "capabilities {}", capabilities(&status.capabilities))?;
    writeln!(out, "sandbox      {}", status.sandbox)?;
    if status.longest_turn_ms >= LONG_TURN_MS {
        let ms = status.longest_turn_ms;
        writeln!(
            out,
            "slowness     a turn of the daemon took {ms} ms in the last two minutes"
        )?;
    }
    if status.lost_log_lines > 0 || status.held_log_lines > 0 {
        let (lost, held) = (status.lost_log_lines, status.held_log_lines);
        writeln!(out, "log          {lost} lines lost, {held} held back")?;
    }
    Ok(())
}

/// What the process may do; all of root's is not worth a list.
fn capabilities(names: &[String]) -> String {
    match names {
        [] => "none".to_owned(),
        names if names.len() <= 4 => names.join(", "),
        names => format!("{} (keep-capabilities)", names.len()),
    }
}

fn kernel_lines(out: &mut impl Write, status: &Status) -> io::Result<()> {
    if let Some(kernel) = &status.kernel {
        let Kernel {
            wanted,
            installed,
            written,
            repaired,
            ..
        } = kernel;
        writeln!(
            out,
            "kernel       {installed} of {wanted} routes in place ({written} writes, \
             {repaired} repaired)"
        )?;
    } else if status.backend != "none" {
        writeln!(out, "kernel       not programmed (kernel-routes = false)")?;
    }
    if let Some(nat) = &status.nat_outgoing {
        writeln!(out, "nat outgoing {nat}")?;
    }
    if let Some(guard) = &status.guard {
        writeln!(out, "guard        {guard}")?;
    }
    for tunnel in &status.tunnels {
        writeln!(out, "{}", tunnel_line(tunnel))?;
    }
    Ok(())
}

fn tunnel_line(tunnel: &Tunnel) -> String {
    let mtu = tunnel
        .mtu
        .map(|mtu| format!(", mtu {mtu}"))
        .unwrap_or_default();
    let far_ends = match tunnel.far_ends {
        0 => String::new(),
        all => format!(", {} of {all} far ends ready", tunnel.ready),
    };
    let name = format!("{} ({})", tunnel.name, tunnel.kind);
    format!("tunnel       {name} {}{mtu}{far_ends}", tunnel.state_text)
}

pub(super) fn peers(out: &mut impl Write, peers: &[Peer]) -> io::Result<()> {
    if peers.is_empty() {
        return writeln!(out, "no peers are configured");
    }
    let watched = peers.iter().any(|peer| peer.bfd.is_some());
    let mut columns = vec![
        "PEER", "ADDRESS", "AS", "STATE", "SINCE", "RECEIVED", "ACCEPTED", "SENT",
    ];
    if watched {
        columns.push("BFD");
    }
    let mut table = Table::new(&columns);
    for peer in peers {
        let state = if peer.shutdown {
            "Shutdown"
        } else if peer.leaving {
            "Leaving"
        } else {
            peer.state.as_str()
        };
        let mut row = vec![
            peer.name.clone(),
            address(peer),
            peer.asn
                .map_or_else(|| "any".to_owned(), |asn| asn.to_string()),
            state.to_owned(),
            ago(peer.since_s),
            peer.received.to_string(),
            peer.accepted.to_string(),
            peer.sent.to_string(),
        ];
        if watched {
            let bfd = peer.bfd.as_ref();
            row.push(bfd.map_or_else(|| "-".to_owned(), |bfd| bfd.state.clone()));
        }
        table.row(row);
    }
    table.print(out)?;
    for peer in peers {
        if let Some(problem) = &peer.problem {
            writeln!(out, "{}: {problem}", peer.name)?;
        }
        if let Some(kept) = kept(peer) {
            writeln!(out, "{}: {kept}", peer.name)?;
        }
    }
    Ok(())
}

fn prefixes(out: &mut impl Write, peer: &Peer) -> io::Result<()> {
    let (received, accepted, sent) = (peer.received, peer.accepted, peer.sent);
    writeln!(
        out,
        "  prefixes     {received} received, {accepted} accepted, {sent} sent"
    )?;
    if peer.untaken > 0 {
        let untaken = peer.untaken;
        writeln!(
            out,
            "  not taken    {untaken} routes that it has, because of a limit"
        )?;
    }
    if let Some(kept) = kept(peer) {
        writeln!(out, "  stale        {kept}")?;
    }
    Ok(())
}

/// What stays over a restart of the peer.
fn kept(peer: &Peer) -> Option<String> {
    let left = ago(peer.stale_for_s.filter(|_| peer.stale > 0)?);
    let how = if peer.long_lived_stale {
        ", as the last choice"
    } else {
        ""
    };
    Some(format!(
        "{} of its routes stay for {left} although it has not confirmed them{how}",
        peer.stale
    ))
}

fn address(peer: &Peer) -> String {
    if peer.port == 179 {
        peer.address.to_string()
    } else {
        std::net::SocketAddr::new(peer.address, peer.port).to_string()
    }
}

/// Whether a peer is wanted at all, and what is wrong with it.
fn standing(out: &mut impl Write, peer: &Peer) -> io::Result<()> {
    if peer.shutdown {
        writeln!(
            out,
            "  shut down by an operator; `dunlin peer {} enable` undoes it",
            peer.name
        )?;
    }
    if peer.leaving {
        writeln!(
            out,
            "  leaving      the configuration no longer has it; it stays until others are in its place"
        )?;
    }
    if let Some(problem) = &peer.problem {
        writeln!(out, "  problem      {problem}")?;
    }
    Ok(())
}

pub(super) fn peer(out: &mut impl Write, peer: &Peer) -> io::Result<()> {
    let asn = peer
        .asn
        .map_or_else(|| "any AS".to_owned(), |asn| format!("AS {asn}"));
    writeln!(
        out,
        "{}  {}  {asn}  ({})",
        peer.name,
        address(peer),
        peer.kind
    )?;
    writeln!(
        out,
        "  state        {} for {} (since {})",
        peer.state,
        ago(peer.since_s),
        utc(peer.since_unix_s)
    )?;
    standing(out, peer)?;
    if let Some(error) = &peer.last_error {
        writeln!(
            out,
            "  last error   {} ({} ago)",
            error.message,
            ago(error.ago_s)
        )?;
    }
    if let (Some(local), Some(id)) = (&peer.local_address, &peer.router_id) {
        writeln!(out, "  addresses    local {local}, peer's router id {id}")?;
    }
    if let Some(hold) = peer.hold_time_s {
        let hold = if hold == 0 {
            "off".to_owned()
        } else {
            format!("{hold}s")
        };
        writeln!(out, "  hold time    {hold}")?;
    }
    if !peer.families.is_empty() {
        writeln!(out, "  families     {}", peer.families.join(", "))?;
        writeln!(
            out,
            "  agreed       {}",
            none_if_empty(&peer.capabilities.join(", "))
        )?;
    }
    prefixes(out, peer)?;
    if let Some(bfd) = &peer.bfd {
        writeln!(out, "  bfd          {}", bfd_line(bfd))?;
    }
    counters(out, peer)
}

fn counters(out: &mut impl Write, peer: &Peer) -> io::Result<()> {
    writeln!(out, "  messages in  {}", messages(&peer.messages_in))?;
    writeln!(out, "  messages out {}", messages(&peer.messages_out))?;
    writeln!(
        out,
        "  bad input    {} attributes discarded, {} UPDATEs treated as withdraw",
        peer.discarded, peer.treated_as_withdraw
    )?;
    if peer.failed_calls > 0 {
        writeln!(
            out,
            "  failed calls {} connections from its address came to nothing",
            peer.failed_calls
        )?;
    }
    writeln!(out, "  Established  {} times", peer.established_count)
}

/// BFD of the far end, in one line.
fn bfd_line(bfd: &Bfd) -> String {
    let Bfd {
        state,
        since_s,
        hops,
        ..
    } = bfd;
    let since = ago(*since_s);
    let failures = match bfd.failures {
        0 => String::new(),
        1 => ", 1 failure so far".to_owned(),
        many => format!(", {many} failures so far"),
    };
    let every = bfd.transmit_interval_ms;
    let signed = bfd.authentication.as_deref();
    let signed = signed.map(|how| format!(", {how}")).unwrap_or_default();
    let dropped: Vec<String> = bfd
        .dropped
        .iter()
        .map(|(reason, count)| format!("{count} {}", reason.replace('_', " ")))
        .collect();
    let failures = match dropped.is_empty() {
        true => format!("{signed}{failures}"),
        false => format!(
            "{signed}{failures}, packets dropped: {}",
            dropped.join(", ")
        ),
    };
    match bfd.detection_time_ms.filter(|_| state == "Up") {
        Some(detection) => format!(
            "{state} for {since}, {hops}, a packet every {every} ms, {detection} ms of silence are \
             a failure{failures}"
        ),
        None if bfd.detection_time_ms.is_none() && bfd.dropped.is_empty() => format!(
            "{state} for {since}, {hops}: nothing is heard; is BFD enabled there, and does a \
             firewall drop UDP 3784 or 4784?{failures}"
        ),
        None => format!("{state} for {since}, {hops}: {}{failures}", bfd.diagnostic),
    }
}

fn messages(messages: &Messages) -> String {
    let Messages {
        open,
        update,
        notification,
        keepalive,
        route_refresh,
    } = messages;
    format!(
        "{open} OPEN, {update} UPDATE, {keepalive} KEEPALIVE, {notification} NOTIFICATION, \
         {route_refresh} ROUTE-REFRESH"
    )
}

fn none_if_empty(text: &str) -> &str {
    if text.is_empty() { "none" } else { text }
}
