//! Answers that come in pages, put together: whoever asks sees none.

use std::process::ExitCode;

use super::args::{Output, RoutesOptions};
use super::ask::{Problem, print};
use crate::control::client::Client;
use crate::control::protocol::{Answer, Fib, Request, Routes, RoutesQuery, RoutesView};
use crate::net::Prefix;

/// Prefixes asked for at a time: an answer of about a megabyte.
const PAGE: usize = 2000;

pub(super) fn routes(
    client: &mut Client,
    options: &RoutesOptions,
    output: Output,
) -> Result<ExitCode, Problem> {
    let mut query = RoutesQuery {
        prefix: options.prefix.clone(),
        longer: options.longer,
        peer: options.peer.clone(),
        view: match options {
            RoutesOptions { sent: true, .. } => RoutesView::Sent,
            RoutesOptions { accepted: true, .. } => RoutesView::Accepted,
            RoutesOptions { received: true, .. } => RoutesView::Received,
            RoutesOptions { .. } => RoutesView::Table,
        },
        community: options.community.clone(),
        after: None,
        limit: PAGE,
    };
    let mut whole: Option<Routes> = None;
    loop {
        let page = match client.ask(&Request::Routes(query.clone()))? {
            Answer::Routes(page) => page,
            other => return print(&other, output, false),
        };
        query.after.clone_from(&page.next);
        match &mut whole {
            Some(whole) => whole.routes.extend(page.routes),
            None => whole = Some(Routes { next: None, ..page }),
        }
        if query.after.is_none() {
            break;
        }
    }
    let Some(mut whole) = whole else {
        return Ok(ExitCode::SUCCESS);
    };
    // Pages come in the order of the tables, which is none.
    whole
        .routes
        .sort_by_cached_key(|route| route.prefix.parse::<Prefix>().ok());
    print(&Answer::Routes(whole), output, false)
}

pub(super) fn fib(client: &mut Client, output: Output) -> Result<ExitCode, Problem> {
    let mut whole = Fib {
        routes: Vec::new(),
        next: None,
    };
    let mut after: Option<String> = None;
    loop {
        let request = Request::Fib {
            after: after.take(),
            limit: PAGE,
        };
        match client.ask(&request)? {
            Answer::Fib(page) => {
                whole.routes.extend(page.routes);
                after = page.next;
            }
            other => return print(&other, output, false),
        }
        if after.is_none() {
            break;
        }
    }
    print(&Answer::Fib(whole), output, false)
}
