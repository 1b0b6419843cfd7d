//! What is wrong with routes and devices, as problems.
//!
//! What always holds: every wanted route that is not in the kernel is covered (by a problem of its own or one
//! of the host), but for an operation that is outstanding at this very moment; and so is every device that is
//! not ready, and every setting of the host that was found to be wrong and could not be changed.

use super::device::Sysctl;
use super::forwarder::Dataplane;
use super::next_hop::{Forwarding, Reach, Resolution, Unreachable};
use super::report::{Covered, RouteState};
use super::route::Errno;
use super::tunnels::{TooNarrow, TunnelState, TunnelStatus};
use crate::net::{Family, Prefix};
use crate::problem::{Code, Problem, Subject};
use crate::time::Instant;

/// So many routes of a kind are named one by one.
const NAMED: usize = 10_000;

impl Dataplane {
    /// What is wrong at `now`. A pass over the routes only while some of them have no way.
    pub fn problems(&self, now: Instant) -> Vec<Problem> {
        let mut problems: Vec<Problem> = self.of_kernel(now).into_iter().collect();
        let tunnels = self.tunnels();
        problems.extend(tunnels.iter().filter_map(of_tunnel));
        problems.extend(tunnels.into_iter().filter_map(of_mtu));
        problems.extend(self.untuned().map(|(s, errno)| of_setting(s, errno)));
        let mut more = 0_usize;
        let mut troubled = self
            .troubled()
            .filter_map(|(prefix, state)| self.of_route(prefix, state));
        problems.extend(troubled.by_ref().take(NAMED));
        more += troubled.count();
        let mut lost = self.lost();
        let named = lost.by_ref().take(NAMED);
        problems.extend(named.map(|(prefix, forwarding)| self.of_lost(prefix, forwarding)));
        more += lost.count();
        if more > 0 {
            problems.push(Problem::new(
                Code::RoutesUnnamed,
                Subject::Host,
                format!("{more} more routes are not in the kernel"),
                "what is the matter with those that are named is likely to be the cause",
            ));
        }
        problems
    }

    /// What concerns all of the kernel.
    fn of_kernel(&self, now: Instant) -> Option<Problem> {
        let host =
            |code, what: &str, remedy: &str| Some(Problem::new(code, Subject::Host, what, remedy));
        // What was denied once, and is wanted no more, is nobody's problem.
        if self.is_denied() && (self.rests(now) || !self.is_idle()) {
            return host(
                Code::KernelDenies,
                "the kernel does not let dunlin change routes and devices",
                "run it as root or with CAP_NET_ADMIN in the namespace that owns the network",
            );
        }
        if !self.is_synced() {
            let what = "the kernel's routes have not been read yet, so none is written";
            return host(Code::KernelUnread, what, "");
        }
        if self.is_reading() {
            return host(Code::KernelUnread, "the kernel is being read anew", "");
        }
        if self.rests(now) {
            return host(
                Code::KernelExhausted,
                "the kernel has no room for what it is asked to do; it is tried again in a moment",
                "look at its memory: `dmesg`, `free`",
            );
        }
        None
    }

    /// A wish of which no next hop can be used.
    fn of_lost(&self, prefix: Prefix, forwarding: &Forwarding) -> Problem {
        let subject = Subject::Route(prefix);
        let problem =
            |code, what: String, remedy: String| Problem::new(code, subject, what, remedy);
        let Forwarding::Via(next_hops) = forwarding else {
            return problem(
                Code::RouteUnreachable,
                "it has no way".to_owned(),
                String::new(),
            );
        };
        let reason = |hop| match self.view().resolution(hop) {
            Some(Resolution::Unreachable(reason)) => Some((hop, *reason)),
            Some(Resolution::Reachable { .. }) | None => None,
        };
        let Some((hop, reason)) = next_hops.iter().find_map(reason) else {
            let what = "there is no way to the node that has it".to_owned();
            let remedy = "`dunlin explain` an address of it".to_owned();
            return problem(Code::RouteWithoutWay, what, remedy);
        };
        let address = hop.address;
        match &hop.reach {
            Reach::Device(name) | Reach::Onto(name) if waits(reason) => problem(
                Code::RouteWaiting,
                format!("it waits for {name}: {reason}"),
                format!("what {name} lacks is a problem of its own; else it takes a moment"),
            ),
            Reach::Device(_)
            | Reach::Onto(_)
            | Reach::Link(_)
            | Reach::Beside(_)
            | Reach::Routed => problem(
                Code::RouteUnreachable,
                format!("its next hop {address} can't be reached: {reason}"),
                format!("look at `ip route get {address}` and at the links of this host"),
            ),
        }
    }
}

const fn waits(reason: Unreachable) -> bool {
    matches!(reason, Unreachable::NotReady | Unreachable::NoDevice)
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

impl Dataplane {
    fn of_route(&self, prefix: Prefix, state: RouteState) -> Option<Problem> {
        // Where a link's own route covers it, that one is as good.
        let (code, what, remedy) = match state {
            RouteState::Installed
            | RouteState::Pending
            | RouteState::Stale
            | RouteState::Waiting
            | RouteState::Unresolved
            | RouteState::Covers(Covered::Subnet) => return None,
            RouteState::Covers(_) => (
                Code::RouteCovers,
                state.to_string(),
                "let pools and announcements lie beside the addresses of nodes and gateways"
                    .to_owned(),
            ),
            RouteState::Conflict { protocol } => {
                let whose = protocol_name(protocol);
                (
                    Code::RouteConflict,
                    format!("a route of {whose} stands where ours would; it is left alone"),
                    format!(
                        "delete that route, or keep its program from making it (`ip route show proto \
                         {protocol}`)"
                    ),
                )
            }
            RouteState::Refused { errno, .. } => (
                Code::RouteRefused,
                format!("the kernel refuses it: {errno}"),
                self.why_refused(prefix, errno),
            ),
            RouteState::Fought { .. } => (
                Code::RouteFought,
                "another program removes or changes it again and again".to_owned(),
                "find that program (`ip monitor route`) and stop it".to_owned(),
            ),
        };
        let subject = Subject::Route(prefix);
        Some(Problem::new(code, subject, what, remedy))
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
            _ if links.is_empty() => "it is tried again by itself".to_owned(),
            _ => format!("look at {}; it is tried again by itself", links.join(", ")),
        }
    }
}

fn of_tunnel(status: &TunnelStatus) -> Option<Problem> {
    let (code, what, remedy) = match &status.state {
        TunnelState::Leaving { .. } => return None,
        TunnelState::Up if status.ready >= status.far_ends => return None,
        TunnelState::Up => (
            Code::DevicePending,
            "entries for some of its far ends are not in the kernel yet".to_owned(),
            "it takes a moment; if it lasts, another program may remove them (`ip monitor neigh`)"
                .to_owned(),
        ),
        TunnelState::Pending => (
            Code::DevicePending,
            "the tunnel device is being set up".to_owned(),
            String::new(),
        ),
        TunnelState::NoDriver { module } => (
            Code::DriverMissing,
            "the kernel has no driver for the tunnel device".to_owned(),
            format!("`modprobe {module}`, or choose another mode for the pools that need it"),
        ),
        TunnelState::Foreign => (
            Code::DeviceForeign,
            "a device of this name belongs to another program, so it is left alone".to_owned(),
            "stop that program and let dunlin take over by `adopt = [\"felix\"]` in [routing], or \
             delete the device"
                .to_owned(),
        ),
        TunnelState::Refused { reason } => (
            Code::DeviceDown,
            reason.clone(),
            "clear away what is in its way; it is tried again by itself".to_owned(),
        ),
        TunnelState::NoUnderlay => (
            Code::UnderlayMissing,
            "no link of this host has the address that the tunnel's packets leave with".to_owned(),
            "give a link the node's address, or correct the node's record".to_owned(),
        ),
    };
    let subject = Subject::Device(status.name.to_string());
    Some(Problem::new(code, subject, what, remedy))
}

/// A setting that could not be made.
fn of_setting(sysctl: &Sysctl, errno: Errno) -> Problem {
    let code = match sysctl {
        Sysctl::Forwarding(_) | Sysctl::ForwardingOn(_) => Code::ForwardingOff,
        Sysctl::LooseReversePath(_) => Code::ReversePathFilter,
        Sysctl::Ipv6On(_) => Code::FamilyOff,
    };
    let subject = match sysctl.link() {
        Some(link) => Subject::Device(link.to_owned()),
        None => Subject::Host,
    };
    let what = match sysctl {
        Sysctl::Forwarding(Family::Ipv4) => "IPv4 packets of pods may not be forwarded",
        Sysctl::Forwarding(Family::Ipv6) => "IPv6 packets of pods may not be forwarded",
        Sysctl::ForwardingOn(_) => "IPv4 packets that come by it may not be forwarded",
        Sysctl::LooseReversePath(_) => {
            "its reverse path filter may be strict, and drop packets through the tunnel"
        }
        Sysctl::Ipv6On(_) => "IPv6 may be switched off on it",
    };
    let what = format!("{what}: the setting could not be read or made ({errno})");
    let remedy = format!("set {sysctl} on the host, or mount /proc/sys writable for dunlin");
    Problem::new(code, subject, what, remedy)
}

/// Who writes routes under a protocol number, as far as that is known everywhere.
fn protocol_name(protocol: u8) -> String {
    let name = match protocol {
        2 => "the kernel",
        3 => "`ip route` (boot)",
        4 => "an administrator (static)",
        9 => "router advertisements",
        11 => "FRR (zebra)",
        12 => "BIRD",
        16 => "DHCP",
        80 => "Felix",
        186 => "FRR (BGP)",
        188 => "FRR (OSPF)",
        _ => return format!("another program (protocol {protocol})"),
    };
    name.to_owned()
}
