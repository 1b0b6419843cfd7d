//! A turn does so much and no more, counted in what it does: no input keeps others waiting, whatever its size.

use std::net::IpAddr;

use std::sync::Arc;

use dunlin::dataplane::{Action, Change, Hop, KernelInput, KernelRoute, Op, OpId, Shape};
use dunlin::net::{Asn, Family, RouterId};
use dunlin::node::{Input, Node, Output, Pace};
use dunlin::policy::PolicyKind;
use dunlin::rib::{self, PeerCounts};
use dunlin::session::ConnectionId;
use dunlin::speaker;
use dunlin::time::Instant;
use dunlin::topology::{Peer, Plan};

use crate::next_hop_rig::{address, link};
use crate::sim_world::settings;
use crate::speaker_rig::{LOCAL, REMOTE, attributes, message, planned, update_of};

const THEIR_AS: u16 = 65_002;
const ROUTES: u32 = 30_000;
const PACE: Pace = Pace {
    tables: rib::Pace {
        walk: 64 * 1_000,
        send: 2_000,
    },
    forward: 500,
};

fn plan() -> Plan {
    let mut peer = Peer::new("peer", REMOTE, Asn(u32::from(THEIR_AS)));
    peer.passive = true;
    peer.routes.import = PolicyKind::AcceptAll;
    peer.routes.export = PolicyKind::AcceptAll;
    let mut other = Peer::new("other", other_end(), Asn(65_003));
    other.passive = true;
    other.routes.export = PolicyKind::AcceptAll;
    planned(vec![peer, other])
}

fn other_end() -> IpAddr {
    "10.0.0.3".parse().unwrap()
}

struct Rig {
    node: Node,
    now: Instant,
    /// What came out of the last turn: routes for the kernel, octets of UPDATEs.
    kernel: usize,
    octets: usize,
    /// Of those for the kernel in all turns, what removes.
    removed: usize,
    /// Whether the reading of the kernel takes long, and the one that does.
    reads_slowly: bool,
    reading: Option<OpId>,
}

impl Rig {
    fn new() -> Self {
        let now = Instant::from_secs(1_000);
        let mut settings = settings(1, true);
        settings.speaker.track_next_hops = false;
        let mut rig = Self::with(Node::new(now, settings, plan()), now);
        rig.rest();
        rig
    }

    fn with(mut node: Node, now: Instant) -> Self {
        node.set_pace(PACE);
        Self {
            node,
            now,
            kernel: 0,
            octets: 0,
            removed: 0,
            reads_slowly: false,
            reading: None,
        }
    }

    /// One turn.
    fn turn(&mut self) {
        (self.kernel, self.octets) = (0, 0);
        if self.node.next_timeout().is_some_and(|at| at <= self.now) {
            self.node.handle_timeout(self.now);
        }
        self.node.settle(self.now);
        let mut done = Vec::new();
        while let Some(output) = self.node.poll() {
            match output {
                Output::Kernel(ops) => {
                    let is_route = |op: &&Op| {
                        matches!(
                            op.action,
                            Action::Add(_) | Action::Replace(_) | Action::Delete(_)
                        )
                    };
                    self.kernel += ops.iter().filter(is_route).count();
                    let removes = |op: &&Op| matches!(op.action, Action::Delete(_));
                    self.removed += ops.iter().filter(removes).count();
                    for op in ops {
                        match op.action {
                            Action::Dump if self.reads_slowly => self.reading = Some(op.id),
                            _ => done.push(op.id),
                        }
                    }
                }
                Output::Transport(speaker::Output::Send { connection, bytes }) => {
                    self.octets += bytes.len();
                    self.node
                        .handle(self.now, Input::Sent(connection, bytes.len()));
                }
                Output::Transport(_) => {}
            }
        }
        for id in done {
            let result = Ok(());
            self.node
                .handle(self.now, Input::Kernel(KernelInput::Done { id, result }));
        }
    }

    fn is_busy(&self) -> bool {
        self.node.next_timeout().is_some_and(|at| at <= self.now)
    }

    /// Turns until there is nothing to do; how many, and the most that one of them did.
    fn rest(&mut self) -> (usize, usize, usize) {
        let (mut turns, mut kernel, mut octets) = (0, 0, 0);
        loop {
            self.turn();
            turns += 1;
            kernel = kernel.max(self.kernel);
            octets = octets.max(self.octets);
            assert!(turns < 10_000, "it comes to an end");
            if !self.is_busy() && self.kernel == 0 && self.octets == 0 {
                return (turns, kernel, octets);
            }
        }
    }

    fn meet(&mut self, remote: IpAddr, asn: u16) -> ConnectionId {
        let connection = self.meet_while_busy(remote, asn);
        self.rest();
        connection
    }

    fn meet_while_busy(&mut self, remote: IpAddr, asn: u16) -> ConnectionId {
        let (connection, _) = self.node.accepted(self.now, remote, LOCAL).unwrap();
        let [high, low] = asn.to_be_bytes();
        let IpAddr::V4(id) = remote else { panic!() };
        let id = RouterId::from(id).0.to_be_bytes();
        let capabilities = [1, 4, 0, 1, 0, 1, 2, 0, 70, 0];
        let mut open = vec![4, high, low, 0, 90];
        open.extend(id);
        open.extend([12, 2, 10]);
        open.extend(capabilities);
        self.say(connection, &message(1, &open));
        self.say(connection, &message(4, &[]));
        connection
    }

    fn say(&mut self, connection: ConnectionId, bytes: &[u8]) {
        self.node
            .handle(self.now, Input::Received(connection, bytes));
    }

    fn announce(&mut self, connection: ConnectionId) {
        for numbers in (0..ROUTES).collect::<Vec<_>>().chunks(500) {
            let nlri = numbers.iter().flat_map(|number| {
                let [a, b, c, d] = (0x1400_0000 + (number << 8)).to_be_bytes();
                assert_eq!(d, 0);
                [24, a, b, c]
            });
            let nlri: Vec<u8> = nlri.collect();
            self.say(
                connection,
                &update_of(&[], &attributes(0, &[THEIR_AS]), &nlri),
            );
        }
    }

    fn counts(&self) -> PeerCounts {
        let speaker = self.node.speaker();
        let index = speaker.index_of("peer").unwrap();
        speaker.rib().counts(index, Family::Ipv4)
    }

    fn in_table(&self) -> usize {
        self.node.speaker().rib().prefixes(Family::Ipv4)
    }
}

#[test]
fn a_table_that_comes_and_goes_takes_turns_and_each_does_so_much() {
    let mut rig = Rig::new();
    let peer = rig.meet(REMOTE, THEIR_AS);
    let _other = rig.meet(other_end(), 65_003);
    let own = rig.in_table();
    let light = rig.node.speaker().rib().memory().total();
    rig.announce(peer);
    let (turns, kernel, _) = rig.rest();
    assert_eq!(rig.in_table() - own, ROUTES as usize);
    assert!(kernel <= PACE.forward, "{kernel}");
    assert!(turns >= ROUTES as usize / PACE.forward, "{turns}");

    // The session ends: nothing of it counts any more, and the table is cleared by and by.
    rig.node.handle(rig.now, Input::Closed(peer, None));
    assert_eq!(rig.counts().received, 0);
    rig.turn();
    assert!(rig.kernel <= PACE.forward, "{}", rig.kernel);
    let left = rig.in_table() - own;
    assert!(left > ROUTES as usize / 2, "{left} are left after a turn");
    assert!(rig.is_busy(), "and it goes on by itself");
    // It is back before that has come to its end, with all it has.
    let again = rig.meet_while_busy(REMOTE, THEIR_AS);
    rig.announce(again);
    assert_eq!(rig.counts().received, ROUTES);
    let (_, kernel, _) = rig.rest();
    assert!(kernel <= PACE.forward, "{kernel}");
    assert_eq!(rig.in_table() - own, ROUTES as usize);
    assert_eq!(rig.counts().stale, 0);

    rig.node.handle(rig.now, Input::Closed(again, None));
    let (_, kernel, _) = rig.rest();
    assert!(kernel <= PACE.forward, "{kernel}");
    assert_eq!(rig.in_table(), own);
    // And its memory goes with it.
    let memory = rig.node.speaker().rib().memory().total();
    assert!(memory < light + 400_000, "{memory} octets, {light} before");
    let third = rig.meet(REMOTE, THEIR_AS);
    rig.announce(third);
    rig.rest();
    assert_eq!(rig.in_table() - own, ROUTES as usize);
}

/// Messages of 23 octets, each of which is about all routes of a peer (RFC 7313).
#[test]
fn a_peer_that_begins_to_say_all_again_and_again_costs_a_number_each_time() {
    let mut rig = Rig::new();
    let peer = rig.meet(REMOTE, THEIR_AS);
    rig.announce(peer);
    rig.rest();
    let refresh = |subtype: u8| message(5, &[0, 1, subtype, 1]);
    // What End-of-RIB would have said.
    rig.say(peer, &message(2, &[0, 0, 0, 0]));
    let (begin, end) = (refresh(1), refresh(2));
    let one = update_of(&[], &attributes(0, &[THEIR_AS]), &[24, 20, 0, 0]);
    // With a walk over the table each this would not end in a minute.
    for _ in 0..20_000 {
        rig.say(peer, &begin);
        rig.say(peer, &one);
        rig.say(peer, &end);
    }
    assert_eq!(rig.counts().received, 1);
    rig.rest();
    assert_eq!(
        rig.counts(),
        PeerCounts {
            received: 1,
            accepted: 1,
            stale: 0,
            beyond: 0
        }
    );
}

/// Until the kernel is read no next hop leads anywhere and nothing is wanted, so nothing that a former process left may
/// go by then, nor before all that is wanted afterwards is carried down.
#[test]
fn a_restart_whose_peer_is_quicker_than_its_kernel_removes_what_nobody_wants_and_nothing_else() {
    let now = Instant::from_secs(1_000);
    let settings = dunlin::node::Settings {
        kept: [true, false],
        ..settings(1, true)
    };
    let mut peer = Peer::new("peer", REMOTE, Asn(u32::from(THEIR_AS)));
    peer.passive = true;
    peer.routes.import = PolicyKind::AcceptAll;
    let mut rig = Rig::with(Node::new(now, settings, planned(vec![peer])), now);
    rig.reads_slowly = true;
    rig.turn();
    let peer = rig.meet(REMOTE, THEIR_AS);
    rig.announce(peer);
    // End-of-RIB: whoever is waited for has said all.
    rig.say(peer, &message(2, &[0, 0, 0, 0]));
    rig.rest();
    assert_eq!(rig.kernel, 0, "nothing is done to what is not known");

    let reading = rig.reading.take().unwrap();
    let mut rows = vec![Change::Link(Box::new(link(1)))];
    rows.extend(address(1, &format!("{LOCAL}/24")));
    let shape = Arc::new(Shape::unicast([Hop::new(REMOTE, 1)]));
    let left = |number: u32| Change::Route {
        route: KernelRoute {
            prefix: dunlin::net::Prefix::new(IpAddr::V4((0x1400_0000 + (number << 8)).into()), 24),
            table: 254,
            metric: dunlin::dataplane::Settings::default().ownership.metric4,
            protocol: 179,
            shape: Arc::clone(&shape),
        },
        replaced: false,
    };
    // One of them is announced no more.
    rows.extend((0..=ROUTES).map(left));
    for row in rows {
        rig.node
            .handle(rig.now, Input::Kernel(KernelInput::Dumped(row)));
    }
    let result = Ok(());
    let done = KernelInput::Done {
        id: reading,
        result,
    };
    rig.node.handle(rig.now, Input::Kernel(done));
    rig.rest();
    assert_eq!(rig.removed, 1);
}
