//! What is wrong with routes and devices, as problems: every wanted route that is not in the kernel, and
//! every device that is not ready, is covered.

use super::forwarder::Dataplane;
use super::report::{Covered, RouteState};
use super::tunnels::{TooNarrow, TunnelStatus};
use crate::net::Prefix;
use crate::problem::{Code, Problem, Subject};
use crate::time::Instant;

impl Dataplane {
    /// What is wrong at `now`.
    pub fn problems(&self, _now: Instant) -> Vec<Problem> {
        let routes = self.troubled().filter_map(of_route);
        let narrow = self.tunnels().into_iter().filter_map(of_mtu);
        routes.chain(narrow).collect()
    }
}

fn of_mtu(status: TunnelStatus) -> Option<Problem> {
    let narrow = status.too_narrow?;
    let subject = Subject::Device(status.name.to_string());
    let TooNarrow { link, needed, .. } = &narrow;
    let remedy = format!(
        "raise the MTU of {link} to {needed}, or set a lower one for the tunnel if it may have one"
    );
    let what = narrow.to_string();
    Some(Problem::new(Code::DeviceMtu, subject, what, remedy))
}

fn of_route((prefix, state): (Prefix, RouteState)) -> Option<Problem> {
    let code = match state {
        RouteState::Installed | RouteState::Pending | RouteState::Stale | RouteState::Waiting => {
            return None;
        }
        // The link's own route is as good.
        RouteState::Covers(Covered::Subnet) => return None,
        RouteState::Covers(_) => Code::RouteCovers,
        RouteState::Unresolved => Code::RouteUnreachable,
        RouteState::Conflict { .. } => Code::RouteConflict,
        RouteState::Refused { .. } => Code::RouteRefused,
        RouteState::Fought { .. } => Code::RouteFought,
    };
    let remedy = match state {
        RouteState::Covers(_) => {
            "let pools and announcements lie outside the nodes' subnets, or change the nodes' addresses"
        }
        _ => "",
    };
    let subject = Subject::Route(prefix);
    Some(Problem::new(code, subject, state.to_string(), remedy))
}
