//! How the tables and the kernel's routes look.

use std::io::{self, Write};

use super::table::Table;
use crate::control::protocol::{Fib, Path, Routes};

pub(super) fn routes(out: &mut impl Write, page: &Routes) -> io::Result<()> {
    if page.routes.is_empty() {
        return writeln!(out, "no routes");
    }
    let mut table = Table::new(&[
        "", "PREFIX", "NEXT HOP", "PEER", "PREF", "MED", "AS PATH", "WHY NOT",
    ]);
    for route in &page.routes {
        for (n, path) in route.paths.iter().enumerate() {
            let prefix = if n == 0 {
                route.prefix.clone()
            } else {
                String::new()
            };
            table.row(vec![
                mark(path),
                prefix,
                path.next_hop
                    .map_or_else(|| "-".to_owned(), |hop| hop.to_string()),
                path.peer.clone(),
                path.local_pref
                    .map_or_else(|| "-".to_owned(), |pref| pref.to_string()),
                path.med
                    .map_or_else(|| "-".to_owned(), |med| med.to_string()),
                as_path(path),
                path.reason_text.clone().unwrap_or_default(),
            ]);
        }
    }
    table.print(out)?;
    writeln!(out, "{}", legend(page))?;
    for route in page.routes.iter().filter(|r| !r.more_at.is_empty()) {
        let peers = route.more_at.join(", ");
        writeln!(out, "{}: not all paths of {peers} were taken", route.prefix)?;
    }
    Ok(())
}

/// `*` is the best path, `=` is used beside it, nothing is not used; `s` is stale.
fn mark(path: &Path) -> String {
    let used = match (path.best, path.multipath) {
        (true, _) => "*",
        (false, true) => "=",
        (false, false) => " ",
    };
    let stale = if path.stale { "s" } else { "" };
    format!("{used}{stale}")
}

/// What the marks mean, as far as they are used.
fn legend(page: &Routes) -> String {
    let paths = || page.routes.iter().flat_map(|route| &route.paths);
    let mut words = vec!["* best"];
    if paths().any(|path| path.multipath) {
        words.push("= used beside it");
    }
    if paths().any(|path| path.stale) {
        words.push("s stale: kept over a restart of its peer, not confirmed since");
    }
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
