//! Pages of the tables, seen as they are, or from one peer.
//!
//! A page looks at so many destinations, whatever of them is asked for: no question keeps the sessions waiting.

use std::net::IpAddr;

use super::{PAGE_MAX, malformed, no_such_peer, not_found};
use crate::control::protocol::{Answer, Path, Route, Routes, RoutesQuery, RoutesView};
use crate::daemon::event_loop::Daemon;
use crate::net::{Community, Family, Prefix};
use crate::rib::PageCursor;
use crate::speaker::{PathStatus, RouteStatus, Speaker};
use crate::time::Instant;
use crate::wire::attribute::{Origin, PathAttributes};

/// What is asked for, read.
struct Wanted<'a> {
    view: RoutesView,
    peer: Option<&'a str>,
    within: Option<Prefix>,
    community: Option<Community>,
}

pub(super) fn answer(daemon: &mut Daemon, now: Instant, query: &RoutesQuery) -> Answer {
    match read(daemon, query) {
        Ok((wanted, Some(text))) => one_route(daemon, now, &wanted, text),
        Ok((wanted, None)) => page(daemon, now, &wanted, query),
        Err(failed) => *failed,
    }
}

/// The question, and the one prefix or address that it is about.
fn read<'a>(
    daemon: &Daemon,
    query: &'a RoutesQuery,
) -> Result<(Wanted<'a>, Option<&'a str>), Box<Answer>> {
    let peer = query.peer.as_deref();
    if let Some(name) = peer
        && daemon.node.speaker().index_of(name).is_none()
    {
        return Err(no_such_peer(daemon, name).into());
    }
    if peer.is_none() && query.view != RoutesView::Table {
        let why = "which peer's? say --peer NAME".to_owned();
        return Err(malformed(why).into());
    }
    let community = query.community.as_deref();
    let community = community.map(|text| {
        let wrong = |error| Box::new(malformed(format!("{error}")));
        text.parse::<Community>().map_err(wrong)
    });
    let one = query.prefix.as_deref().filter(|_| !query.longer);
    let within = query.prefix.as_deref().filter(|_| query.longer);
    let within = within.map(|text| {
        let wrong = |error| Box::new(malformed(format!("{text}: {error}")));
        text.parse::<Prefix>().map_err(wrong)
    });
    let wanted = Wanted {
        view: match (peer, query.view) {
            (Some(_), RoutesView::Table) => RoutesView::Received,
            (_, view) => view,
        },
        peer,
        within: within.transpose()?,
        community: community.transpose()?,
    };
    Ok((wanted, one))
}

fn one_route(daemon: &mut Daemon, now: Instant, wanted: &Wanted<'_>, text: &str) -> Answer {
    let speaker = daemon.node.speaker_mut();
    let prefixes = match (text.parse::<Prefix>(), text.parse::<IpAddr>()) {
        (Ok(prefix), _) => vec![prefix],
        (Err(_), Ok(address)) => wanted.around(speaker, address),
        (Err(error), Err(_)) if text.contains('/') => return malformed(format!("{text}: {error}")),
        (Err(_), Err(_)) => {
            let expected = "an address, or a prefix such as 10.244.0.0/16 or 2001:db8::/32";
            return malformed(format!("{text:?}: expected {expected}"));
        }
    };
    let found = prefixes.into_iter().find_map(|prefix| {
        let found = match (wanted.view, wanted.peer) {
            (RoutesView::Sent, Some(name)) => speaker.route_to(prefix, name),
            _ => seen(speaker, wanted, prefix),
        };
        wanted.narrowed(found?)
    });
    match found {
        Some(found) => wanted.routes(vec![route(now, &found)], None),
        None => {
            let of = wanted.in_words();
            not_found(format!("no route to {text}{of}"))
        }
    }
}

/// A destination as the tables or a peer's words have it.
fn seen(speaker: &mut Speaker, wanted: &Wanted<'_>, prefix: Prefix) -> Option<RouteStatus> {
    let Some(name) = wanted.peer else {
        return speaker.route(prefix);
    };
    let as_sent = wanted.view == RoutesView::Received;
    let mut found = speaker.route_from(prefix, name, as_sent)?;
    if wanted.view == RoutesView::Accepted {
        found.paths.retain(|path| path.accepted);
    }
    Some(found)
}

/// Pages go through the IPv4 table, then the IPv6 one; `after` is `4:N` or `6:N`.
fn page(daemon: &mut Daemon, now: Instant, wanted: &Wanted<'_>, query: &RoutesQuery) -> Answer {
    let (family, cursor) = match query.after.as_deref().map(parse_cursor) {
        None => (Family::Ipv4, None),
        Some(Some((family, cursor))) => (family, cursor),
        Some(None) => return super::bad_request("`after` is not from an earlier page".to_owned()),
    };
    let limit = query.limit.clamp(1, PAGE_MAX);
    let speaker = daemon.node.speaker_mut();
    let (found, next) = match (wanted.view, wanted.peer) {
        (RoutesView::Sent, Some(name)) => {
            let asked_for = |prefix| wanted.covers(prefix);
            speaker.routes_to(name, (family, cursor), limit, asked_for)
        }
        _ => {
            let (page, next) = speaker.rib().page(family, cursor, limit);
            let inside = page.iter().map(|found| found.prefix);
            let inside: Vec<Prefix> = inside.filter(|prefix| wanted.covers(*prefix)).collect();
            let found = inside
                .into_iter()
                .filter_map(|prefix| seen(speaker, wanted, prefix));
            (found.collect(), next)
        }
    };
    let next = match (family, next) {
        (Family::Ipv4, Some(next)) => Some(format!("4:{}", next.to_number())),
        (Family::Ipv4, None) => Some("6:".to_owned()),
        (Family::Ipv6, next) => next.map(|next| format!("6:{}", next.to_number())),
    };
    let found = found.into_iter().filter_map(|found| wanted.narrowed(found));
    wanted.routes(found.map(|status| route(now, &status)).collect(), next)
}

impl Wanted<'_> {
    /// The prefixes around an address, in the order in which they answer. In the table the one that packets
    /// take comes first; from a peer's side, the most specific one, whatever became of it.
    fn around(&self, speaker: &Speaker, address: IpAddr) -> Vec<Prefix> {
        let taken = speaker.rib().longest_match(address);
        let taken = taken.filter(|_| self.peer.is_none());
        let taken = taken.map(|route| route.prefix);
        let known = speaker.rib().known_around(address);
        taken.into_iter().chain(known).collect()
    }

    fn covers(&self, prefix: Prefix) -> bool {
        self.within.is_none_or(|within| within.covers(prefix))
    }

    /// A route with those of its paths that are asked for, if there are any.
    fn narrowed(&self, mut route: RouteStatus) -> Option<RouteStatus> {
        if let Some(community) = self.community {
            route.paths.retain(|path| path.attributes.has(community));
        }
        (!route.paths.is_empty()).then_some(route)
    }

    fn routes(&self, routes: Vec<Route>, next: Option<String>) -> Answer {
        Answer::Routes(Routes {
            view: self.view,
            peer: self.peer.map(str::to_owned),
            routes,
            next,
        })
    }

    fn in_words(&self) -> String {
        let mut words = match (self.view, self.peer) {
            (RoutesView::Received, Some(name)) => format!(" from {name}"),
            (RoutesView::Accepted, Some(name)) => format!(" from {name} that was accepted"),
            (RoutesView::Sent, Some(name)) => format!(" that was sent to {name}"),
            _ => String::new(),
        };
        if let Some(community) = self.community {
            words.push_str(&format!(" with the community {community}"));
        }
        words
    }
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

fn route(now: Instant, status: &RouteStatus) -> Route {
    Route {
        prefix: status.prefix.to_string(),
        paths: status.paths.iter().map(path).collect(),
        more_at: status.more_at.clone(),
        changed_ago_s: status.since.map(|since| now.since(since).as_secs()),
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
        path_id: status.path_id,
        pending: status.pending,
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
