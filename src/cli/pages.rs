//! Answers that come in pages, put together: whoever asks sees none.

use std::process::ExitCode;

use super::args::{Output, RoutesOptions};
use super::ask::{Problem, print};
use crate::control::client::{Client, ClientError};
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
    let mut whole = Routes {
        view: query.view,
        peer: None,
        routes: Vec::new(),
        next: None,
    };
    let other = every_page(client, |client, after| {
        query.after = after;
        Ok(match client.ask(&Request::Routes(query.clone()))? {
            Answer::Routes(page) => {
                (whole.view, whole.peer) = (page.view, page.peer);
                whole.routes.extend(page.routes);
                Page::There(page.next)
            }
            other => Page::Instead(other),
        })
    })?;
    if let Some(other) = other {
        return print(&other, output, false);
    }
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
    let other = every_page(client, |client, after| {
        let limit = PAGE;
        Ok(match client.ask(&Request::Fib { after, limit })? {
            Answer::Fib(page) => {
                whole.routes.extend(page.routes);
                Page::There(page.next)
            }
            other => Page::Instead(other),
        })
    })?;
    if let Some(other) = other {
        return print(&other, output, false);
    }
    print(&Answer::Fib(whole), output, false)
}

/// What came when a page was asked for.
enum Page {
    /// The page, and where the next one begins.
    There(Option<String>),
    /// Another answer, such as why there is none.
    Instead(Answer),
}

/// Asks for page after page, until there is no more or something else is said.
fn every_page(
    client: &mut Client,
    mut ask: impl FnMut(&mut Client, Option<String>) -> Result<Page, ClientError>,
) -> Result<Option<Answer>, ClientError> {
    let mut after = None;
    loop {
        match ask(client, after)? {
            Page::There(None) => return Ok(None),
            Page::There(next) => after = next,
            Page::Instead(other) => return Ok(Some(other)),
        }
    }
}
