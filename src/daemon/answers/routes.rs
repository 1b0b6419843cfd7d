//! Pages of the tables and of the kernel's routes.

use std::net::IpAddr;
use std::sync::Arc;

use super::{bad_request, malformed, not_found};
use crate::control::protocol::{Answer, Fib, FibRoute, Path, Route, Routes};
use crate::daemon::event_loop::Daemon;
use crate::dataplane::{Dataplane, Hop, KernelView, Shape};
use crate::net::{Family, Prefix};
use crate::rib::PageCursor;
use crate::speaker::{PathStatus, RouteStatus};
use crate::wire::attribute::{Origin, PathAttributes};

pub(super) fn one_route(daemon: &mut Daemon, text: &str) -> Answer {
    let speaker = daemon.node.speaker_mut();
    let prefix = match (text.parse::<Prefix>(), text.parse::<IpAddr>()) {
        (Ok(prefix), _) => Some(prefix),
        (Err(_), Ok(address)) => speaker
            .rib()
            .longest_match(address)
            .map(|route| route.prefix),
        (Err(error), Err(_)) => return malformed(format!("{text}: {error}")),
    };
    match prefix.and_then(|prefix| speaker.route(prefix)) {
        Some(status) => Answer::Routes(Routes {
            routes: vec![route(&status)],
            next: None,
        }),
        None => not_found(format!("no route to {text}")),
    }
}

/// Pages go through the IPv4 table, then the IPv6 one; `after` is `4:N` or `6:N`.
pub(super) fn routes(daemon: &mut Daemon, after: Option<&str>, limit: usize) -> Answer {
    let (family, cursor) = match after.map(parse_cursor) {
        None => (Family::Ipv4, None),
        Some(Some((family, cursor))) => (family, cursor),
        Some(None) => return bad_request("`after` is not from an earlier page".to_owned()),
    };
    let speaker = daemon.node.speaker_mut();
    let (page, next) = speaker.rib().page(family, cursor, limit);
    let prefixes: Vec<Prefix> = page.into_iter().map(|found| found.prefix).collect();
    let next = match (family, next) {
        (Family::Ipv4, Some(next)) => Some(format!("4:{}", next.to_number())),
        (Family::Ipv4, None) => Some("6:".to_owned()),
        (Family::Ipv6, next) => next.map(|next| format!("6:{}", next.to_number())),
    };
    let routes = prefixes
        .into_iter()
        .filter_map(|prefix| speaker.route(prefix));
    Answer::Routes(Routes {
        routes: routes.map(|status| route(&status)).collect(),
        next,
    })
}

fn parse_cursor(text: &str) -> Option<(Family, Option<PageCursor>)> {
    let (family, number) = text.split_once(':')?;
    let family = match family {
        "4" => Family::Ipv4,
        "6" => Family::Ipv6,
        _other => return None,
    };
    let cursor = match number {
        "" => None,
        number => Some(PageCursor::from_number(number.parse().ok()?)),
    };
    Some((family, cursor))
}

fn route(status: &RouteStatus) -> Route {
    Route {
        prefix: status.prefix.to_string(),
        paths: status.paths.iter().map(path).collect(),
        more_at: status.more_at.clone(),
    }
}

pub(in crate::daemon) fn path(status: &PathStatus) -> Path {
    let PathAttributes {
        origin,
        as_path,
        next_hop,
        med,
        local_pref,
        ..
    } = &status.attributes;
    let attributes = &status.attributes;
    Path {
        peer: status.peer.clone(),
        best: status.best,
        multipath: status.multipath,
        stale: status.stale,
        reason: status.reason_code.map(str::to_owned),
        reason_text: status.reason.clone(),
        policy: status.policy_code.map(str::to_owned),
        policy_text: status.policy.clone(),
        next_hop: next_hop.map(|hop| hop.address),
        as_path: as_path.to_string(),
        origin: match origin {
            Origin::Igp => "igp",
            Origin::Egp => "egp",
            Origin::Incomplete => "incomplete",
        }
        .to_owned(),
        med: *med,
        local_pref: *local_pref,
        communities: attributes
            .communities
            .iter()
            .map(|community| format!("{}:{}", community >> 16, community & 0xFFFF))
            .collect(),
        extended_communities: attributes
            .extended_communities
            .iter()
            .map(|community| community.iter().map(|byte| format!("{byte:02x}")).collect())
            .collect(),
        large_communities: attributes
            .large_communities
            .iter()
            .map(|c| format!("{}:{}:{}", c.global, c.local1, c.local2))
            .collect(),
        originator_id: attributes.originator_id.map(|id| id.to_string()),
        cluster_list: attributes
            .cluster_list
            .iter()
            .map(ToString::to_string)
            .collect(),
    }
}

pub(super) fn fib(daemon: &Daemon, after: Option<&str>, limit: usize) -> Answer {
    let Some(dataplane) = daemon.node.dataplane() else {
        return bad_request("nothing is installed: kernel-routes = false".to_owned());
    };
    let after = match after.map(str::parse::<Prefix>).transpose() {
        Ok(after) => after,
        Err(error) => return bad_request(error.to_string()),
    };
    let mut prefixes: Vec<Prefix> = dataplane
        .prefixes()
        .filter(|prefix| after.is_none_or(|after| *prefix > after))
        .collect();
    prefixes.sort_unstable();
    let more = prefixes.len() > limit;
    prefixes.truncate(limit);
    let next = prefixes.last().filter(|_| more).map(Prefix::to_string);
    let routes = prefixes
        .into_iter()
        .map(|prefix| fib_route(dataplane, prefix));
    Answer::Fib(Fib {
        routes: routes.collect(),
        next,
    })
}

/// How a prefix stands in the kernel.
pub(in crate::daemon) fn fib_route(dataplane: &Dataplane, prefix: Prefix) -> FibRoute {
    let words = |shape: &Arc<Shape>| in_words(dataplane.view(), shape);
    let state = dataplane.state(prefix);
    FibRoute {
        prefix: prefix.to_string(),
        wanted: dataplane.target(prefix).map(words),
        installed: dataplane.installed(prefix).map(words),
        state: state.map_or("not_ours", |state| state.as_str()).to_owned(),
        state_text: state.map_or_else(|| "not ours".to_owned(), |state| state.to_string()),
    }
}

/// A shape as `ip route` would show it, links by their names.
pub(in crate::daemon) fn in_words(view: &KernelView, shape: &Shape) -> String {
    if shape.hops.is_empty() {
        return shape.to_string();
    }
    let hop = |hop: &Hop| {
        let via = hop.via.map(|via| format!("via {via} ")).unwrap_or_default();
        let link = hop.interface.and_then(|index| view.link_by_index(index));
        let name = link.map_or_else(|| "?".to_owned(), |link| link.name.to_string());
        let onlink = if hop.onlink { " onlink" } else { "" };
        format!("{via}dev {name}{onlink}")
    };
    let hops: Vec<String> = shape.hops.iter().map(hop).collect();
    hops.join(", ")
}
