//! A speaker in memory with peers around it that are nothing but a connection and a count.
//!
//! No socket, no clock: what is sent counts as gone at once, unless its reader is told to be stuck.
//! A turn is as the daemon's: what has come is taken in, then what there is to say is made.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use bytes::Bytes;
use dunlin::net::{Asn, Family, Hashing, RouterId};
use dunlin::policy::PolicyKind;
use dunlin::session::ConnectionId;
use dunlin::speaker::{Output, Settings, Speaker};
use dunlin::time::Instant;
use dunlin::topology::{Families, Intent, Node, Peer, plan};
use dunlin::wire::capability::Capability;
use dunlin::wire::frame::{KEEPALIVE, MessageKind};
use dunlin::wire::open::Open;
use dunlin::wire::update::end_of_rib;

/// The AS of the speaker.
pub(crate) const OUR_AS: u32 = 64_512;
const OURS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

/// A peer to be: its address and its AS.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Far {
    pub(crate) address: Ipv4Addr,
    pub(crate) asn: u32,
}

/// What a peer was handed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    /// Pieces: calls of a writer.
    pub(crate) sends: u64,
    pub(crate) octets: u64,
}

/// A peer's end of its connection.
pub(crate) struct End {
    pub(crate) heard: Heard,
    /// It reads nothing.
    pub(crate) stuck: bool,
}

/// The speaker and its peers.
pub(crate) struct Hub {
    pub(crate) speaker: Speaker,
    pub(crate) now: Instant,
    pub(crate) ends: BTreeMap<ConnectionId, End>,
    gone: Vec<(ConnectionId, usize)>,
    /// The pieces of the last turns, if they are kept.
    pub(crate) kept: Option<Vec<(ConnectionId, Bytes)>>,
}

/// The `number`th peer, of this AS.
pub(crate) fn far(number: u32, asn: u32) -> Far {
    let address = Ipv4Addr::from_bits(0x0A00_0002 + number);
    Far { address, asn }
}

impl Hub {
    /// A speaker with peers that are not up; it reflects to those of its own AS.
    pub(crate) fn new(peers: &[Far]) -> Self {
        let me = Node {
            ipv4_address: Some("10.0.0.1/16".parse().unwrap()),
            route_reflector_cluster_id: Some(RouterId(0x0A00_0001)),
            ..Node::named("me")
        };
        let mut intent = Intent {
            nodes: vec![me],
            ..Intent::default()
        };
        intent.bgp.as_number = Asn(OUR_AS);
        intent.bgp.node_to_node_mesh_enabled = false;
        intent.peers = peers.iter().map(|far| planned(*far)).collect();
        let settings = Settings {
            seed: 1,
            hashing: Hashing::secret(1),
            track_next_hops: false,
            forwarding: false,
            max_paths: 1,
            med: Default::default(),
        };
        let now = Instant::from_secs(1_000);
        Self {
            speaker: Speaker::new(now, settings, plan(&intent, "me").unwrap()),
            now,
            ends: BTreeMap::new(),
            gone: Vec::new(),
            kept: None,
        }
    }

    /// Brings a session up, with an empty table and its End-of-RIB from the other side.
    pub(crate) fn meet(&mut self, far: Far) -> ConnectionId {
        let open = Open {
            my_as: Asn(far.asn).to_two_octets(),
            hold_time: 90,
            router_id: RouterId::from(far.address),
            capabilities: vec![
                Capability::Multiprotocol(Family::Ipv4.afi_safi()),
                Capability::FourOctetAs(Asn(far.asn)),
            ],
        };
        let accepted = self
            .speaker
            .accepted(self.now, IpAddr::V4(far.address), IpAddr::V4(OURS));
        let (connection, _terms) = accepted.unwrap();
        let end = End {
            heard: Heard::default(),
            stuck: false,
        };
        self.ends.insert(connection, end);
        self.say(connection, &open.encode());
        self.say(connection, &KEEPALIVE);
        self.say(connection, &end_of_rib(Family::Ipv4));
        connection
    }

    /// A peer says whole messages.
    pub(crate) fn say(&mut self, from: ConnectionId, messages: &[u8]) {
        self.speaker.received(self.now, from, messages);
    }

    /// Ends a turn: all that can be said is said, and read by those who read.
    pub(crate) fn settle(&mut self) {
        loop {
            self.speaker.flush(self.now);
            while let Some(output) = self.speaker.poll() {
                self.carry_out(output);
            }
            if self.gone.is_empty() {
                return;
            }
            for (connection, octets) in self.gone.drain(..) {
                self.speaker.sent(self.now, connection, octets);
            }
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Send { connection, bytes } => {
                let end = self.ends.get_mut(&connection).unwrap();
                end.heard.sends += 1;
                end.heard.octets += bytes.len() as u64;
                if !end.stuck {
                    self.gone.push((connection, bytes.len()));
                }
                if let Some(kept) = &mut self.kept {
                    kept.push((connection, bytes));
                }
            }
            other => panic!("nothing ends and nobody is dialled here: {other:?}"),
        }
    }

    /// Each chunk is a turn.
    pub(crate) fn say_all(&mut self, from: ConnectionId, chunks: &[Vec<u8>]) {
        for chunk in chunks {
            self.say(from, chunk);
            self.settle();
        }
    }

    /// What a peer was handed so far.
    pub(crate) fn heard(&self, connection: ConnectionId) -> Heard {
        self.ends[&connection].heard
    }

    /// UPDATEs from and to a peer so far.
    pub(crate) fn updates(&self, far: Far) -> (u64, u64) {
        let counters = self.speaker.peer_named(&name(far)).unwrap().counters;
        let kind = MessageKind::Update;
        (counters.received(kind), counters.sent(kind))
    }
}

fn name(far: Far) -> String {
    format!("as{}-{}", far.asn, far.address)
}

fn planned(far: Far) -> Peer {
    let mut peer = Peer::new(name(far), IpAddr::V4(far.address), Asn(far.asn));
    peer.passive = true;
    peer.capabilities.families = Some(Families::only(Family::Ipv4));
    peer.routes.import = PolicyKind::AcceptAll;
    peer.routes.export = PolicyKind::AcceptAll;
    peer.routes.client = (far.asn == OUR_AS).then_some(true);
    peer
}
