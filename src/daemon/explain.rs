//! `dunlin explain ADDRESS`: from an address to the packet's way, in a few lines.

use std::net::IpAddr;

use super::answers::{fib_route, path};
use super::event_loop::Daemon;
use crate::control::protocol::{Answer, Explanation, Path};
use crate::net::Prefix;

pub(super) fn explain(daemon: &mut Daemon, address: IpAddr) -> Answer {
    let speaker = daemon.node.speaker_mut();
    let prefix = speaker
        .rib()
        .longest_match(address)
        .map(|route| route.prefix);
    let status = prefix.and_then(|prefix| speaker.route(prefix));
    let block = covering(
        daemon.places.blocks.iter().map(|(block, _)| *block),
        address,
    );
    let node = daemon
        .places
        .blocks
        .iter()
        .find(|(prefix, _)| Some(*prefix) == block);
    let row = prefix.and_then(|prefix| Some(fib_route(daemon.node.dataplane()?, prefix)));
    let mut explanation = Explanation {
        address,
        prefix: prefix.map(|prefix| prefix.to_string()),
        node: node.map(|(_, name)| name.clone()),
        pool: covering(daemon.places.pools.iter().copied(), address).map(|pool| pool.to_string()),
        paths: status
            .iter()
            .flat_map(|status| &status.paths)
            .map(path)
            .collect(),
        wanted: row.as_ref().and_then(|row| row.wanted.clone()),
        installed: row.as_ref().and_then(|row| row.installed.clone()),
        problems: Vec::new(),
        lines: Vec::new(),
    };
    explanation.problems = problems(daemon, &explanation, block);
    explanation.lines = lines(daemon, &explanation, block);
    Answer::Explain(Box::new(explanation))
}

fn covering(prefixes: impl Iterator<Item = Prefix>, address: IpAddr) -> Option<Prefix> {
    prefixes
        .filter(|prefix| prefix.contains(address))
        .max_by_key(|prefix| prefix.len())
}

fn problems(daemon: &Daemon, found: &Explanation, block: Option<Prefix>) -> Vec<String> {
    let mut problems = Vec::new();
    let me = &daemon.node.speaker().plan().name;
    match (&found.prefix, &found.node, block) {
        (None, Some(node), Some(block)) => problems.push(format!(
            "{block} is a block of {node}, but nobody announces it here: is the session with {node} \
             up (`dunlin peers`), and does it run dunlin?"
        )),
        (None, _, _) if found.pool.is_some() => {
            problems.push("it is in a pool, but in no node's block: no pod has it".to_owned());
        }
        (None, _, _) => problems.push("no route covers it; the kernel's other routes do".to_owned()),
        (Some(_), _, _) => {}
    }
    if found.prefix.is_some() && !found.paths.iter().any(|path| path.best) {
        problems.push("no path of it can be used; see the reasons above".to_owned());
    }
    if found.wanted != found.installed {
        problems.push("the kernel does not have what it ought to (`dunlin fib`)".to_owned());
    }
    let best = found.paths.iter().find(|path| path.best);
    if let (Some(node), Some(best)) = (&found.node, best)
        && best.peer == "local"
        && node != me
    {
        problems.push(format!(
            "the block belongs to {node}, but this node announces it"
        ));
    }
    problems
}

fn lines(daemon: &Daemon, found: &Explanation, block: Option<Prefix>) -> Vec<String> {
    let address = found.address;
    let mut lines = Vec::new();
    match (&found.node, block) {
        (Some(node), Some(block)) => {
            let own = node == &daemon.node.speaker().plan().name;
            let whose = if own {
                "this node".to_owned()
            } else {
                format!("node {node}")
            };
            let pool = found.pool.as_deref().unwrap_or("no pool");
            lines.push(format!(
                "{address} is in block {block} of {whose} (pool {pool})"
            ));
        }
        _ => match &found.pool {
            Some(pool) => lines.push(format!("{address} is in pool {pool}, in no node's block")),
            None => lines.push(format!("{address} is in no pool")),
        },
    }
    if let Some(prefix) = &found.prefix {
        let count = found.paths.len();
        let plural = if count == 1 { "" } else { "s" };
        lines.push(format!("route    {prefix}, {count} path{plural}:"));
        lines.extend(found.paths.iter().map(path_line));
    }
    match (&found.wanted, &found.installed) {
        _ if daemon.node.dataplane().is_none() => {
            lines.push("kernel   not programmed (kernel-routes = false)".to_owned());
        }
        (Some(wanted), Some(installed)) if wanted == installed => {
            lines.push(format!(
                "kernel   {installed} (native: no encapsulation), as it ought to be"
            ));
        }
        (None, None) => lines.push("kernel   has no route of ours for it".to_owned()),
        (wanted, installed) => {
            let none = || "nothing".to_owned();
            lines.push(format!(
                "kernel   has {}",
                installed.clone().unwrap_or_else(none)
            ));
            lines.push(format!(
                "         ought to have {}",
                wanted.clone().unwrap_or_else(none)
            ));
        }
    }
    lines.extend(
        found
            .problems
            .iter()
            .map(|problem| format!("problem  {problem}")),
    );
    if found.problems.is_empty() {
        lines.push("nothing is wrong".to_owned());
    }
    lines
}

fn path_line(path: &Path) -> String {
    let mark = if path.best {
        "best"
    } else if path.multipath {
        "also"
    } else {
        "    "
    };
    let hop = path
        .next_hop
        .map_or_else(|| "here".to_owned(), |hop| format!("via {hop}"));
    let reason = path
        .reason
        .as_ref()
        .map(|why| format!("; {why}"))
        .unwrap_or_default();
    let as_path = if path.as_path.is_empty() {
        "empty".to_owned()
    } else {
        path.as_path.clone()
    };
    format!(
        "  {mark} {hop} from {}, AS path {as_path}{reason}",
        path.peer
    )
}
