//! The listening sockets: which addresses there are, with which keys, and what is said of strangers;
//! and the links on which neighbours are listened for.
//!
//! Who a stranger is decides the speaker; how many connections are taken in at all, the transport.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::config::Config;
use super::event_loop::{Daemon, RunError};
use super::secrets;
use crate::node::Backend;
use crate::problem::{Code, Problem, Subject};
use crate::speaker::NO_PEER;
use crate::time::{Duration, Instant};
use crate::topology::{BindMode, Plan, PlannedPeer, TemplateSource, TtlRule};
use crate::transport::{Heard, KeyScope, LeastTtls, Listener};

/// At most so many refused strangers are logged each ten seconds.
const STRANGER_LINES: u32 = 5;

/// So long after its last call a stranger is still a problem.
const REMEMBERED: Duration = Duration::from_secs(60);
/// So many strangers are remembered; who is the problem can be seen from as many.
const MOST: usize = 64;

/// Bounds what strangers can make us log, and remembers who has called of late.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    window: Option<Instant>,
    lines: u32,
    /// When each called last.
    of_late: BTreeMap<IpAddr, Instant>,
}

/// Where a plan wants to be called.
fn addresses(plan: &Plan) -> Vec<SocketAddr> {
    let addresses: [Option<IpAddr>; 2] = match plan.bind {
        BindMode::All => [
            Some(Ipv4Addr::UNSPECIFIED.into()),
            Some(Ipv6Addr::UNSPECIFIED.into()),
        ],
        BindMode::NodeIp => [
            plan.ipv4.map(|net| net.ip().into()),
            plan.ipv6.map(|net| net.ip().into()),
        ],
    };
    let addresses = addresses.into_iter().flatten();
    // A speaker beside us calls where it is itself.
    let here = plan.peers.iter().map(|peer| peer.address);
    let here = here.filter(|address| plan.bind == BindMode::NodeIp && address.is_loopback());
    addresses
        .chain(here.collect::<BTreeSet<_>>())
        .map(|address| SocketAddr::new(address, plan.listen_port))
        .collect()
}

/// Where to listen.
pub(super) fn wanted(config: &Config, plan: &Plan) -> Vec<SocketAddr> {
    let wanted = config.listen.clone();
    wanted.unwrap_or_else(|| addresses(plan))
}

/// The links that neighbours are looked for on.
pub(super) fn links(plan: &Plan) -> BTreeSet<String> {
    let of_links = plan.templates.iter();
    of_links
        .filter_map(|template| match &template.from {
            TemplateSource::Link(name) => Some(name.clone()),
            TemplateSource::Range(_) => None,
        })
        .collect()
}

/// Addresses of peers that are in the plan by a record, or were heard on a link of their own: not those that are
/// there because they called.
fn configured(plan: &Plan) -> impl Iterator<Item = IpAddr> + '_ {
    let ranges = plan.templates.iter();
    let ranges = ranges.filter(|template| matches!(template.from, TemplateSource::Range(_)));
    let names: Vec<&str> = ranges.map(|template| template.peer.name.as_str()).collect();
    let called = move |name: &str| {
        let rest = names.iter().find_map(|range| name.strip_prefix(range));
        rest.is_some_and(|rest| rest.starts_with('/'))
    };
    let peers = plan.peers.iter();
    peers
        .filter(move |peer| !called(&peer.name))
        .map(|peer| peer.address)
}

/// From whom data must have which TTL at least, by the plan's peers and ranges.
fn least_ttls(plan: &Plan) -> LeastTtls {
    let least = |peer: &PlannedPeer| match peer.ttl {
        TtlRule::Security(hops) => u8::MAX - hops.saturating_sub(1),
        // Of a node that was near before the SYN tells, and it is refused by that.
        TtlRule::Any | TtlRule::Multihop(_) | TtlRule::Near => 0,
    };
    let peers = plan.peers.iter();
    let peers = peers.map(|peer| (KeyScope::host(peer.address), least(peer)));
    let ranges = plan.templates.iter();
    let ranges = ranges.filter_map(|template| match template.from {
        TemplateSource::Range(range) => Some((secrets::scope(range), least(&template.peer))),
        TemplateSource::Link(_) => None,
    });
    peers.chain(ranges).collect()
}

/// What a listener has to know of a plan, beside its keys.
fn tell(listener: &Listener, plan: &Plan) {
    listener.set_peers(configured(plan));
    listener.set_least_ttls(&least_ttls(plan));
}

impl Daemon {
    /// A router was heard on a link. It may be a peer now, with a key of its own.
    pub(super) fn heard(&mut self, now: Instant, heard: &Heard) {
        let peers = self.node.speaker().plan().peers.len();
        self.node
            .neighbour_found(now, &heard.interface, heard.index, heard.address);
        let plan = self.node.speaker().plan();
        if plan.peers.len() != peers {
            let keys = secrets::keys(plan);
            for listener in self.listeners.values_mut() {
                listener.set_keys(&keys);
                tell(listener, plan);
            }
        }
    }

    /// Opens and closes listening sockets as the plan wants; sessions on a closed one stay.
    pub(super) fn listen(&mut self) -> Result<(), RunError> {
        if self.config.routing.backend != Backend::Bgp {
            return Ok(());
        }
        let plan = self.node.speaker().plan();
        let wanted = wanted(&self.config, plan);
        let keys = secrets::keys(plan);
        self.neighbours.watch(&links(plan), &self.events);
        self.listeners.retain(|address, _| wanted.contains(address));
        for address in wanted {
            if let Some(listener) = self.listeners.get_mut(&address) {
                listener.set_keys(&keys);
                tell(listener, plan);
                continue;
            }
            match Listener::bind(address, &keys, self.events.clone()) {
                Ok(listener) => {
                    tell(&listener, plan);
                    self.listeners.insert(address, listener);
                }
                // A kernel without IPv6 is no reason not to run.
                Err(source)
                    if self.config.listen.is_none()
                        && address.is_ipv6()
                        && source.raw_os_error() == Some(libc::EAFNOSUPPORT) => {}
                Err(source) => return Err(RunError::Listen { address, source }),
            }
        }
        Ok(())
    }
}

impl Strangers {
    pub(super) fn complain(
        &mut self,
        now: Instant,
        remote: SocketAddr,
        local: SocketAddr,
        why: &'static str,
    ) {
        self.forget(now);
        let room = self.of_late.len() < MOST || self.of_late.contains_key(&remote.ip());
        // A peer that is refused has a problem of its own.
        if room && why == NO_PEER {
            self.of_late.insert(remote.ip(), now);
        }
        let fresh = self
            .window
            .is_none_or(|since| now.since(since).as_secs() >= 10);
        if fresh {
            self.window = Some(now);
            self.lines = 0;
        }
        self.lines += 1;
        if self.lines <= STRANGER_LINES {
            tracing::warn!(%remote, %local, "refused a connection: {why}");
        }
    }

    /// Who has called of late.
    pub(super) fn problems(&mut self, now: Instant) -> Vec<Problem> {
        self.forget(now);
        let strangers = self.of_late.keys();
        strangers
            .map(|address| {
                Problem::new(
                    Code::StrangerCalls,
                    Subject::Peer(address.to_string()),
                    format!("it calls here and is refused: {NO_PEER}"),
                    "add a peer of that address, or look at what calls from there",
                )
            })
            .collect()
    }

    /// When the first of them is forgotten.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.of_late.values().min().map(|at| *at + REMEMBERED)
    }

    fn forget(&mut self, now: Instant) {
        self.of_late.retain(|_, at| now.since(*at) < REMEMBERED);
    }
}
