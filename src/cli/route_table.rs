//! How the tables and the kernel's routes look.

use std::io::{self, Write};

use super::table::{Table, WIDTH, ago, wrap};
use crate::control::protocol::{Fib, Path, Route, Routes};

pub(super) fn routes(out: &mut impl Write, page: &Routes) -> io::Result<()> {
    if page.routes.is_empty() {
        return writeln!(out, "no routes");
    }
    let any = |has: fn(&Path) -> bool| page.routes.iter().flat_map(|r| &r.paths).any(has);
    let communities = any(|path| communities(path).next().is_some());
    let reasons = any(|path| path.reason_text.is_some());
    let mut heads = vec![
        "", "PREFIX", "NEXT HOP", "PEER", "AGE", "PREF", "MED", "AS PATH",
    ];
    heads.extend(communities.then_some("COMMUNITIES"));
    heads.extend(reasons.then_some("WHY NOT"));
    let mut table = Table::new(&heads);
    for route in &page.routes {
        for (n, path) in route.paths.iter().enumerate() {
            let mut row = cells(route, path, n == 0);
            if communities {
                let all: Vec<&str> = self::communities(path).collect();
                row.push(all.join(" "));
            }
            if reasons {
                row.push(path.reason_text.clone().unwrap_or_default());
            }
            table.row(row);
        }
    }
    table.print(out)?;
    for line in wrap(&legend(page), WIDTH) {
        writeln!(out, "{line}")?;
    }
    for route in page.routes.iter().filter(|r| !r.more_at.is_empty()) {
        let peers = route.more_at.join(", ");
        writeln!(out, "{}: not all paths of {peers} were taken", route.prefix)?;
    }
    Ok(())
}

/// The cells that every path has; what is its destination's stands beside the first one.
fn cells(route: &Route, path: &Path, is_first: bool) -> Vec<String> {
    let number = |number: Option<u32>| number.map_or_else(|| "-".to_owned(), |it| it.to_string());
    let age = route.changed_ago_s.map_or_else(|| "-".to_owned(), ago);
    let of_route = |text: &str| {
        if is_first {
            text.to_owned()
        } else {
            String::new()
        }
    };
    vec![
        mark(path),
        of_route(&route.prefix),
        path.next_hop
            .map_or_else(|| "-".to_owned(), |hop| hop.to_string()),
        path.peer.clone(),
        of_route(&age),
        number(path.local_pref),
        number(path.med),
        as_path(path),
    ]
}

fn communities(path: &Path) -> impl Iterator<Item = &str> {
    let standard = path.communities.iter().chain(&path.large_communities);
    standard.map(String::as_str)
}

/// `*` is the best path, `=` is used beside it, nothing is not used; `s` is stale, `p` pending.
fn mark(path: &Path) -> String {
    let used = match (path.best, path.multipath) {
        (true, _) => "*",
        (false, true) => "=",
        (false, false) => " ",
    };
    let stale = if path.stale { "s" } else { "" };
    let pending = if path.pending { "p" } else { "" };
    format!("{used}{stale}{pending}")
}

/// What the marks mean, as far as they are used.
fn legend(page: &Routes) -> String {
    let paths = || page.routes.iter().flat_map(|route| &route.paths);
    let mut words = Vec::new();
    if paths().any(|path| path.best) {
        words.push("* best");
    }
    if paths().any(|path| path.multipath) {
        words.push("= used beside it");
    }
    if paths().any(|path| path.stale) {
        words.push("s stale: kept over a restart of its peer, not confirmed since");
    }
    if paths().any(|path| path.pending) {
        words.push("p news of it is on its way to the peer");
    }
    words.push("AGE since the prefix has the paths in use that it has");
    words.push("i, e, ? the origin");
    words.join("; ")
}

fn as_path(path: &Path) -> String {
    let origin = match path.origin.as_str() {
        "igp" => "i",
        "egp" => "e",
        _ => "?",
    };
    if path.as_path.is_empty() {
        origin.to_owned()
    } else {
        format!("{} {origin}", path.as_path)
    }
}

pub(super) fn fib(out: &mut impl Write, page: &Fib) -> io::Result<()> {
    if page.routes.is_empty() {
        return writeln!(
            out,
            "no routes of ours are in the kernel, and none ought to be"
        );
    }
    let mut table = Table::new(&["PREFIX", "STATE", "INSTALLED", "WANTED"]);
    for route in &page.routes {
        let wanted = if route.wanted == route.installed {
            None
        } else {
            route.wanted.clone()
        };
        table.row(vec![
            route.prefix.clone(),
            route.state_text.clone(),
            route.installed.clone().unwrap_or_else(|| "-".to_owned()),
            wanted.unwrap_or_default(),
        ]);
    }
    table.print(out)
}
