//! One node: its speaker and its dataplane behind one face. Pure; the daemon runs one of it.
//!
//! The speaker says what is forwarded and which next hops it needs; the dataplane says which of them
//! can be reached and what the kernel has to do. [`Node::settle`] carries the words between them
//! until neither has anything new.
//!
//! What always holds: without a kernel (`kernel_routes = false`) nothing is asked of one and every
//! next hop counts as reachable. Routes that a former process left are deleted only after every peer
//! that is up has sent all it has, and at the latest [`CONVERGENCE_LIMIT`] after the start.

mod gateways;
mod modes;
mod problems;
mod settle;
mod settling;
mod shared_links;
mod ways;

use std::net::IpAddr;

use crate::dataplane::{self, Action, Dataplane, KernelInput, Op};
use crate::forwarding::{Choice, Chooser};
use crate::net::{Prefix, ScopedAddress};
use crate::session::{ConnectionId, DialError};
use crate::speaker::{self, Replanned, SocketTerms, Speaker};
use crate::time::{Duration, Instant};
use crate::topology::Plan;
use crate::wire::error::HeaderError;

use gateways::Gateways;
pub use settle::Pace;
use settling::Settling;
use shared_links::SharedLinks;
pub use ways::Backend;
use ways::Ways;

/// How long routes of a former process may wait for peers that are not up.
pub const CONVERGENCE_LIMIT: Duration = Duration::from_secs(30);

/// What is the same for all plans.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The speaker's.
    pub speaker: speaker::Settings,
    /// Where the knowledge of who has which block comes from.
    pub backend: Backend,
    /// How long packets of a pool go on by its former mode after it was changed: the time in which
    /// all nodes are told.
    pub switch_delay: Duration,
    /// Whether routes are installed.
    pub kernel_routes: bool,
    /// By [`Family::index`](crate::net::Family::index): a former process has left routes of ours in
    /// the kernel, so that packets are forwarded already.
    pub kept: [bool; 2],
    /// How, if they are.
    pub dataplane: dataplane::Settings,
}

/// What happened.
#[derive(Debug)]
pub enum Input<'a> {
    /// A dial succeeded.
    Connected(ConnectionId, IpAddr),
    /// A dial failed.
    DialFailed(ConnectionId, DialError),
    /// Whole messages arrived.
    Received(ConnectionId, &'a [u8]),
    /// A header made no sense.
    BadHeader(ConnectionId, HeaderError),
    /// Octets have left.
    Sent(ConnectionId, usize),
    /// What was queued before a probe has arrived.
    Acknowledged(ConnectionId),
    /// A connection is gone.
    Closed(ConnectionId, Option<String>),
    /// The kernel said something.
    Kernel(KernelInput),
}

/// What is to be done.
#[derive(Debug)]
pub enum Output {
    /// By the transport.
    Transport(speaker::Output),
    /// By the kernel.
    Kernel(Vec<Op>),
}

/// The node.
#[derive(Debug)]
pub struct Node {
    speaker: Speaker,
    dataplane: Option<Dataplane>,
    ways: Ways,
    gateways: Gateways,
    /// The [`chooser`](Self::chooser) is another one than at the last look.
    chosen_anew: bool,
    shared_links: SharedLinks,
    /// Next hops that a new plan has given another way.
    moved: Vec<gateways::Resolved>,
    settling: Settling,
    tally: Tally,
    /// Counts whatever may change [`Self::problems`], beside what the speaker counts.
    news: u64,
    pace: Pace,
    /// The last turn has left something to do that nobody will tell of.
    unfinished: bool,
}

/// What the dataplane has done since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Route operations given to the kernel.
    pub written: u64,
    /// Routes put back after somebody else removed or changed them.
    pub repaired: u64,
}

/// Operations taken from the dataplane at a time.
const OPS: usize = 4096;
/// So many peers that are gone may be asked about still: to look for them costs a walk over all.
const FORMER_PEERS: usize = 64;

impl Node {
    /// A node that carries out `plan` from `now` on.
    pub fn new(now: Instant, settings: Settings, plan: Plan) -> Self {
        let mut ways = Ways::new(settings.backend, settings.switch_delay, &plan);
        let programmed = settings.kernel_routes && settings.backend != Backend::None;
        let mut dataplane = programmed.then(|| {
            Dataplane::new(dataplane::Settings {
                hashing: settings.speaker.hashing,
                ..settings.dataplane
            })
        });
        if let Some(dataplane) = &mut dataplane {
            ways.apply(now, dataplane);
        }
        let plan = ways.spoken(plan);
        let mut gateways = Gateways::default();
        if let Some(dataplane) = &mut dataplane {
            // No next hop is asked for yet.
            let _nothing = gateways.set(dataplane, &plan.gateways, &|_| None);
        }
        // Without routes of its own a speaker has no forwarding that a restart could break, and nothing
        // that tells a restart from a first start.
        let kept = match dataplane {
            Some(_) => settings.kept,
            None => [true; 2],
        };
        let settling = Settling::new(now, kept);
        let mut speaker = Speaker::new(now, settings.speaker, plan);
        speaker.set_own_start(settling.is_restart(), kept);
        speaker.hold_end_of_rib(settling.is_restart());
        let mut node = Self {
            speaker,
            dataplane,
            ways,
            gateways,
            chosen_anew: false,
            shared_links: SharedLinks::default(),
            moved: Vec::new(),
            settling,
            tally: Tally::default(),
            news: 0,
            pace: Pace::default(),
            unfinished: false,
        };
        node.ask_about_peers();
        node
    }

    /// Something has happened. Call [`settle`](Self::settle) after the last of several inputs.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        let speaker = &mut self.speaker;
        match input {
            Input::Connected(connection, local) => speaker.connected(now, connection, local),
            Input::DialFailed(connection, error) => speaker.dial_failed(now, connection, error),
            Input::Received(connection, messages) => speaker.received(now, connection, messages),
            Input::BadHeader(connection, error) => speaker.bad_header(now, connection, error),
            Input::Sent(connection, octets) => speaker.sent(now, connection, octets),
            Input::Acknowledged(connection) => speaker.acknowledged(now, connection),
            Input::Closed(connection, error) => speaker.closed(now, connection, error),
            Input::Kernel(input) => {
                self.news += 1;
                self.settling.note(&input);
                if let Some(dataplane) = &mut self.dataplane {
                    dataplane.handle(now, input);
                }
            }
        }
    }

    /// Somebody connected: what to serve the connection with, or `None` to refuse it.
    pub fn accepted(
        &mut self,
        now: Instant,
        remote: impl Into<ScopedAddress>,
        local: IpAddr,
    ) -> Option<(ConnectionId, SocketTerms)> {
        let remote = remote.into();
        let accepted = self.speaker.accepted(now, remote, local);
        if accepted.is_some()
            && let Some(dataplane) = &mut self.dataplane
        {
            self.shared_links.add_peer(dataplane, remote.address);
            self.forget_former_peers();
        }
        accepted
    }

    /// Asks no longer about peers by a template that are gone, once they are some.
    fn forget_former_peers(&mut self) {
        let peers = self.speaker.plan().peers.len();
        if self.shared_links.peers() > peers + FORMER_PEERS {
            self.ask_about_peers();
        }
    }

    fn ask_about_peers(&mut self) {
        if let Some(dataplane) = &mut self.dataplane {
            let peers = self.speaker.plan().peers.iter().map(|peer| peer.address);
            self.shared_links.set_peers(dataplane, peers);
        }
    }

    /// A new plan.
    pub fn replan(&mut self, now: Instant, plan: Plan) -> Replanned {
        self.news += 1;
        let ways_differ = self.ways.replan(now, &plan);
        let plan = self.ways.spoken(plan);
        if let Some(dataplane) = &mut self.dataplane {
            self.ways.apply(now, dataplane);
            if ways_differ {
                self.speaker.forward_again();
            }
        }
        let said = self.speaker.replan(now, plan);
        self.find_gateways();
        self.ask_about_peers();
        said
    }

    /// A router was heard on a link.
    pub fn neighbour_found(&mut self, now: Instant, interface: &str, index: u32, address: IpAddr) {
        self.speaker.neighbour_found(now, interface, index, address);
        self.find_gateways();
    }

    fn find_gateways(&mut self) {
        let Some(dataplane) = &mut self.dataplane else {
            return;
        };
        let gateways = &self.speaker.plan().gateways;
        let link = |scope| self.speaker.session_link(scope);
        let (moved, differ) = self.gateways.set(dataplane, gateways, &link);
        self.moved.extend(moved);
        if differ {
            self.speaker.forward_again();
        }
    }

    /// What to do next; call until it says nothing.
    pub fn poll(&mut self) -> Option<Output> {
        if let Some(output) = self.speaker.poll() {
            return Some(Output::Transport(output));
        }
        let ops = self.dataplane.as_mut()?.poll_ops(OPS);
        let is_route = |op: &&Op| {
            matches!(
                op.action,
                Action::Add(_) | Action::Replace(_) | Action::Delete(_)
            )
        };
        self.tally.written += ops.iter().filter(is_route).count() as u64;
        (!ops.is_empty()).then_some(Output::Kernel(ops))
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn next_timeout(&self) -> Option<Instant> {
        let limit = self.settling.next_timeout();
        let repair = self.dataplane.as_ref().and_then(Dataplane::next_timeout);
        let switch = self.ways.next_timeout();
        let switch = if self.chosen_anew || self.unfinished {
            Some(Instant::ZERO)
        } else {
            switch
        };
        [self.speaker.next_timeout(), limit, repair, switch]
            .into_iter()
            .flatten()
            .min()
    }

    /// Runs the timers that are due; whether the [`chooser`](Self::chooser) is another one now, as when
    /// a change of mode comes into force.
    pub fn handle_timeout(&mut self, now: Instant) -> bool {
        self.speaker.handle_timeout(now);
        self.forget_former_peers();
        let switched = self.ways.switch(now);
        if let Some(dataplane) = &mut self.dataplane {
            let due = dataplane.next_timeout().is_some_and(|at| at <= now);
            self.news += u64::from(due || !switched.is_empty());
            dataplane.handle_timeout(now);
            if !switched.is_empty() {
                self.ways.apply(now, dataplane);
                self.speaker.forward_again();
                for pool in &switched {
                    tracing::info!(%pool, "the pool travels by its new mode from here on");
                }
            }
        }
        core::mem::take(&mut self.chosen_anew) || !switched.is_empty()
    }

    /// Goes on with a change of mode that a former process had begun.
    fn resume(&mut self, now: Instant) {
        let Some(dataplane) = &mut self.dataplane else {
            return;
        };
        let pools = self.ways.resume(now, dataplane);
        if pools.is_empty() {
            return;
        }
        self.ways.apply(now, dataplane);
        self.speaker.forward_again();
        self.chosen_anew = true;
        for pool in pools {
            tracing::info!(
                %pool,
                "the kernel's routes go otherwise than by the pool's mode; they change when the other \
                 nodes have had time to make ready"
            );
        }
    }

    /// Ends all sessions; routes stay where they are: from here on the kernel is not touched, whatever
    /// the sessions' ends do to the tables. Whether any peer is told.
    pub fn stop(&mut self, now: Instant) -> bool {
        self.dataplane = None;
        self.speaker.stop(now)
    }

    /// The speaker, to look at.
    pub fn speaker(&self) -> &Speaker {
        &self.speaker
    }

    /// The speaker, for an operator's orders.
    pub fn speaker_mut(&mut self) -> &mut Speaker {
        &mut self.speaker
    }

    /// What the dataplane has done so far.
    pub const fn tally(&self) -> Tally {
        self.tally
    }

    /// Where the knowledge of who has which block comes from.
    pub const fn backend(&self) -> Backend {
        self.ways.backend()
    }

    /// Pools, nodes and the choice between native and wrapped, to look at.
    pub const fn chooser(&self) -> &Chooser {
        self.ways.chooser()
    }

    /// The way of packets to `prefix` by `next_hop`, and why.
    pub fn choose(&self, prefix: Prefix, next_hop: IpAddr) -> Choice {
        self.ways.choose(prefix, next_hop)
    }

    /// The dataplane, to look at.
    pub fn dataplane(&self) -> Option<&Dataplane> {
        self.dataplane.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Asn;
    use crate::rib::MedMode;
    use crate::topology::{Intent, Node as PlannedNode, plan};

    fn node() -> Node {
        let mut intent = Intent::default();
        intent.bgp.as_number = Asn(64512);
        let mut me = PlannedNode::named("me");
        me.ipv4_address = Some("10.0.0.1/24".parse().unwrap());
        me.blocks = vec!["10.244.0.0/26".parse().unwrap()];
        intent.nodes.push(me);
        let settings = Settings {
            speaker: speaker::Settings {
                seed: 1,
                hashing: Default::default(),
                track_next_hops: true,
                forwarding: true,
                max_paths: 1,
                med: MedMode::PerNeighbour,
            },
            backend: Backend::Bgp,
            switch_delay: Duration::from_secs(5),
            kernel_routes: true,
            kept: [false; 2],
            dataplane: dataplane::Settings::default(),
        };
        Node::new(Instant::ZERO, settings, plan(&intent, "me").unwrap())
    }

    /// Answers what the kernel is asked, and counts what it is told to change.
    fn kernel(node: &mut Node, now: Instant) -> usize {
        let mut changes = 0;
        node.settle(now);
        while let Some(output) = node.poll() {
            let Output::Kernel(ops) = output else {
                continue;
            };
            changes += ops.iter().filter(|op| op.action != Action::Dump).count();
            for Op { id, .. } in ops {
                let result = Ok(());
                node.handle(now, Input::Kernel(KernelInput::Done { id, result }));
            }
            node.settle(now);
        }
        changes
    }

    #[test]
    fn a_stopping_node_leaves_its_routes_in_the_kernel() {
        let mut node = node();
        let changes = kernel(&mut node, Instant::ZERO);
        assert_eq!(changes, 2, "its own block, and that this host forwards");
        node.stop(Instant::from_secs(1));
        let empty = node.speaker.plan().clone();
        let without = Plan {
            originate: Vec::new(),
            ..empty
        };
        node.replan(Instant::from_secs(1), without);
        assert_eq!(kernel(&mut node, Instant::from_secs(1)), 0);
    }
}
