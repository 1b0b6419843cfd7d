//! What is wrong with routes and devices, as problems: every wanted route that is not in the kernel, and
//! every device that is not ready, is covered.

use super::device::Sysctl;
use super::forwarder::Dataplane;
use super::report::{Covered, RouteState};
use super::route::Errno;
use super::tunnels::{TooNarrow, TunnelStatus};
use crate::net::{Family, Prefix};
use crate::problem::{Code, Problem, Subject};
use crate::time::Instant;

impl Dataplane {
    /// What is wrong at `now`.
    pub fn problems(&self, _now: Instant) -> Vec<Problem> {
        let routes = self
            .troubled()
            .filter_map(|(prefix, state)| self.of_route(prefix, state));
        let narrow = self.tunnels().into_iter().filter_map(of_mtu);
        let settings = self.unfit().map(of_setting);
        routes.chain(narrow).chain(settings).collect()
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

fn of_setting((sysctl, errno): (&Sysctl, Errno)) -> Problem {
    let code = match sysctl {
        Sysctl::Forwarding(_) | Sysctl::ForwardingOn(_) => Code::ForwardingOff,
        Sysctl::LooseReversePath(_) => Code::ReversePathStrict,
        Sysctl::Ipv6On(_) => Code::FamilyOff,
    };
    let subject = match sysctl.link() {
        Some(link) => Subject::Device(link.to_owned()),
        None => Subject::Host,
    };
    let what = match sysctl {
        Sysctl::Forwarding(Family::Ipv4) => "IPv4 packets are not forwarded",
        Sysctl::Forwarding(Family::Ipv6) => "IPv6 packets are not forwarded",
        Sysctl::ForwardingOn(_) => "IPv4 packets that come by it are not forwarded",
        Sysctl::LooseReversePath(_) => {
            "its reverse path filter is strict, so that packets that come through a tunnel may be dropped"
        }
        Sysctl::Ipv6On(_) => "IPv6 is switched off on it",
    };
    let what = format!("{what}, and dunlin cannot change that: {errno}");
    let remedy = format!("set {sysctl} on the host, or let dunlin write below /proc/sys");
    Problem::new(code, subject, what, remedy)
}

impl Dataplane {
    fn of_route(&self, prefix: Prefix, state: RouteState) -> Option<Problem> {
        let code = match state {
            RouteState::Installed
            | RouteState::Pending
            | RouteState::Stale
            | RouteState::Waiting
            // The link's own route is as good.
            | RouteState::Covers(Covered::Subnet) => return None,
            RouteState::Covers(_) => Code::RouteCovers,
            RouteState::Unresolved => Code::RouteUnreachable,
            RouteState::Conflict { .. } => Code::RouteConflict,
            RouteState::Refused { .. } => Code::RouteRefused,
            RouteState::Fought { .. } => Code::RouteFought,
        };
        let remedy = match state {
            RouteState::Covers(_) => {
                "let pools and announcements lie beside the addresses of nodes and gateways"
                    .to_owned()
            }
            RouteState::Refused { errno, .. } => self.why_refused(prefix, errno),
            _ => String::new(),
        };
        let subject = Subject::Route(prefix);
        Some(Problem::new(code, subject, state.to_string(), remedy))
    }

    /// What to look at when the kernel refuses a route, by the links that it leads over.
    fn why_refused(&self, prefix: Prefix, errno: Errno) -> String {
        let hops = self.target(prefix).map_or(&[][..], |shape| &shape.hops);
        let mut links: Vec<&str> = hops
            .iter()
            .filter_map(|hop| Some(&*self.view().link_by_index(hop.interface?)?.name))
            .collect();
        links.dedup();
        match errno {
            // Of IPv6 alone: there is no such switch for IPv4.
            Errno::EACCES if prefix.family() == Family::Ipv6 && !links.is_empty() => {
                let switches: Vec<String> = links
                    .iter()
                    .map(|link| Sysctl::Ipv6On((*link).into()).to_string())
                    .collect();
                format!("set {}", switches.join(", or "))
            }
            Errno::ENOMEM | Errno::ENOSPC | Errno::ENOBUFS if prefix.family() == Family::Ipv6 => {
                "look at net.ipv6.route.max_size and at the host's memory".to_owned()
            }
            _ if links.is_empty() => String::new(),
            _ => format!("it leads over {}", links.join(", ")),
        }
    }
}
