//! A peer without tables: it comes up, keeps what it hears, and says what the test lets it say.
//!
//! It offers hold time 0, so a session with it has no timers, unless told otherwise.

use std::net::IpAddr;

use dunlin::net::{Asn, Family, Prefix};
use dunlin::node::Input;
use dunlin::session::ConnectionId;
use dunlin::time::Instant;
use dunlin::wire::capability::Capability;
use dunlin::wire::frame::{self, KEEPALIVE, MessageKind};
use dunlin::wire::notification::Notification;
use dunlin::wire::open::Open;

pub(crate) struct Script {
    pub(crate) address: IpAddr,
    pub(crate) asn: Asn,
    pub(crate) heard: Vec<(Instant, MessageKind, Vec<u8>)>,
    pub(crate) refresh: bool,
    /// Sent as soon as the session is up.
    pub(crate) greeting: Vec<u8>,
    pub(crate) closed: u32,
    /// Capabilities beside the usual ones.
    pub(crate) more: Vec<Capability>,
    ids: u64,
}

impl Script {
    pub(crate) fn new(address: &str, asn: u32) -> Self {
        Self {
            address: address.parse().unwrap(),
            asn: Asn(asn),
            heard: Vec::new(),
            refresh: false,
            greeting: end_of_rib(),
            closed: 0,
            more: Vec::new(),
            ids: 0,
        }
    }

    pub(crate) fn next_id(&mut self) -> ConnectionId {
        self.ids += 1;
        ConnectionId(self.ids)
    }

    pub(crate) fn accepted(&mut self) -> ConnectionId {
        self.next_id()
    }

    pub(crate) fn open(&self) -> Vec<u8> {
        let router_id = match self.address {
            IpAddr::V4(v4) => v4,
            IpAddr::V6(v6) => {
                let [.., a, b, c, d] = v6.octets();
                [a, b, c, d].into()
            }
        };
        let mut capabilities = vec![
            Capability::Multiprotocol(Family::Ipv4.afi_safi()),
            Capability::FourOctetAs(self.asn),
        ];
        if self.refresh {
            capabilities.push(Capability::RouteRefresh);
            capabilities.push(Capability::EnhancedRouteRefresh);
        }
        capabilities.extend(self.more.iter().cloned());
        let open = Open {
            my_as: self.asn.to_two_octets(),
            hold_time: 0,
            router_id: router_id.into(),
            capabilities,
        };
        open.encode()
    }

    /// What to answer on which connection.
    pub(crate) fn handle(&mut self, now: Instant, input: &Input<'_>) -> (ConnectionId, Vec<u8>) {
        let mut answer = Vec::new();
        match input {
            Input::Received(connection, messages) => {
                for (kind, body) in frame::messages(messages) {
                    if kind == MessageKind::Open {
                        answer.extend(self.open());
                        answer.extend(KEEPALIVE);
                    }
                    let first = !self.heard.iter().any(|(_, k, _)| *k == kind);
                    if kind == MessageKind::Keepalive && first {
                        answer.extend_from_slice(&self.greeting);
                    }
                    self.heard.push((now, kind, body.to_vec()));
                }
                (*connection, answer)
            }
            Input::Closed(connection, _) => {
                self.closed += 1;
                (*connection, answer)
            }
            Input::Connected(connection, _)
            | Input::DialFailed(connection, _)
            | Input::BadHeader(connection, _)
            | Input::Sent(connection, _)
            | Input::Acknowledged(connection) => (*connection, answer),
            Input::Kernel(_) => (ConnectionId(0), answer),
        }
    }

    /// Bodies of all messages of a kind, in order.
    pub(crate) fn all(&self, kind: MessageKind) -> Vec<&[u8]> {
        let of_kind = self.heard.iter().filter(|(_, k, _)| *k == kind);
        of_kind.map(|(_, _, body)| body.as_slice()).collect()
    }

    pub(crate) fn notifications(&self) -> Vec<(u8, u8)> {
        let all = self.all(MessageKind::Notification);
        let decoded = all.iter().map(|body| Notification::decode(body).unwrap());
        decoded.map(|n| (n.code, n.subcode)).collect()
    }

    /// The last OPEN that came.
    pub(crate) fn open_heard(&self) -> Open {
        let all = self.all(MessageKind::Open);
        Open::decode(all.last().unwrap()).unwrap()
    }

    /// When the last End-of-RIB of IPv4 came.
    pub(crate) fn end_heard(&self) -> Option<Instant> {
        let is_end = |kind, body: &[u8]| kind == MessageKind::Update && body == [0; 4];
        let mut newest_first = self.heard.iter().rev();
        let found = newest_first.find(|(_, kind, body)| is_end(*kind, body));
        found.map(|(at, ..)| *at)
    }

    /// The Adj-RIB-In that its UPDATEs of IPv4 make, and whether each change was a real one.
    pub(crate) fn prefixes(&self) -> std::collections::BTreeSet<Prefix> {
        let mut table = std::collections::BTreeSet::new();
        for body in self.all(MessageKind::Update) {
            let (withdrawn, _, announced) = split(body);
            for prefix in withdrawn {
                assert!(table.remove(&prefix), "{prefix} was never announced");
            }
            table.extend(announced);
        }
        table
    }
}

/// Withdrawn prefixes, attributes and announced prefixes of an UPDATE of IPv4.
pub(crate) fn split(body: &[u8]) -> (Vec<Prefix>, Vec<u8>, Vec<Prefix>) {
    let length = |at: usize| usize::from(u16::from_be_bytes([body[at], body[at + 1]]));
    let withdrawn = length(0);
    let attributes = length(2 + withdrawn);
    let begin = 4 + withdrawn;
    (
        nlri(&body[2..2 + withdrawn]),
        body[begin..begin + attributes].to_vec(),
        nlri(&body[begin + attributes..]),
    )
}

fn nlri(mut bytes: &[u8]) -> Vec<Prefix> {
    let mut all = Vec::new();
    while let Some((&len, rest)) = bytes.split_first() {
        let octets = usize::from(len.div_ceil(8));
        let mut address = [0; 4];
        address[..octets].copy_from_slice(&rest[..octets]);
        all.push(Prefix::new(IpAddr::from(address), len));
        bytes = &rest[octets..];
    }
    all
}

fn encode(prefixes: &[Prefix]) -> Vec<u8> {
    let mut out = Vec::new();
    for prefix in prefixes {
        let IpAddr::V4(address) = prefix.address() else {
            panic!("IPv4 only");
        };
        let len = prefix.len();
        out.push(len);
        out.extend_from_slice(&address.octets()[..usize::from(len.div_ceil(8))]);
    }
    out
}

/// A whole UPDATE.
pub(crate) fn update(withdrawn: &[Prefix], attributes: &[u8], announced: &[Prefix]) -> Vec<u8> {
    update_of(&encode(withdrawn), attributes, &encode(announced))
}

/// The same of NLRI in octets.
pub(crate) fn update_of(withdrawn: &[u8], attributes: &[u8], announced: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    for part in [withdrawn, attributes] {
        body.extend(u16::try_from(part.len()).unwrap().to_be_bytes());
        body.extend_from_slice(part);
    }
    body.extend_from_slice(announced);
    message(2, &body)
}

pub(crate) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut whole = vec![0xFF; 16];
    whole.extend(u16::try_from(19 + body.len()).unwrap().to_be_bytes());
    whole.push(kind);
    whole.extend_from_slice(body);
    whole
}

pub(crate) fn end_of_rib() -> Vec<u8> {
    update(&[], &[], &[])
}

/// ORIGIN, AS_PATH of four-octet numbers, NEXT_HOP.
pub(crate) fn attributes(path: &[u32], next_hop: &str) -> Vec<u8> {
    let mut all = vec![0x40, 1, 1, 0];
    let length = 2 + 4 * path.len();
    all.extend([0x40, 2, u8::try_from(length).unwrap(), 2]);
    all.push(u8::try_from(path.len()).unwrap());
    for asn in path {
        all.extend(asn.to_be_bytes());
    }
    let hop: std::net::Ipv4Addr = next_hop.parse().unwrap();
    all.extend([0x40, 3, 4]);
    all.extend(hop.octets());
    all
}
