//! Pages of the kernel's routes.

use std::sync::Arc;

use super::bad_request;
use crate::control::protocol::{Answer, Fib, FibRoute};
use crate::daemon::event_loop::Daemon;
use crate::dataplane::{Dataplane, Hop, KernelView, Shape};
use crate::net::Prefix;

pub(super) fn answer(daemon: &Daemon, after: Option<&str>, limit: usize) -> Answer {
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
