//! What the tests of the RIB share: peers, routes, receivers that read what was sent.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may fail where it stands"
)]

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};

use bytes::Bytes;
use dunlin::net::{Asn, Family, Prefix, Prefix4, RouterId};
use dunlin::rib::{
    ExportKind, ExportPolicy, GroupKey, PeerFacts, PeerIndex, PeerKind, Rib, RibConfig,
};
use dunlin::time::Instant;
use dunlin::wire::attribute::{AsPath, NextHop, PathAttributes};
use dunlin::wire::frame::{self, MessageKind, Step};
use dunlin::wire::route_refresh::RouteRefresh;
use dunlin::wire::update::{DecodeContext, RawUpdate, decode};

pub(crate) const OUR_AS: Asn = Asn(65000);
pub(crate) const CLUSTER: RouterId = RouterId(0x0A00_0001);

pub(crate) fn address(peer: u32) -> IpAddr {
    Ipv4Addr::from_bits(0x0A01_0000 + peer).into()
}

pub(crate) fn facts(peer: u32, kind: PeerKind) -> PeerFacts {
    let asn = if kind == PeerKind::Ebgp {
        Asn(65000 + peer)
    } else {
        OUR_AS
    };
    PeerFacts {
        kind,
        asn,
        router_id: RouterId(0x0B00_0000 + peer),
        address: address(peer),
    }
}

pub(crate) fn rib(config: RibConfig) -> Rib {
    Rib::new(config, OUR_AS, CLUSTER)
}

pub(crate) fn prefix(number: u32) -> Prefix {
    if number.is_multiple_of(4) {
        Prefix::new(format!("2001:db8:{number:x}::").parse().unwrap(), 48)
    } else {
        Prefix4::new(0x1400_0000 + (number << 8), 24).into()
    }
}

/// How many cases a property test has: PROPTEST_CASES, if that is set.
pub(crate) fn cases(usual: u32) -> u32 {
    let set = std::env::var("PROPTEST_CASES").ok();
    set.and_then(|set| set.parse().ok()).unwrap_or(usual)
}

/// Attributes with a path of these numbers, a next hop of the family of `prefix`.
pub(crate) fn attributes(path: &[u32], next_hop: u32, prefix: Prefix) -> PathAttributes {
    let address = match prefix.family() {
        Family::Ipv4 => address(next_hop),
        Family::Ipv6 => format!("2001:db8:ffff::{next_hop:x}").parse().unwrap(),
    };
    PathAttributes {
        as_path: AsPath::sequence(path.iter().map(|&n| Asn(n)).collect()),
        next_hop: Some(NextHop::new(address)),
        ..PathAttributes::default()
    }
}

pub(crate) fn key(family: Family, kind: ExportKind) -> GroupKey {
    let own = match family {
        Family::Ipv4 => "10.9.9.9",
        Family::Ipv6 => "2001:db8:9::9",
    };
    GroupKey {
        kind,
        family,
        four_octet_as: true,
        max_len: 4096,
        add_path: false,
        paths: 0,
        role: None,
        own_next_hop: NextHop::new(own.parse().unwrap()),
        next_hop_self: false,
        next_hop_keep: false,
        shared_subnet: None,
        extended_next_hop: false,
        long_lived: false,
        policy: 0,
    }
}

/// A peer's side of a session: an outbox, and a table of what it read.
#[derive(Debug, Default)]
pub(crate) struct Receiver {
    pub(crate) ebgp: bool,
    pub(crate) outbox: VecDeque<Bytes>,
    pub(crate) table: BTreeMap<Prefix, PathAttributes>,
    /// With Add-Path: by prefix and identifier, in place of `table`.
    pub(crate) paths: BTreeMap<(Prefix, u32), PathAttributes>,
    pub(crate) add_path: bool,
    pub(crate) end_of_rib: [u32; 2],
    /// In a refresh, by family: what has not come again yet.
    refreshing: [Option<Vec<(Prefix, u32)>>; 2],
    pub(crate) messages: usize,
    /// How often it was told of a prefix.
    pub(crate) told: usize,
    /// It may hear that a route is gone which it was spared, since it leads to itself.
    spared: bool,
}

impl Receiver {
    /// Reads the first chunk of the outbox; its length.
    pub(crate) fn read_one(&mut self) -> Option<usize> {
        let bytes = self.outbox.pop_front()?;
        self.read(&bytes);
        Some(bytes.len())
    }

    /// Whether every begin of a refresh had its end.
    pub(crate) fn refreshes_ended(&self) -> bool {
        self.refreshing == [None, None]
    }

    fn read(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let Ok(Step::Message { len, .. }) = frame::next(rest, 4096) else {
                panic!("chunks are whole messages of 4096 octets at most")
            };
            rest = &rest[len..];
        }
        for (kind, body) in frame::messages(bytes) {
            self.messages += 1;
            match kind {
                MessageKind::Update => self.update(body),
                MessageKind::RouteRefresh => self.marker(RouteRefresh::decode(body).unwrap()),
                MessageKind::Open | MessageKind::Notification | MessageKind::Keepalive => {
                    panic!("{kind:?} from a RIB")
                }
            }
        }
    }

    fn update(&mut self, body: &[u8]) {
        let ctx = DecodeContext {
            four_octet_as: true,
            ebgp: self.ebgp,
            add_path: [self.add_path; 2],
            families: [true; 2],
            extended_next_hop: false,
            permit_as_sets: false,
            beside: false,
        };
        let update = decode(RawUpdate::split(body).unwrap(), &ctx).unwrap();
        assert!(update.faults.is_empty(), "{:?}", update.faults);
        if let Some(family) = update.end_of_rib() {
            self.end_of_rib[family.family().unwrap().index()] += 1;
            return;
        }
        let gone = update.mp_withdrawn.map(|(_, nlri)| nlri);
        for (id, prefix) in update.withdrawn.iter().chain(gone.into_iter().flatten()) {
            let had = if self.add_path {
                self.paths.remove(&(prefix, id))
            } else {
                self.table.remove(&prefix)
            };
            self.told += 1;
            assert!(
                had.is_some() || self.spared,
                "withdrawal of {prefix} (path {id}), never sent"
            );
        }
        let mut announce = |id, prefix, next_hop| {
            let attributes = PathAttributes {
                next_hop,
                ..update.attributes.clone()
            };
            self.told += 1;
            if self.add_path {
                self.paths.insert((prefix, id), attributes);
            } else {
                self.table.insert(prefix, attributes);
            }
            for missing in self.refreshing.iter_mut().flatten() {
                missing.retain(|&other| other != (prefix, id));
            }
        };
        for (id, prefix) in update.announced.iter() {
            announce(id, prefix, update.attributes.next_hop);
        }
        if let Some(reach) = update.mp_announced {
            for (id, prefix) in reach.nlri.iter() {
                announce(id, prefix, Some(reach.next_hop));
            }
        }
    }

    fn marker(&mut self, marker: RouteRefresh) {
        let family = marker.family.family().unwrap();
        match marker.subtype {
            RouteRefresh::BEGIN => {
                let single = self.table.keys().map(|&prefix| (prefix, 0));
                let mine = single.chain(self.paths.keys().copied());
                let mine = mine.filter(|(prefix, _)| prefix.family() == family);
                self.refreshing[family.index()] = Some(mine.collect());
            }
            RouteRefresh::END => {
                let missing = self.refreshing[family.index()].take();
                for path in missing.expect("an end without a begin") {
                    assert!(
                        !self.table.contains_key(&path.0) && !self.paths.contains_key(&path),
                        "{path:?} did not come again"
                    );
                }
            }
            other => panic!("subtype {other}"),
        }
    }
}

/// A RIB with receivers behind it.
#[derive(Debug)]
pub(crate) struct Net {
    pub(crate) rib: Rib,
    pub(crate) now: Instant,
    pub(crate) receivers: HashMap<PeerIndex, Receiver>,
    pub(crate) deliveries: usize,
    /// How many unequal paths a peer is sent, where that is not none.
    pub(crate) paths: HashMap<u32, u8>,
    /// Next hops may be other peers' addresses.
    pub(crate) thirds: bool,
}

impl Net {
    pub(crate) fn new(rib: Rib) -> Self {
        Self {
            rib,
            now: Instant::ZERO,
            receivers: HashMap::new(),
            deliveries: 0,
            paths: HashMap::new(),
            thirds: false,
        }
    }

    /// A session comes up, with both families exported.
    pub(crate) fn up(&mut self, peer: u32, kind: PeerKind, export: ExportKind) {
        self.up_with(peer, kind, export, false);
    }

    /// The same, perhaps with Add-Path.
    pub(crate) fn up_with(
        &mut self,
        peer: u32,
        kind: PeerKind,
        export: ExportKind,
        add_path: bool,
    ) {
        let index = PeerIndex(peer);
        self.rib.set_peer(index, facts(peer, kind));
        let ebgp = kind == PeerKind::Ebgp;
        self.receivers.insert(
            index,
            Receiver {
                ebgp,
                add_path,
                spared: self.thirds,
                ..Receiver::default()
            },
        );
        for family in Family::ALL {
            let key = GroupKey {
                add_path,
                paths: self.paths.get(&peer).copied().unwrap_or(0),
                ..key(family, export)
            };
            self.rib.add_export(index, key);
        }
    }

    /// A session goes down.
    pub(crate) fn down(&mut self, peer: u32) {
        self.rib.remove_peer(PeerIndex(peer));
        self.receivers.remove(&PeerIndex(peer));
    }

    /// Fetches up to `limit` deliveries into outboxes; whether that was all.
    pub(crate) fn poll(&mut self, policy: &dyn ExportPolicy, limit: usize) -> bool {
        for _ in 0..limit {
            let Some(delivery) = self.rib.poll_send(self.now, policy) else {
                return true;
            };
            self.deliveries += 1;
            assert!(!delivery.bytes.is_empty() && !delivery.to.as_slice().is_empty());
            for peer in delivery.to.as_slice() {
                let receiver = self.receivers.get_mut(peer).expect("bytes for nobody");
                receiver.outbox.push_back(delivery.bytes.clone());
            }
        }
        false
    }

    /// A peer reads up to `chunks` chunks.
    pub(crate) fn read(&mut self, peer: u32, chunks: usize) {
        let Some(receiver) = self.receivers.get_mut(&PeerIndex(peer)) else {
            return;
        };
        for _ in 0..chunks {
            let Some(len) = receiver.read_one() else {
                return;
            };
            self.rib.sent(PeerIndex(peer), len);
        }
    }

    /// Everybody reads everything until nothing is left to send.
    pub(crate) fn settle(&mut self, policy: &dyn ExportPolicy) {
        loop {
            let done = self.poll(policy, usize::MAX);
            let peers: Vec<_> = self.receivers.keys().map(|peer| peer.0).collect();
            let waiting = self.receivers.values().any(|r| !r.outbox.is_empty());
            for peer in peers {
                self.read(peer, usize::MAX);
            }
            if done && !waiting {
                return;
            }
        }
    }
}
